/* SPDX-License-Identifier: Apache-2.0 */
/*
 * view-data.c - see view-data.h
 *
 * A row becomes a JSON object with the words of the configuration, which reads
 * and checks it as it does a file: JSON is YAML.
 */
#include "store/view-data.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* The word of each column; those from MATCH on are keys of 'match'. */
enum { MATCH = 7, BEST_EFFORT = 11 };
static const char *const words[VIEW_COLUMNS] = {
	"pasid",  "vdev",   "name", "sla", "limit", "burst",
	"weight", "ioprio", "uid",  "gid", "pid",   "best-effort",
};

/* As the configuration has it, on one line.  NULL: no memory, or no text. */
static char *row_text(const char *const values[VIEW_COLUMNS])
{
	json_t *row = json_object(), *match = json_object();
	const char *last = values[BEST_EFFORT];
	char *text = NULL;
	int failed = 0;

	for (unsigned int i = 0; i < BEST_EFFORT; i++)
		if (values[i])
			failed |= json_object_set_new(i < MATCH ? row : match,
						      words[i],
						      json_string(values[i]));
	if (json_object_size(match) > 0)
		failed |= json_object_set(row, "match", match);
	if (last)
		failed |= json_object_set_new(
			row, words[BEST_EFFORT],
			json_boolean(strcmp(last, "0") != 0 &&
				     strcmp(last, "f") != 0));
	if (!failed)
		text = json_dumps(row, JSON_COMPACT);
	json_decref(match);
	json_decref(row);
	return text;
}

int view_begin(struct view *view, const char *place, struct error *reterr)
{
	view->place = place;
	view->count = 0;
	view->out = open_memstream(&view->text, &view->length);
	if (!view->out)
		return error_set(reterr, -ENOMEM, "out of memory");
	fputs("{\"processes\": [", view->out);
	return 0;
}

int view_add(struct view *view, const char *const values[VIEW_COLUMNS],
	     struct error *reterr)
{
	char *row;

	if (view->count == VIEW_ROWS_MAX)
		return error_set(reterr, -E2BIG,
				 "%s: more than %u rows in penstock_slas",
				 view->place, VIEW_ROWS_MAX);
	row = row_text(values);
	if (!row)
		return error_set(reterr, -EINVAL, "%s: row %u is not UTF-8",
				 view->place, view->count + 1);
	fprintf(view->out, "%s%s", view->count++ ? ",\n" : "", row);
	free(row);
	return 0;
}

int view_end(struct view *view, int result, char **ret_text,
	     struct error *reterr)
{
	fputs("]}", view->out);
	if (fclose(view->out) != 0 && result == 0)
		result = error_set(reterr, -ENOMEM, "out of memory");
	if (result < 0) {
		free(view->text);
		return result;
	}
	*ret_text = view->text;
	return 0;
}
