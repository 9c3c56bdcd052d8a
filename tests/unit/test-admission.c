/* SPDX-License-Identifier: Apache-2.0 */
/* test-admission.c - capacity tables and admission (E8, E12, E13) */
#include "sla/admission.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "asking.h"

#define US UINT64_C(1000)
#define MS UINT64_C(1000000)

/* 20,000 reads or 10,000 writes a second; 200 and 100 MB/s. */
static const struct capacity disk = {
	.direction =
		{
			{.count = 4,
			 .bytes_per_s = 200000000,
			 .points = {{1, 5000, 200 * US, 400 * US},
				    {4, 14000, 500 * US, 1000 * US},
				    {16, 18000, 2000 * US, 3000 * US},
				    {64, 20000, 6000 * US, 9000 * US}}},
			{.count = 4,
			 .bytes_per_s = 100000000,
			 .points = {{1, 4000, 250 * US, 500 * US},
				    {4, 8000, 700 * US, 1000 * US},
				    {16, 9000, 2500 * US, 4000 * US},
				    {64, 10000, 8000 * US, 9000 * US}}},
		},
};

static struct admission *device(const struct capacity *capacity)
{
	struct admission *admission;

	assert_int_equal(admission_create(ADMISSION_USABLE_MILLI, &admission),
			 0);
	if (capacity)
		assert_int_equal(
			admission_set_capacity(admission, capacity, NULL), 0);
	return admission;
}

/* E11: what another endpoint has promised is what can be promised of it. */
static void test_capacity_of_a_promise(void **state)
{
	struct admission *admission;
	struct capacity capacity;
	struct sla sla;

	(void)state;
	assert_int_equal(
		sla_parse(
			"iops >= 2k, latency <= 2 ms, write bandwidth >= 50 MB/s",
			&sla, NULL),
		0);
	assert_true(capacity_from_sla(&sla, &capacity));
	assert_int_equal(capacity_check(&capacity, NULL), 0);
	for (unsigned int d = 0; d < 2; d++) {
		const struct capacity_curve *curve = &capacity.direction[d];

		assert_int_equal(curve->points[0].depth, 5);
		assert_int_equal(capacity_iops(curve, 990, 2 * MS), 2000);
		assert_int_equal(capacity_iops(curve, 990, 2 * MS - 1), 0);
	}
	assert_int_equal(capacity.direction[0].bytes_per_s, 2000 * 4096);
	assert_int_equal(capacity.direction[1].bytes_per_s, 50000000);
	/* No latency was promised: none can be; a p95 says nothing of p99. */
	assert_int_equal(
		sla_parse("iops >= 100, latency p95 <= 1 ms", &sla, NULL), 0);
	assert_true(capacity_from_sla(&sla, &capacity));
	assert_int_equal(capacity_iops(&capacity.direction[0], 990, 0), 100);
	assert_int_equal(capacity_iops(&capacity.direction[0], 990, 1000 * MS),
			 0);
	admission = device(&capacity);
	asking_refused(
		admission, "latency <= 5 ms",
		"latency p99: 5 ms asked, no latency is promised of device d0: give its 'sla' one");
	admission_destroy(admission);
	/* Of writes nothing is known. */
	assert_int_equal(sla_parse("read iops >= 100", &sla, NULL), 0);
	assert_false(capacity_from_sla(&sla, &capacity));
}

static void test_capacity_interpolates(void **state)
{
	const struct capacity_curve *reads = &disk.direction[0];

	(void)state;
	assert_int_equal(capacity_iops(reads, 990, 0), 20000);
	assert_int_equal(capacity_iops(reads, 990, 399 * US), 0);
	assert_int_equal(capacity_iops(reads, 990, 400 * US), 5000);
	assert_int_equal(capacity_iops(reads, 990, 700 * US), 9500);
	assert_int_equal(capacity_iops(reads, 990, 1000 * US), 14000);
	assert_int_equal(capacity_iops(reads, 990, 2 * MS), 16000);
	assert_int_equal(capacity_iops(reads, 990, 100 * MS), 20000);
	assert_int_equal(capacity_iops(reads, 950, 500 * US), 14000);
	assert_int_equal(capacity_iops(reads, 1000, 1000 * US), 14000);

	assert_int_equal(capacity_latency_ns(reads, 990, 0), 400 * US);
	assert_int_equal(capacity_latency_ns(reads, 990, 9500), 700 * US);
	assert_int_equal(capacity_latency_ns(reads, 990, 20000), 9000 * US);
	assert_true(capacity_latency_ns(reads, 990, 20001) == UINT64_MAX);
}

static void test_capacity_curves_that_do_not_rise(void **state)
{
	struct capacity_curve curve;

	(void)state;
	srandom(5);
	for (unsigned int n = 0; n < 20000; n++) {
		uint64_t iops, least_ns;

		memset(&curve, 0, sizeof(curve));
		curve.count = 1 + (unsigned int)random() % CAPACITY_POINTS;
		for (unsigned int i = 0; i < curve.count; i++) {
			curve.points[i].depth = i + 1;
			curve.points[i].iops = 1 + (uint64_t)random() % 1000;
			curve.points[i].p99_ns = (uint64_t)random() % 1000;
		}
		iops = 1 + (uint64_t)random() % 1000;
		least_ns = capacity_latency_ns(&curve, 990, iops);
		if (least_ns == UINT64_MAX) {
			assert_true(capacity_iops(&curve, 990, 0) < iops);
			continue;
		}
		if (least_ns > 0)
			assert_true(capacity_iops(&curve, 990, least_ns) >=
				    iops);
		if (least_ns > 1)
			assert_true(capacity_iops(&curve, 990, least_ns - 1) <
				    iops);
	}
	curve.count = 1000000;
	curve.points[11].p99_ns = 5;
	capacity_iops(&curve, 990, 0);
}

static void test_capacity_check(void **state)
{
	struct capacity bad = disk;
	struct error error;

	(void)state;
	assert_int_equal(capacity_check(&disk, &error), 0);
	bad.direction[1].count = 0;
	assert_int_equal(capacity_check(&bad, &error), -EINVAL);
	bad.direction[1].count = CAPACITY_POINTS + 1;
	assert_int_equal(capacity_check(&bad, &error), -EINVAL);
	bad = disk;
	bad.direction[0].bytes_per_s = 0;
	assert_int_equal(capacity_check(&bad, &error), -EINVAL);
	bad = disk;
	bad.direction[0].points[2].iops = 0;
	assert_int_equal(capacity_check(&bad, &error), -EINVAL);
	bad = disk;
	bad.direction[0].points[2].depth = 4;
	assert_int_equal(capacity_check(&bad, &error), -EINVAL);
	assert_string_equal(error.text,
			    "read: point 3 of the table cannot "
			    "have been measured");
}

static void test_admission_says_what_is_left(void **state)
{
	struct admission *admission = device(&disk);
	struct admitted *first = asking_admit(admission, "read iops >= 10k");

	(void)state;
	asking_refused(admission, "read iops >= 12000",
		       "read iops: 12000 asked, 8000 left on device d0 "
		       "(short by 4000)");
	/* Of writes half as many, and a total may be all writes. */
	asking_refused(
		admission, "write iops >= 4001",
		"write iops: 4001 asked, 4000 left on device d0 (short by 1)");
	asking_refused(
		admission, "iops >= 5k",
		"iops: 5000 asked, 4000 left on device d0 (short by 1000)");
	asking_refused(admission, "read iops >= 1000, write iops >= 5000",
		       "write iops: 5000 asked, 3500 left on device d0 "
		       "(short by 1500)");
	asking_refused(admission, "bandwidth >= 50 MB/s, iops >= 10",
		       "bandwidth: 50 MB/s asked, 40 MB/s left on device d0 "
		       "(short by 10 MB/s)");
	/* Exactly what is left fits, and then nothing more does. */
	asking_admit(admission, "read iops >= 8000, read bandwidth >= 80 MB/s");
	asking_refused(admission, "read iops >= 1",
		       "read iops: 1 asked, 0 left on device d0 (short by 1)");
	/* E12: what is released is there again at once. */
	admission_release(first);
	asking_admit(admission, "iops >= 5000");
	admission_destroy(admission);
}

static void test_admission_strictest_latency_counts(void **state)
{
	struct admission *admission = device(&disk);
	struct admission_report report;
	struct admitted *strict;

	(void)state;
	/* Within 1 ms: 70 % of reads, 80 % of writes: 70 % of the device,
	 * times the 90 % that may be promised. */
	strict = asking_admit(admission, "latency <= 1 ms, read iops >= 600");
	admission_report(admission, &report);
	assert_int_equal(report.allowed_ppm, 630000);
	assert_int_equal(report.promised_ppm, 30000);
	assert_int_equal(report.reserved, 1);
	asking_refused(admission, "read iops >= 12001",
		       "read iops: 12001 asked, 12000 left on device d0 "
		       "(short by 1)");
	asking_admit(admission, "read iops >= 12000");
	/* Without it 90 % may be promised. */
	admission_release(strict);
	asking_refused(
		admission, "read iops >= 6001",
		"read iops: 6001 asked, 6000 left on device d0 (short by 1)");
	/* Its coming back is limited by what is promised. */
	asking_refused(admission, "latency <= 1 ms, read iops >= 1200",
		       "latency p99: 1 ms asked, device d0 can hold 1333.5 us "
		       "beside all it has promised (short by 333.5 us)");
	asking_refused(admission, "latency <= 400 us",
		       "latency p99: 400 us asked, device d0 can hold 500 us "
		       "beside all it has promised (short by 100 us)");
	asking_refused(
		admission, "read latency p95 <= 199999 ns",
		"read latency p95: 199999 ns asked, device d0 can hold 200 us "
		"beside all it has promised (short by 1 ns)");
	admission_destroy(admission);
}

static void test_admission_latency_of_directions(void **state)
{
	struct admission *admission = device(&disk);
	struct admission_report report;

	(void)state;
	asking_admit(admission, "write latency <= 4 ms");
	admission_report(admission, &report);
	assert_int_equal(report.allowed_ppm, 810000);
	asking_admit(admission, "read latency p95 <= 500 us");
	admission_report(admission, &report);
	assert_int_equal(report.allowed_ppm, 630000);
	admission_destroy(admission);
}

static void test_admission_what_a_disk_cannot_promise(void **state)
{
	struct admission *admission = device(&disk);

	(void)state;
	asking_refused(admission, "iops >= 1, ops >= 5",
		       "ops: not served by a storage device");
	asking_refused(admission, "jitter <= 1 ms",
		       "jitter: not served by a storage device");
	asking_refused(admission, "loss <= 1 ppm",
		       "loss: not served by a storage device");
	asking_refused(
		admission, "capacity >= 10 GiB",
		"capacity: 10 GiB asked, the vdev has 1 GiB (short by 9 GiB)");
	asking_admit(admission, "capacity >= 1 GiB");
	admission_destroy(admission);
}

static void test_admission_needs_a_calibrated_device(void **state)
{
	struct admission *admission = device(NULL);

	(void)state;
	asking_admit(admission, "capacity >= 1 MiB");
	asking_refused(admission, "iops >= 1",
		       "iops: 1 asked, but device d0 was never calibrated: run "
		       "'penstock device calibrate d0'");
	admission_destroy(admission);
}

static void test_admission_best_effort_is_counted(void **state)
{
	struct admission *admission = device(&disk);
	struct sla sla = asking_sla("read iops >= 10k");
	const struct admission_request request = {
		.sla = &sla, .vdev_size_bytes = GIB, .is_best_effort = true};
	struct admission_report report;
	struct admitted *fits, *too_much;

	(void)state;
	assert_int_equal(admission_admit(admission, &request, &fits, NULL), 0);
	assert_true(admission_is_reserved(fits));
	assert_int_equal(admission_admit(admission, &request, &too_much, NULL),
			 0);
	assert_false(admission_is_reserved(too_much));
	admission_report(admission, &report);
	assert_int_equal(report.reserved, 1);
	assert_int_equal(report.best_effort, 1);
	assert_int_equal(report.promised_ppm, 500000);
	/* There is room now: asked again, it is reserved. */
	admission_release(fits);
	assert_int_equal(admission_update(too_much, &request, NULL), 0);
	assert_true(admission_is_reserved(too_much));
	admission_report(admission, &report);
	assert_int_equal(report.best_effort, 0);
	admission_destroy(admission);
}

static void test_admission_update_replaces_in_one_step(void **state)
{
	struct admission *admission = device(&disk);
	struct admitted *admitted =
		asking_admit(admission, "read iops >= 10k, latency <= 2 ms");
	struct sla more = asking_sla("read iops >= 18k");
	struct sla strict = asking_sla("read iops >= 10k, latency <= 1 ms");
	struct admission_request request = {.sla = &more,
					    .vdev_size_bytes = GIB};
	struct admission_refusal refusal;

	(void)state;
	/* Its own old latency and rate are not in its way. */
	assert_int_equal(admission_update(admitted, &request, &refusal), 0);
	asking_refused(admission, "read iops >= 1",
		       "read iops: 1 asked, 0 left on device d0 (short by 1)");
	request.sla = &strict;
	assert_int_equal(admission_update(admitted, &request, &refusal), 0);
	more = asking_sla("read iops >= 18001");
	request.sla = &more;
	assert_int_equal(admission_update(admitted, &request, &refusal),
			 -ENOSPC);
	assert_int_equal(refusal.available, 18000);
	/* The old one stays. */
	assert_true(sla_equal(admission_sla(admitted), &strict));
	asking_refused(
		admission, "read iops >= 2601",
		"read iops: 2601 asked, 2600 left on device d0 (short by 1)");
	admission_destroy(admission);
}

static void test_admission_capacity_as_it_is(void **state)
{
	struct admission *admission = device(&disk);
	struct admission_report report;
	struct capacity half = disk;

	(void)state;
	asking_admit(admission, "read iops >= 10k");
	admission_set_correction(admission, 500);
	admission_report(admission, &report);
	assert_true(report.is_over);
	asking_refused(admission, "read iops >= 1",
		       "read iops: 1 asked, 0 left on device d0 (short by 1)");
	/* Nothing was reserved by one that names no rate. */
	asking_refused(admission, "read latency <= 100 ms, iops >= 1",
		       "iops: 1 asked, 0 left on device d0 (short by 1)");
	admission_set_correction(admission, 1000);
	for (unsigned int i = 0; i < 4; i++)
		half.direction[0].points[i].iops /= 2;
	assert_int_equal(admission_set_capacity(admission, &half, NULL), 0);
	admission_report(admission, &report);
	assert_int_equal(report.promised_ppm, 1000000);
	assert_true(report.is_over);
	assert_int_equal(admission_set_capacity(admission, &disk, NULL), 0);
	asking_admit(admission, "read iops >= 8000");
	half.direction[0].count = 0;
	assert_int_equal(admission_set_capacity(admission, &half, NULL),
			 -EINVAL);
	admission_destroy(admission);
}

static void random_sla(struct sla *sla)
{
	static const char *const texts[] = {
		"read iops >= 7",
		"write iops >= 3, latency <= 2 ms",
		"iops >= 5, latency <= 1500 us",
		"bandwidth >= 30 KB/s",
		"read bandwidth >= 50 KB/s, read latency p95 <= 3 ms",
		"read latency <= 7 ms",
		"iops >= 2, latency max <= 8 ms",
		"read iops >= 3, write iops >= 4, bandwidth >= 10 KB/s",
	};

	*sla = asking_sla(texts[random() % 8]);
	for (unsigned int i = 0; i < sla->count; i++)
		if (sla->specs[i].metric != SLA_LATENCY)
			sla->specs[i].value *= 1 + (uint64_t)random() % 50;
		else
			sla->specs[i].value += (uint64_t)random() % MS;
}

/* The same state, made anew from what is admitted now. */
static void compare(const struct admission *admission,
		    struct admitted *const *all, unsigned int count)
{
	struct admission *fresh = device(&disk);
	struct admission_report report, expected;

	for (unsigned int i = 0; i < count; i++) {
		struct admitted *again;

		if (!all[i])
			continue;
		{
			const struct admission_request request = {
				.sla = admission_sla(all[i]),
				.vdev_size_bytes = GIB};

			assert_int_equal(
				admission_admit(fresh, &request, &again, NULL),
				0);
		}
	}
	admission_report(admission, &report);
	admission_report(fresh, &expected);
	assert_int_equal(report.reserved, expected.reserved);
	assert_int_equal(report.promised_ppm, expected.promised_ppm);
	assert_int_equal(report.allowed_ppm, expected.allowed_ppm);
	assert_false(report.is_over);
	for (uint64_t asked = 1; asked < 20000; asked *= 3) {
		struct sla sla = asking_sla("iops >= 1, latency <= 4 ms");
		const struct admission_request request = {
			.sla = &sla, .vdev_size_bytes = GIB};
		struct admission_refusal a = {0}, b = {0};

		sla.specs[0].value = asked;
		assert_int_equal(admission_what_if(admission, &request, &a),
				 admission_what_if(fresh, &request, &b));
		assert_int_equal(a.reason, b.reason);
		assert_int_equal(a.asked, b.asked);
		assert_int_equal(a.available, b.available);
	}
	admission_destroy(fresh);
}

static void random_changes(unsigned int count, unsigned int changes,
			   unsigned int compare_each)
{
	struct admitted **all = calloc(count, sizeof(*all));
	struct admission *admission = device(&disk);
	struct admission_report report;
	unsigned int refused = 0;

	for (unsigned int n = 0; n < changes; n++) {
		const unsigned int i = (unsigned int)random() % count;
		struct sla sla;
		const struct admission_request request = {
			.sla = &sla, .vdev_size_bytes = GIB};

		random_sla(&sla);
		if (!all[i])
			refused += admission_admit(admission, &request, &all[i],
						   NULL) < 0;
		else if (random() % 2)
			refused += admission_update(all[i], &request, NULL) < 0;
		else {
			admission_release(all[i]);
			all[i] = NULL;
		}
		if (n % compare_each == 0)
			compare(admission, all, count);
	}
	assert_in_range(refused, changes / 1000, changes - changes / 10);
	for (unsigned int i = 0; i < count; i++)
		admission_release(all[i]);
	admission_report(admission, &report);
	assert_int_equal(report.promised_ppm, 0);
	assert_int_equal(report.allowed_ppm, 900000);
	assert_int_equal(report.reserved, 0);
	admission_destroy(admission);
	free(all);
}

/* E8, E12, E13: no drift after a million changes. */
static void test_admission_a_million_random_changes(void **state)
{
	(void)state;
	srandom(11);
	random_changes(200, 50000, 100);
	random_changes(3000, 950000, 20000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_capacity_of_a_promise),
		cmocka_unit_test(test_capacity_interpolates),
		cmocka_unit_test(test_capacity_curves_that_do_not_rise),
		cmocka_unit_test(test_capacity_check),
		cmocka_unit_test(test_admission_says_what_is_left),
		cmocka_unit_test(test_admission_strictest_latency_counts),
		cmocka_unit_test(test_admission_latency_of_directions),
		cmocka_unit_test(test_admission_what_a_disk_cannot_promise),
		cmocka_unit_test(test_admission_needs_a_calibrated_device),
		cmocka_unit_test(test_admission_best_effort_is_counted),
		cmocka_unit_test(test_admission_update_replaces_in_one_step),
		cmocka_unit_test(test_admission_capacity_as_it_is),
		cmocka_unit_test(test_admission_a_million_random_changes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
