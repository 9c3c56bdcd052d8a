/* SPDX-License-Identifier: Apache-2.0 */
/*
 * calibrate.h - measure what a device sustains: rate against latency (E8)
 *
 * Asynchronous, on the device's loop, beside whatever else uses the device:
 * 4 KiB random requests at rising depths, then 128 KiB sequential ones.
 * Writes go only into the free region that the caller names, and reads only to
 * where something was written: what is read from a hole no device fetches.
 *
 * A direction that can't be measured so is derived from the other: a tenth of
 * its rate, so ten times its latencies at the same depth, and marked.  Flash
 * made for reading writes a tenth of what it reads for as long as one likes,
 * RAID 6 a sixth, other devices more.
 *
 * It is the device that is measured, from submit to completion: neither the
 * ring nor the scheduler before it, nor the time for which the machine was
 * away (measure.h), which phases are prolonged for.
 */
#ifndef BLOCK_CALIBRATE_H
#define BLOCK_CALIBRATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "block/block.h"
#include "block/ranges.h"
#include "os/loop.h"
#include "sla/capacity.h"

#define CALIBRATION_SHORT_NS	UINT64_C(600000000)
/* What absences or a slow device may add to the duration: two thirds. */
#define CALIBRATION_MOST_NS(duration_ns) ((duration_ns) / 3 * 5)

struct calibration;

struct calibration_config {
	struct block_device *device;
	struct loop *loop;
	/* All points together; up to CALIBRATION_SHORT_NS: fewer points, and
	 * the result is marked short.  0: 10 s.  It may take up to
	 * CALIBRATION_MOST_NS, so a short one takes at most a second. */
	uint64_t duration_ns;
	/* Keep the thread awake all the time: for one that, once asleep, has to
	 * wait until others are pleased to let it run (not real-time). */
	bool keep_awake;
	/* Space that nobody's data is in, from a multiple of 4096; size 0:
	 * writes are not measured.  It is written to and discarded at the
	 * end. */
	uint64_t free_offset_bytes, free_size_bytes;
	/* Where there is data; copied.  NULL: everywhere. */
	const struct range *data;
	unsigned int data_count;
	/* Called once, with 0 and the table, or with -errno (the device failed)
	 * and NULL; it may destroy the calibration. */
	void (*done)(void *arg, int result, const struct capacity *capacity);
	void *arg;
};

/* Returns 0, -EINVAL (device too small, region outside), -ENODATA (nothing may
 * be written, and too little is there to be read) or -ENOMEM.  'done' is not
 * called before it returns. */
int calibration_start(const struct calibration_config *config,
		      struct calibration **ret_calibration,
		      struct error *reterr);
/* 'done' will come with -ECANCELED, unless it was to come with an error, once
 * nothing is in flight. */
void calibration_abort(struct calibration *calibration);
/* After 'done'; NULL is allowed. */
void calibration_destroy(struct calibration *calibration);

#endif
