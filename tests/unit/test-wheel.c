/* SPDX-License-Identifier: Apache-2.0 */
/* The heap and the wheel give out keys in exact order, whatever happens. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/heap.h"
#include "base/wheel.h"

#define IDS	500U

static uint64_t random_state = 1;

static uint64_t random_next(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* A plain array of the same content. */
struct model {
	bool in[IDS];
	uint64_t key[IDS];
};

static uint64_t model_min(const struct model *model)
{
	uint64_t least = UINT64_MAX;

	for (uint32_t i = 0; i < IDS; i++)
		if (model->in[i] && model->key[i] < least)
			least = model->key[i];
	return least;
}

static void test_heap_matches_plain_array(void **state)
{
	static struct model model;
	static uint32_t places[IDS];
	struct heap heap = {.place = places};

	(void)state;
	assert_int_equal(heap_reserve(&heap, IDS), 0);
	for (int step = 0; step < 200000; step++) {
		const uint32_t id = (uint32_t)(random_next() % IDS);
		const uint64_t key = random_next() % 1000;

		assert_int_equal(heap_contains(&heap, id), model.in[id]);
		if (!model.in[id])
			heap_insert(&heap, id, key);
		else if (step & 1)
			heap_change(&heap, id, key);
		else
			heap_remove(&heap, id);
		model.in[id] = heap_contains(&heap, id);
		model.key[id] = key;
		assert_true(heap_key(&heap) == model_min(&model));
	}
	heap_finish(&heap);
}

static void test_heap_without_places_gives_out_the_least(void **state)
{
	struct heap heap = {0};
	uint64_t before = 0;

	(void)state;
	assert_int_equal(heap_reserve(&heap, IDS), 0);
	for (uint32_t i = 0; i < IDS; i++)
		heap_insert(&heap, 7, random_next() % 100);
	for (uint32_t i = 0; i < IDS; i++) {
		assert_true(heap_key(&heap) >= before);
		before = heap_key(&heap);
		assert_int_equal(heap_pop(&heap), 7);
	}
	assert_true(heap_key(&heap) == UINT64_MAX);
	heap_finish(&heap);
}

static void wheel_make(struct wheel *wheel, uint32_t ahead)
{
	wheel_init(wheel, ahead);
	assert_int_equal(wheel_reserve(wheel, IDS), 0);
}

/* Keys ahead of the least by anything between nothing and 2^span. */
static void wheel_matches(uint32_t span, uint64_t start)
{
	static struct model model;
	struct wheel wheel;
	uint64_t base = start;
	uint32_t count = 0;

	for (uint32_t i = 0; i < IDS; i++)
		model.in[i] = false;
	wheel_make(&wheel, 1 + span % WHEEL_AHEAD);
	for (int step = 0; step < 30000; step++) {
		const uint32_t id = (uint32_t)(random_next() % IDS);
		const uint64_t width = UINT64_C(1) << random_next() % span;
		const uint64_t least = wheel_min(&wheel);

		assert_true(least == model_min(&model));
		assert_int_equal(wheel_count(&wheel), count);
		if (least != UINT64_MAX && least > base)
			base = least;
		if (model.in[id] || step % 4096 > 3072) {
			uint32_t first;

			if (least == UINT64_MAX)
				continue;
			first = wheel_pop(&wheel);
			assert_true(model.in[first]);
			assert_true(model.key[first] == least);
			model.in[first] = false;
			count--;
			continue;
		}
		model.in[id] = true;
		model.key[id] = base + random_next() % width;
		if (random_next() % 16 == 0)
			model.key[id] = random_next() % (base + 1);
		wheel_insert(&wheel, id, model.key[id]);
		count++;
	}
	wheel_finish(&wheel);
}

static void test_wheel_matches_plain_array_near_and_far(void **state)
{
	(void)state;
	for (uint32_t span = 1; span < 62; span += 3) {
		wheel_matches(span, 0);
		wheel_matches(span, UINT64_C(1) << 40);
		wheel_matches(span, (UINT64_C(1) << 62) - 12345);
	}
}

static void test_wheel_serves_many_of_one_key(void **state)
{
	struct wheel wheel;

	(void)state;
	wheel_make(&wheel, 1);
	for (uint32_t i = 0; i < IDS; i++)
		wheel_insert(&wheel, i, 123456789);
	for (uint32_t i = 0; i < IDS; i++) {
		assert_int_equal(wheel_min(&wheel), 123456789);
		wheel_pop(&wheel);
	}
	assert_true(wheel_min(&wheel) == UINT64_MAX);
	wheel_clear(&wheel);
	wheel_insert(&wheel, 0, 1);
	assert_int_equal(wheel_min(&wheel), 1);
	wheel_finish(&wheel);
}

static void test_wheel_grows_with_what_is_in_it(void **state)
{
	struct wheel wheel;

	(void)state;
	wheel_init(&wheel, 4);
	for (uint32_t i = 0; i < IDS; i++) {
		assert_int_equal(wheel_reserve(&wheel, i + 1), 0);
		wheel_insert(&wheel, i,
			     UINT64_C(5000) * (i * 7919 % IDS) + 1000);
	}
	for (uint32_t i = 0; i < IDS; i++) {
		assert_int_equal(wheel_min(&wheel), 5000 * i + 1000);
		assert_int_equal(wheel_pop(&wheel) * 7919 % IDS, i);
	}
	wheel_finish(&wheel);
}

/* Whoever looks sees every entry once before it comes, if not in the heap. */
static void test_wheel_shows_what_comes(void **state)
{
	struct wheel wheel;
	uint32_t seen[2][IDS] = {0};
	uint32_t id, i, end;

	(void)state;
	wheel_make(&wheel, WHEEL_AHEAD);
	for (i = 0; i < IDS; i++)
		wheel_insert(&wheel, i,
			     i < WHEEL_FEW ? i : random_next() % 10000000 + i);
	while (wheel_min(&wheel) != UINT64_MAX) {
		for (uint32_t k = 0; k < 2; k++)
			for (i = wheel_look(&wheel, k, k ? 1 : WHEEL_AHEAD,
					    &end);
			     i < end; i++)
				seen[k][wheel.run[i].id]++;
		id = wheel_pop(&wheel);
		/* The first few were only in the heap. */
		assert_int_equal(seen[0][id], id >= WHEEL_FEW);
		assert_int_equal(seen[1][id], id >= WHEEL_FEW);
	}
	wheel_finish(&wheel);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_heap_matches_plain_array),
		cmocka_unit_test(test_heap_without_places_gives_out_the_least),
		cmocka_unit_test(test_wheel_matches_plain_array_near_and_far),
		cmocka_unit_test(test_wheel_serves_many_of_one_key),
		cmocka_unit_test(test_wheel_grows_with_what_is_in_it),
		cmocka_unit_test(test_wheel_shows_what_comes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
