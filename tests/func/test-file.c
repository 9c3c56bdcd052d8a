/* SPDX-License-Identifier: Apache-2.0 */
/* test-file.c - the file device, on the build's file system and on tmpfs */
#include "block/block.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB		(UINT64_C(1) << 20)
#define SIZE_BYTES	(4 * MIB)
#define FLIGHT		2000U
#define BOUNCE_BUFFERS	32U
#define MISALIGNED	(4 * BOUNCE_BUFFERS)

struct probe {
	struct block_request request;
	struct iovec iov[5];
	unsigned int calls;
};

struct bed {			/* what a test lies on */
	struct loop *loop;
	struct block_device *device;
	int fd;			/* the same file, for looking and spoiling */
	bool direct;
};

static void probe_done(struct block_request *request)
{
	((struct probe *)request)->calls++;
}

static struct loop *make_loop(void)
{
	const struct loop_config config = {.entries = 64};
	struct loop *loop = NULL;

	assert_int_equal(loop_create(&config, &loop, NULL), 0);
	assert_int_equal(loop_run_once(loop, 0), 0);
	return loop;
}

/* An unlinked file of SIZE_BYTES in 'directory'; skips when O_DIRECT is asked
 * for and not to be had. */
static void bed_make(struct bed *bed, const char *directory, int flags)
{
	struct block_config config = {.kind = "file"};
	char path[64];
	struct error error;
	int fd;

	snprintf(path, sizeof(path), "%s/test-file-XXXXXX", directory);
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)SIZE_BYTES), 0);
	config.fd = open(path, O_RDWR | O_CLOEXEC | flags);
	unlink(path);
	if (config.fd < 0 && errno == EINVAL) {
		print_message("no O_DIRECT on this file system\n");
		close(fd);
		skip();
	}
	bed->fd = fd;
	bed->direct = (flags & O_DIRECT) != 0;
	bed->loop = make_loop();
	if (block_open(&config, bed->loop, &bed->device, &error) < 0)
		fail_msg("%s", error.text);
	assert_int_equal(bed->device->size_bytes, SIZE_BYTES);
}

static void bed_clear(struct bed *bed)
{
	block_close(bed->device);
	loop_destroy(bed->loop);
	close(bed->fd);
}

static void submit(struct bed *bed, struct probe *probe, enum block_op op,
		   uint64_t offset_bytes, uint64_t length_bytes)
{
	probe->calls = 0;
	probe->request.op = (uint8_t)op;
	probe->request.offset_bytes = offset_bytes;
	probe->request.length_bytes = length_bytes;
	probe->request.done = probe_done;
	probe->request.iov = probe->iov;
	probe->request.result = 1;
	block_submit(bed->device, &probe->request);
}

static int wait_for(struct bed *bed, struct probe *probe)
{
	while (probe->calls == 0)
		assert_int_equal(loop_run_once(bed->loop, UINT64_MAX), 0);
	assert_int_equal(probe->calls, 1);
	return probe->request.result;
}

static int run(struct bed *bed, enum block_op op, uint64_t offset_bytes,
	       void *data, uint64_t length_bytes)
{
	struct probe probe = {0};

	probe.iov[0] = (struct iovec){data, length_bytes};
	probe.request.iov_count = 1;
	submit(bed, &probe, op, offset_bytes, length_bytes);
	return wait_for(bed, &probe);
}

static unsigned char *pattern(size_t size, unsigned int seed)
{
	unsigned char *data = aligned_alloc(4096, (size + 8191) / 4096 * 4096);

	assert_non_null(data);
	for (size_t i = 0; i < size; i++)
		data[i] = (unsigned char)((i >> 9) * 31 + i * 7 + seed);
	return data;
}

/* ---- the same on every file system ---- */

static void check_round_trip(struct bed *bed)
{
	unsigned char *data = pattern(MIB, 1), *back = pattern(MIB, 2);

	assert_int_equal(run(bed, BLOCK_WRITE, 512, data, MIB), 0);
	assert_int_equal(run(bed, BLOCK_FLUSH, 0, NULL, 0), 0);
	assert_int_equal(run(bed, BLOCK_READ, 512, back, MIB), 0);
	assert_memory_equal(data, back, MIB);
	assert_int_equal(run(bed, BLOCK_WRITE, SIZE_BYTES - 512, data, 512), 0);
	assert_int_equal(run(bed, BLOCK_READ, SIZE_BYTES - 512, back, 512), 0);
	assert_memory_equal(data, back, 512);
	assert_int_equal(run(bed, BLOCK_READ, 0, back, 0), 0);
	free(data);
	free(back);
}

/* Guests' buffers lie anywhere; a request larger than a bounce buffer, in
 * pieces that fit nothing. */
static void check_odd_segments(struct bed *bed)
{
	unsigned char *data = pattern(MIB, 3), *back = pattern(MIB + 64, 4);
	const size_t cuts[] = {0, 1, 1000, 200001, 200002, MIB};
	struct probe probe = {0};

	probe.request.iov_count = 5;
	for (unsigned int i = 0; i < 5; i++)
		probe.iov[i] =
			(struct iovec){data + cuts[i], cuts[i + 1] - cuts[i]};
	submit(bed, &probe, BLOCK_WRITE, MIB, MIB);
	assert_int_equal(wait_for(bed, &probe), 0);
	for (unsigned int i = 0; i < 5; i++)
		probe.iov[4 - i] = (struct iovec){back + 7 + MIB - cuts[i + 1],
						  cuts[i + 1] - cuts[i]};
	submit(bed, &probe, BLOCK_READ, MIB, MIB);
	assert_int_equal(wait_for(bed, &probe), 0);
	/* Read with the cuts in reverse order: the last pieces first. */
	for (unsigned int i = 0, at = 0; i < 5; i++) {
		assert_memory_equal(probe.iov[i].iov_base, data + at,
				    probe.iov[i].iov_len);
		at += (unsigned int)probe.iov[i].iov_len;
	}
	free(data);
	free(back);
}

static void check_thousands_in_flight(struct bed *bed)
{
	struct probe *probes = calloc(FLIGHT, sizeof(*probes));
	unsigned char *data = pattern(SIZE_BYTES, 5);
	unsigned char *back = calloc(FLIGHT, 4096 + 8);

	assert_non_null(probes);
	assert_non_null(back);
	assert_int_equal(run(bed, BLOCK_WRITE, 0, data, SIZE_BYTES), 0);
	for (unsigned int i = 0; i < FLIGHT; i++) {
		/* Half of them where direct I/O wants a bounce. */
		probes[i].iov[0] =
			(struct iovec){back + i * 4104UL + i % 2, 4096};
		probes[i].request.iov_count = 1;
		submit(bed, &probes[i], BLOCK_READ, (i * 37UL % 1024) * 4096,
		       4096);
	}
	for (unsigned int i = 0; i < FLIGHT; i++) {
		assert_int_equal(wait_for(bed, &probes[i]), 0);
		assert_memory_equal(probes[i].iov[0].iov_base,
				    data + (i * 37UL % 1024) * 4096, 4096);
	}
	free(probes);
	free(data);
	free(back);
}

static uint64_t allocated(const struct bed *bed)
{
	struct stat status;

	assert_int_equal(fstat(bed->fd, &status), 0);
	return (uint64_t)status.st_blocks * 512;
}

static void check_discard_and_zeroes(struct bed *bed)
{
	unsigned char *data = pattern(SIZE_BYTES, 6);
	struct probe probe = {0};
	uint64_t before;

	assert_int_equal(run(bed, BLOCK_WRITE, 0, data, SIZE_BYTES), 0);
	before = allocated(bed);
	assert_int_equal(run(bed, BLOCK_DISCARD, MIB, NULL, MIB), 0);
	assert_true(allocated(bed) < before);
	probe.request.flags = BLOCK_FLAG_UNMAP;
	submit(bed, &probe, BLOCK_WRITE_ZEROES, 2 * MIB, MIB);
	assert_int_equal(wait_for(bed, &probe), 0);
	probe.request.flags = 0;
	submit(bed, &probe, BLOCK_WRITE_ZEROES, 3 * MIB + 512, MIB / 2);
	assert_int_equal(wait_for(bed, &probe), 0);
	memset(data + 2 * MIB, 0, MIB);
	memset(data + 3 * MIB + 512, 0, MIB / 2);
	{
		unsigned char *back = pattern(SIZE_BYTES, 0);

		assert_int_equal(run(bed, BLOCK_READ, 0, back, SIZE_BYTES), 0);
		assert_memory_equal(back, data, MIB);
		assert_memory_equal(back + 2 * MIB, data + 2 * MIB, 2 * MIB);
		free(back);
	}
	free(data);
}

/* Somebody shortens the file: what is left can be read, the rest is an error
 * and not zeroes, whatever came before. */
static void check_truncated(struct bed *bed)
{
	unsigned char *data = pattern(MIB, 7);
	struct probe probe = {0};

	assert_int_equal(run(bed, BLOCK_WRITE, 0, data, MIB), 0);
	assert_int_equal(ftruncate(bed->fd, 300000), 0);
	assert_int_equal(run(bed, BLOCK_READ, 0, data, 65536), 0);
	assert_int_equal(run(bed, BLOCK_READ, 0, data, MIB), -EIO);
	assert_int_equal(run(bed, BLOCK_READ, MIB, data, 4096), -EIO);
	assert_int_equal(run(bed, BLOCK_READ, 299520, data, 4096), -EIO);
	/* Also where the end lies inside a segment or a bounce buffer. */
	for (unsigned int shift = 0; shift < 2; shift++) {
		probe.iov[0] = (struct iovec){data + shift, 200000};
		probe.iov[1] =
			(struct iovec){data + 200000 + shift, MIB - 200000};
		probe.request.iov_count = 2;
		submit(bed, &probe, BLOCK_READ, 0, MIB);
		assert_int_equal(wait_for(bed, &probe), -EIO);
	}
	/* A write makes it long again. */
	assert_int_equal(run(bed, BLOCK_WRITE, MIB, data, 4096), 0);
	assert_int_equal(run(bed, BLOCK_READ, MIB, data, 4096), 0);
	free(data);
}

static void check_all(struct bed *bed)
{
	check_round_trip(bed);
	check_odd_segments(bed);
	check_thousands_in_flight(bed);
	check_discard_and_zeroes(bed);
	check_truncated(bed);
}

static void test_file_direct(void **state)
{
	struct bed bed;

	(void)state;
	bed_make(&bed, ".", O_DIRECT);
	check_all(&bed);
	bed_clear(&bed);
}

/* More misaligned requests than there are bounce buffers, each of many
 * buffers' length: an aligned one that came last need not wait for all. */
static void test_file_misaligned_delay_only_their_like(void **state)
{
	unsigned char *data = pattern(SIZE_BYTES, 8), *back = pattern(4096, 9);
	struct probe *many = calloc(MISALIGNED, sizeof(*many));
	unsigned int left = 0;
	struct bed bed;

	(void)state;
	bed_make(&bed, ".", O_DIRECT);
	assert_non_null(many);
	for (unsigned int i = 0; i < MISALIGNED; i++) {
		many[i].iov[0] = (struct iovec){data + 1, 2 * MIB};
		many[i].request.iov_count = 1;
		submit(&bed, &many[i], BLOCK_READ, 0, 2 * MIB);
	}
	assert_int_equal(run(&bed, BLOCK_READ, 0, back, 4096), 0);
	for (unsigned int i = 0; i < MISALIGNED; i++)
		left += many[i].calls == 0;
	for (unsigned int i = 0; i < MISALIGNED; i++)
		assert_int_equal(wait_for(&bed, &many[i]), 0);
	/* Behind them it would have come when all had a buffer or were done. */
	assert_true(left > BOUNCE_BUFFERS);
	bed_clear(&bed);
	free(many);
	free(data);
	free(back);
}

static void test_file_buffered(void **state)
{
	struct bed bed;

	(void)state;
	bed_make(&bed, ".", 0);
	check_all(&bed);
	bed_clear(&bed);
}

static void test_file_on_tmpfs(void **state)
{
	struct bed bed;

	(void)state;
	bed_make(&bed, "/dev/shm", 0);
	check_all(&bed);
	bed_clear(&bed);
}

/* ---- errors of the device ---- */

/* The kernel refuses writes beyond a process's file size limit. */
static void test_file_write_error_is_reported(void **state)
{
	struct rlimit limit, small;
	unsigned char *data = pattern(MIB, 8);
	struct bed bed;

	(void)state;
	bed_make(&bed, ".", 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	small = limit;
	small.rlim_cur = 2 * MIB;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	/* The first half fits: a short write, then the error. */
	assert_int_equal(run(&bed, BLOCK_WRITE, 2 * MIB - 4096, data, 8192),
			 -EFBIG);
	assert_int_equal(run(&bed, BLOCK_WRITE, 3 * MIB, data, 4096), -EFBIG);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	assert_int_equal(run(&bed, BLOCK_READ, 2 * MIB - 4096, data, 4096), 0);
	free(data);
	bed_clear(&bed);
}

static void test_file_without_space_left(void **state)
{
	char directory[] = "/tmp/test-file-XXXXXX";
	unsigned char *data = pattern(MIB, 9);
	struct bed bed;
	int failed = 0;

	(void)state;
	if (unshare(CLONE_NEWNS) < 0) {
		print_message("no right to mount a small file system\n");
		skip();
	}
	assert_non_null(mkdtemp(directory));
	assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	assert_int_equal(mount("none", directory, "tmpfs", 0, "size=1m"), 0);
	bed_make(&bed, directory, 0);
	for (uint64_t at = 0; at < SIZE_BYTES; at += 65536) {
		int result = run(&bed, BLOCK_WRITE, at, data, 65536);

		assert_true(result == 0 || result == -ENOSPC);
		failed += result != 0;
	}
	assert_true(failed > 0);
	/* What was refused harmed nobody else, and space may come back. */
	assert_int_equal(run(&bed, BLOCK_READ, 0, data, 65536), 0);
	assert_int_equal(run(&bed, BLOCK_DISCARD, 0, NULL, SIZE_BYTES), 0);
	assert_int_equal(run(&bed, BLOCK_WRITE, 3 * MIB, data, 65536), 0);
	free(data);
	bed_clear(&bed);
	umount(directory);
	rmdir(directory);
}

static void test_file_open_refuses_what_it_cannot(void **state)
{
	struct block_config config = {.kind = "file"};
	struct block_device *device = NULL;
	struct loop *loop = make_loop();
	char path[] = "./test-file-XXXXXX";
	struct error error;
	int fd = mkstemp(path), ends[2];

	(void)state;
	assert_true(fd >= 0);
	config.fd = fd;
	assert_int_equal(block_open(&config, loop, &device, &error), -EINVAL);
	assert_non_null(strstr(error.text, "empty"));
	assert_int_equal(ftruncate(fd, 10000), 0);
	config.size_bytes = 10240;
	assert_int_equal(block_open(&config, loop, &device, &error), -EINVAL);
	assert_non_null(strstr(error.text, "10000"));
	config.size_bytes = 0;
	config.fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(block_open(&config, loop, &device, &error), -EINVAL);
	config.read_only = true;
	assert_int_equal(block_open(&config, loop, &device, &error), 0);
	assert_int_equal(device->size_bytes, 9728);
	assert_true(device->read_only);
	block_close(device);
	config.read_only = false;
	config.fd = -1;
	assert_int_equal(block_open(&config, loop, &device, &error), -EBADF);
	assert_int_equal(pipe(ends), 0);
	config.fd = ends[1];
	assert_int_equal(block_open(&config, loop, &device, &error), -EINVAL);
	close(ends[0]);
	close(ends[1]);
	close(fd);
	unlink(path);
	loop_destroy(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_file_direct),
		cmocka_unit_test(test_file_misaligned_delay_only_their_like),
		cmocka_unit_test(test_file_buffered),
		cmocka_unit_test(test_file_on_tmpfs),
		cmocka_unit_test(test_file_write_error_is_reported),
		cmocka_unit_test(test_file_open_refuses_what_it_cannot),
		cmocka_unit_test(test_file_without_space_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
