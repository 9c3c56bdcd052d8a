/* SPDX-License-Identifier: Apache-2.0 */
/* records-hash.c - which entry of the file a record is a change of */
#include "host/records.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/ctl.h"

/* FNV-1a of the canonical text; takes 'json' over. */
static void hash_json(json_t *json, char text[RECORDS_HASH_MAX])
{
	char *words = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS);
	uint64_t hash = UINT64_C(14695981039346656037);
	const char *c;

	for (c = words ? words : ""; *c; c++)
		hash = (hash ^ (unsigned char)*c) * UINT64_C(1099511628211);
	snprintf(text, RECORDS_HASH_MAX, "%016" PRIx64, hash);
	free(words);
	json_decref(json);
}

json_t *records_vdev_json(const struct config_vdev *entry)
{
	/* Not of one who says nothing: so it is what it always was. */
	const char *on_error = entry->on_error == ON_ERROR_REPORT ?
		NULL :
		on_error_name(entry->on_error);

	return json_pack("{s:s, s:s, s:I, s:i, s:b, s:s?, s:o, s:s*}", "name",
			 entry->name, "pool", entry->pool, "size",
			 (json_int_t)(entry->size_bytes / 512), "queues",
			 (int)entry->queues, "read_only", entry->read_only,
			 "vhost_user", entry->vhost_user, "limits",
			 ctl_from_sched_limits(&entry->limits), "on_error",
			 on_error);
}

int records_ioprio(const struct match *match)
{
	return match->kind == MATCH_IOPRIO ? (int)match->number : -1;
}

json_t *records_match_json(const struct match *match)
{
	char text[CONFIG_MATCH_TEXT_MAX];

	return match_is_of_peer(match) ?
		json_string(config_format_match(match, text, sizeof(text))) :
		NULL;
}

json_t *records_process_json(const struct config_process *entry)
{
	return json_pack(
		"{s:I, s:s, s:s?, s:s?, s:i, s:o*, s:i, s:b, s:o, s:o}",
		"pasid", (json_int_t)entry->pasid, "name", entry->name, "vdev",
		entry->vdev ? entry->vdev : entry->policy, "vhost_user",
		entry->vhost_user, "ioprio", records_ioprio(&entry->match),
		"match", records_match_json(&entry->match), "weight",
		(int)entry->weight, "best_effort", entry->best_effort, "limits",
		ctl_from_sched_limits(&entry->limits), "sla",
		ctl_from_sla(&entry->sla));
}

void records_hash_vdev(const struct config_vdev *entry,
		       char text[RECORDS_HASH_MAX])
{
	hash_json(records_vdev_json(entry), text);
}

void records_hash_process(const struct config_process *entry,
			  char text[RECORDS_HASH_MAX])
{
	hash_json(records_process_json(entry), text);
}

/* What the file says of a device of a pool; what it turns out to be, or to be
 * named by others, changes nothing. */
void records_hash_device(const struct reg_device *device,
			 char text[RECORDS_HASH_MAX])
{
	json_t *entry = records_device_identity(device);

	json_object_set_new(
		entry, "size_bytes",
		json_integer((json_int_t)device->config->size_bytes));
	json_object_set_new(entry, "pool", json_string(device->pool->name));
	hash_json(entry, text);
}

void records_entry_vdev(const struct config *config, const char *name,
			char text[RECORDS_HASH_MAX])
{
	text[0] = '\0';
	for (unsigned int i = 0; i < config->vdev_count; i++)
		if (config->vdevs[i].served &&
		    strcmp(config->vdevs[i].name, name) == 0)
			records_hash_vdev(&config->vdevs[i], text);
}

void records_entry_process(const struct config *config, uint32_t pasid,
			   char text[RECORDS_HASH_MAX])
{
	text[0] = '\0';
	for (unsigned int i = 0; i < config->process_count; i++)
		if (config->processes[i].served &&
		    config->processes[i].pasid == pasid)
			records_hash_process(&config->processes[i], text);
}
