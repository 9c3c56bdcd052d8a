/* SPDX-License-Identifier: Apache-2.0 */
/*
 * campaign.h - a guest of the crash campaign, and what it was told
 *
 * A guest has some requests in flight all the time, at most one for each cell
 * (4 KiB, three of each extent): writes, reads, flushes, discards of whole
 * extents.  A cell's content says which write of which cell it is; the guest
 * remembers the last one that was done, so that each read, in the middle of the
 * load too, must show just that one.  What was in flight when the endpoint was
 * killed is done by the next one, once.
 */
#ifndef TESTS_FAULT_CAMPAIGN_H
#define TESTS_FAULT_CAMPAIGN_H

#include <stdbool.h>
#include <stdint.h>

#include "vhost/client.h"

#define CELL_BYTES	4096U
#define EXTENT_BYTES	(UINT64_C(1) << 20)
#define CELLS_OF	3U	/* of an extent */
#define EXTENTS_MAX	24U
#define CELLS_MAX	(EXTENTS_MAX * CELLS_OF)
#define GUEST_DEPTH	12U
#define VALUES_MAX	12U

struct guest_slot {
	struct vhost_client_request request;
	struct iovec iov;
	uint32_t cell, cells;	/* a discard: all of an extent */
	uint32_t stamp;		/* that it writes, or must read */
	bool in_flight;
};

struct guest {
	const char *name, *path;
	int memory_fd;
	char *memory;
	struct vhost_client *client;
	struct vhost_client_queue *queue;
	struct guest_slot slots[GUEST_DEPTH];
	uint32_t extents;		/* that it uses */
	uint32_t stamps[CELLS_MAX];	/* of the last one done; 0: zeroes */
	bool busy[CELLS_MAX];
	/* While a snapshot is made: what the cell may have in it. */
	bool is_watched;
	uint32_t values[CELLS_MAX][VALUES_MAX];
	uint32_t value_count[CELLS_MAX];
	uint64_t writes, reads, discards, flushes;
};

/* Ends the campaign with one line. */
void die(const char *format, ...)
	__attribute__((format(printf, 1, 2), noreturn));

void guest_init(struct guest *guest, const char *name, const char *path,
		uint32_t extents);
void guest_connect(struct guest *guest);
/* After the endpoint has died: once it listens again. */
void guest_reconnect(struct guest *guest);
/* If it is connected: something more is under way; has something ended? */
bool guest_turn(struct guest *guest);
/* Nothing is in flight any more. */
void guest_finish(struct guest *guest);
/* So many from now on; what is new is zeroes. */
void guest_lengthen(struct guest *guest, uint32_t extents);
void guest_disconnect(struct guest *guest);

/* From now on each value that a cell may have is remembered. */
void guest_watch(struct guest *guest);
/* Read all cells of the snapshot at 'path': one of the values that were
 * remembered, which it has from now on. */
void guest_check_snapshot(struct guest *guest, const char *path);
/* Read all cells. */
void guest_check_all(struct guest *guest);

#endif
