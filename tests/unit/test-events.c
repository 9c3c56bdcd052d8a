/* SPDX-License-Identifier: Apache-2.0 */
/* test-events.c - the last thousand things, and whoever listens */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "host/events.h"

static unsigned int heard;

static void hear(struct host_listener *listener, json_t *event)
{
	(void)listener;
	heard++;
	assert_true(json_is_string(json_object_get(event, "text")));
}

static json_int_t number(json_t *array, size_t index)
{
	return json_integer_value(
		json_object_get(json_array_get(array, index), "seq"));
}

static void test_events_keeps_the_last(void **state)
{
	const struct event_subject subject = {.pasid = 7, .vdev = "v"};
	struct events *events;
	unsigned int i;
	json_t *array;

	(void)state;
	assert_int_equal(events_create(&events), 0);
	for (i = 0; i < EVENTS_KEPT + 5; i++)
		events_add(events, "error", &subject, "number %u", i);
	array = events_since(events, 0);
	assert_int_equal(json_array_size(array), EVENTS_KEPT);
	assert_int_equal(number(array, 0), 6);
	assert_int_equal(number(array, EVENTS_KEPT - 1), EVENTS_KEPT + 5);
	assert_int_equal(json_integer_value(json_object_get(
				 json_array_get(array, 0), "pasid")),
			 7);
	assert_null(json_object_get(json_array_get(array, 0), "device"));
	json_decref(array);
	array = events_since(events, EVENTS_KEPT + 3);
	assert_int_equal(json_array_size(array), 2);
	json_decref(array);
	array = events_since(events, UINT64_MAX);
	assert_int_equal(json_array_size(array), 0);
	json_decref(array);
	events_destroy(events);
}

static void test_events_listeners(void **state)
{
	struct host_listener one = {.event = hear}, two = {.event = hear};
	struct events *events;

	(void)state;
	assert_int_equal(events_create(&events), 0);
	events_listen(events, &one);
	events_listen(events, &two);
	events_add(events, "error", NULL, "first");
	assert_int_equal(heard, 2);
	events_unlisten(events, &one);
	events_unlisten(events, &one);
	events_add(events, "error", NULL, "line\nbreak");
	assert_int_equal(heard, 3);
	events_unlisten(events, &two);
	events_add(events, "error", NULL, "nobody");
	assert_int_equal(heard, 3);
	events_destroy(events);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_events_keeps_the_last),
		cmocka_unit_test(test_events_listeners),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
