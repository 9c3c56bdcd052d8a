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
	uint64_t in_flight;
	/* Inside block_submit; NULL as soon as it is done. */
	struct vdev_request *submitting;
	uint64_t completions;
	/* Of those in flight that did not end inside submit: by the epoch in
	 * which they began, 1 or 2; [0] counts nothing. */
	uint32_t inside[3];
	unsigned char epoch;
	uint64_t epoch_ns;		/* when it began */
	int last_error;			/* errno */
	uint64_t back_ns;		/* the loop's last absence, as told */
	struct turns *turns;		/* NULL: not shared with others */
	uint64_t round_ns;		/* when this one began */
	struct vdev_scrub *scrub;
	bool is_immediate;		/* completes inside submit */
};

/* Completions of one round that are timed together. */
struct vdev_tally {
	uint64_t arrival_ns;		/* 0: there are none */
	uint64_t bytes;
	uint32_t count;
	uint32_t conforming;		/* without the following */
	/* Whose arrival the keeping was not told of; all of a size. */
	uint32_t untold, untold_bytes;
};

/* To a device of the pool. */
struct vdev_way {
	struct vdev_device *device;	/* NULL: not used yet */
	struct sched_client *client;	/* NULL: it is immediate */
};

static inline bool vdev_way_is_own(const struct vdev_way *way)
{
	return way->client && way->client != way->device->unlimited;
}

struct vdev_gate {
	struct loop_poller poller;
	struct sched *sched;
	struct sched_client *unlimited;	/* of what is let go */
	struct loop *loop;
};

struct vdev_process {
	struct vdev *vdev;
	struct sched_client *client;	/* the gate's */
	struct sched_passes passes;
	bool is_limited;		/* so: its requests go by the gate */
	struct stats_process *stats;
	uint32_t outstanding;		/* submitted and not done */
	bool tallied;
	struct vdev_process *next_tallied;
	struct vdev_tally tally[2];
	struct vdev_process *next; /* of the vdev as added, or buried */
	struct turns_client turns;
	struct turns_way way;		/* of its own, if it has one */
	struct vdev_process_config config;
	struct vdev_way ways[POOL_MEMBERS_MAX];	/* by the pool's order */
};

struct vdev_line {
	struct vdev_request *first, *last;
};

/* Requests that wait because one failed: see again.c. */
struct vdev_again {
	enum on_error on_error;
	int error;			/* > 0: stopped */
	uint32_t hungry;		/* found no space, and are not done */
	struct vdev_line failed, later, passed, fresh;
	struct loop_timer timer;	/* for 'later' */
	uint64_t wake_ns;
};
#define VDEV_LINES	4U

struct vdev {
	/* One of several, whose turn it is to do what is to be done once a
	 * round. */
	struct vdev_device *device;
	struct vdev_gate *gate;
	struct volume *volume;
	struct vdev_slow *slow;
	uint64_t size_bytes;
	uint32_t block_mask;		/* block size - 1 */
	bool read_only;
	uint64_t losses;		/* of its devices, as told to it */
	bool is_limited;		/* all its processes together */
	struct vdev_process *by_ioprio[4][8];
	struct vdev_process *processes;
	struct vdev_process *unpromised;	/* the default; never NULL */
	struct turns_way way;		/* the common one */
	struct sched_group *group;
	struct vdev_listener *listeners;
	struct vdev_refusals refused;
	struct vdev_again again;
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

/* submit.c: from its front, or as if it were; and past its limits. */
void vdev_gate_submit(struct vdev_request *request, uint64_t now_ns);
/* False: it waits for its limits. */
bool vdev_gate_lets(struct vdev_gate *gate, struct vdev_request *request,
		    uint64_t now_ns);
void vdev_gate_passed(struct vdev_request *request, uint64_t now_ns);
/* Of one that waited: beyond the end of its vdev, since that has shrunk? */
bool vdev_device_is_beyond(const struct vdev_request *request,
			   uint64_t offset_bytes);
/* The same; then it has failed. */
bool vdev_device_refuses(struct vdev_request *request);
/* It does not go to the device where it waits for its turn: as it was before
 * it came there. */
void vdev_device_forget(struct vdev_request *request);
/* block_request.done of one with a place in the volume, and of one that needed
 * no turn for that. */
void vdev_device_done_mapped(struct block_request *block);
void vdev_device_done_at_once(struct block_request *block);
/* carry.c: it is the turn of one that is nobody's ('process' is NULL). */
void vdev_carry_issue(struct vdev_request *part);
/* A piece is at its device; it is done, 'result' being the device's. */
void vdev_device_begin(struct vdev_device *device, struct vdev_request *piece);
void vdev_device_done(struct vdev_device *device, struct vdev_request *piece,
		      int result);
/* An error that is the device's. */
void vdev_device_blame(struct vdev_device *device, int result);
/* How often some of its writes may have been lost (block.h), on any of its
 * devices. */
uint64_t vdev_losses(const struct vdev *vdev);
/* A request that was in pieces is done, with the result that it has. */
void vdev_device_end(struct vdev_request *request);
/* The same, and it is not done again. */
void vdev_device_give_up(struct vdev_request *request);
/* It is not its turn yet. */
void vdev_device_waits(struct vdev_request *request, uint64_t now_ns);
/* Tell the keeping that 'request' came at 'now_ns': unless it is done inside
 * submit, when it is told for many at a time. */
void vdev_device_arrive(struct vdev_request *request, uint64_t now_ns);
/* It is not done inside submit. */
void vdev_device_stays(struct vdev_device *device,
		       struct vdev_request *request);
/* It is its turn: in line, as each request runs through it. */
static inline void vdev_device_issue(struct vdev_device *device,
				     struct vdev_request *request)
{
	device->in_flight++;
	device->submitting = request;
	block_submit(device->block, &request->block);
	/* If it is done, it may be gone. */
	if (device->submitting == request)
		vdev_device_stays(device, request);
	device->submitting = NULL;
}
/* Time what was completed inside submit, and free what was buried and has
 * nothing outstanding any more. */
void vdev_device_settle(struct vdev_device *device);
/* The way to 'member', made if there is none yet: never NULL. */
struct vdev_way *vdev_process_way(struct vdev_process *process,
				  const struct member *member);
/* Free 'process' when nothing of it is outstanding. */
void vdev_device_bury(struct vdev_device *device, struct vdev_process *process);
void vdev_process_free(struct vdev_process *process);
int vdev_process_create(struct vdev *vdev,
			const struct vdev_process_config *config,
			struct vdev_process **ret_process,
			struct error *reterr);
/* Its limits or its vdev's are others. */
void vdev_process_limited(struct vdev_process *process);
void vdev_limited(struct vdev *vdev);	/* those of all of them */
/* It came, and is neither waiting any more nor was it delivered. */
void vdev_uncount(struct vdev_request *request, uint64_t now_ns);
/* Processes or what they are known by have changed. */
void vdev_rebind(struct vdev *vdev);
struct vdev_process *vdev_unmarked_process(const struct vdev *vdev);

#endif
