/* SPDX-License-Identifier: Apache-2.0 */
/* test-turns.c - promises and weights at a reactor whose devices complete
 * inside submit (E8, E9): rounds in invented time */
#include "sched/turns.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define MS		UINT64_C(1000000)
#define COST_NS		UINT64_C(1000)	/* of a request */
#define VISIT_NS	UINT64_C(50)
#define RINGS_MAX	8U
#define BATCH_BYTES	131072U

/* A ring whose client has 'depth' requests, each sent again 'think_ns' after
 * the end of the visit in which it was done. */
struct ring {
	struct turns_way *way;
	struct turns_client *client;
	struct turns_seat seat;
	unsigned int depth;
	uint64_t think_ns;
	uint32_t bytes;
	uint64_t back_ns[128];		/* when each is there again */
	uint64_t served, longest_ns, last_ns;
};

struct room {
	struct turns turns;
	struct turns_way ways[RINGS_MAX];
	struct turns_client clients[RINGS_MAX];
	struct ring rings[RINGS_MAX];
	unsigned int count;
	uint64_t now_ns;
};

static void room_init(struct room *room)
{
	memset(room, 0, sizeof(*room));
	turns_init(&room->turns);
	room->now_ns = MS;
}

static struct ring *add_ring(struct room *room, unsigned int way,
			     unsigned int depth)
{
	struct ring *ring = &room->rings[room->count++];

	ring->way = &room->ways[way];
	ring->client = &room->clients[way];
	ring->depth = depth;
	ring->bytes = 4096;
	return ring;
}

static struct ring *add(struct room *room, unsigned int depth, uint64_t iops,
			uint32_t weight)
{
	const struct sched_params params = {
		.reservation_per_s = {[SCHED_TOTAL_IOPS] = iops},
		.weight = weight,
	};
	const unsigned int way = room->count;

	turns_way_init(&room->ways[way], &room->turns);
	turns_client_init(&room->clients[way], &room->ways[way], &params,
			  room->now_ns);
	return add_ring(room, way, depth);
}

static uint64_t visit(struct room *room, struct ring *ring, uint64_t round_ns,
		      uint64_t now_ns)
{
	unsigned int found = 0, take = 0, done = 0, most;

	for (unsigned int i = 0; i < ring->depth; i++)
		found += ring->back_ns[i] <= now_ns;
	(void)room;
	if (found > TURNS_MAX)
		found = TURNS_MAX;
	if (found > 0)
		take = turns_take(ring->way, &ring->seat, found, round_ns);
	assert_true(take <= found);
	/* As rings do: no more than so many bytes in a visit. */
	most = BATCH_BYTES / ring->bytes ? BATCH_BYTES / ring->bytes : 1;
	if (take > most) {
		turns_give_back(ring->way, &ring->seat, take - most);
		take = most;
	}
	now_ns += VISIT_NS + take * COST_NS * (ring->bytes / 4096);
	for (unsigned int i = 0; i < ring->depth && done < take; i++) {
		if (ring->back_ns[i] <= now_ns - VISIT_NS) {
			ring->back_ns[i] = now_ns + ring->think_ns;
			done++;
		}
	}
	if (take > 0) {
		if (round_ns - ring->last_ns > ring->longest_ns)
			ring->longest_ns = round_ns - ring->last_ns;
		ring->last_ns = round_ns;
		turns_served(ring->client, SCHED_READ, take,
			     (uint64_t)take * ring->bytes);
	}
	ring->served += take;
	return now_ns;
}

/* What all were served in 'ms', after a while; returns the sum. */
static uint64_t run(struct room *room, uint64_t ms)
{
	uint64_t end_ns = room->now_ns + 50 * MS, sum = 0;

	for (unsigned int part = 0; part < 2; part++) {
		for (unsigned int i = 0; i < room->count; i++) {
			room->rings[i].served = 0;
			room->rings[i].longest_ns = 0;
			room->rings[i].last_ns = room->now_ns;
		}
		while (room->now_ns < end_ns) {
			const uint64_t round_ns = room->now_ns;

			for (unsigned int i = 0; i < room->count; i++)
				room->now_ns = visit(room, &room->rings[i],
						     round_ns, room->now_ns);
		}
		end_ns += ms * MS;
	}
	for (unsigned int i = 0; i < room->count; i++)
		sum += room->rings[i].served;
	return sum;
}

static void expect_share(const struct ring *ring, uint64_t sum,
			 unsigned int least, unsigned int most)
{
	const uint64_t milli = ring->served * 1000 / sum;

	if (milli < least || milli > most)
		fail_msg("%lu of %lu", (unsigned long)ring->served,
			 (unsigned long)sum);
}

/* The core does 950,000 to 1,000,000 requests/s here. */
static void test_turns_promise_is_held(void **state)
{
	static const uint64_t promises[] = {200000, 500000, 700000, 850000};
	static const unsigned int depths[] = {4, 32, 128};

	(void)state;
	for (unsigned int p = 0; p < 4; p++) {
		for (unsigned int d = 0; d < 3; d++) {
			struct room room;
			struct ring *promised;
			uint64_t sum;

			/* Depth 4 would have to be sent again at once. */
			if (promises[p] > 500000 && depths[d] == 4)
				continue;
			room_init(&room);
			add(&room, 128, 0, 100);
			add(&room, 128, 0, 100);
			promised = add(&room, depths[d], promises[p], 100);
			promised->think_ns = COST_NS;
			add(&room, 128, 0, 100);
			add(&room, 128, 0, 100);
			sum = run(&room, 100);
			if (promised->served < promises[p] / 10)
				fail_msg("depth %u: %lu of %lu", depths[d],
					 (unsigned long)promised->served,
					 (unsigned long)promises[p] / 10);
			assert_in_range(sum, 85000, 100000);
			for (unsigned int i = 0; i < room.count; i++)
				assert_true(room.rings[i].served > 500);
		}
	}
}

/* Without turns it would have a fifth of what its depth is of a round. */
static void test_turns_nothing_is_held_while_not_enforced(void **state)
{
	struct room room;
	struct ring *promised;
	uint64_t sum;

	(void)state;
	room_init(&room);
	turns_enforce(&room.turns, false);
	for (unsigned int i = 0; i < 4; i++)
		add(&room, 128, 0, 100);
	promised = add(&room, 8, 500000, 100);
	sum = run(&room, 100);
	expect_share(promised, sum, 50, 70);
}

/* Who asks for less than it was promised leaves the rest to the others. */
static void test_turns_conserve_work(void **state)
{
	static const uint64_t thinks_ns[] = {10 * 1000, 50 * 1000, 10 * MS};

	(void)state;
	for (unsigned int t = 0; t < 3; t++) {
		struct room room;
		struct ring *promised;
		uint64_t sum;

		room_init(&room);
		for (unsigned int i = 0; i < 4; i++)
			add(&room, 128, 0, 100);
		promised = add(&room, 1, 700000, 100);
		promised->think_ns = thinks_ns[t];
		sum = run(&room, 100);
		assert_in_range(sum, 93000, 100000);
		expect_share(&room.rings[0], sum, 180, 260);
	}
}

static void test_turns_follow_weights(void **state)
{
	struct room room;
	uint64_t sum;

	(void)state;
	room_init(&room);
	add(&room, 128, 0, 100);
	add(&room, 64, 0, 200);
	add(&room, 128, 0, 400);
	sum = run(&room, 100);
	assert_in_range(sum, 95000, 100000);
	expect_share(&room.rings[0], sum, 137, 149);
	expect_share(&room.rings[1], sum, 278, 293);
	expect_share(&room.rings[2], sum, 563, 580);
}

/* ... also of what a promise leaves over. */
static void test_turns_follow_weights_beside_a_promise(void **state)
{
	struct room room;
	uint64_t sum, rest;

	(void)state;
	room_init(&room);
	add(&room, 128, 0, 100);
	add(&room, 128, 0, 300);
	add(&room, 16, 600000, 100);
	sum = run(&room, 200);
	assert_true(room.rings[2].served >= 120000);
	rest = sum - room.rings[2].served;
	expect_share(&room.rings[0], rest, 220, 280);
	expect_share(&room.rings[1], rest, 720, 780);
}

/* More queues are not more of the core. */
static void test_turns_are_by_client(void **state)
{
	struct room room;
	uint64_t sum;

	(void)state;
	room_init(&room);
	add(&room, 128, 0, 100);
	for (unsigned int i = 0; i < 3; i++)
		add_ring(&room, 0, 128);
	room.count = 4;
	add(&room, 128, 0, 100);
	sum = run(&room, 100);
	assert_in_range(sum, 95000, 100000);
	expect_share(&room.rings[4], sum, 490, 510);
	for (unsigned int i = 0; i < 4; i++)
		expect_share(&room.rings[i], sum, 115, 135);
}

/* Nor are larger requests. */
static void test_turns_count_bytes(void **state)
{
	struct room room;
	uint64_t bytes;

	(void)state;
	room_init(&room);
	add(&room, 128, 0, 100);
	add(&room, 32, 0, 100)->bytes = 65536;
	run(&room, 200);
	bytes = room.rings[0].served + 16 * room.rings[1].served;
	expect_share(&room.rings[0], bytes, 460, 540);
}

/* A promised latency: rounds are no longer than half of it. */
static void test_turns_keep_rounds_short_for_a_latency(void **state)
{
	const struct sched_params params = {.latency_ns = {40 * 1000, 0}};
	struct room room;
	struct ring *promised;

	(void)state;
	room_init(&room);
	for (unsigned int i = 0; i < 4; i++)
		add(&room, 128, 0, 100);
	promised = add(&room, 1, 0, 100);
	turns_client_update(promised->client, &params, room.now_ns);
	run(&room, 100);
	assert_true(promised->longest_ns <= 40 * 1000);
	assert_true(promised->served >= 3000);
}

/* One that was promised nothing, beside the greatest weight and promise. */
static void test_turns_starve_nobody(void **state)
{
	struct room room;

	(void)state;
	room_init(&room);
	add(&room, 128, 0, 1);
	add(&room, 128, 0, 1000000);
	add(&room, 32, 2000000, 100);
	run(&room, 1000);
	assert_true(room.rings[0].served > 10);
	assert_true(room.rings[1].served > 1000);
}

/* E12, E13: promises come, change and go. */
static void test_turns_promises_change(void **state)
{
	const struct sched_params none = {0};
	struct room room;
	struct ring *promised;
	uint64_t sum;

	(void)state;
	room_init(&room);
	for (unsigned int i = 0; i < 4; i++)
		add(&room, 128, 0, 100);
	promised = add(&room, 16, 700000, 100);
	run(&room, 100);
	assert_true(promised->served >= 70000);
	turns_client_update(promised->client, &none, room.now_ns);
	sum = run(&room, 100);
	expect_share(promised, sum, 90, 205);
	turns_client_finish(promised->client);
	turns_way_finish(promised->way);
	assert_int_equal(
		turns_take(promised->way, &promised->seat, 7, room.now_ns), 7);
}

/* Another client of the way of 'first', with a ring of its own. */
static struct ring *add_beside(struct room *room, const struct ring *first,
			       unsigned int depth)
{
	const struct sched_params params = {.weight = 100};
	struct ring *ring = add_ring(room, 0, depth);

	ring->way = first->way;
	ring->client = &room->clients[room->count - 1];
	turns_client_init(ring->client, ring->way, &params, room->now_ns);
	return ring;
}

/* What was promised to a process that does nothing is owed to nobody else of
 * its vdev. */
static void test_turns_promise_is_not_its_neighbours(void **state)
{
	struct room room;
	struct ring *promised, *beside;
	uint64_t sum;

	(void)state;
	room_init(&room);
	add(&room, 128, 0, 100);
	add(&room, 128, 0, 100);
	promised = add(&room, 0, 200000, 100);
	beside = add_beside(&room, promised, 128);
	sum = run(&room, 100);
	expect_share(&room.rings[0], sum, 300, 370);
	expect_share(beside, sum, 300, 370);
	/* It comes back, and has what it was promised. */
	promised->depth = 32;
	run(&room, 100);
	assert_true(promised->served >= 20000);
}

/* What was promised for writes is not owed to reads. */
static void test_turns_promise_is_of_its_direction(void **state)
{
	const struct sched_params writes = {
		.reservation_per_s = {[SCHED_WRITE_IOPS] = 200000},
		.weight = 100,
	};
	struct room room;
	struct ring *reader;
	uint64_t sum;

	(void)state;
	room_init(&room);
	add(&room, 128, 0, 100);
	reader = add(&room, 128, 0, 100);
	turns_client_update(reader->client, &writes, room.now_ns);
	sum = run(&room, 100);
	expect_share(reader, sum, 480, 520);
}

/* A promise that cannot be held, for its own requests take the time. */
static void test_turns_wait_no_longer_than_a_window(void **state)
{
	struct room room;
	struct ring *other;

	(void)state;
	room_init(&room);
	other = add(&room, 1, 0, 100);
	add(&room, 1, 100000, 100)->bytes = 2 << 20;
	run(&room, 200);
	assert_true(other->longest_ns <= 2 * MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_turns_promise_is_held),
		cmocka_unit_test(test_turns_nothing_is_held_while_not_enforced),
		cmocka_unit_test(test_turns_conserve_work),
		cmocka_unit_test(test_turns_follow_weights),
		cmocka_unit_test(test_turns_follow_weights_beside_a_promise),
		cmocka_unit_test(test_turns_are_by_client),
		cmocka_unit_test(test_turns_count_bytes),
		cmocka_unit_test(test_turns_keep_rounds_short_for_a_latency),
		cmocka_unit_test(test_turns_starve_nobody),
		cmocka_unit_test(test_turns_promises_change),
		cmocka_unit_test(test_turns_promise_is_not_its_neighbours),
		cmocka_unit_test(test_turns_promise_is_of_its_direction),
		cmocka_unit_test(test_turns_wait_no_longer_than_a_window),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
