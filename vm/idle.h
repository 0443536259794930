/* SPDX-License-Identifier: ISC */
/* idle.h: does a vCPU have next to nothing to do? So that its engine can give memory back. Times in ns. */
#ifndef VM_IDLE_H
#define VM_IDLE_H

#include "base/def.h"

/* Of the vCPU's own thread, but for idle. Zeroed: it begins with the first wait. */
struct idle {
	uint64_t looked, waited; /* the last look, and what was waited since */
	uint64_t tell;           /* not before */
	bool told;               /* since it last worked */
	_Atomic bool idle;       /* at the last look; others read it */
};

/* Looks go on from here: time that was neither work nor waiting has passed. */
void idle_skip(struct idle *i);
/* It begins to wait in HLT, at most until deadline. Until when in one go? */
uint64_t idle_wait(struct idle *i, uint64_t now, uint64_t deadline);
/* It has waited since begun. True: tell the engine, if nothing came meanwhile, and then idle_told(). */
bool idle_waited(struct idle *i, uint64_t begun, uint64_t now);
void idle_told(struct idle *i, uint64_t now);

#endif
