/* SPDX-License-Identifier: Apache-2.0 */
/* wire.c - see wire.h */
#include "nbd/wire.h"

#include <errno.h>
#include <string.h>

#include "nbd/bytes.h"

#define REQUEST_MAGIC		UINT32_C(0x25609513)
#define SIMPLE_MAGIC		UINT32_C(0x67446698)
#define CHUNK_MAGIC		UINT32_C(0x668e33ef)

#define ALLOCATION_ID		1U

/* ---- the handshake ---- */

void wire_put_greeting(uint8_t to[WIRE_GREETING_BYTES])
{
	put64(to, GREETING_MAGIC);
	put64(to + 8, OPTION_MAGIC);
	put16(to + 16, FIXED_NEWSTYLE | NO_ZEROES);
}

bool wire_get_client_flags(const uint8_t from[WIRE_CLIENT_FLAGS_BYTES],
			   bool *ret_no_zeroes)
{
	const uint32_t flags = get32(from);

	if ((flags & ~(FIXED_NEWSTYLE | NO_ZEROES)) != 0 ||
	    !(flags & FIXED_NEWSTYLE))
		return false;
	*ret_no_zeroes = (flags & NO_ZEROES) != 0;
	return true;
}

bool wire_get_option(const uint8_t from[WIRE_OPTION_BYTES],
		     struct wire_option_head *ret_head)
{
	if (get64(from) != OPTION_MAGIC)
		return false;
	ret_head->option = get32(from + 8);
	ret_head->data_bytes = get32(from + 12);
	return true;
}

/* A length and so many bytes, off the front of what is left. */
static bool take_text(const uint8_t **data, uint32_t *left,
		      struct wire_text *ret_text)
{
	uint32_t bytes;

	if (*left < 4)
		return false;
	bytes = get32(*data);
	if (bytes > *left - 4 || bytes > WIRE_NAME_MAX)
		return false;
	ret_text->at = (const char *)*data + 4;
	ret_text->bytes = bytes;
	*data += 4 + bytes;
	*left -= 4 + bytes;
	return true;
}

bool wire_get_go(const uint8_t *data, uint32_t bytes, struct wire_go *ret_go)
{
	struct wire_go go = {0};
	uint16_t count;

	if (!take_text(&data, &bytes, &go.name) || bytes < 2)
		return false;
	count = get16(data);
	if (bytes != 2U + 2U * count)
		return false;
	for (unsigned int i = 0; i < count; i++) {
		const uint16_t info = get16(data + 2 + 2 * (size_t)i);

		go.wants_name |= info == WIRE_INFO_NAME;
		go.wants_description |= info == WIRE_INFO_DESCRIPTION;
		go.wants_block_size |= info == WIRE_INFO_BLOCK_SIZE;
	}
	*ret_go = go;
	return true;
}

static bool is_text(const struct wire_text *text, const char *wanted)
{
	return text->bytes == strlen(wanted) &&
		memcmp(text->at, wanted, text->bytes) == 0;
}

bool wire_get_meta(uint32_t option, const uint8_t *data, uint32_t bytes,
		   struct wire_meta *ret_meta)
{
	const bool lists = option == WIRE_OPT_LIST_META_CONTEXT;
	struct wire_meta meta = {0};

	if (!take_text(&data, &bytes, &meta.name) || bytes < 4)
		return false;
	meta.queries = get32(data);
	data += 4;
	bytes -= 4;
	/* A list without a question is of all that there are. */
	meta.wants_allocation = lists && meta.queries == 0;
	for (uint32_t i = 0; i < meta.queries; i++) {
		struct wire_text query;

		if (!take_text(&data, &bytes, &query))
			return false;
		meta.wants_allocation |= is_text(&query, ALLOCATION) ||
			(lists && is_text(&query, "base:"));
	}
	if (bytes != 0)
		return false;
	*ret_meta = meta;
	return true;
}

static uint8_t *put_reply_head(uint8_t *to, uint32_t option, uint32_t reply,
			       size_t bytes)
{
	put64(to, REPLY_MAGIC);
	put32(to + 8, option);
	put32(to + 12, reply);
	put32(to + 16, (uint32_t)bytes);
	return to + WIRE_REPLY_BYTES;
}

size_t wire_put_reply(uint8_t *to, uint32_t option, uint32_t reply,
		      const void *data, uint32_t bytes)
{
	to = put_reply_head(to, option, reply, bytes);
	if (bytes > 0)
		memcpy(to, data, bytes);
	return WIRE_REPLY_BYTES + bytes;
}

size_t wire_put_info_export(uint8_t *to, uint32_t option,
			    const struct wire_export *export)
{
	to = put_reply_head(to, option, WIRE_REP_INFO, 12);
	put16(to, WIRE_INFO_EXPORT);
	put64(to + 2, export->size_bytes);
	put16(to + 10, export->flags);
	return WIRE_REPLY_BYTES + 12;
}

size_t wire_put_info_block_size(uint8_t *to, uint32_t option,
				const struct wire_export *export)
{
	to = put_reply_head(to, option, WIRE_REP_INFO, 14);
	put16(to, WIRE_INFO_BLOCK_SIZE);
	put32(to + 2, export->block_min);
	put32(to + 6, export->block_preferred);
	put32(to + 10, WIRE_PAYLOAD_MAX);
	return WIRE_REPLY_BYTES + 14;
}

size_t wire_put_info_text(uint8_t *to, uint32_t option, enum wire_info info,
			  const char *text)
{
	const size_t bytes = strnlen(text, WIRE_TEXT_MAX);

	to = put_reply_head(to, option, WIRE_REP_INFO, 2 + bytes);
	put16(to, (uint16_t)info);
	memcpy(to + 2, text, bytes);
	return WIRE_REPLY_BYTES + 2 + bytes;
}

size_t wire_put_server(uint8_t *to, const char *name)
{
	const size_t bytes = strnlen(name, WIRE_TEXT_MAX);

	to = put_reply_head(to, WIRE_OPT_LIST, WIRE_REP_SERVER, 4 + bytes);
	put32(to, (uint32_t)bytes);
	memcpy(to + 4, name, bytes);
	return WIRE_REPLY_BYTES + 4 + bytes;
}

size_t wire_put_meta(uint8_t *to, uint32_t option)
{
	const size_t bytes = sizeof(ALLOCATION) - 1;

	to = put_reply_head(to, option, WIRE_REP_META_CONTEXT, 4 + bytes);
	put32(to, option == WIRE_OPT_LIST_META_CONTEXT ? 0 : ALLOCATION_ID);
	memcpy(to + 4, ALLOCATION, bytes);
	return WIRE_REPLY_BYTES + 4 + bytes;
}

size_t wire_put_export(uint8_t *to, const struct wire_export *export,
		       bool no_zeroes)
{
	put64(to, export->size_bytes);
	put16(to + 8, export->flags);
	if (no_zeroes)
		return WIRE_EXPORT_BYTES;
	memset(to + WIRE_EXPORT_BYTES, 0, WIRE_EXPORT_ZEROES);
	return WIRE_EXPORT_BYTES + WIRE_EXPORT_ZEROES;
}

/* ---- transmission: what is asked for ---- */

bool wire_get_request(const uint8_t from[WIRE_REQUEST_BYTES],
		      struct wire_request *ret_request)
{
	if (get32(from) != REQUEST_MAGIC)
		return false;
	ret_request->flags = get16(from + 4);
	ret_request->command = get16(from + 6);
	ret_request->cookie = get64(from + 8);
	ret_request->offset_bytes = get64(from + 16);
	ret_request->length_bytes = get32(from + 24);
	return true;
}

void wire_put_request(uint8_t to[WIRE_REQUEST_BYTES],
		      const struct wire_request *request)
{
	put32(to, REQUEST_MAGIC);
	put16(to + 4, request->flags);
	put16(to + 6, request->command);
	put64(to + 8, request->cookie);
	put64(to + 16, request->offset_bytes);
	put32(to + 24, request->length_bytes);
}

/* The flags that a command may carry beside FUA, which is any's. */
static unsigned int flags_of(const struct wire_request *request,
			     const struct wire_terms *terms)
{
	switch ((enum wire_command)request->command) {
	case WIRE_READ:
		return terms->structured ? WIRE_DF : 0;
	case WIRE_WRITE_ZEROES:
		return WIRE_NO_HOLE | WIRE_FAST_ZERO;
	case WIRE_BLOCK_STATUS:
		return WIRE_REQ_ONE;
	case WIRE_WRITE:
	case WIRE_DISC:
	case WIRE_FLUSH:
	case WIRE_TRIM:
	case WIRE_CACHE:
		return 0;
	}
	return 0;
}

static bool changes(const struct wire_request *request)
{
	return request->command == WIRE_WRITE ||
		request->command == WIRE_TRIM ||
		request->command == WIRE_WRITE_ZEROES;
}

static bool is_inside(const struct wire_request *request,
		      const struct wire_terms *terms)
{
	return request->offset_bytes <= terms->size_bytes &&
		request->length_bytes <=
		terms->size_bytes - request->offset_bytes;
}

enum wire_error wire_check(const struct wire_request *request,
			   const struct wire_terms *terms)
{
	const unsigned int known = WIRE_FUA | flags_of(request, terms);
	const bool transfers =
		request->command == WIRE_READ || request->command == WIRE_WRITE;

	if (request->command > WIRE_BLOCK_STATUS ||
	    (request->flags & ~known) != 0)
		return WIRE_EINVAL;
	if (request->command == WIRE_FLUSH || request->command == WIRE_DISC)
		return request->length_bytes || request->offset_bytes ?
			WIRE_EINVAL :
			WIRE_OK;
	if (terms->read_only && changes(request))
		return WIRE_EPERM;
	if (transfers && request->length_bytes > WIRE_PAYLOAD_MAX)
		return WIRE_EINVAL;
	if (request->command == WIRE_BLOCK_STATUS &&
	    (!terms->allocation || request->length_bytes == 0))
		return WIRE_EINVAL;
	if (!is_inside(request, terms))
		return request->command == WIRE_WRITE ||
				request->command == WIRE_WRITE_ZEROES ?
			WIRE_ENOSPC :
			WIRE_EINVAL;
	if ((request->flags & WIRE_DF) && request->command == WIRE_READ &&
	    request->length_bytes > terms->df_max_bytes)
		return WIRE_EOVERFLOW;
	return WIRE_OK;
}

/* ---- transmission: what is answered ---- */

enum wire_error wire_error_of(int result)
{
	switch (-result) {
	case 0:
		return WIRE_OK;
	case EPERM:
	case EACCES:
	case EROFS:
		return WIRE_EPERM;
	case ENOMEM:
		return WIRE_ENOMEM;
	case EINVAL:
		return WIRE_EINVAL;
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return WIRE_ENOSPC;
	case EOVERFLOW:
		return WIRE_EOVERFLOW;
	case EOPNOTSUPP:
		return WIRE_ENOTSUP;
	case ESHUTDOWN:
		return WIRE_ESHUTDOWN;
	default:
		return WIRE_EIO;
	}
}

const char *wire_error_text(enum wire_error error)
{
	switch (error) {
	case WIRE_OK:
		return "";
	case WIRE_EPERM:
		return "not permitted: the export is read-only";
	case WIRE_EIO:
		return "the device failed";
	case WIRE_ENOMEM:
		return "the server has no memory";
	case WIRE_EINVAL:
		return "no such command, flag or range here";
	case WIRE_ENOSPC:
		return "no space is left there";
	case WIRE_EOVERFLOW:
		return "too long to go in one chunk";
	case WIRE_ENOTSUP:
		return "not supported, or not fast";
	case WIRE_ESHUTDOWN:
		return "the server is ending this connection";
	}
	return "";
}

uint32_t wire_put_simple(uint8_t *to, uint64_t cookie, enum wire_error error)
{
	put32(to, SIMPLE_MAGIC);
	put32(to + 4, (uint32_t)error);
	put64(to + 8, cookie);
	return WIRE_SIMPLE_BYTES;
}

static void put_chunk(uint8_t *to, uint64_t cookie, enum wire_chunk type,
		      uint32_t payload_bytes, bool done)
{
	put32(to, CHUNK_MAGIC);
	put16(to + 4, done ? WIRE_DONE : 0);
	put16(to + 6, (uint16_t)type);
	put64(to + 8, cookie);
	put32(to + 16, payload_bytes);
}

uint32_t wire_put_done(uint8_t *to, uint64_t cookie)
{
	put_chunk(to, cookie, WIRE_CHUNK_NONE, 0, true);
	return WIRE_CHUNK_BYTES;
}

uint32_t wire_put_data(uint8_t *to, uint64_t cookie, uint64_t offset_bytes,
		       uint32_t data_bytes, bool done)
{
	put_chunk(to, cookie, WIRE_CHUNK_OFFSET_DATA, 8 + data_bytes, done);
	put64(to + WIRE_CHUNK_BYTES, offset_bytes);
	return WIRE_DATA_BYTES;
}

uint32_t wire_put_error(uint8_t *to, uint64_t cookie, enum wire_error error,
			uint32_t text_bytes)
{
	put_chunk(to, cookie, WIRE_CHUNK_ERROR, 6 + text_bytes, true);
	put32(to + WIRE_CHUNK_BYTES, (uint32_t)error);
	put16(to + WIRE_CHUNK_BYTES + 4, (uint16_t)text_bytes);
	return WIRE_ERROR_BYTES;
}

uint32_t wire_put_status(uint8_t *to, uint64_t cookie, uint32_t extents)
{
	put_chunk(to, cookie, WIRE_CHUNK_BLOCK_STATUS,
		  4 + extents * WIRE_EXTENT_BYTES, true);
	put32(to + WIRE_CHUNK_BYTES, ALLOCATION_ID);
	return WIRE_STATUS_BYTES;
}

void wire_put_extent(uint8_t to[WIRE_EXTENT_BYTES], uint32_t length_bytes,
		     uint32_t state)
{
	put32(to, length_bytes);
	put32(to + 4, state);
}

bool wire_get_simple(const uint8_t from[WIRE_SIMPLE_BYTES],
		     struct wire_simple *ret_simple)
{
	if (get32(from) != SIMPLE_MAGIC)
		return false;
	ret_simple->error = get32(from + 4);
	ret_simple->cookie = get64(from + 8);
	return true;
}

bool wire_get_chunk(const uint8_t from[WIRE_CHUNK_BYTES],
		    struct wire_chunk_head *ret_head)
{
	if (get32(from) != CHUNK_MAGIC)
		return false;
	ret_head->done = (get16(from + 4) & WIRE_DONE) != 0;
	ret_head->type = get16(from + 6);
	ret_head->cookie = get64(from + 8);
	ret_head->payload_bytes = get32(from + 16);
	return true;
}

/* ---- names ---- */

/* Decimal digits only, no more than 'most'. */
static bool get_number(const char *at, size_t bytes, uint64_t most,
		       uint64_t *ret_value)
{
	uint64_t value = 0;

	if (bytes == 0)
		return false;
	for (size_t i = 0; i < bytes; i++) {
		const unsigned int digit = (unsigned int)at[i] - '0';

		if (digit > 9 || value > (most - digit) / 10)
			return false;
		value = value * 10 + digit;
	}
	*ret_value = value;
	return true;
}

bool wire_get_target(const struct wire_text *name,
		     struct wire_target *ret_target)
{
	struct wire_target target = {.vdev = *name};
	const char *mark;
	uint64_t pasid;

	mark = memchr(target.vdev.at, '@', target.vdev.bytes);
	if (mark) {
		const size_t before = (size_t)(mark - name->at);

		target.has_generation = true;
		if (!get_number(mark + 1, name->bytes - before - 1, UINT64_MAX,
				&target.generation))
			return false;
		target.vdev.bytes = (uint32_t)before;
	}
	mark = memchr(target.vdev.at, '/', target.vdev.bytes);
	if (mark) {
		const size_t before = (size_t)(mark - name->at);

		if (!get_number(mark + 1, target.vdev.bytes - before - 1,
				UINT32_MAX, &pasid) ||
		    pasid == 0 || before == 0)
			return false;
		target.pasid = (uint32_t)pasid;
		target.vdev.bytes = (uint32_t)before;
	}
	*ret_target = target;
	return true;
}
