/* SPDX-License-Identifier: Apache-2.0 */
/*
 * front.h - the vhost-user-blk server end: one listening socket of a vdev
 *
 * Who uses it: the endpoint.  A front accepts sessions (front-end instances:
 * a QEMU, our own client), up to FRONT_SESSIONS_MAX at a time, so that the
 * target QEMU of a migration can connect while the source still runs.  At
 * most one session holds the attachment epoch: the first that starts a ring
 * acquires it, GET_VRING_BASE of all its rings or its end drains, flushes and
 * releases it; another session's ring start waits until then.
 *
 * Threads: the loop's.
 */
#ifndef VHOST_FRONT_H
#define VHOST_FRONT_H

#include <stdint.h>

#include "base/error.h"
#include "os/loop.h"
#include "vdev/vdev.h"

#define FRONT_SESSIONS_MAX	2U

struct front;

struct front_config {
	struct loop *loop;
	struct vdev *vdev;
	struct vdev_process *process;	/* a socket of its own; NULL: common */
	int listen_fd;			/* taken over on success */
	unsigned int queues;	/* most that a session may use: 1 .. 64 */
	const char *id;			/* the disk's serial number, or NULL */
	/* A session ended, or a ring of it stopped, by its front-end's fault:
	 * what, once for each.  Optional; 'arg' is its. */
	void (*report)(void *arg, const struct error *error);
	void *arg;
};

struct front_status {
	unsigned int sessions;
	uint64_t epoch;			/* attachments so far */
	bool attached;			/* a session holds it */
};

/* Returns 0, -EINVAL (queues), -ENOMEM or the system's reason. */
int front_create(const struct front_config *config, struct front **ret_front,
		 struct error *reterr);
/* Cuts sessions without waiting for what is in flight at the device: those
 * requests end silently.  For an orderly end use front_drain before. */
void front_destroy(struct front *front);
/* Stop taking requests; 'drained' is called (perhaps at once) when nothing is
 * in flight and written data is flushed.  No limit is waited for: what waits
 * stays in the inflight region, or without one is let go (vdev/vdev.h).
 * Sessions are then closed, and front-ends reconnect to whoever listens
 * next. */
void front_drain(struct front *front, void (*drained)(void *arg), void *arg);
void front_status(const struct front *front, struct front_status *ret_status);
/* The listening socket, to be given to a next owner. */
int front_listen_fd(const struct front *front);

#endif
