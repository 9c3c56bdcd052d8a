/* SPDX-License-Identifier: Apache-2.0 */
/*
 * More is reserved than the device can do (E8): everybody gets less by the
 * stated policy, it is counted once, and it ends without a backlog.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "device-sim.h"

/* 10,000 requests per second. */
static const struct sim_config disk = {
	.servers = 8,
	.service_ns = {800000, 800000},
	.sigma_milli = 200,
	.seed = 3,
};

static struct sim_load *add(struct sim *sim, uint64_t reservation,
			    uint32_t weight)
{
	struct sim_load_config config = {.depth = 128};

	config.params.weight = weight;
	config.params.reservation_per_s[SCHED_TOTAL_IOPS] = reservation;
	return sim_load(sim, &config);
}

static void assert_near(uint64_t value, uint64_t wanted, uint64_t permille)
{
	assert_in_range(value, wanted - wanted * permille / 1000,
			wanted + wanted * permille / 1000);
}

static void test_shortage_scales_all_by_one_factor(void **state)
{
	struct sim sim;
	struct sim_load *a, *b, *c;
	uint64_t total;

	(void)state;
	sim_init(&sim, &disk);
	a = add(&sim, 12000, 1);
	b = add(&sim, 6000, 1000);
	c = add(&sim, 2000, 100);
	sim_start_all(&sim);
	sim_run(&sim, SIM_S);
	sim_reset(&sim);
	sim_run(&sim, 5 * SIM_S);
	total = sim_rate(a) + sim_rate(b) + sim_rate(c);
	assert_near(sim_rate(a), total * 12 / 20, 5);
	assert_near(sim_rate(b), total * 6 / 20, 5);
	assert_near(sim_rate(c), total * 2 / 20, 5);
	assert_int_equal(sim_report(&sim).shortages, 1);
	assert_near(sim_report(&sim).shortage_milli, total / 20, 20);
	sim_finish(&sim);
}

static void test_shortage_scales_by_weight_if_so_configured(void **state)
{
	struct sim_config config = disk;
	struct sim sim;
	struct sim_load *a, *b, *c;
	uint64_t total;

	(void)state;
	config.sched.shortage = SCHED_SHORTAGE_WEIGHT;
	sim_init(&sim, &config);
	a = add(&sim, 12000, 300);
	b = add(&sim, 6000, 100);
	c = add(&sim, 1000, 100);	/* less than its share: has all of it */
	sim_start_all(&sim);
	sim_run(&sim, SIM_S);
	sim_reset(&sim);
	sim_run(&sim, 5 * SIM_S);
	total = sim_rate(a) + sim_rate(b) + sim_rate(c);
	assert_true(sim_worst_window(c) >= 99);
	assert_near(sim_rate(a), 3 * sim_rate(b), 20);
	assert_int_equal(sim_report(&sim).shortages, 1);
	assert_near(sim_report(&sim).shortage_milli, total / 19, 30);
	sim_finish(&sim);
}

static void test_shortage_ends_and_repays_little(void **state)
{
	static const enum sched_shortage_policy policies[] = {
		SCHED_SHORTAGE_PROPORTIONAL,
		SCHED_SHORTAGE_WEIGHT,
	};

	(void)state;
	for (unsigned int i = 0; i < 2; i++) {
		struct sim_config config = disk;
		struct sim_load *a, *b, *other;
		struct sim sim;

		config.sched.shortage = policies[i];
		sim_init(&sim, &config);
		a = add(&sim, 4000, 1);
		b = add(&sim, 2000, 1);
		other = add(&sim, 0, 100000);
		sim_start_all(&sim);
		sim_run(&sim, SIM_S);
		assert_int_equal(sim_report(&sim).shortage_milli, 1000);
		assert_int_equal(sim_report(&sim).shortages, 0);

		sim.speed_milli = 300;	/* the device drops to 3,000/s */
		sim_run(&sim, 2 * SIM_S);
		assert_in_range(sim_report(&sim).shortage_milli, 400, 550);
		assert_int_equal(sim_report(&sim).shortages, 1);

		sim.speed_milli = 1000;
		sim_reset(&sim);
		sim_run(&sim, SIM_S);
		/* 20 ms of each reservation was made up for; by weight, the
		 * order remains by weight a little longer */
		assert_in_range(a->started, 4000, 4000 * 1032 / 1000 + 200);
		assert_in_range(b->started, 2000,
				2000 * 1032 / 1000 + (i == 0 ? 120 : 400));
		assert_true(other->started > 3000);
		assert_int_equal(sim_report(&sim).shortage_milli, 1000);
		assert_int_equal(sim_report(&sim).shortages, 1);

		sim.speed_milli = 300;
		sim_run(&sim, SIM_S);
		assert_int_equal(sim_report(&sim).shortages, 2);
		sim_finish(&sim);
	}
}

/* What is reserved just fits, with the margin it does not:
 * that is no shortage. */
static void test_shortage_is_not_seen_where_all_fits(void **state)
{
	struct sim_config config = disk;
	struct sim sim;
	struct sim_load *a, *b;

	(void)state;
	config.sigma_milli = 0;
	sim_init(&sim, &config);
	a = add(&sim, 6000, 1);
	b = add(&sim, 3800, 1);
	add(&sim, 0, 1000);
	sim_start_all(&sim);
	sim_run(&sim, SIM_S);
	sim_reset(&sim);
	sim_run(&sim, 5 * SIM_S);
	assert_int_equal(sim_report(&sim).shortages, 0);
	assert_true(sim_worst_window(a) >= 599);
	assert_true(sim_worst_window(b) >= 379);
	sim_finish(&sim);
}

/* A limit or a group's limit below the reservation is nobody's shortage. */
static void test_shortage_is_not_what_a_limit_does(void **state)
{
	struct sim sim;
	struct sim_load_config config = {.depth = 64};
	struct sim_load *load;

	(void)state;
	sim_init(&sim, &disk);
	config.params.reservation_per_s[SCHED_TOTAL_IOPS] = 5000;
	config.params.limit_per_s[SCHED_TOTAL_IOPS] = 1000;
	load = sim_load(&sim, &config);
	add(&sim, 0, 100);
	sim_start_all(&sim);
	sim_run(&sim, 5 * SIM_S);
	assert_in_range(load->started, 4999, 5001);
	assert_int_equal(sim_report(&sim).shortages, 0);
	sim_finish(&sim);
}

/* A stall is a shortage while it lasts, and is not repaid for long. */
static void test_shortage_by_a_stall(void **state)
{
	struct sim sim;
	struct sim_load *a, *other;

	(void)state;
	sim_init(&sim, &disk);
	a = add(&sim, 5000, 1);
	other = add(&sim, 0, 1000);
	sim_start_all(&sim);
	sim_run(&sim, SIM_S);
	sim.speed_milli = 2;	/* those that begin now take 0.4 s */
	sim_run(&sim, 2 * SIM_MS);
	sim.speed_milli = 1000;
	sim_run(&sim, SIM_S);
	assert_int_equal(sim_report(&sim).shortages, 1);
	assert_int_equal(sim_report(&sim).shortage_milli, 1000);
	sim_reset(&sim);
	sim_run(&sim, SIM_S);
	assert_true(sim_worst_window(a) >= 499);
	assert_true(sim_rate(other) > 4000);
	sim_finish(&sim);
}

/* What the device did is told from when it was saturated, not from before the
 * pause in which nobody looked at it. */
static void test_capacity_after_a_pause_is_as_before(void **state)
{
	struct sim sim;
	struct sim_load *deep, *shallow;

	(void)state;
	sim_init(&sim, &disk);
	deep = add(&sim, 0, 100);
	shallow = sim_load(&sim, &(struct sim_load_config){.depth = 1});
	sim_start(shallow);
	for (unsigned int i = 0; i < 10; i++) {
		sim_start(deep);
		sim_run(&sim, SIM_S / 20);
		assert_in_range(sim_report(&sim).capacity_milli, 900, 1100);
		sim_stop(deep);
		sim_run(&sim, 5 * SIM_S);
		assert_in_range(sim_report(&sim).capacity_milli, 900, 1100);
	}
	sim_finish(&sim);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shortage_scales_all_by_one_factor),
		cmocka_unit_test(
			test_shortage_scales_by_weight_if_so_configured),
		cmocka_unit_test(test_shortage_ends_and_repays_little),
		cmocka_unit_test(test_shortage_is_not_seen_where_all_fits),
		cmocka_unit_test(test_shortage_is_not_what_a_limit_does),
		cmocka_unit_test(test_shortage_by_a_stall),
		cmocka_unit_test(test_capacity_after_a_pause_is_as_before),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
