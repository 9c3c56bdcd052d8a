/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vhost-beside.h - a server that is done harm, and one who must not notice
 *
 * Each case is done to a server that serves somebody else beside.  The one
 * who does it must be told (an acknowledgement that says no, the end of the
 * connection, an error status, or the error descriptor), whoever else is
 * there must notice nothing, and the same socket must serve the next one.
 */
#ifndef VHOST_BESIDE_H
#define VHOST_BESIDE_H

#include "vhost-peer.h"

/* 'peer' is connected to 'world' and does the harm; 'neighbour' is served by
 * 'beside', on the same loop. */
extern struct world world, beside;
extern struct peer peer, neighbour;

/* cmocka's setup and teardown. */
int beside_begin(void **state);
int beside_end(void **state);

/* The neighbour noticed nothing, and a next session is served. */
void beside_is_well(void);

#endif
