/* SPDX-License-Identifier: Apache-2.0 */
/*
 * asking.h - promises asked for in words, for tests of the room sla
 *
 * The device is "d0" of endpoint "ep0" in all reasons.
 */
#ifndef ASKING_H
#define ASKING_H

#include "sla/admission.h"

#define GIB	(UINT64_C(1) << 30)	/* of the vdev that asks */

/* Fails if 'text' is none. */
struct sla asking_sla(const char *text);
struct admitted *asking_admit(struct admission *admission, const char *text);
/* It is refused for the reason 'expected', and so is the same asked as "what
 * if". */
void asking_refused(struct admission *admission, const char *text,
		    const char *expected);

#endif
