/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link.h - penstockd's end of a control connection: requests with callbacks
 *
 * Requests are sent in order, a bounded number at a time, and never block:
 * what the socket does not take now is sent later.  'done' of each request is
 * called exactly once, never before link_request returns; when the connection
 * ends, in the order of asking.
 * Threads: the loop's.
 */
#ifndef HOST_LINK_H
#define HOST_LINK_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "os/loop.h"

struct link_request;

/* 'result': 0; what the endpoint said went wrong (-errno, with 'text'); or
 * -ECONNRESET: it is gone, and nobody knows whether it was done.  'reply' is
 * borrowed, NULL with -ECONNRESET; '*fd' may be taken over by setting it
 * to -1. */
struct link_reply {
	int result;
	const char *text;
	json_t *reply;
	int fd;
};

struct link {
	struct loop_watch watch;
	struct loop_timer timer;
	struct loop *loop;
	int fd;				/* -1: closed */
	int broken;			/* -errno: to be closed by the timer */
	uint64_t last_id;
	struct link_request *unsent, **unsent_end;
	struct link_request *sent, **sent_end;
	unsigned int sent_count;
	/* Events of the endpoint; 'event' is borrowed.  Required. */
	void (*event)(struct link *link, const json_t *event);
	/* The other end is gone; every request was answered -ECONNRESET.
	 * Not called by link_close.  Required. */
	void (*closed)(struct link *link, int why);
};

/* Set up; 'event' and 'closed' are the caller's to set.  0 or -ENOMEM. */
int link_init(struct link *link, struct loop *loop);
/* Takes 'fd' over on success.  Returns 0 or -errno. */
int link_open(struct link *link, int fd);
/* Every request that was not answered gets -ECONNRESET. */
void link_close(struct link *link);
void link_finish(struct link *link);

/* Takes 'message' (an object without "id"; NULL: memory had run out) and
 * 'fd' (-1: none) over, whatever happens. */
void link_request(struct link *link, json_t *message, int fd,
		  void (*done)(void *arg, struct link_reply *reply), void *arg);
bool link_idle(const struct link *link);

#endif
