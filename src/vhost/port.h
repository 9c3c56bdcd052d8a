/* SPDX-License-Identifier: Apache-2.0 */
/*
 * port.h - a block device that is a vdev which another endpoint of this host
 * serves: a vhost-user-blk front-end that is no VM
 *
 * It is a kind as those of src/block are, and stands here because vhost-user
 * does: block may not include vhost, vhost may include block.
 *
 * Who opens it passes connected sockets; when the other endpoint ends, the port
 * asks for another connection ('want').  Meanwhile what was asked of it waits,
 * without end, as a guest waits for a dead endpoint's successor:
 *
 * - What was in flight stays in the ring, and in the notes that the dead
 *   endpoint kept of it (the inflight region, which the port holds): its
 *   successor does it, each once, and answers.  Nothing has to be asked again.
 * - What was answered is as safe as with a device of one's own: the other
 *   endpoint's devices outlive it.
 *
 * Data go through an arena that both endpoints map: guests' memory, which comes
 * and goes, is not passed on, and costs a copy.
 *
 * Called by the endpoint and tests.
 * Threads: the loop's.
 */
#ifndef VHOST_PORT_H
#define VHOST_PORT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "block/block.h"
#include "os/loop.h"

struct port;

/* None of these may close the device, but 'ready' with an error.  All are
 * required. */
struct port_ops {
	/* The first connection serves, or (-errno) never will. */
	void (*ready)(void *arg, int result, const struct error *error);
	/* A connection is wanted: port_connect.  Said again and again, in the
	 * end each second. */
	void (*want)(void *arg);
	/* A connection was lost: why; one line. */
	void (*report)(void *arg, const struct error *error);
};

struct port_config {
	struct loop *loop;
	const char *vdev;		/* for messages; copied */
	uint64_t size_bytes;		/* 0: as large as the vdev is */
	bool read_only;
	const struct port_ops *ops;
	void *arg;
};

/* 'fd', a connected unix socket, is taken over in any case.  The device can be
 * used after 'ready'.  Returns 0, -ENOMEM or the system's reason. */
int port_create(const struct port_config *config, int fd,
		struct port **ret_port, struct error *reterr);
/* As a device; block_close frees it, and the port. */
struct block_device *port_device(struct port *port);
/* 'fd' is taken over on success.  Returns 0 or -EALREADY (none is wanted). */
int port_connect(struct port *port, int fd);

struct port_status {
	bool is_serving;
	uint64_t connects, lost;	/* so far */
};
void port_status(const struct port *port, struct port_status *ret_status);

#endif
