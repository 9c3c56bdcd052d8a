/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-pool-alone.c - killed while an extent goes to another device, started
 * once with one of the two only, written to, and started with both: what was
 * acknowledged and flushed is there (E3; issue 3, crash proof)
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

#define METADATA	(UINT64_C(1) << 20)

static const struct pool_ops pool_ops = {0};

struct opening {
	struct pool_add add;
	int result;
	bool is_done;
};

static void opened(struct pool_add *add, int result, const struct error *error)
{
	struct opening *opening = (struct opening *)add;

	opening->is_done = true;
	opening->result = result;
	if (result < 0)
		print_message("refused: %s\n", error->text);
}

static void let_end(struct powercut **devices, unsigned int count)
{
	bool more = true;

	while (more) {
		more = false;
		for (unsigned int i = 0; i < count; i++)
			while (devices[i] && powercut_pending(devices[i])) {
				powercut_end(devices[i], 0);
				more = true;
			}
	}
}

static void add_device(struct pool *pool, struct powercut **devices,
		       unsigned int i, struct opening *opening)
{
	const struct member_config config = {
		.uuid = {{1, 2}},
		.is_zeroed = true,
		.area_blocks = 48,
		.log_limit_blocks = 2,
		.name = "d",
		.metadata_bytes = METADATA,
		.device = powercut_device(devices[i]),
	};

	*opening = (struct opening){.add.done = opened};
	assert_int_equal(pool_add(pool, &config, true, &opening->add), 0);
	let_end(devices, i + 1);
	assert_true(opening->is_done);
	assert_int_equal(opening->result, 0);
}

static struct pool *open_pool(struct powercut **devices, unsigned int count,
			      struct opening *openings)
{
	struct pool *pool;

	assert_int_equal(pool_create(&pool_ops, NULL, &pool), 0);
	for (unsigned int i = 0; i < count; i++)
		if (devices[i])
			add_device(pool, devices, i, &openings[i]);
	assert_int_equal(pool_start(pool, NULL), 0);
	let_end(devices, count);
	return pool;
}

static struct {
	struct volume_alloc alloc;
	int result;
	bool is_done;
} asked;

static void told(struct volume_alloc *alloc, int result)
{
	(void)alloc;
	asked.is_done = true;
	asked.result = result;
}

static void ended(struct block_request *request)
{
	assert_int_equal(request->result, 0);
}

static bool transfer(struct powercut **devices, const struct volume_place *place,
		     enum block_op op, uint64_t *data)
{
	struct iovec iov = {data, 4096};
	struct block_request request = {
		.done = ended,
		.op = (uint8_t)op,
		.iov = &iov,
		.iov_count = 1,
		.offset_bytes = place->offset_bytes,
		.length_bytes = 4096,
	};

	block_submit(place->member->config.device, &request);
	let_end(devices, 2);
	return true;
}

/* As a guest: returns whether it was acknowledged. */
static bool guest_write(struct powercut **devices, struct volume *volume,
			uint32_t index, uint64_t stamp)
{
	const uint64_t at = index * FORMAT_EXTENT_BYTES;
	struct volume_place place;
	uint64_t data[512];
	int rc;

	for (unsigned int i = 0; i < 512; i++)
		data[i] = stamp;
	for (unsigned int tries = 0; tries < 10; tries++) {
		if (volume_map(volume, at, 4096, true, &place))
			return transfer(devices, &place, BLOCK_WRITE, data);
		memset(&asked, 0, sizeof(asked));
		asked.alloc.done = told;
		rc = volume_write(volume, at, &asked.alloc, &place);
		if (rc < 0)
			return false;
		if (rc == VOLUME_READY)
			return transfer(devices, &place, BLOCK_WRITE, data);
		if (rc == VOLUME_PLACED) {
			transfer(devices, &place, BLOCK_WRITE, data);
			let_end(devices, 2);
			return asked.is_done && asked.result == 0;
		}
		let_end(devices, 2);
		if (!asked.is_done || asked.result < 0)
			return false;
	}
	return false;
}

static void flushed(struct block_request *request)
{
	(void)request;
}

static void flush(struct powercut **devices)
{
	for (unsigned int i = 0; i < 2; i++) {
		struct block_request request = {
			.done = flushed,
			.op = BLOCK_FLUSH,
		};

		if (!devices[i])
			continue;
		block_submit(powercut_device(devices[i]), &request);
		let_end(devices, 2);
	}
}

static unsigned int lost_count;

static struct volume *origin_of(struct pool *pool)
{
	struct volume *volume = pool->volumes;

	while (volume && volume->is.flags & FORMAT_VOLUME_SNAPSHOT)
		volume = volume->next;
	return volume;
}

/* Killed now; 'alone' comes back first, and is written to; then both. */
static void try_one(const struct rig *rig, unsigned int alone)
{
	struct powercut *both[2] = {
		powercut_copy(rig->devices[0]),
		powercut_copy(rig->devices[1]),
	};
	struct powercut *one[2] = {NULL, NULL};
	struct opening openings[2];
	bool wrote[RIG_EXTENTS] = {false};
	struct pool *pool;
	struct volume *volume;

	one[alone] = both[alone];
	pool = open_pool(one, 2, openings);
	volume = origin_of(pool);
	for (uint32_t i = 0; volume && i < volume->extent_count; i++)
		wrote[i] = guest_write(one, volume, i, 0xabcd0000U + i);
	flush(one);
	let_end(one, 2);
	pool_destroy(pool);

	pool = open_pool(both, 2, openings);
	volume = origin_of(pool);
	for (uint32_t i = 0; volume && i < volume->extent_count; i++) {
		struct volume_place place = {0};
		uint64_t data[512] = {0}, bytes;

		if (!wrote[i])
			continue;
		if (volume_read(volume, i * FORMAT_EXTENT_BYTES, 4096, &place,
				&bytes) == VOLUME_MAPPED)
			transfer(both, &place, BLOCK_READ, data);
		if (data[0] == 0xabcd0000U + i)
			continue;
		print_error("extent %u, written while device %u was alone\n",
			    i, alone);
		lost_count++;
	}
	pool_destroy(pool);
	powercut_destroy(both[0]);
	powercut_destroy(both[1]);
}

static uint32_t fuller(const struct rig *rig)
{
	uint32_t used[2];

	for (uint32_t m = 0; m < 2; m++)
		used[m] = rig->pool->members[m]->super.extent_count -
			member_free(rig->pool->members[m]);
	return used[1] > used[0];
}

static void test_alone_after_evacuation(void **state)
{
	(void)state;
	for (unsigned int alone = 0; alone < 2; alone++) {
		struct rig *rig = rig_make(2, 2);

		lost_count = 0;
		const uint32_t from = fuller(rig);

		assert_true(rig_evacuate(rig, from));
		do
			try_one(rig, alone);
		while (rig_event(rig) && lost_count == 0);
		assert_int_equal(lost_count, 0);
		rig_free(rig);
	}
}

/* Until one of the devices is full, nearly. */
static void fill(struct rig *rig)
{
	struct member **members = rig->pool->members;

	for (uint32_t slot = 2; slot < 5; slot++)
		rig_create(rig, slot, 12 * FORMAT_EXTENT_BYTES, false);
	rig_settle(rig);
	for (uint32_t slot = 2; slot < 5; slot++)
		for (uint32_t cell = 0; cell < 48; cell += 4) {
			if (member_free(members[0]) == 0 ||
			    member_free(members[1]) == 0 ||
			    member_free(members[0]) + member_free(members[1]) <
				    4)
				return;
			rig_write(rig, slot, cell);
			rig_settle(rig);
		}
}

/* A snapshot's origin on a device that is full: copies go to the other one. */
static struct rig *make_copying(void)
{
	const struct rig_config config = {
		.devices = 2,
		.extents = 20,
		.area_blocks = 48,
		.open_extents = 2,
		.seed = 3,
	};
	struct rig *rig = calloc(1, sizeof(*rig));

	rig_init(rig, &config);
	rig_create(rig, 0, 6 * FORMAT_EXTENT_BYTES, false);
	rig_settle(rig);
	for (uint32_t cell = 0; cell < 24; cell += 2) {
		rig_write(rig, 0, cell);
		rig_settle(rig);
	}
	rig_snapshot(rig, 1, 0);
	rig_settle(rig);
	fill(rig);
	for (uint32_t cell = 0; cell < 24; cell += 4)
		rig_write(rig, 0, cell);
	return rig;
}

static void test_alone_after_copy(void **state)
{
	(void)state;
	for (unsigned int alone = 0; alone < 2; alone++) {
		struct rig *rig = make_copying();

		lost_count = 0;
		do
			try_one(rig, alone);
		while (rig_event(rig) && lost_count == 0);
		assert_int_equal(lost_count, 0);
		rig_free(rig);
	}
}

/* A device is being evacuated, the endpoint starts again without another one,
 * and that one comes back: it is taken in. */
static void test_alone_late_while_another_leaves(void **state)
{
	struct rig *rig = rig_make(3, 2);
	struct powercut *devices[3], *two[3];
	struct opening openings[3];
	struct pool *pool;

	(void)state;
	assert_true(rig_evacuate(rig, 0));
	for (unsigned int i = 0; i < 12; i++)
		rig_event(rig);
	assert_true(member_is_leaving(rig->pool->members[0]));
	for (unsigned int i = 0; i < 3; i++)
		two[i] = devices[i] = powercut_copy(rig->devices[i]);
	two[2] = NULL;
	pool = open_pool(two, 3, openings);
	assert_int_equal(pool->volumes->missing, 1);
	add_device(pool, devices, 2, &openings[2]);
	assert_int_equal(pool->volumes->missing, 0);
	pool_destroy(pool);
	for (unsigned int i = 0; i < 3; i++)
		powercut_destroy(devices[i]);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_alone_after_evacuation),
		cmocka_unit_test(test_alone_after_copy),
		cmocka_unit_test(test_alone_late_while_another_leaves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
