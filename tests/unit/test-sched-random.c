/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Anything in any order, hundreds of seeds (E8, E9).
 *
 * The first test does random things to a scheduler and compares every single
 * answer with what a plain search over all clients finds.  The others run
 * random users on a random device and look at what must hold for any of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "device-sim.h"
#include "sched/state.h"

#define CLIENTS		13U
#define UNLIMITED	(CLIENTS - 1)	/* what is let go goes on there */
#define GROUPS		3U
#define REQUESTS	400U

struct fuzz {
	uint64_t random;
	struct sched *sched;
	struct sched_client *clients[CLIENTS];
	struct sched_group *groups[GROUPS];
	struct sched_request requests[REQUESTS];
	struct sched_request *idle[REQUESTS], *inside[REQUESTS];
	uint32_t idle_count, inside_count, window_max;
	bool reads_only, immediate;
	uint64_t now_ns;
	uint64_t sequence;
	uint64_t last_arrival_ns[CLIENTS][2];
};

static uint64_t random_below(struct fuzz *fuzz, uint64_t below)
{
	fuzz->random ^= fuzz->random << 13;
	fuzz->random ^= fuzz->random >> 7;
	fuzz->random ^= fuzz->random << 17;
	return fuzz->random * UINT64_C(0x2545F4914F6CDD1D) % below;
}

static struct sched_params random_params(struct fuzz *fuzz)
{
	static const uint64_t rates[] = {0, 0, 0, 1, 100, 3000, 20000, 1000000};
	static const uint64_t times[] = {0, 0, 1000, 1000000, 50000000};
	struct sched_params params = {0};
	const bool plain = random_below(fuzz, 2);

	for (unsigned int a = 0; a < SCHED_AXES; a++) {
		const uint64_t unit = a >= SCHED_READ_BYTES ? 4096 : 1;

		if (plain && a != SCHED_TOTAL_IOPS)
			continue;
		params.limit_per_s[a] = rates[random_below(fuzz, 8)] * unit;
		params.reservation_per_s[a] =
			rates[random_below(fuzz, 8)] * unit;
	}
	params.burst_ns = times[random_below(fuzz, 5)];
	params.latency_ns[0] = times[random_below(fuzz, 5)];
	params.weight = (uint32_t)random_below(fuzz, 1000);
	return params;
}

static struct sched_limits random_limits(struct fuzz *fuzz)
{
	const struct sched_params params = random_params(fuzz);
	struct sched_limits limits = {.burst_ns = params.burst_ns};

	memcpy(limits.limit_per_s, params.limit_per_s,
	       sizeof(limits.limit_per_s));
	return limits;
}

static void client_new(struct fuzz *fuzz, uint32_t i)
{
	const struct sched_params random = random_params(fuzz), none = {0};
	const struct sched_params params = i == UNLIMITED ? none : random;
	const uint64_t g =
		i == UNLIMITED ? GROUPS : random_below(fuzz, 2 * GROUPS);

	memset(fuzz->last_arrival_ns[i], 0, sizeof(fuzz->last_arrival_ns[i]));
	assert_int_equal(sched_client_create(
				 fuzz->sched,
				 g < GROUPS ? fuzz->groups[g] : NULL, &params,
				 fuzz->now_ns, &fuzz->clients[i], NULL),
			 0);
}

static void client_drain(struct fuzz *fuzz, uint32_t i)
{
	const uint32_t queued = sched_client_queued(fuzz->clients[i]);
	struct sched_request *request = sched_client_drain(fuzz->clients[i]);
	uint32_t count = 0;

	for (; request; request = request->next) {
		fuzz->idle[fuzz->idle_count++] = request;
		count++;
	}
	assert_int_equal(count, queued);
	assert_int_equal(sched_client_queued(fuzz->clients[i]), 0);
}

static bool is_of_a_kind(struct sched_request *request, const void *arg)
{
	return request->bytes / 4096 % 2 == *(const uint32_t *)arg;
}

static void client_take(struct fuzz *fuzz, uint32_t i)
{
	const uint32_t kind = (uint32_t)random_below(fuzz, 2);
	const uint32_t queued = sched_client_queued(fuzz->clients[i]);
	struct sched_request *request = sched_client_take(
		fuzz->clients[i], is_of_a_kind, &kind, fuzz->now_ns);
	uint32_t count = 0;

	for (; request; request = request->next) {
		assert_true(is_of_a_kind(request, &kind));
		fuzz->idle[fuzz->idle_count++] = request;
		count++;
	}
	assert_int_equal(sched_client_queued(fuzz->clients[i]), queued - count);
}

static void client_let_go(struct fuzz *fuzz, uint32_t i)
{
	const uint32_t kind = (uint32_t)random_below(fuzz, 2);

	sched_client_let_go(fuzz->clients[i], fuzz->clients[UNLIMITED],
			    is_of_a_kind, &kind, fuzz->now_ns);
}

/* What a plain search finds. */
struct found {
	bool any, due;
	uint64_t deadline_ns, vtime;	/* the least; without groups */
};

static bool lane_ready(const struct fuzz *fuzz,
		       const struct sched_client *client, unsigned int d)
{
	if (!client->fifos[d].head)
		return false;
	if (!fuzz->sched->enforcing)
		return true;
	if (client_limit_ns(client, d) > fuzz->now_ns)
		return false;
	return !(client->flags & CLIENT_GROUPED) ||
		group_limit_ns(client_rest(client)->group, d) <= fuzz->now_ns;
}

static uint64_t lane_deadline(const struct fuzz *fuzz,
			      const struct sched_client *client, unsigned int d)
{
	const uint64_t clock_ns = sched_clock_ns(fuzz->sched, fuzz->now_ns);
	const uint64_t arrival_ns = client->fifos[d].head->arrival_ns;
	uint64_t due_ns = client_due_ns(client, d);
	const uint16_t state = client->state[client_lane(client, d)];
	/* It may be due without having been looked at. */
	const bool was_due = state == LANE_DUE ||
		(state == LANE_SPARE && due_ns <= fuzz->sched->now_ns);

	if (!was_due && clock_ns > CREDIT_NS && due_ns < clock_ns - CREDIT_NS)
		due_ns = clock_ns - CREDIT_NS;
	return (due_ns > arrival_ns ? due_ns : arrival_ns) +
		client->bound_ns[d];
}

static struct found search(const struct fuzz *fuzz)
{
	struct found found = {.deadline_ns = UINT64_MAX, .vtime = UINT64_MAX};
	const uint64_t clock_ns = sched_clock_ns(fuzz->sched, fuzz->now_ns);

	for (uint32_t i = 0; i < CLIENTS; i++) {
		for (unsigned int d = 0; d < 2; d++) {
			const struct sched_client *client = fuzz->clients[i];
			uint64_t vtime = client->vtime;

			if (!lane_ready(fuzz, client, d))
				continue;
			found.any = true;
			if (client_due_ns(client, d) <= clock_ns) {
				const uint64_t deadline_ns =
					lane_deadline(fuzz, client, d);

				found.due = true;
				if (deadline_ns < found.deadline_ns)
					found.deadline_ns = deadline_ns;
			}
			if (client->state[client_lane(client, d)] !=
				    LANE_SPARE &&
			    vtime < fuzz->sched->vtime)
				vtime = fuzz->sched->vtime;
			if (vtime < found.vtime)
				found.vtime = vtime;
		}
	}
	return found;
}

/* Only with one direction, no groups and no shortage is the order known from
 * outside to the last request. */
static bool order_is_known(const struct fuzz *fuzz)
{
	const struct sched *sched = fuzz->sched;

	if (!fuzz->reads_only || !sched->enforcing || sched->behind_ns > 0 ||
	    sched->shortage.watching)
		return false;
	for (uint32_t i = 0; i < CLIENTS; i++)
		if (fuzz->clients[i]->flags & CLIENT_GROUPED)
			return false;
	return true;
}

static void next_and_compare(struct fuzz *fuzz)
{
	struct sched_client before[CLIENTS];
	const struct found found = search(fuzz);
	const bool ordered = order_is_known(fuzz);
	const bool full = fuzz->sched->in_flight >= fuzz->sched->window;
	const uint64_t vtime = fuzz->sched->vtime;
	uint64_t deadlines_ns[CLIENTS];
	uint64_t dues_ns[CLIENTS][2];
	struct sched_request *request;
	uint32_t i = 0, d;

	for (i = 0; i < CLIENTS; i++) {
		before[i] = *fuzz->clients[i];
		for (d = 0; d < 2; d++)
			dues_ns[i][d] = client_due_ns(fuzz->clients[i], d);
		deadlines_ns[i] = before[i].fifos[0].head ?
			lane_deadline(fuzz, fuzz->clients[i], 0) :
			0;
	}
	request = sched_next(fuzz->sched, fuzz->now_ns);
	assert_int_equal(request != NULL, found.any && !full);
	if (!request) {
		const uint64_t wake_ns = sched_wake_ns(fuzz->sched);

		assert_true(wake_ns > fuzz->now_ns);
		return;
	}
	for (i = 0; fuzz->clients[i] != request->client; i++)
		;
	d = request->direction;
	assert_ptr_equal(before[i].fifos[d].head, request);
	if (i != UNLIMITED)
		assert_true(request->arrival_ns >= fuzz->last_arrival_ns[i][d]);
	fuzz->last_arrival_ns[i][d] = request->arrival_ns;
	if (fuzz->sched->enforcing)
		assert_int_equal(dues_ns[i][d] <= sched_clock_ns(fuzz->sched,
								 fuzz->now_ns),
				 found.due);
	if (ordered && fuzz->sched->behind_ns == 0) {
		if (found.due)
			assert_int_equal(deadlines_ns[i], found.deadline_ns);
		else
			assert_int_equal(
				before[i].state[client_lane(&before[i], d)] !=
							LANE_SPARE &&
						before[i].vtime < vtime ?
					vtime :
					before[i].vtime,
				found.vtime);
	}
	fuzz->inside[fuzz->inside_count++] = request;
}

static void submit_one(struct fuzz *fuzz)
{
	struct sched_request *request;
	const uint32_t i = (uint32_t)random_below(fuzz, CLIENTS);

	if (fuzz->idle_count == 0)
		return;
	request = fuzz->idle[--fuzz->idle_count];
	request->bytes = (uint32_t)random_below(fuzz, 32) * 4096;
	request->direction =
		fuzz->reads_only ? 0 : (uint8_t)random_below(fuzz, 2);
	if (sched_submit(fuzz->sched, fuzz->clients[i], request,
			 fuzz->now_ns) == SCHED_GO)
		fuzz->inside[fuzz->inside_count++] = request;
}

static void complete_one(struct fuzz *fuzz)
{
	uint32_t i;

	if (fuzz->inside_count == 0)
		return;
	i = (uint32_t)random_below(fuzz, fuzz->inside_count);
	sched_complete(fuzz->sched, fuzz->inside[i], fuzz->now_ns);
	fuzz->idle[fuzz->idle_count++] = fuzz->inside[i];
	fuzz->inside[i] = fuzz->inside[--fuzz->inside_count];
}

static void change_something(struct fuzz *fuzz)
{
	const uint32_t i = (uint32_t)random_below(fuzz, UNLIMITED);
	const struct sched_params params = random_params(fuzz);
	const struct sched_limits limits = random_limits(fuzz);
	struct sched_config config = fuzz->sched->config;

	switch (random_below(fuzz, 11)) {
	case 0:
		client_drain(fuzz, i);
		sched_client_destroy(fuzz->clients[i]);
		client_new(fuzz, i);
		break;
	case 1:
		client_drain(fuzz, i);
		break;
	case 2:
		sched_enforce(fuzz->sched, random_below(fuzz, 4) > 0,
			      fuzz->now_ns);
		break;
	case 3:
		config.window_max = 1 + (uint32_t)random_below(fuzz, 64);
		assert_int_equal(sched_configure(fuzz->sched, &config, NULL),
				 0);
		break;
	case 4:
		assert_int_equal(
			sched_group_update(
				fuzz->groups[random_below(fuzz, GROUPS)],
				&limits, NULL),
			0);
		break;
	case 5:
		client_take(fuzz, i);
		break;
	case 6:
	case 7:
		client_let_go(fuzz, i);
		break;
	default:
		assert_int_equal(sched_client_update(fuzz->clients[i], &params,
						     fuzz->now_ns, NULL),
				 0);
		break;
	}
}

static void fuzz_once(uint64_t seed)
{
	static struct fuzz fuzz;
	struct sched_config config = {
		.cost = {{20000, 30000}, {100, 200}},
		.window_min = 1,
	};

	memset(&fuzz, 0, sizeof(fuzz));
	fuzz.random = seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
	fuzz.reads_only = seed % 2;
	fuzz.now_ns = seed % 3 ? 1 : UINT64_C(1) << 62;
	config.window_max = 1 + (uint32_t)random_below(&fuzz, 64);
	config.immediate = seed % 7 == 0;
	config.shortage = (enum sched_shortage_policy)(seed / 2 % 2);
	assert_int_equal(sched_create(&config, &fuzz.sched, NULL), 0);
	for (uint32_t g = 0; g < GROUPS; g++) {
		struct sched_limits limits = {0};

		if (seed % 5)
			limits = random_limits(&fuzz);
		assert_int_equal(sched_group_create(fuzz.sched, &limits,
						    &fuzz.groups[g], NULL),
				 0);
	}
	for (uint32_t i = 0; i < CLIENTS; i++)
		client_new(&fuzz, i);
	for (uint32_t i = 0; i < REQUESTS; i++)
		fuzz.idle[fuzz.idle_count++] = &fuzz.requests[i];

	for (int step = 0; step < 6000; step++) {
		const uint64_t what = random_below(&fuzz, 100);

		if (what < 35)
			submit_one(&fuzz);
		else if (what < 65)
			next_and_compare(&fuzz);
		else if (what < 90)
			complete_one(&fuzz);
		else if (what < 99)
			fuzz.now_ns += random_below(
				&fuzz, UINT64_C(1) << random_below(&fuzz, 28));
		else
			change_something(&fuzz);
		assert_int_equal(fuzz.idle_count + fuzz.inside_count +
					 fuzz.sched->queued,
				 REQUESTS);
		assert_int_equal(fuzz.sched->in_flight, fuzz.inside_count);
	}
	for (uint32_t i = 0; i < CLIENTS; i++) {
		client_drain(&fuzz, i);
		sched_client_destroy(fuzz.clients[i]);
	}
	while (fuzz.inside_count > 0)
		complete_one(&fuzz);
	assert_int_equal(fuzz.idle_count, REQUESTS);
	for (uint32_t g = 0; g < GROUPS; g++)
		sched_group_destroy(fuzz.groups[g]);
	sched_destroy(fuzz.sched);
}

static void test_random_answers_are_those_of_a_plain_search(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 400; seed++)
		fuzz_once(seed);
}

/* An arrival curve per axis: what GCRA with this tolerance would pass. */
struct curve {
	unsigned __int128 tag;	/* 2^-32 ns */
};
static struct curve curves[64][SCHED_AXES];
static struct sim_load *curve_loads[64];
static uint32_t curve_count;

static void check_curve(struct sim_load *load, struct sched_request *request)
{
	static const uint32_t directions[SCHED_AXES] = {1, 2, 3, 1, 2, 3};
	const struct sched_params *params = &load->config.params;
	const uint64_t allowed_ns = params->burst_ns > SCHED_LATE_NS ?
		params->burst_ns :
		SCHED_LATE_NS;
	const unsigned __int128 now = (unsigned __int128)load->sim->now_ns
		<< 32;
	uint32_t i = 0;

	while (curve_loads[i] != load)
		i++;
	for (unsigned int a = 0; a < SCHED_AXES; a++) {
		struct curve *curve = &curves[i][a];
		const uint64_t rate = params->limit_per_s[a];
		const uint64_t units =
			a >= SCHED_READ_BYTES ? request->bytes : 1;

		if (!rate || !(directions[a] >> request->direction & 1))
			continue;
		/* 2 ns: rounding of two tags */
		assert_true(curve->tag <=
			    now + ((unsigned __int128)(allowed_ns + 2) << 32));
		if (curve->tag < now)
			curve->tag = now;
		curve->tag += ((unsigned __int128)units * SIM_S << 32) / rate;
	}
}

static struct sim_load_config random_load(struct sim *sim)
{
	static const uint64_t limits[] = {0, 50, 700, 3000, 11000};
	struct sim_load_config config = {
		.depth = 1 + (uint32_t)(sim_random(sim) % 64),
		.bytes = 4096U << sim_random(sim) % 4,
		.write_percent = (uint32_t)(sim_random(sim) % 101),
	};

	for (unsigned int a = 0; a < SCHED_AXES; a++)
		if (sim_random(sim) % 3 == 0)
			config.params.limit_per_s[a] =
				limits[sim_random(sim) % 5] *
				(a >= SCHED_READ_BYTES ? 8192 : 1);
	config.params.burst_ns =
		sim_random(sim) % 2 ? sim_random(sim) % (50 * SIM_MS) : 0;
	config.params.weight = 1 + (uint32_t)(sim_random(sim) % 1000);
	if (sim_random(sim) % 3 == 0)
		config.every_ns = 20000 + sim_random(sim) % SIM_MS;
	return config;
}

static void test_random_limits_are_never_exceeded(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 200; seed++) {
		const struct sim_config config = {
			.servers = 1 + (uint32_t)(seed % 16),
			.service_ns = {200000, 300000},
			.sigma_milli = (uint32_t)(seed % 10) * 100,
			.seed = seed,
		};
		struct sim sim;

		memset(curves, 0, sizeof(curves));
		sim_init(&sim, &config);
		sim.started = check_curve;
		curve_count = 2 + (uint32_t)(seed % 10);
		for (uint32_t i = 0; i < curve_count; i++) {
			const struct sim_load_config load = random_load(&sim);

			curve_loads[i] = sim_load(&sim, &load);
		}
		/* they come and go */
		for (int step = 0; step < 30; step++) {
			struct sim_load *load =
				curve_loads[sim_random(&sim) % curve_count];

			if (load->running)
				sim_stop(load);
			else
				sim_start(load);
			sim_run(&sim, sim_random(&sim) % (40 * SIM_MS));
		}
		for (uint32_t i = 0; i < curve_count; i++)
			sim_stop(curve_loads[i]);
		/* whatever was asked for is done in the end */
		sim_run(&sim, 60 * SIM_S);
		for (uint32_t i = 0; i < curve_count; i++)
			assert_int_equal(curve_loads[i]->outstanding, 0);
		assert_int_equal(sim_report(&sim).queued, 0);
		assert_int_equal(sim_report(&sim).in_flight, 0);
		sim_finish(&sim);
	}
}

static void test_random_reservations_hold_in_every_window(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 200; seed++) {
		const struct sim_config config = {
			.servers = 4 + (uint32_t)(seed % 5),
			.service_ns = {300000, 300000},
			.sigma_milli = 100 + (uint32_t)(seed % 4) * 100,
			.seed = seed,
		};
		const uint64_t capacity = config.servers * SIM_S / 330000;
		struct sim_load *loads[6];
		uint64_t left = capacity * 6 / 10, total = 0;
		struct sim sim;

		sim_init(&sim, &config);
		for (uint32_t i = 0; i < 6; i++) {
			struct sim_load_config load = {.depth = 64};
			const uint64_t part = sim_random(&sim) % (left / 2);

			load.params.weight =
				1 + (uint32_t)(sim_random(&sim) % 100000);
			load.params.reservation_per_s[SCHED_TOTAL_IOPS] =
				i < 4 ? part : 0;
			load.write_percent = (uint32_t)(sim_random(&sim) % 101);
			if (i < 4)
				left -= part;
			loads[i] = sim_load(&sim, &load);
		}
		sim_start_all(&sim);
		sim_run(&sim, SIM_S / 5);
		sim_reset(&sim);
		sim_run(&sim, SIM_S);
		for (uint32_t i = 0; i < 6; i++) {
			const uint64_t promised =
				loads[i]->config.params
					.reservation_per_s[SCHED_TOTAL_IOPS];

			total += sim_rate(loads[i]);
			if (promised >= 20)
				assert_true(sim_worst_window(loads[i]) + 1 >=
					    promised / 10);
		}
		/* work-conserving */
		assert_true(total * 100 >= capacity * 90);
		assert_int_equal(sim_report(&sim).shortages, 0);
		sim_finish(&sim);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			test_random_answers_are_those_of_a_plain_search),
		cmocka_unit_test(test_random_limits_are_never_exceeded),
		cmocka_unit_test(test_random_reservations_hold_in_every_window),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
