/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz-vhost-message.c - a session that gets any messages in any order
 *
 * The input is a list of messages: request, flags, which descriptor, how many,
 * size of the payload, payload.  Each one goes through the real socket, so
 * that whatever the checks let pass is done for real, on a vdev of memory.
 */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "os/guard.h"
#include "vhost/channel.h"
#include "vhost/session.h"
#include "../func/vhost-fake.h"

#define MESSAGES_MAX	24U
#define HEAD_BYTES	5U

static struct {
	struct loop *loop;
	struct vdev *vdev;
	struct blk_target target;
	int fds[4];
	bool ended;
} fuzz;

static bool acquire(void *arg, struct session *session)
{
	(void)arg;
	(void)session;
	return true;
}

static void release(void *arg, struct session *session)
{
	(void)arg;
	(void)session;
}

static void ended(void *arg, struct session *session)
{
	(void)arg;
	session_destroy(session);
	fuzz.ended = true;
}

static void report(void *arg, const struct error *error)
{
	(void)arg;
	(void)error;
}

static const struct session_ops ops = {
	.acquire = acquire,
	.release = release,
	.ended = ended,
	.report = report,
};

static void create_once(void)
{
	const struct loop_config config = {.entries = 64};
	struct error error;

	if (guard_install() < 0 || loop_create(&config, &fuzz.loop, &error))
		abort();
	fuzz.vdev = fake_create(65536);
	fuzz.target = (struct blk_target){.vdev = fuzz.vdev, .queues = 2};
	fuzz.fds[0] = memfd_create("guest", MFD_CLOEXEC);
	fuzz.fds[1] = memfd_create("small", MFD_CLOEXEC);
	fuzz.fds[2] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	fuzz.fds[3] = dup(0);
	if (ftruncate(fuzz.fds[0], 1 << 20) < 0 ||
	    ftruncate(fuzz.fds[1], 100) < 0)
		abort();
}

/* Send the message at '*data'; returns false when there is none. */
static bool send_next(int socket, const uint8_t **data, size_t *left)
{
	const uint8_t *head = *data;
	int fds[VHOST_USER_FDS_MAX];
	union {
		char bytes[CMSG_SPACE(sizeof(fds))];
		struct cmsghdr align;
	} control = {{0}};
	struct vhost_user_header header;
	char bytes[sizeof(header) + 512];
	struct iovec iov = {bytes, 0};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	size_t size;
	unsigned int fd_count;

	if (*left < HEAD_BYTES)
		return false;
	header.request = head[0] % (VHOST_USER_REQUESTS + 2);
	header.flags = VHOST_USER_VERSION | (head[1] & 0x0cU);
	header.size = head[3] | (head[4] & 1U) << 8;
	fd_count = (head[2] >> 2) & 7U;
	size = header.size;
	*data += HEAD_BYTES;
	*left -= HEAD_BYTES;
	if (size > *left)
		size = *left;
	memset(bytes, 0, sizeof(bytes));
	memcpy(bytes, &header, sizeof(header));
	memcpy(bytes + sizeof(header), *data, size);
	*data += size;
	*left -= size;
	iov.iov_len = sizeof(header) + header.size;
	if (fd_count > 0) {
		struct cmsghdr *cmsg;

		for (unsigned int i = 0; i < fd_count; i++)
			fds[i] = fuzz.fds[head[2] & 3U];
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
		memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * fd_count);
	}
	return sendmsg(socket, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) > 0;
}

static void turn(unsigned int times)
{
	for (unsigned int i = 0; i < times; i++)
		if (loop_run_once(fuzz.loop, 0) < 0)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct session_config config = {
		.target = &fuzz.target,
		.ops = &ops,
	};
	struct session *session;
	int ends[2];

	if (!fuzz.loop)
		create_once();
	config.loop = fuzz.loop;
	fuzz.ended = false;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		abort();
	config.fd = ends[0];
	if (session_create(&config, &session) < 0)
		abort();
	for (unsigned int i = 0; i < MESSAGES_MAX && !fuzz.ended; i++) {
		if (!send_next(ends[1], &data, &size))
			break;
		turn(2);
	}
	close(ends[1]);
	for (unsigned int i = 0; i < 1000 && !fuzz.ended; i++)
		turn(1);
	if (!fuzz.ended)
		abort();	/* a session that never ends */
	return 0;
}
