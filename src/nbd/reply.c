/* SPDX-License-Identifier: Apache-2.0 */
/* reply.c - answers, in the order in which requests are done; see state.h */
#include "nbd/state.h"

#include <string.h>

#include "nbd/stream.h"

/* In one send: a head and its data for each. */
#define REPLIES_MAX	64U

static void add(struct slot *slot)
{
	struct connection *connection = slot->connection;

	connection->unsent_bytes += slot->head_bytes + slot->payload_bytes;
	slot_list_add(&connection->replies, slot);
	state_heat(connection);
}

void reply_end(struct slot *slot, enum wire_error error)
{
	const struct connection *connection = slot->connection;
	const uint64_t cookie = slot->request.cookie;

	slot->final = true;
	slot->payload_bytes = 0;
	if (!connection->terms.structured) {
		slot->head_bytes = wire_put_simple(slot->head, cookie, error);
	} else if (error == WIRE_OK) {
		slot->head_bytes = wire_put_done(slot->head, cookie);
	} else {
		slot->payload = wire_error_text(error);
		slot->payload_bytes = (uint32_t)strlen(slot->payload);
		slot->head_bytes = wire_put_error(slot->head, cookie, error,
						  slot->payload_bytes);
	}
	add(slot);
}

void reply_refused(struct slot *slot, enum wire_error error)
{
	struct connection *connection = slot->connection;

	/* If another one's is skipped, all of this one's was received. */
	if (slot->request.command == WIRE_WRITE && connection->skip_bytes > 0 &&
	    !connection->refused) {
		connection->refused = slot;
		connection->refused_with = error;
	} else {
		reply_end(slot, error);
	}
}

void reply_data(struct slot *slot)
{
	const struct connection *connection = slot->connection;
	const uint64_t cookie = slot->request.cookie;
	const uint64_t from_bytes = slot->at_bytes - slot->piece_bytes;

	slot->final = slot->left_bytes == 0;
	slot->payload_bytes = slot->piece_bytes;
	if (connection->terms.structured)
		slot->head_bytes =
			wire_put_data(slot->head, cookie, from_bytes,
				      slot->piece_bytes, slot->final);
	else if (from_bytes == slot->request.offset_bytes)
		slot->head_bytes = wire_put_simple(slot->head, cookie, WIRE_OK);
	else
		slot->head_bytes = 0;	/* it has gone before */
	add(slot);
}

void reply_status(struct slot *slot)
{
	const struct wire_request *request = &slot->request;
	const uint32_t most =
		request->flags & WIRE_REQ_ONE ? 1 : CONNECTION_EXTENTS;
	uint64_t at_bytes = 0;
	uint32_t count = 0;

	for (; count < most && at_bytes < request->length_bytes; count++) {
		uint64_t bytes;
		const bool is_hole =
			vdev_is_hole(slot->connection->config.vdev,
				     request->offset_bytes + at_bytes,
				     request->length_bytes - at_bytes, &bytes);

		wire_put_extent(slot->head + WIRE_STATUS_BYTES +
					count * WIRE_EXTENT_BYTES,
				(uint32_t)bytes,
				is_hole ? WIRE_STATE_HOLE | WIRE_STATE_ZERO :
					  0);
		at_bytes += bytes;
	}
	slot->final = true;
	slot->payload_bytes = 0;
	slot->head_bytes = wire_put_status(slot->head, request->cookie, count);
	slot->head_bytes += count * WIRE_EXTENT_BYTES;
	add(slot);
}

/* ---- sending ---- */

static void add_part(struct iovec *iov, unsigned int *count, const void *at,
		     size_t bytes, uint64_t *skip)
{
	if (*skip >= bytes) {
		*skip -= bytes;
		return;
	}
	iov[*count].iov_base = (uint8_t *)(uintptr_t)at + *skip;
	iov[*count].iov_len = bytes - *skip;
	*skip = 0;
	(*count)++;
}

/* What is to go next; returns how many parts that is. */
static unsigned int gather(const struct connection *connection,
			   struct iovec iov[2 * REPLIES_MAX])
{
	const struct slot *slot = connection->replies.first;
	uint64_t skip = connection->sent_bytes;
	unsigned int count = 0;

	while (slot && count < 2 * REPLIES_MAX - 1) {
		add_part(iov, &count, slot->head, slot->head_bytes, &skip);
		if (slot->payload_bytes > 0)
			add_part(iov, &count, slot->payload,
				 slot->payload_bytes, &skip);
		slot = slot->next;
	}
	return count;
}

static void sent_whole(struct slot *slot)
{
	if (slot->final)
		slot->busy = false;
	else
		slot_list_add(&slot->connection->pieces, slot);
}

/* 'bytes' more went; returns how many replies are through. */
static unsigned int account(struct connection *connection, uint64_t bytes)
{
	unsigned int count = 0;

	connection->unsent_bytes -= bytes;
	connection->sent_bytes += bytes;
	while (connection->replies.first) {
		const struct slot *slot = connection->replies.first;
		const uint64_t whole = slot->head_bytes + slot->payload_bytes;

		if (connection->sent_bytes < whole)
			break;
		connection->sent_bytes -= whole;
		sent_whole(slot_list_take(&connection->replies));
		count++;
	}
	return count;
}

unsigned int reply_send(struct connection *connection)
{
	struct iovec iov[2 * REPLIES_MAX];
	unsigned int found = 0;

	connection->blocked = false;
	while (connection->replies.first && !connection->cut) {
		const unsigned int count = gather(connection, iov);
		const ssize_t sent =
			stream_send(&connection->stream, iov, count);

		if (sent < 0) {
			state_end(connection);
			break;
		}
		if (sent == 0) {
			connection->blocked = true;
			break;
		}
		found += 1 + account(connection, (uint64_t)sent);
	}
	if (found > 0)
		state_reclaim_slots(connection);
	return found;
}
