/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client-wire.c - one vhost-user message at a time, from the front-end's side
 *
 * Every wait has an end: a server that falls silent is an error, not a hang.
 */
#include "vhost/client-internal.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sys/socket.h>
#include <sys/un.h>

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) +
		(uint64_t)now.tv_nsec;
}

/* 0 when 'events' are there, else -ETIMEDOUT or the system's reason. */
static int wait_for(int fd, short events, uint64_t until_ns)
{
	for (;;) {
		struct pollfd pollfd = {.fd = fd, .events = events};
		const uint64_t now = now_ns();
		int n;

		if (now >= until_ns)
			return -ETIMEDOUT;
		n = poll(&pollfd, 1,
			 (int)((until_ns - now + 999999) / 1000000));
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
	}
}

int client_wire_connect(const char *path, uint64_t timeout_ns, int *ret_fd)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const struct timeval limit = {
		.tv_sec = (time_t)(timeout_ns / 1000000000),
		.tv_usec = (suseconds_t)(timeout_ns % 1000000000 / 1000),
	};
	int fd, result;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* A full backlog holds up connect(2), and sending, no longer. */
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) ||
	    connect(fd, (const struct sockaddr *)&address, sizeof(address))) {
		result = errno == EAGAIN ? -ETIMEDOUT : -errno;
		close(fd);
		return result;
	}
	*ret_fd = fd;
	return 0;
}

static int lost(int error)
{
	if (error == EPIPE)
		return -ECONNRESET;
	return error == EAGAIN ? -ETIMEDOUT : -error;
}

/* A message is small: it goes in one piece or the socket is of no use. */
static int send_message(int fd, uint32_t request, uint32_t flags,
			const void *payload, uint32_t size, const int *fds,
			unsigned int fd_count)
{
	struct vhost_user_header header = {
		.request = request,
		.flags = VHOST_USER_VERSION | flags,
		.size = size,
	};
	union vhost_user_payload copy;
	struct iovec iov[2] = {{&header, sizeof(header)}, {&copy, size}};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * VHOST_USER_FDS_MAX)];
	} control;
	struct msghdr message = {.msg_iov = iov, .msg_iovlen = 2};
	ssize_t sent;

	assert(size <= sizeof(copy) && fd_count <= VHOST_USER_FDS_MAX);
	if (size > 0)
		memcpy(&copy, payload, size);
	if (fd_count > 0) {
		struct cmsghdr *cmsg;

		memset(&control, 0, sizeof(control));
		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
		cmsg = CMSG_FIRSTHDR(&message);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
		memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * fd_count);
	}
	do {
		sent = sendmsg(fd, &message, MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	if (sent < 0)
		return lost(errno);
	return (size_t)sent == sizeof(header) + size ? 0 : -ECONNRESET;
}

/* Keep at most one descriptor in '*fd', close all others. */
static void take_descriptors(struct msghdr *message, int *fd)
{
	struct cmsghdr *cmsg;

	for (cmsg = CMSG_FIRSTHDR(message); cmsg;
	     cmsg = CMSG_NXTHDR(message, cmsg)) {
		size_t count, i;

		if (cmsg->cmsg_level != SOL_SOCKET ||
		    cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		count = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (i = 0; i < count; i++) {
			int one;

			memcpy(&one, CMSG_DATA(cmsg) + i * sizeof(int),
			       sizeof(int));
			if (*fd < 0)
				*fd = one;
			else
				close(one);
		}
	}
}

/* Exactly 'size' bytes; a descriptor that comes with them goes to '*fd'. */
static int receive(int socket_fd, void *buffer, size_t size, uint64_t until_ns,
		   int *fd)
{
	size_t got = 0;

	while (got < size) {
		struct iovec iov = {(char *)buffer + got, size - got};
		union {
			struct cmsghdr align;
			char bytes[CMSG_SPACE(sizeof(int) *
					      VHOST_USER_FDS_MAX)];
		} control;
		struct msghdr message = {
			.msg_iov = &iov,
			.msg_iovlen = 1,
			.msg_control = control.bytes,
			.msg_controllen = sizeof(control.bytes),
		};
		ssize_t n;
		int result;

		result = wait_for(socket_fd, POLLIN, until_ns);
		if (result < 0)
			return result;
		n = recvmsg(socket_fd, &message,
			    MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			return lost(errno);
		take_descriptors(&message, fd);
		if (n == 0)
			return -ECONNRESET;
		got += (size_t)n;
	}
	return 0;
}

/* The reply to 'request': its payload, 'min' to 'max' bytes of it. */
static int receive_reply(const struct client_wire *wire, uint32_t request,
			 void *payload, uint32_t min, uint32_t max, int *fd)
{
	const uint64_t until = now_ns() + wire->timeout_ns;
	struct vhost_user_header header;
	int result;

	result = receive(wire->fd, &header, sizeof(header), until, fd);
	if (result < 0)
		return result;
	if (header.request != request ||
	    (header.flags & VHOST_USER_VERSION_MASK) != VHOST_USER_VERSION ||
	    !(header.flags & VHOST_USER_FLAG_REPLY) || header.size < min ||
	    header.size > max)
		return -EPROTO;
	return receive(wire->fd, payload, header.size, until, fd);
}

int client_wire_set(const struct client_wire *wire, uint32_t request,
		    const void *payload, uint32_t size, const int *fds,
		    unsigned int fd_count)
{
	uint64_t refusal = 0;
	int result, fd = -1;

	result = send_message(wire->fd, request,
			      wire->reply_ack ? VHOST_USER_FLAG_NEED_REPLY : 0,
			      payload, size, fds, fd_count);
	if (result < 0 || !wire->reply_ack)
		return result;
	result = receive_reply(wire, request, &refusal, sizeof(refusal),
			       sizeof(refusal), &fd);
	if (fd >= 0)
		close(fd);
	if (result < 0)
		return result;
	return refusal == 0 ? 0 : -EPROTO;
}

int client_wire_get(const struct client_wire *wire, uint32_t request,
		    const void *question, uint32_t question_size, void *payload,
		    uint32_t min, uint32_t max, int *ret_fd)
{
	int result, fd = -1;

	result = send_message(wire->fd, request, 0, question, question_size,
			      NULL, 0);
	if (result == 0)
		result = receive_reply(wire, request, payload, min, max, &fd);
	if (fd >= 0 && (result < 0 || !ret_fd)) {
		close(fd);
		fd = -1;
	}
	if (result == 0 && ret_fd)
		*ret_fd = fd;
	return result;
}

int client_wire_event(int fd, bool *ret_answer)
{
	struct vhost_user_header header;
	union vhost_user_payload payload;
	uint64_t until;
	int result, extra = -1;
	char first;

	if (recv(fd, &first, 1, MSG_PEEK | MSG_DONTWAIT) <= 0)
		return -EAGAIN;
	until = now_ns() + UINT64_C(100000000);
	result = receive(fd, &header, sizeof(header), until, &extra);
	if (result == 0 && header.size > sizeof(payload))
		result = -EPROTO;
	if (result == 0)
		result = receive(fd, &payload, header.size, until, &extra);
	if (extra >= 0)
		close(extra);
	if (result < 0)
		return result;
	*ret_answer = header.flags & VHOST_USER_FLAG_NEED_REPLY;
	return header.request > INT16_MAX ? 0 : (int)header.request;
}

int client_wire_answer(int fd, uint32_t request)
{
	const uint64_t done = 0;

	return send_message(fd, request, VHOST_USER_FLAG_REPLY, &done,
			    sizeof(done), NULL, 0);
}
