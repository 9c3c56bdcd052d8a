/* SPDX-License-Identifier: Apache-2.0 */
/*
 * routes.c - what is served: the table, and a handler for each line
 *
 * Handlers are short: questions ask the host and answer with its JSON, verbs
 * hand the checked body on.
 */
#include "api/route.h"

#include <stdlib.h>

#include "api/call.h"
#include "api/metrics.h"

#define F(field)	API_FIELD(API_##field)

/* Empty text is "not said". */
static const char *said(const char *text)
{
	return text[0] ? text : NULL;
}

static void answer_or_missing(struct api_call *call, json_t *value,
			      const char *kind)
{
	if (value)
		api_answer_json(call, value);
	else
		api_answer_error(call, API_NOT_FOUND, "there is no %s '%s'",
				 kind, api_call_params(call)->name);
}

static void answer_device(struct api_call *call, json_t *value)
{
	answer_or_missing(call, value, "device");
}

static void answer_vdev(struct api_call *call, json_t *value)
{
	answer_or_missing(call, value, "vdev");
}

static void answer_process(struct api_call *call, json_t *value)
{
	if (value)
		api_answer_json(call, value);
	else
		api_answer_error(call, API_NOT_FOUND,
				 "there is no process with PASID %u",
				 api_call_params(call)->pasid);
}

/* --- Questions ---------------------------------------------------------- */

static void get_status(struct api_call *call)
{
	api_answer_json(call, host_status(api_call_host(call)));
}

static void get_devices(struct api_call *call)
{
	api_answer_json(call, host_devices(api_call_host(call)));
}

static void get_device(struct api_call *call)
{
	answer_device(
		call,
		host_device(api_call_host(call), api_call_params(call)->name));
}

static void get_pools(struct api_call *call)
{
	api_answer_json(call, host_pools(api_call_host(call)));
}

static void get_pool(struct api_call *call)
{
	answer_or_missing(
		call,
		host_pool(api_call_host(call), api_call_params(call)->name),
		"pool");
}

static void get_vdevs(struct api_call *call)
{
	api_answer_json(call, host_vdevs(api_call_host(call)));
}

static void get_vdev(struct api_call *call)
{
	answer_vdev(
		call,
		host_vdev(api_call_host(call), api_call_params(call)->name));
}

static void get_processes(struct api_call *call)
{
	api_answer_json(call, host_processes(api_call_host(call)));
}

static void get_process(struct api_call *call)
{
	answer_process(call,
		       host_process(api_call_host(call),
				    api_call_params(call)->pasid));
}

static void get_process_stats(struct api_call *call)
{
	answer_process(call,
		       host_process_stats(api_call_host(call),
					  api_call_params(call)->pasid));
}

static void get_metrics(struct api_call *call)
{
	api_answer_text(call, METRICS_TYPE, metrics_write(api_call_host(call)));
}

/* The last event there is, for a follower who names none. */
static uint64_t last_event(struct host *host)
{
	json_t *events = host_events(host, 0);
	const size_t count = json_array_size(events);
	json_int_t seq = 0;

	if (count > 0)
		seq = json_integer_value(json_object_get(
			json_array_get(events, count - 1), "seq"));
	json_decref(events);
	return (uint64_t)seq;
}

static void get_events(struct api_call *call)
{
	const char *after = api_call_header(call, "Last-Event-ID");
	unsigned long long seq;
	char *end;

	if (!after)
		after = api_call_query(call, "after");
	if (!after) {
		api_answer_stream(call, last_event(api_call_host(call)));
		return;
	}
	seq = strtoull(after, &end, 10);
	if (after[0] < '0' || after[0] > '9' || *end != '\0') {
		api_answer_error(call, API_USAGE,
				 "the last event's id must be a number");
		return;
	}
	api_answer_stream(call, seq);
}

#define VDEV_CHANGE	(F(LIMIT) | F(BURST) | F(ON_ERROR))

/* --- Verbs -------------------------------------------------------------- */

/* The thing in the path is there; else that is the answer. */
static bool found(struct api_call *call, json_t *thing,
		  void (*answer)(struct api_call *call, json_t *value))
{
	if (!thing)
		answer(call, NULL);
	json_decref(thing);
	return thing != NULL;
}

static bool has_device(struct api_call *call)
{
	return found(
		call,
		host_device(api_call_host(call), api_call_params(call)->name),
		answer_device);
}

static bool has_vdev(struct api_call *call)
{
	return found(
		call,
		host_vdev(api_call_host(call), api_call_params(call)->name),
		answer_vdev);
}

static bool has_process(struct api_call *call)
{
	return found(
		call,
		host_process(api_call_host(call), api_call_params(call)->pasid),
		answer_process);
}

static void post_device_calibrate(struct api_call *call)
{
	if (!has_device(call))
		return;
	host_device_calibrate(api_call_host(call), api_call_params(call)->name,
			      api_call_body(call)->duration_ns,
			      api_call_verb(call));
}

static void post_device_evacuate(struct api_call *call)
{
	if (!has_device(call))
		return;
	host_device_evacuate(api_call_host(call), api_call_params(call)->name,
			     api_call_body(call)->bandwidth_bytes_per_s,
			     api_call_verb(call));
}

static void delete_device_evacuate(struct api_call *call)
{
	if (!has_device(call))
		return;
	host_device_stay(api_call_host(call), api_call_params(call)->name,
			 api_call_verb(call));
}

static void post_device_replace(struct api_call *call)
{
	const struct api_body *body = api_call_body(call);

	if (has_device(call))
		host_device_replace(api_call_host(call),
				    api_call_params(call)->name, body->with,
				    body->bandwidth_bytes_per_s,
				    api_call_verb(call));
}

static void delete_device(struct api_call *call)
{
	if (has_device(call))
		host_device_remove(api_call_host(call),
				   api_call_params(call)->name,
				   api_call_verb(call));
}

static void post_vdevs(struct api_call *call)
{
	const struct api_body *body = api_call_body(call);
	const struct host_vdev_request request = {
		.name = body->name,
		.pool = said(body->pool),
		.size = body->size,
		.vhost_user = said(body->vhost_user),
		.limit = said(body->limit),
		.burst = said(body->burst),
		.on_error = said(body->on_error),
		.queues = body->queues,
		.read_only = body->read_only,
	};

	host_vdev_create(api_call_host(call), &request, api_call_verb(call));
}

static void post_vdev_snapshots(struct api_call *call)
{
	const struct api_body *body = api_call_body(call);
	const struct host_vdev_request request = {
		.name = body->name,
		.vhost_user = said(body->vhost_user),
		.limit = said(body->limit),
		.burst = said(body->burst),
		.queues = body->queues,
	};

	if (has_vdev(call))
		host_vdev_snapshot(api_call_host(call),
				   api_call_params(call)->name, &request,
				   api_call_verb(call));
}

static void patch_vdev(struct api_call *call)
{
	const struct api_body *body = api_call_body(call);
	const char *name = api_call_params(call)->name;
	const bool resizes = api_body_has(body, API_SIZE);
	const bool changes = (body->present & VDEV_CHANGE) != 0;
	const struct host_vdev_change change = {
		.limit = said(body->limit),
		.burst = said(body->burst),
		.on_error = said(body->on_error),
	};

	if (resizes == changes || (body->force && !resizes))
		api_answer_error(
			call, API_USAGE,
			"one change at a time: size, or limit, burst and on-error");
	else if (!has_vdev(call))
		return;
	else if (resizes)
		host_vdev_resize(api_call_host(call), name, body->size,
				 body->force, api_call_verb(call));
	else
		host_vdev_change(api_call_host(call), name, &change,
				 api_call_verb(call));
}

static void post_vdev_resume(struct api_call *call)
{
	if (has_vdev(call))
		host_vdev_resume(api_call_host(call),
				 api_call_params(call)->name,
				 api_call_verb(call));
}

static void delete_vdev(struct api_call *call)
{
	if (!has_vdev(call))
		return;
	host_vdev_delete(api_call_host(call), api_call_params(call)->name,
			 api_call_verb(call));
}

static void transfer(struct api_call *call, bool is_import)
{
	const struct api_who *who = api_call_who(call);
	const struct host_transfer_request request = {
		.vdev = api_call_params(call)->name,
		.is_import = is_import,
		.force = api_call_body(call)->force,
		.pasid = api_call_body(call)->pasid,
		.uid = who->uid,
	};

	if (who->is_remote || who->uid == UINT32_MAX)
		api_answer_error(
			call, API_CONFLICT,
			"only on penstockd's own host, by its Unix socket");
	else if (has_vdev(call))
		host_vdev_transfer(api_call_host(call), &request,
				   api_call_verb(call));
}

static void post_vdev_import(struct api_call *call)
{
	transfer(call, true);
}

static void post_vdev_export(struct api_call *call)
{
	transfer(call, false);
}

/* One's own; who may administer ends another's, too. */
static void delete_vdev_transfer(struct api_call *call)
{
	const struct api_who *who = api_call_who(call);

	if (has_vdev(call))
		host_vdev_transfer_end(
			api_call_host(call), api_call_params(call)->name,
			who->role == API_ROLE_ADMINISTER ? UINT32_MAX :
							   who->uid,
			api_call_verb(call));
}

static struct host_process_request process_request(const struct api_body *body,
						   uint32_t pasid)
{
	return (struct host_process_request){
		.pasid = pasid,
		.name = said(body->name),
		.vdev = said(body->vdev),
		.sla = said(body->sla),
		.limit = said(body->limit),
		.burst = said(body->burst),
		.match = said(body->match),
		.vhost_user = said(body->vhost_user),
		.weight = body->weight,
		.session = body->session,
		.best_effort = body->best_effort,
	};
}

static void post_processes(struct api_call *call)
{
	const struct api_body *body = api_call_body(call);
	const struct host_process_request request =
		process_request(body, body->pasid);

	host_process_add(api_call_host(call), &request, api_call_verb(call));
}

static void patch_process(struct api_call *call)
{
	const struct api_body *body = api_call_body(call);
	const struct host_process_request request =
		process_request(body, api_call_params(call)->pasid);

	if (body->present == 0) {
		api_answer_error(
			call, API_USAGE,
			"the body changes nothing: name sla, limit, burst, weight, match, name or best-effort");
		return;
	}
	if (!has_process(call))
		return;
	host_process_update(api_call_host(call), &request, api_call_verb(call));
}

static void delete_process(struct api_call *call)
{
	if (!has_process(call))
		return;
	host_process_release(api_call_host(call), api_call_params(call)->pasid,
			     api_call_verb(call));
}

static void derive(struct api_call *call, bool accept)
{
	const struct api_body *body = api_call_body(call);
	const struct host_derive_request request = {
		.pasid = api_call_params(call)->pasid,
		.window = said(body->window),
		.percentile = said(body->percentile),
		.headroom = said(body->headroom),
		.split = body->split,
		.accept = accept,
		.keep_up = body->keep_up,
	};

	if (has_process(call))
		host_process_derive(api_call_host(call), &request,
				    api_call_verb(call));
}

static void post_process_derive(struct api_call *call)
{
	derive(call, false);
}

static void post_process_derive_accept(struct api_call *call)
{
	derive(call, true);
}

static void get_report(struct api_call *call)
{
	host_report(api_call_host(call), api_call_query(call, "since"),
		    api_call_verb(call));
}

static void post_admission(struct api_call *call)
{
	const struct api_body *body = api_call_body(call);

	host_admission(api_call_host(call), body->vdev, body->sla,
		       api_call_verb(call));
}

static void post_enforce(struct api_call *call)
{
	host_enforce(api_call_host(call), api_call_body(call)->on,
		     api_call_verb(call));
}

/* --- The table ---------------------------------------------------------- */

#define PROCESS_FIELDS	\
	(F(NAME) | F(SLA) | F(LIMIT) | F(BURST) | F(WEIGHT) | F(MATCH) | \
	 F(BEST_EFFORT))
#define PROCESS_ADD	\
	(PROCESS_FIELDS | F(PASID) | F(VDEV) | F(VHOST_USER) | F(SESSION))
#define DERIVE_FIELDS	(F(WINDOW) | F(PERCENTILE) | F(HEADROOM) | F(SPLIT))
#define VDEV_FIELDS	\
	(F(NAME) | F(SIZE) | F(POOL) | F(VHOST_USER) | F(LIMIT) | F(BURST) | \
	 F(QUEUES) | F(READ_ONLY) | F(ON_ERROR))

#define SNAPSHOT_FIELDS	\
	(F(NAME) | F(VHOST_USER) | F(LIMIT) | F(BURST) | F(QUEUES))

const struct api_route api_routes[] = {
	{"GET", "/v1/status", API_ROLE_READ, 0, 0, get_status},
	{"GET", "/v1/devices", API_ROLE_READ, 0, 0, get_devices},
	{"GET", "/v1/devices/DEVICE", API_ROLE_READ, 0, 0, get_device},
	{"POST", "/v1/devices/DEVICE/calibrate", API_ROLE_ADMINISTER,
	 F(DURATION), 0, post_device_calibrate},
	{"POST", "/v1/devices/DEVICE/evacuate", API_ROLE_ADMINISTER,
	 F(BANDWIDTH), 0, post_device_evacuate},
	{"DELETE", "/v1/devices/DEVICE/evacuate", API_ROLE_ADMINISTER, 0, 0,
	 delete_device_evacuate},
	{"POST", "/v1/devices/DEVICE/replace", API_ROLE_ADMINISTER,
	 F(WITH) | F(BANDWIDTH), F(WITH), post_device_replace},
	/* After those that are longer: a DEVICE may have a slash. */
	{"DELETE", "/v1/devices/DEVICE", API_ROLE_ADMINISTER, 0, 0,
	 delete_device},
	{"GET", "/v1/pools", API_ROLE_READ, 0, 0, get_pools},
	{"GET", "/v1/pools/NAME", API_ROLE_READ, 0, 0, get_pool},
	{"GET", "/v1/vdevs", API_ROLE_READ, 0, 0, get_vdevs},
	{"POST", "/v1/vdevs", API_ROLE_ADMINISTER, VDEV_FIELDS,
	 F(NAME) | F(SIZE), post_vdevs},
	{"GET", "/v1/vdevs/NAME", API_ROLE_READ, 0, 0, get_vdev},
	{"PATCH", "/v1/vdevs/NAME", API_ROLE_ADMINISTER,
	 F(SIZE) | F(FORCE) | VDEV_CHANGE, 0, patch_vdev},
	{"DELETE", "/v1/vdevs/NAME", API_ROLE_ADMINISTER, 0, 0, delete_vdev},
	{"POST", "/v1/vdevs/NAME/resume", API_ROLE_OPERATE, 0, 0,
	 post_vdev_resume},
	{"POST", "/v1/vdevs/NAME/import", API_ROLE_ADMINISTER,
	 F(PASID) | F(FORCE), 0, post_vdev_import},
	{"POST", "/v1/vdevs/NAME/export", API_ROLE_OPERATE, F(PASID), 0,
	 post_vdev_export},
	{"POST", "/v1/vdevs/NAME/snapshots", API_ROLE_ADMINISTER,
	 SNAPSHOT_FIELDS, F(NAME), post_vdev_snapshots},
	{"DELETE", "/v1/vdevs/NAME/transfer", API_ROLE_OPERATE, 0, 0,
	 delete_vdev_transfer},
	{"GET", "/v1/processes", API_ROLE_READ, 0, 0, get_processes},
	{"POST", "/v1/processes", API_ROLE_OPERATE, PROCESS_ADD,
	 F(PASID) | F(VDEV), post_processes},
	{"GET", "/v1/processes/PASID", API_ROLE_READ, 0, 0, get_process},
	{"PATCH", "/v1/processes/PASID", API_ROLE_OPERATE, PROCESS_FIELDS, 0,
	 patch_process},
	{"DELETE", "/v1/processes/PASID", API_ROLE_OPERATE, 0, 0,
	 delete_process},
	{"GET", "/v1/processes/PASID/stats", API_ROLE_READ, 0, 0,
	 get_process_stats},
	/* A question, although it has a body. */
	{"POST", "/v1/processes/PASID/derive", API_ROLE_READ, DERIVE_FIELDS, 0,
	 post_process_derive},
	{"POST", "/v1/processes/PASID/derive/accept", API_ROLE_OPERATE,
	 DERIVE_FIELDS | F(KEEP_UP), 0, post_process_derive_accept},
	{"GET", "/v1/report", API_ROLE_READ, 0, 0, get_report},
	/* A question, although it has a body. */
	{"POST", "/v1/admission", API_ROLE_READ, F(VDEV) | F(SLA),
	 F(VDEV) | F(SLA), post_admission},
	{"POST", "/v1/enforce", API_ROLE_ADMINISTER, F(ON), F(ON),
	 post_enforce},
	{"GET", "/v1/events", API_ROLE_READ, 0, 0, get_events},
	{"GET", "/metrics", API_ROLE_READ, 0, 0, get_metrics},
};
const size_t api_route_count = sizeof(api_routes) / sizeof(api_routes[0]);
