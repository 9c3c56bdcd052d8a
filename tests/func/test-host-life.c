/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-host-life.c - endpoints that die, are adopted, drained
 */
#include "host-rig.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctl/ctl.h"
#include "ctl/stats.h"
#include "host/endpoint-data.h"
#include "host/host-data.h"
#include "host/link.h"
#include "host/spawn.h"

/* The endpoint was asked for all that it is to have. */
static bool asked_for_all(struct rig *rig, void *arg)
{
	(void)rig;
	(void)arg;
	return rig_ops("\"op\":\"listen\"") == 3;
}

/* --- Death --------------------------------------------------------------- */

static void test_life_restarts_what_is_killed(void **state)
{
	struct rig *rig = *state;
	pid_t pid;
	int fd;

	rig_start(rig, RIG_WHOLE, true);
	pid = rig_endpoint(rig);
	assert_true(pid > 0);	/* 0 would be all of us */
	rig_forget_ops();
	kill(pid, SIGKILL);
	rig_wait_event(rig, "endpoint-died", "signal 9");
	/* Who comes now waits in the backlog, and is not turned away. */
	fd = rig_dial(rig, "v0");
	assert_true(fd >= 0);
	rig_wait_event(rig, "endpoint-restarted", "ep0");
	rig_wait_event(rig, "session", "v0: 1 session");
	close(fd);
	assert_int_not_equal(rig_endpoint(rig), pid);
	rig_wait(rig, asked_for_all, NULL);
	assert_int_equal(rig_ops("\"op\":\"device-add\""), 2);
	assert_int_equal(rig_ops("\"op\":\"device-calibrate\""), 0);
	assert_int_equal(rig_ops("\"op\":\"vdev-add\""), 2);
	assert_int_equal(rig_ops("\"op\":\"process-add\""), 2);
	rig_text_is(host_process(rig->host, 1), "state", "bound");
	assert_int_equal(
		rig_number(host_status(rig->host), "endpoints.0.restarts"), 1);
}

/* What penstockd kept of a memory device is given to the next endpoint. */
static void test_life_memory_survives(void **state)
{
	struct rig *rig = *state;
	char path[64], byte = 'x';
	unsigned int i, found = 0;

	rig_start(rig, RIG_WHOLE, true);
	/* Our own descriptor of "ep0/m0", by its name. */
	for (i = 3; i < 200 && !found; i++) {
		char link[128] = "";

		snprintf(path, sizeof(path), "/proc/self/fd/%u", i);
		if (readlink(path, link, sizeof(link) - 1) > 0 &&
		    strstr(link, "memfd:ep0/m0"))
			found = i;
	}
	assert_int_not_equal(found, 0);
	assert_int_equal(pwrite((int)found, &byte, 1, 4096), 1);
	kill(rig_endpoint(rig), SIGKILL);
	rig_wait_event(rig, "endpoint-restarted", "ep0");
	rig_wait_serving(rig, "v1");
	byte = 0;
	assert_int_equal(pread((int)found, &byte, 1, 4096), 1);
	assert_int_equal(byte, 'x');
}

static bool restarted_thrice(struct rig *rig, void *arg)
{
	pid_t *last = arg;
	pid_t pid = rig_endpoint(rig);

	if (pid && pid != *last) {
		*last = pid;
		kill(pid, SIGKILL);
	}
	return rig_number(host_status(rig->host), "endpoints.0.restarts") >= 4;
}

/* One that dies again and again is waited for a little longer each time. */
static void test_life_backs_off(void **state)
{
	struct rig *rig = *state;
	uint64_t start_ns;
	pid_t last = 0;

	rig_start(rig, RIG_WHOLE, true);
	start_ns = loop_clock_ns();
	rig_wait(rig, restarted_thrice, &last);
	/* At once, then 100, 200 and 400 ms: never less. */
	assert_true(loop_clock_ns() - start_ns >= 700000000U);
}

/* --- Adoption ------------------------------------------------------------ */

static void test_life_adopts(void **state)
{
	struct rig *rig = *state;
	pid_t pid;
	int fd;

	rig_start(rig, RIG_WHOLE, true);
	pid = rig_endpoint(rig);
	rig_abandon(rig);
	rig_forget_ops();

	rig_start(rig, RIG_WHOLE, true);
	assert_true(rig_has_event(rig, "endpoint-adopted", "ep0"));
	assert_int_equal(rig_endpoint(rig), pid);
	/* Nothing was changed: only asked for what it has. */
	assert_int_equal(rig_ops("\"op\":\""),
			 rig_ops("\"op\":\"hello\"") +
				 rig_ops("\"op\":\"list\"") +
				 rig_ops("\"op\":\"volumes\"") +
				 rig_ops("\"op\":\"descriptor\""));
	assert_int_equal(rig_ops("\"kind\":\"listener\""), 3);
	assert_int_equal(rig_ops("\"kind\":\"device\""), 1);
	/* And it is ours as if we had started it: killed, it comes back, with
	 * the socket that we got from it. */
	kill(pid, SIGKILL);
	rig_wait_event(rig, "endpoint-died", "ep0");
	fd = rig_dial(rig, "own");
	assert_true(fd >= 0);
	rig_wait_event(rig, "session", "v1: 1 session");
	close(fd);
}

static void test_life_adopts_and_corrects(void **state)
{
	struct rig *rig = *state;

	rig_start(rig, RIG_WHOLE, true);
	rig_abandon(rig);
	rig_forget_ops();
	rig_start(rig,
		  RIG_HEAD "processes:\n"
			   "  - {pasid: 1, vdev: v0, sla: {iops: '>= 600'}}\n"
			   "  - {pasid: 3, vdev: v0, sla: {iops: '>= 50'}}\n",
		  true);
	assert_true(rig_has_event(rig, "endpoint-adopted", "ep0"));
	assert_int_equal(rig_ops("\"op\":\"process-update\""), 1);
	assert_int_equal(rig_ops("\"op\":\"process-add\""), 1);
	assert_int_equal(rig_ops("\"op\":\"process-remove\",\"pasid\":2"), 1);
	assert_int_equal(rig_ops("\"op\":\"unlisten\",\"pasid\":2"), 1);
	assert_int_equal(rig_ops("\"op\":\"vdev-add\""), 0);
	assert_int_equal(rig_ops("\"op\":\"device-add\""), 0);
}

static void test_life_replaces_old_version(void **state)
{
	struct rig *rig = *state;
	pid_t pid;
	int fd;

	rig_start(rig, RIG_WHOLE, true);
	pid = rig_endpoint(rig);
	rig_abandon(rig);
	fd = open("old", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	rig_start(rig, RIG_WHOLE, true);
	assert_true(rig_has_event(
		rig, "error",
		"ep0 is of another version (it speaks version 1 of"));
	assert_true(rig_has_event(rig, "endpoint-started", "ep0"));
	assert_int_not_equal(rig_endpoint(rig), pid);
	assert_int_equal(rig_ops("\"op\":\"drain\""), 1);
	/* What it has is not so much as asked for: only ours was. */
	assert_int_equal(rig_ops("\"op\":\"list\""), 2);
}

/* It says so itself. */
static void test_life_replaces_what_refuses_hello(void **state)
{
	struct rig *rig = *state;
	pid_t pid;

	rig_start(rig, RIG_WHOLE, true);
	pid = rig_endpoint(rig);
	rig_abandon(rig);
	rig_forget_ops();
	rig_tell("refuse", "hello 71");	/* EPROTO */
	rig_start(rig, RIG_WHOLE, true);
	assert_true(rig_has_event(rig, "error",
				  "another version (not now, this penstockd"));
	assert_true(rig_has_event(rig, "endpoint-started", "ep0"));
	assert_int_not_equal(rig_endpoint(rig), pid);
	assert_int_equal(rig_ops("\"op\":\"drain\""), 1);
	assert_int_equal(rig_ops("\"op\":\"list\""), 1);
}

/* --- One that may have been broken into, or hangs ------------------------- */

static void write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static pid_t start_bystander(void)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		for (;;)
			pause();
	return pid;
}

/* It was left alone, and is ended by us. */
static void end_bystander(pid_t pid)
{
	assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void assert_gone(pid_t pid)
{
	assert_int_equal(kill(pid, 0), -1);
	assert_int_equal(errno, ESRCH);
}

/* Whoever says it is another process is not believed: the recorded one ends. */
static void test_life_refuses_a_lied_pid(void **state)
{
	struct rig *rig = *state;
	pid_t pid, bystander = start_bystander();
	char text[32];

	rig_start(rig, RIG_WHOLE, true);
	pid = rig_endpoint(rig);
	rig_abandon(rig);
	snprintf(text, sizeof(text), "%d\n", (int)bystander);
	write_file("lie-pid", text);
	rig_start(rig, RIG_WHOLE, true);
	assert_true(rig_has_event(rig, "error",
				  "it is not the process that was started"));
	assert_true(rig_has_event(rig, "endpoint-started", "ep0"));
	assert_gone(pid);
	end_bystander(bystander);
}

/* A number that was given to another process since is nobody's. */
static void test_life_refuses_a_reused_pid(void **state)
{
	struct rig *rig = *state;
	pid_t pid, bystander = start_bystander();
	char text[256], boot[128] = "";
	FILE *record;

	rig_start(rig, RIG_WHOLE, true);
	pid = rig_endpoint(rig);
	rig_abandon(rig);
	record = fopen("state/ep0.pid", "r");
	assert_non_null(record);
	assert_int_equal(fscanf(record, "%*d %*u %127s", boot), 1);
	fclose(record);
	snprintf(text, sizeof(text), "%d 1 %s\n", (int)bystander, boot);
	write_file("state/ep0.pid", text);
	/* Not until all is ready: the first one has the file's lock still. */
	rig_start(rig, RIG_WHOLE, false);
	rig_wait_event(rig, "endpoint-started", "ep0");
	assert_true(rig_has_event(rig, "error",
				  "it is not the process that was started"));
	assert_int_not_equal(rig_endpoint(rig), pid);
	assert_int_not_equal(rig_endpoint(rig), bystander);
	end_bystander(bystander);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void test_life_refuses_a_slot_outside(void **state)
{
	struct rig *rig = *state;
	pid_t pid;

	rig_start(rig, RIG_WHOLE, true);
	pid = rig_endpoint(rig);
	rig_abandon(rig);
	write_file("lie-slot", "");
	rig_start(rig, RIG_WHOLE, true);
	assert_true(rig_has_event(rig, "error", "or what cannot be"));
	assert_true(rig_has_event(rig, "endpoint-started", "ep0"));
	assert_gone(pid);
}

static struct endpoint *process_of(struct rig *rig)
{
	return rig->host->registry->endpoints[0].process;
}

static void stop(pid_t pid)
{
	kill(pid, SIGSTOP);
	assert_int_equal(waitpid(pid, NULL, WUNTRACED), pid);
}

/* One that hangs is dead before the next one is started.  It has 10 s to
 * answer, of which the end is brought forward. */
static void test_life_ends_one_that_hangs(void **state)
{
	struct rig *rig = *state;
	struct endpoint *endpoint;
	uint64_t left_ns;
	pid_t pid;

	rig_start(rig, RIG_WHOLE, true);
	pid = rig_endpoint(rig);
	rig_abandon(rig);
	stop(pid);
	rig_start(rig, RIG_WHOLE, false);
	endpoint = process_of(rig);
	assert_int_equal(endpoint_state(endpoint), ENDPOINT_ADOPTING);
	left_ns = endpoint->timer.due_ns - loop_clock_ns();
	assert_in_range(left_ns, 1, UINT64_C(10000000000));
	assert_int_equal(kill(pid, 0), 0);
	endpoint_set_timer(endpoint, 0);
	rig_wait_event(rig, "endpoint-started", "ep0");
	assert_true(rig_has_event(rig, "error", "it does not answer"));
	assert_gone(pid);
}

/* One that hangs after it was met is ended too, within its patience (of which
 * nine seconds are invented), and its guests find another. */
static void test_life_ends_one_that_hangs_later(void **state)
{
	struct rig *rig = *state;
	const uint64_t second_ns = UINT64_C(1000000000);
	uint64_t now_ns;
	pid_t pid;
	int fd;

	rig_start(rig, RIG_WHOLE, true);
	pid = rig_endpoint(rig);
	stop(pid);
	fd = rig_dial(rig, "v0");
	assert_true(fd >= 0);
	process_of(rig)->pulse = (struct pulse){0};
	now_ns = loop_clock_ns();
	for (unsigned int s = 0; s <= 9; s++)
		endpoint_look(process_of(rig), now_ns - (9 - s) * second_ns);
	assert_false(rig_has_event(rig, "endpoint-hung", "ep0"));
	rig_wait_event(rig, "endpoint-hung", "ep0");
	rig_wait_event(rig, "endpoint-restarted", "ep0");
	rig_wait_event(rig, "session", "v0: 1 session");
	close(fd);
	assert_gone(pid);
}

static void test_life_refuses_unsealed_statistics(void **state)
{
	const struct {
		uint64_t magic, size_bytes;
	} head = {
		STATS_MAGIC,
		sizeof(struct stats_segment),
	};
	struct stats_segment *stats;
	int fd = memfd_create("stats", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	(void)state;
	assert_int_equal(ftruncate(fd, (off_t)sizeof(*stats)), 0);
	assert_int_equal(pwrite(fd, &head, sizeof(head), 0), sizeof(head));
	assert_int_equal(spawn_stats_map(fd, &stats), -EPROTO);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	assert_int_equal(spawn_stats_map(fd, &stats), 0);
	spawn_stats_unmap(stats);
	close(fd);
}

static void on_link_event(struct link *link, const json_t *event)
{
	(void)link;
	(void)event;
}

static void on_link_closed(struct link *link, int why)
{
	(void)link;
	(void)why;
}

static void on_link_reply(void *arg, struct link_reply *reply)
{
	*(int *)arg = reply->result;
}

/* What was asked for without a connection is not sent on the next one. */
static void test_life_stale_request_is_not_sent(void **state)
{
	struct rig *rig = *state;
	struct link link;
	int fds[2], fd, ret, stale = 1, hello = 1;
	json_t *message;

	assert_int_equal(link_init(&link, rig->loop), 0);
	link.event = on_link_event;
	link.closed = on_link_closed;
	assert_int_equal(
		socketpair(AF_UNIX,
			   SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
			   fds),
		0);
	link_request(&link, json_pack("{s:s}", "op", "vdev-add"), -1,
		     on_link_reply, &stale);
	assert_int_equal(link_open(&link, fds[0]), 0);
	link_request(&link, json_pack("{s:s}", "op", "hello"), -1,
		     on_link_reply, &hello);
	while ((ret = ctl_receive(fds[1], &message, &fd)) == -EAGAIN)
		loop_run_once(rig->loop, loop_clock_ns() + 10000000);
	assert_int_equal(ret, 0);
	assert_string_equal(json_string_value(json_object_get(message, "op")),
			    "hello");
	assert_int_equal(stale, -ECONNRESET);
	json_decref(message);
	link_finish(&link);
	assert_int_equal(hello, -ECONNRESET);
	close(fds[1]);
}

static void test_life_stops_in_order(void **state)
{
	struct rig *rig = *state;
	pid_t pid;

	rig_start(rig, RIG_WHOLE, true);
	pid = rig_endpoint(rig);
	rig_stop(rig);
	assert_int_equal(rig_ops("\"op\":\"drain\""), 1);
	assert_int_equal(kill(pid, 0), -1);
	assert_int_equal(errno, ESRCH);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_life_restarts_what_is_killed, rig_setup,
			rig_teardown),
		cmocka_unit_test_setup_teardown(test_life_memory_survives,
						rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_life_backs_off, rig_setup,
						rig_teardown),
		cmocka_unit_test_setup_teardown(test_life_adopts, rig_setup,
						rig_teardown),
		cmocka_unit_test_setup_teardown(test_life_adopts_and_corrects,
						rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_life_replaces_old_version,
						rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(
			test_life_replaces_what_refuses_hello, rig_setup,
			rig_teardown),
		cmocka_unit_test_setup_teardown(test_life_refuses_a_lied_pid,
						rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_life_refuses_a_reused_pid,
						rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(
			test_life_refuses_a_slot_outside, rig_setup,
			rig_teardown),
		cmocka_unit_test_setup_teardown(
			test_life_ends_one_that_hangs_later, rig_setup,
			rig_teardown),
		cmocka_unit_test_setup_teardown(test_life_ends_one_that_hangs,
						rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(
			test_life_refuses_unsealed_statistics, rig_setup,
			rig_teardown),
		cmocka_unit_test_setup_teardown(
			test_life_stale_request_is_not_sent, rig_setup,
			rig_teardown),
		cmocka_unit_test_setup_teardown(test_life_stops_in_order,
						rig_setup, rig_teardown),
	};
	const int status = rig_arguments(argc, argv);

	if (status)
		return status;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
