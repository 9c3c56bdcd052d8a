/* SPDX-License-Identifier: Apache-2.0 */
/* test-over.c - a device, or a core, that is promised more than it does is told
 * (E8) */
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

static struct reg_device other = {.endpoint = &endpoint, .name = "ep0/d1"};

static unsigned int count(const char *kind, const char *part)
{
	json_t *all = events_since(host.events, 0), *event;
	unsigned int found = 0;
	size_t i;

	json_array_foreach(all, i, event) found +=
		strcmp(json_string_value(json_object_get(event, "kind")),
		       kind) == 0 &&
		strstr(json_string_value(json_object_get(event, "text")), part);
	json_decref(all);
	return found;
}

static unsigned int events(const char *kind)
{
	return count(kind, "");
}

static void look(unsigned int seconds)
{
	while (seconds--)
		over_look(&device);
}

static void measure(struct reg_device *one, uint64_t iops)
{
	struct capacity capacity = {.read_measured = true};

	for (unsigned int d = 0; d < 2; d++) {
		capacity.direction[d] = (struct capacity_curve){
			.points = {{.depth = 1, .iops = iops}},
			.count = 1,
			.bytes_per_s = 1000 * iops,
		};
	}
	assert_int_equal(promise_set_capacity(&one->promise, &capacity, NULL),
			 0);
}

/* A device that is the core's own work, 10 % of it kept free. */
static void make(struct reg_device *one, uint64_t iops)
{
	assert_int_equal(
		promise_init_device(&one->promise, &endpoint.promise, 100, 0),
		0);
	measure(one, iops);
}

static struct admitted *admit(struct reg_device *one, uint64_t iops)
{
	const struct sla sla = {
		.specs = {{.metric = SLA_IOPS, .value = iops}},
		.count = 1,
	};
	const struct admission_request request = {.sla = &sla};
	struct admitted *admitted;

	assert_int_equal(admission_admit(one->promise.admission, &request,
					 &admitted, NULL),
			 0);
	return admitted;
}

static int setup(void **state)
{
	(void)state;
	assert_int_equal(events_create(&host.events), 0);
	assert_int_equal(promise_init_endpoint(&endpoint.promise), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	promise_finish(&device.promise);
	promise_finish(&other.promise);
	promise_finish(&endpoint.promise);
	events_destroy(host.events);
	device.over = other.over = endpoint.core_over = (struct over_state){0};
	return 0;
}

/* It swings by some percent all the time: neither that nor a second is told. */
static void test_over_tells_when_it_stays(void **state)
{
	(void)state;
	make(&device, 1000);
	admit(&device, 800);
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
}

static void look_core(unsigned int seconds)
{
	while (seconds--)
		over_look_core(&endpoint);
}

/* Each device can hold what it promised, but a new table says that one costs
 * the core more than was counted on: told at once, and only once. */
static void test_over_tells_of_a_core(void **state)
{
	struct admitted *half;

	(void)state;
	make(&device, 1000);
	make(&other, 1000);
	admit(&device, 440);
	half = admit(&other, 440);
	over_measured(&other);
	look_core(10);
	assert_int_equal(events("over-promised"), 0);
	measure(&other, 550);
	over_measured(&other);
	assert_int_equal(events("over-promised"), 1);
	assert_int_equal(count("over-promised",
			       "endpoint ep0: what its devices promise"),
			 1);
	assert_int_equal(count("over-promised", "takes 138 % of its core"), 1);
	look_core(10);
	over_measured(&device);
	assert_int_equal(events("over-promised"), 1);
	admission_release(half);
	look_core(4);
	assert_int_equal(events("promises-fit"), 0);
	look_core(1);
	assert_int_equal(count("promises-fit", "endpoint ep0: its core"), 1);
	look_core(10);
	assert_int_equal(events("promises-fit"), 1);
}

/* A twentieth too much is not told, as of a device. */
static void test_over_core_swings(void **state)
{
	(void)state;
	make(&device, 1000);
	make(&other, 1000);
	admit(&device, 440);
	admit(&other, 440);
	measure(&other, 890);	/* 103.8 % of the core */
	over_measured(&other);
	look_core(10);
	assert_int_equal(events("over-promised"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_over_tells_when_it_stays,
						setup, teardown),
		cmocka_unit_test_setup_teardown(test_over_tells_of_a_core,
						setup, teardown),
		cmocka_unit_test_setup_teardown(test_over_core_swings, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
