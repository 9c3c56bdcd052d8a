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

#include "base/container.h"

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

static int begin_with_data(struct bench *bench, uint64_t duration_ns,
			   uint64_t free_at, uint64_t free_bytes,
			   const struct range *data, unsigned int count)
{
	const struct calibration_config config = {
		.device = bench->device,
		.loop = bench->loop,
		.duration_ns = duration_ns,
		.free_offset_bytes = free_at,
		.free_size_bytes = free_bytes,
		.data = data,
		.data_count = count,
		.done = measured,
		.arg = bench,
	};
	struct error error;

	return calibration_start(&config, &bench->calibration, &error);
}

static int begin(struct bench *bench, uint64_t duration_ns, uint64_t free_at,
		 uint64_t free_bytes)
{
	return begin_with_data(bench, duration_ns, free_at, free_bytes, NULL,
			       0);
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

/* ---- a device that knows what was written ---- */

/* Four servers and no data: large writes take 'large_ns', the rest nothing. */
struct sparse {
	struct block_device device;
	struct loop *loop;
	struct loop_timer timer;
	uint64_t large_ns;
	struct block_request *first, **end;	/* large writes */
	bool has_data[64 * 256];		/* of each 4 KiB */
	unsigned int reads, reads_of_nothing, writes_elsewhere;
	uint64_t allowed_at, allowed_bytes;
};

static void sparse_note(struct sparse *sparse,
			const struct block_request *request)
{
	const uint64_t from = request->offset_bytes / 4096;
	const uint64_t to = from + request->length_bytes / 4096;

	for (uint64_t i = from; i < to; i++) {
		if (request->op == BLOCK_READ)
			sparse->reads_of_nothing += !sparse->has_data[i];
		else
			sparse->has_data[i] = request->op == BLOCK_WRITE;
	}
	sparse->reads += request->op == BLOCK_READ;
	sparse->writes_elsewhere += request->op != BLOCK_READ &&
		(request->offset_bytes < sparse->allowed_at ||
		 request->offset_bytes + request->length_bytes >
			 sparse->allowed_at + sparse->allowed_bytes);
}

static void sparse_submit(struct block_device *device,
			  struct block_request *request)
{
	struct sparse *sparse = (struct sparse *)device;

	request->result = 0;
	if (request->op == BLOCK_WRITE && request->length_bytes > 4096) {
		request->next = NULL;
		if (!sparse->first)
			loop_timer_set(sparse->loop, &sparse->timer,
				       loop_clock_ns() + sparse->large_ns);
		*sparse->end = request;
		sparse->end = &request->next;
		return;
	}
	sparse_note(sparse, request);
	request->done(request);
}

static void sparse_served(struct loop_timer *timer, uint64_t now_ns)
{
	struct sparse *sparse = container_of(timer, struct sparse, timer);

	for (unsigned int i = 0; i < 4 && sparse->first; i++) {
		struct block_request *request = sparse->first;

		sparse->first = request->next;
		if (!sparse->first)
			sparse->end = &sparse->first;
		sparse_note(sparse, request);
		request->done(request);
	}
	if (sparse->first)
		loop_timer_set(sparse->loop, timer, now_ns + sparse->large_ns);
}

static void sparse_destroy(struct block_device *device)
{
	struct sparse *sparse = (struct sparse *)device;

	loop_timer_finish(sparse->loop, &sparse->timer);
}

static struct sparse *sparse_make(struct bench *bench, uint64_t large_ns)
{
	static const struct block_device_ops ops = {
		.kind = "sparse",
		.submit = sparse_submit,
		.destroy = sparse_destroy,
	};
	static struct sparse sparse;
	const struct loop_config loop_config = {.entries = 64};

	*bench = (struct bench){.result = 1};
	assert_int_equal(loop_create(&loop_config, &bench->loop, NULL), 0);
	memset(&sparse, 0, sizeof(sparse));
	sparse.device = (struct block_device){
		.ops = &ops,
		.size_bytes = 64 * MIB,
		.block_size = 512,
	};
	sparse.loop = bench->loop;
	sparse.large_ns = large_ns;
	sparse.end = &sparse.first;
	sparse.allowed_bytes = 64 * MIB;
	loop_timer_init(bench->loop, &sparse.timer, sparse_served);
	bench->device = &sparse.device;
	return &sparse;
}

/* However slowly it came to be there: what is read was written (E8). */
static void test_calibration_reads_what_was_written(void **state)
{
	struct bench bench;
	struct sparse *sparse = sparse_make(&bench, 2000000);

	(void)state;
	sparse->allowed_at = MIB;
	sparse->allowed_bytes = 40 * MIB;
	/* A tenth of it is too short for 16 MiB: it writes on. */
	assert_int_equal(begin(&bench, 200000000, MIB, 40 * MIB), 0);
	until_done(&bench);
	assert_int_equal(bench.result, 0);
	assert_true(bench.capacity.write_measured);
	assert_int_equal(sparse->writes_elsewhere, 0);
	assert_int_equal(sparse->reads_of_nothing, 0);
	/* On a machine that was away all the time. */
	if (!bench.capacity.read_measured)
		assert_int_equal(sparse->reads, 0);
	for (size_t i = 0; i < sizeof(sparse->has_data); i++)
		assert_false(sparse->has_data[i]);
	bench_clear(&bench);
}

static void assert_is_tenth(const struct capacity_curve *curve,
			    const struct capacity_curve *other)
{
	assert_int_equal(curve->count, other->count);
	for (unsigned int i = 0; i < curve->count; i++) {
		const struct capacity_point *point = &curve->points[i];
		const uint64_t tenth = other->points[i].iops / 10;

		assert_int_equal(point->depth, other->points[i].depth);
		assert_int_equal(point->iops, tenth > 0 ? tenth : 1);
		assert_int_equal(point->p99_ns, other->points[i].p99_ns * 10);
	}
	assert_in_range(curve->bytes_per_s, 1, other->bytes_per_s / 10 + 1);
}

/* Too slow to write what could be read, and there is no other data. */
static void test_calibration_derives_reads_rather_than_read_holes(void **state)
{
	struct bench bench;
	struct sparse *sparse = sparse_make(&bench, 40000000);

	(void)state;
	assert_int_equal(begin_with_data(&bench, 60000000, 0, 64 * MIB,
					 (const struct range[]){{0, 0}}, 0),
			 0);
	until_done(&bench);
	assert_int_equal(bench.result, 0);
	assert_int_equal(sparse->reads, 0);
	assert_false(bench.capacity.read_measured);
	assert_is_tenth(&bench.capacity.direction[0],
			&bench.capacity.direction[1]);
	bench_clear(&bench);
}

/* With somebody's data there, reads stay in them and writes are derived. */
static void test_calibration_reads_only_data(void **state)
{
	static const struct range data[] = {{3 * MIB, 10 * MIB},
					    {20 * MIB, 128 << 10},
					    {40 * MIB, 9 * MIB}};
	struct bench bench;
	struct sparse *sparse = sparse_make(&bench, 0);

	(void)state;
	for (unsigned int i = 0; i < 3; i++)
		memset(&sparse->has_data[data[i].offset_bytes / 4096], true,
		       data[i].size_bytes / 4096);
	sparse->allowed_bytes = 0;
	assert_int_equal(begin_with_data(&bench, 50000000, 0, 0, data, 3), 0);
	until_done(&bench);
	assert_int_equal(bench.result, 0);
	assert_true(bench.capacity.read_measured);
	assert_false(bench.capacity.write_measured);
	assert_true(sparse->reads > 0);
	assert_int_equal(sparse->reads_of_nothing, 0);
	assert_int_equal(sparse->writes_elsewhere, 0);
	assert_is_tenth(&bench.capacity.direction[1],
			&bench.capacity.direction[0]);
	bench_clear(&bench);
}

/* Nothing can be said of it: rather nothing than holes, or a cache. */
static void test_calibration_refuses_too_little_data(void **state)
{
	static const struct range little = {0, 15 * MIB},
				  outside = {60 * MIB, 5 * MIB};
	struct bench bench;

	(void)state;
	sparse_make(&bench, 0);
	assert_int_equal(begin_with_data(&bench, 50000000, 0, 0, &little, 1),
			 -ENODATA);
	assert_int_equal(begin_with_data(&bench, 50000000, 0, 0, &outside, 1),
			 -EINVAL);
	bench.calls = 1;
	bench_clear(&bench);
}

static void test_calibration_without_free_space_derives_writes(void **state)
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
	assert_is_tenth(&bench.capacity.direction[1],
			&bench.capacity.direction[0]);
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
			test_calibration_without_free_space_derives_writes),
		cmocka_unit_test(test_calibration_reads_what_was_written),
		cmocka_unit_test(
			test_calibration_derives_reads_rather_than_read_holes),
		cmocka_unit_test(test_calibration_reads_only_data),
		cmocka_unit_test(test_calibration_refuses_too_little_data),
		cmocka_unit_test(test_calibration_of_a_failing_device_fails),
		cmocka_unit_test(
			test_calibration_aborts_when_nothing_is_in_flight),
		cmocka_unit_test(test_calibration_refuses_what_it_cannot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
