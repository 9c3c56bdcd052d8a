/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crc32c.h - the checksum of everything that a pool keeps on a device
 *
 * Castagnoli's polynomial, as iSCSI, ext4 and btrfs use it: by the processor
 * where it can (SSE 4.2), else from tables.
 * Pure.
 */
#ifndef POOL_CRC32C_H
#define POOL_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Go on from 'crc'; 0 to begin.  crc32c(0, "123456789", 9) is 0xe3069283. */
uint32_t crc32c(uint32_t crc, const void *data, size_t bytes);
/* The same without the processor's help; for tests. */
uint32_t crc32c_portable(uint32_t crc, const void *data, size_t bytes);

#endif
