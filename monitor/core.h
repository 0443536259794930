/* SPDX-License-Identifier: ISC */
/* core.h: what stands behind a VM's struct monitor: rings, counters, flows and the policy.
 *
 * Producers are all threads of the VM; one thread, the history's, drains. */
#ifndef MONITOR_CORE_H
#define MONITOR_CORE_H

#include "monitor/count.h"
#include "monitor/flow.h"
#include "monitor/monitor.h"
#include "monitor/ring.h"
#include "plat/plat.h"

struct policy;

/* How much of a class is recorded. */
enum mon_tier {
	MON_OFF,
	MON_ALWAYS,   /* hot classes counted, others each one within a budget, counted beyond */
	MON_FULL,     /* each one; what does not fit is dropped, and counted */
	MON_LOSSLESS, /* each one; the guest waits */
};

#define MON_PRODUCERS 33 /* 0: threads that are no vCPUs; 1 + index: vCPUs */

struct mon_producer {
	struct ring ring;
	struct counts counts;
	const uint64_t *rip, *root;           /* the vCPU's, root: CR3; NULL: not known */
	const uint64_t *tsc;                  /* its TSC minus the host's; NULL: not known */
	_Atomic uint32_t budget[MON_CLASSES]; /* records left in this period */
	uint64_t space;                       /* the vCPU's present page-table root … */
	uint64_t space_since;                 /* … and since when; 0: rings say how long */
	_Atomic bool space_known;
};

struct mon_core {
	struct monitor *mon;
	unsigned n;    /* producers in use */
	bool draining; /* somebody takes what is recorded */
	_Atomic uint8_t tier[MON_CLASSES];
	struct flows flows;
	struct policy *_Atomic policy; /* NULL: everything is provided */
	struct plat_event wake;        /* a ring fills up */
	bool timed;                    /* tsc_offset is known: of the first vCPU */
	_Atomic uint64_t tsc_offset;
	_Atomic uint64_t tsc_ratio, tsc_base; /* struct tsc_scale */
	_Atomic uint64_t waited;              /* times that a guest waited (MON_LOSSLESS) */
	/* gets each event too, where set: the ring for crash reports */
	void (*also)(void *arg, const struct mon_event *ev);
	void *also_arg;
	struct mon_producer producer[MON_PRODUCERS];
};

/* Attaches to mon. drained: false where nobody will call mon_core_drain(): only also and the policy
 * get the events then. Before the vCPUs start. */
int mon_core_init(struct mon_core *c, struct monitor *mon, unsigned vcpus,
		  bool drained) attr_must_check;
/* The struct monitor goes away: all its producers have ended. What is recorded can still be drained. */
void mon_core_detach(struct mon_core *c);
/* No producer runs any more. */
void mon_core_fini(struct mon_core *c);

/* Where a vCPU's instruction pointer and page-table root are, while it does not run, and what its TSC is ahead of
 * the host's, which counts by mon_core_scale(). */
void mon_core_place(struct mon_core *c, unsigned vcpu, const uint64_t *rip, const uint64_t *root,
		    const uint64_t *tsc_offset);
/* Any time; what is told meanwhile may be timed wrongly. */
void mon_core_scale(struct mon_core *c, struct tsc_scale scale);
/* The guest's TSC now, of the first vCPU; 0: not known. */
uint64_t mon_core_tsc(const struct mon_core *c);
void mon_core_set_tier(struct mon_core *c, enum mon_class cls, enum mon_tier tier);
/* Records what no hook tells: lifecycle, operator, console, what rules say of the VM as a whole; data
 * is a text of at most RING_TEXT_MAX bytes. Any thread; never waits. */
void mon_core_note(struct mon_core *c, const struct mon_event *ev);

/* Puts another policy in force, NULL: none; gives the old one, which vCPUs may look at for another
 * moment: free it a minute later, or once they have ended. */
struct policy *mon_core_set_policy(struct mon_core *c, struct policy *take_policy);

/* ---- the consumer ---------------------------------------------------------------------------- */

struct mon_drain {
	void (*record)(void *arg, const struct mon_record *rec, const char *text, size_t len);
	void *arg;
};
/* Takes at most max records, oldest first as far as producers agree; gives their number. */
unsigned mon_core_drain(struct mon_core *c, const struct mon_drain *to, unsigned max);
/* Once a period (a second): counters, flows that have ended, new budgets. end: of all flows. */
void mon_core_period(struct mon_core *c, const struct mon_drain *to, bool end);
/* Records that were lost since the beginning. */
uint64_t mon_core_dropped(const struct mon_core *c);

/* "port", "mmio" …; never NULL. */
const char *mon_class_name(uint8_t cls);
/* The class of that name, or -1. */
int mon_class_find(const char *name, size_t len);

#endif
