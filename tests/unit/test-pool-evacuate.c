/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-pool-evacuate.c - a device is emptied while guests use it, and nothing
 * is lost whatever happens (issue 3, serviceability)
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pool-rig.h"

#define SEEDS	4U

static const struct rig_config two = {
	.devices = 2,
	.extents = 20,
	.area_blocks = 48,
	.open_extents = 4,
};

static struct rig *make(const struct rig_config *config, uint64_t seed)
{
	struct rig_config with = *config;
	struct rig *rig = calloc(1, sizeof(*rig));

	assert_non_null(rig);
	with.seed = seed;
	rig_init(rig, &with);
	rig_create(rig, 0, 6 * FORMAT_EXTENT_BYTES, false);
	rig_settle(rig);
	for (uint32_t cell = 0; cell < 24; cell += 3) {
		rig_write(rig, 0, cell);
		rig_settle(rig);
	}
	rig_flush(rig);
	rig_settle(rig);
	return rig;
}

static void drop(struct rig *rig)
{
	rig_finish(rig);
	free(rig);
}

static uint32_t mapped_on(const struct rig *rig, uint32_t m)
{
	const struct member *member = rig->pool->members[m];

	return member->super.extent_count - member_free(member);
}

/* The one that has more of them. */
static uint32_t fuller(const struct rig *rig)
{
	return mapped_on(rig, 1) > mapped_on(rig, 0);
}

static void check_cells(struct rig *rig, uint32_t slot)
{
	for (uint32_t cell = 0; cell < RIG_CELLS; cell++)
		rig_read(rig, slot, cell);
}

static void run(struct rig *rig)
{
	do
		if (rig_random(rig, RIG_SHARE) == 0) {
			rig_probe(rig, false, UINT64_MAX);
			rig_probe(rig, false, UINT64_MAX);
			rig_probe(rig, true, UINT64_MAX);
		}
	while (rig_event(rig));
}

/* Writes, discards and flushes all the time; a crash after each completion. */
static void test_evacuate_crash(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct rig *rig = make(&two, seed);

		assert_true(rig_evacuate(rig, fuller(rig)));
		for (uint32_t cell = 0; cell < 24; cell += 4)
			rig_write(rig, 0, cell);
		rig_discard(rig, 0, 5, 1);
		for (uint32_t i = 0; i < 30; i++)
			rig_event(rig);
		rig_flush(rig);
		run(rig);
		assert_false(rig->is_evacuating);
		assert_int_equal(rig->evacuated, 0);
		drop(rig);
	}
}

/* It moves once for both, and both still share it. */
static void test_evacuate_snapshot(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct rig *rig = make(&two, seed);
		uint32_t from, all;

		rig_snapshot(rig, 1, 0);
		rig_settle(rig);
		from = fuller(rig);
		all = mapped_on(rig, 0) + mapped_on(rig, 1);
		assert_true(rig_evacuate(rig, from));
		run(rig);
		assert_int_equal(rig->evacuated, 0);
		assert_int_equal(mapped_on(rig, from), 0);
		assert_int_equal(mapped_on(rig, 1 - from), all);
		check_cells(rig, 0);
		check_cells(rig, 1);
		rig_write(rig, 0, 0);
		rig_settle(rig);
		check_cells(rig, 1);
		drop(rig);
	}
}

/* A crash in the middle: the next start knows, and it goes on. */
static void test_evacuate_resume(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 8; seed++) {
		struct rig *rig = make(&two, seed);
		const uint32_t from = fuller(rig);

		assert_true(rig_evacuate(rig, from));
		for (uint64_t left = 40 + seed * 4; left > 0; left--)
			rig_event(rig);
		rig_crash(rig, seed & 1);
		rig_settle(rig);
		assert_true(member_is_leaving(rig->pool->members[from]));
		assert_false(rig_evacuate(rig, 1 - from));
		rig_write(rig, 0, 1);
		rig_write(rig, 0, 22);
		assert_true(rig_evacuate(rig, from));
		rig_settle(rig);
		assert_int_equal(rig->evacuated, 0);
		assert_int_equal(mapped_on(rig, from), 0);
		check_cells(rig, 0);
		rig_crash(rig, true);
		drop(rig);
	}
}

static void test_evacuate_cancel(void **state)
{
	(void)state;
	for (uint32_t events = 0; events < 60; events += 3) {
		struct rig *rig = make(&two, events + 1);
		const uint32_t from = fuller(rig);

		assert_true(rig_evacuate(rig, from));
		for (uint32_t i = 0; i < events; i++)
			rig_event(rig);
		if (rig->is_evacuating)
			evacuate_cancel(&rig->evacuate);
		rig_write(rig, 0, 2);
		rig_settle(rig);
		assert_false(rig->is_evacuating);
		if (rig->evacuated == -ECANCELED)
			assert_false(
				member_is_leaving(rig->pool->members[from]));
		check_cells(rig, 0);
		rig_crash(rig, true);
		check_cells(rig, 0);
		drop(rig);
	}
}

/* Stopped for a while it is still leaving, until somebody says otherwise. */
static void test_evacuate_undo(void **state)
{
	struct rig *rig = make(&two, 5);
	const uint32_t from = fuller(rig);

	(void)state;
	assert_true(rig_evacuate(rig, from));
	for (uint32_t i = 0; i < 20; i++)
		rig_event(rig);
	evacuate_stop(&rig->evacuate);
	rig_settle(rig);
	assert_int_equal(rig->evacuated, -EINTR);
	assert_true(member_is_leaving(rig->pool->members[from]));
	assert_true(rig_undo(rig, from));
	rig_settle(rig);
	assert_int_equal(rig->evacuated, -ECANCELED);
	rig_crash(rig, false);
	assert_false(member_is_leaving(rig->pool->members[from]));
	drop(rig);
}

/* One that cannot be read stays, and is named; the others go. */
static void test_evacuate_unreadable(void **state)
{
	struct rig *rig = make(&two, 3);
	const uint32_t from = fuller(rig);
	const struct volume *volume = rig->volumes[0].volume;
	struct member *member = rig->pool->members[from];
	uint32_t index = 0, before = mapped_on(rig, from);
	struct volume_place place;
	uint64_t bytes;

	(void)state;
	while (volume_read(volume, index * FORMAT_EXTENT_BYTES, 4096, &place,
			   &bytes) != VOLUME_MAPPED ||
	       place.member != member)
		index++;
	powercut_fail(rig->devices[from], place.offset_bytes, 4096);
	rig->is_damaged = true;
	assert_true(rig_evacuate(rig, from));
	rig_settle(rig);
	assert_int_equal(rig->evacuated, -EIO);
	assert_int_equal(rig->evacuate.moved, before - 1);
	assert_int_equal(rig->evacuate.left, 1);
	assert_int_equal(rig->evacuate.stayed_count, 1);
	assert_int_equal(rig->evacuate.stayed[0].index, index);
	assert_int_equal(rig->evacuate.stayed[0].result, -EIO);
	assert_string_equal(rig->evacuate.stayed[0].name, volume->is.name);
	/* Written anew it can go. */
	powercut_fail(rig->devices[from], 0, 0);
	assert_true(rig_evacuate(rig, from));
	rig_settle(rig);
	assert_int_equal(rig->evacuated, 0);
	drop(rig);
}

static uint64_t allowed;

static bool may_move(struct evacuate *evacuate, uint64_t bytes)
{
	(void)evacuate;
	if (allowed < bytes)
		return false;
	allowed -= bytes;
	return true;
}

static void paced_end(struct evacuate *evacuate, int result)
{
	*(int *)evacuate->arg = result;
}

/* Refused where the others have no room; ends where it is taken meanwhile. */
static void test_evacuate_space(void **state)
{
	struct rig_config config = two;
	struct evacuate_config with = {
		.may_move = may_move,
		.done = paced_end,
	};
	struct evacuate *evacuate = calloc(1, sizeof(*evacuate));
	struct rig *rig;
	uint32_t from;
	int result = 1;

	(void)state;
	assert_non_null(evacuate);
	config.extents = 8;
	rig = make(&config, 2);
	rig_create(rig, 1, 7 * FORMAT_EXTENT_BYTES, true);
	rig_settle(rig);
	from = fuller(rig);
	assert_false(rig_evacuate(rig, from));
	assert_false(member_is_leaving(rig->pool->members[from]));
	rig_delete(rig, 1);
	rig_settle(rig);
	rig_create(rig, 2, 11 * FORMAT_EXTENT_BYTES, false);
	rig_settle(rig);
	with.from = from;
	evacuate->arg = &result;
	allowed = 0;
	assert_int_equal(evacuate_start(rig->pool, &with, evacuate), 0);
	rig_settle(rig);
	for (uint32_t cell = 0; cell < 44; cell += 4) {
		rig_write(rig, 2, cell);
		rig_settle(rig);
	}
	assert_true(rig->refused > 0);
	allowed = UINT64_MAX;
	evacuate_go_on(evacuate);
	rig_settle(rig);
	assert_int_equal(result, -ENOSPC);
	assert_true(evacuate->left > 0);
	free(evacuate);
	check_cells(rig, 0);
	rig_crash(rig, true);
	drop(rig);
}

/* No faster than its owner says. */
static void test_evacuate_pace(void **state)
{
	struct rig *rig = make(&two, 7);
	const struct evacuate_config config = {
		.from = fuller(rig),
		.may_move = may_move,
		.done = paced_end,
	};
	struct evacuate *evacuate = calloc(1, sizeof(*evacuate));
	const uint32_t all = mapped_on(rig, config.from);
	int result = 1;

	(void)state;
	assert_non_null(evacuate);
	evacuate->arg = &result;
	allowed = 0;
	assert_int_equal(evacuate_start(rig->pool, &config, evacuate), 0);
	rig_settle(rig);
	for (uint32_t i = 0; i < all; i++) {
		assert_int_equal(result, 1);
		assert_int_equal(evacuate->moved, i);
		allowed += FORMAT_EXTENT_BYTES;
		evacuate_go_on(evacuate);
		rig_settle(rig);
	}
	assert_int_equal(result, 0);
	free(evacuate);
	drop(rig);
}

/* It leaves, with a crash after each completion; the pool goes on without it,
 * and misses nothing. */
static void test_leave_crash(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct rig *rig = make(&two, seed);

		rig_create(rig, 1, 5 * FORMAT_EXTENT_BYTES, seed & 1);
		rig_settle(rig);
		if (mapped_on(rig, 1) > 0)
			assert_int_equal(rig_leave(rig), -EBUSY);
		assert_true(rig_evacuate(rig, 1));
		rig_settle(rig);
		assert_int_equal(rig_leave(rig), 0);
		rig_create(rig, 2, 3 * FORMAT_EXTENT_BYTES, false);
		rig_snapshot(rig, 3, 0);
		rig_write(rig, 0, 2);
		rig_write(rig, 1, 2);
		rig_flush(rig);
		run(rig);
		assert_false(rig->is_leaving);
		assert_int_equal(rig->left, 0);
		rig_settle(rig);
		rig_forget_last(rig);
		rig_write(rig, 2, 1);
		rig_write(rig, 0, 23);
		rig_flush(rig);
		run(rig);
		rig_crash(rig, seed & 1);
		for (uint32_t slot = 0; slot < 4; slot++)
			check_cells(rig, slot);
		drop(rig);
	}
}

/* Nobody can write down that it is gone: it stays, and is used again. */
static void test_leave_failed(void **state)
{
	struct rig *rig = make(&two, 6);

	(void)state;
	assert_true(rig_evacuate(rig, 1));
	rig_settle(rig);
	powercut_fail(rig->devices[0], 0, UINT64_MAX);
	assert_int_equal(rig_leave(rig), 0);
	rig_settle(rig);
	assert_true(rig->left < 0);
	assert_false(rig->pool->members[1]->is_out);
	powercut_fail(rig->devices[0], 0, 0);
	rig_crash(rig, true);
	check_cells(rig, 0);
	drop(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_evacuate_crash),
		cmocka_unit_test(test_evacuate_snapshot),
		cmocka_unit_test(test_evacuate_resume),
		cmocka_unit_test(test_evacuate_cancel),
		cmocka_unit_test(test_evacuate_undo),
		cmocka_unit_test(test_evacuate_unreadable),
		cmocka_unit_test(test_evacuate_space),
		cmocka_unit_test(test_evacuate_pace),
		cmocka_unit_test(test_leave_crash),
		cmocka_unit_test(test_leave_failed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
