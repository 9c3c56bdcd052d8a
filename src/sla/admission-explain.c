/* SPDX-License-Identifier: Apache-2.0 */
/* admission-explain.c - a refusal as one line; see admission.h */
#include "sla/admission.h"

#include <stdio.h>
#include <string.h>

#include "base/units.h"

/* "read latency p99" */
static void format_key(const struct admission_refusal *refusal, char *buffer,
		       size_t size)
{
	static const char *const directions[] = {
		[SLA_TOTAL] = "",
		[SLA_READ] = "read ",
		[SLA_WRITE] = "write ",
	};
	char percentile[8];

	sla_format_percentile(refusal->percentile, percentile,
			      sizeof(percentile));
	snprintf(buffer, size, "%s%s%s%s", directions[refusal->direction],
		 sla_metric_name(refusal->metric), *percentile ? " " : "",
		 percentile);
}

char *admission_explain(const struct admission_refusal *refusal,
			const char *device, const char *endpoint, char *buffer,
			size_t size)
{
	char key[32], asked[UNITS_TEXT_MAX], available[UNITS_TEXT_MAX];
	char shortfall[UNITS_TEXT_MAX];

	format_key(refusal, key, sizeof(key));
	sla_format_value(refusal->metric, refusal->asked, asked, sizeof(asked));
	sla_format_value(refusal->metric, refusal->available, available,
			 sizeof(available));
	sla_format_value(refusal->metric, refusal->shortfall, shortfall,
			 sizeof(shortfall));
	switch (refusal->reason) {
	case ADMISSION_RATE:
		snprintf(buffer, size,
			 "%s: %s asked, %s left on device %s (short by %s)",
			 key, asked, available, device, shortfall);
		break;
	case ADMISSION_CORE:
		snprintf(
			buffer, size,
			"%s: %s asked, %s left on the core of endpoint %s, which serves its other devices, too (short by %s)",
			key, asked, available, endpoint, shortfall);
		break;
	case ADMISSION_LATENCY:
		if (refusal->available == UINT64_MAX)
			snprintf(buffer, size,
				 "%s: %s asked, device %s is "
				 "promised to its limit",
				 key, asked, device);
		else if (refusal->available >= CAPACITY_TIME_MAX_NS)
			snprintf(buffer, size,
				 "%s: %s asked, no latency is promised "
				 "of device %s: give its 'sla' one",
				 key, asked, device);
		else
			snprintf(buffer, size,
				 "%s: %s asked, device %s can "
				 "hold %s beside all it has promised (short by "
				 "%s)",
				 key, asked, device, available, shortfall);
		break;
	case ADMISSION_SPACE:
		snprintf(buffer, size,
			 "%s: %s asked, the vdev has %s (short by "
			 "%s)",
			 key, asked, available, shortfall);
		break;
	case ADMISSION_NOT_SERVED:
		snprintf(buffer, size, "%s: not served by a storage device",
			 key);
		break;
	case ADMISSION_NOT_MEASURED:
		snprintf(buffer, size,
			 "%s: %s asked, but device %s was never "
			 "calibrated: run 'penstock device calibrate %s'",
			 key, asked, device, device);
		break;
	}
	return buffer;
}
