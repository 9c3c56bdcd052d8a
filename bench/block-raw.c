/* SPDX-License-Identifier: Apache-2.0 */
/*
 * block-raw.c - a device on a loop, with nothing in front: what the rooms
 * below the virtual devices cost by themselves
 *
 *	bench-block-raw memory|nullio|file=PATH[,direct] read|write DEPTH
 *		[SECONDS]
 *	bench-block-raw deadlines PER_SECOND [SECONDS]
 *
 * The first keeps DEPTH 4 KiB random requests in the device and prints rate
 * and CPU per request.  The second is a limiter: a poller with a deadline
 * every so often, and prints how late they were met and at what cost.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/histogram.h"
#include "block/block.h"
#include "os/guard.h"
#include "os/loop.h"

#define UNIT_BYTES	4096U
#define SIZE_BYTES	(UINT64_C(512) << 20)
#define DEPTH_MAX	4096U
#define SPIN_MAX_NS	UINT64_C(30000)

struct slot {
	struct block_request request;	/* the first: a request is its slot */
	struct iovec iov;
	struct slot *next_free;
};

struct load {
	struct loop_poller poller;
	struct loop *loop;
	struct block_device *device;
	struct slot slots[DEPTH_MAX];
	struct slot *free;
	enum block_op op;
	uint64_t random;
	uint64_t done, failed;
	uint64_t gap_ns, due_ns;		/* deadlines */
	struct histogram late;
	struct loop_timer end;
};

static struct load load;

static uint64_t cpu_ns(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) *
		UINT64_C(1000000000) +
		(uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) *
		1000;
}

static void finished(struct block_request *request)
{
	struct slot *slot = (struct slot *)request;

	load.done++;
	if (request->result < 0)
		load.failed++;
	slot->next_free = load.free;
	load.free = slot;
}

static unsigned int load_poll(struct loop_poller *poller, uint64_t now_ns)
{
	unsigned int sent = 0;

	(void)poller;
	(void)now_ns;
	for (; load.free && sent < 64; sent++) {
		struct slot *slot = load.free;

		load.free = slot->next_free;
		load.random ^= load.random << 13;
		load.random ^= load.random >> 7;
		load.random ^= load.random << 17;
		slot->request.op = (uint8_t)load.op;
		slot->request.offset_bytes =
			load.random % (SIZE_BYTES / UNIT_BYTES) * UNIT_BYTES;
		slot->request.length_bytes = UNIT_BYTES;
		slot->request.iov = &slot->iov;
		slot->request.iov_count = 1;
		slot->request.done = finished;
		block_submit(load.device, &slot->request);
	}
	return sent;
}

static uint64_t load_arm(struct loop_poller *poller, uint64_t now_ns)
{
	(void)poller;
	(void)now_ns;
	return load.free ? 0 : UINT64_MAX;
}

static unsigned int deadline_poll(struct loop_poller *poller, uint64_t now_ns)
{
	unsigned int met = 0;

	(void)poller;
	for (; load.due_ns <= now_ns; met++) {
		histogram_add(&load.late, now_ns - load.due_ns, 1);
		load.due_ns += load.gap_ns;
	}
	load.done += met;
	return met;
}

static uint64_t deadline_arm(struct loop_poller *poller, uint64_t now_ns)
{
	(void)poller;
	(void)now_ns;
	return load.due_ns;
}

static void time_is_up(struct loop_timer *timer, uint64_t now_ns)
{
	(void)timer;
	(void)now_ns;
	loop_stop(load.loop);
}

/* Every page is touched once, so that none is a hole. */
static void fill(void)
{
	static char piece[1U << 20];
	struct iovec iov = {piece, sizeof(piece)};

	memset(piece, 'x', sizeof(piece));
	for (uint64_t at = 0; at < SIZE_BYTES; at += sizeof(piece)) {
		const uint64_t before = load.done;
		struct slot *slot = load.free;

		load.free = slot->next_free;
		slot->request = (struct block_request){
			.op = BLOCK_WRITE,
			.offset_bytes = at,
			.length_bytes = sizeof(piece),
			.iov = &iov,
			.iov_count = 1,
			.done = finished,
		};
		block_submit(load.device, &slot->request);
		while (load.done == before)
			loop_run_once(load.loop, UINT64_MAX);
	}
	load.done = 0;
}

static int open_device(const char *what)
{
	struct block_config config = {
		.kind = "memory", .fd = -1, .size_bytes = SIZE_BYTES};
	char path[4096];
	struct error error;
	int flags = O_RDWR | O_CREAT | O_CLOEXEC;
	char *option;

	if (strncmp(what, "file=", 5) == 0) {
		config.kind = "file";
		snprintf(path, sizeof(path), "%s", what + 5);
		option = strchr(path, ',');
		if (option) {
			*option = '\0';
			flags |= O_DIRECT;
		}
		config.fd = open(path, flags, 0600);
		if (config.fd < 0 ||
		    ftruncate(config.fd, (off_t)SIZE_BYTES) < 0) {
			perror(path);
			return -1;
		}
	} else {
		config.kind = what;
	}
	if (block_open(&config, load.loop, &load.device, &error) < 0) {
		fprintf(stderr, "%s\n", error.text);
		return -1;
	}
	return 0;
}

static int prepare(char **argv)
{
	const unsigned long depth = strtoul(argv[3], NULL, 10);
	char *buffers;

	if (depth == 0 || depth > DEPTH_MAX || open_device(argv[1]) < 0)
		return -1;
	buffers = aligned_alloc(UNIT_BYTES, depth * UNIT_BYTES);
	if (!buffers)
		return -1;
	memset(buffers, 'x', depth * UNIT_BYTES);
	for (unsigned long i = 0; i < depth; i++) {
		load.slots[i].iov.iov_base = buffers + i * UNIT_BYTES;
		load.slots[i].iov.iov_len = UNIT_BYTES;
		load.slots[i].next_free = load.free;
		load.free = &load.slots[i];
	}
	fill();
	load.op = strcmp(argv[2], "write") == 0 ? BLOCK_WRITE : BLOCK_READ;
	load.random = UINT64_C(88172645463325252);
	load.poller.poll = load_poll;
	load.poller.arm = load_arm;
	return 0;
}

static void report(bool deadlines, uint64_t wall_ns, uint64_t busy_ns)
{
	struct loop_times times;

	loop_times(load.loop, &times);
	printf("%.0f/s, %.0f ns each, CPU %.0f ns each, %.1f %% of a core, %llu sleeps, %llu failed\n",
	       (double)load.done * 1e9 / (double)wall_ns,
	       (double)wall_ns / (double)load.done,
	       (double)busy_ns / (double)load.done,
	       (double)busy_ns * 100 / (double)wall_ns,
	       (unsigned long long)times.sleeps,
	       (unsigned long long)load.failed);
	if (deadlines)
		printf("late by (ns) p1 %llu p50 %llu p90 %llu p99 %llu\n",
		       (unsigned long long)histogram_percentile(&load.late, 1),
		       (unsigned long long)histogram_percentile(&load.late, 50),
		       (unsigned long long)histogram_percentile(&load.late, 90),
		       (unsigned long long)histogram_percentile(&load.late,
								99));
}

int main(int argc, char **argv)
{
	const bool deadlines = argc > 2 && strcmp(argv[1], "deadlines") == 0;
	const struct loop_config config = {.entries = 256,
					   .spin_max_ns = SPIN_MAX_NS};
	const int seconds_at = deadlines ? 3 : 4;
	uint64_t start_ns, start_cpu_ns, seconds = 3;
	struct error error;

	if (argc < seconds_at) {
		fprintf(stderr, "usage: see the head of block-raw.c\n");
		return 2;
	}
	if (argc > seconds_at)
		seconds = strtoul(argv[seconds_at], NULL, 10);
	if (loop_create(&config, &load.loop, &error) < 0 ||
	    guard_install() < 0 ||
	    loop_timer_init(load.loop, &load.end, time_is_up) < 0)
		return 1;
	if (deadlines) {
		const unsigned long rate = strtoul(argv[2], NULL, 10);

		load.gap_ns = UINT64_C(1000000000) / (rate == 0 ? 1 : rate);
		load.due_ns = loop_clock_ns();
		load.poller.poll = deadline_poll;
		load.poller.arm = deadline_arm;
	} else if (prepare(argv) < 0) {
		return 1;
	}
	loop_poller_add(load.loop, &load.poller);
	start_ns = loop_clock_ns();
	start_cpu_ns = cpu_ns();
	loop_timer_set(load.loop, &load.end,
		       start_ns + seconds * UINT64_C(1000000000));
	if (loop_run(load.loop) < 0)
		return 1;
	report(deadlines, loop_clock_ns() - start_ns, cpu_ns() - start_cpu_ns);
	return load.failed > 0;
}
