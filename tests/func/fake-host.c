/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake-host.c - a host for tests of the API
 */
#include "fake-host.h"

#include <assert.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "os/loop.h"
#include "sla/sla.h"

struct host {
	struct loop *loop;
	struct loop_timer timer;	/* answers 'later' */
	struct host_call *later, *never;
	struct host_listener *listeners;
	json_t *processes, *vdevs, *events;
	json_int_t seq;
	bool enforce;
};

static void reply(struct host_call *call, enum host_result result,
		  const char *text, json_t *value)
{
	const struct host_reply answer = {result, text, value};

	call->done(call, &answer);
	json_decref(value);
}

static void on_timer(struct loop_timer *timer, uint64_t now_ns)
{
	struct host *host =
		(struct host *)(void *)((char *)timer -
					offsetof(struct host, timer));
	struct host_call *call = host->later;

	(void)now_ns;
	host->later = NULL;
	reply(call, HOST_DONE, "", json_pack("{s:s}", "answered", "later"));
}

static void emit(struct host *host, const char *kind, const char *text)
{
	json_t *event = json_pack("{s:I, s:f, s:s, s:s}", "seq", ++host->seq,
				  "time", 1.5, "kind", kind, "text", text);

	json_array_append_new(host->events, event);
	for (struct host_listener *at = host->listeners; at; at = at->next)
		at->event(at, event);
}

struct host *fake_host_create(struct loop *loop)
{
	struct host *host = calloc(1, sizeof(*host));

	assert(host);
	host->loop = loop;
	host->enforce = true;
	host->processes = json_array();
	host->events = json_array();
	host->vdevs = json_pack(
		"[{s:s, s:s, s:s, s:s, s:I, s:I, s:i, s:{s:i, s:I}, s:s,"
		" s:{s:s, s:i, s:s}, s:[]}]",
		"name", "vd0", "endpoint", "ep0", "pool", "main", "state",
		"serving", "size_bytes", (json_int_t)4294967296,
		"allocated_bytes", (json_int_t)4294967296, "sessions", 1,
		"combined", "iops", 1200, "latency_ns", (json_int_t)1000000,
		"combined_text", "iops >= 1200, latency p99 <= 1 ms", "owner",
		"endpoint", "ep0", "generation", 1, "phase", "serving",
		"processes");
	assert(host->vdevs);
	if (loop)
		loop_timer_init(loop, &host->timer, on_timer);
	emit(host, "endpoint-started", "endpoint ep0 started");
	return host;
}

void host_destroy(struct host *host)
{
	if (host->never)
		reply(host->never, HOST_FAILED, "penstockd ends", NULL);
	if (host->later)
		reply(host->later, HOST_FAILED, "penstockd ends", NULL);
	if (host->loop)
		loop_timer_finish(host->loop, &host->timer);
	json_decref(host->processes);
	json_decref(host->vdevs);
	json_decref(host->events);
	free(host);
}

/* --- Questions ---------------------------------------------------------- */

json_t *host_devices(struct host *host)
{
	(void)host;
	return json_pack("[{s:s, s:s, s:s, s:s, s:I, s:I, s:s, s:s, s:s,"
			 " s:{s:[{s:i, s:i, s:i, s:i}], s:[], s:i, s:b, s:b},"
			 " s:i, s:i, s:i, s:i, s:i, s:i, s:i,"
			 " s:{s:f, s:f, s:b}}]",
			 "name", "ep0/d0", "endpoint", "ep0", "device", "d0",
			 "kind", "file", "size_bytes", (json_int_t)10737418240,
			 "allocated_bytes", (json_int_t)4294967296, "state",
			 "ready", "calibration", "short", "combined_text",
			 "iops >= 1200, latency p99 <= 1 ms", "capacity",
			 "read", "depth", 1, "iops", 9000, "p95_ns", 150000,
			 "p99_ns", 200000, "write", "read_bytes_per_s",
			 500000000, "read_measured", 1, "write_measured", 0,
			 "capacity_milli", 950, "shortage_milli", 1000,
			 "in_flight", 3, "window", 64, "queued", 5, "errors", 7,
			 "stalled_ns", 0, "admission", "promised_share", 9.87,
			 "allowed_share", 0.9, "is_over", 1);
}

json_t *host_status(struct host *host)
{
	return json_pack(
		"{s:s, s:i, s:i, s:b, s:[{s:s, s:s, s:i, s:i, s:f, s:{s:f, s:f, s:b}}],"
		" s:o, s:o, s:O, s:{s:i, s:i, s:i, s:i, s:i, s:i}, s:[{s:s, s:s}]}",
		"host", "alpha", "pid", 1, "uptime_s", 12, "enforce",
		host->enforce, "endpoints", "name", "ep0", "state", "running",
		"pid", 2, "restarts", 0, "busy_share", 0.25, "admission",
		"promised_share", 1.38, "allowed_share", 1.0, "is_over", 1,
		"devices", host_devices(host), "pools", host_pools(host),
		"vdevs", host->vdevs, "processes", "bound",
		(int)json_array_size(host->processes), "pending", 0, "refused",
		0, "kept", 1, "broken", 0, "unknown", 0, "not_served", "where",
		"alpha.yaml:12", "what", "tap: of vdev vd0");
}

json_t *host_device(struct host *host, const char *name)
{
	json_t *devices, *device;

	if (strcmp(name, "ep0/d0") != 0 && strcmp(name, "d0") != 0)
		return NULL;
	devices = host_devices(host);
	device = json_incref(json_array_get(devices, 0));
	json_decref(devices);
	return device;
}

json_t *host_pools(struct host *host)
{
	(void)host;
	return json_pack(
		"[{s:s, s:[s], s:I, s:I, s:I, s:s, s:s, s:i,"
		" s:[{s:s, s:b, s:s, s:I, s:I, s:s}]}]",
		"name", "main", "devices", "ep0/d0", "size_bytes",
		(json_int_t)10737418240, "allocated_bytes",
		(json_int_t)4294967296, "free_bytes", (json_int_t)1073741824,
		"combined_text", "iops >= 1200", "state", "degraded",
		"level_percent", 90, "members", "name", "ep0/d0", "is_local", 1,
		"state", "failed", "size_bytes", (json_int_t)10737418240,
		"allocated_bytes", (json_int_t)4294967296, "fault", "clone");
}

json_t *host_pool(struct host *host, const char *name)
{
	json_t *pools, *pool;

	if (strcmp(name, "main") != 0)
		return NULL;
	pools = host_pools(host);
	pool = json_incref(json_array_get(pools, 0));
	json_decref(pools);
	return pool;
}

json_t *host_vdevs(struct host *host)
{
	return json_incref(host->vdevs);
}

json_t *host_vdev(struct host *host, const char *name)
{
	json_t *vdev;
	size_t i;

	json_array_foreach(
		host->vdevs, i,
		vdev) if (strcmp(json_string_value(json_object_get(vdev,
								   "name")),
				 name) == 0) return json_incref(vdev);
	return NULL;
}

json_t *host_processes(struct host *host)
{
	return json_incref(host->processes);
}

static json_t *find_process(struct host *host, uint32_t pasid, size_t *ret_at)
{
	json_t *process;
	size_t i;

	json_array_foreach(
		host->processes, i,
		process) if (json_integer_value(json_object_get(process,
								"pasid")) ==
			     pasid)
	{
		*ret_at = i;
		return process;
	}
	return NULL;
}

json_t *host_process(struct host *host, uint32_t pasid)
{
	size_t at;

	return json_incref(find_process(host, pasid, &at));
}

json_t *host_process_stats(struct host *host, uint32_t pasid)
{
	json_t *process = host_process(host, pasid), *stats;

	if (!process)
		return NULL;
	stats = json_deep_copy(process);
	json_decref(process);
	json_object_set_new(stats, "latency",
			    json_pack("{s:{s:i, s:i, s:i, s:i, s:i, s:i, s:i}}",
				      "read", "count", 1000, "p50_ns", 90000,
				      "p90_ns", 100000, "p95_ns", 110000,
				      "p99_ns", 150000, "p99_9_ns", 160000,
				      "max_ns", 170000));
	return stats;
}

/* --- Verbs -------------------------------------------------------------- */

static json_t *make_process(const struct host_process_request *request)
{
	const bool is_of_peer = request->match && strchr(request->match, '=');

	return json_pack(
		"{s:i, s:s, s:s, s:s, s:{s:i, s:i}, s:s, s:i, s:b, s:b,"
		" s:{s:i, s:i, s:i, s:i, s:i, s:i, s:i}, s:b, s:i,"
		" s:{s:{s:i, s:i, s:i}, s:i}, s:i, s:i, s:s*, s:s*, s:s*, s:s*}",
		"pasid", (int)request->pasid, "name",
		request->name ? request->name : "process", "vdev",
		request->vdev, "state", "bound", "sla", "iops", 500,
		"latency_ns", 2000000, "sla_text",
		request->sla ? request->sla : "", "weight",
		(int)request->weight, "session", request->session,
		"best_effort", request->best_effort, "delivered", "iops", 510,
		"read_iops", 500, "write_iops", 10, "bandwidth_bytes_per_s",
		2088960, "latency_p50_ns", 90000, "latency_p99_ns", 150000,
		"window_s", 10, "kept", 1, "window_s", 10, "counters", "read",
		"requests", 5000, "bytes", 20480000, "errors", 0, "throttled",
		12, "queued", 0, "in_flight", 1, "limit", request->limit,
		"burst", request->burst, is_of_peer ? "match" : "ioprio",
		request->match, "vhost_user", request->vhost_user);
}

void host_process_add(struct host *host,
		      const struct host_process_request *request,
		      struct host_call *call)
{
	json_t *process;
	size_t at;

	switch (request->pasid) {
	case FAKE_LATER:
		assert(!host->later);
		host->later = call;
		loop_timer_set(host->loop, &host->timer,
			       loop_clock_ns() + 1000000);
		return;
	case FAKE_NEVER:
		assert(!host->never);
		host->never = call;
		return;
	case FAKE_FAILED:
		reply(call, HOST_FAILED,
		      "endpoint ep0 does not answer: see its log", NULL);
		return;
	case FAKE_USAGE:
		reply(call, HOST_USAGE, "the burst is longer than a minute",
		      NULL);
		return;
	case FAKE_REFUSED:
		emit(host, "refused", "process 99 refused");
		reply(call, HOST_REFUSED,
		      "iops: 5000 asked, 1200 left on device ep0/d0 (short by 3800)",
		      json_pack("{s:s, s:i, s:i, s:i, s:s, s:[s]}", "metric",
				"iops", "requested", 5000, "available", 1200,
				"shortfall", 3800, "device", "ep0/d0", "where",
				"ep1/d1"));
		return;
	}
	if (find_process(host, request->pasid, &at)) {
		reply(call, HOST_USAGE, "there is a process with that PASID",
		      NULL);
		return;
	}
	process = make_process(request);
	assert(process);
	json_array_append(host->processes, process);
	emit(host, "admitted", "a process");
	reply(call, HOST_DONE, "", process);
}

void host_process_update(struct host *host,
			 const struct host_process_request *request,
			 struct host_call *call)
{
	size_t at;
	json_t *process = find_process(host, request->pasid, &at);

	if (!process) {
		reply(call, HOST_NOT_FOUND, "there is no such process", NULL);
		return;
	}
	if (request->sla)
		json_object_set_new(process, "sla_text",
				    json_string(request->sla));
	if (request->limit)
		json_object_set_new(process, "limit",
				    json_string(request->limit));
	reply(call, HOST_DONE, "", json_incref(process));
}

void host_process_release(struct host *host, uint32_t pasid,
			  struct host_call *call)
{
	size_t at;

	if (!find_process(host, pasid, &at)) {
		reply(call, HOST_NOT_FOUND, "there is no such process", NULL);
		return;
	}
	json_array_remove(host->processes, at);
	reply(call, HOST_DONE, "", NULL);
}

void host_process_derive(struct host *host,
			 const struct host_derive_request *request,
			 struct host_call *call)
{
	size_t at;

	if (request->accept && request->pasid == 7)
		reply(call, HOST_REFUSED, "too much",
		      json_pack("{s:s}", "metric", "iops"));
	else if (request->accept)
		reply(call, HOST_DONE, "",
		      json_incref(find_process(host, request->pasid, &at)));
	else
		reply(call, HOST_DONE, "",
		      json_pack(
			      "{s:i, s:s, s:s, s:i, s:f, s:f, s:b, s:{s:i, s:i, s:i, s:i, s:i}, s:s, s:s, s:s, s:[s]}",
			      "pasid", (int)request->pasid, "vdev", "vd0",
			      "name", "db", "window_s", 3600, "percentile",
			      100.0, "headroom", 0.2, "split", request->split,
			      "observed", "seconds", 1800, "requests", 1000000,
			      "iops", 812, "bandwidth_bytes_per_s", 19800000,
			      "latency_p99_ns", 1900000, "stated_text", "",
			      "proposed_text", "bandwidth >= 20 MB/s",
			      "sla_text", "bandwidth >= 20 MB/s", "bounded",
			      "bandwidth >= 20 MB/s"));
}

void host_report(struct host *host, const char *since, struct host_call *call)
{
	(void)host;
	if (since && strcmp(since, "1x") == 0)
		reply(call, HOST_USAGE, "'1x': a span is as '1 h'", NULL);
	else
		reply(call, HOST_DONE, "",
		      json_pack(
			      "{s:i, s:i, s:[{s:i, s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:f}]}",
			      "since", 1800000000, "window_s", 86400,
			      "processes", "pasid", 1, "name", "db", "vdev",
			      "vd0", "requests", 1000, "iops", 812,
			      "bandwidth_bytes_per_s", 19800000, "kept_s", 990,
			      "broken_s", 10, "kept_share", 0.99));
}

void host_admission(struct host *host, const char *vdev, const char *sla,
		    struct host_call *call)
{
	(void)host;
	if (strcmp(sla, "iops >= 5000") != 0)
		reply(call, HOST_DONE, "",
		      json_pack("{s:b, s:s}", "admitted", 1, "vdev", vdev));
	else
		reply(call, HOST_REFUSED, "too much",
		      json_pack("{s:s, s:i, s:[]}", "metric", "iops",
				"shortfall", 3800, "where"));
}

void host_vdev_create(struct host *host,
		      const struct host_vdev_request *request,
		      struct host_call *call)
{
	json_t *vdev = json_pack("{s:s, s:s, s:i, s:b}", "name", request->name,
				 "asked_size", request->size, "queues",
				 (int)request->queues, "read_only",
				 request->read_only);

	json_array_append(host->vdevs, vdev);
	reply(call, HOST_DONE, "", vdev);
}

void host_vdev_snapshot(struct host *host, const char *of,
			const struct host_vdev_request *request,
			struct host_call *call)
{
	json_t *vdev = json_pack("{s:s, s:s, s:b, s:s?}", "name", request->name,
				 "snapshot_of", of, "read_only", 1,
				 "asked_limit", request->limit);

	json_array_append(host->vdevs, vdev);
	reply(call, HOST_DONE, "", vdev);
}

void host_vdev_resize(struct host *host, const char *name, const char *size,
		      bool force, struct host_call *call)
{
	json_t *vdev = host_vdev(host, name);

	if (!vdev) {
		reply(call, HOST_NOT_FOUND, "there is no such vdev", NULL);
		return;
	}
	json_object_set_new(vdev, "asked_size", json_string(size));
	json_object_set_new(vdev, "asked_force", json_boolean(force));
	reply(call, HOST_DONE, "", vdev);
}

void host_vdev_change(struct host *host, const char *name,
		      const struct host_vdev_change *change,
		      struct host_call *call)
{
	json_t *vdev = host_vdev(host, name);

	assert(vdev && (change->limit || change->burst || change->on_error));
	reply(call, HOST_DONE, "", vdev);
}

void host_vdev_resume(struct host *host, const char *name,
		      struct host_call *call)
{
	json_t *vdev = host_vdev(host, name);

	assert(vdev);
	reply(call, HOST_DONE, "", vdev);
}

void host_vdev_delete(struct host *host, const char *name,
		      struct host_call *call)
{
	json_t *vdev = host_vdev(host, name);

	reply(call, vdev ? HOST_DONE : HOST_NOT_FOUND,
	      vdev ? "" : "there is no such vdev", NULL);
	json_decref(vdev);
}

void host_device_calibrate(struct host *host, const char *name,
			   uint64_t duration_ns, struct host_call *call)
{
	json_t *device = host_device(host, name);

	if (device)
		json_object_set_new(device, "asked_ns",
				    json_integer((json_int_t)duration_ns));
	reply(call, device ? HOST_DONE : HOST_NOT_FOUND,
	      device ? "" : "there is no such device", device);
}

void host_device_evacuate(struct host *host, const char *name,
			  uint64_t bytes_per_s, struct host_call *call)
{
	host_device_calibrate(host, name, bytes_per_s, call);
}

void host_device_replace(struct host *host, const char *name, const char *by,
			 uint64_t bytes_per_s, struct host_call *call)
{
	json_t *other = host_device(host, by);

	if (other)
		host_device_calibrate(host, name, bytes_per_s, call);
	else
		reply(call, HOST_NOT_FOUND, "there is no such device", NULL);
	json_decref(other);
}

void host_device_stay(struct host *host, const char *name,
		      struct host_call *call)
{
	host_device_calibrate(host, name, 0, call);
}

void host_device_remove(struct host *host, const char *name,
			struct host_call *call)
{
	json_t *device = host_device(host, name);

	reply(call, device ? HOST_DONE : HOST_NOT_FOUND,
	      device ? "" : "there is no such device", NULL);
	json_decref(device);
}

void host_enforce(struct host *host, bool on, struct host_call *call)
{
	host->enforce = on;
	emit(host, "enforce", on ? "on" : "off");
	reply(call, HOST_DONE, "", json_pack("{s:b}", "enforce", on));
}

/* --- Events ------------------------------------------------------------- */

void host_listen(struct host *host, struct host_listener *listener)
{
	listener->next = host->listeners;
	host->listeners = listener;
}

void host_unlisten(struct host *host, struct host_listener *listener)
{
	for (struct host_listener **at = &host->listeners; *at;
	     at = &(*at)->next)
		if (*at == listener) {
			*at = listener->next;
			return;
		}
}

json_t *host_events(struct host *host, uint64_t after)
{
	json_t *found = json_array(), *event;
	size_t i;

	json_array_foreach(
		host->events, i,
		event) if ((uint64_t)
				   json_integer_value(
					   json_object_get(event, "seq")) >
			   after) json_array_append(found, event);
	return found;
}

void host_vdev_transfer(struct host *host,
			const struct host_transfer_request *request,
			struct host_call *call)
{
	json_t *vdev = host_vdev(host, request->vdev);

	if (vdev && request->is_import && !request->force)
		reply(call, HOST_CONFLICT, "it is in use", NULL);
	else if (vdev)
		reply(call, HOST_DONE, "",
		      json_pack("{s:s, s:s, s:s, s:s, s:I, s:b, s:i, s:I, s:I}",
				"vdev", request->vdev, "direction",
				request->is_import ? "import" : "export",
				"socket", "/run/fake.transfer", "export",
				request->vdev, "size_bytes",
				(json_int_t)1 << 30, "read_only",
				!request->is_import, "sessions", 1, "uid",
				(json_int_t)request->uid, "pasid",
				(json_int_t)request->pasid));
	else
		reply(call, HOST_NOT_FOUND, "there is no such vdev", NULL);
	json_decref(vdev);
}

void host_vdev_transfer_end(struct host *host, const char *name, uint32_t uid,
			    struct host_call *call)
{
	(void)host;
	(void)name;
	reply(call, uid == UINT32_MAX ? HOST_DONE : HOST_CONFLICT,
	      uid == UINT32_MAX ? "" : "another user's", NULL);
}
