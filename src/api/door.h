/* SPDX-License-Identifier: Apache-2.0 */
/*
 * door.h - who may come in to the REST server, and how many at once
 *
 * Accepts connections and counts them by the user at the other end (or the
 * name in the certificate), so that one user, or all that have no say here,
 * cannot take every place for as long as a silent connection lasts.  Who is
 * turned away gets an answer; when all places are taken, whoever comes waits in
 * the socket's backlog.
 *
 * Called by server.c.  Threads: the control thread.
 */
#ifndef API_DOOR_H
#define API_DOOR_H

#include <stdbool.h>
#include <stdint.h>

#include "api/who.h"
#include "os/loop.h"

#define API_CONNECTIONS_MAX	64U
#define API_CONNECTIONS_OF_USER 16U	/* but for root and penstockd's own */
#define API_CONNECTIONS_KEPT	16U	/* for who has more than everyone */
#define API_REFUSED_MAX		16U	/* told so, and not closed yet */

#define API_DOOR_ANSWER_MAX	512U	/* of one that is turned away */

struct api_door_place {
	bool is_taken, is_trusted;
	struct api_who who;
};

struct api_door {
	/* Set by the user before api_door_open. */
	struct loop *loop;
	/* Who is it?  Required. */
	enum api_role (*role)(struct api_door *door,
			      const struct api_peer *peer);
	enum api_role everyone;		/* that those have who have no grant */
	/* Let it in: takes 'fd'; 'place' is given back when it ends, or at
	 * once if it cannot be served.  Required. */
	void (*enter)(struct api_door *door, int fd,
		      struct api_door_place *place);
	/* It was turned away.  Required. */
	void (*refused)(struct api_door *door, const struct api_who *who,
			const char *why);
	/* the door's */
	struct loop_watch watch;
	struct loop_timer timer;
	int fd;
	bool is_watched;
	struct api_door_place places[API_CONNECTIONS_MAX];
	int turned_away[API_REFUSED_MAX];	/* -1: none */
	unsigned int next_away;
};

/* Accept at 'fd', a listening Unix socket that stays the caller's (-1: there is
 * none).  Returns 0
 * or -errno. */
int api_door_open(struct api_door *door, int fd);
void api_door_close(struct api_door *door);
/* One who came another way and is known; takes 'fd' of whom it lets in.
 * Returns NULL, or why it is turned away. */
const char *api_door_come_in(struct api_door *door, int fd,
			     const struct api_who *who);
/* What it is to be answered then, before it has asked. */
void api_door_answer(const char *why, char answer[API_DOOR_ANSWER_MAX]);
/* A connection has ended.  NULL is allowed. */
void api_door_leave(struct api_door *door, struct api_door_place *place);

#endif
