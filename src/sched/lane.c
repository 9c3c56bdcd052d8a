/* SPDX-License-Identifier: Apache-2.0 */
/* lane.c - see state.h for the states, sched.c for the whole */
#include "sched/lane.h"

#include "sched/charge.h"
#include "sched/shortage.h"

static uint32_t lane_id(const struct sched_client *client,
			unsigned int direction)
{
	return client->index << 1 | direction;
}

static uint32_t group_id(const struct sched_group *group,
			 unsigned int direction)
{
	return GROUP_IDS + (group->index << 1 | direction);
}

/* The group lane below which a lane hangs now, or NULL: the root. */
static struct group_lane *lane_parent(const struct sched *sched,
				      const struct sched_client *client,
				      unsigned int direction)
{
	if (client->flags & CLIENT_GROUPED && sched->enforcing)
		return &client_rest(client)->group->lanes[direction];
	return NULL;
}

static void timer_set(struct sched *sched, uint32_t id, uint64_t when_ns)
{
	if (wheel_contains(&sched->timers, id))
		wheel_remove(&sched->timers, id);
	wheel_insert(&sched->timers, id, when_ns);
	if (when_ns < sched->timers_ns)
		sched->timers_ns = when_ns;
}

static void timer_clear(struct sched *sched, uint32_t id)
{
	if (wheel_contains(&sched->timers, id))
		wheel_remove(&sched->timers, id);
}

/* The virtual time that a client's is measured by. */
static uint64_t *home_vtime(struct sched *sched,
			    const struct sched_client *client)
{
	if (client->flags & CLIENT_GROUPED && sched->enforcing)
		return &client_rest(client)->group->vtime;
	return &sched->vtime;
}

static void root_set_due(struct sched *sched, uint32_t id,
			 const struct heap *members)
{
	if (members->count == 0) {
		if (heap_contains(&sched->due, id))
			heap_remove(&sched->due, id);
	} else if (!heap_contains(&sched->due, id)) {
		heap_insert(&sched->due, id, heap_key(members));
	} else {
		heap_change(&sched->due, id, heap_key(members));
	}
}

/* A group that was held back by its limit does not catch up, but the order
 * among its members remains: their virtual times are moved together. */
static void root_set_spare(struct sched *sched, uint32_t id,
			   struct sched_group *group,
			   const struct heap *members)
{
	uint64_t key = 0;

	if (members->count > 0) {
		key = heap_key(members) + group->offset;
		if (key < sched->vtime) {
			group->offset += sched->vtime - key;
			key = sched->vtime;
		}
	}
	if (wheel_contains(&sched->spare, id)) {
		if (members->count > 0 &&
		    wheel_key_of(&sched->spare, id) == key)
			return;
		wheel_remove(&sched->spare, id);
	}
	if (members->count > 0)
		wheel_insert(&sched->spare, id, key);
}

void lane_refresh_group(struct sched *sched, struct sched_group *group,
			unsigned int direction, uint64_t now_ns)
{
	static const struct heap nothing;
	const struct group_lane *lane = &group->lanes[direction];
	const uint32_t id = group_id(group, direction);
	const uint64_t limit_ns = group_limit_ns(group, direction);
	const bool blocked = limit_ns > now_ns;

	root_set_due(sched, id, blocked ? &nothing : &lane->due);
	root_set_spare(sched, id, group, blocked ? &nothing : &lane->spare);
	if (blocked && lane->due.count + lane->spare.count > 0)
		timer_set(sched, id, limit_ns);
	else
		timer_clear(sched, id);
}

/* Where a due lane stands among the others. */
static uint64_t due_key(struct sched *sched, const struct sched_client *client,
			unsigned int direction, uint64_t due_ns)
{
	const uint64_t arrival_ns = client->lanes[direction].head->arrival_ns;

	if (sched->shortage.by_weight) {
		const uint64_t home = *home_vtime(sched, client);

		return (client->vtime > home ? client->vtime : home) +
			(client->flags & CLIENT_GROUPED ?
				 client_rest(client)->group->offset :
				 0);
	}
	due_ns += sched->behind_ns;
	return (due_ns > arrival_ns ? due_ns : arrival_ns) +
		client->bound_ns[direction];
}

static void place_spare(struct sched *sched, struct sched_client *client,
			unsigned int direction)
{
	struct group_lane *parent = lane_parent(sched, client, direction);
	const uint32_t id = lane_id(client, direction);
	const uint64_t home = *home_vtime(sched, client);

	if (client->vtime < home)
		client->vtime = home;
	client->state[direction] = LANE_SPARE;
	if (parent)
		heap_insert(&parent->spare, id, client->vtime);
	else
		wheel_insert(&sched->spare, id, client->vtime);
}

static void wait_for_limit(struct sched *sched, struct sched_client *client,
			   unsigned int direction, uint64_t limit_ns)
{
	client->state[direction] = LANE_WAITING;
	timer_set(sched, lane_id(client, direction), limit_ns);
}

/* Clip and return what is reserved for this direction. */
static uint64_t due_after_clipping(struct sched_client *client,
				   unsigned int direction, uint64_t floor_ns)
{
	if (client_is_plain(client)) {
		if (client->reservation.tag_ns < floor_ns)
			client->reservation.tag_ns = floor_ns;
		return client->reservation.tag_ns;
	}
	meter_raise(client_rest(client)->meters,
		    client_rest(client)->reservations[direction], floor_ns);
	return client_due_ns(client, direction);
}

static void place(struct sched *sched, struct sched_client *client,
		  unsigned int direction, uint64_t saved_ns, uint64_t now_ns)
{
	const uint32_t id = lane_id(client, direction);
	const uint64_t limit_ns = client_limit_ns(client, direction);
	const uint64_t clock_ns = sched_clock_ns(sched, now_ns);
	struct group_lane *parent = lane_parent(sched, client, direction);
	uint64_t due_ns, alarm_ns;

	if (!sched->enforcing) {
		place_spare(sched, client, direction);
		return;
	}
	/* With others before it, the limit is looked at when its turn comes. */
	if (limit_ns > now_ns && (parent || !sched_has_ready(sched))) {
		wait_for_limit(sched, client, direction, limit_ns);
		return;
	}
	due_ns = due_after_clipping(client, direction,
				    before_ns(clock_ns, saved_ns));
	if (due_ns <= clock_ns && limit_ns <= now_ns) {
		timer_clear(sched, id);
		client->state[direction] = LANE_DUE;
		heap_insert(parent ? &parent->due : &sched->due, id,
			    due_key(sched, client, direction, due_ns));
		return;
	}
	place_spare(sched, client, direction);
	if (due_ns == UINT64_MAX) {
		timer_clear(sched, id);
		return;
	}
	alarm_ns = due_ns + sched->behind_ns;
	if (alarm_ns < limit_ns)
		alarm_ns = limit_ns;
	/* One that comes too early does no harm. */
	if (!wheel_contains(&sched->timers, id) ||
	    wheel_key_of(&sched->timers, id) > alarm_ns)
		timer_set(sched, id, alarm_ns);
}

void lane_place(struct sched *sched, struct sched_client *client,
		unsigned int direction, uint64_t saved_ns, uint64_t now_ns)
{
	place(sched, client, direction, saved_ns, now_ns);
	if (lane_parent(sched, client, direction))
		lane_refresh_group(sched, client_rest(client)->group, direction,
				   now_ns);
}

/* With many clients nearly all time goes into waiting for their memory.  So
 * what will be needed soon is asked for in time: clients when their lanes come
 * to the front of a queue, their first requests when they are next. */
#define PREFETCH_CLIENTS	256U	/* fewer stay in the cache anyway */
#define PREFETCH_AHEAD		6U
#define PREFETCH_MAX		32U

static void prefetch_clients(const struct sched *sched, const struct heap *near)
{
	for (uint32_t i = 0; i < near->count && i < PREFETCH_MAX; i++) {
		const uint32_t id = heap_at(near, i)->id;

		if (id < GROUP_IDS) {
			const struct sched_client *client =
				client_at(sched, id >> 1);

			__builtin_prefetch(client, 1);
			__builtin_prefetch(&client->limit, 1);
		}
	}
}

static void prefetch_requests(const struct sched *sched,
			      const struct heap *heap, uint32_t from)
{
	for (uint32_t i = from; i < heap->count && i < from + 4; i++) {
		const uint32_t id = heap_at(heap, i)->id;

		if (id < GROUP_IDS)
			__builtin_prefetch(
				client_at(sched, id >> 1)->lanes[id & 1].head);
	}
}

/* The least key of a queue, with some more behind it in sight. */
static uint64_t queue_min(const struct sched *sched, struct wheel *wheel)
{
	const uint32_t wanted =
		sched->clients >= PREFETCH_CLIENTS ? PREFETCH_AHEAD : 1;

	if (wheel->near.count < wanted && wheel->far_count > 0) {
		wheel_refill(wheel);
		if (wanted > 1)
			prefetch_clients(sched, &wheel->near);
	}
	return heap_key(&wheel->near);
}

/* Out of the queues; the timer and the group's place at the root remain. */
static void unplace(struct sched *sched, struct sched_client *client,
		    unsigned int direction)
{
	struct group_lane *parent = lane_parent(sched, client, direction);
	const uint32_t id = lane_id(client, direction);

	switch ((enum lane_state)client->state[direction]) {
	case LANE_IDLE:
	case LANE_WAITING:
		break;
	case LANE_DUE:
		heap_remove(parent ? &parent->due : &sched->due, id);
		break;
	case LANE_SPARE:
		if (parent)
			heap_remove(&parent->spare, id);
		else
			wheel_remove(&sched->spare, id);
		break;
	}
	client->state[direction] = LANE_IDLE;
}

void lane_remove(struct sched *sched, struct sched_client *client,
		 unsigned int direction)
{
	static const struct heap nothing;
	struct group_lane *parent = lane_parent(sched, client, direction);

	timer_clear(sched, lane_id(client, direction));
	unplace(sched, client, direction);
	if (parent) {
		struct sched_group *group = client_rest(client)->group;
		const uint32_t id = group_id(group, direction);

		/* While it is blocked its timer runs on, harmlessly. */
		if (heap_contains(&sched->due, id))
			root_set_due(sched, id, &parent->due);
		if (wheel_contains(&sched->spare, id))
			root_set_spare(sched, id, group, &parent->spare);
		if (parent->due.count + parent->spare.count == 0) {
			root_set_due(sched, id, &nothing);
			root_set_spare(sched, id, group, &nothing);
			timer_clear(sched, id);
		}
	}
}

void lane_place_both(struct sched *sched, struct sched_client *client,
		     uint64_t now_ns)
{
	for (unsigned int d = 0; d < 2; d++)
		if (client->lanes[d].head)
			lane_place(sched, client, d, DEBT_NS, now_ns);
}

void lane_remove_both(struct sched *sched, struct sched_client *client)
{
	for (unsigned int d = 0; d < 2; d++)
		if (client->lanes[d].head)
			lane_remove(sched, client, d);
}

void lane_place_all(struct sched *sched, uint64_t now_ns)
{
	for (uint32_t i = 0; i < sched->clients_made; i++)
		lane_place_both(sched, client_at(sched, i), now_ns);
}

void lane_remove_all(struct sched *sched)
{
	for (uint32_t i = 0; i < sched->clients_made; i++)
		lane_remove_both(sched, client_at(sched, i));
}

static void group_timer(struct sched *sched, uint32_t id, uint64_t now_ns)
{
	const uint32_t slot = id - GROUP_IDS;

	lane_refresh_group(sched, sched->group_table[slot >> 1], slot & 1,
			   now_ns);
}

void lane_timers(struct sched *sched, uint64_t now_ns)
{
	uint64_t next_ns;

	/* Nothing below inserts a timer that is due, so this ends. */
	while ((next_ns = queue_min(sched, &sched->timers)) <= now_ns) {
		const uint32_t id = wheel_min_id(&sched->timers);
		struct sched_client *client;

		wheel_remove(&sched->timers, id);
		if (id >= GROUP_IDS) {
			group_timer(sched, id, now_ns);
			continue;
		}
		client = client_at(sched, id >> 1);
		if (client->state[id & 1] == LANE_IDLE)
			continue;
		unplace(sched, client, id & 1);
		lane_place(sched, client, id & 1, CREDIT_NS, now_ns);
	}
	sched->timers_ns = next_ns;
	if (sched->clients >= PREFETCH_CLIENTS)
		prefetch_requests(sched, &sched->timers.near, 0);
}

void lane_forget_vtimes(struct sched *sched)
{
	for (uint32_t i = 0; i < SCHED_GROUPS_MAX; i++) {
		struct sched_group *group = sched->group_table[i];

		if (group)
			group->vtime = group->offset = 0;
	}
	for (uint32_t i = 0; i < sched->clients_made; i++)
		client_at(sched, i)->vtime = 0;
	sched->vtime = 0;
	wheel_rewind(&sched->spare);
}

/* Virtual time has come far: begin again at 0, with the same distances (once
 * in hours at most). */
static void rebase(struct sched *sched, uint64_t now_ns)
{
	lane_remove_all(sched);
	for (uint32_t i = 0; i < sched->clients_made; i++) {
		struct sched_client *client = client_at(sched, i);
		const uint64_t home = *home_vtime(sched, client);

		client->vtime = client->vtime > home ? client->vtime - home : 0;
	}
	for (uint32_t i = 0; i < SCHED_GROUPS_MAX; i++) {
		struct sched_group *group = sched->group_table[i];

		if (group)
			group->vtime = group->offset = 0;
	}
	sched->vtime = 0;
	wheel_rewind(&sched->spare);
	lane_place_all(sched, now_ns);
}

/* Is the lane that was found to be served this way?  It may be over its limit;
 * its other direction may have used up a common limit or reservation since.
 * If not, it is placed anew. */
static bool still_holds(struct sched *sched, struct sched_client *client,
			unsigned int direction, uint64_t key, uint64_t now_ns)
{
	const bool due = client->state[direction] == LANE_DUE;
	const bool by_vtime = !due ||
		(sched->shortage.by_weight &&
		 !(client->flags & CLIENT_GROUPED));
	const uint64_t limit_ns = client_limit_ns(client, direction);

	if (!sched->enforcing)
		return true;
	if (limit_ns <= now_ns && !(by_vtime && key < client->vtime) &&
	    !(due &&
	      client_due_ns(client, direction) > sched_clock_ns(sched, now_ns)))
		return true;
	unplace(sched, client, direction);
	if (limit_ns > now_ns)
		wait_for_limit(sched, client, direction, limit_ns);
	else
		place(sched, client, direction, DEBT_NS, now_ns);
	if (lane_parent(sched, client, direction))
		lane_refresh_group(sched, client_rest(client)->group, direction,
				   now_ns);
	return false;
}

static void charge_vtime(struct sched *sched, struct sched_client *client,
			 bool due, uint64_t cost_ns)
{
	uint64_t *home = home_vtime(sched, client);
	uint64_t vtime = client->vtime > *home ? client->vtime : *home;

	if (!due || sched->shortage.by_weight) {
		*home = vtime;
		if (home != &sched->vtime) {
			const uint64_t root =
				vtime + client_rest(client)->group->offset;

			if (root > sched->vtime)
				sched->vtime = root;
		}
	}
	vtime += cost_ns * client->inverse_weight >> 12;
	if (due) {
		const uint64_t most = *home +
			((AHEAD_MAX_NS + cost_ns) * client->inverse_weight >>
			 12);

		vtime = vtime < most ? vtime : most;
	}
	client->vtime = vtime;
}

static void charge_due(struct sched *sched, struct sched_client *client,
		       unsigned int direction, uint32_t bytes, uint64_t now_ns)
{
	uint64_t clock_ns, floor_ns;

	shortage_check(sched, client, direction, bytes, now_ns);
	clock_ns = sched_clock_ns(sched, now_ns);
	floor_ns = before_ns(clock_ns, DEBT_NS);
	if (client_is_plain(client))
		charge_plain_reservation(client, floor_ns);
	else
		charge_reservations(client, direction, bytes, clock_ns,
				    floor_ns);
}

/* The lane is out of the queues: take its first request and charge it. */
static struct sched_request *take(struct sched *sched,
				  struct sched_client *client,
				  unsigned int direction, bool due,
				  uint64_t now_ns)
{
	struct lane *lane = &client->lanes[direction];
	struct sched_request *request = lane->head;

	lane->head = request->next;
	client->queued--;
	sched->queued--;
	request->start_ns = now_ns;
	if (!client_is_plain(client))
		client_rest(client)->queued_bytes -= request->bytes;
	if (!sched->enforcing)
		return request;

	if (client_is_plain(client))
		charge_plain_limit(client, now_ns, true);
	else
		charge_limits(client, direction, request->bytes, now_ns, true);
	if (client->flags & CLIENT_GROUPED)
		charge_group(client_rest(client)->group, direction,
			     request->bytes, now_ns, true);
	if (due)
		charge_due(sched, client, direction, request->bytes, now_ns);
	charge_vtime(sched, client, due,
		     sched_cost_ns(sched, direction, request->bytes));
	return request;
}

struct sched_request *lane_next(struct sched *sched, uint64_t now_ns)
{
	for (;;) {
		const bool due = sched->due.count > 0;
		struct sched_request *request;
		struct sched_client *client;
		const struct heap *heap;
		unsigned int direction;
		uint32_t id;

		if (!due && queue_min(sched, &sched->spare) == UINT64_MAX)
			return NULL;
		heap = due ? &sched->due : &sched->spare.near;
		id = heap_at(heap, 0)->id;
		direction = id & 1;
		if (id >= GROUP_IDS) {
			struct sched_group *group =
				sched->group_table[(id - GROUP_IDS) >> 1];

			if (group_limit_ns(group, direction) > now_ns) {
				lane_refresh_group(sched, group, direction,
						   now_ns);
				continue;
			}
			heap = due ? &group->lanes[direction].due :
				     &group->lanes[direction].spare;
			id = heap_at(heap, 0)->id;
		}
		client = client_at(sched, id >> 1);
		if (!still_holds(sched, client, direction, heap_key(heap),
				 now_ns))
			continue;

		if (sched->clients >= PREFETCH_CLIENTS)
			prefetch_requests(sched, heap, 1);
		unplace(sched, client, direction);
		request = take(sched, client, direction, due, now_ns);
		if (client->lanes[direction].head)
			place(sched, client, direction, DEBT_NS, now_ns);
		else
			timer_clear(sched, id);
		if (lane_parent(sched, client, direction))
			lane_refresh_group(sched, client_rest(client)->group,
					   direction, now_ns);
		if (*home_vtime(sched, client) > VTIME_MAX)
			rebase(sched, now_ns);
		return request;
	}
}

static void reorder(struct sched *sched, struct heap *heap)
{
	/* Keys only become comparable again when all are new: rebuild. */
	const uint32_t count = heap->count;

	for (heap->count = 0; heap->count < count;) {
		const uint32_t id = heap_at(heap, heap->count)->id;
		uint64_t key;

		if (id >= GROUP_IDS) {
			const uint32_t slot = id - GROUP_IDS;

			key = heap_key(&sched->group_table[slot >> 1]
						->lanes[slot & 1]
						.due);
		} else {
			struct sched_client *client = client_at(sched, id >> 1);

			key = due_key(sched, client, id & 1,
				      client_due_ns(client, id & 1));
		}
		heap_insert(heap, id, key);
	}
}

void lane_reorder_due(struct sched *sched)
{
	for (uint32_t i = 0; i < SCHED_GROUPS_MAX; i++)
		if (sched->group_table[i])
			for (unsigned int d = 0; d < 2; d++)
				reorder(sched,
					&sched->group_table[i]->lanes[d].due);
	reorder(sched, &sched->due);
}
