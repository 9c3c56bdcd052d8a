/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-host-again.c - what is taken away and made again at run time under a
 * name that the file has: it wins until the file's own entry changes
 */
#include "host-rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define FILE_WITH(iops, size) \
	RIG_HEAD \
	"  - {name: v2, pool: p0, size: " size \
	", queues: 4, vhost-user: @/v2}\n" \
	"processes:\n" \
	"  - {pasid: 1, vdev: v0, sla: {iops: '>= " iops "'}}\n" \
	"  - {pasid: 2, vdev: v2, sla: {iops: '>= 100'}}\n"
#define ORIGINAL	FILE_WITH("500", "4MiB")

static void release(struct rig *rig, uint32_t pasid)
{
	host_process_release(rig->host, pasid, &rig->call);
	rig_answer(rig, HOST_DONE);
}

static void add_again(struct rig *rig, const char *vdev)
{
	const struct host_process_request request = {
		.pasid = 1,
		.name = "mine",
		.vdev = vdev,
		.sla = "iops >= 777",
	};

	host_process_add(rig->host, &request, &rig->call);
	rig_answer(rig, HOST_DONE);
}

static void process_is(struct rig *rig, const char *name, long long iops,
		       const char *vdev)
{
	rig_text_is(host_process(rig->host, 1), "name", name);
	rig_text_is(host_process(rig->host, 1), "vdev", vdev);
	assert_int_equal(rig_number(host_process(rig->host, 1), "sla.iops"),
			 iops);
}

static void test_again_process(void **state)
{
	struct rig *rig = *state;

	rig_start(rig, ORIGINAL, true);
	release(rig, 1);
	add_again(rig, "v1");
	for (int i = 0; i < 2; i++) {
		rig_stop(rig);
		rig_start(rig, ORIGINAL, true);
		process_is(rig, "mine", 777, "v1");
		rig_text_is(host_process(rig->host, 1), "origin", "runtime");
	}
	/* Once more gone: it stays away. */
	release(rig, 1);
	rig_stop(rig);
	rig_start(rig, ORIGINAL, true);
	assert_null(host_process(rig->host, 1));
	add_again(rig, "v1");
	rig_stop(rig);
	rig_start(rig, FILE_WITH("600", "4MiB"), true);
	process_is(rig, "process-1", 600, "v0");
}

/* The place of one that was refused is free. */
static void test_again_over_a_refused_one(void **state)
{
	struct rig *rig = *state;

	rig_start(rig, FILE_WITH("100M", "4MiB"), true);
	rig_text_is(host_process(rig->host, 1), "state", "refused");
	add_again(rig, "v0");
	rig_stop(rig);
	rig_start(rig, FILE_WITH("100M", "4MiB"), true);
	process_is(rig, "mine", 777, "v0");
}

static void vdev_is(struct rig *rig, long long queues, long long size_bytes)
{
	assert_int_equal(rig_number(host_vdev(rig->host, "v2"), "queues"),
			 queues);
	assert_int_equal(rig_number(host_vdev(rig->host, "v2"), "size_bytes"),
			 size_bytes);
}

static void test_again_vdev(void **state)
{
	const struct host_vdev_request request = {
		.name = "v2",
		.pool = "p0",
		.size = "2MiB",
		.queues = 1,
		.read_only = true,
	};
	struct rig *rig = *state;

	rig_start(rig, ORIGINAL, true);
	host_vdev_delete(rig->host, "v2", &rig->call);
	rig_answer(rig, HOST_DONE);
	host_vdev_create(rig->host, &request, &rig->call);
	rig_answer(rig, HOST_DONE);
	for (int i = 0; i < 2; i++) {
		rig_stop(rig);
		rig_start(rig, ORIGINAL, true);
		vdev_is(rig, 1, 2 << 20);
		assert_true(rig_is_absent(host_vdev(rig->host, "v2"),
					  "vhost_user"));
		assert_null(host_process(rig->host, 2));
		assert_int_equal(access("v2", F_OK), -1);
	}
	/* Deleted as any: it does not come back as the file's. */
	host_vdev_delete(rig->host, "v2", &rig->call);
	rig_answer(rig, HOST_DONE);
	rig_stop(rig);
	rig_start(rig, ORIGINAL, true);
	assert_null(host_vdev(rig->host, "v2"));
	rig_stop(rig);
	rig_start(rig, FILE_WITH("500", "8MiB"), true);
	vdev_is(rig, 4, 8 << 20);
	rig_text_is(host_process(rig->host, 2), "vdev", "v2");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_again_process, rig_setup,
						rig_teardown),
		cmocka_unit_test_setup_teardown(test_again_over_a_refused_one,
						rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_again_vdev, rig_setup,
						rig_teardown),
	};
	const int status = rig_arguments(argc, argv);

	if (status)
		return status;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
