/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-host-space.c - a vdev's space goes to somebody else only when it is
 * empty, whatever dies or refuses meanwhile (E3, E12)
 */
#include "space-rig.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define STEPS 16 /* of the loop: more than any verb here takes */
#define CONFIG_B SPACE_CONFIG_AT("@/b0")

static void restart(struct rig *rig)
{
	rig_abandon(rig);
	rig_start(rig, SPACE_CONFIG, true);
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

static void test_space_is_empty_when_deleted(void **state)
{
	struct rig *rig = *state;

	space_start(rig);
	host_vdev_delete(rig->host, "new", &rig->call);
	rig_answer(rig, HOST_DONE);
	space_assert_free(rig, 8);
	space_assert_emptied();
}

static void test_space_is_empty_when_cut_off(void **state)
{
	struct rig *rig = *state;

	space_start(rig);
	host_vdev_resize(rig->host, "new", "1MiB", &rig->call);
	rig_answer(rig, HOST_DONE);
	space_wait_free(rig, 7);
	assert_true(space_holds(0, 1, 'x'));
	assert_true(space_holds(1, 4, 0));
	assert_true(space_holds(4, 8, 'x'));
}

/* What the endpoint still has is not touched, and nobody gets it. */
static void test_space_waits_for_the_endpoint(void **state)
{
	struct rig *rig = *state;
	const struct host_vdev_request other = {
		.name = "other",
		.size = "5MiB",
	};

	space_start(rig);
	rig_tell("hold", "vdev-resize");
	host_vdev_resize(rig->host, "new", "2MiB", &rig->call);
	wait_asked(rig, "vdev-resize");
	space_assert_free(rig, 4);
	assert_true(space_holds(0, 8, 'x'));
	rig_abandon(rig);
	rig->is_answered = false; /* nobody is told any more */

	rig_tell("hold", "vdev-remove");
	rig_start(rig, SPACE_CONFIG, true);
	space_wait_free(rig, 6);
	assert_true(space_holds(0, 2, 'x'));
	assert_true(space_holds(2, 4, 0));
	space_fill(2, 4, 'x');

	host_vdev_delete(rig->host, "new", &rig->call);
	wait_asked(rig, "vdev-remove");
	space_assert_free(rig, 6);
	assert_true(space_holds(0, 8, 'x'));
	rig_abandon(rig);
	rig->is_answered = false;

	rig_start(rig, SPACE_CONFIG, true);
	assert_null(host_vdev(rig->host, "new"));
	space_wait_free(rig, 8);
	assert_true(space_holds(0, 2, 0));
	assert_true(space_holds(2, 8, 'x'));
	host_vdev_create(rig->host, &other, &rig->call);
	rig_answer(rig, HOST_DONE);
}

/* --- Refused by the endpoint --------------------------------------------- */

static void size_is(struct rig *rig, int mib)
{
	assert_int_equal(rig_number(host_vdev(rig->host, "new"), "size_bytes"),
			 mib * MIB);
	space_assert_free(rig, 8 - mib);
}

static void test_space_refused_size_is_taken_back(void **state)
{
	static const char *const sizes[] = {"1MiB", "6MiB"};
	struct rig *rig = *state;

	space_start(rig);
	for (int i = 0; i < 2; i++) {
		rig_tell("refuse", "vdev-resize");
		host_vdev_resize(rig->host, "new", sizes[i], &rig->call);
		rig_answer(rig, HOST_FAILED);
		assert_string_equal(rig->text, "vdev 'new': not now");
		assert_true(rig_has_event(rig, "error",
					  "'new' keeps its size: not now"));
		size_is(rig, 4);
		restart(rig);
		size_is(rig, 4);
		assert_true(space_holds(0, 8, 'x'));
	}
}

/* What was asked for is written down: it can be asked for again. */
static void test_space_delete_can_be_repeated(void **state)
{
	struct rig *rig = *state;

	space_start(rig);
	rig_tell("refuse", "vdev-remove");
	host_vdev_delete(rig->host, "new", &rig->call);
	rig_answer(rig, HOST_FAILED);
	assert_string_equal(rig->text, "vdev 'new': not now; delete it again");
	rig_text_is(host_vdev(rig->host, "new"), "state", "ending");
	space_assert_free(rig, 4);
	assert_true(space_holds(0, 8, 'x'));
	host_vdev_delete(rig->host, "new", &rig->call);
	rig_answer(rig, HOST_DONE);
	assert_null(host_vdev(rig->host, "new"));
	space_assert_free(rig, 8);
	assert_true(space_holds(0, 4, 0));
}

/* --- It cannot be emptied ------------------------------------------------ */

static void test_space_that_is_not_empty_stays_taken(void **state)
{
	struct rig *rig = *state;

	space_start(rig);
	assert_int_equal(rename("d0", "away"), 0);
	host_vdev_delete(rig->host, "new", &rig->call);
	rig_answer(rig, HOST_FAILED);
	assert_non_null(strstr(rig->text, "/d0: No such file"));
	assert_true(rig_has_event(rig, "error", "it stays taken"));
	assert_null(host_vdev(rig->host, "new"));
	space_assert_free(rig, 4);

	assert_int_equal(rename("away", "d0"), 0);
	assert_true(space_holds(0, 8, 'x'));
	host_vdev_delete(rig->host, "new", &rig->call);
	rig_answer(rig, HOST_DONE);
	space_assert_free(rig, 8);
	space_assert_emptied();
}

static void test_space_is_emptied_by_the_next_penstockd(void **state)
{
	struct rig *rig = *state;

	space_start(rig);
	assert_int_equal(rename("d0", "away"), 0);
	host_vdev_delete(rig->host, "new", &rig->call);
	rig_answer(rig, HOST_FAILED);
	assert_int_equal(rename("away", "d0"), 0);
	rig_stop(rig);
	assert_true(space_holds(0, 8, 'x'));
	rig_start(rig, SPACE_CONFIG, true);
	space_wait_free(rig, 8);
	space_assert_emptied();
}

/* A device that is not there is not waited for; its space is not forgotten. */
static void test_space_of_a_missing_device(void **state)
{
	struct rig *rig = *state;

	space_start(rig);
	rig_stop(rig);
	assert_int_equal(rename("d0", "away"), 0);
	assert_int_equal(mkdir("d0", 0700), 0);
	rig_start(rig, SPACE_CONFIG, true);
	host_vdev_delete(rig->host, "new", &rig->call);
	rig_answer(rig, HOST_FAILED);
	assert_non_null(strstr(rig->text, "is emptied when device ep0/d0"));
	rig_stop(rig);
	assert_int_equal(rmdir("d0"), 0);
	assert_int_equal(rename("away", "d0"), 0);
	rig_start(rig, SPACE_CONFIG, true);
	space_wait_free(rig, 8);
	assert_true(space_holds(0, 4, 0));
}

/* --- It is another file -------------------------------------------------- */

/* "d0" as it is, another one of 8 MiB of 'y' in its place. */
static void exchange(const char *away)
{
	assert_int_equal(rename("d0", away), 0);
	space_fill(0, 8, 'y');
}

/* The endpoint is not left with the old file, and the new one is not emptied
 * of what it never had. */
static void test_space_path_changed_while_penstockd_was_away(void **state)
{
	struct rig *rig = *state;

	space_start(rig);
	rig_abandon(rig);
	rig_forget_ops();
	exchange("a0");
	assert_int_equal(rename("d0", "b0"), 0);
	assert_int_equal(rename("a0", "d0"), 0);
	rig_start(rig, CONFIG_B, true);
	assert_true(rig_has_event(rig, "device-changed", "ep0/d0"));
	assert_true(rig_has_event(rig, "error", "/d0, but device ep0/d0 is"));
	assert_int_equal(rig_ops("\"op\":\"device-remove\""), 1);
	assert_int_equal(rig_ops("\"op\":\"device-add\""), 1);
	space_delete_in_vain(rig);
	assert_true(space_holds(0, 8, 'x'));
	assert_int_equal(rename("d0", "a0"), 0);
	assert_int_equal(rename("b0", "d0"), 0);
	assert_true(space_holds(0, 8, 'y'));
	assert_int_equal(rename("d0", "b0"), 0);
	assert_int_equal(rename("a0", "d0"), 0);

	rig_abandon(rig);
	rig_start(rig, SPACE_CONFIG, true);
	space_wait_free(rig, 8);
	space_assert_emptied();
}

static void test_space_file_replaced_under_the_endpoint(void **state)
{
	struct rig *rig = *state;

	space_start(rig);
	exchange("a0");
	space_delete_in_vain(rig);
	assert_true(space_holds(0, 8, 'y'));
	restart(rig);
	space_assert_free(rig, 4);
	rig_stop(rig);

	/* What waits to be emptied waits for the file in which it lies. */
	rig_start(rig, SPACE_CONFIG, true);
	rig_wait_event(rig, "error", "another file");
	space_assert_free(rig, 4);
	assert_true(space_holds(0, 8, 'y'));
	rig_stop(rig);
	assert_int_equal(rename("a0", "d0"), 0);
	rig_start(rig, SPACE_CONFIG, true);
	space_wait_free(rig, 8);
	space_assert_emptied();
}

/* A file that was moved is still that file. */
static void test_space_file_moved_with_its_path(void **state)
{
	struct rig *rig = *state;

	space_start(rig);
	rig_stop(rig);
	assert_int_equal(rename("d0", "b0"), 0);
	rig_start(rig, CONFIG_B, true);
	host_vdev_delete(rig->host, "new", &rig->call);
	rig_answer(rig, HOST_DONE);
	space_assert_free(rig, 8);
	assert_int_equal(rename("b0", "d0"), 0);
	space_assert_emptied();
}

/* --- Its storage does not answer ----------------------------------------- */

/* A lease: whoever opens the file waits until it is given up. */
static int lease(void)
{
	int fd;

	signal(SIGIO, SIG_IGN);
	exchange("a0");
	fd = open("d0", O_RDWR | O_CLOEXEC);
	assert_int_equal(fcntl(fd, F_SETLEASE, F_WRLCK), 0);
	return fd;
}

static bool opener_waits(struct rig *rig, void *arg)
{
	(void)rig;
	return fcntl(*(int *)arg, F_GETLEASE) != F_WRLCK;
}

/* Neither the loop nor the end waits for it. */
static void test_space_storage_that_does_not_answer(void **state)
{
	const struct host_vdev_request other = {
		.name = "other",
		.size = "1MiB",
	};
	struct rig *rig = *state;
	int fd;

	space_start(rig);
	fd = lease();
	host_vdev_delete(rig->host, "new", &rig->call);
	rig_wait(rig, opener_waits, &fd);
	assert_false(rig->is_answered);
	assert_int_equal(fcntl(fd, F_GETLEASE), F_UNLCK);
	rig_abandon(rig);
	assert_true(rig->is_answered);
	assert_non_null(strstr(rig->text, "penstockd ends"));
	assert_int_equal(fcntl(fd, F_GETLEASE), F_UNLCK);
	rig->is_answered = false;
	close(fd);

	assert_int_equal(rename("a0", "d0"), 0);
	rig_start(rig, SPACE_CONFIG, true);
	space_wait_free(rig, 8);
	assert_true(space_holds(0, 4, 0));
	host_vdev_create(rig->host, &other, &rig->call);
	rig_answer(rig, HOST_DONE);
}

/* --- Killed -------------------------------------------------------------- */

/* Another penstockd, which asks for something and is killed after so many
 * steps of its loop. */
static void killed_after(struct rig *rig, unsigned int steps,
			 void (*verb)(struct rig *rig))
{
	const struct loop_config config = {.entries = 128};
	struct error why;
	int status;
	pid_t pid;

	rig_abandon(rig);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (loop_create(&config, &rig->loop, &why) < 0)
			_exit(1);
		rig_start(rig, SPACE_CONFIG, true);
		verb(rig);
		while (steps--)
			loop_run_once(rig->loop, loop_clock_ns() + 5000000);
		kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	rig_start(rig, SPACE_CONFIG, true);
}

static void ask_delete(struct rig *rig)
{
	host_vdev_delete(rig->host, "new", &rig->call);
}

static void ask_shrink(struct rig *rig)
{
	host_vdev_resize(rig->host, "new", "1MiB", &rig->call);
}

static void ask_grow(struct rig *rig)
{
	host_vdev_resize(rig->host, "new", "6MiB", &rig->call);
}

static void is_answered_somehow(struct rig *rig)
{
	while (!rig->is_answered)
		loop_run_once(rig->loop, loop_clock_ns() + 10000000);
	rig->is_answered = false;
}

/* After a kill at any step: it is all there, or it goes and is empty. */
static void test_space_killed_while_deleting(void **state)
{
	struct rig *rig = *state;
	unsigned int kept = 0;

	space_start(rig);
	for (unsigned int steps = 0; steps < STEPS; steps++) {
		json_t *vdev;

		killed_after(rig, steps, ask_delete);
		vdev = host_vdev(rig->host, "new");
		if (vdev) {
			kept++;
			assert_true(space_holds(0, 8, 'x'));
		}
		json_decref(vdev);
		ask_delete(rig);
		is_answered_somehow(rig); /* or there is none */
		space_wait_free(rig, 8);
		assert_null(host_vdev(rig->host, "new"));
		space_assert_emptied();
		space_make_new(rig);
	}
	assert_true(kept < STEPS);
}

static void test_space_killed_while_shrinking(void **state)
{
	struct rig *rig = *state;

	space_start(rig);
	for (unsigned int steps = 0; steps < STEPS; steps++) {
		killed_after(rig, steps, ask_shrink);
		if (rig_number(host_vdev(rig->host, "new"), "size_bytes") ==
		    4 * MIB) {
			assert_true(space_holds(0, 8, 'x'));
			space_assert_free(rig, 4);
		} else {
			space_wait_free(rig, 7);
			assert_true(space_holds(1, 4, 0));
		}
		assert_true(space_holds(0, 1, 'x'));
		assert_true(space_holds(4, 8, 'x'));
		ask_delete(rig);
		rig_answer(rig, HOST_DONE);
		space_make_new(rig);
	}
}

static void test_space_killed_while_growing(void **state)
{
	struct rig *rig = *state;

	space_start(rig);
	for (unsigned int steps = 0; steps < STEPS; steps++) {
		long long size;

		killed_after(rig, steps, ask_grow);
		size = rig_number(host_vdev(rig->host, "new"), "size_bytes");
		assert_true(size == 4 * MIB || size == 6 * MIB);
		space_assert_free(rig, 8 - (int)(size / MIB));
		assert_true(space_holds(0, 8, 'x'));
		ask_delete(rig);
		rig_answer(rig, HOST_DONE);
		space_make_new(rig);
	}
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_space_is_empty_when_deleted),
		TEST(test_space_is_empty_when_cut_off),
		TEST(test_space_waits_for_the_endpoint),
		TEST(test_space_refused_size_is_taken_back),
		TEST(test_space_delete_can_be_repeated),
		TEST(test_space_that_is_not_empty_stays_taken),
		TEST(test_space_is_emptied_by_the_next_penstockd),
		TEST(test_space_of_a_missing_device),
		TEST(test_space_path_changed_while_penstockd_was_away),
		TEST(test_space_file_replaced_under_the_endpoint),
		TEST(test_space_file_moved_with_its_path),
		TEST(test_space_storage_that_does_not_answer),
		TEST(test_space_killed_while_deleting),
		TEST(test_space_killed_while_shrinking),
		TEST(test_space_killed_while_growing),
	};
	const int status = rig_arguments(argc, argv);

	if (status)
		return status;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
