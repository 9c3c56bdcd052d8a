/* SPDX-License-Identifier: Apache-2.0 */
/* test-extents.c - which parts of a device are taken (E3) */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "host/extents.h"

#define MIB	EXTENT_BYTES
#define TOTAL	(100U * MIB)

static uint64_t take(struct extents *extents, uint64_t size_bytes)
{
	uint64_t offset_bytes = UINT64_MAX;

	assert_int_equal(
		extents_take(extents, TOTAL, size_bytes, &offset_bytes), 0);
	return offset_bytes;
}

static void test_extents_first_fit(void **state)
{
	struct extents extents = {0};
	uint64_t offset_bytes;

	(void)state;
	assert_int_equal(take(&extents, 10 * MIB), 0);
	assert_int_equal(take(&extents, MIB / 2), 10 * MIB);
	assert_int_equal(take(&extents, 20 * MIB), 11 * MIB);
	extents_release(&extents, 0);
	assert_int_equal(take(&extents, 4 * MIB), 0);
	assert_int_equal(take(&extents, 8 * MIB), 31 * MIB);
	assert_int_equal(take(&extents, 6 * MIB), 4 * MIB);
	assert_int_equal(extents_taken_bytes(&extents), 39 * MIB);
	assert_int_equal(extents_take(&extents, TOTAL, 62 * MIB, &offset_bytes),
			 -ENOSPC);
	assert_int_equal(extents_largest_free(&extents, TOTAL).offset_bytes,
			 39 * MIB);
	assert_int_equal(extents_largest_free(&extents, TOTAL).size_bytes,
			 61 * MIB);
	extents_finish(&extents);
}

static void test_extents_known_places(void **state)
{
	struct extents extents = {0};

	(void)state;
	assert_int_equal(extents_take_at(&extents, 20 * MIB, 10 * MIB), 0);
	assert_int_equal(extents_take_at(&extents, 5 * MIB, 15 * MIB), 0);
	assert_int_equal(extents_take_at(&extents, 29 * MIB, MIB), -EEXIST);
	assert_int_equal(extents_take_at(&extents, 0, 6 * MIB), -EEXIST);
	assert_int_equal(extents_take_at(&extents, 1, MIB), -EINVAL);
	assert_int_equal(extents_take_at(&extents, 0, 0), -EINVAL);
	assert_int_equal(extents_take_at(&extents, 30 * MIB, UINT64_MAX),
			 -EINVAL);
	assert_int_equal(take(&extents, 6 * MIB), 30 * MIB);
	assert_int_equal(take(&extents, 5 * MIB), 0);
	extents_finish(&extents);
}

static void test_extents_grow_in_place(void **state)
{
	struct extents extents = {0};

	(void)state;
	take(&extents, 10 * MIB);
	take(&extents, 10 * MIB);
	assert_int_equal(extents_resize(&extents, TOTAL, 0, 11 * MIB), -ENOSPC);
	assert_int_equal(extents_resize(&extents, TOTAL, 0, 5 * MIB), 0);
	assert_int_equal(extents_resize(&extents, TOTAL, 0, 10 * MIB), 0);
	assert_int_equal(extents_resize(&extents, TOTAL, 10 * MIB, 90 * MIB),
			 0);
	assert_int_equal(extents_resize(&extents, TOTAL, 10 * MIB, 91 * MIB),
			 -ENOSPC);
	assert_int_equal(extents_resize(&extents, TOTAL, 7 * MIB, MIB),
			 -ENOSPC);
	extents_finish(&extents);
}

/* The end of a device that is no whole extent can be used. */
static void test_extents_short_end(void **state)
{
	struct extents extents = {0};
	uint64_t offset_bytes;

	(void)state;
	assert_int_equal(
		extents_take(&extents, MIB + 512, MIB + 512, &offset_bytes), 0);
	assert_int_equal(extents_largest_free(&extents, MIB + 512).size_bytes,
			 0);
	assert_int_equal(extents_take(&extents, MIB + 512, 512, &offset_bytes),
			 -ENOSPC);
	extents_finish(&extents);
}

/* While somebody writes to what is free, nobody gets it. */
static void test_extents_closed(void **state)
{
	struct extents extents = {0};
	uint64_t offset_bytes;

	(void)state;
	take(&extents, 10 * MIB);
	extents.is_closed = true;
	assert_int_equal(extents_take(&extents, TOTAL, MIB, &offset_bytes),
			 -ENOSPC);
	assert_int_equal(extents_resize(&extents, TOTAL, 0, 11 * MIB), -ENOSPC);
	assert_int_equal(extents_resize(&extents, TOTAL, 0, 9 * MIB), 0);
	assert_int_equal(extents_largest_free(&extents, TOTAL).size_bytes, 0);
	/* What was taken before is only found out now. */
	assert_int_equal(extents_take_at(&extents, 20 * MIB, MIB), 0);
	extents.is_closed = false;
	assert_int_equal(take(&extents, MIB), 9 * MIB);
	extents_finish(&extents);
}

/* Against a plain map: whatever is done, nothing overlaps. */
static void test_extents_random(void **state)
{
	struct extents extents = {0};
	uint8_t map[100] = {0};
	uint64_t offset_bytes, size_bytes, i;
	unsigned int round, at;

	(void)state;
	srandom(1);
	for (round = 0; round < 20000; round++) {
		size_bytes = (uint64_t)(random() % 20 + 1) * MIB;
		if (random() % 2 == 0 &&
		    extents_take(&extents, TOTAL, size_bytes, &offset_bytes) ==
			    0) {
			for (i = 0; i < size_bytes / MIB; i++)
				assert_int_equal(map[offset_bytes / MIB + i]++,
						 0);
		} else if (extents.count) {
			at = (unsigned int)random() % extents.count;
			offset_bytes = extents.taken[at].offset_bytes;
			for (i = 0; i < extents.taken[at].size_bytes / MIB; i++)
				map[offset_bytes / MIB + i]--;
			extents_release(&extents, offset_bytes);
		}
	}
	extents_finish(&extents);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_extents_first_fit),
		cmocka_unit_test(test_extents_known_places),
		cmocka_unit_test(test_extents_grow_in_place),
		cmocka_unit_test(test_extents_short_end),
		cmocka_unit_test(test_extents_closed),
		cmocka_unit_test(test_extents_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
