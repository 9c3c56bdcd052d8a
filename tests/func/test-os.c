/* SPDX-License-Identifier: Apache-2.0 */
/* test-os.c - truncated mappings, passed descriptors, the log's lines */
#include "os/fd.h"
#include "os/guard.h"
#include "os/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE	4096

static char *map_file(int fd, size_t length)
{
	char *map =
		mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	assert_true(map != MAP_FAILED);
	return map;
}

static void test_guard_survives_a_truncated_file(void **state)
{
	const int fd = memfd_create("guest", MFD_CLOEXEC);
	volatile sig_atomic_t hit = 0, other = 0;
	char *map, *second;

	(void)state;
	assert_int_equal(guard_install(), 0);
	assert_int_equal(ftruncate(fd, 8 * PAGE), 0);
	map = map_file(fd, 8 * PAGE);
	second = map_file(fd, 8 * PAGE);
	assert_int_equal(guard_add(second, 8 * PAGE, &other), 0);
	assert_int_equal(guard_add(map, 8 * PAGE, &hit), 0);
	memset(map, 'x', 8 * PAGE);
	assert_int_equal(ftruncate(fd, 2 * PAGE), 0);
	assert_int_equal(hit, 0);
	assert_int_equal(((volatile char *)map)[3 * PAGE + 5], 0);
	assert_int_equal(hit, 1);
	assert_int_equal(other, 0);
	/* What is still there is untouched; what is not can be written. */
	assert_int_equal(map[2 * PAGE - 1], 'x');
	memset(map + 2 * PAGE, 'y', 6 * PAGE);
	assert_int_equal(map[8 * PAGE - 1], 'y');
	guard_remove(map);
	guard_remove(map);	/* unknown by now */
	guard_remove(second);
	munmap(map, 8 * PAGE);
	munmap(second, 8 * PAGE);
	close(fd);
}

static void test_guard_outside_is_deadly_as_ever(void **state)
{
	const struct rlimit no_core = {0};
	int status;
	pid_t child;

	(void)state;
	child = fork();
	if (child == 0) {
		const int fd = memfd_create("guest", MFD_CLOEXEC);
		char *map;

		signal(SIGBUS, SIG_DFL);
		setrlimit(RLIMIT_CORE, &no_core);
		if (guard_install() < 0 || ftruncate(fd, PAGE) < 0)
			_exit(1);
		map = map_file(fd, PAGE);
		if (ftruncate(fd, 0) < 0)
			_exit(2);
		*(volatile char *)map = 1;
		_exit(3);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGBUS);
}

static void test_guard_table_is_bounded(void **state)
{
	volatile sig_atomic_t hit = 0;
	const size_t length = (size_t)(GUARD_MAX + 1) * PAGE;
	char *map = mmap(NULL, length, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0);

	(void)state;
	assert_true(map != MAP_FAILED);
	for (size_t i = 0; i < GUARD_MAX; i++)
		assert_int_equal(guard_add(map + i * PAGE, PAGE, &hit), 0);
	assert_int_equal(guard_add(map + (size_t)GUARD_MAX * PAGE, PAGE, &hit),
			 -ENOSPC);
	guard_remove(map + 7 * PAGE);
	assert_int_equal(guard_add(map + (size_t)GUARD_MAX * PAGE, PAGE, &hit),
			 0);
	for (size_t i = 0; i <= GUARD_MAX; i++)
		guard_remove(map + i * PAGE);
	munmap(map, length);
}

static void test_fd_passes_descriptors(void **state)
{
	int ends[2], pipe_ends[2], got[2] = {-1, -1};
	unsigned int count = 9;
	char text[8];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
	assert_int_equal(pipe(pipe_ends), 0);
	assert_int_equal(fd_send(ends[0], "hello", 5, pipe_ends, 2), 5);
	assert_int_equal(
		fd_receive(ends[1], text, sizeof(text), got, 2, &count), 5);
	assert_int_equal(count, 2);
	assert_true((fcntl(got[0], F_GETFD) & FD_CLOEXEC) != 0);
	assert_int_equal(write(got[1], "x", 1), 1);
	assert_int_equal(read(pipe_ends[0], text, 1), 1);

	assert_int_equal(fd_send(ends[0], "plain", 5, NULL, 0), 5);
	assert_int_equal(
		fd_receive(ends[1], text, sizeof(text), got, 2, &count), 5);
	assert_int_equal(count, 0);
	fd_close(&ends[0]);
	assert_int_equal(ends[0], -1);
	assert_int_equal(
		fd_receive(ends[1], text, sizeof(text), got, 2, &count), 0);
	assert_int_equal(fd_send(ends[1], "x", 1, NULL, 0), -EPIPE);
	for (int i = 0; i < 2; i++) {
		close(pipe_ends[i]);
		close(got[i]);
	}
	close(ends[1]);
}

static unsigned int open_descriptors(void)
{
	unsigned int count = 0;

	for (int fd = 0; fd < 256; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void test_fd_surplus_is_refused_and_closed(void **state)
{
	int ends[2], got[1] = {-1};
	unsigned int count = 9, before;
	char text[4];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
	before = open_descriptors();
	assert_int_equal(fd_send(ends[0], "hi", 2, ends, 2), 2);
	assert_int_equal(
		fd_receive(ends[1], text, sizeof(text), got, 1, &count),
		-EMSGSIZE);
	assert_int_equal(fd_send(ends[0], "too long", 8, ends, 1), 8);
	assert_int_equal(
		fd_receive(ends[1], text, sizeof(text), got, 1, &count),
		-EMSGSIZE);
	assert_int_equal(open_descriptors(), before);
	assert_int_equal(count, 9);
	assert_int_equal(got[0], -1);
	close(ends[0]);
	close(ends[1]);
}

static void test_fd_is_closed_when_its_scope_is_left(void **state)
{
	int leaked, kept;

	(void)state;
	{
		fd_cleanup int first = memfd_create("first", 0);
		fd_cleanup int second = memfd_create("second", 0);

		leaked = first;
		kept = fd_steal(&second);
	}
	assert_int_equal(fcntl(leaked, F_GETFD), -1);
	assert_true(fcntl(kept, F_GETFD) >= 0);
	close(kept);
}

/* What log_warning writes, with JOURNAL_STREAM naming its stream or not. */
static void logged(bool journal, char *ret_text, size_t size)
{
	const int saved = dup(STDERR_FILENO);
	char stream[64];
	struct stat status;
	ssize_t length;
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	assert_int_equal(fstat(ends[1], &status), 0);
	snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)status.st_dev,
		 (uintmax_t)status.st_ino + (journal ? 0 : 1));
	setenv("JOURNAL_STREAM", stream, 1);
	dup2(ends[1], STDERR_FILENO);
	log_init("tester");
	log_warning("disk %s", "d0\nis\x1b[31mfull");
	dup2(saved, STDERR_FILENO);
	length = read(ends[0], ret_text, size - 1);
	assert_true(length > 0);
	ret_text[length] = '\0';
	unsetenv("JOURNAL_STREAM");
	close(saved);
	close(ends[0]);
	close(ends[1]);
}

static void test_log_is_one_clean_line(void **state)
{
	char text[256];

	(void)state;
	logged(true, text, sizeof(text));
	assert_string_equal(text, "<4>disk d0?is?[31mfull\n");
	logged(false, text, sizeof(text));
	assert_string_equal(text, "tester: disk d0?is?[31mfull\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_guard_survives_a_truncated_file),
		cmocka_unit_test(test_guard_outside_is_deadly_as_ever),
		cmocka_unit_test(test_guard_table_is_bounded),
		cmocka_unit_test(test_fd_passes_descriptors),
		cmocka_unit_test(test_fd_surplus_is_refused_and_closed),
		cmocka_unit_test(test_fd_is_closed_when_its_scope_is_left),
		cmocka_unit_test(test_log_is_one_clean_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
