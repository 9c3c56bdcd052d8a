/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nbd-load.c - load on any NBD server, over one connection
 *
 * bench-nbd-load [OPTION...] SOCKET [EXPORT]: one polling thread keeps 'depth'
 * requests under way; what is to be sent goes in one system call, and so does
 * what is received, so that the client is not what is measured.  With --psk it
 * goes by TLS, by src/nbd's own half of it.  Prints what bench-load prints, as
 * JSON (bench/block/measure.py reads it).
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "bench/latency.h"
#include "bench/load.h"
#include "nbd/stream.h"
#include "nbd/wire.h"

#define DEPTH_MAX	256U
#define BUFFER_BYTES	(UINT32_C(8) << 20)
#define AWAY_NS		LOAD_AWAY_NS

struct options {
	const char *socket, *export, *psk;
	unsigned int depth;
	uint32_t block_bytes;
	bool write, sequential, simple;
	uint64_t span_bytes, duration_ns, warmup_ns;
	int server_pid;
};

struct load {
	struct options options;
	struct stream stream;
	uint64_t random, position, blocks;
	uint64_t start_ns[DEPTH_MAX];
	uint32_t idle[DEPTH_MAX];
	unsigned int idle_count;
	/* Not sent yet. */
	uint8_t heads[DEPTH_MAX][WIRE_REQUEST_BYTES];
	struct iovec out[2 * DEPTH_MAX];
	unsigned int out_first, out_count;
	/* Received and not looked at yet. */
	uint8_t *in;
	size_t in_from, in_to;
	uint64_t skip_bytes;		/* data of a reply */
	bool skip_ends;			/* and then it is whole */
	uint32_t skip_index;
	/* Counted. */
	bool measuring;
	uint64_t requests, errors, away_ns, aways;
	struct latency latency;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * LOAD_SECOND_NS + (uint64_t)now.tv_nsec;
}

static void die(const char *what)
{
	fprintf(stderr, "bench-nbd-load: %s\n", what);
	exit(1);
}

/* ---- the handshake ---- */

static void send_all(struct stream *stream, const void *from, size_t bytes)
{
	struct iovec iov = {(void *)(uintptr_t)from, bytes};

	while (iov.iov_len > 0) {
		const ssize_t sent = stream_send(stream, &iov, 1);

		if (sent < 0)
			die("the server hung up");
		iov.iov_base = (uint8_t *)iov.iov_base + sent;
		iov.iov_len -= (size_t)sent;
	}
}

static void receive_all(struct stream *stream, void *to, size_t bytes)
{
	size_t done = 0;

	while (done < bytes) {
		const ssize_t got = stream_receive(stream, (uint8_t *)to + done,
						   bytes - done);

		if (got < 0)
			die("the server hung up");
		done += (size_t)got;
	}
}

static uint32_t get32(const uint8_t *from)
{
	return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 |
		(uint32_t)from[2] << 8 | from[3];
}

/* Options are written as replies are: only the magic is another. */
static void send_option(struct stream *stream, uint32_t option,
			const void *data, uint32_t bytes)
{
	static const uint8_t magic[8] = "IHAVEOPT";
	uint8_t head[WIRE_OPTION_BYTES] = {0};

	memcpy(head, magic, sizeof(magic));
	head[11] = (uint8_t)option;
	head[14] = (uint8_t)(bytes >> 8);
	head[15] = (uint8_t)bytes;
	send_all(stream, head, sizeof(head));
	if (bytes > 0)
		send_all(stream, data, bytes);
}

/* Until an acknowledgement. */
static void await_reply(struct stream *stream)
{
	uint8_t head[WIRE_REPLY_BYTES], data[4096];
	uint32_t reply, bytes;

	do {
		receive_all(stream, head, sizeof(head));
		reply = get32(head + 12);
		bytes = get32(head + 16);
		if (bytes > sizeof(data))
			die("an answer of the handshake is too long");
		receive_all(stream, data, bytes);
		if (reply & WIRE_REP_ERROR)
			die("the server refuses an option");
	} while (reply != WIRE_REP_ACK);
}

/* The first line of the file, "NAME:HEX", is who we are. */
static struct keys *read_keys(const char *path)
{
	struct tls_text text;
	struct keys *keys = NULL;
	struct error why;
	char *user;

	if (tls_read(path, &text, &why) < 0)
		die(why.text);
	user = strndup(text.data, strcspn(text.data, ":"));
	if (!user ||
	    keys_from_shared(&text, KEYS_CLIENT, user, &keys, &why) < 0)
		die(user ? why.text : "out of memory");
	tls_forget(&text);
	free(user);
	return keys;
}

static void secure(struct stream *stream, const char *path)
{
	struct keys *keys = read_keys(path);
	struct error why;
	int ret;

	send_option(stream, WIRE_OPT_STARTTLS, NULL, 0);
	await_reply(stream);
	if (stream_secure(stream, keys, NULL) < 0)
		die("out of memory");
	keys_drop(keys);
	do
		ret = stream_shake(stream, &why);
	while (ret == 0);
	if (ret < 0)
		die(ret == -EPROTO ? why.text : "the server hung up");
}

static void negotiate(struct stream *stream, const struct options *options)
{
	static const uint8_t flags[4] = {0, 0, 0, 3};
	const uint32_t length = (uint32_t)strlen(options->export);
	uint8_t greeting[WIRE_GREETING_BYTES], go[300] = {0};

	receive_all(stream, greeting, sizeof(greeting));
	send_all(stream, flags, sizeof(flags));
	if (options->psk)
		secure(stream, options->psk);
	if (!options->simple) {
		send_option(stream, WIRE_OPT_STRUCTURED_REPLY, NULL, 0);
		await_reply(stream);
	}
	if (length > sizeof(go) - 6)
		die("the export's name is too long");
	go[3] = (uint8_t)length;
	memcpy(go + 4, options->export, length);
	send_option(stream, WIRE_OPT_GO, go, length + 6);
	await_reply(stream);
}

static int connect_to(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (fd < 0 ||
	    connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		die(strerror(errno));
	/* What waits for room stays with us. */
	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		die(strerror(errno));
	return fd;
}

/* ---- requests ---- */

static uint64_t next_block(struct load *load)
{
	uint64_t block;

	if (load->options.sequential) {
		block = load->position++;
		if (load->position == load->blocks)
			load->position = 0;
		return block;
	}
	load->random ^= load->random << 13;
	load->random ^= load->random >> 7;
	load->random ^= load->random << 17;
	return load->random % load->blocks;
}

/* Whatever is idle goes; one batch at a time. */
static void fill(struct load *load, uint64_t at_ns)
{
	static uint8_t data[WIRE_PAYLOAD_MAX];

	if (load->out_count > 0)
		return;
	load->out_first = 0;
	while (load->idle_count > 0) {
		const uint32_t index = load->idle[--load->idle_count];
		const struct wire_request request = {
			.command = load->options.write ? WIRE_WRITE : WIRE_READ,
			.cookie = index,
			.offset_bytes =
				next_block(load) * load->options.block_bytes,
			.length_bytes = load->options.block_bytes,
		};

		wire_put_request(load->heads[index], &request);
		load->start_ns[index] = at_ns;
		load->out[load->out_count++] = (struct iovec){
			load->heads[index],
			WIRE_REQUEST_BYTES,
		};
		if (load->options.write)
			load->out[load->out_count++] = (struct iovec){
				data,
				load->options.block_bytes,
			};
	}
}

static void flush(struct load *load)
{
	while (load->out_count > 0) {
		ssize_t sent =
			stream_send(&load->stream, load->out + load->out_first,
				    load->out_count);

		if (sent == 0)
			return;
		if (sent < 0)
			die("the server hung up");
		while (sent > 0) {
			struct iovec *iov = &load->out[load->out_first];

			if ((size_t)sent < iov->iov_len) {
				iov->iov_base = (uint8_t *)iov->iov_base + sent;
				iov->iov_len -= (size_t)sent;
				break;
			}
			sent -= (ssize_t)iov->iov_len;
			load->out_first++;
			load->out_count--;
		}
	}
}

/* ---- replies ---- */

static void ended(struct load *load, uint64_t cookie, bool failed,
		  uint64_t at_ns)
{
	if (cookie >= load->options.depth)
		die("an answer to what nobody asked");
	if (load->measuring) {
		load->requests++;
		load->errors += failed;
		latency_add(&load->latency, at_ns - load->start_ns[cookie]);
	}
	load->idle[load->idle_count++] = (uint32_t)cookie;
}

/* One head at the front of what came.  Returns its length; 0: not whole. */
static size_t take_head(struct load *load, const uint8_t *at, size_t bytes,
			uint64_t at_ns)
{
	struct wire_simple simple;
	struct wire_chunk_head chunk;

	if (bytes < WIRE_SIMPLE_BYTES)
		return 0;
	if (wire_get_simple(at, &simple)) {
		load->skip_bytes = load->options.write || simple.error ?
			0 :
			load->options.block_bytes;
		load->skip_ends = true;
		load->skip_index = (uint32_t)simple.cookie;
		if (load->skip_bytes == 0)
			ended(load, simple.cookie, simple.error != 0, at_ns);
		return WIRE_SIMPLE_BYTES;
	}
	if (bytes < WIRE_CHUNK_BYTES)
		return 0;
	if (!wire_get_chunk(at, &chunk))
		die("what came is no reply");
	load->skip_bytes = chunk.payload_bytes;
	load->skip_ends = chunk.done;
	load->skip_index = (uint32_t)chunk.cookie;
	if (load->skip_bytes == 0 && chunk.done)
		ended(load, chunk.cookie, false, at_ns);
	load->errors += load->measuring && chunk.type >= 0x8000;
	return WIRE_CHUNK_BYTES;
}

static bool receive(struct load *load, uint64_t at_ns)
{
	ssize_t got;

	if (load->in_from > 0) {
		memmove(load->in, load->in + load->in_from,
			load->in_to - load->in_from);
		load->in_to -= load->in_from;
		load->in_from = 0;
	}
	got = stream_receive(&load->stream, load->in + load->in_to,
			     BUFFER_BYTES - load->in_to);
	if (got == 0)
		return false;
	if (got < 0)
		die("the server hung up");
	load->in_to += (size_t)got;
	while (load->in_from < load->in_to) {
		const size_t there = load->in_to - load->in_from;
		size_t taken;

		if (load->skip_bytes > 0) {
			taken = load->skip_bytes < there ? load->skip_bytes :
							   there;
			load->skip_bytes -= taken;
			if (load->skip_bytes == 0 && load->skip_ends)
				ended(load, load->skip_index, false, at_ns);
		} else {
			taken = take_head(load, load->in + load->in_from, there,
					  at_ns);
		}
		if (taken == 0)
			break;
		load->in_from += taken;
	}
	return true;
}

/* ---- the run ---- */

/* What is under way ends, and the server is told: qemu-storage-daemon 7.2
 * does not survive a client that just goes. */
static void finish(struct load *load)
{
	const struct wire_request request = {.command = WIRE_DISC};
	uint8_t head[WIRE_REQUEST_BYTES], byte;

	load->measuring = false;
	while (load->out_count > 0 || load->idle_count < load->options.depth) {
		receive(load, now_ns());
		flush(load);
	}
	wire_put_request(head, &request);
	send_all(&load->stream, head, sizeof(head));
	while (stream_receive(&load->stream, &byte, 1) >= 0)
		;
	stream_finish(&load->stream);
}

static void run(struct load *load, uint64_t until_ns)
{
	uint64_t last_ns = now_ns();

	for (uint64_t at_ns = last_ns; at_ns < until_ns; at_ns = now_ns()) {
		if (load->measuring && at_ns - last_ns > AWAY_NS) {
			load->aways++;
			load->away_ns += at_ns - last_ns;
		}
		receive(load, at_ns);
		fill(load, at_ns);
		flush(load);
		last_ns = at_ns;
		/* Copying much takes long: that is no absence. */
		if (load->options.block_bytes > 16384)
			last_ns = now_ns();
	}
}

static json_t *latency_json(const struct latency *latency)
{
	return json_pack("{s:I, s:I, s:I, s:I}", "count",
			 (json_int_t)latency->count, "p50",
			 (json_int_t)latency_percentile(latency, 50), "p99",
			 (json_int_t)latency_percentile(latency, 99), "max",
			 (json_int_t)latency->max_ns);
}

static void report(const struct load *load, uint64_t measured_ns,
		   uint64_t cpu_ns, uint64_t waited_ns)
{
	const double seconds = (double)measured_ns / 1e9;
	const double iops = (double)load->requests / seconds;
	json_t *job =
		json_pack("{s:s, s:I, s:I, s:f, s:f, s:o, s:o}", "name", "job",
			  "requests", (json_int_t)load->requests, "errors",
			  (json_int_t)load->errors, "iops", iops, "bytes_per_s",
			  iops * load->options.block_bytes, "latency_ns",
			  latency_json(&load->latency), "clean_latency_ns",
			  latency_json(&load->latency));
	json_t *all = json_pack(
		"{s:f, s:I, s:{s:I, s:I, s:I}, s:[o]}", "seconds", seconds,
		"server_cpu_ns", (json_int_t)cpu_ns, "away", "times",
		(json_int_t)load->aways, "ns", (json_int_t)load->away_ns,
		"server_waited_ns", (json_int_t)waited_ns, "jobs", job);

	json_dumpf(all, stdout, JSON_INDENT(1));
	putchar('\n');
	json_decref(all);
}

static uint64_t number(const char *text)
{
	char *end;
	const double value = strtod(text, &end);

	if (end == text || *end || value < 0)
		die("a number was expected");
	return (uint64_t)value;
}

static uint64_t nanoseconds(const char *text)
{
	return (uint64_t)(strtod(text, NULL) * 1e9);
}

static void parse(int argc, char **argv, struct options *options)
{
	static const struct option known[] = {
		{"depth", required_argument, NULL, 'd'},
		{"bs", required_argument, NULL, 'b'},
		{"write", no_argument, NULL, 'w'},
		{"sequential", no_argument, NULL, 's'},
		{"simple", no_argument, NULL, 'i'},
		{"span", required_argument, NULL, 'n'},
		{"duration", required_argument, NULL, 't'},
		{"warmup", required_argument, NULL, 'u'},
		{"psk", required_argument, NULL, 'k'},
		{"server", required_argument, NULL, 'p'},
		{"json", no_argument, NULL, 'j'},
		{0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (c) {
		case 'd':
			options->depth = (unsigned int)number(optarg);
			break;
		case 'b':
			options->block_bytes = (uint32_t)number(optarg);
			break;
		case 'w':
			options->write = true;
			break;
		case 's':
			options->sequential = true;
			break;
		case 'i':
			options->simple = true;
			break;
		case 'n':
			options->span_bytes = number(optarg);
			break;
		case 't':
			options->duration_ns = nanoseconds(optarg);
			break;
		case 'u':
			options->warmup_ns = nanoseconds(optarg);
			break;
		case 'k':
			options->psk = optarg;
			break;
		case 'p':
			options->server_pid = (int)number(optarg);
			break;
		case 'j':
			break;
		default:
			exit(2);
		}
	}
	if (optind >= argc || options->depth == 0 ||
	    options->depth > DEPTH_MAX || options->block_bytes < 512 ||
	    options->block_bytes > WIRE_PAYLOAD_MAX ||
	    options->span_bytes < options->block_bytes) {
		fprintf(stderr,
			"usage: bench-nbd-load [--depth N] [--bs BYTES] [--write] [--sequential] [--simple] [--span BYTES] [--duration S] [--warmup S] [--psk FILE] [--server PID] SOCKET [EXPORT]\n");
		exit(2);
	}
	options->socket = argv[optind];
	options->export = optind + 1 < argc ? argv[optind + 1] : "";
}

int main(int argc, char **argv)
{
	static struct load load = {
		.options =
			{
				.depth = 32,
				.block_bytes = 4096,
				.span_bytes = UINT64_C(1) << 30,
				.duration_ns = LOAD_SECOND_NS,
				.warmup_ns = LOAD_SECOND_NS / 5,
			},
		.random = UINT64_C(0x9e3779b97f4a7c15),
	};
	uint64_t ran_ns[2] = {0}, waited_ns[2] = {0}, from_ns;
	struct load_server server = {.count = 0};

	parse(argc, argv, &load.options);
	load.blocks = load.options.span_bytes / load.options.block_bytes;
	load.in = malloc(BUFFER_BYTES);
	if (!load.in)
		die("out of memory");
	stream_init(&load.stream, connect_to(load.options.socket));
	negotiate(&load.stream, &load.options);
	for (uint32_t i = 0; i < load.options.depth; i++)
		load.idle[load.idle_count++] = i;
	run(&load, now_ns() + load.options.warmup_ns);
	/* By now it has the threads that serve this connection. */
	if (load.options.server_pid)
		load_server_open(&server, load.options.server_pid);
	load_server_read(&server, &ran_ns[0], &waited_ns[0]);
	load.measuring = true;
	from_ns = now_ns();
	run(&load, from_ns + load.options.duration_ns);
	from_ns = now_ns() - from_ns;
	load_server_read(&server, &ran_ns[1], &waited_ns[1]);
	report(&load, from_ns, ran_ns[1] - ran_ns[0],
	       waited_ns[1] - waited_ns[0]);
	load_server_close(&server);
	finish(&load);
	return load.errors > 0;
}
