/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wheel.h - exact priority queue for keys that mostly lie ahead
 *
 * A hierarchical timer wheel in front of which stands a small heap: inserting
 * ahead is O(1), taking the least is O(1) amortised, and the order is exact.
 * Used for due times and for virtual times.  See wheel.c for how it works.
 *
 * Ids are below the capacity given to wheel_init; each is in the wheel at most
 * once.  Pure; only wheel_init allocates.
 */
#ifndef BASE_WHEEL_H
#define BASE_WHEEL_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/heap.h"

#define WHEEL_BITS	8U
#define WHEEL_SLOTS	(1U << WHEEL_BITS)
#define WHEEL_LEVELS	7U
#define WHEEL_SHIFT_MIN	(64U - WHEEL_BITS * WHEEL_LEVELS)

struct wheel_node {
	uint64_t key;
	uint32_t next, prev;	/* id + 1; 0: the slot's end */
};

struct wheel {
	struct heap near;	/* every key <= last */
	uint64_t last;
	struct wheel_node *nodes;
	uint32_t *state;	/* the heap's places, and WHEEL_FAR */
	uint32_t shift;		/* a slot of level 0 is 2^shift wide */
	uint32_t far_count;
	uint64_t used[WHEEL_LEVELS][WHEEL_SLOTS / 64];
	uint32_t slots[WHEEL_LEVELS][WHEEL_SLOTS];	/* id + 1; 0: empty */
};

#define WHEEL_FAR	UINT32_MAX	/* in a slot, not in the heap */

/* 'shift' >= WHEEL_SHIFT_MIN.  Memory is taken for all ids at once but only
 * touched as ids come into use.  Returns 0 or -ENOMEM. */
int wheel_init(struct wheel *wheel, uint32_t capacity, uint32_t shift);
void wheel_finish(struct wheel *wheel);
/* Keys will begin low again.  The wheel is empty. */
void wheel_rewind(struct wheel *wheel);
/* Fill the heap from the next slot.  The heap is empty, the slots are not. */
void wheel_refill(struct wheel *wheel);

static inline bool wheel_contains(const struct wheel *wheel, uint32_t id)
{
	return wheel->state[id] != 0;
}

static inline uint32_t wheel_count(const struct wheel *wheel)
{
	return wheel->near.count + wheel->far_count;
}

/* The key of an id that is in the wheel. */
static inline uint64_t wheel_key_of(const struct wheel *wheel, uint32_t id)
{
	return wheel->nodes[id].key;
}

static inline uint32_t *wheel_slot(struct wheel *wheel, uint64_t key,
				   uint64_t **ret_word, uint64_t *ret_bit)
{
	const uint64_t differ = (key ^ wheel->last) >> wheel->shift;
	const uint32_t level =
		(63U - (uint32_t)__builtin_clzll(differ)) / WHEEL_BITS;
	const uint32_t slot =
		(uint32_t)(key >> (wheel->shift + level * WHEEL_BITS)) &
		(WHEEL_SLOTS - 1);

	*ret_word = &wheel->used[level][slot / 64];
	*ret_bit = UINT64_C(1) << (slot % 64);
	return &wheel->slots[level][slot];
}

/* 'id' is absent. */
static inline void wheel_insert(struct wheel *wheel, uint32_t id, uint64_t key)
{
	struct wheel_node *node = &wheel->nodes[id];
	uint64_t *word, bit;
	uint32_t *slot;

	node->key = key;
	if (key <= wheel->last) {
		heap_insert(&wheel->near, id, key);
		return;
	}
	slot = wheel_slot(wheel, key, &word, &bit);
	node->prev = 0;
	node->next = *slot;
	if (*slot)
		wheel->nodes[*slot - 1].prev = id + 1;
	*slot = id + 1;
	*word |= bit;
	wheel->state[id] = WHEEL_FAR;
	wheel->far_count++;
}

/* 'id' is present. */
static inline void wheel_remove(struct wheel *wheel, uint32_t id)
{
	struct wheel_node *node = &wheel->nodes[id];
	uint64_t *word, bit;
	uint32_t *slot;

	if (wheel->state[id] != WHEEL_FAR) {
		heap_remove(&wheel->near, id);
		return;
	}
	wheel->state[id] = 0;
	wheel->far_count--;
	if (node->next)
		wheel->nodes[node->next - 1].prev = node->prev;
	if (node->prev) {
		wheel->nodes[node->prev - 1].next = node->next;
		return;
	}
	slot = wheel_slot(wheel, node->key, &word, &bit);
	*slot = node->next;
	if (!*slot)
		*word &= ~bit;
}

/* The least key; UINT64_MAX if the wheel is empty. */
static inline uint64_t wheel_min(struct wheel *wheel)
{
	if (wheel->near.count == 0 && wheel->far_count > 0)
		wheel_refill(wheel);
	return heap_key(&wheel->near);
}

/* The id of the least key, right after wheel_min said that there is one. */
static inline uint32_t wheel_min_id(const struct wheel *wheel)
{
	return heap_at(&wheel->near, 0)->id;
}

#endif
