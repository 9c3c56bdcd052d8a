/* SPDX-License-Identifier: Apache-2.0 */
/* check.c - see check.h */
#include "pool/check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/container.h"
#include "pool/member.h"

struct check {
	const struct check_config *config;
	struct check_report report;
	struct member *member;
	unsigned char *blocks[FORMAT_COPIES];
	bool is_done;
	int result;
	struct error error;
	struct waiting {
		struct block_request request;
		struct check *check;
	} waiting;
	struct iovec iov;
};

static void say(struct check *check, bool is_fatal, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void say(struct check *check, bool is_fatal, const char *format, ...)
{
	struct error line;
	va_list args;
	char text[ERROR_TEXT_MAX];

	va_start(args, format);
	error_vset(&line, 0, format, args);
	va_end(args);
	snprintf(text, sizeof(text), "%s: %.400s", check->config->name,
		 line.text);
	check->config->say(check->config->arg, is_fatal, text);
}

/* ---- one request at a time ---- */

static void ended(struct block_request *request)
{
	struct check *check =
		container_of(request, struct waiting, request)->check;

	check->is_done = true;
	check->result = request->result;
}

static int transfer(struct check *check, enum block_op op,
		    uint64_t offset_bytes, unsigned char *block)
{
	check->iov.iov_base = block;
	check->iov.iov_len = FORMAT_BLOCK_BYTES;
	check->is_done = false;
	check->waiting.check = check;
	check->waiting.request = (struct block_request){
		.done = ended,
		.iov = op == BLOCK_FLUSH ? NULL : &check->iov,
		.iov_count = op == BLOCK_FLUSH ? 0 : 1,
		.op = (uint8_t)op,
		.offset_bytes = offset_bytes,
		.length_bytes = op == BLOCK_FLUSH ? 0 : FORMAT_BLOCK_BYTES,
	};
	block_submit(check->config->device, &check->waiting.request);
	while (!check->is_done)
		check->config->progress(check->config->arg);
	return check->result;
}

static void repair(struct check *check, uint64_t offset_bytes,
		   unsigned char *good)
{
	if (!check->config->repair)
		return;
	if (transfer(check, BLOCK_WRITE, offset_bytes, good) == 0 &&
	    transfer(check, BLOCK_FLUSH, 0, NULL) == 0)
		check->report.repaired++;
	else
		say(check, true, "it cannot be repaired: %s",
		    strerror(-check->result));
}

/* ---- superblocks ---- */

static bool is_good_super(const struct check *check, const unsigned char *block)
{
	struct format_super super;

	return format_super_decode(block, &super, NULL) == 0 &&
		super.counter == check->member->super.counter;
}

static void check_supers(struct check *check)
{
	const struct format_super *super = &check->member->super;
	unsigned char *good = check->blocks[0];

	format_super_encode(super, good);
	for (uint32_t copy = 0; copy < FORMAT_COPIES; copy++) {
		const uint64_t at = format_super_offset(super, copy);
		int rc = transfer(check, BLOCK_READ, at, check->blocks[1]);

		if (rc == 0 && is_good_super(check, check->blocks[1]))
			continue;
		check->report.bad_supers++;
		say(check, false,
		    "copy %u of the superblock is damaged, or older", copy + 1);
		repair(check, at, good);
	}
}

/* ---- the log ---- */

static bool is_good_block(const struct check *check, const unsigned char *block,
			  uint32_t sequence, uint32_t previous_crc,
			  uint32_t *ret_crc)
{
	const struct format_super *super = &check->member->super;
	struct format_header header;

	return format_block_decode(block, &header, ret_crc) == 0 &&
		format_uuid_equal(&header.uuid, &super->uuid) &&
		header.epoch == super->epoch && header.sequence == sequence &&
		header.previous_crc == previous_crc;
}

static void check_block(struct check *check, uint32_t sequence, uint32_t *crc)
{
	const struct format_super *super = &check->member->super;
	uint32_t crcs[FORMAT_COPIES] = {*crc, *crc};
	bool good[FORMAT_COPIES];
	uint64_t at[FORMAT_COPIES];

	for (uint32_t copy = 0; copy < FORMAT_COPIES; copy++) {
		at[copy] = format_area_offset(super, super->area, copy) +
			(uint64_t)sequence * FORMAT_BLOCK_BYTES;
		good[copy] = transfer(check, BLOCK_READ, at[copy],
				      check->blocks[copy]) == 0 &&
			is_good_block(check, check->blocks[copy], sequence,
				      *crc, &crcs[copy]);
	}
	*crc = good[0] ? crcs[0] : crcs[1];
	for (uint32_t copy = 0; copy < FORMAT_COPIES; copy++) {
		if (good[copy] || !good[1 - copy])
			continue;
		check->report.bad_blocks++;
		say(check, false, "copy %c of block %u of the log is damaged",
		    "AB"[copy], sequence);
		repair(check, at[copy], check->blocks[1 - copy]);
	}
}

static void check_log(struct check *check)
{
	uint32_t crc = 0;

	for (uint32_t i = 0; i < check->member->found_blocks; i++)
		check_block(check, i, &crc);
}

/* ---- all of it ---- */

static void opened(void *arg, int result, const struct error *error)
{
	struct check *check = arg;

	check->is_done = true;
	check->result = result;
	check->error = *error;
}

static int open_member(struct check *check)
{
	const struct member_config config = {
		.device = check->config->device,
		.name = check->config->name,
		.first_number = 1,
		.most_extents = FORMAT_EXTENTS_MAX,
		.is_read_only = true,
	};
	int rc = member_open(&config, opened, check, &check->member);

	if (rc < 0) {
		say(check, true, "out of memory");
		return rc;
	}
	while (!check->is_done)
		check->config->progress(check->config->arg);
	if (check->result < 0)
		check->config->say(check->config->arg, true, check->error.text);
	return check->result;
}

static int look(struct check *check)
{
	struct check_report *report = &check->report;
	const struct member *member;
	int rc = open_member(check);

	if (rc < 0)
		return rc;
	member = check->member;
	check_supers(check);
	check_log(check);
	report->log_blocks = member->found_blocks;
	report->volumes = member->volume_count;
	report->bad = member->space.bad_total;
	report->mapped = member->space.total[SPACE_TAKEN] - report->bad;
	report->clean = member->space.total[SPACE_CLEAN];
	report->dirty = member->space.total[SPACE_DIRTY];
	return report->bad_supers + report->bad_blocks == report->repaired ?
		0 :
		-EUCLEAN;
}

int check_run(const struct check_config *config,
	      struct check_report *ret_report)
{
	struct check *check = calloc(1, sizeof(*check));
	int rc = -ENOMEM;

	if (!check)
		return -ENOMEM;
	check->config = config;
	if (posix_memalign((void **)&check->blocks[0], FORMAT_BLOCK_BYTES,
			   FORMAT_BLOCK_BYTES) == 0 &&
	    posix_memalign((void **)&check->blocks[1], FORMAT_BLOCK_BYTES,
			   FORMAT_BLOCK_BYTES) == 0)
		rc = look(check);
	*ret_report = check->report;
	member_destroy(check->member);
	free(check->blocks[0]);
	free(check->blocks[1]);
	free(check);
	return rc;
}
