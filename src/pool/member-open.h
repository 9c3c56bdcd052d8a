/* SPDX-License-Identifier: Apache-2.0 */
/*
 * member-open.h - the second half of opening a device: its superblock is known
 *
 * member.c looks for the superblocks and claims what is blank; from there on it
 * is here: the log is replayed and healed, the generation acquired.
 */
#ifndef POOL_MEMBER_OPEN_H
#define POOL_MEMBER_OPEN_H

#include "pool/heal.h"
#include "pool/member.h"

#define MEMBER_EDGE_BYTES (UINT64_C(1) << 20)	/* zero if it is blank */

struct member_open {
	struct member *member;
	void (*done)(void *arg, int result, const struct error *error);
	void *arg;
	struct error error;
	struct replay replay;
	struct heal heal;
	struct block_request request;
	struct iovec iov;
	unsigned char *buffer;		/* MEMBER_EDGE_BYTES */
	void (*then)(struct member_open *open, int result);
	struct format_super supers[FORMAT_COPIES];
	int found[FORMAT_COPIES];	/* 0: 'supers' has it */
	const char *foreign;		/* what else the start looks like */
	unsigned int shift;		/* where copy 2 is looked for */
	struct member_super change;
	struct log_entry entry;
	struct format_record record;
};

/* Read into the buffer, then 'then'. */
void member_open_read(struct member_open *open, uint64_t offset_bytes,
		      uint64_t length_bytes,
		      void (*then)(struct member_open *open, int result));
/* Is there room for what the superblock, or the configuration, says? */
int member_open_check_size(struct member *member, struct error *reterr);
/* The superblock is in 'member': replay the log, and acquire. */
void member_open_begin(struct member_open *open);
/* The better one of 'supers', then begin. */
void member_open_take_super(struct member_open *open);
/* The state is known: one generation more, in the superblock. */
void member_open_acquire(struct member_open *open);
/* It is over; 'open' is no more. */
void member_open_end(struct member_open *open, int result);
void member_open_free(struct member *member);

#endif
