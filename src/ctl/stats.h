/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats.h - what an endpoint counts, in memory shared with penstockd
 *
 * penstockd makes one memfd for each endpoint, keeps it mapped, and passes it
 * at start; the reactor writes its counters there and nowhere else, so that
 * reading them costs the data path nothing and they outlive the endpoint.
 * penstockd gives out the slots.  One writer; every counter is a whole
 * 64-bit word, only ever growing.
 */
#ifndef CTL_STATS_H
#define CTL_STATS_H

#include <assert.h>
#include <stdint.h>

#include "base/histogram.h"
#include "sla/keep.h"

#define STATS_MAGIC		UINT64_C(0x31746174736e6570)	/* "penstat1" */
#define STATS_PROCESSES		4096U
#define STATS_DEVICES		64U
#define STATS_POOLS		64U
#define STATS_LATE_CLASSES	4U	/* see loop_late_below_ns */

struct stats_counters {
	uint64_t requests, bytes, errors;
};

struct stats_process {
	struct stats_counters direction[2];	/* SCHED_READ, SCHED_WRITE */
	struct stats_counters other;	/* flush, discard, write-zeroes */
	uint64_t queued, in_flight;		/* now */
	uint64_t throttled;			/* requests that had to wait */
	struct histogram latency[2];	/* ns, from ring to completion */
	struct keep keep;
	/* Of the vdev whose unpromised default this is. */
	uint64_t mapped;			/* extents of its volume */
	uint64_t mapped_on;	/* a bit for each device that has of them */
	uint64_t no_space;		/* writes that found no extent */
	uint64_t device_errors;		/* of its requests, by its devices */
	uint64_t retries;		/* done again */
	uint64_t stopped_errno;		/* 0: it is not stopped */
	uint64_t hungry;		/* requests that wait for space, now */
};

struct stats_device {
	uint64_t in_flight, window, queued;
	uint64_t capacity_milli, shortage_milli, shortages;
	uint64_t errors, stalled_ns;	/* stalled: no completion for so long */
	/* As a member of a pool: extents, now; then since it was opened. */
	uint64_t extents_free, extents_dirty, extents_bad;
	uint64_t scrubbed, scrub_errors, log_errors;
	uint64_t extents_used;		/* now */
	uint64_t retries;	/* requests that had failed, done again */
};

/* Extents, now. */
struct stats_pool {
	uint64_t capacity, used, reserved, promised, free;
	uint64_t level;			/* in percent: 0, 80, 90, 95, 100 */
};

struct stats_segment {
	uint64_t magic, size_bytes;		/* this struct's, as compiled */
	uint64_t heartbeat_ns;			/* when the reactor last ran */
	/* Of the loop: see loop_times. */
	uint64_t asleep_ns, rounds, sleeps;
	uint64_t late[STATS_LATE_CLASSES], late_ns, away_ns;
	struct stats_device devices[STATS_DEVICES];
	struct stats_pool pools[STATS_POOLS];
	struct stats_process processes[STATS_PROCESSES];
};

/* It is mapped by both sides as compiled. */
static_assert(sizeof(struct stats_segment) == 63220832,
	      "raise CTL_VERSION (ctl.h), then this");

static inline void stats_set(uint64_t *counter, uint64_t value)
{
	__atomic_store_n(counter, value, __ATOMIC_RELAXED);
}

/* The reactor is the only writer: no read-modify-write is needed. */
static inline void stats_add(uint64_t *counter, uint64_t value)
{
	stats_set(counter, *counter + value);
}

static inline uint64_t stats_get(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

#endif
