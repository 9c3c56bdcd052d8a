/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client-data.h - what the files of the client share
 *
 * Theory of operation
 *
 *	block request -> command, a piece of it -> link -> socket
 *	                 client-command.c         client-send.c
 *	                 client-outage.c          client-receive.c
 *
 * A request has a command from when it begins until its answer is there; one
 * that is larger than the server takes is done piece by piece, one at a time,
 * by the same command.  Commands are a fixed number; requests for which there
 * is none wait in a FIFO.
 *
 * A link is one connection.  Its commands are in 'queue' until the last byte of
 * them is sent, then in 'sent' until they are answered.  When a link is lost
 * its commands go to another one that serves, or wait in 'homeless', in the
 * order of 'sequence', for the next.
 *
 * One send takes as many commands as there are, with their data from where they
 * are; one receive as many replies; of data to be read, what has come already
 * when its head is looked at is copied, the rest is received where it belongs.
 *
 * A cookie is a command's number and how often it was used, so no reply is
 * taken twice or for another.
 *
 * A link that had work of late is polled; else it is waited for, by a watch of
 * the loop, or, to send, by a poll for room.
 *
 * Threads: the loop's.
 */
#ifndef NBD_CLIENT_DATA_H
#define NBD_CLIENT_DATA_H

#include "nbd/client.h"
#include "nbd/greet.h"
#include "nbd/stream.h"
#include "nbd/wire.h"

#define CLIENT_COMMANDS		256U
#define CLIENT_INPUT_BYTES	(UINT32_C(128) << 10)
#define CLIENT_BULK_BYTES	(UINT32_C(64) << 10) /* more goes by bulk */
/* In one go at the server, so that others get their turn. */
#define CLIENT_ZEROES_BYTES	(UINT32_C(32) << 20)
#define CLIENT_TRIM_BYTES	(UINT32_C(1) << 30)

struct client_link;

struct command {
	struct command *next, *before;	/* in a list */
	struct client_link *link;	/* NULL: homeless */
	struct block_request *request;
	uint64_t sequence;
	struct wire_request wire;
	uint32_t generation;
	uint32_t received_bytes;	/* of a read */
	uint64_t covers;		/* flush: of client.changes */
	int result;			/* of what was answered so far */
	bool sent;			/* all of it */
	bool slowly;			/* zeroes: not by FAST_ZERO */
	bool held;			/* refused: for the next link */
	bool from_nowhere;		/* its data are gone: zeroes */
	uint8_t head[WIRE_REQUEST_BYTES];
};

struct command_list {
	struct command *first, *last;
};

struct client_link {
	struct client *client;
	unsigned int number;		/* in client.links */
	struct stream stream;
	struct greet *greet;		/* while there is a handshake */
	bool serving, structured;
	bool leaving;			/* nothing more is sent: it shuts */
	bool lost;			/* it does nothing more */
	bool orphaned;			/* and has no client any more */
	bool in_poll;			/* it is freed after it */
	struct error why;		/* it was lost */
	uint64_t since_ns;

	struct loop_poller poller;
	struct loop_watch watch;
	struct loop_op room;		/* a poll for room to send */
	bool polling, watching, awaiting_room, blocked;
	uint64_t busy_ns;		/* when there was work last */

	struct command_list queue, sent;
	uint64_t sent_bytes;		/* of the queue's first */
	bool cautious;			/* one at a time: memory is gone */
	unsigned int unanswered;	/* of 'sent', not held */

	uint32_t input_head, input_tail;
	struct command *incoming;	/* whose data come */
	uint32_t data_bytes;		/* still to come */
	uint32_t skip_bytes;		/* to come, and nobody wants them */
	bool last_chunk;		/* of 'incoming' */
	uint8_t input[CLIENT_INPUT_BYTES];
};

struct client {
	struct block_device device;
	struct client_config config;
	char *export_name;
	struct keys *keys;		/* NULL: without TLS */
	char *host;			/* the server's, or NULL */
	struct wire_export export;
	bool ready;			/* it has served */
	uint32_t piece_bytes;		/* of reads and writes, at most */
	struct client_link *links[CLIENT_CONNECTIONS_MAX];

	struct command commands[CLIENT_COMMANDS];
	struct command *free;
	struct block_request *waiting, **waiting_end;	/* for a command */
	struct command_list homeless;
	uint64_t sequence;

	/* Changes that the server acknowledged, and up to which of them a
	 * flush was. */
	uint64_t changes, flushed;
	bool flush_fails;

	struct loop_timer outage, again, look;
	uint64_t ask_ns;		/* until a connection is asked for */
	uint64_t outage_since_ns;	/* without an answer since */
	bool progress;			/* an answer since the last outage */
	bool expired;			/* it lasted too long */
	struct client_status status;
};

/* ---- client-command.c ---- */

void command_submit(struct block_device *device, struct block_request *request);
/* Its answer is whole: 'result'.  Frees it, or its next piece begins. */
void command_answered(struct command *command, int result);
/* It will not be answered. */
void command_fail(struct command *command, int result);
/* That was made so and not yet given to a link: number it anew. */
void command_again(struct command *command);
bool command_is_change(const struct command *command);

void command_list_add(struct command_list *list, struct command *command);
void command_list_remove(struct command_list *list, struct command *command);

/* ---- client-outage.c ---- */

/* To a link that serves, or homeless. */
void client_route(struct client *client, struct command *command);
/* The handshake is over, well; does the link serve now? */
bool client_link_up(struct client_link *link);
/* The link is out of use: it was lost, or failed to begin. */
void client_link_down(struct client_link *link);
/* There was an answer. */
void client_progress(struct client *client);
int client_outage_init(struct client *client);
void client_outage_finish(struct client *client);
bool client_is_missing(const struct client *client);

/* ---- client-link.c ---- */

/* 'fd' is taken over on success.  Returns 0 or -ENOMEM. */
int link_create(struct client *client, unsigned int number, int fd,
		struct client_link **ret_link);
/* Nobody is told of it any more; it frees itself. */
void link_orphan(struct client_link *link);
void link_heat(struct client_link *link);
/* It is lost: by its peer's fault, or because it is over. */
void link_fail(struct client_link *link, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* ---- client-send.c ---- */

unsigned int link_send(struct client_link *link);

/* ---- client-receive.c ---- */

unsigned int link_receive(struct client_link *link);
/* What is between 'from_bytes' and 'from_bytes' + 'bytes' of a request: at most
 * 'most' parts of it; returns how many. */
unsigned int request_parts(const struct block_request *request,
			   uint64_t from_bytes, uint64_t bytes,
			   struct iovec *parts, unsigned int most,
			   uint64_t *ret_bytes);

#endif
