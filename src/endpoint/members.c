/* SPDX-License-Identifier: Apache-2.0 */
/* members.c - devices of pools: opened, or refused, and gone again */
#include "endpoint/endpoint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/container.h"
#include "endpoint/fields.h"
#include "vdev/scrub.h"

static json_t *describe(const struct endpoint_member *m)
{
	const struct format_super *super = &m->add.member->super;

	return json_pack("{s:o, s:I, s:I, s:b, s:b}", "uuid",
			 field_from_uuid(&super->uuid), "generation",
			 (json_int_t)super->generation, "size_bytes",
			 (json_int_t)super->capacity_bytes, "claimed",
			 super->generation == 1, "leaving",
			 member_is_leaving(m->add.member));
}

json_t *endpoint_member_said(const struct endpoint_member *m)
{
	json_t *said = json_copy(m->said);

	if (m->is_open)
		json_object_set_new(said, "found", describe(m));
	return said;
}

/* ---- they go ---- */

static void forget(struct endpoint_member *m)
{
	struct endpoint_member **link = &m->pool->members;

	while (*link != m)
		link = &(*link)->next;
	*link = m->next;
	m->device->member = NULL;
	json_decref(m->said);
	free(m);
}

void endpoint_members_forget(struct endpoint_pool *pool)
{
	while (pool->members)
		forget(pool->members);
}

bool endpoint_members_poll(struct endpoint_pool *pool)
{
	struct endpoint_member *next;
	bool waits = false;

	for (struct endpoint_member *m = pool->members; m; m = next) {
		next = m->next;
		if (!m->is_refused && !m->is_going)
			continue;
		if (pool_remove(pool->pool, &m->add) < 0) {
			waits = true;
			continue;
		}
		if (m->is_going)
			endpoint_work_end(&m->work, 0, NULL, NULL);
		forget(m);
	}
	return waits;
}

int endpoint_named_member(struct endpoint *endpoint, const json_t *request,
			  struct endpoint_member **ret_member,
			  struct error *reterr)
{
	struct endpoint_pool *pool;
	const char *name;
	int result =
		endpoint_named_pool(endpoint, request, "pool", &pool, reterr);

	if (result == 0)
		result = field_name(request, "device", &name, reterr);
	if (result < 0)
		return result;
	endpoint_members_poll(pool);	/* one that was refused is none */
	*ret_member = pool->members;
	while (*ret_member && strcmp((*ret_member)->device->name, name))
		*ret_member = (*ret_member)->next;
	if (!*ret_member)
		return error_set(reterr, -ENOENT, "pool %s has no device %s",
				 pool->name, name);
	return 0;
}

int endpoint_member_remove(struct endpoint *endpoint, json_t *request, int *fd,
			   json_t *reply, struct error *reterr)
{
	struct endpoint_member *m;
	int result = endpoint_named_member(endpoint, request, &m, reterr);

	(void)fd;
	(void)reply;
	if (result < 0)
		return result == -ENOENT ? 0 : result;
	if (!m->is_open || m->is_going || m->pool->work.said)
		return error_set(reterr, -EBUSY,
				 "pool %s: device %s is changing",
				 m->pool->name, m->device->name);
	if (m->device->is_measured)
		return error_set(reterr, -EBUSY, "device %s is being measured",
				 m->device->name);
	if (m->pool->pool->volumes)
		return endpoint_member_leave(m, request, reterr);
	m->is_going = true;
	member_stop(m->add.member);
	endpoint_work_begin(endpoint, &m->work, request);
	endpoint_pools_poll(endpoint);
	return ENDPOINT_LATER;
}

/* ---- they are named ---- */

int endpoint_members_named(const struct endpoint_pool *pool,
			   const json_t *request, uint64_t *ret_members,
			   struct error *reterr)
{
	const json_t *names = json_object_get(request, "devices");
	uint64_t members = 0;
	const json_t *name;
	size_t i;

	if (names && !json_is_array(names))
		return error_set(reterr, -EINVAL,
				 "'devices' must be an array of names");
	json_array_foreach((json_t *)(uintptr_t)names, i, name)
	{
		const struct endpoint_member *m = pool ? pool->members : NULL;

		if (!json_is_string(name))
			return error_set(reterr, -EINVAL,
					 "'devices' must be an array of names");
		while (m &&
		       (!m->is_open ||
			strcmp(m->device->name, json_string_value(name)) != 0))
			m = m->next;
		if (!m)
			return error_set(reterr, -ENOENT,
					 "its pool has no device %s",
					 json_string_value(name));
		members |= UINT64_C(1) << m->add.member->index;
	}
	*ret_members = members;
	return 0;
}

/* ---- they come ---- */

static void opened(struct pool_add *add, int result, const struct error *error)
{
	struct endpoint_member *m =
		container_of(add, struct endpoint_member, add);
	struct endpoint *endpoint = m->pool->endpoint;

	m->is_open = result == 0;
	m->is_refused = result < 0;
	if (m->is_refused)
		endpoint_pools_poll(endpoint);
	endpoint_work_end(&m->work, result, error,
			  m->is_open ? describe(m) : NULL);
}

static int read_member(const json_t *request,
		       const struct endpoint_device *device,
		       struct member_config *config, struct error *reterr)
{
	struct format_uuid uuid;
	bool is_known = false;
	int result = field_uuid(request, "uuid", &uuid, reterr);

	if (result == 0)
		result = field_bool(request, "known", &is_known, reterr);
	if (result == 0)
		result = field_bool(request, "claim", &config->may_claim,
				    reterr);
	if (result == 0)
		result = field_bool(request, "zeroed", &config->is_zeroed,
				    reterr);
	if (result == 0)
		result = field_u64(request, "size_bytes", INT64_MAX,
				   &config->capacity_bytes, reterr);
	if (result < 0)
		return result;
	config->uuid = uuid;
	if (is_known)
		config->expected = uuid;
	config->device = device->block;
	config->loop = device->endpoint->loop;
	config->user = device->device;
	config->zero = vdev_scrub;
	config->name = device->name;
	config->is_volatile = !strcmp(device->block->ops->kind, "nullio");
	return 0;
}

static int find_free_device(struct endpoint *endpoint, const json_t *request,
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
	if ((*ret_device)->member)
		return error_set(reterr, -EBUSY, "device %s is in use", name);
	return 0;
}

static int begin(struct endpoint_pool *pool, struct endpoint_device *device,
		 const struct member_config *config, json_t *request,
		 struct error *reterr)
{
	struct endpoint_member *m = calloc(1, sizeof(*m));
	struct endpoint_member **end = &pool->members;
	int result;

	if (!m)
		return error_set(reterr, -ENOMEM, "no memory for device %s",
				 device->name);
	m->pool = pool;
	m->device = device;
	m->said = field_said(request);
	m->add.done = opened;
	while (*end)
		end = &(*end)->next;
	*end = m;
	device->member = m;
	endpoint_work_begin(pool->endpoint, &m->work, request);
	/* What another server, or endpoint, holds comes after our own (E10). */
	result = pool_add(pool->pool, config, !device->export, &m->add);
	if (result == 0)
		return ENDPOINT_LATER;
	endpoint_work_drop(&m->work);
	forget(m);
	return error_set(reterr, result, "pool %s can't take device %s: %s",
			 pool->name, device->name, strerror(-result));
}

int endpoint_member_add(struct endpoint *endpoint, json_t *request, int *fd,
			json_t *reply, struct error *reterr)
{
	struct member_config config = {0};
	struct endpoint_device *device = NULL;
	struct endpoint_member *m;
	struct endpoint_pool *pool = NULL;
	int result = endpoint_named_member(endpoint, request, &m, reterr);

	(void)fd;
	if (result == 0 && m->is_open && !m->is_going &&
	    field_same_request(m->said, request)) {
		json_object_update_new(reply, describe(m));
		return 0;
	}
	if (result == 0)
		return error_set(reterr, -EEXIST,
				 "pool %s has device %s already", m->pool->name,
				 m->device->name);
	if (result == -ENOENT)
		result = endpoint_named_pool(endpoint, request, "pool", &pool,
					     reterr);
	if (result == 0)
		result = find_free_device(endpoint, request, &device, reterr);
	if (result == 0)
		result = read_member(request, device, &config, reterr);
	if (result < 0)
		return result;
	if (pool->work.said)
		return error_set(reterr, -EBUSY, "pool %s is being started",
				 pool->name);
	return begin(pool, device, &config, request, reterr);
}
