/* SPDX-License-Identifier: Apache-2.0 */
/* test-vdev.c - binding, checking, recording and releasing of processes
 * (E6, E9, E12, E13), over a device that the test completes by hand */
#include "vdev/vdev.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sched/turns.h"
#include "vdev-rig.h"

#define MIB		UINT64_C(1048576)
#define BE(level)	(2U << 13 | (level))

struct fake {
	struct block_device block;
	struct block_request *held;	/* newest first */
	unsigned int submitted, prefetched;
	bool hold;
	int result;
	uint64_t offset_bytes;		/* of the last request */
};

static void fake_submit(struct block_device *block,
			struct block_request *request)
{
	struct fake *fake = (struct fake *)block;

	/* Blank. */
	if (request->op == BLOCK_READ && request->iov_count)
		memset(request->iov->iov_base, 0, request->iov->iov_len);
	fake->submitted++;
	fake->offset_bytes = request->offset_bytes;
	if (fake->hold) {
		request->next = fake->held;
		fake->held = request;
		return;
	}
	request->result = fake->result;
	request->done(request);
}

static void fake_release(struct fake *fake)
{
	struct block_request *held = fake->held;

	fake->held = NULL;
	fake->hold = false;
	while (held) {
		struct block_request *next = held->next;

		held->result = fake->result;
		held->done(held);
		held = next;
	}
}

static void fake_prefetch(struct block_device *block,
			  const struct block_request *request,
			  uint64_t offset_bytes)
{
	struct fake *fake = (struct fake *)block;

	(void)request;
	fake->prefetched++;
	fake->offset_bytes = offset_bytes;
}

static const struct block_device_ops fake_ops = {
	.kind = "fake",
	.submit = fake_submit,
	.prefetch = fake_prefetch,
};

struct bench {
	struct vdev_rig rig;
	struct fake fake;
	unsigned int done, taken;
	int result;
};

struct request {
	struct vdev_request vdev;
	struct bench *bench;
};

static void request_done(struct vdev_request *vdev)
{
	struct request *request = (struct request *)vdev;

	request->bench->done++;
	request->bench->result = vdev->block.result;
}

static int setup(void **state)
{
	struct bench *bench = calloc(1, sizeof(*bench));
	const struct vdev_rig_config config = {
		.block = &bench->fake.block,
		.sched = {.window_min = 64, .window_max = 64},
		.volume_bytes = 16 * MIB,
		.vdev_bytes = 8 * MIB,
	};

	bench->fake.block = (struct block_device){
		.ops = &fake_ops,
		.size_bytes = 64 * MIB,
		.block_size = 512,
	};
	vdev_rig_create(&bench->rig, &config);
	bench->fake.submitted = 0;
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

static void submit(struct bench *bench, struct request *request,
		   struct vdev_process *process, enum block_op op,
		   uint64_t offset_bytes, uint64_t length_bytes)
{
	memset(request, 0, sizeof(*request));
	request->bench = bench;
	request->vdev.block.op = (uint8_t)op;
	request->vdev.block.offset_bytes = offset_bytes;
	request->vdev.block.length_bytes = length_bytes;
	request->vdev.process = process;
	request->vdev.done = request_done;
	vdev_submit(bench->rig.vdev, &request->vdev, loop_clock_ns());
}

static struct vdev_process *add(struct bench *bench, uint32_t pasid, int ioprio,
				bool own_socket)
{
	const struct vdev_process_config config = {
		.pasid = pasid,
		.match = {ioprio >= 0 ? MATCH_IOPRIO : MATCH_NONE,
			  (uint16_t)ioprio},
		.own_socket = own_socket,
		.stats = &bench->rig.stats->processes[pasid],
	};
	struct vdev_process *process;

	assert_int_equal(
		vdev_process_add(bench->rig.vdev, &config, &process, NULL), 0);
	return process;
}

/* On the device. */
static uint64_t place_of(struct bench *bench, uint64_t offset_bytes)
{
	struct volume_place place = {.offset_bytes = 0};

	assert_true(volume_map(bench->rig.mapped.volume, offset_bytes, 512,
			       true, &place));
	return place.offset_bytes;
}

static void test_vdev_requests_are_moved_to_its_place_on_the_device(
	void **state)
{
	struct bench *bench = *state;
	struct request request;

	submit(bench, &request, vdev_find_process(bench->rig.vdev, 0),
	       BLOCK_READ, 4096, 4096);
	assert_int_equal(bench->done, 1);
	assert_int_equal(bench->result, 0);
	assert_int_equal(bench->fake.offset_bytes, place_of(bench, 4096));
}

static void test_vdev_refuses_what_is_out_of_range(void **state)
{
	static const struct {
		enum block_op op;
		uint64_t offset_bytes, length_bytes;
		int result;
	} cases[] = {
		{BLOCK_READ, 8 * MIB, 512, -EINVAL},
		{BLOCK_READ, 8 * MIB - 512, 1024, -EINVAL},
		{BLOCK_WRITE, 8 * MIB, 512, -ENOSPC},
		{BLOCK_READ, UINT64_MAX - 511, 1024, -EINVAL},
		{BLOCK_READ, 1, 512, -EINVAL},
		{BLOCK_READ, 0, 513, -EINVAL},
		{BLOCK_DISCARD, 8 * MIB, 512, -EINVAL},
	};
	struct bench *bench = *state;
	struct request request;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		submit(bench, &request, vdev_find_process(bench->rig.vdev, 0),
		       cases[i].op, cases[i].offset_bytes,
		       cases[i].length_bytes);
		assert_int_equal(bench->done, i + 1);
		assert_int_equal(bench->result, cases[i].result);
	}
	assert_int_equal(bench->fake.submitted, 0);
}

/* The device is told of what comes, but not of what will be refused. */
static void test_vdev_prefetches_only_what_is_in_range(void **state)
{
	struct bench *bench = *state;
	struct vdev_request request = {
		.block =
			{
				.op = BLOCK_READ,
				.offset_bytes = 4096,
				.length_bytes = 512,
			},
	};

	assert_true(vdev_prefetches(bench->rig.vdev));
	vdev_prefetch(bench->rig.vdev, &request);
	assert_int_equal(bench->fake.prefetched, 1);
	assert_int_equal(bench->fake.offset_bytes, place_of(bench, 4096));
	assert_int_equal(request.block.offset_bytes, 4096);
	request.block.offset_bytes = 8 * MIB;
	vdev_prefetch(bench->rig.vdev, &request);
	request.block.offset_bytes = UINT64_MAX - 511;
	vdev_prefetch(bench->rig.vdev, &request);
	request.block.offset_bytes = 0;
	request.block.op = BLOCK_DISCARD;
	vdev_prefetch(bench->rig.vdev, &request);
	assert_int_equal(bench->fake.prefetched, 1);
	assert_int_equal(bench->fake.submitted, 0);
}

static void test_vdev_read_only_refuses_changes(void **state)
{
	struct bench *bench = *state;
	const struct vdev_config config = {
		.name = "ro",
		.device = bench->rig.device,
		.volume = bench->rig.mapped.volume,
		.gate = bench->rig.gate,
		.size_bytes = MIB,
		.read_only = true,
		.default_stats = &bench->rig.stats->processes[9],
	};
	struct vdev *writable = bench->rig.vdev;
	struct request request;

	assert_int_equal(vdev_create(&config, &bench->rig.vdev, NULL), 0);
	submit(bench, &request, vdev_find_process(bench->rig.vdev, 0),
	       BLOCK_WRITE, 0, 512);
	assert_int_equal(bench->result, -EROFS);
	submit(bench, &request, vdev_find_process(bench->rig.vdev, 0),
	       BLOCK_WRITE_ZEROES, 0, 512);
	assert_int_equal(bench->result, -EROFS);
	submit(bench, &request, vdev_find_process(bench->rig.vdev, 0),
	       BLOCK_READ, 0, 512);
	assert_int_equal(bench->result, 0);
	assert_int_equal(vdev_destroy(bench->rig.vdev), 0);
	bench->rig.vdev = writable;
}

/* E9 and the contract: marks first, then the first process without one, then
 * the unpromised default. */
static void test_vdev_binds_by_io_priority(void **state)
{
	struct bench *bench = *state;
	struct vdev_process *unpromised = vdev_find_process(bench->rig.vdev, 0);
	struct vdev_process *own = add(bench, 1, -1, true);
	struct vdev_process *be4, *first;

	assert_ptr_equal(vdev_find_process(bench->rig.vdev, 0), unpromised);
	be4 = add(bench, 2, BE(4), false);
	assert_ptr_equal(vdev_find_process(bench->rig.vdev, BE(4)), be4);
	assert_ptr_equal(vdev_find_process(bench->rig.vdev, BE(5)), unpromised);
	first = add(bench, 3, -1, false);
	add(bench, 4, -1, false);
	assert_ptr_equal(vdev_find_process(bench->rig.vdev, 0), first);
	assert_ptr_equal(vdev_find_process(bench->rig.vdev, BE(5)), first);
	assert_ptr_equal(vdev_find_process(bench->rig.vdev, BE(4)), be4);
	assert_ptr_equal(vdev_process_by_pasid(bench->rig.vdev, 1), own);
	assert_null(vdev_process_by_pasid(bench->rig.vdev, 77));

	vdev_process_remove(first);
	assert_ptr_equal(vdev_find_process(bench->rig.vdev, 0),
			 vdev_process_by_pasid(bench->rig.vdev, 4));
}

static void test_vdev_refuses_a_second_process_with_the_same_mark(void **state)
{
	struct bench *bench = *state;
	struct vdev_process_config config = {
		.pasid = 2,
		.match = {MATCH_IOPRIO, BE(4)},
		.stats = &bench->rig.stats->processes[2],
	};
	struct vdev_process *process;

	add(bench, 1, BE(4), false);
	assert_int_equal(
		vdev_process_add(bench->rig.vdev, &config, &process, NULL),
		-EEXIST);
	config.match.number = BE(5);
	config.pasid = 1;
	assert_int_equal(
		vdev_process_add(bench->rig.vdev, &config, &process, NULL),
		-EEXIST);
}

static struct vdev_process *add_peer(struct bench *bench, uint32_t pasid,
				     enum match_kind kind, uint32_t number)
{
	const struct vdev_process_config config = {
		.pasid = pasid,
		.match = {kind, number},
		.stats = &bench->rig.stats->processes[pasid],
	};
	struct vdev_process *process;
	struct error error;

	assert_int_equal(
		vdev_process_add(bench->rig.vdev, &config, &process, &error),
		0);
	return process;
}

/* E12: by who connected; a pid is nearer than a uid, and that than a gid. */
static void test_vdev_finds_process_by_peer(void **state)
{
	struct bench *bench = *state;
	const struct match_peer peer = {true, 77, 1000, 100};
	struct match_peer other = {true, 78, 1000, 100};
	struct vdev_process *of_gid = add_peer(bench, 1, MATCH_GID, 100);
	struct vdev_process *of_uid = add_peer(bench, 2, MATCH_UID, 1000);
	struct vdev_process *of_pid = add_peer(bench, 3, MATCH_PID, 77);
	struct vdev_process *open = add(bench, 4, -1, false);

	assert_ptr_equal(vdev_process_by_peer(bench->rig.vdev, &peer), of_pid);
	assert_ptr_equal(vdev_process_by_peer(bench->rig.vdev, &other), of_uid);
	other.uid = 1001;
	assert_ptr_equal(vdev_process_by_peer(bench->rig.vdev, &other), of_gid);
	assert_false(vdev_process_is_open_to(of_uid, &other));
	assert_true(vdev_process_is_open_to(of_uid, &peer));
	assert_true(vdev_process_is_open_to(open, &other));
	other.gid = 101;
	assert_null(vdev_process_by_peer(bench->rig.vdev, &other));
	other = peer;
	other.is_known = false;
	assert_null(vdev_process_by_peer(bench->rig.vdev, &other));
	assert_false(vdev_process_is_open_to(of_pid, &other));
	/* They have nothing of what has no mark. */
	assert_ptr_equal(vdev_find_process(bench->rig.vdev, BE(4)), open);
	vdev_process_remove(of_pid);
	assert_ptr_equal(vdev_process_by_peer(bench->rig.vdev, &peer), of_uid);
}

static void test_vdev_counts_by_process_and_direction(void **state)
{
	struct bench *bench = *state;
	struct vdev_process *process = add(bench, 1, -1, false);
	const struct stats_process *stats = &bench->rig.stats->processes[1];
	struct request request;

	submit(bench, &request, process, BLOCK_READ, 0, 4096);
	submit(bench, &request, process, BLOCK_WRITE, 0, 8192);
	submit(bench, &request, process, BLOCK_WRITE, 0, 8192);
	submit(bench, &request, process, BLOCK_FLUSH, 0, 0);
	bench->fake.result = -EIO;
	submit(bench, &request, process, BLOCK_READ, 0, 4096);
	assert_int_equal(bench->result, -EIO);
	loop_run_once(bench->rig.loop, 0);

	assert_int_equal(stats->direction[SCHED_READ].requests, 1);
	assert_int_equal(stats->direction[SCHED_READ].bytes, 4096);
	assert_int_equal(stats->direction[SCHED_READ].errors, 1);
	assert_int_equal(stats->direction[SCHED_WRITE].requests, 2);
	assert_int_equal(stats->direction[SCHED_WRITE].bytes, 16384);
	assert_int_equal(stats->other.requests, 1);
	assert_int_equal(histogram_count(&stats->latency[SCHED_WRITE]), 2);
	assert_int_equal(bench->rig.stats->devices[0].errors, 1);
	assert_int_equal(vdev_device_last_error(bench->rig.device), EIO);
}

/* What its front did wrong is not the device's: out of range, read-only, or
 * memory that is gone. */
static void test_vdev_fronts_faults_are_not_the_devices(void **state)
{
	struct bench *bench = *state;
	struct vdev_process *process = add(bench, 1, -1, false);
	const struct stats_process *stats = &bench->rig.stats->processes[1];
	struct request request;

	submit(bench, &request, process, BLOCK_READ, 8 * MIB, 4096);
	submit(bench, &request, process, BLOCK_WRITE, 8 * MIB, 4096);
	bench->fake.result = -EFAULT;
	submit(bench, &request, process, BLOCK_READ, 0, 4096);
	assert_int_equal(bench->result, -EFAULT);
	submit(bench, &request, process, BLOCK_WRITE, 0, 4096);
	assert_int_equal(stats->direction[SCHED_READ].errors, 2);
	assert_int_equal(stats->direction[SCHED_WRITE].errors, 2);
	assert_int_equal(bench->rig.stats->devices[0].errors, 0);
	assert_int_equal(vdev_device_last_error(bench->rig.device), 0);
}

/* E12: release while requests are queued and in flight; each still ends
 * exactly once, those that waited as the default process's. */
static void test_vdev_release_loses_no_request(void **state)
{
	struct bench *bench = *state;
	struct vdev_process_config config = {
		.pasid = 1,
		.stats = &bench->rig.stats->processes[1],
	};
	struct request requests[8];
	struct vdev_process *process;

	config.sched.limit_per_s[SCHED_TOTAL_IOPS] = 1;
	assert_int_equal(
		vdev_process_add(bench->rig.vdev, &config, &process, NULL), 0);
	bench->fake.hold = true;
	for (unsigned int i = 0; i < 8; i++)
		submit(bench, &requests[i], process, BLOCK_READ, 0, 512);
	assert_in_range(bench->fake.submitted, 1, 2);
	vdev_process_remove(process);
	while (bench->fake.submitted < 8)
		loop_run_once(bench->rig.loop, 0);
	assert_int_equal(vdev_destroy(bench->rig.vdev), -EBUSY);
	fake_release(&bench->fake);
	assert_int_equal(bench->done, 8);
	loop_run_once(bench->rig.loop, 0);
	assert_in_range(bench->rig.stats->processes[0].direction[0].requests, 6,
			7);
}

static void request_taken(struct vdev_request *vdev)
{
	struct request *request = (struct request *)vdev;

	request->bench->taken++;
}

/* Of two owners behind a limit, one takes back what waits, the other lets it
 * go; each request ends once, and nothing counts as waiting. */
static void test_vdev_owners_take_back_and_let_go(void **state)
{
	struct bench *bench = *state;
	struct vdev_process_config config = {
		.pasid = 1,
		.sched.limit_per_s[SCHED_READ_BYTES] = 1,
		.stats = &bench->rig.stats->processes[1],
	};
	const struct stats_process *stats = &bench->rig.stats->processes[1];
	struct request requests[8];
	struct vdev_process *process;

	assert_int_equal(
		vdev_process_add(bench->rig.vdev, &config, &process, NULL), 0);
	for (unsigned int i = 0; i < 8; i++) {
		submit(bench, &requests[i], process, BLOCK_READ, 0, 512);
		requests[i].vdev.owner = &requests[i % 2];
	}
	assert_int_equal(bench->done, 1);
	vdev_take_back(bench->rig.vdev, &requests[0], request_taken,
		       loop_clock_ns());
	assert_int_equal(bench->taken, 3);
	vdev_let_go(bench->rig.vdev, &requests[1], loop_clock_ns());
	while (bench->done < 5)
		loop_run_once(bench->rig.loop, 0);
	loop_run_once(bench->rig.loop, 0);
	assert_int_equal(bench->fake.submitted, 5);
	vdev_report(bench->rig.vdev);
	assert_int_equal(stats->queued, 0);
	assert_int_equal(stats->in_flight, 0);
	assert_int_equal(stats->direction[SCHED_READ].requests, 5);
	assert_int_equal(stats->direction[SCHED_READ].errors, 0);
}

/* E13: a limit that is lifted lets go at once what waited for it. */
static void test_vdev_update_takes_effect_at_once(void **state)
{
	struct bench *bench = *state;
	struct vdev_process_config config = {
		.pasid = 1,
		.stats = &bench->rig.stats->processes[1],
	};
	struct request requests[8];
	struct vdev_process *process;

	config.sched.limit_per_s[SCHED_TOTAL_IOPS] = 1;
	assert_int_equal(
		vdev_process_add(bench->rig.vdev, &config, &process, NULL), 0);
	for (unsigned int i = 0; i < 8; i++)
		submit(bench, &requests[i], process, BLOCK_READ, 0, 512);
	assert_in_range(bench->done, 1, 2);
	assert_true(vdev_quiet_until_ns(bench->rig.vdev) > 0);
	config.sched.limit_per_s[SCHED_TOTAL_IOPS] = 0;
	assert_int_equal(vdev_process_update(process, &config, NULL), 0);
	while (bench->done < 8)
		loop_run_once(bench->rig.loop, 0);
	assert_int_equal(vdev_quiet_until_ns(bench->rig.vdev), 0);
}

struct resized {
	struct vdev_listener listener;
	unsigned int times;
};

/* Rounds of 50 us in which two ways in show requests and nothing is served (not
 * so many that it would have to be); how many the second may bring in the end.
 */
static unsigned int rounds(struct vdev *vdev, struct vdev_process *first,
			   struct turns_seat seats[2], uint64_t *now_ns)
{
	unsigned int taken = 0;

	for (unsigned int i = 0; i < 400; i++) {
		*now_ns += 50000;
		assert_in_range(vdev_turn(vdev, first, &seats[0], 4, *now_ns),
				0, 4);
		taken = vdev_turn(vdev, NULL, &seats[1], 32, *now_ns);
	}
	return taken;
}

/* E8, E12: on a device that completes inside submit. */
static void test_vdev_shares_the_reactor_by_promise(void **state)
{
	struct bench *bench = *state;
	const struct sched_config immediate = {.immediate = true};
	const struct vdev_process_config promised = {
		.pasid = 1,
		.own_socket = true,
		.sched.reservation_per_s = {[SCHED_TOTAL_IOPS] = 100000},
		.stats = &bench->rig.stats->processes[1],
	};
	struct turns_seat seats[2] = {0};
	uint64_t now_ns = loop_clock_ns();
	struct vdev_device *device;
	struct vdev_process *process;
	struct request request;
	struct mapped mapped;
	struct turns turns;
	struct vdev *vdev;

	turns_init(&turns);
	assert_int_equal(vdev_device_create(&bench->fake.block, &immediate,
					    &bench->rig.stats->devices[1],
					    bench->rig.loop, &device, NULL),
			 0);
	vdev_device_share(device, &turns);
	assert_int_equal(mapped_create(&mapped, &bench->fake.block, device,
				       8 * MIB, true),
			 0);
	const struct vdev_config config = {
		.name = "vd1",
		.device = device,
		.volume = mapped.volume,
		.gate = bench->rig.gate,
		.size_bytes = 8 * MIB,
		.default_stats = &bench->rig.stats->processes[2],
	};
	assert_int_equal(vdev_create(&config, &vdev, NULL), 0);
	assert_int_equal(vdev_process_add(vdev, &promised, &process, NULL), 0);
	assert_in_range(rounds(vdev, process, seats, &now_ns), 0, 1);
	assert_int_equal(vdev_turn(vdev, process, &seats[0], 32, now_ns), 32);
	/* Whatever it asks for, it has had that. */
	for (unsigned int i = 0; i < 6000; i++) {
		request = (struct request){
			.bench = bench,
			.vdev.block.op = i % 2 ? BLOCK_FLUSH : BLOCK_READ,
			.vdev.block.offset_bytes = 8 * MIB,
			.vdev.block.length_bytes = 512,
			.vdev.process = process,
			.vdev.done = request_done,
		};
		vdev_submit(vdev, &request.vdev, now_ns);
	}
	assert_in_range(vdev_turn(vdev, process, &seats[0], 32, now_ns), 0, 31);
	vdev_process_remove(process);
	assert_int_equal(rounds(vdev, NULL, seats, &now_ns), 32);
	assert_int_equal(vdev_destroy(vdev), 0);
	mapped_destroy(&mapped);
	vdev_device_destroy(device);
}

/* A server behind the device may have lost acknowledged writes: the next flush
 * of each vdev fails, once, whichever of them the device itself told (E15). */
static void test_vdev_is_told_of_losses(void **state)
{
	struct bench *bench = *state;
	struct vdev_process *process = add(bench, 1, -1, false);
	struct request request;

	submit(bench, &request, process, BLOCK_FLUSH, 0, 0);
	assert_int_equal(bench->result, 0);
	bench->fake.block.losses++;
	submit(bench, &request, process, BLOCK_WRITE, 0, 512);
	assert_int_equal(bench->result, 0);
	submit(bench, &request, process, BLOCK_FLUSH, 0, 0);
	assert_int_equal(bench->result, -EIO);
	submit(bench, &request, process, BLOCK_FLUSH, 0, 0);
	assert_int_equal(bench->result, 0);
	/* The device said so itself: once is enough. */
	bench->fake.block.losses++;
	bench->fake.result = -EIO;
	submit(bench, &request, process, BLOCK_FLUSH, 0, 0);
	assert_int_equal(bench->result, -EIO);
	bench->fake.result = 0;
	submit(bench, &request, process, BLOCK_FLUSH, 0, 0);
	assert_int_equal(bench->result, 0);
}

static void on_resized(struct vdev_listener *listener)
{
	((struct resized *)listener)->times++;
}

static void test_vdev_resize_tells_its_fronts(void **state)
{
	struct bench *bench = *state;
	struct resized resized = {.listener = {.resized = on_resized}};

	vdev_listen(bench->rig.vdev, &resized.listener);
	assert_int_equal(vdev_resize(bench->rig.vdev, 12 * MIB), 0);
	assert_int_equal(vdev_size_bytes(bench->rig.vdev), 12 * MIB);
	assert_int_equal(vdev_resize(bench->rig.vdev, 17 * MIB), -ENOSPC);
	assert_int_equal(vdev_resize(bench->rig.vdev, MIB + 1), -EINVAL);
	assert_int_equal(resized.times, 1);
	vdev_unlisten(bench->rig.vdev, &resized.listener);
	assert_int_equal(vdev_resize(bench->rig.vdev, 8 * MIB), 0);
	assert_int_equal(resized.times, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_vdev_requests_are_moved_to_its_place_on_the_device),
		TEST(test_vdev_refuses_what_is_out_of_range),
		TEST(test_vdev_prefetches_only_what_is_in_range),
		TEST(test_vdev_read_only_refuses_changes),
		TEST(test_vdev_binds_by_io_priority),
		TEST(test_vdev_refuses_a_second_process_with_the_same_mark),
		TEST(test_vdev_finds_process_by_peer),
		TEST(test_vdev_counts_by_process_and_direction),
		TEST(test_vdev_fronts_faults_are_not_the_devices),
		TEST(test_vdev_release_loses_no_request),
		TEST(test_vdev_owners_take_back_and_let_go),
		TEST(test_vdev_update_takes_effect_at_once),
		TEST(test_vdev_shares_the_reactor_by_promise),
		TEST(test_vdev_is_told_of_losses),
		TEST(test_vdev_resize_tells_its_fronts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
