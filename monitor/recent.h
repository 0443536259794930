/* SPDX-License-Identifier: ISC */
/* recent.h: the last records of a VM, in memory: a history where there is no database. Freestanding. */
#ifndef MONITOR_RECENT_H
#define MONITOR_RECENT_H

#include "monitor/monitor.h"
#include "plat/plat.h"

#define RECENT_MAX  128 /* a power of two */
#define RECENT_TEXT 76

struct recent_record {
	uint64_t t; /* ns, plat_now(); of the last one */
	uint64_t addr, value;
	uint32_t count; /* of them, all alike */
	uint32_t rule;
	uint8_t cls, op, verdict, len; /* of text */
	char text[RECENT_TEXT];        /* not terminated */
};

/* Two rings: what is done to the VM, which it cannot push out, and what it does itself. */
struct recent {
	struct plat_mutex lock; /* RANK_LEAF */
	struct recent_ring {
		struct recent_record rec[RECENT_MAX];
		uint64_t end; /* records that there ever were */
	} ring[2];
};

void recent_init(struct recent *r);
/* Any thread. ev->data: a text, of which RECENT_TEXT bytes are kept. False: one of the last few was alike, and
 * counts it. */
bool recent_put(struct recent *r, const struct mon_event *ev);

/* To go through them by time: zeroed at first. */
struct recent_at {
	uint64_t at[2];
	uint64_t lost; /* that came and went between two looks */
};
/* The oldest that is left; false: none. next: it is not looked at again. */
bool recent_peek(struct recent *r, struct recent_at *at, struct recent_record *out, bool next);

/* One line about a record, without time and VM. */
#define RECENT_LINE 200
void recent_format(const struct recent_record *rec, char line[RECENT_LINE]);

#endif
