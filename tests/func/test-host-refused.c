/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-host-refused.c - what is refused, by admission or by an endpoint,
 * leaves nothing behind; what is in use stays (E8, E12, E13)
 */
#include "host-rig.h"

#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static void combined_iops_is(struct rig *rig, long long iops)
{
	assert_int_equal(rig_number(rig_combined(rig), "iops"), iops);
}

static void process_1_is_as_before(struct rig *rig)
{
	json_t *process = host_process(rig->host, 1);

	rig_text_is(json_incref(process), "name", "process-1");
	rig_text_is(json_incref(process), "state", "bound");
	rig_text_is(json_incref(process), "origin", "file");
	assert_int_equal(rig_number(json_incref(process), "sla.iops"), 500);
	assert_int_equal(rig_number(json_incref(process), "weight"), 1);
	assert_false(json_is_true(rig_at(process, "best_effort")));
	assert_true(rig_is_absent(json_incref(process), "ioprio"));
	assert_true(rig_is_absent(json_incref(process), "refusal"));
	assert_true(
		rig_is_absent(json_incref(rig_at(process, "limit")), "iops"));
	json_decref(process);
	combined_iops_is(rig, 1200);
}

/* What is refused, by admission or by the endpoint, changes nothing (E13). */
static void test_refused_update_is_taken_back(void **state)
{
	struct rig *rig = *state;
	struct host_process_request request = {
		.pasid = 1,
		.name = "other",
		.sla = "iops >= 20000",
		.limit = "iops 30000",
		.match = "be/3",
		.weight = 7,
	};

	rig_start(rig, RIG_THREE, true);
	host_process_update(rig->host, &request, &rig->call);
	rig_answer(rig, HOST_REFUSED);
	process_1_is_as_before(rig);

	rig_tell("refuse", "process-update");
	request.sla = "iops >= 20000";
	request.best_effort = true;
	host_process_update(rig->host, &request, &rig->call);
	rig_answer(rig, HOST_FAILED);
	assert_string_equal(rig->text, "process 1: not now");
	process_1_is_as_before(rig);
	rig_abandon(rig);
	rig_start(rig, RIG_THREE, true);
	process_1_is_as_before(rig);

	request.sla = "iops >= 600";
	host_process_update(rig->host, &request, &rig->call);
	rig_answer(rig, HOST_DONE);
	rig_text_is(json_incref(rig->value), "name", "other");
	rig_text_is(json_incref(rig->value), "ioprio", "be/3");
	combined_iops_is(rig, 1300);
}

/* One that its endpoint does not take is not there, now or later. */
static void test_refused_add_is_taken_back(void **state)
{
	struct rig *rig = *state;
	const struct host_process_request request = {
		.pasid = 9,
		.vdev = "v0",
		.sla = "iops >= 100",
	};

	rig_start(rig, RIG_THREE, true);
	rig_tell("refuse", "process-update");
	host_process_add(rig->host, &request, &rig->call);
	rig_answer(rig, HOST_FAILED);
	assert_string_equal(rig->text, "process 9: not now");
	combined_iops_is(rig, 1200);
	rig_abandon(rig);
	rig_start(rig, RIG_THREE, true);
	assert_null(host_process(rig->host, 9));
	host_process_add(rig->host, &request, &rig->call);
	rig_answer(rig, HOST_DONE);
}

static bool is_there(const struct rig *rig, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/%s", rig->directory, name);
	return access(path, F_OK) == 0;
}

/* Nothing is left of it: no record, no place, no socket. */
static void no_vdev_new(struct rig *rig, long long free_bytes)
{
	assert_null(host_vdev(rig->host, "new"));
	assert_int_equal(rig_number(host_pool(rig->host, "p0"), "free_bytes"),
			 free_bytes);
	assert_false(is_there(rig, "new"));
}

/* A vdev that its endpoint does not serve, or not at its socket, was not made
 * (E12). */
static void test_refused_vdev_is_taken_back(void **state)
{
	static const char *const ops[] = {"vdev-add", "listen 22"};
	struct host_vdev_request request = {
		.name = "new",
		.pool = "p0",
		.size = "4MiB",
	};
	struct rig *rig = *state;
	long long free_bytes;
	char path[64];

	snprintf(path, sizeof(path), "%s/new", rig->directory);
	request.vhost_user = path;
	rig_start(rig, RIG_THREE, true);
	free_bytes = rig_number(host_pool(rig->host, "p0"), "free_bytes");
	for (int i = 0; i < 2; i++) {
		rig_tell("refuse", ops[i]);
		host_vdev_create(rig->host, &request, &rig->call);
		rig_answer(rig, HOST_FAILED);
		assert_string_equal(rig->text, "vdev new: not now");
		assert_false(rig_has_event(rig, "vdev-created", "new"));
		no_vdev_new(rig, free_bytes);
		rig_abandon(rig);
		rig_start(rig, RIG_THREE, true);
		no_vdev_new(rig, free_bytes);
	}
	host_vdev_create(rig->host, &request, &rig->call);
	rig_answer(rig, HOST_DONE);
	assert_true(is_there(rig, "new"));
}

/* On a vdev that is not served nobody is promised anything. */
static void test_refused_add_to_a_failed_vdev(void **state)
{
	const struct host_process_request request = {
		.pasid = 9,
		.vdev = "v0",
		.sla = "iops >= 100",
	};
	struct rig *rig = *state;

	rig_tell("refuse", "vdev-add");
	rig_start(rig, RIG_TIMED, true);
	rig_text_is(host_vdev(rig->host, "v0"), "state", "failed");
	host_process_add(rig->host, &request, &rig->call);
	rig_answer(rig, HOST_CONFLICT);
	assert_string_equal(rig->text, "vdev 'v0' is not served: not now");
	assert_null(host_process(rig->host, 9));
	rig_abandon(rig);
	rig_start(rig, RIG_TIMED, true);
	assert_null(host_process(rig->host, 9));
}

static void test_refused_limit_is_taken_back(void **state)
{
	const struct host_vdev_change change = {
		.limit = "iops 2000",
		.on_error = "stop",
	};
	struct rig *rig = *state;
	json_t *vdev;

	rig_start(rig, RIG_THREE, true);
	rig_tell("refuse", "vdev-limits");
	host_vdev_change(rig->host, "v0", &change, &rig->call);
	rig_answer(rig, HOST_FAILED);
	rig_abandon(rig);
	rig_start(rig, RIG_THREE, true);
	vdev = host_vdev(rig->host, "v0");
	assert_true(rig_is_absent(json_incref(rig_at(vdev, "limit")), "iops"));
	assert_string_equal(json_string_value(rig_at(vdev, "on_error")),
			    "report");
	json_decref(vdev);
}

/* What its endpoint keeps is released by asking again. */
static void test_refused_release_can_be_repeated(void **state)
{
	struct rig *rig = *state;

	rig_start(rig, RIG_THREE, true);
	rig_tell("refuse", "process-remove");
	host_process_release(rig->host, 2, &rig->call);
	rig_answer(rig, HOST_FAILED);
	assert_string_equal(rig->text, "process 2: not now; release it again");
	combined_iops_is(rig, 800);
	host_process_release(rig->host, 2, &rig->call);
	rig_answer(rig, HOST_DONE);
	assert_null(host_process(rig->host, 2));
}

/* --- Not written down ---------------------------------------------------- */

/* From now on the store does not take records that contain 'text'. */
static void break_store(const char *text)
{
	char sql[256];
	sqlite3 *db;

	assert_int_equal(sqlite3_open("state/penstock.db", &db), SQLITE_OK);
	sqlite3_busy_timeout(db, 10000);
	snprintf(sql, sizeof(sql),
		 "CREATE TRIGGER broken BEFORE INSERT ON record"
		 " WHEN NEW.value LIKE '%%%s%%'"
		 " BEGIN SELECT RAISE(ABORT, 'the disk is gone'); END",
		 text);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

static void ignore_reply(struct host_call *call, const struct host_reply *reply)
{
	(void)call;
	(void)reply;
}

/* Process 'pasid' of v0 was promised 6000 of 10000 and ends, somebody else is
 * promised 7000 in between, and then it does not end. */
static void outpromise(struct rig *rig, const char *vdev)
{
	const struct host_process_request other = {
		.pasid = 9,
		.vdev = vdev,
		.sla = "iops >= 7000",
	};
	static struct host_call unheard = {.done = ignore_reply};

	host_process_add(rig->host, &other, &unheard);
	rig_answer(rig, HOST_FAILED);
	assert_non_null(strstr(rig->text, "the disk is gone"));
}

/* It runs at its endpoint as penstockd says: bound, without a promise. */
static void runs_unpromised(struct rig *rig, uint32_t pasid)
{
	json_t *process = host_process(rig->host, pasid);

	rig_text_is(json_incref(process), "state", "bound");
	rig_text_is(process, "refusal.metric", "iops");
	assert_true(rig_has_event(rig, "refused", "runs without a promise"));
	while (rig_ops("\"op\":\"process-update\",") == 0)
		loop_run_once(rig->loop, loop_clock_ns() + 10000000);
}

#define STRONG	\
	RIG_TIMED "  - {name: v1, pool: p0, size: 16MiB, vhost-user: @/v1}\n" \
		  "processes:\n" \
		  "  - {pasid: 1, vdev: v0, sla: {iops: '>= 6000'}}\n"

static void test_refused_release_is_not_written(void **state)
{
	struct rig *rig = *state;

	rig_start(rig, STRONG, true);
	break_store("released");
	rig_forget_ops();
	host_process_release(rig->host, 1, &rig->call);
	outpromise(rig, "v1");
	runs_unpromised(rig, 1);
}

static void test_refused_delete_is_not_written(void **state)
{
	struct rig *rig = *state;

	rig_start(rig, STRONG, true);
	break_store("deleted");
	rig_forget_ops();
	host_vdev_delete(rig->host, "v0", &rig->call);
	outpromise(rig, "v1");
	rig_text_is(host_vdev(rig->host, "v0"), "state", "serving");
	runs_unpromised(rig, 1);
}

/* The same with nobody in between: what it had it has. */
static void test_refused_delete_keeps_the_promise(void **state)
{
	struct rig *rig = *state;

	rig_start(rig, RIG_THREE, true);
	break_store("deleted");
	host_vdev_delete(rig->host, "v0", &rig->call);
	rig_answer(rig, HOST_FAILED);
	process_1_is_as_before(rig);
}

/* --- In use -------------------------------------------------------------- */

static int dial(struct rig *rig, const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s",
		 rig->directory, name);
	assert_int_equal(
		connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* Whoever came by a process's own socket uses the vdev as well. */
static void test_refused_shrink_under_an_own_socket(void **state)
{
	struct rig *rig = *state;
	struct host_process_request request = {.pasid = 9, .vdev = "v0"};
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "%s/own", rig->directory);
	request.vhost_user = path;
	rig_start(rig, RIG_THREE, true);
	host_process_add(rig->host, &request, &rig->call);
	rig_answer(rig, HOST_DONE);
	fd = dial(rig, "own");
	rig_wait_event(rig, "session", "v0: 1 session");
	host_vdev_resize(rig->host, "v0", "8MiB", false, &rig->call);
	rig_answer(rig, HOST_CONFLICT);
	assert_string_equal(rig->text, "vdev 'v0' is in use: it can only grow");
	assert_int_equal(rig_ops("\"op\":\"vdev-resize\""), 0);
	host_vdev_resize(rig->host, "v0", "17MiB", false, &rig->call);
	rig_answer(rig, HOST_DONE);
	close(fd);
	rig_wait_event(rig, "session", "v0: 0 sessions");
	host_vdev_resize(rig->host, "v0", "8MiB", false, &rig->call);
	rig_answer(rig, HOST_DONE);
}

static bool is_gone(struct rig *rig, void *arg)
{
	json_t *process = host_process(rig->host, *(uint32_t *)arg);

	json_decref(process);
	return !process;
}

/* Its front has gone, its time is over, and somebody releases it by hand while
 * the endpoint is being asked: it goes once. */
static void test_refused_second_release_of_a_session(void **state)
{
	struct rig *rig = *state;
	const struct host_process_request request = {
		.pasid = 7,
		.vdev = "v0",
		.sla = "iops >= 100",
		.session = true,
	};
	uint32_t pasid = 7;

	rig_start(rig, RIG_THREE, true);
	host_process_add(rig->host, &request, &rig->call);
	rig_answer(rig, HOST_DONE);
	close(dial(rig, "v0"));
	rig_wait_event(rig, "released", "process 7");
	host_process_release(rig->host, 7, &rig->call);
	rig_answer(rig, HOST_NOT_FOUND);
	assert_string_equal(rig->text, "there is no process 7");
	rig_wait(rig, is_gone, &pasid);
	assert_int_equal(rig_ops("\"op\":\"process-remove\",\"pasid\":7"), 1);
	combined_iops_is(rig, 1200);
}

/* A release that waits for its socket to drain, and the penstockd that asked
 * for it dies: the next one goes on, and it is not there. */
static void test_refused_return_of_a_draining_process(void **state)
{
	struct rig *rig = *state;
	struct host_process_request request = {
		.pasid = 9,
		.vdev = "v0",
		.sla = "iops >= 100",
	};
	char path[64];

	snprintf(path, sizeof(path), "%s/own", rig->directory);
	request.vhost_user = path;
	rig_start(rig, RIG_THREE, true);
	host_process_add(rig->host, &request, &rig->call);
	rig_answer(rig, HOST_DONE);
	rig_tell("hold", "unlisten");
	host_process_release(rig->host, 9, &rig->call);
	while (rig_ops("\"op\":\"unlisten\"") == 0)
		loop_run_once(rig->loop, loop_clock_ns() + 10000000);
	assert_false(rig->is_answered);
	combined_iops_is(rig, 1200);
	rig_abandon(rig);
	rig->is_answered = false;
	rig_start(rig, RIG_THREE, true);
	assert_null(host_process(rig->host, 9));
	assert_int_equal(rig_ops("\"op\":\"process-remove\",\"pasid\":9"), 1);
	combined_iops_is(rig, 1200);
}

#define TEST(name)	\
	cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_refused_update_is_taken_back),
		TEST(test_refused_add_is_taken_back),
		TEST(test_refused_vdev_is_taken_back),
		TEST(test_refused_add_to_a_failed_vdev),
		TEST(test_refused_limit_is_taken_back),
		TEST(test_refused_release_can_be_repeated),
		TEST(test_refused_release_is_not_written),
		TEST(test_refused_delete_is_not_written),
		TEST(test_refused_delete_keeps_the_promise),
		TEST(test_refused_shrink_under_an_own_socket),
		TEST(test_refused_second_release_of_a_session),
		TEST(test_refused_return_of_a_draining_process),
	};
	const int status = rig_arguments(argc, argv);

	if (status)
		return status;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
