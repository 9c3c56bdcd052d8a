/* SPDX-License-Identifier: Apache-2.0 */
/*
 * terms.c - what clients and groups were promised and may do becomes meters
 *
 * What was charged before a change counts under the new figures: a debt of
 * three requests remains one of three requests.
 */
#include "sched/terms.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "sched/window.h"

#define METER_RESERVATION	0x100U	/* in meter.axis */

static const char *const axis_names[SCHED_AXES] = {
	"read iops",	  "write iops",	     "iops",
	"read bandwidth", "write bandwidth", "bandwidth",
};

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

int terms_check(const struct sched_params *params, struct error *reterr)
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

void terms_apply(struct sched_client *client, const struct sched_params *given,
		 uint64_t now_ns)
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
	if (params.latency_ns[0] > 0 && params.latency_ns[1] > 0)
		client->flags |= CLIENT_IN_ORDER;
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
		for (struct sched_request *r = client->fifos[d].head; r;
		     r = r->next)
			rest->queued_bytes += r->bytes;
		client->bound_ns[d] =
			bound_ns(&builder, d, params.latency_ns[d]);
		if (client->bound_ns[d] < sched->least_bound_ns)
			sched->least_bound_ns = client->bound_ns[d];
		window_promise(sched, client_index(client), d,
			       params.latency_ns[d]);
	}
	if (!plain || client->bound_ns[0] != client->bound_ns[1])
		client->flags |= CLIENT_SPLIT;
}

int terms_check_limits(const struct sched_limits *limits, struct error *reterr)
{
	const int result = check_rates(limits->limit_per_s, "limit", reterr);

	return result < 0 ? result : check_burst(limits->burst_ns, reterr);
}

void terms_apply_limits(struct sched_group *group,
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
