/* SPDX-License-Identifier: Apache-2.0 */
/*
 * access.h - reading and writing memory that a guest changes meanwhile
 *
 * Every load happens exactly once, so that what was checked is what is used,
 * and takes any alignment, because a guest chooses its addresses.
 */
#ifndef VHOST_ACCESS_H
#define VHOST_ACCESS_H

#include <stdint.h>

struct access_u16 {
	uint16_t value;
} __attribute__((packed, may_alias));

struct access_u32 {
	uint32_t value;
} __attribute__((packed, may_alias));

struct access_u64 {
	uint64_t value;
} __attribute__((packed, may_alias));

static inline uint16_t access_read_u16(const void *from)
{
	return ((const volatile struct access_u16 *)from)->value;
}

static inline uint64_t access_read_u64(const void *from)
{
	return ((const volatile struct access_u64 *)from)->value;
}

static inline void access_write_u8(void *to, uint8_t value)
{
	*(volatile uint8_t *)to = value;
}

static inline void access_write_u16(void *to, uint16_t value)
{
	((volatile struct access_u16 *)to)->value = value;
}

static inline void access_write_u64(void *to, uint64_t value)
{
	((volatile struct access_u64 *)to)->value = value;
}

/* An index of a ring: aligned, and ordered against what it announces. */
static inline uint16_t access_acquire_u16(const uint16_t *from)
{
	return __atomic_load_n(from, __ATOMIC_ACQUIRE);
}

static inline void access_release_u16(uint16_t *to, uint16_t value)
{
	__atomic_store_n(to, value, __ATOMIC_RELEASE);
}

#endif
