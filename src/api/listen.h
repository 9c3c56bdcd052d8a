/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listen.h - a listening Unix socket that replaces a dead one
 */
#ifndef API_LISTEN_H
#define API_LISTEN_H

#include <sys/types.h>

#include "base/error.h"

struct api_listener {
	int fd;
	char path[108];			/* sun_path */
	dev_t device;			/* the path's inode: tells our */
	ino_t inode;			/* socket from a successor's */
};

/* Fills '*ret_listener' with a non-blocking listening socket.  Returns 0,
 * -EADDRINUSE (somebody answers there), -EEXIST (something else is there),
 * -ENAMETOOLONG, or -errno, with the reason. */
int api_listen(const char *path, mode_t mode, struct api_listener *ret_listener,
	       struct error *reterr);
/* Leave a link to it for clients that name no socket, if it lies in
 * API_LINK_DIRECTORY and no other's link there is alive. */
#define API_LINK_DIRECTORY	"/run/penstock"
#define API_LINK_NAME		"penstock.sock"
void api_listen_link(const struct api_listener *listener);
/* Remove the path (and the link) if it is still ours, and close. */
void api_unlisten(struct api_listener *listener);

#endif
