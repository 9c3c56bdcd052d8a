/* SPDX-License-Identifier: Apache-2.0 */
/*
 * adopt.c - what an endpoint has when penstockd meets it
 *
 * A new one has nothing; one that was found running has what an earlier
 * penstockd asked for.  What is as it should be is kept, with its slots in
 * the statistics and a copy of its descriptors; what differs is changed;
 * what should not be there goes, ways in first.  Every slot in the list is
 * inside the statistics: endpoint-meet.c refuses a list where one is not.
 */
#include "host/host-data.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/ctl.h"
#include "ctl/item.h"
#include "host/endpoint.h"
#include "host/listen.h"

/* --- Descriptors --------------------------------------------------------- */

static void memory_fetched(struct bind_op *op, struct link_reply *reply)
{
	if (reply->result < 0 || op->device->memory_fd >= 0)
		return;
	op->device->memory_fd = reply->fd;
	reply->fd = -1;
}

/* Does anybody want a way in there?  Then who opens it replaces the old. */
static bool is_wanted(const struct registry *registry, const char *path)
{
	const struct reg_process *process;
	const struct reg_vdev *vdev;

	for (vdev = registry->vdevs; vdev; vdev = vdev->next)
		if (vdev->vhost_user && strcmp(vdev->vhost_user, path) == 0)
			return true;
	for (process = registry->processes; process; process = process->next)
		if (process->vhost_user &&
		    strcmp(process->vhost_user, path) == 0)
			return true;
	return false;
}

/* The file may say by now that it is somebody else's. */
static void own_again(const struct bind_op *op, const char *path)
{
	const struct config_socket whose =
		config_socket_of(op->endpoint->host->config, op->vdev->name,
				 op->process ? op->process->pasid : 0);
	const struct event_subject subject = {
		.pasid = op->process ? op->process->pasid : 0,
		.vdev = op->vdev->name,
	};
	struct error why;

	if (listen_own(path, &whose, &why) < 0)
		events_add(op->endpoint->host->events, "error", &subject,
			   "vdev %s: %s", op->vdev->name, why.text);
}

static void listener_fetched(struct bind_op *op, struct link_reply *reply)
{
	const char *path =
		op->process ? op->process->vhost_user : op->vdev->vhost_user;
	int *listen_fd =
		op->process ? &op->process->listen_fd : &op->vdev->listen_fd;
	char old[LISTEN_PATH_MAX];

	if (reply->result < 0 || *listen_fd >= 0 || !path)
		return;
	if (listen_path(reply->fd, old) && strcmp(old, path) != 0) {
		/* The file names another path now: the old way in closes. */
		struct bind_op unlisten = *op;

		unlisten.then = bind_ignore;
		if (!is_wanted(op->endpoint->host->registry, old))
			listen_remove(old);
		if (op->process)
			op->process->is_listening = false;
		else
			op->vdev->is_listening = false;
		bind_ask(&unlisten,
			 json_pack("{s:s, s:s, s:s, s:I}", "op", "unlisten",
				   "kind", "vhost-user", "vdev", op->vdev->name,
				   "pasid",
				   (json_int_t)(op->process ?
							op->process->pasid :
							0)),
			 -1);
		return; /* bind_retry_listeners opens the new one */
	}
	*listen_fd = reply->fd;
	reply->fd = -1;
	own_again(op, path);
}

static void fetch_listener(struct reg_vdev *vdev, struct reg_process *process)
{
	struct bind_op op = {
		.endpoint = reg_vdev_endpoint(vdev),
		.vdev = vdev,
		.process = process,
		.then = listener_fetched,
	};

	bind_ask(&op,
		 json_pack("{s:s, s:s, s:s, s:s, s:I}", "op", "descriptor",
			   "kind", "listener", "way", "vhost-user", "vdev",
			   vdev->name, "pasid",
			   (json_int_t)(process ? process->pasid : 0)),
		 -1);
}

/* --- Devices ------------------------------------------------------------- */

static struct reg_device *find_device(struct reg_endpoint *endpoint,
				      const char *name)
{
	unsigned int i;

	for (i = 0; i < endpoint->device_count; i++)
		if (!endpoint->devices[i].is_gone &&
		    strcmp(endpoint->devices[i].config->name, name) == 0)
			return &endpoint->devices[i];
	return NULL;
}

/* Is this device what the configuration wants? */
static bool device_matches(const struct reg_device *device, const json_t *item)
{
	const struct config_device *config = device->config;
	json_t *model = bind_device_model(config);
	json_t *export = bind_device_export(config);
	const json_t *has_model = json_object_get(item, "model");
	const json_t *has_export = json_object_get(item, "export");
	bool is_model = (model ? json_equal(model, has_model) : !has_model) &&
		(export ? json_equal(export, has_export) : !has_export);
	struct identity file;

	json_decref(model);
	json_decref(export);
	identity_from_json(&file, json_object_get(item, "file"));
	return is_model && strcmp(config->kind, item_text(item, "kind")) == 0 &&
		bind_find_is_at(device, file.path) &&
		strcmp(config->port ? config->port->vdev : "",
		       item_text(item, "vdev")) == 0 &&
		config->read_only == item_flag(item, "read_only");
}

/* It goes, and what is wanted comes. */
static void tell_differs(const struct reg_device *device)
{
	struct event_subject subject = {
		.device = device->name,
		.endpoint = device->endpoint->name,
	};

	events_add(
		device->endpoint->host->events, "device-changed", &subject,
		"device %s is configured otherwise than its endpoint has it: it is taken out and added anew",
		device->name);
}

static void adopt_device(struct reg_device *device, const json_t *item)
{
	struct bind_op op = {
		.endpoint = device->endpoint,
		.device = device,
		.then = memory_fetched,
	};
	const json_t *capacity = json_object_get(item, "capacity");

	device->slot = (int)item_number(item, "slot");
	device->endpoint->device_slots_taken |= UINT64_C(1) << device->slot;
	device->whole_bytes = item_number(item, "size_bytes");
	identity_from_json(&device->file, json_object_get(item, "file"));
	bind_find_take(device, device->file.path);
	device->is_added = true;
	device->state = REG_DEVICE_WAITING;
	device->error.text[0] = '\0';
	if (strcmp(device->config->kind, "memory") == 0 &&
	    device->memory_fd < 0)
		bind_ask(&op,
			 json_pack("{s:s, s:s, s:s}", "op", "descriptor",
				   "kind", "device", "name",
				   device->config->name),
			 -1);
	bind_capacity_check(device);
	if (!device->has_capacity && capacity &&
	    ctl_to_capacity(capacity, &device->capacity) == 0) {
		device->has_capacity = true;
		device->measured_file = device->file;
	}
	/* It is measured, or was and nobody took the result. */
	if (json_object_get(item, "calibration"))
		bind_calibrate_found(device,
				     json_object_get(item, "calibration"));
}

static void adopt_devices(struct reg_endpoint *endpoint, const json_t *list)
{
	const json_t *items = json_object_get(list, "devices");
	struct reg_device *device;
	const json_t *item;
	size_t i;

	json_array_foreach(items, i, item)
	{
		device = find_device(endpoint, item_text(item, "name"));
		if (device && device_matches(device, item) &&
		    item_number(item, "slot") < STATS_DEVICES)
			adopt_device(device, item);
		else if (device)
			tell_differs(device);
	}
}

static const json_t *device_item(const json_t *list, const char *name)
{
	const json_t *item;
	size_t i;

	json_array_foreach(json_object_get(list, "devices"), i,
			   item) if (strcmp(item_text(item, "name"), name) ==
				     0) return item;
	return NULL;
}

struct reg_device *adopt_wanted(struct reg_endpoint *endpoint,
				const json_t *list, const char *name)
{
	struct reg_device *device = find_device(endpoint, name);
	const json_t *item = device_item(list, name);

	return device && item && device_matches(device, item) ? device : NULL;
}

/* --- Vdevs --------------------------------------------------------------- */

static bool vdev_matches(const struct reg_vdev *vdev, const json_t *item)
{
	return vdev->uuid[0] && vdev->state == REG_VDEV_PENDING &&
		vdev->pool->is_started &&
		strcmp(vdev->pool->name, item_text(item, "pool")) == 0 &&
		strcmp(vdev->uuid, item_text(item, "uuid")) == 0 &&
		vdev->queues == item_number(item, "queues") &&
		vdev->read_only == item_flag(item, "read_only");
}

static void adopt_vdev(struct reg_endpoint *endpoint, struct reg_vdev *vdev,
		       const json_t *item)
{
	struct bind_op op = {
		.endpoint = endpoint,
		.vdev = vdev,
		.then = bind_ignore,
	};
	json_t *limits = ctl_from_sched_limits(&vdev->limits);
	const char *on_error = on_error_name(vdev->on_error);

	vdev->slot = (int)item_number(item, "slot");
	reg_slot_reserve(endpoint, (unsigned int)vdev->slot);
	vdev->is_added = true;
	vdev->is_there = true;
	vdev->state = REG_VDEV_SERVING;
	/* bind_sync asks for it, when it is written down. */
	vdev->volume_bytes = item_number(item, "size_bytes");
	vdev->is_resizing = vdev->size_bytes != vdev->volume_bytes;
	if (!json_equal(limits, json_object_get(item, "limits")) ||
	    strcmp(on_error, item_text(item, "on_error")) != 0)
		bind_ask(&op,
			 json_pack("{s:s, s:s, s:O, s:s}", "op", "vdev-limits",
				   "name", vdev->name, "limits", limits,
				   "on_error", on_error),
			 -1);
	json_decref(limits);
}

static void adopt_vdevs(struct reg_endpoint *endpoint, const json_t *list)
{
	const json_t *items = json_object_get(list, "vdevs");
	const json_t *item;
	size_t i;

	json_array_foreach(items, i, item)
	{
		struct reg_vdev *vdev = registry_vdev(endpoint->host->registry,
						      item_text(item, "name"));

		/* Its number is taken even if it goes soon. */
		reg_slot_reserve(endpoint,
				 (unsigned int)item_number(item, "slot"));
		if (vdev && reg_vdev_endpoint(vdev) == endpoint &&
		    vdev_matches(vdev, item))
			adopt_vdev(endpoint, vdev, item);
	}
}

/* --- Processes ----------------------------------------------------------- */

static void adopt_process(struct reg_endpoint *endpoint,
			  struct reg_process *process, const json_t *item)
{
	static const char *const keys[] = {
		"params",    "sla",	  "match_ioprio", "match_pid",
		"match_uid", "match_gid", "devices"};
	struct bind_op op = {
		.endpoint = endpoint,
		.process = process,
		.vdev = process->vdev,
		.then = bind_ignore,
	};
	bool differs = false;
	json_t *wanted;
	unsigned int i;

	process->slot = (int)item_number(item, "slot");
	process->is_added = true;
	/* What was told of it before is forgotten, as of a way in. */
	if (json_object_get(item, "sessions"))
		watch_session(endpoint->host, item, endpoint);
	wanted = bind_process_message(process, "process-update");
	for (i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		const json_t *have = json_object_get(item, keys[i]);
		const json_t *want = json_object_get(wanted, keys[i]);

		differs |= (have || want) && !json_equal(have, want);
	}
	if (differs)
		bind_ask(&op, json_incref(wanted), -1);
	json_decref(wanted);
}

static bool process_matches(const struct reg_process *process,
			    const json_t *item)
{
	return process->state == REG_PROCESS_BOUND && process->vdev->is_added &&
		strcmp(process->vdev->name, item_text(item, "vdev")) == 0 &&
		(process->vhost_user != NULL) == item_flag(item, "own_socket");
}

static void adopt_processes(struct reg_endpoint *endpoint, const json_t *list)
{
	const json_t *items = json_object_get(list, "processes");
	const json_t *item;
	size_t i;

	json_array_foreach(items, i, item)
	{
		struct reg_process *process =
			registry_process(endpoint->host->registry,
					 (uint32_t)item_number(item, "pasid"));

		reg_slot_reserve(endpoint,
				 (unsigned int)item_number(item, "slot"));
		if (process && process_matches(process, item))
			adopt_process(endpoint, process, item);
	}
}

/* --- Ways in, and what goes ---------------------------------------------- */

/* One that was found and is wanted: keep its socket.  Returns whether. */
static bool adopt_listener(struct reg_endpoint *endpoint, const json_t *item)
{
	struct registry *registry = endpoint->host->registry;
	uint32_t pasid = (uint32_t)item_number(item, "pasid");
	struct reg_vdev *vdev =
		registry_vdev(registry, item_text(item, "vdev"));
	struct reg_process *process = NULL;

	if (!vdev || !vdev->is_added || reg_vdev_endpoint(vdev) != endpoint)
		return false;
	/* Of a dead penstockd's: whoever asked for it asks again. */
	if (strcmp(item_text(item, "kind"), "transfer") == 0)
		return false;
	if (strcmp(item_text(item, "kind"), "nbd") == 0) {
		if (!bind_nbd_found(vdev, item))
			return false;
		watch_session(endpoint->host, item, endpoint);
		return true;
	}
	if (pasid) {
		process = registry_process(registry, pasid);
		if (!process || !process->is_added || process->vdev != vdev ||
		    !process->vhost_user)
			return false;
		process->is_listening = true;
	} else {
		if (!vdev->vhost_user)
			return false;
		vdev->is_listening = true;
	}
	fetch_listener(vdev, process);
	/* What it told before it was asked for the list is forgotten. */
	watch_session(endpoint->host, item, endpoint);
	return true;
}

/* What is to go, kept until what stands on it has gone. */
struct removing {
	struct reg_endpoint *endpoint;
	json_t *list;
	unsigned int left; /* answers that are waited for */
	void (*then)(struct removing *removing);
	bool is_gone; /* the endpoint is */
};

static void removed(void *arg, struct link_reply *reply)
{
	struct removing *removing = arg;

	removing->is_gone |= reply->result == -ECONNRESET;
	if (--removing->left == 0)
		removing->then(removing);
}

static void removing_ask(struct removing *removing, json_t *message)
{
	removing->left++;
	endpoint_request(removing->endpoint->process, message, -1, removed,
			 removing);
}

/* Go on with 'then' when all that was asked for is answered. */
static void removing_wait(struct removing *removing,
			  void (*then)(struct removing *removing))
{
	struct link_reply fine = {.fd = -1};

	removing->then = then;
	removed(removing, &fine);
}

/* The strangers are out, or the endpoint is gone. */
static void strangers_out(struct removing *removing)
{
	struct reg_endpoint *endpoint = removing->endpoint;
	struct bind_op op = {.endpoint = endpoint, .then = bind_ignore};
	const json_t *item;
	size_t i;

	if (removing->is_gone)
		goto out;
	json_array_foreach(json_object_get(removing->list, "devices"), i, item)
	{
		struct reg_device *device =
			find_device(endpoint, item_text(item, "name"));

		if (!device || !device->is_added)
			bind_ask(&op,
				 json_pack("{s:s, s:s}", "op", "device-remove",
					   "name", item_text(item, "name")),
				 -1);
	}
	endpoint->is_connected = true;
	bind_sync(endpoint);
	bind_calibrate_next(endpoint);
	volumes_retry(endpoint->host);
	/* Perhaps nothing had to be asked for. */
	bind_check_ready(endpoint->host);
out:
	json_decref(removing->list);
	free(removing);
}

static void remove_vdevs(struct removing *removing)
{
	struct reg_endpoint *endpoint = removing->endpoint;
	struct registry *registry = endpoint->host->registry;
	const json_t *item;
	size_t i;

	json_array_foreach(json_object_get(removing->list, "processes"), i,
			   item)
	{
		struct reg_process *process = registry_process(
			registry, (uint32_t)item_number(item, "pasid"));

		if (process && process->is_added)
			continue;
		reg_slot_release(endpoint, (int)item_number(item, "slot"));
		removing_ask(removing,
			     json_pack("{s:s, s:I}", "op", "process-remove",
				       "pasid",
				       (json_int_t)item_number(item, "pasid")));
	}
	json_array_foreach(json_object_get(removing->list, "vdevs"), i, item)
	{
		struct reg_vdev *vdev =
			registry_vdev(registry, item_text(item, "name"));

		if (vdev && vdev->is_added)
			continue;
		reg_slot_release(endpoint, (int)item_number(item, "slot"));
		removing_ask(removing,
			     json_pack("{s:s, s:s}", "op", "vdev-remove",
				       "name", item_text(item, "name")));
	}
}

/* All strangers' ways in are closed. */
static void remove_strangers(struct removing *removing)
{
	struct registry *registry = removing->endpoint->host->registry;
	const json_t *item;
	size_t i;

	removing->left = 1;
	if (!removing->is_gone) {
		remove_vdevs(removing);
		json_array_foreach(json_object_get(removing->list, "pools"), i,
				   item)
		{
			const struct reg_pool *pool = registry_pool(
				registry, item_text(item, "name"));

			if (!pool || !pool->is_added)
				removing_ask(
					removing,
					json_pack("{s:s, s:s}", "op",
						  "pool-remove", "name",
						  item_text(item, "name")));
		}
	}
	removing_wait(removing, strangers_out);
}

static void close_ways_in(struct reg_endpoint *endpoint, const json_t *list)
{
	struct removing *removing = calloc(1, sizeof(*removing));
	const json_t *item;
	size_t i;

	if (!removing)
		abort(); /* as in link_request */
	removing->endpoint = endpoint;
	removing->list = json_incref((json_t *)(uintptr_t)list);
	removing->left = 1;
	json_array_foreach(json_object_get(list, "listeners"), i,
			   item) if (!adopt_listener(endpoint, item))
		removing_ask(removing,
			     json_pack("{s:s, s:s, s:s, s:I}", "op", "unlisten",
				       "kind", item_text(item, "kind"), "vdev",
				       item_text(item, "vdev"), "pasid",
				       (json_int_t)item_number(item, "pasid")));
	removing_wait(removing, remove_strangers);
}

/* What is there can be judged before anything is asked for. */
static void admit_found(struct reg_endpoint *endpoint)
{
	unsigned int i;

	for (i = 0; i < endpoint->device_count; i++) {
		struct reg_device *device = &endpoint->devices[i];

		if (!device->is_member || !device->pool->is_started)
			continue;
		if (device->has_capacity)
			bind_device_ready(device);
		else if (device->is_measuring)
			device->state = REG_DEVICE_CALIBRATING;
	}
}

void adopt_connected(void *arg, bool adopted, const json_t *list)
{
	struct reg_endpoint *endpoint = arg;
	struct host *host = endpoint->host;
	struct bind_op op = {.endpoint = endpoint, .then = bind_ignore};

	(void)adopted;
	bind_reset(endpoint);
	adopt_devices(endpoint, list);
	adopt_pools(endpoint, list);
	/* Where their data are says where processes have to be promised what
	 * they are. */
	adopt_vdevs(endpoint, list);
	admit_found(endpoint);
	adopt_processes(endpoint, list);
	if (item_flag(list, "enforce") != host->is_enforcing)
		bind_ask(&op,
			 json_pack("{s:s, s:b}", "op", "enforce", "on",
				   host->is_enforcing),
			 -1);
	close_ways_in(endpoint, list);
}
