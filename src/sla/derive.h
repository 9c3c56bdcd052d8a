/* SPDX-License-Identifier: Apache-2.0 */
/*
 * derive.h - a specification proposed from what a process was seen to use (E7)
 *
 * History is a set of cells, each of a span of time: one second, or many
 * rolled up.  Of many the top second's rates stay, and the worst minute's
 * latencies.  A proposal is the percentile of them (100: the top, or the
 * worst) among the seconds in which there were requests, with head-room,
 * rounded up to a figure that a person would write.
 *
 * What was stated stays: of a metric and direction that somebody stated
 * nothing is proposed.  A rate is never above the limits that it stands
 * under.
 * Pure.
 */
#ifndef SLA_DERIVE_H
#define SLA_DERIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/histogram.h"
#include "sched/sched.h"
#include "sla/sla.h"

#define DERIVE_POINTS		6U	/* p50, p90, p95, p99, p99.9, max */
#define DERIVE_POINT_P99	3U
#define DERIVE_POINT_MAX	5U
#define DERIVE_AXES		2U
enum derive_axis { DERIVE_REQUESTS, DERIVE_BYTES };

#define DERIVE_WINDOW_DEFAULT_S	3600U
#define DERIVE_WINDOW_MIN_S	60U
#define DERIVE_WINDOW_MAX_S	(400U * 86400U)
#define DERIVE_HEADROOM_MAX	10000U	/* thousandths: tenfold more */
/* Fewer requests of one span say nothing of its p99. */
#define DERIVE_LATENCY_MIN	100U

/* What was counted of a span, or the rates of one of its seconds: without
 * sums, if its span is given as well; whose rates are 0 then. */
struct derive_cell {
	uint64_t seconds;	/* of the span, in which requests ended */
	uint64_t top_per_s[SLA_DIRECTIONS][DERIVE_AXES];
	uint64_t sum[2][DERIVE_AXES];	/* reads, writes */
	/* Of at least DERIVE_LATENCY_MIN requests; else 0. */
	uint64_t latency_ns[SLA_DIRECTIONS][DERIVE_POINTS];
	uint64_t kept_s, broken_s;	/* how its promise was judged */
};

/* Tenths of a percent of each point, as in struct sla_spec. */
extern const uint16_t derive_points[DERIVE_POINTS];

/* 'from' is of another span, or of a part of the same. */
void derive_merge(struct derive_cell *into, const struct derive_cell *from);
/* What came in a second of 'elapsed_ns': its rates, and its sums. */
void derive_count(struct derive_cell *cell,
		  const uint64_t count[2][DERIVE_AXES], uint64_t elapsed_ns);
/* The latencies of a span: reads and writes, as counted before and now. */
void derive_latency(struct derive_cell *cell, const struct histogram before[2],
		    const struct histogram now[2]);

struct derive_options {
	uint32_t window_s;
	uint32_t percentile_milli;	/* 1 .. 100000 */
	uint32_t headroom_milli;
	bool is_split;		/* reads and writes apart, not their total */
};

/* An hour, the top, no head-room. */
extern const struct derive_options derive_default;

/* "10 min", "1h", "7d": s, min (or m), h, d; DERIVE_WINDOW_MIN_S to _MAX_S.
 * "100", "99.9", "p95"; "10 %", "10%".  Each returns 0 or -EINVAL. */
int derive_parse_window(const char *text, uint32_t *ret_window_s,
			struct error *reterr);
int derive_parse_percentile(const char *text, uint32_t *ret_milli,
			    struct error *reterr);
int derive_parse_headroom(const char *text, uint32_t *ret_milli,
			  struct error *reterr);

struct derive_proposal {
	struct sla sla;		/* the stated ones, then the derived */
	uint32_t derived;	/* a bit for each that is */
	uint32_t bounded;	/* of these: cut down to a limit */
	struct derive_cell observed;	/* the window as one */
};

/* 'limits' are those that the process stands under (its own, its vdev's).
 * Returns 0; -ENODATA: nothing was seen; -ENOMEM. */
int derive_propose(const struct derive_cell *cells, size_t count,
		   const struct derive_options *options,
		   const struct sla *stated,
		   const struct sched_limits *const *limits, size_t limit_count,
		   struct derive_proposal *ret_proposal);

/* The specifications that are not derived. */
void derive_stated(const struct sla *sla, uint32_t derived,
		   struct sla *ret_stated);
/* Is the proposal so far from what holds that it is worth a change: a rise of
 * 5 %, a fall of 20 %, one that was not there?  What is not proposed any more
 * (nothing was seen of it) is kept: added to '*proposal'. */
bool derive_settle(const struct sla *sla, uint32_t derived,
		   struct derive_proposal *proposal);

#endif
