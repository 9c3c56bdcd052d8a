/* SPDX-License-Identifier: Apache-2.0 */
/*
 * volume-unmap.c - extents given back
 *
 * Run by run (consecutive indexes on one device), some at a time.  An entry is
 * zero and pending until its UNMAP is written, so that nobody maps the index
 * anew, perhaps on another device, before.
 */
#include "pool/volume.h"

#include <assert.h>
#include <errno.h>

#include "base/container.h"

static void go_on(struct volume_unmap *unmap);

/* Whatever came of what it waited for. */
static void woken(struct pool_wait *wait, int result)
{
	(void)result;
	go_on(container_of(wait, struct volume_unmap, wait));
}

static void unmapped(struct log_entry *entry, int result)
{
	struct volume_unmap_run *run =
		container_of(entry, struct volume_unmap_run, entry);
	struct volume_unmap *unmap = run->unmap;
	struct volume *volume = unmap->volume;
	const uint32_t first = run->record.index;
	const uint32_t count = run->record.count;

	/* Who may be mapped still is not mapped anew: see volume-write.c. */
	if (result < 0) {
		unmap->result = result;
		volume->is_closed = true;
		volume->is_in_doubt = true;
	}
	for (uint32_t i = 0; i < count && result == 0; i++)
		volume_set(volume, first + i, 0);
	for (uint32_t i = 0; i < count && i < VOLUME_BUCKETS; i++)
		volume_wake(volume, first + i, 0);
	if (--unmap->under_way == 0)
		go_on(unmap);
}

/* How many from 'first' on are on the same device, and settled. */
static uint32_t run_length(const struct volume_unmap *unmap, uint32_t first)
{
	const struct volume *volume = unmap->volume;
	const struct table *table = &volume->table;
	const struct member *member = pool_member_of(
		volume->pool, table_get(table, first) & TABLE_NUMBER);
	uint32_t count = 1;

	while (first + count < unmap->end && count < TABLE_GROUP) {
		const uint32_t entry = table_get(table, first + count);

		if (entry & TABLE_PENDING ||
		    !member_has_number(member, entry & TABLE_NUMBER) ||
		    (entry & TABLE_SHARED &&
		     volume_is_copying(volume, first + count)))
			break;
		count++;
	}
	return count;
}

static void unmap_run(struct volume_unmap *unmap, struct volume_unmap_run *run,
		      uint32_t first, uint32_t count)
{
	struct volume *volume = unmap->volume;
	const uint32_t m = pool_index_of(
		volume->pool, table_get(&volume->table, first) & TABLE_NUMBER);
	struct member *member = volume->pool->members[m];

	for (uint32_t i = first; i < first + count; i++) {
		const uint32_t number =
			table_get(&volume->table, i) & TABLE_NUMBER;

		volume_set(volume, i, TABLE_PENDING);
		member_unref(member, number - member->config.first_number);
	}
	run->unmap = unmap;
	run->record = (struct format_record){
		.kind = FORMAT_UNMAP,
		.volume = volume->parts[m]->id,
		.index = first,
		.count = count,
	};
	run->entry.records = &run->record;
	run->entry.count = 1;
	run->entry.done = unmapped;
	unmap->under_way++;
	log_append(&member->log, &run->entry);
	/* The scrubber waits for all that was appended before it looked. */
	member_kick(member);
}

/* Returns false when 'unmap' waits for somebody. */
static bool begin_runs(struct volume_unmap *unmap)
{
	struct volume *volume = unmap->volume;
	const struct table *table = &volume->table;

	for (uint32_t r = 0; r < VOLUME_RUNS; r++) {
		const uint32_t first = table_next(table, unmap->at, unmap->end);
		uint32_t count, entry;

		unmap->at = first;
		if (first >= unmap->end)
			break;
		entry = table_get(table, first);
		if (entry & TABLE_PENDING && volume_is_doubted(volume, first)) {
			unmap->at = first + 1;
			continue;
		}
		if (entry & TABLE_PENDING && volume->is_in_doubt) {
			unmap->result = -EIO;
			break;
		}
		if (entry & TABLE_PENDING ||
		    (entry & TABLE_SHARED &&
		     volume_is_copying(volume, first))) {
			if (r > 0)
				break;
			unmap->wait.woken = woken;
			volume_wait(volume, first, &unmap->wait);
			return false;
		}
		count = run_length(unmap, first);
		unmap->at = first + count;
		unmap_run(unmap, &unmap->runs[r], first, count);
	}
	return true;
}

/* Nothing is under way. */
static void go_on(struct volume_unmap *unmap)
{
	do {
		unmap->under_way = 1;
		if (!begin_runs(unmap))
			return;
		if (--unmap->under_way > 0)
			return;
	} while (unmap->at < unmap->end && unmap->result == 0);
	unmap->done(unmap, unmap->result);
}

void volume_unmap(struct volume *volume, uint32_t first, uint32_t count,
		  struct volume_unmap *unmap)
{
	assert(first + count <= volume->table.count);
	unmap->volume = volume;
	unmap->at = first;
	unmap->end = first + count;
	unmap->result = 0;
	go_on(unmap);
}
