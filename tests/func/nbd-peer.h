/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nbd-peer.h - an NBD server on a fake vdev, and clients that may say anything
 *
 * One thread: whoever waits for bytes turns the server's loop meanwhile.
 */
#ifndef TESTS_FUNC_NBD_PEER_H
#define TESTS_FUNC_NBD_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "nbd/server.h"
#include "nbd/wire.h"
#include "vhost-fake.h"

#define PEER_VDEV_BYTES	(UINT64_C(64) << 20)

struct peer_world {
	struct loop *loop;
	struct vdev *vdev;
	struct server *server;
	char name[64];			/* of the socket, abstract */
	unsigned int reports, drained;
	struct error report;
};

void peer_create(struct peer_world *world, unsigned int connections);
/* The same with TLS; the keys stay the caller's. */
void peer_create_secure(struct peer_world *world, unsigned int connections,
			struct keys *keys, bool required);
void peer_destroy(struct peer_world *world);
void peer_turn(struct peer_world *world);
void peer_turns(struct peer_world *world, unsigned int times);
/* Until 'sessions' are there. */
void peer_await_sessions(struct peer_world *world, unsigned int sessions);
void peer_drained(void *world);	/* for server_drain: counts */

int peer_connect(const struct peer_world *world);
void peer_send(struct peer_world *world, int fd, const void *from,
	       size_t bytes);
/* All of it comes, or the test fails. */
void peer_receive(struct peer_world *world, int fd, void *to, size_t bytes);
/* Until the server has hung up; what it still sent is dropped. */
void peer_await_end(struct peer_world *world, int fd);

/* The greeting, and these client flags. */
void peer_greet(struct peer_world *world, int fd, uint32_t flags);
void peer_option(struct peer_world *world, int fd, uint32_t option,
		 const void *data, size_t bytes);
/* The next reply: its type; what comes with it, up to 'size', in 'data'. */
uint32_t peer_reply(struct peer_world *world, int fd, void *data, size_t size,
		    uint32_t *ret_bytes);
/* NBD_OPT_GO or INFO with this name and all information; the type of the last
 * reply. */
uint32_t peer_go(struct peer_world *world, int fd, uint32_t option,
		 const char *name, struct wire_export *ret_export);
/* Connected, and through the handshake. */
int peer_session(struct peer_world *world, bool structured);

void peer_request(struct peer_world *world, int fd, uint16_t command,
		  uint16_t flags, uint64_t cookie, uint64_t offset_bytes,
		  uint32_t length_bytes);
void peer_write(struct peer_world *world, int fd, uint64_t cookie,
		uint64_t offset_bytes, const void *from, uint32_t bytes);
/* The next simple reply is this one. */
void peer_expect(struct peer_world *world, int fd, uint64_t cookie,
		 uint32_t error);
/* The next chunk. */
struct wire_chunk_head peer_chunk(struct peer_world *world, int fd);
/* The next chunk is an error, with a text: which. */
uint32_t peer_chunk_error(struct peer_world *world, int fd, uint64_t cookie);

#endif
