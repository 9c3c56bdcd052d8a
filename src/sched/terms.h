/* SPDX-License-Identifier: Apache-2.0 */
/*
 * terms.h - what clients and groups were promised and may do; internal to
 * src/sched
 */
#ifndef SCHED_TERMS_H
#define SCHED_TERMS_H

#include "sched/state.h"

/* Return 0 or -EINVAL. */
int terms_check(const struct sched_params *params, struct error *reterr);
int terms_check_limits(const struct sched_limits *limits, struct error *reterr);

/* From now on.  The client's lanes (those of the group's clients) are out of
 * all queues: see lane_remove. */
void terms_apply(struct sched_client *client, const struct sched_params *given,
		 uint64_t now_ns);
void terms_apply_limits(struct sched_group *group,
			const struct sched_limits *limits, uint64_t now_ns);

#endif
