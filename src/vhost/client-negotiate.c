/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client-negotiate.c - what is said from connecting to running queues
 *
 * Guest-physical and user addresses are simply our own virtual addresses, so
 * that nothing is translated.  Region 0 is ours (rings, headers, status), the
 * others are the caller's.
 */
#include "vhost/client-internal.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <sys/socket.h>

#define CONFIG_BYTES ((uint32_t)offsetof(struct virtio_blk_config, unused1) + 3)

static const uint64_t protocol_wanted =
	VHOST_FEATURE(VHOST_USER_PROTOCOL_F_MQ) |
	VHOST_FEATURE(VHOST_USER_PROTOCOL_F_REPLY_ACK) |
	VHOST_FEATURE(VHOST_USER_PROTOCOL_F_BACKEND_REQ) |
	VHOST_FEATURE(VHOST_USER_PROTOCOL_F_CONFIG) |
	VHOST_FEATURE(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD);

static const uint64_t features_wanted = VHOST_FEATURE(VIRTIO_F_VERSION_1) |
	VHOST_FEATURE(VHOST_USER_F_PROTOCOL_FEATURES) |
	VHOST_FEATURE(VIRTIO_BLK_F_BLK_SIZE) |
	VHOST_FEATURE(VIRTIO_BLK_F_FLUSH) | VHOST_FEATURE(VIRTIO_BLK_F_RO) |
	VHOST_FEATURE(VIRTIO_BLK_F_DISCARD) |
	VHOST_FEATURE(VIRTIO_BLK_F_WRITE_ZEROES) |
	VHOST_FEATURE(VIRTIO_BLK_F_MQ);

static bool has(uint64_t set, unsigned int bit)
{
	return set & VHOST_FEATURE(bit);
}

/* Ask for a number; name the request on failure. */
static int get_u64(struct vhost_client *client, uint32_t request,
		   const char *what, uint64_t *ret_value, struct error *reterr)
{
	int result =
		client_wire_get(&client->wire, request, NULL, 0, ret_value,
				sizeof(*ret_value), sizeof(*ret_value), NULL);

	if (result < 0)
		return error_set(
			reterr, result,
			"%s: %s: no proper reply (%s): is this a vhost-user-blk server?",
			client->path, what, strerror(-result));
	return 0;
}

static int set(struct vhost_client *client, uint32_t request, const char *what,
	       const void *payload, uint32_t size, int fd, struct error *reterr)
{
	int result = client_wire_set(&client->wire, request, payload, size, &fd,
				     fd >= 0 ? 1 : 0);

	if (result < 0)
		return error_set(reterr, result, "%s: %s refused: %s",
				 client->path, what, strerror(-result));
	return 0;
}

static int set_u64(struct vhost_client *client, uint32_t request,
		   const char *what, uint64_t value, int fd,
		   struct error *reterr)
{
	return set(client, request, what, &value, sizeof(value), fd, reterr);
}

/* Features, protocol features. */
int client_negotiate(struct vhost_client *client, struct error *reterr)
{
	const struct vhost_client_config *config = &client->config;
	uint64_t wanted = features_wanted, offered = 0, protocol = 0;
	int result;

	if (config->event_index)
		wanted |= VHOST_FEATURE(VIRTIO_RING_F_EVENT_IDX);
	if (config->indirect)
		wanted |= VHOST_FEATURE(VIRTIO_RING_F_INDIRECT_DESC);
	client->wire.reply_ack = false;
	result = get_u64(client, VHOST_USER_GET_FEATURES, "GET_FEATURES",
			 &offered, reterr);
	if (result < 0)
		return result;
	if (!has(offered, VIRTIO_F_VERSION_1) ||
	    !has(offered, VHOST_USER_F_PROTOCOL_FEATURES))
		return error_set(
			reterr, -EPROTO,
			"%s: the server lacks VERSION_1 or protocol features: use a newer one",
			client->path);
	result = get_u64(client, VHOST_USER_GET_PROTOCOL_FEATURES,
			 "GET_PROTOCOL_FEATURES", &protocol, reterr);
	if (result < 0)
		return result;
	if (client->queues && (client->features & ~offered))
		return error_set(
			reterr, -EPROTO,
			"%s: the new server lacks features %#llx that were in use",
			client->path,
			(unsigned long long)(client->features & ~offered));
	if (!client->queues)
		client->features = offered & wanted;
	client->protocol = protocol & protocol_wanted;
	if (config->no_inflight)
		client->protocol &=
			~VHOST_FEATURE(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD);
	if (!has(client->protocol, VHOST_USER_PROTOCOL_F_CONFIG))
		return error_set(
			reterr, -EPROTO,
			"%s: the server can't tell its configuration: is it a block device?",
			client->path);
	result = set_u64(client, VHOST_USER_SET_PROTOCOL_FEATURES,
			 "SET_PROTOCOL_FEATURES", client->protocol, -1, reterr);
	if (result < 0)
		return result;
	client->wire.reply_ack =
		has(client->protocol, VHOST_USER_PROTOCOL_F_REPLY_ACK);
	result = set(client, VHOST_USER_SET_OWNER, "SET_OWNER", NULL, 0, -1,
		     reterr);
	if (result < 0)
		return result;
	return set_u64(client, VHOST_USER_SET_FEATURES, "SET_FEATURES",
		       client->features, -1, reterr);
}

int client_open_events(struct vhost_client *client, struct error *reterr)
{
	int pair[2], result;

	if (!has(client->protocol, VHOST_USER_PROTOCOL_F_BACKEND_REQ))
		return 0;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return error_set(reterr, -errno,
				 "%s: no channel for events: %s", client->path,
				 strerror(errno));
	result = set(client, VHOST_USER_SET_BACKEND_REQ_FD,
		     "SET_BACKEND_REQ_FD", NULL, 0, pair[1], reterr);
	close(pair[1]);
	if (result < 0) {
		close(pair[0]);
		return result;
	}
	client->event_fd = pair[0];
	return 0;
}

static uint64_t sectors(bool present, uint32_t count)
{
	return present ? (uint64_t)count * 512 : 0;
}

int client_read_config(struct vhost_client *client, struct error *reterr)
{
	struct vhost_user_config message = {.size = CONFIG_BYTES};
	struct vhost_client_info *info = &client->info;
	struct virtio_blk_config config;
	const uint32_t size = VHOST_USER_CONFIG_HEADER + CONFIG_BYTES;
	int result;

	result = client_wire_get(&client->wire, VHOST_USER_GET_CONFIG, &message,
				 size, &message, size, size, NULL);
	if (result < 0)
		return error_set(reterr, result,
				 "%s: GET_CONFIG: no proper reply (%s)",
				 client->path, strerror(-result));
	memset(&config, 0, sizeof(config));
	memcpy(&config, message.data, CONFIG_BYTES);
	if (config.capacity > UINT64_MAX / 512)
		return error_set(reterr, -EPROTO,
				 "%s: the server claims an impossible size",
				 client->path);
	info->size_bytes = config.capacity * 512;
	info->block_size = has(client->features, VIRTIO_BLK_F_BLK_SIZE) &&
			config.blk_size >= 512 ?
		config.blk_size :
		512;
	info->read_only = has(client->features, VIRTIO_BLK_F_RO);
	info->flush = has(client->features, VIRTIO_BLK_F_FLUSH);
	info->event_index = has(client->features, VIRTIO_RING_F_EVENT_IDX);
	info->indirect = has(client->features, VIRTIO_RING_F_INDIRECT_DESC);
	info->segments_max = info->indirect ? VHOST_CLIENT_SEGMENTS_MAX : 1;
	info->discard_max_bytes =
		sectors(has(client->features, VIRTIO_BLK_F_DISCARD),
			config.max_discard_sectors);
	info->write_zeroes_max_bytes =
		sectors(has(client->features, VIRTIO_BLK_F_WRITE_ZEROES),
			config.max_write_zeroes_sectors);
	info->live_config = client->event_fd >= 0;
	return 0;
}

/* How many queues: what was asked for, as far as the server has them. */
int client_count_queues(struct vhost_client *client, struct error *reterr)
{
	uint64_t count = 1;
	int result;

	if (has(client->protocol, VHOST_USER_PROTOCOL_F_MQ)) {
		result = get_u64(client, VHOST_USER_GET_QUEUE_NUM,
				 "GET_QUEUE_NUM", &count, reterr);
		if (result < 0)
			return result;
	}
	if (count == 0)
		return error_set(reterr, -EPROTO, "%s: the server has no queue",
				 client->path);
	if (client->queues && count < client->queue_count)
		return error_set(
			reterr, -EPROTO,
			"%s: the new server has fewer queues than are in use",
			client->path);
	if (!client->queues)
		client->queue_count = count < client->config.queues ?
			(unsigned int)count :
			client->config.queues;
	client->info.queues = client->queue_count;
	return 0;
}

int client_set_memory(struct vhost_client *client, struct error *reterr)
{
	struct vhost_user_memory table = {
		.regions_count = client->config.region_count + 1,
	};
	int fds[VHOST_USER_TABLE_REGIONS] = {client->memory_fd};
	unsigned int i;
	int result;

	table.regions[0] = (struct vhost_user_region){
		.guest_addr = (uint64_t)(uintptr_t)client->memory,
		.size = client->memory_bytes,
		.user_addr = (uint64_t)(uintptr_t)client->memory,
	};
	for (i = 0; i < client->config.region_count; i++) {
		const struct vhost_client_region *region = &client->regions[i];
		const uint64_t address = (uint64_t)(uintptr_t)region->address;

		fds[i + 1] = region->fd;
		table.regions[i + 1] = (struct vhost_user_region){
			.guest_addr = address,
			.size = region->size_bytes,
			.user_addr = address,
			.mmap_offset = region->fd_offset_bytes,
		};
	}
	result =
		client_wire_set(&client->wire, VHOST_USER_SET_MEM_TABLE, &table,
				(uint32_t)(8 + 32 * table.regions_count), fds,
				table.regions_count);
	if (result < 0)
		return error_set(reterr, result,
				 "%s: SET_MEM_TABLE refused: %s", client->path,
				 strerror(-result));
	return 0;
}

int client_set_inflight(struct vhost_client *client, bool *ret_kept,
			struct error *reterr)
{
	const struct vhost_user_inflight question = {
		.queues = (uint16_t)client->queue_count,
		.queue_size = (uint16_t)client->config.queue_size,
	};
	int result;

	client->info.inflight =
		has(client->protocol, VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD);
	*ret_kept = client->info.inflight && client->inflight_fd >= 0;
	if (!client->info.inflight)
		return 0;
	if (client->inflight_fd < 0) {
		result = client_wire_get(
			&client->wire, VHOST_USER_GET_INFLIGHT_FD, &question,
			sizeof(question), &client->inflight,
			VHOST_USER_INFLIGHT_SIZE_MIN, sizeof(client->inflight),
			&client->inflight_fd);
		if (result == 0 && client->inflight_fd < 0)
			result = -EPROTO;
		if (result < 0)
			return error_set(
				reterr, result,
				"%s: GET_INFLIGHT_FD: no proper reply (%s)",
				client->path, strerror(-result));
		client->inflight.queues = question.queues;
		client->inflight.queue_size = question.queue_size;
	}
	return set(client, VHOST_USER_SET_INFLIGHT_FD, "SET_INFLIGHT_FD",
		   &client->inflight, sizeof(client->inflight),
		   client->inflight_fd, reterr);
}

int client_start_queue(struct vhost_client *client, unsigned int index,
		       struct error *reterr)
{
	struct vhost_client_queue *queue = &client->queues[index];
	struct vhost_user_vring_state state = {index, queue->size};
	const struct vhost_user_vring_addr addr = {
		.index = index,
		.desc_user_addr = (uint64_t)(uintptr_t)queue->desc,
		.used_user_addr = (uint64_t)(uintptr_t)queue->used,
		.avail_user_addr = (uint64_t)(uintptr_t)queue->avail,
	};
	int result;

	result = set(client, VHOST_USER_SET_VRING_NUM, "SET_VRING_NUM", &state,
		     sizeof(state), -1, reterr);
	if (result < 0)
		return result;
	state.num = queue->used_next;
	result = set(client, VHOST_USER_SET_VRING_BASE, "SET_VRING_BASE",
		     &state, sizeof(state), -1, reterr);
	if (result < 0)
		return result;
	result = set(client, VHOST_USER_SET_VRING_ADDR, "SET_VRING_ADDR", &addr,
		     sizeof(addr), -1, reterr);
	if (result < 0)
		return result;
	result = set_u64(client, VHOST_USER_SET_VRING_CALL, "SET_VRING_CALL",
			 index, queue->call_fd, reterr);
	if (result < 0)
		return result;
	result = set_u64(client, VHOST_USER_SET_VRING_KICK, "SET_VRING_KICK",
			 index, queue->kick_fd, reterr);
	if (result < 0)
		return result;
	state.num = 1;
	return set(client, VHOST_USER_SET_VRING_ENABLE, "SET_VRING_ENABLE",
		   &state, sizeof(state), -1, reterr);
}
