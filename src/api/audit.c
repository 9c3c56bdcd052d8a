/* SPDX-License-Identifier: Apache-2.0 */
/* audit.c - see audit.h */
#include "api/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/container.h"
#include "os/fd.h"
#include "os/loop.h"

#define SYNC_NS		UINT64_C(1000000000)
#define SECOND_NS	UINT64_C(1000000000)
#define DEPTH_MAX	8U	/* of a body that is copied */

struct audit {
	struct loop *loop;
	char *path;
	uint64_t size_bytes;
	unsigned int keep;
	void (*say)(const char *text);
	int fd;				/* -1: cannot be written now */
	uint64_t written_bytes;		/* in this file */
	bool is_torn;			/* it ends within a line */
	uint64_t number;
	uint64_t lost;			/* lines, since it could be written */
	/* on the way to the disk */
	struct loop_timer timer;
	struct loop_op op;
	bool is_syncing, is_dirty;
	int old_fd;			/* a file before 'fd'; -1: none */
	bool is_old_dirty;		/* to be synced once more */
	/* refusals */
	uint64_t tokens_at_ns;
	unsigned int tokens;
	uint64_t unwritten;		/* refusals, since the last one */
};

/* --- On its way to the disk ---------------------------------------------- */

/* In the background; the file may be an older one by then. */
static void sync_start(struct audit *audit, int fd)
{
	struct io_uring_sqe *sqe = loop_sqe(audit->loop, &audit->op);

	if (!sqe)
		return;		/* the timer, or the kernel, does it later */
	io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
	audit->is_syncing = true;
}

static void on_synced(struct loop_op *op, int result)
{
	struct audit *audit = container_of(op, struct audit, op);

	(void)result;	/* a file that cannot be written says so at a write */
	audit->is_syncing = false;
	if (audit->old_fd >= 0 && audit->is_old_dirty) {
		audit->is_old_dirty = false;
		sync_start(audit, audit->old_fd);
	}
	if (!audit->is_syncing)
		fd_close(&audit->old_fd);
}

static void on_timer(struct loop_timer *timer, uint64_t now_ns)
{
	struct audit *audit = container_of(timer, struct audit, timer);

	if (!audit->is_dirty || audit->fd < 0)
		return;
	if (!audit->is_syncing) {
		sync_start(audit, audit->fd);
		audit->is_dirty = !audit->is_syncing;
	}
	if (audit->is_dirty)
		loop_timer_set(audit->loop, timer, now_ns + SYNC_NS);
}

/* --- The file ------------------------------------------------------------ */

static int open_file(struct audit *audit)
{
	struct stat status;
	char last = '\n';
	int fd = open(audit->path,
		      O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW |
			      O_NONBLOCK,
		      0640);

	if (fd < 0)
		return -errno;
	if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode)) {
		close(fd);
		return -EINVAL;
	}
	audit->fd = fd;
	audit->written_bytes = (uint64_t)status.st_size;
	/* Whoever wrote last may not have come to its end. */
	if (status.st_size > 0)
		(void)!pread(fd, &last, 1, status.st_size - 1);
	audit->is_torn = last != '\n';
	return 0;
}

/* What it has goes to the disk on its own. */
static void retire(struct audit *audit)
{
	const bool is_dirty = audit->is_dirty;

	audit->is_dirty = false;
	if (!is_dirty || audit->old_fd >= 0) {
		/* Of two in a second, the kernel looks after the second. */
		if (!audit->is_syncing || audit->old_fd >= 0) {
			fd_close(&audit->fd);
			return;
		}
	}
	audit->old_fd = fd_steal(&audit->fd);
	audit->is_old_dirty = is_dirty && audit->is_syncing;
	if (!audit->is_syncing)
		sync_start(audit, audit->old_fd);
	if (!audit->is_syncing)
		fd_close(&audit->old_fd);
}

static char *older(const struct audit *audit, unsigned int age)
{
	char *path;

	if (asprintf(&path, "%s.%u", audit->path, age) < 0)
		return NULL;
	return path;
}

/* FILE.1 becomes FILE.2, and so on; what cannot be moved stays. */
static void rotate(struct audit *audit)
{
	char *from, *to = older(audit, audit->keep);

	for (unsigned int age = audit->keep; to && age > 0; age--) {
		from = age > 1 ? older(audit, age - 1) : strdup(audit->path);
		if (from)
			(void)!rename(from, to);
		free(to);
		to = from;
	}
	free(to);
	retire(audit);
}

static bool write_all(int fd, const char *text, size_t length)
{
	ssize_t wrote;

	while (length > 0) {
		wrote = write(fd, text, length);
		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote <= 0)
			return false;
		text += wrote;
		length -= (size_t)wrote;
	}
	return true;
}

/* --- Lines --------------------------------------------------------------- */

static bool append(struct audit *audit, const char *line)
{
	const size_t length = strlen(line);

	if (audit->fd >= 0 && audit->written_bytes > 0 &&
	    audit->written_bytes + length > audit->size_bytes)
		rotate(audit);
	if (audit->fd < 0 && open_file(audit) < 0)
		return false;
	if (audit->is_torn) {
		if (!write_all(audit->fd, "\n", 1))
			return false;
		audit->written_bytes++;
		audit->is_torn = false;
	}
	if (!write_all(audit->fd, line, length)) {
		/* The part that was written goes, if it can. */
		audit->is_torn =
			ftruncate(audit->fd, (off_t)audit->written_bytes) < 0;
		return false;
	}
	audit->written_bytes += length;
	if (!audit->is_dirty)
		loop_timer_set(audit->loop, &audit->timer,
			       loop_clock_ns() + SYNC_NS);
	audit->is_dirty = true;
	return true;
}

static json_t *start_line(const char *stage)
{
	struct timespec now;
	struct tm utc;
	char text[64], whole[32];

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	strftime(whole, sizeof(whole), "%Y-%m-%dT%H:%M:%S", &utc);
	snprintf(text, sizeof(text), "%s.%03ldZ", whole, now.tv_nsec / 1000000);
	return json_pack("{s:s, s:s}", "time", text, "stage", stage);
}

static bool write_json(struct audit *audit, json_t *value)
{
	char *text = value ?
		json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(15)) :
		NULL;
	char *line = NULL;
	bool done;

	json_decref(value);
	if (text && asprintf(&line, "%s\n", text) < 0)
		line = NULL;
	free(text);
	done = line && append(audit, line);
	free(line);
	return done;
}

/* Takes 'value'. */
static void put(struct audit *audit, json_t *value)
{
	struct error text;
	const uint64_t lost = audit->lost;
	json_t *gap;

	if (lost > 0) {
		gap = start_line("lost");
		if (gap)
			json_object_set_new(gap, "lines",
					    json_integer((json_int_t)lost));
		if (!write_json(audit, gap)) {
			audit->lost++;
			json_decref(value);
			return;
		}
		audit->lost = 0;
		error_set(&text, 0, "audit: %s can be written again",
			  audit->path);
		audit->say(text.text);
	}
	if (write_json(audit, value))
		return;
	if (audit->lost++ == 0) {
		error_set(
			&text, 0,
			"audit: cannot write %s: %s: what is done from now on is not recorded",
			audit->path, strerror(errno));
		audit->say(text.text);
	}
}

/* --- Bodies -------------------------------------------------------------- */

static bool is_secret(const char *key)
{
	static const char *const words[] = {
		"secret", "password", "passphrase", "token", "psk", "key",
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcasestr(key, words[i]))
			return true;
	return false;
}

/* A new value, or NULL: no memory. */
static json_t *essence(const json_t *value, unsigned int depth)
{
	const char *key, *text = json_string_value(value);
	json_t *copy, *item;
	size_t i;

	if (depth >= DEPTH_MAX)
		return json_string("...");
	if (text && json_string_length(value) > AUDIT_TEXT_MAX) {
		/* Cut between two characters. */
		for (i = AUDIT_TEXT_MAX; i > 0 && (text[i] & 0xc0) == 0x80;)
			i--;
		return json_sprintf("%.*s...", (int)i, text);
	}
	if (json_is_array(value)) {
		copy = json_array();
		json_array_foreach((json_t *)(uintptr_t)value, i, item)
		{
			json_array_append_new(copy, essence(item, depth + 1));
		}
		return copy;
	}
	if (!json_is_object(value))
		return json_incref((json_t *)(uintptr_t)value);
	copy = json_object();
	json_object_foreach((json_t *)(uintptr_t)value, key, item)
	{
		json_object_set_new(copy, key,
				    is_secret(key) ? json_string("***") :
						     essence(item, depth + 1));
	}
	return copy;
}

/* --- What is recorded ---------------------------------------------------- */

static json_t *describe(const char *stage, const struct audit_request *request)
{
	json_t *value = start_line(stage);

	if (!value)
		return NULL;
	json_object_set_new(value, "who", api_who_json(request->who));
	if (!request->method)
		return value;
	json_object_set_new(value, "method", json_string(request->method));
	/* A stranger's path may be no UTF-8: then it is left out. */
	json_object_set_new(value, "path", json_string(request->path));
	return value;
}

uint64_t audit_asked(struct audit *audit, const struct audit_request *request,
		     const json_t *body)
{
	json_t *value;

	if (!audit)
		return 0;
	value = describe("asked", request);
	json_object_set_new(value, "id",
			    json_integer((json_int_t)++audit->number));
	if (json_object_size(body) > 0)
		json_object_set_new(value, "body", essence(body, 0));
	put(audit, value);
	return audit->number;
}

void audit_answered(struct audit *audit, uint64_t number,
		    const struct audit_request *request, unsigned int status,
		    const char *why)
{
	json_t *value;

	if (!audit)
		return;
	value = describe("answered", request);
	json_object_set_new(value, "id", json_integer((json_int_t)number));
	json_object_set_new(value, "status", json_integer((json_int_t)status));
	if (why)
		json_object_set_new(value, "error", json_string(why));
	put(audit, value);
}

/* One of AUDIT_REFUSALS_PER_S, with some in hand? */
static bool take_token(struct audit *audit)
{
	const uint64_t now_ns = loop_clock_ns();
	const uint64_t step_ns = SECOND_NS / AUDIT_REFUSALS_PER_S;
	const uint64_t more = (now_ns - audit->tokens_at_ns) / step_ns;

	audit->tokens_at_ns += more * step_ns;
	audit->tokens = more >= AUDIT_REFUSALS_BURST - audit->tokens ?
		AUDIT_REFUSALS_BURST :
		audit->tokens + (unsigned int)more;
	if (audit->tokens == 0)
		return false;
	audit->tokens--;
	return true;
}

bool audit_refused(struct audit *audit, const struct audit_request *request,
		   unsigned int status, const char *why)
{
	json_t *value;

	if (!audit)
		return true;
	if (!take_token(audit)) {
		audit->unwritten++;
		return false;
	}
	value = describe("refused", request);
	if (status)
		json_object_set_new(value, "status",
				    json_integer((json_int_t)status));
	json_object_set_new(value, "error", json_string(why));
	if (audit->unwritten > 0)
		json_object_set_new(value, "refused_before",
				    json_integer((json_int_t)audit->unwritten));
	audit->unwritten = 0;
	put(audit, value);
	return true;
}

void audit_changed(struct audit *audit, const char *by, const char *text)
{
	json_t *value;

	if (!audit)
		return;
	value = start_line("changed");
	json_object_set_new(value, "by", json_string(by));
	json_object_set_new(value, "text", json_string(text));
	put(audit, value);
}

/* --- Life ---------------------------------------------------------------- */

int audit_open(const struct audit_config *config, struct audit **ret_audit,
	       struct error *reterr)
{
	struct audit *audit = calloc(1, sizeof(*audit));
	int ret = -ENOMEM;

	if (!audit)
		return error_set(reterr, -ENOMEM, "out of memory");
	audit->loop = config->loop;
	audit->size_bytes = config->size_bytes;
	audit->keep = config->keep;
	audit->say = config->say;
	audit->fd = -1;
	audit->old_fd = -1;
	audit->op.done = on_synced;
	audit->tokens = AUDIT_REFUSALS_BURST;
	audit->tokens_at_ns = loop_clock_ns();
	audit->path = strdup(config->path);
	if (!audit->path ||
	    loop_timer_init(audit->loop, &audit->timer, on_timer) < 0) {
		error_set(reterr, -ENOMEM, "out of memory");
		goto err_after_calloc;
	}
	ret = open_file(audit);
	if (ret < 0) {
		error_set(reterr, ret, "audit: %s: %s", audit->path,
			  ret == -EINVAL ? "is there and is no file" :
					   strerror(-ret));
		goto err_after_timer;
	}
	*ret_audit = audit;
	return 0;

err_after_timer:
	loop_timer_finish(audit->loop, &audit->timer);
err_after_calloc:
	free(audit->path);
	free(audit);
	return ret;
}

void audit_close(struct audit *audit)
{
	if (!audit)
		return;
	if (audit->fd >= 0)
		(void)!fdatasync(audit->fd);
	/* The loop has ended: nobody waits for what is under way. */
	fd_close(&audit->fd);
	fd_close(&audit->old_fd);
	loop_timer_finish(audit->loop, &audit->timer);
	free(audit->path);
	free(audit);
}

void audit_reopen(struct audit *audit)
{
	struct error text;

	if (!audit)
		return;
	retire(audit);
	if (open_file(audit) < 0) {
		error_set(&text, 0, "audit: cannot open %s: %s", audit->path,
			  strerror(errno));
		audit->say(text.text);
	}
}
