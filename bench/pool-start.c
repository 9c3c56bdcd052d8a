/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool-start.c - how long does a pool of thin volumes take to start, and how
 * much memory?
 *
 * usage: bench-pool-start [--json] [FILE [TIB]]
 *
 * Prints JSON in any case.  A sparse file is made a pool's device of TIB (10)
 * tebibytes with one volume that is half allocated, in the worst way: every
 * other extent, each a mapping of its own, in no order.  Then it is opened as
 * an endpoint opens it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "os/loop.h"
#include "pool/volume.h"

#define PIECE_BLOCKS	256U

struct log_file {
	int fd;
	struct format_super super;
	struct format_header header;
	unsigned char *piece;
	uint32_t blocks;	/* in the piece, but the one being filled */
	uint32_t written;
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void put(int fd, const void *data, size_t bytes, uint64_t offset)
{
	if (pwrite(fd, data, bytes, (off_t)offset) != (ssize_t)bytes)
		die("write");
}

static unsigned char *current(const struct log_file *log)
{
	return log->piece + log->blocks * FORMAT_BLOCK_BYTES;
}

static void write_piece(struct log_file *log)
{
	for (uint32_t copy = 0; copy < FORMAT_COPIES; copy++)
		put(log->fd, log->piece,
		    (size_t)log->blocks * FORMAT_BLOCK_BYTES,
		    format_area_offset(&log->super, 0, copy) +
			    (uint64_t)log->written * FORMAT_BLOCK_BYTES);
	log->written += log->blocks;
	log->blocks = 0;
}

static void seal(struct log_file *log)
{
	log->header.sequence = log->written + log->blocks;
	log->header.previous_crc =
		format_block_seal(current(log), &log->header);
	log->header.used = 0;
	if (++log->blocks == PIECE_BLOCKS)
		write_piece(log);
}

static void add(struct log_file *log, const struct format_record *record)
{
	if (format_block_add(current(log), &log->header.used, record))
		return;
	seal(log);
	format_block_add(current(log), &log->header.used, record);
}

/* Each index once, in no order. */
static uint32_t scattered(uint32_t i, uint32_t count)
{
	return (uint32_t)((uint64_t)i * 2654435761U % count);
}

static void write_records(struct log_file *log)
{
	const uint32_t extents = log->super.extent_count;
	const uint32_t mapped = extents / 2 | 1;
	const struct format_volume is = {
		.uuid = {{7}},
		.size_bytes = log->super.capacity_bytes,
		.version = 1,
		.name = "thin",
	};
	struct format_record record = {
		.kind = FORMAT_VOLUME,
		.volume = 1,
		.is = &is,
	};

	for (uint32_t e = 1; e < extents; e += 2) {
		const struct format_record clean = {
			.kind = FORMAT_CLEAN,
			.extent = e,
			.count = 1,
		};

		add(log, &clean);
	}
	add(log, &record);
	for (uint32_t i = 0; i < mapped && 2 * i < extents; i++) {
		record = (struct format_record){
			.kind = FORMAT_MAP,
			.volume = 1,
			.index = 2 * i,
			.extent = 2 * scattered(i, mapped),
			.count = 1,
		};
		if (record.extent < extents)
			add(log, &record);
	}
	seal(log);
	write_piece(log);
}

static void make_device(int fd, uint64_t capacity_bytes)
{
	unsigned char block[FORMAT_BLOCK_BYTES];
	struct log_file log = {
		.fd = fd,
		.super =
			{
				.uuid = {{1}},
				.version = FORMAT_VERSION,
				.generation = 1,
				.epoch = UINT64_C(1) << 32,
				.capacity_bytes = capacity_bytes,
				.extent_count = format_extents(capacity_bytes),
				.metadata_bytes =
					format_metadata_bytes(capacity_bytes),
			},
	};
	struct format_super *super = &log.super;

	super->area_blocks = format_area_blocks(super->metadata_bytes);
	log.header.uuid = super->uuid;
	log.header.epoch = super->epoch;
	log.header.generation = 1;
	log.piece = calloc(PIECE_BLOCKS, FORMAT_BLOCK_BYTES);
	if (!log.piece ||
	    ftruncate(fd, (off_t)(super->metadata_bytes + capacity_bytes)) < 0)
		die("sparse file");
	write_records(&log);
	super->synced_blocks = log.written;
	format_super_encode(super, block);
	for (uint32_t copy = 0; copy < FORMAT_COPIES; copy++)
		put(fd, block, sizeof(block), format_super_offset(super, copy));
	printf("{\"log_mib\": %.1f", log.written / 256.0);
	free(log.piece);
	/* A device is opened that was written before, and not a moment ago. */
	if (fdatasync(fd) < 0)
		die("fdatasync");
}

/* The most there ever was of this program; what getrusage says begins with
 * that of the one that started it. */
static long resident_kib(void)
{
	FILE *file = fopen("/proc/self/status", "re");
	char line[256];
	long kib = 0;

	if (!file)
		die("/proc/self/status");
	while (kib == 0 && fgets(line, sizeof(line), file))
		if (strncmp(line, "VmHWM:", 6) == 0)
			kib = strtol(line + 6, NULL, 10);
	fclose(file);
	return kib;
}

static bool is_open;

static void opened(struct pool_add *add, int result, const struct error *error)
{
	(void)add;
	if (result < 0) {
		fprintf(stderr, "%s\n", error->text);
		exit(1);
	}
	is_open = true;
}

static void start(struct loop *loop, struct block_device *device)
{
	static const struct pool_ops ops = {0};
	const struct member_config config = {
		.device = device,
		.loop = loop,
		.name = "device",
	};
	struct pool_add add = {.done = opened};
	const long before_kib = resident_kib();
	const uint64_t began_ns = loop_clock_ns();
	struct error error;
	struct pool *pool;

	if (pool_create(&ops, NULL, &pool) < 0 ||
	    pool_add(pool, &config, false, &add) < 0)
		die("pool");
	while (!is_open)
		if (loop_run_once(loop, UINT64_MAX) < 0)
			die("loop");
	if (pool_start(pool, &error) < 0)
		die(error.text);
	printf(", \"seconds\": %.4f, \"mapped\": %" PRIu32
	       ", \"memory_mib\": %.1f}\n",
	       (double)(loop_clock_ns() - began_ns) / 1e9,
	       pool->volumes->table.mapped,
	       (double)(resident_kib() - before_kib) / 1024);
}

int main(int argc, char **argv)
{
	const int skip = argc > 1 && strcmp(argv[1], "--json") == 0;
	const char *path =
		argc > 1 + skip ? argv[1 + skip] : "/tmp/bench-pool-start.img";
	const uint64_t tib =
		argc > 2 + skip ? strtoull(argv[2 + skip], NULL, 10) : 10;
	const struct loop_config loop_config = {.entries = 64};
	struct block_config config = {.kind = "file"};
	struct block_device *device;
	struct error error;
	struct loop *loop;

	config.fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (config.fd < 0)
		die(path);
	unlink(path);
	make_device(config.fd, tib << 40);
	if (loop_create(&loop_config, &loop, &error) < 0 ||
	    block_open(&config, loop, &device, &error) < 0) {
		fprintf(stderr, "%s\n", error.text);
		return 1;
	}
	start(loop, device);
	return 0; /* what it does in the background ends with the process */
}
