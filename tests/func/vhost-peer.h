/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vhost-peer.h - a small front-end for tests, and the server it talks to
 *
 * Everything runs in one thread: whoever waits for the server turns its loop.
 * Waiting for something that does not come ends the test after ten seconds.
 *
 * Guest memory is one memfd, in two regions that are neighbours for the guest
 * and not in the file, so that a buffer across them is two buffers here:
 *
 *	guest  [0, 2 MiB)  ->  file [2 MiB, 4 MiB)
 *	guest  [2, 4 MiB)  ->  file [0, 2 MiB)
 *
 * Queue q has 64 KiB from q * 64 KiB on; slot s of it (for one request at a
 * time) uses descriptors 3 s .. 3 s + 2, a header and a status of its own.
 */
#ifndef TESTS_FUNC_VHOST_PEER_H
#define TESTS_FUNC_VHOST_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vhost/front.h"
#include "vhost/protocol.h"
#include "vhost-fake.h"

#define PEER_QUEUES		4U
#define PEER_MEMORY_BYTES	(UINT64_C(4) << 20)
#define PEER_DATA_ADDR		(UINT64_C(1) << 20)	/* free for data */
#define PEER_USER_ADDR		UINT64_C(0x7f0000000000)
#define PEER_SLOTS		80U
#define PEER_NO_STATUS		0xeeU

struct world {
	struct loop *loop;
	struct vdev *vdev;
	struct front *front;
	char name[64];			/* of the abstract socket */
	unsigned int reports;
	struct error report;		/* the latest */
};

struct peer_queue {
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t size;
	uint16_t seen;			/* of the used ring */
	int kick, call, error;
};

struct peer {
	struct world *world;
	int socket;
	int memory_fd;
	uint8_t *memory;
	uint64_t features, protocol;
	struct peer_queue queues[PEER_QUEUES];
};

void world_create(struct world *world, unsigned int queues);
/* Another front on the same loop, with a vdev of its own. */
void world_create_beside(struct world *world, const struct world *first,
			 unsigned int queues);
void world_destroy(struct world *world);
void world_destroy_beside(struct world *world);
/* One round of the loop, without sleeping. */
void world_turn(struct world *world);
/* So many rounds: enough for anything that needs no event from outside. */
void world_settle(struct world *world);
/* Rounds until a condition holds; 'what' names it if it never does. */
#define world_until(world, condition) \
	do { \
		uint64_t world_limit_ns = \
			loop_clock_ns() + UINT64_C(10000000000); \
		while (!(condition)) { \
			world_turn(world); \
			world_check(world_limit_ns, #condition); \
		} \
	} while (0)
void world_check(uint64_t limit_ns, const char *what);

/* ---- messages ---- */

void peer_connect(struct world *world, struct peer *peer);
void peer_close(struct peer *peer);	/* the socket only */
void peer_destroy(struct peer *peer);
void peer_send(struct peer *peer, uint32_t request, uint32_t flags,
	       const void *payload, size_t size, const int *fds,
	       unsigned int fd_count);
/* The next message from the server.  Returns its payload's size, or -1: the
 * connection is closed.  'ret_fd' may be NULL. */
int peer_receive(struct peer *peer, struct vhost_user_header *ret_header,
		 void *payload, size_t size, int *ret_fd);
bool peer_is_closed(struct peer *peer);
/* A message with nothing but a number, and no answer asked for. */
void peer_set_u64(struct peer *peer, uint32_t request, uint64_t value);
uint64_t peer_get_u64(struct peer *peer, uint32_t request);
/* A message that asks to be acknowledged (needs REPLY_ACK): what came. */
uint64_t peer_acknowledged(struct peer *peer, uint32_t request,
			   const void *payload, size_t size, const int *fds,
			   unsigned int fd_count);
void peer_set_state(struct peer *peer, uint32_t request, uint32_t index,
		    uint32_t num);
/* A round trip: everything that was sent before has been handled. */
void peer_sync(struct peer *peer);

/* ---- a session, step by step ---- */

/* Features beside VERSION_1 and PROTOCOL_FEATURES; all protocol features. */
void peer_negotiate(struct peer *peer, uint64_t features);
void peer_set_memory(struct peer *peer);
/* All of a ring but the start. */
void peer_set_ring(struct peer *peer, unsigned int queue, uint16_t size,
		   uint16_t base);
void peer_set_ring_addr(struct peer *peer, unsigned int queue, bool log);
void peer_start_ring(struct peer *peer, unsigned int queue);
void peer_enable_ring(struct peer *peer, unsigned int queue, bool enable);
uint32_t peer_stop_ring(struct peer *peer, unsigned int queue);
/* All of the above for so many queues. */
void peer_start(struct peer *peer, uint64_t features, unsigned int queues);

/* ---- guest memory and requests ---- */

void *peer_at(struct peer *peer, uint64_t guest_addr);
uint64_t peer_header_addr(unsigned int queue, unsigned int slot);
uint64_t peer_status_addr(unsigned int queue, unsigned int slot);
uint8_t peer_status(struct peer *peer, unsigned int queue, unsigned int slot);
/* Write header and status of a slot. */
void peer_header(struct peer *peer, unsigned int queue, unsigned int slot,
		 uint32_t type, uint32_t ioprio, uint64_t sector);
void peer_desc(struct peer *peer, unsigned int queue, unsigned int index,
	       uint64_t addr, uint32_t length, uint16_t flags, uint16_t next);
/* Make a chain available.  It is not kicked. */
void peer_publish(struct peer *peer, unsigned int queue, uint16_t head);
void peer_kick(struct peer *peer, unsigned int queue);
/* An ordinary request of one buffer (none if 'length' is 0) in a slot. */
void peer_request(struct peer *peer, unsigned int queue, unsigned int slot,
		  uint32_t type, uint64_t sector, uint64_t data_addr,
		  uint32_t length);
/* How many answers came that were not taken; and take one: its head. */
unsigned int peer_answers(struct peer *peer, unsigned int queue);
uint16_t peer_answer(struct peer *peer, unsigned int queue,
		     uint32_t *ret_length);
/* peer_request, kick, wait for its answer, and its status. */
uint8_t peer_do(struct peer *peer, unsigned int queue, unsigned int slot,
		uint32_t type, uint64_t sector, uint64_t data_addr,
		uint32_t length);
/* Was it called (eventfd counter since the last time)? */
bool peer_was_called(struct peer *peer, unsigned int queue);

#endif
