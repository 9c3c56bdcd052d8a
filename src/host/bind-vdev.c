/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bind-vdev.c - vdevs on their way into their endpoint, and the ways in to
 * them
 *
 * A vdev is added when its volume's UUID is written down and its pool is ready:
 * the endpoint makes the volume if it is not there; that of a snapshot is asked
 * for before.  Then its common socket, and those of its processes once these
 * are added, are handed over.  A socket that cannot be opened is tried again
 * every second; what the endpoint refuses, after a wait that doubles, or when
 * it is back.
 */
#include "host/host-data.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/container.h"
#include "ctl/ctl.h"
#include "host/endpoint.h"
#include "host/listen.h"
#include "host/records.h"

#define RETRY_MIN_NS	UINT64_C(1000000000)
#define RETRY_MAX_NS	UINT64_C(60000000000)

/* --- Vdevs --------------------------------------------------------------- */

void bind_vdev_failed(struct reg_vdev *vdev, const char *text)
{
	struct reg_endpoint *endpoint = reg_vdev_endpoint(vdev);
	struct event_subject subject = {
		.vdev = vdev->name,
		.endpoint = endpoint->name,
	};

	vdev->state = REG_VDEV_FAILED;
	vdev->retry_ns = vdev->retry_ns ? vdev->retry_ns * 2 : RETRY_MIN_NS;
	if (vdev->retry_ns > RETRY_MAX_NS)
		vdev->retry_ns = RETRY_MAX_NS;
	vdev->retry_at_ns = loop_clock_ns() + vdev->retry_ns;
	if (strcmp(vdev->error.text, text) == 0)
		return;
	error_set(&vdev->error, -EIO, "%s", text);
	events_add(endpoint->host->events, "error", &subject, "vdev %s: %s",
		   vdev->name, text);
}

bool bind_vdev_again(struct reg_vdev *vdev)
{
	if (vdev->state != REG_VDEV_FAILED || !vdev->retry_at_ns ||
	    vdev->is_new || vdev->is_writing)
		return false;
	vdev->retry_at_ns = 0;
	vdev->state = vdev->is_added ? REG_VDEV_SERVING : REG_VDEV_PENDING;
	return true;
}

/* Nothing is wrong with it any more. */
static void vdev_in_order(struct reg_vdev *vdev)
{
	struct reg_endpoint *endpoint = reg_vdev_endpoint(vdev);
	struct event_subject subject = {
		.vdev = vdev->name,
		.endpoint = endpoint->name,
	};

	vdev->retry_ns = 0;
	if (vdev->error.text[0] == '\0')
		return;
	vdev->error.text[0] = '\0';
	events_add(endpoint->host->events, "vdev-ready", &subject,
		   "vdev %s is served now", vdev->name);
}

struct volume_write {
	struct store_write write;
	struct host *host;
};

static void volume_written(struct store_write *write)
{
	struct volume_write *op =
		container_of(write, struct volume_write, write);

	if (write->result < 0)
		events_add(op->host->events, "error", NULL, "%s",
			   write->error.text);
	free(op);
}

/* Put the volume's record: it is there, and so long. */
static void record_volume(struct reg_vdev *vdev)
{
	struct host *host = reg_vdev_endpoint(vdev)->host;
	struct volume_write *op = calloc(1, sizeof(*op));

	if (!op)
		return;		/* at the next start */
	op->host = host;
	store_write_init(&op->write, volume_written);
	if (records_put_volume(&op->write, vdev, "there") < 0)
		free(op);
	else
		store_write_start(host->store, &op->write);
}

static void vdev_is_there(struct reg_vdev *vdev)
{
	vdev->is_there = true;
	if (!vdev->volume_bytes)
		vdev->volume_bytes = vdev->size_bytes;
	if (!vdev->is_made && vdev->state != REG_VDEV_REMOVING) {
		vdev->is_made = true;
		record_volume(vdev);
	}
	if (vdev->state == REG_VDEV_PENDING)
		vdev->state = REG_VDEV_SERVING;
	if (vdev->state == REG_VDEV_SERVING && !vdev->vhost_user)
		vdev_in_order(vdev);
	bind_vdev_resize(vdev);
	/* Its processes and ways in waited for it. */
	bind_sync(reg_vdev_endpoint(vdev));
}

static void vdev_added(struct bind_op *op, struct link_reply *reply)
{
	struct reg_vdev *vdev = op->vdev;

	if (reply->result >= 0) {
		vdev_is_there(vdev);
	} else if (reply->result != -ECONNRESET) {
		vdev->is_added = false;
		bind_vdev_failed(vdev, reply->text);
	}
	if (vdev->is_new)
		op->endpoint->host->bind.vdev_made(vdev);
}

/* Its volume is there, or is made empty. */
static void ask_vdev_add(struct reg_vdev *vdev)
{
	const struct bind_op op = {
		.endpoint = reg_vdev_endpoint(vdev),
		.vdev = vdev,
		.then = vdev_added,
	};

	bind_ask(
		&op,
		json_pack(
			"{s:s, s:s, s:s, s:s, s:b, s:I, s:i, s:b, s:i, s:o, s:s}",
			"op", "vdev-add", "name", vdev->name, "pool",
			vdev->pool->name, "uuid", vdev->uuid, "thick",
			vdev->is_thick, "size_bytes",
			(json_int_t)(vdev->is_resizing ? vdev->volume_bytes :
							 vdev->size_bytes),
			"queues", (int)vdev->queues, "read_only",
			vdev->read_only, "slot", vdev->slot, "limits",
			ctl_from_sched_limits(&vdev->limits), "on_error",
			on_error_name(vdev->on_error)),
		-1);
}

static void snapshot_made(struct bind_op *op, struct link_reply *reply)
{
	if (reply->result < 0)
		vdev_added(op, reply);
	else
		ask_vdev_add(op->vdev);
}

/* One that the endpoint has made before is not made again. */
static void ask_snapshot(struct reg_vdev *vdev)
{
	const struct bind_op op = {
		.endpoint = reg_vdev_endpoint(vdev),
		.vdev = vdev,
		.then = snapshot_made,
	};

	bind_ask(&op,
		 json_pack("{s:s, s:s, s:s, s:s, s:s}", "op", "volume-snapshot",
			   "pool", vdev->pool->name, "uuid", vdev->uuid, "name",
			   vdev->name, "of", vdev->of_uuid),
		 -1);
}

void bind_vdev_add(struct reg_vdev *vdev)
{
	struct reg_endpoint *endpoint = reg_vdev_endpoint(vdev);
	struct stats_segment *stats = endpoint_stats(endpoint->process);

	if (vdev->slot < 0) {
		vdev->slot = reg_slot_take(endpoint);
		if (vdev->slot < 0) {
			bind_vdev_failed(
				vdev,
				"the endpoint has too many vdevs and processes");
			return;
		}
		memset(&stats->processes[vdev->slot], 0,
		       sizeof(stats->processes[0]));
	}
	vdev->is_added = true;
	/* As long as its volume is; what it is to be, after that. */
	vdev->is_resizing =
		vdev->volume_bytes && vdev->volume_bytes != vdev->size_bytes;
	if (vdev->of_uuid[0] && !vdev->is_made)
		ask_snapshot(vdev);
	else
		ask_vdev_add(vdev);
}

/* It keeps the size that it has. */
static void vdev_resized(struct bind_op *op, struct link_reply *reply)
{
	struct reg_vdev *vdev = op->vdev;
	struct event_subject subject = {.vdev = vdev->name};

	if (reply->result >= 0) {
		vdev->volume_bytes = (uint64_t)(uintptr_t)op->arg;
		return;
	}
	if (reply->result == -ECONNRESET || vdev->is_writing ||
	    vdev->state == REG_VDEV_REMOVING)
		return;
	vdev->size_bytes = vdev->volume_bytes;
	record_volume(vdev);
	events_add(op->endpoint->host->events, "error", &subject,
		   "vdev '%s' keeps its size: %s", vdev->name, reply->text);
}

void bind_vdev_resize(struct reg_vdev *vdev)
{
	struct bind_op op = {
		.endpoint = reg_vdev_endpoint(vdev),
		.vdev = vdev,
		.arg = (void *)(uintptr_t)vdev->size_bytes,
		.then = vdev_resized,
	};

	if (!vdev->is_resizing || vdev->is_writing)
		return;
	vdev->is_resizing = false;
	/* Whoever may cut off data stood by it (verbs-resize.c). */
	bind_ask(&op,
		 json_pack("{s:s, s:s, s:I, s:b}", "op", "vdev-resize", "name",
			   vdev->name, "size_bytes",
			   (json_int_t)vdev->size_bytes, "only_empty", true),
		 -1);
}

/* --- Ways in ------------------------------------------------------------- */

/* Once for each reason: it is tried again every second. */
static void say_no_way_in(struct reg_vdev *vdev, struct reg_process *process,
			  const struct error *why)
{
	struct events *events = reg_vdev_endpoint(vdev)->host->events;
	struct error *said = process ? &process->error : &vdev->error;
	struct event_subject subject = {
		.vdev = vdev->name,
		.pasid = process ? process->pasid : 0,
	};

	if (strcmp(said->text, why->text) == 0)
		return;
	*said = *why;
	if (process)
		events_add(events, "error", &subject,
			   "process %u of vdev %s: %s", process->pasid,
			   vdev->name, why->text);
	else
		events_add(events, "error", &subject, "vdev %s: %s", vdev->name,
			   why->text);
}

static void listening(struct bind_op *op, struct link_reply *reply)
{
	struct reg_process *process = op->process;
	struct reg_vdev *vdev = op->vdev;
	struct error why;

	if (reply->result == -ECONNRESET)
		return;
	if (reply->result >= 0) {
		if (process)
			process->error.text[0] = '\0';
		else if (vdev->state != REG_VDEV_FAILED)
			vdev_in_order(vdev);
		ports_tell(vdev);
		return;
	}
	if (process)
		process->is_listening = false;
	else
		vdev->is_listening = false;
	/* The one before it is still drained: bind_retry_listeners. */
	if (reply->result == -EBUSY || vdev->state == REG_VDEV_FAILED)
		return;
	if (!process) {
		bind_vdev_failed(vdev, reply->text);
	} else if (process->is_added) {
		error_set(&why, reply->result, "%s", reply->text);
		say_no_way_in(vdev, process, &why);
	}
}

void bind_way_in(struct reg_vdev *vdev, struct reg_process *process)
{
	const char *path = process ? process->vhost_user : vdev->vhost_user;
	int *listen_fd = process ? &process->listen_fd : &vdev->listen_fd;
	bool *is_listening =
		process ? &process->is_listening : &vdev->is_listening;
	struct bind_op op = {
		.endpoint = reg_vdev_endpoint(vdev),
		.vdev = vdev,
		.process = process,
		.then = listening,
	};
	const struct config_socket whose =
		config_socket_of(op.endpoint->host->config, vdev->name,
				 process ? process->pasid : 0);
	struct error why;
	int fd;

	if (!path || *is_listening)
		return;
	if (*listen_fd < 0 && listen_open(path, &whose, listen_fd, &why) < 0) {
		say_no_way_in(vdev, process, &why);
		return;
	}
	fd = fcntl(*listen_fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return;		/* tried again by bind_retry_listeners */
	*is_listening = true;
	bind_ask(&op,
		 json_pack("{s:s, s:s, s:s, s:i}", "op", "listen", "kind",
			   "vhost-user", "vdev", vdev->name, "pasid",
			   process ? (int)process->pasid : 0),
		 fd);
}

void bind_retry_listeners(struct host *host)
{
	struct reg_process *process;
	struct reg_vdev *vdev;

	for (vdev = host->registry->vdevs; vdev; vdev = vdev->next)
		if (vdev->is_added && vdev->state == REG_VDEV_SERVING &&
		    reg_vdev_endpoint(vdev)->is_connected) {
			bind_way_in(vdev, NULL);
			bind_nbd(vdev);
		}
	for (process = host->registry->processes; process;
	     process = process->next)
		if (process->is_added && process->state == REG_PROCESS_BOUND &&
		    reg_vdev_endpoint(process->vdev)->is_connected)
			bind_way_in(process->vdev, process);
}
