/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sqlite.c - the store of one host: one table of records in SQLite
 *
 * Write-ahead log; 'synchronous=FULL', because a promise that was answered
 * for must survive the host's power as well.  Groups are small and rare.
 */
#include "store/store.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#define STORE_FORMAT	2	/* PRAGMA user_version */

struct sqlite {
	sqlite3 *db;
	sqlite3_stmt *put, *delete;
	char *path;
};

/* Where SQLite maps a file it says no more than "disk I/O error" of it. */
static bool is_full(const char *path)
{
	struct statvfs status;

	return statvfs(path, &status) == 0 && status.f_bavail == 0;
}

/* SQLite's code as ours; the sentence says what to do. */
static int fail(const struct sqlite *state, struct error *reterr)
{
	int code = sqlite3_errcode(state->db) & 0xff;
	const char *text = sqlite3_errmsg(state->db);

	if (code == SQLITE_IOERR && is_full(state->path))
		code = SQLITE_FULL;
	switch (code) {
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return error_set(
			reterr, -EUCLEAN,
			"%s is damaged (%s): restore it, or move it away to start afresh",
			state->path, text);
	case SQLITE_FULL:
		return error_set(
			reterr, -ENOSPC,
			"%s: its file system is full: make space there",
			state->path);
	case SQLITE_NOMEM:
		return error_set(reterr, -ENOMEM, "%s: %s", state->path, text);
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return error_set(reterr, -EBUSY,
				 "%s is in use by another program",
				 state->path);
	case SQLITE_READONLY:
	case SQLITE_CANTOPEN:
	case SQLITE_PERM:
		return error_set(reterr, -EACCES, "%s: %s", state->path, text);
	default:
		return error_set(reterr, -EIO, "%s: %s", state->path, text);
	}
}

static void sqlite_close_store(void *opaque)
{
	struct sqlite *state = opaque;

	sqlite3_finalize(state->put);
	sqlite3_finalize(state->delete);
	sqlite3_close(state->db);
	free(state->path);
	free(state);
}

/* The single text or number that a query gives. */
static int query(struct sqlite *state, const char *sql, char *text, size_t size,
		 struct error *reterr)
{
	sqlite3_stmt *statement;
	int code;

	if (sqlite3_prepare_v2(state->db, sql, -1, &statement, NULL))
		return fail(state, reterr);
	code = sqlite3_step(statement);
	if (code == SQLITE_ROW)
		snprintf(text, size, "%s",
			 (const char *)sqlite3_column_text(statement, 0));
	sqlite3_finalize(statement);
	return code == SQLITE_ROW ? 0 : fail(state, reterr);
}

static int prepare(struct sqlite *state, struct error *reterr)
{
	if (sqlite3_exec(state->db,
			 "CREATE TABLE IF NOT EXISTS record("
			 "kind TEXT NOT NULL, key TEXT NOT NULL,"
			 "value TEXT NOT NULL, PRIMARY KEY(kind, key))"
			 "WITHOUT ROWID",
			 NULL, NULL, NULL) ||
	    sqlite3_prepare_v2(state->db,
			       "INSERT INTO record VALUES(?1, ?2, ?3)"
			       "ON CONFLICT DO UPDATE SET value = ?3",
			       -1, &state->put, NULL) ||
	    sqlite3_prepare_v2(state->db,
			       "DELETE FROM record WHERE kind = ?1"
			       " AND key = ?2",
			       -1, &state->delete, NULL))
		return fail(state, reterr);
	return 0;
}

/* Is it whole, and of a version that we know? */
static int examine(struct sqlite *state, struct error *reterr)
{
	char text[128];
	int ret;

	sqlite3_busy_timeout(state->db, 1000);
	if (sqlite3_exec(state->db,
			 "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
			 NULL, NULL, NULL))
		return fail(state, reterr);
	ret = query(state, "PRAGMA user_version", text, sizeof(text), reterr);
	if (ret < 0)
		return ret;
	if (atoi(text) > STORE_FORMAT)
		return error_set(
			reterr, -EPROTO,
			"%s was written by a newer penstockd (format %s, this one knows %d): run that one, or move the file away",
			state->path, text, STORE_FORMAT);
	if (atoi(text) == 1)
		return error_set(
			reterr, -EPROTO,
			"%s was written by an older penstockd (format 1), whose devices have no superblocks: save what its vdevs hold with that one, then move the file and its devices' files away to start afresh",
			state->path);
	if (atoi(text) == 0 &&
	    sqlite3_exec(state->db, "PRAGMA user_version=2", NULL, NULL, NULL))
		return fail(state, reterr);
	ret = query(state, "PRAGMA quick_check(1)", text, sizeof(text), reterr);
	if (ret < 0)
		return ret;
	if (strcmp(text, "ok"))
		return error_set(
			reterr, -EUCLEAN,
			"%s is damaged (%s): restore it, or move it away to start afresh",
			state->path, text);
	return 0;
}

static int sqlite_open_store(const char *directory, void **ret_state,
			     struct error *reterr)
{
	struct sqlite *state;
	int ret;

	state = calloc(1, sizeof(*state));
	if (!state || asprintf(&state->path, "%s/penstock.db", directory) < 0) {
		free(state);
		return error_set(reterr, -ENOMEM, "out of memory");
	}
	if (sqlite3_open(state->path, &state->db))
		ret = fail(state, reterr);
	else
		ret = examine(state, reterr);
	if (ret == 0)
		ret = prepare(state, reterr);
	if (ret < 0) {
		sqlite_close_store(state);
		return ret;
	}
	*ret_state = state;
	return 0;
}

static int sqlite_load(void *opaque, enum store_kind kind,
		       int (*found)(const char *key, const char *value,
				    void *arg),
		       void *arg, struct error *reterr)
{
	struct sqlite *state = opaque;
	sqlite3_stmt *statement;
	int code, ret = 0;

	if (sqlite3_prepare_v2(state->db,
			       "SELECT key, value FROM record WHERE kind = ?1"
			       " ORDER BY key",
			       -1, &statement, NULL))
		return fail(state, reterr);
	sqlite3_bind_text(statement, 1, store_kind_name(kind), -1,
			  SQLITE_STATIC);
	while (ret == 0 && (code = sqlite3_step(statement)) == SQLITE_ROW)
		ret = found((const char *)sqlite3_column_text(statement, 0),
			    (const char *)sqlite3_column_text(statement, 1),
			    arg);
	if (ret == 0 && code != SQLITE_DONE)
		ret = fail(state, reterr);
	sqlite3_finalize(statement);
	return ret;
}

static int apply(struct sqlite *state, const struct store_change *change)
{
	sqlite3_stmt *statement = change->value ? state->put : state->delete;
	int code;

	sqlite3_bind_text(statement, 1, store_kind_name(change->kind), -1,
			  SQLITE_STATIC);
	sqlite3_bind_text(statement, 2, change->key, -1, SQLITE_STATIC);
	if (change->value)
		sqlite3_bind_text(statement, 3, change->value, -1,
				  SQLITE_STATIC);
	code = sqlite3_step(statement);
	sqlite3_reset(statement);
	sqlite3_clear_bindings(statement);
	return code == SQLITE_DONE ? 0 : -EIO;
}

static int sqlite_commit(void *opaque, const struct store_change *changes,
			 unsigned int count, struct error *reterr)
{
	struct sqlite *state = opaque;
	unsigned int i;
	int ret;

	if (sqlite3_exec(state->db, "BEGIN IMMEDIATE", NULL, NULL, NULL))
		return fail(state, reterr);
	for (i = 0; i < count; i++) {
		if (apply(state, &changes[i]) == 0)
			continue;
		ret = fail(state, reterr);
		sqlite3_exec(state->db, "ROLLBACK", NULL, NULL, NULL);
		return ret;
	}
	if (sqlite3_exec(state->db, "COMMIT", NULL, NULL, NULL)) {
		ret = fail(state, reterr);
		sqlite3_exec(state->db, "ROLLBACK", NULL, NULL, NULL);
		return ret;
	}
	return 0;
}

const struct store_ops store_sqlite = {
	.name = "sqlite",
	.open = sqlite_open_store,
	.close = sqlite_close_store,
	.load = sqlite_load,
	.commit = sqlite_commit,
};
