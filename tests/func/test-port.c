/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-port.c - a block device that is a vdev of another endpoint (E10, E11):
 * the port in this process, the other endpoint a real one, which is killed
 *
 * The test is penstockd, too: it keeps the socket of the vdev and connects to
 * it whenever the port asks.
 */
#include "endpoint-bench.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/container.h"
#include "os/loop.h"
#include "vhost/port.h"

#define VDEV_BYTES (UINT64_C(8) << 20)
#define BLOCK 4096U
#define DEPTH 32U
#define BLOCKS 64U
#define KILLS 12U
#define PER_LIFE_MAX 400
#define PATIENCE_NS UINT64_C(30000000000)

struct rig {
	struct bench *bench;
	struct loop *loop;
	struct port *port;
	struct block_device *device;
	int listen_fd, memory_fd;
	int result; /* of 'ready'; 1: not yet */
	bool is_wanted;
	struct error error;
	unsigned int done;
};

/* ---- what the port says ---- */

static void ready(void *arg, int result, const struct error *error)
{
	struct rig *rig = arg;

	assert_int_equal(rig->result, 1);
	rig->result = result;
	if (result == 0)
		rig->device = port_device(rig->port);
	else
		rig->error = *error;
}

static void want(void *arg)
{
	((struct rig *)arg)->is_wanted = true;
}

static void report(void *arg, const struct error *error)
{
	((struct rig *)arg)->error = *error;
}

static const struct port_ops ops = {
	.ready = ready,
	.want = want,
	.report = report,
};

/* ---- as penstockd ---- */

static int dial(const struct rig *rig)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd,
				 (const struct sockaddr *)&rig->bench->front,
				 sizeof(rig->bench->front)),
			 0);
	return fd;
}

/* Memory that outlives endpoints, as penstockd's memfd does. */
static void serve(struct rig *rig)
{
	struct bench *bench = rig->bench;

	bench_add_device(bench, "memory", UINT64_C(16) << 20, rig->memory_fd);
	bench_add_pool(bench);
	bench_ok(bench_ask(bench, bench_vdev(), -1));
	bench_ok(bench_ask(bench, bench_process(1), -1));
	bench_ok(bench_listen(bench, rig->listen_fd));
}

static void run_once(struct rig *rig)
{
	assert_true(loop_run_once(rig->loop,
				  loop_clock_ns() + UINT64_C(100000000)) >= 0);
	if (!rig->is_wanted)
		return;
	rig->is_wanted = false;
	if (port_connect(rig->port, dial(rig)) < 0)
		rig->is_wanted = true;
}

static void run_until(struct rig *rig, unsigned int done)
{
	const uint64_t until_ns = loop_clock_ns() + PATIENCE_NS;

	while (rig->done < done) {
		assert_true(loop_clock_ns() < until_ns);
		run_once(rig);
	}
}

static int open_port(struct rig *rig, struct port_config config, int fd)
{
	const uint64_t until_ns = loop_clock_ns() + PATIENCE_NS;
	struct error error;

	config.loop = rig->loop;
	config.vdev = "vd0";
	config.ops = &ops;
	config.arg = rig;
	rig->result = 1;
	assert_int_equal(port_create(&config, fd, &rig->port, &error), 0);
	while (rig->result == 1) {
		assert_true(loop_clock_ns() < until_ns);
		loop_run_once(rig->loop, loop_clock_ns() + 100000000);
	}
	return rig->result;
}

static void rig_begin(struct rig *rig, void **state)
{
	const struct loop_config config = {.entries = 64};
	struct error error;

	*rig = (struct rig){.bench = *state};
	assert_int_equal(loop_create(&config, &rig->loop, &error), 0);
	rig->listen_fd = bench_listener(&rig->bench->front, SOCK_STREAM);
	rig->memory_fd = bench_memory(UINT64_C(16) << 20);
	serve(rig);
}

static void rig_end(struct rig *rig)
{
	block_close(port_device(rig->port));
	loop_destroy(rig->loop);
	close(rig->listen_fd);
	close(rig->memory_fd);
}

/* ---- requests ---- */

struct asked {
	struct block_request block;
	struct iovec iov[2];
	struct rig *rig;
	int result;
};

static void asked_done(struct block_request *block)
{
	struct asked *asked = container_of(block, struct asked, block);

	asked->result = block->result;
	asked->rig->done++;
}

/* Its memory in two parts, the first of 512 bytes. */
static void submit(struct rig *rig, struct asked *asked, enum block_op op,
		   uint64_t offset_bytes, void *memory, uint64_t bytes)
{
	*asked = (struct asked){
		.block =
			{
				.done = asked_done,
				.op = (uint8_t)op,
				.offset_bytes = offset_bytes,
				.length_bytes = bytes,
				.iov = asked->iov,
				.iov_count = 2,
			},
		.rig = rig,
		.result = 1,
	};
	asked->iov[0] = (struct iovec){memory, 512};
	asked->iov[1] = (struct iovec){(char *)memory + 512, bytes - 512};
	block_submit(rig->device, &asked->block);
}

static void ask(struct rig *rig, enum block_op op, uint64_t offset_bytes,
		void *memory, uint64_t bytes)
{
	struct asked asked;

	submit(rig, &asked, op, offset_bytes, memory, bytes);
	run_until(rig, rig->done + 1);
	assert_int_equal(asked.result, 0);
}

static void assert_all(const unsigned char *memory, uint64_t bytes,
		       unsigned char value)
{
	for (uint64_t i = 0; i < bytes; i++)
		assert_int_equal(memory[i], value);
}

/* ---- tests ---- */

static void test_port_is_what_the_vdev_is(void **state)
{
	struct rig rig;

	rig_begin(&rig, state);
	assert_int_equal(open_port(&rig, (struct port_config){0}, dial(&rig)),
			 0);
	assert_int_equal(rig.device->size_bytes, VDEV_BYTES);
	assert_int_equal(rig.device->block_size, 512);
	assert_int_equal(port_connect(rig.port, -1), -EALREADY);
	rig_end(&rig);
}

static void test_port_refuses_what_is_not_so(void **state)
{
	struct rig rig;
	int pair[2];

	rig_begin(&rig, state);
	assert_int_equal(open_port(&rig,
				   (struct port_config){.size_bytes = 16 << 20},
				   dial(&rig)),
			 -ECONNREFUSED);
	assert_non_null(strstr(rig.error.text, "make it larger"));
	block_close(port_device(rig.port));
	/* Somebody who has hung up already. */
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	close(pair[1]);
	assert_int_equal(port_create(&(struct port_config){.loop = rig.loop,
							   .vdev = "vd0",
							   .ops = &ops,
							   .arg = &rig},
				     pair[0], &rig.port, &rig.error),
			 -ECONNRESET);
	assert_int_equal(open_port(&rig, (struct port_config){0}, dial(&rig)),
			 0);
	rig_end(&rig);
}

static void test_port_does_every_kind_of_request(void **state)
{
	const uint64_t bytes = UINT64_C(1) << 20;
	unsigned char *out = malloc(bytes), *in = malloc(bytes);
	struct rig rig;

	rig_begin(&rig, state);
	assert_int_equal(open_port(&rig, (struct port_config){0}, dial(&rig)),
			 0);
	for (uint64_t i = 0; i < bytes; i++)
		out[i] = (unsigned char)(i * 7 >> 3);
	/* In pieces, not on the border of one. */
	ask(&rig, BLOCK_WRITE, 512, out, bytes);
	memset(in, 0xee, bytes);
	ask(&rig, BLOCK_READ, 512, in, bytes);
	assert_memory_equal(in, out, bytes);
	ask(&rig, BLOCK_FLUSH, 0, out, 0);
	ask(&rig, BLOCK_WRITE_ZEROES, 8192, out, 65536);
	ask(&rig, BLOCK_READ, 8192, in, 65536);
	assert_all(in, 65536, 0);
	ask(&rig, BLOCK_DISCARD, 0, out, bytes);
	ask(&rig, BLOCK_READ, 512, in, 4096);
	rig_end(&rig);
	free(out);
	free(in);
}

/* More than there are commands: in their turn. */
static void test_port_takes_more_than_it_has_room_for(void **state)
{
	static struct asked asked[400];
	static unsigned char data[400][BLOCK], back[BLOCK];
	struct rig rig;

	rig_begin(&rig, state);
	assert_int_equal(open_port(&rig, (struct port_config){0}, dial(&rig)),
			 0);
	for (unsigned int i = 0; i < 400; i++) {
		memset(data[i], (int)(i % 251), BLOCK);
		submit(&rig, &asked[i], BLOCK_WRITE, (uint64_t)i * BLOCK,
		       data[i], BLOCK);
	}
	run_until(&rig, 400);
	for (unsigned int i = 0; i < 400; i++) {
		assert_int_equal(asked[i].result, 0);
		ask(&rig, BLOCK_READ, (uint64_t)i * BLOCK, back, BLOCK);
		assert_all(back, BLOCK, (unsigned char)(i % 251));
	}
	rig_end(&rig);
}

struct slot {
	struct asked asked;
	unsigned char data[BLOCK];
	uint32_t block, version;
	bool in_flight;
};

static void begin_slot(struct rig *rig, struct slot *slot, bool *busy,
		       const uint32_t *versions)
{
	do
		slot->block = (uint32_t)random() % BLOCKS;
	while (busy[slot->block]);
	busy[slot->block] = true;
	slot->in_flight = true;
	slot->version = versions[slot->block] + 1;
	for (unsigned int i = 0; i < BLOCK; i += 4)
		memcpy(slot->data + i, &slot->version, 4);
	submit(rig, &slot->asked, BLOCK_WRITE, (uint64_t)slot->block * BLOCK,
	       slot->data, BLOCK);
}

static void load(struct rig *rig, struct slot *slots, uint32_t *versions,
		 bool *busy, unsigned int count)
{
	unsigned int begun = 0, ended = 0;
	const uint64_t until_ns = loop_clock_ns() + PATIENCE_NS;

	while (ended < count) {
		for (unsigned int i = 0; i < DEPTH; i++) {
			struct slot *slot = &slots[i];

			if (slot->in_flight && slot->asked.result != 1) {
				assert_int_equal(slot->asked.result, 0);
				versions[slot->block] = slot->version;
				busy[slot->block] = slot->in_flight = false;
				ended++;
			}
			if (!slot->in_flight && begun < count + DEPTH) {
				begin_slot(rig, slot, busy, versions);
				begun++;
			}
		}
		assert_true(loop_clock_ns() < until_ns);
		run_once(rig);
	}
}

/* Its endpoint is killed under load, again and again: each request ends well,
 * once, and what was written last is there. */
static void test_port_outlives_the_other_endpoint(void **state)
{
	static struct slot slots[DEPTH];
	static unsigned char back[BLOCK];
	uint32_t versions[BLOCKS] = {0};
	bool busy[BLOCKS] = {false};
	struct port_status status;
	struct rig rig;

	rig_begin(&rig, state);
	assert_int_equal(open_port(&rig, (struct port_config){0}, dial(&rig)),
			 0);
	for (unsigned int kill = 0; kill < KILLS; kill++) {
		load(&rig, slots, versions, busy,
		     (unsigned int)(random() % PER_LIFE_MAX) + 1);
		bench_restart(rig.bench);
		serve(&rig);
	}
	load(&rig, slots, versions, busy, 100);
	for (unsigned int i = 0; i < DEPTH; i++)
		while (slots[i].in_flight && slots[i].asked.result == 1)
			run_once(&rig);
	for (unsigned int i = 0; i < DEPTH; i++)
		if (slots[i].in_flight)
			versions[slots[i].block] = slots[i].version;
	for (unsigned int i = 0; i < BLOCKS; i++) {
		uint32_t version;

		ask(&rig, BLOCK_READ, (uint64_t)i * BLOCK, back, BLOCK);
		memcpy(&version, back, 4);
		assert_int_equal(version, versions[i]);
	}
	port_status(rig.port, &status);
	assert_int_equal(status.connects, KILLS + 1);
	assert_int_equal(status.lost, KILLS);
	rig_end(&rig);
}

int main(int argc, char **argv)
{
#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_port_is_what_the_vdev_is),
		TEST(test_port_refuses_what_is_not_so),
		TEST(test_port_does_every_kind_of_request),
		TEST(test_port_takes_more_than_it_has_room_for),
		TEST(test_port_outlives_the_other_endpoint),
	};

	if (argc < 2)
		return 77;
	bench_program = argv[1];
	srandom(7);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
