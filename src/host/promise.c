/* SPDX-License-Identifier: Apache-2.0 */
/* promise.c - what is promised together, and what may still be */
#include "host/promise.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "host/registry.h"

int promise_init(struct promise *promise, uint32_t headroom_milli)
{
	memset(promise, 0, sizeof(*promise));
	promise->headroom_milli = headroom_milli;
	promise->correction_milli = 1000;
	return 0;
}

void promise_finish(struct promise *promise)
{
	free(promise->members);
	promise->members = NULL;
	promise->count = 0;
}

int promise_set_capacity(struct promise *promise,
			 const struct capacity *capacity)
{
	promise->capacity = *capacity;
	promise->is_measured = true;
	return 0;
}

void promise_set_correction(struct promise *promise, uint32_t milli)
{
	promise->correction_milli = milli;
}

/* The highest measured rate at which the percentile is within the bound. */
static uint64_t sustainable_iops(const struct capacity_curve *curve,
				 unsigned int tenths, uint64_t latency_ns)
{
	uint64_t best = 0;
	unsigned int i;

	for (i = 0; i < curve->count; i++) {
		const struct capacity_point *point = &curve->points[i];
		uint64_t late_ns = tenths <= 950 ? point->p95_ns
			: point->p99_ns;

		if ((!latency_ns || late_ns <= latency_ns) &&
		    point->iops > best)
			best = point->iops;
	}
	return best;
}

static bool is_shared(uint8_t metric)
{
	return metric == SLA_LATENCY || metric == SLA_JITTER ||
		metric == SLA_LOSS;
}

static void combine_spec(struct sla *sum, const struct sla_spec *spec)
{
	unsigned int i;

	for (i = 0; i < sum->count; i++) {
		struct sla_spec *have = &sum->specs[i];

		if (have->metric != spec->metric ||
		    have->direction != spec->direction ||
		    have->percentile != spec->percentile)
			continue;
		if (!is_shared(spec->metric))
			have->value += spec->value;
		else if (spec->value < have->value)
			have->value = spec->value;
		return;
	}
	if (sum->count < SLA_SPECS_MAX)
		sum->specs[sum->count++] = *spec;
}

static void combine(const struct promise *promise, const struct sla *without,
		    struct sla *ret_sum)
{
	unsigned int i, j;

	memset(ret_sum, 0, sizeof(*ret_sum));
	for (i = 0; i < promise->count; i++)
		for (j = 0; promise->members[i] != without &&
		     j < promise->members[i]->count; j++)
			combine_spec(ret_sum, &promise->members[i]->specs[j]);
}

static int join(struct promise *promise, const struct sla *sla)
{
	const struct sla **grown = reallocarray(promise->members,
						promise->count + 1U,
						sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	promise->members = grown;
	grown[promise->count++] = sla;
	return 0;
}

static void leave(struct promise *promise, const struct sla *sla)
{
	unsigned int i;

	for (i = 0; i < promise->count; i++) {
		if (promise->members[i] != sla)
			continue;
		promise->members[i] = promise->members[--promise->count];
		return;
	}
}

/* What of the device a rate takes, in millionths of what may be promised. */
static bool fits(const struct promise *promise, const struct sla *sum,
		 struct promise_refusal *refusal)
{
	double scale = (1000.0 - promise->headroom_milli) / 1000.0 *
		promise->correction_milli / 1000.0;
	uint64_t latency_ns[2] = { 0, 0 };
	unsigned int tenths[2] = { 950, 950 };
	double used_iops = 0, used_bytes = 0;
	uint64_t rate[2], bytes[2];
	unsigned int i, d;

	for (i = 0; i < sum->count; i++) {
		const struct sla_spec *spec = &sum->specs[i];

		if (spec->metric != SLA_LATENCY)
			continue;
		for (d = 0; d < 2; d++) {
			if (spec->direction == (d ? SLA_READ : SLA_WRITE))
				continue;
			if (!latency_ns[d] || spec->value < latency_ns[d])
				latency_ns[d] = spec->value;
			if (spec->percentile > tenths[d])
				tenths[d] = spec->percentile;
		}
	}
	for (d = 0; d < 2; d++) {
		rate[d] = sustainable_iops(&promise->capacity.direction[d],
					   tenths[d], latency_ns[d]);
		bytes[d] = promise->capacity.direction[d].bytes_per_s;
	}
	for (i = 0; i < sum->count; i++) {
		const struct sla_spec *spec = &sum->specs[i];
		uint64_t *of = spec->metric == SLA_IOPS ? rate : bytes;
		double *used = spec->metric == SLA_IOPS ? &used_iops
			: &used_bytes;
		uint64_t least = of[0] < of[1] ? of[0] : of[1];

		if (spec->metric != SLA_IOPS && spec->metric != SLA_BANDWIDTH)
			continue;
		if (spec->direction != SLA_TOTAL)
			least = of[spec->direction == SLA_WRITE];
		*used += least ? (double)spec->value / ((double)least * scale)
			: 1e9;
		if (*used > 1.0) {
			double room = (1.0 - (*used - (double)spec->value /
				((double)least * scale))) *
				(double)least * scale;

			refusal->metric = spec->metric == SLA_IOPS ? "iops"
				: "bandwidth_bytes_per_s";
			refusal->requested = spec->value;
			refusal->available = room > 0 ? (uint64_t)room : 0;
			refusal->shortfall = spec->value - refusal->available;
			return false;
		}
	}
	return true;
}

int promise_admit(struct reg_process *process, const struct sla *sla,
		  struct promise_refusal *ret_refusal)
{
	struct reg_device *device = process->vdev->pool->device;
	struct sla sum;
	unsigned int i;

	memset(ret_refusal, 0, sizeof(*ret_refusal));
	combine(&device->promise, process->member.is_counted
		? &process->member.sla : NULL, &sum);
	for (i = 0; i < sla->count; i++)
		combine_spec(&sum, &sla->specs[i]);
	if (!fits(&device->promise, &sum, ret_refusal)) {
		error_set(&ret_refusal->text, 0,
			  "device %s cannot also keep %s: %llu more than is left",
			  device->name, ret_refusal->metric,
			  (unsigned long long)ret_refusal->shortfall);
		return -ENOSPC;
	}
	promise_leave(process);
	process->member.sla = *sla;
	if (join(&process->vdev->promise, &process->member.sla) < 0 ||
	    join(&device->promise, &process->member.sla) < 0 ||
	    join(&device->endpoint->promise, &process->member.sla) < 0) {
		process->member.is_counted = true;
		promise_leave(process);
		return -ENOMEM;
	}
	process->member.is_counted = true;
	return 0;
}

void promise_leave(struct reg_process *process)
{
	struct reg_device *device = process->vdev->pool->device;

	if (!process->member.is_counted)
		return;
	leave(&process->vdev->promise, &process->member.sla);
	leave(&device->promise, &process->member.sla);
	leave(&device->endpoint->promise, &process->member.sla);
	process->member.is_counted = false;
}

json_t *promise_where(const struct registry *registry,
		      const struct reg_process *process,
		      const struct sla *sla)
{
	json_t *array = json_array();
	unsigned int i, j, k;

	for (i = 0; i < registry->endpoint_count; i++) {
		for (j = 0; j < registry->endpoints[i].device_count; j++) {
			const struct reg_device *device =
				&registry->endpoints[i].devices[j];
			struct promise_refusal refusal;
			struct sla sum;

			if (!device->promise.is_measured ||
			    device == process->vdev->pool->device)
				continue;
			combine(&device->promise, NULL, &sum);
			for (k = 0; k < sla->count; k++)
				combine_spec(&sum, &sla->specs[k]);
			if (fits(&device->promise, &sum, &refusal))
				json_array_append_new(array, json_string(
							      device->name));
		}
	}
	return array;
}

void promise_params(const struct reg_process *process,
		    struct sched_params *ret_params)
{
	struct sched_params params = { .weight = process->weight };
	unsigned int i, d;

	memcpy(params.limit_per_s, process->limits.limit_per_s,
	       sizeof(params.limit_per_s));
	params.burst_ns = process->limits.burst_ns;
	/* Best effort that did not fit: ordered by weight only. */
	for (i = 0; process->member.is_counted && i < process->sla.count;
	     i++) {
		const struct sla_spec *spec = &process->sla.specs[i];
		static const uint8_t axes[SLA_DIRECTIONS] = {
			[SLA_TOTAL] = SCHED_TOTAL_IOPS,
			[SLA_READ] = SCHED_READ_IOPS,
			[SLA_WRITE] = SCHED_WRITE_IOPS,
		};
		unsigned int axis = axes[spec->direction];

		if (spec->metric == SLA_IOPS)
			params.reservation_per_s[axis] = spec->value;
		if (spec->metric == SLA_BANDWIDTH)
			params.reservation_per_s[axis + SCHED_READ_BYTES] =
				spec->value;
		for (d = 0; spec->metric == SLA_LATENCY && d < 2; d++) {
			if (spec->direction == (d ? SLA_READ : SLA_WRITE))
				continue;
			if (!params.latency_ns[d] ||
			    spec->value < params.latency_ns[d])
				params.latency_ns[d] = spec->value;
		}
	}
	*ret_params = params;
}

/* "iops", "read_bandwidth_bytes_per_s", "latency_ns" (p99), "latency_p95_ns",
 * "latency_p99_9_ns", "latency_max_ns", "loss_ppb". */
static void spec_key(const struct sla_spec *spec, char *key, size_t size)
{
	static const char *const directions[] = { "", "read_", "write_" };
	static const char *const metrics[] = {
		[SLA_IOPS] = "iops", [SLA_BANDWIDTH] = "bandwidth_bytes_per_s",
		[SLA_LATENCY] = "latency", [SLA_JITTER] = "jitter",
		[SLA_LOSS] = "loss_ppb", [SLA_CAPACITY] = "capacity_bytes",
		[SLA_OPS] = "ops",
	};
	char percentile[16] = "";
	bool is_time = spec->metric == SLA_LATENCY ||
		spec->metric == SLA_JITTER;

	if (spec->percentile == SLA_PERCENTILE_MAX)
		snprintf(percentile, sizeof(percentile), "_max");
	else if (spec->percentile && spec->percentile % 10)
		snprintf(percentile, sizeof(percentile), "_p%u_%u",
			 spec->percentile / 10, spec->percentile % 10);
	else if (spec->percentile &&
		 spec->percentile != SLA_PERCENTILE_DEFAULT)
		snprintf(percentile, sizeof(percentile), "_p%u",
			 spec->percentile / 10);
	snprintf(key, size, "%s%s%s%s", directions[spec->direction],
		 metrics[spec->metric], percentile, is_time ? "_ns" : "");
}

json_t *promise_sla_json(const struct sla *sla)
{
	json_t *object = json_object();
	unsigned int i;
	char key[80];

	for (i = 0; i < sla->count; i++) {
		spec_key(&sla->specs[i], key, sizeof(key));
		json_object_set_new(object, key, json_integer(
				    (json_int_t)sla->specs[i].value));
	}
	return object;
}

json_t *promise_json(const struct promise *promise)
{
	struct sla sum;

	combine(promise, NULL, &sum);
	return promise_sla_json(&sum);
}

json_t *promise_text_json(const struct promise *promise)
{
	char text[SLA_TEXT_MAX];
	struct sla sum;

	combine(promise, NULL, &sum);
	return json_string(sla_format(&sum, text, sizeof(text)));
}

json_t *promise_refusal_json(const struct promise_refusal *refusal)
{
	return json_pack("{s:s, s:I, s:I, s:I}",
			 "metric", refusal->metric ? refusal->metric : "",
			 "requested", (json_int_t)refusal->requested,
			 "available", (json_int_t)refusal->available,
			 "shortfall", (json_int_t)refusal->shortfall);
}
