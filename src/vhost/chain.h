/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chain.h - a descriptor chain of a split ring, turned into memory
 *
 * Each descriptor is copied once and only the copy is looked at: the guest
 * may change it at any time.  Pure but for the guest memory it reads.
 */
#ifndef VHOST_CHAIN_H
#define VHOST_CHAIN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "vhost/access.h"
#include "vhost/memory.h"
#include "vhost/protocol.h"

/* Most descriptors of an indirect table, whatever the ring's size. */
#define CHAIN_INDIRECT_MAX	1024U

struct chain_source {
	const struct vring_desc *table;
	uint16_t size;			/* descriptors in it */
	const struct memory_map *map;
	/* Where buffers were lately; headers and data often lie apart. */
	const struct memory_slot *recent, *other;
};

/* Where 'length' bytes are, if one of the recent slots holds them all. */
static inline uint8_t *chain_find_recent(const struct chain_source *source,
					 uint64_t guest_addr, uint64_t length)
{
	uint8_t *host = memory_slot_find(source->recent, guest_addr, length);

	return host ? host :
		      memory_slot_find(source->other, guest_addr, length);
}

#define CHAIN_READ	0U	/* what we read: header, data of a write */
#define CHAIN_WRITE	1U	/* what we write: data of a read, status */

struct chain {
	struct iovec *iov;		/* readable ones, then writable ones */
	unsigned int capacity;
	bool last_resort;		/* no larger 'iov' is to be had */

	/* Entries of 'iov', and what they hold: CHAIN_READ, CHAIN_WRITE. */
	unsigned int entries[2];
	uint64_t bytes[2];
	bool indirect;			/* it goes on in a table of its own */
	/* Some buffer is not memory, or out of order, or there are too many:
	 * 'iov' is not all of it, and an error is the only answer. */
	bool faulty;
	bool ends_writable;		/* the last entry is the last buffer */
};

static inline struct vring_desc chain_copy_desc(const struct vring_desc *from)
{
	const uint64_t rest = access_read_u64(&from->len);

	return (struct vring_desc){
		.addr = access_read_u64(&from->addr),
		.len = (uint32_t)rest,
		.flags = (uint16_t)(rest >> 32),
		.next = (uint16_t)(rest >> 48),
	};
}

/* Follow the chain that begins with 'first', a copy of its first descriptor.
 * 'iov', 'capacity' and 'last_resort' are inputs.  Returns 0; -ENOSPC: try
 * again with more entries; -EINVAL: this is no chain, and where it ends can't
 * be told. */
int chain_parse(struct chain_source *source, const struct vring_desc *first,
		struct chain *chain);

/* Prepare the first 'bytes' of 'iov' to be used alone: returns how many
 * entries they are, with the last cut short, and what was cut off it.  The
 * next piece begins with chain_uncut. */
unsigned int chain_cut(struct iovec *iov, uint64_t bytes,
		       uint64_t *ret_rest_bytes);
/* 'last' was cut by chain_cut: make it what was cut off. */
void chain_uncut(struct iovec *last, uint64_t rest_bytes);

#endif
