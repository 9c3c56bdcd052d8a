/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-host-ways.c - ways in that cannot be: who asks learns it at once, who
 * configured them is told once (E15); and those that are found
 */
#include "host-rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

/* Nobody can make a file there, not even root. */
#define NOWHERE		"/proc/penstock"

static unsigned int count_events(struct rig *rig, const char *kind)
{
	json_t *events = host_events(rig->host, 0), *event;
	unsigned int count = 0;
	size_t i;

	json_array_foreach(events, i, event)
	{
		const char *of =
			json_string_value(json_object_get(event, "kind"));

		count += strcmp(of, kind) == 0;
	}
	json_decref(events);
	return count;
}

static void test_ways_process_is_not_added(void **state)
{
	struct host_process_request request = {
		.pasid = 9,
		.vdev = "v0",
		.sla = "iops >= 100",
		.vhost_user = NOWHERE "/own",
	};
	char path[64];
	struct rig *rig = *state;

	rig_start(rig, RIG_WHOLE, true);
	host_process_add(rig->host, &request, &rig->call);
	rig_answer(rig, HOST_FAILED);
	assert_string_equal(rig->text,
			    "process 9: " NOWHERE
			    "/own: No such file or directory");
	assert_null(host_process(rig->host, 9));
	/* What it was promised is free again, and nothing is remembered. */
	assert_int_equal(
		rig_number(host_vdev(rig->host, "v0"), "combined.iops"), 500);
	rig_stop(rig);
	rig_start(rig, RIG_WHOLE, true);
	assert_null(host_process(rig->host, 9));

	snprintf(path, sizeof(path), "%s/nine", rig->directory);
	request.vhost_user = path;
	host_process_add(rig->host, &request, &rig->call);
	rig_answer(rig, HOST_DONE);
	assert_int_equal(access(path, F_OK), 0);
	host_process_release(rig->host, 9, &rig->call);
	rig_answer(rig, HOST_DONE);
	assert_int_equal(access(path, F_OK), -1);
}

/* A refused one leaves no socket behind. */
static void test_ways_refused_leaves_nothing(void **state)
{
	struct host_process_request request = {
		.pasid = 9,
		.vdev = "v0",
		.sla = "iops >= 100M",
	};
	char path[64];
	struct rig *rig = *state;

	rig_start(rig, RIG_WHOLE, true);
	snprintf(path, sizeof(path), "%s/nine", rig->directory);
	request.vhost_user = path;
	host_process_add(rig->host, &request, &rig->call);
	rig_answer(rig, HOST_REFUSED);
	assert_int_equal(access(path, F_OK), -1);
}

static void test_ways_vdev_is_not_made(void **state)
{
	const struct host_vdev_request request = {
		.name = "new",
		.pool = "p0",
		.size = "1MiB",
		.vhost_user = NOWHERE "/new",
	};
	struct rig *rig = *state;
	long long before;

	rig_start(rig, RIG_WHOLE, true);
	before = rig_number(host_pool(rig->host, "p0"), "free_bytes");
	host_vdev_create(rig->host, &request, &rig->call);
	rig_answer(rig, HOST_FAILED);
	assert_string_equal(rig->text,
			    NOWHERE "/new: No such file or directory");
	assert_null(host_vdev(rig->host, "new"));
	assert_int_equal(rig_number(host_pool(rig->host, "p0"), "free_bytes"),
			 before);
}

/* What a burst may be is the same wherever it is asked for. */
static void test_ways_burst_is_bounded(void **state)
{
	const struct host_vdev_request vdev = {
		.name = "new",
		.pool = "p0",
		.size = "1MiB",
		.burst = "3600 s",
	};
	const struct host_process_request process = {
		.pasid = 1,
		.burst = "3600 s",
	};
	const struct host_vdev_change change = {.burst = "11 s"};
	struct rig *rig = *state;

	rig_start(rig, RIG_WHOLE, true);
	host_vdev_create(rig->host, &vdev, &rig->call);
	rig_answer(rig, HOST_USAGE);
	assert_string_equal(rig->text, "burst: more than 10 s");
	host_vdev_change(rig->host, "v0", &change, &rig->call);
	rig_answer(rig, HOST_USAGE);
	assert_string_equal(rig->text, "vdev 'v0': burst: more than 10 s");
	host_process_update(rig->host, &process, &rig->call);
	rig_answer(rig, HOST_USAGE);
	assert_string_equal(rig->text, "process 1: burst: more than 10 s");
}

static bool has_ticked(struct rig *rig, void *arg)
{
	(void)arg;
	return rig_number(host_status(rig->host), "uptime_s") >= 3;
}

/* It is tried every second; each is told once, and by its own name. */
static void test_ways_configured_are_told_once(void **state)
{
	struct rig *rig = *state;

	rig_start(rig,
		  RIG_HEAD
		  "processes:\n"
		  "  - {pasid: 1, vdev: v0, vhost-user: " NOWHERE "/1}\n"
		  "  - {pasid: 2, vdev: v0, vhost-user: " NOWHERE "/2}\n",
		  true);
	rig_wait_event(rig, "error", "process 1 of vdev v0: " NOWHERE "/1");
	rig_wait_event(rig, "error", "process 2 of vdev v0: " NOWHERE "/2");
	rig_wait(rig, has_ticked, NULL);
	assert_int_equal(count_events(rig, "error"), 2);
	rig_text_is(host_process(rig->host, 1), "error",
		    NOWHERE "/1: No such file or directory");
	/* The vdev has a way in of its own, and no fault. */
	assert_true(rig_is_absent(host_vdev(rig->host, "v0"), "error"));
}

/* A process that waits says for what. */
static void test_ways_pending_says_why(void **state)
{
	struct rig *rig = *state;
	char reason[128];

	assert_int_equal(mkdir("d0", 0700), 0);
	rig_start(rig, RIG_WHOLE, true);
	rig_text_is(host_process(rig->host, 2), "state", "pending");
	snprintf(reason, sizeof(reason), "device ep0/d0: %s/d0: Is a directory",
		 rig->directory);
	rig_text_is(host_process(rig->host, 2), "reason", reason);
}

static void test_ways_adopted_are_in_use(void **state)
{
	struct rig *rig = *state;
	int common, own;

	rig_start(rig, RIG_WHOLE, true);
	common = rig_dial(rig, "v0");
	own = rig_dial(rig, "own");
	assert_true(common >= 0 && own >= 0);
	rig_wait_event(rig, "session", "v0: 1 session");
	rig_wait_event(rig, "session", "v1: 1 session");
	rig_abandon(rig);

	/* It tells of them between 'hello' and 'list', and never again. */
	rig_start(rig, RIG_WHOLE, true);
	assert_int_equal(rig_number(host_vdev(rig->host, "v0"), "sessions"), 1);
	assert_int_equal(rig_number(host_process(rig->host, 2), "sessions"), 1);
	assert_int_equal(rig_number(host_vdev(rig->host, "v1"), "sessions"), 0);
	host_vdev_delete(rig->host, "v0", &rig->call);
	rig_answer(rig, HOST_CONFLICT);
	assert_string_equal(rig->text, "vdev 'v0' is in use: detach it first");
	close(common);
	close(own);
	rig_wait_event(rig, "session", "v0: 0 sessions");
}

static bool is_asked_twice(struct rig *rig, void *arg)
{
	const char *request = arg;

	(void)rig;
	return rig_ops(request) >= 2;
}

/* The file names another path while the old way in is still being drained. */
static void test_ways_moved_waits_for_the_old(void **state)
{
	static char request[] = "\"op\":\"listen\",\"pasid\":0,\"vdev\":\"v0\"";
	struct rig *rig = *state;
	char *moved = strdup(RIG_WHOLE), *path;
	int fd;

	rig_start(rig, RIG_WHOLE, true);
	fd = rig_dial(rig, "v0");
	rig_wait_event(rig, "session", "v0: 1 session");
	rig_abandon(rig);
	rig_forget_ops();

	path = strstr(moved, "@/v0");
	assert_non_null(path);
	path[2] = 'w';
	rig_tell("refuse", "listen");
	rig_start(rig, moved, false);
	rig_wait(rig, is_asked_twice, request);
	rig_wait_serving(rig, "v0");
	assert_int_equal(access("v0", F_OK), -1);
	close(fd);
	fd = rig_dial(rig, "w0");
	assert_true(fd >= 0);
	rig_wait_event(rig, "session", "v0: 1 session");
	close(fd);
	assert_false(rig_has_event(rig, "error", ""));
	free(moved);
}

/* A process's own way in that cannot be is no fault of its vdev. */
static void test_ways_own_is_not_the_vdevs(void **state)
{
	static char request[] = "\"op\":\"listen\",\"pasid\":1,\"vdev\":\"v0\"";
	struct rig *rig = *state;

	rig_tell("refuse", "listen 22");
	rig_start(rig,
		  RIG_HEAD "processes:\n"
			   "  - {pasid: 1, vdev: v0, vhost-user: @/own}\n",
		  false);
	rig_wait_event(rig, "error", "process 1 of vdev v0: not now");
	rig_wait_serving(rig, "v0");
	rig_wait(rig, is_asked_twice, request);
}

/* --- The common one fails and is tried again (E15) ------------------------ */

static bool is_fine(struct rig *rig, void *arg)
{
	(void)arg;
	return rig_is_absent(host_vdev(rig->host, "v0"), "error");
}

/* It is served again as soon as it can be, and says so. */
static void comes_back(struct rig *rig)
{
	int fd;

	rig_wait(rig, is_fine, NULL);
	rig_text_is(host_vdev(rig->host, "v0"), "state", "serving");
	assert_true(rig_has_event(rig, "vdev-ready", "vdev v0 is served now"));
	fd = rig_dial(rig, "v0");
	assert_true(fd >= 0);
	rig_wait_event(rig, "session", "v0: 1 session");
	close(fd);
}

static void test_ways_refused_by_the_endpoint(void **state)
{
	static const char *const ops[] = {"listen", "vdev-add"};
	struct rig *rig = *state;

	for (unsigned int i = 0; i < 2; i++) {
		char refusal[32];

		snprintf(refusal, sizeof(refusal), "%s 24", ops[i]);
		rig_tell("refuse", refusal);
		rig_start(rig, RIG_HEAD, false);
		rig_wait_event(rig, "error", "not now");
		rig_text_is(host_vdev(rig->host, "v0"), "state", "failed");
		rig_text_is(host_vdev(rig->host, "v0"), "error", "not now");
		comes_back(rig);
		rig_stop(rig);
	}
}

/* Somebody else has the address, and goes. */
static void test_ways_address_in_use(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "v0"};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct rig *rig = *state;

	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)),
			 0);
	assert_int_equal(listen(fd, 1), 0);
	rig_start(rig, RIG_HEAD, true);
	rig_wait_event(rig, "error", "vdev v0: somebody listens at");
	assert_false(rig_is_absent(host_vdev(rig->host, "v0"), "error"));
	close(fd);
	comes_back(rig);
}

static void test_ways_directory_is_missing(void **state)
{
	struct rig *rig = *state;

	rig_start(
		rig,
		"host: a\n"
		"state: @/state\n"
		"endpoints:\n"
		"  - {name: ep0, devices: [{name: m0, kind: memory, size: 64MiB}]}\n"
		"pools:\n"
		"  - {name: p0, devices: [ep0/m0]}\n"
		"vdevs:\n"
		"  - {name: v0, pool: p0, size: 16MiB, vhost-user: @/a/b/v0}\n",
		true);
	rig_wait_event(rig, "error", "/a/b/v0: No such file or directory");
	assert_int_equal(mkdir("a", 0700), 0);
	rig_wait(rig, is_fine, NULL);
	assert_int_equal(symlink("a/b/v0", "v0"), 0);
	comes_back(rig);
}

/* Whether a way in by NBD is open to who has no TLS can be seen. */
#define BY_NBD	\
	"host: a\n" \
	"state: @/state\n" \
	"endpoints: [{name: ep0, devices: [{name: m0, kind: memory, size: 8MiB}]}]\n" \
	"pools: [{name: p0, devices: [ep0/m0]}]\n" \
	"vdevs:\n" \
	"  - {name: v0, pool: p0, size: 1MiB}\n" \
	"  - {name: v1, pool: p0, size: 1MiB, nbd: 'unix:@/n1'}\n" \
	"  - {name: v2, pool: p0, size: 1MiB,\n" \
	"     nbd: {listen: 'unix:@/n2', tls: {psk: @/psk}}}\n" \
	"  - {name: v3, pool: p0, size: 1MiB,\n" \
	"     nbd: {listen: 'unix:@/n3', tls: {psk: @/psk}, require: false}}\n"

static void test_ways_by_nbd_say_their_tls(void **state)
{
	struct rig *rig = *state;

	rig_start(rig, BY_NBD, true);
	assert_true(rig_is_absent(host_vdev(rig->host, "v0"), "nbd_tls"));
	rig_text_is(host_vdev(rig->host, "v1"), "nbd_tls", "none");
	rig_text_is(host_vdev(rig->host, "v2"), "nbd_tls", "required");
	rig_text_is(host_vdev(rig->host, "v3"), "nbd_tls", "offered");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_ways_process_is_not_added,
						rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(
			test_ways_refused_leaves_nothing, rig_setup,
			rig_teardown),
		cmocka_unit_test_setup_teardown(test_ways_vdev_is_not_made,
						rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_ways_burst_is_bounded,
						rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(
			test_ways_configured_are_told_once, rig_setup,
			rig_teardown),
		cmocka_unit_test_setup_teardown(test_ways_pending_says_why,
						rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_ways_adopted_are_in_use,
						rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(
			test_ways_moved_waits_for_the_old, rig_setup,
			rig_teardown),
		cmocka_unit_test_setup_teardown(test_ways_own_is_not_the_vdevs,
						rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(
			test_ways_refused_by_the_endpoint, rig_setup,
			rig_teardown),
		cmocka_unit_test_setup_teardown(test_ways_address_in_use,
						rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_ways_directory_is_missing,
						rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_ways_by_nbd_say_their_tls,
						rig_setup, rig_teardown),
	};
	const int status = rig_arguments(argc, argv);

	if (status)
		return status;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
