/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client-negotiate.c - what is said from connecting to running queues
 *
 * A table of steps, each a message and perhaps its reply, so that the same can
 * be gone through waiting (talk_through) and without (talk_advance).
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
#define CONFIG_SIZE	(VHOST_USER_CONFIG_HEADER + CONFIG_BYTES)

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

/* ---- a step ---- */

struct saying {
	union vhost_user_payload payload;
	uint32_t size;
	int fds[VHOST_USER_FDS_MAX];
	unsigned int fd_count;
	int ours;			/* closed once it is sent, or -1 */
};

struct step {
	uint32_t request;
	const char *what;
	/* Is it said at all?  Optional: always. */
	bool (*applies)(const struct vhost_client *client);
	/* What is said.  Optional: just the request.  0 or -errno, said. */
	int (*say)(struct vhost_client *client, struct saying *saying,
		   struct error *reterr);
	/* Take the reply, which has between 'min' and 'max' bytes.  Required
	 * where max is not 0; the others are acknowledged, if at all. */
	int (*take)(struct vhost_client *client, struct client_reply *reply,
		    struct error *reterr);
	uint32_t min, max;
	bool is_of_queue;
};

static int say_u64(struct saying *saying, uint64_t value)
{
	saying->payload.u64 = value;
	saying->size = sizeof(value);
	return 0;
}

static void say_fd(struct saying *saying, int fd)
{
	saying->fds[saying->fd_count++] = fd;
}

/* ---- features ---- */

static int take_features(struct vhost_client *client,
			 struct client_reply *reply, struct error *reterr)
{
	const uint64_t offered = reply->payload.u64;
	uint64_t wanted = features_wanted;

	if (client->config.event_index)
		wanted |= VHOST_FEATURE(VIRTIO_RING_F_EVENT_IDX);
	if (client->config.indirect)
		wanted |= VHOST_FEATURE(VIRTIO_RING_F_INDIRECT_DESC);
	if (!has(offered, VIRTIO_F_VERSION_1) ||
	    !has(offered, VHOST_USER_F_PROTOCOL_FEATURES))
		return error_set(
			reterr, -EPROTO,
			"%s: the server lacks VERSION_1 or protocol features: use a newer one",
			client->path);
	if (client->queues && (client->features & ~offered))
		return error_set(
			reterr, -EPROTO,
			"%s: the new server lacks features %#llx that were in use",
			client->path,
			(unsigned long long)(client->features & ~offered));
	if (!client->queues)
		client->features = offered & wanted;
	return 0;
}

static int take_protocol(struct vhost_client *client,
			 struct client_reply *reply, struct error *reterr)
{
	client->protocol = reply->payload.u64 & protocol_wanted;
	if (client->config.no_inflight)
		client->protocol &=
			~VHOST_FEATURE(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD);
	if (client->config.no_events)
		client->protocol &=
			~VHOST_FEATURE(VHOST_USER_PROTOCOL_F_BACKEND_REQ);
	if (!has(client->protocol, VHOST_USER_PROTOCOL_F_CONFIG))
		return error_set(
			reterr, -EPROTO,
			"%s: the server can't tell its configuration: is it a block device?",
			client->path);
	client->info.inflight =
		has(client->protocol, VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD);
	client->talk.kept = client->info.inflight && client->inflight_fd >= 0;
	return 0;
}

static int say_protocol(struct vhost_client *client, struct saying *saying,
			struct error *reterr)
{
	(void)reterr;
	return say_u64(saying, client->protocol);
}

/* The first that can be acknowledged. */
static int say_owner(struct vhost_client *client, struct saying *saying,
		     struct error *reterr)
{
	(void)saying;
	(void)reterr;
	client->wire.reply_ack =
		has(client->protocol, VHOST_USER_PROTOCOL_F_REPLY_ACK);
	return 0;
}

static int say_features(struct vhost_client *client, struct saying *saying,
			struct error *reterr)
{
	(void)reterr;
	return say_u64(saying, client->features);
}

/* ---- how many queues: as many as asked for, as far as it has them ---- */

static bool has_queues(const struct vhost_client *client)
{
	return has(client->protocol, VHOST_USER_PROTOCOL_F_MQ);
}

static int take_queues(struct vhost_client *client, struct client_reply *reply,
		       struct error *reterr)
{
	const uint64_t count = reply->payload.u64;

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
	return 0;
}

/* ---- a channel on which it tells of a new size; without it the size simply
 * stays what it was ---- */

static bool has_events(const struct vhost_client *client)
{
	return has(client->protocol, VHOST_USER_PROTOCOL_F_BACKEND_REQ);
}

static int say_events(struct vhost_client *client, struct saying *saying,
		      struct error *reterr)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return error_set(reterr, -errno,
				 "%s: no channel for events: %s", client->path,
				 strerror(errno));
	client->event_fd = pair[0];
	saying->ours = pair[1];
	say_fd(saying, pair[1]);
	return 0;
}

/* ---- configuration ---- */

static uint64_t sectors(bool present, uint32_t count)
{
	return present ? (uint64_t)count * 512 : 0;
}

static int take_message(struct vhost_client *client,
			const struct vhost_user_config *message,
			struct error *reterr)
{
	struct vhost_client_info *info = &client->info;
	struct virtio_blk_config config;

	memset(&config, 0, sizeof(config));
	memcpy(&config, message->data, CONFIG_BYTES);
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

static int say_config(struct vhost_client *client, struct saying *saying,
		      struct error *reterr)
{
	(void)client;
	(void)reterr;
	saying->payload.config = (struct vhost_user_config){
		.size = CONFIG_BYTES,
	};
	saying->size = CONFIG_SIZE;
	return 0;
}

static int take_config(struct vhost_client *client, struct client_reply *reply,
		       struct error *reterr)
{
	int result = take_message(client, &reply->payload.config, reterr);

	if (!client->queues && !has_queues(client))
		client->queue_count = 1;
	if (result == 0 && !client->queues)
		result = client_make_queues(client, reterr);
	client->info.queues = client->queue_count;
	return result;
}

int client_read_config(struct vhost_client *client, struct error *reterr)
{
	struct vhost_user_config message = {.size = CONFIG_BYTES};
	int result = client_wire_get(&client->wire, VHOST_USER_GET_CONFIG,
				     &message, CONFIG_SIZE, &message,
				     CONFIG_SIZE, CONFIG_SIZE);

	if (result < 0)
		return error_set(reterr, result,
				 "%s: GET_CONFIG: no proper reply (%s)",
				 client->path, strerror(-result));
	return take_message(client, &message, reterr);
}

/* ---- notes of what is in flight, where they outlive the server ---- */

static bool needs_inflight(const struct vhost_client *client)
{
	return client->info.inflight && client->inflight_fd < 0;
}

static bool has_inflight(const struct vhost_client *client)
{
	return client->info.inflight;
}

static int say_inflight_wish(struct vhost_client *client, struct saying *saying,
			     struct error *reterr)
{
	(void)reterr;
	saying->payload.inflight = (struct vhost_user_inflight){
		.queues = (uint16_t)client->queue_count,
		.queue_size = (uint16_t)client->config.queue_size,
	};
	saying->size = sizeof(saying->payload.inflight);
	return 0;
}

static int take_inflight(struct vhost_client *client,
			 struct client_reply *reply, struct error *reterr)
{
	if (reply->fd < 0)
		return error_set(
			reterr, -EPROTO,
			"%s: GET_INFLIGHT_FD: no descriptor came with it",
			client->path);
	client->inflight = reply->payload.inflight;
	client->inflight.queues = (uint16_t)client->queue_count;
	client->inflight.queue_size = (uint16_t)client->config.queue_size;
	client->inflight_fd = reply->fd;
	reply->fd = -1;
	return 0;
}

static int say_inflight(struct vhost_client *client, struct saying *saying,
			struct error *reterr)
{
	(void)reterr;
	saying->payload.inflight = client->inflight;
	saying->size = sizeof(client->inflight);
	say_fd(saying, client->inflight_fd);
	return 0;
}

/* ---- memory ---- */

static int say_memory(struct vhost_client *client, struct saying *saying,
		      struct error *reterr)
{
	struct vhost_user_memory *table = &saying->payload.memory;
	unsigned int i;

	(void)reterr;
	*table = (struct vhost_user_memory){
		.regions_count = client->config.region_count + 1,
	};
	table->regions[0] = (struct vhost_user_region){
		.guest_addr = (uint64_t)(uintptr_t)client->memory,
		.size = client->memory_bytes,
		.user_addr = (uint64_t)(uintptr_t)client->memory,
	};
	say_fd(saying, client->memory_fd);
	for (i = 0; i < client->config.region_count; i++) {
		const struct vhost_client_region *region = &client->regions[i];
		const uint64_t address = (uint64_t)(uintptr_t)region->address;

		say_fd(saying, region->fd);
		table->regions[i + 1] = (struct vhost_user_region){
			.guest_addr = address,
			.size = region->size_bytes,
			.user_addr = address,
			.mmap_offset = region->fd_offset_bytes,
		};
	}
	saying->size = (uint32_t)(8 + 32 * table->regions_count);
	return 0;
}

/* ---- a queue ---- */

static struct vhost_client_queue *queue_of(struct vhost_client *client)
{
	return &client->queues[client->talk.queue];
}

static void say_state(struct saying *saying, unsigned int index,
		      unsigned int number)
{
	saying->payload.state = (struct vhost_user_vring_state){index, number};
	saying->size = sizeof(saying->payload.state);
}

static int say_size(struct vhost_client *client, struct saying *saying,
		    struct error *reterr)
{
	(void)reterr;
	if (!client->talk.kept)
		client_queue_refill(queue_of(client));
	say_state(saying, client->talk.queue, queue_of(client)->size);
	return 0;
}

static int say_base(struct vhost_client *client, struct saying *saying,
		    struct error *reterr)
{
	(void)reterr;
	say_state(saying, client->talk.queue, queue_of(client)->used_next);
	return 0;
}

static int say_addresses(struct vhost_client *client, struct saying *saying,
			 struct error *reterr)
{
	const struct vhost_client_queue *queue = queue_of(client);

	(void)reterr;
	saying->payload.addr = (struct vhost_user_vring_addr){
		.index = client->talk.queue,
		.desc_user_addr = (uint64_t)(uintptr_t)queue->desc,
		.used_user_addr = (uint64_t)(uintptr_t)queue->used,
		.avail_user_addr = (uint64_t)(uintptr_t)queue->avail,
	};
	saying->size = sizeof(saying->payload.addr);
	return 0;
}

static int say_call(struct vhost_client *client, struct saying *saying,
		    struct error *reterr)
{
	(void)reterr;
	say_fd(saying, queue_of(client)->call_fd);
	return say_u64(saying, client->talk.queue);
}

static int say_kick(struct vhost_client *client, struct saying *saying,
		    struct error *reterr)
{
	(void)reterr;
	say_fd(saying, queue_of(client)->kick_fd);
	return say_u64(saying, client->talk.queue);
}

static int say_enable(struct vhost_client *client, struct saying *saying,
		      struct error *reterr)
{
	(void)reterr;
	say_state(saying, client->talk.queue, 1);
	return 0;
}

/* ---- all steps ---- */

#define SAID(name)		VHOST_USER_##name, #name
#define REPLY(type)		sizeof(type), sizeof(type)
#define INFLIGHT_REPLY \
	VHOST_USER_INFLIGHT_SIZE_MIN, sizeof(struct vhost_user_inflight)

static const struct step steps[] = {
	{SAID(GET_FEATURES), NULL, NULL, take_features, REPLY(uint64_t), false},
	{SAID(GET_PROTOCOL_FEATURES), NULL, NULL, take_protocol,
	 REPLY(uint64_t), false},
	{SAID(SET_PROTOCOL_FEATURES), NULL, say_protocol, NULL, 0, 0, false},
	{SAID(SET_OWNER), NULL, say_owner, NULL, 0, 0, false},
	{SAID(SET_FEATURES), NULL, say_features, NULL, 0, 0, false},
	{SAID(GET_QUEUE_NUM), has_queues, NULL, take_queues, REPLY(uint64_t),
	 false},
	{SAID(SET_BACKEND_REQ_FD), has_events, say_events, NULL, 0, 0, false},
	{SAID(GET_CONFIG), NULL, say_config, take_config, CONFIG_SIZE,
	 CONFIG_SIZE, false},
	{SAID(GET_INFLIGHT_FD), needs_inflight, say_inflight_wish,
	 take_inflight, INFLIGHT_REPLY, false},
	{SAID(SET_INFLIGHT_FD), has_inflight, say_inflight, NULL, 0, 0, false},
	{SAID(SET_MEM_TABLE), NULL, say_memory, NULL, 0, 0, false},
	/* These for each queue. */
	{SAID(SET_VRING_NUM), NULL, say_size, NULL, 0, 0, true},
	{SAID(SET_VRING_BASE), NULL, say_base, NULL, 0, 0, true},
	{SAID(SET_VRING_ADDR), NULL, say_addresses, NULL, 0, 0, true},
	{SAID(SET_VRING_CALL), NULL, say_call, NULL, 0, 0, true},
	{SAID(SET_VRING_KICK), NULL, say_kick, NULL, 0, 0, true},
	{SAID(SET_VRING_ENABLE), NULL, say_enable, NULL, 0, 0, true},
};

#define STEPS		(sizeof(steps) / sizeof(steps[0]))

static int no_reply(const struct vhost_client *client, const struct step *step,
		    int result, struct error *reterr)
{
	return error_set(
		reterr, result,
		step->max ?
			"%s: %s: no proper reply (%s): is this a vhost-user-blk server?" :
			"%s: %s refused: %s",
		client->path, step->what, strerror(-result));
}

/* To the next one that applies. */
static void step_on(struct vhost_client *client)
{
	struct client_talk *talk = &client->talk;

	do {
		talk->step++;
		if (talk->step == STEPS && ++talk->queue < client->queue_count)
			while (steps[talk->step - 1].is_of_queue)
				talk->step--;
	} while (talk->step < STEPS && steps[talk->step].applies &&
		 !steps[talk->step].applies(client));
}

static int step_say(struct vhost_client *client, const struct step *step,
		    struct error *reterr)
{
	struct saying saying = {.ours = -1};
	bool wants_ack;
	int result = step->say ? step->say(client, &saying, reterr) : 0;

	if (result < 0)
		return result;
	wants_ack = !step->max && client->wire.reply_ack;
	result = client_wire_send(&client->wire, step->request,
				  wants_ack ? VHOST_USER_FLAG_NEED_REPLY : 0,
				  &saying.payload, saying.size, saying.fds,
				  saying.fd_count);
	if (saying.ours >= 0)
		close(saying.ours);
	if (result < 0)
		return no_reply(client, step, result, reterr);
	client->talk.awaiting = step->max || wants_ack;
	return 0;
}

/* The reply is there. */
static int step_take(struct vhost_client *client, const struct step *step,
		     struct error *reterr)
{
	struct client_reply *reply = &client->talk.reply;
	const uint32_t size = reply->header.size;
	int result = 0;

	if (step->max ? size < step->min || size > step->max :
			size != sizeof(uint64_t) || reply->payload.u64 != 0)
		result = no_reply(client, step, -EPROTO, reterr);
	else if (step->take)
		result = step->take(client, reply, reterr);
	if (reply->fd >= 0)
		close(reply->fd);
	*reply = (struct client_reply){.fd = -1};
	client->talk.awaiting = false;
	return result;
}

static int talk(struct vhost_client *client, bool waits, struct error *reterr)
{
	struct client_talk *at = &client->talk;
	int result = 0;

	while (result == 0 && at->step < STEPS) {
		const struct step *step = &steps[at->step];

		if (!at->awaiting)
			result = step_say(client, step, reterr);
		if (result < 0)
			break;
		if (at->awaiting) {
			result = (waits ? client_wire_await : client_wire_take)(
				&client->wire, step->request, &at->reply);
			if (result == -EAGAIN)
				break;
			result = result < 0 ?
				no_reply(client, step, result, reterr) :
				step_take(client, step, reterr);
		}
		if (result == 0)
			step_on(client);
	}
	return result;
}

void client_talk_begin(struct vhost_client *client)
{
	client->talk = (struct client_talk){.reply.fd = -1};
	client->wire.reply_ack = false;
}

int client_talk_advance(struct vhost_client *client, struct error *reterr)
{
	return talk(client, false, reterr);
}

int client_talk_through(struct vhost_client *client, struct error *reterr)
{
	return talk(client, true, reterr);
}

void client_talk_end(struct vhost_client *client)
{
	if (client->talk.reply.fd >= 0)
		close(client->talk.reply.fd);
	client->talk.reply.fd = -1;
}
