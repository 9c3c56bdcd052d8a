/* SPDX-License-Identifier: Apache-2.0 */
/* test-block.c - memory and nullio devices (item 6) */
#include "block/block.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "os/guard.h"

#define MIB	(UINT64_C(1) << 20)
#define SLOTS	64U

struct probe {
	struct block_request request;
	struct loop *loop;
	struct iovec iov[4];
	unsigned int calls;
	unsigned int order;		/* when it was done */
	uint64_t done_ns;
};

static unsigned int done_so_far;

static void probe_done(struct block_request *request)
{
	struct probe *probe = (struct probe *)request;

	probe->calls++;
	probe->order = ++done_so_far;
	probe->done_ns = loop_now_ns(probe->loop);
}

static struct loop *make_loop(void)
{
	const struct loop_config config = {.entries = 64};
	struct loop *loop = NULL;
	struct error error;

	assert_int_equal(guard_install(), 0);
	assert_int_equal(loop_create(&config, &loop, &error), 0);
	assert_int_equal(loop_run_once(loop, 0), 0);
	return loop;
}

static struct block_device *must_open(const struct block_config *config,
				      struct loop *loop)
{
	struct block_device *device = NULL;
	struct error error;
	int rc = block_open(config, loop, &device, &error);

	if (rc < 0)
		fail_msg("%s", error.text);
	return device;
}

static void start(struct block_device *device, struct loop *loop,
		  struct probe *probe, enum block_op op, uint64_t offset_bytes,
		  void *data, uint64_t length_bytes)
{
	probe->loop = loop;
	probe->calls = 0;
	probe->iov[0] = (struct iovec){data, length_bytes};
	probe->request = (struct block_request){
		.done = probe_done,
		.op = (uint8_t)op,
		.offset_bytes = offset_bytes,
		.length_bytes = length_bytes,
		.iov = probe->iov,
		.iov_count = 1,
		.result = 1,
	};
	block_submit(device, &probe->request);
}

static void wait_for(struct probe *probe)
{
	while (probe->calls == 0)
		assert_int_equal(loop_run_once(probe->loop, UINT64_MAX), 0);
	assert_int_equal(probe->calls, 1);
}

static int run(struct block_device *device, struct loop *loop, enum block_op op,
	       uint64_t offset_bytes, void *data, uint64_t length_bytes)
{
	struct probe probe;

	start(device, loop, &probe, op, offset_bytes, data, length_bytes);
	wait_for(&probe);
	return probe.request.result;
}

static void test_block_open_refuses_what_it_cannot(void **state)
{
	struct block_config config = {
		.kind = "tape", .fd = -1, .size_bytes = MIB};
	struct block_device *device = NULL;
	struct loop *loop = make_loop();
	struct error error;

	(void)state;
	assert_int_equal(block_open(&config, loop, &device, &error), -EINVAL);
	assert_non_null(strstr(error.text, "tape"));
	config.kind = "memory";
	config.size_bytes = 1000;
	assert_int_equal(block_open(&config, loop, &device, &error), -EINVAL);
	config.size_bytes = 0;
	assert_int_equal(block_open(&config, loop, &device, &error), -EINVAL);
	config.kind = "nullio";
	assert_int_equal(block_open(&config, loop, &device, &error), -EINVAL);
	config.size_bytes = MIB;
	config.model.servers = 1000000;
	assert_int_equal(block_open(&config, loop, &device, &error), -EINVAL);
	config.model = (struct block_model){
		.servers = 1, .stall_every_ns = 5, .stall_ns = 5};
	assert_int_equal(block_open(&config, loop, &device, &error), -EINVAL);
	assert_null(device);
	assert_string_equal(block_kinds()[0], "file");
	block_close(NULL);
	loop_destroy(loop);
}

static void test_memory_reads_what_was_written(void **state)
{
	const struct block_config config = {
		.kind = "memory", .fd = -1, .size_bytes = MIB};
	struct loop *loop = make_loop();
	struct block_device *device = must_open(&config, loop);
	char data[8192], back[8192];
	struct probe probe;

	(void)state;
	assert_int_equal(device->size_bytes, MIB);
	assert_string_equal(device->ops->kind, "memory");
	for (unsigned int i = 0; i < sizeof(data); i++)
		data[i] = (char)(i * 7 >> 3);
	/* It completes inside submit. */
	start(device, loop, &probe, BLOCK_WRITE, 512, data, sizeof(data));
	assert_int_equal(probe.calls, 1);
	assert_int_equal(probe.request.result, 0);
	assert_int_equal(run(device, loop, BLOCK_FLUSH, 0, NULL, 0), 0);
	/* Gathered and scattered over odd pieces. */
	probe.iov[0] = (struct iovec){back, 1};
	probe.iov[1] = (struct iovec){back + 1, 4094};
	probe.iov[2] = (struct iovec){back + 4095, 4097};
	probe.request.op = BLOCK_READ;
	probe.request.iov_count = 3;
	block_submit(device, &probe.request);
	assert_int_equal(probe.request.result, 0);
	assert_memory_equal(back, data, sizeof(data));
	/* The last block. */
	assert_int_equal(run(device, loop, BLOCK_WRITE, MIB - 512, data, 512),
			 0);
	assert_int_equal(run(device, loop, BLOCK_READ, MIB - 512, back, 512),
			 0);
	assert_memory_equal(back, data, 512);
	block_close(device);
	loop_destroy(loop);
}

/* Devices beyond the caches are written another way. */
static void test_memory_large_reads_what_was_written(void **state)
{
	const struct block_config config = {
		.kind = "memory", .fd = -1, .size_bytes = 64 * MIB};
	const size_t cuts[] = {0, 64, 128, 129, 8192};
	struct loop *loop = make_loop();
	struct block_device *device = must_open(&config, loop);
	char data[8192 + 1], back[8192];
	struct probe probe = {.loop = loop};

	(void)state;
	for (unsigned int i = 0; i < sizeof(data); i++)
		data[i] = (char)(i * 11 >> 2);
	for (unsigned int i = 0; i < 4; i++)
		probe.iov[i] = (struct iovec){data + 1 + cuts[i],
					      cuts[i + 1] - cuts[i]};
	probe.request = (struct block_request){
		.done = probe_done,
		.op = BLOCK_WRITE,
		.iov = probe.iov,
		.iov_count = 4,
		.offset_bytes = 63 * MIB,
		.length_bytes = sizeof(back),
		.result = 1,
	};
	block_submit(device, &probe.request);
	assert_int_equal(probe.request.result, 0);
	assert_int_equal(
		run(device, loop, BLOCK_READ, 63 * MIB, back, sizeof(back)), 0);
	assert_memory_equal(back, data + 1, sizeof(back));
	block_close(device);
	loop_destroy(loop);
}

static void test_memory_zeroes_small_and_large(void **state)
{
	const struct block_config config = {
		.kind = "memory", .fd = -1, .size_bytes = 4 * MIB};
	struct loop *loop = make_loop();
	struct block_device *device = must_open(&config, loop);
	char *data = malloc(4 * MIB);

	(void)state;
	assert_non_null(data);
	for (int op = BLOCK_DISCARD; op <= BLOCK_WRITE_ZEROES; op++) {
		memset(data, 'x', 4 * MIB);
		assert_int_equal(
			run(device, loop, BLOCK_WRITE, 0, data, 4 * MIB), 0);
		assert_int_equal(
			run(device, loop, (enum block_op)op, 512, NULL, 512),
			0);
		assert_int_equal(run(device, loop, (enum block_op)op, MIB + 512,
				     NULL, 2 * MIB),
				 0);
		assert_int_equal(
			run(device, loop, BLOCK_READ, 0, data, 4 * MIB), 0);
		for (uint64_t i = 0; i < 4 * MIB; i++) {
			const bool zeroed = (i >= 512 && i < 1024) ||
				(i >= MIB + 512 && i < 3 * MIB + 512);

			if (data[i] != (zeroed ? 0 : 'x'))
				fail_msg("byte %ju", (uintmax_t)i);
		}
	}
	free(data);
	block_close(device);
	loop_destroy(loop);
}

static void test_memory_outlives_its_device(void **state)
{
	struct block_config config = {.kind = "memory"};
	struct loop *loop = make_loop();
	const int keep = memfd_create("kept", MFD_CLOEXEC);
	struct block_device *device = NULL;
	struct error error;
	char text[512] = "still here";

	(void)state;
	/* Too small, and smaller than asked. */
	config.fd = dup(keep);
	assert_int_equal(block_open(&config, loop, &device, &error), -EINVAL);
	assert_int_equal(ftruncate(keep, 8192 + 100), 0);
	config.size_bytes = MIB;
	assert_int_equal(block_open(&config, loop, &device, &error), -EINVAL);
	/* Refused: the descriptor stayed ours. */
	assert_true(fcntl(config.fd, F_GETFD) >= 0);
	config.size_bytes = 0;
	device = must_open(&config, loop);
	assert_int_equal(device->size_bytes, 8192);
	assert_int_equal(run(device, loop, BLOCK_WRITE, 4096, text, 512), 0);
	block_close(device);
	assert_int_equal(fcntl(config.fd, F_GETFD), -1);
	config.fd = dup(keep);
	device = must_open(&config, loop);
	memset(text, 0, sizeof(text));
	assert_int_equal(run(device, loop, BLOCK_READ, 4096, text, 512), 0);
	assert_string_equal(text, "still here");
	block_close(device);
	close(keep);
	loop_destroy(loop);
}

static void test_memory_truncated_is_an_error_not_a_death(void **state)
{
	struct block_config config = {.kind = "memory"};
	struct loop *loop = make_loop();
	struct block_device *device;
	char data[4096];

	(void)state;
	config.fd = memfd_create("cut", MFD_CLOEXEC);
	assert_int_equal(ftruncate(config.fd, (off_t)MIB), 0);
	device = must_open(&config, loop);
	assert_int_equal(run(device, loop, BLOCK_READ, 8192, data, 4096), 0);
	assert_int_equal(ftruncate(config.fd, 4096), 0);
	assert_int_equal(run(device, loop, BLOCK_READ, 8192, data, 4096), -EIO);
	assert_int_equal(run(device, loop, BLOCK_WRITE, 8192, data, 4096),
			 -EIO);
	block_close(device);
	loop_destroy(loop);
}

static void test_memory_with_a_model_takes_its_time(void **state)
{
	const struct block_config config = {
		.kind = "memory",
		.fd = -1,
		.size_bytes = MIB,
		.model = {.servers = 1,
			  .read_median_ns = 1000000,
			  .write_median_ns = 1000000},
	};
	struct loop *loop = make_loop();
	struct block_device *device = must_open(&config, loop);
	char data[4096], back[4096] = {0};
	struct probe probe;

	(void)state;
	assert_int_equal(device->size_bytes, MIB);
	memset(data, 7, sizeof(data));
	start(device, loop, &probe, BLOCK_WRITE, 4096, data, sizeof(data));
	assert_int_equal(probe.calls, 0);
	assert_int_equal(
		run(device, loop, BLOCK_READ, 4096, back, sizeof(back)), 0);
	/* One server: the write was first, and is what the read saw. */
	assert_int_equal(probe.calls, 1);
	assert_memory_equal(back, data, sizeof(data));
	block_close(device);
	loop_destroy(loop);
}

static void test_nullio_completes_at_once(void **state)
{
	const struct block_config config = {
		.kind = "nullio", .fd = -1, .size_bytes = MIB};
	struct loop *loop = make_loop();
	struct block_device *device = must_open(&config, loop);
	char data[512] = "untouched";
	struct probe probe;

	(void)state;
	for (int op = BLOCK_READ; op <= BLOCK_WRITE_ZEROES; op++) {
		start(device, loop, &probe, (enum block_op)op, 0, data, 512);
		assert_int_equal(probe.calls, 1);
		assert_int_equal(probe.request.result, 0);
	}
	assert_string_equal(data, "untouched");
	block_close(device);
	loop_destroy(loop);
}

static void test_nullio_fails_as_often_as_told(void **state)
{
	struct block_config config = {.kind = "nullio",
				      .fd = -1,
				      .size_bytes = MIB,
				      .model = {.error_ppm = 250000}};
	struct loop *loop = make_loop();
	struct block_device *device = must_open(&config, loop);
	unsigned int failed = 0;

	(void)state;
	for (unsigned int i = 0; i < 10000; i++) {
		int result = run(device, loop, BLOCK_READ, 0, NULL, 512);

		assert_true(result == 0 || result == -EIO);
		failed += result != 0;
	}
	assert_in_range(failed, 2200, 2800);
	block_close(device);
	loop_destroy(loop);
}

/* One server serves in order; each takes at least its time. */
static void test_nullio_one_server_is_a_queue(void **state)
{
	const struct block_config config = {
		.kind = "nullio",
		.fd = -1,
		.size_bytes = MIB,
		.model = {.servers = 1,
			  .read_median_ns = 100000,
			  .write_median_ns = 20000,
			  .per_kib_ns = 1000},
	};
	struct loop *loop = make_loop();
	struct block_device *device = must_open(&config, loop);
	struct probe probes[SLOTS];
	const uint64_t start_ns = loop_now_ns(loop);

	(void)state;
	for (unsigned int i = 0; i < SLOTS; i++)
		start(device, loop, &probes[i],
		      i % 2 ? BLOCK_WRITE : BLOCK_READ, 0, NULL, 4096);
	for (unsigned int i = 0; i < SLOTS; i++) {
		wait_for(&probes[i]);
		if (i > 0)
			assert_true(probes[i].order == probes[i - 1].order + 1);
	}
	/* 32 reads of 104 us and 32 writes of 24 us, one after another. */
	assert_true(probes[SLOTS - 1].done_ns - start_ns >= 32 * 127000);
	block_close(device);
	loop_destroy(loop);
}

static void test_nullio_servers_work_side_by_side(void **state)
{
	const struct block_config config = {
		.kind = "nullio",
		.fd = -1,
		.size_bytes = MIB,
		.model = {.servers = SLOTS,
			  .read_median_ns = 1000000,
			  .write_median_ns = 50000000,
			  .sigma_milli = 500,
			  .seed = 3},
	};
	struct loop *loop = make_loop();
	struct block_device *device = must_open(&config, loop);
	struct probe probes[SLOTS];
	unsigned int overtaken = 0;

	(void)state;
	for (unsigned int i = 0; i < SLOTS; i++)
		start(device, loop, &probes[i],
		      i == 0 ? BLOCK_WRITE : BLOCK_READ, 0, NULL, 4096);
	for (unsigned int i = 0; i < SLOTS; i++)
		wait_for(&probes[i]);
	/* The slow one was passed by all; others passed one another. */
	for (unsigned int i = 1; i < SLOTS; i++) {
		assert_true(probes[i].order < probes[0].order);
		overtaken += i > 1 && probes[i].order < probes[i - 1].order;
	}
	assert_in_range(overtaken, 10, SLOTS - 10);
	block_close(device);
	loop_destroy(loop);
}

static void test_nullio_stalls(void **state)
{
	const struct block_config config = {
		.kind = "nullio",
		.fd = -1,
		.size_bytes = MIB,
		.model = {.servers = 4,
			  .read_median_ns = 10000,
			  .stall_every_ns = 4000000,
			  .stall_ns = 3000000},
	};
	struct loop *loop = make_loop();
	const uint64_t start_ns = loop_clock_ns();
	struct block_device *device = must_open(&config, loop);
	struct probe probe;
	const uint64_t end_max_ns = start_ns + UINT64_C(5000000000);
	uint64_t longest_ns = 0, end_ns;

	(void)state;
	do {
		uint64_t sent_ns;

		assert_int_equal(loop_run_once(loop, 0), 0);
		sent_ns = loop_now_ns(loop);
		start(device, loop, &probe, BLOCK_READ, 0, NULL, 512);
		wait_for(&probe);
		end_ns = probe.done_ns;
		if (end_ns - sent_ns > longest_ns)
			longest_ns = end_ns - sent_ns;
		/* One has to come early in a stall. */
	} while (longest_ns < 2000000 && end_ns < end_max_ns);
	assert_true(longest_ns >= 2000000);
	block_close(device);
	loop_destroy(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_block_open_refuses_what_it_cannot),
		cmocka_unit_test(test_memory_reads_what_was_written),
		cmocka_unit_test(test_memory_large_reads_what_was_written),
		cmocka_unit_test(test_memory_zeroes_small_and_large),
		cmocka_unit_test(test_memory_outlives_its_device),
		cmocka_unit_test(test_memory_truncated_is_an_error_not_a_death),
		cmocka_unit_test(test_memory_with_a_model_takes_its_time),
		cmocka_unit_test(test_nullio_completes_at_once),
		cmocka_unit_test(test_nullio_fails_as_often_as_told),
		cmocka_unit_test(test_nullio_one_server_is_a_queue),
		cmocka_unit_test(test_nullio_servers_work_side_by_side),
		cmocka_unit_test(test_nullio_stalls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
