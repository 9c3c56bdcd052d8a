/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-host-hold.c - how long a process added with --session is there without
 * its front: before it came, and when the endpoint died (E12, E15)
 */
#include "host-rig.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define CONFIG "session-hold: 1 s\n" RIG_HEAD

static void add(struct rig *rig, uint32_t pasid, const char *vhost_user)
{
	const struct host_process_request request = {
		.pasid = pasid,
		.vdev = "v0",
		.sla = "iops >= 100",
		.vhost_user = vhost_user,
		.session = true,
	};

	host_process_add(rig->host, &request, &rig->call);
	rig_answer(rig, HOST_DONE);
}

static void combined_iops_is(struct rig *rig, int expected)
{
	assert_int_equal(
		rig_number(host_vdev(rig->host, "v0"), "combined.iops"),
		expected);
}

static bool has_front(struct rig *rig, void *arg)
{
	return rig_number(host_process(rig->host, *(uint32_t *)arg),
			  "sessions") == 1;
}

static bool is_gone(struct rig *rig, void *arg)
{
	json_t *process = host_process(rig->host, *(uint32_t *)arg);

	json_decref(process);
	return !process;
}

/* Nobody saw its front go: it goes all the same, and what it was promised is
 * free again.  One whose front comes back stays. */
static void test_hold_runs_from_the_restart(void **state)
{
	struct rig *rig = *state;
	char own[64];
	int stays, goes;

	rig_start(rig, CONFIG, true);
	snprintf(own, sizeof(own), "%s/own", rig->directory);
	add(rig, 7, NULL);
	add(rig, 8, own);
	stays = rig_dial(rig, "v0");
	rig_wait_event(rig, "session", "v0: 1 session, attached");
	goes = rig_dial(rig, "own");
	rig_wait(rig, has_front, &(uint32_t){8});
	combined_iops_is(rig, 200);

	kill(rig_endpoint(rig), SIGKILL);
	rig_wait_event(rig, "endpoint-died", "signal 9");
	close(goes);
	close(stays);
	stays = rig_dial(rig, "v0");
	rig_wait_event(rig, "released", "process 8");
	combined_iops_is(rig, 100);
	rig_text_is(host_process(rig->host, 7), "state", "bound");

	close(stays);
	rig_wait(rig, is_gone, &(uint32_t){7});
}

/* Nobody ever came: the time runs from when somebody could. */
static void test_hold_runs_from_the_add(void **state)
{
	struct rig *rig = *state;
	char own[64];
	int front;

	rig_start(rig, CONFIG, true);
	front = rig_dial(rig, "v0");
	rig_wait_event(rig, "session", "v0: 1 session, attached");
	add(rig, 7, NULL);
	snprintf(own, sizeof(own), "%s/own", rig->directory);
	add(rig, 8, own);
	combined_iops_is(rig, 200);
	rig_wait(rig, is_gone, &(uint32_t){8});
	rig_text_is(host_process(rig->host, 7), "state", "bound");
	close(front);
	rig_wait(rig, is_gone, &(uint32_t){7});
}

/* The same after a death of penstockd and of the endpoint. */
static void test_hold_runs_from_the_next_start(void **state)
{
	struct rig *rig = *state;

	rig_start(rig, CONFIG, true);
	add(rig, 7, NULL);
	close(rig_dial(rig, "v0"));
	rig_stop(rig);
	rig_start(rig, CONFIG, true);
	combined_iops_is(rig, 100);
	rig_wait(rig, is_gone, &(uint32_t){7});
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_hold_runs_from_the_add),
		TEST(test_hold_runs_from_the_restart),
		TEST(test_hold_runs_from_the_next_start),
	};
	const int status = rig_arguments(argc, argv);

	if (status)
		return status;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
