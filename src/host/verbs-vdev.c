/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs-vdev.c - what is asked for at run time: vdevs, devices, enforcement
 */
#include "host/host-data.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/container.h"
#include "base/units.h"
#include "host/endpoint.h"
#include "host/listen.h"
#include "host/records.h"

#define CALIBRATION_NS		UINT64_C(10000000000)
#define CALIBRATION_MAX_NS	UINT64_C(600000000000)

/* --- Writing down -------------------------------------------------------- */

struct vdev_write {
	struct store_write write;
	struct host *host;
	struct reg_vdev *vdev;
	struct host_call *call;
	uint64_t size_before_bytes;
	enum reg_vdev_state state_before;
};

static struct vdev_write *write_new(struct host *host, struct reg_vdev *vdev,
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

static int parse_size(const char *text, uint64_t *ret_bytes,
		      struct error *reterr)
{
	uint64_t bytes;
	int ret = units_parse_size(text, &bytes, reterr);

	if (ret < 0)
		return ret;
	if (bytes == 0 || bytes % 512 || bytes > CONFIG_SIZE_MAX)
		return error_set(
			reterr, -EINVAL,
			"'%s' is not a size from 512 B to 64 PiB in whole blocks of 512 B",
			text);
	*ret_bytes = bytes;
	return 0;
}

/* --- Creating ------------------------------------------------------------ */

/* Everything asked before is answered: is it served? */
static void vdev_created(struct bind_op *op, struct link_reply *reply)
{
	(void)reply;
	if (op->vdev->state == REG_VDEV_FAILED)
		host_answer(op->call, HOST_FAILED, NULL, "vdev %s: %s",
			    op->vdev->name, op->vdev->error.text);
	else
		host_answer(op->call, HOST_DONE,
			    host_vdev(op->endpoint->host, op->vdev->name), "%s",
			    "");
}

static void vdev_create_written(struct store_write *write)
{
	struct vdev_write *written =
		container_of(write, struct vdev_write, write);
	struct reg_vdev *vdev = written->vdev;
	struct bind_op op = {
		.endpoint = reg_vdev_endpoint(vdev),
		.vdev = vdev,
		.call = written->call,
		.then = vdev_created,
	};
	struct event_subject subject = {.vdev = vdev->name};

	if (write->result < 0) {
		host_answer(written->call, HOST_FAILED, NULL, "%s",
			    write->error.text);
		listen_close(vdev->listen_fd, vdev->vhost_user);
		registry_vdev_free(written->host->registry, vdev);
		free(written);
		return;
	}
	vdev->is_writing = false;
	vdev->is_journaled = true;
	events_add(written->host->events, "vdev-created", &subject,
		   "vdev %s is made in pool %s", vdev->name, vdev->pool->name);
	bind_sync(op.endpoint);
	bind_ask(&op, json_pack("{s:s}", "op", "status"), -1);
	free(written);
}

static int check_create(struct host *host,
			const struct host_vdev_request *request,
			struct reg_vdev *made, struct error *reterr)
{
	int ret = 0;

	if (!request->name || !request->size)
		return error_set(reterr, -EINVAL,
				 "a vdev needs a name and a size");
	ret = config_check_name(request->name, reterr);
	if (ret == 0)
		ret = parse_size(request->size, &made->size_bytes, reterr);
	if (ret == 0 && request->vhost_user)
		ret = config_check_socket(request->vhost_user, reterr);
	if (ret == 0 && request->queues > CONFIG_QUEUES_MAX)
		ret = error_set(reterr, -EINVAL, "queues: from 1 to %u",
				CONFIG_QUEUES_MAX);
	made->limits.burst_ns = CONFIG_BURST_DEFAULT_NS;
	if (ret == 0 && request->limit)
		ret = config_parse_limit(request->limit, &made->limits, reterr);
	if (ret == 0 && request->burst)
		ret = units_parse_duration(request->burst,
					   &made->limits.burst_ns, reterr);
	if (ret < 0)
		return ret;
	if (request->pool)
		made->pool = registry_pool(host->registry, request->pool);
	else if (host->registry->pool_count == 1)
		made->pool = &host->registry->pools[0];
	else
		return error_set(reterr, -EINVAL,
				 "which of the %u pools? name one",
				 host->registry->pool_count);
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
	vdev->size_bytes = made->size_bytes;
	vdev->limits = made->limits;
	vdev->queues =
		request->queues ? request->queues : CONFIG_QUEUES_DEFAULT;
	vdev->read_only = request->read_only;
	vdev->is_runtime = true;
	return vdev;
}

void host_vdev_create(struct host *host,
		      const struct host_vdev_request *request,
		      struct host_call *call)
{
	struct reg_vdev made = {.pool = NULL};
	struct vdev_write *op = NULL;
	struct reg_vdev *vdev;
	struct error why;
	int ret = -ENOMEM;

	if (check_create(host, request, &made, &why) < 0) {
		host_answer(call, HOST_USAGE, NULL, "%s", why.text);
		return;
	}
	if (!made.pool) {
		host_answer(call, HOST_FAILED, NULL, "there is no pool '%s'",
			    request->pool);
		return;
	}
	if (made.pool->device->state != REG_DEVICE_READY) {
		host_answer(call, HOST_FAILED, NULL, "device %s is not ready",
			    made.pool->device->name);
		return;
	}
	if (check_free(host, request, &why) < 0) {
		host_answer(call, HOST_FAILED, NULL, "%s", why.text);
		return;
	}
	error_set(&why, ret, "out of memory");
	vdev = vdev_make(host, request, &made);
	if (vdev)
		ret = registry_place(host->registry, vdev, &why);
	if (ret == 0 && vdev->vhost_user)
		ret = listen_open(vdev->vhost_user, &vdev->listen_fd, &why);
	if (ret == 0) {
		op = write_new(host, vdev, call, vdev_create_written);
		if (!op || records_put_placement(&op->write, vdev) < 0 ||
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
	store_write_start(host->store, &op->write);
}

/* --- Resizing ------------------------------------------------------------ */

static void vdev_resize_written(struct store_write *write)
{
	struct vdev_write *op = container_of(write, struct vdev_write, write);
	struct reg_vdev *vdev = op->vdev;
	struct reg_device *device = vdev->pool->device;
	uint64_t before = extents_round(op->size_before_bytes);
	uint64_t after = extents_round(vdev->size_bytes);
	struct event_subject subject = {.vdev = vdev->name};

	vdev->is_writing = false;
	if (write->result < 0) {
		vdev->size_bytes = op->size_before_bytes;
		extents_resize(&device->extents, device->size_bytes,
			       vdev->offset_bytes, vdev->size_bytes);
		host_answer(op->call, HOST_FAILED, NULL, "%s",
			    write->error.text);
		free(op);
		return;
	}
	/* What was cut off is emptied before anybody else has it. */
	if (after < before &&
	    extents_resize(&device->extents, device->size_bytes,
			   vdev->offset_bytes, vdev->size_bytes) == 0 &&
	    extents_take_at(&device->extents, vdev->offset_bytes + after,
			    before - after) == 0)
		bind_wipe(op->host, device, vdev->offset_bytes + after,
			  before - after);
	events_add(op->host->events, "vdev-resized", &subject,
		   "vdev %s has a new size", vdev->name);
	bind_vdev_resize(vdev, op->call);
	free(op);
}

/* Is anybody there, by its own way in or by that of a process? */
static bool is_in_use(const struct host *host, const struct reg_vdev *vdev)
{
	const struct reg_process *process;

	for (process = host->registry->processes; process;
	     process = process->next)
		if (process->vdev == vdev && process->sessions)
			return true;
	return vdev->sessions > 0;
}

void host_vdev_resize(struct host *host, const char *name, const char *size,
		      struct host_call *call)
{
	struct reg_vdev *vdev = registry_vdev(host->registry, name);
	struct vdev_write *op;
	uint64_t size_bytes = 0;
	struct error why;

	if (parse_size(size, &size_bytes, &why) < 0) {
		host_answer(call, HOST_USAGE, NULL, "vdev '%s': %s", name,
			    why.text);
		return;
	}
	if (!vdev || !vdev->is_placed || vdev->is_writing ||
	    vdev->state == REG_VDEV_REMOVING) {
		host_answer(call, HOST_FAILED, NULL,
			    vdev ? "vdev '%s' cannot be resized now" :
				   "there is no vdev '%s'",
			    name);
		return;
	}
	if (size_bytes < vdev->size_bytes && is_in_use(host, vdev)) {
		host_answer(call, HOST_FAILED, NULL,
			    "vdev '%s' is in use: it can only grow", name);
		return;
	}
	op = write_new(host, vdev, call, vdev_resize_written);
	if (op && size_bytes > vdev->size_bytes &&
	    extents_resize(&vdev->pool->device->extents,
			   vdev->pool->device->size_bytes, vdev->offset_bytes,
			   size_bytes) < 0) {
		free(op);
		host_answer(
			call, HOST_FAILED, NULL,
			"vdev '%s' cannot grow to %s: there is no free space behind it on %s",
			name, size, vdev->pool->device->name);
		return;
	}
	if (op) {
		op->size_before_bytes = vdev->size_bytes;
		vdev->size_bytes = size_bytes;
		vdev->is_writing = true;
	}
	if (!op || records_put_placement(&op->write, vdev) < 0 ||
	    records_put_vdev(&op->write, vdev,
			     vdev->is_runtime ? "created" : "resized") < 0) {
		if (op)
			vdev->is_writing = false;
		free(op);
		host_answer(call, HOST_FAILED, NULL, "out of memory");
		return;
	}
	store_write_start(host->store, &op->write);
}

/* --- Deleting ------------------------------------------------------------ */

/* From now on nothing begins on it or on its processes. */
static void delete_begin(struct host *host, struct reg_vdev *vdev)
{
	struct reg_process *process;

	vdev->is_writing = true;
	vdev->state = REG_VDEV_REMOVING;
	for (process = host->registry->processes; process;
	     process = process->next) {
		if (process->vdev != vdev)
			continue;
		process->state = REG_PROCESS_REMOVING;
		promise_leave(process);
	}
}

/* It could not be written down: everything is as it was. */
static void delete_take_back(const struct vdev_write *op)
{
	struct reg_vdev *vdev = op->vdev;
	struct reg_process *process;

	vdev->state = op->state_before;
	if (vdev->state == REG_VDEV_SERVING && !vdev->is_added)
		vdev->state = REG_VDEV_PENDING;
	for (process = op->host->registry->processes; process;
	     process = process->next) {
		if (process->vdev != vdev)
			continue;
		process->state = REG_PROCESS_PENDING;
		if (vdev->pool->device->state == REG_DEVICE_READY)
			bind_admit(op->host, process);
	}
	bind_sync(reg_vdev_endpoint(vdev));
}

static void vdev_delete_written(struct store_write *write)
{
	struct vdev_write *op = container_of(write, struct vdev_write, write);

	op->vdev->is_writing = false;
	if (write->result < 0) {
		delete_take_back(op);
		host_answer(op->call, HOST_FAILED, NULL, "%s",
			    write->error.text);
	} else {
		bind_vdev_remove(op->vdev, op->call);
	}
	free(op);
}

/* Why it can't go, or 0. */
static int check_unused(struct host *host, const struct reg_vdev *vdev,
			struct error *reterr)
{
	const struct reg_process *process;

	if (vdev->is_writing || vdev->state == REG_VDEV_REMOVING)
		return error_set(reterr, -EBUSY, "vdev '%s' is being changed",
				 vdev->name);
	if (vdev->sessions)
		return error_set(reterr, -EBUSY,
				 "vdev '%s' is in use: detach it first",
				 vdev->name);
	for (process = host->registry->processes; process;
	     process = process->next) {
		if (process->vdev != vdev)
			continue;
		if (process->is_runtime || process->is_writing ||
		    process->sessions || process->state == REG_PROCESS_REMOVING)
			return error_set(
				reterr, -EBUSY,
				"vdev '%s' has process %u: release it first",
				vdev->name, process->pasid);
	}
	return 0;
}

/* --- Orphans: the space of vdevs that nobody names any more -------------- */

struct orphan_write {
	struct store_write write;
	struct host *host;
	struct host_call *call;
	struct reg_device *device;
	uint64_t offset_bytes, size_bytes;
	char name[CONFIG_NAME_MAX + 1];
};

static void orphan_delete_written(struct store_write *write)
{
	struct orphan_write *op =
		container_of(write, struct orphan_write, write);

	if (write->result < 0) {
		host_answer(op->call, HOST_FAILED, NULL, "%s",
			    write->error.text);
	} else {
		json_object_del(op->host->registry->orphans, op->name);
		if (op->device)
			bind_wipe(op->host, op->device, op->offset_bytes,
				  op->size_bytes);
		host_answer(op->call, HOST_DONE, NULL, "%s", "");
	}
	free(op);
}

static void orphan_delete(struct host *host, const char *name,
			  const json_t *record, struct host_call *call)
{
	struct orphan_write *op = calloc(1, sizeof(*op));
	const char *device =
		json_string_value(json_object_get(record, "device"));

	if (!op) {
		host_answer(call, HOST_FAILED, NULL, "out of memory");
		return;
	}
	op->host = host;
	op->call = call;
	op->device = registry_device(host->registry, device ? device : "");
	op->offset_bytes = (uint64_t)json_integer_value(
		json_object_get(record, "offset_bytes"));
	op->size_bytes = (uint64_t)json_integer_value(
		json_object_get(record, "size_bytes"));
	strncpy(op->name, name, CONFIG_NAME_MAX);
	store_write_init(&op->write, orphan_delete_written);
	store_write_put(&op->write, STORE_PLACEMENT, op->name, NULL);
	store_write_put(&op->write, STORE_VDEV, op->name, NULL);
	store_write_start(host->store, &op->write);
}

void host_vdev_delete(struct host *host, const char *name,
		      struct host_call *call)
{
	struct reg_vdev *vdev = registry_vdev(host->registry, name);
	const json_t *orphan = json_object_get(host->registry->orphans, name);
	struct vdev_write *op;
	struct error why;
	int ret;

	if (!vdev && orphan) {
		orphan_delete(host, name, orphan, call);
		return;
	}
	if (!vdev) {
		host_answer(call, HOST_FAILED, NULL, "there is no vdev '%s'",
			    name);
		return;
	}
	if (check_unused(host, vdev, &why) < 0) {
		host_answer(call, HOST_FAILED, NULL, "%s", why.text);
		return;
	}
	op = write_new(host, vdev, call, vdev_delete_written);
	ret = op ? store_write_put(&op->write, STORE_PLACEMENT, name, NULL) :
		   -ENOMEM;
	if (ret == 0)
		ret = vdev->is_runtime ?
			store_write_put(&op->write, STORE_VDEV, name, NULL) :
			records_put_vdev(&op->write, vdev, "deleted");
	if (ret < 0) {
		free(op);
		host_answer(call, HOST_FAILED, NULL, "out of memory");
		return;
	}
	op->state_before = vdev->state;
	delete_begin(host, vdev);
	store_write_start(host->store, &op->write);
}

/* --- Devices, enforcement ------------------------------------------------ */

void host_device_calibrate(struct host *host, const char *name,
			   uint64_t duration_ns, struct host_call *call)
{
	struct reg_device *device = registry_device(host->registry, name);

	if (!device) {
		host_answer(
			call, HOST_FAILED, NULL,
			"there is no device '%s' (or several: say ENDPOINT/DEVICE)",
			name);
		return;
	}
	if (duration_ns > CALIBRATION_MAX_NS) {
		host_answer(call, HOST_USAGE, NULL,
			    "a calibration takes at most 10 min");
		return;
	}
	if (device->state != REG_DEVICE_READY || device->calibrate_ns) {
		host_answer(call, HOST_FAILED, NULL, "device %s is %s",
			    device->name,
			    device->calibrate_ns ? "being measured already" :
						   "not ready");
		return;
	}
	device->calibrate_ns = duration_ns ? duration_ns : CALIBRATION_NS;
	device->calibrate_call = call;
	bind_calibrate_next(device->endpoint);
}

struct enforcing {
	struct host *host;
	struct host_call *call;
	unsigned int pending;
	struct error error;
	bool failed;
};

static void enforce_one_answered(struct enforcing *enforcing)
{
	if (--enforcing->pending)
		return;
	if (enforcing->failed)
		host_answer(enforcing->call, HOST_FAILED, NULL, "%s",
			    enforcing->error.text);
	else
		host_answer(enforcing->call, HOST_DONE,
			    json_pack("{s:b}", "enforce",
				      enforcing->host->is_enforcing),
			    "%s", "");
	free(enforcing);
}

static void enforce_answered(void *arg, struct link_reply *reply)
{
	struct enforcing *enforcing = arg;

	/* One that died is told when it is back. */
	if (reply->result < 0 && reply->result != -ECONNRESET) {
		enforcing->failed = true;
		error_set(&enforcing->error, reply->result, "%s", reply->text);
	}
	enforce_one_answered(enforcing);
}

void host_enforce(struct host *host, bool on, struct host_call *call)
{
	struct enforcing *enforcing = calloc(1, sizeof(*enforcing));
	unsigned int i;

	if (!enforcing) {
		host_answer(call, HOST_FAILED, NULL, "out of memory");
		return;
	}
	enforcing->host = host;
	enforcing->call = call;
	enforcing->pending = 1;
	host->is_enforcing = on;
	events_add(host->events, "enforce", NULL, "enforcement is %s",
		   on ? "on" : "off");
	for (i = 0; i < host->registry->endpoint_count; i++) {
		struct reg_endpoint *endpoint = &host->registry->endpoints[i];

		if (!endpoint->is_connected)
			continue;
		enforcing->pending++;
		endpoint_request(
			endpoint->process,
			json_pack("{s:s, s:b}", "op", "enforce", "on", on), -1,
			enforce_answered, enforcing);
	}
	enforce_one_answered(enforcing);
}
