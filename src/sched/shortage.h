/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shortage.h - more is reserved than the device can do; internal to src/sched
 */
#ifndef SCHED_SHORTAGE_H
#define SCHED_SHORTAGE_H

#include "sched/state.h"

/* A due request of this direction is about to be charged, more than DEBT_NS
 * late. */
void shortage_grows(struct sched *sched, const struct sched_client *client,
		    unsigned int direction, uint32_t bytes, uint64_t now_ns);
/* Called now and then while a shortage is active.  Returns true if due lanes
 * stand in another order from now on. */
bool shortage_round(struct sched *sched, uint64_t now_ns);

#endif
