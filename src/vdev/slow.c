/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slow.c - see slow.h
 *
 * A request is cut into pieces, each inside one extent (a flush: a device each;
 * a discard: all whole extents at once):
 *
 *	begin --> list of those not cut to their end --> pieces --> end
 *
 * A vdev has so many pieces and no more.  The requests in the list take turns,
 * piece by piece, so that a long one holds up no other; those that find no
 * piece wait for one.  No piece waits for another piece's memory, only for its
 * turn, its device, its log and its pool, so that pieces always come back.
 *
 * One or two extents' worth is one request to the promises of its process, too:
 * the first piece has a turn at its device and pays for all (its leader), and
 * the other one, if it goes to the same device, goes with it.
 *
 * A write's piece:
 *
 *	volume_map ---------- yes ------------------> its turn, device --> end
 *	    |                                             ^
 *	    no --> volume_write -- READY -----------------+
 *	                |          PLACED: its data and its MAP, both --> end;
 *	                |          or volume_map again: the place was bad
 *	                +--------- WAIT: volume_map again, when woken
 */
#include "vdev/slow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/container.h"

#define EXTENT_MASK	(FORMAT_EXTENT_BYTES - 1)

struct vdev_piece {
	struct vdev_request as;		/* to a scheduler and its device */
	struct vdev_request *parent;
	struct vdev_piece *next;	/* while free */
	uint64_t offset_bytes;		/* of the vdev */
	uint64_t length_bytes;
	bool is_placed;			/* its data and its MAP, both */
	/* What volume_write had to say before it returned. */
	bool is_asking, was_told;
	int told;
	bool is_issued;			/* or waits for its turn */
	struct vdev_piece *follower;	/* that waits for the same; or NULL */
	union {
		struct volume_alloc alloc;
		struct volume_unmap unmap;
		struct member_flush flush;
	};
	struct iovec iov[BLOCK_IOV_MAX];
};

struct vdev_slow {
	struct vdev_request *first, **end;	/* not cut to their end */
	struct vdev_piece *free;
	uint32_t used;		/* of 'pieces'; the rest was never touched */
	bool is_cutting;
	struct vdev_piece pieces[VDEV_PIECES];
};

int vdev_slow_create(struct vdev_slow **ret_slow, struct error *reterr)
{
	struct vdev_slow *slow = calloc(1, sizeof(*slow));

	if (!slow)
		return error_set(reterr, -ENOMEM, "no memory for a vdev");
	slow->end = &slow->first;
	*ret_slow = slow;
	return 0;
}

void vdev_slow_destroy(struct vdev_slow *slow)
{
	free(slow);
}

static struct vdev *vdev_of(const struct vdev_piece *piece)
{
	return piece->parent->process->vdev;
}

/* ---- pieces and requests end ---- */

static struct vdev_piece *take_piece(struct vdev_slow *slow)
{
	struct vdev_piece *piece = slow->free;

	if (piece)
		slow->free = piece->next;
	else if (slow->used < VDEV_PIECES)
		piece = &slow->pieces[slow->used++];
	return piece;
}

static void put_piece(struct vdev_slow *slow, struct vdev_piece *piece)
{
	piece->next = slow->free;
	slow->free = piece;
}

/* There is no space; or there is, but not where its process was promised what
 * it was promised. */
static void refuse(struct vdev_request *request)
{
	struct vdev *vdev = request->process->vdev;

	if (!request->failed_ns) {
		stats_add(&vdev->unpromised->stats->no_space, 1);
		vdev->refused.no_space++;
		vdev->refused.unfit += request->block.result == -EDQUOT;
	}
	request->block.result = -ENOSPC;
}

int vdev_choose(struct pool *pool, const struct volume *volume,
		const void *writer, uint64_t candidates)
{
	const struct vdev_process *process = writer;

	(void)volume;
	/* Whoever writes it, all of them may come to read it. */
	if (process)
		process = process->vdev->processes;
	for (; process; process = process->next)
		if (process->config.members)
			candidates &= process->config.members;
	return candidates ? pool_prefer(pool, candidates) : -1;
}

static void put_request(struct vdev_request *request)
{
	if (--request->split.under_way > 0)
		return;
	request->block.result = request->split.result;
	if (request->block.result == -ENOSPC ||
	    request->block.result == -EDQUOT)
		refuse(request);
	vdev_device_end(request);
}

static void cut_all(struct vdev_slow *slow);

/* The first error is the request's. */
static void end_piece(struct vdev_piece *piece, int result)
{
	struct vdev_request *parent = piece->parent;
	struct vdev_slow *slow = vdev_of(piece)->slow;

	if (result < 0 && parent->split.result == 0)
		parent->split.result = result;
	if (parent->split.leader == piece)
		parent->split.leader = NULL;
	put_piece(slow, piece);
	put_request(parent);
	cut_all(slow);
}

/* ---- at a device ---- */

static struct vdev_piece *piece_of(struct vdev_request *as)
{
	return container_of(as, struct vdev_piece, as);
}

static void piece_done(struct block_request *block)
{
	struct vdev_request *as = vdev_request_of(block);
	struct vdev_piece *piece = piece_of(as);

	member_leave(as->at.member, as->at.parity);
	vdev_device_done(as->at.way->device, as, block->result);
	if (piece->is_placed)
		volume_wrote(&piece->alloc, block->result);
	else
		end_piece(piece, block->result);
}

/* What a request has from 'skip' bytes on.  Returns how many segments. */
static uint32_t cut_iov(const struct block_request *block, uint64_t skip,
			uint64_t length, struct iovec *to)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < block->iov_count && length > 0; i++) {
		const struct iovec *from = &block->iov[i];
		uint64_t bytes = from->iov_len;

		if (skip >= bytes) {
			skip -= bytes;
			continue;
		}
		bytes -= skip;
		if (bytes > length)
			bytes = length;
		to[count++] = (struct iovec){
			.iov_base = (char *)from->iov_base + skip,
			.iov_len = bytes,
		};
		length -= bytes;
		skip = 0;
	}
	return count;
}

static uint32_t piece_iov(struct vdev_piece *piece)
{
	const struct block_request *block = &piece->parent->block;

	return cut_iov(block, piece->offset_bytes - block->offset_bytes,
		       piece->length_bytes, piece->iov);
}

static void flush_member(struct vdev_piece *piece);

static void submit(struct vdev_request *as)
{
	struct vdev_device *device = as->at.way->device;

	vdev_device_begin(device, as);
	if (piece_of(as)->parent->failed_ns)
		stats_add(&device->stats->retries, 1);
	if (as->block.op == BLOCK_FLUSH)
		flush_member(piece_of(as));
	else
		block_submit(device->block, &as->block);
}

static void follow(struct vdev_piece *piece, const struct vdev_request *leader)
{
	piece->as.process = leader->process;
	piece->as.at.way = leader->at.way;
}

/* A piece may have ended when this returns, its leader before it, too. */
void vdev_slow_issue(struct vdev_request *as)
{
	struct vdev_piece *piece = piece_of(as), *follower = piece->follower;

	piece->is_issued = true;
	if (follower)
		follow(follower, as);
	submit(as);
	if (follower)
		submit(&follower->as);
}

void vdev_slow_resubmit(struct vdev_request *as, struct vdev_process *process)
{
	struct vdev_way *way = vdev_process_way(process, as->at.member);
	const uint64_t round_ns = way->device->round_ns;

	as->process = process;
	as->at.way = way;
	if (way->device->is_immediate ||
	    sched_submit(way->device->sched, way->client, &as->sched,
			 as->arrival_ns > round_ns ? as->arrival_ns :
						     round_ns) == SCHED_GO)
		vdev_slow_issue(as);
}

/* Returns whether it needs no turn of its own. */
static bool has_leader(struct vdev_piece *piece)
{
	struct vdev_request *parent = piece->parent;
	struct vdev_piece *leader = parent->split.leader;

	if (parent->block.op > BLOCK_WRITE ||
	    parent->block.length_bytes > FORMAT_EXTENT_BYTES)
		return false;
	if (!leader) {
		piece->as.sched.bytes = (uint32_t)parent->block.length_bytes;
		parent->split.leader = piece;
		return false;
	}
	if (leader->as.at.member != piece->as.at.member)
		return false;
	piece->as.follows = true;
	if (leader->is_issued) {
		follow(piece, &leader->as);
		submit(&piece->as);
	} else {
		leader->follower = piece;
	}
	return true;
}

/* Wait for its turn at the device of 'member', and begin there. */
static void take_turn(struct vdev_piece *piece, struct member *member)
{
	struct vdev_request *as = &piece->as;

	piece->is_issued = false;
	piece->follower = NULL;
	as->follows = false;
	as->arrival_ns = piece->parent->arrival_ns;
	as->at.member = member;
	as->is_piece = true;
	as->sched.direction = as->block.op != BLOCK_READ;
	as->sched.bytes = (uint32_t)as->block.length_bytes;
	if (has_leader(piece))
		return;
	vdev_slow_resubmit(as, piece->parent->process);
}

static void issue(struct vdev_piece *piece, const struct volume_place *place)
{
	const uint8_t op = piece->parent->block.op;
	const bool is_transfer = op <= BLOCK_WRITE;

	piece->as.at.parity = member_enter(place->member);
	piece->as.block = (struct block_request){
		.done = piece_done,
		.offset_bytes = place->offset_bytes,
		.length_bytes = piece->length_bytes,
		.iov = piece->iov,
		.iov_count = is_transfer ? piece_iov(piece) : 0,
		.op = is_transfer ? op : BLOCK_WRITE_ZEROES,
		.flags = op == BLOCK_DISCARD ? BLOCK_FLAG_UNMAP :
					       piece->parent->block.flags,
	};
	take_turn(piece, place->member);
}

/* ---- reads ---- */

static void read_piece(struct vdev_piece *piece)
{
	struct volume_place place;
	uint64_t bytes;
	uint32_t count;

	switch (volume_read(vdev_of(piece)->volume, piece->offset_bytes,
			    piece->length_bytes, &place, &bytes)) {
	case VOLUME_MAPPED:
		issue(piece, &place);
		break;
	case VOLUME_ZERO:
		/* Memory that its front takes away: see os/guard.h. */
		count = piece_iov(piece);
		for (uint32_t i = 0; i < count; i++)
			memset(piece->iov[i].iov_base, 0,
			       piece->iov[i].iov_len);
		end_piece(piece, 0);
		break;
	case VOLUME_MISSING:
		end_piece(piece, -EIO);
		break;
	}
}

/* ---- writes ---- */

static void write_piece(struct vdev_piece *piece);

static void placed(struct vdev_piece *piece, int result)
{
	piece->is_placed = false;
	if (result == -EAGAIN) {
		/* It takes another turn, for itself. */
		if (piece->parent->split.leader == piece)
			piece->parent->split.leader = NULL;
		write_piece(piece);
		return;
	}
	if (piece->as.block.result == 0)
		vdev_device_blame(piece->as.at.member->config.user, result);
	end_piece(piece, result);
}

static void allocated(struct volume_alloc *alloc, int result)
{
	struct vdev_piece *piece =
		container_of(alloc, struct vdev_piece, alloc);

	if (piece->is_asking) {
		piece->was_told = true;
		piece->told = result;
	} else if (piece->is_placed) {
		placed(piece, result);
	} else if (result < 0) {
		end_piece(piece, result);
	} else {
		write_piece(piece);
	}
}

/* As volume_write, and 'done' is never called inside. */
static int ask(struct vdev_piece *piece, struct volume_place *ret_place)
{
	struct volume *volume = vdev_of(piece)->volume;
	int rc;

	do {
		piece->alloc.done = allocated;
		piece->alloc.writer = piece->parent->process;
		piece->alloc.tells = true;
		piece->was_told = false;
		piece->is_asking = true;
		rc = volume_write(volume, piece->offset_bytes, &piece->alloc,
				  ret_place);
		piece->is_asking = false;
		if (piece->was_told && piece->told < 0)
			return piece->told;
	} while (rc == VOLUME_WAIT && piece->was_told);
	piece->is_placed = rc == VOLUME_PLACED;
	return rc;
}

static bool is_hole(const struct vdev_piece *piece)
{
	struct volume_place place;
	uint64_t bytes;

	return volume_read(vdev_of(piece)->volume, piece->offset_bytes,
			   piece->length_bytes, &place, &bytes) == VOLUME_ZERO;
}

/* Data, or zeroes where there is something else. */
static void write_piece(struct vdev_piece *piece)
{
	const struct vdev *vdev = vdev_of(piece);
	struct volume_place place;
	int rc;

	if (piece->offset_bytes + piece->length_bytes > vdev->size_bytes) {
		end_piece(piece, -EINVAL);
		return;
	}
	if (piece->parent->block.op != BLOCK_WRITE && is_hole(piece)) {
		end_piece(piece, 0);
		return;
	}
	if (volume_map(vdev->volume, piece->offset_bytes, piece->length_bytes,
		       true, &place)) {
		issue(piece, &place);
		return;
	}
	rc = ask(piece, &place);
	if (rc < 0)
		end_piece(piece, rc);
	else if (rc != VOLUME_WAIT)
		issue(piece, &place);
}

static void begin_write(struct vdev_piece *piece)
{
	piece->alloc.avoid = 0;
	piece->alloc.moves = 0;
	write_piece(piece);
}

/* ---- discards and flushes ---- */

static void unmapped(struct volume_unmap *unmap, int result)
{
	end_piece(container_of(unmap, struct vdev_piece, unmap), result);
}

static void flushed(struct member_flush *flush, int result)
{
	struct vdev_piece *piece =
		container_of(flush, struct vdev_piece, flush);

	member_leave(piece->as.at.member, piece->as.at.parity);
	vdev_device_done(piece->as.at.way->device, &piece->as, result);
	end_piece(piece, result);
}

static void flush_member(struct vdev_piece *piece)
{
	piece->flush.done = flushed;
	member_flush(piece->as.at.member, &piece->flush);
}

/* A hole may be what a missing device has: discarding that does nothing, and it
 * cannot be said to be zeroes. */
static bool gives_back(const struct volume *volume,
		       const struct block_request *block)
{
	return block->op == BLOCK_DISCARD ||
		(block->op == BLOCK_WRITE_ZEROES && !volume->missing &&
		 block->flags & BLOCK_FLAG_UNMAP);
}

/* Whole extents from its start?  The vdev's last one may be short. */
static uint64_t whole_bytes(const struct vdev_piece *piece, uint64_t left_bytes)
{
	if (piece->offset_bytes & EXTENT_MASK)
		return 0;
	if (piece->offset_bytes + left_bytes == vdev_of(piece)->size_bytes)
		return left_bytes;
	return left_bytes & ~EXTENT_MASK;
}

static void unmap_piece(struct vdev_piece *piece)
{
	const uint64_t end_bytes = piece->offset_bytes + piece->length_bytes;
	const uint32_t first =
		(uint32_t)(piece->offset_bytes >> FORMAT_EXTENT_SHIFT);
	const uint32_t end =
		(uint32_t)((end_bytes + EXTENT_MASK) >> FORMAT_EXTENT_SHIFT);

	piece->unmap.done = unmapped;
	volume_unmap(vdev_of(piece)->volume, first, end - first, &piece->unmap);
}

/* ---- cutting ---- */

/* The next device that the volume may be on.  Returns true: there are more. */
static bool begin_flush(struct vdev_piece *piece)
{
	struct vdev_request *request = piece->parent;
	const struct volume *volume = vdev_of(piece)->volume;
	const uint64_t left = volume_devices(volume) >>
		request->split.begun_bytes << request->split.begun_bytes;
	const bool has_more = (left & (left - 1)) != 0;
	uint32_t m;

	if (left == 0) {
		end_piece(piece, 0);
		return false;
	}
	m = (uint32_t)__builtin_ctzll(left);
	request->split.begun_bytes = m + 1U;
	piece->as.block = (struct block_request){.op = BLOCK_FLUSH};
	piece->as.at.parity = member_enter(volume->pool->members[m]);
	take_turn(piece, volume->pool->members[m]);
	return has_more;
}

/* Returns true when there is more of the request, which then has not ended. */
static bool begin_piece(struct vdev_piece *piece)
{
	struct vdev_request *request = piece->parent;
	const struct block_request *block = &request->block;
	uint64_t left_bytes, whole = 0;

	request->split.under_way++;
	if (block->op == BLOCK_FLUSH)
		return begin_flush(piece);
	piece->offset_bytes = block->offset_bytes + request->split.begun_bytes;
	left_bytes = block->length_bytes - request->split.begun_bytes;
	if (gives_back(vdev_of(piece)->volume, block))
		whole = whole_bytes(piece, left_bytes);
	piece->length_bytes = whole ?
		whole :
		FORMAT_EXTENT_BYTES - (piece->offset_bytes & EXTENT_MASK);
	if (piece->length_bytes > left_bytes)
		piece->length_bytes = left_bytes;
	request->split.begun_bytes += piece->length_bytes;
	piece->is_asking = piece->is_placed = false;
	if (piece->offset_bytes + piece->length_bytes >
	    vdev_of(piece)->size_bytes)
		end_piece(piece, -EINVAL);
	else if (whole)
		unmap_piece(piece);
	else if (block->op == BLOCK_READ)
		read_piece(piece);
	else
		begin_write(piece);
	return request->split.begun_bytes < block->length_bytes;
}

/* Pieces that end meanwhile are taken again by the loop, not inside of it. */
static void cut_all(struct vdev_slow *slow)
{
	struct vdev_piece *piece;

	if (slow->is_cutting)
		return;
	slow->is_cutting = true;
	while (slow->first && (piece = take_piece(slow)) != NULL) {
		struct vdev_request *request = slow->first;

		slow->first = request->split.next;
		if (!slow->first)
			slow->end = &slow->first;
		piece->parent = request;
		if (begin_piece(piece) && request->split.result == 0) {
			request->split.next = NULL;
			*slow->end = request;
			slow->end = &request->split.next;
		} else {
			put_request(request);
		}
	}
	slow->is_cutting = false;
}

void vdev_slow_begin(struct vdev_request *request)
{
	struct vdev_slow *slow = request->process->vdev->slow;

	if (!request->told)
		vdev_device_arrive(request, request->arrival_ns);
	/* One of these is this list's. */
	request->split.under_way = 1;
	request->split.begun_bytes = 0;
	request->split.result = 0;
	request->split.leader = NULL;
	request->split.next = NULL;
	*slow->end = request;
	slow->end = &request->split.next;
	cut_all(slow);
}
