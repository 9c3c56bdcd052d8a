/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guard.h - survive SIGBUS on memory that somebody else can truncate
 *
 * Guest memory, logs and inflight regions are mappings of descriptors that a
 * front-end sent; it may shrink them at any time, and the next access raises
 * SIGBUS.  Inside a registered mapping the handler puts zero pages of our own
 * over the rest of the mapping, sets its flag and returns; the owner looks at
 * the flag and ends that session.  Anywhere else SIGBUS does what it always
 * does.  (A system call that meets such memory fails with EFAULT instead.)
 *
 * Threads: add and remove from any; the handler runs where the fault is.
 */
#ifndef OS_GUARD_H
#define OS_GUARD_H

#include <signal.h>
#include <stddef.h>

#define GUARD_MAX	8192U	/* mappings at a time */

/* Install the handler; once for each process.  Returns 0 or -errno. */
int guard_install(void);
/* 'hit' is set to 1 when a page of the mapping was lost; it stays where it is
 * until removed.  'address' is what mmap returned.  Returns 0 or -ENOSPC. */
int guard_add(void *address, size_t length, volatile sig_atomic_t *hit);
/* Before munmap; unknown addresses are ignored. */
void guard_remove(void *address);

#endif
