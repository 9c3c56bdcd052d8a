/* SPDX-License-Identifier: Apache-2.0 */
/*
 * view-data.h - rows of penstock_slas, whichever database they come from, as
 * the text of a file of SLAs
 *
 * Threads: whoever calls.
 */
#ifndef STORE_VIEW_DATA_H
#define STORE_VIEW_DATA_H

#include <stdio.h>

#include "store/view.h"

#define VIEW_ROWS_MAX 4096U
#define VIEW_COLUMNS 12
#define VIEW_QUERY \
	"SELECT pasid, vdev, name, sla, limits, burst, weight, ioprio," \
	" uid, gid, pid, best_effort FROM penstock_slas ORDER BY pasid"

struct view {
	const char *place; /* for messages */
	unsigned int count;
	FILE *out;
	char *text;
	size_t length;
};

int view_begin(struct view *view, const char *place, struct error *reterr);
/* One row, in the order of VIEW_QUERY; NULL: the column is. */
int view_add(struct view *view, const char *const values[VIEW_COLUMNS],
	     struct error *reterr);
/* 'result' is what became of it so far; frees all but the text. */
int view_end(struct view *view, int result, char **ret_text,
	     struct error *reterr);

#endif
