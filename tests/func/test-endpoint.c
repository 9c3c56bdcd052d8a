/* SPDX-License-Identifier: Apache-2.0 */
/* test-endpoint.c - the real penstock-endpoint, told what to do as penstockd
 * tells it (docs/control.md); first argument: its path */
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

static const char *program;

struct bench {
	char directory[32];
	struct sockaddr_un control, front;
	struct stats_segment *stats;
	int connection;
	pid_t pid;
	json_int_t id;
	int fd;			/* that came with the last reply, or -1 */
};

static int listener(const struct sockaddr_un *address, int type)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(
		bind(fd, (const struct sockaddr *)address, sizeof(*address)),
		0);
	assert_int_equal(listen(fd, 16), 0);
	return fd;
}

static void set_path(struct sockaddr_un *address, const char *directory,
		     const char *name)
{
	address->sun_family = AF_UNIX;
	snprintf(address->sun_path, sizeof(address->sun_path), "%s/%s",
		 directory, name);
}

static int connect_control(const struct bench *bench)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (const struct sockaddr *)&bench->control,
				 sizeof(bench->control)),
			 0);
	return fd;
}

static void start(struct bench *bench, int control, int stats)
{
	bench->pid = fork();
	assert_true(bench->pid >= 0);
	if (bench->pid == 0) {
		/* Out of the way first: either may be 3 or 4 already. */
		control = dup2(control, 20);
		stats = dup2(stats, 21);
		dup2(control, CTL_LISTEN_FD);
		dup2(stats, CTL_STATS_FD);
		execl(program, "penstock-endpoint", "--name", "ep0", NULL);
		_exit(127);
	}
}

static int setup(void **state)
{
	struct bench *bench = calloc(1, sizeof(*bench));
	int control, stats;

	strcpy(bench->directory, "/tmp/penstock-test-XXXXXX");
	assert_non_null(mkdtemp(bench->directory));
	set_path(&bench->control, bench->directory, "ep0.ctl");
	set_path(&bench->front, bench->directory, "vd0.sock");
	control = listener(&bench->control, SOCK_SEQPACKET);
	stats = memfd_create("stats", MFD_CLOEXEC);
	assert_int_equal(ftruncate(stats, sizeof(*bench->stats)), 0);
	bench->stats = mmap(NULL, sizeof(*bench->stats), PROT_READ | PROT_WRITE,
			    MAP_SHARED, stats, 0);
	assert_true(bench->stats != MAP_FAILED);
	bench->stats->magic = STATS_MAGIC;
	bench->stats->size_bytes = sizeof(*bench->stats);
	start(bench, control, stats);
	close(control);
	close(stats);
	bench->connection = connect_control(bench);
	bench->fd = -1;
	*state = bench;
	return 0;
}

static int teardown(void **state)
{
	struct bench *bench = *state;

	if (bench->pid > 0) {
		kill(bench->pid, SIGKILL);
		waitpid(bench->pid, NULL, 0);
	}
	close(bench->connection);
	unlink(bench->control.sun_path);
	unlink(bench->front.sun_path);
	rmdir(bench->directory);
	munmap(bench->stats, sizeof(*bench->stats));
	free(bench);
	return 0;
}

/* The next message that is a reply; events in between are dropped. */
static json_t *next_reply(struct bench *bench)
{
	struct pollfd ready = {.fd = bench->connection, .events = POLLIN};
	json_t *message;

	for (;;) {
		assert_int_equal(poll(&ready, 1, 20000), 1);
		assert_int_equal(
			ctl_receive(bench->connection, &message, &bench->fd),
			0);
		if (json_object_get(message, "id"))
			return message;
		json_decref(message);
	}
}

static json_t *ask_with(struct bench *bench, json_t *request, int fd)
{
	json_t *reply;

	assert_non_null(request);
	json_object_set_new(request, "id", json_integer(++bench->id));
	assert_int_equal(ctl_send(bench->connection, request, fd), 0);
	json_decref(request);
	reply = next_reply(bench);
	assert_int_equal(json_integer_value(json_object_get(reply, "id")),
			 bench->id);
	return reply;
}

static void expect_ok(json_t *reply)
{
	if (!json_is_true(json_object_get(reply, "ok")))
		fail_msg("refused: %s",
			 json_string_value(json_object_get(reply, "error")));
	json_decref(reply);
}

static void expect_error(json_t *reply, int error)
{
	assert_int_equal(json_integer_value(json_object_get(reply, "errno")),
			 error);
	assert_true(json_string_length(json_object_get(reply, "error")) > 0);
	json_decref(reply);
}

static int memory(size_t size)
{
	int fd = memfd_create("m0", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	return fd;
}

static void add_device(struct bench *bench)
{
	int fd = memory(16 << 20);

	expect_ok(
		ask_with(bench,
			 json_pack("{s:s, s:s, s:s, s:i, s:i}", "op",
				   "device-add", "name", "m0", "kind", "memory",
				   "size_bytes", 16 << 20, "slot", 0),
			 fd));
	close(fd);
}

static json_t *vdev_add(void)
{
	return json_pack("{s:s, s:s, s:s, s:i, s:i, s:i}", "op", "vdev-add",
			 "name", "vd0", "device", "m0", "offset_bytes", 1 << 20,
			 "size_bytes", 8 << 20, "slot", 0);
}

static json_t *process_add(unsigned int pasid)
{
	return json_pack("{s:s, s:i, s:s, s:i}", "op", "process-add", "pasid",
			 pasid, "vdev", "vd0", "slot", pasid);
}

static void test_endpoint_says_who_it_is(void **state)
{
	struct bench *bench = *state;
	json_t *reply = ask_with(
		bench,
		json_pack("{s:s, s:i}", "op", "hello", "version", CTL_VERSION),
		-1);

	assert_string_equal(json_string_value(json_object_get(reply, "name")),
			    "ep0");
	assert_int_equal(json_integer_value(json_object_get(reply, "pid")),
			 bench->pid);
	json_decref(reply);
	expect_error(ask_with(bench,
			      json_pack("{s:s, s:i}", "op", "hello", "version",
					CTL_VERSION + 1),
			      -1),
		     EPROTO);
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

	json_decref(ask_with(
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

	add_device(bench);
	add_device(bench);
	for (unsigned int i = 0; i < 2; i++) {
		expect_ok(ask_with(bench, vdev_add(), -1));
		expect_ok(ask_with(bench, process_add(1), -1));
	}
	fd = listener(&bench->front, SOCK_STREAM);
	for (unsigned int i = 0; i < 2; i++)
		expect_ok(ask_with(
			bench,
			json_pack("{s:s, s:s}", "op", "listen", "vdev", "vd0"),
			fd));
	close(fd);
	reply = ask_with(bench, json_pack("{s:s}", "op", "list"), -1);
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

	expect_error(ask_with(bench, json_pack("{s:s}", "op", "fly"), -1),
		     ENOSYS);
	expect_error(
		ask_with(bench, json_pack("{s:s}", "op", "device-add"), -1),
		EINVAL);
	expect_error(ask_with(bench,
			      json_pack("{s:s, s:s, s:s}", "op", "device-add",
					"name", "x", "kind", "floppy"),
			      -1),
		     EINVAL);
	expect_error(ask_with(bench, vdev_add(), -1), ENOENT);
	add_device(bench);
	expect_error(ask_with(bench,
			      json_pack("{s:s, s:s, s:s, s:i, s:i}", "op",
					"vdev-add", "name", "vd0", "device",
					"m0", "offset_bytes", 15 << 20,
					"size_bytes", 8 << 20),
			      -1),
		     ENOSPC);
	expect_ok(ask_with(bench, vdev_add(), -1));
	expect_error(ask_with(bench, process_add(0), -1), EINVAL);
	expect_error(
		ask_with(bench,
			 json_pack("{s:s, s:s}", "op", "listen", "vdev", "vd0"),
			 -1),
		EINVAL);
	expect_error(ask_with(bench,
			      json_pack("{s:s, s:s}", "op", "device-remove",
					"name", "m0"),
			      -1),
		     EBUSY);
	expect_error(ask_with(bench,
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

	add_device(bench);
	expect_ok(ask_with(bench, vdev_add(), -1));
	expect_ok(ask_with(bench, process_add(5), -1));
	assert_int_equal(send(bench->connection, "[]", 2, 0), 2);
	assert_int_equal(recv(bench->connection, &byte, 1, 0), 0);
	close(bench->connection);

	bench->connection = connect_control(bench);
	reply = ask_with(bench, json_pack("{s:s}", "op", "list"), -1);
	item = json_array_get(json_object_get(reply, "processes"), 0);
	assert_int_equal(json_integer_value(json_object_get(item, "pasid")), 5);
	assert_null(json_object_get(reply, "next"));
	json_decref(reply);
	expect_ok(ask_with(bench,
			   json_pack("{s:s, s:s, s:s}", "op", "descriptor",
				     "kind", "device", "name", "m0"),
			   -1));
	assert_int_equal(fstat(bench->fd, &status), 0);
	assert_int_equal(status.st_size, 16 << 20);
	close(bench->fd);
	expect_ok(ask_with(
		bench,
		json_pack("{s:s, s:s}", "op", "descriptor", "kind", "stats"),
		-1));
	close(bench->fd);
	expect_error(ask_with(bench,
			      json_pack("{s:s, s:s, s:s}", "op", "descriptor",
					"kind", "device", "name", "none"),
			      -1),
		     ENOENT);
}

static void test_endpoint_lists_many_in_parts(void **state)
{
	struct bench *bench = *state;
	json_int_t from = 0;
	size_t seen = 0;

	add_device(bench);
	expect_ok(ask_with(bench, vdev_add(), -1));
	for (unsigned int pasid = 1; pasid <= 250; pasid++) {
		json_t *request = process_add(pasid);

		json_object_set_new(request, "own_socket", json_true());
		expect_ok(ask_with(bench, request, -1));
	}
	do {
		json_t *reply = ask_with(
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

	add_device(bench);
	expect_ok(ask_with(bench, vdev_add(), -1));
	expect_ok(ask_with(bench, process_add(1), -1));
	expect_ok(ask_with(bench,
			   json_pack("{s:s, s:i, s:i, s:o}", "op",
				     "process-update", "pasid", 1, "slot", 1,
				     "params", ctl_from_sched_params(&params)),
			   -1));
	expect_ok(ask_with(bench,
			   json_pack("{s:s, s:s, s:i}", "op", "vdev-resize",
				     "name", "vd0", "size_bytes", 4 << 20),
			   -1));
	reply = ask_with(bench, json_pack("{s:s}", "op", "list"), -1);
	item = json_array_get(json_object_get(reply, "processes"), 0);
	item = json_object_get(json_object_get(item, "params"), "weight");
	assert_int_equal(json_integer_value(item), 7);
	item = json_array_get(json_object_get(reply, "vdevs"), 0);
	assert_int_equal(
		json_integer_value(json_object_get(item, "size_bytes")),
		4 << 20);
	json_decref(reply);
	for (unsigned int i = 0; i < 2; i++) {
		expect_ok(ask_with(bench,
				   json_pack("{s:s, s:i}", "op",
					     "process-remove", "pasid", 1),
				   -1));
		expect_ok(ask_with(bench,
				   json_pack("{s:s, s:s}", "op", "vdev-remove",
					     "name", "vd0"),
				   -1));
		expect_ok(ask_with(bench,
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

	add_device(bench);
	reply = ask_with(bench,
			 json_pack("{s:s, s:s, s:I, s:I, s:I}", "op",
				   "device-calibrate", "name", "m0",
				   "duration_ns", (json_int_t)200000000,
				   "free_offset_bytes", (json_int_t)0,
				   "free_size_bytes", (json_int_t)(16 << 20)),
			 -1);
	assert_int_equal(
		ctl_to_capacity(json_object_get(reply, "capacity"), &capacity),
		0);
	json_decref(reply);
	assert_true(capacity.is_short);
	assert_true(capacity.write_measured);
	assert_true(capacity.direction[0].count > 0);
	assert_true(capacity.direction[0].points[0].iops > 0);
	expect_ok(ask_with(bench,
			   json_pack("{s:s, s:s, s:o}", "op", "device-capacity",
				     "name", "m0", "capacity",
				     ctl_from_capacity(&capacity)),
			   -1));
}

static void test_endpoint_drains_and_ends(void **state)
{
	struct bench *bench = *state;
	int fd, status;

	add_device(bench);
	expect_ok(ask_with(bench, vdev_add(), -1));
	fd = listener(&bench->front, SOCK_STREAM);
	expect_ok(ask_with(
		bench, json_pack("{s:s, s:s}", "op", "listen", "vdev", "vd0"),
		fd));
	close(fd);
	expect_ok(ask_with(bench, json_pack("{s:s}", "op", "drain"), -1));
	assert_int_equal(waitpid(bench->pid, &status, 0), bench->pid);
	bench->pid = 0;
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_endpoint_says_who_it_is),
		TEST(test_endpoint_has_no_privileges),
		TEST(test_endpoint_repeated_requests_change_nothing),
		TEST(test_endpoint_names_the_wrong_field),
		TEST(test_endpoint_is_adopted_by_the_next_connection),
		TEST(test_endpoint_lists_many_in_parts),
		TEST(test_endpoint_updates_and_removes),
		TEST(test_endpoint_calibrates_a_device),
		TEST(test_endpoint_drains_and_ends),
	};

	if (argc != 2)
		return 2;
	program = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
