/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call.c - one call: how it waits and how it is answered
 *
 * Called by handlers (routes.c), by stream.c and by server.c, which has MHD
 * and knows when a call begins and ends.
 */
#include "api/call.h"

#include <assert.h>
#include <microhttpd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/call-data.h"

/* --- Connections -------------------------------------------------------- */

void api_call_suspend(struct api_call *call)
{
	assert(!call->suspended);
	call->suspended = true;
	MHD_suspend_connection(call->connection);
}

void api_call_resume(struct api_call *call)
{
	if (!call->suspended)
		return;
	call->suspended = false;
	MHD_resume_connection(call->connection);
	call->server->run_again = true;
	loop_timer_set(call->server->loop, &call->server->run_timer,
		       loop_clock_ns());
}

/* --- Answers ------------------------------------------------------------ */

static const struct {
	const char *word;
	unsigned int status;
} codes[] = {
	[API_USAGE] = {"usage", MHD_HTTP_BAD_REQUEST},
	[API_FAILED] = {"failed", MHD_HTTP_INTERNAL_SERVER_ERROR},
	[API_REFUSED] = {"refused", MHD_HTTP_CONFLICT},
	[API_NOT_FOUND] = {"not-found", MHD_HTTP_NOT_FOUND},
	[API_CONFLICT] = {"conflict", MHD_HTTP_CONFLICT},
	[API_UNAUTHORIZED] = {"unauthorized", MHD_HTTP_UNAUTHORIZED},
	[API_FORBIDDEN] = {"forbidden", MHD_HTTP_FORBIDDEN},
	[API_NOT_SERVED] = {"not-served", MHD_HTTP_NOT_IMPLEMENTED},
};

/* What became of a change that was asked for. */
static void record(struct api_call *call, unsigned int status, const char *why)
{
	const struct audit_request request = {
		&call->who, call->route ? call->route->method : NULL,
		call->asked};

	if (call->audit_number == 0)
		return;
	audit_answered(call->audit, call->audit_number, &request, status, why);
	call->audit_number = 0;
}

void api_call_respond(struct api_call *call, unsigned int status,
		      const char *type, struct MHD_Response *response)
{
	assert(!call->response);
	if (response) {
		MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE,
					type);
		MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL,
					"no-store");
	}
	record(call, status, NULL);
	call->answered = true;
	call->status = status;
	call->response = response;
	api_call_resume(call);
}

/* 'text' from malloc, or NULL when there was no memory for it: the connection
 * is then cut. */
static void respond_text(struct api_call *call, unsigned int status,
			 const char *type, char *text)
{
	struct MHD_Response *response = NULL;

	if (text)
		response = MHD_create_response_from_buffer(
			strlen(text), text, MHD_RESPMEM_MUST_FREE);
	if (!response)
		free(text);
	api_call_respond(call, status, type, response);
}

static void respond_json(struct api_call *call, unsigned int status,
			 json_t *value)
{
	/* 15 digits: what was written with fewer is read as it was. */
	char *text = value ? json_dumps(value,
					JSON_COMPACT | JSON_ENCODE_ANY |
						JSON_REAL_PRECISION(15)) :
			     NULL;
	char *line = NULL;

	json_decref(value);
	if (text && asprintf(&line, "%s\n", text) < 0)
		line = NULL;
	free(text);
	respond_text(call, status, "application/json", line);
}

void api_call_respond_error(struct api_call *call, enum api_code code,
			    unsigned int status, const char *text,
			    json_t *details)
{
	json_t *value = json_pack("{s:s, s:s}", "error", text, "code",
				  codes[code].word);
	struct error plain;

	record(call, status, text);
	if (!value) {	/* what a stranger sent was quoted and is not UTF-8 */
		error_set(&plain, 0, "%s", text);
		for (char *at = plain.text; *at; at++)
			if (*at & 0x80)
				*at = '?';
		value = json_pack("{s:s, s:s}", "error", plain.text, "code",
				  codes[code].word);
	}
	if (value && json_is_object(details))
		json_object_update_missing(value, details);
	respond_json(call, status, value);
}

void api_answer_json(struct api_call *call, json_t *value)
{
	if (value)
		respond_json(call, MHD_HTTP_OK, value);
	else
		api_answer_error(call, API_FAILED, "out of memory");
}

void api_answer_text(struct api_call *call, const char *type, char *text)
{
	if (text)
		respond_text(call, MHD_HTTP_OK, type, text);
	else
		api_answer_error(call, API_FAILED, "out of memory");
}

void api_answer_error(struct api_call *call, enum api_code code,
		      const char *format, ...)
{
	struct error error;
	va_list args;

	va_start(args, format);
	error_vset(&error, 0, format, args);
	va_end(args);
	api_call_respond_error(call, code, codes[code].status, error.text,
			       NULL);
}

static const enum api_code result_codes[] = {
	[HOST_FAILED] = API_FAILED,	[HOST_USAGE] = API_USAGE,
	[HOST_REFUSED] = API_REFUSED,	[HOST_NOT_FOUND] = API_NOT_FOUND,
	[HOST_CONFLICT] = API_CONFLICT,
};

static unsigned int result_status(enum host_result result)
{
	return codes[result_codes[result]].status;
}

static void answer_reply(struct api_call *call, const struct host_reply *reply)
{
	const enum host_result result = reply->result;

	if (result == HOST_DONE)
		respond_json(call, MHD_HTTP_OK,
			     reply->value ? json_incref(reply->value) :
					    json_object());
	else
		api_call_respond_error(call, result_codes[result],
				       result_status(result), reply->text,
				       result == HOST_REFUSED ? reply->value :
								NULL);
}

/* Nobody waits for it any more: what became of it is recorded. */
static void forget(struct api_call *call, const struct host_reply *reply)
{
	const bool done = reply->result == HOST_DONE;

	record(call, done ? MHD_HTTP_OK : result_status(reply->result),
	       done ? NULL : reply->text);
	free(call->asked);
	free(call);
}

static void on_verb_done(struct host_call *verb, const struct host_reply *reply)
{
	struct api_call *call = container_of(verb, struct api_call, verb);

	assert(call->verb_pending);
	call->verb_pending = false;
	if (call->connection)
		answer_reply(call, reply);
	else
		forget(call, reply);
}

struct host_call *api_call_verb(struct api_call *call)
{
	assert(!call->verb_pending);
	call->verb_pending = true;
	call->verb.done = on_verb_done;
	return &call->verb;
}

/* --- What a handler may ask --------------------------------------------- */

struct host *api_call_host(const struct api_call *call)
{
	return call->server->host;
}

const struct api_params *api_call_params(const struct api_call *call)
{
	return &call->params;
}

const struct api_body *api_call_body(const struct api_call *call)
{
	return &call->body;
}

const struct api_who *api_call_who(const struct api_call *call)
{
	return &call->who;
}

const char *api_call_header(const struct api_call *call, const char *name)
{
	return MHD_lookup_connection_value(call->connection, MHD_HEADER_KIND,
					   name);
}

const char *api_call_query(const struct api_call *call, const char *name)
{
	return MHD_lookup_connection_value(call->connection,
					   MHD_GET_ARGUMENT_KIND, name);
}
