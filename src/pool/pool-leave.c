/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool-leave.c - a device that holds nothing leaves a pool with volumes
 *
 *	out --> each volume settled --> grace --> mark cleared --> done
 *
 * From "out" on it gets nothing.  Settled: it knows the volume no more, and the
 * others do not name it as one that may have some of it, all of that on stable
 * storage; so a start without it misses nothing.  Entered again after a crash:
 * it is a device that holds nothing.
 */
#include "pool/pool.h"

#include <errno.h>

#include "base/container.h"
#include "pool/volume.h"

static bool is_done_with(const struct pool_leave *leave,
			 const struct volume *volume)
{
	const struct pool *pool = leave->pool;
	const struct member *leaving = leave->member;

	if (volume->parts[leaving->index])
		return false;
	for (uint32_t m = 0; m < pool->member_count; m++)
		if (volume->parts[m] &&
		    member_volume_has_member(volume->parts[m],
					     &leaving->super.uuid))
			return false;
	return true;
}

static void end(struct pool_leave *leave, int result)
{
	struct pool *pool = leave->pool;

	pool->leave = NULL;
	pool_look(pool);
	pool_wake(pool);
	leave->done(leave, result);
}

/* That it was leaving would be no use to the next pool that it comes to; what
 * cannot be written is no matter, as nothing is there. */
static void unmarked(struct member_super *change, int result)
{
	(void)result;
	end(container_of(change, struct pool_leave, mark), 0);
}

static void apply_mark(struct member_super *change, struct format_super *super)
{
	(void)change;
	super->compatible &= ~FORMAT_LEAVING;
}

static void requests_ended(struct member_grace *grace)
{
	struct pool_leave *leave =
		container_of(grace, struct pool_leave, grace);
	struct member *member = leave->member;

	leave->mark.apply = apply_mark;
	leave->mark.done = unmarked;
	if (member->config.is_volatile) {
		apply_mark(&leave->mark, &member->super);
		unmarked(&leave->mark, 0);
	} else {
		member_change_super(member, &leave->mark);
	}
}

static void let_go(struct pool_leave *leave)
{
	for (struct volume *volume = leave->pool->volumes; volume;
	     volume = volume->next)
		volume->joined &= ~(UINT64_C(1) << leave->member->index);
	leave->grace.done = requests_ended;
	member_grace(leave->member, &leave->grace);
}

/* The others cannot say that it is gone. */
static void come_back(struct pool_leave *leave)
{
	leave->member->is_out = false;
	member_run(leave->member);
	for (struct volume *volume = leave->pool->volumes; volume;
	     volume = volume->next)
		volume_go_on(volume);
	end(leave, leave->result);
}

/* Returns whether one that has not let go of it is still to do so. */
static bool settle_one(struct pool_leave *leave)
{
	bool waits = false;

	for (struct volume *volume = leave->pool->volumes;
	     volume && leave->result == 0; volume = volume->next) {
		if (volume->is_changing) {
			waits = true;
		} else if (!is_done_with(leave, volume)) {
			volume_settle_again(volume);
			return true;
		}
	}
	return waits;
}

/* One volume after the other, as they can; the end of a change comes back. */
void pool_leave_kick(struct pool *pool)
{
	struct pool_leave *leave = pool->leave;
	bool waits;

	if (!leave || leave->is_ending)
		return;
	leave->is_again = true;
	if (leave->is_going)
		return;
	leave->is_going = true;
	do {
		leave->is_again = false;
		waits = settle_one(leave);
	} while (leave->is_again);
	leave->is_going = false;
	if (waits)
		return;
	leave->is_ending = true;
	if (leave->result == 0)
		let_go(leave);
	else
		come_back(leave);
}

static bool is_last(const struct pool *pool, const struct member *member)
{
	for (uint32_t m = 0; m < pool->member_count; m++)
		if (pool->members[m] != member && !pool->members[m]->is_out)
			return false;
	return true;
}

int pool_leave(struct pool *pool, struct pool_add *add,
	       struct pool_leave *leave)
{
	struct member *member = add->member;

	if (!pool->is_started || pool->evacuate || pool->leave ||
	    member->open || member_used(member) > 0)
		return -EBUSY;
	if (is_last(pool, member))
		return -ENODEV;
	if (!member_is_leaving(member) && pool->reserved > 0 &&
	    pool_unpromised(pool) < member_free(member))
		return -ENOSPC;
	leave->pool = pool;
	leave->member = member;
	leave->result = 0;
	leave->is_going = leave->is_again = leave->is_ending = false;
	pool->leave = leave;
	member->is_out = true;
	member_stop(member);
	pool_leave_kick(pool);
	return 0;
}
