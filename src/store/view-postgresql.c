/* SPDX-License-Identifier: Apache-2.0 */
/*
 * view-postgresql.c - see view.h
 *
 * A connection for each reading: nothing to mend after the server was away,
 * and it has nobody who rests there.  Never waits without an end, and not at
 * all once 'stop_fd' is readable.
 */
#include "store/view-data.h"

#include <errno.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PATIENCE_S 10

/* One message, in one transaction that may write nothing. */
static const char message[] =
	"BEGIN TRANSACTION READ ONLY; SET LOCAL statement_timeout = 10000; " VIEW_QUERY
	" LIMIT 4097; COMMIT";

struct session {
	PGconn *connection;
	const char *conninfo;
	int stop_fd;
	time_t end_s;
};

static time_t clock_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

/* 'text' without what stands there of the password. */
static void hide(const char *conninfo, char *text)
{
	PQconninfoOption *options = PQconninfoParse(conninfo, NULL);

	for (PQconninfoOption *option = options; option && option->keyword;
	     option++) {
		const char *secret = option->val;
		char *at;

		if (!secret || !*secret ||
		    (strcmp(option->keyword, "password") != 0 &&
		     strcmp(option->keyword, "sslpassword") != 0))
			continue;
		while ((at = strstr(text, secret))) {
			memmove(at, at + strlen(secret),
				strlen(at + strlen(secret)) + 1);
		}
	}
	PQconninfoFree(options);
}

static int fail(const struct session *session, const char *why,
		struct error *reterr)
{
	char *text = strdup(why);

	if (!text)
		return error_set(reterr, -ENOMEM, "out of memory");
	/* libpq's have several lines. */
	text[strcspn(text, "\n")] = '\0';
	hide(session->conninfo, text);
	error_set(reterr, -EIO, "PostgreSQL: %s", text);
	free(text);
	return -EIO;
}

static int fail_connection(const struct session *session, struct error *reterr)
{
	return fail(session, PQerrorMessage(session->connection), reterr);
}

/* Returns 0 when the socket is ready for 'events'. */
static int wait_ready(struct session *session, short events,
		      struct error *reterr)
{
	struct pollfd fds[] = {
		{PQsocket(session->connection), events, 0},
		{session->stop_fd, POLLIN, 0},
	};
	int ret;

	do {
		time_t left = session->end_s - clock_s();

		ret = poll(fds, 2, left > 0 ? (int)left * 1000 : 0);
	} while (ret < 0 && errno == EINTR);
	if (ret < 0)
		return error_set(reterr, -errno, "PostgreSQL: poll: %m");
	if (fds[1].revents)
		return error_set(reterr, -ECANCELED,
				 "PostgreSQL: penstockd is ending");
	if (ret == 0)
		return error_set(reterr, -ETIMEDOUT,
				 "PostgreSQL: no answer in %u s", PATIENCE_S);
	return 0;
}

static int connect_server(struct session *session, struct error *reterr)
{
	static const char *const words[] = {"dbname", "client_encoding",
					    "fallback_application_name", NULL};
	const char *const values[] = {session->conninfo, "UTF8", "penstockd",
				      NULL};
	PostgresPollingStatusType next = PGRES_POLLING_WRITING;
	int ret;

	session->connection = PQconnectStartParams(words, values, 1);
	if (!session->connection)
		return error_set(reterr, -ENOMEM, "out of memory");
	if (PQstatus(session->connection) == CONNECTION_BAD)
		return fail_connection(session, reterr);
	while (next != PGRES_POLLING_OK) {
		ret = wait_ready(session,
				 next == PGRES_POLLING_READING ? POLLIN :
								 POLLOUT,
				 reterr);
		if (ret < 0)
			return ret;
		next = PQconnectPoll(session->connection);
		if (next == PGRES_POLLING_FAILED)
			return fail_connection(session, reterr);
	}
	return 0;
}

/* The next result that is whole; NULL: there are no more. */
static int next_result(struct session *session, PGresult **ret_result,
		       struct error *reterr)
{
	int ret;

	while (PQisBusy(session->connection)) {
		ret = wait_ready(session, POLLIN, reterr);
		if (ret < 0)
			return ret;
		if (!PQconsumeInput(session->connection))
			return fail_connection(session, reterr);
	}
	*ret_result = PQgetResult(session->connection);
	return 0;
}

static int take_rows(const PGresult *result, struct view *view,
		     struct error *reterr)
{
	int ret = 0;

	for (int row = 0; row < PQntuples(result) && ret == 0; row++) {
		const char *values[VIEW_COLUMNS];

		for (int i = 0; i < VIEW_COLUMNS; i++)
			values[i] = PQgetisnull(result, row, i) ?
				NULL :
				PQgetvalue(result, row, i);
		ret = view_add(view, values, reterr);
	}
	return ret;
}

static int read_rows(struct session *session, struct view *view,
		     struct error *reterr)
{
	PGresult *result = NULL;
	int ret;

	/* Small enough to be sent at once. */
	if (!PQsendQuery(session->connection, message))
		return fail_connection(session, reterr);
	while ((ret = next_result(session, &result, reterr)) == 0 && result) {
		ExecStatusType status = PQresultStatus(result);

		if (status == PGRES_TUPLES_OK)
			ret = take_rows(result, view, reterr);
		else if (status != PGRES_COMMAND_OK)
			ret = fail(session, PQresultErrorMessage(result),
				   reterr);
		PQclear(result);
		if (ret < 0)
			break;
	}
	return ret;
}

int view_read_postgresql(const char *conninfo, int stop_fd, char **ret_text,
			 struct error *reterr)
{
	struct session session = {
		.conninfo = conninfo,
		.stop_fd = stop_fd,
		.end_s = clock_s() + PATIENCE_S,
	};
	struct view view;
	int ret;

	ret = view_begin(&view, "PostgreSQL", reterr);
	if (ret < 0)
		return ret;
	ret = connect_server(&session, reterr);
	if (ret == 0)
		ret = read_rows(&session, &view, reterr);
	PQfinish(session.connection);
	return view_end(&view, ret, ret_text, reterr);
}
