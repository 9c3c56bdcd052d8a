/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.h - what the files of a connection share
 *
 * Theory of operation
 *
 *	socket -> input ring -> request -> vdev -> replies -> socket
 *	          receive.c     request.c          reply.c
 *
 * One receive fills the input ring with as many requests as there are; data
 * to be written stay there until they are, so nothing copies them.  The ring
 * is mapped twice in a row, so that nothing in it is ever in two pieces.  Data
 * that are read go into the arena and from there to the socket; one send takes
 * as many replies as there are.
 *
 * Each request has a slot from when it is taken to when its last reply is
 * sent.  Slots, ring and arena are given out in the order in which requests
 * come, and taken back in that order, whichever is done first:
 *
 *	slots   [ slot_tail .. slot_head )	all that are not answered
 *	input   [ input_tail .. input_taken .. input_head )
 *	          data of writes   not looked at yet
 *	arena   [ arena_tail .. arena_head )	data of reads
 *
 * All of it is made when the handshake is over and touched as it is needed.
 * What does not fit waits where it is, in the end in the client's socket: who
 * does not read what is answered holds up itself.
 *
 * A request that is longer than a piece goes to the vdev piece by piece, one
 * at a time; so a connection takes at most CONNECTION_MEMORY_BYTES, whatever
 * is asked of it.
 *
 * A connection that had work of late is polled: its poller is on the loop.
 * Else it is waited for, by a watch of the loop, or, to send, by a poll for
 * room (state.c).
 *
 * Threads: the loop's.
 */
#ifndef NBD_STATE_H
#define NBD_STATE_H

#include "nbd/connection.h"
#include "nbd/stream.h"
#include "nbd/wire.h"
#include "os/loop.h"
#include "sched/turns.h"
#include "vdev/vdev.h"

#define CONNECTION_SLOTS	256U	/* a power of two */
#define CONNECTION_PIECE_BYTES	(UINT32_C(512) << 10)
#define CONNECTION_INPUT_BYTES	(UINT32_C(2) << 20)	/* a power of two */
#define CONNECTION_ARENA_BYTES	(UINT32_C(2) << 20)
#define CONNECTION_MEMORY_BYTES \
	(CONNECTION_INPUT_BYTES + CONNECTION_ARENA_BYTES + \
	 CONNECTION_SLOTS * sizeof(struct slot))
/* In one go at the vdev: the reactor may zero the first itself. */
#define CONNECTION_ZEROES_BYTES	(UINT32_C(1) << 20)
#define CONNECTION_TRIM_BYTES	(UINT32_C(32) << 20)
/* Replies that wait to be sent, before no more is asked of the device. */
#define CONNECTION_UNSENT_BYTES	(UINT32_C(256) << 10)
/* Of a block status, in one reply. */
#define CONNECTION_EXTENTS	32U
#define CONNECTION_HEAD_BYTES \
	(WIRE_STATUS_BYTES + CONNECTION_EXTENTS * WIRE_EXTENT_BYTES)

enum connection_phase {
	CONNECTION_HANDSHAKE,
	CONNECTION_SERVING,
	CONNECTION_DRAINING,	/* what comes now is answered ESHUTDOWN */
	CONNECTION_LEAVING,	/* no more is read; the last replies go */
	CONNECTION_ENDED,	/* the socket is closed */
};

struct slot {
	struct vdev_request vdev;
	struct connection *connection;
	struct slot *next;		/* among replies or pieces */
	struct iovec iov;		/* of the vdev's request */
	struct wire_request request;
	uint64_t at_bytes;		/* where the next piece begins */
	uint32_t left_bytes;		/* not yet asked of the vdev */
	uint32_t piece_bytes;		/* that the vdev has, or had */
	uint64_t input_end;		/* its data in the ring end here */
	uint64_t arena_end;
	uint8_t *data;			/* read: into; write: from */
	/* A reply: the head, then this from elsewhere. */
	const void *payload;
	uint32_t payload_bytes, head_bytes;
	uint8_t head[CONNECTION_HEAD_BYTES];
	bool busy;			/* not to be taken back yet */
	bool holds_input;
	bool flushing;			/* for FUA */
	bool patching;			/* the edge's block was read */
	bool has_edges;			/* inside of blocks: see edge.c */
	bool running;			/* from its begin to its end */
	uint8_t op;			/* enum block_op */
	uint64_t piece_at, piece_to;	/* of these: of the piece, to be done */
	bool final;			/* the reply is its last */
};

struct slot_list {
	struct slot *first, **end;
};

/* handshake.c's; only while there is one. */
struct handshake;

struct connection {
	struct connection_config config;
	struct stream stream;
	enum connection_phase phase;
	bool cut;			/* to end as soon as can be */
	bool began;			/* it counts as a session */
	bool orphaned;
	struct handshake *handshake;

	struct loop_poller poller;
	struct loop_watch watch;
	struct loop_op room;		/* a poll for room to send */
	bool polling, watching, awaiting_room, blocked;
	uint64_t busy_ns;		/* when there was work last */

	/* What was agreed upon. */
	struct wire_terms terms;
	struct vdev_process *process;	/* NULL: the common way in */
	uint32_t pasid;			/* named; 0: none */
	struct match_peer peer;
	struct turns_seat seat;

	struct slot *slots;
	uint32_t slot_head, slot_tail, input_slot;
	unsigned int in_flight;		/* at the vdev */
	bool starved;			/* a slot or the arena was short */
	bool awaits_edge;		/* another's: see edge.c */

	uint8_t *input;
	uint64_t input_head, input_taken, input_tail;
	struct slot *incoming;		/* a write whose data are coming */
	uint32_t skip_bytes;		/* data that nobody wants */
	/* Answered when that is through: many clients look for an answer only
	 * to what they have sent all of.  NULL: none. */
	struct slot *refused;
	enum wire_error refused_with;

	uint8_t *arena;
	uint64_t arena_head, arena_tail;

	struct slot_list replies, pieces;
	uint64_t sent_bytes;		/* of the first reply */
	uint64_t unsent_bytes;
};

/* ---- state.c ---- */

/* Look at it in every round; wait for it instead. */
void state_heat(struct connection *connection);
void state_cool(struct connection *connection);
bool state_is_crowded(void);
/* Is there something to be received of which the socket says nothing? */
bool state_has_input(const struct connection *connection);
/* It ends: by its peer's fault. */
void state_fail(struct connection *connection, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* It ends, and that is in order. */
void state_end(struct connection *connection);
/* Slots, ring and arena.  Returns 0 or -ENOMEM. */
int state_allocate(struct connection *connection);
void state_free(struct connection *connection);
/* Take back what is not needed any more. */
void state_reclaim_input(struct connection *connection);
void state_reclaim_slots(struct connection *connection);
/* Room in the arena for 'slot', the newest; NULL: not now. */
uint8_t *state_take_arena(struct connection *connection, struct slot *slot,
			  uint32_t bytes);

static inline struct slot *state_slot(const struct connection *connection,
				      uint32_t number)
{
	return &connection->slots[number % CONNECTION_SLOTS];
}

static inline void slot_list_add(struct slot_list *list, struct slot *slot)
{
	slot->next = NULL;
	*list->end = slot;
	list->end = &slot->next;
}

static inline struct slot *slot_list_take(struct slot_list *list)
{
	struct slot *slot = list->first;

	list->first = slot->next;
	if (!list->first)
		list->end = &list->first;
	return slot;
}

/* ---- reply.c ---- */

/* The answer to 'slot' that is its last. */
void reply_end(struct slot *slot, enum wire_error error);
/* The same of an error: when what is skipped of its data was received. */
void reply_refused(struct slot *slot, enum wire_error error);
/* 'slot->piece_bytes' at 'slot->payload' were read. */
void reply_data(struct slot *slot);
void reply_status(struct slot *slot);
/* Send what can be sent; returns how many replies went out whole. */
unsigned int reply_send(struct connection *connection);

/* ---- edge.c ---- */

/* Does a request of this connection that changes something in this range run,
 * 'slot' aside? */
bool edge_is_changed(const struct connection *connection,
		     const struct slot *slot, uint64_t from_bytes,
		     uint64_t to_bytes);
/* May 'slot', which changes something, begin?  If it has edges, it owns the
 * edge then. */
bool edge_enter(struct connection *connection, struct slot *slot);
/* It is done, and somebody owns the edge or waits for it. */
void edge_leave(struct slot *slot);
/* The connection ends, nothing of it is in flight. */
void edge_abandon(struct connection *connection);
/* The block's bytes that are the request's: put them in. */
void edge_patch(struct slot *slot, uint32_t block_bytes);

/* ---- request.c ---- */

/* Carry out 'slot->request', which was checked; a write's data are there, up
 * to a piece. */
void request_begin(struct slot *slot, uint64_t now_ns);
/* The next piece of a write whose data are there. */
void request_go_on(struct slot *slot, uint64_t now_ns);
/* Those of which the next piece can go to the vdev. */
void request_pieces(struct connection *connection, uint64_t now_ns);
/* Nobody waits for it any more: what waits for its turn comes back. */
void request_abandon(struct connection *connection);
/* Somebody waits for all of it: no limit holds it up. */
void request_hurry(struct connection *connection, uint64_t now_ns);

/* ---- receive.c ---- */

/* Receive, and carry out what came.  Returns how much was found. */
unsigned int receive_poll(struct connection *connection, uint64_t now_ns);
/* Would more be received, if it were there? */
bool receive_wants(const struct connection *connection);
/* Is there a request that can be carried out now? */
bool receive_is_ready(const struct connection *connection);

/* ---- handshake.c ---- */

/* Returns 0 or -ENOMEM. */
int handshake_create(struct connection *connection);
void handshake_destroy(struct connection *connection);
/* Go on as far as can be; in the end the phase is another. */
unsigned int handshake_poll(struct connection *connection);
/* It waits for its turn at TLS, until then; 0: it does not. */
uint64_t handshake_rests_until_ns(const struct connection *connection);

#endif
