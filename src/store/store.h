/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.h - penstockd's memory: records by kind and key, written as one
 *
 * A record is a JSON object.  Everything is read once, at start; from then on
 * penstockd writes before it acts: store_write hands a group of changes to
 * the writer thread, which makes all of them or none, and 'done' tells when
 * they will survive.
 *
 * A kind of store is one 'static const struct store_ops' (SQLite now).
 * Threads: the control thread's; ops->commit runs on the writer thread.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <jansson.h>

#include "base/error.h"
#include "store/worker.h"

struct loop;
struct store;

enum store_kind {
	STORE_CAPACITY,		/* "ep0/d0": what calibration measured */
	STORE_DEVICE,		/* "ep0/d0": its UUID */
	STORE_VOLUME,		/* UUID: vdev, pool, size, what it waits for */
	STORE_VDEV,		/* vdev: change made at run time */
	STORE_PROCESS,		/* pasid: change made at run time */
	STORE_KINDS
};

#define STORE_CHANGES_MAX	24U
#define STORE_KEY_MAX		160U

struct store_change {
	enum store_kind kind;
	char key[STORE_KEY_MAX];
	char *value;		/* JSON text; NULL: delete */
};

/* Embedded in the caller's; initialise with store_write_init. */
struct store_write {
	void (*done)(struct store_write *write);
	int result;			/* 0 or -errno, valid in 'done' */
	struct error error;
	struct store_change changes[STORE_CHANGES_MAX];
	unsigned int count;
	struct worker_job job;		/* the store's */
	struct store *store;		/* the store's */
};

struct store_ops {
	const char *name;
	/* Open what lies in 'directory'.  Returns 0, -errno; -EUCLEAN:
	 * damaged; -EPROTO: written by a newer version.  Required. */
	int (*open)(const char *directory, void **ret_state,
		    struct error *reterr);
	void (*close)(void *state);
	/* Call 'found' for each record.  Required. */
	int (*load)(void *state, enum store_kind kind,
		    int (*found)(const char *key, const char *value, void *arg),
		    void *arg, struct error *reterr);
	/* All or nothing, durable on return.  Writer thread.  Required. */
	int (*commit)(void *state, const struct store_change *changes,
		      unsigned int count, struct error *reterr);
};

extern const struct store_ops store_sqlite;

/* Make 'directory' if it is missing (0700), lock it, open the store in it.
 * Returns 0; -EBUSY: another penstockd uses it; what ops->open says. */
int store_open(const struct store_ops *ops, struct loop *loop,
	       const char *directory, struct store **ret_store,
	       struct error *reterr);
/* Finishes what was written.  NULL is allowed. */
void store_close(struct store *store);

/* Every record of a kind, as {key: object}; records that are no JSON objects
 * are an error (-EUCLEAN). */
int store_load(struct store *store, enum store_kind kind, json_t **ret_records,
	       struct error *reterr);

void store_write_init(struct store_write *write,
		      void (*done)(struct store_write *write));
/* Add a change; 'value' (borrowed) NULL: delete.  Returns 0, -ENOMEM,
 * -ENOSPC (more than STORE_CHANGES_MAX), -ENAMETOOLONG. */
int store_write_put(struct store_write *write, enum store_kind kind,
		    const char *key, const json_t *value);
void store_write_start(struct store *store, struct store_write *write);

const char *store_kind_name(enum store_kind kind);

#endif
