/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nbd-bare.c - a socket and nothing behind it, for comparison
 *
 * bench-nbd-bare SOCKET: whoever connects is shaken hands with as by an NBD
 * server; from then on requests are counted out of what was received and
 * answered from one buffer, unchecked: what it reaches is what copying through
 * the socket allows.  One connection at a time; polls.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "nbd/wire.h"

#define BUFFER_BYTES	(UINT32_C(2) << 20)	/* as the server's */
#define REPLIES_MAX	64U
#define EXPORT_BYTES	(UINT64_C(8) << 30)

static uint8_t input[BUFFER_BYTES], data[BUFFER_BYTES];

static bool receive_all(int fd, void *to, size_t bytes)
{
	return bytes == 0 || recv(fd, to, bytes, MSG_WAITALL) == (ssize_t)bytes;
}

static bool send_all(int fd, const void *from, size_t bytes)
{
	return send(fd, from, bytes, MSG_NOSIGNAL) == (ssize_t)bytes;
}

/* Returns whether to serve. */
static bool shake_hands(int fd)
{
	const struct wire_export export = {
		.size_bytes = EXPORT_BYTES,
		.flags = WIRE_HAS_FLAGS,
	};
	uint8_t out[2 * WIRE_REPLY_MAX], in[WIRE_OPTION_MAX];
	struct wire_option_head option;
	size_t bytes;

	wire_put_greeting(out);
	if (!send_all(fd, out, WIRE_GREETING_BYTES) ||
	    !receive_all(fd, in, WIRE_CLIENT_FLAGS_BYTES))
		return false;
	for (;;) {
		if (!receive_all(fd, in, WIRE_OPTION_BYTES) ||
		    !wire_get_option(in, &option) ||
		    option.data_bytes > sizeof(in) ||
		    !receive_all(fd, in, option.data_bytes))
			return false;
		bytes = option.option == WIRE_OPT_GO ?
			wire_put_info_export(out, WIRE_OPT_GO, &export) :
			0;
		bytes += wire_put_reply(out + bytes, option.option,
					WIRE_REP_ACK, NULL, 0);
		if (!send_all(fd, out, bytes))
			return false;
		if (option.option == WIRE_OPT_GO)
			return true;
	}
}

/* Poll until all of it went. */
static bool send_parts(int fd, struct iovec *iov, size_t count)
{
	while (count > 0) {
		const struct msghdr message = {.msg_iov = iov,
					       .msg_iovlen = count};
		ssize_t sent =
			sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent < 0 && errno != EAGAIN)
			return false;
		while (sent > 0 && (size_t)sent >= iov->iov_len) {
			sent -= (ssize_t)iov->iov_len;
			iov++;
			count--;
		}
		if (sent > 0) {
			iov->iov_base = (uint8_t *)iov->iov_base + sent;
			iov->iov_len -= (size_t)sent;
		}
	}
	return true;
}

static bool answer(int fd, const struct wire_request *requests,
		   unsigned int count)
{
	static uint8_t heads[REPLIES_MAX][WIRE_HEAD_MAX];
	struct iovec iov[2 * REPLIES_MAX];
	size_t parts = 0;

	for (unsigned int i = 0; i < count; i++) {
		const struct wire_request *request = &requests[i];
		const bool reads = request->command == WIRE_READ;

		iov[parts].iov_base = heads[i];
		iov[parts++].iov_len = reads ?
			wire_put_data(heads[i], request->cookie,
				      request->offset_bytes,
				      request->length_bytes, true) :
			wire_put_done(heads[i], request->cookie);
		if (reads)
			iov[parts++] =
				(struct iovec){data, request->length_bytes};
	}
	return send_parts(fd, iov, parts);
}

static void serve(int fd)
{
	struct wire_request requests[REPLIES_MAX];
	size_t from = 0, to = 0;

	for (;;) {
		unsigned int count = 0;
		ssize_t got;

		memmove(input, input + from, to - from);
		to -= from;
		from = 0;
		got = recv(fd, input + to, sizeof(input) - to, MSG_DONTWAIT);
		if (got == 0 || (got < 0 && errno != EAGAIN))
			return;
		to += got > 0 ? (size_t)got : 0;
		while (count < REPLIES_MAX && to - from >= WIRE_REQUEST_BYTES &&
		       wire_get_request(input + from, &requests[count])) {
			const size_t whole = WIRE_REQUEST_BYTES +
				wire_payload_bytes(&requests[count]);

			if (to - from < whole)
				break;
			if (requests[count].command == WIRE_DISC)
				return;
			from += whole;
			count++;
		}
		if (count > 0 && !answer(fd, requests, count))
			return;
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (argc != 2 || strlen(argv[1]) >= sizeof(address.sun_path)) {
		fprintf(stderr, "usage: bench-nbd-bare SOCKET\n");
		return 2;
	}
	strcpy(address.sun_path, argv[1]);
	memset(data, 1, sizeof(data));
	if (listener < 0 ||
	    bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(listener, 4) < 0) {
		fprintf(stderr, "bench-nbd-bare: %s: %s\n", argv[1],
			strerror(errno));
		return 1;
	}
	for (;;) {
		int fd = accept(listener, NULL, NULL);

		if (fd < 0)
			continue;
		if (shake_hands(fd))
			serve(fd);
		close(fd);
	}
}
