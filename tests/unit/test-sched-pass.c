/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-sched-pass.c - sched_pass is sched_submit without a request (E8): what
 * it is paid for ahead changes nothing that a limit lets go
 */
#include "sched/sched.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define US		UINT64_C(1000)
#define MS		UINT64_C(1000000)
#define SECOND		UINT64_C(1000000000)

struct gate {
	struct sched *sched;
	struct sched_client *client;
	struct sched_passes passes;
};

struct pair {
	struct gate by_pass, by_submit;
	uint64_t now_ns, random;
};

static uint64_t random_below(struct pair *pair, uint64_t below)
{
	pair->random ^= pair->random << 13;
	pair->random ^= pair->random >> 7;
	pair->random ^= pair->random << 17;
	return pair->random * UINT64_C(0x2545F4914F6CDD1D) % below;
}

static struct sched_params limit_of(uint64_t rate_per_s, uint64_t burst_ns)
{
	return (struct sched_params){
		.limit_per_s = {[SCHED_TOTAL_IOPS] = rate_per_s},
		.burst_ns = burst_ns,
	};
}

static void gate_make(struct gate *gate, const struct sched_params *params,
		      uint64_t now_ns)
{
	const struct sched_config config = {.immediate = true};

	*gate = (struct gate){0};
	assert_int_equal(sched_create(&config, &gate->sched, NULL), 0);
	assert_int_equal(sched_client_create(gate->sched, NULL, params, now_ns,
					     &gate->client, NULL),
			 0);
}

static void gate_finish(struct gate *gate)
{
	sched_client_destroy(gate->client);
	sched_destroy(gate->sched);
}

/* What does not go at once is taken back: nothing waits. */
static bool goes(struct gate *gate, uint64_t now_ns)
{
	struct sched_request request = {.bytes = 4096};

	if (sched_submit(gate->sched, gate->client, &request, now_ns) ==
	    SCHED_GO) {
		sched_complete(gate->sched, &request, now_ns);
		return true;
	}
	sched_client_drain(gate->client);
	return false;
}

static bool passes(struct gate *gate, uint64_t now_ns)
{
	return sched_pass_paid(&gate->passes, now_ns) ||
		sched_pass(gate->sched, gate->client, &gate->passes, now_ns) ||
		goes(gate, now_ns);
}

static void come(struct pair *pair, uint64_t count)
{
	while (count--)
		assert_int_equal(passes(&pair->by_pass, pair->now_ns),
				 goes(&pair->by_submit, pair->now_ns));
}

/* The limit's end is where what was paid for and did not come shows. */
static void exhaust(struct pair *pair)
{
	unsigned int count = 0;

	while (goes(&pair->by_submit, pair->now_ns)) {
		assert_true(passes(&pair->by_pass, pair->now_ns));
		count++;
		assert_true(count < 10000000);
	}
	assert_false(passes(&pair->by_pass, pair->now_ns));
	assert_int_equal(sched_client_ready_ns(pair->by_pass.client),
			 sched_client_ready_ns(pair->by_submit.client));
}

static void run_seed(uint64_t seed)
{
	static const uint64_t rates[] = {7,	 999,	  1000,	     20000,
					 333333, 1000003, 2000000000};
	static const uint64_t bursts[] = {0, 1 * US, 100 * US, 5 * MS, SECOND};
	struct pair pair = {.now_ns = SECOND, .random = seed * 7919 + 1};
	const struct sched_params params =
		limit_of(rates[random_below(&pair, 7)],
			 bursts[random_below(&pair, seed % 2 ? 5 : 4)]);

	gate_make(&pair.by_pass, &params, pair.now_ns);
	gate_make(&pair.by_submit, &params, pair.now_ns);
	for (unsigned int i = 0; i < 500; i++) {
		come(&pair,
		     random_below(&pair, random_below(&pair, 8) ? 40 : 400));
		pair.now_ns += random_below(
			&pair, random_below(&pair, 4) ? 50 * US : 20 * MS);
	}
	if (params.limit_per_s[SCHED_TOTAL_IOPS] <= 1000003)
		exhaust(&pair);
	gate_finish(&pair.by_pass);
	gate_finish(&pair.by_submit);
}

static void test_pass_lets_go_what_submit_does(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 200; seed++)
		run_seed(seed);
}

static uint64_t count_at(struct gate *gate, uint64_t now_ns)
{
	uint64_t count = 0;

	while (passes(gate, now_ns))
		count++;
	return count;
}

/* A limit that changes, or goes and comes, between paying and coming. */
static void test_pass_of_a_limit_that_changes(void **state)
{
	static const uint64_t rates[] = {1000, 100000, 10000000, 0};

	(void)state;
	for (unsigned int from = 0; from < 3; from++) {
		for (unsigned int to = 0; to < 4; to++) {
			struct sched_params params =
				limit_of(rates[from], 50 * MS);
			const struct sched_params after =
				limit_of(rates[to], 50 * MS);
			struct gate gate;

			gate_make(&gate, &params, SECOND);
			for (unsigned int i = 0; i < 3; i++)
				assert_true(passes(&gate, SECOND));
			assert_int_equal(sched_client_update(gate.client,
							     &after, SECOND,
							     NULL),
					 0);
			params = limit_of(rates[2], 50 * MS);
			assert_int_equal(
				sched_client_update(gate.client,
						    to == 3 ? &params : &after,
						    SECOND, NULL),
				0);
			/* No more than who was idle may have, and little less
			 * than that: 35 were paid for. */
			params = to == 3 ? params : after;
			assert_in_range(
				count_at(&gate, SECOND + 100 * MS),
				params.limit_per_s[SCHED_TOTAL_IOPS] / 20 - 36,
				params.limit_per_s[SCHED_TOTAL_IOPS] / 20 + 1);
			gate_finish(&gate);
		}
	}
}

/* A limit on bytes is none that is paid for ahead. */
static void test_pass_of_who_becomes_another(void **state)
{
	struct sched_params params = limit_of(100000, 5 * MS);
	struct gate gate;

	(void)state;
	gate_make(&gate, &params, SECOND);
	for (unsigned int i = 0; i < 3; i++)
		assert_true(passes(&gate, SECOND));
	params.limit_per_s[SCHED_READ_BYTES] = 4096;
	assert_int_equal(
		sched_client_update(gate.client, &params, SECOND, NULL), 0);
	assert_false(
		sched_pass(gate.sched, gate.client, &gate.passes, SECOND + 1));
	assert_true(goes(&gate, SECOND + 1));
	assert_false(passes(&gate, SECOND + 2));
	gate_finish(&gate);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pass_lets_go_what_submit_does),
		cmocka_unit_test(test_pass_of_a_limit_that_changes),
		cmocka_unit_test(test_pass_of_who_becomes_another),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
