/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guest-io.c - a load on a disk that remembers what it wrote
 *
 * Runs inside a test guest (and on the host against any block device or
 * file).  Every block that it writes says which block it is and the how-many-th
 * write of it; every block that it reads is compared with the last write that
 * was acknowledged, so that a request that was lost, done twice, or done too
 * late shows.  At the end all that was written is read back.
 *
 * One line per report, "report key=value ...", and one at the end, "result".
 * Exit status: 0; 1 an I/O error or a wrong block; 2 usage.
 */
#include "base/histogram.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/aio_abi.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <linux/fs.h>

#define NS_PER_S UINT64_C(1000000000)
#define DEPTH_MAX 256U
#define MAGIC	UINT64_C(0x6b6e6174736e6570)
#define IOPRIO_BE 2U
#define IOPRIO_RT 1U

struct options {
	const char *device;
	const char *name;
	uint64_t offset_bytes, size_bytes, block_bytes;
	uint64_t depth, rate, read_percent, seconds, ops, seed, report_ms;
	uint64_t flush_every;
	bool verify;
	bool stop_on_error;
};

/* What is known of a block's contents. */
struct block {
	uint32_t sequence;	/* of the last write; 0: none */
	uint32_t done;	/* of the last that succeeded */
	bool busy;	/* a request on it is in flight */
};

struct slot {
	struct iocb iocb;
	uint8_t *buffer;
	uint64_t started_ns;
	uint64_t block;
};

struct load {
	struct options options;
	int fd;
	aio_context_t context;
	struct block *blocks;
	uint64_t block_count;
	struct slot slots[DEPTH_MAX];
	struct slot *free[DEPTH_MAX];
	uint64_t free_count;
	uint64_t random;
	uint64_t reads, writes, errors, wrong;
	uint64_t last_done_ns, longest_gap_ns;
	struct histogram latency, latency_before;
	uint64_t done_before;
};

static volatile sig_atomic_t stopped;

static void on_signal(int signal)
{
	(void)signal;
	stopped = 1;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static uint64_t mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

/* Words of a block: magic, number, sequence, seed, then noise from these. */
static void block_fill(const struct load *load, uint8_t *buffer, uint64_t block,
		       uint64_t sequence)
{
	uint64_t words[4] = {MAGIC, block, sequence, load->options.seed};
	uint64_t noise = mix(block ^ mix(sequence ^ load->options.seed));
	uint64_t at;

	memcpy(buffer, words, sizeof(words));
	for (at = sizeof(words); at < load->options.block_bytes; at += 8) {
		noise = noise * UINT64_C(6364136223846793005) + 1;
		memcpy(buffer + at, &noise, 8);
	}
}

/* A block holds the last write that succeeded, or one after it that failed. */
static void block_check(struct load *load, const struct slot *slot)
{
	static uint8_t expected[1U << 20];
	const struct block *block = &load->blocks[slot->block];
	uint64_t words[4];

	if (block->done == 0)
		return;
	memcpy(words, slot->buffer, sizeof(words));
	if (words[2] >= block->done && words[2] <= block->sequence) {
		block_fill(load, expected, slot->block, words[2]);
		if (memcmp(slot->buffer, expected, load->options.block_bytes) ==
		    0)
			return;
	}
	if (load->wrong++ < 10)
		printf("wrong name=%s block=%" PRIu64 " sequence=%" PRIu32
		       "..%" PRIu32 " holds_block=%" PRIu64
		       " holds_sequence=%" PRIu64 " magic=%d\n",
		       load->options.name, slot->block, block->done,
		       block->sequence, words[1], words[2], words[0] == MAGIC);
}

static void slot_submit(struct load *load, struct slot *slot, bool write,
			uint64_t at_ns)
{
	struct block *block = &load->blocks[slot->block];
	struct iocb *iocb = &slot->iocb;

	memset(iocb, 0, sizeof(*iocb));
	iocb->aio_data = (uint64_t)(uintptr_t)slot;
	iocb->aio_fildes = (uint32_t)load->fd;
	iocb->aio_lio_opcode = write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD;
	iocb->aio_buf = (uint64_t)(uintptr_t)slot->buffer;
	iocb->aio_nbytes = load->options.block_bytes;
	iocb->aio_offset = (int64_t)(load->options.offset_bytes +
				     slot->block * load->options.block_bytes);
	slot->started_ns = at_ns;
	block->busy = true;
	if (write) {
		block->sequence++;
		if (load->options.verify)
			block_fill(load, slot->buffer, slot->block,
				   block->sequence);
	}
	if (syscall(SYS_io_submit, load->context, 1L, &iocb) != 1) {
		fprintf(stderr, "guest-io: io_submit: %s\n", strerror(errno));
		exit(1);
	}
}

static void slot_done(struct load *load, struct slot *slot, int64_t result,
		      uint64_t at_ns)
{
	struct block *block = &load->blocks[slot->block];
	bool write = slot->iocb.aio_lio_opcode == IOCB_CMD_PWRITE;

	block->busy = false;
	load->free[load->free_count++] = slot;
	if (at_ns - load->last_done_ns > load->longest_gap_ns)
		load->longest_gap_ns = at_ns - load->last_done_ns;
	load->last_done_ns = at_ns;
	if (result != (int64_t)load->options.block_bytes) {
		if (load->errors++ == 0)
			printf("error name=%s block=%" PRIu64 " what=%s\n",
			       load->options.name, slot->block,
			       result < 0 ? strerror((int)-result) : "short");
		stopped = stopped || load->options.stop_on_error;
		return;
	}
	histogram_add(&load->latency, at_ns - slot->started_ns, 1);
	if (write) {
		load->writes++;
		block->done = block->sequence;
		return;
	}
	load->reads++;
	if (load->options.verify)
		block_check(load, slot);
}

/* Take what is completed; wait for one until 'until_ns'. */
static void reap(struct load *load, uint64_t until_ns)
{
	struct io_event events[DEPTH_MAX];
	struct timespec wait = {0, 0};
	uint64_t at_ns = now_ns();
	long got, i;

	if (until_ns > at_ns) {
		wait.tv_sec = (time_t)((until_ns - at_ns) / NS_PER_S);
		wait.tv_nsec = (long)((until_ns - at_ns) % NS_PER_S);
	}
	got = syscall(SYS_io_getevents, load->context, 1L, (long)DEPTH_MAX,
		      events, &wait);
	at_ns = now_ns();
	for (i = 0; i < got; i++)
		slot_done(load, (struct slot *)(uintptr_t)events[i].data,
			  events[i].res, at_ns);
}

static uint64_t random_block(struct load *load)
{
	uint64_t block;

	/* More blocks than requests in flight, so one is free. */
	do {
		load->random = mix(load->random);
		block = load->random % load->block_count;
	} while (load->blocks[block].busy);
	return block;
}

static void report(struct load *load, uint64_t at_ns, uint64_t since_ns)
{
	struct histogram recent;
	uint64_t done = load->reads + load->writes;

	histogram_subtract(&load->latency, &load->latency_before, &recent);
	printf("report name=%s iops=%" PRIu64 " p50_us=%" PRIu64
	       " p99_us=%" PRIu64 " errors=%" PRIu64 " wrong=%" PRIu64 "\n",
	       load->options.name,
	       (done - load->done_before) * NS_PER_S / (at_ns - since_ns),
	       histogram_percentile(&recent, 50) / 1000,
	       histogram_percentile(&recent, 99) / 1000, load->errors,
	       load->wrong);
	load->latency_before = load->latency;
	load->done_before = done;
}

/* Submit one request; which, and how. */
static void issue(struct load *load, uint64_t at_ns)
{
	struct slot *slot = load->free[--load->free_count];
	uint64_t count = load->reads + load->writes;
	bool write;

	slot->block = random_block(load);
	load->random = mix(load->random);
	write = load->random % 100 >= load->options.read_percent;
	slot_submit(load, slot, write, at_ns);
	if (load->options.flush_every &&
	    count % load->options.flush_every == 0 && fdatasync(load->fd) < 0)
		load->errors++;
}

static void run_load(struct load *load)
{
	const struct options *options = &load->options;
	uint64_t start_ns = now_ns(), at_ns = start_ns, due_ns = start_ns;
	uint64_t step_ns = options->rate ? NS_PER_S / options->rate : 0;
	uint64_t end_ns = options->seconds ?
		start_ns + options->seconds * NS_PER_S :
		UINT64_MAX;
	uint64_t report_ns = start_ns, issued = 0;

	load->last_done_ns = start_ns;
	while (!stopped && at_ns < end_ns &&
	       (options->ops == 0 || issued < options->ops)) {
		if (load->free_count && at_ns >= due_ns) {
			issue(load, at_ns);
			issued++;
			due_ns += step_ns;
			/* Never catch up on more than 100 ms. */
			if (due_ns + NS_PER_S / 10 < at_ns)
				due_ns = at_ns - NS_PER_S / 10;
			reap(load, 0);
		} else {
			reap(load,
			     load->free_count &&
					     due_ns < at_ns + NS_PER_S / 10 ?
				     due_ns :
				     at_ns + NS_PER_S / 10);
		}
		at_ns = now_ns();
		if (options->report_ms &&
		    at_ns - report_ns >= options->report_ms * 1000000) {
			report(load, at_ns, report_ns);
			report_ns = at_ns;
		}
	}
	while (load->free_count < options->depth)
		reap(load, now_ns() + NS_PER_S);
}

/* Read back every block that was written. */
static uint64_t read_back(struct load *load)
{
	uint64_t block, checked = 0;

	for (block = 0; block < load->block_count; block++) {
		if (load->blocks[block].done == 0)
			continue;
		while (load->free_count == 0)
			reap(load, now_ns() + NS_PER_S);
		load->free[load->free_count - 1]->block = block;
		slot_submit(load, load->free[--load->free_count], false,
			    now_ns());
		checked++;
	}
	while (load->free_count < load->options.depth)
		reap(load, now_ns() + NS_PER_S);
	return checked;
}

/* "rt/0" .. "be/7" or "idle", for this process from now on. */
static bool set_priority(const char *text)
{
	static const char *const classes[] = {NULL, "rt/", "be/"};
	unsigned int class, value = 0;

	for (class = IOPRIO_RT; class <= IOPRIO_BE; class ++)
		if (strncmp(text, classes[class], 3) == 0 && text[3] >= '0' &&
		    text[3] <= '7' && text[4] == 0)
			value = class << 13 | (unsigned int)(text[3] - '0');
	if (strcmp(text, "idle") == 0)
		value = 3U << 13;
	return value && syscall(SYS_ioprio_set, 1, 0, value) == 0;
}

static bool parse_number(const char *text, uint64_t *ret_number)
{
	char *end;

	errno = 0;
	*ret_number = strtoull(text, &end, 10);
	if (errno || end == text)
		return false;
	if (*end == 'k')
		*ret_number <<= 10;
	else if (*end == 'M')
		*ret_number <<= 20;
	else if (*end == 'G')
		*ret_number <<= 30;
	else
		return *end == 0;
	return end[1] == 0;
}

static bool parse_option(struct options *options, char *argument)
{
	const struct {
		const char *key;
		uint64_t *number;
	} numbers[] = {
		{"offset", &options->offset_bytes},
		{"size", &options->size_bytes},
		{"block", &options->block_bytes},
		{"depth", &options->depth},
		{"rate", &options->rate},
		{"read", &options->read_percent},
		{"seconds", &options->seconds},
		{"ops", &options->ops},
		{"seed", &options->seed},
		{"report-ms", &options->report_ms},
		{"flush", &options->flush_every},
	};
	char *value = strchr(argument, '=');
	size_t i;

	if (!value)
		return false;
	*value++ = 0;
	if (strcmp(argument, "prio") == 0)
		return set_priority(value);
	if (strcmp(argument, "name") == 0) {
		options->name = value;
		return true;
	}
	if (strcmp(argument, "verify") == 0) {
		options->verify = strcmp(value, "yes") == 0;
		return true;
	}
	if (strcmp(argument, "stop-on-error") == 0) {
		options->stop_on_error = strcmp(value, "yes") == 0;
		return true;
	}
	for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (strcmp(argument, numbers[i].key) == 0)
			return parse_number(value, numbers[i].number);
	return false;
}

static bool options_fit(const struct options *options)
{
	return options->depth >= 1 && options->depth <= DEPTH_MAX &&
		options->block_bytes >= 512 &&
		options->block_bytes % 512 == 0 &&
		options->block_bytes <= 1U << 20 &&
		options->read_percent <= 100 && options->rate <= NS_PER_S &&
		options->size_bytes / options->block_bytes > options->depth;
}

static int load_open(struct load *load)
{
	struct options *options = &load->options;
	uint64_t i;

	load->fd = open(options->device, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (load->fd < 0)
		return -errno;
	load->block_count = options->size_bytes / options->block_bytes;
	load->blocks = calloc(load->block_count, sizeof(load->blocks[0]));
	if (!load->blocks ||
	    syscall(SYS_io_setup, (long)DEPTH_MAX, &load->context) < 0)
		return -ENOMEM;
	for (i = 0; i < options->depth; i++) {
		void *buffer;

		if (posix_memalign(&buffer, 4096, options->block_bytes) != 0)
			return -ENOMEM;
		memset(buffer, 0, options->block_bytes);
		load->slots[i].buffer = buffer;
		load->free[load->free_count++] = &load->slots[i];
	}
	load->random = mix(options->seed);
	return 0;
}

int main(int argc, char **argv)
{
	static struct load load;
	struct options *options = &load.options;
	struct sigaction action = {.sa_handler = on_signal};
	uint64_t started_ns, took_ns, done, checked;
	int i, error;

	*options = (struct options){
		.name = "load",
		.size_bytes = 16U << 20,
		.block_bytes = 4096,
		.depth = 1,
		.read_percent = 50,
		.seed = 1,
		.verify = true,
	};
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (i = 2; i < argc; i++)
		if (!parse_option(options, argv[i])) {
			fprintf(stderr, "guest-io: bad option '%s'\n", argv[i]);
			return 2;
		}
	if (argc < 2 || !options_fit(options)) {
		fprintf(stderr, "usage: guest-io DEVICE [key=value ...]\n");
		return 2;
	}
	options->device = argv[1];
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	error = load_open(&load);
	if (error < 0) {
		fprintf(stderr, "guest-io: %s: %s\n", options->device,
			strerror(-error));
		return 1;
	}

	started_ns = now_ns();
	run_load(&load);
	took_ns = now_ns() - started_ns;
	done = load.reads + load.writes;
	/* The read-back is not part of the figures. */
	load.latency_before = load.latency;
	checked = options->verify ? read_back(&load) : 0;
	printf("result name=%s done=%" PRIu64 " iops=%" PRIu64
	       " p50_us=%" PRIu64 " p99_us=%" PRIu64 " longest_gap_ms=%" PRIu64
	       " errors=%" PRIu64 " wrong=%" PRIu64 " read_back=%" PRIu64 "\n",
	       options->name, done, done * NS_PER_S / (took_ns + 1),
	       histogram_percentile(&load.latency_before, 50) / 1000,
	       histogram_percentile(&load.latency_before, 99) / 1000,
	       load.longest_gap_ns / 1000000, load.errors, load.wrong, checked);
	return load.errors || load.wrong ? 1 : 0;
}
