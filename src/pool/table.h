/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.h - where each extent of a volume lies
 *
 * An entry is a number that the pool gave an extent of one of its devices, and
 * two bits; zero: nowhere, reads as zeroes.  4 bytes for each MiB of the volume
 * that was ever touched (4 MiB for each TiB): the memory is reserved and not
 * there until it is written to.  For each group of 4096 entries there is a
 * count of those that are not zero, so that what is empty is passed over.
 *
 * Pure but for mmap.
 */
#ifndef POOL_TABLE_H
#define POOL_TABLE_H

#include <assert.h>
#include <stdint.h>

#define TABLE_PENDING	0x80000000U	/* on its way; the log has it soon */
#define TABLE_SHARED	0x40000000U	/* a snapshot may have it too */
#define TABLE_NUMBER	0x3fffffffU
#define TABLE_GROUP	4096U

struct table {
	uint32_t *entries;
	uint16_t *groups;
	uint32_t count;
	uint32_t mapped;	/* entries with a number */
};

/* Returns 0 or -ENOMEM.  'count' may be 0. */
int table_init(struct table *table, uint32_t count);
void table_finish(struct table *table);
/* What is cut off is forgotten; what is new is zero.  The entries may move.
 * Returns 0 or -ENOMEM (nothing has changed). */
int table_resize(struct table *table, uint32_t count);
/* The first index from 'from' on whose entry is not zero, or 'end' or what is
 * beyond: there is none before 'end'. */
uint32_t table_next(const struct table *table, uint32_t from, uint32_t end);

static inline uint32_t table_get(const struct table *table, uint32_t index)
{
	return table->entries[index];
}

/* This one is wanted soon; any index. */
static inline void table_expect(const struct table *table, uint32_t index)
{
	if (index < table->count)
		__builtin_prefetch(&table->entries[index], 1);
}

static inline void table_set(struct table *table, uint32_t index,
			     uint32_t entry)
{
	const uint32_t old = table->entries[index];
	uint16_t *group = &table->groups[index / TABLE_GROUP];

	*group = (uint16_t)(*group + (entry != 0) - (old != 0));
	table->mapped += (entry & TABLE_NUMBER) != 0;
	table->mapped -= (old & TABLE_NUMBER) != 0;
	table->entries[index] = entry;
}

#endif
