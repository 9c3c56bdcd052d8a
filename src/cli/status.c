/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status.c - penstock status: everything that is promised, and whether it is
 * kept
 */
#include "cli/ask.h"
#include "cli/list.h"

#include <string.h>

static const struct table_column endpoint_columns[] = {
	{"ENDPOINT", false, show_text, "name"},
	{"STATE", false, show_text, "state"},
	{"PID", true, show_number, "pid"},
	{"RESTARTS", true, show_number, "restarts"},
	{"PROMISED", false, show_text, "combined_text"},
	{"ERROR", false, show_text, "error"},
	{NULL, false, NULL, NULL},
};

static void print_section(const struct table_column *columns,
			  const json_t *things)
{
	if (json_array_size(things) == 0)
		return;
	printf("\n");
	table_print(columns, things);
}

static json_int_t count(const json_t *status, const char *key)
{
	return json_integer_value(table_get(status, key));
}

static void print_head(const json_t *status)
{
	char host[128];

	show_text(status, "host", host, sizeof(host));
	printf("%s: %lld promises kept, %lld broken, %lld with too few requests to say; %lld refused, %lld pending\n",
	       host, (long long)count(status, "processes.kept"),
	       (long long)count(status, "processes.broken"),
	       (long long)count(status, "processes.unknown"),
	       (long long)count(status, "processes.refused"),
	       (long long)count(status, "processes.pending"));
	if (json_is_false(json_object_get(status, "enforce")))
		printf("Promises are NOT enforced: 'penstock enforce on' turns enforcement on.\n");
}

static double share_percent(const json_t *thing, const char *key)
{
	return 100 * json_number_value(table_get(thing, key));
}

/* What its promises rest on, if that is little. */
static void print_device_note(const json_t *device)
{
	const char *name = json_string_value(json_object_get(device, "name"));
	const char *calibration =
		json_string_value(json_object_get(device, "calibration"));
	const char *state = json_string_value(json_object_get(device, "state"));
	const char *derived = NULL;

	if (!name || !calibration || !state)
		return;
	if (json_is_true(table_get(device, "admission.is_over")))
		printf("Device %s: %.0f %% of it is promised, it can hold %.0f %% now: not all of it will be kept.\n",
		       name, share_percent(device, "admission.promised_share"),
		       share_percent(device, "admission.allowed_share"));
	if (strcmp(calibration, "none") == 0 && strcmp(state, "ready") == 0)
		printf("Device %s is not measured: nothing can be promised of it before 'penstock device calibrate %s'.\n",
		       name, name);
	if (strcmp(calibration, "short") == 0)
		printf("Device %s was measured for a second only: 'penstock device calibrate %s' measures it well.\n",
		       name, name);
	if (json_is_false(table_get(device, "capacity.read_measured")))
		derived = "reads are not measured: a tenth of its writes";
	if (json_is_false(table_get(device, "capacity.write_measured")))
		derived = "writes are not measured: a tenth of its reads";
	if (derived)
		printf("Device %s: its %s is assumed ('penstock device calibrate %s', with space that is free, measures them).\n",
		       name, derived, name);
}

/* What is wrong with it, in a line. */
static void print_device_fault(const json_t *device)
{
	const char *name = json_string_value(json_object_get(device, "name"));
	const char *fault = json_string_value(json_object_get(device, "fault"));
	const char *state = json_string_value(json_object_get(device, "state"));
	const char *error = json_string_value(json_object_get(device, "error"));

	if (name && state && (fault || strcmp(state, "failed") == 0))
		printf("Device %s is %s: %s\n", name, fault ? fault : state,
		       error ? error : "it is tried again");
}

/* Space that is nearly out, and devices that are not there. */
static void print_pool_note(const json_t *pool)
{
	const char *name = json_string_value(json_object_get(pool, "name"));
	const char *state = json_string_value(json_object_get(pool, "state"));
	const json_int_t level = count(pool, "level_percent");
	char free_space[TABLE_CELL_MAX];

	if (!name || !state)
		return;
	show_size(pool, "free_bytes", free_space, sizeof(free_space));
	if (level >= 100)
		printf("Pool %s: it is full: what thin vdevs write where they have no space yet fails, or waits (on-error).\n",
		       name);
	else if (level > 0)
		printf("Pool %s: %lld %% of its space is used or reserved, %s is left.\n",
		       name, (long long)level, free_space);
	if (strcmp(state, "degraded") == 0)
		printf("Pool %s: a device is missing: what lies on it cannot be read.\n",
		       name);
}

static void print_endpoint_note(const json_t *endpoint)
{
	const char *name = json_string_value(json_object_get(endpoint, "name"));

	if (name && json_is_true(table_get(endpoint, "admission.is_over")))
		printf("Endpoint %s: what its devices promise, with what is kept free, takes %.0f %% of its core: not all of it will be kept.\n",
		       name,
		       share_percent(endpoint, "admission.promised_share"));
}

/* What is wrong or only half right, a line each. */
static void print_notes(const json_t *status, const json_t *processes)
{
	const json_t *thing;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)processes, i, thing)
	{
		const char *state =
			json_string_value(json_object_get(thing, "state"));
		const char *reason =
			json_string_value(json_object_get(thing, "reason"));

		if (!state || (strcmp(state, "bound") == 0 && !reason))
			continue;
		if (strcmp(state, "bound") == 0)
			state = "served as best effort";
		printf("Process %lld is %s%s%s\n",
		       (long long)count(thing, "pasid"), state,
		       reason ? ": " : "", reason ? reason : "");
	}
	json_array_foreach(json_object_get(status, "endpoints"), i, thing)
		print_endpoint_note(thing);
	json_array_foreach(json_object_get(status, "pools"), i, thing)
		print_pool_note(thing);
	json_array_foreach(json_object_get(status, "devices"), i, thing)
		print_device_fault(thing);
	json_array_foreach(json_object_get(status, "devices"), i, thing)
		print_device_note(thing);
	json_array_foreach(json_object_get(status, "not_served"), i, thing)
	{
		char where[256], what[512];

		show_text(thing, "where", where, sizeof(where));
		show_text(thing, "what", what, sizeof(what));
		printf("Not served by this version: %s: %s\n", where, what);
	}
}

static int status_verb(struct cli *cli, const struct cli_args *args)
{
	json_t *status, *processes;
	int result = cli_ask(cli, "GET", "/v1/status", NULL, &status);

	(void)args;
	if (result != CLI_DONE)
		return result;
	result = cli_ask(cli, "GET", "/v1/processes", NULL, &processes);
	if (result != CLI_DONE) {
		json_decref(status);
		return result;
	}
	if (cli->json) {
		/* The summary keeps its name beside the list. */
		json_t *summary =
			json_incref(json_object_get(status, "processes"));

		json_object_set_new(status, "summary", summary);
		json_object_set_new(status, "processes", processes);
		return list_json(status);
	}
	print_head(status);
	print_section(endpoint_columns, json_object_get(status, "endpoints"));
	print_section(list_vdevs, json_object_get(status, "vdevs"));
	print_section(list_processes, processes);
	printf("\n");
	print_notes(status, processes);
	json_decref(status);
	json_decref(processes);
	return CLI_DONE;
}

const struct cli_verb cli_status_verbs[] = {
	{NULL, "status", NULL, 0, 0, NULL, status_verb,
	 "everything that is promised, and whether it is kept"},
	{NULL, NULL, NULL, 0, 0, NULL, NULL, NULL},
};
