/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-endpoint-killed.c - an endpoint killed under load, many times, at random
 * instants: every request in flight is done, once, and nothing that was done
 * before is undone
 *
 * The test is penstockd and guest in one.  As penstockd it keeps the sockets
 * and hands over the backing file when its lock is free.  As guest it has 16
 * requests in flight, at most one for each block; a block's content says
 * which write it is of.  A write that was done twice, and late, would put an
 * old content over a newer one; each read, and those by another endpoint at the
 * end, must show the newest.
 *
 * The blocks lie far apart, in many extents, whose mappings are found again too
 * (E2).
 */
#include "endpoint-bench.h"

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include <cmocka.h>

#define KILLS		30U
#define PER_LIFE_MAX	1500	/* requests, at most, between two kills */
#define DEPTH		16U
#define BLOCKS		192U	/* few, so that they are written often */
#define BLOCK		4096U
#define DEVICE_BYTES	(UINT64_C(96) << 20)	/* with its metadata */
#define VOLUME_BYTES	(UINT64_C(64) << 20)

struct slot {
	struct vhost_client_request request;
	struct iovec iov;
	uint32_t block, version;
	bool in_flight;
};

struct guest {
	struct bench_guest at;
	char file[64];
	struct slot slots[DEPTH];
	uint32_t versions[BLOCKS];	/* of the last write that was done */
	bool busy[BLOCKS];
	unsigned int completions;
};

/* --- As penstockd -------------------------------------------------------- */

/* The lock is had when the last request of the dead one has landed. */
static void hand_over(struct guest *guest)
{
	struct bench *bench = guest->at.bench;
	json_t *vdev = bench_vdev();
	int fd = open(guest->file, O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	bench_add_device(bench, "file", DEVICE_BYTES, fd);
	close(fd);
	bench_add_pool(bench);
	json_object_set_new(vdev, "size_bytes",
			    json_integer((json_int_t)VOLUME_BYTES));
	bench_ok(bench_ask(bench, vdev, -1));
	bench_ok(bench_ask(bench, bench_process(1), -1));
	bench_ok(bench_listen(bench, guest->at.listen_fd));
}

/* --- As guest ------------------------------------------------------------ */

static void fill(struct slot *slot, uint32_t version)
{
	uint32_t *words = slot->iov.iov_base;
	unsigned int i;

	for (i = 0; i < BLOCK / 4; i += 2) {
		words[i] = slot->block;
		words[i + 1] = version;
	}
}

static void check(const uint32_t *words, uint32_t block, uint32_t version)
{
	unsigned int i;

	for (i = 0; i < BLOCK / 4; i += 2)
		if (words[i + 1] != version || (version && words[i] != block))
			fail_msg("block %u has write %u of block %u, not %u",
				 block, words[i + 1], words[i], version);
}

/* Each third block is in another extent. */
static uint64_t offset_of(uint32_t block)
{
	return (uint64_t)block * (VOLUME_BYTES / BLOCKS / BLOCK * BLOCK);
}

static void submit(struct guest *guest, struct slot *slot)
{
	do
		slot->block = (uint32_t)random() % BLOCKS;
	while (guest->busy[slot->block]);
	slot->version = guest->versions[slot->block];
	slot->request.op = VHOST_CLIENT_READ;
	if (random() % 4) {
		slot->request.op = VHOST_CLIENT_WRITE;
		slot->version++;
		fill(slot, slot->version);
	} else {
		fill(slot, UINT32_MAX);
	}
	slot->request.offset_bytes = offset_of(slot->block);
	slot->request.result = 1;
	assert_int_equal(vhost_client_add(guest->at.queue, &slot->request), 0);
	slot->in_flight = true;
	guest->busy[slot->block] = true;
}

static void complete(struct guest *guest, struct slot *slot)
{
	assert_true(slot->in_flight);	/* once */
	assert_int_equal(slot->request.result, 0);
	if (slot->request.op == VHOST_CLIENT_READ)
		check(slot->iov.iov_base, slot->block, slot->version);
	guest->versions[slot->block] = slot->version;
	guest->busy[slot->block] = false;
	slot->in_flight = false;
	guest->completions++;
}

static unsigned int reap(struct guest *guest)
{
	struct vhost_client_request *done[DEPTH];
	int count = vhost_client_reap(guest->at.queue, done, DEPTH);
	int i;

	assert_true(count >= 0);
	for (i = 0; i < count; i++)
		complete(guest, (struct slot *)done[i]);
	return (unsigned int)count;
}

/* Load until so many requests were done. */
static void work(struct guest *guest, unsigned int requests)
{
	const unsigned int until = guest->completions + requests;
	unsigned int i;

	while (guest->completions < until) {
		for (i = 0; i < DEPTH; i++)
			if (!guest->slots[i].in_flight)
				submit(guest, &guest->slots[i]);
		vhost_client_publish(guest->at.queue);
		if (reap(guest) == 0)
			sched_yield();
	}
}

static void reconnect(struct guest *guest)
{
	bool resized;

	while (vhost_client_check(guest->at.client, &resized) == 0)
		sched_yield();
	while (reap(guest) > 0)
		;
	bench_guest_reconnect(&guest->at);
}

static void finish(struct guest *guest)
{
	while (vhost_client_in_flight(guest->at.queue) > 0)
		if (reap(guest) == 0)
			sched_yield();
}

/* --- The test ------------------------------------------------------------ */

static void make_guest(struct guest *guest, struct bench *bench)
{
	int fd;

	bench_guest_create(&guest->at, bench, DEPTH * BLOCK);
	snprintf(guest->file, sizeof(guest->file), "%s/disk", bench->directory);
	fd = open(guest->file, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, DEVICE_BYTES), 0);
	close(fd);
	for (unsigned int i = 0; i < DEPTH; i++) {
		struct slot *slot = &guest->slots[i];

		slot->iov = (struct iovec){guest->at.memory + i * BLOCK, BLOCK};
		slot->request.iov = &slot->iov;
		slot->request.iov_count = 1;
	}
}

static void connect_guest(struct guest *guest)
{
	struct vhost_client_info info;

	bench_guest_connect(&guest->at,
			    (struct vhost_client_config){
				    .queue_size = 64,
				    .event_index = true,
				    .indirect = true,
			    });
	vhost_client_info(guest->at.client, &info);
	assert_true(info.inflight);
}

/* Every block once more, through one that has found everything in the file. */
static void check_all(struct guest *guest)
{
	bench_restart(guest->at.bench);
	hand_over(guest);
	connect_guest(guest);
	for (uint32_t i = 0; i < BLOCKS; i++) {
		struct slot *slot = &guest->slots[i % DEPTH];

		slot->block = i;
		slot->version = guest->versions[i];
		slot->request.op = VHOST_CLIENT_READ;
		slot->request.offset_bytes = offset_of(i);
		slot->in_flight = true;
		assert_int_equal(
			vhost_client_add(guest->at.queue, &slot->request), 0);
		vhost_client_publish(guest->at.queue);
		finish(guest);
	}
}

static void test_killed_under_load_does_each_once(void **state)
{
	struct guest *guest = calloc(1, sizeof(*guest));

	srandom(7);
	make_guest(guest, *state);
	hand_over(guest);
	connect_guest(guest);
	for (unsigned int i = 0; i < KILLS; i++) {
		work(guest, (unsigned int)random() % PER_LIFE_MAX);
		bench_restart(guest->at.bench);
		hand_over(guest);
		reconnect(guest);
	}
	work(guest, PER_LIFE_MAX);
	finish(guest);
	bench_guest_disconnect(&guest->at);
	check_all(guest);
	bench_guest_destroy(&guest->at);
	unlink(guest->file);
	free(guest);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_killed_under_load_does_each_once, bench_setup,
			bench_teardown),
	};

	if (argc != 2)
		return 2;
	bench_program = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
