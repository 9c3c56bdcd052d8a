/* SPDX-License-Identifier: Apache-2.0 */
/*
 * admission.h - whether a device can hold one more SLA (E8)
 *
 * Each process takes a share of its device's time: its rates over what the
 * device was measured to sustain, reads and writes added up, requests or
 * bytes, whichever takes more; a total counts as the worse direction.  The
 * shares together must stay within what the strictest latency of all allows
 * (rate within that latency over rate without bound, from the calibration
 * table), times the usable part, times the capacity as corrected while the
 * device runs.  And the core that serves the device must have the time, too,
 * beside what all its other devices have promised (core.h).
 *
 * Exact: shares are integers, added and taken away as they are; a change costs
 * O(log n).  Nothing is undone by a refusal.
 * Pure.  Threads: the caller's.
 */
#ifndef SLA_ADMISSION_H
#define SLA_ADMISSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "sla/capacity.h"
#include "sla/core.h"
#include "sla/sla.h"

#define ADMISSION_USABLE_MILLI	900U	/* default head-room: 10 % is kept */

struct admission;	/* of one device */
struct admitted;	/* one process on it */

struct admission_request {
	const struct sla *sla;
	uint64_t vdev_size_bytes;	/* for "capacity >= ..." */
	bool is_best_effort;		/* admitted in any case */
	bool is_core_paid;	/* its core's time is counted elsewhere */
};

enum admission_reason {
	ADMISSION_RATE,		/* iops or bandwidth: not enough left */
	ADMISSION_CORE,		/* the same, of the core's time */
	ADMISSION_LATENCY,	/* not reachable at the load promised */
	ADMISSION_SPACE,	/* capacity: the vdev is smaller */
	ADMISSION_NOT_SERVED,	/* ops, jitter, loss: not by a storage device */
	ADMISSION_NOT_MEASURED,	/* the device was never calibrated */
};

struct admission_refusal {
	enum admission_reason reason;
	/* The specification that can't be kept, in base units; 'available' is
	 * what could be promised instead, and 'shortfall' the difference. */
	enum sla_metric metric;
	enum sla_direction direction;
	unsigned int percentile;
	uint64_t asked, available, shortfall;
};

/* 'usable_milli' (1..1000): thousandths of the measured capacity that may be
 * promised.  Returns 0, -EINVAL or -ENOMEM. */
int admission_create(unsigned int usable_milli,
		     struct admission **ret_admission);
/* With all that was admitted.  NULL is allowed. */
void admission_destroy(struct admission *admission);
/* Whose time its requests take, before anything is admitted: each 'path_ns',
 * or, if that is 0, as much as of the device, which is then nothing but the
 * core's work (memory). */
void admission_set_core(struct admission *admission, struct core *core,
			uint64_t path_ns);

/* The device was measured (anew): copied.  What is admitted stays, even if it
 * is now too much.  O(n).  Returns 0 or -EINVAL (capacity_check). */
int admission_set_capacity(struct admission *admission,
			   const struct capacity *capacity,
			   struct error *reterr);
/* It is another device now, not measured yet: nothing more is admitted. */
void admission_forget_capacity(struct admission *admission);
/* Capacity as it is, in thousandths of what was measured. */
void admission_set_correction(struct admission *admission, unsigned int milli);

/* Returns 0 with '*ret_admitted', which is released by admission_release;
 * -ENOSPC: refused, with '*reterr_refusal' filled (NULL: nobody asks);
 * -EOVERFLOW: too many different percentiles; -ENOMEM. */
int admission_admit(struct admission *admission,
		    const struct admission_request *request,
		    struct admitted **ret_admitted,
		    struct admission_refusal *reterr_refusal);
/* Replaces the SLA in one step (E13); refused: the old one stays.  Same
 * errors. */
int admission_update(struct admitted *admitted,
		     const struct admission_request *request,
		     struct admission_refusal *reterr_refusal);
/* E12.  NULL is allowed. */
void admission_release(struct admitted *admitted);
/* What admission_admit would return (but -ENOMEM), with nothing changed;
 * best effort is not considered. */
int admission_what_if(const struct admission *admission,
		      const struct admission_request *request,
		      struct admission_refusal *reterr_refusal);

/* False: best effort that did not fit; it reserves nothing. */
bool admission_is_reserved(const struct admitted *admitted);
const struct sla *admission_sla(const struct admitted *admitted);

struct admission_report {
	uint32_t reserved, best_effort;	/* processes, the latter not reserved */
	/* Millionths of the device's time at measured capacity. */
	uint32_t promised_ppm, allowed_ppm;
	bool is_over;			/* promised more than is there now */
};
void admission_report(const struct admission *admission,
		      struct admission_report *ret_report);

/* "iops: 12000 asked, 8000 left on device d0 (short by 4000)".  Writes at most
 * 'size' bytes with a NUL; returns 'buffer'.  'endpoint' is the one whose core
 * it is (ADMISSION_CORE). */
char *admission_explain(const struct admission_refusal *refusal,
			const char *device, const char *endpoint, char *buffer,
			size_t size);

#endif
