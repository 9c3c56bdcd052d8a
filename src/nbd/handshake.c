/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handshake.c - fixed newstyle, from the greeting to the first request
 *
 * What comes is read in steps of known lengths, never further than the step
 * needs; a step that is whole may put something into 'out', and while that is
 * not sent nothing more is read.  So a client that stalls, or that asks and
 * never reads, costs this struct, until the server has enough of it.
 */
#include "nbd/state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Longer data of an option are not even looked past. */
#define SKIP_MAX_BYTES	65536U
#define OPTIONS_MAX	256U
#define STEPS_PER_TURN	8U
#define BLOCK_PREFERRED	4096U
/* TLS's handshakes are work for the reactor, which whoever comes can ask for:
 * they get one part of so many of its time, the first come first. */
#define SHAKES_SHARE	5U

static uint64_t shakes_rest_until_ns;	/* of this process's only reactor */

enum step {
	STEP_CLIENT_FLAGS,
	STEP_OPTION,
	STEP_DATA,
	STEP_SKIP,	/* data that are too long */
};

enum outcome {
	OUTCOME_NONE,
	OUTCOME_TLS,	/* once 'out' is sent, and then goes on */
	OUTCOME_SERVE,	/* once 'out' is sent */
	OUTCOME_END,
};

struct handshake {
	enum step step;
	enum outcome outcome;
	struct wire_option_head option;
	unsigned int options;
	bool no_zeroes, structured, allocation;
	bool rests;			/* until TLS's handshakes go on */
	uint32_t have, want;		/* of 'in' */
	size_t out_sent, out_bytes;
	uint8_t out[4 * WIRE_REPLY_MAX];
	uint8_t in[WIRE_OPTION_MAX];
};

int handshake_create(struct connection *connection)
{
	struct handshake *handshake = calloc(1, sizeof(*handshake));

	if (!handshake)
		return -ENOMEM;
	wire_put_greeting(handshake->out);
	handshake->out_bytes = WIRE_GREETING_BYTES;
	handshake->want = WIRE_CLIENT_FLAGS_BYTES;
	connection->handshake = handshake;
	return 0;
}

void handshake_destroy(struct connection *connection)
{
	free(connection->handshake);
	connection->handshake = NULL;
}

/* ---- answers ---- */

static void answer(struct handshake *handshake, uint32_t reply,
		   const char *format, ...)
	__attribute__((format(printf, 3, 4)));
static void answer(struct handshake *handshake, uint32_t reply,
		   const char *format, ...)
{
	char text[WIRE_TEXT_MAX];
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (length >= (int)sizeof(text))
		length = sizeof(text) - 1;
	handshake->out_bytes += wire_put_reply(
		handshake->out + handshake->out_bytes, handshake->option.option,
		reply, text, length > 0 ? (uint32_t)length : 0);
}

static void acknowledge(struct handshake *handshake)
{
	handshake->out_bytes +=
		wire_put_reply(handshake->out + handshake->out_bytes,
			       handshake->option.option, WIRE_REP_ACK, NULL, 0);
}

static bool is_read_only(const struct connection *connection)
{
	return connection->config.read_only ||
		vdev_read_only(connection->config.vdev);
}

static void describe(const struct connection *connection,
		     struct wire_export *ret_export)
{
	const struct vdev *vdev = connection->config.vdev;

	*ret_export = (struct wire_export){
		.size_bytes = vdev_size_bytes(vdev),
		.block_min = 1,
		.block_preferred = BLOCK_PREFERRED,
		.flags = WIRE_HAS_FLAGS | WIRE_SEND_FLUSH | WIRE_SEND_FUA |
			WIRE_CAN_MULTI_CONN | WIRE_SEND_CACHE,
	};
	if (connection->handshake->structured)
		ret_export->flags |= WIRE_SEND_DF;
	if (is_read_only(connection))
		ret_export->flags |= WIRE_READ_ONLY;
	else
		ret_export->flags |= WIRE_SEND_TRIM | WIRE_SEND_WRITE_ZEROES |
			WIRE_SEND_FAST_ZERO;
}

/* ---- which export ---- */

/* Returns WIRE_REP_ACK, or what to answer with 'reterr'. */
static uint32_t find_export(const struct connection *connection,
			    const struct wire_text *name,
			    struct wire_target *ret_target,
			    struct error *reterr)
{
	const char *vdev = connection->config.name;
	const struct vdev_process *process;
	struct wire_target target;

	if (!wire_get_target(name, &target) ||
	    (target.vdev.bytes > 0 &&
	     (target.vdev.bytes != strlen(vdev) ||
	      memcmp(target.vdev.at, vdev, target.vdev.bytes) != 0))) {
		error_set(reterr, -ENOENT,
			  "no such export: here it is %s or %s/PASID", vdev,
			  vdev);
		return WIRE_REP_ERR_UNKNOWN;
	}
	process = target.pasid ?
		vdev_process_by_pasid(connection->config.vdev, target.pasid) :
		NULL;
	if (target.pasid && !process) {
		error_set(reterr, -EPERM, "process %u is not bound to vdev %s",
			  target.pasid, vdev);
		return WIRE_REP_ERR_POLICY;
	}
	if (process && !vdev_process_is_open_to(process, &connection->peer)) {
		error_set(reterr, -EPERM, "process %u is somebody else",
			  target.pasid);
		return WIRE_REP_ERR_POLICY;
	}
	if (target.has_generation &&
	    target.generation != connection->config.generation) {
		error_set(reterr, -ESTALE,
			  "vdev %s is of generation %llu, not %llu", vdev,
			  (unsigned long long)connection->config.generation,
			  (unsigned long long)target.generation);
		return WIRE_REP_ERR_POLICY;
	}
	*ret_target = target;
	return WIRE_REP_ACK;
}

/* ---- the end of it ---- */

/* In whose name it asks; NULL: of whoever the common way in belongs to. */
static struct vdev_process *process_of(const struct connection *connection,
				       const struct wire_target *target)
{
	const struct vdev *vdev = connection->config.vdev;

	if (target->pasid)
		return vdev_process_by_pasid(vdev, target->pasid);
	return connection->config.unpromised ?
		vdev_unpromised(vdev) :
		vdev_process_by_peer(vdev, &connection->peer);
}

/* Returns 0; -ENOMEM; -ESHUTDOWN. */
static int prepare(struct connection *connection,
		   const struct wire_target *target)
{
	const struct handshake *handshake = connection->handshake;
	const int rc = state_allocate(connection);

	if (rc < 0)
		return rc;
	if (!connection->config.ops->began(connection->config.arg, connection))
		return -ESHUTDOWN;
	connection->began = true;
	connection->pasid = target->pasid;
	connection->process = process_of(connection, target);
	connection->terms = (struct wire_terms){
		.df_max_bytes = CONNECTION_PIECE_BYTES,
		.read_only = is_read_only(connection),
		.structured = handshake->structured,
		.allocation = handshake->allocation,
	};
	return 0;
}

static void go(struct connection *connection)
{
	struct handshake *handshake = connection->handshake;
	const uint32_t option = handshake->option.option;
	uint8_t *out = handshake->out;
	struct wire_export export;
	struct wire_target target;
	struct wire_go asked;
	struct error error;
	uint32_t reply;

	if (!wire_get_go(handshake->in, handshake->have, &asked)) {
		answer(handshake, WIRE_REP_ERR_INVALID, "lengths do not match");
		return;
	}
	reply = find_export(connection, &asked.name, &target, &error);
	if (reply != WIRE_REP_ACK) {
		answer(handshake, reply, "%s", error.text);
		return;
	}
	if (option == WIRE_OPT_GO) {
		if (prepare(connection, &target) < 0) {
			answer(handshake, WIRE_REP_ERR_PLATFORM,
			       "no room for another connection now");
			handshake->outcome = OUTCOME_END;
			return;
		}
		handshake->outcome = OUTCOME_SERVE;
	}
	describe(connection, &export);
	handshake->out_bytes = wire_put_info_export(out, option, &export);
	if (asked.wants_block_size)
		handshake->out_bytes += wire_put_info_block_size(
			out + handshake->out_bytes, option, &export);
	if (asked.wants_name)
		handshake->out_bytes += wire_put_info_text(
			out + handshake->out_bytes, option, WIRE_INFO_NAME,
			connection->config.name);
	acknowledge(handshake);
}

static void export_name(struct connection *connection)
{
	struct handshake *handshake = connection->handshake;
	const struct wire_text name = {(const char *)handshake->in,
				       handshake->have};
	struct wire_export export;
	struct wire_target target;
	struct error error;

	/* There is no other way to say no. */
	if (find_export(connection, &name, &target, &error) != WIRE_REP_ACK ||
	    prepare(connection, &target) < 0) {
		handshake->outcome = OUTCOME_END;
		return;
	}
	describe(connection, &export);
	handshake->out_bytes =
		wire_put_export(handshake->out, &export, handshake->no_zeroes);
	handshake->outcome = OUTCOME_SERVE;
}

/* ---- the other options ---- */

static void meta(struct connection *connection)
{
	struct handshake *handshake = connection->handshake;
	const uint32_t option = handshake->option.option;
	struct wire_target target;
	struct wire_meta asked;
	struct error error;
	uint32_t reply;

	if (!handshake->structured) {
		answer(handshake, WIRE_REP_ERR_INVALID,
		       "structured replies come first");
		return;
	}
	if (!wire_get_meta(option, handshake->in, handshake->have, &asked)) {
		answer(handshake, WIRE_REP_ERR_INVALID, "lengths do not match");
		return;
	}
	reply = find_export(connection, &asked.name, &target, &error);
	if (reply != WIRE_REP_ACK) {
		answer(handshake, reply, "%s", error.text);
		return;
	}
	if (option == WIRE_OPT_SET_META_CONTEXT)
		handshake->allocation = asked.wants_allocation;
	if (asked.wants_allocation)
		handshake->out_bytes = wire_put_meta(handshake->out, option);
	acknowledge(handshake);
}

static void list(struct connection *connection)
{
	struct handshake *handshake = connection->handshake;

	handshake->out_bytes =
		wire_put_server(handshake->out, connection->config.name);
	acknowledge(handshake);
}

static void structured(struct connection *connection)
{
	connection->handshake->structured = true;
	acknowledge(connection->handshake);
}

static void abort_it(struct connection *connection)
{
	acknowledge(connection->handshake);
	connection->handshake->outcome = OUTCOME_END;
}

static void start_tls(struct connection *connection)
{
	struct handshake *handshake = connection->handshake;

	if (stream_is_secure(&connection->stream)) {
		answer(handshake, WIRE_REP_ERR_INVALID, "TLS is there already");
		return;
	}
	if (!connection->config.keys) {
		answer(handshake, WIRE_REP_ERR_POLICY,
		       "TLS is not configured here");
		return;
	}
	acknowledge(handshake);
	handshake->outcome = OUTCOME_TLS;
}

static const struct {
	enum wire_option option;
	bool has_data;
	void (*handle)(struct connection *connection);
} options[] = {
	{WIRE_OPT_EXPORT_NAME, true, export_name},
	{WIRE_OPT_ABORT, true, abort_it},
	{WIRE_OPT_LIST, false, list},
	{WIRE_OPT_STARTTLS, false, start_tls},
	{WIRE_OPT_INFO, true, go},
	{WIRE_OPT_GO, true, go},
	{WIRE_OPT_STRUCTURED_REPLY, false, structured},
	{WIRE_OPT_LIST_META_CONTEXT, true, meta},
	{WIRE_OPT_SET_META_CONTEXT, true, meta},
};

/* In the clear, of a server that wants TLS. */
static bool is_too_early(const struct connection *connection)
{
	const uint32_t option = connection->handshake->option.option;

	return connection->config.tls_required &&
		!stream_is_secure(&connection->stream) &&
		option != WIRE_OPT_STARTTLS && option != WIRE_OPT_ABORT;
}

static void handle(struct connection *connection)
{
	struct handshake *handshake = connection->handshake;

	if (is_too_early(connection)) {
		if (handshake->option.option == WIRE_OPT_EXPORT_NAME)
			state_fail(connection,
				   "it asks for the export without TLS");
		else
			answer(handshake, WIRE_REP_ERR_TLS_REQD,
			       "this server wants TLS first");
		return;
	}
	for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++) {
		if (options[i].option != handshake->option.option)
			continue;
		if (!options[i].has_data && handshake->have > 0)
			answer(handshake, WIRE_REP_ERR_INVALID,
			       "this option has no data");
		else
			options[i].handle(connection);
		return;
	}
	answer(handshake, WIRE_REP_ERR_UNSUP, "unknown option");
}

/* ---- steps ---- */

static void expect(struct handshake *handshake, enum step step, uint32_t bytes)
{
	handshake->step = step;
	handshake->have = 0;
	handshake->want = bytes;
}

static void option_came(struct connection *connection)
{
	struct handshake *handshake = connection->handshake;
	uint32_t bytes;

	if (!wire_get_option(handshake->in, &handshake->option) ||
	    ++handshake->options > OPTIONS_MAX) {
		state_fail(connection, "what came is no option of a handshake");
		return;
	}
	bytes = handshake->option.data_bytes;
	if (bytes > SKIP_MAX_BYTES)
		state_fail(connection, "an option of %u bytes", bytes);
	else
		expect(handshake,
		       bytes > WIRE_OPTION_MAX ? STEP_SKIP : STEP_DATA, bytes);
}

/* All that was waited for is there. */
static void step(struct connection *connection)
{
	struct handshake *handshake = connection->handshake;

	switch (handshake->step) {
	case STEP_CLIENT_FLAGS:
		if (!wire_get_client_flags(handshake->in,
					   &handshake->no_zeroes)) {
			state_fail(connection,
				   "it is no fixed newstyle client");
			return;
		}
		break;
	case STEP_OPTION:
		option_came(connection);
		return;
	case STEP_DATA:
		handle(connection);
		break;
	case STEP_SKIP:
		answer(handshake, WIRE_REP_ERR_TOO_BIG, "more than %u bytes",
		       WIRE_OPTION_MAX);
		break;
	}
	expect(handshake, STEP_OPTION, WIRE_OPTION_BYTES);
}

/* Returns whether all of it went. */
static bool send_out(struct connection *connection)
{
	struct handshake *handshake = connection->handshake;

	connection->blocked = false;
	while (handshake->out_sent < handshake->out_bytes) {
		struct iovec iov = {
			handshake->out + handshake->out_sent,
			handshake->out_bytes - handshake->out_sent,
		};
		const ssize_t sent = stream_send(&connection->stream, &iov, 1);

		if (sent < 0)
			state_end(connection);
		connection->blocked = sent == 0;
		if (sent <= 0)
			return false;
		handshake->out_sent += (size_t)sent;
	}
	handshake->out_sent = 0;
	handshake->out_bytes = 0;
	return true;
}

/* Returns whether the step is whole. */
static bool receive_in(struct connection *connection)
{
	struct handshake *handshake = connection->handshake;

	while (handshake->have < handshake->want) {
		const bool skips = handshake->step == STEP_SKIP;
		uint32_t bytes = handshake->want - handshake->have;
		ssize_t got;

		if (bytes > sizeof(handshake->in))
			bytes = sizeof(handshake->in);
		got = stream_receive(
			&connection->stream,
			handshake->in + (skips ? 0 : handshake->have), bytes);
		if (got < 0)
			state_end(connection);
		if (got <= 0)
			return false;
		handshake->have += (uint32_t)got;
	}
	return true;
}

uint64_t handshake_rests_until_ns(const struct connection *connection)
{
	return connection->handshake && connection->handshake->rests ?
		shakes_rest_until_ns :
		0;
}

static int shake_in_turn(struct connection *connection, struct error *reterr)
{
	struct handshake *handshake = connection->handshake;
	const uint64_t now_ns = loop_now_ns(connection->config.loop);
	uint64_t began_ns, ended_ns;
	int rc;

	handshake->rests = now_ns < shakes_rest_until_ns;
	if (handshake->rests)
		return 0;
	began_ns = loop_clock_ns();
	rc = stream_shake(&connection->stream, reterr);
	ended_ns = loop_clock_ns();
	shakes_rest_until_ns =
		ended_ns + (ended_ns - began_ns) * (SHAKES_SHARE - 1);
	return rc;
}

/* Returns whether it is done.  Of what was agreed upon before nothing holds:
 * nobody knows who said it. */
static bool shake(struct connection *connection)
{
	struct handshake *handshake = connection->handshake;
	struct stream *stream = &connection->stream;
	struct error error;
	int rc;

	if (!stream_is_secure(stream) &&
	    stream_secure(stream, connection->config.keys, NULL) < 0) {
		state_fail(connection, "no memory for TLS");
		return false;
	}
	rc = shake_in_turn(connection, &error);
	if (rc == -EPROTO)
		state_fail(connection, "%s", error.text);
	else if (rc < 0)
		state_end(connection);
	connection->blocked = rc == 0 && stream_has_output(stream);
	if (rc <= 0)
		return false;
	handshake->structured = false;
	handshake->allocation = false;
	handshake->outcome = OUTCOME_NONE;
	return true;
}

unsigned int handshake_poll(struct connection *connection)
{
	struct handshake *handshake = connection->handshake;
	unsigned int steps = 0;

	while (steps < STEPS_PER_TURN && !connection->cut) {
		if (!send_out(connection))
			break;
		if (handshake->outcome == OUTCOME_TLS && !shake(connection))
			break;
		if (handshake->outcome == OUTCOME_END) {
			state_end(connection);
			break;
		}
		if (handshake->outcome == OUTCOME_SERVE) {
			connection->phase = CONNECTION_SERVING;
			handshake_destroy(connection);
			return steps + 1;
		}
		if (!receive_in(connection))
			break;
		step(connection);
		steps++;
	}
	return steps;
}
