/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image.c - qemu-img, run by us as the calling user
 *
 * Its standard output is read for what it found or how far it is, its standard
 * error for the reason, of which the last line is kept.  It dies when we do.
 */
#include "cli/image.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/fd.h"

#define PROGRAM "qemu-img"
#define OUTPUT_MAX 65536U /* of "info" */
#define LINE_MAX_BYTES 400U
#define NOT_STARTED 127

struct running {
	const char *what; /* shown with the percentage, or NULL */
	char *output; /* collected, or NULL */
	size_t length;
	char line[LINE_MAX_BYTES]; /* of either, as it comes */
	size_t line_length;
	char reason[LINE_MAX_BYTES]; /* the last line of errors */
	size_t reason_length;
	bool reason_ended;
};

/* --- Signals ------------------------------------------------------------- */

static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
static struct sigaction before[sizeof(signals) / sizeof(signals[0])];
static sigset_t mask_before;
static volatile sig_atomic_t is_interrupted;

static void on_signal(int number)
{
	(void)number;
	is_interrupted = 1;
}

static sigset_t our_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaddset(&set, signals[i]);
	return set;
}

/* They are delivered while we wait, and nowhere else. */
void image_begin(void)
{
	const struct sigaction action = {.sa_handler = on_signal};
	const sigset_t ours = our_signals();

	sigprocmask(SIG_BLOCK, &ours, &mask_before);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		sigaction(signals[i], NULL, &before[i]);
		/* nohup stays */
		if (before[i].sa_handler != SIG_IGN)
			sigaction(signals[i], &action, NULL);
	}
	is_interrupted = 0;
}

void image_end(void)
{
	const struct sigaction ignore = {.sa_handler = SIG_IGN};

	/* What came in the last moment has ended what there was to end. */
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		sigaction(signals[i], &ignore, NULL);
		sigaction(signals[i], &before[i], NULL);
	}
	sigprocmask(SIG_SETMASK, &mask_before, NULL);
}

/* --- Running it ---------------------------------------------------------- */

static void child(const char *const *args, const int *fds, pid_t parent)
{
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaction(signals[i], &before[i], NULL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(NOT_STARTED);
	dup2(fds[0], STDOUT_FILENO);
	dup2(fds[1], STDERR_FILENO);
	sigprocmask(SIG_SETMASK, &mask_before, NULL);
	setenv("LC_ALL", "C", 1);
	execvp(args[0], (char *const *)(uintptr_t)args);
	_exit(NOT_STARTED);
}

/* "    (12.34/100%)" */
static void show_progress(const struct running *running)
{
	const char *at = strchr(running->line, '(');
	double percent;

	if (running->what && at && sscanf(at, "(%lf/100%%)", &percent) == 1)
		fprintf(stderr, "\r%s: %5.1f %% ", running->what, percent);
}

static void take_output(struct running *running, const char *data,
			size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (running->output && running->length < OUTPUT_MAX - 1)
			running->output[running->length++] = data[i];
		if (data[i] != '\r' && data[i] != '\n') {
			if (running->line_length < LINE_MAX_BYTES - 1)
				running->line[running->line_length++] = data[i];
			continue;
		}
		running->line[running->line_length] = '\0';
		running->line_length = 0;
		show_progress(running);
	}
}

static void take_error(struct running *running, const char *data, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (data[i] == '\n') {
			running->reason_ended = true;
			continue;
		}
		if (running->reason_ended)
			running->reason_length = 0;
		running->reason_ended = false;
		if (running->reason_length < LINE_MAX_BYTES - 1)
			running->reason[running->reason_length++] = data[i];
	}
	running->reason[running->reason_length] = '\0';
}

/* Returns whether there is more to come. */
static bool take(struct running *running, struct pollfd *poll, bool is_error)
{
	char data[4096];
	ssize_t length;

	if (!poll->revents)
		return true;
	length = read(poll->fd, data, sizeof(data));
	if (length <= 0) {
		poll->fd = -1;
		return false;
	}
	(is_error ? take_error : take_output)(running, data, (size_t)length);
	return true;
}

/* Until both ends are closed. */
static void listen_to(struct running *running, pid_t pid, int out, int err)
{
	struct pollfd fds[2] = {{out, POLLIN, 0}, {err, POLLIN, 0}};
	bool told = false;

	while (fds[0].fd >= 0 || fds[1].fd >= 0) {
		fds[0].revents = fds[1].revents = 0;
		if (ppoll(fds, 2, NULL, &mask_before) < 0 && errno != EINTR)
			break;
		if (is_interrupted && !told) {
			told = true;
			kill(pid, SIGTERM);
		}
		take(running, &fds[0], false);
		take(running, &fds[1], true);
	}
}

static bool was_interrupted(int status)
{
	sigset_t pending;

	if (is_interrupted)
		return true;
	sigpending(&pending);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		if (sigismember(&pending, signals[i]) == 1 ||
		    (WIFSIGNALED(status) && WTERMSIG(status) == signals[i]))
			return true;
	return false;
}

static int judge(const struct running *running, int status,
		 struct error *reterr)
{
	const char *reason = running->reason;

	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (was_interrupted(status))
		return error_set(reterr, -EINTR, "interrupted");
	if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_STARTED)
		return error_set(
			reterr, -ENOENT,
			PROGRAM
			" is not there: install qemu-utils (Debian, Ubuntu) or qemu-img (Fedora, SUSE: qemu-tools)");
	if (strncmp(reason, PROGRAM ": ", strlen(PROGRAM ": ")) == 0)
		reason += strlen(PROGRAM ": ");
	if (reason[0])
		return error_set(reterr, -EIO, "%s", reason);
	return error_set(reterr, -EIO, PROGRAM " ended with %s %d",
			 WIFSIGNALED(status) ? "signal" : "status",
			 WIFSIGNALED(status) ? WTERMSIG(status) :
					       WEXITSTATUS(status));
}

static int run(const char *const *args, struct running *running,
	       struct error *reterr)
{
	fd_cleanup int out_read = -1, out_write = -1;
	fd_cleanup int err_read = -1, err_write = -1;
	const pid_t parent = getpid();
	int fds[2], status = 0;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return error_set(reterr, -errno, "a pipe: %s", strerror(errno));
	out_read = fds[0];
	out_write = fds[1];
	if (pipe2(fds, O_CLOEXEC) < 0)
		return error_set(reterr, -errno, "a pipe: %s", strerror(errno));
	err_read = fds[0];
	err_write = fds[1];
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		return error_set(reterr, -errno, "a process: %s",
				 strerror(errno));
	if (pid == 0) {
		fds[0] = out_write;
		child(args, fds, parent);
	}
	close(fd_steal(&out_write));
	close(fd_steal(&err_write));
	listen_to(running, pid, out_read, err_read);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return judge(running, status, reterr);
}

/* --- What is asked for --------------------------------------------------- */

static const char *const formats[] = {"raw",  "qcow2", "vmdk", "vdi",
				      "vhdx", "vpc",   "qed"};
#define TARGETS 6U /* of them, the first can be written */

bool image_knows(const char *format, bool is_target)
{
	const size_t count =
		is_target ? TARGETS : sizeof(formats) / sizeof(formats[0]);

	for (size_t i = 0; i < count; i++)
		if (strcmp(formats[i], format) == 0)
			return true;
	return false;
}

const char *image_formats(bool is_target)
{
	return is_target ? "raw, qcow2, vmdk, vdi, vhdx or vpc" :
			   "raw, qcow2, vmdk, vdi, vhdx, vpc or qed";
}

static int read_info(const char *text, struct image_info *ret_info,
		     struct error *reterr)
{
	json_t *value = json_loads(text, 0, NULL);
	const char *format =
		json_string_value(json_object_get(value, "format"));
	const char *backing =
		json_string_value(json_object_get(value, "backing-filename"));
	const json_t *specific = json_object_get(
		json_object_get(value, "format-specific"), "data");
	const json_t *size = json_object_get(value, "virtual-size");
	int ret = 0;

	if (!backing)
		backing = json_string_value(
			json_object_get(specific, "data-file"));
	if (!format || !json_is_integer(size))
		ret = error_set(reterr, -EIO,
				PROGRAM " says nothing that is understood");
	if (ret == 0) {
		*ret_info = (struct image_info){
			.size_bytes = (uint64_t)json_integer_value(size),
		};
		snprintf(ret_info->format, sizeof(ret_info->format), "%s",
			 format);
		snprintf(ret_info->backing, sizeof(ret_info->backing), "%s",
			 backing ? backing : "");
	}
	json_decref(value);
	return ret;
}

int image_look(const char *file, const char *format,
	       struct image_info *ret_info, struct error *reterr)
{
	const char *args[8] = {PROGRAM, "info", "--output=json"};
	struct running running = {.output = malloc(OUTPUT_MAX)};
	unsigned int count = 3;
	int ret;

	if (!running.output)
		return error_set(reterr, -ENOMEM, "out of memory");
	if (format) {
		args[count++] = "-f";
		args[count++] = format;
	}
	args[count++] = file;
	ret = run(args, &running, reterr);
	running.output[running.length] = '\0';
	if (ret == 0)
		ret = read_info(running.output, ret_info, reterr);
	free(running.output);
	return ret;
}

int image_convert(const char *const *args, const char *what,
		  struct error *reterr)
{
	const char *all[IMAGE_ARGS_MAX + 4] = {PROGRAM, "convert", "-p"};
	struct running running = {.what = what};
	int ret;

	for (unsigned int i = 0; args[i]; i++) {
		assert(i < IMAGE_ARGS_MAX);
		all[i + 3] = args[i];
	}
	ret = run(all, &running, reterr);
	if (what)
		fprintf(stderr, "\r%*s\r", (int)strlen(what) + 12, "");
	return ret;
}
