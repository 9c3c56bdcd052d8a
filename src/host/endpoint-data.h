/* SPDX-License-Identifier: Apache-2.0 */
/*
 * endpoint-data.h - the insides that endpoint*.c share
 *
 * endpoint.c calls the others; endpoint-meet.c calls endpoint-process.c.
 */
#ifndef HOST_ENDPOINT_DATA_H
#define HOST_ENDPOINT_DATA_H

#include "host/endpoint.h"
#include "host/pulse.h"
#include "os/loop.h"

#define ENDPOINT_STOP_NS	UINT64_C(10000000000)	/* to drain */

struct endpoint {
	struct endpoint_config config;
	struct link link;
	struct loop_timer timer;	/* what it means depends on 'state' */
	struct loop_watch death;	/* of 'pidfd' */
	enum endpoint_state state;
	char *control_path;
	pid_t pid;
	int pidfd;			/* -1: no process */
	int stats_fd;
	struct stats_segment *stats;
	struct pulse pulse;		/* of 'stats', while it runs */
	json_t *list;			/* being gathered */
	uint64_t started_ns, backoff_ns;
	unsigned int restarts, lost_tries;
	bool adopted, is_draining;
	bool is_found;			/* an earlier one's, not adopted yet */
	/* endpoint-meet.c's end: it is ours; or it is of no use. */
	void (*met)(struct endpoint *endpoint);
	void (*unmet)(struct endpoint *endpoint, const char *why);
};

/* --- endpoint-process.c -------------------------------------------------- */

void endpoint_tell(struct endpoint *endpoint, const char *kind,
		   const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void endpoint_set_timer(struct endpoint *endpoint, uint64_t in_ns);
/* From now on its death is noticed; takes 'pidfd' over on success. */
int endpoint_watch_process(struct endpoint *endpoint, pid_t pid, int pidfd);
void endpoint_forget_process(struct endpoint *endpoint);
void endpoint_kill(struct endpoint *endpoint);
/* How it ended, if it was our child (an adopted one is somebody else's). */
void endpoint_describe_end(const struct endpoint *endpoint, char *text,
			   size_t size);

/* --- endpoint-record.c --------------------------------------------------- */

/* Write down which process was started.  Returns 0 or -errno. */
int endpoint_record(const struct endpoint *endpoint);
void endpoint_record_forget(const struct endpoint *endpoint);
/* A pidfd of the process that was written down, if it lives, or -errno. */
int endpoint_record_open(const struct endpoint *endpoint, pid_t *ret_pid);

/* --- endpoint-meet.c ----------------------------------------------------- */

/* Connect, say hello, ask what it has; ends with 'met' or 'unmet'.  Returns 0
 * or why nobody is there. */
int endpoint_connect(struct endpoint *endpoint);
/* It ends when it is done; nobody waits for the answer. */
void endpoint_ask_drain(struct endpoint *endpoint);

#endif
