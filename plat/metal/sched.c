/* SPDX-License-Identifier: ISC */
/* sched.c: threads and who runs when. Each thread has a virtual time that passes at the inverse of its
 * weight while it runs; a CPU takes the runnable thread with the least. A slice ends by the local
 * APIC's timer, also while a guest runs (it then leaves by an interrupt exit), so that nobody has to
 * cooperate. An idle CPU halts; who becomes runnable wakes one, or interrupts whoever is furthest
 * ahead.
 *
 * One lock for all, held over a switch and let go by the thread that is switched to; interrupts are
 * off while it is held. Numbers of threads and CPUs are small: lists are walked. */
#include "plat/metal/sched.h"

#include "base/str.h"
#include "plat/metal/apic.h"
#include "plat/metal/mem.h"
#include "plat/metal/spin.h"

#define STACK_SIZE (64 * KIB)
#define FPU_SIZE   1024 /* XSAVE's image of x87, SSE and AVX, which is what smp.c switches on */
#define SLICE      (5 * NS_PER_SEC / 1000)
#define SLICE_MIN  (NS_PER_SEC / 1000)
#define ROUND      (20 * NS_PER_SEC / 1000) /* everybody runs once in this time, if slices allow */
#define AHEAD_MAX  (10 * NS_PER_SEC / 1000) /* what a sleeper can save up */
#define PREEMPT    (NS_PER_SEC / 2000)      /* lead that is worth an interrupt */

enum thread_state { RUNNABLE, RUNNING, BLOCKED, DEAD };

struct plat_thread {
	uint64_t rsp; /* first: thread_switch() knows it */
	struct plat_thread *next;
	uint8_t *stack; /* NULL: the loader's or an idle CPU's */
	uint64_t serial;
	enum thread_state state;
	bool idle;
	struct pcpu *cpu;       /* RUNNING: where */
	struct pcpu *guest_cpu; /* of the last plat_guest_claim() */
	const _Atomic uint32_t *wait;
	uint64_t deadline;
	bool woken;
	uint64_t vtime, since, cpu_ns;
	unsigned weight;
	_Atomic uint32_t ended;
	void (*fn)(void *);
	void *arg;
	void (*on_switch)(void *, bool); /* NULL: nobody wants to know */
	void *on_switch_arg;
	char name[16];
	uint8_t fpu[FPU_SIZE] attr_aligned(64);
};

static struct {
	struct spin lock;
	struct plat_thread *all;
	struct plat_thread *stacks; /* ended threads, kept with their stacks */
	struct pcpu *cpu[PCPU_MAX];
	unsigned n_cpus;
	bool xsave;
	uint64_t serial;
	uint64_t vtime; /* of the thread that was taken last: newcomers start near it */
} sched;

/* void thread_switch(uint64_t *save_rsp, uint64_t rsp) */
void thread_switch(uint64_t *save, uint64_t rsp);
__asm__(".text\n"
	"thread_switch:\n"
	"	push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15\n"
	"	mov %rsp, (%rdi)\n"
	"	mov %rsi, %rsp\n"
	"	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp\n"
	"	ret\n");

/* Threads use no FP registers themselves: a guest's are in there, or an instruction's that is executed
 * for one. */
static void fpu_save(struct plat_thread *t)
{
	if (sched.xsave)
		__asm__ volatile("xsave64 %0" : "+m"(t->fpu) : "a"(7), "d"(0) : "memory");
	else
		__asm__ volatile("fxsave64 %0" : "+m"(t->fpu) : : "memory");
}

static void fpu_restore(struct plat_thread *t)
{
	if (sched.xsave)
		__asm__ volatile("xrstor64 %0" : : "m"(t->fpu), "a"(7), "d"(0) : "memory");
	else
		__asm__ volatile("fxrstor64 %0" : : "m"(t->fpu) : "memory");
}

/* ---- choosing ---- */

static void make_runnable(struct plat_thread *t, bool woken)
{
	t->state = RUNNABLE;
	t->woken = woken;
	t->wait = NULL;
	if (t->vtime + AHEAD_MAX < sched.vtime)
		t->vtime = sched.vtime - AHEAD_MAX;
}

/* Interrupts the CPU that t should have: an idle one, else the one whose thread is furthest ahead. */
static void kick_for(const struct plat_thread *t)
{
	struct pcpu *best = NULL;

	for (unsigned i = 0; i < sched.n_cpus; i++) {
		struct pcpu *c = sched.cpu[i];

		if (c->current->idle) {
			best = c;
			break;
		}
		if (!best || c->current->vtime > best->current->vtime)
			best = c;
	}
	if (best && (best->current->idle || best->current->vtime > t->vtime + PREEMPT))
		apic_ipi(best->apic_id, IRQ_RESCHED);
}

/* Wakes those whose time has come; gives the next such time and the number of runnable threads. */
static uint64_t look_at_sleepers(uint64_t now, unsigned *runnable)
{
	uint64_t next = PLAT_FOREVER;

	*runnable = 0;
	for (struct plat_thread *t = sched.all; t; t = t->next) {
		if (t->state == BLOCKED && t->deadline <= now)
			make_runnable(t, false);
		if (t->state == BLOCKED)
			next = MIN(next, t->deadline);
		*runnable += t->state == RUNNABLE && !t->idle;
	}
	return next;
}

static struct plat_thread *pick(struct pcpu *cpu)
{
	struct plat_thread *best = NULL;

	for (struct plat_thread *t = sched.all; t; t = t->next) {
		bool ready = t->state == RUNNABLE || (t->state == RUNNING && t->cpu == cpu);

		if (ready && !t->idle && (!best || t->vtime < best->vtime))
			best = t;
	}
	return best ? best : cpu->idle;
}

static void account(struct plat_thread *t, struct pcpu *cpu, uint64_t now)
{
	uint64_t ran = now - t->since;

	t->since = now;
	t->cpu_ns += ran;
	if (t->idle)
		cpu->idle_ns += ran;
	else
		t->vtime += ran * SCHED_WEIGHT / t->weight;
}

/* Lock held. Returns when the caller's thread runs again, with the lock held, perhaps on another CPU. */
static void schedule(void)
{
	struct pcpu *cpu = pcpu();
	struct plat_thread *from = cpu->current, *to;
	uint64_t now = plat_now(), next;
	unsigned runnable;

	account(from, cpu, now);
	next = look_at_sleepers(now, &runnable);
	to = pick(cpu);
	if (runnable && !to->idle) {
		uint64_t slice = MAX(SLICE_MIN, MIN(SLICE, ROUND * sched.n_cpus / (runnable + 1)));

		next = MIN(next, now + slice);
	}
	apic_timer(next);
	if (!to->idle)
		sched.vtime = MAX(sched.vtime, to->vtime);
	if (from->state == RUNNING)
		from->state = RUNNABLE;
	to->state = RUNNING; /* from, too, which may have found its wait to be over */
	if (to == from)
		return;
	to->since = now;
	to->cpu = cpu;
	cpu->current = to;
	if (from->on_switch)
		from->on_switch(from->on_switch_arg, false);
	fpu_save(from);
	thread_switch(&from->rsp, to->rsp);
	fpu_restore(from); /* from runs again */
	if (from->on_switch)
		from->on_switch(from->on_switch_arg, true);
}

void sched_interrupt(void)
{
	uint64_t flags = spin_lock(&sched.lock);

	schedule();
	spin_unlock(&sched.lock, flags);
}

void plat_yield(void)
{
	sched_interrupt();
}

bool sched_wait(_Atomic uint32_t *word, uint32_t expect, uint64_t deadline)
{
	uint64_t flags = spin_lock(&sched.lock);
	struct plat_thread *t = current_thread();
	bool woken = true;

	if (atomic_load(word) == expect) {
		t->state = BLOCKED;
		t->wait = word;
		t->deadline = deadline;
		schedule();
		woken = t->woken;
	}
	spin_unlock(&sched.lock, flags);
	return woken;
}

void sched_wake(_Atomic uint32_t *word, unsigned n)
{
	uint64_t flags = spin_lock(&sched.lock);

	for (struct plat_thread *t = sched.all; t && n; t = t->next) {
		if (t->state != BLOCKED || t->wait != word)
			continue;
		make_runnable(t, true);
		kick_for(t);
		n--;
	}
	spin_unlock(&sched.lock, flags);
}

/* ---- life ---- */

static void enlist(struct plat_thread *t, const char *name)
{
	t->serial = ++sched.serial;
	str_copy(t->name, sizeof(t->name), name);
	t->deadline = PLAT_FOREVER;
	t->vtime = sched.vtime;
	t->next = sched.all;
	sched.all = t;
}

static void unlist(struct plat_thread *t)
{
	struct plat_thread **link = &sched.all;

	while (*link != t)
		link = &(*link)->next;
	*link = t->next;
}

int sched_init(struct pcpu *cpu)
{
	struct plat_thread *t = plat_alloc(sizeof(*t)), *idle;
	uint64_t flags;
	bool first = !sched.n_cpus;
	struct plat_cpuid id;
	int err = 0;

	plat_cpuid(1, 0, &id);
	sched.xsave = id.ecx & BIT(27);
	if (!t)
		return err_here(ERR_NOMEM);
	flags = spin_lock(&sched.lock);
	t->state = RUNNING;
	t->cpu = cpu;
	t->weight = SCHED_WEIGHT;
	t->idle = !first;
	t->since = plat_now();
	enlist(t, first ? "main" : "idle");
	cpu->current = t;
	cpu->idle = t;
	sched.cpu[sched.n_cpus++] = cpu;
	spin_unlock(&sched.lock, flags);
	if (first) {
		err = plat_thread_create("idle", (void (*)(void *))(void (*)(void))sched_idle, NULL,
					 &idle);
		if (!err) {
			idle->idle = true;
			cpu->idle = idle;
		}
	}
	return err;
}

void sched_idle(void)
{
	for (;;) {
		sched_interrupt();
		__asm__ volatile("sti; hlt" : : : "memory");
	}
}

static void thread_main(void)
{
	struct plat_thread *t = current_thread();

	/* schedule() of the thread before us took the lock. */
	spin_unlock(&sched.lock, BIT(9));
	t->fn(t->arg);
	spin_lock(&sched.lock);
	t->state = DEAD;
	atomic_store(&t->ended, 1);
	for (struct plat_thread *w = sched.all; w; w = w->next)
		if (w->state == BLOCKED && w->wait == &t->ended)
			make_runnable(w, true);
	schedule();
	__builtin_unreachable();
}

/* A thread with a stack, from those that have ended or fresh. */
static struct plat_thread *thread_get(void)
{
	uint64_t flags = spin_lock(&sched.lock), pa;
	struct plat_thread *t = sched.stacks;
	uint8_t *stack;

	if (t)
		sched.stacks = t->next;
	spin_unlock(&sched.lock, flags);
	if (t) {
		stack = t->stack;
		memset(t, 0, sizeof(*t));
		t->stack = stack;
		return t;
	}
	t = plat_alloc(sizeof(*t));
	pa = t ? phys_alloc(STACK_SIZE, PAGE_SIZE) : 0;
	if (pa)
		t->stack = paging_map(pa, STACK_SIZE, MAP_W);
	if (t && t->stack)
		return t;
	if (pa)
		phys_free(pa, STACK_SIZE);
	plat_free(t);
	return NULL;
}

int plat_thread_create(const char *name, void (*fn)(void *), void *arg, struct plat_thread **out)
{
	struct plat_thread *t = thread_get();
	uint64_t flags, *sp;

	if (!t)
		return err_here(ERR_NOMEM);
	t->fn = fn;
	t->arg = arg;
	sp = (uint64_t *)(void *)(t->stack + STACK_SIZE) - 1;
	*sp = 0; /* a return address that leads nowhere; thus the stack is aligned as after a call */
	*--sp = (uint64_t)thread_main;
	for (unsigned i = 0; i < 6; i++)
		*--sp = 0;
	t->rsp = (uint64_t)sp;
	t->weight = current_thread()->weight;
	*out = t; /* before it runs: it may look at itself */
	flags = spin_lock(&sched.lock);
	enlist(t, name);
	kick_for(t);
	spin_unlock(&sched.lock, flags);
	return 0;
}

void plat_thread_join(struct plat_thread *t)
{
	uint64_t flags;

	while (!atomic_load(&t->ended))
		sched_wait(&t->ended, 0, PLAT_FOREVER);
	/* The lock: it has left its stack by now. */
	flags = spin_lock(&sched.lock);
	unlist(t);
	t->next = sched.stacks;
	sched.stacks = t;
	spin_unlock(&sched.lock, flags);
}

/* ---- for engines ---- */

bool plat_guest_claim(void)
{
	struct pcpu *cpu = pcpu();
	struct plat_thread *t = cpu->current;
	bool same = cpu->guest_owner == t->serial && t->guest_cpu == cpu;

	cpu->guest_owner = t->serial;
	t->guest_cpu = cpu; /* it may have been elsewhere in between */
	return same;
}

void plat_thread_on_switch(void (*fn)(void *arg, bool runs), void *arg)
{
	struct plat_thread *t = current_thread();

	t->on_switch_arg = arg;
	t->on_switch = fn;
}

void plat_thread_poke(struct plat_thread *t)
{
	uint64_t flags = spin_lock(&sched.lock);

	if (t->state == RUNNING && t->cpu != pcpu())
		apic_ipi(t->cpu->apic_id, IRQ_RESCHED);
	spin_unlock(&sched.lock, flags);
}

/* ---- looking on ---- */

void sched_set_weight(unsigned weight)
{
	current_thread()->weight = MAX(weight, 1u);
}

const char *sched_name(const struct plat_thread *t)
{
	return t->name;
}

uint64_t sched_cpu_ns(const struct plat_thread *t)
{
	return t->cpu_ns;
}

unsigned sched_cpus(void)
{
	return sched.n_cpus;
}

uint64_t sched_idle_ns(void)
{
	uint64_t ns = 0;

	for (unsigned i = 0; i < sched.n_cpus; i++)
		ns += sched.cpu[i]->idle_ns;
	return ns;
}
