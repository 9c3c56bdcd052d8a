/* SPDX-License-Identifier: Apache-2.0 */
/* receive.c - requests out of the input ring; see state.h */
#include "nbd/state.h"

#include <assert.h>

#include "sched/turns.h"

/* In one go: so that neighbours on the reactor get their turn. */
#define RECEIVE_MAX_BYTES	(UINT32_C(256) << 10)

static_assert((CONNECTION_INPUT_BYTES & (CONNECTION_INPUT_BYTES - 1)) == 0 &&
		      CONNECTION_INPUT_BYTES >= 2 * CONNECTION_PIECE_BYTES,
	      "a piece fits behind another one");

static const uint8_t *input_at(const struct connection *connection,
			       uint64_t position)
{
	return connection->input + position % CONNECTION_INPUT_BYTES;
}

static uint64_t available(const struct connection *connection)
{
	return connection->input_head - connection->input_taken;
}

static uint32_t room(const struct connection *connection)
{
	return CONNECTION_INPUT_BYTES -
		(uint32_t)(connection->input_head - connection->input_tail);
}

/* How much of a request's data must be there before it begins. */
static uint32_t first_piece(uint32_t payload_bytes)
{
	return payload_bytes < CONNECTION_PIECE_BYTES ? payload_bytes :
							CONNECTION_PIECE_BYTES;
}

/* Nobody may be that wrong by accident. */
static bool is_hostile(const struct wire_request *request)
{
	return wire_payload_bytes(request) > 2 * WIRE_PAYLOAD_MAX;
}

/* How many requests are there whole, up to 'most'?  Beyond data that are still
 * to come there is none. */
static unsigned int count_whole(const struct connection *connection,
				unsigned int most)
{
	uint64_t at = connection->input_taken;
	unsigned int count = 0;

	while (count < most &&
	       connection->input_head - at >= WIRE_REQUEST_BYTES) {
		struct wire_request request;
		uint32_t payload;

		/* One that is wrong is to be found. */
		if (!wire_get_request(input_at(connection, at), &request))
			return count + 1;
		if (is_hostile(&request))
			return count + 1;
		payload = wire_payload_bytes(&request);
		at += WIRE_REQUEST_BYTES;
		if (connection->input_head - at < first_piece(payload))
			break;
		count++;
		at += payload;
		if (at > connection->input_head)
			break;
	}
	return count;
}

/* ---- one request ---- */

static struct slot *take_slot(struct connection *connection)
{
	struct slot *slot = state_slot(connection, connection->slot_head);

	if (connection->slot_head - connection->slot_tail == CONNECTION_SLOTS) {
		connection->starved = true;
		return NULL;
	}
	connection->slot_head++;
	slot->busy = true;
	slot->holds_input = false;
	slot->data = NULL;
	slot->arena_end = connection->arena_head;
	return slot;
}

static void give_back_newest(struct connection *connection)
{
	connection->slot_head--;
	connection->starved = true;
}

/* Read: where to.  Returns false: there is no room now. */
static bool give_arena(struct connection *connection, struct slot *slot)
{
	/* Whole blocks: before it and after it there may be more of one. */
	const uint32_t bytes = first_piece(slot->request.length_bytes) +
		2 * vdev_block_size(connection->config.vdev);

	slot->data = state_take_arena(connection, slot, bytes);
	return slot->data != NULL;
}

/* Write: its data begin here, and go on for so long. */
static void give_data(struct connection *connection, struct slot *slot)
{
	const uint32_t bytes = slot->request.length_bytes;
	const uint32_t piece = first_piece(bytes);

	slot->data = (uint8_t *)(uintptr_t)input_at(connection,
						    connection->input_taken);
	connection->input_taken += piece;
	slot->input_end = connection->input_taken;
	if (bytes > piece)
		connection->incoming = slot;
}

/* Take the data of a request that is not carried out. */
static void skip(struct connection *connection)
{
	const uint64_t there = available(connection);
	const uint32_t bytes = connection->skip_bytes < there ?
		connection->skip_bytes :
		(uint32_t)there;

	connection->input_taken += bytes;
	connection->skip_bytes -= bytes;
	if (connection->skip_bytes > 0 || !connection->refused)
		return;
	reply_end(connection->refused, connection->refused_with);
	connection->refused = NULL;
}

static void refuse(struct connection *connection, struct slot *slot,
		   enum wire_error error)
{
	connection->skip_bytes = wire_payload_bytes(&slot->request);
	skip(connection);
	reply_refused(slot, error);
}

static bool is_change(const struct wire_request *request)
{
	return request->command == WIRE_WRITE ||
		request->command == WIRE_TRIM ||
		request->command == WIRE_WRITE_ZEROES;
}

/* The request at the front of the ring, which is there up to a piece.  Returns
 * false: not now. */
static bool take(struct connection *connection, uint64_t now_ns)
{
	struct slot *slot = take_slot(connection);
	enum wire_error error;

	if (!slot)
		return false;
	if (!wire_get_request(input_at(connection, connection->input_taken),
			      &slot->request)) {
		give_back_newest(connection);
		state_fail(connection, "what came is no request");
		return false;
	}
	if (is_hostile(&slot->request)) {
		give_back_newest(connection);
		state_fail(connection, "it wants to write %u bytes at once",
			   slot->request.length_bytes);
		return false;
	}
	if (slot->request.command == WIRE_DISC) {
		connection->slot_head--;
		connection->phase = CONNECTION_LEAVING;
		return false;
	}
	connection->terms.size_bytes = vdev_size_bytes(connection->config.vdev);
	error = connection->phase == CONNECTION_SERVING ?
		wire_check(&slot->request, &connection->terms) :
		WIRE_ESHUTDOWN;
	if (error == WIRE_OK && slot->request.command == WIRE_READ &&
	    !give_arena(connection, slot)) {
		give_back_newest(connection);
		return false;
	}
	slot->has_edges = false;
	slot->running = false;
	if (error == WIRE_OK && is_change(&slot->request) &&
	    !edge_enter(connection, slot)) {
		connection->slot_head--;
		return false;
	}
	connection->input_taken += WIRE_REQUEST_BYTES;
	if (error != WIRE_OK) {
		refuse(connection, slot, error);
		return true;
	}
	if (slot->request.command == WIRE_WRITE)
		give_data(connection, slot);
	request_begin(slot, now_ns);
	return true;
}

/* ---- all that came ---- */

/* The next piece of a long write.  Returns false: not now. */
static bool go_on(struct connection *connection, uint64_t now_ns)
{
	struct slot *slot = connection->incoming;
	const uint32_t piece = first_piece(slot->left_bytes);

	if (slot->holds_input || available(connection) < piece)
		return false;
	slot->data = (uint8_t *)(uintptr_t)input_at(connection,
						    connection->input_taken);
	connection->input_taken += piece;
	slot->input_end = connection->input_taken;
	if (slot->left_bytes == piece)
		connection->incoming = NULL;
	request_go_on(slot, now_ns);
	return true;
}

bool receive_is_ready(const struct connection *connection)
{
	if (connection->phase == CONNECTION_LEAVING || connection->starved ||
	    connection->awaits_edge ||
	    connection->unsent_bytes >= CONNECTION_UNSENT_BYTES)
		return false;
	if (connection->skip_bytes > 0)
		return available(connection) > 0;
	if (connection->incoming)
		return !connection->incoming->holds_input &&
			available(connection) >=
			first_piece(connection->incoming->left_bytes);
	return count_whole(connection, 1) > 0;
}

/* Carry out what is there, as much as it is this connection's turn to.
 * Returns how much that was, or 1 if it has to sit out. */
static unsigned int take_all(struct connection *connection, uint64_t now_ns)
{
	unsigned int count, granted, done = 0;

	skip(connection);
	while (connection->incoming && go_on(connection, now_ns))
		done++;
	if (connection->incoming || connection->skip_bytes > 0 ||
	    connection->starved)
		return done;
	count = count_whole(connection, TURNS_MAX);
	if (count == 0)
		return done;
	granted = vdev_turn(connection->config.vdev, connection->process,
			    &connection->seat, count, now_ns);
	if (granted == 0)
		return 1;
	if (granted > count)
		granted = count;
	while (granted > 0 && !connection->cut && !connection->incoming &&
	       connection->skip_bytes == 0 &&
	       connection->unsent_bytes < CONNECTION_UNSENT_BYTES &&
	       take(connection, now_ns)) {
		granted--;
		done++;
	}
	if (granted > 0)
		vdev_turn_back(connection->config.vdev, connection->process,
			       &connection->seat, granted);
	return done;
}

static bool is_taking(const struct connection *connection)
{
	return (connection->phase == CONNECTION_SERVING ||
		connection->phase == CONNECTION_DRAINING) &&
		!connection->starved && !connection->awaits_edge &&
		connection->unsent_bytes < CONNECTION_UNSENT_BYTES;
}

bool receive_wants(const struct connection *connection)
{
	return is_taking(connection) && room(connection) > 0;
}

static unsigned int receive(struct connection *connection)
{
	const uint32_t there = room(connection);
	const uint32_t most =
		there < RECEIVE_MAX_BYTES ? there : RECEIVE_MAX_BYTES;
	const uint64_t at = connection->input_head % CONNECTION_INPUT_BYTES;
	const ssize_t got = stream_receive(&connection->stream,
					   connection->input + at, most);

	if (got < 0) {
		state_end(connection);
		return 1;
	}
	connection->input_head += (uint64_t)got;
	return got > 0;
}

unsigned int receive_poll(struct connection *connection, uint64_t now_ns)
{
	unsigned int found = 0;

	/* What was written since is not held any more. */
	state_reclaim_input(connection);
	if (receive_wants(connection))
		found = receive(connection);
	if (is_taking(connection) && available(connection) > 0)
		found += take_all(connection, now_ns);
	return found;
}
