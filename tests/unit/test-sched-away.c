/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-sched-away.c - a machine that is away is not a device that is slow:
 * neither capacity nor window follow it (E8)
 */
#include "sched/sched.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define US		UINT64_C(1000)
#define MS		UINT64_C(1000000)
#define SECOND		UINT64_C(1000000000)
#define REQUEST_NS	(100 * US)
#define WINDOW		8U
#define QUEUED		64U

struct bench {
	struct sched *sched;
	struct sched_client *client;
	struct sched_request requests[QUEUED];
	struct sched_request *inside[WINDOW];
	unsigned int head, count;
	uint64_t now_ns;
};

static void bench_make(struct bench *bench, uint64_t latency_ns)
{
	const struct sched_config config = {
		.cost = {.request_ns = {REQUEST_NS, REQUEST_NS}},
		.window_min = 1,
		.window_max = WINDOW,
	};
	const struct sched_params params = {
		.latency_ns = {latency_ns, latency_ns}};

	*bench = (struct bench){.now_ns = SECOND};
	assert_int_equal(sched_create(&config, &bench->sched, NULL), 0);
	assert_int_equal(sched_client_create(bench->sched, NULL, &params,
					     bench->now_ns, &bench->client,
					     NULL),
			 0);
	for (unsigned int i = 0; i < QUEUED; i++) {
		bench->requests[i].bytes = 4096;
		if (sched_submit(bench->sched, bench->client,
				 &bench->requests[i],
				 bench->now_ns) == SCHED_GO)
			bench->inside[bench->count++] = &bench->requests[i];
	}
}

static void bench_clear(struct bench *bench)
{
	(void)sched_client_drain(bench->client);
	sched_client_destroy(bench->client);
	sched_destroy(bench->sched);
}

static void give_out(struct bench *bench)
{
	struct sched_request *next;

	while ((next = sched_next(bench->sched, bench->now_ns)))
		bench->inside[(bench->head + bench->count++) % WINDOW] = next;
}

/* The oldest is done, and asks again. */
static void complete(struct bench *bench)
{
	struct sched_request *done = bench->inside[bench->head];

	bench->head = (bench->head + 1) % WINDOW;
	bench->count--;
	sched_complete(bench->sched, done, bench->now_ns);
	if (sched_submit(bench->sched, bench->client, done, bench->now_ns) ==
	    SCHED_GO)
		bench->inside[(bench->head + bench->count++) % WINDOW] = done;
}

/* One every 100 us, for two seconds; away for 4 ms after every 40, and if it
 * says so. */
static void run(struct bench *bench, bool says)
{
	for (unsigned int i = 0; i < 400 * 40; i++) {
		if (i % 40 == 39) {
			bench->now_ns += 4 * MS;
			if (says)
				sched_away(bench->sched, bench->now_ns);
			while (bench->count > 0)
				complete(bench);
		} else {
			bench->now_ns += REQUEST_NS;
			if (bench->count > 0)
				complete(bench);
		}
		give_out(bench);
	}
}

static void test_sched_away_leaves_the_capacity(void **state)
{
	struct sched_report report;
	struct bench bench;

	(void)state;
	for (int says = 0; says < 2; says++) {
		bench_make(&bench, 0);
		run(&bench, says);
		sched_report(bench.sched, &report);
		assert_in_range(report.capacity_milli, 950, 1050);
		bench_clear(&bench);
	}
}

/* 8 inside are there for 0.8 ms of 1.5 promised; the window may stay. */
static void test_sched_away_leaves_the_window(void **state)
{
	struct sched_report report;
	struct bench bench;

	(void)state;
	bench_make(&bench, 1500 * US);
	run(&bench, true);
	sched_report(bench.sched, &report);
	assert_int_equal(report.window, WINDOW);
	bench_clear(&bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sched_away_leaves_the_capacity),
		cmocka_unit_test(test_sched_away_leaves_the_window),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
