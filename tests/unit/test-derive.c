/* SPDX-License-Identifier: Apache-2.0 */
/* test-derive.c - a specification from what was seen (E7) */
#include "sla/derive.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define SECOND_NS	UINT64_C(1000000000)
#define MB		UINT64_C(1000000)
#define SECONDS_MAX	200U

static const struct sla nothing;
static const struct sched_limits unlimited;
static const struct sched_limits *const no_limits[] = {&unlimited};

struct seen {
	struct derive_cell cells[SECONDS_MAX];
	size_t count;
};

/* One second of reads and writes. */
static void see(struct seen *seen, uint64_t reads, uint64_t read_bytes,
		uint64_t writes, uint64_t write_bytes)
{
	const uint64_t count[2][DERIVE_AXES] = {{reads, read_bytes},
						{writes, write_bytes}};

	assert_true(seen->count < SECONDS_MAX);
	derive_count(&seen->cells[seen->count++], count, SECOND_NS);
}

/* A minute in which they took 'usual_ns', and two of a hundred 'late_ns'. */
static void see_latency(struct seen *seen, unsigned int requests,
			uint64_t usual_ns, uint64_t late_ns)
{
	static struct histogram before[2], now[2];

	memset(now, 0, sizeof(now));
	histogram_add(&now[0], usual_ns, requests - requests / 50);
	histogram_add(&now[0], late_ns, requests / 50);
	see(seen, requests, requests * 4096, 0, 0);
	derive_latency(&seen->cells[seen->count - 1], before, now);
}

static struct derive_proposal propose(const struct seen *seen,
				      const struct derive_options *options,
				      const struct sla *stated,
				      const struct sched_limits *limits)
{
	struct derive_proposal proposal;

	assert_int_equal(derive_propose(seen->cells, seen->count, options,
					stated, &limits, 1, &proposal),
			 0);
	return proposal;
}

static void proposes(const struct seen *seen,
		     const struct derive_options *options, const char *expected)
{
	struct derive_proposal proposal =
		propose(seen, options, &nothing, &unlimited);
	char text[SLA_TEXT_MAX];

	assert_string_equal(sla_format(&proposal.sla, text, sizeof(text)),
			    expected);
}

static void parse(const char *text, struct sla *sla)
{
	struct error why;

	assert_int_equal(sla_parse(text, sla, &why), 0);
}

/* The test vector: 10 to 20 MB/s were used. */
static void see_vector(struct seen *seen)
{
	for (uint64_t mb = 10; mb <= 20; mb++)
		see(seen, mb, mb * MB, 0, 0);
}

static void test_derive_vector(void **state)
{
	struct seen seen = {.count = 0};

	(void)state;
	see_vector(&seen);
	proposes(&seen, &derive_default, "iops >= 20, bandwidth >= 20 MB/s");
}

/* The user's choice: a percentile, head-room, reads and writes apart. */
static void test_derive_options(void **state)
{
	struct derive_options options = derive_default;
	struct seen seen = {.count = 0};

	(void)state;
	see_vector(&seen);
	options.percentile_milli = 50000;
	proposes(&seen, &options, "iops >= 15, bandwidth >= 15 MB/s");
	options.percentile_milli = 1;
	proposes(&seen, &options, "iops >= 10, bandwidth >= 10 MB/s");
	options.percentile_milli = 100000;
	options.headroom_milli = 500;
	proposes(&seen, &options, "iops >= 30, bandwidth >= 30 MB/s");
	options.headroom_milli = 0;
	options.is_split = true;
	see(&seen, 0, 0, 7, 5 * MB);
	proposes(
		&seen, &options,
		"read iops >= 20, read bandwidth >= 20 MB/s, write iops >= 7, write bandwidth >= 5 MB/s");
}

/* Seconds without requests are not among those of which it is the percentile:
 * a night does not take away what the day needs. */
static void test_derive_rest_does_not_count(void **state)
{
	struct derive_options options = derive_default;
	struct seen seen = {.count = 0};
	unsigned int i;

	(void)state;
	for (i = 0; i < 100; i++)
		see(&seen, 0, 0, 0, 0);
	for (i = 0; i < 10; i++)
		see(&seen, 500, 2 * MB, 500, 2 * MB);
	options.percentile_milli = 50000;
	proposes(&seen, &options, "iops >= 1000, bandwidth >= 4 MB/s");
}

/* Figures are such as a person would write, at most 5 % more, and never 1 %
 * less, than what was seen. */
static void test_derive_rounds(void **state)
{
	static const uint64_t values[][2] = {
		{1, 1},
		{7, 7},
		{99, 99},
		{100, 100},
		{101, 100},
		{103, 105},
		{1234, 1250},
		{478, 480},
		{1998, 2000},
		{2010, 2000},
		{12345, 12500},
		{56789, 57500},
		{987654, 1000000},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		struct seen seen = {.count = 0};
		struct derive_proposal proposal;

		see(&seen, values[i][0], 0, 0, 0);
		proposal =
			propose(&seen, &derive_default, &nothing, &unlimited);
		assert_int_equal(proposal.sla.specs[0].value, values[i][1]);
	}
	for (uint64_t value = 1; value < UINT64_C(1) << 42;
	     value += value / 7 + 1) {
		struct seen seen = {.count = 0};
		struct derive_proposal proposal;
		uint64_t found;

		see(&seen, value, 0, 0, 0);
		proposal =
			propose(&seen, &derive_default, &nothing, &unlimited);
		found = proposal.sla.specs[0].value;
		assert_true(found >= value - value / 100);
		assert_true(found <= value + value / 20 + 1);
	}
}

/* Latency: the p99 of the worst minute, of those with enough requests. */
static void test_derive_latency(void **state)
{
	struct derive_options options = derive_default;
	struct seen seen = {.count = 0};
	struct derive_proposal proposal;

	(void)state;
	see_latency(&seen, 1000, 200000, 500000);
	see_latency(&seen, 1000, 200000, 1900000);
	see_latency(&seen, DERIVE_LATENCY_MIN - 1, 30000000, 30000000);
	proposal = propose(&seen, &options, &nothing, &unlimited);
	assert_int_equal(proposal.sla.count, 3);
	assert_int_equal(proposal.sla.specs[2].metric, SLA_LATENCY);
	assert_int_equal(proposal.sla.specs[2].relation, SLA_AT_MOST);
	assert_int_equal(proposal.sla.specs[2].percentile, 990);
	/* Its bucket is 3 % wide. */
	assert_in_range(proposal.sla.specs[2].value, 1900000, 2050000);

	/* Never below what was seen, as 48 us would be of 48.1. */
	for (uint64_t ns = 10000; ns < 100000; ns += 127) {
		struct seen once = {.count = 0};
		uint64_t p99;

		see_latency(&once, 1000, ns, ns);
		p99 = once.cells[0].latency_ns[0][DERIVE_POINT_P99];
		proposal = propose(&once, &options, &nothing, &unlimited);
		assert_in_range(proposal.sla.specs[2].value, p99,
				p99 + p99 / 20 + 1);
	}

	options.headroom_milli = 1000;
	proposal = propose(&seen, &options, &nothing, &unlimited);
	assert_in_range(proposal.sla.specs[2].value, 3800000, 4100000);
	options = derive_default;
	options.percentile_milli = 50000;
	proposal = propose(&seen, &options, &nothing, &unlimited);
	assert_in_range(proposal.sla.specs[2].value, 500000, 540000);
}

/* What was stated stays, whatever was seen. */
static void test_derive_stated_stays(void **state)
{
	struct seen seen = {.count = 0};
	struct derive_proposal proposal;
	char text[SLA_TEXT_MAX];
	struct sla stated;

	(void)state;
	parse("bandwidth >= 5 MB/s, latency p95 <= 3 ms", &stated);
	see_vector(&seen);
	see_latency(&seen, 1000, 9000000, 9000000);
	proposal = propose(&seen, &derive_default, &stated, &unlimited);
	assert_string_equal(
		sla_format(&proposal.sla, text, sizeof(text)),
		"bandwidth >= 5 MB/s, latency p95 <= 3 ms, iops >= 1000");
	assert_int_equal(proposal.derived, 1U << 2);
	derive_stated(&proposal.sla, proposal.derived, &stated);
	assert_string_equal(sla_format(&stated, text, sizeof(text)),
			    "bandwidth >= 5 MB/s, latency p95 <= 3 ms");
}

/* Never above a limit: its own, its vdev's, or both directions' together. */
static void test_derive_within_limits(void **state)
{
	struct sched_limits own = {
		.limit_per_s = {[SCHED_TOTAL_BYTES] = 12345678}};
	struct sched_limits vdev = {
		.limit_per_s = {[SCHED_READ_IOPS] = 7, [SCHED_WRITE_IOPS] = 4}};
	const struct sched_limits *const limits[] = {&own, &vdev};
	struct derive_options options = derive_default;
	struct seen seen = {.count = 0};
	struct derive_proposal proposal;

	(void)state;
	see_vector(&seen);
	assert_int_equal(derive_propose(seen.cells, seen.count, &options,
					&nothing, limits, 2, &proposal),
			 0);
	assert_int_equal(proposal.sla.specs[0].value, 11);
	assert_int_equal(proposal.sla.specs[1].value, 12345678);
	assert_int_equal(proposal.bounded, 3);
	options.is_split = true;
	assert_int_equal(derive_propose(seen.cells, seen.count, &options,
					&nothing, limits, 2, &proposal),
			 0);
	assert_int_equal(proposal.sla.specs[0].value, 7);
}

static void test_derive_nothing_seen(void **state)
{
	struct derive_proposal proposal;
	struct seen seen = {.count = 0};

	(void)state;
	assert_int_equal(derive_propose(seen.cells, 0, &derive_default,
					&nothing, no_limits, 1, &proposal),
			 -ENODATA);
	see(&seen, 0, 0, 0, 0);
	assert_int_equal(derive_propose(seen.cells, 1, &derive_default,
					&nothing, no_limits, 1, &proposal),
			 -ENODATA);
}

/* Kept up: small changes are let be, what is not seen any more stays. */
static void test_derive_settles(void **state)
{
	struct seen seen = {.count = 0};
	struct derive_proposal proposal;
	char text[SLA_TEXT_MAX];
	struct sla now;

	(void)state;
	see(&seen, 1000, 4 * MB, 0, 0);
	parse("latency p99 <= 1 ms, iops >= 960, bandwidth >= 4.5 MB/s", &now);
	proposal = propose(&seen, &derive_default, &nothing, &unlimited);
	assert_false(derive_settle(&now, 7, &proposal));
	parse("latency p99 <= 1 ms, iops >= 900, bandwidth >= 4.5 MB/s", &now);
	proposal = propose(&seen, &derive_default, &nothing, &unlimited);
	assert_true(derive_settle(&now, 7, &proposal));
	assert_string_equal(
		sla_format(&proposal.sla, text, sizeof(text)),
		"iops >= 1000, bandwidth >= 4 MB/s, latency p99 <= 1 ms");
	assert_int_equal(proposal.derived, 7);
	parse("iops >= 1300, bandwidth >= 4 MB/s", &now);
	proposal = propose(&seen, &derive_default, &nothing, &unlimited);
	assert_true(derive_settle(&now, 3, &proposal));
	parse("iops >= 1200, bandwidth >= 4 MB/s", &now);
	proposal = propose(&seen, &derive_default, &nothing, &unlimited);
	assert_false(derive_settle(&now, 3, &proposal));
	parse("bandwidth >= 4 MB/s", &now);
	proposal = propose(&seen, &derive_default, &nothing, &unlimited);
	assert_true(derive_settle(&now, 1, &proposal));
}

/* A limit that has come down is obeyed at once. */
static void test_derive_settles_below_limit(void **state)
{
	const struct sched_limits limits = {
		.limit_per_s = {[SCHED_TOTAL_IOPS] = 990}};
	struct seen seen = {.count = 0};
	struct derive_proposal proposal;
	struct sla now;

	(void)state;
	see(&seen, 1000, 4 * MB, 0, 0);
	parse("iops >= 1000, bandwidth >= 4 MB/s", &now);
	proposal = propose(&seen, &derive_default, &nothing, &limits);
	assert_true(derive_settle(&now, 3, &proposal));
	assert_int_equal(proposal.sla.specs[0].value, 990);
}

/* Rolled up, the top stays the top. */
static void test_derive_merges(void **state)
{
	struct derive_cell all = {0};
	struct seen seen = {.count = 0};

	(void)state;
	see_vector(&seen);
	for (size_t i = 0; i < seen.count; i++)
		derive_merge(&all, &seen.cells[i]);
	assert_int_equal(all.seconds, 11);
	assert_int_equal(all.top_per_s[SLA_TOTAL][DERIVE_BYTES], 20 * MB);
	assert_int_equal(all.sum[0][DERIVE_BYTES], 165 * MB);
	seen.cells[0] = all;
	seen.count = 1;
	proposes(&seen, &derive_default, "iops >= 20, bandwidth >= 20 MB/s");
}

static void test_derive_words(void **state)
{
	static const char *const wrong[] = {
		"",	"1",	 "1y", "-1h", "59s",
		"401d", "1h 2m", "h",  "1.h", "99999999999h"};
	struct error why;
	uint32_t value;

	(void)state;
	assert_int_equal(derive_parse_window("1h", &value, &why), 0);
	assert_int_equal(value, 3600);
	assert_int_equal(derive_parse_window("1.5 h", &value, &why), 0);
	assert_int_equal(value, 5400);
	assert_int_equal(derive_parse_window("400d", &value, &why), 0);
	assert_int_equal(derive_parse_window("10 min", &value, &why), 0);
	assert_int_equal(value, 600);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(derive_parse_window(wrong[i], &value, &why),
				 -EINVAL);
	assert_int_equal(derive_parse_percentile("99.9", &value, &why), 0);
	assert_int_equal(value, 99900);
	assert_int_equal(derive_parse_percentile("p95", &value, &why), 0);
	assert_int_equal(derive_parse_percentile("max", &value, &why), 0);
	assert_int_equal(value, 100000);
	assert_int_equal(derive_parse_percentile("0", &value, &why), -EINVAL);
	assert_int_equal(derive_parse_percentile("100.1", &value, &why),
			 -EINVAL);
	assert_int_equal(derive_parse_percentile("p", &value, &why), -EINVAL);
	assert_int_equal(derive_parse_headroom("12.5 %", &value, &why), 0);
	assert_int_equal(value, 125);
	assert_int_equal(derive_parse_headroom("0%", &value, &why), 0);
	assert_int_equal(derive_parse_headroom("20", &value, &why), -EINVAL);
	assert_int_equal(derive_parse_headroom("1001%", &value, &why), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_derive_vector),
		cmocka_unit_test(test_derive_options),
		cmocka_unit_test(test_derive_rest_does_not_count),
		cmocka_unit_test(test_derive_rounds),
		cmocka_unit_test(test_derive_latency),
		cmocka_unit_test(test_derive_stated_stays),
		cmocka_unit_test(test_derive_within_limits),
		cmocka_unit_test(test_derive_nothing_seen),
		cmocka_unit_test(test_derive_settles),
		cmocka_unit_test(test_derive_settles_below_limit),
		cmocka_unit_test(test_derive_merges),
		cmocka_unit_test(test_derive_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
