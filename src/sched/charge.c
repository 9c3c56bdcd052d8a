/* SPDX-License-Identifier: Apache-2.0 */
/* charge.c - see charge.h */
#include "sched/charge.h"

static void charge_set(struct meter *meters, uint32_t mask, uint32_t bytes_mask,
		       uint32_t bytes, uint64_t burst_ns, uint64_t now_ns,
		       bool waited)
{
	const uint64_t late_ns = late_allowed_ns(burst_ns);
	const uint64_t floor_ns = waited ? before_ns(now_ns, late_ns) : now_ns;

	for (; mask; mask &= mask - 1) {
		const uint32_t i = (uint32_t)__builtin_ctz(mask);

		meter_charge_limit(&meters[i],
				   meter_units(bytes_mask, i, bytes), now_ns,
				   late_ns, floor_ns);
	}
}

void charge_limits(struct sched_client *client, unsigned int direction,
		   uint32_t bytes, uint64_t now_ns, bool waited)
{
	struct client_rest *rest = client_rest(client);

	charge_set(rest->meters, rest->limits[direction], rest->bytes_mask,
		   bytes, client->burst_ns, now_ns, waited);
}

void charge_group(struct sched_group *group, unsigned int direction,
		  uint32_t bytes, uint64_t now_ns, bool waited)
{
	charge_set(group->meters, group->limits[direction], group->bytes_mask,
		   bytes, group->burst_ns, now_ns, waited);
}

void charge_reservations(struct sched_client *client, unsigned int direction,
			 uint32_t bytes, uint64_t clock_ns, uint64_t floor_ns)
{
	struct client_rest *rest = client_rest(client);
	uint32_t mask = rest->reservations[direction];

	for (; mask; mask &= mask - 1) {
		const uint32_t i = (uint32_t)__builtin_ctz(mask);

		meter_charge_reservation(
			&rest->meters[i],
			meter_units(rest->bytes_mask, i, bytes), clock_ns,
			floor_ns);
	}
}
