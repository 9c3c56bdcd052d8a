/* SPDX-License-Identifier: Apache-2.0 */
/*
 * group.h - lanes below a group's limit; internal to src/sched
 */
#ifndef SCHED_GROUP_H
#define SCHED_GROUP_H

#include "sched/state.h"

/* Returns 0 or -ENOMEM. */
int group_init(struct sched *sched);
void group_finish(struct sched *sched);
/* A group's limit or what hangs below it has changed: put its lane of this
 * direction where it belongs. */
void group_refresh(struct sched *sched, struct sched_group *group,
		   unsigned int direction, uint64_t now_ns);
/* The same after a member was taken out, at no particular time. */
void group_shrunk(struct sched *sched, struct sched_group *group,
		  unsigned int direction);
/* Let groups go on whose time has come. */
void group_timers(struct sched *sched, uint64_t now_ns);

/* The group lane below which a client's lane hangs now, or NULL: the root. */
static inline struct group_lane *group_lane_of(
	const struct sched *sched, const struct sched_client *client,
	unsigned int lane)
{
	if (client->flags & CLIENT_GROUPED && sched->enforcing)
		return &client_rest(client)->group->lanes[lane];
	return NULL;
}

/* The virtual time that a client's is measured by. */
static inline uint64_t *group_vtime_of(struct sched *sched,
				       const struct sched_client *client)
{
	if (client->flags & CLIENT_GROUPED && sched->enforcing)
		return &client_rest(client)->group->vtime;
	return &sched->vtime;
}

#endif
