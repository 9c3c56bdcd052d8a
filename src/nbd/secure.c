/* SPDX-License-Identifier: Apache-2.0 */
/* secure.c - see secure.h */
#include "nbd/secure.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define RECORD_BYTES	(UINT32_C(16) << 10)
/* A record in the clear and what TLS adds, at most. */
#define RECORD_MAX	(RECORD_BYTES + 2048U)
#define INPUT_BYTES	(UINT32_C(64) << 10)
/* Of a handshake the greatest flight; else some records, and besides them what
 * TLS has to say of itself. */
#define OUTPUT_BYTES	(UINT32_C(100) << 10)
#define OUTPUT_SPARE	(UINT32_C(4) << 10)
/* Of the socket, for one call: so that others get their turn. */
#define FILLS_MAX	8U

struct secure {
	gnutls_session_t tls;
	struct keys *keys;
	int fd;
	bool over;
	unsigned int fills;
	uint32_t in_from, in_to, out_from, out_to;
	size_t taken;			/* in 'out', of what was given */
	uint8_t in[INPUT_BYTES];
	uint8_t out[OUTPUT_BYTES];
	uint8_t record[RECORD_BYTES];
};

static_assert(sizeof(struct secure) <= SECURE_BYTES, "as it is said");

static bool is_later(int code)
{
	return code == EAGAIN || code == EINTR || code == ENOBUFS ||
		code == ENOMEM;
}

/* ---- what GnuTLS calls ---- */

/* 'in' is empty: more of the socket.  Returns false with errno. */
static bool fill(struct secure *secure)
{
	ssize_t got;

	if (secure->fills == FILLS_MAX) {
		errno = EAGAIN;
		return false;
	}
	secure->fills++;
	got = recv(secure->fd, secure->in, INPUT_BYTES, MSG_DONTWAIT);
	if (got > 0) {
		secure->in_from = 0;
		secure->in_to = (uint32_t)got;
		return true;
	}
	if (got == 0)
		errno = 0;
	else if (is_later(errno))
		errno = EAGAIN;
	return false;
}

static ssize_t pull(gnutls_transport_ptr_t arg, void *to, size_t bytes)
{
	struct secure *secure = arg;
	uint32_t there;

	if (secure->in_from == secure->in_to && !fill(secure))
		return errno == 0 ? 0 : -1;
	there = secure->in_to - secure->in_from;
	if (bytes > there)
		bytes = there;
	memcpy(to, secure->in + secure->in_from, bytes);
	secure->in_from += (uint32_t)bytes;
	return (ssize_t)bytes;
}

/* Returns 1: all has gone; 0: not now; -ECONNRESET. */
static int flush(struct secure *secure)
{
	while (secure->out_from < secure->out_to) {
		const ssize_t sent =
			send(secure->fd, secure->out + secure->out_from,
			     secure->out_to - secure->out_from,
			     MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent < 0)
			return is_later(errno) ? 0 : -ECONNRESET;
		secure->out_from += (uint32_t)sent;
	}
	secure->out_from = 0;
	secure->out_to = 0;
	return 1;
}

/* There is always room for records that are given to be sent; who makes TLS
 * answer and does not read what it answers ends. */
static ssize_t push(gnutls_transport_ptr_t arg, const void *from, size_t bytes)
{
	struct secure *secure = arg;

	if (bytes > OUTPUT_BYTES - secure->out_to &&
	    (flush(secure) <= 0 || bytes > OUTPUT_BYTES)) {
		errno = ECONNRESET;
		return -1;
	}
	memcpy(secure->out + secure->out_to, from, bytes);
	secure->out_to += (uint32_t)bytes;
	return (ssize_t)bytes;
}

/* ---- life ---- */

int secure_create(struct keys *keys, const char *host, int fd,
		  struct secure **ret_secure)
{
	struct secure *secure = malloc(sizeof(*secure));
	int ret;

	if (!secure)
		return -ENOMEM;
	/* The buffers are touched as they are needed. */
	memset(secure, 0, offsetof(struct secure, in));
	ret = keys_session(keys, host, &secure->tls);
	if (ret < 0) {
		free(secure);
		return ret;
	}
	secure->keys = keys_keep(keys);
	secure->fd = fd;
	gnutls_transport_set_ptr(secure->tls, secure);
	gnutls_transport_set_pull_function(secure->tls, pull);
	gnutls_transport_set_push_function(secure->tls, push);
	*ret_secure = secure;
	return 0;
}

void secure_destroy(struct secure *secure)
{
	if (!secure)
		return;
	gnutls_deinit(secure->tls);
	keys_drop(secure->keys);
	gnutls_memset(secure->record, 0, sizeof(secure->record));
	free(secure);
}

void secure_bye(struct secure *secure)
{
	if (secure->over || secure->taken > 0)
		return;
	secure->over = true;
	(void)gnutls_bye(secure->tls, GNUTLS_SHUT_WR);
	(void)flush(secure);
}

/* ---- the handshake ---- */

static int refuse(struct secure *secure, int code, struct error *reterr)
{
	secure->over = true;
	if (code == GNUTLS_E_PREMATURE_TERMINATION ||
	    code == GNUTLS_E_PULL_ERROR || code == GNUTLS_E_PUSH_ERROR)
		return -ECONNRESET;
	keys_explain(secure->tls, code, reterr);
	(void)gnutls_alert_send_appropriate(secure->tls, code);
	(void)flush(secure);
	return -EPROTO;
}

int secure_shake(struct secure *secure, struct error *reterr)
{
	int code;

	secure->fills = 0;
	do
		code = gnutls_handshake(secure->tls);
	while (code == GNUTLS_E_INTERRUPTED ||
	       (code < 0 && code != GNUTLS_E_AGAIN &&
		!gnutls_error_is_fatal(code)));
	if (code < 0 && code != GNUTLS_E_AGAIN)
		return refuse(secure, code, reterr);
	if (flush(secure) < 0)
		return -ECONNRESET;
	return code == 0;
}

/* ---- data ---- */

ssize_t secure_receive(struct secure *secure, void *to, size_t bytes)
{
	uint8_t *at = to;
	size_t done = 0;

	secure->fills = 0;
	while (done < bytes && !secure->over) {
		const ssize_t got = gnutls_record_recv(secure->tls, at + done,
						       bytes - done);

		if (got > 0)
			done += (size_t)got;
		else if (got == GNUTLS_E_AGAIN)
			break;
		/* It said good-bye, or wants to begin anew. */
		else if (got == 0 || got == GNUTLS_E_REHANDSHAKE ||
			 gnutls_error_is_fatal((int)got))
			secure->over = true;
	}
	/* What TLS answered by itself. */
	if (secure->taken == 0 && secure_has_output(secure) &&
	    flush(secure) < 0)
		secure->over = true;
	if (done == 0 && secure->over)
		return -ECONNRESET;
	return (ssize_t)done;
}

/* What is given, from 'skip' on, as far as a record goes. */
static size_t gather(struct secure *secure, const struct iovec *iov,
		     unsigned int count, size_t skip)
{
	size_t done = 0;

	for (unsigned int i = 0; i < count && done < RECORD_BYTES; i++) {
		const uint8_t *from = iov[i].iov_base;
		size_t bytes = iov[i].iov_len;

		if (skip >= bytes) {
			skip -= bytes;
			continue;
		}
		bytes -= skip;
		if (bytes > RECORD_BYTES - done)
			bytes = RECORD_BYTES - done;
		memcpy(secure->record + done, from + skip, bytes);
		done += bytes;
		skip = 0;
	}
	return done;
}

/* Returns 0 or -ECONNRESET. */
static int take(struct secure *secure, const struct iovec *iov,
		unsigned int count)
{
	while (secure->out_to + RECORD_MAX + OUTPUT_SPARE <= OUTPUT_BYTES) {
		const size_t bytes = gather(secure, iov, count, secure->taken);
		ssize_t took;

		if (bytes == 0)
			break;
		took = gnutls_record_send(secure->tls, secure->record, bytes);
		if (took <= 0) {
			secure->over = true;
			return -ECONNRESET;
		}
		secure->taken += (size_t)took;
	}
	return 0;
}

ssize_t secure_send(struct secure *secure, const struct iovec *iov,
		    unsigned int count)
{
	size_t taken;
	int ret;

	if (secure->over)
		return -ECONNRESET;
	if (secure->taken == 0 && take(secure, iov, count) < 0)
		return -ECONNRESET;
	ret = flush(secure);
	if (ret <= 0)
		return ret;
	taken = secure->taken;
	secure->taken = 0;
	return (ssize_t)taken;
}

bool secure_has_input(const struct secure *secure)
{
	return !secure->over &&
		(secure->in_from < secure->in_to ||
		 gnutls_record_check_pending(secure->tls) > 0);
}

bool secure_has_output(const struct secure *secure)
{
	return secure->out_from < secure->out_to;
}
