/* SPDX-License-Identifier: Apache-2.0 */
/*
 * adopt-pools.c - pools that an endpoint has when penstockd meets it
 *
 * A pool is kept if all of its members are what the configuration wants; else
 * it goes, with the vdevs on it, and is made anew of the same devices: what
 * they hold stays there.
 */
#include "host/host-data.h"

#include <string.h>

#include "ctl/item.h"
#include "ctl/stats.h"

/* Is this member of a pool that was found what the configuration wants?  It
 * may be larger now: then it is opened anew, and grows. */
static bool member_matches(struct reg_endpoint *endpoint,
			   const struct reg_pool *pool, const json_t *list,
			   const json_t *item)
{
	const struct reg_device *device =
		adopt_wanted(endpoint, list, item_text(item, "device"));

	return device && device->pool == pool &&
		device->config->size_bytes == item_number(item, "size_bytes");
}

/* All of it, or it is made anew. */
static bool pool_matches(struct reg_endpoint *endpoint,
			 const struct reg_pool *pool, const json_t *list)
{
	const json_t *item;
	size_t i;

	json_array_foreach(
		json_object_get(list, "members"), i,
		item) if (strcmp(item_text(item, "pool"), pool->name) == 0 &&
			  !member_matches(endpoint, pool, list,
					  item)) return false;
	return true;
}

static void adopt_members(struct reg_endpoint *endpoint,
			  const struct reg_pool *pool, const json_t *list)
{
	const json_t *item, *found;
	size_t i;

	json_array_foreach(json_object_get(list, "members"), i, item)
	{
		struct reg_device *device;

		if (strcmp(item_text(item, "pool"), pool->name) != 0)
			continue;
		device =
			adopt_wanted(endpoint, list, item_text(item, "device"));
		found = json_object_get(item, "found");
		/* One that is still being read is asked for again. */
		if (device && device->is_added && found)
			bind_pool_found(device, found);
	}
}

void adopt_pools(struct reg_endpoint *endpoint, const json_t *list)
{
	struct registry *registry = endpoint->host->registry;
	const json_t *item;
	size_t i;

	json_array_foreach(json_object_get(list, "pools"), i, item)
	{
		struct reg_pool *pool =
			registry_pool(registry, item_text(item, "name"));
		const uint64_t slot = item_number(item, "slot");

		if (!pool || pool->endpoint != endpoint ||
		    slot >= STATS_POOLS || !pool_matches(endpoint, pool, list))
			continue;
		pool->slot = (int)slot;
		endpoint->pool_slots_taken |= UINT64_C(1) << slot;
		pool->is_added = true;
		pool->is_started =
			json_is_true(json_object_get(item, "started"));
		adopt_members(endpoint, pool, list);
	}
}
