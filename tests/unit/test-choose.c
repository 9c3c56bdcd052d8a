/* SPDX-License-Identifier: Apache-2.0 */
/* test-choose.c - which vdev a process is bound to, by policy (E9) */
#include "sla/choose.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define COUNT	4U

static const struct choose_candidate some[COUNT] = {
	{true, 500000, 100, 2000, 1},
	{true, 200000, 300, 9000, 3},
	{true, 900000, 200, 1000, 2},
	{false, 0, 1000, 1, 0},
};

static int pick(const char *text, uint64_t random)
{
	enum choose_policy policy;

	assert_int_equal(choose_parse(text, &policy, NULL), 0);
	return choose_pick(policy, some, COUNT, random);
}

static void test_each_policy(void **state)
{
	(void)state;
	assert_int_equal(pick("auto", 0), 1);
	assert_int_equal(pick("auto:least-loaded", 0), 1);
	assert_int_equal(pick("auto:best-fit", 0), 2);
	assert_int_equal(pick("auto:most-room", 0), 1);
	assert_int_equal(pick("auto:lowest-latency", 0), 2);
	assert_int_equal(pick("auto:spread", 0), 0);
	assert_int_equal(pick("auto:random", 0), 0);
	assert_int_equal(pick("auto:random", 4), 1);
	assert_int_equal(pick("auto:random", UINT64_MAX), 0);
}

static void test_equal_ones(void **state)
{
	struct choose_candidate equal[3] = {
		{true, 500, 10, 20, 2},
		{true, 500, 10, 20, 1},
		{true, 500, 10, 20, 1},
	};

	(void)state;
	assert_int_equal(choose_pick(CHOOSE_MOST_ROOM, equal, 3, 0), 1);
	equal[2].load_ppm = 400;
	assert_int_equal(choose_pick(CHOOSE_LOWEST_LATENCY, equal, 3, 0), 2);
	assert_int_equal(choose_pick(CHOOSE_SPREAD, equal, 1, 0), 0);
}

static void test_nobody_is_possible(void **state)
{
	(void)state;
	for (int policy = CHOOSE_LEAST_LOADED; policy <= CHOOSE_RANDOM;
	     policy++) {
		assert_int_equal(
			choose_pick((enum choose_policy)policy, &some[3], 1, 7),
			-1);
		assert_int_equal(
			choose_pick((enum choose_policy)policy, some, 0, 7),
			-1);
	}
}

static void test_words(void **state)
{
	static const char *const wrong[] = {
		"auto:", "auto:fast", "auto: spread", "auto:SPREAD", "vd0", ""};
	enum choose_policy policy;
	struct error why;

	(void)state;
	assert_true(choose_is_asked("auto"));
	assert_true(choose_is_asked("auto:x"));
	assert_false(choose_is_asked("automatic"));
	assert_false(choose_is_asked("vd0"));
	for (unsigned int i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(choose_parse(wrong[i], &policy, &why),
				 -EINVAL);
	assert_non_null(strstr(why.text, "least-loaded"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_policy),
		cmocka_unit_test(test_equal_ones),
		cmocka_unit_test(test_nobody_is_possible),
		cmocka_unit_test(test_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
