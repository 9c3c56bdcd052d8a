/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.c - a listing, by libsmartcols (as lsblk)
 */
#include "cli/table.h"

#include <errno.h>
#include <libsmartcols.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"

static int fill(struct libscols_table *table,
		const struct table_column *columns, const json_t *things)
{
	char cell[TABLE_CELL_MAX];
	struct libscols_line *line;
	const json_t *thing;
	size_t i, c;

	for (c = 0; columns[c].title; c++)
		if (!scols_table_new_column(table, columns[c].title, 0,
					    columns[c].right ? SCOLS_FL_RIGHT :
							       0))
			return -ENOMEM;
	json_array_foreach((json_t *)(uintptr_t)things, i, thing)
	{
		line = scols_table_new_line(table, NULL);
		if (!line)
			return -ENOMEM;
		for (c = 0; columns[c].title; c++) {
			columns[c].show(thing, columns[c].key, cell,
					sizeof(cell));
			if (scols_line_set_data(line, c, cell) < 0)
				return -ENOMEM;
		}
	}
	return 0;
}

int table_print(const struct table_column *columns, const json_t *things)
{
	struct libscols_table *table = scols_new_table();
	int error = table ? fill(table, columns, things) : -ENOMEM;

	if (error == 0 && json_array_size(things) > 0)
		scols_print_table(table);
	if (error == 0 && json_array_size(things) == 0) {
		for (size_t c = 0; columns[c].title; c++)
			printf("%s%s", c ? " " : "", columns[c].title);
		printf("\n");
	}
	scols_unref_table(table);
	return error;
}

char *table_text(const struct table_column *columns, const json_t *things,
		 size_t width)
{
	struct libscols_table *table = scols_new_table();
	char *text = NULL;

	if (table && fill(table, columns, things) == 0) {
		scols_table_set_termforce(table, SCOLS_TERMFORCE_ALWAYS);
		scols_table_set_termwidth(table, width);
		if (scols_print_table_to_string(table, &text) < 0)
			text = NULL;
	}
	scols_unref_table(table);
	return text;
}

const json_t *table_get(const json_t *thing, const char *key)
{
	while (thing && *key) {
		char word[64];
		const size_t length = strcspn(key, ".");

		if (length >= sizeof(word))
			return NULL;
		memcpy(word, key, length);
		word[length] = '\0';
		thing = json_object_get(thing, word);
		key += length + (key[length] == '.');
	}
	return thing;
}

/* A number that is not negative, or false. */
static bool get_number(const json_t *thing, const char *key, double *ret_number)
{
	const json_t *value = table_get(thing, key);

	if (!json_is_number(value) || json_number_value(value) < 0)
		return false;
	*ret_number = json_number_value(value);
	return true;
}

void show_text(const json_t *thing, const char *key, char *cell, size_t size)
{
	const char *text = json_string_value(table_get(thing, key));

	snprintf(cell, size, "%s", text && text[0] ? text : "-");
}

void show_list(const json_t *thing, const char *key, char *cell, size_t size)
{
	const json_t *list = table_get(thing, key), *name;
	size_t i, length = 0;

	snprintf(cell, size, "-");
	json_array_foreach((json_t *)(uintptr_t)list, i, name)
	{
		const char *text = json_string_value(name);

		if (length < size)
			length += (size_t)snprintf(cell + length, size - length,
						   "%s%s", i ? "," : "",
						   text ? text : "?");
	}
}

void show_number(const json_t *thing, const char *key, char *cell, size_t size)
{
	double number;

	if (get_number(thing, key, &number))
		snprintf(cell, size, "%.0f", number);
	else
		snprintf(cell, size, "-");
}

/* A measured value, three digits of it: "1.50 ms", "24.1 GiB". */
static void show_scaled(double number, const char *const *units, double step,
			char *cell, size_t size)
{
	unsigned int unit = 0;

	while (units[unit + 1] && number >= step * 0.9995) {
		number /= step;
		unit++;
	}
	if (unit == 0 || number >= 99.95)
		snprintf(cell, size, "%.0f %s", number, units[unit]);
	else
		snprintf(cell, size, "%.*f %s", number >= 9.995 ? 1 : 2, number,
			 units[unit]);
}

void show_size(const json_t *thing, const char *key, char *cell, size_t size)
{
	const json_t *value = table_get(thing, key);

	if (json_is_integer(value) && json_integer_value(value) >= 0)
		units_format_size(cell, size,
				  (uint64_t)json_integer_value(value));
	else
		snprintf(cell, size, "-");
}

void show_rate(const json_t *thing, const char *key, char *cell, size_t size)
{
	static const char *const units[] = {"B/s", "KB/s", "MB/s", "GB/s",
					    NULL};
	double number;

	if (get_number(thing, key, &number))
		show_scaled(number, units, 1000, cell, size);
	else
		snprintf(cell, size, "-");
}

void show_duration(const json_t *thing, const char *key, char *cell,
		   size_t size)
{
	static const char *const units[] = {"ns", "us", "ms", "s", NULL};
	double number;

	if (get_number(thing, key, &number))
		show_scaled(number, units, 1000, cell, size);
	else
		snprintf(cell, size, "-");
}

void show_milli(const json_t *thing, const char *key, char *cell, size_t size)
{
	double number;

	if (get_number(thing, key, &number))
		snprintf(cell, size, "%.0f %%", number / 10);
	else
		snprintf(cell, size, "-");
}

void show_kept(const json_t *thing, const char *key, char *cell, size_t size)
{
	const json_t *kept = table_get(thing, key);

	snprintf(cell, size, "%s",
		 json_is_true(kept)	     ? "kept" :
			 json_is_false(kept) ? "BROKEN" :
					       "-");
}
