/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-pool-volume.c - thin and thick, capacity turned over, who gets space
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pool/volume.h"

#define EXTENTS	64U
#define MIB	FORMAT_EXTENT_BYTES

/* Keeps nothing, completes at once. */
static void submit(struct block_device *device, struct block_request *request)
{
	(void)device;
	request->result = 0;
	request->done(request);
}

static const struct block_device_ops nothing_ops = {
	.kind = "nothing",
	.submit = submit,
};

static struct block_device devices[2] = {
	{.ops = &nothing_ops, .size_bytes = EXTENTS * MIB, .block_size = 512},
	{.ops = &nothing_ops, .size_bytes = EXTENTS * MIB, .block_size = 512},
};

static int last_result;
static uint32_t dones;
static int last_level;

static void added(struct pool_add *add, int result, const struct error *error)
{
	(void)add;
	(void)error;
	assert_int_equal(result, 0);
}

static void changed(struct volume_change *change, int result)
{
	(void)change;
	dones++;
	last_result = result;
}

static void allocated(struct volume_alloc *alloc, int result)
{
	(void)alloc;
	dones++;
	last_result = result;
}

static void unmapped(struct volume_unmap *unmap, int result)
{
	(void)unmap;
	assert_int_equal(result, 0);
}

static void level_changed(struct pool *pool, enum usage_level level)
{
	(void)pool;
	last_level = (int)level;
}

/* The writer is the number of the device that satisfies it, or NULL. */
static int choose_writers(struct pool *pool, const struct volume *volume,
			  const void *writer, uint64_t candidates)
{
	const int wish = writer ? *(const int *)writer : 0;

	(void)pool;
	(void)volume;
	return candidates >> wish & 1 ? wish : -1;
}

/* Two volatile devices, the second one local. */
static struct pool *make(const struct pool_ops *ops)
{
	struct pool *pool;

	assert_int_equal(pool_create(ops, NULL, &pool), 0);
	for (uint32_t d = 0; d < 2; d++) {
		const struct member_config config = {
			.device = &devices[d],
			.name = "device",
			.uuid = {{(uint8_t)(d + 1)}},
			.is_volatile = true,
		};
		struct pool_add add = {.done = added};

		assert_int_equal(pool_add(pool, &config, d == 1, &add), 0);
	}
	assert_int_equal(pool_start(pool, NULL), 0);
	return pool;
}

static struct volume_change change = {.done = changed};

static int create(struct pool *pool, const char *name, uint64_t size_bytes,
		  bool is_thick, struct volume **ret_volume)
{
	struct volume_config config = {
		.name = name,
		.size_bytes = size_bytes,
		.is_thick = is_thick,
	};
	int rc;

	config.uuid.bytes[0] = (uint8_t)name[0];
	rc = volume_create(pool, &config, &change, ret_volume);
	if (rc == 0)
		assert_int_equal(last_result, 0);
	return rc;
}

/* Returns what volume_write says. */
static int write_to(struct volume *volume, uint32_t index, const void *writer,
		    struct volume_place *ret_place)
{
	struct volume_alloc alloc = {.done = allocated, .writer = writer};

	return volume_write(volume, index * MIB, &alloc, ret_place);
}

/* E3: thin volumes promise more than there is; who finds no space gets ENOSPC,
 * and harms nobody else. */
static void test_volume_thin_runs_out(void **state)
{
	static const struct pool_ops ops = {.level = level_changed};
	struct pool *pool = make(&ops);
	struct volume *one, *other;
	struct volume_place place;
	struct usage usage;

	(void)state;
	assert_int_equal(create(pool, "a", 200 * MIB, false, &one), 0);
	assert_int_equal(create(pool, "b", 200 * MIB, false, &other), 0);
	assert_int_equal(write_to(other, 7, NULL, &place), VOLUME_PLACED);
	for (uint32_t i = 0; i < 2 * EXTENTS - 1; i++)
		assert_int_equal(write_to(one, i, NULL, &place), VOLUME_PLACED);
	assert_int_equal(last_level, USAGE_95);
	pool_usage(pool, &usage);
	assert_int_equal(usage.capacity, 2 * EXTENTS);
	assert_int_equal(usage.used, 2 * EXTENTS);
	assert_int_equal(usage.promised, 400);
	assert_int_equal(write_to(one, 199, NULL, &place), -ENOSPC);
	assert_int_equal(write_to(other, 8, NULL, &place), -ENOSPC);
	assert_int_equal(write_to(other, 7, NULL, &place), VOLUME_READY);
	pool_destroy(pool);
}

/* E3: what writers need for copies is used, and said before there is none;
 * then he alone who needs one gets ENOSPC. */
static void test_volume_copies_take_space(void **state)
{
	static const struct pool_ops ops = {.level = level_changed};
	const struct volume_config config = {.name = "s", .uuid = {{'s'}}};
	struct pool *pool = make(&ops);
	struct volume *one, *snapshot;
	struct volume_place place;
	struct usage usage;

	(void)state;
	last_level = USAGE_FINE;
	assert_int_equal(create(pool, "a", 100 * MIB, false, &one), 0);
	for (uint32_t i = 0; i < 65; i++)
		assert_int_equal(write_to(one, i, NULL, &place), VOLUME_PLACED);
	assert_int_equal(volume_snapshot(one, &config, &change, &snapshot), 0);
	assert_int_equal(last_result, 0);
	for (uint32_t i = 0; i < 2 * EXTENTS - 65; i++) {
		const struct usage now = {.capacity = 2 * EXTENTS,
					  .used = 65 + i};

		assert_int_equal(last_level, usage_level(&now, USAGE_FINE));
		assert_int_equal(write_to(one, i, NULL, &place), VOLUME_READY);
	}
	pool_usage(pool, &usage);
	assert_int_equal(usage.used, 2 * EXTENTS);
	assert_int_equal(write_to(one, 63, NULL, &place), -ENOSPC);
	assert_int_equal(write_to(one, 62, NULL, &place), VOLUME_READY);
	/* What was the snapshot's alone comes back. */
	assert_int_equal(volume_delete(snapshot, &change), 0);
	pool_usage(pool, &usage);
	assert_int_equal(usage.used, 65);
	assert_int_equal(last_level, USAGE_FINE);
	assert_int_equal(write_to(one, 63, NULL, &place), VOLUME_READY);
	pool_destroy(pool);
}

/* E3: a thick volume finds its space, whatever thin ones do. */
static void test_volume_thick_is_kept(void **state)
{
	static const struct pool_ops ops = {0};
	struct pool *pool = make(&ops);
	struct volume *thick, *thin, *none;
	struct volume_place place;

	(void)state;
	assert_int_equal(create(pool, "a", 100 * MIB, true, &thick), 0);
	assert_int_equal(create(pool, "b", 29 * MIB, true, &none), -ENOSPC);
	assert_int_equal(create(pool, "b", 500 * MIB, false, &thin), 0);
	for (uint32_t i = 0; i < 28; i++)
		assert_int_equal(write_to(thin, i, NULL, &place),
				 VOLUME_PLACED);
	assert_int_equal(write_to(thin, 28, NULL, &place), -ENOSPC);
	for (uint32_t i = 0; i < 100; i++)
		assert_int_equal(write_to(thick, i, NULL, &place),
				 VOLUME_PLACED);
	pool_destroy(pool);
}

/* E3: what one has can be turned over to another. */
static void test_volume_capacity_is_turned_over(void **state)
{
	static const struct pool_ops ops = {0};
	struct pool *pool = make(&ops);
	struct volume *one, *other;

	(void)state;
	assert_int_equal(create(pool, "a", 100 * MIB, true, &one), 0);
	assert_int_equal(create(pool, "b", 28 * MIB, true, &other), 0);
	assert_int_equal(volume_resize(other, 60 * MIB, &change), -ENOSPC);
	assert_int_equal(volume_resize(one, 68 * MIB, &change), 0);
	assert_int_equal(last_result, 0);
	assert_int_equal(volume_resize(other, 60 * MIB, &change), 0);
	assert_int_equal(last_result, 0);
	assert_int_equal(pool_unpromised(pool), 0);
	assert_int_equal(volume_delete(one, &change), 0);
	assert_int_equal(last_result, 0);
	assert_int_equal(pool_unpromised(pool), 68);
	pool_destroy(pool);
}

/* E3: a discard gives space back, and the place reads as zeroes. */
static void test_volume_discard_gives_back(void **state)
{
	static const struct pool_ops ops = {0};
	struct pool *pool = make(&ops);
	struct volume_unmap unmap = {.done = unmapped};
	struct volume_place place;
	struct volume *volume;
	uint64_t bytes;

	(void)state;
	assert_int_equal(create(pool, "a", 100 * MIB, false, &volume), 0);
	for (uint32_t i = 0; i < 50; i++)
		write_to(volume, i, NULL, &place);
	assert_int_equal(pool_unpromised(pool), 78);
	volume_unmap(volume, 10, 30, &unmap);
	assert_int_equal(pool_unpromised(pool), 108);
	assert_int_equal(volume_read(volume, 10 * MIB, 4096, &place, &bytes),
			 VOLUME_ZERO);
	assert_int_equal(volume_read(volume, 9 * MIB, 4096, &place, &bytes),
			 VOLUME_MAPPED);
	pool_destroy(pool);
}

/* E10: the devices that are local first, then the others. */
static void test_volume_local_first(void **state)
{
	static const struct pool_ops ops = {0};
	struct pool *pool = make(&ops);
	struct volume_place place;
	struct volume *volume;

	(void)state;
	assert_int_equal(create(pool, "a", 128 * MIB, false, &volume), 0);
	for (uint32_t i = 0; i < 128; i++) {
		assert_int_equal(write_to(volume, i, NULL, &place),
				 VOLUME_PLACED);
		assert_ptr_equal(place.member,
				 pool->members[i < EXTENTS ? 1 : 0]);
	}
	pool_destroy(pool);
}

/* E10: the first write takes space on a device that satisfies its writer. */
static void test_volume_writers_choice(void **state)
{
	static const struct pool_ops ops = {.choose = choose_writers};
	struct pool *pool = make(&ops);
	struct volume_place place;
	struct volume *volume;
	const int second = 1;

	(void)state;
	assert_int_equal(create(pool, "a", 128 * MIB, false, &volume), 0);
	for (uint32_t i = 0; i < EXTENTS; i++) {
		assert_int_equal(write_to(volume, i, &second, &place),
				 VOLUME_PLACED);
		assert_ptr_equal(place.member, pool->members[1]);
	}
	assert_int_equal(write_to(volume, 100, &second, &place), -EDQUOT);
	assert_int_equal(write_to(volume, 100, NULL, &place), VOLUME_PLACED);
	pool_destroy(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_volume_thin_runs_out),
		cmocka_unit_test(test_volume_copies_take_space),
		cmocka_unit_test(test_volume_thick_is_kept),
		cmocka_unit_test(test_volume_capacity_is_turned_over),
		cmocka_unit_test(test_volume_discard_gives_back),
		cmocka_unit_test(test_volume_local_first),
		cmocka_unit_test(test_volume_writers_choice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
