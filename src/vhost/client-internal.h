/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client-internal.h - what the files of the client end share
 *
 * client.c calls the others: client-negotiate.c agrees with the server, upon
 * client-wire.c, which sends and receives; client-queue.c runs the rings.
 * Nobody else includes this.
 */
#ifndef VHOST_CLIENT_INTERNAL_H
#define VHOST_CLIENT_INTERNAL_H

#include <stddef.h>

#include "vhost/client.h"
#include "vhost/protocol.h"

/* The part of a request that the server sees: one cache line, so that a
 * request costs one line going over and coming back. */
struct client_line {
	struct virtio_blk_outhdr header;	/* the server reads */
	struct virtio_blk_discard_write_zeroes range;	/* the server reads */
	uint8_t status;				/* the server writes */
	uint8_t padding[31];
};

static_assert(sizeof(struct client_line) == 64, "one cache line");

#define CLIENT_STATUS_NONE	0xffU

/* What only we see of a slot. */
struct client_slot {
	struct vhost_client_request *owner;	/* NULL: free */
	const void *built_base;		/* the single segment that ... */
	uint32_t built_length;		/* ... its descriptors say now */
	uint8_t built_shape;		/* enum client_shape */
	uint64_t order;			/* when it was added */
};

enum client_shape {
	CLIENT_SHAPE_NONE,	/* to be built */
	CLIENT_SHAPE_READ,
	CLIENT_SHAPE_WRITE,
	CLIENT_SHAPE_FLUSH,
	CLIENT_SHAPE_RANGE,
};

/* header, data, status: a slot's descriptors where they aren't indirect. */
#define CLIENT_CHAIN		3U
#define CLIENT_TABLE		(VHOST_CLIENT_SEGMENTS_MAX + 2U)

struct vhost_client_queue {
	/* In the memory shared with the server. */
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	struct client_line *lines;
	struct vring_desc *tables;	/* CLIENT_TABLE for each slot */
	uint16_t *used_event;		/* behind the avail ring */
	uint16_t *avail_event;		/* behind the used ring */

	/* Ours alone. */
	struct client_slot *slots;
	uint16_t *free;
	unsigned int free_count, slot_count;
	uint16_t size;
	uint16_t avail_next;		/* next entry to fill */
	uint16_t avail_shown;		/* as the server sees it */
	uint16_t used_next;		/* next entry to take */
	bool event_index, indirect, broken;
	int kick_fd, call_fd;
	uint64_t added;
};

int client_queue_init(struct vhost_client_queue *queue, unsigned int size,
		      bool indirect);
void client_queue_finish(struct vhost_client_queue *queue);
/* How much shared memory a queue takes, and where its parts lie in it. */
size_t client_queue_bytes(unsigned int size, bool indirect);
void client_queue_place(struct vhost_client_queue *queue, void *memory);
/* Fill the rings anew with what is in flight, in the order it was added. */
void client_queue_refill(struct vhost_client_queue *queue);
/* Something finished that was not reaped. */
bool client_queue_unreaped(const struct vhost_client_queue *queue);

/* A reply on its way: what has come of it. */
struct client_reply {
	struct vhost_user_header header;
	union vhost_user_payload payload;
	size_t have;			/* of both together */
	int fd;				/* that came with it, or -1 */
};

/* All below: 0, -ETIMEDOUT, -ECONNRESET, -EPROTO, or the system's reason. */
struct client_wire {
	int fd;
	bool reply_ack;
	uint64_t timeout_ns;
};

int client_wire_connect(const char *path, uint64_t timeout_ns, int *ret_fd);
/* Send only. */
int client_wire_send(const struct client_wire *wire, uint32_t request,
		     uint32_t flags, const void *payload, uint32_t size,
		     const int *fds, unsigned int fd_count);
/* What has come of the reply to 'request', never waiting: -EAGAIN as long as
 * it is not all there.  'reply' begins as {.fd = -1}, its descriptor is the
 * caller's. */
int client_wire_take(const struct client_wire *wire, uint32_t request,
		     struct client_reply *reply);
/* The same, waiting for it. */
int client_wire_await(const struct client_wire *wire, uint32_t request,
		      struct client_reply *reply);
/* Sends, then waits for a reply of 'min' to 'max' bytes into 'payload'. */
int client_wire_get(const struct client_wire *wire, uint32_t request,
		    const void *question, uint32_t question_size, void *payload,
		    uint32_t min, uint32_t max);
/* Take whatever one message the back-end channel holds: its number or
 * -EAGAIN; '*ret_answer' if it wants an answer. */
int client_wire_event(int fd, bool *ret_answer);
int client_wire_answer(int fd, uint32_t request);

/* Where a handshake is: which of the steps of client-negotiate.c. */
struct client_talk {
	unsigned int step, queue;
	bool awaiting;			/* a reply */
	bool kept;			/* the server goes on with old notes */
	struct client_reply reply;
};

struct vhost_client {
	struct vhost_client_config config;
	struct vhost_client_region regions[VHOST_CLIENT_REGIONS_MAX];
	char *path;
	struct client_wire wire;	/* fd -1: not connected */
	struct client_talk talk;
	int event_fd;			/* back-end channel, -1: none */
	int memory_fd, inflight_fd;
	void *memory;			/* rings of all queues */
	size_t memory_bytes;
	struct vhost_user_inflight inflight;
	uint64_t features, protocol;
	struct vhost_client_info info;
	struct vhost_client_queue *queues;
	unsigned int queue_count;
};

/* What is said to the server from connecting to running queues, step by step.
 * What was agreed the first time is asked for again at a reconnect, and must
 * still be there. */
void client_talk_begin(struct vhost_client *client);
/* On with it as far as it goes without waiting.  0: all is said; -EAGAIN: a
 * reply is awaited; else the error that is said in 'reterr'. */
int client_talk_advance(struct vhost_client *client, struct error *reterr);
/* The same, waiting for each reply. */
int client_talk_through(struct vhost_client *client, struct error *reterr);
void client_talk_end(struct vhost_client *client);
int client_read_config(struct vhost_client *client, struct error *reterr);
/* client.c: memory for the rings and the queues in it, once it is known how
 * many. */
int client_make_queues(struct vhost_client *client, struct error *reterr);

#endif
