/* SPDX-License-Identifier: Apache-2.0 */
/*
 * room.c - what a pool has left to be promised, and each part cut out of it
 * (E2, E3)
 *
 * Only thick pools are cut: all that is made in one is kept for it by its
 * endpoint, which need not know of parts.  What a part is promised to have
 * nobody else is given, be it used or not; a pool that turns out smaller than
 * its parts were told gives what there is.
 */
#include "host/registry.h"

#include <string.h>

/* A pool, or a part of it. */
struct place {
	const struct registry *registry;
	const struct reg_pool *pool;
	const struct reg_part *part;	/* NULL: what is in none */
};

static uint64_t place_bytes(const struct place *place);

/* Was it made there?  In a part that there is no more: in its pool itself. */
static bool was_in(const struct place *place, const json_t *record)
{
	const struct registry *registry = place->registry;
	const char *name = json_string_value(json_object_get(record, "part"));
	const struct reg_part *part = NULL;

	for (unsigned int i = 0; name && i < registry->part_count; i++)
		if (registry->parts[i].pool == place->pool &&
		    strcmp(registry->parts[i].name, name) == 0)
			part = &registry->parts[i];
	return part == place->part;
}

/* What was made there for vdevs that nobody names any more. */
static uint64_t orphans_bytes(const struct place *place)
{
	uint64_t bytes = 0;
	const char *name;
	json_t *record;

	json_object_foreach(place->registry->orphans, name, record)
	{
		const char *at =
			json_string_value(json_object_get(record, "pool"));

		if (at && strcmp(at, place->pool->name) == 0 &&
		    was_in(place, record))
			bytes += reg_round((uint64_t)json_integer_value(
				json_object_get(record, "size_bytes")));
	}
	return bytes;
}

static bool is_equal_part(const struct reg_part *part)
{
	return part->config->size_bytes == CONFIG_SIZE_EQUAL;
}

static bool is_in(const struct place *place, const struct reg_vdev *vdev)
{
	return vdev->pool == place->pool && vdev->part == place->part;
}

/* What those with a size of their own leave, in equal parts. */
static uint64_t equal_bytes(const struct place *place)
{
	const struct registry *registry = place->registry;
	uint64_t fixed_bytes = orphans_bytes(place), equals = 0;
	const uint64_t all = place_bytes(place);

	for (const struct reg_vdev *other = registry->vdevs; other;
	     other = other->next) {
		if (!is_in(place, other) || other->state == REG_VDEV_REMOVING)
			continue;
		if (other->is_equal)
			equals++;
		else
			fixed_bytes += reg_round(other->size_bytes);
	}
	for (unsigned int i = 0; i < registry->part_count; i++) {
		const struct reg_part *part = &registry->parts[i];

		if (part->pool != place->pool || part->of != place->part)
			continue;
		if (is_equal_part(part))
			equals++;
		else
			fixed_bytes += reg_round(part->config->size_bytes);
	}
	if (equals == 0 || fixed_bytes >= all)
		return 0;
	return (all - fixed_bytes) / equals / REG_EXTENT_BYTES *
		REG_EXTENT_BYTES;
}

static uint64_t place_bytes(const struct place *place)
{
	const struct place around = {
		.registry = place->registry,
		.pool = place->pool,
		.part = place->part ? place->part->of : NULL,
	};

	if (!place->part)
		return reg_pool_bytes(place->pool);
	return is_equal_part(place->part) ?
		equal_bytes(&around) :
		reg_round(place->part->config->size_bytes);
}

uint64_t registry_part_bytes(const struct registry *registry,
			     const struct reg_part *part)
{
	const struct place place = {registry, part->pool, part};

	return place_bytes(&place);
}

/* What is made there, in parts of it or not. */
static uint64_t made_bytes(const struct place *place, bool with_parts)
{
	const struct registry *registry = place->registry;
	uint64_t bytes = orphans_bytes(place);

	for (const struct reg_vdev *vdev = registry->vdevs; vdev;
	     vdev = vdev->next)
		if (is_in(place, vdev) && vdev->uuid[0])
			bytes += reg_round(vdev->size_bytes);
	for (unsigned int i = 0; i < registry->part_count; i++) {
		const struct reg_part *part = &registry->parts[i];
		const struct place inner = {registry, part->pool, part};

		if (part->pool == place->pool && part->of == place->part)
			bytes += with_parts ? place_bytes(&inner) :
					      made_bytes(&inner, false);
	}
	return bytes;
}

static uint64_t left(uint64_t all, uint64_t taken)
{
	return taken < all ? all - taken : 0;
}

uint64_t registry_unpromised(const struct registry *registry,
			     const struct reg_pool *pool,
			     const struct reg_part *part)
{
	const struct place whole = {registry, pool, NULL};
	const struct place place = {registry, pool, part};
	/* There is not more than there is. */
	const uint64_t most =
		left(reg_round(place_bytes(&whole)),
		     made_bytes(&whole, false) + reg_pool_leaving_bytes(pool));
	const uint64_t here =
		left(reg_round(place_bytes(&place)), made_bytes(&place, true));

	return here < most ? here : most;
}

uint64_t registry_equal_size(const struct registry *registry,
			     const struct reg_vdev *vdev)
{
	const struct place place = {registry, vdev->pool, vdev->part};

	return equal_bytes(&place);
}
