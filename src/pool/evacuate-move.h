/* SPDX-License-Identifier: Apache-2.0 */
/* evacuate-move.h - one extent on its way: between evacuate.c and its moves */
#ifndef POOL_EVACUATE_MOVE_H
#define POOL_EVACUATE_MOVE_H

#include "pool/evacuate.h"

/* 'to' was taken, and nobody has the extent in hand; ends with: */
void evacuate_move_begin(struct evacuate_move *move);
void evacuate_move_ended(struct evacuate_move *move, int result);

#endif
