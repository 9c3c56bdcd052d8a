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

/* Keys ahead of the least by anything between nothing and 2^span. */
static void wheel_matches(uint32_t shift, uint32_t span, uint64_t start)
{
	static struct model model;
	struct wheel wheel;
	uint64_t base = start;

	for (uint32_t i = 0; i < IDS; i++)
		model.in[i] = false;
	assert_int_equal(wheel_init(&wheel, IDS, shift), 0);
	for (int step = 0; step < 30000; step++) {
		const uint32_t id = (uint32_t)(random_next() % IDS);
		const uint64_t width = UINT64_C(1) << random_next() % span;
		const uint64_t least = wheel_min(&wheel);

		assert_true(least == model_min(&model));
		if (least != UINT64_MAX && least > base)
			base = least;
		if (random_next() % 3 == 0 && least != UINT64_MAX) {
			const uint32_t first = wheel_min_id(&wheel);

			assert_true(model.in[first]);
			assert_true(model.key[first] == least);
			wheel_remove(&wheel, first);
			model.in[first] = false;
			continue;
		}
		assert_int_equal(wheel_contains(&wheel, id), model.in[id]);
		if (model.in[id]) {
			wheel_remove(&wheel, id);
			model.in[id] = false;
			continue;
		}
		model.in[id] = true;
		model.key[id] = base + random_next() % width;
		if (random_next() % 16 == 0)
			model.key[id] = random_next() % (base + 1);
		wheel_insert(&wheel, id, model.key[id]);
		assert_true(wheel_key_of(&wheel, id) == model.key[id]);
	}
	wheel_finish(&wheel);
}

static void test_wheel_matches_plain_array_near_and_far(void **state)
{
	(void)state;
	for (uint32_t span = 1; span < 62; span += 3) {
		wheel_matches(10, span, 0);
		wheel_matches(12, span, UINT64_C(1) << 40);
		wheel_matches(8, span, (UINT64_C(1) << 62) - 12345);
	}
}

static void test_wheel_serves_many_of_one_key(void **state)
{
	struct wheel wheel;

	(void)state;
	assert_int_equal(wheel_init(&wheel, IDS, 10), 0);
	for (uint32_t i = 0; i < IDS; i++)
		wheel_insert(&wheel, i, 123456789);
	for (uint32_t i = 0; i < IDS; i++) {
		assert_int_equal(wheel_min(&wheel), 123456789);
		wheel_remove(&wheel, wheel_min_id(&wheel));
	}
	assert_true(wheel_min(&wheel) == UINT64_MAX);
	wheel_rewind(&wheel);
	wheel_insert(&wheel, 0, 1);
	assert_int_equal(wheel_min(&wheel), 1);
	wheel_finish(&wheel);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_heap_matches_plain_array),
		cmocka_unit_test(test_wheel_matches_plain_array_near_and_far),
		cmocka_unit_test(test_wheel_serves_many_of_one_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
