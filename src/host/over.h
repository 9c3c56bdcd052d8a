/* SPDX-License-Identifier: Apache-2.0 */
/*
 * over.h - a device, or the core of an endpoint, that is promised more than it
 * does
 *
 * A new table, or a capacity that falls, does not undo what was promised (E8);
 * somebody has to be told that it can't all be kept.
 *
 * Threads: the control thread's.
 */
#ifndef HOST_OVER_H
#define HOST_OVER_H

#include <stdbool.h>

struct reg_device;
struct reg_endpoint;

/* Of each device and each core; zeroed at first. */
struct over_state {
	bool is_over;		/* as was told last */
	unsigned int seconds;	/* since when it has been otherwise */
};

/* Measured anew: tell at once of the device and of the core that it shares,
 * whichever way it is now. */
void over_measured(struct reg_device *device);
/* Once a second: tell when it has been otherwise for some time. */
void over_look(struct reg_device *device);
void over_look_core(struct reg_endpoint *endpoint);

#endif
