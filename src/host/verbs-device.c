/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs-device.c - what is asked for at run time: calibration, enforcement
 */
#include "host/host-data.h"

#include <errno.h>
#include <stdlib.h>

#include "host/endpoint.h"

#define CALIBRATION_NS		UINT64_C(10000000000)

void host_device_calibrate(struct host *host, const char *name,
			   uint64_t duration_ns, struct host_call *call)
{
	struct reg_device *device = registry_device(host->registry, name);

	if (!device) {
		host_answer(
			call, HOST_NOT_FOUND, NULL,
			"there is no device '%s' (or several: say ENDPOINT/DEVICE)",
			name);
		return;
	}
	if (!device->pool) {
		host_answer(
			call, HOST_CONFLICT, NULL,
			"device %s is in no pool: nothing can be promised of it",
			device->name);
		return;
	}
	if (device->state != REG_DEVICE_READY || device->calibrate_ns) {
		host_answer(call, HOST_CONFLICT, NULL, "device %s is %s",
			    device->name,
			    device->calibrate_ns ? "being measured already" :
						   "not ready");
		return;
	}
	device->calibrate_ns = duration_ns ? duration_ns : CALIBRATION_NS;
	device->calibrate_call = call;
	bind_calibrate_next(device->endpoint);
}

struct enforcing {
	struct host *host;
	struct host_call *call;
	unsigned int pending;
	struct error error;
	bool failed;
};

static void enforce_one_answered(struct enforcing *enforcing)
{
	if (--enforcing->pending)
		return;
	if (enforcing->failed)
		host_answer(enforcing->call, HOST_FAILED, NULL, "%s",
			    enforcing->error.text);
	else
		host_answer(enforcing->call, HOST_DONE,
			    json_pack("{s:b}", "enforce",
				      enforcing->host->is_enforcing),
			    "%s", "");
	free(enforcing);
}

static void enforce_answered(void *arg, struct link_reply *reply)
{
	struct enforcing *enforcing = arg;

	/* One that died is told when it is back. */
	if (reply->result < 0 && reply->result != -ECONNRESET) {
		enforcing->failed = true;
		error_set(&enforcing->error, reply->result, "%s", reply->text);
	}
	enforce_one_answered(enforcing);
}

void host_enforce(struct host *host, bool on, struct host_call *call)
{
	struct enforcing *enforcing = calloc(1, sizeof(*enforcing));
	unsigned int i;

	if (!enforcing) {
		host_answer(call, HOST_FAILED, NULL, "out of memory");
		return;
	}
	enforcing->host = host;
	enforcing->call = call;
	enforcing->pending = 1;
	host->is_enforcing = on;
	events_add(host->events, "enforce", NULL, "enforcement is %s",
		   on ? "on" : "off");
	for (i = 0; i < host->registry->endpoint_count; i++) {
		struct reg_endpoint *endpoint = &host->registry->endpoints[i];

		if (!endpoint->is_connected)
			continue;
		enforcing->pending++;
		endpoint_request(
			endpoint->process,
			json_pack("{s:s, s:b}", "op", "enforce", "on", on), -1,
			enforce_answered, enforcing);
	}
	enforce_one_answered(enforcing);
}
