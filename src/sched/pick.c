/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pick.c - which request is next
 *
 * What comes out of a queue may have changed since it was put there: it may be
 * over a limit that was not looked at, its client's other lane may have used
 * up a common limit or reservation, reserved service may have moved its
 * virtual time.  Then it is put where it belongs now, and the next is tried.
 */
#include "sched/pick.h"

#include "sched/charge.h"
#include "sched/group.h"
#include "sched/lane.h"
#include "sched/place.h"
#include "sched/shortage.h"

/* Everything below is done in one way for plain clients, who have no group, and
 * in another for all others; the compiler makes two of each. */
#define BOTH_WAYS ALWAYS_INLINE

BOTH_WAYS void charge_vtime(struct sched *sched, struct sched_client *client,
			    bool plain, bool due, uint64_t cost_ns)
{
	uint64_t *home = plain ? &sched->vtime : group_vtime_of(sched, client);
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

/* Returns the reservation clock as it is then. */
BOTH_WAYS uint64_t charge_due(struct sched *sched, struct sched_client *client,
			      bool plain, unsigned int direction,
			      uint32_t bytes, uint64_t clock_ns,
			      uint64_t now_ns)
{
	uint64_t floor_ns;

	sched->shortage.served += 1024;
	if ((plain ? client->reservation.tag_ns :
		     client_due_ns(client, direction)) +
		    DEBT_NS <
	    clock_ns) {
		shortage_grows(sched, client, direction, bytes, now_ns);
		clock_ns = sched_clock_ns(sched, now_ns);
	}
	floor_ns = before_ns(clock_ns, DEBT_NS);
	if (plain)
		charge_plain_reservation(client, floor_ns);
	else
		charge_reservations(client, direction, bytes, clock_ns,
				    floor_ns);
	return clock_ns;
}

/* Which direction of a lane is next: by deadline if that is what it was chosen
 * for, else in turns.  With a promised latency, if both are due, the one that
 * came first: in turns, the direction that is asked more of would wait for what
 * came later, and longer than at the promised rate. */
BOTH_WAYS unsigned int next_direction(const struct sched *sched,
				      const struct sched_client *client,
				      unsigned int lane, bool due)
{
	const struct sched_request *read = client->fifos[0].head;
	const struct sched_request *write = client->fifos[1].head;
	uint64_t due_ns;

	if (client->flags & CLIENT_SPLIT)
		return lane;
	if (!read || !write)
		return !read;
	if (due && !sched->shortage.by_weight) {
		due_ns = client_due_ns(client, lane) + sched->behind_ns;
		if (client->flags & CLIENT_IN_ORDER ||
		    read->arrival_ns > due_ns || write->arrival_ns > due_ns)
			return write->arrival_ns < read->arrival_ns;
	}
	return client->turn;
}

/* Take the first request of a lane that is out of the queues. */
BOTH_WAYS struct sched_request *take(struct sched *sched,
				     struct sched_client *client,
				     unsigned int direction, uint64_t now_ns)
{
	struct sched_request *request = client->fifos[direction].head;

	client->fifos[direction].head = request->next;
	client->turn = !direction;
	client->queued--;
	sched->queued--;
	request->start_ns = now_ns;
	return request;
}

/* Charge for it.  Returns the reservation clock as it is then. */
BOTH_WAYS uint64_t charge(struct sched *sched, struct sched_client *client,
			  unsigned int direction, uint32_t bytes, bool plain,
			  bool due, uint64_t clock_ns, uint64_t now_ns)
{
	if (plain)
		charge_plain_limit(client, now_ns, true);
	else
		charge_limits(client, direction, bytes, now_ns, true);
	if (!plain && client->flags & CLIENT_GROUPED)
		charge_group(client_rest(client)->group, direction, bytes,
			     now_ns, true);
	if (due)
		clock_ns = charge_due(sched, client, plain, direction, bytes,
				      clock_ns, now_ns);
	charge_vtime(sched, client, plain, due,
		     sched_cost_ns(sched, direction, bytes));
	return clock_ns;
}

/* Is the lane, found with this key, to be served this way?  Limits aside. */
BOTH_WAYS bool still_holds(const struct sched *sched,
			   const struct sched_client *client, unsigned int lane,
			   bool plain, bool due, uint64_t key,
			   uint64_t clock_ns)
{
	const bool by_vtime = !due ||
		(sched->shortage.by_weight &&
		 (plain || !(client->flags & CLIENT_GROUPED)));
	uint64_t due_ns = 0;

	if (due)
		due_ns = plain ? client->reservation.tag_ns :
				 client_due_ns(client, lane);
	if (!plain && due && client->flags & CLIENT_IN_ORDER &&
	    !sched->shortage.by_weight &&
	    key < place_deadline_ns(sched, client, lane, due_ns))
		return false;
	return !(by_vtime && key < client->vtime) && due_ns <= clock_ns;
}

/* The lane is out of the queues, and due or spare.  Returns NULL if it had to
 * be put elsewhere. */
BOTH_WAYS struct sched_request *serve(struct sched *sched,
				      struct sched_client *client,
				      unsigned int lane, bool plain, bool due,
				      uint64_t key, uint64_t clock_ns,
				      uint64_t now_ns)
{
	struct sched_request *request = NULL;

	client->state[lane] = LANE_IDLE;
	if (plain ? plain_is_over(client, now_ns) :
		    client_limit_ns(client, lane) > now_ns) {
		place_wait(sched, client, lane, client_limit_ns(client, lane));
		return NULL;
	}
	if (still_holds(sched, client, lane, plain, due, key, clock_ns)) {
		const unsigned int direction =
			next_direction(sched, client, lane, due);

		request = take(sched, client, direction, now_ns);
		clock_ns = charge(sched, client, direction, request->bytes,
				  plain, due, clock_ns, now_ns);
	}
	if (plain && lane_has_requests(client, lane))
		place_lane(sched, client, lane, true,
			   before_ns(clock_ns, DEBT_NS), clock_ns, now_ns);
	return request;
}

/* A client of a group, or with many figures. */
static __attribute__((noinline)) struct sched_request *serve_other(
	struct sched *sched, struct sched_client *client, unsigned int lane,
	bool due, uint64_t key, uint64_t now_ns)
{
	struct sched_request *request;

	request = serve(sched, client, lane, false, due, key,
			sched_clock_ns(sched, now_ns), now_ns);
	if (request)
		client_rest(client)->queued_bytes -= request->bytes;
	if (client->state[lane] == LANE_IDLE && lane_has_requests(client, lane))
		lane_place(sched, client, lane, DEBT_NS, now_ns);
	else if (group_lane_of(sched, client, lane))
		group_refresh(sched, client_rest(client)->group, lane, now_ns);
	return request;
}

/* Whoever is not a plain client with one lane, and what was left behind when
 * enforcing ended. */
static __attribute__((noinline)) struct sched_request *serve_unusual(
	struct sched *sched, struct sched_client *client, unsigned int lane,
	bool due, uint64_t key, uint64_t now_ns)
{
	struct sched_request *request;

	if (sched->enforcing && client_is_plain(client))
		return serve(sched, client, lane, true, due, key,
			     sched_clock_ns(sched, now_ns), now_ns);
	if (sched->enforcing)
		return serve_other(sched, client, lane, due, key, now_ns);
	client->state[lane] = LANE_IDLE;
	request = take(sched, client, next_direction(sched, client, lane, due),
		       now_ns);
	if (!client_is_plain(client))
		client_rest(client)->queued_bytes -= request->bytes;
	if (lane_has_requests(client, lane))
		lane_place(sched, client, lane, DEBT_NS, now_ns);
	return request;
}

/* Is this a valid id of a plain client with one lane, and nothing else about
 * it unusual?  Then the lane is 0. */
BOTH_WAYS bool is_usual(const struct sched *sched,
			const struct sched_client *client, uint32_t id)
{
	return client->id == id &&
		(client->flags & (CLIENT_PLAIN | CLIENT_SPLIT)) ==
		CLIENT_PLAIN &&
		sched->enforcing;
}

static __attribute__((noinline)) struct sched_request *next_due(
	struct sched *sched, uint64_t key, uint64_t clock_ns, uint64_t now_ns)
{
	const uint32_t id = wheel_pop(&sched->due);
	struct sched_client *client = client_of(sched, id);

	place_look_ahead(sched, &sched->due);
	if (!id_is_valid(client, id)) {
		sched->invalid--;
		return NULL;
	}
	sched->ready--;
	if (!is_usual(sched, client, id))
		return serve_unusual(sched, client, id & 1, true, key, now_ns);
	return serve(sched, client, 0, true, true, key, clock_ns, now_ns);
}

/* It came out of 'spare': is it to be served? */
BOTH_WAYS bool spare_is_next(struct sched *sched, struct sched_client *client,
			     unsigned int lane, uint64_t key)
{
	client->queues[lane] &= (uint16_t)~IN_SPARE;
	if (client->state[lane] != LANE_SPARE)
		return false;
	if (key < client->vtime) {
		place_enter_spare(sched, client, lane);
		return false;
	}
	sched->ready--;
	return true;
}

static __attribute__((noinline)) struct sched_request *spare_unusual(
	struct sched *sched, struct sched_client *client, uint32_t id,
	uint64_t key, uint64_t now_ns)
{
	if (!id_is_valid(client, id)) {
		sched->invalid--;
		return NULL;
	}
	if (!spare_is_next(sched, client, id & 1, key))
		return NULL;
	return serve_unusual(sched, client, id & 1, false, key, now_ns);
}

BOTH_WAYS struct sched_request *next_spare(struct sched *sched, uint64_t key,
					   uint64_t clock_ns, uint64_t now_ns)
{
	const uint32_t id = wheel_pop(&sched->spare);
	struct sched_client *client = client_of(sched, id);

	place_look_ahead(sched, &sched->spare);
	if (!is_usual(sched, client, id))
		return spare_unusual(sched, client, id, key, now_ns);
	if (!spare_is_next(sched, client, 0, key))
		return NULL;
	return serve(sched, client, 0, true, false, key, clock_ns, now_ns);
}

/* The earliest deadline that a lane may have that has become due and is still
 * in 'dues'; UINT64_MAX: there is none. */
BOTH_WAYS uint64_t owed_deadline_ns(struct sched *sched, uint64_t clock_ns)
{
	const uint64_t due_ns = wheel_min(&sched->dues);

	if (due_ns > clock_ns)
		return UINT64_MAX;
	return due_ns + sched->behind_ns + sched->least_bound_ns;
}

/* It came out of 'dues': is it to be served?  Yes if it is the first of all
 * that are due, the earliest deadline of those in 'due' being 'first_ns'; else
 * it is put among them.  */
BOTH_WAYS bool owed_is_next(struct sched *sched, struct sched_client *client,
			    unsigned int lane, bool plain, uint64_t first_ns,
			    uint64_t clock_ns, uint64_t *ret_deadline_ns)
{
	const uint64_t due_ns = plain ? client->reservation.tag_ns :
					client_due_ns(client, lane);

	client->queues[lane] &= (uint16_t)~IN_DUES;
	if (client->state[lane] != LANE_SPARE)
		return false;
	if (due_ns > clock_ns) {
		if (due_ns != UINT64_MAX)
			place_await_due(sched, client, lane, due_ns);
		return false;
	}
	*ret_deadline_ns = place_deadline_ns(sched, client, lane, due_ns);
	if (*ret_deadline_ns > first_ns ||
	    *ret_deadline_ns > owed_deadline_ns(sched, clock_ns)) {
		client->state[lane] = LANE_DUE;
		wheel_insert(&sched->due, place_id(client, lane),
			     *ret_deadline_ns);
		return false;
	}
	sched->ready--;
	return true;
}

static __attribute__((noinline)) struct sched_request *owed_unusual(
	struct sched *sched, struct sched_client *client, uint32_t id,
	uint64_t first_ns, uint64_t now_ns)
{
	const uint64_t clock_ns = sched_clock_ns(sched, now_ns);
	const unsigned int lane = id & 1;
	uint64_t deadline_ns;

	if (!id_is_valid(client, id)) {
		sched->invalid--;
		return NULL;
	}
	if (client->state[lane] == LANE_SPARE &&
	    client_due_ns(client, lane) <= clock_ns &&
	    group_lane_of(sched, client, lane)) {
		client->queues[lane] &= (uint16_t)~IN_DUES;
		lane_becomes_due(sched, client, lane, DEBT_NS, now_ns);
		return NULL;
	}
	if (!owed_is_next(sched, client, lane, false, first_ns, clock_ns,
			  &deadline_ns))
		return NULL;
	return serve_unusual(sched, client, lane, true, deadline_ns, now_ns);
}

BOTH_WAYS struct sched_request *next_owed(struct sched *sched,
					  uint64_t first_ns, uint64_t clock_ns,
					  uint64_t now_ns)
{
	const uint32_t id = wheel_pop(&sched->dues);
	struct sched_client *client = client_of(sched, id);
	uint64_t deadline_ns;

	place_look_ahead(sched, &sched->dues);
	if (!is_usual(sched, client, id))
		return owed_unusual(sched, client, id, first_ns, now_ns);
	if (!owed_is_next(sched, client, 0, true, first_ns, clock_ns,
			  &deadline_ns))
		return NULL;
	return serve(sched, client, 0, true, true, deadline_ns, clock_ns,
		     now_ns);
}

static struct sched_request *next_of_group(struct sched *sched, bool due,
					   uint64_t now_ns)
{
	const struct heap *groups =
		due ? &sched->group_due : &sched->group_spare;
	const uint32_t id = heap_at(groups, 0)->id;
	struct sched_group *group = sched->group_table[id >> 1];
	struct group_lane *lane = &group->lanes[id & 1];
	struct heap *members = due ? &lane->due : &lane->spare;
	uint64_t key;

	if (group_limit_ns(group, id & 1) > now_ns) {
		group_refresh(sched, group, id & 1, now_ns);
		return NULL;
	}
	key = heap_key(members);
	return serve_other(sched, client_of(sched, heap_pop(members)), id & 1,
			   due, key, now_ns);
}

struct sched_request *pick_next(struct sched *sched, uint64_t now_ns)
{
	const uint64_t clock_ns = sched_clock_ns(sched, now_ns);
	struct sched_request *request = NULL;

	while (!request && sched_has_ready(sched)) {
		const uint64_t owed_ns = owed_deadline_ns(sched, clock_ns);
		uint64_t key = wheel_min(&sched->due);
		uint64_t group_key = heap_key(&sched->group_due);
		const uint64_t first = key < group_key ? key : group_key;

		if (owed_ns < first) {
			request = next_owed(sched, first, clock_ns, now_ns);
			continue;
		}
		if (first == UINT64_MAX) {
			key = wheel_min(&sched->spare);
			group_key = heap_key(&sched->group_spare);
		}
		if (group_key < key)
			request = next_of_group(sched, first != UINT64_MAX,
						now_ns);
		else if (first != UINT64_MAX)
			request = next_due(sched, key, clock_ns, now_ns);
		else
			request = next_spare(sched, key, clock_ns, now_ns);
	}
	if (request) {
		sched->in_flight++;
		if (*group_vtime_of(sched, request->client) > VTIME_MAX)
			lane_rebase(sched, now_ns);
	}
	/* While something is ready nothing of it changes. */
	if (!sched->measuring || sched->gate_ns != 0 || !sched_has_ready(sched))
		sched_set_gate(sched);
	return request;
}
