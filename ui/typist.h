/* SPDX-License-Identifier: ISC */
/* typist.h: types, and moves the pointer, at the pace at which the guest takes it. */
#ifndef UI_TYPIST_H
#define UI_TYPIST_H

#include "base/def.h"
#include "base/err.h"
#include "plat/plat.h"
#include "ui/input.h"

#define TYPIST_MAX 16384 /* events that wait */

struct typist_event {
	enum { TYPE_KEY, TYPE_MOVE, TYPE_POINT, TYPE_AIM } kind;
	int32_t a, b; /* key, down; dx, dy; x, y */
	uint8_t buttons;
	/* TYPE_AIM: x and y for a tablet; where there is none, how far a mouse goes. Wheel. */
	int32_t dx, dy, dz;
	bool pressed; /* the typist's: it changes buttons, and stays where it is */
};

struct typist {
	struct input *input;
	struct plat_timer timer;
	struct plat_mutex lock; /* RANK_VM: all below */
	struct typist_event *event;
	unsigned head, n;
	uint64_t since;  /* when the present event's turn came */
	uint8_t buttons; /* as the last TYPE_AIM has them */
	bool armed;
};

int typist_init(struct typist *t, struct input *input, struct plat_loop *loop) attr_must_check;
/* The loop may go on; nothing is typed any more. */
void typist_fini(struct typist *t);

/* All of them, or ERR_NOMEM: there is no room for as many. Any thread. */
int typist_add(struct typist *t, const struct typist_event *ev, unsigned n) attr_must_check;
/* A TYPE_AIM behind all that waits, so that a click comes to what was typed before it. Movements are
 * given out at once while nothing waits, and become one while something does. ERR_NOMEM: there is no room. Any
 * thread. */
int typist_aim(struct typist *t, const struct typist_event *ev) attr_must_check;
/* Events that have not been taken by the guest yet. */
unsigned typist_left(struct typist *t);

#endif
