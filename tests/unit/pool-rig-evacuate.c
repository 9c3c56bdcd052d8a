/* SPDX-License-Identifier: Apache-2.0 */
/* pool-rig-evacuate.c - devices are emptied: see pool-rig.h */
#include <errno.h>

#include "base/container.h"
#include "pool-rig.h"

/* Nothing of any volume is on it. */
static void check_empty(const struct rig *rig, const struct member *member)
{
	for (const struct volume *volume = rig->pool->volumes; volume;
	     volume = volume->next)
		for (uint32_t i = 0; i < volume->table.count; i++) {
			const uint32_t number =
				table_get(&volume->table, i) & TABLE_NUMBER;

			if (number && member_has_number(member, number))
				rig_wrong(rig, "an extent was left", i, number);
		}
}

static void ended(struct evacuate *evacuate, int result)
{
	struct rig *rig = container_of(evacuate, struct rig, evacuate);

	if (result == 0)
		check_empty(rig, evacuate->from);
	else if (result != -ENOSPC && result != -ECANCELED &&
		 result != -EINTR && !(result == -EIO && rig->is_damaged))
		rig_wrong(rig, "an evacuation has failed", (uint64_t)-result,
			  evacuate->stayed_count);
	rig->moved += evacuate->moved;
	rig->evacuated = result;
	rig->is_evacuating = false;
}

bool rig_evacuate(struct rig *rig, uint32_t from)
{
	const struct evacuate_config config = {
		.from = from,
		.is_unverified = rig_random(rig, 4) == 0,
		.done = ended,
	};
	int rc;

	if (rig->is_evacuating)
		return false;
	rig->is_evacuating = true;
	rc = evacuate_start(rig->pool, &config, &rig->evacuate);
	if (rc < 0)
		rig->is_evacuating = false;
	if (rc < 0 && rc != -ENOSPC && rc != -EBUSY)
		rig_wrong(rig, "evacuate_start", (uint64_t)-rc, from);
	return rc == 0;
}

bool rig_undo(struct rig *rig, uint32_t from)
{
	const struct evacuate_config config = {.from = from, .done = ended};
	int rc;

	if (rig->is_evacuating) {
		if (rig_random(rig, 2))
			evacuate_cancel(&rig->evacuate);
		else
			evacuate_stop(&rig->evacuate);
		return true;
	}
	rig->is_evacuating = true;
	rc = evacuate_undo(rig->pool, &config, &rig->evacuate);
	if (rc < 0)
		rig->is_evacuating = false;
	if (rc < 0 && rc != -EBUSY)
		rig_wrong(rig, "evacuate_undo", (uint64_t)-rc, from);
	return rc == 0;
}

static void left(struct pool_leave *leave, int result)
{
	struct rig *rig = container_of(leave, struct rig, leave);

	rig->left = result;
	rig->is_leaving = false;
}

int rig_leave(struct rig *rig)
{
	struct pool_add add = {
		.member = rig->pool->members[rig->config.devices - 1],
	};
	int rc;

	rig->is_leaving = true;
	rig->leave.done = left;
	rc = pool_leave(rig->pool, &add, &rig->leave);
	if (rc < 0)
		rig->is_leaving = false;
	return rc;
}

void rig_forget_last(struct rig *rig)
{
	const uint32_t last = rig->config.devices - 1;
	struct pool_add add = {.member = rig->pool->members[last]};

	if (pool_remove(rig->pool, &add) < 0)
		rig_wrong(rig, "a device that has left stays", last, 0);
	powercut_destroy(rig->devices[last]);
	rig->config.devices = last;
}
