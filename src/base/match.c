/* SPDX-License-Identifier: Apache-2.0 */
/* match.c - see match.h */
#include "base/match.h"

#include <assert.h>
#include <stddef.h>

static const char *const words[] = {NULL, "ioprio", "pid", "uid", "gid"};

static_assert(sizeof(words) / sizeof(*words) == MATCH_KINDS, "one for each");

const char *match_word(enum match_kind kind)
{
	return words[kind];
}

const char *match_kind_text(enum match_kind kind)
{
	return kind == MATCH_IOPRIO ? "I/O priority" : words[kind];
}

bool match_is_same(const struct match *a, const struct match *b)
{
	return a->kind != MATCH_NONE && a->kind == b->kind &&
		a->number == b->number;
}

bool match_is_of_peer(const struct match *match)
{
	return match->kind != MATCH_NONE && match->kind != MATCH_IOPRIO;
}

bool match_is_peer(const struct match *match, const struct match_peer *peer)
{
	if (!peer->is_known)
		return false;
	switch (match->kind) {
	case MATCH_NONE:
	case MATCH_IOPRIO:
		return false;
	case MATCH_PID:
		return match->number == peer->pid;
	case MATCH_UID:
		return match->number == peer->uid;
	case MATCH_GID:
		return match->number == peer->gid;
	}
	return false;
}
