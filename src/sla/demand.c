/* SPDX-License-Identifier: Apache-2.0 */
/* demand.c - see demand.h */
#include "sla/demand.h"

#include <stddef.h>

#include "sla/core.h"

/* On the way to a device larger requests count as several of these. */
#define LARGE_BYTES	131072U

typedef unsigned __int128 u128;

/* Requests or bytes of 'sla'.  A total takes as much as if all of it were of
 * the worse direction, or what its directions take, if that is more. */
static void find_demand(const struct sla *sla, enum sla_metric metric,
			const uint64_t cost[2], struct demand *ret_demand)
{
	const uint64_t costs[SLA_DIRECTIONS] = {
		[SLA_TOTAL] = cost[0] > cost[1] ? cost[0] : cost[1],
		[SLA_READ] = cost[0],
		[SLA_WRITE] = cost[1],
	};
	const struct sla_spec *specs[SLA_DIRECTIONS] = {NULL};
	u128 times[SLA_DIRECTIONS] = {0};
	enum sla_direction named = SLA_TOTAL;

	for (unsigned int i = 0; i < sla->count; i++) {
		const struct sla_spec *spec = &sla->specs[i];

		if (spec->metric != metric)
			continue;
		specs[spec->direction] = spec;
		times[spec->direction] =
			(u128)spec->value * costs[spec->direction];
	}
	if (times[SLA_READ] + times[SLA_WRITE] > times[SLA_TOTAL])
		named = times[SLA_READ] < times[SLA_WRITE] ? SLA_WRITE :
							     SLA_READ;
	*ret_demand = (struct demand){
		.time = named == SLA_TOTAL ? times[SLA_TOTAL] :
					     times[SLA_READ] + times[SLA_WRITE],
		.named = specs[named],
		.named_time = times[named],
		.named_cost = costs[named],
	};
}

void demand_find(const struct demand_costs *costs, const struct sla *sla,
		 struct demand *ret_requests, struct demand *ret_bytes)
{
	find_demand(sla, SLA_IOPS, costs->request, ret_requests);
	find_demand(sla, SLA_BANDWIDTH, costs->byte, ret_bytes);
}

u128 demand_time(const struct demand_costs *costs, const struct sla *sla)
{
	struct demand requests, bytes;

	demand_find(costs, sla, &requests, &bytes);
	return requests.time > bytes.time ? requests.time : bytes.time;
}

void demand_bound(struct demand_costs *costs, uint64_t path_ns)
{
	const uint64_t path = path_ns * (CORE_SECOND / UINT64_C(1000000000));

	for (unsigned int d = 0; d < 2; d++) {
		if (costs->request[d] > path)
			costs->request[d] = path;
		if (costs->byte[d] > path / LARGE_BYTES)
			costs->byte[d] = path / LARGE_BYTES;
	}
}
