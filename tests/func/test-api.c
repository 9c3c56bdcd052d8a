/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-api.c - REST: what is asked, answered, told of, and measured
 *
 * See api-rig.h; the server and its limits: test-api-server.c.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "api-rig.h"
#include "api/server.h"
#include "http.h"
#include "openmetrics.h"

/* Contract: every question is answered with JSON. */
static void test_api_questions(void **state)
{
	static const char *const targets[] = {
		"/v1/status",		"/v1/devices",
		"/v1/devices/d0",	"/v1/devices/ep0/d0",
		"/v1/devices/ep0%2Fd0", "/v1/pools",
		"/v1/pools/main",	"/v1/vdevs",
		"/v1/vdevs/vd0",	"/v1/processes",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
		struct http_answer answer;

		http_ask(api_rig_path, "GET", targets[i], NULL, &answer);
		assert_int_equal(answer.status, 200);
		assert_non_null(strstr(answer.text,
				       "Content-Type: application/json\r\n"));
		assert_non_null(answer.json);
		http_forget(&answer);
	}
	api_rig_check("HEAD", "/v1/status", NULL, 200);
}

static void test_api_what_is_not_there(void **state)
{
	static const char *const targets[] = {
		"/",
		"/v1",
		"/v1/",
		"/v1/nothing",
		"/v1/status/",
		"//v1/status",
		"/v1/status/more",
		"/v1/devices/ep0/d0/more",
		"/v1/processes/0",
		"/v1/processes/-1",
		"/v1/processes/1048576",
		"/v1/processes/99999999999999999999",
		"/v1/processes/1x",
		"/v1/vdevs/..",
		"/v1/vdevs/a%20b",
		"/v1/vdevs/%ff",
		"/v1/devices/",
		"/v1/vdevs/none",
		"/v1/pools/none",
		"/v1/devices/none",
		"/v1/processes/7",
		"/v1/processes/7/stats",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++)
		api_rig_refused("GET", targets[i], NULL, 404, "not-found",
				"no");
	api_rig_refused("DELETE", "/v1/status", NULL, 405, "usage", "method");
	api_rig_refused("BREW", "/v1/status", NULL, 405, "usage", "method");
}

/* E4, E9, E12, E13: a process is added, changed, listed and released. */
static void test_api_process(void **state)
{
	struct http_answer answer;

	(void)state;
	api_rig_check(
		"POST", "/v1/processes",
		"{\"pasid\": 1, \"vdev\": \"vd0\", \"name\": \"db\","
		"\"sla\": {\"iops\": \">= 500\", \"latency\": \"<= 2 ms\"},"
		"\"limit\": {\"iops\": 2000, \"write bandwidth\": \"10 MB/s\"},"
		"\"weight\": 200, \"match\": {\"ioprio\": \"be/4\"},"
		"\"vhost-user\": \"/run/x.sock\", \"session\": true,"
		"\"best-effort\": true, \"burst\": \"100 ms\"}",
		200);
	http_ask(api_rig_path, "GET", "/v1/processes/1", NULL, &answer);
	assert_string_equal(
		json_string_value(json_object_get(answer.json, "sla_text")),
		"iops >= 500, latency p99 <= 2 ms");
	assert_string_equal(
		json_string_value(json_object_get(answer.json, "limit")),
		"iops 2000, write bandwidth 10 MB/s");
	assert_string_equal(
		json_string_value(json_object_get(answer.json, "ioprio")),
		"be/4");
	http_forget(&answer);
	api_rig_check("GET", "/v1/processes/1/stats", NULL, 200);
	api_rig_check("PATCH", "/v1/processes/1", "{\"sla\": \"iops >= 600\"}",
		      200);
	api_rig_check("PATCH", "/v1/processes/1", "{\"sla\": \"none\"}", 200);
	api_rig_refused("PATCH", "/v1/processes/1", "{}", 400, "usage",
			"nothing");
	api_rig_refused("POST", "/v1/processes",
			"{\"pasid\": 1, \"vdev\": \"vd0\"}", 400, "usage",
			"is a process");
	api_rig_check("DELETE", "/v1/processes/1", NULL, 200);
	api_rig_check("DELETE", "/v1/processes/1", NULL, 404);
	api_rig_check("PATCH", "/v1/processes/1", "{\"sla\": \"none\"}", 404);
}

/* E8: what admission refuses comes with metric, shortfall and where. */
static void test_api_refused(void **state)
{
	struct http_answer answer;

	(void)state;
	http_ask(
		api_rig_path, "POST", "/v1/processes",
		"{\"pasid\": 99, \"vdev\": \"vd0\", \"sla\": \"iops >= 5000\"}",
		&answer);
	assert_int_equal(answer.status, 409);
	assert_string_equal(
		json_string_value(json_object_get(answer.json, "code")),
		"refused");
	assert_string_equal(
		json_string_value(json_object_get(answer.json, "metric")),
		"iops");
	assert_int_equal(
		json_integer_value(json_object_get(answer.json, "shortfall")),
		3800);
	assert_int_equal(json_array_size(json_object_get(answer.json, "where")),
			 1);
	http_forget(&answer);
	api_rig_refused("POST", "/v1/processes",
			"{\"pasid\": 98, \"vdev\": \"vd0\"}", 500, "failed",
			"does not answer");
	api_rig_refused("POST", "/v1/processes",
			"{\"pasid\": 96, \"vdev\": \"vd0\"}", 400, "usage",
			"burst");
}

/* E8: asked without being done. */
static void test_api_admission(void **state)
{
	(void)state;
	api_rig_check("POST", "/v1/admission",
		      "{\"vdev\": \"vd0\", \"sla\": \"iops >= 5\"}", 200);
	api_rig_refused("POST", "/v1/admission",
			"{\"vdev\": \"vd0\", \"sla\": \"iops >= 5000\"}", 409,
			"refused", "too much");
	api_rig_refused("POST", "/v1/admission", "{\"vdev\": \"vd0\"}", 400,
			"usage", "'sla' is missing");
}

static void test_api_answers_later(void **state)
{
	(void)state;
	api_rig_check("POST", "/v1/processes",
		      "{\"pasid\": 97, \"vdev\": \"vd0\"}", 200);
}

static void test_api_other_verbs(void **state)
{
	(void)state;
	api_rig_check("POST", "/v1/devices/d0/calibrate", "{}", 200);
	api_rig_check("POST", "/v1/devices/ep0/d0/calibrate",
		      "{\"duration\": \"2 s\"}", 200);
	api_rig_check("POST", "/v1/devices/d9/calibrate", NULL, 404);
	api_rig_check("PATCH", "/v1/vdevs/none", "{\"size\": \"5GiB\"}", 404);
	api_rig_check("DELETE", "/v1/vdevs/none", NULL, 404);
	api_rig_check("POST", "/v1/vdevs",
		      "{\"name\": \"vd7\", \"size\": \"1GiB\","
		      "\"pool\": \"main\", \"queues\": 2, \"read-only\": true}",
		      200);
	api_rig_check("POST", "/v1/vdevs/none/snapshots", "{\"name\": \"s\"}",
		      404);
	api_rig_check("POST", "/v1/vdevs/vd7/snapshots",
		      "{\"name\": \"s7\", \"limit\": \"iops 50\"}", 200);
	api_rig_refused("POST", "/v1/vdevs/vd7/snapshots", "{}", 400, "usage",
			"name");
	api_rig_refused("POST", "/v1/vdevs/vd7/snapshots",
			"{\"name\": \"s8\", \"size\": 5}", 400, "usage",
			"size");
	api_rig_check("POST", "/v1/vdevs",
		      "{\"name\": \"vd8\", \"size\": 1048576}", 200);
	api_rig_check("PATCH", "/v1/vdevs/vd0", "{\"size\": \"5GiB\"}", 200);
	api_rig_check("PATCH", "/v1/vdevs/vd0",
		      "{\"limit\": \"iops 5k\", \"burst\": \"50 ms\"}", 200);
	api_rig_refused("PATCH", "/v1/vdevs/vd0", "{}", 400, "usage",
			"one change");
	api_rig_refused("PATCH", "/v1/vdevs/vd0",
			"{\"limit\": \"iops 5k\", \"size\": \"5GiB\"}", 400,
			"usage", "one change");
	api_rig_check("DELETE", "/v1/vdevs/vd0", NULL, 200);
	api_rig_check("POST", "/v1/enforce", "{\"on\": false}", 200);
	api_rig_check("POST", "/v1/enforce", "{\"on\": true}", 200);
}

/* Who may, of whom the kernel says who it is. */
static void test_api_transfer(void **state)
{
	struct http_answer answer;

	(void)state;
	api_rig_check("POST", "/v1/vdevs/none/export", NULL, 404);
	api_rig_refused("POST", "/v1/vdevs/vd0/export", "{\"force\": true}",
			400, "usage", "force");
	api_rig_refused("POST", "/v1/vdevs/vd0/import", "{}", 409, "conflict",
			"in use");
	api_rig_check("POST", "/v1/vdevs/vd0/import", "{\"force\": true}", 200);
	http_ask(api_rig_path, "POST", "/v1/vdevs/vd0/export", "{\"pasid\": 3}",
		 &answer);
	assert_int_equal(answer.status, 200);
	/* Whose it is to be, the kernel told. */
	assert_int_equal(
		json_integer_value(json_object_get(answer.json, "uid")),
		getuid());
	assert_int_equal(
		json_integer_value(json_object_get(answer.json, "pasid")), 3);
	http_forget(&answer);
	api_rig_check("DELETE", "/v1/vdevs/vd0/transfer", NULL, 200);
}

/* Bodies are checked in one place; each refusal says why. */
static void test_api_bodies(void **state)
{
	static const struct {
		const char *body, *says;
	} cases[] = {
		{"", "missing"},
		{"{}", "missing"},
		{"[]", "object"},
		{"{", "not JSON"},
		{"{\"pasid\": 1}", "'vdev' is missing"},
		{"{\"vdev\": \"v\"}", "'pasid' is missing"},
		{"{\"pasid\": 1, \"vdev\": \"v\", \"colour\": 1}",
		 "unknown field 'colour'"},
		{"{\"pasid\": 1, \"vdev\": \"v\", \"size\": \"1GiB\"}",
		 "unknown field 'size'"},
		{"{\"pasid\": 1, \"pasid\": 1, \"vdev\": \"v\"}", "JSON"},
		{"{\"pasid\": 0, \"vdev\": \"v\"}", "pasid"},
		{"{\"pasid\": -1, \"vdev\": \"v\"}", "pasid"},
		{"{\"pasid\": 1048576, \"vdev\": \"v\"}", "pasid"},
		{"{\"pasid\": 1.5, \"vdev\": \"v\"}", "pasid"},
		{"{\"pasid\": \"1\", \"vdev\": \"v\"}", "pasid"},
		{"{\"pasid\": 1, \"vdev\": \"\"}", ""},
		{"{\"pasid\": 1, \"vdev\": \"a b\"}", ""},
		{"{\"pasid\": 1, \"vdev\": null}", "vdev"},
		{"{\"pasid\": 1, \"vdev\": \"v\", \"sla\": \"\"}", ""},
		{"{\"pasid\": 1, \"vdev\": \"v\", \"sla\": \"iops\"}", "iops"},
		{"{\"pasid\": 1, \"vdev\": \"v\", \"sla\": {}}", "sla"},
		{"{\"pasid\": 1, \"vdev\": \"v\", \"sla\": {\"iops\": 5}}",
		 "iops"},
		{"{\"pasid\": 1, \"vdev\": \"v\", \"sla\": \"latency <= 2\"}",
		 ""},
		{"{\"pasid\": 1, \"vdev\": \"v\", \"limit\": \"x 5\"}", ""},
		{"{\"pasid\": 1, \"vdev\": \"v\", \"limit\": true}", "limit"},
		{"{\"pasid\": 1, \"vdev\": \"v\", \"weight\": 0}", "weight"},
		{"{\"pasid\": 1, \"vdev\": \"v\", \"weight\": 1000001}",
		 "weight"},
		{"{\"pasid\": 1, \"vdev\": \"v\", \"match\": {}}", "match"},
		{"{\"pasid\": 1, \"vdev\": \"v\","
		 "\"match\": {\"uid\": 1, \"gid\": 1}}",
		 "match"},
		{"{\"pasid\": 1, \"vdev\": \"v\","
		 "\"match\": {\"uid\": -1}}",
		 "uid"},
		{"{\"pasid\": 1, \"vdev\": \"v\","
		 "\"match\": {\"pid\": 0}}",
		 "pid"},
		{"{\"pasid\": 1, \"vdev\": \"v\","
		 "\"match\": {\"uid\": \"root\"}}",
		 "'root' is no uid: a number"},
		{"{\"pasid\": 1, \"vdev\": \"v\","
		 "\"match\": {\"ioprio\": \"be/9\"}}",
		 ""},
		{"{\"pasid\": 1, \"vdev\": \"v\", \"session\": 1}", "session"},
		{"{\"pasid\": 1, \"vdev\": \"v\", \"burst\": \"5\"}", ""},
		{"{\"pasid\": 1, \"vdev\": \"v\","
		 "\"vhost-user\": \"relative\"}",
		 ""},
		{"{\"pasid\": 1, \"vdev\": \"v\xff\"}", ""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		api_rig_refused("POST", "/v1/processes", cases[i].body, 400,
				"usage", cases[i].says);
	api_rig_refused("GET", "/v1/status", "{\"on\": true}", 400, "usage",
			"unknown field 'on'");
	api_rig_refused("POST", "/v1/vdevs",
			"{\"name\": \"v\", \"size\": \"0\"}", 400, "usage",
			"size");
	api_rig_refused("POST", "/v1/vdevs",
			"{\"name\": \"v\", \"size\": \"5 parsecs\"}", 400,
			"usage", "");
}

/* --- Events ------------------------------------------------------------- */

static int follow(const char *more)
{
	char request[256];
	int fd = http_connect(api_rig_path);

	snprintf(request, sizeof(request),
		 "GET /v1/events HTTP/1.1\r\nHost: x\r\n%s\r\n", more);
	http_say(fd, request);
	return fd;
}

static void test_api_events(void **state)
{
	char buffer[8192];
	int fd = follow("");

	(void)state;
	http_wait(fd, ":\n\n", buffer, sizeof(buffer));
	assert_non_null(strstr(buffer, "200"));
	assert_non_null(strstr(buffer, "text/event-stream"));
	/* It is told of what happens from now on, and of nothing before. */
	assert_null(strstr(buffer, "data:"));
	api_rig_check("POST", "/v1/enforce", "{\"on\": false}", 200);
	http_wait(fd, "\n\n", buffer, sizeof(buffer));
	assert_non_null(strstr(buffer, "event: enforce\n"));
	assert_non_null(strstr(buffer, "data: {\"seq\":"));
	api_rig_check("POST", "/v1/enforce", "{\"on\": true}", 200);
	http_wait(fd, "\n\n", buffer, sizeof(buffer));
	assert_non_null(strstr(buffer, "\"on\""));
	close(fd);
}

static void test_api_events_again(void **state)
{
	char buffer[65536];
	int fd = follow("Last-Event-ID: 0\r\n");

	(void)state;
	http_wait(fd, "event: endpoint-started\n", buffer, sizeof(buffer));
	assert_non_null(strstr(buffer, "id: 1\n"));
	close(fd);
	api_rig_refused("GET", "/v1/events?after=x", NULL, 400, "usage",
			"number");
}

static void test_api_events_are_bounded(void **state)
{
	char buffer[8192];
	int fds[API_STREAMS_MAX];

	(void)state;
	for (unsigned int i = 0; i < API_STREAMS_MAX; i++) {
		fds[i] = follow("");
		http_wait(fds[i], ":\n\n", buffer, sizeof(buffer));
	}
	api_rig_refused("GET", "/v1/events", NULL, 500, "failed", "follow");
	api_rig_check("GET", "/v1/status", NULL, 200);
	for (unsigned int i = 0; i < API_STREAMS_MAX; i++)
		close(fds[i]);
	/* Who has left is noticed when there is something to tell. */
	api_rig_check("POST", "/v1/enforce", "{\"on\": true}", 200);
	do {
		fds[0] = follow("");
		http_wait(fds[0], "\r\n\r\n", buffer, sizeof(buffer));
		close(fds[0]);
	} while (!strstr(buffer, "200 OK"));
}

/* --- Metrics ------------------------------------------------------------ */

static void test_api_metrics(void **state)
{
	struct http_answer answer;
	const char *wrong;

	(void)state;
	api_rig_check(
		"POST", "/v1/processes",
		"{\"pasid\": 5, \"vdev\": \"vd0\", \"sla\": \"iops >= 500\"}",
		200);
	http_ask(api_rig_path, "GET", "/metrics", NULL, &answer);
	assert_int_equal(answer.status, 200);
	assert_non_null(strstr(answer.text, "application/openmetrics-text"));
	wrong = openmetrics_check(answer.body);
	if (wrong)
		fail_msg("%s", wrong);
	assert_non_null(strstr(
		answer.body,
		"penstock_process_requests_total{pasid=\"5\",vdev=\"vd0\",direction=\"read\"} 5000\n"));
	assert_non_null(strstr(
		answer.body,
		"penstock_process_latency_seconds{pasid=\"5\",vdev=\"vd0\",percentile=\"99\"} 0.00015\n"));
	http_forget(&answer);
	api_rig_check("DELETE", "/v1/processes/5", NULL, 200);
}

#define HISTOGRAM "# TYPE penstock_x histogram\n"

/* The checker itself is strict. */
static void test_api_metrics_checker(void **state)
{
	static const char *const wrong[] = {
		"",
		"# EOF",
		"penstock_x 1\n# EOF\n",
		"# TYPE penstock_x gauge\npenstock_x 1\n",
		"# TYPE x gauge\n# EOF\n",
		"# TYPE penstock_x counter\npenstock_x 1\n# EOF\n",
		"# TYPE penstock_x gauge\npenstock_x 1\npenstock_x 2\n# EOF\n",
		"# TYPE penstock_x gauge\npenstock_x{a=\"b} 1\n# EOF\n",
		"# TYPE penstock_x gauge\npenstock_x nan\n# EOF\n",
		"# TYPE penstock_x gauge\n# UNIT penstock_x bytes\n# EOF\n",
		"# TYPE penstock_x gauge\n# TYPE penstock_y gauge\n# TYPE penstock_x gauge\n# EOF\n",
		"# EOF\n# EOF\n",
		HISTOGRAM
		"penstock_x_bucket{le=\"1\"} 2\npenstock_x_count 2\n# EOF\n",
		HISTOGRAM
		"penstock_x_bucket{le=\"1\"} 2\npenstock_x_bucket{le=\"+Inf\"} 1\n# EOF\n",
		HISTOGRAM
		"penstock_x_bucket{le=\"+Inf\"} 2\npenstock_x_count 1\n# EOF\n",
		HISTOGRAM "penstock_x_bucket{a=\"b\"} 2\n# EOF\n",
		HISTOGRAM "penstock_x 1\n# EOF\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_non_null(openmetrics_check(wrong[i]));
	assert_null(openmetrics_check("# EOF\n"));
	assert_null(openmetrics_check(
		HISTOGRAM
		"penstock_x_bucket{le=\"1\"} 1\npenstock_x_bucket{le=\"+Inf\"} 2\n"
		"penstock_x_count 2\npenstock_x_sum 3\n# EOF\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_api_questions),
		cmocka_unit_test(test_api_what_is_not_there),
		cmocka_unit_test(test_api_process),
		cmocka_unit_test(test_api_refused),
		cmocka_unit_test(test_api_admission),
		cmocka_unit_test(test_api_answers_later),
		cmocka_unit_test(test_api_other_verbs),
		cmocka_unit_test(test_api_transfer),
		cmocka_unit_test(test_api_bodies),
		cmocka_unit_test(test_api_events),
		cmocka_unit_test(test_api_events_again),
		cmocka_unit_test(test_api_events_are_bounded),
		cmocka_unit_test(test_api_metrics),
		cmocka_unit_test(test_api_metrics_checker),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests_name("api", tests, api_rig_setup,
					   api_rig_teardown);
}
