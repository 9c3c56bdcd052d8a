/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.c - a client's life: connecting, its memory, reconnecting, the end
 *
 * Replay.  With INFLIGHT_SHMFD the dead server's notes of what it had taken
 * are handed to the next one, together with the untouched rings and a base of
 * used->idx; it finishes what was taken, then goes on.  Without, the rings are
 * laid out anew with everything that is in flight.
 */
#include "vhost/client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/mman.h>

#include "vhost/client-internal.h"

static int check_config(const struct vhost_client_config *config,
			struct error *reterr)
{
	if (config->queues == 0 || config->queues > VHOST_CLIENT_QUEUES_MAX)
		return error_set(reterr, -EINVAL,
				 "vhost-user client: %u queues: choose 1 to %u",
				 config->queues, VHOST_CLIENT_QUEUES_MAX);
	if (config->queue_size < 4 ||
	    config->queue_size > VHOST_CLIENT_QUEUE_SIZE_MAX ||
	    config->queue_size & (config->queue_size - 1))
		return error_set(
			reterr, -EINVAL,
			"vhost-user client: queue size %u: choose a power of two from 4 to %u",
			config->queue_size, VHOST_CLIENT_QUEUE_SIZE_MAX);
	if (config->region_count == 0 ||
	    config->region_count > VHOST_CLIENT_REGIONS_MAX)
		return error_set(
			reterr, -EINVAL,
			"vhost-user client: %u memory regions: pass 1 to %u",
			config->region_count, VHOST_CLIENT_REGIONS_MAX);
	return 0;
}

int client_make_queues(struct vhost_client *client, struct error *reterr)
{
	const size_t each = client_queue_bytes(client->config.queue_size,
					       client->info.indirect);
	unsigned int i;
	int result;

	client->memory_bytes = each * client->queue_count;
	client->memory_fd =
		memfd_create("vhost-client", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	/* A server that cuts it off would end us. */
	if (client->memory_fd < 0 ||
	    ftruncate(client->memory_fd, (off_t)client->memory_bytes) ||
	    fcntl(client->memory_fd, F_ADD_SEALS,
		  F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return error_set(reterr, -errno, "%s: no memory for rings: %s",
				 client->path, strerror(errno));
	client->memory =
		mmap(NULL, client->memory_bytes, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_POPULATE, client->memory_fd, 0);
	if (client->memory == MAP_FAILED) {
		client->memory = NULL;
		return error_set(reterr, -errno, "%s: no memory for rings: %s",
				 client->path, strerror(errno));
	}
	client->queues = calloc(client->queue_count, sizeof(*client->queues));
	if (!client->queues)
		return error_set(reterr, -ENOMEM, "%s: no memory for queues",
				 client->path);
	for (i = 0; i < client->queue_count; i++)
		client->queues[i].kick_fd = client->queues[i].call_fd = -1;
	for (i = 0; i < client->queue_count; i++) {
		struct vhost_client_queue *queue = &client->queues[i];

		result = client_queue_init(queue, client->config.queue_size,
					   client->info.indirect);
		if (result < 0)
			return error_set(reterr, result,
					 "%s: no resources for queue %u: %s",
					 client->path, i, strerror(-result));
		queue->event_index = client->info.event_index;
		client_queue_place(queue, (char *)client->memory + each * i);
	}
	client->info.slots = client->queues[0].slot_count;
	return 0;
}

static void disconnect(struct vhost_client *client)
{
	client_talk_end(client);
	if (client->wire.fd >= 0)
		close(client->wire.fd);
	if (client->event_fd >= 0)
		close(client->event_fd);
	client->wire.fd = client->event_fd = -1;
}

/* All is agreed: what was shown to a dead server may never have been seen. */
static void kick_all(struct vhost_client *client)
{
	for (unsigned int i = 0; i < client->queue_count; i++) {
		const uint64_t one = 1;

		if (vhost_client_in_flight(&client->queues[i]) > 0 &&
		    write(client->queues[i].kick_fd, &one, sizeof(one)) < 0)
			break;	/* full: the server will be woken anyway */
	}
}

/* Connect and start; leaves nothing connected on failure. */
static int attach(struct vhost_client *client, struct error *reterr)
{
	int result = client_wire_connect(
		client->path, client->config.timeout_ns, &client->wire.fd);

	if (result < 0)
		return error_set(
			reterr, result,
			"%s: can't connect: %s: is the server running?",
			client->path, strerror(-result));
	client_talk_begin(client);
	result = client_talk_through(client, reterr);
	if (result < 0)
		disconnect(client);
	else
		kick_all(client);
	return result;
}

int vhost_client_advance(struct vhost_client *client, struct error *reterr)
{
	int result;

	if (client->wire.fd < 0)
		return -ECONNRESET;
	result = client_talk_advance(client, reterr);
	if (result == 0)
		kick_all(client);
	else if (result != -EAGAIN)
		disconnect(client);
	return result;
}

static int make(const struct vhost_client_config *config,
		struct vhost_client **ret_client, struct error *reterr)
{
	struct vhost_client *client;
	int result;

	result = check_config(config, reterr);
	if (result < 0)
		return result;
	client = calloc(1, sizeof(*client));
	if (!client)
		return error_set(reterr, -ENOMEM, "%s: no memory for a client",
				 config->path);
	client->config = *config;
	client->wire.fd = client->event_fd = -1;
	client->memory_fd = client->inflight_fd = -1;
	client->talk.reply.fd = -1;
	client->wire.timeout_ns = config->timeout_ns;
	memcpy(client->regions, config->regions,
	       config->region_count * sizeof(client->regions[0]));
	client->config.regions = client->regions;
	client->path = strdup(config->path);
	if (!client->path) {
		free(client);
		return error_set(reterr, -ENOMEM, "%s: no memory for a client",
				 config->path);
	}
	client->config.path = client->path;
	*ret_client = client;
	return 0;
}

int vhost_client_create(const struct vhost_client_config *config,
			struct vhost_client **ret_client, struct error *reterr)
{
	struct vhost_client *client;
	int result = make(config, &client, reterr);

	if (result == 0)
		result = attach(client, reterr);
	else
		return result;
	if (result < 0) {
		vhost_client_destroy(client);
		return result;
	}
	*ret_client = client;
	return 0;
}

int vhost_client_create_on(const struct vhost_client_config *config, int fd,
			   struct vhost_client **ret_client,
			   struct error *reterr)
{
	int result = make(config, ret_client, reterr);

	if (result < 0)
		return result;
	(*ret_client)->wire.fd = fd;
	client_talk_begin(*ret_client);
	return 0;
}

void vhost_client_disconnect(struct vhost_client *client)
{
	disconnect(client);
}

void vhost_client_destroy(struct vhost_client *client)
{
	unsigned int i;

	if (!client)
		return;
	for (i = 0; client->wire.fd >= 0 && i < client->queue_count; i++) {
		struct vhost_user_vring_state state = {.index = i};

		if (client_wire_get(&client->wire, VHOST_USER_GET_VRING_BASE,
				    &state, sizeof(state), &state,
				    sizeof(state), sizeof(state)) < 0)
			break;
	}
	disconnect(client);
	for (i = 0; client->queues && i < client->queue_count; i++)
		client_queue_finish(&client->queues[i]);
	free(client->queues);
	if (client->memory)
		munmap(client->memory, client->memory_bytes);
	if (client->memory_fd >= 0)
		close(client->memory_fd);
	if (client->inflight_fd >= 0)
		close(client->inflight_fd);
	free(client->path);
	free(client);
}

void vhost_client_info(const struct vhost_client *client,
		       struct vhost_client_info *ret_info)
{
	*ret_info = client->info;
}

struct vhost_client_queue *vhost_client_queue(struct vhost_client *client,
					      unsigned int index)
{
	assert(index < client->queue_count);
	return &client->queues[index];
}

/* Everything that the back-end channel holds; the number of new sizes. */
static unsigned int take_events(struct vhost_client *client)
{
	unsigned int sizes = 0;
	bool answer = false;
	int request;

	while ((request = client_wire_event(client->event_fd, &answer)) >= 0) {
		if (request == VHOST_USER_BACKEND_CONFIG_CHANGE_MSG)
			sizes++;
		if (answer &&
		    client_wire_answer(client->event_fd, (uint32_t)request) < 0)
			break;
	}
	return sizes;
}

int vhost_client_check(struct vhost_client *client, bool *ret_resized)
{
	struct pollfd pollfd = {
		.fd = client->wire.fd,
		.events = POLLIN | POLLRDHUP,
	};
	bool resized = false;

	if (client->wire.fd < 0)
		return -ECONNRESET;
	/* Nothing is asked for now, so whatever comes is the end. */
	if (poll(&pollfd, 1, 0) != 0) {
		disconnect(client);
		return -ECONNRESET;
	}
	if (client->event_fd >= 0 && take_events(client) > 0) {
		if (client_read_config(client, NULL) < 0) {
			disconnect(client);
			return -ECONNRESET;
		}
		resized = true;
	}
	if (ret_resized)
		*ret_resized = resized;
	return 0;
}

void vhost_client_descriptors(const struct vhost_client *client, int ret_fds[2])
{
	ret_fds[0] = client->wire.fd;
	ret_fds[1] = client->event_fd;
}

/* Everything was reaped, and nothing is connected. */
static int prepare_again(struct vhost_client *client, struct error *reterr)
{
	bool broken = false;
	unsigned int i;

	for (i = 0; client->queues && i < client->queue_count; i++) {
		if (client_queue_unreaped(&client->queues[i]))
			return error_set(
				reterr, -EBUSY,
				"%s: reap what has finished before reconnecting",
				client->path);
		broken |= client->queues[i].broken;
	}
	disconnect(client);
	/* A broken ring's notes are as good as the ring. */
	if (broken && client->inflight_fd >= 0) {
		close(client->inflight_fd);
		client->inflight_fd = -1;
	}
	return 0;
}

int vhost_client_reconnect(struct vhost_client *client, struct error *reterr)
{
	int result = prepare_again(client, reterr);

	return result < 0 ? result : attach(client, reterr);
}

int vhost_client_reconnect_on(struct vhost_client *client, int fd,
			      struct error *reterr)
{
	int result = prepare_again(client, reterr);

	if (result < 0)
		return result;
	client->wire.fd = fd;
	client_talk_begin(client);
	return 0;
}
