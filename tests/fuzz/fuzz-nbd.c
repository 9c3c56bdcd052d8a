/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz-nbd.c - an NBD server that gets any bytes, in any portions
 *
 * The first byte says how far the handshake is done for the input (none of it,
 * or all, with simple or structured replies) and whether the device holds
 * requests back for a while; from then on the bytes are sent as they are, the
 * server's loop turning after every portion.  Afterwards the client is gone:
 * the connection must end.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../func/nbd-peer.h"

#define PORTION_BYTES	97U
#define TURNS_MAX	2000U

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct peer_world world;

static void drop_replies(int fd)
{
	char bytes[65536];

	while (recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
}

static void send_all(int fd, const uint8_t *data, size_t size)
{
	while (size > 0) {
		const size_t bytes =
			size < PORTION_BYTES ? size : PORTION_BYTES;

		if (send(fd, data, bytes, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			return;
		peer_turns(&world, 2);
		drop_replies(fd);
		data += bytes;
		size -= bytes;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct server_status status;
	int fd;

	if (size < 1)
		return 0;
	if (!world.loop)
		peer_create(&world, 4);
	world.vdev->processes[1].bound = true;
	world.vdev->hold = data[0] & 4;
	fd = data[0] & 1 ? peer_session(&world, data[0] & 2) :
			   peer_connect(&world);
	send_all(fd, data + 1, size - 1);
	fake_complete_all(world.vdev);
	world.vdev->hold = false;
	peer_turns(&world, 4);
	fake_complete_all(world.vdev);
	drop_replies(fd);
	close(fd);
	for (unsigned int i = 0; i < TURNS_MAX; i++) {
		server_status(world.server, &status);
		if (status.sessions == 0 && i > 8)
			return 0;
		fake_complete_all(world.vdev);
		peer_turn(&world);
	}
	abort();	/* a connection that never ends */
}
