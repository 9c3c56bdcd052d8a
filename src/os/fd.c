/* SPDX-License-Identifier: Apache-2.0 */
/* fd.c - see fd.h */
#include "os/fd.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union control {
	struct cmsghdr header;		/* for its alignment */
	char bytes[CMSG_SPACE(sizeof(int) * FD_PASS_MAX)];
};

void fd_close(int *fd)
{
	const int saved_errno = errno;

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = saved_errno;
}

ssize_t fd_send(int socket, const void *data, size_t size, const int *fds,
		unsigned int count)
{
	union control control = {0};
	struct iovec iov = {.iov_len = size};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t sent;

	assert(size > 0 && count <= FD_PASS_MAX);
	memcpy(&iov.iov_base, &data, sizeof(data));	/* sendmsg only reads */
	if (count > 0) {
		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int) * count);
		memcpy(CMSG_DATA(&control.header), fds, sizeof(int) * count);
	}
	do {
		sent = sendmsg(socket, &message, MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : sent;
}

static void close_all(const int *fds, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		int fd = fds[i];

		fd_close(&fd);
	}
}

ssize_t fd_receive(int socket, void *data, size_t size, int *ret_fds,
		   unsigned int max, unsigned int *ret_count)
{
	union control control = {0};
	struct iovec iov = {.iov_base = data, .iov_len = size};
	struct msghdr message = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	int fds[FD_PASS_MAX];
	unsigned int count = 0;
	ssize_t received;

	assert(max <= FD_PASS_MAX);
	do {
		received = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
	} while (received < 0 && errno == EINTR);
	if (received < 0)
		return -errno;

	for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header;
	     header = CMSG_NXTHDR(&message, header)) {
		size_t bytes = header->cmsg_len - CMSG_LEN(0);

		if (header->cmsg_level != SOL_SOCKET ||
		    header->cmsg_type != SCM_RIGHTS)
			continue;
		assert(count * sizeof(int) + bytes <= sizeof(fds));
		memcpy(&fds[count], CMSG_DATA(header), bytes);
		count += (unsigned int)(bytes / sizeof(int));
	}
	if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 ||
	    count > max) {
		close_all(fds, count);
		return -EMSGSIZE;
	}
	if (received == 0) {
		close_all(fds, count);
		count = 0;
	}
	if (count > 0)
		memcpy(ret_fds, fds, count * sizeof(int));
	*ret_count = count;
	return received;
}
