/* SPDX-License-Identifier: Apache-2.0 */
/* test-vdev-volume.c - a vdev over a volume of a pool (E2, E3), over a device
 * that keeps data and ends its requests in the order that the test wants */
#include "vdev/vdev.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vdev-rig.h"

#define MIB		UINT64_C(1048576)
#define EXTENTS		16U
#define DEVICE_BYTES	(24 * MIB)
#define VDEV_BYTES	(8 * MIB)
#define HELD_MAX	256U

struct fake {
	struct block_device block;
	unsigned char *data;
	struct block_request *held[HELD_MAX];
	uint32_t count;
	bool hold;
	unsigned int ops[5];		/* submitted, by kind */
	int write_result;		/* of data, not of the log */
};

struct bench {
	struct vdev_rig rig;
	struct fake fake;
	struct vdev_process *process;
	unsigned int done;
};

struct request {
	struct vdev_request vdev;
	struct bench *bench;
	struct iovec iov[4];
	bool is_done;
	int result;
};

/* ---- the device ---- */

static void move(const struct block_request *request, unsigned char *at)
{
	for (uint32_t i = 0; i < request->iov_count; i++) {
		const struct iovec *iov = &request->iov[i];

		if (request->op == BLOCK_READ)
			memcpy(iov->iov_base, at, iov->iov_len);
		else
			memcpy(at, iov->iov_base, iov->iov_len);
		at += iov->iov_len;
	}
}

static bool is_data(const struct block_request *request)
{
	return request->offset_bytes >= DEVICE_BYTES - EXTENTS * MIB;
}

static void perform(struct fake *fake, struct block_request *request)
{
	unsigned char *at = fake->data + request->offset_bytes;

	request->result = 0;
	if (request->op == BLOCK_WRITE && is_data(request))
		request->result = fake->write_result;
	if (request->op <= BLOCK_WRITE && request->result == 0)
		move(request, at);
	else if (request->op >= BLOCK_DISCARD)
		memset(at, 0, request->length_bytes);
	request->done(request);
}

static void fake_submit(struct block_device *block,
			struct block_request *request)
{
	struct fake *fake = (struct fake *)block;

	assert_true(request->offset_bytes + request->length_bytes <=
		    DEVICE_BYTES);
	fake->ops[request->op]++;
	if (!fake->hold) {
		perform(fake, request);
		return;
	}
	assert_in_range(fake->count, 0, HELD_MAX - 1);
	fake->held[fake->count++] = request;
}

/* One of those that are held ends. */
static void let(struct fake *fake, uint32_t which)
{
	struct block_request *request = fake->held[which];

	fake->held[which] = fake->held[--fake->count];
	perform(fake, request);
}

/* One that is data (or not) ends; returns whether there was one. */
static bool let_one(struct fake *fake, bool of_data)
{
	for (uint32_t i = 0; i < fake->count; i++)
		if (is_data(fake->held[i]) == of_data) {
			let(fake, i);
			return true;
		}
	return false;
}

static void let_all(struct bench *bench, unsigned int seed)
{
	struct fake *fake = &bench->fake;

	while (fake->count > 0) {
		seed = seed * 1103515245U + 12345U;
		let(fake, (seed >> 16) % fake->count);
	}
}

static const struct block_device_ops fake_ops = {
	.kind = "fake",
	.submit = fake_submit,
};

/* ---- the pool ---- */

static int setup_with(void **state, uint32_t window)
{
	struct bench *bench = calloc(1, sizeof(*bench));
	const struct vdev_rig_config config = {
		.block = &bench->fake.block,
		.sched = {.window_min = window, .window_max = window},
		.thin_bytes = EXTENTS * MIB,
		.volume_bytes = VDEV_BYTES,
		.vdev_bytes = VDEV_BYTES,
	};

	bench->fake.data = calloc(1, DEVICE_BYTES);
	bench->fake.block = (struct block_device){
		.ops = &fake_ops,
		.size_bytes = DEVICE_BYTES,
		.block_size = 512,
	};
	vdev_rig_create(&bench->rig, &config);
	bench->process = vdev_find_process(bench->rig.vdev, 0);
	memset(bench->fake.ops, 0, sizeof(bench->fake.ops));
	*state = bench;
	return 0;
}

static int setup(void **state)
{
	return setup_with(state, 256);
}

static int setup_narrow(void **state)
{
	return setup_with(state, 1);
}

static int teardown(void **state)
{
	struct bench *bench = *state;

	vdev_rig_destroy(&bench->rig);
	free(bench->fake.data);
	free(bench);
	return 0;
}

/* ---- requests ---- */

static void request_done(struct vdev_request *vdev)
{
	struct request *request = (struct request *)vdev;

	assert_false(request->is_done);
	request->is_done = true;
	request->result = vdev->block.result;
	request->bench->done++;
}

/* 'data' is cut into segments of odd lengths. */
static void submit(struct bench *bench, struct request *request,
		   enum block_op op, uint64_t offset_bytes,
		   uint64_t length_bytes, void *data)
{
	const uint64_t cuts[] = {0, length_bytes / 3 | 1, length_bytes / 2 | 1,
				 length_bytes};

	memset(request, 0, sizeof(*request));
	request->bench = bench;
	for (unsigned int i = 0; data && i < 3; i++)
		request->iov[i] = (struct iovec){
			.iov_base = (char *)data + cuts[i],
			.iov_len = cuts[i + 1] - cuts[i],
		};
	request->vdev.block.op = (uint8_t)op;
	request->vdev.block.iov = request->iov;
	request->vdev.block.iov_count = data ? 3 : 0;
	request->vdev.block.offset_bytes = offset_bytes;
	request->vdev.block.length_bytes = length_bytes;
	request->vdev.process = bench->process;
	request->vdev.done = request_done;
	vdev_submit(bench->rig.vdev, &request->vdev, loop_clock_ns());
}

/* Ended with success by what the device does at once. */
static void now(struct bench *bench, enum block_op op, uint64_t offset_bytes,
		uint64_t length_bytes, void *data)
{
	struct request request;

	submit(bench, &request, op, offset_bytes, length_bytes, data);
	assert_true(request.is_done);
	assert_int_equal(request.result, 0);
}

static unsigned char *filled(size_t bytes, int value)
{
	unsigned char *data = malloc(bytes);

	memset(data, value, bytes);
	return data;
}

static void assert_reads(struct bench *bench, uint64_t offset_bytes,
			 size_t bytes, int value)
{
	unsigned char *data = filled(bytes, 0xee);
	unsigned char *wanted = filled(bytes, value);

	now(bench, BLOCK_READ, offset_bytes, bytes, data);
	assert_memory_equal(data, wanted, bytes);
	free(data);
	free(wanted);
}

static uint32_t mapped(const struct bench *bench)
{
	return bench->rig.mapped.volume->table.mapped;
}

/* ---- tests ---- */

/* E3: thin: nothing is occupied until it is used. */
static void test_vdev_volume_holes_read_as_zeroes(void **state)
{
	struct bench *bench = *state;

	assert_reads(bench, 0, 4096, 0);
	assert_reads(bench, MIB / 2, 3 * MIB, 0);
	assert_int_equal(bench->fake.ops[BLOCK_READ], 0);
	assert_int_equal(mapped(bench), 0);
	assert_int_equal(bench->rig.stats->processes[0].direction[0].errors, 0);
}

static void test_vdev_volume_reads_what_was_written(void **state)
{
	struct bench *bench = *state;
	unsigned char *data = filled(3 * MIB, 0x5a);

	now(bench, BLOCK_WRITE, MIB + 512, 4096, data);
	assert_int_equal(mapped(bench), 1);
	assert_reads(bench, MIB + 512, 4096, 0x5a);
	assert_reads(bench, MIB, 512, 0);
	assert_reads(bench, MIB + 4608, 512, 0);
	memset(data, 0x6b, 3 * MIB);
	now(bench, BLOCK_WRITE, MIB / 2, 3 * MIB, data);
	assert_int_equal(mapped(bench), 4);
	assert_reads(bench, MIB / 2, 3 * MIB, 0x6b);
	assert_reads(bench, 0, MIB / 2, 0);
	free(data);
}

/* One request of its front is one, whatever it is cut into. */
static void test_vdev_volume_counts_a_request_once(void **state)
{
	struct bench *bench = *state;
	const struct stats_process *stats = &bench->rig.stats->processes[0];
	unsigned char *data = filled(4 * MIB, 1);
	struct request request;

	bench->fake.hold = true;
	submit(bench, &request, BLOCK_WRITE, MIB / 2, 4 * MIB, data);
	assert_int_equal(vdev_device_in_flight(bench->rig.device), 5);
	assert_int_equal(vdev_destroy(bench->rig.vdev), -EBUSY);
	let_all(bench, 1);
	assert_int_equal(bench->done, 1);
	assert_int_equal(stats->direction[1].requests, 1);
	assert_int_equal(stats->direction[1].bytes, 4 * MIB);
	assert_int_equal(histogram_count(&stats->latency[1]), 1);
	assert_int_equal(vdev_device_in_flight(bench->rig.device), 0);
	bench->fake.hold = false;
	free(data);
}

/* What is beside each other on its device, too, is no reason to cut. */
static void test_vdev_volume_crosses_into_what_is_beside(void **state)
{
	struct bench *bench = *state;
	unsigned char *data = filled(2 * MIB, 1);

	now(bench, BLOCK_WRITE, 0, 2 * MIB, data);
	memset(data + MIB, 2, MIB);
	memset(bench->fake.ops, 0, sizeof(bench->fake.ops));
	now(bench, BLOCK_WRITE, MIB - 4096, 8192, data + MIB - 4096);
	now(bench, BLOCK_READ, MIB - 8192, 16384, data);
	assert_int_equal(bench->fake.ops[BLOCK_WRITE], 1);
	assert_int_equal(bench->fake.ops[BLOCK_READ], 1);
	for (unsigned int i = 0; i < 16384; i++)
		assert_int_equal(data[i], i / 4096 == 2 ? 2 : 1);
	/* Nothing is beside it. */
	now(bench, BLOCK_READ, 2 * MIB - 4096, 8192, data);
	assert_int_equal(bench->fake.ops[BLOCK_READ], 2);
	assert_int_equal(data[4095], 1);
	assert_int_equal(data[4096], 0);
	free(data);
}

/* E8: what is promised are requests of its process, not pieces. */
static void test_vdev_volume_two_extents_take_one_turn(void **state)
{
	struct bench *bench = *state;
	unsigned char *data = filled(MIB, 1), *other = filled(4096, 3);
	struct request first, request;
	struct sched_report counts;

	now(bench, BLOCK_WRITE, MIB, MIB, data);
	now(bench, BLOCK_WRITE, 0, MIB, data);
	bench->fake.hold = true;
	submit(bench, &first, BLOCK_READ, 0, 4096, other);
	submit(bench, &request, BLOCK_WRITE, MIB - 4096, 8192, data);
	assert_int_equal(bench->fake.count, 1);
	sched_report(vdev_device_sched(bench->rig.device), &counts);
	assert_int_equal(counts.queued, 1);
	let(&bench->fake, 0);
	assert_true(first.is_done);
	while (bench->fake.count == 0)
		loop_run_once(bench->rig.loop, loop_clock_ns());
	assert_int_equal(bench->fake.count, 2);
	assert_int_equal(vdev_device_in_flight(bench->rig.device), 2);
	let_all(bench, 3);
	assert_true(request.is_done);
	assert_int_equal(request.result, 0);
	/* The second begins its way when the first is already there. */
	submit(bench, &request, BLOCK_READ, MIB - 4096, 8192, data);
	assert_int_equal(bench->fake.count, 2);
	let_all(bench, 1);
	assert_true(request.is_done);
	sched_report(vdev_device_sched(bench->rig.device), &counts);
	assert_int_equal(counts.queued + counts.in_flight, 0);
	assert_int_equal(vdev_device_in_flight(bench->rig.device), 0);
	bench->fake.hold = false;
	free(data);
	free(other);
}

/* The other one's mapping is there before the turn of both. */
static void test_vdev_volume_two_extents_one_of_them_new(void **state)
{
	struct bench *bench = *state;
	unsigned char *data = filled(MIB, 1), *other = filled(4096, 3);
	struct request first, request;

	now(bench, BLOCK_WRITE, MIB, MIB, data);
	bench->fake.hold = true;
	submit(bench, &first, BLOCK_READ, MIB, 4096, other);
	submit(bench, &request, BLOCK_WRITE, 2 * MIB - 4096, 8192, data);
	while (!let_one(&bench->fake, false))
		loop_run_once(bench->rig.loop, loop_clock_ns());
	while (let_one(&bench->fake, false))
		;
	assert_false(request.is_done);
	while (!request.is_done) {
		let_all(bench, 1);
		loop_run_once(bench->rig.loop, loop_clock_ns());
	}
	assert_int_equal(request.result, 0);
	bench->fake.hold = false;
	assert_reads(bench, 2 * MIB - 4096, 8192, 1);
	free(data);
	free(other);
}

/* A first write has happened when its data and its mapping are there. */
static void first_write(struct bench *bench, bool data_first)
{
	unsigned char *data = filled(4096, 0x11);
	struct request request;

	bench->fake.hold = true;
	submit(bench, &request, BLOCK_WRITE, 0, 4096, data);
	while (let_one(&bench->fake, data_first))
		assert_int_equal(bench->fake.count == 0, request.is_done);
	assert_false(request.is_done);
	while (let_one(&bench->fake, !data_first))
		;
	assert_true(request.is_done);
	assert_int_equal(request.result, 0);
	bench->fake.hold = false;
	free(data);
}

static void test_vdev_volume_first_write_data_before_mapping(void **state)
{
	first_write(*state, true);
}

static void test_vdev_volume_first_write_mapping_before_data(void **state)
{
	first_write(*state, false);
}

/* Those that come while an extent is being mapped wait for that. */
static void test_vdev_volume_writers_wait_for_the_mapping(void **state)
{
	struct bench *bench = *state;
	unsigned char *data = filled(4096 * 8, 0x22);
	struct request requests[8];

	bench->fake.hold = true;
	for (uint32_t i = 0; i < 8; i++)
		submit(bench, &requests[i], BLOCK_WRITE, i * 4096, 4096,
		       data + i * 4096);
	while (let_one(&bench->fake, true))
		;
	assert_int_equal(bench->done, 0);
	let_all(bench, 2);
	assert_int_equal(bench->done, 8);
	assert_int_equal(mapped(bench), 1);
	bench->fake.hold = false;
	assert_reads(bench, 0, 8 * 4096, 0x22);
	free(data);
}

/* More than there are pieces for: all end. */
static void test_vdev_volume_many_split_requests(void **state)
{
	struct bench *bench = *state;
	struct request *requests = calloc(100, sizeof(*requests));
	unsigned char *data = filled(2 * MIB, 0x33);

	/* Not beside each other. */
	now(bench, BLOCK_WRITE, MIB, MIB, data);
	now(bench, BLOCK_WRITE, 0, MIB, data);
	bench->done = 0;
	bench->fake.hold = true;
	for (uint32_t i = 0; i < 100; i++)
		submit(bench, &requests[i], BLOCK_WRITE, MIB - 512, 1024, data);
	assert_in_range(bench->fake.count, 1, 64);
	let_all(bench, 3);
	assert_int_equal(bench->done, 100);
	for (uint32_t i = 0; i < 100; i++)
		assert_int_equal(requests[i].result, 0);
	bench->fake.hold = false;
	free(data);
	free(requests);
}

/* E3: the writer that finds no space gets ENOSPC; the device is not to blame,
 * and nobody else is harmed. */
static void test_vdev_volume_no_space_is_the_writers(void **state)
{
	struct bench *bench = *state;
	struct member *member = bench->rig.mapped.pool->members[0];
	unsigned char *data = filled(MIB, 0x44);
	struct request request;
	uint32_t extent;

	now(bench, BLOCK_WRITE, 0, 4096, data);
	while (member_take(member, SPACE_NONE, &extent))
		;
	submit(bench, &request, BLOCK_WRITE, MIB / 2, MIB, data);
	assert_true(request.is_done);
	assert_int_equal(request.result, -ENOSPC);
	assert_int_equal(bench->rig.stats->devices[0].errors, 0);
	assert_int_equal(bench->rig.stats->processes[0].direction[1].errors, 1);
	now(bench, BLOCK_WRITE, 0, 4096, data);
	assert_reads(bench, 2 * MIB, 4096, 0);
	free(data);
}

/* Whole extents are given back, parts become zeroes. */
static void discard(struct bench *bench, enum block_op op, uint8_t flags)
{
	unsigned char *data = filled(4 * MIB, 0x55);
	struct request request;

	now(bench, BLOCK_WRITE, 0, 4 * MIB, data);
	assert_int_equal(mapped(bench), 4);
	memset(&request, 0, sizeof(request));
	request.bench = bench;
	request.vdev.block.op = (uint8_t)op;
	request.vdev.block.flags = flags;
	request.vdev.block.offset_bytes = MIB / 2;
	request.vdev.block.length_bytes = 3 * MIB;
	request.vdev.process = bench->process;
	request.vdev.done = request_done;
	vdev_submit(bench->rig.vdev, &request.vdev, loop_clock_ns());
	assert_true(request.is_done);
	assert_int_equal(request.result, 0);
	assert_reads(bench, MIB / 2, 3 * MIB, 0);
	assert_reads(bench, 0, MIB / 2, 0x55);
	assert_reads(bench, 7 * MIB / 2, MIB / 2, 0x55);
	free(data);
}

static void test_vdev_volume_discard_gives_extents_back(void **state)
{
	discard(*state, BLOCK_DISCARD, 0);
	assert_int_equal(mapped(*state), 2);
}

static void test_vdev_volume_unmapping_zeroes_give_extents_back(void **state)
{
	discard(*state, BLOCK_WRITE_ZEROES, BLOCK_FLAG_UNMAP);
	assert_int_equal(mapped(*state), 2);
}

static void test_vdev_volume_zeroes_keep_extents(void **state)
{
	struct bench *bench = *state;

	discard(bench, BLOCK_WRITE_ZEROES, 0);
	assert_int_equal(mapped(bench), 4);
	/* Where there is nothing, there is nothing to do. */
	now(bench, BLOCK_WRITE_ZEROES, 4 * MIB, 4 * MIB, NULL);
	assert_int_equal(mapped(bench), 4);
}

/* An extent that is given back is not zeroed under a read of it. */
static void test_vdev_volume_discard_waits_for_those_before(void **state)
{
	struct bench *bench = *state;
	unsigned char *data = filled(4096, 0x66);
	unsigned char *other = filled(4096, 0);
	struct request read, request;

	now(bench, BLOCK_WRITE, 0, 4096, data);
	bench->fake.hold = true;
	submit(bench, &read, BLOCK_READ, 0, 4096, other);
	assert_int_equal(bench->fake.count, 1);
	bench->fake.hold = false;
	submit(bench, &request, BLOCK_DISCARD, 0, MIB, NULL);
	assert_true(request.is_done);
	let(&bench->fake, 0);
	assert_true(read.is_done);
	assert_memory_equal(other, data, 4096);
	free(data);
	free(other);
}

static void test_vdev_volume_flush_reaches_the_device(void **state)
{
	struct bench *bench = *state;
	struct request request;

	bench->fake.hold = true;
	submit(bench, &request, BLOCK_FLUSH, 0, 0, NULL);
	assert_int_equal(bench->fake.ops[BLOCK_FLUSH], 1);
	assert_false(request.is_done);
	let_all(bench, 4);
	assert_true(request.is_done);
	assert_int_equal(request.result, 0);
	assert_int_equal(bench->rig.stats->processes[0].other.requests, 1);
	bench->fake.hold = false;
}

static void test_vdev_volume_first_error_wins(void **state)
{
	struct bench *bench = *state;
	unsigned char *data = filled(2 * MIB, 0x77);
	struct request request;

	now(bench, BLOCK_WRITE, 0, 2 * MIB, data);
	bench->fake.write_result = -EIO;
	submit(bench, &request, BLOCK_WRITE, MIB / 2, MIB, data);
	assert_true(request.is_done);
	assert_int_equal(request.result, -EIO);
	assert_int_equal(bench->rig.stats->devices[0].errors, 1);
	assert_int_equal(vdev_device_last_error(bench->rig.device), EIO);
	bench->fake.write_result = 0;
	free(data);
}

/* What waited while its vdev shrank reaches nothing beyond the new end. */
static void test_vdev_volume_shrinking_fails_what_waits(void **state)
{
	struct bench *bench = *state;
	struct vdev_process_config config = {
		.pasid = 1,
		.sched.limit_per_s[SCHED_TOTAL_IOPS] = 1,
		.stats = &bench->rig.stats->processes[1],
	};
	unsigned char *data = filled(4096, 0x77);
	struct request requests[4];

	assert_int_equal(vdev_process_add(bench->rig.vdev, &config,
					  &bench->process, NULL),
			 0);
	for (uint32_t i = 0; i < 4; i++)
		submit(bench, &requests[i], BLOCK_WRITE, 7 * MIB, 4096, data);
	assert_in_range(bench->done, 1, 2);
	assert_int_equal(vdev_resize(bench->rig.vdev, 4 * MIB), 0);
	assert_int_equal(vdev_resize(bench->rig.vdev, VDEV_BYTES + MIB),
			 -ENOSPC);
	vdev_process_remove(bench->process);
	while (bench->done < 4)
		loop_run_once(bench->rig.loop, 0);
	assert_int_equal(requests[3].result, -EIO);
	assert_int_equal(bench->rig.stats->devices[0].errors, 0);
	loop_run_once(bench->rig.loop, 0);
	free(data);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_vdev_volume_holes_read_as_zeroes),
		TEST(test_vdev_volume_reads_what_was_written),
		TEST(test_vdev_volume_counts_a_request_once),
		TEST(test_vdev_volume_crosses_into_what_is_beside),
		cmocka_unit_test_setup_teardown(
			test_vdev_volume_two_extents_take_one_turn,
			setup_narrow, teardown),
		cmocka_unit_test_setup_teardown(
			test_vdev_volume_two_extents_one_of_them_new,
			setup_narrow, teardown),
		TEST(test_vdev_volume_first_write_data_before_mapping),
		TEST(test_vdev_volume_first_write_mapping_before_data),
		TEST(test_vdev_volume_writers_wait_for_the_mapping),
		TEST(test_vdev_volume_many_split_requests),
		TEST(test_vdev_volume_no_space_is_the_writers),
		TEST(test_vdev_volume_discard_gives_extents_back),
		TEST(test_vdev_volume_unmapping_zeroes_give_extents_back),
		TEST(test_vdev_volume_zeroes_keep_extents),
		TEST(test_vdev_volume_discard_waits_for_those_before),
		TEST(test_vdev_volume_flush_reaches_the_device),
		TEST(test_vdev_volume_first_error_wins),
		TEST(test_vdev_volume_shrinking_fails_what_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
