/* SPDX-License-Identifier: Apache-2.0 */
/*
 * endpoint.h - the insides of penstock-endpoint: what it serves, and how it
 * is told
 *
 * One thread: the reactor.  Control messages are handled on it between two
 * rounds; each is small and bounded.
 * Ownership: every object keeps the request that made it ('said'), so that a
 * penstockd which adopts this endpoint can be told what is here in the words
 * in which it would have asked for it.
 */
#ifndef ENDPOINT_ENDPOINT_H
#define ENDPOINT_ENDPOINT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "block/calibrate.h"
#include "ctl/ctl.h"
#include "ctl/stats.h"
#include "nbd/server.h"
#include "os/loop.h"
#include "pool/volume.h"
#include "sched/turns.h"
#include "vdev/vdev.h"
#include "vhost/front.h"

#define ENDPOINT_VDEVS_MAX	1024U
#define ENDPOINT_NAME_MAX	63U

/* A request that is answered when it is done: not to be mistaken for one of
 * a later penstockd, which numbers its own from the start. */
struct endpoint_later {
	json_int_t id;
	uint64_t connection;		/* 0: nobody waits for the answer */
};

/* One that was begun, in the words that asked for it: the next penstockd that
 * asks in these gets its answer. */
struct endpoint_work {
	struct endpoint_work *next;
	struct endpoint *endpoint;
	json_t *said;			/* NULL: nothing is under way */
	struct endpoint_later answer;
};

/* When a shortage is worth telling of: see watch.c. */
struct shortage_news {
	uint64_t since_ns, last_ns;	/* since_ns 0: there was none lately */
	uint64_t least_milli;
	bool told;
};

struct endpoint_device {
	struct endpoint_device *next;
	char *name;
	json_t *said;
	int memory_fd;	/* memory: handed back on adoption; or -1 */
	bool immediate;
	struct block_device *block;
	struct vdev_device *device;
	struct stats_device *stats;
	struct calibration *calibration;	/* running, or NULL */
	/* What is being measured, in the words that asked for it, and its
	 * result: kept until a penstockd says that it has it. */
	json_t *measured, *measured_capacity;
	struct endpoint_later calibration_answer;
	uint64_t measured_ns;		/* for how long */
	bool is_measured;		/* now, or soon */
	uint32_t first_taken, taken_extents;	/* of its pool, to write to */
	uint64_t told_errors;
	struct shortage_news shortage;
	uint64_t completions_seen, stalled_since_ns;
	bool told_stall;
	struct endpoint_member *member;	/* of a pool that it is, or NULL */
	struct endpoint *endpoint;
	struct endpoint_export *export;	/* nbd, port; or NULL */
};

/* A device of a pool. */
struct endpoint_member {
	struct endpoint_member *next;
	struct endpoint_pool *pool;
	struct endpoint_device *device;
	json_t *said;
	struct pool_add add;
	struct endpoint_work work;	/* being opened, or going */
	struct pool_leave leave;
	struct endpoint_evacuation *evacuation;	/* under way, or NULL */
	struct member_grow grow;
	uint64_t looked_ns;		/* at its device's length */
	bool is_open, is_refused, is_going;
	/* What was told of its device's pages of a pool, and when. */
	uint64_t told_log_errors, told_bad, told_damage_ns;
	bool told_failed;
};

/* Volumes on devices. */
struct endpoint_pool {
	struct endpoint_pool *next;
	struct endpoint *endpoint;
	char *name;
	json_t *said;
	struct stats_pool *stats;
	struct pool *pool;
	struct endpoint_member *members;	/* as they were added */
	struct endpoint_making *making;	/* volumes that change */
	struct endpoint_work work;	/* starts, or goes */
	unsigned int vdevs;
	bool is_started, is_going;
	bool is_half;			/* start has failed in between */
	unsigned int level, told_level;	/* in percent; 0: fine */
};

struct endpoint_vdev {
	struct endpoint_vdev *next;
	char *name;
	json_t *said;
	unsigned int queues;
	struct endpoint_pool *pool;
	struct vdev *vdev;
	struct stats_process *stats;	/* of its unpromised default */
	enum on_error on_error;
	uint64_t told_no_space, told_no_space_ns, told_unfit;
	bool told_stopped, told_hungry;
	unsigned int fronts, processes;
	struct endpoint_front *nbd;	/* one of the fronts, or NULL */
	struct endpoint_front *transfer;	/* the same */
};

struct endpoint_process {
	struct endpoint_process *next;
	json_t *said;
	uint32_t pasid;
	struct endpoint_vdev *vdev;
	struct vdev_process *process;
	bool has_front;
	unsigned int told_nbd;		/* sessions in its name, as told */
};

#define ENDPOINT_MARK_MAX	64U

enum endpoint_kind {
	ENDPOINT_VHOST_USER,
	ENDPOINT_NBD,
	ENDPOINT_TRANSFER,	/* NBD, for one import or export */
};

struct endpoint_front {
	struct endpoint_front *next;
	struct endpoint *endpoint;
	struct endpoint_vdev *vdev;
	struct endpoint_process *process;	/* NULL: the common way in */
	enum endpoint_kind kind;
	unsigned int connections;	/* most of them: nbd */
	bool read_only;			/* of a transfer: an export */
	bool has_tls, tls_required;	/* nbd */
	char tls_mark[ENDPOINT_MARK_MAX + 1];	/* which files: penstockd's */
	struct front *front;		/* by kind, one of these */
	struct server *server;
	struct front_status told;
	bool draining;
	struct endpoint_later drain_answer;
};

struct endpoint {
	char name[ENDPOINT_NAME_MAX + 1];
	uint32_t owner_uid;	/* who started us, and may connect */
	struct loop *loop;
	struct stats_segment *stats;
	int stats_fd;
	struct loop_watch listen_watch, connection_watch;
	int listen_fd, connection_fd;	/* connection: -1 if none */
	uint64_t connection;		/* how many there have been */
	struct loop_timer tick;
	struct loop_timer poll;		/* pools that something waits for */
	struct endpoint_work *works;
	struct endpoint_device *devices;
	struct endpoint_export *opening; /* not among 'devices' yet */
	struct endpoint_pool *pools;
	struct endpoint_vdev *vdevs;
	struct endpoint_process *processes;
	struct endpoint_front *fronts;
	struct vdev_gate *gate;	/* limits of vdevs on pools */
	struct turns turns;	/* of devices that complete inside submit */
	bool enforce;
	bool listing;	/* a part of 'list' is still to be asked for */
	bool realtime;	/* as the kernel granted it */
	uint64_t troubles_since_ns;	/* front-ends' faults said since then */
	unsigned int troubles;
	bool draining;	/* ends when the last front is drained */
	struct endpoint_later drain_answer;
};

/* devices.c, pools.c, vdevs.c, ways.c: what adding and removing requests do.
 * Each returns 0 or -errno with a reason; -EEXIST only if something else is
 * there already.
 * '*fd' is taken over by setting it to -1. */
int endpoint_device_add(struct endpoint *endpoint, json_t *request, int *fd,
			json_t *reply, struct error *reterr);
int endpoint_device_capacity(struct endpoint *endpoint, json_t *request,
			     int *fd, json_t *reply, struct error *reterr);
int endpoint_device_calibrate(struct endpoint *endpoint, json_t *request,
			      int *fd, json_t *reply, struct error *reterr);
int endpoint_device_connect(struct endpoint *endpoint, json_t *request, int *fd,
			    json_t *reply, struct error *reterr);
int endpoint_device_remove(struct endpoint *endpoint, json_t *request, int *fd,
			   json_t *reply, struct error *reterr);
int endpoint_pool_add(struct endpoint *endpoint, json_t *request, int *fd,
		      json_t *reply, struct error *reterr);
int endpoint_pool_start(struct endpoint *endpoint, json_t *request, int *fd,
			json_t *reply, struct error *reterr);
int endpoint_pool_remove(struct endpoint *endpoint, json_t *request, int *fd,
			 json_t *reply, struct error *reterr);
int endpoint_member_add(struct endpoint *endpoint, json_t *request, int *fd,
			json_t *reply, struct error *reterr);
int endpoint_member_remove(struct endpoint *endpoint, json_t *request, int *fd,
			   json_t *reply, struct error *reterr);
int endpoint_member_evacuate(struct endpoint *endpoint, json_t *request,
			     int *fd, json_t *reply, struct error *reterr);
int endpoint_member_stay(struct endpoint *endpoint, json_t *request, int *fd,
			 json_t *reply, struct error *reterr);
int endpoint_volumes(struct endpoint *endpoint, json_t *request, int *fd,
		     json_t *reply, struct error *reterr);
int endpoint_volume_delete(struct endpoint *endpoint, json_t *request, int *fd,
			   json_t *reply, struct error *reterr);
int endpoint_volume_snapshot(struct endpoint *endpoint, json_t *request,
			     int *fd, json_t *reply, struct error *reterr);
int endpoint_vdev_add(struct endpoint *endpoint, json_t *request, int *fd,
		      json_t *reply, struct error *reterr);
int endpoint_vdev_resize(struct endpoint *endpoint, json_t *request, int *fd,
			 json_t *reply, struct error *reterr);
int endpoint_vdev_limits(struct endpoint *endpoint, json_t *request, int *fd,
			 json_t *reply, struct error *reterr);
int endpoint_vdev_resume(struct endpoint *endpoint, json_t *request, int *fd,
			 json_t *reply, struct error *reterr);
int endpoint_vdev_remove(struct endpoint *endpoint, json_t *request, int *fd,
			 json_t *reply, struct error *reterr);
int endpoint_process_add(struct endpoint *endpoint, json_t *request, int *fd,
			 json_t *reply, struct error *reterr);
int endpoint_process_update(struct endpoint *endpoint, json_t *request, int *fd,
			    json_t *reply, struct error *reterr);
int endpoint_process_remove(struct endpoint *endpoint, json_t *request, int *fd,
			    json_t *reply, struct error *reterr);
int endpoint_listen(struct endpoint *endpoint, json_t *request, int *fd,
		    json_t *reply, struct error *reterr);
int endpoint_unlisten(struct endpoint *endpoint, json_t *request, int *fd,
		      json_t *reply, struct error *reterr);
int endpoint_drain(struct endpoint *endpoint, json_t *request, int *fd,
		   json_t *reply, struct error *reterr);
struct endpoint_device *endpoint_find_device(struct endpoint *endpoint,
					     const char *name);
struct endpoint_process *endpoint_find_process(struct endpoint *endpoint,
					       uint64_t pasid);
int endpoint_named_vdev(struct endpoint *endpoint, const json_t *request,
			const char *key, struct endpoint_vdev **ret_vdev,
			struct error *reterr);

int endpoint_named_device(struct endpoint *endpoint, const json_t *request,
			  struct endpoint_device **ret_device,
			  struct error *reterr);

/* calibrating.c: the result was taken, or is of no use. */
void endpoint_measured_forget(struct endpoint_device *device);
/* Begin, if its pool has what it takes.  Returns whether that is waited for. */
bool endpoint_measuring_poll(struct endpoint_device *device);

/* pools.c */
struct endpoint_pool *endpoint_find_pool(struct endpoint *endpoint,
					 const char *name);
/* By 'key' of 'request', and it does not go.  0, -EINVAL, -ENOENT, -EBUSY. */
int endpoint_named_pool(struct endpoint *endpoint, const json_t *request,
			const char *key, struct endpoint_pool **ret_pool,
			struct error *reterr);
/* As 'list' says it, new references. */
json_t *endpoint_pool_said(const struct endpoint_pool *pool);
json_t *endpoint_member_said(const struct endpoint_member *member);
/* members.c: those that were refused or are to go do so, if nothing is under
 * way on them.  Returns whether something is. */
bool endpoint_members_poll(struct endpoint_pool *pool);
/* "devices" of a request, names of devices of 'pool', as a bit each; all of
 * them if it is absent.  Returns 0, -EINVAL or -ENOENT. */
int endpoint_members_named(const struct endpoint_pool *pool,
			   const json_t *request, uint64_t *ret_members,
			   struct error *reterr);
/* Their pool is about to be destroyed. */
void endpoint_members_forget(struct endpoint_pool *pool);
/* By 'pool' and 'device' of 'request'. */
int endpoint_named_member(struct endpoint *endpoint, const json_t *request,
			  struct endpoint_member **ret_member,
			  struct error *reterr);
/* evacuating.c: how far it is, a new reference; NULL: it is not evacuated. */
json_t *endpoint_evacuation_said(const struct endpoint_member *member);
/* Its pool has volumes and it holds nothing of them: it goes.  ENDPOINT_LATER,
 * or why it has to stay. */
int endpoint_member_leave(struct endpoint_member *member, json_t *request,
			  struct error *reterr);
/* One that stays; NULL: there is none. */
struct endpoint_member *endpoint_pool_home(const struct endpoint_pool *pool);
const char *endpoint_level_name(unsigned int percent);
/* Look soon whether what is waited for has come. */
void endpoint_pools_poll(struct endpoint *endpoint);
int endpoint_pools_init(struct endpoint *endpoint);
void endpoint_pools_finish(struct endpoint *endpoint);

/* volumes.c: the volume of a vdev, as 'request' says, or NULL: it is to be
 * made. */
int endpoint_find_volume(struct endpoint *endpoint, const json_t *request,
			 struct endpoint_vdev *vdev, struct volume **ret_volume,
			 struct error *reterr);
/* Is what is there what 'request' asks for?  Else -EEXIST. */
int endpoint_check_volume(const struct endpoint_vdev *vdev,
			  const struct volume *volume, const json_t *request,
			  struct error *reterr);
/* Make it, and then the vdev, and answer: ENDPOINT_LATER.  Or -errno, and
 * 'vdev' is still the caller's. */
int endpoint_make_volume(struct endpoint_vdev *vdev,
			 const struct vdev_config *config, json_t *request,
			 struct error *reterr);
/* With its vdev, which nobody uses if it shrinks; returns the same. */
int endpoint_resize_volume(struct endpoint_vdev *vdev, uint64_t size_bytes,
			   json_t *request, struct error *reterr);
/* That is under way: the vdev has to stay. */
bool endpoint_is_resizing(const struct endpoint_vdev *vdev);
/* A vdev of this name is being made. */
bool endpoint_is_making(const struct endpoint *endpoint, const char *name);
/* Answer whoever waits for a volume to go that was going when the pool was
 * started.  Returns whether somebody still does. */
bool endpoint_volumes_poll(struct endpoint_pool *pool);
/* The devices that have some of it, a bit each by their places in the
 * statistics. */
uint64_t endpoint_mapped_on(const struct endpoint_pool *pool,
			    const struct volume *volume);
/* Into 'reply', from the one with this number on. */
void endpoint_volumes_said(const struct endpoint_pool *pool, uint64_t from,
			   json_t *reply);
/* vdevs.c: it is there from now on. */
void endpoint_vdev_put(struct endpoint *endpoint, struct endpoint_vdev *vdev);
void endpoint_vdev_free(struct endpoint_vdev *vdev);

/* What of a device 'device-add' says beside its kind. */
struct endpoint_device_wish {
	struct block_config block;
	struct capacity capacity;
	uint64_t slot;
};
/* 'device->block' is there: make it one that serves, and the endpoint's. */
int endpoint_device_serve(struct endpoint_device *device,
			  const struct endpoint_device_wish *wish,
			  struct error *reterr);
void endpoint_device_free(struct endpoint_device *device);

/* exports.c: devices that are another server's. */
/* 'device' is taken over when it returns ENDPOINT_LATER: it is answered when
 * the server has said what it is. */
int endpoint_export_open(struct endpoint_device *device,
			 const struct endpoint_device_wish *wish,
			 json_t *request, int *fd, struct error *reterr);
/* Its block device is closed, if it was never ready. */
void endpoint_export_free(struct endpoint_export *export);
/* As 'list' says it again. */
void endpoint_export_list(const struct endpoint_device *device, json_t *said);

/* ways.c */
/* By 'kind', 'vdev' and 'pasid' of a request, as they are; NULL: none. */
struct endpoint_front *endpoint_find_front(struct endpoint *endpoint,
					   const json_t *request);
struct front_status endpoint_front_status(const struct endpoint_front *f);
int endpoint_front_listen_fd(const struct endpoint_front *f);
const char *endpoint_front_kind(const struct endpoint_front *f);
/* Sessions of NBD in the name of 'process'. */
unsigned int endpoint_nbd_sessions(const struct endpoint_process *p);
/* 'process' is about to go. */
void endpoint_nbd_forget(const struct endpoint_process *process);
/* Its processes, or what tells them apart, are others now. */
void endpoint_nbd_rebind(const struct endpoint_vdev *vdev);

/* What a handler returns when it will answer later, by endpoint_reply. */
#define ENDPOINT_LATER	1

/* control.c: the connection, and who handles which request. */
int endpoint_control_start(struct endpoint *endpoint, struct error *reterr);
void endpoint_control_finish(struct endpoint *endpoint);

/* reply.c */
/* Answer request 'id'; takes over 'reply' (an object; NULL: just done). */
void endpoint_reply(struct endpoint *endpoint, json_int_t id, json_t *reply);
void endpoint_reply_error(struct endpoint *endpoint, json_int_t id, int result,
			  const struct error *error);
/* Takes over 'event'.  Dropped if nobody is connected. */
void endpoint_tell(struct endpoint *endpoint, json_t *event);
/* Note who is to be answered later; then do so, with 'reply' as above or, if
 * 'result' is negative, with the error.  Whoever has hung up isn't told. */
struct endpoint_later endpoint_answer_later(const struct endpoint *endpoint,
					    const json_t *request);
void endpoint_answer(struct endpoint *endpoint,
		     const struct endpoint_later *later, int result,
		     const struct error *error, json_t *reply);
/* The same in one: what is begun by 'request' is under way until it is
 * answered. */
void endpoint_work_begin(struct endpoint *endpoint, struct endpoint_work *work,
			 json_t *request);
void endpoint_work_end(struct endpoint_work *work, int result,
		       const struct error *error, json_t *reply);
/* Without an answer: it was given otherwise. */
void endpoint_work_drop(struct endpoint_work *work);
/* 'request' asks for what is under way: ENDPOINT_LATER, or -EBUSY if it is the
 * same penstockd that asks again; 0: it doesn't. */
int endpoint_work_take_over(struct endpoint *endpoint, json_t *request,
			    struct error *reterr);
/* Send; 'fd' goes along if >= 0 and stays the caller's. */
void endpoint_send(struct endpoint *endpoint, const json_t *message, int fd);
void endpoint_hang_up(struct endpoint *endpoint);

/* watch.c: ten times a second, statistics and events. */
int endpoint_watch_start(struct endpoint *endpoint);
void endpoint_watch_finish(struct endpoint *endpoint);
/* A new penstockd knows nothing: tell it again what is out of the ordinary. */
void endpoint_watch_forget(struct endpoint *endpoint);

struct endpoint_user {
	uint32_t uid, gid;	/* uid 0: who we are */
};

/* lockdown.c: no capabilities, no new privileges, no file or network names,
 * only the system calls of the data path.  After it, nothing can be opened.
 * '*ret_how' says in a few words what this kernel allowed. */
int endpoint_lockdown(const struct endpoint_user *user, char *ret_how,
		      size_t size, struct error *reterr);
/* The first part of it: another user, in no group but its own, and no
 * capabilities. */
int endpoint_become(const struct endpoint_user *user, struct error *reterr);

#endif
