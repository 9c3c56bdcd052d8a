/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keys.h - TLS of a request: texts of files that penstockd has read
 *
 * Threads: the loop's.
 */
#ifndef ENDPOINT_KEYS_H
#define ENDPOINT_KEYS_H

#include <jansson.h>

#include "base/error.h"
#include "os/keys.h"

/* {cert, key, ca, crl} or {psk}, of a client with a 'user'.  Returns 0,
 * -EINVAL with the reason, or -ENOMEM. */
int keys_of_request(const json_t *tls, enum keys_side side,
		    struct keys **ret_keys, struct error *reterr);

#endif
