/* SPDX-License-Identifier: Apache-2.0 */
/* ring-poll.h - a running ring as one of the loop's pollers (os/loop.h) */
#ifndef VHOST_RING_POLL_H
#define VHOST_RING_POLL_H

#include <stdint.h>

#include "os/loop.h"

unsigned int ring_poll(struct loop_poller *poller, uint64_t now_ns);
uint64_t ring_arm(struct loop_poller *poller, uint64_t now_ns);
uint64_t ring_quiet_until(struct loop_poller *poller, uint64_t now_ns);

#endif
