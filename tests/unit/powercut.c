/* SPDX-License-Identifier: Apache-2.0 */
/* powercut.c - see powercut.h */
#include "powercut.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PAGE		4096U
#define SECTOR		512U

/* What a block of 4 KiB held at some time; shared by those who have it. */
struct page {
	uint64_t references;
	unsigned char data[PAGE];
};

/* A version that is not on stable storage for sure. */
struct version {
	uint64_t index;
	struct page *page;	/* NULL: zeroes */
};

struct pending {
	struct block_request *request;
	uint64_t versions;	/* a flush: those that came before it */
};

struct powercut {
	struct block_device device;
	uint64_t page_count;
	struct page **durable, **now;
	struct version *versions;
	uint64_t version_count, version_capacity;
	struct pending *pending;
	uint32_t pending_count, pending_capacity;
	uint64_t fail_offset_bytes, fail_length_bytes;
};

/* ---- pages ---- */

static struct page *get(struct page *page)
{
	if (page)
		page->references++;
	return page;
}

static void put(struct page *page)
{
	if (page && --page->references == 0)
		free(page);
}

static void set(struct page **slot, struct page *page)
{
	struct page *old = *slot;

	*slot = get(page);
	put(old);
}

static struct page *make(const struct page *from)
{
	struct page *page = calloc(1, sizeof(*page));

	assert(page);
	page->references = 1;
	if (from)
		memcpy(page->data, from->data, PAGE);
	return page;
}

static void add_version(struct powercut *cut, uint64_t index, struct page *page)
{
	if (cut->version_count == cut->version_capacity) {
		cut->version_capacity = cut->version_capacity * 2 + 64;
		cut->versions =
			realloc(cut->versions,
				cut->version_capacity * sizeof(*cut->versions));
		assert(cut->versions);
	}
	cut->versions[cut->version_count++] =
		(struct version){.index = index, .page = get(page)};
	set(&cut->now[index], page);
}

/* ---- requests ---- */

static struct powercut *powercut_of(struct block_device *device)
{
	return (struct powercut *)device;
}

static void submit(struct block_device *device, struct block_request *request)
{
	struct powercut *cut = powercut_of(device);

	assert(request->offset_bytes + request->length_bytes <=
	       device->size_bytes);
	if (cut->pending_count == cut->pending_capacity) {
		cut->pending_capacity = cut->pending_capacity * 2 + 16;
		cut->pending =
			realloc(cut->pending,
				cut->pending_capacity * sizeof(*cut->pending));
		assert(cut->pending);
	}
	cut->pending[cut->pending_count++] = (struct pending){
		.request = request,
		.versions = cut->version_count,
	};
}

static void gather(const struct block_request *request, unsigned char *to)
{
	for (uint32_t i = 0; i < request->iov_count; i++) {
		memcpy(to, request->iov[i].iov_base, request->iov[i].iov_len);
		to += request->iov[i].iov_len;
	}
}

static void do_read(const struct powercut *cut, struct block_request *request)
{
	uint64_t at = request->offset_bytes;

	for (uint32_t i = 0; i < request->iov_count; i++) {
		unsigned char *to = request->iov[i].iov_base;
		size_t left = request->iov[i].iov_len;

		while (left > 0) {
			const struct page *page = cut->now[at / PAGE];
			size_t part = PAGE - at % PAGE;

			if (part > left)
				part = left;
			if (page)
				memcpy(to, page->data + at % PAGE, part);
			else
				memset(to, 0, part);
			to += part;
			at += part;
			left -= part;
		}
	}
}

/* Write each sector for which 'chooses' says so; NULL: all. */
static void do_write(struct powercut *cut, const struct block_request *request,
		     uint64_t (*random)(void *arg, uint64_t below), void *arg)
{
	const uint64_t length = request->length_bytes;
	unsigned char *data = NULL;
	uint64_t done = 0;

	if (request->op == BLOCK_WRITE) {
		data = malloc(length);
		assert(data);
		gather(request, data);
	}
	while (done < length) {
		const uint64_t at = request->offset_bytes + done;
		const uint64_t index = at / PAGE;
		uint64_t part = PAGE - at % PAGE;
		struct page *page;

		if (part > length - done)
			part = length - done;
		if (!data && part == PAGE && (!random || random(arg, 2))) {
			if (cut->now[index])
				add_version(cut, index, NULL);
			done += part;
			continue;
		}
		page = make(cut->now[index]);
		for (uint64_t s = 0; s < part; s += SECTOR) {
			unsigned char *to = page->data + (at + s) % PAGE;
			const uint64_t bytes =
				part - s < SECTOR ? part - s : SECTOR;

			if (random && random(arg, 2))
				continue;
			if (data)
				memcpy(to, data + done + s, bytes);
			else
				memset(to, 0, bytes);
		}
		add_version(cut, index, page);
		put(page);
		done += part;
	}
	free(data);
}

/* The first 'count' versions are on stable storage. */
static void settle(struct powercut *cut, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++) {
		set(&cut->durable[cut->versions[i].index],
		    cut->versions[i].page);
		put(cut->versions[i].page);
	}
	if (count == 0)
		return;
	memmove(cut->versions, cut->versions + count,
		(cut->version_count - count) * sizeof(*cut->versions));
	cut->version_count -= count;
	for (uint32_t i = 0; i < cut->pending_count; i++)
		cut->pending[i].versions -= cut->pending[i].versions < count ?
			cut->pending[i].versions :
			count;
}

uint32_t powercut_pending(const struct powercut *cut)
{
	return cut->pending_count;
}

static bool is_hit(const struct powercut *cut,
		   const struct block_request *request)
{
	return request->offset_bytes <
		cut->fail_offset_bytes + cut->fail_length_bytes &&
		cut->fail_offset_bytes <
		request->offset_bytes + request->length_bytes;
}

void powercut_end(struct powercut *cut, uint32_t which)
{
	const struct pending pending = cut->pending[which];
	struct block_request *request = pending.request;

	assert(which < cut->pending_count);
	memmove(cut->pending + which, cut->pending + which + 1,
		(cut->pending_count - which - 1) * sizeof(*cut->pending));
	cut->pending_count--;
	request->result = is_hit(cut, request) ? -EIO : 0;
	switch ((enum block_op)(request->result < 0 ? BLOCK_DISCARD :
						      request->op)) {
	case BLOCK_READ:
		do_read(cut, request);
		break;
	case BLOCK_WRITE:
	case BLOCK_WRITE_ZEROES:
		do_write(cut, request, NULL, NULL);
		break;
	case BLOCK_FLUSH:
		settle(cut, pending.versions);
		break;
	case BLOCK_DISCARD:
		break;
	}
	request->done(request);
}

void powercut_fail(struct powercut *cut, uint64_t offset_bytes,
		   uint64_t length_bytes)
{
	cut->fail_offset_bytes = offset_bytes;
	cut->fail_length_bytes = length_bytes;
}

/* ---- life ---- */

static void destroy(struct block_device *device)
{
	powercut_destroy(powercut_of(device));
}

static const struct block_device_ops ops = {
	.kind = "powercut",
	.submit = submit,
	.destroy = destroy,
};

struct powercut *powercut_create(uint64_t size_bytes)
{
	struct powercut *cut = calloc(1, sizeof(*cut));

	assert(cut);
	cut->device.ops = &ops;
	cut->device.size_bytes = size_bytes;
	cut->device.block_size = SECTOR;
	cut->page_count = (size_bytes + PAGE - 1) / PAGE;
	cut->durable = calloc(cut->page_count, sizeof(*cut->durable));
	cut->now = calloc(cut->page_count, sizeof(*cut->now));
	assert(cut->durable && cut->now);
	return cut;
}

void powercut_destroy(struct powercut *cut)
{
	if (!cut)
		return;
	settle(cut, cut->version_count);
	for (uint64_t i = 0; i < cut->page_count; i++) {
		put(cut->durable[i]);
		put(cut->now[i]);
	}
	free(cut->durable);
	free(cut->now);
	free(cut->versions);
	free(cut->pending);
	free(cut);
}

struct block_device *powercut_device(struct powercut *cut)
{
	return &cut->device;
}

/* ---- what is found afterwards ---- */

static struct powercut *fork_of(const struct powercut *cut, struct page **pages)
{
	struct powercut *found = powercut_create(cut->device.size_bytes);

	for (uint64_t i = 0; i < cut->page_count; i++) {
		found->durable[i] = get(pages[i]);
		found->now[i] = get(pages[i]);
	}
	return found;
}

/* The versions of each block stand together, in their order. */
static int by_block(const void *a, const void *b)
{
	const struct version *const *one = a, *const *other = b;

	if ((*one)->index != (*other)->index)
		return (*one)->index < (*other)->index ? -1 : 1;
	return *one < *other ? -1 : *one > *other;
}

static const struct version **sorted(const struct powercut *cut)
{
	const struct version **list =
		calloc(cut->version_count + 1, sizeof(*list));

	assert(list);
	for (uint64_t i = 0; i < cut->version_count; i++)
		list[i] = &cut->versions[i];
	qsort(list, cut->version_count, sizeof(*list), by_block);
	return list;
}

static uint64_t same_block(const struct powercut *cut,
			   const struct version **list, uint64_t from)
{
	uint64_t to = from;

	while (to < cut->version_count && list[to]->index == list[from]->index)
		to++;
	return to - from;
}

uint64_t powercut_states(const struct powercut *cut, uint64_t most)
{
	const struct version **list = sorted(cut);
	uint64_t states = 1;

	for (uint64_t i = 0, n; i < cut->version_count && states < most;
	     i += n) {
		n = same_block(cut, list, i);
		states *= n + 1;
	}
	free(list);
	return states < most ? states : most;
}

static void choose_versions(const struct powercut *cut, struct powercut *found,
			    uint64_t (*choose)(void *arg, uint64_t below),
			    void *arg)
{
	const struct version **list = sorted(cut);

	for (uint64_t i = 0, n; i < cut->version_count; i += n) {
		uint64_t chosen;

		n = same_block(cut, list, i);
		chosen = choose(arg, n + 1);
		if (chosen == 0)
			continue;
		set(&found->durable[list[i]->index],
		    list[i + chosen - 1]->page);
		set(&found->now[list[i]->index], list[i + chosen - 1]->page);
	}
	free(list);
}

struct powercut *powercut_fork(const struct powercut *cut, bool is_kill,
			       uint64_t (*random)(void *arg, uint64_t below),
			       void *arg)
{
	struct powercut *found =
		fork_of(cut, is_kill ? cut->now : cut->durable);

	if (!is_kill)
		choose_versions(cut, found, random, arg);
	for (uint32_t i = 0; i < cut->pending_count; i++) {
		const struct block_request *request = cut->pending[i].request;
		const uint64_t how = random(arg, 3);

		if (request->op != BLOCK_WRITE &&
		    request->op != BLOCK_WRITE_ZEROES)
			continue;
		if (how > 0)
			do_write(found, request, how == 1 ? NULL : random, arg);
	}
	settle(found, found->version_count);
	return found;
}

static uint64_t next_digit(void *arg, uint64_t below)
{
	uint64_t *left = arg;
	const uint64_t digit = *left % below;

	*left /= below;
	return digit;
}

struct powercut *powercut_fork_state(const struct powercut *cut, uint64_t which)
{
	struct powercut *found = fork_of(cut, cut->durable);

	choose_versions(cut, found, next_digit, &which);
	return found;
}

struct powercut *powercut_copy(const struct powercut *cut)
{
	return fork_of(cut, cut->now);
}

const unsigned char *powercut_peek(const struct powercut *cut,
				   uint64_t offset_bytes)
{
	static const unsigned char zeroes[PAGE];
	const struct page *page = cut->now[offset_bytes / PAGE];

	return page ? page->data : zeroes;
}

void powercut_poke(struct powercut *cut, uint64_t offset_bytes,
		   const void *data, uint32_t bytes)
{
	const uint64_t index = offset_bytes / PAGE;
	struct page *page = make(cut->now[index]);

	memcpy(page->data + offset_bytes % PAGE, data, bytes);
	set(&cut->now[index], page);
	set(&cut->durable[index], page);
	put(page);
}

void powercut_flip(struct powercut *cut, uint64_t offset_bytes, uint32_t bit)
{
	unsigned char byte =
		powercut_peek(cut, offset_bytes)[offset_bytes % PAGE];

	byte ^= (unsigned char)(1 << bit);
	powercut_poke(cut, offset_bytes, &byte, 1);
}
