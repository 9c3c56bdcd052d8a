/* SPDX-License-Identifier: Apache-2.0 */
/*
 * window.h - how many requests may be inside the device; internal to src/sched
 */
#ifndef SCHED_WINDOW_H
#define SCHED_WINDOW_H

#include "sched/state.h"

/* Returns 0 or -ENOMEM. */
int window_init(struct sched *sched);
void window_finish(struct sched *sched);
/* The device's figures have changed. */
void window_configure(struct sched *sched);
/* Client 'index' was promised 'latency_ns' in this direction (0: nothing). */
void window_promise(struct sched *sched, uint32_t index, unsigned int direction,
		    uint64_t latency_ns);
/* What sched_submit and sched_next compare with. */
void window_set_gate(struct sched *sched);
/* A request has been completed, while something waits or is promised. */
void window_measure(struct sched *sched, const struct sched_request *request,
		    uint64_t now_ns);

#endif
