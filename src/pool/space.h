/* SPDX-License-Identifier: Apache-2.0 */
/*
 * space.h - the extents of one device: which are free, and how free
 *
 * Two bits for each extent, those of 64 side by side in two words, so that a
 * run is looked for 64 at a time; and for each group of 4096 extents how many
 * it has of each state, so that a look over a device of 10 TiB that is nearly
 * full reads 2560 counts and one group.  256 KiB for each TiB, and 2 KiB of
 * counts.
 *
 * A taken extent is none of the others: mapped, bad, or on its way from one
 * state to another in somebody's hands.
 *
 * Pure.  Allocates in space_init, space_grow and space_set_bad only.
 */
#ifndef POOL_SPACE_H
#define POOL_SPACE_H

#include <stdbool.h>
#include <stdint.h>

#define SPACE_NONE	UINT32_MAX
#define SPACE_GROUP	4096U		/* extents */
#define SPACE_WORD	64U		/* of which one word has a bit each */

/* The numbers are the two bits. */
enum space_state {
	SPACE_TAKEN = 0,
	SPACE_CLEAN = 1,	/* reads as zeroes, and that is durable */
	SPACE_OPEN = 2,		/* clean, and may be written to */
	SPACE_DIRTY = 3,	/* holds what somebody left */
	SPACE_STATES
};

/* Of 64 extents the low and the high bits. */
struct space_word {
	uint64_t bits[2];
};

struct space {
	struct space_word *words;
	uint16_t *counts[SPACE_STATES];	/* of each group; [TAKEN] unused */
	uint64_t *bad;			/* NULL while there is none */
	uint32_t extent_count;
	uint32_t total[SPACE_STATES];
	uint32_t bad_total;		/* of those taken */
	uint32_t hint[SPACE_STATES];	/* where the last search ended */
};

/* All dirty.  Returns 0 or -ENOMEM. */
int space_init(struct space *space, uint32_t extent_count);
void space_finish(struct space *space);
/* What is new is dirty.  Returns 0 or -ENOMEM (nothing has changed). */
int space_grow(struct space *space, uint32_t extent_count);

static inline enum space_state space_get(const struct space *space,
					 uint32_t extent)
{
	const struct space_word *word = &space->words[extent / SPACE_WORD];
	const uint32_t bit = extent % SPACE_WORD;

	return (enum space_state)((word->bits[0] >> bit & 1) |
				  (word->bits[1] >> bit & 1) << 1);
}

/* space_set of one that is known to be 'old'. */
static inline void space_change(struct space *space, uint32_t extent,
				enum space_state old, enum space_state state)
{
	struct space_word *word = &space->words[extent / SPACE_WORD];
	const uint32_t group = extent / SPACE_GROUP;
	const uint32_t bit = extent % SPACE_WORD;
	const uint64_t change = (uint64_t)(old ^ state);

	space->total[old]--;
	space->total[state]++;
	space->counts[old][group]--;
	space->counts[state][group]++;
	word->bits[0] ^= (change & 1) << bit;
	word->bits[1] ^= (change >> 1) << bit;
}

void space_set(struct space *space, uint32_t first, uint32_t count,
	       enum space_state state);
/* Never again: taken from now on.  Returns 0 or -ENOMEM (it is only taken). */
int space_set_bad(struct space *space, uint32_t extent);
bool space_is_bad(const struct space *space, uint32_t extent);
/* Is one of 'count' from 'first' on in 'state'? */
bool space_has(const struct space *space, enum space_state state,
	       uint32_t first, uint32_t count);

/* The state of this one is wanted soon; any number. */
static inline void space_expect(const struct space *space, uint32_t extent)
{
	if (extent < space->extent_count)
		__builtin_prefetch(&space->words[extent / SPACE_WORD], 1);
}

/* The first extent in 'state' (not TAKEN) from 'from' on, and then from the
 * start; SPACE_NONE: there is none. */
uint32_t space_find(const struct space *space, enum space_state state,
		    uint32_t from);
/* How many from 'first' on are in 'state', at most 'max'. */
uint32_t space_run(const struct space *space, enum space_state state,
		   uint32_t first, uint32_t max);
/* Take a run in 'state', at most 'max': at 'near' if that is free (SPACE_NONE:
 * anywhere), else where the last one ended.  Returns its length, 0: none. */
uint32_t space_take(struct space *space, enum space_state state, uint32_t near,
		    uint32_t max, uint32_t *ret_first);

#endif
