/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-endpoint-pieces.c - the real penstock-endpoint: a process is released
 * while a request of it, large enough to go to the vdev in pieces, is between
 * two of them (E12)
 */
#include "endpoint-bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "vhost/client.h"

#define SIZE_BYTES	(UINT64_C(128) << 20)
#define BUFFER_BYTES	(UINT64_C(1) << 20)
#define SEGMENTS	120U
#define ATTEMPTS	200U

/* One read of 120 MiB, always into the same. */
struct reader {
	int memory_fd, listen_fd;
	void *memory;
	struct iovec iov[SEGMENTS];
	struct vhost_client_request request;
	struct vhost_client *client;
	struct vhost_client_queue *queue;
};

static void reader_create(struct reader *reader, struct bench *bench)
{
	struct vhost_client_region region = {.size_bytes = BUFFER_BYTES};
	const struct vhost_client_config config = {
		.path = bench->front.sun_path,
		.queues = 1,
		.queue_size = 128,
		.indirect = true,
		.timeout_ns = UINT64_C(20000000000),
		.regions = &region,
		.region_count = 1,
	};
	struct error why;

	reader->listen_fd = bench_listener(&bench->front, SOCK_STREAM);
	bench_ok(bench_ask(
		bench, json_pack("{s:s, s:s}", "op", "listen", "vdev", "vd0"),
		reader->listen_fd));
	reader->memory_fd = memfd_create("guest", MFD_CLOEXEC);
	assert_int_equal(ftruncate(reader->memory_fd, (off_t)BUFFER_BYTES), 0);
	reader->memory = mmap(NULL, BUFFER_BYTES, PROT_READ | PROT_WRITE,
			      MAP_SHARED, reader->memory_fd, 0);
	assert_true(reader->memory != MAP_FAILED);
	region.fd = reader->memory_fd;
	region.address = reader->memory;
	if (vhost_client_create(&config, &reader->client, &why) < 0)
		fail_msg("%s", why.text);
	reader->queue = vhost_client_queue(reader->client, 0);
	for (unsigned int i = 0; i < SEGMENTS; i++)
		reader->iov[i] = (struct iovec){reader->memory, BUFFER_BYTES};
}

static void reader_destroy(struct reader *reader)
{
	vhost_client_destroy(reader->client);
	munmap(reader->memory, BUFFER_BYTES);
	close(reader->memory_fd);
	close(reader->listen_fd);
}

static void reader_begin(struct reader *reader)
{
	reader->request = (struct vhost_client_request){
		.iov = reader->iov,
		.iov_count = SEGMENTS,
		.op = VHOST_CLIENT_READ,
		.result = 1,
	};
	assert_int_equal(vhost_client_add(reader->queue, &reader->request), 0);
	vhost_client_publish(reader->queue);
}

static void reader_end(struct reader *reader)
{
	struct vhost_client_request *done[1];
	bool resized;

	while (vhost_client_reap(reader->queue, done, 1) == 0)
		assert_int_equal(vhost_client_check(reader->client, &resized),
				 0);
	assert_int_equal(reader->request.result, 0);
}

static uint64_t read_bytes(struct bench *bench, unsigned int slot)
{
	return stats_get(&bench->stats->processes[slot].direction[0].bytes);
}

static void add_vdev(struct bench *bench)
{
	json_t *vdev = bench_vdev();
	int fd = memfd_create("m0", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, (off_t)SIZE_BYTES), 0);
	bench_ok(bench_ask(bench,
			   json_pack("{s:s, s:s, s:s, s:I, s:i}", "op",
				     "device-add", "name", "m0", "kind",
				     "memory", "size_bytes",
				     (json_int_t)SIZE_BYTES, "slot", 0),
			   fd));
	close(fd);
	json_object_set_new(vdev, "offset_bytes", json_integer(0));
	json_object_set_new(vdev, "size_bytes",
			    json_integer((json_int_t)SIZE_BYTES));
	bench_ok(bench_ask(bench, vdev, -1));
}

/* Its next piece is the default process's. */
static void test_pieces_outlive_their_process(void **state)
{
	struct bench *bench = *state;
	struct reader reader = {0};
	unsigned int attempt = 0;

	add_vdev(bench);
	reader_create(&reader, bench);
	/* Until a release fell between the first piece and the last. */
	while (read_bytes(bench, 0) == 0) {
		uint64_t before;

		if (attempt++ == ATTEMPTS)
			fail_msg("no piece went to the default process");
		bench_ok(bench_ask(bench, bench_process(1), -1));
		before = read_bytes(bench, 1);
		reader_begin(&reader);
		while (read_bytes(bench, 1) == before)
			;
		bench_ok(bench_ask(bench,
				   json_pack("{s:s, s:i}", "op",
					     "process-remove", "pasid", 1),
				   -1));
		reader_end(&reader);
	}
	reader_destroy(&reader);
}

int main(int argc, char **argv)
{
#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_pieces_outlive_their_process),
	};

	if (argc != 2)
		return 2;
	bench_program = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
