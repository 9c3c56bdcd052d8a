/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-host-snapshots.c - a vdev is kept as it is now, as a vdev of its own,
 * or not at all, whatever dies or refuses meanwhile (E2, E12, E15)
 */
#include "host-rig.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MIB (1LL << 20)
#define STEPS 20 /* of the loop: more than any verb here takes */

#define CONFIG \
	"host: a\n" \
	"state: @/state\n" \
	"endpoints:\n" \
	"  - name: ep0\n" \
	"    devices:\n" \
	"      - {name: d0, kind: file, path: @/d0, size: 8MiB}\n" \
	"pools: [{name: p1, devices: [ep0/d0]}]\n"

static void make(struct rig *rig)
{
	const struct host_vdev_request request = {
		.name = "new",
		.size = "3MiB",
	};

	host_vdev_create(rig->host, &request, &rig->call);
	rig_answer(rig, HOST_DONE);
}

static void start(struct rig *rig)
{
	rig_start(rig, CONFIG, true);
	make(rig);
}

static void restart(struct rig *rig)
{
	rig_abandon(rig);
	rig_start(rig, CONFIG, true);
}

static void ask_named(struct rig *rig, const char *of, const char *name)
{
	const struct host_vdev_request request = {.name = name};

	host_vdev_snapshot(rig->host, of, &request, &rig->call);
}

static void ask_snapshot(struct rig *rig)
{
	ask_named(rig, "new", "kept");
}

static void ask_delete(struct rig *rig)
{
	host_vdev_delete(rig->host, "kept", &rig->call);
}

static void refused(struct rig *rig, enum host_result expected,
		    const char *words)
{
	rig_answer(rig, expected);
	assert_non_null(strstr(rig->text, words));
}

static bool exists(struct rig *rig, const char *name)
{
	json_t *vdev = host_vdev(rig->host, name);

	json_decref(vdev);
	return vdev != NULL;
}

static bool free_is(struct rig *rig, void *arg)
{
	return rig_number(host_pool(rig->host, "p1"), "free_bytes") ==
		*(int *)arg * MIB;
}

static bool asked(struct rig *rig, void *arg)
{
	char text[64];

	(void)rig;
	snprintf(text, sizeof(text), "\"op\":\"%s\"", (const char *)arg);
	return rig_ops(text) > 0;
}

static void wait_asked(struct rig *rig, const char *op)
{
	char name[32];

	snprintf(name, sizeof(name), "%s", op);
	rig_wait(rig, asked, name);
}

static void is_served(struct rig *rig)
{
	json_t *vdev;

	rig_wait_serving(rig, "kept");
	rig_text_is(host_vdev(rig->host, "kept"), "snapshot_of", "new");
	vdev = host_vdev(rig->host, "kept");
	assert_true(json_is_true(rig_at(vdev, "read_only")));
	json_decref(vdev);
	assert_int_equal(rig_number(host_vdev(rig->host, "kept"), "size_bytes"),
			 3 * MIB);
}

/* --- In order ------------------------------------------------------------ */

static void test_snapshots_come_and_go(void **state)
{
	struct rig *rig = *state;

	start(rig);
	ask_snapshot(rig);
	rig_answer(rig, HOST_DONE);
	is_served(rig);
	assert_true(rig_has_event(rig, "vdev-created",
				  "kept is a snapshot of vdev new"));
	restart(rig);
	is_served(rig);
	rig_stop(rig);
	rig_start(rig, CONFIG, true);
	is_served(rig);
	assert_int_equal(rig_ops("\"op\":\"volume-snapshot\""), 1);
	ask_delete(rig);
	rig_answer(rig, HOST_DONE);
	assert_false(exists(rig, "kept"));
	restart(rig);
	assert_false(exists(rig, "kept"));
	assert_true(exists(rig, "new"));
}

/* What it is of may go before it. */
static void test_snapshots_outlive_their_origin(void **state)
{
	struct rig *rig = *state;

	start(rig);
	ask_snapshot(rig);
	rig_answer(rig, HOST_DONE);
	host_vdev_delete(rig->host, "new", &rig->call);
	rig_answer(rig, HOST_DONE);
	is_served(rig);
	rig_stop(rig);
	rig_start(rig, CONFIG, true);
	is_served(rig);
	ask_delete(rig);
	rig_answer(rig, HOST_DONE);
}

static void test_snapshots_that_cannot_be(void **state)
{
	const struct host_vdev_request limited = {
		.name = "kept",
		.limit = "colour 5",
	};
	struct rig *rig = *state;

	start(rig);
	ask_named(rig, "none", "kept");
	refused(rig, HOST_NOT_FOUND, "there is no vdev 'none'");
	ask_named(rig, "new", "a b");
	refused(rig, HOST_USAGE, "is not a name");
	ask_named(rig, "new", "new");
	refused(rig, HOST_CONFLICT, "vdev 'new' exists");
	host_vdev_snapshot(rig->host, "new", &limited, &rig->call);
	refused(rig, HOST_USAGE, "colour");
	ask_snapshot(rig);
	rig_answer(rig, HOST_DONE);
	host_vdev_resize(rig->host, "kept", "5MiB", false, &rig->call);
	refused(rig, HOST_CONFLICT, "is a snapshot");
	/* Each counts with its whole size: copies have room. */
	ask_named(rig, "new", "more");
	refused(rig, HOST_REFUSED, "has no space for vdev 'more' of 3 MiB");
	assert_int_equal(rig_number(json_incref(rig->value), "shortfall"), MIB);
	assert_int_equal(rig_ops("\"op\":\"volume-snapshot\""), 1);
}

/* What is kept nowhere cannot be kept as it is. */
static void test_snapshots_of_nullio(void **state)
{
	struct rig *rig = *state;

	rig_start(
		rig,
		"host: a\n"
		"state: @/state\n"
		"endpoints:\n"
		"  - {name: ep0, devices: [{name: n0, kind: nullio, size: 8MiB}]}\n"
		"pools: [{name: p1, devices: [ep0/n0]}]\n"
		"vdevs: [{name: new, pool: p1, size: 3MiB}]\n",
		true);
	rig_wait_serving(rig, "new");
	ask_snapshot(rig);
	refused(rig, HOST_CONFLICT, "is on nullio, which keeps nothing");
	assert_false(exists(rig, "kept"));
}

/* --- Refused, or gone ---------------------------------------------------- */

static void test_snapshots_refused_leave_nothing(void **state)
{
	struct rig *rig = *state;

	start(rig);
	rig_tell("refuse", "volume-snapshot");
	ask_snapshot(rig);
	refused(rig, HOST_FAILED, "not now");
	assert_false(exists(rig, "kept"));
	assert_int_equal(rig_ops("\"op\":\"vdev-add\""), 1);
	ask_snapshot(rig);
	rig_answer(rig, HOST_DONE);
	is_served(rig);
}

static bool is_kept(struct rig *rig, void *arg)
{
	(void)rig;
	(void)arg;
	return system("grep -q kept held-*") == 0;
}

/* If the endpoint dies while it is made, it is not one of a later instant that
 * somebody takes for that of now. */
static void endpoint_dies(struct rig *rig, const char *how, bool is_done)
{
	start(rig);
	rig_tell(how, "volume-snapshot");
	ask_snapshot(rig);
	wait_asked(rig, "volume-snapshot");
	if (is_done)
		rig_wait(rig, is_kept, NULL);
	kill(rig_endpoint(rig), SIGKILL);
	rig_answer(rig, HOST_FAILED);
	assert_non_null(strstr(rig->text, "has not made the snapshot"));
	assert_false(exists(rig, "kept"));
	rig_wait_serving(rig, "new");
	wait_asked(rig, "volume-delete");
	rig_wait(rig, free_is, &(int){5});
	ask_snapshot(rig);
	rig_answer(rig, HOST_DONE);
	is_served(rig);
}

static void test_snapshots_endpoint_dies_before(void **state)
{
	endpoint_dies(*state, "hold", false);
}

static void test_snapshots_endpoint_dies_after(void **state)
{
	endpoint_dies(*state, "hold-done", true);
}

static void ignore(struct host_call *call, const struct host_reply *reply)
{
	(void)call;
	(void)reply;
}

static void test_snapshots_nothing_changes_meanwhile(void **state)
{
	const struct host_vdev_request request = {.name = "kept"};
	static struct host_call first = {.done = ignore};
	struct rig *rig = *state;

	start(rig);
	rig_tell("hold", "volume-snapshot");
	host_vdev_snapshot(rig->host, "new", &request, &first);
	wait_asked(rig, "volume-snapshot");
	host_vdev_delete(rig->host, "new", &rig->call);
	refused(rig, HOST_CONFLICT, "'kept' of vdev 'new' is not made yet");
	host_vdev_resize(rig->host, "new", "4MiB", false, &rig->call);
	refused(rig, HOST_CONFLICT, "a snapshot of vdev 'new' is being made");
	/* Killed meanwhile, penstockd asks for it again. */
	restart(rig);
	is_served(rig);
}

/* Nothing empty takes the place of one that was. */
static void test_snapshots_lost_are_not_made_anew(void **state)
{
	struct rig *rig = *state;

	start(rig);
	ask_snapshot(rig);
	rig_answer(rig, HOST_DONE);
	rig_stop(rig);
	assert_int_equal(
		system("sed -i 's/\"volumes\":.*/\"volumes\":{}}/' held-*"), 0);
	rig_forget_ops();
	rig_start(rig, CONFIG, true);
	rig_text_is(host_vdev(rig->host, "kept"), "state", "failed");
	assert_int_equal(rig_ops("\"op\":\"volume-snapshot\""), 0);
}

/* Our records are lost: a read-only vdev of its name has it. */
static void test_snapshots_are_found_without_records(void **state)
{
	struct rig *rig = *state;

	start(rig);
	ask_snapshot(rig);
	rig_answer(rig, HOST_DONE);
	rig_stop(rig);
	assert_int_equal(system("rm -r state"), 0);
	rig_start(rig, CONFIG, true);
	assert_true(rig_has_event(rig, "space", "holds a snapshot 'kept'"));
	rig_stop(rig);
	rig_start(
		rig,
		CONFIG
		"vdevs: [{name: kept, pool: p1, size: 3MiB, read-only: true}]\n",
		true);
	rig_wait_serving(rig, "kept");
	ask_delete(rig);
	rig_answer(rig, HOST_DONE);
}

/* --- Killed -------------------------------------------------------------- */

static void answered_somehow(struct rig *rig)
{
	while (!rig->is_answered)
		loop_run_once(rig->loop, loop_clock_ns() + 10000000);
	rig->is_answered = false;
}

/* penstockd is killed at any step: it is there, or nothing of it. */
static void test_snapshots_killed_while_making(void **state)
{
	struct rig *rig = *state;
	unsigned int made = 0;

	start(rig);
	for (unsigned int steps = 0; steps < STEPS; steps++) {
		rig_killed_after(rig, CONFIG, steps, ask_snapshot);
		rig_wait_serving(rig, "new");
		if (exists(rig, "kept")) {
			made++;
			is_served(rig);
		}
		ask_delete(rig);
		answered_somehow(rig); /* or there is none */
		assert_false(exists(rig, "kept"));
		rig_wait(rig, free_is, &(int){5});
	}
	assert_true(made > 0 && made <= STEPS);
}

static void test_snapshots_killed_while_deleting(void **state)
{
	struct rig *rig = *state;
	unsigned int kept = 0;

	start(rig);
	ask_snapshot(rig);
	rig_answer(rig, HOST_DONE);
	for (unsigned int steps = 0; steps < STEPS; steps++) {
		rig_killed_after(rig, CONFIG, steps, ask_delete);
		if (exists(rig, "kept")) {
			kept++;
			is_served(rig);
		}
		ask_delete(rig);
		answered_somehow(rig);
		assert_false(exists(rig, "kept"));
		rig_wait_serving(rig, "new");
		ask_snapshot(rig);
		rig_answer(rig, HOST_DONE);
	}
	assert_true(kept < STEPS);
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_snapshots_come_and_go),
		TEST(test_snapshots_outlive_their_origin),
		TEST(test_snapshots_that_cannot_be),
		TEST(test_snapshots_of_nullio),
		TEST(test_snapshots_refused_leave_nothing),
		TEST(test_snapshots_endpoint_dies_before),
		TEST(test_snapshots_endpoint_dies_after),
		TEST(test_snapshots_nothing_changes_meanwhile),
		TEST(test_snapshots_lost_are_not_made_anew),
		TEST(test_snapshots_are_found_without_records),
		TEST(test_snapshots_killed_while_making),
		TEST(test_snapshots_killed_while_deleting),
	};
	const int status = rig_arguments(argc, argv);

	if (status)
		return status;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
