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
	uint32_t pack;		/* in a slot: which of 'packs' */
	uint32_t state; /* 0: absent; WHEEL_FAR + place in the pack, or
				 * place in the heap + 1 */
};

/* What is in a slot, some at a time, so that nodes can be fetched from memory
 * together and not one after the other. */
#define WHEEL_PACK	14U
struct wheel_pack {
	uint32_t next;		/* index; 0: none */
	uint32_t count;		/* WHEEL_PACK, but for a slot's first */
	uint32_t ids[WHEEL_PACK];
} __attribute__((aligned(64)));

struct wheel {
	struct heap near;	/* every key <= last */
	uint64_t last;
	struct wheel_node *nodes;
	struct wheel_pack *packs;
	uint32_t free_pack, packs_made;
	uint32_t shift;		/* a slot of level 0 is 2^shift wide */
	uint32_t far_count;
	uint64_t used[WHEEL_LEVELS][WHEEL_SLOTS / 64];
	uint32_t slots[WHEEL_LEVELS][WHEEL_SLOTS];	/* pack; 0: empty */
};

#define WHEEL_FAR	(UINT32_C(1) << 31)	/* in a slot, not in the heap */

/* 'shift' >= WHEEL_SHIFT_MIN.  Memory is taken for all ids at once but only
 * touched as ids come into use.  Returns 0 or -ENOMEM. */
int wheel_init(struct wheel *wheel, uint32_t capacity, uint32_t shift);
void wheel_finish(struct wheel *wheel);
/* Keys will begin low again.  The wheel is empty. */
void wheel_rewind(struct wheel *wheel);
/* Move the next slot to the heap; there is one.  Needed when the heap is
 * empty, allowed before: so a user can look ahead. */
void wheel_refill(struct wheel *wheel);

static inline bool wheel_contains(const struct wheel *wheel, uint32_t id)
{
	return wheel->nodes[id].state != 0;
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

static inline uint32_t wheel_pack_new(struct wheel *wheel, uint32_t next)
{
	uint32_t pack = wheel->free_pack;

	if (pack)
		wheel->free_pack = wheel->packs[pack].next;
	else
		pack = ++wheel->packs_made;
	wheel->packs[pack].next = next;
	wheel->packs[pack].count = 0;
	return pack;
}

static inline void wheel_pack_free(struct wheel *wheel, uint32_t pack)
{
	wheel->packs[pack].next = wheel->free_pack;
	wheel->free_pack = pack;
}

/* 'id' is absent. */
static inline void wheel_insert(struct wheel *wheel, uint32_t id, uint64_t key)
{
	struct wheel_node *node = &wheel->nodes[id];
	struct wheel_pack *pack;
	uint64_t *word, bit;
	uint32_t *slot;

	node->key = key;
	if (key <= wheel->last) {
		heap_insert(&wheel->near, id, key);
		return;
	}
	slot = wheel_slot(wheel, key, &word, &bit);
	if (*slot == 0 || wheel->packs[*slot].count == WHEEL_PACK)
		*slot = wheel_pack_new(wheel, *slot);
	pack = &wheel->packs[*slot];
	node->pack = *slot;
	node->state = WHEEL_FAR + pack->count;
	pack->ids[pack->count++] = id;
	*word |= bit;
	wheel->far_count++;
}

/* 'id' is present. */
static inline void wheel_remove(struct wheel *wheel, uint32_t id)
{
	struct wheel_node *node = &wheel->nodes[id];
	struct wheel_pack *first;
	uint64_t *word, bit;
	uint32_t *slot, moved;

	if (!(node->state & WHEEL_FAR)) {
		heap_remove(&wheel->near, id);
		return;
	}
	/* The last of the slot's first pack takes its place. */
	slot = wheel_slot(wheel, node->key, &word, &bit);
	first = &wheel->packs[*slot];
	moved = first->ids[--first->count];
	if (moved != id) {
		wheel->packs[node->pack].ids[node->state - WHEEL_FAR] = moved;
		wheel->nodes[moved].pack = node->pack;
		wheel->nodes[moved].state = node->state;
	}
	node->state = 0;
	wheel->far_count--;
	if (first->count == 0) {
		const uint32_t next = first->next;

		wheel_pack_free(wheel, *slot);
		*slot = next;
		if (next == 0)
			*word &= ~bit;
	}
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
