/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls.h - certificates out of PEM texts, for whoever speaks TLS
 *
 * Threads: the caller's.
 */
#ifndef OS_TLS_H
#define OS_TLS_H

#include <gnutls/gnutls.h>
#include <stddef.h>

#include "base/error.h"

#define TLS_FILE_MAX (1024U * 1024U)

struct tls_text { /* of a file, or none: both NULL */
	const char *path; /* for messages */
	char *data; /* NUL behind it */
	size_t length;
};

struct tls_certificates {
	struct tls_text cert, key; /* our own */
	struct tls_text ca; /* whose certificates we believe */
	struct tls_text crl; /* which of them not; or none */
};

/* Read 'path', a file of at most TLS_FILE_MAX.  May block on it.  Returns 0 or
 * -errno with the path and the reason. */
int tls_read(const char *path, struct tls_text *ret_text, struct error *reterr);
void tls_forget(struct tls_text *text); /* nothing of it stays in memory */

/* Whose chains are believed are those of 'ca', but what is on a list of
 * 'crl': each list is of one of these authorities, and holds after its time
 * too.  Returns 0, -EINVAL with the file and the reason, or -ENOMEM. */
int tls_credentials(const struct tls_certificates *from,
		    gnutls_certificate_credentials_t *ret_credentials,
		    struct error *reterr);

#endif
