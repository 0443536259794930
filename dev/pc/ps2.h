/* SPDX-License-Identifier: ISC */
/* ps2.h: what a PS/2 keyboard and mouse have in common: bytes for the controller, and the command that
 * waits for its parameter. The two are parts of the controller's device: its lock is held. */
#ifndef DEV_PC_PS2_H
#define DEV_PC_PS2_H

#include "base/def.h"
#include "base/str.h"

#define PS2_ACK    0xfa
#define PS2_RESEND 0xfe
#define PS2_BAT_OK 0xaa

#define PS2_QUEUE 16 /* as the keyboard's manual has it */

struct ps2_queue {
	uint8_t buf[PS2_QUEUE];
	uint8_t head, len;
};

static inline unsigned ps2_room(const struct ps2_queue *q)
{
	return PS2_QUEUE - q->len;
}

static inline bool ps2_put(struct ps2_queue *q, uint8_t v)
{
	if (!ps2_room(q))
		return false;
	q->buf[(q->head + q->len++) % PS2_QUEUE] = v;
	return true;
}

/* len must not be 0. */
static inline uint8_t ps2_get(struct ps2_queue *q)
{
	uint8_t v = q->buf[q->head];

	q->head = (uint8_t)((q->head + 1) % PS2_QUEUE);
	q->len--;
	return v;
}

/* The last byte becomes v: the device says that it has lost some. */
static inline void ps2_spoil(struct ps2_queue *q, uint8_t v)
{
	q->buf[(q->head + PS2_QUEUE - 1) % PS2_QUEUE] = v;
}

static inline void ps2_clear(struct ps2_queue *q)
{
	q->head = q->len = 0;
}

#endif
