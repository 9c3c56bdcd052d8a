/* SPDX-License-Identifier: Apache-2.0 */
/*
 * promise.h - what is promised together (E5, E6), and what may still be (E8)
 *
 * A promise belongs to a vdev, a device or an endpoint; a process is a member
 * of that of its vdev, of its endpoint, and of each device of the vdev's pool:
 * its data may come to lie on any of them.  A device's has the measured
 * capacity and says whether one more fits.
 * Threads: the control thread's.
 */
#ifndef HOST_PROMISE_H
#define HOST_PROMISE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "host/config.h"
#include "sched/sched.h"
#include "sla/admission.h"
#include "sla/capacity.h"
#include "sla/combine.h"
#include "sla/core.h"
#include "sla/sla.h"

struct reg_device;
struct reg_process;
struct registry;

struct promise {
	struct combine *combine;
	struct admission *admission;	/* a device's; else NULL */
	struct core *core;		/* an endpoint's; else NULL */
};

struct promise_member {
	bool is_counted;	/* in the promises of vdev, devices, endpoint */
	struct sla sla;		/* as counted */
	/* Those of the pool's where it is admitted, a bit each; as counted. */
	uint32_t devices;
	struct admitted *admitted[CONFIG_POOL_DEVICES_MAX];
};

/* Why a process was refused: is_refused false: it was not. */
struct promise_refusal {
	bool is_refused;
	char metric[64];	/* as in JSON: "iops", "read_latency_p95_ns" */
	const char *device;	/* which it is; NULL: none */
	uint64_t requested, available, shortfall;
	struct error text;
};

/* A vdev's.  Returns 0 or -ENOMEM. */
int promise_init(struct promise *promise);
/* An endpoint's: its core's time is counted, too. */
int promise_init_endpoint(struct promise *promise);
/* A device's: it admits, and keeps 'headroom_milli' of the capacity free.  Its
 * requests take 'path_ns' of the time of 'endpoint', see admission_set_core.
 * Returns 0, -EINVAL or -ENOMEM. */
int promise_init_device(struct promise *promise, struct promise *endpoint,
			uint32_t headroom_milli, uint64_t path_ns);
void promise_finish(struct promise *promise);
/* The device's: measured (anew).  Members stay, even if there are now too
 * many.  Returns 0, or -EINVAL for a table that makes no sense. */
int promise_set_capacity(struct promise *promise,
			 const struct capacity *capacity, struct error *reterr);
/* It is of another device than this one is now: nothing more is promised. */
void promise_forget_capacity(struct promise *promise);
/* The device's, as corrected while it runs: thousandths of the measured. */
void promise_set_correction(struct promise *promise, uint32_t milli);

/* Count 'sla' (which the process is to have) in the promises of its vdev,
 * devices and endpoint, instead of what was counted before.  Returns 0;
 * -ENOSPC: refused, with '*ret_refusal' filled and nothing changed; or
 * -ENOMEM. */
int promise_admit(struct reg_process *process, const struct sla *sla,
		  struct promise_refusal *ret_refusal);
/* Count it no more. */
void promise_leave(struct reg_process *process);
/* Names of other devices where 'sla' could be met: a new array. */
json_t *promise_where(const struct registry *registry,
		      const struct reg_process *process, const struct sla *sla);

/* The scheduler's parameters of a process, as promised or not. */
void promise_params(const struct reg_process *process,
		    struct sched_params *ret_params);

/* {"iops", "read_latency_p95_ns", ...}; and the same as text. */
json_t *promise_sla_json(const struct sla *sla);
json_t *promise_json(const struct promise *promise);
json_t *promise_text_json(const struct promise *promise);
json_t *promise_refusal_json(const struct promise_refusal *refusal);
/* {"promised_share", "allowed_share", "is_over"} of a device's time, or of the
 * time of an endpoint's core with what is kept free of it; or NULL. */
json_t *promise_share_json(const struct promise *promise);

/* --- promise-place.c: parts of the above --------------------------------- */

/* At the devices where it has to be promised, and those where it can be, or
 * nowhere new.  Returns 0; -ENOSPC, -EOVERFLOW or -ENOMEM with the device that
 * refused it. */
int promise_place(struct reg_process *process, const struct sla *sla,
		  uint32_t *ret_devices, struct reg_device **reterr_at,
		  struct admission_refusal *reterr_why);
/* As its member says: what is not counted is nowhere. */
void promise_place_back(struct reg_process *process);
/* Device 'at' of its pool is about to go: those after it are one place before.
 * Then promise_place_back. */
void promise_drop(struct reg_process *process, unsigned int at);

#endif
