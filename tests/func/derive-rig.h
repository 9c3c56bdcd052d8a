/* SPDX-License-Identifier: Apache-2.0 */
/*
 * derive-rig.h - processes that use something, in invented seconds
 *
 * What an endpoint would count is written to its statistics.
 */
#ifndef DERIVE_RIG_H
#define DERIVE_RIG_H

#include <stdint.h>

#include "host-rig.h"

/* The host's own seconds end, those of the test begin: with a new minute.
 * Again after each rig_start. */
void derive_begin(struct rig *rig);
/* A second in which the process made so many reads of 'bytes' together. */
void derive_use(struct rig *rig, uint32_t pasid, uint64_t reads,
		uint64_t bytes);
/* Seconds without any, until the next minute begins, and what is kept up
 * was derived again. */
void derive_rest(struct rig *rig);

#endif
