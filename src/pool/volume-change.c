/* SPDX-License-Identifier: Apache-2.0 */
/*
 * volume-change.c - volumes are made, grow, shrink and go
 *
 *	create	settle
 *	grow	settle, then it is longer
 *	shrink	zero the last extent's rest, flush, settle, unmap
 *	delete	closed, settle as being deleted, unmap, forget
 *
 * Entered again after a crash at what the logs say: too much is unmapped, who
 * is being deleted is deleted.
 */
#include "pool/volume.h"

#include <errno.h>
#include <string.h>

#include "base/container.h"
#include "pool/evacuate.h"

static void begin_change(struct volume *volume, struct volume_change *change)
{
	volume->is_changing = true;
	volume->change = change;
	volume->result = 0;
}

void volume_end_change(struct volume *volume, int result)
{
	struct volume_change *change = volume->change;
	struct pool *pool = volume->pool;

	volume->change = NULL;
	volume->is_changing = false;
	/* A device has come meanwhile. */
	for (uint32_t m = 0; m < pool->member_count; m++)
		if (result == 0 && !volume->parts[m] &&
		    !pool->members[m]->is_out)
			volume_go_on(volume);
	evacuate_kick(pool);
	pool_leave_kick(pool);
	if (change)
		change->done(change, result);
}

/* ---- create ---- */

static int check_config(struct pool *pool, const struct volume_config *config)
{
	if (config->size_bytes == 0 ||
	    format_extents(config->size_bytes) >= FORMAT_EXTENTS_MAX ||
	    strlen(config->name) >= FORMAT_NAME_MAX ||
	    format_uuid_is_zero(&config->uuid))
		return -EINVAL;
	if (volume_find(pool, &config->uuid) ||
	    volume_find_name(pool, config->name))
		return -EEXIST;
	if (config->is_thick &&
	    pool_unpromised(pool) < format_extents(config->size_bytes))
		return -ENOSPC;
	for (uint32_t m = 0; m < pool->member_count; m++)
		if (!pool->members[m]->is_out)
			return 0;
	return -ENODEV;
}

int volume_prepare(struct pool *pool, const struct volume_config *config,
		   uint32_t flags, struct volume_change *change,
		   struct volume **ret_volume)
{
	struct format_volume is = {
		.uuid = config->uuid,
		.size_bytes = config->size_bytes,
		.version = 1,
		.flags = flags | (config->is_thick ? FORMAT_VOLUME_THICK : 0),
	};
	struct volume *volume;
	int rc = check_config(pool, config);

	if (rc < 0)
		return rc;
	memcpy(is.name, config->name, strlen(config->name));
	rc = volume_make(pool, &is, &volume);
	if (rc < 0)
		return rc;
	volume->extent_count = format_extents(is.size_bytes);
	rc = table_init(&volume->table, volume->extent_count);
	if (rc < 0) {
		volume_free(volume);
		return rc;
	}
	volume_reserve(volume);
	pool_look(pool);
	begin_change(volume, change);
	*ret_volume = volume;
	return 0;
}

int volume_create(struct pool *pool, const struct volume_config *config,
		  struct volume_change *change, struct volume **ret_volume)
{
	int rc = volume_prepare(pool, config, 0, change, ret_volume);

	if (rc == 0)
		volume_settle(*ret_volume, volume_end_change);
	return rc;
}

/* ---- resize ---- */

static void trimmed(struct volume_unmap *unmap, int result)
{
	struct volume *volume = container_of(unmap, struct volume, trim);

	volume_end_change(volume, result);
}

/* What lies beyond the end. */
static void trim(struct volume *volume, int result)
{
	const uint32_t end = volume->extent_count;

	volume->old_bytes = 0;
	volume_reserve(volume);
	if (result < 0 || volume->table.count <= end) {
		volume_end_change(volume, result);
		return;
	}
	volume->trim.done = trimmed;
	volume_unmap(volume, end, volume->table.count - end, &volume->trim);
}

static void grown(struct volume *volume, int result)
{
	if (result == 0) {
		volume->extent_count = format_extents(volume->is.size_bytes);
		volume_reserve(volume);
		pool_look(volume->pool);
	}
	volume_end_change(volume, result);
}

static void set_size(struct volume *volume, uint64_t size_bytes)
{
	volume->is.size_bytes = size_bytes;
	volume->is.version++;
}

static int grow(struct volume *volume, uint64_t size_bytes,
		struct volume_change *change)
{
	const uint32_t extents = format_extents(size_bytes);

	if (volume->is.flags & FORMAT_VOLUME_THICK &&
	    pool_unpromised(volume->pool) < extents - volume->extent_count)
		return -ENOSPC;
	if (volume->table.count < extents &&
	    table_resize(&volume->table, extents) < 0)
		return -ENOMEM;
	begin_change(volume, change);
	set_size(volume, size_bytes);
	volume_settle(volume, grown);
	return 0;
}

/* ---- shrink: the rest of the last extent ---- */

/* Or not: then it is as long as it was. */
static void rest_is_zero(struct volume *volume, int result)
{
	if (result == 0) {
		volume_settle(volume, trim);
		return;
	}
	volume->is.size_bytes = volume->old_bytes;
	volume->is.version--;
	volume->extent_count = format_extents(volume->old_bytes);
	volume->old_bytes = 0;
	volume_reserve(volume);
	volume_end_change(volume, result);
}

static void zeroes_flushed(struct member_flush *flush, int result)
{
	rest_is_zero(container_of(flush, struct volume, zero_flush), result);
}

/* On stable storage before any log says that the volume is shorter. */
static void zeroed(struct block_request *request)
{
	struct volume *volume = container_of(request, struct volume, zero);

	member_leave(volume->zero_member, volume->zero_parity);
	if (request->result < 0) {
		rest_is_zero(volume, request->result);
		return;
	}
	volume->zero_flush.done = zeroes_flushed;
	member_flush(volume->zero_member, &volume->zero_flush);
}

static void zero_rest(struct volume *volume);

static void ask_again(struct volume_alloc *alloc, int result)
{
	struct volume *volume = container_of(alloc, struct volume, zero_alloc);

	if (result < 0)
		rest_is_zero(volume, result);
	else
		zero_rest(volume);
}

/* Who grows again must not see what was there.  If nothing is mapped nothing
 * needs to be zeroed, and a shared one is copied first. */
static void zero_rest(struct volume *volume)
{
	const uint64_t size = volume->is.size_bytes;
	const uint64_t used = size & (FORMAT_EXTENT_BYTES - 1);
	struct volume_place place;
	int rc;

	if (used == 0 ||
	    table_get(&volume->table, volume->extent_count - 1) == 0) {
		rest_is_zero(volume, 0);
		return;
	}
	volume->zero_alloc.done = ask_again;
	rc = volume_write(volume, size, &volume->zero_alloc, &place);
	if (rc == VOLUME_WAIT)
		return;
	if (rc < 0) {
		rest_is_zero(volume, rc);
		return;
	}
	volume->zero = (struct block_request){
		.done = zeroed,
		.op = BLOCK_WRITE_ZEROES,
		.offset_bytes = place.offset_bytes,
		.length_bytes = FORMAT_EXTENT_BYTES - used,
	};
	volume->zero_member = place.member;
	volume->zero_parity = member_enter(place.member);
	block_submit(place.member->config.device, &volume->zero);
}

int volume_resize(struct volume *volume, uint64_t size_bytes,
		  struct volume_change *change)
{
	if (volume->is_changing || volume->is_closed)
		return -EBUSY;
	if (volume->is.flags & FORMAT_VOLUME_SNAPSHOT)
		return -EROFS;
	if (size_bytes == 0 || format_extents(size_bytes) >= FORMAT_EXTENTS_MAX)
		return -EINVAL;
	/* What it has beyond the end would be there when it grows again. */
	if (size_bytes < volume->is.size_bytes && volume->missing)
		return -ENOTCONN;
	if (size_bytes >= volume->is.size_bytes)
		return grow(volume, size_bytes, change);
	begin_change(volume, change);
	volume->old_bytes = volume->is.size_bytes;
	set_size(volume, size_bytes);
	volume->extent_count = format_extents(size_bytes);
	zero_rest(volume);
	return 0;
}

/* ---- delete ---- */

static void forgotten(struct volume *volume, int result)
{
	struct volume_change *change = volume->change;
	struct pool *pool = volume->pool;

	if (result == 0)
		volume_free(volume);
	else
		volume->is_changing = false;
	evacuate_kick(pool);
	pool_leave_kick(pool);
	if (change)
		change->done(change, result);
}

static void emptied(struct volume_unmap *unmap, int result)
{
	struct volume *volume = container_of(unmap, struct volume, trim);

	if (result < 0)
		forgotten(volume, result);
	else
		volume_forget(volume, forgotten);
}

static void marked(struct volume *volume, int result)
{
	if (result < 0) {
		forgotten(volume, result);
		return;
	}
	volume->trim.done = emptied;
	volume_unmap(volume, 0, volume->table.count, &volume->trim);
}

static void delete (struct volume *volume, struct volume_change *change)
{
	begin_change(volume, change);
	volume->is_closed = true;
	volume_reserve(volume);
	volume->is.flags |= FORMAT_VOLUME_DELETING;
	volume->is.version++;
	volume_settle(volume, marked);
}

int volume_delete(struct volume *volume, struct volume_change *change)
{
	if (volume->is_changing)
		return -EBUSY;
	if (volume->missing)
		return -ENOTCONN;
	delete (volume, change);
	return 0;
}

/* ---- at start ---- */

void volume_settle_again(struct volume *volume)
{
	begin_change(volume, NULL);
	volume_settle(volume, volume_end_change);
}

void volume_go_on(struct volume *volume)
{
	const uint32_t half_done =
		FORMAT_VOLUME_CREATING | FORMAT_VOLUME_DELETING;

	if (volume->is_changing)
		return;
	if (volume->is.flags & half_done && !volume->missing) {
		delete (volume, NULL);
		return;
	}
	if (volume->is.flags & half_done)
		volume->is_closed = true;
	begin_change(volume, NULL);
	volume_settle(volume, trim);
}
