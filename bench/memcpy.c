/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memcpy.c - bench-memcpy: the copying that a memory device must do, bare
 *
 * Random blocks of a working set in one shared mapping, to or from a handful
 * of buffers in another, as a memory device serving a queue would: what is
 * left of its rate is the price of everything else.
 * Threads: one.
 */
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sys/mman.h>

#define SECOND_NS	UINT64_C(1000000000)
#define BATCH		256U
#define ROUNDS_MAX	100U

struct plan {
	size_t block, span, buffers;
	uint64_t round_ns;
	unsigned int rounds;
	bool write, json;
};

/* What all rounds took together. */
struct total {
	uint64_t copies, cpu_ns;
};

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

static char *map(const char *name, size_t bytes)
{
	const int fd = memfd_create(name, MFD_CLOEXEC);
	void *memory;

	if (fd < 0 || ftruncate(fd, (off_t)bytes))
		return NULL;
	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_POPULATE, fd, 0);
	close(fd);
	if (memory == MAP_FAILED)
		return NULL;
	memset(memory, 1, bytes);
	return memory;
}

/* Copies a second, over one round. */
static double run_round(const struct plan *plan, char *set, char *buffers,
			uint64_t *random, struct total *total)
{
	const uint64_t cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	const uint64_t begin_ns = clock_ns(CLOCK_MONOTONIC);
	const size_t blocks = plan->span / plan->block;
	uint64_t now_ns, copies = 0;

	do {
		unsigned int i;

		for (i = 0; i < BATCH; i++, copies++) {
			char *at, *buffer;
			uint64_t x = *random;

			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			*random = x;
			at = set +
				(size_t)(((unsigned __int128)x * blocks) >>
					 64) *
					plan->block;
			buffer = buffers + copies % plan->buffers * plan->block;
			if (plan->write)
				memcpy(at, buffer, plan->block);
			else
				memcpy(buffer, at, plan->block);
			/* It must be in memory, as for a device. */
			__asm__ volatile("" : : : "memory");
		}
		now_ns = clock_ns(CLOCK_MONOTONIC);
	} while (now_ns - begin_ns < plan->round_ns);
	total->copies += copies;
	total->cpu_ns += clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_ns;
	return (double)copies * (double)SECOND_NS / (double)(now_ns - begin_ns);
}

static int by_value(const void *left, const void *right)
{
	const double a = *(const double *)left, b = *(const double *)right;

	return a < b ? -1 : a > b;
}

static bool parse(int argc, char **argv, struct plan *plan)
{
	static const struct option table[] = {
		{"bs", required_argument, NULL, 'b'},
		{"span", required_argument, NULL, 's'},
		{"buffers", required_argument, NULL, 'n'},
		{"rounds", required_argument, NULL, 'r'},
		{"duration", required_argument, NULL, 'd'},
		{"write", no_argument, NULL, 'w'},
		{"json", no_argument, NULL, 'j'},
		{NULL, 0, NULL, 0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", table, NULL)) != -1) {
		switch (option) {
		case 'b':
			plan->block = strtoul(optarg, NULL, 10);
			break;
		case 's':
			plan->span = strtoul(optarg, NULL, 10);
			break;
		case 'n':
			plan->buffers = strtoul(optarg, NULL, 10);
			break;
		case 'r':
			plan->rounds = (unsigned int)strtoul(optarg, NULL, 10);
			break;
		case 'd':
			plan->round_ns = (uint64_t)(strtod(optarg, NULL) *
						    (double)SECOND_NS);
			break;
		case 'w':
			plan->write = true;
			break;
		case 'j':
			plan->json = true;
			break;
		default:
			return false;
		}
	}
	return optind == argc && plan->block > 0 && plan->buffers > 0 &&
		plan->span >= plan->block && plan->rounds > 0 &&
		plan->rounds <= ROUNDS_MAX && plan->round_ns > 0;
}

int main(int argc, char **argv)
{
	struct plan plan = {
		.block = 4096,
		.span = 512U << 20,
		.buffers = 32,
		.round_ns = SECOND_NS / 2,
		.rounds = 5,
	};
	double rates[ROUNDS_MAX], middle;
	struct total total = {.copies = 0};
	uint64_t random = UINT64_C(0x9e3779b97f4a7c15);
	char *set, *buffers;
	unsigned int i;

	if (!parse(argc, argv, &plan)) {
		fputs("usage: bench-memcpy [--write] [--bs N] [--span BYTES] [--buffers N] [--rounds N (1..100)] [--duration SECONDS] [--json]\n",
		      stderr);
		return 2;
	}
	set = map("bench-set", plan.span);
	buffers = map("bench-buffers", plan.buffers * plan.block);
	if (!set || !buffers) {
		fprintf(stderr,
			"bench-memcpy: no memory: %s: choose a smaller --span\n",
			strerror(errno));
		return 1;
	}
	for (i = 0; i < plan.rounds; i++)
		rates[i] = run_round(&plan, set, buffers, &random, &total);
	qsort(rates, plan.rounds, sizeof(rates[0]), by_value);
	middle = rates[plan.rounds / 2];
	printf(plan.json ?
		       "{\"copies_per_s\":%.0f,\"min\":%.0f,\"max\":%.0f,\"bytes_per_s\":%.0f,\"cpu_us_per_copy\":%.3f}\n" :
		       "%.0f copies a second (%.0f to %.0f), %.0f bytes a second, %.3f us of CPU each\n",
	       middle, rates[0], rates[plan.rounds - 1],
	       middle * (double)plan.block,
	       (double)total.cpu_ns / 1e3 / (double)total.copies);
	return 0;
}
