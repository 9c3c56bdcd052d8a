/* SPDX-License-Identifier: Apache-2.0 */
/* volume-write.c - first writes: see volume.h */
#include "pool/volume.h"

#include <errno.h>

#include "base/container.h"

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

static void mapped(struct log_entry *entry, int result)
{
	struct volume_alloc *alloc =
		container_of(entry, struct volume_alloc, entry);
	struct volume *volume = alloc->volume;
	const uint32_t index = alloc->index;
	const uint32_t now = table_get(&volume->table, index) & ~TABLE_PENDING;

	/* Whether the mapping is there the next start finds out; until then the
	 * index is not mapped anew, and nor is any other. */
	if (result == 0)
		volume_set(volume, index, now);
	else
		volume->is_closed = true;
	alloc->done(alloc, result);
	volume_wake(volume, index, 0);
}

static void append_map(struct volume_alloc *alloc)
{
	struct volume *volume = alloc->volume;
	const uint32_t m = pool_index_of(volume->pool, alloc->number);
	struct member *member = volume->pool->members[m];

	alloc->record = (struct format_record){
		.kind = FORMAT_MAP,
		.volume = volume->parts[m]->id,
		.index = alloc->index,
		.extent = alloc->number - member->config.first_number,
		.count = 1,
	};
	alloc->entry.records = &alloc->record;
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

static int first_write(struct volume *volume, uint64_t offset_bytes,
		       struct volume_alloc *alloc,
		       struct volume_place *ret_place)
{
	int rc;

	if (volume->missing)
		return -EIO;
	rc = pool_take(volume->pool, volume, alloc->writer, volume->joined,
		       near_of(volume, alloc->index), &alloc->number);
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
		return wait_for(volume, alloc);
	if (!entry)
		return first_write(volume, offset_bytes, alloc, ret_place);
	if (entry & TABLE_SHARED)
		return shared_write(volume, offset_bytes, alloc, ret_place);
	volume_place_of(volume, entry, offset_bytes, ret_place);
	return VOLUME_READY;
}
