/* SPDX-License-Identifier: Apache-2.0 */
/* test-sla.c - specifications from text and back (E4) */
#include "sla/sla.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "asking.h"

static void expect_text(const char *text, const char *expected)
{
	struct sla sla = asking_sla(text);
	char buffer[SLA_TEXT_MAX];

	assert_string_equal(sla_format(&sla, buffer, sizeof(buffer)), expected);
	sla = asking_sla(buffer);
	assert_string_equal(sla_format(&sla, buffer, sizeof(buffer)), expected);
	assert_int_equal(sla_check(&sla, NULL), 0);
}

static void test_sla_every_metric(void **state)
{
	struct sla sla =
		asking_sla("read iops >= 1.5k,latency p99.9 <= 250 us");

	(void)state;
	assert_int_equal(sla.count, 2);
	assert_int_equal(sla.specs[0].metric, SLA_IOPS);
	assert_int_equal(sla.specs[0].direction, SLA_READ);
	assert_int_equal(sla.specs[0].relation, SLA_AT_LEAST);
	assert_int_equal(sla.specs[0].percentile, 0);
	assert_int_equal(sla.specs[0].value, 1500);
	assert_int_equal(sla.specs[1].metric, SLA_LATENCY);
	assert_int_equal(sla.specs[1].direction, SLA_TOTAL);
	assert_int_equal(sla.specs[1].relation, SLA_AT_MOST);
	assert_int_equal(sla.specs[1].percentile, 999);
	assert_int_equal(sla.specs[1].value, 250000);

	expect_text("iops >= 500, latency <= 2 ms",
		    "iops >= 500, latency p99 <= 2 ms");
	expect_text("  IOPS>=500 ,bandwidth >= 500 Mbps ",
		    "iops >= 500, bandwidth >= 62.5 MB/s");
	expect_text("write bandwidth >= 1MiB/s, capacity >= 10GiB, "
		    "read latency max <= 1 s, write latency p50 <= 0.1 ms",
		    "write bandwidth >= 1 MiB/s, capacity >= 10 GiB, "
		    "read latency max <= 1 s, write latency p50 <= 100 us");
	expect_text("ops >= 2M, jitter <= 1 ms, loss <= 0 %",
		    "ops >= 2M, jitter <= 1 ms, loss <= 0 %");
	expect_text("loss <= 20 ppm", "loss <= 0.002 %");
	/* Percentiles and directions are specifications of their own. */
	expect_text("latency p50 <= 1 ms, latency p99 <= 2 ms, "
		    "read latency <= 1 ms, write iops >= 1, read iops >= 1, "
		    "iops >= 2",
		    "latency p50 <= 1 ms, latency p99 <= 2 ms, "
		    "read latency p99 <= 1 ms, write iops >= 1, "
		    "read iops >= 1, iops >= 2");
}

static void test_sla_bad_text_is_refused(void **state)
{
	static const char *const texts[] = {
		"",
		"  ",
		",",
		"iops >= 500,",
		"iops >= 500,,latency <= 1 ms",
		"iops",
		"iops 500",
		"iops >= ",
		"iops >=",
		"iops > 500",
		"iops = 500",
		"iops <= 500",
		"latency >= 2 ms",
		"latency <= 2",
		"latency <= ms",
		"latency p99 p50 <= 2 ms",
		"latency p0 <= 2 ms",
		"latency p101 <= 2 ms",
		"latency p99.95 <= 2 ms",
		"latency p <= 2 ms",
		"latency 99 <= 2 ms",
		"iops p99 >= 500",
		"jitter p99 <= 1 ms",
		"bandwidth >= 500",
		"bandwidth >= 500 MB",
		"capacity >= 10",
		"capacity >= 10 MB/s",
		"loss <= 1",
		"loss <= 100 %",
		"iops >= 0",
		"latency <= 0 ns",
		"latency <= 2 h",
		"latency <= 3601 s",
		"iops >= 5000G",
		"iops >= 500 ms",
		"iops >= -5",
		"read capacity >= 1 GiB",
		"read ops >= 5",
		"write jitter <= 1 ms",
		"read read iops >= 5",
		"read >= 5",
		"write",
		"throughput >= 5",
		"iopss >= 5",
		"iops >= 500, iops >= 600",
		"latency <= 1 ms, latency p99 <= 2 ms",
		"iops >= 500; latency <= 1 ms",
		"iops >= 500 latency <= 1 ms",
		"iops >= 1 >= 2",
		"iops\n>= 5",
		"\x01",
		"iops >= 5\x80",
		"read iops something >= 5",
		"iopsiopsiopsiopsiopsiopsiopsiopsiopsiopsiopsiopsiops >= 1",
		("iops >=                                                        "
		 "                                                               "
		 "                                                              1"),
	};
	char text[SLA_TEXT_MAX + 8];

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct error error = {""};
		struct sla sla = {.count = 77};

		if (sla_parse(texts[i], &sla, &error) != -EINVAL)
			fail_msg("'%s' was taken", texts[i]);
		assert_int_equal(sla.count, 77);
		assert_true(strlen(error.text) > 4);
		assert_true(strlen(error.text) < 300);
	}
	memset(text, ' ', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	memcpy(text, "iops >= 1", 9);
	assert_int_equal(sla_parse(text, &(struct sla){.count = 0}, NULL),
			 -EINVAL);
}

static void test_sla_says_what_is_wrong(void **state)
{
	struct error error;
	struct sla sla;

	(void)state;
	sla_parse("iops <= 5", &sla, &error);
	assert_string_equal(error.text,
			    "'iops <= 5' promises nothing: iops takes '>='");
	sla_parse("latency <= 2", &sla, &error);
	assert_string_equal(
		error.text,
		"latency: '2' has no unit: add one of ns, us, ms, s");
	sla_parse("iops >= 99999999999999999999", &sla, &error);
	assert_string_equal(error.text,
			    "iops: '99999999999999999999' is too large");
	sla_parse_entry("iops", "500", &sla, &error);
	assert_string_equal(
		error.text,
		"iops: '500' has no relation: write it like '>= VALUE'");
	sla_parse("latency p99.99 <= 2 ms", &sla, &error);
	assert_string_equal(
		error.text,
		"'latency p99.99': write the percentile as p50, p99.9 (one decimal at most) or max");
	sla_parse("iops >= 1, iops >= 2", &sla, &error);
	assert_string_equal(error.text, "iops is there twice");
}

static void test_sla_entries_as_configured(void **state)
{
	struct sla sla = {.count = 0};
	struct error error;
	char text[SLA_TEXT_MAX];

	(void)state;
	assert_int_equal(sla_parse_entry("read iops", ">= 500", &sla, &error),
			 0);
	assert_int_equal(
		sla_parse_entry("latency", "p99 <= 1 ms", &sla, &error), 0);
	assert_int_equal(
		sla_parse_entry("latency p50", "<= 0.5 ms", &sla, &error), 0);
	assert_string_equal(
		sla_format(&sla, text, sizeof(text)),
		"read iops >= 500, latency p99 <= 1 ms, latency p50 <= 500 us");
	assert_int_equal(
		sla_parse_entry("latency p50", "p99 <= 1 ms", &sla, &error),
		-EINVAL);
	assert_int_equal(sla_parse_entry("iops", "p99 >= 1", &sla, &error),
			 -EINVAL);
	assert_int_equal(sla_parse_entry("latency", "<= 3 ms", &sla, &error),
			 -EINVAL);
	assert_int_equal(sla_parse_entry("iops", "500", &sla, &error), -EINVAL);
	assert_int_equal(sla.count, 3);
}

static void test_sla_at_most_sixteen(void **state)
{
	struct sla sla = {.count = 0};
	struct error error;

	(void)state;
	for (unsigned int i = 0; i < SLA_SPECS_MAX; i++) {
		char key[32];

		snprintf(key, sizeof(key), "write latency p%u.5", 80 + i);
		assert_int_equal(
			sla_parse_entry(key, "<= 3600 s", &sla, &error), 0);
	}
	assert_int_equal(sla_parse_entry("iops", ">= 1", &sla, &error),
			 -EINVAL);
	{
		char text[SLA_TEXT_MAX];
		struct sla same =
			asking_sla(sla_format(&sla, text, sizeof(text)));

		assert_true(sla_equal(&sla, &same));
	}
}

static void test_sla_equal_in_any_order(void **state)
{
	struct sla a = asking_sla("iops >= 5, latency <= 1 ms");
	struct sla b = asking_sla("latency p99 <= 1000 us, iops >= 5");
	struct sla c = asking_sla("latency p99 <= 1000 us, iops >= 6");
	struct sla d = asking_sla("iops >= 5");

	(void)state;
	assert_true(sla_equal(&a, &b));
	assert_false(sla_equal(&a, &c));
	assert_false(sla_equal(&a, &d));
}

static void test_sla_check_believes_nothing(void **state)
{
	struct sla sla = asking_sla("iops >= 5, latency <= 1 ms");
	struct error error;

	(void)state;
	assert_int_equal(sla_check(&sla, &error), 0);
	sla.specs[1].metric = 200;
	assert_int_equal(sla_check(&sla, &error), -EINVAL);
	sla = asking_sla("iops >= 5, latency <= 1 ms");
	sla.specs[1].percentile = 0;
	assert_int_equal(sla_check(&sla, &error), -EINVAL);
	sla = asking_sla("iops >= 5, latency <= 1 ms");
	sla.specs[0].direction = 9;
	assert_int_equal(sla_check(&sla, &error), -EINVAL);
	sla.specs[0] = sla.specs[1];
	assert_int_equal(sla_check(&sla, &error), -EINVAL);
	sla.count = 100000;
	assert_int_equal(sla_check(&sla, &error), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sla_every_metric),
		cmocka_unit_test(test_sla_bad_text_is_refused),
		cmocka_unit_test(test_sla_says_what_is_wrong),
		cmocka_unit_test(test_sla_entries_as_configured),
		cmocka_unit_test(test_sla_at_most_sixteen),
		cmocka_unit_test(test_sla_equal_in_any_order),
		cmocka_unit_test(test_sla_check_believes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
