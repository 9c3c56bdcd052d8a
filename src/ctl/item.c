/* SPDX-License-Identifier: Apache-2.0 */
/* item.c - see item.h */
#include "ctl/item.h"

const char *item_text(const json_t *item, const char *key)
{
	const char *text = json_string_value(json_object_get(item, key));

	return text ? text : "";
}

uint64_t item_number(const json_t *item, const char *key)
{
	const json_int_t value = json_integer_value(json_object_get(item, key));

	return value > 0 ? (uint64_t)value : 0;
}

bool item_flag(const json_t *item, const char *key)
{
	return json_is_true(json_object_get(item, key));
}
