/* SPDX-License-Identifier: Apache-2.0 */
/* test-limit.c - limits from text, and scheduling parameters (E4, E8, E9) */
#include "sla/limit.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void test_limit_every_way_of_writing(void **state)
{
	struct sched_limits limits = {.burst_ns = 5};

	(void)state;
	assert_int_equal(
		sla_parse_limit("read iops 1k, iops <= 2k, bandwidth 1 MB/s",
				&limits, NULL),
		0);
	assert_int_equal(limits.limit_per_s[SCHED_READ_IOPS], 1000);
	assert_int_equal(limits.limit_per_s[SCHED_WRITE_IOPS], 0);
	assert_int_equal(limits.limit_per_s[SCHED_TOTAL_IOPS], 2000);
	assert_int_equal(limits.limit_per_s[SCHED_TOTAL_BYTES], 1000000);
	assert_int_equal(limits.burst_ns, 5);
	assert_int_equal(
		sla_parse_limit(
			" write  iops <=.7k,read bandwidth <= 1MiB/s,write bandwidth 80 Mbps",
			&limits, NULL),
		0);
	assert_int_equal(limits.limit_per_s[SCHED_TOTAL_IOPS], 0);
	assert_int_equal(limits.limit_per_s[SCHED_WRITE_IOPS], 700);
	assert_int_equal(limits.limit_per_s[SCHED_READ_BYTES], 1048576);
	assert_int_equal(limits.limit_per_s[SCHED_WRITE_BYTES], 10000000);
	assert_int_equal(sla_parse_limit("none", &limits, NULL), 0);
	assert_int_equal(limits.limit_per_s[SCHED_WRITE_IOPS], 0);
	assert_int_equal(limits.burst_ns, 5);
}

static void test_limit_bad_text_is_refused(void **state)
{
	static const char *const texts[] = {
		"",
		"none, iops 5",
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
		"burst 50 ms",
		"iops: 5",
		"iops 5000G",
		"readiops 5",
		"read iops p99 5",
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
		cmocka_unit_test(test_limit_bad_text_is_refused),
		cmocka_unit_test(test_limit_and_sla_for_the_scheduler),
		cmocka_unit_test(test_limit_below_the_promise_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
