/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire-client.h - the handshake's messages as a client has them
 *
 * The other half of wire.h: what a client sends before its first request, and
 * what a server, who may be a stranger, answers.
 * Called by greet.c.  Pure: no I/O, keeps nothing.  Threads: any.
 */
#ifndef NBD_WIRE_CLIENT_H
#define NBD_WIRE_CLIENT_H

#include "nbd/wire.h"

/* The longest data of an option's reply that a client takes. */
#define WIRE_ANSWER_MAX		8192U
/* The longest option that is made here. */
#define WIRE_ASK_MAX		(WIRE_OPTION_BYTES + 4U + WIRE_NAME_MAX + 64U)

/* Returns false: it is no server of fixed newstyle. */
bool wire_get_greeting(const uint8_t from[WIRE_GREETING_BYTES],
		       bool *ret_no_zeroes);
void wire_put_client_flags(uint8_t to[WIRE_CLIENT_FLAGS_BYTES], bool no_zeroes);

/* Options: each returns how many bytes it took; 'to' has room for WIRE_ASK_MAX,
 * a name is not longer than WIRE_NAME_MAX. */
size_t wire_put_option(uint8_t *to, uint32_t option);
/* NBD_OPT_GO, and the limits of blocks are asked for. */
size_t wire_put_go(uint8_t *to, const char *name);

struct wire_reply_head {
	uint32_t option, reply;
	uint32_t data_bytes;		/* any */
};

/* Returns false: it isn't one. */
bool wire_get_reply(const uint8_t from[WIRE_REPLY_BYTES],
		    struct wire_reply_head *ret_head);
/* The data of a WIRE_REP_INFO: what it tells goes into 'export', what is not
 * for us is passed over.  Returns false: the lengths are wrong. */
bool wire_get_info(const uint8_t *data, uint32_t bytes,
		   struct wire_export *export, bool *ret_has_size);

/* A negative errno of the protocol's number (WIRE_OK: 0). */
int wire_errno(uint32_t error);

#endif
