/* SPDX-License-Identifier: Apache-2.0 */
/* chain.c - see chain.h */
#include "vhost/chain.h"

#include <errno.h>

/* One more piece of memory.  Returns 0 or -ENOSPC. */
static int add_entry(struct chain *chain, uint8_t *host, uint64_t length,
		     bool writable)
{
	unsigned int count = chain->readable + chain->writable;

	if (count == chain->capacity) {
		if (!chain->last_resort)
			return -ENOSPC;
		/* Only the status, in the last one, still matters. */
		chain->faulty = true;
		if (!writable)
			return 0;
		count--;
		if (chain->writable == 0)
			chain->readable--;
		else
			chain->writable--;
	}
	chain->iov[count].iov_base = host;
	chain->iov[count].iov_len = length;
	if (writable)
		chain->writable++;
	else
		chain->readable++;
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

static int add_buffer(struct chain_source *source, struct chain *chain,
		      const struct vring_desc *desc)
{
	const bool writable = desc->flags & VRING_DESC_F_WRITE;
	uint8_t *host;

	if (writable) {
		chain->writable_bytes += desc->len;
	} else {
		chain->readable_bytes += desc->len;
		if (chain->writable > 0) {
			chain->faulty = true;
			return 0;
		}
	}
	host = chain_find_recent(source, desc->addr, desc->len);
	if (!host || desc->len == 0)
		return add_elsewhere(source, chain, desc->addr, desc->len,
				     writable);
	chain->ends_writable = writable;
	return add_entry(chain, host, desc->len, writable);
}

/* Go on in an indirect table.  Returns 0 or -EINVAL. */
static int enter_table(const struct chain_source *source,
		       const struct vring_desc *desc,
		       const struct vring_desc **ret_table,
		       unsigned int *ret_size)
{
	const void *table;

	if ((desc->flags & VRING_DESC_F_NEXT) || desc->len == 0 ||
	    desc->len % sizeof(*desc) != 0 ||
	    desc->len / sizeof(*desc) > CHAIN_INDIRECT_MAX)
		return -EINVAL;
	table = chain_find_recent(source, desc->addr, desc->len);
	if (!table) {
		const struct memory_slot *slot =
			memory_find(source->map, desc->addr);

		table = slot ? memory_slot_find(slot, desc->addr, desc->len) :
			       NULL;
	}
	if (!table)
		return -EINVAL;
	*ret_table = table;
	*ret_size = desc->len / (unsigned int)sizeof(*desc);
	return 0;
}

int chain_parse(struct chain_source *source, const struct vring_desc *first,
		struct chain *chain)
{
	const struct vring_desc *table = source->table;
	struct vring_desc desc = *first;
	unsigned int size = source->size;
	unsigned int left = size;
	bool indirect = false;
	int rc;

	chain->readable = 0;
	chain->writable = 0;
	chain->readable_bytes = 0;
	chain->writable_bytes = 0;
	chain->faulty = false;
	chain->ends_writable = false;
	for (;;) {
		if (desc.flags & VRING_DESC_F_INDIRECT) {
			if (indirect ||
			    enter_table(source, &desc, &table, &size) < 0)
				return -EINVAL;
			indirect = true;
			left = size;
			desc = chain_copy_desc(&table[0]);
			continue;
		}
		rc = add_buffer(source, chain, &desc);
		if (rc < 0)
			return rc;
		if (!(desc.flags & VRING_DESC_F_NEXT))
			return 0;
		/* As many as there are: one more would be a loop. */
		if (desc.next >= size || --left == 0)
			return -EINVAL;
		desc = chain_copy_desc(&table[desc.next]);
	}
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
