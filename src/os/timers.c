/* SPDX-License-Identifier: Apache-2.0 */
/* timers.c - see timers.h */
#include "os/timers.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

static void put(struct timers *timers, unsigned int index,
		struct timers_entry entry)
{
	timers->heap[index] = entry;
	entry.timer->heap_index = index;
}

static void rise(struct timers *timers, unsigned int index,
		 struct timers_entry entry)
{
	while (index > 1 && timers->heap[index / 2].due_ns > entry.due_ns) {
		put(timers, index, timers->heap[index / 2]);
		index /= 2;
	}
	put(timers, index, entry);
}

static void sink(struct timers *timers, unsigned int index,
		 struct timers_entry entry)
{
	for (;;) {
		unsigned int child = index * 2;

		if (child > timers->count)
			break;
		if (child < timers->count &&
		    timers->heap[child + 1].due_ns < timers->heap[child].due_ns)
			child++;
		if (timers->heap[child].due_ns >= entry.due_ns)
			break;
		put(timers, index, timers->heap[child]);
		index = child;
	}
	put(timers, index, entry);
}

static void place(struct timers *timers, unsigned int index,
		  struct timers_entry entry)
{
	if (index > 1 && timers->heap[index / 2].due_ns > entry.due_ns)
		rise(timers, index, entry);
	else
		sink(timers, index, entry);
}

int timers_reserve(struct timers *timers)
{
	struct timers_entry *heap;

	/* One more than there are timers: the heap starts at 1. */
	heap = reallocarray(timers->heap, timers->reserved + 2UL,
			    sizeof(*heap));
	if (!heap)
		return -ENOMEM;
	timers->heap = heap;
	timers->reserved++;
	return 0;
}

void timers_release(struct timers *timers)
{
	timers->reserved--;
}

void timers_finish(struct timers *timers)
{
	free(timers->heap);
}

void timers_set(struct timers *timers, struct loop_timer *timer,
		uint64_t due_ns)
{
	const struct timers_entry entry = {.due_ns = due_ns, .timer = timer};

	timer->due_ns = due_ns;
	if (timer->heap_index != 0) {
		place(timers, timer->heap_index, entry);
		return;
	}
	assert(timers->count < timers->reserved);
	timers->count++;
	rise(timers, timers->count, entry);
}

void timers_cancel(struct timers *timers, struct loop_timer *timer)
{
	const unsigned int index = timer->heap_index;
	struct timers_entry last;

	if (index == 0)
		return;
	timer->heap_index = 0;
	last = timers->heap[timers->count];
	timers->count--;
	if (last.timer != timer)
		place(timers, index, last);
}
