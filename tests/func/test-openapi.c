/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-openapi.c - docs/openapi.yaml is what penstockd serves
 *
 * Its paths, roles and bodies against the table of routes; its schemas against
 * the answers of a host with one of everything, over a fake endpoint.
 */
#include "host-rig.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include <cmocka.h>

#include "api/body.h"
#include "api/route.h"
#include "derive-rig.h"

static json_t *document;

/* --- Reading it ---------------------------------------------------------- */

/* Scalars stay text. */
static json_t *from_yaml(yaml_document_t *yaml, int index)
{
	yaml_node_t *node = yaml_document_get_node(yaml, index);
	json_t *value;

	if (node->type == YAML_SCALAR_NODE)
		return json_string((const char *)node->data.scalar.value);
	if (node->type == YAML_SEQUENCE_NODE) {
		value = json_array();
		for (yaml_node_item_t *item = node->data.sequence.items.start;
		     item < node->data.sequence.items.top; item++)
			json_array_append_new(value, from_yaml(yaml, *item));
		return value;
	}
	value = json_object();
	for (yaml_node_pair_t *pair = node->data.mapping.pairs.start;
	     pair < node->data.mapping.pairs.top; pair++) {
		yaml_node_t *key = yaml_document_get_node(yaml, pair->key);

		json_object_set_new(value, (const char *)key->data.scalar.value,
				    from_yaml(yaml, pair->value));
	}
	return value;
}

static json_t *load(const char *path)
{
	FILE *file = fopen(path, "re");
	yaml_document_t yaml;
	yaml_parser_t parser;
	json_t *value;

	assert_non_null(file);
	assert_true(yaml_parser_initialize(&parser));
	yaml_parser_set_input_file(&parser, file);
	assert_true(yaml_parser_load(&parser, &yaml));
	value = from_yaml(&yaml, 1);
	yaml_document_delete(&yaml);
	yaml_parser_delete(&parser);
	fclose(file);
	return value;
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

/* What a "$ref" stands for, else the schema itself. */
static const json_t *resolve(const json_t *schema)
{
	static const char prefix[] = "#/components/schemas/";
	const char *name = text_of(schema, "$ref");
	json_t *found;

	if (!*name)
		return schema;
	assert_int_equal(strncmp(name, prefix, sizeof(prefix) - 1), 0);
	found = json_object_get(
		json_object_get(json_object_get(document, "components"),
				"schemas"),
		name + sizeof(prefix) - 1);
	if (!found)
		fail_msg("there is no %s", name);
	return found;
}

/* --- Routes -------------------------------------------------------------- */

/* "/v1/vdevs/NAME" is "/v1/vdevs/{NAME}" there. */
static void as_template(const char *pattern, char *path, size_t size)
{
	size_t length = 0;

	for (; *pattern && length + 3 < size; pattern++) {
		const bool is_upper = isupper((unsigned char)*pattern);

		if (is_upper && path[length - 1] == '/')
			path[length++] = '{';
		path[length++] = *pattern;
		if (is_upper && !isupper((unsigned char)pattern[1]))
			path[length++] = '}';
	}
	path[length] = '\0';
}

/* Is 'name' in the set, as far as the parser of bodies goes? */
static bool is_field(const char *name, uint32_t set)
{
	struct api_body body;
	struct error error = {""};
	char text[128];
	int length = snprintf(text, sizeof(text), "{\"%s\": null}", name);

	api_body_parse(text, (size_t)length, set, 0, &body, &error);
	return strncmp(error.text, "unknown field", 13) != 0;
}

static void check_body(const struct api_route *route, const json_t *operation)
{
	const json_t *schema = json_object_get(
		json_object_get(json_object_get(json_object_get(operation,
								"requestBody"),
						"content"),
				"application/json"),
		"schema");
	const json_t *properties, *required, *item;
	const char *name;
	size_t i;

	if (!schema) {
		assert_int_equal(route->may, 0);
		return;
	}
	schema = resolve(schema);
	properties = json_object_get(schema, "properties");
	required = json_object_get(schema, "required");
	assert_int_equal(json_object_size(properties),
			 __builtin_popcount(route->may));
	json_object_foreach((json_t *)(uintptr_t)properties, name, item)
	{
		if (!is_field(name, route->may))
			fail_msg("%s %s takes no '%s'", route->method,
				 route->pattern, name);
	}
	assert_int_equal(json_array_size(required),
			 __builtin_popcount(route->must));
	json_array_foreach((json_t *)(uintptr_t)required, i, item)
	{
		assert_true(is_field(json_string_value(item), route->must));
	}
}

static void test_openapi_has_every_route(void **state)
{
	const json_t *paths = json_object_get(document, "paths"), *path;
	const json_t *operation;
	const char *key, *word;
	size_t operations = 0;

	(void)state;
	for (size_t i = 0; i < api_route_count; i++) {
		const struct api_route *route = &api_routes[i];
		char at[API_PATH_MAX], method[16] = "";

		as_template(route->pattern, at, sizeof(at));
		for (size_t c = 0; route->method[c]; c++)
			method[c] =
				(char)tolower((unsigned char)route->method[c]);
		operation = json_object_get(json_object_get(paths, at), method);
		if (!operation)
			fail_msg("%s %s is not described", method, at);
		assert_string_equal(text_of(operation, "x-penstock-role"),
				    api_role_name(route->role));
		check_body(route, operation);
	}
	json_object_foreach((json_t *)(uintptr_t)paths, key, path)
	{
		json_object_foreach((json_t *)(uintptr_t)path, word, operation)
		{
			operations += strcmp(word, "parameters") != 0;
		}
	}
	assert_int_equal(operations, api_route_count);
}

/* --- Answers ------------------------------------------------------------- */

static void check(const json_t *schema, const json_t *value, const char *at);

static void check_object(const json_t *schema, const json_t *value,
			 const char *at)
{
	const json_t *properties = json_object_get(schema, "properties");
	const json_t *more = json_object_get(schema, "additionalProperties");
	const json_t *item;
	const char *name;
	size_t i;

	if (!json_is_object(value))
		fail_msg("%s is no object", at);
	json_array_foreach(json_object_get(schema, "required"), i, item)
	{
		if (!json_object_get(value, json_string_value(item)))
			fail_msg("%s has no '%s'", at, json_string_value(item));
	}
	json_object_foreach((json_t *)(uintptr_t)value, name, item)
	{
		const json_t *property = json_object_get(properties, name);
		char below[256];

		snprintf(below, sizeof(below), "%.128s.%s", at, name);
		if (!property && !json_is_object(more))
			fail_msg("%s is not described", below);
		check(property ? property : more, item, below);
	}
}

static void check(const json_t *schema, const json_t *value, const char *at)
{
	const char *type;
	const json_t *item;
	bool is_right;
	size_t i;

	schema = resolve(schema);
	type = text_of(schema, "type");
	if (json_is_null(value) &&
	    strcmp(text_of(schema, "nullable"), "true") == 0)
		return;
	if (strcmp(type, "object") == 0) {
		check_object(schema, value, at);
		return;
	}
	if (strcmp(type, "array") == 0) {
		if (!json_is_array(value))
			fail_msg("%s is no array", at);
		json_array_foreach((json_t *)(uintptr_t)value, i, item)
		{
			check(json_object_get(schema, "items"), item, at);
		}
		return;
	}
	is_right = strcmp(type, "string") == 0 ? json_is_string(value) :
		strcmp(type, "integer") == 0   ? json_is_integer(value) :
		strcmp(type, "number") == 0    ? json_is_number(value) :
		strcmp(type, "boolean") == 0   ? json_is_boolean(value) :
						 false;
	if (!is_right)
		fail_msg("%s is no %s", at, type);
}

/* The schema of what an operation answers when it is done. */
static const json_t *answer_of(const char *path, const char *method)
{
	const json_t *at = json_object_get(
		json_object_get(json_object_get(document, "paths"), path),
		method);
	static const char *const steps[] = {"responses", "200", "content",
					    "application/json", "schema"};

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		at = json_object_get(at, steps[i]);
	assert_non_null(at);
	return at;
}

/* Takes 'value' over. */
static void check_answer(const char *path, const char *method, json_t *value)
{
	assert_non_null(value);
	check(answer_of(path, method), value, path);
	json_decref(value);
}

/* A process that has done something. */
static void check_derived(struct rig *rig)
{
	const struct host_derive_request request = {
		.pasid = 1,
		.keep_up = true,
	};
	struct host_derive_request question = {.pasid = 1};

	derive_use(rig, 1, 100, 10000);
	host_process_derive(rig->host, &question, &rig->call);
	rig_answer(rig, HOST_DONE);
	check_answer("/v1/processes/{PASID}/derive", "post",
		     json_incref(rig->value));
	host_process_derive(rig->host, &request, &rig->call);
	rig_answer(rig, HOST_DONE);
	check_answer("/v1/processes/{PASID}/derive/accept", "post",
		     json_incref(rig->value));
	host_report(rig->host, NULL, &rig->call);
	rig_answer(rig, HOST_DONE);
	check_answer("/v1/report", "get", json_incref(rig->value));
}

static void test_openapi_describes_answers(void **state)
{
	struct host_process_request request = {
		.pasid = 9,
		.vdev = "v0",
		.sla = "iops >= 100M",
		.limit = "iops 200M, write bandwidth 1 MB/s",
		.match = "be/3",
	};
	const json_t *event_schema, *event;
	struct rig *rig = *state;
	json_t *events;
	size_t i;

	rig_start(
		rig,
		RIG_WHOLE
		"  - {pasid: 3, vdev: v0, sla: {iops: '>= 100M'}}\n"
		"  - {pasid: 4, vdev: v0, sla: {iops: '>= 100M'}, best-effort: true, vhost-user: /proc/no}\n"
		"uplinks: [{name: up0, dev: eth0}]\n",
		true);
	check_answer("/v1/status", "get", host_status(rig->host));
	check_answer("/v1/devices", "get", host_devices(rig->host));
	check_answer("/v1/devices/{DEVICE}", "get",
		     host_device(rig->host, "m0"));
	check_answer("/v1/pools", "get", host_pools(rig->host));
	check_answer("/v1/vdevs", "get", host_vdevs(rig->host));
	check_answer("/v1/processes", "get", host_processes(rig->host));
	check_answer("/v1/processes/{PASID}/stats", "get",
		     host_process_stats(rig->host, 1));

	host_process_add(rig->host, &request, &rig->call);
	rig_answer(rig, HOST_REFUSED);
	json_object_set_new(rig->value, "error", json_string(rig->text));
	json_object_set_new(rig->value, "code", json_string("refused"));
	event = json_pack("{s:s}", "$ref", "#/components/schemas/Error");
	check(event, rig->value, "a refusal");
	json_decref((json_t *)(uintptr_t)event);
	request.sla = "iops >= 10";
	host_process_add(rig->host, &request, &rig->call);
	rig_answer(rig, HOST_DONE);
	check_answer("/v1/processes", "post", json_incref(rig->value));
	host_admission(rig->host, "v0", "iops >= 1", &rig->call);
	rig_answer(rig, HOST_DONE);
	check_answer("/v1/admission", "post", json_incref(rig->value));
	check_derived(rig);
	host_enforce(rig->host, false, &rig->call);
	rig_answer(rig, HOST_DONE);
	check_answer("/v1/enforce", "post", json_incref(rig->value));

	event_schema = json_object_get(
		json_object_get(json_object_get(document, "components"),
				"schemas"),
		"Event");
	events = host_events(rig->host, 0);
	assert_true(json_array_size(events) > 3);
	json_array_foreach(events, i, event)
	{
		check(event_schema, event, "event");
	}
	json_decref(events);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_openapi_has_every_route),
		cmocka_unit_test_setup_teardown(test_openapi_describes_answers,
						rig_setup, rig_teardown),
	};
	int failed;

	if (argc < 3)
		return 77;	/* the paths of endpoint and document */
	rig_program = realpath(argv[1], NULL);
	document = load(argv[2]);
	if (!rig_program || !json_is_object(document))
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	json_decref(document);
	return failed;
}
