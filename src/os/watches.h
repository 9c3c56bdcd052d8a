/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watches.h - a loop's watches: readiness of descriptors, by io_uring's polls
 *
 * Called by loop.c only.  Adding and removing only takes note; the kernel is
 * told by watches_flush.  Threads: the loop's.
 */
#ifndef OS_WATCHES_H
#define OS_WATCHES_H

#include <stdint.h>

#include "os/loop.h"
#include "os/uring.h"

/* In the user_data of every completion that is a watch's, and of no other
 * (an address is even). */
#define WATCHES_DATA		UINT64_C(1)

struct watches {			/* all zero: none */
	struct watches_slot *slots;	/* from 1; 0 ends lists */
	unsigned int slot_count;
	unsigned int slots_free;
	unsigned int pending_first, pending_last;
};

void watches_finish(struct watches *watches);

/* As loop_watch_add and loop_watch_remove. */
int watches_add(struct watches *watches, struct loop_watch *watch, int fd);
void watches_remove(struct watches *watches, struct loop_watch *watch);

/* Watches that were added, removed or called are told to the kernel. */
void watches_flush_pending(struct watches *watches, struct uring *uring);
static inline void watches_flush(struct watches *watches, struct uring *uring)
{
	if (watches->pending_first != 0)
		watches_flush_pending(watches, uring);
}

/* A completion with WATCHES_DATA in its user_data has come: call the watch.
 * Returns how many were called, 0 or 1. */
unsigned int watches_completed(struct watches *watches, uint64_t data);

#endif
