/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vdev.c - penstock vdev list | show | create | snapshot | update | resume |
 *          resize | delete
 */
#include "cli/args.h"
#include "cli/ask.h"
#include "cli/list.h"

#include "base/units.h"

static int vdev_list(struct cli *cli, const struct cli_args *args)
{
	(void)args;
	return list_ask(cli, "/v1/vdevs", list_vdevs);
}

static const struct list_field fields[] = {
	{"Vdev", show_text, "name"},
	{"State", show_text, "state"},
	{"Error", show_text, "error"},
	{"Endpoint", show_text, "endpoint"},
	{"Pool", show_text, "pool"},
	{"Device", show_text, "device"},
	{"Size", show_size, "size_bytes"},
	{"Allocated", show_size, "allocated_bytes"},
	{"Queues", show_number, "queues"},
	{"Snapshot of", show_text, "snapshot_of"},
	{"vhost-user", show_text, "vhost_user"},
	{"nbd", show_text, "nbd"},
	{"nbd TLS", show_text, "nbd_tls"},
	{"Owner", show_text, "owner.endpoint"},
	{"Generation", show_number, "owner.generation"},
	{"Phase", show_text, "owner.phase"},
	{"On error", show_text, "on_error"},
	{"Stopped by", show_text, "stopped_by"},
	{"Errors", show_number, "errors"},
	{"Retries", show_number, "retries"},
	{"No space", show_number, "no_space"},
	{"Front-ends", show_number, "sessions"},
	{"Promised", show_text, "combined_text"},
	{"IOPS", show_number, "delivered.iops"},
	{"Bandwidth", show_rate, "delivered.bandwidth_bytes_per_s"},
	{"p50", show_duration, "delivered.latency_p50_ns"},
	{"p99", show_duration, "delivered.latency_p99_ns"},
	{NULL, NULL, NULL},
};

/* One vdev, however it was asked for; released. */
static int print_vdev(const struct cli *cli, json_t *vdev)
{
	const json_t *processes = json_object_get(vdev, "processes");

	if (cli->json)
		return list_json(vdev);
	list_fields(fields, vdev);
	if (json_array_size(processes) > 0) {
		printf("\n");
		table_print(list_processes, processes);
	}
	json_decref(vdev);
	return CLI_DONE;
}

static int vdev_show(struct cli *cli, const struct cli_args *args)
{
	json_t *vdev;
	const int status = cli_ask_one(cli, "GET", "vdevs", args->operands[0],
				       "", NULL, &vdev);

	return status == CLI_DONE ? print_vdev(cli, vdev) : status;
}

/* Options of "create"; "resize" has the first only. */
enum { SIZE, POOL, VHOST_USER, QUEUES, LIMIT, BURST, ON_ERROR, READ_ONLY };
static const struct cli_option create_options[] = {
	[SIZE] = {"size", "SIZE", "the same as SIZE, as \"4GiB\""},
	[POOL] =
		{"pool", "NAME",
		 "where its space comes from; may be left out if there is one"},
	[VHOST_USER] = {"vhost-user", "PATH", "socket for virtual machines"},
	[QUEUES] = {"queues", "N", "most queues of one front-end"},
	[LIMIT] =
		{"limit", "LIMITS",
		 "of all its processes, as \"iops 2000, write bandwidth 10 MB/s\""},
	[BURST] = {"burst", "TIME", "how far work may run ahead of a limit"},
	[ON_ERROR] = {"on-error", "WHAT",
		      "report, stop or retry what a device fails"},
	[READ_ONLY] = {"read-only", NULL, "refuse writes"},
	{NULL, NULL, NULL},
};
enum { UPDATE_LIMIT, UPDATE_BURST, UPDATE_ON_ERROR };
static const struct cli_option update_options[] = {
	[UPDATE_LIMIT] = {"limit", "LIMITS", "of all its processes"},
	[UPDATE_BURST] = {"burst", "TIME",
			  "how far work may run ahead of a limit"},
	[UPDATE_ON_ERROR] = {"on-error", "WHAT",
			     "report, stop or retry what a device fails"},
	{NULL, NULL, NULL},
};
enum { RESIZE_FORCE = SIZE + 1 };
static const struct cli_option resize_options[] = {
	[SIZE] = {"size", "SIZE", "the same as SIZE, as \"4GiB\""},
	[RESIZE_FORCE] = {"force", NULL, "also if data lie beyond the new end"},
	{NULL, NULL, NULL},
};

/* The size: the second operand or --size. */
static const char *get_size(const struct cli_args *args)
{
	return args->operand_count > 1 ? args->operands[1] :
					 args->options[SIZE];
}

/* A size that is given once and makes sense, or an exit status. */
static int check_size(const char *verb, const struct cli_args *args)
{
	const char *size = get_size(args);
	struct error error;
	uint64_t bytes;

	if (!size)
		return cli_error(
			CLI_USAGE,
			"SIZE is missing: see 'penstock vdev %s --help'", verb);
	if (args->operand_count > 1 && args->options[SIZE])
		return cli_error(
			CLI_USAGE,
			"the size is given twice: see 'penstock vdev %s --help'",
			verb);
	if (units_parse_size(size, &bytes, &error) < 0)
		return cli_error(CLI_USAGE, "size: %s", error.text);
	return CLI_DONE;
}

static int vdev_create(struct cli *cli, const struct cli_args *args)
{
	const char *const *options = args->options;
	json_t *body, *vdev;
	struct error error;
	uint64_t queues = 0;
	int status = check_size("create", args);

	if (status != CLI_DONE)
		return status;
	if (options[QUEUES] &&
	    cli_parse_number("--queues", options[QUEUES], 1, 64, &queues,
			     &error) < 0)
		return cli_error(CLI_USAGE, "%s", error.text);
	body = json_object();
	cli_set_text(body, "name", args->operands[0]);
	cli_set_text(body, "size", get_size(args));
	cli_set_text(body, "pool", options[POOL]);
	cli_set_text(body, "vhost-user", options[VHOST_USER]);
	cli_set_text(body, "limit", options[LIMIT]);
	cli_set_text(body, "burst", options[BURST]);
	cli_set_text(body, "on-error", options[ON_ERROR]);
	if (queues)
		json_object_set_new(body, "queues",
				    json_integer((json_int_t)queues));
	if (options[READ_ONLY])
		json_object_set_new(body, "read-only", json_true());
	status = cli_ask(cli, "POST", "/v1/vdevs", body, &vdev);
	return status == CLI_DONE ? print_vdev(cli, vdev) : status;
}

static int vdev_update(struct cli *cli, const struct cli_args *args)
{
	const char *const *options = args->options;
	json_t *body, *vdev;
	int status;

	if (!options[UPDATE_LIMIT] && !options[UPDATE_BURST] &&
	    !options[UPDATE_ON_ERROR])
		return cli_error(
			CLI_USAGE,
			"nothing is to be changed: see 'penstock vdev update --help'");
	body = json_object();
	cli_set_text(body, "limit", options[UPDATE_LIMIT]);
	cli_set_text(body, "burst", options[UPDATE_BURST]);
	cli_set_text(body, "on-error", options[UPDATE_ON_ERROR]);
	status = cli_ask_one(cli, "PATCH", "vdevs", args->operands[0], "", body,
			     &vdev);
	return status == CLI_DONE ? print_vdev(cli, vdev) : status;
}

static int vdev_resume(struct cli *cli, const struct cli_args *args)
{
	json_t *vdev;
	const int status = cli_ask_one(cli, "POST", "vdevs", args->operands[0],
				       "/resume", NULL, &vdev);

	return status == CLI_DONE ? print_vdev(cli, vdev) : status;
}

enum { SNAPSHOT_VHOST_USER, SNAPSHOT_LIMIT, SNAPSHOT_BURST };
static const struct cli_option snapshot_options[] = {
	[SNAPSHOT_VHOST_USER] = {"vhost-user", "PATH",
				 "socket for virtual machines"},
	[SNAPSHOT_LIMIT] = {"limit", "LIMITS",
			    "of all its readers, as \"bandwidth 10 MB/s\""},
	[SNAPSHOT_BURST] = {"burst", "TIME",
			    "how far work may run ahead of a limit"},
	{NULL, NULL, NULL},
};

static int vdev_snapshot(struct cli *cli, const struct cli_args *args)
{
	const char *const *options = args->options;
	json_t *body = json_object(), *vdev;
	int status;

	cli_set_text(body, "name", args->operands[1]);
	cli_set_text(body, "vhost-user", options[SNAPSHOT_VHOST_USER]);
	cli_set_text(body, "limit", options[SNAPSHOT_LIMIT]);
	cli_set_text(body, "burst", options[SNAPSHOT_BURST]);
	status = cli_ask_one(cli, "POST", "vdevs", args->operands[0],
			     "/snapshots", body, &vdev);
	return status == CLI_DONE ? print_vdev(cli, vdev) : status;
}

static int vdev_resize(struct cli *cli, const struct cli_args *args)
{
	json_t *vdev, *body;
	int status = check_size("resize", args);

	if (status != CLI_DONE)
		return status;
	body = json_pack("{s:s}", "size", get_size(args));
	if (args->options[RESIZE_FORCE])
		json_object_set_new(body, "force", json_true());
	status = cli_ask_one(cli, "PATCH", "vdevs", args->operands[0], "", body,
			     &vdev);
	return status == CLI_DONE ? print_vdev(cli, vdev) : status;
}

static int vdev_delete(struct cli *cli, const struct cli_args *args)
{
	return list_delete(cli, "vdevs", args->operands[0], "vdev",
			   "is deleted, and its data");
}

const struct cli_verb cli_vdev_verbs[] = {
	{"vdev", "list", NULL, 0, 0, NULL, vdev_list,
	 "virtual devices and what is promised on them"},
	{"vdev", "show", "NAME", 1, 1, NULL, vdev_show,
	 "one of them, with its processes"},
	{"vdev", "create", "NAME SIZE", 1, 2, create_options, vdev_create,
	 "make one"},
	{"vdev", "snapshot", "NAME SNAPSHOT", 2, 2, snapshot_options,
	 vdev_snapshot, "keep what it holds now, as a read-only vdev"},
	{"vdev", "update", "NAME", 1, 1, update_options, vdev_update,
	 "change its limit, or what becomes of errors"},
	{"vdev", "resume", "NAME", 1, 1, NULL, vdev_resume,
	 "let one go on that an error has stopped"},
	{"vdev", "resize", "NAME SIZE", 1, 2, resize_options, vdev_resize,
	 "change its size while it is used"},
	{"vdev", "delete", "NAME", 1, 1, NULL, vdev_delete,
	 "delete one and its data"},
	{"vdev", "import", "NAME FILE", 2, 2, cli_import_options, cli_import,
	 "fill one from a disk image"},
	{"vdev", "export", "NAME FILE", 2, 2, cli_export_options, cli_export,
	 "write one to a disk image"},
	{NULL, NULL, NULL, 0, 0, NULL, NULL, NULL},
};
