/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guard.c - see guard.h
 *
 * The table is read by the signal handler while other threads add and remove
 * entries.  An entry is valid while its end is not zero; the end is written
 * last when adding and first when removing.  The handler reads the end, then
 * the rest, then the end again: an entry that changed meanwhile belongs to
 * another mapping than the one that faulted, whose owner is stopped in the
 * handler and can't be removing it.
 */
#include "os/guard.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>

#define PAGE_BYTES	UINT64_C(4096)

struct entry {
	uintptr_t start, end;
	volatile sig_atomic_t *hit;	/* NULL: free */
};

static struct entry entries[GUARD_MAX];
static unsigned int entries_used;	/* no valid entry is at or after it */
static pthread_mutex_t entries_lock = PTHREAD_MUTEX_INITIALIZER;

/* A hugetlb mapping can only be replaced in whole huge pages. */
static bool cover(uintptr_t address, uintptr_t start, uintptr_t end)
{
	static const uintptr_t sizes[] = {
		PAGE_BYTES,
		UINT64_C(2) << 20,
		UINT64_C(1) << 30,
	};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uintptr_t from = address & ~(sizes[i] - 1);

		if (from < start)
			from = start;
		if (mmap((void *)from, end - from, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED |
				 MAP_NORESERVE,
			 -1, 0) != MAP_FAILED)
			return true;
	}
	return false;
}

static bool survive(uintptr_t address)
{
	const unsigned int used =
		__atomic_load_n(&entries_used, __ATOMIC_ACQUIRE);

	for (unsigned int i = 0; i < used; i++) {
		const struct entry *entry = &entries[i];
		const uintptr_t end =
			__atomic_load_n(&entry->end, __ATOMIC_ACQUIRE);
		const uintptr_t start =
			__atomic_load_n(&entry->start, __ATOMIC_ACQUIRE);
		volatile sig_atomic_t *hit =
			__atomic_load_n(&entry->hit, __ATOMIC_ACQUIRE);

		if (address < start || address >= end ||
		    __atomic_load_n(&entry->end, __ATOMIC_ACQUIRE) != end)
			continue;
		if (!cover(address, start, end))
			return false;
		*hit = 1;
		return true;
	}
	return false;
}

static void on_sigbus(int signal_number, siginfo_t *info, void *context)
{
	const int saved_errno = errno;
	const struct sigaction fallback = {.sa_handler = SIG_DFL};

	(void)context;
	if (info->si_code <= 0 || !survive((uintptr_t)info->si_addr)) {
		/* The access faults again, or the signal is sent again. */
		sigaction(signal_number, &fallback, NULL);
		if (info->si_code <= 0)
			raise(signal_number);
	}
	errno = saved_errno;
}

int guard_install(void)
{
	struct sigaction action = {
		.sa_sigaction = on_sigbus,
		.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK,
	};

	sigemptyset(&action.sa_mask);
	return sigaction(SIGBUS, &action, NULL) < 0 ? -errno : 0;
}

int guard_add(void *address, size_t length, volatile sig_atomic_t *hit)
{
	const uintptr_t start = (uintptr_t)address;
	unsigned int slot;

	assert(length > 0 && start % PAGE_BYTES == 0);
	pthread_mutex_lock(&entries_lock);
	for (slot = 0; slot < GUARD_MAX && entries[slot].hit; slot++)
		;
	if (slot == GUARD_MAX) {
		pthread_mutex_unlock(&entries_lock);
		return -ENOSPC;
	}
	__atomic_store_n(&entries[slot].hit, hit, __ATOMIC_RELEASE);
	__atomic_store_n(&entries[slot].start, start, __ATOMIC_RELEASE);
	__atomic_store_n(&entries[slot].end, start + length, __ATOMIC_RELEASE);
	if (slot >= entries_used)
		__atomic_store_n(&entries_used, slot + 1, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&entries_lock);
	return 0;
}

void guard_remove(void *address)
{
	unsigned int slot = 0;

	pthread_mutex_lock(&entries_lock);
	while (slot < entries_used &&
	       (!entries[slot].hit ||
		entries[slot].start != (uintptr_t)address))
		slot++;
	if (slot < entries_used) {
		__atomic_store_n(&entries[slot].end, (uintptr_t)0,
				 __ATOMIC_RELEASE);
		__atomic_store_n(&entries[slot].hit, NULL, __ATOMIC_RELEASE);
	}
	while (entries_used > 0 && !entries[entries_used - 1].hit)
		__atomic_store_n(&entries_used, entries_used - 1,
				 __ATOMIC_RELEASE);
	pthread_mutex_unlock(&entries_lock);
}
