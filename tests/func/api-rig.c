/* SPDX-License-Identifier: Apache-2.0 */
/* api-rig.c - see api-rig.h */
#include "api-rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "api/server.h"
#include "fake-host.h"
#include "http.h"
#include "os/loop.h"

char api_rig_directory[] = "/tmp/penstock-api-XXXXXX";
char api_rig_path[64];
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
		{API_ROLE_OPERATE, false, 4001, NULL},
		{API_ROLE_OPERATE, true, 4100, NULL},
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

pid_t api_rig_start(const char *at, int *ret_end)
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

void api_rig_stop(pid_t pid, int end)
{
	int status;

	close(end);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int api_rig_setup(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(api_rig_directory));
	chmod(api_rig_directory, 0755);
	snprintf(api_rig_path, sizeof(api_rig_path), "%s/sub/api.sock",
		 api_rig_directory);
	server_pid = api_rig_start(api_rig_path, &server_stdin);
	return 0;
}

int api_rig_teardown(void **state)
{
	char sub[64];

	(void)state;
	api_rig_stop(server_pid, server_stdin);
	/* It has taken its socket with it. */
	assert_int_equal(access(api_rig_path, F_OK), -1);
	snprintf(sub, sizeof(sub), "%s/sub", api_rig_directory);
	assert_int_equal(rmdir(sub), 0);
	assert_int_equal(rmdir(api_rig_directory), 0);
	return 0;
}

/* --- Asking ------------------------------------------------------------- */

void api_rig_check(const char *method, const char *target, const char *body,
		   int status)
{
	struct http_answer answer;

	http_ask(api_rig_path, method, target, body, &answer);
	if (answer.status != status)
		fail_msg("%s %s: %d instead of %d: %s", method, target,
			 answer.status, status, answer.body);
	http_forget(&answer);
}

void api_rig_refused(const char *method, const char *target, const char *body,
		     int status, const char *code, const char *text)
{
	struct http_answer answer;
	const char *got_code, *got_text;

	http_ask(api_rig_path, method, target, body, &answer);
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
