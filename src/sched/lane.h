/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lane.h - lanes move between waiting, due and spare; internal to src/sched
 */
#ifndef SCHED_LANE_H
#define SCHED_LANE_H

#include "sched/state.h"

/* An idle lane that has requests: put it where it belongs.  A reservation
 * that lies further back than 'saved_ns' is moved up to that. */
void lane_place(struct sched *sched, struct sched_client *client,
		unsigned int lane, uint64_t saved_ns, uint64_t now_ns);
/* An idle lane: it waits until 'limit_ns'. */
void lane_wait(struct sched *sched, struct sched_client *client,
	       unsigned int lane, uint64_t limit_ns);
static inline uint32_t lane_id(const struct sched_client *client,
			       unsigned int lane)
{
	return client->id | lane;
}

/* A spare lane at the root needs its place in 'spare', if it has none. */
static inline void lane_enter_spare(struct sched *sched,
				    struct sched_client *client,
				    unsigned int lane)
{
	if (client->queues[lane] & IN_SPARE)
		return;
	client->queues[lane] |= IN_SPARE;
	wheel_insert(&sched->spare, lane_id(client, lane), client->vtime);
}

/* Its deadline, if it was due at 'due_ns'. */
static inline uint64_t lane_deadline_ns(const struct sched *sched,
					const struct sched_client *client,
					unsigned int lane, uint64_t due_ns)
{
	const struct sched_request *head = client->fifos[lane].head;
	const struct sched_request *other = client->fifos[!lane].head;
	uint64_t latest_ns = due_ns + sched->behind_ns;
	uint64_t arrival_ns;

	if (client->flags & CLIENT_SPLIT) {
		arrival_ns = head->arrival_ns;
		/* If both are due, after the one that came first. */
		if (client->flags & CLIENT_IN_ORDER && other &&
		    other->arrival_ns < arrival_ns)
			latest_ns++;
	} else {
		/* One bound for both: the one that came first decides. */
		arrival_ns = head ? head->arrival_ns : UINT64_MAX;
		if (other && other->arrival_ns < arrival_ns)
			arrival_ns = other->arrival_ns;
	}
	if (arrival_ns > latest_ns)
		latest_ns = arrival_ns;
	return latest_ns + client->bound_ns[lane];
}

/* Both lanes of a client, those that have requests. */
void lane_place_both(struct sched *sched, struct sched_client *client,
		     uint64_t now_ns);
/* Take a client's lanes out of wherever they are: they are idle then and all
 * entries for them invalid. */
void lane_remove(struct sched *sched, struct sched_client *client);
/* If there are too many invalid entries, begin anew without.  To be called
 * after lane_remove, when all lanes with requests have been placed. */
void lane_clean(struct sched *sched);
void lane_place_all(struct sched *sched, uint64_t now_ns);
void lane_remove_all(struct sched *sched);
/* One after the other: keys are others from now on. */
void lane_replace_all(struct sched *sched, uint64_t now_ns);

/* Everybody begins anew; no lane is placed. */
void lane_forget_vtimes(struct sched *sched);
/* Virtual time has come far: begin again at 0, with the same distances (once
 * in hours at most). */
void lane_rebase(struct sched *sched, uint64_t now_ns);

/* Let everything go on that waited for a limit whose time has come. */
void lane_timers(struct sched *sched, uint64_t now_ns);
/* A spare lane, out of 'dues' and 'spare': it is owed something now. */
void lane_becomes_due(struct sched *sched, struct sched_client *client,
		      unsigned int lane, uint64_t saved_ns, uint64_t now_ns);
/* The same for all whose time has come. */
void lane_all_due(struct sched *sched, uint64_t now_ns);
/* Have the memory fetched that the next of a queue will need. */
void lane_fetch_next(const struct sched *sched, struct wheel *wheel);

/* With fewer, memory is no matter: everything stays in the cache. */
#define LANE_LOOK_CLIENTS	256U

/* The same, some at a time: to be called for each. */
static inline void lane_look_ahead(const struct sched *sched,
				   struct wheel *wheel)
{
	if (wheel->next % 8 == 0 && sched->clients >= LANE_LOOK_CLIENTS)
		lane_fetch_next(sched, wheel);
}

#endif
