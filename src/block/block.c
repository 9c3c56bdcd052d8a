/* SPDX-License-Identifier: Apache-2.0 */
/* block.c - the kinds of block device; see block.h */
#include "block/block.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "block/kinds.h"

#define SIZE_MAX_BYTES		(UINT64_C(1) << 62)

static const struct {
	const char *name;
	int (*open)(const struct block_config *config, struct loop *loop,
		    struct block_device **ret_device, struct error *reterr);
} kinds[] = {
	{"file", block_file_open},
	{"memory", block_memory_open},
	{"nullio", block_nullio_open},
};

static const char *const kind_names[] = {"file", "memory", "nullio", NULL};

static_assert(sizeof(kind_names) / sizeof(kind_names[0]) ==
		      sizeof(kinds) / sizeof(kinds[0]) + 1,
	      "a name for each kind");

const char *const *block_kinds(void)
{
	return kind_names;
}

/* Memory with the service model of nullio: contents and the times of a disk. */
static int open_modelled(const struct block_config *config, struct loop *loop,
			 struct block_device **ret_device, struct error *reterr)
{
	struct block_config model = *config;
	struct block_device *device, *memory;
	int rc;

	if (model.size_bytes == 0)
		model.size_bytes = BLOCK_SIZE_BYTES;
	rc = block_nullio_open(&model, loop, &device, reterr);
	if (rc < 0)
		return rc;
	rc = block_memory_open(config, loop, &memory, reterr);
	if (rc < 0) {
		block_close(device);
		return rc;
	}
	block_nullio_before(device, memory);
	*ret_device = device;
	return 0;
}

int block_open(const struct block_config *config, struct loop *loop,
	       struct block_device **ret_device, struct error *reterr)
{
	if (config->size_bytes > SIZE_MAX_BYTES ||
	    config->size_bytes % BLOCK_SIZE_BYTES != 0)
		return error_set(
			reterr, -EINVAL,
			"device size of %" PRIu64
			" bytes: must be a multiple of %u and at most 2^62",
			config->size_bytes, BLOCK_SIZE_BYTES);
	if (strcmp(config->kind, "memory") == 0 && config->model.servers > 0)
		return open_modelled(config, loop, ret_device, reterr);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strcmp(config->kind, kinds[i].name) == 0)
			return kinds[i].open(config, loop, ret_device, reterr);
	return error_set(
		reterr, -EINVAL,
		"device kind '%.32s' is unknown: use file, memory or nullio",
		config->kind);
}

void block_copy(const struct block_request *request, uint64_t from_bytes,
		void *data, uint64_t bytes, bool into_data)
{
	unsigned char *at = data;

	for (uint32_t i = 0; i < request->iov_count && bytes > 0; i++) {
		const struct iovec *iov = &request->iov[i];
		unsigned char *memory = iov->iov_base;
		uint64_t part = iov->iov_len;

		if (from_bytes >= part) {
			from_bytes -= part;
			continue;
		}
		memory += from_bytes;
		part -= from_bytes;
		from_bytes = 0;
		if (part > bytes)
			part = bytes;
		if (into_data)
			memcpy(at, memory, part);
		else
			memcpy(memory, at, part);
		at += part;
		bytes -= part;
	}
}
