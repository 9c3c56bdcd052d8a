/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copy.c - a shared extent is copied before it is written to
 *
 *	grace -> read -> write -> flush -> MAP -> the table
 *	                            `-> doubt -> MAP -> flush -> UNMAP --^
 *
 * Writes that began before the extent was shared are still under way to it;
 * the copy must have them.
 *
 * Flushed before it is mapped, or a crash could leave the mapping and not the
 * data.  On the same device one record replaces the mapping; else the old one
 * writes down that the other may have it (doubt.c), the new one maps it, on
 * stable storage, and nobody writes before the old one's UNMAP is there: a crash
 * between finds two that are the same.
 */
#include "pool/volume.h"

#include <errno.h>
#include <stdlib.h>

#include "base/container.h"
#include "pool/evacuate.h"
#include "pool/pages.h"

#define COPIES	4U	/* at a time, with 1 MiB each */

struct volume_copy {
	struct volume *volume;
	struct volume_copy *next;	/* of the volume, or of those idle */
	uint32_t index, from, to;
	uint32_t parity;
	struct block_request request;
	struct iovec iov;
	struct member_flush flush;
	struct member_grace grace;
	struct member_ghost ghost, doubt;
	struct log_entry entry;
	struct format_record record;
};

struct pool_copier {
	struct volume_copy copies[COPIES];
	struct volume_copy *idle;
};

int pool_prepare_copies(struct pool *pool)
{
	struct pool_copier *copier;

	if (pool->copier)
		return 0;
	copier = calloc(1, sizeof(*copier));
	if (!copier)
		return -ENOMEM;
	pool->copier = copier;
	for (uint32_t i = 0; i < COPIES; i++) {
		struct volume_copy *copy = &copier->copies[i];

		copy->iov.iov_len = FORMAT_EXTENT_BYTES;
		copy->iov.iov_base = pages_map(FORMAT_EXTENT_BYTES);
		if (!copy->iov.iov_base) {
			pool_free_copies(pool);
			return -ENOMEM;
		}
		copy->next = copier->idle;
		copier->idle = copy;
	}
	return 0;
}

void pool_free_copies(struct pool *pool)
{
	if (!pool->copier)
		return;
	for (uint32_t i = 0; i < COPIES; i++)
		pages_unmap(pool->copier->copies[i].iov.iov_base,
			    FORMAT_EXTENT_BYTES);
	free(pool->copier);
	pool->copier = NULL;
}

bool volume_is_copying(const struct volume *volume, uint32_t index)
{
	for (const struct volume_copy *copy = volume->copies; copy;
	     copy = copy->next)
		if (copy->index == index)
			return true;
	return evacuate_is_moving(
		volume->pool, table_get(&volume->table, index) & TABLE_NUMBER);
}

bool volume_copying(const struct volume *volume, uint32_t *ret_index)
{
	if (!volume->copies)
		return evacuate_moves_of(volume, ret_index);
	*ret_index = volume->copies->index;
	return true;
}

static struct member *from_of(const struct volume_copy *copy)
{
	return pool_member_of(copy->volume->pool, copy->from);
}

static struct member *to_of(const struct volume_copy *copy)
{
	return pool_member_of(copy->volume->pool, copy->to);
}

static void end(struct volume_copy *copy, int result)
{
	struct volume *volume = copy->volume;
	struct pool *pool = volume->pool;
	struct volume_copy **link = &volume->copies;

	while (*link != copy)
		link = &(*link)->next;
	*link = copy->next;
	copy->next = pool->copier->idle;
	pool->copier->idle = copy;
	if (result == 0)
		volume_set(volume, copy->index, copy->to);
	volume_wake(volume, copy->index, result);
	pool_wake(pool);
}

/* ---- the mapping ---- */

static void replaced(struct log_entry *entry, int result)
{
	struct volume_copy *copy =
		container_of(entry, struct volume_copy, entry);

	/* Which of two devices has it is not known until the next start. */
	if (result < 0)
		copy->volume->is_closed = true;
	end(copy, result);
	member_kick(from_of(copy));
}

static void append(struct volume_copy *copy, uint32_t number,
		   enum format_kind kind, uint8_t flags,
		   void (*done)(struct log_entry *entry, int result))
{
	struct volume *volume = copy->volume;
	const uint32_t m = pool_index_of(volume->pool, number);
	struct member *member = volume->pool->members[m];

	copy->record = (struct format_record){
		.kind = (uint8_t)kind,
		.flags = flags,
		.volume = volume->parts[m]->id,
		.index = copy->index,
		.extent = number - member->config.first_number,
		.count = 1,
	};
	copy->entry.records = &copy->record;
	copy->entry.count = 1;
	copy->entry.done = done;
	log_append(&member->log, &copy->entry);
}

static void let_go(struct volume_copy *copy)
{
	struct member *from = from_of(copy);

	member_unref(from, copy->from - from->config.first_number);
}

static void mapping_flushed(struct member_flush *flush, int result)
{
	struct volume_copy *copy =
		container_of(flush, struct volume_copy, flush);

	member_hide(to_of(copy), &copy->ghost);
	member_hide(from_of(copy), &copy->doubt);
	if (result < 0) {
		copy->volume->is_closed = true;
		end(copy, result);
		return;
	}
	/* The new device has it for good, and the table says so; that it is
	 * shared keeps writers waiting. */
	let_go(copy);
	volume_set(copy->volume, copy->index, copy->to | TABLE_SHARED);
	append(copy, copy->from, FORMAT_UNMAP, 0, replaced);
}

static void mapped_elsewhere(struct log_entry *entry, int result)
{
	struct volume_copy *copy =
		container_of(entry, struct volume_copy, entry);

	if (result < 0) {
		mapping_flushed(&copy->flush, result);
		return;
	}
	copy->flush.done = mapping_flushed;
	member_flush(to_of(copy), &copy->flush);
}

static void map_elsewhere(struct volume_copy *copy)
{
	copy->ghost = (struct member_ghost){
		.table = &copy->volume->table,
		.index = copy->index,
		.from = copy->from,
		.entry = copy->to,
	};
	member_show(to_of(copy), &copy->ghost);
	append(copy, copy->to, FORMAT_MAP, 0, mapped_elsewhere);
}

/* What was taken may hold some of it: for the scrubber. */
static void failed(struct volume_copy *copy, int result)
{
	struct member *to = to_of(copy);

	member_unref(to, copy->to - to->config.first_number);
	end(copy, result);
	member_kick(to);
}

/* ---- the old device does not know any more ---- */

static void doubt_flushed(struct member_flush *flush, int result)
{
	struct volume_copy *copy =
		container_of(flush, struct volume_copy, flush);

	if (result == 0) {
		map_elsewhere(copy);
		return;
	}
	member_hide(from_of(copy), &copy->doubt);
	failed(copy, result);
}

static void doubted(struct log_entry *entry, int result)
{
	struct volume_copy *copy =
		container_of(entry, struct volume_copy, entry);

	if (result < 0) {
		doubt_flushed(&copy->flush, result);
		return;
	}
	copy->flush.done = doubt_flushed;
	member_flush(from_of(copy), &copy->flush);
}

static void map(struct volume_copy *copy)
{
	if (from_of(copy) == to_of(copy)) {
		let_go(copy);
		append(copy, copy->to, FORMAT_MAP, FORMAT_MAP_REPLACE,
		       replaced);
		return;
	}
	copy->doubt = (struct member_ghost){
		.table = &copy->volume->table,
		.index = copy->index,
		.from = copy->from,
		.entry = copy->from,
		.flags = FORMAT_MAP_MOVING,
	};
	member_show(from_of(copy), &copy->doubt);
	append(copy, copy->from, FORMAT_MAP,
	       FORMAT_MAP_SHARED | FORMAT_MAP_MOVING, doubted);
}

/* ---- reading and writing ---- */

static void flushed(struct member_flush *flush, int result)
{
	struct volume_copy *copy =
		container_of(flush, struct volume_copy, flush);

	if (result < 0)
		failed(copy, result);
	else
		map(copy);
}

static void was_written(struct block_request *request)
{
	struct volume_copy *copy =
		container_of(request, struct volume_copy, request);

	if (request->result < 0) {
		failed(copy, request->result);
		return;
	}
	copy->flush.done = flushed;
	member_flush(to_of(copy), &copy->flush);
}

static void submit(struct volume_copy *copy, enum block_op op, uint32_t number,
		   void (*done)(struct block_request *request))
{
	struct volume_place place;

	volume_place_of(copy->volume, number, 0, &place);
	copy->request = (struct block_request){
		.done = done,
		.iov = &copy->iov,
		.iov_count = 1,
		.op = (uint8_t)op,
		.offset_bytes = place.offset_bytes,
		.length_bytes = FORMAT_EXTENT_BYTES,
	};
	block_submit(place.member->config.device, &copy->request);
}

static void was_read(struct block_request *request)
{
	struct volume_copy *copy =
		container_of(request, struct volume_copy, request);

	member_leave(from_of(copy), copy->parity);
	if (request->result < 0)
		failed(copy, request->result);
	else
		submit(copy, BLOCK_WRITE, copy->to, was_written);
}

static void writes_ended(struct member_grace *grace)
{
	struct volume_copy *copy =
		container_of(grace, struct volume_copy, grace);

	copy->parity = member_enter(from_of(copy));
	submit(copy, BLOCK_READ, copy->from, was_read);
}

/* The same device if it has an open extent, or soon. */
static int take(struct volume *volume, const void *writer, uint32_t from,
		uint32_t *ret_number)
{
	const uint32_t m = pool_index_of(volume->pool, from);
	int rc = pool_take(volume->pool, volume, writer, UINT64_C(1) << m, 0,
			   ret_number);

	if (rc == -ENOSPC || rc == -EDQUOT)
		rc = pool_take(volume->pool, volume, writer, volume->joined, 0,
			       ret_number);
	return rc;
}

int volume_copy(struct volume *volume, uint32_t index, const void *writer)
{
	struct pool_copier *copier = volume->pool->copier;
	struct volume_copy *copy;
	uint32_t from, to;
	int rc;

	if (!copier || !copier->idle)
		return copier ? -EAGAIN : -ENOMEM;
	from = table_get(&volume->table, index) & TABLE_NUMBER;
	rc = take(volume, writer, from, &to);
	if (rc < 0)
		return rc;
	copy = copier->idle;
	copier->idle = copy->next;
	copy->volume = volume;
	copy->index = index;
	copy->from = from;
	copy->to = to;
	copy->next = volume->copies;
	volume->copies = copy;
	copy->grace.done = writes_ended;
	member_grace(from_of(copy), &copy->grace);
	return 0;
}
