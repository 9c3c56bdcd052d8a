/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doubt.c - extents that were on their way to another device at a crash
 *
 * Before an extent's new place is mapped there, its old device writes down that
 * another one may have it.  So whichever of the two comes back alone:
 *
 *	the new one	has it, as it always will
 *	the old one	does not know, and nobody reads or writes it
 *	both		the new one is right, if it has it; else the old one
 */
#include "pool/volume.h"

#include <errno.h>
#include <stdlib.h>

static int set_apart(struct volume *volume, struct table *own, uint32_t index)
{
	struct volume_doubt *doubt = calloc(1, sizeof(*doubt));

	if (!doubt)
		return -ENOMEM;
	doubt->number = table_get(own, index) & TABLE_NUMBER;
	doubt->ghost = (struct member_ghost){
		.table = &volume->table,
		.index = index,
		.from = TABLE_PENDING,
		.entry = doubt->number,
		.flags = FORMAT_MAP_MOVING,
	};
	member_show(pool_member_of(volume->pool, doubt->number), &doubt->ghost);
	doubt->next = volume->doubts;
	volume->doubts = doubt;
	table_set(own, index, 0);
	return 0;
}

int volume_set_apart(struct volume *volume, struct member_volume *part)
{
	struct table *own = &part->own;
	int rc = 0;

	if (!part->has_doubts)
		return 0;
	for (uint32_t i = 0;
	     rc == 0 && (i = table_next(own, i, own->count)) < own->count; i++)
		if (table_get(own, i) & TABLE_PENDING)
			rc = set_apart(volume, own, i);
	part->has_doubts = false;
	return rc;
}

/* Returns 1 if it was decided, 0, or -ENOMEM. */
static int decide(struct volume *volume, const struct volume_doubt *doubt)
{
	struct pool *pool = volume->pool;
	const uint32_t index = doubt->ghost.index;
	const uint32_t m = pool_index_of(pool, doubt->number);
	int rc;

	if (table_get(&volume->table, index) & TABLE_NUMBER) {
		rc = pool_take_back(pool, pool->members[m], volume->parts[m],
				    index, doubt->number);
		return rc < 0 ? rc : 1;
	}
	if (volume->missing) {
		table_set(&volume->table, index, TABLE_PENDING);
		return 0;
	}
	table_set(&volume->table, index, doubt->number);
	volume->mapped_on[m]++;
	return 1;
}

int volume_decide(struct volume *volume)
{
	struct volume_doubt **link = &volume->doubts;

	while (*link) {
		struct volume_doubt *doubt = *link;
		const int rc = decide(volume, doubt);

		if (rc < 0)
			return rc;
		if (rc == 0) {
			link = &doubt->next;
			continue;
		}
		*link = doubt->next;
		member_hide(pool_member_of(volume->pool, doubt->number),
			    &doubt->ghost);
		free(doubt);
	}
	return 0;
}

bool volume_is_doubted(const struct volume *volume, uint32_t index)
{
	for (const struct volume_doubt *doubt = volume->doubts; doubt;
	     doubt = doubt->next)
		if (doubt->ghost.index == index)
			return true;
	return false;
}

void volume_free_doubts(struct volume *volume)
{
	while (volume->doubts) {
		struct volume_doubt *doubt = volume->doubts;

		volume->doubts = doubt->next;
		member_hide(pool_member_of(volume->pool, doubt->number),
			    &doubt->ghost);
		free(doubt);
	}
}
