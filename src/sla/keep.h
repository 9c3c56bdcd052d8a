/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keep.h - whether what was promised to one process was delivered
 *
 * As architecture.md defines "kept".  Rates: in every 100 ms window,
 * delivered >= min(promised, offered) less one request, where "offered" is
 * what was waiting at its start plus what came, and where a promise is owed
 * only for the time in which something was waiting.  Latency: over at least
 * KEEP_CONFORMING_MIN requests that conform to the promised rate and burst,
 * the share of late ones is within the percentile.
 *
 * 'struct keep' is plain data with no pointers: it lives in memory shared
 * with penstockd.  One writer (the reactor); readers take a copy and look.
 * Pure.
 */
#ifndef SLA_KEEP_H
#define SLA_KEEP_H

#include <stdbool.h>
#include <stdint.h>

#include "sla/keep-data.h"
#include "sla/sla.h"

#define KEEP_WINDOW_NS		UINT64_C(100000000)	/* 100 ms */
#define KEEP_SECONDS_MIN	10U	/* what it judges if enough came */
#define KEEP_CONFORMING_MIN	1000U


/* Forget everything and promise 'sla' from now on (NULL: nothing). */
void keep_reset(struct keep *keep, const struct sla *sla, uint64_t now_ns);

/* A request came.  Returns true if it conforms to the promised rate and
 * burst; the caller hands that back to keep_done. */
bool keep_arrive(struct keep *keep, bool write, uint32_t bytes,
		 uint64_t now_ns);
/* It was completed without error. */
void keep_done(struct keep *keep, bool write, uint32_t bytes, bool conforming,
	       uint64_t latency_ns, uint64_t now_ns);
/* 'count' requests of 'bytes' together, all of this latency, of which
 * 'conforming' conformed (the endpoint times inline completions by rounds). */
void keep_done_many(struct keep *keep, bool write, uint32_t count,
		    uint64_t bytes, uint32_t conforming, uint64_t latency_ns,
		    uint64_t now_ns);
/* One that came has ended with an error, or was taken away (its process
 * was released): it is no longer waiting, and was not delivered.  'bytes' and
 * 'conforming' as they were with keep_arrive. */
void keep_failed(struct keep *keep, bool write, uint32_t bytes,
		 bool conforming, uint64_t now_ns);

enum keep_verdict { KEEP_UNKNOWN, KEEP_KEPT, KEEP_BROKEN };
struct keep_judgement {
	enum keep_verdict verdict;
	uint32_t window_s;	/* what was looked at */
	uint32_t windows;	/* 100 ms windows in it in which something was owed */
	uint32_t windows_broken;
	/* for each specification of the SLA */
	struct {
		enum keep_verdict verdict;
		uint64_t conforming, late;	/* latency */
	} specs[SLA_SPECS_MAX];
};
/* Judge a copy of 'keep' as of 'now_ns'. */
void keep_judge(const struct keep *keep, uint64_t now_ns,
		struct keep_judgement *ret_judgement);

#endif
