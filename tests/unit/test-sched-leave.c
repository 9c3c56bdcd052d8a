/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queued requests of one owner leave: they are taken off, or let go without
 * waiting for their limits and paid for afterwards (E8).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "device-sim.h"

#define COUNT	40U

static const struct sim_config wide = {
	.service_ns = {1000, 1000},
	.seed = 1,
	.sched = {.window_min = 256, .window_max = 1024},
};

struct leaving {
	struct sim sim;
	struct sched_client *client, *unlimited;
	struct sched_request first, requests[COUNT];
};

/* A client with one request at the device and COUNT behind its limits. */
static void leaving_init(struct leaving *leaving, struct sched_group *group,
			 const struct sched_params *params, uint32_t bytes)
{
	static const struct sched_params none;
	struct sim *sim = &leaving->sim;

	assert_int_equal(sched_client_create(sim->sched, group, params,
					     sim->now_ns, &leaving->client,
					     NULL),
			 0);
	assert_int_equal(sched_client_create(sim->sched, NULL, &none,
					     sim->now_ns, &leaving->unlimited,
					     NULL),
			 0);
	leaving->first.bytes = bytes;
	assert_int_equal(sched_submit(sim->sched, leaving->client,
				      &leaving->first, sim->now_ns),
			 SCHED_GO);
	for (unsigned int i = 0; i < COUNT; i++) {
		struct sched_request *request = &leaving->requests[i];

		*request = (struct sched_request){.bytes = bytes};
		assert_int_equal(sched_submit(sim->sched, leaving->client,
					      request, sim->now_ns),
				 SCHED_QUEUED);
	}
	assert_null(sched_next(sim->sched, sim->now_ns));
}

static void leaving_finish(struct leaving *leaving)
{
	struct sim *sim = &leaving->sim;

	(void)sched_client_drain(leaving->client);
	sched_client_destroy(leaving->client);
	sched_client_destroy(leaving->unlimited);
	sched_complete(sim->sched, &leaving->first, sim->now_ns);
}

static bool is_any(struct sched_request *request, const void *arg)
{
	(void)request;
	(void)arg;
	return true;
}

static bool is_odd(struct sched_request *request, const void *arg)
{
	const struct sched_request *requests = arg;

	return (request - requests) % 2 != 0;
}

/* Everything that was let go is given out now, in its order. */
static void expect_all_now(struct leaving *leaving)
{
	struct sim *sim = &leaving->sim;

	assert_int_equal(sched_wake_ns(sim->sched), 0);
	for (unsigned int i = 0; i < COUNT; i++) {
		struct sched_request *request =
			sched_next(sim->sched, sim->now_ns);

		assert_ptr_equal(request, &leaving->requests[i]);
		sched_complete(sim->sched, request, sim->now_ns);
	}
	assert_null(sched_next(sim->sched, sim->now_ns));
}

static void test_leave_what_is_let_go_is_owed(void **state)
{
	const struct sched_params params = {
		.limit_per_s[SCHED_TOTAL_IOPS] = 4,
	};
	struct leaving leaving = {0};
	struct sched_request next = {.bytes = 512};
	uint64_t owed_ns;

	(void)state;
	sim_init(&leaving.sim, &wide);
	leaving_init(&leaving, NULL, &params, 512);
	sched_client_let_go(leaving.client, leaving.unlimited, is_any, NULL,
			    leaving.sim.now_ns);
	assert_int_equal(sched_client_queued(leaving.client), 0);
	expect_all_now(&leaving);
	/* The average holds: as if each had waited. */
	owed_ns = leaving.sim.now_ns + (COUNT + 1) * SIM_S / 4;
	assert_int_equal(sched_submit(leaving.sim.sched, leaving.client, &next,
				      leaving.sim.now_ns),
			 SCHED_QUEUED);
	assert_null(sched_next(leaving.sim.sched, owed_ns - 1));
	assert_ptr_equal(sched_next(leaving.sim.sched, owed_ns), &next);
	sched_complete(leaving.sim.sched, &next, owed_ns);
	leaving_finish(&leaving);
	sim_finish(&leaving.sim);
}

/* Bytes, and the limit that its group has. */
static void test_leave_groups_are_owed_too(void **state)
{
	const struct sched_limits limits = {
		.limit_per_s[SCHED_READ_BYTES] = 512,
	};
	const struct sched_params params = {
		.limit_per_s[SCHED_TOTAL_BYTES] = 1024,
	};
	struct leaving leaving = {0};
	struct sched_request next = {.bytes = 512};
	struct sched_group *group;
	struct sched_client *other;
	const struct sched_params none = {0};
	uint64_t owed_ns;

	(void)state;
	sim_init(&leaving.sim, &wide);
	assert_int_equal(
		sched_group_create(leaving.sim.sched, &limits, &group, NULL),
		0);
	leaving_init(&leaving, group, &params, 512);
	sched_client_let_go(leaving.client, leaving.unlimited, is_any, NULL,
			    leaving.sim.now_ns);
	expect_all_now(&leaving);
	assert_int_equal(sched_client_create(leaving.sim.sched, group, &none,
					     leaving.sim.now_ns, &other, NULL),
			 0);
	assert_int_equal(sched_submit(leaving.sim.sched, other, &next,
				      leaving.sim.now_ns),
			 SCHED_QUEUED);
	owed_ns = leaving.sim.now_ns + (COUNT + 1) * SIM_S;
	assert_null(sched_next(leaving.sim.sched, owed_ns - 1));
	assert_ptr_equal(sched_next(leaving.sim.sched, owed_ns), &next);
	sched_complete(leaving.sim.sched, &next, owed_ns);
	sched_client_destroy(other);
	leaving_finish(&leaving);
	sched_group_destroy(group);
	sim_finish(&leaving.sim);
}

/* Debts beyond the greatest burst are forgiven; none wraps round. */
static void test_leave_debts_are_capped(void **state)
{
	const struct sched_params params = {
		.limit_per_s[SCHED_TOTAL_BYTES] = 1,
	};
	struct leaving leaving = {0};

	(void)state;
	sim_init(&leaving.sim, &wide);
	leaving_init(&leaving, NULL, &params, UINT32_MAX);
	sched_client_let_go(leaving.client, leaving.unlimited, is_any, NULL,
			    leaving.sim.now_ns);
	expect_all_now(&leaving);
	assert_int_equal(sched_client_ready_ns(leaving.client),
			 leaving.sim.now_ns + (UINT64_C(1) << 60) -
				 SCHED_LEAD_NS);
	leaving_finish(&leaving);
	sim_finish(&leaving.sim);
}

/* One owner's are taken off; the others wait as before. */
static void test_leave_takes_only_what_is_wanted(void **state)
{
	const struct sched_params params = {
		.limit_per_s[SCHED_TOTAL_IOPS] = 4,
	};
	struct leaving leaving = {0};
	struct sched_request *taken;

	(void)state;
	sim_init(&leaving.sim, &wide);
	leaving_init(&leaving, NULL, &params, 512);
	taken = sched_client_take(leaving.client, is_odd, leaving.requests,
				  leaving.sim.now_ns);
	for (unsigned int i = 1; i < COUNT; i += 2) {
		assert_ptr_equal(taken, &leaving.requests[i]);
		taken = taken->next;
	}
	assert_null(taken);
	assert_int_equal(sched_client_queued(leaving.client), COUNT / 2);
	for (unsigned int i = 0; i < COUNT; i += 2) {
		leaving.sim.now_ns += SIM_S / 4;
		assert_null(
			sched_next(leaving.sim.sched, leaving.sim.now_ns - 1));
		taken = sched_next(leaving.sim.sched, leaving.sim.now_ns);
		assert_ptr_equal(taken, &leaving.requests[i]);
		sched_complete(leaving.sim.sched, taken, leaving.sim.now_ns);
	}
	leaving_finish(&leaving);
	sim_finish(&leaving.sim);
}

/* Nothing to wait for but its turn: it keeps its place. */
static void test_leave_without_limits_stays_in_its_queue(void **state)
{
	const struct sched_params none = {0};
	struct leaving leaving = {0};
	struct sim_config narrow = wide;

	(void)state;
	narrow.sched.window_min = narrow.sched.window_max = 1;
	sim_init(&leaving.sim, &narrow);
	leaving_init(&leaving, NULL, &none, 512);
	sched_client_let_go(leaving.client, leaving.unlimited, is_any, NULL,
			    leaving.sim.now_ns);
	assert_int_equal(sched_client_queued(leaving.client), COUNT);
	leaving_finish(&leaving);
	sim_finish(&leaving.sim);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_leave_what_is_let_go_is_owed),
		cmocka_unit_test(test_leave_groups_are_owed_too),
		cmocka_unit_test(test_leave_debts_are_capped),
		cmocka_unit_test(test_leave_takes_only_what_is_wanted),
		cmocka_unit_test(test_leave_without_limits_stays_in_its_queue),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
