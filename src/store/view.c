/* SPDX-License-Identifier: Apache-2.0 */
/*
 * view.c - see view.h
 *
 * A row becomes a JSON object with the words of the configuration, which reads
 * and checks it as it does a file: JSON is YAML.
 */
#include "store/view.h"

#include <errno.h>
#include <jansson.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_MAX	4096U
#define COLUMNS		9

static const char query[] =
	"SELECT pasid, vdev, name, sla, limits, burst, weight, ioprio,"
	" best_effort FROM penstock_slas ORDER BY pasid";

/* The word of each column; NULL: not as it is. */
static const char *const words[COLUMNS] = {
	"pasid", "vdev", "name", "sla", "limit", "burst", "weight", NULL, NULL,
};

/* As the configuration has it, on one line.  NULL: no memory. */
static char *row_text(const char *const values[COLUMNS])
{
	json_t *row = json_object();
	char *text;

	for (unsigned int i = 0; i < COLUMNS; i++)
		if (values[i] && words[i])
			json_object_set_new(row, words[i],
					    json_string(values[i]));
	if (values[7])
		json_object_set_new(row, "match",
				    json_pack("{s:s}", "ioprio", values[7]));
	if (values[8])
		json_object_set_new(row, "best-effort",
				    json_boolean(strcmp(values[8], "0") != 0));
	text = json_dumps(row, JSON_COMPACT);
	json_decref(row);
	return text;
}

static int fail(sqlite3 *db, const char *path, struct error *reterr)
{
	return error_set(reterr, -EIO, "%s: %s", path, sqlite3_errmsg(db));
}

static int read_rows(sqlite3 *db, const char *path, FILE *out,
		     struct error *reterr)
{
	sqlite3_stmt *statement;
	unsigned int count = 0;
	int code, ret = 0;

	if (sqlite3_prepare_v2(db, query, -1, &statement, NULL))
		return fail(db, path, reterr);
	fputs("{\"processes\": [", out);
	while (ret == 0 && (code = sqlite3_step(statement)) == SQLITE_ROW) {
		const char *values[COLUMNS];
		char *row;

		for (int i = 0; i < COLUMNS; i++)
			values[i] =
				(const char *)sqlite3_column_text(statement, i);
		row = row_text(values);
		if (count == ROWS_MAX)
			ret = error_set(
				reterr, -E2BIG,
				"%s: more than %u rows in penstock_slas", path,
				ROWS_MAX);
		else if (!row)
			ret = error_set(reterr, -EINVAL,
					"%s: row %u is not UTF-8", path,
					count + 1);
		else
			fprintf(out, "%s%s", count++ ? ",\n" : "", row);
		free(row);
	}
	if (ret == 0 && code != SQLITE_DONE)
		ret = fail(db, path, reterr);
	sqlite3_finalize(statement);
	fputs("]}", out);
	return ret;
}

int view_read_sqlite(const char *path, char **ret_text, struct error *reterr)
{
	sqlite3 *db = NULL;
	size_t length;
	FILE *out;
	char *text;
	int ret;

	out = open_memstream(&text, &length);
	if (!out)
		return error_set(reterr, -ENOMEM, "out of memory");
	if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL)) {
		ret = fail(db, path, reterr);
	} else {
		sqlite3_busy_timeout(db, 1000);
		ret = read_rows(db, path, out, reterr);
	}
	sqlite3_close(db);
	if (fclose(out) != 0 && ret == 0)
		ret = error_set(reterr, -ENOMEM, "out of memory");
	if (ret < 0) {
		free(text);
		return ret;
	}
	*ret_text = text;
	return 0;
}
