/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exports.c - devices that are another server's: an NBD export, or a port to a
 * vdev of another endpoint; what penstockd has to do
 *
 * The endpoint has no network: penstockd connects and passes the socket, the
 * first one with 'device-add', others by 'device-connect' whenever the client
 * asks for one.  What is asked for is told as an event, again each second, so
 * a penstockd that comes later hears of it, too.  A server is a stranger: the
 * handshake is done here, where nothing can be broken into.
 */
#include "endpoint/endpoint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "endpoint/fields.h"
#include "endpoint/keys.h"
#include "nbd/client.h"
#include "vhost/port.h"

#define RECONNECT_MAX_NS	UINT64_C(3600000000000)
/* Of one device, in so long: a server that is refused comes back at once. */
#define REPORTS_MAX		10U
#define REPORTS_NS		UINT64_C(60000000000)

struct endpoint_export {
	struct endpoint_export *next;	/* among the endpoint's that open */
	struct endpoint_device *device;
	struct client *client;		/* nbd, or NULL */
	struct port *port;		/* port, or NULL */
	struct endpoint_device_wish wish;
	struct endpoint_later answer;
	bool is_open;
	uint64_t reports_since_ns;
	unsigned int reports;
};

static void unlink_opening(struct endpoint_export *export)
{
	struct endpoint_export **link = &export->device->endpoint->opening;

	while (*link && *link != export)
		link = &(*link)->next;
	if (*link)
		*link = export->next;
}

static struct block_device *device_of(const struct endpoint_export *export)
{
	if (export->port)
		return port_device(export->port);
	return export->client ? client_device(export->client) : NULL;
}

/* ---- what the client, or the port, says ---- */

static void export_ready(void *arg, int result, const struct error *error)
{
	struct endpoint_export *export = arg;
	struct endpoint_device *device = export->device;
	struct endpoint *endpoint = device->endpoint;
	const struct endpoint_later answer = export->answer;
	struct error why = {0};
	json_t *reply;

	unlink_opening(export);
	if (result == 0) {
		export->is_open = true;
		device->block = device_of(export);
		result = endpoint_device_serve(device, &export->wish, &why);
	} else {
		error_set(&why, result, "device %s: %s", device->name,
			  error->text);
	}
	if (result < 0) {
		endpoint_answer(endpoint, &answer, result, &why, NULL);
		if (!export->is_open) {
			endpoint_device_free(device);
			return;
		}
		/* A client that is ready may not be closed here: it is when
		 * the device is asked for anew. */
		export->answer = (struct endpoint_later){0};
		export->next = endpoint->opening;
		endpoint->opening = export;
		return;
	}
	reply = json_pack("{s:I}", "size_bytes",
			  (json_int_t)device->block->size_bytes);
	endpoint_answer(endpoint, &answer, 0, NULL, reply);
}

static void export_want(void *arg)
{
	const struct endpoint_export *export = arg;

	endpoint_tell(export->device->endpoint,
		      json_pack("{s:s, s:s}", "event", "connect", "device",
				export->device->name));
}

static void export_report(void *arg, const struct error *error)
{
	struct endpoint_export *export = arg;
	const struct endpoint *endpoint = export->device->endpoint;
	const uint64_t now_ns = loop_now_ns(endpoint->loop);

	if (now_ns - export->reports_since_ns > REPORTS_NS) {
		export->reports_since_ns = now_ns;
		export->reports = 0;
	}
	if (export->reports++ >= REPORTS_MAX)
		return;
	fprintf(stderr, "penstock-endpoint %s: device %s: %s\n", endpoint->name,
		export->device->name, error->text);
}

static const struct client_ops client_ops = {
	.ready = export_ready,
	.want = export_want,
	.report = export_report,
};

static const struct port_ops port_ops = {
	.ready = export_ready,
	.want = export_want,
	.report = export_report,
};

/* ---- opening ---- */

static int read_unflushed(const json_t *json, enum client_unflushed *ret_what,
			  struct error *reterr)
{
	static const char *const words[] = {
		[CLIENT_UNFLUSHED_LOST] = "lost",
		[CLIENT_UNFLUSHED_KEPT] = "kept",
		[CLIENT_UNFLUSHED_NONE] = "none",
	};
	const char *text =
		json_string_value(json_object_get(json, "unflushed"));

	for (unsigned int i = 0; text && i < sizeof(words) / sizeof(*words);
	     i++) {
		if (strcmp(words[i], text) != 0)
			continue;
		*ret_what = (enum client_unflushed)i;
		return 0;
	}
	return error_set(reterr, -EINVAL,
			 "'unflushed' must be lost, kept or none");
}

static int read_export(const json_t *request, struct client_config *config,
		       struct error *reterr)
{
	const json_t *json = json_object_get(request, "export");
	uint64_t connections = 0;
	int result;

	config->export_name = json_string_value(json_object_get(json, "name"));
	if (!config->export_name)
		return error_set(reterr, -EINVAL,
				 "'export' of a device of kind nbd: no name");
	result = field_u64(json, "reconnect_ns", RECONNECT_MAX_NS,
			   &config->reconnect_ns, reterr);
	if (result == 0)
		result = field_u64(json, "connections", CLIENT_CONNECTIONS_MAX,
				   &connections, reterr);
	if (result == 0)
		result = read_unflushed(json, &config->unflushed, reterr);
	config->connections = (unsigned int)connections;
	return result;
}

/* An earlier penstockd asked for it and its server says nothing: it begins
 * anew, with the newer connection. */
static void forget_opening(struct endpoint *endpoint, const char *name)
{
	struct endpoint_export *export = endpoint->opening;
	struct error why;

	while (export && strcmp(export->device->name, name) != 0)
		export = export->next;
	if (!export)
		return;
	unlink_opening(export);
	error_set(&why, -ECANCELED, "device %s is asked for anew", name);
	endpoint_answer(endpoint, &export->answer, -ECANCELED, &why, NULL);
	endpoint_device_free(export->device);
}

/* Both take 'fd' over, on success. */
static int open_client(struct endpoint_export *export, json_t *request, int *fd,
		       struct error *reterr)
{
	struct client_config config = {
		.loop = export->device->endpoint->loop,
		.size_bytes = export->wish.block.size_bytes,
		.read_only = export->wish.block.read_only,
		.ops = &client_ops,
		.arg = export,
	};
	const json_t *tls = json_object_get(request, "tls");
	int result = read_export(request, &config, reterr);

	if (result < 0)
		return result;
	config.host = json_string_value(json_object_get(tls, "host"));
	if (tls)
		result =
			keys_of_request(tls, KEYS_CLIENT, &config.keys, reterr);
	if (result == 0)
		result = client_create(&config, *fd, &export->client, reterr);
	keys_drop(config.keys);
	if (result == 0)
		*fd = -1;
	return result;
}

static int open_port(struct endpoint_export *export, const json_t *request,
		     int *fd, struct error *reterr)
{
	struct port_config config = {
		.loop = export->device->endpoint->loop,
		.size_bytes = export->wish.block.size_bytes,
		.read_only = export->wish.block.read_only,
		.ops = &port_ops,
		.arg = export,
	};
	const int taken = *fd;
	int result = field_name(request, "vdev", &config.vdev, reterr);

	if (result < 0)
		return result;
	*fd = -1;
	return port_create(&config, taken, &export->port, reterr);
}

int endpoint_export_open(struct endpoint_device *device,
			 const struct endpoint_device_wish *wish,
			 json_t *request, int *fd, struct error *reterr)
{
	struct endpoint *endpoint = device->endpoint;
	const bool is_port = strcmp(wish->block.kind, "port") == 0;
	struct endpoint_export *export;
	int result;

	if (*fd < 0)
		return error_set(reterr, -EINVAL,
				 "device %s: no connection came with it",
				 device->name);
	forget_opening(endpoint, device->name);
	export = calloc(1, sizeof(*export));
	if (!export)
		return error_set(reterr, -ENOMEM, "no memory for device %s",
				 device->name);
	device->export = export;
	export->device = device;
	export->wish = *wish;
	/* It points into the request. */
	export->wish.block.kind = is_port ? "port" : "nbd";
	export->answer = endpoint_answer_later(endpoint, request);
	result = is_port ? open_port(export, request, fd, reterr) :
			   open_client(export, request, fd, reterr);
	if (result < 0)
		return result;
	export->next = endpoint->opening;
	endpoint->opening = export;
	return ENDPOINT_LATER;
}

void endpoint_export_free(struct endpoint_export *export)
{
	/* Else the device has closed it. */
	if (export && !export->is_open)
		block_close(device_of(export));
	free(export);
}

void endpoint_export_list(const struct endpoint_device *device, json_t *said)
{
	if (device->export)
		json_object_set_new(
			said, "size_bytes",
			json_integer((json_int_t)device->block->size_bytes));
}

/* Of a connection: perhaps others than those of the one before. */
static int renew_keys(const struct endpoint_device *device, const json_t *tls,
		      struct error *reterr)
{
	const bool has_tls = json_is_true(json_object_get(
		json_object_get(device->said, "export"), "tls"));
	struct keys *keys = NULL;
	int result;

	if (!tls && !has_tls)
		return 0;
	if (!tls || !has_tls)
		return error_set(reterr, -EINVAL,
				 "device %s: 'tls' as it was added",
				 device->name);
	result = keys_of_request(tls, KEYS_CLIENT, &keys, reterr);
	if (result == 0)
		client_set_keys(device->export->client, keys);
	keys_drop(keys);
	return result;
}

int endpoint_device_connect(struct endpoint *endpoint, json_t *request, int *fd,
			    json_t *reply, struct error *reterr)
{
	struct endpoint_device *device;
	const char *name;
	int result = field_name(request, "name", &name, reterr);

	(void)reply;
	if (result < 0)
		return result;
	device = endpoint_find_device(endpoint, name);
	if (!device || !device->export)
		return error_set(reterr, -ENOENT,
				 "no device %s of kind nbd or port", name);
	if (*fd < 0)
		return error_set(reterr, -EINVAL,
				 "device %s: no connection came with it", name);
	result = device->export->client ?
		renew_keys(device, json_object_get(request, "tls"), reterr) :
		0;
	if (result < 0)
		return result;
	result = device->export->port ?
		port_connect(device->export->port, *fd) :
		client_connect(device->export->client, *fd);
	if (result == 0)
		*fd = -1;
	if (result == -EALREADY)
		return 0;	/* it was asked for twice */
	return result < 0 ?
		error_set(reterr, result, "device %s: no memory", name) :
		0;
}
