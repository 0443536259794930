/* SPDX-License-Identifier: ISC */
/* ps2mouse.h: the PS/2 mouse, with Microsoft's extensions for wheel and five buttons. The
 * controller's lock is held in all calls. */
#ifndef DEV_PC_PS2MOUSE_H
#define DEV_PC_PS2MOUSE_H

#include "dev/pc/ps2.h"
#include "plat/plat.h"
#include "ui/input.h"

struct state_stream;

struct ps2mouse {
	struct ps2_queue reply; /* goes before out */
	struct ps2_queue out;
	uint8_t command; /* that waits for its byte; 0: none */
	uint8_t last;    /* sent, for RESEND */
	uint8_t id;      /* 0 plain, 3 wheel, 4 five buttons */
	uint8_t rate;    /* samples a second */
	uint8_t resolution;
	bool scaling; /* 2:1 */
	bool remote, wrap, reporting;
	uint8_t knock[3];   /* the last sample rates */
	uint8_t buttons;    /* held now */
	uint8_t reported;   /* as last said */
	int32_t dx, dy, dz; /* not reported yet */
	uint64_t next_at;   /* no packet before */
};

void ps2mouse_reset(struct ps2mouse *m);
void ps2mouse_write(struct ps2mouse *m, uint8_t v);
uint8_t ps2mouse_read(struct ps2mouse *m);
static inline bool ps2mouse_pending(const struct ps2mouse *m)
{
	return m->reply.len || m->out.len;
}
void ps2mouse_move(struct ps2mouse *m, int dx, int dy, int dz, unsigned buttons);
/* Makes a packet of what has moved, when it is time. */
void ps2mouse_tick(struct ps2mouse *m, uint64_t now);
/* When ps2mouse_tick() has something to do; PLAT_FOREVER: nothing. */
uint64_t ps2mouse_due(const struct ps2mouse *m);
int ps2mouse_state(struct ps2mouse *m, struct state_stream *st);

#endif
