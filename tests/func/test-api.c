/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-api.c - the REST server over its socket, on a host that is only data
 *
 * The server runs in a child (fake-penstockd); each test is a client of it.
 */
#include <errno.h>
#include <grp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "api/body.h"
#include "api/server.h"
#include "fake-host.h"
#include "http.h"
#include "openmetrics.h"
#include "os/loop.h"

static char directory[] = "/tmp/penstock-api-XXXXXX";
static char path[64];
static pid_t server_pid;
static int server_stdin;

/* --- The server --------------------------------------------------------- */

static struct loop *loop;

static void on_end(struct loop_watch *watch)
{
	loop_watch_remove(loop, watch);
	loop_stop(loop);
}

/* Never returns.  'ready' is written to when it serves. */
static void serve(const char *at, int end, int ready)
{
	const struct loop_config loop_config = {.entries = 64};
	const struct api_grant grants[] = {
		{API_ROLE_OPERATE, false, 4001},
		{API_ROLE_OPERATE, true, 4100},
	};
	const struct api_server_config config = {
		.unix_path = at,
		.everyone = API_ROLE_READ,
		.grants = grants,
		.grant_count = 2,
	};
	struct loop_watch watch = {.ready = on_end};
	struct api_server *server;
	struct error error;
	struct host *host;

	if (loop_create(&loop_config, &loop, &error) < 0)
		exit(2);
	host = fake_host_create(loop);
	if (api_server_create(&config, loop, host, &server, &error) < 0) {
		fprintf(stderr, "%s\n", error.text);
		exit(1);
	}
	loop_watch_add(loop, &watch, end);
	if (write(ready, "r", 1) != 1)
		exit(1);
	loop_run(loop);
	api_server_destroy(server);
	host_destroy(host);
	loop_destroy(loop);
	exit(0);
}

static pid_t start_server(const char *at, int *ret_end)
{
	int end[2], ready[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe(end), 0);
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		close(end[1]);
		close(ready[0]);
		serve(at, end[0], ready[1]);
	}
	close(end[0]);
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	*ret_end = end[1];
	return pid;
}

static void stop_server(pid_t pid, int end)
{
	int status;

	close(end);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static int setup(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(directory));
	chmod(directory, 0755);
	snprintf(path, sizeof(path), "%s/sub/api.sock", directory);
	server_pid = start_server(path, &server_stdin);
	return 0;
}

static int teardown(void **state)
{
	char sub[64];

	(void)state;
	stop_server(server_pid, server_stdin);
	/* It has taken its socket with it. */
	assert_int_equal(access(path, F_OK), -1);
	snprintf(sub, sizeof(sub), "%s/sub", directory);
	assert_int_equal(rmdir(sub), 0);
	assert_int_equal(rmdir(directory), 0);
	return 0;
}

/* --- Asking ------------------------------------------------------------- */

static void check(const char *method, const char *target, const char *body,
		  int status)
{
	struct http_answer answer;

	http_ask(path, method, target, body, &answer);
	if (answer.status != status)
		fail_msg("%s %s: %d instead of %d: %s", method, target,
			 answer.status, status, answer.body);
	http_forget(&answer);
}

/* The error's code and text. */
static void check_error(const char *method, const char *target,
			const char *body, int status, const char *code,
			const char *text)
{
	struct http_answer answer;
	const char *got_code, *got_text;

	http_ask(path, method, target, body, &answer);
	assert_int_equal(answer.status, status);
	got_code = json_string_value(json_object_get(answer.json, "code"));
	got_text = json_string_value(json_object_get(answer.json, "error"));
	assert_non_null(got_code);
	assert_non_null(got_text);
	assert_string_equal(got_code, code);
	if (!strstr(got_text, text))
		fail_msg("'%s' does not say '%s'", got_text, text);
	assert_null(strchr(got_text, '\n'));
	http_forget(&answer);
}

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

		http_ask(path, "GET", targets[i], NULL, &answer);
		assert_int_equal(answer.status, 200);
		assert_non_null(strstr(answer.text,
				       "Content-Type: application/json\r\n"));
		assert_non_null(answer.json);
		http_forget(&answer);
	}
	check("HEAD", "/v1/status", NULL, 200);
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
		check_error("GET", targets[i], NULL, 404, "not-found", "no");
	check_error("DELETE", "/v1/status", NULL, 405, "usage", "method");
	check_error("BREW", "/v1/status", NULL, 405, "usage", "method");
}

/* E4, E9, E12, E13: a process is added, changed, listed and released. */
static void test_api_process(void **state)
{
	struct http_answer answer;

	(void)state;
	check("POST", "/v1/processes",
	      "{\"pasid\": 1, \"vdev\": \"vd0\", \"name\": \"db\","
	      "\"sla\": {\"iops\": \">= 500\", \"latency\": \"<= 2 ms\"},"
	      "\"limit\": {\"iops\": 2000, \"write bandwidth\": \"10 MB/s\"},"
	      "\"weight\": 200, \"match\": {\"ioprio\": \"be/4\"},"
	      "\"vhost-user\": \"/run/x.sock\", \"session\": true,"
	      "\"best-effort\": true, \"burst\": \"100 ms\"}",
	      200);
	http_ask(path, "GET", "/v1/processes/1", NULL, &answer);
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
	check("GET", "/v1/processes/1/stats", NULL, 200);
	check("PATCH", "/v1/processes/1", "{\"sla\": \"iops >= 600\"}", 200);
	check("PATCH", "/v1/processes/1", "{\"sla\": \"none\"}", 200);
	check_error("PATCH", "/v1/processes/1", "{}", 400, "usage", "nothing");
	check_error("POST", "/v1/processes",
		    "{\"pasid\": 1, \"vdev\": \"vd0\"}", 400, "usage",
		    "is a process");
	check("DELETE", "/v1/processes/1", NULL, 200);
	check("DELETE", "/v1/processes/1", NULL, 404);
	check("PATCH", "/v1/processes/1", "{\"sla\": \"none\"}", 404);
}

/* E8: what admission refuses comes with metric, shortfall and where. */
static void test_api_refused(void **state)
{
	struct http_answer answer;

	(void)state;
	http_ask(
		path, "POST", "/v1/processes",
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
	check_error("POST", "/v1/processes",
		    "{\"pasid\": 98, \"vdev\": \"vd0\"}", 500, "failed",
		    "does not answer");
	check_error("POST", "/v1/processes",
		    "{\"pasid\": 96, \"vdev\": \"vd0\"}", 400, "usage",
		    "burst");
}

/* E8: asked without being done. */
static void test_api_admission(void **state)
{
	(void)state;
	check("POST", "/v1/admission",
	      "{\"vdev\": \"vd0\", \"sla\": \"iops >= 5\"}", 200);
	check_error("POST", "/v1/admission",
		    "{\"vdev\": \"vd0\", \"sla\": \"iops >= 5000\"}", 409,
		    "refused", "too much");
	check_error("POST", "/v1/admission", "{\"vdev\": \"vd0\"}", 400,
		    "usage", "'sla' is missing");
}

static void test_api_answers_later(void **state)
{
	(void)state;
	check("POST", "/v1/processes", "{\"pasid\": 97, \"vdev\": \"vd0\"}",
	      200);
}

static void test_api_other_verbs(void **state)
{
	(void)state;
	check("POST", "/v1/devices/d0/calibrate", "{}", 200);
	check("POST", "/v1/devices/ep0/d0/calibrate", "{\"duration\": \"2 s\"}",
	      200);
	check("POST", "/v1/devices/d9/calibrate", NULL, 404);
	check("PATCH", "/v1/vdevs/none", "{\"size\": \"5GiB\"}", 404);
	check("DELETE", "/v1/vdevs/none", NULL, 404);
	check("POST", "/v1/vdevs",
	      "{\"name\": \"vd7\", \"size\": \"1GiB\","
	      "\"pool\": \"main\", \"queues\": 2, \"read-only\": true}",
	      200);
	check("POST", "/v1/vdevs", "{\"name\": \"vd8\", \"size\": 1048576}",
	      200);
	check("PATCH", "/v1/vdevs/vd0", "{\"size\": \"5GiB\"}", 200);
	check("PATCH", "/v1/vdevs/vd0",
	      "{\"limit\": \"iops 5k\", \"burst\": \"50 ms\"}", 200);
	check_error("PATCH", "/v1/vdevs/vd0", "{}", 400, "usage", "one change");
	check_error("PATCH", "/v1/vdevs/vd0",
		    "{\"limit\": \"iops 5k\", \"size\": \"5GiB\"}", 400,
		    "usage", "one change");
	check("DELETE", "/v1/vdevs/vd0", NULL, 200);
	check("POST", "/v1/enforce", "{\"on\": false}", 200);
	check("POST", "/v1/enforce", "{\"on\": true}", 200);
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
		check_error("POST", "/v1/processes", cases[i].body, 400,
			    "usage", cases[i].says);
	check_error("GET", "/v1/status", "{\"on\": true}", 400, "usage",
		    "unknown field 'on'");
	check_error("POST", "/v1/vdevs", "{\"name\": \"v\", \"size\": \"0\"}",
		    400, "usage", "size");
	check_error("POST", "/v1/vdevs",
		    "{\"name\": \"v\", \"size\": \"5 parsecs\"}", 400, "usage",
		    "");
}

/* --- Limits ------------------------------------------------------------- */

static void test_api_body_too_large(void **state)
{
	static const char head[] = "POST /v1/processes HTTP/1.1\r\nHost: x\r\n"
				   "Content-Length: 1048577\r\n\r\n";
	struct http_answer answer;
	int fd = http_connect(path);

	(void)state;
	http_say(fd, head);
	http_receive(fd, &answer);
	assert_int_equal(answer.status, 413);
	http_forget(&answer);
	close(fd);
}

/* A body that never said how long it is: 'count' chunks of 4 KiB and an end.
 * Returns the status of the answer, 0 if there is none. */
static int send_chunks(unsigned int count)
{
	static const char head[] = "POST /v1/processes HTTP/1.1\r\nHost: x\r\n"
				   "Connection: close\r\n"
				   "Transfer-Encoding: chunked\r\n\r\n";
	static char chunk[4096 + 8] = "1000\r\n";
	struct http_answer answer;
	int fd = http_connect(path), status;

	memset(chunk + 6, ' ', 4096);
	memcpy(chunk + 6 + 4096, "\r\n", 2);
	http_say(fd, head);
	for (unsigned int i = 0; i < count; i++)
		http_send(fd, chunk, sizeof(chunk));
	http_say(fd, "0\r\n\r\n");
	http_receive(fd, &answer);
	status = answer.status;
	http_forget(&answer);
	close(fd);
	return status;
}

static void test_api_chunks_too_large(void **state)
{
	(void)state;
	assert_int_equal(send_chunks(256), 400);	/* blanks are no JSON */
	assert_int_equal(send_chunks(257), 413);
	/* Who goes on and on is not listened to. */
	assert_int_equal(send_chunks(5000), 0);
}

static void test_api_largest_body(void **state)
{
	char *body = malloc(API_BODY_MAX + 1);
	struct http_answer answer;

	(void)state;
	memset(body, ' ', API_BODY_MAX);
	body[API_BODY_MAX] = '\0';
	memcpy(body, "{\"on\":true}", 11);
	http_ask(path, "POST", "/v1/enforce", body, &answer);
	assert_int_equal(answer.status, 200);
	http_forget(&answer);
	free(body);
}

static void test_api_headers_too_large(void **state)
{
	static const char head[] = "GET /v1/status HTTP/1.1\r\nHost: x\r\nA: ";
	static char line[2 * API_HEADERS_MAX];
	struct http_answer answer;
	int fd = http_connect(path);

	(void)state;
	memset(line, 'a', sizeof(line));
	http_say(fd, head);
	http_send(fd, line, sizeof(line));
	http_receive(fd, &answer);
	assert_true(answer.status == 0 || answer.status >= 400);
	http_forget(&answer);
	close(fd);
}

static void test_api_not_http(void **state)
{
	static const char *const texts[] = {
		"GET\r\n\r\n",
		"\x01\x02\x03\x04\r\n\r\n",
		"GET /v1/status HTTP/9.9\r\n\r\n",
		"POST /v1/enforce HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
		"POST /v1/enforce HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct http_answer answer;
		int fd = http_connect(path);

		http_say(fd, texts[i]);
		shutdown(fd, SHUT_WR);
		http_receive(fd, &answer);
		assert_int_not_equal(answer.status, 200);
		http_forget(&answer);
		close(fd);
	}
	check("GET", "/v1/status", NULL, 200);
}

/* All places taken by silent clients: the next one waits, and is served when
 * one leaves. */
static void test_api_connections(void **state)
{
	static const char ask[] = "GET /v1/status HTTP/1.1\r\nHost: x\r\n"
				  "Connection: close\r\n\r\n";
	static char buffer[65536];
	int fds[API_CONNECTIONS_MAX];
	struct http_answer answer;
	int fd;

	(void)state;
	for (unsigned int i = 0; i < API_CONNECTIONS_MAX; i++) {
		fds[i] = http_connect(path);
		/* An answer proves that it has its place. */
		http_say(fds[i], "GET /v1/pools HTTP/1.1\r\nHost: x\r\n\r\n");
		http_wait(fds[i], "]\n", buffer, sizeof(buffer));
	}
	fd = http_connect(path);
	http_say(fd, ask);
	for (unsigned int i = 0; i < API_CONNECTIONS_MAX; i++)
		close(fds[i]);
	http_receive(fd, &answer);
	assert_true(answer.status == 200 || answer.status == 0);
	http_forget(&answer);
	close(fd);
	check("GET", "/v1/status", NULL, 200);
}

/* --- Roles -------------------------------------------------------------- */

/* Ask as another user; the status. */
static int ask_as(uid_t uid, gid_t group, const char *method,
		  const char *target, const char *body)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct http_answer answer;

		if (setgroups(1, &group) < 0 ||
		    setresgid(65534, 65534, 65534) < 0 ||
		    setresuid(uid, uid, uid) < 0)
			_exit(255);
		http_ask(path, method, target, body, &answer);
		_exit(answer.status == 403	   ? 43 :
			      answer.status == 200 ? 20 :
						     1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void test_api_roles(void **state)
{
	static const char add[] = "{\"pasid\": 11, \"vdev\": \"vd0\"}";
	static const char add2[] = "{\"pasid\": 12, \"vdev\": \"vd0\"}";

	(void)state;
	if (geteuid() != 0) {
		print_message("skipped: only root can ask as other users\n");
		skip();
	}
	/* Anybody reads. */
	assert_int_equal(ask_as(4000, 65534, "GET", "/v1/status", NULL), 20);
	assert_int_equal(ask_as(4000, 65534, "GET", "/metrics", NULL), 20);
	assert_int_equal(ask_as(4000, 65534, "POST", "/v1/processes", add), 43);
	/* By user and by group: operate. */
	assert_int_equal(ask_as(4001, 65534, "POST", "/v1/processes", add), 20);
	assert_int_equal(ask_as(4002, 4100, "POST", "/v1/processes", add2), 20);
	assert_int_equal(
		ask_as(4001, 65534, "POST", "/v1/enforce", "{\"on\": true}"),
		43);
	assert_int_equal(ask_as(4001, 65534, "DELETE", "/v1/vdevs/vd0", NULL),
			 43);
	assert_int_equal(ask_as(4002, 4100, "DELETE", "/v1/processes/11", NULL),
			 20);
	check("DELETE", "/v1/processes/12", NULL, 200);
}

/* --- Events ------------------------------------------------------------- */

static int follow(const char *more)
{
	char request[256];
	int fd = http_connect(path);

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
	check("POST", "/v1/enforce", "{\"on\": false}", 200);
	http_wait(fd, "\n\n", buffer, sizeof(buffer));
	assert_non_null(strstr(buffer, "event: enforce\n"));
	assert_non_null(strstr(buffer, "data: {\"seq\":"));
	check("POST", "/v1/enforce", "{\"on\": true}", 200);
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
	check_error("GET", "/v1/events?after=x", NULL, 400, "usage", "number");
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
	check_error("GET", "/v1/events", NULL, 500, "failed", "follow");
	check("GET", "/v1/status", NULL, 200);
	for (unsigned int i = 0; i < API_STREAMS_MAX; i++)
		close(fds[i]);
	/* Who has left is noticed when there is something to tell. */
	check("POST", "/v1/enforce", "{\"on\": true}", 200);
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
	check("POST", "/v1/processes",
	      "{\"pasid\": 5, \"vdev\": \"vd0\", \"sla\": \"iops >= 500\"}",
	      200);
	http_ask(path, "GET", "/metrics", NULL, &answer);
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
	check("DELETE", "/v1/processes/5", NULL, 200);
}

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
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_non_null(openmetrics_check(wrong[i]));
	assert_null(openmetrics_check("# EOF\n"));
}

/* --- Life --------------------------------------------------------------- */

/* Somebody lives there: refused.  Somebody died there: replaced. */
static void test_api_stale_socket(void **state)
{
	const struct api_server_config config = {.unix_path = path};
	const struct loop_config loop_config = {.entries = 8};
	struct api_server *server;
	struct error error;
	struct host *host;
	char other[64];
	int end, status;
	pid_t pid;

	(void)state;
	assert_int_equal(loop_create(&loop_config, &loop, &error), 0);
	host = fake_host_create(loop);
	assert_int_equal(
		api_server_create(&config, loop, host, &server, &error),
		-EADDRINUSE);
	assert_non_null(strstr(error.text, path));
	host_destroy(host);
	loop_destroy(loop);

	snprintf(other, sizeof(other), "%s/other.sock", directory);
	pid = start_server(other, &end);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	close(end);
	assert_int_equal(access(other, F_OK), 0);
	pid = start_server(other, &end);
	stop_server(pid, end);
	assert_int_equal(access(other, F_OK), -1);
}

static void test_api_path_is_no_socket(void **state)
{
	const struct loop_config loop_config = {.entries = 8};
	struct api_server_config config = {.unix_path = directory};
	struct api_server *server;
	struct error error;
	struct host *host;

	(void)state;
	assert_int_equal(loop_create(&loop_config, &loop, &error), 0);
	host = fake_host_create(loop);
	assert_int_equal(
		api_server_create(&config, loop, host, &server, &error),
		-EEXIST);
	config.unix_path =
		"/tmp/"
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
	assert_int_equal(
		api_server_create(&config, loop, host, &server, &error),
		-ENAMETOOLONG);
	host_destroy(host);
	loop_destroy(loop);
}

/* It ends while a verb is under way and somebody follows. */
static void test_api_end_while_busy(void **state)
{
	static const char add[] =
		"POST /v1/processes HTTP/1.1\r\nHost: x\r\n"
		"Content-Length: 27\r\n\r\n{\"pasid\":95,\"vdev\":\"vd0\"}  ";
	char other[64], buffer[8192];
	struct http_answer answer;
	int end, busy, follower;
	pid_t pid;

	(void)state;
	snprintf(other, sizeof(other), "%s/busy.sock", directory);
	pid = start_server(other, &end);
	busy = http_connect(other);
	http_say(busy, add);
	follower = http_connect(other);
	http_say(follower, "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n");
	http_wait(follower, ":\n\n", buffer, sizeof(buffer));
	stop_server(pid, end);
	http_receive(busy, &answer);
	assert_int_equal(answer.status, 0);
	http_forget(&answer);
	close(busy);
	close(follower);
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
		cmocka_unit_test(test_api_bodies),
		cmocka_unit_test(test_api_body_too_large),
		cmocka_unit_test(test_api_chunks_too_large),
		cmocka_unit_test(test_api_largest_body),
		cmocka_unit_test(test_api_headers_too_large),
		cmocka_unit_test(test_api_not_http),
		cmocka_unit_test(test_api_connections),
		cmocka_unit_test(test_api_roles),
		cmocka_unit_test(test_api_events),
		cmocka_unit_test(test_api_events_again),
		cmocka_unit_test(test_api_events_are_bounded),
		cmocka_unit_test(test_api_metrics),
		cmocka_unit_test(test_api_metrics_checker),
		cmocka_unit_test(test_api_stale_socket),
		cmocka_unit_test(test_api_path_is_no_socket),
		cmocka_unit_test(test_api_end_while_busy),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests_name("api", tests, setup, teardown);
}
