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

/* Before the vCPUs start. The recorder outlives the VM. */
void recorder_attach(struct recorder *r, struct monitor *mon);
/* Oldest first; gives the number. vCPUs have ended. */
unsigned recorder_last(const struct recorder *r, struct mon_event *out, unsigned max);
/* "port", "mmio" …; never NULL. */
const char *mon_class_name(uint8_t cls);

#endif
