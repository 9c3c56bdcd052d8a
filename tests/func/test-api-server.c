/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-api-server.c - the REST server: its limits, who may what, its socket
 *
 * See api-rig.h; the verbs: test-api.c.
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
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "api-rig.h"
#include "api/body.h"
#include "api/server.h"
#include "fake-host.h"
#include "http.h"
#include "os/loop.h"

/* --- Limits ------------------------------------------------------------- */

static void test_api_body_too_large(void **state)
{
	static const char head[] = "POST /v1/processes HTTP/1.1\r\nHost: x\r\n"
				   "Content-Length: 1048577\r\n\r\n";
	struct http_answer answer;
	int fd = http_connect(api_rig_path);

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
	int fd = http_connect(api_rig_path), status;

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
	http_ask(api_rig_path, "POST", "/v1/enforce", body, &answer);
	assert_int_equal(answer.status, 200);
	http_forget(&answer);
	free(body);
}

static void test_api_headers_too_large(void **state)
{
	static const char head[] = "GET /v1/status HTTP/1.1\r\nHost: x\r\nA: ";
	static char line[2 * API_HEADERS_MAX];
	struct http_answer answer;
	int fd = http_connect(api_rig_path);

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
		int fd = http_connect(api_rig_path);

		http_say(fd, texts[i]);
		shutdown(fd, SHUT_WR);
		http_receive(fd, &answer);
		assert_int_not_equal(answer.status, 200);
		http_forget(&answer);
		close(fd);
	}
	api_rig_check("GET", "/v1/status", NULL, 200);
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
		fds[i] = http_connect(api_rig_path);
		/* An answer proves that it has its place. */
		http_say(fds[i], "GET /v1/pools HTTP/1.1\r\nHost: x\r\n\r\n");
		http_wait(fds[i], "]\n", buffer, sizeof(buffer));
	}
	fd = http_connect(api_rig_path);
	http_say(fd, ask);
	for (unsigned int i = 0; i < API_CONNECTIONS_MAX; i++)
		close(fds[i]);
	http_receive(fd, &answer);
	assert_true(answer.status == 200 || answer.status == 0);
	http_forget(&answer);
	close(fd);
	api_rig_check("GET", "/v1/status", NULL, 200);
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
		http_ask(api_rig_path, method, target, body, &answer);
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
	api_rig_check("DELETE", "/v1/processes/12", NULL, 200);
}

/* --- Life --------------------------------------------------------------- */

/* Somebody lives there: refused.  Somebody died there: replaced. */
static void test_api_stale_socket(void **state)
{
	const struct api_server_config config = {.unix_path = api_rig_path};
	const struct loop_config loop_config = {.entries = 8};
	struct api_server *server;
	struct loop *loop;
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
	assert_non_null(strstr(error.text, api_rig_path));
	host_destroy(host);
	loop_destroy(loop);

	snprintf(other, sizeof(other), "%s/other.sock", api_rig_directory);
	pid = api_rig_start(other, &end);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	close(end);
	assert_int_equal(access(other, F_OK), 0);
	pid = api_rig_start(other, &end);
	api_rig_stop(pid, end);
	assert_int_equal(access(other, F_OK), -1);
}

static void test_api_path_is_no_socket(void **state)
{
	const struct loop_config loop_config = {.entries = 8};
	struct api_server_config config = {.unix_path = api_rig_directory};
	struct api_server *server;
	struct loop *loop;
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
	snprintf(other, sizeof(other), "%s/busy.sock", api_rig_directory);
	pid = api_rig_start(other, &end);
	busy = http_connect(other);
	http_say(busy, add);
	follower = http_connect(other);
	http_say(follower, "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n");
	http_wait(follower, ":\n\n", buffer, sizeof(buffer));
	api_rig_stop(pid, end);
	http_receive(busy, &answer);
	assert_int_equal(answer.status, 0);
	http_forget(&answer);
	close(busy);
	close(follower);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_api_body_too_large),
		cmocka_unit_test(test_api_chunks_too_large),
		cmocka_unit_test(test_api_largest_body),
		cmocka_unit_test(test_api_headers_too_large),
		cmocka_unit_test(test_api_not_http),
		cmocka_unit_test(test_api_connections),
		cmocka_unit_test(test_api_roles),
		cmocka_unit_test(test_api_stale_socket),
		cmocka_unit_test(test_api_path_is_no_socket),
		cmocka_unit_test(test_api_end_while_busy),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests_name("api-server", tests, api_rig_setup,
					   api_rig_teardown);
}
