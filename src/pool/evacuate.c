/* SPDX-License-Identifier: Apache-2.0 */
/* evacuate.c - which extents move, and when: see evacuate.h */
#include "pool/evacuate.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/container.h"
#include "pool/evacuate-move.h"
#include "pool/pages.h"

#define WORD_BITS	64U

/* ---- asked by others ---- */

bool evacuate_is_moving(const struct pool *pool, uint32_t number)
{
	const struct evacuate *evacuate = pool->evacuate;

	for (uint32_t i = 0; evacuate && number && i < EVACUATE_MOVES; i++)
		if (evacuate->moves[i].from == number ||
		    (evacuate->moves[i].from &&
		     evacuate->moves[i].to == number))
			return true;
	return false;
}

bool evacuate_moves_of(const struct volume *volume, uint32_t *ret_index)
{
	const struct evacuate *evacuate = volume->pool->evacuate;

	for (uint32_t i = 0; evacuate && i < EVACUATE_MOVES; i++) {
		const struct evacuate_move *move = &evacuate->moves[i];

		if (!move->from || move->index >= volume->table.count ||
		    !evacuate_is_moving(volume->pool,
					table_get(&volume->table, move->index) &
						TABLE_NUMBER))
			continue;
		*ret_index = move->index;
		return true;
	}
	return false;
}

/* ---- the end ---- */

static void free_all(struct evacuate *evacuate)
{
	for (uint32_t i = 0; i < EVACUATE_MOVES; i++) {
		pages_unmap(evacuate->moves[i].iov.iov_base,
			    FORMAT_EXTENT_BYTES);
		free(evacuate->moves[i].records);
	}
	free(evacuate->skip);
	evacuate->skip = NULL;
}

void evacuate_free(struct pool *pool)
{
	if (pool->evacuate)
		free_all(pool->evacuate);
	pool->evacuate = NULL;
}

static void end(struct evacuate *evacuate, int result)
{
	evacuate_free(evacuate->pool);
	evacuate->config.done(evacuate, result);
}

/* ---- the mark ---- */

static void apply_mark(struct member_super *change, struct format_super *super)
{
	const struct evacuate *evacuate =
		container_of(change, struct evacuate, mark);

	super->compatible &= ~FORMAT_LEAVING;
	if (!evacuate->is_staying)
		super->compatible |= FORMAT_LEAVING;
}

static void unmarked(struct member_super *change, int result)
{
	struct evacuate *evacuate = container_of(change, struct evacuate, mark);
	struct pool *pool = evacuate->pool;

	pool_look(pool);
	pool_wake(pool);
	end(evacuate, result < 0 ? result : -ECANCELED);
}

/* What has left is not found there any more: the mark may go. */
static void all_flushed(struct member_flush *flush, int result)
{
	struct evacuate *evacuate = container_of(flush, struct evacuate, flush);

	if (result == 0 && evacuate->from->log.has_failed)
		result = -EIO;
	if (result < 0) {
		end(evacuate, result);
		return;
	}
	evacuate->mark.apply = apply_mark;
	evacuate->mark.done = unmarked;
	if (!evacuate->from->config.is_volatile) {
		member_change_super(evacuate->from, &evacuate->mark);
		return;
	}
	apply_mark(&evacuate->mark, &evacuate->from->super);
	unmarked(&evacuate->mark, 0);
}

static void finish(struct evacuate *evacuate)
{
	if (evacuate->is_starved &&
	    pool_unwait(evacuate->pool, &evacuate->starved))
		evacuate->is_starved = false;
	if (evacuate->is_blocked) {
		struct volume *volume =
			volume_find(evacuate->pool, &evacuate->blocked_by);

		if (!volume ||
		    volume_unwait(volume, evacuate->blocked.index,
				  &evacuate->blocked))
			evacuate->is_blocked = false;
	}
	if (evacuate->is_starved || evacuate->is_blocked)
		return;	/* being woken now, which comes back here */
	evacuate->is_marking = true;
	if (evacuate->is_staying) {
		evacuate->flush.done = all_flushed;
		member_flush(evacuate->from, &evacuate->flush);
	} else {
		end(evacuate, evacuate->result);
	}
}

/* ---- which is next ---- */

static bool is_skipped(const struct evacuate *evacuate, uint32_t extent)
{
	return evacuate->skip[extent / WORD_BITS] >> extent % WORD_BITS & 1;
}

static void woken(struct pool_wait *wait, int result)
{
	struct evacuate *evacuate =
		container_of(wait, struct evacuate, starved);

	(void)result;
	evacuate->is_starved = false;
	evacuate_go_on(evacuate);
}

static void unblocked(struct pool_wait *wait, int result)
{
	struct evacuate *evacuate =
		container_of(wait, struct evacuate, blocked);

	(void)result;
	evacuate->is_blocked = false;
	evacuate->is_news = true;
	evacuate_go_on(evacuate);
}

static void wait_for(struct evacuate *evacuate, struct volume *volume,
		     uint32_t index)
{
	if (evacuate->is_blocked)
		return;
	evacuate->is_blocked = true;
	evacuate->blocked.woken = unblocked;
	evacuate->blocked_by = volume->is.uuid;
	volume_wait(volume, index, &evacuate->blocked);
}

/* Those who have 'from' at 'index', and whether each lets go of it now; where
 * '*ret_joined' is left are members that all of them are on. */
static bool can_move(struct evacuate *evacuate, uint32_t index, uint32_t from,
		     uint32_t *ret_sharers, uint64_t *ret_joined)
{
	uint32_t sharers = 0;

	for (struct volume *volume = evacuate->pool->volumes; volume;
	     volume = volume->next) {
		uint32_t entry;

		if (index >= volume->table.count)
			continue;
		entry = table_get(&volume->table, index);
		if ((entry & TABLE_NUMBER) != from)
			continue;
		if (volume->is_changing)
			return false;	/* evacuate_kick */
		if (entry & TABLE_PENDING || volume_is_copying(volume, index)) {
			wait_for(evacuate, volume, index);
			return false;
		}
		*ret_joined &= volume->joined;
		sharers++;
	}
	*ret_sharers = sharers;
	return true;
}

/* Returns 0, -EAGAIN (not now), or why none can move. */
static int take(struct evacuate *evacuate, const struct volume *volume,
		uint64_t joined, uint32_t *ret_to)
{
	struct pool *pool = evacuate->pool;
	const uint64_t to =
		evacuate->config.to ? evacuate->config.to : ~UINT64_C(0);
	int rc;

	if (pool_unpromised(pool) == 0)
		return -ENOSPC;
	rc = pool_take(pool, volume, evacuate->config.writer, joined & to, 0,
		       ret_to);
	if (rc == -EAGAIN && !evacuate->is_starved) {
		evacuate->is_starved = true;
		evacuate->starved.woken = woken;
		pool_wait(pool, &evacuate->starved);
	}
	if (rc == 0 && evacuate->config.may_move &&
	    !evacuate->config.may_move(evacuate, FORMAT_EXTENT_BYTES)) {
		struct member *member = pool_member_of(pool, *ret_to);

		member_give_back(member, *ret_to - member->config.first_number);
		rc = -EAGAIN;
	}
	return rc == -EDQUOT ? -ENOSPC : rc;
}

static struct evacuate_move *idle_move(struct evacuate *evacuate)
{
	for (uint32_t i = 0; i < EVACUATE_MOVES; i++)
		if (!evacuate->moves[i].from)
			return &evacuate->moves[i];
	return NULL;
}

/* Returns false: nothing more now, and the pass stays where it is. */
static bool try_move(struct evacuate *evacuate, const struct volume *volume,
		     uint32_t index, uint32_t from)
{
	struct evacuate_move *move = idle_move(evacuate);
	uint64_t joined = ~UINT64_C(0);
	uint32_t sharers, to;
	int rc;

	if (is_skipped(evacuate, from - evacuate->from->config.first_number))
		return true;
	evacuate->seen++;
	if (evacuate_is_moving(evacuate->pool, from) ||
	    !can_move(evacuate, index, from, &sharers, &joined))
		return true;
	if (!move)
		return false;
	rc = take(evacuate, volume, joined, &to);
	if (rc == -EAGAIN)
		return false;
	if (rc < 0) {
		evacuate->result = rc;
		evacuate->is_stopping = true;
		return false;
	}
	move->index = index;
	move->from = from;
	move->to = to;
	move->sharers = sharers;
	evacuate->begun++;
	evacuate->under_way++;
	evacuate_move_begin(move);
	return true;
}

/* On to the end of the pass.  Volumes that go meanwhile make it pass over
 * some: there is another pass. */
static bool walk(struct evacuate *evacuate)
{
	for (;;) {
		const struct volume *volume = evacuate->pool->volumes;

		for (uint32_t v = 0; volume && v < evacuate->volume; v++)
			volume = volume->next;
		if (!volume)
			return true;
		while ((evacuate->index = table_next(
				&volume->table, evacuate->index,
				volume->table.count)) < volume->table.count) {
			const uint32_t number =
				table_get(&volume->table, evacuate->index) &
				TABLE_NUMBER;

			if (number &&
			    member_has_number(evacuate->from, number) &&
			    !try_move(evacuate, volume, evacuate->index,
				      number))
				return false;
			evacuate->index++;
			if (evacuate->is_again)
				break;	/* the list may be another one */
		}
		if (evacuate->is_again) {
			evacuate->is_again = false;
			continue;
		}
		evacuate->volume++;
		evacuate->index = 0;
	}
}

/* One round: what can begin does.  Returns false when it is over, or waits. */
static bool go_round(struct evacuate *evacuate)
{
	bool is_over;

	if (evacuate->is_stopping)
		return false;
	is_over = walk(evacuate);
	if (!is_over || evacuate->under_way > 0)
		return false;
	if (evacuate->seen == 0) {
		evacuate->result = evacuate->stayed_count ? -EIO : 0;
		evacuate->is_stopping = true;
		return false;
	}
	is_over = evacuate->begun == 0 && !evacuate->is_news;
	evacuate->is_news = false;
	evacuate->volume = evacuate->index = 0;
	evacuate->seen = evacuate->begun = 0;
	return !is_over;
}

void evacuate_go_on(struct evacuate *evacuate)
{
	if (evacuate->is_marking)
		return;
	evacuate->is_again = true;
	if (evacuate->is_going)
		return;
	evacuate->is_going = true;
	do
		evacuate->is_again = false;
	while (go_round(evacuate) || evacuate->is_again);
	evacuate->is_going = false;
	if (evacuate->is_stopping && evacuate->under_way == 0)
		finish(evacuate);
}

void evacuate_kick(struct pool *pool)
{
	if (!pool->evacuate)
		return;
	pool->evacuate->is_news = true;
	evacuate_go_on(pool->evacuate);
}

/* ---- an extent has moved, or stays ---- */

static void name_it(struct evacuate *evacuate, const struct volume *volume,
		    uint32_t index, int result)
{
	struct evacuate_stayed *stayed =
		&evacuate->stayed[evacuate->stayed_count];

	if (evacuate->stayed_count++ >= EVACUATE_NAMED)
		return;
	stayed->uuid = volume->is.uuid;
	memcpy(stayed->name, volume->is.name, sizeof(stayed->name));
	stayed->index = index;
	stayed->result = result;
}

void evacuate_move_ended(struct evacuate_move *move, int result)
{
	struct evacuate *evacuate = move->evacuate;
	struct pool *pool = evacuate->pool;
	const uint32_t from = move->from, index = move->index;
	const uint32_t extent = from - evacuate->from->config.first_number;

	if (result < 0) {
		evacuate->skip[extent / WORD_BITS] |= UINT64_C(1)
			<< extent % WORD_BITS;
		for (const struct volume *volume = pool->volumes; volume;
		     volume = volume->next)
			if (index < volume->table.count &&
			    (table_get(&volume->table, index) & TABLE_NUMBER) ==
				    from)
				name_it(evacuate, volume, index, result);
	} else {
		evacuate->moved++;
	}
	evacuate->left = member_used(evacuate->from);
	move->from = 0;
	free(move->records);
	move->records = NULL;
	/* Still counted: who is woken may ask it to stop. */
	pool_wake_index(pool, index);
	evacuate->under_way--;
	evacuate_go_on(evacuate);
}

/* ---- begin, and be told to end ---- */

static void begin(struct evacuate *evacuate)
{
	evacuate->is_marking = false;
	pool_look(evacuate->pool);
	evacuate_go_on(evacuate);
}

static void marked(struct member_super *change, int result)
{
	struct evacuate *evacuate = container_of(change, struct evacuate, mark);

	if (result < 0)
		end(evacuate, result);
	else
		begin(evacuate);
}

static int check(const struct pool *pool, const struct evacuate_config *config)
{
	if (config->from >= pool->member_count ||
	    pool->members[config->from]->is_out)
		return -EINVAL;
	if (pool->evacuate || pool->leave)
		return -EBUSY;
	for (uint32_t m = 0; m < pool->member_count; m++)
		if (m != config->from && !pool->members[m]->is_out &&
		    member_is_leaving(pool->members[m]))
			return -EBUSY;
	for (const struct volume *volume = pool->volumes; volume;
	     volume = volume->next)
		if (volume->missing)
			return -ENOTCONN;
	return 0;
}

static int check_space(const struct pool *pool,
		       const struct evacuate_config *config)
{
	const struct member *from = pool->members[config->from];
	const uint32_t need = member_used(from);
	uint64_t there = 0, unpromised = pool_unpromised(pool);

	if (config->to >> config->from & 1 ||
	    (pool->member_count < POOL_MEMBERS_MAX &&
	     config->to >> pool->member_count) ||
	    pool->member_count < 2)
		return -EINVAL;
	for (uint32_t m = 0; m < pool->member_count; m++)
		if (m != config->from && !pool->members[m]->is_out &&
		    (!config->to || config->to >> m & 1))
			there += member_free(pool->members[m]);
	/* What is free on the one that is leaving is nobody's from now on. */
	if (!member_is_leaving(from))
		unpromised -= unpromised < member_free(from) ?
			unpromised :
			member_free(from);
	return there < need || unpromised < need ? -ENOSPC : 0;
}

static int prepare(struct pool *pool, const struct evacuate_config *config,
		   struct evacuate *evacuate)
{
	void *arg = evacuate->arg;

	memset(evacuate, 0, sizeof(*evacuate));
	evacuate->config = *config;
	evacuate->arg = arg;
	evacuate->pool = pool;
	evacuate->from = pool->members[config->from];
	evacuate->left = member_used(evacuate->from);
	evacuate->skip =
		calloc(evacuate->from->super.extent_count / WORD_BITS + 1,
		       sizeof(uint64_t));
	for (uint32_t i = 0; i < EVACUATE_MOVES; i++) {
		struct evacuate_move *move = &evacuate->moves[i];

		move->evacuate = evacuate;
		move->iov.iov_len = FORMAT_EXTENT_BYTES;
		move->iov.iov_base = pages_map(FORMAT_EXTENT_BYTES);
		if (!move->iov.iov_base || !evacuate->skip) {
			free_all(evacuate);
			return -ENOMEM;
		}
	}
	pool->evacuate = evacuate;
	return 0;
}

int evacuate_start(struct pool *pool, const struct evacuate_config *config,
		   struct evacuate *evacuate)
{
	int rc = check(pool, config);

	if (rc == 0)
		rc = check_space(pool, config);
	if (rc == 0)
		rc = prepare(pool, config, evacuate);
	if (rc < 0)
		return rc;
	evacuate->is_marking = true;
	evacuate->mark.apply = apply_mark;
	evacuate->mark.done = marked;
	if (!evacuate->from->config.is_volatile) {
		member_change_super(evacuate->from, &evacuate->mark);
		return 0;
	}
	apply_mark(&evacuate->mark, &evacuate->from->super);
	begin(evacuate);
	return 0;
}

int evacuate_undo(struct pool *pool, const struct evacuate_config *config,
		  struct evacuate *evacuate)
{
	int rc = check(pool, config);

	if (rc == 0)
		rc = prepare(pool, config, evacuate);
	if (rc < 0)
		return rc;
	evacuate_cancel(evacuate);
	return 0;
}

void evacuate_cancel(struct evacuate *evacuate)
{
	evacuate->is_staying = true;
	evacuate_stop(evacuate);
}

void evacuate_stop(struct evacuate *evacuate)
{
	evacuate->is_stopping = true;
	evacuate->result = -EINTR;
	evacuate_go_on(evacuate);
}
