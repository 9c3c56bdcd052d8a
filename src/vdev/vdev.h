/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vdev.h - a virtual device: processes with SLAs over a volume of a pool
 *
 * A front (a virtqueue, later an NBD connection) finds the process, fills a
 * request and submits it; the vdev checks its range, has the scheduler order
 * it, sends it to the device, records it, and calls 'done' - exactly once for
 * each submit, possibly before submit returns, always on the reactor.
 *
 * Threads: a vdev belongs to its reactor.
 * Ownership: requests are the front's; nothing here is allocated per request.
 */
#ifndef VDEV_VDEV_H
#define VDEV_VDEV_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/match.h"
#include "block/block.h"
#include "ctl/on-error.h"
#include "sched/sched.h"
#include "sla/sla.h"

struct vdev;
struct vdev_process;
struct vdev_device;
struct vdev_gate;
struct vdev_piece;
struct vdev_way;
struct stats_process;
struct stats_device;
struct member;
struct pool;
struct volume;
struct turns;
struct turns_seat;

struct vdev_request {
	struct block_request block; /* op, flags, range, iov: the front's */
	struct sched_request sched;	/* the vdev's */
	void (*done)(struct vdev_request *request);	/* the front's */
	/* The front's: vdev_find_process.  Removal is kept track of from
	 * submit to 'done' only: to be found anew before each submit. */
	struct vdev_process *process;
	uint32_t ioprio;		/* the front's, to find it by */
	bool told, conforming;		/* the vdev's: see sla/keep.h */
	/* The vdev's: see slow.h, vdev_device_oldest_ns and again.h. */
	unsigned char is_piece : 1, follows : 1, is_hungry : 1, epoch : 5;
	const void *owner; /* the front's, for what follows vdev_submit */
	/* May it wait for as long as its vdev is stopped, or tries again?  The
	 * front's, asked whenever it fails; NULL: it may. */
	bool (*may_wait)(struct vdev_request *request);
	uint64_t arrival_ns;		/* the vdev's */
	uint64_t failed_ns;		/* the vdev's: first; 0: it has not */
	/* The vdev's: where it is under way. */
	union {
		struct {
			struct vdev_request *next;
			uint64_t due_ns;
		} halt;				/* see again.h */
		struct {
			struct member *member;
			struct vdev_way *way;
			uint64_t offset_bytes;	/* of the vdev */
			uint32_t parity;
		} at;
		struct {
			struct vdev_request *next;
			uint64_t begun_bytes;	/* of a flush: devices */
			uint32_t under_way;
			int result;
			struct vdev_piece *leader;	/* or NULL */
		} split;	/* see slow.h */
	};
};

/* For vdev_request.may_wait. */
static inline bool vdev_never_waits(struct vdev_request *request)
{
	(void)request;
	return false;
}

/* Where the limits of vdevs hold, whichever device their requests go to: one
 * for a reactor. */
int vdev_gate_create(struct loop *loop, struct vdev_gate **ret_gate,
		     struct error *reterr);
void vdev_gate_destroy(struct vdev_gate *gate);	/* no vdevs left */
void vdev_gate_enforce(struct vdev_gate *gate, bool on, uint64_t now_ns);

/* A device of a pool with its scheduler: its member_config.user. */
int vdev_device_create(struct block_device *block,
		       const struct sched_config *config,
		       struct stats_device *stats, struct loop *loop,
		       struct vdev_device **ret_device, struct error *reterr);
/* The device completes inside submit, in turn with others of its reactor; to
 * be said before there are vdevs. */
void vdev_device_share(struct vdev_device *device, struct turns *turns);
void vdev_device_destroy(struct vdev_device *device);	/* no vdevs left */
struct sched *vdev_device_sched(struct vdev_device *device);
uint64_t vdev_device_in_flight(const struct vdev_device *device);
uint64_t vdev_device_completions(const struct vdev_device *device);
int vdev_device_last_error(const struct vdev_device *device);	/* errno or 0 */
/* How long, at least, the oldest request has been inside the device.  To be
 * asked now and then: what came since the last time is not looked at. */
uint64_t vdev_device_oldest_ns(struct vdev_device *device, uint64_t now_ns);
/* Bring the shared statistics of the device up to date. */
void vdev_device_report(struct vdev_device *device);

struct vdev_config {
	const char *name;
	/* One of the volume's pool; another one when it goes: vdev_leave. */
	struct vdev_device *device;
	struct volume *volume;
	struct vdev_gate *gate;
	uint64_t size_bytes;
	bool read_only;
	enum on_error on_error;
	struct sched_limits limits; /* the parent limit: all its processes */
	struct stats_process *default_stats;	/* of the unpromised default */
};

int vdev_create(const struct vdev_config *config, struct vdev **ret_vdev,
		struct error *reterr);
/* 'member' has left the volume's pool (pool_leave's 'done'): the vdev has no
 * way there any more, and 'home', of one that stays, stands for its
 * config.device. */
void vdev_leave(struct vdev *vdev, const struct member *member,
		struct vdev_device *home);
/* -EBUSY while requests are in flight or queued.  Not inside a 'done'. */
int vdev_destroy(struct vdev *vdev);

struct vdev_process_config {
	uint32_t pasid;
	struct match match;		/* what tells it apart */
	bool own_socket;		/* never found by vdev_find_process */
	struct sched_params sched;
	struct sla sla;			/* for keeping */
	/* Those of the pool's devices (a bit each) that have room for what is
	 * promised; 0: all. */
	uint64_t members;
	struct stats_process *stats;	/* shared with penstockd */
};

int vdev_process_add(struct vdev *vdev,
		     const struct vdev_process_config *config,
		     struct vdev_process **ret_process, struct error *reterr);
int vdev_process_update(struct vdev_process *process,
			const struct vdev_process_config *config,
			struct error *reterr);
/* Its queued requests go on as the default process's; those in flight end as
 * they would have. */
void vdev_process_remove(struct vdev_process *process);

/* The process of a request that came by the vdev's common way in, by the I/O
 * priority word of its header: never NULL (E9, contract). */
struct vdev_process *vdev_find_process(const struct vdev *vdev,
				       uint32_t ioprio);
/* The one told apart by who connected: by its pid, else uid, else gid.  NULL:
 * there is none. */
struct vdev_process *vdev_process_by_peer(const struct vdev *vdev,
					  const struct match_peer *peer);
/* May somebody else ask in its name?  Not of one that is told apart by who
 * connected. */
bool vdev_process_is_open_to(const struct vdev_process *process,
			     const struct match_peer *peer);
/* The one whom nothing is promised and whose requests no other's are. */
struct vdev_process *vdev_unpromised(const struct vdev *vdev);
/* The process that has a way in of its own, or NULL: not bound here. */
struct vdev_process *vdev_process_by_pasid(const struct vdev *vdev,
					   uint32_t pasid);

/* Submit.  Requests out of range, unaligned or forbidden end at once with
 * -EINVAL, -ENOSPC (write beyond the end) or -EROFS in block.result.  They
 * are errors of the process, as is -EFAULT (its memory is gone), and none of
 * the device. */
void vdev_submit(struct vdev *vdev, struct vdev_request *request,
		 uint64_t now_ns);

/* The front answered this one itself; its process is known.  That took its turn
 * as any other. */
void vdev_answered(struct vdev_request *request);

/* An owner that ends takes back what waits for its turn, of all processes:
 * 'taken' is called for each instead of 'done', in their order by process. */
void vdev_take_back(struct vdev *vdev, const void *owner,
		    void (*taken)(struct vdev_request *request),
		    uint64_t now_ns);
/* Somebody waits for all that this owner has submitted: limits hold none of it
 * up any more, but are charged, so that they hold on the average. */
void vdev_let_go(struct vdev *vdev, const void *owner, uint64_t now_ns);

/* The same of what waits because it, or one before it, failed, and of nothing
 * else. */
void vdev_take_halted(struct vdev *vdev, const void *owner,
		      void (*taken)(struct vdev_request *request),
		      uint64_t now_ns);
/* Is there any such? */
bool vdev_halts(const struct vdev *vdev);

/* A ring has 'found' (> 0) requests, of the vdev's common way in or that of
 * 'process' (else NULL): how many it may submit now; 0: none in this round.
 * 'seat' is the ring's own. */
unsigned int vdev_turn(struct vdev *vdev, struct vdev_process *process,
		       struct turns_seat *seat, unsigned int found,
		       uint64_t now_ns);

/* It could not submit so many of these in this visit. */
void vdev_turn_back(struct vdev *vdev, struct vdev_process *process,
		    struct turns_seat *seat, unsigned int count);

/* The next request but one, filled and not submitted: a device that has to
 * fetch what it serves may begin with that.  No more than a hint, whatever is
 * in it; worth giving only where vdev_prefetches. */
bool vdev_prefetches(const struct vdev *vdev);
void vdev_prefetch(const struct vdev *vdev, const struct vdev_request *request);

/* A common way in may go unwatched until then: every request that could come
 * would have to wait anyway.  0: watch it. */
uint64_t vdev_quiet_until_ns(const struct vdev *vdev);
/* The same for a way in of a process's own. */
uint64_t vdev_process_quiet_until_ns(const struct vdev_process *process);

/* Bring the shared statistics of its processes up to date. */
void vdev_report(struct vdev *vdev);
/* Change the parent limit. */
int vdev_limits(struct vdev *vdev, const struct sched_limits *limits,
		struct error *reterr);

/* Takes effect at once; what waits is tried again. */
void vdev_set_on_error(struct vdev *vdev, enum on_error on_error);
/* What waits is done again, in the order in which it came. */
void vdev_resume(struct vdev *vdev);
struct vdev_halt {
	bool is_stopped, waits_for_space;
	int error;			/* errno that stopped it, or 0 */
};
void vdev_halt(const struct vdev *vdev, struct vdev_halt *ret_halt);

/* pool_ops.choose, 'writer' being a process, or NULL: of the devices that have
 * room for what all processes of its vdev were promised, local first, then the
 * one with most that is free (E10). */
int vdev_choose(struct pool *pool, const struct volume *volume,
		const void *writer, uint64_t candidates);
/* Writes that found no extent, and those of them for which there were some, but
 * none where the process is promised what it is (both got ENOSPC). */
struct vdev_refusals {
	uint64_t no_space, unfit;
};
struct vdev_refusals vdev_refused(const struct vdev *vdev);

uint64_t vdev_size_bytes(const struct vdev *vdev);
uint32_t vdev_block_size(const struct vdev *vdev);
bool vdev_read_only(const struct vdev *vdev);
/* Its config.device, or what stands for it. */
struct vdev_device *vdev_home(const struct vdev *vdev);
struct volume *vdev_volume(const struct vdev *vdev);
/* Was nothing ever written at the start of this range, which then reads as
 * zeroes?  '*ret_bytes' of it, from the start, are alike.  In range. */
bool vdev_is_hole(const struct vdev *vdev, uint64_t offset_bytes,
		  uint64_t length_bytes, uint64_t *ret_bytes);
/* Does it take no writing to have this range read as zeroes? */
bool vdev_zeroes_fast(const struct vdev *vdev, uint64_t offset_bytes,
		      uint64_t length_bytes, bool may_unmap);
/* Fronts are told of a new size.  Its volume is as long by then; when that
 * shrinks, the vdev does so first. */
int vdev_resize(struct vdev *vdev, uint64_t size_bytes);
struct vdev_listener {
	void (*resized)(struct vdev_listener *listener);
	struct vdev_listener *next;
};
void vdev_listen(struct vdev *vdev, struct vdev_listener *listener);
void vdev_unlisten(struct vdev *vdev, struct vdev_listener *listener);

#endif
