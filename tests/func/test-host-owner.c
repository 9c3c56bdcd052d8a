/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-host-owner.c - whose the vdevs' sockets are, so that a QEMU that is not
 * root can connect (E15)
 *
 * Needs root, and takes users and groups by number: nobody has these.
 */
#include "host-rig.h"

#include <errno.h>
#include <grp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/listen.h"

#define QEMU		"socket: {group: 4100}\n"
#define OWN		"    socket: {user: 4001, group: 4101, mode: 0600}\n"

#define HEAD \
	"host: a\n" \
	"state: @/state\n" \
	"endpoints:\n" \
	"  - name: ep0\n" \
	"    devices:\n" \
	"      - {name: m0, kind: memory, size: 64MiB}\n" \
	"pools:\n" \
	"  - {name: p0, devices: [ep0/m0]}\n"
#define VDEVS \
	"vdevs:\n" \
	"  - {name: v0, pool: p0, size: 16MiB, vhost-user: @/v0}\n" \
	"  - name: v1\n" \
	"    pool: p0\n" \
	"    size: 8MiB\n" \
	"    vhost-user: @/v1\n"
#define NBD "  - {name: v2, pool: p0, size: 8MiB, nbd: 'unix:@/v2.nbd'"
#define PROCESSES \
	"processes:\n" \
	"  - {pasid: 1, vdev: v1, vhost-user: @/one}\n" \
	"  - {pasid: 2, vdev: v1, vhost-user: @/two, socket: {group: 4102}}\n"

static void is_of(const struct rig *rig, const char *name, uid_t uid, gid_t gid,
		  mode_t mode)
{
	struct stat status;
	char path[64];

	snprintf(path, sizeof(path), "%s/%s", rig->directory, name);
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_uid, uid);
	assert_int_equal(status.st_gid, gid);
	assert_int_equal(status.st_mode & 07777, mode);
}

/* Returns what connect says to this user, with this one group. */
static int connect_as(const struct rig *rig, const char *name, uid_t uid,
		      gid_t gid)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int status;
	pid_t pid;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s",
		 rig->directory, name);
	pid = fork();
	if (pid == 0) {
		int fd = socket(AF_UNIX, SOCK_STREAM, 0);

		if (setgroups(0, NULL) < 0 || setgid(gid) < 0 ||
		    setuid(uid) < 0)
			_exit(255);
		_exit(connect(fd, (struct sockaddr *)&address,
			      sizeof(address)) < 0 ?
			      errno :
			      0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void test_owner_by_configuration(void **state)
{
	struct rig *rig = *state;

	chmod(rig->directory, 0755);
	rig_start(rig, HEAD QEMU VDEVS OWN PROCESSES, true);
	is_of(rig, "v0", 0, 4100, 0660);
	is_of(rig, "v1", 4001, 4101, 0600);
	/* A process's own socket: as its vdev's, unless it says more. */
	is_of(rig, "one", 4001, 4101, 0600);
	is_of(rig, "two", 4001, 4102, 0600);

	assert_int_equal(connect_as(rig, "v0", 4009, 4100), 0);
	assert_int_equal(connect_as(rig, "v0", 4009, 4101), EACCES);
	assert_int_equal(connect_as(rig, "v1", 4001, 4009), 0);
	assert_int_equal(connect_as(rig, "v1", 4009, 4101), EACCES);
}

/* Those of NBD as well, also when the next penstockd finds them. */
static void test_owner_of_nbd(void **state)
{
	struct rig *rig = *state;

	chmod(rig->directory, 0755);
	rig_start(rig, HEAD QEMU VDEVS NBD "}\n", true);
	is_of(rig, "v2.nbd", 0, 4100, 0660);
	assert_int_equal(connect_as(rig, "v2.nbd", 4009, 4100), 0);
	assert_int_equal(connect_as(rig, "v2.nbd", 4009, 4101), EACCES);
	rig_abandon(rig);
	rig_start(rig,
		  HEAD QEMU VDEVS NBD
		  ", socket: {user: 4001, group: 4101, mode: 0600}}\n",
		  true);
	is_of(rig, "v2.nbd", 4001, 4101, 0600);
	assert_int_equal(connect_as(rig, "v2.nbd", 4001, 4009), 0);
	assert_int_equal(connect_as(rig, "v2.nbd", 4009, 4101), EACCES);
}

/* What is made at run time has the default, and a process on a vdev that the
 * file names has that one's. */
static void test_owner_at_run_time(void **state)
{
	struct rig *rig = *state;
	char path[64];
	const struct host_vdev_request vdev = {
		.name = "new",
		.pool = "p0",
		.size = "1MiB",
		.vhost_user = path,
	};
	const struct host_process_request process = {
		.pasid = 9,
		.vdev = "v1",
		.vhost_user = path,
	};

	rig_start(rig, HEAD QEMU VDEVS OWN, true);
	snprintf(path, sizeof(path), "%s/new", rig->directory);
	host_vdev_create(rig->host, &vdev, &rig->call);
	rig_answer(rig, HOST_DONE);
	is_of(rig, "new", 0, 4100, 0660);
	snprintf(path, sizeof(path), "%s/nine", rig->directory);
	host_process_add(rig->host, &process, &rig->call);
	rig_answer(rig, HOST_DONE);
	is_of(rig, "nine", 4001, 4101, 0600);
}

/* The next penstockd finds the socket open, and gives it to whom its file
 * says. */
static void test_owner_changes(void **state)
{
	struct rig *rig = *state;

	rig_start(rig, HEAD QEMU VDEVS, true);
	is_of(rig, "v1", 0, 4100, 0660);
	rig_abandon(rig);
	rig_start(rig, HEAD VDEVS OWN, true);
	is_of(rig, "v1", 4001, 4101, 0600);
}

static void test_owner_is_unknown(void **state)
{
	struct rig *rig = *state;

	rig_start(rig, HEAD "socket: {group: no-such-group}\n" VDEVS, false);
	rig_wait_event(
		rig, "error",
		"vdev v0: socket: there is no group 'no-such-group' on this host");
}

/* Who may write to the directory puts another thing there: it stays his. */
static void test_owner_of_sockets_only(void **state)
{
	struct config_socket whose = {.mode = 0666};
	struct rig *rig = *state;
	char path[64], link[64];
	struct error error;
	struct stat status;
	FILE *file;

	snprintf(path, sizeof(path), "%s/file", rig->directory);
	snprintf(link, sizeof(link), "%s/link", rig->directory);
	file = fopen(path, "we");
	assert_non_null(file);
	fclose(file);
	chmod(path, 0600);
	assert_int_equal(symlink(path, link), 0);
	assert_int_equal(listen_own(path, &whose, &error), -ENOTSOCK);
	assert_int_equal(listen_own(link, &whose, &error), -ENOTSOCK);
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0600);
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_owner_by_configuration), TEST(test_owner_at_run_time),
		TEST(test_owner_changes),	   TEST(test_owner_is_unknown),
		TEST(test_owner_of_sockets_only),  TEST(test_owner_of_nbd),
	};

	if (geteuid() != 0) {
		puts("needs root");
		return 77;
	}
	if (rig_arguments(argc, argv) != 0)
		return 2;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
