/* SPDX-License-Identifier: Apache-2.0 */
/* test-keep-latency.c - kept or not: promised latency (architecture: "kept";
 * E8) */
#include "sla/keep.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "keeper.h"

/* 'requests' at 'rate', of which each 'late_each'th is late; 0: none. */
static uint64_t at_rate(uint64_t now_ns, unsigned int requests, uint64_t rate,
			unsigned int late_each, uint64_t good_ns,
			uint64_t late_ns)
{
	for (unsigned int i = 1; i <= requests; i++) {
		const bool is_late = late_each > 0 && i % late_each == 0;
		const uint64_t latency = is_late ? late_ns : good_ns;
		const bool conforming = keep_arrive(&keep, false, 4096, now_ns);

		keep_done(&keep, false, 4096, conforming, latency,
			  now_ns + latency);
		now_ns += S / rate;
	}
	return now_ns;
}

static void test_keep_latency_percentile(void **state)
{
	struct keep_judgement j;
	uint64_t now;

	(void)state;
	keeper_promise("iops >= 500, latency <= 2 ms", START);
	now = at_rate(START, 5000, 500, 101, MS / 2, 3 * MS / 2 + MS);
	j = keeper_judged(now);
	assert_int_equal(j.verdict, KEEP_KEPT);
	assert_in_range(j.specs[1].conforming, 4500, 5000);
	assert_true(j.specs[1].late > 40);

	keeper_promise("iops >= 500, latency <= 2 ms", START);
	now = at_rate(START, 5000, 500, 90, MS / 2, 3 * MS / 2 + MS);
	assert_int_equal(keeper_judged(now).verdict, KEEP_BROKEN);

	/* Percentiles each by its own. */
	keeper_promise("latency p50 <= 1 ms, latency p99 <= 2 ms", START);
	now = at_rate(START, 5000, 500, 3, MS / 2, 3 * MS / 2);
	j = keeper_judged(now);
	assert_int_equal(j.specs[0].verdict, KEEP_KEPT);
	assert_int_equal(j.specs[1].verdict, KEEP_KEPT);
	assert_true(j.specs[0].late > 1000);
	assert_int_equal(j.specs[1].late, 0);
}

static void test_keep_latency_needs_a_thousand(void **state)
{
	struct keep_judgement j;
	uint64_t now;

	(void)state;
	keeper_promise("iops >= 500, latency <= 2 ms", START);
	now = at_rate(START, 900, 500, 0, MS, 0);
	j = keeper_judged(now);
	assert_int_equal(j.specs[0].verdict, KEEP_KEPT);
	assert_int_equal(j.specs[1].verdict, KEEP_UNKNOWN);
	assert_int_equal(j.verdict, KEEP_UNKNOWN);
	/* Eleven late ones are too many for any thousand. */
	at_rate(now, 11, 500, 1, MS, 3 * MS);
	assert_int_equal(keeper_judged(now + S).verdict, KEEP_BROKEN);

	/* 40 a second: a thousand take 25 s, so it looks further back. */
	keeper_promise("latency <= 2 ms", START);
	now = at_rate(START, 4000, 40, 0, MS, 0);
	j = keeper_judged(now);
	assert_int_equal(j.verdict, KEEP_KEPT);
	assert_in_range(j.window_s, 25, 27);
	assert_in_range(j.specs[0].conforming, 1000, 1100);
	/* 10 a second: never. */
	keeper_promise("latency <= 2 ms", START);
	now = at_rate(START, 4000, 10, 0, MS, 0);
	j = keeper_judged(now);
	assert_int_equal(j.verdict, KEEP_UNKNOWN);
	assert_int_equal(j.window_s, 60);
}

static void test_keep_latency_beyond_the_promise_is_best_effort(void **state)
{
	struct keep_judgement j;
	unsigned int conforming = 0;
	uint64_t now = START;

	(void)state;
	keeper_promise("iops >= 500, read latency <= 2 ms", START);
	/* 2000 a second, of which about 500 conform; late are the others. */
	for (unsigned int i = 0; i < 20000; i++) {
		const bool fits = keep_arrive(&keep, false, 4096, now);

		keep_done(&keep, false, 4096, fits, fits ? MS : 4 * MS, now);
		conforming += fits;
		now += S / 2000;
	}
	assert_in_range(conforming, 4990, 5010);
	j = keeper_judged(now);
	assert_int_equal(j.verdict, KEEP_KEPT);
	assert_int_equal(j.specs[1].late, 0);
	/* Burst: half of 2 ms at 500/s is half a request, so one at once. */
	now += S;
	assert_true(keep_arrive(&keep, false, 4096, now));
	assert_false(keep_arrive(&keep, false, 4096, now));
	keeper_finish(now);
	/* Writes have no promised latency, but use up the promised total. */
	now += S;
	assert_true(keep_arrive(&keep, true, 4096, now));
	assert_false(keep_arrive(&keep, false, 4096, now));
}

/* What a process sent beyond its promise is before what it sends later: that
 * queue is its own, and as long as the promised rate would take to work it off
 * no latency was promised.  Seen with a trace of a real VM, whose bursts are
 * ten times the rate that it was promised. */
static void test_keep_latency_behind_own_excess_is_not_judged(void **state)
{
	uint64_t came[2048], now = START, service_ns = MS / 5;
	unsigned int first = 0, last = 0, conforming = 0, judged_late = 0;
	bool fits[2048];

	(void)state;
	keeper_promise("iops >= 1000, latency <= 4 ms", START);
	/* 800 a second; 500 more at once, every second; in order, 5000/s. */
	for (uint64_t end = START, tick = 0; tick < 20 * S / service_ns;
	     tick++, now += service_ns) {
		const unsigned int burst = tick % 5000 == 100 ? 500 : 0;

		if (first != last && now >= end) {
			const uint64_t latency = now - came[first % 2048];

			judged_late += fits[first % 2048] && latency > 4 * MS;
			keep_done(&keep, false, 4096, fits[first % 2048],
				  latency, now);
			first++;
		}
		for (unsigned int i = 0; i < burst + (tick % 6 == 0); i++) {
			came[last % 2048] = now;
			fits[last % 2048] =
				keep_arrive(&keep, false, 4096, now);
			conforming += fits[last++ % 2048];
		}
		end = now;
	}
	assert_int_equal(judged_late, 0);
	/* Nine tenths of the time nothing of a burst waits. */
	assert_in_range(conforming, 20 * 833 * 85 / 100, 20 * 840);
	assert_int_equal(keeper_judged(now).verdict, KEEP_KEPT);
}

static void test_keep_latency_max_breaks_at_once(void **state)
{
	uint64_t now;

	(void)state;
	keeper_promise("latency max <= 5 ms", START);
	now = at_rate(START, 100, 500, 0, MS, 0);
	assert_int_equal(keeper_judged(now).verdict, KEEP_UNKNOWN);
	now = at_rate(now, 1, 500, 1, MS, 6 * MS);
	assert_int_equal(keeper_judged(now).verdict, KEEP_BROKEN);
	/* One that has not come back yet. */
	keeper_promise("latency max <= 5 ms", START);
	keep_arrive(&keep, false, 4096, START);
	assert_int_equal(keeper_judged(START + 5 * MS).verdict, KEEP_UNKNOWN);
	assert_int_equal(keeper_judged(START + 300 * MS).verdict, KEEP_BROKEN);
	keep_failed(&keep, false, 4096, true, START + 301 * MS);
	assert_int_equal(keeper_judged(START + 302 * MS).verdict, KEEP_UNKNOWN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keep_latency_percentile),
		cmocka_unit_test(test_keep_latency_needs_a_thousand),
		cmocka_unit_test(
			test_keep_latency_beyond_the_promise_is_best_effort),
		cmocka_unit_test(
			test_keep_latency_behind_own_excess_is_not_judged),
		cmocka_unit_test(test_keep_latency_max_breaks_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
