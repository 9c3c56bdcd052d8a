/* SPDX-License-Identifier: Apache-2.0 */
/* client.c - see client.h */
#include "nbd/client.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nbd/client-data.h"

static void client_free(struct client *client)
{
	client_outage_finish(client);
	keys_drop(client->keys);
	free(client->export_name);
	free(client->host);
	free(client);
}

static void client_destroy(struct block_device *device)
{
	struct client *client = (struct client *)device;

	for (unsigned int i = 0; i < CLIENT_CONNECTIONS_MAX; i++)
		if (client->links[i])
			link_orphan(client->links[i]);
	client_free(client);
}

static const struct block_device_ops client_ops = {
	.kind = "nbd",
	.submit = command_submit,
	.destroy = client_destroy,
};

int client_connect(struct client *client, int fd)
{
	unsigned int number = 0;

	if (!client_is_missing(client))
		return -EALREADY;
	while (client->links[number])
		number++;
	return link_create(client, number, fd, &client->links[number]);
}

void client_set_keys(struct client *client, struct keys *keys)
{
	assert(client->keys && keys);
	keys_drop(client->keys);
	client->keys = keys_keep(keys);
}

int client_create(const struct client_config *config, int fd,
		  struct client **ret_client, struct error *reterr)
{
	struct client *client;
	int rc = -ENOMEM;

	if (strlen(config->export_name) > WIRE_NAME_MAX)
		return error_set(reterr, -EINVAL,
				 "the export's name is longer than %u bytes",
				 WIRE_NAME_MAX);
	client = calloc(1, sizeof(*client));
	if (!client)
		return error_set(reterr, -ENOMEM, "nbd device: no memory");
	client->config = *config;
	client->device.ops = &client_ops;
	client->device.read_only = config->read_only;
	client->waiting_end = &client->waiting;
	client->progress = true;
	for (unsigned int i = CLIENT_COMMANDS; i-- > 0;) {
		client->commands[i].next = client->free;
		client->free = &client->commands[i];
	}
	client->export_name = strdup(config->export_name);
	client->keys = config->keys ? keys_keep(config->keys) : NULL;
	client->host = config->host ? strdup(config->host) : NULL;
	if (client->export_name && (client->host || !config->host))
		rc = client_outage_init(client);
	if (rc == 0)
		rc = client_connect(client, fd);
	if (rc < 0) {
		client_free(client);
		return error_set(reterr, rc, "nbd device: no memory");
	}
	*ret_client = client;
	return 0;
}

struct block_device *client_device(struct client *client)
{
	return &client->device;
}

void client_status(const struct client *client,
		   struct client_status *ret_status)
{
	*ret_status = client->status;
	for (unsigned int i = 0; i < CLIENT_CONNECTIONS_MAX; i++)
		ret_status->connections +=
			client->links[i] && client->links[i]->serving;
}
