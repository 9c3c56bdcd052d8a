/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-endpoint-errors.c - the real penstock-endpoint on a device that fails
 * and stands still: a guest waits for as long as its vdev is stopped, also for
 * the next endpoint, and each request of it is answered once (E3, H3)
 */
#include "endpoint-bench.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctl/ctl.h"
#include "vhost/client.h"

#define DEPTH		8U
#define BLOCK		4096U
#define REQUESTS	600U
#define ALWAYS_PPM	1000000
#define SOMETIMES_PPM	30000
#define VDEV_BYTES	(UINT64_C(8) << 20)
#define VDEV_UUID	"00000000000000000000000000000002"

struct slot {
	struct vhost_client_request request;
	struct iovec iov;
	bool in_flight;
};

struct guest {
	struct bench *bench;
	int listen_fd, memory_fd;
	char *memory;
	struct vhost_client *client;
	struct vhost_client_queue *queue;
	struct slot slots[DEPTH];
	unsigned int answers, failures;
};

/* --- As penstockd -------------------------------------------------------- */

static json_t *ask(struct bench *bench, const char *text)
{
	return bench_ask(bench, json_loads(text, 0, NULL), -1);
}

static void serve(struct guest *guest, json_t *model, const char *on_error,
		  json_int_t capacity_bytes)
{
	struct bench *bench = guest->bench;

	bench_ok(bench_ask(bench,
			   json_pack("{s:s, s:s, s:s, s:i, s:i, s:o}", "op",
				     "device-add", "name", "m0", "kind",
				     "nullio", "size_bytes", 64 << 20, "slot",
				     0, "model", model),
			   -1));
	bench_ok(ask(bench, "{\"op\": \"pool-add\", \"name\": \"p\"}"));
	bench_ok(bench_ask(
		bench,
		json_pack("{s:s, s:s, s:s, s:s, s:b, s:b, s:I}", "op",
			  "member-add", "pool", "p", "device", "m0", "uuid",
			  "00000000000000000000000000000001", "claim", true,
			  "zeroed", true, "size_bytes", capacity_bytes),
		-1));
	bench_ok(ask(bench, "{\"op\": \"pool-start\", \"pool\": \"p\"}"));
	bench_ok(bench_ask(bench,
			   json_pack("{s:s, s:s, s:s, s:s, s:I, s:i, s:s}",
				     "op", "vdev-add", "name", "vd0", "pool",
				     "p", "uuid", VDEV_UUID, "size_bytes",
				     (json_int_t)VDEV_BYTES, "slot", 0,
				     "on_error", on_error),
			   -1));
	bench_ok(bench_ask(bench,
			   json_pack("{s:s, s:s, s:s}", "op", "listen", "kind",
				     "vhost-user", "vdev", "vd0"),
			   guest->listen_fd));
}

static json_t *model(int error_ppm)
{
	return json_pack("{s:i, s:i, s:i, s:i, s:i}", "servers", 4,
			 "read_median_ns", 50000, "write_median_ns", 50000,
			 "error_ppm", error_ppm, "seed", 3);
}

static const struct stats_process *vdev_stats(const struct guest *guest)
{
	return &guest->bench->stats->processes[0];
}

static void wait_until_stopped(const struct guest *guest)
{
	while (stats_get(&vdev_stats(guest)->stopped_errno) != EIO)
		sched_yield();
}

static void resume(struct guest *guest)
{
	bench_ok(ask(guest->bench,
		     "{\"op\": \"vdev-resume\", \"name\": \"vd0\"}"));
}

static void set_policy(struct guest *guest, const char *on_error)
{
	bench_ok(bench_ask(guest->bench,
			   json_pack("{s:s, s:s, s:s}", "op", "vdev-limits",
				     "name", "vd0", "on_error", on_error),
			   -1));
}

static void assert_halt(struct bench *bench, const char *state, int error)
{
	json_t *message = bench_event(bench, "halt");

	assert_string_equal(
		json_string_value(json_object_get(message, "state")), state);
	assert_string_equal(json_string_value(json_object_get(message, "vdev")),
			    "vd0");
	assert_int_equal(json_integer_value(json_object_get(message, "errno")),
			 error);
	json_decref(message);
}

/* --- As guest ------------------------------------------------------------ */

static int setup(void **state)
{
	struct guest *guest = calloc(1, sizeof(*guest));
	void *bench;

	bench_setup(&bench);
	guest->bench = bench;
	guest->listen_fd = bench_listener(&guest->bench->front, SOCK_STREAM);
	guest->memory_fd = memfd_create("guest", MFD_CLOEXEC);
	assert_int_equal(ftruncate(guest->memory_fd, DEPTH * BLOCK), 0);
	guest->memory = mmap(NULL, DEPTH * BLOCK, PROT_READ | PROT_WRITE,
			     MAP_SHARED, guest->memory_fd, 0);
	assert_true(guest->memory != MAP_FAILED);
	for (unsigned int i = 0; i < DEPTH; i++) {
		struct slot *slot = &guest->slots[i];

		slot->iov = (struct iovec){guest->memory + i * BLOCK, BLOCK};
		slot->request.iov = &slot->iov;
		slot->request.iov_count = 1;
	}
	*state = guest;
	return 0;
}

static int teardown(void **state)
{
	struct guest *guest = *state;
	void *bench = guest->bench;

	vhost_client_destroy(guest->client);
	munmap(guest->memory, DEPTH * BLOCK);
	close(guest->memory_fd);
	close(guest->listen_fd);
	free(guest);
	return bench_teardown(&bench);
}

static void connect_guest(struct guest *guest, bool inflight)
{
	const struct vhost_client_region region = {
		.fd = guest->memory_fd,
		.address = guest->memory,
		.size_bytes = DEPTH * BLOCK,
	};
	const struct vhost_client_config config = {
		.path = guest->bench->front.sun_path,
		.queues = 1,
		.queue_size = 64,
		.event_index = true,
		.indirect = true,
		.no_inflight = !inflight,
		.timeout_ns = UINT64_C(20000000000),
		.regions = &region,
		.region_count = 1,
	};
	struct error why;

	if (vhost_client_create(&config, &guest->client, &why) < 0)
		fail_msg("%s", why.text);
	guest->queue = vhost_client_queue(guest->client, 0);
}

static void submit(struct guest *guest, unsigned int index, uint8_t op,
		   uint64_t offset_bytes)
{
	struct slot *slot = &guest->slots[index];

	slot->request.op = op;
	slot->request.offset_bytes = offset_bytes;
	slot->request.result = 1;
	assert_int_equal(vhost_client_add(guest->queue, &slot->request), 0);
	slot->in_flight = true;
}

/* Each in flight is answered once. */
static unsigned int reap(struct guest *guest)
{
	struct vhost_client_request *done[DEPTH];
	int count = vhost_client_reap(guest->queue, done, DEPTH);

	assert_true(count >= 0);
	for (int i = 0; i < count; i++) {
		struct slot *slot = (struct slot *)done[i];

		assert_true(slot->in_flight);
		slot->in_flight = false;
		guest->answers++;
		guest->failures += slot->request.result != 0;
	}
	return (unsigned int)count;
}

static void submit_all(struct guest *guest)
{
	for (unsigned int i = 0; i < DEPTH; i++)
		submit(guest, i,
		       i % 4 == 1 ? VHOST_CLIENT_READ : VHOST_CLIENT_WRITE,
		       i * BLOCK);
	vhost_client_publish(guest->queue);
}

static void reap_all(struct guest *guest)
{
	while (vhost_client_in_flight(guest->queue) > 0)
		if (reap(guest) == 0)
			sched_yield();
}

/* So many requests, whatever is stopped meanwhile. */
static void work(struct guest *guest, unsigned int requests)
{
	unsigned int submitted = 0;

	while (guest->answers < requests) {
		for (unsigned int i = 0; i < DEPTH && submitted < requests; i++)
			if (!guest->slots[i].in_flight)
				submit(guest, i, VHOST_CLIENT_WRITE,
				       submitted++ * BLOCK % VDEV_BYTES);
		vhost_client_publish(guest->queue);
		if (reap(guest) > 0)
			continue;
		if (stats_get(&vdev_stats(guest)->stopped_errno))
			resume(guest);
		else
			sched_yield();
	}
}

/* --- The tests ----------------------------------------------------------- */

/* It is stopped again and again, and no request of it fails. */
static void test_errors_stop_and_resume(void **state)
{
	struct guest *guest = *state;

	serve(guest, model(SOMETIMES_PPM), "stop", 32 << 20);
	connect_guest(guest, true);
	work(guest, REQUESTS);
	assert_int_equal(guest->failures, 0);
	assert_int_equal(guest->answers, REQUESTS);
	assert_true(stats_get(&vdev_stats(guest)->device_errors) > 0);
	assert_true(stats_get(&guest->bench->stats->devices[0].retries) > 0);
}

static void test_errors_retry(void **state)
{
	struct guest *guest = *state;

	serve(guest, model(SOMETIMES_PPM), "retry", 32 << 20);
	connect_guest(guest, true);
	work(guest, REQUESTS);
	assert_int_equal(guest->failures, 0);
	assert_int_equal(stats_get(&vdev_stats(guest)->retries),
			 stats_get(&vdev_stats(guest)->device_errors));
}

static void test_errors_report(void **state)
{
	struct guest *guest = *state;

	serve(guest, model(SOMETIMES_PPM), "report", 32 << 20);
	connect_guest(guest, true);
	work(guest, REQUESTS);
	assert_true(guest->failures > 0);
	assert_int_equal(stats_get(&vdev_stats(guest)->device_errors),
			 guest->failures);
}

/* The endpoint dies while the vdev is stopped: the next one does what waits,
 * from the inflight region, with the policy that it is told. */
static void test_errors_stopped_when_killed(void **state)
{
	struct guest *guest = *state;
	struct error why;
	bool resized;

	serve(guest, model(ALWAYS_PPM), "stop", 32 << 20);
	connect_guest(guest, true);
	submit_all(guest);
	wait_until_stopped(guest);
	bench_restart(guest->bench);
	serve(guest, model(ALWAYS_PPM), "stop", 32 << 20);
	while (vhost_client_check(guest->client, &resized) == 0)
		sched_yield();
	assert_int_equal(reap(guest), 0);
	assert_int_equal(vhost_client_reconnect(guest->client, &why), 0);
	/* It fails there as well. */
	assert_halt(guest->bench, "stopped", EIO);
	assert_int_equal(reap(guest), 0);
	assert_int_equal(vhost_client_in_flight(guest->queue), DEPTH);

	bench_restart(guest->bench);
	serve(guest, model(0), "stop", 32 << 20);
	while (vhost_client_check(guest->client, &resized) == 0)
		sched_yield();
	assert_int_equal(vhost_client_reconnect(guest->client, &why), 0);
	reap_all(guest);
	assert_int_equal(guest->answers, DEPTH);
	assert_int_equal(guest->failures, 0);
}

/* A penstockd is told of what is stopped, and the next one too. */
static void test_errors_are_told(void **state)
{
	struct guest *guest = *state;
	struct bench *bench = guest->bench;

	serve(guest, model(ALWAYS_PPM), "stop", 32 << 20);
	connect_guest(guest, true);
	submit_all(guest);
	assert_halt(bench, "stopped", EIO);
	close(bench->connection);
	bench->connection = bench_connect(bench);
	bench_ok(bench_ask(
		bench,
		json_pack("{s:s, s:i}", "op", "hello", "version", CTL_VERSION),
		-1));
	assert_halt(bench, "stopped", EIO);
	set_policy(guest, "report");
	reap_all(guest);
	assert_int_equal(guest->failures, DEPTH);
	assert_halt(bench, "running", 0);
	bench_error(
		ask(bench,
		    "{\"op\": \"vdev-limits\", \"name\": \"vd0\", \"on_error\": \"maybe\"}"),
		EINVAL);
	bench_error(ask(bench, "{\"op\": \"vdev-resume\", \"name\": \"vd9\"}"),
		    ENOENT);
}

/* A guest whose rings end is not kept waiting by a vdev that is stopped. */
static void stopped_ring_ends(struct guest *guest, bool inflight)
{
	serve(guest, model(ALWAYS_PPM), "stop", 32 << 20);
	connect_guest(guest, inflight);
	submit_all(guest);
	wait_until_stopped(guest);
	vhost_client_destroy(guest->client);
	guest->client = NULL;
}

static void test_errors_stopped_ring_ends(void **state)
{
	stopped_ring_ends(*state, true);
}

static void test_errors_stopped_ring_without_inflight_ends(void **state)
{
	stopped_ring_ends(*state, false);
}

/* E3: writes that find no space wait, and go on when a discard gives some. */
static void test_errors_no_space_waits(void **state)
{
	struct guest *guest = *state;

	serve(guest, model(0), "stop", 4 << 20);
	connect_guest(guest, true);
	for (unsigned int i = 0; i < 5; i++)
		submit(guest, i, VHOST_CLIENT_WRITE, (uint64_t)i << 20);
	vhost_client_publish(guest->queue);
	assert_halt(guest->bench, "no-space", ENOSPC);
	while (guest->answers < 4)
		reap(guest);
	assert_int_equal(guest->failures, 0);
	guest->slots[5].request.iov_count = 0;
	guest->slots[5].request.length_bytes = 1 << 20;
	submit(guest, 5, VHOST_CLIENT_DISCARD, 0);
	vhost_client_publish(guest->queue);
	reap_all(guest);
	assert_int_equal(guest->answers, 6);
	assert_int_equal(guest->failures, 0);
	assert_halt(guest->bench, "running", 0);
	assert_int_equal(stats_get(&vdev_stats(guest)->no_space), 1);
}

/* A device that stands still is told of, and so is its recovery. */
static void test_errors_stall_is_told(void **state)
{
	struct guest *guest = *state;
	struct bench *bench = guest->bench;
	json_t *message;

	serve(guest,
	      json_pack("{s:i, s:i, s:i, s:i, s:I, s:I}", "servers", 4,
			"read_median_ns", 50000, "write_median_ns", 50000,
			"seed", 3, "stall_every_ns", (json_int_t)2000000000,
			"stall_ns", (json_int_t)1900000000),
	      "report", 32 << 20);
	connect_guest(guest, true);
	while (stats_get(&bench->stats->devices[0].stalled_ns) == 0) {
		if (vhost_client_in_flight(guest->queue) == 0)
			submit_all(guest);
		if (reap(guest) == 0)
			sched_yield();
	}
	message = bench_event(bench, "stall");
	assert_true(json_integer_value(json_object_get(message, "ns")) > 0);
	json_decref(message);
	reap_all(guest);
	message = bench_event(bench, "stall");
	assert_int_equal(json_integer_value(json_object_get(message, "ns")), 0);
	json_decref(message);
}

int main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_errors_stop_and_resume),
		TEST(test_errors_retry),
		TEST(test_errors_report),
		TEST(test_errors_stopped_when_killed),
		TEST(test_errors_are_told),
		TEST(test_errors_stopped_ring_ends),
		TEST(test_errors_stopped_ring_without_inflight_ends),
		TEST(test_errors_no_space_waits),
		TEST(test_errors_stall_is_told),
	};

	if (argc != 2)
		return 2;
	bench_program = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
