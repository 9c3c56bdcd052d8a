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
#include <unistd.h>

#include <cmocka.h>

#define SIZE_BYTES	(UINT64_C(128) << 20)
#define DEVICE_BYTES	(UINT64_C(160) << 20)	/* with its metadata */
#define BUFFER_BYTES	(UINT64_C(1) << 20)
#define SEGMENTS	120U
#define ATTEMPTS	200U

static uint64_t read_bytes(struct bench *bench, unsigned int slot)
{
	return stats_get(&bench->stats->processes[slot].direction[0].bytes);
}

static void add_vdev(struct bench *bench)
{
	json_t *vdev = bench_vdev();
	int fd = bench_memory(DEVICE_BYTES);

	bench_add_device(bench, "memory", DEVICE_BYTES, fd);
	close(fd);
	bench_add_pool(bench);
	json_object_set_new(vdev, "size_bytes",
			    json_integer((json_int_t)SIZE_BYTES));
	bench_ok(bench_ask(bench, vdev, -1));
}

/* Its next piece is the default process's. */
static void test_pieces_outlive_their_process(void **state)
{
	struct bench *bench = *state;
	struct bench_guest guest;
	struct iovec iov[SEGMENTS];
	/* 120 MiB, always into the same. */
	struct vhost_client_request request = {
		.iov = iov,
		.iov_count = SEGMENTS,
	};
	unsigned int attempt = 0;

	bench_guest_create(&guest, bench, BUFFER_BYTES);
	for (unsigned int i = 0; i < SEGMENTS; i++)
		iov[i] = (struct iovec){guest.memory, BUFFER_BYTES};
	add_vdev(bench);
	bench_ok(bench_listen(bench, guest.listen_fd));
	bench_guest_connect(&guest,
			    (struct vhost_client_config){
				    .queue_size = 128,
				    .indirect = true,
			    });
	/* Until a release fell between the first piece and the last. */
	while (read_bytes(bench, 0) == 0) {
		uint64_t before;

		if (attempt++ == ATTEMPTS)
			fail_msg("no piece went to the default process");
		bench_ok(bench_ask(bench, bench_process(1), -1));
		before = read_bytes(bench, 1);
		bench_guest_begin(&guest, &request);
		while (read_bytes(bench, 1) == before)
			;
		bench_ok(bench_ask(bench,
				   json_pack("{s:s, s:i}", "op",
					     "process-remove", "pasid", 1),
				   -1));
		bench_guest_end(&guest, &request);
	}
	bench_guest_destroy(&guest);
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
