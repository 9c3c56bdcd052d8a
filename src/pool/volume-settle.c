/* SPDX-License-Identifier: Apache-2.0 */
/*
 * volume-settle.c - each device knows a volume as it is
 *
 * One primitive for creation, renaming, resizing, a device that joins or
 * leaves, and what a crash left half done: compare what each device's log says
 * with what the volume is, append what is missing, flush.  Doing it twice does
 * no harm.
 */
#include "pool/volume.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/container.h"

/* VOLUME, or VOLUME_DELETE, and a VOLUME_MEMBER for each other device. */
#define RECORDS_MAX	(1 + POOL_MEMBERS_MAX)

struct settle_part {
	struct log_entry entry;
	struct member_flush flush;
	struct volume_settle *settle;
	uint32_t member;
	struct format_volume is;
	struct format_record records[RECORDS_MAX];
};

struct volume_settle {
	struct volume *volume;
	void (*then)(struct volume *volume, int result);
	int result;
	uint32_t under_way;
	uint32_t count;
	struct settle_part parts[];
};

static void part_ended(struct settle_part *part, int result)
{
	struct volume_settle *settle = part->settle;
	struct volume *volume = settle->volume;
	struct pool *pool = volume->pool;
	void (*then)(struct volume * volume, int result) = settle->then;

	/* Who leaves may be unable to write: then the others say so. */
	if (result < 0 && !pool->members[part->member]->is_out)
		settle->result = result;
	if (--settle->under_way > 0)
		return;
	result = settle->result;
	for (uint32_t i = 0; result == 0 && i < settle->count; i++)
		if (!pool->members[settle->parts[i].member]->is_out)
			volume->joined |= UINT64_C(1)
				<< settle->parts[i].member;
	volume->settle = NULL;
	free(settle);
	if (result < 0 && pool->leave)
		pool->leave->result = result;
	then(volume, result);
	/* Who found no member to take space on. */
	pool_wake(pool);
}

static void part_flushed(struct member_flush *flush, int result)
{
	part_ended(container_of(flush, struct settle_part, flush), result);
}

static void part_appended(struct log_entry *entry, int result)
{
	struct settle_part *part =
		container_of(entry, struct settle_part, entry);
	struct member *member =
		part->settle->volume->pool->members[part->member];

	if (result < 0) {
		part_ended(part, result);
		return;
	}
	part->flush.done = part_flushed;
	member_flush(member, &part->flush);
}

static void add_record(struct settle_part *part, enum format_kind kind,
		       const struct format_uuid *uuid)
{
	struct volume *volume = part->settle->volume;
	struct format_record *record = &part->records[part->entry.count++];

	*record = (struct format_record){
		.kind = (uint8_t)kind,
		.volume = volume->parts[part->member]->id,
	};
	if (kind == FORMAT_VOLUME) {
		part->is = volume->is;
		record->is = &part->is;
	} else if (kind == FORMAT_VOLUME_MEMBER) {
		record->uuid = uuid;
	}
}

/* One that leaves, and has nothing of it. */
static void forget(struct settle_part *part)
{
	struct volume *volume = part->settle->volume;
	struct member_volume **known = &volume->parts[part->member];

	if (!*known)
		return;
	add_record(part, FORMAT_VOLUME_DELETE, NULL);
	member_remove_volume(volume->pool->members[part->member], *known);
	*known = NULL;
}

/* The other devices that may have some of it. */
static int compare_members(struct settle_part *part,
			   struct member_volume *known)
{
	const struct pool *pool = part->settle->volume->pool;
	int rc = 0;

	for (uint32_t m = 0; m < pool->member_count && rc == 0; m++) {
		const struct member *other = pool->members[m];
		const struct format_uuid *uuid = &other->super.uuid;

		if (m == part->member || other->is_gone ||
		    member_volume_has_member(known, uuid) == !other->is_out)
			continue;
		if (other->is_out)
			member_volume_drop_member(known, uuid);
		else
			rc = member_volume_add_member(known, uuid);
		if (rc == 0)
			add_record(part, FORMAT_VOLUME_MEMBER, uuid);
		if (other->is_out)
			part->records[part->entry.count - 1].flags =
				FORMAT_MEMBER_LEFT;
	}
	return rc;
}

/* What this device does not know yet.  Returns 0 or why it cannot. */
static int compare(struct settle_part *part)
{
	struct volume *volume = part->settle->volume;
	struct member *member = volume->pool->members[part->member];
	struct member_volume **known = &volume->parts[part->member];
	bool is_new = !*known;
	int rc = 0;

	if (member->is_out) {
		forget(part);
		return 0;
	}
	if (is_new) {
		rc = member_add_volume(member, &volume->is, known);
		if (rc < 0)
			return rc;
		(*known)->table = &volume->table;
		(*known)->volume = volume;
	}
	if (is_new || (*known)->is.version < volume->is.version)
		add_record(part, FORMAT_VOLUME, NULL);
	(*known)->is = volume->is;
	return compare_members(part, *known);
}

static struct volume_settle *make(struct volume *volume,
				  void (*then)(struct volume *volume,
					       int result))
{
	const struct pool *pool = volume->pool;
	struct volume_settle *settle =
		calloc(1,
		       sizeof(*settle) +
			       pool->member_count * sizeof(settle->parts[0]));

	if (!settle)
		return NULL;
	assert(!volume->settle);
	volume->settle = settle;
	settle->volume = volume;
	settle->then = then;
	settle->count = pool->member_count;
	for (uint32_t m = 0; m < settle->count; m++) {
		struct settle_part *part = &settle->parts[m];

		part->settle = settle;
		part->member = m;
		part->entry.records = part->records;
		part->entry.done = part_appended;
	}
	settle->under_way = settle->count;
	return settle;
}

/* Appending to the last may end it all, and free 'settle'. */
static void start(struct volume_settle *settle)
{
	const struct pool *pool = settle->volume->pool;

	for (uint32_t m = 0, count = settle->count; m < count; m++)
		log_append(&pool->members[m]->log, &settle->parts[m].entry);
}

void volume_settle(struct volume *volume,
		   void (*then)(struct volume *volume, int result))
{
	struct volume_settle *settle = make(volume, then);
	int rc = settle ? 0 : -ENOMEM;

	for (uint32_t i = 0; rc == 0 && i < settle->count; i++)
		rc = compare(&settle->parts[i]);
	if (rc < 0) {
		volume->settle = NULL;
		free(settle);
		if (volume->pool->leave)
			volume->pool->leave->result = rc;
		then(volume, rc);
		return;
	}
	start(settle);
}

void volume_forget(struct volume *volume,
		   void (*then)(struct volume *volume, int result))
{
	struct volume_settle *settle = make(volume, then);
	struct pool *pool = volume->pool;

	if (!settle) {
		then(volume, -ENOMEM);
		return;
	}
	for (uint32_t m = 0; m < settle->count; m++) {
		if (!volume->parts[m])
			continue;
		add_record(&settle->parts[m], FORMAT_VOLUME_DELETE, NULL);
		member_remove_volume(pool->members[m], volume->parts[m]);
		volume->parts[m] = NULL;
	}
	start(settle);
}
