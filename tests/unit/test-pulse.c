/* SPDX-License-Identifier: Apache-2.0 */
/* test-pulse.c - an endpoint that hangs, told from one whose CPU was taken
 * away (invented time) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "host/pulse.h"

#define SECOND	UINT64_C(1000000000)
#define START	(100 * SECOND)

static void test_pulse_beats(void **state)
{
	struct pulse pulse = {0};
	uint64_t s;

	(void)state;
	for (s = 0; s < 100; s++)
		assert_false(
			pulse_is_lost(&pulse, 7 + s / 9, START + s * SECOND));
}

static void test_pulse_still_is_lost_in_time(void **state)
{
	struct pulse pulse = {0};
	uint64_t s;

	(void)state;
	for (s = 0; s < 10; s++)
		assert_false(pulse_is_lost(&pulse, 7, START + s * SECOND));
	assert_true(pulse_is_lost(&pulse, 7, START + 10 * SECOND));
	/* Said once; another one gets as long. */
	assert_false(pulse_is_lost(&pulse, 7, START + 11 * SECOND));
}

/* The machine slept: nobody beat, and nobody looked. */
static void test_pulse_gap_is_not_death(void **state)
{
	struct pulse pulse = {0};
	uint64_t now_ns = START;
	unsigned int i;

	(void)state;
	assert_false(pulse_is_lost(&pulse, 7, now_ns));
	for (i = 0; i < 4; i++) {
		now_ns += 3600 * SECOND;
		assert_false(pulse_is_lost(&pulse, 7, now_ns));
	}
	assert_false(pulse_is_lost(&pulse, 8, now_ns + SECOND));
}

/* What it beats is not believed, only that it does. */
static void test_pulse_may_go_backwards(void **state)
{
	struct pulse pulse = {0};
	uint64_t s;

	(void)state;
	for (s = 0; s < 50; s++)
		assert_false(
			pulse_is_lost(&pulse, 1000 - s, START + s * SECOND));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pulse_beats),
		cmocka_unit_test(test_pulse_still_is_lost_in_time),
		cmocka_unit_test(test_pulse_gap_is_not_death),
		cmocka_unit_test(test_pulse_may_go_backwards),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
