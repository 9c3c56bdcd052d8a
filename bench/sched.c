/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sched.c - the scheduler alone: decisions per second
 *
 * One decision is one submit, one next and one complete.  Every client has a
 * reservation, a limit and a weight, and always something queued; invented
 * time passes at the rate of a device that is just saturated.
 *
 *   closed   the client whose request is done sends the next
 *   random   any client does (the worst for caches)
 *   limited  as closed, but limits bind before the device does
 *   passing  nothing is ever queued: submit and complete only
 *
 * bench-sched [--json] [--clients N] [--pattern NAME] [--seconds S]
 * bench-sched --fast-path N: N uncontended requests and nothing else, for
 * counting instructions under callgrind.
 * bench-sched --decisions N [--clients N] [--pattern NAME]: N decisions in
 * bench_decide, after warming up: see callgrind's --toggle-collect.
 */
#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sched/sched.h"

#define DEVICE_NS	1000U	/* of invented time for a request */
#define QUEUED_EACH	2U
#define WINDOW		32U
#define BATCH		4096U

enum pattern { CLOSED, RANDOM, LIMITED, PASSING };
static const char *const pattern_names[] = {
	"closed",
	"random",
	"limited",
	"passing",
};

struct run {
	enum pattern pattern;
	uint32_t clients;
	struct sched *sched;
	struct sched_client **client;
	struct sched_request *requests;
	uint64_t now_ns, random;
	uint64_t decisions, elapsed_ns;
};

static uint64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) +
		(uint64_t)now.tv_nsec;
}

static uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void fail(const char *what, const struct error *error)
{
	fprintf(stderr, "bench-sched: %s: %s\n", what, error->text);
	exit(1);
}

static struct sched *device_create(uint32_t window)
{
	const struct sched_config config = {
		.cost = {.request_ns = {DEVICE_NS, DEVICE_NS}},
		.window_min = 1,
		.window_max = window,
	};
	struct sched *sched;
	struct error error;

	if (sched_create(&config, &sched, &error) < 0)
		fail("scheduler", &error);
	return sched;
}

static void setup(struct run *run)
{
	const uint64_t fair = UINT64_C(1000000000) / DEVICE_NS / run->clients;

	run->sched = device_create(WINDOW);
	run->client = calloc(run->clients, sizeof(struct sched_client *));
	run->requests = aligned_alloc(64,
				      (run->clients * QUEUED_EACH + WINDOW) *
					      sizeof(*run->requests));
	if (!run->client || !run->requests)
		exit(1);
	memset(run->requests, 0,
	       (run->clients * QUEUED_EACH + WINDOW) * sizeof(*run->requests));
	run->now_ns = 1000000000;
	run->random = 88172645463325252;
	for (uint32_t i = 0; i < run->clients; i++) {
		struct sched_params params = {.weight = 100 + 100 * (i % 4)};
		uint64_t limit = fair * 2;
		struct error error;

		if (run->pattern == LIMITED)
			limit = fair * 9 / 10;
		if (run->pattern == PASSING)
			limit = UINT64_C(1) << 40;
		params.reservation_per_s[SCHED_TOTAL_IOPS] = fair / 2 + 1;
		params.limit_per_s[SCHED_TOTAL_IOPS] = limit + 1;
		if (sched_client_create(run->sched, NULL, &params, run->now_ns,
					&run->client[i], &error) < 0)
			fail("client", &error);
	}
}

static void teardown(struct run *run)
{
	for (uint32_t i = 0; i < run->clients; i++) {
		sched_client_drain(run->client[i]);
		sched_client_destroy(run->client[i]);
	}
	sched_destroy(run->sched);
	free(run->client);
	free(run->requests);
}

static void submit(struct run *run, struct sched_client *client,
		   struct sched_request *request)
{
	if (sched_submit(run->sched, client, request, run->now_ns) == SCHED_GO)
		sched_complete(run->sched, request, run->now_ns);
}

static void fill(struct run *run)
{
	struct sched_request *inside =
		&run->requests[run->clients * QUEUED_EACH];
	bool go[WINDOW];

	if (run->pattern == PASSING)
		return;
	/* With the device full, all that follow are queued. */
	for (uint32_t i = 0; i < WINDOW; i++)
		go[i] = sched_submit(run->sched, run->client[i % run->clients],
				     &inside[i], run->now_ns) == SCHED_GO;
	for (uint32_t i = 0; i < run->clients * QUEUED_EACH; i++) {
		struct sched_request *request = &run->requests[i];

		request->bytes = 4096;
		request->direction = i % 3 == 0;
		submit(run, run->client[i % run->clients], request);
	}
	for (uint32_t i = 0; i < WINDOW; i++)
		if (go[i])
			sched_complete(run->sched, &inside[i], run->now_ns);
}

static void decide(struct run *run)
{
	struct sched_request *request;
	struct sched_client *client;

	run->now_ns += DEVICE_NS;
	while (!(request = sched_next(run->sched, run->now_ns))) {
		const uint64_t wake_ns = sched_wake_ns(run->sched);

		if (wake_ns == UINT64_MAX)
			exit(2);
		run->now_ns = wake_ns > run->now_ns ? wake_ns : run->now_ns + 1;
	}
	sched_complete(run->sched, request, run->now_ns);
	client = request->client;
	if (run->pattern == RANDOM)
		client = run->client[random_next(&run->random) % run->clients];
	if (sched_submit(run->sched, client, request, run->now_ns) == SCHED_GO)
		sched_complete(run->sched, request, run->now_ns);
}

static void pass(struct run *run, uint64_t count)
{
	struct sched_request *request = &run->requests[0];
	uint32_t i = 0;

	request->bytes = 4096;
	while (count-- > 0) {
		run->now_ns += DEVICE_NS;
		if (sched_submit(run->sched, run->client[i], request,
				 run->now_ns) != SCHED_GO)
			exit(2);
		sched_complete(run->sched, request, run->now_ns);
		if (++i == run->clients)
			i = 0;
	}
}

static void batch(struct run *run)
{
	if (run->pattern == PASSING) {
		pass(run, BATCH);
		return;
	}
	for (uint32_t i = 0; i < BATCH; i++)
		decide(run);
}

static void warm_up(struct run *run)
{
	setup(run);
	fill(run);
	for (uint32_t i = 0; i < 4 * run->clients / BATCH + 4; i++)
		batch(run);
}

static __attribute__((noinline)) void bench_decide(struct run *run,
						   uint64_t count)
{
	while (count-- > 0)
		decide(run);
}

static void measure(struct run *run, double seconds)
{
	const uint64_t enough_ns = (uint64_t)(seconds * 1e9);
	uint64_t began_ns;

	warm_up(run);
	began_ns = clock_ns();
	do {
		batch(run);
		run->decisions += BATCH;
		run->elapsed_ns = clock_ns() - began_ns;
	} while (run->elapsed_ns < enough_ns);
	teardown(run);
}

/* For counting instructions; return an exit status. */
static int count_fast_path(uint64_t count)
{
	struct run run = {.pattern = PASSING, .clients = 1};

	setup(&run);
	pass(&run, count);
	teardown(&run);
	return 0;
}

static int count_decisions(uint32_t clients, const char *pattern,
			   uint64_t count)
{
	struct run run = {.clients = clients ? clients : 10000};

	while (pattern && strcmp(pattern, pattern_names[run.pattern]) != 0)
		if (++run.pattern == PASSING)
			return 2;
	warm_up(&run);
	bench_decide(&run, count);
	teardown(&run);
	return 0;
}

static void table(uint32_t only_clients, const char *only_pattern,
		  double seconds, bool json)
{
	static const uint32_t clients[] = {1, 100, 1000, 10000, 100000};
	bool first = true;

	printf(json ? "[" : "%8s  %-8s  %12s  %8s\n", "clients", "pattern",
	       "decisions/s", "ns each");
	for (unsigned int i = 0; i < sizeof(clients) / sizeof(*clients); i++) {
		for (unsigned int p = CLOSED; p <= PASSING; p++) {
			struct run run = {
				.pattern = (enum pattern)p,
				.clients = only_clients ? only_clients :
							  clients[i],
			};
			double rate;

			if (only_pattern &&
			    strcmp(only_pattern, pattern_names[p]))
				continue;
			measure(&run, seconds);
			rate = (double)run.decisions * 1e9 /
				(double)run.elapsed_ns;
			if (json)
				printf("%s{\"clients\":%u,\"pattern\":\"%s\","
				       "\"decisions_per_s\":%.0f}",
				       first ? "" : ",", run.clients,
				       pattern_names[p], rate);
			else
				printf("%8u  %-8s  %12.0f  %8.1f\n",
				       run.clients, pattern_names[p], rate,
				       1e9 / rate);
			fflush(stdout);
			first = false;
		}
		if (only_clients)
			break;
	}
	if (json)
		printf("]\n");
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"json", no_argument, NULL, 'j'},
		{"clients", required_argument, NULL, 'c'},
		{"pattern", required_argument, NULL, 'p'},
		{"seconds", required_argument, NULL, 's'},
		{"fast-path", required_argument, NULL, 'f'},
		{"decisions", required_argument, NULL, 'd'},
		{0},
	};
	const char *pattern = NULL;
	uint32_t clients = 0;
	uint64_t fast = 0, decisions = 0;
	double seconds = 0.5;
	bool json = false;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'j':
			json = true;
			break;
		case 'c':
			clients = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'p':
			pattern = optarg;
			break;
		case 's':
			seconds = strtod(optarg, NULL);
			break;
		case 'f':
			fast = strtoull(optarg, NULL, 10);
			break;
		case 'd':
			decisions = strtoull(optarg, NULL, 10);
			break;
		default:
			return 2;
		}
	}
	if (clients > SCHED_CLIENTS_MAX) {
		fprintf(stderr, "bench-sched: --clients: at most %u\n",
			SCHED_CLIENTS_MAX);
		return 2;
	}
	if (fast > 0)
		return count_fast_path(fast);
	if (decisions > 0)
		return count_decisions(clients, pattern, decisions);
	table(clients, pattern, seconds, json);
	return 0;
}
