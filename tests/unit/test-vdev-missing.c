/* SPDX-License-Identifier: Apache-2.0 */
/* test-vdev-missing.c - what a vdev acknowledges while a device of its pool is
 * missing, or can't be written to (E3; issue 3, crash proof) */
#include "vdev-pool-rig.h"

#include <errno.h>

/* Another device's log can't be written, so nothing is ever settled: a flush
 * reaches the device that was written to all the same. */
static void test_vdev_missing_flush_goes_where_data_are(void **state)
{
	struct pooled *bench = pooled_create(2, false, 64, NULL);
	unsigned char *data = calloc(1, 4096);
	unsigned int before;

	(void)state;
	pooled_spread(bench);
	pooled_again(bench, 2, 1U << 1);
	assert_int_equal(pooled_do(bench, BLOCK_WRITE, 0, 4096, data), 0);
	before = bench->fakes[0].ops[BLOCK_FLUSH];
	assert_int_equal(pooled_do(bench, BLOCK_FLUSH, 0, 0, NULL), 0);
	assert_true(bench->fakes[0].ops[BLOCK_FLUSH] > before);
	pooled_destroy(bench);
	free(data);
}

static int zero(struct pooled *bench, uint64_t offset_bytes)
{
	struct pooled_request *request = pooled_requests(1);
	int result;

	request->bench = bench;
	request->vdev.block = (struct block_request){
		.op = BLOCK_WRITE_ZEROES,
		.flags = BLOCK_FLAG_UNMAP,
		.offset_bytes = offset_bytes,
		.length_bytes = MIB,
	};
	request->vdev.process = vdev_find_process(bench->vdev, 0);
	vdev_submit(bench->vdev, &request->vdev, bench->now_ns);
	while (!request->is_done)
		pooled_poll(bench, bench->now_ns += MS);
	result = request->result;
	free(request);
	return result;
}

/* Zeroes over what a missing device has are not acknowledged; over what is there
 * they are, and stay when it comes back. */
static void test_vdev_missing_zeroes(void **state)
{
	struct pooled *bench = pooled_create(2, false, 64, NULL);
	unsigned char *data = calloc(1, 4096);

	(void)state;
	pooled_spread(bench);		/* extent 1 is on device 1 */
	pooled_again(bench, 1, 0);
	assert_int_equal(zero(bench, MIB), -EIO);
	assert_int_equal(zero(bench, 2 * MIB), 0);
	pooled_late(bench, 1);
	assert_int_equal(bench->volume->missing, 0);
	assert_int_equal(pooled_do(bench, BLOCK_READ, MIB, 4096, data), 0);
	assert_int_equal(data[0], 2);
	assert_int_equal(pooled_do(bench, BLOCK_READ, 2 * MIB, 4096, data), 0);
	assert_int_equal(data[0], 0);
	assert_int_equal(zero(bench, MIB), 0);
	assert_int_equal(pooled_do(bench, BLOCK_READ, MIB, 4096, data), 0);
	assert_int_equal(data[0], 0);
	pooled_destroy(bench);
	free(data);
}

/* A device's log can't be written any more: who gives the same back twice gets
 * an error twice, and does not wait for ever. */
static void test_vdev_missing_discards_end(void **state)
{
	struct pooled *bench = pooled_create(2, false, 64, NULL);

	(void)state;
	pooled_spread(bench);
	bench->fakes[1].fails_log = true;
	for (uint32_t i = 0; i < 2; i++)
		assert_int_equal(
			pooled_do(bench, BLOCK_DISCARD, MIB, MIB, NULL), -EIO);
	pooled_destroy(bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vdev_missing_flush_goes_where_data_are),
		cmocka_unit_test(test_vdev_missing_zeroes),
		cmocka_unit_test(test_vdev_missing_discards_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
