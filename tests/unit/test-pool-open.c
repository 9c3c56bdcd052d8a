/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-pool-open.c - devices that are damaged, foreign, newer, cloned, shrunk,
 * swapped or missing: used as they can be, or refused with one clear line
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "os/loop.h"
#include "pool-rig.h"

#define METADATA	(UINT64_C(1) << 20)
#define DEVICE_BYTES	(METADATA + 24 * FORMAT_EXTENT_BYTES)

static const struct pool_ops pool_ops = {0};

struct opening {
	struct pool_add add;
	struct error error;
	int result;
	bool is_done;
};

static void opened(struct pool_add *add, int result, const struct error *error)
{
	struct opening *opening = (struct opening *)add;

	opening->is_done = true;
	opening->result = result;
	opening->error = *error;
}

static void let_end(struct powercut *device)
{
	while (powercut_pending(device) > 0)
		powercut_end(device, 0);
}

static int add(struct pool *pool, struct powercut *device,
	       const struct member_config *config, struct opening *opening)
{
	struct member_config with = *config;

	memset(opening, 0, sizeof(*opening));
	opening->add.done = opened;
	with.device = powercut_device(device);
	with.name = "d0";
	if (!with.metadata_bytes)
		with.metadata_bytes = METADATA;
	assert_int_equal(pool_add(pool, &with, false, &opening->add), 0);
	let_end(device);
	assert_true(opening->is_done);
	return opening->result;
}

static const struct member_config claiming = {
	.uuid = {{1, 2}},
	.may_claim = true,
	.is_zeroed = true,
	.area_blocks = 48,
};

/* Opens 'device', which must be done or refused with 'expected' and a line
 * that has 'word'. */
static void expect(struct powercut *device, const struct member_config *config,
		   int expected, const char *word)
{
	struct opening opening;
	struct pool *pool;

	assert_int_equal(pool_create(&pool_ops, NULL, &pool), 0);
	assert_int_equal(add(pool, device, config, &opening), expected);
	if (word && !strstr(opening.error.text, word))
		fail_msg("'%s' is not in '%s'", word, opening.error.text);
	if (expected < 0)
		assert_int_equal(strncmp(opening.error.text, "d0: ", 4), 0);
	pool_destroy(pool);
}

/* A device with a volume that has some extents, at rest. */
static struct rig *make(void)
{
	struct rig *rig = rig_make(1, 5);

	rig_discard(rig, 0, 0, 1);
	rig_settle(rig);
	rig_flush(rig);
	rig_settle(rig);
	return rig;
}

/* The same table as before? */
static void compare(const struct rig *rig, struct powercut *device)
{
	const struct volume *before = rig->pool->volumes;
	struct opening opening;
	struct pool *pool;

	assert_int_equal(pool_create(&pool_ops, NULL, &pool), 0);
	assert_int_equal(add(pool, device, &claiming, &opening), 0);
	assert_int_equal(pool_start(pool, NULL), 0);
	assert_non_null(pool->volumes);
	assert_int_equal(pool->volumes->is.size_bytes, before->is.size_bytes);
	for (uint32_t i = 0; i < before->extent_count; i++)
		assert_int_equal(table_get(&pool->volumes->table, i),
				 table_get(&before->table, i));
	pool_destroy(pool);
}

/* In one copy: the other one is used. */
static void test_open_one_copy_is_damaged(void **state)
{
	struct rig *rig = make();
	const struct member *member = rig->pool->members[0];
	const struct format_super *super = &member->super;
	const uint32_t used = member->log.now->used;
	uint32_t bit = 0;

	(void)state;
	assert_true(used > 4);
	for (uint32_t copy = 0; copy < 2; copy++) {
		const uint64_t area =
			format_area_offset(super, super->area, copy);

		for (uint32_t at = 0; at < used * 4096; at += 331) {
			struct powercut *device =
				powercut_copy(rig->devices[0]);

			powercut_flip(device, area + at, bit++ % 8);
			powercut_flip(device,
				      format_super_offset(super, copy) +
					      at % 512,
				      bit % 8);
			compare(rig, device);
			powercut_destroy(device);
		}
	}
	rig_free(rig);
}

/* In both, before the end: refused, and never a shorter log. */
static void test_open_both_copies_are_damaged(void **state)
{
	struct rig *rig = make();
	const struct member *member = rig->pool->members[0];
	const struct format_super *super = &member->super;

	(void)state;
	for (uint32_t i = 0; i + 2 < member->log.now->used; i++) {
		struct powercut *device = powercut_copy(rig->devices[0]);

		for (uint32_t copy = 0; copy < 2; copy++)
			powercut_flip(
				device,
				format_area_offset(super, super->area, copy) +
					i * 4096 + 100 * copy + 7,
				3);
		expect(device, &claiming, -EUCLEAN, "damaged in both copies");
		powercut_destroy(device);
	}
	for (uint32_t copy = 0; copy < 2; copy++)
		powercut_flip(rig->devices[0],
			      format_super_offset(super, copy) + 40, 1);
	expect(rig->devices[0], &claiming, -EUCLEAN, "superblock is damaged");
	rig_free(rig);
}

/* What cannot be read is read from the other copy. */
static void test_open_copy_cannot_be_read(void **state)
{
	struct rig *rig = make();
	const struct format_super super = rig->pool->members[0]->super;

	(void)state;
	for (uint32_t copy = 0; copy < 2; copy++) {
		struct powercut *device = powercut_copy(rig->devices[0]);

		powercut_fail(device,
			      format_area_offset(&super, super.area, copy),
			      2 * 4096);
		compare(rig, device);
		powercut_destroy(device);
	}
	rig_free(rig);
}

/* One copy of the log cannot be written: it is counted, and all goes on. */
static void test_open_log_copy_cannot_be_written(void **state)
{
	struct rig *rig = make();
	struct member *member = rig->pool->members[0];

	(void)state;
	for (uint32_t copy = 0; copy < 2; copy++) {
		powercut_fail(rig->devices[0],
			      format_area_offset(&member->super, 0, copy),
			      2 * 48 * FORMAT_BLOCK_BYTES);
		assert_true(rig_write(rig, 0, 0));
		rig_settle(rig);
		assert_true(rig_discard(rig, 0, 0, 1));
		rig_settle(rig);
		assert_true(member->log.copy_errors[copy] > 0);
		assert_false(member->log.has_failed);
	}
	powercut_fail(rig->devices[0], 0, 0);
	rig->is_damaged = true;
	rig_crash(rig, true);
	rig_free(rig);
}

static int told;

static void tell(struct volume_alloc *alloc, int result)
{
	(void)alloc;
	told = result;
}

static void tell_flush(struct member_flush *flush, int result)
{
	(void)flush;
	told = result;
}

/* E3: neither copy of the log can be written.  What is mapped goes on; a first
 * write gets the device's error: the one that was under way, and later ones. */
static void test_open_no_log_can_be_written(void **state)
{
	struct rig *rig = make();
	struct member *member = rig->pool->members[0];
	struct volume *volume = rig->pool->volumes;
	struct volume_alloc alloc = {.done = tell};
	struct member_flush flush = {.done = tell_flush};
	struct volume_place place;

	(void)state;
	powercut_fail(rig->devices[0], format_area_offset(&member->super, 0, 0),
		      4 * 48 * FORMAT_BLOCK_BYTES);
	assert_int_equal(table_get(&volume->table, 0), 0);
	told = 1;
	assert_int_equal(volume_write(volume, 0, &alloc, &place),
			 VOLUME_PLACED);
	rig_settle(rig);
	assert_int_equal(told, -EIO);
	assert_true(member->log.has_failed);
	assert_true(member->log.copy_errors[0] > 0);
	assert_true(member->log.copy_errors[1] > 0);
	assert_int_equal(volume_write(volume, 0, &alloc, &place), -EIO);
	assert_true(
		volume_map(volume, FORMAT_EXTENT_BYTES, 4096, true, &place));
	assert_true(rig_write(rig, 0, RIG_CELLS_OF + 1));
	rig_settle(rig);
	assert_true(rig_read(rig, 0, RIG_CELLS_OF + 1));
	member_flush(member, &flush);
	rig_settle(rig);
	assert_int_equal(told, 0);
	rig_free(rig);
}

static void test_open_foreign(void **state)
{
	struct powercut *device = powercut_create(DEVICE_BYTES);

	(void)state;
	powercut_poke(device, 1080, "\x53\xef", 2);
	expect(device, &claiming, -ENOMSG, "ext2/3/4");
	powercut_destroy(device);
	device = powercut_create(DEVICE_BYTES);
	powercut_poke(device, DEVICE_BYTES - 4096, "x", 1);
	expect(device, &claiming, -ENOMSG, "its end is not");
	powercut_destroy(device);
}

static void test_open_blank(void **state)
{
	struct powercut *device = powercut_create(DEVICE_BYTES);
	struct member_config config = claiming;

	(void)state;
	config.may_claim = false;
	expect(device, &config, -ENODATA, "blank");
	expect(device, &claiming, 0, NULL);
	/* Now it is ours. */
	expect(device, &config, 0, NULL);
	powercut_destroy(device);
}

static void test_open_newer(void **state)
{
	struct rig *rig = make();
	struct format_super super = rig->pool->members[0]->super;
	unsigned char block[FORMAT_BLOCK_BYTES];

	(void)state;
	super.version = 2;
	format_super_encode(&super, block);
	powercut_poke(rig->devices[0], 0, block, sizeof(block));
	expect(rig->devices[0], &claiming, -EPROTONOSUPPORT, "version 2");
	rig_free(rig);
}

static void test_open_swapped(void **state)
{
	struct rig *rig = make();
	struct member_config config = claiming;

	(void)state;
	config.expected.bytes[5] = 1;
	expect(rig->devices[0], &config, -ESTALE, "another device");
	rig_free(rig);
}

static void test_open_shrunk(void **state)
{
	struct rig *rig = make();
	struct powercut *device = powercut_copy(rig->devices[0]);

	(void)state;
	powercut_device(device)->size_bytes -= FORMAT_EXTENT_BYTES;
	expect(device, &claiming, -ENOSPC, "shrunk");
	powercut_device(device)->size_bytes = METADATA / 2;
	expect(device, &claiming, -ENOSPC, "shrunk");
	powercut_destroy(device);
	rig_free(rig);
}

static void test_open_cloned(void **state)
{
	struct rig *rig = make();
	struct powercut *one = powercut_copy(rig->devices[0]);
	struct powercut *other = powercut_copy(rig->devices[0]);
	struct opening opening;
	struct pool *pool;

	(void)state;
	assert_int_equal(pool_create(&pool_ops, NULL, &pool), 0);
	assert_int_equal(add(pool, one, &claiming, &opening), 0);
	assert_int_equal(add(pool, other, &claiming, &opening), -EEXIST);
	assert_non_null(strstr(opening.error.text, "copy"));
	assert_int_equal(pool->member_count, 1);
	pool_destroy(pool);
	powercut_destroy(one);
	powercut_destroy(other);
	rig_free(rig);
}

static void test_open_grown(void **state)
{
	struct rig *rig = make();
	struct powercut *bigger =
		powercut_create(DEVICE_BYTES + 40 * FORMAT_EXTENT_BYTES);
	struct member_config config = claiming;
	struct opening opening;
	struct pool *pool;

	(void)state;
	for (uint64_t at = 0; at < DEVICE_BYTES; at += 4096)
		if (!format_is_zero(powercut_peek(rig->devices[0], at), 4096))
			powercut_poke(bigger, at,
				      powercut_peek(rig->devices[0], at), 4096);
	config.capacity_bytes = 64 * FORMAT_EXTENT_BYTES;
	assert_int_equal(pool_create(&pool_ops, NULL, &pool), 0);
	assert_int_equal(add(pool, bigger, &config, &opening), 0);
	assert_int_equal(pool->members[0]->super.extent_count, 64);
	assert_true(pool->members[0]->space.total[SPACE_CLEAN] >= 40);
	pool_destroy(pool);
	/* And it stays so. */
	config.capacity_bytes = 0;
	assert_int_equal(pool_create(&pool_ops, NULL, &pool), 0);
	assert_int_equal(add(pool, bigger, &config, &opening), 0);
	assert_int_equal(pool->members[0]->super.extent_count, 64);
	assert_true(pool->members[0]->space.total[SPACE_CLEAN] >= 40);
	pool_destroy(pool);
	powercut_destroy(bigger);
	rig_free(rig);
}

/* What a missing device may hold is neither zero nor free; the rest goes on. */
static void test_open_without_a_device(void **state)
{
	static const struct rig_config config = {
		.devices = 2,
		.extents = 24,
		.area_blocks = 48,
		.open_extents = 4,
		.seed = 1,
	};
	struct rig *rig = calloc(1, sizeof(*rig));
	struct volume_alloc alloc = {0};
	struct volume_place place;
	struct opening opening;
	struct volume *volume;
	struct pool *pool;
	uint32_t here = 0;
	uint64_t bytes;

	(void)state;
	rig_init(rig, &config);
	rig_create(rig, 0, 8 * FORMAT_EXTENT_BYTES, false);
	rig_settle(rig);
	for (uint32_t cell = 0; cell < 16; cell += 4)
		rig_write(rig, 0, cell);
	rig_settle(rig);
	assert_int_equal(pool_create(&pool_ops, NULL, &pool), 0);
	assert_int_equal(add(pool, rig->devices[0], &claiming, &opening), 0);
	assert_int_equal(pool_start(pool, NULL), 0);
	let_end(rig->devices[0]);
	volume = pool->volumes;
	assert_int_equal(volume->missing, 1);
	for (uint32_t i = 0; i < 8; i++) {
		const uint64_t at = i * FORMAT_EXTENT_BYTES;

		if (volume_read(volume, at, 4096, &place, &bytes) ==
		    VOLUME_MAPPED) {
			here++;
			continue;
		}
		assert_int_equal(volume_read(volume, at, 4096, &place, &bytes),
				 VOLUME_MISSING);
		assert_int_equal(volume_write(volume, at, &alloc, &place),
				 -EIO);
	}
	assert_true(here > 0 && here < 4);
	pool_destroy(pool);
	rig_free(rig);
}

static void let_both_end(struct rig *rig)
{
	while (powercut_pending(rig->devices[0]) ||
	       powercut_pending(rig->devices[1])) {
		let_end(rig->devices[0]);
		let_end(rig->devices[1]);
	}
}

static void placed(struct volume_alloc *alloc, int result)
{
	(void)alloc;
	assert_int_equal(result, 0);
}

/* It comes when the pool is in use: all is there again, where it was, and what
 * was neither is zero, and free. */
static void come_late(bool has_snapshot)
{
	static const struct rig_config config = {
		.devices = 2,
		.extents = 24,
		.area_blocks = 48,
		.open_extents = 4,
		.seed = 1,
	};
	struct rig *rig = calloc(1, sizeof(*rig));
	const struct volume *before;
	struct volume_alloc alloc = {.done = placed};
	struct opening first, second;
	struct volume_place place;
	struct volume *volume;
	struct pool *pool;
	uint64_t bytes;

	rig_init(rig, &config);
	rig_create(rig, 0, 8 * FORMAT_EXTENT_BYTES, false);
	rig_settle(rig);
	for (uint32_t cell = 0; cell < 16; cell += 4)
		rig_write(rig, 0, cell);
	rig_settle(rig);
	rig_flush(rig);
	rig_settle(rig);
	if (has_snapshot)
		assert_true(rig_snapshot(rig, 1, 0));
	rig_settle(rig);
	before = rig->pool->volumes;
	assert_int_equal(pool_create(&pool_ops, NULL, &pool), 0);
	assert_int_equal(add(pool, rig->devices[0], &claiming, &first), 0);
	assert_int_equal(pool_start(pool, NULL), 0);
	let_end(rig->devices[0]);
	volume = pool->volumes;
	assert_true(volume->table.mapped < before->table.mapped);
	assert_int_equal(volume_resize(volume, FORMAT_EXTENT_BYTES, NULL),
			 -ENOTCONN);
	assert_int_equal(add(pool, rig->devices[1], &claiming, &second), 0);
	let_both_end(rig);
	assert_int_equal(volume->missing, 0);
	assert_int_equal(volume->table.mapped, before->table.mapped);
	assert_int_equal(volume->joined, 3);
	for (uint32_t i = 0; i < 8; i++)
		assert_int_equal(volume_read(volume, i * FORMAT_EXTENT_BYTES,
					     4096, &place, &bytes),
				 table_get(&before->table, i) ? VOLUME_MAPPED :
								VOLUME_ZERO);
	for (uint32_t i = 0; i < 8; i++)
		assert_int_equal(table_get(&volume->table, i) & ~TABLE_NUMBER,
				 table_get(&before->table, i) & ~TABLE_NUMBER);
	assert_true(volume_write(volume, 7 * FORMAT_EXTENT_BYTES, &alloc,
				 &place) >= 0);
	let_both_end(rig);
	assert_int_equal(volume->table.mapped, before->table.mapped + 1);
	pool_destroy(pool);
	rig_free(rig);
}

static void test_open_device_comes_late(void **state)
{
	(void)state;
	come_late(false);
}

/* Extents that several volumes have are so again, on both devices. */
static void test_open_device_comes_late_to_snapshots(void **state)
{
	(void)state;
	come_late(true);
}

static int woken_result = 1;

static void woken(struct volume_alloc *alloc, int result)
{
	(void)alloc;
	woken_result = result;
}

/* E3: a write that comes before anything is open, or its volume has joined a
 * device, waits for that. */
static void test_open_write_at_once(void **state)
{
	struct rig *rig = make();
	struct powercut *device = powercut_copy(rig->devices[0]);
	struct volume_alloc alloc = {.done = woken};
	struct volume_place place;
	struct opening opening;
	struct pool *pool;

	(void)state;
	assert_int_equal(pool_create(&pool_ops, NULL, &pool), 0);
	assert_int_equal(add(pool, device, &claiming, &opening), 0);
	assert_int_equal(pool_start(pool, NULL), 0);
	assert_int_equal(volume_write(pool->volumes, 0, &alloc, &place),
			 VOLUME_WAIT);
	while (woken_result > 0) {
		assert_true(powercut_pending(device) > 0);
		powercut_end(device, 0);
		if (woken_result == 0 &&
		    volume_write(pool->volumes, 0, &alloc, &place) ==
			    VOLUME_WAIT)
			woken_result = 1;
	}
	assert_int_equal(woken_result, 0);
	let_end(device);
	assert_true(table_get(&pool->volumes->table, 0) > 0);
	pool_destroy(pool);
	powercut_destroy(device);
	rig_free(rig);
}

static uint32_t done_in_round;

static void count_done(struct volume_alloc *alloc, int result)
{
	(void)alloc;
	assert_int_equal(result, 0);
	done_in_round++;
}

static void turn(struct loop *loop, struct powercut *device)
{
	do {
		let_end(device);
		assert_int_equal(loop_run_once(loop, 0), 0);
	} while (powercut_pending(device) > 0);
}

/* E3: first writes of one round of the loop share a step of the log. */
static void test_open_one_step_a_round(void **state)
{
	const struct loop_config loop_config = {.entries = 8};
	struct rig *rig = make();
	struct member_config config = claiming;
	struct opening opening = {.add.done = opened};
	struct powercut *device;
	struct volume_alloc allocs[2] = {{.done = count_done},
					 {.done = count_done}};
	struct volume_place place;
	struct loop *loop;
	struct pool *pool;
	uint64_t steps;

	(void)state;
	rig_discard(rig, 0, 1, 1);
	rig_settle(rig);
	device = powercut_copy(rig->devices[0]);
	assert_int_equal(loop_create(&loop_config, &loop, NULL), 0);
	config.device = powercut_device(device);
	config.loop = loop;
	config.name = "d0";
	assert_int_equal(pool_create(&pool_ops, NULL, &pool), 0);
	assert_int_equal(pool_add(pool, &config, false, &opening.add), 0);
	while (!opening.is_done)
		turn(loop, device);
	assert_int_equal(opening.result, 0);
	assert_int_equal(pool_start(pool, NULL), 0);
	while (!pool_is_idle(pool))
		turn(loop, device);
	steps = pool->members[0]->log.steps;
	for (uint32_t i = 0; i < 2; i++)
		assert_int_equal(volume_write(pool->volumes,
					      i * FORMAT_EXTENT_BYTES,
					      &allocs[i], &place),
				 VOLUME_PLACED);
	assert_int_equal(pool->members[0]->log.steps, steps);
	assert_int_equal(loop_run_once(loop, 0), 0);
	assert_int_equal(pool->members[0]->log.steps, steps + 1);
	turn(loop, device);
	assert_int_equal(done_in_round, 2);
	assert_int_equal(pool->members[0]->log.steps, steps + 1);
	pool_destroy(pool);
	powercut_destroy(device);
	loop_destroy(loop);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open_one_copy_is_damaged),
		cmocka_unit_test(test_open_both_copies_are_damaged),
		cmocka_unit_test(test_open_copy_cannot_be_read),
		cmocka_unit_test(test_open_log_copy_cannot_be_written),
		cmocka_unit_test(test_open_no_log_can_be_written),
		cmocka_unit_test(test_open_foreign),
		cmocka_unit_test(test_open_blank),
		cmocka_unit_test(test_open_newer),
		cmocka_unit_test(test_open_swapped),
		cmocka_unit_test(test_open_shrunk),
		cmocka_unit_test(test_open_cloned),
		cmocka_unit_test(test_open_grown),
		cmocka_unit_test(test_open_without_a_device),
		cmocka_unit_test(test_open_device_comes_late),
		cmocka_unit_test(test_open_device_comes_late_to_snapshots),
		cmocka_unit_test(test_open_write_at_once),
		cmocka_unit_test(test_open_one_step_a_round),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
