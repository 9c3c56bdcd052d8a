/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-host-accept.c - a backing file that was restored as a copy: its space
 * is emptied only in a file of which somebody said that it is one (E3, E12)
 */
#include "space-rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* The same contents, in another inode. */
static void restore_copy(void)
{
	assert_int_equal(system("cp d0 copy && mv copy d0"), 0);
}

static void accept_file(struct rig *rig)
{
	host_device_accept(rig->host, "d0", &rig->call);
	rig_answer(rig, HOST_DONE);
}

static bool differs(struct rig *rig)
{
	return !rig_is_absent(host_device(rig->host, "d0"), "file_differs");
}

/* What the next penstockd and its endpoint find is a copy. */
static void restart_with_copy(struct rig *rig, const char *config)
{
	rig_stop(rig);
	restore_copy();
	rig_start(rig, config, true);
	assert_true(differs(rig));
	assert_true(rig_has_event(rig, "error",
				  "say 'penstock device accept ep0/d0'"));
}

/* It is emptied where it was said to lie, and nowhere before. */
static void test_accept_frees_what_waits(void **state)
{
	struct rig *rig = *state;

	space_start(rig);
	assert_false(differs(rig));
	restart_with_copy(rig, SPACE_CONFIG);
	space_delete_in_vain(rig);
	assert_true(space_holds(0, 8, 'x'));

	accept_file(rig);
	assert_true(rig_has_event(rig, "file-accepted", "ep0/d0"));
	space_wait_free(rig, 8);
	assert_false(differs(rig));
	space_assert_emptied();
}

/* It is written down: the next penstockd knows it too. */
static void test_accept_is_remembered(void **state)
{
	struct rig *rig = *state;

	space_start(rig);
	restart_with_copy(rig, SPACE_CONFIG);
	accept_file(rig);
	rig_stop(rig);
	rig_start(rig, SPACE_CONFIG, true);
	assert_false(differs(rig));
	assert_true(space_holds(0, 8, 'x'));
	host_vdev_delete(rig->host, "new", &rig->call);
	rig_answer(rig, HOST_DONE);
	space_assert_free(rig, 8);
	space_assert_emptied();
}

/* So are those of vdevs that are not configured any more. */
static void test_accept_of_who_is_not_configured(void **state)
{
	static const char vdev[] =
		SPACE_CONFIG "vdevs:\n"
			     "  - {name: old, pool: p1, size: 4MiB}\n";
	struct rig *rig = *state;

	rig_start(rig, vdev, true);
	space_fill(0, 8, 'x');
	restart_with_copy(rig, SPACE_CONFIG);
	accept_file(rig);
	assert_false(differs(rig));
	host_vdev_delete(rig->host, "old", &rig->call);
	rig_answer(rig, HOST_DONE);
	space_assert_free(rig, 8);
	space_assert_emptied();
}

/* The endpoint has the old one still: what lies at the path is nobody's. */
static void test_accept_is_of_what_is_served(void **state)
{
	struct rig *rig = *state;

	space_start(rig);
	assert_int_equal(rename("d0", "away"), 0);
	space_fill(0, 8, 'y');
	space_delete_in_vain(rig);
	accept_file(rig);
	assert_false(rig_has_event(rig, "file-accepted", ""));
	host_vdev_delete(rig->host, "new", &rig->call);
	rig_answer(rig, HOST_FAILED);
	space_assert_free(rig, 4);
	assert_true(space_holds(0, 8, 'y'));
}

static void test_accept_of_what_is_not_there(void **state)
{
	struct rig *rig = *state;

	rig_start(rig, SPACE_CONFIG, true);
	host_device_accept(rig->host, "d9", &rig->call);
	rig_answer(rig, HOST_NOT_FOUND);
	rig_stop(rig);
	assert_int_equal(system("rm d0 && mkdir d0"), 0);
	rig_start(rig, SPACE_CONFIG, true);
	host_device_accept(rig->host, "d0", &rig->call);
	rig_answer(rig, HOST_CONFLICT);
	assert_non_null(strstr(rig->text, "device ep0/d0 is not ready"));
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_accept_frees_what_waits),
		TEST(test_accept_is_remembered),
		TEST(test_accept_of_who_is_not_configured),
		TEST(test_accept_is_of_what_is_served),
		TEST(test_accept_of_what_is_not_there),
	};
	const int status = rig_arguments(argc, argv);

	if (status)
		return status;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
