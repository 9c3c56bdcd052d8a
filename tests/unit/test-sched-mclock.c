/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scenarios of "mClock: Handling Throughput Variability for Hypervisor IO
 * Scheduling" (OSDI 2010), in invented time (E8, E9).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "device-sim.h"

static void assert_near(uint64_t value, uint64_t wanted, uint64_t permille)
{
	assert_in_range(value, wanted - wanted * permille / 1000,
			wanted + wanted * permille / 1000);
}

/* 10,000 requests per second: 8 servers of 800 us. */
static const struct sim_config disk = {
	.servers = 8,
	.service_ns = { 800000, 800000 },
	.sigma_milli = 300,
	.seed = 1,
};

static struct sim_load *add(struct sim *sim, uint64_t reservation,
			    uint64_t limit, uint32_t weight, uint32_t depth)
{
	struct sim_load_config config = { .depth = depth };

	config.params.weight = weight;
	config.params.reservation_per_s[SCHED_TOTAL_IOPS] = reservation;
	config.params.limit_per_s[SCHED_TOTAL_IOPS] = limit;
	return sim_load(sim, &config);
}

static void test_mclock_weights_1_2_4(void **state)
{
	struct sim sim;
	struct sim_load *a, *b, *c;

	(void)state;
	sim_init(&sim, &disk);
	a = add(&sim, 0, 0, 100, 32);
	b = add(&sim, 0, 0, 200, 32);
	c = add(&sim, 0, 0, 400, 32);
	sim_start_all(&sim);
	sim_run(&sim, SIM_S / 10);
	sim_reset(&sim);
	sim_run(&sim, 5 * SIM_S);
	assert_near(sim_rate(b), 2 * sim_rate(a), 10);
	assert_near(sim_rate(c), 4 * sim_rate(a), 10);
	sim_finish(&sim);
}

static void test_mclock_reservation_holds_where_shares_would_not(void **state)
{
	struct sim sim;
	struct sim_load *small, *big;

	(void)state;
	sim_init(&sim, &disk);
	small = add(&sim, 3000, 0, 1, 64);
	big = add(&sim, 0, 0, 1000000, 256);
	sim_start_all(&sim);
	sim_run(&sim, SIM_S / 10);
	sim_reset(&sim);
	sim_run(&sim, 5 * SIM_S);
	assert_true(sim_worst_window(small) >= 299);
	assert_near(sim_rate(small), 3094, 5);	/* with the margin */
	assert_true(sim_rate(big) > 6000);
	sim_finish(&sim);
}

static void test_mclock_limit_holds_with_spare_capacity(void **state)
{
	struct sim sim;
	struct sim_load *limited, *other;

	(void)state;
	sim_init(&sim, &disk);
	limited = add(&sim, 0, 1000, 400, 64);
	other = add(&sim, 0, 0, 100, 4);
	sim_start_all(&sim);
	sim_run(&sim, SIM_S / 10);
	sim_reset(&sim);
	sim_run(&sim, 10 * SIM_S);
	assert_in_range(limited->started, 9999, 10001);
	assert_true(sim_rate(other) > 3000);
	sim_finish(&sim);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mclock_weights_1_2_4),
		cmocka_unit_test(
			test_mclock_reservation_holds_where_shares_would_not),
		cmocka_unit_test(test_mclock_limit_holds_with_spare_capacity),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
