/* SPDX-License-Identifier: Apache-2.0 */
/* test-units.c - numbers with units (E4, contract) */
#include "base/units.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

typedef int parser(const char *text, uint64_t *ret_value, struct error *reterr);
typedef char *formatter(char *buffer, size_t size, uint64_t value);

struct vector {
	const char *text;
	uint64_t value;
};

static void expect_values(parser *parse, const struct vector *vectors)
{
	for (const struct vector *v = vectors; v->text; v++) {
		struct error error = {""};
		uint64_t value = 0;

		if (parse(v->text, &value, &error) != 0)
			fail_msg("'%s': %s", v->text, error.text);
		if (value != v->value)
			fail_msg("'%s' is %llu", v->text,
				 (unsigned long long)value);
	}
}

static void expect_refused(parser *parse, const char *const *texts)
{
	for (; *texts; texts++) {
		struct error error = {""};
		uint64_t value = 42;

		if (parse(*texts, &value, &error) != -EINVAL)
			fail_msg("'%s' was taken", *texts);
		assert_int_equal(value, 42);
		assert_true(strlen(error.text) > 10);
	}
}

static void test_units_rates(void **state)
{
	(void)state;
	/* E4: 500 Mbps and 62.5 MB/s are the same number. */
	expect_values(units_parse_rate,
		      (const struct vector[]){{"500 Mbps", 62500000},
					      {"62.5 MB/s", 62500000},
					      {"62.5MBS", 62500000},
					      {"1 KBS", 1000},
					      {"1 MBS", 1000000},
					      {"1 GBS", 1000000000},
					      {"1 KB/s", 1000},
					      {"3 MB/s", 3000000},
					      {"2 GB/s", UINT64_C(2000000000)},
					      {"1 Kbps", 125},
					      {"8 bps", 1},
					      {"1 Gbps", 125000000},
					      {"4 KiB/s", 4096},
					      {"1 MiB/s", 1048576},
					      {"1.5 GiB/s", 1610612736},
					      {" 7 B/s\t", 7},
					      {"0.001 KB/s", 1},
					      {"33.3333 Mbps", 4166663},
					      {NULL, 0}});
	expect_refused(units_parse_rate,
		       (const char *const[]){"",
					     " ",
					     "500",
					     "500 mbps",
					     "500 MB",
					     "500 Mb/s",
					     "500 M",
					     "Mbps",
					     "-1 MB/s",
					     "+1 MB/s",
					     "1 MB/s x",
					     "1,5 MB/s",
					     "1. MB/s",
					     "0x10 B/s",
					     "1e3 B/s",
					     "0.1 B/s",
					     "4611686018427387905 B/s",
					     "99999999999999999999 B/s",
					     "4611686018427387904 GiB/s",
					     "0.0000000000000000001 GB/s",
					     "nan MB/s",
					     NULL});
}

static void test_units_counts(void **state)
{
	(void)state;
	expect_values(units_parse_count,
		      (const struct vector[]){
			      {"500", 500},
			      {"1.5k", 1500},
			      {"2M", 2000000},
			      {"1 G", 1000000000},
			      {".5k", 500},
			      {"0", 0},
			      {"007", 7},
			      {"4611686018427387904", UINT64_C(1) << 62},
			      {NULL, 0}});
	expect_refused(units_parse_count,
		       (const char *const[]){"", "k", "1.5", "1K", "1 kk",
					     "1 MB", "-5", "1..5", ".", "5k k",
					     "4611686018427387905", "0.0001k",
					     NULL});
}

static void test_units_sizes(void **state)
{
	(void)state;
	expect_values(
		units_parse_size,
		(const struct vector[]){{"4096", 4096},
					{"4096 B", 4096},
					{"10GiB", UINT64_C(10737418240)},
					{"512MiB", 536870912},
					{"1 KB", 1000},
					{"1 MB", 1000000},
					{"1GB", 1000000000},
					{"1 TB", UINT64_C(1000000000000)},
					{"1 KiB", 1024},
					{"1TiB", UINT64_C(1) << 40},
					{"1.3 GiB", 1395864371},
					{"4194304 TiB", UINT64_C(1) << 62},
					{NULL, 0}});
	expect_refused(units_parse_size,
		       (const char *const[]){"", "GiB", "1 kB", "1 KBS",
					     "1 GiB/s", "10 GiBs", "1 PB",
					     "4194305 TiB", NULL});
}

static void test_units_durations(void **state)
{
	(void)state;
	expect_values(units_parse_duration,
		      (const struct vector[]){{"100 ns", 100},
					      {"250 us", 250000},
					      {"2ms", 2000000},
					      {"1.5 s", 1500000000},
					      {"0.000001 ms", 1},
					      {"0 ms", 0},
					      {NULL, 0}});
	expect_refused(units_parse_duration,
		       (const char *const[]){"", "5", "5 m", "5 h", "5 MS",
					     "5 mss", "0.1 ns", NULL});
}

static void test_units_shares(void **state)
{
	(void)state;
	expect_values(units_parse_share,
		      (const struct vector[]){{"0.1 %", 1000000},
					      {"100%", 1000000000},
					      {"20 ppm", 20000},
					      {"5 ppb", 5},
					      {"0.0000001 %", 1},
					      {NULL, 0}});
	expect_refused(units_parse_share,
		       (const char *const[]){"", "1", "%", "1 percent", NULL});
}

static void expect_text(formatter *format, uint64_t value, const char *text)
{
	char buffer[UNITS_TEXT_MAX];

	assert_ptr_equal(format(buffer, sizeof(buffer), value), buffer);
	assert_string_equal(buffer, text);
}

static void test_units_shortest_text(void **state)
{
	char small[4];

	(void)state;
	expect_text(units_format_rate, 62500000, "62.5 MB/s");
	expect_text(units_format_rate, 1048576, "1 MiB/s");
	expect_text(units_format_rate, 1234567, "1234567 B/s");
	expect_text(units_format_rate, 0, "0 B/s");
	expect_text(units_format_count, 500, "500");
	expect_text(units_format_count, 12000, "12000");
	expect_text(units_format_count, 1500000, "1.5M");
	expect_text(units_format_count, 123456, "123456");
	expect_text(units_format_size, UINT64_C(10737418240), "10 GiB");
	expect_text(units_format_size, 1000000000, "1 GB");
	expect_text(units_format_size, UINT64_C(1) << 62, "4194304 TiB");
	expect_text(units_format_duration, 2000000, "2 ms");
	expect_text(units_format_duration, 1500000, "1.5 ms");
	expect_text(units_format_duration, 250000, "250 us");
	expect_text(units_format_duration, 1000000000, "1 s");
	expect_text(units_format_share, 1000000, "0.1 %");
	expect_text(units_format_share, 1, "0.0000001 %");

	assert_string_equal(units_format_size(small, sizeof(small), 10240),
			    "10 ");
}

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void test_units_text_parses_back(void **state)
{
	static const struct {
		parser *parse;
		formatter *format;
	} kinds[] = {
		{units_parse_count, units_format_count},
		{units_parse_size, units_format_size},
		{units_parse_rate, units_format_rate},
		{units_parse_duration, units_format_duration},
		{units_parse_share, units_format_share},
	};
	uint64_t seed = 88172645463325252;

	(void)state;
	for (unsigned int i = 0; i < 200000; i++) {
		const uint64_t random = next_random(&seed);
		uint64_t value = next_random(&seed) >> (2 + random % 62), back;
		const unsigned int kind = i % 5;
		char text[UNITS_TEXT_MAX], same[UNITS_TEXT_MAX];
		struct error error;

		if (random >> 63)
			value -= value % 1000;
		kinds[kind].format(text, sizeof(text), value);
		if (kinds[kind].parse(text, &back, &error) != 0)
			fail_msg("'%s': %s", text, error.text);
		if (back != value)
			fail_msg("'%s' is %llu", text,
				 (unsigned long long)back);
		kinds[kind].format(same, sizeof(same), back);
		assert_string_equal(text, same);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_units_rates),
		cmocka_unit_test(test_units_counts),
		cmocka_unit_test(test_units_sizes),
		cmocka_unit_test(test_units_durations),
		cmocka_unit_test(test_units_shares),
		cmocka_unit_test(test_units_shortest_text),
		cmocka_unit_test(test_units_text_parses_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
