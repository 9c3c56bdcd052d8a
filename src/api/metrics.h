/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics.h - what the host knows, as OpenMetrics text
 *
 * Base units (seconds, bytes, ratios), prefix penstock_.  Labels name things
 * of the configuration only, so their number is bounded by it.
 * Threads: the control thread.
 */
#ifndef API_METRICS_H
#define API_METRICS_H

struct host;

#define METRICS_TYPE \
	"application/openmetrics-text; version=1.0.0; charset=utf-8"

/* The whole exposition, to be freed; NULL: no memory. */
char *metrics_write(struct host *host);

#endif
