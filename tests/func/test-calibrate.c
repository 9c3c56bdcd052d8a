/* SPDX-License-Identifier: Apache-2.0 */
/* test-calibrate.c - measuring devices whose answer is known (E8) */
#include "block/calibrate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MIB	(UINT64_C(1) << 20)

struct bench {
	struct loop *loop;
	struct block_device *device;
	struct calibration *calibration;
	struct capacity capacity;
	int result;
	unsigned int calls;
};

static void measured(void *arg, int result, const struct capacity *capacity)
{
	struct bench *bench = arg;

	bench->calls++;
	bench->result = result;
	assert_int_equal(capacity != NULL, result == 0);
	if (capacity)
		bench->capacity = *capacity;
	calibration_destroy(bench->calibration);
	bench->calibration = NULL;
}

static void bench_make(struct bench *bench, const struct block_config *config)
{
	const struct loop_config loop_config = {.entries = 64};
	struct error error;

	*bench = (struct bench){.result = 1};
	assert_int_equal(loop_create(&loop_config, &bench->loop, NULL), 0);
	if (block_open(config, bench->loop, &bench->device, &error) < 0)
		fail_msg("%s", error.text);
}

static void bench_clear(struct bench *bench)
{
	assert_int_equal(bench->calls, 1);
	block_close(bench->device);
	loop_destroy(bench->loop);
}

static int begin(struct bench *bench, uint64_t duration_ns, uint64_t free_at,
		 uint64_t free_bytes)
{
	const struct calibration_config config = {
		.device = bench->device,
		.loop = bench->loop,
		.duration_ns = duration_ns,
		.free_offset_bytes = free_at,
		.free_size_bytes = free_bytes,
		.done = measured,
		.arg = bench,
	};
	struct error error;

	return calibration_start(&config, &bench->calibration, &error);
}

static void until_done(struct bench *bench)
{
	while (bench->calls == 0)
		assert_int_equal(loop_run_once(bench->loop, UINT64_MAX), 0);
}

/* Eight servers of 200 us: at depth 1 5,000 a second, from depth 8 on 40,000,
 * and beyond that latency grows with depth.  The machine may be slow, never
 * fast: only bounds that hold on a slow one are asserted. */
static void test_calibration_finds_the_models_curve(void **state)
{
	const struct block_config config = {
		.kind = "nullio",
		.fd = -1,
		.size_bytes = 64 * MIB,
		.model = {.servers = 8,
			  .read_median_ns = 200000,
			  .write_median_ns = 400000,
			  .seed = 1},
	};
	struct bench bench;

	(void)state;
	bench_make(&bench, &config);
	assert_int_equal(begin(&bench, 1800000000, 0, 64 * MIB), 0);
	until_done(&bench);
	assert_int_equal(bench.result, 0);
	assert_false(bench.capacity.is_short);
	assert_true(bench.capacity.write_measured);
	for (unsigned int way = 0; way < 2; way++) {
		const struct capacity_curve *curve =
			&bench.capacity.direction[way];
		const uint64_t service_ns = way == 0 ? 200000 : 400000;

		assert_int_equal(curve->count, 8);
		for (unsigned int i = 0; i < curve->count; i++) {
			const struct capacity_point *point = &curve->points[i];
			const uint64_t busy =
				point->depth < 8 ? point->depth : 8;
			const uint64_t most = busy * 1000000000 / service_ns;

			assert_int_equal(point->depth, 1U << i);
			assert_in_range(point->iops, 1, most + most / 10);
			assert_true(point->p95_ns >= service_ns);
			assert_true(point->p99_ns >= point->p95_ns);
		}
		assert_true(curve->points[3].iops > curve->points[0].iops);
		/* 128 requests on 8 servers: 16 times the service. */
		assert_true(curve->points[7].p95_ns >=
			    service_ns * 15 - service_ns);
		assert_true(curve->bytes_per_s > 0);
	}
	bench_clear(&bench);
}

static void test_calibration_short_of_memory_device(void **state)
{
	struct block_config config = {.kind = "memory", .fd = -1};
	static const char zeroes[65536];
	static char back[65536];
	struct bench bench;
	int keep;

	(void)state;
	keep = memfd_create("measured", MFD_CLOEXEC);
	assert_int_equal(ftruncate(keep, (off_t)(64 * MIB)), 0);
	config.fd = dup(keep);
	bench_make(&bench, &config);
	assert_int_equal(begin(&bench, 100000000, 32 * MIB, 32 * MIB), 0);
	until_done(&bench);
	assert_int_equal(bench.result, 0);
	assert_true(bench.capacity.is_short);
	assert_int_equal(bench.capacity.direction[0].count, 4);
	assert_int_equal(bench.capacity.direction[1].count, 4);
	assert_true(bench.capacity.direction[1].bytes_per_s > 0);
	/* What was written was given back: it reads as zeroes. */
	for (uint64_t at = 32 * MIB; at < 64 * MIB; at += sizeof(back)) {
		assert_int_equal(pread(keep, back, sizeof(back), (off_t)at),
				 sizeof(back));
		assert_memory_equal(back, zeroes, sizeof(back));
	}
	close(keep);
	bench_clear(&bench);
}

static void test_calibration_writes_only_into_the_free_region(void **state)
{
	struct block_config config = {.kind = "memory"};
	unsigned char *map;
	struct bench bench;

	(void)state;
	config.fd = memfd_create("measured", MFD_CLOEXEC);
	assert_int_equal(ftruncate(config.fd, (off_t)(8 * MIB)), 0);
	map = mmap(NULL, 8 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, config.fd,
		   0);
	assert_true(map != MAP_FAILED);
	memset(map, 'd', 8 * MIB);
	bench_make(&bench, &config);
	assert_int_equal(begin(&bench, 100000000, 2 * MIB, MIB), 0);
	until_done(&bench);
	assert_int_equal(bench.result, 0);
	for (uint64_t i = 0; i < 8 * MIB; i++)
		if ((i < 2 * MIB || i >= 3 * MIB) && map[i] != 'd')
			fail_msg("byte %ju", (uintmax_t)i);
	munmap(map, 8 * MIB);
	bench_clear(&bench);
}

static void test_calibration_without_free_space_copies_reads(void **state)
{
	const struct block_config config = {
		.kind = "nullio", .fd = -1, .size_bytes = MIB};
	struct bench bench;

	(void)state;
	bench_make(&bench, &config);
	assert_int_equal(begin(&bench, 50000000, 0, 0), 0);
	until_done(&bench);
	assert_int_equal(bench.result, 0);
	assert_false(bench.capacity.write_measured);
	assert_memory_equal(&bench.capacity.direction[0],
			    &bench.capacity.direction[1],
			    sizeof(bench.capacity.direction[0]));
	bench_clear(&bench);
}

static void test_calibration_of_a_failing_device_fails(void **state)
{
	const struct block_config config = {
		.kind = "nullio",
		.fd = -1,
		.size_bytes = MIB,
		.model = {.error_ppm = 500000},
	};
	struct bench bench;

	(void)state;
	bench_make(&bench, &config);
	assert_int_equal(begin(&bench, 50000000, 0, 0), 0);
	until_done(&bench);
	assert_int_equal(bench.result, -EIO);
	bench_clear(&bench);
}

static void test_calibration_aborts_when_nothing_is_in_flight(void **state)
{
	const struct block_config config = {
		.kind = "nullio",
		.fd = -1,
		.size_bytes = MIB,
		.model = {.servers = 1, .read_median_ns = 5000000},
	};
	struct bench bench;

	(void)state;
	bench_make(&bench, &config);
	assert_int_equal(begin(&bench, 0, 0, 0), 0);
	assert_int_equal(loop_run_once(bench.loop, 0), 0);
	calibration_abort(bench.calibration);
	assert_int_equal(bench.calls, 0);
	until_done(&bench);
	assert_int_equal(bench.result, -ECANCELED);
	bench_clear(&bench);
}

static void test_calibration_refuses_what_it_cannot(void **state)
{
	const struct block_config config = {
		.kind = "nullio", .fd = -1, .size_bytes = 65536};
	struct bench bench;

	(void)state;
	bench_make(&bench, &config);
	assert_int_equal(begin(&bench, 0, 0, 0), -EINVAL);
	block_close(bench.device);
	loop_destroy(bench.loop);
	{
		const struct block_config larger = {
			.kind = "nullio", .fd = -1, .size_bytes = MIB};

		bench_make(&bench, &larger);
	}
	assert_int_equal(begin(&bench, 0, MIB, 4096), -EINVAL);
	assert_int_equal(begin(&bench, 0, 512, 4096), -EINVAL);
	calibration_destroy(NULL);
	bench.calls = 1;
	bench_clear(&bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_calibration_finds_the_models_curve),
		cmocka_unit_test(test_calibration_short_of_memory_device),
		cmocka_unit_test(
			test_calibration_writes_only_into_the_free_region),
		cmocka_unit_test(
			test_calibration_without_free_space_copies_reads),
		cmocka_unit_test(test_calibration_of_a_failing_device_fails),
		cmocka_unit_test(
			test_calibration_aborts_when_nothing_is_in_flight),
		cmocka_unit_test(test_calibration_refuses_what_it_cannot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
