/* SPDX-License-Identifier: Apache-2.0 */
/* crc32c.c - see crc32c.h */
#include "pool/crc32c.h"

#include <stdbool.h>
#include <string.h>

#define POLYNOMIAL	0x82f63b78U	/* reflected */
#define SLICES		8

static uint32_t tables[SLICES][256];
static bool tables_are_made;

/* Making them twice writes the same. */
static void make_tables(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t crc = i;

		for (unsigned int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
		tables[0][i] = crc;
	}
	for (uint32_t i = 0; i < 256; i++)
		for (unsigned int s = 1; s < SLICES; s++)
			tables[s][i] = tables[s - 1][i] >> 8 ^
				tables[0][tables[s - 1][i] & 0xff];
	__atomic_store_n(&tables_are_made, true, __ATOMIC_RELEASE);
}

uint32_t crc32c_portable(uint32_t crc, const void *data, size_t bytes)
{
	const unsigned char *at = data;

	if (!__atomic_load_n(&tables_are_made, __ATOMIC_ACQUIRE))
		make_tables();
	crc = ~crc;
	for (; bytes >= SLICES; bytes -= SLICES, at += SLICES) {
		uint32_t low = crc ^
			((uint32_t)at[0] | (uint32_t)at[1] << 8 |
			 (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24);

		crc = tables[7][low & 0xff] ^ tables[6][low >> 8 & 0xff] ^
			tables[5][low >> 16 & 0xff] ^ tables[4][low >> 24] ^
			tables[3][at[4]] ^ tables[2][at[5]] ^ tables[1][at[6]] ^
			tables[0][at[7]];
	}
	for (; bytes > 0; bytes--)
		crc = crc >> 8 ^ tables[0][(crc ^ *at++) & 0xff];
	return ~crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t by_processor(uint32_t crc,
							       const void *data,
							       size_t bytes)
{
	const unsigned char *at = data;
	uint64_t sum = ~crc;

	for (; bytes >= 8; bytes -= 8, at += 8) {
		uint64_t word;

		memcpy(&word, at, sizeof(word));
		sum = __builtin_ia32_crc32di(sum, word);
	}
	for (; bytes > 0; bytes--)
		sum = __builtin_ia32_crc32qi((uint32_t)sum, *at++);
	return ~(uint32_t)sum;
}

uint32_t crc32c(uint32_t crc, const void *data, size_t bytes)
{
	if (__builtin_cpu_supports("sse4.2"))
		return by_processor(crc, data, bytes);
	return crc32c_portable(crc, data, bytes);
}
#else
uint32_t crc32c(uint32_t crc, const void *data, size_t bytes)
{
	return crc32c_portable(crc, data, bytes);
}
#endif
