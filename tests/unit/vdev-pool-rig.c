/* SPDX-License-Identifier: Apache-2.0 */
/* vdev-pool-rig.c - see vdev-pool-rig.h */
#include "vdev-pool-rig.h"

#include <errno.h>

static struct pooled *current;
int pooled_next;

/* ---- devices ---- */

static void perform(struct pooled_device *fake, struct block_request *request)
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
	struct pooled_device *fake = (struct pooled_device *)block;

	fake->ops[request->op]++;
	if (fake->fails_log && request->op == BLOCK_WRITE &&
	    request->offset_bytes <
		    POOLED_DEVICE_BYTES - POOLED_EXTENTS * MIB) {
		request->result = -EIO;
		request->done(request);
		return;
	}
	if (!fake->hold) {
		perform(fake, request);
		return;
	}
	assert_in_range(fake->count, 0, POOLED_HELD_MAX - 1);
	fake->held[fake->count++] = request;
}

/* The first that came ends. */
void pooled_let_first(struct pooled_device *fake)
{
	struct block_request *request = fake->held[0];

	memmove(fake->held, fake->held + 1, --fake->count * sizeof(request));
	perform(fake, request);
}

void pooled_let_all(struct pooled_device *fake)
{
	fake->hold = false;
	while (fake->count > 0)
		pooled_let_first(fake);
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
	if (pooled_next < 0)
		return vdev_choose(pool, volume, writer, candidates);
	assert_true(candidates >> pooled_next & 1);
	return pooled_next;
}

static void open_device(struct pooled *bench, uint32_t i, bool may_claim)
{
	static const char *const names[POOLED_DEVICES] = {"a", "b", "c"};
	struct pooled_device *fake = &bench->fakes[i];
	const struct member_config member = {
		.device = &fake->block,
		.user = fake->device,
		.name = names[i],
		.uuid = {.bytes = {(uint8_t)(i + 1)}},
		.may_claim = may_claim,
		.is_zeroed = true,
		.capacity_bytes = POOLED_EXTENTS * MIB,
		.metadata_bytes = POOLED_DEVICE_BYTES - POOLED_EXTENTS * MIB,
	};

	fake->add.done = opened;
	assert_int_equal(pool_add(bench->pool, &member, i == 0, &fake->add), 0);
}

static void add_device(struct pooled *bench, uint32_t i, bool is_immediate,
		       uint32_t window)
{
	const struct sched_config sched = {
		.cost.request_ns = {500000, 500000},
		.window_min = window,
		.window_max = window,
		.immediate = is_immediate,
	};
	struct pooled_device *fake = &bench->fakes[i];

	fake->data = calloc(1, POOLED_DEVICE_BYTES);
	fake->block = (struct block_device){
		.ops = &fake_ops,
		.size_bytes = POOLED_DEVICE_BYTES,
		.block_size = 512,
	};
	assert_int_equal(vdev_device_create(&fake->block, &sched,
					    &bench->stats->devices[i],
					    bench->loop, &fake->device, NULL),
			 0);
	open_device(bench, i, true);
}

static void create_vdev(struct pooled *bench, const struct sched_limits *limits)
{
	const struct vdev_config vdev = {
		.name = "vd0",
		.device = bench->fakes[0].device,
		.gate = bench->gate,
		.volume = bench->volume,
		.size_bytes = POOLED_VDEV_BYTES,
		.limits =
			limits ? *limits : (struct sched_limits){.burst_ns = 0},
		.default_stats = &bench->stats->processes[0],
	};

	assert_int_equal(vdev_create(&vdev, &bench->vdev, NULL), 0);
	bench->now_ns = loop_clock_ns();
}

static const struct pool_ops pool_ops = {.choose = choose};

struct pooled *pooled_create(uint32_t devices, bool is_immediate,
			     uint32_t window, const struct sched_limits *limits)
{
	static const struct loop_config loop = {.entries = 8};
	static struct volume_change change = {.done = changed};
	const struct volume_config volume = {
		.name = "volume",
		.uuid = {{99}},
		.size_bytes = POOLED_VDEV_BYTES,
	};
	struct pooled *bench = calloc(1, sizeof(*bench));

	current = bench;
	pooled_next = -1;
	bench->count = devices;
	bench->stats = calloc(1, sizeof(*bench->stats));
	assert_int_equal(loop_create(&loop, &bench->loop, NULL), 0);
	assert_int_equal(vdev_gate_create(bench->loop, &bench->gate, NULL), 0);
	assert_int_equal(pool_create(&pool_ops, NULL, &bench->pool), 0);
	for (uint32_t i = 0; i < devices; i++)
		add_device(bench, i, is_immediate, window);
	assert_int_equal(bench->opened, devices);
	assert_int_equal(pool_start(bench->pool, NULL), 0);
	assert_int_equal(
		volume_create(bench->pool, &volume, &change, &bench->volume),
		0);
	create_vdev(bench, limits);
	return bench;
}

void pooled_destroy(struct pooled *bench)
{
	for (uint32_t i = 0; i < bench->count; i++)
		pooled_let_all(&bench->fakes[i]);
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

void pooled_again(struct pooled *bench, uint32_t devices, uint32_t failing)
{
	assert_int_equal(vdev_destroy(bench->vdev), 0);
	pool_stop(bench->pool);
	pool_destroy(bench->pool);
	assert_int_equal(pool_create(&pool_ops, NULL, &bench->pool), 0);
	bench->opened = 0;
	for (uint32_t i = 0; i < devices; i++)
		open_device(bench, i, false);
	assert_int_equal(bench->opened, devices);
	for (uint32_t i = 0; i < devices; i++)
		bench->fakes[i].fails_log = failing >> i & 1;
	assert_int_equal(pool_start(bench->pool, NULL), 0);
	bench->volume = bench->pool->volumes;
	create_vdev(bench, NULL);
}

void pooled_late(struct pooled *bench, uint32_t device)
{
	const unsigned int had = bench->opened;

	open_device(bench, device, false);
	pooled_poll(bench, bench->now_ns += MS);
	assert_int_equal(bench->opened, had + 1);
}

/* A round of the loop, at a time of ours. */
void pooled_poll(struct pooled *bench, uint64_t now_ns)
{
	if (bench->gate->poller.link)
		bench->gate->poller.poll(&bench->gate->poller, now_ns);
	for (uint32_t i = 0; i < bench->count; i++) {
		struct loop_poller *poller = &bench->fakes[i].device->poller;

		poller->poll(poller, now_ns);
	}
}

void pooled_submit(struct pooled *bench, struct pooled_request *request,
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
	struct pooled_request *request = (struct pooled_request *)vdev;

	request->is_done = true;
	request->result = vdev->block.result;
	request->count++;
	request->bench->done++;
}

struct pooled_request *pooled_requests(uint32_t count)
{
	struct pooled_request *requests = calloc(count, sizeof(*requests));

	for (uint32_t i = 0; i < count; i++)
		requests[i].vdev.done = request_done;
	return requests;
}

/* Extent i of the vdev lies on device i modulo how many there are. */
void pooled_spread(struct pooled *bench)
{
	struct pooled_request *request = pooled_requests(1);
	unsigned char *data = calloc(1, MIB);

	for (uint32_t i = 0; i < POOLED_VDEV_BYTES / MIB; i++) {
		memset(data, (int)i + 1, MIB);
		pooled_next = (int)(i % bench->count);
		pooled_submit(bench, request, NULL, BLOCK_WRITE, i * MIB, MIB,
			      data);
		while (!request->is_done)
			pooled_poll(bench, bench->now_ns += MS);
		assert_int_equal(request->result, 0);
	}
	pooled_next = -1;
	for (uint32_t i = 0; i < bench->count; i++)
		memset(bench->fakes[i].ops, 0, sizeof(bench->fakes[i].ops));
	memset(bench->stats, 0, sizeof(*bench->stats));
	bench->done = 0;
	free(request);
	free(data);
}

struct vdev_process *pooled_process(struct pooled *bench, uint32_t pasid,
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

int pooled_do(struct pooled *bench, enum block_op op, uint64_t offset_bytes,
	      uint64_t length_bytes, void *data)
{
	struct pooled_request *request = pooled_requests(1);
	int result;

	pooled_submit(bench, request, NULL, op, offset_bytes, length_bytes,
		      data);
	for (uint32_t round = 0; round < 1000 && !request->is_done; round++)
		pooled_poll(bench, bench->now_ns += MS);
	assert_true(request->is_done);
	result = request->result;
	free(request);
	return result;
}
