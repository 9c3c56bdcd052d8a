/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-host-volumes.c - vdevs stand on volumes of pools; what lies where is
 * known by the devices, whatever dies or refuses meanwhile (E2, E3, E12)
 */
#include "host-rig.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB (1LL << 20)
#define STEPS 16 /* of the loop: more than any verb here takes */

#define DEVICE(path) \
	"host: a\n" \
	"state: @/state\n" \
	"endpoints:\n" \
	"  - name: ep0\n" \
	"    devices:\n" \
	"      - {name: d0, kind: file, path: " path ", size: 8MiB}\n"
#define THICK(path) DEVICE(path) "pools: [{name: p1, devices: [ep0/d0]}]\n"
#define THIN \
	DEVICE("@/d0") \
	"pools: [{name: p1, devices: [ep0/d0], provisioning: thin}]\n"
#define CONFIG THICK("@/d0")

static void make(struct rig *rig, const char *size, enum host_result expected)
{
	const struct host_vdev_request request = {.name = "new", .size = size};

	host_vdev_create(rig->host, &request, &rig->call);
	rig_answer(rig, expected);
}

static void start(struct rig *rig)
{
	rig_start(rig, CONFIG, true);
	make(rig, "4MiB", HOST_DONE);
}

static void restart(struct rig *rig)
{
	rig_abandon(rig);
	rig_start(rig, CONFIG, true);
}

static bool free_is(struct rig *rig, void *arg)
{
	return rig_number(host_pool(rig->host, "p1"), "free_bytes") ==
		*(int *)arg * MIB;
}

static void wait_free(struct rig *rig, int mib)
{
	rig_wait(rig, free_is, &mib);
}

static void size_is(struct rig *rig, int mib)
{
	assert_int_equal(rig_number(host_vdev(rig->host, "new"), "size_bytes"),
			 mib * MIB);
	wait_free(rig, 8 - mib);
}

static bool asked(struct rig *rig, void *arg)
{
	(void)rig;
	return rig_ops(arg) > 0;
}

static void wait_asked(struct rig *rig, const char *op)
{
	char text[64];

	snprintf(text, sizeof(text), "\"op\":\"%s\"", op);
	rig_wait(rig, asked, text);
}

/* --- In order ------------------------------------------------------------ */

static void test_volumes_come_and_go(void **state)
{
	struct rig *rig = *state;

	start(rig);
	assert_int_equal(rig_ops("\"op\":\"pool-start\""), 1);
	assert_true(rig_has_event(rig, "device-claimed", "ep0/d0 was blank"));
	size_is(rig, 4);
	host_vdev_resize(rig->host, "new", "1MiB", false, &rig->call);
	rig_answer(rig, HOST_DONE);
	size_is(rig, 1);
	host_vdev_resize(rig->host, "new", "6MiB", false, &rig->call);
	rig_answer(rig, HOST_DONE);
	size_is(rig, 6);
	rig_stop(rig);

	rig_start(rig, CONFIG, true);
	size_is(rig, 6);
	host_vdev_delete(rig->host, "new", &rig->call);
	rig_answer(rig, HOST_DONE);
	wait_free(rig, 8);
	assert_int_equal(rig_ops("\"op\":\"volume-delete\""), 1);
	restart(rig);
	assert_null(host_vdev(rig->host, "new"));
	wait_free(rig, 8);
}

/* A file has room for superblocks and log beside what is configured. */
static void test_volumes_file_has_room_for_more(void **state)
{
	struct rig *rig = *state;
	struct stat status;

	start(rig);
	assert_int_equal(stat("d0", &status), 0);
	assert_true(status.st_size > 8 * MIB);
	assert_int_equal(rig_number(host_device(rig->host, "d0"), "size_bytes"),
			 8 * MIB);
}

static void test_volumes_thick_is_refused_what_there_is_not(void **state)
{
	struct rig *rig = *state;

	start(rig);
	host_vdev_resize(rig->host, "new", "9MiB", false, &rig->call);
	rig_answer(rig, HOST_REFUSED);
	assert_int_equal(rig_number(json_incref(rig->value), "available"),
			 8 * MIB);
	host_vdev_delete(rig->host, "new", &rig->call);
	rig_answer(rig, HOST_DONE);
	make(rig, "9MiB", HOST_REFUSED);
	assert_int_equal(rig_number(json_incref(rig->value), "shortfall"), MIB);
	assert_null(host_vdev(rig->host, "new"));
}

static void test_volumes_thin_may_be_larger_than_the_pool(void **state)
{
	struct rig *rig = *state;

	rig_start(rig, THIN, true);
	make(rig, "1GiB", HOST_DONE);
	rig_text_is(host_vdev(rig->host, "new"), "provisioning", "thin");
	wait_free(rig, 8);
	assert_int_equal(rig_ops("\"thick\":false"), 1);
}

/* E3: equal parts of what the others leave. */
static void test_volumes_equal_shares(void **state)
{
	struct rig *rig = *state;

	rig_start(rig,
		  CONFIG "vdevs:\n"
			 "  - {name: a, pool: p1, size: equal}\n"
			 "  - {name: b, pool: p1, size: equal}\n"
			 "  - {name: c, pool: p1, size: 2MiB}\n",
		  true);
	assert_int_equal(rig_number(host_vdev(rig->host, "a"), "size_bytes"),
			 3 * MIB);
	assert_int_equal(rig_number(host_vdev(rig->host, "b"), "size_bytes"),
			 3 * MIB);
	wait_free(rig, 0);
}

static void test_volumes_alarm_before_it_is_full(void **state)
{
	struct rig *rig = *state;

	start(rig);
	rig_tell("level", "90");
	rig_wait_event(rig, "space", "90 % of its space is used");
	assert_int_equal(
		rig_number(host_pool(rig->host, "p1"), "level_percent"), 90);
	rig_tell("level", "100");
	rig_wait_event(rig, "space", "pool p1 is full");
	rig_tell("level", "0");
	rig_wait_event(rig, "space", "has enough space again");
}

/* --- Refused by the endpoint --------------------------------------------- */

static void test_volumes_refused_size_is_taken_back(void **state)
{
	static const char *const sizes[] = {"1MiB", "6MiB"};
	struct rig *rig = *state;

	start(rig);
	for (int i = 0; i < 2; i++) {
		rig_tell("refuse", "vdev-resize");
		host_vdev_resize(rig->host, "new", sizes[i], false, &rig->call);
		rig_answer(rig, HOST_FAILED);
		assert_string_equal(rig->text, "vdev 'new': not now");
		assert_true(rig_has_event(rig, "error",
					  "'new' keeps its size: not now"));
		size_is(rig, 4);
		restart(rig);
		size_is(rig, 4);
	}
}

/* What was asked for is written down: it can be asked for again. */
static void test_volumes_delete_can_be_repeated(void **state)
{
	struct rig *rig = *state;

	start(rig);
	rig_tell("refuse", "vdev-remove");
	host_vdev_delete(rig->host, "new", &rig->call);
	rig_answer(rig, HOST_FAILED);
	assert_string_equal(rig->text, "vdev 'new': not now; delete it again");
	rig_text_is(host_vdev(rig->host, "new"), "state", "ending");
	rig_tell("refuse", "volume-delete");
	host_vdev_delete(rig->host, "new", &rig->call);
	rig_answer(rig, HOST_FAILED);
	assert_non_null(strstr(rig->text, "is not deleted: not now"));
	assert_null(host_vdev(rig->host, "new"));
	wait_free(rig, 4);
	host_vdev_delete(rig->host, "new", &rig->call);
	rig_answer(rig, HOST_DONE);
	wait_free(rig, 8);
	host_vdev_delete(rig->host, "new", &rig->call);
	rig_answer(rig, HOST_NOT_FOUND);
}

static void test_volumes_that_did_not_go_go_with_the_next(void **state)
{
	struct rig *rig = *state;

	start(rig);
	rig_tell("hold", "volume-delete");
	host_vdev_delete(rig->host, "new", &rig->call);
	wait_asked(rig, "volume-delete");
	rig_abandon(rig);
	assert_true(rig->is_answered);
	assert_non_null(strstr(rig->text, "penstockd ends"));
	rig->is_answered = false;
	rig_start(rig, CONFIG, true);
	assert_null(host_vdev(rig->host, "new"));
	wait_free(rig, 8);
}

/* --- Which device it is -------------------------------------------------- */

/* A device whose vdevs have data is never another one, nor a blank one. */
static void test_volumes_another_device_is_refused(void **state)
{
	struct rig *rig = *state;

	start(rig);
	rig_stop(rig);
	assert_int_equal(rename("d0", "away"), 0);
	assert_int_equal(system("truncate -s 16M d0"), 0);
	rig_start(rig, CONFIG, true);
	assert_true(rig_has_event(rig, "device-failed", "put that one back"));
	rig_text_is(host_device(rig->host, "d0"), "state", "failed");
	rig_text_is(host_device(rig->host, "d0"), "fault", "another");
	rig_text_is(host_vdev(rig->host, "new"), "state", "pending");
	assert_int_equal(rig_ops("\"op\":\"vdev-add\""), 1);
	host_vdev_delete(rig->host, "new", &rig->call);
	rig_answer(rig, HOST_FAILED);
	assert_non_null(strstr(rig->text, "is deleted when device ep0/d0"));
	rig_stop(rig);
	assert_int_equal(rename("away", "d0"), 0);
	rig_start(rig, CONFIG, true);
	wait_free(rig, 8);
	assert_null(host_vdev(rig->host, "new"));
}

/* One that never held anything may be exchanged. */
static void test_volumes_unused_device_may_be_exchanged(void **state)
{
	struct rig *rig = *state;

	rig_start(rig, CONFIG, true);
	rig_stop(rig);
	assert_int_equal(rename("d0", "away"), 0);
	rig_start(rig, CONFIG, true);
	rig_text_is(host_device(rig->host, "d0"), "state", "ready");
}

static void test_volumes_foreign_device_is_refused(void **state)
{
	struct rig *rig = *state;

	rig_tell("refuse", "member-add 42"); /* ENOMSG */
	rig_start(rig, CONFIG, true);
	rig_text_is(host_device(rig->host, "d0"), "fault", "foreign");
	assert_true(rig_has_event(rig, "device-failed", "not now"));
	/* It is tried again. */
	rig_wait_event(rig, "device-ready", "ep0/d0");
	assert_true(rig_is_absent(host_device(rig->host, "d0"), "fault"));
}

static void test_volumes_clone_is_refused(void **state)
{
	struct rig *rig = *state;
	struct stat status;
	char command[128];

	start(rig);
	rig_stop(rig);
	assert_int_equal(stat("d0", &status), 0);
	assert_int_equal(system("cp --sparse=always d0 d1; printf x | dd of=d1"
				" conv=notrunc status=none"),
			 0);
	snprintf(command, sizeof(command),
		 "cp held-d0-%lu held-d1-$(stat -c %%i d1)",
		 (unsigned long)status.st_ino);
	assert_int_equal(system(command), 0);
	rig_start(
		rig,
		DEVICE("@/d0") "      - {name: d1, kind: file, path: @/d1, size: 8MiB}\n"
			       "pools:\n"
			       "  - {name: p1, devices: [ep0/d0]}\n"
			       "  - {name: p2, devices: [ep0/d1]}\n",
		true);
	rig_wait_serving(rig, "new");
	rig_text_is(host_device(rig->host, "d1"), "fault", "clone");
	assert_true(rig_has_event(rig, "device-failed",
				  "ep0/d1: it is a copy of device ep0/d0"));
}

/* A file that was moved is still that device. */
static void test_volumes_file_moved_with_its_path(void **state)
{
	struct rig *rig = *state;

	start(rig);
	rig_stop(rig);
	assert_int_equal(rename("d0", "b0"), 0);
	rig_start(rig, THICK("@/b0"), true);
	size_is(rig, 4);
	rig_wait_serving(rig, "new");
}

/* The endpoint is not left with a file that is not configured any more. */
static void test_volumes_path_changed_while_penstockd_was_away(void **state)
{
	struct rig *rig = *state;

	start(rig);
	rig_abandon(rig);
	rig_forget_ops();
	assert_int_equal(rename("d0", "b0"), 0);
	rig_start(rig, THICK("@/b0"), true);
	assert_true(rig_has_event(rig, "device-changed", "ep0/d0"));
	assert_int_equal(rig_ops("\"op\":\"vdev-remove\""), 1);
	assert_int_equal(rig_ops("\"op\":\"pool-remove\""), 1);
	assert_int_equal(rig_ops("\"op\":\"device-remove\""), 1);
	assert_int_equal(rig_ops("\"op\":\"device-add\""), 1);
	rig_wait_serving(rig, "new");
	size_is(rig, 4);
}

/* Our records are lost, the devices are not. */
static void test_volumes_are_found_without_records(void **state)
{
	struct rig *rig = *state;

	start(rig);
	rig_stop(rig);
	assert_int_equal(system("rm -r state"), 0);
	rig_start(rig, CONFIG, true);
	assert_true(rig_has_event(rig, "space", "holds a volume 'new'"));
	wait_free(rig, 4);
	rig_stop(rig);
	assert_int_equal(system("rm -r state"), 0);
	rig_start(rig, CONFIG "vdevs: [{name: new, pool: p1, size: 4MiB}]\n",
		  true);
	assert_true(rig_has_event(rig, "space", "has the volume of this name"));
	rig_wait_serving(rig, "new");
	wait_free(rig, 4);
}

/* A vdev that is not configured any more keeps its data until it is deleted. */
static void test_volumes_of_nobody_stay(void **state)
{
	struct rig *rig = *state;

	rig_start(rig, CONFIG "vdevs: [{name: old, pool: p1, size: 4MiB}]\n",
		  true);
	rig_stop(rig);
	rig_start(rig, CONFIG, true);
	assert_true(rig_has_event(rig, "space", "'old' is not configured"));
	wait_free(rig, 4);
	host_vdev_delete(rig->host, "old", &rig->call);
	rig_answer(rig, HOST_DONE);
	wait_free(rig, 8);
}

/* A volume that was there and is not: nothing empty takes its place. */
static void test_volumes_lost_is_not_made_anew(void **state)
{
	struct rig *rig = *state;

	start(rig);
	rig_stop(rig);
	assert_int_equal(
		system("sed -i 's/\"volumes\":.*/\"volumes\":{}}/' held-*"), 0);
	rig_forget_ops();
	rig_start(rig, CONFIG, true);
	rig_text_is(host_vdev(rig->host, "new"), "state", "failed");
	assert_true(rig_has_event(rig, "error", "its volume is not on"));
	assert_int_equal(rig_ops("\"op\":\"vdev-add\""), 0);
	host_vdev_delete(rig->host, "new", &rig->call);
	rig_answer(rig, HOST_DONE);
}

/* A file grows when more is configured; nothing is cut off. */
static void test_volumes_device_size_changes(void **state)
{
	static const char larger[] =
		"host: a\n"
		"state: @/state\n"
		"endpoints:\n"
		"  - name: ep0\n"
		"    devices:\n"
		"      - {name: d0, kind: file, path: @/d0, size: 12MiB}\n"
		"pools: [{name: p1, devices: [ep0/d0]}]\n";
	struct rig *rig = *state;

	start(rig);
	rig_abandon(rig);
	rig_start(rig, larger, true);
	wait_free(rig, 8);
	assert_int_equal(rig_number(host_device(rig->host, "d0"), "size_bytes"),
			 12 * MIB);
	rig_stop(rig);
	rig_start(rig, CONFIG, true);
	rig_text_is(host_device(rig->host, "d0"), "fault", "shrunk");
}

/* --- Killed -------------------------------------------------------------- */

static void ask_create(struct rig *rig)
{
	const struct host_vdev_request request = {
		.name = "new",
		.size = "4MiB",
	};

	host_vdev_create(rig->host, &request, &rig->call);
}

static void ask_delete(struct rig *rig)
{
	host_vdev_delete(rig->host, "new", &rig->call);
}

static void ask_shrink(struct rig *rig)
{
	host_vdev_resize(rig->host, "new", "1MiB", false, &rig->call);
}

static void ask_grow(struct rig *rig)
{
	host_vdev_resize(rig->host, "new", "6MiB", false, &rig->call);
}

static void answered_somehow(struct rig *rig)
{
	while (!rig->is_answered)
		loop_run_once(rig->loop, loop_clock_ns() + 10000000);
	rig->is_answered = false;
}

static bool exists(struct rig *rig)
{
	json_t *vdev = host_vdev(rig->host, "new");

	json_decref(vdev);
	return vdev != NULL;
}

static void test_volumes_killed_while_creating(void **state)
{
	struct rig *rig = *state;
	unsigned int made = 0;

	rig_start(rig, CONFIG, true);
	for (unsigned int steps = 0; steps < STEPS; steps++) {
		rig_killed_after(rig, CONFIG, steps, ask_create);
		if (exists(rig)) {
			made++;
			rig_wait_serving(rig, "new");
			size_is(rig, 4);
		} else {
			wait_free(rig, 8);
		}
		ask_delete(rig);
		answered_somehow(rig); /* or there is none */
		wait_free(rig, 8);
	}
	assert_true(made > 0 && made <= STEPS);
}

/* After a kill at any step: it is all there, or it goes. */
static void test_volumes_killed_while_deleting(void **state)
{
	struct rig *rig = *state;
	unsigned int kept = 0;

	start(rig);
	for (unsigned int steps = 0; steps < STEPS; steps++) {
		rig_killed_after(rig, CONFIG, steps, ask_delete);
		if (exists(rig)) {
			kept++;
			size_is(rig, 4);
		}
		ask_delete(rig);
		answered_somehow(rig);
		wait_free(rig, 8);
		assert_false(exists(rig));
		make(rig, "4MiB", HOST_DONE);
	}
	assert_true(kept < STEPS);
}

static void killed_while_resizing(struct rig *rig, int mib,
				  void (*verb)(struct rig *rig))
{
	start(rig);
	for (unsigned int steps = 0; steps < STEPS; steps++) {
		long long size;

		rig_killed_after(rig, CONFIG, steps, verb);
		size = rig_number(host_vdev(rig->host, "new"), "size_bytes");
		assert_true(size == 4 * MIB || size == mib * MIB);
		size_is(rig, (int)(size / MIB));
		ask_delete(rig);
		rig_answer(rig, HOST_DONE);
		make(rig, "4MiB", HOST_DONE);
	}
}

static void test_volumes_killed_while_shrinking(void **state)
{
	killed_while_resizing(*state, 1, ask_shrink);
}

static void test_volumes_killed_while_growing(void **state)
{
	killed_while_resizing(*state, 6, ask_grow);
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_volumes_come_and_go),
		TEST(test_volumes_file_has_room_for_more),
		TEST(test_volumes_thick_is_refused_what_there_is_not),
		TEST(test_volumes_thin_may_be_larger_than_the_pool),
		TEST(test_volumes_equal_shares),
		TEST(test_volumes_alarm_before_it_is_full),
		TEST(test_volumes_refused_size_is_taken_back),
		TEST(test_volumes_delete_can_be_repeated),
		TEST(test_volumes_that_did_not_go_go_with_the_next),
		TEST(test_volumes_another_device_is_refused),
		TEST(test_volumes_unused_device_may_be_exchanged),
		TEST(test_volumes_foreign_device_is_refused),
		TEST(test_volumes_clone_is_refused),
		TEST(test_volumes_file_moved_with_its_path),
		TEST(test_volumes_path_changed_while_penstockd_was_away),
		TEST(test_volumes_are_found_without_records),
		TEST(test_volumes_of_nobody_stay),
		TEST(test_volumes_lost_is_not_made_anew),
		TEST(test_volumes_device_size_changes),
		TEST(test_volumes_killed_while_creating),
		TEST(test_volumes_killed_while_deleting),
		TEST(test_volumes_killed_while_shrinking),
		TEST(test_volumes_killed_while_growing),
	};
	const int status = rig_arguments(argc, argv);

	if (status)
		return status;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
