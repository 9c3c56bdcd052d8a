/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ranges.h - where the requests of a measurement may go
 *
 * Called by calibrate.c.  Pure.  Threads: none.
 */
#ifndef BLOCK_RANGES_H
#define BLOCK_RANGES_H

#include <stdint.h>

#include "base/error.h"

#define RANGES_MAX	64U
#define RANGES_ALIGN	UINT64_C(4096)
/* The least that is worth a range: one sequential request. */
#define RANGES_BYTES	(UINT64_C(128) << 10)

struct range {		/* multiples of RANGES_ALIGN */
	uint64_t offset_bytes, size_bytes;
};

struct ranges {
	struct range list[RANGES_MAX];
	unsigned int count;
	/* ranges_next: in this one, so far */
	unsigned int at;
	uint64_t next_bytes;
};

/* Returns 0, or -EINVAL for what is not aligned, too small or not of a device
 * of that size. */
int ranges_check(const struct range *list, unsigned int count,
		 uint64_t size_bytes, struct error *reterr);
/* 'count' up to RANGES_MAX; ranges_next begins at the first. */
void ranges_set(struct ranges *ranges, const struct range *list,
		unsigned int count);
uint64_t ranges_sum(const struct ranges *ranges);
/* The offset of the 'at'th byte of them; 'at' is less than their sum. */
uint64_t ranges_offset(const struct ranges *ranges, uint64_t at);
/* The next 'step_bytes' (up to the size of any), one range after another, and
 * then again. */
uint64_t ranges_next(struct ranges *ranges, uint64_t step_bytes);

#endif
