/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.c - penstock pool check: what lies on a pool's devices, looked at
 * offline
 *
 * The one verb that works on files itself, so that it helps where penstockd
 * does not start.  Who serves a device holds its lock: then it is refused.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/ask.h"
#include "cli/list.h"
#include "os/fd.h"
#include "pool/check.h"

struct checking {
	struct cli *cli;
	bool repair;
	json_t *paths, *findings;
	struct loop *loop;
	struct check_device devices[CHECK_DEVICES_MAX];
	uint32_t count;
};

/* ---- which files ---- */

static bool is_named(const json_t *thing, const char *name)
{
	const char *has = json_string_value(json_object_get(thing, "name"));

	return has && strcmp(has, name) == 0;
}

/* The path of a device of penstockd's; returns an exit status. */
static int add_device(struct checking *checking, const json_t *devices,
		      const char *name)
{
	const json_t *device;
	size_t i;

	json_array_foreach(devices, i, device)
	{
		json_t *path = json_object_get(device, "path");

		if (!is_named(device, name))
			continue;
		if (!json_is_string(path))
			return cli_error(
				CLI_FAILED,
				"device %s keeps nothing: there is nothing to check",
				name);
		json_array_append(checking->paths, path);
		return CLI_DONE;
	}
	return cli_error(
		CLI_FAILED,
		"%s: no such file, nor a pool or device of the configuration",
		name);
}

static int add_pool(struct checking *checking, const json_t *pool,
		    const json_t *devices)
{
	const json_t *members = json_object_get(pool, "devices"), *member;
	int status = CLI_DONE;
	size_t i;

	json_array_foreach(members, i,
			   member) if (status == CLI_DONE &&
				       json_is_string(member)) status =
		add_device(checking, devices, json_string_value(member));
	return status;
}

/* A pool's or a device's name, as penstockd knows it. */
static int add_name(struct checking *checking, const char *name)
{
	json_t *pools = NULL, *devices = NULL;
	const json_t *pool;
	int status = cli_ask(checking->cli, "GET", "/v1/pools", NULL, &pools);
	bool is_pool = false;
	size_t i;

	if (status == CLI_DONE)
		status = cli_ask(checking->cli, "GET", "/v1/devices", NULL,
				 &devices);
	if (status == CLI_DONE) {
		json_array_foreach(pools, i, pool) if (is_named(pool, name))
		{
			is_pool = true;
			status = add_pool(checking, pool, devices);
		}
		if (!is_pool)
			status = add_device(checking, devices, name);
	}
	json_decref(pools);
	json_decref(devices);
	return status;
}

static int add_operand(struct checking *checking, const char *operand)
{
	struct stat is;

	if (stat(operand, &is) == 0) {
		json_array_append_new(checking->paths, json_string(operand));
		return CLI_DONE;
	}
	if (operand[0] == '/' || operand[0] == '.' || errno != ENOENT)
		return cli_error(CLI_FAILED, "%s: %s", operand,
				 strerror(errno));
	return add_name(checking, operand);
}

/* ---- open ---- */

static int open_device(struct checking *checking, const char *path)
{
	struct block_config config = {
		.kind = "file",
		.read_only = !checking->repair,
	};
	struct check_device *device = &checking->devices[checking->count];
	fd_cleanup int fd =
		open(path,
		     O_CLOEXEC | O_NONBLOCK |
			     (checking->repair ? O_RDWR : O_RDONLY));
	struct error error;

	if (fd < 0)
		return cli_error(CLI_FAILED, "%s: %s", path, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return cli_error(
			CLI_FAILED, "%s: %s", path,
			errno == EWOULDBLOCK ?
				"an endpoint has it (or another check): stop penstockd and its endpoints first" :
				strerror(errno));
	config.fd = fd;
	if (block_open(&config, checking->loop, &device->device, &error) < 0)
		return cli_error(CLI_FAILED, "%s: %s", path, error.text);
	fd_steal(&fd);
	device->name = path;
	checking->count++;
	return CLI_DONE;
}

static int open_all(struct checking *checking)
{
	const struct loop_config config = {.entries = 64};
	const json_t *path;
	struct error error;
	int status = CLI_DONE;
	size_t i;

	if (json_array_size(checking->paths) > CHECK_DEVICES_MAX)
		return cli_error(CLI_USAGE, "at most %u devices are a pool",
				 CHECK_DEVICES_MAX);
	if (loop_create(&config, &checking->loop, &error) < 0)
		return cli_error(CLI_FAILED, "%s", error.text);
	json_array_foreach(checking->paths, i, path) if (status == CLI_DONE)
		status = open_device(checking, json_string_value(path));
	return status;
}

/* ---- look, and tell ---- */

static void progress(void *arg)
{
	const struct checking *checking = arg;

	loop_run_once(checking->loop, UINT64_MAX);
}

static const char *remedy(const struct checking *checking,
			  const struct check_finding *finding)
{
	if (finding->is_repaired)
		return " [repaired]";
	if (finding->can_repair && !checking->repair)
		return " [--repair writes it anew]";
	return "";
}

static void say(void *arg, const struct check_finding *finding)
{
	struct checking *checking = arg;

	json_array_append_new(
		checking->findings,
		json_pack("{s:s?, s:s, s:b, s:b, s:b}", "device",
			  finding->device ? finding->device->name : NULL,
			  "text", finding->text, "wrong", finding->is_wrong,
			  "repairable", finding->can_repair, "repaired",
			  finding->is_repaired));
	if (!checking->cli->json)
		printf("%s%s%s\n",
		       finding->is_wrong ? "" : "note: ", finding->text,
		       remedy(checking, finding));
}

static json_t *describe(const struct check_device *device)
{
	char uuid[2 * sizeof(device->super.uuid.bytes) + 1];

	if (device->result < 0)
		return json_pack("{s:s, s:b}", "path", device->name, "known",
				 false);
	for (size_t i = 0; i < sizeof(device->super.uuid.bytes); i++)
		snprintf(uuid + 2 * i, 3, "%02x", device->super.uuid.bytes[i]);
	return json_pack(
		"{s:s, s:b, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
		"path", device->name, "known", true, "uuid", uuid, "generation",
		(json_int_t)device->super.generation, "size_bytes",
		(json_int_t)device->super.capacity_bytes, "volumes",
		(json_int_t)device->volumes, "log_blocks",
		(json_int_t)device->log_blocks, "extents",
		(json_int_t)device->super.extent_count, "mapped",
		(json_int_t)device->mapped, "clean", (json_int_t)device->clean,
		"dirty", (json_int_t)device->dirty, "bad",
		(json_int_t)device->bad);
}

static void print_device(const json_t *device)
{
	if (!json_is_true(json_object_get(device, "known")))
		return;
	printf("%s: device %s, generation %lld, %lld volumes; of %lld extents %lld mapped, %lld clean, %lld dirty, %lld bad\n",
	       json_string_value(json_object_get(device, "path")),
	       json_string_value(json_object_get(device, "uuid")),
	       json_integer_value(json_object_get(device, "generation")),
	       json_integer_value(json_object_get(device, "volumes")),
	       json_integer_value(json_object_get(device, "extents")),
	       json_integer_value(json_object_get(device, "mapped")),
	       json_integer_value(json_object_get(device, "clean")),
	       json_integer_value(json_object_get(device, "dirty")),
	       json_integer_value(json_object_get(device, "bad")));
}

static int tell(struct checking *checking, const struct check_report *report)
{
	json_t *devices = json_array();

	for (uint32_t d = 0; d < checking->count; d++) {
		json_t *device = describe(&checking->devices[d]);

		if (!checking->cli->json)
			print_device(device);
		json_array_append_new(devices, device);
	}
	if (checking->cli->json) {
		list_json(json_pack("{s:o, s:O, s:I, s:I}", "devices", devices,
				    "findings", checking->findings, "wrong",
				    (json_int_t)report->wrong, "repaired",
				    (json_int_t)report->repaired));
	} else {
		json_decref(devices);
		if (report->wrong == 0)
			printf("in order\n");
	}
	if (report->wrong == 0)
		return CLI_DONE;
	fflush(stdout);
	return cli_error(CLI_FAILED,
			 "%u things are not in order, %u of them repaired",
			 report->wrong, report->repaired);
}

static int look(struct checking *checking)
{
	const struct check_config config = {
		.devices = checking->devices,
		.count = checking->count,
		.repair = checking->repair,
		.progress = progress,
		.say = say,
		.arg = checking,
	};
	struct check_report report;

	if (check_run(&config, &report) == -ENOMEM)
		return cli_error(CLI_FAILED, "out of memory");
	return tell(checking, &report);
}

enum { CHECK_REPAIR };
const struct cli_option cli_check_options[] = {
	{"repair", NULL, "write damaged copies anew from good ones"},
	{NULL, NULL, NULL},
};

int cli_check(struct cli *cli, const struct cli_args *args)
{
	struct checking *checking = calloc(1, sizeof(*checking));
	int status = CLI_DONE;

	if (!checking)
		return cli_error(CLI_FAILED, "out of memory");
	checking->cli = cli;
	checking->repair = args->options[CHECK_REPAIR] != NULL;
	checking->paths = json_array();
	checking->findings = json_array();
	for (unsigned int i = 0; i < args->operand_count; i++)
		if (status == CLI_DONE)
			status = add_operand(checking, args->operands[i]);
	if (status == CLI_DONE)
		status = open_all(checking);
	if (status == CLI_DONE)
		status = look(checking);
	for (uint32_t d = 0; d < checking->count; d++)
		block_close(checking->devices[d].device);
	if (checking->loop)
		loop_destroy(checking->loop);
	json_decref(checking->paths);
	json_decref(checking->findings);
	free(checking);
	return status;
}
