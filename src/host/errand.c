/* SPDX-License-Identifier: Apache-2.0 */
/*
 * errand.c - something that may never return, on a thread of its own
 *
 * The errand belongs to its thread and to the loop together: whoever is done
 * with it last frees it.  An eventfd that the loop watches says that the
 * thread is through.
 */
#include "host/errand.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/container.h"
#include "os/loop.h"

struct errand {
	struct errand_config config;
	struct loop_watch watch; /* the loop's side; of 'event_fd' */
	int event_fd;
	atomic_uint users;
	atomic_bool is_abandoned;
};

static void errand_leave(struct errand *errand)
{
	if (atomic_fetch_sub(&errand->users, 1) > 1)
		return;
	errand->config.free(errand->config.arg);
	close(errand->event_fd);
	free(errand);
}

static void *errand_run(void *arg)
{
	struct errand *errand = arg;
	const uint64_t one = 1;

	errand->config.run(errand->config.arg, errand);
	/* An eventfd below its maximum can be written always. */
	if (write(errand->event_fd, &one, sizeof(one)) < 0)
		abort();
	errand_leave(errand);
	return NULL;
}

static void errand_ready(struct loop_watch *watch)
{
	struct errand *errand = container_of(watch, struct errand, watch);
	uint64_t count;

	/* What the thread wrote is seen here: it rang after that. */
	if (read(errand->event_fd, &count, sizeof(count)) < 0)
		return;
	loop_watch_remove(errand->config.loop, watch);
	errand->config.done(errand->config.arg);
	errand_leave(errand);
}

int errand_thread(void *(*run)(void *), void *arg)
{
	pthread_attr_t attributes;
	sigset_t all, before;
	pthread_t thread;
	int ret;

	if (pthread_attr_init(&attributes))
		return -ENOMEM;
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	ret = -pthread_create(&thread, &attributes, run, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	return ret;
}

int errand_start(const struct errand_config *config, struct errand **ret_errand)
{
	struct errand *errand = calloc(1, sizeof(*errand));
	int ret;

	if (!errand)
		return -ENOMEM;
	errand->config = *config;
	errand->watch.ready = errand_ready;
	atomic_init(&errand->users, 2);
	errand->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (errand->event_fd < 0) {
		ret = -errno;
		goto err_free;
	}
	ret = loop_watch_add(config->loop, &errand->watch, errand->event_fd);
	if (ret < 0)
		goto err_close;
	*ret_errand = errand;
	ret = errand_thread(errand_run, errand);
	if (ret == 0)
		return 0;
	*ret_errand = NULL;
	loop_watch_remove(config->loop, &errand->watch);
err_close:
	close(errand->event_fd);
err_free:
	free(errand);
	return ret;
}

bool errand_is_abandoned(struct errand *errand)
{
	return atomic_load(&errand->is_abandoned);
}

void errand_abandon(struct errand *errand)
{
	if (!errand)
		return;
	loop_watch_remove(errand->config.loop, &errand->watch);
	atomic_store(&errand->is_abandoned, true);
	errand_leave(errand);
}
