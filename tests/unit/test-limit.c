/* SPDX-License-Identifier: Apache-2.0 */
/* test-limit.c - limits from text, and scheduling parameters (E4, E8, E9) */
#include "sla/limit.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void expect_text(const char *text, const char *expected)
{
	struct sched_limits limits = {.burst_ns = 0};
	char buffer[LIMIT_TEXT_MAX];
	struct error error = {""};

	if (sla_parse_limit(text, &limits, &error) != 0)
		fail_msg("'%s': %s", text, error.text);
	assert_string_equal(sla_format_limit(&limits, buffer, sizeof(buffer)),
			    expected);
	assert_int_equal(sla_parse_limit(buffer, &limits, &error), 0);
	assert_string_equal(sla_format_limit(&limits, buffer, sizeof(buffer)),
			    expected);
}

static void test_limit_every_way_of_writing(void **state)
{
	(void)state;
	expect_text("iops <= 2000, read bandwidth <= 10 MB/s",
		    "iops <= 2000, read bandwidth <= 10 MB/s");
	expect_text("iops 2k", "iops <= 2000");
	expect_text("iops: 2k,burst 50 ms", "iops <= 2000, burst 50 ms");
	expect_text(" write  iops=7 , write bandwidth: 80 Mbps",
		    "write iops <= 7, write bandwidth <= 10 MB/s");
	expect_text("bandwidth <=1MiB/s, read iops<=.5k",
		    "read iops <= 500, bandwidth <= 1 MiB/s");
	expect_text("", "");
	expect_text("burst: 1 s", "");
}

static void test_limit_longest_text_fits(void **state)
{
	struct sched_limits limits = {.burst_ns = 9999999999};
	char buffer[LIMIT_TEXT_MAX];
	struct error error;

	(void)state;
	for (unsigned int axis = 0; axis < SCHED_AXES; axis++)
		limits.limit_per_s[axis] = SCHED_RATE_MAX - 1;
	sla_format_limit(&limits, buffer, sizeof(buffer));
	memset(&limits, 0, sizeof(limits));
	assert_int_equal(sla_parse_limit(buffer, &limits, &error), 0);
	assert_true(limits.limit_per_s[SCHED_TOTAL_BYTES] ==
		    SCHED_RATE_MAX - 1);
	assert_int_equal(limits.burst_ns, 9999999999);
}

static void test_limit_bad_text_is_refused(void **state)
{
	static const char *const texts[] = {
		",",
		"iops",
		"iops <=",
		"iops >= 5",
		"iops < 5",
		"iops 0",
		"2000",
		"iops 5,",
		"iops 5, iops 6",
		"latency <= 5 ms",
		"read 5",
		"read write iops 5",
		"iops iops 5",
		"iops 5 MB/s",
		"bandwidth 5",
		"bandwidth 5k",
		"burst 5",
		"burst 11 s",
		"iops 5000G",
		"readiops 5",
		"read iops p99 5",
		("iops                                                          "
		 "                           5"),
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct sched_limits limits = {.limit_per_s = {77},
					      .burst_ns = 5};
		struct error error = {""};

		if (sla_parse_limit(texts[i], &limits, &error) != -EINVAL)
			fail_msg("'%s' was taken", texts[i]);
		assert_int_equal(limits.limit_per_s[0], 77);
		assert_int_equal(limits.burst_ns, 5);
		assert_true(strlen(error.text) > 10);
	}
}

static void test_limit_entries_as_configured(void **state)
{
	struct sched_limits limits = {.burst_ns = 0};
	struct error error;

	(void)state;
	assert_int_equal(sla_parse_limit_entry("iops", "2000", &limits, &error),
			 0);
	assert_int_equal(sla_parse_limit_entry("read bandwidth", "<= 100 MB/s",
					       &limits, &error),
			 0);
	assert_int_equal(
		sla_parse_limit_entry("burst", "50 ms", &limits, &error), 0);
	assert_int_equal(limits.limit_per_s[SCHED_TOTAL_IOPS], 2000);
	assert_int_equal(limits.limit_per_s[SCHED_READ_BYTES], 100000000);
	assert_int_equal(limits.burst_ns, 50000000);
	assert_int_equal(sla_parse_limit_entry("iops", "3000", &limits, &error),
			 -EINVAL);
	assert_string_equal(error.text, "iops is limited twice");
}

static void test_limit_and_sla_for_the_scheduler(void **state)
{
	struct sched_limits limits = {.burst_ns = 7};
	struct sched_params params;
	struct error error;
	struct sla sla;

	(void)state;
	assert_int_equal(
		sla_parse(
			"iops >= 500, read iops >= 100, "
			"write bandwidth >= 1 MB/s, latency max <= 9 ms, "
			"latency p50 <= 3 ms, read latency <= 2 ms, capacity >= 1 GiB",
			&sla, &error),
		0);
	assert_int_equal(sla_parse_limit("iops 800", &limits, &error), 0);
	assert_int_equal(sla_to_sched(&sla, &limits, 5, true, &params, &error),
			 0);
	assert_int_equal(params.reservation_per_s[SCHED_TOTAL_IOPS], 500);
	assert_int_equal(params.reservation_per_s[SCHED_READ_IOPS], 100);
	assert_int_equal(params.reservation_per_s[SCHED_WRITE_IOPS], 0);
	assert_int_equal(params.reservation_per_s[SCHED_WRITE_BYTES], 1000000);
	assert_int_equal(params.limit_per_s[SCHED_TOTAL_IOPS], 800);
	assert_int_equal(params.latency_ns[SCHED_READ], 2000000);
	assert_int_equal(params.latency_ns[SCHED_WRITE], 3000000);
	assert_int_equal(params.weight, 5);
	assert_int_equal(params.burst_ns, 7);

	/* Best effort that did not fit reserves nothing. */
	assert_int_equal(sla_to_sched(&sla, &limits, 0, false, &params, &error),
			 0);
	assert_int_equal(params.reservation_per_s[SCHED_TOTAL_IOPS], 0);
	assert_int_equal(params.latency_ns[SCHED_READ], 0);
	assert_int_equal(params.limit_per_s[SCHED_TOTAL_IOPS], 800);

	assert_int_equal(sla_to_sched(&sla, NULL, 0, true, &params, &error), 0);
	assert_int_equal(params.limit_per_s[SCHED_TOTAL_IOPS], 0);
}

static void test_limit_below_the_promise_is_refused(void **state)
{
	static const char *const pairs[][2] = {
		{"iops >= 500", "iops 499"},
		{"read iops >= 300, write iops >= 300", "iops 599"},
		{"write bandwidth >= 2 MB/s", "write bandwidth 1 MB/s"},
		{"read iops >= 300, iops >= 100", "iops 200"},
	};

	(void)state;
	for (unsigned int i = 0; i < 4; i++) {
		struct sched_limits limits = {.burst_ns = 0};
		struct sched_params params = {.weight = 77};
		struct error error = {""};
		struct sla sla;

		assert_int_equal(sla_parse(pairs[i][0], &sla, &error), 0);
		assert_int_equal(sla_parse_limit(pairs[i][1], &limits, &error),
				 0);
		assert_int_equal(
			sla_to_sched(&sla, &limits, 1, true, &params, &error),
			-EINVAL);
		assert_int_equal(params.weight, 77);
		assert_int_equal(
			sla_to_sched(&sla, &limits, 1, false, &params, &error),
			0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limit_every_way_of_writing),
		cmocka_unit_test(test_limit_longest_text_fits),
		cmocka_unit_test(test_limit_bad_text_is_refused),
		cmocka_unit_test(test_limit_entries_as_configured),
		cmocka_unit_test(test_limit_and_sla_for_the_scheduler),
		cmocka_unit_test(test_limit_below_the_promise_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
