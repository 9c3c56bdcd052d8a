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
	.service_ns = {800000, 800000},
	.sigma_milli = 300,
	.seed = 1,
};

static struct sim_load *add(struct sim *sim, uint64_t reservation,
			    uint64_t limit, uint32_t weight, uint32_t depth)
{
	struct sim_load_config config = {.depth = depth};

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

static void test_mclock_reservation_and_limit_and_weight_together(void **state)
{
	struct sim sim;
	struct sim_load *a, *b, *c;

	(void)state;
	/* 10,000/s: a has its reservation, b its limit, c what is left */
	sim_init(&sim, &disk);
	a = add(&sim, 2500, 0, 100, 64);
	b = add(&sim, 0, 3000, 300, 64);
	c = add(&sim, 0, 0, 300, 64);
	sim_start_all(&sim);
	sim_run(&sim, SIM_S / 10);
	sim_reset(&sim);
	sim_run(&sim, 10 * SIM_S);
	assert_true(sim_worst_window(a) >= 249);
	assert_near(sim_rate(a), 2578, 10);
	assert_in_range(b->started, 29990, 30001);
	assert_true(sim_rate(c) > 3800);
	sim_finish(&sim);
}

static void test_mclock_reservations_by_direction(void **state)
{
	struct sim sim;
	struct sim_load *reader, *writer, *big;
	struct sim_load_config config = {.depth = 64};

	(void)state;
	sim_init(&sim, &disk);
	config.params.weight = 1;
	config.params.reservation_per_s[SCHED_READ_IOPS] = 2000;
	reader = sim_load(&sim, &config);
	config.write_percent = 100;	/* promised reads, sends writes */
	writer = sim_load(&sim, &config);
	big = add(&sim, 0, 0, 100000, 256);
	sim_start_all(&sim);
	sim_run(&sim, SIM_S / 10);
	sim_reset(&sim);
	sim_run(&sim, 5 * SIM_S);
	assert_true(sim_worst_window(reader) >= 199);
	assert_true(sim_rate(writer) < 100);
	assert_true(sim_rate(big) > 7000);
	sim_finish(&sim);
}

static void test_mclock_reservation_of_bytes(void **state)
{
	struct sim sim;
	struct sim_config config = disk;
	struct sim_load_config stream = {.depth = 8, .bytes = 65536};
	struct sim_load *load;

	(void)state;
	config.per_kib_ns = 10000;
	sim_init(&sim, &config);
	stream.params.weight = 1;
	stream.params.reservation_per_s[SCHED_TOTAL_BYTES] = 62500000;
	load = sim_load(&sim, &stream);
	add(&sim, 0, 0, 100000, 256);
	sim_start_all(&sim);
	sim_run(&sim, SIM_S / 10);
	sim_reset(&sim);
	sim_run(&sim, 5 * SIM_S);
	/* 6,250,000 bytes in each 100 ms, less one request */
	assert_true(sim_worst_window(load) >= 6250000 / 65536 - 1);
	assert_near(load->done_bytes / 5, 64453125, 20);
	sim_finish(&sim);
}

/* E5: what several axes promise is owed on each of them. */
static void test_mclock_reservation_on_requests_and_bytes(void **state)
{
	struct sim sim;
	struct sim_load_config config = {.depth = 32};
	struct sim_load *load;

	(void)state;
	sim_init(&sim, &disk);
	config.params.weight = 1;
	config.params.reservation_per_s[SCHED_TOTAL_IOPS] = 300;
	config.params.reservation_per_s[SCHED_TOTAL_BYTES] = 4096000;
	load = sim_load(&sim, &config);	/* 4 KiB: bytes need 1000/s */
	add(&sim, 0, 0, 100000, 256);
	sim_start_all(&sim);
	sim_run(&sim, SIM_S / 10);
	sim_reset(&sim);
	sim_run(&sim, 5 * SIM_S);
	assert_true(sim_worst_window(load) >= 99);
	assert_true(sim_rate(load) < 1400);
	load->config.bytes = 65536;	/* 64 KiB: requests decide */
	sim_run(&sim, SIM_S);
	sim_reset(&sim);
	sim_run(&sim, 5 * SIM_S);
	assert_true(sim_worst_window(load) >= 29);
	sim_finish(&sim);
}

/* After any pause: no hogging by the one that returns, no starving it. */
static void test_mclock_idle_client_returns_as_if_never_away(void **state)
{
	static const uint64_t pauses_ms[] = {1, 1000, 30000, 300000};
	struct sim sim;
	struct sim_load *coming, *steady, *reserved;

	(void)state;
	sim_init(&sim, &disk);
	coming = add(&sim, 0, 0, 100, 64);
	steady = add(&sim, 0, 0, 100, 64);
	reserved = add(&sim, 2000, 0, 1, 64);
	sim_start_all(&sim);
	for (unsigned int i = 0; i < 4; i++) {
		sim_run(&sim, SIM_S);
		sim_stop(coming);
		/* what the others do meanwhile need not be simulated long */
		sim_run(&sim, SIM_S / 2);
		if (pauses_ms[i] > 1000) {
			sim_stop(steady);
			sim_stop(reserved);
			sim_run(&sim, pauses_ms[i] * SIM_MS);
			sim_start(steady);
			sim_start(reserved);
			sim_run(&sim, SIM_S / 2);
		}
		sim_start(coming);
		sim_run(&sim, 20 * SIM_MS);	/* what was in the device */
		sim_reset(&sim);
		sim_run(&sim, SIM_S / 2);
		assert_near(sim_rate(coming), sim_rate(steady), 30);
		assert_true(sim_worst_window(reserved) >= 199);
	}
	sim_finish(&sim);
}

/* Long alone at a weight of 1, then beside others: no debt from then. */
static void test_mclock_virtual_time_begins_anew_without_a_jolt(void **state)
{
	struct sim sim;
	struct sim_config config = disk;
	struct sim_load *a, *b;

	(void)state;
	/* 2 s of device time at weight 1 are 2^51: far beyond 2^62 in all */
	config.sched.cost.request_ns[0] = UINT64_C(1) << 33;
	config.sched.cost.request_ns[1] = UINT64_C(1) << 33;
	sim_init(&sim, &config);
	a = add(&sim, 0, 0, 1, 64);
	b = add(&sim, 0, 0, 2, 64);
	sim_start_all(&sim);
	for (int i = 0; i < 20; i++) {
		sim_reset(&sim);
		sim_run(&sim, SIM_S);
		if (i > 0)
			assert_near(sim_rate(b), 2 * sim_rate(a), 10);
	}
	sim_finish(&sim);
}

static void test_mclock_nobody_starves_without_promises(void **state)
{
	struct sim sim;
	struct sim_load *small;

	(void)state;
	sim_init(&sim, &disk);
	add(&sim, 5000, 0, 1000000, 256);
	add(&sim, 0, 0, 1000000, 256);
	small = add(&sim, 0, 0, 1000, 4);
	sim_start_all(&sim);
	sim_run(&sim, 10 * SIM_S);
	assert_true(small->started > 20);
	sim_finish(&sim);
}

static void test_mclock_without_enforcement_everything_passes(void **state)
{
	struct sim sim;
	struct sim_load *a, *b;

	(void)state;
	sim_init(&sim, &disk);
	a = add(&sim, 0, 100, 100, 64);
	b = add(&sim, 3000, 0, 100, 64);
	sim_start_all(&sim);
	sim_run(&sim, SIM_S);
	assert_in_range(a->started, 99, 101);
	sched_enforce(sim.sched, false, sim.now_ns);
	sim_run(&sim, SIM_S);
	sim_reset(&sim);
	sim_run(&sim, SIM_S);
	assert_near(sim_rate(a), sim_rate(b), 30);
	assert_int_equal(sim_report(&sim).queued, 0);
	sched_enforce(sim.sched, true, sim.now_ns);
	sim_run(&sim, SIM_S);
	sim_reset(&sim);
	sim_run(&sim, SIM_S);
	assert_in_range(a->started, 99, 101);
	sim_finish(&sim);
}

/* A client may go while its requests are inside the device. */
static void test_mclock_client_goes_with_requests_in_flight(void **state)
{
	struct sim sim;
	struct sim_load *going, *other;
	struct sched_request *drained;
	uint64_t last_ns = 0;
	uint32_t count = 0;

	(void)state;
	sim_init(&sim, &disk);
	going = add(&sim, 1000, 0, 100, 64);
	other = add(&sim, 0, 0, 100, 64);
	going->config.write_percent = 50;
	sim_start_all(&sim);
	sim_run(&sim, SIM_S);
	sim_stop(going);
	drained = sched_client_drain(going->client);
	for (; drained; drained = drained->next) {
		assert_true(drained->arrival_ns >= last_ns);
		last_ns = drained->arrival_ns;
		count++;
	}
	assert_in_range(count, 1, 63);
	sched_client_destroy(going->client);
	going->client = NULL;
	going->config.depth = 0;
	sim_reset(&sim);
	sim_run(&sim, SIM_S);
	assert_near(sim_rate(other), 9600, 50);
	assert_in_range(going->done[0] + going->done[1], 1, 64 - count);
	sim_finish(&sim);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mclock_weights_1_2_4),
		cmocka_unit_test(
			test_mclock_reservation_holds_where_shares_would_not),
		cmocka_unit_test(test_mclock_limit_holds_with_spare_capacity),
		cmocka_unit_test(
			test_mclock_reservation_and_limit_and_weight_together),
		cmocka_unit_test(test_mclock_reservations_by_direction),
		cmocka_unit_test(test_mclock_reservation_of_bytes),
		cmocka_unit_test(test_mclock_reservation_on_requests_and_bytes),
		cmocka_unit_test(
			test_mclock_idle_client_returns_as_if_never_away),
		cmocka_unit_test(
			test_mclock_virtual_time_begins_anew_without_a_jolt),
		cmocka_unit_test(test_mclock_nobody_starves_without_promises),
		cmocka_unit_test(
			test_mclock_without_enforcement_everything_passes),
		cmocka_unit_test(
			test_mclock_client_goes_with_requests_in_flight),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
