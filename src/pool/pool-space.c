/* SPDX-License-Identifier: Apache-2.0 */
/* pool-space.c - what a pool has left, and who gets it: see pool.h */
#include "pool/pool.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>

#include "pool/volume.h"

/* ---- waiting for an open extent ---- */

void pool_wait(struct pool *pool, struct pool_wait *wait)
{
	wait->next = NULL;
	*pool->starved_end = wait;
	pool->starved_end = &wait->next;
}

bool pool_unwait(struct pool *pool, struct pool_wait *wait)
{
	struct pool_wait **link = &pool->starved;

	while (*link && *link != wait)
		link = &(*link)->next;
	if (!*link)
		return false;
	*link = wait->next;
	if (!*link)
		pool->starved_end = link;
	return true;
}

/* Each asks again; who finds nothing waits behind the others. */
static void wake_once(struct pool *pool)
{
	struct pool_wait *list;

	list = pool->starved;
	pool->starved = NULL;
	pool->starved_end = &pool->starved;
	while (list) {
		struct pool_wait *wait = list;

		list = wait->next;
		wait->woken(wait, 0);
	}
}

/* A device may end what one of them begins at once: then there is more, for
 * those too that have asked before. */
void pool_wake(struct pool *pool)
{
	pool->wakes = true;
	if (pool->is_waking)
		return;
	pool->is_waking = true;
	while (pool->wakes) {
		pool->wakes = false;
		wake_once(pool);
	}
	pool->is_waking = false;
}

/* ---- space ---- */

static struct usage taken(const struct pool *pool)
{
	struct usage usage = {.reserved = pool->reserved};

	for (uint32_t i = 0; i < pool->member_count; i++) {
		const struct member *member = pool->members[i];

		if (member->is_out)
			continue;
		usage.used += member->super.extent_count - member_free(member);
		/* What is free on one that is leaving is nobody's. */
		usage.capacity += member->super.extent_count -
			(member_is_leaving(member) ? member_free(member) : 0);
	}
	return usage;
}

void pool_usage(const struct pool *pool, struct usage *ret_usage)
{
	struct usage usage = taken(pool);

	for (const struct volume *volume = pool->volumes; volume;
	     volume = volume->next)
		usage.promised += volume->extent_count;
	*ret_usage = usage;
}

uint64_t pool_unpromised(const struct pool *pool)
{
	uint64_t free_extents = 0;

	for (uint32_t i = 0; i < pool->member_count; i++)
		if (!member_is_leaving(pool->members[i]) &&
		    !pool->members[i]->is_out)
			free_extents += member_free(pool->members[i]);
	return free_extents > pool->reserved ? free_extents - pool->reserved :
					       0;
}

void pool_look(struct pool *pool)
{
	const struct usage usage = taken(pool);
	const enum usage_level level = usage_level(&usage, pool->level);

	if (level == pool->level)
		return;
	pool->level = level;
	if (pool->ops->level)
		pool->ops->level(pool, level);
}

int pool_prefer(const struct pool *pool, uint64_t candidates)
{
	uint32_t best = 0, most = 0;
	bool is_local = false;

	for (uint64_t left = candidates; left; left &= left - 1) {
		const uint32_t i = (uint32_t)__builtin_ctzll(left);
		const uint32_t has = member_free(pool->members[i]);

		if ((is_local && !pool->is_local[i]) ||
		    (is_local == pool->is_local[i] && has <= most))
			continue;
		is_local = pool->is_local[i];
		best = i;
		most = has;
	}
	return (int)best;
}

static int choose(struct pool *pool, const struct volume *volume,
		  const void *writer, uint64_t candidates)
{
	if (pool->ops->choose)
		return pool->ops->choose(pool, volume, writer, candidates);
	return pool_prefer(pool, candidates);
}

static bool is_local_choice(const struct pool *pool, int chosen)
{
	return chosen >= 0 && pool->is_local[chosen];
}

int pool_take(struct pool *pool, const struct volume *volume,
	      const void *writer, uint64_t mask, uint32_t near,
	      uint32_t *ret_number)
{
	uint64_t candidates = 0, coming = 0;
	bool has_taken, works = false;
	uint32_t extent;
	int chosen;

	if (volume->reserved == 0 && pool_unpromised(pool) == 0)
		return -ENOSPC;
	for (uint64_t left = mask; left; left &= left - 1) {
		const uint32_t i = (uint32_t)__builtin_ctzll(left);
		const struct member *member = pool->members[i];

		if (member->log.has_failed || member->is_out)
			continue;
		works = true;
		if (member_is_leaving(member))
			continue;
		if (member->space.total[SPACE_OPEN] > 0)
			candidates |= UINT64_C(1) << i;
		if (member_has_coming(member))
			coming |= UINT64_C(1) << i;
	}
	chosen = candidates ? choose(pool, volume, writer, candidates) : -1;
	if (!is_local_choice(pool, chosen) && coming) {
		const int later = choose(pool, volume, writer, coming);

		if (later >= 0 && (chosen < 0 || pool->is_local[later]))
			return -EAGAIN;
	}
	/* Just after a start a volume has joined none of its members yet. */
	if (chosen < 0 && volume->settle)
		return -EAGAIN;
	if (chosen < 0 && !(candidates | coming))
		return works ? -ENOSPC : -EIO;
	if (chosen < 0)
		return -EDQUOT;
	assert(candidates >> chosen & 1);
	near = near && pool_index_of(pool, near) == (uint32_t)chosen ?
		near - pool->members[chosen]->config.first_number :
		SPACE_NONE;
	has_taken = member_take(pool->members[chosen], near, &extent);
	assert(has_taken);	/* each candidate has one */
	*ret_number = pool->members[chosen]->config.first_number + extent;
	return 0;
}
