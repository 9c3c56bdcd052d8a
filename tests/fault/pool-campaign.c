/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool-campaign.c - an endpoint is killed at random instants, thousands of
 * times, and nothing that was acknowledged is lost (E3, issue 3)
 *
 * usage: pool-campaign ENDPOINT PENSTOCK KILLS SEED
 *
 * Two guests write all the time (campaign.h): the first to a volume of which
 * snapshots are made and deleted, the second to one that is shortened and
 * lengthened; a thick one is made and deleted beside them; the log is so short
 * that it is compacted all the time.  After each kill: 'penstock pool check'
 * says that all is in order; those volumes are there that were acknowledged,
 * and no others; each cell has the last write that was done; each snapshot what
 * it had.  At the end nothing is left of deleted volumes: all of the device can
 * be promised again.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../func/endpoint-bench.h"
#include "campaign.h"
#include "ctl/ctl.h"

#define DEVICE_BYTES	(UINT64_C(80) << 20)
#define FIRST_EXTENTS	20U
#define LONG_EXTENTS	12U
#define SHORT_EXTENTS	5U
#define THICK_EXTENTS	4U
#define PER_LIFE_MAX	400	/* requests, at most, between two kills */
#define SPIN_MAX_NS	300000
#define PATIENCE_NS	UINT64_C(20000000000)

#define DEVICE_UUID	1U
#define FIRST_UUID	2U
#define SECOND_UUID	3U

enum kind { NOTHING, RESIZE, SNAPSHOT, UNSNAPSHOT, THICK, UNTHICK, KINDS };

static struct bench *bench;
static const char *checker;
static char file[64], paths[3][64];
static int listeners[3];
static struct guest first, second;
static enum kind asked;		/* and not answered */
static uint32_t wanted;		/* extents, of the second */
static uint32_t last_uuid = SECOND_UUID;
static uint32_t snapshot, thick;	/* UUIDs, if they are there */
static uint32_t pending;	/* UUID of what is being made or deleted */
static uint64_t answered[KINDS];
static uint64_t device_extents;

void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fprintf(stderr, "pool-campaign: ");
	vfprintf(stderr, format, args);
	fprintf(stderr, "\n");
	va_end(args);
	if (bench && bench->pid > 0)
		kill(bench->pid, SIGKILL);
	exit(1);
}

static uint64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* ---- as penstockd ---- */

static json_t *uuid_of(uint32_t number)
{
	char text[33];

	snprintf(text, sizeof(text), "%032x", number);
	return json_string(text);
}

static void ask_ok(json_t *request, int fd)
{
	json_t *reply = bench_ask(bench, request, fd);

	if (!json_is_true(json_object_get(reply, "ok")))
		die("refused: %s",
		    json_string_value(json_object_get(reply, "error")));
	json_decref(reply);
}

static json_t *vdev_add(const char *name, uint32_t uuid, uint64_t size_bytes,
			bool is_thick, bool is_read_only)
{
	return json_pack("{s:s, s:s, s:s, s:o, s:I, s:b, s:b, s:i}", "op",
			 "vdev-add", "name", name, "pool", "p", "uuid",
			 uuid_of(uuid), "size_bytes", (json_int_t)size_bytes,
			 "thick", is_thick, "read_only", is_read_only, "slot",
			 0);
}

static json_t *volume_delete(uint32_t uuid)
{
	return json_pack("{s:s, s:s, s:o}", "op", "volume-delete", "pool", "p",
			 "uuid", uuid_of(uuid));
}

static json_t *unlisten(const char *vdev)
{
	return json_pack("{s:s, s:s, s:s}", "op", "unlisten", "kind",
			 "vhost-user", "vdev", vdev);
}

static json_t *vdev_remove(const char *name)
{
	return json_pack("{s:s, s:s}", "op", "vdev-remove", "name", name);
}

static void listen_for(const char *vdev, int listener)
{
	ask_ok(json_pack("{s:s, s:s, s:s}", "op", "listen", "kind",
			 "vhost-user", "vdev", vdev),
	       listener);
}

/* Until the endpoint is no longer busy with something else there. */
static void insist(json_t *request)
{
	const uint64_t until_ns = clock_ns() + PATIENCE_NS;

	for (bool is_ok = false; !is_ok; sched_yield()) {
		json_t *reply = bench_ask(bench, json_incref(request), -1);

		is_ok = json_is_true(json_object_get(reply, "ok"));
		if (!is_ok &&
		    (json_integer_value(json_object_get(reply, "errno")) !=
			     EBUSY ||
		     clock_ns() > until_ns))
			die("refused: %s",
			    json_string_value(json_object_get(reply, "error")));
		json_decref(reply);
	}
	json_decref(request);
}

/* The lock is had when the last request of the dead one has landed. */
static int locked_file(void)
{
	int fd = open(file, O_RDWR | O_CLOEXEC);

	if (fd < 0 || flock(fd, LOCK_EX) < 0)
		die("%s: %s", file, strerror(errno));
	return fd;
}

static json_t *start_pool(bool is_blank)
{
	ask_ok(json_pack("{s:s, s:s, s:i}", "op", "pool-add", "name", "p",
			 "slot", 1),
	       -1);
	ask_ok(json_pack("{s:s, s:s, s:s, s:o, s:b, s:b, s:b}", "op",
			 "member-add", "pool", "p", "device", "m0", "uuid",
			 uuid_of(DEVICE_UUID), "known", !is_blank, "claim",
			 is_blank, "zeroed", true),
	       -1);
	return bench_ask(
		bench, json_pack("{s:s, s:s}", "op", "pool-start", "pool", "p"),
		-1);
}

/* The size of a volume in the listing, 0: it is not there. */
static uint64_t listed_bytes(const json_t *volumes, uint32_t uuid)
{
	const json_t *volume;
	char text[33];
	size_t i;

	snprintf(text, sizeof(text), "%032x", uuid);
	json_array_foreach(
		volumes, i,
		volume) if (!strcmp(json_string_value(json_object_get(volume,
								      "uuid")),
				    text)) return (uint64_t)
		json_integer_value(json_object_get(volume, "size_bytes"));
	return 0;
}

/* Just those that must be there, or may. */
static void check_volumes(const json_t *volumes)
{
	const uint32_t must[] = {FIRST_UUID, SECOND_UUID, snapshot, thick};
	size_t count = 0;

	for (size_t i = 0; i < sizeof(must) / sizeof(must[0]); i++) {
		if (!must[i])
			continue;
		if (listed_bytes(volumes, must[i]) == 0)
			die("volume %u is lost", must[i]);
		count++;
	}
	if (pending && listed_bytes(volumes, pending))
		count++;
	if (json_array_size(volumes) != count)
		die("%zu volumes are there instead of %zu",
		    json_array_size(volumes), count);
}

/* A change of size was under way: it was made, or not. */
static void see_size(uint64_t size_bytes)
{
	const uint32_t extents = (uint32_t)(size_bytes / EXTENT_BYTES);

	if (asked == RESIZE && extents == wanted && extents < LONG_EXTENTS)
		return;
	if (asked == RESIZE && extents == LONG_EXTENTS) {
		/* Was it to be shorter?  Then all of it is as it was. */
		if (wanted == LONG_EXTENTS)
			guest_lengthen(&second, extents);
		second.extents = extents;
		return;
	}
	if (extents != second.extents)
		die("a volume has %u extents instead of %u", extents,
		    second.extents);
}

static void bring_up(bool is_blank)
{
	json_t *reply, *volumes;
	uint64_t bytes = LONG_EXTENTS * EXTENT_BYTES;
	int fd = locked_file();

	ask_ok(json_pack("{s:s, s:s, s:s, s:I, s:i}", "op", "device-add",
			 "name", "m0", "kind", "file", "size_bytes",
			 (json_int_t)DEVICE_BYTES, "slot", 0),
	       fd);
	close(fd);
	reply = start_pool(is_blank);
	volumes = json_object_get(reply, "volumes");
	if (!json_is_true(json_object_get(reply, "ok")))
		die("the pool is refused: %s",
		    json_string_value(json_object_get(reply, "error")));
	if (!is_blank) {
		check_volumes(volumes);
		bytes = listed_bytes(volumes, SECOND_UUID);
		see_size(bytes);
	}
	json_decref(reply);
	ask_ok(vdev_add("vd0", FIRST_UUID, FIRST_EXTENTS * EXTENT_BYTES, false,
			false),
	       -1);
	ask_ok(vdev_add("vd1", SECOND_UUID, bytes, false, false), -1);
	listen_for("vd0", listeners[0]);
	listen_for("vd1", listeners[1]);
	if (pending)
		insist(volume_delete(pending));
	pending = 0;
	asked = NOTHING;
}

/* ---- changes under load ---- */

static void look_at_snapshot(void)
{
	ask_ok(vdev_add("snap", snapshot, FIRST_EXTENTS * EXTENT_BYTES, false,
			true),
	       -1);
	listen_for("snap", listeners[2]);
	guest_check_snapshot(&first, paths[2]);
	insist(unlisten("snap"));
	insist(vdev_remove("snap"));
}

static void send_request(enum kind kind, json_t *request)
{
	asked = kind;
	json_object_set_new(request, "id", json_integer(++bench->id));
	if (ctl_send(bench->connection, request, -1) < 0)
		die("the endpoint takes no requests");
	json_decref(request);
}

static void send_resize(void)
{
	send_request(RESIZE,
		     json_pack("{s:s, s:s, s:I}", "op", "vdev-resize", "name",
			       "vd1", "size_bytes",
			       (json_int_t)(wanted * EXTENT_BYTES)));
}

/* Only who is not connected has a disk that gets shorter. */
static void ask_resize(void)
{
	wanted = second.extents == LONG_EXTENTS ? SHORT_EXTENTS : LONG_EXTENTS;
	if (wanted < second.extents) {
		guest_finish(&second);
		guest_disconnect(&second);
		second.extents = wanted;
	}
	send_resize();
}

static void ask_snapshot(void)
{
	if (snapshot) {
		look_at_snapshot();
		pending = snapshot;
		snapshot = 0;
		first.is_watched = false;
		send_request(UNSNAPSHOT, volume_delete(pending));
		return;
	}
	pending = ++last_uuid;
	guest_watch(&first);
	send_request(SNAPSHOT,
		     json_pack("{s:s, s:s, s:o, s:s, s:o}", "op",
			       "volume-snapshot", "pool", "p", "uuid",
			       uuid_of(pending), "name", "snap", "of",
			       uuid_of(FIRST_UUID)));
}

static void ask_thick(void)
{
	if (thick) {
		pending = thick;
		thick = 0;
		send_request(UNTHICK, volume_delete(pending));
		return;
	}
	pending = ++last_uuid;
	send_request(THICK,
		     vdev_add("thick", pending, THICK_EXTENTS * EXTENT_BYTES,
			      true, false));
}

static void ask_something(void)
{
	switch (random() % 3) {
	case 0:
		ask_resize();
		return;
	case 1:
		ask_snapshot();
		return;
	default:
		ask_thick();
		return;
	}
}

static void was_done(enum kind kind)
{
	answered[kind]++;
	switch (kind) {
	case RESIZE:
		if (wanted > second.extents)
			guest_lengthen(&second, wanted);
		if (!second.client)
			guest_connect(&second);
		return;
	case SNAPSHOT:
		first.is_watched = false;
		snapshot = pending;
		pending = 0;
		look_at_snapshot();
		return;
	case THICK:
		thick = pending;
		pending = 0;
		insist(vdev_remove("thick"));
		return;
	case UNSNAPSHOT:
	case UNTHICK:
		pending = 0;
		return;
	case NOTHING:
	case KINDS:
		return;
	}
}

/* The endpoint was busy with it still since its start. */
static void was_refused(enum kind kind, const json_t *reply)
{
	const json_int_t code =
		json_integer_value(json_object_get(reply, "errno"));

	if (code != EBUSY)
		die("a change (%d) is refused: %s", kind,
		    json_string_value(json_object_get(reply, "error")));
	switch (kind) {
	case RESIZE:
		/* The guest's going has not been noticed. */
		if (!second.client)
			send_resize();
		return;
	case SNAPSHOT:
		first.is_watched = false;
		pending = 0;
		return;
	case UNSNAPSHOT:
	case UNTHICK:
		insist(volume_delete(pending));
		pending = 0;
		return;
	case THICK:
	case NOTHING:
	case KINDS:
		die("it must not be busy: %d", kind);
	}
}

/* Has the endpoint answered? */
static void hear(void)
{
	struct pollfd ready = {.fd = bench->connection, .events = POLLIN};
	const enum kind kind = asked;
	json_t *reply;

	while (asked != NOTHING && poll(&ready, 1, 0) == 1) {
		if (ctl_receive(bench->connection, &reply, &bench->fd) < 0)
			die("the endpoint has died by itself");
		if (json_object_get(reply, "id")) {
			asked = NOTHING;
			if (json_is_true(json_object_get(reply, "ok")))
				was_done(kind);
			else
				was_refused(kind, reply);
		}
		json_decref(reply);
	}
}

/* ---- lives ---- */

static void live(void)
{
	const long requests = random() % PER_LIFE_MAX;
	const uint64_t spin_ns = (uint64_t)random() % SPIN_MAX_NS;
	uint64_t began_ns;

	for (long done = 0; done < requests;) {
		const bool first_did = guest_turn(&first);
		const bool second_did = guest_turn(&second);

		done += first_did + second_did;
		if (!first_did && !second_did)
			sched_yield();
		hear();
		if (asked == NOTHING && random() % 8 == 0)
			ask_something();
	}
	began_ns = clock_ns();
	while (clock_ns() - began_ns < spin_ns)
		;
}

static void kill_it(void)
{
	kill(bench->pid, SIGKILL);
	waitpid(bench->pid, NULL, 0);
	bench->pid = 0;
}

/* Returns what it says in JSON of the device. */
static json_t *check(void)
{
	char command[256];
	json_t *says, *device;
	FILE *pipe;
	int fd = locked_file();

	close(fd);
	snprintf(command, sizeof(command), "'%s' pool check --json '%s'",
		 checker, file);
	pipe = popen(command, "r");
	if (!pipe)
		die("%s: %s", checker, strerror(errno));
	says = json_loadf(pipe, 0, NULL);
	if (pclose(pipe) != 0 || !says)
		die("the checker says: %s",
		    says ? json_dumps(says, 0) : "nothing");
	device = json_incref(
		json_array_get(json_object_get(says, "devices"), 0));
	json_decref(says);
	return device;
}

static uint64_t extents_of(const json_t *device, const char *what)
{
	return (uint64_t)json_integer_value(json_object_get(device, what));
}

static void next_life(void)
{
	json_t *device;

	kill_it();
	device = check();
	device_extents = extents_of(device, "extents");
	json_decref(device);
	bench_restart(bench);
	bring_up(false);
	guest_reconnect(&first);
	if (second.client)
		guest_reconnect(&second);
	else
		guest_connect(&second);
	if (snapshot && random() % 4 == 0)
		look_at_snapshot();
}

/* ---- the end ---- */

static void read_all(struct guest *guest)
{
	guest_finish(guest);
	guest_check_all(guest);
	guest_disconnect(guest);
}

/* What was deleted is free: all of it can be promised, and is. */
static void check_leaks(void)
{
	json_t *device;

	insist(unlisten("vd0"));
	insist(unlisten("vd1"));
	insist(vdev_remove("vd0"));
	insist(vdev_remove("vd1"));
	insist(volume_delete(FIRST_UUID));
	insist(volume_delete(SECOND_UUID));
	if (snapshot)
		insist(volume_delete(snapshot));
	if (thick)
		insist(volume_delete(thick));
	ask_ok(vdev_add("all", ++last_uuid, device_extents * EXTENT_BYTES, true,
			false),
	       -1);
	insist(vdev_remove("all"));
	insist(volume_delete(last_uuid));
	kill_it();
	device = check();
	if (extents_of(device, "mapped") != 0 ||
	    extents_of(device, "clean") + extents_of(device, "dirty") !=
		    device_extents)
		die("extents are left: %s", json_dumps(device, 0));
	json_decref(device);
}

static void set_up(void)
{
	int fd;

	snprintf(file, sizeof(file), "%s/device", bench->directory);
	fd = open(file, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)DEVICE_BYTES) < 0)
		die("%s: %s", file, strerror(errno));
	close(fd);
	for (int i = 0; i < 3; i++) {
		struct sockaddr_un address = {.sun_family = AF_UNIX};

		snprintf(paths[i], sizeof(paths[i]), "%s/vd%d.sock",
			 bench->directory, i);
		strcpy(address.sun_path, paths[i]);
		listeners[i] = bench_listener(&address, SOCK_STREAM);
	}
	guest_init(&first, "first", paths[0], FIRST_EXTENTS);
	guest_init(&second, "second", paths[1], LONG_EXTENTS);
}

static void tidy_up(void)
{
	unlink(file);
	for (int i = 0; i < 3; i++)
		unlink(paths[i]);
	bench_teardown((void **)&bench);
}

int main(int argc, char **argv)
{
	const long kills = argc == 5 ? atol(argv[3]) : 0;
	const uint64_t began_ns = clock_ns();
	double seconds;

	if (kills <= 0)
		die("usage: pool-campaign ENDPOINT PENSTOCK KILLS SEED");
	bench_program = argv[1];
	checker = argv[2];
	srandom((unsigned int)atol(argv[4]));
	signal(SIGPIPE, SIG_IGN);
	bench_setup((void **)&bench);
	set_up();
	bring_up(true);
	guest_connect(&first);
	guest_connect(&second);
	for (long i = 0; i < kills; i++) {
		live();
		next_life();
	}
	live();
	while (asked != NOTHING)
		hear();
	read_all(&first);
	read_all(&second);
	check_leaks();
	seconds = (double)(clock_ns() - began_ns) / 1e9;
	printf("%ld kills in %.0f s: %llu writes, %llu discards, %llu reads, %llu flushes; %llu resizes, %llu snapshots made and %llu deleted, %llu thick volumes made and %llu deleted\n",
	       kills, seconds,
	       (unsigned long long)(first.writes + second.writes),
	       (unsigned long long)(first.discards + second.discards),
	       (unsigned long long)(first.reads + second.reads),
	       (unsigned long long)(first.flushes + second.flushes),
	       (unsigned long long)answered[RESIZE],
	       (unsigned long long)answered[SNAPSHOT],
	       (unsigned long long)answered[UNSNAPSHOT],
	       (unsigned long long)answered[THICK],
	       (unsigned long long)answered[UNTHICK]);
	printf("0 acknowledged writes lost, 0 leaks\n");
	tidy_up();
	return 0;
}
