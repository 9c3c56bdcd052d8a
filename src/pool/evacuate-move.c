/* SPDX-License-Identifier: Apache-2.0 */
/*
 * evacuate-move.c - one extent goes to another device: see evacuate.h
 *
 * Between the MAP at the new place and the UNMAP at the old one both logs have
 * the extent and the table names the old place: a ghost shows the new one to
 * its log's checkpoint.  From the MAP on there is no way back: who cannot tell
 * whether it is there, takes no writes before the next start.
 */
#include "pool/evacuate-move.h"

#include <errno.h>
#include <stdlib.h>

#include "base/container.h"
#include "pool/crc32c.h"

static struct member *from_of(const struct evacuate_move *move)
{
	return move->evacuate->from;
}

static struct member *to_of(const struct evacuate_move *move)
{
	return pool_member_of(move->evacuate->pool, move->to);
}

static uint32_t extent_of(const struct member *member, uint32_t number)
{
	return number - member->config.first_number;
}

/* ---- all volumes that have it ---- */

/* The next of those whose entry has 'number'. */
static struct volume *next_sharer(const struct evacuate_move *move,
				  struct volume *volume, uint32_t number)
{
	while (volume &&
	       (move->index >= volume->table.count ||
		(table_get(&volume->table, move->index) & TABLE_NUMBER) !=
			number))
		volume = volume->next;
	return volume;
}

static void set_all(const struct evacuate_move *move, uint32_t from,
		    uint32_t entry)
{
	struct volume *volume = move->evacuate->pool->volumes;

	while ((volume = next_sharer(move, volume, from))) {
		volume_set(volume, move->index, entry);
		volume = volume->next;
	}
}

static uint32_t shared(const struct evacuate_move *move)
{
	return move->sharers > 1 ? TABLE_SHARED : 0;
}

static void close_all(const struct evacuate_move *move)
{
	struct volume *volume = move->evacuate->pool->volumes;

	while ((volume = next_sharer(move, volume, move->from))) {
		volume->is_closed = true;
		volume = volume->next;
	}
}

/* A record for each of them. */
static void append(struct evacuate_move *move, uint32_t number,
		   enum format_kind kind, uint8_t flags,
		   void (*done)(struct log_entry *entry, int result))
{
	struct pool *pool = move->evacuate->pool;
	const uint32_t m = pool_index_of(pool, number);
	struct member *member = pool->members[m];
	struct volume *volume = pool->volumes;
	uint32_t count = 0;

	while ((volume = next_sharer(move, volume, move->from))) {
		move->records[count++] = (struct format_record){
			.kind = (uint8_t)kind,
			.flags = flags,
			.volume = volume->parts[m]->id,
			.index = move->index,
			.extent = extent_of(member, number),
			.count = 1,
		};
		volume = volume->next;
	}
	move->entry.records = move->records;
	move->entry.count = count;
	move->entry.done = done;
	if (kind == FORMAT_UNMAP)
		set_all(move, move->from, move->to | TABLE_SHARED);
	log_append(&member->log, &move->entry);
}

/* ---- the mappings ---- */

/* Whether it is there or not: while the device is leaving, the other one holds.
 * The entries stay marked as shared until here, which keeps writers waiting. */
static void unmapped(struct log_entry *entry, int result)
{
	struct evacuate_move *move =
		container_of(entry, struct evacuate_move, entry);

	(void)result;
	set_all(move, move->to, move->to | shared(move));
	member_kick(from_of(move));
	evacuate_move_ended(move, 0);
}

static void mapping_flushed(struct member_flush *flush, int result)
{
	struct evacuate_move *move =
		container_of(flush, struct evacuate_move, flush);
	struct member *from = from_of(move);

	member_hide(to_of(move), &move->ghost);
	member_hide(from, &move->doubt);
	if (result < 0) {
		close_all(move);
		evacuate_move_ended(move, result);
		return;
	}
	for (uint32_t i = 0; i < move->sharers; i++)
		member_unref(from, extent_of(from, move->from));
	append(move, move->from, FORMAT_UNMAP, 0, unmapped);
}

static void mapped(struct log_entry *entry, int result)
{
	struct evacuate_move *move =
		container_of(entry, struct evacuate_move, entry);

	if (result < 0) {
		mapping_flushed(&move->flush, result);
		return;
	}
	move->flush.done = mapping_flushed;
	member_flush(to_of(move), &move->flush);
}

/* What was taken may hold some of it: for the scrubber. */
static void failed(struct evacuate_move *move, int result)
{
	struct member *to = to_of(move);

	set_all(move, move->from, move->from | shared(move));
	member_unref(to, extent_of(to, move->to));
	member_kick(to);
	evacuate_move_ended(move, result);
}

static uint8_t map_flags(const struct evacuate_move *move)
{
	return move->sharers > 1 ? FORMAT_MAP_SHARED : 0;
}

static void map(struct evacuate_move *move)
{
	move->ghost = (struct member_ghost){
		.index = move->index,
		.from = move->from,
		.entry = move->to | shared(move),
	};
	member_show(to_of(move), &move->ghost);
	append(move, move->to, FORMAT_MAP, map_flags(move), mapped);
}

/* A device that fails may be unable to write it down: then it is right only
 * where no other device is, as it is leaving. */
static void doubt_flushed(struct member_flush *flush, int result)
{
	(void)result;
	map(container_of(flush, struct evacuate_move, flush));
}

static void doubted(struct log_entry *entry, int result)
{
	struct evacuate_move *move =
		container_of(entry, struct evacuate_move, entry);

	if (result < 0) {
		map(move);
		return;
	}
	move->flush.done = doubt_flushed;
	member_flush(from_of(move), &move->flush);
}

static void doubt(struct evacuate_move *move)
{
	struct member *to = to_of(move);
	const uint32_t extent = extent_of(to, move->to);
	int rc = 0;

	for (uint32_t i = 1; i < move->sharers && rc == 0; i++) {
		rc = member_ref(to, extent);
		for (; rc < 0 && i > 1; i--)
			member_unref(to, extent);
	}
	if (rc < 0) {
		failed(move, rc);
		return;
	}
	move->doubt = (struct member_ghost){
		.index = move->index,
		.from = move->from,
		.entry = move->from,
		.flags = FORMAT_MAP_MOVING,
	};
	member_show(from_of(move), &move->doubt);
	append(move, move->from, FORMAT_MAP,
	       map_flags(move) | FORMAT_MAP_MOVING, doubted);
}

/* ---- the data ---- */

static void submit(struct evacuate_move *move, enum block_op op,
		   uint32_t number, void (*done)(struct block_request *request))
{
	struct member *member = pool_member_of(move->evacuate->pool, number);

	move->request = (struct block_request){
		.done = done,
		.iov = &move->iov,
		.iov_count = 1,
		.op = (uint8_t)op,
		.offset_bytes =
			member_offset(member, extent_of(member, number)),
		.length_bytes = FORMAT_EXTENT_BYTES,
	};
	if (move->evacuate->config.submit)
		move->evacuate->config.submit(move->evacuate, member,
					      &move->request);
	else
		block_submit(member->config.device, &move->request);
}

static uint32_t checksum(const struct evacuate_move *move)
{
	return crc32c(0, move->iov.iov_base, FORMAT_EXTENT_BYTES);
}

static void was_read_again(struct block_request *request)
{
	struct evacuate_move *move =
		container_of(request, struct evacuate_move, request);

	if (request->result < 0)
		failed(move, request->result);
	else if (checksum(move) != move->crc)
		failed(move, -EBADMSG);
	else
		doubt(move);
}

static void data_flushed(struct member_flush *flush, int result)
{
	struct evacuate_move *move =
		container_of(flush, struct evacuate_move, flush);

	if (result < 0)
		failed(move, result);
	else if (move->evacuate->config.is_unverified)
		doubt(move);
	else
		submit(move, BLOCK_READ, move->to, was_read_again);
}

static void was_written(struct block_request *request)
{
	struct evacuate_move *move =
		container_of(request, struct evacuate_move, request);

	if (request->result < 0) {
		failed(move, request->result);
		return;
	}
	move->flush.done = data_flushed;
	member_flush(to_of(move), &move->flush);
}

static void was_read(struct block_request *request)
{
	struct evacuate_move *move =
		container_of(request, struct evacuate_move, request);

	member_leave(from_of(move), move->parity);
	if (request->result < 0) {
		failed(move, request->result);
		return;
	}
	move->crc = checksum(move);
	submit(move, BLOCK_WRITE, move->to, was_written);
}

static void writes_ended(struct member_grace *grace)
{
	struct evacuate_move *move =
		container_of(grace, struct evacuate_move, grace);

	move->parity = member_enter(from_of(move));
	submit(move, BLOCK_READ, move->from, was_read);
}

void evacuate_move_begin(struct evacuate_move *move)
{
	set_all(move, move->from, move->from | TABLE_SHARED);
	move->records = calloc(move->sharers, sizeof(*move->records));
	if (!move->records) {
		failed(move, -ENOMEM);
		return;
	}
	move->grace.done = writes_ended;
	member_grace(from_of(move), &move->grace);
}
