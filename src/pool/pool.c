/* SPDX-License-Identifier: Apache-2.0 */
/* pool.c - see pool.h */
#include "pool/pool.h"

#include <errno.h>
#include <stdlib.h>

#include "pool/evacuate.h"
#include "pool/volume.h"

static void space_changed(struct member *member)
{
	struct pool *pool = member->owner;

	if (pool->starved)
		pool_wake(pool);
}

static const struct member_ops member_ops = {.space_changed = space_changed};

/* ---- devices ---- */

static void refuse(struct pool_add *add, int result, const char *why)
{
	struct error error;

	error_set(&error, result, "%s: %s", add->member->config.name, why);
	add->done(add, result, &error);
}

/* Where one has left, or behind the last. */
static uint32_t find_place(struct pool *pool)
{
	for (uint32_t i = 0; i < pool->member_count; i++)
		if (pool->members[i]->is_gone) {
			member_destroy(pool->members[i]);
			return i;
		}
	return pool->member_count++;
}

static void take_in(struct pool *pool, struct pool_add *add)
{
	const uint32_t index = find_place(pool);

	pool->members[index] = add->member;
	pool->is_local[index] = add->is_local;
	add->member->index = index;
	for (uint32_t i = 0; i < add->chunks; i++)
		pool->chunks[add->chunk + i] = (struct pool_chunk){
			.member = add->member,
			.base_bytes = member_offset(add->member, 0) -
				((uint64_t)add->member->config.first_number
				 << FORMAT_EXTENT_SHIFT),
		};
	if (!pool->is_started)
		return;
	pool_join(pool, add->member);
	member_run(add->member);
	for (struct volume *volume = pool->volumes; volume;
	     volume = volume->next)
		volume_go_on(volume);
}

static void opened(void *arg, int result, const struct error *error)
{
	struct pool_add *add = arg;
	struct pool *pool = add->pool;
	struct member *member = add->member;
	const char *why;

	/* Perhaps inside of member_open still. */
	member->owner = pool;
	if (result < 0) {
		add->done(add, result, error);
		return;
	}
	for (uint32_t i = 0; i < pool->member_count; i++) {
		if (pool->members[i]->is_gone ||
		    !format_uuid_equal(&pool->members[i]->super.uuid,
				       &member->super.uuid))
			continue;
		refuse(add, -EEXIST,
		       "it is a copy of a device that the pool has already: take the one that is older away");
		return;
	}
	if (pool->is_started && pool_may_join(pool, member, &why) < 0) {
		refuse(add, -EBUSY, why);
		return;
	}
	take_in(pool, add);
	add->done(add, 0, error);
}

/* The first 'count' that nobody has; POOL_CHUNKS: there are none. */
static uint32_t find_chunks(const struct pool *pool, uint32_t count)
{
	uint32_t first = 1;	/* the number 0 is nobody's */

	for (uint32_t i = 0; i < pool->add_count; i++) {
		const struct member_config *with = &pool->adds[i]->config;
		const uint32_t begin = with->first_number >> POOL_CHUNK_SHIFT;
		const uint32_t end =
			begin + (with->most_extents >> POOL_CHUNK_SHIFT);

		if (begin >= first + count || end <= first)
			continue;
		first = end;
		i = UINT32_MAX;	/* look at all of them again */
	}
	return first <= POOL_CHUNKS - count ? first : POOL_CHUNKS;
}

int pool_add(struct pool *pool, const struct member_config *config,
	     bool is_local, struct pool_add *add)
{
	const uint32_t chunk = UINT32_C(1) << POOL_CHUNK_SHIFT;
	const uint32_t extents = format_extents(config->device->size_bytes);
	struct member_config with = *config;
	int rc;

	add->pool = pool;
	add->is_local = is_local;
	add->chunks = (extents + chunk - 1) / chunk;
	add->chunk = find_chunks(pool, add->chunks);
	if (pool->add_count == POOL_MEMBERS_MAX || add->chunk == POOL_CHUNKS)
		return -ENOSPC;
	with.ops = &member_ops;
	with.first_number = add->chunk << POOL_CHUNK_SHIFT;
	with.most_extents = add->chunks << POOL_CHUNK_SHIFT;
	rc = member_open(&with, opened, add, &add->member);
	if (rc < 0)
		return rc;
	pool->adds[pool->add_count++] = add->member;
	return 0;
}

static void forget_chunks(struct pool *pool, const struct member *member)
{
	for (uint32_t i = 0; i < POOL_CHUNKS; i++)
		if (pool->chunks[i].member == member)
			pool->chunks[i] = (struct pool_chunk){0};
}

/* Those behind it get other indexes: nobody has kept them, there are no
 * volumes. */
static void take_out(struct pool *pool, uint32_t index)
{
	forget_chunks(pool, pool->members[index]);
	pool->member_count--;
	for (uint32_t i = index; i < pool->member_count; i++) {
		pool->members[i] = pool->members[i + 1];
		pool->members[i]->index = i;
		pool->is_local[i] = pool->is_local[i + 1];
	}
}

/* The others keep their indexes; what is in its place keeps nothing, and takes
 * whatever still goes to all of them. */
static void leave_place(struct pool *pool, struct member *member)
{
	forget_chunks(pool, member);
	member->is_gone = true;
	member->config.is_volatile = true;
	member->log.config.device = NULL;
	member->config.device = NULL;
	member->config.name = "a device that has left";
}

int pool_remove(struct pool *pool, struct pool_add *add)
{
	struct member *member = add->member;
	uint32_t index = 0, i = 0;

	while (index < pool->member_count && pool->members[index] != member)
		index++;
	if (member->open || !member_is_idle(member) ||
	    (pool->leave && pool->leave->member == member) ||
	    (index < pool->member_count && pool->volumes && !member->is_out))
		return -EBUSY;
	while (pool->adds[i] != member)
		i++;
	pool->adds[i] = pool->adds[--pool->add_count];
	if (index < pool->member_count && pool->volumes) {
		leave_place(pool, member);
	} else {
		if (index < pool->member_count)
			take_out(pool, index);
		member_destroy(member);
	}
	pool_look(pool);
	return 0;
}

/* ---- life ---- */

int pool_create(const struct pool_ops *ops, void *arg, struct pool **ret_pool)
{
	struct pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return -ENOMEM;
	pool->ops = ops;
	pool->arg = arg;
	pool->starved_end = &pool->starved;
	*ret_pool = pool;
	return 0;
}

void pool_destroy(struct pool *pool)
{
	if (!pool)
		return;
	while (pool->volumes)
		volume_free(pool->volumes);
	pool_free_copies(pool);
	evacuate_free(pool);
	pool_free_losers(pool);
	for (uint32_t i = 0; i < pool->member_count; i++)
		if (pool->members[i]->is_gone)
			member_destroy(pool->members[i]);
	for (uint32_t i = 0; i < pool->add_count; i++)
		member_destroy(pool->adds[i]);
	free(pool);
}

void pool_stop(struct pool *pool)
{
	if (pool->evacuate)
		evacuate_stop(pool->evacuate);
	for (uint32_t i = 0; i < pool->member_count; i++)
		member_stop(pool->members[i]);
}

bool pool_is_idle(const struct pool *pool)
{
	for (uint32_t i = 0; i < pool->member_count; i++)
		if (!member_is_idle(pool->members[i]))
			return false;
	if (pool->evacuate || pool->leave)
		return false;
	for (const struct volume *volume = pool->volumes; volume;
	     volume = volume->next)
		if (volume_is_changing(volume) || volume->copies)
			return false;
	return true;
}
