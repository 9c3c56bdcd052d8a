/* SPDX-License-Identifier: Apache-2.0 */
/* test-endpoint.c - the real penstock-endpoint, told what to do as penstockd
 * tells it (docs/control.md); first argument: its path */
#include "endpoint-bench.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <poll.h>

#include "ctl/ctl.h"
#include "ctl/stats.h"

static void test_endpoint_says_who_it_is(void **state)
{
	struct bench *bench = *state;
	json_t *reply = bench_ask(
		bench,
		json_pack("{s:s, s:i}", "op", "hello", "version", CTL_VERSION),
		-1);

	assert_string_equal(json_string_value(json_object_get(reply, "name")),
			    "ep0");
	assert_int_equal(json_integer_value(json_object_get(reply, "pid")),
			 bench->pid);
	json_decref(reply);
	bench_error(bench_ask(bench,
			      json_pack("{s:s, s:i}", "op", "hello", "version",
					CTL_VERSION + 1),
			      -1),
		    EPROTO);
}

/* It is not adopted, but can be asked to end. */
static void test_endpoint_of_another_version_can_be_drained(void **state)
{
	struct bench *bench = *state;
	json_t *reply = bench_ask(
		bench, json_pack("{s:s, s:i}", "op", "hello", "version", 1),
		-1);
	char speaks[64];
	int status;

	snprintf(speaks, sizeof(speaks), "endpoint ep0 speaks version %d of",
		 CTL_VERSION);
	assert_non_null(strstr(
		json_string_value(json_object_get(reply, "error")), speaks));
	bench_error(reply, EPROTO);
	bench_ok(bench_ask(bench, json_pack("{s:s}", "op", "drain"), -1));
	assert_int_equal(waitpid(bench->pid, &status, 0), bench->pid);
	bench->pid = 0;
	assert_true(WIFEXITED(status));
}

static unsigned long long status_field(pid_t pid, const char *name, int base)
{
	char path[64], line[256];
	unsigned long long value = 99;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	file = fopen(path, "re");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		if (!strncmp(line, name, strlen(name)))
			value = strtoull(line + strlen(name), NULL, base);
	fclose(file);
	return value;
}

/* A guest that breaks in holds nothing. */
static void test_endpoint_has_no_privileges(void **state)
{
	struct bench *bench = *state;

	json_decref(bench_ask(
		bench,
		json_pack("{s:s, s:i}", "op", "hello", "version", CTL_VERSION),
		-1));
	assert_int_equal(status_field(bench->pid, "CapEff:", 16), 0);
	assert_int_equal(status_field(bench->pid, "CapPrm:", 16), 0);
	assert_int_equal(status_field(bench->pid, "NoNewPrivs:", 10), 1);
#ifndef __SANITIZE_ADDRESS__
	assert_int_equal(status_field(bench->pid, "Seccomp:", 10), 2);
#endif
}

static void test_endpoint_repeated_requests_change_nothing(void **state)
{
	struct bench *bench = *state;
	json_t *reply;
	int fd;

	fd = bench_memory(16 << 20);
	for (unsigned int i = 0; i < 2; i++) {
		bench_add_device(bench, "memory", 16 << 20, fd);
		bench_add_pool(bench);
	}
	close(fd);
	for (unsigned int i = 0; i < 2; i++) {
		bench_ok(bench_ask(bench, bench_vdev(), -1));
		bench_ok(bench_ask(bench, bench_process(1), -1));
	}
	fd = bench_listener(&bench->front, SOCK_STREAM);
	for (unsigned int i = 0; i < 2; i++)
		bench_ok(bench_listen(bench, fd));
	close(fd);
	reply = bench_ask(bench, json_pack("{s:s}", "op", "list"), -1);
	assert_int_equal(json_array_size(json_object_get(reply, "devices")), 1);
	assert_int_equal(json_array_size(json_object_get(reply, "vdevs")), 1);
	assert_int_equal(json_array_size(json_object_get(reply, "processes")),
			 1);
	assert_int_equal(json_array_size(json_object_get(reply, "listeners")),
			 1);
	json_decref(reply);
}

static void test_endpoint_names_the_wrong_field(void **state)
{
	struct bench *bench = *state;
	json_t *request;

	bench_error(bench_ask(bench, json_pack("{s:s}", "op", "fly"), -1),
		    ENOSYS);
	bench_error(
		bench_ask(bench, json_pack("{s:s}", "op", "device-add"), -1),
		EINVAL);
	bench_error(bench_ask(bench,
			      json_pack("{s:s, s:s, s:s}", "op", "device-add",
					"name", "x", "kind", "floppy"),
			      -1),
		    EINVAL);
	bench_error(bench_ask(bench, bench_vdev(), -1), ENOENT);
	bench_add_storage(bench);
	request = bench_vdev();
	json_object_del(request, "pool");
	bench_error(bench_ask(bench, request, -1), EINVAL);
	request = bench_vdev();
	json_object_set_new(request, "size_bytes", json_integer(17 << 20));
	json_object_set_new(request, "thick", json_true());
	bench_error(bench_ask(bench, request, -1), ENOSPC);
	bench_ok(bench_ask(bench, bench_vdev(), -1));
	bench_error(bench_ask(bench, bench_process(0), -1), EINVAL);
	bench_error(bench_listen(bench, -1), EINVAL);
	bench_error(bench_ask(bench,
			      json_pack("{s:s, s:s}", "op", "device-remove",
					"name", "m0"),
			      -1),
		    EBUSY);
	bench_error(bench_ask(bench,
			      json_pack("{s:s, s:i}", "op", "process-update",
					"pasid", 9),
			      -1),
		    ENOENT);
}

/* A connection that talks nonsense is closed; the next one finds everything
 * as it was, descriptors included. */
static void test_endpoint_is_adopted_by_the_next_connection(void **state)
{
	struct bench *bench = *state;
	struct stat status;
	json_t *reply, *item;
	char byte;

	bench_add_storage(bench);
	bench_ok(bench_ask(bench, bench_vdev(), -1));
	bench_ok(bench_ask(bench, bench_process(5), -1));
	assert_int_equal(send(bench->connection, "[]", 2, 0), 2);
	assert_int_equal(recv(bench->connection, &byte, 1, 0), 0);
	close(bench->connection);

	bench->connection = bench_connect(bench);
	reply = bench_ask(bench, json_pack("{s:s}", "op", "list"), -1);
	item = json_array_get(json_object_get(reply, "processes"), 0);
	assert_int_equal(json_integer_value(json_object_get(item, "pasid")), 5);
	assert_null(json_object_get(reply, "next"));
	json_decref(reply);
	bench_ok(bench_ask(bench,
			   json_pack("{s:s, s:s, s:s}", "op", "descriptor",
				     "kind", "device", "name", "m0"),
			   -1));
	assert_int_equal(fstat(bench->fd, &status), 0);
	assert_int_equal(status.st_size, 16 << 20);
	close(bench->fd);
	bench_ok(bench_ask(
		bench,
		json_pack("{s:s, s:s}", "op", "descriptor", "kind", "stats"),
		-1));
	close(bench->fd);
	bench_error(bench_ask(bench,
			      json_pack("{s:s, s:s, s:s}", "op", "descriptor",
					"kind", "device", "name", "none"),
			      -1),
		    ENOENT);
}

static json_int_t sessions_of(struct bench *bench, const char *op,
			      const char *array)
{
	json_t *reply = bench_ask(bench, json_pack("{s:s}", "op", op), -1);
	json_t *front = json_array_get(json_object_get(reply, array), 0);
	json_int_t sessions =
		json_integer_value(json_object_get(front, "sessions"));

	json_decref(reply);
	return sessions;
}

static void test_endpoint_lists_who_is_there(void **state)
{
	struct bench *bench = *state;
	int fd, front = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	bench_add_storage(bench);
	bench_ok(bench_ask(bench, bench_vdev(), -1));
	fd = bench_listener(&bench->front, SOCK_STREAM);
	bench_ok(bench_listen(bench, fd));
	close(fd);
	assert_int_equal(connect(front, (struct sockaddr *)&bench->front,
				 sizeof(bench->front)),
			 0);
	while (sessions_of(bench, "status", "fronts") == 0)
		;
	assert_int_equal(sessions_of(bench, "list", "listeners"), 1);
	close(front);
}

/* The least that names an export: no reply is read but the greeting. */
static int name_export(const struct bench *bench, const char *name)
{
	static const unsigned char flags[] = {0, 0, 0, 3};
	static const unsigned char option[] = {'I', 'H', 'A', 'V', 'E', 'O',
					       'P', 'T', 0,   0,   0,	1};
	const unsigned char length[] = {0, 0, 0, (unsigned char)strlen(name)};
	unsigned char greeting[18];
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (const struct sockaddr *)&bench->front,
				 sizeof(bench->front)),
			 0);
	assert_int_equal(recv(fd, greeting, sizeof(greeting), MSG_WAITALL),
			 sizeof(greeting));
	assert_int_equal(write(fd, flags, sizeof(flags)), sizeof(flags));
	assert_int_equal(write(fd, option, sizeof(option)), sizeof(option));
	assert_int_equal(write(fd, length, sizeof(length)), sizeof(length));
	assert_int_equal(write(fd, name, strlen(name)), strlen(name));
	return fd;
}

/* E12: who was told of sessions and forgot, asks for the list. */
static void test_endpoint_lists_who_named_a_process(void **state)
{
	struct bench *bench = *state;
	int fd, client;

	bench_add_storage(bench);
	bench_ok(bench_ask(bench, bench_vdev(), -1));
	bench_ok(bench_ask(bench, bench_process(5), -1));
	fd = bench_listener(&bench->front, SOCK_STREAM);
	bench_ok(bench_ask(bench,
			   json_pack("{s:s, s:s, s:s}", "op", "listen", "kind",
				     "nbd", "vdev", "vd0"),
			   fd));
	close(fd);
	client = name_export(bench, "vd0/5");
	while (sessions_of(bench, "list", "processes") == 0)
		;
	assert_int_equal(sessions_of(bench, "list", "processes"), 1);
	close(client);
	while (sessions_of(bench, "list", "processes") != 0)
		;
}

static void test_endpoint_lists_many_in_parts(void **state)
{
	struct bench *bench = *state;
	json_int_t from = 0;
	size_t seen = 0;

	bench_add_storage(bench);
	bench_ok(bench_ask(bench, bench_vdev(), -1));
	for (unsigned int pasid = 1; pasid <= 250; pasid++) {
		json_t *request = bench_process(pasid);

		json_object_set_new(request, "own_socket", json_true());
		bench_ok(bench_ask(bench, request, -1));
	}
	do {
		json_t *reply = bench_ask(
			bench,
			json_pack("{s:s, s:I}", "op", "list", "from", from),
			-1);

		seen += json_array_size(json_object_get(reply, "processes"));
		from = json_integer_value(json_object_get(reply, "next"));
		json_decref(reply);
	} while (from);
	assert_int_equal(seen, 250);
}

static void test_endpoint_updates_and_removes(void **state)
{
	struct bench *bench = *state;
	struct sched_params params = {.weight = 7};
	json_t *reply, *item;

	bench_add_storage(bench);
	bench_ok(bench_ask(bench, bench_vdev(), -1));
	bench_ok(bench_ask(bench, bench_process(1), -1));
	bench_ok(bench_ask(bench,
			   json_pack("{s:s, s:i, s:i, s:o}", "op",
				     "process-update", "pasid", 1, "slot", 1,
				     "params", ctl_from_sched_params(&params)),
			   -1));
	bench_ok(bench_ask(bench,
			   json_pack("{s:s, s:s, s:i}", "op", "vdev-resize",
				     "name", "vd0", "size_bytes", 4 << 20),
			   -1));
	reply = bench_ask(bench, json_pack("{s:s}", "op", "list"), -1);
	item = json_array_get(json_object_get(reply, "processes"), 0);
	item = json_object_get(json_object_get(item, "params"), "weight");
	assert_int_equal(json_integer_value(item), 7);
	item = json_array_get(json_object_get(reply, "vdevs"), 0);
	assert_int_equal(
		json_integer_value(json_object_get(item, "size_bytes")),
		4 << 20);
	json_decref(reply);
	for (unsigned int i = 0; i < 2; i++) {
		bench_ok(bench_ask(bench,
				   json_pack("{s:s, s:i}", "op",
					     "process-remove", "pasid", 1),
				   -1));
		bench_ok(bench_ask(bench,
				   json_pack("{s:s, s:s}", "op", "vdev-remove",
					     "name", "vd0"),
				   -1));
		bench_ok(bench_ask(bench,
				   json_pack("{s:s, s:s}", "op", "pool-remove",
					     "name", "p"),
				   -1));
		bench_ok(bench_ask(bench,
				   json_pack("{s:s, s:s}", "op",
					     "device-remove", "name", "m0"),
				   -1));
	}
}

/* E8: a device is measured before anything is promised on it. */
static void test_endpoint_calibrates_a_device(void **state)
{
	struct bench *bench = *state;
	struct capacity capacity;
	json_t *reply;

	bench_add_storage(bench);
	reply = bench_ask(bench,
			  json_pack("{s:s, s:s, s:I}", "op", "device-calibrate",
				    "name", "m0", "duration_ns",
				    (json_int_t)200000000),
			  -1);
	assert_int_equal(
		ctl_to_capacity(json_object_get(reply, "capacity"), &capacity),
		0);
	json_decref(reply);
	assert_true(capacity.is_short);
	assert_true(capacity.write_measured);
	assert_true(capacity.direction[0].count > 0);
	assert_true(capacity.direction[0].points[0].iops > 0);
	bench_ok(bench_ask(bench,
			   json_pack("{s:s, s:s, s:o}", "op", "device-capacity",
				     "name", "m0", "capacity",
				     ctl_from_capacity(&capacity)),
			   -1));
}

static void test_endpoint_drains_and_ends(void **state)
{
	struct bench *bench = *state;
	int fd, status;

	bench_add_storage(bench);
	bench_ok(bench_ask(bench, bench_vdev(), -1));
	fd = bench_listener(&bench->front, SOCK_STREAM);
	bench_ok(bench_listen(bench, fd));
	close(fd);
	bench_ok(bench_ask(bench, json_pack("{s:s}", "op", "drain"), -1));
	assert_int_equal(waitpid(bench->pid, &status, 0), bench->pid);
	bench->pid = 0;
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(int argc, char **argv)
{
#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_endpoint_says_who_it_is),
		TEST(test_endpoint_has_no_privileges),
		TEST(test_endpoint_repeated_requests_change_nothing),
		TEST(test_endpoint_names_the_wrong_field),
		TEST(test_endpoint_is_adopted_by_the_next_connection),
		TEST(test_endpoint_lists_who_is_there),
		TEST(test_endpoint_lists_who_named_a_process),
		TEST(test_endpoint_lists_many_in_parts),
		TEST(test_endpoint_updates_and_removes),
		TEST(test_endpoint_calibrates_a_device),
		TEST(test_endpoint_drains_and_ends),
		TEST(test_endpoint_of_another_version_can_be_drained),
	};

	if (argc != 2)
		return 2;
	bench_program = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
