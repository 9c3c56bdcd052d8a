/* SPDX-License-Identifier: Apache-2.0 */
/*
 * container.h - from a member to the struct that it is embedded in
 *
 * Pure.
 */
#ifndef BASE_CONTAINER_H
#define BASE_CONTAINER_H

#include <stddef.h>

#ifndef container_of
#define container_of(pointer, type, member) \
	((type *)(void *)((char *)(pointer)-offsetof(type, member)))
#endif

#endif
