/* SPDX-License-Identifier: Apache-2.0 */
/*
 * describe.h - what describe.c, describe-part.c and describe-process.c share
 *
 * Threads: the control thread's.
 */
#ifndef HOST_DESCRIBE_H
#define HOST_DESCRIBE_H

#include <jansson.h>
#include <stdint.h>

#include "ctl/stats.h"
#include "host/registry.h"
#include "host/watch.h"

/* A field, unless 'value' (taken over) is NULL, or the text is empty. */
void describe_set(json_t *object, const char *key, json_t *value);
void describe_set_u64(json_t *object, const char *key, uint64_t value);
void describe_set_text(json_t *object, const char *key, const char *value);

json_t *describe_delivered(const struct watch_delivered *delivered);
json_t *describe_limit(const struct sched_limits *limits);
json_t *describe_process(const struct reg_process *process);
/* What no volume holds or is promised of it. */
uint64_t describe_pool_free(const struct reg_pool *pool);
/* What its volume has been given, bytes. */
uint64_t describe_vdev_used(const struct reg_vdev *vdev);
/* A part, out of its pool's description, which is taken over. */
json_t *describe_part(const struct registry *registry,
		      const struct reg_part *part, json_t *pool);
/* propose.c: which of its specifications are derived, if any. */
void describe_derived(json_t *object, const struct reg_process *process);
/* The statistics at this slot of a vdev's endpoint; NULL: it has none. */
const struct stats_process *describe_stats(const struct reg_vdev *vdev,
					   int slot);

#endif
