/* SPDX-License-Identifier: Apache-2.0 */
/* test-vdev-scrub.c - zeroes for freed extents: one extent at a time, in turn
 * behind what is promised, and paced (E3, E8); over a device that the test
 * completes by hand */
#include "vdev/scrub.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vdev-rig.h"
#include "vdev/device.h"

#define MIB		UINT64_C(1048576)
#define HOUR_NS		UINT64_C(3600000000000)
#define HELD_MAX	16U

struct fake {
	struct block_device block;
	struct block_request *held[HELD_MAX];
	uint32_t count;
	bool holds;			/* all but flushes and the log */
	uint64_t zeroed_bytes;
	uint32_t zeroes;
};

struct bench {
	struct vdev_rig rig;
	struct fake fake;
	struct member *member;
	unsigned int done;
};

struct request {
	struct vdev_request vdev;
	struct bench *bench;
};

/* ---- the device ---- */

static void end(struct fake *fake, struct block_request *request)
{
	(void)fake;
	/* Blank. */
	if (request->op == BLOCK_READ && request->iov_count)
		memset(request->iov->iov_base, 0, request->iov->iov_len);
	request->result = 0;
	request->done(request);
}

static void fake_submit(struct block_device *block,
			struct block_request *request)
{
	struct fake *fake = (struct fake *)block;

	if (request->op == BLOCK_WRITE_ZEROES) {
		fake->zeroes++;
		fake->zeroed_bytes += request->length_bytes;
		assert_int_equal(request->flags, BLOCK_FLAG_UNMAP);
	}
	if (!fake->holds || request->op == BLOCK_FLUSH ||
	    (request->op == BLOCK_WRITE && request->iov_count)) {
		end(fake, request);
		return;
	}
	assert_in_range(fake->count, 0, HELD_MAX - 1);
	fake->held[fake->count++] = request;
}

/* The first that came ends. */
static void let_first(struct fake *fake)
{
	struct block_request *request = fake->held[0];

	assert_in_range(fake->count, 1, HELD_MAX);
	memmove(fake->held, fake->held + 1,
		--fake->count * sizeof(fake->held[0]));
	end(fake, request);
}

static const struct block_device_ops fake_ops = {
	.kind = "fake",
	.submit = fake_submit,
};

/* ---- rig ---- */

static int setup(void **state)
{
	struct bench *bench = calloc(1, sizeof(*bench));
	const struct vdev_rig_config config = {
		.block = &bench->fake.block,
		.sched = {.cost.request_ns = {500000, 500000},
			  .window_min = 1,
			  .window_max = 1},
		.volume_bytes = 16 * MIB,
		.vdev_bytes = 8 * MIB,
	};

	bench->fake.block = (struct block_device){
		.ops = &fake_ops,
		.size_bytes = 64 * MIB,
		.block_size = 512,
	};
	vdev_rig_create(&bench->rig, &config);
	bench->member = bench->rig.mapped.pool->members[0];
	bench->member->config.zero = vdev_scrub;
	/* Some test wants it. */
	bench->rig.device->scrub->extent_ns = 0;
	bench->fake.holds = true;
	*state = bench;
	return 0;
}

static int teardown(void **state)
{
	struct bench *bench = *state;

	vdev_rig_destroy(&bench->rig);
	free(bench);
	return 0;
}

static void unmapped(struct volume_unmap *unmap, int result)
{
	(void)unmap;
	assert_int_equal(result, 0);
}

/* So many extents of the volume's end are given back. */
static void give_back(struct bench *bench, uint32_t count)
{
	static struct volume_unmap unmap = {.done = unmapped};

	volume_unmap(bench->rig.mapped.volume, 16 - count, count, &unmap);
}

static void request_done(struct vdev_request *vdev)
{
	((struct request *)vdev)->bench->done++;
}

static void read_promised(struct bench *bench, struct request *request,
			  struct vdev_process *process)
{
	*request = (struct request){
		.vdev =
			{
				.block = {.op = BLOCK_READ,
					  .length_bytes = 4096},
				.process = process,
				.done = request_done,
			},
		.bench = bench,
	};
	vdev_submit(bench->rig.vdev, &request->vdev, loop_clock_ns());
}

/* ---- tests ---- */

/* Whatever was given back at once, the device has one extent of it. */
static void test_vdev_scrub_one_extent_at_a_time(void **state)
{
	struct bench *bench = *state;

	give_back(bench, 6);
	for (uint32_t i = 1; i <= 6; i++) {
		assert_int_equal(bench->fake.count, 1);
		assert_int_equal(bench->fake.zeroes, i);
		assert_int_equal(bench->fake.zeroed_bytes, i * MIB);
		let_first(&bench->fake);
	}
	assert_int_equal(bench->fake.count, 0);
	assert_int_equal(bench->member->counts.scrubbed, 6);
	assert_int_equal(bench->member->space.total[SPACE_DIRTY], 0);
}

/* A promised request that comes when zeroes wait for their turn goes first. */
static void test_vdev_scrub_promises_go_first(void **state)
{
	struct bench *bench = *state;
	const struct vdev_process_config config = {
		.pasid = 1,
		.own_socket = true,
		.sched.reservation_per_s = {1000},
		.stats = &bench->rig.stats->processes[1],
	};
	struct loop_poller *poller = &bench->rig.device->poller;
	struct vdev_process *process;
	struct request requests[2];

	assert_int_equal(
		vdev_process_add(bench->rig.vdev, &config, &process, NULL), 0);
	read_promised(bench, &requests[0], process);
	assert_int_equal(bench->fake.count, 1);
	give_back(bench, 2);
	read_promised(bench, &requests[1], process);
	assert_int_equal(bench->fake.count, 1);
	assert_int_equal(bench->fake.zeroes, 0);
	/* Both wait for the window; what is promised is due. */
	let_first(&bench->fake);
	poller->poll(poller, loop_clock_ns() + HOUR_NS);
	assert_int_equal(bench->fake.held[0]->op, BLOCK_READ);
	let_first(&bench->fake);
	assert_int_equal(bench->done, 2);
	for (uint32_t i = 0; i < 2; i++) {
		poller->poll(poller, loop_clock_ns() + HOUR_NS);
		let_first(&bench->fake);
	}
	assert_int_equal(bench->member->counts.scrubbed, 2);
	vdev_process_remove(process);
	poller->poll(poller, loop_clock_ns() + HOUR_NS);
}

/* No faster than its pace: at a device that zeroes at no cost, too. */
static void test_vdev_scrub_pace(void **state)
{
	struct bench *bench = *state;
	struct vdev_scrub *scrub = bench->rig.device->scrub;

	scrub->extent_ns = HOUR_NS;
	bench->fake.holds = false;
	assert_false(member_is_short(bench->member));
	give_back(bench, 3);
	for (uint32_t i = 1; i <= 3; i++) {
		assert_int_equal(bench->fake.zeroes, i);
		scrub->pace.expired(&scrub->pace, loop_clock_ns());
		assert_int_equal(bench->fake.zeroes, i);
		scrub->pace.expired(&scrub->pace, scrub->next_ns);
	}
	assert_int_equal(bench->member->counts.scrubbed, 3);
}

/* Who waits for an extent doesn't wait for that. */
static void test_vdev_scrub_makes_haste(void **state)
{
	struct bench *bench = *state;
	struct space *space = &bench->member->space;
	uint32_t first;

	bench->rig.device->scrub->extent_ns = HOUR_NS;
	bench->fake.holds = false;
	while (space_take(space, SPACE_OPEN, SPACE_NONE, 64, &first) > 0 ||
	       space_take(space, SPACE_CLEAN, SPACE_NONE, 64, &first) > 0)
		;
	assert_true(member_is_short(bench->member));
	give_back(bench, 3);
	assert_int_equal(bench->fake.zeroes, 3);
	assert_int_equal(bench->member->counts.scrubbed, 3);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_vdev_scrub_one_extent_at_a_time),
		TEST(test_vdev_scrub_promises_go_first),
		TEST(test_vdev_scrub_pace),
		TEST(test_vdev_scrub_makes_haste),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
