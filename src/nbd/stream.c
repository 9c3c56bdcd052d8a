/* SPDX-License-Identifier: Apache-2.0 */
/* stream.c - see stream.h */
#include "nbd/stream.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "nbd/secure.h"

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
	stream->secure = NULL;
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

void stream_peer(const struct stream *stream, struct match_peer *ret_peer)
{
	struct ucred cred;
	socklen_t length = sizeof(cred);

	*ret_peer = (struct match_peer){.is_known = false};
	/* By TCP nobody is known, and that is said so. */
	if (getsockopt(stream->fd, SOL_SOCKET, SO_PEERCRED, &cred, &length) <
		    0 ||
	    cred.uid == (uid_t)-1)
		return;
	*ret_peer = (struct match_peer){
		.is_known = true,
		.pid = (uint32_t)cred.pid,
		.uid = cred.uid,
		.gid = cred.gid,
	};
}

void stream_finish(struct stream *stream)
{
	secure_destroy(stream->secure);
	stream->secure = NULL;
	if (stream->fd >= 0)
		close(stream->fd);
	stream->fd = -1;
}

void stream_shut(struct stream *stream)
{
	if (stream->secure)
		secure_bye(stream->secure);
	(void)shutdown(stream->fd, SHUT_RDWR);
}

/* ---- TLS ---- */

int stream_secure(struct stream *stream, struct keys *keys, const char *host)
{
	return secure_create(keys, host, stream->fd, &stream->secure);
}

bool stream_is_secure(const struct stream *stream)
{
	return stream->secure;
}

int stream_shake(struct stream *stream, struct error *reterr)
{
	return secure_shake(stream->secure, reterr);
}

bool stream_has_input(const struct stream *stream)
{
	return stream->secure && secure_has_input(stream->secure);
}

bool stream_has_output(const struct stream *stream)
{
	return stream->secure && secure_has_output(stream->secure);
}

static ssize_t secure_receive_parts(struct secure *secure,
				    const struct iovec *iov, unsigned int count)
{
	ssize_t done = 0;

	for (unsigned int i = 0; i < count; i++) {
		const ssize_t got =
			secure_receive(secure, iov[i].iov_base, iov[i].iov_len);

		if (got < 0 && done == 0)
			return got;
		if (got > 0)
			done += got;
		if (got < (ssize_t)iov[i].iov_len)
			break;
	}
	return done;
}

/* ---- bytes ---- */

static bool is_later(int code)
{
	return code == EAGAIN || code == EINTR || code == ENOBUFS ||
		code == ENOMEM;
}

ssize_t stream_receive(struct stream *stream, void *to, size_t bytes)
{
	ssize_t got;

	if (stream->secure)
		return secure_receive(stream->secure, to, bytes);
	got = recv(stream->fd, to, bytes, MSG_DONTWAIT);
	if (got > 0)
		return got;
	return got < 0 && is_later(errno) ? 0 : -ECONNRESET;
}

ssize_t stream_receive_parts(struct stream *stream, struct iovec *iov,
			     unsigned int count)
{
	struct msghdr message = {.msg_iov = iov, .msg_iovlen = count};
	ssize_t got;

	if (stream->secure)
		return secure_receive_parts(stream->secure, iov, count);
	got = recvmsg(stream->fd, &message, MSG_DONTWAIT);
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
	ssize_t sent;

	if (stream->secure)
		return secure_send(stream->secure, iov, count);
	sent = sendmsg(stream->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (sent >= 0)
		return sent;
	if (errno == EFAULT)
		return -EFAULT;
	return is_later(errno) ? 0 : -ECONNRESET;
}
