/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-api-body.c - bodies, paths and roles, without a socket
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "api/body.h"
#include "api/role.h"
#include "api/route.h"

static struct api_body body;
static struct error error;

static int parse(const char *text, uint32_t may, uint32_t must)
{
	return api_body_parse(text, strlen(text), may, must, &body, &error);
}

/* Objects become the texts that the host takes. */
static void test_body_objects_and_texts(void **state)
{
	const uint32_t may = API_FIELD(API_SLA) | API_FIELD(API_LIMIT) |
		API_FIELD(API_MATCH) | API_FIELD(API_SIZE);

	(void)state;
	assert_int_equal(parse("{\"sla\": {\"iops\": \">= 1.5k\"},"
			       "\"limit\": {\"iops\": 2000},"
			       "\"match\": {\"ioprio\": \"idle\"},"
			       "\"size\": 4096}",
			       may, 0),
			 0);
	assert_string_equal(body.sla, "iops >= 1500");
	assert_string_equal(body.limit, "iops 2000");
	assert_string_equal(body.match, "idle");
	assert_string_equal(body.size, "4096");
	assert_int_equal(body.present, may);
	assert_int_equal(parse("{\"sla\": \"none\", \"limit\": {},"
			       "\"match\": \"none\"}",
			       may, 0),
			 0);
	assert_string_equal(body.sla, "none");
	assert_string_equal(body.limit, "none");
	assert_string_equal(body.match, "none");
}

static void test_body_says_which_field(void **state)
{
	(void)state;
	assert_int_equal(parse("{\"on\": 1}", API_FIELD(API_ON), 0), -EINVAL);
	assert_non_null(strstr(error.text, "on"));
	assert_int_equal(parse("{}", API_FIELD(API_ON), API_FIELD(API_ON)),
			 -EINVAL);
	assert_non_null(strstr(error.text, "'on' is missing"));
	assert_int_equal(parse("{\"on\": true}", 0, 0), -EINVAL);
	assert_non_null(strstr(error.text, "'on'"));
}

/* As in the configuration. */
static void test_body_size_and_burst_have_a_range(void **state)
{
	static const char *const refused[] = {
		"{\"size\": 0}", "{\"size\": \"1000\"}",
		"{\"size\": \"65537 TiB\"}", "{\"burst\": \"11 s\"}"};

	(void)state;
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		assert_int_equal(
			parse(refused[i],
			      API_FIELD(API_SIZE) | API_FIELD(API_BURST), 0),
			-EINVAL);
	assert_string_equal(error.text, "burst: more than 10 s");
}

/* No duration at all is the default; zero is not none. */
static void test_body_duration_has_a_range(void **state)
{
	static const char *const refused[] = {"{\"duration\": \"0s\"}",
					      "{\"duration\": \"99 ms\"}",
					      "{\"duration\": \"601 s\"}"};

	(void)state;
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		assert_int_equal(parse(refused[i], API_FIELD(API_DURATION), 0),
				 -EINVAL);
		assert_string_equal(error.text,
				    "duration: must be from 100 ms to 10 min");
	}
	assert_int_equal(
		parse("{\"duration\": \"100 ms\"}", API_FIELD(API_DURATION), 0),
		0);
	assert_int_equal(body.duration_ns, 100000000);
}

static void test_body_nothing_is_an_empty_object(void **state)
{
	(void)state;
	assert_int_equal(api_body_parse(NULL, 0, 0, 0, &body, &error), 0);
	assert_int_equal(body.present, 0);
}

static void test_body_too_long_texts(void **state)
{
	char text[4096];

	(void)state;
	strcpy(text, "{\"name\": \"");
	memset(text + 10, 'a', 64);
	strcpy(text + 74, "\"}");
	assert_int_equal(parse(text, API_FIELD(API_NAME), 0), -EINVAL);
	strcpy(text + 73, "\"}");
	assert_int_equal(parse(text, API_FIELD(API_NAME), 0), 0);
	memcpy(text, "{\"sla\":  \"", 10);
	memset(text + 10, 'a', 2000);
	strcpy(text + 2010, "\"}");
	assert_int_equal(parse(text, API_FIELD(API_SLA), 0), -EINVAL);
}

static void test_route_devices_have_one_segment_or_two(void **state)
{
	const struct api_route *route;
	struct api_params params;

	(void)state;
	assert_int_equal(api_route_find(api_routes, api_route_count, "POST",
					"/v1/devices/ep0/d0/calibrate", &route,
					&params),
			 0);
	assert_string_equal(params.name, "ep0/d0");
	assert_int_equal(api_route_find(api_routes, api_route_count, "POST",
					"/v1/devices/d0/calibrate", &route,
					&params),
			 0);
	assert_string_equal(params.name, "d0");
	assert_int_equal(api_route_find(api_routes, api_route_count, "GET",
					"/v1/devices/a/b/c", &route, &params),
			 -ENOENT);
}

static void test_route_methods(void **state)
{
	const struct api_route *route;
	struct api_params params;

	(void)state;
	assert_int_equal(api_route_find(api_routes, api_route_count, "PUT",
					"/v1/processes/5", &route, &params),
			 -EOPNOTSUPP);
	assert_int_equal(api_route_find(api_routes, api_route_count, "PATCH",
					"/v1/processes/5", &route, &params),
			 0);
	assert_int_equal(params.pasid, 5);
	assert_int_equal(route->role, API_ROLE_OPERATE);
}

/* What changes something needs more than reading. */
static void test_route_table_roles(void **state)
{
	(void)state;
	for (size_t i = 0; i < api_route_count; i++) {
		const struct api_route *route = &api_routes[i];

		assert_int_equal(route->must & ~route->may, 0);
		if (strcmp(route->method, "GET") == 0 ||
		    strcmp(route->pattern, "/v1/processes/PASID/derive") == 0 ||
		    strcmp(route->pattern, "/v1/admission") == 0)
			assert_int_equal(route->role, API_ROLE_READ);
		else
			assert_true(route->role >= API_ROLE_OPERATE);
	}
}

static void test_role_of(void **state)
{
	const struct api_grant grants[] = {
		{API_ROLE_READ, false, 10, NULL},
		{API_ROLE_OPERATE, true, 20, NULL},
		{API_ROLE_ADMINISTER, false, 30, NULL},
	};
	struct api_peer peer = {.uid = 10, .gid = 5};

	(void)state;
	assert_int_equal(api_role_of(&peer, 1000, grants, 3, API_ROLE_NONE),
			 API_ROLE_READ);
	peer.groups[0] = 20;
	peer.group_count = 1;
	assert_int_equal(api_role_of(&peer, 1000, grants, 3, API_ROLE_NONE),
			 API_ROLE_OPERATE);
	peer.uid = 11;
	peer.group_count = 0;
	assert_int_equal(api_role_of(&peer, 1000, grants, 3, API_ROLE_NONE),
			 API_ROLE_NONE);
	peer.gid = 20;
	assert_int_equal(api_role_of(&peer, 1000, grants, 3, API_ROLE_NONE),
			 API_ROLE_OPERATE);
	/* A group's number is no user's. */
	peer.uid = 20;
	peer.gid = 30;
	assert_int_equal(api_role_of(&peer, 1000, grants, 3, API_ROLE_READ),
			 API_ROLE_READ);
	peer.uid = 1000;
	assert_int_equal(api_role_of(&peer, 1000, grants, 3, API_ROLE_NONE),
			 API_ROLE_ADMINISTER);
	peer.uid = 0;
	assert_int_equal(api_role_of(&peer, 1000, NULL, 0, API_ROLE_NONE),
			 API_ROLE_ADMINISTER);
}

/* Names of certificates are not users, and users no names; what is not named
 * may nothing. */
static void test_role_of_name(void **state)
{
	const struct api_grant grants[] = {
		{API_ROLE_ADMINISTER, false, 0, "ops.example"},
		{API_ROLE_READ, false, 0, "mon.example"},
		{API_ROLE_OPERATE, false, 0, "mon.example"},
		{API_ROLE_ADMINISTER, false, 30, NULL},
	};
	const struct api_peer peer = {.uid = 10, .gid = 0};

	(void)state;
	assert_int_equal(api_role_of(&peer, 1000, grants, 4, API_ROLE_NONE),
			 API_ROLE_NONE);
	assert_int_equal(api_role_of_name("ops.example", grants, 4),
			 API_ROLE_ADMINISTER);
	assert_int_equal(api_role_of_name("mon.example", grants, 4),
			 API_ROLE_OPERATE);
	assert_int_equal(api_role_of_name("OPS.example", grants, 4),
			 API_ROLE_NONE);
	assert_int_equal(api_role_of_name("*", grants, 4), API_ROLE_NONE);
	assert_int_equal(api_role_of_name("30", grants, 4), API_ROLE_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_body_objects_and_texts),
		cmocka_unit_test(test_body_says_which_field),
		cmocka_unit_test(test_body_size_and_burst_have_a_range),
		cmocka_unit_test(test_body_duration_has_a_range),
		cmocka_unit_test(test_body_nothing_is_an_empty_object),
		cmocka_unit_test(test_body_too_long_texts),
		cmocka_unit_test(test_route_devices_have_one_segment_or_two),
		cmocka_unit_test(test_route_methods),
		cmocka_unit_test(test_route_table_roles),
		cmocka_unit_test(test_role_of),
		cmocka_unit_test(test_role_of_name),
	};

	return cmocka_run_group_tests_name("api-body", tests, NULL, NULL);
}
