/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fd.h - descriptors: closing them in time, passing them to another process
 *
 * Threads: any; the descriptors are the caller's.
 */
#ifndef OS_FD_H
#define OS_FD_H

#include <stddef.h>
#include <sys/types.h>

#define FD_PASS_MAX	32U	/* descriptors in one message */

/* Closes '*fd' if it is not negative, and makes it -1.  Keeps errno. */
void fd_close(int *fd);

/* 'fd_cleanup int fd = -1;' is closed when its scope is left. */
#define fd_cleanup	__attribute__((cleanup(fd_close)))

/* Takes the descriptor out of '*fd', which is no longer closed. */
static inline int fd_steal(int *fd)
{
	const int stolen = *fd;

	*fd = -1;
	return stolen;
}

/* Sends 'size' (> 0) bytes and 'count' descriptors, which stay the caller's,
 * as one message.  Returns the bytes sent (fewer than 'size' only on a stream:
 * the descriptors are with the first) or -errno (-EAGAIN, -EPIPE, ...).
 * Raises no SIGPIPE. */
ssize_t fd_send(int socket, const void *data, size_t size, const int *fds,
		unsigned int count);

/* Receives up to 'size' bytes and up to 'max' (<= FD_PASS_MAX) descriptors,
 * close-on-exec, the caller's from then on.  Returns the bytes received, 0 at
 * the end of the stream, or -errno; -EMSGSIZE if the message had more bytes
 * or descriptors than fit.  Whenever it does not return a number of bytes,
 * nothing is left open. */
ssize_t fd_receive(int socket, void *data, size_t size, int *ret_fds,
		   unsigned int max, unsigned int *ret_count);

#endif
