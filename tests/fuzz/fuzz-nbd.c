/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz-nbd.c - an NBD server that gets any bytes, in any portions
 *
 * The first byte says how far the handshake is done for the input (none of it,
 * or all, with simple or structured replies) and whether the device holds
 * requests back for a while; from then on the bytes are sent as they are, the
 * server's loop turning after every portion.  Afterwards the client is gone:
 * the connection must end.
 *
 * Or the server has TLS (8), required or not (16): then the first byte says
 * whether TLS was asked for before the input (1), and whether it is there and
 * the input goes in it (2).
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../func/nbd-peer.h"

#define PORTION_BYTES	97U
#define TURNS_MAX	2000U

#define SHAKE_TURNS	20000U
#define TURN_NS		UINT64_C(1000000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct peer_world plain, secure, required, *world;
static struct keys *client_keys;
static gnutls_session_t tls;	/* NULL: in the clear */
static int fd;

/* ---- TLS ---- */

static void create_secure(void)
{
	static char text[] = "alice:00112233445566778899aabbccddeeff\n";
	const struct tls_text from = {"psk", text, sizeof(text) - 1};
	struct keys *keys;
	struct error error;

	if (keys_from_shared(&from, KEYS_SERVER, NULL, &keys, &error) < 0 ||
	    keys_from_shared(&from, KEYS_CLIENT, "alice", &client_keys,
			     &error) < 0)
		abort();
	peer_create_secure(&secure, 4, keys, false);
	peer_create_secure(&required, 4, keys, true);
	keys_drop(keys);
}

static ssize_t pull(gnutls_transport_ptr_t arg, void *to, size_t bytes)
{
	(void)arg;
	return recv(fd, to, bytes, MSG_DONTWAIT);
}

static ssize_t push(gnutls_transport_ptr_t arg, const void *from, size_t bytes)
{
	(void)arg;
	return send(fd, from, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void shake(void)
{
	int code = GNUTLS_E_AGAIN;

	if (keys_session(client_keys, NULL, &tls) < 0)
		abort();
	gnutls_transport_set_pull_function(tls, pull);
	gnutls_transport_set_push_function(tls, push);
	for (unsigned int i = 0; i < SHAKE_TURNS && code == GNUTLS_E_AGAIN;
	     i++) {
		code = gnutls_handshake(tls);
		(void)loop_run_once(world->loop, loop_clock_ns() + TURN_NS);
	}
	if (code != 0)
		abort();	/* ours are not refused */
}

static void begin_secure(uint8_t how)
{
	uint32_t bytes;

	world = how & 16 ? &required : &secure;
	fd = peer_connect(world);
	if (!(how & 3))
		return;
	peer_greet(world, fd, 3);
	peer_option(world, fd, WIRE_OPT_STARTTLS, NULL, 0);
	if (peer_reply(world, fd, NULL, 0, &bytes) != WIRE_REP_ACK)
		abort();
	if (how & 2)
		shake();
}

static void end_secure(void)
{
	if (tls)
		gnutls_deinit(tls);
	tls = NULL;
}

/* ---- any bytes ---- */

static ssize_t say(const uint8_t *data, size_t bytes)
{
	return tls ? gnutls_record_send(tls, data, bytes) :
		     send(fd, data, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void drop_replies(void)
{
	char bytes[65536];

	while (recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
}

static void send_all(const uint8_t *data, size_t size)
{
	while (size > 0) {
		const size_t bytes =
			size < PORTION_BYTES ? size : PORTION_BYTES;

		if (say(data, bytes) < 0)
			return;
		peer_turns(world, 2);
		drop_replies();
		data += bytes;
		size -= bytes;
	}
}

static void begin(uint8_t how)
{
	if (!plain.loop) {
		peer_create(&plain, 4);
		create_secure();
	}
	if (how & 8) {
		begin_secure(how);
	} else {
		world = &plain;
		fd = how & 1 ? peer_session(world, how & 2) :
			       peer_connect(world);
	}
	world->vdev->processes[1].bound = true;
	world->vdev->hold = how & 4;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct server_status status;

	if (size < 1)
		return 0;
	begin(data[0]);
	send_all(data + 1, size - 1);
	fake_complete_all(world->vdev);
	world->vdev->hold = false;
	peer_turns(world, 4);
	fake_complete_all(world->vdev);
	drop_replies();
	end_secure();
	close(fd);
	for (unsigned int i = 0; i < TURNS_MAX; i++) {
		server_status(world->server, &status);
		if (status.sessions == 0 && i > 8)
			return 0;
		fake_complete_all(world->vdev);
		peer_turn(world);
	}
	abort();	/* a connection that never ends */
}
