/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pulse.h - is whoever beats still alive?
 *
 * An endpoint's reactor writes the time into its statistics ten times a
 * second.  If that stands still while we ourselves ran, it hangs: its process
 * is stopped, or its thread never comes back.
 *
 * Only time counts in which we were looking: between two looks at most
 * PULSE_LOOK_MAX_NS, so that a machine which sleeps, or takes all CPUs away
 * for a while, is not mistaken for an endpoint that hangs.  Looked at once a
 * second, one that hangs is noticed after PULSE_PATIENCE_NS and a second.
 * Pure.
 */
#ifndef HOST_PULSE_H
#define HOST_PULSE_H

#include <stdbool.h>
#include <stdint.h>

#define PULSE_PATIENCE_NS	UINT64_C(10000000000)
#define PULSE_LOOK_MAX_NS	UINT64_C(2000000000)

struct pulse {			/* zeroed: never looked at */
	uint64_t beat;		/* as last seen; what it says does not matter */
	uint64_t looked_ns;
	uint64_t still_ns;	/* for so long it was the same */
};

/* Look at it: has it been still for too long?  Then it begins anew. */
bool pulse_is_lost(struct pulse *pulse, uint64_t beat, uint64_t now_ns);

#endif
