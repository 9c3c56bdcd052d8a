/* SPDX-License-Identifier: Apache-2.0 */
/*
 * user.h - whose endpoints are, once they are locked down
 *
 * Called by main() before there is a loop.
 */
#ifndef HOST_USER_H
#define HOST_USER_H

#include "base/error.h"
#include "host/host.h"

/* Who has this name; NULL: "penstock", if there is such a user and penstockd
 * may make and end processes of others, else nobody else.  Returns 0, or
 * -errno with a reason. */
int user_find(const char *name, struct host_program *program,
	      struct error *reterr);

#endif
