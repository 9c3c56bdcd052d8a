/* SPDX-License-Identifier: Apache-2.0 */
/* message.c - see message.h */
#include "vhost/message.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <unistd.h>

/* Where a message names its queue. */
enum queue_field { QUEUE_NONE, QUEUE_STATE, QUEUE_ADDR, QUEUE_FD };

/* When it may come. */
enum when {
	WHEN_ALWAYS,
	WHEN_QUEUE_STOPPED,	/* its queue is not started */
	WHEN_ALL_STOPPED,	/* no queue is */
};

#define NO_FEATURE	(-1)

typedef int check_function(const struct message *message,
			   const struct message_view *view,
			   struct error *reterr);

static check_function check_features, check_protocol, check_memory, check_num,
	check_addr, check_base, check_event, check_enable, check_config,
	check_inflight, check_region, check_status;

struct rule {
	const char *name;		/* NULL: not a message that we know */
	uint16_t size_min, size_max;
	uint8_t fds_min, fds_max;
	int8_t protocol_feature;	/* needed, or NO_FEATURE */
	uint8_t queue;			/* enum queue_field */
	uint8_t when;			/* enum when */
	uint8_t reply;			/* enum message_reply */
	check_function *check;		/* of its values; NULL: none */
};

/* clang-format off */
#define U64	sizeof(uint64_t), sizeof(uint64_t)
#define STATE	sizeof(struct vhost_user_vring_state), \
		sizeof(struct vhost_user_vring_state)
#define ADDR	sizeof(struct vhost_user_vring_addr), \
		sizeof(struct vhost_user_vring_addr)
#define REGION	sizeof(struct vhost_user_single_region), \
		sizeof(struct vhost_user_single_region)
#define LOG	sizeof(struct vhost_user_log), sizeof(struct vhost_user_log)
#define TABLE	offsetof(struct vhost_user_memory, regions), \
		sizeof(struct vhost_user_memory)
#define CONFIG	VHOST_USER_CONFIG_HEADER, sizeof(struct vhost_user_config)
#define INFLIGHT	VHOST_USER_INFLIGHT_SIZE_MIN, \
			sizeof(struct vhost_user_inflight)
#define NEEDS(f)	VHOST_USER_PROTOCOL_F_##f
#define OWN		MESSAGE_REPLY_OWN
#define NONE		MESSAGE_REPLY_NONE
/* clang-format on */

/* clang-format off */
static const struct rule rules[VHOST_USER_REQUESTS] = {
	[VHOST_USER_GET_FEATURES] = {"GET_FEATURES", 0, 0, 0, 0, NO_FEATURE,
		QUEUE_NONE, WHEN_ALWAYS, OWN, NULL},
	[VHOST_USER_SET_FEATURES] = {"SET_FEATURES", U64, 0, 0, NO_FEATURE,
		QUEUE_NONE, WHEN_ALWAYS, NONE, check_features},
	[VHOST_USER_SET_OWNER] = {"SET_OWNER", 0, 0, 0, 0, NO_FEATURE,
		QUEUE_NONE, WHEN_ALWAYS, NONE, NULL},
	[VHOST_USER_RESET_OWNER] = {"RESET_OWNER", 0, 0, 0, 0, NO_FEATURE,
		QUEUE_NONE, WHEN_ALWAYS, NONE, NULL},
	[VHOST_USER_SET_MEM_TABLE] = {"SET_MEM_TABLE", TABLE, 0,
		VHOST_USER_TABLE_REGIONS, NO_FEATURE,
		QUEUE_NONE, WHEN_ALWAYS, NONE, check_memory},
	[VHOST_USER_SET_LOG_BASE] = {"SET_LOG_BASE", LOG, 1, 1,
		NEEDS(LOG_SHMFD), QUEUE_NONE, WHEN_ALWAYS, OWN, NULL},
	[VHOST_USER_SET_LOG_FD] = {"SET_LOG_FD", 0, sizeof(uint64_t), 0, 1,
		NO_FEATURE, QUEUE_NONE, WHEN_ALWAYS, NONE, NULL},
	[VHOST_USER_SET_VRING_NUM] = {"SET_VRING_NUM", STATE, 0, 0, NO_FEATURE,
		QUEUE_STATE, WHEN_QUEUE_STOPPED, NONE, check_num},
	[VHOST_USER_SET_VRING_ADDR] = {"SET_VRING_ADDR", ADDR, 0, 0, NO_FEATURE,
		QUEUE_ADDR, WHEN_ALWAYS, NONE, check_addr},
	[VHOST_USER_SET_VRING_BASE] = {"SET_VRING_BASE", STATE, 0, 0,
		NO_FEATURE, QUEUE_STATE, WHEN_QUEUE_STOPPED, NONE, check_base},
	[VHOST_USER_GET_VRING_BASE] = {"GET_VRING_BASE", STATE, 0, 0,
		NO_FEATURE, QUEUE_STATE, WHEN_ALWAYS, OWN, NULL},
	[VHOST_USER_SET_VRING_KICK] = {"SET_VRING_KICK", U64, 0, 1, NO_FEATURE,
		QUEUE_FD, WHEN_ALWAYS, NONE, check_event},
	[VHOST_USER_SET_VRING_CALL] = {"SET_VRING_CALL", U64, 0, 1, NO_FEATURE,
		QUEUE_FD, WHEN_ALWAYS, NONE, check_event},
	[VHOST_USER_SET_VRING_ERR] = {"SET_VRING_ERR", U64, 0, 1, NO_FEATURE,
		QUEUE_FD, WHEN_ALWAYS, NONE, check_event},
	[VHOST_USER_GET_PROTOCOL_FEATURES] = {"GET_PROTOCOL_FEATURES", 0, 0, 0,
		0, NO_FEATURE, QUEUE_NONE, WHEN_ALWAYS, OWN, NULL},
	[VHOST_USER_SET_PROTOCOL_FEATURES] = {"SET_PROTOCOL_FEATURES", U64, 0,
		0, NO_FEATURE, QUEUE_NONE, WHEN_ALL_STOPPED, NONE,
		check_protocol},
	[VHOST_USER_GET_QUEUE_NUM] = {"GET_QUEUE_NUM", 0, 0, 0, 0, NEEDS(MQ),
		QUEUE_NONE, WHEN_ALWAYS, OWN, NULL},
	[VHOST_USER_SET_VRING_ENABLE] = {"SET_VRING_ENABLE", STATE, 0, 0,
		NO_FEATURE, QUEUE_STATE, WHEN_ALWAYS, NONE, check_enable},
	[VHOST_USER_SET_BACKEND_REQ_FD] = {"SET_BACKEND_REQ_FD", 0,
		sizeof(uint64_t), 1, 1, NEEDS(BACKEND_REQ), QUEUE_NONE,
		WHEN_ALWAYS, NONE, NULL},
	[VHOST_USER_GET_CONFIG] = {"GET_CONFIG", CONFIG, 0, 0, NEEDS(CONFIG),
		QUEUE_NONE, WHEN_ALWAYS, OWN, check_config},
	[VHOST_USER_SET_CONFIG] = {"SET_CONFIG", CONFIG, 0, 0, NEEDS(CONFIG),
		QUEUE_NONE, WHEN_ALWAYS, NONE, check_config},
	[VHOST_USER_GET_INFLIGHT_FD] = {"GET_INFLIGHT_FD", INFLIGHT, 0, 0,
		NEEDS(INFLIGHT_SHMFD), QUEUE_NONE, WHEN_ALWAYS, OWN,
		check_inflight},
	[VHOST_USER_SET_INFLIGHT_FD] = {"SET_INFLIGHT_FD", INFLIGHT, 1, 1,
		NEEDS(INFLIGHT_SHMFD), QUEUE_NONE, WHEN_ALL_STOPPED, NONE,
		check_inflight},
	[VHOST_USER_RESET_DEVICE] = {"RESET_DEVICE", 0, 0, 0, 0,
		NEEDS(RESET_DEVICE), QUEUE_NONE, WHEN_ALWAYS, NONE, NULL},
	[VHOST_USER_GET_MAX_MEM_SLOTS] = {"GET_MAX_MEM_SLOTS", 0, 0, 0, 0,
		NEEDS(CONFIGURE_MEM_SLOTS), QUEUE_NONE, WHEN_ALWAYS, OWN, NULL},
	[VHOST_USER_ADD_MEM_REG] = {"ADD_MEM_REG", REGION, 1, 1,
		NEEDS(CONFIGURE_MEM_SLOTS), QUEUE_NONE, WHEN_ALWAYS, NONE,
		check_region},
	[VHOST_USER_REM_MEM_REG] = {"REM_MEM_REG", REGION, 0, 1,
		NEEDS(CONFIGURE_MEM_SLOTS), QUEUE_NONE, WHEN_ALWAYS, NONE,
		check_region},
	[VHOST_USER_SET_STATUS] = {"SET_STATUS", U64, 0, 0, NEEDS(STATUS),
		QUEUE_NONE, WHEN_ALWAYS, NONE, check_status},
	[VHOST_USER_GET_STATUS] = {"GET_STATUS", 0, 0, 0, 0, NEEDS(STATUS),
		QUEUE_NONE, WHEN_ALWAYS, OWN, NULL},
};
/* clang-format on */

static const struct rule *find_rule(uint32_t request)
{
	if (request >= VHOST_USER_REQUESTS || !rules[request].name)
		return NULL;
	return &rules[request];
}

const char *message_name(uint32_t request)
{
	const struct rule *rule = find_rule(request);

	return rule ? rule->name : "unknown";
}

enum message_reply message_reply(uint32_t request)
{
	const struct rule *rule = find_rule(request);

	return rule ? rule->reply : MESSAGE_REPLY_NONE;
}

/* ---- the values of each kind ---- */

static int check_features(const struct message *message,
			  const struct message_view *view, struct error *reterr)
{
	const uint64_t features = message->payload.u64;

	if (features & ~view->features_offered)
		return error_set(reterr, -EINVAL,
				 "features 0x%llx were not offered",
				 (unsigned long long)(features &
						      ~view->features_offered));
	/* While rings run, only logging comes and goes. */
	if (view->started != 0 &&
	    ((features ^ view->features) & ~VHOST_FEATURE(VHOST_F_LOG_ALL)))
		return error_set(reterr, -EBUSY,
				 "features can't change while a ring runs");
	return 0;
}

static int check_protocol(const struct message *message,
			  const struct message_view *view, struct error *reterr)
{
	const uint64_t unknown = message->payload.u64 & ~view->protocol_offered;

	if (unknown)
		return error_set(reterr, -EINVAL,
				 "protocol features 0x%llx were not offered",
				 (unsigned long long)unknown);
	return 0;
}

/* A region must be somewhere, and end where addresses do at the latest. */
static int check_one_region(const struct vhost_user_region *region,
			    struct error *reterr)
{
	uint64_t end;

	if (region->size == 0 ||
	    __builtin_add_overflow(region->guest_addr, region->size, &end) ||
	    __builtin_add_overflow(region->user_addr, region->size, &end) ||
	    __builtin_add_overflow(region->mmap_offset, region->size, &end) ||
	    end > INT64_MAX)
		return error_set(
			reterr, -EINVAL,
			"memory region at 0x%llx: impossible size 0x%llx or address",
			(unsigned long long)region->guest_addr,
			(unsigned long long)region->size);
	return 0;
}

static int check_memory(const struct message *message,
			const struct message_view *view, struct error *reterr)
{
	const struct vhost_user_memory *memory = &message->payload.memory;

	(void)view;
	if (memory->regions_count > VHOST_USER_TABLE_REGIONS)
		return error_set(reterr, -EINVAL, "%u regions: at most %u",
				 memory->regions_count,
				 VHOST_USER_TABLE_REGIONS);
	if (message->header.size !=
		    offsetof(struct vhost_user_memory, regions) +
			    memory->regions_count *
				    sizeof(memory->regions[0]) ||
	    message->fds_count != memory->regions_count)
		return error_set(reterr, -EINVAL,
				 "%u regions in %u bytes with %u descriptors",
				 memory->regions_count, message->header.size,
				 message->fds_count);
	for (unsigned int i = 0; i < memory->regions_count; i++) {
		int rc = check_one_region(&memory->regions[i], reterr);

		if (rc < 0)
			return rc;
	}
	return 0;
}

static int check_region(const struct message *message,
			const struct message_view *view, struct error *reterr)
{
	(void)view;
	return check_one_region(&message->payload.single.region, reterr);
}

static int check_num(const struct message *message,
		     const struct message_view *view, struct error *reterr)
{
	const uint32_t num = message->payload.state.num;

	(void)view;
	if (num == 0 || num > VHOST_USER_QUEUE_SIZE_MAX ||
	    (num & (num - 1)) != 0)
		return error_set(reterr, -EINVAL,
				 "ring of %u: must be a power of two up to %u",
				 num, VHOST_USER_QUEUE_SIZE_MAX);
	return 0;
}

static int check_addr(const struct message *message,
		      const struct message_view *view, struct error *reterr)
{
	const struct vhost_user_vring_addr *addr = &message->payload.addr;

	(void)view;
	if (addr->flags & ~VHOST_USER_VRING_F_LOG)
		return error_set(reterr, -EINVAL, "unknown ring flags 0x%x",
				 addr->flags);
	if (addr->desc_user_addr % VRING_DESC_ALIGN_SIZE ||
	    addr->avail_user_addr % VRING_AVAIL_ALIGN_SIZE ||
	    addr->used_user_addr % VRING_USED_ALIGN_SIZE)
		return error_set(reterr, -EINVAL,
				 "addresses of ring %u are not aligned",
				 addr->index);
	return 0;
}

static int check_base(const struct message *message,
		      const struct message_view *view, struct error *reterr)
{
	(void)view;
	if (message->payload.state.num > UINT16_MAX)
		return error_set(reterr, -EINVAL, "ring index %u: at most %u",
				 message->payload.state.num, UINT16_MAX);
	return 0;
}

static int check_event(const struct message *message,
		       const struct message_view *view, struct error *reterr)
{
	const uint64_t value = message->payload.u64;
	const bool no_fd = value & VHOST_USER_VRING_NO_FD;

	(void)view;
	if (value &
	    ~(uint64_t)(VHOST_USER_VRING_INDEX_MASK | VHOST_USER_VRING_NO_FD))
		return error_set(reterr, -EINVAL, "unknown bits in 0x%llx",
				 (unsigned long long)value);
	if (message->fds_count != (no_fd ? 0U : 1U))
		return error_set(reterr, -EINVAL, "%u descriptors, not %u",
				 message->fds_count, no_fd ? 0U : 1U);
	return 0;
}

static int check_enable(const struct message *message,
			const struct message_view *view, struct error *reterr)
{
	(void)view;
	if (message->payload.state.num > 1)
		return error_set(reterr, -EINVAL, "neither 0 nor 1: %u",
				 message->payload.state.num);
	return 0;
}

static int check_config(const struct message *message,
			const struct message_view *view, struct error *reterr)
{
	const struct vhost_user_config *config = &message->payload.config;

	(void)view;
	if (config->size > VHOST_USER_CONFIG_MAX ||
	    config->offset > VHOST_USER_CONFIG_MAX - config->size ||
	    message->header.size != VHOST_USER_CONFIG_HEADER + config->size)
		return error_set(
			reterr, -EINVAL, "%u bytes at %u in a message of %u",
			config->size, config->offset, message->header.size);
	return 0;
}

static int check_inflight(const struct message *message,
			  const struct message_view *view, struct error *reterr)
{
	const struct vhost_user_inflight *inflight = &message->payload.inflight;

	if (inflight->queues == 0 || inflight->queues > view->queues ||
	    inflight->queue_size == 0 ||
	    inflight->queue_size > VHOST_USER_QUEUE_SIZE_MAX)
		return error_set(reterr, -EINVAL,
				 "%u queues of %u: at most %u of %u",
				 inflight->queues, inflight->queue_size,
				 view->queues, VHOST_USER_QUEUE_SIZE_MAX);
	return 0;
}

static int check_status(const struct message *message,
			const struct message_view *view, struct error *reterr)
{
	(void)view;
	if (message->payload.u64 > UINT8_MAX)
		return error_set(reterr, -EINVAL, "status 0x%llx is no byte",
				 (unsigned long long)message->payload.u64);
	return 0;
}

/* ---- what all have in common ---- */

int message_check_header(const struct vhost_user_header *header,
			 struct error *reterr)
{
	if ((header->flags & VHOST_USER_VERSION_MASK) != VHOST_USER_VERSION)
		return error_set(reterr, -EPROTO,
				 "vhost-user version %u: only %u is known",
				 header->flags & VHOST_USER_VERSION_MASK,
				 VHOST_USER_VERSION);
	if (header->flags & VHOST_USER_FLAG_REPLY)
		return error_set(reterr, -EPROTO,
				 "vhost-user: a reply that nobody waits for");
	if (header->size > sizeof(union vhost_user_payload))
		return error_set(
			reterr, -EPROTO,
			"vhost-user message %s of %u bytes: at most %zu",
			message_name(header->request), header->size,
			sizeof(union vhost_user_payload));
	return 0;
}

static unsigned int queue_of(const struct message *message,
			     enum queue_field field)
{
	switch (field) {
	case QUEUE_NONE:
		break;
	case QUEUE_STATE:
		return message->payload.state.index;
	case QUEUE_ADDR:
		return message->payload.addr.index;
	case QUEUE_FD:
		return (unsigned int)(message->payload.u64 &
				      VHOST_USER_VRING_INDEX_MASK);
	}
	return 0;
}

unsigned int message_queue(const struct message *message)
{
	return queue_of(message, rules[message->header.request].queue);
}

static int check_shape(const struct message *message, const struct rule *rule,
		       const struct message_view *view, struct error *reterr)
{
	const unsigned int queue = queue_of(message, rule->queue);
	uint64_t busy = 0;

	if (rule->protocol_feature != NO_FEATURE &&
	    !(view->protocol & VHOST_FEATURE(rule->protocol_feature)))
		return error_set(reterr, -EOPNOTSUPP, "not negotiated");
	if (message->header.size < rule->size_min ||
	    message->header.size > rule->size_max)
		return error_set(reterr, -EINVAL, "%u bytes: must be %u to %u",
				 message->header.size, rule->size_min,
				 rule->size_max);
	if (message->fds_count < rule->fds_min ||
	    message->fds_count > rule->fds_max)
		return error_set(
			reterr, -EINVAL, "%u descriptors: must be %u to %u",
			message->fds_count, rule->fds_min, rule->fds_max);
	if (rule->queue != QUEUE_NONE && queue >= view->queues)
		return error_set(reterr, -EINVAL, "queue %u: there are %u",
				 queue, view->queues);
	if (rule->when == WHEN_QUEUE_STOPPED)
		busy = view->started & (UINT64_C(1) << queue);
	else if (rule->when == WHEN_ALL_STOPPED)
		busy = view->started;
	if (busy != 0)
		return error_set(reterr, -EBUSY, "not while the ring runs");
	return 0;
}

int message_check(const struct message *message,
		  const struct message_view *view, struct error *reterr)
{
	const struct rule *rule = find_rule(message->header.request);
	struct error why;
	int rc;

	assert(view->queues <= MESSAGE_QUEUES_MAX);
	if (!rule)
		return error_set(reterr, -EOPNOTSUPP,
				 "vhost-user: unknown message %u",
				 message->header.request);
	rc = check_shape(message, rule, view, &why);
	if (rc == 0 && rule->check)
		rc = rule->check(message, view, &why);
	if (rc < 0)
		return error_set(reterr, rc, "vhost-user %s: %s", rule->name,
				 why.text);
	return 0;
}

void message_close_fds(struct message *message)
{
	for (unsigned int i = 0; i < message->fds_count; i++)
		if (message->fds[i] >= 0)
			close(message->fds[i]);
	message->fds_count = 0;
}

int message_take_fd(struct message *message, unsigned int index)
{
	int fd = message->fds[index];

	assert(index < message->fds_count);
	message->fds[index] = -1;
	return fd;
}
