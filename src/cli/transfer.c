/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transfer.c - penstock vdev import | export: between a file and a vdev
 *
 * qemu-img copies, as the user who calls; penstockd opens a way in by NBD for
 * it and never sees the file.  An export is written beside its file and takes
 * its place when it is whole.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "api/client.h"
#include "base/units.h"
#include "cli/args.h"
#include "cli/ask.h"
#include "cli/image.h"
#include "cli/list.h"

#define PATH_BYTES 4096U
#define URI_BYTES 1024U
#define NAME_BYTES 128U
#define BLOCK_BYTES UINT64_C(512)
#define MIB (UINT64_C(1) << 20)

enum { FORMAT, PASID, FORCE, CREATE, POOL, BACKING };
enum { SNAPSHOT = FORCE + 1, LIMIT };	/* of an export */

const struct cli_option cli_import_options[] = {
	[FORMAT] =
		{"format", "FORMAT",
		 "raw, qcow2, vmdk, vdi, vhdx, vpc or qed; else as it looks"},
	[PASID] = {"pasid", "PASID", "in the name of this process"},
	[FORCE] = {"force", NULL, "although the vdev is in use"},
	[CREATE] = {"create", NULL, "make the vdev, of the image's size"},
	[POOL] = {"pool", "NAME", "where the space of the new one comes from"},
	[BACKING] = {"backing", NULL,
		     "read the other files that the image names, too"},
	{NULL, NULL, NULL},
};
const struct cli_option cli_export_options[] = {
	[FORMAT] = {"format", "FORMAT",
		    "raw (if not said), qcow2, vmdk, vdi, vhdx or vpc"},
	[PASID] = {"pasid", "PASID", "in the name of this process"},
	[FORCE] = {"force", NULL, "replace the file, or write to the device"},
	[SNAPSHOT] = {"snapshot", NULL,
		      "export a snapshot of it, made and deleted for this"},
	[LIMIT] = {"limit", "LIMITS",
		   "of that snapshot, as \"bandwidth 10 MB/s\""},
	{NULL, NULL, NULL},
};

struct copy {
	struct cli *cli;
	const char *const *options;
	const char *vdev, *file;
	char snapshot[NAME_BYTES]; /* what is exported in its place; "" */
	char path[PATH_BYTES]; /* as qemu-img gets it */
	char uri[URI_BYTES];
	char format[IMAGE_FORMAT_MAX];
	uint64_t size_bytes;
	uint64_t begun_ns;
	bool is_import, is_created;
	json_t *way; /* what penstockd opened */
};

/* --- What both do -------------------------------------------------------- */

/* What qemu-img takes for a protocol ("nbd:x") is a file's name here. */
static int set_path(struct copy *copy)
{
	const int length =
		snprintf(copy->path, sizeof(copy->path), "%s%s",
			 copy->file[0] == '/' ? "" : "./", copy->file);

	if (copy->file[0] && length < (int)sizeof(copy->path))
		return CLI_DONE;
	return cli_error(CLI_FAILED, "%s: %s", copy->file,
			 strerror(copy->file[0] ? ENAMETOOLONG : ENOENT));
}

static int check_options(const struct copy *copy)
{
	const char *format = copy->options[FORMAT];

	if (format && !image_knows(format, !copy->is_import))
		return cli_error(CLI_USAGE, "unknown format '%s': %s", format,
				 image_formats(!copy->is_import));
	if (copy->options[PASID])
		return list_check_pasid(copy->options[PASID]);
	return CLI_DONE;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

/* "nbd+unix:///EXPORT?socket=PATH" */
static void set_uri(struct copy *copy)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "abcdefghijklmnopqrstuvwxyz0123456789._-/";
	const char *export =
		json_string_value(json_object_get(copy->way, "export"));
	const char *socket =
		json_string_value(json_object_get(copy->way, "socket"));
	size_t length = (size_t)snprintf(
		copy->uri, URI_BYTES,
		"nbd+unix:///%s?socket=", export ? export : "");

	for (; socket && *socket && length + 4 < URI_BYTES; socket++)
		length += (size_t)snprintf(
			copy->uri + length, URI_BYTES - length,
			strchr(plain, *socket) ? "%c" : "%%%02X",
			(unsigned char)*socket);
}

static const char *source(const struct copy *copy)
{
	return copy->snapshot[0] ? copy->snapshot : copy->vdev;
}

static int open_way(struct copy *copy)
{
	json_t *body = json_object();
	int status;

	if (copy->options[PASID])
		json_object_set_new(
			body, "pasid",
			json_integer(strtoll(copy->options[PASID], NULL, 10)));
	if (copy->is_import && copy->options[FORCE])
		json_object_set_new(body, "force", json_true());
	status = cli_ask_one(copy->cli, "POST", "vdevs", source(copy),
			     copy->is_import ? "/import" : "/export", body,
			     &copy->way);
	if (status == CLI_DONE)
		set_uri(copy);
	return status;
}

/* It ends with the connection anyway: so that it has when we end. */
static void close_way(struct copy *copy)
{
	json_t *value;
	struct error error;
	long status;
	char path[URI_BYTES];

	if (!copy->way)
		return;
	json_decref(copy->way);
	copy->way = NULL;
	snprintf(path, sizeof(path), "/v1/vdevs/%s/transfer", source(copy));
	if (client_call(copy->cli->client, "DELETE", path, NULL, &status,
			&value, &error) == 0)
		json_decref(value);
}

static int convert(const struct copy *copy, const char *const *args,
		   struct error *reterr)
{
	char what[128];

	snprintf(what, sizeof(what), "%s of %s",
		 copy->is_import ? "import" : "export", copy->vdev);
	return image_convert(args, isatty(STDERR_FILENO) ? what : NULL, reterr);
}

static json_int_t sessions(const struct copy *copy)
{
	return json_integer_value(json_object_get(copy->way, "sessions"));
}

static int tell(const struct copy *copy, json_int_t others)
{
	const double seconds = (double)(now_ns() - copy->begun_ns) / 1e9;
	char size[UNITS_TEXT_MAX];

	if (copy->cli->json)
		return list_json(
			json_pack("{s:s, s:s, s:s, s:s, s:I, s:b, s:I, s:f}",
				  "vdev", copy->vdev, "direction",
				  copy->is_import ? "import" : "export", "file",
				  copy->file, "format", copy->format,
				  "size_bytes", (json_int_t)copy->size_bytes,
				  "created", copy->is_created, "sessions",
				  others, "seconds", seconds));
	units_format_size(size, sizeof(size), copy->size_bytes);
	printf(copy->is_import ?
		       "vdev %s has what %s (%s, %s) holds, after %.1f s\n" :
		       "vdev %s is in %s (%s, %s), after %.1f s\n",
	       copy->vdev, copy->file, copy->format, size, seconds);
	return CLI_DONE;
}

/* --- Import -------------------------------------------------------------- */

static int look(struct copy *copy)
{
	struct image_info info;
	struct error error;
	struct stat is;

	if (stat(copy->file, &is) < 0 || access(copy->file, R_OK) < 0)
		return cli_error(CLI_FAILED, "%s: %s", copy->file,
				 strerror(errno));
	if (!S_ISREG(is.st_mode) && !S_ISBLK(is.st_mode))
		return cli_error(CLI_FAILED,
				 "%s: neither a file nor a block device",
				 copy->file);
	if (image_look(copy->path, copy->options[FORMAT], &info, &error) < 0)
		return cli_error(CLI_FAILED, "%s: %s", copy->file, error.text);
	if (!image_knows(info.format, false))
		return cli_error(
			CLI_FAILED,
			"%s looks like %s, which is not imported: say --format if it is %s",
			copy->file, info.format, image_formats(false));
	if (info.backing[0] && !copy->options[BACKING])
		return cli_error(
			CLI_FAILED,
			"%s needs another file, %s: say --backing if that is to be read too",
			copy->file, info.backing);
	memcpy(copy->format, info.format, sizeof(copy->format));
	copy->size_bytes = info.size_bytes;
	return CLI_DONE;
}

static int create(struct copy *copy)
{
	const uint64_t size_bytes = (copy->size_bytes + BLOCK_BYTES - 1) /
		BLOCK_BYTES * BLOCK_BYTES;
	json_t *body = json_pack("{s:s, s:I}", "name", copy->vdev, "size",
				 (json_int_t)size_bytes);
	json_t *vdev;
	int status;

	cli_set_text(body, "pool", copy->options[POOL]);
	status = cli_ask(copy->cli, "POST", "/v1/vdevs", body, &vdev);
	if (status == CLI_DONE) {
		json_decref(vdev);
		copy->is_created = true;
	}
	return status;
}

static int check_size(const struct copy *copy)
{
	char has[UNITS_TEXT_MAX], needs[UNITS_TEXT_MAX];
	json_int_t size_bytes;
	json_t *vdev;
	const int status = cli_ask_one(copy->cli, "GET", "vdevs", copy->vdev,
				       "", NULL, &vdev);

	if (status != CLI_DONE)
		return status;
	size_bytes = json_integer_value(json_object_get(vdev, "size_bytes"));
	json_decref(vdev);
	if ((uint64_t)size_bytes >= copy->size_bytes)
		return CLI_DONE;
	units_format_size(has, sizeof(has), (uint64_t)size_bytes);
	units_format_size(needs, sizeof(needs), copy->size_bytes);
	return cli_error(
		CLI_FAILED,
		"%s holds %s, and vdev '%s' has room for %s: 'penstock vdev resize %s %lluMiB' before",
		copy->file, needs, copy->vdev, has, copy->vdev,
		(unsigned long long)((copy->size_bytes + MIB - 1) / MIB));
}

static int import_failed(const struct copy *copy, const struct error *why)
{
	json_t *value = NULL;

	if (!copy->is_created)
		return cli_error(
			CLI_FAILED,
			"%s: %s; vdev '%s' holds a part of it now: import it again",
			copy->file, why->text, copy->vdev);
	cli_error(CLI_FAILED, "%s: %s; vdev '%s' is deleted again", copy->file,
		  why->text, copy->vdev);
	if (cli_ask_one(copy->cli, "DELETE", "vdevs", copy->vdev, "", NULL,
			&value) == CLI_DONE)
		json_decref(value);
	return CLI_FAILED;
}

static int import(struct copy *copy)
{
	const char *args[IMAGE_ARGS_MAX] = {
		"-n", "-t", "writeback", "-f", copy->format, "-O", "raw"};
	unsigned int count = 7;
	json_int_t others;
	struct error error;
	int status, ret;

	status = copy->options[CREATE] ? create(copy) : check_size(copy);
	if (status == CLI_DONE)
		status = open_way(copy);
	if (status != CLI_DONE) {
		error_set(&error, 0, "nothing was written");
		return copy->is_created ? import_failed(copy, &error) : status;
	}
	others = sessions(copy);
	/* What was never written to reads as zeroes. */
	if (copy->is_created)
		args[count++] = "--target-is-zero";
	args[count++] = copy->path;
	args[count++] = copy->uri;
	ret = convert(copy, args, &error);
	close_way(copy);
	return ret < 0 ? import_failed(copy, &error) : tell(copy, others);
}

int cli_import(struct cli *cli, const struct cli_args *args)
{
	struct copy copy = {
		.cli = cli,
		.options = args->options,
		.vdev = args->operands[0],
		.file = args->operands[1],
		.begun_ns = now_ns(),
		.is_import = true,
	};
	int status = check_options(&copy);

	if (status == CLI_DONE && copy.options[POOL] && !copy.options[CREATE])
		status = cli_error(CLI_USAGE, "--pool goes with --create");
	if (status == CLI_DONE)
		status = set_path(&copy);
	if (status != CLI_DONE)
		return status;
	image_begin();
	status = look(&copy);
	if (status == CLI_DONE)
		status = import(&copy);
	image_end();
	return status;
}

/* --- Export -------------------------------------------------------------- */

/* Whether it may be written; '*ret_is_device': in place. */
static int check_target(const struct copy *copy, bool *ret_is_device)
{
	struct stat is;

	*ret_is_device = false;
	if (stat(copy->file, &is) < 0)
		return errno == ENOENT ? CLI_DONE :
					 cli_error(CLI_FAILED, "%s: %s",
						   copy->file, strerror(errno));
	if (!S_ISREG(is.st_mode) && !S_ISBLK(is.st_mode))
		return cli_error(CLI_FAILED,
				 "%s: neither a file nor a block device",
				 copy->file);
	if (!copy->options[FORCE])
		return cli_error(
			CLI_FAILED,
			"%s exists: say --force if it is to be written over",
			copy->file);
	*ret_is_device = S_ISBLK(is.st_mode);
	return CLI_DONE;
}

static void warn_if_used(const struct copy *copy)
{
	if (sessions(copy) > 0)
		cli_error(
			CLI_DONE,
			"note: vdev '%s' is in use: what is written meanwhile may be in the copy or not, as after a crash or worse; say --snapshot for a copy of one instant",
			copy->vdev);
}

/* A new file beside it, of the mode that a new file has. */
static int make_beside(struct copy *copy)
{
	const mode_t mask = umask(0);
	size_t length = strlen(copy->path);
	int fd;

	umask(mask);
	if (length + sizeof(".XXXXXX") > sizeof(copy->path))
		return cli_error(CLI_FAILED, "%s: %s", copy->file,
				 strerror(ENAMETOOLONG));
	strcpy(copy->path + length, ".XXXXXX");
	fd = mkstemp(copy->path);
	if (fd < 0)
		return cli_error(CLI_FAILED, "%s: %s", copy->file,
				 strerror(errno));
	fchmod(fd, 0666 & ~mask);
	close(fd);
	return CLI_DONE;
}

/* Put the copy in its place, or away.  Returns an exit status. */
static int settle(const struct copy *copy, bool is_device, int ret,
		  struct error *why)
{
	if (ret == 0 && !is_device && rename(copy->path, copy->file) < 0)
		ret = error_set(why, -errno, "%s", strerror(errno));
	if (ret == 0)
		return CLI_DONE;
	if (!is_device)
		unlink(copy->path);
	return cli_error(
		CLI_FAILED, "%s: %s; %s", copy->file, why->text,
		is_device ? "a part of the vdev is on it" :
			copy->options[FORCE] ?
			    "nothing is left of it but what was there before" :
			    "nothing is left of it");
}

static int export_to(struct copy *copy, bool is_device)
{
	const char *args[IMAGE_ARGS_MAX] = {"-t",  "writeback", "-f",
					    "raw", "-O",	copy->format};
	unsigned int count = 6;
	struct error error;
	json_int_t others;
	int status = open_way(copy), ret;

	if (status != CLI_DONE)
		return status;
	others = sessions(copy);
	copy->size_bytes = (uint64_t)json_integer_value(
		json_object_get(copy->way, "size_bytes"));
	warn_if_used(copy);
	if (!is_device)
		status = make_beside(copy);
	if (status == CLI_DONE) {
		if (is_device)
			args[count++] = "-n";
		args[count++] = copy->uri;
		args[count++] = copy->path;
		ret = convert(copy, args, &error);
		status = settle(copy, is_device, ret, &error);
	}
	close_way(copy);
	return status == CLI_DONE ? tell(copy, others) : status;
}

/* One of this call alone. */
static int make_snapshot(struct copy *copy)
{
	json_t *body = json_object(), *made = NULL;
	char name[NAME_BYTES];
	int status;

	snprintf(name, sizeof(name), "%.40s.export.%ld", copy->vdev,
		 (long)getpid());
	cli_set_text(body, "name", name);
	cli_set_text(body, "limit", copy->options[LIMIT]);
	status = cli_ask_one(copy->cli, "POST", "vdevs", copy->vdev,
			     "/snapshots", body, &made);
	if (status == CLI_DONE) {
		json_decref(made);
		memcpy(copy->snapshot, name, sizeof(name));
	}
	return status;
}

static int delete_snapshot(const struct copy *copy)
{
	json_t *value = NULL;
	const int status = cli_ask_one(copy->cli, "DELETE", "vdevs",
				       copy->snapshot, "", NULL, &value);

	json_decref(value);
	return status == CLI_DONE ?
		CLI_DONE :
		cli_error(CLI_FAILED,
			  "snapshot '%s' is left: 'penstock vdev delete' it",
			  copy->snapshot);
}

static int export_snapshot(struct copy *copy, bool is_device)
{
	int status = make_snapshot(copy), deleted;

	if (status != CLI_DONE)
		return status;
	status = export_to(copy, is_device);
	deleted = delete_snapshot(copy);
	return status == CLI_DONE ? deleted : status;
}

static int check_snapshot(const struct copy *copy)
{
	if (copy->options[LIMIT] && !copy->options[SNAPSHOT])
		return cli_error(CLI_USAGE, "--limit goes with --snapshot");
	if (copy->options[PASID] && copy->options[SNAPSHOT])
		return cli_error(
			CLI_USAGE,
			"no process is bound to a snapshot that is not made yet: --limit, or make one with 'penstock vdev snapshot'");
	return CLI_DONE;
}

int cli_export(struct cli *cli, const struct cli_args *args)
{
	struct copy copy = {
		.cli = cli,
		.options = args->options,
		.vdev = args->operands[0],
		.file = args->operands[1],
		.begun_ns = now_ns(),
	};
	bool is_device;
	int status = check_options(&copy);

	snprintf(copy.format, sizeof(copy.format), "%s",
		 copy.options[FORMAT] ? copy.options[FORMAT] : "raw");
	if (status == CLI_DONE)
		status = check_snapshot(&copy);
	if (status == CLI_DONE)
		status = set_path(&copy);
	if (status == CLI_DONE)
		status = check_target(&copy, &is_device);
	if (status != CLI_DONE)
		return status;
	image_begin();
	status = copy.options[SNAPSHOT] ? export_snapshot(&copy, is_device) :
					  export_to(&copy, is_device);
	image_end();
	return status;
}
