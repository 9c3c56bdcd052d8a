/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request.c - what each command does at the vdev, piece by piece
 *
 * A slot has one piece at the vdev at a time.  'at_bytes' and 'left_bytes' say
 * what the vdev was not asked for yet; when nothing is left, and with FUA a
 * flush is done, the request is answered.
 */
#include "nbd/state.h"

#include <errno.h>

#include "base/container.h"

static struct vdev_process *process_of(const struct connection *connection)
{
	return connection->process ?
		connection->process :
		vdev_find_process(connection->config.vdev, 0);
}

/* While nobody waits for the connection to end. */
static bool may_wait(struct vdev_request *vdev)
{
	const struct slot *slot = container_of(vdev, struct slot, vdev);

	return slot->connection->phase == CONNECTION_SERVING &&
		!slot->connection->cut;
}

static void submit(struct slot *slot, uint64_t now_ns)
{
	struct connection *connection = slot->connection;

	connection->in_flight++;
	slot->vdev.process = process_of(connection);
	slot->vdev.owner = connection;
	slot->vdev.may_wait = may_wait;
	vdev_submit(connection->config.vdev, &slot->vdev, now_ns);
}

/* ---- pieces ---- */

/* The most that goes to the vdev at a time. */
static uint32_t piece_max(const struct slot *slot)
{
	switch ((enum wire_command)slot->request.command) {
	case WIRE_TRIM:
		return CONNECTION_TRIM_BYTES;
	case WIRE_WRITE_ZEROES:
		return CONNECTION_ZEROES_BYTES;
	case WIRE_READ:
	case WIRE_WRITE:
	case WIRE_DISC:
	case WIRE_FLUSH:
	case WIRE_CACHE:
	case WIRE_BLOCK_STATUS:
		break;
	}
	return CONNECTION_PIECE_BYTES;
}

static void submit_range(struct slot *slot, uint8_t op, uint8_t *data,
			 uint64_t from_bytes, uint64_t bytes, uint64_t now_ns)
{
	struct block_request *block = &slot->vdev.block;

	slot->iov.iov_base = data;
	slot->iov.iov_len = bytes;
	block->op = op;
	block->iov = &slot->iov;
	block->iov_count = data ? 1 : 0;
	block->offset_bytes = from_bytes;
	block->length_bytes = bytes;
	submit(slot, now_ns);
}

/* The next of a piece that does not keep to blocks: those in its middle, or
 * one of which it changes a part (edge.c). */
static void submit_edges(struct slot *slot, uint64_t now_ns)
{
	const uint32_t size = vdev_block_size(slot->connection->config.vdev);
	const uint64_t at = slot->piece_at, first = at - at % size;
	const uint64_t whole = (slot->piece_to - at) / size * size;
	uint8_t *data = slot->data;

	if (slot->patching) {
		slot->patching = false;
		edge_patch(slot, size);
		submit_range(slot, BLOCK_WRITE,
			     slot->connection->config.edge->block, first, size,
			     now_ns);
	} else if (at != first || whole == 0) {
		slot->patching = true;
		submit_range(slot, BLOCK_READ,
			     slot->connection->config.edge->block, first, size,
			     now_ns);
	} else {
		slot->piece_at += whole;
		slot->data += data ? whole : 0;
		submit_range(slot, slot->op, data, at, whole, now_ns);
	}
}

/* Whole blocks around what is to be read. */
static void submit_read(struct slot *slot, uint64_t now_ns)
{
	const uint32_t size = vdev_block_size(slot->connection->config.vdev);
	const uint64_t first = slot->piece_at - slot->piece_at % size;
	const uint64_t last = (slot->piece_to + size - 1) / size * size;

	slot->payload = slot->data + (slot->piece_at - first);
	submit_range(slot, BLOCK_READ, slot->data, first, last - first, now_ns);
}

static void submit_piece(struct slot *slot, uint64_t now_ns)
{
	const uint32_t most = piece_max(slot);

	slot->piece_bytes = slot->left_bytes < most ? slot->left_bytes : most;
	slot->piece_at = slot->at_bytes;
	slot->piece_to = slot->at_bytes + slot->piece_bytes;
	slot->at_bytes += slot->piece_bytes;
	slot->left_bytes -= slot->piece_bytes;
	if (slot->op == BLOCK_READ)
		submit_read(slot, now_ns);
	else if (slot->has_edges)
		submit_edges(slot, now_ns);
	else
		submit_range(slot, slot->op, slot->data, slot->piece_at,
			     slot->piece_bytes, now_ns);
}

static void submit_flush(struct slot *slot, uint64_t now_ns)
{
	slot->flushing = true;
	slot->vdev.block.op = BLOCK_FLUSH;
	slot->vdev.block.flags = 0;
	slot->vdev.block.iov = NULL;
	slot->vdev.block.iov_count = 0;
	slot->vdev.block.offset_bytes = 0;
	slot->vdev.block.length_bytes = 0;
	submit(slot, now_ns);
}

/* ---- done ---- */

/* Nothing of it is under way any more. */
static void leave(struct slot *slot)
{
	slot->running = false;
	if (slot->connection->config.edge->is_wanted)
		edge_leave(slot);
}

/* Nobody is to be answered any more. */
static void drop(struct slot *slot)
{
	slot->holds_input = false;
	slot->busy = false;
	leave(slot);
	if (slot->connection->in_flight == 0)
		state_heat(slot->connection);
}

/* What was not received yet of its data is of no use. */
static void forget_data(struct slot *slot)
{
	struct connection *connection = slot->connection;

	if (connection->incoming != slot)
		return;
	connection->incoming = NULL;
	connection->skip_bytes = slot->left_bytes;
}

static void fail(struct slot *slot, int result)
{
	struct connection *connection = slot->connection;

	leave(slot);
	forget_data(slot);
	/* A part of the answer has gone already, as if all were well. */
	if (slot->request.command == WIRE_READ &&
	    !connection->terms.structured &&
	    slot->at_bytes - slot->piece_bytes > slot->request.offset_bytes) {
		slot->busy = false;
		state_fail(connection,
			   "a read failed in the middle of its reply");
		return;
	}
	reply_refused(slot, wire_error_of(result));
}

static void end(struct slot *slot)
{
	leave(slot);
	reply_end(slot, WIRE_OK);
}

static void piece_done(struct slot *slot)
{
	struct connection *connection = slot->connection;

	if (slot->request.command == WIRE_READ) {
		reply_data(slot);
	} else if (slot->left_bytes > 0) {
		/* A write's next piece may have to be received first. */
		if (connection->incoming != slot)
			slot_list_add(&connection->pieces, slot);
		state_heat(connection);
	} else if ((slot->request.flags & WIRE_FUA) && !slot->flushing &&
		   slot->request.command != WIRE_FLUSH) {
		submit_flush(slot, loop_now_ns(connection->config.loop));
	} else {
		end(slot);
	}
}

static void done(struct vdev_request *vdev)
{
	struct slot *slot = container_of(vdev, struct slot, vdev);
	struct connection *connection = slot->connection;

	connection->in_flight--;
	if (connection->cut) {
		drop(slot);
	} else if (vdev->block.result < 0) {
		slot->holds_input = false;
		fail(slot, vdev->block.result);
	} else if (slot->has_edges && !slot->flushing &&
		   (slot->patching || slot->piece_at < slot->piece_to)) {
		submit_edges(slot, loop_now_ns(connection->config.loop));
	} else {
		slot->holds_input = false;
		piece_done(slot);
	}
}

/* ---- from above ---- */

static void transfer(struct slot *slot, enum block_op op, uint8_t flags,
		     uint64_t now_ns)
{
	slot->op = (uint8_t)op;
	slot->vdev.block.flags = flags;
	slot->vdev.done = done;
	slot->flushing = false;
	slot->at_bytes = slot->request.offset_bytes;
	slot->left_bytes = slot->request.length_bytes;
	slot->patching = false;
	slot->running = true;
	if (slot->left_bytes > 0)
		submit_piece(slot, now_ns);
	else if (op != BLOCK_READ && (slot->request.flags & WIRE_FUA))
		submit_flush(slot, now_ns);
	else
		end(slot);
}

/* Only whole blocks of it. */
static void trim(struct slot *slot, uint64_t now_ns)
{
	const uint32_t size = vdev_block_size(slot->connection->config.vdev);
	const uint64_t from = slot->request.offset_bytes;
	const uint64_t first = (from + size - 1) / size * size;
	const uint64_t last = (from + slot->request.length_bytes) / size * size;

	slot->request.offset_bytes = first;
	slot->request.length_bytes =
		last > first ? (uint32_t)(last - first) : 0;
	transfer(slot, BLOCK_DISCARD, 0, now_ns);
}

/* Fast, if that is asked for, or not at all. */
static void write_zeroes(struct slot *slot, uint64_t now_ns)
{
	const struct wire_request *request = &slot->request;
	const bool may_unmap = !(request->flags & WIRE_NO_HOLE);

	if (request->flags & WIRE_FAST_ZERO &&
	    !vdev_zeroes_fast(slot->connection->config.vdev,
			      request->offset_bytes, request->length_bytes,
			      may_unmap)) {
		fail(slot, -EOPNOTSUPP);
		return;
	}
	transfer(slot, BLOCK_WRITE_ZEROES, may_unmap ? BLOCK_FLAG_UNMAP : 0,
		 now_ns);
}

void request_begin(struct slot *slot, uint64_t now_ns)
{
	const struct wire_request *request = &slot->request;

	switch ((enum wire_command)request->command) {
	case WIRE_READ:
		transfer(slot, BLOCK_READ, 0, now_ns);
		return;
	case WIRE_WRITE:
		slot->holds_input = request->length_bytes > 0;
		transfer(slot, BLOCK_WRITE, 0, now_ns);
		return;
	case WIRE_TRIM:
		trim(slot, now_ns);
		return;
	case WIRE_WRITE_ZEROES:
		write_zeroes(slot, now_ns);
		return;
	case WIRE_FLUSH:
		slot->vdev.done = done;
		slot->left_bytes = 0;
		submit_flush(slot, now_ns);
		return;
	case WIRE_BLOCK_STATUS:
		reply_status(slot);
		return;
	case WIRE_CACHE:
		/* A hint; the device is as quick as it is. */
	case WIRE_DISC:
		break;
	}
	reply_end(slot, WIRE_OK);
}

void request_go_on(struct slot *slot, uint64_t now_ns)
{
	slot->holds_input = true;
	submit_piece(slot, now_ns);
}

void request_pieces(struct connection *connection, uint64_t now_ns)
{
	struct slot_list list = connection->pieces;

	if (!list.first)
		return;
	connection->pieces.first = NULL;
	connection->pieces.end = &connection->pieces.first;
	/* The list's end may be inside of the connection. */
	list.end = NULL;
	while (list.first) {
		struct slot *slot = list.first;

		list.first = slot->next;
		submit_piece(slot, now_ns);
	}
}

static void taken(struct vdev_request *vdev)
{
	struct slot *slot = container_of(vdev, struct slot, vdev);

	slot->connection->in_flight--;
	slot->busy = false;
	leave(slot);
}

void request_abandon(struct connection *connection)
{
	if (connection->in_flight > 0)
		vdev_take_back(connection->config.vdev, connection, taken,
			       loop_now_ns(connection->config.loop));
}

void request_hurry(struct connection *connection, uint64_t now_ns)
{
	if (connection->in_flight > 0)
		vdev_let_go(connection->config.vdev, connection, now_ns);
}
