/* SPDX-License-Identifier: Apache-2.0 */
/* pulse.c - is whoever beats still alive?  See pulse.h */
#include "host/pulse.h"

bool pulse_is_lost(struct pulse *pulse, uint64_t beat, uint64_t now_ns)
{
	uint64_t passed_ns = now_ns - pulse->looked_ns;

	if (pulse->looked_ns == 0 || beat != pulse->beat)
		pulse->still_ns = 0;
	else
		pulse->still_ns += passed_ns < PULSE_LOOK_MAX_NS ?
			passed_ns :
			PULSE_LOOK_MAX_NS;
	pulse->beat = beat;
	pulse->looked_ns = now_ns;
	if (pulse->still_ns < PULSE_PATIENCE_NS)
		return false;
	pulse->still_ns = 0;
	return true;
}
