/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-host-accept.c - a backing file that was restored as a copy: its space
 * is emptied only in a file of which somebody said that it is one (E3, E12)
 *
 * Pool p1 is a file of 8 MiB, all of it 'x'; vdev "new" has the first half.
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
#include <unistd.h>

#include <cmocka.h>

#define MIB	(1 << 20)
#define CONFIG \
	"host: a\n" \
	"state: @/state\n" \
	"endpoints:\n" \
	"  - name: ep0\n" \
	"    devices:\n" \
	"      - {name: d0, kind: file, path: @/d0, size: 8MiB}\n" \
	"pools:\n" \
	"  - {name: p1, devices: [ep0/d0]}\n"

/* --- The file ------------------------------------------------------------ */

static void fill(char byte)
{
	char *block = malloc(8 * MIB);
	int fd = open("d0", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	memset(block, byte, 8 * MIB);
	assert_int_equal(pwrite(fd, block, 8 * MIB, 0), 8 * MIB);
	close(fd);
	free(block);
}

static bool holds(int first_mib, int end_mib, char byte)
{
	char *block = malloc(8 * MIB);
	int fd = open("d0", O_RDONLY | O_CLOEXEC);
	bool is_same = pread(fd, block, 8 * MIB, 0) == 8 * MIB;

	for (int at = first_mib * MIB; at < end_mib * MIB; at++)
		is_same &= block[at] == byte;
	close(fd);
	free(block);
	return is_same;
}

/* The same contents, in another inode. */
static void restore_copy(void)
{
	assert_int_equal(system("cp d0 copy && mv copy d0"), 0);
}

/* --- The host ------------------------------------------------------------ */

static void start_with_new(struct rig *rig)
{
	const struct host_vdev_request request = {
		.name = "new",
		.size = "4MiB",
	};

	rig_start(rig, CONFIG, true);
	host_vdev_create(rig->host, &request, &rig->call);
	rig_answer(rig, HOST_DONE);
	fill('x');
}

static bool free_is(struct rig *rig, void *arg)
{
	return rig_number(host_pool(rig->host, "p1"), "free_bytes") ==
		(long long)*(int *)arg * MIB;
}

static void assert_free(struct rig *rig, int mib)
{
	assert_true(free_is(rig, &mib));
}

static void wait_free(struct rig *rig, int mib)
{
	rig_wait(rig, free_is, &mib);
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

static void delete_is_not_emptied(struct rig *rig)
{
	host_vdev_delete(rig->host, "new", &rig->call);
	rig_answer(rig, HOST_FAILED);
	assert_non_null(strstr(rig->text, "another file"));
	assert_non_null(strstr(rig->text, "penstock device accept"));
	assert_free(rig, 4);
}

/* It is emptied where it was said to lie, and nowhere before. */
static void test_accept_frees_what_waits(void **state)
{
	struct rig *rig = *state;

	start_with_new(rig);
	assert_false(differs(rig));
	restart_with_copy(rig, CONFIG);
	delete_is_not_emptied(rig);
	assert_true(holds(0, 8, 'x'));

	accept_file(rig);
	assert_true(rig_has_event(rig, "file-accepted", "ep0/d0"));
	wait_free(rig, 8);
	assert_false(differs(rig));
	assert_true(holds(0, 4, 0));
	assert_true(holds(4, 8, 'x'));
}

/* It is written down: the next penstockd knows it too. */
static void test_accept_is_remembered(void **state)
{
	struct rig *rig = *state;

	start_with_new(rig);
	restart_with_copy(rig, CONFIG);
	accept_file(rig);
	rig_stop(rig);
	rig_start(rig, CONFIG, true);
	assert_false(differs(rig));
	assert_true(holds(0, 8, 'x'));
	host_vdev_delete(rig->host, "new", &rig->call);
	rig_answer(rig, HOST_DONE);
	assert_free(rig, 8);
	assert_true(holds(0, 4, 0));
	assert_true(holds(4, 8, 'x'));
}

/* So are those of vdevs that are not configured any more. */
static void test_accept_of_who_is_not_configured(void **state)
{
	static const char vdev[] =
		CONFIG "vdevs:\n"
		       "  - {name: old, pool: p1, size: 4MiB}\n";
	struct rig *rig = *state;

	rig_start(rig, vdev, true);
	fill('x');
	restart_with_copy(rig, CONFIG);
	accept_file(rig);
	assert_false(differs(rig));
	host_vdev_delete(rig->host, "old", &rig->call);
	rig_answer(rig, HOST_DONE);
	assert_free(rig, 8);
	assert_true(holds(0, 4, 0));
	assert_true(holds(4, 8, 'x'));
}

/* The endpoint has the old one still: what lies at the path is nobody's. */
static void test_accept_is_of_what_is_served(void **state)
{
	struct rig *rig = *state;

	start_with_new(rig);
	assert_int_equal(rename("d0", "away"), 0);
	fill('y');
	delete_is_not_emptied(rig);
	accept_file(rig);
	assert_false(rig_has_event(rig, "file-accepted", ""));
	host_vdev_delete(rig->host, "new", &rig->call);
	rig_answer(rig, HOST_FAILED);
	assert_free(rig, 4);
	assert_true(holds(0, 8, 'y'));
}

static void test_accept_of_what_is_not_there(void **state)
{
	struct rig *rig = *state;

	rig_start(rig, CONFIG, true);
	host_device_accept(rig->host, "d9", &rig->call);
	rig_answer(rig, HOST_NOT_FOUND);
	rig_stop(rig);
	assert_int_equal(system("rm d0 && mkdir d0"), 0);
	rig_start(rig, CONFIG, true);
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
