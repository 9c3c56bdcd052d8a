/* SPDX-License-Identifier: Apache-2.0 */
/* host.c - the life of a host: made, started, stopped, freed; see host.h */
#include "host/host.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/container.h"
#include "host/endpoint.h"
#include "host/history.h"
#include "host/host-data.h"
#include "host/records.h"

/* --- What endpoints say -------------------------------------------------- */

static void endpoint_lost(void *arg)
{
	transfer_lost(arg);
	bind_reset(arg);
}

static void endpoint_told(void *arg, const char *kind, const char *text)
{
	struct reg_endpoint *endpoint = arg;
	struct event_subject subject = {.endpoint = endpoint->name};

	events_add(endpoint->host->events, kind, &subject, "%s", text);
	bind_touch(endpoint->host);
}

static struct reg_device *event_device(struct reg_endpoint *endpoint,
				       const json_t *event)
{
	const char *name = json_string_value(json_object_get(event, "device"));
	unsigned int i;

	for (i = 0; name && i < endpoint->device_count; i++)
		if (strcmp(endpoint->devices[i].config->name, name) == 0)
			return &endpoint->devices[i];
	return NULL;
}

static void device_event(struct reg_endpoint *endpoint, const char *kind,
			 const json_t *event)
{
	struct reg_device *device = event_device(endpoint, event);
	struct events *events = endpoint->host->events;
	struct event_subject subject = {.endpoint = endpoint->name};
	json_int_t number;

	if (!device)
		return;
	subject.device = device->name;
	if (strcmp(kind, "shortage") == 0) {
		number = json_integer_value(
			json_object_get(event, "factor_milli"));
		events_add(
			events, kind, &subject,
			number >= 1000 ?
				"device %s: the shortage is over" :
				"device %s cannot keep all that was promised: it delivers %d.%d %% of it",
			device->name, (int)(number / 10), (int)(number % 10));
	} else if (strcmp(kind, "stall") == 0) {
		number = json_integer_value(json_object_get(event, "ns"));
		events_add(events,
			   number ? "device-stalled" : "device-recovered",
			   &subject,
			   number ? "device %s has not answered since %d ms" :
				    "device %s answers again",
			   device->name, (int)(number / 1000000));
	} else {
		events_add(events, kind, &subject,
			   "device %s: %d requests failed: %s", device->name,
			   (int)json_integer_value(
				   json_object_get(event, "count")),
			   strerror((int)json_integer_value(
				   json_object_get(event, "errno"))));
	}
}

/* Of what a pool keeps on a device (E3). */
static void damage_event(struct reg_endpoint *endpoint, const json_t *event)
{
	const struct reg_device *device = event_device(endpoint, event);
	const json_int_t errors =
		json_integer_value(json_object_get(event, "log_errors"));
	const json_int_t bad =
		json_integer_value(json_object_get(event, "bad"));
	struct events *events = endpoint->host->events;
	struct event_subject subject = {.endpoint = endpoint->name};

	if (!device)
		return;
	subject.device = device->name;
	if (json_is_true(json_object_get(event, "failed")))
		events_add(
			events, "damage", &subject,
			"device %s: its pool's log can't be written any more: what is there can be read and overwritten, nothing new takes space on it: replace it",
			device->name);
	else if (errors > 0)
		events_add(
			events, "damage", &subject,
			"device %s: %d writes to a copy of its pool's log failed, the other copy has them: replace it soon",
			device->name, (int)errors);
	if (bad > 0)
		events_add(
			events, "damage", &subject,
			"device %s: %d MiB can't be written and are not used any more",
			device->name, (int)bad);
}

static void grown_event(struct reg_endpoint *endpoint, const json_t *event)
{
	struct reg_device *device = event_device(endpoint, event);
	const struct event_subject subject = {
		.endpoint = endpoint->name,
		.device = device ? device->name : NULL,
	};

	if (!device)
		return;
	device->size_bytes = (uint64_t)json_integer_value(
		json_object_get(event, "size_bytes"));
	events_add(endpoint->host->events, "device-grown", &subject,
		   "device %s has become larger: %" PRIu64 " MiB", device->name,
		   device->size_bytes >> 20);
}

/* Writes that found no space (E3), or none that satisfies them (E10). */
static void no_space_event(struct events *events,
			   const struct event_subject *subject,
			   const struct reg_vdev *vdev, const char *kind,
			   const json_t *event)
{
	const int count =
		(int)json_integer_value(json_object_get(event, "count"));
	const char *what =
		vdev->on_error == ON_ERROR_REPORT ? "failed" : "wait";

	events_add(
		events, kind, subject,
		strcmp(kind, "unfit") == 0 ?
			"vdev %s: %d writes %s: pool %s has space, but none on a device that can keep what they are promised: give it such a device, or promise less" :
			"vdev %s: %d writes %s, there is no space in pool %s: give it a device, or discard or delete what is not needed",
		vdev->name, count, what, vdev->pool->name);
}

/* It is stopped, or waits for space, or goes on. */
static void halt_event(struct events *events,
		       const struct event_subject *subject,
		       const struct reg_vdev *vdev, const json_t *event)
{
	const char *state = json_string_value(json_object_get(event, "state"));

	if (state && strcmp(state, "stopped") == 0)
		events_add(
			events, "vdev-stopped", subject,
			"vdev %s is stopped, nothing of it is lost: %s; when that is mended: penstock vdev resume %s",
			vdev->name,
			strerror((int)json_integer_value(
				json_object_get(event, "errno"))),
			vdev->name);
	else if (state && strcmp(state, "no-space") == 0)
		events_add(events, "vdev-waiting", subject,
			   "vdev %s: writes wait for space in pool %s",
			   vdev->name, vdev->pool->name);
	else
		events_add(events, "vdev-resumed", subject, "vdev %s goes on",
			   vdev->name);
}

static void vdev_event(struct reg_endpoint *endpoint, const char *kind,
		       const json_t *event)
{
	const char *name = json_string_value(json_object_get(event, "vdev"));
	const struct reg_vdev *vdev =
		name ? registry_vdev(endpoint->host->registry, name) : NULL;
	const struct event_subject subject = {
		.vdev = name,
		.endpoint = endpoint->name,
	};

	if (vdev && strcmp(kind, "halt") == 0)
		halt_event(endpoint->host->events, &subject, vdev, event);
	else if (vdev)
		no_space_event(endpoint->host->events, &subject, vdev, kind,
			       event);
}

static void space_event(struct reg_endpoint *endpoint, const json_t *event)
{
	const char *name = json_string_value(json_object_get(event, "pool"));
	const char *level = json_string_value(json_object_get(event, "level"));
	struct reg_pool *pool =
		name ? registry_pool(endpoint->host->registry, name) : NULL;

	if (!pool || !level || pool->endpoint != endpoint)
		return;
	watch_level(pool,
		    strcmp(level, "full") == 0 ?
			    100 :
			    (unsigned int)strtoul(level, NULL, 10));
}

static void endpoint_event(void *arg, const json_t *event)
{
	struct reg_endpoint *endpoint = arg;
	const char *kind = json_string_value(json_object_get(event, "event"));

	if (!kind)
		return;
	if (strcmp(kind, "session") == 0)
		watch_session(endpoint->host, event, endpoint);
	else if (strcmp(kind, "space") == 0)
		space_event(endpoint, event);
	else if (strcmp(kind, "no-space") == 0 || strcmp(kind, "unfit") == 0 ||
		 strcmp(kind, "halt") == 0)
		vdev_event(endpoint, kind, event);
	else if (strcmp(kind, "shortage") == 0 || strcmp(kind, "stall") == 0 ||
		 strcmp(kind, "device-error") == 0)
		device_event(endpoint, kind, event);
	else if (strcmp(kind, "damage") == 0)
		damage_event(endpoint, event);
	else if (strcmp(kind, "grown") == 0)
		grown_event(endpoint, event);
	else if (strcmp(kind, "evacuated") == 0 &&
		 event_device(endpoint, event))
		evacuate_ended(event_device(endpoint, event), event);
	else if (strcmp(kind, "connect") == 0)
		bind_device_connect(event_device(endpoint, event));
}

static void endpoint_stopped(void *arg)
{
	struct reg_endpoint *endpoint = arg;
	struct host *host = endpoint->host;

	bind_reset(endpoint);
	endpoint->has_ended = true;
	ports_stop(host);
	if (--host->still_running == 0 && host->hooks.stopped)
		host->hooks.stopped(host->hooks.arg);
}

static void settle_expired(struct loop_timer *timer, uint64_t now_ns)
{
	(void)now_ns;
	bind_check_ready(container_of(timer, struct host, settle));
}

/* --- Made ---------------------------------------------------------------- */

static int make_endpoint(struct host *host, struct reg_endpoint *endpoint,
			 const struct host_program *program,
			 struct error *reterr)
{
	const struct config_endpoint *entry = endpoint->config;
	struct endpoint_config config = {
		.loop = host->loop,
		.program = program->path,
		.uid = program->uid,
		.gid = program->gid,
		.directory = host->config->state,
		.name = endpoint->name,
		.cpu = entry->cpu,
		.nice = entry->nice,
		.realtime = entry->realtime,
		.has_spin = entry->has_spin,
		.spin_ns = entry->spin_ns,
		.hooks =
			{
				.connected = adopt_connected,
				.lost = endpoint_lost,
				.event = endpoint_event,
				.stopped = endpoint_stopped,
				.tell = endpoint_told,
				.arg = endpoint,
			},
	};
	unsigned int i;
	int ret;

	endpoint->host = host;
	ret = endpoint_create(&config, &endpoint->process, reterr);
	for (i = 0; ret == 0 && i < endpoint->device_count; i++)
		ret = bind_device_init(&endpoint->devices[i]);
	return ret;
}

static int make_parts(struct host *host, const struct host_program *program,
		      struct error *reterr)
{
	unsigned int i;
	int ret;

	error_set(reterr, -ENOMEM, "out of memory");
	ret = store_open(&store_sqlite, host->loop, host->config->state,
			 &host->store, reterr);
	if (ret == 0)
		ret = events_create(&host->events);
	if (ret == 0)
		ret = registry_create(host->config, &host->registry);
	if (ret == 0)
		ret = records_load(host->registry, host->store, host->events,
				   reterr);
	if (ret == 0) {
		ret = history_create(host, &host->history);
		if (ret < 0)
			error_set(reterr, ret, "history: %s", strerror(-ret));
	}
	for (i = 0; ret == 0 && i < host->registry->endpoint_count; i++)
		ret = make_endpoint(host, &host->registry->endpoints[i],
				    program, reterr);
	return ret;
}

void host_changed(struct host *host, const char *by, const char *format, ...)
{
	struct error text;
	va_list args;

	if (!host->hooks.changed)
		return;
	va_start(args, format);
	error_vset(&text, 0, format, args);
	va_end(args);
	host->hooks.changed(host->hooks.arg, by, text.text);
}

int host_create(struct loop *loop, const struct config *config,
		const struct host_program *program,
		const struct host_hooks *hooks, struct host **ret_host,
		struct error *reterr)
{
	struct host *host = calloc(1, sizeof(*host));
	int ret;

	if (!host)
		return error_set(reterr, -ENOMEM, "out of memory");
	host->loop = loop;
	host->config = config;
	host->is_enforcing = true;
	host->started_ns = loop_clock_ns();
	host->bind.device_measured = bind_device_measured;
	host->bind.device_ready = bind_device_ready;
	host->bind.pool_ready = bind_pool_ready;
	host->bind.vdev_made = verbs_vdev_made;
	if (hooks)
		host->hooks = *hooks;
	ret = loop_timer_init(loop, &host->settle, settle_expired);
	if (ret < 0) {
		free(host);
		return error_set(reterr, ret, "out of memory");
	}
	ret = make_parts(host, program, reterr);
	if (ret == 0)
		ret = watch_start(host);
	if (ret < 0) {
		host_destroy(host);
		return ret;
	}
	*ret_host = host;
	return 0;
}

static void close_listeners(struct registry *registry)
{
	struct reg_process *process;
	struct reg_vdev *vdev;

	for (vdev = registry->vdevs; vdev; vdev = vdev->next) {
		if (vdev->listen_fd >= 0)
			close(vdev->listen_fd);
		if (vdev->nbd.listen_fd >= 0)
			close(vdev->nbd.listen_fd);
	}
	for (process = registry->processes; process; process = process->next)
		if (process->listen_fd >= 0)
			close(process->listen_fd);
}

void host_destroy(struct host *host)
{
	unsigned int i, j;

	if (!host)
		return;
	watch_finish(host);
	host->told_ready = true;
	host->is_stopping = true;
	slas_finish(host);
	history_destroy(host->history);
	store_close(host->store);
	for (i = 0; host->registry && i < host->registry->endpoint_count; i++) {
		struct reg_endpoint *endpoint = &host->registry->endpoints[i];

		if (!endpoint->process)
			break;
		endpoint_destroy(endpoint->process);
		for (j = 0; j < endpoint->device_count; j++)
			bind_device_finish(&endpoint->devices[j]);
	}
	loop_timer_finish(host->loop, &host->settle);
	if (host->registry)
		volumes_finish(host);
	transfer_finish(host);
	if (host->registry)
		close_listeners(host->registry);
	registry_destroy(host->registry);
	events_destroy(host->events);
	free(host);
}

/* --- Started, stopped ---------------------------------------------------- */

int host_start(struct host *host, struct error *reterr)
{
	unsigned int i;

	if (slas_start(host) < 0)
		return error_set(reterr, -ENOMEM, "out of memory");
	for (i = 0; i < host->config->note_count; i++)
		events_add(host->events, "not-served", NULL,
			   "%s:%u: not served by this version: %s",
			   host->config->file, host->config->notes[i].line,
			   host->config->notes[i].text);
	transfer_start(host);
	for (i = 0; i < host->registry->endpoint_count; i++)
		endpoint_start(host->registry->endpoints[i].process);
	bind_touch(host);
	return 0;
}

void host_stop(struct host *host)
{
	if (host->is_stopping)
		return;
	host->is_stopping = true;
	host->still_running = host->registry->endpoint_count;
	ports_stop(host);
	if (host->still_running == 0 && host->hooks.stopped)
		host->hooks.stopped(host->hooks.arg);
}

const struct config *host_config(const struct host *host)
{
	return host->config;
}

void host_listen(struct host *host, struct host_listener *listener)
{
	events_listen(host->events, listener);
}

void host_unlisten(struct host *host, struct host_listener *listener)
{
	events_unlisten(host->events, listener);
}

json_t *host_events(struct host *host, uint64_t after)
{
	return events_since(host->events, after);
}
