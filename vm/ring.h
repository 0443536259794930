/* SPDX-License-Identifier: ISC */
/* ring.h: how long a processor has run in user mode and elsewhere (ring.c). Its own thread. */
#ifndef VM_RING_H
#define VM_RING_H

#include "base/def.h"

/* In TSC ticks */
struct ring_clock {
	bool user;
	uint8_t quick;    /* intervals in a row that were short, as far as it matters */
	uint16_t untimed; /* changes to come that do not look at the clock */
	uint16_t passed;  /* since it was looked at */
	uint64_t
		since; /* when it was looked at; 0: the engine does not tell, or nobody wants to know */
	uint64_t taken; /* the history's last look */
	uint64_t ticks[2];
	uint32_t mean[2];   /* of short intervals, as of late; 16 times */
	uint64_t lasted[2]; /* long ones, as of late */
	uint64_t scale;     /* ns of a tick << 32; 0: not counted out yet */
};

/* What ring_set() does when the clock is to be looked at; now: in ticks */
void ring_change(struct ring_clock *r, bool user, uint64_t now);
/* What has passed goes where it belongs, and the next begins. */
void ring_close(struct ring_clock *r, uint64_t now);

/* No change of mode, or one that needs no clock */
static inline bool ring_pass(struct ring_clock *r, bool user)
{
	if (likely(r->user == user && r->since))
		return true;
	if (!r->untimed)
		return false;
	r->untimed--;
	r->passed++;
	r->user = user;
	return true;
}

/* The next change looks at the clock: an interrupt, before which it may have been long. */
static inline void ring_look(struct ring_clock *r)
{
	r->untimed = 0;
}

#endif
