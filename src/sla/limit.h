/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limit.h - limits from text, and what the scheduler gets of a process
 *
 * Text: "[read|write] iops|bandwidth [<=] VALUE", comma-separated, and
 * "burst TIME"; the same words are the YAML keys ("read iops: 2k").  Between
 * word and value there may be "<=", ":" or "=".
 * Pure.
 */
#ifndef SLA_LIMIT_H
#define SLA_LIMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "sched/sched.h"
#include "sla/sla.h"

#define LIMIT_BURST_MAX_NS	UINT64_C(10000000000)	/* 10 s */
#define LIMIT_TEXT_MAX		256U

/* The limits of 'text' and no others into '*limits'; its burst stays unless
 * the text names one.  Zero, repeated and unknown ones are refused: -EINVAL,
 * with '*limits' as it was.  Empty text: no limits.  Returns 0 otherwise. */
int sla_parse_limit(const char *text, struct sched_limits *limits,
		    struct error *reterr);
/* One limit, or the burst, as configured: key "read iops", text "2k". */
int sla_parse_limit_entry(const char *key, const char *text,
			  struct sched_limits *limits, struct error *reterr);
/* The same words back, with the burst if there is a limit.  Writes at most
 * 'size' bytes with a NUL (LIMIT_TEXT_MAX is always enough); returns
 * 'buffer'. */
char *sla_format_limit(const struct sched_limits *limits, char *buffer,
		       size_t size);

/* Rates become reservations, the strictest latency of each direction its
 * deadline; 'limits' may be NULL.  'is_reserved' false: best effort that did
 * not fit, so weight and limits only.  Returns 0, or -EINVAL: a limit is below
 * what is promised. */
int sla_to_sched(const struct sla *sla, const struct sched_limits *limits,
		 uint32_t weight, bool is_reserved,
		 struct sched_params *ret_params, struct error *reterr);

#endif
