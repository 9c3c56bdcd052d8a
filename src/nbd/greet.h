/* SPDX-License-Identifier: Apache-2.0 */
/*
 * greet.h - a client's handshake, from the greeting to the first request
 *
 * Fixed newstyle, structured replies if the server has them, one export by
 * NBD_OPT_GO.  Whoever owns it moves the bytes: it sends 'out', receives
 * exactly what is wanted into 'in', and says so; nothing is ever read further
 * than a step needs, so what comes after the handshake stays in the socket.
 *
 * What a server says is checked here, all of it: a greet that is DONE has an
 * export that can be worked with.
 *
 * Called by link.c and a fuzz target.  Pure.  Threads: the owner's.
 */
#ifndef NBD_GREET_H
#define NBD_GREET_H

#include "base/error.h"
#include "nbd/wire-client.h"

#define GREET_OUT_BYTES		(WIRE_CLIENT_FLAGS_BYTES + WIRE_ASK_MAX)

enum greet_step {
	GREET_GREETING,
	GREET_START_TLS,	/* asked whether it has it */
	GREET_TLS,		/* the owner's part: greet_secured */
	GREET_STRUCTURED,	/* asked whether it has structured replies */
	GREET_GO,
	GREET_DONE,
	GREET_FAILED,
};

struct greet {
	enum greet_step step;
	char name[WIRE_NAME_MAX + 1];
	/* Agreed upon, when it is done. */
	struct wire_export export;
	bool structured;
	struct error error;		/* when it has failed */

	bool wants_tls;
	bool has_size, in_data;
	unsigned int replies;
	struct wire_reply_head head;
	uint32_t have, want;		/* of 'in' */
	size_t out_sent, out_bytes;
	uint8_t out[GREET_OUT_BYTES];
	uint8_t in[WIRE_ANSWER_MAX];
};

/* 'name': of the export, at most WIRE_NAME_MAX bytes.  With TLS nothing is
 * asked, nor told, before it is there. */
void greet_init(struct greet *greet, const char *name, bool wants_tls);
/* 'have' has become 'want': go on.  'out' may have something then. */
void greet_take(struct greet *greet);
/* At GREET_TLS: TLS is there, in which all that follows goes. */
void greet_secured(struct greet *greet);

/* May what was agreed upon on a new connection stand in for 'before'? */
bool greet_is_same_export(const struct wire_export *before,
			  const struct wire_export *now, struct error *reterr);

#endif
