/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry.h - what there is on this host: devices, pools, vdevs, processes
 *
 * Bookkeeping only: names, volumes, slots in the statistics, and what is
 * promised (promise.h).  Making endpoints match it is the binder's.
 * Fields under "the binder's" and "the watch's" are theirs alone.
 *
 * Threads: the control thread's.
 */
#ifndef HOST_REGISTRY_H
#define HOST_REGISTRY_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "ctl/stats.h"
#include "host/bind-keys.h"
#include "host/config.h"
#include "host/host.h"
#include "host/identity.h"
#include "host/over.h"
#include "host/promise.h"
#include "os/loop.h"
#include "sla/capacity.h"
#include "sla/derive.h"

struct endpoint;
struct history_slot;
struct host;
struct opening;

#define REG_UUID_MAX	33U	/* 32 digits */
#define REG_EXTENT_BYTES (UINT64_C(1) << 20)

enum reg_device_state {
	REG_DEVICE_WAITING,	/* for its endpoint, or its lock */
	REG_DEVICE_CALIBRATING,	/* for the first time */
	REG_DEVICE_READY,
	REG_DEVICE_FAILED,
};

struct reg_endpoint {
	const struct config_endpoint *config;
	const char *name;
	struct reg_device *devices;
	unsigned int device_count;
	struct promise promise;
	uint64_t slots_taken[STATS_PROCESSES / 64];
	uint64_t device_slots_taken;	/* STATS_DEVICES bits */
	uint64_t pool_slots_taken;	/* STATS_POOLS bits */
	/* the binder's */
	struct endpoint *process;
	struct host *host;
	bool is_connected;
	bool is_ending, has_ended;	/* with penstockd */
	unsigned int pending;	/* requests without a reply */
	struct reg_device *calibrating;
	struct over_state core_over;
	/* the watch's */
	uint64_t seen_asleep_ns, seen_at_ns;
	uint32_t busy_milli;
};

#define REG_DEVICE_NAME_MAX (2 * CONFIG_NAME_MAX + 2)	/* "ep0/d0" */

/* What was asked for of a device that is to be empty (evacuate.c).  On disk. */
struct reg_leave {
	bool is_asked;
	bool is_replaced;		/* once it is empty it goes */
	char to[REG_DEVICE_NAME_MAX];	/* so: by this one; "": all others */
	uint64_t bytes_per_s;		/* 0: as is usual */
	uint64_t all_bytes;		/* that were on it */
};

struct reg_device {
	const struct config_device *config;
	struct reg_endpoint *endpoint;
	char name[REG_DEVICE_NAME_MAX];
	int slot;			/* -1: none yet */
	enum reg_device_state state;
	struct error error;		/* FAILED, or why it waits */
	const char *fault;		/* one word for 'error', or NULL */
	struct reg_pool *pool;		/* NULL: in none */
	uint64_t size_bytes;		/* for data; 0: not known yet */
	uint64_t whole_bytes;		/* with superblocks and log */
	/* Where it is looked for: the configured one, or another device's of
	 * its pool if it was found there (bind-find.c); NULL: no file. */
	const char *path;
	struct identity file;		/* that its endpoint has */
	char uuid[REG_UUID_MAX];	/* "": none yet */
	uint64_t generation;		/* of its owner; 0: not known */
	bool is_recorded, is_recording;	/* the UUID is on disk, on its way */
	bool is_held;			/* on disk: volumes were made on it */
	bool has_capacity;
	struct capacity capacity;
	int64_t calibrated_at;		/* seconds, UTC */
	struct identity measured_file;	/* of which 'capacity' is */
	struct promise promise;
	struct over_state over;
	/* the binder's */
	bool is_added, is_busy;
	/* Its path has another device of its pool, busy until it is known
	 * where that one is else ("": it has not); or it has this one. */
	char found_uuid[REG_UUID_MAX];
	bool is_right;
	bool is_zeroed;			/* what it never held reads as zeroes */
	bool is_joining, is_member;	/* of its pool, at the endpoint */
	bool is_leaving;		/* kept on it: evacuate.c */
	bool is_moving;			/* the endpoint was asked to go on */
	struct reg_leave leave;
	bool is_asking;			/* another 'leave' is on its way */
	uint64_t leave_retry_ns;	/* how long it waited after failing */
	uint64_t leave_again_ns;	/* then it is tried again; 0: not */
	unsigned int told_percent;	/* moved, in an event */
	struct host_call replaced_call;
	bool is_parting;		/* it is to be removed: remove.c */
	bool is_gone;			/* it was, on disk: there is none */
	struct opening *opening;	/* under way; else NULL */
	struct dial *dial;		/* nbd: under way; else NULL */
	int memory_fd;			/* kept as long as we run; else -1 */
	uint64_t retry_ns;		/* how long it waited after failing */
	struct error told;		/* the last complaint, to say it once */
	uint64_t waits_since_ns;	/* port: for its vdev; 0: it doesn't */
	struct loop_timer retry;
	struct host_call *calibrate_call;
	uint64_t calibrate_ns;		/* asked for; 0: none waits */
	bool is_measuring;		/* asked for, not answered */
};

struct reg_pool {
	const struct config_pool *config;
	const char *name;
	struct registry *registry;
	struct reg_endpoint *endpoint;
	struct reg_device *devices[CONFIG_POOL_DEVICES_MAX];
	unsigned int device_count;
	struct promise promise;
	int slot;			/* -1: none yet */
	struct error error;		/* why it is not there */
	/* the binder's */
	bool is_added, is_starting, is_started;	/* asked for, or had */
	bool is_loading, is_loaded;
	json_t *volumes;		/* by UUID, as it was loaded */
	/* the watch's */
	unsigned int level;		/* that was told, percent; 0: fine */
};

/* Room that is cut out of a pool, or of another part of it (room.c): its vdevs
 * stand on the pool's devices. */
struct reg_part {
	const struct config_pool *config;
	const char *name;
	struct reg_pool *pool;
	struct reg_part *of;		/* NULL: of the pool itself */
};

/* A volume that nobody wants any more, until it is deleted (volumes.c).  On
 * disk before anything is done about it. */
struct reg_doomed {
	struct reg_doomed *next;
	struct reg_pool *pool;
	char uuid[REG_UUID_MAX];
	char vdev[CONFIG_NAME_MAX + 1];	/* whose it was */
	/* volumes.c's */
	bool is_busy;
	uint64_t retry_ns;		/* not before; 0: at once */
	struct error told;		/* the last complaint, to say it once */
	struct host_call *call;		/* waits for it to be gone */
};

/* A way in by NBD; of the file's vdevs. */
struct reg_nbd {
	const char *at;			/* the configuration's; NULL: none */
	unsigned int connections;	/* at most */
	const struct config_tls *tls;	/* or NULL */
	bool tls_required;
	/* the binder's */
	int listen_fd;			/* kept; -1: none */
	bool is_listening;		/* asked for, or had */
	char tls_mark[KEYS_MARK_BYTES];	/* of the files it has */
	struct error error;		/* what was said of it last */
	/* the watch's */
	unsigned int sessions;		/* that name no process */
	bool is_attached;
};

enum reg_vdev_state {
	REG_VDEV_PENDING,
	REG_VDEV_SERVING,
	REG_VDEV_FAILED,
	REG_VDEV_REMOVING,
};

struct reg_vdev {
	struct reg_vdev *next;
	char *name;
	struct reg_pool *pool;
	struct reg_part *part;		/* of it, that has the room; or NULL */
	uint64_t size_bytes;		/* CONFIG_SIZE_EQUAL: not known */
	bool is_equal;			/* a share of what the others leave */
	uint64_t share_bytes, share_retry_ns;	/* asked for last; again then */
	char uuid[REG_UUID_MAX];	/* of its volume; "": none yet */
	bool is_thick;			/* its volume */
	bool is_made;			/* its volume was there */
	char of[CONFIG_NAME_MAX + 1];	/* whose snapshot it is; "": none */
	char of_uuid[REG_UUID_MAX];	/* that one's volume */
	uint64_t volume_bytes;		/* at the endpoint; 0: none */
	unsigned int queues;
	bool read_only;
	char *vhost_user;
	struct reg_nbd nbd;
	struct sched_limits limits;
	enum on_error on_error;
	bool is_runtime;		/* made at run time */
	bool is_new;			/* whoever made it has no answer yet */
	char entry[20];			/* hash of the file's entry; "" none */
	enum reg_vdev_state state;
	struct error error;
	int slot;			/* -1: none */
	struct promise promise;
	unsigned int sessions;
	bool is_attached;
	uint64_t epoch;
	/* the binder's */
	bool is_added, is_listening;	/* asked for, or had */
	bool is_there;			/* had: its volume is made */
	struct host_call *made_call;	/* of whoever makes it */
	bool is_journaled;		/* UUID and size are on disk */
	bool is_writing;		/* a change is on its way to disk */
	bool is_resizing;		/* the endpoint has another size */
	uint64_t retry_ns;		/* how long it waited after failing */
	uint64_t retry_at_ns;		/* FAILED: tried again; 0: never */
	int listen_fd;			/* kept; -1: none */
	unsigned int removing;		/* ways in that still drain */
	bool is_going;			/* the endpoint is asked to remove it */
	struct host_call *call;		/* to be told of the end of removal */
	struct reg_doomed *doomed;	/* deleted once it is gone */
	/* the watch's */
	struct watch_slot *watch;
};

/* What of an SLA was derived from history (E7). */
struct reg_derived {
	uint32_t specs;			/* a bit for each that was */
	bool is_kept_up;		/* derived again and again, so: */
	struct derive_options options;
};

enum reg_process_state {
	REG_PROCESS_PENDING,
	REG_PROCESS_BOUND,
	REG_PROCESS_REFUSED,
	REG_PROCESS_REMOVING,
};

struct reg_process {
	struct reg_process *next;
	uint32_t pasid;
	char *name;
	struct reg_vdev *vdev;
	struct sla sla;
	struct reg_derived derived;
	struct sched_limits limits;
	uint32_t weight;
	struct match match;
	char *vhost_user;		/* a socket of its own; NULL */
	bool is_session, is_best_effort;
	bool is_runtime;		/* added at run time */
	bool is_changed;		/* from the file, changed at run time */
	bool is_writing;		/* a change is on its way to disk */
	bool is_unchosen;		/* REFUSED: by all that could be */
	char entry[20];
	char source[20];		/* of SLAs from elsewhere; "": none */
	enum reg_process_state state;
	enum reg_process_state state_before;	/* of REMOVING: to go back */
	struct promise_member member;	/* in the promises of its vdev ... */
	struct promise_refusal refusal;	/* REFUSED, or best effort without */
	struct error error;		/* its own socket is not there */
	int slot;			/* -1: none */
	unsigned int sessions;
	bool is_attached;
	unsigned int nbd_sessions;	/* that name it in their export */
	bool is_named;			/* there were some */
	/* the binder's */
	bool is_added, is_listening;
	bool is_going;			/* the endpoint is asked to remove it */
	int listen_fd;
	uint64_t hold_until_ns;		/* session: then released; 0: not */
	bool is_awaited;	/* it is set when its front can come */
	/* the watch's */
	struct watch_slot *watch;
	struct history_slot *history;
	/* propose.c's */
	bool is_deriving;
	int64_t derive_after_s;		/* it was refused: not before */
};

/* A process of the file whose vdev is still to be chosen (choose.c). */
struct reg_unchosen {
	struct reg_unchosen *next;
	const struct config_process *entry;
	/* choose.c's */
	struct host *host;
	struct host_call call;
	bool is_asked;			/* the call is not answered */
	unsigned int waits;
	struct error told;		/* the last complaint, to say it once */
};

struct registry {
	const struct config *config;
	struct reg_endpoint *endpoints;
	unsigned int endpoint_count;
	struct reg_pool *pools;
	unsigned int pool_count;
	struct reg_part *parts;
	unsigned int part_count;
	struct reg_vdev *vdevs;		/* in the order of making */
	struct reg_process *processes;
	struct reg_unchosen *unchosen;
	json_t *orphans;		/* volumes of vdevs nobody names */
	struct reg_doomed *doomed;	/* to be deleted */
};

/* Endpoints, devices and pools of 'config' that are served.  'config' must
 * outlive it.  Returns 0 or -ENOMEM. */
int registry_create(const struct config *config,
		    struct registry **ret_registry);
void registry_destroy(struct registry *registry);

/* "ep0/d0", or "d0" if only one endpoint has it. */
struct reg_device *registry_device(struct registry *registry, const char *name);
struct reg_pool *registry_pool(struct registry *registry, const char *name);
/* It is no device of its pool any more: nothing is promised there, and nobody
 * finds it. */
void registry_drop_device(struct registry *registry, struct reg_device *device);
/* A pool by its name, or that of a part of it, which goes into '*ret_part'
 * (else NULL). */
struct reg_pool *registry_place(struct registry *registry, const char *name,
				struct reg_part **ret_part);
struct reg_vdev *registry_vdev(struct registry *registry, const char *name);
/* A snapshot of it that is not made yet, or NULL. */
const struct reg_vdev *registry_snapshot_due(const struct registry *registry,
					     const struct reg_vdev *vdev);
struct reg_process *registry_process(struct registry *registry, uint32_t pasid);
struct reg_endpoint *reg_vdev_endpoint(const struct reg_vdev *vdev);
/* It is measured, or it is known that it could not be: nothing has to be waited
 * for to say what may be promised of it. */
bool reg_device_is_judged(const struct reg_device *device);

/* How many are there, by whichever way in: of all its processes; of those by
 * which 'process' is reached. */
unsigned int reg_vdev_sessions(const struct registry *registry,
			       const struct reg_vdev *vdev);
unsigned int reg_process_sessions(const struct reg_process *process);

/* Zeroed and linked at the end, with its name or pasid.  NULL: no memory. */
struct reg_vdev *registry_vdev_new(struct registry *registry, const char *name,
				   struct reg_pool *pool);
void registry_vdev_free(struct registry *registry, struct reg_vdev *vdev);
struct reg_process *registry_process_new(struct registry *registry,
					 uint32_t pasid, struct reg_vdev *vdev);
void registry_process_free(struct registry *registry,
			   struct reg_process *process);
/* Returns 0 or -ENOMEM. */
int registry_unchosen_add(struct registry *registry,
			  const struct config_process *entry);
/* Take it out and free it. */
void registry_unchosen_free(struct registry *registry,
			    struct reg_unchosen *unchosen);
/* That of 'pasid', or NULL. */
struct reg_unchosen *registry_unchosen(struct registry *registry,
				       uint32_t pasid);
/* Not in the registry until registry_doomed_add.  NULL: no memory. */
struct reg_doomed *registry_doomed_new(struct reg_pool *pool, const char *uuid,
				       const char *vdev);
void registry_doomed_add(struct registry *registry, struct reg_doomed *doomed);
/* That of a vdev of this name, or NULL. */
struct reg_doomed *registry_doomed(struct registry *registry, const char *vdev);
/* Take it out and free it. */
void registry_doomed_free(struct registry *registry, struct reg_doomed *doomed);

/* Whole extents. */
uint64_t reg_round(uint64_t size_bytes);
/* What its devices have for data, as far as it is known. */
uint64_t reg_pool_bytes(const struct reg_pool *pool);
/* How much of it nothing new comes to: what is on it goes to the others. */
uint64_t reg_pool_leaving_bytes(const struct reg_pool *pool);
/* Of a thick pool, or a part of it ('part', or NULL): what no volume is made
 * of, whatever is in them, and no part has. */
uint64_t registry_unpromised(const struct registry *registry,
			     const struct reg_pool *pool,
			     const struct reg_part *part);
uint64_t registry_part_bytes(const struct registry *registry,
			     const struct reg_part *part);
/* What the user calls the place that a vdev has its room in. */
static inline const char *reg_place_name(const struct reg_vdev *vdev)
{
	return vdev->part ? vdev->part->name : vdev->pool->name;
}
/* Its volumes are known, and each device that is there can be used. */
bool reg_pool_is_ready(const struct reg_pool *pool);
/* The device of it that is waited for, to say what may be promised, or NULL:
 * there is none. */
const struct reg_device *reg_pool_unjudged(const struct reg_pool *pool);
/* It is there whatever an endpoint, or this host, forgets. */
/* Its data are its endpoint's own, and not another's behind it (E10). */
bool reg_device_is_local(const struct reg_device *device);
bool reg_device_is_lasting(const struct reg_device *device);
bool reg_pool_is_lasting(const struct reg_pool *pool);
/* The size that "equal" means for this vdev now (E3); 0: nothing is left. */
uint64_t registry_equal_size(const struct registry *registry,
			     const struct reg_vdev *vdev);
/* Of 128 random bits.  Returns 0 or -errno. */
int reg_uuid_make(char uuid[REG_UUID_MAX]);

/* A slot for statistics of a process.  Returns its number, or -ENOSPC. */
int reg_slot_take(struct reg_endpoint *endpoint);
void reg_slot_reserve(struct reg_endpoint *endpoint, unsigned int slot);
void reg_slot_release(struct reg_endpoint *endpoint, int slot);
/* One of a few, each a bit.  Returns its number, or -ENOSPC. */
int reg_bit_take(uint64_t *taken);

#endif
