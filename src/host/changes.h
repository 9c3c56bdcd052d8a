/* SPDX-License-Identifier: Apache-2.0 */
/*
 * changes.h - what the configuration says otherwise than it did the last time
 *
 * Vdevs, processes, and who may what.  What it said is remembered in the state
 * directory, which is locked by then.
 *
 * Called by main.c.  May block on the directory.  Threads: any.
 */
#ifndef HOST_CHANGES_H
#define HOST_CHANGES_H

#include "base/error.h"
#include "host/config.h"

#define CHANGES_FILE	"configured.json"	/* in the state directory */

/* Tells of each change ('by' is "FILE:LINE", "FILE" of what is gone), then
 * remembers what it says now: whoever is interrupted tells again.  The first
 * time everything is new.  Returns 0 or -errno with the reason: what could not
 * be remembered was told nevertheless. */
int changes_tell(const struct config *config,
		 void (*tell)(void *arg, const char *by, const char *text),
		 void *arg, struct error *reterr);

/* The same of the roles only, when they are read again; 'state' is the
 * directory that we have locked. */
int changes_tell_roles(const struct config *config, const char *state,
		       void (*tell)(void *arg, const char *by,
				    const char *text),
		       void *arg, struct error *reterr);

#endif
