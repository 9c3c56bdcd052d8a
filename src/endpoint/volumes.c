/* SPDX-License-Identifier: Apache-2.0 */
/* volumes.c - the volumes of an endpoint's pools: made for a vdev, resized with
 * it, snapshot and deleted; each is answered when it is done */
#include "endpoint/endpoint.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/container.h"
#include "endpoint/fields.h"

#define VOLUMES_PART	100U

/* A volume that changes. */
struct endpoint_making {
	struct volume_change change;
	struct endpoint_making *next;
	struct endpoint_pool *pool;
	struct endpoint_vdev *vdev;	/* made, or resized, with it; or NULL */
	bool is_new;			/* 'vdev' isn't there yet */
	bool is_going;	/* since the pool was started; 'change' is not used */
	struct vdev_config config;
	struct endpoint_work work;
	struct format_uuid uuid;
	struct error error;		/* why it goes again */
	int result;
};

/* ---- they are listed ---- */

static bool has_flag(const struct volume *volume, uint32_t flag)
{
	return (volume->is.flags & flag) != 0;
}

uint64_t endpoint_mapped_on(const struct endpoint_pool *pool,
			    const struct volume *volume)
{
	const struct stats_device *first = pool->endpoint->stats->devices;
	uint64_t devices = 0;

	for (const struct endpoint_member *m = pool->members; m; m = m->next)
		if (m->is_open && volume->mapped_on[m->add.member->index])
			devices |= UINT64_C(1) << (m->device->stats - first);
	return devices;
}

static json_t *describe(const struct endpoint_pool *pool,
			const struct volume *v)
{
	return json_pack("{s:o, s:s, s:I, s:b, s:b, s:I, s:I, s:I, s:b}",
			 "uuid", field_from_uuid(&v->is.uuid), "name",
			 v->is.name, "size_bytes", (json_int_t)v->is.size_bytes,
			 "thick", has_flag(v, FORMAT_VOLUME_THICK), "read_only",
			 has_flag(v, FORMAT_VOLUME_SNAPSHOT), "mapped_extents",
			 (json_int_t)v->table.mapped, "mapped_on",
			 (json_int_t)endpoint_mapped_on(pool, v),
			 "missing_devices", (json_int_t)v->missing, "changing",
			 volume_is_changing(v));
}

void endpoint_volumes_said(const struct endpoint_pool *pool, uint64_t from,
			   json_t *reply)
{
	json_t *volumes = json_array();
	uint64_t at = 0;

	for (const struct volume *v = pool->pool->volumes; v; v = v->next) {
		if (at == from + VOLUMES_PART) {
			json_object_set_new(reply, "next",
					    json_integer((json_int_t)at));
			break;
		}
		if (at++ >= from)
			json_array_append_new(volumes, describe(pool, v));
	}
	json_object_set_new(reply, "volumes", volumes);
}

static int find_started_pool(struct endpoint *endpoint, const json_t *request,
			     struct endpoint_pool **ret_pool,
			     struct error *reterr)
{
	int result = endpoint_named_pool(endpoint, request, "pool", ret_pool,
					 reterr);

	if (result == 0 && !(*ret_pool)->is_started)
		result = error_set(reterr, -EBUSY, "pool %s is not started",
				   (*ret_pool)->name);
	return result;
}

int endpoint_volumes(struct endpoint *endpoint, json_t *request, int *fd,
		     json_t *reply, struct error *reterr)
{
	struct endpoint_pool *pool;
	uint64_t from = 0;
	int result = find_started_pool(endpoint, request, &pool, reterr);

	(void)fd;
	if (result == 0)
		result = field_u64(request, "from", UINT32_MAX, &from, reterr);
	if (result == 0)
		endpoint_volumes_said(pool, from, reply);
	return result;
}

/* ---- they are found ---- */

static int find_by_uuid(struct endpoint *endpoint, const json_t *request,
			struct endpoint_pool **ret_pool,
			struct format_uuid *ret_uuid, struct error *reterr)
{
	int result = find_started_pool(endpoint, request, ret_pool, reterr);

	if (result == 0)
		result = field_uuid(request, "uuid", ret_uuid, reterr);
	if (result < 0)
		return result;
	for (const struct endpoint_making *m = (*ret_pool)->making; m;
	     m = m->next)
		if (format_uuid_equal(&m->uuid, ret_uuid))
			return error_set(
				reterr, -EBUSY,
				"pool %s: this volume is being made, changed or deleted",
				(*ret_pool)->name);
	return 0;
}

int endpoint_find_volume(struct endpoint *endpoint, const json_t *request,
			 struct endpoint_vdev *vdev, struct volume **ret_volume,
			 struct error *reterr)
{
	struct endpoint_pool *pool;
	struct format_uuid uuid;
	int result = find_by_uuid(endpoint, request, &pool, &uuid, reterr);

	if (result < 0)
		return result;
	if (!endpoint_pool_home(pool))
		return error_set(reterr, -ENODEV, "pool %s has no devices",
				 pool->name);
	vdev->pool = pool;
	*ret_volume = volume_find(pool->pool, &uuid);
	return 0;
}

int endpoint_check_volume(const struct endpoint_vdev *vdev,
			  const struct volume *volume, const json_t *request,
			  struct error *reterr)
{
	const bool is_thick = has_flag(volume, FORMAT_VOLUME_THICK);
	uint64_t size_bytes = 0;
	bool thick = false;
	int result = field_bool(request, "thick", &thick, reterr);

	if (result == 0)
		result = field_u64(request, "size_bytes", INT64_MAX,
				   &size_bytes, reterr);
	if (result < 0)
		return result;
	if (volume->is_closed)
		return error_set(reterr, -EBUSY,
				 "pool %s: the volume of vdev %s is going",
				 vdev->pool->name, vdev->name);
	if (size_bytes != volume->is.size_bytes || thick != is_thick)
		return error_set(
			reterr, -EEXIST,
			"pool %s: the volume of vdev %s has %" PRIu64
			" bytes and is %s, not %" PRIu64 " bytes and %s",
			vdev->pool->name, vdev->name, volume->is.size_bytes,
			is_thick ? "thick" : "thin", size_bytes,
			thick ? "thick" : "thin");
	return 0;
}

/* ---- what is under way ---- */

static struct endpoint_making *begin_making(struct endpoint_pool *pool,
					    json_t *request)
{
	struct endpoint_making *making = calloc(1, sizeof(*making));

	if (!making)
		return NULL;
	making->pool = pool;
	endpoint_work_begin(pool->endpoint, &making->work, request);
	making->next = pool->making;
	pool->making = making;
	return making;
}

static void unlink_making(struct endpoint_making *making)
{
	struct endpoint_making **link = &making->pool->making;

	while (*link != making)
		link = &(*link)->next;
	*link = making->next;
}

/* It wasn't begun. */
static void drop_making(struct endpoint_making *making)
{
	unlink_making(making);
	endpoint_work_drop(&making->work);
	free(making);
}

static void end_making(struct endpoint_making *making, int result)
{
	unlink_making(making);
	endpoint_work_end(&making->work, result, &making->error, NULL);
	free(making);
}

/* ---- for a vdev ---- */

/* What could not be made has gone again, or not: a later start sees to it. */
static void unmade(struct volume_change *change, int result)
{
	struct endpoint_making *making =
		container_of(change, struct endpoint_making, change);

	(void)result;
	end_making(making, making->result);
}

static void made(struct volume_change *change, int result)
{
	struct endpoint_making *making =
		container_of(change, struct endpoint_making, change);
	struct endpoint_vdev *vdev = making->vdev;

	if (result < 0)
		error_set(
			&making->error, result,
			"pool %s: the volume of vdev %s can't be written down: %s",
			making->pool->name, vdev->name, strerror(-result));
	else
		result = vdev_create(&making->config, &vdev->vdev,
				     &making->error);
	if (result == 0) {
		endpoint_vdev_put(making->pool->endpoint, vdev);
		end_making(making, 0);
		return;
	}
	endpoint_vdev_free(vdev);
	making->vdev = NULL;
	making->is_new = false;
	making->result = result;
	making->change.done = unmade;
	if (volume_delete(making->config.volume, &making->change) < 0)
		unmade(&making->change, 0);
}

int endpoint_make_volume(struct endpoint_vdev *vdev,
			 const struct vdev_config *config, json_t *request,
			 struct error *reterr)
{
	struct volume_config volume = {
		.name = vdev->name,
		.size_bytes = config->size_bytes,
	};
	struct endpoint_making *making;
	int result = field_bool(request, "thick", &volume.is_thick, reterr);

	if (result == 0)
		result = field_uuid(request, "uuid", &volume.uuid, reterr);
	if (result < 0)
		return result;
	making = begin_making(vdev->pool, request);
	if (!making)
		return error_set(reterr, -ENOMEM, "no memory for vdev %s",
				 vdev->name);
	making->vdev = vdev;
	making->is_new = true;
	making->uuid = volume.uuid;
	making->config = *config;
	making->config.name = vdev->name;
	making->change.done = made;
	result = volume_create(vdev->pool->pool, &volume, &making->change,
			       &making->config.volume);
	if (result == 0)
		return ENDPOINT_LATER;
	drop_making(making);
	return error_set(reterr, result,
			 "pool %s can't hold the volume of vdev %s: %s",
			 vdev->pool->name, vdev->name, strerror(-result));
}

bool endpoint_is_making(const struct endpoint *endpoint, const char *name)
{
	for (const struct endpoint_pool *p = endpoint->pools; p; p = p->next)
		for (const struct endpoint_making *m = p->making; m;
		     m = m->next)
			if (m->is_new && !strcmp(m->vdev->name, name))
				return true;
	return false;
}

bool endpoint_is_resizing(const struct endpoint_vdev *vdev)
{
	for (const struct endpoint_making *m = vdev->pool->making; m;
	     m = m->next)
		if (m->vdev == vdev)
			return true;
	return false;
}

static void resized(struct volume_change *change, int result)
{
	struct endpoint_making *making =
		container_of(change, struct endpoint_making, change);
	struct endpoint_vdev *vdev = making->vdev;
	const uint64_t size_bytes = making->config.size_bytes;

	if (result == 0 && vdev_size_bytes(vdev->vdev) != size_bytes)
		result = vdev_resize(vdev->vdev, size_bytes);
	if (result == 0)
		json_object_set_new(vdev->said, "size_bytes",
				    json_integer((json_int_t)size_bytes));
	else
		error_set(&making->error, result,
			  "vdev %s can't get this size: %s", vdev->name,
			  strerror(-result));
	end_making(making, result);
}

int endpoint_resize_volume(struct endpoint_vdev *vdev, uint64_t size_bytes,
			   json_t *request, struct error *reterr)
{
	struct volume *volume = vdev_volume(vdev->vdev);
	const uint64_t old_bytes = vdev_size_bytes(vdev->vdev);
	struct endpoint_making *making;
	int result = 0;

	if (endpoint_is_resizing(vdev) || volume_is_changing(volume))
		return error_set(reterr, -EBUSY,
				 "the volume of vdev %s is changing",
				 vdev->name);
	/* Nothing reaches what is cut off. */
	if (size_bytes < old_bytes)
		result = vdev_resize(vdev->vdev, size_bytes);
	if (result < 0)
		return error_set(reterr, result,
				 "vdev %s can't get this size: %s", vdev->name,
				 strerror(-result));
	making = begin_making(vdev->pool, request);
	if (!making)
		return error_set(reterr, -ENOMEM, "no memory");
	making->vdev = vdev;
	making->uuid = volume->is.uuid;
	making->config.size_bytes = size_bytes;
	making->change.done = resized;
	result = volume_resize(volume, size_bytes, &making->change);
	if (result == 0)
		return ENDPOINT_LATER;
	drop_making(making);
	(void)vdev_resize(vdev->vdev, old_bytes);
	return error_set(reterr, result, "vdev %s can't get this size: %s",
			 vdev->name,
			 result == -ENOTCONN ?
				 "a device that has some of it is missing" :
				 strerror(-result));
}

/* ---- snapshots ---- */

static void snapshot_made(struct volume_change *change, int result)
{
	struct endpoint_making *making =
		container_of(change, struct endpoint_making, change);

	if (result < 0)
		error_set(&making->error, result,
			  "pool %s: the snapshot can't be made: %s",
			  making->pool->name, strerror(-result));
	end_making(making, result);
}

static int find_origin(const struct endpoint_pool *pool,
		       const struct format_uuid *uuid,
		       struct volume **ret_volume, struct error *reterr)
{
	*ret_volume = volume_find(pool->pool, uuid);
	if (!*ret_volume || (*ret_volume)->is_closed)
		return error_set(reterr, -ENOENT,
				 "pool %s has no such volume to be snapshot",
				 pool->name);
	return 0;
}

/* It was made before, even if what it is of is no more; or something else has
 * its UUID. */
static int check_snapshot(const struct volume *snapshot,
			  const struct format_uuid *of, const char *name,
			  struct error *reterr)
{
	if (has_flag(snapshot, FORMAT_VOLUME_SNAPSHOT) &&
	    !snapshot->is_closed && !strcmp(snapshot->is.name, name) &&
	    format_uuid_equal(&snapshot->is.origin, of))
		return 0;
	return error_set(reterr, -EEXIST, "volume %s has this UUID",
			 snapshot->is.name);
}

static const char *why_no_snapshot(int result)
{
	switch (result) {
	case -EBUSY:
		return "that one is changing: ask again";
	case -ENOTCONN:
		return "a device that may hold some of it is missing: bring it back";
	case -ENOSPC:
		return "a device's log has no room for its mappings: delete another snapshot, or give the pool a device";
	default:
		return strerror(-result);
	}
}

int endpoint_volume_snapshot(struct endpoint *endpoint, json_t *request,
			     int *fd, json_t *reply, struct error *reterr)
{
	struct volume_config config = {0};
	struct endpoint_making *making;
	struct endpoint_pool *pool;
	struct volume *origin = NULL, *snapshot;
	struct format_uuid of;
	int result =
		find_by_uuid(endpoint, request, &pool, &config.uuid, reterr);

	(void)fd;
	(void)reply;
	if (result == 0)
		result = field_uuid(request, "of", &of, reterr);
	if (result == 0)
		result = field_name(request, "name", &config.name, reterr);
	if (result < 0)
		return result;
	snapshot = volume_find(pool->pool, &config.uuid);
	if (snapshot)
		return check_snapshot(snapshot, &of, config.name, reterr);
	result = find_origin(pool, &of, &origin, reterr);
	if (result < 0)
		return result;
	config.size_bytes = origin->is.size_bytes;
	making = begin_making(pool, request);
	if (!making)
		return error_set(reterr, -ENOMEM, "no memory");
	making->uuid = config.uuid;
	making->change.done = snapshot_made;
	result = volume_snapshot(origin, &config, &making->change, &snapshot);
	if (result == 0)
		return ENDPOINT_LATER;
	drop_making(making);
	return error_set(reterr, result, "pool %s: snapshot %s of %s: %s",
			 pool->name, config.name, origin->is.name,
			 why_no_snapshot(result));
}

/* ---- they go ---- */

static void deleted(struct volume_change *change, int result)
{
	struct endpoint_making *making =
		container_of(change, struct endpoint_making, change);

	if (result < 0)
		error_set(&making->error, result,
			  "pool %s: the volume can't be deleted: %s",
			  making->pool->name, strerror(-result));
	end_making(making, result);
}

int endpoint_volume_delete(struct endpoint *endpoint, json_t *request, int *fd,
			   json_t *reply, struct error *reterr)
{
	struct endpoint_making *making;
	struct endpoint_pool *pool;
	struct format_uuid uuid;
	struct volume *volume;
	int result = find_by_uuid(endpoint, request, &pool, &uuid, reterr);

	(void)fd;
	(void)reply;
	if (result < 0)
		return result;
	volume = volume_find(pool->pool, &uuid);
	if (!volume)
		return 0;
	for (struct endpoint_vdev *v = endpoint->vdevs; v; v = v->next)
		if (v->pool == pool && vdev_volume(v->vdev) == volume)
			return error_set(reterr, -EBUSY,
					 "vdev %s stands on this volume",
					 v->name);
	making = begin_making(pool, request);
	if (!making)
		return error_set(reterr, -ENOMEM, "no memory");
	making->uuid = uuid;
	making->change.done = deleted;
	making->is_going = volume->is_closed && volume_is_changing(volume);
	if (making->is_going)
		endpoint_pools_poll(endpoint);
	else
		result = volume_delete(volume, &making->change);
	if (result == 0)
		return ENDPOINT_LATER;
	drop_making(making);
	return error_set(reterr, result, "pool %s: %s", pool->name,
			 strerror(-result));
}

bool endpoint_volumes_poll(struct endpoint_pool *pool)
{
	struct endpoint_making *next;
	bool waits = false;

	for (struct endpoint_making *m = pool->making; m; m = next) {
		const struct volume *volume;

		next = m->next;
		if (!m->is_going)
			continue;
		volume = volume_find(pool->pool, &m->uuid);
		if (volume && volume_is_changing(volume))
			waits = true;
		else
			deleted(&m->change, volume ? -EIO : 0);
	}
	return waits;
}
