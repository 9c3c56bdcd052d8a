/* SPDX-License-Identifier: Apache-2.0 */
/*
 * member-super.c - flushes that are shared, and changes of the superblock
 *
 * A change is written to one copy, flushed, then to the other, flushed.  The
 * copy that holds now is written last: whatever happens to the first write, it
 * is still there.
 */
#include "pool/member.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/container.h"

/* ---- flushes ---- */

static void begin_flush(struct member *member);

static void end_flushes(struct member_flush *list, int result)
{
	while (list) {
		struct member_flush *flush = list;

		list = flush->next;
		flush->done(flush, result);
	}
}

static void flushed(struct block_request *request)
{
	struct member *member =
		container_of(request, struct member, flush_request);
	struct member_flush *done = member->flushing;

	member->flushing = NULL;
	log_flush_end(&member->log, request->result);
	member->is_flushing = false;
	if (member->flush_next)
		begin_flush(member);
	end_flushes(done, request->result);
}

static void begin_flush(struct member *member)
{
	member->is_flushing = true;
	member->flushing = member->flush_next;
	member->flush_next = NULL;
	log_flush_begin(&member->log);
	member->flush_request = (struct block_request){
		.done = flushed,
		.op = BLOCK_FLUSH,
	};
	block_submit(member->config.device, &member->flush_request);
}

void member_flush(struct member *member, struct member_flush *flush)
{
	struct member_flush **end = &member->flush_next;

	if (flush && member->config.is_volatile) {
		flush->done(flush, 0);
		return;
	}
	while (*end)
		end = &(*end)->next;
	if (flush) {
		flush->next = NULL;
		*end = flush;
	}
	if (!member->is_flushing)
		begin_flush(member);
}

/* ---- superblock ---- */

static void begin_change(struct member *member);
static void write_copy(struct member *member);

static void end_change(struct member *member)
{
	struct member_super *change = member->super_changes;
	const int result = member->super_written ? 0 : -EIO;

	if (result == 0)
		member->super = member->super_next;
	/* A copy that was not written is old: it comes first next time. */
	if (!(member->super_written & 1U << member->super_copy))
		member->super_first = member->super_copy;
	member->super_changes = change->next;
	if (member->super_changes)
		begin_change(member);
	change->done(change, result);
}

static void copy_ended(struct member *member, int result)
{
	if (result == 0)
		member->super_written |= 1U << member->super_copy;
	if (member->super_copy != member->super_first) {
		end_change(member);
		return;
	}
	member->super_copy = 1 - member->super_first;
	write_copy(member);
}

static void copy_flushed(struct member_flush *flush, int result)
{
	copy_ended(container_of(flush, struct member, super_flush), result);
}

static void copy_written(struct block_request *request)
{
	struct member *member =
		container_of(request, struct member, super_request);

	if (request->result < 0) {
		copy_ended(member, request->result);
		return;
	}
	member->super_flush.done = copy_flushed;
	member_flush(member, &member->super_flush);
}

static void write_copy(struct member *member)
{
	member->super_request = (struct block_request){
		.done = copy_written,
		.iov = &member->super_iov,
		.iov_count = 1,
		.op = BLOCK_WRITE,
		.offset_bytes = format_super_offset(&member->super_next,
						    member->super_copy),
		.length_bytes = FORMAT_BLOCK_BYTES,
	};
	block_submit(member->config.device, &member->super_request);
}

static void begin_change(struct member *member)
{
	struct member_super *change = member->super_changes;

	member->super_next = member->super;
	change->apply(change, &member->super_next);
	member->super_next.counter++;
	format_super_encode(&member->super_next, member->super_block);
	member->super_iov.iov_base = member->super_block;
	member->super_iov.iov_len = FORMAT_BLOCK_BYTES;
	member->super_written = 0;
	member->super_copy = member->super_first;
	write_copy(member);
}

void member_change_super(struct member *member, struct member_super *change)
{
	struct member_super **end = &member->super_changes;

	while (*end)
		end = &(*end)->next;
	change->next = NULL;
	*end = change;
	if (member->super_changes == change)
		begin_change(member);
}

/* ---- from one area to the other ---- */

static void apply_flip(struct member_super *change, struct format_super *super)
{
	const struct member *member = container_of(change, struct member, flip);

	super->area = member->flip_area;
	super->epoch = member->flip_epoch;
	super->synced_blocks = member->log.streams[member->flip_area].synced;
}

static void flip_done(struct member_super *change, int result)
{
	struct member *member = container_of(change, struct member, flip);

	log_flipped(&member->log, result);
}

static void area_flushed(struct member_flush *flush, int result)
{
	struct member *member = container_of(flush, struct member, flip_flush);

	if (result < 0) {
		log_flipped(&member->log, result);
		return;
	}
	member->flip.apply = apply_flip;
	member->flip.done = flip_done;
	member_change_super(member, &member->flip);
}

void member_flip(struct log *log, uint32_t area, uint64_t epoch)
{
	struct member *member = container_of(log, struct member, log);

	member->flip_area = area;
	member->flip_epoch = epoch;
	member->flip_flush.done = area_flushed;
	member_flush(member, &member->flip_flush);
}
