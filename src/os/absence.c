/* SPDX-License-Identifier: Apache-2.0 */
/* absence.c - see absence.h */
#include "os/absence.h"

/* A round that takes this many typical ones is not one. */
#define ROUNDS_FAR	4U
/* The typical round moves by one part in eight towards each that is seen, so
 * that half of them are longer. */
#define TYPICAL_SHIFT	3
#define TYPICAL_STEP_NS	UINT64_C(100)

bool absence_look(struct absence *absence, uint64_t now_ns)
{
	const uint64_t from_ns = absence->looked_ns > absence->due_ns ?
		absence->looked_ns :
		absence->due_ns;
	const uint64_t gap_ns = now_ns > from_ns ? now_ns - from_ns : 0;
	const bool away = absence->looked_ns != 0 &&
		gap_ns > ABSENCE_LEAST_NS + ROUNDS_FAR * absence->typical_ns;

	absence->looked_ns = now_ns;
	absence->due_ns = 0;
	if (away) {
		absence->away_ns += gap_ns;
		absence->back_ns = now_ns;
	}
	return away;
}

static void end_round(struct absence *absence, uint64_t now_ns)
{
	if (absence->began_ns == 0)
		return;
	if (now_ns - absence->began_ns > absence->typical_ns)
		absence->typical_ns += (absence->typical_ns >> TYPICAL_SHIFT) +
			TYPICAL_STEP_NS;
	else if (absence->typical_ns > 0)
		absence->typical_ns -=
			(absence->typical_ns >> TYPICAL_SHIFT) + 1;
}

bool absence_learn(struct absence *absence, uint64_t now_ns)
{
	const bool away = absence_look(absence, now_ns);

	end_round(absence, now_ns);
	absence->began_ns = now_ns;
	return away;
}

void absence_sleep(struct absence *absence, uint64_t now_ns, uint64_t due_ns)
{
	(void)absence_look(absence, now_ns);
	end_round(absence, now_ns);
	absence->began_ns = 0;
	absence->due_ns = due_ns;
}
