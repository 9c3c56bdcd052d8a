/* SPDX-License-Identifier: Apache-2.0 */
/*
 * who.h - who is at the other end of a connection, as it is counted, judged
 * and recorded
 *
 * Threads: the caller's.
 */
#ifndef API_WHO_H
#define API_WHO_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "api/role.h"

#define API_ADDRESS_MAX		64U

struct api_who {
	enum api_role role;
	bool is_remote;			/* over TLS; else a Unix socket */
	uint32_t uid, gid;		/* UINT32_MAX: nobody knows */
	int32_t pid;
	/* Over TLS: the name that gave the role, else the certificate's first;
	 * "" before it has shown one. */
	char name[API_CERTIFICATE_NAME_MAX];
	char address[API_ADDRESS_MAX];	/* "192.0.2.1:4321" */
	int64_t expires_s;		/* its certificate; seconds, UTC */
};

/* Of one user, or one certificate's name? */
bool api_who_is_same(const struct api_who *a, const struct api_who *b);
/* {"uid", "gid", "pid"} or {"certificate", "address"}, and "role".  NULL: no
 * memory. */
json_t *api_who_json(const struct api_who *who);
/* For a line of the log: "uid 1000", "certificate web at 192.0.2.1:4321". */
#define API_WHO_TEXT_MAX	360U
const char *api_who_text(const struct api_who *who,
			 char text[API_WHO_TEXT_MAX]);

#endif
