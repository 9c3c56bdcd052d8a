/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-host-choose.c - a process that names a policy instead of a vdev (E9):
 * where it goes, that it stays there, and who is told what if none can
 */
#include "host-rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* What the fake endpoint measures: 10,000 iops each, of which 9,000 may be
 * promised. */
#define HEAD	\
	"host: a\n" \
	"state: @/state\n" \
	"endpoints:\n" \
	"  - {name: ep0, devices: [{name: m0, kind: memory, size: 64MiB}]}\n" \
	"  - {name: ep1, devices: [{name: m0, kind: memory, size: 32MiB}]}\n" \
	"pools:\n" \
	"  - {name: p0, devices: [ep0/m0]}\n" \
	"  - {name: p1, devices: [ep1/m0]}\n" \
	"vdevs:\n" \
	"  - {name: v0, pool: p0, size: 16MiB}\n" \
	"  - {name: v1, pool: p1, size: 16MiB}\n" \
	"  - {name: v2, pool: p1, size: 1MiB, read-only: true}\n"

#define ONE	\
	HEAD "processes:\n" \
	     "  - {pasid: 1, vdev: v0, sla: {iops: '>= 4000'}}\n"

static void add(struct rig *rig, uint32_t pasid, const char *vdev,
		const char *sla, enum host_result expected)
{
	const struct host_process_request request = {
		.pasid = pasid,
		.vdev = vdev,
		.sla = sla,
	};

	host_process_add(rig->host, &request, &rig->call);
	rig_answer(rig, expected);
}

static void is_at(struct rig *rig, uint32_t pasid, const char *vdev)
{
	json_t *process = host_process(rig->host, pasid);

	rig_text_is(json_incref(process), "state", "bound");
	rig_text_is(process, "vdev", vdev);
}

static bool is_bound(struct rig *rig, void *arg)
{
	json_t *process = host_process(rig->host, *(uint32_t *)arg);
	const bool is = process &&
		strcmp(json_string_value(json_object_get(process, "state")),
		       "bound") == 0;

	json_decref(process);
	return is;
}

static void wait_bound(struct rig *rig, uint32_t pasid)
{
	rig_wait(rig, is_bound, &pasid);
}

static void test_chosen_by_policy(void **state)
{
	struct rig *rig = *state;

	rig_start(rig, ONE, true);
	add(rig, 2, "auto", "iops >= 500", HOST_DONE);
	is_at(rig, 2, "v1");
	add(rig, 3, "auto:best-fit", "iops >= 500", HOST_DONE);
	is_at(rig, 3, "v0");
	add(rig, 4, "auto:best-fit", "iops >= 6000", HOST_DONE);
	is_at(rig, 4, "v1");
	add(rig, 5, "auto:most-room", NULL, HOST_DONE);
	is_at(rig, 5, "v0");
	add(rig, 6, "auto:spread", NULL, HOST_DONE);
	is_at(rig, 6, "v1");
	add(rig, 7, "auto:fastest", NULL, HOST_USAGE);
	assert_non_null(strstr(rig->text, "least-loaded"));
	add(rig, 6, "auto", NULL, HOST_CONFLICT);
	/* It is written down. */
	rig_abandon(rig);
	rig_start(rig, ONE, true);
	is_at(rig, 2, "v1");
	is_at(rig, 3, "v0");
}

/* Exit 3, and of each candidate why (E8); best effort goes all the same. */
static void test_refused_by_all(void **state)
{
	struct host_process_request request = {
		.pasid = 2,
		.vdev = "auto",
		.sla = "iops >= 8500",
		.best_effort = true,
	};
	struct rig *rig = *state;

	rig_start(rig, ONE, true);
	add(rig, 9, "v1", "iops >= 2000", HOST_DONE);
	add(rig, 2, "auto", "iops >= 8500", HOST_REFUSED);
	assert_non_null(strstr(rig->text, "vdev v0: iops"));
	assert_non_null(strstr(rig->text, "vdev v1: iops"));
	assert_non_null(strstr(rig->text, "vdev v2: it is read-only"));
	assert_int_equal(json_array_size(rig_at(rig->value, "candidates")), 3);
	rig_text_is(json_incref(rig_at(rig->value, "candidates.1")), "vdev",
		    "v1");
	assert_true(rig_has_event(rig, "refused", "process 2 is refused"));
	assert_null(host_process(rig->host, 2));
	host_process_add(rig->host, &request, &rig->call);
	rig_answer(rig, HOST_DONE);
	is_at(rig, 2, "v1");
}

#define CHOSEN(POLICY, IOPS) \
	ONE "  - {pasid: 2, name: two, vdev: '" POLICY \
	    "', sla: {iops: '>= " IOPS "'}}\n"

/* The file's: chosen once, and kept over restarts and changes. */
static void test_chosen_of_the_file(void **state)
{
	struct rig *rig = *state;

	rig_start(rig, CHOSEN("auto", "500"), true);
	wait_bound(rig, 2);
	is_at(rig, 2, "v1");
	rig_text_is(host_process(rig->host, 2), "origin", "file");
	add(rig, 3, "v1", "iops >= 6000", HOST_DONE);
	rig_abandon(rig);
	rig_start(rig, CHOSEN("auto", "500"), true);
	wait_bound(rig, 2);
	is_at(rig, 2, "v1");
	rig_abandon(rig);
	rig_start(rig, CHOSEN("auto:least-loaded", "600"), true);
	wait_bound(rig, 2);
	is_at(rig, 2, "v1");
	assert_int_equal(rig_number(host_process(rig->host, 2), "sla.iops"),
			 600);
	/* Released, it is chosen for anew only if the file says so anew. */
	host_process_release(rig->host, 2, &rig->call);
	rig_answer(rig, HOST_DONE);
	rig_abandon(rig);
	rig_start(rig, CHOSEN("auto:least-loaded", "600"), true);
	assert_null(host_process(rig->host, 2));
	rig_abandon(rig);
	rig_start(rig, CHOSEN("auto:least-loaded", "700"), true);
	wait_bound(rig, 2);
	is_at(rig, 2, "v0");
}

/* Listed as refused, and bound as soon as one of them can. */
static void test_refused_of_the_file(void **state)
{
	struct rig *rig = *state;

	rig_start(rig, ONE, true);
	add(rig, 3, "v1", "iops >= 6000", HOST_DONE);
	rig_abandon(rig);
	rig_start(rig, CHOSEN("auto", "8000"), true);
	rig_wait_event(rig, "refused", "process 2 (two) is refused: vdev v0");
	rig_text_is(host_process(rig->host, 2), "state", "refused");
	host_process_release(rig->host, 3, &rig->call);
	rig_answer(rig, HOST_DONE);
	wait_bound(rig, 2);
	is_at(rig, 2, "v1");
	rig_abandon(rig);
	rig_start(rig, CHOSEN("auto", "8000"), true);
	wait_bound(rig, 2);
	is_at(rig, 2, "v1");
}

static void test_refused_of_the_file_is_released(void **state)
{
	struct rig *rig = *state;

	rig_start(rig, CHOSEN("auto", "9500"), true);
	rig_wait_event(rig, "refused", "process 2 (two) is refused");
	host_process_release(rig->host, 2, &rig->call);
	rig_answer(rig, HOST_DONE);
	assert_null(host_process(rig->host, 2));
	rig_abandon(rig);
	rig_start(rig, CHOSEN("auto", "9500"), true);
	assert_null(host_process(rig->host, 2));
}

/* Taken as best effort where it was listed, it is as any other there: its
 * promise holds as soon as there is room (E8). */
static void test_refused_of_the_file_is_taken_as_best_effort(void **state)
{
	const struct host_process_request request = {
		.pasid = 2,
		.best_effort = true,
	};
	struct rig *rig = *state;

	rig_start(rig, ONE, true);
	add(rig, 3, "v0", "iops >= 4000", HOST_DONE);
	add(rig, 4, "v1", "iops >= 8000", HOST_DONE);
	rig_abandon(rig);
	rig_start(rig, CHOSEN("auto", "5000"), true);
	rig_wait_event(rig, "refused", "process 2 (two) is refused: vdev v0");
	host_process_update(rig->host, &request, &rig->call);
	rig_answer(rig, HOST_DONE);
	is_at(rig, 2, "v0");
	host_process_release(rig->host, 3, &rig->call);
	rig_answer(rig, HOST_DONE);
	rig_wait_event(rig, "admitted", "process 2 (two)");
	is_at(rig, 2, "v0");
}

/* Nothing refused it, and it could be bound to none: it is listed, with why,
 * and said once. */
#define NO_ROOM	\
	"host: a\n" \
	"state: @/state\n" \
	"endpoints:\n" \
	"  - {name: ep0, devices: [{name: m0, kind: memory, size: 64MiB}]}\n" \
	"pools:\n" \
	"  - {name: p0, devices: [ep0/m0]}\n"
#define WANTS_ONE	\
	"processes:\n" \
	"  - {pasid: 2, name: two, vdev: auto, sla: {iops: '>= 500'}}\n"
#define READ_ONLY	\
	"vdevs:\n" \
	"  - {name: v0, pool: p0, size: 1MiB, read-only: true}\n"

static void test_bound_to_none_of_the_file(void **state)
{
	const struct host_vdev_request vdev = {
		.name = "new",
		.pool = "p0",
		.size = "1MiB",
	};
	struct rig *rig = *state;

	rig_start(rig, NO_ROOM READ_ONLY WANTS_ONE, true);
	rig_wait_event(rig, "refused",
		       "process 2 (two) is refused: vdev v0: it is read-only");
	rig_text_is(host_process(rig->host, 2), "state", "refused");
	rig_text_is(host_process(rig->host, 2), "reason",
		    "vdev v0: it is read-only");
	host_vdev_create(rig->host, &vdev, &rig->call);
	rig_answer(rig, HOST_DONE);
	wait_bound(rig, 2);
	is_at(rig, 2, "new");
}

static void test_no_vdev_to_choose_from(void **state)
{
	struct rig *rig = *state;

	rig_start(rig, NO_ROOM WANTS_ONE, true);
	rig_wait_event(
		rig, "refused",
		"process 2 (two) is refused: there is no vdev to choose from");
	assert_null(host_process(rig->host, 2));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_chosen_by_policy,
						rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_refused_by_all, rig_setup,
						rig_teardown),
		cmocka_unit_test_setup_teardown(test_chosen_of_the_file,
						rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_refused_of_the_file,
						rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(
			test_refused_of_the_file_is_released, rig_setup,
			rig_teardown),
		cmocka_unit_test_setup_teardown(
			test_refused_of_the_file_is_taken_as_best_effort,
			rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_bound_to_none_of_the_file,
						rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_no_vdev_to_choose_from,
						rig_setup, rig_teardown),
	};
	const int status = rig_arguments(argc, argv);

	return status ? status : cmocka_run_group_tests(tests, NULL, NULL);
}
