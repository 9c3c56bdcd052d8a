/* SPDX-License-Identifier: Apache-2.0 */
/* channel.c - see channel.h */
#include "vhost/channel.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

union control {
	char bytes[CMSG_SPACE(sizeof(int) * VHOST_USER_FDS_MAX)];
	struct cmsghdr align;
};

void channel_init(struct channel *channel, int fd)
{
	memset(channel, 0, sizeof(*channel));
	channel->fd = fd;
}

void channel_finish(struct channel *channel)
{
	message_close_fds(&channel->message);
	close(channel->fd);
	channel->fd = -1;
}

void channel_next(struct channel *channel)
{
	message_close_fds(&channel->message);
	memset(&channel->message, 0, sizeof(channel->message));
	channel->have = 0;
}

/* Keep the descriptors that came; what is too many is closed. */
static int take_fds(struct message *message, struct msghdr *msg,
		    struct error *reterr)
{
	struct cmsghdr *cmsg;
	int rc = 0;

	for (cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR(msg, cmsg)) {
		const unsigned char *data = CMSG_DATA(cmsg);
		size_t count = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (cmsg->cmsg_level != SOL_SOCKET ||
		    cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		for (; count > 0; count--, data += sizeof(int)) {
			int fd;

			memcpy(&fd, data, sizeof(fd));
			if (message->fds_count < VHOST_USER_FDS_MAX) {
				message->fds[message->fds_count++] = fd;
				continue;
			}
			close(fd);
			rc = -EPROTO;
		}
	}
	if (msg->msg_flags & MSG_CTRUNC)
		rc = -EPROTO;
	if (rc < 0)
		error_set(reterr, rc,
			  "vhost-user: more than %u descriptors in a message",
			  VHOST_USER_FDS_MAX);
	return rc;
}

/* One read of at most 'size' bytes.  Returns how many, 0 (nothing there), or
 * an error as channel_receive. */
static ssize_t receive_some(struct channel *channel, void *to, size_t size,
			    struct error *reterr)
{
	struct iovec iov = {.iov_base = to, .iov_len = size};
	union control control;
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	ssize_t got;
	int rc;

	got = recvmsg(channel->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (got < 0)
		return error_set(reterr, -errno, "vhost-user socket: %s",
				 strerror(errno));
	rc = take_fds(&channel->message, &msg, reterr);
	if (rc < 0)
		return rc;
	if (got == 0)
		return error_set(
			reterr, -ECONNRESET,
			channel->have == 0 ?
				"vhost-user: closed by the front-end" :
				"vhost-user: closed by the front-end within a message");
	return got;
}

int channel_receive(struct channel *channel, struct error *reterr)
{
	struct message *message = &channel->message;
	const size_t header_size = sizeof(message->header);
	ssize_t got;
	int rc;

	while (channel->have < header_size) {
		got = receive_some(channel,
				   (char *)&message->header + channel->have,
				   header_size - channel->have, reterr);
		if (got <= 0)
			return (int)got;
		channel->have += (size_t)got;
	}
	rc = message_check_header(&message->header, reterr);
	if (rc < 0)
		return rc;
	while (channel->have < header_size + message->header.size) {
		const size_t at = channel->have - header_size;

		got = receive_some(channel, (char *)&message->payload + at,
				   message->header.size - at, reterr);
		if (got <= 0)
			return (int)got;
		channel->have += (size_t)got;
	}
	return 1;
}

int channel_send(int socket, const struct vhost_user_header *header,
		 const void *payload, int fd)
{
	const size_t size = sizeof(*header) + header->size;
	struct vhost_user_header header_copy = *header;
	union vhost_user_payload payload_copy;
	struct iovec iov[2] = {
		{.iov_base = &header_copy, .iov_len = sizeof(header_copy)},
		{.iov_base = &payload_copy, .iov_len = header->size},
	};
	union control control = {{0}};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
	ssize_t sent;

	if (header->size > 0)
		memcpy(&payload_copy, payload, header->size);
	if (fd >= 0) {
		struct cmsghdr *cmsg;

		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(sizeof(int));
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	}
	do {
		sent = sendmsg(socket, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	if (sent < 0)
		return -errno;
	/* Half a message can't be continued later. */
	return (size_t)sent == size ? 0 : -EAGAIN;
}
