/* SPDX-License-Identifier: Apache-2.0 */
/* host-rig.c - see host-rig.h */
#include "host-rig.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/container.h"
#include "host/host-data.h"

#define PATIENCE_NS	UINT64_C(30000000000)

const char *rig_program;
uint32_t rig_uid, rig_gid;

int rig_arguments(int argc, char **argv)
{
	if (argc < 2)
		return 77;
	/* Each test has a working directory of its own. */
	rig_program = realpath(argv[1], NULL);
	return rig_program ? 0 : 1;
}

int rig_setup(void **state)
{
	const struct loop_config config = {.entries = 128};
	struct rig *rig = calloc(1, sizeof(*rig));
	struct error why;

	strcpy(rig->directory, "/tmp/test-host.XXXXXX");
	assert_non_null(mkdtemp(rig->directory));
	assert_int_equal(chdir(rig->directory), 0);
	assert_int_equal(loop_create(&config, &rig->loop, &why), 0);
	*state = rig;
	return 0;
}

static void rig_close(struct rig *rig)
{
	host_destroy(rig->host);
	rig->host = NULL;
	config_free(rig->config);
	rig->config = NULL;
}

int rig_teardown(void **state)
{
	struct rig *rig = *state;
	char command[64];

	if (rig->host)
		rig_stop(rig);
	json_decref(rig->value);
	loop_destroy(rig->loop);
	assert_int_equal(chdir("/"), 0);
	snprintf(command, sizeof(command), "rm -rf %s", rig->directory);
	assert_int_equal(system(command), 0);
	free(rig);
	return 0;
}

static void on_ready(void *arg)
{
	((struct rig *)arg)->is_ready = true;
}

static void on_changed(void *arg, const char *by, const char *text)
{
	struct rig *rig = arg;
	const size_t length = strlen(rig->changed);

	snprintf(rig->changed + length, sizeof(rig->changed) - length,
		 "%s: %s\n", by, text);
}

static void on_stopped(void *arg)
{
	((struct rig *)arg)->is_stopped = true;
}

static void on_answer(struct host_call *call, const struct host_reply *reply)
{
	struct rig *rig = container_of(call, struct rig, call);

	assert_false(rig->is_answered);
	rig->is_answered = true;
	rig->result = reply->result;
	snprintf(rig->text, sizeof(rig->text), "%s", reply->text);
	json_decref(rig->value);
	rig->value = json_incref(reply->value);
}

static bool is_ready(struct rig *rig, void *arg)
{
	(void)arg;
	return rig->is_ready;
}

static bool is_stopped(struct rig *rig, void *arg)
{
	(void)arg;
	return rig->is_stopped;
}

static bool is_answered(struct rig *rig, void *arg)
{
	(void)arg;
	return rig->is_answered;
}

void rig_start(struct rig *rig, const char *text, bool wait)
{
	const struct host_hooks hooks = {
		.ready = on_ready,
		.stopped = on_stopped,
		.changed = on_changed,
		.arg = rig,
	};
	const struct host_program program = {rig_program, rig_uid, rig_gid};
	struct error why = {""};
	char *expanded = malloc(strlen(text) * 8 + 1);
	char *to = expanded;

	for (; *text; text++) {
		if (*text == '@')
			to = stpcpy(to, rig->directory);
		else
			*to++ = *text;
		assert_true(to < expanded + 16000);
	}
	*to = '\0';
	rig->is_ready = false;
	rig->is_stopped = false;
	rig->call.done = on_answer;
	if (config_parse("f", expanded, strlen(expanded), &rig->config, &why) <
		    0 ||
	    host_create(rig->loop, rig->config, &program, &hooks, &rig->host,
			&why) < 0 ||
	    host_start(rig->host, &why) < 0)
		fail_msg("%s", why.text);
	free(expanded);
	if (wait)
		rig_wait(rig, is_ready, NULL);
}

void rig_abandon(struct rig *rig)
{
	rig_close(rig);
}

void rig_killed_after(struct rig *rig, const char *text, unsigned int steps,
		      void (*verb)(struct rig *rig))
{
	const struct loop_config config = {.entries = 128};
	struct error why;
	int status;
	pid_t pid;

	rig_abandon(rig);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (loop_create(&config, &rig->loop, &why) < 0)
			_exit(1);
		rig_start(rig, text, true);
		verb(rig);
		while (steps--)
			loop_run_once(rig->loop, loop_clock_ns() + 5000000);
		kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	rig_start(rig, text, true);
}

void rig_stop(struct rig *rig)
{
	host_stop(rig->host);
	rig_wait(rig, is_stopped, NULL);
	rig_close(rig);
}

void rig_wait(struct rig *rig, bool (*condition)(struct rig *rig, void *arg),
	      void *arg)
{
	uint64_t until_ns = loop_clock_ns() + PATIENCE_NS;

	while (!condition(rig, arg)) {
		if (loop_clock_ns() > until_ns)
			fail_msg("waited in vain");
		loop_run_once(rig->loop, loop_clock_ns() + 10000000);
	}
}

void rig_answer(struct rig *rig, enum host_result expected)
{
	rig_wait(rig, is_answered, NULL);
	rig->is_answered = false;
	if (rig->result != expected)
		fail_msg("%d, not %d: %s", rig->result, expected, rig->text);
}

bool rig_has_event(struct rig *rig, const char *kind, const char *text)
{
	json_t *events = host_events(rig->host, 0), *event;
	bool found = false;
	size_t i;

	json_array_foreach(events, i, event)
	{
		const char *has =
			json_string_value(json_object_get(event, "text"));

		found |= strcmp(json_string_value(
					json_object_get(event, "kind")),
				kind) == 0 &&
			strstr(has, text);
	}
	json_decref(events);
	return found;
}

struct awaited {
	const char *kind, *text;
};

static bool has_event(struct rig *rig, void *arg)
{
	struct awaited *awaited = arg;

	return rig_has_event(rig, awaited->kind, awaited->text);
}

void rig_wait_event(struct rig *rig, const char *kind, const char *text)
{
	struct awaited awaited = {kind, text};

	rig_wait(rig, has_event, &awaited);
}

struct promised {
	uint32_t pasid;
	const char *text;
};

static bool is_promised(struct rig *rig, void *arg)
{
	const struct promised *promised = arg;
	json_t *process = host_process(rig->host, promised->pasid);
	bool is_it;

	if (!process || !promised->text) {
		json_decref(process);
		return !process && !promised->text;
	}
	is_it = strcmp(json_string_value(rig_at(process, "sla_text")),
		       promised->text) == 0 &&
		strcmp(json_string_value(rig_at(process, "state")), "bound") ==
			0 &&
		!registry_process(rig->host->registry, promised->pasid)
			 ->is_writing;
	json_decref(process);
	return is_it;
}

void rig_wait_promised(struct rig *rig, uint32_t pasid, const char *text)
{
	struct promised promised = {pasid, text};

	rig_wait(rig, is_promised, &promised);
}

unsigned int rig_ops(const char *text)
{
	FILE *ops = fopen("ops", "r");
	char line[4096];
	unsigned int count = 0;

	while (ops && fgets(line, sizeof(line), ops))
		count += strstr(line, text) != NULL;
	if (ops)
		fclose(ops);
	return count;
}

void rig_tell(const char *file, const char *op)
{
	FILE *told = fopen(file, "w");

	assert_non_null(told);
	assert_true(fputs(op, told) >= 0);
	assert_int_equal(fclose(told), 0);
}

void rig_forget_ops(void)
{
	unlink("ops");
}

json_t *rig_at(json_t *json, const char *path)
{
	char copy[128], *rest = copy, *word;

	snprintf(copy, sizeof(copy), "%s", path);
	while ((word = strsep(&rest, ".")) != NULL) {
		json = json_is_array(json) ?
			json_array_get(json, (size_t)atoi(word)) :
			json_object_get(json, word);
		if (!json)
			fail_msg("no '%s' of '%s'", word, path);
	}
	return json;
}

long long rig_number(json_t *json, const char *path)
{
	long long number = json_integer_value(rig_at(json, path));

	json_decref(json);
	return number;
}

void rig_text_is(json_t *json, const char *path, const char *expected)
{
	assert_string_equal(json_string_value(rig_at(json, path)), expected);
	json_decref(json);
}

bool rig_is_absent(json_t *json, const char *key)
{
	bool is_absent = json && !json_object_get(json, key);

	json_decref(json);
	return is_absent;
}

pid_t rig_endpoint(struct rig *rig)
{
	return (pid_t)rig_number(host_status(rig->host), "endpoints.0.pid");
}

int rig_dial(struct rig *rig, const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s",
		 rig->directory, name);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static bool is_serving(struct rig *rig, void *arg)
{
	json_t *vdev = host_vdev(rig->host, *(const char **)arg);
	bool serves = strcmp(json_string_value(rig_at(vdev, "state")),
			     "serving") == 0;

	json_decref(vdev);
	return serves;
}

void rig_wait_serving(struct rig *rig, const char *vdev)
{
	rig_wait(rig, is_serving, &vdev);
}

json_t *rig_combined(struct rig *rig)
{
	json_t *vdev = host_vdev(rig->host, "v0");
	json_t *sum = json_incref(rig_at(vdev, "combined"));

	json_decref(vdev);
	return sum;
}
