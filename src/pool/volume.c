/* SPDX-License-Identifier: Apache-2.0 */
/* volume.c - see volume.h; volumes, their tables, and who waits for an index */
#include "pool/volume.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct volume *volume_find(const struct pool *pool,
			   const struct format_uuid *uuid)
{
	for (struct volume *volume = pool->volumes; volume;
	     volume = volume->next)
		if (format_uuid_equal(&volume->is.uuid, uuid))
			return volume;
	return NULL;
}

struct volume *volume_find_name(const struct pool *pool, const char *name)
{
	for (struct volume *volume = pool->volumes; volume;
	     volume = volume->next)
		if (strcmp(volume->is.name, name) == 0)
			return volume;
	return NULL;
}

int volume_make(struct pool *pool, const struct format_volume *is,
		struct volume **ret_volume)
{
	struct volume *volume = calloc(1, sizeof(*volume));
	struct volume **end = &pool->volumes;

	if (!volume)
		return -ENOMEM;
	volume->pool = pool;
	volume->is = *is;
	while (*end)
		end = &(*end)->next;
	*end = volume;
	*ret_volume = volume;
	return 0;
}

void volume_free(struct volume *volume)
{
	struct pool *pool = volume->pool;
	struct volume **link = &pool->volumes;

	while (*link != volume)
		link = &(*link)->next;
	*link = volume->next;
	pool->reserved -= volume->reserved;
	volume_free_doubts(volume);
	table_finish(&volume->table);
	free(volume->settle);
	free(volume->share);
	free(volume);
}

/* ---- the table ---- */

/* What a thick one has not mapped yet is kept for it. */
void volume_reserve(struct volume *volume)
{
	/* While it shrinks it may have to stay as long as it was. */
	const uint32_t extents = volume->old_bytes ?
		format_extents(volume->old_bytes) :
		volume->extent_count;
	uint64_t reserved = 0;

	if (volume->is.flags & FORMAT_VOLUME_THICK && !volume->is_closed &&
	    extents > volume->table.mapped)
		reserved = extents - volume->table.mapped;
	volume->pool->reserved += reserved - volume->reserved;
	volume->reserved = reserved;
}

void volume_set(struct volume *volume, uint32_t index, uint32_t entry)
{
	const uint32_t old = table_get(&volume->table, index) & TABLE_NUMBER;
	const uint32_t number = entry & TABLE_NUMBER;

	if (old)
		volume->mapped_on[pool_index_of(volume->pool, old)]--;
	if (number)
		volume->mapped_on[pool_index_of(volume->pool, number)]++;
	table_set(&volume->table, index, entry);
	if (old == number)
		return;
	/* A copy takes space, too. */
	volume_reserve(volume);
	pool_look(volume->pool);
}

enum volume_where volume_read(const struct volume *volume,
			      uint64_t offset_bytes, uint64_t length_bytes,
			      struct volume_place *ret_place,
			      uint64_t *ret_bytes)
{
	const uint32_t index = (uint32_t)(offset_bytes >> FORMAT_EXTENT_SHIFT);
	const uint64_t left = FORMAT_EXTENT_BYTES -
		(offset_bytes & (FORMAT_EXTENT_BYTES - 1));
	const uint32_t number = table_get(&volume->table, index) & TABLE_NUMBER;

	*ret_bytes = length_bytes < left ? length_bytes : left;
	if (number) {
		volume_place_of(volume, number, offset_bytes, ret_place);
		return VOLUME_MAPPED;
	}
	return volume->missing ? VOLUME_MISSING : VOLUME_ZERO;
}

bool volume_map_two(const struct volume *volume, uint64_t offset_bytes,
		    uint64_t length_bytes, bool is_write,
		    struct volume_place *ret_place)
{
	const uint64_t next_bytes =
		(offset_bytes | (FORMAT_EXTENT_BYTES - 1)) + 1;
	const uint64_t rest_bytes = offset_bytes + length_bytes - next_bytes;
	struct volume_place next;

	if (offset_bytes + length_bytes <= next_bytes ||
	    rest_bytes > FORMAT_EXTENT_BYTES)
		return false;
	return volume_map(volume, offset_bytes, next_bytes - offset_bytes,
			  is_write, ret_place) &&
		volume_map(volume, next_bytes, rest_bytes, is_write, &next) &&
		next.member == ret_place->member &&
		next.offset_bytes - ret_place->offset_bytes ==
		next_bytes - offset_bytes;
}

/* ---- waiting for an index ---- */

uint64_t volume_devices(const struct volume *volume)
{
	const struct pool *pool = volume->pool;
	uint64_t devices = 0;

	for (uint32_t m = 0; m < pool->member_count; m++)
		if (volume->parts[m] && !pool->members[m]->is_out)
			devices |= UINT64_C(1) << m;
	return devices;
}

void volume_wait(struct volume *volume, uint32_t index, struct pool_wait *wait)
{
	struct pool_wait **end = &volume->waiting[index % VOLUME_BUCKETS];

	while (*end)
		end = &(*end)->next;
	wait->next = NULL;
	wait->index = index;
	*end = wait;
}

bool volume_unwait(struct volume *volume, uint32_t index,
		   struct pool_wait *wait)
{
	struct pool_wait **link = &volume->waiting[index % VOLUME_BUCKETS];

	while (*link && *link != wait)
		link = &(*link)->next;
	if (!*link)
		return false;
	*link = wait->next;
	return true;
}

/* Any of them may go while another one is woken. */
void pool_wake_index(struct pool *pool, uint32_t index)
{
	const uint64_t wake = ++pool->index_wakes;
	struct volume *volume = pool->volumes;

	while (volume) {
		if (volume->woken >= wake ||
		    !volume->waiting[index % VOLUME_BUCKETS]) {
			volume = volume->next;
			continue;
		}
		volume->woken = wake;
		volume_wake(volume, index, 0);
		volume = pool->volumes;
	}
}

/* Those of other indexes of the bucket ask in vain, and wait again. */
void volume_wake(struct volume *volume, uint32_t index, int result)
{
	struct pool_wait **bucket = &volume->waiting[index % VOLUME_BUCKETS];
	struct pool_wait *list = *bucket;

	*bucket = NULL;
	while (list) {
		struct pool_wait *wait = list;

		list = wait->next;
		wait->woken(wait, wait->index == index ? result : 0);
	}
}
