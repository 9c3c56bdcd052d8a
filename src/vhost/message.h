/* SPDX-License-Identifier: Apache-2.0 */
/*
 * message.h - what a front-end may say, checked in one place
 *
 * message_check looks at everything in a message that can be judged without
 * touching anything: its size, its number of descriptors, whether it was
 * negotiated, whether the state allows it, its queue, and each of its values.
 * Whoever handles a message relies on it and checks none of that again.
 *
 * Pure: no I/O, so that it can be fuzzed.
 */
#ifndef VHOST_MESSAGE_H
#define VHOST_MESSAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "vhost/protocol.h"

#define MESSAGE_QUEUES_MAX	64U

struct message {
	struct vhost_user_header header;
	union vhost_user_payload payload;
	int fds[VHOST_USER_FDS_MAX];	/* -1: taken */
	unsigned int fds_count;
};

/* What of a session matters for judging a message. */
struct message_view {
	uint64_t features_offered;
	uint64_t features;		/* acknowledged */
	uint64_t protocol_offered;
	uint64_t protocol;		/* acknowledged */
	uint64_t started;		/* queues, one bit each */
	unsigned int queues;
};

/* What a front-end waits for after a message. */
enum message_reply {
	MESSAGE_REPLY_NONE,	/* an acknowledgement, if it asks for one */
	MESSAGE_REPLY_OWN,	/* always an answer of its own kind */
};

/* The header alone: may the payload be read?  Returns 0 or -EPROTO; then
 * nothing more of this stream can be understood. */
int message_check_header(const struct vhost_user_header *header,
			 struct error *reterr);
/* The whole message.  Returns 0, -EINVAL, -EOPNOTSUPP (unknown, or not
 * negotiated) or -EBUSY (not while rings run). */
int message_check(const struct message *message,
		  const struct message_view *view, struct error *reterr);
enum message_reply message_reply(uint32_t request);
const char *message_name(uint32_t request);	/* "SET_OWNER", or "unknown" */

/* The payload as it is or was, for each queue message.  Checked before. */
unsigned int message_queue(const struct message *message);

void message_close_fds(struct message *message);
/* Take descriptor 'index' out of the message. */
int message_take_fd(struct message *message, unsigned int index);

#endif
