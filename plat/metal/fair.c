/* SPDX-License-Identifier: ISC */
/* fair.c: each task has a virtual time that passes at the inverse of its weight while it runs; a CPU takes the
 * task with the least, for a slice that lets all that share the CPU have their turn in half of
 * FAIR_LATENCY. But one that has waited for half of it (a heavier competitor's weight makes that longer)
 * goes first, and its virtual time falls back among the others: so many that wake often cannot hold up one
 * that always runs, nor can virtual times of CPUs that have drifted apart, as they do where VMs are
 * pinned. Numbers of tasks and CPUs are small: lists are walked. */
#include "plat/metal/fair.h"

#define MS        (NS_PER_SEC / 1000)
#define SLICE_MAX (5 * MS)
#define SLICE_MIN (MS / 2)
#define CREDIT    (5 * MS) /* what a sleeper can save up */
#define PREEMPT   (MS / 2) /* lead that is worth an interrupt */
#define ONE       1024u

static bool wants(const struct fair_task *t)
{
	return !t->idle && (t->state == FAIR_RUNNABLE || t->state == FAIR_RUNNING);
}

static uint64_t scaled(const struct fair_task *t, uint64_t ns)
{
	return ns * FAIR_WEIGHT / t->weight;
}

static uint64_t vtime_at(const struct fair_task *t, uint64_t now)
{
	return t->vtime + (t->state == FAIR_RUNNING ? scaled(t, now - t->since) : 0);
}

/* The least virtual time of the others that t shares CPUs with; UINT64_MAX: it shares with none. */
static uint64_t least(const struct fair *f, const struct fair_task *t, uint64_t now)
{
	uint64_t v = UINT64_MAX;

	for (const struct fair_task *o = f->all; o; o = o->next)
		if (o != t && wants(o) && o->allowed & t->allowed)
			v = MIN(v, vtime_at(o, now));
	return v;
}

static void make_ready(struct fair_task *t)
{
	t->state = FAIR_RUNNABLE;
	t->fresh = !t->idle;
}

static void wake_up(struct fair *f, struct fair_task *t, uint64_t now)
{
	uint64_t v = least(f, t, now);

	if (v != UINT64_MAX && t->vtime + CREDIT < v)
		t->vtime = v - CREDIT;
	make_ready(t);
	t->since = now;
}

void fair_add(struct fair *f, struct fair_task *t, uint64_t now)
{
	uint64_t v = least(f, t, now);

	t->vtime = v == UINT64_MAX ? 0 : v;
	t->deadline = UINT64_MAX;
	t->state = FAIR_RUNNABLE;
	t->since = now;
	t->next = f->all;
	f->all = t;
}

void fair_remove(struct fair *f, struct fair_task *t)
{
	struct fair_task **link = &f->all;

	while (*link != t)
		link = &(*link)->next;
	*link = t->next;
}

void fair_wake(struct fair *f, struct fair_task *t, uint64_t now)
{
	wake_up(f, t, now);
	t->fresh = false; /* the caller kicks */
}

/* An idle CPU, else the one whose task is furthest ahead; if that is not far, one that would not look for
 * long. One that is kicked already looks for somebody else. */
static int kick(struct fair *f, const struct fair_task *t, uint64_t now, uint64_t lead)
{
	uint64_t most = 0;
	int best = -1;

	for (unsigned i = 0; i < f->n_cpus; i++) {
		const struct fair_task *c = f->current[i];
		uint64_t v = c->idle ? UINT64_MAX : vtime_at(c, now);

		if (t->allowed & ~f->kicked & BIT64(i) &&
		    (v > t->vtime + lead || !(f->sliced & BIT64(i))) && v >= most) {
			most = v;
			best = (int)i;
		}
	}
	if (best >= 0)
		f->kicked |= BIT64(best);
	return best;
}

int fair_kick(struct fair *f, const struct fair_task *t, uint64_t now)
{
	return kick(f, t, now, PREEMPT);
}

/* What a task is on each of the CPUs that it may run on, in 1/ONE. */
static unsigned part(const struct fair *f, const struct fair_task *t)
{
	unsigned n = 0;

	for (unsigned i = 0; i < f->n_cpus; i++)
		n += (unsigned)(t->allowed >> i & 1);
	return n ? ONE / n : 0;
}

struct view {
	unsigned load;   /* tasks that this CPU has to serve, in 1/ONE */
	unsigned weight; /* the greatest */
	uint64_t next;   /* a sleeper's end */
};

static void look_around(struct fair *f, unsigned cpu, uint64_t now, struct view *view)
{
	*view = (struct view){.weight = 1, .next = UINT64_MAX};
	for (struct fair_task *t = f->all; t; t = t->next) {
		if (t->state == FAIR_BLOCKED && t->deadline <= now)
			wake_up(f, t, now);
		if (t->state == FAIR_BLOCKED)
			view->next = MIN(view->next, t->deadline);
		if (!wants(t) || !(t->allowed & BIT64(cpu)))
			continue;
		view->load += part(f, t);
		view->weight = MAX(view->weight, t->weight);
	}
}

/* By how much t has waited too long; 0: it has not. */
static uint64_t overdue(const struct fair_task *t, const struct view *view, uint64_t now)
{
	uint64_t limit = FAIR_LATENCY / 2 * view->weight / t->weight;

	return t->state == FAIR_RUNNABLE && now - t->since > limit ? now - t->since - limit : 0;
}

static struct fair_task *choose(struct fair *f, unsigned cpu, const struct view *view, uint64_t now)
{
	struct fair_task *best = NULL, *late = NULL, *yields = NULL;

	for (struct fair_task *t = f->all; t; t = t->next) {
		if (!wants(t) || !(t->allowed & BIT64(cpu)) ||
		    (t->state == FAIR_RUNNING && t->cpu != cpu))
			continue;
		if (t->yields)
			yields = t;
		else if (!best || t->vtime < best->vtime)
			best = t;
		if (overdue(t, view, now) > (late ? overdue(late, view, now) : 0))
			late = t;
	}
	/* Who is further ahead has had its share: to give way to it, again and again, would be to give it ours. */
	if (yields && (!best || best->vtime >= yields->vtime + SLICE_MAX))
		best = yields;
	if (late && best)
		late->vtime = MIN(late->vtime, best->vtime);
	return late ? late : best;
}

static void account(struct fair_task *t, uint64_t now)
{
	t->ran += now - t->since;
	t->vtime += t->idle ? 0 : scaled(t, now - t->since);
	t->since = now;
}

void fair_yield(struct fair *f, unsigned cpu)
{
	f->current[cpu]->yields = true;
}

/* For whom has become runnable meanwhile, but was not chosen; and idle CPUs, or some that would not look,
 * for others: what they were kicked for may have been served by another. */
static uint64_t kick_others(struct fair *f, uint64_t now)
{
	uint64_t mask = 0;

	for (struct fair_task *t = f->all; t; t = t->next) {
		int cpu = -1;

		if (!t->idle && t->state == FAIR_RUNNABLE)
			cpu = kick(f, t, now, t->fresh ? PREEMPT : UINT64_MAX / 2);
		t->fresh = false;
		mask |= cpu >= 0 ? BIT64(cpu) : 0;
	}
	return mask;
}

struct fair_task *fair_next(struct fair *f, unsigned cpu, struct fair_task *idle, uint64_t now,
			    struct fair_look *out)
{
	struct fair_task *from = f->current[cpu], *to;
	struct view view;

	account(from, now);
	f->kicked &= ~BIT64(cpu);
	f->sliced &= ~BIT64(cpu);
	look_around(f, cpu, now, &view);
	to = choose(f, cpu, &view, now);
	out->timer = view.next;
	if (to && view.load > part(f, to)) {
		uint64_t slice = FAIR_LATENCY / 2 * ONE / MAX(view.load, ONE);

		f->sliced |= BIT64(cpu);
		out->timer = MIN(out->timer, now + MAX(MIN(slice, SLICE_MAX), SLICE_MIN));
	}
	if (!to)
		to = idle;
	if (from->state == FAIR_RUNNING)
		make_ready(from);
	if (from->yields) /* nobody is to be interrupted for it */
		from->yields = from->fresh = false;
	if (to != from && !to->idle)
		to->waited_most = MAX(to->waited_most, now - to->since);
	to->state = FAIR_RUNNING; /* from, too, which may have found its wait to be over */
	to->since = now;
	to->cpu = cpu;
	to->fresh = false;
	f->current[cpu] = to;
	out->kick = kick_others(f, now);
	return to;
}
