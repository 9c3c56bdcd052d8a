/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route.c - method and path to the line of a table
 */
#include "api/route.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "host/config.h"

/* The segment at '*cursor' (after its '/'), copied; '*cursor' goes behind it.
 * False: no segment there, or longer than any that is served. */
static bool next_segment(const char **cursor, char segment[API_NAME_MAX])
{
	size_t length;

	if (**cursor != '/')
		return false;
	length = strcspn(*cursor + 1, "/");
	if (length == 0 || length >= API_NAME_MAX)
		return false;
	memcpy(segment, *cursor + 1, length);
	segment[length] = '\0';
	*cursor += length + 1;
	return true;
}

/* A device's name is one segment or two: two when what follows in the path
 * has one segment more than what follows in the pattern. */
static bool match_device(const char **path, const char *pattern_rest,
			 struct api_params *params)
{
	char segment[API_NAME_MAX];
	unsigned int more = 0;

	for (const char *at = *path; *at; at++)
		more += *at == '/';
	for (const char *at = pattern_rest; *at; at++)
		more -= *at == '/';
	if (more < 1 || more > 2)
		return false;

	params->name[0] = '\0';
	for (unsigned int i = 0; i < more; i++) {
		if (!next_segment(path, segment) ||
		    config_check_name(segment, NULL) < 0)
			return false;
		if (i > 0)
			strcat(params->name, "/");
		strcat(params->name, segment);
	}
	return true;
}

static bool match(const char *pattern, const char *path,
		  struct api_params *params)
{
	char want[API_NAME_MAX], have[API_NAME_MAX];

	while (*pattern) {
		if (!next_segment(&pattern, want))
			return false;
		if (strcmp(want, "DEVICE") == 0) {
			if (!match_device(&path, pattern, params))
				return false;
			continue;
		}
		if (!next_segment(&path, have))
			return false;
		if (strcmp(want, "NAME") == 0) {
			if (config_check_name(have, NULL) < 0)
				return false;
			strcpy(params->name, have);
		} else if (strcmp(want, "PASID") == 0) {
			if (api_parse_pasid(have, &params->pasid) < 0)
				return false;
		} else if (strcmp(want, have) != 0) {
			return false;
		}
	}
	return *path == '\0';
}

int api_route_find(const struct api_route *routes, size_t count,
		   const char *method, const char *path,
		   const struct api_route **ret_route,
		   struct api_params *ret_params)
{
	int error = -ENOENT;

	if (strlen(path) >= API_PATH_MAX)
		return -ENOENT;
	if (strcmp(method, "HEAD") == 0)
		method = "GET";
	for (size_t i = 0; i < count; i++) {
		struct api_params params = {0};

		if (!match(routes[i].pattern, path, &params))
			continue;
		error = -EOPNOTSUPP;
		if (strcmp(routes[i].method, method) != 0)
			continue;
		*ret_route = &routes[i];
		*ret_params = params;
		return 0;
	}
	return error;
}
