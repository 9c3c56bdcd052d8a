/* SPDX-License-Identifier: Apache-2.0 */
/*
 * member-replay.c - a device's state from its log
 *
 * Each record must be possible after those before it; one that is not was
 * written by a fault of ours, and the device is refused.
 */
#include "pool/member.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int impossible(struct error *reterr, const struct format_record *record,
		      const char *why)
{
	static const char *const names[FORMAT_KINDS] = {
		[FORMAT_VOLUME] = "VOLUME",
		[FORMAT_VOLUME_MEMBER] = "VOLUME_MEMBER",
		[FORMAT_VOLUME_DELETE] = "VOLUME_DELETE",
		[FORMAT_MAP] = "MAP",
		[FORMAT_UNMAP] = "UNMAP",
		[FORMAT_OPEN] = "OPEN",
		[FORMAT_CLEAN] = "CLEAN",
		[FORMAT_BAD] = "BAD",
	};

	return error_set(
		reterr, -EUCLEAN,
		"its log says what cannot be (%s of volume %u, index %u, extent %u, %u long: %s): run 'penstock pool check'",
		names[record->kind], record->volume, record->index,
		record->extent, record->count, why);
}

static bool in_device(const struct member *member,
		      const struct format_record *record)
{
	return record->extent < member->super.extent_count &&
		record->count <= member->super.extent_count - record->extent;
}

/* ---- volumes ---- */

static int replay_volume(struct member *member,
			 const struct format_record *record,
			 struct error *reterr)
{
	struct member_volume *volume = member->volumes[record->volume];
	struct member_volume *same = member_find(member, &record->is->uuid);

	if (same != volume)
		return impossible(reterr, record,
				  volume ? "the number is another volume's" :
					   "the volume has a number already");
	if (volume) {
		volume->is = *record->is;
		return 0;
	}
	volume = calloc(1, sizeof(*volume));
	if (!volume)
		return error_set(reterr, -ENOMEM, "out of memory");
	volume->is = *record->is;
	volume->id = record->volume;
	volume->table = &volume->own;
	member->volumes[volume->id] = volume;
	member->volume_count++;
	return 0;
}

static void unmap(struct member *member, struct table *table, uint32_t index)
{
	const uint32_t entry = table_get(table, index);

	table_set(table, index, 0);
	member_unref(member,
		     (entry & TABLE_NUMBER) - member->config.first_number);
}

static void unmap_run(struct member *member, struct table *table,
		      uint32_t first, uint32_t count)
{
	uint64_t end = (uint64_t)first + count;
	uint32_t index = first;

	if (end > table->count)
		end = table->count;
	while ((index = table_next(table, index, (uint32_t)end)) < end)
		unmap(member, table, index++);
}

/* ---- extents ---- */

static int replay_state(struct member *member,
			const struct format_record *record,
			enum space_state state, struct error *reterr)
{
	struct space *space = &member->space;
	enum space_state old;

	if (!in_device(member, record))
		return impossible(reterr, record, "beyond the device");
	old = space_get(space, record->extent);
	if (old != SPACE_TAKEN && record->count == 1) {
		space_change(space, record->extent, old, state);
		return 0;
	}
	if (space_has(space, SPACE_TAKEN, record->extent, record->count))
		return impossible(reterr, record, "it is in use");
	space_set(space, record->extent, record->count, state);
	return 0;
}

/* What is free may become bad, and what is bad is told again. */
static int replay_bad(struct member *member, const struct format_record *record,
		      struct error *reterr)
{
	struct space *space = &member->space;

	if (!in_device(member, record))
		return impossible(reterr, record, "beyond the device");
	for (uint32_t i = 0; i < record->count; i++) {
		const uint32_t extent = record->extent + i;

		if (space_get(space, extent) == SPACE_TAKEN &&
		    !space_is_bad(space, extent))
			return impossible(reterr, record, "it is in use");
		if (space_set_bad(space, extent) < 0)
			return error_set(reterr, -ENOMEM, "out of memory");
	}
	return 0;
}

static int map_one(struct member *member, struct member_volume *volume,
		   const struct format_record *record, uint32_t i,
		   struct error *reterr)
{
	const uint32_t extent = record->extent + i, index = record->index + i;
	const uint32_t number = member->config.first_number + extent;
	const enum space_state state = space_get(&member->space, extent);
	struct table *table = volume->table;
	const uint32_t old = table_get(table, index);
	const uint32_t doubt =
		record->flags & FORMAT_MAP_MOVING ? TABLE_PENDING : 0;

	volume->has_doubts |= doubt != 0;
	if ((old & TABLE_NUMBER) == number) {
		table_set(table, index, number | doubt);
		return 0;
	}
	if (old && !(record->flags & FORMAT_MAP_REPLACE))
		return impossible(reterr, record, "the index is mapped");
	if (state == SPACE_CLEAN)
		return impossible(reterr, record, "the extent is not open");
	if (state == SPACE_TAKEN) {
		if (!(record->flags & FORMAT_MAP_SHARED) ||
		    space_is_bad(&member->space, extent))
			return impossible(reterr, record,
					  "the extent is in use");
		if (member_ref(member, extent) < 0)
			return error_set(reterr, -ENOMEM, "out of memory");
	} else {
		space_change(&member->space, extent, state, SPACE_TAKEN);
	}
	if (old)
		unmap(member, table, index);
	table_set(table, index, number | doubt);
	return 0;
}

/* At least for 'end' entries, and for all of the volume at once. */
static int make_room(struct member_volume *volume, uint32_t end)
{
	uint32_t size;

	if (end <= volume->table->count)
		return 0;
	size = format_extents(volume->is.size_bytes);
	return table_resize(volume->table, end > size ? end : size);
}

static int replay_map(struct member *member, const struct format_record *record,
		      struct error *reterr)
{
	struct member_volume *volume = member->volumes[record->volume];
	int rc = 0;

	if (!volume)
		return impossible(reterr, record, "there is no such volume");
	if (!in_device(member, record))
		return impossible(reterr, record, "beyond the device");
	if (record->index + record->count > FORMAT_EXTENTS_MAX)
		return impossible(reterr, record, "beyond any volume");
	if (make_room(volume, record->index + record->count) < 0)
		return error_set(reterr, -ENOMEM, "out of memory");
	for (uint32_t i = 0; i < record->count && rc == 0; i++)
		rc = map_one(member, volume, record, i, reterr);
	return rc;
}

void member_expect(const struct member *member, const unsigned char *block,
		   const struct format_header *header)
{
	struct format_record map;
	uint32_t at = 0;

	while (format_map_next(block, header, &at, &map)) {
		space_expect(&member->space, map.extent);
		if (map.volume <= FORMAT_VOLUMES_MAX &&
		    member->volumes[map.volume])
			table_expect(member->volumes[map.volume]->table,
				     map.index);
	}
}

int member_replay(void *arg, const struct format_record *record,
		  struct error *reterr)
{
	struct member *member = arg;
	struct member_volume *volume = NULL;

	if (record->kind <= FORMAT_UNMAP)
		volume = member->volumes[record->volume];
	switch ((enum format_kind)record->kind) {
	case FORMAT_VOLUME:
		return replay_volume(member, record, reterr);
	case FORMAT_VOLUME_MEMBER:
		if (!volume)
			return impossible(reterr, record,
					  "there is no such volume");
		if (record->flags & FORMAT_MEMBER_LEFT)
			member_volume_drop_member(volume, record->uuid);
		else if (member_volume_add_member(volume, record->uuid) < 0)
			return error_set(reterr, -ENOMEM, "out of memory");
		return 0;
	case FORMAT_VOLUME_DELETE:
		if (!volume)
			return 0;
		unmap_run(member, volume->table, 0, volume->table->count);
		member_remove_volume(member, volume);
		return 0;
	case FORMAT_MAP:
		return replay_map(member, record, reterr);
	case FORMAT_UNMAP:
		if (volume)
			unmap_run(member, volume->table, record->index,
				  record->count);
		return 0;
	case FORMAT_OPEN:
		return replay_state(member, record, SPACE_OPEN, reterr);
	case FORMAT_CLEAN:
		return replay_state(member, record, SPACE_CLEAN, reterr);
	case FORMAT_BAD:
		return replay_bad(member, record, reterr);
	case FORMAT_KINDS:
		break;
	}
	return impossible(reterr, record, "no such record");
}
