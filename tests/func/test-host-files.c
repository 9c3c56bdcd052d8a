/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-host-files.c - the files of devices: locked, made, too small, hanging;
 * sockets that somebody else has
 */
#include "host-rig.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

/* A device is not served before its lock is had. */
static void test_files_waits_for_the_lock(void **state)
{
	struct rig *rig = *state;
	int fd = open("d0", O_CREAT | O_RDWR | O_CLOEXEC, 0600);

	assert_int_equal(ftruncate(fd, 8 << 20), 0);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	/* Ready: it was said, after 5 s. */
	rig_start(rig, RIG_WHOLE, true);
	assert_true(rig_has_event(rig, "device-failed",
				  "is locked by another program"));
	rig_text_is(host_vdev(rig->host, "v1"), "state", "pending");
	rig_text_is(host_vdev(rig->host, "v0"), "state", "serving");
	assert_int_equal(rig_ops("\"op\":\"device-add\""), 1);
	close(fd);
	rig_wait_serving(rig, "v1");
	rig_text_is(host_process(rig->host, 2), "state", "bound");
}

/* A file in which something lies is never made longer. */
static void test_files_leaves_what_is_not_blank(void **state)
{
	struct rig *rig = *state;
	struct stat status;
	int fd = open("d0", O_CREAT | O_RDWR | O_CLOEXEC, 0600);

	assert_int_equal(ftruncate(fd, 4 << 20), 0);
	assert_int_equal(pwrite(fd, "data", 4, 4096), 4);
	close(fd);
	rig_start(rig, RIG_WHOLE, true);
	assert_int_equal(stat("d0", &status), 0);
	assert_int_equal(status.st_size, 4 << 20);
	assert_int_equal(rig_ops("\"zeroed\":false"), 1);
	rig_text_is(host_vdev(rig->host, "v0"), "state", "serving");
}

static void test_files_makes_missing_file(void **state)
{
	struct rig *rig = *state;
	struct stat status;

	rig_start(rig, RIG_WHOLE, true);
	assert_int_equal(stat("d0", &status), 0);
	assert_int_equal(status.st_size, 16 << 20);
	assert_int_equal(status.st_mode & 0777, 0600);
}

/* What a crash leaves between making and sizing is blank; so is a file that is
 * all holes. */
static void test_files_sizes_a_blank_file(void **state)
{
	static const off_t sizes[] = {0, 4 << 20};
	struct rig *rig = *state;
	struct stat status;

	for (int i = 0; i < 2; i++) {
		unlink("d0");
		close(open("d0", O_CREAT | O_RDWR | O_CLOEXEC, 0600));
		assert_int_equal(truncate("d0", sizes[i]), 0);
		assert_int_equal(system("rm -rf state"), 0);
		rig_start(rig, RIG_WHOLE, true);
		assert_int_equal(stat("d0", &status), 0);
		assert_int_equal(status.st_size, 16 << 20);
		rig_wait_serving(rig, "v1");
		rig_stop(rig);
	}
	assert_int_equal(rig_ops("\"zeroed\":true"), 4);
}

/* One that cannot be used is tried again, without being asked. */
static void test_files_failed_is_tried_again(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(mkdir("d0", 0700), 0);
	rig_start(rig, RIG_WHOLE, true);
	rig_text_is(host_device(rig->host, "d0"), "state", "failed");
	assert_int_equal(rmdir("d0"), 0);
	rig_wait_serving(rig, "v1");
	rig_wait_event(rig, "device-ready", "ep0/d0");
}

/* And when its endpoint is back, like all the others. */
static void test_files_failed_comes_back_with_its_endpoint(void **state)
{
	struct rig *rig = *state;

	rig_start(rig, RIG_WHOLE, true);
	assert_int_equal(rename("d0", "away"), 0);
	assert_int_equal(mkdir("d0", 0700), 0);
	kill(rig_endpoint(rig), SIGKILL);
	rig_wait_event(rig, "device-failed", "ep0/d0");
	assert_int_equal(rmdir("d0"), 0);
	assert_int_equal(rename("away", "d0"), 0);
	kill(rig_endpoint(rig), SIGKILL);
	rig_wait_serving(rig, "v1");
}

/* Storage that does not answer holds up nobody: a FIFO without a writer is
 * one whose open does not return. */
static void test_files_hanging_open_holds_up_nobody(void **state)
{
	struct rig *rig = *state;
	int fd;

	assert_int_equal(mkfifo("r0", 0600), 0);
	rig_start(
		rig,
		"host: a\n"
		"state: @/state\n"
		"endpoints:\n"
		"  - name: ep0\n"
		"    devices:\n"
		"      - {name: m0, kind: memory, size: 64MiB}\n"
		"      - {name: r0, kind: file, path: @/r0, size: 8MiB, read-only: true}\n"
		"pools:\n"
		"  - {name: p0, devices: [ep0/m0]}\n"
		"vdevs:\n"
		"  - {name: v0, pool: p0, size: 16MiB, vhost-user: @/v0}\n",
		false);
	rig_wait_serving(rig, "v0");
	rig_text_is(host_device(rig->host, "r0"), "state", "waiting");
	rig_wait_event(rig, "device-failed", "its storage does not answer");
	/* Its endpoint dies and comes back: it is still one opening. */
	kill(rig_endpoint(rig), SIGKILL);
	rig_wait_event(rig, "endpoint-restarted", "ep0");
	rig_wait_serving(rig, "v0");
	fd = open("r0", O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	assert_true(fd >= 0);	/* somebody waits at the other end */
	rig_wait_event(rig, "device-failed", "neither a file nor a block");
	close(fd);
}

static int leave_socket(struct rig *rig, const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s",
		 rig->directory, name);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)),
			 0);
	assert_int_equal(listen(fd, 1), 0);
	return fd;
}

static void test_files_replaces_stale_socket(void **state)
{
	struct rig *rig = *state;
	struct stat status;
	int fd;

	close(leave_socket(rig, "v0"));
	rig_start(rig, RIG_WHOLE, true);
	fd = rig_dial(rig, "v0");
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(stat("v0", &status), 0);
	assert_int_equal(status.st_mode & 0777, 0660);
}

static void test_files_leaves_living_socket(void **state)
{
	struct rig *rig = *state;
	int fd = leave_socket(rig, "v0");

	rig_start(rig, RIG_WHOLE, true);
	assert_true(rig_has_event(rig, "error", "somebody listens at"));
	assert_int_equal(
		rig_ops("\"op\":\"listen\",\"pasid\":0,\"vdev\":\"v0\""), 0);
	close(fd);
	/* It is tried again when the other one has gone. */
	while (rig_ops("\"op\":\"listen\",\"pasid\":0,\"vdev\":\"v0\"") == 0)
		loop_run_once(rig->loop, loop_clock_ns() + 100000000);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_files_waits_for_the_lock,
						rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(
			test_files_leaves_what_is_not_blank, rig_setup,
			rig_teardown),
		cmocka_unit_test_setup_teardown(test_files_makes_missing_file,
						rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_files_sizes_a_blank_file,
						rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(
			test_files_failed_is_tried_again, rig_setup,
			rig_teardown),
		cmocka_unit_test_setup_teardown(
			test_files_failed_comes_back_with_its_endpoint,
			rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(
			test_files_hanging_open_holds_up_nobody, rig_setup,
			rig_teardown),
		cmocka_unit_test_setup_teardown(
			test_files_replaces_stale_socket, rig_setup,
			rig_teardown),
		cmocka_unit_test_setup_teardown(test_files_leaves_living_socket,
						rig_setup, rig_teardown),
	};
	const int status = rig_arguments(argc, argv);

	if (status)
		return status;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
