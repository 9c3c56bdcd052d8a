/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route.h - method and path to the line of a table
 *
 * A pattern is a path whose capital segments stand for something:
 * NAME (one segment, a name), DEVICE ("d0" or "ep0/d0": one segment or two),
 * PASID (a number).  Each may stand once.
 * Pure.
 */
#ifndef API_ROUTE_H
#define API_ROUTE_H

#include <stddef.h>
#include <stdint.h>

#include "api/body.h"
#include "api/role.h"

struct api_call;

#define API_PATH_MAX		512U
#define API_DEVICE_NAME_MAX	(2U * API_NAME_MAX)

struct api_route {
	const char *method, *pattern;
	enum api_role role;		/* the least that may */
	uint32_t may, must;		/* API_FIELD() of the body */
	void (*handle)(struct api_call *call);
};

struct api_params {
	char name[API_DEVICE_NAME_MAX];	/* NAME or DEVICE */
	uint32_t pasid;
};

/* The table of everything that is served (routes.c). */
extern const struct api_route api_routes[];
extern const size_t api_route_count;

/* Returns 0; -ENOENT: no such path; -EOPNOTSUPP: the path is there, but not
 * for this method.  HEAD finds GET. */
int api_route_find(const struct api_route *routes, size_t count,
		   const char *method, const char *path,
		   const struct api_route **ret_route,
		   struct api_params *ret_params);

#endif
