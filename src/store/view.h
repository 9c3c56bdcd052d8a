/* SPDX-License-Identifier: Apache-2.0 */
/*
 * view.h - SLAs that somebody else's database has (E7): read, never written
 *
 * The database offers a table or view 'penstock_slas' with these columns, of
 * which only the first two may not be NULL:
 *   pasid, vdev, name, sla ('iops >= 500, latency <= 2 ms'), limits
 *   ('iops 2000'; "limit" is a word of SQL), burst ('100 ms'), weight,
 *   ioprio ('be/4'), or uid, gid or pid of who connects by NBD, by number or
 *   (users, groups) name, best_effort (0 or 1, or a boolean)
 *
 * Threads: whoever calls; it may block.
 */
#ifndef STORE_VIEW_H
#define STORE_VIEW_H

#include "base/error.h"

/* All rows, by pasid, as the text of a file of SLAs, each on a line of its own
 * (free it).  Returns 0; -EIO: what SQLite says; -EINVAL: no
 * text; -E2BIG: too many; -ENOMEM. */
int view_read_sqlite(const char *path, char **ret_text, struct error *reterr);
/* The same from PostgreSQL, by libpq's connection string, whose password is in
 * no message.  Ends with -ECANCELED when 'stop_fd' becomes readable, with
 * -ETIMEDOUT after ten seconds; -EIO: what the server says. */
int view_read_postgresql(const char *conninfo, int stop_fd, char **ret_text,
			 struct error *reterr);

#endif
