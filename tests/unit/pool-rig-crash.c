/* SPDX-License-Identifier: Apache-2.0 */
/* pool-rig-crash.c - crashes, and what is found: see pool-rig.h */
#include "pool-rig.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pool/check.h"

#define METADATA_BYTES	(UINT64_C(1) << 20)

static const struct pool_ops pool_ops = {0};

static uint64_t chance(void *arg, uint64_t below)
{
	return rig_random(arg, below);
}

/* ---- events ---- */

bool rig_event(struct rig *rig)
{
	uint32_t busy[RIG_DEVICES_MAX], count = 0, d, which;

	for (d = 0; d < rig->config.devices; d++)
		if (powercut_pending(rig->devices[d]) > 0)
			busy[count++] = d;
	if (count == 0)
		return false;
	d = busy[rig_random(rig, count)];
	which = (uint32_t)rig_random(rig, powercut_pending(rig->devices[d]));
	powercut_end(rig->devices[d], which);
	rig->events++;
	return true;
}

void rig_settle(struct rig *rig)
{
	while (rig_event(rig))
		;
}

/* ---- opening ---- */

struct adding {
	struct pool_add add;
	const struct rig *rig;
	bool is_done;
};

static void added(struct pool_add *add, int result, const struct error *error)
{
	struct adding *adding = (struct adding *)add;

	if (result < 0) {
		fprintf(stderr, "%s\n", error->text);
		rig_wrong(adding->rig, "a device is refused", (uint64_t)-result,
			  0);
	}
	adding->is_done = true;
}

static void add_device(struct rig *rig, uint32_t d)
{
	static const char *const names[] = {"d0", "d1", "d2"};
	struct member_config config = {
		.device = powercut_device(rig->devices[d]),
		.name = names[d],
		.uuid = {{0xd0, (uint8_t)d}},
		.expected = {{0xd0, (uint8_t)d}},
		.may_claim = true,
		.is_zeroed = true,
		.metadata_bytes = METADATA_BYTES,
		.area_blocks = rig->config.area_blocks,
		.open_extents = rig->config.open_extents,
		.log_limit_blocks = rig->config.log_limit_blocks,
	};
	struct adding adding = {.add.done = added, .rig = rig};

	if (pool_add(rig->pool, &config, true, &adding.add) < 0)
		rig_wrong(rig, "pool_add", d, 0);
	while (!adding.is_done)
		if (!rig_event(rig))
			rig_wrong(rig, "opening hangs", d, 0);
}

/* 'devices': a bit for each. */
static void open_some(struct rig *rig, uint32_t devices)
{
	if (pool_create(&pool_ops, rig, &rig->pool) < 0)
		abort();
	for (uint32_t d = 0; d < rig->config.devices; d++)
		if (devices >> d & 1)
			add_device(rig, d);
	if (pool_start(rig->pool, NULL) < 0)
		abort();
}

static void open_pool(struct rig *rig)
{
	open_some(rig, ~0U);
}

/* ---- what is found ---- */

static bool is_known(const struct rig *rig, const struct format_uuid *uuid)
{
	for (uint32_t i = 0; i < RIG_VOLUMES; i++)
		if (rig->volumes[i].state != RIG_NONE &&
		    format_uuid_equal(&rig->volumes[i].uuid, uuid))
			return true;
	return false;
}

static void check_found(struct rig *rig, struct rig_volume *has, bool is_kill)
{
	struct volume *volume = volume_find(rig->pool, &has->uuid);
	uint64_t size;

	has->volume = volume;
	has->is_changing = false;
	if (!volume) {
		if (has->state == RIG_THERE)
			rig_wrong(rig, "a volume is lost", has->uuid.bytes[0],
				  0);
		has->state = RIG_NONE;
		return;
	}
	size = volume->is.size_bytes;
	if (size != has->size_bytes && size != has->next_bytes)
		rig_wrong(rig, "a volume has another size", size,
			  has->size_bytes);
	for (uint32_t c = 0; c < RIG_CELLS; c++)
		if (rig_is_inside(c, size))
			rig_check_cell(rig, has, volume, c, is_kill,
				       &has->cells[c]);
		else
			rig_forget_values(&has->cells[c], 0);
	/* One that was being made is there, or is not; if it is, it is whole:
	 * cells of a snapshot were looked at like its origin's. */
	has->is_snapshot = volume->is.flags & FORMAT_VOLUME_SNAPSHOT;
	has->origin = NULL;
	has->state = RIG_THERE;
	has->size_bytes = size;
	has->next_bytes = 0;
}

/* Everything on a device is mapped once, or free. */
static void check_leaks(const struct rig *rig, const struct member *member)
{
	unsigned char *seen = calloc(member->super.extent_count, 1);
	uint32_t mapped = 0;

	assert(seen);
	for (const struct volume *volume = rig->pool->volumes; volume;
	     volume = volume->next)
		for (uint32_t i = 0; i < volume->table.count; i++) {
			const uint32_t entry = table_get(&volume->table, i);
			const uint32_t number = entry & TABLE_NUMBER;
			uint32_t extent;

			if (entry & TABLE_PENDING)
				rig_wrong(rig, "a mapping is pending", i, 0);
			if (!number || !member_has_number(member, number))
				continue;
			extent = number - member->config.first_number;
			if (seen[extent]++ == 0)
				mapped++;
			else if (!(entry & TABLE_SHARED))
				rig_wrong(rig, "an extent is mapped twice", i,
					  extent);
		}
	free(seen);
	mapped += member->space.bad_total;
	if (member->space.total[SPACE_TAKEN] != mapped)
		rig_wrong(rig, "extents are lost",
			  member->space.total[SPACE_TAKEN], mapped);
	if (member->space.total[SPACE_DIRTY] > 0)
		rig_wrong(rig, "extents stay dirty",
			  member->space.total[SPACE_DIRTY], 0);
}

/* Clean and open ones read as zeroes. */
static void check_zeroes(const struct rig *rig, uint32_t d)
{
	const struct member *member = rig->pool->members[d];

	for (uint32_t e = 0; e < member->super.extent_count; e++) {
		const uint64_t offset = member_offset(member, e);

		if (space_get(&member->space, e) == SPACE_TAKEN)
			continue;
		for (uint32_t c = 0; c < 256; c++)
			if (!format_is_zero(powercut_peek(rig->devices[d],
							  offset + c * 4096),
					    4096))
				rig_wrong(rig, "free space is not zero", d, e);
	}
}

/* What each device has of a volume is counted. */
static void check_counts(const struct rig *rig, const struct volume *volume)
{
	uint32_t found[POOL_MEMBERS_MAX] = {0};

	for (uint32_t i = 0; i < volume->table.count; i++) {
		const uint32_t number =
			table_get(&volume->table, i) & TABLE_NUMBER;

		if (number)
			found[pool_index_of(rig->pool, number)]++;
	}
	for (uint32_t d = 0; d < rig->config.devices; d++)
		if (volume->mapped_on[d] != found[d])
			rig_wrong(rig, "extents on a device are miscounted",
				  volume->mapped_on[d], found[d]);
}

static void check_all(struct rig *rig, bool is_kill)
{
	if (!pool_is_idle(rig->pool))
		rig_wrong(rig, "it does not come to rest", 0, 0);
	for (uint32_t i = 0; i < RIG_VOLUMES; i++)
		if (rig->volumes[i].state != RIG_NONE)
			check_found(rig, &rig->volumes[i], is_kill);
	for (const struct volume *volume = rig->pool->volumes; volume;
	     volume = volume->next) {
		if (!is_known(rig, &volume->is.uuid))
			rig_wrong(rig, "a volume has come back",
				  volume->is.uuid.bytes[0], 0);
		check_counts(rig, volume);
	}
	for (uint32_t d = 0; d < rig->config.devices; d++) {
		check_leaks(rig, rig->pool->members[d]);
		check_zeroes(rig, d);
	}
}

static void let_end(void *arg)
{
	struct rig *rig = arg;

	for (uint32_t d = 0; d < rig->config.devices; d++)
		if (powercut_pending(rig->devices[d]) > 0)
			powercut_end(rig->devices[d], 0);
}

static void say(void *arg, const struct check_finding *finding)
{
	(void)arg;
	if (finding->is_wrong && !finding->is_repaired)
		fprintf(stderr, "%s\n", finding->text);
}

/* What a crash leaves is no fault. */
static void run_checker(struct rig *rig)
{
	struct check_device devices[RIG_DEVICES_MAX] = {0};
	const struct check_config config = {
		.devices = devices,
		.count = rig->config.devices,
		.repair = rig_random(rig, 2) || rig->is_damaged,
		.progress = let_end,
		.say = say,
		.arg = rig,
	};
	struct check_report report;

	for (uint32_t d = 0; d < rig->config.devices; d++) {
		devices[d].device = powercut_device(rig->devices[d]);
		devices[d].name = "device";
	}
	if (check_run(&config, &report) < 0 &&
	    !(rig->is_damaged && report.repaired == report.wrong))
		rig_wrong(rig, "the checker finds something", report.wrong, 0);
}

static void begin_found(struct rig *found, const struct rig *rig)
{
	memcpy(found->volumes, rig->volumes, sizeof(found->volumes));
	found->config = rig->config;
	found->stamp = rig->stamp;
	found->uuids = rig->uuids;
	found->events = rig->events;
	found->crashes = rig->crashes + 1;
	for (uint32_t i = 0; i < RIG_VOLUMES; i++)
		found->volumes[i].rig = found;
}

/* Opening it may be cut short too. */
static void crash_while_opening(struct rig *found, uint32_t times)
{
	while (times-- > 0) {
		uint64_t left = rig_random(found, 40);
		struct powercut *next;
		bool is_kill;

		open_pool(found);
		while (left-- > 0 && rig_event(found))
			;
		is_kill = rig_random(found, 2);
		for (uint32_t d = 0; d < found->config.devices; d++) {
			next = powercut_fork(found->devices[d], is_kill, chance,
					     found);
			powercut_destroy(found->devices[d]);
			found->devices[d] = next;
		}
		pool_destroy(found->pool);
		found->pool = NULL;
	}
}

/* Some devices come back without the others first, for as long as it takes. */
static void start_alone(struct rig *found)
{
	const uint32_t all = (1U << found->config.devices) - 1;

	open_some(found, 1 + (uint32_t)rig_random(found, all - 1));
	rig_settle(found);
	pool_destroy(found->pool);
	found->pool = NULL;
}

static void examine(struct rig *found, bool is_kill)
{
	run_checker(found);
	if (rig_random(found, 8) == 0)
		crash_while_opening(found, 1 + (uint32_t)rig_random(found, 3));
	if (found->config.devices > 1 && rig_random(found, 4) == 0)
		start_alone(found);
	open_pool(found);
	rig_settle(found);
	check_all(found, is_kill);
}

uint64_t rig_states(const struct rig *rig, uint64_t most)
{
	return powercut_states(rig->devices[0], most);
}

void rig_probe(struct rig *rig, bool is_kill, uint64_t which)
{
	struct rig *found = calloc(1, sizeof(*found));

	assert(found);
	begin_found(found, rig);
	found->random = rig_random(rig, UINT32_MAX) + 1;
	for (uint32_t d = 0; d < rig->config.devices; d++)
		found->devices[d] = which == UINT64_MAX ?
			powercut_fork(rig->devices[d], is_kill, chance, found) :
			powercut_fork_state(rig->devices[d], which);
	examine(found, is_kill);
	rig_finish(found);
	free(found);
}

void rig_crash(struct rig *rig, bool is_kill)
{
	rig->crashes++;
	for (uint32_t d = 0; d < rig->config.devices; d++) {
		struct powercut *found =
			powercut_fork(rig->devices[d], is_kill, chance, rig);

		powercut_destroy(rig->devices[d]);
		rig->devices[d] = found;
		rig->compactions += rig->pool->members[d]->log.compactions;
	}
	pool_destroy(rig->pool);
	rig->pool = NULL;
	memset(rig->ops, 0, sizeof(rig->ops));
	rig->flushing = 0;
	rig->is_evacuating = false;
	examine(rig, is_kill);
}

/* ---- life ---- */

void rig_init(struct rig *rig, const struct rig_config *config)
{
	memset(rig, 0, sizeof(*rig));
	rig->config = *config;
	rig->random = config->seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	for (uint32_t i = 0; i < RIG_VOLUMES; i++)
		rig->volumes[i].rig = rig;
	for (uint32_t d = 0; d < config->devices; d++)
		rig->devices[d] = powercut_create(
			METADATA_BYTES + config->extents * FORMAT_EXTENT_BYTES);
	open_pool(rig);
	rig_settle(rig);
}

void rig_finish(struct rig *rig)
{
	pool_destroy(rig->pool);
	for (uint32_t d = 0; d < rig->config.devices; d++)
		powercut_destroy(rig->devices[d]);
}

struct rig *rig_make(uint32_t devices, uint32_t every)
{
	const struct rig_config config = {
		.devices = devices,
		.extents = 24,
		.area_blocks = 48,
		.open_extents = 4,
		.seed = 1,
	};
	struct rig *rig = calloc(1, sizeof(*rig));

	assert(rig);
	rig_init(rig, &config);
	rig_create(rig, 0, 6 * FORMAT_EXTENT_BYTES, false);
	rig_settle(rig);
	for (uint32_t cell = 0; cell < 24; cell += every)
		rig_write(rig, 0, cell);
	rig_settle(rig);
	return rig;
}

void rig_free(struct rig *rig)
{
	rig_finish(rig);
	free(rig);
}

/* ---- any load ---- */

static uint64_t any_size(struct rig *rig)
{
	return (1 + rig_random(rig, RIG_EXTENTS - 1)) * FORMAT_EXTENT_BYTES +
		rig_random(rig, 2) * (FORMAT_EXTENT_BYTES / 2);
}

void rig_anything(struct rig *rig)
{
	const uint32_t slot = (uint32_t)rig_random(rig, RIG_VOLUMES);
	const uint32_t cell = (uint32_t)rig_random(rig, RIG_CELLS);
	const uint32_t d = (uint32_t)rig_random(rig, rig->config.devices);
	const uint32_t what = (uint32_t)rig_random(rig, 102);

	if (what == 100 && rig->config.devices > 1)
		rig_evacuate(rig, d);
	else if (what == 101 && rig->config.devices > 1 &&
		 rig_random(rig, 4) == 0)
		rig_undo(rig, d);
	else if (what < 55)
		rig_write(rig, slot, cell);
	else if (what < 67)
		rig_discard(rig, slot, cell / RIG_CELLS_OF,
			    1 + (uint32_t)rig_random(rig, 3));
	else if (what < 77)
		rig_flush(rig);
	else if (what < 85)
		rig_read(rig, slot, cell);
	else if (what < 90)
		rig_create(rig, slot, any_size(rig), rig_random(rig, 4) == 0);
	else if (what < 93)
		rig_delete(rig, slot);
	else if (what < 96)
		rig_resize(rig, slot, any_size(rig));
	else if (what < 98)
		rig_snapshot(rig, slot, (uint32_t)rig_random(rig, RIG_VOLUMES));
	else
		log_compact(&rig->pool
				     ->members[rig_random(
					     rig, rig->pool->member_count)]
				     ->log);
}
