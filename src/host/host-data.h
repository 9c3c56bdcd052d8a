/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host-data.h - the insides of 'struct host', for the files of this room
 *
 *   host.c       life, and what endpoints say
 *   adopt.c      what an endpoint has when penstockd meets it
 *   watch.c      once a second: kept or not, what was delivered
 *   verbs*.c     what is asked for at run time: checked, written down, then
 *                handed to the binder; what-if.c: would it be admitted?
 *   choose.c     which vdev, where a policy is named instead
 *   transfer.c   a way in for one import or export
 *   propose.c    an SLA from history: shown, accepted or kept up
 *   slas.c       SLAs from a file or a database, followed
 *   unbind.c     takes away what the binder brought
 *   binder.c     makes endpoints match the registry: places, processes, and
 *                in which order
 *   bind-vdev.c  the same for vdevs and ways in
 *   bind-nbd.c   the same for ways in by NBD
 *   bind-device.c  the same for devices: opened, locked
 *   bind-find.c  which device of a pool lies at which path
 *   bind-pool.c  the same for pools: their devices, what they hold
 *   evacuate.c   what is on a device goes to others; remove.c: it leaves
 *   measure.c    what a device sustains
 *   ask.c        one request to an endpoint
 *   describe.c, describe-process.c, answer.c   answers as JSON
 *
 * Each calls only those below it; what goes up goes through bind_hooks.
 *
 * Threads: the control thread's.
 */
#ifndef HOST_HOST_DATA_H
#define HOST_HOST_DATA_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "host/config.h"
#include "host/events.h"
#include "host/host.h"
#include "host/link.h"
#include "host/registry.h"
#include "os/loop.h"
#include "store/store.h"

/* What the lower files tell the upper ones; host.c sets them. */
struct bind_hooks {
	/* A measurement is over: 0, or -errno with a text. */
	void (*device_measured)(struct reg_device *device, int result,
				const char *text);
	/* It can be used: place vdevs, admit processes. */
	void (*device_ready)(struct reg_device *device);
	/* Whoever made it waits for this: it is there, or has failed. */
	void (*vdev_made)(struct reg_vdev *vdev);
	/* It may hold vdevs, or more than before. */
	void (*pool_ready)(struct reg_pool *pool);
};

struct history;
struct slas;
struct transfer;
struct wanted;

struct host {
	struct loop *loop;
	const struct config *config;
	struct host_hooks hooks;
	struct store *store;
	struct registry *registry;
	struct events *events;
	struct history *history;
	struct slas *slas;
	struct transfer *transfers;
	struct bind_hooks bind;
	struct loop_timer tick;
	struct loop_timer settle;	/* bind_touch: bind_check_ready */
	uint64_t started_ns;
	bool is_enforcing;
	bool told_ready, is_stopping;
	unsigned int still_running;	/* endpoints, while stopping */
};

/* --- answer.c ------------------------------------------------------------ */

/* Say how a verb ended; 'call' may be NULL.  'value' is taken over. */
void host_answer(struct host_call *call, enum host_result result, json_t *value,
		 const char *format, ...) __attribute__((format(printf, 4, 5)));
/* 'sla' of this process is refused: why, and where it could be met. */
void host_refuse(struct host *host, const struct reg_process *process,
		 const struct sla *sla, const struct promise_refusal *refusal,
		 struct host_call *call);

/* --- ask.c --------------------------------------------------------------- */

/* One request to an endpoint and what it is about. */
struct bind_op {
	struct reg_endpoint *endpoint;
	struct reg_device *device;
	struct reg_vdev *vdev;
	struct reg_process *process;
	struct host_call *call;
	void *arg;			/* whatever the asker needs */
	/* 'op' is freed afterwards. */
	void (*then)(struct bind_op *op, struct link_reply *reply);
};

/* Ask; 'op' is copied.  'message' and 'fd' as in link_request. */
void bind_ask(const struct bind_op *op, json_t *message, int fd);
/* 'then' of one whose answer changes nothing. */
void bind_ignore(struct bind_op *op, struct link_reply *reply);
/* Something changed that "ready" may have waited for. */
void bind_touch(struct host *host);

/* --- binder.c, unbind.c -------------------------------------------------- */

/* Ask for whatever the endpoint should have and has not. */
void bind_sync(struct reg_endpoint *endpoint);
/* Nothing that it was asked for is there any more. */
void bind_reset(struct reg_endpoint *endpoint);
/* hooks.changed */
void host_changed(struct host *host, const char *by, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* bind_hooks.device_ready */
void bind_device_ready(struct reg_device *device);
/* bind_hooks.pool_ready */
void bind_pool_ready(struct reg_pool *pool);
/* Try to admit a process that waits; says so if it is refused. */
void bind_admit(struct host *host, struct reg_process *process);
/* Those that were refused, or run without a promise: is there room now (once a
 * second; what was released or measured anew is seen there)? */
void bind_retry_refused(struct host *host);
/* The message that adds or (op "process-update") changes a process. */
json_t *bind_process_message(const struct reg_process *process, const char *op);
/* Tell the endpoint how op->process is now.  op->then is called with what it
 * says, at once if there is nobody to be told. */
void bind_process_update(const struct bind_op *op);
/* Vdevs that failed: try again those whose time has come (once a second). */
void bind_retry_vdevs(struct host *host);
/* Every endpoint has what it can have: hooks.ready, once. */
void bind_check_ready(struct host *host);

/* --- unbind.c ------------------------------------------------------------ */

/* Take it away from its endpoint, then free it; 'call' may be NULL.  If the
 * endpoint does not let it go it stays, REMOVING: to be asked for again. */
void unbind_process(struct reg_process *process, struct host_call *call);
/* The same with a vdev and its processes; then 'vdev->doomed' is deleted, and
 * 'call' answered when that is gone. */
void unbind_vdev(struct reg_vdev *vdev, struct host_call *call);
/* What did not go and whose endpoint has lost it since (once a second). */
void unbind_retry(struct host *host);

/* --- volumes.c ----------------------------------------------------------- */

/* A volume of its pool that has the vdev's name and is nobody's, or NULL. */
const json_t *volumes_of_name(const struct host *host,
			      const struct reg_vdev *vdev);
/* The vdev stands on that volume from now on. */
void volumes_take(struct reg_vdev *vdev, const json_t *volume);
/* How long its volume was when its pool started; 0: there was none. */
uint64_t volumes_bytes(const struct reg_vdev *vdev);
/* Of each that no vdev has, nor will have: say so. */
void volumes_tell_unknown(const struct reg_pool *pool);

/* 'doomed', whose record is on disk, is wanted by nobody: deleted.  Takes it
 * over.  'call' (NULL: nobody waits) is answered when it is gone, or cannot go
 * now. */
void volumes_doom(struct host *host, struct reg_doomed *doomed,
		  struct host_call *call);
/* Somebody asks for the same again. */
void volumes_again(struct host *host, struct reg_doomed *doomed,
		   struct host_call *call);
/* Go on with whatever can be gone on with (once a second, and when a pool is
 * there again). */
void volumes_retry(struct host *host);
/* Nobody goes on: whoever still waits is told. */
void volumes_finish(struct host *host);

/* --- bind-vdev.c --------------------------------------------------------- */

void bind_vdev_add(struct reg_vdev *vdev);
/* It was found with another size than it is to have, which is written down by
 * now. */
void bind_vdev_resize(struct reg_vdev *vdev);
/* It cannot be served now; says why, once. */
void bind_vdev_failed(struct reg_vdev *vdev, const char *text);
/* One that failed so is to be tried again: returns whether it is one. */
bool bind_vdev_again(struct reg_vdev *vdev);
/* The way in of the vdev ('process' NULL), or its own of a process: open the
 * socket if it is not, and hand a copy over. */
void bind_way_in(struct reg_vdev *vdev, struct reg_process *process);
/* Those that could not be opened: try again (once a second). */
void bind_retry_listeners(struct host *host);

/* --- bind-nbd.c ---------------------------------------------------------- */

/* The way in by NBD: open the socket if it is not, and hand a copy over. */
void bind_nbd(struct reg_vdev *vdev);
/* Ask for op->vdev's to be closed. */
void bind_nbd_unlisten(const struct bind_op *op);
/* Close our own. */
void bind_nbd_close(struct reg_vdev *vdev);
/* An endpoint was found that has one, as in its list: returns whether it is
 * wanted so. */
bool bind_nbd_found(struct reg_vdev *vdev, const json_t *item);

/* --- bind-device.c ------------------------------------------------------- */

int bind_device_init(struct reg_device *device);
void bind_device_finish(struct reg_device *device);
void bind_device_reset(struct reg_device *device);
/* Open, lock, add, measure: whatever it lacks. */
void bind_device_start(struct reg_device *device);
/* Say what is wrong with it, once for each complaint. */
void bind_device_complain(struct reg_device *device, const char *text);
/* It can't be used now ('fault': in one word, or NULL); tried again, after a
 * wait that grows. */
void bind_device_failed(struct reg_device *device, const char *fault,
			const char *text);
/* How it is to behave, if that is invented; NULL: it is not. */
json_t *bind_device_model(const struct config_device *config);
/* nbd; else NULL. */
json_t *bind_device_export(const struct config_device *config);
/* Its endpoint wants a connection to its server.  NULL: nothing. */
void bind_device_connect(struct reg_device *device);
/* bind_hooks.device_measured */
void bind_device_measured(struct reg_device *device, int result,
			  const char *text);

/* --- bind-find.c --------------------------------------------------------- */

/* The other device of this host that has this UUID, or NULL. */
struct reg_device *bind_find_owner(const struct reg_device *device,
				   const char *uuid);
/* That UUID ("": none) is at its path.  Returns whether it may go on; else it
 * has failed, or waits for others to be known. */
bool bind_find(struct reg_device *device, const char *uuid);
/* It waited in vain. */
void bind_find_expired(struct reg_device *device);
/* More is known of one of the pool's devices (NULL: of no pool). */
void bind_find_settle(const struct reg_pool *pool);
/* May a device that an endpoint has from this path be this one?  Then it is. */
bool bind_find_is_at(const struct reg_device *device, const char *path);
void bind_find_take(struct reg_device *device, const char *path);

/* --- bind-pool.c --------------------------------------------------------- */

/* The endpoint has the device: on with it, as far as it can go. */
void bind_pool_join(struct reg_device *device);
/* One of its devices has come, or will not come soon: start it. */
void bind_pool_settle(struct reg_pool *pool);
/* It was found started: ask what it holds. */
void bind_pool_load(struct reg_pool *pool);
/* An endpoint was found that has it as a member, and said so of it. */
void bind_pool_found(struct reg_device *device, const json_t *found);
/* It is on disk that volumes are made on its devices. */
void bind_pool_held(struct reg_pool *pool);
void bind_pool_reset(struct reg_pool *pool);

/* --- evacuate.c ---------------------------------------------------------- */

/* It was found to be leaving, and its pool can be used: it goes on. */
void evacuate_resume(struct reg_device *device);
/* The endpoint's event 'evacuated'. */
void evacuate_ended(struct reg_device *device, const json_t *event);
/* What failed is tried again; how far it is (once a second). */
void evacuate_tick(struct host *host, uint64_t now_ns);
/* What is still on it. */
uint64_t evacuate_left(const struct reg_device *device);
/* How much has moved since it was asked to; 100 before that. */
unsigned int evacuate_percent(const struct reg_device *device);

/* --- remove.c ------------------------------------------------------------ */

/* HOST_DONE: nothing but what is on it keeps it from going. */
enum host_result remove_may(const struct reg_device *device,
			    struct error *reterr);
/* It goes; 'done' is told of the end: HOST_DONE, or why not. */
void remove_begin(struct reg_device *device, struct host_call *call);

/* --- ports.c ------------------------------------------------------------- */

/* What a device of kind port is, and which device is a port to 'vdev'; or
 * NULL. */
struct reg_vdev *ports_vdev(const struct reg_device *device);
struct reg_device *ports_device(struct registry *registry,
				const struct reg_vdev *vdev);
/* Can a connection be made, and is it known what is promised?  Else why not. */
bool ports_is_reachable(const struct reg_device *device, struct error *reterr);
/* Something of 'vdev' is there now that a port may wait for. */
void ports_tell(struct reg_vdev *vdev);
/* What its vdev was promised is its capacity from now on, if that is known:
 * then true. */
bool ports_promise(struct reg_device *device);
/* Once a second: was something else promised? */
void ports_look(struct host *host);
/* Endpoints end when none needs them that has not ended. */
void ports_stop(struct host *host);

/* --- measure.c ----------------------------------------------------------- */

/* It is known which file or disk it is: forget a table of another. */
void bind_capacity_check(struct reg_device *device);
/* It is a port: this was promised to it. */
void bind_capacity_promised(struct reg_device *device,
			    const struct capacity *capacity);
/* It was never measured: shortly, before anything is promised of it. */
void bind_calibrate_first(struct reg_device *device);
/* The next device of the endpoint that waits to be measured. */
void bind_calibrate_next(struct reg_endpoint *endpoint);
/* An endpoint was found that measures it, or has a result nobody took, as an
 * earlier penstockd 'asked' it to: asked in these words again, the result is
 * ours. */
void bind_calibrate_found(struct reg_device *device, const json_t *asked);

/* --- adopt-pools.c ------------------------------------------------------- */

/* Keep those of the list that are as they should be. */
void adopt_pools(struct reg_endpoint *endpoint, const json_t *list);

/* --- adopt.c ------------------------------------------------------------- */

/* The device of this name, if it is in the list as it is wanted; else NULL. */
struct reg_device *adopt_wanted(struct reg_endpoint *endpoint,
				const json_t *list, const char *name);
/* endpoint_hooks.connected */
void adopt_connected(void *arg, bool adopted, const json_t *list);

/* --- verbs.c ------------------------------------------------------------- */

/* Release a process, as host_process_release; 'call' may be NULL. */
void verbs_release(struct host *host, struct reg_process *process,
		   struct host_call *call);

/* It goes: from now on it does not count (E6). */
void verbs_leave(struct reg_process *process);
/* That could not be written down: it stays, as it was. */
void verbs_stay(struct host *host, struct reg_process *process);

/* --- choose.c ------------------------------------------------------------ */

/* The vdev that the policy in 'request->vdev' finds.  NULL: there is none, and
 * 'call' is answered. */
struct reg_vdev *choose_vdev(struct host *host,
			     const struct host_process_request *request,
			     const struct wanted *wanted,
			     struct host_call *call);
/* The file's processes that name a policy (once a second). */
void choose_configured(struct host *host);

/* --- verbs-update.c ------------------------------------------------------ */

/* host_process_update; 'derived' (NULL: nothing) of the new SLA is derived. */
void verbs_update(struct host *host, const struct host_process_request *request,
		  const struct reg_derived *derived, struct host_call *call);

/* --- propose.c ----------------------------------------------------------- */

/* A minute is over: derive again what is kept up. */
void propose_again(struct host *host, int64_t now_s);

/* --- slas.c -------------------------------------------------------------- */

/* Follow the configuration's 'slas', if there are any.  Returns 0 or -errno. */
int slas_start(struct host *host);
void slas_finish(struct host *host);

/* --- transfer.c ---------------------------------------------------------- */

/* Take away what one that died left behind. */
void transfer_start(struct host *host);
void transfer_finish(struct host *host);
/* Is it being imported or exported? */
bool transfer_is_on(const struct host *host, const struct reg_vdev *vdev);
/* The endpoint's event 'session' of such a way in. */
void transfer_session(struct host *host, const json_t *event);
/* Those of an endpoint that is lost. */
void transfer_lost(const struct reg_endpoint *endpoint);
/* Those that nobody came to (once a second). */
void transfer_tick(struct host *host, uint64_t now_ns);

/* --- verbs-vdev.c -------------------------------------------------------- */

/* bind_hooks.vdev_made */
void verbs_vdev_made(struct reg_vdev *vdev);

/* --- verbs-resize.c ------------------------------------------------------ */

/* Vdevs come, go and change: equal shares follow (once a second). */
void verbs_turn_over(struct host *host, uint64_t now_ns);

/* --- verbs-delete.c ------------------------------------------------------ */

/* Delete a vdev that nobody uses, has processes on or changes. */
void verbs_delete(struct host *host, struct reg_vdev *vdev,
		  struct host_call *call);

/* --- watch.c ------------------------------------------------------------- */

int watch_start(struct host *host);
void watch_finish(struct host *host);
/* How full a pool is, in percent as its endpoint counts levels: said, if it was
 * not yet (E3). */
void watch_level(struct reg_pool *pool, unsigned int level);
/* The endpoint's event 'session', or a way in of its list. */
void watch_session(struct host *host, const json_t *event,
		   struct reg_endpoint *endpoint);

#endif
