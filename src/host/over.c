/* SPDX-License-Identifier: Apache-2.0 */
/* over.c - see over.h */
#include "host/over.h"

#include <stdbool.h>
#include <stdint.h>

#include "host/events.h"
#include "host/host-data.h"

/* A capacity as corrected swings by some percent: only more than a twentieth
 * too much is too much, and only if it stays for so many seconds. */
#define MARGIN		20U
#define SECONDS		5U

static bool is_over(const struct admission_report *report)
{
	return report->is_over &&
		report->promised_ppm >
		report->allowed_ppm + report->allowed_ppm / MARGIN;
}

static void tell(struct reg_device *device,
		 const struct admission_report *report)
{
	struct host *host = device->endpoint->host;
	struct event_subject subject = {
		.device = device->name,
		.endpoint = device->endpoint->name,
	};

	device->is_over = !device->is_over;
	device->over_seconds = 0;
	if (device->is_over)
		events_add(
			host->events, "over-promised", &subject,
			"device %s: %.0f %% of it is promised, it can hold %.0f %% now: not all of it will be kept; update or release processes",
			device->name, report->promised_ppm / 1e4,
			report->allowed_ppm / 1e4);
	else
		events_add(host->events, "promises-fit", &subject,
			   "device %s can hold what is promised of it again",
			   device->name);
}

void over_measured(struct reg_device *device)
{
	struct admission_report report;

	admission_report(device->promise.admission, &report);
	if (is_over(&report) != device->is_over)
		tell(device, &report);
}

void over_look(struct reg_device *device)
{
	struct admission_report report;

	admission_report(device->promise.admission, &report);
	if (is_over(&report) == device->is_over)
		device->over_seconds = 0;
	else if (++device->over_seconds >= SECONDS)
		tell(device, &report);
}
