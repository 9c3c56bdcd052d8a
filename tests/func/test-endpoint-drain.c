/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-endpoint-drain.c - the real penstock-endpoint: who ends does not wait
 * for limits (E8, E15)
 *
 * A guest has 128 writes before a limit of one a second, or of one byte a
 * second.  Stopping its ring, its death, and the ordered end of its server must
 * not take the minutes or days that the limit would make of it: a test that
 * waits for them is ended.  And no request is lost, done twice, or done before
 * another that came earlier.
 */
#include "endpoint-bench.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctl/ctl.h"
#include "vhost/client.h"

#define BLOCK		512U
#define DEPTH		128U
#define BUFFERS_BYTES	(DEPTH * BLOCK)
#define DEVICE_BYTES	(16 << 20)
#define EXTENT_BYTES	(1 << 20)

struct limited {
	struct sched_params process;
	struct sched_limits vdev;
};

static const struct limited unlimited;
static const struct limited one_request = {
	.process.limit_per_s[SCHED_TOTAL_IOPS] = 1,
};
/* One request passes; reads do. */
static const struct limited one_byte = {
	.process.limit_per_s[SCHED_WRITE_BYTES] = 1,
};
static const struct limited one_byte_of_vdev = {
	.vdev.limit_per_s[SCHED_WRITE_BYTES] = 1,
};

/* Our memory and the device's outlive every endpoint. */
struct guest {
	struct bench_guest at;
	int device_fd;
	struct iovec iov[DEPTH];
	struct vhost_client_request requests[DEPTH];
	unsigned int done;
};

static void guest_create(struct guest *guest, struct bench *bench)
{
	memset(guest, 0, sizeof(*guest));
	bench_guest_create(&guest->at, bench, BUFFERS_BYTES);
	guest->device_fd = bench_memory(DEVICE_BYTES);
}

static void guest_destroy(struct guest *guest)
{
	bench_guest_destroy(&guest->at);
	close(guest->device_fd);
}

/* Tell an endpoint all. */
static void tell(struct guest *guest, const struct limited *limited)
{
	struct bench *bench = guest->at.bench;
	json_t *vdev = bench_vdev(), *process = bench_process(1);

	json_object_set_new(vdev, "limits",
			    ctl_from_sched_limits(&limited->vdev));
	json_object_set_new(process, "params",
			    ctl_from_sched_params(&limited->process));
	bench_add_device(bench, "memory", DEVICE_BYTES, guest->device_fd);
	bench_add_pool(bench);
	bench_ok(bench_ask(bench, vdev, -1));
	bench_ok(bench_ask(bench, process, -1));
	bench_ok(bench_listen(bench, guest->at.listen_fd));
}

static void unlimit(struct guest *guest)
{
	json_t *update = bench_process(1);

	json_object_set_new(update, "op", json_string("process-update"));
	json_object_set_new(update, "params",
			    ctl_from_sched_params(&unlimited.process));
	bench_ok(bench_ask(guest->at.bench, update, -1));
}

static void connect_guest(struct guest *guest, bool inflight)
{
	bench_guest_connect(&guest->at,
			    (struct vhost_client_config){
				    .queue_size = DEPTH,
				    .indirect = true,
				    .no_inflight = !inflight,
			    });
}

static uint64_t taken(struct guest *guest)
{
	const struct stats_process *stats =
		&guest->at.bench->stats->processes[1];

	return stats_get(&stats->throttled) +
		stats_get(&stats->direction[SCHED_WRITE].requests);
}

static uint64_t written(struct guest *guest)
{
	return stats_get(&guest->at.bench->stats->processes[1]
				  .direction[SCHED_WRITE]
				  .requests);
}

/* All write the same block, each something else; returns when the endpoint has
 * them. */
static void begin_writes(struct guest *guest)
{
	for (unsigned int i = 0; i < DEPTH; i++) {
		memset(guest->at.memory + i * BLOCK, (int)i + 1, BLOCK);
		guest->iov[i] = (struct iovec){
			.iov_base = guest->at.memory + i * BLOCK,
			.iov_len = BLOCK,
		};
		guest->requests[i] = (struct vhost_client_request){
			.iov = &guest->iov[i],
			.iov_count = 1,
			.op = VHOST_CLIENT_WRITE,
			.result = 1,
		};
		assert_int_equal(
			vhost_client_add(guest->at.queue, &guest->requests[i]),
			0);
	}
	vhost_client_publish(guest->at.queue);
	while (taken(guest) < DEPTH)
		;
}

/* What has ended so far, in its order. */
static void reap(struct guest *guest)
{
	struct vhost_client_request *done[DEPTH];
	int count = vhost_client_reap(guest->at.queue, done, DEPTH);

	assert_true(count >= 0);
	for (int i = 0; i < count; i++) {
		assert_ptr_equal(done[i], &guest->requests[guest->done]);
		assert_int_equal(done[i]->result, 0);
		guest->done++;
	}
}

static void reap_all(struct guest *guest)
{
	while (guest->done < DEPTH)
		reap(guest);
}

static void wait_until_closed(struct guest *guest)
{
	bool resized;

	while (vhost_client_check(guest->at.client, &resized) == 0)
		;
	reap(guest);
}

/* What the block is filled with, at the start of the one extent that there is;
 * metadata are not all the same. */
static unsigned char on_disk(struct guest *guest)
{
	unsigned char block[BLOCK];

	for (off_t at = EXTENT_BYTES; at < DEVICE_BYTES; at += EXTENT_BYTES) {
		assert_int_equal(pread(guest->device_fd, block, BLOCK, at),
				 BLOCK);
		if (block[0] && !memcmp(block, block + 1, BLOCK - 1))
			return block[0];
	}
	return 0;
}

/* Each once, the last of them last. */
static void check_disk(struct guest *guest)
{
	while (written(guest) < DEPTH)
		;
	assert_int_equal(written(guest), DEPTH);
	assert_int_equal(on_disk(guest), DEPTH);
}

/* The endpoint is told to end and does. */
static void drain(struct guest *guest)
{
	struct bench *bench = guest->at.bench;

	bench_ok(bench_ask(bench, json_pack("{s:s}", "op", "drain"), -1));
	assert_int_equal(waitpid(bench->pid, NULL, 0), bench->pid);
	bench->pid = 0;
}

/* --- GET_VRING_BASE ------------------------------------------------------ */

/* All is done at once, and paid for afterwards. */
static void check_stop(struct bench *bench, const struct limited *limited,
		       bool inflight)
{
	struct guest guest;
	uint64_t before;

	guest_create(&guest, bench);
	tell(&guest, limited);
	connect_guest(&guest, inflight);
	begin_writes(&guest);
	bench_guest_disconnect(&guest.at);
	check_disk(&guest);

	connect_guest(&guest, inflight);
	before = stats_get(&bench->stats->processes[1].throttled);
	bench_guest_begin(&guest.at, &guest.requests[0]);
	while (stats_get(&bench->stats->processes[1].throttled) == before)
		;
	assert_int_equal(written(&guest), DEPTH);
	guest_destroy(&guest);
}

static void test_drain_stop_waits_for_no_limit(void **state)
{
	check_stop(*state, &one_request, true);
}

static void test_drain_stop_without_inflight_waits_for_no_limit(void **state)
{
	check_stop(*state, &one_byte, false);
}

static void test_drain_stop_waits_for_no_limit_of_the_vdev(void **state)
{
	check_stop(*state, &one_byte_of_vdev, true);
}

/* --- A guest that dies --------------------------------------------------- */

static void check_death(struct bench *bench, bool inflight)
{
	struct guest guest;
	pid_t child;

	guest_create(&guest, bench);
	tell(&guest, &one_byte);
	child = fork();
	if (child == 0) {
		connect_guest(&guest, inflight);
		begin_writes(&guest);
		pause();
		_exit(0);
	}
	while (taken(&guest) < DEPTH)
		;
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	/* The next one is served, not the dead one's requests. */
	connect_guest(&guest, inflight);
	guest.iov[0] = (struct iovec){guest.at.memory, BLOCK};
	guest.requests[0] = (struct vhost_client_request){
		.iov = guest.iov,
		.iov_count = 1,
	};
	bench_guest_begin(&guest.at, &guest.requests[0]);
	bench_guest_end(&guest.at, &guest.requests[0]);
	assert_int_equal(written(&guest), 1);
	guest_destroy(&guest);
}

static void test_drain_next_guest_waits_for_no_dead_one(void **state)
{
	check_death(*state, true);
}

static void test_drain_no_dead_one_without_inflight_either(void **state)
{
	check_death(*state, false);
}

/* The connection is lost, the guest lives: the next session does what was
 * left, or (without the region) is asked for it again. */
static void check_reconnect(struct bench *bench, bool inflight)
{
	struct guest guest;

	guest_create(&guest, bench);
	tell(&guest, &one_byte);
	connect_guest(&guest, inflight);
	begin_writes(&guest);
	while (guest.done == 0)
		reap(&guest);
	bench_guest_reconnect(&guest.at);
	/* What waited waits again, in the session that follows. */
	while (stats_get(&bench->stats->processes[1].throttled) <
	       2 * (DEPTH - 1))
		;
	assert_int_equal(written(&guest), 1);
	unlimit(&guest);
	reap_all(&guest);
	check_disk(&guest);
	guest_destroy(&guest);
}

static void test_drain_reconnect_loses_nothing(void **state)
{
	check_reconnect(*state, true);
}

static void test_drain_reconnect_without_inflight_loses_nothing(void **state)
{
	check_reconnect(*state, false);
}

/* --- The ordered end ----------------------------------------------------- */

/* What waits is left to the next endpoint, which has another limit. */
static void test_drain_end_leaves_what_waits_to_the_next(void **state)
{
	struct bench *bench = *state;
	struct guest guest;

	guest_create(&guest, bench);
	tell(&guest, &one_byte);
	connect_guest(&guest, true);
	begin_writes(&guest);
	drain(&guest);
	wait_until_closed(&guest);
	assert_int_equal(guest.done, 1);
	bench_restart(bench);
	tell(&guest, &unlimited);
	bench_guest_reconnect(&guest.at);
	reap_all(&guest);
	check_disk(&guest);
	guest_destroy(&guest);
}

/* Nobody could ask for it again: it is done before the end. */
static void test_drain_end_without_inflight_lets_go(void **state)
{
	struct bench *bench = *state;
	struct guest guest;

	guest_create(&guest, bench);
	tell(&guest, &one_byte);
	connect_guest(&guest, false);
	begin_writes(&guest);
	drain(&guest);
	wait_until_closed(&guest);
	assert_int_equal(guest.done, DEPTH);
	check_disk(&guest);
	guest_destroy(&guest);
}

/* A way in that is closed: what waits is left to who listens next. */
static void test_drain_unlisten_waits_for_no_limit(void **state)
{
	struct bench *bench = *state;
	struct guest guest;

	guest_create(&guest, bench);
	tell(&guest, &one_byte_of_vdev);
	connect_guest(&guest, true);
	begin_writes(&guest);
	bench_ok(bench_ask(bench,
			   json_pack("{s:s, s:s, s:s}", "op", "unlisten",
				     "kind", "vhost-user", "vdev", "vd0"),
			   -1));
	wait_until_closed(&guest);
	assert_int_equal(guest.done, 1);
	bench_ok(bench_ask(bench,
			   json_pack("{s:s, s:s, s:{}}", "op", "vdev-limits",
				     "name", "vd0", "limits"),
			   -1));
	bench_ok(bench_listen(bench, guest.at.listen_fd));
	bench_guest_reconnect(&guest.at);
	reap_all(&guest);
	check_disk(&guest);
	guest_destroy(&guest);
}

int main(int argc, char **argv)
{
#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_drain_stop_waits_for_no_limit),
		TEST(test_drain_stop_without_inflight_waits_for_no_limit),
		TEST(test_drain_stop_waits_for_no_limit_of_the_vdev),
		TEST(test_drain_next_guest_waits_for_no_dead_one),
		TEST(test_drain_no_dead_one_without_inflight_either),
		TEST(test_drain_reconnect_loses_nothing),
		TEST(test_drain_reconnect_without_inflight_loses_nothing),
		TEST(test_drain_end_leaves_what_waits_to_the_next),
		TEST(test_drain_end_without_inflight_lets_go),
		TEST(test_drain_unlisten_waits_for_no_limit),
	};

	if (argc != 2)
		return 2;
	bench_program = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
