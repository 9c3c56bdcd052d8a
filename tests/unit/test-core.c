/* SPDX-License-Identifier: Apache-2.0 */
/* test-core.c - devices on one core: no more is promised than it can serve
 * (E8, E12, E13) */
#include "sla/core.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "asking.h"
#include "sla/admission.h"

#define US	UINT64_C(1000)
#define DEVICES 4U

/* Devices that are the core's own work. */
static const struct capacity memory = {
	.direction =
		{
			{.count = 1,
			 .bytes_per_s = UINT64_C(4000000000),
			 .points = {{1, 400000, 3 * US, 5 * US}}},
			{.count = 1,
			 .bytes_per_s = UINT64_C(2000000000),
			 .points = {{1, 200000, 3 * US, 5 * US}}},
		},
};
static const struct capacity nothing = {
	.direction =
		{
			{.count = 1,
			 .bytes_per_s = UINT64_C(8000000000),
			 .points = {{1, 2000000, 1 * US, 5 * US}}},
			{.count = 1,
			 .bytes_per_s = UINT64_C(8000000000),
			 .points = {{1, 2000000, 1 * US, 5 * US}}},
		},
};
/* One that works by itself. */
static const struct capacity disk = {
	.direction =
		{
			{.count = 1,
			 .bytes_per_s = 200000000,
			 .points = {{32, 50000, 200 * US, 400 * US}}},
			{.count = 1,
			 .bytes_per_s = 100000000,
			 .points = {{32, 25000, 200 * US, 400 * US}}},
		},
};

static const struct {
	const struct capacity *capacity;
	uint64_t path_ns;
} kinds[DEVICES] = {{&memory, 0}, {&nothing, 0}, {&disk, 2000}, {&disk, 400}};

static struct admission *device(struct core *core, unsigned int kind)
{
	struct admission *admission;

	assert_int_equal(admission_create(ADMISSION_USABLE_MILLI, &admission),
			 0);
	admission_set_core(admission, core, kinds[kind].path_ns);
	assert_int_equal(
		admission_set_capacity(admission, kinds[kind].capacity, NULL),
		0);
	return admission;
}

/* What one memory device was promised is not there for another. */
static void test_core_is_sold_once(void **state)
{
	struct core *core;
	struct admission *m0, *n0;
	struct admitted *first, *second;
	struct core_report report;

	(void)state;
	assert_int_equal(core_create(&core), 0);
	m0 = device(core, 0);
	n0 = device(core, 1);
	first = asking_admit(m0, "read iops >= 300k");
	core_report(core, &report);
	assert_int_equal(report.promised_ppm, 833333);
	assert_int_equal(report.allowed_ppm, 1000000);
	asking_refused(
		n0, "read iops >= 1600k",
		"read iops: 1.6M asked, 300k left on the core of endpoint ep0, which serves its other devices, too (short by 1.3M)");
	second = asking_admit(n0, "read iops >= 300k");
	asking_refused(
		n0, "read iops >= 1",
		"read iops: 1 asked, 0 left on the core of endpoint ep0, which serves its other devices, too (short by 1)");

	/* E12, E13: what is given back is there at once. */
	admission_release(first);
	first = asking_admit(n0, "read iops >= 1500k");
	admission_release(second);
	second = asking_admit(m0, "write iops >= 30k");
	core_report(core, &report);
	assert_int_equal(report.promised_ppm, 1000000);
	asking_refused(
		m0, "bandwidth >= 1 GB/s",
		"bandwidth: 1 GB/s asked, 0 B/s left on the core of endpoint ep0, which serves its other devices, too (short by 1 GB/s)");
	admission_release(second);
	admission_release(first);
	admission_destroy(m0);
	admission_destroy(n0);
	core_destroy(core);
}

/* A device alone on its core is as it was. */
static void test_core_of_one_device_does_not_bind(void **state)
{
	struct core *core;
	struct admission *m0;

	(void)state;
	assert_int_equal(core_create(&core), 0);
	m0 = device(core, 0);
	asking_admit(m0, "read iops >= 100k, write iops >= 50k");
	asking_refused(
		m0, "write iops >= 100k",
		"write iops: 100k asked, 80000 left on device d0 (short by 20000)");
	asking_admit(m0, "write iops >= 80k");
	admission_destroy(m0);
	core_destroy(core);
}

/* A disk works by itself: its requests cost the core their way. */
static void test_core_carries_requests_to_disks(void **state)
{
	struct core *core;
	struct admission *m0, *d0, *d1;
	struct core_report report;

	(void)state;
	assert_int_equal(core_create(&core), 0);
	m0 = device(core, 0);
	d0 = device(core, 2);
	d1 = device(core, 3);
	asking_admit(d0, "read iops >= 45k");
	core_report(core, &report);
	assert_int_equal(report.promised_ppm, 100000);
	asking_admit(d1, "read iops >= 45k");
	core_report(core, &report);
	assert_int_equal(report.promised_ppm, 120000);
	asking_refused(
		m0, "read iops >= 320k",
		"read iops: 320k asked, 316.8k left on the core of endpoint ep0, which serves its other devices, too (short by 3200)");
	asking_admit(m0, "read iops >= 316800");
	admission_destroy(m0);
	admission_destroy(d0);
	admission_destroy(d1);
	core_destroy(core);
}

struct one {
	struct admitted *admitted;
	unsigned int device;
};

/* The same state, made anew from what is admitted now. */
static void compare(const struct core *core, struct admission *const *devices,
		    const struct one *all, unsigned int count)
{
	struct admission *fresh[DEVICES];
	struct core *other;
	struct core_report report, expected;

	assert_int_equal(core_create(&other), 0);
	for (unsigned int d = 0; d < DEVICES; d++)
		fresh[d] = device(other, d);
	for (unsigned int i = 0; i < count; i++) {
		struct admission_request request = {.vdev_size_bytes = GIB};
		struct admitted *again;

		if (!all[i].admitted)
			continue;
		request.sla = admission_sla(all[i].admitted);
		assert_int_equal(admission_admit(fresh[all[i].device], &request,
						 &again, NULL),
				 0);
	}
	core_report(core, &report);
	core_report(other, &expected);
	assert_int_equal(report.promised_ppm, expected.promised_ppm);
	assert_false(report.is_over);
	for (unsigned int d = 0; d < DEVICES; d++) {
		struct sla sla = asking_sla("iops >= 1");
		const struct admission_request request = {
			.sla = &sla, .vdev_size_bytes = GIB};
		struct admission_refusal a = {0}, b = {0};

		sla.specs[0].value = UINT64_C(10000000);
		assert_int_equal(admission_what_if(devices[d], &request, &a),
				 admission_what_if(fresh[d], &request, &b));
		assert_int_equal(a.reason, b.reason);
		assert_int_equal(a.available, b.available);
		admission_destroy(fresh[d]);
	}
	core_destroy(other);
}

static void random_sla(struct sla *sla)
{
	static const char *const texts[] = {
		"read iops >= 70",
		"write iops >= 30",
		"iops >= 50, latency <= 1 ms",
		"bandwidth >= 300 KB/s",
		"read iops >= 30, write iops >= 40, bandwidth >= 10 KB/s",
	};

	*sla = asking_sla(texts[random() % 5]);
	for (unsigned int i = 0; i < sla->count; i++)
		if (sla->specs[i].metric != SLA_LATENCY)
			sla->specs[i].value *= 1 + (uint64_t)random() % 200;
}

/* No drift, and never more than the core has. */
static void test_core_random_changes(void **state)
{
	static struct one all[300];
	const unsigned int count = 300;
	struct admission *devices[DEVICES];
	struct core_report report;
	unsigned int refused = 0;
	struct core *core;

	(void)state;
	srandom(3);
	assert_int_equal(core_create(&core), 0);
	for (unsigned int d = 0; d < DEVICES; d++)
		devices[d] = device(core, d);
	for (unsigned int n = 0; n < 200000; n++) {
		struct one *one = &all[(unsigned int)random() % count];
		struct sla sla;
		const struct admission_request request = {
			.sla = &sla, .vdev_size_bytes = GIB};
		struct admission_refusal why = {0};
		int result = 0;

		random_sla(&sla);
		if (!one->admitted) {
			one->device = (unsigned int)random() % DEVICES;
			result = admission_admit(devices[one->device], &request,
						 &one->admitted, &why);
		} else if (random() % 2) {
			result =
				admission_update(one->admitted, &request, &why);
		} else {
			admission_release(one->admitted);
			one->admitted = NULL;
		}
		refused += result < 0 && why.reason == ADMISSION_CORE;
		if (n % 2000 == 0)
			compare(core, devices, all, count);
	}
	assert_in_range(refused, 1000, 100000);
	for (unsigned int i = 0; i < count; i++)
		admission_release(all[i].admitted);
	core_report(core, &report);
	assert_int_equal(report.promised_ppm, 0);
	for (unsigned int d = 0; d < DEVICES; d++)
		admission_destroy(devices[d]);
	core_destroy(core);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_core_is_sold_once),
		cmocka_unit_test(test_core_of_one_device_does_not_bind),
		cmocka_unit_test(test_core_carries_requests_to_disks),
		cmocka_unit_test(test_core_random_changes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
