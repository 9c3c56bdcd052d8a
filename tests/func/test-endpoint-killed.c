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
 * old content over a newer one; each read, and the file itself at the end,
 * must show the newest.
 *
 * The same on a volume of a pool, whose blocks lie far apart: its mappings are
 * found again too (E2).  What it holds is read through another endpoint.
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
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctl/ctl.h"
#include "vhost/client.h"

#define KILLS		30U
#define PER_LIFE_MAX	1500	/* requests, at most, between two kills */
#define DEPTH		16U
#define BLOCKS		192U	/* few, so that they are written often */
#define BLOCK		4096U
#define DEVICE_BYTES	(16 << 20)
#define POOL_BYTES	(UINT64_C(96) << 20)	/* with its metadata */
#define VOLUME_BYTES	(UINT64_C(64) << 20)
#define VDEV_AT		(1 << 20)
#define TIMEOUT_NS	UINT64_C(20000000000)

struct slot {
	struct vhost_client_request request;
	struct iovec iov;
	uint32_t block, version;
	bool in_flight;
};

struct guest {
	struct bench *bench;
	char file[64];
	int listen_fd, memory_fd;
	char *memory;
	struct vhost_client *client;
	struct vhost_client_queue *queue;
	struct slot slots[DEPTH];
	uint32_t versions[BLOCKS];	/* of the last write that was done */
	bool busy[BLOCKS];
	unsigned int completions;
	bool is_volume;
};

/* --- As penstockd -------------------------------------------------------- */

static void add_volume(struct bench *bench)
{
	static const char *const asked[] = {
		"{\"op\": \"pool-add\", \"name\": \"p\"}",
		"{\"op\": \"member-add\", \"pool\": \"p\", \"device\": \"m0\", \"uuid\": \"00000000000000000000000000000001\", \"claim\": true, \"zeroed\": true}",
		"{\"op\": \"pool-start\", \"pool\": \"p\"}",
	};

	for (unsigned int i = 0; i < sizeof(asked) / sizeof(*asked); i++)
		bench_ok(bench_ask(bench, json_loads(asked[i], 0, NULL), -1));
	bench_ok(bench_ask(bench,
			   json_pack("{s:s, s:s, s:s, s:s, s:I, s:i}", "op",
				     "vdev-add", "name", "vd0", "pool", "p",
				     "uuid", "00000000000000000000000000000002",
				     "size_bytes", (json_int_t)VOLUME_BYTES,
				     "slot", 0),
			   -1));
}

/* The lock is had when the last request of the dead one has landed. */
static void hand_over(struct guest *guest)
{
	struct bench *bench = guest->bench;
	const uint64_t size = guest->is_volume ? POOL_BYTES : DEVICE_BYTES;
	int fd = open(guest->file, O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	bench_ok(bench_ask(bench,
			   json_pack("{s:s, s:s, s:s, s:I, s:i}", "op",
				     "device-add", "name", "m0", "kind", "file",
				     "size_bytes", (json_int_t)size, "slot", 0),
			   fd));
	close(fd);
	if (guest->is_volume)
		add_volume(bench);
	else
		bench_ok(bench_ask(bench, bench_vdev(), -1));
	bench_ok(bench_ask(bench, bench_process(1), -1));
	bench_ok(bench_ask(
		bench, json_pack("{s:s, s:s}", "op", "listen", "vdev", "vd0"),
		guest->listen_fd));
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

/* Of a volume each third block is in another extent. */
static uint64_t offset_of(const struct guest *guest, uint32_t block)
{
	return (uint64_t)block *
		(guest->is_volume ? VOLUME_BYTES / BLOCKS / BLOCK * BLOCK :
				    BLOCK);
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
	slot->request.offset_bytes = offset_of(guest, slot->block);
	slot->request.result = 1;
	assert_int_equal(vhost_client_add(guest->queue, &slot->request), 0);
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
	int count = vhost_client_reap(guest->queue, done, DEPTH);
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
		vhost_client_publish(guest->queue);
		if (reap(guest) == 0)
			sched_yield();
	}
}

static void reconnect(struct guest *guest)
{
	struct error why;
	bool resized;

	while (vhost_client_check(guest->client, &resized) == 0)
		sched_yield();
	while (reap(guest) > 0)
		;
	if (vhost_client_reconnect(guest->client, &why) < 0)
		fail_msg("%s", why.text);
}

static void finish(struct guest *guest)
{
	while (vhost_client_in_flight(guest->queue) > 0)
		if (reap(guest) == 0)
			sched_yield();
}

/* --- The test ------------------------------------------------------------ */

static void make_guest(struct guest *guest)
{
	unsigned int i;
	int fd;

	snprintf(guest->file, sizeof(guest->file), "%s/disk",
		 guest->bench->directory);
	fd = open(guest->file, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(
		ftruncate(fd, guest->is_volume ? POOL_BYTES : DEVICE_BYTES), 0);
	close(fd);
	guest->listen_fd = bench_listener(&guest->bench->front, SOCK_STREAM);
	guest->memory_fd = memfd_create("guest", MFD_CLOEXEC);
	assert_int_equal(ftruncate(guest->memory_fd, DEPTH * BLOCK), 0);
	guest->memory = mmap(NULL, DEPTH * BLOCK, PROT_READ | PROT_WRITE,
			     MAP_SHARED, guest->memory_fd, 0);
	assert_true(guest->memory != MAP_FAILED);
	for (i = 0; i < DEPTH; i++) {
		struct slot *slot = &guest->slots[i];

		slot->iov = (struct iovec){guest->memory + i * BLOCK, BLOCK};
		slot->request.iov = &slot->iov;
		slot->request.iov_count = 1;
	}
}

static void connect_guest(struct guest *guest)
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
		.timeout_ns = TIMEOUT_NS,
		.regions = &region,
		.region_count = 1,
	};
	struct vhost_client_info info;
	struct error why;

	if (vhost_client_create(&config, &guest->client, &why) < 0)
		fail_msg("%s", why.text);
	vhost_client_info(guest->client, &info);
	assert_true(info.inflight);
	guest->queue = vhost_client_queue(guest->client, 0);
}

static void check_file(struct guest *guest)
{
	static uint32_t words[BLOCK / 4];
	int fd = open(guest->file, O_RDONLY | O_CLOEXEC);
	uint32_t i;

	assert_true(fd >= 0);
	for (i = 0; i < BLOCKS; i++) {
		assert_int_equal(
			pread(fd, words, BLOCK, VDEV_AT + (off_t)i * BLOCK),
			BLOCK);
		check(words, i, guest->versions[i]);
	}
	close(fd);
	unlink(guest->file);
}

/* Every block once more, through one that has found everything in the file. */
static void check_volume(struct guest *guest)
{
	bench_restart(guest->bench);
	hand_over(guest);
	connect_guest(guest);
	for (uint32_t i = 0; i < BLOCKS; i++) {
		struct slot *slot = &guest->slots[i % DEPTH];

		slot->block = i;
		slot->version = guest->versions[i];
		slot->request.op = VHOST_CLIENT_READ;
		slot->request.offset_bytes = offset_of(guest, i);
		slot->in_flight = true;
		assert_int_equal(vhost_client_add(guest->queue, &slot->request),
				 0);
		vhost_client_publish(guest->queue);
		finish(guest);
	}
	vhost_client_destroy(guest->client);
	unlink(guest->file);
}

static void killed_under_load(struct bench *bench, bool is_volume)
{
	struct guest *guest = calloc(1, sizeof(*guest));
	unsigned int i;

	guest->bench = bench;
	guest->is_volume = is_volume;
	srandom(7);
	make_guest(guest);
	hand_over(guest);
	connect_guest(guest);
	for (i = 0; i < KILLS; i++) {
		work(guest, (unsigned int)random() % PER_LIFE_MAX);
		bench_restart(guest->bench);
		hand_over(guest);
		reconnect(guest);
	}
	work(guest, PER_LIFE_MAX);
	finish(guest);
	vhost_client_destroy(guest->client);
	if (is_volume)
		check_volume(guest);
	else
		check_file(guest);
	munmap(guest->memory, DEPTH * BLOCK);
	close(guest->memory_fd);
	close(guest->listen_fd);
	free(guest);
}

static void test_killed_under_load_does_each_once(void **state)
{
	killed_under_load(*state, false);
}

static void test_killed_under_load_on_a_volume(void **state)
{
	killed_under_load(*state, true);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_killed_under_load_does_each_once, bench_setup,
			bench_teardown),
		cmocka_unit_test_setup_teardown(
			test_killed_under_load_on_a_volume, bench_setup,
			bench_teardown),
	};

	if (argc != 2)
		return 2;
	bench_program = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
