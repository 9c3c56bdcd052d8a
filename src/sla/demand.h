/* SPDX-License-Identifier: Apache-2.0 */
/*
 * demand.h - how much of a second the rates of an SLA take (E8)
 *
 * Internal to src/sla.  A second is CORE_SECOND units.  Pure.
 */
#ifndef SLA_DEMAND_H
#define SLA_DEMAND_H

#include <stdint.h>

#include "sla/sla.h"

/* What one request or byte of a direction (read, write) takes. */
struct demand_costs {
	uint64_t request[2], byte[2];
};

/* What rates of one unit take, and the one to name if that is too much. */
struct demand {
	unsigned __int128 time;
	const struct sla_spec *named;	/* NULL: there are none */
	unsigned __int128 named_time;
	uint64_t named_cost;		/* of one request or byte */
};

void demand_find(const struct demand_costs *costs, const struct sla *sla,
		 struct demand *ret_requests, struct demand *ret_bytes);
/* Requests or bytes, whichever takes more. */
unsigned __int128 demand_time(const struct demand_costs *costs,
			      const struct sla *sla);
/* What a device that works beside the core costs the core: the way there,
 * 'path_ns' for a request; and no more than what the device itself takes,
 * because the core kept up with it while it was measured. */
void demand_bound(struct demand_costs *costs, uint64_t path_ns);

#endif
