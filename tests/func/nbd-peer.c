/* SPDX-License-Identifier: Apache-2.0 */
/* nbd-peer.c - see nbd-peer.h */
#include "nbd-peer.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define TURNS_MAX	200000U

/* ---- the world ---- */

static void take_report(void *arg, const struct error *error)
{
	struct peer_world *world = arg;

	world->reports++;
	world->report = *error;
}

static socklen_t address_of(const struct peer_world *world,
			    struct sockaddr_un *address)
{
	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	memcpy(address->sun_path + 1, world->name, strlen(world->name));
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
			   strlen(world->name));
}

void peer_create(struct peer_world *world, unsigned int connections)
{
	peer_create_secure(world, connections, NULL, false);
}

void peer_create_secure(struct peer_world *world, unsigned int connections,
			struct keys *keys, bool required)
{
	static unsigned int serial;
	const struct loop_config loop_config = {.entries = 256};
	struct server_config config = {
		.name = "vd0",
		.connections = connections,
		.generation = 1,
		.keys = keys,
		.tls_required = required,
		.report = take_report,
		.arg = world,
	};
	struct sockaddr_un address;
	struct error error;
	socklen_t length;

	memset(world, 0, sizeof(*world));
	if (loop_create(&loop_config, &world->loop, &error) < 0) {
		fprintf(stderr, "%s\n", error.text);
		exit(77);
	}
	world->vdev = fake_create(PEER_VDEV_BYTES);
	snprintf(world->name, sizeof(world->name), "penstock-nbd-%d-%u",
		 (int)getpid(), serial++);
	length = address_of(world, &address);
	config.loop = world->loop;
	config.vdev = world->vdev;
	config.listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(config.listen_fd, (struct sockaddr *)&address, length) < 0 ||
	    listen(config.listen_fd, 4096) < 0 ||
	    server_create(&config, &world->server, &error) < 0)
		abort();
}

void peer_destroy(struct peer_world *world)
{
	server_destroy(world->server);
	fake_complete_all(world->vdev);
	/* Connections that were cut end, and give back what they have. */
	peer_turns(world, 20);
	fake_destroy(world->vdev);
	loop_destroy(world->loop);
}

void peer_turn(struct peer_world *world)
{
	if (loop_run_once(world->loop, 0) < 0)
		abort();
}

void peer_turns(struct peer_world *world, unsigned int times)
{
	while (times-- > 0)
		peer_turn(world);
}

void peer_await_sessions(struct peer_world *world, unsigned int sessions)
{
	struct server_status status;

	for (unsigned int i = 0; i < TURNS_MAX; i++) {
		server_status(world->server, &status);
		if (status.sessions == sessions)
			return;
		peer_turn(world);
	}
	fail_msg("%u sessions instead of %u", status.sessions, sessions);
}

void peer_drained(void *world)
{
	((struct peer_world *)world)->drained++;
}

/* ---- bytes ---- */

int peer_connect(const struct peer_world *world)
{
	struct sockaddr_un address;
	const socklen_t length = address_of(world, &address);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, length), 0);
	return fd;
}

void peer_send(struct peer_world *world, int fd, const void *from, size_t bytes)
{
	const uint8_t *at = from;
	unsigned int turns = 0;

	while (bytes > 0) {
		ssize_t sent = send(fd, at, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent > 0) {
			at += sent;
			bytes -= (size_t)sent;
		} else {
			assert_int_equal(errno, EAGAIN);
			assert_true(turns++ < TURNS_MAX);
		}
		peer_turn(world);
	}
}

void peer_receive(struct peer_world *world, int fd, void *to, size_t bytes)
{
	uint8_t *at = to;
	unsigned int turns = 0;

	while (bytes > 0) {
		ssize_t got = recv(fd, at, bytes, MSG_DONTWAIT);

		if (got > 0) {
			at += got;
			bytes -= (size_t)got;
			continue;
		}
		if (got == 0 || errno != EAGAIN)
			fail_msg("the server hung up");
		assert_true(turns++ < TURNS_MAX);
		peer_turn(world);
	}
}

void peer_await_end(struct peer_world *world, int fd)
{
	uint8_t bytes[4096];

	for (unsigned int i = 0; i < TURNS_MAX; i++) {
		ssize_t got = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);

		if (got == 0 || (got < 0 && errno != EAGAIN))
			return;
		peer_turn(world);
	}
	fail_msg("the server does not hang up");
}

/* ---- the handshake ---- */

static void put32(uint8_t *to, uint32_t value)
{
	for (unsigned int i = 0; i < 4; i++)
		to[i] = (uint8_t)(value >> (24 - 8 * i));
}

static uint64_t get(const uint8_t *from, unsigned int bytes)
{
	uint64_t value = 0;

	for (unsigned int i = 0; i < bytes; i++)
		value = value << 8 | from[i];
	return value;
}

void peer_greet(struct peer_world *world, int fd, uint32_t flags)
{
	uint8_t greeting[WIRE_GREETING_BYTES], answer[4];

	peer_receive(world, fd, greeting, sizeof(greeting));
	assert_memory_equal(greeting, "NBDMAGICIHAVEOPT", 16);
	put32(answer, flags);
	peer_send(world, fd, answer, sizeof(answer));
}

void peer_option(struct peer_world *world, int fd, uint32_t option,
		 const void *data, size_t bytes)
{
	uint8_t head[WIRE_OPTION_BYTES];

	memcpy(head, "IHAVEOPT", 8);
	put32(head + 8, option);
	put32(head + 12, (uint32_t)bytes);
	peer_send(world, fd, head, sizeof(head));
	peer_send(world, fd, data, bytes);
}

uint32_t peer_reply(struct peer_world *world, int fd, void *data, size_t size,
		    uint32_t *ret_bytes)
{
	uint8_t head[WIRE_REPLY_BYTES], rest[4096];
	uint32_t bytes;

	peer_receive(world, fd, head, sizeof(head));
	assert_true(get(head, 8) == UINT64_C(0x3e889045565a9));
	bytes = (uint32_t)get(head + 16, 4);
	assert_true(bytes <= sizeof(rest));
	peer_receive(world, fd, rest, bytes);
	if (size > 0)
		memcpy(data, rest, bytes < size ? bytes : size);
	*ret_bytes = bytes;
	return (uint32_t)get(head + 12, 4);
}

uint32_t peer_go(struct peer_world *world, int fd, uint32_t option,
		 const char *name, struct wire_export *ret_export)
{
	const uint32_t length = (uint32_t)strlen(name);
	uint8_t data[300] = {0}, info[512];
	uint32_t reply, bytes;

	put32(data, length);
	memcpy(data + 4, name, length);
	data[4 + length + 1] = 1;
	data[4 + length + 3] = WIRE_INFO_BLOCK_SIZE;
	peer_option(world, fd, option, data, length + 8);
	for (;;) {
		reply = peer_reply(world, fd, info, sizeof(info), &bytes);
		if (reply != WIRE_REP_INFO)
			return reply;
		if (get(info, 2) == WIRE_INFO_EXPORT) {
			ret_export->size_bytes = get(info + 2, 8);
			ret_export->flags = (uint16_t)get(info + 10, 2);
		} else if (get(info, 2) == WIRE_INFO_BLOCK_SIZE) {
			ret_export->block_min = (uint32_t)get(info + 2, 4);
		}
	}
}

int peer_session(struct peer_world *world, bool structured)
{
	int fd = peer_connect(world);
	struct wire_export export;
	uint32_t bytes;

	peer_greet(world, fd, 3);
	if (structured) {
		peer_option(world, fd, WIRE_OPT_STRUCTURED_REPLY, NULL, 0);
		assert_int_equal(peer_reply(world, fd, NULL, 0, &bytes),
				 WIRE_REP_ACK);
	}
	assert_int_equal(peer_go(world, fd, WIRE_OPT_GO, "", &export),
			 WIRE_REP_ACK);
	assert_true(export.size_bytes == PEER_VDEV_BYTES);
	return fd;
}

/* ---- transmission ---- */

void peer_request(struct peer_world *world, int fd, uint16_t command,
		  uint16_t flags, uint64_t cookie, uint64_t offset_bytes,
		  uint32_t length_bytes)
{
	const struct wire_request request = {
		.command = command,
		.flags = flags,
		.cookie = cookie,
		.offset_bytes = offset_bytes,
		.length_bytes = length_bytes,
	};
	uint8_t head[WIRE_REQUEST_BYTES];

	wire_put_request(head, &request);
	peer_send(world, fd, head, sizeof(head));
}

void peer_write(struct peer_world *world, int fd, uint64_t cookie,
		uint64_t offset_bytes, const void *from, uint32_t bytes)
{
	peer_request(world, fd, WIRE_WRITE, 0, cookie, offset_bytes, bytes);
	peer_send(world, fd, from, bytes);
}

void peer_expect(struct peer_world *world, int fd, uint64_t cookie,
		 uint32_t error)
{
	uint8_t head[WIRE_SIMPLE_BYTES];
	struct wire_simple simple;

	peer_receive(world, fd, head, sizeof(head));
	assert_true(wire_get_simple(head, &simple));
	assert_true(simple.cookie == cookie);
	assert_int_equal(simple.error, error);
}

struct wire_chunk_head peer_chunk(struct peer_world *world, int fd)
{
	uint8_t head[WIRE_CHUNK_BYTES];
	struct wire_chunk_head chunk;

	peer_receive(world, fd, head, sizeof(head));
	assert_true(wire_get_chunk(head, &chunk));
	return chunk;
}

uint32_t peer_chunk_error(struct peer_world *world, int fd, uint64_t cookie)
{
	const struct wire_chunk_head chunk = peer_chunk(world, fd);
	uint8_t payload[512];

	assert_int_equal(chunk.type, WIRE_CHUNK_ERROR);
	assert_true(chunk.done && chunk.cookie == cookie);
	assert_in_range(chunk.payload_bytes, 7, sizeof(payload));
	peer_receive(world, fd, payload, chunk.payload_bytes);
	assert_int_equal(get(payload + 4, 2), chunk.payload_bytes - 6);
	return (uint32_t)get(payload, 4);
}
