/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session-messages.c - what each message does; message.c has checked it
 */
#include "vhost/session-messages.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#define PROTOCOL_FEATURES \
	(VHOST_FEATURE(VHOST_USER_PROTOCOL_F_MQ) | \
	 VHOST_FEATURE(VHOST_USER_PROTOCOL_F_LOG_SHMFD) | \
	 VHOST_FEATURE(VHOST_USER_PROTOCOL_F_REPLY_ACK) | \
	 VHOST_FEATURE(VHOST_USER_PROTOCOL_F_BACKEND_REQ) | \
	 VHOST_FEATURE(VHOST_USER_PROTOCOL_F_CONFIG) | \
	 VHOST_FEATURE(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD) | \
	 VHOST_FEATURE(VHOST_USER_PROTOCOL_F_RESET_DEVICE) | \
	 VHOST_FEATURE(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS) | \
	 VHOST_FEATURE(VHOST_USER_PROTOCOL_F_STATUS))

typedef int handle_function(struct session *session, struct message *message,
			    struct error *reterr);

/* ---- features ---- */

static int get_features(struct session *session, struct message *message,
			struct error *reterr)
{
	(void)reterr;
	return session_reply_u64(session, &message->header,
				 session->features_offered);
}

static int set_features(struct session *session, struct message *message,
			struct error *reterr)
{
	const uint64_t features = message->payload.u64;

	session->features = features;
	/* Without protocol features there is no SET_VRING_ENABLE. */
	if (!(features & VHOST_FEATURE(VHOST_USER_F_PROTOCOL_FEATURES)))
		for (unsigned int i = 0; i < session->config.target->queues;
		     i++)
			ring_enable(session->queues[i].ring, true);
	return session_update_rings(session, reterr);
}

static int get_protocol_features(struct session *session,
				 struct message *message, struct error *reterr)
{
	(void)reterr;
	return session_reply_u64(session, &message->header, PROTOCOL_FEATURES);
}

static int set_protocol_features(struct session *session,
				 struct message *message, struct error *reterr)
{
	(void)reterr;
	session->protocol = message->payload.u64;
	return 0;
}

static int set_owner(struct session *session, struct message *message,
		     struct error *reterr)
{
	(void)session;
	(void)message;
	(void)reterr;
	return 0;
}

static int get_queue_num(struct session *session, struct message *message,
			 struct error *reterr)
{
	(void)reterr;
	return session_reply_u64(session, &message->header,
				 session->config.target->queues);
}

/* ---- memory ---- */

/* 'map' is ours now. */
static int use_map(struct session *session, struct memory_map *map,
		   struct error *reterr)
{
	memory_map_put(session->map);
	session->map = map;
	return session_update_rings(session, reterr);
}

static int set_mem_table(struct session *session, struct message *message,
			 struct error *reterr)
{
	const struct vhost_user_memory *memory = &message->payload.memory;
	struct memory_map *map;
	int rc;

	rc = memory_map_replace(session->map, memory->regions, message->fds,
				memory->regions_count, &map, reterr);
	return rc < 0 ? rc : use_map(session, map, reterr);
}

static int get_max_mem_slots(struct session *session, struct message *message,
			     struct error *reterr)
{
	(void)reterr;
	return session_reply_u64(session, &message->header, MEMORY_REGIONS_MAX);
}

static int add_mem_reg(struct session *session, struct message *message,
		       struct error *reterr)
{
	struct memory_map *map;
	int rc;

	rc = memory_map_add(session->map, &message->payload.single.region,
			    message->fds[0], &map, reterr);
	return rc < 0 ? rc : use_map(session, map, reterr);
}

static int rem_mem_reg(struct session *session, struct message *message,
		       struct error *reterr)
{
	struct memory_map *map;
	int rc;

	rc = memory_map_remove(session->map, &message->payload.single.region,
			       &map, reterr);
	return rc < 0 ? rc : use_map(session, map, reterr);
}

/* ---- the dirty log ---- */

static int set_log_base(struct session *session, struct message *message,
			struct error *reterr)
{
	struct dirty_log *old = session->log;
	int rc;

	rc = log_create(&message->payload.log, message->fds[0], &session->log,
			reterr);
	if (rc < 0)
		return rc;
	rc = session_update_rings(session, reterr);
	log_destroy(old);
	return rc < 0 ? rc : session_reply_u64(session, &message->header, 0);
}

static int set_log_fd(struct session *session, struct message *message,
		      struct error *reterr)
{
	/* Taken for what it is; front-ends look at the log when they want. */
	(void)session;
	(void)message;
	(void)reterr;
	return 0;
}

/* ---- rings ---- */

static struct session_queue *queue_of(struct session *session,
				      const struct message *message)
{
	return &session->queues[message_queue(message)];
}

static int set_vring_num(struct session *session, struct message *message,
			 struct error *reterr)
{
	(void)reterr;
	queue_of(session, message)->layout.size =
		(uint16_t)message->payload.state.num;
	return 0;
}

static int set_vring_base(struct session *session, struct message *message,
			  struct error *reterr)
{
	(void)reterr;
	queue_of(session, message)->layout.base =
		(uint16_t)message->payload.state.num;
	return 0;
}

static int set_vring_addr(struct session *session, struct message *message,
			  struct error *reterr)
{
	const struct vhost_user_vring_addr *addr = &message->payload.addr;
	struct session_queue *queue = queue_of(session, message);
	struct ring_layout *layout = &queue->layout;

	/* While it runs, only its logging comes and goes. */
	if (queue->started &&
	    (addr->desc_user_addr != layout->desc_user_addr ||
	     addr->avail_user_addr != layout->avail_user_addr ||
	     addr->used_user_addr != layout->used_user_addr))
		return error_set(reterr, -EBUSY,
				 "ring %u can't be moved while it runs",
				 addr->index);
	layout->desc_user_addr = addr->desc_user_addr;
	layout->avail_user_addr = addr->avail_user_addr;
	layout->used_user_addr = addr->used_user_addr;
	layout->used_guest_addr = addr->log_guest_addr;
	layout->log_used = addr->flags & VHOST_USER_VRING_F_LOG;
	queue->has_addr = true;
	return session_update_rings(session, reterr);
}

static int get_vring_base(struct session *session, struct message *message,
			  struct error *reterr)
{
	(void)reterr;
	session_wait(session, PENDING_BASE, message_queue(message),
		     &message->header);
	return SESSION_LATER;
}

/* 'set' takes over the message's descriptor, if it has one. */
static int set_event(struct message *message, struct ring *ring,
		     int (*set)(struct ring *ring, int fd),
		     struct error *reterr)
{
	const int rc = set(ring, message->fds_count > 0 ? message->fds[0] : -1);

	if (rc < 0)
		return error_set(reterr, rc, "vhost-user %s: %s",
				 message_name(message->header.request),
				 rc == -EINVAL ? "not an event descriptor" :
						 strerror(-rc));
	if (message->fds_count > 0)
		(void)message_take_fd(message, 0);
	return 0;
}

static int set_vring_kick(struct session *session, struct message *message,
			  struct error *reterr)
{
	struct session_queue *queue = queue_of(session, message);
	int rc;

	if (queue->layout.size == 0 || !queue->has_addr)
		return error_set(
			reterr, -EINVAL,
			"ring %u is started before its size and addresses are set",
			message_queue(message));
	rc = set_event(message, queue->ring, ring_set_kick, reterr);
	if (rc < 0)
		return rc;
	queue->started = true;
	rc = session_start_rings(session, reterr);
	if (rc < 0)
		queue->started = false;
	return rc;
}

static int set_vring_call(struct session *session, struct message *message,
			  struct error *reterr)
{
	return set_event(message, queue_of(session, message)->ring,
			 ring_set_call, reterr);
}

static int set_vring_err(struct session *session, struct message *message,
			 struct error *reterr)
{
	return set_event(message, queue_of(session, message)->ring,
			 ring_set_error, reterr);
}

static int set_vring_enable(struct session *session, struct message *message,
			    struct error *reterr)
{
	(void)reterr;
	ring_enable(queue_of(session, message)->ring,
		    message->payload.state.num == 1);
	return 0;
}

/* ---- configuration ---- */

static int set_backend_req_fd(struct session *session, struct message *message,
			      struct error *reterr)
{
	(void)reterr;
	if (session->backend_fd >= 0)
		close(session->backend_fd);
	session->backend_fd = message_take_fd(message, 0);
	return 0;
}

static int get_config(struct session *session, struct message *message,
		      struct error *reterr)
{
	struct vhost_user_config *config = &message->payload.config;
	uint8_t space[VHOST_USER_CONFIG_MAX] = {0};
	struct virtio_blk_config blk;

	(void)reterr;
	blk_config(session->config.target, &blk);
	static_assert(sizeof(blk) <= sizeof(space), "room for it");
	memcpy(space, &blk, sizeof(blk));
	memcpy(config->data, space + config->offset, config->size);
	return session_reply(session, &message->header, config,
			     message->header.size, -1);
}

static int set_config(struct session *session, struct message *message,
		      struct error *reterr)
{
	(void)session;
	return error_set(reterr, -EPERM,
			 "the configuration has no field to be written at %u",
			 message->payload.config.offset);
}

/* ---- requests in flight ---- */

static int get_inflight_fd(struct session *session, struct message *message,
			   struct error *reterr)
{
	const struct vhost_user_inflight *wish = &message->payload.inflight;
	struct vhost_user_inflight description;
	int fd, rc;

	rc = inflight_create(wish->queues, wish->queue_size, &description, &fd,
			     reterr);
	if (rc < 0)
		return rc;
	rc = session_reply(session, &message->header, &description,
			   message->header.size, fd);
	close(fd);
	return rc;
}

static int set_inflight_fd(struct session *session, struct message *message,
			   struct error *reterr)
{
	struct inflight *inflight;
	int rc;

	rc = inflight_open(&message->payload.inflight, message->fds[0],
			   &inflight, reterr);
	if (rc < 0)
		return rc;
	inflight_close(session->inflight);
	session->inflight = inflight;
	return 0;
}

/* ---- reset ---- */

static int reset_owner(struct session *session, struct message *message,
		       struct error *reterr)
{
	(void)reterr;
	session_wait(session, PENDING_STOP, 0, &message->header);
	return SESSION_LATER;
}

static int reset_device(struct session *session, struct message *message,
			struct error *reterr)
{
	(void)reterr;
	session_wait(session, PENDING_RESET, 0, &message->header);
	return SESSION_LATER;
}

static int get_status(struct session *session, struct message *message,
		      struct error *reterr)
{
	(void)reterr;
	return session_reply_u64(session, &message->header, session->status);
}

static int set_status(struct session *session, struct message *message,
		      struct error *reterr)
{
	(void)reterr;
	session->status = (uint8_t)message->payload.u64;
	if (session->status != 0)
		return 0;
	session_wait(session, PENDING_STOP, 0, &message->header);
	return SESSION_LATER;
}

static handle_function *const handlers[VHOST_USER_REQUESTS] = {
	[VHOST_USER_GET_FEATURES] = get_features,
	[VHOST_USER_SET_FEATURES] = set_features,
	[VHOST_USER_SET_OWNER] = set_owner,
	[VHOST_USER_RESET_OWNER] = reset_owner,
	[VHOST_USER_SET_MEM_TABLE] = set_mem_table,
	[VHOST_USER_SET_LOG_BASE] = set_log_base,
	[VHOST_USER_SET_LOG_FD] = set_log_fd,
	[VHOST_USER_SET_VRING_NUM] = set_vring_num,
	[VHOST_USER_SET_VRING_ADDR] = set_vring_addr,
	[VHOST_USER_SET_VRING_BASE] = set_vring_base,
	[VHOST_USER_GET_VRING_BASE] = get_vring_base,
	[VHOST_USER_SET_VRING_KICK] = set_vring_kick,
	[VHOST_USER_SET_VRING_CALL] = set_vring_call,
	[VHOST_USER_SET_VRING_ERR] = set_vring_err,
	[VHOST_USER_GET_PROTOCOL_FEATURES] = get_protocol_features,
	[VHOST_USER_SET_PROTOCOL_FEATURES] = set_protocol_features,
	[VHOST_USER_GET_QUEUE_NUM] = get_queue_num,
	[VHOST_USER_SET_VRING_ENABLE] = set_vring_enable,
	[VHOST_USER_SET_BACKEND_REQ_FD] = set_backend_req_fd,
	[VHOST_USER_GET_CONFIG] = get_config,
	[VHOST_USER_SET_CONFIG] = set_config,
	[VHOST_USER_GET_INFLIGHT_FD] = get_inflight_fd,
	[VHOST_USER_SET_INFLIGHT_FD] = set_inflight_fd,
	[VHOST_USER_RESET_DEVICE] = reset_device,
	[VHOST_USER_GET_MAX_MEM_SLOTS] = get_max_mem_slots,
	[VHOST_USER_ADD_MEM_REG] = add_mem_reg,
	[VHOST_USER_REM_MEM_REG] = rem_mem_reg,
	[VHOST_USER_SET_STATUS] = set_status,
	[VHOST_USER_GET_STATUS] = get_status,
};

int session_handle(struct session *session, struct message *message,
		   struct error *reterr)
{
	const struct message_view view = {
		.features_offered = session->features_offered,
		.features = session->features,
		.protocol_offered = PROTOCOL_FEATURES,
		.protocol = session->protocol,
		.started = session_started(session),
		.queues = session->config.target->queues,
	};
	int rc;

	rc = message_check(message, &view, reterr);
	if (rc < 0)
		return rc;
	return handlers[message->header.request](session, message, reterr);
}
