/* SPDX-License-Identifier: Apache-2.0 */
/*
 * counted.h - an ordered set of 64-bit values that may be in it many times
 *
 * For the strictest of many: add and remove in O(log n) of the different
 * values, whatever the order in which they come.
 * Pure.  Threads: the caller's.
 */
#ifndef BASE_COUNTED_H
#define BASE_COUNTED_H

#include <stdbool.h>
#include <stdint.h>

struct counted_node;

struct counted {		/* all zero: empty */
	struct counted_node *root;
};

/* Frees everything; the set is empty then. */
void counted_finish(struct counted *set);
/* Returns 0 or -ENOMEM. */
int counted_add(struct counted *set, uint64_t value);
/* Take one out.  False: it was not in the set. */
bool counted_remove(struct counted *set, uint64_t value);
/* How many times 'value' is in the set. */
uint64_t counted_times(const struct counted *set, uint64_t value);
/* The smallest value that is at least 'least'.  False: there is none. */
bool counted_find(const struct counted *set, uint64_t least,
		  uint64_t *ret_value);

#endif
