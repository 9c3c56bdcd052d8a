/* SPDX-License-Identifier: Apache-2.0 */
/*
 * capacity.h - what a device was measured to sustain: rate against latency
 *
 * Plain data, filled by calibration (src/block), used by admission.
 * Pure.
 */
#ifndef SLA_CAPACITY_H
#define SLA_CAPACITY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "sla/sla.h"

#define CAPACITY_POINTS		12U
#define CAPACITY_RATE_MAX	(UINT64_C(1) << 48)
#define CAPACITY_TIME_MAX_NS	(UINT64_C(1) << 48)
/* What the way to a device takes of the core for one 4 KiB request.  Ring,
 * scheduler and accounting, while the ring is full: 370 ns where it was
 * measured on nullio (docs/benchmarks.md); and with the kernel's part for a
 * file: 1.83 us on tmpfs. */
#define CAPACITY_PATH_NS	UINT64_C(400)
#define CAPACITY_FILE_PATH_NS	UINT64_C(2000)

struct capacity_point {		/* 4 KiB random at this depth */
	uint32_t depth;
	uint64_t iops;
	uint64_t p95_ns, p99_ns;
};

struct capacity_curve {		/* rising depth */
	struct capacity_point points[CAPACITY_POINTS];
	unsigned int count;
	uint64_t bytes_per_s;	/* 128 KiB sequential, deep */
};

struct capacity {
	struct capacity_curve direction[2];	/* read, write */
	bool is_short;		/* measured at first start, at most 1 s */
	/* false: derived from the other direction (block/calibrate.h) */
	bool read_measured, write_measured;
};

/* Sustainable 4 KiB rate of a curve while the given percentile (tenths; 950
 * and below: p95, above: p99) stays within 'latency_ns' (0: no bound):
 * interpolated; 0 if not even depth 1 does. */
uint64_t capacity_iops(const struct capacity_curve *curve, unsigned int tenths,
		       uint64_t latency_ns);
/* The other way round: the least bound within which 'iops' are sustainable;
 * UINT64_MAX: with none. */
uint64_t capacity_latency_ns(const struct capacity_curve *curve,
			     unsigned int tenths, uint64_t iops);
/* Take out what cannot be: at a lesser depth requests do not take longer, and
 * at a greater one not fewer are done.  What noise has added is replaced by
 * the neighbouring point's figure. */
void capacity_straighten(struct capacity_curve *curve);
/* What is left of it behind a way that takes 'path_ns' of the CPU for each
 * request: in turn with a device that the same CPU serves ('in_turn': memory),
 * beside one that works by itself. */
void capacity_behind(struct capacity_curve *curve, uint64_t path_ns,
		     bool in_turn);
/* The least depth, interpolated, at which 'milli' thousandths of the greatest
 * rate are reached; 0 of an empty curve. */
uint32_t capacity_depth(const struct capacity_curve *curve, uint32_t milli);
/* What an SLA promises, as if it had been measured: only if it says a rate for
 * reads and for writes; without a latency (p99 or above), none can be promised
 * of it.  Returns whether it does. */
bool capacity_from_sla(const struct sla *sla, struct capacity *ret_capacity);
/* Whether it can have been measured: 1 to CAPACITY_POINTS points of rising
 * depth for each direction, no rate zero.  Returns 0 or -EINVAL. */
int capacity_check(const struct capacity *capacity, struct error *reterr);

#endif
