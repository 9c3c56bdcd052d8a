/* SPDX-License-Identifier: Apache-2.0 */
/*
 * member-space.c - extents opened ahead, given out, taken back and scrubbed
 */
#include "pool/member.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/container.h"

#define OPEN_MAX	1024U	/* extents that are kept open */
#define SCRUB_EXTENTS	64U	/* in one run */
#define REFERENCES_MAX	UINT16_MAX

static void open_ahead(struct member *member);
static void scrub(struct member *member);

static void in_background(struct member *member)
{
	if (!member->is_running || member->log.has_failed)
		return;
	open_ahead(member);
	scrub(member);
}

static void changed(struct member *member)
{
	in_background(member);
	member->config.ops->space_changed(member);
}

void member_run(struct member *member)
{
	member->is_running = !member->config.is_volatile;
	member->log.may_compact = true;
	in_background(member);
}

void member_stop(struct member *member)
{
	member->is_running = false;
}

bool member_is_idle(const struct member *member)
{
	return log_is_idle(&member->log) && member->opening.count == 0 &&
		member->scrubbing.count == 0 && !member->is_flushing &&
		!member->super_changes;
}

/* ---- moves of runs ---- */

/* Take up to 'max' extents in 'state'.  Returns false: there are none. */
static bool gather(struct member *member, struct member_move *move,
		   enum space_state state, uint32_t max, uint32_t run_max)
{
	move->count = move->extents = 0;
	while (move->count < MEMBER_RUNS && move->extents < max) {
		struct member_run *run = &move->runs[move->count];
		const uint32_t left = max - move->extents;

		run->is_bad = false;
		run->count = space_take(&member->space, state, SPACE_NONE,
					left < run_max ? left : run_max,
					&run->first);
		if (run->count == 0)
			break;
		move->extents += run->count;
		move->count++;
	}
	return move->count > 0;
}

/* All of it is in 'state' now. */
static void settle(struct member *member, struct member_move *move,
		   enum space_state state)
{
	const uint32_t count = move->count;

	move->count = 0;
	for (uint32_t i = 0; i < count; i++)
		if (!move->runs[i].is_bad)
			space_set(&member->space, move->runs[i].first,
				  move->runs[i].count, state);
}

static void append(struct member *member, struct member_move *move,
		   enum format_kind kind,
		   void (*done)(struct log_entry *entry, int result))
{
	for (uint32_t i = 0; i < move->count; i++)
		move->records[i] = (struct format_record){
			.kind = (uint8_t)(move->runs[i].is_bad ? FORMAT_BAD :
								 kind),
			.extent = move->runs[i].first,
			.count = move->runs[i].count,
		};
	move->entry.records = move->records;
	move->entry.count = move->count;
	move->entry.done = done;
	log_append(&member->log, &move->entry);
}

/* ---- opening ahead ---- */

static void opened(struct member_flush *flush, int result)
{
	struct member *member =
		container_of(flush, struct member, opening.flush);

	/* If nobody knows whether it will be found, it is for the scrubber. */
	member->counts.opened += result == 0 ? member->opening.extents : 0;
	settle(member, &member->opening,
	       result == 0 ? SPACE_OPEN : SPACE_DIRTY);
	changed(member);
}

static void open_appended(struct log_entry *entry, int result)
{
	struct member *member =
		container_of(entry, struct member, opening.entry);

	if (result < 0) {
		opened(&member->opening.flush, result);
		return;
	}
	member->opening.flush.done = opened;
	member_flush(member, &member->opening.flush);
}

static uint32_t open_target(const struct member *member)
{
	const uint32_t part = member->super.extent_count / 16 + 4;

	if (member->config.open_extents)
		return member->config.open_extents;
	return part < OPEN_MAX ? part : OPEN_MAX;
}

static void open_ahead(struct member *member)
{
	const uint32_t target = open_target(member);

	if (member->opening.count > 0 ||
	    member->space.total[SPACE_OPEN] > target / 2)
		return;
	if (gather(member, &member->opening, SPACE_CLEAN, target, target))
		append(member, &member->opening, FORMAT_OPEN, open_appended);
}

/* ---- scrubbing ---- */

static void scrub_failed(struct member *member)
{
	/* They stay taken, and are dirty when the device is opened again. */
	member->counts.scrub_errors += member->scrubbing.extents;
	member->scrubbing.count = 0;
	changed(member);
}

static void cleaned(struct log_entry *entry, int result)
{
	struct member *member =
		container_of(entry, struct member, scrubbing.entry);

	if (result < 0) {
		scrub_failed(member);
		return;
	}
	member->counts.scrubbed += member->scrubbing.extents;
	settle(member, &member->scrubbing, SPACE_CLEAN);
	changed(member);
}

static void zeroes_flushed(struct member_flush *flush, int result)
{
	struct member *member =
		container_of(flush, struct member, scrubbing.flush);

	if (result < 0)
		scrub_failed(member);
	else
		append(member, &member->scrubbing, FORMAT_CLEAN, cleaned);
}

static bool may_be_bad(const struct member *member)
{
	return member->space.bad_total < MEMBER_BAD_SHARE +
		member->super.extent_count / MEMBER_BAD_SHARE;
}

bool member_condemn(struct member *member, uint32_t extent)
{
	if (!may_be_bad(member) || space_set_bad(&member->space, extent) < 0)
		return false;
	member->counts.turned_bad++;
	return true;
}

/* Zeroes could not be written to all of it.  Returns whether the run stays in
 * the move. */
static bool judge_run(struct member *member, struct member_run *run, int result)
{
	struct member_move *move = &member->scrubbing;

	if (result == 0)
		return true;
	move->extents -= run->count;
	if (result == -EIO && run->count > 1) {
		space_set(&member->space, run->first, run->count, SPACE_DIRTY);
		member->space.hint[SPACE_DIRTY] = run->first;
		move->singly += run->count;
		return false;
	}
	if (result == -EIO && member_condemn(member, run->first)) {
		run->is_bad = true;
		return true;
	}
	/* It stays taken, and is dirty when the device is opened again. */
	member->counts.scrub_errors += run->count;
	return false;
}

static void zeroed(struct block_request *request)
{
	struct member *member =
		container_of(request, struct member_zeroing, request)->member;
	struct member_move *move = &member->scrubbing;
	const uint32_t count = move->count;

	if (--move->requests > 0)
		return;
	move->count = 0;
	for (uint32_t i = 0; i < count; i++) {
		struct member_run run = move->runs[i];

		if (judge_run(member, &run, move->zeroings[i].request.result))
			move->runs[move->count++] = run;
	}
	if (move->count == 0) {
		changed(member);
		return;
	}
	move->flush.done = zeroes_flushed;
	member_flush(member, &move->flush);
}

/* Nobody uses them, and no crash brings a mapping back. */
static void zero(struct member_flush *flush, int result)
{
	struct member *member =
		container_of(flush, struct member, scrubbing.flush);
	struct member_move *move = &member->scrubbing;

	if (result < 0) {
		scrub_failed(member);
		return;
	}
	move->requests = move->count;
	for (uint32_t i = 0, count = move->count; i < count; i++) {
		struct member_zeroing *zeroing = &move->zeroings[i];

		zeroing->member = member;
		zeroing->request = (struct block_request){
			.done = zeroed,
			.op = BLOCK_WRITE_ZEROES,
			.flags = BLOCK_FLAG_UNMAP,
			.offset_bytes =
				member_offset(member, move->runs[i].first),
			.length_bytes =
				move->runs[i].count * FORMAT_EXTENT_BYTES,
		};
		if (member->config.zero)
			member->config.zero(member, &zeroing->request);
		else
			block_submit(member->config.device, &zeroing->request);
	}
}

static void nobody_uses(struct member_grace *grace)
{
	struct member *member =
		container_of(grace, struct member, scrubbing.grace);

	member->scrubbing.flush.done = zero;
	member_flush(member, &member->scrubbing.flush);
}

static void all_appended(struct log_entry *entry, int result)
{
	struct member *member =
		container_of(entry, struct member, scrubbing.entry);

	if (result < 0) {
		scrub_failed(member);
		return;
	}
	member->scrubbing.grace.done = nobody_uses;
	member_grace(member, &member->scrubbing.grace);
}

static void scrub(struct member *member)
{
	struct member_move *move = &member->scrubbing;
	const uint32_t run_max = move->singly > 0 ? 1 : SCRUB_EXTENTS;

	if (move->count > 0 ||
	    !gather(member, move, SPACE_DIRTY, MEMBER_RUNS * run_max, run_max))
		return;
	move->singly -=
		move->singly < move->extents ? move->singly : move->extents;
	move->entry.records = NULL;
	move->entry.count = 0;
	move->entry.done = all_appended;
	log_append(&member->log, &move->entry);
}

/* ---- grace ---- */

/* Requests from now on are of the other parity; those before end. */
static void begin_grace(struct member *member)
{
	member->grace_now = member->grace_next;
	member->grace_next = NULL;
	member->parity = 1 - member->parity;
	if (member->active[1 - member->parity] == 0)
		member_grace_ended(member);
}

void member_grace_ended(struct member *member)
{
	struct member_grace *list = member->grace_now;

	member->grace_now = NULL;
	while (list) {
		struct member_grace *grace = list;

		list = grace->next;
		grace->done(grace);
	}
	if (member->grace_next && !member->grace_now)
		begin_grace(member);
}

void member_grace(struct member *member, struct member_grace *grace)
{
	grace->next = member->grace_next;
	member->grace_next = grace;
	if (!member->grace_now && member->active[1 - member->parity] == 0)
		begin_grace(member);
}

/* ---- extents ---- */

uint64_t member_offset(const struct member *member, uint32_t extent)
{
	return member->super.metadata_bytes +
		((uint64_t)extent << FORMAT_EXTENT_SHIFT);
}

bool member_take(struct member *member, uint32_t near, uint32_t *ret_extent)
{
	if (space_take(&member->space, SPACE_OPEN, near, 1, ret_extent) == 0)
		return false;
	in_background(member);
	return true;
}

void member_give_back(struct member *member, uint32_t extent)
{
	space_set(&member->space, extent, 1, SPACE_OPEN);
}

void member_unref(struct member *member, uint32_t extent)
{
	assert(space_get(&member->space, extent) == SPACE_TAKEN);
	if (member->references && member->references[extent] > 0) {
		member->references[extent]--;
		return;
	}
	/* What is kept nowhere needs no scrubbing. */
	space_set(&member->space, extent, 1,
		  member->config.is_volatile ? SPACE_OPEN : SPACE_DIRTY);
}

void member_kick(struct member *member)
{
	if (member->config.is_volatile)
		member->config.ops->space_changed(member);
	else
		in_background(member);
}

int member_ref(struct member *member, uint32_t extent)
{
	if (!member->references)
		member->references = calloc(member->config.most_extents,
					    sizeof(*member->references));
	if (!member->references)
		return -ENOMEM;
	if (member->references[extent] == REFERENCES_MAX)
		return -EMLINK;
	member->references[extent]++;
	return 0;
}

bool member_is_shared(const struct member *member, uint32_t extent)
{
	return member->references && member->references[extent] > 0;
}

uint32_t member_free(const struct member *member)
{
	const struct space *space = &member->space;

	return space->total[SPACE_CLEAN] + space->total[SPACE_OPEN] +
		space->total[SPACE_DIRTY] +
		(member->opening.count ? member->opening.extents : 0) +
		(member->scrubbing.count ? member->scrubbing.extents : 0);
}

bool member_has_coming(const struct member *member)
{
	const struct space *space = &member->space;

	return member->is_running && !member->log.has_failed &&
		(member_is_moving(member) || space->total[SPACE_CLEAN] > 0 ||
		 space->total[SPACE_DIRTY] > 0);
}
