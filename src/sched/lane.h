/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lane.h - lanes move between waiting, due and spare; internal to src/sched
 */
#ifndef SCHED_LANE_H
#define SCHED_LANE_H

#include "sched/state.h"

/* An idle lane that has requests: put it where it belongs.  A reservation
 * that lies further back than 'saved_ns' is moved up to that. */
void lane_place(struct sched *sched, struct sched_client *client,
		unsigned int direction, uint64_t saved_ns, uint64_t now_ns);
/* Take a lane out of where it is; it is idle then. */
void lane_remove(struct sched *sched, struct sched_client *client,
		 unsigned int direction);
/* Both lanes of a client, those that have requests. */
void lane_place_both(struct sched *sched, struct sched_client *client,
		     uint64_t now_ns);
void lane_remove_both(struct sched *sched, struct sched_client *client);
void lane_place_all(struct sched *sched, uint64_t now_ns);
void lane_remove_all(struct sched *sched);

/* Everybody begins anew; no lane is placed. */
void lane_forget_vtimes(struct sched *sched);

/* Let everything go on whose time has come. */
void lane_timers(struct sched *sched, uint64_t now_ns);
/* Take the next request off its lane and charge it; NULL: none is ready.
 * Timers have been run. */
struct sched_request *lane_next(struct sched *sched, uint64_t now_ns);

/* A group's limit or what hangs below it has changed. */
void lane_refresh_group(struct sched *sched, struct sched_group *group,
			unsigned int direction, uint64_t now_ns);
/* The order of due lanes has changed: see shortage.c. */
void lane_reorder_due(struct sched *sched);

#endif
