/* SPDX-License-Identifier: ISC */
/* recorder.h: the last things that a guest did beyond its own memory, for the report of a crash. */
#ifndef CTL_RECORDER_H
#define CTL_RECORDER_H

#include "monitor/monitor.h"

#define RECORDER_SIZE 64 /* a power of two */

struct recorder {
	_Atomic uint32_t next;
	struct mon_event event[RECORDER_SIZE];
};

/* arg: the recorder. Any thread; for mon_core.also. */
void recorder_add(void *arg, const struct mon_event *ev);
/* Oldest first; gives the number. vCPUs have ended. */
unsigned recorder_last(const struct recorder *r, struct mon_event *out, unsigned max);

#endif
