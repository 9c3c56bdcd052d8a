/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream.h - bytes to and from one peer, never waiting for it
 *
 * Called by handshake.c, receive.c and reply.c, and by the client-*.c that do
 * the same at the other end: the only ones that touch the socket.  What goes
 * over it in the clear goes through here.
 * Threads: the loop's.
 */
#ifndef NBD_STREAM_H
#define NBD_STREAM_H

#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

struct stream {
	int fd;				/* -1: closed */
};

/* 'fd' is taken over; it is a connected, non-blocking socket. */
void stream_init(struct stream *stream, int fd);
void stream_finish(struct stream *stream);
/* Whoever waits for it is told that it is over; what was sent is delivered. */
void stream_shut(struct stream *stream);

/* Returns how many bytes came; 0: none now; -ECONNRESET: it is over. */
ssize_t stream_receive(struct stream *stream, void *to, size_t bytes);
/* The same into several places; -EFAULT: one of them is no memory, nothing was
 * received. */
ssize_t stream_receive_parts(struct stream *stream, struct iovec *iov,
			     unsigned int count);
/* Returns how many bytes went; 0: there is no room now; -ECONNRESET; -EFAULT:
 * what was to go first is no memory. */
ssize_t stream_send(struct stream *stream, struct iovec *iov,
		    unsigned int count);

#endif
