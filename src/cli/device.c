/* SPDX-License-Identifier: Apache-2.0 */
/*
 * device.c - penstock device list | calibrate | evacuate
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

/* What there is to say of an evacuation that is over, or goes on by nobody. */
static int say_left(const char *name, const json_t *device)
{
	if (!json_object_get(device, "left_bytes"))
		return cli_error(CLI_FAILED,
				 "device %s stays: it is not leaving any more",
				 name);
	return cli_error(
		CLI_FAILED,
		"device %s is not evacuated: 'penstock events' says why, 'penstock device evacuate %s' goes on",
		name, name);
}

/* Once a second, until it is empty, nothing moves any more, or somebody says
 * that it stays.  An endpoint that is away comes back. */
static int wait_evacuated(struct cli *cli, const char *name, json_t *device)
{
	int status = CLI_DONE;
	bool was_still = false;

	while (status == CLI_DONE) {
		const json_t *left = json_object_get(device, "left_bytes");
		const bool is_away = !strcmp(
			json_string_value(json_object_get(device, "state")),
			"waiting");
		bool is_still;

		fprintf(stderr, "\r%s: %lld MiB left  ", name,
			(long long)(json_integer_value(left) >> 20));
		if (!is_away && left && json_integer_value(left) == 0)
			break;
		is_still = !is_away &&
			!json_is_true(json_object_get(device, "moving"));
		/* What is left is counted a little later than it is said. */
		if (is_still && was_still) {
			fputc('\n', stderr);
			status = say_left(name, device);
			json_decref(device);
			return status;
		}
		was_still = is_still;
		sleep(1);
		json_decref(device);
		status = cli_ask_one(cli, "GET", "devices", name, "", NULL,
				     &device);
	}
	fputc('\n', stderr);
	if (status == CLI_DONE)
		json_decref(device);
	return status;
}

static int device_evacuate(struct cli *cli, const struct cli_args *args)
{
	const char *bandwidth = args->options[EVACUATE_BANDWIDTH];
	const bool stays = args->options[EVACUATE_CANCEL] != NULL;
	json_t *body = json_object(), *device;
	struct error error;
	uint64_t rate;
	int status;

	if (bandwidth && units_parse_rate(bandwidth, &rate, &error) < 0) {
		json_decref(body);
		return cli_error(CLI_USAGE, "--bandwidth: %s", error.text);
	}
	cli_set_text(body, "bandwidth", bandwidth);
	if (stays) {
		json_decref(body);
		body = NULL;
	}
	status = cli_ask_one(cli, stays ? "DELETE" : "POST", "devices",
			     args->operands[0], "/evacuate", body, &device);
	if (status != CLI_DONE)
		return status;
	if (args->options[EVACUATE_WAIT])
		return wait_evacuated(cli, args->operands[0], device);
	if (cli->json)
		return list_json(device);
	json_decref(device);
	return CLI_DONE;
}

const struct cli_verb cli_device_verbs[] = {
	{"device", "list", NULL, 0, 0, NULL, device_list,
	 "devices, what they sustain and what is promised of it"},
	{"device", "calibrate", "NAME", 1, 1, calibrate_options,
	 device_calibrate, "measure what a device sustains"},
	{"device", "evacuate", "NAME", 1, 1, evacuate_options, device_evacuate,
	 "move everything to the other devices of its pool"},
	{NULL, NULL, NULL, 0, 0, NULL, NULL, NULL},
};
