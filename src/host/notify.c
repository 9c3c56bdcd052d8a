/* SPDX-License-Identifier: Apache-2.0 */
/* notify.c - see notify.h */
#include "host/notify.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/container.h"
#include "os/fd.h"

#define STATUS_NS	UINT64_C(5000000000)
#define WATCHDOG_MIN_NS	UINT64_C(10000000)

static void tell(const char *text)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t length = path ? strlen(path) : 0;
	fd_cleanup int fd = -1;

	if (length < 2 || length >= sizeof(address.sun_path) ||
	    (path[0] != '/' && path[0] != '@'))
		return;
	memcpy(address.sun_path, path, length);
	if (path[0] == '@')
		address.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	/* Not waited for: whoever does not read it is not helped by it. */
	if (sendto(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT,
		   (struct sockaddr *)&address,
		   (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
			       length)) < 0 &&
	    errno != EAGAIN)
		fprintf(stderr, "penstockd: $NOTIFY_SOCKET %s: %s\n", path,
			strerror(errno));
}

/* How long between two signs of life, or 0. */
static uint64_t read_watchdog(void)
{
	const char *usec = getenv("WATCHDOG_USEC");
	const char *pid = getenv("WATCHDOG_PID");
	uint64_t interval_ns;

	if (!usec || (pid && strtol(pid, NULL, 10) != (long)getpid()))
		return 0;
	interval_ns = strtoull(usec, NULL, 10) * 500;	/* half of it */
	return interval_ns && interval_ns < WATCHDOG_MIN_NS ? WATCHDOG_MIN_NS :
							      interval_ns;
}

static long long number(const json_t *object, const char *key)
{
	return (long long)json_integer_value(json_object_get(object, key));
}

/* "3 promises kept, 0 broken; ..." */
static void describe(const struct notify *notify, char *text, size_t size)
{
	json_t *status = host_status(notify->host);
	const json_t *processes = json_object_get(status, "processes");

	snprintf(
		text, size,
		"%lld processes bound: %lld kept, %lld broken, %lld too few requests to say; %lld refused%s",
		number(processes, "bound"), number(processes, "kept"),
		number(processes, "broken"), number(processes, "unknown"),
		number(processes, "refused"),
		json_is_false(json_object_get(status, "enforce")) ?
			"; PROMISES ARE NOT ENFORCED" :
			"");
	json_decref(status);
}

static void tell_status(struct notify *notify)
{
	char text[sizeof(notify->status)];
	char line[sizeof(text) + 16];

	describe(notify, text, sizeof(text));
	if (strcmp(text, notify->status) == 0)
		return;
	strcpy(notify->status, text);
	snprintf(line, sizeof(line), "STATUS=%s", text);
	tell(line);
}

static void on_timer(struct loop_timer *timer, uint64_t now_ns)
{
	struct notify *notify = container_of(timer, struct notify, timer);
	uint64_t next_ns;

	if (now_ns >= notify->beat_at_ns) {
		tell("WATCHDOG=1");
		notify->beat_at_ns = now_ns + notify->watchdog_ns;
	}
	if (now_ns >= notify->status_at_ns) {
		if (notify->is_ready)
			tell_status(notify);
		notify->status_at_ns = now_ns + STATUS_NS;
	}
	next_ns = notify->beat_at_ns < notify->status_at_ns ?
		notify->beat_at_ns :
		notify->status_at_ns;
	loop_timer_set(notify->loop, timer, next_ns);
}

int notify_start(struct notify *notify, struct loop *loop, struct host *host)
{
	int ret;

	if (!getenv("NOTIFY_SOCKET"))
		return 0;
	ret = loop_timer_init(loop, &notify->timer, on_timer);
	if (ret < 0)
		return ret;
	notify->loop = loop;
	notify->host = host;
	notify->watchdog_ns = read_watchdog();
	notify->beat_at_ns = notify->watchdog_ns ? 0 : UINT64_MAX;
	loop_timer_set(loop, &notify->timer, loop_clock_ns());
	return 0;
}

void notify_finish(struct notify *notify)
{
	if (notify->loop)
		loop_timer_finish(notify->loop, &notify->timer);
	notify->loop = NULL;
}

void notify_ready(struct notify *notify)
{
	tell("READY=1");
	notify->is_ready = true;
	if (notify->loop)
		tell_status(notify);
}

void notify_stopping(struct notify *notify, const char *why)
{
	char line[128];

	/* What it was is no longer so. */
	notify->is_ready = false;
	snprintf(line, sizeof(line), "STOPPING=1\nSTATUS=%s", why);
	tell(line);
}

void notify_reloading(struct notify *notify)
{
	char line[64];

	(void)notify;
	snprintf(line, sizeof(line), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
		 loop_clock_ns() / 1000);
	tell(line);
}

void notify_reloaded(struct notify *notify)
{
	if (notify->is_ready)
		tell("READY=1");
}
