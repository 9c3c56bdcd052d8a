/* SPDX-License-Identifier: Apache-2.0 */
/*
 * events.h - what happened: the last 1,000 things, and whoever listens
 *
 * Threads: the control thread's.
 */
#ifndef HOST_EVENTS_H
#define HOST_EVENTS_H

#include <jansson.h>
#include <stdint.h>

#include "host/host.h"

#define EVENTS_KEPT	1000U

struct events;

struct event_subject {		/* what it is about; NULL and 0: not */
	uint32_t pasid;
	const char *vdev, *device, *endpoint;
};

/* Returns 0 or -ENOMEM. */
int events_create(struct events **ret_events);
void events_destroy(struct events *events);	/* NULL is allowed */

/* Remember it and tell the listeners. */
void events_add(struct events *events, const char *kind,
		const struct event_subject *subject, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
void events_listen(struct events *events, struct host_listener *listener);
void events_unlisten(struct events *events, struct host_listener *listener);
/* A new array of those after number 'after'. */
json_t *events_since(const struct events *events, uint64_t after);

#endif
