/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unbind.c - the other half of binder.c: taking processes and vdevs away
 *
 * A way in is closed first and answered for when it has drained; what stands
 * on it goes then.  If the endpoint dies meanwhile it is all gone, which is
 * what was wanted.  If it refuses, what was written down holds all the same:
 * the thing stays, on its way out, and is asked for again.
 */
#include "host/host-data.h"

#include <assert.h>
#include <errno.h>

#include "host/listen.h"

/* --- Processes ----------------------------------------------------------- */

/* The endpoint keeps it; what was written down holds, so it is to go still. */
static void process_kept(struct reg_process *process, struct host_call *call,
			 const char *why)
{
	struct host *host = reg_vdev_endpoint(process->vdev)->host;
	struct event_subject subject = {
		.pasid = process->pasid,
		.vdev = process->vdev->name,
	};

	events_add(host->events, "error", &subject,
		   "process %u is not gone: %s; release it again",
		   process->pasid, why);
	host_answer(call, HOST_FAILED, NULL, "process %u: %s; release it again",
		    process->pasid, why);
}

static void process_gone(struct bind_op *op, struct link_reply *reply)
{
	struct reg_process *process = op->process;
	struct host *host = op->endpoint->host;

	process->is_going = false;
	if (reply->result < 0 && reply->result != -ECONNRESET) {
		process_kept(process, op->call, reply->text);
		return;
	}
	if (process->vhost_user)
		listen_close(process->listen_fd, process->vhost_user);
	registry_process_free(host->registry, process);
	host_answer(op->call, HOST_DONE, NULL, "%s", "");
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
		 json_pack("{s:s, s:s, s:s, s:I}", "op", "unlisten", "kind",
			   "vhost-user", "vdev", vdev, "pasid",
			   (json_int_t)pasid),
		 -1);
}

void unbind_process(struct reg_process *process, struct host_call *call)
{
	struct bind_op op = {
		.endpoint = reg_vdev_endpoint(process->vdev),
		.process = process,
		.call = call,
		.then = process_way_gone,
	};
	struct link_reply nothing = {.fd = -1};

	process->state = REG_PROCESS_REMOVING;
	process->is_going = true;
	promise_leave(process);
	/* Asked even if it is not there: what was asked before is answered
	 * by then, and nobody speaks of it any more. */
	if (process->vhost_user)
		ask_unlisten(&op, process->vdev->name, process->pasid);
	else
		process_way_gone(&op, &nothing);
}

/* --- Vdevs --------------------------------------------------------------- */

/* As process_kept. */
static void vdev_kept(struct reg_vdev *vdev, struct host_call *call,
		      const char *why)
{
	struct reg_endpoint *endpoint = reg_vdev_endpoint(vdev);
	struct event_subject subject = {
		.vdev = vdev->name,
		.endpoint = endpoint->name,
	};

	error_set(&vdev->error, -EBUSY, "%s", why);
	events_add(endpoint->host->events, "error", &subject,
		   "vdev '%s' is not gone: %s; delete it again", vdev->name,
		   why);
	host_answer(call, HOST_FAILED, NULL, "vdev '%s': %s; delete it again",
		    vdev->name, why);
}

static void processes_gone(struct registry *registry, struct reg_vdev *vdev)
{
	struct reg_process *process, *next;

	for (process = registry->processes; process; process = next) {
		next = process->next;
		if (process->vdev != vdev)
			continue;
		assert(!process->is_writing);
		if (process->vhost_user)
			listen_close(process->listen_fd, process->vhost_user);
		registry_process_free(registry, process);
	}
}

static void vdev_gone(struct bind_op *op, struct link_reply *reply)
{
	struct reg_vdev *vdev = op->vdev;
	struct host *host = op->endpoint->host;
	struct host_call *call = vdev->call;
	struct reg_doomed *doomed = vdev->doomed;
	struct event_subject subject = {.endpoint = op->endpoint->name};

	vdev->is_going = false;
	vdev->call = NULL;
	if (reply->result < 0 && reply->result != -ECONNRESET) {
		vdev_kept(vdev, call, reply->text);
		return;
	}
	processes_gone(host->registry, vdev);
	if (vdev->vhost_user)
		listen_close(vdev->listen_fd, vdev->vhost_user);
	bind_nbd_close(vdev);
	events_add(host->events, "vdev-deleted", &subject,
		   "vdev '%s' is deleted", vdev->name);
	vdev->doomed = NULL;
	registry_vdev_free(host->registry, vdev);
	if (doomed)
		volumes_doom(host, doomed, call);
	else
		host_answer(call, HOST_DONE, NULL, "%s", "");
}

/* Nobody can come in any more: take what is behind the door. */
static void remove_rest(struct reg_vdev *vdev)
{
	struct bind_op op = {
		.endpoint = reg_vdev_endpoint(vdev),
		.vdev = vdev,
		.then = bind_ignore,
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

void unbind_vdev(struct reg_vdev *vdev, struct host_call *call)
{
	struct bind_op op = {
		.endpoint = reg_vdev_endpoint(vdev),
		.vdev = vdev,
		.then = vdev_way_gone,
	};
	struct link_reply nothing = {.fd = -1};
	struct reg_process *process;

	vdev->state = REG_VDEV_REMOVING;
	vdev->is_going = true;
	vdev->call = call;
	vdev->removing = 1;
	/* Asked even if it is not there, as above. */
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
	if (vdev->is_listening) {
		vdev->removing++;
		ask_unlisten(&op, vdev->name, 0);
	}
	if (vdev->nbd.is_listening) {
		vdev->removing++;
		bind_nbd_unlisten(&op);
	}
	vdev_way_gone(&op, &nothing);
}

/* --- Those that did not go ----------------------------------------------- */

void unbind_retry(struct host *host)
{
	struct reg_process *process, *next;
	struct reg_vdev *vdev, *next_vdev;

	for (process = host->registry->processes; process; process = next) {
		next = process->next;
		if (process->state == REG_PROCESS_REMOVING &&
		    process->vdev->state != REG_VDEV_REMOVING &&
		    !process->is_added && !process->is_going &&
		    !process->is_writing)
			unbind_process(process, NULL);
	}
	for (vdev = host->registry->vdevs; vdev; vdev = next_vdev) {
		next_vdev = vdev->next;
		if (vdev->state == REG_VDEV_REMOVING && !vdev->is_added &&
		    !vdev->is_going && !vdev->is_writing)
			unbind_vdev(vdev, NULL);
	}
}
