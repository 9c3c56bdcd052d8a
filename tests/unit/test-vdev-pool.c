/* SPDX-License-Identifier: Apache-2.0 */
/* test-vdev-pool.c - a vdev over several devices of a pool (E2, E8, E10): one
 * budget for limits, promises and weights on each; time is invented */
#include "vdev/vdev.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ctl/stats.h"
#include "pool/volume.h"
#include "vdev/device.h"

#define MIB		UINT64_C(1048576)
#define MS		UINT64_C(1000000)
#define EXTENTS		16U
#define DEVICE_BYTES	(24 * MIB)
#define VDEV_BYTES	(6 * MIB)
#define DEVICES		3U
#define HELD_MAX	256U

struct fake {
	struct block_device block;
	unsigned char *data;
	struct block_request *held[HELD_MAX];
	uint32_t count;
	bool hold;
	unsigned int ops[5];
	int read_result;
	struct vdev_device *device;
	struct pool_add add;
};

struct bench {
	struct loop *loop;
	struct vdev_gate *gate;
	struct stats_segment *stats;
	struct fake fakes[DEVICES];
	uint32_t count;
	struct pool *pool;
	struct volume *volume;
	struct vdev *vdev;
	unsigned int opened, done;
	uint64_t now_ns;
};

struct request {
	struct vdev_request vdev;
	struct bench *bench;
	struct iovec iov;
	bool is_done;
	int result;
	unsigned int count;		/* how often done */
};

static struct bench *current;
static int next_member;	/* for a first write; -1: the vdev chooses */

/* ---- devices ---- */

static void perform(struct fake *fake, struct block_request *request)
{
	unsigned char *at = fake->data + request->offset_bytes;

	request->result = request->op == BLOCK_READ ? fake->read_result : 0;
	for (uint32_t i = 0;
	     request->op <= BLOCK_WRITE && i < request->iov_count; i++) {
		const struct iovec *iov = &request->iov[i];

		if (request->op == BLOCK_READ)
			memcpy(iov->iov_base, at, iov->iov_len);
		else
			memcpy(at, iov->iov_base, iov->iov_len);
		at += iov->iov_len;
	}
	if (request->op >= BLOCK_DISCARD)
		memset(at, 0, request->length_bytes);
	request->done(request);
}

static void fake_submit(struct block_device *block,
			struct block_request *request)
{
	struct fake *fake = (struct fake *)block;

	fake->ops[request->op]++;
	if (!fake->hold) {
		perform(fake, request);
		return;
	}
	assert_in_range(fake->count, 0, HELD_MAX - 1);
	fake->held[fake->count++] = request;
}

/* The first that came ends. */
static void let_first(struct fake *fake)
{
	struct block_request *request = fake->held[0];

	memmove(fake->held, fake->held + 1, --fake->count * sizeof(request));
	perform(fake, request);
}

static void let_all(struct fake *fake)
{
	fake->hold = false;
	while (fake->count > 0)
		let_first(fake);
}

static const struct block_device_ops fake_ops = {
	.kind = "fake",
	.submit = fake_submit,
};

/* ---- rig ---- */

static void opened(struct pool_add *add, int result, const struct error *error)
{
	(void)add;
	(void)error;
	assert_int_equal(result, 0);
	current->opened++;
}

static void changed(struct volume_change *change, int result)
{
	(void)change;
	assert_int_equal(result, 0);
}

static int choose(struct pool *pool, const struct volume *volume,
		  const void *writer, uint64_t candidates)
{
	if (next_member < 0)
		return vdev_choose(pool, volume, writer, candidates);
	assert_true(candidates >> next_member & 1);
	return next_member;
}

static void add_device(struct bench *bench, uint32_t i, bool is_immediate,
		       uint32_t window)
{
	static const char *const names[DEVICES] = {"a", "b", "c"};
	const struct sched_config sched = {
		.cost.request_ns = {500000, 500000},
		.window_min = window,
		.window_max = window,
		.immediate = is_immediate,
	};
	struct fake *fake = &bench->fakes[i];

	fake->data = calloc(1, DEVICE_BYTES);
	fake->block = (struct block_device){
		.ops = &fake_ops,
		.size_bytes = DEVICE_BYTES,
		.block_size = 512,
	};
	assert_int_equal(vdev_device_create(&fake->block, &sched,
					    &bench->stats->devices[i],
					    bench->loop, &fake->device, NULL),
			 0);
	const struct member_config member = {
		.device = &fake->block,
		.user = fake->device,
		.name = names[i],
		.uuid = {.bytes = {(uint8_t)(i + 1)}},
		.may_claim = true,
		.is_zeroed = true,
		.capacity_bytes = EXTENTS * MIB,
		.metadata_bytes = DEVICE_BYTES - EXTENTS * MIB,
	};
	fake->add.done = opened;
	assert_int_equal(pool_add(bench->pool, &member, i == 0, &fake->add), 0);
}

static struct bench *build(uint32_t devices, bool is_immediate, uint32_t window,
			   const struct sched_limits *limits)
{
	static const struct pool_ops ops = {.choose = choose};
	static const struct loop_config loop = {.entries = 8};
	static struct volume_change change = {.done = changed};
	const struct volume_config volume = {
		.name = "volume",
		.uuid = {{99}},
		.size_bytes = VDEV_BYTES,
	};
	struct bench *bench = calloc(1, sizeof(*bench));

	current = bench;
	next_member = -1;
	bench->count = devices;
	bench->stats = calloc(1, sizeof(*bench->stats));
	assert_int_equal(loop_create(&loop, &bench->loop, NULL), 0);
	assert_int_equal(vdev_gate_create(bench->loop, &bench->gate, NULL), 0);
	assert_int_equal(pool_create(&ops, NULL, &bench->pool), 0);
	for (uint32_t i = 0; i < devices; i++)
		add_device(bench, i, is_immediate, window);
	assert_int_equal(bench->opened, devices);
	assert_int_equal(pool_start(bench->pool, NULL), 0);
	assert_int_equal(
		volume_create(bench->pool, &volume, &change, &bench->volume),
		0);
	const struct vdev_config vdev = {
		.name = "vd0",
		.device = bench->fakes[0].device,
		.gate = bench->gate,
		.volume = bench->volume,
		.size_bytes = VDEV_BYTES,
		.limits =
			limits ? *limits : (struct sched_limits){.burst_ns = 0},
		.default_stats = &bench->stats->processes[0],
	};
	assert_int_equal(vdev_create(&vdev, &bench->vdev, NULL), 0);
	bench->now_ns = loop_clock_ns();
	return bench;
}

static void finish(struct bench *bench)
{
	for (uint32_t i = 0; i < bench->count; i++)
		let_all(&bench->fakes[i]);
	assert_int_equal(vdev_destroy(bench->vdev), 0);
	pool_stop(bench->pool);
	pool_destroy(bench->pool);
	for (uint32_t i = 0; i < bench->count; i++) {
		vdev_device_destroy(bench->fakes[i].device);
		free(bench->fakes[i].data);
	}
	vdev_gate_destroy(bench->gate);
	loop_destroy(bench->loop);
	free(bench->stats);
	free(bench);
}

/* A round of the loop, at a time of ours. */
static void poll(struct bench *bench, uint64_t now_ns)
{
	if (bench->gate->poller.link)
		bench->gate->poller.poll(&bench->gate->poller, now_ns);
	for (uint32_t i = 0; i < bench->count; i++) {
		struct loop_poller *poller = &bench->fakes[i].device->poller;

		poller->poll(poller, now_ns);
	}
}

static void submit(struct bench *bench, struct request *request,
		   struct vdev_process *process, enum block_op op,
		   uint64_t offset_bytes, uint64_t length_bytes, void *data)
{
	request->bench = bench;
	request->is_done = false;
	request->iov =
		(struct iovec){.iov_base = data, .iov_len = length_bytes};
	request->vdev.block = (struct block_request){
		.op = (uint8_t)op,
		.iov = &request->iov,
		.iov_count = data ? 1 : 0,
		.offset_bytes = offset_bytes,
		.length_bytes = length_bytes,
	};
	request->vdev.process =
		process ? process : vdev_find_process(bench->vdev, 0);
	vdev_submit(bench->vdev, &request->vdev, bench->now_ns);
}

static void request_done(struct vdev_request *vdev)
{
	struct request *request = (struct request *)vdev;

	request->is_done = true;
	request->result = vdev->block.result;
	request->count++;
	request->bench->done++;
}

static struct request *requests_new(uint32_t count)
{
	struct request *requests = calloc(count, sizeof(*requests));

	for (uint32_t i = 0; i < count; i++)
		requests[i].vdev.done = request_done;
	return requests;
}

/* Extent i of the vdev lies on device i modulo how many there are. */
static void spread(struct bench *bench)
{
	struct request *request = requests_new(1);
	unsigned char *data = calloc(1, MIB);

	for (uint32_t i = 0; i < VDEV_BYTES / MIB; i++) {
		memset(data, (int)i + 1, MIB);
		next_member = (int)(i % bench->count);
		submit(bench, request, NULL, BLOCK_WRITE, i * MIB, MIB, data);
		while (!request->is_done)
			poll(bench, bench->now_ns += MS);
		assert_int_equal(request->result, 0);
	}
	next_member = -1;
	for (uint32_t i = 0; i < bench->count; i++)
		memset(bench->fakes[i].ops, 0, sizeof(bench->fakes[i].ops));
	memset(bench->stats, 0, sizeof(*bench->stats));
	bench->done = 0;
	free(request);
	free(data);
}

static struct vdev_process *add(struct bench *bench, uint32_t pasid,
				const struct sched_params *params,
				uint64_t members)
{
	const struct vdev_process_config config = {
		.pasid = pasid,
		.own_socket = true,
		.sched = *params,
		.members = members,
		.stats = &bench->stats->processes[pasid],
	};
	struct vdev_process *process;

	assert_int_equal(vdev_process_add(bench->vdev, &config, &process, NULL),
			 0);
	/* It was made at the real time. */
	if (bench->now_ns < loop_clock_ns())
		bench->now_ns = loop_clock_ns();
	return process;
}

/* ---- what waits for the pool ---- */

/* A request that waits for its extent's mapping takes nobody's place. */
static void test_vdev_pool_waits_take_no_turns(void **state)
{
	struct bench *bench = build(1, false, 2, NULL);
	struct fake *fake = &bench->fakes[0];
	struct request *requests = requests_new(9);
	unsigned char *data = calloc(9, 4096);

	(void)state;
	next_member = 0;
	submit(bench, &requests[8], NULL, BLOCK_WRITE, 5 * MIB, 4096, data);
	assert_true(requests[8].is_done);
	fake->hold = true;
	fake->ops[BLOCK_READ] = 0;
	for (uint32_t i = 0; i < 8; i++)
		submit(bench, &requests[i], NULL, BLOCK_WRITE, i * 4096, 4096,
		       data + i * 4096);
	assert_int_equal(vdev_device_in_flight(fake->device), 1);
	submit(bench, &requests[8], NULL, BLOCK_READ, 5 * MIB, 4096,
	       data + 8 * 4096);
	assert_int_equal(vdev_device_in_flight(fake->device), 2);
	assert_int_equal(fake->ops[BLOCK_READ], 1);
	while (bench->done < 10) {
		if (fake->count)
			let_first(fake);
		poll(bench, bench->now_ns += MS);
	}
	finish(bench);
	free(requests);
	free(data);
}

/* ---- one budget ---- */

#define STEPS	200U

/* How many have passed after each ms. */
static void passed(uint32_t devices, const struct sched_params *params,
		   const struct sched_limits *limits, unsigned int *ret_passed)
{
	struct bench *bench = build(devices, false, 256, limits);
	struct vdev_process *process;
	struct request *requests = requests_new(HELD_MAX);
	unsigned char *data = calloc(1, 4096);

	spread(bench);
	process = add(bench, 1, params, 0);
	/* All bursts are full, whatever time was real until here. */
	poll(bench, bench->now_ns += 1000 * MS);
	for (uint32_t i = 0; i < HELD_MAX; i++)
		submit(bench, &requests[i], process, BLOCK_READ, i % 6 * MIB,
		       4096, data);
	for (uint32_t step = 0; step < STEPS; step++) {
		poll(bench, bench->now_ns += MS);
		ret_passed[step] = bench->done;
	}
	vdev_process_remove(process);
	while (bench->done < HELD_MAX)
		poll(bench, bench->now_ns += MS);
	poll(bench, bench->now_ns);
	finish(bench);
	free(requests);
	free(data);
}

static void assert_same(const struct sched_params *params,
			const struct sched_limits *limits, unsigned int burst)
{
	unsigned int one[STEPS], more[STEPS];

	passed(1, params, limits, one);
	assert_in_range(one[0], burst, burst + 2);
	assert_in_range(one[STEPS - 1], burst + 99, burst + 102);
	for (uint32_t devices = 2; devices <= DEVICES; devices++) {
		passed(devices, params, limits, more);
		assert_memory_equal(one, more, sizeof(one));
	}
}

/* E8: a limit is one, over however many devices; so is its burst. */
static void test_vdev_pool_limit_is_one_budget(void **state)
{
	const struct sched_params params = {
		.limit_per_s[SCHED_TOTAL_IOPS] = 500,
		.burst_ns = 40 * MS,
	};
	const struct sched_params bytes = {
		.limit_per_s[SCHED_READ_BYTES] = UINT64_C(500) * 4096,
		.burst_ns = 40 * MS,
	};

	(void)state;
	assert_same(&params, NULL, 20);
	assert_same(&bytes, NULL, 20);
}

static void test_vdev_pool_parent_limit_is_one_budget(void **state)
{
	static const struct sched_params none;
	const struct sched_limits limits = {
		.limit_per_s[SCHED_TOTAL_IOPS] = 500,
		.burst_ns = 40 * MS,
	};
	unsigned int one[STEPS], more[STEPS];

	(void)state;
	passed(1, &none, &limits, one);
	assert_in_range(one[STEPS - 1], 99, 125);
	for (uint32_t devices = 2; devices <= DEVICES; devices++) {
		passed(devices, &none, &limits, more);
		assert_in_range(more[STEPS - 1], one[STEPS - 1] - 1,
				one[STEPS - 1] + 1);
	}
}

/* Cut or not, it is one to limits and statistics. */
static void test_vdev_pool_pieces_are_charged_once(void **state)
{
	struct bench *bench = build(2, false, 256, NULL);
	const struct stats_process *stats = &bench->stats->processes[1];
	const struct sched_params params = {
		.limit_per_s[SCHED_TOTAL_IOPS] = 1000,
		.burst_ns = 8 * MS,
	};
	struct request *requests = requests_new(16);
	unsigned char *data = calloc(1, 2 * MIB);
	struct vdev_process *process;

	(void)state;
	spread(bench);
	process = add(bench, 1, &params, 0);
	bench->fakes[1].hold = true;
	for (uint32_t i = 0; i < 16; i++)
		submit(bench, &requests[i], process, BLOCK_READ, MIB / 2, MIB,
		       data);
	/* Burst, and both of a request's pieces at their devices. */
	assert_in_range(bench->fakes[0].ops[BLOCK_READ], 8, 10);
	assert_int_equal(bench->fakes[0].ops[BLOCK_READ],
			 bench->fakes[1].ops[BLOCK_READ]);
	assert_int_equal(stats->direction[0].requests, 0);
	let_first(&bench->fakes[1]);
	assert_int_equal(stats->direction[0].requests, 1);
	assert_int_equal(stats->direction[0].bytes, MIB);
	assert_int_equal(histogram_count(&stats->latency[0]), 1);
	assert_int_equal(data[0], 1);
	assert_int_equal(data[MIB - 1], 2);
	let_all(&bench->fakes[1]);
	while (bench->done < 16)
		poll(bench, bench->now_ns += MS);
	assert_int_equal(stats->direction[0].requests, 16);
	finish(bench);
	free(requests);
	free(data);
}

/* ---- each device by itself ---- */

/* Both processes keep both devices busy, which do one request each 0.5 ms, for
 * a second: how many each process got done on each of them. */
static void compete(const struct sched_params params[2], unsigned int got[2][2])
{
	struct bench *bench = build(2, false, 1, NULL);
	struct request *requests = requests_new(32);
	unsigned char *data = calloc(1, 4096);
	struct vdev_process *processes[2];

	spread(bench);
	for (uint32_t p = 0; p < 2; p++)
		processes[p] = add(bench, p + 1, &params[p], 0);
	bench->fakes[0].hold = bench->fakes[1].hold = true;
	for (uint32_t i = 0; i < 32; i++)
		submit(bench, &requests[i], processes[i / 16], BLOCK_READ,
		       i % 2 * MIB, 4096, data);
	for (uint32_t step = 0; step < 2000; step++) {
		bench->now_ns += MS / 2;
		for (uint32_t d = 0; d < 2; d++)
			if (bench->fakes[d].count)
				let_first(&bench->fakes[d]);
		poll(bench, bench->now_ns);
		for (uint32_t i = 0; i < 32; i++)
			if (requests[i].is_done)
				submit(bench, &requests[i], processes[i / 16],
				       BLOCK_READ, i % 2 * MIB, 4096, data);
	}
	memset(got, 0, 4 * sizeof(got[0][0]));
	for (uint32_t i = 0; i < 32; i++)
		got[i / 16][i % 2] += requests[i].count;
	for (uint32_t d = 0; d < 2; d++)
		let_all(&bench->fakes[d]);
	for (uint32_t i = 0; i < 32; i++)
		while (!requests[i].is_done)
			poll(bench, bench->now_ns += MS);
	finish(bench);
	free(requests);
	free(data);
}

/* E8, E9: what is promised is promised on each device. */
static void test_vdev_pool_reservation_on_each_device(void **state)
{
	const struct sched_params params[2] = {
		{.reservation_per_s[SCHED_TOTAL_IOPS] = 800, .weight = 1},
		{.weight = 100000},
	};
	unsigned int got[2][2];

	(void)state;
	compete(params, got);
	for (uint32_t d = 0; d < 2; d++) {
		assert_in_range(got[0][d], 795, 850);
		assert_in_range(got[0][d] + got[1][d], 1950, 2002);
	}
}

static void test_vdev_pool_weight_on_each_device(void **state)
{
	const struct sched_params params[2] = {{.weight = 100},
					       {.weight = 300}};
	unsigned int got[2][2];

	(void)state;
	compete(params, got);
	for (uint32_t d = 0; d < 2; d++)
		assert_in_range(got[0][d], 480, 520);
}

/* ---- flushes, devices that fail ---- */

static void test_vdev_pool_flush_reaches_each_device(void **state)
{
	struct bench *bench = build(3, false, 256, NULL);
	struct request *request = requests_new(1);

	(void)state;
	spread(bench);
	for (uint32_t d = 0; d < 3; d++)
		bench->fakes[d].hold = true;
	submit(bench, request, NULL, BLOCK_FLUSH, 0, 0, NULL);
	for (uint32_t d = 0; d < 3; d++) {
		assert_false(request->is_done);
		assert_int_equal(bench->fakes[d].ops[BLOCK_FLUSH], 1);
		let_all(&bench->fakes[d]);
	}
	assert_true(request->is_done);
	assert_int_equal(bench->stats->processes[0].other.requests, 1);
	finish(bench);
	free(request);
}

/* A device's errors are its own. */
static void test_vdev_pool_blames_the_device(void **state)
{
	struct bench *bench = build(2, false, 256, NULL);
	struct request *request = requests_new(1);
	unsigned char *data = calloc(1, 2 * MIB);

	(void)state;
	spread(bench);
	bench->fakes[1].read_result = -EIO;
	submit(bench, request, NULL, BLOCK_READ, 0, 4096, data);
	assert_int_equal(request->result, 0);
	submit(bench, request, NULL, BLOCK_READ, MIB, 4096, data);
	assert_int_equal(request->result, -EIO);
	submit(bench, request, NULL, BLOCK_READ, MIB / 2, MIB, data);
	assert_int_equal(request->result, -EIO);
	assert_int_equal(bench->stats->devices[0].errors, 0);
	assert_int_equal(bench->stats->devices[1].errors, 2);
	assert_int_equal(bench->stats->processes[0].direction[0].errors, 2);
	finish(bench);
	free(request);
	free(data);
}

/* What may be on a device that is missing is EIO, and nothing else is. */
static void test_vdev_pool_missing_device(void **state)
{
	struct bench *bench = build(2, false, 256, NULL);
	struct request *request = requests_new(1);
	unsigned char *data = calloc(1, 2 * MIB);

	(void)state;
	next_member = 0;
	submit(bench, request, NULL, BLOCK_WRITE, 0, 4096, data);
	assert_int_equal(request->result, 0);
	bench->volume->missing = 1;	/* as pool_start finds it */
	submit(bench, request, NULL, BLOCK_READ, 0, 4096, data);
	assert_int_equal(request->result, 0);
	submit(bench, request, NULL, BLOCK_READ, MIB, 4096, data);
	assert_int_equal(request->result, -EIO);
	submit(bench, request, NULL, BLOCK_WRITE, MIB, 4096, data);
	assert_int_equal(request->result, -EIO);
	submit(bench, request, NULL, BLOCK_WRITE, 4096, 4096, data);
	assert_int_equal(request->result, 0);
	assert_int_equal(bench->stats->devices[0].errors, 0);
	finish(bench);
	free(request);
	free(data);
}

static uint32_t mapped_on(const struct bench *bench, uint64_t offset_bytes)
{
	struct volume_place place;
	uint64_t bytes;

	assert_int_equal(
		volume_read(bench->volume, offset_bytes, 512, &place, &bytes),
		VOLUME_MAPPED);
	return place.member->index;
}

static int write_to(struct bench *bench, struct request *request,
		    struct vdev_process *process, uint64_t extent, void *data)
{
	submit(bench, request, process, BLOCK_WRITE, extent * MIB, 4096, data);
	assert_true(request->is_done);
	return request->result;
}

static void take_all(struct bench *bench, uint32_t m)
{
	uint32_t extent;

	while (member_take(bench->pool->members[m], SPACE_NONE, &extent))
		;
}

/* E10: space for a first write is where the SLAs of its vdev are satisfied,
 * whose ever it is; of those devices local ones come first, then the one with
 * most that is free. */
static void test_vdev_pool_space_where_the_sla_holds(void **state)
{
	static const struct sched_params none;
	struct bench *bench = build(3, false, 256, NULL);
	struct request *request = requests_new(1);
	unsigned char *data = calloc(1, 4096);
	struct vdev_process *any = add(bench, 2, &none, 0);
	struct vdev_process *far, *last;

	(void)state;
	assert_int_equal(write_to(bench, request, any, 0, data), 0);
	assert_int_equal(mapped_on(bench, 0), 0);
	far = add(bench, 1, &none, 0x6);
	assert_int_equal(write_to(bench, request, far, 1, data), 0);
	assert_int_equal(mapped_on(bench, MIB), 1);
	assert_int_equal(write_to(bench, request, any, 2, data), 0);
	assert_int_equal(mapped_on(bench, 2 * MIB), 2);
	/* Nothing left where the strictest may be; when it goes, there is. */
	last = add(bench, 3, &none, 0x4);
	take_all(bench, 2);
	assert_int_equal(write_to(bench, request, far, 3, data), -ENOSPC);
	assert_int_equal(vdev_refused(bench->vdev).no_space, 1);
	assert_int_equal(vdev_refused(bench->vdev).unfit, 1);
	vdev_process_remove(last);
	assert_int_equal(write_to(bench, request, far, 3, data), 0);
	assert_int_equal(mapped_on(bench, 3 * MIB), 1);
	take_all(bench, 1);
	assert_int_equal(write_to(bench, request, far, 4, data), -ENOSPC);
	assert_int_equal(vdev_refused(bench->vdev).unfit, 2);
	/* What is there can be written to, by anybody. */
	assert_int_equal(write_to(bench, request, far, 0, data), 0);
	vdev_process_remove(far);
	assert_int_equal(write_to(bench, request, any, 4, data), 0);
	/* Local first, the rest from others: here there is none. */
	take_all(bench, 0);
	assert_int_equal(write_to(bench, request, any, 5, data), -ENOSPC);
	assert_int_equal(vdev_refused(bench->vdev).no_space, 3);
	assert_int_equal(vdev_refused(bench->vdev).unfit, 2);
	assert_int_equal(bench->stats->devices[0].errors, 0);
	finish(bench);
	free(request);
	free(data);
}

/* E3, E10: local first; what it can't hold comes from the others. */
static void test_vdev_pool_spills_over(void **state)
{
	struct bench *bench = build(3, false, 256, NULL);
	struct request *request = requests_new(1);
	unsigned char *data = calloc(1, 4096);
	uint32_t extent, count[3] = {0};

	(void)state;
	for (uint32_t i = 0; i < EXTENTS - 2; i++)
		assert_true(member_take(bench->pool->members[0], SPACE_NONE,
					&extent));
	for (uint32_t i = 0; i < 6; i++) {
		assert_int_equal(write_to(bench, request, NULL, i, data), 0);
		count[mapped_on(bench, i * MIB)]++;
	}
	for (uint32_t d = 0; d < 3; d++)
		assert_int_equal(count[d], 2);
	finish(bench);
	free(request);
	free(data);
}

/* A process goes while its requests wait: all end. */
static void remove_waiting(uint32_t owner_of)
{
	struct bench *bench = build(2, false, 1, NULL);
	static const struct sched_params none;
	struct request *requests = requests_new(32);
	unsigned char *data = calloc(1, 2 * MIB);
	struct vdev_process *process;

	spread(bench);
	process = add(bench, 1, &none, 0);
	bench->fakes[0].hold = bench->fakes[1].hold = true;
	for (uint32_t i = 0; i < 32; i++)
		submit(bench, &requests[i], process, BLOCK_READ,
		       i % 3 * MIB / 2, MIB, data);
	if (owner_of)
		vdev_process_remove(process);
	while (bench->done < 32) {
		for (uint32_t d = 0; d < 2; d++)
			if (bench->fakes[d].count)
				let_first(&bench->fakes[d]);
		poll(bench, bench->now_ns += MS);
	}
	for (uint32_t d = 0; d < 2; d++) {
		assert_int_equal(bench->pool->members[d]->active[0], 0);
		assert_int_equal(bench->pool->members[d]->active[1], 0);
	}
	poll(bench, bench->now_ns);
	finish(bench);
	free(requests);
	free(data);
}

static void test_vdev_pool_pieces_outlive_their_process(void **state)
{
	(void)state;
	remove_waiting(0);
	remove_waiting(1);
}

static void taken(struct vdev_request *vdev)
{
	request_done(vdev);
}

/* What an owner takes back is nowhere any more. */
static void test_vdev_pool_takes_back(void **state)
{
	struct bench *bench = build(2, false, 1, NULL);
	struct request *requests = requests_new(8);
	unsigned char *data = calloc(1, MIB);

	(void)state;
	spread(bench);
	bench->fakes[0].hold = bench->fakes[1].hold = true;
	for (uint32_t i = 0; i < 8; i++) {
		requests[i].vdev.owner = bench;
		submit(bench, &requests[i], NULL, BLOCK_READ, i % 2 * MIB, 4096,
		       data);
	}
	vdev_take_back(bench->vdev, bench, taken, bench->now_ns);
	assert_int_equal(bench->done, 6);
	assert_int_equal(requests[7].vdev.block.offset_bytes, MIB);
	for (uint32_t d = 0; d < 2; d++)
		let_all(&bench->fakes[d]);
	assert_int_equal(bench->done, 8);
	for (uint32_t d = 0; d < 2; d++)
		assert_int_equal(bench->pool->members[d]->active[0] +
					 bench->pool->members[d]->active[1],
				 0);
	finish(bench);
	free(requests);
	free(data);
}

int main(void)
{
#define TEST(name) cmocka_unit_test(name)
	const struct CMUnitTest tests[] = {
		TEST(test_vdev_pool_waits_take_no_turns),
		TEST(test_vdev_pool_limit_is_one_budget),
		TEST(test_vdev_pool_parent_limit_is_one_budget),
		TEST(test_vdev_pool_pieces_are_charged_once),
		TEST(test_vdev_pool_reservation_on_each_device),
		TEST(test_vdev_pool_weight_on_each_device),
		TEST(test_vdev_pool_flush_reaches_each_device),
		TEST(test_vdev_pool_blames_the_device),
		TEST(test_vdev_pool_missing_device),
		TEST(test_vdev_pool_space_where_the_sla_holds),
		TEST(test_vdev_pool_spills_over),
		TEST(test_vdev_pool_pieces_outlive_their_process),
		TEST(test_vdev_pool_takes_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
