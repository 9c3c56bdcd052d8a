/* SPDX-License-Identifier: Apache-2.0 */
/*
 * history.h - what every process used, kept over restarts (E7)
 *
 * Once a second the counters are read (history-slot.h), once a minute what
 * they came to goes to the archive (store/archive.h), on a thread of its own.
 * A penstockd that is killed loses the minute under way.
 *
 * Times are passed in: 'now_ns' CLOCK_MONOTONIC, 'now_s' UTC.
 * Threads: the control thread's.
 */
#ifndef HOST_HISTORY_H
#define HOST_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sla/derive.h"
#include "store/archive.h"

struct history;
struct host;
struct reg_process;

/* Without an archive, when it cannot be opened: an event says so.  Returns 0
 * or -ENOMEM. */
int history_create(struct host *host, struct history **ret_history);
/* What is under way is written; who reads is answered with -ECANCELED.  NULL
 * is allowed. */
void history_destroy(struct history *history);

/* Once a second.  True: a minute is over. */
bool history_second(struct history *history, uint64_t now_ns, int64_t now_s);
/* It is released: its history goes ARCHIVE_RELEASED_S later. */
void history_release(struct history *history,
		     const struct reg_process *process);

/* Embedded in the asker's; untouched until 'done'.  'cells' are its own. */
struct history_read {
	/* 'cells' are the window's; result: 0 or -errno with 'error'. */
	void (*done)(struct history_read *read);
	uint32_t pasid, window_s;
	int result;
	struct error error;
	struct derive_cell *cells;	/* freed after 'done' */
	size_t count;
};
void history_read(struct history *history, const struct reg_process *process,
		  struct history_read *read);

struct history_sum {
	struct archive_process process;
	int64_t released_s;		/* 0: it is there */
	struct derive_cell cell;
};
struct history_report {
	void (*done)(struct history_report *report);
	uint32_t window_s;
	int result;
	struct error error;
	struct history_sum *sums;	/* by PASID; freed after 'done' */
	size_t count;
};
void history_report(struct history *history, struct history_report *report);

#endif
