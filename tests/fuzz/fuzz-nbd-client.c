/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz-nbd-client.c - an NBD client whose server says anything
 *
 * The first byte says how far the handshake is done for the input, whether
 * with structured replies; then some reads, writes and a flush are asked for
 * and the bytes are what the server says to that.  Cookies would never be
 * guessed: 0xaa and a digit in the input stand for those of what was asked.
 * Afterwards the server is gone and everything must fail, each once.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../func/nbd-fake.h"

#define PORTION_BYTES	61U
#define REQUESTS	6U
#define BYTES		4096U
#define TURNS_MAX	2000U
#define GUARD		64U

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t memory[REQUESTS][BYTES + 2 * GUARD];

static size_t portion(uint8_t *to, const uint8_t **data, size_t *size,
		      const uint64_t *cookies)
{
	size_t bytes = 0;

	while (*size > 0 && bytes < PORTION_BYTES) {
		if (**data == 0xaa && *size > 1 && cookies) {
			const uint64_t cookie = cookies[(*data)[1] % REQUESTS];

			for (unsigned int b = 0; b < 8; b++)
				to[bytes++] = (uint8_t)(cookie >> (56 - 8 * b));
			*data += 2;
			*size -= 2;
			continue;
		}
		to[bytes++] = *(*data)++;
		(*size)--;
	}
	return bytes;
}

static void say(struct fake *fake, const uint8_t *data, size_t size,
		const uint64_t *cookies)
{
	uint8_t out[PORTION_BYTES + 8];

	while (size > 0) {
		const size_t bytes = portion(out, &data, &size, cookies);

		if (send(fake->fd, out, bytes, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			return;
		fake_turns(fake, 2);
	}
}

static void ask(struct fake *fake, struct fake_request *requests,
		uint64_t *cookies)
{
	static const enum block_op ops[REQUESTS] = {BLOCK_READ,	   BLOCK_WRITE,
						    BLOCK_READ,	   BLOCK_FLUSH,
						    BLOCK_DISCARD, BLOCK_READ};
	uint8_t data[BYTES];

	for (unsigned int i = 0; i < REQUESTS; i++)
		fake_submit(fake, &requests[i], ops[i], UINT64_C(1) * i * BYTES,
			    memory[i] + GUARD,
			    ops[i] == BLOCK_FLUSH ? 0 : BYTES);
	for (unsigned int i = 0; i < REQUESTS; i++)
		cookies[i] = fake_request(fake, data, BYTES).cookie;
}

static void check_guards(void)
{
	for (unsigned int i = 0; i < REQUESTS; i++)
		for (unsigned int b = 0; b < GUARD; b++)
			if (memory[i][b] != 0x5a ||
			    memory[i][GUARD + BYTES + b] != 0x5a)
				abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct client_config config = {.connections = 2};
	struct fake_request requests[REQUESTS];
	uint64_t cookies[REQUESTS];
	struct fake fake;

	if (size < 1)
		return 0;
	memset(memory, 0x5a, sizeof(memory));
	fake_create(&fake, &config);
	if (data[0] & 1) {
		fake.structured = data[0] & 2;
		fake_greet(&fake);
		ask(&fake, requests, cookies);
		say(&fake, data + 1, size - 1, cookies);
	} else {
		say(&fake, data + 1, size - 1, NULL);
	}
	fake_cut(&fake);
	for (unsigned int i = 0; (data[0] & 1) && i < REQUESTS; i++) {
		for (unsigned int t = 0; t < TURNS_MAX && !requests[i].done;
		     t++)
			fake_turn(&fake);
		if (requests[i].dones != 1)
			abort();	/* never, or twice */
	}
	check_guards();
	fake_destroy(&fake);
	return 0;
}
