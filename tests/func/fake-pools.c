/* SPDX-License-Identifier: Apache-2.0 */
/* fake-pools.c - see fake-pools.h */
#include "fake-pools.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define MIB (1 << 20)

/* By name: what added it, "started", "members" (by device: what added it, and
 * what was "found"), "volumes" by UUID, "held" (the file, or ""). */
static json_t *pools;
static json_t *stands; /* vdev: {"pool", "uuid"} */

static const char *text_of(const json_t *item, const char *key)
{
	const char *text = json_string_value(json_object_get(item, key));

	return text ? text : "";
}

static json_int_t number_of(const json_t *item, const char *key)
{
	return json_integer_value(json_object_get(item, key));
}

static json_t *said(const json_t *request)
{
	json_t *copy = json_copy((json_t *)(uintptr_t)request);

	json_object_del(copy, "id");
	return copy;
}

static json_t *pool_of(const json_t *request, const char *key)
{
	return json_object_get(pools, text_of(request, key));
}

/* All of it or nothing: we may be killed at any instant. */
static void keep(const json_t *pool)
{
	const char *held = text_of(pool, "held");
	char fresh[256];
	json_t *all;

	if (!*held)
		return;
	all = json_pack("{s:O, s:O}", "found", json_object_get(pool, "found"),
			"volumes", json_object_get(pool, "volumes"));
	snprintf(fresh, sizeof(fresh), "new-%s", held);
	if (json_dump_file(all, fresh, JSON_COMPACT) == 0)
		rename(fresh, held);
	json_decref(all);
}

static int pool_add(const json_t *request)
{
	json_t *pool = pool_of(request, "name");

	if (!pool)
		json_object_set_new(pools, text_of(request, "name"),
				    json_pack("{s:o, s:o, s:o, s:s}", "said",
					      said(request), "members",
					      json_object(), "volumes",
					      json_object(), "held", ""));
	return 0;
}

/* What the device holds, or NULL; 'ret_held' is where that is kept. */
static json_t *read_held(const json_t *request, const json_t *descriptors,
			 char *ret_held, size_t size)
{
	const char *device = text_of(request, "device");
	const int fd = (int)number_of(descriptors, device);
	struct stat status;

	*ret_held = '\0';
	if (fd <= 0 || fstat(fd, &status) < 0)
		return NULL;
	snprintf(ret_held, size, "held-%s-%lu", device,
		 (unsigned long)status.st_ino);
	return json_load_file(ret_held, 0, NULL);
}

static int refuse(const json_t *request, const json_t *pool, const json_t *held)
{
	const json_t *found = json_object_get(held, "found");
	const bool is_known = json_is_true(json_object_get(request, "known"));

	if (!held)
		return json_is_true(json_object_get(request, "claim")) ?
			0 :
			-ENODATA;
	if (is_known &&
	    strcmp(text_of(found, "uuid"), text_of(request, "uuid")) != 0)
		return -ESTALE;
	if (number_of(request, "size_bytes") &&
	    number_of(request, "size_bytes") < number_of(found, "size_bytes"))
		return -ENOSPC;
	if (json_object_get(pool, "started") &&
	    json_object_size(json_object_get(held, "volumes")) > 0)
		return -EBUSY;
	return 0;
}

static int member_add(const json_t *request, const json_t *devices,
		      const json_t *descriptors, json_t *reply)
{
	json_t *pool = pool_of(request, "pool"), *held, *found, *member;
	char path[128];
	int ret;

	if (!pool || !json_object_get(devices, text_of(request, "device")))
		return -ENOENT;
	held = read_held(request, descriptors, path, sizeof(path));
	ret = refuse(request, pool, held);
	if (ret < 0) {
		json_decref(held);
		return ret;
	}
	found = held ?
		json_copy(json_object_get(held, "found")) :
		json_pack("{s:O, s:i}", "uuid",
			  json_object_get(request, "uuid"), "generation", 0);
	json_object_set_new(found, "generation",
			    json_integer(number_of(found, "generation") + 1));
	json_object_set(found, "size_bytes",
			json_object_get(request, "size_bytes"));
	json_object_set(pool, "found", found);
	json_object_set_new(pool, "held", json_string(path));
	if (held)
		json_object_set(pool, "volumes",
				json_object_get(held, "volumes"));
	keep(pool);
	member = said(request);
	json_object_set(member, "found", found);
	json_object_set_new(json_object_get(pool, "members"),
			    text_of(request, "device"), member);
	json_object_update(reply, found);
	json_object_set_new(reply, "claimed", json_boolean(!held));
	json_decref(found);
	json_decref(held);
	return 0;
}

static int answer_volumes(const json_t *pool, json_t *reply)
{
	json_t *array = json_array(), *volume;
	const char *uuid;

	json_object_foreach(json_object_get(pool, "volumes"), uuid, volume)
		json_array_append(array, volume);
	json_object_set_new(reply, "volumes", array);
	return 0;
}

static json_t *volume_of(const json_t *pool, const json_t *request)
{
	return json_object_get(json_object_get(pool, "volumes"),
			       text_of(request, "uuid"));
}

static int vdev_add(const json_t *request)
{
	json_t *pool = pool_of(request, "pool");
	json_t *volume = volume_of(pool, request);

	if (!pool || !json_object_get(pool, "started"))
		return -ENOENT;
	if (volume &&
	    (number_of(volume, "size_bytes") !=
		     number_of(request, "size_bytes") ||
	     json_is_true(json_object_get(volume, "thick")) !=
		     json_is_true(json_object_get(request, "thick"))))
		return -EEXIST;
	if (!volume)
		json_object_set_new(
			json_object_get(pool, "volumes"),
			text_of(request, "uuid"),
			json_pack("{s:O, s:O, s:O, s:O, s:i}", "uuid",
				  json_object_get(request, "uuid"), "name",
				  json_object_get(request, "name"),
				  "size_bytes",
				  json_object_get(request, "size_bytes"),
				  "thick", json_object_get(request, "thick"),
				  "mapped_extents", 0));
	json_object_set_new(stands, text_of(request, "name"),
			    json_pack("{s:O, s:O}", "pool",
				      json_object_get(request, "pool"), "uuid",
				      json_object_get(request, "uuid")));
	keep(pool);
	return 0;
}

static int vdev_resize(const json_t *request)
{
	const json_t *on = json_object_get(stands, text_of(request, "name"));
	json_t *pool = pool_of(on, "pool");

	if (!on)
		return -ENOENT;
	json_object_set(volume_of(pool, on), "size_bytes",
			json_object_get(request, "size_bytes"));
	keep(pool);
	return 0;
}

static int volume_snapshot(const json_t *request)
{
	json_t *pool = pool_of(request, "pool"), *origin;

	if (!pool || !json_object_get(pool, "started"))
		return -ENOENT;
	if (volume_of(pool, request))
		return 0;
	origin = json_object_get(json_object_get(pool, "volumes"),
				 text_of(request, "of"));
	if (!origin)
		return -ENOENT;
	json_object_set_new(
		json_object_get(pool, "volumes"), text_of(request, "uuid"),
		json_pack("{s:O, s:O, s:O, s:b, s:b, s:i}", "uuid",
			  json_object_get(request, "uuid"), "name",
			  json_object_get(request, "name"), "size_bytes",
			  json_object_get(origin, "size_bytes"), "thick", 0,
			  "read_only", 1, "mapped_extents", 0));
	keep(pool);
	return 0;
}

static int volume_delete(const json_t *request)
{
	json_t *pool = pool_of(request, "pool"), *on;
	const char *vdev;

	if (!pool)
		return -ENOENT;
	json_object_foreach(
		stands, vdev,
		on) if (strcmp(text_of(on, "uuid"), text_of(request, "uuid")) ==
			0) return -EBUSY;
	json_object_del(json_object_get(pool, "volumes"),
			text_of(request, "uuid"));
	keep(pool);
	return 0;
}

int fake_pools(const json_t *request, const json_t *devices,
	       const json_t *descriptors, json_t *reply)
{
	const char *op = text_of(request, "op");
	json_t *pool;

	if (!pools) {
		pools = json_object();
		stands = json_object();
	}
	pool = pool_of(request, "pool");
	if (strcmp(op, "pool-add") == 0)
		return pool_add(request);
	if (strcmp(op, "member-add") == 0)
		return member_add(request, devices, descriptors, reply);
	if (strcmp(op, "member-remove") == 0)
		return json_object_del(json_object_get(pool, "members"),
				       text_of(request, "device")) < 0 ?
			-ENOENT :
			0;
	if (strcmp(op, "pool-remove") == 0)
		return json_object_del(pools, text_of(request, "name")) < 0 ?
			-ENOENT :
			0;
	if (strcmp(op, "pool-start") == 0 && pool)
		json_object_set_new(pool, "started", json_true());
	if (strcmp(op, "pool-start") == 0 || strcmp(op, "volumes") == 0)
		return pool ? answer_volumes(pool, reply) : -ENOENT;
	if (strcmp(op, "vdev-add") == 0)
		return vdev_add(request);
	if (strcmp(op, "vdev-resize") == 0)
		return vdev_resize(request);
	if (strcmp(op, "vdev-remove") == 0)
		json_object_del(stands, text_of(request, "name"));
	if (strcmp(op, "volume-snapshot") == 0)
		return volume_snapshot(request);
	if (strcmp(op, "volume-delete") == 0)
		return volume_delete(request);
	return 1;
}

void fake_pools_list(json_t *reply)
{
	json_t *all = json_array(), *members = json_array();
	json_t *pool, *item;
	const char *name, *device;

	json_object_foreach(pools, name, pool)
	{
		item = json_copy(json_object_get(pool, "said"));
		json_object_set_new(
			item, "started",
			json_boolean(json_object_get(pool, "started") != NULL));
		json_array_append_new(all, item);
		json_object_foreach(json_object_get(pool, "members"), device,
				    item) json_array_append(members, item);
	}
	json_object_set_new(reply, "pools", all);
	json_object_set_new(reply, "members", members);
}

unsigned long fake_pools_reserved(unsigned int slot)
{
	json_t *pool, *volume;
	const char *name, *uuid;
	json_int_t bytes = 0;

	json_object_foreach(pools, name, pool)
	{
		if (number_of(json_object_get(pool, "said"), "slot") !=
		    (json_int_t)slot)
			continue;
		json_object_foreach(
			json_object_get(pool, "volumes"), uuid,
			volume) if (json_is_true(json_object_get(volume,
								 "thick")))
			bytes +=
			(number_of(volume, "size_bytes") + MIB - 1) / MIB * MIB;
	}
	return (unsigned long)(bytes / MIB);
}
