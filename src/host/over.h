/* SPDX-License-Identifier: Apache-2.0 */
/*
 * over.h - a device that is promised more than it does
 *
 * A new table, or a capacity that falls, does not undo what was promised (E8);
 * somebody has to be told that it can't all be kept.
 *
 * Threads: the control thread's.
 */
#ifndef HOST_OVER_H
#define HOST_OVER_H

struct reg_device;

/* Measured anew: tell at once, whichever way it is now. */
void over_measured(struct reg_device *device);
/* Once a second: tell when it has been otherwise for some time. */
void over_look(struct reg_device *device);

#endif
