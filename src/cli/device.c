/* SPDX-License-Identifier: Apache-2.0 */
/*
 * device.c - penstock device list | calibrate
 */
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

const struct cli_verb cli_device_verbs[] = {
	{"device", "list", NULL, 0, 0, NULL, device_list,
	 "devices, what they sustain and what is promised of it"},
	{"device", "calibrate", "NAME", 1, 1, calibrate_options,
	 device_calibrate, "measure what a device sustains"},
	{NULL, NULL, NULL, 0, 0, NULL, NULL, NULL},
};
