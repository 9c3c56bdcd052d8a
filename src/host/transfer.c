/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transfer.c - ways in by NBD for one import or export of a vdev
 *
 * Whoever asks for one copies the data himself, with his own rights to his own
 * file: penstockd opens nothing that he names.  It opens a socket beside that
 * of the API which is his alone, and hands it to the endpoint as a way in of
 * the kind "transfer": for one connection, read-only for an export, in the
 * name of the unpromised default or of a process that he names.
 *
 *      asked for --> OPENING --> OPEN --> CLOSING --> gone
 *
 * It closes when he says so, when his connection ends, when none has come in
 * TRANSFER_WAIT_NS, and when the endpoint is lost.  The next penstockd finds
 * it at the endpoint and closes it (adopt.c); the paths that one leaves behind
 * which dies are taken away at the start.
 */
#include "host/host-data.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/listen.h"

#define TRANSFER_WAIT_NS UINT64_C(30000000000)
#define TRANSFER_MARK ".transfer-" /* API's socket, this, vdev */

enum transfer_state {
	TRANSFER_OPENING,
	TRANSFER_OPEN,
	TRANSFER_CLOSING,
};

struct transfer {
	struct transfer *next;
	struct host *host;
	struct reg_vdev *vdev; /* is not deleted while it is here */
	enum transfer_state state;
	bool is_import;
	uint32_t uid, pasid;
	uint64_t until_ns; /* none has come by then; 0: one has */
	int listen_fd;
	char path[LISTEN_PATH_MAX + CONFIG_NAME_MAX];
	struct host_call *call; /* waits for its begin, or its end */
};

static struct transfer *find(const struct host *host,
			     const struct reg_vdev *vdev)
{
	struct transfer *transfer = host->transfers;

	while (transfer && transfer->vdev != vdev)
		transfer = transfer->next;
	return transfer;
}

bool transfer_is_on(const struct host *host, const struct reg_vdev *vdev)
{
	return find(host, vdev) != NULL;
}

static const char *name_of(const struct transfer *transfer)
{
	return transfer->is_import ? "import" : "export";
}

static void transfer_free(struct transfer *transfer)
{
	struct transfer **link = &transfer->host->transfers;

	while (*link != transfer)
		link = &(*link)->next;
	*link = transfer->next;
	listen_close(transfer->listen_fd, transfer->path);
	free(transfer);
}

/* --- The end ------------------------------------------------------------- */

static void is_over(struct transfer *transfer)
{
	struct host_call *call = transfer->call;
	struct event_subject subject = {.vdev = transfer->vdev->name};

	events_add(transfer->host->events, "transfer", &subject,
		   "vdev %s: the %s is over", transfer->vdev->name,
		   name_of(transfer));
	transfer_free(transfer);
	host_answer(call, HOST_DONE, NULL, "%s", "");
}

static void closed(struct bind_op *op, struct link_reply *reply)
{
	(void)reply; /* refused or lost: it is gone at the endpoint */
	is_over(op->arg);
}

/* Nobody can come any more; who is there is drained. */
static void transfer_close(struct transfer *transfer, struct host_call *call)
{
	const struct bind_op op = {
		.endpoint = reg_vdev_endpoint(transfer->vdev),
		.vdev = transfer->vdev,
		.arg = transfer,
		.then = closed,
	};

	transfer->state = TRANSFER_CLOSING;
	transfer->call = call;
	listen_close(transfer->listen_fd, transfer->path);
	transfer->listen_fd = -1;
	bind_ask(&op,
		 json_pack("{s:s, s:s, s:s}", "op", "unlisten", "kind",
			   "transfer", "vdev", transfer->vdev->name),
		 -1);
}

void host_vdev_transfer_end(struct host *host, const char *name, uint32_t uid,
			    struct host_call *call)
{
	const struct reg_vdev *vdev = registry_vdev(host->registry, name);
	struct transfer *transfer = vdev ? find(host, vdev) : NULL;

	if (!transfer)
		host_answer(call, HOST_NOT_FOUND, NULL,
			    "vdev '%s' is neither imported nor exported", name);
	else if (uid != UINT32_MAX && transfer->uid != uid)
		host_answer(call, HOST_CONFLICT, NULL,
			    "vdev '%s': another user's %s", name,
			    name_of(transfer));
	else if (transfer->state != TRANSFER_OPEN)
		host_answer(
			call, HOST_CONFLICT, NULL,
			"vdev '%s': the %s is beginning or ending: ask again",
			name, name_of(transfer));
	else
		transfer_close(transfer, call);
}

void transfer_session(struct host *host, const json_t *event)
{
	const char *name = json_string_value(json_object_get(event, "vdev"));
	const struct reg_vdev *vdev =
		name ? registry_vdev(host->registry, name) : NULL;
	struct transfer *transfer = vdev ? find(host, vdev) : NULL;
	const unsigned int sessions = (unsigned int)json_integer_value(
		json_object_get(event, "sessions"));

	if (!transfer || transfer->state == TRANSFER_CLOSING)
		return;
	if (sessions > 0)
		transfer->until_ns = 0;
	else if (transfer->state == TRANSFER_OPEN)
		transfer_close(transfer, NULL);
}

/* What was asked for and not answered ends with the answer. */
void transfer_lost(const struct reg_endpoint *endpoint)
{
	struct transfer *transfer, *next;

	for (transfer = endpoint->host->transfers; transfer; transfer = next) {
		next = transfer->next;
		if (transfer->state == TRANSFER_OPEN &&
		    reg_vdev_endpoint(transfer->vdev) == endpoint)
			is_over(transfer);
	}
}

void transfer_tick(struct host *host, uint64_t now_ns)
{
	struct transfer *transfer, *next;

	for (transfer = host->transfers; transfer; transfer = next) {
		const bool is_late =
			transfer->until_ns && now_ns >= transfer->until_ns;

		next = transfer->next;
		if (transfer->state == TRANSFER_OPEN && is_late)
			transfer_close(transfer, NULL);
	}
}

/* --- The begin ----------------------------------------------------------- */

static json_t *describe(const struct transfer *transfer)
{
	const struct reg_vdev *vdev = transfer->vdev;
	json_t *object = json_pack(
		"{s:s, s:s, s:s, s:I, s:b, s:i}", "vdev", vdev->name,
		"direction", name_of(transfer), "socket", transfer->path,
		"size_bytes", (json_int_t)vdev->size_bytes, "read_only",
		!transfer->is_import, "sessions",
		vdev->read_only ?
			0 :
			(int)reg_vdev_sessions(transfer->host->registry, vdev));
	char export[CONFIG_NAME_MAX + 16];

	snprintf(export, sizeof(export), transfer->pasid ? "%s/%u" : "%s",
		 vdev->name, transfer->pasid);
	json_object_set_new(object, "export", json_string(export));
	return object;
}

static void opened(struct bind_op *op, struct link_reply *reply)
{
	struct transfer *transfer = op->arg;
	struct host_call *call = transfer->call;
	struct event_subject subject = {.vdev = op->vdev->name};

	transfer->call = NULL;
	if (reply->result < 0) {
		transfer_free(transfer);
		host_answer(call, HOST_FAILED, NULL, "vdev '%s': %s",
			    op->vdev->name, reply->text);
		return;
	}
	transfer->state = TRANSFER_OPEN;
	events_add(transfer->host->events, "transfer", &subject,
		   "vdev %s: uid %u may %s it", op->vdev->name, transfer->uid,
		   name_of(transfer));
	host_answer(call, HOST_DONE, describe(transfer), "%s", "");
}

/* Why it cannot be, into 'ret_why'; or HOST_DONE. */
static enum host_result check(const struct host *host,
			      const struct host_transfer_request *request,
			      const struct reg_vdev *vdev,
			      struct error *ret_why)
{
	const struct reg_process *process = request->pasid ?
		registry_process(host->registry, request->pasid) :
		NULL;
	const char *name = request->vdev;

	if (!vdev || (request->pasid && !process)) {
		error_set(ret_why, -ENOENT,
			  vdev ? "there is no process with PASID %u" :
				 "there is no such vdev",
			  request->pasid);
		return HOST_NOT_FOUND;
	}
	if (vdev->state != REG_VDEV_SERVING || !vdev->is_added)
		error_set(ret_why, -EBUSY, "vdev '%s' is not served now", name);
	else if (process &&
		 (process->vdev != vdev || process->state != REG_PROCESS_BOUND))
		error_set(ret_why, -EINVAL,
			  "process %u is not bound to vdev '%s'",
			  request->pasid, name);
	else if (find(host, vdev))
		error_set(
			ret_why, -EBUSY,
			"vdev '%s' is being imported or exported already: wait for that",
			name);
	else if (request->is_import && vdev->read_only)
		error_set(ret_why, -EROFS, "vdev '%s' is read-only", name);
	else if (request->is_import && !request->force &&
		 reg_vdev_sessions(host->registry, vdev) > 0)
		error_set(
			ret_why, -EBUSY,
			"vdev '%s' is in use, and an import writes over it: detach it first, or say --force",
			name);
	else if (!host->config->api.unix_path)
		error_set(
			ret_why, -EINVAL,
			"the configuration has no api: unix: socket beside which it could be opened");
	else
		return HOST_DONE;
	return HOST_CONFLICT;
}

/* His alone.  Returns 0 or -errno with the reason. */
static int open_socket(struct transfer *transfer, struct error *reterr)
{
	char user[12];
	const struct config_socket whose = {
		.user = user,
		.mode = 0600,
	};
	int length = snprintf(transfer->path, sizeof(transfer->path), "%s%s%s",
			      transfer->host->config->api.unix_path,
			      TRANSFER_MARK, transfer->vdev->name);

	snprintf(user, sizeof(user), "%u", transfer->uid);
	if (length >= (int)sizeof(transfer->path))
		return error_set(reterr, -ENAMETOOLONG,
				 "%s: too long with the vdev's name behind it",
				 transfer->host->config->api.unix_path);
	return listen_open(transfer->path, &whose, &transfer->listen_fd,
			   reterr);
}

/* Open it and hand a copy over. */
static int transfer_open(struct transfer *transfer, struct error *reterr)
{
	const struct bind_op op = {
		.endpoint = reg_vdev_endpoint(transfer->vdev),
		.vdev = transfer->vdev,
		.arg = transfer,
		.then = opened,
	};
	int fd, ret = open_socket(transfer, reterr);

	if (ret < 0)
		return ret;
	fd = fcntl(transfer->listen_fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return error_set(reterr, -errno, "a socket: %s",
				 strerror(errno));
	bind_ask(&op,
		 json_pack("{s:s, s:s, s:s, s:i, s:b}", "op", "listen", "kind",
			   "transfer", "vdev", transfer->vdev->name,
			   "connections", 1, "read_only", !transfer->is_import),
		 fd);
	return 0;
}

void host_vdev_transfer(struct host *host,
			const struct host_transfer_request *request,
			struct host_call *call)
{
	struct reg_vdev *vdev = registry_vdev(host->registry, request->vdev);
	struct error why;
	const enum host_result result = check(host, request, vdev, &why);
	struct transfer *transfer;

	if (result != HOST_DONE) {
		host_answer(call, result, NULL, "%s", why.text);
		return;
	}
	transfer = calloc(1, sizeof(*transfer));
	if (!transfer) {
		host_answer(call, HOST_FAILED, NULL, "out of memory");
		return;
	}
	transfer->host = host;
	transfer->vdev = vdev;
	transfer->is_import = request->is_import;
	transfer->uid = request->uid;
	transfer->pasid = request->pasid;
	transfer->until_ns = loop_clock_ns() + TRANSFER_WAIT_NS;
	transfer->listen_fd = -1;
	transfer->call = call;
	transfer->next = host->transfers;
	host->transfers = transfer;
	if (transfer_open(transfer, &why) < 0) {
		transfer_free(transfer);
		host_answer(call, HOST_FAILED, NULL, "vdev '%s': %s",
			    vdev->name, why.text);
	}
}

/* --- Life ---------------------------------------------------------------- */

void transfer_start(struct host *host)
{
	char prefix[LISTEN_PATH_MAX + sizeof(TRANSFER_MARK)], *slash;
	const char *api = host->config->api.unix_path;
	const struct dirent *entry;
	DIR *directory;

	if (!api ||
	    snprintf(prefix, sizeof(prefix), "%s%s", api, TRANSFER_MARK) >=
		    (int)sizeof(prefix))
		return;
	slash = strrchr(prefix, '/');
	if (!slash)
		return;
	*slash = '\0';
	directory = opendir(slash == prefix ? "/" : prefix);
	if (!directory)
		return;
	while ((entry = readdir(directory)) != NULL) {
		char path[sizeof(prefix) + sizeof(entry->d_name) + 1];

		if (strncmp(entry->d_name, slash + 1, strlen(slash + 1)) != 0)
			continue;
		snprintf(path, sizeof(path), "%s/%s", prefix, entry->d_name);
		listen_remove(path);
	}
	closedir(directory);
}

void transfer_finish(struct host *host)
{
	while (host->transfers)
		transfer_free(host->transfers);
}
