/* SPDX-License-Identifier: Apache-2.0 */
/* pool-rig.c - see pool-rig.h */
#include "pool-rig.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/container.h"

#define PAGE	4096U

static const uint64_t cell_offsets[RIG_CELLS_OF] = {
	0, PAGE, FORMAT_EXTENT_BYTES / 2, FORMAT_EXTENT_BYTES - PAGE};

/* ---- chance ---- */

uint64_t rig_random(struct rig *rig, uint64_t below)
{
	uint64_t x = rig->random;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	rig->random = x;
	return (x >> 11) % below;
}

void rig_wrong(const struct rig *rig, const char *what, uint64_t a, uint64_t b)
{
	fprintf(stderr,
		"%s (%" PRIu64 ", %" PRIu64 "); seed %" PRIu64
		", event %" PRIu64 ", crash %" PRIu64 "\n",
		what, a, b, rig->config.seed, rig->events, rig->crashes);
	abort();
}

/* ---- cells ---- */

static uint64_t offset_of(uint32_t cell)
{
	return cell / RIG_CELLS_OF * FORMAT_EXTENT_BYTES +
		cell_offsets[cell % RIG_CELLS_OF];
}

bool rig_is_inside(uint32_t cell, uint64_t size_bytes)
{
	return offset_of(cell) + PAGE <= size_bytes;
}

static bool begin_value(struct rig_cell *cell, uint64_t value)
{
	if (cell->is_busy || cell->count == RIG_SINCE)
		return false;
	cell->since[cell->count++] = value;
	cell->is_busy = true;
	return true;
}

static void end_value(struct rig_cell *cell, bool is_acked)
{
	cell->is_busy = false;
	if (is_acked)
		cell->acked = cell->count;
}

void rig_forget_values(struct rig_cell *cell, uint64_t base)
{
	*cell = (struct rig_cell){.base = base};
}

static bool is_allowed(const struct rig_cell *cell, uint64_t value,
		       bool is_kill)
{
	uint32_t from = is_kill ? cell->acked : 0;

	if (from == 0 && value == cell->base)
		return true;
	for (uint32_t i = from ? from - 1 : 0; i < cell->count; i++)
		if (cell->since[i] == value)
			return true;
	return false;
}

static void wrong_cell(const struct rig *rig, const struct rig_volume *has,
		       uint32_t number, uint64_t value, bool is_kill)
{
	const struct rig_cell *cell = &has->cells[number];

	fprintf(stderr, "%s, %s %u, state %d: at least %" PRIu64 ", then",
		is_kill ? "killed" : "power cut",
		has->is_snapshot ? "snapshot" : "volume", has->uuid.bytes[0],
		has->state, cell->base);
	for (uint32_t i = 0; i < cell->count; i++)
		fprintf(stderr, " %" PRIu64 "%s", cell->since[i],
			i < cell->acked ? "" : "?");
	fprintf(stderr, "\n");
	rig_wrong(rig, "a cell holds what it must not", number, value);
}

static const uint64_t *find_cell(const struct rig *rig,
				 const struct volume *volume, uint32_t number)
{
	static const uint64_t zeroes[PAGE / 8];
	struct volume_place place;
	const void *data;
	uint64_t bytes;

	switch (volume_read(volume, offset_of(number), PAGE, &place, &bytes)) {
	case VOLUME_MISSING:
		rig_wrong(rig, "a cell is missing", number, 0);
		break;
	case VOLUME_ZERO:
		return zeroes;
	case VOLUME_MAPPED:
		break;
	}
	for (uint32_t d = 0; d < rig->config.devices; d++) {
		if (powercut_device(rig->devices[d]) !=
		    place.member->config.device)
			continue;
		data = powercut_peek(rig->devices[d], place.offset_bytes);
		return data;
	}
	rig_wrong(rig, "a cell is on no device", number, 0);
	return zeroes;
}

/* Of what a crash has torn some sectors are old and some are new: from now on
 * it is either. */
void rig_check_cell(const struct rig *rig, const struct rig_volume *has,
		    const struct volume *volume, uint32_t number, bool is_kill,
		    struct rig_cell *ret_found)
{
	const uint64_t *data = find_cell(rig, volume, number);
	struct rig_cell found = {.base = data[0]};

	for (uint32_t i = 0; i < PAGE / 8; i++) {
		if (i > 0 && data[i] == data[i - 1])
			continue;
		if (!is_allowed(&has->cells[number], data[i], is_kill))
			wrong_cell(rig, has, number, data[i], is_kill);
		if (i % 64)
			rig_wrong(rig, "a sector is torn", number, data[i]);
		if (!is_allowed(&found, data[i], false))
			found.since[found.count++] = data[i];
	}
	if (ret_found)
		*ret_found = found;
}

/* ---- changes ---- */

static struct rig_volume *volume_at(struct rig *rig, uint32_t slot)
{
	return &rig->volumes[slot];
}

static void become_snapshot(struct rig_volume *has)
{
	for (uint32_t c = 0; c < RIG_CELLS; c++)
		if (rig_is_inside(c, has->size_bytes))
			rig_check_cell(has->rig, has, has->volume, c, false,
				       &has->cells[c]);
	has->is_snapshot = true;
	has->origin = NULL;
}

static void changed(struct volume_change *change, int result)
{
	struct rig_volume *has =
		container_of(change, struct rig_volume, change);

	has->is_changing = false;
	if (result == -ENOSPC && has->next_bytes) {
		has->next_bytes = 0; /* no room to copy what is shared */
		return;
	}
	if (result < 0)
		rig_wrong(has->rig, "a change has failed", (uint64_t)-result,
			  has->state);
	if (has->state == RIG_CREATING) {
		has->state = RIG_THERE;
		if (has->origin)
			become_snapshot(has);
	} else if (has->state == RIG_DELETING) {
		has->state = RIG_NONE;
	} else {
		for (uint32_t c = 0; c < RIG_CELLS; c++)
			if (!rig_is_inside(c, has->next_bytes))
				rig_forget_values(&has->cells[c], 0);
			else if (!rig_is_inside(c, has->size_bytes))
				rig_forget_values(&has->cells[c], 0);
		has->size_bytes = has->next_bytes;
		has->next_bytes = 0;
	}
}

static void name_anew(struct rig *rig, struct rig_volume *has,
		      struct volume_config *config, char name[32])
{
	has->change.done = changed;
	memset(&has->uuid, 0, sizeof(has->uuid));
	rig->uuids++;
	memcpy(has->uuid.bytes, &rig->uuids, sizeof(rig->uuids));
	snprintf(name, 32, "volume %" PRIu64, rig->uuids);
	config->uuid = has->uuid;
	config->name = name;
}

bool rig_create(struct rig *rig, uint32_t slot, uint64_t size_bytes,
		bool is_thick)
{
	struct rig_volume *has = volume_at(rig, slot);
	struct volume_config config = {
		.size_bytes = size_bytes,
		.is_thick = is_thick,
	};
	char name[32];
	int rc;

	if (has->state != RIG_NONE)
		return false;
	name_anew(rig, has, &config, name);
	has->state = RIG_CREATING;
	has->is_changing = true;
	has->is_snapshot = false;
	has->origin = NULL;
	has->size_bytes = size_bytes;
	has->next_bytes = 0;
	for (uint32_t c = 0; c < RIG_CELLS; c++)
		rig_forget_values(&has->cells[c], 0);
	rc = volume_create(rig->pool, &config, &has->change, &has->volume);
	if (rc == 0)
		return true;
	if (rc != -ENOSPC)
		rig_wrong(rig, "volume_create", (uint64_t)-rc, 0);
	has->state = RIG_NONE;
	return false;
}

bool rig_delete(struct rig *rig, uint32_t slot)
{
	struct rig_volume *has = volume_at(rig, slot);

	if (has->state != RIG_THERE || has->is_changing)
		return false;
	/* Nobody uses it. */
	for (uint32_t i = 0; i < RIG_OPS; i++)
		if (rig->ops[i].volume == has)
			return false;
	for (uint32_t i = 0; i < RIG_VOLUMES; i++)
		if (rig->volumes[i].origin == has)
			return false;
	if (volume_is_changing(has->volume))
		return false;
	has->state = RIG_DELETING;
	has->is_changing = true;
	if (volume_delete(has->volume, &has->change) < 0)
		rig_wrong(rig, "volume_delete", slot, 0);
	return true;
}

bool rig_resize(struct rig *rig, uint32_t slot, uint64_t size_bytes)
{
	struct rig_volume *has = volume_at(rig, slot);
	int rc;

	if (has->state != RIG_THERE || has->is_changing || has->is_snapshot ||
	    volume_is_changing(has->volume))
		return false;
	for (uint32_t i = 0; i < RIG_OPS; i++)
		if (rig->ops[i].volume == has)
			return false;
	/* What is cut off becomes zero. */
	for (uint32_t c = 0; c < RIG_CELLS; c++)
		if (!rig_is_inside(c, size_bytes) &&
		    has->cells[c].count == RIG_SINCE)
			return false;
	has->is_changing = true;
	has->next_bytes = size_bytes;
	for (uint32_t c = 0; c < RIG_CELLS; c++)
		if (!rig_is_inside(c, size_bytes) &&
		    offset_of(c) < (uint64_t)format_extents(size_bytes) *
				    FORMAT_EXTENT_BYTES) {
			begin_value(&has->cells[c], 0);
			has->cells[c].is_busy = false;
		}
	rc = volume_resize(has->volume, size_bytes, &has->change);
	if (rc == 0)
		return true;
	if (rc != -ENOSPC)
		rig_wrong(rig, "volume_resize", (uint64_t)-rc, 0);
	has->is_changing = false;
	has->next_bytes = 0;
	return false;
}

bool rig_snapshot(struct rig *rig, uint32_t slot, uint32_t of)
{
	struct rig_volume *has = volume_at(rig, slot);
	struct rig_volume *origin = volume_at(rig, of);
	struct volume_config config = {0};
	char name[32];
	int rc;

	if (has->state != RIG_NONE || origin->state != RIG_THERE ||
	    origin->is_changing || origin->is_snapshot ||
	    volume_is_changing(origin->volume))
		return false;
	name_anew(rig, has, &config, name);
	has->state = RIG_CREATING;
	has->is_changing = true;
	has->is_snapshot = false;
	has->size_bytes = origin->size_bytes;
	has->next_bytes = 0;
	has->origin = origin;
	memcpy(has->cells, origin->cells, sizeof(has->cells));
	rc = volume_snapshot(origin->volume, &config, &has->change,
			     &has->volume);
	if (rc == 0)
		return true;
	if (rc != -ENOSPC)
		rig_wrong(rig, "volume_snapshot", (uint64_t)-rc, 0);
	has->state = RIG_NONE;
	has->origin = NULL;
	return false;
}

/* Is there room to say so? */
static bool can_tell(const struct rig *rig, const struct rig_volume *origin,
		     uint32_t cell)
{
	for (uint32_t i = 0; i < RIG_VOLUMES; i++)
		if (rig->volumes[i].origin == origin &&
		    rig->volumes[i].cells[cell].count == RIG_SINCE)
			return false;
	return true;
}

/* What is written while a snapshot is made may be in it. */
static void tell_snapshots(struct rig *rig, const struct rig_volume *origin,
			   uint32_t cell, uint64_t value)
{
	for (uint32_t i = 0; i < RIG_VOLUMES; i++) {
		struct rig_cell *copy = &rig->volumes[i].cells[cell];

		if (rig->volumes[i].origin == origin && copy->count < RIG_SINCE)
			copy->since[copy->count++] = value;
	}
}

/* ---- requests ---- */

static struct rig_op *idle_op(struct rig *rig)
{
	for (uint32_t i = 0; i < RIG_OPS; i++)
		if (!rig->ops[i].volume)
			return &rig->ops[i];
	return NULL;
}

static void try_write(struct rig_op *op);

static void write_part(struct rig_op *op, int result)
{
	struct rig_volume *has = op->volume;

	if (result < 0)
		op->result = result;
	if (--op->parts > 0)
		return;
	op->rig->writes++;
	end_value(&has->cells[op->cell], op->result == 0);
	op->volume = NULL;
}

static void write_ended(struct block_request *request)
{
	struct rig_op *op = container_of(request, struct rig_op, request);

	member_leave(op->member, op->parity);
	if (op->alloc.tells)
		volume_wrote(&op->alloc, request->result);
	else
		write_part(op, request->result);
}

static void allocated(struct volume_alloc *alloc, int result)
{
	struct rig_op *op = container_of(alloc, struct rig_op, alloc);

	if (op->parts > 0 && result != -EAGAIN)
		write_part(op, result);
	else if (result == 0 || op->parts > 0)
		try_write(op);
	else
		rig_wrong(op->rig, "a write that waited has failed",
			  (uint64_t)-result, 0);
}

static void issue(struct rig_op *op, const struct volume_place *place)
{
	op->iov.iov_base = op->data;
	op->iov.iov_len = PAGE;
	op->member = place->member;
	op->parity = member_enter(place->member);
	op->request = (struct block_request){
		.done = write_ended,
		.iov = &op->iov,
		.iov_count = 1,
		.op = BLOCK_WRITE,
		.offset_bytes = place->offset_bytes,
		.length_bytes = PAGE,
	};
	block_submit(place->member->config.device, &op->request);
}

static void try_write(struct rig_op *op)
{
	struct volume *volume = op->volume->volume;
	const uint64_t offset = offset_of(op->cell);
	struct volume_place place;
	int rc = VOLUME_READY;

	if (!volume_map(volume, offset, PAGE, true, &place)) {
		op->alloc.done = allocated;
		op->alloc.tells = true;
		op->parts = 0;
		rc = volume_write(volume, offset, &op->alloc, &place);
	}
	if (rc == VOLUME_WAIT)
		return;
	if (rc < 0) {
		if (rc != -ENOSPC)
			rig_wrong(op->rig, "volume_write", (uint64_t)-rc, 0);
		op->rig->refused++;
		op->result = rc;
		op->parts = 1;
		write_part(op, rc);
		return;
	}
	/* No device of this test ends a request inside submit. */
	op->alloc.tells = rc == VOLUME_PLACED;
	op->parts = 1;
	issue(op, &place);
}

bool rig_write(struct rig *rig, uint32_t slot, uint32_t cell)
{
	struct rig_volume *has = volume_at(rig, slot);
	struct rig_op *op = idle_op(rig);

	if (!op || has->state != RIG_THERE || has->is_snapshot ||
	    has->next_bytes || !rig_is_inside(cell, has->size_bytes) ||
	    !can_tell(rig, has, cell) ||
	    !begin_value(&has->cells[cell], rig->stamp + 1))
		return false;
	rig->stamp++;
	tell_snapshots(rig, has, cell, rig->stamp);
	op->rig = rig;
	op->volume = has;
	op->cell = cell;
	op->result = 0;
	for (uint32_t i = 0; i < PAGE / 8; i++)
		op->data[i] = rig->stamp;
	op->alloc.avoid = 0;
	op->alloc.moves = 0;
	try_write(op);
	return true;
}

static void discarded(struct volume_unmap *unmap, int result)
{
	struct rig_op *op = container_of(unmap, struct rig_op, unmap);
	struct rig_volume *has = op->volume;

	if (result < 0)
		rig_wrong(op->rig, "a discard has failed", (uint64_t)-result,
			  0);
	for (uint32_t i = 0; i < op->parts; i++)
		end_value(&has->cells[op->cell + i], true);
	op->volume = NULL;
}

bool rig_discard(struct rig *rig, uint32_t slot, uint32_t first, uint32_t count)
{
	struct rig_volume *has = volume_at(rig, slot);
	struct rig_op *op = idle_op(rig);

	if (!op || has->state != RIG_THERE || has->is_snapshot ||
	    has->next_bytes ||
	    first + count > has->size_bytes >> FORMAT_EXTENT_SHIFT)
		return false;
	for (uint32_t i = 0; i < count * RIG_CELLS_OF; i++) {
		const struct rig_cell *cell =
			&has->cells[first * RIG_CELLS_OF + i];

		if (cell->is_busy || cell->count == RIG_SINCE ||
		    !can_tell(rig, has, first * RIG_CELLS_OF + i))
			return false;
	}
	op->rig = rig;
	op->volume = has;
	op->cell = first * RIG_CELLS_OF;
	op->parts = count * RIG_CELLS_OF;
	op->unmap.done = discarded;
	for (uint32_t i = 0; i < op->parts; i++) {
		begin_value(&has->cells[op->cell + i], 0);
		tell_snapshots(rig, has, op->cell + i, 0);
	}
	volume_unmap(has->volume, first, count, &op->unmap);
	return true;
}

static void device_flushed(struct member_flush *flush, int result)
{
	struct rig *rig = container_of(flush, struct rig_flush, flush)->rig;

	if (result < 0)
		rig_wrong(rig, "a flush has failed", (uint64_t)-result, 0);
	if (--rig->flushing > 0)
		return;
	for (uint32_t v = 0; v < RIG_VOLUMES; v++)
		for (uint32_t c = 0; c < RIG_CELLS; c++) {
			struct rig_cell *cell = &rig->volumes[v].cells[c];
			const uint32_t gone = cell->marked;

			if (gone == 0)
				continue;
			cell->base = cell->since[gone - 1];
			memmove(cell->since, cell->since + gone,
				(cell->count - gone) * sizeof(uint64_t));
			cell->count -= gone;
			cell->acked -= gone;
			cell->marked = 0;
		}
}

bool rig_flush(struct rig *rig)
{
	if (rig->flushing)
		return false;
	for (uint32_t v = 0; v < RIG_VOLUMES; v++)
		for (uint32_t c = 0; c < RIG_CELLS; c++)
			if (rig->volumes[v].state == RIG_THERE)
				rig->volumes[v].cells[c].marked =
					rig->volumes[v].cells[c].acked;
	rig->flushing = rig->pool->member_count;
	for (uint32_t m = 0; m < rig->pool->member_count; m++) {
		rig->flushes[m].rig = rig;
		rig->flushes[m].flush.done = device_flushed;
		member_flush(rig->pool->members[m], &rig->flushes[m].flush);
	}
	return true;
}

bool rig_read(struct rig *rig, uint32_t slot, uint32_t cell)
{
	struct rig_volume *has = volume_at(rig, slot);

	if (has->state != RIG_THERE || has->next_bytes ||
	    !rig_is_inside(cell, has->size_bytes))
		return false;
	rig_check_cell(rig, has, has->volume, cell, true, NULL);
	return true;
}
