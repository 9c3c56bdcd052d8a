/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lockdown.c - a guest that breaks in holds nothing
 *
 * Order matters: user and capabilities go first, then no_new_privs (which
 * Landlock and seccomp need), Landlock with no rule at all (no file, and where
 * the kernel knows it no TCP port and no abstract socket or signal outside),
 * and last the system call filter, which also forbids to undo any of it.
 *
 * A user of its own is for a kernel without Landlock and for a hole in the
 * filter.  It comes this late because what is set up before may need root: the
 * core, its priority, memory that the ring pins.  What is passed in later was
 * opened by penstockd; having it is enough.
 *
 * A call that is not on the list fails with EPERM rather than killing: a
 * library that probes for something must not end the service of all.
 */
#include "endpoint/endpoint.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/fs.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#else
/* At its end the leak check reads /proc, which Landlock forbids it by then. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}
#endif

/* Landlock access rights newer than this machine's header. */
#define FS_ALL_ABI1 ((UINT64_C(1) << 13) - 1)
#define FS_REFER (UINT64_C(1) << 13)
#define FS_TRUNCATE (UINT64_C(1) << 14)
#define FS_IOCTL_DEV (UINT64_C(1) << 15)
#define NET_ALL UINT64_C(3)
#define SCOPE_ALL UINT64_C(3)

struct ruleset { /* struct landlock_ruleset_attr, ABI 6 */
	uint64_t fs, net, scope;
};

static int restrict_names(bool *ret_done)
{
	struct ruleset rules = {.fs = FS_ALL_ABI1};
	size_t size = sizeof(rules.fs);
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0,
			   LANDLOCK_CREATE_RULESET_VERSION);
	long fd, result;

	*ret_done = false;
	if (abi < 1)
		return 0; /* this kernel has none: seccomp still holds */
	if (abi >= 2)
		rules.fs |= FS_REFER;
	if (abi >= 3)
		rules.fs |= FS_TRUNCATE;
	if (abi >= 4) {
		rules.net = NET_ALL;
		size += sizeof(rules.net);
	}
	if (abi >= 5)
		rules.fs |= FS_IOCTL_DEV;
	if (abi >= 6) {
		rules.scope = SCOPE_ALL;
		size += sizeof(rules.scope);
	}
	fd = syscall(SYS_landlock_create_ruleset, &rules, size, 0);
	if (fd < 0)
		return -errno;
	result = syscall(SYS_landlock_restrict_self, fd, 0);
	if (result < 0)
		result = -errno;
	close((int)fd);
	*ret_done = result == 0;
	return (int)result;
}

/* The data path and the control connection; nothing that names a file, makes
 * a process, or changes who we are. */
static const int allowed[] = {
	SCMP_SYS(io_uring_enter),
	SCMP_SYS(io_uring_register),
	SCMP_SYS(read),
	SCMP_SYS(write),
	SCMP_SYS(readv),
	SCMP_SYS(writev),
	SCMP_SYS(pread64),
	SCMP_SYS(pwrite64),
	SCMP_SYS(preadv),
	SCMP_SYS(pwritev),
	SCMP_SYS(preadv2),
	SCMP_SYS(pwritev2),
	SCMP_SYS(close),
	SCMP_SYS(lseek),
	SCMP_SYS(fdatasync),
	SCMP_SYS(fsync),
	SCMP_SYS(fallocate),
	SCMP_SYS(ftruncate),
	SCMP_SYS(fstat),
	SCMP_SYS(newfstatat),
	SCMP_SYS(fstatfs),
	SCMP_SYS(recvmsg),
	SCMP_SYS(sendmsg),
	SCMP_SYS(recvfrom),
	SCMP_SYS(sendto),
	SCMP_SYS(accept4),
	SCMP_SYS(shutdown),
	SCMP_SYS(getsockopt),
	SCMP_SYS(setsockopt),
	SCMP_SYS(getsockname),
	SCMP_SYS(poll),
	SCMP_SYS(ppoll),
	SCMP_SYS(eventfd2),
	SCMP_SYS(memfd_create),
	SCMP_SYS(dup),
	SCMP_SYS(mmap),
	SCMP_SYS(munmap),
	SCMP_SYS(mremap),
	SCMP_SYS(mprotect),
	SCMP_SYS(madvise),
	SCMP_SYS(brk),
	SCMP_SYS(futex),
	SCMP_SYS(sched_yield),
	SCMP_SYS(membarrier),
	SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_nanosleep),
	SCMP_SYS(nanosleep),
	SCMP_SYS(gettimeofday),
	SCMP_SYS(getpid),
	SCMP_SYS(gettid),
	SCMP_SYS(getuid),
	SCMP_SYS(geteuid),
	SCMP_SYS(getrandom),
	SCMP_SYS(getcpu),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(sigaltstack),
	SCMP_SYS(restart_syscall),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
};

/* Nothing that has signals sent to others: F_SETOWN, F_SETSIG, F_NOTIFY. */
static const unsigned int allowed_fcntl[] = {
	F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD,     F_SETFD,
	F_GETFL, F_SETFL,	  F_ADD_SEALS, F_GET_SEALS,
};

/* Calls of which only some arguments are harmless. */
static int allow_some(scmp_filter_ctx filter)
{
	int result;

	/* The discard of a block device; nothing else. */
	result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
				  SCMP_CMP(1, SCMP_CMP_EQ, BLKDISCARD, 0));
	/* Without CAP_KILL one may still signal what has the same user. */
	if (result == 0)
		result = seccomp_rule_add(
			filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
			SCMP_CMP(0, SCMP_CMP_EQ, (scmp_datum_t)getpid(), 0));
	for (size_t i = 0;
	     result == 0 && i < sizeof(allowed_fcntl) / sizeof(*allowed_fcntl);
	     i++)
		result = seccomp_rule_add(
			filter, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1,
			SCMP_CMP(1, SCMP_CMP_EQ, allowed_fcntl[i], 0));
	return result;
}

static int filter_calls(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int result = 0;

	if (!filter)
		return -ENOMEM;
	for (size_t i = 0; i < sizeof(allowed) / sizeof(*allowed); i++) {
		result =
			seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
		if (result < 0)
			goto out;
	}
	result = allow_some(filter);
	if (result < 0)
		goto out;
	result = seccomp_load(filter);
out:
	seccomp_release(filter);
	return result;
}

int endpoint_become(const struct endpoint_user *user, struct error *reterr)
{
	capng_clear(CAPNG_SELECT_ALL);
	/* It takes a capability to give up what programs could be given:
	 * without, there is nothing to give up. */
	(void)capng_apply(CAPNG_SELECT_BOUNDS);
	if (user->uid &&
	    (setgroups(0, NULL) < 0 ||
	     setresgid(user->gid, user->gid, user->gid) < 0 ||
	     setresuid(user->uid, user->uid, user->uid) < 0))
		return error_set(
			reterr, -errno,
			"can't become user %u: %m; is penstockd confined?",
			user->uid);
	if (capng_apply(CAPNG_SELECT_CAPS) != 0)
		return error_set(
			reterr, -EPERM,
			"can't give up capabilities: is penstockd confined?");
	return 0;
}

int endpoint_lockdown(const struct endpoint_user *user, char *ret_how,
		      size_t size, struct error *reterr)
{
	bool landlocked;
	int result = endpoint_become(user, reterr);

	if (result < 0)
		return result;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return error_set(reterr, -errno, "no_new_privs: %m");
	result = restrict_names(&landlocked);
	if (result < 0)
		return error_set(reterr, result, "Landlock failed");
	if (!SANITIZED) {
		result = filter_calls();
		if (result < 0)
			return error_set(reterr, result, "seccomp failed");
	}
	snprintf(ret_how, size, "user %u, no capabilities%s%s", getuid(),
		 landlocked ? ", Landlock" : ", no Landlock in this kernel",
		 SANITIZED ? ", no seccomp in a sanitizer build" : ", seccomp");
	return 0;
}
