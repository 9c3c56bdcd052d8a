/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config-devices.c - the sections 'endpoints' and, inside them, 'devices'
 */
#include "host/config-read.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"

/* The service model of nullio: what is not said. */
#define MODEL_SERVERS_DEFAULT	8U
#define MODEL_TIME_MAX_NS	UINT64_C(60000000000)

static const struct {
	const char *word;
	bool served;
} kinds[] = {
	{"file", true}, {"memory", true},  {"nullio", true},
	{"nbd", true},	{"port", true},	   {"vhost-user", false},
	{"nic", false}, {"crypto", false},
};
#define KINDS	(sizeof(kinds) / sizeof(kinds[0]))

static int read_kind(struct reader *reader, const struct reader_key *key,
		     yaml_node_t *node, void *object)
{
	struct config_device *device = object;
	const char *text;
	unsigned int i;
	int ret;

	ret = reader_text(reader, key->name, node, &text);
	if (ret < 0)
		return ret;
	for (i = 0; i < KINDS; i++) {
		if (strcmp(text, kinds[i].word))
			continue;
		device->served = kinds[i].served;
		device->kind = strdup(text);
		return device->kind ? 0 : -ENOMEM;
	}
	return reader_fail(
		reader, reader_line(node),
		"'%s' is not a kind of device: file, memory, nullio, nbd, port (later: vhost-user, nic, crypto)",
		text);
}

/* A time of the model, not beyond what makes sense. */
static int read_model_time(struct reader *reader, const struct reader_key *key,
			   yaml_node_t *node, void *field)
{
	uint64_t time_ns;
	int ret;

	ret = reader_duration(reader, key, node, &time_ns);
	if (ret < 0)
		return ret;
	if (time_ns > MODEL_TIME_MAX_NS)
		return reader_fail(reader, reader_line(node),
				   "%s: more than a minute", key->name);
	*(uint64_t *)field = time_ns;
	return 0;
}

static int read_sigma(struct reader *reader, const struct reader_key *key,
		      yaml_node_t *node, void *field)
{
	const char *text;
	double sigma;
	char *end;
	int ret;

	ret = reader_text(reader, key->name, node, &text);
	if (ret < 0)
		return ret;
	sigma = strtod(text, &end);
	if (*end || end == text || !(sigma >= 0.0 && sigma <= 3.0))
		return reader_fail(reader, reader_line(node),
				   "sigma must be from 0 to 3, not '%s'", text);
	*(uint32_t *)field = (uint32_t)(sigma * 1000.0 + 0.5);
	return 0;
}

static int read_servers(struct reader *reader, const struct reader_key *key,
			yaml_node_t *node, void *field)
{
	long long value;
	int ret;

	ret = reader_number(reader, key->name, node, 1, 1024, &value);
	if (ret == 0)
		*(uint32_t *)field = (uint32_t)value;
	return ret;
}

static int read_latency(struct reader *reader, const struct reader_key *key,
			yaml_node_t *node, void *object)
{
	static const struct reader_key keys[] = {
		{"read", read_model_time,
		 offsetof(struct block_model, read_median_ns), false},
		{"write", read_model_time,
		 offsetof(struct block_model, write_median_ns), false},
		{"sigma", read_sigma, offsetof(struct block_model, sigma_milli),
		 false},
		{"servers", read_servers, offsetof(struct block_model, servers),
		 false},
		{"per-kib", read_model_time,
		 offsetof(struct block_model, per_kib_ns), false},
		{NULL, NULL, 0, false},
	};
	struct block_model *model = object;
	int ret;

	model->servers = MODEL_SERVERS_DEFAULT;
	if (node->type == YAML_SCALAR_NODE) {
		ret = read_model_time(reader, key, node,
				      &model->read_median_ns);
		model->write_median_ns = model->read_median_ns;
		return ret;
	}
	ret = reader_mapping(reader, node, "latency", keys, model);
	if (ret < 0)
		return ret;
	if (!model->read_median_ns && !model->write_median_ns &&
	    !model->per_kib_ns)
		return reader_fail(
			reader, reader_line(node),
			"latency names no time (read, write, per-kib)");
	return 0;
}

/* "10ppm" or "0.1%". */
static int read_error_share(struct reader *reader, const struct reader_key *key,
			    yaml_node_t *node, void *field)
{
	const char *text;
	double value;
	char *end;
	int ret;

	ret = reader_text(reader, key->name, node, &text);
	if (ret < 0)
		return ret;
	value = strtod(text, &end);
	while (end != text && *end == ' ')
		end++;
	if (strcmp(end, "%") == 0)
		value *= 10000.0;
	else if (strcmp(end, "ppm") != 0)
		end = NULL;
	if (!end || !(value >= 0.0 && value <= 1000000.0))
		return reader_fail(
			reader, reader_line(node),
			"error must be a share such as '10ppm' or '0.1%%', not '%s'",
			text);
	*(uint32_t *)field = (uint32_t)(value + 0.5);
	return 0;
}

static int read_stall(struct reader *reader, const struct reader_key *key,
		      yaml_node_t *node, void *object)
{
	static const struct reader_key keys[] = {
		{"every", read_model_time,
		 offsetof(struct block_model, stall_every_ns), true},
		{"for", read_model_time, offsetof(struct block_model, stall_ns),
		 true},
		{NULL, NULL, 0, false},
	};
	struct block_model *model = object;
	int ret;

	ret = reader_mapping(reader, node, key->name, keys, model);
	if (ret < 0)
		return ret;
	if (model->stall_ns == 0 || model->stall_ns >= model->stall_every_ns)
		return reader_fail(
			reader, reader_line(node),
			"stall: 'for' must be more than nothing and less than 'every'");
	return 0;
}

static int read_seed(struct reader *reader, const struct reader_key *key,
		     yaml_node_t *node, void *field)
{
	long long value;
	int ret;

	ret = reader_number(reader, key->name, node, 0, INT64_MAX, &value);
	if (ret == 0)
		*(uint64_t *)field = (uint64_t)value;
	return ret;
}

static int read_model(struct reader *reader, const struct reader_key *key,
		      yaml_node_t *node, void *field)
{
	static const struct reader_key keys[] = {
		{"latency", read_latency, 0, false},
		{"error", read_error_share,
		 offsetof(struct block_model, error_ppm), false},
		{"stall", read_stall, 0, false},
		{"seed", read_seed, offsetof(struct block_model, seed), false},
		{NULL, NULL, 0, false},
	};

	return reader_mapping(reader, node, key->name, keys, field);
}

/* ---- exports of other servers ---- */

/* What a device of this kind has beside what all have; made when it is first
 * named. */
static struct config_export *export_of(struct config_device *device)
{
	if (device->export)
		return device->export;
	device->export = calloc(1, sizeof(*device->export));
	if (device->export)
		device->export->unflushed = CONFIG_UNFLUSHED_NONE;
	return device->export;
}

static int read_uri(struct reader *reader, const struct reader_key *key,
		    yaml_node_t *node, void *object)
{
	struct config_export *export = export_of(object);
	struct config_device *device = object;
	struct error why;
	const char *text;
	int ret;

	if (!export)
		return -ENOMEM;
	ret = reader_text(reader, key->name, node, &text);
	if (ret < 0)
		return ret;
	if (device->path)
		return reader_fail(reader, reader_line(node),
				   "a device has a path or a uri, not both");
	if (uri_parse(text, &export->uri, &why) < 0)
		return reader_fail(reader, reader_line(node), "%s", why.text);
	device->path = strdup(text);
	return device->path ? 0 : -ENOMEM;
}

/* 0 is a wish, too: one more than it is until all is read. */
static int read_reconnect(struct reader *reader, const struct reader_key *key,
			  yaml_node_t *node, void *object)
{
	struct config_export *export = export_of(object);
	uint64_t time_ns;
	int ret;

	if (!export)
		return -ENOMEM;
	ret = reader_duration(reader, key, node, &time_ns);
	if (ret < 0)
		return ret;
	if (time_ns > CONFIG_RECONNECT_MAX_NS)
		return reader_fail(reader, reader_line(node),
				   "reconnect: more than an hour");
	export->reconnect_ns = time_ns + 1;
	return 0;
}

static int read_unflushed(struct reader *reader, const struct reader_key *key,
			  yaml_node_t *node, void *object)
{
	static const char *const words[] = {
		[CONFIG_UNFLUSHED_LOST] = "lost",
		[CONFIG_UNFLUSHED_KEPT] = "kept",
		[CONFIG_UNFLUSHED_NONE] = "none",
	};
	struct config_export *export = export_of(object);
	const char *text;
	int ret;

	if (!export)
		return -ENOMEM;
	ret = reader_text(reader, key->name, node, &text);
	for (unsigned int i = 0; ret == 0; i++) {
		if (i == sizeof(words) / sizeof(words[0]))
			return reader_fail(
				reader, reader_line(node),
				"unflushed must be lost, kept or none, not '%s'",
				text);
		if (strcmp(words[i], text) == 0) {
			export->unflushed = (enum config_unflushed)i;
			break;
		}
	}
	return ret;
}

static int read_connections(struct reader *reader, const struct reader_key *key,
			    yaml_node_t *node, void *object)
{
	struct config_export *export = export_of(object);
	long long value;
	int ret;

	if (!export)
		return -ENOMEM;
	ret = reader_number(reader, key->name, node, 1, 2, &value);
	if (ret == 0)
		export->connections = (unsigned int)value;
	return ret;
}

static int read_tls(struct reader *reader, const struct reader_key *key,
		    yaml_node_t *node, void *object)
{
	struct config_export *export = export_of(object);

	if (!export)
		return -ENOMEM;
	return config_read_tls(reader, key, node, true, &export->tls);
}

static int check_export(struct reader *reader, struct config_device *device)
{
	struct config_export *export = device->export;

	if (strcmp(device->kind, "nbd") != 0)
		return reader_fail(
			reader, device->line,
			"device '%s': only kind nbd has uri, tls, reconnect, unflushed, connections",
			device->name);
	if (device->path &&
	    export->uri.tls != (export->tls.cert || export->tls.psk))
		return reader_fail(
			reader, device->line,
			"device '%s': 'tls' goes with a uri that begins with nbds",
			device->name);
	export->reconnect_ns = export->reconnect_ns ?
		export->reconnect_ns - 1 :
		CONFIG_RECONNECT_DEFAULT_NS;
	if (!export->connections)
		export->connections = 2;
	return 0;
}

/* ---- a device ---- */

/* Where it is, and how large. */
static int check_place(struct reader *reader,
		       const struct config_device *device)
{
	const bool is_file = strcmp(device->kind, "file") == 0;

	if (strcmp(device->kind, "nbd") == 0) {
		if (!device->path || !device->export)
			return reader_fail(
				reader, device->line,
				"device '%s' of kind nbd has no 'uri'",
				device->name);
		return 0;
	}
	if (is_file && !device->path)
		return reader_fail(reader, device->line,
				   "device '%s' of kind file has no 'path'",
				   device->name);
	if (is_file && device->path[0] != '/')
		return reader_fail(reader, device->line,
				   "device '%s': path '%s' is not absolute",
				   device->name, device->path);
	if (is_file || device->port)
		return 0;
	if (device->path)
		return reader_fail(reader, device->line,
				   "device '%s': kind %s has no path",
				   device->name, device->kind);
	if (device->size_bytes == 0)
		return reader_fail(reader, device->line,
				   "device '%s' of kind %s has no 'size'",
				   device->name, device->kind);
	return 0;
}

static int read_path(struct reader *reader, const struct reader_key *key,
		     yaml_node_t *node, void *object)
{
	struct config_device *device = object;

	if (device->path)
		return reader_fail(reader, reader_line(node),
				   "a device has a path or a uri, not both");
	return reader_string(reader, key, node, &device->path);
}

static int read_device(struct reader *reader, yaml_node_t *node, void *element)
{
	static const struct reader_key keys[] = {
		{"name", reader_name, offsetof(struct config_device, name),
		 true},
		{"kind", read_kind, 0, true},
		{"path", read_path, 0, false},
		{"uri", read_uri, 0, false},
		{"tls", read_tls, 0, false},
		{"reconnect", read_reconnect, 0, false},
		{"unflushed", read_unflushed, 0, false},
		{"connections", read_connections, 0, false},
		{"size", config_read_device_size, 0, false},
		{"read-only", reader_bool,
		 offsetof(struct config_device, read_only), false},
		{"vdev", config_read_port_vdev, 0, false},
		{"pool", config_read_port_pool, 0, false},
		{"pasid", config_read_port_pasid, 0, false},
		{"sla", config_read_port_sla, 0, false},
		{"model", read_model, offsetof(struct config_device, model),
		 false},
		{NULL, NULL, 0, false},
	};
	struct config_device *device = element;
	unsigned int line = reader_line(node);
	bool has_model;
	int ret;

	device->line = line;
	ret = reader_mapping(reader, node, "device", keys, device);
	if (ret < 0)
		return ret;
	has_model = device->model.servers || device->model.error_ppm ||
		device->model.stall_ns || device->model.seed;
	if (has_model && strcmp(device->kind, "nullio") &&
	    (strcmp(device->kind, "memory") || !device->model.servers))
		return reader_fail(
			reader, line,
			"device '%s': only nullio has a model, and memory one with a latency",
			device->name);
	if (!device->served)
		return reader_note(reader, line, "device '%s': kind '%s'",
				   device->name, device->kind);
	if (device->export) {
		ret = check_export(reader, device);
		if (ret < 0)
			return ret;
	}
	ret = config_check_port(reader, device);
	return ret < 0 ? ret : check_place(reader, device);
}

static int read_devices(struct reader *reader, const struct reader_key *key,
			yaml_node_t *node, void *object)
{
	static const struct reader_list list = {
		.what = "devices",
		.most = CONFIG_DEVICES_MAX,
		.element_size = sizeof(struct config_device),
		.read = read_device,
	};
	struct config_endpoint *endpoint = object;
	void *array = endpoint->devices;
	int ret;

	(void)key;
	ret = reader_list(reader, node, &list, &array, &endpoint->device_count);
	endpoint->devices = array;
	return ret;
}

static int read_cpu(struct reader *reader, const struct reader_key *key,
		    yaml_node_t *node, void *field)
{
	long long value;
	int ret;

	ret = reader_number(reader, key->name, node, 0, 4095, &value);
	if (ret == 0)
		*(int *)field = (int)value;
	return ret;
}

static int read_nice(struct reader *reader, const struct reader_key *key,
		     yaml_node_t *node, void *field)
{
	long long value;
	int ret;

	ret = reader_number(reader, key->name, node, -20, 19, &value);
	if (ret == 0)
		*(int *)field = (int)value;
	return ret;
}

static int read_poll(struct reader *reader, const struct reader_key *key,
		     yaml_node_t *node, void *object)
{
	struct config_endpoint *endpoint = object;
	uint64_t spin_ns;
	int ret;

	ret = reader_duration(reader, key, node, &spin_ns);
	if (ret < 0)
		return ret;
	if (spin_ns > UINT64_C(1000000000))
		return reader_fail(reader, reader_line(node),
				   "poll: more than a second");
	endpoint->has_spin = true;
	endpoint->spin_ns = spin_ns;
	return 0;
}

static int read_endpoint(struct reader *reader, yaml_node_t *node,
			 void *element)
{
	static const struct reader_key keys[] = {
		{"name", reader_name, offsetof(struct config_endpoint, name),
		 true},
		{"cpu", read_cpu, offsetof(struct config_endpoint, cpu), false},
		{"nice", read_nice, offsetof(struct config_endpoint, nice),
		 false},
		{"realtime", reader_bool,
		 offsetof(struct config_endpoint, realtime), false},
		{"poll", read_poll, 0, false},
		{"devices", read_devices, 0, false},
		{NULL, NULL, 0, false},
	};
	struct config_endpoint *endpoint = element;

	endpoint->line = reader_line(node);
	endpoint->cpu = -1;
	return reader_mapping(reader, node, "endpoint", keys, endpoint);
}

int config_read_endpoints(struct reader *reader, const struct reader_key *key,
			  yaml_node_t *node, void *object)
{
	static const struct reader_list list = {
		.what = "endpoints",
		.most = CONFIG_ENDPOINTS_MAX,
		.element_size = sizeof(struct config_endpoint),
		.read = read_endpoint,
	};
	struct config *config = object;
	void *array = config->endpoints;
	int ret;

	(void)key;
	ret = reader_list(reader, node, &list, &array, &config->endpoint_count);
	config->endpoints = array;
	return ret;
}
