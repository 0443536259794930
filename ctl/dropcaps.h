/* SPDX-License-Identifier: ISC */
/* dropcaps.h: gives up all capabilities, in every thread of the process. Linux. */
#ifndef CTL_DROPCAPS_H
#define CTL_DROPCAPS_H

#include "ctl/msg.h"

/* Capabilities belong to threads, and a thread can drop only its own: those that run already are asked by a
 * signal. Call it when no other thread starts threads. */
int dropcaps(struct msg *msg);

#endif
