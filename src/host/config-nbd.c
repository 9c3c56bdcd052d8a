/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config-nbd.c - where a vdev is reached by NBD, and by what TLS
 */
#include "host/config-read.h"

#include <stdlib.h>
#include <string.h>

/* "unix:/path" or "tcp:ADDR:PORT". */
static int read_at(struct reader *reader, const struct reader_key *key,
		   yaml_node_t *node, void *field)
{
	struct error why;
	const char *text;
	int ret;

	ret = reader_string(reader, key, node, field);
	if (ret < 0)
		return ret;
	text = *(char **)field;
	if (strncmp(text, "unix:", 5) == 0) {
		if (config_check_socket(text + 5, &why) < 0)
			return reader_fail(reader, reader_line(node), "nbd: %s",
					   why.text);
		return 0;
	}
	if (strncmp(text, "tcp:", 4) || !config_is_address(text + 4))
		return reader_fail(
			reader, reader_line(node),
			"nbd must be unix:/PATH or tcp:ADDRESS:PORT, not '%s'",
			text);
	return 0;
}

static bool is_complete(const struct config_tls *tls, bool is_client)
{
	if (!tls->psk)
		return tls->cert && tls->key && tls->ca && !tls->user;
	return !tls->cert && !tls->key && !tls->ca && !tls->crl &&
		is_client == (tls->user != NULL);
}

int config_read_tls(struct reader *reader, const struct reader_key *key,
		    yaml_node_t *node, bool is_client, struct config_tls *tls)
{
	static const struct reader_key keys[] = {
		{"cert", reader_string, offsetof(struct config_tls, cert),
		 false},
		{"key", reader_string, offsetof(struct config_tls, key), false},
		{"ca", reader_string, offsetof(struct config_tls, ca), false},
		{"crl", reader_string, offsetof(struct config_tls, crl), false},
		{"psk", reader_string, offsetof(struct config_tls, psk), false},
		{"user", reader_string, offsetof(struct config_tls, user),
		 false},
		{NULL, NULL, 0, false},
	};
	int ret = reader_mapping(reader, node, key->name, keys, tls);

	if (ret < 0 || is_complete(tls, is_client))
		return ret;
	return reader_fail(
		reader, reader_line(node),
		"tls must be {cert, key, ca}, perhaps with crl, or {psk%s}",
		is_client ? ", user" : "");
}

static int read_tls(struct reader *reader, const struct reader_key *key,
		    yaml_node_t *node, void *object)
{
	struct config_vdev *vdev = object;

	vdev->has_tls = true;
	return config_read_tls(reader, key, node, false, &vdev->tls);
}

/* An address, or {listen, tls, require}. */
int config_read_nbd(struct reader *reader, const struct reader_key *key,
		    yaml_node_t *node, void *object)
{
	static const struct reader_key keys[] = {
		{"listen", read_at, offsetof(struct config_vdev, nbd), true},
		{"tls", read_tls, 0, false},
		{"require", reader_bool,
		 offsetof(struct config_vdev, tls_required), false},
		{NULL, NULL, 0, false},
	};
	struct config_vdev *vdev = object;
	bool said;
	int ret;

	if (node->type == YAML_SCALAR_NODE)
		return read_at(reader, key, node, &vdev->nbd);
	vdev->tls_required = true;
	ret = reader_mapping(reader, node, key->name, keys, vdev);
	said = !vdev->tls_required;
	if (ret == 0 && said && !vdev->has_tls)
		return reader_fail(reader, reader_line(node),
				   "nbd: 'require' without 'tls'");
	vdev->tls_required = vdev->tls_required && vdev->has_tls;
	return ret;
}
