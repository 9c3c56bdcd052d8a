/* SPDX-License-Identifier: Apache-2.0 */
/*
 * promise.c - what is promised together, and what may still be
 *
 * Reads what the registry holds and calls nothing of registry.c, which calls
 * it.
 */
#include "host/promise.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "host/registry.h"
#include "sla/limit.h"

int promise_init(struct promise *promise)
{
	memset(promise, 0, sizeof(*promise));
	return combine_create(&promise->combine);
}

int promise_init_endpoint(struct promise *promise)
{
	int ret = promise_init(promise);

	return ret < 0 ? ret : core_create(&promise->core);
}

int promise_init_device(struct promise *promise, struct promise *endpoint,
			uint32_t headroom_milli, uint64_t path_ns)
{
	int ret = promise_init(promise);

	if (ret == 0)
		ret = admission_create(1000U - headroom_milli,
				       &promise->admission);
	if (ret == 0)
		admission_set_core(promise->admission, endpoint->core, path_ns);
	return ret;
}

void promise_finish(struct promise *promise)
{
	combine_destroy(promise->combine);
	admission_destroy(promise->admission);
	core_destroy(promise->core);
	memset(promise, 0, sizeof(*promise));
}

int promise_set_capacity(struct promise *promise,
			 const struct capacity *capacity, struct error *reterr)
{
	return admission_set_capacity(promise->admission, capacity, reterr);
}

void promise_forget_capacity(struct promise *promise)
{
	admission_forget_capacity(promise->admission);
}

void promise_set_correction(struct promise *promise, uint32_t milli)
{
	admission_set_correction(promise->admission, milli);
}

/* --- Refusals ------------------------------------------------------------ */

static void spec_key(const struct sla_spec *spec, char *key, size_t size);

static void fill_refusal(const struct reg_device *device,
			 const struct admission_refusal *why,
			 struct promise_refusal *refusal)
{
	const struct sla_spec spec = {
		.metric = (uint8_t)why->metric,
		.direction = (uint8_t)why->direction,
		.percentile = (uint16_t)why->percentile,
	};

	refusal->is_refused = true;
	refusal->device = device->name;
	spec_key(&spec, refusal->metric, sizeof(refusal->metric));
	refusal->requested = why->asked;
	refusal->available = why->available;
	refusal->shortfall = why->shortfall;
	admission_explain(why, device->name, device->endpoint->name,
			  refusal->text.text, sizeof(refusal->text.text));
}

json_t *promise_where(const struct registry *registry,
		      const struct reg_process *process, const struct sla *sla)
{
	const struct admission_request request = {
		.sla = sla,
		.vdev_size_bytes = process->vdev->size_bytes,
	};
	json_t *array = json_array();
	unsigned int i, j;

	for (i = 0; i < registry->endpoint_count; i++) {
		for (j = 0; j < registry->endpoints[i].device_count; j++) {
			const struct reg_device *device =
				&registry->endpoints[i].devices[j];

			if (!device->is_gone &&
			    device->pool != process->vdev->pool &&
			    admission_what_if(device->promise.admission,
					      &request, NULL) == 0)
				json_array_append_new(
					array, json_string(device->name));
		}
	}
	return array;
}

/* --- Members ------------------------------------------------------------- */

/* 'was' (NULL: nothing) becomes 'is'. */
static int recount(struct promise *promise, const struct sla *was,
		   const struct sla *is)
{
	if (was && is)
		return combine_update(promise->combine, was, is);
	if (is)
		return combine_add(promise->combine, is);
	if (was)
		combine_remove(promise->combine, was);
	return 0;
}

/* Going back to what was there cannot fail: it did fit. */
static void uncount(struct promise *promise, const struct sla *was,
		    const struct sla *is)
{
	if (recount(promise, is, was) < 0)
		combine_remove(promise->combine, is);
}

#define PROMISES_MAX	(CONFIG_POOL_DEVICES_MAX + 3U)

/* Of vdev, pool, endpoint and devices.  Returns how many. */
static unsigned int find_promises(struct reg_vdev *vdev,
				  struct promise *promises[PROMISES_MAX])
{
	struct reg_pool *pool = vdev->pool;
	unsigned int count = 0;

	promises[count++] = &vdev->promise;
	promises[count++] = &pool->promise;
	promises[count++] = &pool->endpoint->promise;
	for (unsigned int i = 0; i < pool->device_count; i++)
		promises[count++] = &pool->devices[i]->promise;
	return count;
}

/* 'sla' if the promise with this number, in the order of find_promises, has a
 * member that is promised it at 'devices'. */
static const struct sla *counts(unsigned int number, uint32_t devices,
				const struct sla *sla)
{
	const unsigned int first = PROMISES_MAX - CONFIG_POOL_DEVICES_MAX;

	return number < first || devices >> (number - first) & 1 ? sla : NULL;
}

/* In the promises of vdev, pool, endpoint and 'devices', all or none. */
static int count(struct reg_process *process, const struct sla *sla,
		 uint32_t devices)
{
	struct promise_member *member = &process->member;
	struct promise *promises[PROMISES_MAX];
	const unsigned int all = find_promises(process->vdev, promises);
	const struct sla before = member->sla;
	const struct sla *was = member->is_counted ? &before : NULL;
	unsigned int i;
	int ret = 0;

	for (i = 0; i < all; i++) {
		ret = recount(promises[i], counts(i, member->devices, was),
			      counts(i, devices, sla));
		if (ret < 0)
			break;
	}
	if (ret < 0) {
		while (i-- > 0)
			uncount(promises[i], counts(i, member->devices, was),
				counts(i, devices, sla));
		return ret;
	}
	member->sla = *sla;
	member->devices = devices;
	member->is_counted = true;
	return 0;
}

int promise_admit(struct reg_process *process, const struct sla *sla,
		  struct promise_refusal *ret_refusal)
{
	struct admission_refusal why;
	struct reg_device *at = NULL;
	uint32_t devices;
	int ret;

	memset(ret_refusal, 0, sizeof(*ret_refusal));
	ret = promise_place(process, sla, &devices, &at, &why);
	if (ret == -ENOSPC)
		fill_refusal(at, &why, ret_refusal);
	if (ret < 0 && ret != -ENOMEM && ret != -ENOSPC) {
		ret_refusal->is_refused = true;
		error_set(
			&ret_refusal->text, ret,
			"device %s has too many different percentiles promised",
			at->name);
		return -ENOSPC;
	}
	if (ret < 0)
		return ret;
	ret = count(process, sla, devices);
	if (ret == 0)
		return 0;
	promise_place_back(process);
	ret_refusal->is_refused = true;
	error_set(&ret_refusal->text, ret,
		  "vdev %s: too much is promised to be added up",
		  process->vdev->name);
	return ret == -ENOMEM ? ret : -ENOSPC;
}

void promise_leave(struct reg_process *process)
{
	struct promise_member *member = &process->member;
	struct promise *promises[PROMISES_MAX];
	const unsigned int all = find_promises(process->vdev, promises);

	if (member->is_counted)
		for (unsigned int i = 0; i < all; i++)
			recount(promises[i],
				counts(i, member->devices, &member->sla), NULL);
	member->is_counted = false;
	member->devices = 0;
	promise_place_back(process);
}

/* --- For the scheduler, and as JSON -------------------------------------- */

void promise_params(const struct reg_process *process,
		    struct sched_params *ret_params)
{
	uint32_t weight = process->weight * SCHED_WEIGHT_DEFAULT;

	/* Best effort that did not fit: ordered by weight only.  So is one
	 * that an earlier version promised more than its own limit. */
	if (sla_to_sched(&process->sla, &process->limits, weight,
			 process->member.is_counted, ret_params, NULL) < 0)
		(void)sla_to_sched(&process->sla, &process->limits, weight,
				   false, ret_params, NULL);
}

/* "iops", "read_bandwidth_bytes_per_s", "latency_ns" (p99), "latency_p95_ns",
 * "latency_p99_9_ns", "latency_max_ns", "loss_ppb". */
static void spec_key(const struct sla_spec *spec, char *key, size_t size)
{
	static const char *const directions[] = {"", "read_", "write_"};
	static const char *const metrics[] = {
		[SLA_IOPS] = "iops",
		[SLA_BANDWIDTH] = "bandwidth_bytes_per_s",
		[SLA_LATENCY] = "latency",
		[SLA_JITTER] = "jitter",
		[SLA_LOSS] = "loss_ppb",
		[SLA_CAPACITY] = "capacity_bytes",
		[SLA_OPS] = "ops",
	};
	char percentile[16] = "";
	bool is_time =
		spec->metric == SLA_LATENCY || spec->metric == SLA_JITTER;

	if (spec->percentile == SLA_PERCENTILE_MAX)
		snprintf(percentile, sizeof(percentile), "_max");
	else if (spec->percentile && spec->percentile % 10)
		snprintf(percentile, sizeof(percentile), "_p%u_%u",
			 spec->percentile / 10, spec->percentile % 10);
	else if (spec->percentile && spec->percentile != SLA_PERCENTILE_DEFAULT)
		snprintf(percentile, sizeof(percentile), "_p%u",
			 spec->percentile / 10);
	snprintf(key, size, "%s%s%s%s", directions[spec->direction],
		 metrics[spec->metric], percentile, is_time ? "_ns" : "");
}

static json_t *specs_json(const struct sla_spec *specs, unsigned int count)
{
	json_t *object = json_object();
	unsigned int i;
	char key[64];

	for (i = 0; i < count; i++) {
		spec_key(&specs[i], key, sizeof(key));
		json_object_set_new(object, key,
				    json_integer((json_int_t)specs[i].value));
	}
	return object;
}

json_t *promise_sla_json(const struct sla *sla)
{
	return specs_json(sla->specs, sla->count);
}

json_t *promise_json(const struct promise *promise)
{
	struct sla_combined combined;

	combine_get(promise->combine, &combined);
	return specs_json(combined.specs, combined.count);
}

json_t *promise_text_json(const struct promise *promise)
{
	struct sla_combined combined;
	char text[4096];

	combine_get(promise->combine, &combined);
	return json_string(combine_format(&combined, text, sizeof(text)));
}

json_t *promise_refusal_json(const struct promise_refusal *refusal)
{
	return json_pack("{s:s, s:I, s:I, s:I}", "metric", refusal->metric,
			 "requested", (json_int_t)refusal->requested,
			 "available", (json_int_t)refusal->available,
			 "shortfall", (json_int_t)refusal->shortfall);
}

static json_t *share_json(uint32_t promised_ppm, uint32_t allowed_ppm,
			  bool is_over)
{
	return json_pack("{s:f, s:f, s:b}", "promised_share",
			 promised_ppm / 1e6, "allowed_share", allowed_ppm / 1e6,
			 "is_over", is_over);
}

json_t *promise_share_json(const struct promise *promise)
{
	if (promise->core) {
		struct core_report report;

		core_report(promise->core, &report);
		return share_json(report.promised_ppm, report.allowed_ppm,
				  report.is_over);
	}
	if (promise->admission) {
		struct admission_report report;

		admission_report(promise->admission, &report);
		return share_json(report.promised_ppm, report.allowed_ppm,
				  report.is_over);
	}
	return NULL;
}
