/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call.h - one request under way, between the server and its handlers
 *
 * A handler gets a call whose path, role and body are checked.  It answers
 * exactly once: at once, or later from a host_call's 'done' (api_call_verb).
 * Threads: the control thread.
 */
#ifndef API_CALL_H
#define API_CALL_H

#include <jansson.h>
#include <stdbool.h>

#include "api/body.h"
#include "api/route.h"
#include "api/who.h"
#include "host/host.h"

/* The word in "code", and its HTTP status. */
enum api_code {
	API_USAGE,		/* 400 */
	API_FAILED,		/* 500 */
	API_REFUSED,		/* 409 */
	API_NOT_FOUND,		/* 404 */
	API_CONFLICT,		/* 409 */
	API_FORBIDDEN,		/* 403 */
	API_UNAUTHORIZED,	/* 401 */
	API_NOT_SERVED,		/* 501 */
};

struct host *api_call_host(const struct api_call *call);
const struct api_params *api_call_params(const struct api_call *call);
const struct api_body *api_call_body(const struct api_call *call);
const struct api_who *api_call_who(const struct api_call *call);
/* A request header or NULL, and a query argument or NULL. */
const char *api_call_header(const struct api_call *call, const char *name);
const char *api_call_query(const struct api_call *call, const char *name);

/* 200 with 'value' (stolen).  NULL: 500, out of memory. */
void api_answer_json(struct api_call *call, json_t *value);
/* 200 with text (stolen, from malloc; NULL as above). */
void api_answer_text(struct api_call *call, const char *type, char *text);
void api_answer_error(struct api_call *call, enum api_code code,
		      const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* Events from 'after' on, until the client leaves. */
void api_answer_stream(struct api_call *call, uint64_t after);

/* The host_call to start a verb with: its reply becomes the answer. */
struct host_call *api_call_verb(struct api_call *call);

#endif
