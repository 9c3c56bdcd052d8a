/* SPDX-License-Identifier: Apache-2.0 */
/* test-keep.c - kept or not: rates, and changes of a promise (architecture:
 * "kept"; E8); latency: test-keep-latency.c */
#include "sla/keep.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "keeper.h"

static void test_keep_nothing_promised(void **state)
{
	struct keep_judgement j;

	(void)state;
	memset(&keep, 0xa5, sizeof(keep));
	keep_reset(&keep, NULL, START);
	assert_true(keep_arrive(&keep, false, 4096, START));
	assert_true(keep_arrive(&keep, true, 512, START));
	keep_done(&keep, false, 4096, true, 1, START + 1);
	keep_failed(&keep, true, 512, true, START + 1);
	j = keeper_judged(START + 5 * S);
	assert_int_equal(j.verdict, KEEP_UNKNOWN);
	assert_int_equal(j.windows, 0);
}

static void test_keep_promised_rate_delivered(void **state)
{
	struct keep_judgement j;

	(void)state;
	keeper_promise("iops >= 500", START);
	keeper_run(START, START + 20 * S, 32, 2 * MS, false, 4096);
	j = keeper_judged(START + 20 * S);
	assert_int_equal(j.verdict, KEEP_KEPT);
	assert_int_equal(j.window_s, 10);
	assert_in_range(j.windows, 90, 100);
	assert_int_equal(j.windows_broken, 0);
	assert_int_equal(j.specs[0].windows, j.windows);
}

static void test_keep_less_than_promised_is_broken(void **state)
{
	struct keep_judgement j;

	(void)state;
	keeper_promise("iops >= 500", START);
	/* 48 for a window instead of 50: two requests less. */
	keeper_run(START, START + 20 * S, 32, 100 * MS / 48, false, 4096);
	j = keeper_judged(START + 20 * S);
	assert_int_equal(j.verdict, KEEP_BROKEN);
	assert_true(j.windows_broken > j.windows * 9 / 10);
	assert_int_equal(j.specs[0].verdict, KEEP_BROKEN);
}

static void test_keep_one_bad_window_is_seen_for_ten_seconds(void **state)
{
	uint64_t now = START;

	(void)state;
	keeper_promise("iops >= 500", now);
	now = keeper_run(now, START + 3 * S, 32, 2 * MS, false, 4096);
	now = keeper_run(now + 60 * MS, START + 8 * S, 32, 2 * MS, false, 4096);
	assert_int_equal(keeper_judged(now).verdict, KEEP_BROKEN);
	assert_in_range(keeper_judged(now).windows_broken, 1, 2);
	now = keeper_run(now, START + 15 * S, 32, 2 * MS, false, 4096);
	assert_int_equal(keeper_judged(now).verdict, KEEP_KEPT);
}

static void test_keep_who_offers_less_is_not_violated(void **state)
{
	(void)state;
	keeper_promise("iops >= 500", START);
	/* One at a time, each taking 1 ms, 10 ms of thinking. */
	for (uint64_t now = START; now < START + 12 * S; now += 11 * MS) {
		keep_arrive(&keep, false, 4096, now);
		keep_done(&keep, false, 4096, true, MS, now + MS);
	}
	assert_int_equal(keeper_judged(START + 12 * S).verdict, KEEP_KEPT);
	assert_int_equal(keeper_judged(START + 12 * S).windows_broken, 0);
}

/* Several are always under way, each as long as it was promised to take at
 * most: that is not what it was denied. */
static void test_keep_who_offers_less_with_some_under_way(void **state)
{
	uint64_t came[16];

	(void)state;
	keeper_promise("iops >= 10k, latency <= 5 ms", START);
	for (unsigned int i = 0; i < 60000; i++) {
		const uint64_t now = START + i * MS / 5;

		if (i >= 10)
			keep_done(
				&keep, false, 4096, true, 2 * MS,
				came[i % 16 >= 10 ? i % 16 - 10 : i % 16 + 6]);
		keep_arrive(&keep, false, 4096, now);
		came[i % 16] = now + 2 * MS;
	}
	assert_int_equal(keeper_judged(START + 12 * S).windows_broken, 0);
	assert_int_equal(keeper_judged(START + 12 * S).verdict, KEEP_KEPT);
}

/* The same, but all who wait get less than was promised. */
static void test_keep_under_way_is_no_excuse(void **state)
{
	uint64_t now;

	(void)state;
	keeper_promise("iops >= 2000, latency <= 20 ms", START);
	now = keeper_run(START, START + 5 * S, 32, MS * 53 / 100, false, 4096);
	assert_int_equal(keeper_judged(now).verdict, KEEP_BROKEN);
	assert_true(keeper_judged(now).windows_broken > 45);
}

static void test_keep_burst_at_the_end_of_a_window(void **state)
{
	const uint64_t end = START - START % (100 * MS) + 100 * MS;

	(void)state;
	keeper_promise("iops >= 500", START - START % (100 * MS));
	/* One waits nearly all the time, then fifty come at the last moment:
	 * nobody could have served those, or was asked to. */
	for (uint64_t now = end - 99 * MS; now < end - 10 * MS;
	     now += 10 * MS) {
		keep_arrive(&keep, false, 4096, now);
		keep_done(&keep, false, 4096, true, 9 * MS, now + 9 * MS);
	}
	for (unsigned int i = 0; i < 50; i++)
		keep_arrive(&keep, false, 4096, end - 1);
	keeper_run(end - 1, end + 50 * MS, 50, 2 * MS, false, 4096);
	keeper_finish(end + 51 * MS);
	assert_int_equal(keeper_judged(end + S).windows_broken, 0);
	assert_int_equal(keeper_judged(end + S).verdict, KEEP_KEPT);
}

static void test_keep_stuck_request_breaks_windows_nobody_closed(void **state)
{
	struct keep_judgement j;

	(void)state;
	keeper_promise("iops >= 500", START);
	keep_arrive(&keep, false, 4096, START);
	j = keeper_judged(START + 5 * S);
	assert_int_equal(j.verdict, KEEP_BROKEN);
	assert_in_range(j.windows_broken, 45, 49);
	/* The same when the reactor closes them, late. */
	keep_done(&keep, false, 4096, true, 5 * S, START + 5 * S);
	j = keeper_judged(START + 5 * S);
	assert_in_range(j.windows_broken, 45, 49);
	/* And after more than is remembered. */
	keep_arrive(&keep, false, 4096, START + 6 * S);
	j = keeper_judged(START + 4000 * S);
	assert_in_range(j.windows_broken, 88, 100);
	keep_done(&keep, false, 4096, true, 5 * S, START + 4000 * S);
	assert_int_equal(keeper_judged(START + 4000 * S).verdict, KEEP_BROKEN);
	assert_int_equal(keeper_judged(START + 4100 * S).verdict, KEEP_UNKNOWN);
}

static void test_keep_reads_writes_and_totals_apart(void **state)
{
	struct keep_judgement j;
	uint64_t now = START;

	(void)state;
	keeper_promise("read iops >= 100, write iops >= 100, iops >= 300",
		       START);
	for (unsigned int i = 0; i < 64; i++)
		keep_arrive(&keep, i & 1, 4096, now);
	/* Reads at 240/s, writes at 80/s: writes are short, the total isn't. */
	for (unsigned int i = 0; now < START + 12 * S; i++) {
		now += S / 320;
		keep_done(&keep, i % 4 == 0, 4096, true, MS, now);
		keep_arrive(&keep, i % 4 == 0, 4096, now);
	}
	j = keeper_judged(now);
	assert_int_equal(j.specs[0].verdict, KEEP_KEPT);
	assert_int_equal(j.specs[1].verdict, KEEP_BROKEN);
	assert_int_equal(j.specs[2].verdict, KEEP_KEPT);
	assert_int_equal(j.verdict, KEEP_BROKEN);
}

static void test_keep_bandwidth_less_the_largest_request(void **state)
{
	(void)state;
	keeper_promise("bandwidth >= 10 MB/s", START);
	/* 1 MB requests, one each 100 ms less one now and then: 1 MB less. */
	keeper_run(START, START + 12 * S, 8, 100 * MS, false, 1000000);
	assert_int_equal(keeper_judged(START + 12 * S).verdict, KEEP_KEPT);
	keeper_promise("bandwidth >= 10 MB/s", START);
	keeper_run(START, START + 12 * S, 8, 300 * MS, false, 1000000);
	assert_int_equal(keeper_judged(START + 12 * S).verdict, KEEP_BROKEN);
	/* In 4 KiB the same rate is held to within 4 KiB. */
	keeper_promise("bandwidth >= 10 MB/s", START);
	keeper_run(START, START + 12 * S, 8, 409600, false, 4096);
	assert_int_equal(keeper_judged(START + 12 * S).verdict, KEEP_KEPT);
	keeper_promise("bandwidth >= 10 MB/s", START);
	keeper_run(START, START + 12 * S, 8, 420000, false, 4096);
	assert_int_equal(keeper_judged(START + 12 * S).verdict, KEEP_BROKEN);
}

static void test_keep_slow_rates_are_judged_over_longer_spans(void **state)
{
	struct keep_judgement j;

	(void)state;
	keeper_promise("iops >= 4", START);
	keeper_run(START, START + 20 * S, 4, 250 * MS, false, 4096);
	j = keeper_judged(START + 20 * S);
	assert_int_equal(j.verdict, KEEP_KEPT);
	assert_in_range(j.windows, 17, 21);	/* of 500 ms */
	keeper_promise("iops >= 4", START);
	keeper_run(START, START + 20 * S, 4, 2 * S, false, 4096);
	assert_int_equal(keeper_judged(START + 20 * S).verdict, KEEP_BROKEN);
	keeper_promise("iops >= 1", START);
	keep_arrive(&keep, false, 4096, START);
	assert_int_equal(keeper_judged(START + 12 * S).verdict, KEEP_BROKEN);
}

static void test_keep_failed_requests_are_not_delivered(void **state)
{
	(void)state;
	keeper_promise("iops >= 500", START);
	for (uint64_t now = START; now < START + 12 * S; now += MS) {
		keep_arrive(&keep, false, 4096, now);
		keep_failed(&keep, false, 4096, true, now + MS / 2);
	}
	assert_int_equal(keeper_judged(START + 12 * S).verdict, KEEP_BROKEN);
	assert_int_equal(keep.flows[0].waiting, 0);
}

static void test_keep_many_at_once(void **state)
{
	struct keep_judgement j;
	uint64_t now = START;

	(void)state;
	keeper_promise("iops >= 100k, latency <= 1 ms", START);
	for (unsigned int round = 0; round < 20000; round++) {
		unsigned int conforming = 0;

		for (unsigned int i = 0; i < 32; i++)
			conforming += keep_arrive(&keep, false, 4096, now);
		keep_done_many(&keep, false, 32, 32 * 4096, conforming, 5000,
			       now + 5000);
		now += 320000;
	}
	j = keeper_judged(now);
	assert_int_equal(j.verdict, KEEP_KEPT);
	assert_true(j.specs[1].conforming > 190000);
	assert_int_equal(keep.flows[0].waiting, 0);
}

/* Telling of many that came together is telling of each. */
static void test_keep_many_arrivals_are_each_of_them(void **state)
{
	static const char *const promises[] = {
		"iops >= 500, latency <= 2 ms",
		"iops >= 70000, latency <= 2 ms",
		"latency <= 2 ms",
		"iops >= 1000",
		"write iops >= 300, write latency <= 1 ms",
		"iops >= 5000, bandwidth >= 20 MB/s, latency <= 2 ms",
		"read iops >= 100, iops >= 300, latency max <= 3 ms",
	};
	static struct keep together;

	(void)state;
	srandom(5);
	for (size_t p = 0; p < sizeof(promises) / sizeof(*promises); p++) {
		uint64_t now = START;

		keeper_promise(promises[p], START);
		for (unsigned int round = 0; round < 4000; round++) {
			const uint32_t count = 1 + (uint32_t)random() % 40;
			const uint32_t bytes = 512U
				<< ((unsigned long)random() % 5);
			const bool write = random() & 1;
			uint32_t each = 0, late;

			memcpy(&together, &keep, sizeof(keep));
			for (uint32_t i = 0; i < count; i++)
				each += keep_arrive(&keep, write, bytes, now);
			assert_int_equal(keep_arrive_many(&together, write,
							  count, bytes, now),
					 each);
			assert_memory_equal(&together, &keep, sizeof(keep));
			now += (uint64_t)random() % (3 * MS);
			late = (uint32_t)random() % count;
			keep_done_many(&keep, write, count - late,
				       (uint64_t)(count - late) * bytes,
				       each < count - late ? each :
							     count - late,
				       MS, now);
		}
	}
}

static void test_keep_update(void **state)
{
	struct sla sla;
	uint64_t now;

	(void)state;
	keeper_promise("iops >= 500", START);
	now = keeper_run(START, START + 3 * S, 32, 4 * MS, false, 4096);
	assert_int_equal(keeper_judged(now).verdict, KEEP_BROKEN);
	/* E13: the same SLA forgets nothing, another one forgets. */
	assert_int_equal(sla_parse("iops >= 500", &sla, NULL), 0);
	keep_update(&keep, &sla, now);
	assert_int_equal(keeper_judged(now).verdict, KEEP_BROKEN);
	assert_int_equal(sla_parse("iops >= 200", &sla, NULL), 0);
	keep_update(&keep, &sla, now);
	assert_int_equal(keeper_judged(now).verdict, KEEP_UNKNOWN);
	assert_int_equal(keep.flows[0].waiting, 32);
	now = keeper_run(now, now + 3 * S, 32, 4 * MS, false, 4096);
	assert_int_equal(keeper_judged(now).verdict, KEEP_KEPT);
	keep_update(&keep, NULL, now);
	assert_int_equal(keeper_judged(now).verdict, KEEP_UNKNOWN);
	assert_int_equal(keep.flows[0].waiting, 0);
	keep_update(&keep, &sla, now);
	keep_done(&keep, false, 4096, true, 1, now);
	assert_int_equal(keep.flows[0].waiting, 0);
}

static void test_keep_update_owes_nothing_for_the_past(void **state)
{
	const uint64_t end = START - START % (100 * MS) + 100 * MS;

	(void)state;
	keep_reset(&keep, NULL, START);
	for (unsigned int i = 0; i < 100; i++)
		keep_arrive(&keep, false, 4096, START);
	{
		struct sla sla;

		assert_int_equal(sla_parse("iops >= 500", &sla, NULL), 0);
		keep_update(&keep, &sla, end - 4 * MS);
	}
	keeper_run(end - 4 * MS, end + 350 * MS, 100, 2 * MS, false, 4096);
	assert_int_equal(keeper_judged(end + 350 * MS).windows_broken, 0);
	assert_int_equal(keeper_judged(end + 350 * MS).verdict, KEEP_KEPT);
}

static void test_keep_idle_is_unknown(void **state)
{
	(void)state;
	keeper_promise("iops >= 500, latency <= 1 ms", START);
	keeper_run(START, START + 5 * S, 8, 2 * MS, false, 4096);
	keeper_finish(START + 5 * S + MS);
	assert_int_equal(keeper_judged(START + 3600 * S).verdict, KEEP_UNKNOWN);
	keep_arrive(&keep, false, 4096, START + 3600 * S);
	keep_done(&keep, false, 4096, true, 1, START + 3600 * S);
	assert_int_equal(keeper_judged(START + 3600 * S).windows, 0);
}

static void test_keep_judges_anything(void **state)
{
	struct keep_judgement j;

	(void)state;
	srandom(1);
	for (unsigned int i = 0; i < 3000; i++) {
		for (size_t b = 0; b < sizeof(keep); b++)
			((uint8_t *)&keep)[b] = (uint8_t)random();
		if (i % 3 == 0)
			keep.window_end_ns = START - (uint64_t)random();
		keep_judge(&keep, START, &j);
		assert_in_range(j.window_s, 0, KEEP_SECONDS);
	}
}

/* How long a server of exactly the promised rate takes. */
static uint64_t service_ns(uint32_t bytes)
{
	const struct keep_meter *meter = &keep.meters[0];

	return meter->counts_bytes ? bytes * S / meter->rate_per_s :
				     S / meter->rate_per_s;
}

/* It does what it can until 'end_ns'. */
struct server {
	uint32_t queue[4096];
	unsigned int head, tail;
	uint64_t free_ns;
};

static void serve(struct server *server, uint64_t end_ns)
{
	while (server->head != server->tail && server->free_ns <= end_ns) {
		keep_done(&keep, false, server->queue[server->head++ % 4096],
			  true, 1, server->free_ns);
		if (server->head != server->tail)
			server->free_ns +=
				service_ns(server->queue[server->head % 4096]);
	}
}

/* A server of exactly the promised rate breaks nothing, whatever comes. */
static void test_keep_exact_server_never_breaks(void **state)
{
	static const char *const texts[] = {
		"iops >= 100",		"iops >= 5",
		"bandwidth >= 1 MB/s",	"read iops >= 1000",
		"bandwidth >= 20 KB/s",
	};

	(void)state;
	srandom(7);
	for (unsigned int round = 0; round < 400; round++) {
		struct server server = {.free_ns = START};
		const double pace = 0.1 + (double)(random() % 300) / 100;
		uint64_t now = START;

		keeper_promise(texts[round % 5], now);
		while (now < START + 15 * S) {
			const uint32_t bytes = 512U << random() % 6;

			/* Bursts and pauses around the pace. */
			now += (uint64_t)((double)service_ns(bytes) / pace *
					  (double)(random() % 200) / 100);
			if (random() % 64 == 0)
				now += (uint64_t)random() % S;
			serve(&server, now);
			if (server.tail - server.head == 4096)
				continue;
			if (server.head == server.tail)
				server.free_ns = now + service_ns(bytes);
			server.queue[server.tail++ % 4096] = bytes;
			keep_arrive(&keep, false, bytes, now);
		}
		keep_close_windows(&keep, now);
		if (keeper_judged(now).windows_broken != 0)
			fail_msg("round %u: %u windows broken", round,
				 keeper_judged(now).windows_broken);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keep_nothing_promised),
		cmocka_unit_test(test_keep_promised_rate_delivered),
		cmocka_unit_test(test_keep_less_than_promised_is_broken),
		cmocka_unit_test(
			test_keep_one_bad_window_is_seen_for_ten_seconds),
		cmocka_unit_test(test_keep_who_offers_less_is_not_violated),
		cmocka_unit_test(test_keep_who_offers_less_with_some_under_way),
		cmocka_unit_test(test_keep_under_way_is_no_excuse),
		cmocka_unit_test(test_keep_burst_at_the_end_of_a_window),
		cmocka_unit_test(
			test_keep_stuck_request_breaks_windows_nobody_closed),
		cmocka_unit_test(test_keep_reads_writes_and_totals_apart),
		cmocka_unit_test(test_keep_bandwidth_less_the_largest_request),
		cmocka_unit_test(
			test_keep_slow_rates_are_judged_over_longer_spans),
		cmocka_unit_test(test_keep_failed_requests_are_not_delivered),
		cmocka_unit_test(test_keep_many_at_once),
		cmocka_unit_test(test_keep_many_arrivals_are_each_of_them),
		cmocka_unit_test(test_keep_update),
		cmocka_unit_test(test_keep_update_owes_nothing_for_the_past),
		cmocka_unit_test(test_keep_idle_is_unknown),
		cmocka_unit_test(test_keep_judges_anything),
		cmocka_unit_test(test_keep_exact_server_never_breaks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
