/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listen.h - listening sockets at paths that people name
 *
 * Threads: the control thread's.
 */
#ifndef HOST_LISTEN_H
#define HOST_LISTEN_H

#include <stdbool.h>

#include "base/error.h"
#include "host/config.h"

#define LISTEN_PATH_MAX	128U

/* Listen at 'path', as listen_own; its directory is made if only that is
 * missing.
 * What a dead predecessor left there is replaced; a socket at which somebody
 * listens, or what is no socket, is not: -EADDRINUSE, -EEXIST.  Returns 0 or
 * -errno with a reason. */
int listen_open(const char *path, const struct config_socket *whose,
		int *ret_fd, struct error *reterr);
/* The same at "unix:/PATH" or "tcp:ADDRESS:PORT", with room for many. */
int listen_open_at(const char *at, const struct config_socket *whose,
		   int *ret_fd, struct error *reterr);
/* Is this where it listens? */
bool listen_is_at(int fd, const char *at);
void listen_close_at(int fd, const char *at);
/* The socket at 'path' is of this user and group (whoever makes it, if not
 * said) and has this mode (0660).  What lies there and is no socket is left
 * alone: -ENOTSOCK.  Returns 0 or -errno with a reason. */
int listen_own(const char *path, const struct config_socket *whose,
	       struct error *reterr);
/* The same of "unix:/PATH"; an address is nobody's. */
int listen_own_at(const char *at, const struct config_socket *whose,
		  struct error *reterr);
/* Are the user and the group known here?  Returns 0 or -EINVAL with the name
 * that is not. */
int listen_check_owner(const struct config_socket *whose, struct error *reterr);
/* Where does it listen ("": nowhere)?  Returns false if it is no socket. */
bool listen_path(int fd, char path[LISTEN_PATH_MAX]);
/* Take away what a socket left there that is no longer ours. */
void listen_remove(const char *path);
/* Close it and take the path away. */
void listen_close(int fd, const char *path);

#endif
