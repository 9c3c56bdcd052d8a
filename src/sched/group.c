/* SPDX-License-Identifier: Apache-2.0 */
/*
 * group.c - see group.h
 *
 * A group's lane stands at the root for its best member: in 'group_due' if one
 * is due, in 'group_spare' if one is spare; or, over the group's limit, only
 * in 'group_limits'.
 */
#include "sched/group.h"

#include <errno.h>
#include <stdlib.h>

int group_init(struct sched *sched)
{
	struct heap *heaps[] = {
		&sched->group_due,
		&sched->group_spare,
		&sched->group_limits,
	};

	for (unsigned int i = 0; i < 3; i++) {
		sched->group_places[i] =
			calloc(GROUP_LANES_MAX, sizeof(uint32_t));
		heaps[i]->place = sched->group_places[i];
		if (!heaps[i]->place ||
		    heap_reserve(heaps[i], GROUP_LANES_MAX) < 0)
			return -ENOMEM;
	}
	for (unsigned int i = 0; i < 2; i++) {
		sched->member_places[i] = calloc(LANES_MAX, sizeof(uint32_t));
		if (!sched->member_places[i])
			return -ENOMEM;
	}
	return 0;
}

void group_finish(struct sched *sched)
{
	heap_finish(&sched->group_due);
	heap_finish(&sched->group_spare);
	heap_finish(&sched->group_limits);
	for (unsigned int i = 0; i < 3; i++)
		free(sched->group_places[i]);
	for (unsigned int i = 0; i < 2; i++)
		free(sched->member_places[i]);
}

static uint32_t group_id(const struct sched_group *group,
			 unsigned int direction)
{
	return group->index << 1 | direction;
}

static void leave(struct heap *heap, uint32_t id)
{
	if (heap_contains(heap, id))
		heap_remove(heap, id);
}

static void stand(struct heap *heap, uint32_t id, uint64_t key)
{
	if (heap_contains(heap, id))
		heap_change(heap, id, key);
	else
		heap_insert(heap, id, key);
}

static void set_due(struct sched *sched, uint32_t id,
		    const struct heap *members)
{
	if (members->count == 0)
		leave(&sched->group_due, id);
	else
		stand(&sched->group_due, id, heap_key(members));
}

/* A group that was held back by its limit does not catch up, but the order
 * among its members remains: their virtual times are moved together. */
static void set_spare(struct sched *sched, uint32_t id,
		      struct sched_group *group, const struct heap *members)
{
	uint64_t key;

	if (members->count == 0) {
		leave(&sched->group_spare, id);
		return;
	}
	key = heap_key(members) + group->offset;
	if (key < sched->vtime) {
		group->offset += sched->vtime - key;
		key = sched->vtime;
	}
	stand(&sched->group_spare, id, key);
}

void group_refresh(struct sched *sched, struct sched_group *group,
		   unsigned int direction, uint64_t now_ns)
{
	const struct group_lane *lane = &group->lanes[direction];
	const uint32_t id = group_id(group, direction);
	const uint64_t limit_ns = group_limit_ns(group, direction);

	if (limit_ns <= now_ns) {
		leave(&sched->group_limits, id);
		set_due(sched, id, &lane->due);
		set_spare(sched, id, group, &lane->spare);
		return;
	}
	leave(&sched->group_due, id);
	leave(&sched->group_spare, id);
	if (lane->due.count + lane->spare.count == 0) {
		leave(&sched->group_limits, id);
		return;
	}
	stand(&sched->group_limits, id, limit_ns);
	if (limit_ns < sched->timers_ns)
		sched->timers_ns = limit_ns;
}

void group_shrunk(struct sched *sched, struct sched_group *group,
		  unsigned int direction)
{
	const struct group_lane *lane = &group->lanes[direction];
	const uint32_t id = group_id(group, direction);

	if (heap_contains(&sched->group_due, id))
		set_due(sched, id, &lane->due);
	if (heap_contains(&sched->group_spare, id))
		set_spare(sched, id, group, &lane->spare);
	if (lane->due.count + lane->spare.count == 0)
		leave(&sched->group_limits, id);
}

void group_timers(struct sched *sched, uint64_t now_ns)
{
	while (heap_key(&sched->group_limits) <= now_ns) {
		const uint32_t id = heap_pop(&sched->group_limits);

		group_refresh(sched, sched->group_table[id >> 1], id & 1,
			      now_ns);
	}
}
