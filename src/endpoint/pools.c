/* SPDX-License-Identifier: Apache-2.0 */
/* pools.c - pools of an endpoint: made, put together, and gone again */
#include "endpoint/endpoint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/container.h"
#include "endpoint/fields.h"

#define POLL_NS UINT64_C(1000000)

struct endpoint_pool *endpoint_find_pool(struct endpoint *endpoint,
					 const char *name)
{
	struct endpoint_pool *pool = endpoint->pools;

	while (pool && strcmp(pool->name, name))
		pool = pool->next;
	return pool;
}

int endpoint_named_pool(struct endpoint *endpoint, const json_t *request,
			const char *key, struct endpoint_pool **ret_pool,
			struct error *reterr)
{
	const char *name;
	int result = field_name(request, key, &name, reterr);

	if (result < 0)
		return result;
	*ret_pool = endpoint_find_pool(endpoint, name);
	if (!*ret_pool)
		return error_set(reterr, -ENOENT, "no pool %s", name);
	if ((*ret_pool)->is_going)
		return error_set(reterr, -EBUSY, "pool %s is being removed",
				 name);
	return 0;
}

json_t *endpoint_pool_said(const struct endpoint_pool *pool)
{
	json_t *said = json_copy(pool->said);

	json_object_set_new(said, "started", json_boolean(pool->is_started));
	return said;
}

/* ---- a pool is made ---- */

static void pool_free(struct endpoint_pool *pool)
{
	pool_destroy(pool->pool);
	json_decref(pool->said);
	free(pool->name);
	free(pool);
}

int endpoint_pool_add(struct endpoint *endpoint, json_t *request, int *fd,
		      json_t *reply, struct error *reterr)
{
	static const struct pool_ops ops = {.choose = vdev_choose};
	struct endpoint_pool *pool;
	const char *name;
	uint64_t slot = 0;
	int result = field_name(request, "name", &name, reterr);

	(void)fd;
	(void)reply;
	if (result == 0)
		result = field_u64(request, "slot", STATS_POOLS - 1, &slot,
				   reterr);
	if (result < 0)
		return result;
	pool = endpoint_find_pool(endpoint, name);
	if (pool)
		return !pool->is_going &&
				field_same_request(pool->said, request) ?
			0 :
			error_set(reterr, -EEXIST, "pool %s exists", name);
	pool = calloc(1, sizeof(*pool));
	if (!pool)
		return error_set(reterr, -ENOMEM, "no memory for pool %s",
				 name);
	pool->endpoint = endpoint;
	pool->said = field_said(request);
	pool->stats = &endpoint->stats->pools[slot];
	pool->name = strdup(name);
	if (!pool->name || pool_create(&ops, pool, &pool->pool) < 0) {
		pool_free(pool);
		return error_set(reterr, -ENOMEM, "no memory for pool %s",
				 name);
	}
	pool->next = endpoint->pools;
	endpoint->pools = pool;
	return 0;
}

/* ---- and put together ---- */

/* A volume that all its devices know may be written to. */
static bool is_settled(const struct endpoint_pool *pool)
{
	for (const struct volume *v = pool->pool->volumes; v; v = v->next)
		if (volume_is_changing(v) && !v->is_closed)
			return false;
	return true;
}

static void end_start(struct endpoint_pool *pool)
{
	json_t *reply = json_object();

	pool->is_started = true;
	endpoint_volumes_said(pool, 0, reply);
	endpoint_work_end(&pool->work, 0, NULL, reply);
}

static int check_members(const struct endpoint_pool *pool, struct error *reterr)
{
	for (const struct endpoint_member *m = pool->members; m; m = m->next)
		if (!m->is_refused && (!m->is_open || m->is_going))
			return error_set(reterr, -EBUSY,
					 "pool %s: device %s is being %s",
					 pool->name, m->device->name,
					 m->is_going ? "removed" : "read");
	return 0;
}

int endpoint_pool_start(struct endpoint *endpoint, json_t *request, int *fd,
			json_t *reply, struct error *reterr)
{
	struct endpoint_pool *pool;
	int result =
		endpoint_named_pool(endpoint, request, "pool", &pool, reterr);

	(void)fd;
	if (result < 0)
		return result;
	if (pool->is_started) {
		endpoint_volumes_said(pool, 0, reply);
		return 0;
	}
	if (pool->is_half)
		return error_set(reterr, -ENOTRECOVERABLE,
				 "pool %s: remove it, and add it again",
				 pool->name);
	result = check_members(pool, reterr);
	if (result < 0)
		return result;
	result = pool_start(pool->pool, reterr);
	if (result < 0) {
		pool->is_half = true;
		return result;
	}
	endpoint_work_begin(endpoint, &pool->work, request);
	endpoint_pools_poll(endpoint);
	return ENDPOINT_LATER;
}

/* ---- and gone ---- */

static int check_unused(const struct endpoint_pool *pool, struct error *reterr)
{
	if (pool->vdevs > 0)
		return error_set(reterr, -EBUSY,
				 "pool %s is in use: %u vdev(s)", pool->name,
				 pool->vdevs);
	if (pool->making || pool->work.said)
		return error_set(reterr, -EBUSY, "pool %s is changing",
				 pool->name);
	for (const struct endpoint_member *m = pool->members; m; m = m->next)
		if (m->device->is_measured)
			return error_set(reterr, -EBUSY,
					 "pool %s: device %s is being measured",
					 pool->name, m->device->name);
	return check_members(pool, reterr);
}

int endpoint_pool_remove(struct endpoint *endpoint, json_t *request, int *fd,
			 json_t *reply, struct error *reterr)
{
	struct endpoint_pool *pool;
	int result =
		endpoint_named_pool(endpoint, request, "name", &pool, reterr);

	(void)fd;
	(void)reply;
	if (result < 0)
		return result == -ENOENT ? 0 : result;
	result = check_unused(pool, reterr);
	if (result < 0)
		return result;
	pool->is_going = true;
	pool_stop(pool->pool);
	endpoint_work_begin(endpoint, &pool->work, request);
	endpoint_pools_poll(endpoint);
	return ENDPOINT_LATER;
}

static void end_pool(struct endpoint_pool *pool)
{
	struct endpoint_pool **link = &pool->endpoint->pools;

	while (*link != pool)
		link = &(*link)->next;
	*link = pool->next;
	*pool->stats = (struct stats_pool){0};
	endpoint_work_end(&pool->work, 0, NULL, NULL);
	endpoint_members_forget(pool);
	pool_free(pool);
}

/* ---- what is waited for ---- */

/* Returns whether something still is. */
static bool poll_pool(struct endpoint_pool *pool)
{
	bool waits = endpoint_members_poll(pool);

	waits |= endpoint_volumes_poll(pool);
	if (!pool->work.said)
		return waits;
	if (pool->is_going && pool_is_idle(pool->pool)) {
		end_pool(pool);
		return false;
	}
	if (!pool->is_going && is_settled(pool)) {
		end_start(pool);
		return waits;
	}
	return true;
}

static void poll_pools(struct loop_timer *timer, uint64_t now_ns)
{
	struct endpoint *endpoint = container_of(timer, struct endpoint, poll);
	struct endpoint_pool *next;
	bool waits = false;

	(void)now_ns;
	for (struct endpoint_device *d = endpoint->devices; d; d = d->next)
		waits |= endpoint_measuring_poll(d);
	for (struct endpoint_pool *pool = endpoint->pools; pool; pool = next) {
		next = pool->next;
		waits |= poll_pool(pool);
	}
	if (waits)
		endpoint_pools_poll(endpoint);
}

void endpoint_pools_poll(struct endpoint *endpoint)
{
	loop_timer_set(endpoint->loop, &endpoint->poll,
		       loop_clock_ns() + POLL_NS);
}

int endpoint_pools_init(struct endpoint *endpoint)
{
	return loop_timer_init(endpoint->loop, &endpoint->poll, poll_pools);
}

void endpoint_pools_finish(struct endpoint *endpoint)
{
	loop_timer_finish(endpoint->loop, &endpoint->poll);
}
