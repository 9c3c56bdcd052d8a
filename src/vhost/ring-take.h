/* SPDX-License-Identifier: Apache-2.0 */
/* ring-take.h - from the available ring to the vdev */
#ifndef VHOST_RING_TAKE_H
#define VHOST_RING_TAKE_H

#include "vhost/ring-state.h"

/* Take a batch, if there is one; returns how many requests it was. */
unsigned int ring_take(struct ring *ring, uint64_t now_ns);
/* The ring is to end: what waits at the vdev is taken back, if somebody will
 * submit it again or nobody is there to be answered; else it is let go. */
void ring_hurry(struct ring *ring, uint64_t now_ns);
/* Requests of several pieces go on with their next, as many as make a batch, if
 * it is the ring's turn. */
void ring_next_pieces(struct ring *ring, uint64_t now_ns);

#endif
