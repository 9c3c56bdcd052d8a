/* SPDX-License-Identifier: Apache-2.0 */
/*
 * channel.h - messages with descriptors over a socket, never waiting
 *
 * A message may come in pieces of any size: what there is of it is kept until
 * the rest comes.
 * Threads: the loop's.
 */
#ifndef VHOST_CHANNEL_H
#define VHOST_CHANNEL_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "vhost/message.h"

struct channel {
	struct message message;		/* as far as it has come */
	size_t have;			/* bytes of header and payload */
	int fd;
};

void channel_init(struct channel *channel, int fd);
/* Closes the socket and what came with an unfinished message. */
void channel_finish(struct channel *channel);

/* Read on.  Returns 1: 'channel->message' is whole, and its descriptors are
 * the caller's to close; call channel_next when done with it.  0: nothing
 * more for now.  -ECONNRESET: closed by the other side; -EPROTO: nobody can
 * understand it; or the system's reason. */
int channel_receive(struct channel *channel, struct error *reterr);
void channel_next(struct channel *channel);

/* Send a message; 'fd' may be -1.  Returns 0 or -errno; -EAGAIN when the other
 * side doesn't read: then it is lost. */
int channel_send(int socket, const struct vhost_user_header *header,
		 const void *payload, int fd);

#endif
