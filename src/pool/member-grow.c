/* SPDX-License-Identifier: Apache-2.0 */
/*
 * member-grow.c - a device that has become larger
 *
 * First the superblock says so, on stable storage: no record may be about an
 * extent that it doesn't know.  What is new is dirty, and scrubbed like all
 * that is.
 */
#include "pool/member.h"

#include "base/container.h"

uint64_t member_room(const struct member *member)
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

/* That a checkpoint and the numbers have room for. */
static uint64_t most_bytes(const struct member *member)
{
	const uint64_t area_blocks = member->super.area_blocks;
	uint64_t extents =
		area_blocks > 2 ? (area_blocks - 2) * FORMAT_SLOTS : 0;

	if (extents > member->config.most_extents)
		extents = member->config.most_extents;
	return extents << FORMAT_EXTENT_SHIFT;
}

uint64_t member_grown(const struct member *member)
{
	const uint64_t had = member->super.capacity_bytes;
	const uint64_t most = most_bytes(member);
	uint64_t room = member_room(member);

	/* What was configured was checked when it was opened. */
	if (!member->config.capacity_bytes && room > most)
		room = most;
	return room > had ? room : had;
}

static void apply(struct member_super *change, struct format_super *super)
{
	const struct member_grow *grow =
		container_of(change, struct member_grow, change);

	super->capacity_bytes = grow->capacity_bytes;
	super->extent_count = format_extents(grow->capacity_bytes);
}

/* What is new is nobody's until the superblock says that it is there. */
static int make_room(struct member *member, uint32_t extents)
{
	struct space *space = &member->space;
	const uint32_t had = space->extent_count;
	int rc;

	/* It has been tried before. */
	if (had >= extents)
		return 0;
	rc = space_grow(space, extents);
	if (rc == 0)
		space_set(space, had, extents - had, SPACE_TAKEN);
	return rc;
}

static void applied(struct member_super *change, int result)
{
	struct member_grow *grow =
		container_of(change, struct member_grow, change);
	struct member *member = grow->member;

	grow->is_under_way = false;
	if (result == 0)
		space_set(&member->space, grow->had,
			  member->super.extent_count - grow->had, SPACE_DIRTY);
	grow->done(grow, result);
	if (result == 0)
		member_kick(member);
}

bool member_grow(struct member *member, struct member_grow *grow)
{
	const uint64_t capacity_bytes = member_grown(member);

	if (grow->is_under_way || !member->is_ready || member->is_out ||
	    member->config.is_volatile || member->config.is_read_only ||
	    member->log.has_failed ||
	    capacity_bytes == member->super.capacity_bytes)
		return false;
	if (make_room(member, format_extents(capacity_bytes)) < 0)
		return false;
	grow->member = member;
	grow->had = member->super.extent_count;
	grow->capacity_bytes = capacity_bytes;
	grow->change.apply = apply;
	grow->change.done = applied;
	grow->is_under_way = true;
	member_change_super(member, &grow->change);
	return true;
}
