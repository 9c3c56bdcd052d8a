/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-loop-restricted.c - what an endpoint's ring does, and what it refuses
 *
 * What goes through io_uring, seccomp does not see: whoever takes an endpoint
 * over could open files and sockets there.  The kernel refuses what is not on
 * the ring's list.
 */
#include "os/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct asked {
	struct loop_op op;	/* first: container of itself */
	bool is_done;
	int result;
};

static struct loop *loop;

static void done(struct loop_op *op, int result)
{
	struct asked *asked = (struct asked *)op;

	asked->is_done = true;
	asked->result = result;
}

static int wait_for(struct asked *asked)
{
	while (!asked->is_done)
		loop_run_once(loop, loop_clock_ns() + 1000000000);
	return asked->result;
}

static int setup(void **state)
{
	const struct loop_config config = {.entries = 64, .restricted = true};
	struct error why;

	(void)state;
	return loop_create(&config, &loop, &why);
}

static int teardown(void **state)
{
	(void)state;
	loop_destroy(loop);
	return 0;
}

static void test_restricted_reads_and_writes(void **state)
{
	struct asked write_op = {{done}, false, 0};
	struct asked read_op = {{done}, false, 0};
	int fd = memfd_create("data", MFD_CLOEXEC);
	char byte = 'x', back = 0;

	(void)state;
	io_uring_prep_write(loop_sqe(loop, &write_op.op), fd, &byte, 1, 0);
	assert_int_equal(wait_for(&write_op), 1);
	io_uring_prep_read(loop_sqe(loop, &read_op.op), fd, &back, 1, 0);
	assert_int_equal(wait_for(&read_op), 1);
	assert_int_equal(back, 'x');
	close(fd);
}

static void test_restricted_opens_nothing(void **state)
{
	struct asked file = {{done}, false, 0};
	struct asked named_socket = {{done}, false, 0};
	struct asked connection = {{done}, false, 0};
	struct asked link = {{done}, false, 0};
	struct sockaddr address = {.sa_family = AF_UNIX};

	(void)state;
	io_uring_prep_openat(loop_sqe(loop, &file.op), AT_FDCWD, "/dev/null",
			     O_RDONLY, 0);
	assert_int_equal(wait_for(&file), -EACCES);
	io_uring_prep_socket(loop_sqe(loop, &named_socket.op), AF_UNIX,
			     SOCK_STREAM, 0, 0);
	assert_int_equal(wait_for(&named_socket), -EACCES);
	io_uring_prep_connect(loop_sqe(loop, &connection.op), 0, &address,
			      sizeof(address));
	assert_int_equal(wait_for(&connection), -EACCES);
	io_uring_prep_unlinkat(loop_sqe(loop, &link.op), AT_FDCWD,
			       "/tmp/nobody-has-this", 0);
	assert_int_equal(wait_for(&link), -EACCES);
}

/* Nor does it take messages, or a flag that changes what an entry does. */
static void test_restricted_sends_nothing(void **state)
{
	struct asked sent = {{done}, false, 0};
	struct asked chained = {{done}, false, 0};
	struct io_uring_sqe *sqe;

	(void)state;
	io_uring_prep_send(loop_sqe(loop, &sent.op), 0, "x", 1, 0);
	assert_int_equal(wait_for(&sent), -EACCES);
	sqe = loop_sqe(loop, &chained.op);
	io_uring_prep_nop(sqe);
	sqe->flags |= IOSQE_ASYNC;
	assert_int_equal(wait_for(&chained), -EACCES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_restricted_reads_and_writes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_restricted_opens_nothing,
						setup, teardown),
		cmocka_unit_test_setup_teardown(test_restricted_sends_nothing,
						setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
