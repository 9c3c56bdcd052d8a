/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-lockdown.c - what an endpoint may still do when it is locked down
 *
 * A guest that takes it over has its user, root where there is no other, and
 * could signal whatever else runs as that.
 */
#include "endpoint/endpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define NO_SECCOMP 77

/* In a child that is locked down: 0, or which of these is not as it should. */
static int try_all(int fd, pid_t other)
{
	if (fcntl(fd, F_GETFL) < 0)
		return 1;
	if (fcntl(fd, F_SETOWN, other) == 0 || errno != EPERM)
		return 2;
	if (fcntl(fd, F_SETSIG, SIGKILL) == 0 || errno != EPERM)
		return 3;
	if (kill(other, 0) == 0 || errno != EPERM)
		return 4;
	if (syscall(SYS_tgkill, other, other, 0) == 0 || errno != EPERM)
		return 5;
	if (syscall(SYS_tgkill, getpid(), getpid(), 0) < 0)
		return 6;
	if (syscall(SYS_openat, AT_FDCWD, "/", O_RDONLY) >= 0)
		return 7;
	return 0;
}

static int status_of(int (*run)(int fd, pid_t other))
{
	const pid_t self = getpid(), child = fork();
	int status, ends[2];

	if (child == 0) {
		struct error why;
		char how[128];

		if (pipe(ends) < 0 ||
		    endpoint_lockdown(&(struct endpoint_user){0}, how,
				      sizeof(how), &why) < 0)
			_exit(100);
		/* A sanitizer's own calls are on no list. */
		if (strstr(how, "no seccomp"))
			_exit(NO_SECCOMP);
		_exit(run(ends[0], self));
	}
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	if (WIFEXITED(status) && WEXITSTATUS(status) == NO_SECCOMP)
		skip();
	return status;
}

static void test_no_signals_to_others(void **state)
{
	const int status = status_of(try_all);

	(void)state;
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static int end_by_assert(int fd, pid_t other)
{
	(void)fd;
	(void)other;
	abort();
}

/* Our own bugs still end it as such. */
static void test_abort(void **state)
{
	const int status = status_of(end_by_assert);

	(void)state;
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
}

/* In a child that has become another user, and is confined by nothing else:
 * 0, or which of these is not as it should. */
static int try_as_another(const char *path, pid_t parent)
{
	const struct endpoint_user user = {65534, 65534};
	struct error why;
	gid_t group;

	if (endpoint_become(&user, &why) < 0)
		return 1;
	if (open(path, O_RDONLY) >= 0 || errno != EACCES)
		return 2;
	if (open("/proc/1/environ", O_RDONLY) >= 0)
		return 3;
	if (kill(parent, 0) == 0 || errno != EPERM)
		return 4;
	if (setuid(0) == 0 || seteuid(0) == 0 || setgid(0) == 0)
		return 5;
	if (getgroups(0, &group) != 0)
		return 6;
	/* Nor may others of that user look into it. */
	if (prctl(PR_GET_DUMPABLE) != 0)
		return 7;
	return 0;
}

/* Without Landlock, and with a hole in the filter: not root's files. */
static void test_another_user(void **state)
{
	char path[] = "/tmp/test-lockdown.XXXXXX";
	const pid_t parent = getpid();
	int status, fd;
	pid_t child;

	(void)state;
	if (geteuid() != 0)
		skip();		/* only root can become another */
	fd = mkstemp(path);
	assert_true(fd >= 0);
	child = fork();
	if (child == 0)
		_exit(try_as_another(path, parent));
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	close(fd);
	unlink(path);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_signals_to_others),
		cmocka_unit_test(test_abort),
		cmocka_unit_test(test_another_user),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
