/* SPDX-License-Identifier: Apache-2.0 */
/*
 * match.h - by what a process's requests are told from its neighbours' (E9)
 *
 * An I/O priority is of each request; the others are of who connected, and
 * only of a unix socket's peer.
 */
#ifndef BASE_MATCH_H
#define BASE_MATCH_H

#include <stdbool.h>
#include <stdint.h>

enum match_kind {
	MATCH_NONE,
	MATCH_IOPRIO,	/* Linux: class << 13 | level */
	MATCH_PID,
	MATCH_UID,
	MATCH_GID,
};
#define MATCH_KINDS	5U

struct match {
	enum match_kind kind;
	uint32_t number;
};

/* Who connected: as SO_PEERCRED has it. */
struct match_peer {
	bool is_known;			/* false: not by a unix socket */
	uint32_t pid, uid, gid;
};

/* "ioprio", "pid", ...; NULL of MATCH_NONE. */
const char *match_word(enum match_kind kind);
/* To be read: "I/O priority", "pid", ... */
const char *match_kind_text(enum match_kind kind);
/* Something, and the same. */
bool match_is_same(const struct match *a, const struct match *b);
/* Is it of who connected, and not of each request? */
bool match_is_of_peer(const struct match *match);
bool match_is_peer(const struct match *match, const struct match_peer *peer);

#endif
