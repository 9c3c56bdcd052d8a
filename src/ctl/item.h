/* SPDX-License-Identifier: Apache-2.0 */
/*
 * item.h - what an item of an answer, or a record, says
 *
 * For what we wrote ourselves, or checked: what is not there, or of another
 * type, is as though it said nothing.
 */
#ifndef CTL_ITEM_H
#define CTL_ITEM_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

const char *item_text(const json_t *item, const char *key);	/* or "" */
uint64_t item_number(const json_t *item, const char *key);	/* or 0 */
bool item_flag(const json_t *item, const char *key);

#endif
