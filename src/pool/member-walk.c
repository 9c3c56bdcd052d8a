/* SPDX-License-Identifier: Apache-2.0 */
/*
 * member-walk.c - what a device's log is compacted to
 *
 * The walk goes over the extents three times, for what is clean, open and bad,
 * and then over the volumes.  Records about extents always go to the new area:
 * of the two things that it may say too much, "open" of what is mapped by then
 * is made good when the walk comes to the mapping, and "clean" of what has been
 * opened meanwhile is followed by that OPEN.  What is dirty is not written:
 * that is what an extent is of which nothing is said.
 */
#include "pool/member.h"

#include "base/container.h"

enum { PASS_CLEAN, PASS_OPEN, PASS_BAD, PASSES };

static uint32_t walk_worst(struct log *log)
{
	struct member *member = container_of(log, struct member, log);
	const struct space *space = &member->space;
	uint64_t slots = (uint64_t)space->total[SPACE_CLEAN] +
		space->total[SPACE_OPEN] + space->bad_total;

	/* What no table counts. */
	for (const struct member_ghost *ghost = member->ghosts; ghost;
	     ghost = ghost->next)
		slots++;
	for (uint32_t id = 1; id <= FORMAT_VOLUMES_MAX; id++) {
		const struct member_volume *volume = member->volumes[id];

		if (volume)
			slots += volume->table->mapped + FORMAT_SLOTS_MAX +
				2ULL * volume->member_count;
	}
	return (uint32_t)(slots / (FORMAT_SLOTS - FORMAT_SLOTS_MAX)) + 2;
}

static void walk_begin(struct log *log)
{
	struct member *member = container_of(log, struct member, log);

	member->walk = (struct member_walk){0};
}

static uint32_t bad_run(const struct space *space, uint32_t *from)
{
	uint32_t end;

	if (!space->bad)
		return 0;
	while (*from < space->extent_count && !space_is_bad(space, *from))
		(*from)++;
	end = *from;
	while (end < space->extent_count && space_is_bad(space, end))
		end++;
	return end - *from;
}

/* The next run of this pass; 0: it has ended. */
static uint32_t next_run(const struct member *member, uint32_t *ret_first)
{
	const struct member_walk *walk = &member->walk;
	const struct space *space = &member->space;
	const enum space_state state =
		walk->pass == PASS_CLEAN ? SPACE_CLEAN : SPACE_OPEN;

	*ret_first = walk->extent;
	if (walk->extent >= space->extent_count)
		return 0;
	if (walk->pass == PASS_BAD)
		return bad_run(space, ret_first);
	*ret_first = space_find(space, state, walk->extent);
	if (*ret_first == SPACE_NONE || *ret_first < walk->extent)
		return 0;
	return space_run(space, state, *ret_first, UINT32_MAX);
}

static bool walk_extents(struct member *member,
			 struct format_record *ret_record)
{
	static const uint8_t kinds[PASSES] = {
		[PASS_CLEAN] = FORMAT_CLEAN,
		[PASS_OPEN] = FORMAT_OPEN,
		[PASS_BAD] = FORMAT_BAD,
	};
	struct member_walk *walk = &member->walk;

	for (; walk->pass < PASSES; walk->pass++, walk->extent = 0) {
		uint32_t first;
		const uint32_t count = next_run(member, &first);

		if (count == 0)
			continue;
		*ret_record = (struct format_record){
			.kind = kinds[walk->pass],
			.extent = first,
			.count = count,
		};
		walk->extent = first + count;
		return true;
	}
	return false;
}

void member_show(struct member *member, struct member_ghost *ghost)
{
	ghost->next = member->ghosts;
	member->ghosts = ghost;
}

void member_hide(struct member *member, struct member_ghost *ghost)
{
	struct member_ghost **link = &member->ghosts;

	while (*link != ghost)
		link = &(*link)->next;
	*link = ghost->next;
}

/* As this device's log has it. */
static uint32_t entry_of(const struct member *member, const struct table *table,
			 uint32_t index, uint8_t *ret_flags)
{
	const uint32_t entry = table_get(table, index);

	*ret_flags = entry & TABLE_SHARED ? FORMAT_MAP_SHARED : 0;
	for (const struct member_ghost *ghost = member->ghosts; ghost;
	     ghost = ghost->next)
		if (ghost->index == index &&
		    (!ghost->table || ghost->table == table) &&
		    (entry & ~TABLE_SHARED) == ghost->from) {
			*ret_flags |= ghost->flags;
			return ghost->entry | (entry & TABLE_SHARED);
		}
	return entry;
}

/* An entry of this device whose record is written. */
static bool is_settled(const struct member *member, uint32_t entry)
{
	return !(entry & TABLE_PENDING) &&
		member_has_number(member, entry & TABLE_NUMBER);
}

/* The next run of the table's. */
static bool walk_table(struct member *member,
		       const struct member_volume *volume,
		       struct format_record *ret_record)
{
	const struct table *table = volume->table;
	struct member_walk *walk = &member->walk;
	uint32_t index = table_next(table, walk->index, table->count);
	uint32_t entry, count = 1;
	uint8_t flags, next;

	while (index < table->count &&
	       !is_settled(member, entry_of(member, table, index, &flags)))
		index = table_next(table, index + 1, table->count);
	walk->index = index;
	if (index >= table->count)
		return false;
	entry = entry_of(member, table, index, &flags);
	while (index + count < table->count && count < FORMAT_MAP_COUNT_MAX &&
	       entry_of(member, table, index + count, &next) == entry + count &&
	       next == flags && is_settled(member, entry + count))
		count++;
	*ret_record = (struct format_record){
		.kind = FORMAT_MAP,
		.flags = flags,
		.volume = volume->id,
		.index = index,
		.extent = (entry & TABLE_NUMBER) - member->config.first_number,
		.count = count,
	};
	walk->index = index + count;
	return true;
}

static bool walk_volume(struct member *member,
			const struct member_volume *volume,
			struct format_record *ret_record)
{
	struct member_walk *walk = &member->walk;

	*ret_record = (struct format_record){.volume = volume->id};
	if (walk->part == 0) {
		ret_record->kind = FORMAT_VOLUME;
		ret_record->is = &volume->is;
		walk->part = 1;
		return true;
	}
	if (walk->part <= volume->member_count) {
		ret_record->kind = FORMAT_VOLUME_MEMBER;
		ret_record->uuid = &volume->members[walk->part - 1];
		walk->part++;
		return true;
	}
	return walk_table(member, volume, ret_record);
}

static bool walk_next(struct log *log, struct format_record *ret_record)
{
	struct member *member = container_of(log, struct member, log);
	struct member_walk *walk = &member->walk;

	if (walk->volume == 0) {
		if (walk_extents(member, ret_record))
			return true;
		walk->volume = 1;
	}
	while (walk->volume <= FORMAT_VOLUMES_MAX) {
		const struct member_volume *volume =
			member->volumes[walk->volume];

		if (volume && walk_volume(member, volume, ret_record))
			return true;
		walk->volume++;
		walk->part = walk->index = 0;
	}
	return false;
}

static bool is_behind(struct log *log, const struct format_record *record,
		      struct format_record *ret_part)
{
	const struct member *member = container_of(log, struct member, log);
	const struct member_walk *walk = &member->walk;
	uint32_t passed;

	*ret_part = *record;
	if (record->kind >= FORMAT_OPEN || record->volume < walk->volume)
		return true;
	if (record->volume > walk->volume)
		return false;
	if (record->kind < FORMAT_MAP)
		return walk->part > 0;
	if (record->index >= walk->index)
		return false;
	passed = walk->index - record->index;
	if (ret_part->count > passed)
		ret_part->count = passed;
	return true;
}

static void want_flush(struct log *log)
{
	struct member *member = container_of(log, struct member, log);

	member_flush(member, NULL);
}

static void want_step(struct log *log)
{
	struct member *member = container_of(log, struct member, log);

	if (!member->config.loop)
		log_step(log);
	else if (!member->stepper.link)
		loop_poller_add(member->config.loop, &member->stepper);
}

const struct log_ops member_log_ops = {
	.walk_worst = walk_worst,
	.walk_begin = walk_begin,
	.walk = walk_next,
	.behind = is_behind,
	.flip = member_flip,
	.want_step = want_step,
	.want_flush = want_flush,
};
