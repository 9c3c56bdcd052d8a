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
 * next.  If it is of level 0 or holds few nodes, all of it goes to the heap
 * and 'last' becomes its end.  Else only the level 0 slot with the least key
 * does, and the rest are spread over lower levels.  A node thus moves at most
 * once for each level below its first, and mostly once.
 */
#include "base/wheel.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* Up to this many nodes are sorted by the heap rather than spread. */
#define WHEEL_FEW	24U

static_assert(WHEEL_FAR > (UINT32_C(1) << 31), "never a place in the heap");

int wheel_init(struct wheel *wheel, uint32_t capacity, uint32_t shift)
{
	assert(shift >= WHEEL_SHIFT_MIN && shift < 64);
	*wheel = (struct wheel){ .shift = shift };
	wheel_rewind(wheel);
	wheel->nodes = calloc(capacity, sizeof(*wheel->nodes));
	wheel->state = calloc(capacity, sizeof(*wheel->state));
	wheel->near.place = wheel->state;
	if (!wheel->nodes || !wheel->state ||
	    heap_reserve(&wheel->near, capacity) < 0) {
		wheel_finish(wheel);
		return -ENOMEM;
	}
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
	free(wheel->state);
	wheel->nodes = NULL;
	wheel->state = NULL;
}

/* Unhook the first used slot and return its first node. */
static uint32_t take_slot(struct wheel *wheel, uint32_t *ret_level)
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
			*ret_level = level;
			return first;
		}
	}
	assert(false && "a wheel that counts nodes has a used slot");
	return 0;
}

void wheel_refill(struct wheel *wheel)
{
	uint32_t level, count = 0;
	uint64_t least = UINT64_MAX, width;
	const uint32_t first = take_slot(wheel, &level);

	for (uint32_t i = first; i; i = wheel->nodes[i - 1].next) {
		if (wheel->nodes[i - 1].key < least)
			least = wheel->nodes[i - 1].key;
		count++;
	}
	if (count > WHEEL_FEW)
		level = 0;
	width = UINT64_C(1) << (wheel->shift + level * WHEEL_BITS);
	wheel->last = least | (width - 1);
	wheel->far_count -= count;
	for (uint32_t i = first, next; i; i = next) {
		struct wheel_node *node = &wheel->nodes[i - 1];

		next = node->next;
		if (next)
			__builtin_prefetch(&wheel->nodes[next - 1]);
		wheel->state[i - 1] = 0;
		wheel_insert(wheel, i - 1, node->key);
	}
}
