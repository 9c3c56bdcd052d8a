/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host-rig.h - a penstockd without its program around, over a fake endpoint
 *
 * A directory in /tmp that is also the working directory (the fake endpoint
 * writes 'ops' there), a loop, and a host made from a text.  "@" in the text
 * stands for the directory.
 */
#ifndef HOST_RIG_H
#define HOST_RIG_H

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "host/config.h"
#include "host/host.h"
#include "os/loop.h"

/* A vdev of memory, and another device that takes its time. */
#define RIG_TIMED \
	"host: a\n" \
	"state: @/state\n" \
	"session-hold: 50 ms\n" \
	"endpoints:\n" \
	"  - name: ep0\n" \
	"    devices:\n" \
	"      - {name: m0, kind: memory, size: 64MiB}\n" \
	"      - {name: n0, kind: nullio, size: 6GiB, model: {latency: 100us}}\n" \
	"pools:\n" \
	"  - {name: p0, devices: [ep0/m0]}\n" \
	"  - {name: p1, devices: [ep0/n0]}\n" \
	"vdevs:\n" \
	"  - {name: v0, pool: p0, size: 16MiB, vhost-user: @/v0}\n"

/* Three processes of it. */
#define RIG_THREE	\
	RIG_TIMED \
	"processes:\n" \
	"  - {pasid: 1, vdev: v0, sla: {iops: '>= 500', latency: '<= 2 ms'}}\n" \
	"  - {pasid: 2, vdev: v0, sla: {iops: '>= 400', latency: '<= 1 ms'}}\n" \
	"  - {pasid: 3, vdev: v0, sla: {iops: '>= 300', latency: '<= 3 ms', bandwidth: '>= 500 Mbps'}}\n"

/* A configuration with one of everything. */
#define RIG_HEAD \
	"host: a\n" \
	"state: @/state\n" \
	"endpoints:\n" \
	"  - name: ep0\n" \
	"    devices:\n" \
	"      - {name: m0, kind: memory, size: 64MiB}\n" \
	"      - {name: d0, kind: file, path: @/d0, size: 8MiB}\n" \
	"pools:\n" \
	"  - {name: p0, devices: [ep0/m0]}\n" \
	"  - {name: p1, devices: [ep0/d0]}\n" \
	"vdevs:\n" \
	"  - {name: v0, pool: p0, size: 16MiB, vhost-user: @/v0}\n" \
	"  - {name: v1, pool: p1, size: 8MiB, vhost-user: @/v1}\n"

#define RIG_WHOLE	\
	RIG_HEAD \
	"processes:\n" \
	"  - {pasid: 1, vdev: v0, sla: {iops: '>= 500'}}\n" \
	"  - {pasid: 2, vdev: v1, sla: {iops: '>= 400'}, vhost-user: @/own}\n"

struct rig {
	char directory[32];
	struct loop *loop;
	struct config *config;
	struct host *host;
	bool is_ready, is_stopped;
	char changed[8192];		/* lines "BY: TEXT" of hooks.changed */
	/* The last answer of a verb. */
	struct host_call call;
	bool is_answered;
	enum host_result result;
	char text[600];
	json_t *value;
};

extern const char *rig_program;		/* the endpoint's */
extern uint32_t rig_uid, rig_gid;	/* whose it becomes */
/* main's: takes that from the first argument.  Returns 0, or the exit status if
 * there is none. */
int rig_arguments(int argc, char **argv);

int rig_setup(void **state);
/* Stops the host and its endpoints, then removes the directory. */
int rig_teardown(void **state);

/* Make and start a host; waits until it is ready unless 'wait' is false. */
void rig_start(struct rig *rig, const char *text, bool wait);
/* The host goes as if killed: its endpoints stay. */
void rig_abandon(struct rig *rig);
void rig_stop(struct rig *rig);
/* Another penstockd, which asks for something and is killed after so many
 * steps of its loop; then one more. */
void rig_killed_after(struct rig *rig, const char *text, unsigned int steps,
		      void (*verb)(struct rig *rig));

/* Run the loop until 'condition' holds; fails after half a minute. */
void rig_wait(struct rig *rig, bool (*condition)(struct rig *rig, void *arg),
	      void *arg);
/* Run it until the verb that was called with &rig->call is answered. */
void rig_answer(struct rig *rig, enum host_result expected);

/* Is there an event of this kind whose text contains 'text'? */
bool rig_has_event(struct rig *rig, const char *kind, const char *text);
void rig_wait_event(struct rig *rig, const char *kind, const char *text);
/* Until the process is bound to exactly this SLA and may be changed again;
 * NULL: until it is not there. */
void rig_wait_promised(struct rig *rig, uint32_t pasid, const char *text);
/* Lines of 'ops' that contain 'text'. */
unsigned int rig_ops(const char *text);
void rig_forget_ops(void);
/* What the fake endpoint is to do with this op, once: "hold", "refuse", as
 * fake-endpoint.c says. */
void rig_tell(const char *file, const char *op);

pid_t rig_endpoint(struct rig *rig);
/* Connect to a socket in its directory; -1: nobody is there. */
int rig_dial(struct rig *rig, const char *name);
/* Until the vdev is served. */
void rig_wait_serving(struct rig *rig, const char *vdev);

/* "vdevs.0.combined.iops" of a JSON value; fails if it is not there. */
json_t *rig_at(json_t *json, const char *path);
/* The same as a number, or text; both take 'json' over. */
long long rig_number(json_t *json, const char *path);
/* What was promised of "v0" in all; a reference of the caller's. */
json_t *rig_combined(struct rig *rig);
void rig_text_is(json_t *json, const char *path, const char *expected);
bool rig_is_absent(json_t *json, const char *key);

#endif
