/* SPDX-License-Identifier: Apache-2.0 */
/*
 * combine.h - the combined specification of a set of SLAs (E5, E6)
 *
 * A set belongs to a vdev, device, pool or endpoint.  What processes can't
 * share (iops, bandwidth, ops, capacity) adds up; what they share (latency,
 * jitter, loss) is the strictest; what only one names passes through.  Reads,
 * writes, totals and percentiles each by their own.
 *
 * Exact however many changes there were.  A change costs O(log n), getting it
 * O(specifications).
 * Pure.  Threads: the caller's.
 */
#ifndef SLA_COMBINE_H
#define SLA_COMBINE_H

#include <stdint.h>

#include "sla/sla.h"

/* Different metrics, directions and percentiles in one set. */
#define COMBINE_SPECS_MAX	128U

struct combine;

struct sla_combined {		/* by metric, direction, percentile */
	struct sla_spec specs[COMBINE_SPECS_MAX];
	uint32_t processes[COMBINE_SPECS_MAX];	/* that name it */
	unsigned int count;
};

/* Returns 0 or -ENOMEM. */
int combine_create(struct combine **ret_set);
void combine_destroy(struct combine *set);	/* NULL is allowed */

/* Count one more SLA; it is copied.  Returns 0, -EOVERFLOW (a sum would not
 * fit 64 bits, or too many different specifications) or -ENOMEM; on failure
 * nothing has changed. */
int combine_add(struct combine *set, const struct sla *sla);
/* Count it no more.  It must have been added. */
void combine_remove(struct combine *set, const struct sla *sla);
/* 'old' becomes 'sla', in one step.  Same errors as combine_add. */
int combine_update(struct combine *set, const struct sla *old,
		   const struct sla *sla);

void combine_get(const struct combine *set, struct sla_combined *ret_combined);
/* As if 'sla', which is in the set, were not (NULL: as it is).
 * O(log n) for each specification. */
void combine_get_without(const struct combine *set, const struct sla *sla,
			 struct sla_combined *ret_combined);
/* The same words as an SLA.  Writes at most 'size' bytes with a NUL, whole
 * specifications only; returns 'buffer'. */
char *combine_format(const struct sla_combined *combined, char *buffer,
		     size_t size);

#endif
