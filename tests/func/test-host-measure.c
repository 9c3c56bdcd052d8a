/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-host-measure.c - penstockd dies while its endpoint measures a device
 * (E8): the next one has the result, and gave out nothing meanwhile of what
 * is written to
 */
#include "host-rig.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define DEVICES \
	"host: a\n" \
	"state: @/state\n" \
	"endpoints:\n" \
	"  - name: ep0\n" \
	"    devices:\n" \
	"      - {name: d0, kind: file, path: @/d0, size: 64MiB}\n" \
	"pools:\n" \
	"  - {name: p0, devices: [ep0/d0]}\n" \
	"vdevs:\n"
#define BEFORE	\
	DEVICES \
	"  - {name: v0, pool: p0, size: 16MiB, vhost-user: @/v0}\n"
#define NONE DEVICES "  []\n"
#define AFTER	\
	DEVICES \
	"  - {name: v0, pool: p0, size: 20MiB, vhost-user: @/v0}\n" \
	"  - {name: v1, pool: p0, size: 16MiB, vhost-user: @/v1}\n"

static const char *fake_program, *real_program;

static bool has_op(struct rig *rig, void *text)
{
	(void)rig;
	return rig_ops(*(const char **)text) > 0;
}

static void wait_op(struct rig *rig, const char *text)
{
	rig_wait(rig, has_op, &text);
}

static void make_file(const char *path, off_t size)
{
	int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	close(fd);
}

static void ignore_reply(struct host_call *call, const struct host_reply *reply)
{
	(void)call;
	(void)reply;
}

/* Somebody asked for a measurement, and penstockd is gone before its end. */
static void abandon_measuring(struct rig *rig)
{
	rig_program = fake_program;
	rig_start(rig, BEFORE, true);
	make_file("slow", 0);
	rig_forget_ops();
	host_device_calibrate(rig->host, "d0", 2000000000, &rig->call);
	wait_op(rig, "device-calibrate");
	rig_abandon(rig);
	rig->is_answered = false;
	rig_forget_ops();
}

/* It goes on, and whoever needs space has it meanwhile. */
static void test_measure_found_goes_on(void **state)
{
	const struct host_vdev_request request = {
		.name = "new",
		.pool = "p0",
		.size = "1MiB",
	};
	struct rig *rig = *state;

	abandon_measuring(rig);
	rig_start(rig, AFTER, true);
	assert_true(rig_has_event(rig, "endpoint-adopted", "ep0"));
	rig_text_is(host_vdev(rig->host, "v0"), "state", "serving");
	host_vdev_create(rig->host, &request, &rig->call);
	rig_answer(rig, HOST_DONE);
	host_device_calibrate(rig->host, "d0", 0, &rig->call);
	rig_answer(rig, HOST_CONFLICT);
	assert_non_null(strstr(rig->text, "being measured already"));
	wait_op(rig, "vdev-resize");
	assert_int_equal(rig_number(host_vdev(rig->host, "v0"), "size_bytes"),
			 20 << 20);

	unlink("slow");
	rig_wait_event(rig, "calibrated", "ep0/d0");
	/* One measurement: asked for again, never begun again. */
	assert_int_equal(rig_ops("device-calibrate"), 1);
	assert_int_equal(rig_ops("\"duration_ns\":2000000000"), 1);
	rig_text_is(host_device(rig->host, "d0"), "calibration", "full");
	rig_stop(rig);
	rig_start(rig, AFTER, true);
	rig_text_is(host_device(rig->host, "d0"), "calibration", "full");
}

/* Before the first measurement is over nothing can be promised, which is no
 * refusal (E8): by add and update alike. */
static void test_measure_first_then_promise(void **state)
{
	const struct host_process_request update = {
		.pasid = 1,
		.sla = "iops >= 10",
	};
	struct rig *rig = *state;

	rig_program = fake_program;
	make_file("slow", 0);
	rig_start(rig, BEFORE "processes: [{pasid: 1, vdev: v0}]\n", false);
	wait_op(rig, "device-calibrate");
	host_process_update(rig->host, &update, &rig->call);
	rig_answer(rig, HOST_CONFLICT);
	assert_non_null(strstr(rig->text, "is not measured yet"));
	assert_false(rig_has_event(rig, "refused", ""));
	unlink("slow");
	rig_wait_serving(rig, "v0");
	host_process_update(rig->host, &update, &rig->call);
	rig_answer(rig, HOST_DONE);
}

/* It ended while there was no penstockd: the result is not lost. */
static void test_measure_result_that_nobody_took(void **state)
{
	struct rig *rig = *state;

	abandon_measuring(rig);
	unlink("slow");
	wait_op(rig, "measured d0");
	rig_start(rig, BEFORE, true);
	rig_wait_event(rig, "calibrated", "ep0/d0");
	rig_text_is(host_device(rig->host, "d0"), "calibration", "full");
	wait_op(rig, "device-capacity");
	/* It was taken: the next one has nothing to ask. */
	rig_abandon(rig);
	rig_forget_ops();
	rig_start(rig, BEFORE, true);
	assert_int_equal(rig_ops("device-calibrate"), 0);
	rig_text_is(host_device(rig->host, "d0"), "calibration", "full");
}

/* A first start goes on where it was, at once when the measurement ends. */
static void test_measure_first_goes_on(void **state)
{
	struct rig *rig = *state;

	rig_program = fake_program;
	make_file("slow", 0);
	rig_start(rig, BEFORE, false);
	wait_op(rig, "device-calibrate");
	rig_abandon(rig);
	rig_forget_ops();
	rig_start(rig, BEFORE, false);
	wait_op(rig, "device-calibrate");
	rig_text_is(host_device(rig->host, "d0"), "state", "calibrating");
	rig_text_is(host_vdev(rig->host, "v0"), "state", "pending");
	unlink("slow");
	rig_wait_serving(rig, "v0");
	assert_int_equal(rig_ops("device-calibrate"), 1);
	rig_text_is(host_device(rig->host, "d0"), "calibration", "short");
}

static bool is_calibrating(struct rig *rig, void *arg)
{
	(void)arg;
	return rig->is_answered ||
		rig_has_event(rig, "vdev-created", "vdev busy");
}

/* The same with the real endpoint. */
static void test_measure_real_endpoint(void **state)
{
	const struct host_vdev_request request = {
		.name = "busy",
		.pool = "p0",
		.size = "1MiB",
	};
	struct host_call made = {.done = ignore_reply};
	struct rig *rig = *state;

	rig_program = real_program;
	rig_start(rig, BEFORE, true);
	host_device_calibrate(rig->host, "d0", 1500000000, &rig->call);
	host_vdev_create(rig->host, &request, &made);
	rig_wait(rig, is_calibrating, NULL);
	assert_false(rig->is_answered);
	rig_abandon(rig);
	rig->is_answered = false;
	rig_start(rig, AFTER, true);
	assert_true(rig_has_event(rig, "endpoint-adopted", "ep0"));
	rig_wait_event(rig, "calibrated", "ep0/d0");
	rig_text_is(host_device(rig->host, "d0"), "calibration", "full");
	rig_wait_serving(rig, "v1");
}

/* What was promised before a new table stays; that it is too much is told at
 * once, and shown (E8). */
static void test_measure_tells_what_is_too_much(void **state)
{
	struct rig *rig = *state;
	json_t *device;

	rig_program = fake_program;
	rig_start(rig,
		  BEFORE
		  "processes: [{pasid: 1, vdev: v0, sla: {iops: '>= 5000'}}]\n",
		  true);
	assert_false(rig_has_event(rig, "over-promised", ""));
	rig_tell("iops", "1000 1000");
	host_device_calibrate(rig->host, "d0", 2000000000, &rig->call);
	rig_answer(rig, HOST_DONE);
	assert_true(rig_has_event(rig, "over-promised", "500 % of it"));
	device = host_device(rig->host, "d0");
	assert_true(json_is_true(rig_at(device, "admission.is_over")));
	json_decref(device);
	rig_text_is(host_process(rig->host, 1), "state", "bound");
	unlink("iops");
	host_device_calibrate(rig->host, "d0", 2000000000, &rig->call);
	rig_answer(rig, HOST_DONE);
	assert_true(rig_has_event(rig, "promises-fit", "ep0/d0"));
}

/* A table is of the file that was measured, for as long as it is there. */
static void test_measure_is_of_one_file(void **state)
{
	struct rig *rig = *state;

	rig_program = fake_program;
	rig_start(rig, NONE, true);
	rig_stop(rig);
	rig_forget_ops();
	rig_start(rig, NONE, true);
	rig_text_is(host_device(rig->host, "d0"), "calibration", "short");
	assert_int_equal(rig_ops("device-calibrate"), 0);
	rig_stop(rig);
	assert_int_equal(rename("d0", "d0.away"), 0);
	make_file("d0", 64 << 20);
	rig_start(rig, NONE, true);
	assert_true(rig_has_event(rig, "device-changed", "measured anew"));
	assert_int_equal(rig_ops("device-calibrate"), 1);
	rig_stop(rig);
	rig_forget_ops();
	rig_start(rig, NONE, true);
	assert_int_equal(rig_ops("device-calibrate"), 0);
	assert_false(rig_has_event(rig, "device-changed", ""));
}

/* Exchanged while penstockd runs, and the new one can't be measured: nothing is
 * promised by the old one's table. */
static void test_measure_of_another_is_forgotten(void **state)
{
	const struct host_vdev_request request = {.name = "v0", .size = "1MiB"};
	const struct host_process_request add = {
		.pasid = 1,
		.vdev = "v0",
		.sla = "iops >= 10",
	};
	struct rig *rig = *state;

	rig_program = fake_program;
	rig_start(rig, NONE, true);
	assert_int_equal(rename("d0", "d0.away"), 0);
	rig_tell("refuse", "device-calibrate 61");
	kill(rig_endpoint(rig), SIGKILL);
	rig_wait_event(rig, "error", "ep0/d0 is not measured");
	host_vdev_create(rig->host, &request, &rig->call);
	rig_answer(rig, HOST_DONE);
	host_process_add(rig->host, &add, &rig->call);
	rig_answer(rig, HOST_REFUSED);
	assert_non_null(strstr(rig->text, "was never calibrated"));
}

/* --- The first time ------------------------------------------------------ */

/* 'truncate -s' made it: writes are measured too (E8). */
static void test_measure_first_of_a_sparse_file(void **state)
{
	struct rig *rig = *state;
	json_t *device;

	rig_program = real_program;
	make_file("d0", 64 << 20);
	rig_start(rig, NONE, true);
	rig_text_is(host_device(rig->host, "d0"), "calibration", "short");
	device = host_device(rig->host, "d0");
	assert_true(json_is_true(rig_at(device, "capacity.write_measured")));
	json_decref(device);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_measure_found_goes_on,
						rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(
			test_measure_result_that_nobody_took, rig_setup,
			rig_teardown),
		cmocka_unit_test_setup_teardown(test_measure_first_then_promise,
						rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_measure_first_goes_on,
						rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(
			test_measure_tells_what_is_too_much, rig_setup,
			rig_teardown),
		cmocka_unit_test_setup_teardown(test_measure_is_of_one_file,
						rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(
			test_measure_of_another_is_forgotten, rig_setup,
			rig_teardown),
		cmocka_unit_test_setup_teardown(
			test_measure_first_of_a_sparse_file, rig_setup,
			rig_teardown),
		cmocka_unit_test_setup_teardown(test_measure_real_endpoint,
						rig_setup, rig_teardown),
	};

	if (argc < 3)
		return 77;	/* the paths of endpoint programs are missing */
	/* Each test has a working directory of its own. */
	fake_program = realpath(argv[1], NULL);
	real_program = realpath(argv[2], NULL);
	if (!fake_program || !real_program)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
