/* SPDX-License-Identifier: Apache-2.0 */
/*
 * audit.h - the record of who changed what, and who was refused
 *
 * A file that is only appended to, one JSON object on a line; penstockd(8),
 * AUDIT, tells its fields.  A change is written before it is begun ("asked")
 * and again with its result ("answered"), so that none is without a trace
 * whenever penstockd ends.  A line is with the kernel when its writer goes on,
 * and on disk a second later at the latest (fdatasync, in the background).
 *
 * When the file has reached its size it becomes FILE.1, that FILE.2, and so
 * on; the oldest goes.  Refusals are what strangers can make at will: of more
 * than AUDIT_REFUSALS_PER_S only their number is written.
 *
 * Who calls it: server.c (calls, doors) and penstockd's main.
 * Threads: the control thread.
 */
#ifndef API_AUDIT_H
#define API_AUDIT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "api/who.h"
#include "base/error.h"

#define AUDIT_REFUSALS_PER_S	10U
#define AUDIT_REFUSALS_BURST	100U
#define AUDIT_TEXT_MAX		512U	/* of one text in a body */

struct audit;
struct loop;

struct audit_config {
	struct loop *loop;
	const char *path;		/* copied */
	uint64_t size_bytes;		/* > 0 */
	unsigned int keep;		/* > 0 */
	/* A line for the log: it cannot be written, or again can.  Required. */
	void (*say)(const char *text);
};

/* What was asked for; texts are borrowed. */
struct audit_request {
	const struct api_who *who;
	const char *method, *path;
};

/* Returns 0, or -errno with the reason. */
int audit_open(const struct audit_config *config, struct audit **ret_audit,
	       struct error *reterr);
void audit_close(struct audit *audit);	/* NULL is allowed */
/* The file was moved away: go on in a new one at its path. */
void audit_reopen(struct audit *audit);

/* All of these do nothing when 'audit' is NULL. */

/* Returns its number, for the answer.  'body' (NULL: none) is copied without
 * what looks like a secret, and without the rest of long texts. */
uint64_t audit_asked(struct audit *audit, const struct audit_request *request,
		     const json_t *body);
/* 'why' is NULL when it was done. */
void audit_answered(struct audit *audit, uint64_t number,
		    const struct audit_request *request, unsigned int status,
		    const char *why);
/* 'request->method' may be NULL: it asked for nothing yet.  Returns false if it
 * is only counted, because there are too many. */
bool audit_refused(struct audit *audit, const struct audit_request *request,
		   unsigned int status, const char *why);
/* Something changed that nobody asked for over the API: 'by' the file of the
 * configuration, say, "FILE:LINE". */
void audit_changed(struct audit *audit, const char *by, const char *text);

#endif
