/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config-api.c - who may reach penstockd, and how: the API, its audit, sockets
 */
#include "host/config-read.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- Roles --------------------------------------------------------------- */

/* A name as certificates have them: visible characters. */
static bool is_certificate_name(const char *text)
{
	const size_t length = strlen(text);

	for (size_t i = 0; i < length; i++)
		if (!isgraph((unsigned char)text[i]))
			return false;
	return length > 0 && length <= CONFIG_CERTIFICATE_NAME_MAX;
}

static int read_role(struct reader *reader, yaml_node_t *node, void *element)
{
	static const char certificate[] = "cert:";
	struct config_role_entry *entry = element;
	struct error why;
	const char *text;
	int ret;

	entry->line = reader_line(node);
	ret = reader_text(reader, "a user, @group or cert:name", node, &text);
	if (ret < 0)
		return ret;
	entry->is_group = text[0] == '@';
	entry->is_certificate =
		strncmp(text, certificate, sizeof(certificate) - 1) == 0;
	text += entry->is_group;
	if (entry->is_certificate) {
		text += sizeof(certificate) - 1;
		if (!is_certificate_name(text))
			return reader_fail(
				reader, entry->line,
				"'cert:%s' names no certificate: its name as it stands there, of 1 to %u visible characters",
				text, CONFIG_CERTIFICATE_NAME_MAX);
	} else if (text[0] != '_' && config_check_name(text, &why) < 0) {
		return reader_fail(reader, entry->line,
				   "'%s' is not a user, @group or cert:name",
				   text);
	}
	entry->who = strdup(text);
	return entry->who ? 0 : -ENOMEM;
}

static const struct {
	const char *word;
	enum config_role role;
} roles[] = {
	{"read", CONFIG_ROLE_READ},
	{"operate", CONFIG_ROLE_OPERATE},
	{"administer", CONFIG_ROLE_ADMINISTER},
	{"host-to-host", CONFIG_ROLE_HOST_TO_HOST},
};

static int read_role_list(struct reader *reader, const struct reader_key *key,
			  yaml_node_t *node, void *object)
{
	static const struct reader_list list = {
		.what = "users, groups and certificates",
		.most = CONFIG_ITEMS_MAX,
		.element_size = sizeof(struct config_role_entry),
		.read = read_role,
	};
	struct config_api *api = object;
	enum config_role role = CONFIG_ROLE_NONE;
	unsigned int i = api->role_count;
	void *array = api->roles;
	int ret;

	for (size_t r = 0; r < sizeof(roles) / sizeof(roles[0]); r++)
		if (strcmp(key->name, roles[r].word) == 0)
			role = roles[r].role;
	ret = reader_list(reader, node, &list, &array, &api->role_count);
	api->roles = array;
	for (; i < api->role_count; i++)
		api->roles[i].role = role;
	if (ret < 0 || role != CONFIG_ROLE_HOST_TO_HOST)
		return ret;
	for (i = 0; i < api->role_count; i++)
		if (api->roles[i].role == role && !api->roles[i].is_certificate)
			return reader_fail(
				reader, api->roles[i].line,
				"host-to-host is for certificates (cert:NAME), not '%s'",
				api->roles[i].who);
	return reader_note(reader, reader_line(node), "api: role host-to-host");
}

static int read_roles(struct reader *reader, const struct reader_key *key,
		      yaml_node_t *node, void *object)
{
	static const struct reader_key keys[] = {
		{"read", read_role_list, 0, false},
		{"operate", read_role_list, 0, false},
		{"administer", read_role_list, 0, false},
		{"host-to-host", read_role_list, 0, false},
		{NULL, NULL, 0, false},
	};

	return reader_mapping(reader, node, key->name, keys, object);
}

/* --- TCP ----------------------------------------------------------------- */

static int read_tls(struct reader *reader, const struct reader_key *key,
		    yaml_node_t *node, void *object)
{
	static const struct reader_key keys[] = {
		{"cert", reader_string, offsetof(struct config_api, tls_cert),
		 true},
		{"key", reader_string, offsetof(struct config_api, tls_key),
		 true},
		{"ca", reader_string, offsetof(struct config_api, tls_ca),
		 true},
		{"crl", reader_string, offsetof(struct config_api, tls_crl),
		 false},
		{NULL, NULL, 0, false},
	};

	return reader_mapping(reader, node, key->name, keys, object);
}

static int read_tcp(struct reader *reader, const struct reader_key *key,
		    yaml_node_t *node, void *field)
{
	int ret = reader_string(reader, key, node, field);

	if (ret == 0 && !config_is_address(*(char **)field))
		return reader_fail(reader, reader_line(node),
				   "tcp must be ADDRESS:PORT, not '%s'",
				   *(char **)field);
	return ret;
}

int config_read_api(struct reader *reader, const struct reader_key *key,
		    yaml_node_t *node, void *object)
{
	static const struct reader_key keys[] = {
		{"unix", reader_socket, offsetof(struct config_api, unix_path),
		 false},
		{"tcp", read_tcp, offsetof(struct config_api, tcp), false},
		{"tls", read_tls, 0, false},
		{"roles", read_roles, 0, false},
		{NULL, NULL, 0, false},
	};
	struct config_api *api = object;
	int ret;

	api->line = reader_line(node);
	ret = reader_mapping(reader, node, key->name, keys, api);
	if (ret < 0)
		return ret;
	if (api->tcp && !api->tls_cert)
		return reader_fail(
			reader, api->line,
			"api: 'tcp' needs 'tls: {cert, key, ca}': both sides show a certificate");
	if (api->tls_cert && !api->tcp)
		return reader_fail(reader, api->line,
				   "api: 'tls' without 'tcp'");
	return 0;
}

/* --- Audit --------------------------------------------------------------- */

static int read_audit_path(struct reader *reader, const struct reader_key *key,
			   yaml_node_t *node, void *field)
{
	int ret = reader_string(reader, key, node, field);

	if (ret == 0 && **(char **)field != '/')
		return reader_fail(reader, reader_line(node),
				   "audit: '%s' is not an absolute path",
				   *(char **)field);
	return ret;
}

static int read_audit_keep(struct reader *reader, const struct reader_key *key,
			   yaml_node_t *node, void *field)
{
	long long value;
	int ret = reader_number(reader, key->name, node, 1,
				CONFIG_AUDIT_KEEP_MAX, &value);

	if (ret == 0)
		*(unsigned int *)field = (unsigned int)value;
	return ret;
}

/* A path, or {file, size, keep}. */
int config_read_audit(struct reader *reader, const struct reader_key *key,
		      yaml_node_t *node, void *object)
{
	static const struct reader_key keys[] = {
		{"file", read_audit_path, offsetof(struct config_audit, path),
		 false},
		{"size", reader_size, offsetof(struct config_audit, size_bytes),
		 false},
		{"keep", read_audit_keep, offsetof(struct config_audit, keep),
		 false},
		{NULL, NULL, 0, false},
	};
	struct config_audit *audit = object;
	int ret;

	if (node->type == YAML_SCALAR_NODE)
		return read_audit_path(reader, key, node, &audit->path);
	ret = reader_mapping(reader, node, key->name, keys, audit);
	if (ret == 0 && audit->size_bytes < CONFIG_AUDIT_SIZE_MIN)
		return reader_fail(reader, reader_line(node),
				   "audit: size must be at least 64KiB");
	return ret;
}

/* --- Sockets ------------------------------------------------------------- */

static int read_owner(struct reader *reader, const struct reader_key *key,
		      yaml_node_t *node, void *field)
{
	const char *text;
	struct error why;
	int ret = reader_text(reader, key->name, node, &text);

	if (ret < 0)
		return ret;
	if (text[0] != '_' && config_check_name(text, &why) < 0)
		return reader_fail(reader, reader_line(node),
				   "socket: '%s' is not the name of a %s", text,
				   key->name);
	*(char **)field = strdup(text);
	return *(char **)field ? 0 : -ENOMEM;
}

/* "0660": octal, as chmod has it; nobody executes a socket. */
static int read_mode(struct reader *reader, const struct reader_key *key,
		     yaml_node_t *node, void *field)
{
	const char *text;
	unsigned long mode;
	char *end;
	int ret = reader_text(reader, key->name, node, &text);

	if (ret < 0)
		return ret;
	mode = strtoul(text, &end, 8);
	if (text[0] < '0' || text[0] > '7' || *end || mode == 0 ||
	    (mode & ~0666UL))
		return reader_fail(
			reader, reader_line(node),
			"socket: mode must be like 0660 (octal; read and write), not '%s'",
			text);
	*(unsigned int *)field = (unsigned int)mode;
	return 0;
}

int config_read_socket(struct reader *reader, const struct reader_key *key,
		       yaml_node_t *node, void *object)
{
	static const struct reader_key keys[] = {
		{"user", read_owner, offsetof(struct config_socket, user),
		 false},
		{"group", read_owner, offsetof(struct config_socket, group),
		 false},
		{"mode", read_mode, offsetof(struct config_socket, mode),
		 false},
		{NULL, NULL, 0, false},
	};
	struct config_socket *whose = object;

	whose->line = reader_line(node);
	return reader_mapping(reader, node, key->name, keys, whose);
}

static void fill(struct config_socket *whose, const struct config_socket *from)
{
	if (!whose->user)
		whose->user = from->user;
	if (!whose->group)
		whose->group = from->group;
	if (!whose->mode)
		whose->mode = from->mode;
}

struct config_socket config_socket_of(const struct config *config,
				      const char *vdev, uint32_t pasid)
{
	struct config_socket whose = {NULL, NULL, 0, 0};

	for (unsigned int i = 0; pasid && i < config->process_count; i++)
		if (config->processes[i].pasid == pasid)
			fill(&whose, &config->processes[i].socket);
	for (unsigned int i = 0; i < config->vdev_count; i++)
		if (strcmp(config->vdevs[i].name, vdev) == 0)
			fill(&whose, &config->vdevs[i].socket);
	fill(&whose, &config->socket);
	return whose;
}
