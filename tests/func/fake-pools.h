/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake-pools.h - pools and volumes of the fake endpoint
 *
 * What a device holds is kept in a file 'held-NAME-INODE' of the working
 * directory, that of a device without a file as long as the process lives; a
 * device without such a file is blank.
 */
#ifndef FAKE_POOLS_H
#define FAKE_POOLS_H

#include <jansson.h>
#include <stdbool.h>

/* Carry out an op of pools ('vdev-add', 'vdev-resize' and 'vdev-remove' too);
 * 'devices' are the requests that added them, 'descriptors' their files.
 * Returns 0, -errno (refused), or 1: it is none. */
int fake_pools(const json_t *request, const json_t *devices,
	       const json_t *descriptors, json_t *reply);
/* "pools" and "members" of a list. */
void fake_pools_list(json_t *reply);
/* What was made of thick volumes, in MiB, all pools together. */
unsigned long fake_pools_reserved(unsigned int slot);

#endif
