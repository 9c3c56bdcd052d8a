/* SPDX-License-Identifier: Apache-2.0 */
/* lane.c - see state.h for the states, sched.c for the whole */
#include "sched/lane.h"

#include "sched/charge.h"
#include "sched/group.h"
#include "sched/place.h"

static __attribute__((noinline)) void place_other(struct sched *sched,
						  struct sched_client *client,
						  unsigned int lane,
						  uint64_t saved_ns,
						  uint64_t now_ns)
{
	place_any(sched, client, lane, false, saved_ns, now_ns);
	if (group_lane_of(sched, client, lane))
		group_refresh(sched, client_rest(client)->group, lane, now_ns);
}

void lane_place(struct sched *sched, struct sched_client *client,
		unsigned int lane, uint64_t saved_ns, uint64_t now_ns)
{
	if (client_is_plain(client))
		place_any(sched, client, lane, true, saved_ns, now_ns);
	else
		place_other(sched, client, lane, saved_ns, now_ns);
}

/* Out of its group's queues. */
static void member_remove(struct group_lane *parent,
			  const struct sched_client *client, unsigned int lane)
{
	if (client->state[lane] == LANE_DUE)
		heap_remove(&parent->due, place_member_id(client, lane));
	else if (client->state[lane] == LANE_SPARE)
		heap_remove(&parent->spare, place_member_id(client, lane));
}

void lane_remove(struct sched *sched, struct sched_client *client)
{
	for (unsigned int lane = 0; lane < 2; lane++) {
		struct group_lane *parent = group_lane_of(sched, client, lane);
		const enum lane_state state =
			(enum lane_state)client->state[lane];

		sched->invalid +=
			(uint32_t)__builtin_popcount(client->queues[lane]);
		client->queues[lane] = 0;
		client->state[lane] = LANE_IDLE;
		if (state != LANE_DUE && state != LANE_SPARE)
			continue;
		if (parent) {
			heap_remove(state == LANE_DUE ? &parent->due :
							&parent->spare,
				    place_member_id(client, lane));
			group_shrunk(sched, client_rest(client)->group, lane);
			continue;
		}
		sched->ready--;
		sched->invalid += state == LANE_DUE;
	}
	client->id += GENERATION;
}

void lane_place_both(struct sched *sched, struct sched_client *client,
		     uint64_t now_ns)
{
	const unsigned int last = client_lane(client, SCHED_WRITE);

	for (unsigned int lane = 0; lane <= last; lane++)
		if (lane_has_requests(client, lane))
			lane_place(sched, client, lane, DEBT_NS, now_ns);
}

void lane_place_all(struct sched *sched, uint64_t now_ns)
{
	for (uint32_t i = 0; i < sched->clients_made; i++)
		lane_place_both(sched, client_at(sched, i), now_ns);
}

void lane_remove_all(struct sched *sched)
{
	for (uint32_t i = 0; i < sched->clients_made; i++)
		lane_remove(sched, client_at(sched, i));
	wheel_clear(&sched->limits);
	wheel_clear(&sched->dues);
	wheel_clear(&sched->due);
	wheel_clear(&sched->spare);
	sched->invalid = 0;
}

void lane_clean(struct sched *sched)
{
	if (sched->invalid <= sched->room)
		return;
	lane_replace_all(sched, sched->now_ns);
}

static void limits_expire(struct sched *sched, uint64_t now_ns)
{
	while (wheel_min(&sched->limits) <= now_ns) {
		unsigned int lane;
		struct sched_client *client = place_expire(
			sched, &sched->limits, IN_LIMITS, LANE_WAITING, &lane);
		uint64_t limit_ns;

		if (!client)
			continue;
		limit_ns = client_limit_ns(client, lane);
		if (limit_ns > now_ns)
			place_wait(sched, client, lane, limit_ns);
		else
			lane_place(sched, client, lane, CREDIT_NS, now_ns);
	}
}

void lane_becomes_due(struct sched *sched, struct sched_client *client,
		      unsigned int lane, uint64_t saved_ns, uint64_t now_ns)
{
	struct group_lane *parent = group_lane_of(sched, client, lane);

	if (parent)
		member_remove(parent, client, lane);
	else
		sched->ready--;
	lane_place(sched, client, lane, saved_ns, now_ns);
}

void lane_all_due(struct sched *sched, uint64_t now_ns)
{
	const uint64_t clock_ns = sched_clock_ns(sched, now_ns);

	/* Nothing here inserts what has already expired, so this ends. */
	while (wheel_min(&sched->dues) <= clock_ns) {
		unsigned int lane;
		struct sched_client *client = place_expire(
			sched, &sched->dues, IN_DUES, LANE_SPARE, &lane);
		uint64_t due_ns;

		if (!client)
			continue;
		due_ns = client_due_ns(client, lane);
		if (due_ns <= clock_ns)
			lane_becomes_due(sched, client, lane, CREDIT_NS,
					 now_ns);
		else if (due_ns != UINT64_MAX)
			place_await_due(sched, client, lane, due_ns);
	}
}

void lane_timers(struct sched *sched, uint64_t now_ns)
{
	uint64_t next_ns;

	/* As above. */
	limits_expire(sched, now_ns);
	group_timers(sched, now_ns);
	next_ns = wheel_min(&sched->limits);
	if (heap_key(&sched->group_limits) < next_ns)
		next_ns = heap_key(&sched->group_limits);
	sched->timers_ns = next_ns;
}

static void forget_groups_vtimes(struct sched *sched)
{
	for (uint32_t i = 0; i < SCHED_GROUPS_MAX; i++) {
		struct sched_group *group = sched->group_table[i];

		if (group)
			group->vtime = group->offset = 0;
	}
	sched->vtime = 0;
}

void lane_forget_vtimes(struct sched *sched)
{
	for (uint32_t i = 0; i < sched->clients_made; i++)
		client_at(sched, i)->vtime = 0;
	forget_groups_vtimes(sched);
}

void lane_rebase(struct sched *sched, uint64_t now_ns)
{
	lane_remove_all(sched);
	for (uint32_t i = 0; i < sched->clients_made; i++) {
		struct sched_client *client = client_at(sched, i);
		const uint64_t home = *group_vtime_of(sched, client);

		client->vtime = client->vtime > home ? client->vtime - home : 0;
	}
	forget_groups_vtimes(sched);
	lane_place_all(sched, now_ns);
}

void lane_replace_all(struct sched *sched, uint64_t now_ns)
{
	lane_remove_all(sched);
	lane_place_all(sched, now_ns);
}
