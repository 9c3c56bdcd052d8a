/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-host-pools.c - pools of several devices, over the endpoint itself:
 * what they hold together, and devices that are not there, come back or come
 * in each other's place (E2, E3)
 */
#include "host-rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "sla/capacity.h"

#define MIB (1LL << 20)

#define DEVICES \
	"host: a\n" \
	"state: @/state\n" \
	"headroom: 0%\n" \
	"endpoints:\n" \
	"  - name: ep0\n" \
	"    devices:\n" \
	"      - {name: d0, kind: file, path: @/d0, size: 16MiB}\n" \
	"      - {name: d1, kind: file, path: @/d1, size: 16MiB}\n"
#define CONFIG DEVICES "pools: [{name: p, devices: [ep0/d0, ep0/d1]}]\n"
#define LARGE CONFIG "vdevs: [{name: v, pool: p, size: 24MiB}]\n"

static void rig_update(struct rig *rig, uint32_t pasid, const char *sla)
{
	const struct host_process_request request = {
		.pasid = pasid,
		.sla = sla,
	};

	host_process_update(rig->host, &request, &rig->call);
}

static bool state_is(struct rig *rig, void *arg)
{
	json_t *pool = host_pool(rig->host, "p");
	const char *state = json_string_value(json_object_get(pool, "state"));
	const bool is = state && strcmp(state, arg) == 0;

	json_decref(pool);
	return is;
}

static void wait_state(struct rig *rig, const char *state)
{
	char text[16];

	snprintf(text, sizeof(text), "%s", state);
	rig_wait(rig, state_is, text);
}

/* Its pool is whole, and has so many MiB that are nobody's. */
static bool is_free(struct rig *rig, void *arg)
{
	json_t *pool = host_pool(rig->host, "p");
	const bool is =
		json_integer_value(json_object_get(pool, "free_bytes")) ==
		*(int *)arg * MIB;

	json_decref(pool);
	return is;
}

static void wait_free(struct rig *rig, int mib)
{
	rig_wait(rig, is_free, &mib);
}

static void test_pools_vdev_is_larger_than_a_device(void **state)
{
	struct rig *rig = *state;

	rig_start(rig, LARGE, true);
	wait_state(rig, "ready");
	rig_wait_serving(rig, "v");
	wait_free(rig, 8);
	assert_int_equal(rig_number(host_pool(rig->host, "p"), "size_bytes"),
			 32 * MIB);
	rig_stop(rig);
	rig_start(rig, LARGE, true);
	rig_wait_serving(rig, "v");
	wait_free(rig, 8);
}

static void test_pools_refuse_what_no_devices_have(void **state)
{
	const struct host_vdev_request request = {
		.name = "new",
		.size = "12MiB",
	};
	struct rig *rig = *state;

	rig_start(rig, LARGE, true);
	host_vdev_create(rig->host, &request, &rig->call);
	rig_answer(rig, HOST_REFUSED);
	assert_int_equal(rig_number(json_incref(rig->value), "available"),
			 8 * MIB);
}

/* What is on the other goes on; what held data is not made anew, and joins its
 * pool when it is there, while that is served. */
static void test_pools_device_is_missing_and_comes_back(void **state)
{
	struct rig *rig = *state;
	pid_t endpoint;

	rig_start(rig, LARGE, true);
	rig_stop(rig);
	assert_int_equal(rename("d1", "away"), 0);
	rig_start(rig, LARGE, true);
	rig_wait_serving(rig, "v");
	wait_state(rig, "degraded");
	assert_int_equal(
		rig_number(host_pool(rig->host, "p"), "missing_devices"), 1);
	assert_true(rig_has_event(rig, "device-failed",
				  "d1 is not there, and it held data"));
	rig_text_is(host_device(rig->host, "d1"), "fault", "missing");
	assert_int_equal(access("d1", F_OK), -1);
	endpoint = rig_endpoint(rig);

	assert_int_equal(rename("away", "d1"), 0);
	wait_state(rig, "ready");
	assert_int_equal(rig_endpoint(rig), endpoint);
	rig_wait_event(rig, "device-recovered", "d1 is back in pool p");
	assert_true(rig_is_absent(host_device(rig->host, "d1"), "fault"));
	assert_int_equal(
		rig_number(host_pool(rig->host, "p"), "missing_devices"), 0);
	wait_free(rig, 8);
}

/* A device that is refused is let go: the right one can take its place. */
static void test_pools_another_device_goes_again(void **state)
{
	struct rig *rig = *state;

	rig_start(rig, LARGE, true);
	rig_stop(rig);
	assert_int_equal(rename("d1", "away"), 0);
	assert_int_equal(system("truncate -s 25M d1"), 0);
	rig_start(rig, LARGE, true);
	rig_text_is(host_device(rig->host, "d1"), "fault", "another");
	assert_int_equal(rename("away", "d1"), 0);
	wait_state(rig, "ready");
}

/* Their file systems, or partitions, are not ours to write to. */
static void test_pools_foreign_device_is_refused(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(
		system("truncate -s 25M d1 && PATH=$PATH:/sbin mkfs.ext4 -q -F d1"),
		0);
	rig_start(rig, CONFIG, true);
	wait_state(rig, "degraded");
	rig_text_is(host_device(rig->host, "d1"), "fault", "foreign");
	assert_true(rig_has_event(rig, "device-failed", "ext"));
	assert_int_equal(
		system("PATH=$PATH:/sbin e2fsck -fn d1 >/dev/null 2>&1"), 0);
}

/* --- Shares (E3) --------------------------------------------------------- */

#define SIX \
	"host: a\n" \
	"state: @/state\n" \
	"endpoints:\n" \
	"  - name: ep0\n" \
	"    devices:\n" \
	"      - {name: n0, kind: nullio, size: 100GiB}\n" \
	"      - {name: n1, kind: nullio, size: 100GiB}\n" \
	"      - {name: n2, kind: nullio, size: 100GiB}\n" \
	"      - {name: n3, kind: nullio, size: 100GiB}\n" \
	"      - {name: n4, kind: nullio, size: 100GiB}\n" \
	"      - {name: n5, kind: nullio, size: 100GiB}\n" \
	"pools: [{name: p, devices: [ep0/n0, ep0/n1, ep0/n2, ep0/n3, ep0/n4, ep0/n5]}]\n" \
	"vdevs:\n"

struct size {
	const char *vdev;
	long long gib;
};

static bool has_size(struct rig *rig, void *arg)
{
	const struct size *size = arg;

	return rig_number(host_vdev(rig->host, size->vdev), "size_bytes") ==
		size->gib << 30;
}

static void wait_size(struct rig *rig, const char *vdev, long long gib)
{
	struct size size = {vdev, gib};

	rig_wait(rig, has_size, &size);
	rig_wait_serving(rig, vdev);
}

struct resizes {
	const char *text;
	unsigned int count;
};

static bool is_resized(struct rig *rig, void *arg)
{
	const struct resizes *resizes = arg;
	json_t *events = host_events(rig->host, 0), *event;
	unsigned int count = 0;
	size_t i;

	json_array_foreach(events, i, event) count +=
		strcmp(json_string_value(json_object_get(event, "text")),
		       resizes->text) == 0;
	json_decref(events);
	return count == resizes->count;
}

/* It is through with so many changes of its size. */
static void wait_resized(struct rig *rig, const char *text, unsigned int count)
{
	struct resizes resizes = {text, count};

	rig_wait(rig, is_resized, &resizes);
}

/* What vdevs that go had is turned over to those that share, and back. */
static void test_pools_equal_shares(void **state)
{
	const struct host_vdev_request request = {
		.name = "d",
		.size = "300GiB",
	};
	struct rig *rig = *state;

	rig_start(rig,
		  SIX "  - {name: a, pool: p, size: equal}\n"
		      "  - {name: b, pool: p, size: equal}\n"
		      "  - {name: c, pool: p, size: equal}\n",
		  true);
	wait_size(rig, "a", 200);
	wait_size(rig, "b", 200);
	wait_size(rig, "c", 200);
	host_vdev_resize(rig->host, "c", "100GiB", false, &rig->call);
	rig_answer(rig, HOST_DONE);
	wait_size(rig, "a", 250);
	wait_size(rig, "b", 250);
	wait_resized(rig, "vdev a has a new size", 1);
	wait_resized(rig, "vdev b has a new size", 1);
	host_vdev_delete(rig->host, "b", &rig->call);
	rig_answer(rig, HOST_DONE);
	wait_size(rig, "a", 500);
	wait_resized(rig, "vdev a has a new size", 2);
	/* Somebody chose. */
	host_vdev_resize(rig->host, "a", "300GiB", false, &rig->call);
	rig_answer(rig, HOST_DONE);
	host_vdev_delete(rig->host, "c", &rig->call);
	rig_answer(rig, HOST_DONE);
	host_vdev_create(rig->host, &request, &rig->call);
	rig_answer(rig, HOST_DONE);
	wait_size(rig, "a", 300);
	wait_free(rig, 0);
}

static void test_pools_given_sizes(void **state)
{
	struct rig *rig = *state;

	rig_start(rig,
		  SIX "  - {name: a, pool: p, size: 100GiB}\n"
		      "  - {name: b, pool: p, size: 200GiB}\n"
		      "  - {name: c, pool: p, size: 300GiB}\n",
		  true);
	wait_size(rig, "a", 100);
	wait_size(rig, "b", 200);
	wait_size(rig, "c", 300);
	wait_free(rig, 0);
}

/* A pool gets a device when penstockd is started with it: the endpoint, and
 * who is connected, stay. */
static void test_pools_grow_by_a_device(void **state)
{
	struct rig *rig = *state;
	pid_t endpoint;

	rig_start(rig,
		  DEVICES "pools: [{name: p, devices: [ep0/d0]}]\n"
			  "vdevs: [{name: v, pool: p, size: equal}]\n",
		  true);
	assert_int_equal(rig_number(host_vdev(rig->host, "v"), "size_bytes"),
			 16 * MIB);
	endpoint = rig_endpoint(rig);
	rig_abandon(rig);
	rig_start(rig, CONFIG "vdevs: [{name: v, pool: p, size: equal}]\n",
		  true);
	assert_int_equal(rig_endpoint(rig), endpoint);
	wait_state(rig, "ready");
	assert_int_equal(rig_number(host_pool(rig->host, "p"), "size_bytes"),
			 32 * MIB);
	wait_free(rig, 0);
	assert_int_equal(rig_number(host_vdev(rig->host, "v"), "size_bytes"),
			 32 * MIB);
}

/* --- Promises over devices that differ ----------------------------------- */

#define UNEQUAL(provisioning) \
	"host: a\n" \
	"state: @/state\n" \
	"endpoints:\n" \
	"  - name: ep0\n" \
	"    devices:\n" \
	"      - {name: fast, kind: nullio, size: 64MiB, model: {latency: {read: 100 us, write: 100 us, servers: 8}}}\n" \
	"      - {name: slow, kind: nullio, size: 64MiB, model: {latency: {read: 4 ms, write: 4 ms, servers: 1}}}\n" \
	"pools: [{name: p, devices: [ep0/fast, ep0/slow], provisioning: " provisioning \
	"}]\n" \
	"vdevs:\n" \
	"  - {name: v, pool: p, size: 100MiB}\n" \
	"  - {name: w, pool: p, size: 20MiB}\n"
#define PROMISE "processes: [{pasid: 1, vdev: v, sla: {iops: '>= 2000'}}]\n"

static void promised_is(struct rig *rig, const char *device, const char *text)
{
	rig_text_is(host_device(rig->host, device), "combined_text", text);
}

/* E8, E10: of a thin vdev, at the devices that have room for it. */
static void test_pools_thin_is_promised_where_there_is_room(void **state)
{
	struct rig *rig = *state;

	rig_start(rig, UNEQUAL("thin") PROMISE, true);
	rig_wait_serving(rig, "v");
	rig_text_is(host_process(rig->host, 1), "state", "bound");
	promised_is(rig, "fast", "iops >= 2000");
	promised_is(rig, "slow", "");
	rig_text_is(host_pool(rig->host, "p"), "combined_text", "iops >= 2000");
	host_admission(rig->host, "w", "iops >= 2000", &rig->call);
	rig_answer(rig, HOST_DONE);
	assert_int_equal(
		json_array_size(json_object_get(rig->value, "devices")), 1);
	rig_text_is(json_incref(rig->value), "devices.0", "ep0/fast");
	/* A few requests fit on both. */
	rig_update(rig, 1, "iops >= 10");
	rig_answer(rig, HOST_DONE);
	promised_is(rig, "fast", "iops >= 10");
	promised_is(rig, "slow", "iops >= 10");
	/* As many as none of them does are refused, and nothing has changed. */
	rig_update(rig, 1, "iops >= 1000000");
	rig_answer(rig, HOST_REFUSED);
	promised_is(rig, "fast", "iops >= 10");
	promised_is(rig, "slow", "iops >= 10");
	/* The same decisions by the next penstockd, on the same endpoint. */
	rig_update(rig, 1, "iops >= 2000");
	rig_answer(rig, HOST_DONE);
	rig_abandon(rig);
	rig_start(rig, UNEQUAL("thin") PROMISE, true);
	promised_is(rig, "fast", "iops >= 2000");
	promised_is(rig, "slow", "");
	host_process_release(rig->host, 1, &rig->call);
	rig_answer(rig, HOST_DONE);
	promised_is(rig, "fast", "");
	rig_text_is(host_pool(rig->host, "p"), "combined_text", "");
}

/* Of a thick one, at all: its space is kept in the pool, wherever it is. */
static void test_pools_thick_is_promised_at_all_devices(void **state)
{
	struct rig *rig = *state;

	rig_start(rig, UNEQUAL("thick") PROMISE, true);
	rig_text_is(host_process(rig->host, 1), "state", "refused");
	assert_true(rig_has_event(rig, "refused", "on device ep0/slow"));
	promised_is(rig, "fast", "");
	promised_is(rig, "slow", "");
}

/* The core serves a request once, whichever device it goes to. */
static void test_pools_core_is_promised_once(void **state)
{
	struct rig *rig = *state;
	json_t *status;

	rig_start(rig, UNEQUAL("thin") PROMISE, true);
	rig_update(rig, 1, "iops >= 10");
	rig_answer(rig, HOST_DONE);
	status = host_status(rig->host);
	assert_true(json_real_value(rig_at(
			    status, "endpoints.0.admission.promised_share")) <
		    1.5 * 10 * CAPACITY_PATH_NS / 0.9 / 1e9);
	json_decref(status);
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_pools_vdev_is_larger_than_a_device),
		TEST(test_pools_refuse_what_no_devices_have),
		TEST(test_pools_device_is_missing_and_comes_back),
		TEST(test_pools_another_device_goes_again),
		TEST(test_pools_foreign_device_is_refused),
		TEST(test_pools_equal_shares),
		TEST(test_pools_given_sizes),
		TEST(test_pools_grow_by_a_device),
		TEST(test_pools_thin_is_promised_where_there_is_room),
		TEST(test_pools_thick_is_promised_at_all_devices),
		TEST(test_pools_core_is_promised_once),
	};
	const int status = rig_arguments(argc, argv);

	if (status)
		return status;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
