/* SPDX-License-Identifier: Apache-2.0 */
/*
 * endpoint.h - one endpoint process, from penstockd's side: alive or brought
 * back to life
 *
 * endpoint_start adopts the process that answers at the control socket in
 * the state directory, else starts one.  When it dies it is started again.
 * What it is to serve is not known here: 'connected' tells what it has, and
 * whoever owns this asks for the rest.
 *
 * Threads: the control thread's.  Nothing blocks.
 */
#ifndef HOST_ENDPOINT_H
#define HOST_ENDPOINT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "host/link.h"

struct endpoint;
struct loop;
struct stats_segment;

enum endpoint_state {
	ENDPOINT_IDLE,		/* not started yet, or stopped */
	ENDPOINT_ADOPTING,	/* something answers; is it ours? */
	ENDPOINT_STARTING,	/* started, has not said hello */
	ENDPOINT_RUNNING,
	ENDPOINT_LOST,		/* it lives, but the connection is gone */
	ENDPOINT_WAITING,	/* dead; to be started again */
	ENDPOINT_STOPPING,
};

struct endpoint_hooks {
	/* It runs and has what 'list' says (as docs/control.md, all parts
	 * together; borrowed). */
	void (*connected)(void *arg, bool adopted, const json_t *list);
	/* What it had is gone, until 'connected' again. */
	void (*lost)(void *arg);
	void (*event)(void *arg, const json_t *event);
	void (*stopped)(void *arg);
	/* Something to be said: kind as in host.h. */
	void (*tell)(void *arg, const char *kind, const char *text);
	void *arg;
};

struct endpoint_config {
	struct loop *loop;
	const char *program, *directory, *name;
	uint32_t uid, gid;		/* whose it becomes; uid 0: ours */
	int cpu, nice;
	bool realtime;
	bool has_spin;
	uint64_t spin_ns;
	struct endpoint_hooks hooks;	/* all required */
};

/* Texts must outlive it.  Returns 0, -ENOMEM, or why there is no segment. */
int endpoint_create(const struct endpoint_config *config,
		    struct endpoint **ret_endpoint, struct error *reterr);
/* The process, if it was not stopped, goes on.  NULL is allowed. */
void endpoint_destroy(struct endpoint *endpoint);
void endpoint_start(struct endpoint *endpoint);
/* Drain it, at most for 10 s, then end it; 'stopped' is called when it is
 * gone, never before this returns. */
void endpoint_stop(struct endpoint *endpoint);

/* Once a second: one that hangs (pulse.h) is ended, and started again. */
void endpoint_look(struct endpoint *endpoint, uint64_t now_ns);

/* As link_request.  While it is not running: -ECONNRESET. */
void endpoint_request(struct endpoint *endpoint, json_t *message, int fd,
		      void (*done)(void *arg, struct link_reply *reply),
		      void *arg);

enum endpoint_state endpoint_state(const struct endpoint *endpoint);
const char *endpoint_state_name(const struct endpoint *endpoint);
pid_t endpoint_pid(const struct endpoint *endpoint);	/* 0: none */
unsigned int endpoint_restarts(const struct endpoint *endpoint);
bool endpoint_adopted(const struct endpoint *endpoint);
/* Shared with it; outlives it.  Changes when 'connected' says adopted. */
struct stats_segment *endpoint_stats(const struct endpoint *endpoint);

#endif
