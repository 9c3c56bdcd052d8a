/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slas.c - SLAs from a file or a database, followed (E7)
 *
 * All of it is read, by a thread of its own, when the file changes and every
 * so often; what an entry asks for is done as if a person had asked.  A process
 * remembers, over restarts, the hash of the entry that it has its SLA from: an
 * entry is carried out once, so changes made at run time win until it changes
 * (contract).  One that is gone is released, if it came with the entry.  What
 * cannot be read or makes no sense is said once, and the last good state stays.
 */
#include "host/host-data.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/container.h"
#include "host/records.h"
#include "host/want.h"
#include "store/view.h"
#include "store/worker.h"

#define SOON_NS UINT64_C(1000000000) /* not ready yet: again */
#define REFUSED_NS UINT64_C(600000000000) /* refused: again */

/* An entry that could not be carried out. */
struct slas_tried {
	uint32_t pasid;
	char hash[RECORDS_HASH_MAX];
	uint64_t again_ns;
};

struct slas {
	struct host *host;
	struct worker *worker;
	struct worker_job job;
	struct loop_timer timer;
	struct loop_watch watch;
	int inotify_fd; /* -1: none */
	int stop_fd; /* readable: end what is under way */
	bool is_reading, is_outdated;
	/* of the job */
	struct config *read;
	int result;
	struct error error;
	struct error told; /* the last complaint, to say it once */
	struct slas_tried *tried;
	size_t tried_count;
	uint64_t again_ns; /* the soonest of them */
};

/* --- One entry ----------------------------------------------------------- */

struct slas_op {
	struct host_call call;
	struct host *host;
	uint32_t pasid;
	unsigned int line;
	char hash[RECORDS_HASH_MAX];
	struct error what;		/* for who hears of changes */
};

static struct slas_tried *find_tried(const struct slas *slas, uint32_t pasid)
{
	for (size_t i = 0; i < slas->tried_count; i++)
		if (slas->tried[i].pasid == pasid)
			return &slas->tried[i];
	return NULL;
}

static void note_tried(struct slas *slas, const struct slas_op *op,
		       uint64_t again_ns)
{
	struct slas_tried *tried = find_tried(slas, op->pasid);

	if (!tried) {
		tried = reallocarray(slas->tried, slas->tried_count + 1,
				     sizeof(*tried));
		if (!tried)
			return;
		slas->tried = tried;
		tried += slas->tried_count++;
	}
	tried->pasid = op->pasid;
	strcpy(tried->hash, op->hash);
	tried->again_ns = again_ns;
	if (again_ns < slas->again_ns)
		slas->again_ns = again_ns;
}

static const char *place(const struct host *host)
{
	const struct config_slas *config = &host->config->slas;

	if (config->file)
		return config->file;
	return config->postgresql ? "PostgreSQL" : config->sqlite;
}

static void tell_changed(const struct slas_op *op)
{
	struct error by;

	error_set(&by, 0, "%s:%u", place(op->host), op->line);
	host_changed(op->host, by.text, "%s", op->what.text);
}

static void entry_done(struct host_call *call, const struct host_reply *reply)
{
	struct slas_op *op = container_of(call, struct slas_op, call);
	struct event_subject subject = {.pasid = op->pasid};
	struct slas *slas = op->host->slas;
	uint64_t now_ns = loop_clock_ns();

	if (!slas || op->host->is_stopping) {
		free(op);
		return;
	}
	/* Refusals have an event of their own. */
	if (reply->result != HOST_DONE && reply->result != HOST_CONFLICT &&
	    reply->result != HOST_REFUSED)
		events_add(op->host->events, "error", &subject, "%s:%u: %s",
			   place(op->host), op->line, reply->text);
	if (reply->result == HOST_CONFLICT)
		note_tried(slas, op, now_ns + SOON_NS);
	else if (reply->result != HOST_DONE)
		note_tried(slas, op, now_ns + REFUSED_NS);
	if (reply->result == HOST_DONE)
		tell_changed(op);
	else
		loop_timer_set(op->host->loop, &slas->timer, slas->again_ns);
	free(op);
}

static void ask(struct slas *slas, const struct config_process *entry,
		const struct reg_process *process, const char *hash)
{
	struct slas_op *op = calloc(1, sizeof(*op));
	struct host_process_request request;
	struct want_words words;

	if (!op)
		return;
	op->call.done = entry_done;
	op->host = slas->host;
	op->pasid = entry->pasid;
	op->line = entry->line;
	strcpy(op->hash, hash);
	want_request(entry, &words, &request);
	request.source = hash;
	if (process) {
		request.vdev = NULL;
		request.vhost_user = NULL;
		request.match = words.match;
	}
	error_set(&op->what, 0,
		  "process %u %s: sla %s; limit %s; weight %u; best-effort %s",
		  entry->pasid, process ? "updated" : "added", words.sla,
		  words.limit, request.weight,
		  request.best_effort ? "yes" : "no");
	if (process)
		host_process_update(slas->host, &request, &op->call);
	else
		host_process_add(slas->host, &request, &op->call);
}

static void carry_out(struct slas *slas, const struct config_process *entry)
{
	struct host *host = slas->host;
	struct reg_process *process =
		registry_process(host->registry, entry->pasid);
	const struct slas_tried *tried = find_tried(slas, entry->pasid);
	struct event_subject subject = {.pasid = entry->pasid};
	char hash[RECORDS_HASH_MAX];

	if (!entry->served)
		return;
	records_hash_process(entry, hash);
	if (process && strcmp(process->source, hash) == 0)
		return;
	if (tried && strcmp(tried->hash, hash) == 0 &&
	    loop_clock_ns() < tried->again_ns) {
		if (tried->again_ns < slas->again_ns)
			slas->again_ns = tried->again_ns;
		return;
	}
	if (process && entry->vdev &&
	    strcmp(process->vdev->name, entry->vdev) != 0) {
		struct slas_op op = {.pasid = entry->pasid};

		events_add(
			host->events, "error", &subject,
			"%s:%u: process %u is bound to vdev '%s', not '%s': release it first",
			place(host), entry->line, entry->pasid,
			process->vdev->name, entry->vdev);
		strcpy(op.hash, hash);
		note_tried(slas, &op, loop_clock_ns() + REFUSED_NS);
		return;
	}
	ask(slas, entry, process, hash);
}

/* --- All of them --------------------------------------------------------- */

static bool has_entry(const struct config *read, uint32_t pasid)
{
	for (unsigned int i = 0; i < read->process_count; i++)
		if (read->processes[i].pasid == pasid)
			return true;
	return false;
}

/* Those that came with an entry that is no more. */
static void release_gone(struct slas *slas, const struct config *read)
{
	struct reg_process *process, *next;

	for (process = slas->host->registry->processes; process;
	     process = next) {
		next = process->next;
		if (!process->source[0] || process->entry[0] ||
		    process->is_writing ||
		    process->state == REG_PROCESS_REMOVING ||
		    has_entry(read, process->pasid))
			continue;
		host_changed(slas->host, place(slas->host),
			     "process %u released: it is not there any more",
			     process->pasid);
		verbs_release(slas->host, process, NULL);
	}
}

static void tell(struct slas *slas, const char *text)
{
	if (strcmp(slas->told.text, text) == 0)
		return;
	error_set(&slas->told, 0, "%s", text);
	if (*text)
		events_add(slas->host->events, "error", NULL,
			   "%s (the SLAs read before stay)", text);
	else
		events_add(slas->host->events, "slas", NULL,
			   "%s can be read again", place(slas->host));
}

static void read_start(struct slas *slas);

static void read_done(struct worker_job *job)
{
	struct slas *slas = container_of(job, struct slas, job);
	struct host *host = slas->host;

	slas->is_reading = false;
	slas->again_ns = loop_clock_ns() + host->config->slas.every_ns;
	if (host->is_stopping) {
		config_free(slas->read);
		slas->read = NULL;
		return;
	}
	if (slas->result < 0) {
		tell(slas, slas->error.text);
	} else {
		tell(slas, "");
		release_gone(slas, slas->read);
		for (unsigned int i = 0; i < slas->read->process_count; i++)
			carry_out(slas, &slas->read->processes[i]);
	}
	config_free(slas->read);
	slas->read = NULL;
	if (slas->is_outdated)
		read_start(slas);
	else
		loop_timer_set(host->loop, &slas->timer, slas->again_ns);
}

static void read_run(struct worker_job *job)
{
	struct slas *slas = container_of(job, struct slas, job);
	const struct config_slas *config = &slas->host->config->slas;
	const char *from = place(slas->host);
	char *text;

	if (config->file) {
		slas->result = config_load_slas(config->file, &slas->read,
						&slas->error);
		return;
	}
	if (config->postgresql)
		slas->result = view_read_postgresql(
			config->postgresql, slas->stop_fd, &text, &slas->error);
	else
		slas->result =
			view_read_sqlite(config->sqlite, &text, &slas->error);
	if (slas->result < 0)
		return;
	slas->result = config_parse_slas(from, text, strlen(text), &slas->read,
					 &slas->error);
	free(text);
}

static void read_start(struct slas *slas)
{
	slas->is_outdated = slas->is_reading;
	if (slas->is_reading)
		return;
	slas->is_reading = true;
	worker_submit(slas->worker, &slas->job);
}

static void timer_expired(struct loop_timer *timer, uint64_t now_ns)
{
	(void)now_ns;
	read_start(container_of(timer, struct slas, timer));
}

/* --- Watching ------------------------------------------------------------ */

static void directory_changed(struct loop_watch *watch)
{
	struct slas *slas = container_of(watch, struct slas, watch);
	char buffer[4096]
		__attribute__((aligned(__alignof__(struct inotify_event))));
	const char *name = strrchr(slas->host->config->slas.file, '/') + 1;
	bool is_ours = false;
	ssize_t length, at = 0;

	length = read(slas->inotify_fd, buffer, sizeof(buffer));
	while (at < length) {
		const struct inotify_event *event = (const void *)(buffer + at);

		is_ours |= event->len && strcmp(event->name, name) == 0;
		at += (ssize_t)(sizeof(*event) + event->len);
	}
	if (is_ours)
		read_start(slas);
}

/* Editors put a new file in its place: it is its directory that is watched.
 * Where that cannot be (another machine's), looking every so often does. */
static void watch_directory(struct slas *slas)
{
	const char *file = slas->host->config->slas.file;
	char *directory = file ? strdup(file) : NULL;

	if (!directory)
		return;
	strrchr(directory, '/')[1] = '\0';
	slas->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (slas->inotify_fd >= 0 &&
	    inotify_add_watch(slas->inotify_fd, directory,
			      IN_CLOSE_WRITE | IN_MOVED_TO) >= 0) {
		slas->watch.ready = directory_changed;
		loop_watch_add(slas->host->loop, &slas->watch,
			       slas->inotify_fd);
	}
	free(directory);
}

int slas_start(struct host *host)
{
	struct slas *slas;
	int ret;

	if (!place(host))
		return 0;
	slas = calloc(1, sizeof(*slas));
	if (!slas)
		return -ENOMEM;
	slas->host = host;
	slas->inotify_fd = -1;
	slas->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (slas->stop_fd < 0) {
		ret = -errno;
		free(slas);
		return ret;
	}
	slas->job.run = read_run;
	slas->job.done = read_done;
	ret = loop_timer_init(host->loop, &slas->timer, timer_expired);
	if (ret < 0) {
		close(slas->stop_fd);
		free(slas);
		return ret;
	}
	ret = worker_create(host->loop, "slas", &slas->worker);
	if (ret < 0) {
		loop_timer_finish(host->loop, &slas->timer);
		close(slas->stop_fd);
		free(slas);
		return ret;
	}
	host->slas = slas;
	watch_directory(slas);
	read_start(slas);
	return 0;
}

void slas_finish(struct host *host)
{
	struct slas *slas = host->slas;

	if (!slas)
		return;
	eventfd_write(slas->stop_fd, 1);
	worker_destroy(slas->worker);
	close(slas->stop_fd);
	loop_watch_remove(host->loop, &slas->watch);
	if (slas->inotify_fd >= 0)
		close(slas->inotify_fd);
	loop_timer_finish(host->loop, &slas->timer);
	free(slas->tried);
	free(slas);
	host->slas = NULL;
}
