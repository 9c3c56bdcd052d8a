/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unbind.c - the other half of binder.c: taking processes and vdevs away, and
 * changing a vdev's size
 *
 * A way in is closed first and answered for when it has drained; what stands
 * on it goes then.  If the endpoint dies meanwhile it is all gone, which is
 * what was wanted.
 */
#include "host/host-data.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/container.h"
#include "host/listen.h"

/* --- Processes ----------------------------------------------------------- */

static void process_gone(struct bind_op *op, struct link_reply *reply)
{
	struct reg_process *process = op->process;
	struct host *host = op->endpoint->host;
	struct host_call *call = op->call;
	uint32_t pasid = process->pasid;

	if (process->vhost_user)
		listen_close(process->listen_fd, process->vhost_user);
	registry_process_free(host->registry, process);
	if (reply->result < 0 && reply->result != -ECONNRESET)
		host_answer(call, HOST_FAILED, NULL, "process %u: %s", pasid,
			    reply->text);
	else
		host_answer(call, HOST_DONE, NULL, "%s", "");
}

static void process_way_gone(struct bind_op *op, struct link_reply *reply)
{
	struct bind_op next = *op;

	(void)reply;
	next.then = process_gone;
	bind_ask(&next,
		 json_pack("{s:s, s:I}", "op", "process-remove", "pasid",
			   (json_int_t)op->process->pasid),
		 -1);
}

static void ask_unlisten(const struct bind_op *op, const char *vdev,
			 uint32_t pasid)
{
	bind_ask(op,
		 json_pack("{s:s, s:s, s:I}", "op", "unlisten", "vdev", vdev,
			   "pasid", (json_int_t)pasid),
		 -1);
}

void bind_process_remove(struct reg_process *process, struct host_call *call)
{
	struct bind_op op = {
		.endpoint = reg_vdev_endpoint(process->vdev),
		.process = process,
		.call = call,
		.then = process_way_gone,
	};
	struct link_reply nothing = {.fd = -1};

	process->state = REG_PROCESS_REMOVING;
	promise_leave(process);
	if (!process->is_added)
		process_gone(&op, &nothing);
	else if (process->vhost_user)
		ask_unlisten(&op, process->vdev->name, process->pasid);
	else
		process_way_gone(&op, &nothing);
}

/* --- Data ---------------------------------------------------------------- */

/* The space of a deleted vdev is given back empty: the next to have it is
 * somebody else. */
struct wipe {
	struct worker_job job;
	struct reg_device *device;
	int fd;
	struct extent range;
};

static void wipe_run(struct worker_job *job)
{
	struct wipe *wipe = container_of(job, struct wipe, job);
	off_t offset = (off_t)wipe->range.offset_bytes;
	off_t size = (off_t)wipe->range.size_bytes;

	if (fallocate(wipe->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      offset, size) < 0)
		fallocate(wipe->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
			  offset, size);
}

static void wipe_done(struct worker_job *job)
{
	struct wipe *wipe = container_of(job, struct wipe, job);

	extents_release(&wipe->device->extents, wipe->range.offset_bytes);
	close(wipe->fd);
	free(wipe);
}

void bind_wipe(struct host *host, struct reg_device *device,
	       uint64_t offset_bytes, uint64_t size_bytes)
{
	struct wipe *wipe = NULL;
	int fd = -1;

	if (device->memory_fd >= 0)
		fd = fcntl(device->memory_fd, F_DUPFD_CLOEXEC, 0);
	else if (device->config->path && !device->config->read_only)
		fd = open(device->config->path, O_RDWR | O_CLOEXEC);
	if (fd >= 0)
		wipe = calloc(1, sizeof(*wipe));
	if (!wipe) {
		if (fd >= 0)
			close(fd);
		extents_release(&device->extents, offset_bytes);
		return;
	}
	wipe->device = device;
	wipe->fd = fd;
	wipe->range.offset_bytes = offset_bytes;
	wipe->range.size_bytes = size_bytes;
	wipe->job.run = wipe_run;
	wipe->job.done = wipe_done;
	worker_submit(host->files, &wipe->job);
}

/* --- Vdevs --------------------------------------------------------------- */

static void vdev_gone(struct bind_op *op, struct link_reply *reply)
{
	struct reg_vdev *vdev = op->vdev;
	struct host *host = op->endpoint->host;
	struct host_call *call = vdev->call;
	struct reg_process *process, *next;
	struct event_subject subject = {.endpoint = op->endpoint->name};

	if (reply->result < 0 && reply->result != -ECONNRESET) {
		vdev->state = REG_VDEV_FAILED;
		error_set(&vdev->error, reply->result, "%s", reply->text);
		host_answer(call, HOST_FAILED, NULL, "vdev %s: %s", vdev->name,
			    reply->text);
		return;
	}
	for (process = host->registry->processes; process; process = next) {
		next = process->next;
		if (process->vdev != vdev)
			continue;
		assert(!process->is_writing);
		if (process->vhost_user)
			listen_close(process->listen_fd, process->vhost_user);
		registry_process_free(host->registry, process);
	}
	if (vdev->vhost_user)
		listen_close(vdev->listen_fd, vdev->vhost_user);
	if (vdev->is_placed)
		bind_wipe(host, vdev->pool->device, vdev->offset_bytes,
			  vdev->size_bytes);
	vdev->is_placed = false;
	events_add(host->events, "vdev-deleted", &subject,
		   "vdev '%s' is deleted", vdev->name);
	registry_vdev_free(host->registry, vdev);
	host_answer(call, HOST_DONE, NULL, "%s", "");
}

static void ignore(struct bind_op *op, struct link_reply *reply)
{
	(void)op;
	(void)reply;
}

/* Nobody can come in any more: take what is behind the door. */
static void remove_rest(struct reg_vdev *vdev)
{
	struct bind_op op = {
		.endpoint = reg_vdev_endpoint(vdev),
		.vdev = vdev,
		.then = ignore,
	};
	struct reg_process *process;

	for (process = op.endpoint->host->registry->processes; process;
	     process = process->next)
		if (process->vdev == vdev && process->is_added)
			bind_ask(&op,
				 json_pack("{s:s, s:I}", "op", "process-remove",
					   "pasid", (json_int_t)process->pasid),
				 -1);
	op.then = vdev_gone;
	bind_ask(&op,
		 json_pack("{s:s, s:s}", "op", "vdev-remove", "name",
			   vdev->name),
		 -1);
}

static void vdev_way_gone(struct bind_op *op, struct link_reply *reply)
{
	(void)reply;
	if (--op->vdev->removing == 0)
		remove_rest(op->vdev);
}

void bind_vdev_remove(struct reg_vdev *vdev, struct host_call *call)
{
	struct bind_op op = {
		.endpoint = reg_vdev_endpoint(vdev),
		.vdev = vdev,
		.then = vdev_way_gone,
	};
	struct link_reply nothing = {.fd = -1};
	struct reg_process *process;

	vdev->state = REG_VDEV_REMOVING;
	vdev->call = call;
	vdev->removing = 1;
	for (process = op.endpoint->host->registry->processes; process;
	     process = process->next) {
		if (process->vdev != vdev)
			continue;
		process->state = REG_PROCESS_REMOVING;
		promise_leave(process);
		if (process->is_listening) {
			vdev->removing++;
			ask_unlisten(&op, vdev->name, process->pasid);
		}
	}
	if (!vdev->is_added) {
		vdev_gone(&op, &nothing);
		return;
	}
	if (vdev->is_listening) {
		vdev->removing++;
		ask_unlisten(&op, vdev->name, 0);
	}
	vdev_way_gone(&op, &nothing);
}

static void vdev_resized(struct bind_op *op, struct link_reply *reply)
{
	struct host *host = op->endpoint->host;

	if (reply->result < 0 && reply->result != -ECONNRESET)
		host_answer(op->call, HOST_FAILED, NULL, "vdev %s: %s",
			    op->vdev->name, reply->text);
	else
		host_answer(op->call, HOST_DONE,
			    host_vdev(host, op->vdev->name), "%s", "");
}

void bind_vdev_resize(struct reg_vdev *vdev, struct host_call *call)
{
	struct bind_op op = {
		.endpoint = reg_vdev_endpoint(vdev),
		.vdev = vdev,
		.call = call,
		.then = vdev_resized,
	};
	struct link_reply nothing = {.fd = -1};

	if (!vdev->is_added) {
		bind_sync(op.endpoint);
		vdev_resized(&op, &nothing);
		return;
	}
	bind_ask(&op,
		 json_pack("{s:s, s:s, s:I}", "op", "vdev-resize", "name",
			   vdev->name, "size_bytes",
			   (json_int_t)vdev->size_bytes),
		 -1);
}
