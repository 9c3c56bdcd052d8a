/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-host-transfer.c - a way in for one import or export, which closes
 * whatever becomes of who asked for it (E15)
 */
#include "host-rig.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define SOCKET "api.transfer-v1"

#define CONFIG \
	RIG_WHOLE \
	"api: {unix: @/api}\n"

static void ask(struct rig *rig, const char *vdev, bool is_import,
		uint32_t pasid)
{
	const struct host_transfer_request request = {
		.vdev = vdev,
		.is_import = is_import,
		.pasid = pasid,
		.uid = getuid(),
	};

	host_vdev_transfer(rig->host, &request, &rig->call);
}

static void refused(struct rig *rig, enum host_result expected,
		    const char *words)
{
	rig_answer(rig, expected);
	assert_non_null(strstr(rig->text, words));
}

static bool is_there(void)
{
	return access(SOCKET, F_OK) == 0;
}

static bool is_over(struct rig *rig, void *arg)
{
	(void)rig;
	(void)arg;
	return !is_there() && rig_ops("\"op\":\"unlisten\"") > 0;
}

static bool is_asked(struct rig *rig, void *arg)
{
	(void)rig;
	(void)arg;
	return rig_ops("\"kind\":\"transfer\"") > 0;
}

static void wait_over(struct rig *rig)
{
	rig_wait(rig, is_over, NULL);
	rig_wait_event(rig, "transfer", "is over");
}

static void open_export(struct rig *rig)
{
	rig_start(rig, CONFIG, true);
	rig_wait_serving(rig, "v1");
	rig_forget_ops();
	ask(rig, "v1", false, 0);
	rig_answer(rig, HOST_DONE);
	assert_true(is_there());
}

/* --- What is asked for, and what cannot be ------------------------------- */

static void test_transfer_is_answered(void **state)
{
	struct rig *rig = *state;
	struct stat status;

	open_export(rig);
	assert_int_equal(rig_ops("\"kind\":\"transfer\""), 1);
	assert_int_equal(rig_ops("\"read_only\":true"), 1);
	rig_text_is(json_incref(rig->value), "direction", "export");
	rig_text_is(json_incref(rig->value), "export", "v1");
	assert_int_equal(rig_number(json_incref(rig->value), "size_bytes"),
			 8 << 20);
	assert_int_equal(stat(SOCKET, &status), 0);
	assert_int_equal(status.st_mode & 0777, 0600);
	host_vdev_transfer_end(rig->host, "v1", getuid() + 1, &rig->call);
	refused(rig, HOST_CONFLICT, "another user's export");
	host_vdev_transfer_end(rig->host, "v1", getuid(), &rig->call);
	rig_answer(rig, HOST_DONE);
	wait_over(rig);
	host_vdev_transfer_end(rig->host, "v1", getuid(), &rig->call);
	refused(rig, HOST_NOT_FOUND, "neither imported nor exported");
	ask(rig, "v1", true, 2);
	rig_answer(rig, HOST_DONE);
	rig_text_is(json_incref(rig->value), "export", "v1/2");
	assert_int_equal(rig_ops("\"read_only\":false"), 1);
}

static void test_transfer_that_cannot_be(void **state)
{
	struct rig *rig = *state;

	open_export(rig);
	ask(rig, "none", false, 0);
	refused(rig, HOST_NOT_FOUND, "no such vdev");
	ask(rig, "v1", false, 0);
	refused(rig, HOST_CONFLICT, "is being imported or exported already");
	ask(rig, "v0", false, 77);
	refused(rig, HOST_NOT_FOUND, "no process with PASID 77");
	ask(rig, "v0", false, 2);
	refused(rig, HOST_CONFLICT, "process 2 is not bound to vdev 'v0'");
	host_vdev_delete(rig->host, "v1", &rig->call);
	refused(rig, HOST_CONFLICT, "");
	host_vdev_transfer_end(rig->host, "v1", UINT32_MAX, &rig->call);
	rig_answer(rig, HOST_DONE);
	rig_tell("refuse", "listen");
	ask(rig, "v1", false, 0);
	refused(rig, HOST_FAILED, "not now");
	assert_false(is_there());
	ask(rig, "v1", false, 0);
	rig_answer(rig, HOST_DONE);
}

static void test_transfer_needs_an_api(void **state)
{
	struct rig *rig = *state;

	rig_start(rig, RIG_WHOLE, true);
	rig_wait_serving(rig, "v1");
	ask(rig, "v1", false, 0);
	refused(rig, HOST_CONFLICT, "has no api: unix: socket");
}

/* --- It ends ------------------------------------------------------------- */

static void test_transfer_ends_with_its_connection(void **state)
{
	struct rig *rig = *state;
	int fd;

	open_export(rig);
	fd = rig_dial(rig, SOCKET);
	assert_true(fd >= 0);
	rig_wait_event(rig, "transfer", "may export it");
	assert_int_equal(rig_ops("\"op\":\"unlisten\""), 0);
	close(fd);
	wait_over(rig);
}

/* Nobody has seen him there. */
static void test_transfer_ends_with_a_brief_one(void **state)
{
	struct rig *rig = *state;
	int fd;

	open_export(rig);
	rig_tell("brief", "");
	fd = rig_dial(rig, SOCKET);
	assert_true(fd >= 0);
	wait_over(rig);
	close(fd);
}

static void test_transfer_ends_with_its_endpoint(void **state)
{
	struct rig *rig = *state;

	open_export(rig);
	kill(rig_endpoint(rig), SIGKILL);
	rig_wait_event(rig, "transfer", "is over");
	assert_false(is_there());
	rig_wait_serving(rig, "v1");
	ask(rig, "v1", false, 0);
	rig_answer(rig, HOST_DONE);
}

/* Its endpoint dies before it says that it listens. */
static void test_transfer_endpoint_dies_at_the_begin(void **state)
{
	struct rig *rig = *state;

	rig_start(rig, CONFIG, true);
	rig_wait_serving(rig, "v1");
	rig_tell("hold", "listen");
	ask(rig, "v1", false, 0);
	rig_wait(rig, is_asked, NULL);
	kill(rig_endpoint(rig), SIGKILL);
	refused(rig, HOST_FAILED, "v1");
	assert_false(is_there());
	rig_wait_event(rig, "endpoint-died", "");
	rig_wait_serving(rig, "v1");
	ask(rig, "v1", false, 0);
	rig_answer(rig, HOST_DONE);
}

/* The next penstockd finds it and closes it: the path, and the way in. */
static void test_transfer_ends_with_penstockd(void **state)
{
	struct rig *rig = *state;

	open_export(rig);
	rig_abandon(rig);
	rig_start(rig, CONFIG, true);
	rig_wait(rig, is_over, NULL);
	ask(rig, "v1", false, 0);
	rig_answer(rig, HOST_DONE);
	rig_stop(rig);
	assert_false(is_there());
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_transfer_is_answered),
		TEST(test_transfer_that_cannot_be),
		TEST(test_transfer_needs_an_api),
		TEST(test_transfer_ends_with_its_connection),
		TEST(test_transfer_ends_with_a_brief_one),
		TEST(test_transfer_ends_with_its_endpoint),
		TEST(test_transfer_endpoint_dies_at_the_begin),
		TEST(test_transfer_ends_with_penstockd),
	};
	const int status = rig_arguments(argc, argv);

	if (status)
		return status;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
