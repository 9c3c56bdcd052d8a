/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.c - the configuration file: reading, the top level, freeing
 */
#include "host/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/config-read.h"

/* --- Small sections ------------------------------------------------------ */

/* "https://HOST:PORT", or the path of a socket on this machine. */
static int read_peer_api(struct reader *reader, const struct reader_key *key,
			 yaml_node_t *node, void *field)
{
	static const char scheme[] = "https://";
	const char *text;
	int ret = reader_string(reader, key, node, field);

	if (ret < 0)
		return ret;
	text = *(char **)field;
	if (text[0] != '/' &&
	    (strncmp(text, scheme, sizeof(scheme) - 1) ||
	     !config_is_address(text + sizeof(scheme) - 1)))
		return reader_fail(reader, reader_line(node),
				   "api must be https://HOST:PORT, not '%s'",
				   text);
	return 0;
}

static int read_peer(struct reader *reader, yaml_node_t *node, void *element)
{
	static const struct reader_key keys[] = {
		{"name", reader_name, offsetof(struct config_peer, name), true},
		{"api", read_peer_api, offsetof(struct config_peer, api), true},
		{NULL, NULL, 0, false},
	};
	struct config_peer *peer = element;
	const struct config_peer *other;
	int ret;

	peer->line = reader_line(node);
	ret = reader_mapping(reader, node, "host", keys, peer);
	if (ret < 0)
		return ret;
	for (other = reader->config->peers; other < peer; other++)
		if (strcmp(other->name, peer->name) == 0)
			return reader_fail(reader, peer->line,
					   "host '%s' twice (first in line %u)",
					   peer->name, other->line);
	return reader_note(reader, peer->line, "host '%s'", peer->name);
}

static int read_peers(struct reader *reader, const struct reader_key *key,
		      yaml_node_t *node, void *object)
{
	static const struct reader_list list = {
		.what = "hosts",
		.most = CONFIG_ITEMS_MAX,
		.element_size = sizeof(struct config_peer),
		.read = read_peer,
	};
	struct config *config = object;
	int ret;

	(void)key;
	/* 'peers' moves while the list grows: read_peer looks at it. */
	ret = reader_list(reader, node, &list, (void **)&config->peers,
			  &config->peer_count);
	return ret;
}

static int read_uplink_queues(struct reader *reader,
			      const struct reader_key *key, yaml_node_t *node,
			      void *field)
{
	long long value;
	int ret;

	ret = reader_number(reader, key->name, node, 1, 4096, &value);
	if (ret == 0)
		*(unsigned int *)field = (unsigned int)value;
	return ret;
}

static int read_uplink(struct reader *reader, yaml_node_t *node, void *element)
{
	static const struct reader_key keys[] = {
		{"name", reader_name, offsetof(struct config_uplink, name),
		 true},
		{"dev", reader_string, offsetof(struct config_uplink, dev),
		 true},
		{"queues", read_uplink_queues,
		 offsetof(struct config_uplink, queues), false},
		{NULL, NULL, 0, false},
	};
	struct config_uplink *uplink = element;
	const struct config_uplink *other;
	int ret;

	uplink->line = reader_line(node);
	ret = reader_mapping(reader, node, "uplink", keys, uplink);
	if (ret < 0)
		return ret;
	for (other = reader->config->uplinks; other < uplink; other++)
		if (strcmp(other->name, uplink->name) == 0)
			return reader_fail(
				reader, uplink->line,
				"uplink '%s' twice (first in line %u)",
				uplink->name, other->line);
	return reader_note(reader, uplink->line, "uplink '%s'", uplink->name);
}

static int read_uplinks(struct reader *reader, const struct reader_key *key,
			yaml_node_t *node, void *object)
{
	static const struct reader_list list = {
		.what = "uplinks",
		.most = CONFIG_ITEMS_MAX,
		.element_size = sizeof(struct config_uplink),
		.read = read_uplink,
	};
	struct config *config = object;

	(void)key;
	return reader_list(reader, node, &list, (void **)&config->uplinks,
			   &config->uplink_count);
}

/* "10%": the share of each device's capacity that admission keeps free. */
static int read_headroom(struct reader *reader, const struct reader_key *key,
			 yaml_node_t *node, void *field)
{
	const char *text;
	double percent;
	char *end;
	int ret;

	ret = reader_text(reader, key->name, node, &text);
	if (ret < 0)
		return ret;
	percent = strtod(text, &end);
	while (end != text && *end == ' ')
		end++;
	if (strcmp(end, "%") || !(percent >= 0.0 && percent <= 90.0))
		return reader_fail(
			reader, reader_line(node),
			"headroom must be from 0%% to 90%%, not '%s'", text);
	*(uint32_t *)field = (uint32_t)(percent * 10.0 + 0.5);
	return 0;
}

static int read_state(struct reader *reader, const struct reader_key *key,
		      yaml_node_t *node, void *field)
{
	int ret;

	ret = reader_string(reader, key, node, field);
	if (ret < 0)
		return ret;
	if (**(char **)field != '/')
		return reader_fail(reader, reader_line(node),
				   "state: '%s' is not an absolute path",
				   *(char **)field);
	return 0;
}

/* --- The whole ----------------------------------------------------------- */

static const struct reader_key top_keys[] = {
	{"host", reader_name, offsetof(struct config, host), true},
	{"state", read_state, offsetof(struct config, state), true},
	{"headroom", read_headroom, offsetof(struct config, headroom_milli),
	 false},
	{"session-hold", reader_duration,
	 offsetof(struct config, session_hold_ns), false},
	{"api", config_read_api, offsetof(struct config, api), false},
	{"audit", config_read_audit, offsetof(struct config, audit), false},
	{"socket", config_read_socket, offsetof(struct config, socket), false},
	{"endpoints", config_read_endpoints, 0, false},
	{"pools", config_read_pools, 0, false},
	{"vdevs", config_read_vdevs, 0, false},
	{"processes", config_read_processes, 0, false},
	{"slas", config_read_slas, 0, false},
	{"hosts", read_peers, 0, false},
	{"uplinks", read_uplinks, 0, false},
	{NULL, NULL, 0, false},
};

static int compare_notes(const void *a, const void *b)
{
	const struct config_note *x = a, *y = b;

	return (x->line > y->line) - (x->line < y->line);
}

static int read_document(struct reader *reader, yaml_node_t *root)
{
	struct config *config = reader->config;
	int ret;

	if (!root)
		return reader_fail(reader, 1, "the file is empty");
	ret = reader_mapping(reader, root, "the configuration", top_keys,
			     config);
	if (ret == 0)
		ret = config_check(reader);
	if (ret == 0 && config->note_count)
		qsort(config->notes, config->note_count, sizeof(*config->notes),
		      compare_notes);
	return ret;
}

/* What libyaml says of a file that is not YAML. */
static int fail_yaml(struct reader *reader, const yaml_parser_t *parser)
{
	if (parser->error == YAML_MEMORY_ERROR)
		return error_set(reader->error, -ENOMEM, "%s: out of memory",
				 reader->file);
	return reader_fail(reader, (unsigned int)parser->problem_mark.line + 1U,
			   "not YAML: %s%s%s",
			   parser->problem ? parser->problem : "unreadable",
			   parser->context ? " " : "",
			   parser->context ? parser->context : "");
}

int config_parse_with(const char *file, const char *text, size_t length,
		      int (*read)(struct reader *reader, yaml_node_t *root),
		      struct config **ret_config, struct error *reterr)
{
	struct reader reader = {.file = file, .error = reterr};
	yaml_document_t document, second;
	yaml_parser_t parser;
	int ret = -ENOMEM;

	if (length > CONFIG_FILE_MAX)
		return error_set(reterr, -EINVAL, "%s:1: larger than %u bytes",
				 file, CONFIG_FILE_MAX);
	reader.config = calloc(1, sizeof(*reader.config));
	if (!reader.config)
		return error_set(reterr, -ENOMEM, "%s: out of memory", file);
	reader.config->session_hold_ns = CONFIG_HOLD_DEFAULT_NS;
	reader.config->headroom_milli = CONFIG_HEADROOM_DEFAULT;
	reader.config->audit.size_bytes = CONFIG_AUDIT_SIZE_DEFAULT;
	reader.config->audit.keep = CONFIG_AUDIT_KEEP_DEFAULT;
	reader.config->file = strdup(file);
	if (!reader.config->file || !yaml_parser_initialize(&parser)) {
		config_free(reader.config);
		return error_set(reterr, -ENOMEM, "%s: out of memory", file);
	}
	yaml_parser_set_input_string(&parser, (const unsigned char *)text,
				     length);
	if (!yaml_parser_load(&parser, &document)) {
		ret = fail_yaml(&reader, &parser);
		goto out_parser;
	}
	reader.document = &document;
	error_set(reterr, -ENOMEM, "%s: out of memory", file);
	ret = read(&reader, yaml_document_get_root_node(&document));
	yaml_document_delete(&document);
	if (ret < 0)
		goto out_parser;
	if (!yaml_parser_load(&parser, &second)) {
		ret = fail_yaml(&reader, &parser);
		goto out_parser;
	}
	if (yaml_document_get_root_node(&second))
		ret = reader_fail(
			&reader, (unsigned int)second.start_mark.line + 1U,
			"a second document begins here; only one is read");
	yaml_document_delete(&second);
out_parser:
	yaml_parser_delete(&parser);
	if (ret < 0) {
		config_free(reader.config);
		return ret;
	}
	*ret_config = reader.config;
	return 0;
}

int config_parse(const char *file, const char *text, size_t length,
		 struct config **ret_config, struct error *reterr)
{
	return config_parse_with(file, text, length, read_document, ret_config,
				 reterr);
}

static int load_with(int (*parse)(const char *file, const char *text,
				  size_t length, struct config **ret_config,
				  struct error *reterr),
		     const char *file, struct config **ret_config,
		     struct error *reterr)
{
	size_t length;
	char *text;
	FILE *stream;
	int ret;

	stream = fopen(file, "re");
	if (!stream) {
		ret = -errno;
		return error_set(reterr, ret, "%s: %s", file, strerror(-ret));
	}
	text = malloc(CONFIG_FILE_MAX + 1U);
	if (!text) {
		fclose(stream);
		return error_set(reterr, -ENOMEM, "%s: out of memory", file);
	}
	length = fread(text, 1, CONFIG_FILE_MAX + 1U, stream);
	if (ferror(stream))
		ret = error_set(reterr, -EIO, "%s: cannot be read: %s", file,
				strerror(errno));
	else
		ret = parse(file, text, length, ret_config, reterr);
	free(text);
	fclose(stream);
	return ret;
}

int config_load(const char *file, struct config **ret_config,
		struct error *reterr)
{
	return load_with(config_parse, file, ret_config, reterr);
}

int config_load_slas(const char *file, struct config **ret_config,
		     struct error *reterr)
{
	return load_with(config_parse_slas, file, ret_config, reterr);
}

/* --- Freeing ------------------------------------------------------------- */

static void free_tls(struct config_tls *tls)
{
	free(tls->cert);
	free(tls->key);
	free(tls->ca);
	free(tls->crl);
	free(tls->psk);
	free(tls->user);
}

static void free_export(struct config_export *export)
{
	if (export)
		free_tls(&export->tls);
	free(export);
}

static void free_port(struct config_port *port)
{
	if (port) {
		free(port->vdev);
		free(port->pool);
	}
	free(port);
}

static void free_endpoints(struct config *config)
{
	unsigned int i, j;

	for (i = 0; i < config->endpoint_count; i++) {
		struct config_endpoint *endpoint = &config->endpoints[i];

		for (j = 0; j < endpoint->device_count; j++) {
			free(endpoint->devices[j].name);
			free(endpoint->devices[j].kind);
			free(endpoint->devices[j].path);
			free_export(endpoint->devices[j].export);
			free_port(endpoint->devices[j].port);
		}
		free(endpoint->devices);
		free(endpoint->name);
	}
	free(config->endpoints);
}

static void free_pools(struct config *config)
{
	unsigned int i, j;

	for (i = 0; i < config->pool_count; i++) {
		struct config_pool *pool = &config->pools[i];

		for (j = 0; j < pool->device_count; j++) {
			free(pool->devices[j].host);
			free(pool->devices[j].endpoint);
			free(pool->devices[j].device);
		}
		free(pool->devices);
		free(pool->name);
		free(pool->from);
	}
	free(config->pools);
}

static void free_socket(struct config_socket *whose)
{
	free(whose->user);
	free(whose->group);
}

static void free_vdevs(struct config *config)
{
	unsigned int i;

	for (i = 0; i < config->vdev_count; i++) {
		struct config_vdev *vdev = &config->vdevs[i];

		free(vdev->name);
		free(vdev->endpoint);
		free(vdev->pool);
		free(vdev->vhost_user);
		free(vdev->nbd);
		free_tls(&vdev->tls);
		free(vdev->tap);
		free(vdev->crypto);
		free_socket(&vdev->socket);
	}
	free(config->vdevs);
	for (i = 0; i < config->process_count; i++) {
		struct config_process *process = &config->processes[i];

		free(process->name);
		free(process->vdev);
		free(process->policy);
		free(process->vhost_user);
		free_socket(&process->socket);
	}
	free(config->processes);
}

static void free_api(struct config_api *api)
{
	unsigned int i;

	for (i = 0; i < api->role_count; i++)
		free(api->roles[i].who);
	free(api->roles);
	free(api->unix_path);
	free(api->tcp);
	free(api->tls_cert);
	free(api->tls_key);
	free(api->tls_ca);
	free(api->tls_crl);
}

void config_free(struct config *config)
{
	unsigned int i;

	if (!config)
		return;
	free_endpoints(config);
	free_pools(config);
	free_vdevs(config);
	free_api(&config->api);
	free(config->audit.path);
	free_socket(&config->socket);
	for (i = 0; i < config->peer_count; i++) {
		free(config->peers[i].name);
		free(config->peers[i].api);
	}
	free(config->peers);
	for (i = 0; i < config->uplink_count; i++) {
		free(config->uplinks[i].name);
		free(config->uplinks[i].dev);
	}
	free(config->uplinks);
	for (i = 0; i < config->note_count; i++)
		free(config->notes[i].text);
	free(config->notes);
	free(config->file);
	free(config->host);
	free(config->slas.file);
	free(config->slas.sqlite);
	free(config->slas.postgresql);
	free(config->state);
	free(config);
}
