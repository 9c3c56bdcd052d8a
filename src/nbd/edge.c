/* SPDX-License-Identifier: Apache-2.0 */
/*
 * edge.c - requests that begin or end inside of a block
 *
 * NBD counts in bytes, the vdev in blocks.  What is written to a part of a
 * block is put into what was read of it, and the whole is written; meanwhile
 * nobody else may change that block, or what he was told is written would be
 * overwritten with what was there before.  So such a request owns the edge, of
 * which there is one for all NBD connections of a vdev: it begins when nothing
 * that changes its blocks is under way, and what would change them waits until
 * it is done.  Everybody else goes on.
 */
#include "nbd/state.h"

#include <stdlib.h>
#include <string.h>

struct edge *edge_create(void)
{
	struct edge *edge = calloc(1, sizeof(*edge));

	if (edge)
		edge->users = 1;
	return edge;
}

void edge_put(struct edge *edge)
{
	if (edge && --edge->users == 0)
		free(edge);
}

static bool changes(const struct slot *slot)
{
	return slot->request.command == WIRE_WRITE ||
		slot->request.command == WIRE_TRIM ||
		slot->request.command == WIRE_WRITE_ZEROES;
}

static uint64_t end_of(const struct slot *slot)
{
	return slot->request.offset_bytes + slot->request.length_bytes;
}

bool edge_is_changed(const struct connection *connection,
		     const struct slot *slot, uint64_t from_bytes,
		     uint64_t to_bytes)
{
	for (uint32_t i = connection->slot_tail; i != connection->slot_head;
	     i++) {
		const struct slot *other = state_slot(connection, i);

		if (other != slot && other->busy && other->running &&
		    changes(other) && other->request.offset_bytes < to_bytes &&
		    end_of(other) > from_bytes)
			return true;
	}
	return false;
}

static bool is_owned_there(const struct edge *edge, uint64_t from_bytes,
			   uint64_t to_bytes)
{
	return edge->owner && edge->from_bytes < to_bytes &&
		edge->to_bytes > from_bytes;
}

bool edge_enter(struct connection *connection, struct slot *slot)
{
	const struct connection_config *config = &connection->config;
	const uint32_t block = vdev_block_size(config->vdev);
	const uint64_t from = slot->request.offset_bytes, to = end_of(slot);
	const uint64_t first = from - from % block;
	const uint64_t last = (to + block - 1) / block * block;

	/* Of a trim only whole blocks are meant. */
	slot->has_edges = slot->request.command != WIRE_TRIM &&
		block <= sizeof(config->edge->block) &&
		(first != from || last != to);
	if (!slot->has_edges && !is_owned_there(config->edge, from, to))
		return true;
	if (slot->has_edges && !config->edge->owner &&
	    !config->ops->changes(config->arg, slot, first, last)) {
		config->edge->owner = slot;
		config->edge->is_wanted = true;
		config->edge->from_bytes = first;
		config->edge->to_bytes = last;
		return true;
	}
	connection->awaits_edge = true;
	config->edge->is_wanted = true;
	return false;
}

void edge_leave(struct slot *slot)
{
	const struct connection *connection = slot->connection;
	struct edge *edge = connection->config.edge;

	if (edge->owner == slot)
		edge->owner = NULL;
	slot->has_edges = false;
	edge->is_wanted = edge->owner != NULL;
	if (!connection->orphaned)
		connection->config.ops->edge_freed(connection->config.arg);
}

void edge_abandon(struct connection *connection)
{
	struct edge *edge = connection->config.edge;

	for (uint32_t i = 0; connection->slots && i < CONNECTION_SLOTS; i++) {
		connection->slots[i].running = false;
		if (edge->owner == &connection->slots[i])
			edge->owner = NULL;
	}
	if (edge->is_wanted && !connection->orphaned)
		connection->config.ops->edge_freed(connection->config.arg);
}

void edge_patch(struct slot *slot, uint32_t block_bytes)
{
	uint8_t *block = slot->connection->config.edge->block;
	const uint64_t first = slot->piece_at - slot->piece_at % block_bytes;
	const uint64_t to = slot->piece_to < first + block_bytes ?
		slot->piece_to :
		first + block_bytes;
	const size_t into = slot->piece_at - first;
	const size_t bytes = to - slot->piece_at;

	if (slot->data) {
		memcpy(block + into, slot->data, bytes);
		slot->data += bytes;
	} else {
		memset(block + into, 0, bytes);
	}
	slot->piece_at = to;
}
