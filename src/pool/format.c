/* SPDX-License-Identifier: Apache-2.0 */
/* format.c - see format.h */
#include "pool/format.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "pool/crc32c.h"

#define BLOCK_MAGIC	0x474c5350U	/* "PSLG" */
#define CRC_AT		(FORMAT_SECTOR_BYTES - 4U)
/* For volumes, and the way to compact. */
#define LOG_SPARE_BLOCKS	384U

static const char super_magic[8] = "PENSTOCK";

/* ---- integers ---- */

static void put16(unsigned char *at, uint16_t value)
{
	value = htole16(value);
	memcpy(at, &value, sizeof(value));
}

static void put32(unsigned char *at, uint32_t value)
{
	value = htole32(value);
	memcpy(at, &value, sizeof(value));
}

static void put64(unsigned char *at, uint64_t value)
{
	value = htole64(value);
	memcpy(at, &value, sizeof(value));
}

static uint16_t get16(const unsigned char *at)
{
	uint16_t value;

	memcpy(&value, at, sizeof(value));
	return le16toh(value);
}

static uint32_t get32(const unsigned char *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return le32toh(value);
}

static uint64_t get64(const unsigned char *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return le64toh(value);
}

bool format_uuid_equal(const struct format_uuid *a, const struct format_uuid *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

bool format_is_zero(const unsigned char *data, uint64_t bytes)
{
	return bytes == 0 ||
		(data[0] == 0 && memcmp(data, data + 1, bytes - 1) == 0);
}

bool format_uuid_is_zero(const struct format_uuid *uuid)
{
	return format_is_zero(uuid->bytes, sizeof(uuid->bytes));
}

/* ---- geometry ---- */

uint32_t format_extents(uint64_t capacity_bytes)
{
	uint64_t extents = capacity_bytes >> FORMAT_EXTENT_SHIFT;

	if (capacity_bytes & (FORMAT_EXTENT_BYTES - 1))
		extents++;
	return extents < FORMAT_EXTENTS_MAX ? (uint32_t)extents :
					      FORMAT_EXTENTS_MAX;
}

uint32_t format_area_blocks(uint64_t metadata_bytes)
{
	const uint64_t blocks = metadata_bytes / FORMAT_BLOCK_BYTES;

	if (blocks < 2 + FORMAT_AREAS * FORMAT_COPIES)
		return 0;
	return (uint32_t)((blocks - 2) / (FORMAT_AREAS * FORMAT_COPIES));
}

/* A checkpoint has at most a record for each extent; a quarter more is for what
 * comes while it is written. */
uint64_t format_metadata_bytes(uint64_t capacity_bytes)
{
	const uint64_t extents =
		(uint64_t)format_extents(capacity_bytes) * FORMAT_GROWTH;
	const uint64_t need =
		(extents / FORMAT_SLOTS + 1) * 5 / 4 + LOG_SPARE_BLOCKS;
	unsigned int shift = FORMAT_METADATA_SHIFT_MIN;

	while (format_area_blocks(UINT64_C(1) << shift) < need &&
	       shift < FORMAT_METADATA_SHIFT_MAX)
		shift++;
	return UINT64_C(1) << shift;
}

uint64_t format_device_bytes(uint64_t capacity_bytes)
{
	return format_metadata_bytes(capacity_bytes) +
		(uint64_t)format_extents(capacity_bytes) * FORMAT_EXTENT_BYTES;
}

uint64_t format_capacity_bytes(uint64_t device_bytes)
{
	const uint64_t metadata_bytes = format_metadata_bytes(device_bytes);

	if (device_bytes < metadata_bytes + FORMAT_EXTENT_BYTES)
		return 0;
	return (device_bytes - metadata_bytes) & ~(FORMAT_EXTENT_BYTES - 1);
}

uint64_t format_area_offset(const struct format_super *super, uint32_t area,
			    uint32_t copy)
{
	const uint64_t before = (uint64_t)copy * FORMAT_AREAS + area;

	return FORMAT_BLOCK_BYTES * (1 + before * super->area_blocks);
}

uint64_t format_super_offset(const struct format_super *super, uint32_t copy)
{
	return copy == 0 ? 0 : super->metadata_bytes - FORMAT_BLOCK_BYTES;
}

/* ---- superblock ---- */

void format_super_encode(const struct format_super *super,
			 unsigned char block[FORMAT_BLOCK_BYTES])
{
	memset(block, 0, FORMAT_BLOCK_BYTES);
	memcpy(block, super_magic, sizeof(super_magic));
	put32(block + 8, super->version);
	put32(block + 12, super->incompatible);
	put32(block + 16, super->compatible);
	put32(block + 20, super->extent_count);
	memcpy(block + 24, &super->uuid, sizeof(super->uuid));
	put64(block + 40, super->counter);
	put64(block + 48, super->generation);
	put64(block + 56, super->capacity_bytes);
	put64(block + 64, super->metadata_bytes);
	put64(block + 72, super->epoch);
	put32(block + 80, super->area_blocks);
	put32(block + 84, super->area);
	put32(block + 88, super->synced_blocks);
	put32(block + 92, 1U << FORMAT_EXTENT_SHIFT);
	put32(block + CRC_AT, crc32c(0, block, CRC_AT));
}

/* What the rest of the room relies on. */
static bool is_possible(const struct format_super *super, uint32_t extent_bytes)
{
	const uint64_t areas = (uint64_t)super->area_blocks * FORMAT_AREAS *
		FORMAT_COPIES * FORMAT_BLOCK_BYTES;
	const uint64_t metadata = super->metadata_bytes;

	return extent_bytes == FORMAT_EXTENT_BYTES && metadata &&
		(metadata & (metadata - 1)) == 0 &&
		metadata >= UINT64_C(1) << FORMAT_METADATA_SHIFT_MIN &&
		metadata <= UINT64_C(1) << FORMAT_METADATA_SHIFT_MAX &&
		super->area_blocks >= FORMAT_AREA_BLOCKS_MIN &&
		areas + 2 * FORMAT_BLOCK_BYTES <= metadata &&
		super->area < FORMAT_AREAS &&
		super->synced_blocks <= super->area_blocks &&
		super->capacity_bytes > 0 &&
		super->extent_count <= FORMAT_EXTENTS_MAX &&
		super->extent_count == format_extents(super->capacity_bytes) &&
		!format_uuid_is_zero(&super->uuid);
}

int format_super_decode(const unsigned char block[FORMAT_BLOCK_BYTES],
			struct format_super *ret_super, struct error *reterr)
{
	struct format_super super;

	if (format_is_zero(block, FORMAT_SECTOR_BYTES))
		return -ENODATA;
	if (memcmp(block, super_magic, sizeof(super_magic)) != 0)
		return -ENOMSG;
	if (get32(block + CRC_AT) != crc32c(0, block, CRC_AT))
		return -EBADMSG;
	super.version = get32(block + 8);
	super.incompatible = get32(block + 12);
	if (super.version != FORMAT_VERSION)
		return error_set(
			reterr, -EPROTONOSUPPORT,
			"its format is version %u and this program knows version %u: use the program that wrote it, or a newer one",
			super.version, FORMAT_VERSION);
	if (super.incompatible)
		return error_set(
			reterr, -EPROTONOSUPPORT,
			"its format has features (0x%x) that this program does not know: use the program that wrote it, or a newer one",
			super.incompatible);
	super.compatible = get32(block + 16);
	super.extent_count = get32(block + 20);
	memcpy(&super.uuid, block + 24, sizeof(super.uuid));
	super.counter = get64(block + 40);
	super.generation = get64(block + 48);
	super.capacity_bytes = get64(block + 56);
	super.metadata_bytes = get64(block + 64);
	super.epoch = get64(block + 72);
	super.area_blocks = get32(block + 80);
	super.area = get32(block + 84);
	super.synced_blocks = get32(block + 88);
	if (!is_possible(&super, get32(block + 92)))
		return -EBADMSG;
	*ret_super = super;
	return 0;
}

/* ---- records ---- */

static const uint8_t slots_of[FORMAT_KINDS] = {
	[FORMAT_VOLUME] = 8,	    [FORMAT_VOLUME_MEMBER] = 2,
	[FORMAT_VOLUME_DELETE] = 1, [FORMAT_MAP] = 1,
	[FORMAT_UNMAP] = 1,	    [FORMAT_OPEN] = 1,
	[FORMAT_CLEAN] = 1,	    [FORMAT_BAD] = 1,
};

uint32_t format_slots(const struct format_record *record)
{
	return slots_of[record->kind];
}

static unsigned char *slot(unsigned char *block, uint32_t number)
{
	return block + FORMAT_HEADER_BYTES + number * FORMAT_SLOT_BYTES;
}

static const unsigned char *const_slot(const unsigned char *block,
				       uint32_t number)
{
	return block + FORMAT_HEADER_BYTES + number * FORMAT_SLOT_BYTES;
}

static void put_volume(unsigned char *at, const struct format_volume *is)
{
	put64(at + 8, is->size_bytes);
	memcpy(at + 16, &is->uuid, sizeof(is->uuid));
	memcpy(at + 32, &is->origin, sizeof(is->origin));
	put64(at + 48, is->version);
	put32(at + 56, is->flags);
	put32(at + 60, 0);
	memcpy(at + 64, is->name, FORMAT_NAME_MAX);
}

/* Does 'record' go on where the MAP at 'at' ends? */
static bool continues(const unsigned char *at,
		      const struct format_record *record)
{
	const uint32_t count = get16(at + 2);

	return record->kind == FORMAT_MAP && at[0] == FORMAT_MAP &&
		at[1] == record->flags && get32(at + 4) == record->volume &&
		get32(at + 8) + count == record->index &&
		get32(at + 12) + count == record->extent &&
		count + record->count <= FORMAT_MAP_COUNT_MAX;
}

bool format_block_add(unsigned char *block, uint32_t *used,
		      const struct format_record *record)
{
	const uint32_t need = slots_of[record->kind];
	unsigned char *at = slot(block, *used);

	assert(need > 0);
	if (*used > 0 && continues(at - FORMAT_SLOT_BYTES, record)) {
		at -= FORMAT_SLOT_BYTES;
		put16(at + 2, (uint16_t)(get16(at + 2) + record->count));
		return true;
	}
	if (*used + need > FORMAT_SLOTS)
		return false;
	memset(at, 0, need * FORMAT_SLOT_BYTES);
	at[0] = record->kind;
	put32(at + 4, record->volume);
	switch ((enum format_kind)record->kind) {
	case FORMAT_VOLUME:
		put_volume(at, record->is);
		break;
	case FORMAT_VOLUME_MEMBER:
		at[1] = record->flags;
		memcpy(at + 16, record->uuid, sizeof(*record->uuid));
		break;
	case FORMAT_VOLUME_DELETE:
		break;
	case FORMAT_MAP:
		assert(record->count <= FORMAT_MAP_COUNT_MAX);
		at[1] = record->flags;
		put16(at + 2, (uint16_t)record->count);
		put32(at + 8, record->index);
		put32(at + 12, record->extent);
		break;
	case FORMAT_UNMAP:
		put32(at + 8, record->index);
		put32(at + 12, record->count);
		break;
	case FORMAT_OPEN:
	case FORMAT_CLEAN:
	case FORMAT_BAD:
		put32(at + 8, record->extent);
		put32(at + 12, record->count);
		break;
	case FORMAT_KINDS:
		break;
	}
	*used += need;
	return true;
}

static int get_volume(const unsigned char *at, struct format_volume *ret_is)
{
	ret_is->size_bytes = get64(at + 8);
	memcpy(&ret_is->uuid, at + 16, sizeof(ret_is->uuid));
	memcpy(&ret_is->origin, at + 32, sizeof(ret_is->origin));
	ret_is->version = get64(at + 48);
	ret_is->flags = get32(at + 56);
	memcpy(ret_is->name, at + 64, FORMAT_NAME_MAX);
	if (ret_is->flags & ~FORMAT_VOLUME_FLAGS ||
	    memchr(ret_is->name, '\0', FORMAT_NAME_MAX) == NULL ||
	    format_uuid_is_zero(&ret_is->uuid) ||
	    ret_is->size_bytes > (UINT64_C(1) << (31 + FORMAT_EXTENT_SHIFT)))
		return -EBADMSG;
	return 0;
}

static bool is_run(uint32_t first, uint32_t count)
{
	return count > 0 && count <= UINT32_MAX - first;
}

int format_record_next(const unsigned char *block,
		       const struct format_header *header, uint32_t *at,
		       struct format_record *ret_record,
		       struct format_volume *ret_volume,
		       struct format_uuid *ret_uuid)
{
	const unsigned char *from = const_slot(block, *at);
	struct format_record *record = ret_record;

	if (*at >= header->used)
		return 0;
	record->kind = from[0];
	if (record->kind == 0 || record->kind >= FORMAT_KINDS ||
	    slots_of[record->kind] > header->used - *at)
		return -EBADMSG;
	*at += slots_of[record->kind];
	record->flags = 0;
	record->volume = get32(from + 4);
	record->index = record->extent = get32(from + 8);
	record->count = get32(from + 12);
	if (record->kind == FORMAT_MAP) {
		record->flags = from[1];
		record->extent = record->count;
		record->count = get16(from + 2);
		if (!is_run(record->extent, record->count) ||
		    record->flags &
			    ~(FORMAT_MAP_SHARED | FORMAT_MAP_REPLACE |
			      FORMAT_MAP_MOVING))
			return -EBADMSG;
	}
	if (record->kind == FORMAT_VOLUME_MEMBER) {
		record->flags = from[1];
		if (record->flags & ~FORMAT_MEMBER_LEFT)
			return -EBADMSG;
		memcpy(ret_uuid, from + 16, sizeof(*ret_uuid));
		record->uuid = ret_uuid;
	}
	if (record->kind == FORMAT_VOLUME) {
		record->is = ret_volume;
		if (get_volume(from, ret_volume) < 0)
			return -EBADMSG;
	}
	if (record->kind <= FORMAT_UNMAP &&
	    (record->volume == 0 || record->volume > FORMAT_VOLUMES_MAX))
		return -EBADMSG;
	if (record->kind >= FORMAT_MAP && !is_run(record->index, record->count))
		return -EBADMSG;
	return 1;
}

bool format_map_next(const unsigned char *block,
		     const struct format_header *header, uint32_t *at,
		     struct format_record *ret_map)
{
	const uint32_t used = header->used;
	uint32_t i = *at;

	while (i < used) {
		const unsigned char *from = const_slot(block, i);
		const uint8_t kind = from[0];

		if (kind == FORMAT_MAP) {
			ret_map->volume = get32(from + 4);
			ret_map->index = get32(from + 8);
			ret_map->extent = get32(from + 12);
			*at = i + 1;
			return true;
		}
		/* Most by far have one slot. */
		i += kind <= FORMAT_VOLUME_MEMBER && kind > 0 ? slots_of[kind] :
								1;
	}
	*at = i;
	return false;
}

/* ---- blocks ---- */

static uint32_t block_crc(const unsigned char *block)
{
	return crc32c(BLOCK_MAGIC, block + 8, FORMAT_BLOCK_BYTES - 8);
}

uint32_t format_block_seal(unsigned char *block,
			   const struct format_header *header)
{
	const uint32_t end =
		FORMAT_HEADER_BYTES + header->used * FORMAT_SLOT_BYTES;
	uint32_t crc;

	memset(block + end, 0, FORMAT_BLOCK_BYTES - end);
	put32(block, BLOCK_MAGIC);
	memcpy(block + 8, &header->uuid, sizeof(header->uuid));
	put64(block + 24, header->epoch);
	put64(block + 32, header->generation);
	put32(block + 40, header->sequence);
	put32(block + 44, header->synced_blocks);
	put32(block + 48, header->previous_crc);
	put32(block + 52, header->used);
	put64(block + 56, 0);
	crc = block_crc(block);
	put32(block + 4, crc);
	return crc;
}

int format_block_decode(const unsigned char *block,
			struct format_header *ret_header, uint32_t *ret_crc)
{
	const uint32_t crc = get32(block + 4);

	if (get32(block) != BLOCK_MAGIC || crc != block_crc(block) ||
	    get32(block + 52) > FORMAT_SLOTS)
		return -EBADMSG;
	memcpy(&ret_header->uuid, block + 8, sizeof(ret_header->uuid));
	ret_header->epoch = get64(block + 24);
	ret_header->generation = get64(block + 32);
	ret_header->sequence = get32(block + 40);
	ret_header->synced_blocks = get32(block + 44);
	ret_header->previous_crc = get32(block + 48);
	ret_header->used = get32(block + 52);
	*ret_crc = crc;
	return 0;
}
