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
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctl/ctl.h"

#define LONG_NS		INT64_C(600000000)
#define BLOCK		4096U

static json_t *calibrate(json_int_t duration_ns)
{
	return json_pack("{s:s, s:s, s:I}", "op", "device-calibrate", "name",
			 "m0", "duration_ns", duration_ns);
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

	bench_add_storage(bench);
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

	bench_add_storage(bench);
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
	bench_add_pool(bench);
	bench_ok(bench_ask(bench, bench_vdev(), -1));
	bench_ok(bench_listen(bench, listen_fd));
}

/* A way in that is closed while a request is in flight: answered when that is
 * done, left out of the list, and not opened again before. */
static void test_late_unlisten_drains(void **state)
{
	struct bench *bench = *state;
	struct bench_guest guest;
	struct iovec iov = {.iov_len = BLOCK};
	struct vhost_client_request request = {
		.iov = &iov,
		.iov_count = 1,
		.op = VHOST_CLIENT_WRITE,
	};
	struct vhost_client_request *done[1];
	json_int_t unlisten;
	json_t *reply;
	bool resized;

	bench_guest_create(&guest, bench, BLOCK);
	iov.iov_base = guest.memory;
	add_slow_vdev(bench, guest.listen_fd);
	bench_guest_connect(&guest,
			    (struct vhost_client_config){.queue_size = 16});
	bench_guest_begin(&guest, &request);
	while (stats_get(&bench->stats->processes[0].in_flight) +
		       stats_get(&bench->stats->devices[0].in_flight) ==
	       0)
		;
	unlisten = send_request(bench,
				json_pack("{s:s, s:s, s:s}", "op", "unlisten",
					  "kind", "vhost-user", "vdev", "vd0"),
				-1);
	bench_error(bench_listen(bench, guest.listen_fd), EBUSY);
	reply = bench_ask(bench, json_pack("{s:s}", "op", "list"), -1);
	assert_int_equal(json_array_size(json_object_get(reply, "listeners")),
			 0);
	json_decref(reply);
	reply = bench_reply(bench);
	assert_int_equal(json_integer_value(json_object_get(reply, "id")),
			 unlisten);
	json_decref(reply);
	/* It was done before its session was closed. */
	while (vhost_client_check(guest.client, &resized) == 0)
		;
	assert_int_equal(vhost_client_reap(guest.queue, done, 1), 1);
	assert_int_equal(request.result, 0);
	bench_ok(bench_listen(bench, guest.listen_fd));
	bench_guest_destroy(&guest);
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
		TEST(test_late_unlisten_drains),
		TEST(test_late_ring_is_restricted),
	};

	if (argc != 2)
		return 2;
	bench_program = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
