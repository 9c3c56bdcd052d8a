/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.h - a guest's memory as a front-end describes it
 *
 * A map is never changed: a new table, and each region that comes or goes,
 * makes a new map, which shares the mappings of regions that stay.  Requests
 * hold the map that they started with, so their buffers stay mapped until
 * they end.  Descriptors are closed as soon as they are mapped.
 *
 * What a session may map is bounded by its account, which also tells when
 * some of it was truncated (see shared.h).
 *
 * Threads: the loop's.
 */
#ifndef VHOST_MEMORY_H
#define VHOST_MEMORY_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "vhost/protocol.h"

#define MEMORY_REGIONS_MAX	32U	/* of one map: the hot-add slots */
#define MEMORY_MAPPINGS_MAX	80U		/* of one account */
#define MEMORY_BYTES_MAX	(UINT64_C(8) << 40)	/* of one account */

struct memory_mapping;

/* What one session has mapped, over all maps that still live. */
struct memory_account {
	unsigned int references;
	unsigned int mappings;
	uint64_t bytes;
	volatile sig_atomic_t lost;	/* somebody truncated some of it */
};

struct memory_slot {
	uint64_t guest_addr;
	uint64_t size_bytes;
	uint8_t *host;
	uint64_t user_addr;
	struct memory_mapping *mapping;
};

struct memory_map {
	unsigned int references;
	unsigned int count;
	struct memory_account *account;
	struct memory_slot slots[MEMORY_REGIONS_MAX];	/* by guest address */
};

/* An empty map with an account of its own.  Returns 0 or -ENOMEM. */
int memory_map_create(struct memory_map **ret_map);
/* A map of exactly these regions, on 'old's account.  Descriptors stay the
 * caller's.  Returns 0; -EINVAL (a region is impossible, overlaps another, or
 * its descriptor can't hold it), -ENOSPC (too much), -ENOMEM or what mmap
 * said. */
int memory_map_replace(struct memory_map *old,
		       const struct vhost_user_region *regions, const int *fds,
		       unsigned int count, struct memory_map **ret_map,
		       struct error *reterr);
/* 'old' and one region more.  Same errors. */
int memory_map_add(struct memory_map *old,
		   const struct vhost_user_region *region, int fd,
		   struct memory_map **ret_map, struct error *reterr);
/* 'old' without the region that has these addresses.  Returns 0, -ENOENT or
 * -ENOMEM. */
int memory_map_remove(struct memory_map *old,
		      const struct vhost_user_region *region,
		      struct memory_map **ret_map, struct error *reterr);
void memory_map_destroy(struct memory_map *map);	/* by memory_map_put */

static inline struct memory_map *memory_map_get(struct memory_map *map)
{
	map->references++;
	return map;
}

static inline void memory_map_put(struct memory_map *map)
{
	if (--map->references == 0)
		memory_map_destroy(map);
}

/* Some of it was truncated, as a SIGBUS here or the kernel's EFAULT said:
 * nothing more can be done for this front-end. */
static inline bool memory_lost(const struct memory_map *map)
{
	return map->account->lost != 0;
}

/* Where 'length' bytes at a guest address are, if 'slot' holds them all. */
static inline uint8_t *memory_slot_find(const struct memory_slot *slot,
					uint64_t guest_addr, uint64_t length)
{
	const uint64_t offset = guest_addr - slot->guest_addr;

	if (offset >= slot->size_bytes || length > slot->size_bytes - offset)
		return NULL;
	return slot->host + offset;
}

/* The slot that holds a guest address, or NULL. */
const struct memory_slot *memory_find(const struct memory_map *map,
				      uint64_t guest_addr);
/* Where a front-end's own address is, if one slot holds all of it; else
 * NULL. */
uint8_t *memory_find_user(const struct memory_map *map, uint64_t user_addr,
			  uint64_t length);
/* The guest address of something that the map has, for the dirty log. */
bool memory_guest_addr(const struct memory_map *map, const void *host,
		       uint64_t *ret_guest_addr);

#endif
