/* SPDX-License-Identifier: Apache-2.0 */
/* view-sqlite.c - see view.h */
#include "store/view-data.h"

#include <errno.h>
#include <sqlite3.h>

static int fail(sqlite3 *db, const char *path, struct error *reterr)
{
	return error_set(reterr, -EIO, "%s: %s", path, sqlite3_errmsg(db));
}

static int read_rows(sqlite3 *db, struct view *view, struct error *reterr)
{
	sqlite3_stmt *statement;
	int code, ret = 0;

	if (sqlite3_prepare_v2(db, VIEW_QUERY, -1, &statement, NULL))
		return fail(db, view->place, reterr);
	while (ret == 0 && (code = sqlite3_step(statement)) == SQLITE_ROW) {
		const char *values[VIEW_COLUMNS];

		for (int i = 0; i < VIEW_COLUMNS; i++)
			values[i] =
				(const char *)sqlite3_column_text(statement, i);
		ret = view_add(view, values, reterr);
	}
	if (ret == 0 && code != SQLITE_DONE)
		ret = fail(db, view->place, reterr);
	sqlite3_finalize(statement);
	return ret;
}

int view_read_sqlite(const char *path, char **ret_text, struct error *reterr)
{
	sqlite3 *db = NULL;
	struct view view;
	int ret;

	ret = view_begin(&view, path, reterr);
	if (ret < 0)
		return ret;
	if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL)) {
		ret = fail(db, path, reterr);
	} else {
		sqlite3_busy_timeout(db, 1000);
		ret = read_rows(db, &view, reterr);
	}
	sqlite3_close(db);
	return view_end(&view, ret, ret_text, reterr);
}
