/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits are exact: never more than the rate and the burst allow, never less
 * than the rate while enough is asked for, and even (E8).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "device-sim.h"

/* Fast and wide: nothing but the limits matters. */
static const struct sim_config wide = {
	.service_ns = {1000, 1000},
	.seed = 1,
	.sched = {.window_min = 1, .window_max = 1024},
};

static struct sim_load *add(struct sim *sim, enum sched_axis axis,
			    uint64_t limit, uint64_t burst_ns, uint32_t depth)
{
	struct sim_load_config config = {.depth = depth};

	config.params.limit_per_s[axis] = limit;
	config.params.burst_ns = burst_ns;
	return sim_load(sim, &config);
}

/* When each request was given out. */
static uint64_t starts[1 << 21];
static uint32_t start_count;

static void note_start(struct sim_load *load, struct sched_request *request)
{
	(void)request;
	if (start_count < sizeof(starts) / sizeof(*starts))
		starts[start_count++] = load->sim->now_ns;
}

static void limit_is_even(uint64_t limit)
{
	struct sim sim;

	sim_init(&sim, &wide);
	sim.started = note_start;
	start_count = 0;
	sim_start(add(&sim, SCHED_TOTAL_IOPS, limit, 0, 32));
	sim_run(&sim, 2 * SIM_S);
	assert_in_range(start_count, 2 * limit, 2 * limit + 1);
	/* each at its own time, to the nanosecond */
	for (uint32_t i = 0; i < start_count; i++)
		assert_in_range(starts[i] - starts[0], i * SIM_S / limit,
				i * SIM_S / limit + 1);
	sim_finish(&sim);
}

static void test_limit_of_20000_is_even(void **state)
{
	(void)state;
	limit_is_even(20000);
}

static void test_limit_of_200000_is_even(void **state)
{
	(void)state;
	limit_is_even(200000);
}

static void test_limit_of_1000_gives_1000(void **state)
{
	(void)state;
	limit_is_even(1000);
}

static void test_limit_that_divides_no_second_is_exact(void **state)
{
	(void)state;
	limit_is_even(3);
	limit_is_even(70001);
	limit_is_even(333333);
}

/* One request at a time whose debt is far below a millisecond. */
static void test_limit_never_stalls_on_small_debt(void **state)
{
	struct sim sim;
	struct sim_load *load;

	(void)state;
	sim_init(&sim, &wide);
	load = add(&sim, SCHED_TOTAL_IOPS, 100000, 0, 1);
	sim_start(load);
	sim_run(&sim, SIM_S);
	assert_in_range(load->started, 100000, 100001);
	sim_finish(&sim);
}

static void test_limit_on_bytes(void **state)
{
	struct sim sim;
	struct sim_load_config config = {.depth = 8, .bytes = 65536};
	struct sim_load *load;

	(void)state;
	sim_init(&sim, &wide);
	config.params.limit_per_s[SCHED_TOTAL_BYTES] = 62500000;
	load = sim_load(&sim, &config);
	sim_start(load);
	sim_run(&sim, 10 * SIM_S);
	assert_in_range(load->started * 65536, 625000000 - 65536,
			625000000 + 65536);
	sim_finish(&sim);
}

static void test_limit_on_requests_and_bytes_the_later_decides(void **state)
{
	struct sim sim;
	struct sim_load_config small = {.depth = 8, .bytes = 512};
	struct sim_load_config large = {.depth = 8, .bytes = 1 << 20};
	struct sim_load *a, *b;

	(void)state;
	sim_init(&sim, &wide);
	small.params.limit_per_s[SCHED_TOTAL_IOPS] = 1000;
	small.params.limit_per_s[SCHED_TOTAL_BYTES] = 10 << 20;
	large.params = small.params;
	a = sim_load(&sim, &small);
	b = sim_load(&sim, &large);
	sim_start_all(&sim);
	sim_run(&sim, 10 * SIM_S);
	assert_in_range(a->started, 10000, 10001);
	assert_in_range(b->started, 100, 101);
	sim_finish(&sim);
}

static void test_limit_of_reads_leaves_writes_alone(void **state)
{
	struct sim sim;
	struct sim_load_config config = {.depth = 64, .write_percent = 50};
	struct sim_load *load;

	(void)state;
	sim_init(&sim, &wide);
	config.params.limit_per_s[SCHED_READ_IOPS] = 1000;
	config.params.limit_per_s[SCHED_WRITE_IOPS] = 5000;
	config.every_ns = 50000;	/* 20,000/s, half of each */
	config.depth = 1 << 17;
	load = sim_load(&sim, &config);
	sim_start(load);
	sim_run(&sim, 5 * SIM_S);
	assert_in_range(load->done[SCHED_READ], 4999, 5001);
	assert_in_range(load->done[SCHED_WRITE], 24999, 25001);
	sim_finish(&sim);
}

static void test_limit_of_both_directions_together(void **state)
{
	struct sim sim;
	struct sim_load_config config = {.depth = 64, .write_percent = 30};
	struct sim_load *load;

	(void)state;
	sim_init(&sim, &wide);
	config.params.limit_per_s[SCHED_TOTAL_IOPS] = 3000;
	load = sim_load(&sim, &config);
	sim_start(load);
	sim_run(&sim, 5 * SIM_S);
	assert_in_range(load->started, 15000, 15001);
	assert_in_range(load->done[SCHED_WRITE], 4000, 5000);
	sim_finish(&sim);
}

static void test_limit_burst_is_its_tolerance(void **state)
{
	struct sim sim;

	(void)state;
	sim_init(&sim, &wide);
	sim.started = note_start;
	start_count = 0;
	/* 100 ms at 1000/s: 100 at once, and the one that is due */
	sim_start(add(&sim, SCHED_TOTAL_IOPS, 1000, 100 * SIM_MS, 256));
	sim_run(&sim, SIM_S);
	assert_int_equal(starts[100], starts[0]);
	assert_int_equal(starts[101], starts[0] + SIM_MS);
	assert_in_range(start_count, 1100, 1101);
	sim_finish(&sim);
}

static void test_limit_idle_client_saves_no_more_than_burst(void **state)
{
	static const uint64_t pauses_s[] = {1, 10, 300};
	struct sim sim;
	struct sim_load *load;

	(void)state;
	sim_init(&sim, &wide);
	load = add(&sim, SCHED_TOTAL_IOPS, 1000, 10 * SIM_MS, 64);
	for (unsigned int i = 0; i < 3; i++) {
		sim_start(load);
		sim_run(&sim, SIM_S);
		sim_stop(load);
		sim_run(&sim, pauses_s[i] * SIM_S);
		sim_reset(&sim);
		sim_start(load);
		sim_run(&sim, SIM_S);
		assert_in_range(load->started, 1010, 1011);
		sim_stop(load);
		sim_run(&sim, SIM_S);
	}
	sim_finish(&sim);
}

static void test_limit_update_takes_effect_on_what_is_queued(void **state)
{
	struct sim sim;
	struct sim_load *load;
	struct sched_params params = {0};

	(void)state;
	sim_init(&sim, &wide);
	load = add(&sim, SCHED_TOTAL_IOPS, 1, 0, 32);	/* E13 */
	sim_start(load);
	sim_run(&sim, SIM_S / 2);
	assert_int_equal(load->started, 1);
	params.limit_per_s[SCHED_TOTAL_IOPS] = 1000;
	assert_int_equal(
		sched_client_update(load->client, &params, sim.now_ns, NULL),
		0);
	sim_reset(&sim);
	sim_run(&sim, SIM_S);
	assert_in_range(load->started, 999, 1001);

	params.limit_per_s[SCHED_TOTAL_IOPS] = 10;
	assert_int_equal(
		sched_client_update(load->client, &params, sim.now_ns, NULL),
		0);
	sim_reset(&sim);
	sim_run(&sim, SIM_S);
	assert_in_range(load->started, 9, 11);

	params.limit_per_s[SCHED_TOTAL_IOPS] = 0;
	assert_int_equal(
		sched_client_update(load->client, &params, sim.now_ns, NULL),
		0);
	sim_reset(&sim);
	sim_run(&sim, SIM_S / 1000);
	assert_in_range(load->started, 32000, 33000);
	sim_finish(&sim);
}

static void test_limit_lowered_after_a_burst_does_not_stall(void **state)
{
	struct sim sim;
	struct sim_load *load;
	struct sched_params params = {0};

	(void)state;
	sim_init(&sim, &wide);
	load = add(&sim, SCHED_TOTAL_IOPS, 100000, SIM_S, 64);
	sim_start(load);
	sim_run(&sim, SIM_S);
	params.limit_per_s[SCHED_TOTAL_IOPS] = 100;
	assert_int_equal(
		sched_client_update(load->client, &params, sim.now_ns, NULL),
		0);
	sim_reset(&sim);
	sim_run(&sim, SIM_S);
	assert_in_range(load->started, 99, 101);
	sim_finish(&sim);
}

static void test_limit_of_group_holds_over_its_members(void **state)
{
	struct sched_limits limits = {0};
	struct sched_group *group;
	struct sim_load *a, *b, *free_one;
	struct sim_load_config config = {.depth = 32};
	struct sim sim;

	(void)state;
	sim_init(&sim, &wide);
	limits.limit_per_s[SCHED_TOTAL_IOPS] = 3000;
	assert_int_equal(sched_group_create(sim.sched, &limits, &group, NULL),
			 0);
	config.group = group;
	config.params.weight = 100;
	a = sim_load(&sim, &config);
	config.params.weight = 200;
	b = sim_load(&sim, &config);
	config.group = NULL;
	config.params.limit_per_s[SCHED_TOTAL_IOPS] = 7000;
	free_one = sim_load(&sim, &config);
	sim_start_all(&sim);
	sim_run(&sim, SIM_S / 10);
	sim_reset(&sim);
	sim_run(&sim, 10 * SIM_S);
	assert_in_range(a->started + b->started, 29999, 30001);
	assert_in_range(a->started, 9950, 10050); /* weights hold within */
	assert_in_range(free_one->started, 69999, 70001);

	/* a change counts at once, also from and to no limit */
	limits.limit_per_s[SCHED_TOTAL_IOPS] = 300;
	assert_int_equal(sched_group_update(group, &limits, NULL), 0);
	sim_reset(&sim);
	sim_run(&sim, SIM_S);
	assert_in_range(a->started + b->started, 299, 302);
	limits.limit_per_s[SCHED_TOTAL_IOPS] = 0;
	assert_int_equal(sched_group_update(group, &limits, NULL), 0);
	sim_reset(&sim);
	sim_run(&sim, 10 * SIM_MS);
	assert_true(a->started > 100000 && b->started > 100000);

	for (unsigned int i = 0; i < 2; i++) {
		sched_client_drain(sim.loads[i]->client);
		sched_client_destroy(sim.loads[i]->client);
		sim.loads[i]->client = NULL;
	}
	sched_group_destroy(group);
	sim_finish(&sim);
}

static void test_limit_of_group_by_direction(void **state)
{
	struct sched_limits limits = {0};
	struct sched_group *group;
	struct sim_load *load;
	struct sim_load_config config = {.depth = 1 << 16};
	struct sim sim;

	(void)state;
	sim_init(&sim, &wide);
	limits.limit_per_s[SCHED_WRITE_BYTES] = 4096 * 100;
	assert_int_equal(sched_group_create(sim.sched, &limits, &group, NULL),
			 0);
	config.group = group;
	config.write_percent = 50;
	config.every_ns = SIM_MS;
	load = sim_load(&sim, &config);
	sim_start(load);
	sim_run(&sim, 10 * SIM_S);
	assert_in_range(load->done[SCHED_WRITE], 999, 1001);
	assert_in_range(load->done[SCHED_READ], 4700, 5300);
	sched_client_drain(load->client);
	sched_client_destroy(load->client);
	load->client = NULL;
	sched_group_destroy(group);
	sim_finish(&sim);
}

static void test_limit_reservation_within_a_groups_limit(void **state)
{
	struct sched_limits limits = {0};
	struct sched_group *group;
	struct sim_load *promised, *greedy;
	struct sim_load_config config = {.depth = 32};
	struct sim sim;

	(void)state;
	sim_init(&sim, &wide);
	limits.limit_per_s[SCHED_TOTAL_IOPS] = 1000;
	assert_int_equal(sched_group_create(sim.sched, &limits, &group, NULL),
			 0);
	config.group = group;
	config.params.reservation_per_s[SCHED_TOTAL_IOPS] = 800;
	config.params.weight = 1;
	promised = sim_load(&sim, &config);
	config.params.reservation_per_s[SCHED_TOTAL_IOPS] = 0;
	config.params.weight = 1000;
	greedy = sim_load(&sim, &config);
	sim_start_all(&sim);
	sim_run(&sim, SIM_S / 10);
	sim_reset(&sim);
	sim_run(&sim, 10 * SIM_S);
	assert_true(promised->started >= 8000);
	assert_in_range(promised->started + greedy->started, 9999, 10001);
	assert_int_equal(sim_report(&sim).shortages, 0);
	for (unsigned int i = 0; i < 2; i++) {
		sched_client_drain(sim.loads[i]->client);
		sched_client_destroy(sim.loads[i]->client);
		sim.loads[i]->client = NULL;
	}
	sched_group_destroy(group);
	sim_finish(&sim);
}

/* A front that sleeps until then loses nothing. */
static void test_limit_says_when_a_client_may_go_on(void **state)
{
	struct sched_request requests[8];
	struct sched_params params = {0};
	struct sched_client *client;
	struct sim sim;

	(void)state;
	memset(requests, 0, sizeof(requests));
	sim_init(&sim, &wide);
	params.limit_per_s[SCHED_TOTAL_IOPS] = 1000;
	assert_int_equal(sched_client_create(sim.sched, NULL, &params,
					     sim.now_ns, &client, NULL),
			 0);
	assert_true(sched_client_ready_ns(client) <= sim.now_ns);
	assert_int_equal(
		sched_submit(sim.sched, client, &requests[0], sim.now_ns),
		SCHED_GO);
	assert_int_equal(sched_client_ready_ns(client),
			 sim.now_ns + SIM_MS - SCHED_LEAD_NS);
	for (unsigned int i = 1; i < 8; i++)
		assert_int_equal(sched_submit(sim.sched, client, &requests[i],
					      sim.now_ns),
				 SCHED_QUEUED);
	assert_int_equal(sched_client_queued(client), 7);
	assert_int_equal(sched_client_ready_ns(client),
			 sim.now_ns + 8 * SIM_MS - SCHED_LEAD_NS);
	assert_int_equal(sched_wake_ns(sim.sched), sim.now_ns + SIM_MS);
	sched_client_drain(client);
	assert_int_equal(sched_wake_ns(sim.sched), UINT64_MAX);
	sched_client_destroy(client);
	sched_complete(sim.sched, &requests[0], sim.now_ns);
	sim_finish(&sim);
}

/* Callers that come late make up for it, up to SCHED_LATE_NS. */
static void test_limit_makes_up_for_late_callers(void **state)
{
	struct sim sim;
	struct sim_load *load;
	struct sched_request *request;
	uint64_t count = 0, now_ns;

	(void)state;
	sim_init(&sim, &wide);
	load = add(&sim, SCHED_TOTAL_IOPS, 200000, 0, 4096);
	sim_start(load);
	now_ns = sim.now_ns;
	/* once in 130 us, that is 26 requests, for 0.13 s */
	for (int i = 0; i < 1000; i++) {
		now_ns += 130000;
		while ((request = sched_next(sim.sched, now_ns)) != NULL) {
			sched_complete(sim.sched, request, now_ns);
			sched_submit(sim.sched, load->client, request, now_ns);
			count++;
		}
	}
	assert_in_range(count, 25998, 26000);
	sim_finish(&sim);
}

static void test_limit_with_immediate_device(void **state)
{
	struct sim_config config = wide;
	struct sim sim;
	struct sim_load *limited, *other;

	(void)state;
	config.sched.immediate = true;
	sim_init(&sim, &config);
	limited = add(&sim, SCHED_TOTAL_IOPS, 5000, 0, 64);
	limited->config.params.reservation_per_s[SCHED_TOTAL_IOPS] = 100;
	assert_int_equal(sched_client_update(limited->client,
					     &limited->config.params,
					     sim.now_ns, NULL),
			 0);
	other = add(&sim, SCHED_READ_IOPS, 0, 0, 4);
	sim_start_all(&sim);
	sim_run(&sim, SIM_S);
	/* the update came before the first request: limit kept as given */
	assert_true(other->started > 3000000);
	assert_in_range(limited->started, 5000, 5001);
	sim_finish(&sim);
}

static void test_limit_at_the_ends_of_time_and_rate(void **state)
{
	static const uint64_t times[] = {0, 1, UINT64_C(1) << 40,
					 (UINT64_C(1) << 63) - 4 * SIM_S};
	static const uint64_t rates[] = {1, 1000, SCHED_RATE_MAX};

	(void)state;
	for (unsigned int t = 0; t < 4; t++) {
		for (unsigned int r = 0; r < 3; r++) {
			struct sched_request request = {.bytes = UINT32_MAX};
			struct sched_params params = {.weight = 1};
			struct sched_client *client;
			struct sim sim;
			uint64_t now_ns = times[t];

			sim_init(&sim, &wide);
			for (unsigned int a = 0; a < SCHED_AXES; a++) {
				params.limit_per_s[a] = rates[r];
				params.reservation_per_s[a] = rates[r];
			}
			assert_int_equal(sched_client_create(sim.sched, NULL,
							     &params, now_ns,
							     &client, NULL),
					 0);
			assert_int_equal(sched_submit(sim.sched, client,
						      &request, now_ns),
					 SCHED_GO);
			sched_complete(sim.sched, &request, now_ns);
			/* the next one waits as long as these bytes take */
			assert_int_equal(sched_submit(sim.sched, client,
						      &request, now_ns),
					 SCHED_QUEUED);
			assert_null(sched_next(sim.sched, now_ns));
			assert_true(sched_wake_ns(sim.sched) >= now_ns +
					    UINT32_MAX * (SIM_S / 1000) /
						    (rates[r] / 1000 + 1));
			sched_client_drain(client);
			sched_client_destroy(client);
			sim_finish(&sim);
		}
	}
}

static void test_limit_beyond_what_can_be_is_refused(void **state)
{
	struct sched_params params = {0};
	struct sched_client *client;
	struct error error;
	struct sim sim;

	(void)state;
	sim_init(&sim, &wide);
	params.limit_per_s[SCHED_READ_BYTES] = SCHED_RATE_MAX + 1;
	assert_int_equal(sched_client_create(sim.sched, NULL, &params, 0,
					     &client, &error),
			 -22);
	assert_non_null(strstr(error.text, "read bandwidth"));
	params.limit_per_s[SCHED_READ_BYTES] = 0;
	params.weight = SCHED_WEIGHT_MAX + 1;
	assert_int_equal(sched_client_create(sim.sched, NULL, &params, 0,
					     &client, &error),
			 -22);
	assert_non_null(strstr(error.text, "weight"));
	params.weight = 0;
	params.burst_ns = UINT64_MAX;
	assert_int_equal(sched_client_create(sim.sched, NULL, &params, 0,
					     &client, &error),
			 -22);
	assert_non_null(strstr(error.text, "burst"));
	sim_finish(&sim);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limit_of_20000_is_even),
		cmocka_unit_test(test_limit_of_200000_is_even),
		cmocka_unit_test(test_limit_of_1000_gives_1000),
		cmocka_unit_test(test_limit_that_divides_no_second_is_exact),
		cmocka_unit_test(test_limit_never_stalls_on_small_debt),
		cmocka_unit_test(test_limit_on_bytes),
		cmocka_unit_test(
			test_limit_on_requests_and_bytes_the_later_decides),
		cmocka_unit_test(test_limit_of_reads_leaves_writes_alone),
		cmocka_unit_test(test_limit_of_both_directions_together),
		cmocka_unit_test(test_limit_burst_is_its_tolerance),
		cmocka_unit_test(
			test_limit_idle_client_saves_no_more_than_burst),
		cmocka_unit_test(
			test_limit_update_takes_effect_on_what_is_queued),
		cmocka_unit_test(
			test_limit_lowered_after_a_burst_does_not_stall),
		cmocka_unit_test(test_limit_of_group_holds_over_its_members),
		cmocka_unit_test(test_limit_of_group_by_direction),
		cmocka_unit_test(test_limit_reservation_within_a_groups_limit),
		cmocka_unit_test(test_limit_says_when_a_client_may_go_on),
		cmocka_unit_test(test_limit_makes_up_for_late_callers),
		cmocka_unit_test(test_limit_with_immediate_device),
		cmocka_unit_test(test_limit_at_the_ends_of_time_and_rate),
		cmocka_unit_test(test_limit_beyond_what_can_be_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
