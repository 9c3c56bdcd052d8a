/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs-vdev.c - what is asked for at run time: vdevs made, and snapshots
 */
#include "host/verbs-vdev.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/container.h"
#include "base/units.h"
#include "host/listen.h"
#include "host/records.h"
#include "sla/choose.h"
#include "sla/limit.h"

struct vdev_write *verbs_write_new(struct host *host, struct reg_vdev *vdev,
				   struct host_call *call,
				   void (*done)(struct store_write *write))
{
	struct vdev_write *op = calloc(1, sizeof(*op));

	if (!op)
		return NULL;
	op->host = host;
	op->vdev = vdev;
	op->call = call;
	store_write_init(&op->write, done);
	return op;
}

/* --- No space ------------------------------------------------------------ */

/* Could a volume of this size be made there? */
static bool has_room(const struct registry *registry,
		     const struct reg_pool *pool, const struct reg_part *part,
		     uint64_t wanted_bytes)
{
	return reg_pool_is_ready(pool) &&
		(pool->config->thin ||
		 registry_unpromised(registry, pool, part) >= wanted_bytes);
}

void verbs_refuse_space(struct host *host, const struct reg_pool *pool,
			uint64_t wanted_bytes, uint64_t available_bytes,
			const char *text, struct host_call *call)
{
	struct promise_refusal refusal = {
		.is_refused = true,
		.metric = "capacity_bytes",
		.requested = wanted_bytes,
		.available = available_bytes,
		.shortfall = wanted_bytes - available_bytes,
	};
	json_t *value = promise_refusal_json(&refusal);
	json_t *where = json_array();

	for (unsigned int i = 0; i < host->registry->pool_count; i++) {
		const struct reg_pool *other = &host->registry->pools[i];

		if (other == pool ||
		    !has_room(host->registry, other, NULL, wanted_bytes))
			continue;
		for (unsigned int j = 0; j < other->device_count; j++)
			json_array_append_new(
				where, json_string(other->devices[j]->name));
	}
	if (pool->device_count == 1)
		json_object_set_new(value, "device",
				    json_string(pool->devices[0]->name));
	json_object_set_new(value, "where", where);
	events_add(host->events, "refused",
		   &(struct event_subject){.device = pool->devices[0]->name},
		   "%s", text);
	host_answer(call, HOST_REFUSED, value, "%s", text);
}

/* Returns whether it was refused: a thick pool has not that much. */
static bool refuse_size(struct host *host, const struct reg_vdev *made,
			const char *name, struct host_call *call)
{
	const struct reg_pool *pool = made->pool;
	const uint64_t free_bytes =
		registry_unpromised(host->registry, pool, made->part);
	char wanted[UNITS_TEXT_MAX], available[UNITS_TEXT_MAX];
	struct error text;

	if (has_room(host->registry, pool, made->part, made->size_bytes))
		return false;
	error_set(
		&text, -ENOSPC,
		"pool '%s' has no space for vdev '%s' of %s: %s of it is free",
		reg_place_name(made), name,
		units_format_size(wanted, sizeof(wanted), made->size_bytes),
		units_format_size(available, sizeof(available), free_bytes));
	verbs_refuse_space(host, pool, made->size_bytes, free_bytes, text.text,
			   call);
	return true;
}

/* --- Creating ------------------------------------------------------------ */

/* One that its endpoint does not serve: taken back, then answered. */
struct create_undo {
	struct host_call undone;	/* told when nothing of it is left */
	struct host_call *call;
	struct error why;
};

static void create_undone(struct host_call *undone,
			  const struct host_reply *reply)
{
	struct create_undo *undo =
		container_of(undone, struct create_undo, undone);

	if (reply->result == HOST_DONE)
		host_answer(undo->call, HOST_FAILED, NULL, "%s",
			    undo->why.text);
	else
		host_answer(undo->call, HOST_FAILED, NULL,
			    "%s; what is left of it: %s", undo->why.text,
			    reply->text);
	free(undo);
}

static void create_undo(struct host *host, struct reg_vdev *vdev,
			struct host_call *call)
{
	struct create_undo *undo = calloc(1, sizeof(*undo));

	if (!undo) {
		host_answer(call, HOST_FAILED, NULL,
			    "vdev %s: %s; delete it: out of memory", vdev->name,
			    vdev->error.text);
		return;
	}
	undo->undone.done = create_undone;
	undo->call = call;
	error_set(&undo->why, -EIO, "vdev %s: %s", vdev->name,
		  vdev->error.text);
	verbs_delete(host, vdev, &undo->undone);
}

/* Everything asked before is answered: is it served? */
static void vdev_created(struct bind_op *op, struct link_reply *reply)
{
	struct host *host = op->endpoint->host;
	struct reg_vdev *vdev = op->vdev;
	struct event_subject subject = {.vdev = vdev->name};

	(void)reply;
	vdev->is_writing = false;
	vdev->is_new = false;
	/* The store may have gone before us. */
	if (host->is_stopping && !vdev->is_there) {
		host_answer(
			op->call, HOST_FAILED, NULL,
			"vdev %s: penstockd ends; it goes on with it when it starts",
			vdev->name);
		return;
	}
	/* A snapshot is of now, or is not. */
	if (vdev->of_uuid[0] && !vdev->is_there &&
	    vdev->state != REG_VDEV_FAILED)
		bind_vdev_failed(vdev,
				 "its endpoint has not made the snapshot");
	if (vdev->state == REG_VDEV_FAILED) {
		create_undo(host, vdev, op->call);
		return;
	}
	if (vdev->of_uuid[0])
		events_add(host->events, "vdev-created", &subject,
			   "vdev %s is a snapshot of vdev %s", vdev->name,
			   vdev->of);
	else
		events_add(host->events, "vdev-created", &subject,
			   "vdev %s is made in pool %s", vdev->name,
			   reg_place_name(vdev));
	host_answer(op->call, HOST_DONE, host_vdev(host, vdev->name), "%s", "");
}

void verbs_vdev_made(struct reg_vdev *vdev)
{
	const struct bind_op op = {
		.endpoint = reg_vdev_endpoint(vdev),
		.vdev = vdev,
		.call = vdev->made_call,
		.then = vdev_created,
	};

	vdev->made_call = NULL;
	bind_ask(&op, json_pack("{s:s}", "op", "status"), -1);
}

static void vdev_create_written(struct store_write *write)
{
	struct vdev_write *written =
		container_of(write, struct vdev_write, write);
	struct reg_vdev *vdev = written->vdev;

	if (write->result < 0) {
		host_answer(written->call, HOST_FAILED, NULL, "%s",
			    write->error.text);
		listen_close(vdev->listen_fd, vdev->vhost_user);
		registry_vdev_free(written->host->registry, vdev);
		free(written);
		return;
	}
	vdev->is_journaled = true;
	bind_pool_held(vdev->pool);
	vdev->made_call = written->call;
	bind_sync(reg_vdev_endpoint(vdev));
	if (!vdev->is_added)
		verbs_vdev_made(vdev);	/* there is nobody who makes it now */
	free(written);
}

/* What a vdev and a snapshot are asked for with. */
static int check_request(const struct host_vdev_request *request,
			 struct reg_vdev *made, struct error *reterr)
{
	int ret = config_check_name(request->name, reterr);

	if (ret == 0 && choose_is_asked(request->name))
		ret = error_set(
			reterr, -EINVAL,
			"vdev '%s': a process would have one chosen by this name: call it otherwise",
			request->name);
	if (ret == 0 && request->vhost_user)
		ret = config_check_socket(request->vhost_user, reterr);
	if (ret == 0 && request->queues > CONFIG_QUEUES_MAX)
		ret = error_set(reterr, -EINVAL, "queues: from 1 to %u",
				CONFIG_QUEUES_MAX);
	made->limits.burst_ns = CONFIG_BURST_DEFAULT_NS;
	if (ret == 0 && request->limit)
		ret = sla_parse_limit(request->limit, &made->limits, reterr);
	if (ret == 0 && request->burst)
		ret = config_parse_burst(request->burst, &made->limits.burst_ns,
					 reterr);
	if (ret == 0 && request->on_error &&
	    on_error_parse(request->on_error, &made->on_error) < 0)
		ret = error_set(reterr, -EINVAL,
				"on-error must be report, stop or retry");
	return ret;
}

static int check_create(struct host *host,
			const struct host_vdev_request *request,
			struct reg_vdev *made, struct error *reterr)
{
	int ret = 0;

	if (!request->name || !request->size)
		return error_set(reterr, -EINVAL,
				 "a vdev needs a name and a size");
	ret = check_request(request, made, reterr);
	if (ret == 0)
		ret = config_parse_size(request->size, &made->size_bytes,
					reterr);
	if (ret < 0)
		return ret;
	if (request->pool)
		made->pool = registry_place(host->registry, request->pool,
					    &made->part);
	else if (host->registry->pool_count + host->registry->part_count == 1)
		made->pool = &host->registry->pools[0];
	else
		return error_set(reterr, -EINVAL,
				 "which of the %u pools? name one",
				 host->registry->pool_count +
					 host->registry->part_count);
	return 0;
}

/* Is the name, and the socket, nobody else's? */
static int check_free(struct host *host,
		      const struct host_vdev_request *request,
		      struct error *reterr)
{
	const struct reg_process *process;
	const struct reg_vdev *vdev;

	if (registry_vdev(host->registry, request->name))
		return error_set(reterr, -EEXIST, "vdev '%s' exists",
				 request->name);
	if (json_object_get(host->registry->orphans, request->name))
		return error_set(
			reterr, -EEXIST,
			"the data of an earlier vdev '%s' are still there: delete it first",
			request->name);
	if (!request->vhost_user)
		return 0;
	for (vdev = host->registry->vdevs; vdev; vdev = vdev->next)
		if (vdev->vhost_user &&
		    strcmp(vdev->vhost_user, request->vhost_user) == 0)
			return error_set(reterr, -EEXIST,
					 "vdev '%s' has the socket %s already",
					 vdev->name, vdev->vhost_user);
	for (process = host->registry->processes; process;
	     process = process->next)
		if (process->vhost_user &&
		    strcmp(process->vhost_user, request->vhost_user) == 0)
			return error_set(reterr, -EEXIST,
					 "process %u has the socket %s already",
					 process->pasid, process->vhost_user);
	return 0;
}

static struct reg_vdev *vdev_make(struct host *host,
				  const struct host_vdev_request *request,
				  const struct reg_vdev *made)
{
	struct reg_vdev *vdev =
		registry_vdev_new(host->registry, request->name, made->pool);

	if (!vdev)
		return NULL;
	if (request->vhost_user) {
		vdev->vhost_user = strdup(request->vhost_user);
		if (!vdev->vhost_user) {
			registry_vdev_free(host->registry, vdev);
			return NULL;
		}
	}
	vdev->part = made->part;
	vdev->size_bytes = made->size_bytes;
	vdev->limits = made->limits;
	vdev->on_error = made->on_error;
	vdev->queues =
		request->queues ? request->queues : CONFIG_QUEUES_DEFAULT;
	vdev->read_only = request->read_only;
	vdev->is_thick = !made->of_uuid[0] && !made->pool->config->thin;
	strcpy(vdev->of, made->of);
	strcpy(vdev->of_uuid, made->of_uuid);
	vdev->is_runtime = true;
	records_entry_vdev(host->config, request->name, vdev->entry);
	return vdev;
}

/* What can be asked for: is there room, and can it be written down? */
static void create(struct host *host, const struct host_vdev_request *request,
		   const struct reg_vdev *made, struct host_call *call)
{
	struct vdev_write *op = NULL;
	struct config_socket whose;
	struct reg_vdev *vdev;
	struct error why;
	int ret = -ENOMEM;

	if (!reg_pool_is_ready(made->pool)) {
		host_answer(call, HOST_CONFLICT, NULL, "pool '%s' is not ready",
			    made->pool->name);
		return;
	}
	if (check_free(host, request, &why) < 0) {
		host_answer(call, HOST_CONFLICT, NULL, "%s", why.text);
		return;
	}
	if (refuse_size(host, made, request->name, call))
		return;
	error_set(&why, ret, "out of memory");
	vdev = vdev_make(host, request, made);
	if (vdev)
		ret = reg_uuid_make(vdev->uuid);
	if (ret == 0 && vdev->vhost_user) {
		whose = config_socket_of(host->config, vdev->name, 0);
		ret = listen_open(vdev->vhost_user, &whose, &vdev->listen_fd,
				  &why);
	}
	if (ret == 0) {
		op = verbs_write_new(host, vdev, call, vdev_create_written);
		if (!op || records_put_volume(&op->write, vdev, "making") < 0 ||
		    records_put_held(&op->write, vdev->pool) < 0 ||
		    records_put_vdev(&op->write, vdev, "created") < 0)
			ret = error_set(&why, -ENOMEM, "out of memory");
	}
	if (ret < 0) {
		free(op);
		if (vdev) {
			listen_close(vdev->listen_fd, vdev->vhost_user);
			registry_vdev_free(host->registry, vdev);
		}
		host_answer(call, HOST_FAILED, NULL, "%s", why.text);
		return;
	}
	vdev->is_writing = true;
	vdev->is_new = true;
	store_write_start(host->store, &op->write);
}

void host_vdev_create(struct host *host,
		      const struct host_vdev_request *request,
		      struct host_call *call)
{
	struct reg_vdev made = {.pool = NULL};
	struct error why;

	if (check_create(host, request, &made, &why) < 0)
		host_answer(call, HOST_USAGE, NULL, "%s", why.text);
	else if (!made.pool)
		host_answer(call, HOST_NOT_FOUND, NULL, "there is no pool '%s'",
			    request->pool);
	else
		create(host, request, &made, call);
}

/* --- Snapshots ----------------------------------------------------------- */

static bool keeps_nothing(const struct reg_pool *pool)
{
	for (unsigned int i = 0; i < pool->device_count; i++)
		if (strcmp(pool->devices[i]->config->kind, "nullio") == 0)
			return true;
	return false;
}

/* Returns whether it was refused: it is not one that a snapshot can be of. */
static bool refuse_origin(const struct reg_vdev *origin, const char *name,
			  struct host_call *call)
{
	if (!origin)
		host_answer(call, HOST_NOT_FOUND, NULL, "there is no vdev '%s'",
			    name);
	else if (keeps_nothing(origin->pool))
		host_answer(
			call, HOST_CONFLICT, NULL,
			"vdev '%s' is on nullio, which keeps nothing: there is nothing to be snapshot",
			name);
	else if (origin->state == REG_VDEV_REMOVING || origin->is_writing ||
		 origin->is_resizing || !origin->is_there ||
		 !reg_vdev_endpoint(origin)->is_connected)
		host_answer(
			call, HOST_CONFLICT, NULL,
			"vdev '%s' is not served, or is being changed: ask again",
			name);
	else
		return false;
	return true;
}

/* A vdev whose volume is a snapshot of another's.  In a thick pool it counts
 * with its whole size, so that copies for those who write have room. */
void host_vdev_snapshot(struct host *host, const char *of,
			const struct host_vdev_request *request,
			struct host_call *call)
{
	const struct reg_vdev *origin = registry_vdev(host->registry, of);
	struct host_vdev_request with = *request;
	struct reg_vdev made = {.pool = NULL};
	struct error why;

	with.read_only = true;
	if (!request->name) {
		host_answer(call, HOST_USAGE, NULL, "a snapshot needs a name");
		return;
	}
	if (check_request(&with, &made, &why) < 0) {
		host_answer(call, HOST_USAGE, NULL, "%s", why.text);
		return;
	}
	if (refuse_origin(origin, of, call))
		return;
	made.pool = origin->pool;
	made.part = origin->part;
	made.size_bytes = origin->size_bytes;
	strcpy(made.of_uuid, origin->uuid);
	snprintf(made.of, sizeof(made.of), "%s", origin->name);
	create(host, &with, &made, call);
}
