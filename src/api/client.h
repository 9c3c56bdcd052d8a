/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.h - the other end of server.h: questions and verbs over REST
 *
 * Who calls it: the command line.  Blocks; one thread.
 */
#ifndef API_CLIENT_H
#define API_CLIENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* Where penstockd leaves a link to its socket if that is in this directory. */
#define CLIENT_DEFAULT_API	"/run/penstock/penstock.sock"
#define CLIENT_ANSWER_MAX	(64U * 1024U * 1024U)

struct client;

/* What an https URL needs: PEM files.  'key' NULL: in 'cert' too; 'ca' NULL:
 * whom this machine trusts. */
struct client_tls {
	const char *cert, *key, *ca;
};

/* 'where': the path of a Unix socket, or an http(s) URL.  'tls' (NULL: none) is
 * copied.  Connects later.  Returns 0, -EINVAL or -ENOMEM with the reason. */
int client_create(const char *where, const struct client_tls *tls,
		  struct client **ret_client, struct error *reterr);
void client_destroy(struct client *client);	/* NULL is allowed */

/* Ask and wait.  'body' may be NULL and stays the caller's.  Returns 0 when
 * penstockd answered, whatever it said: '*ret_status' is the HTTP status,
 * '*ret_value' the answer's JSON (a new reference).  Else -EIO with what to
 * do. */
int client_call(struct client *client, const char *method, const char *path,
		const json_t *body, long *ret_status, json_t **ret_value,
		struct error *reterr);

/* Follow events after number 'after' (UINT64_MAX: from now on).  'event'
 * borrows its JSON and returns false to stop; then, 0 is returned.  Else -EIO:
 * the connection was not had, or ended. */
struct client_follower {
	bool (*event)(struct client_follower *follower, const json_t *event);
};
int client_follow(struct client *client, uint64_t after,
		  struct client_follower *follower, struct error *reterr);

#endif
