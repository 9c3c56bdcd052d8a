/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.c - the endpoint's side of the conversation in docs/control.md
 *
 * penstockd is trusted more than a guest but not blindly: it may be a newer
 * or a dying one.  Every field is checked by the handler that uses it; a
 * message that is not an object closes the connection and nothing else.
 */
#include "endpoint/endpoint.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/container.h"

/* Taken from the connection in one go, so that a flood of messages does not
 * keep rings waiting. */
#define MESSAGES_MAX	8U
#define LIST_PART	100U

static int op_hello(struct endpoint *endpoint, json_t *request, int *fd,
		    json_t *reply, struct error *reterr)
{
	const json_t *version = json_object_get(request, "version");

	(void)fd;
	if (!json_is_integer(version) ||
	    json_integer_value(version) != CTL_VERSION)
		return error_set(
			reterr, -EPROTO,
			"endpoint %s speaks version %d of the control protocol",
			endpoint->name, CTL_VERSION);
	json_object_set_new(reply, "version", json_integer(CTL_VERSION));
	json_object_set_new(reply, "pid", json_integer(getpid()));
	json_object_set_new(reply, "name", json_string(endpoint->name));
	endpoint_watch_forget(endpoint);
	endpoint->listing = false;
	return 0;
}

/* A cursor over everything that a reply to 'list' may have to hold. */
struct listing {
	uint64_t from, position;
	unsigned int taken;
	json_t *reply;
};

/* Returns whether it is in this part. */
static bool list_item(struct listing *listing, const char *array, json_t *said)
{
	if (listing->position++ < listing->from || listing->taken == LIST_PART)
		return false;
	listing->taken++;
	json_array_append(json_object_get(listing->reply, array), said);
	return true;
}

/* What the list says of its sessions is told: events go on from there. */
static void list_front(struct listing *listing, struct endpoint_front *f)
{
	const struct front_status status = endpoint_front_status(f);
	json_t *said;

	said = json_pack("{s:s, s:s, s:I, s:i, s:b}", "kind",
			 endpoint_front_kind(f), "vdev", f->vdev->name, "pasid",
			 f->process ? (json_int_t)f->process->pasid : 0,
			 "sessions", (int)status.sessions, "attached",
			 status.attached);
	if (f->kind == ENDPOINT_NBD)
		json_object_set_new(said, "connections",
				    json_integer((json_int_t)f->connections));
	if (f->has_tls)
		json_object_set_new(said, "tls",
				    json_pack("{s:s, s:b}", "mark", f->tls_mark,
					      "required", f->tls_required));
	if (list_item(listing, "listeners", said))
		f->told = status;
	json_decref(said);
}

/* The same of those that named it in their export. */
static void list_process(struct listing *listing, struct endpoint_process *p)
{
	const unsigned int sessions = endpoint_nbd_sessions(p);
	json_t *said = json_copy(p->said);

	if (p->vdev->nbd) {
		json_object_set_new(said, "kind", json_string("nbd"));
		json_object_set_new(said, "sessions",
				    json_integer((json_int_t)sessions));
		json_object_set_new(said, "attached",
				    json_boolean(sessions > 0));
	}
	if (list_item(listing, "processes", said))
		p->told_nbd = sessions;
	json_decref(said);
}

static void list_new(struct listing *listing, const char *array, json_t *said)
{
	list_item(listing, array, said);
	json_decref(said);
}

static void list_pools(struct listing *listing, const struct endpoint *endpoint)
{
	for (const struct endpoint_pool *p = endpoint->pools; p; p = p->next)
		if (!p->is_going)
			list_new(listing, "pools", endpoint_pool_said(p));
	for (const struct endpoint_pool *p = endpoint->pools; p; p = p->next)
		for (const struct endpoint_member *m = p->members; m;
		     m = m->next)
			if (!p->is_going && !m->is_going && !m->is_refused)
				list_new(listing, "members",
					 endpoint_member_said(m));
}

static int op_list(struct endpoint *endpoint, json_t *request, int *fd,
		   json_t *reply, struct error *reterr)
{
	static const char *const arrays[] = {"devices",	  "pools",
					     "members",	  "vdevs",
					     "processes", "listeners"};
	struct listing listing = {.reply = reply};
	const json_t *from = json_object_get(request, "from");
	uint64_t next;

	(void)fd;
	(void)reterr;
	if (json_is_integer(from) && json_integer_value(from) > 0)
		listing.from = (uint64_t)json_integer_value(from);
	for (size_t i = 0; i < sizeof(arrays) / sizeof(*arrays); i++)
		json_object_set_new(reply, arrays[i], json_array());
	for (struct endpoint_device *d = endpoint->devices; d; d = d->next) {
		json_t *said = json_copy(d->said);

		endpoint_export_list(d, said);
		json_object_set_new(said, "calibrating",
				    json_boolean(d->is_measured));
		if (d->measured)
			json_object_set(said, "calibration", d->measured);
		list_item(&listing, "devices", said);
		json_decref(said);
	}
	list_pools(&listing, endpoint);
	for (struct endpoint_vdev *v = endpoint->vdevs; v; v = v->next)
		list_item(&listing, "vdevs", v->said);
	for (struct endpoint_process *p = endpoint->processes; p; p = p->next)
		list_process(&listing, p);
	for (struct endpoint_front *f = endpoint->fronts; f; f = f->next)
		if (!f->draining)
			list_front(&listing, f);
	next = listing.from + listing.taken;
	/* Between two parts nobody could tell which is the newer word. */
	endpoint->listing = next < listing.position;
	if (endpoint->listing)
		json_object_set_new(reply, "next",
				    json_integer((json_int_t)next));
	json_object_set_new(reply, "enforce", json_boolean(endpoint->enforce));
	return 0;
}

static int wanted_descriptor(struct endpoint *endpoint, const json_t *request)
{
	const char *kind = json_string_value(json_object_get(request, "kind"));

	if (!kind)
		return -1;
	if (!strcmp(kind, "stats"))
		return endpoint->stats_fd;
	if (!strcmp(kind, "device")) {
		const struct endpoint_device *d = endpoint_find_device(
			endpoint,
			json_string_value(json_object_get(request, "name")));

		return d ? d->memory_fd : -1;
	}
	if (!strcmp(kind, "listener")) {
		const struct endpoint_front *f =
			endpoint_find_front(endpoint, request);

		return f ? endpoint_front_listen_fd(f) : -1;
	}
	return -1;
}

/* The only reply that carries a descriptor, so it sends for itself. */
static int op_descriptor(struct endpoint *endpoint, json_t *request, int *fd,
			 json_t *reply, struct error *reterr)
{
	const int wanted = wanted_descriptor(endpoint, request);

	(void)fd;
	if (wanted < 0)
		return error_set(reterr, -ENOENT,
				 "endpoint %s has no such descriptor",
				 endpoint->name);
	json_object_set_new(reply, "id",
			    json_integer(json_integer_value(
				    json_object_get(request, "id"))));
	json_object_set_new(reply, "ok", json_true());
	endpoint_send(endpoint, reply, wanted);
	return ENDPOINT_LATER;
}

static json_t *member_status(const struct endpoint_member *m)
{
	const struct member *member = m->add.member;

	return json_pack(
		"{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:I, s:b, s:o*}",
		"free", (json_int_t)member_free(member), "dirty",
		(json_int_t)member->space.total[SPACE_DIRTY], "bad",
		(json_int_t)member->space.bad_total, "scrubbed",
		(json_int_t)member->counts.scrubbed, "scrub_errors",
		(json_int_t)member->counts.scrub_errors, "opened",
		(json_int_t)member->counts.opened, "log_errors",
		(json_int_t)(member->log.copy_errors[0] +
			     member->log.copy_errors[1]),
		"failed", member->log.has_failed, "used",
		(json_int_t)member_used(member), "leaving",
		member_is_leaving(member), "evacuation",
		endpoint_evacuation_said(m));
}

static json_t *device_status(struct endpoint_device *d)
{
	struct sched_report report;
	json_t *status;

	sched_report(vdev_device_sched(d->device), &report);
	status = json_pack("{s:s, s:{s:I, s:I, s:I, s:I, s:I, s:I}}", "name",
			   d->name, "report", "in_flight",
			   (json_int_t)vdev_device_in_flight(d->device),
			   "window", (json_int_t)report.window, "queued",
			   (json_int_t)report.queued, "capacity_milli",
			   (json_int_t)report.capacity_milli, "shortage_milli",
			   (json_int_t)report.shortage_milli, "shortages",
			   (json_int_t)report.shortages);
	if (d->member && d->member->is_open)
		json_object_set_new(status, "member", member_status(d->member));
	return status;
}

static json_t *pool_status(const struct endpoint_pool *p)
{
	struct usage usage;

	pool_usage(p->pool, &usage);
	return json_pack("{s:s, s:b, s:s, s:I, s:I, s:I, s:I, s:I}", "name",
			 p->name, "started", p->is_started, "level",
			 endpoint_level_name(p->level), "capacity",
			 (json_int_t)usage.capacity, "used",
			 (json_int_t)usage.used, "reserved",
			 (json_int_t)usage.reserved, "promised",
			 (json_int_t)usage.promised, "free",
			 (json_int_t)pool_unpromised(p->pool));
}

static int op_status(struct endpoint *endpoint, json_t *request, int *fd,
		     json_t *reply, struct error *reterr)
{
	json_t *devices = json_array(), *fronts = json_array();
	json_t *pools = json_array();

	(void)request;
	(void)fd;
	(void)reterr;
	for (struct endpoint_device *d = endpoint->devices; d; d = d->next)
		json_array_append_new(devices, device_status(d));
	for (const struct endpoint_pool *p = endpoint->pools; p; p = p->next)
		json_array_append_new(pools, pool_status(p));
	for (struct endpoint_front *f = endpoint->fronts; f; f = f->next) {
		const struct front_status status = endpoint_front_status(f);

		json_array_append_new(
			fronts,
			json_pack("{s:s, s:s, s:I, s:i, s:b, s:I}", "kind",
				  endpoint_front_kind(f), "vdev", f->vdev->name,
				  "pasid",
				  (json_int_t)(f->process ? f->process->pasid :
							    0),
				  "sessions", (int)status.sessions, "attached",
				  status.attached, "epoch",
				  (json_int_t)status.epoch));
	}
	json_object_set_new(reply, "devices", devices);
	json_object_set_new(reply, "pools", pools);
	json_object_set_new(reply, "fronts", fronts);
	return 0;
}

static int op_enforce(struct endpoint *endpoint, json_t *request, int *fd,
		      json_t *reply, struct error *reterr)
{
	const json_t *on = json_object_get(request, "on");

	(void)fd;
	(void)reply;
	if (!json_is_boolean(on))
		return error_set(reterr, -EINVAL,
				 "enforce: 'on' must be true or false");
	endpoint->enforce = json_is_true(on);
	turns_enforce(&endpoint->turns, endpoint->enforce);
	vdev_gate_enforce(endpoint->gate, endpoint->enforce, loop_clock_ns());
	for (struct endpoint_device *d = endpoint->devices; d; d = d->next)
		sched_enforce(vdev_device_sched(d->device), endpoint->enforce,
			      loop_clock_ns());
	return 0;
}

static const struct {
	const char *op;
	/* 0: reply; ENDPOINT_LATER; or -errno with a reason. */
	int (*handle)(struct endpoint *endpoint, json_t *request, int *fd,
		      json_t *reply, struct error *reterr);
} ops[] = {
	{"hello", op_hello},
	{"list", op_list},
	{"descriptor", op_descriptor},
	{"status", op_status},
	{"enforce", op_enforce},
	{"device-add", endpoint_device_add},
	{"device-calibrate", endpoint_device_calibrate},
	{"device-capacity", endpoint_device_capacity},
	{"device-connect", endpoint_device_connect},
	{"device-remove", endpoint_device_remove},
	{"pool-add", endpoint_pool_add},
	{"pool-start", endpoint_pool_start},
	{"pool-remove", endpoint_pool_remove},
	{"member-add", endpoint_member_add},
	{"member-remove", endpoint_member_remove},
	{"member-evacuate", endpoint_member_evacuate},
	{"member-stay", endpoint_member_stay},
	{"volumes", endpoint_volumes},
	{"volume-delete", endpoint_volume_delete},
	{"volume-snapshot", endpoint_volume_snapshot},
	{"vdev-add", endpoint_vdev_add},
	{"vdev-resize", endpoint_vdev_resize},
	{"vdev-limits", endpoint_vdev_limits},
	{"vdev-resume", endpoint_vdev_resume},
	{"vdev-remove", endpoint_vdev_remove},
	{"process-add", endpoint_process_add},
	{"process-update", endpoint_process_update},
	{"process-remove", endpoint_process_remove},
	{"listen", endpoint_listen},
	{"unlisten", endpoint_unlisten},
	{"drain", endpoint_drain},
};

static void handle(struct endpoint *endpoint, json_t *request, int fd)
{
	const char *op = json_string_value(json_object_get(request, "op"));
	const json_int_t id =
		json_integer_value(json_object_get(request, "id"));
	struct error error = {0};
	json_t *reply = json_object();
	int take = 0, result = -ENOSYS;

	error_set(&error, 0, "unknown request '%s'", op ? op : "");
	if (op)
		take = endpoint_work_take_over(endpoint, request, &error);
	if (take)
		result = take;
	for (size_t i = 0; op && !take && i < sizeof(ops) / sizeof(*ops); i++)
		if (!strcmp(ops[i].op, op)) {
			error.text[0] = '\0';
			result = ops[i].handle(endpoint, request, &fd, reply,
					       &error);
			break;
		}
	if (fd >= 0)
		close(fd);
	if (result == 0) {
		endpoint_reply(endpoint, id, reply);
		return;
	}
	json_decref(reply);
	if (result < 0)
		endpoint_reply_error(endpoint, id, result, &error);
}

static void connection_ready(struct loop_watch *watch)
{
	struct endpoint *endpoint =
		container_of(watch, struct endpoint, connection_watch);

	for (unsigned int i = 0; i < MESSAGES_MAX; i++) {
		json_t *request;
		int fd, result;

		if (endpoint->connection_fd < 0)
			return;
		result = ctl_receive(endpoint->connection_fd, &request, &fd);
		if (result == -EAGAIN)
			return;
		if (result < 0) {
			endpoint_hang_up(endpoint);
			return;
		}
		handle(endpoint, request, fd);
		json_decref(request);
	}
}

static void listen_ready(struct loop_watch *watch)
{
	struct endpoint *endpoint =
		container_of(watch, struct endpoint, listen_watch);
	struct ucred peer;
	socklen_t length = sizeof(peer);
	int fd = accept4(endpoint->listen_fd, NULL, NULL,
			 SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0 ||
	    (peer.uid != 0 && peer.uid != endpoint->owner_uid)) {
		close(fd);
		return;
	}
	endpoint_hang_up(endpoint);
	endpoint->connection_fd = fd;
	endpoint->connection++;
	endpoint->connection_watch.ready = connection_ready;
	if (loop_watch_add(endpoint->loop, &endpoint->connection_watch, fd) <
	    0) {
		close(fd);
		endpoint->connection_fd = -1;
	}
}

int endpoint_control_start(struct endpoint *endpoint, struct error *reterr)
{
	int result;

	endpoint->connection_fd = -1;
	endpoint->listen_watch.ready = listen_ready;
	result = loop_watch_add(endpoint->loop, &endpoint->listen_watch,
				endpoint->listen_fd);
	if (result < 0)
		return error_set(reterr, result,
				 "can't watch the control socket");
	return 0;
}

void endpoint_control_finish(struct endpoint *endpoint)
{
	endpoint_hang_up(endpoint);
	loop_watch_remove(endpoint->loop, &endpoint->listen_watch);
}
