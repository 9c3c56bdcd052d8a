/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client-receive.c - what the server answers; see client-data.h
 *
 * The server is a stranger: whatever it says is looked at here before it has an
 * effect, and what is not an answer to what was asked ends the connection.
 */
#include "nbd/client-data.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "nbd/bytes.h"

#define PARTS_MAX		64U
#define RECEIVES_PER_TURN	4U
/* Errors come with a text that nobody needs. */
#define ERROR_PAYLOAD_MAX	(6U + 65535U + 8U)
#define ERROR_PAYLOAD_MIN	6U
#define HOLE_PAYLOAD		12U
#define OFFSET_PAYLOAD		8U

/* ---- where data go ---- */

unsigned int request_parts(const struct block_request *request,
			   uint64_t from_bytes, uint64_t bytes,
			   struct iovec *parts, unsigned int most,
			   uint64_t *ret_bytes)
{
	unsigned int count = 0;
	uint64_t taken = 0;

	for (uint32_t i = 0; i < request->iov_count; i++) {
		const struct iovec *iov = &request->iov[i];
		struct iovec *part = &parts[count];

		if (from_bytes >= iov->iov_len) {
			from_bytes -= iov->iov_len;
			continue;
		}
		if (taken == bytes || count == most)
			break;
		part->iov_base = (uint8_t *)iov->iov_base + from_bytes;
		part->iov_len = iov->iov_len - from_bytes;
		if (part->iov_len > bytes - taken)
			part->iov_len = bytes - taken;
		taken += part->iov_len;
		from_bytes = 0;
		count++;
	}
	*ret_bytes = taken;
	return count;
}

/* The next data of 'incoming' begin there in its request. */
static uint64_t data_from(const struct client_link *link)
{
	const struct command *command = link->incoming;

	return command->request->done_bytes + command->received_bytes;
}

static uint32_t available(const struct client_link *link)
{
	return link->input_head - link->input_tail;
}

/* From the input, or (NULL) zeroes. */
static void copy_data(struct client_link *link, const uint8_t *from,
		      uint32_t bytes)
{
	struct iovec parts[PARTS_MAX];

	while (bytes > 0) {
		uint64_t there;
		const unsigned int count =
			request_parts(link->incoming->request, data_from(link),
				      bytes, parts, PARTS_MAX, &there);

		assert(there > 0);
		for (unsigned int i = 0; i < count; i++) {
			if (from) {
				memcpy(parts[i].iov_base, from,
				       parts[i].iov_len);
				from += parts[i].iov_len;
			} else {
				memset(parts[i].iov_base, 0, parts[i].iov_len);
			}
		}
		link->incoming->received_bytes += (uint32_t)there;
		bytes -= (uint32_t)there;
	}
}

/* ---- answers ---- */

/* The command that was sent by this link and has this cookie; NULL: none. */
static struct command *find(const struct client_link *link, uint64_t cookie)
{
	struct client *client = link->client;
	struct command *command;

	if ((cookie & UINT32_MAX) >= CLIENT_COMMANDS)
		return NULL;
	command = &client->commands[cookie & UINT32_MAX];
	if (!command->request || command->link != link || !command->sent ||
	    command->held || command->wire.cookie != cookie)
		return NULL;
	return command;
}

/* It is answered. */
static void end(struct client_link *link, struct command *command)
{
	int result = command->result;

	link->incoming = NULL;
	if (result == -ESHUTDOWN) {
		/* Others are still carried out and answered. */
		command->held = true;
		link->unanswered--;
		link->leaving = true;
		return;
	}
	if (result == 0 && command->wire.command == WIRE_READ &&
	    command->received_bytes != command->wire.length_bytes) {
		link_fail(link, "the server answers a read of %u bytes with %u",
			  command->wire.length_bytes, command->received_bytes);
		return;
	}
	if (result == 0 && command->from_nowhere)
		result = -EFAULT;
	link->unanswered--;
	command_list_remove(&link->sent, command);
	command->link = NULL;
	client_progress(link->client);
	command_answered(command, result);
}

static struct command *answered(struct client_link *link, uint64_t cookie)
{
	struct command *command = find(link, cookie);

	if (!command) {
		link_fail(link,
			  "the server answers what it was not asked (0x%" PRIx64
			  ")",
			  cookie);
		return NULL;
	}
	return command;
}

/* Returns false: more is needed, or the link is lost. */
static bool take_simple(struct client_link *link, const uint8_t *from)
{
	struct wire_simple simple;
	struct command *command;

	(void)wire_get_simple(from, &simple);
	command = answered(link, simple.cookie);
	if (!command)
		return false;
	link->input_tail += WIRE_SIMPLE_BYTES;
	if (command->wire.command == WIRE_READ && simple.error == WIRE_OK) {
		if (link->structured) {
			link_fail(
				link,
				"the server reads without structured replies");
			return false;
		}
		link->incoming = command;
		link->last_chunk = true;
		link->data_bytes = command->wire.length_bytes;
		return true;
	}
	command->result = wire_errno(simple.error);
	end(link, command);
	return !link->lost;
}

/* ---- structured ---- */

/* Is what a chunk brings a part of what was asked for, and not too much? */
static bool check_range(struct client_link *link, const struct command *command,
			uint64_t offset_bytes, uint64_t bytes)
{
	const struct wire_request *wire = &command->wire;

	/* In order is as all servers do it, and as it can be checked. */
	if (wire->command == WIRE_READ && bytes > 0 &&
	    offset_bytes == wire->offset_bytes + command->received_bytes &&
	    bytes <= wire->length_bytes - command->received_bytes)
		return true;
	link_fail(link,
		  "the server sends %" PRIu64 " bytes at %" PRIu64
		  " that were not asked for",
		  bytes, offset_bytes);
	return false;
}

/* The payload of each type of chunk has its length. */
static bool check_payload(struct client_link *link,
			  const struct wire_chunk_head *chunk)
{
	const uint32_t bytes = chunk->payload_bytes;
	bool good = false;

	switch (chunk->type) {
	case WIRE_CHUNK_NONE:
		good = bytes == 0 && chunk->done;
		break;
	case WIRE_CHUNK_OFFSET_DATA:
		good = bytes > OFFSET_PAYLOAD &&
			bytes <= OFFSET_PAYLOAD + WIRE_PAYLOAD_MAX;
		break;
	case WIRE_CHUNK_OFFSET_HOLE:
		good = bytes == HOLE_PAYLOAD;
		break;
	case WIRE_CHUNK_ERROR:
	case WIRE_CHUNK_ERROR_OFFSET:
		good = bytes >= ERROR_PAYLOAD_MIN && bytes <= ERROR_PAYLOAD_MAX;
		break;
	}
	if (!good)
		link_fail(link, "the server sends a chunk of type %u, %u bytes",
			  chunk->type, bytes);
	return good;
}

/* What must be there of a chunk before it can be looked at. */
static uint32_t head_bytes(const struct wire_chunk_head *chunk)
{
	switch (chunk->type) {
	case WIRE_CHUNK_OFFSET_DATA:
		return WIRE_CHUNK_BYTES + OFFSET_PAYLOAD;
	case WIRE_CHUNK_OFFSET_HOLE:
		return WIRE_CHUNK_BYTES + HOLE_PAYLOAD;
	case WIRE_CHUNK_ERROR:
	case WIRE_CHUNK_ERROR_OFFSET:
		return WIRE_CHUNK_BYTES + ERROR_PAYLOAD_MIN;
	default:
		return WIRE_CHUNK_BYTES;
	}
}

/* Its head is there and in order. */
static void take_payload(struct client_link *link, struct command *command,
			 const struct wire_chunk_head *chunk,
			 const uint8_t *payload)
{
	link->incoming = command;
	link->last_chunk = chunk->done;
	switch (chunk->type) {
	case WIRE_CHUNK_OFFSET_DATA:
		if (check_range(link, command, get64(payload),
				chunk->payload_bytes - OFFSET_PAYLOAD))
			link->data_bytes =
				chunk->payload_bytes - OFFSET_PAYLOAD;
		break;
	case WIRE_CHUNK_OFFSET_HOLE:
		if (check_range(link, command, get64(payload),
				get32(payload + OFFSET_PAYLOAD)))
			copy_data(link, NULL, get32(payload + OFFSET_PAYLOAD));
		break;
	case WIRE_CHUNK_ERROR:
	case WIRE_CHUNK_ERROR_OFFSET:
		command->result = wire_errno(get32(payload));
		if (command->result == 0)
			command->result = -EIO;
		link->skip_bytes = chunk->payload_bytes - ERROR_PAYLOAD_MIN;
		break;
	}
}

static bool take_chunk(struct client_link *link, const uint8_t *from)
{
	struct wire_chunk_head chunk;
	struct command *command;
	uint32_t head;

	if (available(link) < WIRE_CHUNK_BYTES)
		return false;
	(void)wire_get_chunk(from, &chunk);
	if (!check_payload(link, &chunk))
		return false;
	head = head_bytes(&chunk);
	if (available(link) < head)
		return false;
	command = answered(link, chunk.cookie);
	if (!command)
		return false;
	link->input_tail += head;
	take_payload(link, command, &chunk, from + WIRE_CHUNK_BYTES);
	return !link->lost;
}

static bool take_head(struct client_link *link)
{
	const uint8_t *from = link->input + link->input_tail;
	struct wire_chunk_head chunk;
	struct wire_simple simple;

	if (available(link) < WIRE_SIMPLE_BYTES)
		return false;
	if (wire_get_simple(from, &simple))
		return take_simple(link, from);
	/* The magic number is within what is there. */
	if (link->structured && wire_get_chunk(from, &chunk))
		return take_chunk(link, from);
	link_fail(link, "what the server sends is no reply");
	return false;
}

/* ---- all that came ---- */

static uint32_t less(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* Data of a reply that has begun, as far as they are there.  Returns false:
 * more is to come. */
static bool take_rest(struct client_link *link)
{
	uint32_t bytes = less(link->data_bytes, available(link));

	if (bytes > 0)
		copy_data(link, link->input + link->input_tail, bytes);
	link->data_bytes -= bytes;
	link->input_tail += bytes;
	bytes = less(link->skip_bytes, available(link));
	link->skip_bytes -= bytes;
	link->input_tail += bytes;
	if (link->data_bytes > 0 || link->skip_bytes > 0)
		return false;
	if (link->last_chunk)
		end(link, link->incoming);
	link->incoming = NULL;
	return !link->lost;
}

static void take_all(struct client_link *link)
{
	while (!link->lost) {
		if (link->incoming ? !take_rest(link) : !take_head(link))
			break;
	}
	if (link->input_tail == link->input_head) {
		link->input_head = link->input_tail = 0;
	} else if (link->input_head == CLIENT_INPUT_BYTES) {
		memmove(link->input, link->input + link->input_tail,
			available(link));
		link->input_head -= link->input_tail;
		link->input_tail = 0;
	}
}

/* Who reads has no memory there any more: its own error. */
static void drop_data(struct client_link *link)
{
	link->incoming->result = -EFAULT;
	link->incoming->received_bytes += link->data_bytes;
	link->skip_bytes = link->data_bytes;
	link->data_bytes = 0;
}

/* Returns how much came, of how much could have. */
static uint32_t receive(struct client_link *link, uint32_t *ret_asked)
{
	struct iovec parts[PARTS_MAX + 1];
	uint64_t direct = 0;
	unsigned int count = 0;
	uint32_t room = CLIENT_INPUT_BYTES - link->input_head;
	uint32_t to_data;
	ssize_t got;

	if (link->data_bytes > 0 && available(link) == 0)
		count = request_parts(link->incoming->request, data_from(link),
				      link->data_bytes, parts, PARTS_MAX,
				      &direct);
	if (direct < link->data_bytes)
		room = 0;
	if (room > 0)
		parts[count++] = (struct iovec){
			.iov_base = link->input + link->input_head,
			.iov_len = room,
		};
	*ret_asked = (uint32_t)direct + room;
	got = stream_receive_parts(&link->stream, parts, count);
	link->client->status.receives++;
	if (got == -EFAULT && direct > 0) {
		drop_data(link);
		return *ret_asked;
	}
	if (got < 0)
		link_fail(link, "the server hung up");
	if (got <= 0)
		return 0;
	to_data = less((uint32_t)got, (uint32_t)direct);
	if (to_data > 0) {
		link->incoming->received_bytes += to_data;
		link->data_bytes -= to_data;
	}
	link->input_head += (uint32_t)got - to_data;
	return (uint32_t)got;
}

unsigned int link_receive(struct client_link *link)
{
	unsigned int found = 0;

	for (unsigned int i = 0; i < RECEIVES_PER_TURN && !link->lost; i++) {
		uint32_t asked;
		const uint32_t got = receive(link, &asked);

		if (got == 0)
			break;
		found++;
		take_all(link);
		if (got < asked)
			break;
	}
	return found;
}
