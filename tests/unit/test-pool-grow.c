/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-pool-grow.c - a device that becomes larger while it is open, or before
 * it is opened (E3): there is more room, after a crash at any time too
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/container.h"
#include "pool-rig.h"

#define METADATA	(UINT64_C(1) << 20)
#define EXTENTS		24U
#define MORE		40U
#define DEVICE_BYTES(extents)	(METADATA + (extents)*FORMAT_EXTENT_BYTES)

static const struct pool_ops pool_ops = {0};

struct bench {
	struct powercut *device;
	struct pool *pool;
	struct pool_add add;
	struct member *member;
	struct member_grow grow;
	unsigned int done;
	int result;
	uint64_t random;
};

static void opened(struct pool_add *add, int result, const struct error *error)
{
	(void)add;
	(void)error;
	assert_int_equal(result, 0);
}

static void let_end(struct powercut *device)
{
	while (powercut_pending(device) > 0)
		powercut_end(device, 0);
}

static void grown(struct member_grow *grow, int result)
{
	struct bench *bench = container_of(grow, struct bench, grow);

	bench->done++;
	bench->result = result;
}

static void open_pool(struct bench *bench, uint64_t capacity_bytes)
{
	const struct member_config config = {
		.device = powercut_device(bench->device),
		.name = "d0",
		.uuid = {{1}},
		.may_claim = true,
		.capacity_bytes = capacity_bytes,
		.metadata_bytes = METADATA,
		.area_blocks = 48,
	};

	bench->add.done = opened;
	assert_int_equal(pool_create(&pool_ops, NULL, &bench->pool), 0);
	assert_int_equal(pool_add(bench->pool, &config, true, &bench->add), 0);
	let_end(bench->device);
	assert_int_equal(pool_start(bench->pool, NULL), 0);
	let_end(bench->device);
	bench->member = bench->pool->members[0];
}

static void set_extents(struct bench *bench, uint32_t extents)
{
	powercut_device(bench->device)->size_bytes = DEVICE_BYTES(extents);
}

static int setup(void **state)
{
	struct bench *bench = calloc(1, sizeof(*bench));

	bench->device = powercut_create(DEVICE_BYTES(MORE));
	bench->grow.done = grown;
	bench->random = 1;
	set_extents(bench, EXTENTS);
	open_pool(bench, 0);
	*state = bench;
	return 0;
}

static int teardown(void **state)
{
	struct bench *bench = *state;

	pool_destroy(bench->pool);
	powercut_destroy(bench->device);
	free(bench);
	return 0;
}

static void assert_extents(const struct bench *bench, uint32_t extents)
{
	struct usage usage;

	pool_usage(bench->pool, &usage);
	assert_int_equal(usage.capacity, extents);
	assert_int_equal(usage.used, 0);
	assert_int_equal(member_free(bench->member), extents);
}

static void test_grow_while_open(void **state)
{
	struct bench *bench = *state;

	assert_false(member_grow(bench->member, &bench->grow));
	set_extents(bench, MORE);
	assert_true(member_grow(bench->member, &bench->grow));
	assert_false(member_grow(bench->member, &bench->grow));
	assert_extents(bench, EXTENTS);
	let_end(bench->device);
	assert_int_equal(bench->done, 1);
	assert_int_equal(bench->result, 0);
	assert_extents(bench, MORE);
	/* It was scrubbed, and may be written to. */
	assert_int_equal(bench->member->space.total[SPACE_DIRTY], 0);
	assert_int_equal(bench->member->counts.scrubbed, MORE);
	assert_false(member_grow(bench->member, &bench->grow));
	pool_destroy(bench->pool);
	open_pool(bench, 0);
	assert_extents(bench, MORE);
}

static void test_grow_before_it_is_opened(void **state)
{
	struct bench *bench = *state;

	pool_destroy(bench->pool);
	set_extents(bench, MORE);
	open_pool(bench, 0);
	assert_extents(bench, MORE);
}

/* What it was configured with holds. */
static void test_grow_not_beyond_its_size(void **state)
{
	struct bench *bench = *state;

	pool_destroy(bench->pool);
	set_extents(bench, MORE);
	open_pool(bench, (EXTENTS + 2) * FORMAT_EXTENT_BYTES);
	assert_extents(bench, EXTENTS + 2);
	assert_false(member_grow(bench->member, &bench->grow));
}

/* Neither superblock can be written: it is as before, and tried again. */
static void test_grow_fails(void **state)
{
	struct bench *bench = *state;

	set_extents(bench, MORE);
	powercut_fail(bench->device, 0, METADATA);
	assert_true(member_grow(bench->member, &bench->grow));
	let_end(bench->device);
	assert_int_equal(bench->result, -EIO);
	assert_extents(bench, EXTENTS);
	powercut_fail(bench->device, 0, 0);
	assert_true(member_grow(bench->member, &bench->grow));
	let_end(bench->device);
	assert_int_equal(bench->result, 0);
	assert_extents(bench, MORE);
}

static uint64_t chance(void *arg, uint64_t below)
{
	struct bench *bench = arg;

	bench->random = bench->random * UINT64_C(6364136223846793005) + 1;
	return (bench->random >> 33) % below;
}

/* Power is cut at each step: what is found opens, and is all there. */
static void test_grow_crashes(void **state)
{
	struct bench *bench = *state;

	set_extents(bench, MORE);
	assert_true(member_grow(bench->member, &bench->grow));
	do {
		struct bench other = {
			.device = powercut_fork(bench->device,
						bench->random % 2 == 0, chance,
						bench),
		};

		open_pool(&other, 0);
		assert_extents(&other, MORE);
		pool_destroy(other.pool);
		powercut_destroy(other.device);
		if (powercut_pending(bench->device) > 0)
			powercut_end(bench->device, 0);
	} while (powercut_pending(bench->device) > 0);
	assert_extents(bench, MORE);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_grow_while_open),
		TEST(test_grow_before_it_is_opened),
		TEST(test_grow_not_beyond_its_size),
		TEST(test_grow_fails),
		TEST(test_grow_crashes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
