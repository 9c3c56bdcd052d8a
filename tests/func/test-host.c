/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-host.c - what penstockd promises, refuses and remembers
 *
 * Over a fake endpoint whose devices all measure 10,000 IOPS and 100 MB/s at
 * 1 ms.
 */
#include "host-rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void combined_is(struct rig *rig, long long iops, long long latency_ns,
			long long bytes_per_s)
{
	assert_int_equal(rig_number(rig_combined(rig), "iops"), iops);
	assert_int_equal(rig_number(rig_combined(rig), "latency_ns"),
			 latency_ns);
	assert_int_equal(rig_number(rig_combined(rig), "bandwidth_bytes_per_s"),
			 bytes_per_s);
}

/* --- E3, E5, E6, E8, E12, E13 -------------------------------------------- */

static void test_host_combines(void **state)
{
	struct rig *rig = *state;
	json_t *status;

	rig_start(rig, RIG_THREE, true);
	combined_is(rig, 1200, 1000000, 62500000);	/* E5 */
	status = host_status(rig->host);
	assert_int_equal(
		json_integer_value(rig_at(status, "endpoints.0.combined.iops")),
		1200);
	assert_int_equal(json_integer_value(rig_at(
				 status, "devices.0.combined.latency_ns")),
			 1000000);
	assert_int_equal(json_integer_value(rig_at(status, "processes.bound")),
			 3);
	json_decref(status);

	host_process_release(rig->host, 2, &rig->call);	/* E6, E12 */
	combined_is(rig, 800, 2000000, 62500000);
	rig_answer(rig, HOST_DONE);
	combined_is(rig, 800, 2000000, 62500000);
	assert_int_equal(rig_ops("\"op\":\"process-remove\",\"pasid\":2"), 1);
	assert_null(host_process(rig->host, 2));
}

/* Every field of the contract is there before anybody came. */
static void test_host_lists_who_never_came(void **state)
{
	struct rig *rig = *state;
	json_t *process;

	rig_start(rig, RIG_THREE, true);
	process = host_process(rig->host, 1);
	assert_true(json_is_null(rig_at(process, "kept")));
	assert_true(json_is_integer(rig_at(process, "window_s")));
	assert_int_equal(json_integer_value(rig_at(process, "delivered.iops")),
			 0);
	assert_true(json_is_null(rig_at(process, "delivered.latency_p50_ns")));
	assert_true(json_is_null(rig_at(process, "delivered.latency_p99_ns")));
	json_decref(process);
}

static void test_host_updates(void **state)		/* E13 */
{
	struct rig *rig = *state;
	struct host_process_request request = {
		.pasid = 1,
		.sla = "iops >= 700, latency <= 500 us",
		.limit = "iops 1000",
		.weight = 7,
	};

	rig_start(rig, RIG_THREE, true);
	host_process_update(rig->host, &request, &rig->call);
	rig_answer(rig, HOST_REFUSED);	/* nothing is measured at 500 us */
	combined_is(rig, 1200, 1000000, 62500000);

	request.sla = "iops >= 700";
	host_process_update(rig->host, &request, &rig->call);
	combined_is(rig, 1400, 1000000, 62500000);
	rig_answer(rig, HOST_DONE);
	assert_int_equal(rig_ops("\"op\":\"process-update\""), 1);
	assert_int_equal(rig_number(json_incref(rig->value), "limit.iops"),
			 1000);
	assert_int_equal(rig_number(json_incref(rig->value), "weight"), 7);
	assert_true(rig_is_absent(json_incref(rig_at(rig->value, "sla")),
				  "latency_ns"));
}

static void test_host_divides_equally(void **state)	/* E3 */
{
	struct rig *rig = *state;

	rig_start(rig,
		  RIG_TIMED "  - {name: a, pool: p1, size: equal}\n"
			    "  - {name: b, pool: p1, size: equal}\n"
			    "  - {name: c, pool: p1, size: equal}\n",
		  true);
	assert_int_equal(rig_number(host_vdev(rig->host, "a"), "size_bytes"),
			 INT64_C(2) << 30);
	assert_int_equal(rig_number(host_vdev(rig->host, "c"), "size_bytes"),
			 INT64_C(2) << 30);
	assert_int_equal(rig_ops("\"size_bytes\":2147483648,"), 3);
	/* The shares stay when they are known. */
	rig_abandon(rig);
	rig_start(rig,
		  RIG_TIMED "  - {name: a, pool: p1, size: equal}\n"
			    "  - {name: b, pool: p1, size: equal}\n"
			    "  - {name: c, pool: p1, size: equal}\n",
		  true);
	assert_int_equal(rig_number(host_vdev(rig->host, "b"), "size_bytes"),
			 INT64_C(2) << 30);
}

static void test_host_refuses(void **state)		/* E8 */
{
	struct rig *rig = *state;
	struct host_process_request request = {
		.pasid = 9,
		.vdev = "v0",
		.sla = "iops >= 9000",
	};

	rig_start(rig, RIG_THREE, true);
	host_process_add(rig->host, &request, &rig->call);
	rig_answer(rig, HOST_REFUSED);
	rig_text_is(json_incref(rig->value), "metric", "iops");
	rig_text_is(json_incref(rig->value), "where.0", "ep0/n0");
	assert_int_equal(
		rig_number(json_incref(rig->value), "requested") -
			rig_number(json_incref(rig->value), "available"),
		rig_number(json_incref(rig->value), "shortfall"));
	assert_true(rig_number(json_incref(rig->value), "shortfall") > 0);
	assert_true(rig_has_event(rig, "refused", "process 9 is refused"));
	assert_null(host_process(rig->host, 9));
	combined_is(rig, 1200, 1000000, 62500000);
	assert_int_equal(rig_ops("\"pasid\":9"), 0);

	request.best_effort = true;
	host_process_add(rig->host, &request, &rig->call);
	rig_answer(rig, HOST_DONE);
	rig_text_is(json_incref(rig->value), "state", "bound");
	rig_text_is(json_incref(rig->value), "refusal.metric", "iops");
	combined_is(rig, 1200, 1000000, 62500000);
	assert_int_equal(
		rig_ops("\"op\":\"process-add\",\"own_socket\":false,\"params\":{\"burst_ns\":10000000,\"latency_ns\":[0,0],\"limit\":[0,0,0,0,0,0],\"reservation\":[0,0,0,0,0,0],"),
		1);
}

/* A configured process that is refused does not keep penstockd from
 * starting. */
static void test_host_lists_refused(void **state)	/* E8 */
{
	struct rig *rig = *state;

	rig_start(rig,
		  RIG_THREE "  - {pasid: 4, vdev: v0, sla: {iops: '>= 1M'}}\n",
		  true);
	rig_text_is(host_process(rig->host, 4), "state", "refused");
	rig_text_is(host_process(rig->host, 4), "refusal.metric", "iops");
	assert_true(rig_has_event(rig, "refused", "process 4"));
	assert_int_equal(rig_ops("\"op\":\"process-add\""), 3);
}

/* --- What makes no sense ------------------------------------------------- */

static bool is_bound(struct rig *rig, void *arg)
{
	json_t *process = host_process(rig->host, *(uint32_t *)arg);
	const char *state =
		json_string_value(json_object_get(process, "state"));
	bool bound = strcmp(state, "bound") == 0 &&
		!json_object_get(process, "reason");

	json_decref(process);
	return bound;
}

/* When another is released there may be room: nobody has to ask again. */
static void test_host_refused_is_bound_when_there_is_room(void **state)
{
	struct rig *rig = *state;
	uint32_t pasid = 4;

	rig_start(rig,
		  RIG_THREE
		  "  - {pasid: 4, vdev: v0, sla: {iops: '>= 8500'}}\n",
		  true);
	rig_text_is(host_process(rig->host, 4), "state", "refused");
	for (pasid = 1; pasid <= 3; pasid++) {
		host_process_release(rig->host, pasid, &rig->call);
		rig_answer(rig, HOST_DONE);
	}
	rig_wait(rig, is_bound, &pasid);
	assert_true(rig_has_event(rig, "admitted", "process 4"));
	rig_wait_event(rig, "admitted", "there is room now");
	while (rig_ops("\"op\":\"process-add\"") < 4)
		loop_run_once(rig->loop, loop_clock_ns() + 10000000);
}

/* The same for one that runs without its promise. */
static void test_host_best_effort_gets_its_promise(void **state)
{
	struct rig *rig = *state;
	uint32_t pasid;

	rig_start(
		rig,
		RIG_THREE
		"  - {pasid: 4, vdev: v0, best-effort: true, sla: {iops: '>= 8500'}}\n",
		true);
	rig_text_is(host_process(rig->host, 4), "state", "bound");
	assert_true(rig_has_event(rig, "refused", "without a promise"));
	for (pasid = 1; pasid <= 3; pasid++) {
		host_process_release(rig->host, pasid, &rig->call);
		rig_answer(rig, HOST_DONE);
	}
	rig_wait_event(rig, "admitted", "there is room now");
	while (rig_ops("\"op\":\"process-update\"") == 0)
		loop_run_once(rig->loop, loop_clock_ns() + 10000000);
}

static void test_host_process_usage(void **state)
{
	static const struct {
		struct host_process_request request;
		enum host_result result;
		const char *text;
	} wrongs[] = {
		{{.pasid = 0, .vdev = "v0"},
		 HOST_USAGE,
		 "a PASID is from 1 to 1048575"},
		{{.pasid = 9}, HOST_USAGE, "process 9: which vdev?"},
		{{.pasid = 9, .vdev = "v9"},
		 HOST_NOT_FOUND,
		 "there is no vdev 'v9'"},
		{{.pasid = 1, .vdev = "v0"},
		 HOST_CONFLICT,
		 "process 1 is bound to vdev 'v0' already: update or release it"},
		{{.pasid = 9, .vdev = "v0", .name = "process-1"},
		 HOST_CONFLICT,
		 "process 1 has the name 'process-1' already"},
		{{.pasid = 9, .vdev = "v0", .vhost_user = "x"},
		 HOST_USAGE,
		 "process 9: 'x' is not an absolute path"},
		{{.pasid = 9, .vdev = "v0", .limit = "iops"}, HOST_USAGE, NULL},
		{{.pasid = 9, .vdev = "v0", .sla = "iops"}, HOST_USAGE, NULL},
		{{.pasid = 9, .vdev = "v0", .match = "be/9"}, HOST_USAGE, NULL},
		{{.pasid = 9,
		  .vdev = "v0",
		  .sla = "iops >= 500",
		  .limit = "iops 400"},
		 HOST_USAGE,
		 "process 9: iops: the limit is below what is promised; raise it to 500 or promise less"},
		{{.pasid = 9, .vdev = "v0", .burst = "11 s"},
		 HOST_USAGE,
		 "process 9: burst: more than 10 s"},
	};
	struct rig *rig = *state;
	unsigned int i;

	rig_start(rig, RIG_THREE, true);
	for (i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++) {
		host_process_add(rig->host, &wrongs[i].request, &rig->call);
		rig_answer(rig, wrongs[i].result);
		if (wrongs[i].text)
			assert_string_equal(rig->text, wrongs[i].text);
	}
	host_process_release(rig->host, 9, &rig->call);
	rig_answer(rig, HOST_NOT_FOUND);
	assert_string_equal(rig->text, "there is no process 9");
}

/* --- What is remembered -------------------------------------------------- */

/* "Changes made at run time win until the file's own entry changes." */
static void test_host_runtime_wins_until_file_changes(void **state)
{
	struct rig *rig = *state;
	const struct host_process_request update = {
		.pasid = 1,
		.sla = "iops >= 600",
	};
	const struct host_process_request add = {
		.pasid = 8,
		.vdev = "v0",
		.name = "eight",
		.sla = "iops >= 50",
		.match = "be/1",
	};

	rig_start(rig, RIG_THREE, true);
	host_process_update(rig->host, &update, &rig->call);
	rig_answer(rig, HOST_DONE);
	host_process_release(rig->host, 2, &rig->call);
	rig_answer(rig, HOST_DONE);
	host_process_add(rig->host, &add, &rig->call);
	rig_answer(rig, HOST_DONE);
	rig_stop(rig);

	rig_start(rig, RIG_THREE, true);
	assert_int_equal(rig_number(host_process(rig->host, 1), "sla.iops"),
			 600);
	rig_text_is(host_process(rig->host, 1), "origin", "runtime");
	assert_null(host_process(rig->host, 2));
	rig_text_is(host_process(rig->host, 8), "name", "eight");
	rig_text_is(host_process(rig->host, 8), "ioprio", "be/1");
	rig_stop(rig);

	/* Other values for 1 and 2: the file wins; 8 is nobody else's. */
	rig_start(rig,
		  RIG_TIMED "processes:\n"
			    "  - {pasid: 1, vdev: v0, sla: {iops: '>= 501'}}\n"
			    "  - {pasid: 2, vdev: v0, sla: {iops: '>= 401'}}\n",
		  true);
	assert_int_equal(rig_number(host_process(rig->host, 1), "sla.iops"),
			 501);
	assert_int_equal(rig_number(host_process(rig->host, 2), "sla.iops"),
			 401);
	assert_int_equal(rig_number(host_process(rig->host, 8), "sla.iops"),
			 50);
}

/* A device is measured once; what was measured is kept. */
static void test_host_calibrates_once(void **state)
{
	struct rig *rig = *state;

	rig_start(rig, RIG_THREE, true);
	assert_int_equal(rig_ops("\"op\":\"device-calibrate\""), 2);
	rig_text_is(host_device(rig->host, "m0"), "calibration", "short");
	rig_stop(rig);
	rig_forget_ops();
	rig_start(rig, RIG_THREE, true);
	assert_int_equal(rig_ops("\"op\":\"device-calibrate\""), 0);

	host_device_calibrate(rig->host, "ep0/m0", 1000000000, &rig->call);
	rig_answer(rig, HOST_DONE);
	rig_text_is(host_device(rig->host, "m0"), "calibration", "full");
	assert_int_equal(rig_ops("\"op\":\"device-capacity\""), 1);
}

/* --- Vdevs --------------------------------------------------------------- */

static void test_host_vdev_create_resize_delete(void **state)
{
	struct rig *rig = *state;
	struct host_vdev_request request = {
		.name = "new",
		.pool = "p0",
		.size = "32MiB",
	};

	rig_start(rig, RIG_THREE, true);
	host_vdev_create(rig->host, &request, &rig->call);
	rig_answer(rig, HOST_DONE);
	rig_text_is(json_incref(rig->value), "state", "serving");
	host_vdev_create(rig->host, &request, &rig->call);
	rig_answer(rig, HOST_CONFLICT);
	assert_string_equal(rig->text, "vdev 'new' exists");
	request.name = "other";
	host_vdev_create(rig->host, &request, &rig->call);
	rig_answer(rig, HOST_REFUSED);
	rig_text_is(json_incref(rig->value), "metric", "capacity_bytes");
	assert_int_equal(rig_number(json_incref(rig->value), "available"),
			 16 << 20);
	assert_int_equal(rig_number(json_incref(rig->value), "shortfall"),
			 16 << 20);
	rig_text_is(json_incref(rig->value), "where.0", "ep0/n0");
	assert_string_equal(
		rig->text,
		"pool 'p0' has no space for vdev 'other' of 32 MiB: 16 MiB of it is free");

	host_vdev_resize(rig->host, "v0", "33MiB", false, &rig->call);
	rig_answer(rig, HOST_REFUSED);
	assert_string_equal(
		rig->text,
		"vdev 'v0' cannot grow to 33 MiB: with what is free in pool 'p0' it could have 32 MiB");
	assert_int_equal(rig_number(json_incref(rig->value), "available"),
			 32 << 20);
	host_vdev_resize(rig->host, "new", "48MiB", false, &rig->call);
	rig_answer(rig, HOST_DONE);
	assert_int_equal(rig_number(json_incref(rig->value), "size_bytes"),
			 48 << 20);
	rig_stop(rig);

	rig_start(rig, RIG_THREE, true);
	assert_int_equal(rig_number(host_vdev(rig->host, "new"), "size_bytes"),
			 48 << 20);
	host_vdev_delete(rig->host, "new", &rig->call);
	rig_answer(rig, HOST_DONE);
	assert_null(host_vdev(rig->host, "new"));
	assert_int_equal(rig_ops("\"op\":\"vdev-remove\""), 1);
	rig_stop(rig);
	rig_start(rig, RIG_THREE, true);
	assert_null(host_vdev(rig->host, "new"));
}

/* --- Sessions (E12) ------------------------------------------------------ */

/* What is answered while rig->call is still under way. */
static enum host_result second_result;

static void second_answered(struct host_call *call,
			    const struct host_reply *reply)
{
	(void)call;
	second_result = reply->result;
}

static void second_fails(void)
{
	assert_true(second_result == HOST_NOT_FOUND ||
		    second_result == HOST_CONFLICT);
	second_result = HOST_DONE;
}

/* From the moment its deletion is asked for, a vdev takes nothing new. */
static void test_host_deleted_vdev_takes_nothing(void **state)
{
	struct rig *rig = *state;
	struct host_call second = {.done = second_answered};
	struct host_process_request request = {.pasid = 9, .vdev = "v0"};

	rig_start(rig, RIG_THREE, true);
	second_result = HOST_DONE;
	host_vdev_delete(rig->host, "v0", &rig->call);
	host_process_add(rig->host, &request, &second);
	second_fails();
	request.pasid = 1;
	request.vdev = NULL;
	request.weight = 7;
	host_process_update(rig->host, &request, &second);
	second_fails();
	host_process_release(rig->host, 1, &second);
	second_fails();
	host_vdev_resize(rig->host, "v0", "8MiB", false, &second);
	second_fails();
	rig_answer(rig, HOST_DONE);
	assert_null(host_vdev(rig->host, "v0"));
	assert_null(host_process(rig->host, 1));
	assert_null(host_process(rig->host, 9));
}

static void test_host_session_ends_with_its_front(void **state)
{
	struct rig *rig = *state;
	const struct host_process_request request = {
		.pasid = 7,
		.vdev = "v0",
		.sla = "iops >= 100",
		.session = true,
	};
	int fd;

	rig_start(rig, RIG_THREE, true);
	host_process_add(rig->host, &request, &rig->call);
	rig_answer(rig, HOST_DONE);
	fd = rig_dial(rig, "v0");
	assert_true(fd >= 0);
	rig_wait_event(rig, "session", "v0: 1 session");
	combined_is(rig, 1300, 1000000, 62500000);
	close(fd);
	rig_wait_event(rig, "released", "process 7");
	combined_is(rig, 1200, 1000000, 62500000);
	/* Those of the configuration stay: the connection may come back. */
	assert_int_equal(rig_number(host_process(rig->host, 1), "sla.iops"),
			 500);
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_host_combines),
		TEST(test_host_lists_who_never_came),
		TEST(test_host_updates),
		TEST(test_host_divides_equally),
		TEST(test_host_refuses),
		TEST(test_host_lists_refused),
		TEST(test_host_refused_is_bound_when_there_is_room),
		TEST(test_host_best_effort_gets_its_promise),
		TEST(test_host_process_usage),
		TEST(test_host_runtime_wins_until_file_changes),
		TEST(test_host_calibrates_once),
		TEST(test_host_vdev_create_resize_delete),
		TEST(test_host_session_ends_with_its_front),
		TEST(test_host_deleted_vdev_takes_nothing),
	};
	const int status = rig_arguments(argc, argv);

	if (status)
		return status;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
