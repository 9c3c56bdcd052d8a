/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config-vdevs.c - the sections 'pools', 'vdevs' and 'processes'
 */
#include "host/config-read.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "sla/choose.h"
#include "sla/limit.h"

#define MATCH_WORD_MAX	80U

/* --- Pools --------------------------------------------------------------- */

/* "ep0/d0" or "beta:ep0/d0". */
static int read_pool_device(struct reader *reader, yaml_node_t *node,
			    void *element)
{
	struct config_pool_device *device = element;
	const char *text, *rest, *slash, *colon;
	int ret;

	device->line = reader_line(node);
	ret = reader_text(reader, "a pool's device", node, &text);
	if (ret < 0)
		return ret;
	colon = strchr(text, ':');
	rest = colon ? colon + 1 : text;
	slash = strchr(rest, '/');
	if (!slash)
		return reader_fail(
			reader, device->line,
			"a pool's device is ENDPOINT/DEVICE or HOST:ENDPOINT/DEVICE, not '%s'",
			text);
	if (colon)
		device->host = strndup(text, (size_t)(colon - text));
	device->endpoint = strndup(rest, (size_t)(slash - rest));
	device->device = strdup(slash + 1);
	if ((colon && !device->host) || !device->endpoint || !device->device)
		return -ENOMEM;
	return 0;
}

static int read_pool_devices(struct reader *reader,
			     const struct reader_key *key, yaml_node_t *node,
			     void *object)
{
	static const struct reader_list list = {
		.what = "devices of a pool",
		.most = CONFIG_ITEMS_MAX,
		.element_size = sizeof(struct config_pool_device),
		.read = read_pool_device,
	};
	struct config_pool *pool = object;
	void *array = pool->devices;
	int ret;

	(void)key;
	ret = reader_list(reader, node, &list, &array, &pool->device_count);
	pool->devices = array;
	return ret;
}

static int read_provisioning(struct reader *reader,
			     const struct reader_key *key, yaml_node_t *node,
			     void *field)
{
	const char *text;
	int ret;

	ret = reader_text(reader, key->name, node, &text);
	if (ret < 0)
		return ret;
	if (strcmp(text, "thin") && strcmp(text, "thick"))
		return reader_fail(
			reader, reader_line(node),
			"provisioning must be thin or thick, not '%s'", text);
	*(bool *)field = strcmp(text, "thin") == 0;
	return 0;
}

/* A size, or "equal". */
static int read_part_size(struct reader *reader, const struct reader_key *key,
			  yaml_node_t *node, void *field)
{
	const char *text;
	int ret;

	ret = reader_text(reader, key->name, node, &text);
	if (ret < 0)
		return ret;
	if (strcmp(text, "equal"))
		return reader_size(reader, key, node, field);
	*(uint64_t *)field = CONFIG_SIZE_EQUAL;
	return 0;
}

static int read_pool(struct reader *reader, yaml_node_t *node, void *element)
{
	static const struct reader_key keys[] = {
		{"name", reader_name, offsetof(struct config_pool, name), true},
		{"devices", read_pool_devices, 0, false},
		{"from", reader_name, offsetof(struct config_pool, from),
		 false},
		{"size", read_part_size,
		 offsetof(struct config_pool, size_bytes), false},
		{"provisioning", read_provisioning,
		 offsetof(struct config_pool, thin), false},
		{NULL, NULL, 0, false},
	};
	struct config_pool *pool = element;
	int ret;

	pool->line = reader_line(node);
	ret = reader_mapping(reader, node, "pool", keys, pool);
	if (ret < 0)
		return ret;
	if (pool->from && pool->device_count)
		return reader_fail(reader, pool->line,
				   "pool '%s' has both 'from' and 'devices'",
				   pool->name);
	if (!pool->from && !pool->device_count)
		return reader_fail(
			reader, pool->line,
			"pool '%s' has no devices (nor 'from: POOL')",
			pool->name);
	if (!pool->from && pool->size_bytes)
		return reader_fail(
			reader, pool->line,
			"pool '%s': only a pool with 'from' has a size of its own",
			pool->name);
	return 0;
}

int config_read_pools(struct reader *reader, const struct reader_key *key,
		      yaml_node_t *node, void *object)
{
	static const struct reader_list list = {
		.what = "pools",
		.most = CONFIG_ITEMS_MAX,
		.element_size = sizeof(struct config_pool),
		.read = read_pool,
	};
	struct config *config = object;
	void *array = config->pools;
	int ret;

	(void)key;
	ret = reader_list(reader, node, &list, &array, &config->pool_count);
	config->pools = array;
	return ret;
}

/* --- Limits (of a process, or of a vdev's processes together) ------------ */

struct limit_text {
	char text[1024];
	size_t used;
	struct sched_limits *limits;
};

static int collect_limit(struct reader *reader, yaml_node_t *key_node,
			 const char *name, yaml_node_t *value, void *arg)
{
	struct limit_text *limit = arg;
	const char *text;
	int ret, wrote;

	ret = reader_text(reader, name, value, &text);
	if (ret < 0)
		return ret;
	wrote = snprintf(limit->text + limit->used,
			 sizeof(limit->text) - limit->used, "%s%s %s",
			 limit->used ? ", " : "", name, text);
	if (wrote < 0 || (size_t)wrote >= sizeof(limit->text) - limit->used)
		return reader_fail(reader, reader_line(key_node),
				   "the limit is too long");
	limit->used += (size_t)wrote;
	return 0;
}

static int read_burst(struct reader *reader, const struct reader_key *key,
		      yaml_node_t *node, void *field)
{
	const char *text;
	struct error why;
	int ret;

	ret = reader_text(reader, key->name, node, &text);
	if (ret < 0)
		return ret;
	if (config_parse_burst(text, field, &why) < 0)
		return reader_fail(reader, reader_line(node), "%s", why.text);
	return 0;
}

/* {iops: 2000, write bandwidth: 10 MB/s, burst: 50 ms}, or the same as text. */
static int read_limit_pair(struct reader *reader, yaml_node_t *key_node,
			   const char *name, yaml_node_t *value, void *arg)
{
	static const struct reader_key burst = {"burst", read_burst, 0, false};
	struct limit_text *limit = arg;

	if (strcmp(name, "burst") == 0)
		return read_burst(reader, &burst, value,
				  &limit->limits->burst_ns);
	return collect_limit(reader, key_node, name, value, limit);
}

static int read_limit(struct reader *reader, const struct reader_key *key,
		      yaml_node_t *node, void *field)
{
	struct limit_text limit = {.limits = field};
	const char *text = limit.text;
	struct error why;
	int ret;

	if (node->type == YAML_SCALAR_NODE)
		ret = reader_text(reader, key->name, node, &text);
	else
		ret = reader_pairs(reader, node, key->name, SCHED_AXES + 1U,
				   read_limit_pair, &limit);
	if (ret < 0)
		return ret;
	if (sla_parse_limit(text, field, &why) < 0)
		return reader_fail(reader, reader_line(node), "%s: %s",
				   key->name, why.text);
	return 0;
}

/* --- Vdevs --------------------------------------------------------------- */

static int read_queues(struct reader *reader, const struct reader_key *key,
		       yaml_node_t *node, void *field)
{
	long long value;
	int ret;

	ret = reader_number(reader, key->name, node, 1, CONFIG_QUEUES_MAX,
			    &value);
	if (ret == 0)
		*(unsigned int *)field = (unsigned int)value;
	return ret;
}

static int read_on_error(struct reader *reader, const struct reader_key *key,
			 yaml_node_t *node, void *field)
{
	const char *text;
	int ret = reader_text(reader, key->name, node, &text);

	if (ret == 0 && on_error_parse(text, field) < 0)
		return reader_fail(
			reader, reader_line(node),
			"on-error must be report, stop or retry, not '%s'",
			text);
	return ret;
}

static int read_connections(struct reader *reader, const struct reader_key *key,
			    yaml_node_t *node, void *field)
{
	long long value;
	int ret;

	ret = reader_number(reader, key->name, node, 1, 65536, &value);
	if (ret == 0)
		*(unsigned int *)field = (unsigned int)value;
	return ret;
}

/* What of a vdev can't be served yet is noted where it stands. */
static int note_vdev(struct reader *reader, const struct config_vdev *vdev)
{
	const struct {
		const char *key, *value;
	} later[] = {
		{"tap", vdev->tap},
		{"crypto", vdev->crypto},
	};
	unsigned int i;
	int ret;

	for (i = 0; i < 2; i++) {
		if (!later[i].value)
			continue;
		ret = reader_note(reader, vdev->line, "vdev '%s': %s %s",
				  vdev->name, later[i].key, later[i].value);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int read_vdev(struct reader *reader, yaml_node_t *node, void *element)
{
	static const struct reader_key keys[] = {
		{"name", reader_name, offsetof(struct config_vdev, name), true},
		{"endpoint", reader_name,
		 offsetof(struct config_vdev, endpoint), false},
		{"pool", reader_name, offsetof(struct config_vdev, pool), true},
		{"size", read_part_size,
		 offsetof(struct config_vdev, size_bytes), false},
		{"queues", read_queues, offsetof(struct config_vdev, queues),
		 false},
		{"read-only", reader_bool,
		 offsetof(struct config_vdev, read_only), false},
		{"vhost-user", reader_socket,
		 offsetof(struct config_vdev, vhost_user), false},
		{"nbd", config_read_nbd, 0, false},
		{"connections", read_connections,
		 offsetof(struct config_vdev, connections), false},
		{"socket", config_read_socket,
		 offsetof(struct config_vdev, socket), false},
		{"tap", reader_string, offsetof(struct config_vdev, tap),
		 false},
		{"crypto", reader_string, offsetof(struct config_vdev, crypto),
		 false},
		{"limit", read_limit, offsetof(struct config_vdev, limits),
		 false},
		{"burst", read_burst,
		 offsetof(struct config_vdev, limits.burst_ns), false},
		{"on-error", read_on_error,
		 offsetof(struct config_vdev, on_error), false},
		{NULL, NULL, 0, false},
	};
	struct config_vdev *vdev = element;
	int ret;

	vdev->line = reader_line(node);
	vdev->queues = CONFIG_QUEUES_DEFAULT;
	vdev->served = true;
	vdev->limits.burst_ns = CONFIG_BURST_DEFAULT_NS;
	ret = reader_mapping(reader, node, "vdev", keys, vdev);
	if (ret < 0)
		return ret;
	if (choose_is_asked(vdev->name))
		return reader_fail(
			reader, vdev->line,
			"vdev '%s': a process would have one chosen by this name: call it otherwise",
			vdev->name);
	if (vdev->tap || vdev->crypto) {
		vdev->served = false;
	} else if (vdev->size_bytes == 0) {
		return reader_fail(reader, vdev->line,
				   "vdev '%s' has no 'size' (bytes, or equal)",
				   vdev->name);
	}
	if (vdev->connections && !vdev->nbd)
		return reader_fail(reader, vdev->line,
				   "vdev '%s': 'connections' without 'nbd'",
				   vdev->name);
	if (!vdev->connections)
		vdev->connections = CONFIG_CONNECTIONS_DEFAULT;
	return note_vdev(reader, vdev);
}

int config_read_vdevs(struct reader *reader, const struct reader_key *key,
		      yaml_node_t *node, void *object)
{
	static const struct reader_list list = {
		.what = "vdevs",
		.most = CONFIG_ITEMS_MAX,
		.element_size = sizeof(struct config_vdev),
		.read = read_vdev,
	};
	struct config *config = object;
	void *array = config->vdevs;
	int ret;

	(void)key;
	ret = reader_list(reader, node, &list, &array, &config->vdev_count);
	config->vdevs = array;
	return ret;
}

/* --- Processes ----------------------------------------------------------- */

int config_read_pasid(struct reader *reader, const struct reader_key *key,
		      yaml_node_t *node, void *field)
{
	long long value;
	int ret;

	ret = reader_number(reader, key->name, node, 1, CONFIG_PASID_MAX,
			    &value);
	if (ret == 0)
		*(uint32_t *)field = (uint32_t)value;
	return ret;
}

static int read_weight(struct reader *reader, const struct reader_key *key,
		       yaml_node_t *node, void *field)
{
	long long value;
	int ret;

	ret = reader_number(reader, key->name, node, 1, CONFIG_WEIGHT_MAX,
			    &value);
	if (ret == 0)
		*(uint32_t *)field = (uint32_t)value;
	return ret;
}

/* One of its keys, as "uid=1000". */
static int read_match_word(struct reader *reader, const struct reader_key *key,
			   yaml_node_t *node, void *object)
{
	struct config_process *process = object;
	char word[MATCH_WORD_MAX];
	struct error why;
	const char *text;
	int ret;

	ret = reader_text(reader, key->name, node, &text);
	if (ret < 0)
		return ret;
	if (process->match.kind != MATCH_NONE)
		return reader_fail(reader, reader_line(node),
				   "match: one of ioprio, uid, gid and pid");
	snprintf(word, sizeof(word), "%s=%s", key->name, text);
	if (config_find_match(word, &process->match, &why) < 0)
		return reader_fail(reader, reader_line(node), "%s: %s",
				   key->name, why.text);
	return 0;
}

static int read_match(struct reader *reader, const struct reader_key *key,
		      yaml_node_t *node, void *object)
{
	static const struct reader_key keys[] = {
		{"ioprio", read_match_word, 0, false},
		{"uid", read_match_word, 0, false},
		{"gid", read_match_word, 0, false},
		{"pid", read_match_word, 0, false},
		{NULL, NULL, 0, false},
	};

	struct config_process *process = object;
	int ret = reader_mapping(reader, node, key->name, keys, object);

	if (ret == 0 && process->match.kind == MATCH_NONE)
		return reader_fail(reader, reader_line(node),
				   "match: one of ioprio, uid, gid and pid");
	return ret;
}

static int read_sla_entry(struct reader *reader, yaml_node_t *key,
			  const char *name, yaml_node_t *value, void *arg)
{
	struct error why;
	const char *text;
	int ret;

	(void)key;
	ret = reader_text(reader, name, value, &text);
	if (ret < 0)
		return ret;
	if (sla_parse_entry(name, text, arg, &why) < 0)
		return reader_fail(reader, reader_line(value), "sla: %s",
				   why.text);
	return 0;
}

/* A mapping, or the same words as one text. */
int config_read_sla(struct reader *reader, const struct reader_key *key,
		    yaml_node_t *node, void *field)
{
	struct sla *sla = field;
	struct error why;
	const char *text;
	int ret;

	if (node->type == YAML_SCALAR_NODE) {
		ret = reader_text(reader, key->name, node, &text);
		if (ret < 0)
			return ret;
		if (sla_parse(text, sla, &why) < 0)
			return reader_fail(reader, reader_line(node), "sla: %s",
					   why.text);
		return 0;
	}
	ret = reader_pairs(reader, node, key->name, SLA_SPECS_MAX,
			   read_sla_entry, sla);
	if (ret == 0 && sla->count == 0)
		ret = reader_fail(reader, reader_line(node),
				  "sla: it promises nothing; leave it out");
	return ret;
}

/* The name of a vdev, or "auto[:POLICY]". */
static int read_process_vdev(struct reader *reader,
			     const struct reader_key *key, yaml_node_t *node,
			     void *object)
{
	struct config_process *process = object;
	enum choose_policy policy;
	const char *text;
	struct error why;
	int ret;

	ret = reader_text(reader, key->name, node, &text);
	if (ret < 0)
		return ret;
	if (!choose_is_asked(text))
		return reader_name(reader, key, node, &process->vdev);
	if (choose_parse(text, &policy, &why) < 0)
		return reader_fail(reader, reader_line(node), "vdev: %s",
				   why.text);
	process->policy = strdup(text);
	return process->policy ? 0 : -ENOMEM;
}

static int read_process(struct reader *reader, yaml_node_t *node, void *element)
{
	static const struct reader_key keys[] = {
		{"pasid", config_read_pasid,
		 offsetof(struct config_process, pasid), true},
		{"name", reader_name, offsetof(struct config_process, name),
		 false},
		{"vdev", read_process_vdev, 0, true},
		{"sla", config_read_sla, offsetof(struct config_process, sla),
		 false},
		{"limit", read_limit, offsetof(struct config_process, limits),
		 false},
		{"burst", read_burst,
		 offsetof(struct config_process, limits.burst_ns), false},
		{"weight", read_weight, offsetof(struct config_process, weight),
		 false},
		{"match", read_match, 0, false},
		{"vhost-user", reader_socket,
		 offsetof(struct config_process, vhost_user), false},
		{"socket", config_read_socket,
		 offsetof(struct config_process, socket), false},
		{"best-effort", reader_bool,
		 offsetof(struct config_process, best_effort), false},
		{NULL, NULL, 0, false},
	};
	struct config_process *process = element;
	int ret;

	process->line = reader_line(node);
	process->served = true;
	process->limits.burst_ns = CONFIG_BURST_DEFAULT_NS;
	ret = reader_mapping(reader, node, "process", keys, process);
	if (ret < 0)
		return ret;
	if (process->match.kind && process->vhost_user)
		return reader_fail(
			reader, process->line,
			"process %u has both 'match' and a socket of its own: one way to tell it apart is enough",
			process->pasid);
	if (!process->name &&
	    asprintf(&process->name, "process-%u", process->pasid) < 0) {
		process->name = NULL;
		return -ENOMEM;
	}
	return 0;
}

int config_read_processes(struct reader *reader, const struct reader_key *key,
			  yaml_node_t *node, void *object)
{
	static const struct reader_list list = {
		.what = "processes",
		.most = CONFIG_ITEMS_MAX,
		.element_size = sizeof(struct config_process),
		.read = read_process,
	};
	struct config *config = object;
	void *array = config->processes;
	int ret;

	(void)key;
	ret = reader_list(reader, node, &list, &array, &config->process_count);
	config->processes = array;
	return ret;
}
