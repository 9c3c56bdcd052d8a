/* SPDX-License-Identifier: Apache-2.0 */
/* stream.c - see stream.h */
#include "nbd/stream.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

/* A peer that is gone without a word is noticed within a minute. */
#define KEEPALIVE_IDLE_S	20
#define KEEPALIVE_EVERY_S	10
#define KEEPALIVE_PROBES	4

static void set(int fd, int level, int option, int value)
{
	/* Nothing depends on it. */
	(void)setsockopt(fd, level, option, &value, sizeof(value));
}

void stream_init(struct stream *stream, int fd)
{
	int domain = 0;
	socklen_t length = sizeof(domain);

	stream->fd = fd;
	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) < 0 ||
	    domain == AF_UNIX)
		return;
	/* Replies are collected here: what is sent is to go at once. */
	set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	set(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
	set(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_EVERY_S);
	set(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES);
}

void stream_finish(struct stream *stream)
{
	if (stream->fd >= 0)
		close(stream->fd);
	stream->fd = -1;
}

void stream_shut(struct stream *stream)
{
	(void)shutdown(stream->fd, SHUT_RDWR);
}

static bool is_later(int code)
{
	return code == EAGAIN || code == EINTR || code == ENOBUFS ||
		code == ENOMEM;
}

ssize_t stream_receive(struct stream *stream, void *to, size_t bytes)
{
	const ssize_t got = recv(stream->fd, to, bytes, MSG_DONTWAIT);

	if (got > 0)
		return got;
	return got < 0 && is_later(errno) ? 0 : -ECONNRESET;
}

ssize_t stream_receive_parts(struct stream *stream, struct iovec *iov,
			     unsigned int count)
{
	struct msghdr message = {.msg_iov = iov, .msg_iovlen = count};
	const ssize_t got = recvmsg(stream->fd, &message, MSG_DONTWAIT);

	if (got > 0)
		return got;
	if (got < 0 && errno == EFAULT)
		return -EFAULT;
	return got < 0 && is_later(errno) ? 0 : -ECONNRESET;
}

ssize_t stream_send(struct stream *stream, struct iovec *iov,
		    unsigned int count)
{
	const struct msghdr message = {.msg_iov = iov, .msg_iovlen = count};
	const ssize_t sent =
		sendmsg(stream->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (sent >= 0)
		return sent;
	if (errno == EFAULT)
		return -EFAULT;
	return is_later(errno) ? 0 : -ECONNRESET;
}
