/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server.h - penstockd's REST server on a Unix socket, and over TLS
 *
 * libmicrohttpd without threads, driven by the control thread's loop.
 * docs/openapi.yaml tells paths, bodies and answers.  Everything that a client
 * controls is bounded: API_CONNECTIONS_MAX, API_BODY_MAX, API_STREAMS_MAX,
 * header size, time.
 *
 * Who calls it: penstockd's main; it asks host.h and nothing else.
 * Threads: the control thread (the loop's).
 */
#ifndef API_SERVER_H
#define API_SERVER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "api/audit.h"
#include "api/credentials.h"
#include "api/door.h"
#include "api/role.h"
#include "base/error.h"

#define API_STREAMS_MAX		32U	/* of them: followers of events */
#define API_HEADERS_MAX		16384U	/* one request's, with its line */
#define API_IDLE_S		30U	/* a silent connection is closed */
#define API_BEAT_NS		UINT64_C(10000000000)	/* of streams */

struct api_server;
struct host;
struct loop;

struct api_server_config {
	const char *unix_path;		/* copied; NULL: none */
	mode_t mode;			/* of the socket; 0: 0666 */
	enum api_role everyone;		/* who has no grant */
	const struct api_grant *grants;	/* copied, but for their names */
	size_t grant_count;
	const char *tcp;		/* "ADDRESS:PORT"; NULL: none */
	struct api_tls_files tls;	/* with 'tcp'; stay the caller's */
	struct audit *audit;		/* NULL: none.  Outlives the host */
	void (*say)(const char *text);	/* for the log; NULL: nobody reads it */
};

/* Listen.  A missing parent directory is made (0755); a socket that nobody
 * serves any more is replaced.  'host' must outlive the server.  Returns 0,
 * -EADDRINUSE (somebody answers there), or -errno, with the reason. */
int api_server_create(const struct api_server_config *config, struct loop *loop,
		      struct host *host, struct api_server **ret_server,
		      struct error *reterr);
/* The roles are these now ('everyone', 'grants'; their names stay the caller's
 * until the next ones).  If they are others than before: whoever came over TLS
 * has to come again, and who may read no longer follows no longer.  Returns
 * whether they are, or -ENOMEM: nothing has changed. */
int api_server_set_roles(struct api_server *server,
			 const struct api_server_config *config);
/* The certificates may have changed: look. */
void api_server_reload(struct api_server *server);
/* The port of 'tcp'; 0: none. */
unsigned int api_server_port(const struct api_server *server);
/* Stop listening, remove the socket, cut connections.  Verbs still under way
 * at the host may end later.  NULL is allowed. */
void api_server_destroy(struct api_server *server);

#endif
