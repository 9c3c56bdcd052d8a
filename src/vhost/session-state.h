/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session-state.h - a session's state, its answers and its rings, for
 * session.c and session-messages.c only
 *
 * session.c calls session-messages.c, both call session-state.c.
 */
#ifndef VHOST_SESSION_STATE_H
#define VHOST_SESSION_STATE_H

#include "vhost/channel.h"
#include "vhost/ring.h"
#include "vhost/session.h"

/* What a session waits for. */
enum session_pending {
	PENDING_NONE,
	PENDING_BASE,		/* GET_VRING_BASE of one ring */
	PENDING_STOP,		/* all rings, for RESET_OWNER and status 0 */
	PENDING_RESET,		/* all rings and what was negotiated */
	PENDING_CLOSE,		/* the end */
};

struct session_queue {
	struct ring *ring;
	struct ring_layout layout;
	bool has_addr;
	bool started;		/* asked for; it runs if we hold the epoch */
};

/* The flush before an epoch is released; outlives its session if it must. */
struct session_flush {
	struct vdev_request vdev;
	struct session *session;	/* NULL: nobody waits */
	bool busy;
	bool done;
};

struct session {
	struct session_config config;
	struct channel channel;
	struct loop_watch watch;
	struct loop_timer timer; /* set to now when something may go on */
	struct session_flush *flush;

	uint64_t features_offered, features;
	uint64_t protocol;
	uint8_t status;
	bool holding;			/* the epoch */
	bool gone;			/* its socket is closed */
	bool closing;			/* PENDING_CLOSE is next */
	enum session_pending pending;
	unsigned int pending_queue;
	struct vhost_user_header pending_header;

	struct memory_map *map;
	struct inflight *inflight;
	struct dirty_log *log;
	int backend_fd;			/* -1: none */
	struct session_queue queues[MESSAGE_QUEUES_MAX];
};

static inline unsigned int session_queue_count(const struct session *session)
{
	return session->config.target->queues;
}

void session_report(struct session *session, const struct error *error);
/* The queues that are started, one bit each. */
uint64_t session_started(const struct session *session);
/* How many rings run. */
unsigned int session_running(const struct session *session);
/* Something may go on: look in the next round. */
void session_go_on(struct session *session);

/* Send an answer to 'header'. */
int session_reply(struct session *session,
		  const struct vhost_user_header *header, const void *payload,
		  uint32_t size, int fd);
int session_reply_u64(struct session *session,
		      const struct vhost_user_header *header, uint64_t value);

/* Begin to wait; nothing else is pending. */
void session_wait(struct session *session, enum session_pending pending,
		  unsigned int queue, const struct vhost_user_header *header);
/* The epoch is given up, if we hold it. */
void session_release(struct session *session);
/* Run the started rings, if the epoch is or becomes ours.  Returns 0 or the
 * error of one that can't be. */
int session_start_rings(struct session *session, struct error *reterr);
/* Tell running rings of a change. */
int session_update_rings(struct session *session, struct error *reterr);
/* Tell the front-end that the configuration is another one. */
void session_config_changed(struct session *session);

#endif
