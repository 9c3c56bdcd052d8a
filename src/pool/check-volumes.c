/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check-volumes.c - the volumes of all devices together: see check.h
 *
 * A volume's parts may differ after a crash as pool.h says, and the next start
 * puts them together; that is told, and no fault.
 */
#include <errno.h>
#include <stdlib.h>

#include "pool/check-internal.h"

#define UNRELATED	0U	/* to nobody, as far as is known */

/* A volume, as the device with the greatest version knows it. */
struct known {
	const struct format_volume *is;
	bool has_older;		/* some device knows an older one */
	uint32_t root;		/* of what it is a snapshot, plus one */
};

struct all {
	struct check *check;
	struct known *volumes;
	uint32_t count, room;
};

static struct known *find(const struct all *all, const struct format_uuid *uuid)
{
	for (uint32_t i = 0; i < all->count; i++)
		if (format_uuid_equal(&all->volumes[i].is->uuid, uuid))
			return &all->volumes[i];
	return NULL;
}

static int add(struct all *all, const struct format_volume *is)
{
	struct known *known = find(all, &is->uuid);

	if (known) {
		known->has_older |= known->is->version != is->version;
		if (is->version > known->is->version)
			known->is = is;
		return 0;
	}
	if (all->count == all->room) {
		const uint32_t room = all->room * 2 + 16;
		struct known *volumes =
			realloc(all->volumes, room * sizeof(*volumes));

		if (!volumes)
			return -ENOMEM;
		all->volumes = volumes;
		all->room = room;
	}
	all->volumes[all->count++] = (struct known){.is = is};
	return 0;
}

/* The part of a volume that device 'd' knows; NULL: none. */
static const struct member_volume *part_of(const struct check *check,
					   uint32_t d,
					   const struct format_uuid *uuid)
{
	return check->is_part[d] ? member_find(check->members[d], uuid) : NULL;
}

static int gather(struct all *all)
{
	const struct check *check = all->check;
	int rc = 0;

	for (uint32_t d = 0; d < check->config->count; d++) {
		const struct member *member = check->members[d];

		if (!check->is_part[d])
			continue;
		for (uint32_t id = 1; id <= FORMAT_VOLUMES_MAX && rc == 0; id++)
			if (member->volumes[id])
				rc = add(all, &member->volumes[id]->is);
	}
	return rc;
}

/* ---- each volume ---- */

static bool is_here(const struct check *check, const struct format_uuid *uuid)
{
	for (uint32_t d = 0; d < check->config->count; d++)
		if (check->is_part[d] &&
		    format_uuid_equal(&check->members[d]->super.uuid, uuid))
			return true;
	return false;
}

static void say_missing(struct check *check, const struct known *known,
			const struct format_uuid *uuid)
{
	char text[2 * sizeof(uuid->bytes) + 1];

	for (size_t i = 0; i < sizeof(uuid->bytes); i++) {
		text[2 * i] = "0123456789abcdef"[uuid->bytes[i] >> 4];
		text[2 * i + 1] = "0123456789abcdef"[uuid->bytes[i] & 15];
	}
	text[2 * sizeof(uuid->bytes)] = '\0';
	check_say(
		check, NULL, true,
		"volume %s: some of it may be on device %s, which cannot be looked at or was not named: name all devices of the pool",
		known->is->name, text);
}

static void find_missing(struct check *check, const struct known *known)
{
	/* Each device names all the others: the first one is enough. */
	for (uint32_t d = 0; d < check->config->count; d++) {
		const struct member_volume *part =
			part_of(check, d, &known->is->uuid);

		if (!part)
			continue;
		for (uint32_t i = 0; i < part->member_count; i++)
			if (!is_here(check, &part->members[i]))
				say_missing(check, known, &part->members[i]);
		return;
	}
}

/* How many indexes of 'part' another device before 'd' maps too. */
static uint32_t count_twice(const struct check *check, uint32_t d,
			    const struct member_volume *part)
{
	const struct table *table = &part->own;
	uint32_t twice = 0;

	for (uint32_t before = 0; before < d; before++) {
		const struct member_volume *other =
			part_of(check, before, &part->is.uuid);

		if (!other)
			continue;
		for (uint32_t i = 0;
		     (i = table_next(table, i, table->count)) < table->count;
		     i++)
			if (i < other->own.count && table_get(&other->own, i))
				twice++;
	}
	return twice;
}

static uint32_t count_beyond(const struct known *known,
			     const struct member_volume *part)
{
	const struct table *table = &part->own;
	uint32_t i = format_extents(known->is->size_bytes), beyond = 0;

	for (; i < table->count &&
	     (i = table_next(table, i, table->count)) < table->count;
	     i++)
		beyond++;
	return beyond;
}

static void look_at_parts(struct check *check, const struct known *known)
{
	for (uint32_t d = 0; d < check->config->count; d++) {
		const struct member_volume *part =
			part_of(check, d, &known->is->uuid);
		const struct check_device *device = &check->config->devices[d];
		uint32_t count;

		if (!part)
			continue;
		count = count_twice(check, d, part);
		if (count > 0)
			check_say(
				check, device, false,
				"volume %s: %u extents are on another device too: the next start gives these back",
				known->is->name, count);
		count = count_beyond(known, part);
		if (count > 0)
			check_say(
				check, device, false,
				"volume %s: %u extents are beyond its end: the next start goes on giving them back",
				known->is->name, count);
	}
}

static void look_at(struct check *check, const struct known *known)
{
	const uint32_t half_done =
		FORMAT_VOLUME_CREATING | FORMAT_VOLUME_DELETING;

	if (known->has_older)
		check_say(
			check, NULL, false,
			"volume %s: not all devices know it as it is: the next start tells them",
			known->is->name);
	if (known->is->flags & half_done)
		check_say(
			check, NULL, false,
			"volume %s: was being made or deleted: the next start deletes it",
			known->is->name);
	find_missing(check, known);
	look_at_parts(check, known);
}

/* ---- extents that volumes share ---- */

/* Of a snapshot of a snapshot that is no more nobody knows. */
static uint32_t root_of(const struct all *all, const struct known *known)
{
	for (uint32_t left = all->count; known && left > 0; left--) {
		if (!(known->is->flags & FORMAT_VOLUME_SNAPSHOT))
			return (uint32_t)(known - all->volumes) + 1;
		known = find(all, &known->is->origin);
	}
	return UNRELATED;
}

/* Extents of 'part' that are a volume's to which it is not related. */
static uint32_t claim(const struct all *all, const struct member *member,
		      const struct member_volume *part, uint32_t *owners)
{
	const struct table *table = &part->own;
	const uint32_t root = find(all, &part->is.uuid)->root;
	uint32_t strangers = 0;

	for (uint32_t i = 0;
	     (i = table_next(table, i, table->count)) < table->count; i++) {
		uint32_t *owner = &owners[(table_get(table, i) & TABLE_NUMBER) -
					  member->config.first_number];

		if (*owner == UNRELATED)
			*owner = root;
		else if (root != UNRELATED && *owner != root)
			strangers++;
	}
	return strangers;
}

static int look_at_shared(struct all *all, uint32_t d)
{
	const struct member *member = all->check->members[d];
	uint32_t *owners;

	if (!member->references)
		return 0;	/* nothing is */
	owners = calloc(member->super.extent_count, sizeof(*owners));
	if (!owners)
		return -ENOMEM;
	for (uint32_t id = 1; id <= FORMAT_VOLUMES_MAX; id++) {
		const struct member_volume *part = member->volumes[id];
		const uint32_t strangers =
			part ? claim(all, member, part, owners) : 0;

		if (strangers > 0)
			check_say(
				all->check, &all->check->config->devices[d],
				true,
				"volume %s: %u extents are another volume's too, of which it is no snapshot: delete one of them, or restore from a backup",
				part->is.name, strangers);
	}
	free(owners);
	return 0;
}

int check_volumes(struct check *check)
{
	struct all all = {.check = check};
	int rc = gather(&all);

	for (uint32_t i = 0; i < all.count && rc == 0; i++) {
		all.volumes[i].root = root_of(&all, &all.volumes[i]);
		look_at(check, &all.volumes[i]);
	}
	for (uint32_t d = 0; d < check->config->count && rc == 0; d++)
		if (check->is_part[d])
			rc = look_at_shared(&all, d);
	free(all.volumes);
	return rc;
}
