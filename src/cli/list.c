/* SPDX-License-Identifier: Apache-2.0 */
/*
 * list.c - the listings that more than one verb shows
 */
#include "cli/list.h"

#include <stdlib.h>
#include <string.h>

#include "api/body.h"
#include "cli/args.h"
#include "cli/ask.h"

/* The rate that the device was measured to sustain at its deepest; "~" before
 * it: not measured, but derived from the other direction. */
static void show_capacity(const json_t *thing, const char *key, char *cell,
			  size_t size)
{
	const json_t *points = table_get(thing, key);
	char measured[64];
	double best = 0;
	const json_t *point;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)points, i, point)
	{
		const double iops =
			json_number_value(json_object_get(point, "iops"));

		if (iops > best)
			best = iops;
	}
	snprintf(measured, sizeof(measured), "%s_measured", key);
	if (json_array_size(points))
		snprintf(cell, size, "%s%.0f",
			 json_is_false(table_get(thing, measured)) ? "~" : "",
			 best);
	else
		snprintf(cell, size, "-");
}

/* "bound", or the reason when it is not. */
static void show_state(const json_t *thing, const char *key, char *cell,
		       size_t size)
{
	const char *reason = json_string_value(json_object_get(thing, key));

	show_text(thing, "state", cell, size);
	if (reason && reason[0]) {
		const size_t length = strlen(cell);

		snprintf(cell + length, size - length, ": %s", reason);
	}
}

/* The same; and "promised more than it can hold". */
static void show_device_state(const json_t *thing, const char *key, char *cell,
			      size_t size)
{
	size_t length;

	show_state(thing, key, cell, size);
	length = strlen(cell);
	if (json_is_true(table_get(thing, "admission.is_over")))
		snprintf(cell + length, size - length,
			 ": promised more than it can hold");
}

/* The promise, or why there is none. */
static void show_promise(const json_t *thing, const char *key, char *cell,
			 size_t size)
{
	const char *text = json_string_value(json_object_get(thing, key));

	snprintf(cell, size, "%s", text && text[0] ? text : "(nothing)");
}

/* The same, and whether it is kept up from history. */
static void show_process_promise(const json_t *thing, const char *key,
				 char *cell, size_t size)
{
	size_t length;

	show_promise(thing, key, cell, size);
	length = strlen(cell);
	if (table_get(thing, "kept_up"))
		snprintf(cell + length, size - length, " (kept up)");
	else if (table_get(thing, "derived"))
		snprintf(cell + length, size - length, " (derived)");
}

const struct table_column list_devices[] = {
	{"NAME", false, show_text, "name"},
	{"KIND", false, show_text, "kind"},
	{"UUID", false, show_text, "uuid"},
	{"SIZE", true, show_size, "size_bytes"},
	{"USED", true, show_size, "allocated_bytes"},
	{"MOVED%", true, show_number, "moved_percent"},
	{"FAULT", false, show_text, "fault"},
	{"CALIBRATED", false, show_text, "calibration"},
	{"READ-IOPS", true, show_capacity, "capacity.read"},
	{"WRITE-IOPS", true, show_capacity, "capacity.write"},
	{"NOW", true, show_milli, "capacity_milli"},
	{"ERRORS", true, show_number, "errors"},
	{"PROMISED", false, show_promise, "combined_text"},
	{"STATE", false, show_device_state, "error"},
	{NULL, false, NULL, NULL},
};

const struct table_column list_pools[] = {
	{"NAME", false, show_text, "name"},
	{"DEVICES", false, show_list, "devices"},
	{"SIZE", true, show_size, "size_bytes"},
	{"USED", true, show_size, "allocated_bytes"},
	{"FREE", true, show_size, "free_bytes"},
	{"PROMISED", false, show_promise, "combined_text"},
	{"STATE", false, show_state, "error"},
	{NULL, false, NULL, NULL},
};

const struct table_column list_vdevs[] = {
	{"NAME", false, show_text, "name"},
	{"ENDPOINT", false, show_text, "endpoint"},
	{"POOL", false, show_text, "pool"},
	{"SIZE", true, show_size, "size_bytes"},
	{"USERS", true, show_number, "sessions"},
	{"IOPS", true, show_number, "delivered.iops"},
	{"ERRORS", true, show_number, "errors"},
	{"SNAPSHOT-OF", false, show_text, "snapshot_of"},
	{"PROMISED", false, show_promise, "combined_text"},
	{"STATE", false, show_state, "error"},
	{NULL, false, NULL, NULL},
};

const struct table_column list_processes[] = {
	{"PASID", true, show_number, "pasid"},
	{"NAME", false, show_text, "name"},
	{"VDEV", false, show_text, "vdev"},
	{"KEPT", false, show_kept, "kept"},
	{"MISSED", true, show_number, "windows_broken"},
	{"IOPS", true, show_number, "delivered.iops"},
	{"BANDWIDTH", true, show_rate, "delivered.bandwidth_bytes_per_s"},
	{"P50", true, show_duration, "delivered.latency_p50_ns"},
	{"P99", true, show_duration, "delivered.latency_p99_ns"},
	{"PROMISED", false, show_process_promise, "sla_text"},
	{"STATE", false, show_state, "error"},
	{NULL, false, NULL, NULL},
};

int list_json(json_t *value)
{
	char *text = json_dumps(value,
				JSON_COMPACT | JSON_ENCODE_ANY |
					JSON_REAL_PRECISION(15));

	json_decref(value);
	if (!text)
		return cli_error(CLI_FAILED, "out of memory");
	printf("%s\n", text);
	free(text);
	return CLI_DONE;
}

int list_print(const struct cli *cli, const struct table_column *columns,
	       json_t *value)
{
	int error;

	if (cli->json)
		return list_json(value);
	error = table_print(columns, value);
	json_decref(value);
	if (error < 0)
		return cli_error(CLI_FAILED, "out of memory");
	return CLI_DONE;
}

int list_ask(struct cli *cli, const char *path,
	     const struct table_column *columns)
{
	json_t *value;
	const int status = cli_ask(cli, "GET", path, NULL, &value);

	return status == CLI_DONE ? list_print(cli, columns, value) : status;
}

void list_fields(const struct list_field *fields, const json_t *thing)
{
	char cell[TABLE_CELL_MAX];

	for (; fields->title; fields++) {
		fields->show(thing, fields->key, cell, sizeof(cell));
		if (strcmp(cell, "-") != 0)
			printf("%-14s%s\n", fields->title, cell);
	}
}

int list_one(struct cli *cli, const char *kind, const char *name,
	     const struct list_field *fields)
{
	json_t *thing;
	const int status =
		cli_ask_one(cli, "GET", kind, name, "", NULL, &thing);

	if (status != CLI_DONE)
		return status;
	if (cli->json)
		return list_json(thing);
	list_fields(fields, thing);
	json_decref(thing);
	return CLI_DONE;
}

int list_delete(struct cli *cli, const char *kind, const char *name,
		const char *thing, const char *became)
{
	json_t *answer;
	const int status =
		cli_ask_one(cli, "DELETE", kind, name, "", NULL, &answer);

	if (status != CLI_DONE)
		return status;
	if (cli->json)
		return list_json(answer);
	json_decref(answer);
	printf("%s %s %s\n", thing, name, became);
	return CLI_DONE;
}

int list_check_pasid(const char *text)
{
	struct error error;
	uint64_t pasid;

	if (cli_parse_number("PASID", text, 1, API_PASID_MAX, &pasid, &error) <
	    0)
		return cli_error(CLI_USAGE, "%s", error.text);
	return CLI_DONE;
}

int list_process_result(const struct cli *cli, const char *what,
			json_t *process)
{
	char pasid[32], vdev[128], promise[TABLE_CELL_MAX];

	if (cli->json)
		return list_json(process);
	show_number(process, "pasid", pasid, sizeof(pasid));
	show_text(process, "vdev", vdev, sizeof(vdev));
	show_text(process, "sla_text", promise, sizeof(promise));
	printf("process %s on %s %s: %s\n", pasid, vdev, what,
	       strcmp(promise, "-") == 0 ? "nothing is promised" : promise);
	json_decref(process);
	return CLI_DONE;
}
