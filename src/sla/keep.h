/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keep.h - whether what was promised to one process was delivered
 *
 * Rates: in every 100 ms window, delivered >= owed less one request (of
 * bytes: the largest seen).  Owed is what a server of exactly the promised
 * rate would have delivered in that window, given what was waiting at its
 * start and when the rest came: so never more than the promised rate, than
 * what was offered, or than the promised rate for the time in which something
 * waited, and nothing for a burst that came too late.  A window in which what
 * waited was not touched at all has no request less.  Where the promise is
 * less than two requests for a window, windows are judged together until it
 * is (at most 10 s).
 * Where a latency is promised, what came within half of it before a window's
 * end and still waits is as good as delivered (and counts no more in the next
 * window): it is being served.
 * Latency: over at least KEEP_CONFORMING_MIN requests that conform to the
 * promised rates, the share of late ones is within the percentile.  A request
 * conforms if it comes no further ahead of every promised rate of its
 * direction than half of the strictest latency promised for it: the other
 * half is for serving it.  So one that did not conform delays those behind it
 * as long as it waits: that queue is the process's own.  Where no rate is
 * promised every request conforms.
 *
 * 'struct keep' is plain data with no pointers: it lives in memory shared
 * with penstockd.  One writer (the reactor); keep_judge may look at it any
 * time from another process, and believes nothing in it.
 * Windows begin at multiples of 100 ms of the caller's clock.  Idle processes
 * cost nothing: windows are closed by the next call, or by who judges.
 * This is when a promise begins and ends; keep-count.h: requests come and go.
 * Pure.
 */
#ifndef SLA_KEEP_H
#define SLA_KEEP_H

#include <stdint.h>

#include "sla/keep-data.h"
#include "sla/sla.h"

#define KEEP_SECONDS_MIN	10U	/* what it judges if enough came */
#define KEEP_CONFORMING_MIN	1000U

/* Forget everything, and promise 'sla' from now on (NULL: nothing).  The
 * struct may hold anything before. */
void keep_reset(struct keep *keep, const struct sla *sla, uint64_t now_ns);
/* The SLA changes while requests are waiting: forget all but those (those that
 * came while nothing was promised are not known of); if it is the same SLA,
 * forget nothing. */
void keep_update(struct keep *keep, const struct sla *sla, uint64_t now_ns);

/* Close all windows that have ended by 'now_ns'.  keep-count.h's call it; it
 * need not be called while nothing happens. */
void keep_close_windows(struct keep *keep, uint64_t now_ns);

enum keep_verdict { KEEP_UNKNOWN, KEEP_KEPT, KEEP_BROKEN };

struct keep_judgement {
	/* Broken if one specification is; kept if at least one is, none is
	 * broken, and none had requests but too few to say. */
	enum keep_verdict verdict;
	uint32_t window_s;	/* what was looked at */
	uint32_t windows;	/* in it, in which something was owed */
	uint32_t windows_broken;
	/* For each specification of the SLA, in its order.  Capacity, jitter
	 * and loss are not judged here: unknown. */
	struct {
		enum keep_verdict verdict;
		uint64_t conforming, late;	/* latency: requests */
		uint32_t windows, windows_broken;	/* rates */
	} specs[SLA_SPECS_MAX];
};

/* Judge 'keep' as of 'now_ns': it may be shared with its writer.  Windows that
 * its writer has not closed are closed here once they are 100 ms past, on a
 * copy. */
void keep_judge(const struct keep *keep, uint64_t now_ns,
		struct keep_judgement *ret_judgement);

#endif
