/* SPDX-License-Identifier: Apache-2.0 */
/* test-vdev-again.c - what becomes of requests that a device fails, and of
 * those that find no space: reported, stopped, tried again (E3) */
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
#define EXTENTS		4U
#define DEVICE_BYTES	(12 * MIB)
#define VDEV_BYTES	(8 * MIB)
#define HELD_MAX	16U
#define SEEN_MAX	64U
#define BLOCK		4096U

/* Fails data that are written or read for as long as it is told to, and writes
 * down what it did, in its order. */
struct fake {
	struct block_device block;
	struct block_request *held[HELD_MAX];
	uint32_t count;
	bool hold;
	int result, flush_result;
	uint64_t seen[SEEN_MAX];	/* of the device, of what succeeded */
	uint32_t seen_count, submitted;
};

struct bench {
	struct vdev_rig rig;
	struct fake fake;
	unsigned int done;
};

struct request {
	struct vdev_request vdev;
	struct bench *bench;
	struct iovec iov;
	unsigned int times;
	int result;
	bool is_taken;
};

static unsigned char memory[BLOCK];

/* ---- the device ---- */

static bool is_data(const struct block_request *request)
{
	return request->op <= BLOCK_WRITE &&
		request->offset_bytes >= DEVICE_BYTES - EXTENTS * MIB;
}

static void perform(struct fake *fake, struct block_request *request)
{
	request->result = request->op == BLOCK_FLUSH ? fake->flush_result : 0;
	if (is_data(request)) {
		fake->submitted++;
		request->result = fake->result;
		if (fake->result == 0 && fake->seen_count < SEEN_MAX)
			fake->seen[fake->seen_count++] = request->offset_bytes;
	} else if (request->op == BLOCK_READ) {
		for (uint32_t i = 0; i < request->iov_count; i++)
			memset(request->iov[i].iov_base, 0,
			       request->iov[i].iov_len);
	}
	request->done(request);
}

static void fake_submit(struct block_device *block,
			struct block_request *request)
{
	struct fake *fake = (struct fake *)block;

	if (!fake->hold || !is_data(request)) {
		perform(fake, request);
		return;
	}
	assert_in_range(fake->count, 0, HELD_MAX - 1);
	fake->held[fake->count++] = request;
}

/* The first that is held ends. */
static void let_first(struct fake *fake)
{
	struct block_request *request = fake->held[0];

	memmove(fake->held, fake->held + 1,
		--fake->count * sizeof(fake->held[0]));
	perform(fake, request);
}

static const struct block_device_ops fake_ops = {
	.kind = "fake",
	.submit = fake_submit,
};

/* ---- the vdev ---- */

static int setup(void **state)
{
	struct bench *bench = calloc(1, sizeof(*bench));
	const struct vdev_rig_config config = {
		.block = &bench->fake.block,
		.sched = {.window_min = 256, .window_max = 256},
		.thin_bytes = EXTENTS * MIB,
		.volume_bytes = VDEV_BYTES,
		.vdev_bytes = VDEV_BYTES,
		.on_error = ON_ERROR_STOP,
	};

	bench->fake.block = (struct block_device){
		.ops = &fake_ops,
		.size_bytes = DEVICE_BYTES,
		.block_size = 512,
	};
	vdev_rig_create(&bench->rig, &config);
	*state = bench;
	return 0;
}

static int teardown(void **state)
{
	struct bench *bench = *state;

	assert_false(vdev_halts(bench->rig.vdev));
	vdev_rig_destroy(&bench->rig);
	free(bench);
	return 0;
}

/* ---- requests ---- */

static void request_done(struct vdev_request *vdev)
{
	struct request *request = (struct request *)vdev;

	request->times++;
	request->result = vdev->block.result;
	request->bench->done++;
}

static void taken(struct vdev_request *vdev)
{
	((struct request *)vdev)->is_taken = true;
}

static void prepare(struct bench *bench, struct request *request,
		    enum block_op op, uint64_t offset_bytes)
{
	memset(request, 0, sizeof(*request));
	request->bench = bench;
	request->iov = (struct iovec){.iov_base = memory, .iov_len = BLOCK};
	request->vdev.block.op = (uint8_t)op;
	request->vdev.block.iov = &request->iov;
	request->vdev.block.iov_count = op <= BLOCK_WRITE;
	request->vdev.block.offset_bytes = offset_bytes;
	request->vdev.block.length_bytes = op == BLOCK_FLUSH ? 0 : BLOCK;
	request->vdev.process = vdev_find_process(bench->rig.vdev, 0);
	request->vdev.done = request_done;
	request->vdev.owner = request;
}

static void submit(struct bench *bench, struct request *request,
		   enum block_op op, uint64_t offset_bytes)
{
	prepare(bench, request, op, offset_bytes);
	vdev_submit(bench->rig.vdev, &request->vdev, loop_clock_ns());
}

static void assert_done(const struct request *request, int result)
{
	assert_int_equal(request->times, 1);
	assert_int_equal(request->result, result);
}

/* The first extent of the vdev is mapped. */
static void map_first(struct bench *bench)
{
	struct request request;

	submit(bench, &request, BLOCK_WRITE, 0);
	assert_done(&request, 0);
	bench->fake.seen_count = 0;
	bench->fake.submitted = 0;
}

static struct vdev_halt halt_of(const struct bench *bench)
{
	struct vdev_halt halt;

	vdev_halt(bench->rig.vdev, &halt);
	return halt;
}

static void run_until_done(struct bench *bench, unsigned int count)
{
	while (bench->done < count)
		loop_run_once(bench->rig.loop, UINT64_MAX);
}

/* ---- stop ---- */

/* What failed and what came after it waits; resumed, each is done once, in the
 * order in which they came. */
static void test_vdev_again_stop_keeps_all_in_order(void **state)
{
	struct bench *bench = *state;
	struct request requests[5];

	map_first(bench);
	bench->fake.result = -EIO;
	for (unsigned int i = 0; i < 5; i++)
		submit(bench, &requests[i], i % 2 ? BLOCK_READ : BLOCK_WRITE,
		       i * BLOCK);
	assert_int_equal(bench->fake.submitted, 1);
	assert_int_equal(bench->done, 1);
	assert_true(halt_of(bench).is_stopped);
	assert_int_equal(halt_of(bench).error, EIO);
	assert_int_equal(bench->rig.stats->processes[0].device_errors, 1);

	/* It still fails: stopped again, nothing lost. */
	vdev_resume(bench->rig.vdev);
	assert_int_equal(bench->fake.submitted, 2);
	assert_true(halt_of(bench).is_stopped);

	bench->fake.result = 0;
	vdev_resume(bench->rig.vdev);
	assert_false(halt_of(bench).is_stopped);
	for (unsigned int i = 0; i < 5; i++) {
		assert_done(&requests[i], 0);
		if (i > 0)
			assert_int_equal(bench->fake.seen[i] -
						 bench->fake.seen[i - 1],
					 BLOCK);
	}
	assert_int_equal(bench->fake.seen_count, 5);
	assert_int_equal(bench->rig.stats->processes[0].retries, 2);
	assert_int_equal(bench->rig.stats->devices[0].retries, 2);
	assert_int_equal(bench->rig.stats->processes[0].direction[1].errors, 0);
}

/* Those that were at the device together fail together, in any order. */
static void test_vdev_again_stop_orders_those_in_flight(void **state)
{
	struct bench *bench = *state;
	struct request requests[3];

	map_first(bench);
	bench->fake.hold = true;
	for (unsigned int i = 0; i < 3; i++)
		submit(bench, &requests[i], BLOCK_WRITE, i * BLOCK);
	bench->fake.result = -EIO;
	/* The last first. */
	while (bench->fake.count > 0) {
		struct block_request *last =
			bench->fake.held[--bench->fake.count];

		perform(&bench->fake, last);
	}
	bench->fake.result = 0;
	vdev_resume(bench->rig.vdev);
	while (bench->fake.count > 0)
		let_first(&bench->fake);
	bench->fake.hold = false;
	for (unsigned int i = 0; i < 3; i++)
		assert_done(&requests[i], 0);
	assert_int_equal(bench->fake.seen[1] - bench->fake.seen[0], BLOCK);
	assert_int_equal(bench->fake.seen[2] - bench->fake.seen[1], BLOCK);
}

/* What is behind a limit waits as well, and its limits hold afterwards. */
static void test_vdev_again_stop_holds_what_its_limit_lets(void **state)
{
	struct bench *bench = *state;
	const struct vdev_process_config config = {
		.pasid = 1,
		.sched.limit_per_s[SCHED_TOTAL_IOPS] = 1000,
		.stats = &bench->rig.stats->processes[1],
	};
	struct vdev_process *process;
	struct request requests[8];
	unsigned int before;

	map_first(bench);
	assert_int_equal(
		vdev_process_add(bench->rig.vdev, &config, &process, NULL), 0);
	bench->fake.hold = true;
	for (unsigned int i = 0; i < 8; i++)
		submit(bench, &requests[i], BLOCK_WRITE, i * BLOCK);
	assert_true(bench->rig.stats->processes[1].throttled > 0);
	bench->fake.result = -EIO;
	while (bench->fake.count > 0)
		let_first(&bench->fake);
	bench->fake.hold = false;
	before = bench->fake.submitted;
	do {
		loop_run_once(bench->rig.loop, UINT64_MAX);
		vdev_report(bench->rig.vdev);
	} while (bench->rig.stats->processes[1].queued > 0);
	assert_int_equal(bench->fake.submitted, before);
	assert_int_equal(bench->done, 1);
	bench->fake.result = 0;
	vdev_resume(bench->rig.vdev);
	run_until_done(bench, 9);
	for (unsigned int i = 0; i < 8; i++)
		assert_done(&requests[i], 0);
	vdev_process_remove(process);
}

/* What may not wait passes a vdev that is stopped; it opens no way for what
 * comes at the same time. */
static void test_vdev_again_stop_holds_behind_others(void **state)
{
	struct bench *bench = *state;
	const struct vdev_process_config config = {
		.pasid = 1,
		.sched.limit_per_s[SCHED_TOTAL_IOPS] = 1000000,
		.sched.burst_ns = 1000000,
		.stats = &bench->rig.stats->processes[1],
	};
	struct vdev_process *process;
	struct request requests[4];
	uint64_t now_ns;

	map_first(bench);
	assert_int_equal(
		vdev_process_add(bench->rig.vdev, &config, &process, NULL), 0);
	bench->fake.result = -EIO;
	submit(bench, &requests[0], BLOCK_WRITE, 0);
	assert_true(halt_of(bench).is_stopped);
	now_ns = loop_clock_ns();
	for (unsigned int i = 1; i < 4; i++) {
		prepare(bench, &requests[i], BLOCK_WRITE, i * BLOCK);
		requests[i].vdev.may_wait = i < 3 ? vdev_never_waits : NULL;
		vdev_submit(bench->rig.vdev, &requests[i].vdev, now_ns);
	}
	assert_done(&requests[1], -EIO);
	assert_done(&requests[2], -EIO);
	assert_int_equal(bench->fake.submitted, 3);
	bench->fake.result = 0;
	vdev_resume(bench->rig.vdev);
	run_until_done(bench, 5);
	assert_done(&requests[0], 0);
	assert_done(&requests[3], 0);
	vdev_process_remove(process);
}

/* A process that goes leaves what waits to the others. */
static void test_vdev_again_process_goes(void **state)
{
	struct bench *bench = *state;
	const struct vdev_process_config config = {
		.pasid = 1,
		.stats = &bench->rig.stats->processes[1],
	};
	struct vdev_process *process;
	struct request requests[2];

	map_first(bench);
	assert_int_equal(
		vdev_process_add(bench->rig.vdev, &config, &process, NULL), 0);
	bench->fake.result = -EIO;
	for (unsigned int i = 0; i < 2; i++)
		submit(bench, &requests[i], BLOCK_WRITE, i * BLOCK);
	vdev_process_remove(process);
	assert_int_equal(vdev_destroy(bench->rig.vdev), -EBUSY);
	bench->fake.result = 0;
	vdev_resume(bench->rig.vdev);
	assert_done(&requests[0], 0);
	assert_done(&requests[1], 0);
	loop_run_once(bench->rig.loop, 0);
}

/* An owner that ends takes back; one that is waited for gets the error, and
 * what did not fail is done. */
static void test_vdev_again_owners_leave(void **state)
{
	struct bench *bench = *state;
	struct request requests[4];
	const uint64_t now_ns = loop_clock_ns();

	map_first(bench);
	bench->fake.result = -EIO;
	for (unsigned int i = 0; i < 4; i++)
		submit(bench, &requests[i], BLOCK_WRITE, i * BLOCK);
	vdev_take_back(bench->rig.vdev, &requests[1], taken, now_ns);
	assert_true(requests[1].is_taken);
	vdev_take_halted(bench->rig.vdev, &requests[2], taken, now_ns);
	assert_true(requests[2].is_taken);
	requests[3].vdev.may_wait = vdev_never_waits;
	bench->fake.result = 0;
	vdev_let_go(bench->rig.vdev, &requests[0], now_ns);
	assert_done(&requests[0], -EIO);
	vdev_let_go(bench->rig.vdev, &requests[3], loop_clock_ns());
	run_until_done(bench, 3);
	assert_done(&requests[3], 0);
	assert_true(halt_of(bench).is_stopped);
	vdev_resume(bench->rig.vdev);
	assert_int_equal(bench->done, 3);
}

/* Another policy takes effect at once. */
static void test_vdev_again_policy_changes(void **state)
{
	struct bench *bench = *state;
	struct request requests[2];

	map_first(bench);
	bench->fake.result = -EIO;
	for (unsigned int i = 0; i < 2; i++)
		submit(bench, &requests[i], BLOCK_WRITE, i * BLOCK);
	vdev_set_on_error(bench->rig.vdev, ON_ERROR_REPORT);
	assert_false(halt_of(bench).is_stopped);
	assert_done(&requests[0], -EIO);
	assert_done(&requests[1], -EIO);
	assert_int_equal(bench->rig.stats->processes[0].direction[1].errors, 2);
}

/* A flush that failed is never tried again: see again.c. */
static void test_vdev_again_flush_is_reported(void **state)
{
	struct bench *bench = *state;
	struct request request;

	map_first(bench);
	bench->fake.flush_result = -EIO;
	submit(bench, &request, BLOCK_FLUSH, 0);
	assert_done(&request, -EIO);
	assert_false(halt_of(bench).is_stopped);
	bench->fake.flush_result = 0;
}

/* ---- no space ---- */

/* E3: only what needs space waits for it; discards, which give some, and all
 * else go on, and then it does by itself. */
static void test_vdev_again_waits_for_space(void **state)
{
	struct bench *bench = *state;
	struct request request, hungry;

	for (unsigned int i = 0; i < EXTENTS; i++) {
		submit(bench, &request, BLOCK_WRITE, i * MIB);
		assert_done(&request, 0);
	}
	submit(bench, &hungry, BLOCK_WRITE, EXTENTS * MIB);
	assert_int_equal(hungry.times, 0);
	assert_true(halt_of(bench).waits_for_space);
	assert_false(halt_of(bench).is_stopped);
	assert_int_equal(bench->rig.stats->processes[0].no_space, 1);
	submit(bench, &request, BLOCK_WRITE, 0);
	assert_done(&request, 0);
	/* A try in vain is not another write that found none. */
	loop_run_once(bench->rig.loop, loop_clock_ns() + UINT64_C(20000000));
	loop_run_once(bench->rig.loop, 0);
	assert_int_equal(hungry.times, 0);
	assert_int_equal(bench->rig.stats->processes[0].no_space, 1);

	request.vdev.block.length_bytes = MIB;
	request.vdev.block.op = BLOCK_DISCARD;
	request.vdev.block.offset_bytes = MIB;
	request.vdev.block.iov_count = 0;
	request.times = 0;
	vdev_submit(bench->rig.vdev, &request.vdev, loop_clock_ns());
	assert_done(&request, 0);
	while (hungry.times == 0)
		loop_run_once(bench->rig.loop, UINT64_MAX);
	assert_done(&hungry, 0);
	assert_false(halt_of(bench).waits_for_space);
}

static void test_vdev_again_no_space_is_reported(void **state)
{
	struct bench *bench = *state;
	struct request request;

	vdev_set_on_error(bench->rig.vdev, ON_ERROR_REPORT);
	for (unsigned int i = 0; i < EXTENTS; i++)
		submit(bench, &request, BLOCK_WRITE, i * MIB);
	submit(bench, &request, BLOCK_WRITE, EXTENTS * MIB);
	assert_done(&request, -ENOSPC);
	assert_int_equal(bench->rig.stats->processes[0].device_errors, 0);
}

/* ---- retry ---- */

static void test_vdev_again_retry_hides_what_passes(void **state)
{
	struct bench *bench = *state;
	struct request first, other;

	map_first(bench);
	vdev_set_on_error(bench->rig.vdev, ON_ERROR_RETRY);
	bench->fake.result = -EIO;
	submit(bench, &first, BLOCK_WRITE, 0);
	assert_int_equal(first.times, 0);
	bench->fake.result = 0;
	submit(bench, &other, BLOCK_WRITE, BLOCK);
	assert_done(&other, 0);		/* the others go on */
	run_until_done(bench, 3);
	assert_done(&first, 0);
	assert_int_equal(bench->rig.stats->processes[0].device_errors, 1);
	assert_int_equal(bench->rig.stats->processes[0].retries, 1);
	assert_int_equal(bench->rig.stats->processes[0].direction[1].errors, 0);
}

/* After ON_ERROR_RETRY_NS it is an error, and not before. */
static void test_vdev_again_retry_ends(void **state)
{
	struct bench *bench = *state;
	struct request request;

	map_first(bench);
	vdev_set_on_error(bench->rig.vdev, ON_ERROR_RETRY);
	bench->fake.result = -EIO;
	submit(bench, &request, BLOCK_READ, 0);
	while (bench->fake.submitted < 3)
		loop_run_once(bench->rig.loop, UINT64_MAX);
	assert_int_equal(request.times, 0);
	request.vdev.failed_ns -= ON_ERROR_RETRY_NS;
	run_until_done(bench, 2);
	assert_done(&request, -EIO);
	assert_int_equal(bench->fake.submitted, 4);
	assert_int_equal(bench->rig.stats->processes[0].direction[0].errors, 1);
}

/* ---- a device that stands still ---- */

static void test_vdev_again_oldest_is_noticed(void **state)
{
	struct bench *bench = *state;
	struct request stuck, other;

	map_first(bench);
	bench->fake.hold = true;
	submit(bench, &stuck, BLOCK_WRITE, 0);
	bench->fake.hold = false;
	assert_int_equal(vdev_device_oldest_ns(bench->rig.device, 1000), 0);
	for (unsigned int i = 1; i < 4; i++) {
		submit(bench, &other, BLOCK_WRITE, BLOCK);
		assert_done(&other, 0);
		assert_int_equal(vdev_device_oldest_ns(bench->rig.device,
						       1000 + i * 100),
				 i * 100);
	}
	let_first(&bench->fake);
	assert_int_equal(vdev_device_oldest_ns(bench->rig.device, 2000), 0);
	assert_int_equal(vdev_device_oldest_ns(bench->rig.device, 3000), 0);
	assert_done(&stuck, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_vdev_again_stop_keeps_all_in_order),
		TEST(test_vdev_again_stop_orders_those_in_flight),
		TEST(test_vdev_again_stop_holds_what_its_limit_lets),
		TEST(test_vdev_again_stop_holds_behind_others),
		TEST(test_vdev_again_process_goes),
		TEST(test_vdev_again_owners_leave),
		TEST(test_vdev_again_policy_changes),
		TEST(test_vdev_again_flush_is_reported),
		TEST(test_vdev_again_waits_for_space),
		TEST(test_vdev_again_no_space_is_reported),
		TEST(test_vdev_again_retry_hides_what_passes),
		TEST(test_vdev_again_retry_ends),
		TEST(test_vdev_again_oldest_is_noticed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
