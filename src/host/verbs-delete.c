/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs-delete.c - what is asked for at run time: vdevs that go, with their
 * data
 *
 * One group of records says that the vdev is gone and that its volume is to be
 * deleted (volumes.c).  From then on it goes, whatever happens: a repeated
 * delete goes on where the one before it stopped, and so does the next
 * penstockd.
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
	struct reg_vdev *vdev;		/* NULL: only its volume is left */
	struct reg_doomed *doomed;	/* NULL: it has none */
	json_t *orphan;			/* its volume's record, or NULL */
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
		free(op->doomed);
		host_answer(op->call, HOST_FAILED, NULL, "%s",
			    write->error.text);
		json_decref(op->orphan);
		free(op);
		return;
	}
	if (op->vdev) {
		op->vdev->is_writing = false;
		op->vdev->doomed = op->doomed;
		unbind_vdev(op->vdev, op->call);
	} else if (op->doomed) {
		volumes_doom(host, op->doomed, op->call);
	} else {
		host_answer(op->call, HOST_DONE, NULL, "%s", "");
	}
	json_decref(op->orphan);
	free(op);
}

/* The volume's record says what is to become of it.  That of a pool which is
 * not configured waits on disk for it. */
static int put_doomed(struct delete_write *op)
{
	const char *uuid, *pool_name;
	struct reg_pool *pool;
	json_t *record;
	int ret;

	if (op->vdev && op->vdev->uuid[0]) {
		op->doomed = registry_doomed_new(op->vdev->pool, op->vdev->uuid,
						 op->name);
		return op->doomed ?
			records_put_volume(&op->write, op->vdev, "deleting") :
			-ENOMEM;
	}
	if (!op->orphan)
		return 0;
	record = json_copy(op->orphan);
	json_object_set_new(record, "state", json_string("deleting"));
	uuid = json_string_value(json_object_get(record, "uuid"));
	pool_name = json_string_value(json_object_get(record, "pool"));
	pool = pool_name ? registry_pool(op->host->registry, pool_name) : NULL;
	ret = uuid ? store_write_put(&op->write, STORE_VOLUME, uuid, record) :
		     0;
	if (ret == 0 && uuid && pool) {
		op->doomed = registry_doomed_new(pool, uuid, op->name);
		ret = op->doomed ? 0 : -ENOMEM;
	}
	json_decref(record);
	return ret;
}

/* What is written: no vdev, but a volume that goes. */
static int put_delete(struct delete_write *op)
{
	int ret = op->vdev && op->vdev->entry[0] ?
		records_put_vdev(&op->write, op->vdev, "deleted") :
		store_write_put(&op->write, STORE_VDEV, op->name, NULL);

	return ret < 0 ? ret : put_doomed(op);
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
	const struct reg_vdev *due =
		registry_snapshot_due(host->registry, vdev);
	const struct reg_process *process;

	if (due && vdev->uuid[0])
		return error_set(
			reterr, -EBUSY,
			"snapshot '%s' of vdev '%s' is not made yet: wait, or delete it first",
			due->name, vdev->name);
	if (vdev->is_writing || vdev->is_going ||
	    (vdev->is_added && !vdev->is_there))
		return error_set(reterr, -EBUSY, "vdev '%s' is being changed",
				 vdev->name);
	if (ports_device(host->registry, vdev))
		return error_set(
			reterr, -EBUSY,
			"vdev '%s' is what device %s is a port to: take that out of the configuration first",
			vdev->name, ports_device(host->registry, vdev)->name);
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
	struct reg_doomed *doomed = registry_doomed(host->registry, name);
	struct error why;

	if (vdev && vdev->state == REG_VDEV_REMOVING && !vdev->is_writing &&
	    !vdev->is_going)
		unbind_vdev(vdev, call);	/* it did not go before */
	else if (vdev && check_unused(host, vdev, &why) < 0)
		host_answer(call, HOST_CONFLICT, NULL, "%s", why.text);
	else if (vdev || json_object_get(host->registry->orphans, name))
		delete_start(host, vdev, name, call);
	else if (doomed)
		volumes_again(host, doomed, call);
	else
		host_answer(call, HOST_NOT_FOUND, NULL, "there is no vdev '%s'",
			    name);
}
