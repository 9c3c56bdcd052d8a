/* SPDX-License-Identifier: Apache-2.0 */
/*
 * foreign.h - whose is a device that is not ours and not blank?
 *
 * A name for the operator; whatever is not recognised is foreign too.
 * Pure.
 */
#ifndef POOL_FOREIGN_H
#define POOL_FOREIGN_H

#include <stddef.h>

/* From the first 'bytes' of the device.  Never NULL. */
const char *foreign_name(const unsigned char *data, size_t bytes);

#endif
