/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limit.h - limits from text, and what the scheduler gets of a process
 *
 * Text: "[read|write] iops|bandwidth [<=] VALUE", comma-separated, or "none".
 * Pure.
 */
#ifndef SLA_LIMIT_H
#define SLA_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "sched/sched.h"
#include "sla/sla.h"

#define LIMIT_BURST_MAX_NS	UINT64_C(10000000000)	/* 10 s */

/* The limits of 'text' and no others into '*limits'; its burst stays.  Zero,
 * repeated and unknown ones are refused, and an empty text is: -EINVAL, with
 * '*limits' as it was.  Returns 0 otherwise. */
int sla_parse_limit(const char *text, struct sched_limits *limits,
		    struct error *reterr);

/* Rates become reservations, the strictest latency of each direction its
 * deadline; 'limits' may be NULL.  'is_reserved' false: best effort that did
 * not fit, so weight and limits only.  Returns 0, or -EINVAL: a limit is below
 * what is promised. */
int sla_to_sched(const struct sla *sla, const struct sched_limits *limits,
		 uint32_t weight, bool is_reserved,
		 struct sched_params *ret_params, struct error *reterr);

#endif
