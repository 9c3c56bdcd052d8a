/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ctl.h - the conversation between penstockd and its endpoints
 *
 * A Unix SOCK_SEQPACKET connection.  penstockd binds and listens, passes the
 * listening socket at start (CTL_LISTEN_FD) with the statistics segment
 * (CTL_STATS_FD), closes its own copy and connects: the same for an endpoint
 * it has just started and for one it finds running (adoption).  One connection
 * at a time; a newer one from the same user replaces the older.
 *
 * A message is one JSON object, at most CTL_MESSAGE_MAX bytes, with at most
 * one descriptor.  Requests carry "op" and "id"; the reply carries the same
 * "id" and either "ok": true with results or "error": TEXT and "errno".
 * Events carry "event".  docs/control.md lists them all.
 */
#ifndef CTL_CTL_H
#define CTL_CTL_H

#include <jansson.h>

#include "base/error.h"
#include "sched/sched.h"
#include "sla/capacity.h"
#include "sla/sla.h"

/* Raised with every change after which an endpoint and a penstockd of which
 * only one has it could misread the other: of a message, or of stats.h and what
 * lies in it. */
#define CTL_VERSION		8
#define CTL_MESSAGE_MAX		(128U * 1024U)
#define CTL_LISTEN_FD		3
#define CTL_STATS_FD		4

/* Messages carry keys (of TLS): from now on, of this process, nothing that a
 * message was stays in memory that is given back.  Before the first one. */
void ctl_init(void);

/* Send one message; 'fd' is passed along if >= 0 and stays the caller's.
 * Returns 0, -EMSGSIZE, -EAGAIN (the other end does not read) or -errno. */
int ctl_send(int socket, const json_t *message, int fd);
/* Receive one.  Returns 0 with a new reference and a descriptor or -1;
 * -EAGAIN: none there; -ECONNRESET: the other end is gone; -EBADMSG: not a
 * JSON object (the connection is to be closed). */
int ctl_receive(int socket, json_t **ret_message, int *ret_fd);

/* Scheduling parameters and SLAs as JSON, for "process-add" and the like.
 * From JSON: missing fields are zero, wrong ones -EBADMSG. */
json_t *ctl_from_sched_params(const struct sched_params *params);
int ctl_to_sched_params(const json_t *json, struct sched_params *ret_params);
json_t *ctl_from_sched_limits(const struct sched_limits *limits);
int ctl_to_sched_limits(const json_t *json, struct sched_limits *ret_limits);
json_t *ctl_from_sla(const struct sla *sla);
int ctl_to_sla(const json_t *json, struct sla *ret_sla);
json_t *ctl_from_capacity(const struct capacity *capacity);
int ctl_to_capacity(const json_t *json, struct capacity *ret_capacity);

#endif
