/* SPDX-License-Identifier: Apache-2.0 */
/*
 * turns.c - whose turn it is at the reactor
 *
 * The reactor visits all rings in rounds and takes up to a batch from each.
 * A client that shows few requests at a time has as great a share of a round
 * as its requests are of what all others take in it: to give it more, the
 * others' turns become shorter, and so do the rounds.  How short they must be
 * depends on how quickly the client sends again, which nobody knows; so it is
 * found out, in windows of WINDOW_NS:
 *
 *	somebody is behind	the turn of who is owed nothing is halved,
 *				down to one request in 16 rounds, or in a
 *				window's if they are less
 *	nobody is		it grows by an eighth, up to a full batch
 *
 * Owed is what was promised and not served, by a meter for each promise, like
 * the scheduler's (sched.c); a way with a client that is owed something now
 * takes a full batch.  A client is behind that is owed more than LATE_NS of
 * its promise although its way had requests in at least every second round;
 * else it asks for no more, and is owed nothing.  The same if none of the last
 * ASKS_MAX requests of its way was its own and of that direction: what is
 * promised to a process that does nothing is not owed to its neighbours on that
 * way, nor what is promised for writes to its reads.  A client slower than its
 * promise finds itself asking for no more as soon as rounds are short enough.
 * And a client with a promised latency is behind if rounds take longer than
 * half of that (save a few: the machine may be away).
 *
 * Weight: a ring that has taken its turn sits out as many rounds as its way's
 * weight is less than the greatest of those that had requests of late, and as
 * its way has rings that do.  Thus batches stay as long as they can be.
 * Requests count as one for each 4 KiB.  What was owed counts for no weight.
 *
 * Work conserving: a round in which all sit out takes no time.  While one way
 * only has requests nothing of all this is done.
 */
#include "sched/turns.h"

#include <stddef.h>

#define WINDOW_NS	UINT64_C(1000000)
#define LATE_NS		UINT64_C(500000)
/* As in state.h: how much is made up for, and served faster than promised. */
#define DEBT_NS		UINT64_C(20000000)
#define MARGIN		32U
/* What was had beyond a promise does not count against it for longer. */
#define CREDIT_NS	UINT64_C(500000)
#define ONE		256U		/* a round, or a request of a turn */
#define TURN_FULL	(TURNS_MAX * ONE)
#define TURN_LEAST	(ONE / 16)
#define SIT_OUT_MAX	1024U		/* rounds */
#define UNIT_BYTES	4096U
#define LEAST_BYTES	512U	/* of what is promised, for what has none */
/* As many as stand before a request in the rings of a usual guest, and more. */
#define ASKS_MAX	2048U

void turns_init(struct turns *turns)
{
	*turns = (struct turns){
		.window = 1,
		.round = 1,
		.enforcing = true,
		.turn = TURN_FULL,
		.latency_ns = UINT64_MAX,
	};
}

void turns_enforce(struct turns *turns, bool on)
{
	turns->enforcing = on;
	turns->contended = false;
	turns->turn = TURN_FULL;
}

/* ---- ways and clients ---- */

void turns_way_init(struct turns_way *way, struct turns *turns)
{
	*way = (struct turns_way){.turns = turns, .latency_ns = UINT64_MAX};
}

void turns_way_finish(struct turns_way *way)
{
	struct turns_way **link;

	if (!way->turns)
		return;
	for (link = &way->turns->ways; *link; link = &(*link)->next) {
		if (*link == way) {
			*link = way->next;
			way->turns->count--;
			break;
		}
	}
	way->turns = NULL;
}

/* What its clients have. */
static void gather(struct turns_way *way)
{
	way->weight = 1;
	way->latency_ns = UINT64_MAX;
	way->promised = false;
	for (struct turns_client *c = way->clients; c; c = c->next) {
		way->promised |= c->meter_count > 0;
		if (c->weight > way->weight)
			way->weight = c->weight;
		if (c->latency_ns < way->latency_ns)
			way->latency_ns = c->latency_ns;
	}
}

static void promise(struct turns_client *client, uint32_t axis,
		    uint64_t rate_per_s, uint64_t now_ns)
{
	static const uint32_t directions[SCHED_AXES] = {1, 2, 3, 1, 2, 3};
	const uint32_t i = client->meter_count;
	struct meter *meter = &client->meters[i];

	if (rate_per_s == 0)
		return;
	client->meter_count++;
	*meter = (struct meter){
		.tag_ns = now_ns,
		.slope = meter_slope(rate_per_s),
		.axis = axis,
	};
	meter->slope -= meter->slope / (MARGIN + 1);
	for (unsigned int d = 0; d < 2; d++)
		if (directions[axis] >> d & 1)
			client->masks[d] =
				(uint16_t)(client->masks[d] | 1U << i);
	if (axis >= SCHED_READ_BYTES)
		client->bytes_mask = (uint16_t)(client->bytes_mask | 1U << i);
}

void turns_client_update(struct turns_client *client,
			 const struct sched_params *params, uint64_t now_ns)
{
	if (!client->way)
		return;
	client->meter_count = 0;
	client->masks[0] = client->masks[1] = client->bytes_mask = 0;
	client->weight = params->weight ? params->weight : SCHED_WEIGHT_DEFAULT;
	client->latency_ns = UINT64_MAX;
	for (unsigned int d = 0; d < 2; d++)
		if (params->latency_ns[d] > 0 &&
		    params->latency_ns[d] < client->latency_ns)
			client->latency_ns = params->latency_ns[d];
	for (uint32_t axis = 0; axis < SCHED_AXES; axis++)
		promise(client, axis, params->reservation_per_s[axis], now_ns);
	gather(client->way);
}

void turns_client_init(struct turns_client *client, struct turns_way *way,
		       const struct sched_params *params, uint64_t now_ns)
{
	*client = (struct turns_client){0};
	if (!way->turns)
		return;
	client->way = way;
	client->served_at[0] = client->served_at[1] = way->taken;
	client->next = way->clients;
	client->link = &way->clients;
	if (client->next)
		client->next->link = &client->next;
	way->clients = client;
	turns_client_update(client, params, now_ns);
}

void turns_client_finish(struct turns_client *client)
{
	if (!client->way)
		return;
	*client->link = client->next;
	if (client->next)
		client->next->link = client->link;
	gather(client->way);
	client->way = NULL;
}

void turns_charge(struct turns_client *client, unsigned int direction,
		  uint32_t requests, uint64_t bytes)
{
	const uint64_t some = bytes ? bytes : (uint64_t)requests * LEAST_BYTES;
	const uint32_t size = some < UINT32_MAX ? (uint32_t)some : UINT32_MAX;

	client->served_at[direction] = client->way->taken;
	for (uint32_t mask = client->masks[direction]; mask; mask &= mask - 1) {
		const uint32_t i = (uint32_t)__builtin_ctz(mask);
		struct meter *meter = &client->meters[i];

		meter_charge(meter, meter->tag_ns,
			     client->bytes_mask >> i & 1 ? size : requests);
	}
	if (bytes / UNIT_BYTES > requests)
		client->way->excess += bytes / UNIT_BYTES - requests;
}

/* ---- windows ---- */

/* Does the client ask for what its meter 'i' counts? */
static bool asks(const struct turns_client *client, uint32_t i)
{
	for (unsigned int d = 0; d < 2; d++)
		if (client->masks[d] >> i & 1 &&
		    client->way->taken - client->served_at[d] <= ASKS_MAX)
			return true;
	return false;
}

/* It asks for no more: nothing is owed. */
static void forget(struct turns_way *way, uint64_t now_ns)
{
	for (struct turns_client *c = way->clients; c; c = c->next)
		for (uint32_t i = 0; i < c->meter_count; i++)
			if (c->meters[i].tag_ns < now_ns)
				c->meters[i].tag_ns = now_ns;
}

/* Keep what it owes and is owed within bounds.  Returns whether it is
 * behind. */
static bool bound(struct turns_way *way, uint64_t now_ns)
{
	bool behind = false;

	for (struct turns_client *c = way->clients; c; c = c->next) {
		for (uint32_t i = 0; i < c->meter_count; i++) {
			uint64_t *tag_ns = &c->meters[i].tag_ns;

			if (!asks(c, i) && *tag_ns < now_ns)
				*tag_ns = now_ns;
			if (*tag_ns + DEBT_NS < now_ns)
				*tag_ns = now_ns - DEBT_NS;
			if (*tag_ns > now_ns + CREDIT_NS)
				*tag_ns = now_ns + CREDIT_NS;
			behind |= *tag_ns + LATE_NS < now_ns;
		}
	}
	return behind;
}

/* Nobody sits out more than a window's rounds for others' promises: where these
 * are few, it is not those who are owed nothing that make them long. */
static uint32_t turn_least(const struct turns *turns)
{
	const uint32_t least = turns->rounds ? ONE / turns->rounds : 0;

	return least > TURN_LEAST ? least : TURN_LEAST;
}

/* A window ends: is somebody behind? */
static void tick(struct turns *turns, uint64_t now_ns)
{
	const uint32_t least = turn_least(turns);
	bool behind = turns->late > 1 + turns->rounds / 32;

	turns->weight = 1;
	turns->latency_ns = UINT64_MAX;
	for (struct turns_way *way = turns->ways; way; way = way->next) {
		if (way->rounds == 0 || way->rounds * 2 < turns->rounds)
			forget(way, now_ns);
		behind |= bound(way, now_ns);
		if (way->weight > turns->weight)
			turns->weight = way->weight;
		if (way->latency_ns < turns->latency_ns)
			turns->latency_ns = way->latency_ns;
	}
	if (!turns->contended)
		turns->turn = TURN_FULL;
	else if (behind)
		turns->turn -= turns->turn / 2;
	else
		turns->turn += turns->turn / 8 + 1;
	if (turns->turn < least)
		turns->turn = least;
	if (turns->turn > TURN_FULL)
		turns->turn = TURN_FULL;
	turns->contended = turns->enforcing && turns->count > 1;
	turns->ways = NULL;
	turns->count = turns->rounds = turns->late = 0;
	turns->window++;
	turns->tick_ns = now_ns + WINDOW_NS;
}

static void enter(struct turns_way *way, uint64_t now_ns)
{
	struct turns *turns = way->turns;

	if (now_ns >= turns->tick_ns)
		tick(turns, now_ns);
	if (way->window == turns->window)
		return;
	if (way->window + 1 != turns->window)
		forget(way, now_ns);
	way->window = turns->window;
	way->rounds = 0;
	if (!turns->contended)
		way->excess = 0;
	way->next = turns->ways;
	turns->ways = way;
	turns->count++;
	if (way->weight > turns->weight)
		turns->weight = way->weight;
	if (turns->count > 1)
		turns->contended = turns->enforcing;
}

/* ---- a visit ---- */

static bool is_owed(const struct turns_way *way, uint64_t now_ns)
{
	if (!way->promised)
		return false;
	for (const struct turns_client *c = way->clients; c; c = c->next)
		for (uint32_t i = 0; i < c->meter_count; i++)
			if (c->meters[i].tag_ns <= now_ns && asks(c, i))
				return true;
	return false;
}

static void begin_round(struct turns *turns, uint64_t now_ns)
{
	if (now_ns - turns->now_ns > turns->latency_ns / 2)
		turns->late++;
	turns->now_ns = now_ns;
	turns->round++;
	turns->rounds++;
}

static void sit_out(struct turns_seat *seat)
{
	const uint64_t most = SIT_OUT_MAX * ONE;

	seat->at = seat->from + (seat->sits_out < most ? seat->sits_out : most);
}

unsigned int turns_share(struct turns_way *way, struct turns_seat *seat,
			 unsigned int found, uint64_t now_ns)
{
	struct turns *turns = way->turns;
	uint32_t seats, count;

	if (now_ns >= turns->tick_ns || way->window != turns->window)
		enter(way, now_ns);
	if (!turns->contended)
		return found;
	if (now_ns != turns->now_ns)
		begin_round(turns, now_ns);
	if (way->round != turns->round) {
		way->seats_before =
			way->round + 1 == turns->round ? way->seats : 0;
		way->seats = 0;
		way->round = turns->round;
		way->rounds++;
	}
	way->seats++;
	if (is_owed(way, now_ns)) {
		*seat = (struct turns_seat){0};
		way->excess = 0;
		count = found < TURNS_MAX ? found : TURNS_MAX;
		way->taken += count;
		return count;
	}
	if (seat->at >= (turns->round + 1) * ONE)
		return 0;
	seats = way->seats > way->seats_before ? way->seats : way->seats_before;
	count = turns->turn < ONE ? 1 : turns->turn / ONE;
	if (count > found)
		count = found;
	seat->each = (uint64_t)seats * turns->weight * ONE * ONE /
		((uint64_t)way->weight * turns->turn);
	seat->sits_out = (count + way->excess) * seats * turns->weight * ONE /
		way->weight * ONE / turns->turn;
	way->excess = 0;
	if (seat->at < turns->round * ONE)
		seat->at = turns->round * ONE;
	seat->from = seat->at;
	sit_out(seat);
	way->taken += count;
	return count;
}

void turns_give_back(struct turns_way *way, struct turns_seat *seat,
		     unsigned int count)
{
	const uint64_t part = count * seat->each;

	if (!way->turns || !way->turns->contended)
		return;
	way->taken -= count;
	if (seat->each == 0)
		return;		/* owed: it sits out nothing */
	seat->sits_out -= part < seat->sits_out ? part : seat->sits_out;
	sit_out(seat);
}
