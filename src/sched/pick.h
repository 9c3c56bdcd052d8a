/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pick.h - which request is next; internal to src/sched
 */
#ifndef SCHED_PICK_H
#define SCHED_PICK_H

#include "sched/state.h"

/* Take the next request off its lane, charge it and count it as inside the
 * device; NULL: none is ready.  The window is open, timers have been run; the
 * gate is set. */
struct sched_request *pick_next(struct sched *sched, uint64_t now_ns);

#endif
