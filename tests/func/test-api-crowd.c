/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-api-crowd.c - no user keeps others from the REST server by holding
 * connections
 *
 * The server runs in a child, on a host that is only data.  Who connects is
 * changed by the effective user, which the kernel notes at connect: needs root.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "api/server.h"
#include "api-rig.h"
#include "http.h"

#define OPERATOR	4001U	/* as api-rig.c grants */
#define ASK		"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n"

struct crowd {
	char directory[32], path[64];
	pid_t pid;
	int end;
	int fds[API_CONNECTIONS_MAX];
	unsigned int count;
};

static int setup(void **state)
{
	struct crowd *crowd = calloc(1, sizeof(*crowd));

	strcpy(crowd->directory, "/tmp/test-api.XXXXXX");
	assert_non_null(mkdtemp(crowd->directory));
	chmod(crowd->directory, 0755);
	snprintf(crowd->path, sizeof(crowd->path), "%s/api.sock",
		 crowd->directory);
	crowd->pid = api_rig_start(crowd->path, &crowd->end);
	*state = crowd;
	return 0;
}

static int teardown(void **state)
{
	struct crowd *crowd = *state;

	while (crowd->count > 0)
		close(crowd->fds[--crowd->count]);
	api_rig_stop(crowd->pid, crowd->end);
	assert_int_equal(rmdir(crowd->directory), 0);
	free(crowd);
	return 0;
}

static int connect_as(const struct crowd *crowd, uid_t uid)
{
	int fd;

	assert_int_equal(seteuid(uid), 0);
	fd = http_connect(crowd->path);
	assert_int_equal(seteuid(0), 0);
	return fd;
}

/* Come in and stay. */
static void stay(struct crowd *crowd, uid_t uid)
{
	static char buffer[65536];
	int fd = connect_as(crowd, uid);

	/* An answer proves that it has its place. */
	http_say(fd, ASK);
	http_wait(fd, "}\n", buffer, sizeof(buffer));
	crowd->fds[crowd->count++] = fd;
}

static void is_served(const struct crowd *crowd, uid_t uid)
{
	struct http_answer answer;
	int fd = connect_as(crowd, uid);

	http_say(
		fd,
		"GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	http_receive(fd, &answer);
	assert_int_equal(answer.status, 200);
	http_forget(&answer);
	close(fd);
}

static void is_refused(const struct crowd *crowd, uid_t uid, const char *text)
{
	struct http_answer answer;
	int fd = connect_as(crowd, uid);

	http_receive(fd, &answer);
	assert_int_equal(answer.status, 503);
	assert_string_equal(
		json_string_value(json_object_get(answer.json, "code")),
		"busy");
	assert_non_null(
		strstr(json_string_value(json_object_get(answer.json, "error")),
		       text));
	/* What it says only now takes nothing of the answer away. */
	http_say(fd, ASK);
	http_forget(&answer);
	close(fd);
}

static void test_crowd_of_one_user(void **state)
{
	struct crowd *crowd = *state;

	for (unsigned int i = 0; i < API_CONNECTIONS_OF_USER; i++)
		stay(crowd, 4002);
	is_refused(crowd, 4002, "you have 16 connections open");
	is_served(crowd, 4003);
	is_served(crowd, OPERATOR);
	is_served(crowd, 0);
}

static void test_crowd_of_many_users(void **state)
{
	struct crowd *crowd = *state;
	unsigned int most = API_CONNECTIONS_MAX - API_CONNECTIONS_KEPT;

	for (unsigned int i = 0; i < most; i++)
		stay(crowd, 5000 + i / API_CONNECTIONS_OF_USER);
	is_refused(crowd, 6000, "the rest is kept for root and operators");
	for (unsigned int i = 0; i < API_CONNECTIONS_KEPT - 1; i++)
		stay(crowd, i % 2 ? OPERATOR : 0);
	is_served(crowd, OPERATOR);
	is_served(crowd, 0);
}

/* Who leaves makes room. */
static void test_crowd_makes_room(void **state)
{
	struct crowd *crowd = *state;
	static char buffer[65536];
	int fd;

	for (unsigned int i = 0; i < API_CONNECTIONS_MAX; i++)
		stay(crowd, 0);
	/* All are taken: it waits. */
	fd = connect_as(crowd, 4002);
	http_say(fd, ASK);
	close(crowd->fds[--crowd->count]);
	while (crowd->count > 40)
		close(crowd->fds[--crowd->count]);
	http_wait(fd, "}\n", buffer, sizeof(buffer));
	assert_non_null(strstr(buffer, "200 OK"));
	close(fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_crowd_of_one_user),
		TEST(test_crowd_of_many_users),
		TEST(test_crowd_makes_room),
	};

	if (geteuid() != 0)
		return 77; /* connecting as others needs root */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
