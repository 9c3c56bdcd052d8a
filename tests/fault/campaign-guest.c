/* SPDX-License-Identifier: Apache-2.0 */
/* campaign-guest.c - see campaign.h */
#include "campaign.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define TIMEOUT_NS	UINT64_C(30000000000)
#define WORDS		(CELL_BYTES / 4)

static uint64_t offset_of(uint32_t cell)
{
	static const uint32_t places[CELLS_OF] = {0, EXTENT_BYTES / 2,
						  EXTENT_BYTES - CELL_BYTES};

	return cell / CELLS_OF * EXTENT_BYTES + places[cell % CELLS_OF];
}

/* ---- what a cell holds ---- */

static void fill(struct guest_slot *slot, uint32_t stamp)
{
	uint32_t *words = slot->iov.iov_base;

	for (uint32_t i = 0; i < WORDS; i += 2) {
		words[i] = slot->cell;
		words[i + 1] = stamp;
	}
}

/* Which write it is of; it is whole, and of this cell. */
static uint32_t stamp_of(const struct guest *guest, const uint32_t *words,
			 uint32_t cell)
{
	for (uint32_t i = 0; i < WORDS; i += 2)
		if (words[i + 1] != words[1] ||
		    words[i] != (words[1] ? cell : 0))
			die("%s: cell %u has write %u of cell %u, and %u of %u",
			    guest->name, cell, words[1], words[0], words[i + 1],
			    words[i]);
	return words[1];
}

static void remember(struct guest *guest, uint32_t cell, uint32_t stamp)
{
	uint32_t *count = &guest->value_count[cell];

	if (!guest->is_watched)
		return;
	if (*count < VALUES_MAX)
		guest->values[cell][*count] = stamp;
	++*count;	/* more than there is room for: anything */
}

void guest_watch(struct guest *guest)
{
	guest->is_watched = true;
	memset(guest->value_count, 0, sizeof(guest->value_count));
	for (uint32_t c = 0; c < guest->extents * CELLS_OF; c++)
		remember(guest, c, guest->stamps[c]);
	for (uint32_t i = 0; i < GUEST_DEPTH; i++) {
		const struct guest_slot *slot = &guest->slots[i];

		for (uint32_t c = 0; slot->in_flight && c < slot->cells; c++)
			remember(guest, slot->cell + c, slot->stamp);
	}
}

/* ---- the load ---- */

static bool is_free(const struct guest *guest, uint32_t cell, uint32_t cells)
{
	for (uint32_t c = cell; c < cell + cells; c++)
		if (guest->busy[c])
			return false;
	return true;
}

static void choose(struct guest *guest, struct guest_slot *slot)
{
	const uint32_t what = (uint32_t)random() % 100;
	struct vhost_client_request *request = &slot->request;

	slot->cell = (uint32_t)random() % (guest->extents * CELLS_OF);
	slot->cells = 1;
	request->iov_count = 1;
	request->op = VHOST_CLIENT_READ;
	if (what < 60) {
		request->op = VHOST_CLIENT_WRITE;
	} else if (what < 72) {
		request->op = VHOST_CLIENT_DISCARD;
		slot->cell -= slot->cell % CELLS_OF;
		slot->cells = CELLS_OF;
		request->length_bytes = EXTENT_BYTES;
		request->iov_count = 0;
	} else if (what < 76) {
		request->op = VHOST_CLIENT_FLUSH;
		slot->cells = 0;
		request->iov_count = 0;
	}
}

static void submit(struct guest *guest, struct guest_slot *slot)
{
	static uint32_t last_stamp;
	int rc;

	do
		choose(guest, slot);
	while (!is_free(guest, slot->cell, slot->cells));
	slot->stamp = guest->stamps[slot->cell];
	if (slot->request.op == VHOST_CLIENT_WRITE) {
		slot->stamp = ++last_stamp;
		fill(slot, slot->stamp);
	} else if (slot->request.op == VHOST_CLIENT_READ) {
		fill(slot, UINT32_MAX);
	} else {
		slot->stamp = 0;
	}
	slot->request.offset_bytes = slot->cells ? offset_of(slot->cell) : 0;
	slot->request.result = 1;
	rc = vhost_client_add(guest->queue, &slot->request);
	if (rc < 0)
		die("%s: a request cannot be made: %s", guest->name,
		    strerror(-rc));
	slot->in_flight = true;
	for (uint32_t c = 0; c < slot->cells; c++) {
		guest->busy[slot->cell + c] = true;
		remember(guest, slot->cell + c, slot->stamp);
	}
}

static void complete(struct guest *guest, struct guest_slot *slot)
{
	if (!slot->in_flight)
		die("%s: a request is done twice", guest->name);
	if (slot->request.result < 0)
		die("%s: operation %u on cell %u failed: %s", guest->name,
		    slot->request.op, slot->cell,
		    strerror(-slot->request.result));
	slot->in_flight = false;
	for (uint32_t c = 0; c < slot->cells; c++) {
		guest->busy[slot->cell + c] = false;
		guest->stamps[slot->cell + c] = slot->stamp;
	}
	guest->writes += slot->request.op == VHOST_CLIENT_WRITE;
	guest->discards += slot->request.op == VHOST_CLIENT_DISCARD;
	guest->flushes += slot->request.op == VHOST_CLIENT_FLUSH;
	if (slot->request.op == VHOST_CLIENT_READ) {
		const uint32_t has =
			stamp_of(guest, slot->iov.iov_base, slot->cell);

		guest->reads++;
		if (has != slot->stamp)
			die("%s: cell %u has write %u, and %u was acknowledged",
			    guest->name, slot->cell, has, slot->stamp);
	}
}

static bool reap(struct guest *guest)
{
	struct vhost_client_request *done[GUEST_DEPTH];
	const int count = vhost_client_reap(guest->queue, done, GUEST_DEPTH);

	if (count < 0)
		die("%s: the queue is broken", guest->name);
	for (int i = 0; i < count; i++)
		complete(guest, (struct guest_slot *)done[i]);
	return count > 0;
}

bool guest_turn(struct guest *guest)
{
	if (!guest->client)
		return false;
	for (uint32_t i = 0; i < GUEST_DEPTH; i++)
		if (!guest->slots[i].in_flight)
			submit(guest, &guest->slots[i]);
	vhost_client_publish(guest->queue);
	return reap(guest);
}

void guest_finish(struct guest *guest)
{
	while (vhost_client_in_flight(guest->queue) > 0)
		if (!reap(guest))
			sched_yield();
}

void guest_lengthen(struct guest *guest, uint32_t extents)
{
	for (uint32_t c = guest->extents * CELLS_OF; c < extents * CELLS_OF;
	     c++)
		guest->stamps[c] = 0;
	guest->extents = extents;
}

/* ---- connections ---- */

void guest_init(struct guest *guest, const char *name, const char *path,
		uint32_t extents)
{
	const size_t bytes = GUEST_DEPTH * CELL_BYTES;

	guest->name = name;
	guest->path = path;
	guest->extents = extents;
	guest->memory_fd = memfd_create(name, MFD_CLOEXEC);
	if (guest->memory_fd < 0 || ftruncate(guest->memory_fd, (off_t)bytes))
		die("memory of a guest");
	guest->memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
			     guest->memory_fd, 0);
	if (guest->memory == MAP_FAILED)
		die("memory of a guest");
	for (uint32_t i = 0; i < GUEST_DEPTH; i++) {
		struct guest_slot *slot = &guest->slots[i];

		slot->iov = (struct iovec){guest->memory + i * CELL_BYTES,
					   CELL_BYTES};
		slot->request.iov = &slot->iov;
	}
}

static struct vhost_client *connect_to(const struct guest *guest,
				       const char *path)
{
	const struct vhost_client_region region = {
		.fd = guest->memory_fd,
		.address = guest->memory,
		.size_bytes = GUEST_DEPTH * CELL_BYTES,
	};
	const struct vhost_client_config config = {
		.path = path,
		.queues = 1,
		.queue_size = 64,
		.event_index = true,
		.indirect = true,
		.timeout_ns = TIMEOUT_NS,
		.regions = &region,
		.region_count = 1,
	};
	struct vhost_client *client;
	struct error why;

	if (vhost_client_create(&config, &client, &why) < 0)
		die("%s: %s", guest->name, why.text);
	return client;
}

void guest_connect(struct guest *guest)
{
	guest->client = connect_to(guest, guest->path);
	guest->queue = vhost_client_queue(guest->client, 0);
}

void guest_reconnect(struct guest *guest)
{
	struct error why;
	bool resized;

	while (vhost_client_check(guest->client, &resized) == 0)
		sched_yield();
	while (reap(guest))
		;
	if (vhost_client_reconnect(guest->client, &why) < 0)
		die("%s: %s", guest->name, why.text);
}

void guest_disconnect(struct guest *guest)
{
	vhost_client_destroy(guest->client);
	guest->client = NULL;
}

/* ---- looking at all of it ---- */

static uint32_t read_cell(const struct guest *guest,
			  struct vhost_client_queue *queue, uint32_t cell)
{
	static struct vhost_client_request request, *done;
	static struct iovec iov;

	iov = guest->slots[0].iov;
	request = (struct vhost_client_request){
		.iov = &iov,
		.iov_count = 1,
		.op = VHOST_CLIENT_READ,
		.offset_bytes = offset_of(cell),
	};
	if (vhost_client_add(queue, &request) < 0)
		die("%s: a cell cannot be read", guest->name);
	vhost_client_publish(queue);
	while (vhost_client_reap(queue, &done, 1) == 0)
		sched_yield();
	if (request.result < 0)
		die("%s: cell %u cannot be read", guest->name, cell);
	return stamp_of(guest, iov.iov_base, cell);
}

void guest_check_all(struct guest *guest)
{
	for (uint32_t c = 0; c < guest->extents * CELLS_OF; c++) {
		const uint32_t has = read_cell(guest, guest->queue, c);

		if (has != guest->stamps[c])
			die("%s: cell %u has write %u, and %u was acknowledged",
			    guest->name, c, has, guest->stamps[c]);
	}
}

static bool is_remembered(const struct guest *guest, uint32_t cell,
			  uint32_t stamp)
{
	const uint32_t count = guest->value_count[cell];

	for (uint32_t i = 0; i < count && i < VALUES_MAX; i++)
		if (guest->values[cell][i] == stamp)
			return true;
	return count > VALUES_MAX;
}

void guest_check_snapshot(struct guest *guest, const char *path)
{
	struct guest reader = {.name = "snapshot"};

	guest_init(&reader, "snapshot", path, guest->extents);
	guest_connect(&reader);
	for (uint32_t c = 0; c < guest->extents * CELLS_OF; c++) {
		const uint32_t has = read_cell(&reader, reader.queue, c);

		if (!is_remembered(guest, c, has))
			die("snapshot: cell %u has write %u, which it had not when the snapshot was made",
			    c, has);
		guest->values[c][0] = has;
		guest->value_count[c] = 1;
	}
	guest_disconnect(&reader);
	munmap(reader.memory, GUEST_DEPTH * CELL_BYTES);
	close(reader.memory_fd);
}
