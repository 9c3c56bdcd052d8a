/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs-delete.c - what is asked for at run time: vdevs that go, with their
 * data
 *
 * One group of records says that the vdev is gone and that its space is given
 * back (space.c).  From then on it goes, whatever happens: a repeated delete
 * goes on where the one before it stopped, and so does the next penstockd.
 */
#include "host/host-data.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/container.h"
#include "host/records.h"

struct delete_write {
	struct store_write write;
	struct host *host;
	struct reg_vdev *vdev;		/* NULL: only its space is left */
	struct reg_space *space;	/* NULL: it has none */
	json_t *orphan;			/* its place, or NULL */
	struct host_call *call;
	enum reg_vdev_state state_before;
	char name[CONFIG_NAME_MAX + 1];
};

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
		verbs_leave(process);
	}
}

/* It could not be written down: everything is as it was. */
static void delete_take_back(const struct delete_write *op)
{
	struct reg_vdev *vdev = op->vdev;
	struct reg_process *process;

	vdev->is_writing = false;
	vdev->state = op->state_before;
	if (vdev->state == REG_VDEV_SERVING && !vdev->is_added)
		vdev->state = REG_VDEV_PENDING;
	for (process = op->host->registry->processes; process;
	     process = process->next) {
		if (process->vdev != vdev)
			continue;
		verbs_stay(op->host, process);
	}
	bind_sync(reg_vdev_endpoint(vdev));
}

static void delete_written(struct store_write *write)
{
	struct delete_write *op =
		container_of(write, struct delete_write, write);
	struct host *host = op->host;

	if (write->result < 0) {
		if (op->vdev)
			delete_take_back(op);
		if (op->orphan)
			json_object_set(host->registry->orphans, op->name,
					op->orphan);
		free(op->space);
		host_answer(op->call, HOST_FAILED, NULL, "%s",
			    write->error.text);
		json_decref(op->orphan);
		free(op);
		return;
	}
	if (op->vdev) {
		op->vdev->is_writing = false;
		op->vdev->space = op->space;
		unbind_vdev(op->vdev, op->call);
	} else if (op->space) {
		space_give_back(host, op->space, op->call);
	} else {
		host_answer(op->call, HOST_DONE, NULL, "%s", "");
	}
	json_decref(op->orphan);
	free(op);
}

/* Where its data lie: 'ret_device' NULL: nowhere. */
static void find_space(const struct delete_write *op, const char **ret_device,
		       struct extent *ret_range, struct identity *ret_file)
{
	const struct reg_vdev *vdev = op->vdev;
	const json_t *orphan = op->orphan;

	*ret_device = NULL;
	if (vdev && vdev->is_placed) {
		*ret_device = vdev->pool->device->name;
		ret_range->offset_bytes = vdev->offset_bytes;
		ret_range->size_bytes = extents_round(vdev->size_bytes);
		*ret_file = vdev->file;
	} else if (orphan) {
		*ret_device =
			json_string_value(json_object_get(orphan, "device"));
		ret_range->offset_bytes = (uint64_t)json_integer_value(
			json_object_get(orphan, "offset_bytes"));
		ret_range->size_bytes =
			extents_round((uint64_t)json_integer_value(
				json_object_get(orphan, "size_bytes")));
		identity_from_json(ret_file, json_object_get(orphan, "file"));
	}
}

/* What is written: no place, no vdev, but space that is given back. */
static int put_delete(struct delete_write *op)
{
	struct reg_device *device = NULL;
	const char *device_name;
	struct identity file;
	struct extent range;
	int ret;

	find_space(op, &device_name, &range, &file);
	ret = store_write_put(&op->write, STORE_PLACEMENT, op->name, NULL);
	if (ret == 0)
		ret = op->vdev && op->vdev->entry[0] ?
			records_put_vdev(&op->write, op->vdev, "deleted") :
			store_write_put(&op->write, STORE_VDEV, op->name, NULL);
	if (ret == 0 && device_name) {
		device = registry_device(op->host->registry, device_name);
		ret = records_put_space(&op->write, device_name, &range, &file,
					op->name);
	}
	/* That of a device which is not configured waits on disk for it. */
	if (ret == 0 && device) {
		op->space = registry_space_new(device, &range, &file, op->name);
		ret = op->space ? 0 : -ENOMEM;
	}
	return ret;
}

static void delete_start(struct host *host, struct reg_vdev *vdev,
			 const char *name, struct host_call *call)
{
	struct delete_write *op = calloc(1, sizeof(*op));

	if (op) {
		op->host = host;
		op->vdev = vdev;
		op->call = call;
		op->orphan = json_incref(
			json_object_get(host->registry->orphans, name));
		strncpy(op->name, name, CONFIG_NAME_MAX);
		store_write_init(&op->write, delete_written);
	}
	if (!op || put_delete(op) < 0) {
		if (op)
			json_decref(op->orphan);
		free(op);
		host_answer(call, HOST_FAILED, NULL, "out of memory");
		return;
	}
	if (vdev) {
		op->state_before = vdev->state;
		delete_begin(host, vdev);
	}
	json_object_del(host->registry->orphans, name);
	store_write_start(host->store, &op->write);
}

void verbs_delete(struct host *host, struct reg_vdev *vdev,
		  struct host_call *call)
{
	delete_start(host, vdev, vdev->name, call);
}

/* Why it can't go, or 0. */
static int check_unused(struct host *host, const struct reg_vdev *vdev,
			struct error *reterr)
{
	const struct reg_process *process;

	if (vdev->is_writing || vdev->is_going)
		return error_set(reterr, -EBUSY, "vdev '%s' is being changed",
				 vdev->name);
	if (transfer_is_on(host, vdev))
		return error_set(reterr, -EBUSY,
				 "vdev '%s' is being imported or exported",
				 vdev->name);
	if (vdev->sessions || vdev->nbd.sessions)
		return error_set(reterr, -EBUSY,
				 "vdev '%s' is in use: detach it first",
				 vdev->name);
	for (process = host->registry->processes; process;
	     process = process->next) {
		if (process->vdev != vdev)
			continue;
		if (process->is_runtime || process->is_writing ||
		    process->sessions || process->nbd_sessions ||
		    process->is_going)
			return error_set(
				reterr, -EBUSY,
				"vdev '%s' has process %u: release it first",
				vdev->name, process->pasid);
	}
	return 0;
}

void host_vdev_delete(struct host *host, const char *name,
		      struct host_call *call)
{
	struct reg_vdev *vdev = registry_vdev(host->registry, name);
	struct reg_space *space = registry_space(host->registry, name);
	struct error why;

	if (vdev && vdev->state == REG_VDEV_REMOVING && !vdev->is_writing &&
	    !vdev->is_going)
		unbind_vdev(vdev, call);	/* it did not go before */
	else if (vdev && check_unused(host, vdev, &why) < 0)
		host_answer(call, HOST_CONFLICT, NULL, "%s", why.text);
	else if (vdev || json_object_get(host->registry->orphans, name))
		delete_start(host, vdev, name, call);
	else if (space)
		space_again(host, space, call);
	else
		host_answer(call, HOST_NOT_FOUND, NULL, "there is no vdev '%s'",
			    name);
}
