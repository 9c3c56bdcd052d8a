/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place.h - where a lane belongs; internal to src/sched
 *
 * What lane_place does, in line for those who know whether a client is plain;
 * lane.c stands on this.
 */
#ifndef SCHED_PLACE_H
#define SCHED_PLACE_H

#include "sched/charge.h"
#include "sched/group.h"
#include "sched/state.h"

/* An idle lane: it waits until 'limit_ns'. */
void place_wait(struct sched *sched, struct sched_client *client,
		unsigned int lane, uint64_t limit_ns);

/* Have the memory fetched that the next of a queue will need. */
void place_fetch_next(const struct sched *sched, struct wheel *wheel);

/* With fewer, memory is no matter: everything stays in the cache. */
#define PLACE_LOOK_CLIENTS	256U

/* The same, some at a time: to be called for each. */
static inline void place_look_ahead(const struct sched *sched,
				    struct wheel *wheel)
{
	if (wheel->next % 8 == 0 && sched->clients >= PLACE_LOOK_CLIENTS)
		place_fetch_next(sched, wheel);
}

static inline uint32_t place_id(const struct sched_client *client,
				unsigned int lane)
{
	return client->id | lane;
}

/* A spare lane at the root needs its place in 'spare', if it has none. */
static inline void place_enter_spare(struct sched *sched,
				     struct sched_client *client,
				     unsigned int lane)
{
	if (client->queues[lane] & IN_SPARE)
		return;
	client->queues[lane] |= IN_SPARE;
	wheel_insert(&sched->spare, place_id(client, lane), client->vtime);
}

/* Its deadline, if it was due at 'due_ns'. */
static inline uint64_t place_deadline_ns(const struct sched *sched,
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

/* In its group's heaps: without the generation. */
static inline uint32_t place_member_id(const struct sched_client *client,
				       unsigned int lane)
{
	return place_id(client, lane) & (LANES_MAX - 1);
}

/* Where a due lane stands among the others. */
ALWAYS_INLINE uint64_t place_due_key(struct sched *sched,
				     const struct sched_client *client,
				     unsigned int lane, uint64_t due_ns)
{
	if (sched->shortage.by_weight) {
		const uint64_t home = *group_vtime_of(sched, client);

		return (client->vtime > home ? client->vtime : home) +
			(client->flags & CLIENT_GROUPED ?
				 client_rest(client)->group->offset :
				 0);
	}
	return place_deadline_ns(sched, client, lane, due_ns);
}

ALWAYS_INLINE void place_due(struct sched *sched, struct sched_client *client,
			     unsigned int lane, bool plain, uint64_t due_ns)
{
	struct group_lane *parent =
		plain ? NULL : group_lane_of(sched, client, lane);
	const uint64_t key = place_due_key(sched, client, lane, due_ns);

	client->state[lane] = LANE_DUE;
	if (parent) {
		heap_insert(&parent->due, place_member_id(client, lane), key);
		return;
	}
	sched->ready++;
	wheel_insert(&sched->due, place_id(client, lane), key);
}

ALWAYS_INLINE void place_spare(struct sched *sched, struct sched_client *client,
			       unsigned int lane, bool plain)
{
	struct group_lane *parent =
		plain ? NULL : group_lane_of(sched, client, lane);
	const uint64_t home =
		plain ? sched->vtime : *group_vtime_of(sched, client);

	if (client->vtime < home)
		client->vtime = home;
	client->state[lane] = LANE_SPARE;
	if (parent) {
		heap_insert(&parent->spare, place_member_id(client, lane),
			    client->vtime);
		return;
	}
	sched->ready++;
	place_enter_spare(sched, client, lane);
}

/* A spare lane: be told when it is due. */
ALWAYS_INLINE void place_await_due(struct sched *sched,
				   struct sched_client *client,
				   unsigned int lane, uint64_t due_ns)
{
	if (client->queues[lane] & IN_DUES)
		return;
	client->queues[lane] |= IN_DUES;
	wheel_insert(&sched->dues, place_id(client, lane), due_ns);
}

/* Take the first entry out of a queue of times.  Returns the client if its
 * lane is still in 'state', else NULL. */
ALWAYS_INLINE struct sched_client *place_expire(struct sched *sched,
						struct wheel *wheel,
						unsigned int queue,
						enum lane_state state,
						unsigned int *ret_lane)
{
	const uint32_t id = wheel_pop(wheel);
	struct sched_client *client = client_of(sched, id);
	const unsigned int lane = id & 1;

	place_look_ahead(sched, wheel);
	if (!id_is_valid(client, id)) {
		sched->invalid--;
		return NULL;
	}
	client->queues[lane] &= (uint16_t)~queue;
	*ret_lane = lane;
	return client->state[lane] == state ? client : NULL;
}

/* Clip and return what is reserved for this lane. */
ALWAYS_INLINE uint64_t place_clip(struct sched_client *client,
				  unsigned int lane, bool plain,
				  uint64_t floor_ns)
{
	if (plain) {
		if (client->reservation.tag_ns < floor_ns)
			client->reservation.tag_ns = floor_ns;
		return client->reservation.tag_ns;
	}
	meter_raise(client_rest(client)->meters,
		    client_rest(client)->reservations[lane], floor_ns);
	return client_due_ns(client, lane);
}

/* A plain client has one place for all that is asked here, and no group.  The
 * reservation clock is 'clock_ns'; what is reserved is moved up to
 * 'floor_ns'. */
ALWAYS_INLINE void place_lane(struct sched *sched, struct sched_client *client,
			      unsigned int lane, bool plain, uint64_t floor_ns,
			      uint64_t clock_ns, uint64_t now_ns)
{
	const bool over = plain ? plain_is_over(client, now_ns) :
				  client_limit_ns(client, lane) > now_ns;
	uint64_t due_ns;

	/* With others before it, the limit is looked at when its turn comes. */
	if (over &&
	    ((!plain && client->flags & CLIENT_GROUPED) ||
	     !sched_has_ready(sched))) {
		place_wait(sched, client, lane, client_limit_ns(client, lane));
		return;
	}
	due_ns = place_clip(client, lane, plain, floor_ns);
	if (due_ns > clock_ns) {
		place_spare(sched, client, lane, plain);
		if (due_ns != UINT64_MAX)
			place_await_due(sched, client, lane, due_ns);
	} else if (over) {
		place_wait(sched, client, lane, client_limit_ns(client, lane));
	} else {
		place_due(sched, client, lane, plain, due_ns);
	}
}

/* The same for lanes about which nothing is known. */
ALWAYS_INLINE void place_any(struct sched *sched, struct sched_client *client,
			     unsigned int lane, bool plain, uint64_t saved_ns,
			     uint64_t now_ns)
{
	const uint64_t clock_ns = sched_clock_ns(sched, now_ns);

	if (sched->enforcing)
		place_lane(sched, client, lane, plain,
			   before_ns(clock_ns, saved_ns), clock_ns, now_ns);
	else
		place_spare(sched, client, lane, plain);
}

#endif
