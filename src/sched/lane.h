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
		unsigned int lane, uint64_t saved_ns, uint64_t now_ns);

/* Both lanes of a client, those that have requests. */
void lane_place_both(struct sched *sched, struct sched_client *client,
		     uint64_t now_ns);
/* Take a client's lanes out of wherever they are: they are idle then and all
 * entries for them invalid. */
void lane_remove(struct sched *sched, struct sched_client *client);
/* If there are too many invalid entries, begin anew without.  To be called
 * after lane_remove, when all lanes with requests have been placed. */
void lane_clean(struct sched *sched);
void lane_place_all(struct sched *sched, uint64_t now_ns);
void lane_remove_all(struct sched *sched);
/* One after the other: keys are others from now on. */
void lane_replace_all(struct sched *sched, uint64_t now_ns);

/* Everybody begins anew; no lane is placed. */
void lane_forget_vtimes(struct sched *sched);
/* Virtual time has come far: begin again at 0, with the same distances (once
 * in hours at most). */
void lane_rebase(struct sched *sched, uint64_t now_ns);

/* Let everything go on that waited for a limit whose time has come. */
void lane_timers(struct sched *sched, uint64_t now_ns);
/* A spare lane, out of 'dues' and 'spare': it is owed something now. */
void lane_becomes_due(struct sched *sched, struct sched_client *client,
		      unsigned int lane, uint64_t saved_ns, uint64_t now_ns);
/* The same for all whose time has come. */
void lane_all_due(struct sched *sched, uint64_t now_ns);

#endif
