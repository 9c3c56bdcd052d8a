/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.c - clients and groups come, change and go
 *
 * Nothing here is on the way of a request.  What is queued or was charged
 * before a change counts under the new figures: a debt of three requests
 * remains one of three requests.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sched/lane.h"
#include "sched/sched.h"
#include "sched/state.h"
#include "sched/window.h"

#define METER_RESERVATION	0x100U	/* in meter.axis */

static const char *const axis_names[SCHED_AXES] = {
	"read iops",	  "write iops",	     "iops",
	"read bandwidth", "write bandwidth", "bandwidth",
};

static struct sched *client_sched(const struct sched_client *client)
{
	return chunk_of(client)->sched;
}

/* Meters being put together from figures, with tags taken over from before. */
struct builder {
	struct meter meters[METERS_MAX];
	uint32_t count;
	uint16_t limits[2], reservations[2], bytes_mask;
	const struct meter *old;
	uint32_t old_count;
	uint64_t old_burst_ns, burst_ns;
	uint64_t now_ns, clock_ns;
};

static uint64_t scale(uint64_t ns, uint64_t old_slope, uint64_t slope)
{
	const unsigned __int128 scaled =
		(unsigned __int128)ns * slope / old_slope;

	return scaled < BURST_MAX_NS ? (uint64_t)scaled : BURST_MAX_NS;
}

static const struct meter *find_old(const struct builder *builder,
				    uint32_t axis)
{
	for (uint32_t i = 0; i < builder->old_count; i++)
		if (builder->old[i].axis == axis)
			return &builder->old[i];
	return NULL;
}

/* A limit's tag lies ahead by the used part of the burst and, beyond it, by
 * what the last request still owes. */
static uint64_t carry_limit(const struct builder *builder,
			    const struct meter *old, uint64_t slope)
{
	uint64_t burst_ns, owed_ns = 0;

	if (old->tag_ns <= builder->now_ns)
		return old->tag_ns;
	burst_ns = old->tag_ns - builder->now_ns;
	if (burst_ns > builder->old_burst_ns) {
		owed_ns = burst_ns - builder->old_burst_ns;
		burst_ns = builder->old_burst_ns;
	}
	burst_ns = scale(burst_ns, old->slope, slope);
	if (burst_ns > builder->burst_ns)
		burst_ns = builder->burst_ns;
	return builder->now_ns + burst_ns + scale(owed_ns, old->slope, slope);
}

static void build_meter(struct builder *builder, uint32_t axis, bool reserved,
			uint64_t rate_per_s)
{
	static const uint32_t directions[SCHED_AXES] = {1, 2, 3, 1, 2, 3};
	const uint32_t i = builder->count;
	const uint32_t full_axis = reserved ? axis | METER_RESERVATION : axis;
	struct meter *meter = &builder->meters[i];
	uint16_t *masks = reserved ? builder->reservations : builder->limits;
	const struct meter *old;

	if (rate_per_s == 0)
		return;
	builder->count++;
	meter->axis = full_axis;
	meter->slope = meter_slope(rate_per_s);
	if (reserved)
		meter->slope -= meter->slope / (RESERVE_MARGIN + 1);
	old = find_old(builder, full_axis);
	if (!old)
		meter->tag_ns = reserved ? builder->clock_ns : builder->now_ns;
	else if (!reserved)
		meter->tag_ns = carry_limit(builder, old, meter->slope);
	else if (old->tag_ns <= builder->clock_ns)
		meter->tag_ns = old->tag_ns;
	else
		meter->tag_ns = builder->clock_ns +
			scale(old->tag_ns - builder->clock_ns, old->slope,
			      meter->slope);
	for (unsigned int d = 0; d < 2; d++)
		if (directions[axis] >> d & 1)
			masks[d] = (uint16_t)(masks[d] | 1U << i);
	if (axis >= SCHED_READ_BYTES)
		builder->bytes_mask = (uint16_t)(builder->bytes_mask | 1U << i);
}

static int check_rates(const uint64_t rates[SCHED_AXES], const char *what,
		       struct error *reterr)
{
	for (uint32_t axis = 0; axis < SCHED_AXES; axis++)
		if (rates[axis] > SCHED_RATE_MAX)
			return error_set(reterr, -EINVAL,
					 "%s of %s: %" PRIu64
					 " per second is beyond %" PRIu64,
					 what, axis_names[axis], rates[axis],
					 SCHED_RATE_MAX);
	return 0;
}

static int check_burst(uint64_t burst_ns, struct error *reterr)
{
	if (burst_ns > BURST_MAX_NS)
		return error_set(reterr, -EINVAL,
				 "a burst of %" PRIu64 " ns is beyond %" PRIu64,
				 burst_ns, BURST_MAX_NS);
	return 0;
}

static int check_params(const struct sched_params *params, struct error *reterr)
{
	int result =
		check_rates(params->reservation_per_s, "reservation", reterr);

	if (result == 0)
		result = check_rates(params->limit_per_s, "limit", reterr);
	if (result == 0)
		result = check_burst(params->burst_ns, reterr);
	if (result == 0 && params->weight > SCHED_WEIGHT_MAX)
		result = error_set(reterr, -EINVAL,
				   "weight %u is not in 1 .. %u",
				   params->weight, SCHED_WEIGHT_MAX);
	return result;
}

/* A due request's deadline: the latency promised, else the reservation's own
 * period. */
static uint32_t bound_ns(const struct builder *builder, unsigned int direction,
			 uint64_t latency_ns)
{
	uint64_t bound = BOUND_MAX_NS;

	if (latency_ns > 0)
		return (uint32_t)(latency_ns < LATENCY_MAX_NS ? latency_ns :
								LATENCY_MAX_NS);
	for (uint32_t mask = builder->reservations[direction]; mask;
	     mask &= mask - 1) {
		const uint32_t i = (uint32_t)__builtin_ctz(mask);
		const uint32_t units =
			meter_units(builder->bytes_mask, i, 4096);
		const uint64_t period_ns =
			(uint64_t)((unsigned __int128)units *
					   builder->meters[i].slope >>
				   32);

		bound = period_ns < bound ? period_ns : bound;
	}
	return (uint32_t)bound;
}

/* Only a limit and a reservation on requests of both directions? */
static bool is_plain(const struct sched_client *client,
		     const struct sched_params *params)
{
	const struct sched_group *group = client_rest(client)->group;

	for (uint32_t axis = 0; axis < SCHED_AXES; axis++)
		if (axis != SCHED_TOTAL_IOPS &&
		    (params->limit_per_s[axis] ||
		     params->reservation_per_s[axis]))
			return false;
	return !group || !group->limited;
}

/* A plain client's meters are in the client. */
static void meters_home(struct sched_client *client, bool plain)
{
	const struct client_rest *rest = client_rest(client);

	client->limit = (struct meter){0};
	client->reservation = (struct meter){.tag_ns = UINT64_MAX};
	if (!plain)
		return;
	for (uint32_t i = 0; i < rest->meter_count; i++) {
		if (rest->meters[i].axis == SCHED_TOTAL_IOPS)
			client->limit = rest->meters[i];
		else if (!client_sched(client)->immediate)
			client->reservation = rest->meters[i];
	}
}

/* The inverse: bring client_rest's copy up to date. */
static void meters_away(const struct sched_client *client)
{
	struct client_rest *rest = client_rest(client);

	if (!client_is_plain(client))
		return;
	for (uint32_t i = 0; i < rest->meter_count; i++) {
		if (rest->meters[i].axis == SCHED_TOTAL_IOPS)
			rest->meters[i] = client->limit;
		else if (client->reservation.slope > 0)
			rest->meters[i] = client->reservation;
	}
}

/* Its lanes are idle. */
static void apply_params(struct sched_client *client,
			 const struct sched_params *given, uint64_t now_ns)
{
	struct sched *sched = client_sched(client);
	struct client_rest *rest = client_rest(client);
	const struct sched_params params = *given;
	const uint32_t weight =
		params.weight ? params.weight : SCHED_WEIGHT_DEFAULT;
	struct builder builder = {
		.old = rest->meters,
		.old_count = rest->meter_count,
		.old_burst_ns = client->burst_ns,
		.burst_ns = params.burst_ns,
		.now_ns = now_ns,
		.clock_ns = sched_clock_ns(sched, now_ns),
	};
	const bool plain = is_plain(client, &params);
	const uint16_t flags_before = client->flags;

	meters_away(client);
	for (uint32_t axis = 0; axis < SCHED_AXES; axis++)
		build_meter(&builder, axis, false, params.limit_per_s[axis]);
	for (uint32_t axis = 0; axis < SCHED_AXES; axis++)
		build_meter(&builder, axis, true,
			    params.reservation_per_s[axis]);
	memcpy(rest->meters, builder.meters, sizeof(rest->meters));
	rest->meter_count = builder.count;
	rest->bytes_mask = builder.bytes_mask;
	rest->params = params;
	rest->queued_bytes = 0;
	client->burst_ns = params.burst_ns;
	client->flags = plain ? CLIENT_PLAIN : 0;
	if (rest->group && rest->group->limited)
		client->flags |= CLIENT_GROUPED;
	if ((client->flags ^ flags_before) & CLIENT_GROUPED)
		client->vtime = 0;	/* by another clock from now on */
	client->inverse_weight =
		(uint32_t)((UINT64_C(1) << 32) / weight - (weight == 1));
	meters_home(client, plain);
	for (unsigned int d = 0; d < 2; d++) {
		rest->limits[d] = builder.limits[d];
		rest->reservations[d] =
			sched->immediate ? 0 : builder.reservations[d];
		for (struct sched_request *r = client->lanes[d].head; r;
		     r = r->next)
			rest->queued_bytes += r->bytes;
		client->bound_ns[d] =
			bound_ns(&builder, d, params.latency_ns[d]);
		window_promise(sched, client->index, d, params.latency_ns[d]);
	}
}

void client_apply_all(struct sched *sched)
{
	for (uint32_t i = 0; i < sched->clients_made; i++) {
		struct sched_client *client = client_at(sched, i);

		if (client_rest(client)->in_use)
			apply_params(client, &client_rest(client)->params,
				     sched->now_ns);
	}
}

static void slot_give_back(struct sched *sched, struct sched_client *client)
{
	struct client_rest *rest = client_rest(client);

	rest->in_use = false;
	rest->next_free = sched->client_free;
	sched->client_free = client->index + 1;
}

/* A free slot, from a new chunk if need be. */
static struct sched_client *slot_take(struct sched *sched, struct error *reterr,
				      int *reterr_code)
{
	const uint32_t index = sched->clients_made;
	struct chunk **chunk;

	if (sched->client_free) {
		struct sched_client *client =
			client_at(sched, sched->client_free - 1);

		sched->client_free = client_rest(client)->next_free;
		return client;
	}
	if (index == SCHED_CLIENTS_MAX) {
		*reterr_code = error_set(reterr, -EINVAL,
					 "a device serves %u processes at most",
					 SCHED_CLIENTS_MAX);
		return NULL;
	}
	chunk = &sched->chunks[index >> CHUNK_BITS];
	if (!*chunk) {
		*chunk = aligned_alloc(CHUNK_BYTES, CHUNK_BYTES);
		if (!*chunk) {
			*reterr_code = error_set(reterr, -ENOMEM,
						 "no memory for a process");
			return NULL;
		}
		(*chunk)->sched = sched;
	}
	sched->clients_made++;
	client_at(sched, index)->index = index;
	return client_at(sched, index);
}

static int group_join(struct sched_group *group, struct sched_client *client,
		      struct error *reterr)
{
	struct client_rest *rest = client_rest(client);

	for (unsigned int d = 0; d < 2; d++) {
		struct group_lane *lane = &group->lanes[d];
		uint32_t room = lane->due.capacity;

		if (group->members == room)
			room = room ? 2 * room : 8;
		if (heap_reserve(&lane->due, room) < 0 ||
		    heap_reserve(&lane->spare, room) < 0)
			return error_set(reterr, -ENOMEM,
					 "no memory for a process");
	}
	group->members++;
	rest->group = group;
	rest->next_of_group = group->clients;
	rest->link_of_group = &group->clients;
	if (group->clients)
		client_rest(group->clients)->link_of_group =
			&rest->next_of_group;
	group->clients = client;
	return 0;
}

static void group_leave(struct client_rest *rest)
{
	*rest->link_of_group = rest->next_of_group;
	if (rest->next_of_group)
		client_rest(rest->next_of_group)->link_of_group =
			rest->link_of_group;
	rest->group->members--;
}

int sched_client_create(struct sched *sched, struct sched_group *group,
			const struct sched_params *params, uint64_t now_ns,
			struct sched_client **ret_client, struct error *reterr)
{
	struct sched_client *client;
	struct client_rest *rest;
	int result = check_params(params, reterr);

	if (result < 0)
		return result;
	client = slot_take(sched, reterr, &result);
	if (!client)
		return result;
	*client = (struct sched_client){
		.index = client->index,
		.vtime = sched->vtime,
	};
	rest = client_rest(client);
	memset(rest, 0, sizeof(*rest));
	if (group) {
		result = group_join(group, client, reterr);
		if (result < 0) {
			slot_give_back(sched, client);
			return result;
		}
	}
	rest->in_use = true;
	sched->clients++;
	apply_params(client, params, now_ns);
	*ret_client = client;
	return 0;
}

int sched_client_update(struct sched_client *client,
			const struct sched_params *params, uint64_t now_ns,
			struct error *reterr)
{
	struct sched *sched = client_sched(client);
	const int result = check_params(params, reterr);

	if (result < 0)
		return result;
	lane_remove_both(sched, client);
	apply_params(client, params, now_ns);
	lane_place_both(sched, client, now_ns);
	sched_set_gate(sched);
	return 0;
}

struct sched_request *sched_client_drain(struct sched_client *client)
{
	struct sched_request *first = NULL, **end = &first;
	struct sched_request *heads[2];
	struct sched *sched = client_sched(client);

	lane_remove_both(sched, client);
	for (unsigned int d = 0; d < 2; d++) {
		heads[d] = client->lanes[d].head;
		client->lanes[d] = (struct lane){0};
	}
	while (heads[0] || heads[1]) {
		const unsigned int d = !heads[0] ||
			(heads[1] &&
			 heads[1]->arrival_ns < heads[0]->arrival_ns);

		*end = heads[d];
		end = &heads[d]->next;
		heads[d] = heads[d]->next;
	}
	*end = NULL;
	sched->queued -= client->queued;
	client->queued = 0;
	client_rest(client)->queued_bytes = 0;
	sched_set_gate(sched);
	return first;
}

void sched_client_destroy(struct sched_client *client)
{
	struct client_rest *rest;
	struct sched *sched;

	if (!client)
		return;
	assert(client->queued == 0);
	sched = client_sched(client);
	rest = client_rest(client);
	for (unsigned int d = 0; d < 2; d++)
		window_promise(sched, client->index, d, 0);
	if (rest->group)
		group_leave(rest);
	slot_give_back(sched, client);
	sched->clients--;
}

static int check_limits(const struct sched_limits *limits, struct error *reterr)
{
	const int result = check_rates(limits->limit_per_s, "limit", reterr);

	return result < 0 ? result : check_burst(limits->burst_ns, reterr);
}

static void apply_limits(struct sched_group *group,
			 const struct sched_limits *limits, uint64_t now_ns)
{
	struct builder builder = {
		.old = group->meters,
		.old_count = group->meter_count,
		.old_burst_ns = group->burst_ns,
		.burst_ns = limits->burst_ns,
		.now_ns = now_ns,
	};

	for (uint32_t axis = 0; axis < SCHED_AXES; axis++)
		build_meter(&builder, axis, false, limits->limit_per_s[axis]);
	memcpy(group->meters, builder.meters, sizeof(group->meters));
	group->meter_count = builder.count;
	group->burst_ns = limits->burst_ns;
	group->bytes_mask = builder.bytes_mask;
	group->limited = builder.count > 0;
	for (unsigned int d = 0; d < 2; d++)
		group->limits[d] = builder.limits[d];
}

int sched_group_create(struct sched *sched, const struct sched_limits *limits,
		       struct sched_group **ret_group, struct error *reterr)
{
	struct sched_group *group;
	uint32_t index = 0;
	const int result = check_limits(limits, reterr);

	if (result < 0)
		return result;
	while (index < SCHED_GROUPS_MAX && sched->group_table[index])
		index++;
	if (index == SCHED_GROUPS_MAX)
		return error_set(reterr, -EINVAL,
				 "a device serves %u virtual devices at most",
				 SCHED_GROUPS_MAX);
	group = calloc(1, sizeof(*group));
	if (!group)
		return error_set(reterr, -ENOMEM, "no memory for a group");
	group->sched = sched;
	group->index = index;
	for (unsigned int d = 0; d < 2; d++) {
		group->lanes[d].due.place = sched->due.place;
		group->lanes[d].spare.place = sched->group_places;
	}
	apply_limits(group, limits, sched->now_ns);
	sched->group_table[index] = group;
	sched->groups++;
	*ret_group = group;
	return 0;
}

int sched_group_update(struct sched_group *group,
		       const struct sched_limits *limits, struct error *reterr)
{
	struct sched *sched = group->sched;
	const int result = check_limits(limits, reterr);
	struct sched_client *client;

	if (result < 0)
		return result;
	for (client = group->clients; client;
	     client = client_rest(client)->next_of_group)
		lane_remove_both(sched, client);
	apply_limits(group, limits, sched->now_ns);
	for (client = group->clients; client;
	     client = client_rest(client)->next_of_group) {
		apply_params(client, &client_rest(client)->params,
			     sched->now_ns);
		lane_place_both(sched, client, sched->now_ns);
	}
	sched_set_gate(sched);
	return 0;
}

void sched_group_destroy(struct sched_group *group)
{
	if (!group)
		return;
	assert(group->members == 0);
	group->sched->group_table[group->index] = NULL;
	group->sched->groups--;
	for (unsigned int d = 0; d < 2; d++) {
		heap_finish(&group->lanes[d].due);
		heap_finish(&group->lanes[d].spare);
	}
	free(group);
}

void sched_enforce(struct sched *sched, bool on, uint64_t now_ns)
{
	if (sched->enforcing == on)
		return;
	lane_remove_all(sched);
	lane_forget_vtimes(sched);
	sched->enforcing = on;
	window_set_gate(sched);
	lane_place_all(sched, now_ns);
	sched_set_gate(sched);
}
