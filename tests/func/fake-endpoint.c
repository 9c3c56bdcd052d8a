/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake-endpoint.c - an endpoint that serves nothing, for tests of penstockd
 *
 * Says what docs/control.md asks for and remembers it; every device measures
 * the same (10,000 IOPS or, for reads and writes, the numbers in a file 'iops';
 * 100 MB/s, p95 and p99 of 1 ms).  Each request goes
 * into the file 'ops' of the working directory, a line each.  A front that
 * connects to a way in makes it tell of a session; of those that are there it
 * tells again right after 'hello', and in its list; with a file 'brief' (once)
 * it tells of one only when that has gone.  If there is a file 'old',
 * it is of the first version (once); with a file 'lie-pid' it gives the process
 * number in it as its own, with a file 'lie-slot' it has a process at a slot
 * outside the statistics (both once).  While there is a file 'slow', a
 * measurement goes on; its end is a line 'measured' in 'ops'.  With files that
 * hold the name of an op, each once: 'hold': it is neither carried out nor
 * answered, 'hold-done': carried out and not answered, 'refuse': answered with
 * an error (EBUSY, or the number behind the op).  So is a way in to a vdev
 * that is not there.  Pools: fake-pools.h; how full they are, in percent, is in
 * a file 'level'.
 */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctl/ctl.h"
#include "ctl/stats.h"
#include "fake-pools.h"

#define WAYS_MAX	32U
#define PATIENCE_MS	20

static struct way {
	char *vdev, *kind;
	json_int_t pasid;
	int fd, session;		/* -1: none */
} ways[WAYS_MAX];
static unsigned int way_count;

static struct {
	const char *name;
	int connection;			/* -1: none */
	json_t *devices, *vdevs, *processes;
	json_t *descriptors;		/* device: number */
	json_t *measured;		/* the request; NULL: none */
	bool is_measured;		/* but nobody took the result */
	json_int_t measured_id;
	int measured_connection;
} fake;

static const char *text_of(const json_t *item, const char *key)
{
	const char *text = json_string_value(json_object_get(item, key));

	return text ? text : "";
}

static void note(const json_t *request)
{
	FILE *ops = fopen("ops", "a");

	if (!ops)
		return;
	json_dumpf(request, ops, JSON_COMPACT | JSON_SORT_KEYS);
	fputc('\n', ops);
	fclose(ops);
}

static json_t *say_way(const struct way *way)
{
	return json_pack("{s:s, s:s, s:I, s:i, s:b}", "kind", way->kind, "vdev",
			 way->vdev, "pasid", way->pasid, "sessions",
			 way->session >= 0, "attached", way->session >= 0);
}

static void tell_session(const struct way *way)
{
	json_t *event = say_way(way);

	json_object_set_new(event, "event", json_string("session"));
	if (fake.connection >= 0)
		ctl_send(fake.connection, event, -1);
	json_decref(event);
}

/* Remember, in 'table', the request that made 'key'. */
static void remember(json_t *table, const char *key, const json_t *request)
{
	json_t *said = json_copy((json_t *)(uintptr_t)request);

	json_object_del(said, "id");
	if (json_object_get(table, key))
		json_object_update(json_object_get(table, key), said);
	else
		json_object_set(table, key, said);
	json_decref(said);
}

static json_t *values_of(const json_t *table)
{
	json_t *array = json_array(), *value;
	const char *key;

	json_object_foreach((json_t *)(uintptr_t)table, key, value)
		json_array_append(array, value);
	return array;
}

/* What a file 'iops' says it measures; 10,000. */
static json_t *capacity(void)
{
	static const char text[] =
		"{\"read\": [{\"depth\": 1, \"iops\": 10000, \"p95_ns\": 1000000, \"p99_ns\": 1000000}],"
		" \"write\": [{\"depth\": 1, \"iops\": 10000, \"p95_ns\": 1000000, \"p99_ns\": 1000000}],"
		" \"read_bytes_per_s\": 100000000, \"write_bytes_per_s\": 100000000,"
		" \"short\": true, \"read_measured\": true, \"write_measured\": true}";

	json_t *table = json_loads(text, 0, NULL);
	FILE *file = fopen("iops", "r");
	int iops;

	if (!file)
		return table;
	for (int d = 0; fscanf(file, "%d", &iops) == 1 && d < 2; d++) {
		json_t *points =
			json_object_get(table, d == 0 ? "read" : "write");

		json_object_set_new(json_array_get(points, 0), "iops",
				    json_integer(iops));
	}
	fclose(file);
	return table;
}

/* --- Measuring ----------------------------------------------------------- */

/* Answer, if whoever asked last is still there. */
static void measured(void)
{
	json_t *reply;

	fake.is_measured = true;
	if (fake.connection < 0 || fake.connection != fake.measured_connection)
		return;
	reply = json_pack("{s:I, s:b, s:o}", "id", fake.measured_id, "ok", 1,
			  "capacity", capacity());
	ctl_send(fake.connection, reply, -1);
	json_decref(reply);
}

static void measure(const json_t *request)
{
	json_t *said = json_copy((json_t *)(uintptr_t)request);

	json_object_del(said, "id");
	fake.measured_id = json_integer_value(json_object_get(request, "id"));
	fake.measured_connection = fake.connection;
	if (!fake.measured || !json_equal(fake.measured, said))
		fake.is_measured = false;
	json_decref(fake.measured);
	fake.measured = said;
	if (fake.is_measured || access("slow", F_OK) < 0)
		measured();
}

/* Looked at now and then. */
static void measure_on(void)
{
	FILE *ops;

	if (!fake.measured || fake.is_measured || access("slow", F_OK) == 0)
		return;
	ops = fopen("ops", "a");
	if (ops) {
		fprintf(ops, "measured %s\n", text_of(fake.measured, "name"));
		fclose(ops);
	}
	measured();
}

static void forget_measured(void)
{
	json_decref(fake.measured);
	fake.measured = NULL;
	fake.is_measured = false;
}

static void list_measured(json_t *devices)
{
	json_t *device;
	size_t i;

	json_array_foreach(devices, i, device)
	{
		if (!fake.measured ||
		    strcmp(text_of(device, "name"),
			   text_of(fake.measured, "name")) != 0)
			continue;
		device = json_copy(device);
		json_object_set_new(device, "calibrating",
				    json_boolean(!fake.is_measured));
		json_object_set(device, "calibration", fake.measured);
		json_array_set_new(devices, i, device);
	}
}

/* --- Ways in ------------------------------------------------------------- */

static const char *kind_of(const json_t *request)
{
	const bool is_asked = strcmp(text_of(request, "op"), "descriptor") == 0;
	const char *kind = text_of(request, is_asked ? "way" : "kind");

	return *kind ? kind : "vhost-user";
}

static struct way *find_way(const json_t *request)
{
	const char *kind = kind_of(request);
	json_int_t pasid =
		json_integer_value(json_object_get(request, "pasid"));
	unsigned int i;

	for (i = 0; i < way_count; i++)
		if (ways[i].fd >= 0 && ways[i].pasid == pasid &&
		    strcmp(ways[i].kind, kind) == 0 &&
		    strcmp(ways[i].vdev, text_of(request, "vdev")) == 0)
			return &ways[i];
	return NULL;
}

static void add_way(const json_t *request, int fd)
{
	struct way *way = &ways[way_count];

	if (find_way(request) || way_count == WAYS_MAX) {
		close(fd);
		return;
	}
	way_count++;
	way->vdev = strdup(text_of(request, "vdev"));
	way->kind = strdup(kind_of(request));
	way->pasid = json_integer_value(json_object_get(request, "pasid"));
	way->fd = fd;
	way->session = -1;
}

static void remove_way(const json_t *request)
{
	struct way *way = find_way(request);

	if (!way)
		return;
	close(way->fd);
	way->fd = -1;
	if (way->session >= 0)
		close(way->session);
	way->session = -1;
}

static void answer_list(json_t *reply)
{
	json_t *listeners = json_array();
	json_t *processes = values_of(fake.processes);
	unsigned int i;

	for (i = 0; i < way_count; i++)
		if (ways[i].fd >= 0)
			json_array_append_new(listeners, say_way(&ways[i]));
	if (unlink("lie-slot") == 0)
		json_array_append_new(
			processes,
			json_pack("{s:i, s:i}", "pasid", 77, "slot", 1 << 30));
	json_object_set_new(reply, "devices", values_of(fake.devices));
	list_measured(json_object_get(reply, "devices"));
	json_object_set_new(reply, "vdevs", values_of(fake.vdevs));
	fake_pools_list(reply);
	json_object_set_new(reply, "processes", processes);
	json_object_set_new(reply, "listeners", listeners);
	json_object_set_new(reply, "enforce", json_true());
}

static int said_pid(void)
{
	FILE *lie = fopen("lie-pid", "r");
	int pid = getpid();

	if (!lie)
		return pid;
	if (fscanf(lie, "%d", &pid) != 1)
		pid = 0;
	fclose(lie);
	unlink("lie-pid");
	return pid;
}

static void answer_hello(json_t *reply)
{
	int version = unlink("old") == 0 ? 1 : CTL_VERSION;

	json_object_set_new(reply, "version", json_integer(version));
	json_object_set_new(reply, "pid", json_integer(said_pid()));
	json_object_set_new(reply, "name", json_string(fake.name));
}

/* Which descriptor goes along with the reply. */
static int wanted(const json_t *request)
{
	const char *kind = text_of(request, "kind");
	const struct way *way;

	if (strcmp(kind, "stats") == 0)
		return CTL_STATS_FD;
	if (strcmp(kind, "listener") == 0) {
		way = find_way(request);
		return way ? way->fd : -1;
	}
	return (int)json_integer_value(
		json_object_get(fake.descriptors, text_of(request, "name")));
}

static void add_device(const json_t *request, json_t *reply, int *fd)
{
	const char *name = text_of(request, "name");

	remember(fake.devices, name, request);
	json_object_set_new(fake.descriptors, name, json_integer(*fd));
	*fd = -1;
	json_object_set(reply, "size_bytes",
			json_object_get(request, "size_bytes"));
}

/* Its lock goes with it. */
static void remove_device(const char *name)
{
	const json_t *fd = json_object_get(fake.descriptors, name);

	if (json_integer_value(fd) > 0)
		close((int)json_integer_value(fd));
	json_object_del(fake.descriptors, name);
	json_object_del(fake.devices, name);
}

/* Is this op in the file?  Then it is not asked about again. */
static bool is_told(const char *path, const char *op, int *ret_errno)
{
	FILE *file = fopen(path, "r");
	char word[32] = "";
	bool is_it;

	if (!file)
		return false;
	is_it = fscanf(file, "%31s %d", word, ret_errno) >= 1 &&
		strcmp(word, op) == 0;
	fclose(file);
	if (is_it)
		unlink(path);
	return is_it;
}

/* Carry it out; '*fd' came along, the one returned goes back. */
static int carry_out(const json_t *request, int *fd, json_t *reply)
{
	const char *op = text_of(request, "op");
	const char *name = text_of(request, "name");
	char pasid[24];
	int back = -1;

	snprintf(pasid, sizeof(pasid), "%lld",
		 (long long)json_integer_value(
			 json_object_get(request, "pasid")));
	if (strcmp(op, "hello") == 0)
		answer_hello(reply);
	else if (strcmp(op, "list") == 0)
		answer_list(reply);
	else if (strcmp(op, "descriptor") == 0)
		back = wanted(request);
	else if (strcmp(op, "device-add") == 0)
		add_device(request, reply, fd);
	else if (strcmp(op, "device-calibrate") == 0)
		measure(request);
	else if (strcmp(op, "device-capacity") == 0)
		forget_measured();
	else if (strcmp(op, "device-remove") == 0)
		remove_device(name);
	else if (strcmp(op, "vdev-add") == 0 || strcmp(op, "vdev-resize") == 0)
		remember(fake.vdevs, name, request);
	else if (strcmp(op, "vdev-remove") == 0)
		json_object_del(fake.vdevs, name);
	else if (strcmp(op, "process-add") == 0 ||
		 strcmp(op, "process-update") == 0)
		remember(fake.processes, pasid, request);
	else if (strcmp(op, "process-remove") == 0)
		json_object_del(fake.processes, pasid);
	else if (strcmp(op, "unlisten") == 0)
		remove_way(request);
	if (strcmp(op, "listen") == 0) {
		add_way(request, *fd);
		*fd = -1;
	}
	return back;
}

static void say_refused(json_t *reply, int error, const char *text)
{
	json_object_set_new(reply, "ok", json_false());
	json_object_set_new(reply, "errno", json_integer(error));
	json_object_set_new(reply, "error", json_string(text));
}

static void handle(const json_t *request, int fd)
{
	const char *op = text_of(request, "op");
	json_t *reply = json_pack("{s:O, s:b}", "id",
				  json_object_get(request, "id"), "ok", 1);
	int error = EBUSY;
	bool is_held = is_told("hold", op, &error);
	bool is_refused = is_told("refuse", op, &error);
	/* What is measured is answered when it is done. */
	bool is_silent = is_held || is_told("hold-done", op, &error) ||
		(!is_refused && strcmp(op, "device-calibrate") == 0);
	unsigned int i;
	int back = -1;

	note(request);
	if (!is_held && strcmp(op, "listen") == 0 &&
	    !json_object_get(fake.vdevs, text_of(request, "vdev"))) {
		is_refused = true;
		error = ENOENT;
	}
	if (is_refused) {
		say_refused(reply, error, "not now");
	} else if (!is_held) {
		const int ret = fake_pools(request, fake.devices,
					   fake.descriptors, reply);

		if (ret < 0)
			say_refused(reply, -ret, "not so");
		else
			back = carry_out(request, &fd, reply);
	}
	if (!is_silent)
		ctl_send(fake.connection, reply, back);
	for (i = 0; strcmp(op, "hello") == 0 && i < way_count; i++)
		if (ways[i].fd >= 0 && ways[i].session >= 0)
			tell_session(&ways[i]);
	json_decref(reply);
	if (fd >= 0)
		close(fd);
	if (strcmp(op, "drain") == 0)
		exit(0);
}

static void accept_connection(void)
{
	int fd = accept4(CTL_LISTEN_FD, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	if (fake.connection >= 0)
		close(fake.connection);
	fake.connection = fd;
	fake.measured_connection = -1;
}

static void serve_connection(void)
{
	json_t *request;
	int fd, ret;

	ret = ctl_receive(fake.connection, &request, &fd);
	if (ret == -EAGAIN)
		return;
	if (ret < 0) {
		close(fake.connection);
		fake.connection = -1;
		return;
	}
	handle(request, fd);
	json_decref(request);
}

static void serve_way(struct way *way, short revents)
{
	char byte;

	if (!revents)
		return;
	if (way->session < 0) {
		way->session = accept4(way->fd, NULL, NULL, SOCK_CLOEXEC);
		if (way->session >= 0 && unlink("brief") == 0) {
			close(way->session);
			way->session = -1;
			tell_session(way);
		} else if (way->session >= 0) {
			tell_session(way);
		}
	} else if (read(way->session, &byte, 1) <= 0) {
		close(way->session);
		way->session = -1;
		tell_session(way);
	}
}

static unsigned long told_level(void)
{
	FILE *file = fopen("level", "r");
	unsigned long level = 0;

	if (file && fscanf(file, "%lu", &level) != 1)
		level = 0;
	if (file)
		fclose(file);
	return level;
}

/* It lives: penstockd looks at it. */
static void beat(void)
{
	static struct stats_segment *stats;

	if (!stats) {
		void *map = mmap(NULL, sizeof(*stats), PROT_READ | PROT_WRITE,
				 MAP_SHARED, CTL_STATS_FD, 0);

		if (map == MAP_FAILED)
			exit(1);
		stats = map;
	}
	stats_set(&stats->heartbeat_ns, stats_get(&stats->heartbeat_ns) + 1);
	for (unsigned int i = 0; i < STATS_POOLS; i++) {
		stats_set(&stats->pools[i].reserved, fake_pools_reserved(i));
		stats_set(&stats->pools[i].level, told_level());
	}
}

int main(int argc, char **argv)
{
	int i;

	for (i = 1; i + 1 < argc; i++)
		if (strcmp(argv[i], "--name") == 0)
			fake.name = argv[i + 1];
	fake.connection = -1;
	fake.devices = json_object();
	fake.vdevs = json_object();
	fake.processes = json_object();
	fake.descriptors = json_object();
	for (;;) {
		struct pollfd polls[2 + WAYS_MAX];
		unsigned int count = way_count, j;

		polls[0] = (struct pollfd){CTL_LISTEN_FD, POLLIN, 0};
		polls[1] = (struct pollfd){fake.connection, POLLIN, 0};
		for (j = 0; j < count; j++)
			polls[2 + j] = (struct pollfd){ways[j].session >= 0 ?
							       ways[j].session :
							       ways[j].fd,
						       POLLIN, 0};
		if (poll(polls, 2 + count, PATIENCE_MS) < 0)
			return 1;
		for (j = 0; j < count; j++)
			if (ways[j].fd >= 0)
				serve_way(&ways[j], polls[2 + j].revents);
		if (polls[1].revents)
			serve_connection();
		if (polls[0].revents)
			accept_connection();
		measure_on();
		beat();
	}
}
