/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wheel.h - exact priority queue for keys that mostly lie ahead
 *
 * A hierarchical timer wheel in front of which stands a short sorted run:
 * inserting ahead and taking the least are O(1) amortised, the order is exact.
 * Used for times and for virtual times.  See wheel.c for how it works.
 *
 * Entries are (key, id) and touch no memory but the wheel's own.  None can be
 * taken out but the least: whoever changes his mind leaves the entry where it
 * is and knows it for stale when it comes.  What comes next can be looked at
 * in advance, so that its memory can be fetched in time.
 *
 * Pure; only wheel_reserve allocates.
 */
#ifndef BASE_WHEEL_H
#define BASE_WHEEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/heap.h"

#define WHEEL_BITS	6U
#define WHEEL_SLOTS	(1U << WHEEL_BITS)
#define WHEEL_LEVELS	11U

/* What is in a slot, some at a time. */
#define WHEEL_PACK	16U
struct wheel_pack {
	struct heap_entry entries[WHEEL_PACK];	/* [0].unused: next pack */
} __attribute__((aligned(64)));

struct wheel_slot {
	uint32_t next;	/* place to be filled, counted over all packs; on a
			 * pack's border that before it is full */
	uint32_t packs;
};

#define WHEEL_RUN	64U	/* sorted at once, at most */
#define WHEEL_AHEAD	32U	/* kept in sight, at most */
#define WHEEL_SAMPLE	16U	/* of so many one is enough to learn from */
#define WHEEL_SURE	8U	/* taken out before looking around again */
#define WHEEL_FEW	8U	/* up to here only a heap */

struct wheel {
	uint64_t least;		/* 0: wheel_find will tell */
	uint64_t last;		/* before it: in 'run' or 'late' */
	uint64_t base;		/* the least, when last taken out */
	uint64_t refill_base;	/* before it there is nothing near to sort */
	uint64_t reach;		/* most entries come this far beyond it */
	uint32_t ahead;		/* of these as many as there are are sorted */
	uint32_t next, end;	/* of 'run' */
	uint32_t sure;		/* before it in 'run': nothing else is less */
	uint32_t seen[2];	/* the user's: how far it has looked */
	uint32_t levels;	/* bits: those that have entries */
	uint32_t far_count;	/* in slots */
	uint32_t free_pack, packs_made;
	uint32_t capacity;
	struct heap late;	/* came when 'last' was beyond it already */
	struct wheel_pack *packs;
	uint64_t used[WHEEL_LEVELS];
	struct wheel_slot slots[WHEEL_LEVELS][WHEEL_SLOTS];
	struct heap_entry run[WHEEL_AHEAD + WHEEL_RUN];
};

/* 1 <= 'ahead' <= WHEEL_AHEAD. */
void wheel_init(struct wheel *wheel, uint32_t ahead);
/* Room for 'capacity' entries.  Returns 0, or -ENOMEM: nothing changed. */
int wheel_reserve(struct wheel *wheel, uint32_t capacity);
void wheel_finish(struct wheel *wheel);
/* Forget all entries; keys may begin low again. */
void wheel_clear(struct wheel *wheel);
/* There is room. */
void wheel_insert(struct wheel *wheel, uint32_t id, uint64_t key);
/* What wheel_min says, if it has to look for it. */
uint64_t wheel_find(struct wheel *wheel);

static inline uint32_t wheel_count(const struct wheel *wheel)
{
	return wheel->end - wheel->next + wheel->late.count + wheel->far_count;
}

/* The least key; UINT64_MAX if the wheel is empty. */
static inline uint64_t wheel_min(struct wheel *wheel)
{
	return wheel->least ? wheel->least : wheel_find(wheel);
}

/* What wheel_pop does, if that is not the next of 'run' for sure. */
uint32_t wheel_pop_any(struct wheel *wheel);

/* Take out what wheel_min found, right after it. */
static inline uint32_t wheel_pop(struct wheel *wheel)
{
	const struct heap_entry *first = &wheel->run[wheel->next];

	if (wheel->next >= wheel->sure)
		return wheel_pop_any(wheel);
	wheel->next++;
	wheel->base = wheel->least;
	wheel->least = wheel->next < wheel->sure ? first[1].key : 0;
	return first->id;
}

/* The entries that will come soon and that this looker (0, 1), who looks
 * 'ahead' from the least, has not seen: run[return value] up to, without,
 * run[*ret_end]. */
static inline uint32_t wheel_look(struct wheel *wheel, unsigned int looker,
				  uint32_t ahead, uint32_t *ret_end)
{
	uint32_t begin = wheel->seen[looker], end = wheel->next + ahead;

	begin = begin < wheel->next ? wheel->next : begin;
	end = end > wheel->end ? wheel->end : end;
	*ret_end = end;
	if (end > begin)
		wheel->seen[looker] = end;
	return begin;
}

#endif
