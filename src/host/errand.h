/* SPDX-License-Identifier: Apache-2.0 */
/*
 * errand.h - something that may never return, on a thread of its own
 *
 * Nobody waits for it: storage that does not answer holds up neither the loop
 * nor the end of penstockd.
 *
 * Threads: the loop's, except errand_is_abandoned and 'run'.
 */
#ifndef HOST_ERRAND_H
#define HOST_ERRAND_H

#include <stdbool.h>

struct errand;
struct loop;

/* 'arg' is the errand's, which frees it at last; it points to nothing that
 * goes before that. */
struct errand_config {
	struct loop *loop;
	void (*run)(void *arg, struct errand *errand); /* on the thread */
	/* In the loop, once, unless it is abandoned before. */
	void (*done)(void *arg);
	void (*free)(void *arg); /* on either */
	void *arg;
};

/* Returns 0; or -errno, and 'arg' is still the caller's. */
int errand_start(const struct errand_config *config,
		 struct errand **ret_errand);
/* For 'run': nobody wants it any more. */
bool errand_is_abandoned(struct errand *errand);
/* 'done' is not called any more; the thread ends when it can.  NULL is
 * allowed. */
void errand_abandon(struct errand *errand);

/* 'run' on a detached thread that takes no signals: they are the control
 * thread's.  Returns 0 or -errno. */
int errand_thread(void *(*run)(void *), void *arg);

#endif
