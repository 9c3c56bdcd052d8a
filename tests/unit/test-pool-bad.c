/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-pool-bad.c - extents that cannot be written: found by the scrubber or by
 * a first write, which goes elsewhere; told by the log, never used again (E3)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>

#include <cmocka.h>

#include "pool-rig.h"

#define EXTENTS	24U

static uint32_t extent_of(const struct rig *rig, uint32_t index)
{
	const struct volume *volume = rig->pool->volumes;

	return (table_get(&volume->table, index) & TABLE_NUMBER) -
		rig->pool->members[0]->config.first_number;
}

/* A volume of six extents, the one of index 2 on a place that fails. */
static struct rig *make(uint32_t *ret_extent)
{
	struct rig *rig = rig_make(1, 4);
	const struct member *member = rig->pool->members[0];

	rig_flush(rig);
	rig_settle(rig);
	*ret_extent = extent_of(rig, 2);
	powercut_fail(rig->devices[0], member_offset(member, *ret_extent),
		      FORMAT_EXTENT_BYTES);
	return rig;
}

/* Of a run that fails only what fails by itself is bad. */
static void test_bad_is_found(void **state)
{
	uint32_t extent;
	struct rig *rig = make(&extent);
	const struct member *member = rig->pool->members[0];

	(void)state;
	assert_true(rig_discard(rig, 0, 1, 4));
	rig_settle(rig);
	assert_int_equal(member->space.bad_total, 1);
	assert_int_equal(member->counts.turned_bad, 1);
	assert_int_equal(member->counts.scrub_errors, 0);
	assert_true(space_is_bad(&member->space, extent));
	assert_int_equal(member->space.total[SPACE_DIRTY], 0);
	assert_int_equal(member_free(member), EXTENTS - 2 - 1);
	rig_free(rig);
}

/* After a kill, and after the log was compacted, it is as bad as before. */
static void test_bad_stays_bad(void **state)
{
	uint32_t extent;
	struct rig *rig = make(&extent);

	(void)state;
	rig_discard(rig, 0, 2, 1);
	rig_settle(rig);
	rig_crash(rig, true);
	assert_true(space_is_bad(&rig->pool->members[0]->space, extent));
	log_compact(&rig->pool->members[0]->log);
	rig_settle(rig);
	assert_int_equal(rig->pool->members[0]->log.compactions, 1);
	rig_crash(rig, true);
	assert_true(space_is_bad(&rig->pool->members[0]->space, extent));
	assert_int_equal(rig->pool->members[0]->space.bad_total, 1);
	rig_free(rig);
}

/* Power is cut at each step of it, and of a compaction meanwhile: nothing is
 * lost, nothing that is free holds data, and it is bad or is scrubbed anew. */
static void test_bad_crashes(void **state)
{
	uint32_t extent;
	struct rig *rig = make(&extent);

	(void)state;
	for (uint32_t round = 0; round < 2; round++) {
		rig_discard(rig, 0, 2 + round, 1);
		if (round > 0)
			log_compact(&rig->pool->members[0]->log);
		do {
			rig_probe(rig, true, UINT64_MAX);
			rig_probe(rig, false, UINT64_MAX);
		} while (rig_event(rig));
	}
	assert_int_equal(rig->pool->members[0]->space.bad_total, 1);
	rig_free(rig);
}

static void added(struct pool_add *add, int result, const struct error *error)
{
	(void)add;
	(void)error;
	assert_int_equal(result, 0);
}

/* A device that fails everywhere has no bad places: no more than some. */
static void test_bad_device(void **state)
{
	static const struct pool_ops ops = {0};
	const uint64_t metadata = UINT64_C(1) << 20;
	struct powercut *device =
		powercut_create(metadata + 64 * FORMAT_EXTENT_BYTES);
	const struct member_config config = {
		.device = powercut_device(device),
		.name = "d0",
		.uuid = {{1}},
		.may_claim = true,
		.metadata_bytes = metadata,
		.area_blocks = 48,
	};
	struct pool_add add = {.done = added};
	const struct member *member;
	struct pool *pool;

	(void)state;
	assert_int_equal(pool_create(&ops, NULL, &pool), 0);
	assert_int_equal(pool_add(pool, &config, true, &add), 0);
	while (powercut_pending(device) > 0)
		powercut_end(device, 0);
	powercut_fail(device, metadata, 64 * FORMAT_EXTENT_BYTES);
	assert_int_equal(pool_start(pool, NULL), 0);
	while (powercut_pending(device) > 0)
		powercut_end(device, 0);
	member = pool->members[0];
	assert_int_equal(member->space.bad_total,
			 MEMBER_BAD_SHARE + 64 / MEMBER_BAD_SHARE);
	assert_int_equal(member->counts.scrub_errors,
			 64 - member->space.bad_total);
	assert_int_equal(member_free(member), 0);
	pool_destroy(pool);
	powercut_destroy(device);
}

/* ---- first writes ---- */

/* The first extent of a volume of six is written; the one where the next is
 * going to be fails. */
static struct rig *make_unwritten(uint32_t devices, uint32_t *ret_extent)
{
	struct rig *rig = rig_make(devices, 24);
	const struct member *member = rig->pool->members[0];

	*ret_extent = extent_of(rig, 0) + 1;
	assert_int_equal(space_get(&member->space, *ret_extent), SPACE_OPEN);
	powercut_fail(rig->devices[0], member_offset(member, *ret_extent),
		      FORMAT_EXTENT_BYTES);
	return rig;
}

static bool is_acked(const struct rig *rig, uint32_t cell)
{
	const struct rig_cell *has = &rig->volumes[0].cells[cell];

	return !has->is_busy && has->count == 1 && has->acked == 1;
}

/* It goes elsewhere, and whoever waited for it with it: nobody sees an error.
 * The extent is bad, after a kill too. */
static void test_bad_first_write(void **state)
{
	uint32_t extent;
	struct rig *rig = make_unwritten(1, &extent);
	const struct member *member = rig->pool->members[0];

	(void)state;
	assert_true(rig_write(rig, 0, 4));
	assert_true(rig_write(rig, 0, 5));
	rig_settle(rig);
	assert_true(is_acked(rig, 4) && is_acked(rig, 5));
	assert_true(space_is_bad(&member->space, extent));
	assert_int_equal(member->space.bad_total, 1);
	assert_int_equal(extent_of(rig, 1), extent + 1);
	rig_crash(rig, true);
	assert_true(space_is_bad(&rig->pool->members[0]->space, extent));
	assert_int_equal(extent_of(rig, 1), extent + 1);
	rig_free(rig);
}

/* Rather to another device, if there is one. */
static void test_bad_first_write_other_device(void **state)
{
	uint32_t extent, number;
	struct rig *rig = make_unwritten(2, &extent);
	const struct member *member = rig->pool->members[0];

	(void)state;
	powercut_fail(rig->devices[0], member_offset(member, 0),
		      24 * FORMAT_EXTENT_BYTES);
	for (uint32_t cell = 4; cell < 24; cell += 4) {
		assert_true(rig_write(rig, 0, cell));
		rig_settle(rig);
		assert_true(is_acked(rig, cell));
		number = table_get(&rig->pool->volumes->table, cell / 4);
		assert_int_equal(pool_index_of(rig->pool, number), 1);
	}
	assert_in_range(member->space.bad_total, 1, 5);
	rig_free(rig);
}

/* Where nothing can be written the guest is told, after some tries. */
static void test_bad_first_write_nowhere(void **state)
{
	uint32_t extent;
	struct rig *rig = make_unwritten(1, &extent);
	const struct member *member = rig->pool->members[0];

	(void)state;
	powercut_fail(rig->devices[0], member_offset(member, 0),
		      24 * FORMAT_EXTENT_BYTES);
	assert_true(rig_write(rig, 0, 4));
	rig_settle(rig);
	assert_false(rig->volumes[0].cells[4].is_busy);
	assert_int_equal(rig->volumes[0].cells[4].acked, 0);
	assert_int_equal(member->space.bad_total, 8);
	powercut_fail(rig->devices[0], 0, 0);
	assert_true(rig_write(rig, 0, 5));
	rig_settle(rig);
	assert_int_equal(rig->volumes[0].cells[5].acked, 1);
	rig_free(rig);
}

/* Power is cut at each step of it, and of a compaction meanwhile. */
static void test_bad_first_write_crashes(void **state)
{
	for (uint32_t round = 0; round < 20; round++) {
		uint32_t extent;
		struct rig *rig = make_unwritten(1, &extent);

		(void)state;
		rig->random += round;
		rig_write(rig, 0, 4);
		rig_write(rig, 0, 8);
		if (round % 2 > 0)
			log_compact(&rig->pool->members[0]->log);
		do {
			rig_probe(rig, true, UINT64_MAX);
			rig_probe(rig, false, UINT64_MAX);
		} while (rig_event(rig));
		assert_true(is_acked(rig, 4) && is_acked(rig, 8));
		assert_int_equal(rig->pool->members[0]->space.bad_total, 1);
		rig_free(rig);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad_is_found),
		cmocka_unit_test(test_bad_stays_bad),
		cmocka_unit_test(test_bad_crashes),
		cmocka_unit_test(test_bad_device),
		cmocka_unit_test(test_bad_first_write),
		cmocka_unit_test(test_bad_first_write_other_device),
		cmocka_unit_test(test_bad_first_write_nowhere),
		cmocka_unit_test(test_bad_first_write_crashes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
