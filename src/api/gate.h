/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gate.h - the way in from other machines: TCP, and on it TLS in both
 *          directions
 *
 * A stranger gets as far as a handshake.  Who has shown a certificate of the
 * configured authority, in time, is known by the names in it and handed on as
 * one end of a socket pair; what is said over TLS comes out of that in plain,
 * and the other way round.  So the server behind never speaks TLS, and never
 * sees a stranger.
 *
 * Bounded: GATE_STRANGERS unfinished handshakes, of one address
 * GATE_STRANGERS_OF_ADDRESS (the oldest gives way), GATE_HANDSHAKE_NS for each,
 * GATE_COMING_PER_S new ones (the others wait in the backlog), GATE_LINKS in
 * all.
 *
 * Called by server.c.  Threads: the control thread.
 */
#ifndef API_GATE_H
#define API_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/credentials.h"
#include "api/who.h"
#include "base/error.h"

#define GATE_LINKS		128U
#define GATE_STRANGERS		32U
#define GATE_STRANGERS_OF_ADDRESS 8U	/* IPv6: of one /64 */
#define GATE_COMING_PER_S	100U
#define GATE_HANDSHAKE_NS	UINT64_C(10000000000)
#define GATE_ANSWER_MAX		512U

struct api_gate;
struct loop;

struct api_gate_config {
	struct loop *loop;
	const char *address;		/* "ADDRESS:PORT" */
	struct api_tls_files files;	/* stay the caller's */
	const struct api_grant *grants;	/* the same, until other ones */
	size_t grant_count;
	/* One who is known; takes 'fd'.  Or fills 'reterr_answer', which is
	 * sent, and leaves 'fd': then returns false.  Required. */
	bool (*enter)(void *arg, int fd, const struct api_who *who,
		      char reterr_answer[GATE_ANSWER_MAX]);
	/* One who was not let in.  Required. */
	void (*refused)(void *arg, const struct api_who *who, const char *why);
	/* Something for the log.  Required. */
	void (*say)(void *arg, const char *text);
	void *arg;
};

/* Listens.  Returns 0 or -errno with the reason. */
int api_gate_create(const struct api_gate_config *config,
		    struct api_gate **ret_gate, struct error *reterr);
void api_gate_destroy(struct api_gate *gate);	/* NULL is allowed */
/* Read the certificates again if the files are others by now (it looks by
 * itself every few seconds as well).  Whoever came in under the old ones has to
 * come again; files that are not in order change nothing and are said. */
void api_gate_reload(struct api_gate *gate);
/* Names have these roles now; if they are new, whoever came in has to come
 * again. */
void api_gate_set_grants(struct api_gate *gate, const struct api_grant *grants,
			 size_t count, bool are_new);
/* The port that it listens on: of "ADDRESS:0", the kernel's choice. */
unsigned int api_gate_port(const struct api_gate *gate);

#endif
