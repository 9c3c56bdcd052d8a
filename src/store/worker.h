/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker.h - one thread that does what may block, in order
 *
 * The control thread hands jobs over; each is run by the worker thread and
 * then finished by the control thread, from its loop.  The store's writer is
 * one.
 *
 * Threads: all functions are the loop's thread's; only 'run' is called on
 * the worker.
 */
#ifndef STORE_WORKER_H
#define STORE_WORKER_H

struct loop;
struct worker;

/* Embedded in the caller's; untouched between worker_submit and 'done'. */
struct worker_job {
	void (*run)(struct worker_job *job);	/* on the worker; may block */
	void (*done)(struct worker_job *job);	/* on the loop's thread */
	struct worker_job *next;		/* the worker's */
};

/* 'name' (at most 15 characters) is the thread's.  Returns 0 or -errno. */
int worker_create(struct loop *loop, const char *name,
		  struct worker **ret_worker);
/* Finishes every job that was submitted (their 'done' is called), ends the
 * thread.  NULL is allowed. */
void worker_destroy(struct worker *worker);
void worker_submit(struct worker *worker, struct worker_job *job);

#endif
