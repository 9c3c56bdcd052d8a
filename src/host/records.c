/* SPDX-License-Identifier: Apache-2.0 */
/* records.c - what the store remembers, out of the registry; records-load.c is
 * the way back */
#include "host/records.h"

#include <errno.h>
#include <stdio.h>

#include "ctl/ctl.h"
#include "store/store.h"

/* Put 'value' (taken over; NULL: no memory) into a group. */
static int put(struct store_write *write, enum store_kind kind, const char *key,
	       json_t *value)
{
	int ret = value ? store_write_put(write, kind, key, value) : -ENOMEM;

	json_decref(value);
	return ret;
}

json_t *records_device_identity(const struct reg_device *device)
{
	const struct config_device *config = device->config;
	const struct block_model *model = &config->model;

	return json_pack("{s:s, s:s?, s:I, s:b, s:[I,I,I,I,I]}", "kind",
			 config->kind, "path", config->path, "size_bytes",
			 (json_int_t)device->size_bytes, "read_only",
			 config->read_only, "model", (json_int_t)model->servers,
			 (json_int_t)model->read_median_ns,
			 (json_int_t)model->write_median_ns,
			 (json_int_t)model->per_kib_ns,
			 (json_int_t)model->sigma_milli);
}

int records_put_capacity(struct store_write *write,
			 const struct reg_device *device)
{
	return put(write, STORE_CAPACITY, device->name,
		   json_pack("{s:o, s:o, s:I, s:o*}", "device",
			     records_device_identity(device), "capacity",
			     ctl_from_capacity(&device->capacity), "at",
			     (json_int_t)device->calibrated_at, "file",
			     identity_json(&device->measured_file)));
}

/* NULL: nothing is. */
static json_t *leave_json(const struct reg_leave *leave)
{
	if (!leave->is_asked)
		return NULL;
	return json_pack("{s:b, s:s, s:I, s:I}", "replaced", leave->is_replaced,
			 "to", leave->to, "bytes_per_s",
			 (json_int_t)leave->bytes_per_s, "all_bytes",
			 (json_int_t)leave->all_bytes);
}

static int put_device(struct store_write *write,
		      const struct reg_device *device, bool is_held)
{
	return put(write, STORE_DEVICE, device->name,
		   json_pack("{s:s, s:b, s:o*, s:o*}", "uuid", device->uuid,
			     "held", is_held, "file",
			     identity_json(&device->file), "leave",
			     leave_json(&device->leave)));
}

int records_put_device(struct store_write *write,
		       const struct reg_device *device)
{
	return put_device(write, device, device->is_held);
}

int records_put_removed(struct store_write *write,
			const struct reg_device *device)
{
	char entry[RECORDS_HASH_MAX];

	records_hash_device(device, entry);
	return put(write, STORE_DEVICE, device->name,
		   json_pack("{s:s, s:s}", "op", "removed", "entry", entry));
}

int records_put_held(struct store_write *write, const struct reg_pool *pool)
{
	int ret = 0;

	for (unsigned int i = 0; ret == 0 && i < pool->device_count; i++)
		if (pool->devices[i]->is_member && !pool->devices[i]->is_held)
			ret = put_device(write, pool->devices[i], true);
	return ret;
}

int records_put_volume(struct store_write *write, const struct reg_vdev *vdev,
		       const char *state)
{
	return put(write, STORE_VOLUME, vdev->uuid,
		   json_pack("{s:s, s:s, s:s, s:s*, s:I, s:b, s:s}", "uuid",
			     vdev->uuid, "vdev", vdev->name, "pool",
			     vdev->pool->name, "part",
			     vdev->part ? vdev->part->name : NULL, "size_bytes",
			     (json_int_t)vdev->size_bytes, "thick",
			     vdev->is_thick, "state", state));
}

int records_forget_volume(struct store_write *write, const char *uuid)
{
	return store_write_put(write, STORE_VOLUME, uuid, NULL);
}

int records_put_vdev(struct store_write *write, const struct reg_vdev *vdev,
		     const char *op)
{
	return put(
		write, STORE_VDEV, vdev->name,
		json_pack(
			"{s:s, s:s, s:s, s:I, s:i, s:b, s:s?, s:o, s:s, s:s, s:s}",
			"op", op, "entry", vdev->entry, "pool",
			reg_place_name(vdev), "size_bytes",
			vdev->is_equal ? (json_int_t)0 :
					 (json_int_t)vdev->size_bytes,
			"queues", (int)vdev->queues, "read_only",
			vdev->read_only, "vhost_user", vdev->vhost_user,
			"limits", ctl_from_sched_limits(&vdev->limits),
			"on_error", on_error_name(vdev->on_error), "of",
			vdev->of, "of_uuid", vdev->of_uuid));
}

/* NULL: nothing is. */
static json_t *derived_json(const struct reg_derived *derived)
{
	if (!derived->specs)
		return NULL;
	return json_pack(
		"{s:I, s:b, s:I, s:I, s:I, s:b}", "specs",
		(json_int_t)derived->specs, "kept_up", derived->is_kept_up,
		"window_s", (json_int_t)derived->options.window_s,
		"percentile_milli",
		(json_int_t)derived->options.percentile_milli, "headroom_milli",
		(json_int_t)derived->options.headroom_milli, "split",
		derived->options.is_split);
}

int records_put_process(struct store_write *write,
			const struct reg_process *process, const char *op)
{
	char pasid[16];

	snprintf(pasid, sizeof(pasid), "%u", process->pasid);
	return put(
		write, STORE_PROCESS, pasid,
		json_pack(
			"{s:s, s:s, s:s, s:s, s:s?, s:i, s:o*, s:i, s:b, s:b, s:o, s:o, s:o*, s:s}",
			"op", op, "entry", process->entry, "name",
			process->name, "vdev", process->vdev->name,
			"vhost_user", process->vhost_user, "ioprio",
			records_ioprio(&process->match), "match",
			records_match_json(&process->match), "weight",
			(int)process->weight, "session", process->is_session,
			"best_effort", process->is_best_effort, "limits",
			ctl_from_sched_limits(&process->limits), "sla",
			ctl_from_sla(&process->sla), "derived",
			derived_json(&process->derived), "source",
			process->source));
}
