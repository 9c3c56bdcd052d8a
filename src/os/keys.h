/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keys.h - what one side of TLS shows of itself, and whom it believes
 *
 * By certificates both sides show one; by keys shared before (PSK) the client
 * names itself, and both have its key.  The texts are of files that somebody
 * else read: nothing here touches one.
 *
 * Counted: a session keeps those with which it began.
 * Threads: the caller's.
 */
#ifndef OS_KEYS_H
#define OS_KEYS_H

#include "os/tls.h"

#define KEYS_USERS_MAX	256U
#define KEYS_NAME_MAX	128U
#define KEYS_BYTES_MAX	64U	/* of a key; in the text twice as many digits */

struct keys;

enum keys_side {
	KEYS_SERVER,
	KEYS_CLIENT,
};

/* Each returns 0, -EINVAL with the file and the reason, or -ENOMEM. */
int keys_from_certificates(const struct tls_certificates *from,
			   enum keys_side side, struct keys **ret_keys,
			   struct error *reterr);
/* Lines of "NAME:HEX", as psktool writes them; a client is the one called
 * 'user'. */
int keys_from_shared(const struct tls_text *from, enum keys_side side,
		     const char *user, struct keys **ret_keys,
		     struct error *reterr);
struct keys *keys_keep(struct keys *keys);
void keys_drop(struct keys *keys);	/* NULL too */

/* A session that has its credentials, its priorities and, by certificates, the
 * check of its peer's; a client's server must be called 'host' (NULL: whoever
 * the authority says is a server).  'host' outlives the session.  Returns 0 or
 * -ENOMEM. */
int keys_session(struct keys *keys, const char *host,
		 gnutls_session_t *ret_session);
/* Why the handshake of such a session failed, with 'code' of GnuTLS. */
void keys_explain(gnutls_session_t session, int code, struct error *reterr);
/* What is wrong with a certificate of that status (GNUTLS_CERT_*): the rest of
 * a sentence. */
const char *keys_status_text(unsigned int status);

#endif
