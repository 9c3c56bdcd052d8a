/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-host-postgresql.c - SLAs from a PostgreSQL server, a real one: run it by
 * postgresql.sh (E7, E8, E13)
 */
#include <libpq-fe.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "host-rig.h"

#define WORD "in-nobodys-message"

static void run_sql(const char *sql)
{
	char conninfo[256];
	PGconn *connection;
	PGresult *result;

	snprintf(conninfo, sizeof(conninfo),
		 "%s user=admin password='word of admin'",
		 getenv("PENSTOCK_PG"));
	connection = PQconnectdb(conninfo);
	result = PQexec(connection, sql);
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		fail_msg("%s", PQerrorMessage(connection));
	PQclear(result);
	PQfinish(connection);
}

static void control(const char *word)
{
	char command[256];

	snprintf(command, sizeof(command), "%s %s", getenv("PENSTOCK_PG_CTL"),
		 word);
	assert_int_equal(system(command), 0);
}

/* A user who may read the view, and nothing else. */
static int setup(void **state)
{
	run_sql("SET client_min_messages = error;"
		"DROP VIEW IF EXISTS penstock_slas;"
		"DROP TABLE IF EXISTS promise;"
		"DROP ROLE IF EXISTS penstock;"
		"CREATE ROLE penstock LOGIN PASSWORD '" WORD "';"
		"CREATE TABLE promise(pasid int, disk text, iops text,"
		" careless boolean, uid int);"
		"INSERT INTO promise VALUES(5, 'v0', '500', true, NULL);"
		"CREATE VIEW penstock_slas AS SELECT pasid, disk AS vdev,"
		" 'vm-' || pasid AS name, 'iops >= ' || iops AS sla,"
		" 'iops 2000' AS limits, '5 ms' AS burst, 2 AS weight,"
		" NULL AS ioprio, uid, NULL AS gid, NULL AS pid, careless AS best_effort FROM promise;"
		"GRANT SELECT ON penstock_slas TO penstock");
	return rig_setup(state);
}

static void start(struct rig *rig, const char *password)
{
	char text[2048];

	snprintf(
		text, sizeof(text),
		RIG_HEAD
		"slas: {postgresql: \"%s user=penstock password=%s\", every: 1 s}\n",
		getenv("PENSTOCK_PG"), password);
	rig_start(rig, text, true);
}

/* Added, changed, released: as the database says; a bad row is an event with
 * its place, and the last good state stays. */
static void test_slas_postgresql_is_followed(void **state)
{
	struct rig *rig = *state;
	json_t *process;

	start(rig, WORD);
	rig_wait_promised(rig, 5, "iops >= 500");
	process = host_process(rig->host, 5);
	rig_text_is(json_incref(process), "name", "vm-5");
	assert_true(json_is_true(rig_at(process, "best_effort")));
	assert_int_equal(rig_number(json_incref(process), "limit.iops"), 2000);
	assert_int_equal(rig_number(process, "weight"), 2);

	run_sql("UPDATE promise SET iops = 600, careless = false;"
		"INSERT INTO promise VALUES(6, 'v0', '70', NULL, 1000)");
	rig_wait_promised(rig, 5, "iops >= 600");
	rig_wait_promised(rig, 6, "iops >= 70");
	rig_text_is(host_process(rig->host, 6), "match", "uid=1000");
	process = host_process(rig->host, 5);
	assert_true(json_is_false(rig_at(process, "best_effort")));
	json_decref(process);
	run_sql("UPDATE promise SET iops = 'many' WHERE pasid = 6");
	rig_wait_event(rig, "error", "PostgreSQL:2: ");
	rig_wait_promised(rig, 6, "iops >= 70");
	run_sql("DELETE FROM promise WHERE pasid = 6");
	rig_wait_promised(rig, 6, NULL);
	run_sql("REVOKE SELECT ON penstock_slas FROM penstock");
	rig_wait_event(rig, "error", "permission denied");
	run_sql("DROP VIEW penstock_slas");
	rig_wait_event(rig, "error", "\"penstock_slas\" does not exist");
	rig_wait_promised(rig, 5, "iops >= 600");
}

/* The server goes and comes back: found again, nothing lost meanwhile. */
static void test_slas_postgresql_restarts(void **state)
{
	struct rig *rig = *state;

	start(rig, WORD);
	rig_wait_promised(rig, 5, "iops >= 500");
	control("stop");
	rig_wait_event(rig, "error", "PostgreSQL: connection to server");
	rig_wait_promised(rig, 5, "iops >= 500");
	control("start");
	rig_wait_event(rig, "slas", "PostgreSQL can be read again");
	run_sql("UPDATE promise SET iops = 800");
	rig_wait_promised(rig, 5, "iops >= 800");
}

/* A password is in nothing that anybody gets to see. */
static void test_slas_postgresql_hides_password(void **state)
{
	struct rig *rig = *state;

	start(rig, "another-" WORD);
	rig_wait_event(rig, "error", "password authentication failed");
	assert_false(rig_has_event(rig, "error", WORD));
	rig_stop(rig);
	start(rig, WORD " port=" WORD);
	rig_wait_event(rig, "error", "port");
	assert_false(rig_has_event(rig, "error", WORD));
}

static bool is_dialled(struct rig *rig, void *arg)
{
	int fd = accept4(*(int *)arg, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)rig;
	/* It stays open. */
	return fd >= 0;
}

/* A server that says nothing: penstockd answers, and ends, all the same. */
static void test_slas_postgresql_is_silent(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct rig *rig = *state;
	int fd;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/.s.PGSQL.5432",
		 rig->directory);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)),
			 0);
	assert_int_equal(listen(fd, 5), 0);
	rig_start(rig,
		  RIG_HEAD "slas: {postgresql: \"host=@ user=penstock\"}\n",
		  true);
	rig_wait(rig, is_dialled, &fd);
	host_report(rig->host, NULL, &rig->call);
	rig_answer(rig, HOST_DONE);
	rig_stop(rig);
	close(fd);
}

/* What is wrong with the configuration is said without it. */
static void test_slas_postgresql_configuration(void **state)
{
	static const char text[] =
		"host: a\nstate: /s\n"
		"slas: {postgresql: \"user=penstock " WORD "\"}\n";
	struct config *config;
	struct error why;

	(void)state;
	assert_true(config_parse("f", text, strlen(text), &config, &why) < 0);
	assert_non_null(strstr(why.text, "f:3: postgresql: not a connection"));
	assert_null(strstr(why.text, WORD));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, rig_teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_slas_postgresql_is_followed),
		TEST(test_slas_postgresql_restarts),
		TEST(test_slas_postgresql_hides_password),
		TEST(test_slas_postgresql_is_silent),
		TEST(test_slas_postgresql_configuration),
	};
	int status = rig_arguments(argc, argv);

	if (!getenv("PENSTOCK_PG"))
		status = 77;
	return status ? status : cmocka_run_group_tests(tests, NULL, NULL);
}
