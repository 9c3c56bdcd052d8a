/* SPDX-License-Identifier: Apache-2.0 */
/* member-open.c - see member-open.h */
#include "pool/member-open.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/container.h"
#include "pool/pages.h"

/* ---- ends ---- */

void member_open_free(struct member *member)
{
	struct member_open *open = member->open;

	if (!open)
		return;
	replay_finish(&open->replay);
	pages_unmap(open->buffer, MEMBER_EDGE_BYTES);
	free(open);
	member->open = NULL;
}

void member_open_end(struct member_open *open, int result)
{
	struct member *member = open->member;
	void (*done)(void *arg, int result, const struct error *error) =
		open->done;
	void *arg = open->arg;
	struct error error = open->error;

	member->is_ready = result == 0;
	member_open_free(member);
	done(arg, result, &error);
}

static void read_ended(struct block_request *request)
{
	struct member_open *open =
		container_of(request, struct member_open, request);

	open->then(open, request->result);
}

void member_open_read(struct member_open *open, uint64_t offset_bytes,
		      uint64_t length_bytes,
		      void (*then)(struct member_open *open, int result))
{
	open->then = then;
	open->iov.iov_base = open->buffer;
	open->iov.iov_len = length_bytes;
	open->request = (struct block_request){
		.done = read_ended,
		.iov = &open->iov,
		.iov_count = 1,
		.op = BLOCK_READ,
		.offset_bytes = offset_bytes,
		.length_bytes = length_bytes,
	};
	block_submit(open->member->config.device, &open->request);
}

/* ---- the log is known: acquire ---- */

static void is_clean(struct log_entry *entry, int result)
{
	struct member_open *open =
		container_of(entry, struct member_open, entry);
	struct member *member = open->member;

	if (result < 0) {
		member_open_end(open,
				error_set(&open->error, result,
					  "%s: its log cannot be written: %s",
					  member->config.name,
					  strerror(-result)));
		return;
	}
	if (open->record.count)
		space_set(&member->space, open->record.extent,
			  open->record.count, SPACE_CLEAN);
	member_open_end(open, 0);
}

static void acquired(struct member_super *change, int result)
{
	struct member_open *open =
		container_of(change, struct member_open, change);
	struct member *member = open->member;
	const uint32_t had = member->space.extent_count;
	const struct log_config config = {
		.ops = &member_log_ops,
		.device = member->config.device,
		.super = &member->super,
		.generation = member->super.generation,
		.used = open->replay.used,
		.crc = open->replay.crc,
		.limit_blocks = member->config.log_limit_blocks,
	};

	if (result < 0) {
		member_open_end(
			open,
			error_set(&open->error, result,
				  "%s: its superblock cannot be written: %s",
				  member->config.name, strerror(-result)));
		return;
	}
	if (space_grow(&member->space, member->super.extent_count) < 0 ||
	    log_init(&member->log, &config) < 0) {
		member_open_end(open,
				error_set(&open->error, -ENOMEM,
					  "%s: out of memory",
					  member->config.name));
		return;
	}
	open->record = (struct format_record){
		.kind = FORMAT_CLEAN,
		.extent = had,
		.count = member->config.is_zeroed ?
			member->super.extent_count - had :
			0,
	};
	open->entry.records = &open->record;
	open->entry.count = open->record.count > 0;
	open->entry.done = is_clean;
	log_append(&member->log, &open->entry);
}

static void apply_owner(struct member_super *change, struct format_super *super)
{
	const struct member_open *open =
		container_of(change, struct member_open, change);
	const uint64_t capacity = member_grown(open->member);

	super->generation++;
	if (super->generation == 1)
		super->epoch = super->generation << 32;
	if (capacity > super->capacity_bytes) {
		super->capacity_bytes = capacity;
		super->extent_count = format_extents(capacity);
	}
}

void member_open_acquire(struct member_open *open)
{
	open->change.apply = apply_owner;
	open->change.done = acquired;
	member_change_super(open->member, &open->change);
}

/* An extent that was open and is not mapped may hold anything. */
static void forget_open(struct member *member)
{
	struct space *space = &member->space;
	uint32_t first;

	while ((first = space_find(space, SPACE_OPEN, 0)) != SPACE_NONE)
		space_set(space, first,
			  space_run(space, SPACE_OPEN, first, UINT32_MAX),
			  SPACE_DIRTY);
}

static void healed(void *arg)
{
	struct member_open *open = arg;

	open->member->counts.healed = open->heal.healed;
	member_open_acquire(open);
}

static void replayed(void *arg, int result, const struct error *error)
{
	struct member_open *open = arg;
	struct member *member = open->member;

	if (result < 0) {
		member_open_end(open,
				error_set(&open->error, result, "%s: %s",
					  member->config.name, error->text));
		return;
	}
	member->found_blocks = open->replay.used;
	member->found_synced = open->replay.synced;
	forget_open(member);
	if (member->config.is_read_only)
		member_open_end(open, 0);
	else
		heal_start(&open->heal, &open->replay, healed, open);
}

static int replay_record(void *arg, const struct format_record *record,
			 struct error *reterr)
{
	const struct member_open *open = arg;

	return member_replay(open->member, record, reterr);
}

static void replay_expect(void *arg, const unsigned char *block,
			  const struct format_header *header)
{
	const struct member_open *open = arg;

	member_expect(open->member, block, header);
}

static void replay(struct member_open *open)
{
	const struct replay_config config = {
		.device = open->member->config.device,
		.super = &open->member->super,
		.record = replay_record,
		.expect = replay_expect,
		.done = replayed,
		.arg = open,
	};
	int rc = replay_start(&open->replay, &config);

	if (rc < 0)
		member_open_end(open,
				error_set(&open->error, rc, "%s: out of memory",
					  open->member->config.name));
}

/* ---- the superblock is known ---- */

int member_open_check_size(struct member *member, struct error *reterr)
{
	const struct member_config *config = &member->config;
	const struct format_super *super = &member->super;
	uint64_t capacity = super->capacity_bytes;
	uint64_t need;

	if (config->capacity_bytes > capacity)
		capacity = config->capacity_bytes;
	if (config->capacity_bytes && config->capacity_bytes < capacity)
		return error_set(
			reterr, -ENOSPC,
			"%s: it holds a pool's device of %" PRIu64
			" bytes and is configured with %" PRIu64
			": configure what it was, devices do not shrink",
			config->name, capacity, config->capacity_bytes);
	need = super->metadata_bytes +
		(uint64_t)format_extents(capacity) * FORMAT_EXTENT_BYTES;
	if (config->device->size_bytes < need)
		return error_set(
			reterr, -ENOSPC,
			"%s: it has %" PRIu64 " bytes and needs %" PRIu64
			": it was shrunk, or is another device; put the right one back",
			config->name, config->device->size_bytes, need);
	if (format_extents(capacity) > config->most_extents ||
	    (capacity > super->capacity_bytes &&
	     super->area_blocks < format_extents(capacity) / FORMAT_SLOTS + 2))
		return error_set(
			reterr, -ENOSPC,
			"%s: it cannot grow to %" PRIu64
			" bytes, its log has no room for so much: take another device into the pool",
			config->name, capacity);
	return 0;
}

void member_open_begin(struct member_open *open)
{
	struct member *member = open->member;
	int rc = member_open_check_size(member, &open->error);

	if (rc == 0 &&
	    space_init(&member->space, member->super.extent_count) < 0)
		rc = error_set(&open->error, -ENOMEM, "%s: out of memory",
			       member->config.name);
	if (rc < 0)
		member_open_end(open, rc);
	else
		replay(open);
}

void member_open_take_super(struct member_open *open)
{
	struct member *member = open->member;
	const struct format_super *supers = open->supers;
	const struct format_uuid *expected = &member->config.expected;
	uint32_t best = 0;

	if (open->found[0] < 0 ||
	    (open->found[1] == 0 && supers[1].counter > supers[0].counter))
		best = 1;
	member->super = supers[best];
	member->super_first = 1 - best;
	if (!format_uuid_is_zero(expected) &&
	    !format_uuid_equal(expected, &member->super.uuid)) {
		member_open_end(
			open,
			error_set(
				&open->error, -ESTALE,
				"%s: it is another device of a pool than the one that was here: put that one back, or accept this one",
				member->config.name));
		return;
	}
	member_open_begin(open);
}
