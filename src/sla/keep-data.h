/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keep-data.h - the body of 'struct keep'; included by keep.h only
 *
 * Plain data without pointers: it lives in memory shared with penstockd, so
 * who reads it must not believe an index or a count in it.
 *
 * Times within a window are in parts of 1/65536 ns since its start, so that
 * the cost of one request at the promised rate needs no division and no
 * rounding worth a word.
 */
#ifndef SLA_KEEP_DATA_H
#define SLA_KEEP_DATA_H

#include <stdint.h>

#include "sla/sla.h"

#define KEEP_SECONDS		60U	/* as far back as it looks */
#define KEEP_METERS		9U	/* iops, bandwidth, ops by direction */

/* One promised rate: what it owes in this window, and who conforms to it. */
struct keep_meter {
	uint64_t rate_per_s;
	uint64_t per_request;	/* 1/65536 ns that one request stands for */
	uint64_t per_byte;	/* 1/2^32 ns that one byte stands for */
	/* When a server of exactly this rate would have done all that came. */
	uint64_t owed_until;
	uint64_t idle;		/* time in which that server had nothing to do */
	uint64_t conform_until;	/* GCRA: theoretical arrival time */
	/* Of the span judged together: one window, more where the promise is
	 * less than two requests for a window. */
	uint64_t waiting_at_start, done, failed;
	uint32_t windows;
	uint8_t directions;	/* bit 0: reads, bit 1: writes */
	uint8_t spec;		/* which of the SLA's */
	uint8_t counts_bytes;
	uint8_t unused;
};

/* One promised latency. */
struct keep_bound {
	uint64_t latency_ns;
	uint8_t directions;
	uint8_t spec;
	uint8_t unused[6];
};

struct keep_second {
	uint32_t bad[SLA_SPECS_MAX];	/* windows broken, or requests late */
	uint8_t judged[SLA_SPECS_MAX];	/* windows in which something was owed */
	uint8_t windows, windows_broken;	/* any specification */
	uint8_t unused[2];
	uint32_t conforming[2];		/* requests completed, by direction */
};

struct keep_amount {
	uint64_t requests, bytes;
};

struct keep {
	/* Counted whatever is promised: what came and is not completed. */
	struct keep_amount waiting[2];
	uint32_t version;		/* odd while windows are closed */
	uint8_t is_promised;		/* 0: nothing below is looked at */
	uint8_t meters_count, bounds_count;
	uint8_t second_index;		/* of the second that runs */
	uint64_t window_end_ns;
	struct keep_amount done[2], failed[2];	/* in this window */
	uint64_t burst[2];		/* GCRA tolerance, 1/65536 ns */
	uint32_t largest_bytes[2];	/* request of this minute */
	uint32_t largest_before_bytes[2];	/* of the minute before */
	/* Since when nothing was completed though something waited, and how
	 * many conforming requests have waited that long. */
	uint64_t stuck_since_ns[2];
	uint32_t conforming_waiting[2], stuck[2];
	struct keep_meter meters[KEEP_METERS];
	struct keep_bound bounds[SLA_SPECS_MAX];
	uint64_t since_ns;		/* when this was promised */
	struct sla sla;
	struct keep_second seconds[KEEP_SECONDS];
};

#endif
