/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bytes.h - numbers of the NBD protocol in bytes, and the magic ones
 *
 * Called by wire.c and wire-client.c.  Pure.
 */
#ifndef NBD_BYTES_H
#define NBD_BYTES_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define GREETING_MAGIC		UINT64_C(0x4e42444d41474943)
#define OPTION_MAGIC		UINT64_C(0x49484156454f5054)
#define REPLY_MAGIC		UINT64_C(0x0003e889045565a9)

#define FIXED_NEWSTYLE		0x1U
#define NO_ZEROES		0x2U

#define ALLOCATION		"base:allocation"

static inline uint16_t get16(const uint8_t *from)
{
	uint16_t value;

	memcpy(&value, from, sizeof(value));
	return be16toh(value);
}

static inline uint32_t get32(const uint8_t *from)
{
	uint32_t value;

	memcpy(&value, from, sizeof(value));
	return be32toh(value);
}

static inline uint64_t get64(const uint8_t *from)
{
	uint64_t value;

	memcpy(&value, from, sizeof(value));
	return be64toh(value);
}

static inline void put16(uint8_t *to, uint16_t value)
{
	value = htobe16(value);
	memcpy(to, &value, sizeof(value));
}

static inline void put32(uint8_t *to, uint32_t value)
{
	value = htobe32(value);
	memcpy(to, &value, sizeof(value));
}

static inline void put64(uint8_t *to, uint64_t value)
{
	value = htobe64(value);
	memcpy(to, &value, sizeof(value));
}

#endif
