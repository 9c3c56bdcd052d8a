/* SPDX-License-Identifier: Apache-2.0 */
/*
 * door.h - who may come in to the REST server, and how many at once
 *
 * Accepts connections and counts them by the user at the other end, so that
 * one user, or all that have no say here, cannot take every place for as long
 * as a silent connection lasts.  Who is turned away gets an answer; when all
 * places are taken, whoever comes waits in the socket's backlog.
 *
 * Called by server.c.  Threads: the control thread.
 */
#ifndef API_DOOR_H
#define API_DOOR_H

#include <stdbool.h>
#include <stdint.h>

#include "api/role.h"
#include "os/loop.h"

#define API_CONNECTIONS_MAX	64U
#define API_CONNECTIONS_OF_USER 16U	/* but for root and penstockd's own */
#define API_CONNECTIONS_KEPT	16U	/* for who has more than everyone */
#define API_REFUSED_MAX		16U	/* told so, and not closed yet */

struct api_door_place {
	bool is_taken, is_trusted;
	uint32_t uid;
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
	/* the door's */
	struct loop_watch watch;
	struct loop_timer timer;
	int fd;
	bool is_watched;
	struct api_door_place places[API_CONNECTIONS_MAX];
	int refused[API_REFUSED_MAX];	/* -1: none */
	unsigned int next_refused;
};

/* Accept at 'fd', a listening Unix socket that stays the caller's.  Returns 0
 * or -errno. */
int api_door_open(struct api_door *door, int fd);
void api_door_close(struct api_door *door);
/* A connection has ended.  NULL is allowed. */
void api_door_leave(struct api_door *door, struct api_door_place *place);

#endif
