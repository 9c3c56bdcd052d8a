/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake-host.h - a host for tests of the API: host.h without endpoints
 *
 * It has one device, one pool and one vdev, and takes processes.  What a verb
 * answers depends on the PASID: see FAKE_*.
 */
#ifndef TESTS_FAKE_HOST_H
#define TESTS_FAKE_HOST_H

#include "host/host.h"

enum {
	FAKE_LATER = 97,	/* answered by a timer, not at once */
	FAKE_FAILED = 98,
	FAKE_REFUSED = 99,
	FAKE_USAGE = 96,
	FAKE_NEVER = 95,	/* answered when the host is destroyed */
};

struct host *fake_host_create(struct loop *loop);

#endif
