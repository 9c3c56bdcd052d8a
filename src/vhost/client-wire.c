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

/* Of 'size' bytes, '*have' of which are there, what has come; a descriptor that
 * comes with them goes to '*fd'.  0 when all are there, -EAGAIN before. */
static int receive_some(int socket_fd, void *buffer, size_t size, size_t *have,
			int *fd)
{
	while (*have < size) {
		struct iovec iov = {(char *)buffer + *have, size - *have};
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
		ssize_t n = recvmsg(socket_fd, &message,
				    MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? -EAGAIN : lost(errno);
		take_descriptors(&message, fd);
		if (n == 0)
			return -ECONNRESET;
		*have += (size_t)n;
	}
	return 0;
}

/* The same, waiting until then. */
static int receive(int socket_fd, void *buffer, size_t size, uint64_t until_ns,
		   int *fd)
{
	size_t have = 0;
	int result;

	while ((result = receive_some(socket_fd, buffer, size, &have, fd)) ==
	       -EAGAIN) {
		result = wait_for(socket_fd, POLLIN, until_ns);
		if (result < 0)
			break;
	}
	return result;
}

int client_wire_send(const struct client_wire *wire, uint32_t request,
		     uint32_t flags, const void *payload, uint32_t size,
		     const int *fds, unsigned int fd_count)
{
	return send_message(wire->fd, request, flags, payload, size, fds,
			    fd_count);
}

static bool is_reply_to(const struct vhost_user_header *header,
			uint32_t request)
{
	return header->request == request &&
		(header->flags & VHOST_USER_VERSION_MASK) ==
		VHOST_USER_VERSION &&
		header->flags & VHOST_USER_FLAG_REPLY &&
		header->size <= sizeof(union vhost_user_payload);
}

int client_wire_take(const struct client_wire *wire, uint32_t request,
		     struct client_reply *reply)
{
	const size_t head = sizeof(reply->header);
	int result;

	if (reply->have < head) {
		result = receive_some(wire->fd, &reply->header, head,
				      &reply->have, &reply->fd);
		if (result < 0)
			return result;
		if (!is_reply_to(&reply->header, request))
			return -EPROTO;
	}
	while (reply->have < head + reply->header.size) {
		size_t have = reply->have - head;

		result = receive_some(wire->fd, &reply->payload,
				      reply->header.size, &have, &reply->fd);
		reply->have = head + have;
		if (result < 0)
			return result;
	}
	return 0;
}

int client_wire_await(const struct client_wire *wire, uint32_t request,
		      struct client_reply *reply)
{
	const uint64_t until = now_ns() + wire->timeout_ns;
	int result;

	while ((result = client_wire_take(wire, request, reply)) == -EAGAIN) {
		result = wait_for(wire->fd, POLLIN, until);
		if (result < 0)
			break;
	}
	return result;
}

int client_wire_get(const struct client_wire *wire, uint32_t request,
		    const void *question, uint32_t question_size, void *payload,
		    uint32_t min, uint32_t max)
{
	struct client_reply reply = {.fd = -1};
	int result = client_wire_send(wire, request, 0, question, question_size,
				      NULL, 0);

	if (result == 0)
		result = client_wire_await(wire, request, &reply);
	if (reply.fd >= 0)
		close(reply.fd);
	if (result < 0)
		return result;
	if (reply.header.size < min || reply.header.size > max)
		return -EPROTO;
	memcpy(payload, &reply.payload, reply.header.size);
	return 0;
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
