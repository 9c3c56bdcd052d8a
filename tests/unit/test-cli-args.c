/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-cli-args.c - the words after a verb
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cli/args.h"

static const struct cli_option options[] = {
	{"sla", "SLA", ""},
	{"session", NULL, ""},
	{NULL, NULL, NULL},
};
static const struct cli_verb verb = {
	.group = "process",
	.name = "add",
	.operands = "PASID",
	.operands_min = 1,
	.operands_max = 1,
	.options = options,
};

static struct cli_common common;
static struct cli_args args;
static struct error error;

/* Words up to NULL. */
static int parse(const char *const *words)
{
	char *argv[16];
	int argc = 0;

	for (; words[argc]; argc++)
		argv[argc] = (char *)(uintptr_t)words[argc];
	memset(&common, 0, sizeof(common));
	return cli_args_parse(&verb, argc, argv, &common, &args, &error);
}
#define PARSE(...)	parse((const char *const[]){__VA_ARGS__, NULL})

static void test_args_any_order(void **state)
{
	(void)state;
	assert_int_equal(PARSE("--sla", "iops >= 5", "7", "--session", "--json",
			       "--api=/x"),
			 0);
	assert_string_equal(args.options[0], "iops >= 5");
	assert_string_equal(args.options[1], "");
	assert_int_equal(args.operand_count, 1);
	assert_string_equal(args.operands[0], "7");
	assert_true(common.json);
	assert_string_equal(common.api, "/x");
}

static void test_args_value_after_equals_may_be_anything(void **state)
{
	(void)state;
	assert_int_equal(PARSE("7", "--sla=--session"), 0);
	assert_string_equal(args.options[0], "--session");
	assert_null(args.options[1]);
	assert_int_equal(PARSE("7", "--sla="), 0);
	assert_string_equal(args.options[0], "");
}

static void test_args_double_dash_ends_options(void **state)
{
	(void)state;
	assert_int_equal(PARSE("--", "--session"), 0);
	assert_string_equal(args.operands[0], "--session");
	assert_null(args.options[1]);
}

static void test_args_errors_say_what(void **state)
{
	(void)state;
	assert_int_equal(PARSE("--session"), -EINVAL);
	assert_non_null(strstr(error.text, "PASID is missing"));
	assert_int_equal(PARSE("7", "8"), -EINVAL);
	assert_non_null(strstr(error.text, "'8'"));
	assert_int_equal(PARSE("7", "--sl", "x"), -EINVAL);
	assert_non_null(strstr(error.text, "'--sl'"));
	assert_int_equal(PARSE("7", "-x"), -EINVAL);
	assert_int_equal(PARSE("7", "--sla"), -EINVAL);
	assert_non_null(strstr(error.text, "needs a value"));
	assert_int_equal(PARSE("7", "--session=1"), -EINVAL);
	assert_non_null(strstr(error.text, "takes no value"));
	assert_int_equal(PARSE("7", "--session", "--session"), -EINVAL);
	assert_non_null(strstr(error.text, "twice"));
}

static void test_args_help_needs_nothing_else(void **state)
{
	(void)state;
	assert_int_equal(PARSE("--help"), 0);
	assert_true(common.help);
	assert_int_equal(PARSE("-h"), 0);
	assert_true(common.help);
}

static void test_args_numbers(void **state)
{
	static const char *const wrong[] = {"",
					    "0",
					    "11",
					    "-1",
					    "+1",
					    " 1",
					    "1 ",
					    "1.5",
					    "0x1",
					    "x",
					    "99999999999999999999"};
	uint64_t number;

	(void)state;
	assert_int_equal(cli_parse_number("n", "10", 1, 10, &number, &error),
			 0);
	assert_int_equal(number, 10);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(
			cli_parse_number("n", wrong[i], 1, 10, &number, &error),
			-EINVAL);
}

static void test_args_seconds(void **state)
{
	static const char *const wrong[] = {"",	 "0",	 "-1",	  "nan", "inf",
					    "x", "1 ms", "86401", "0x10"};
	uint64_t ns;

	(void)state;
	assert_int_equal(cli_parse_seconds("s", "0.5", &ns, &error), 0);
	assert_int_equal(ns, 500000000);
	assert_int_equal(cli_parse_seconds("s", "2s", &ns, &error), 0);
	assert_int_equal(ns, 2000000000);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		if (strcmp(wrong[i], "0x10") != 0)
			assert_int_equal(
				cli_parse_seconds("s", wrong[i], &ns, &error),
				-EINVAL);
}

/* Every verb of the contract is in a table exactly once. */
static void test_args_later_has_no_doubles(void **state)
{
	(void)state;
	for (const struct cli_later *a = cli_later; a->name; a++)
		for (const struct cli_later *b = a + 1; b->name; b++)
			assert_false(strcmp(a->name, b->name) == 0 &&
				     strcmp(a->group ? a->group : "",
					    b->group ? b->group : "") == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_args_any_order),
		cmocka_unit_test(test_args_value_after_equals_may_be_anything),
		cmocka_unit_test(test_args_double_dash_ends_options),
		cmocka_unit_test(test_args_errors_say_what),
		cmocka_unit_test(test_args_help_needs_nothing_else),
		cmocka_unit_test(test_args_numbers),
		cmocka_unit_test(test_args_seconds),
		cmocka_unit_test(test_args_later_has_no_doubles),
	};

	return cmocka_run_group_tests_name("cli-args", tests, NULL, NULL);
}
