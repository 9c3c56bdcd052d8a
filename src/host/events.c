/* SPDX-License-Identifier: Apache-2.0 */
/* events.c - a ring of JSON objects; see events.h */
#include "host/events.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

struct events {
	json_t *ring[EVENTS_KEPT];
	uint64_t last;			/* number of the newest; 0: none yet */
	struct host_listener *listeners;
};

int events_create(struct events **ret_events)
{
	*ret_events = calloc(1, sizeof(**ret_events));
	return *ret_events ? 0 : -ENOMEM;
}

void events_destroy(struct events *events)
{
	unsigned int i;

	if (!events)
		return;
	for (i = 0; i < EVENTS_KEPT; i++)
		json_decref(events->ring[i]);
	free(events);
}

static void set_text(json_t *event, const char *key, const char *text)
{
	if (text)
		json_object_set_new(event, key, json_string(text));
}

static json_t *event_make(uint64_t number, const char *kind,
			  const struct event_subject *subject, const char *text)
{
	struct timespec now;
	int64_t now_ms;
	json_t *event;

	clock_gettime(CLOCK_REALTIME, &now);
	now_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
	event = json_pack("{s:I, s:f, s:s, s:s}", "seq", (json_int_t)number,
			  "time", (double)now_ms / 1000.0, "kind", kind, "text",
			  text);
	if (!event || !subject)
		return event;
	if (subject->pasid)
		json_object_set_new(event, "pasid",
				    json_integer(subject->pasid));
	set_text(event, "vdev", subject->vdev);
	set_text(event, "device", subject->device);
	set_text(event, "endpoint", subject->endpoint);
	return event;
}

void events_add(struct events *events, const char *kind,
		const struct event_subject *subject, const char *format, ...)
{
	struct host_listener *listener, *next;
	struct error text;
	json_t *event;
	va_list args;
	json_t **slot;

	va_start(args, format);
	error_vset(&text, 0, format, args);
	va_end(args);
	event = event_make(events->last + 1, kind, subject, text.text);
	if (!event)
		return;
	slot = &events->ring[++events->last % EVENTS_KEPT];
	json_decref(*slot);
	*slot = event;
	/* A listener may make another event, and may go. */
	json_incref(event);
	for (listener = events->listeners; listener; listener = next) {
		next = listener->next;
		listener->event(listener, event);
	}
	json_decref(event);
}

void events_listen(struct events *events, struct host_listener *listener)
{
	listener->next = events->listeners;
	events->listeners = listener;
}

void events_unlisten(struct events *events, struct host_listener *listener)
{
	struct host_listener **link = &events->listeners;

	while (*link && *link != listener)
		link = &(*link)->next;
	if (*link)
		*link = listener->next;
}

json_t *events_since(const struct events *events, uint64_t after)
{
	uint64_t number =
		events->last > EVENTS_KEPT ? events->last - EVENTS_KEPT + 1 : 1;
	json_t *array = json_array();

	if (after >= events->last)
		return array;
	if (after >= number)
		number = after + 1;
	for (; array && number <= events->last; number++)
		json_array_append(array, events->ring[number % EVENTS_KEPT]);
	return array;
}
