/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics.c - what the host knows, as OpenMetrics text
 *
 * One table: a family says of which list of things it is, and for each of its
 * samples where in a thing's JSON the number stands.  A number that is not
 * there gives no sample.
 */
#include "api/metrics.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/host.h"

enum source { STATUS, ENDPOINT, DEVICE, POOL, VDEV, PROCESS, SOURCES };

#define SAMPLES_MAX	6U

struct family {
	enum source source;
	const char *name;		/* without penstock_, with its unit */
	const char *type, *unit, *help;
	double scale;			/* JSON's unit to the family's */
	struct {
		const char *path;	/* "counters.read.bytes" */
		const char *labels;	/* added to the thing's, or NULL */
	} samples[SAMPLES_MAX];
};

#define READ	"direction=\"read\""
#define WRITE	"direction=\"write\""
#define OTHER	"direction=\"other\""
#define PLAIN(path)	\
	{ \
		{ \
			path, NULL \
		} \
	}

static const struct family families[] = {
	{STATUS, "uptime_seconds", "gauge", "seconds",
	 "Time since penstockd started.", 1, PLAIN("uptime_s")},
	{STATUS, "enforce", "gauge", "", "1 while promises are enforced.", 1,
	 PLAIN("enforce")},
	{STATUS,
	 "processes",
	 "gauge",
	 "",
	 "Processes by what became of them.",
	 1,
	 {{"processes.bound", "state=\"bound\""},
	  {"processes.pending", "state=\"pending\""},
	  {"processes.refused", "state=\"refused\""}}},
	{STATUS,
	 "promises",
	 "gauge",
	 "",
	 "Promised processes by verdict.",
	 1,
	 {{"processes.kept", "verdict=\"kept\""},
	  {"processes.broken", "verdict=\"broken\""},
	  {"processes.unknown", "verdict=\"unknown\""}}},

	{ENDPOINT, "endpoint_restarts", "counter", "",
	 "Times that the endpoint had to be started again.", 1,
	 PLAIN("restarts")},
	{ENDPOINT, "endpoint_busy_ratio", "gauge", "ratio",
	 "Share of the last 10 s in which the endpoint did not sleep.", 1,
	 PLAIN("busy_share")},
	{ENDPOINT,
	 "endpoint_wake_late_seconds",
	 "histogram",
	 "seconds",
	 "How late the endpoint woke up for what was due.",
	 1e-9,
	 {{"wakes.within_50us", "le=\"5e-05\""},
	  {"wakes.within_200us", "le=\"0.0002\""},
	  {"wakes.within_1ms", "le=\"0.001\""},
	  {"wakes.count", "le=\"+Inf\""},
	  {"wakes.count", NULL},
	  {"wakes.late_ns", NULL}}},
	{ENDPOINT, "endpoint_away_seconds", "counter", "seconds",
	 "Time in which others had the endpoint's CPU while it should have run.",
	 1e-9, PLAIN("away_ns")},

	{DEVICE, "device_size_bytes", "gauge", "bytes", "Size of the device.",
	 1, PLAIN("size_bytes")},
	{DEVICE, "device_allocated_bytes", "gauge", "bytes",
	 "Part of the device that vdevs hold.", 1, PLAIN("allocated_bytes")},
	{DEVICE, "device_emptying_bytes", "gauge", "bytes",
	 "Space that was given back and is being zeroed.", 1,
	 PLAIN("emptying_bytes")},
	{DEVICE, "device_bad_bytes", "gauge", "bytes",
	 "Space that could not be zeroed.", 1, PLAIN("bad_bytes")},
	{DEVICE, "device_log_errors", "counter", "",
	 "Writes of the log of a pool's device that failed.", 1,
	 PLAIN("log_errors")},
	{DEVICE, "device_in_flight_requests", "gauge", "requests",
	 "Requests inside the device.", 1, PLAIN("in_flight")},
	{DEVICE, "device_window_requests", "gauge", "requests",
	 "Most requests that may be inside the device now.", 1,
	 PLAIN("window")},
	{DEVICE, "device_queued_requests", "gauge", "requests",
	 "Requests waiting for the device.", 1, PLAIN("queued")},
	{DEVICE, "device_errors", "counter", "",
	 "Requests that the device failed.", 1, PLAIN("errors")},
	{DEVICE, "device_retries", "counter", "",
	 "Requests that had failed and were done again.", 1, PLAIN("retries")},
	{DEVICE, "device_stalled_seconds", "gauge", "seconds",
	 "How long the device has not completed anything it owes.", 1e-9,
	 PLAIN("stalled_ns")},
	{DEVICE, "device_capacity_ratio", "gauge", "ratio",
	 "Capacity as corrected while running, of the calibrated one.", 1e-3,
	 PLAIN("capacity_milli")},
	{DEVICE, "device_reservations_ratio", "gauge", "ratio",
	 "Factor on reservations for want of capacity; 1: none.", 1e-3,
	 PLAIN("shortage_milli")},

	{POOL, "pool_size_bytes", "gauge", "bytes", "Size of the pool.", 1,
	 PLAIN("size_bytes")},
	{POOL, "pool_allocated_bytes", "gauge", "bytes",
	 "Part of the pool that vdevs hold.", 1, PLAIN("allocated_bytes")},
	{POOL, "pool_reserved_bytes", "gauge", "bytes",
	 "Space of thick vdevs that they do not use yet.", 1,
	 PLAIN("reserved_bytes")},
	{POOL, "pool_free_bytes", "gauge", "bytes", "Space that is nobody's.",
	 1, PLAIN("free_bytes")},
	{POOL, "pool_promised_bytes", "gauge", "bytes",
	 "Sizes of all vdevs together; of a thin pool it may be more than there is.",
	 1, PLAIN("promised_bytes")},
	{POOL, "pool_level_ratio", "gauge", "ratio",
	 "At least so much is used or reserved: 0, 0.8, 0.9, 0.95 or 1.", 1e-2,
	 PLAIN("level_percent")},
	{POOL, "pool_missing_devices", "gauge", "",
	 "Devices of the pool that are not there.", 1,
	 PLAIN("missing_devices")},

	{VDEV, "vdev_size_bytes", "gauge", "bytes", "Size of the vdev.", 1,
	 PLAIN("size_bytes")},
	{VDEV, "vdev_allocated_bytes", "gauge", "bytes",
	 "Space that the vdev holds.", 1, PLAIN("allocated_bytes")},
	{VDEV, "vdev_errors", "counter", "",
	 "Requests of the vdev that a device failed, whatever became of them.",
	 1, PLAIN("errors")},
	{VDEV, "vdev_retries", "counter", "",
	 "Requests of the vdev that had failed and were done again.", 1,
	 PLAIN("retries")},
	{VDEV, "vdev_no_space", "counter", "",
	 "Writes of the vdev that found no space.", 1, PLAIN("no_space")},
	{VDEV, "vdev_sessions", "gauge", "", "Front-ends connected.", 1,
	 PLAIN("sessions")},
	{VDEV,
	 "vdev_combined_iops",
	 "gauge",
	 "iops",
	 "What all promises on the vdev add up to.",
	 1,
	 {{"combined.iops", "direction=\"total\""},
	  {"combined.read_iops", READ},
	  {"combined.write_iops", WRITE}}},
	{VDEV,
	 "vdev_combined_bytes_per_second",
	 "gauge",
	 "bytes_per_second",
	 "What all promises on the vdev add up to.",
	 1,
	 {{"combined.bandwidth_bytes_per_s", "direction=\"total\""},
	  {"combined.read_bandwidth_bytes_per_s", READ},
	  {"combined.write_bandwidth_bytes_per_s", WRITE}}},
	{VDEV,
	 "vdev_combined_latency_seconds",
	 "gauge",
	 "seconds",
	 "Strictest p99 latency promised on the vdev.",
	 1e-9,
	 {{"combined.latency_ns", "direction=\"total\""},
	  {"combined.read_latency_ns", READ},
	  {"combined.write_latency_ns", WRITE}}},

	{PROCESS,
	 "process_promised_iops",
	 "gauge",
	 "iops",
	 "Requests per second promised.",
	 1,
	 {{"sla.iops", "direction=\"total\""},
	  {"sla.read_iops", READ},
	  {"sla.write_iops", WRITE}}},
	{PROCESS,
	 "process_promised_bytes_per_second",
	 "gauge",
	 "bytes_per_second",
	 "Bandwidth promised.",
	 1,
	 {{"sla.bandwidth_bytes_per_s", "direction=\"total\""},
	  {"sla.read_bandwidth_bytes_per_s", READ},
	  {"sla.write_bandwidth_bytes_per_s", WRITE}}},
	{PROCESS,
	 "process_promised_latency_seconds",
	 "gauge",
	 "seconds",
	 "The p99 latency promised.",
	 1e-9,
	 {{"sla.latency_ns", "direction=\"total\""},
	  {"sla.read_latency_ns", READ},
	  {"sla.write_latency_ns", WRITE}}},
	{PROCESS,
	 "process_delivered_iops",
	 "gauge",
	 "iops",
	 "Requests per second completed, over the last seconds.",
	 1,
	 {{"delivered.read_iops", READ}, {"delivered.write_iops", WRITE}}},
	{PROCESS,
	 "process_delivered_bytes_per_second",
	 "gauge",
	 "bytes_per_second",
	 "Bandwidth, over the last seconds.",
	 1,
	 {{"delivered.read_bandwidth_bytes_per_s", READ},
	  {"delivered.write_bandwidth_bytes_per_s", WRITE}}},
	{PROCESS,
	 "process_latency_seconds",
	 "gauge",
	 "seconds",
	 "Latency over the last seconds, by percentile.",
	 1e-9,
	 {{"delivered.latency_p50_ns", "percentile=\"50\""},
	  {"delivered.latency_p99_ns", "percentile=\"99\""}}},
	{PROCESS, "process_kept", "gauge", "",
	 "1: the promise is kept, 0: broken; absent: too little to say.", 1,
	 PLAIN("kept")},
	{PROCESS, "process_kept_up_window_seconds", "gauge", "seconds",
	 "The promise is derived again each minute, from so much history; absent: it is not.",
	 1, PLAIN("kept_up.window_s")},
	{PROCESS,
	 "process_requests",
	 "counter",
	 "",
	 "Requests completed.",
	 1,
	 {{"counters.read.requests", READ},
	  {"counters.write.requests", WRITE},
	  {"counters.other.requests", OTHER}}},
	{PROCESS,
	 "process_transferred_bytes",
	 "counter",
	 "bytes",
	 "Bytes read and written.",
	 1,
	 {{"counters.read.bytes", READ},
	  {"counters.write.bytes", WRITE},
	  {"counters.other.bytes", OTHER}}},
	{PROCESS,
	 "process_errors",
	 "counter",
	 "",
	 "Requests that failed.",
	 1,
	 {{"counters.read.errors", READ},
	  {"counters.write.errors", WRITE},
	  {"counters.other.errors", OTHER}}},
	{PROCESS, "process_throttled_requests", "counter", "requests",
	 "Requests that had to wait for their turn.", 1,
	 PLAIN("counters.throttled")},
	{PROCESS, "process_queued_requests", "gauge", "requests",
	 "Requests waiting for their turn.", 1, PLAIN("queued")},
	{PROCESS, "process_in_flight_requests", "gauge", "requests",
	 "Requests under way.", 1, PLAIN("in_flight")},
};

/* Which fields of a thing become labels. */
static const struct {
	const char *field, *label;
} labels[SOURCES][2] = {
	[ENDPOINT] = {{"name", "endpoint"}},
	[DEVICE] = {{"name", "device"}},
	[POOL] = {{"name", "pool"}},
	[VDEV] = {{"name", "vdev"}},
	[PROCESS] = {{"pasid", "pasid"}, {"vdev", "vdev"}},
};

static const json_t *follow(const json_t *thing, const char *path)
{
	while (thing && *path) {
		char key[64];
		const size_t length = strcspn(path, ".");

		if (length >= sizeof(key))
			return NULL;
		memcpy(key, path, length);
		key[length] = '\0';
		thing = json_object_get(thing, key);
		path += length + (path[length] == '.');
	}
	return thing;
}

static void write_quoted(FILE *out, const char *text)
{
	fputc('"', out);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			fputc('\\', out);
		if (*text == '\n')
			fputs("\\n", out);
		else
			fputc(*text, out);
	}
	fputc('"', out);
}

static void write_labels(FILE *out, enum source source, const json_t *thing,
			 const char *more)
{
	const char *separator = "{";

	for (unsigned int i = 0; i < 2 && labels[source][i].field; i++) {
		const json_t *value =
			json_object_get(thing, labels[source][i].field);

		fprintf(out, "%s%s=", separator, labels[source][i].label);
		if (json_is_string(value))
			write_quoted(out, json_string_value(value));
		else
			fprintf(out, "\"%" JSON_INTEGER_FORMAT "\"",
				json_integer_value(value));
		separator = ",";
	}
	if (more) {
		fprintf(out, "%s%s", separator, more);
		separator = ",";
	}
	if (separator[0] == ',')
		fputc('}', out);
}

/* What follows the family's name in a sample's.  A histogram's are its buckets,
 * which have labels, then the count, then the sum. */
static const char *suffix_of(const struct family *family, unsigned int index)
{
	if (strcmp(family->type, "counter") == 0)
		return "_total";
	if (strcmp(family->type, "histogram"))
		return "";
	if (family->samples[index].labels)
		return "_bucket";
	return family->samples[index - 1].labels ? "_count" : "_sum";
}

static void write_sample(FILE *out, const struct family *family,
			 const json_t *thing, unsigned int index)
{
	const json_t *value = follow(thing, family->samples[index].path);
	const char *suffix = suffix_of(family, index);
	double number;

	if (json_is_boolean(value))
		number = json_is_true(value);
	else if (json_is_number(value))
		number = json_number_value(value);
	else
		return;
	/* A histogram's unit is that of its sum; the others are counts. */
	if (strcmp(suffix, "_bucket") && strcmp(suffix, "_count"))
		number *= family->scale;
	fprintf(out, "penstock_%s%s", family->name, suffix);
	write_labels(out, family->source, thing, family->samples[index].labels);
	fprintf(out, " %.15g\n", number);
}

static void write_family(FILE *out, const struct family *family,
			 const json_t *things)
{
	size_t i;
	const json_t *thing;

	fprintf(out, "# TYPE penstock_%s %s\n", family->name, family->type);
	if (family->unit[0])
		fprintf(out, "# UNIT penstock_%s %s\n", family->name,
			family->unit);
	fprintf(out, "# HELP penstock_%s %s\n", family->name, family->help);
	json_array_foreach((json_t *)(uintptr_t)things, i, thing)
	{
		for (unsigned int s = 0;
		     s < SAMPLES_MAX && family->samples[s].path; s++)
			write_sample(out, family, thing, s);
	}
}

char *metrics_write(struct host *host)
{
	json_t *lists[SOURCES] = {
		[DEVICE] = host_devices(host),
		[POOL] = host_pools(host),
		[VDEV] = host_vdevs(host),
		[PROCESS] = host_processes(host),
	};
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);
	json_t *status = host_status(host);

	lists[ENDPOINT] = json_incref(json_object_get(status, "endpoints"));
	lists[STATUS] = json_array();
	json_array_append_new(lists[STATUS], status);
	if (out) {
		for (size_t i = 0; i < sizeof(families) / sizeof(families[0]);
		     i++)
			write_family(out, &families[i],
				     lists[families[i].source]);
		fputs("# EOF\n", out);
		if (fclose(out) != 0) {
			free(text);
			text = NULL;
		}
	}
	for (unsigned int i = 0; i < SOURCES; i++)
		json_decref(lists[i]);
	return text;
}
