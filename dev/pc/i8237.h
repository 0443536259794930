/* SPDX-License-Identifier: ISC */
/* i8237.h: the PC's two cascaded DMA controllers with their page registers: channels 0 to 3 move
 * bytes, 5 to 7 words. */
#ifndef DEV_PC_I8237_H
#define DEV_PC_I8237_H

#include "base/def.h"
#include "base/err.h"

struct vm;
struct i8237;

int i8237_create(struct vm *vm, struct i8237 **out) attr_must_check;
/* Bytes that the channel would still move before its terminal count; 0: it is masked, or the
 * controller is off. */
uint32_t i8237_left(struct i8237 *dma, unsigned channel);
/* A device moves up to len bytes over its channel, to guest memory or from it. Gives how many were
 * moved; *tc: with the last of them the count ended. A channel that is set up for verifying counts
 * without moving, one for the other direction moves nothing. The device's lock may be held. */
uint32_t i8237_move(struct i8237 *dma, unsigned channel, void *buf, uint32_t len, bool to_guest,
		    bool *tc);

#endif
