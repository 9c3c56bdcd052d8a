/* SPDX-License-Identifier: Apache-2.0 */
/* vhost-beside.c - see vhost-beside.h */
#include "vhost-beside.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct world world, beside;
struct peer peer, neighbour;

int beside_begin(void **state)
{
	(void)state;
	world_create(&world, 4);
	world_create_beside(&beside, &world, 1);
	peer_connect(&beside, &neighbour);
	peer_start(&neighbour, 0, 1);
	peer_connect(&world, &peer);
	return 0;
}

int beside_end(void **state)
{
	(void)state;
	peer_destroy(&peer);
	peer_destroy(&neighbour);
	world_destroy_beside(&beside);
	world_destroy(&world);
	return 0;
}

void beside_is_well(void)
{
	struct peer next;

	assert_int_equal(peer_do(&neighbour, 0, 0, VIRTIO_BLK_T_IN, 0,
				 PEER_DATA_ADDR, 512),
			 VIRTIO_BLK_S_OK);
	assert_false(peer_is_closed(&neighbour));
	assert_int_equal(beside.reports, 0);
	peer_close(&peer);
	world.vdev->hold = false;
	fake_complete_all(world.vdev);
	peer_connect(&world, &next);
	peer_start(&next, 0, 1);
	assert_int_equal(
		peer_do(&next, 0, 0, VIRTIO_BLK_T_IN, 0, PEER_DATA_ADDR, 512),
		VIRTIO_BLK_S_OK);
	peer_destroy(&next);
}
