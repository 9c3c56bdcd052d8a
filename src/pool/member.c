/* SPDX-License-Identifier: Apache-2.0 */
/* member.c - a device is opened: see member.h */
#include "pool/member.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/container.h"
#include "pool/foreign.h"
#include "pool/pages.h"

#define EDGE_BYTES	(UINT64_C(1) << 20)	/* zero if it is blank */

struct member_open {
	struct member *member;
	void (*done)(void *arg, int result, const struct error *error);
	void *arg;
	struct error error;
	struct replay replay;
	struct block_request request;
	struct iovec iov;
	unsigned char *buffer;		/* EDGE_BYTES */
	void (*then)(struct member_open *open, int result);
	struct format_super supers[FORMAT_COPIES];
	int found[FORMAT_COPIES];	/* 0: 'supers' has it */
	const char *foreign;		/* what else the start looks like */
	unsigned int shift;		/* where copy 2 is looked for */
	struct member_super change;
	struct log_entry entry;
	struct format_record record;
};

/* ---- ends ---- */

static void free_open(struct member *member)
{
	struct member_open *open = member->open;

	if (!open)
		return;
	replay_finish(&open->replay);
	pages_unmap(open->buffer, EDGE_BYTES);
	free(open);
	member->open = NULL;
}

static void end(struct member_open *open, int result)
{
	struct member *member = open->member;
	void (*done)(void *arg, int result, const struct error *error) =
		open->done;
	void *arg = open->arg;
	struct error error = open->error;

	member->is_ready = result == 0;
	free_open(member);
	done(arg, result, &error);
}

static void read_ended(struct block_request *request)
{
	struct member_open *open =
		container_of(request, struct member_open, request);

	open->then(open, request->result);
}

static void read_at(struct member_open *open, uint64_t offset_bytes,
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
		end(open,
		    error_set(&open->error, result,
			      "%s: its log cannot be written: %s",
			      member->config.name, strerror(-result)));
		return;
	}
	if (open->record.count)
		space_set(&member->space, open->record.extent,
			  open->record.count, SPACE_CLEAN);
	end(open, 0);
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
		end(open,
		    error_set(&open->error, result,
			      "%s: its superblock cannot be written: %s",
			      member->config.name, strerror(-result)));
		return;
	}
	if (space_grow(&member->space, member->super.extent_count) < 0 ||
	    log_init(&member->log, &config) < 0) {
		end(open,
		    error_set(&open->error, -ENOMEM, "%s: out of memory",
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
	const uint64_t capacity = open->member->config.capacity_bytes;

	super->generation++;
	if (super->generation == 1)
		super->epoch = super->generation << 32;
	if (capacity > super->capacity_bytes) {
		super->capacity_bytes = capacity;
		super->extent_count = format_extents(capacity);
	}
}

static void acquire(struct member_open *open)
{
	struct member *member = open->member;

	if (member->config.is_read_only) {
		end(open, 0);
		return;
	}
	open->change.apply = apply_owner;
	open->change.done = acquired;
	member_change_super(member, &open->change);
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

static void replayed(void *arg, int result, const struct error *error)
{
	struct member_open *open = arg;
	struct member *member = open->member;

	if (result < 0) {
		end(open,
		    error_set(&open->error, result, "%s: %s",
			      member->config.name, error->text));
		return;
	}
	member->found_blocks = open->replay.used;
	forget_open(member);
	acquire(open);
}

static int replay_record(void *arg, const struct format_record *record,
			 struct error *reterr)
{
	const struct member_open *open = arg;

	return member_replay(open->member, record, reterr);
}

static void replay(struct member_open *open)
{
	const struct replay_config config = {
		.device = open->member->config.device,
		.super = &open->member->super,
		.record = replay_record,
		.done = replayed,
		.arg = open,
	};
	int rc = replay_start(&open->replay, &config);

	if (rc < 0)
		end(open,
		    error_set(&open->error, rc, "%s: out of memory",
			      open->member->config.name));
}

/* ---- the superblock is known ---- */

/* Is there room for what the superblock, or the configuration, says? */
static int check_size(struct member *member, struct error *reterr)
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

static void begin(struct member_open *open)
{
	struct member *member = open->member;
	int rc = check_size(member, &open->error);

	if (rc == 0 &&
	    space_init(&member->space, member->super.extent_count) < 0)
		rc = error_set(&open->error, -ENOMEM, "%s: out of memory",
			       member->config.name);
	if (rc < 0)
		end(open, rc);
	else
		replay(open);
}

static void take_super(struct member_open *open)
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
		end(open,
		    error_set(
			    &open->error, -ESTALE,
			    "%s: it is another device of a pool than the one that was here: put that one back, or accept this one",
			    member->config.name));
		return;
	}
	begin(open);
}

/* ---- blank: claim ---- */

static uint64_t capacity_of(const struct member *member)
{
	const struct member_config *config = &member->config;
	const uint64_t device_bytes = config->device->size_bytes;

	if (config->capacity_bytes)
		return config->capacity_bytes;
	if (!config->metadata_bytes)
		return format_capacity_bytes(device_bytes);
	if (device_bytes < config->metadata_bytes)
		return 0;
	return (device_bytes - config->metadata_bytes) &
		~(FORMAT_EXTENT_BYTES - 1);
}

static void claimed(struct member_super *change, int result)
{
	struct member_open *open =
		container_of(change, struct member_open, change);
	struct member *member = open->member;

	if (result < 0)
		end(open,
		    error_set(&open->error, result,
			      "%s: its superblock cannot be written: %s",
			      member->config.name, strerror(-result)));
	else
		acquired(change, 0);
}

static void claim(struct member_open *open)
{
	struct member *member = open->member;
	const struct member_config *config = &member->config;
	struct format_super *super = &member->super;
	const uint64_t capacity = capacity_of(member);
	int rc;

	if (!config->may_claim || config->is_read_only) {
		end(open,
		    error_set(&open->error, -ENODATA,
			      "%s: it is blank: nothing was ever kept there",
			      config->name));
		return;
	}
	*super = (struct format_super){
		.uuid = config->uuid,
		.version = FORMAT_VERSION,
		.capacity_bytes = capacity,
		.extent_count = format_extents(capacity),
		.metadata_bytes = config->metadata_bytes ?
			config->metadata_bytes :
			format_metadata_bytes(capacity),
	};
	super->area_blocks = config->area_blocks ?
		config->area_blocks :
		format_area_blocks(super->metadata_bytes);
	rc = capacity ? check_size(member, &open->error) :
			error_set(&open->error, -ENOSPC,
				  "%s: %" PRIu64
				  " bytes are too few for a pool's device",
				  config->name, config->device->size_bytes);
	if (rc == 0 && space_init(&member->space, 0) < 0)
		rc = error_set(&open->error, -ENOMEM, "%s: out of memory",
			       config->name);
	if (rc < 0) {
		end(open, rc);
		return;
	}
	open->change.apply = apply_owner;
	open->change.done = claimed;
	member_change_super(member, &open->change);
}

static void end_was_read(struct member_open *open, int result)
{
	struct member *member = open->member;

	if (result == 0 && format_is_zero(open->buffer, open->iov.iov_len))
		claim(open);
	else
		end(open,
		    error_set(
			    &open->error, result < 0 ? result : -ENOMSG,
			    "%s: its start is blank, its end %s: wipe it if nobody needs it, or take another",
			    member->config.name,
			    result < 0 ? "cannot be read" : "is not"));
}

static void start_was_read(struct member_open *open, int result)
{
	struct member *member = open->member;
	const uint64_t size = member->config.device->size_bytes;
	const uint64_t edge = open->iov.iov_len;

	if (result < 0) {
		end(open,
		    error_set(&open->error, result, "%s: it cannot be read: %s",
			      member->config.name, strerror(-result)));
		return;
	}
	if (!format_is_zero(open->buffer, edge)) {
		end(open,
		    error_set(
			    &open->error, -ENOMSG,
			    "%s: it holds %s: wipe it if nobody needs that, or take another",
			    member->config.name,
			    foreign_name(open->buffer, edge)));
		return;
	}
	read_at(open, size - edge, edge, end_was_read);
}

static void no_super(struct member_open *open)
{
	struct member *member = open->member;
	const uint64_t size = member->config.device->size_bytes;

	for (uint32_t copy = 0; copy < FORMAT_COPIES; copy++) {
		if (open->found[copy] != -EBADMSG && open->found[copy] != -EIO)
			continue;
		end(open,
		    error_set(
			    &open->error,
			    open->found[copy] == -EIO ? -EIO : -EUCLEAN,
			    "%s: its superblock is %s and no copy of it is there: restore the device from a backup, or replace it",
			    member->config.name,
			    open->found[copy] == -EIO ? "unreadable" :
							"damaged"));
		return;
	}
	read_at(open, 0, size < EDGE_BYTES ? size : EDGE_BYTES, start_was_read);
}

/* ---- looking for superblocks ---- */

static void look_for_second(struct member_open *open);

/* Returns true when the device is newer, and refused. */
static bool decode(struct member_open *open, uint32_t copy, int result)
{
	struct error why;
	int rc = result;

	if (rc == 0)
		rc = format_super_decode(open->buffer, &open->supers[copy],
					 &why);
	if (rc == 0 && copy == 1 &&
	    open->supers[1].metadata_bytes !=
		    open->request.offset_bytes + FORMAT_BLOCK_BYTES)
		rc = -ENOMSG;
	if (rc == -EPROTONOSUPPORT) {
		end(open,
		    error_set(&open->error, rc, "%s: %s",
			      open->member->config.name, why.text));
		return true;
	}
	open->found[copy] = rc;
	return false;
}

static void second_was_read(struct member_open *open, int result)
{
	if (decode(open, 1, result))
		return;
	if (open->found[1] == 0 || open->found[0] == 0)
		take_super(open);
	else
		look_for_second(open);
}

/* It is at the end of the metadata, whose length the first one says. */
static void look_for_second(struct member_open *open)
{
	const uint64_t size = open->member->config.device->size_bytes;
	uint64_t metadata_bytes = open->supers[0].metadata_bytes;

	if (open->found[0] < 0)
		metadata_bytes = UINT64_C(1) << open->shift++;
	/* Not further than where it can be: beyond lie guests' data. */
	if (metadata_bytes > size ||
	    (open->found[0] < 0 &&
	     metadata_bytes > format_metadata_bytes(size))) {
		if (open->found[0] == 0)
			begin(open); /* it says that it has shrunk */
		else
			no_super(open);
		return;
	}
	read_at(open, metadata_bytes - FORMAT_BLOCK_BYTES, FORMAT_BLOCK_BYTES,
		second_was_read);
}

static void first_was_read(struct member_open *open, int result)
{
	if (decode(open, 0, result))
		return;
	open->found[1] = -ENODATA;
	open->shift = FORMAT_METADATA_SHIFT_MIN;
	if (open->found[0] == 0)
		open->member->super = open->supers[0];
	look_for_second(open);
}

/* ---- life ---- */

/* Nothing is kept: all is there and empty. */
static void open_volatile(struct member_open *open)
{
	struct member *member = open->member;
	const struct member_config *config = &member->config;
	struct format_super *super = &member->super;
	const struct log_config log_config = {
		.ops = &member_log_ops,
		.super = super,
	};

	*super = (struct format_super){
		.uuid = config->uuid,
		.version = FORMAT_VERSION,
		.generation = 1,
		.capacity_bytes = config->capacity_bytes ?
			config->capacity_bytes :
			config->device->size_bytes,
	};
	super->extent_count = format_extents(super->capacity_bytes);
	if (super->extent_count > config->most_extents ||
	    space_init(&member->space, super->extent_count) < 0 ||
	    log_init(&member->log, &log_config) < 0) {
		end(open,
		    error_set(&open->error, -ENOMEM, "%s: out of memory",
			      config->name));
		return;
	}
	space_set(&member->space, 0, super->extent_count, SPACE_OPEN);
	end(open, 0);
}

int member_open(const struct member_config *config,
		void (*done)(void *arg, int result, const struct error *error),
		void *arg, struct member **ret_member)
{
	struct member *member = calloc(1, sizeof(*member));
	struct member_open *open = calloc(1, sizeof(*open));

	if (!member || !open)
		goto err_after_calloc;
	open->buffer = pages_map(EDGE_BYTES);
	if (!open->buffer ||
	    posix_memalign((void **)&member->super_block, FORMAT_BLOCK_BYTES,
			   FORMAT_BLOCK_BYTES) != 0)
		goto err_after_buffer;
	member->config = *config;
	member->open = open;
	open->member = member;
	open->done = done;
	open->arg = arg;
	*ret_member = member;
	if (config->is_volatile)
		open_volatile(open);
	else if (config->device->read_only && !config->is_read_only)
		end(open,
		    error_set(&open->error, -EROFS,
			      "%s: it is read only, and a pool writes",
			      config->name));
	else
		read_at(open, 0, FORMAT_BLOCK_BYTES, first_was_read);
	return 0;

err_after_buffer:
	pages_unmap(open->buffer, EDGE_BYTES);
err_after_calloc:
	free(open);
	free(member);
	return -ENOMEM;
}

void member_destroy(struct member *member)
{
	if (!member)
		return;
	free_open(member);
	for (uint32_t id = 1; id <= FORMAT_VOLUMES_MAX; id++)
		if (member->volumes[id])
			member_remove_volume(member, member->volumes[id]);
	log_finish(&member->log);
	space_finish(&member->space);
	free(member->references);
	free(member->super_block);
	free(member);
}
