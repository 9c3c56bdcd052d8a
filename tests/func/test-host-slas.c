/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-host-slas.c - SLAs from a file that is watched, and from a database
 * (E7, E8, E13)
 */
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "host-rig.h"

#define FROM_FILE	RIG_HEAD "slas: {file: @/slas.yaml}\n"
#define FROM_SQLITE	RIG_HEAD "slas: {sqlite: @/slas.db, every: 1 s}\n"

/* As editors do: another file in its place. */
static void write_slas(const char *text)
{
	FILE *file = fopen("slas.new", "we");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(rename("slas.new", "slas.yaml"), 0);
}

static void run_sql(const char *sql)
{
	sqlite3 *db;
	char *why = NULL;

	assert_int_equal(sqlite3_open("slas.db", &db), 0);
	sqlite3_busy_timeout(db, 10000);
	if (sqlite3_exec(db, sql, NULL, NULL, &why))
		fail_msg("%s", why);
	sqlite3_close(db);
}

static void changed(const struct rig *rig, const char *text)
{
	if (!strstr(rig->changed, text))
		fail_msg("'%s' is not in:\n%s", text, rig->changed);
}

/* Added, changed while it runs, released: as the file says. */
static void test_slas_file_is_followed(void **state)
{
	struct rig *rig = *state;
	json_t *process;

	rig_tell(
		"slas.yaml",
		"processes:\n"
		"  - {pasid: 5, name: db, vdev: v0, sla: {iops: '>= 500'},\n"
		"     limit: {iops: 900, write bandwidth: 2 MB/s}, burst: 5 ms,\n"
		"     match: {ioprio: be/3}, weight: 3}\n");
	rig_start(rig, FROM_FILE, true);
	rig_wait_promised(rig, 5, "iops >= 500");
	process = host_process(rig->host, 5);
	rig_text_is(json_incref(process), "name", "db");
	rig_text_is(json_incref(process), "ioprio", "be/3");
	assert_int_equal(rig_number(json_incref(process), "weight"), 3);
	assert_int_equal(rig_number(json_incref(process), "limit.iops"), 900);
	assert_int_equal(rig_number(json_incref(process),
				    "limit.write_bandwidth_bytes_per_s"),
			 2000000);
	assert_int_equal(rig_number(process, "limit.burst_ns"), 5000000);

	write_slas("processes:\n"
		   "  - {pasid: 5, name: db, vdev: v0, sla: iops >= 700}\n"
		   "  - {pasid: 6, vdev: v0, sla: {bandwidth: '>= 1 MB/s'}}\n");
	rig_wait_promised(rig, 5, "iops >= 700");
	rig_wait_promised(rig, 6, "bandwidth >= 1 MB/s");
	process = host_process(rig->host, 5);
	assert_int_equal(json_object_size(rig_at(process, "limit")), 0);
	json_decref(process);
	write_slas("processes:\n"
		   "  - {pasid: 6, vdev: v0, sla: {bandwidth: '>= 1 MB/s'}}\n");
	rig_wait_promised(rig, 5, NULL);
	rig_wait_promised(rig, 6, "bandwidth >= 1 MB/s");
	/* Who keeps a record hears of each, and where it stands. */
	changed(rig,
		"/slas.yaml:2: process 5 added: sla iops >= 500; limit iops 900, write bandwidth 2000000 B/s; weight 3;");
	changed(rig,
		"/slas.yaml:2: process 5 updated: sla iops >= 700; limit none; weight 1; best-effort no\n");
	changed(rig, "/slas.yaml:3: process 6 added: sla bandwidth >= 1 MB/s;");
	changed(rig,
		"/slas.yaml: process 5 released: it is not there any more\n");
}

/* What makes no sense is said with its place, and the last good state stays. */
static void test_slas_file_errors(void **state)
{
	struct rig *rig = *state;

	write_slas("processes:\n"
		   "  - {pasid: 5, vdev: v0, sla: {iops: '>= 500'}}\n");
	rig_start(rig, FROM_FILE, true);
	rig_wait_promised(rig, 5, "iops >= 500");
	write_slas("processes:\n"
		   "  - {pasid: 5, vdev: v0,\n"
		   "     sla: {iops: '>= many'}}\n");
	rig_wait_event(rig, "error", "/slas.yaml:3: sla: ");
	write_slas("processes:\n"
		   "  - {pasid: 5, vdev: v0}\n"
		   "  - {pasid: 5, vdev: v0, name: b}\n");
	rig_wait_event(rig, "error", "/slas.yaml:3: pasid 5 twice");
	write_slas("vdevs: []\n");
	rig_wait_event(rig, "error", "/slas.yaml:1: ");
	rig_wait_promised(rig, 5, "iops >= 500");
	write_slas("processes:\n"
		   "  - {pasid: 5, vdev: v0, sla: {iops: '>= 600'}}\n"
		   "  - {pasid: 6, vdev: nowhere}\n");
	rig_wait_promised(rig, 5, "iops >= 600");
	rig_wait_event(rig, "slas", "can be read again");
	rig_wait_event(rig, "error", "/slas.yaml:3: there is no vdev");
}

/* Admission decides (E8), and a change at run time wins until the entry
 * changes: over a restart, too. */
static void test_slas_file_and_others(void **state)
{
	const struct host_process_request update = {.pasid = 5,
						    .sla = "iops >= 30"};
	static const char entries[] =
		"processes:\n"
		"  - {pasid: 5, vdev: v0, sla: {iops: '>= 500'}}\n"
		"  - {pasid: 6, vdev: v0, sla: {iops: '>= 100M'}}\n";
	struct rig *rig = *state;

	write_slas(entries);
	rig_start(rig, FROM_FILE, true);
	rig_wait_promised(rig, 5, "iops >= 500");
	rig_wait_event(rig, "refused", "process 6 is refused");
	rig_wait_event(rig, "admitted", "process 5 ");
	host_process_update(rig->host, &update, &rig->call);
	rig_answer(rig, HOST_DONE);
	rig_abandon(rig);
	rig_start(rig, FROM_FILE, true);
	/* The refusal says that the file was read. */
	rig_wait_event(rig, "refused", "process 6 is refused");
	rig_wait_promised(rig, 5, "iops >= 30");
	write_slas("processes:\n"
		   "  - {pasid: 5, vdev: v0, sla: {iops: '>= 501'}}\n");
	rig_wait_promised(rig, 5, "iops >= 501");
}

/* The same from a database that somebody else writes to. */
static void test_slas_sqlite_is_followed(void **state)
{
	struct rig *rig = *state;
	json_t *process;

	run_sql("CREATE TABLE promise(pasid, disk, iops, burst, ioprio,"
		" uid, gid);"
		"INSERT INTO promise"
		" VALUES(5, 'v0', 500, '5 ms', 'be/2', NULL, NULL);"
		"CREATE VIEW penstock_slas AS SELECT pasid, disk AS vdev,"
		" 'vm-' || pasid AS name, 'iops >= ' || iops AS sla,"
		" 'iops 2000' AS limits, burst, 2 AS weight, ioprio,"
		" uid, gid, NULL AS pid, 1 AS best_effort FROM promise");
	rig_start(rig, FROM_SQLITE, true);
	rig_wait_promised(rig, 5, "iops >= 500");
	process = host_process(rig->host, 5);
	rig_text_is(json_incref(process), "name", "vm-5");
	rig_text_is(json_incref(process), "ioprio", "be/2");
	assert_true(json_is_true(rig_at(process, "best_effort")));
	assert_int_equal(rig_number(json_incref(process), "limit.iops"), 2000);
	assert_int_equal(rig_number(process, "weight"), 2);

	run_sql("UPDATE promise SET iops = 600;"
		"INSERT INTO promise"
		" VALUES(6, 'v0', 70, NULL, NULL, 1000, NULL),"
		" (7, 'v0', 7, NULL, NULL, NULL, 'root')");
	rig_wait_promised(rig, 5, "iops >= 600");
	rig_wait_promised(rig, 6, "iops >= 70");
	rig_wait_promised(rig, 7, "iops >= 7");
	rig_text_is(host_process(rig->host, 6), "match", "uid=1000");
	rig_text_is(host_process(rig->host, 7), "match", "gid=0");
	run_sql("UPDATE promise SET ioprio = 'be/1' WHERE pasid = 6");
	rig_wait_event(rig, "error", "one of ioprio, uid, gid and pid");
	run_sql("UPDATE promise SET ioprio = NULL WHERE pasid = 6");
	run_sql("UPDATE promise SET iops = 'many' WHERE pasid = 6");
	rig_wait_event(rig, "error", "/slas.db:2: ");
	rig_wait_promised(rig, 6, "iops >= 70");
	run_sql("DELETE FROM promise WHERE pasid = 6");
	rig_wait_promised(rig, 6, NULL);
	run_sql("DROP VIEW penstock_slas");
	rig_wait_event(rig, "error", "penstock_slas");
	rig_wait_promised(rig, 5, "iops >= 600");
}

#define TEST(name)	\
	cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_slas_file_is_followed),
		TEST(test_slas_file_errors),
		TEST(test_slas_file_and_others),
		TEST(test_slas_sqlite_is_followed),
	};
	int status = rig_arguments(argc, argv);

	return status ? status : cmocka_run_group_tests(tests, NULL, NULL);
}
