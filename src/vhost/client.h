/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.h - the vhost-user-blk client end: a front-end that is no VM
 *
 * Who uses it: whoever wants to be the guest of a vhost-user-blk server (ours
 * or another's) from an ordinary process.  The server reads and writes the
 * caller's memory directly: regions are passed on, nothing is copied.
 *
 * A queue takes requests (vhost_client_add), shows them to the server in one
 * go (vhost_client_publish) and gives back finished ones in batches
 * (vhost_client_reap).  Whoever has nothing to do sleeps on the queue's
 * descriptor between vhost_client_arm and vhost_client_disarm.
 *
 * When the server dies, requests stay in flight; vhost_client_reconnect finds
 * the next server and has it finish them: exactly once if both servers know
 * the inflight region, else by submitting them again in their order.
 *
 * What the server writes (indexes, ids, status, configuration) is checked: a
 * server that breaks the ring's rules gets -EPROTO for its queue, no more.
 *
 * Threads: no locks.  Different queues may be used by different threads at
 * the same time; create, check, reconnect and destroy by one thread while
 * nobody uses a queue.
 * Ownership: requests, their buffers and their iovec are the caller's, and
 * the client's between add and reap.
 */
#ifndef VHOST_CLIENT_H
#define VHOST_CLIENT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/error.h"

#define VHOST_CLIENT_QUEUES_MAX		16U
#define VHOST_CLIENT_QUEUE_SIZE_MAX	1024U
#define VHOST_CLIENT_REGIONS_MAX	7U
#define VHOST_CLIENT_SEGMENTS_MAX	126U

struct vhost_client;
struct vhost_client_queue;

enum vhost_client_op {
	VHOST_CLIENT_READ,
	VHOST_CLIENT_WRITE,
	VHOST_CLIENT_FLUSH,
	VHOST_CLIENT_DISCARD,
	VHOST_CLIENT_WRITE_ZEROES,
};

#define VHOST_CLIENT_FLAG_UNMAP	0x1U	/* write-zeroes may free the space */

struct vhost_client_request {
	/* Read, write: buffers inside the regions. */
	const struct iovec *iov;
	uint32_t iov_count;
	uint32_t ioprio;	/* Linux: class << 13 | level */
	uint64_t offset_bytes;	/* multiple of 512 */
	uint64_t length_bytes;	/* discard, write-zeroes; multiple of 512 */
	uint8_t op;		/* enum vhost_client_op */
	uint8_t flags;		/* VHOST_CLIENT_FLAG_* */
	int result;		/* after reap: 0, -EIO or -EOPNOTSUPP */
};

/* Memory that buffers may lie in: 'size_bytes' of 'fd' from
 * 'fd_offset_bytes' on, mapped at 'address' by the caller.  It stays mapped
 * and 'fd' open as long as the client lives. */
struct vhost_client_region {
	int fd;
	void *address;
	uint64_t fd_offset_bytes;
	uint64_t size_bytes;
};

struct vhost_client_config {
	const char *path;		/* the server's socket */
	unsigned int queues;		/* 1 .. VHOST_CLIENT_QUEUES_MAX */
	unsigned int queue_size;	/* a power of two, 4 .. _SIZE_MAX */
	bool event_index;		/* use it if the server can */
	bool indirect;			/* same */
	bool no_inflight;		/* not even if the server can */
	bool no_events;			/* same: it tells of no new size */
	uint64_t timeout_ns;		/* for connecting, for each reply */
	const struct vhost_client_region *regions;
	unsigned int region_count;	/* 1 .. VHOST_CLIENT_REGIONS_MAX */
};

struct vhost_client_info {
	uint64_t size_bytes;
	uint32_t block_size;
	unsigned int queues;		/* at most what was asked for */
	unsigned int slots;		/* requests in flight on each queue */
	unsigned int segments_max; /* of one read or write; 1 without
					 * indirect descriptors */
	uint64_t discard_max_bytes;	/* 0: can't */
	uint64_t write_zeroes_max_bytes; /* 0: can't */
	bool read_only, flush, event_index, indirect;
	bool inflight;			/* replay is exactly once */
	bool live_config;		/* the server tells of a new size */
};

/* Connect and start all queues.  Returns 0, -EINVAL (bad config), -ENOMEM,
 * -EPROTO (the server broke the protocol or lacks what is needed),
 * -ETIMEDOUT, or what connect(2) says. */
int vhost_client_create(const struct vhost_client_config *config,
			struct vhost_client **ret_client, struct error *reterr);
/* The same on a connected socket, which is taken over on success, and without
 * waiting: 'path' is only its name in messages, and the client serves when
 * vhost_client_advance says so. */
int vhost_client_create_on(const struct vhost_client_config *config, int fd,
			   struct vhost_client **ret_client,
			   struct error *reterr);
/* Go on with what is agreed with the server, as far as it goes without waiting;
 * to be called until it returns no -EAGAIN, when the first descriptor is
 * readable.  0: it serves; else errors as above, and nothing is connected. */
int vhost_client_advance(struct vhost_client *client, struct error *reterr);
/* Hang up: the server sees that its front-end is gone. */
void vhost_client_disconnect(struct vhost_client *client);
/* Stops the queues first (GET_VRING_BASE: the server drains); requests that
 * were not reaped are forgotten.  NULL is allowed. */
void vhost_client_destroy(struct vhost_client *client);

void vhost_client_info(const struct vhost_client *client,
		       struct vhost_client_info *ret_info);
struct vhost_client_queue *vhost_client_queue(struct vhost_client *client,
					      unsigned int index);

/* Is the server still there?  Never blocks for long: handles what it sent (a
 * new size: '*ret_resized' says so).  Returns 0, or -ECONNRESET: reap what is
 * left, then reconnect.  The descriptors (second: -1 if none) become readable
 * when it is worth asking. */
int vhost_client_check(struct vhost_client *client, bool *ret_resized);
void vhost_client_descriptors(const struct vhost_client *client,
			      int ret_fds[2]);
/* Connect again, once.  Everything was reaped (else -EBUSY); requests in
 * flight stay so.  Errors as vhost_client_create; it may be called again
 * until it succeeds. */
int vhost_client_reconnect(struct vhost_client *client, struct error *reterr);
/* The same by a connected socket, taken over on success; then
 * vhost_client_advance.  Returns 0 or -EBUSY. */
int vhost_client_reconnect_on(struct vhost_client *client, int fd,
			      struct error *reterr);

/* Returns 0, -EAGAIN (all slots taken), -EINVAL (too many segments, a
 * length or offset no server can take) or -EPROTO (broken: reconnect).  The
 * server sees it after publish. */
int vhost_client_add(struct vhost_client_queue *queue,
		     struct vhost_client_request *request);
/* Show what was added, and wake the server if it asks for that. */
void vhost_client_publish(struct vhost_client_queue *queue);
/* Up to 'max' finished requests into 'ret_requests'; returns how many, or
 * -EPROTO.  Never waits. */
int vhost_client_reap(struct vhost_client_queue *queue,
		      struct vhost_client_request **ret_requests,
		      unsigned int max);
unsigned int vhost_client_in_flight(const struct vhost_client_queue *queue);

/* Readable after arm when something finished.  vhost_client_arm returns
 * false if something has finished already: don't sleep.  Disarm also takes
 * what the descriptor says. */
int vhost_client_queue_fd(const struct vhost_client_queue *queue);
bool vhost_client_arm(struct vhost_client_queue *queue);
void vhost_client_disarm(struct vhost_client_queue *queue);

#endif
