/* SPDX-License-Identifier: Apache-2.0 */
/* member.c - a device is opened: see member.h */
#include "pool/member.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/container.h"
#include "pool/foreign.h"
#include "pool/member-open.h"
#include "pool/pages.h"

/* ---- blank: claim ---- */

static void claim(struct member_open *open)
{
	struct member *member = open->member;
	const struct member_config *config = &member->config;
	struct format_super *super = &member->super;
	const uint64_t capacity = member_room(member);
	int rc;

	if (!config->may_claim || config->is_read_only) {
		member_open_end(
			open,
			error_set(
				&open->error, -ENODATA,
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
	rc = capacity ? member_open_check_size(member, &open->error) :
			error_set(&open->error, -ENOSPC,
				  "%s: %" PRIu64
				  " bytes are too few for a pool's device",
				  config->name, config->device->size_bytes);
	if (rc == 0 && space_init(&member->space, 0) < 0)
		rc = error_set(&open->error, -ENOMEM, "%s: out of memory",
			       config->name);
	if (rc < 0) {
		member_open_end(open, rc);
		return;
	}
	member_open_acquire(open);
}

static void end_was_read(struct member_open *open, int result)
{
	struct member *member = open->member;

	if (result == 0 && format_is_zero(open->buffer, open->iov.iov_len))
		claim(open);
	else
		member_open_end(
			open,
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
		member_open_end(open,
				error_set(&open->error, result,
					  "%s: it cannot be read: %s",
					  member->config.name,
					  strerror(-result)));
		return;
	}
	if (!format_is_zero(open->buffer, edge)) {
		member_open_end(
			open,
			error_set(
				&open->error, -ENOMSG,
				"%s: it holds %s: wipe it if nobody needs that, or take another",
				member->config.name,
				foreign_name(open->buffer, edge)));
		return;
	}
	member_open_read(open, size - edge, edge, end_was_read);
}

static void no_super(struct member_open *open)
{
	struct member *member = open->member;
	const uint64_t size = member->config.device->size_bytes;

	for (uint32_t copy = 0; copy < FORMAT_COPIES; copy++) {
		if (open->found[copy] != -EBADMSG && open->found[copy] != -EIO)
			continue;
		member_open_end(
			open,
			error_set(
				&open->error,
				open->found[copy] == -EIO ? -EIO : -EUCLEAN,
				"%s: its superblock is %s and no copy of it is there: restore the device from a backup, or replace it",
				member->config.name,
				open->found[copy] == -EIO ? "unreadable" :
							    "damaged"));
		return;
	}
	member_open_read(open, 0,
			 size < MEMBER_EDGE_BYTES ? size : MEMBER_EDGE_BYTES,
			 start_was_read);
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
		member_open_end(open,
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
		member_open_take_super(open);
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
			member_open_begin(open); /* it says: shrunk */
		else
			no_super(open);
		return;
	}
	member_open_read(open, metadata_bytes - FORMAT_BLOCK_BYTES,
			 FORMAT_BLOCK_BYTES, second_was_read);
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

/* ---- the log's steps ---- */

/* Behind all other pollers of the round in which something was appended. */
static unsigned int make_step(struct loop_poller *poller, uint64_t now_ns)
{
	struct member *member = container_of(poller, struct member, stepper);

	(void)now_ns;
	loop_poller_remove(member->config.loop, poller);
	log_step(&member->log);
	return 1;
}

static uint64_t arm_step(struct loop_poller *poller, uint64_t now_ns)
{
	(void)poller;
	(void)now_ns;
	return 0;
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
		member_open_end(open,
				error_set(&open->error, -ENOMEM,
					  "%s: out of memory", config->name));
		return;
	}
	space_set(&member->space, 0, super->extent_count, SPACE_OPEN);
	member_open_end(open, 0);
}

int member_open(const struct member_config *config,
		void (*done)(void *arg, int result, const struct error *error),
		void *arg, struct member **ret_member)
{
	struct member *member = calloc(1, sizeof(*member));
	struct member_open *open = calloc(1, sizeof(*open));

	if (!member || !open)
		goto err_after_calloc;
	open->buffer = pages_map(MEMBER_EDGE_BYTES);
	if (!open->buffer ||
	    posix_memalign((void **)&member->super_block, FORMAT_BLOCK_BYTES,
			   FORMAT_BLOCK_BYTES) != 0)
		goto err_after_buffer;
	member->config = *config;
	member->stepper.poll = make_step;
	member->stepper.arm = arm_step;
	member->open = open;
	open->member = member;
	open->done = done;
	open->arg = arg;
	*ret_member = member;
	if (config->is_volatile)
		open_volatile(open);
	else if (config->device->read_only && !config->is_read_only)
		member_open_end(
			open,
			error_set(&open->error, -EROFS,
				  "%s: it is read only, and a pool writes",
				  config->name));
	else
		member_open_read(open, 0, FORMAT_BLOCK_BYTES, first_was_read);
	return 0;

err_after_buffer:
	pages_unmap(open->buffer, MEMBER_EDGE_BYTES);
err_after_calloc:
	free(open);
	free(member);
	return -ENOMEM;
}

void member_destroy(struct member *member)
{
	if (!member)
		return;
	member_open_free(member);
	if (member->stepper.link)
		loop_poller_remove(member->config.loop, &member->stepper);
	for (uint32_t id = 1; id <= FORMAT_VOLUMES_MAX; id++)
		if (member->volumes[id])
			member_remove_volume(member, member->volumes[id]);
	log_finish(&member->log);
	space_finish(&member->space);
	free(member->references);
	free(member->super_block);
	free(member);
}
