/* SPDX-License-Identifier: Apache-2.0 */
/* heap.c - see heap.h */
#include "base/heap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int heap_reserve(struct heap *heap, uint32_t capacity)
{
	const size_t line = 64;
	size_t size;
	struct heap_entry *entries;

	if (capacity <= heap->capacity)
		return 0;
	size = (capacity + HEAP_TOP) * sizeof(*entries);
	size = (size + line - 1) / line * line;
	entries = aligned_alloc(line, size);
	if (!entries)
		return -ENOMEM;
	if (heap->count > 0)
		memcpy(&entries[HEAP_TOP], heap_at(heap, 0),
		       heap->count * sizeof(*entries));
	free(heap->entries);
	heap->entries = entries;
	heap->capacity = capacity;
	return 0;
}

void heap_finish(struct heap *heap)
{
	free(heap->entries);
	heap->entries = NULL;
	heap->count = 0;
	heap->capacity = 0;
}
