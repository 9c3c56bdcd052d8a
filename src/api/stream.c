/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream.c - followers of events: server-sent events over a call
 *
 * A follower keeps the number of the last event it was told.  MHD asks for
 * more whenever the socket takes more; then the events since that number are
 * fetched from the host's memory, or the connection is suspended until the
 * next event.  So a slow follower costs one chunk of memory, and one that is
 * too slow for the host's memory sees a gap in the numbers.
 *
 * MHD does not look at a suspended connection; so that who left frees its
 * place at once, its descriptor is watched here, until it has something to
 * say for the first time.
 */
#include "api/stream.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/call-data.h"
#include "api/server.h"

#define EVENTS_PER_CHUNK	64U
#define SIGN_OF_LIFE		":\n\n"	/* a comment, to the client */

static void wake_all(struct api_server *server, bool beat)
{
	for (struct api_call *call = server->calls; call; call = call->next) {
		if (!call->is_stream)
			continue;
		call->beat |= beat;
		api_call_resume(call);
	}
}

static void on_event(struct host_listener *listener, json_t *event)
{
	(void)event;
	wake_all(container_of(listener, struct api_server, events), false);
}

static void on_beat(struct loop_timer *timer, uint64_t now_ns)
{
	struct api_server *server =
		container_of(timer, struct api_server, beat_timer);

	wake_all(server, true);
	if (server->streams > 0)
		loop_timer_set(server->loop, timer, now_ns + API_BEAT_NS);
}

/* It hung up, or says what nobody wants to hear: a sign of life tells which. */
static void on_hangup(struct loop_watch *watch)
{
	struct api_call *call = container_of(watch, struct api_call, hangup);

	loop_watch_remove(call->server->loop, watch);
	call->beat = true;
	api_call_resume(call);
}

static void watch_hangup(struct api_call *call)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(
		call->connection, MHD_CONNECTION_INFO_CONNECTION_FD);

	call->hangup.ready = on_hangup;
	/* Without it, the next sign of life finds out. */
	if (info)
		(void)loop_watch_add(call->server->loop, &call->hangup,
				     info->connect_fd);
}

static void write_event(FILE *out, json_t *event)
{
	const char *kind = json_string_value(json_object_get(event, "kind"));
	char *data = json_dumps(event, JSON_COMPACT | JSON_REAL_PRECISION(15));

	if (data)
		fprintf(out,
			"id: %" JSON_INTEGER_FORMAT "\nevent: %s\ndata: %s\n\n",
			json_integer_value(json_object_get(event, "seq")),
			kind ? kind : "event", data);
	free(data);
}

/* What there is to tell, into the call's chunk; its length may be 0. */
static int fill_chunk(struct api_call *call)
{
	json_t *events = host_events(call->server->host, call->seq);
	size_t count = json_array_size(events);
	FILE *out;

	free(call->chunk);
	call->chunk = NULL;
	call->chunk_offset = 0;
	call->chunk_length = 0;
	out = open_memstream(&call->chunk, &call->chunk_length);
	if (!out) {
		json_decref(events);
		return -ENOMEM;
	}
	if (count > EVENTS_PER_CHUNK)
		count = EVENTS_PER_CHUNK;
	for (size_t i = 0; i < count; i++) {
		json_t *event = json_array_get(events, i);

		write_event(out, event);
		call->seq = (uint64_t)json_integer_value(
			json_object_get(event, "seq"));
	}
	if (count == 0 && call->beat)
		fputs(SIGN_OF_LIFE, out);
	call->beat = false;
	json_decref(events);
	return fclose(out) == 0 ? 0 : -ENOMEM;
}

void api_streams_judge(struct api_server *server)
{
	for (struct api_call *call = server->calls; call; call = call->next) {
		if (!call->is_stream || call->who.is_remote)
			continue;
		api_server_who(call);
		call->is_over = call->who.role < API_ROLE_READ;
		if (call->is_over)
			api_call_resume(call);
	}
}

static ssize_t read_stream(void *arg, uint64_t offset, char *buffer,
			   size_t size)
{
	struct api_call *call = arg;
	size_t length;

	(void)offset;
	if (call->is_over)
		return MHD_CONTENT_READER_END_OF_STREAM;
	if (call->chunk_offset == call->chunk_length && fill_chunk(call) < 0)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	length = call->chunk_length - call->chunk_offset;
	if (length == 0) {
		api_call_suspend(call);
		return 0;
	}
	if (length > size)
		length = size;
	memcpy(buffer, call->chunk + call->chunk_offset, length);
	call->chunk_offset += length;
	return (ssize_t)length;
}

void api_answer_stream(struct api_call *call, uint64_t after)
{
	struct api_server *server = call->server;
	struct MHD_Response *response;

	if (server->streams >= API_STREAMS_MAX) {
		api_answer_error(call, API_FAILED,
				 "%u follow events already: try again later",
				 API_STREAMS_MAX);
		return;
	}
	call->seq = after;
	call->beat = true;	/* so that the headers go out at once */
	call->is_stream = true;
	watch_hangup(call);
	if (server->streams++ == 0)
		loop_timer_set(server->loop, &server->beat_timer,
			       loop_clock_ns() + API_BEAT_NS);
	response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 4096,
						     read_stream, call, NULL);
	api_call_respond(call, MHD_HTTP_OK, "text/event-stream", response);
}

void api_stream_end(struct api_call *call)
{
	if (!call->is_stream)
		return;
	call->is_stream = false;
	loop_watch_remove(call->server->loop, &call->hangup);
	call->server->streams--;
	free(call->chunk);
	call->chunk = NULL;
}

int api_streams_start(struct api_server *server)
{
	int error = loop_timer_init(server->loop, &server->beat_timer, on_beat);

	if (error < 0)
		return error;
	server->events.event = on_event;
	host_listen(server->host, &server->events);
	return 0;
}

void api_streams_stop(struct api_server *server)
{
	host_unlisten(server->host, &server->events);
	loop_timer_finish(server->loop, &server->beat_timer);
}
