/* SPDX-License-Identifier: Apache-2.0 */
/*
 * archive.c - history in SQLite: see archive.h
 *
 * Three tables: who, minutes, hours.  A minute is added to its hour when it is
 * put, in the same transaction: nothing is left to be rolled up after a crash.
 * Every figure is a column, those that are tops first, then those that are
 * sums; so that one statement merges, and a person with sqlite3 can read it.
 */
#include "store/archive.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARCHIVE_FORMAT	1	/* PRAGMA user_version */
#define TOPS		24U	/* 6 rates, 18 latencies */
#define SUMS		7U	/* 4 counts; seconds: busy, kept, broken */
#define SQL_MAX		8192U

static const char *const tops[TOPS] = {
	"iops",		  "bytes_per_s",
	"read_iops",	  "read_bytes_per_s",
	"write_iops",	  "write_bytes_per_s",
	"p50_ns",	  "p90_ns",
	"p95_ns",	  "p99_ns",
	"p99_9_ns",	  "max_ns",
	"read_p50_ns",	  "read_p90_ns",
	"read_p95_ns",	  "read_p99_ns",
	"read_p99_9_ns",  "read_max_ns",
	"write_p50_ns",	  "write_p90_ns",
	"write_p95_ns",	  "write_p99_ns",
	"write_p99_9_ns", "write_max_ns",
};
static const char *const sums[SUMS] = {
	"reads",   "read_bytes", "writes",   "write_bytes",
	"seconds", "kept_s",	 "broken_s",
};
static const char *const spans[2] = {"minute", "hour"};

struct archive {
	sqlite3 *db;
	sqlite3_stmt *find, *add, *put[2];
	char *path;
};

/* --- Cells as columns ---------------------------------------------------- */

static void cell_to_columns(const struct derive_cell *cell,
			    uint64_t columns[TOPS + SUMS])
{
	unsigned int i, j;

	for (i = 0; i < SLA_DIRECTIONS; i++) {
		for (j = 0; j < DERIVE_AXES; j++)
			*columns++ = cell->top_per_s[i][j];
	}
	for (i = 0; i < SLA_DIRECTIONS; i++) {
		for (j = 0; j < DERIVE_POINTS; j++)
			*columns++ = cell->latency_ns[i][j];
	}
	for (i = 0; i < 2; i++) {
		for (j = 0; j < DERIVE_AXES; j++)
			*columns++ = cell->sum[i][j];
	}
	*columns++ = cell->seconds;
	*columns++ = cell->kept_s;
	*columns = cell->broken_s;
}

static void cell_from_columns(sqlite3_stmt *statement, int at,
			      struct derive_cell *cell)
{
	unsigned int i, j;

#define NEXT()	((uint64_t)sqlite3_column_int64(statement, at++))
	for (i = 0; i < SLA_DIRECTIONS; i++) {
		for (j = 0; j < DERIVE_AXES; j++)
			cell->top_per_s[i][j] = NEXT();
	}
	for (i = 0; i < SLA_DIRECTIONS; i++) {
		for (j = 0; j < DERIVE_POINTS; j++)
			cell->latency_ns[i][j] = NEXT();
	}
	for (i = 0; i < 2; i++) {
		for (j = 0; j < DERIVE_AXES; j++)
			cell->sum[i][j] = NEXT();
	}
	cell->seconds = NEXT();
	cell->kept_s = NEXT();
	cell->broken_s = NEXT();
#undef NEXT
}

/* --- Statements ---------------------------------------------------------- */

static int fail(const struct archive *archive, struct error *reterr)
{
	const int code = sqlite3_errcode(archive->db) & 0xff;

	return error_set(reterr,
			 code == SQLITE_CORRUPT || code == SQLITE_NOTADB ?
				 -EUCLEAN :
				 -EIO,
			 "%s: %s", archive->path, sqlite3_errmsg(archive->db));
}

static int run(const struct archive *archive, const char *sql,
	       struct error *reterr)
{
	return sqlite3_exec(archive->db, sql, NULL, NULL, NULL) ?
		fail(archive, reterr) :
		0;
}

static int prepare(const struct archive *archive, const char *sql,
		   sqlite3_stmt **ret_statement, struct error *reterr)
{
	return sqlite3_prepare_v2(archive->db, sql, -1, ret_statement, NULL) ?
		fail(archive, reterr) :
		0;
}

/* To its end, or its first row (1). */
static int step(const struct archive *archive, sqlite3_stmt *statement,
		struct error *reterr)
{
	const int code = sqlite3_step(statement);

	if (code == SQLITE_ROW)
		return 1;
	return code == SQLITE_DONE ? 0 : fail(archive, reterr);
}

struct text {
	char text[SQL_MAX];
	size_t length;
};

static void append(struct text *sql, const char *before, const char *word,
		   const char *after)
{
	const int more =
		snprintf(sql->text + sql->length, SQL_MAX - sql->length,
			 "%s%s%s", before, word, after);

	sql->length += (size_t)more;
}

/* "max(iops), ..., sum(reads), ...": of rows, as one. */
static void append_merged(struct text *sql)
{
	unsigned int i;

	for (i = 0; i < TOPS; i++)
		append(sql, i ? ", max(" : "max(", tops[i], ")");
	for (i = 0; i < SUMS; i++)
		append(sql, ", sum(", sums[i], ")");
}

static void append_columns(struct text *sql, const char *after)
{
	unsigned int i;

	for (i = 0; i < TOPS; i++)
		append(sql, ", ", tops[i], after);
	for (i = 0; i < SUMS; i++)
		append(sql, ", ", sums[i], after);
}

static int make_span(const struct archive *archive, const char *span,
		     struct error *reterr)
{
	struct text sql = {.length = 0};

	append(&sql, "CREATE TABLE IF NOT EXISTS ", span,
	       "(process INTEGER NOT NULL, at INTEGER NOT NULL");
	append_columns(&sql, " INTEGER NOT NULL");
	append(&sql, ", PRIMARY KEY(process, at)) WITHOUT ROWID", "", "");
	return run(archive, sql.text, reterr);
}

static int prepare_put(const struct archive *archive, const char *span,
		       sqlite3_stmt **ret_statement, struct error *reterr)
{
	struct text sql = {.length = 0};
	unsigned int i;

	append(&sql, "INSERT INTO ", span, " VALUES(?, ?");
	for (i = 0; i < TOPS + SUMS; i++)
		append(&sql, ", ", "?", "");
	append(&sql, ") ON CONFLICT DO UPDATE SET ", "", "");
	for (i = 0; i < TOPS; i++) {
		append(&sql, i ? ", " : "", tops[i], " = max(");
		append(&sql, "", tops[i], ", excluded.");
		append(&sql, "", tops[i], ")");
	}
	for (i = 0; i < SUMS; i++) {
		append(&sql, ", ", sums[i], " = ");
		append(&sql, "", sums[i], " + excluded.");
		append(&sql, "", sums[i], "");
	}
	return prepare(archive, sql.text, ret_statement, reterr);
}

/* --- Life ---------------------------------------------------------------- */

void archive_close(struct archive *archive)
{
	if (!archive)
		return;
	sqlite3_finalize(archive->find);
	sqlite3_finalize(archive->add);
	sqlite3_finalize(archive->put[0]);
	sqlite3_finalize(archive->put[1]);
	sqlite3_close(archive->db);
	free(archive->path);
	free(archive);
}

/* Is it of a version that we know, and whole where we look? */
static int examine(struct archive *archive, struct error *reterr)
{
	sqlite3_stmt *statement = NULL;
	int format, ret;

	sqlite3_busy_timeout(archive->db, 1000);
	ret = run(archive,
		  "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
		  reterr);
	if (ret == 0)
		ret = prepare(archive, "PRAGMA user_version", &statement,
			      reterr);
	if (ret < 0)
		return ret;
	ret = step(archive, statement, reterr);
	format = sqlite3_column_int(statement, 0);
	sqlite3_finalize(statement);
	if (ret < 0)
		return ret;
	if (format > ARCHIVE_FORMAT)
		return error_set(reterr, -EUCLEAN, "%s: of a newer version",
				 archive->path);
	return format ? 0 : run(archive, "PRAGMA user_version=1", reterr);
}

static int make_tables(struct archive *archive, struct error *reterr)
{
	int ret = run(archive,
		      "CREATE TABLE IF NOT EXISTS process("
		      "id INTEGER PRIMARY KEY, pasid INTEGER NOT NULL,"
		      "vdev TEXT NOT NULL, name TEXT NOT NULL,"
		      "released INTEGER NOT NULL DEFAULT 0);"
		      "CREATE INDEX IF NOT EXISTS process_pasid"
		      " ON process(pasid, vdev)",
		      reterr);
	unsigned int i;

	for (i = 0; ret == 0 && i < 2; i++)
		ret = make_span(archive, spans[i], reterr);
	for (i = 0; ret == 0 && i < 2; i++)
		ret = prepare_put(archive, spans[i], &archive->put[i], reterr);
	if (ret == 0)
		ret = prepare(archive,
			      "SELECT id FROM process WHERE pasid = ?1"
			      " AND vdev = ?2 AND released = 0",
			      &archive->find, reterr);
	if (ret == 0)
		ret = prepare(archive,
			      "INSERT INTO process(pasid, vdev, name)"
			      " VALUES(?1, ?2, ?3)",
			      &archive->add, reterr);
	return ret;
}

static int open_once(const char *directory, struct archive **ret_archive,
		     struct error *reterr)
{
	struct archive *archive = calloc(1, sizeof(*archive));
	int ret;

	if (!archive ||
	    asprintf(&archive->path, "%s/history.db", directory) < 0) {
		free(archive);
		return error_set(reterr, -ENOMEM, "out of memory");
	}
	ret = sqlite3_open(archive->path, &archive->db) ?
		fail(archive, reterr) :
		examine(archive, reterr);
	if (ret == 0)
		ret = make_tables(archive, reterr);
	if (ret < 0) {
		archive_close(archive);
		return ret;
	}
	*ret_archive = archive;
	return 0;
}

/* What cannot be read is kept for whoever wants to look at it: the last one. */
static int put_aside(const char *directory, struct error *reterr)
{
	static const char *const ends[] = {"", "-wal", "-shm"};
	char from[4096], to[4096];
	unsigned int i;

	for (i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		snprintf(from, sizeof(from), "%s/history.db%s", directory,
			 ends[i]);
		snprintf(to, sizeof(to), "%s/history.db.damaged%s", directory,
			 ends[i]);
		if (rename(from, to) < 0 && errno != ENOENT)
			return error_set(reterr, -errno, "%s: %s", from,
					 strerror(errno));
	}
	return 0;
}

int archive_open(const char *directory, struct archive **ret_archive,
		 bool *ret_is_fresh, struct error *reterr)
{
	int ret = open_once(directory, ret_archive, reterr);

	*ret_is_fresh = ret == -EUCLEAN;
	if (ret != -EUCLEAN)
		return ret;
	ret = put_aside(directory, reterr);
	return ret < 0 ? ret : open_once(directory, ret_archive, reterr);
}

/* --- Writing ------------------------------------------------------------- */

static void bind_process(sqlite3_stmt *statement,
			 const struct archive_process *process)
{
	sqlite3_reset(statement);
	sqlite3_bind_int64(statement, 1, process->pasid);
	sqlite3_bind_text(statement, 2, process->vdev, -1, SQLITE_STATIC);
}

/* Its number; 0: it has none. */
static int find_process(struct archive *archive,
			const struct archive_process *process,
			int64_t *ret_number, struct error *reterr)
{
	int ret;

	bind_process(archive->find, process);
	ret = step(archive, archive->find, reterr);
	*ret_number = ret > 0 ? sqlite3_column_int64(archive->find, 0) : 0;
	sqlite3_reset(archive->find);
	return ret < 0 ? ret : 0;
}

static int put_row(struct archive *archive, const struct archive_row *row,
		   struct error *reterr)
{
	uint64_t columns[TOPS + SUMS];
	unsigned int span, i;
	int64_t number;
	int ret = find_process(archive, &row->process, &number, reterr);

	if (ret == 0 && number == 0) {
		bind_process(archive->add, &row->process);
		sqlite3_bind_text(archive->add, 3, row->process.name, -1,
				  SQLITE_STATIC);
		ret = step(archive, archive->add, reterr);
		number = sqlite3_last_insert_rowid(archive->db);
	}
	cell_to_columns(&row->cell, columns);
	for (span = 0; ret == 0 && span < 2; span++) {
		sqlite3_stmt *put = archive->put[span];
		const int64_t length_s = span ? 3600 : 60;

		sqlite3_reset(put);
		sqlite3_bind_int64(put, 1, number);
		sqlite3_bind_int64(put, 2, row->at_s - row->at_s % length_s);
		for (i = 0; i < TOPS + SUMS; i++)
			sqlite3_bind_int64(put, (int)i + 3,
					   (int64_t)columns[i]);
		ret = step(archive, put, reterr);
		sqlite3_reset(put);
	}
	return ret;
}

/* The end of a transaction: 'ret' is what became of it. */
static int finish(struct archive *archive, int ret, struct error *reterr)
{
	if (ret == 0)
		ret = run(archive, "COMMIT", reterr);
	if (ret < 0)
		sqlite3_exec(archive->db, "ROLLBACK", NULL, NULL, NULL);
	return ret;
}

int archive_put(struct archive *archive, const struct archive_row *rows,
		size_t count, struct error *reterr)
{
	int ret = run(archive, "BEGIN IMMEDIATE", reterr);

	if (ret < 0)
		return ret;
	for (size_t i = 0; ret == 0 && i < count; i++)
		ret = put_row(archive, &rows[i], reterr);
	return finish(archive, ret, reterr);
}

int archive_release(struct archive *archive,
		    const struct archive_process *process, int64_t now_s,
		    struct error *reterr)
{
	sqlite3_stmt *statement;
	int ret = prepare(archive,
			  "UPDATE process SET released = ?3 WHERE pasid = ?1"
			  " AND vdev = ?2 AND released = 0",
			  &statement, reterr);

	if (ret < 0)
		return ret;
	bind_process(statement, process);
	sqlite3_bind_int64(statement, 3, now_s);
	ret = step(archive, statement, reterr);
	sqlite3_finalize(statement);
	return ret;
}

int archive_live(struct archive *archive,
		 const struct archive_process *processes, size_t count,
		 int64_t now_s, struct error *reterr)
{
	sqlite3_stmt *statement = NULL;
	int ret = run(archive, "BEGIN IMMEDIATE", reterr);

	if (ret < 0)
		return ret;
	ret = run(archive,
		  "CREATE TEMP TABLE live(pasid INTEGER, vdev TEXT,"
		  " PRIMARY KEY(pasid, vdev)) WITHOUT ROWID",
		  reterr);
	if (ret == 0)
		ret = prepare(archive,
			      "INSERT OR IGNORE INTO live VALUES(?1, ?2)",
			      &statement, reterr);
	for (size_t i = 0; ret == 0 && i < count; i++) {
		bind_process(statement, &processes[i]);
		ret = step(archive, statement, reterr);
	}
	sqlite3_finalize(statement);
	statement = NULL;
	if (ret == 0)
		ret = prepare(archive,
			      "UPDATE process SET released = ?1"
			      " WHERE released = 0 AND (pasid, vdev)"
			      " NOT IN (SELECT pasid, vdev FROM live)",
			      &statement, reterr);
	if (ret == 0) {
		sqlite3_bind_int64(statement, 1, now_s);
		ret = step(archive, statement, reterr);
	}
	sqlite3_finalize(statement);
	if (ret == 0)
		ret = run(archive, "DROP TABLE live", reterr);
	return finish(archive, ret, reterr);
}

int archive_prune(struct archive *archive, int64_t now_s, struct error *reterr)
{
	static const struct {
		const char *sql;
		int64_t after_s;
	} steps[] = {
		{"DELETE FROM minute WHERE at < ?1", ARCHIVE_MINUTES_S + 3600},
		{"DELETE FROM hour WHERE at < ?1", ARCHIVE_HOURS_S},
		{"DELETE FROM process WHERE released > 0 AND released < ?1",
		 ARCHIVE_RELEASED_S},
		{"DELETE FROM minute WHERE process NOT IN"
		 " (SELECT id FROM process)",
		 0},
		{"DELETE FROM hour WHERE process NOT IN"
		 " (SELECT id FROM process)",
		 0},
	};
	int ret = run(archive, "BEGIN IMMEDIATE", reterr);

	if (ret < 0)
		return ret;
	for (size_t i = 0; ret == 0 && i < sizeof(steps) / sizeof(steps[0]);
	     i++) {
		sqlite3_stmt *statement;

		ret = prepare(archive, steps[i].sql, &statement, reterr);
		if (ret < 0)
			break;
		if (steps[i].after_s)
			sqlite3_bind_int64(statement, 1,
					   now_s - steps[i].after_s);
		ret = step(archive, statement, reterr);
		sqlite3_finalize(statement);
	}
	return finish(archive, ret, reterr);
}

/* --- Reading ------------------------------------------------------------- */

/* Minutes from here on, hours before: where an hour begins. */
static int64_t minutes_since(int64_t now_s)
{
	const int64_t since_s = now_s - ARCHIVE_MINUTES_S;

	return since_s - since_s % 3600;
}

int archive_read(struct archive *archive, const struct archive_process *process,
		 int64_t since_s, int64_t now_s,
		 void (*found)(int64_t at_s, const struct derive_cell *cell,
			       void *arg),
		 void *arg, struct error *reterr)
{
	struct text sql = {.length = 0};
	sqlite3_stmt *statement;
	int64_t number;
	int ret = find_process(archive, process, &number, reterr);

	if (ret < 0 || number == 0)
		return ret;
	append(&sql, "SELECT at", "", "");
	append_columns(&sql, "");
	append(&sql, " FROM hour WHERE process = ?1 AND at >= ?2 AND at < ?3",
	       "", " UNION ALL SELECT at");
	append_columns(&sql, "");
	append(&sql,
	       " FROM minute WHERE process = ?1 AND at >= ?2 AND at >= ?3"
	       " ORDER BY at",
	       "", "");
	ret = prepare(archive, sql.text, &statement, reterr);
	if (ret < 0)
		return ret;
	sqlite3_bind_int64(statement, 1, number);
	sqlite3_bind_int64(statement, 2, since_s);
	sqlite3_bind_int64(statement, 3, minutes_since(now_s));
	while ((ret = step(archive, statement, reterr)) > 0) {
		struct derive_cell cell;

		cell_from_columns(statement, 1, &cell);
		found(sqlite3_column_int64(statement, 0), &cell, arg);
	}
	sqlite3_finalize(statement);
	return ret;
}

static void copy_name(char to[ARCHIVE_NAME_MAX + 1], sqlite3_stmt *statement,
		      int column)
{
	const unsigned char *text = sqlite3_column_text(statement, column);

	snprintf(to, ARCHIVE_NAME_MAX + 1, "%s",
		 text ? (const char *)text : "");
}

int archive_sum(struct archive *archive, int64_t since_s, int64_t now_s,
		void (*found)(const struct archive_process *process,
			      int64_t released_s,
			      const struct derive_cell *cell, void *arg),
		void *arg, struct error *reterr)
{
	struct text sql = {.length = 0};
	sqlite3_stmt *statement;
	int ret;

	append(&sql, "SELECT pasid, vdev, name, released, ", "", "");
	append_merged(&sql);
	append(&sql, " FROM (SELECT * FROM hour WHERE at >= ?1 AND at < ?2",
	       " UNION ALL SELECT * FROM minute WHERE at >= ?1 AND at >= ?2",
	       ") JOIN process ON id = process GROUP BY id ORDER BY pasid, id");
	ret = prepare(archive, sql.text, &statement, reterr);
	if (ret < 0)
		return ret;
	sqlite3_bind_int64(statement, 1, since_s);
	sqlite3_bind_int64(statement, 2, minutes_since(now_s));
	while ((ret = step(archive, statement, reterr)) > 0) {
		struct archive_process process;
		struct derive_cell cell;

		process.pasid = (uint32_t)sqlite3_column_int64(statement, 0);
		copy_name(process.vdev, statement, 1);
		copy_name(process.name, statement, 2);
		cell_from_columns(statement, 4, &cell);
		found(&process, sqlite3_column_int64(statement, 3), &cell, arg);
	}
	sqlite3_finalize(statement);
	return ret;
}
