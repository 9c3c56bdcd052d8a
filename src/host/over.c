/* SPDX-License-Identifier: Apache-2.0 */
/* over.c - see over.h */
#include "host/over.h"

#include <stdint.h>

#include "host/events.h"
#include "host/host-data.h"

/* A capacity as corrected swings by some percent: only more than a twentieth
 * too much is too much, and only if it stays for so many seconds. */
#define MARGIN		20U
#define SECONDS		5U

static bool is_beyond(uint32_t promised_ppm, uint32_t allowed_ppm)
{
	return promised_ppm > allowed_ppm + allowed_ppm / MARGIN;
}

/* Is it time to tell that it is now 'is_over'? */
static bool has_changed(struct over_state *state, bool is_over,
			unsigned int seconds)
{
	if (is_over == state->is_over) {
		state->seconds = 0;
		return false;
	}
	if (++state->seconds < seconds)
		return false;
	*state = (struct over_state){.is_over = is_over};
	return true;
}

static void look_at_device(struct reg_device *device, unsigned int seconds)
{
	struct events *events = device->endpoint->host->events;
	const struct event_subject subject = {
		.device = device->name,
		.endpoint = device->endpoint->name,
	};
	struct admission_report report;

	admission_report(device->promise.admission, &report);
	if (!has_changed(
		    &device->over,
		    report.is_over &&
			    is_beyond(report.promised_ppm, report.allowed_ppm),
		    seconds))
		return;
	if (device->over.is_over)
		events_add(
			events, "over-promised", &subject,
			"device %s: %.0f %% of it is promised, it can hold %.0f %% now: not all of it will be kept; update or release processes",
			device->name, report.promised_ppm / 1e4,
			report.allowed_ppm / 1e4);
	else
		events_add(events, "promises-fit", &subject,
			   "device %s can hold what is promised of it again",
			   device->name);
}

static void look_at_core(struct reg_endpoint *endpoint, unsigned int seconds)
{
	struct events *events = endpoint->host->events;
	const struct event_subject subject = {.endpoint = endpoint->name};
	struct core_report report;

	core_report(endpoint->promise.core, &report);
	if (!has_changed(
		    &endpoint->core_over,
		    report.is_over &&
			    is_beyond(report.promised_ppm, report.allowed_ppm),
		    seconds))
		return;
	if (endpoint->core_over.is_over)
		events_add(
			events, "over-promised", &subject,
			"endpoint %s: what its devices promise, with what is kept free, takes %.0f %% of its core: not all of it will be kept; update or release processes",
			endpoint->name, report.promised_ppm / 1e4);
	else
		events_add(
			events, "promises-fit", &subject,
			"endpoint %s: its core can hold what its devices promise again",
			endpoint->name);
}

void over_measured(struct reg_device *device)
{
	look_at_device(device, 1);
	look_at_core(device->endpoint, 1);
}

void over_look(struct reg_device *device)
{
	look_at_device(device, SECONDS);
}

void over_look_core(struct reg_endpoint *endpoint)
{
	look_at_core(endpoint, SECONDS);
}
