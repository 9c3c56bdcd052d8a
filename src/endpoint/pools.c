/* SPDX-License-Identifier: Apache-2.0 */
/* pools.c - pools of an endpoint, and the volumes of its vdevs: opened, made
 * and deleted, which is answered when it is done */
#include "endpoint/endpoint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/container.h"
#include "endpoint/fields.h"

/* A volume being made, for a vdev, or deleted. */
struct endpoint_making {
	struct volume_change change;
	struct endpoint_making *next;
	struct endpoint_pool *pool;
	struct endpoint_vdev *vdev; /* NULL: is being deleted */
	struct vdev_config config;
	struct endpoint_later answer;
	struct format_uuid uuid;
	struct error error; /* why it goes again */
	int result;
};

/* ---- fields ---- */

static int hex_of(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	if (digit >= 'a' && digit <= 'f')
		return digit - 'a' + 10;
	return -1;
}

/* Required: 32 digits, not all of them zero. */
static int field_uuid(const json_t *request, struct format_uuid *ret_uuid,
		      struct error *reterr)
{
	const char *text = json_string_value(json_object_get(request, "uuid"));
	struct format_uuid uuid = {{0}};

	if (!text || strlen(text) != 2 * sizeof(uuid.bytes))
		goto wrong;
	for (size_t i = 0; i < 2 * sizeof(uuid.bytes); i++) {
		const int digit = hex_of(text[i]);

		if (digit < 0)
			goto wrong;
		uuid.bytes[i / 2] =
			(uint8_t)(uuid.bytes[i / 2] << 4 | (uint8_t)digit);
	}
	if (format_uuid_is_zero(&uuid))
		goto wrong;
	*ret_uuid = uuid;
	return 0;

wrong:
	return error_set(reterr, -EINVAL,
			 "'uuid' must be 32 digits from 0 to f");
}

static json_t *json_uuid(const struct format_uuid *uuid)
{
	static const char digits[] = "0123456789abcdef";
	char text[2 * sizeof(uuid->bytes) + 1];

	for (size_t i = 0; i < sizeof(uuid->bytes); i++) {
		text[2 * i] = digits[uuid->bytes[i] >> 4];
		text[2 * i + 1] = digits[uuid->bytes[i] & 15];
	}
	text[2 * sizeof(uuid->bytes)] = '\0';
	return json_string(text);
}

/* ---- pools ---- */

static struct endpoint_pool *find_pool(struct endpoint *endpoint,
				       const char *name)
{
	struct endpoint_pool *pool = endpoint->pools;

	while (pool && strcmp(pool->name, name))
		pool = pool->next;
	return pool;
}

static void pool_free(struct endpoint_pool *pool)
{
	pool_destroy(pool->pool);
	json_decref(pool->said);
	free(pool->name);
	free(pool);
}

/* Not inside of what refused them. */
void endpoint_pools_reap(struct endpoint *endpoint)
{
	struct endpoint_pool **link = &endpoint->pools;

	while (*link) {
		struct endpoint_pool *pool = *link;

		if (!pool->is_refused) {
			link = &pool->next;
			continue;
		}
		*link = pool->next;
		pool->device->pool = NULL;
		pool_free(pool);
	}
}

static json_t *volumes_of(const struct pool *pool)
{
	json_t *volumes = json_array();

	for (const struct volume *v = pool->volumes; v; v = v->next)
		json_array_append_new(
			volumes,
			json_pack("{s:o, s:s, s:I, s:b, s:I}", "uuid",
				  json_uuid(&v->is.uuid), "name", v->is.name,
				  "size_bytes", (json_int_t)v->is.size_bytes,
				  "thick",
				  (v->is.flags & FORMAT_VOLUME_THICK) != 0,
				  "mapped_extents",
				  (json_int_t)v->table.mapped));
	return volumes;
}

static json_t *describe(const struct endpoint_pool *pool)
{
	const struct member *member = pool->add.member;

	return json_pack("{s:o, s:I, s:I, s:o}", "uuid",
			 json_uuid(&member->super.uuid), "size_bytes",
			 (json_int_t)member->super.capacity_bytes, "generation",
			 (json_int_t)member->super.generation, "volumes",
			 volumes_of(pool->pool));
}

static void opened(struct pool_add *add, int result, const struct error *error)
{
	struct endpoint_pool *pool =
		container_of(add, struct endpoint_pool, add);
	struct error why = {0};
	json_t *reply = NULL;

	if (result < 0)
		why = *error;
	else
		result = pool_start(pool->pool, &why);
	pool->is_open = result == 0;
	pool->is_refused = result < 0;
	if (result == 0)
		reply = describe(pool);
	endpoint_answer(pool->endpoint, &pool->open_answer, result, &why,
			reply);
}

static int read_member(json_t *request, struct endpoint_pool *pool,
		       struct member_config *ret_config, struct error *reterr)
{
	struct member_config config = {
		.device = pool->device->block,
		.name = pool->device->name,
		.is_volatile =
			!strcmp(pool->device->block->ops->kind, "nullio"),
	};
	int result = field_uuid(request, &config.uuid, reterr);

	if (result == 0)
		result =
			field_bool(request, "claim", &config.may_claim, reterr);
	if (result == 0)
		result = field_bool(request, "zeroed", &config.is_zeroed,
				    reterr);
	if (result == 0)
		result = field_u64(request, "size_bytes", INT64_MAX,
				   &config.capacity_bytes, reterr);
	if (result == 0)
		*ret_config = config;
	return result;
}

static int find_its_device(struct endpoint *endpoint, const json_t *request,
			   struct endpoint_device **ret_device,
			   struct error *reterr)
{
	const char *name;
	int result = field_name(request, "device", &name, reterr);

	if (result < 0)
		return result;
	*ret_device = endpoint_find_device(endpoint, name);
	if (!*ret_device)
		return error_set(reterr, -ENOENT, "no device %s", name);
	if ((*ret_device)->pool || (*ret_device)->vdevs ||
	    (*ret_device)->calibration)
		return error_set(reterr, -EBUSY, "device %s is in use", name);
	return 0;
}

static int begin_pool(struct endpoint_pool *pool, const char *name,
		      json_t *request, struct error *reterr)
{
	static const struct pool_ops ops;
	struct endpoint *endpoint = pool->endpoint;
	struct member_config member;
	int result = read_member(request, pool, &member, reterr);

	if (result < 0)
		return result;
	pool->said = field_said(request);
	pool->name = strdup(name);
	pool->add.done = opened;
	pool->open_answer = endpoint_answer_later(endpoint, request);
	if (!pool->name || pool_create(&ops, pool, &pool->pool) < 0)
		return error_set(reterr, -ENOMEM, "no memory for pool %s",
				 name);
	pool->device->pool = pool;
	pool->next = endpoint->pools;
	endpoint->pools = pool;
	result = pool_add(pool->pool, &member, true, &pool->add);
	if (result == 0)
		return ENDPOINT_LATER;
	endpoint->pools = pool->next;
	pool->device->pool = NULL;
	return error_set(reterr, result, "pool %s: %s", name,
			 strerror(-result));
}

int endpoint_pool_add(struct endpoint *endpoint, json_t *request, int *fd,
		      json_t *reply, struct error *reterr)
{
	struct endpoint_device *device;
	struct endpoint_pool *pool;
	const char *name;
	int result = field_name(request, "name", &name, reterr);

	(void)fd;
	if (result < 0)
		return result;
	pool = find_pool(endpoint, name);
	if (pool && pool->is_open && field_same_request(pool->said, request)) {
		json_object_update_new(reply, describe(pool));
		return 0;
	}
	if (pool)
		return error_set(reterr, -EEXIST, "pool %s exists", name);
	result = find_its_device(endpoint, request, &device, reterr);
	if (result < 0)
		return result;
	pool = calloc(1, sizeof(*pool));
	if (!pool)
		return error_set(reterr, -ENOMEM, "no memory for pool %s",
				 name);
	pool->endpoint = endpoint;
	pool->device = device;
	result = begin_pool(pool, name, request, reterr);
	if (result < 0)
		pool_free(pool);
	return result;
}

/* ---- volumes ---- */

static int find_open_pool(struct endpoint *endpoint, const json_t *request,
			  struct endpoint_pool **ret_pool,
			  struct format_uuid *ret_uuid, struct error *reterr)
{
	const char *name;
	int result = field_name(request, "pool", &name, reterr);

	if (result == 0)
		result = field_uuid(request, ret_uuid, reterr);
	if (result < 0)
		return result;
	*ret_pool = find_pool(endpoint, name);
	if (!*ret_pool || !(*ret_pool)->is_open)
		return error_set(reterr, -ENOENT, "no pool %s", name);
	for (const struct endpoint_making *m = (*ret_pool)->making; m;
	     m = m->next)
		if (format_uuid_equal(&m->uuid, ret_uuid))
			return error_set(
				reterr, -EBUSY,
				"this volume is being made or deleted");
	return 0;
}

int endpoint_find_volume(struct endpoint *endpoint, const json_t *request,
			 struct endpoint_vdev *vdev, struct volume **ret_volume,
			 struct error *reterr)
{
	struct endpoint_pool *pool;
	struct format_uuid uuid;
	int result = find_open_pool(endpoint, request, &pool, &uuid, reterr);

	if (result < 0)
		return result;
	vdev->pool = pool;
	vdev->device = pool->device;
	*ret_volume = volume_find(pool->pool, &uuid);
	return 0;
}

static struct endpoint_making *begin_making(struct endpoint_pool *pool,
					    const json_t *request)
{
	struct endpoint_making *making = calloc(1, sizeof(*making));

	if (!making)
		return NULL;
	making->pool = pool;
	making->answer = endpoint_answer_later(pool->endpoint, request);
	making->next = pool->making;
	pool->making = making;
	return making;
}

static void free_making(struct endpoint_making *making)
{
	struct endpoint_making **link = &making->pool->making;

	while (*link != making)
		link = &(*link)->next;
	*link = making->next;
	free(making);
}

static void end_making(struct endpoint_making *making, int result)
{
	endpoint_answer(making->pool->endpoint, &making->answer, result,
			&making->error, NULL);
	free_making(making);
}

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
	making->result = result;
	making->change.done = unmade;
	if (volume_delete(making->config.volume, &making->change) < 0)
		unmade(&making->change, 0);
}

int endpoint_make_volume(struct endpoint_vdev *vdev,
			 const struct vdev_config *config,
			 const json_t *request, struct error *reterr)
{
	struct volume_config volume = {
		.name = vdev->name,
		.size_bytes = config->size_bytes,
	};
	struct endpoint_making *making;
	int result = field_bool(request, "thick", &volume.is_thick, reterr);

	if (result == 0)
		result = field_uuid(request, &volume.uuid, reterr);
	if (result < 0)
		return result;
	making = begin_making(vdev->pool, request);
	if (!making)
		return error_set(reterr, -ENOMEM, "no memory for vdev %s",
				 vdev->name);
	making->vdev = vdev;
	making->uuid = volume.uuid;
	making->config = *config;
	making->config.name = vdev->name;
	making->change.done = made;
	result = volume_create(vdev->pool->pool, &volume, &making->change,
			       &making->config.volume);
	if (result == 0)
		return ENDPOINT_LATER;
	free_making(making);
	return error_set(reterr, result,
			 "pool %s can't hold the volume of vdev %s: %s",
			 vdev->pool->name, vdev->name, strerror(-result));
}

bool endpoint_is_resizing(const struct endpoint_vdev *vdev)
{
	if (!vdev->pool)
		return false;
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
			   const json_t *request, struct error *reterr)
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
	free_making(making);
	(void)vdev_resize(vdev->vdev, old_bytes);
	return error_set(reterr, result, "vdev %s can't get this size: %s",
			 vdev->name, strerror(-result));
}

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
	int result = find_open_pool(endpoint, request, &pool, &uuid, reterr);

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
	result = volume_delete(volume, &making->change);
	if (result == 0)
		return ENDPOINT_LATER;
	free_making(making);
	return error_set(reterr, result, "pool %s: %s", pool->name,
			 strerror(-result));
}
