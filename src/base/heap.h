/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heap.h - 4-ary min-heap of (64-bit key, id)
 *
 * Keys lie inside the heap, so that ordering touches nothing else; the four
 * children of a node share one cache line.  For removal by id, where an id
 * stands is kept in 'place', an array that the caller provides, zeroed: heaps
 * of which an id is in at most one at a time may share it.  A heap without
 * one only gives out its least, and may have an id several times.
 * Pure.  Only heap_reserve allocates.
 */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include <stdbool.h>
#include <stdint.h>

struct heap_entry {
	uint64_t key;
	uint32_t id;
	uint32_t unused;
};

struct heap {
	struct heap_entry *entries;	/* entries[3] is the top */
	uint32_t *place;		/* of an id: index + 1; 0: absent */
	uint32_t count, capacity;
};

/* The top lies in front of the cache line of its children: at 64 n + 48. */
#define HEAP_TOP	3U

/* Room for 'capacity' ids.  Returns 0 or -ENOMEM, and then nothing changed. */
int heap_reserve(struct heap *heap, uint32_t capacity);
void heap_finish(struct heap *heap);	/* 'place' remains the caller's */

static inline struct heap_entry *heap_at(const struct heap *heap, uint32_t i)
{
	return &heap->entries[i + HEAP_TOP];
}

/* This and what removes or changes by id needs places. */
static inline bool heap_contains(const struct heap *heap, uint32_t id)
{
	return heap->place[id] != 0;
}

/* UINT64_MAX if the heap is empty. */
static inline uint64_t heap_key(const struct heap *heap)
{
	return heap->count ? heap_at(heap, 0)->key : UINT64_MAX;
}

static inline void heap_put(struct heap *heap, uint32_t i, uint64_t key,
			    uint32_t id)
{
	struct heap_entry *entry = heap_at(heap, i);

	entry->key = key;
	entry->id = id;
	if (heap->place)
		heap->place[id] = i + 1;
}

/* Move up the hole at 'i' until (key, id) fits, and put it there. */
static inline void heap_rise(struct heap *heap, uint32_t i, uint64_t key,
			     uint32_t id)
{
	while (i > 0) {
		const uint32_t parent = (i - 1) / 4;
		const struct heap_entry *above = heap_at(heap, parent);

		if (above->key <= key)
			break;
		heap_put(heap, i, above->key, above->id);
		i = parent;
	}
	heap_put(heap, i, key, id);
}

/* Move down the hole at 'i' until (key, id) fits, and put it there. */
static inline void heap_sink(struct heap *heap, uint32_t i, uint64_t key,
			     uint32_t id)
{
	for (;;) {
		const uint32_t first = 4 * i + 1;
		const struct heap_entry *child;
		uint32_t least = first;

		if (first >= heap->count)
			break;
		child = heap_at(heap, first);
		if (first + 3 < heap->count) {
			const uint32_t a = child[1].key < child[0].key;
			const uint32_t b = 2 + (child[3].key < child[2].key);

			least += child[b].key < child[a].key ? b : a;
		} else {
			for (uint32_t k = 1; first + k < heap->count; k++)
				if (child[k].key < heap_at(heap, least)->key)
					least = first + k;
		}
		child = heap_at(heap, least);
		if (key <= child->key)
			break;
		heap_put(heap, i, child->key, child->id);
		i = least;
	}
	heap_put(heap, i, key, id);
}

/* 'id' is absent and there is room. */
static inline void heap_insert(struct heap *heap, uint32_t id, uint64_t key)
{
	heap_rise(heap, heap->count++, key, id);
}

/* 'id' is present: give it another key. */
static inline void heap_change(struct heap *heap, uint32_t id, uint64_t key)
{
	const uint32_t i = heap->place[id] - 1;

	if (key < heap_at(heap, i)->key)
		heap_rise(heap, i, key, id);
	else
		heap_sink(heap, i, key, id);
}

/* Take out the least and return its id; there is one. */
static inline uint32_t heap_pop(struct heap *heap)
{
	const uint32_t id = heap_at(heap, 0)->id;
	const struct heap_entry last = *heap_at(heap, --heap->count);

	if (heap->place)
		heap->place[id] = 0;
	if (heap->count > 0)
		heap_sink(heap, 0, last.key, last.id);
	return id;
}

/* 'id' is present. */
static inline void heap_remove(struct heap *heap, uint32_t id)
{
	const uint32_t i = heap->place[id] - 1;
	const struct heap_entry last = *heap_at(heap, --heap->count);

	heap->place[id] = 0;
	if (last.id == id)
		return;
	if (i > 0 && last.key < heap_at(heap, (i - 1) / 4)->key)
		heap_rise(heap, i, last.key, last.id);
	else
		heap_sink(heap, i, last.key, last.id);
}

#endif
