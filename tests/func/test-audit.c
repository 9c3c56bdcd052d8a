/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-audit.c - who changed what, and who was refused: the file and its lines
 *
 * Contract: roles; every change and every refusal leaves a trace, strangers
 * cannot push it out of the file, and a full disk is said.
 */
#include "api/audit.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "os/loop.h"

#define SIZE	4096U

static char directory[32], path[64], said[512];
static struct loop *loop;
static struct audit *audit;
static const struct api_who root = {
	.role = API_ROLE_ADMINISTER,
	.pid = 7,
};
static const struct audit_request change = {&root, "POST", "/v1/processes"};

static void say(const char *text)
{
	snprintf(said, sizeof(said), "%s", text);
}

static void start(void)
{
	const struct audit_config config = {
		.loop = loop,
		.path = path,
		.size_bytes = SIZE,
		.keep = 2,
		.say = say,
	};
	struct error error;

	assert_int_equal(audit_open(&config, &audit, &error), 0);
}

static int setup(void **state)
{
	const struct loop_config config = {.entries = 8};
	struct error error;

	(void)state;
	strcpy(directory, "/tmp/test-audit.XXXXXX");
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/audit.log", directory);
	said[0] = '\0';
	assert_int_equal(loop_create(&config, &loop, &error), 0);
	start();
	return 0;
}

static int teardown(void **state)
{
	char command[64];

	(void)state;
	audit_close(audit);
	loop_destroy(loop);
	snprintf(command, sizeof(command), "rm -r %s", directory);
	return system(command);
}

/* All lines of a file, each JSON; NULL: it is not there. */
static json_t *lines_of(const char *name)
{
	FILE *file = fopen(name, "re");
	json_t *lines, *line;
	char *text = NULL;
	size_t room = 0;

	if (!file)
		return NULL;
	lines = json_array();
	while (getline(&text, &room, file) > 0) {
		line = json_loads(text, 0, NULL);
		if (!line)
			fail_msg("no JSON: %s", text);
		json_array_append_new(lines, line);
	}
	free(text);
	fclose(file);
	return lines;
}

static json_t *line_at(size_t index)
{
	json_t *lines = lines_of(path), *line;

	line = json_incref(json_array_get(lines, index));
	json_decref(lines);
	assert_non_null(line);
	return line;
}

static void is_text(const json_t *value, const char *key, const char *text)
{
	const char *have = json_string_value(json_object_get(value, key));

	assert_non_null(have);
	assert_string_equal(have, text);
}

static void test_audit_has_asked_and_answered(void **state)
{
	json_t *body = json_pack("{s:i, s:s}", "pasid", 5, "sla", "iops >= 5");
	json_t *line;
	uint64_t number;

	(void)state;
	number = audit_asked(audit, &change, body);
	/* It is there before anything is done. */
	line = line_at(0);
	is_text(line, "stage", "asked");
	is_text(line, "method", "POST");
	is_text(line, "path", "/v1/processes");
	assert_true(json_equal(json_object_get(line, "body"), body));
	assert_int_equal(json_integer_value(json_object_get(
				 json_object_get(line, "who"), "pid")),
			 7);
	json_decref(line);
	audit_answered(audit, number, &change, 409, "there is no room");
	line = line_at(1);
	is_text(line, "stage", "answered");
	is_text(line, "error", "there is no room");
	assert_int_equal(json_integer_value(json_object_get(line, "id")),
			 number);
	assert_int_equal(json_integer_value(json_object_get(line, "status")),
			 409);
	json_decref(line);
	json_decref(body);
}

/* Secrets are left out, however deep; long texts are cut between characters. */
static void test_audit_body_without_secrets(void **state)
{
	json_t *body = json_object(), *line, *wrote;
	char text[2 * AUDIT_TEXT_MAX];
	const char *cut;

	(void)state;
	for (size_t i = 0; i + 2 < sizeof(text); i += 2)
		memcpy(text + i, "\xc3\xa4", 3);
	json_object_set_new(body, "name", json_string(text));
	json_object_set_new(body, "psk", json_string("123"));
	json_object_set_new(body, "tls",
			    json_pack("{s:s}", "Password", "hidden"));
	audit_asked(audit, &change, body);
	line = line_at(0);
	wrote = json_object_get(line, "body");
	is_text(wrote, "psk", "***");
	is_text(json_object_get(wrote, "tls"), "Password", "***");
	cut = json_string_value(json_object_get(wrote, "name"));
	assert_true(strlen(cut) <= AUDIT_TEXT_MAX + 3);
	json_decref(line);
	json_decref(body);
}

static void test_audit_rotates(void **state)
{
	char older[96], oldest[96];
	struct stat status;
	json_t *lines;

	(void)state;
	snprintf(older, sizeof(older), "%s.1", path);
	snprintf(oldest, sizeof(oldest), "%s.3", path);
	for (unsigned int i = 0; i < 200; i++) {
		audit_changed(audit, "c.yaml:1", "something");
		if (i % 50 == 0)
			loop_run_once(loop, loop_clock_ns() + 1000000);
	}
	assert_int_equal(stat(older, &status), 0);
	assert_true(status.st_size <= SIZE);
	lines = lines_of(older);
	assert_true(json_array_size(lines) > 10);
	json_decref(lines);
	assert_int_equal(access(oldest, F_OK), -1);
}

/* Strangers make as many as they like: what others did stays readable. */
static void test_audit_refusals_are_bounded(void **state)
{
	const struct api_who stranger = {
		.is_remote = true,
		.address = "192.0.2.1:4",
	};
	const struct audit_request request = {.who = &stranger};
	unsigned int wrote = 0;
	json_t *lines, *line;

	(void)state;
	for (unsigned int i = 0; i < 10000; i++)
		wrote += audit_refused(audit, &request, 0, "no");
	assert_true(wrote >= AUDIT_REFUSALS_BURST);
	assert_true(wrote < 5000);
	/* A change is never left out. */
	audit_reopen(audit);
	audit_asked(audit, &change, NULL);
	while (!audit_refused(audit, &request, 0, "no"))
		loop_run_once(loop, loop_clock_ns() + 10000000);
	/* How many were not written is. */
	lines = lines_of(path);
	line = json_array_get(lines, json_array_size(lines) - 1);
	is_text(line, "stage", "refused");
	assert_int_equal(
		json_integer_value(json_object_get(line, "refused_before")) > 0,
		1);
	is_text(json_object_get(line, "who"), "address", "192.0.2.1:4");
	json_decref(lines);
}

/* Whoever wrote last did not come to its end: the next line is one again. */
static void test_audit_after_a_torn_line(void **state)
{
	char *text = NULL;
	size_t room = 0;
	json_t *line;
	FILE *file;

	(void)state;
	audit_close(audit);
	file = fopen(path, "we");
	fputs("{\"a\":1}\n{\"b", file);
	fclose(file);
	start();
	audit_changed(audit, "c.yaml:1", "something");
	file = fopen(path, "re");
	for (unsigned int i = 0; i < 3; i++)
		assert_true(getline(&text, &room, file) > 0);
	line = json_loads(text, 0, NULL);
	assert_non_null(line);
	is_text(line, "stage", "changed");
	json_decref(line);
	free(text);
	fclose(file);
}

static void test_audit_moved_away(void **state)
{
	char moved[96];
	json_t *lines;

	(void)state;
	snprintf(moved, sizeof(moved), "%s/moved", directory);
	audit_changed(audit, "c.yaml:1", "before");
	assert_int_equal(rename(path, moved), 0);
	audit_changed(audit, "c.yaml:1", "still there");
	audit_reopen(audit);
	audit_changed(audit, "c.yaml:1", "after");
	lines = lines_of(moved);
	assert_int_equal(json_array_size(lines), 2);
	json_decref(lines);
	lines = lines_of(path);
	assert_int_equal(json_array_size(lines), 1);
	json_decref(lines);
}

/* A disk that is full: said once; how many are missing is written later. */
static void test_audit_disk_full(void **state)
{
	struct rlimit before, none;
	json_t *lines;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	audit_changed(audit, "c.yaml:1", "one");
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	none = before;
	none.rlim_cur = 100;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
	for (unsigned int i = 0; i < 3; i++)
		audit_changed(audit, "c.yaml:1", "lost");
	assert_non_null(strstr(said, "is not recorded"));
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	audit_changed(audit, "c.yaml:1", "two");
	assert_non_null(strstr(said, "can be written again"));
	audit_reopen(audit);
	lines = lines_of(path);
	is_text(json_array_get(lines, json_array_size(lines) - 1), "text",
		"two");
	assert_int_equal(
		json_integer_value(json_object_get(
			json_array_get(lines, json_array_size(lines) - 2),
			"lines")),
		3);
	json_decref(lines);
}

static void test_audit_is_a_file(void **state)
{
	struct audit_config config = {
		.loop = loop,
		.path = "/dev/null",
		.size_bytes = SIZE,
		.keep = 1,
		.say = say,
	};
	struct audit *none;
	struct error error;

	(void)state;
	assert_int_equal(audit_open(&config, &none, &error), -EINVAL);
	assert_string_equal(error.text,
			    "audit: /dev/null: is there and is no file");
	config.path = "/proc/nowhere/audit.log";
	assert_int_equal(audit_open(&config, &none, &error), -ENOENT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_audit_has_asked_and_answered),
		TEST(test_audit_body_without_secrets),
		TEST(test_audit_rotates),
		TEST(test_audit_refusals_are_bounded),
		TEST(test_audit_after_a_torn_line),
		TEST(test_audit_moved_away),
		TEST(test_audit_disk_full),
		TEST(test_audit_is_a_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
