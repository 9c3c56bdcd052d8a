/* SPDX-License-Identifier: Apache-2.0 */
/* volume-write.c - first writes: see volume.h */
#include "pool/volume.h"

#include <errno.h>

#include "base/container.h"

#define MOVES_MAX	8U	/* of one write, from bad extents to others */

/* Ask again. */
static void woken(struct pool_wait *wait, int result)
{
	struct volume_alloc *alloc =
		container_of(wait, struct volume_alloc, wait);

	alloc->done(alloc, result);
}

static int wait_for(struct volume *volume, struct volume_alloc *alloc)
{
	alloc->wait.woken = woken;
	volume_wait(volume, alloc->index, &alloc->wait);
	return VOLUME_WAIT;
}

/* ---- it is written elsewhere ---- */

static void end(struct volume_alloc *alloc, int result)
{
	struct volume *volume = alloc->volume;
	const uint32_t index = alloc->index;

	alloc->done(alloc, result);
	volume_wake(volume, index, 0);
}

/* The place is given up. */
static void unmapped(struct log_entry *entry, int result)
{
	struct volume_alloc *alloc =
		container_of(entry, struct volume_alloc, entry);
	struct volume *volume = alloc->volume;

	if (result < 0) {
		volume->is_closed = true;
		volume->is_in_doubt = true;
		end(alloc, result);
		return;
	}
	volume_set(volume, alloc->index, 0);
	end(alloc, -EAGAIN);
}

/* What a snapshot has too stays where it is.  Another host's device, or another
 * endpoint's, says nothing about a place when it fails. */
static bool can_give_up(const struct volume_alloc *alloc)
{
	const struct volume *volume = alloc->volume;
	const struct member *member =
		pool_member_of(volume->pool, alloc->number);

	return alloc->result == -EIO && alloc->moves < MOVES_MAX &&
		!volume->is_closed && volume->pool->is_local[member->index] &&
		!(table_get(&volume->table, alloc->index) & TABLE_SHARED) &&
		!member_is_shared(member,
				  alloc->number - member->config.first_number);
}

/* Nobody else has written there. */
static void give_up_place(struct volume_alloc *alloc)
{
	struct volume *volume = alloc->volume;
	const uint32_t m = pool_index_of(volume->pool, alloc->number);
	struct member *member = volume->pool->members[m];
	const uint32_t extent = alloc->number - member->config.first_number;

	alloc->moves++;
	alloc->avoid |= UINT64_C(1) << m;
	volume_set(volume, alloc->index, TABLE_PENDING);
	alloc->records[0].kind = FORMAT_UNMAP;
	alloc->entry.count = 1;
	alloc->entry.done = unmapped;
	if (member_condemn(member, extent)) {
		alloc->records[1] = (struct format_record){
			.kind = FORMAT_BAD,
			.extent = extent,
			.count = 1,
		};
		alloc->entry.count = 2;
	} else {
		member_unref(member, extent);
	}
	log_append(&member->log, &alloc->entry);
	member_kick(member);
}

/* ---- first writes ---- */

/* Mapped, and its data written, as far as it tells. */
static void settled(struct volume_alloc *alloc)
{
	struct volume *volume = alloc->volume;
	const uint32_t entry = table_get(&volume->table, alloc->index);

	/* Whether the mapping is there the next start finds out; until then the
	 * index is not mapped anew, and nor is any other. */
	if (alloc->map_result < 0) {
		volume->is_closed = true;
		volume->is_in_doubt = true;
		end(alloc, alloc->map_result);
	} else if (can_give_up(alloc)) {
		give_up_place(alloc);
	} else {
		volume_set(volume, alloc->index, entry & ~TABLE_PENDING);
		end(alloc, alloc->result);
	}
}

/* The data are under way still: to others it is not mapped yet, to its device's
 * log it is. */
static void show(struct volume_alloc *alloc)
{
	struct volume *volume = alloc->volume;

	alloc->is_shown = true;
	alloc->ghost = (struct member_ghost){
		.table = &volume->table,
		.index = alloc->index,
		.from = alloc->number | TABLE_PENDING,
		.entry = alloc->number,
	};
	member_show(pool_member_of(volume->pool, alloc->number), &alloc->ghost);
}

static void mapped(struct log_entry *entry, int result)
{
	struct volume_alloc *alloc =
		container_of(entry, struct volume_alloc, entry);

	alloc->map_result = result;
	if (--alloc->under_way == 0)
		settled(alloc);
	else if (result == 0)
		show(alloc);
}

void volume_wrote(struct volume_alloc *alloc, int result)
{
	struct volume *volume = alloc->volume;

	alloc->result = result;
	if (--alloc->under_way > 0)
		return;
	if (alloc->is_shown)
		member_hide(pool_member_of(volume->pool, alloc->number),
			    &alloc->ghost);
	settled(alloc);
}

static void append_map(struct volume_alloc *alloc)
{
	struct volume *volume = alloc->volume;
	const uint32_t m = pool_index_of(volume->pool, alloc->number);
	struct member *member = volume->pool->members[m];

	alloc->under_way = alloc->tells ? 2 : 1;
	alloc->result = 0;
	alloc->is_shown = false;
	alloc->records[0] = (struct format_record){
		.kind = FORMAT_MAP,
		.volume = volume->parts[m]->id,
		.index = alloc->index,
		.extent = alloc->number - member->config.first_number,
		.count = 1,
	};
	alloc->entry.records = alloc->records;
	alloc->entry.count = 1;
	alloc->entry.done = mapped;
	log_append(&member->log, &alloc->entry);
}

/* The extent behind the one before: what is written in order lies so. */
static uint32_t near_of(const struct volume *volume, uint32_t index)
{
	uint32_t number = 0;

	if (index > 0)
		number = table_get(&volume->table, index - 1) & TABLE_NUMBER;
	return number ? number + 1 : 0;
}

/* Not where it failed before, if there are others. */
static int take(struct volume_alloc *alloc)
{
	struct volume *volume = alloc->volume;
	const uint64_t others =
		volume->joined & ~(alloc->tells ? alloc->avoid : 0);
	const uint32_t near = near_of(volume, alloc->index);
	int rc = -ENOSPC;

	if (others || !volume->joined)
		rc = pool_take(volume->pool, volume, alloc->writer, others,
			       near, &alloc->number);
	if (rc == 0 || rc == -EAGAIN || others == volume->joined)
		return rc;
	return pool_take(volume->pool, volume, alloc->writer, volume->joined,
			 near, &alloc->number);
}

static int first_write(struct volume *volume, uint64_t offset_bytes,
		       struct volume_alloc *alloc,
		       struct volume_place *ret_place)
{
	int rc;

	if (volume->missing)
		return -EIO;
	rc = take(alloc);
	if (rc == -EAGAIN) {
		alloc->wait.woken = woken;
		pool_wait(volume->pool, &alloc->wait);
		return VOLUME_WAIT;
	}
	if (rc < 0)
		return rc;
	volume_set(volume, alloc->index, alloc->number | TABLE_PENDING);
	volume_place_of(volume, alloc->number, offset_bytes, ret_place);
	append_map(alloc);
	return VOLUME_PLACED;
}

/* It is marked as shared. */
static int shared_write(struct volume *volume, uint64_t offset_bytes,
			struct volume_alloc *alloc,
			struct volume_place *ret_place)
{
	const uint32_t number =
		table_get(&volume->table, alloc->index) & TABLE_NUMBER;
	struct member *member = pool_member_of(volume->pool, number);
	int rc;

	if (volume_is_copying(volume, alloc->index))
		return wait_for(volume, alloc);
	if (!member_is_shared(member, number - member->config.first_number)) {
		/* The other one has gone. */
		volume_set(volume, alloc->index, number);
		volume_place_of(volume, number, offset_bytes, ret_place);
		return VOLUME_READY;
	}
	/* A copy may end before we could wait for it: then ask again. */
	rc = volume_copy(volume, alloc->index, alloc->writer);
	if (rc == -EAGAIN) {
		alloc->wait.woken = woken;
		pool_wait(volume->pool, &alloc->wait);
		return VOLUME_WAIT;
	}
	if (rc < 0)
		return rc;
	if (volume_is_copying(volume, alloc->index))
		return wait_for(volume, alloc);
	return volume_write(volume, offset_bytes, alloc, ret_place);
}

int volume_write(struct volume *volume, uint64_t offset_bytes,
		 struct volume_alloc *alloc, struct volume_place *ret_place)
{
	const uint64_t index = offset_bytes >> FORMAT_EXTENT_SHIFT;
	uint32_t entry;

	if (volume->is.flags & FORMAT_VOLUME_SNAPSHOT)
		return -EROFS;
	if (volume->is_closed)
		return -EIO;
	if (index >= volume->extent_count)
		return -EINVAL;
	alloc->volume = volume;
	alloc->index = (uint32_t)index;
	entry = table_get(&volume->table, alloc->index);
	if (entry & TABLE_PENDING)
		return volume_is_doubted(volume, alloc->index) ?
			-EIO :
			wait_for(volume, alloc);
	if (!entry)
		return first_write(volume, offset_bytes, alloc, ret_place);
	if (entry & TABLE_SHARED)
		return shared_write(volume, offset_bytes, alloc, ret_place);
	volume_place_of(volume, entry, offset_bytes, ret_place);
	return VOLUME_READY;
}
