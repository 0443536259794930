/* SPDX-License-Identifier: ISC */
/* sched.c: threads. Who runs when is fair.c's to say. A slice ends by the local APIC's timer, also while
 * a guest runs (it then leaves by an interrupt exit), so that nobody has to cooperate. An idle CPU halts;
 * who becomes runnable wakes one, or interrupts whoever is furthest ahead.
 *
 * One lock for all, held over a switch and let go by the thread that is switched to; interrupts are
 * off while it is held. Numbers of threads and CPUs are small: lists are walked. */
#include "plat/metal/sched.h"

#include "base/str.h"
#include "plat/metal/apic.h"
#include "plat/metal/fair.h"
#include "plat/metal/mem.h"
#include "plat/metal/msr.h"
#include "plat/metal/spin.h"

#define STACK_SIZE      (64 * KIB)
#define CODE_STACK_SIZE (16 * KIB)
#define FPU_SIZE        1024 /* XSAVE's image of x87, SSE and AVX, which is what smp.c switches on */

struct plat_thread {
	uint64_t rsp; /* first: thread_switch() knows it */
	struct fair_task task;
	struct plat_thread *next; /* of those that have ended */
	uint8_t *stack;           /* NULL: the loader's or an idle CPU's */
	uint64_t serial;
	/* Of the last plat_guest_claim(): where, its tag there, and the CPU's round then */
	struct pcpu *guest_cpu;
	uint32_t guest_tag;
	uint64_t guest_round;
	const _Atomic uint32_t *wait;
	bool woken;
	_Atomic uint32_t ended;
	void (*fn)(void *);
	void *arg;
	void *gs;                                       /* base of GS; NULL: whatever it is */
	bool (*fault)(void *ctx, struct plat_fault *f); /* of translated code; NULL: runs none */
	void *fault_ctx;
	uint8_t *code_stack;             /* its end, see struct pcpu; NULL: never needed */
	void (*on_switch)(void *, bool); /* NULL: nobody wants to know */
	void *on_switch_arg;
	char name[16];
	uint8_t fpu[FPU_SIZE] attr_aligned(64);
};

static struct {
	struct spin lock;
	struct fair fair;
	struct plat_thread *stacks; /* ended threads, kept with their stacks */
	struct pcpu *cpu[PCPU_MAX];
	bool xsave, gs_by_insn;
	uint64_t serial;
} sched;
_Static_assert(PCPU_MAX <= FAIR_CPUS, "a bit for each");

static struct plat_thread *thread_of(struct fair_task *t)
{
	return container_of(t, struct plat_thread, task);
}

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

static void gs_load(void *base)
{
	if (sched.gs_by_insn)
		__asm__ volatile("wrgsbase %0" : : "r"(base) : "memory");
	else
		msr_write(0xc0000101, (uint64_t)base);
}

/* ---- choosing ---- */

static void wake(struct plat_thread *t)
{
	t->woken = true;
	t->wait = NULL;
	fair_wake(&sched.fair, &t->task, plat_now());
}

/* Interrupts the CPU that t should have. */
static void kick_for(const struct plat_thread *t)
{
	int cpu = fair_kick(&sched.fair, &t->task, plat_now());

	if (cpu >= 0)
		apic_ipi(sched.cpu[cpu]->apic_id, IRQ_RESCHED);
}

/* Lock held. Returns when the caller's thread runs again, with the lock held, perhaps on another CPU. */
static void schedule(void)
{
	struct pcpu *cpu = pcpu();
	struct plat_thread *from = cpu->current, *to;
	struct fair_look look;

	to = thread_of(fair_next(&sched.fair, cpu->index, &cpu->idle->task, plat_now(), &look));
	apic_timer(look.timer);
	for (unsigned i = 0; i < sched.fair.n_cpus; i++)
		if (look.kick >> i & 1)
			apic_ipi(sched.cpu[i]->apic_id, IRQ_RESCHED);
	if (to == from)
		return;
	cpu->current = to;
	cpu->code_stack = (uint64_t)to->code_stack;
	if (from->on_switch)
		from->on_switch(from->on_switch_arg, false);
	fpu_save(from);
	thread_switch(&from->rsp, to->rsp);
	fpu_restore(from); /* from runs again */
	if (from->gs)
		gs_load(from->gs);
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
	uint64_t flags = spin_lock(&sched.lock);

	fair_yield(&sched.fair, pcpu()->index);
	schedule();
	spin_unlock(&sched.lock, flags);
}

bool sched_wait(_Atomic uint32_t *word, uint32_t expect, uint64_t deadline)
{
	uint64_t flags = spin_lock(&sched.lock);
	struct plat_thread *t = current_thread();
	bool woken = true;

	if (atomic_load(word) == expect) {
		t->task.state = FAIR_BLOCKED;
		t->task.deadline = deadline;
		t->wait = word;
		t->woken = false;
		schedule();
		woken = t->woken;
	}
	spin_unlock(&sched.lock, flags);
	return woken;
}

void sched_wake(_Atomic uint32_t *word, unsigned n)
{
	uint64_t flags = spin_lock(&sched.lock);

	for (struct fair_task *i = sched.fair.all; i && n; i = i->next) {
		struct plat_thread *t = thread_of(i);

		if (i->state != FAIR_BLOCKED || t->wait != word)
			continue;
		wake(t);
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
	fair_add(&sched.fair, &t->task, plat_now());
}

int sched_init(struct pcpu *cpu)
{
	struct plat_thread *t = plat_alloc(sizeof(*t)), *idle;
	uint64_t flags, cr4;
	bool first = !sched.fair.n_cpus;
	struct plat_cpuid id;
	int err = 0;

	plat_cpuid(1, 0, &id);
	sched.xsave = id.ecx & BIT(27);
	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	sched.gs_by_insn = cr4 & BIT64(16);
	if (!t)
		return err_here(ERR_NOMEM);
	flags = spin_lock(&sched.lock);
	t->task = (struct fair_task){.weight = FAIR_WEIGHT, .allowed = FAIR_ANY, .idle = !first};
	enlist(t, first ? "main" : "idle");
	t->task.state = FAIR_RUNNING;
	t->task.cpu = cpu->index = sched.fair.n_cpus;
	cpu->current = t;
	cpu->idle = t;
	sched.cpu[cpu->index] = cpu;
	sched.fair.current[cpu->index] = &t->task;
	sched.fair.n_cpus++;
	spin_unlock(&sched.lock, flags);
	if (first) {
		err = plat_thread_create("idle", (void (*)(void *))(void (*)(void))sched_idle, NULL,
					 &idle);
		if (!err) {
			idle->task.idle = true;
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
	t->task.state = FAIR_DEAD;
	atomic_store(&t->ended, 1);
	for (struct fair_task *w = sched.fair.all; w; w = w->next)
		if (w->state == FAIR_BLOCKED && thread_of(w)->wait == &t->ended)
			wake(thread_of(w));
	schedule();
	__builtin_unreachable();
}

/* A thread with a stack, from those that have ended or fresh. */
static struct plat_thread *thread_get(void)
{
	uint64_t flags = spin_lock(&sched.lock), pa;
	struct plat_thread *t = sched.stacks;
	uint8_t *stack, *code_stack;

	if (t)
		sched.stacks = t->next;
	spin_unlock(&sched.lock, flags);
	if (t) {
		stack = t->stack;
		code_stack = t->code_stack;
		memset(t, 0, sizeof(*t));
		t->stack = stack;
		t->code_stack = code_stack;
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
	t->task.weight = current_thread()->task.weight;
	t->task.allowed = current_thread()->task.allowed;
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
	fair_remove(&sched.fair, &t->task);
	t->next = sched.stacks;
	sched.stacks = t;
	spin_unlock(&sched.lock, flags);
}

/* ---- for engines ---- */

bool plat_guest_claim(uint32_t tags, uint32_t *tag, bool *fresh)
{
	struct pcpu *cpu = pcpu();
	struct plat_thread *t = cpu->current;
	bool stays = t->guest_cpu == cpu; /* else what it did elsewhere is not known here */
	bool same = cpu->guest_owner == t->serial && stays;

	*fresh = !stays || t->guest_round != cpu->guest_round;
	if (*fresh) {
		if (cpu->guest_tags >= tags) {
			cpu->guest_round++;
			cpu->guest_tags = 0;
		}
		t->guest_tag = ++cpu->guest_tags;
		t->guest_round = cpu->guest_round;
	}
	*tag = t->guest_tag;
	cpu->guest_owner = t->serial;
	t->guest_cpu = cpu;
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

	if (t->task.state == FAIR_RUNNING && t->task.cpu != pcpu()->index)
		apic_ipi(sched.cpu[t->task.cpu]->apic_id, IRQ_RESCHED);
	spin_unlock(&sched.lock, flags);
}

/* ---- translated code ---- */

int plat_guest_thread(bool (*fn)(void *ctx, struct plat_fault *f), void *ctx, void *gs_base,
		      bool first)
{
	struct plat_thread *t = current_thread();
	uint64_t pa, flags;
	uint8_t *stack;

	if (!first && t->fault == fn && t->fault_ctx == ctx)
		return 0;
	if (!t->code_stack) {
		pa = phys_alloc(CODE_STACK_SIZE, PAGE_SIZE);
		stack = pa ? paging_map(pa, CODE_STACK_SIZE, MAP_W) : NULL;
		if (!stack)
			return err_here(ERR_NOMEM);
		flags = irq_off(); /* this CPU's, as long as it is */
		t->code_stack = stack + CODE_STACK_SIZE;
		pcpu()->code_stack = (uint64_t)t->code_stack;
		irq_restore(flags);
	}
	t->fault = fn;
	t->fault_ctx = ctx;
	plat_gs_set(gs_base);
	return 0;
}

void plat_gs_set(void *base)
{
	current_thread()->gs = base; /* first: from here on each switch loads it */
	gs_load(base);
}

bool sched_fault(struct plat_fault *f)
{
	struct plat_thread *t = current_thread();

	return t->fault && t->fault(t->fault_ctx, f);
}

/* ---- looking on ---- */

void sched_set_share(unsigned weight, uint64_t cpus)
{
	struct fair_task *t = &current_thread()->task;
	uint64_t flags = spin_lock(&sched.lock), all = BIT64(sched.fair.n_cpus - 1) * 2 - 1;

	t->weight = MAX(weight, 1u);
	t->allowed = cpus & all ? cpus : FAIR_ANY;
	kick_for(current_thread()); /* it may have to go elsewhere */
	schedule();
	spin_unlock(&sched.lock, flags);
}

const char *sched_name(const struct plat_thread *t)
{
	return t->name;
}

uint64_t sched_cpu_ns(const struct plat_thread *t)
{
	return t->task.ran;
}

uint64_t sched_waited_ns(const struct plat_thread *t)
{
	return t->task.waited_most;
}

unsigned sched_cpus(void)
{
	return sched.fair.n_cpus;
}

uint64_t sched_idle_ns(unsigned cpu)
{
	return sched.cpu[cpu]->idle->task.ran;
}
