/* SPDX-License-Identifier: Apache-2.0 */
/*
 * space-rig.h - whose space is it, and what is in it?  For the host rig
 *
 * Pool p1 is the file "d0" of 8 MiB, all of it 'x'; vdev "new" has the first
 * half.
 */
#ifndef SPACE_RIG_H
#define SPACE_RIG_H

#include <stdbool.h>

#include "host-rig.h"

#define MIB	(1 << 20)
#define SPACE_CONFIG_AT(path) \
	"host: a\n" \
	"state: @/state\n" \
	"endpoints:\n" \
	"  - name: ep0\n" \
	"    devices:\n" \
	"      - {name: d0, kind: file, path: " path ", size: 8MiB}\n" \
	"pools:\n" \
	"  - {name: p1, devices: [ep0/d0]}\n"
#define SPACE_CONFIG	SPACE_CONFIG_AT("@/d0")

/* "d0", made if there is none: from one MiB up to another, all of it 'byte'. */
void space_fill(int first_mib, int end_mib, char byte);
bool space_holds(int first_mib, int end_mib, char byte);
/* The half that "new" had is empty, the other is as it was. */
void space_assert_emptied(void);

void space_make_new(struct rig *rig);
/* A host that has it. */
void space_start(struct rig *rig);
/* It is deleted, but "d0" is another file than it was: nothing is emptied. */
void space_delete_in_vain(struct rig *rig);

/* Of p1. */
void space_assert_free(struct rig *rig, int mib);
void space_wait_free(struct rig *rig, int mib);

#endif
