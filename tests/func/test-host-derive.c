/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-host-derive.c - what a process needs, from what it was seen to use (E7):
 * shown, accepted, refused, kept up; over restarts
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "derive-rig.h"
#include "host/host-data.h"
#include "host-rig.h"

#define MB		UINT64_C(1000000)

#define TWO \
	RIG_HEAD \
	"processes:\n" \
	"  - {pasid: 1, vdev: v0, sla: {latency: '<= 5 ms'}}\n" \
	"  - {pasid: 2, vdev: v0, match: {ioprio: be/3}, limit: {iops: 2000}}\n"

static void start(struct rig *rig, const char *text)
{
	rig_start(rig, text, true);
	rig_wait_serving(rig, "v0");
	derive_begin(rig);
}

/* Ask, and have the answer in rig->value. */
static void derive(struct rig *rig, const struct host_derive_request *request,
		   enum host_result expected)
{
	host_process_derive(rig->host, request, &rig->call);
	rig_answer(rig, expected);
}

static void proposes(struct rig *rig, uint32_t pasid, const char *text)
{
	const struct host_derive_request request = {.pasid = pasid};

	derive(rig, &request, HOST_DONE);
	rig_text_is(json_incref(rig->value), "proposed_text", text);
}

static void sees_nothing(struct rig *rig, uint32_t pasid)
{
	const struct host_derive_request request = {.pasid = pasid};

	derive(rig, &request, HOST_CONFLICT);
	assert_non_null(strstr(rig->text, "no request was seen"));
}

static void promised_is(struct rig *rig, uint32_t pasid, const char *text)
{
	rig_text_is(host_process(rig->host, pasid), "sla_text", text);
}

/* The test vector: 10 to 20 MB/s were used. */
static void use_vector(struct rig *rig)
{
	for (uint64_t mb = 10; mb <= 20; mb++)
		derive_use(rig, 1, 10 * mb, mb * MB);
}

static void test_derive_vector(void **state)
{
	struct host_derive_request request = {.pasid = 1, .percentile = "50"};
	struct rig *rig = *state;

	start(rig, TWO);
	sees_nothing(rig, 1);
	use_vector(rig);
	proposes(rig, 1, "iops >= 200, bandwidth >= 20 MB/s");
	rig_text_is(json_incref(rig->value), "sla_text",
		    "latency p99 <= 5 ms, iops >= 200, bandwidth >= 20 MB/s");
	assert_int_equal(
		rig_number(json_incref(rig->value), "observed.seconds"), 11);
	assert_int_equal(rig_number(json_incref(rig->value),
				    "observed.bandwidth_bytes_per_s"),
			 20 * MB);
	derive(rig, &request, HOST_DONE);
	rig_text_is(json_incref(rig->value), "proposed_text",
		    "iops >= 150, bandwidth >= 15 MB/s");
	request.percentile = NULL;
	request.headroom = "50%";
	derive(rig, &request, HOST_DONE);
	rig_text_is(json_incref(rig->value), "proposed_text",
		    "iops >= 300, bandwidth >= 30 MB/s");
	promised_is(rig, 1, "latency p99 <= 5 ms");
	sees_nothing(rig, 2);
	request.window = "1";
	derive(rig, &request, HOST_USAGE);
	request.pasid = 9;
	derive(rig, &request, HOST_NOT_FOUND);
}

/* Latency is that of the worst minute, and of 100 requests at least. */
static void test_derive_latency(void **state)
{
	struct rig *rig = *state;

	start(rig, TWO);
	derive_use(rig, 2, 99, 990000);
	proposes(rig, 2, "iops >= 99, bandwidth >= 1 MB/s");
	derive_use(rig, 2, 10, 100000);
	proposes(rig, 2,
		 "iops >= 99, bandwidth >= 1 MB/s, latency p99 <= 1.95 ms");
}

static bool is_another(struct rig *rig, void *arg)
{
	const pid_t pid = rig_endpoint(rig);

	return pid > 0 && pid != *(pid_t *)arg;
}

/* What was seen is known after a restart of penstockd or of an endpoint. */
static void test_derive_survives_restarts(void **state)
{
	struct rig *rig = *state;
	pid_t pid;

	start(rig, TWO);
	use_vector(rig);
	derive_rest(rig);
	derive_use(rig, 1, 100, 12 * MB);
	rig_abandon(rig);
	start(rig, TWO);
	proposes(rig, 1, "iops >= 200, bandwidth >= 20 MB/s");
	assert_int_equal(
		rig_number(json_incref(rig->value), "observed.seconds"), 12);

	pid = rig_endpoint(rig);
	assert_int_equal(kill(pid, SIGKILL), 0);
	rig_wait(rig, is_another, &pid);
	rig_wait_serving(rig, "v0");
	derive_use(rig, 1, 100, 12 * MB);
	proposes(rig, 1, "iops >= 200, bandwidth >= 20 MB/s");
	assert_int_equal(
		rig_number(json_incref(rig->value), "observed.seconds"), 13);
}

/* Older than the window is not in it. */
static void test_derive_window(void **state)
{
	const struct host_derive_request request = {.pasid = 1,
						    .window = "2min"};
	struct rig *rig = *state;

	start(rig, TWO);
	use_vector(rig);
	derive_rest(rig);
	derive_rest(rig);
	derive_rest(rig);
	derive_use(rig, 1, 50, 5 * MB);
	derive(rig, &request, HOST_DONE);
	rig_text_is(json_incref(rig->value), "proposed_text",
		    "iops >= 50, bandwidth >= 5 MB/s");
	proposes(rig, 1, "iops >= 200, bandwidth >= 20 MB/s");
}

/* Accepted, it is a promise like any other; what was stated stays, and what
 * was derived can be derived again. */
static void test_derive_accepted(void **state)
{
	const struct host_derive_request request = {.pasid = 1, .accept = true};
	struct host_process_request update = {.pasid = 1, .sla = "iops >= 10"};
	struct rig *rig = *state;
	json_t *process;

	start(rig, TWO);
	use_vector(rig);
	derive(rig, &request, HOST_DONE);
	promised_is(rig, 1,
		    "latency p99 <= 5 ms, iops >= 200, bandwidth >= 20 MB/s");
	assert_int_equal(
		rig_number(host_vdev(rig->host, "v0"), "combined.iops"), 200);
	derive_use(rig, 1, 400, 1 * MB);
	rig_abandon(rig);
	start(rig, TWO);
	process = host_process(rig->host, 1);
	assert_int_equal(json_array_size(rig_at(process, "derived")), 2);
	assert_true(rig_is_absent(process, "kept_up"));
	derive(rig, &request, HOST_DONE);
	promised_is(rig, 1,
		    "latency p99 <= 5 ms, iops >= 400, bandwidth >= 20 MB/s");

	host_process_update(rig->host, &update, &rig->call);
	rig_answer(rig, HOST_DONE);
	assert_true(rig_is_absent(host_process(rig->host, 1), "derived"));
	derive(rig, &request, HOST_DONE);
	rig_text_is(json_incref(rig->value), "sla_text",
		    "iops >= 10, bandwidth >= 20 MB/s, latency p99 <= 1.95 ms");
	update.sla = "iops >= 10, bandwidth >= 1 MB/s, latency <= 9 ms";
	host_process_update(rig->host, &update, &rig->call);
	rig_answer(rig, HOST_DONE);
	derive(rig, &request, HOST_CONFLICT);
	promised_is(rig, 1,
		    "iops >= 10, bandwidth >= 1 MB/s, latency p99 <= 9 ms");
}

/* Admission decides; what it refuses changes nothing (E8). */
static void test_derive_refused(void **state)
{
	const struct host_derive_request request = {.pasid = 1,
						    .keep_up = true};
	struct rig *rig = *state;

	start(rig, TWO);
	derive_use(rig, 1, 50, 150 * MB);
	derive(rig, &request, HOST_REFUSED);
	rig_text_is(json_incref(rig->value), "metric", "bandwidth_bytes_per_s");
	promised_is(rig, 1, "latency p99 <= 5 ms");
	assert_true(rig_is_absent(host_process(rig->host, 1), "kept_up"));
}

/* Kept up: it follows what is used, up to the limits, over a restart, until
 * somebody states something else. */
static void test_derive_kept_up(void **state)
{
	const struct host_derive_request request = {
		.pasid = 2, .window = "10min", .keep_up = true};
	const struct host_process_request weight = {.pasid = 2, .weight = 3};
	const struct host_process_request update = {.pasid = 2,
						    .sla = "iops >= 10"};
	const struct host_vdev_change limit = {.limit = "iops 1.2k"};
	struct rig *rig = *state;
	unsigned int i;

	start(rig, TWO);
	derive_use(rig, 2, 50, 1 * MB);
	derive(rig, &request, HOST_DONE);
	promised_is(rig, 2, "iops >= 50, bandwidth >= 1 MB/s");
	assert_int_equal(
		rig_number(host_process(rig->host, 2), "kept_up.window_s"),
		600);
	derive_use(rig, 2, 80, 2 * MB);
	derive_rest(rig);
	rig_wait_promised(
		rig, 2,
		"iops >= 80, bandwidth >= 2 MB/s, latency p99 <= 1.95 ms");

	host_process_update(rig->host, &weight, &rig->call);
	rig_answer(rig, HOST_DONE);
	rig_abandon(rig);
	start(rig, TWO);
	promised_is(rig, 2,
		    "iops >= 80, bandwidth >= 2 MB/s, latency p99 <= 1.95 ms");
	/* Its own limit is 2000, its vdev's less. */
	host_vdev_change(rig->host, "v0", &limit, &rig->call);
	rig_answer(rig, HOST_DONE);
	derive_use(rig, 2, 3000, 2 * MB);
	derive_rest(rig);
	rig_wait_promised(
		rig, 2,
		"iops >= 1200, bandwidth >= 2 MB/s, latency p99 <= 1.95 ms");
	/* What is not used any more is given back. */
	for (i = 0; i < 11; i++)
		derive_rest(rig);
	promised_is(
		rig, 2,
		"iops >= 1200, bandwidth >= 2 MB/s, latency p99 <= 1.95 ms");
	derive_use(rig, 2, 600, 1 * MB);
	derive_rest(rig);
	rig_wait_promised(
		rig, 2,
		"iops >= 600, bandwidth >= 1 MB/s, latency p99 <= 1.95 ms");
	assert_non_null(strstr(
		rig->changed,
		"derived: process 2 updated: sla iops >= 80, bandwidth >= 2 MB/s"));
	assert_non_null(
		strstr(rig->changed, "process 2 updated: sla iops >= 600,"));

	host_process_update(rig->host, &update, &rig->call);
	rig_answer(rig, HOST_DONE);
	derive_use(rig, 2, 900, 1 * MB);
	derive_rest(rig);
	proposes(rig, 2, "bandwidth >= 2 MB/s, latency p99 <= 1.95 ms");
	promised_is(rig, 2, "iops >= 10");
	assert_true(rig_is_absent(host_process(rig->host, 2), "kept_up"));
}

/* What is refused is not asked for again each minute. */
static void test_derive_kept_up_refused(void **state)
{
	const struct host_derive_request request = {.pasid = 1,
						    .keep_up = true};
	const char *const before =
		"latency p99 <= 5 ms, iops >= 50, bandwidth >= 1 MB/s";
	unsigned int i, refused = 0;
	struct rig *rig = *state;
	json_t *events, *event;
	size_t at;

	start(rig, TWO);
	derive_use(rig, 1, 50, 1 * MB);
	derive(rig, &request, HOST_DONE);
	derive_use(rig, 1, 50, 150 * MB);
	derive_rest(rig);
	rig_wait_event(rig, "refused", "process 1 is refused");
	promised_is(rig, 1, before);
	for (i = 0; i < 5; i++)
		derive_rest(rig);
	events = host_events(rig->host, 0);
	json_array_foreach(events, at, event)
	{
		refused += strcmp(json_string_value(
					  json_object_get(event, "kind")),
				  "refused") == 0;
	}
	json_decref(events);
	assert_int_equal(refused, 1);
	promised_is(rig, 1, before);
}

/* A released process's history is nobody else's (E12); the report has it. */
static void test_derive_after_release(void **state)
{
	const struct host_process_request add = {.pasid = 9, .vdev = "v0"};
	struct rig *rig = *state;

	start(rig, TWO);
	host_process_add(rig->host, &add, &rig->call);
	rig_answer(rig, HOST_DONE);
	derive_use(rig, 1, 0, 0);
	derive_use(rig, 9, 70, 1 * MB);
	host_process_release(rig->host, 9, &rig->call);
	rig_answer(rig, HOST_DONE);
	host_process_add(rig->host, &add, &rig->call);
	rig_answer(rig, HOST_DONE);
	sees_nothing(rig, 9);

	host_report(rig->host, "1h", &rig->call);
	rig_answer(rig, HOST_DONE);
	assert_int_equal(json_array_size(rig_at(rig->value, "processes")), 1);
	assert_int_equal(
		rig_number(json_incref(rig->value), "processes.0.iops"), 70);
	assert_true(rig_number(json_incref(rig->value),
			       "processes.0.released") > 0);
}

#define TEST(name)	\
	cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_derive_vector),
		TEST(test_derive_latency),
		TEST(test_derive_survives_restarts),
		TEST(test_derive_window),
		TEST(test_derive_accepted),
		TEST(test_derive_refused),
		TEST(test_derive_kept_up),
		TEST(test_derive_kept_up_refused),
		TEST(test_derive_after_release),
	};
	int status = rig_arguments(argc, argv);

	return status ? status : cmocka_run_group_tests(tests, NULL, NULL);
}
