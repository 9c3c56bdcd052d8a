/* SPDX-License-Identifier: Apache-2.0 */
/* state.c - a connection's memory, and how it is waited for; see state.h */
#include "nbd/state.h"

#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/container.h"

#define ARENA_UNIT	4096U
/* Polling a socket costs a system call: only so many of a reactor are looked
 * at although they had nothing. */
#define POLLED_MAX	8U

/* ---- waiting ---- */

static unsigned int polled;	/* of this process's only reactor */

bool state_is_crowded(void)
{
	return polled > POLLED_MAX;
}

void state_heat(struct connection *connection)
{
	if (connection->polling)
		return;
	connection->polling = true;
	polled++;
	if (connection->watching)
		loop_watch_remove(connection->config.loop, &connection->watch);
	connection->watching = false;
	loop_poller_add(connection->config.loop, &connection->poller);
}

static void room_came(struct loop_op *op, int result)
{
	struct connection *connection =
		container_of(op, struct connection, room);

	(void)result;
	connection->awaiting_room = false;
	state_heat(connection);
}

/* Returns false: not now. */
static bool await_room(struct connection *connection)
{
	struct io_uring_sqe *sqe;

	if (connection->awaiting_room)
		return true;
	sqe = loop_sqe(connection->config.loop, &connection->room);
	if (!sqe)
		return false;
	connection->room.done = room_came;
	connection->awaiting_room = true;
	io_uring_prep_poll_add(sqe, connection->stream.fd, POLLOUT);
	return true;
}

static bool wants_input(const struct connection *connection)
{
	if (connection->phase == CONNECTION_HANDSHAKE)
		return !connection->blocked;
	return receive_wants(connection);
}

bool state_has_input(const struct connection *connection)
{
	return stream_has_input(&connection->stream) && wants_input(connection);
}

void state_cool(struct connection *connection)
{
	struct loop *loop = connection->config.loop;

	if (!connection->polling || state_has_input(connection) ||
	    handshake_rests_until_ns(connection) > 0)
		return;
	if (connection->blocked && !await_room(connection))
		return;
	if (wants_input(connection)) {
		if (loop_watch_add(loop, &connection->watch,
				   connection->stream.fd) < 0)
			return;
		connection->watching = true;
	}
	connection->polling = false;
	polled--;
	loop_poller_remove(loop, &connection->poller);
}

void state_end(struct connection *connection)
{
	connection->cut = true;
	state_heat(connection);
}

void state_fail(struct connection *connection, const char *format, ...)
{
	struct error error;
	va_list args;

	va_start(args, format);
	error_vset(&error, -EPROTO, format, args);
	va_end(args);
	if (!connection->cut && !connection->orphaned)
		connection->config.ops->report(connection->config.arg, &error);
	state_end(connection);
}

/* ---- memory ---- */

/* The same memory twice in a row: what begins before the end of the first
 * goes on in the second. */
static uint8_t *map_twice(size_t bytes)
{
	uint8_t *at = MAP_FAILED;
	int fd = memfd_create("penstock-nbd", MFD_CLOEXEC);

	if (fd < 0)
		return NULL;
	if (ftruncate(fd, (off_t)bytes) == 0)
		at = mmap(NULL, 2 * bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
			  fd, 0);
	if (at != MAP_FAILED &&
	    mmap(at + bytes, bytes, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
		munmap(at, 2 * bytes);
		at = MAP_FAILED;
	}
	close(fd);
	return at == MAP_FAILED ? NULL : at;
}

int state_allocate(struct connection *connection)
{
	void *arena;

	connection->slots = calloc(CONNECTION_SLOTS, sizeof(struct slot));
	connection->input = map_twice(CONNECTION_INPUT_BYTES);
	arena = mmap(NULL, CONNECTION_ARENA_BYTES, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	connection->arena = arena == MAP_FAILED ? NULL : arena;
	if (!connection->slots || !connection->input || !connection->arena) {
		state_free(connection);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < CONNECTION_SLOTS; i++)
		connection->slots[i].connection = connection;
	return 0;
}

void state_free(struct connection *connection)
{
	free(connection->slots);
	if (connection->input)
		munmap(connection->input, 2 * (size_t)CONNECTION_INPUT_BYTES);
	if (connection->arena)
		munmap(connection->arena, CONNECTION_ARENA_BYTES);
	connection->slots = NULL;
	connection->input = NULL;
	connection->arena = NULL;
}

void state_reclaim_input(struct connection *connection)
{
	while (connection->input_slot != connection->slot_head) {
		const struct slot *slot =
			state_slot(connection, connection->input_slot);

		if (slot->holds_input)
			return;
		/* More of it is to come. */
		if (slot == connection->incoming) {
			connection->input_tail = slot->input_end;
			return;
		}
		connection->input_slot++;
	}
	connection->input_tail = connection->input_taken;
	if (connection->input_taken != connection->input_head)
		return;
	/* At its beginning the memory is still in the caches. */
	connection->input_head = 0;
	connection->input_taken = 0;
	connection->input_tail = 0;
}

void state_reclaim_slots(struct connection *connection)
{
	while (connection->slot_tail != connection->slot_head) {
		const struct slot *slot =
			state_slot(connection, connection->slot_tail);

		if (slot->busy)
			return;
		connection->arena_tail = slot->arena_end;
		connection->slot_tail++;
		connection->starved = false;
	}
	connection->arena_head = 0;
	connection->arena_tail = 0;
}

uint8_t *state_take_arena(struct connection *connection, struct slot *slot,
			  uint32_t bytes)
{
	const uint32_t size = CONNECTION_ARENA_BYTES;
	uint64_t at = connection->arena_head;

	bytes = (bytes + ARENA_UNIT - 1) / ARENA_UNIT * ARENA_UNIT;
	assert(bytes <= size);
	/* In one piece: what is left before the end is left out. */
	if (at % size + bytes > size)
		at += size - at % size;
	if (at + bytes - connection->arena_tail > size)
		return NULL;
	connection->arena_head = at + bytes;
	slot->arena_end = connection->arena_head;
	return connection->arena + at % size;
}
