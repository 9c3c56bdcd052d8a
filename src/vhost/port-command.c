/* SPDX-License-Identifier: Apache-2.0 */
/* port-command.c - from a block request to those of the ring, and back; see
 * port-data.h */
#include "vhost/port-data.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/container.h"
#include "block/kinds.h"

#define REAP_MAX	32U

static struct port *port_of(struct block_device *device)
{
	return (struct port *)device;
}

/* ---- a piece ---- */

static uint64_t least(uint64_t left_bytes, uint64_t most_bytes)
{
	return left_bytes < most_bytes ? left_bytes : most_bytes;
}

static void prepare_data(struct port_command *command, enum vhost_client_op op,
			 uint64_t left_bytes)
{
	command->piece_bytes = least(left_bytes, PORT_PIECE_BYTES);
	command->iov.iov_base = command->data;
	command->iov.iov_len = command->piece_bytes;
	command->wire.op = (uint8_t)op;
	command->wire.iov = &command->iov;
	command->wire.iov_count = 1;
}

static void prepare_range(struct port_command *command, enum vhost_client_op op,
			  uint64_t left_bytes, uint64_t most_bytes,
			  uint32_t block_size)
{
	command->piece_bytes =
		least(left_bytes, most_bytes - most_bytes % block_size);
	command->wire.op = (uint8_t)op;
	command->wire.length_bytes = command->piece_bytes;
}

/* What is left of it, or its first part.  Returns false: there is nothing to
 * be asked. */
static bool prepare(struct port *port, struct port_command *command)
{
	const struct block_request *request = command->request;
	const uint64_t left_bytes = request->length_bytes - request->done_bytes;
	const uint32_t block = port->device.block_size;

	command->wire = (struct vhost_client_request){
		.offset_bytes = request->offset_bytes + request->done_bytes,
	};
	switch ((enum block_op)request->op) {
	case BLOCK_READ:
		prepare_data(command, VHOST_CLIENT_READ, left_bytes);
		return true;
	case BLOCK_WRITE:
		prepare_data(command, VHOST_CLIENT_WRITE, left_bytes);
		block_copy(request, request->done_bytes, command->data,
			   command->piece_bytes, true);
		return true;
	case BLOCK_FLUSH:
		command->wire.offset_bytes = 0;
		command->wire.op = VHOST_CLIENT_FLUSH;
		command->piece_bytes = left_bytes;
		return port->info.flush;
	case BLOCK_DISCARD:	/* a hint */
		prepare_range(command, VHOST_CLIENT_DISCARD, left_bytes,
			      port->info.discard_max_bytes, block);
		return command->piece_bytes > 0;
	case BLOCK_WRITE_ZEROES:
		prepare_range(command, VHOST_CLIENT_WRITE_ZEROES, left_bytes,
			      port->info.write_zeroes_max_bytes, block);
		if (request->flags & BLOCK_FLAG_UNMAP)
			command->wire.flags = VHOST_CLIENT_FLAG_UNMAP;
		if (command->piece_bytes == 0) {
			prepare_data(command, VHOST_CLIENT_WRITE, left_bytes);
			memset(command->data, 0, command->piece_bytes);
		}
		return true;
	}
	return false;
}

static void put_homeless(struct port *port, struct port_command *command)
{
	command->next = NULL;
	*port->homeless_end = command;
	port->homeless_end = &command->next;
}

static void show(struct port *port, struct port_command *command)
{
	int result = vhost_client_add(port->queue, &command->wire);

	/* There are more slots than commands, and it was checked. */
	assert(result == 0 || result == -EPROTO);
	if (result < 0)
		put_homeless(port, command);
	else
		port->unpublished = true;
}

void port_house(struct port *port)
{
	struct port_command *command = port->homeless;

	port->homeless = NULL;
	port->homeless_end = &port->homeless;
	while (command) {
		struct port_command *next = command->next;

		show(port, command);
		command = next;
	}
}

/* ---- a request ---- */

/* Frees the command: the next one that waits has it. */
static void finish(struct port *port, struct port_command *command, int result)
{
	struct block_request *request = command->request;

	command->request = NULL;
	command->next = port->free;
	port->free = command;
	block_end(request, result);
}

static void begin(struct port *port, struct block_request *request)
{
	struct port_command *command = port->free;

	port->free = command->next;
	command->request = request;
	request->done_bytes = 0;
	if (prepare(port, command))
		show(port, command);
	else
		finish(port, command, 0);
}

static void begin_waiting(struct port *port)
{
	while (port->waiting && port->free) {
		struct block_request *request = port->waiting;

		port->waiting = request->next;
		if (!port->waiting)
			port->waiting_end = &port->waiting;
		begin(port, request);
	}
}

void port_submit(struct block_device *device, struct block_request *request)
{
	struct port *port = port_of(device);

	request->device = device;
	if (port->free && !port->waiting) {
		begin(port, request);
		return;
	}
	request->next = NULL;
	*port->waiting_end = request;
	port->waiting_end = &request->next;
}

static void piece_done(struct port *port, struct port_command *command)
{
	struct block_request *request = command->request;
	const int result = command->wire.result;

	if (result < 0) {
		/* Others' writes may be lost with one's flush: each hears. */
		if (request->op == BLOCK_FLUSH)
			port->device.losses++;
		finish(port, command, result);
		return;
	}
	if (request->op == BLOCK_READ)
		block_copy(request, request->done_bytes, command->data,
			   command->piece_bytes, false);
	request->done_bytes += command->piece_bytes;
	if (request->done_bytes < request->length_bytes &&
	    prepare(port, command))
		show(port, command);
	else
		finish(port, command, 0);
}

int port_reap(struct port *port)
{
	struct vhost_client_request *finished[REAP_MAX];
	const int count = vhost_client_reap(port->queue, finished, REAP_MAX);

	for (int i = 0; i < count; i++)
		piece_done(
			port,
			container_of(finished[i], struct port_command, wire));
	begin_waiting(port);
	return count;
}

void port_commands_init(struct port *port)
{
	port->homeless_end = &port->homeless;
	port->waiting_end = &port->waiting;
	for (unsigned int i = PORT_COMMANDS; i-- > 0;) {
		struct port_command *command = &port->commands[i];

		command->data = port->arena + (size_t)i * PORT_PIECE_BYTES;
		command->next = port->free;
		port->free = command;
	}
}
