/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keep-data.h - the body of 'struct keep'; for keep*.h only
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

#define KEEP_WINDOW_NS		UINT64_C(100000000)	/* 100 ms */
#define KEEP_SECONDS		60U	/* as far back as it looks */
#define KEEP_METERS		9U	/* iops, bandwidth, ops by direction */

/* One promised rate: what it owes in this window, and who conforms to it. */
struct keep_meter {
	uint64_t per_request;	/* 1/65536 ns that one request stands for */
	uint64_t per_byte;	/* 1/2^32 ns that one byte stands for */
	/* When a server of exactly this rate would have done all that came. */
	uint64_t owed_until;
	uint64_t idle;		/* time when that server had no work */
	uint64_t conform_until;	/* GCRA: theoretical arrival time */
	uint8_t directions;	/* bit 0: reads, bit 1: writes */
	uint8_t counts_bytes;
	uint8_t spec;		/* which of the SLA's */
	uint8_t unused;
	/* The span judged together: one window, more where the promise is
	 * less than two requests for a window. */
	uint32_t windows;
	uint64_t rate_per_s;
	uint64_t waiting_at_start, done, failed;
	uint64_t young_at_start;	/* of these: counted as done before */
};

/* One promised latency. */
struct keep_bound {
	uint64_t latency_ns;
	uint32_t late;		/* in this window */
	uint8_t directions;
	uint8_t spec;
	uint8_t unused[2];
};

/* What came and went, since something is promised: reads or writes. */
struct keep_flow {
	uint64_t waiting;	/* requests, now */
	/* In this window. */
	uint64_t done, done_bytes;
	uint64_t arrived_bytes;
	uint64_t failed, failed_bytes;
	uint32_t conforming_arrived, conforming_done, conforming_failed;
	uint32_t largest_bytes;		/* request of this minute */
	/* As the window began. */
	uint64_t waiting_bytes;
	uint64_t stuck_since_ns;	/* nothing has ended since ... */
	uint32_t stuck;			/* ... and so many waited already */
	uint32_t conforming_waiting;
	uint32_t largest_before_bytes;	/* of the minute before */
	uint32_t excess;		/* not conforming, waiting now */
	uint32_t young;			/* came late in this window: keep.c */
	uint32_t unused;
	uint64_t burst;			/* GCRA tolerance, 1/65536 ns */
};

struct keep_second {
	uint32_t bad[SLA_SPECS_MAX];	/* windows broken, or requests late */
	uint8_t judged[SLA_SPECS_MAX];	/* windows in which it owed */
	uint8_t windows, windows_broken;	/* any specification */
	uint8_t unused[2];
	uint32_t conforming[2];		/* requests completed, by direction */
};

struct keep {
	uint32_t version;		/* odd while windows are closed */
	uint8_t is_promised;		/* 0: nothing below is looked at */
	uint8_t is_simple;		/* at most one rate, of requests */
	uint8_t meters_count, bounds_count;
	uint64_t window_end_ns;
	struct keep_flow flows[2];	/* reads, writes */
	struct keep_meter meters[KEEP_METERS];
	struct keep_bound bounds[SLA_SPECS_MAX];
	uint64_t since_ns;		/* when this was promised */
	uint32_t second_index;		/* of the second that runs */
	uint32_t unused;
	struct sla sla;
	struct keep_second seconds[KEEP_SECONDS];
};

#endif
