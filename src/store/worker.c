/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker.c - one thread that does what may block, in order
 *
 * Two lists under one lock: jobs to do and jobs done.  An eventfd that the
 * loop watches says that something is in the second.
 */
#include "store/worker.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "os/loop.h"

struct job_list {
	struct worker_job *first;
	struct worker_job **end;
};

struct worker {
	struct loop_watch watch;	/* first: container of itself */
	struct loop *loop;
	pthread_t thread;
	int event_fd;
	pthread_mutex_t lock;
	pthread_cond_t wake;		/* 'todo' or 'ending' changed */
	struct job_list todo, finished;	/* under lock */
	bool ending;			/* under lock */
};

static void list_init(struct job_list *list)
{
	list->first = NULL;
	list->end = &list->first;
}

static void list_append(struct job_list *list, struct worker_job *job)
{
	job->next = NULL;
	*list->end = job;
	list->end = &job->next;
}

static struct worker_job *list_take(struct job_list *list)
{
	struct worker_job *job = list->first;

	if (job) {
		list->first = job->next;
		if (!list->first)
			list->end = &list->first;
	}
	return job;
}

static void *worker_run(void *arg)
{
	struct worker *worker = arg;
	const uint64_t one = 1;

	pthread_mutex_lock(&worker->lock);
	for (;;) {
		struct worker_job *job = list_take(&worker->todo);

		if (!job) {
			if (worker->ending)
				break;
			pthread_cond_wait(&worker->wake, &worker->lock);
			continue;
		}
		pthread_mutex_unlock(&worker->lock);
		job->run(job);
		pthread_mutex_lock(&worker->lock);
		list_append(&worker->finished, job);
		/* An eventfd below its maximum can be written always. */
		if (write(worker->event_fd, &one, sizeof(one)) < 0)
			assert(errno == EAGAIN);
	}
	pthread_mutex_unlock(&worker->lock);
	return NULL;
}

/* Call 'done' of what is finished. */
static void worker_finish(struct worker *worker)
{
	struct worker_job *job;

	for (;;) {
		pthread_mutex_lock(&worker->lock);
		job = list_take(&worker->finished);
		pthread_mutex_unlock(&worker->lock);
		if (!job)
			return;
		job->done(job);
	}
}

static void worker_ready(struct loop_watch *watch)
{
	struct worker *worker = (struct worker *)watch;
	uint64_t count;

	if (read(worker->event_fd, &count, sizeof(count)) < 0)
		assert(errno == EAGAIN);
	worker_finish(worker);
}

/* The thread takes no signals: they are the control thread's. */
static int start_thread(struct worker *worker, const char *name)
{
	sigset_t all, before;
	int ret;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	ret = -pthread_create(&worker->thread, NULL, worker_run, worker);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (ret == 0)
		pthread_setname_np(worker->thread, name);
	return ret;
}

int worker_create(struct loop *loop, const char *name,
		  struct worker **ret_worker)
{
	struct worker *worker;
	int ret;

	worker = calloc(1, sizeof(*worker));
	if (!worker)
		return -ENOMEM;
	worker->loop = loop;
	pthread_mutex_init(&worker->lock, NULL);
	pthread_cond_init(&worker->wake, NULL);
	list_init(&worker->todo);
	list_init(&worker->finished);
	worker->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (worker->event_fd < 0) {
		ret = -errno;
		goto err_free;
	}
	worker->watch.ready = worker_ready;
	ret = loop_watch_add(loop, &worker->watch, worker->event_fd);
	if (ret < 0)
		goto err_close;
	ret = start_thread(worker, name);
	if (ret < 0)
		goto err_unwatch;
	*ret_worker = worker;
	return 0;

err_unwatch:
	loop_watch_remove(loop, &worker->watch);
err_close:
	close(worker->event_fd);
err_free:
	free(worker);
	return ret;
}

void worker_destroy(struct worker *worker)
{
	if (!worker)
		return;
	pthread_mutex_lock(&worker->lock);
	worker->ending = true;
	pthread_cond_signal(&worker->wake);
	pthread_mutex_unlock(&worker->lock);
	pthread_join(worker->thread, NULL);
	worker_finish(worker);
	loop_watch_remove(worker->loop, &worker->watch);
	close(worker->event_fd);
	pthread_cond_destroy(&worker->wake);
	pthread_mutex_destroy(&worker->lock);
	free(worker);
}

void worker_submit(struct worker *worker, struct worker_job *job)
{
	pthread_mutex_lock(&worker->lock);
	assert(!worker->ending);
	list_append(&worker->todo, job);
	pthread_cond_signal(&worker->wake);
	pthread_mutex_unlock(&worker->lock);
}
