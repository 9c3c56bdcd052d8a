/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream.h - followers of events: server-sent events over a call
 */
#ifndef API_STREAM_H
#define API_STREAM_H

struct api_call;
struct api_server;

/* Listen to the host's events.  Returns 0 or -ENOMEM. */
int api_streams_start(struct api_server *server);
void api_streams_stop(struct api_server *server);
/* Roles changed: who may read no longer is told no more. */
void api_streams_judge(struct api_server *server);
/* The call is over; does nothing for a call that is no stream. */
void api_stream_end(struct api_call *call);

#endif
