/* SPDX-License-Identifier: Apache-2.0 */
/*
 * roles.c - who asks, and what he may by the roles of now
 *
 * On the Unix socket the kernel is asked again with each request, since the
 * roles may have changed; whoever came over TLS comes again then.
 */
#include "api/server.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/call-data.h"
#include "api/stream.h"

enum api_role api_server_role(const struct api_server *server,
			      const struct api_peer *peer)
{
	return api_role_of(peer, (uint32_t)geteuid(), server->grants,
			   server->grant_count, server->everyone);
}

/* Nobody that we know has no role. */
void api_server_who(struct api_call *call)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(
		call->connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	const struct api_door_place *place = info ? info->socket_context : NULL;
	struct api_peer peer;

	if (!place)
		return;
	call->who = place->who;
	if (place->who.is_remote)
		return;
	info = MHD_get_connection_info(call->connection,
				       MHD_CONNECTION_INFO_CONNECTION_FD);
	call->who.role = info && api_peer_of(info->connect_fd, &peer) == 0 ?
		api_server_role(call->server, &peer) :
		API_ROLE_NONE;
}

static bool is_same(const struct api_grant *a, const struct api_grant *b)
{
	if (!a->name != !b->name || a->role != b->role)
		return false;
	return a->name ? strcmp(a->name, b->name) == 0 :
			 a->is_group == b->is_group && a->id == b->id;
}

static bool are_same(const struct api_server *server,
		     const struct api_server_config *config)
{
	if (server->everyone != config->everyone ||
	    server->grant_count != config->grant_count)
		return false;
	for (size_t i = 0; i < config->grant_count; i++)
		if (!is_same(&server->grants[i], &config->grants[i]))
			return false;
	return true;
}

int api_server_copy_roles(struct api_server *server,
			  const struct api_server_config *config)
{
	struct api_grant *grants =
		calloc(config->grant_count + 1, sizeof(*grants));

	if (!grants)
		return -ENOMEM;
	for (size_t i = 0; i < config->grant_count; i++)
		grants[i] = config->grants[i];
	free(server->grants);
	server->grants = grants;
	server->grant_count = config->grant_count;
	server->everyone = config->everyone;
	return 0;
}

int api_server_set_roles(struct api_server *server,
			 const struct api_server_config *config)
{
	const bool is_new = !are_same(server, config);
	int ret = api_server_copy_roles(server, config);

	if (ret < 0)
		return ret;
	server->door.everyone = server->everyone;
	if (server->gate)
		api_gate_set_grants(server->gate, server->grants,
				    server->grant_count, is_new);
	if (is_new)
		api_streams_judge(server);
	return is_new;
}
