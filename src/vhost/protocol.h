/* SPDX-License-Identifier: Apache-2.0 */
/*
 * protocol.h - vhost-user as it is on the wire, for both ends
 *
 * Only layouts and numbers; the names follow the vhost-user specification
 * (QEMU, docs/interop/vhost-user.rst).  Messages are in the machine's own
 * byte order, rings and virtio-blk structures in little endian (VERSION_1);
 * only little-endian machines are supported, so fields are plain integers.
 * The ring and virtio-blk structures themselves come from the kernel's
 * headers: struct vring_desc, vring_avail, vring_used, vring_used_elem,
 * virtio_blk_config, virtio_blk_outhdr, virtio_blk_discard_write_zeroes.
 */
#ifndef VHOST_PROTOCOL_H
#define VHOST_PROTOCOL_H

#include <assert.h>
#include <stdint.h>

#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
	      "rings are read without conversion");

/* Feature bits beside those of linux/virtio_*.h. */
#define VHOST_F_LOG_ALL			26
#define VHOST_USER_F_PROTOCOL_FEATURES	30

/* Bits of GET_PROTOCOL_FEATURES. */
#define VHOST_USER_PROTOCOL_F_MQ		0
#define VHOST_USER_PROTOCOL_F_LOG_SHMFD		1
#define VHOST_USER_PROTOCOL_F_REPLY_ACK		3
#define VHOST_USER_PROTOCOL_F_BACKEND_REQ	5
#define VHOST_USER_PROTOCOL_F_CONFIG		9
#define VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD	12
#define VHOST_USER_PROTOCOL_F_RESET_DEVICE	13
#define VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS	15
#define VHOST_USER_PROTOCOL_F_STATUS		16

#define VHOST_FEATURE(bit)	(UINT64_C(1) << (bit))

/* From the front-end. */
enum vhost_user_request {
	VHOST_USER_GET_FEATURES = 1,
	VHOST_USER_SET_FEATURES = 2,
	VHOST_USER_SET_OWNER = 3,
	VHOST_USER_RESET_OWNER = 4,
	VHOST_USER_SET_MEM_TABLE = 5,
	VHOST_USER_SET_LOG_BASE = 6,
	VHOST_USER_SET_LOG_FD = 7,
	VHOST_USER_SET_VRING_NUM = 8,
	VHOST_USER_SET_VRING_ADDR = 9,
	VHOST_USER_SET_VRING_BASE = 10,
	VHOST_USER_GET_VRING_BASE = 11,
	VHOST_USER_SET_VRING_KICK = 12,
	VHOST_USER_SET_VRING_CALL = 13,
	VHOST_USER_SET_VRING_ERR = 14,
	VHOST_USER_GET_PROTOCOL_FEATURES = 15,
	VHOST_USER_SET_PROTOCOL_FEATURES = 16,
	VHOST_USER_GET_QUEUE_NUM = 17,
	VHOST_USER_SET_VRING_ENABLE = 18,
	VHOST_USER_SET_BACKEND_REQ_FD = 21,
	VHOST_USER_GET_CONFIG = 24,
	VHOST_USER_SET_CONFIG = 25,
	VHOST_USER_GET_INFLIGHT_FD = 31,
	VHOST_USER_SET_INFLIGHT_FD = 32,
	VHOST_USER_RESET_DEVICE = 34,
	VHOST_USER_GET_MAX_MEM_SLOTS = 36,
	VHOST_USER_ADD_MEM_REG = 37,
	VHOST_USER_REM_MEM_REG = 38,
	VHOST_USER_SET_STATUS = 39,
	VHOST_USER_GET_STATUS = 40,
	VHOST_USER_REQUESTS
};

/* From the back-end, over the socket of SET_BACKEND_REQ_FD. */
enum vhost_user_backend_request {
	VHOST_USER_BACKEND_CONFIG_CHANGE_MSG = 2,
};

#define VHOST_USER_VERSION		0x1U
#define VHOST_USER_VERSION_MASK		0x3U
#define VHOST_USER_FLAG_REPLY		0x4U
#define VHOST_USER_FLAG_NEED_REPLY	0x8U

struct vhost_user_header {
	uint32_t request;		/* enum vhost_user_request */
	uint32_t flags;
	uint32_t size;			/* of the payload that follows */
};

/* SET_VRING_KICK, CALL and ERR: a u64 of these. */
#define VHOST_USER_VRING_INDEX_MASK	0xffU
#define VHOST_USER_VRING_NO_FD		0x100U

struct vhost_user_vring_state {
	uint32_t index;
	uint32_t num;
};

#define VHOST_USER_VRING_F_LOG	0x1U	/* log writes to the used ring */

struct vhost_user_vring_addr {
	uint32_t index;
	uint32_t flags;
	uint64_t desc_user_addr; /* addresses in the front-end's process */
	uint64_t used_user_addr;
	uint64_t avail_user_addr;
	uint64_t log_guest_addr;	/* of the used ring, for the log */
};

struct vhost_user_region {
	uint64_t guest_addr;
	uint64_t size;
	uint64_t user_addr;
	uint64_t mmap_offset;
};

#define VHOST_USER_TABLE_REGIONS	8U	/* most in SET_MEM_TABLE */

struct vhost_user_memory {		/* then 'regions' descriptors */
	uint32_t regions_count;
	uint32_t padding;
	struct vhost_user_region regions[VHOST_USER_TABLE_REGIONS];
};

struct vhost_user_single_region {	/* ADD_MEM_REG, REM_MEM_REG */
	uint64_t padding;
	struct vhost_user_region region;
};

struct vhost_user_log {			/* SET_LOG_BASE */
	uint64_t mmap_size;
	uint64_t mmap_offset;
};

#define VHOST_USER_CONFIG_MAX	256U
#define VHOST_USER_LOG_PAGE	4096U	/* guest bytes for one bit of the log */

struct vhost_user_config {		/* the payload: 12 bytes, then 'size' */
	uint32_t offset;
	uint32_t size;
	uint32_t flags;
	uint8_t data[VHOST_USER_CONFIG_MAX];
};
#define VHOST_USER_CONFIG_HEADER	12U

struct vhost_user_inflight {		/* GET_/SET_INFLIGHT_FD */
	uint64_t mmap_size;
	uint64_t mmap_offset;
	uint16_t queues;
	uint16_t queue_size;
	uint32_t padding;	/* QEMU sends and expects it, others don't */
};
#define VHOST_USER_INFLIGHT_SIZE_MIN	20U	/* without the padding */

union vhost_user_payload {
	uint64_t u64;
	struct vhost_user_vring_state state;
	struct vhost_user_vring_addr addr;
	struct vhost_user_memory memory;
	struct vhost_user_single_region single;
	struct vhost_user_log log;
	struct vhost_user_config config;
	struct vhost_user_inflight inflight;
};

/* On the wire the payload follows the header directly, so that its 64-bit
 * fields are not aligned: send and receive the two as separate pieces. */

static_assert(sizeof(struct vhost_user_header) == 12, "wire layout");
static_assert(sizeof(struct vhost_user_memory) == 8 + 8 * 32, "wire layout");
static_assert(sizeof(struct vhost_user_inflight) == 24, "wire layout");

/* The region of INFLIGHT_SHMFD: one of these for each queue, each padded to
 * VHOST_USER_INFLIGHT_ALIGN, split rings. */
#define VHOST_USER_INFLIGHT_ALIGN	64U
#define VHOST_USER_INFLIGHT_VERSION	1U

struct vhost_user_inflight_desc {
	uint8_t inflight;		/* 1: taken, its answer not yet used */
	uint8_t padding[5];
	uint16_t next;			/* the head before it in its batch */
	uint64_t counter;		/* order in which heads were taken */
};

struct vhost_user_inflight_queue {
	uint64_t features;
	uint16_t version;		/* 0: never used */
	uint16_t desc_num;
	uint16_t last_batch_head;
	uint16_t used_idx;
	struct vhost_user_inflight_desc desc[];
};

static_assert(sizeof(struct vhost_user_inflight_desc) == 16, "wire layout");
static_assert(sizeof(struct vhost_user_inflight_queue) == 16, "wire layout");

#define VHOST_USER_QUEUE_SIZE_MAX	1024U	/* descriptors of one ring */
#define VHOST_USER_FDS_MAX		VHOST_USER_TABLE_REGIONS

#endif
