/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-endpoint-faults.c - the real penstock-endpoint: what a guest did itself
 * is not booked as the device's (E6); what a device could not write where
 * nothing was written before goes elsewhere (E3)
 */
#include "endpoint-bench.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "sched/sched.h"

#define BLOCK		4096U
#define SIZE_BYTES	(16 << 20)

/* Direct I/O, where the file system can. */
static int make_file(const struct bench *bench)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "%s/m0", bench->directory);
	fd = open(path, O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
	if (fd < 0)
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	unlink(path);
	assert_int_equal(ftruncate(fd, SIZE_BYTES), 0);
	return fd;
}

/* The memory behind a read's buffer is gone when the kernel writes to it: the
 * session ends, the disk is not blamed. */
static void test_faults_truncated_memory_is_no_device_error(void **state)
{
	struct bench *bench = *state;
	const struct stats_process *process = &bench->stats->processes[1];
	const int file_fd = make_file(bench);
	struct bench_guest guest;
	struct iovec iov = {.iov_len = BLOCK};
	struct vhost_client_request request = {
		.iov = &iov,
		.iov_count = 1,
		.op = VHOST_CLIENT_WRITE,
	};
	bool resized;

	bench_guest_create(&guest, bench, BLOCK);
	iov.iov_base = guest.memory;
	bench_add_device(bench, "file", SIZE_BYTES, file_fd);
	bench_add_pool(bench);
	bench_ok(bench_ask(bench, bench_vdev(), -1));
	bench_ok(bench_ask(bench, bench_process(1), -1));
	bench_ok(bench_listen(bench, guest.listen_fd));
	bench_guest_connect(&guest,
			    (struct vhost_client_config){.queue_size = 16});
	/* What was never written, the device is not asked for. */
	bench_guest_begin(&guest, &request);
	bench_guest_end(&guest, &request);
	assert_int_equal(ftruncate(guest.memory_fd, 0), 0);
	request.op = VHOST_CLIENT_READ;
	bench_guest_begin(&guest, &request);
	while (vhost_client_check(guest.client, &resized) == 0)
		;
	assert_int_equal(stats_get(&process->direction[SCHED_READ].errors), 1);
	assert_int_equal(stats_get(&bench->stats->devices[0].errors), 0);
	bench_guest_destroy(&guest);
	close(file_fd);
}

/* Every other write fails.  That is the device's, and nobody else sees it. */
static void test_faults_first_write_goes_elsewhere(void **state)
{
	struct bench *bench = *state;
	const struct stats_process *process = &bench->stats->processes[1];
	struct bench_guest guest;
	struct iovec iov = {.iov_len = BLOCK};
	struct vhost_client_request request = {
		.iov = &iov,
		.iov_count = 1,
		.op = VHOST_CLIENT_WRITE,
	};
	json_t *status;
	json_int_t bad = -1;

	bench_guest_create(&guest, bench, BLOCK);
	iov.iov_base = guest.memory;
	bench_ok(
		bench_ask(bench,
			  json_pack("{s:s, s:s, s:s, s:i, s:i, s:{s:i, s:i}}",
				    "op", "device-add", "name", "m0", "kind",
				    "nullio", "size_bytes", 64 << 20, "slot", 0,
				    "model", "error_ppm", 500000, "seed", 3),
			  -1));
	bench_add_pool(bench);
	bench_ok(bench_ask(bench, bench_vdev(), -1));
	bench_ok(bench_ask(bench, bench_process(1), -1));
	bench_ok(bench_listen(bench, guest.listen_fd));
	bench_guest_connect(&guest,
			    (struct vhost_client_config){.queue_size = 16});
	for (uint64_t i = 0; i < 8; i++) {
		request.offset_bytes = i << 20;
		bench_guest_begin(&guest, &request);
		bench_guest_end(&guest, &request);
	}
	assert_int_equal(stats_get(&process->direction[SCHED_WRITE].errors), 0);
	assert_in_range(stats_get(&bench->stats->devices[0].errors), 1, 20);
	status = bench_ask(bench, json_pack("{s:s}", "op", "status"), -1);
	assert_int_equal(json_unpack(status, "{s:[{s:{s:I}}]}", "devices",
				     "member", "bad", &bad),
			 0);
	assert_int_equal(bad, stats_get(&bench->stats->devices[0].errors));
	json_decref(status);
	bench_guest_destroy(&guest);
}

int main(int argc, char **argv)
{
#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_faults_truncated_memory_is_no_device_error),
		TEST(test_faults_first_write_goes_elsewhere),
	};

	if (argc != 2)
		return 2;
	bench_program = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
