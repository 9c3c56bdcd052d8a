/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A promised latency holds beside a neighbour at full depth, and the
 * neighbour keeps what is left (E8, "what kept means").
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "device-sim.h"

static const struct sim_config disk8 = {
	.servers = 8,
	.service_ns = {400000, 400000},
	.sigma_milli = 400,
	.seed = 1,
	.sched = {.window_min = 1, .window_max = 256},
};

static struct sim_load *promised(struct sim *sim, uint64_t iops,
				 uint64_t latency_ns, uint64_t every_ns)
{
	struct sim_load_config config = {.depth = 16, .every_ns = every_ns};

	config.params.reservation_per_s[SCHED_TOTAL_IOPS] = iops;
	config.params.latency_ns[SCHED_READ] = latency_ns;
	config.params.latency_ns[SCHED_WRITE] = latency_ns;
	return sim_load(sim, &config);
}

static struct sim_load *neighbour(struct sim *sim, uint32_t depth,
				  uint32_t bytes)
{
	const struct sim_load_config config = {.depth = depth, .bytes = bytes};

	return sim_load(sim, &config);
}

/* What the device does when nothing but the neighbour is there. */
static uint64_t alone(const struct sim_config *config, uint32_t depth,
		      uint32_t bytes)
{
	struct sim sim;
	struct sim_load *load;
	uint64_t rate;

	sim_init(&sim, config);
	load = neighbour(&sim, depth, bytes);
	sim_start(load);
	sim_run(&sim, 2 * SIM_S);
	rate = sim_rate(load);
	sim_finish(&sim);
	return rate;
}

struct outcome {
	uint64_t p50, p99, victim, neighbour, free;
	uint32_t windows_below, window;
};

static struct outcome beside(const struct sim_config *config, uint64_t iops,
			     uint64_t latency_ns, uint64_t every_ns,
			     uint32_t depth, uint32_t bytes)
{
	struct outcome outcome;
	struct sim sim;
	struct sim_load *victim, *other;

	sim_init(&sim, config);
	victim = promised(&sim, iops, latency_ns, every_ns);
	other = neighbour(&sim, depth, bytes);
	sim_start_all(&sim);
	sim_run(&sim, SIM_S);
	sim_reset(&sim);
	sim_run(&sim, 10 * SIM_S);
	outcome.p50 = histogram_percentile(&victim->latency, 50);
	outcome.p99 = histogram_percentile(&victim->latency, 99);
	outcome.victim = sim_rate(victim);
	outcome.neighbour = sim_rate(other);
	outcome.free = alone(config, depth, bytes);
	outcome.windows_below =
		sim_windows_below(victim, (uint32_t)(iops / 10 - 1));
	outcome.window = sim_report(&sim).window;
	sim_finish(&sim);
	return outcome;
}

/* The promise holds, and the neighbour has at least 80 % of the rest. */
static void assert_kept(const struct outcome *outcome, uint64_t iops,
			uint64_t latency_ns)
{
	assert_true(outcome->p99 <= latency_ns);
	assert_true(outcome->victim >= iops - 1);
	assert_true(outcome->neighbour * 100 >= (outcome->free - iops) * 80);
}

static void test_latency_beside_a_neighbour_at_depth_256(void **state)
{
	static const uint64_t bounds_ns[] = {1500000, 2000000, 4000000};

	(void)state;
	for (unsigned int i = 0; i < 3; i++) {
		const struct outcome outcome =
			beside(&disk8, 500, bounds_ns[i], 2000000, 256, 0);

		assert_kept(&outcome, 500, bounds_ns[i]);
		assert_int_equal(outcome.windows_below, 0);
	}
}

static void test_latency_with_reservations_of_half_the_device(void **state)
{
	const struct outcome outcome =
		beside(&disk8, 10000, 2000000, 100000, 256, 0);

	(void)state;
	assert_kept(&outcome, 10000, 2000000);
}

static void test_latency_on_four_servers_and_other_seeds(void **state)
{
	struct sim_config config = disk8;

	(void)state;
	config.servers = 4;
	for (config.seed = 2; config.seed < 12; config.seed++) {
		const struct outcome outcome =
			beside(&config, 2000, 2000000, 500000, 256, 0);

		assert_kept(&outcome, 2000, 2000000);
	}
}

static void test_latency_beside_large_requests(void **state)
{
	struct sim_config config = disk8;
	struct outcome outcome;

	(void)state;
	config.servers = 4;
	config.per_kib_ns = 5000;
	outcome = beside(&config, 500, 4000000, 2000000, 256, 65536);
	assert_true(outcome.p99 <= 4000000);
	/* 500 of 4 KiB are a third of as many of 64 KiB */
	assert_true(outcome.neighbour * 100 >=
		    (outcome.free - 500 * 420 / 720) * 80);
}

/* The neighbour never fills the window: it must shrink all the same. */
static void test_latency_beside_a_shallow_neighbour(void **state)
{
	struct sim_config config = disk8;
	struct outcome outcome;

	(void)state;
	outcome = beside(&config, 500, 1500000, 2000000, 40, 0);
	assert_kept(&outcome, 500, 1500000);
}

/* The service time alone breaks this promise; the others must not pay. */
static void test_latency_that_cannot_be_kept_leaves_throughput(void **state)
{
	const struct outcome outcome =
		beside(&disk8, 500, 700000, 2000000, 256, 0);

	(void)state;
	assert_true(outcome.p99 > 700000);
	assert_true(outcome.p99 < 1500000);
	assert_true(outcome.neighbour * 100 >= (outcome.free - 500) * 95);
}

/* Fewer inside are faster each, but all together do less: a promise that only
 * a small window keeps is kept, at the others' expense. */
static void test_latency_comes_before_throughput(void **state)
{
	const struct sim_config ssd = {
		.servers = 32,
		.service_ns = {200000, 200000},
		.sigma_milli = 100,
		.crowding_milli = 60,
		.seed = 1,
		.sched = {.window_min = 1,
			  .window_max = 32,
			  .cost.request_ns = {18000, 18000}},
	};
	const struct outcome outcome =
		beside(&ssd, 500, 500000, 2000000, 256, 0);

	(void)state;
	assert_true(outcome.p99 <= 500000);
	/* 8 do 28,000/s. */
	assert_in_range(outcome.window, 6, 12);
	assert_true(outcome.neighbour >= 25000);
}

/* A disk that others use as well: twice as fast at times, for some seconds. */
static void test_latency_on_a_device_that_varies(void **state)
{
	struct sim_config config = disk8;

	(void)state;
	for (config.seed = 1; config.seed < 6; config.seed++) {
		struct sim sim;
		struct sim_load *victim, *other;

		sim_init(&sim, &config);
		victim = promised(&sim, 500, 4000000, 2000000);
		other = neighbour(&sim, 256, 0);
		sim_start_all(&sim);
		sim_run(&sim, SIM_S);
		sim_reset(&sim);
		for (unsigned int i = 0; i < 40; i++) {
			sim.speed_milli =
				400 + (uint32_t)(sim_random(&sim) % 7) * 100;
			sim_run(&sim, SIM_S + sim_random(&sim) % (2 * SIM_S));
		}
		assert_true(histogram_percentile(&victim->latency, 99) <=
			    4000000);
		/* Seven tenths of 20,000/s, less 500. */
		assert_true(sim_rate(other) > 10500);
		sim_finish(&sim);
	}
}

static void test_latency_window_opens_when_the_promise_goes(void **state)
{
	struct sim sim;
	struct sim_load *victim, *other;
	const struct sched_params nothing = {0};

	(void)state;
	sim_init(&sim, &disk8);
	victim = promised(&sim, 500, 1500000, 2000000);
	other = neighbour(&sim, 300, 0);
	sim_start_all(&sim);
	sim_run(&sim, SIM_S);
	assert_true(sim_report(&sim).window < 32);
	assert_int_equal(
		sched_client_update(victim->client, &nothing, sim.now_ns, NULL),
		0);
	assert_int_equal(sim_report(&sim).window, 256);
	sim_run(&sim, SIM_S);
	assert_int_equal(sim_report(&sim).window, 256);
	assert_true(other->outstanding == 300);
	sim_finish(&sim);
}

static void test_latency_follows_a_device_that_slows_down(void **state)
{
	struct sim sim;
	struct sim_load *victim, *other;
	uint64_t p99_ns;

	(void)state;
	sim_init(&sim, &disk8);
	victim = promised(&sim, 500, 4000000, 2000000);
	other = neighbour(&sim, 256, 0);
	sim_start_all(&sim);
	sim_run(&sim, 2 * SIM_S);
	sim.speed_milli = 500;
	sim_run(&sim, SIM_S);
	sim_reset(&sim);
	sim_run(&sim, 10 * SIM_S);
	p99_ns = histogram_percentile(&victim->latency, 99);
	assert_true(p99_ns <= 4000000);
	assert_true(sim_rate(other) > 8000);
	assert_in_range(sim_report(&sim).capacity_milli, 450, 550);

	sim.speed_milli = 1000;
	sim_run(&sim, 2 * SIM_S);
	sim_reset(&sim);
	sim_run(&sim, 5 * SIM_S);
	assert_true(sim_rate(other) > 17000);
	assert_in_range(sim_report(&sim).capacity_milli, 950, 1050);
	sim_finish(&sim);
}

/* E8: what was only promised a rate, one request at a time, has it beside a
 * neighbour at depth 256 as long as the window is what the device needs, or
 * twice that, as sched.h asks for. */
static void test_latency_of_a_reservation_alone_leaves_its_rate(void **state)
{
	(void)state;
	for (uint32_t window = 8; window <= 16; window *= 2) {
		struct sim_config config = disk8;
		struct sim_load_config one = {.depth = 1};
		struct sim_load *victim;
		struct sim sim;

		config.sched.window_max = window;
		one.params.reservation_per_s[SCHED_TOTAL_IOPS] = 1000;
		sim_init(&sim, &config);
		victim = sim_load(&sim, &one);
		neighbour(&sim, 256, 0);
		sim_start_all(&sim);
		sim_run(&sim, SIM_S);
		sim_reset(&sim);
		sim_run(&sim, 5 * SIM_S);
		assert_true(sim_rate(victim) >= 1000);
		sim_finish(&sim);
	}
}

/* When each request of a server of exactly the promised rate would begin, that
 * serves them as they come. */
struct pace {
	uint64_t began_ns, every_ns, step_ns;
	uint64_t behind_ns;	/* the most that one began later */
};

static struct pace pace;

static void note_pace(struct sim_load *load, struct sched_request *request)
{
	const uint64_t now_ns = load->sim->now_ns;
	uint64_t begins_ns;

	if (load->config.every_ns == 0)
		return;
	begins_ns = pace.began_ns +
		(request->arrival_ns - pace.began_ns) / pace.every_ns *
			pace.step_ns;
	if (now_ns > begins_ns && now_ns - begins_ns > pace.behind_ns)
		pace.behind_ns = now_ns - begins_ns;
}

/* A third more than the promise, of which seven tenths are writes: none begins
 * later than at exactly the promised rate, whatever came after it. */
static void assert_paced(const struct sched_params *more, bool grouped)
{
	const struct sched_limits limits = {.limit_per_s[SCHED_TOTAL_IOPS] =
						    1000000};
	struct sim_load_config config = {
		.depth = 1024, .every_ns = 93750, .write_percent = 70};
	struct sim_config device = disk8;
	struct sched_group *group = NULL;
	struct sim_load *victim;
	struct sim sim;

	device.sched.window_max = 8;
	config.params = *more;
	config.params.weight = 1;
	config.params.reservation_per_s[SCHED_TOTAL_IOPS] = 8000;
	config.params.latency_ns[SCHED_READ] = 5 * SIM_MS;
	config.params.latency_ns[SCHED_WRITE] = 5 * SIM_MS;
	sim_init(&sim, &device);
	if (grouped)
		assert_int_equal(
			sched_group_create(sim.sched, &limits, &group, NULL),
			0);
	config.group = group;
	victim = sim_load(&sim, &config);
	sim_start(neighbour(&sim, 256, 0));
	sim_run(&sim, SIM_S);
	pace = (struct pace){sim.now_ns, config.every_ns, 125000, 0};
	sim.started = note_pace;
	sim_start(victim);
	sim_run(&sim, 200 * SIM_MS);
	assert_true(pace.behind_ns < SIM_MS);
	sched_client_drain(victim->client);
	sched_client_destroy(victim->client);
	victim->client = NULL;
	sched_group_destroy(group);
	sim_finish(&sim);
}

static void test_latency_in_the_order_of_arrival(void **state)
{
	static const struct sched_params plain;
	/* None of these binds; each direction is a lane of its own. */
	static const struct sched_params bandwidth = {
		.limit_per_s[SCHED_TOTAL_BYTES] = UINT64_C(1) << 40};

	(void)state;
	assert_paced(&plain, false);
	assert_paced(&bandwidth, false);
	assert_paced(&plain, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_latency_beside_a_neighbour_at_depth_256),
		cmocka_unit_test(
			test_latency_with_reservations_of_half_the_device),
		cmocka_unit_test(test_latency_on_four_servers_and_other_seeds),
		cmocka_unit_test(test_latency_beside_large_requests),
		cmocka_unit_test(test_latency_beside_a_shallow_neighbour),
		cmocka_unit_test(
			test_latency_that_cannot_be_kept_leaves_throughput),
		cmocka_unit_test(test_latency_comes_before_throughput),
		cmocka_unit_test(test_latency_on_a_device_that_varies),
		cmocka_unit_test(
			test_latency_window_opens_when_the_promise_goes),
		cmocka_unit_test(test_latency_follows_a_device_that_slows_down),
		cmocka_unit_test(
			test_latency_of_a_reservation_alone_leaves_its_rate),
		cmocka_unit_test(test_latency_in_the_order_of_arrival),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
