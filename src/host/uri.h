/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uri.h - where an export of NBD is, in one line
 *
 *	nbd://HOST[:PORT]/EXPORT
 *	nbd+unix:///EXPORT?socket=/PATH
 *
 * or, with TLS, the same with nbds.
 *
 * As doc/uri.md of NetworkBlockDevice/nbd has it; %XX stands for a byte.
 * Called by the configuration and by who connects.  Pure.
 */
#ifndef HOST_URI_H
#define HOST_URI_H

#include <stdbool.h>

#include "base/error.h"

#define URI_EXPORT_MAX		255U
#define URI_PORT_DEFAULT	"10809"

struct uri {
	bool tls;
	char socket[108];		/* "": it is TCP */
	char host[256], port[6];
	char export[URI_EXPORT_MAX + 1];
};

/* Returns 0, or -EINVAL with what is wrong. */
int uri_parse(const char *text, struct uri *ret_uri, struct error *reterr);

#endif
