/* SPDX-License-Identifier: Apache-2.0 */
/* memory.c - see memory.h */
#include "vhost/memory.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vhost/shared.h"

struct memory_mapping {
	unsigned int references;
	struct memory_account *account;
	struct shared shared;
	uint64_t bytes;		/* charged to the account */
};

static void account_put(struct memory_account *account)
{
	if (--account->references == 0)
		free(account);
}

static void mapping_put(struct memory_mapping *mapping)
{
	struct memory_account *account = mapping->account;

	if (--mapping->references > 0)
		return;
	shared_unmap(&mapping->shared);
	account->mappings--;
	account->bytes -= mapping->bytes;
	account_put(account);
	free(mapping);
}

static int map_create(struct memory_account *account,
		      struct memory_map **ret_map)
{
	struct memory_map *map = calloc(1, sizeof(*map));

	if (!map)
		return -ENOMEM;
	map->references = 1;
	map->account = account;
	account->references++;
	*ret_map = map;
	return 0;
}

int memory_map_create(struct memory_map **ret_map)
{
	struct memory_account *account = calloc(1, sizeof(*account));
	int rc;

	if (!account)
		return -ENOMEM;
	account->references = 1;
	rc = map_create(account, ret_map);
	account_put(account);
	return rc;
}

void memory_map_destroy(struct memory_map *map)
{
	for (unsigned int i = 0; i < map->count; i++)
		mapping_put(map->slots[i].mapping);
	account_put(map->account);
	free(map);
}

static int mapping_create(struct memory_account *account,
			  const struct vhost_user_region *region, int fd,
			  struct memory_mapping **ret_mapping,
			  struct error *reterr)
{
	struct memory_mapping *mapping;
	int rc;

	if (account->mappings >= MEMORY_MAPPINGS_MAX ||
	    region->size > MEMORY_BYTES_MAX - account->bytes)
		return error_set(
			reterr, -ENOSPC,
			"memory regions: more than %u or %llu TiB at a time",
			MEMORY_MAPPINGS_MAX,
			(unsigned long long)(MEMORY_BYTES_MAX >> 40));
	mapping = calloc(1, sizeof(*mapping));
	if (!mapping)
		return error_set(reterr, -ENOMEM, "memory region: no memory");
	rc = shared_map(fd, region->mmap_offset, region->size, &account->lost,
			&mapping->shared, reterr);
	if (rc < 0) {
		free(mapping);
		return rc;
	}
	mapping->references = 1;
	mapping->bytes = region->size;
	mapping->account = account;
	account->references++;
	account->mappings++;
	account->bytes += region->size;
	*ret_mapping = mapping;
	return 0;
}

static bool overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
	return a < b + b_size && b < a + a_size;
}

/* The place of 'region' in the order of guest addresses, or -EINVAL when it
 * can't be beside what is there. */
static int find_place(const struct memory_map *map,
		      const struct vhost_user_region *region,
		      unsigned int *ret_place, struct error *reterr)
{
	unsigned int place = 0;

	for (unsigned int i = 0; i < map->count; i++) {
		const struct memory_slot *slot = &map->slots[i];

		if (overlap(slot->guest_addr, slot->size_bytes,
			    region->guest_addr, region->size))
			return error_set(
				reterr, -EINVAL,
				"memory region at 0x%llx overlaps another",
				(unsigned long long)region->guest_addr);
		if (slot->guest_addr < region->guest_addr)
			place = i + 1;
	}
	*ret_place = place;
	return 0;
}

/* Insert into a map that nobody uses yet. */
static int map_insert(struct memory_map *map,
		      const struct vhost_user_region *region, int fd,
		      struct error *reterr)
{
	struct memory_slot slot = {
		.guest_addr = region->guest_addr,
		.size_bytes = region->size,
		.user_addr = region->user_addr,
	};
	unsigned int place = 0;
	int rc;

	if (map->count == MEMORY_REGIONS_MAX)
		return error_set(reterr, -ENOSPC, "more than %u memory regions",
				 MEMORY_REGIONS_MAX);
	rc = find_place(map, region, &place, reterr);
	if (rc < 0)
		return rc;
	rc = mapping_create(map->account, region, fd, &slot.mapping, reterr);
	if (rc < 0)
		return rc;
	assert(slot.mapping);
	slot.host = slot.mapping->shared.data;
	memmove(&map->slots[place + 1], &map->slots[place],
		(map->count - place) * sizeof(slot));
	map->slots[place] = slot;
	map->count++;
	return 0;
}

int memory_map_replace(struct memory_map *old,
		       const struct vhost_user_region *regions, const int *fds,
		       unsigned int count, struct memory_map **ret_map,
		       struct error *reterr)
{
	struct memory_map *map;
	int rc;

	rc = map_create(old->account, &map);
	if (rc < 0)
		return error_set(reterr, rc, "memory table: no memory");
	for (unsigned int i = 0; i < count; i++) {
		rc = map_insert(map, &regions[i], fds[i], reterr);
		if (rc < 0) {
			memory_map_put(map);
			return rc;
		}
	}
	*ret_map = map;
	return 0;
}

/* A copy that lacks slot 'without' (or none). */
static int map_copy(struct memory_map *old, unsigned int without,
		    struct memory_map **ret_map, struct error *reterr)
{
	struct memory_map *map;
	int rc;

	rc = map_create(old->account, &map);
	if (rc < 0)
		return error_set(reterr, rc, "memory region: no memory");
	for (unsigned int i = 0; i < old->count; i++) {
		if (i == without)
			continue;
		map->slots[map->count] = old->slots[i];
		map->slots[map->count].mapping->references++;
		map->count++;
	}
	*ret_map = map;
	return 0;
}

int memory_map_add(struct memory_map *old,
		   const struct vhost_user_region *region, int fd,
		   struct memory_map **ret_map, struct error *reterr)
{
	struct memory_map *map;
	int rc;

	rc = map_copy(old, UINT32_MAX, &map, reterr);
	if (rc < 0)
		return rc;
	rc = map_insert(map, region, fd, reterr);
	if (rc < 0) {
		memory_map_put(map);
		return rc;
	}
	*ret_map = map;
	return 0;
}

int memory_map_remove(struct memory_map *old,
		      const struct vhost_user_region *region,
		      struct memory_map **ret_map, struct error *reterr)
{
	for (unsigned int i = 0; i < old->count; i++)
		if (old->slots[i].guest_addr == region->guest_addr &&
		    old->slots[i].user_addr == region->user_addr &&
		    old->slots[i].size_bytes == region->size)
			return map_copy(old, i, ret_map, reterr);
	return error_set(reterr, -ENOENT,
			 "no memory region at 0x%llx to be removed",
			 (unsigned long long)region->guest_addr);
}

const struct memory_slot *memory_find(const struct memory_map *map,
				      uint64_t guest_addr)
{
	unsigned int low = 0, high = map->count;

	while (low < high) {
		const unsigned int middle = (low + high) / 2;
		const struct memory_slot *slot = &map->slots[middle];

		if (guest_addr < slot->guest_addr)
			high = middle;
		else if (guest_addr - slot->guest_addr < slot->size_bytes)
			return slot;
		else
			low = middle + 1;
	}
	return NULL;
}

uint8_t *memory_find_user(const struct memory_map *map, uint64_t user_addr,
			  uint64_t length)
{
	for (unsigned int i = 0; i < map->count; i++) {
		const struct memory_slot *slot = &map->slots[i];
		const uint64_t offset = user_addr - slot->user_addr;

		if (offset < slot->size_bytes &&
		    length <= slot->size_bytes - offset)
			return slot->host + offset;
	}
	return NULL;
}

bool memory_guest_addr(const struct memory_map *map, const void *host,
		       uint64_t *ret_guest_addr)
{
	for (unsigned int i = 0; i < map->count; i++) {
		const struct memory_slot *slot = &map->slots[i];
		const uint64_t offset =
			(uint64_t)((uintptr_t)host - (uintptr_t)slot->host);

		if (offset < slot->size_bytes) {
			*ret_guest_addr = slot->guest_addr + offset;
			return true;
		}
	}
	return false;
}
