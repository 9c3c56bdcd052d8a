/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs-accept.c - what is asked for at run time: the file that a device has
 * now is the one in which its vdevs' data lie
 *
 * Nothing is emptied in a file of which it is not written down that the space
 * lies there.  A copy that was restored in the place of a lost file is such a
 * file, and only a person can know that it is one.  Who says so accepts it: one
 * group of records names it for every place on the device, and for all space
 * that waits to be emptied, which is gone on with.
 */
#include "host/host-data.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/container.h"
#include "host/records.h"

struct accept_write {
	struct store_write write;
	struct host *host;
	struct host_call *call;
	struct reg_device *device;
	struct identity file;		/* that is accepted */
	json_t *orphans;		/* of the device, as they are to be */
};

static bool is_of(const struct reg_vdev *vdev, const struct reg_device *device)
{
	return vdev->pool->device == device && vdev->is_placed;
}

/* Nothing else is written of what is on the device meanwhile. */
static void set_busy(struct accept_write *op, bool is_busy)
{
	struct registry *registry = op->host->registry;

	for (struct reg_vdev *vdev = registry->vdevs; vdev; vdev = vdev->next)
		if (is_of(vdev, op->device))
			vdev->is_writing = is_busy;
	for (struct reg_space *space = registry->spaces; space;
	     space = space->next)
		if (space->device == op->device)
			space->is_busy = is_busy;
}

static void take_over(struct accept_write *op)
{
	struct registry *registry = op->host->registry;
	struct event_subject subject = {
		.device = op->device->name,
		.endpoint = op->device->endpoint->name,
	};

	for (struct reg_vdev *vdev = registry->vdevs; vdev; vdev = vdev->next)
		if (is_of(vdev, op->device))
			vdev->file = op->file;
	for (struct reg_space *space = registry->spaces; space;
	     space = space->next) {
		if (space->device != op->device)
			continue;
		space->file = op->file;
		space->retry_ns = 0;
	}
	json_object_update_existing(registry->orphans, op->orphans);
	events_add(
		op->host->events, "file-accepted", &subject,
		"device %s: %s is from now on the file in which its vdevs' data lie",
		op->device->name,
		op->file.path[0] ? op->file.path : "what it has");
}

static void accept_free(struct accept_write *op)
{
	json_decref(op->orphans);
	free(op);
}

static void accept_written(struct store_write *write)
{
	struct accept_write *op =
		container_of(write, struct accept_write, write);
	struct host *host = op->host;

	set_busy(op, false);
	if (write->result < 0) {
		host_answer(op->call, HOST_FAILED, NULL, "%s",
			    write->error.text);
	} else {
		take_over(op);
		host_answer(op->call, HOST_DONE,
			    host_device(host, op->device->name), "%s", "");
		if (!host->is_stopping)
			space_retry(host);
	}
	accept_free(op);
}

/* Places of vdevs that are not configured any more. */
static int put_orphans(struct accept_write *op)
{
	struct registry *registry = op->host->registry;
	const char *name, *device;
	json_t *record;
	int ret = 0;

	json_object_foreach(registry->orphans, name, record)
	{
		device = json_string_value(json_object_get(record, "device"));
		if (ret < 0 || !device || strcmp(device, op->device->name))
			continue;
		record = json_copy(record);
		json_object_del(record, "file");
		if (op->file.path[0])
			json_object_set_new(record, "file",
					    identity_json(&op->file));
		if (json_object_set_new(op->orphans, name, record) < 0)
			ret = -ENOMEM;
		else
			ret = store_write_put(&op->write, STORE_PLACEMENT, name,
					      record);
	}
	return ret;
}

static int put_all(struct accept_write *op)
{
	const struct registry *registry = op->host->registry;
	int ret = put_orphans(op);

	for (const struct reg_vdev *vdev = registry->vdevs; ret == 0 && vdev;
	     vdev = vdev->next)
		if (is_of(vdev, op->device))
			ret = records_put_placement(&op->write, vdev,
						    &op->file);
	for (const struct reg_space *space = registry->spaces;
	     ret == 0 && space; space = space->next)
		if (space->device == op->device)
			ret = records_put_space(&op->write, op->device->name,
						&space->range, &op->file,
						space->vdev);
	return ret;
}

/* Why it can't be now, or 0. */
static int check_quiet(const struct host *host, const struct reg_device *device,
		       struct error *reterr)
{
	const struct registry *registry = host->registry;

	if (device->state != REG_DEVICE_READY)
		return error_set(reterr, -EBUSY, "device %s is not ready: %s",
				 device->name, device->error.text);
	for (const struct reg_vdev *vdev = registry->vdevs; vdev;
	     vdev = vdev->next)
		if (vdev->pool->device == device &&
		    (vdev->is_writing || vdev->is_new ||
		     vdev->state == REG_VDEV_REMOVING))
			return error_set(
				reterr, -EBUSY,
				"vdev '%s' is being changed: ask again in a second",
				vdev->name);
	for (const struct reg_space *space = registry->spaces; space;
	     space = space->next)
		if (space->device == device && space->is_busy)
			return error_set(
				reterr, -EBUSY,
				"space on device %s is being emptied: ask again in a second",
				device->name);
	return 0;
}

void host_device_accept(struct host *host, const char *name,
			struct host_call *call)
{
	struct reg_device *device = registry_device(host->registry, name);
	struct accept_write *op;
	struct error why;

	if (!device) {
		host_answer(
			call, HOST_NOT_FOUND, NULL,
			"there is no device '%s' (or several: say ENDPOINT/DEVICE)",
			name);
		return;
	}
	if (check_quiet(host, device, &why) < 0) {
		host_answer(call, HOST_CONFLICT, NULL, "%s", why.text);
		return;
	}
	if (!registry_file_differs(host->registry, device)) {
		host_answer(call, HOST_DONE, host_device(host, name), "%s", "");
		return;
	}
	op = calloc(1, sizeof(*op));
	if (op) {
		op->host = host;
		op->call = call;
		op->device = device;
		op->file = device->file;
		op->orphans = json_object();
		store_write_init(&op->write, accept_written);
	}
	if (!op || !op->orphans || put_all(op) < 0) {
		if (op)
			accept_free(op);
		host_answer(call, HOST_FAILED, NULL, "out of memory");
		return;
	}
	set_busy(op, true);
	store_write_start(host->store, &op->write);
}
