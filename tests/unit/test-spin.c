/* SPDX-License-Identifier: Apache-2.0 */
/* test-spin.c - when an idle loop polls and when it sleeps, in invented time */
#include "os/spin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define US		UINT64_C(1000)
#define MS		UINT64_C(1000000)
#define SECOND		UINT64_C(1000000000)
#define LATE		(25 * US)	/* of every wake-up */

/* Work arrives 'gap' after the last was done, from outside. */
struct outcome {
	uint64_t polled_ns;
	uint64_t sleeps;
	uint64_t now_ns;
};

static struct outcome arrivals(struct spin *spin, uint64_t now_ns,
			       uint64_t gap_ns, unsigned int count)
{
	struct outcome outcome = {0};

	while (count-- > 0) {
		const uint64_t next_ns = now_ns + gap_ns;
		const uint64_t idle_ns = now_ns;

		while (now_ns < next_ns && spin_poll_on(spin, now_ns))
			now_ns += 100;
		outcome.polled_ns += now_ns - idle_ns;
		if (now_ns < next_ns) {
			assert_true(spin_sleep_until(spin, now_ns,
						     UINT64_MAX) == UINT64_MAX);
			now_ns = next_ns + LATE;
			spin_woke(spin, UINT64_MAX, now_ns, false);
			outcome.sleeps++;
		}
		spin_worked(spin, now_ns);
	}
	outcome.now_ns = now_ns;
	return outcome;
}

/* Deadlines every 'gap' for a second; several may be met at once. */
struct deadlines {
	uint64_t cpu_ns, wakes, met, worst_late_ns, sum_late_ns;
};

static struct deadlines deadlines(struct spin *spin, uint64_t now_ns,
				  uint64_t gap_ns, uint64_t length_ns)
{
	struct deadlines result = {0};
	const uint64_t end_ns = now_ns + length_ns;
	uint64_t due_ns = now_ns + gap_ns;

	while (now_ns < end_ns) {
		uint64_t until_ns;

		while (now_ns < due_ns && spin_poll_on(spin, now_ns)) {
			now_ns += 100;
			result.cpu_ns += 100;
		}
		if (now_ns < due_ns) {
			until_ns = spin_sleep_until(spin, now_ns, due_ns);
			if (until_ns <= now_ns) {
				result.cpu_ns += due_ns - now_ns;
				now_ns = due_ns;
			} else {
				now_ns = until_ns + LATE;
				result.cpu_ns += SPIN_WAKE_NS;
				result.wakes++;
				spin_woke(spin, until_ns, now_ns, true);
			}
		}
		if (now_ns < due_ns)
			continue;
		if (now_ns - due_ns > result.worst_late_ns)
			result.worst_late_ns = now_ns - due_ns;
		while (due_ns <= now_ns) {
			result.sum_late_ns += now_ns - due_ns;
			due_ns += gap_ns;
			result.met++;
		}
		spin_worked(spin, now_ns);
	}
	return result;
}

static void test_spin_polls_for_a_quick_client(void **state)
{
	struct spin spin;
	struct outcome outcome;

	(void)state;
	spin_init(&spin, 30 * US, SECOND);
	outcome = arrivals(&spin, SECOND, 5 * US, 1000);
	assert_int_equal(outcome.sleeps, 0);
}

static void test_spin_idle_costs_under_one_percent(void **state)
{
	struct spin spin;
	struct outcome outcome;

	(void)state;
	spin_init(&spin, 50 * US, SECOND);
	outcome = arrivals(&spin, SECOND, 100 * MS, 100);
	assert_true(outcome.polled_ns * 100 < outcome.now_ns - SECOND);
	outcome = arrivals(&spin, outcome.now_ns, MS, 1000);
	assert_true(outcome.polled_ns < MS);
	assert_int_equal(outcome.sleeps, 1000);
}

static void test_spin_finds_out_that_a_client_became_quick(void **state)
{
	struct spin spin;
	struct outcome outcome;

	(void)state;
	spin_init(&spin, 30 * US, SECOND);
	/* Deadlines teach how late wake-ups are. */
	deadlines(&spin, SECOND, 10 * MS, SECOND);
	outcome = arrivals(&spin, 2 * SECOND, 10 * MS, 100);
	outcome = arrivals(&spin, outcome.now_ns, 5 * US, 1000);
	assert_in_range(outcome.sleeps, 1, 16);
}

static void test_spin_never_polls_when_told_not_to(void **state)
{
	struct spin spin;
	struct outcome outcome;

	(void)state;
	spin_init(&spin, 0, SECOND);
	outcome = arrivals(&spin, SECOND, US, 100);
	assert_int_equal(outcome.sleeps, 100);
	assert_int_equal(outcome.polled_ns, 0);
}

static void test_spin_sparse_deadlines_are_met_precisely(void **state)
{
	struct spin spin;
	struct deadlines result;

	(void)state;
	spin_init(&spin, 30 * US, SECOND);
	deadlines(&spin, SECOND, 2 * MS, SECOND);	/* learns */
	result = deadlines(&spin, 2 * SECOND, 2 * MS, SECOND);
	assert_true(result.met >= 499);
	assert_true(result.worst_late_ns < 2 * US);
	assert_true(result.cpu_ns * 100 < 7 * SECOND);
}

/* A limit of 20,000 a second: at most 5 us of CPU each, with what serving the
 * request costs on top, and late by no more than a few requests. */
static void test_spin_frequent_deadlines_are_met_several_at_a_time(void **state)
{
	struct spin spin;
	struct deadlines result;

	(void)state;
	spin_init(&spin, 30 * US, SECOND);
	deadlines(&spin, SECOND, 50 * US, SECOND);
	result = deadlines(&spin, 2 * SECOND, 50 * US, SECOND);
	assert_in_range(result.met, 19990, 20010);
	assert_true(result.cpu_ns / result.met <= 4000);
	assert_true(result.worst_late_ns <= SPIN_STRETCH_NS + LATE);
	assert_true(result.sum_late_ns / result.met < 75 * US);
}

/* 200,000 a second: the first are polled for.  When that has used up the
 * credit, some are met at a time: less than 1.5 us of CPU for each. */
static void test_spin_dense_deadlines_do_not_take_the_core(void **state)
{
	struct spin spin;
	struct deadlines result;

	(void)state;
	spin_init(&spin, 0, SECOND);	/* as the loop while all is quiet */
	result = deadlines(&spin, SECOND, 5 * US, 400 * US);
	assert_in_range(result.met, 79, 81);
	assert_true(result.worst_late_ns < US);
	assert_int_equal(result.wakes, 0);

	deadlines(&spin, SECOND + 400 * US, 5 * US, SECOND);	/* learns */
	result = deadlines(&spin, 2 * SECOND + 400 * US, 5 * US, SECOND);
	assert_in_range(result.met, 199980, 200020);
	assert_true(result.cpu_ns / result.met <= 1500);
	assert_true(result.worst_late_ns <=
		    SPIN_STRETCH_NEAR_NS / 4 * 5 + LATE);
	assert_true(result.sum_late_ns / result.met < 30 * US);
}

/* Whatever polling and waking up have cost before. */
static void test_spin_never_sleeps_over_a_deadline_that_has_come(void **state)
{
	struct spin spin;

	(void)state;
	spin_init(&spin, 30 * US, SECOND);
	spin.credit_ns = -(int64_t)SPIN_WAKE_NS;
	assert_true(spin_sleep_until(&spin, SECOND, SECOND + US) > SECOND);
	assert_true(spin_sleep_until(&spin, SECOND, SECOND) <= SECOND);
	assert_true(spin_sleep_until(&spin, SECOND, SECOND - US) <= SECOND);
}

static void test_spin_survives_a_machine_that_was_away(void **state)
{
	struct spin spin;
	struct deadlines result;

	(void)state;
	spin_init(&spin, 30 * US, SECOND);
	spin_woke(&spin, 2 * SECOND, 7 * SECOND, true);
	assert_true(spin.late_ns <= SPIN_LATE_MAX_NS);
	result = deadlines(&spin, 7 * SECOND, 2 * MS, SECOND);
	assert_true(result.cpu_ns * 100 < 8 * SECOND);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_spin_polls_for_a_quick_client),
		cmocka_unit_test(test_spin_idle_costs_under_one_percent),
		cmocka_unit_test(
			test_spin_finds_out_that_a_client_became_quick),
		cmocka_unit_test(test_spin_never_polls_when_told_not_to),
		cmocka_unit_test(test_spin_sparse_deadlines_are_met_precisely),
		cmocka_unit_test(
			test_spin_frequent_deadlines_are_met_several_at_a_time),
		cmocka_unit_test(
			test_spin_dense_deadlines_do_not_take_the_core),
		cmocka_unit_test(
			test_spin_never_sleeps_over_a_deadline_that_has_come),
		cmocka_unit_test(test_spin_survives_a_machine_that_was_away),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
