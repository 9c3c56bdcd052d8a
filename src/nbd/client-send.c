/* SPDX-License-Identifier: Apache-2.0 */
/* client-send.c - commands to the server; see client-data.h */
#include "nbd/client-data.h"

#include <errno.h>

/* In one send. */
#define PARTS_MAX		256U
#define SENDS_PER_TURN		8U
#define ZEROES_BYTES		(UINT32_C(64) << 10)

static const uint8_t zeroes[ZEROES_BYTES];

struct gathering {
	struct iovec parts[PARTS_MAX];
	unsigned int count;
	uint64_t skip_bytes;		/* of the first: they are sent */
};

static void add_head(struct gathering *gathering, const struct command *command)
{
	struct iovec *part = &gathering->parts[gathering->count];

	if (gathering->skip_bytes >= sizeof(command->head)) {
		gathering->skip_bytes -= sizeof(command->head);
		return;
	}
	part->iov_base =
		(uint8_t *)(uintptr_t)command->head + gathering->skip_bytes;
	part->iov_len = sizeof(command->head) - gathering->skip_bytes;
	gathering->skip_bytes = 0;
	gathering->count++;
}

static uint64_t add_zeroes(struct gathering *gathering, uint64_t bytes)
{
	uint64_t added = 0;

	while (added < bytes && gathering->count < PARTS_MAX) {
		struct iovec *part = &gathering->parts[gathering->count++];

		part->iov_base = (uint8_t *)(uintptr_t)zeroes;
		part->iov_len = bytes - added < ZEROES_BYTES ? bytes - added :
							       ZEROES_BYTES;
		added += part->iov_len;
	}
	return added;
}

/* Returns whether all of it is in. */
static bool add_data(struct gathering *gathering, const struct command *command)
{
	const struct block_request *request = command->request;
	const uint64_t skip = gathering->skip_bytes;
	const uint64_t bytes = command->wire.length_bytes - skip;
	uint64_t added;

	gathering->skip_bytes = 0;
	if (request->op != BLOCK_WRITE || command->from_nowhere)
		added = add_zeroes(gathering, bytes);
	else
		gathering->count += request_parts(
			request, request->done_bytes + skip, bytes,
			&gathering->parts[gathering->count],
			PARTS_MAX - gathering->count, &added);
	return added == bytes;
}

static void gather(struct client_link *link, struct gathering *gathering)
{
	const struct command *command = link->queue.first;

	gathering->count = 0;
	gathering->skip_bytes = link->sent_bytes;
	while (command && gathering->count < PARTS_MAX - 1) {
		add_head(gathering, command);
		if (wire_payload_bytes(&command->wire) > 0 &&
		    !add_data(gathering, command))
			break;
		if (link->cautious)
			break;
		command = command->next;
	}
}

/* 'bytes' more went. */
static void account(struct client_link *link, uint64_t bytes)
{
	link->sent_bytes += bytes;
	while (link->queue.first) {
		struct command *command = link->queue.first;
		const uint64_t whole = sizeof(command->head) +
			wire_payload_bytes(&command->wire);

		if (link->sent_bytes < whole)
			break;
		link->sent_bytes -= whole;
		command_list_remove(&link->queue, command);
		command_list_add(&link->sent, command);
		command->sent = true;
		link->unanswered++;
		link->cautious = false;
	}
}

/* Memory of the one who wrote was taken away under it: that is its own error,
 * and no reason to end what others use.  What was begun must be sent whole. */
static void replace_data(struct client_link *link)
{
	struct command *command = link->queue.first;

	if (!link->cautious) {
		link->cautious = true;	/* whose is it? */
		return;
	}
	if (link->sent_bytes > 0) {
		command->from_nowhere = true;
		return;
	}
	link->cautious = false;
	command_list_remove(&link->queue, command);
	command_fail(command, -EFAULT);
}

unsigned int link_send(struct client_link *link)
{
	struct gathering gathering;
	unsigned int found = 0;

	link->blocked = false;
	for (unsigned int i = 0; i < SENDS_PER_TURN && link->queue.first; i++) {
		ssize_t sent;

		gather(link, &gathering);
		sent = stream_send(&link->stream, gathering.parts,
				   gathering.count);
		link->client->status.sends++;
		if (sent == -EFAULT) {
			replace_data(link);
			continue;
		}
		if (sent < 0) {
			link_fail(link, "the server hung up");
			break;
		}
		if (sent == 0) {
			link->blocked = true;
			break;
		}
		account(link, (uint64_t)sent);
		found++;
	}
	return found;
}
