/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool-rig.h - a pool on devices whose power can be cut, its guests, and a
 * record of what they were told
 *
 * The record lies outside of the pool.  Of each cell (4 KiB, four of each
 * extent) it knows what was acknowledged and flushed, what was acknowledged
 * since, and what is under way.  After a crash:
 *
 *	power cut	a cell holds what was flushed last, or anything since
 *	kill		what was acknowledged last, or what was under way
 *
 * Every write has a number of its own, so that another volume's data, or older
 * data, are seen as such.
 */
#ifndef POOL_RIG_H
#define POOL_RIG_H

#include "pool/evacuate.h"
#include "pool/volume.h"
#include "powercut.h"

/* A sanitizer's allocator makes a crash some thirty times as dear: there one in
 * so many is tried. */
#ifdef __SANITIZE_ADDRESS__
#define RIG_SHARE		16U
#else
#define RIG_SHARE		1U
#endif

#define RIG_DEVICES_MAX	3U
#define RIG_VOLUMES	5U
#define RIG_EXTENTS	12U	/* the longest volume */
#define RIG_CELLS_OF	4U	/* of an extent */
#define RIG_CELLS	(RIG_EXTENTS * RIG_CELLS_OF)
#define RIG_OPS		12U
#define RIG_SINCE	24U

struct rig;

struct rig_config {
	uint32_t devices;
	uint32_t extents;	/* of each */
	uint32_t area_blocks;
	uint32_t log_limit_blocks;
	uint32_t open_extents;
	uint64_t seed;
};

struct rig_cell {
	uint64_t base;			/* the least that is there */
	uint64_t since[RIG_SINCE];	/* in order */
	uint32_t count, acked, marked;
	bool is_busy;
};

enum rig_state { RIG_NONE, RIG_CREATING, RIG_THERE, RIG_DELETING };

struct rig_volume {
	struct rig *rig;
	struct volume_change change;
	struct volume *volume;
	struct format_uuid uuid;
	enum rig_state state;
	uint64_t size_bytes, next_bytes;	/* next: 0 unless it changes */
	struct rig_volume *origin;	/* while it becomes a snapshot */
	bool is_snapshot, is_changing;
	struct rig_cell cells[RIG_CELLS];
};

struct rig_op {
	struct rig *rig;
	struct rig_volume *volume;	/* NULL: idle */
	struct volume_alloc alloc;
	struct block_request request;
	struct volume_unmap unmap;
	struct iovec iov;
	uint32_t cell, parity, parts;
	struct member *member;
	int result;
	uint64_t data[512];
};

struct rig {
	struct rig_config config;
	struct powercut *devices[RIG_DEVICES_MAX];
	struct pool *pool;
	struct rig_volume volumes[RIG_VOLUMES];
	struct rig_op ops[RIG_OPS];
	struct rig_flush {
		struct member_flush flush;
		struct rig *rig;
	} flushes[RIG_DEVICES_MAX];
	uint32_t flushing;
	struct evacuate evacuate;
	bool is_evacuating;
	int evacuated;			/* what came of the last one */
	uint64_t moved;
	struct pool_leave leave;
	bool is_leaving;
	int left;			/* what came of that */
	uint64_t random;
	uint64_t stamp;			/* the last one used */
	uint64_t uuids;
	bool is_damaged;		/* by the test; to be repaired */
	bool is_fork;			/* requests end in order */
	uint64_t events, crashes, writes, compactions, refused;
};

/* Makes the devices, and the pool. */
void rig_init(struct rig *rig, const struct rig_config *config);
void rig_finish(struct rig *rig);
/* The same, of 24 extents each, and a volume of 6 extents in which one of
 * 'every' cells is written, at rest. */
struct rig *rig_make(uint32_t devices, uint32_t every);
void rig_free(struct rig *rig);
uint64_t rig_random(struct rig *rig, uint64_t below);

/* One request of a device ends, chosen at random.  Returns false: none was
 * under way. */
bool rig_event(struct rig *rig);
/* Until nothing is under way. */
void rig_settle(struct rig *rig);

/* Begin something; false: not now. */
bool rig_create(struct rig *rig, uint32_t slot, uint64_t size_bytes,
		bool is_thick);
bool rig_delete(struct rig *rig, uint32_t slot);
bool rig_resize(struct rig *rig, uint32_t slot, uint64_t size_bytes);
bool rig_snapshot(struct rig *rig, uint32_t slot, uint32_t of);
bool rig_write(struct rig *rig, uint32_t slot, uint32_t cell);
bool rig_discard(struct rig *rig, uint32_t slot, uint32_t first,
		 uint32_t count);
bool rig_flush(struct rig *rig);
/* All that is on a device goes to the others. */
bool rig_evacuate(struct rig *rig, uint32_t from);
/* The end of that; nothing is under way: the device stays after all. */
bool rig_undo(struct rig *rig, uint32_t from);
/* The last device, which holds nothing, leaves the pool; when that is done it
 * is forgotten. */
int rig_leave(struct rig *rig);
void rig_forget_last(struct rig *rig);
bool rig_read(struct rig *rig, uint32_t slot, uint32_t cell);
/* Any of these. */
void rig_anything(struct rig *rig);

/* What would be found if it crashed now?  'which' < powercut_states of the one
 * device, or UINT64_MAX: at random. */
void rig_probe(struct rig *rig, bool is_kill, uint64_t which);
/* It crashes, and goes on with what is found. */
void rig_crash(struct rig *rig, bool is_kill);
/* As many states as a power cut could leave now, or 'most'. */
uint64_t rig_states(const struct rig *rig, uint64_t most);

/* ---- between its files ---- */

void rig_wrong(const struct rig *rig, const char *what, uint64_t a, uint64_t b);
/* '*ret_found' (NULL: no matter) is what the cell may hold from now on. */
void rig_check_cell(const struct rig *rig, const struct rig_volume *has,
		    const struct volume *volume, uint32_t number, bool is_kill,
		    struct rig_cell *ret_found);
bool rig_is_inside(uint32_t cell, uint64_t size_bytes);
void rig_forget_values(struct rig_cell *cell, uint64_t base);

#endif
