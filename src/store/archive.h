/* SPDX-License-Identifier: Apache-2.0 */
/*
 * archive.h - what processes used, minute by minute and hour by hour (E7)
 *
 * A database of its own beside the state (history.db): losing it costs
 * proposals, never a promise, so it is not synced for each write, and one that
 * is damaged is put aside.  Minutes are kept for a day, hours for 400 days,
 * those of a released process for 30 days.  A minute without requests takes
 * nothing; a row is about 170 bytes, so a process that never rests takes
 * 2 MB at most (25 hours of minutes, 9,600 hours).
 *
 * Times are seconds, UTC.  A minute or hour that is put twice (penstockd was
 * started again in it) is merged.
 *
 * Threads: whoever calls, one at a time; everything here may block.
 */
#ifndef STORE_ARCHIVE_H
#define STORE_ARCHIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "sla/derive.h"

#define ARCHIVE_MINUTES_S	86400
#define ARCHIVE_HOURS_S		(400 * 86400)
#define ARCHIVE_RELEASED_S	(30 * 86400)
#define ARCHIVE_NAME_MAX	63U

struct archive;

/* Whose it is: a PASID that is used again, or on another vdev, is another
 * process. */
struct archive_process {
	uint32_t pasid;
	char vdev[ARCHIVE_NAME_MAX + 1], name[ARCHIVE_NAME_MAX + 1];
};

struct archive_row {
	struct archive_process process;
	int64_t at_s;			/* the minute begins */
	struct derive_cell cell;
};

/* Open, or make, 'directory'/history.db.  One that is damaged, or of a newer
 * version, is renamed, and '*ret_is_fresh' says so.  Returns 0 or -errno. */
int archive_open(const char *directory, struct archive **ret_archive,
		 bool *ret_is_fresh, struct error *reterr);
void archive_close(struct archive *archive);	/* NULL is allowed */

/* All or nothing.  Each returns 0 or -errno with a reason. */
int archive_put(struct archive *archive, const struct archive_row *rows,
		size_t count, struct error *reterr);
/* These are there; whoever else is not released yet has gone since. */
int archive_live(struct archive *archive,
		 const struct archive_process *processes, size_t count,
		 int64_t now_s, struct error *reterr);
int archive_release(struct archive *archive,
		    const struct archive_process *process, int64_t now_s,
		    struct error *reterr);
/* Forget what is too old. */
int archive_prune(struct archive *archive, int64_t now_s, struct error *reterr);

/* Each minute, or hour where there is no minute any more, of a process that
 * is not released, from 'since_s' on, oldest first. */
int archive_read(struct archive *archive, const struct archive_process *process,
		 int64_t since_s, int64_t now_s,
		 void (*found)(int64_t at_s, const struct derive_cell *cell,
			       void *arg),
		 void *arg, struct error *reterr);
/* Everybody's together since then, by PASID; 'released_s' 0: not. */
int archive_sum(struct archive *archive, int64_t since_s, int64_t now_s,
		void (*found)(const struct archive_process *process,
			      int64_t released_s,
			      const struct derive_cell *cell, void *arg),
		void *arg, struct error *reterr);

#endif
