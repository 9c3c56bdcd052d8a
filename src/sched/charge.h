/* SPDX-License-Identifier: Apache-2.0 */
/*
 * charge.h - what a request costs its client; internal to src/sched
 *
 * Plain clients are charged here, in line; others in charge.c.
 */
#ifndef SCHED_CHARGE_H
#define SCHED_CHARGE_H

#include "sched/state.h"

/* Clients that are not plain. */
void charge_limits(struct sched_client *client, unsigned int direction,
		   uint32_t bytes, uint64_t now_ns, bool waited);
void charge_reservations(struct sched_client *client, unsigned int direction,
			 uint32_t bytes, uint64_t clock_ns, uint64_t floor_ns);
/* A group's limits. */
void charge_group(struct sched_group *group, unsigned int direction,
		  uint32_t bytes, uint64_t now_ns, bool waited);

/* A request starts.  If it waited, being late is not its client's fault and
 * as much as SCHED_LATE_NS is made up for. */
static inline void charge_plain_limit(struct sched_client *client,
				      uint64_t now_ns, bool waited)
{
	struct meter *limit = &client->limit;
	const uint64_t late_ns = late_allowed_ns(client->burst_ns);
	const uint64_t floor_ns = waited ? now_ns - late_ns : now_ns;
	const uint64_t base_ns =
		limit->tag_ns + late_ns < now_ns ? floor_ns : limit->tag_ns;

	meter_charge_one(limit, base_ns);
}

/* It was due. */
static inline void charge_plain_reservation(struct sched_client *client,
					    uint64_t floor_ns)
{
	struct meter *reservation = &client->reservation;

	meter_charge_one(reservation,
			 reservation->tag_ns > floor_ns ? reservation->tag_ns :
							  floor_ns);
}

/* 'now_ns' less 'ns', but not below 0. */
static inline uint64_t before_ns(uint64_t now_ns, uint64_t ns)
{
	return now_ns > ns ? now_ns - ns : 0;
}

#endif
