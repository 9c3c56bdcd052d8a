/* SPDX-License-Identifier: Apache-2.0 */
/*
 * powercut.h - a block device in memory whose power can be cut
 *
 * A request waits until the test lets it end, in whichever order.  A write that
 * has ended is seen by reads, and on stable storage only when a flush that was
 * submitted after it has ended.  Then:
 *
 *	power cut	of each block of 4 KiB any version since then may be
 *			there, whatever is there of others; of a request that
 *			has not ended any sector may be
 *	kill		what has ended is there; of what has not ended any
 *			sector may be
 *
 * A fork is what is found afterwards; the device itself goes on.
 */
#ifndef POWERCUT_H
#define POWERCUT_H

#include "block/block.h"

struct powercut;

struct powercut *powercut_create(uint64_t size_bytes);
void powercut_destroy(struct powercut *powercut);
struct block_device *powercut_device(struct powercut *powercut);

uint32_t powercut_pending(const struct powercut *powercut);
/* Let the request end that came as 'which'th of those that wait. */
void powercut_end(struct powercut *powercut, uint32_t which);
/* From now on all that touches this range fails with EIO; no length: none. */
void powercut_fail(struct powercut *powercut, uint64_t offset_bytes,
		   uint64_t length_bytes);

/* How many different states a power cut could leave, if that is less than
 * 'most'; in-flight requests are taken as not begun. */
uint64_t powercut_states(const struct powercut *powercut, uint64_t most);
/* What is found afterwards.  'random(arg, n)' chooses, below n. */
struct powercut *powercut_fork(const struct powercut *powercut, bool is_kill,
			       uint64_t (*random)(void *arg, uint64_t below),
			       void *arg);
/* The 'which'th of powercut_states. */
struct powercut *powercut_fork_state(const struct powercut *powercut,
				     uint64_t which);
/* As it is now: a copy that a test may damage. */
struct powercut *powercut_copy(const struct powercut *powercut);

/* A block of 4 KiB as it is now. */
const unsigned char *powercut_peek(const struct powercut *powercut,
				   uint64_t offset_bytes);
void powercut_poke(struct powercut *powercut, uint64_t offset_bytes,
		   const void *data, uint32_t bytes);
/* One bit of the byte there becomes another. */
void powercut_flip(struct powercut *powercut, uint64_t offset_bytes,
		   uint32_t bit);

#endif
