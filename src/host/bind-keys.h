/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bind-keys.h - files of TLS, for an endpoint, which has none
 *
 * Threads: the control thread's.
 */
#ifndef HOST_BIND_KEYS_H
#define HOST_BIND_KEYS_H

#include <jansson.h>

#include "base/error.h"
#include "host/config.h"
#include "os/keys.h"

#define KEYS_MARK_BYTES	17U
/* Together: what a message has room for. */
#define KEYS_TEXTS_MAX	(96U * 1024U)

/* Which files they are, and in what state: the same mark, the same texts.
 * Nothing of what is in them. */
void keys_mark(const struct config_tls *files, char ret_mark[KEYS_MARK_BYTES]);
/* What is in them, with their mark, as a request has it.  Small files are read,
 * which may block.  What would not do is refused here.  Returns 0 or -errno
 * with the file and the reason. */
int keys_texts(const struct config_tls *files, enum keys_side side,
	       json_t **ret_tls, struct error *reterr);

#endif
