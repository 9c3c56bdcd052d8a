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

/* Listen at 'path' (0660); its directory is made if only that is missing.
 * What a dead predecessor left there is replaced; a socket at which somebody
 * listens, or what is no socket, is not: -EADDRINUSE, -EEXIST.  Returns 0 or
 * -errno with a reason. */
int listen_open(const char *path, int *ret_fd, struct error *reterr);
/* Is this listening socket the one of that path? */
bool listen_is_at(int fd, const char *path);
/* Close it and take the path away. */
void listen_close(int fd, const char *path);

#endif
