/* SPDX-License-Identifier: Apache-2.0 */
/* client-command.c - from a block request to commands, and back; see
 * client-data.h */
#include "nbd/client-data.h"

#include <assert.h>
#include <errno.h>

#include "block/kinds.h"

/* ---- lists ---- */

void command_list_add(struct command_list *list, struct command *command)
{
	command->next = NULL;
	command->before = list->last;
	if (list->last)
		list->last->next = command;
	else
		list->first = command;
	list->last = command;
}

void command_list_remove(struct command_list *list, struct command *command)
{
	if (command->before)
		command->before->next = command->next;
	else
		list->first = command->next;
	if (command->next)
		command->next->before = command->before;
	else
		list->last = command->before;
}

/* ---- a piece ---- */

static struct client *client_of(struct block_device *device)
{
	return (struct client *)device;
}

static uint32_t least(uint64_t left_bytes, uint32_t most_bytes)
{
	return left_bytes < most_bytes ? (uint32_t)left_bytes : most_bytes;
}

bool command_is_change(const struct command *command)
{
	return command->wire.command == WIRE_WRITE ||
		command->wire.command == WIRE_TRIM ||
		command->wire.command == WIRE_WRITE_ZEROES;
}

/* All of it at once if that is fast, else a bounded part. */
static void prepare_zeroes(const struct client *client, struct command *command,
			   uint64_t left_bytes)
{
	struct wire_request *wire = &command->wire;
	const unsigned int flags = client->export.flags;

	if (!(flags & WIRE_SEND_WRITE_ZEROES)) {
		wire->command = WIRE_WRITE;
		wire->length_bytes = least(left_bytes, client->piece_bytes);
		return;
	}
	wire->command = WIRE_WRITE_ZEROES;
	if (!(command->request->flags & BLOCK_FLAG_UNMAP))
		wire->flags |= WIRE_NO_HOLE;
	wire->length_bytes = least(left_bytes, CLIENT_ZEROES_BYTES);
	if (left_bytes > CLIENT_ZEROES_BYTES && (flags & WIRE_SEND_FAST_ZERO) &&
	    !command->slowly) {
		wire->flags |= WIRE_FAST_ZERO;
		wire->length_bytes = least(left_bytes, CLIENT_TRIM_BYTES);
	}
}

static void prepare(const struct client *client, struct command *command)
{
	const struct block_request *request = command->request;
	const uint64_t left_bytes = request->length_bytes - request->done_bytes;
	struct wire_request *wire = &command->wire;

	*wire = (struct wire_request){
		.offset_bytes = request->offset_bytes + request->done_bytes,
	};
	switch ((enum block_op)request->op) {
	case BLOCK_READ:
		wire->command = WIRE_READ;
		wire->length_bytes = least(left_bytes, client->piece_bytes);
		break;
	case BLOCK_WRITE:
		wire->command = WIRE_WRITE;
		wire->length_bytes = least(left_bytes, client->piece_bytes);
		break;
	case BLOCK_FLUSH:
		wire->command = WIRE_FLUSH;
		wire->offset_bytes = 0;
		break;
	case BLOCK_DISCARD:
		wire->command = WIRE_TRIM;
		wire->length_bytes = least(left_bytes, CLIENT_TRIM_BYTES);
		break;
	case BLOCK_WRITE_ZEROES:
		prepare_zeroes(client, command, left_bytes);
		break;
	}
	if (client->config.unflushed == CLIENT_UNFLUSHED_NONE &&
	    command_is_change(command))
		wire->flags |= WIRE_FUA;
}

void command_again(struct command *command)
{
	struct client *client =
		(struct client *)(void *)command->request->device;

	command->generation++;
	command->wire.cookie = (uint64_t)command->generation << 32 |
		(uint64_t)(command - client->commands);
	command->received_bytes = 0;
	command->result = 0;
	command->sent = false;
	command->held = false;
	command->from_nowhere = false;
	/* What it covers does not grow when it is sent again. */
	wire_put_request(command->head, &command->wire);
}

static void begin_piece(struct client *client, struct command *command)
{
	prepare(client, command);
	command->sequence = client->sequence++;
	command->covers = client->changes;
	command_again(command);
	client_route(client, command);
}

/* ---- a request ---- */

static void begin(struct client *client, struct command *command,
		  struct block_request *request)
{
	command->request = request;
	command->slowly = false;
	begin_piece(client, command);
}

/* The next request that waits for a command gets this one. */
static void release(struct client *client, struct command *command)
{
	struct block_request *request = client->waiting;

	command->request = NULL;
	if (!request) {
		command->next = client->free;
		client->free = command;
		return;
	}
	client->waiting = request->next;
	if (!client->waiting)
		client->waiting_end = &client->waiting;
	begin(client, command, request);
}

/* Last, for when this was the only one, 'done' may close the device. */
static void end(struct client *client, struct command *command, int result)
{
	struct block_request *request = command->request;

	release(client, command);
	block_end(request, result);
}

void command_fail(struct command *command, int result)
{
	end(client_of(command->request->device), command, result);
}

/* Those errors that are none, or not yet. Returns true: it goes on. */
static bool goes_on_after(struct command *command, int *result)
{
	if (*result != -EOPNOTSUPP)
		return false;
	if (command->wire.command == WIRE_TRIM) {
		*result = 0; /* it is a hint */
		return false;
	}
	if (!(command->wire.flags & WIRE_FAST_ZERO))
		return false;
	command->slowly = true;
	return true;
}

void command_answered(struct command *command, int result)
{
	struct block_request *request = command->request;
	struct client *client = client_of(request->device);

	if (goes_on_after(command, &result)) {
		begin_piece(client, command);
		return;
	}
	if (result == 0 && request->op == BLOCK_FLUSH &&
	    command->covers > client->flushed)
		client->flushed = command->covers;
	if (result == 0 && command_is_change(command))
		client->changes++;
	request->done_bytes += command->wire.length_bytes;
	if (result == 0 && request->done_bytes < request->length_bytes)
		begin_piece(client, command);
	else
		end(client, command, result);
}

/* ---- from above ---- */

static bool is_nothing(const struct client *client,
		       const struct block_request *request)
{
	switch ((enum block_op)request->op) {
	case BLOCK_FLUSH:
		return !(client->export.flags & WIRE_SEND_FLUSH);
	case BLOCK_DISCARD:
		return request->length_bytes == 0 ||
			!(client->export.flags & WIRE_SEND_TRIM);
	case BLOCK_READ:
	case BLOCK_WRITE:
	case BLOCK_WRITE_ZEROES:
		break;
	}
	return request->length_bytes == 0;
}

/* What can be said without asking: 0 also says that it is to be asked. */
static int refusal(struct client *client, const struct block_request *request)
{
	if (client->expired)
		return -EIO;
	if (request->op == BLOCK_FLUSH && client->flush_fails) {
		client->flush_fails = false;
		return -EIO;
	}
	if (client->device.read_only && request->op != BLOCK_READ &&
	    request->op != BLOCK_FLUSH)
		return -EROFS;
	return 0;
}

void command_submit(struct block_device *device, struct block_request *request)
{
	struct client *client = client_of(device);
	struct command *command = client->free;
	const int result = refusal(client, request);

	request->device = device;
	request->done_bytes = 0;
	if (result < 0 || is_nothing(client, request)) {
		block_end(request, result);
		return;
	}
	if (!command) {
		request->next = NULL;
		*client->waiting_end = request;
		client->waiting_end = &request->next;
		return;
	}
	client->free = command->next;
	begin(client, command, request);
}
