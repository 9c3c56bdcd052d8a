/* SPDX-License-Identifier: Apache-2.0 */
/* mapped.c - see mapped.h */
#include "mapped.h"

#include <errno.h>

struct step {
	union {
		struct pool_add add;
		struct volume_change change;
		struct volume_alloc alloc;
	};
	int result;		/* -EINPROGRESS: not done */
};

static void added(struct pool_add *add, int result, const struct error *error)
{
	(void)error;
	((struct step *)add)->result = result;
}

static void made(struct volume_change *change, int result)
{
	((struct step *)change)->result = result;
}

static void allocated(struct volume_alloc *alloc, int result)
{
	((struct step *)alloc)->result = result;
}

static int map(struct volume *volume, uint64_t at)
{
	struct step step = {
		.alloc = {.done = allocated},
		.result = -EINPROGRESS,
	};
	struct volume_place place;
	int result = volume_write(volume, at, &step.alloc, &place);

	return result < 0 ? result : step.result;
}

static int build(struct mapped *mapped, const struct member_config *member,
		 uint64_t size_bytes)
{
	static const struct pool_ops ops;
	const struct volume_config config = {
		.name = "mapped",
		.uuid = {{2}},
		.size_bytes = size_bytes,
	};
	struct step add = {
		.add = {.done = added},
		.result = -EINPROGRESS,
	};
	struct step change = {
		.change = {.done = made},
		.result = -EINPROGRESS,
	};
	int result;

	*mapped = (struct mapped){.pool = NULL};
	result = pool_create(&ops, NULL, &mapped->pool);

	if (result == 0)
		result = pool_add(mapped->pool, member, true, &add.add);
	if (result == 0)
		result = add.result;
	if (result == 0)
		result = pool_start(mapped->pool, NULL);
	if (result == 0)
		result = volume_create(mapped->pool, &config, &change.change,
				       &mapped->volume);
	return result < 0 ? result : change.result;
}

int mapped_create(struct mapped *mapped, struct block_device *block,
		  struct vdev_device *device, uint64_t size_bytes,
		  bool is_volatile)
{
	const struct member_config member = {
		.device = block,
		.user = device,
		.name = "mapped",
		.uuid = {{1}},
		.is_volatile = is_volatile,
		.may_claim = true,
		.is_zeroed = true,
	};
	int result;

	result = build(mapped, &member, size_bytes);
	for (uint64_t at = 0; at < size_bytes && result == 0;
	     at += FORMAT_EXTENT_BYTES)
		result = map(mapped->volume, at);
	return result;
}

int mapped_create_thin(struct mapped *mapped, struct block_device *block,
		       struct vdev_device *device, uint64_t capacity_bytes,
		       uint64_t size_bytes)
{
	const struct member_config member = {
		.device = block,
		.user = device,
		.name = "thin",
		.uuid = {{1}},
		.may_claim = true,
		.is_zeroed = true,
		.capacity_bytes = capacity_bytes,
		.metadata_bytes = block->size_bytes - capacity_bytes,
	};

	return build(mapped, &member, size_bytes);
}

void mapped_destroy(struct mapped *mapped)
{
	pool_stop(mapped->pool);
	pool_destroy(mapped->pool);
}
