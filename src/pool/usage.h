/* SPDX-License-Identifier: Apache-2.0 */
/*
 * usage.h - how full is a pool, and when does somebody have to hear of it?
 *
 * Pure.
 */
#ifndef POOL_USAGE_H
#define POOL_USAGE_H

#include <stdint.h>

enum usage_level { USAGE_FINE, USAGE_80, USAGE_90, USAGE_95, USAGE_LEVELS };

/* In extents. */
struct usage {
	uint64_t capacity;	/* of the devices that are there */
	uint64_t used;		/* mapped, or bad */
	uint64_t reserved;	/* thick volumes' that they have not used yet */
	uint64_t promised;	/* sizes of all volumes: may exceed capacity */
};

/* The level that what is used and reserved has reached; a level that was
 * reached is left only two percent of the capacity below it. */
enum usage_level usage_level(const struct usage *usage,
			     enum usage_level before);

#endif
