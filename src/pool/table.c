/* SPDX-License-Identifier: Apache-2.0 */
/* table.c - see table.h */
#include "pool/table.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static size_t bytes_of(uint32_t count)
{
	return ((size_t)count * sizeof(uint32_t) + 4095) & ~(size_t)4095;
}

static uint32_t groups_of(uint32_t count)
{
	return (count + TABLE_GROUP - 1) / TABLE_GROUP;
}

int table_init(struct table *table, uint32_t count)
{
	memset(table, 0, sizeof(*table));
	return table_resize(table, count);
}

void table_finish(struct table *table)
{
	if (table->entries)
		munmap(table->entries, bytes_of(table->count));
	free(table->groups);
	memset(table, 0, sizeof(*table));
}

/* What lies beyond 'count' is zero afterwards. */
static void cut(struct table *table, uint32_t count)
{
	uint32_t index = count;

	while ((index = table_next(table, index, table->count)) < table->count)
		table_set(table, index, 0);
}

static void *map_more(struct table *table, uint32_t count)
{
	if (!table->entries)
		return mmap(NULL, bytes_of(count), PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return mremap(table->entries, bytes_of(table->count), bytes_of(count),
		      MREMAP_MAYMOVE);
}

int table_resize(struct table *table, uint32_t count)
{
	const size_t had = groups_of(table->count), has = groups_of(count);
	uint16_t *groups;
	void *entries;

	if (count == 0) {
		table_finish(table);
		return 0;
	}
	groups = calloc(has, sizeof(*groups));
	if (!groups)
		return -ENOMEM;
	if (count < table->count)
		cut(table, count);
	entries = map_more(table, count);
	if (entries == MAP_FAILED) {
		free(groups);
		return -ENOMEM;
	}
	if (had)
		memcpy(groups, table->groups,
		       (had < has ? had : has) * sizeof(*groups));
	free(table->groups);
	table->groups = groups;
	table->entries = entries;
	table->count = count;
	return 0;
}

#define STRIDE	16U	/* entries looked at together: a line of the cache */

static bool is_empty(const uint32_t *entries)
{
	uint32_t any = 0;

	for (uint32_t i = 0; i < STRIDE; i++)
		any |= entries[i];
	return any == 0;
}

uint32_t table_next(const struct table *table, uint32_t from, uint32_t end)
{
	while (from < end) {
		if (table->groups[from / TABLE_GROUP] == 0)
			from = (from / TABLE_GROUP + 1) * TABLE_GROUP;
		else if (from % STRIDE == 0 && from + STRIDE <= end &&
			 is_empty(&table->entries[from]))
			from += STRIDE;
		else if (table->entries[from] == 0)
			from++;
		else
			return from;
	}
	return end;
}
