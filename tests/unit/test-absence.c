/* SPDX-License-Identifier: Apache-2.0 */
/* test-absence.c - telling a long round from an absence, in invented time */
#include "os/absence.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define US	UINT64_C(1000)
#define MS	UINT64_C(1000000)

/* Rounds of 'ns' each; returns how many were taken for absences. */
static unsigned int rounds(struct absence *absence, uint64_t *now_ns,
			   uint64_t ns, unsigned int count)
{
	unsigned int away = 0;

	while (count-- > 0) {
		*now_ns += ns;
		away += absence_round(absence, *now_ns);
	}
	return away;
}

static void test_absence_is_seen_between_rounds(void **state)
{
	struct absence absence = {0};
	uint64_t now_ns = 5 * MS;

	(void)state;
	assert_int_equal(rounds(&absence, &now_ns, 20 * US, 1000), 0);
	assert_int_equal(rounds(&absence, &now_ns, 4 * MS, 1), 1);
	assert_int_equal(absence.away_ns, 4 * MS);
	assert_int_equal(absence.back_ns, now_ns);
	assert_int_equal(rounds(&absence, &now_ns, 20 * US, 1000), 0);
	assert_int_equal(absence.away_ns, 4 * MS);
}

static void test_absence_is_seen_within_a_round(void **state)
{
	struct absence absence = {0};
	uint64_t now_ns = MS;

	(void)state;
	rounds(&absence, &now_ns, 20 * US, 100);
	assert_false(absence_look(&absence, now_ns + 10 * US));
	assert_true(absence_look(&absence, now_ns + 2 * MS));
	assert_int_equal(absence.away_ns, 2 * MS - 10 * US);
}

/* Somebody copies a lot in each round: that is work. */
static void test_absence_learns_long_rounds(void **state)
{
	struct absence absence = {0};
	uint64_t now_ns = MS;

	(void)state;
	rounds(&absence, &now_ns, 5 * US, 1000);
	rounds(&absence, &now_ns, 600 * US, 100);
	assert_int_equal(rounds(&absence, &now_ns, 600 * US, 1000), 0);
	assert_int_equal(rounds(&absence, &now_ns, 8 * MS, 1), 1);
	/* And forgets them. */
	rounds(&absence, &now_ns, 5 * US, 1000);
	assert_int_equal(rounds(&absence, &now_ns, 600 * US, 1), 1);
}

/* Frequent absences are not taken for the length of a round. */
static void test_absence_stays_one_when_frequent(void **state)
{
	struct absence absence = {0};
	uint64_t now_ns = MS;

	(void)state;
	for (unsigned int i = 0; i < 200; i++) {
		assert_int_equal(rounds(&absence, &now_ns, 20 * US, 150), 0);
		assert_int_equal(rounds(&absence, &now_ns, 3 * MS, 1), 1);
	}
}

static void test_absence_is_no_sleep(void **state)
{
	struct absence absence = {0};
	uint64_t now_ns = MS;

	(void)state;
	rounds(&absence, &now_ns, 20 * US, 100);
	absence_sleep(&absence, now_ns, now_ns + 10 * MS);
	now_ns += 10 * MS + 60 * US;
	assert_false(absence_round(&absence, now_ns));
	/* Woken by an event, whenever that was. */
	absence_sleep(&absence, now_ns, UINT64_MAX);
	now_ns += 500 * MS;
	assert_false(absence_round(&absence, now_ns));
	/* Woken late. */
	absence_sleep(&absence, now_ns, now_ns + 1 * MS);
	now_ns += 5 * MS;
	assert_true(absence_round(&absence, now_ns));
	assert_int_equal(absence.away_ns, 4 * MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_absence_is_seen_between_rounds),
		cmocka_unit_test(test_absence_is_seen_within_a_round),
		cmocka_unit_test(test_absence_learns_long_rounds),
		cmocka_unit_test(test_absence_stays_one_when_frequent),
		cmocka_unit_test(test_absence_is_no_sleep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
