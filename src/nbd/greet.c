/* SPDX-License-Identifier: Apache-2.0 */
/* greet.c - see greet.h */
#include "nbd/greet.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#define REPLIES_MAX		64U
#define BLOCK_MIN_MAX		65536U
#define BLOCK_MAX_MIN		4096U
#define SIZE_MAX_BYTES		(UINT64_C(1) << 62)
/* Of a server that names no limits: what the protocol says then. */
#define BLOCK_MIN_DEFAULT	1U
#define BLOCK_PREFERRED_DEFAULT	4096U
#define TEXT_SHOWN		120

/* What a device stands on once it was there. */
#define RELIED_UPON \
	(WIRE_SEND_FLUSH | WIRE_SEND_FUA | WIRE_SEND_TRIM | \
	 WIRE_SEND_WRITE_ZEROES | WIRE_SEND_FAST_ZERO | WIRE_CAN_MULTI_CONN)

void greet_init(struct greet *greet, const char *name, bool wants_tls)
{
	*greet = (struct greet){
		.step = GREET_GREETING,
		.want = WIRE_GREETING_BYTES,
		.wants_tls = wants_tls,
	};
	memcpy(greet->name, name, strnlen(name, WIRE_NAME_MAX));
}

static void refuse(struct greet *greet, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
static void refuse(struct greet *greet, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	error_vset(&greet->error, -EPROTO, format, args);
	va_end(args);
	greet->step = GREET_FAILED;
	greet->want = greet->have = 0;
	greet->out_bytes = greet->out_sent = 0;
}

static void await(struct greet *greet, uint32_t bytes)
{
	greet->have = 0;
	greet->want = bytes;
}

/* The next reply's head. */
static void await_reply(struct greet *greet)
{
	greet->in_data = false;
	await(greet, WIRE_REPLY_BYTES);
}

static void take_greeting(struct greet *greet)
{
	bool no_zeroes;

	if (!wire_get_greeting(greet->in, &no_zeroes)) {
		refuse(greet, "what answers is no NBD server (fixed newstyle)");
		return;
	}
	wire_put_client_flags(greet->out, no_zeroes);
	greet->out_bytes = WIRE_CLIENT_FLAGS_BYTES +
		wire_put_option(greet->out + WIRE_CLIENT_FLAGS_BYTES,
				greet->wants_tls ? WIRE_OPT_STARTTLS :
						   WIRE_OPT_STRUCTURED_REPLY);
	greet->step = greet->wants_tls ? GREET_START_TLS : GREET_STRUCTURED;
	await_reply(greet);
}

/* The refusal of an option, with the text that came with it. */
static void take_refusal(struct greet *greet, const char *what)
{
	const int length =
		(int)(greet->have < TEXT_SHOWN ? greet->have : TEXT_SHOWN);
	const char *why = "it gives no reason";

	switch (greet->head.reply) {
	case WIRE_REP_ERR_TLS_REQD:
		why = "it wants TLS";
		break;
	case WIRE_REP_ERR_UNKNOWN:
		why = "it has no such export";
		break;
	case WIRE_REP_ERR_UNSUP:
		why = "it is too old";
		break;
	case WIRE_REP_ERR_POLICY:
		why = "it forbids it";
		break;
	case WIRE_REP_ERR_SHUTDOWN:
		why = "it is ending";
		break;
	}
	refuse(greet, "the server refuses %s: %s%s%.*s", what, why,
	       length > 0 ? ": " : "", length, (const char *)greet->in);
}

/* A server that says no is not asked in the clear instead. */
static void take_start_tls(struct greet *greet)
{
	if (greet->head.reply == WIRE_REP_ACK && greet->have == 0) {
		greet->step = GREET_TLS;
		await(greet, 0);
	} else if (greet->head.reply & WIRE_REP_ERROR) {
		take_refusal(greet, "TLS");
	} else {
		refuse(greet, "the server answers nonsense (%u)",
		       greet->head.reply);
	}
}

void greet_secured(struct greet *greet)
{
	assert(greet->step == GREET_TLS);
	greet->out_bytes =
		wire_put_option(greet->out, WIRE_OPT_STRUCTURED_REPLY);
	greet->step = GREET_STRUCTURED;
	await_reply(greet);
}

static void take_structured(struct greet *greet)
{
	greet->structured = greet->head.reply == WIRE_REP_ACK;
	if (!greet->structured && !(greet->head.reply & WIRE_REP_ERROR)) {
		refuse(greet, "the server answers nonsense (%u)",
		       greet->head.reply);
		return;
	}
	if (greet->head.reply == WIRE_REP_ERR_TLS_REQD) {
		take_refusal(greet, "everything");
		return;
	}
	greet->out_bytes = wire_put_go(greet->out, greet->name);
	greet->step = GREET_GO;
	await_reply(greet);
}

/* Everything that an export may not be. */
static bool check_export(struct greet *greet)
{
	struct wire_export *export = &greet->export;

	if (!greet->has_size) {
		refuse(greet, "the server doesn't say how large export '%s' is",
		       greet->name);
		return false;
	}
	if (export->block_min == 0) {
		export->block_min = BLOCK_MIN_DEFAULT;
		export->block_preferred = BLOCK_PREFERRED_DEFAULT;
		export->block_max = WIRE_PAYLOAD_MAX;
	}
	if ((export->block_min & (export->block_min - 1)) != 0 ||
	    export->block_min > BLOCK_MIN_MAX ||
	    export->block_max < export->block_min ||
	    export->block_max < BLOCK_MAX_MIN) {
		refuse(greet,
		       "the server's block sizes make no sense: from %u to %u",
		       export->block_min, export->block_max);
		return false;
	}
	if (export->block_max > WIRE_PAYLOAD_MAX)
		export->block_max = WIRE_PAYLOAD_MAX;
	if (export->size_bytes == 0 || export->size_bytes > SIZE_MAX_BYTES) {
		refuse(greet, "export '%s' of %" PRIu64 " bytes can't be used",
		       greet->name, export->size_bytes);
		return false;
	}
	if (!(export->flags & WIRE_HAS_FLAGS))
		export->flags = 0;
	return true;
}

static void take_go(struct greet *greet)
{
	if (greet->head.reply == WIRE_REP_INFO) {
		if (!wire_get_info(greet->in, greet->have, &greet->export,
				   &greet->has_size)) {
			refuse(greet,
			       "the server's information has a wrong length");
			return;
		}
		await_reply(greet);
		return;
	}
	if (greet->head.reply != WIRE_REP_ACK) {
		if (greet->head.reply & WIRE_REP_ERROR)
			take_refusal(greet, "the export");
		else
			refuse(greet, "the server answers nonsense (%u)",
			       greet->head.reply);
		return;
	}
	if (!check_export(greet))
		return;
	greet->step = GREET_DONE;
	await(greet, 0);
}

static uint32_t option_of(enum greet_step step)
{
	if (step == GREET_START_TLS)
		return WIRE_OPT_STARTTLS;
	return step == GREET_GO ? WIRE_OPT_GO : WIRE_OPT_STRUCTURED_REPLY;
}

/* A reply's head is there; or its data, too. */
static void take_reply(struct greet *greet)
{
	if (!greet->in_data) {
		if (!wire_get_reply(greet->in, &greet->head) ||
		    greet->head.option != option_of(greet->step)) {
			refuse(greet, "what came is no answer of a server");
			return;
		}
		if (greet->head.data_bytes > WIRE_ANSWER_MAX ||
		    ++greet->replies > REPLIES_MAX) {
			refuse(greet, "the server says too much");
			return;
		}
		await(greet, greet->head.data_bytes);
		greet->in_data = true;
		if (greet->want > 0)
			return;
	}
	if (greet->step == GREET_GO)
		take_go(greet);
	else if (greet->step == GREET_START_TLS)
		take_start_tls(greet);
	else
		take_structured(greet);
}

void greet_take(struct greet *greet)
{
	assert(greet->have == greet->want);
	switch (greet->step) {
	case GREET_GREETING:
		take_greeting(greet);
		break;
	case GREET_START_TLS:
	case GREET_STRUCTURED:
	case GREET_GO:
		take_reply(greet);
		break;
	case GREET_TLS:
	case GREET_DONE:
	case GREET_FAILED:
		break;
	}
}

bool greet_is_same_export(const struct wire_export *before,
			  const struct wire_export *now, struct error *reterr)
{
	const unsigned int had = before->flags & RELIED_UPON;

	if (now->size_bytes != before->size_bytes)
		error_set(reterr, -ESTALE,
			  "it is another export now: %" PRIu64
			  " bytes instead of %" PRIu64,
			  now->size_bytes, before->size_bytes);
	else if (now->block_min > before->block_min ||
		 now->block_max < before->block_max)
		error_set(
			reterr, -ESTALE,
			"it is another export now: blocks of %u to %u bytes instead of %u to %u",
			now->block_min, now->block_max, before->block_min,
			before->block_max);
	else if ((now->flags & had) != had ||
		 ((now->flags ^ before->flags) & WIRE_READ_ONLY))
		error_set(
			reterr, -ESTALE,
			"it is another export now: flags 0x%x instead of 0x%x",
			now->flags, before->flags);
	else
		return true;
	return false;
}
