/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream.h - bytes to and from one peer, never waiting for it
 *
 * Called by handshake.c, receive.c and reply.c, and by the client-*.c that do
 * the same at the other end: the only ones that touch the socket.  What goes
 * over it in the clear goes through here; once it is secured, through secure.c.
 * Threads: the loop's.
 */
#ifndef NBD_STREAM_H
#define NBD_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/error.h"
#include "base/match.h"
#include "os/keys.h"

struct secure;

struct stream {
	int fd;				/* -1: closed */
	struct secure *secure;		/* TLS; NULL: in the clear */
};

/* 'fd' is taken over; it is a connected, non-blocking socket. */
void stream_init(struct stream *stream, int fd);
/* Who is at the other end. */
void stream_peer(const struct stream *stream, struct match_peer *ret_peer);
void stream_finish(struct stream *stream);
/* Whoever waits for it is told that it is over; what was sent is delivered. */
void stream_shut(struct stream *stream);

/* From now on by TLS: its handshake comes first (stream_shake), of which
 * nothing has come before this.  'keys' are kept, 'host' is as keys_session
 * has it.  Returns 0 or -ENOMEM. */
int stream_secure(struct stream *stream, struct keys *keys, const char *host);
bool stream_is_secure(const struct stream *stream);
/* Go on with it.  Returns 1: it is done; 0: not now; -ECONNRESET: it is over;
 * -EPROTO: it failed, by the peer's fault, with the reason. */
int stream_shake(struct stream *stream, struct error *reterr);
/* Has something come that the socket says nothing of any more?  It is to be
 * received before the socket is waited for. */
bool stream_has_input(const struct stream *stream);
/* Of the handshake: has something to go before anything can come? */
bool stream_has_output(const struct stream *stream);

/* Returns how many bytes came; 0: none now; -ECONNRESET: it is over. */
ssize_t stream_receive(struct stream *stream, void *to, size_t bytes);
/* The same into several places; -EFAULT: one of them is no memory, nothing was
 * received. */
ssize_t stream_receive_parts(struct stream *stream, struct iovec *iov,
			     unsigned int count);
/* Returns how many bytes went; 0: there is no room now; -ECONNRESET; -EFAULT:
 * what was to go first is no memory.  What did not go is given again, first,
 * with the next call: of TLS, a part of it may be on its way. */
ssize_t stream_send(struct stream *stream, struct iovec *iov,
		    unsigned int count);

#endif
