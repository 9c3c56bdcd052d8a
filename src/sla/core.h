/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core.h - the time of one core, that devices' promises share (E8)
 *
 * What a device promises takes time of the core that serves it, beside what
 * other devices promise there.  A second is CORE_SECOND units.  Each device
 * keeps a part of what it uses free, as it does of its own time; together
 * they must not need more than the second has.
 *
 * Exact: every share is a sum that its device keeps, and where all keep the
 * same part free nothing is rounded.
 * O(devices of the core) for each question.
 * Pure.  Threads: the caller's.
 */
#ifndef SLA_CORE_H
#define SLA_CORE_H

#include <stdbool.h>
#include <stdint.h>

#define CORE_SECOND	UINT64_C(1000000000000000000)

struct core;

/* What one device's promises take; embedded in their keeper.  Without a core
 * it counts for nothing. */
struct core_share {
	struct core *core;
	struct core_share *next, **link;
	unsigned __int128 promised;	/* its keeper's */
	unsigned int usable_milli;	/* the rest is kept free */
};

/* Returns 0 or -ENOMEM. */
int core_create(struct core **ret_core);
/* Shares that are left have no core from then on.  NULL is allowed. */
void core_destroy(struct core *core);

void core_join(struct core *core, struct core_share *share,
	       unsigned int usable_milli);
void core_leave(struct core_share *share);

/* The most that this share may promise, whatever it promises now. */
unsigned __int128 core_allows(const struct core_share *share);

struct core_report {
	uint32_t promised_ppm;	/* with what is kept free */
	uint32_t allowed_ppm;
	bool is_over;
};
void core_report(const struct core *core, struct core_report *ret_report);

#endif
