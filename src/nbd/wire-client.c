/* SPDX-License-Identifier: Apache-2.0 */
/* wire-client.c - see wire-client.h */
#include "nbd/wire-client.h"

#include <errno.h>
#include <string.h>

#include "nbd/bytes.h"

bool wire_get_greeting(const uint8_t from[WIRE_GREETING_BYTES],
		       bool *ret_no_zeroes)
{
	const unsigned int flags = get16(from + 16);

	if (get64(from) != GREETING_MAGIC || get64(from + 8) != OPTION_MAGIC ||
	    !(flags & FIXED_NEWSTYLE))
		return false;
	*ret_no_zeroes = (flags & NO_ZEROES) != 0;
	return true;
}

void wire_put_client_flags(uint8_t to[WIRE_CLIENT_FLAGS_BYTES], bool no_zeroes)
{
	put32(to, FIXED_NEWSTYLE | (no_zeroes ? NO_ZEROES : 0));
}

static void put_head(uint8_t *to, uint32_t option, uint32_t bytes)
{
	put64(to, OPTION_MAGIC);
	put32(to + 8, option);
	put32(to + 12, bytes);
}

size_t wire_put_option(uint8_t *to, uint32_t option)
{
	put_head(to, option, 0);
	return WIRE_OPTION_BYTES;
}

size_t wire_put_go(uint8_t *to, const char *name)
{
	const uint32_t length = (uint32_t)strnlen(name, WIRE_NAME_MAX);
	uint8_t *data = to + WIRE_OPTION_BYTES;

	put_head(to, WIRE_OPT_GO, 4 + length + 2 + 2);
	put32(data, length);
	memcpy(data + 4, name, length);
	put16(data + 4 + length, 1);
	put16(data + 4 + length + 2, WIRE_INFO_BLOCK_SIZE);
	return WIRE_OPTION_BYTES + 4 + length + 2 + 2;
}

bool wire_get_reply(const uint8_t from[WIRE_REPLY_BYTES],
		    struct wire_reply_head *ret_head)
{
	if (get64(from) != REPLY_MAGIC)
		return false;
	ret_head->option = get32(from + 8);
	ret_head->reply = get32(from + 12);
	ret_head->data_bytes = get32(from + 16);
	return true;
}

bool wire_get_info(const uint8_t *data, uint32_t bytes,
		   struct wire_export *export, bool *ret_has_size)
{
	if (bytes < 2)
		return false;
	switch (get16(data)) {
	case WIRE_INFO_EXPORT:
		if (bytes != 12)
			return false;
		export->size_bytes = get64(data + 2);
		export->flags = get16(data + 10);
		*ret_has_size = true;
		return true;
	case WIRE_INFO_BLOCK_SIZE:
		if (bytes != 14)
			return false;
		export->block_min = get32(data + 2);
		export->block_preferred = get32(data + 6);
		export->block_max = get32(data + 10);
		return true;
	default:
		return true;
	}
}

int wire_errno(uint32_t error)
{
	switch (error) {
	case WIRE_OK:
		return 0;
	case WIRE_EPERM:
		return -EPERM;
	case WIRE_ENOMEM:
		return -ENOMEM;
	case WIRE_EINVAL:
		return -EINVAL;
	case WIRE_ENOSPC:
		return -ENOSPC;
	case WIRE_EOVERFLOW:
		return -EOVERFLOW;
	case WIRE_ENOTSUP:
		return -EOPNOTSUPP;
	case WIRE_ESHUTDOWN:
		return -ESHUTDOWN;
	default:
		return -EIO;
	}
}
