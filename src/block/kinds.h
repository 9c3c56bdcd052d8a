/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kinds.h - how block.c opens each kind
 *
 * Each takes a configuration of its own kind that block.c has checked: the
 * size is in range and a multiple of BLOCK_SIZE_BYTES (0: not given).
 * Called by block.c only.
 */
#ifndef BLOCK_KINDS_H
#define BLOCK_KINDS_H

#include "block/block.h"

#define BLOCK_SIZE_BYTES	512U	/* what virtio calls a sector */

int block_memory_open(const struct block_config *config, struct loop *loop,
		      struct block_device **ret_device, struct error *reterr);
int block_nullio_open(const struct block_config *config, struct loop *loop,
		      struct block_device **ret_device, struct error *reterr);
/* From now on 'device', a nullio, only says when, and 'behind', which it takes
 * over, does the work. */
void block_nullio_before(struct block_device *device,
			 struct block_device *behind);
int block_file_open(const struct block_config *config, struct loop *loop,
		    struct block_device **ret_device, struct error *reterr);

static inline void block_end(struct block_request *request, int result)
{
	request->result = result;
	request->done(request);
}

#endif
