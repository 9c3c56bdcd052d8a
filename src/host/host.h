/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host.h - penstockd's control side, as the REST server sees it
 *
 * A host is made from a configuration and a loop.  It starts or adopts the
 * endpoints, binds vdevs and processes to them, admits and refuses, and
 * remembers.  Questions are answered at once, as JSON; verbs complete through
 * a callback, because an endpoint or the store has to be asked.
 *
 * JSON: base units in the names (_bytes, _bytes_per_s, _ns), "iops" and
 * "ops" per second; a metric that nobody named is absent.  Every function
 * that returns json_t gives a new reference, or NULL when there is no such
 * thing (or no memory).
 *
 * Threads: everything here belongs to the control thread (the loop's).
 */
#ifndef HOST_HOST_H
#define HOST_HOST_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct config;
struct host;
struct loop;

/* --- Life ---------------------------------------------------------------- */

struct host_hooks {
	/* Every endpoint serves what it can: READY=1.  May be NULL. */
	void (*ready)(void *arg);
	/* host_stop is done: the loop may end.  Required with host_stop. */
	void (*stopped)(void *arg);
	/* Something is changed that nobody asked for over the API; 'by' is
	 * where it stands, or why.  May be NULL. */
	void (*changed)(void *arg, const char *by, const char *text);
	void *arg;
};

struct host_program {			/* penstock-endpoint */
	const char *path;
	uint32_t uid, gid;		/* whose it becomes; uid 0: ours */
};

/* 'config' and the path of 'program' stay the caller's and must outlive the
 * host.  Opens and locks the state directory.
 * Returns 0 or -errno with a reason. */
int host_create(struct loop *loop, const struct config *config,
		const struct host_program *program,
		const struct host_hooks *hooks, struct host **ret_host,
		struct error *reterr);
/* Endpoints that were not stopped go on serving: the next host adopts them. */
void host_destroy(struct host *host);
/* Start or adopt the endpoints. */
int host_start(struct host *host, struct error *reterr);
/* Drain and end every endpoint; 'stopped' is called when they are gone. */
void host_stop(struct host *host);

const struct config *host_config(const struct host *host);

/* --- Questions ----------------------------------------------------------- */

/* {"host", "pid", "uptime_s", "enforce",
 *  "endpoints": [{"name", "state": "starting|running|restarting|stopping|
 *     failed", "pid", "cpu", "adopted", "restarts", "busy_share" (of the last
 *     10 s), "wakes": {"within_50us", "within_200us", "within_1ms",
 *     "count", "late_ns"} (sleeps that ended so late or less, all, and their
 *     lateness together),
 *     "away_ns" (it should have run, and did not), "error"}],
 *  "devices": as host_devices, "pools": as host_pools, "vdevs": as host_vdevs without processes,
 *  "processes": {"bound", "pending", "refused", "kept", "broken", "unknown"},
 *  "not_served": [{"where": "FILE:LINE", "what"}]} */
json_t *host_status(struct host *host);

/* [{"name" (unique, "ep0/d0"), "endpoint", "device", "kind", "path",
 *   "size_bytes", "allocated_bytes", "read_only",
 *   "state": "waiting|calibrating|ready|leaving|stalled|failed|
 *   stopped", "error",
 *   "fault" (of a failed one, in a word: "blank|foreign|newer|another|shrunk|
 *   damaged|clone|missing|late"), "pool", "uuid", "generation",
 *   "calibration": "none|short|full", "calibrated_at" (seconds, UTC),
 *   "capacity": as in docs/control.md,
 *   "capacity_milli" (as corrected while running), "shortage_milli",
 *   "in_flight", "window", "queued", "errors", "retries", "stalled_ns",
 *   "left_bytes" (of one that is "leaving": what is still on it),
 *   "emptying_bytes", "bad_bytes", "log_errors",
 *   "combined", "combined_text"}] */
json_t *host_devices(struct host *host);
json_t *host_device(struct host *host, const char *name);	/* "ep0/d0", or "d0" if unique */

/* [{"name", "from" (a part of that pool: its devices, state and combined
 *   promises are the pool's), "endpoint", "devices": ["ep0/d0"], "members": [{"name", "state",
 *   "size_bytes", "allocated_bytes", "fault", "error"}], "state": "waiting|ready|degraded|failed", "error",
 *   "provisioning": "thin|thick", "size_bytes", "allocated_bytes",
 *   "reserved_bytes" (of thick vdevs, not used yet), "free_bytes",
 *   "promised_bytes" (sizes of all vdevs), "level_percent" (0, 80, 90, 95 or
 *   100 of it are used or reserved), "combined", "combined_text",
 *   "vdevs": [NAME], "missing_devices" (how many)}] */
json_t *host_pools(struct host *host);
json_t *host_pool(struct host *host, const char *name);

/* [{"name", "endpoint", "pool", "device" (if its pool has only one),
 *   "state": "pending|serving|stopped|no-space|failed", "error",
 *   "on_error": "report|stop|retry", "errors", "retries", "no_space",
 *   "stopped_by", "size_bytes", "allocated_bytes", "uuid", "provisioning",
 *   "queues",
 *   "vhost_user", "snapshot_of" (that vdev's name then), "snapshot_of_uuid"
 *   (its volume; both absent: it is none), "read_only", "limit", "origin": "file|runtime",
 *   "combined": {"iops", "read_iops", "bandwidth_bytes_per_s", "latency_ns"
 *     (p99), "latency_p95_ns", "latency_p99_9_ns", "latency_max_ns",
 *     "read_latency_ns", ...}, "combined_text",
 *   "owner": {"endpoint", "generation", "phase"},
 *   "sessions", "attached", "delivered" (all its requests, the unpromised
 *   included), "processes": as host_processes}] */
json_t *host_vdevs(struct host *host);
json_t *host_vdev(struct host *host, const char *name);

/* [{"pasid", "name", "vdev", "state": "bound|pending|refused", "reason",
 *   "error" (its socket is not there), "refusal" (as host_reply.value), "sla" (keys as in "combined"),
 *   "sla_text", "derived" (texts; absent: none), "kept_up": {"window_s",
 *   "percentile", "headroom", "split"} (absent: it is not),
 *   "limit": {"iops", ..., "burst_ns"}, "weight", "ioprio"
 *   ("be/4"), "match" ("uid=1000"), "vhost_user", "session", "best_effort", "sessions",
 *   "origin": "file|runtime",
 *   "delivered": {"iops", "read_iops", "write_iops",
 *     "bandwidth_bytes_per_s", "read_bandwidth_bytes_per_s",
 *     "write_bandwidth_bytes_per_s", "latency_p50_ns", "latency_p99_ns"
 *     (null: no request in the window), "window_s"},
 *   "kept": true|false|null, "window_s", "windows", "windows_broken",
 *   "specs": [{"text", "kept", "conforming", "late"}],
 *   "counters": {"read": {"requests", "bytes", "errors"}, "write", "other",
 *     "throttled"}, "queued", "in_flight"}] */
json_t *host_processes(struct host *host);
json_t *host_process(struct host *host, uint32_t pasid);
/* As host_process, with "latency": {"read": {"count", "p50_ns", "p90_ns",
 * "p95_ns", "p99_ns", "p99_9_ns", "max_ns"}, "write"} of the last 10 s and
 * "latency_total", the same since it was added. */
json_t *host_process_stats(struct host *host, uint32_t pasid);

/* --- Verbs --------------------------------------------------------------- */

/* Those up to HOST_REFUSED are penstock's exit statuses; it exits with 1 for
 * the ways to fail after it. */
enum host_result {
	HOST_DONE = 0,
	HOST_FAILED = 1,
	HOST_USAGE = 2,		/* what was asked makes no sense */
	HOST_REFUSED = 3,	/* by admission */
	HOST_NOT_FOUND,		/* what it was asked about is not there */
	HOST_CONFLICT, /* not in the state that it is in: exists,
				 * in use, being changed, not ready */
};

struct host_reply {
	enum host_result result;
	const char *text;	/* one line; "" when done */
	/* Done: the thing as its question shows it (NULL: it is gone).
	 * Refused: {"metric", "requested", "available", "shortfall",
	 * "device", "where": [names of devices that could], and if the vdev was
	 * to be chosen "candidates": [{"vdev", "reason"}]}.  Else NULL.
	 * Borrowed: valid during the callback. */
	json_t *value;
};

/* Embedded in the caller's request; untouched between the verb and 'done',
 * which is called exactly once, perhaps before the verb returns. */
struct host_call {
	void (*done)(struct host_call *call, const struct host_reply *reply);
	struct host_call *next;	/* the host's */
};

/* A process to add, or what to change of one: on update NULL and false mean
 * "as it was".  Texts are copied. */
struct host_process_request {
	uint32_t pasid;			/* 1 .. 2^20 - 1 */
	const char *name;
	const char *vdev;		/* add only; required; or "auto[:POLICY]" */
	const char *sla;		/* "iops >= 500, ..."; "none": no promise */
	const char *limit;		/* "iops 2000, write bandwidth 10 MB/s"; "none" */
	const char *burst;		/* "100 ms" */
	const char *match;		/* "be/4", "uid=1000"; "none" */
	const char *vhost_user;		/* add only: a socket of its own */
	uint32_t weight;		/* 0: as it was, or the default, 1 */
	bool session;			/* add only: ends with its front */
	bool best_effort;
	bool is_from_file;	/* add only: the configuration's own */
	const char *source;	/* the hash of what asks for it (slas.c) */
};
void host_process_add(struct host *host,
		      const struct host_process_request *request,
		      struct host_call *call);
void host_process_update(struct host *host,
			 const struct host_process_request *request,
			 struct host_call *call);
void host_process_release(struct host *host, uint32_t pasid,
			  struct host_call *call);

struct host_derive_request {
	uint32_t pasid;
	const char *window;		/* "1h"; NULL: an hour */
	const char *percentile;		/* "99.9"; NULL: 100, the top */
	const char *headroom;		/* "20%"; NULL: none */
	bool split;			/* reads and writes apart */
	bool accept;			/* make it the process's SLA */
	bool keep_up;			/* and derive it again each minute */
};
/* What history says that the process needs (E7).  Done: {"pasid", "name",
 * "vdev", "window_s", "percentile", "headroom" (a share), "observed":
 * {"seconds" (with requests), "requests", "iops", "read_iops", ... (tops),
 * "latency_p50_ns", "read_latency_p99_ns", ... (of the worst minute)},
 * "stated_text", "proposed" (keys as in "combined"), "proposed_text",
 * "sla_text" (both), "bounded" (texts: cut down to a limit)}; accepted: the
 * process, as host_process.  Nothing was seen: HOST_CONFLICT. */
void host_process_derive(struct host *host,
			 const struct host_derive_request *request,
			 struct host_call *call);
/* What was used, and whether promises were kept.  Done: {"since" (UTC),
 * "window_s", "processes": [{"pasid", "name", "vdev", "released" (UTC; absent:
 * it is there), "seconds", "requests", "iops", "bandwidth_bytes_per_s",
 * "latency_p99_ns", "kept_s", "broken_s", "kept_share" (null: nothing was
 * judged)}]}.  'since' "24h"; NULL: a day. */
void host_report(struct host *host, const char *since, struct host_call *call);

/* Would another process with this SLA be admitted on the vdev?  Done:
 * {"admitted": true, "vdev", "devices": [those of its pool where it would be
 * promised]}.  Nothing changes. */
void host_admission(struct host *host, const char *vdev, const char *sla,
		    struct host_call *call);

struct host_vdev_request {
	const char *name;
	const char *pool;		/* create; NULL: the only one */
	const char *size;		/* "4GiB" */
	const char *vhost_user;		/* create: path of its socket */
	const char *limit, *burst;	/* create */
	const char *on_error;		/* create; NULL: "report" */
	uint32_t queues;		/* create; 0: the default */
	bool read_only;			/* create */
};
void host_vdev_create(struct host *host,
		      const struct host_vdev_request *request,
		      struct host_call *call);
/* A read-only vdev with what 'of' holds now, of which it is independent from
 * then on.  Of the request: name, vhost_user, limit, burst, queues. */
void host_vdev_snapshot(struct host *host, const char *of,
			const struct host_vdev_request *request,
			struct host_call *call);
/* Shorter than it is: only 'force' takes data away with what is cut off. */
void host_vdev_resize(struct host *host, const char *name, const char *size,
		      bool force, struct host_call *call);
/* The limit of all its processes together, and what becomes of errors, while
 * it is used: texts as in host_process_request and host_vdev_request; NULL: as
 * it was. */
struct host_vdev_change {
	const char *limit, *burst, *on_error;
};
void host_vdev_change(struct host *host, const char *name,
		      const struct host_vdev_change *change,
		      struct host_call *call);
/* One that is stopped, or waits, goes on: what waits is done again. */
void host_vdev_resume(struct host *host, const char *name,
		      struct host_call *call);
/* Its data are gone.  Refused (HOST_FAILED) while it has processes added at
 * run time or an attached front. */
void host_vdev_delete(struct host *host, const char *name,
		      struct host_call *call);

struct host_transfer_request {
	const char *vdev;
	bool is_import;			/* else an export */
	bool force;			/* import although it is in use */
	uint32_t pasid;			/* in whose name; 0: nobody's */
	uint32_t uid;			/* who may connect */
};
/* A way in by NBD for one import or export of a vdev, until its connection
 * ends.  Done: {"vdev", "direction", "socket", "export", "size_bytes",
 * "read_only", "sessions" (others', that may change what is exported)}. */
void host_vdev_transfer(struct host *host,
			const struct host_transfer_request *request,
			struct host_call *call);
/* End it now.  'uid' (UINT32_MAX: whoever): who began it. */
void host_vdev_transfer_end(struct host *host, const char *name, uint32_t uid,
			    struct host_call *call);

/* Measure and from then on use the result.  'duration_ns' 0: the default; else
 * what the caller checked to be in this range. */
#define HOST_CALIBRATION_MIN_NS	UINT64_C(100000000)
#define HOST_CALIBRATION_MAX_NS	UINT64_C(600000000000)
void host_device_calibrate(struct host *host, const char *name,
			   uint64_t duration_ns, struct host_call *call);
/* All that is on it goes to the pool's other devices, no faster than that (0:
 * 100 MiB/s); done: it has begun.  Refused: they have no room, or what is
 * promised would not hold there. */
#define HOST_EVACUATE_MAX	(UINT64_C(100) << 30)
void host_device_evacuate(struct host *host, const char *name,
			  uint64_t bytes_per_s, struct host_call *call);
/* It stays after all. */
void host_device_stay(struct host *host, const char *name,
		      struct host_call *call);
/* The same to one device of the pool, 'by', and then it is removed; done: it
 * has begun.  host_device_stay cancels it. */
void host_device_replace(struct host *host, const char *name, const char *by,
			 uint64_t bytes_per_s, struct host_call *call);
/* One that holds nothing leaves its pool, and is not taken in again before the
 * file says something else of it.  Refused: what is promised would not hold, or
 * have no room, without it. */
void host_device_remove(struct host *host, const char *name,
			struct host_call *call);
/* Scheduling on all endpoints, on or off (off: for comparisons). */
void host_enforce(struct host *host, bool on, struct host_call *call);

/* --- Events -------------------------------------------------------------- */

/* {"seq", "time" (seconds, UTC, with a fraction), "kind", "text", and of
 *  "pasid", "vdev", "device", "endpoint" those that apply}.  Kinds:
 *  sla-broken sla-restored over-promised promises-fit
 *  refused admitted released updated
 *  endpoint-started endpoint-died endpoint-restarted endpoint-adopted
 *  endpoint-hung
 *  shortage device-error device-stalled device-recovered session
 *  device-ready device-failed calibrated device-changed device-claimed
 *  device-grown device-removed
 *  vdev-ready vdev-created vdev-resized vdev-deleted vdev-stopped
 *  vdev-waiting vdev-resumed transfer enforce space no-space unfit damage
 *  evacuating evacuated not-served error. */
struct host_listener {
	/* 'event' is borrowed. */
	void (*event)(struct host_listener *listener, json_t *event);
	struct host_listener *next;	/* the host's */
};
void host_listen(struct host *host, struct host_listener *listener);
void host_unlisten(struct host *host, struct host_listener *listener);
/* Array of those still remembered (the last 1,000) with seq > 'after'. */
json_t *host_events(struct host *host, uint64_t after);

#endif
