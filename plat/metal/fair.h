/* SPDX-License-Identifier: ISC */
/* fair.h: who runs next. Only the decisions, of numbers that are given: sched.c carries them out, and a test
 * tries them on a clock of its own. The caller serialises. */
#ifndef PLAT_METAL_FAIR_H
#define PLAT_METAL_FAIR_H

#include "base/def.h"

#define FAIR_CPUS    64
#define FAIR_WEIGHT  1024u                    /* the usual one */
#define FAIR_LATENCY (20 * NS_PER_SEC / 1000) /* who wants to run at equal weight waits no longer */
#define FAIR_ANY     UINT64_MAX

enum fair_state { FAIR_RUNNABLE, FAIR_RUNNING, FAIR_BLOCKED, FAIR_DEAD };

struct fair_task {
	struct fair_task *next; /* all there are */
	enum fair_state state;
	bool fresh;       /* no CPU has been kicked for it yet */
	bool idle;        /* runs where nobody else does */
	bool yields;      /* until the next fair_next() */
	unsigned cpu;     /* RUNNING: where */
	uint64_t allowed; /* BIT64(cpu): where it may run */
	unsigned weight;
	uint64_t vtime;    /* time that it ran, at the inverse of its weight */
	uint64_t since;    /* RUNNING: accounted up to here; RUNNABLE: it waits since then */
	uint64_t deadline; /* BLOCKED: until then, or somebody wakes it */
	uint64_t ran, waited_most;
};

struct fair {
	struct fair_task *all;
	unsigned n_cpus;
	uint64_t kicked; /* BIT64(cpu): it is about to look */
	uint64_t sliced; /* it will, by its timer */
	struct fair_task *current[FAIR_CPUS];
};

/* A new task becomes known, RUNNABLE. */
void fair_add(struct fair *f, struct fair_task *t, uint64_t now);
void fair_remove(struct fair *f, struct fair_task *t);
/* A blocked task wants to run. */
void fair_wake(struct fair *f, struct fair_task *t, uint64_t now);
/* The current task of cpu waits for something that another is to do: before fair_next(), which then takes another if there
 * is one that is not ahead of it by more than a slice. */
void fair_yield(struct fair *f, unsigned cpu);
/* The CPU that should look again because t wants to run; -1: t has to wait. */
int fair_kick(struct fair *f, const struct fair_task *t, uint64_t now);
/* The current task of cpu has run until now. Wakes who has slept enough, and chooses; idle: of this CPU.
 * The choice is current then. */
struct fair_look {
	uint64_t timer; /* when to come again at the latest */
	uint64_t kick;  /* BIT64(cpu): others that should look, too */
};
struct fair_task *fair_next(struct fair *f, unsigned cpu, struct fair_task *idle, uint64_t now,
			    struct fair_look *out);

#endif
