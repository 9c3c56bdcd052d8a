/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pages.h - large buffers, aligned, of which only what is touched is there
 */
#ifndef POOL_PAGES_H
#define POOL_PAGES_H

#include <stddef.h>
#include <sys/mman.h>

/* Zeroes; NULL: out of memory. */
static inline void *pages_map(size_t bytes)
{
	void *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return pages == MAP_FAILED ? NULL : pages;
}

static inline void pages_unmap(void *pages, size_t bytes)
{
	if (pages)
		munmap(pages, bytes);
}

#endif
