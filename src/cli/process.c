/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process.c - penstock process add | update | release | list | stats
 *
 * What can be told without penstockd is told before it is asked: an SLA's
 * words, numbers, what is missing.
 */
#include "cli/args.h"
#include "cli/ask.h"
#include "cli/list.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/body.h"
#include "os/users.h"
#include "sla/choose.h"
#include "sla/sla.h"

enum {
	SLA,
	LIMIT,
	BURST,
	WEIGHT,
	NAME,
	IOPRIO,
	MATCH,
	BEST_EFFORT,
	VDEV,
	VHOST_USER,
	SESSION
};

#define OPTIONS_OF_BOTH \
	[SLA] = {"sla", "SLA", \
		 "what is promised, as \"iops >= 500, latency <= 2 ms\""}, \
	[LIMIT] = \
		{"limit", "LIMITS", \
		 "the most it gets, as \"iops 2000, write bandwidth 10 MB/s\", or none"}, \
	[BURST] = {"burst", "TIME", \
		   "how far work may run ahead of a limit, as \"100 ms\""}, \
	[WEIGHT] = {"weight", "N", "share of what nobody is promised (1)"}, \
	[NAME] = {"name", "NAME", "for listings"}, \
	[IOPRIO] = {"ioprio", "be/N", \
		    "its requests are those of this I/O priority"}, \
	[MATCH] = {"match", "uid=N", \
		   "it is who connects by NBD as this uid, gid or pid"}, \
	[BEST_EFFORT] = {"best-effort", NULL, \
			 "take it even if the promise can't be kept"}

static const struct cli_option add_options[] = {
	OPTIONS_OF_BOTH,
	[VDEV] = {"vdev", "NAME",
		  "the vdev that it uses, or auto[:POLICY]; needed"},
	[VHOST_USER] = {"vhost-user", "PATH", "a socket of its own"},
	[SESSION] = {"session", NULL,
		     "release it when its connection has ended"},
	{NULL, NULL, NULL},
};
static const struct cli_option update_options[] = {
	OPTIONS_OF_BOTH,
	{NULL, NULL, NULL},
};

/* {"iops", "read_bandwidth_bytes_per_s", ..., "burst_ns"} as words. */
static void show_limit(const json_t *thing, const char *key, char *cell,
		       size_t size)
{
	json_t *limits = (json_t *)(uintptr_t)table_get(thing, key);
	const char *name, *last;
	const json_t *limit;
	size_t length = 0;

	snprintf(cell, size, "-");
	json_object_foreach(limits, name, limit)
	{
		char value[TABLE_CELL_MAX];
		size_t word = strlen(name);

		last = strstr(name, "_bytes_per_s");
		if (last) {
			word = (size_t)(last - name);
			show_rate(limits, name, value, sizeof(value));
		} else if (strcmp(name, "burst_ns") == 0) {
			word = strlen("burst");
			show_duration(limits, name, value, sizeof(value));
		} else {
			show_number(limits, name, value, sizeof(value));
		}
		if (length < size)
			length += (size_t)snprintf(
				cell + length, size - length, "%s%.*s %s",
				length ? ", " : "", (int)word, name, value);
	}
	for (; *cell; cell++)
		if (*cell == '_')
			*cell = ' ';
}

static const struct list_field process_fields[] = {
	{"Process", show_number, "pasid"},
	{"Name", show_text, "name"},
	{"Vdev", show_text, "vdev"},
	{"State", show_text, "state"},
	{"Reason", show_text, "reason"},
	{"Error", show_text, "error"},
	{"Promised", show_text, "sla_text"},
	{"Derived", show_list, "derived"},
	{"Limit", show_limit, "limit"},
	{"Weight", show_number, "weight"},
	{"I/O priority", show_text, "ioprio"},
	{"told apart by", show_text, "match"},
	{"vhost-user", show_text, "vhost_user"},
	{"Kept", show_kept, "kept"},
	{"Windows", show_number, "windows"},
	{"Broken", show_number, "windows_broken"},
	{"IOPS", show_number, "delivered.iops"},
	{"Bandwidth", show_rate, "delivered.bandwidth_bytes_per_s"},
	{"Waiting", show_number, "queued"},
	{"In flight", show_number, "in_flight"},
	{"Throttled", show_number, "counters.throttled"},
	{NULL, NULL, NULL},
};

static int check_sla(const char *text)
{
	struct error error;
	struct sla sla;

	if (strcmp(text, "none") == 0 || sla_parse(text, &sla, &error) == 0)
		return CLI_DONE;
	return cli_error(CLI_USAGE, "--sla: %s", error.text);
}

/* Users and groups by name are looked up here: penstockd takes numbers, for it
 * waits for nobody's directory.  NULL after saying why not. */
static json_t *match_value(const char *key, const char *text)
{
	const bool is_user = strcmp(key, "uid") == 0;
	const bool is_group = strcmp(key, "gid") == 0;
	uint32_t id;
	int ret;

	if ((!is_user && !is_group) || isdigit((unsigned char)text[0]))
		return json_string(text);
	ret = is_user ? users_find(text, &id) : users_find_group(text, &id);
	if (ret == 0)
		return json_integer(id);
	cli_error(CLI_USAGE, "--match: there is no %s '%s' on this machine%s%s",
		  is_user ? "user" : "group", text, ret == -ENOENT ? "" : ": ",
		  ret == -ENOENT ? "" : strerror(-ret));
	return NULL;
}

static int fill_match(const char *text, json_t *body)
{
	const char *equals = strchr(text, '=');
	json_t *value;
	char key[16];

	if (strcmp(text, "none") == 0) {
		cli_set_text(body, "match", text);
		return CLI_DONE;
	}
	if (!equals || (size_t)(equals - text) >= sizeof(key))
		return cli_error(
			CLI_USAGE,
			"--match: as uid=1000, gid=NAME, pid=N or none, not '%s'",
			text);
	snprintf(key, sizeof(key), "%.*s", (int)(equals - text), text);
	value = match_value(key, equals + 1);
	if (!value)
		return CLI_USAGE;
	json_object_set_new(body, "match", json_pack("{s:o}", key, value));
	return CLI_DONE;
}

/* The fields that add and update share.  Returns an exit status. */
static int fill_body(const char *const *options, json_t *body)
{
	struct error error;
	uint64_t weight;

	if (options[SLA] && check_sla(options[SLA]) != CLI_DONE)
		return CLI_USAGE;
	cli_set_text(body, "sla", options[SLA]);
	cli_set_text(body, "limit", options[LIMIT]);
	cli_set_text(body, "burst", options[BURST]);
	cli_set_text(body, "name", options[NAME]);
	if (options[WEIGHT]) {
		if (cli_parse_number("--weight", options[WEIGHT], 1,
				     API_WEIGHT_MAX, &weight, &error) < 0)
			return cli_error(CLI_USAGE, "%s", error.text);
		json_object_set_new(body, "weight",
				    json_integer((json_int_t)weight));
	}
	if (options[MATCH] && options[IOPRIO])
		return cli_error(CLI_USAGE, "one of --match and --ioprio");
	if (options[MATCH] && fill_match(options[MATCH], body) != CLI_DONE)
		return CLI_USAGE;
	if (options[IOPRIO] && strcmp(options[IOPRIO], "none") == 0)
		cli_set_text(body, "match", "none");
	else if (options[IOPRIO])
		json_object_set_new(
			body, "match",
			json_pack("{s:s}", "ioprio", options[IOPRIO]));
	if (options[BEST_EFFORT])
		json_object_set_new(body, "best-effort", json_true());
	return CLI_DONE;
}

static int process_add(struct cli *cli, const struct cli_args *args)
{
	const char *const *options = args->options;
	const char *vdev = options[VDEV];
	enum choose_policy policy;
	json_t *body, *process;
	struct error error;
	int status = list_check_pasid(args->operands[0]);

	if (status != CLI_DONE)
		return status;
	if (!vdev)
		return cli_error(
			CLI_USAGE,
			"--vdev is missing: see 'penstock process add --help'");
	if (choose_is_asked(vdev) && choose_parse(vdev, &policy, &error) < 0)
		return cli_error(CLI_USAGE, "--vdev: %s", error.text);
	body = json_object();
	status = fill_body(options, body);
	if (status != CLI_DONE) {
		json_decref(body);
		return status;
	}
	json_object_set_new(body, "pasid",
			    json_integer(atol(args->operands[0])));
	cli_set_text(body, "vdev", vdev);
	cli_set_text(body, "vhost-user", options[VHOST_USER]);
	if (options[SESSION])
		json_object_set_new(body, "session", json_true());
	status = cli_ask(cli, "POST", "/v1/processes", body, &process);
	return status == CLI_DONE ? list_process_result(cli, "added", process) :
				    status;
}

static int process_update(struct cli *cli, const struct cli_args *args)
{
	json_t *body, *process;
	int status = list_check_pasid(args->operands[0]);

	if (status != CLI_DONE)
		return status;
	body = json_object();
	status = fill_body(args->options, body);
	if (status == CLI_DONE && json_object_size(body) == 0)
		status = cli_error(
			CLI_USAGE,
			"nothing to change: see 'penstock process update --help'");
	if (status != CLI_DONE) {
		json_decref(body);
		return status;
	}
	status = cli_ask_one(cli, "PATCH", "processes", args->operands[0], "",
			     body, &process);
	return status == CLI_DONE ?
		list_process_result(cli, "changed", process) :
		status;
}

static int process_release(struct cli *cli, const struct cli_args *args)
{
	const int status = list_check_pasid(args->operands[0]);

	return status == CLI_DONE ?
		list_delete(cli, "processes", args->operands[0], "process",
			    "released") :
		status;
}

static int process_list(struct cli *cli, const struct cli_args *args)
{
	(void)args;
	return list_ask(cli, "/v1/processes", list_processes);
}

static const struct table_column latency_columns[] = {
	{"LATENCY", false, show_text, "title"},
	{"REQUESTS", true, show_number, "count"},
	{"P50", true, show_duration, "p50_ns"},
	{"P90", true, show_duration, "p90_ns"},
	{"P95", true, show_duration, "p95_ns"},
	{"P99", true, show_duration, "p99_ns"},
	{"P99.9", true, show_duration, "p99_9_ns"},
	{"MAX", true, show_duration, "max_ns"},
	{NULL, false, NULL, NULL},
};

static const struct table_column spec_columns[] = {
	{"SPECIFICATION", false, show_text, "text"},
	{"KEPT", false, show_kept, "kept"},
	{"CONFORMING", true, show_number, "conforming"},
	{"LATE", true, show_number, "late"},
	{NULL, false, NULL, NULL},
};

static void print_latency(const json_t *process)
{
	static const struct {
		const char *key, *title;
	} rows[] = {
		{"latency.read", "read, last 10 s"},
		{"latency.write", "write, last 10 s"},
		{"latency_total.read", "read, ever"},
		{"latency_total.write", "write, ever"},
	};
	json_t *table = json_array();

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		json_t *row = json_copy(
			(json_t *)(uintptr_t)table_get(process, rows[i].key));

		if (!json_is_object(row)) {
			json_decref(row);
			continue;
		}
		json_object_set_new(row, "title", json_string(rows[i].title));
		json_array_append_new(table, row);
	}
	table_print(latency_columns, table);
	json_decref(table);
}

static int process_stats(struct cli *cli, const struct cli_args *args)
{
	json_t *process;
	int status = list_check_pasid(args->operands[0]);

	if (status != CLI_DONE)
		return status;
	status = cli_ask_one(cli, "GET", "processes", args->operands[0],
			     "/stats", NULL, &process);
	if (status != CLI_DONE)
		return status;
	if (cli->json)
		return list_json(process);
	list_fields(process_fields, process);
	if (json_array_size(json_object_get(process, "specs")) > 0) {
		printf("\n");
		table_print(spec_columns, json_object_get(process, "specs"));
	}
	printf("\n");
	print_latency(process);
	json_decref(process);
	return CLI_DONE;
}

const struct cli_verb cli_process_verbs[] = {
	{"process", "list", NULL, 0, 0, NULL, process_list,
	 "processes: promised, delivered, kept"},
	{"process", "add", "PASID", 1, 1, add_options, process_add,
	 "bind a process to a vdev with a promise"},
	{"process", "update", "PASID", 1, 1, update_options, process_update,
	 "change it while it runs; --sla replaces the whole promise"},
	{"process", "release", "PASID", 1, 1, NULL, process_release,
	 "take it off its vdev"},
	{"process", "stats", "PASID", 1, 1, NULL, process_stats,
	 "everything that was counted of one"},
	{NULL, NULL, NULL, 0, 0, NULL, NULL, NULL},
};
