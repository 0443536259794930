/* SPDX-License-Identifier: ISC */
/* count.h: events alike, counted by class, operation and address, with the first one in full. */
#ifndef MONITOR_COUNT_H
#define MONITOR_COUNT_H

#include "base/tsc.h"
#include "monitor/monitor.h"
#include "monitor/ring.h"

#define COUNT_SLOTS 1024 /* addresses in a table; a power of two */
#define COUNT_REST  128  /* beyond them: by class, operation and verdict alone; a power of two */

struct count_entry {
	_Atomic uint64_t key; /* 0: free */
	_Atomic uint64_t count;
	_Atomic uint64_t sum;
	_Atomic uint64_t part;             /* of sum: of a page-table root, the time in user mode */
	uint64_t t, tsc, rip, root, value; /* the first one's; valid once ready */
	uint32_t rule;
	uint16_t size;
	uint8_t flags;
	_Atomic uint8_t ready;
};
_Static_assert(sizeof(struct count_entry) == 80, "entry");

/* Two tables: producers fill one while the other, which they left a while ago, is read. */
struct counts {
	_Atomic uint32_t now; /* 0 or 1 */
	bool alone;           /* one thread adds: its sums need no locked instruction */
	struct count_entry *table[2];
};

int counts_init(struct counts *c, bool alone) attr_must_check;
void counts_fini(struct counts *c);
/* A guest's TSC: the host's, at the guest's rate, plus ahead, if that is known. */
struct mon_clock {
	uint64_t ahead;
	struct tsc_scale scale;
	bool known;
};
/* 0: not known. Reads the TSC, which takes as long as counting an event does: only for what is kept. */
static inline uint64_t mon_clock_now(struct mon_clock c)
{
	return c.known ? tsc_scaled(c.scale, __builtin_ia32_rdtsc()) + c.ahead : 0;
}
/* Where a vCPU is, and its clock. */
struct mon_place {
	uint64_t rip, root;
	struct mon_clock clock;
};
/* Any thread, or the only one. sum and part are added up. Gives the entry where this is the first of its kind: what
 * that one was is then for counts_first() to say, which nobody else needs. */
struct count_entry *counts_add(struct counts *c, const struct mon_event *ev, uint64_t sum,
			       uint64_t part) attr_must_check;
void counts_first(struct count_entry *e, const struct mon_event *ev, struct mon_place at);
/* The consumer's: calls fn for each entry of the table that producers have left, empties it, and
 * makes producers change over. Call it once a period: a producer that was held up between
 * finding its entry and adding to it for a whole period would count for another. */
void counts_turn(struct counts *c, void (*fn)(void *arg, const struct mon_record *rec), void *arg);

#endif
