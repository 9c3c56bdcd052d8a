/* SPDX-License-Identifier: Apache-2.0 */
/* check.c - each device by itself: see check.h */
#include "pool/check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/container.h"
#include "pool/check-internal.h"

/* One device being looked at. */
struct look {
	struct check *check;
	struct check_device *device;
	struct member *member;
	unsigned char *blocks[FORMAT_COPIES];
	bool is_done;
	int result;
	struct error error;
	struct block_request request;
	struct iovec iov;
};

/* ---- saying ---- */

static void vsay(struct check *check, const struct check_device *device,
		 struct check_finding *finding, const char *format,
		 va_list args) __attribute__((format(printf, 4, 0)));

static void vsay(struct check *check, const struct check_device *device,
		 struct check_finding *finding, const char *format,
		 va_list args)
{
	struct error line;
	char text[ERROR_TEXT_MAX];

	error_vset(&line, 0, format, args);
	snprintf(text, sizeof(text), "%s%s%.400s", device ? device->name : "",
		 device ? ": " : "", line.text);
	finding->device = device;
	finding->text = text;
	check->report.wrong += finding->is_wrong;
	check->report.repaired += finding->is_repaired;
	check->config->say(check->config->arg, finding);
}

void check_say(struct check *check, const struct check_device *device,
	       bool is_wrong, const char *format, ...)
{
	struct check_finding finding = {.is_wrong = is_wrong};
	va_list args;

	va_start(args, format);
	vsay(check, device, &finding, format, args);
	va_end(args);
}

/* ---- one request at a time ---- */

static void ended(struct block_request *request)
{
	struct look *look = container_of(request, struct look, request);

	look->is_done = true;
	look->result = request->result;
}

static int transfer(struct look *look, enum block_op op, uint64_t offset_bytes,
		    unsigned char *block)
{
	const struct check_config *config = look->check->config;

	look->iov.iov_base = block;
	look->iov.iov_len = FORMAT_BLOCK_BYTES;
	look->is_done = false;
	look->request = (struct block_request){
		.done = ended,
		.iov = op == BLOCK_FLUSH ? NULL : &look->iov,
		.iov_count = op == BLOCK_FLUSH ? 0 : 1,
		.op = (uint8_t)op,
		.offset_bytes = offset_bytes,
		.length_bytes = op == BLOCK_FLUSH ? 0 : FORMAT_BLOCK_BYTES,
	};
	block_submit(look->device->device, &look->request);
	while (!look->is_done)
		config->progress(config->arg);
	return look->result;
}

/* Of a copy that is damaged: say so, and write 'good' there if that is
 * wished. */
static void damaged(struct look *look, uint64_t offset_bytes,
		    unsigned char *good, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static void damaged(struct look *look, uint64_t offset_bytes,
		    unsigned char *good, const char *format, ...)
{
	struct check_finding finding = {.is_wrong = true, .can_repair = true};
	va_list args;

	if (look->check->config->repair)
		finding.is_repaired =
			transfer(look, BLOCK_WRITE, offset_bytes, good) == 0 &&
			transfer(look, BLOCK_FLUSH, 0, NULL) == 0;
	look->device->repaired += finding.is_repaired;
	va_start(args, format);
	vsay(look->check, look->device, &finding, format, args);
	va_end(args);
	if (look->check->config->repair && !finding.is_repaired)
		check_say(look->check, look->device, true,
			  "it cannot be repaired: %s", strerror(-look->result));
}

/* ---- superblocks ---- */

/* What is wrong with it; NULL: nothing. */
static const char *super_fault(const struct look *look, int rc,
			       struct format_super *ret_super)
{
	if (rc < 0)
		return "cannot be read";
	rc = format_super_decode(look->blocks[1], ret_super, NULL);
	if (rc == -ENODATA)
		return "is all zeroes";
	if (rc == -EBADMSG)
		return "has a wrong checksum";
	if (rc < 0)
		return "is somebody else's";
	if (!format_uuid_equal(&ret_super->uuid, &look->member->super.uuid))
		return "is another device's";
	return NULL;
}

static void check_supers(struct look *look)
{
	const struct format_super *super = &look->member->super;
	unsigned char *good = look->blocks[0];

	format_super_encode(super, good);
	for (uint32_t copy = 0; copy < FORMAT_COPIES; copy++) {
		const uint64_t at = format_super_offset(super, copy);
		struct format_super other;
		const char *fault = super_fault(
			look, transfer(look, BLOCK_READ, at, look->blocks[1]),
			&other);

		if (fault) {
			look->device->bad_supers++;
			damaged(look, at, good,
				"copy %u of the superblock (at byte %" PRIu64
				") %s: the other is used",
				copy + 1, at, fault);
		} else if (other.counter != super->counter) {
			check_say(
				look->check, look->device, false,
				"copy %u of the superblock is older: a crash came between",
				copy + 1);
		}
	}
}

/* ---- the log ---- */

static bool is_good_block(const struct look *look, const unsigned char *block,
			  uint32_t sequence, uint32_t previous_crc,
			  uint32_t *ret_crc)
{
	const struct format_super *super = &look->member->super;
	struct format_header header;

	return format_block_decode(block, &header, ret_crc) == 0 &&
		format_uuid_equal(&header.uuid, &super->uuid) &&
		header.epoch == super->epoch && header.sequence == sequence &&
		header.previous_crc == previous_crc;
}

/* Copies of one block; '*crc' is of the one before, and then its own.  Returns
 * how many a crash has left out. */
static uint32_t check_block(struct look *look, uint32_t sequence, uint32_t *crc)
{
	const struct format_super *super = &look->member->super;
	uint32_t crcs[FORMAT_COPIES] = {*crc, *crc}, left_out = 0;
	bool good[FORMAT_COPIES];
	int rc[FORMAT_COPIES];
	uint64_t at[FORMAT_COPIES];

	for (uint32_t copy = 0; copy < FORMAT_COPIES; copy++) {
		at[copy] = format_area_offset(super, super->area, copy) +
			(uint64_t)sequence * FORMAT_BLOCK_BYTES;
		rc[copy] = transfer(look, BLOCK_READ, at[copy],
				    look->blocks[copy]);
		good[copy] = rc[copy] == 0 &&
			is_good_block(look, look->blocks[copy], sequence, *crc,
				      &crcs[copy]);
	}
	*crc = good[0] ? crcs[0] : crcs[1];
	for (uint32_t copy = 0; copy < FORMAT_COPIES; copy++) {
		if (good[copy] || !good[1 - copy])
			continue;
		if (rc[copy] == 0 && sequence >= look->member->found_synced) {
			left_out++;
			continue;
		}
		look->device->bad_blocks++;
		damaged(look, at[copy], look->blocks[1 - copy],
			"copy %c of block %u of the log (at byte %" PRIu64
			") %s: the other is used",
			"AB"[copy], sequence, at[copy],
			rc[copy] < 0 ? "cannot be read" :
				       "is damaged, or is missing");
	}
	return left_out;
}

static void check_log(struct look *look)
{
	uint32_t crc = 0, left_out = 0;

	for (uint32_t i = 0; i < look->member->found_blocks; i++)
		left_out += check_block(look, i, &crc);
	if (left_out > 0)
		check_say(
			look->check, look->device, false,
			"%u of the last blocks of the log are in one copy only: a crash came between; the next start writes the other",
			left_out);
}

/* ---- one device ---- */

static void opened(void *arg, int result, const struct error *error)
{
	struct look *look = arg;

	look->is_done = true;
	look->result = result;
	look->error = *error;
}

static int open_member(struct look *look)
{
	const struct check_config *check = look->check->config;
	struct check_finding finding = {.is_wrong = true};
	const struct member_config config = {
		.device = look->device->device,
		.name = look->device->name,
		.first_number = 1,
		.most_extents = FORMAT_EXTENTS_MAX,
		.is_read_only = true,
	};
	int rc = member_open(&config, opened, look, &look->member);

	if (rc < 0)
		return rc;
	while (!look->is_done)
		check->progress(check->arg);
	if (look->result == -ENOMEM || look->result == 0)
		return look->result;
	finding.device = look->device;
	finding.text = look->error.text;
	look->check->report.wrong++;
	check->say(check->arg, &finding);
	return look->result;
}

/* Extents are where the log says, or nobody knows of them. */
static void count_extents(struct look *look)
{
	const struct space *space = &look->member->space;
	struct check_device *device = look->device;

	device->bad = space->bad_total;
	device->mapped = space->total[SPACE_TAKEN] - device->bad;
	device->clean = space->total[SPACE_CLEAN];
	device->dirty = space->total[SPACE_DIRTY];
	if (device->bad > 0)
		check_say(look->check, device, false,
			  "%u extents are bad and not used any more",
			  device->bad);
}

static int look_at(struct check *check, uint32_t d)
{
	struct look look = {
		.check = check,
		.device = &check->config->devices[d],
	};
	int rc = -ENOMEM;

	if (posix_memalign((void **)&look.blocks[0], FORMAT_BLOCK_BYTES,
			   FORMAT_COPIES * FORMAT_BLOCK_BYTES) != 0)
		return -ENOMEM;
	look.blocks[1] = look.blocks[0] + FORMAT_BLOCK_BYTES;
	rc = open_member(&look);
	check->members[d] = look.member;
	look.device->result = rc;
	if (rc == 0) {
		look.device->super = look.member->super;
		look.device->log_blocks = look.member->found_blocks;
		look.device->volumes = look.member->volume_count;
		check->is_part[d] = true;
		check_supers(&look);
		check_log(&look);
		count_extents(&look);
	}
	free(look.blocks[0]);
	return rc == -ENOMEM ? rc : 0;
}

/* ---- all of them ---- */

static void find_copies(struct check *check)
{
	struct check_device *devices = check->config->devices;

	for (uint32_t d = 1; d < check->config->count; d++)
		for (uint32_t before = 0; check->is_part[d] && before < d;
		     before++) {
			if (!check->is_part[before] ||
			    !format_uuid_equal(&devices[before].super.uuid,
					       &devices[d].super.uuid))
				continue;
			check->is_part[d] = false;
			check_say(
				check, &devices[d], true,
				"it is a copy of %s (generation %" PRIu64
				", that one %" PRIu64
				"): take the one with the lower generation away",
				devices[before].name,
				devices[d].super.generation,
				devices[before].super.generation);
		}
}

int check_run(const struct check_config *config,
	      struct check_report *ret_report)
{
	struct check *check = calloc(1, sizeof(*check));
	int rc = 0;

	if (!check)
		return -ENOMEM;
	check->config = config;
	for (uint32_t d = 0; d < config->count && rc == 0; d++)
		rc = look_at(check, d);
	find_copies(check);
	if (rc == 0)
		rc = check_volumes(check);
	for (uint32_t d = 0; d < config->count; d++)
		member_destroy(check->members[d]);
	*ret_report = check->report;
	free(check);
	if (rc < 0)
		return rc;
	return ret_report->wrong ? -EUCLEAN : 0;
}
