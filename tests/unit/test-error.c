/* SPDX-License-Identifier: Apache-2.0 */
/* test-error.c - what an error's line may hold, whatever it quotes */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"

static void becomes(const char *quoted, const char *expected)
{
	struct error error;

	assert_int_equal(error_set(&error, -5, "%s", quoted), -5);
	assert_string_equal(error.text, expected);
}

static void test_error_is_one_line_of_text(void **state)
{
	(void)state;
	becomes("a\nb\x7f\x1b[1m", "a?b??[1m");
	becomes("\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80",
		"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80");
	becomes("\xc3", "?");
	becomes("\xe2\x82", "??");
	becomes("\xff\xfe\x80z", "???z");
	becomes("\xc0\xaf", "??");
	becomes("\xe0\x80\xaf", "???");
	becomes("\xed\xa0\x80", "???");
	becomes("\xf0\x80\x80\x80", "????");
	becomes("\xf4\x90\x80\x80", "????");
}

/* Where it is cut, no character is. */
static void test_error_ends_with_a_character(void **state)
{
	char text[2 * ERROR_TEXT_MAX] = "";
	struct error error;

	(void)state;
	while (strlen(text) + 2 < sizeof(text))
		strcat(text, "\xc3\xa9");
	error_set(&error, 0, "%s", text);
	assert_int_equal(strlen(error.text), ERROR_TEXT_MAX - 1);
	assert_int_equal(error.text[ERROR_TEXT_MAX - 2], '?');
	error_set(&error, 0, "%.3s'", text);
	assert_string_equal(error.text, "\xc3\xa9?'");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_error_is_one_line_of_text),
		cmocka_unit_test(test_error_ends_with_a_character),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
