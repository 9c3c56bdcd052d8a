/* SPDX-License-Identifier: Apache-2.0 */
/* lane.c - see state.h for the states, sched.c for the whole */
#include "sched/lane.h"

#include <assert.h>

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
		return &client->group->lanes[direction];
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

static void root_set_spare(struct sched *sched, uint32_t id,
			   const struct heap *members)
{
	if (wheel_contains(&sched->spare, id)) {
		if (members->count > 0 &&
		    wheel_key_of(&sched->spare, id) == heap_key(members))
			return;
		wheel_remove(&sched->spare, id);
	}
	if (members->count > 0)
		wheel_insert(&sched->spare, id, heap_key(members));
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
	root_set_spare(sched, id, blocked ? &nothing : &lane->spare);
	if (blocked && lane->due.count + lane->spare.count > 0)
		timer_set(sched, id, limit_ns);
	else
		timer_clear(sched, id);
}

/* Where a due lane stands among the others. */
static uint64_t due_key(const struct sched *sched,
			const struct sched_client *client,
			unsigned int direction, uint64_t due_ns)
{
	const uint64_t arrival_ns = client->lanes[direction].head->arrival_ns;

	if (sched->shortage.by_weight)
		return client->vtime > sched->vtime ? client->vtime :
						      sched->vtime;
	due_ns += sched->behind_ns;
	return (due_ns > arrival_ns ? due_ns : arrival_ns) +
	       client->bound_ns[direction];
}

static void place_spare(struct sched *sched, struct sched_client *client,
			unsigned int direction)
{
	struct group_lane *parent = lane_parent(sched, client, direction);
	const uint32_t id = lane_id(client, direction);

	if (client->vtime < sched->vtime)
		client->vtime = sched->vtime;
	client->state[direction] = LANE_SPARE;
	if (parent)
		heap_insert(&parent->spare, id, client->vtime);
	else
		wheel_insert(&sched->spare, id, client->vtime);
}

static void place(struct sched *sched, struct sched_client *client,
		  unsigned int direction, uint64_t saved_ns, uint64_t now_ns)
{
	const uint32_t id = lane_id(client, direction);
	const uint64_t limit_ns = client_limit_ns(client, direction);
	const uint64_t clock_ns = sched_clock_ns(sched, now_ns);
	struct group_lane *parent;
	uint64_t due_ns;

	assert(client->lanes[direction].head);
	if (!sched->enforcing) {
		place_spare(sched, client, direction);
		return;
	}
	if (limit_ns > now_ns) {
		client->state[direction] = LANE_WAITING;
		timer_set(sched, id, limit_ns);
		return;
	}
	if (clock_ns > saved_ns)
		meter_raise(client->meters, client->reservations[direction],
			    clock_ns - saved_ns);
	due_ns = meter_earliest(client->meters,
				client->reservations[direction]);
	if (due_ns > clock_ns) {
		place_spare(sched, client, direction);
		/* An alarm that comes too early does no harm. */
		if (due_ns == UINT64_MAX)
			timer_clear(sched, id);
		else if (!wheel_contains(&sched->timers, id) ||
			 wheel_key_of(&sched->timers, id) >
				 due_ns + sched->behind_ns)
			timer_set(sched, id, due_ns + sched->behind_ns);
		return;
	}
	timer_clear(sched, id);
	client->state[direction] = LANE_DUE;
	parent = lane_parent(sched, client, direction);
	heap_insert(parent ? &parent->due : &sched->due, id,
		    due_key(sched, client, direction, due_ns));
}

void lane_place(struct sched *sched, struct sched_client *client,
		unsigned int direction, uint64_t saved_ns, uint64_t now_ns)
{
	place(sched, client, direction, saved_ns, now_ns);
	if (lane_parent(sched, client, direction))
		lane_refresh_group(sched, client->group, direction, now_ns);
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
		const uint32_t id = group_id(client->group, direction);

		/* While it is blocked its timer runs on, harmlessly. */
		if (heap_contains(&sched->due, id))
			root_set_due(sched, id, &parent->due);
		if (wheel_contains(&sched->spare, id))
			root_set_spare(sched, id, &parent->spare);
		if (parent->due.count + parent->spare.count == 0) {
			root_set_due(sched, id, &nothing);
			root_set_spare(sched, id, &nothing);
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
	while ((next_ns = wheel_min(&sched->timers)) <= now_ns) {
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
}

/* Virtual time has come far: begin again at 0 (once in hours at most). */
static void rebase(struct sched *sched, uint64_t now_ns)
{
	lane_remove_all(sched);
	for (uint32_t i = 0; i < sched->clients_made; i++) {
		struct sched_client *client = client_at(sched, i);

		client->vtime = client->vtime > sched->vtime ?
			client->vtime - sched->vtime : 0;
	}
	sched->vtime = 0;
	wheel_rewind(&sched->spare);
	lane_place_all(sched, now_ns);
}

/* Is the lane that was found still to be served this way?  The client's
 * other lane may have used up a common limit or reservation since.  If not it
 * is placed anew. */
static bool still_holds(struct sched *sched, struct sched_client *client,
			unsigned int direction, uint64_t key, uint64_t now_ns)
{
	const bool due = client->state[direction] == LANE_DUE;
	const bool by_vtime = !due || sched->shortage.by_weight;

	if (!sched->enforcing)
		return true;
	if (client_limit_ns(client, direction) <= now_ns &&
	    !(by_vtime && key < client->vtime) &&
	    !(due && meter_earliest(client->meters,
				    client->reservations[direction]) >
			     sched_clock_ns(sched, now_ns)))
		return true;
	unplace(sched, client, direction);
	lane_place(sched, client, direction, DEBT_NS, now_ns);
	return false;
}

static void charge_vtime(struct sched *sched, struct sched_client *client,
			 bool due, uint64_t cost_ns)
{
	uint64_t vtime = client->vtime > sched->vtime ? client->vtime :
							sched->vtime;

	if (!due || sched->shortage.by_weight)
		sched->vtime = vtime;
	vtime += cost_ns * client->inverse_weight >> 12;
	if (due) {
		const uint64_t most = sched->vtime +
			((AHEAD_MAX_NS + cost_ns) * client->inverse_weight >> 12);

		vtime = vtime < most ? vtime : most;
	}
	client->vtime = vtime;
}

/* The lane is out of the queues: take its first request and charge it. */
static struct sched_request *take(struct sched *sched,
				  struct sched_client *client,
				  unsigned int direction, bool due,
				  uint64_t now_ns)
{
	struct lane *lane = &client->lanes[direction];
	struct sched_request *request = lane->head;
	const uint64_t late_ns = late_allowed_ns(client->burst_ns);
	const uint32_t bytes_mask = client->flags & CLIENT_BYTES;

	lane->head = request->next;
	__builtin_prefetch(lane->head);
	client->queued--;
	client->queued_bytes -= request->bytes;
	sched->queued--;
	request->start_ns = now_ns;
	if (!sched->enforcing)
		return request;

	meter_charge_limits(client->meters, client->limits[direction],
			    bytes_mask, request->bytes, now_ns, late_ns,
			    now_ns - late_ns);
	if (client->flags & CLIENT_GROUPED) {
		struct sched_group *group = client->group;
		const uint64_t group_late_ns = late_allowed_ns(group->burst_ns);

		meter_charge_limits(group->meters, group->limits[direction],
				    group->bytes_mask, request->bytes, now_ns,
				    group_late_ns, now_ns - group_late_ns);
	}
	if (due) {
		uint64_t clock_ns;

		shortage_check(sched, client, direction, now_ns);
		clock_ns = sched_clock_ns(sched, now_ns);
		meter_charge_reservations(client->meters,
					  client->reservations[direction],
					  bytes_mask, request->bytes, clock_ns,
					  clock_ns > DEBT_NS ?
						  clock_ns - DEBT_NS : 0);
	}
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

		if (!due && wheel_min(&sched->spare) == UINT64_MAX)
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

		unplace(sched, client, direction);
		request = take(sched, client, direction, due, now_ns);
		if (client->lanes[direction].head)
			place(sched, client, direction, DEBT_NS, now_ns);
		else
			timer_clear(sched, id);
		if (lane_parent(sched, client, direction))
			lane_refresh_group(sched, client->group, direction,
					   now_ns);
		if (sched->vtime > VTIME_MAX)
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
						->lanes[slot & 1].due);
		} else {
			struct sched_client *client = client_at(sched, id >> 1);

			key = due_key(sched, client, id & 1,
				      meter_earliest(client->meters,
						     client->reservations[id & 1]));
		}
		heap_insert(heap, id, key);
	}
}

void lane_reorder_due(struct sched *sched)
{
	for (uint32_t i = 0; i < SCHED_GROUPS_MAX; i++)
		if (sched->group_table[i])
			for (unsigned int d = 0; d < 2; d++)
				reorder(sched, &sched->group_table[i]->lanes[d].due);
	reorder(sched, &sched->due);
}
