/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool-start.c - volumes put together from what each device's log says
 */
#include "pool/pool.h"

#include <errno.h>
#include <stdlib.h>

#include "pool/volume.h"

/* A mapping that is another device's too, and taken back. */
struct pool_loser {
	struct pool_loser *next;
	struct log_entry entry;
	struct format_record record;
};

static void lost(struct log_entry *entry, int result)
{
	(void)entry;
	(void)result; /* if it failed, it is taken back at the next start */
}

void pool_free_losers(struct pool *pool)
{
	while (pool->losers) {
		struct pool_loser *loser = pool->losers;

		pool->losers = loser->next;
		free(loser);
	}
}

int pool_take_back(struct pool *pool, struct member *member,
		   const struct member_volume *part, uint32_t index,
		   uint32_t number)
{
	struct pool_loser *loser = calloc(1, sizeof(*loser));

	if (!loser)
		return -ENOMEM;
	loser->next = pool->losers;
	pool->losers = loser;
	loser->record = (struct format_record){
		.kind = FORMAT_UNMAP,
		.volume = part->id,
		.index = index,
		.count = 1,
	};
	loser->entry.done = lost;
	loser->entry.records = &loser->record;
	loser->entry.count = 1;
	member_unref(member, number - member->config.first_number);
	log_append(&member->log, &loser->entry);
	return 0;
}

/* What one device has of a volume, into its table. */
static int merge(struct volume *volume, struct member *member,
		 struct member_volume *part)
{
	const struct table *own = &part->own;
	uint32_t index = 0;
	int rc = volume_set_apart(volume, part);

	if (rc < 0)
		return rc;
	if (volume->table.count == 0) {
		volume->table = part->own;
		volume->mapped_on[member->index] = part->own.mapped;
		part->own = (struct table){0};
		return 0;
	}
	if (volume->table.count < own->count)
		rc = table_resize(&volume->table, own->count);
	while (rc == 0 &&
	       (index = table_next(own, index, own->count)) < own->count) {
		const uint32_t number = table_get(own, index);

		if (!(table_get(&volume->table, index) & TABLE_NUMBER)) {
			table_set(&volume->table, index, number);
			volume->mapped_on[member->index]++;
		} else {
			rc = pool_take_back(volume->pool, member, part, index,
					    number);
		}
		index++;
	}
	table_finish(&part->own);
	return rc;
}

static int take_part(struct pool *pool, uint32_t m, struct member_volume *part)
{
	struct volume *volume = volume_find(pool, &part->is.uuid);
	int rc;

	if (!volume) {
		rc = volume_make(pool, &part->is, &volume);
		if (rc < 0)
			return rc;
	}
	if (part->is.version > volume->is.version)
		volume->is = part->is;
	volume->parts[m] = part;
	rc = merge(volume, pool->members[m], part);
	part->table = &volume->table;
	part->volume = volume;
	return rc;
}

static const struct format_uuid *uuid_of(const struct pool *pool, uint32_t m)
{
	return &pool->members[m]->super.uuid;
}

static bool is_here(const struct pool *pool, const struct format_uuid *uuid)
{
	for (uint32_t m = 0; m < pool->member_count; m++)
		if (format_uuid_equal(uuid_of(pool, m), uuid))
			return true;
	return false;
}

/* Did one of the parts before 'm' name it too? */
static bool was_named(const struct volume *volume, uint32_t m,
		      const struct format_uuid *uuid)
{
	for (uint32_t before = 0; before < m; before++)
		if (volume->parts[before] &&
		    member_volume_has_member(volume->parts[before], uuid))
			return true;
	return false;
}

static void count_missing(struct volume *volume)
{
	const struct pool *pool = volume->pool;

	volume->missing = 0;
	for (uint32_t m = 0; m < pool->member_count; m++) {
		const struct member_volume *part = volume->parts[m];

		for (uint32_t i = 0; part && i < part->member_count; i++)
			if (!is_here(pool, &part->members[i]) &&
			    !was_named(volume, m, &part->members[i]))
				volume->missing++;
	}
}

/* An entry whose extent another volume has too, is marked; where a device comes
 * later those of the others are, and some are on their way. */
static void mark_shared(struct volume *volume)
{
	struct table *table = &volume->table;

	for (uint32_t i = 0;
	     (i = table_next(table, i, table->count)) < table->count; i++) {
		const uint32_t number = table_get(table, i);
		const struct member *member;

		if (number & ~TABLE_NUMBER)
			continue;
		member = pool_member_of(volume->pool, number);

		if (member_is_shared(member,
				     number - member->config.first_number))
			table_set(table, i, number | TABLE_SHARED);
	}
}

static int put_together(struct volume *volume)
{
	bool has_shared = false;

	count_missing(volume);
	volume->extent_count = format_extents(volume->is.size_bytes);
	if (volume->table.count < volume->extent_count &&
	    table_resize(&volume->table, volume->extent_count) < 0)
		return -ENOMEM;
	if (volume_decide(volume) < 0)
		return -ENOMEM;
	for (uint32_t m = 0; m < volume->pool->member_count; m++)
		has_shared |= volume->pool->members[m]->references != NULL;
	if (has_shared) {
		mark_shared(volume);
		if (pool_prepare_copies(volume->pool) < 0)
			return -ENOMEM;
	}
	volume_reserve(volume);
	return 0;
}

/* What is first there holds, if none of them is in doubt: those that are leaving
 * come last. */
static int take_parts(struct pool *pool, bool is_leaving)
{
	int rc = 0;

	for (uint32_t m = 0; m < pool->member_count && rc == 0; m++) {
		struct member *member = pool->members[m];

		if (member_is_leaving(member) != is_leaving)
			continue;
		for (uint32_t id = 1; id <= FORMAT_VOLUMES_MAX && rc == 0; id++)
			if (member->volumes[id])
				rc = take_part(pool, m, member->volumes[id]);
	}
	return rc;
}

int pool_start(struct pool *pool, struct error *reterr)
{
	struct volume *volume, *next;
	int rc = 0;

	rc = take_parts(pool, false);
	if (rc == 0)
		rc = take_parts(pool, true);
	for (volume = pool->volumes; volume && rc == 0; volume = volume->next)
		rc = put_together(volume);
	if (rc < 0)
		return error_set(reterr, rc, "a pool's volumes: out of memory");
	pool->is_started = true;
	for (uint32_t m = 0; m < pool->member_count; m++)
		member_run(pool->members[m]);
	for (volume = pool->volumes; volume; volume = next) {
		next = volume->next;
		volume_go_on(volume);
	}
	pool_look(pool);
	return 0;
}

/* ---- one that comes later ---- */

static bool is_ours(const struct pool *pool, const struct volume *volume,
		    const struct member *member)
{
	for (uint32_t m = 0; m < pool->member_count; m++)
		if (volume->parts[m] &&
		    member_volume_has_member(volume->parts[m],
					     &member->super.uuid))
			return true;
	return false;
}

int pool_may_join(const struct pool *pool, const struct member *member,
		  const char **reterr_why)
{
	*reterr_why = "its pool is changing: it is tried again";
	if (member->volume_count == 0)
		return 0;
	if (pool->evacuate || pool->leave)
		return -EBUSY;
	for (uint32_t id = 1; id <= FORMAT_VOLUMES_MAX; id++) {
		const struct member_volume *part = member->volumes[id];
		const struct volume *volume =
			part ? volume_find(pool, &part->is.uuid) : NULL;

		if (!volume)
			continue;
		if (volume->is_changing || volume->copies)
			return -EBUSY;
		/* What it knows, and the others do not, would have to be done
		 * to a volume that is in use. */
		*reterr_why =
			"it knows more of a volume than its pool does: it comes when its endpoint is started again";
		if (part->is.version > volume->is.version)
			return -EBUSY;
		*reterr_why = "its pool is changing: it is tried again";
	}
	return 0;
}

/* Half of it cannot be told from the whole: without memory all begins anew. */
void pool_join(struct pool *pool, struct member *member)
{
	for (uint32_t id = 1; id <= FORMAT_VOLUMES_MAX; id++) {
		struct member_volume *part = member->volumes[id];
		struct volume *volume;

		if (!part)
			continue;
		volume = volume_find(pool, &part->is.uuid);
		/* The others name it: what is written there is missed without
		 * it, so it may be from now on. */
		if (volume && is_ours(pool, volume, member))
			volume->joined |= UINT64_C(1) << member->index;
		if (take_part(pool, member->index, part) < 0)
			abort();
	}
	for (struct volume *volume = pool->volumes; volume;
	     volume = volume->next)
		if (put_together(volume) < 0)
			abort();
	pool_look(pool);
}
