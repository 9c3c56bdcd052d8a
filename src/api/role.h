/* SPDX-License-Identifier: Apache-2.0 */
/*
 * role.h - who is at the other end of a socket, and what they may do
 *
 * Unix peer credentials: root and the user penstockd runs as administer;
 * users and groups named in the configuration do what they were given;
 * everybody else who could connect has the server's role for everyone.
 * Over TLS: what a name in the certificate was given, and nothing else.
 * Threads: the caller's.
 */
#ifndef API_ROLE_H
#define API_ROLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct config_api;

/* Each may do all that the ones before it may. */
enum api_role {
	API_ROLE_NONE,
	API_ROLE_READ,
	API_ROLE_OPERATE,
	API_ROLE_ADMINISTER
};

#define API_PEER_GROUPS_MAX	1024U	/* who has more: none is looked at */
#define API_CERTIFICATE_NAME_MAX 256U	/* with its NUL */

struct api_grant {			/* from the configuration */
	enum api_role role;
	bool is_group;
	uint32_t id;			/* uid or gid */
	const char *name;		/* of a certificate; NULL: none */
};

struct api_peer {
	uint32_t uid, gid;
	int32_t pid;
	uint32_t groups[API_PEER_GROUPS_MAX];	/* supplementary */
	unsigned int group_count;
};

/* Who connected 'fd', as the kernel noted it at connect.  Returns 0 or
 * -errno (-ENOTSUP: not a Unix socket). */
int api_peer_of(int fd, struct api_peer *ret_peer);
/* The highest role that 'peer' has, at least 'everyone'; 'own_uid' is
 * penstockd's. */
enum api_role api_role_of(const struct api_peer *peer, uint32_t own_uid,
			  const struct api_grant *grants, size_t count,
			  enum api_role everyone);
/* The same of a certificate's name: compared byte by byte, there are no
 * patterns, and no role for everyone. */
enum api_role api_role_of_name(const char *name, const struct api_grant *grants,
			       size_t count);
/* The configuration's roles, with users and groups looked up, into a new
 * array (free() it; names stay the configuration's).  Returns 0, -EINVAL with
 * the name nobody knows, or -ENOMEM. */
int api_grants_load(const char *file, const struct config_api *config,
		    struct api_grant **ret_grants, size_t *ret_count,
		    struct error *reterr);
/* What those without a grant may on the Unix socket: read, unless the
 * configuration says which users or groups read (then nothing). */
enum api_role api_role_everyone(const struct config_api *config);
const char *api_role_name(enum api_role role);

#endif
