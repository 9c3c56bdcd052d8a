/* SPDX-License-Identifier: Apache-2.0 */
/* config-slas.c - SLAs that come from elsewhere: where, and a file of them */
#include "host/config-read.h"

#include <errno.h>
#include <libpq-fe.h>

#define EVERY_DEFAULT_NS	UINT64_C(10000000000)
#define EVERY_MIN_NS		UINT64_C(1000000000)
#define EVERY_MAX_NS		UINT64_C(3600000000000)

static int read_path(struct reader *reader, const struct reader_key *key,
		     yaml_node_t *node, void *field)
{
	int ret = reader_string(reader, key, node, field);

	if (ret == 0 && **(char **)field != '/')
		ret = reader_fail(reader, reader_line(node),
				  "%s: '%s' is not an absolute path", key->name,
				  *(char **)field);
	return ret;
}

/* It may have a password: no message says what stands there. */
static int read_conninfo(struct reader *reader, const struct reader_key *key,
			 yaml_node_t *node, void *field)
{
	int ret = reader_string(reader, key, node, field);
	PQconninfoOption *options;

	if (ret < 0)
		return ret;
	options = PQconninfoParse(*(char **)field, NULL);
	if (!options)
		return reader_fail(
			reader, reader_line(node),
			"%s: not a connection string of libpq, as in 'host=/run/postgresql dbname=cmdb user=penstock'",
			key->name);
	PQconninfoFree(options);
	return 0;
}

int config_read_slas(struct reader *reader, const struct reader_key *key,
		     yaml_node_t *node, void *object)
{
	static const struct reader_key keys[] = {
		{"file", read_path, offsetof(struct config_slas, file), false},
		{"sqlite", read_path, offsetof(struct config_slas, sqlite),
		 false},
		{"postgresql", read_conninfo,
		 offsetof(struct config_slas, postgresql), false},
		{"every", reader_duration,
		 offsetof(struct config_slas, every_ns), false},
		{NULL, NULL, 0, false},
	};
	struct config_slas *slas = &((struct config *)object)->slas;
	int ret;

	slas->line = reader_line(node);
	slas->every_ns = EVERY_DEFAULT_NS;
	ret = reader_mapping(reader, node, key->name, keys, slas);
	if (ret < 0)
		return ret;
	if (!!slas->file + !!slas->sqlite + !!slas->postgresql != 1)
		return reader_fail(
			reader, slas->line,
			"slas: one of 'file', 'sqlite' and 'postgresql'");
	if (slas->every_ns < EVERY_MIN_NS || slas->every_ns > EVERY_MAX_NS)
		return reader_fail(reader, slas->line,
				   "slas: every: from 1 s to an hour");
	return 0;
}

static int read_document(struct reader *reader, yaml_node_t *root)
{
	static const struct reader_key keys[] = {
		{"processes", config_read_processes, 0, true},
		{NULL, NULL, 0, false},
	};
	int ret;

	if (!root)
		return reader_fail(
			reader, 1,
			"the file is empty: write 'processes: []' if there are none");
	ret = reader_mapping(reader, root, "the file", keys, reader->config);
	return ret < 0 ? ret : config_check_processes(reader);
}

int config_parse_slas(const char *file, const char *text, size_t length,
		      struct config **ret_config, struct error *reterr)
{
	return config_parse_with(file, text, length, read_document, ret_config,
				 reterr);
}
