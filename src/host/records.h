/* SPDX-License-Identifier: Apache-2.0 */
/*
 * records.h - what the store remembers, to and from the registry
 *
 * "Changes made at run time win until the file's own entry changes": each
 * record of a change carries a hash of the entry that it changed.
 * Threads: the control thread's.
 */
#ifndef HOST_RECORDS_H
#define HOST_RECORDS_H

#include <jansson.h>

#include "base/error.h"
#include "host/registry.h"

struct events;
struct store;
struct store_write;

#define RECORDS_HASH_MAX	20U

/* What an entry of the file says; a new reference, or NULL: no memory. */
json_t *records_vdev_json(const struct config_vdev *entry);
/* A match by I/O priority, or -1; one by who connects, or NULL. */
int records_ioprio(const struct match *match);
json_t *records_match_json(const struct match *match);
json_t *records_process_json(const struct config_process *entry);
/* A hash of an entry of the file, as text. */
void records_hash_vdev(const struct config_vdev *entry,
		       char text[RECORDS_HASH_MAX]);
void records_hash_process(const struct config_process *entry,
			  char text[RECORDS_HASH_MAX]);

void records_hash_device(const struct reg_device *device,
			 char text[RECORDS_HASH_MAX]);

/* That of the served entry of this name, or pasid; "": the file has none. */
void records_entry_vdev(const struct config *config, const char *name,
			char text[RECORDS_HASH_MAX]);
void records_entry_process(const struct config *config, uint32_t pasid,
			   char text[RECORDS_HASH_MAX]);

/* Fill the registry with vdevs and processes: the file's, changed by what
 * the store has of run time, with the volumes and capacities it remembers.
 * Returns 0 or -errno with a reason. */
int records_load(struct registry *registry, struct store *store,
		 struct events *events, struct error *reterr);

/* What must be the same for a stored table to be of this device.  NULL: no
 * memory. */
json_t *records_device_identity(const struct reg_device *device);

/* Add a change to a group.  Each returns what store_write_put does. */
int records_put_capacity(struct store_write *write,
			 const struct reg_device *device);
/* Its UUID, whether volumes were made on it, and what it is asked to do. */
int records_put_device(struct store_write *write,
		       const struct reg_device *device);
/* That it was removed, and what the file says of it. */
int records_put_removed(struct store_write *write,
			const struct reg_device *device);
/* The vdev's volume, of its size: 'state' is "making", until it was there;
 * "there"; or "deleting". */
int records_put_volume(struct store_write *write, const struct reg_vdev *vdev,
		       const char *state);
/* That volumes are made on each device of the pool, where it is not yet. */
int records_put_held(struct store_write *write, const struct reg_pool *pool);
int records_forget_volume(struct store_write *write, const char *uuid);
/* 'op': "created", "resized" or "deleted". */
int records_put_vdev(struct store_write *write, const struct reg_vdev *vdev,
		     const char *op);
/* 'op': "added", "updated" or "released". */
int records_put_process(struct store_write *write,
			const struct reg_process *process, const char *op);

#endif
