/* SPDX-License-Identifier: Apache-2.0 */
/*
 * calibrate.h - measure what a device sustains: rate against latency (E8)
 *
 * Asynchronous, on the device's loop, beside whatever else uses the device:
 * 4 KiB random requests at rising depths, then 128 KiB sequential ones.
 * Reads go anywhere; writes only into the free region that the caller names.
 */
#ifndef BLOCK_CALIBRATE_H
#define BLOCK_CALIBRATE_H

#include <stdint.h>

#include "base/error.h"
#include "block/block.h"
#include "os/loop.h"
#include "sla/capacity.h"

#define CALIBRATION_SHORT_NS	UINT64_C(1000000000)

struct calibration;

struct calibration_config {
	struct block_device *device;
	struct loop *loop;
	/* All points together; up to CALIBRATION_SHORT_NS: fewer points, and
	 * the result is marked short.  0: 10 s. */
	uint64_t duration_ns;
	/* Space that nobody's data is in, from a multiple of 4096; size 0:
	 * writes are not measured.  It is written to and discarded at the
	 * end. */
	uint64_t free_offset_bytes, free_size_bytes;
	/* Called once, with 0 and the table, or with -errno (the device failed)
	 * and NULL; it may destroy the calibration. */
	void (*done)(void *arg, int result, const struct capacity *capacity);
	void *arg;
};

/* Returns 0, -EINVAL (device too small, region outside) or -ENOMEM.  'done' is
 * not called before it returns. */
int calibration_start(const struct calibration_config *config,
		      struct calibration **ret_calibration,
		      struct error *reterr);
/* 'done' will come with -ECANCELED, unless it was to come with an error, once
 * nothing is in flight. */
void calibration_abort(struct calibration *calibration);
/* After 'done'; NULL is allowed. */
void calibration_destroy(struct calibration *calibration);

#endif
