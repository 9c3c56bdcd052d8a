/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call-data.h - the insides that server.c, stream.c and call.c share; each
 * calls only those after it
 */
#ifndef API_CALL_DATA_H
#define API_CALL_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/call.h"
#include "api/audit.h"
#include "api/door.h"
#include "api/gate.h"
#include "api/listen.h"
#include "api/role.h"
#include "base/container.h"
#include "os/loop.h"

struct MHD_Connection;
struct MHD_Daemon;
struct MHD_Response;
struct api_server_config;

struct api_server {
	struct loop *loop;
	struct host *host;
	struct MHD_Daemon *daemon;
	struct api_listener listener;
	bool has_listener;
	struct api_door door;
	struct api_gate *gate;		/* NULL: none */
	struct audit *audit;
	void (*say)(const char *text);
	struct api_door_place *arriving; /* until MHD has it */
	struct loop_watch watch;	/* MHD's epoll descriptor */
	struct loop_timer run_timer;	/* MHD's next time-out, or "soon" */
	struct loop_timer beat_timer;	/* followers: a sign of life */
	struct host_listener events;
	struct api_call *calls;		/* all that MHD knows of */
	unsigned int streams;
	bool run_again;			/* resumed inside MHD_run */
	enum api_role everyone;
	struct api_grant *grants;
	size_t grant_count;
};

struct api_call {
	struct api_server *server;
	struct MHD_Connection *connection;	/* NULL: it is over */
	struct api_call *next, **link;
	const struct api_route *route;	/* NULL: it is answered already */
	struct api_params params;
	struct api_who who;
	struct audit *audit;
	uint64_t audit_number;		/* asked under; 0: not */
	char *asked;			/* of a change: its path */
	struct api_body body;

	char *text;			/* the body as it comes in */
	size_t length, room;

	struct host_call verb;
	bool verb_pending;		/* the host still has 'verb' */
	bool dispatched;		/* the handler was called */
	bool answered;			/* 'response' was made (or failed) */
	bool suspended;
	unsigned int status;
	struct MHD_Response *response;	/* until it is queued */

	bool is_stream;			/* stream.c's from here on */
	bool beat;			/* owes a sign of life */
	bool is_over;			/* may follow no longer */
	struct loop_watch hangup;	/* while suspended */
	uint64_t seq;			/* the last event that was told */
	char *chunk;
	size_t chunk_length, chunk_offset;
};

/* What a user at the other end of a Unix socket may now. */
enum api_role api_server_role(const struct api_server *server,
			      const struct api_peer *peer);
/* Who asks, and what he may now. */
void api_server_who(struct api_call *call);
/* The names stay the caller's.  Returns 0 or -ENOMEM. */
int api_server_copy_roles(struct api_server *server,
			  const struct api_server_config *config);
void api_call_suspend(struct api_call *call);
/* Does nothing to a call that isn't suspended. */
void api_call_resume(struct api_call *call);
/* Answer with 'response' (taken over; NULL: cut the connection). */
void api_call_respond(struct api_call *call, unsigned int status,
		      const char *type, struct MHD_Response *response);
/* With the fields of 'details' (NULL: none) beside the error's own. */
void api_call_respond_error(struct api_call *call, enum api_code code,
			    unsigned int status, const char *text,
			    json_t *details);

#endif
