/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-host-user.c - endpoints of a user of their own (item 5): what was opened
 * by root is served, and penstockd has them as if they were its own
 */
#include "host-rig.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define ANOTHER 65534U

static void make_file(const char *path, off_t size)
{
	int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	close(fd);
}

/* The four of its user are those of another. */
static void assert_is_another(pid_t pid)
{
	unsigned int uid[4] = {0};
	char path[32], line[256];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "r");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "Uid: %u %u %u %u", &uid[0], &uid[1], &uid[2],
			   &uid[3]) == 4)
			break;
	fclose(file);
	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(uid[i], ANOTHER);
}

/* A file that only root can open, and memory; measured, served, adopted with
 * the same statistics, started again when it has died, ended in order. */
static void test_user_endpoint_is_kept(void **state)
{
	struct rig *rig = *state;
	pid_t pid;

	make_file("d0", 8 << 20);
	rig_start(rig, RIG_WHOLE, true);
	rig_wait_serving(rig, "v0");
	rig_wait_serving(rig, "v1");
	pid = rig_endpoint(rig);
	assert_is_another(pid);
	rig_abandon(rig);
	rig_start(rig, RIG_WHOLE, true);
	assert_true(rig_has_event(rig, "endpoint-adopted", "ep0"));
	assert_int_equal(rig_endpoint(rig), pid);
	rig_wait_serving(rig, "v1");
	assert_int_equal(kill(pid, SIGKILL), 0);
	rig_wait_event(rig, "endpoint-restarted", "ep0");
	rig_wait_serving(rig, "v0");
	rig_wait_serving(rig, "v1");
	assert_is_another(rig_endpoint(rig));
	rig_stop(rig);
}

/* One that hangs is ended by penstockd: its signal reaches it. */
static void test_user_endpoint_that_hangs_is_ended(void **state)
{
	struct rig *rig = *state;
	pid_t pid;

	make_file("d0", 8 << 20);
	rig_start(rig, RIG_WHOLE, true);
	pid = rig_endpoint(rig);
	assert_int_equal(kill(pid, SIGSTOP), 0);
	rig_wait_event(rig, "endpoint-restarted", "ep0");
	assert_true(rig_has_event(rig, "endpoint-hung", "ep0"));
	assert_is_another(rig_endpoint(rig));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_user_endpoint_is_kept,
						rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(
			test_user_endpoint_that_hangs_is_ended, rig_setup,
			rig_teardown),
	};
	const int status = rig_arguments(argc, argv);

	if (status)
		return status;
	if (geteuid() != 0) {
		fprintf(stderr, "skipped: only root can start others'\n");
		return 77;
	}
	rig_uid = rig_gid = ANOTHER;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
