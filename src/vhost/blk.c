/* SPDX-License-Identifier: Apache-2.0 */
/* blk.c - see blk.h; virtio 1.2, section 5.2 */
#include "vhost/blk.h"

#include <errno.h>
#include <string.h>

#define SECTOR_SHIFT	9
#define SECTOR_MAX	(UINT64_MAX >> SECTOR_SHIFT)
#define HEADER_BYTES	sizeof(struct virtio_blk_outhdr)
#define BLK_SUBMIT	(-1)

/* ---- finding the parts ---- */

/* Copy 'size' bytes off the front of 'iov', which is shortened by them.  The
 * caller knows that there are so many. */
static void take_front(struct iovec **iov, unsigned int *count, void *to,
		       size_t size)
{
	uint8_t *into = to;

	while (size > 0) {
		struct iovec *first = *iov;
		const size_t part =
			first->iov_len < size ? first->iov_len : size;

		memcpy(into, first->iov_base, part);
		into += part;
		size -= part;
		first->iov_base = (uint8_t *)first->iov_base + part;
		first->iov_len -= part;
		if (first->iov_len == 0) {
			(*iov)++;
			(*count)--;
		}
	}
}

static void locate_header(struct chain *chain, struct blk_parts *parts)
{
	struct iovec *first = chain->iov;

	parts->data_out = first;
	parts->data_out_count = chain->entries[CHAIN_READ];
	parts->data_out_bytes = chain->bytes[CHAIN_READ] - HEADER_BYTES;
	if (first->iov_len == HEADER_BYTES) {
		parts->header = first->iov_base;
		parts->data_out++;
		parts->data_out_count--;
	} else if (first->iov_len > HEADER_BYTES) {
		parts->header = first->iov_base;
		first->iov_base = (uint8_t *)first->iov_base + HEADER_BYTES;
		first->iov_len -= HEADER_BYTES;
	} else {
		take_front(&parts->data_out, &parts->data_out_count,
			   &parts->gathered, HEADER_BYTES);
		parts->header = (const uint8_t *)&parts->gathered;
	}
}

int blk_locate(struct chain *chain, struct blk_parts *ret_parts)
{
	struct iovec *last;

	if (chain->entries[CHAIN_WRITE] == 0 || !chain->ends_writable)
		return -EINVAL;
	last = &chain->iov[chain->entries[CHAIN_READ] +
			   chain->entries[CHAIN_WRITE] - 1];
	last->iov_len--;
	ret_parts->status = (uint8_t *)last->iov_base + last->iov_len;
	ret_parts->used_bytes = chain->bytes[CHAIN_WRITE] > UINT32_MAX ?
		UINT32_MAX :
		(uint32_t)chain->bytes[CHAIN_WRITE];
	if (chain->faulty || chain->bytes[CHAIN_READ] < HEADER_BYTES) {
		ret_parts->header = NULL;
		ret_parts->data_in = NULL;
		ret_parts->data_in_bytes = 0;
		ret_parts->data_out_bytes = 0;
		return 0;
	}
	ret_parts->data_in = &chain->iov[chain->entries[CHAIN_READ]];
	ret_parts->data_in_count =
		chain->entries[CHAIN_WRITE] - (last->iov_len == 0 ? 1U : 0U);
	ret_parts->data_in_bytes = chain->bytes[CHAIN_WRITE] - 1;
	locate_header(chain, ret_parts);
	return 0;
}

/* ---- what it asks for ---- */

static int fill_transfer(const struct blk_parts *parts, uint8_t op,
			 uint64_t sector, struct block_request *block)
{
	if (sector > SECTOR_MAX)
		return VIRTIO_BLK_S_IOERR;
	block->op = op;
	block->offset_bytes = sector << SECTOR_SHIFT;
	if (op == BLOCK_READ) {
		block->iov = parts->data_in;
		block->iov_count = parts->data_in_count;
		block->length_bytes = parts->data_in_bytes;
	} else {
		block->iov = parts->data_out;
		block->iov_count = parts->data_out_count;
		block->length_bytes = parts->data_out_bytes;
	}
	return block->iov_count <= BLOCK_IOV_MAX ? BLK_SUBMIT :
						   VIRTIO_BLK_S_IOERR;
}

/* Discard and write-zeroes: the range is in the data; we take one. */
static int fill_range(const struct blk_parts *parts, uint8_t op,
		      struct block_request *block)
{
	const uint32_t sectors_max =
		op == BLOCK_DISCARD ? BLK_DISCARD_SECTORS : BLK_ZEROES_SECTORS;
	struct virtio_blk_discard_write_zeroes range;
	struct iovec *iov = parts->data_out;
	unsigned int count = parts->data_out_count;

	if (parts->data_out_bytes != sizeof(range))
		return VIRTIO_BLK_S_IOERR;
	take_front(&iov, &count, &range, sizeof(range));
	if (range.flags &
	    ~(op == BLOCK_DISCARD ?
		      0U :
		      (uint32_t)VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP))
		return VIRTIO_BLK_S_UNSUPP;
	if (range.sector > SECTOR_MAX || range.num_sectors > sectors_max)
		return VIRTIO_BLK_S_IOERR;
	block->op = op;
	block->offset_bytes = range.sector << SECTOR_SHIFT;
	block->length_bytes = (uint64_t)range.num_sectors << SECTOR_SHIFT;
	block->iov = NULL;
	block->iov_count = 0;
	if (range.flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP)
		block->flags = BLOCK_FLAG_UNMAP;
	return BLK_SUBMIT;
}

static int answer_id(const struct blk_target *target,
		     const struct blk_parts *parts)
{
	const char *from = target->id;
	size_t left = sizeof(target->id);

	if (parts->data_in_bytes == 0)
		return VIRTIO_BLK_S_IOERR;
	for (unsigned int i = 0; i < parts->data_in_count && left > 0; i++) {
		const struct iovec *iov = &parts->data_in[i];
		const size_t part = iov->iov_len < left ? iov->iov_len : left;

		memcpy(iov->iov_base, from, part);
		from += part;
		left -= part;
	}
	return VIRTIO_BLK_S_OK;
}

static inline void bind(const struct blk_target *target,
			struct vdev_request *request)
{
	request->process = target->process ?
		target->process :
		vdev_find_process(target->vdev, request->ioprio);
}

void blk_bind(const struct blk_target *target, struct vdev_request *request)
{
	bind(target, request);
}

int blk_fill(const struct blk_target *target, const struct blk_parts *parts,
	     struct vdev_request *request)
{
	struct block_request *block = &request->block;
	uint64_t type_ioprio;

	if (!parts->header) {
		request->ioprio = 0;
		blk_bind(target, request);
		return VIRTIO_BLK_S_IOERR;
	}
	type_ioprio = access_read_u64(parts->header);
	block->flags = 0;
	request->ioprio = (uint32_t)(type_ioprio >> 32);
	bind(target, request);
	switch ((uint32_t)type_ioprio) {
	case VIRTIO_BLK_T_IN:
		return fill_transfer(parts, BLOCK_READ,
				     access_read_u64(parts->header + 8), block);
	case VIRTIO_BLK_T_OUT:
		return fill_transfer(parts, BLOCK_WRITE,
				     access_read_u64(parts->header + 8), block);
	case VIRTIO_BLK_T_FLUSH:
		block->op = BLOCK_FLUSH;
		block->offset_bytes = 0;
		block->length_bytes = 0;
		block->iov = NULL;
		block->iov_count = 0;
		return BLK_SUBMIT;
	case VIRTIO_BLK_T_GET_ID:
		return answer_id(target, parts);
	case VIRTIO_BLK_T_DISCARD:
		return fill_range(parts, BLOCK_DISCARD, block);
	case VIRTIO_BLK_T_WRITE_ZEROES:
		return fill_range(parts, BLOCK_WRITE_ZEROES, block);
	default:
		return VIRTIO_BLK_S_UNSUPP;
	}
}

uint8_t blk_status(int result)
{
	if (result == 0)
		return VIRTIO_BLK_S_OK;
	return result == -EOPNOTSUPP ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR;
}

/* ---- the device's face ---- */

uint64_t blk_features(const struct blk_target *target)
{
	uint64_t features = VHOST_FEATURE(VIRTIO_BLK_F_SEG_MAX) |
		VHOST_FEATURE(VIRTIO_BLK_F_BLK_SIZE) |
		VHOST_FEATURE(VIRTIO_BLK_F_FLUSH) |
		VHOST_FEATURE(VIRTIO_BLK_F_TOPOLOGY) |
		VHOST_FEATURE(VIRTIO_BLK_F_MQ);

	if (vdev_read_only(target->vdev))
		features |= VHOST_FEATURE(VIRTIO_BLK_F_RO);
	else
		features |= VHOST_FEATURE(VIRTIO_BLK_F_DISCARD) |
			VHOST_FEATURE(VIRTIO_BLK_F_WRITE_ZEROES);
	return features;
}

void blk_config(const struct blk_target *target,
		struct virtio_blk_config *ret_config)
{
	const uint32_t block_size = vdev_block_size(target->vdev);
	const uint32_t block_sectors = block_size >> SECTOR_SHIFT;
	uint8_t physical_exp = 0;

	/* Guests align to 4 KiB on their own when they are told of it. */
	while ((block_size << physical_exp) < 4096)
		physical_exp++;
	*ret_config = (struct virtio_blk_config){
		.capacity = vdev_size_bytes(target->vdev) >> SECTOR_SHIFT,
		.seg_max = BLK_SEG_MAX,
		.blk_size = block_size,
		.physical_block_exp = physical_exp,
		.min_io_size = (uint16_t)(1U << physical_exp),
		.num_queues = (uint16_t)target->queues,
		.max_discard_sectors = BLK_DISCARD_SECTORS,
		.max_discard_seg = 1,
		.discard_sector_alignment = block_sectors,
		.max_write_zeroes_sectors = BLK_ZEROES_SECTORS,
		.max_write_zeroes_seg = 1,
		.write_zeroes_may_unmap = 1,
	};
}
