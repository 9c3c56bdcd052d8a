/* SPDX-License-Identifier: Apache-2.0 */
/*
 * secure.h - TLS on a stream
 *
 * GnuTLS reads from and writes to two buffers of fixed size here; one receive
 * fills the one with as many records as there are, one send takes all that are
 * in the other.  What is given to be sent is taken to be sent only when its
 * last record has gone: until then the caller keeps it and gives it again, so
 * nothing is ever held that nobody waits for.
 *
 * Called by stream.c.  Threads: the loop's.
 */
#ifndef NBD_SECURE_H
#define NBD_SECURE_H

#include <stdbool.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/error.h"
#include "os/keys.h"

#define SECURE_BYTES	(UINT32_C(192) << 10)	/* besides GnuTLS's own */

struct secure;

/* 'keys' are kept; 'host': as keys_session.  Returns 0 or -ENOMEM. */
int secure_create(struct keys *keys, const char *host, int fd,
		  struct secure **ret_secure);
void secure_destroy(struct secure *secure);	/* NULL too */
/* Go on with the handshake.  Returns 1: it is done; 0: not now; -ECONNRESET:
 * the other is gone; or what it is refused for. */
int secure_shake(struct secure *secure, struct error *reterr);
/* Say that nothing more will be said, if there is room to. */
void secure_bye(struct secure *secure);

/* As those of stream.h, in which a part is no memory only if it faults. */
ssize_t secure_receive(struct secure *secure, void *to, size_t bytes);
ssize_t secure_send(struct secure *secure, const struct iovec *iov,
		    unsigned int count);
/* Is there something that came and that the socket says nothing of any more? */
bool secure_has_input(const struct secure *secure);
/* Is there something that has not gone yet? */
bool secure_has_output(const struct secure *secure);

#endif
