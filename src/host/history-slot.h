/* SPDX-License-Identifier: Apache-2.0 */
/*
 * history-slot.h - what one process used: seconds of the last hour, and the
 * minute under way (E7)
 *
 * In memory: 1.4 KB for each minute in which there were requests, so at most
 * 87 KB, and 8 KB of latencies.
 * Threads: the control thread's.
 */
#ifndef HOST_HISTORY_SLOT_H
#define HOST_HISTORY_SLOT_H

#include <stddef.h>
#include <stdint.h>

#include "ctl/stats.h"
#include "sla/derive.h"
#include "sla/keep.h"

#define HISTORY_MINUTES	61U	/* the hour, and the minute under way */
#define HISTORY_SECONDS	3600U

struct history_slot;

/* Count what came since the last time.  '*slot' is made at first; NULL if there
 * is no memory. */
void history_slot_count(struct history_slot **slot,
			const struct stats_process *stats,
			enum keep_verdict verdict, uint64_t now_ns,
			int64_t now_s);
/* The minute under way as it is.  False: nothing was in it. */
bool history_slot_look(const struct history_slot *slot,
		       const struct stats_process *stats,
		       struct derive_cell *ret_cell);
/* The same, and the next minute begins. */
bool history_slot_close(struct history_slot *slot,
			const struct stats_process *stats,
			struct derive_cell *ret_cell);
/* The seconds from 'since_s' on in which there were requests, into 'cells' of
 * HISTORY_SECONDS.  Returns how many. */
size_t history_slot_seconds(const struct history_slot *slot, int64_t since_s,
			    struct derive_cell *cells);
/* From when on every second is known. */
int64_t history_slot_since(const struct history_slot *slot);
void history_slot_free(struct history_slot *slot);	/* NULL is allowed */

#endif
