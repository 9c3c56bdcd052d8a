/* SPDX-License-Identifier: Apache-2.0 */
/* chain.c - see chain.h */
#include "vhost/chain.h"

#include <errno.h>
#include <string.h>

/* One more piece of memory.  Returns 0 or -ENOSPC. */
static int add_entry(struct chain *chain, uint8_t *host, uint64_t length,
		     bool writable)
{
	unsigned int count =
		chain->entries[CHAIN_READ] + chain->entries[CHAIN_WRITE];

	if (count == chain->capacity) {
		if (!chain->last_resort)
			return -ENOSPC;
		/* Only the status, in the last one, still matters. */
		chain->faulty = true;
		if (!writable)
			return 0;
		count--;
		chain->entries[chain->entries[CHAIN_WRITE] > 0 ? CHAIN_WRITE :
								 CHAIN_READ]--;
	}
	chain->iov[count].iov_base = host;
	chain->iov[count].iov_len = length;
	chain->entries[writable]++;
	return 0;
}

/* A buffer that is not within the slot that the last one was in. */
static int add_elsewhere(struct chain_source *source, struct chain *chain,
			 uint64_t addr, uint64_t length, bool writable)
{
	while (length > 0) {
		const struct memory_slot *slot = memory_find(source->map, addr);
		uint64_t part;
		int rc;

		if (!slot) {
			chain->faulty = true;
			chain->ends_writable = false;
			return 0;
		}
		part = slot->size_bytes - (addr - slot->guest_addr);
		if (part > length)
			part = length;
		rc = add_entry(chain, slot->host + (addr - slot->guest_addr),
			       part, writable);
		if (rc < 0)
			return rc;
		addr += part;
		length -= part;
		if (slot != source->recent) {
			source->other = source->recent;
			source->recent = slot;
		}
	}
	chain->ends_writable = writable;
	return 0;
}

/* What does not go as in follow(): it is empty, elsewhere, out of order, or
 * there is no room.  Returns 0 or -ENOSPC. */
static __attribute__((noinline)) int add_buffer(struct chain_source *source,
						struct chain *chain,
						struct vring_desc desc)
{
	const bool writable = desc.flags & VRING_DESC_F_WRITE;

	chain->bytes[writable] += desc.len;
	if (!writable && chain->entries[CHAIN_WRITE] > 0) {
		chain->faulty = true;
		return 0;
	}
	return add_elsewhere(source, chain, desc.addr, desc.len, writable);
}

static int enter_table(struct chain_source *source, struct vring_desc desc,
		       struct chain *chain);

/* Go on from 'desc', out of a table of 'size'.  Returns as chain_parse. */
static int follow(struct chain_source *source, struct chain *chain,
		  const struct vring_desc *table, unsigned int size,
		  struct vring_desc desc)
{
	unsigned int left = size;

	for (;;) {
		const unsigned int count = chain->entries[CHAIN_READ] +
			chain->entries[CHAIN_WRITE];
		const unsigned int writable = desc.flags & VRING_DESC_F_WRITE ?
			CHAIN_WRITE :
			CHAIN_READ;
		uint8_t *host;
		int rc;

		if (desc.flags & VRING_DESC_F_INDIRECT)
			return enter_table(source, desc, chain);
		host = chain_find_recent(source, desc.addr, desc.len);
		if (host && desc.len > 0 && count < chain->capacity &&
		    (writable || chain->entries[CHAIN_WRITE] == 0)) {
			chain->entries[writable]++;
			chain->bytes[writable] += desc.len;
			chain->ends_writable = writable != 0;
			chain->iov[count] = (struct iovec){host, desc.len};
		} else {
			rc = add_buffer(source, chain, desc);
			if (rc < 0)
				return rc;
		}
		if (!(desc.flags & VRING_DESC_F_NEXT))
			return 0;
		/* As many as there are: one more would be a loop. */
		if (desc.next >= size || --left == 0)
			return -EINVAL;
		desc = chain_copy_desc(&table[desc.next]);
	}
}

/* A table that lies across regions, as memory that is one to the guest may:
 * put together here.  Returns as chain_parse. */
static __attribute__((noinline)) int follow_scattered(
	struct chain_source *source, uint64_t addr, unsigned int size,
	struct chain *chain)
{
	struct vring_desc table[CHAIN_INDIRECT_MAX];
	uint8_t *to = (uint8_t *)table;
	size_t left = size * sizeof(*table);

	while (left > 0) {
		const struct memory_slot *slot = memory_find(source->map, addr);
		uint64_t part;

		if (!slot)
			return -EINVAL;
		part = slot->size_bytes - (addr - slot->guest_addr);
		if (part > left)
			part = left;
		memcpy(to, slot->host + (addr - slot->guest_addr), part);
		to += part;
		addr += part;
		left -= part;
	}
	return follow(source, chain, table, size, table[0]);
}

/* Go on in an indirect table, which must be the only one.  Returns as
 * chain_parse. */
static int enter_table(struct chain_source *source, struct vring_desc desc,
		       struct chain *chain)
{
	const unsigned int size = desc.len / (unsigned int)sizeof(desc);
	const struct memory_slot *slot;
	const struct vring_desc *table;

	if (chain->indirect || (desc.flags & VRING_DESC_F_NEXT) ||
	    desc.len == 0 || desc.len % sizeof(desc) != 0 ||
	    size > CHAIN_INDIRECT_MAX)
		return -EINVAL;
	chain->indirect = true;
	table = (const void *)chain_find_recent(source, desc.addr, desc.len);
	if (!table) {
		slot = memory_find(source->map, desc.addr);
		if (!slot)
			return -EINVAL;
		table = (const void *)memory_slot_find(slot, desc.addr,
						       desc.len);
	}
	if (!table)
		return follow_scattered(source, desc.addr, size, chain);
	return follow(source, chain, table, size, chain_copy_desc(&table[0]));
}

int chain_parse(struct chain_source *source, const struct vring_desc *first,
		struct chain *chain)
{
	chain->entries[CHAIN_READ] = chain->entries[CHAIN_WRITE] = 0;
	chain->bytes[CHAIN_READ] = chain->bytes[CHAIN_WRITE] = 0;
	chain->indirect = false;
	chain->faulty = false;
	chain->ends_writable = false;
	return follow(source, chain, source->table, source->size, *first);
}

unsigned int chain_cut(struct iovec *iov, uint64_t bytes,
		       uint64_t *ret_rest_bytes)
{
	unsigned int count = 0;

	while (bytes > iov[count].iov_len) {
		bytes -= iov[count].iov_len;
		count++;
	}
	*ret_rest_bytes = iov[count].iov_len - bytes;
	iov[count].iov_len = bytes;
	return count + 1;
}

void chain_uncut(struct iovec *last, uint64_t rest_bytes)
{
	last->iov_base = (uint8_t *)last->iov_base + last->iov_len;
	last->iov_len = rest_bytes;
}
