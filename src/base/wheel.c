/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wheel.c - see wheel.h
 *
 *   keys:  ... <= last | the rest of last's slot at level 1 | level 2 ...
 *          [ near heap ][ level 0: 256 slots of 2^shift     ][ 256 wider ...
 *
 * A key beyond 'last' goes to the level at which it first differs from
 * 'last', counted in groups of 8 bits from above, and there to the slot that
 * its own 8 bits name.  So (1) all keys of a lower level are less than those
 * of a higher one, (2) within a level a lower slot is less, (3) at every
 * level, used slots lie strictly above last's own.  A slot of a node is found
 * again from its key alone, because (3) holds for as long as 'last' has not
 * reached that slot.
 *
 * When the heap runs empty, the first used slot of the lowest used level is
 * next.  If it holds few nodes, all of them go to the heap and 'last' becomes
 * the end of the greatest's slot of level 0.  Else only the slot of level 0
 * with the least key does, and the rest are spread over lower levels.  A node
 * thus moves at most once for each level below its first, and mostly once.
 */
#include "base/wheel.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* Up to this many nodes are sorted by the heap rather than spread. */
#define WHEEL_FEW	24U

static_assert(sizeof(struct wheel_pack) == 64, "one cache line");

int wheel_init(struct wheel *wheel, uint32_t capacity, uint32_t shift)
{
	assert(shift >= WHEEL_SHIFT_MIN && shift < 64);
	*wheel = (struct wheel){.shift = shift};
	wheel_rewind(wheel);
	wheel->nodes = calloc(capacity, sizeof(*wheel->nodes));
	/* Of a slot's packs all but the first are full; index 0 is none. */
	wheel->packs = aligned_alloc(
		64,
		(capacity / WHEEL_PACK + 2 + WHEEL_LEVELS * WHEEL_SLOTS) *
			sizeof(*wheel->packs));
	if (!wheel->nodes || !wheel->packs ||
	    heap_reserve(&wheel->near, capacity) < 0) {
		wheel_finish(wheel);
		return -ENOMEM;
	}
	wheel->near.place = &wheel->nodes[0].state;
	wheel->near.place_shift = 2;	/* words in a node */
	return 0;
}

void wheel_rewind(struct wheel *wheel)
{
	assert(wheel_count(wheel) == 0);
	wheel->last = (UINT64_C(1) << wheel->shift) - 1;
}

void wheel_finish(struct wheel *wheel)
{
	heap_finish(&wheel->near);
	free(wheel->nodes);
	free(wheel->packs);
	wheel->nodes = NULL;
	wheel->packs = NULL;
}

/* Unhook the first used slot and return its first pack. */
static uint32_t take_slot(struct wheel *wheel)
{
	for (uint32_t level = 0; level < WHEEL_LEVELS; level++) {
		for (uint32_t w = 0; w < WHEEL_SLOTS / 64; w++) {
			const uint64_t word = wheel->used[level][w];
			uint32_t slot, first;

			if (!word)
				continue;
			slot = w * 64 + (uint32_t)__builtin_ctzll(word);
			first = wheel->slots[level][slot];
			wheel->slots[level][slot] = 0;
			wheel->used[level][w] = word & (word - 1);
			return first;
		}
	}
	assert(false && "a wheel that counts nodes has a used slot");
	return 0;
}

/* How many nodes these packs have, and their least and greatest key. */
static uint32_t survey(const struct wheel *wheel, uint32_t first,
		       uint64_t *ret_least, uint64_t *ret_most)
{
	uint64_t least = UINT64_MAX, most = 0;
	uint32_t count = 0;

	for (uint32_t p = first; p; p = wheel->packs[p].next) {
		const struct wheel_pack *pack = &wheel->packs[p];

		__builtin_prefetch(&wheel->packs[pack->next]);
		for (uint32_t i = 0; i < pack->count; i++)
			__builtin_prefetch(&wheel->nodes[pack->ids[i]], 1);
		for (uint32_t i = 0; i < pack->count; i++) {
			const uint64_t key = wheel->nodes[pack->ids[i]].key;

			least = key < least ? key : least;
			most = key > most ? key : most;
		}
		count += pack->count;
	}
	*ret_least = least;
	*ret_most = most;
	return count;
}

void wheel_refill(struct wheel *wheel)
{
	uint32_t next;
	uint64_t least, most;
	const uint32_t first = take_slot(wheel);
	const uint32_t count = survey(wheel, first, &least, &most);

	wheel->last = (count > WHEEL_FEW ? least : most) |
		((UINT64_C(1) << wheel->shift) - 1);
	wheel->far_count -= count;
	for (uint32_t p = first; p; p = next) {
		/* Freed before its nodes need packs again. */
		const struct wheel_pack pack = wheel->packs[p];

		next = pack.next;
		wheel_pack_free(wheel, p);
		for (uint32_t i = 0; i < pack.count; i++)
			wheel_insert(wheel, pack.ids[i],
				     wheel->nodes[pack.ids[i]].key);
	}
}
