/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz-rest.c - method, path and body of a request, as a stranger sends them
 *
 * "METHOD PATH\nBODY" goes through the route table and the checks of bodies.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "api/route.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_body(const struct api_route *route, const char *text,
		       size_t length)
{
	struct api_body body;
	struct error error = {""};

	if (api_body_parse(text, length, route->may, route->must, &body,
			   &error) < 0) {
		assert(error.text[0] && !strchr(error.text, '\n'));
		return;
	}
	/* What passed is bounded and has all that the handler counts on. */
	assert((body.present & ~route->may) == 0);
	assert((body.present & route->must) == route->must);
	assert(strnlen(body.sla, sizeof(body.sla)) < sizeof(body.sla));
	assert(strnlen(body.name, sizeof(body.name)) < sizeof(body.name));
	assert(!api_body_has(&body, API_PASID) || body.pasid > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), *path, *end;
	const struct api_route *route;
	struct api_params params;

	memcpy(text, data, size);
	text[size] = '\0';
	end = memchr(text, '\n', size);
	path = strchr(text, ' ');
	if (end && path && path < end) {
		*path++ = '\0';
		*end = '\0';
		if (api_route_find(api_routes, api_route_count, text, path,
				   &route, &params) == 0) {
			assert(memchr(params.name, '\0', sizeof(params.name)));
			check_body(route, end + 1,
				   size - (size_t)(end + 1 - text));
		}
	}
	/* Bodies are worth more of the time than paths. */
	for (size_t i = 0; i < api_route_count; i++)
		if (api_routes[i].may)
			check_body(&api_routes[i], (const char *)data, size);
	free(text);
	return 0;
}
