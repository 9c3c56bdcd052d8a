/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot.c - a read-only volume with the extents of another
 *
 *	settle (as being created) -> share -> MAPs -> grace -> flush -> settle
 *
 * The snapshot is of the instant of 'share', which passes over the table once
 * (4 ms for each TiB that is mapped): from then on writes copy.  Writes that
 * were under way may still change it; grace waits for them.
 */
#include "pool/volume.h"

#include <errno.h>
#include <stdlib.h>

#include "base/container.h"

struct volume_share {
	struct volume *volume;		/* the snapshot */
	struct volume_share_run {
		struct log_entry entry;
		struct format_record record;
		struct volume_share *share;
	} runs[VOLUME_RUNS];
	struct volume_share_wait {
		struct member_grace grace;
		struct member_flush flush;
		struct volume_share *share;
		struct member *member;
	} waits[POOL_MEMBERS_MAX];
	struct volume_change deletion, *change;	/* if it fails */
	struct pool_wait wait;
	uint32_t at;
	uint32_t under_way;
	int result;
};

static void go_on(struct volume_share *share);

/* ---- ends ---- */

static void deleted(struct volume_change *change, int result)
{
	struct volume_share *share =
		container_of(change, struct volume_share, deletion);
	struct volume_change *waits = share->change;

	(void)result;
	result = share->result;
	free(share);
	if (waits)
		waits->done(waits, result);
}

static void fail(struct volume_share *share, int result)
{
	struct volume *volume = share->volume;

	volume->share = NULL;	/* which goes before it */
	share->result = result;
	share->change = volume->change;
	share->deletion.done = deleted;
	volume->is_changing = false;
	if (volume_delete(volume, &share->deletion) < 0)
		deleted(&share->deletion, result);
}

static void is_there(struct volume *volume, int result)
{
	volume_end_change(volume, result);
}

static void finish(struct volume_share *share)
{
	struct volume *volume = share->volume;

	volume->share = NULL;
	free(share);
	volume->is.flags &= ~FORMAT_VOLUME_CREATING;
	volume->is.version++;
	volume_settle(volume, is_there);
}

/* ---- nobody writes what is shared, and all of it is safe ---- */

static void mappings_flushed(struct member_flush *flush, int result)
{
	struct volume_share *share =
		container_of(flush, struct volume_share_wait, flush)->share;

	if (result < 0)
		share->result = result;
	if (--share->under_way > 0)
		return;
	if (share->result < 0)
		fail(share, share->result);
	else
		finish(share);
}

/* One device must not say that the snapshot is whole while another may still
 * forget its part. */
static void writes_ended(struct member_grace *grace)
{
	struct volume_share_wait *wait =
		container_of(grace, struct volume_share_wait, grace);

	wait->flush.done = mappings_flushed;
	member_flush(wait->member, &wait->flush);
}

static void wait_for_writes(struct volume_share *share)
{
	struct pool *pool = share->volume->pool;
	const uint32_t count = pool->member_count;

	share->under_way = count;
	for (uint32_t m = 0; m < count; m++) {
		share->waits[m].share = share;
		share->waits[m].member = pool->members[m];
		share->waits[m].grace.done = writes_ended;
		member_grace(pool->members[m], &share->waits[m].grace);
	}
}

/* ---- MAPs ---- */

static void mapped(struct log_entry *entry, int result)
{
	struct volume_share_run *run =
		container_of(entry, struct volume_share_run, entry);
	struct volume_share *share = run->share;
	struct volume *volume = share->volume;

	if (result < 0)
		share->result = result;
	for (uint32_t i = 0; i < run->record.count; i++) {
		const uint32_t index = run->record.index + i;

		volume_set(volume, index,
			   table_get(&volume->table, index) & ~TABLE_PENDING);
	}
	if (--share->under_way == 0)
		go_on(share);
}

static void map_run(struct volume_share *share, struct volume_share_run *run,
		    uint32_t first)
{
	struct volume *volume = share->volume;
	const uint32_t entry = table_get(&volume->table, first);
	const uint32_t number = entry & TABLE_NUMBER;
	const uint32_t m = pool_index_of(volume->pool, number);
	struct member *member = volume->pool->members[m];
	uint32_t count = 1;

	while (first + count < volume->extent_count &&
	       count < FORMAT_MAP_COUNT_MAX &&
	       table_get(&volume->table, first + count) == entry + count &&
	       member_has_number(member, number + count))
		count++;
	run->share = share;
	run->record = (struct format_record){
		.kind = FORMAT_MAP,
		.flags = FORMAT_MAP_SHARED,
		.volume = volume->parts[m]->id,
		.index = first,
		.extent = number - member->config.first_number,
		.count = count,
	};
	run->entry.records = &run->record;
	run->entry.count = 1;
	run->entry.done = mapped;
	share->at = first + count;
	share->under_way++;
	log_append(&member->log, &run->entry);
}

/* Nothing is under way. */
static void go_on(struct volume_share *share)
{
	const struct volume *volume = share->volume;
	const uint32_t end = volume->extent_count;

	do {
		share->under_way = 1;
		for (uint32_t r = 0; r < VOLUME_RUNS; r++) {
			share->at = table_next(&volume->table, share->at, end);
			if (share->at >= end)
				break;
			map_run(share, &share->runs[r], share->at);
		}
		if (--share->under_way > 0)
			return;
	} while (share->at < end && share->result == 0);
	if (share->result < 0)
		fail(share, share->result);
	else
		wait_for_writes(share);
}

/* ---- the instant ---- */

static int share_one(struct volume *snapshot, struct volume *origin,
		     uint32_t index)
{
	const uint32_t entry = table_get(&origin->table, index);
	const uint32_t number = entry & TABLE_NUMBER;
	struct member *member;
	int rc;

	if (!number)
		return 0;
	member = pool_member_of(snapshot->pool, number);
	rc = member_ref(member, number - member->config.first_number);
	if (rc < 0)
		return rc;
	volume_set(origin, index, entry | TABLE_SHARED);
	volume_set(snapshot, index, number | TABLE_SHARED | TABLE_PENDING);
	return 0;
}

static void share_all(struct volume *snapshot, int result);

static void copy_ended(struct pool_wait *wait, int result)
{
	struct volume_share *share =
		container_of(wait, struct volume_share, wait);

	(void)result; /* of the copy */
	share_all(share->volume, 0);
}

static void share_all(struct volume *snapshot, int result)
{
	struct volume *origin = snapshot->origin;
	struct volume_share *share = snapshot->share;
	const uint32_t end = snapshot->extent_count;
	uint32_t index;

	/* What is being copied has let go of its extent, or will. */
	if (result == 0 && volume_copying(origin, &index)) {
		share->wait.woken = copy_ended;
		volume_wait(origin, index, &share->wait);
		return;
	}
	snapshot->origin = NULL;
	origin->is_changing = false;
	for (uint32_t i = 0; result == 0 && i < end; i++) {
		i = table_next(&origin->table, i, end);
		if (i < end)
			result = share_one(snapshot, origin, i);
	}
	/* Records of what was shared have to be written even if not all was:
	 * the deletion takes them back. */
	share->result = result;
	go_on(share);
}

/* Two logs' worth of mappings must go into a checkpoint. */
static bool has_log_room(const struct volume *volume)
{
	const struct pool *pool = volume->pool;

	for (uint32_t m = 0; m < pool->member_count; m++) {
		struct log *log = &pool->members[m]->log;
		const uint64_t need = log->config.device ?
			log->config.ops->walk_worst(log) +
				volume->table.mapped / FORMAT_SLOTS + 2 :
			0;

		if (need > log->config.super->area_blocks * UINT64_C(3) / 4)
			return false;
	}
	return true;
}

int volume_snapshot(struct volume *volume, const struct volume_config *config,
		    struct volume_change *change, struct volume **ret_snapshot)
{
	struct volume_config with = *config;
	struct volume_share *share;
	int rc;

	if (volume->is_changing || volume->is_closed)
		return -EBUSY;
	if (volume->missing)
		return -ENOTCONN;
	if (!has_log_room(volume))
		return -ENOSPC;
	rc = pool_prepare_copies(volume->pool);
	if (rc < 0)
		return rc;
	share = calloc(1, sizeof(*share));
	if (!share)
		return -ENOMEM;
	with.size_bytes = volume->is.size_bytes;
	with.is_thick = false;
	rc = volume_prepare(volume->pool, &with,
			    FORMAT_VOLUME_SNAPSHOT | FORMAT_VOLUME_CREATING,
			    change, ret_snapshot);
	if (rc < 0) {
		free(share);
		return rc;
	}
	(*ret_snapshot)->is.origin = volume->is.uuid;
	(*ret_snapshot)->origin = volume;
	(*ret_snapshot)->share = share;
	share->volume = *ret_snapshot;
	volume->is_changing = true;
	volume_settle(*ret_snapshot, share_all);
	return 0;
}
