/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-endpoint-faults.c - the real penstock-endpoint on a file: what a guest
 * did itself is not booked as the device's (E6)
 */
#include "endpoint-bench.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "sched/sched.h"
#include "vhost/client.h"

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

static void serve_file(struct bench *bench, int file_fd, int listen_fd)
{
	bench_ok(bench_ask(bench,
			   json_pack("{s:s, s:s, s:s, s:i, s:i}", "op",
				     "device-add", "name", "m0", "kind", "file",
				     "size_bytes", SIZE_BYTES, "slot", 0),
			   file_fd));
	bench_ok(bench_ask(bench, bench_vdev(), -1));
	bench_ok(bench_ask(bench, bench_process(1), -1));
	bench_ok(bench_ask(
		bench, json_pack("{s:s, s:s}", "op", "listen", "vdev", "vd0"),
		listen_fd));
}

/* The memory behind a read's buffer is gone when the kernel writes to it: the
 * session ends, the disk is not blamed. */
static void test_faults_truncated_memory_is_no_device_error(void **state)
{
	struct bench *bench = *state;
	const struct stats_process *process = &bench->stats->processes[1];
	const int listen_fd = bench_listener(&bench->front, SOCK_STREAM);
	const int memory_fd = memfd_create("guest", MFD_CLOEXEC);
	const int file_fd = make_file(bench);
	struct vhost_client_region region = {
		.fd = memory_fd,
		.size_bytes = BLOCK,
	};
	const struct vhost_client_config config = {
		.path = bench->front.sun_path,
		.queues = 1,
		.queue_size = 16,
		.timeout_ns = UINT64_C(20000000000),
		.regions = &region,
		.region_count = 1,
	};
	struct iovec iov = {.iov_len = BLOCK};
	struct vhost_client_request request = {.iov = &iov, .iov_count = 1};
	struct vhost_client *client;
	struct error why;
	bool resized;

	assert_int_equal(ftruncate(memory_fd, BLOCK), 0);
	region.address = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED,
			      memory_fd, 0);
	assert_true(region.address != MAP_FAILED);
	iov.iov_base = region.address;
	serve_file(bench, file_fd, listen_fd);
	if (vhost_client_create(&config, &client, &why) < 0)
		fail_msg("%s", why.text);
	assert_int_equal(ftruncate(memory_fd, 0), 0);
	assert_int_equal(
		vhost_client_add(vhost_client_queue(client, 0), &request), 0);
	vhost_client_publish(vhost_client_queue(client, 0));
	while (vhost_client_check(client, &resized) == 0)
		;
	assert_int_equal(stats_get(&process->direction[SCHED_READ].errors), 1);
	assert_int_equal(stats_get(&bench->stats->devices[0].errors), 0);
	vhost_client_destroy(client);
	munmap(region.address, BLOCK);
	close(memory_fd);
	close(file_fd);
	close(listen_fd);
}

int main(int argc, char **argv)
{
#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_faults_truncated_memory_is_no_device_error),
	};

	if (argc != 2)
		return 2;
	bench_program = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
