/* SPDX-License-Identifier: Apache-2.0 */
/* test-vdev-pool.c - a vdev over several devices of a pool (E2, E8, E10): one
 * budget for limits, promises and weights on each; time is invented */
#include "vdev-pool-rig.h"

#include <errno.h>

/* ---- what waits for the pool ---- */

/* A request that waits for its extent's mapping takes nobody's place. */
static void test_vdev_pool_waits_take_no_turns(void **state)
{
	struct pooled *bench = pooled_create(1, false, 2, NULL);
	struct pooled_device *fake = &bench->fakes[0];
	struct pooled_request *requests = pooled_requests(9);
	unsigned char *data = calloc(9, 4096);

	(void)state;
	pooled_next = 0;
	pooled_submit(bench, &requests[8], NULL, BLOCK_WRITE, 5 * MIB, 4096,
		      data);
	assert_true(requests[8].is_done);
	fake->hold = true;
	fake->ops[BLOCK_READ] = 0;
	for (uint32_t i = 0; i < 8; i++)
		pooled_submit(bench, &requests[i], NULL, BLOCK_WRITE, i * 4096,
			      4096, data + i * 4096);
	assert_int_equal(vdev_device_in_flight(fake->device), 1);
	pooled_submit(bench, &requests[8], NULL, BLOCK_READ, 5 * MIB, 4096,
		      data + 8 * 4096);
	assert_int_equal(vdev_device_in_flight(fake->device), 2);
	assert_int_equal(fake->ops[BLOCK_READ], 1);
	while (bench->done < 10) {
		if (fake->count)
			pooled_let_first(fake);
		pooled_poll(bench, bench->now_ns += MS);
	}
	pooled_destroy(bench);
	free(requests);
	free(data);
}

/* ---- one budget ---- */

#define STEPS	200U

/* How many have passed after each ms. */
static void passed(uint32_t devices, const struct sched_params *params,
		   const struct sched_limits *limits, unsigned int *ret_passed)
{
	struct pooled *bench = pooled_create(devices, false, 256, limits);
	struct vdev_process *process;
	struct pooled_request *requests = pooled_requests(POOLED_HELD_MAX);
	unsigned char *data = calloc(1, 4096);

	pooled_spread(bench);
	process = pooled_process(bench, 1, params, 0);
	/* All bursts are full, whatever time was real until here. */
	pooled_poll(bench, bench->now_ns += 1000 * MS);
	for (uint32_t i = 0; i < POOLED_HELD_MAX; i++)
		pooled_submit(bench, &requests[i], process, BLOCK_READ,
			      i % 6 * MIB, 4096, data);
	for (uint32_t step = 0; step < STEPS; step++) {
		pooled_poll(bench, bench->now_ns += MS);
		ret_passed[step] = bench->done;
	}
	vdev_process_remove(process);
	while (bench->done < POOLED_HELD_MAX)
		pooled_poll(bench, bench->now_ns += MS);
	pooled_poll(bench, bench->now_ns);
	pooled_destroy(bench);
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
	for (uint32_t devices = 2; devices <= POOLED_DEVICES; devices++) {
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
	for (uint32_t devices = 2; devices <= POOLED_DEVICES; devices++) {
		passed(devices, &none, &limits, more);
		assert_in_range(more[STEPS - 1], one[STEPS - 1] - 1,
				one[STEPS - 1] + 1);
	}
}

/* Cut or not, it is one to limits and statistics. */
static void test_vdev_pool_pieces_are_charged_once(void **state)
{
	struct pooled *bench = pooled_create(2, false, 256, NULL);
	const struct stats_process *stats = &bench->stats->processes[1];
	const struct sched_params params = {
		.limit_per_s[SCHED_TOTAL_IOPS] = 1000,
		.burst_ns = 8 * MS,
	};
	struct pooled_request *requests = pooled_requests(16);
	unsigned char *data = calloc(1, 2 * MIB);
	struct vdev_process *process;

	(void)state;
	pooled_spread(bench);
	process = pooled_process(bench, 1, &params, 0);
	bench->fakes[1].hold = true;
	for (uint32_t i = 0; i < 16; i++)
		pooled_submit(bench, &requests[i], process, BLOCK_READ, MIB / 2,
			      MIB, data);
	/* Burst, and both of a request's pieces at their devices. */
	assert_in_range(bench->fakes[0].ops[BLOCK_READ], 8, 10);
	assert_int_equal(bench->fakes[0].ops[BLOCK_READ],
			 bench->fakes[1].ops[BLOCK_READ]);
	assert_int_equal(stats->direction[0].requests, 0);
	pooled_let_first(&bench->fakes[1]);
	assert_int_equal(stats->direction[0].requests, 1);
	assert_int_equal(stats->direction[0].bytes, MIB);
	assert_int_equal(histogram_count(&stats->latency[0]), 1);
	assert_int_equal(data[0], 1);
	assert_int_equal(data[MIB - 1], 2);
	pooled_let_all(&bench->fakes[1]);
	while (bench->done < 16)
		pooled_poll(bench, bench->now_ns += MS);
	assert_int_equal(stats->direction[0].requests, 16);
	pooled_destroy(bench);
	free(requests);
	free(data);
}

/* ---- each device by itself ---- */

/* Both processes keep both devices busy, which do one request each 0.5 ms, for
 * a second: how many each process got done on each of them. */
static void compete(const struct sched_params params[2], unsigned int got[2][2])
{
	struct pooled *bench = pooled_create(2, false, 1, NULL);
	struct pooled_request *requests = pooled_requests(32);
	unsigned char *data = calloc(1, 4096);
	struct vdev_process *processes[2];

	pooled_spread(bench);
	for (uint32_t p = 0; p < 2; p++)
		processes[p] = pooled_process(bench, p + 1, &params[p], 0);
	bench->fakes[0].hold = bench->fakes[1].hold = true;
	for (uint32_t i = 0; i < 32; i++)
		pooled_submit(bench, &requests[i], processes[i / 16],
			      BLOCK_READ, i % 2 * MIB, 4096, data);
	for (uint32_t step = 0; step < 2000; step++) {
		bench->now_ns += MS / 2;
		for (uint32_t d = 0; d < 2; d++)
			if (bench->fakes[d].count)
				pooled_let_first(&bench->fakes[d]);
		pooled_poll(bench, bench->now_ns);
		for (uint32_t i = 0; i < 32; i++)
			if (requests[i].is_done)
				pooled_submit(bench, &requests[i],
					      processes[i / 16], BLOCK_READ,
					      i % 2 * MIB, 4096, data);
	}
	memset(got, 0, 4 * sizeof(got[0][0]));
	for (uint32_t i = 0; i < 32; i++)
		got[i / 16][i % 2] += requests[i].count;
	for (uint32_t d = 0; d < 2; d++)
		pooled_let_all(&bench->fakes[d]);
	for (uint32_t i = 0; i < 32; i++)
		while (!requests[i].is_done)
			pooled_poll(bench, bench->now_ns += MS);
	pooled_destroy(bench);
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
	struct pooled *bench = pooled_create(3, false, 256, NULL);
	struct pooled_request *request = pooled_requests(1);

	(void)state;
	pooled_spread(bench);
	for (uint32_t d = 0; d < 3; d++)
		bench->fakes[d].hold = true;
	pooled_submit(bench, request, NULL, BLOCK_FLUSH, 0, 0, NULL);
	for (uint32_t d = 0; d < 3; d++) {
		assert_false(request->is_done);
		assert_int_equal(bench->fakes[d].ops[BLOCK_FLUSH], 1);
		pooled_let_all(&bench->fakes[d]);
	}
	assert_true(request->is_done);
	assert_int_equal(bench->stats->processes[0].other.requests, 1);
	pooled_destroy(bench);
	free(request);
}

/* A device's errors are its own. */
static void test_vdev_pool_blames_the_device(void **state)
{
	struct pooled *bench = pooled_create(2, false, 256, NULL);
	struct pooled_request *request = pooled_requests(1);
	unsigned char *data = calloc(1, 2 * MIB);

	(void)state;
	pooled_spread(bench);
	bench->fakes[1].read_result = -EIO;
	pooled_submit(bench, request, NULL, BLOCK_READ, 0, 4096, data);
	assert_int_equal(request->result, 0);
	pooled_submit(bench, request, NULL, BLOCK_READ, MIB, 4096, data);
	assert_int_equal(request->result, -EIO);
	pooled_submit(bench, request, NULL, BLOCK_READ, MIB / 2, MIB, data);
	assert_int_equal(request->result, -EIO);
	assert_int_equal(bench->stats->devices[0].errors, 0);
	assert_int_equal(bench->stats->devices[1].errors, 2);
	assert_int_equal(bench->stats->processes[0].direction[0].errors, 2);
	pooled_destroy(bench);
	free(request);
	free(data);
}

/* What may be on a device that is missing is EIO, and nothing else is. */
static void test_vdev_pool_missing_device(void **state)
{
	struct pooled *bench = pooled_create(2, false, 256, NULL);
	struct pooled_request *request = pooled_requests(1);
	unsigned char *data = calloc(1, 2 * MIB);

	(void)state;
	pooled_next = 0;
	pooled_submit(bench, request, NULL, BLOCK_WRITE, 0, 4096, data);
	assert_int_equal(request->result, 0);
	bench->volume->missing = 1;	/* as pool_start finds it */
	pooled_submit(bench, request, NULL, BLOCK_READ, 0, 4096, data);
	assert_int_equal(request->result, 0);
	pooled_submit(bench, request, NULL, BLOCK_READ, MIB, 4096, data);
	assert_int_equal(request->result, -EIO);
	pooled_submit(bench, request, NULL, BLOCK_WRITE, MIB, 4096, data);
	assert_int_equal(request->result, -EIO);
	pooled_submit(bench, request, NULL, BLOCK_WRITE, 4096, 4096, data);
	assert_int_equal(request->result, 0);
	assert_int_equal(bench->stats->devices[0].errors, 0);
	pooled_destroy(bench);
	free(request);
	free(data);
}

static uint32_t mapped_on(const struct pooled *bench, uint64_t offset_bytes)
{
	struct volume_place place;
	uint64_t bytes;

	assert_int_equal(
		volume_read(bench->volume, offset_bytes, 512, &place, &bytes),
		VOLUME_MAPPED);
	return place.member->index;
}

static int write_to(struct pooled *bench, struct pooled_request *request,
		    struct vdev_process *process, uint64_t extent, void *data)
{
	pooled_submit(bench, request, process, BLOCK_WRITE, extent * MIB, 4096,
		      data);
	assert_true(request->is_done);
	return request->result;
}

static void take_all(struct pooled *bench, uint32_t m)
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
	struct pooled *bench = pooled_create(3, false, 256, NULL);
	struct pooled_request *request = pooled_requests(1);
	unsigned char *data = calloc(1, 4096);
	struct vdev_process *any = pooled_process(bench, 2, &none, 0);
	struct vdev_process *far, *last;

	(void)state;
	assert_int_equal(write_to(bench, request, any, 0, data), 0);
	assert_int_equal(mapped_on(bench, 0), 0);
	far = pooled_process(bench, 1, &none, 0x6);
	assert_int_equal(write_to(bench, request, far, 1, data), 0);
	assert_int_equal(mapped_on(bench, MIB), 1);
	assert_int_equal(write_to(bench, request, any, 2, data), 0);
	assert_int_equal(mapped_on(bench, 2 * MIB), 2);
	/* Nothing left where the strictest may be; when it goes, there is. */
	last = pooled_process(bench, 3, &none, 0x4);
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
	pooled_destroy(bench);
	free(request);
	free(data);
}

/* E3, E10: local first; what it can't hold comes from the others. */
static void test_vdev_pool_spills_over(void **state)
{
	struct pooled *bench = pooled_create(3, false, 256, NULL);
	struct pooled_request *request = pooled_requests(1);
	unsigned char *data = calloc(1, 4096);
	uint32_t extent, count[3] = {0};

	(void)state;
	for (uint32_t i = 0; i < POOLED_EXTENTS - 2; i++)
		assert_true(member_take(bench->pool->members[0], SPACE_NONE,
					&extent));
	for (uint32_t i = 0; i < 6; i++) {
		assert_int_equal(write_to(bench, request, NULL, i, data), 0);
		count[mapped_on(bench, i * MIB)]++;
	}
	for (uint32_t d = 0; d < 3; d++)
		assert_int_equal(count[d], 2);
	pooled_destroy(bench);
	free(request);
	free(data);
}

/* A process goes while its requests wait: all end. */
static void remove_waiting(uint32_t owner_of)
{
	struct pooled *bench = pooled_create(2, false, 1, NULL);
	static const struct sched_params none;
	struct pooled_request *requests = pooled_requests(32);
	unsigned char *data = calloc(1, 2 * MIB);
	struct vdev_process *process;

	pooled_spread(bench);
	process = pooled_process(bench, 1, &none, 0);
	bench->fakes[0].hold = bench->fakes[1].hold = true;
	for (uint32_t i = 0; i < 32; i++)
		pooled_submit(bench, &requests[i], process, BLOCK_READ,
			      i % 3 * MIB / 2, MIB, data);
	if (owner_of)
		vdev_process_remove(process);
	while (bench->done < 32) {
		for (uint32_t d = 0; d < 2; d++)
			if (bench->fakes[d].count)
				pooled_let_first(&bench->fakes[d]);
		pooled_poll(bench, bench->now_ns += MS);
	}
	for (uint32_t d = 0; d < 2; d++) {
		assert_int_equal(bench->pool->members[d]->active[0], 0);
		assert_int_equal(bench->pool->members[d]->active[1], 0);
	}
	pooled_poll(bench, bench->now_ns);
	pooled_destroy(bench);
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
	vdev->done(vdev);
}

/* What an owner takes back is nowhere any more. */
static void test_vdev_pool_takes_back(void **state)
{
	struct pooled *bench = pooled_create(2, false, 1, NULL);
	struct pooled_request *requests = pooled_requests(8);
	unsigned char *data = calloc(1, MIB);

	(void)state;
	pooled_spread(bench);
	bench->fakes[0].hold = bench->fakes[1].hold = true;
	for (uint32_t i = 0; i < 8; i++) {
		requests[i].vdev.owner = bench;
		pooled_submit(bench, &requests[i], NULL, BLOCK_READ,
			      i % 2 * MIB, 4096, data);
	}
	vdev_take_back(bench->vdev, bench, taken, bench->now_ns);
	assert_int_equal(bench->done, 6);
	assert_int_equal(requests[7].vdev.block.offset_bytes, MIB);
	for (uint32_t d = 0; d < 2; d++)
		pooled_let_all(&bench->fakes[d]);
	assert_int_equal(bench->done, 8);
	for (uint32_t d = 0; d < 2; d++)
		assert_int_equal(bench->pool->members[d]->active[0] +
					 bench->pool->members[d]->active[1],
				 0);
	pooled_destroy(bench);
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
