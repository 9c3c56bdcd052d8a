/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watches.c - see watches.h
 *
 * Watches are one-shot polls, armed again after each callback: that gives
 * level semantics, where a multishot poll reports edges.  A watch's slot is
 * used again only after its poll's one completion has come, so a late
 * completion can never reach another watch.
 *
 *	        flush            completion          after the callback
 *	WANTED -------> ARMED -------------> RUNNING ------------------> WANTED
 *	  | remove        | remove              | remove
 *	  v               v                     v
 *	CLOSED <------ UNWANTED ---> CANCELLED  (free)
 *	  (free at     completion     (free at completion)
 *	   flush)
 */
#include "os/watches.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#define WATCHES_MAX		65536U

enum slot_state {
	SLOT_FREE,
	SLOT_WANTED,
	SLOT_ARMED,
	SLOT_RUNNING,
	SLOT_UNWANTED,
	SLOT_CANCELLED,
	SLOT_CLOSED,
};

struct watches_slot {
	struct loop_watch *watch;	/* WANTED, ARMED, RUNNING */
	unsigned int next;		/* in the free or the pending list */
	enum slot_state state;
};

static void pending_add(struct watches *watches, unsigned int index)
{
	watches->slots[index].next = 0;
	if (watches->pending_first == 0)
		watches->pending_first = index;
	else
		watches->slots[watches->pending_last].next = index;
	watches->pending_last = index;
}

static int slots_grow(struct watches *watches)
{
	const unsigned int count =
		watches->slot_count == 0 ? 64 : watches->slot_count * 2;
	struct watches_slot *slots;

	if (count > WATCHES_MAX)
		return -ENOSPC;
	slots = reallocarray(watches->slots, count, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	watches->slots = slots;
	for (unsigned int i = count - 1; i >= watches->slot_count && i > 0;
	     i--) {
		slots[i] = (struct watches_slot){.next = watches->slots_free};
		watches->slots_free = i;
	}
	watches->slot_count = count;
	return 0;
}

int watches_add(struct watches *watches, struct loop_watch *watch, int fd)
{
	struct watches_slot *slot;

	assert(watch->slot == 0 && watch->ready);
	if (watches->slots_free == 0) {
		int rc = slots_grow(watches);

		if (rc < 0)
			return rc;
	}
	watch->slot = watches->slots_free;
	watch->fd = fd;
	slot = &watches->slots[watch->slot];
	watches->slots_free = slot->next;
	slot->watch = watch;
	slot->state = SLOT_WANTED;
	pending_add(watches, watch->slot);
	return 0;
}

void watches_remove(struct watches *watches, struct loop_watch *watch)
{
	struct watches_slot *slot;

	if (watch->slot == 0)
		return;
	slot = &watches->slots[watch->slot];
	assert(slot->watch == watch);
	slot->watch = NULL;
	if (slot->state == SLOT_ARMED) {
		slot->state = SLOT_UNWANTED;
		pending_add(watches, watch->slot);
	} else {
		assert(slot->state == SLOT_WANTED ||
		       slot->state == SLOT_RUNNING);
		slot->state = SLOT_CLOSED;
	}
	watch->slot = 0;
}

unsigned int watches_completed(struct watches *watches, uint64_t data)
{
	const unsigned int index = (unsigned int)(data >> 1);
	const enum slot_state state = watches->slots[index].state;

	if (state == SLOT_UNWANTED) {
		watches->slots[index].state = SLOT_CLOSED;
		return 0;
	}
	if (state == SLOT_ARMED) {
		watches->slots[index].state = SLOT_RUNNING;
		watches->slots[index].watch->ready(watches->slots[index].watch);
		if (watches->slots[index].state == SLOT_RUNNING)
			watches->slots[index].state = SLOT_WANTED;
		pending_add(watches, index);
		return 1;
	}
	assert(state == SLOT_CANCELLED);
	watches->slots[index].state = SLOT_CLOSED;
	pending_add(watches, index);
	return 0;
}

void watches_flush_pending(struct watches *watches, struct uring *uring)
{
	while (watches->pending_first != 0) {
		const unsigned int index = watches->pending_first;
		const uint64_t data = WATCHES_DATA | (uint64_t)index << 1;
		struct watches_slot *slot = &watches->slots[index];
		struct io_uring_sqe *sqe;

		if (slot->state == SLOT_CLOSED) {
			watches->pending_first = slot->next;
			slot->state = SLOT_FREE;
			slot->next = watches->slots_free;
			watches->slots_free = index;
			continue;
		}
		sqe = uring_sqe(uring);
		if (!sqe)
			return;
		watches->pending_first = slot->next;
		if (slot->state == SLOT_WANTED) {
			io_uring_prep_poll_add(sqe, slot->watch->fd, POLLIN);
			sqe->user_data = data;
			slot->state = SLOT_ARMED;
		} else {
			assert(slot->state == SLOT_UNWANTED);
			io_uring_prep_poll_remove(sqe, data);
			sqe->user_data = 0;
			slot->state = SLOT_CANCELLED;
		}
	}
}

void watches_finish(struct watches *watches)
{
	free(watches->slots);
}
