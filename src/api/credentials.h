/* SPDX-License-Identifier: Apache-2.0 */
/*
 * credentials.h - our certificate, its key, and whose certificates we believe
 *
 * Counted: connections keep those with which they began.
 * Threads: the control thread.
 */
#ifndef API_CREDENTIALS_H
#define API_CREDENTIALS_H

#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct api_tls_files {			/* PEM */
	const char *cert, *key, *ca;
	const char *crl;		/* NULL: none is revoked */
};

struct api_credentials;

/* Reads small files, and may block on them.  Returns 0, -EINVAL or what opening
 * says, with the file and the reason. */
int api_credentials_load(const struct api_tls_files *files,
			 struct api_credentials **ret_credentials,
			 struct error *reterr);
struct api_credentials *api_credentials_keep(
	struct api_credentials *credentials);
void api_credentials_drop(struct api_credentials *credentials);	/* NULL too */
gnutls_certificate_credentials_t api_credentials_tls(
	const struct api_credentials *credentials);
/* Are the files others than those that were read? */
bool api_credentials_changed(const struct api_credentials *credentials,
			     const struct api_tls_files *files);

#endif
