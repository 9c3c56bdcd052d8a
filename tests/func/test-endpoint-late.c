/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-endpoint-late.c - the real penstock-endpoint: what is answered when it
 * is done, perhaps to the next penstockd; what its ring refuses
 */
#include "endpoint-bench.h"

#include <dirent.h>
#include <errno.h>
#include <linux/io_uring.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctl/ctl.h"
#include "vhost/client.h"

#define LONG_NS		INT64_C(600000000)
#define BLOCK		4096U

static json_t *calibrate(json_int_t duration_ns)
{
	return json_pack("{s:s, s:s, s:I, s:i, s:i}", "op", "device-calibrate",
			 "name", "m0", "duration_ns", duration_ns,
			 "free_offset_bytes", 9 << 20, "free_size_bytes",
			 1 << 20);
}

/* Ask, and don't wait for the answer. */
static json_int_t send_request(struct bench *bench, json_t *request, int fd)
{
	json_object_set_new(request, "id", json_integer(++bench->id));
	assert_int_equal(ctl_send(bench->connection, request, fd), 0);
	json_decref(request);
	return bench->id;
}

static json_t *list_device(struct bench *bench)
{
	json_t *list = bench_ask(bench, json_pack("{s:s}", "op", "list"), -1);
	json_t *device = json_incref(
		json_array_get(json_object_get(list, "devices"), 0));

	json_decref(list);
	return device;
}

static bool is_calibrating(struct bench *bench)
{
	json_t *device = list_device(bench);
	bool is = json_is_true(json_object_get(device, "calibrating"));

	json_decref(device);
	return is;
}

static void change_connection(struct bench *bench)
{
	close(bench->connection);
	bench->connection = bench_connect(bench);
}

/* --- Measuring ----------------------------------------------------------- */

/* The next penstockd, asking in the same words, has the answer; what the first
 * one asked is never answered to it: numbers begin anew (bench_ask checks). */
static void test_late_measurement_is_taken_over(void **state)
{
	struct bench *bench = *state;
	struct capacity capacity;
	json_t *device, *reply;

	bench_add_device(bench);
	send_request(bench, calibrate(LONG_NS), -1);
	change_connection(bench);
	device = list_device(bench);
	assert_true(json_is_true(json_object_get(device, "calibrating")));
	reply = json_object_get(device, "calibration");
	assert_int_equal(
		json_integer_value(json_object_get(reply, "duration_ns")),
		LONG_NS);
	json_decref(device);
	bench_error(bench_ask(bench, calibrate(LONG_NS + 1), -1), EBUSY);
	reply = bench_ask(bench, calibrate(LONG_NS), -1);
	assert_int_equal(
		ctl_to_capacity(json_object_get(reply, "capacity"), &capacity),
		0);
	json_decref(reply);
	assert_true(capacity.write_measured);
	assert_false(is_calibrating(bench));
}

/* A result that nobody took is kept until somebody says that he has it. */
static void test_late_result_is_kept(void **state)
{
	struct bench *bench = *state;
	struct capacity capacity;
	json_t *device, *reply, *again;

	bench_add_device(bench);
	send_request(bench, calibrate(LONG_NS / 3), -1);
	change_connection(bench);
	while (is_calibrating(bench))
		;
	reply = bench_ask(bench, calibrate(LONG_NS / 3), -1);
	change_connection(bench);
	again = bench_ask(bench, calibrate(LONG_NS / 3), -1);
	assert_true(json_equal(json_object_get(reply, "capacity"),
			       json_object_get(again, "capacity")));
	assert_int_equal(
		ctl_to_capacity(json_object_get(reply, "capacity"), &capacity),
		0);
	json_decref(reply);
	json_decref(again);
	bench_ok(bench_ask(bench,
			   json_pack("{s:s, s:s, s:o}", "op", "device-capacity",
				     "name", "m0", "capacity",
				     ctl_from_capacity(&capacity)),
			   -1));
	device = list_device(bench);
	assert_null(json_object_get(device, "calibration"));
	json_decref(device);
}

/* What is measured with writes is what was named, and nothing beside it. */
static void test_late_measures_only_what_is_free(void **state)
{
	struct bench *bench = *state;
	const size_t size = 16 << 20;
	unsigned char *map;
	size_t i;

	bench_add_device(bench);
	bench_ok(bench_ask(bench,
			   json_pack("{s:s, s:s, s:s}", "op", "descriptor",
				     "kind", "device", "name", "m0"),
			   -1));
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, bench->fd,
		   0);
	assert_true(map != MAP_FAILED);
	memset(map, 'd', size);
	bench_ok(bench_ask(bench, calibrate(LONG_NS / 3), -1));
	for (i = 0; i < size; i++)
		if ((i < 9 << 20 || i >= 10 << 20) && map[i] != 'd')
			fail_msg("byte %zu was written", i);
	/* And it was measured with writes: it does not hold what it did. */
	assert_int_not_equal(map[9 << 20], 'd');
	munmap(map, size);
	close(bench->fd);
}

/* --- Draining ------------------------------------------------------------ */

static void add_slow_vdev(struct bench *bench, int listen_fd)
{
	bench_ok(bench_ask(
		bench,
		json_pack("{s:s, s:s, s:s, s:i, s:i, s:{s:i, s:I, s:I}}", "op",
			  "device-add", "name", "m0", "kind", "nullio",
			  "size_bytes", 16 << 20, "slot", 0, "model", "servers",
			  1, "read_median_ns", (json_int_t)1500000000,
			  "write_median_ns", (json_int_t)1500000000),
		-1));
	bench_ok(bench_ask(bench, bench_vdev(), -1));
	bench_ok(bench_ask(
		bench, json_pack("{s:s, s:s}", "op", "listen", "vdev", "vd0"),
		listen_fd));
}

static struct vhost_client *connect_client(struct bench *bench, int memory_fd,
					   void *memory)
{
	const struct vhost_client_region region = {
		.fd = memory_fd,
		.address = memory,
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
	struct vhost_client *client;
	struct error why;

	if (vhost_client_create(&config, &client, &why) < 0)
		fail_msg("%s", why.text);
	return client;
}

/* A way in that is closed while a request is in flight: answered when that is
 * done, left out of the list, and not opened again before. */
static void test_late_unlisten_drains(void **state)
{
	struct bench *bench = *state;
	int listen_fd = bench_listener(&bench->front, SOCK_STREAM);
	int memory_fd = memfd_create("guest", MFD_CLOEXEC);
	struct iovec iov = {.iov_len = BLOCK};
	struct vhost_client_request request = {
		.iov = &iov,
		.iov_count = 1,
		.op = VHOST_CLIENT_READ,
		.result = 1,
	};
	struct vhost_client_request *done[1];
	struct vhost_client *client;
	struct vhost_client_queue *queue;
	json_int_t unlisten;
	json_t *reply;
	bool resized;

	assert_int_equal(ftruncate(memory_fd, BLOCK), 0);
	iov.iov_base = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED,
			    memory_fd, 0);
	add_slow_vdev(bench, listen_fd);
	client = connect_client(bench, memory_fd, iov.iov_base);
	queue = vhost_client_queue(client, 0);
	assert_int_equal(vhost_client_add(queue, &request), 0);
	vhost_client_publish(queue);
	while (stats_get(&bench->stats->processes[0].in_flight) +
		       stats_get(&bench->stats->devices[0].in_flight) ==
	       0)
		;
	unlisten = send_request(
		bench, json_pack("{s:s, s:s}", "op", "unlisten", "vdev", "vd0"),
		-1);
	bench_error(bench_ask(bench,
			      json_pack("{s:s, s:s}", "op", "listen", "vdev",
					"vd0"),
			      listen_fd),
		    EBUSY);
	reply = bench_ask(bench, json_pack("{s:s}", "op", "list"), -1);
	assert_int_equal(json_array_size(json_object_get(reply, "listeners")),
			 0);
	json_decref(reply);
	reply = bench_reply(bench);
	assert_int_equal(json_integer_value(json_object_get(reply, "id")),
			 unlisten);
	json_decref(reply);
	/* It was done before its session was closed. */
	while (vhost_client_check(client, &resized) == 0)
		;
	assert_int_equal(vhost_client_reap(queue, done, 1), 1);
	assert_int_equal(request.result, 0);
	bench_ok(bench_ask(
		bench, json_pack("{s:s, s:s}", "op", "listen", "vdev", "vd0"),
		listen_fd));
	vhost_client_destroy(client);
	munmap(iov.iov_base, BLOCK);
	close(memory_fd);
	close(listen_fd);
}

/* --- The ring ------------------------------------------------------------ */

/* Our copy of a descriptor of the endpoint's: its first ring. */
static int copy_ring(pid_t pid)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0), fd = -1;
	char path[300], link[64];
	struct dirent *entry;
	DIR *directory;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	directory = opendir(path);
	assert_non_null(directory);
	while (fd < 0 && (entry = readdir(directory)) != NULL) {
		ssize_t length;

		snprintf(path, sizeof(path), "/proc/%d/fd/%s", (int)pid,
			 entry->d_name);
		length = readlink(path, link, sizeof(link) - 1);
		if (length <= 0)
			continue;
		link[length] = '\0';
		if (strstr(link, "io_uring"))
			fd = (int)syscall(SYS_pidfd_getfd, pidfd,
					  atoi(entry->d_name), 0);
	}
	closedir(directory);
	close(pidfd);
	return fd;
}

/* Whoever takes the endpoint over cannot teach its ring anything. */
static void test_late_ring_is_restricted(void **state)
{
	struct bench *bench = *state;
	struct iovec iov = {.iov_base = state, .iov_len = sizeof(*state)};
	int fd;

	json_decref(bench_ask(
		bench,
		json_pack("{s:s, s:i}", "op", "hello", "version", CTL_VERSION),
		-1));
	fd = copy_ring(bench->pid);
	if (fd < 0)
		skip();		/* not ours to trace: no CAP_SYS_PTRACE */
	/* Refused for the restriction, or already for not being its thread. */
	assert_int_equal(syscall(SYS_io_uring_register, fd,
				 IORING_REGISTER_BUFFERS, &iov, 1),
			 -1);
	assert_true(errno == EACCES || errno == EEXIST);
	close(fd);
}

int main(int argc, char **argv)
{
#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_late_measurement_is_taken_over),
		TEST(test_late_result_is_kept),
		TEST(test_late_measures_only_what_is_free),
		TEST(test_late_unlisten_drains),
		TEST(test_late_ring_is_restricted),
	};

	if (argc != 2)
		return 2;
	bench_program = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
