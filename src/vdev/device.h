/* SPDX-License-Identifier: Apache-2.0 */
/*
 * device.h - the insides that device.c, slow.c and vdev.c share
 *
 * Threads: the reactor's.
 */
#ifndef VDEV_DEVICE_H
#define VDEV_DEVICE_H

#include <stddef.h>

#include "base/container.h"
#include "sched/turns.h"
#include "ctl/stats.h"
#include "pool/volume.h"
#include "vdev/vdev.h"

struct vdev_device {
	struct loop_poller poller;
	struct block_device *block;
	struct sched *sched;
	struct sched_client *unlimited;	/* of what is let go */
	struct stats_device *stats;
	struct loop *loop;
	struct vdev_process *tallied;	/* with completions not yet timed */
	struct vdev_process *buried;	/* removed, with requests in flight */
	uint64_t in_flight, completions;
	int last_error;			/* errno */
	/* Inside block_submit; NULL as soon as it is done. */
	struct vdev_request *submitting;
	uint64_t back_ns;		/* the loop's last absence, as told */
	struct turns *turns;		/* NULL: not shared with others */
};

/* Completions of one round that are timed together. */
struct vdev_tally {
	uint64_t arrival_ns;
	uint64_t bytes;
	uint32_t count;
	uint32_t conforming;		/* without the following */
	/* Whose arrival the keeping was not told of; all of a size. */
	uint32_t untold, untold_bytes;
};

struct vdev_process {
	struct vdev *vdev;
	struct sched_client *client;
	struct stats_process *stats;
	uint32_t outstanding;		/* submitted and not done */
	bool tallied;
	struct vdev_process *next_tallied;
	struct vdev_tally tally[2];
	struct vdev_process *next; /* of the vdev as added, or buried */
	struct turns_client turns;
	struct turns_way way;		/* of its own, if it has one */
	struct vdev_process_config config;
};

struct vdev {
	struct vdev_device *device;
	struct volume *volume;		/* NULL: an extent of the device */
	struct vdev_slow *slow;		/* of a volume */
	uint64_t offset_bytes, size_bytes;
	uint32_t block_mask;		/* block size - 1 */
	bool read_only;
	uint64_t losses;		/* of the device, as told to it */
	struct vdev_process *by_ioprio[4][8];
	struct vdev_process *processes;
	struct vdev_process *unpromised;	/* the default; never NULL */
	struct turns_way way;		/* the common one */
	struct sched_group *group;
	struct vdev_listener *listeners;
	unsigned int buried;		/* removed processes not yet freed */
	char *name;
};

static inline struct vdev_request *vdev_request_of(struct block_request *block)
{
	return container_of(block, struct vdev_request, block);
}

static inline struct vdev_request *vdev_request_of_sched(
	struct sched_request *sched)
{
	return container_of(sched, struct vdev_request, sched);
}

/* Where a request of this direction is counted. */
static inline struct stats_counters *vdev_counters_of(
	const struct vdev_request *request, unsigned int direction)
{
	struct stats_process *stats = request->process->stats;

	return request->block.op <= BLOCK_WRITE ? &stats->direction[direction] :
						  &stats->other;
}

/* To the device, now. */
void vdev_device_issue(struct vdev_device *device,
		       struct vdev_request *request);
/* The same, of one that has waited: its vdev may be shorter by now. */
void vdev_device_issue_late(struct vdev_device *device,
			    struct vdev_request *request);
/* It is done, with the result that it has; 'may_blame': the device, if it is an
 * error. */
void vdev_device_end(struct vdev_device *device, struct vdev_request *request,
		     bool may_blame);
/* Tell the keeping that 'request' came at 'now_ns': unless it is done inside
 * submit, when it is told for many at a time. */
void vdev_device_arrive(struct vdev_request *request, uint64_t now_ns);
/* Time what was completed inside submit, and free what was buried and has
 * nothing outstanding any more. */
void vdev_device_settle(struct vdev_device *device);
/* Free 'process' when nothing of it is outstanding. */
void vdev_device_bury(struct vdev_device *device, struct vdev_process *process);
void vdev_process_free(struct vdev_process *process);

#endif
