/* SPDX-License-Identifier: Apache-2.0 */
/* test-over.c - a capacity that falls below what is promised is told (E8) */
#include "host/over.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "host/events.h"
#include "host/host-data.h"

static struct host host;
static struct reg_endpoint endpoint = {.host = &host, .name = "ep0"};
static struct reg_device device = {.endpoint = &endpoint, .name = "ep0/d0"};

static unsigned int events(const char *kind)
{
	json_t *all = events_since(host.events, 0), *event;
	unsigned int count = 0;
	size_t i;

	json_array_foreach(all, i, event) count +=
		strcmp(json_string_value(json_object_get(event, "kind")),
		       kind) == 0;
	json_decref(all);
	return count;
}

static void look(unsigned int seconds)
{
	while (seconds--)
		over_look(&device);
}

/* 80 % is promised, with 10 % kept free. */
static void promise(void)
{
	const struct sla sla = {
		.specs = {{.metric = SLA_IOPS, .value = 800}},
		.count = 1,
	};
	const struct admission_request request = {.sla = &sla};
	struct capacity capacity = {.read_measured = true};
	struct admitted *admitted;

	for (unsigned int d = 0; d < 2; d++) {
		capacity.direction[d] = (struct capacity_curve){
			.points = {{.depth = 1, .iops = 1000}},
			.count = 1,
			.bytes_per_s = 1000000,
		};
	}
	assert_int_equal(admission_create(900, &device.promise.admission), 0);
	assert_int_equal(admission_set_capacity(device.promise.admission,
						&capacity, NULL),
			 0);
	assert_int_equal(admission_admit(device.promise.admission, &request,
					 &admitted, NULL),
			 0);
}

/* It swings by some percent all the time: neither that nor a second is told. */
static void test_over_tells_when_it_stays(void **state)
{
	(void)state;
	assert_int_equal(events_create(&host.events), 0);
	promise();
	look(10);
	promise_set_correction(&device.promise, 880);	/* 79.2 % */
	look(10);
	promise_set_correction(&device.promise, 500);
	look(4);
	promise_set_correction(&device.promise, 1000);
	look(1);
	promise_set_correction(&device.promise, 500);
	look(4);
	assert_int_equal(events("over-promised"), 0);
	look(10);
	assert_int_equal(events("over-promised"), 1);
	promise_set_correction(&device.promise, 1000);
	look(4);
	assert_int_equal(events("promises-fit"), 0);
	look(10);
	assert_int_equal(events("promises-fit"), 1);
	assert_int_equal(events("over-promised"), 1);
	/* A new table is told at once. */
	promise_set_correction(&device.promise, 100);
	over_measured(&device);
	assert_int_equal(events("over-promised"), 2);
	admission_destroy(device.promise.admission);
	events_destroy(host.events);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_over_tells_when_it_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
