/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire.h - every message of the NBD protocol: bytes to fields, fields to bytes
 *
 * doc/proto.md of NetworkBlockDevice/nbd; fixed newstyle, structured replies,
 * the metadata context base:allocation.  All numbers are big-endian.  What a
 * stranger wrote is checked here, once; whoever gets fields from here need not
 * look at them again.
 *
 * Called by both ends, by tests and by the bench's client.
 * Pure: no I/O, keeps nothing.  Threads: any.
 */
#ifndef NBD_WIRE_H
#define NBD_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- what both sides may hold each other to ---- */

#define WIRE_PAYLOAD_MAX	(UINT32_C(32) << 20)
#define WIRE_NAME_MAX		4096U
/* An option's data: a name and as many queries as anybody has. */
#define WIRE_OPTION_MAX		8192U
#define WIRE_TEXT_MAX		255U

/* ---- the handshake ---- */

#define WIRE_GREETING_BYTES	18U
#define WIRE_CLIENT_FLAGS_BYTES	4U
#define WIRE_OPTION_BYTES	16U	/* before its data */
#define WIRE_REPLY_BYTES	20U	/* before its data */
#define WIRE_EXPORT_BYTES	10U	/* answers NBD_OPT_EXPORT_NAME ... */
#define WIRE_EXPORT_ZEROES	124U	/* ... with these after it */

enum wire_option {
	WIRE_OPT_EXPORT_NAME = 1,
	WIRE_OPT_ABORT = 2,
	WIRE_OPT_LIST = 3,
	WIRE_OPT_STARTTLS = 5,
	WIRE_OPT_INFO = 6,
	WIRE_OPT_GO = 7,
	WIRE_OPT_STRUCTURED_REPLY = 8,
	WIRE_OPT_LIST_META_CONTEXT = 9,
	WIRE_OPT_SET_META_CONTEXT = 10,
};

enum wire_reply {
	WIRE_REP_ACK = 1,
	WIRE_REP_SERVER = 2,
	WIRE_REP_INFO = 3,
	WIRE_REP_META_CONTEXT = 4,
};

#define WIRE_REP_ERROR		(UINT32_C(1) << 31)
#define WIRE_REP_ERR_UNSUP	(WIRE_REP_ERROR | 1U)
#define WIRE_REP_ERR_POLICY	(WIRE_REP_ERROR | 2U)
#define WIRE_REP_ERR_INVALID	(WIRE_REP_ERROR | 3U)
#define WIRE_REP_ERR_PLATFORM	(WIRE_REP_ERROR | 4U)
#define WIRE_REP_ERR_TLS_REQD	(WIRE_REP_ERROR | 5U)
#define WIRE_REP_ERR_UNKNOWN	(WIRE_REP_ERROR | 6U)
#define WIRE_REP_ERR_SHUTDOWN	(WIRE_REP_ERROR | 7U)
#define WIRE_REP_ERR_TOO_BIG	(WIRE_REP_ERROR | 9U)

enum wire_info {
	WIRE_INFO_EXPORT = 0,
	WIRE_INFO_NAME = 1,
	WIRE_INFO_DESCRIPTION = 2,
	WIRE_INFO_BLOCK_SIZE = 3,
};

/* Transmission flags. */
#define WIRE_HAS_FLAGS		0x001U
#define WIRE_READ_ONLY		0x002U
#define WIRE_SEND_FLUSH		0x004U
#define WIRE_SEND_FUA		0x008U
#define WIRE_SEND_TRIM		0x020U
#define WIRE_SEND_WRITE_ZEROES	0x040U
#define WIRE_SEND_DF		0x080U
#define WIRE_CAN_MULTI_CONN	0x100U
#define WIRE_SEND_CACHE		0x400U
#define WIRE_SEND_FAST_ZERO	0x800U

/* What a server is, to a client that asks. */
struct wire_export {
	uint64_t size_bytes;
	uint32_t block_min, block_preferred;
	uint32_t block_max;		/* to a client; ours: see above */
	uint16_t flags;
};

void wire_put_greeting(uint8_t to[WIRE_GREETING_BYTES]);
/* The client's answer.  Returns false: it is no fixed newstyle client, or
 * wants what nobody offered. */
bool wire_get_client_flags(const uint8_t from[WIRE_CLIENT_FLAGS_BYTES],
			   bool *ret_no_zeroes);

struct wire_option_head {
	uint32_t option;		/* perhaps none of enum wire_option */
	uint32_t data_bytes;		/* any */
};

/* Returns false if it isn't one. */
bool wire_get_option(const uint8_t from[WIRE_OPTION_BYTES],
		     struct wire_option_head *ret_head);

/* A text inside of an option's data. */
struct wire_text {
	const char *at;			/* no zero at its end */
	uint32_t bytes;
};

/* NBD_OPT_GO and NBD_OPT_INFO.  Returns false: the lengths are wrong. */
struct wire_go {
	struct wire_text name;
	bool wants_name, wants_description, wants_block_size;
};
bool wire_get_go(const uint8_t *data, uint32_t bytes, struct wire_go *ret_go);

/* NBD_OPT_LIST_META_CONTEXT and SET_META_CONTEXT. */
struct wire_meta {
	struct wire_text name;
	uint32_t queries;
	bool wants_allocation;	/* some query is for it, or (list) for all */
};
bool wire_get_meta(uint32_t option, const uint8_t *data, uint32_t bytes,
		   struct wire_meta *ret_meta);

/* Each returns how many bytes it took.  'to' has room. */
size_t wire_put_reply(uint8_t *to, uint32_t option, uint32_t reply,
		      const void *data, uint32_t bytes);
size_t wire_put_info_export(uint8_t *to, uint32_t option,
			    const struct wire_export *export);
size_t wire_put_info_block_size(uint8_t *to, uint32_t option,
				const struct wire_export *export);
size_t wire_put_info_text(uint8_t *to, uint32_t option, enum wire_info info,
			  const char *text);
size_t wire_put_server(uint8_t *to, const char *name);
size_t wire_put_meta(uint8_t *to, uint32_t option);
size_t wire_put_export(uint8_t *to, const struct wire_export *export,
		       bool no_zeroes);
/* With these as the most that a text makes of it. */
#define WIRE_REPLY_MAX		(WIRE_REPLY_BYTES + 8U + WIRE_TEXT_MAX)

/* ---- transmission: what is asked for ---- */

#define WIRE_REQUEST_BYTES	28U

enum wire_command {
	WIRE_READ = 0,
	WIRE_WRITE = 1,
	WIRE_DISC = 2,
	WIRE_FLUSH = 3,
	WIRE_TRIM = 4,
	WIRE_CACHE = 5,
	WIRE_WRITE_ZEROES = 6,
	WIRE_BLOCK_STATUS = 7,
};

#define WIRE_FUA		0x01U
#define WIRE_NO_HOLE		0x02U
#define WIRE_DF			0x04U
#define WIRE_REQ_ONE		0x08U
#define WIRE_FAST_ZERO		0x10U

struct wire_request {
	uint64_t cookie, offset_bytes;
	uint32_t length_bytes;
	uint16_t command;		/* perhaps none of enum wire_command */
	uint16_t flags;
};

/* Returns false: it isn't one, and nobody knows where the next begins. */
bool wire_get_request(const uint8_t from[WIRE_REQUEST_BYTES],
		      struct wire_request *ret_request);
void wire_put_request(uint8_t to[WIRE_REQUEST_BYTES],
		      const struct wire_request *request);
/* That many bytes of data come after it. */
static inline uint32_t wire_payload_bytes(const struct wire_request *request)
{
	return request->command == WIRE_WRITE ? request->length_bytes : 0;
}

/* What was agreed upon in the handshake, and what the device is now. */
struct wire_terms {
	uint64_t size_bytes;
	uint32_t df_max_bytes;		/* with WIRE_DF; at least 64 KiB */
	bool read_only, structured, allocation;
};

/* ---- transmission: what is answered ---- */

/* The protocol's own numbers, whatever this system's are. */
enum wire_error {
	WIRE_OK = 0,
	WIRE_EPERM = 1,
	WIRE_EIO = 5,
	WIRE_ENOMEM = 12,
	WIRE_EINVAL = 22,
	WIRE_ENOSPC = 28,
	WIRE_EOVERFLOW = 75,
	WIRE_ENOTSUP = 95,
	WIRE_ESHUTDOWN = 108,
};

/* May it be done?  WIRE_OK: its command is one of enum wire_command, its range
 * is inside, its flags are its command's. */
enum wire_error wire_check(const struct wire_request *request,
			   const struct wire_terms *terms);
/* Of a negative errno or 0. */
enum wire_error wire_error_of(int result);
const char *wire_error_text(enum wire_error error);

#define WIRE_SIMPLE_BYTES	16U
#define WIRE_CHUNK_BYTES	20U	/* before its payload */
#define WIRE_DATA_BYTES		(WIRE_CHUNK_BYTES + 8U)
#define WIRE_ERROR_BYTES	(WIRE_CHUNK_BYTES + 6U)
#define WIRE_STATUS_BYTES	(WIRE_CHUNK_BYTES + 4U)
#define WIRE_EXTENT_BYTES	8U
#define WIRE_HEAD_MAX		WIRE_DATA_BYTES

enum wire_chunk {
	WIRE_CHUNK_NONE = 0,
	WIRE_CHUNK_OFFSET_DATA = 1,
	WIRE_CHUNK_OFFSET_HOLE = 2,
	WIRE_CHUNK_BLOCK_STATUS = 5,
	WIRE_CHUNK_ERROR = 0x8001,
	WIRE_CHUNK_ERROR_OFFSET = 0x8002,
};

#define WIRE_DONE		0x1U	/* the last chunk of its reply */

/* Heads of replies: each returns its length, what is named comes after. */
uint32_t wire_put_simple(uint8_t *to, uint64_t cookie, enum wire_error error);
uint32_t wire_put_done(uint8_t *to, uint64_t cookie);
uint32_t wire_put_data(uint8_t *to, uint64_t cookie, uint64_t offset_bytes,
		       uint32_t data_bytes, bool done);
uint32_t wire_put_error(uint8_t *to, uint64_t cookie, enum wire_error error,
			uint32_t text_bytes);
uint32_t wire_put_status(uint8_t *to, uint64_t cookie, uint32_t extents);
#define WIRE_STATE_HOLE		0x1U
#define WIRE_STATE_ZERO		0x2U
void wire_put_extent(uint8_t to[WIRE_EXTENT_BYTES], uint32_t length_bytes,
		     uint32_t state);

/* The client's side of the same. */
struct wire_simple {
	uint64_t cookie;
	uint32_t error;
};
struct wire_chunk_head {
	uint64_t cookie;
	uint32_t payload_bytes;
	uint16_t type;			/* perhaps none of enum wire_chunk */
	bool done;
};
bool wire_get_simple(const uint8_t from[WIRE_SIMPLE_BYTES],
		     struct wire_simple *ret_simple);
bool wire_get_chunk(const uint8_t from[WIRE_CHUNK_BYTES],
		    struct wire_chunk_head *ret_head);

/* ---- names ---- */

/* "VDEV", "VDEV/PASID", each perhaps with "@GENERATION"; or nothing. */
struct wire_target {
	struct wire_text vdev;		/* bytes 0: the default */
	uint32_t pasid;			/* 0: none is named */
	bool has_generation;
	uint64_t generation;
};
/* Returns false: it is none. */
bool wire_get_target(const struct wire_text *name,
		     struct wire_target *ret_target);

#endif
