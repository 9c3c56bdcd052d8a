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

/* All below: 0, -ETIMEDOUT, -ECONNRESET, -EPROTO, or the system's reason. */
struct client_wire {
	int fd;
	bool reply_ack;
	uint64_t timeout_ns;
};

int client_wire_connect(const char *path, uint64_t timeout_ns, int *ret_fd);
/* With REPLY_ACK, waits for the server's consent: else just sends. */
int client_wire_set(const struct client_wire *wire, uint32_t request,
		    const void *payload, uint32_t size, const int *fds,
		    unsigned int fd_count);
/* Sends, then waits for a reply of 'min' to 'max' bytes into 'payload'.
 * 'ret_fd' may be NULL: a descriptor is then closed; else -1 if none. */
int client_wire_get(const struct client_wire *wire, uint32_t request,
		    const void *question, uint32_t question_size, void *payload,
		    uint32_t min, uint32_t max, int *ret_fd);
/* Take whatever one message the back-end channel holds: its number or
 * -EAGAIN; '*ret_answer' if it wants an answer. */
int client_wire_event(int fd, bool *ret_answer);
int client_wire_answer(int fd, uint32_t request);

struct vhost_client {
	struct vhost_client_config config;
	struct vhost_client_region regions[VHOST_CLIENT_REGIONS_MAX];
	char *path;
	struct client_wire wire;	/* fd -1: not connected */
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

/* What is said to the server, in this order; all below: 0, or the error that
 * is said in 'reterr'.  What was agreed the first time is asked for again at a
 * reconnect, and must still be there. */
int client_negotiate(struct vhost_client *client, struct error *reterr);
int client_count_queues(struct vhost_client *client, struct error *reterr);
/* A channel on which the server tells of a new size; without it the size
 * simply stays what it was. */
int client_open_events(struct vhost_client *client, struct error *reterr);
int client_read_config(struct vhost_client *client, struct error *reterr);
/* Have the server keep its notes where they outlive it; '*ret_kept': it goes
 * on with the notes of the one before. */
int client_set_inflight(struct vhost_client *client, bool *ret_kept,
			struct error *reterr);
int client_set_memory(struct vhost_client *client, struct error *reterr);
int client_start_queue(struct vhost_client *client, unsigned int index,
		       struct error *reterr);

#endif
