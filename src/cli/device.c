/* SPDX-License-Identifier: Apache-2.0 */
/*
 * device.c - penstock device list | show | calibrate | evacuate |
 *            replace | remove
 */
#include <string.h>
#include <unistd.h>

#include "cli/ask.h"
#include "cli/list.h"

#include "base/units.h"

static int device_list(struct cli *cli, const struct cli_args *args)
{
	(void)args;
	return list_ask(cli, "/v1/devices", list_devices);
}

static const struct list_field fields[] = {
	{"Device", show_text, "name"},
	{"State", show_text, "state"},
	{"Error", show_text, "error"},
	{"Pool", show_text, "pool"},
	{"Kind", show_text, "kind"},
	{"Path", show_text, "path"},
	{"UUID", show_text, "uuid"},
	{"Generation", show_number, "generation"},
	{"Size", show_size, "size_bytes"},
	{"Allocated", show_size, "allocated_bytes"},
	{"Replaced by", show_text, "replaced_by"},
	{"Left", show_size, "left_bytes"},
	{"Moved", show_size, "moved_bytes"},
	{"Moved %", show_number, "moved_percent"},
	{"Tried again in (s)", show_number, "retry_in_s"},
	{"Unusable", show_size, "bad_bytes"},
	{"Log errors", show_number, "log_errors"},
	{"Errors", show_number, "errors"},
	{"Calibrated", show_text, "calibration"},
	{"Promised", show_text, "combined_text"},
	{NULL, NULL, NULL},
};

static int device_show(struct cli *cli, const struct cli_args *args)
{
	return list_one(cli, "devices", args->operands[0], fields);
}

static const struct table_column point_columns[] = {
	{"DEPTH", true, show_number, "depth"},
	{"IOPS", true, show_number, "iops"},
	{"P95", true, show_duration, "p95_ns"},
	{"P99", true, show_duration, "p99_ns"},
	{NULL, false, NULL, NULL},
};

static void print_curve(const json_t *device, const char *title,
			const char *points, const char *rate)
{
	char cell[TABLE_CELL_MAX];

	show_rate(device, rate, cell, sizeof(cell));
	printf("%s, 4 KiB random (sequential: %s)\n", title, cell);
	table_print(point_columns, table_get(device, points));
}

static void print_direction(const json_t *device, unsigned int direction)
{
	static const struct {
		const char *title, *points, *rate, *measured, *derived;
	} ways[] = {
		{"read", "capacity.read", "capacity.read_bytes_per_s",
		 "capacity.read_measured",
		 "read: not measured, a tenth of writes is assumed: too little data could be written to read it"},
		{"write", "capacity.write", "capacity.write_bytes_per_s",
		 "capacity.write_measured",
		 "write: not measured, a tenth of reads is assumed: there is no free space to measure on"},
	};

	if (json_is_false(table_get(device, ways[direction].measured)))
		printf("%s\n", ways[direction].derived);
	else
		print_curve(device, ways[direction].title,
			    ways[direction].points, ways[direction].rate);
}

enum { CALIBRATE_DURATION };
static const struct cli_option calibrate_options[] = {
	{"duration", "TIME", "how long to measure, as \"10 s\""},
	{NULL, NULL, NULL},
};

static int device_calibrate(struct cli *cli, const struct cli_args *args)
{
	const char *duration = args->options[CALIBRATE_DURATION];
	json_t *body = json_object(), *device;
	struct error error;
	uint64_t ns;
	int status;

	if (duration) {
		if (units_parse_duration(duration, &ns, &error) < 0) {
			json_decref(body);
			return cli_error(CLI_USAGE, "--duration: %s",
					 error.text);
		}
		json_object_set_new(body, "duration", json_string(duration));
	}
	status = cli_ask_one(cli, "POST", "devices", args->operands[0],
			     "/calibrate", body, &device);
	if (status != CLI_DONE)
		return status;
	if (cli->json)
		return list_json(device);
	print_direction(device, 0);
	print_direction(device, 1);
	json_decref(device);
	return CLI_DONE;
}

enum { EVACUATE_BANDWIDTH, EVACUATE_CANCEL, EVACUATE_WAIT };
static const struct cli_option evacuate_options[] = {
	{"bandwidth", "RATE", "no faster than that; else 100 MiB/s"},
	{"cancel", NULL, "it stays after all, with what is still on it"},
	{"wait", NULL, "until nothing is on it any more, and show how far"},
	{NULL, NULL, NULL},
};

static const struct cli_option replace_options[] = {
	{"bandwidth", "RATE", "no faster than that; else 100 MiB/s"},
	{"cancel", NULL, "it stays after all, with what is still on it"},
	{"wait", NULL, "until it has left its pool, and show how far"},
	{NULL, NULL, NULL},
};

/* What there is to say of an evacuation that is over, or stays as it is. */
static int say_left(const char *name, const json_t *device)
{
	if (!json_object_get(device, "left_bytes"))
		return cli_error(CLI_FAILED,
				 "device %s stays: it is not leaving any more",
				 name);
	return cli_error(
		CLI_FAILED,
		"device %s is not evacuated: 'penstock events' says why; it is tried again, or 'penstock device evacuate %s' asks for it",
		name, name);
}

/* Is it over?  Then '*ret_status' says how; '*still' counts how often nothing
 * moved: what is left is counted a little later than it is said. */
static bool is_over(const char *name, const json_t *device, unsigned int *still,
		    int *ret_status)
{
	const json_t *left = json_object_get(device, "left_bytes");
	const bool is_away = !strcmp(
		json_string_value(json_object_get(device, "state")), "waiting");
	const bool is_replaced = json_object_get(device, "replaced_by") != NULL;
	bool is_still;

	fprintf(stderr, "\r%s: %lld %%, %lld MiB left  ", name,
		(long long)json_integer_value(
			json_object_get(device, "moved_percent")),
		(long long)(json_integer_value(left) >> 20));
	*ret_status = CLI_DONE;
	if (!is_away && !is_replaced && left && json_integer_value(left) == 0)
		return true;
	is_still = !is_away && !json_is_true(json_object_get(device, "moving"));
	/* It is empty, and on its way out. */
	if (is_replaced && json_integer_value(left) == 0 &&
	    !json_object_get(device, "retry_in_s"))
		is_still = false;
	*still = is_still ? *still + 1 : 0;
	if (*still < 2)
		return false;
	fputc('\n', stderr);
	*ret_status = say_left(name, device);
	return true;
}

/* The device of this name, or NULL: there is none any more. */
static json_t *find_device(const json_t *devices, const char *name)
{
	json_t *device;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)devices, i, device)
	{
		if (!strcmp(json_string_value(json_object_get(device, "name")),
			    name) ||
		    !strcmp(json_string_value(
				    json_object_get(device, "device")),
			    name))
			return device;
	}
	return NULL;
}

/* Once a second, until it is empty, or gone, nothing moves any more, or
 * somebody says that it stays.  An endpoint that is away comes back. */
static int wait_evacuated(struct cli *cli, const char *name)
{
	unsigned int still = 0;
	bool is_done = false;
	json_t *devices;
	int status;

	for (;;) {
		json_t *device;

		status = cli_ask(cli, "GET", "/v1/devices", NULL, &devices);
		if (status != CLI_DONE)
			break;
		device = find_device(devices, name);
		is_done = !device || is_over(name, device, &still, &status);
		json_decref(devices);
		if (is_done)
			break;
		sleep(1);
	}
	if (status == CLI_DONE)
		fputc('\n', stderr);
	return status;
}

/* The bandwidth of an evacuation or replacement, into 'body'. */
static int set_bandwidth(json_t *body, const char *bandwidth)
{
	struct error error;
	uint64_t rate;

	if (bandwidth && units_parse_rate(bandwidth, &rate, &error) < 0)
		return cli_error(CLI_USAGE, "--bandwidth: %s", error.text);
	cli_set_text(body, "bandwidth", bandwidth);
	return CLI_DONE;
}

/* Begin, or (--cancel) let it stay; 'body' is released. */
static int leave(struct cli *cli, const struct cli_args *args, const char *how,
		 json_t *body)
{
	const bool stays = args->options[EVACUATE_CANCEL] != NULL;
	json_t *device;
	int status;

	status = set_bandwidth(body, args->options[EVACUATE_BANDWIDTH]);
	if (status != CLI_DONE || stays) {
		json_decref(body);
		body = NULL;
	}
	if (status == CLI_DONE)
		status = cli_ask_one(cli, stays ? "DELETE" : "POST", "devices",
				     args->operands[0], how, body, &device);
	if (status != CLI_DONE)
		return status;
	if (!args->options[EVACUATE_WAIT] && cli->json)
		return list_json(device);
	json_decref(device);
	return args->options[EVACUATE_WAIT] && !stays ?
		wait_evacuated(cli, args->operands[0]) :
		CLI_DONE;
}

static int device_evacuate(struct cli *cli, const struct cli_args *args)
{
	return leave(cli, args, "/evacuate", json_object());
}

static int device_replace(struct cli *cli, const struct cli_args *args)
{
	json_t *body = json_object();

	cli_set_text(body, "with", args->operands[1]);
	return leave(cli, args,
		     args->options[EVACUATE_CANCEL] ? "/evacuate" : "/replace",
		     body);
}

static int device_remove(struct cli *cli, const struct cli_args *args)
{
	return list_delete(cli, "devices", args->operands[0], "device",
			   "has left its pool");
}

const struct cli_verb cli_device_verbs[] = {
	{"device", "list", NULL, 0, 0, NULL, device_list,
	 "devices, what they sustain and what is promised of it"},
	{"device", "show", "NAME", 1, 1, NULL, device_show, "one of them"},
	{"device", "calibrate", "NAME", 1, 1, calibrate_options,
	 device_calibrate, "measure what a device sustains"},
	{"device", "evacuate", "NAME", 1, 1, evacuate_options, device_evacuate,
	 "move everything to the other devices of its pool"},
	{"device", "replace", "NAME BY", 2, 2, replace_options, device_replace,
	 "move everything to one other device, and take it out"},
	{"device", "remove", "NAME", 1, 1, NULL, device_remove,
	 "take one that holds nothing out of its pool"},
	{NULL, NULL, NULL, 0, 0, NULL, NULL, NULL},
};
