/* SPDX-License-Identifier: ISC */
/* debug.c: a debugger's hold on a VM.
 *
 * The debugger has a pause of its own (d->holding): whoever finds a reason first, a vCPU's thread or the
 * debugger's, takes it. All stop together. Points are kept as they were asked for; the set that engines
 * look at is made from them when the guest goes on, and the engine hears what is new. So a debugger that
 * takes all points out at each stop, as gdb does, costs nothing. */
#include "vm/debug.h"

#include "base/str.h"
#include "vm/vm.h"
#include "x86/cpu.h"

#define PAUSE_REASON "stopped by the debugger"
#define POINTS       (DEBUG_BREAKS + DEBUG_WATCHES)

struct point {
	enum debug_kind kind;
	gva_t addr;
	uint64_t len;
};

struct debug {
	struct vm *vm;
	void (*stopped)(void *arg);
	void *arg;
	_Atomic bool holding, attached;
	bool changed; /* points, since set was made */
	uint32_t n;
	struct point point[POINTS];
	struct debug_set set, next;
	struct vcpu *who;  /* whose state walker has */
	struct cpu walker; /* walks page tables with a vCPU's registers */
};

/* ---- life ------------------------------------------------------------------------------------- */

static hva_t op_ram(struct cpu *cpu, gpa_t gpa, bool write)
{
	return mem_ptr(((struct debug *)cpu->owner)->vm, gpa, 1, false);
}

/* Page tables in devices are not there. */
static uint64_t op_mmio_read(struct cpu *cpu, gpa_t gpa, unsigned size)
{
	return 0;
}

static int op_msr_read(struct cpu *cpu, uint32_t index, uint64_t *value)
{
	struct vcpu *vcpu = ((struct debug *)cpu->owner)->who;

	return vcpu->intc ? vcpu->intc->msr_read(vcpu->intc_chip, index, value) : ERR_NOENT;
}

static int op_msr_write(struct cpu *cpu, uint32_t index, uint64_t value)
{
	return ERR_NOENT; /* would not be without effects */
}

static uint8_t op_cr8_read(struct cpu *cpu)
{
	struct vcpu *vcpu = ((struct debug *)cpu->owner)->who;

	return vcpu->intc ? vcpu->intc->cr8_read(vcpu->intc_chip) : 0;
}

static void op_cr8_write(struct cpu *cpu, uint8_t value)
{
	struct vcpu *vcpu = ((struct debug *)cpu->owner)->who;

	if (vcpu->intc)
		vcpu->intc->cr8_write(vcpu->intc_chip, value);
}

static uint64_t op_tsc(struct cpu *cpu)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return lo | (uint64_t)hi << 32;
}

static const struct cpu_ops walker_ops = {
	.ram = op_ram,
	.mmio_read = op_mmio_read,
	.msr_read = op_msr_read,
	.msr_write = op_msr_write,
	.cr8_read = op_cr8_read,
	.cr8_write = op_cr8_write,
	.tsc = op_tsc,
};

int debug_create(struct vm *vm, void (*stopped)(void *arg), void *arg, struct debug **out)
{
	struct debug *d;

	if (!vm->engine->debug_changed)
		return err_here(ERR_NOSYS);
	d = plat_alloc(sizeof(*d));
	if (!d)
		return err_here(ERR_NOMEM);
	d->vm = vm;
	d->stopped = stopped;
	d->arg = arg;
	d->walker.ops = &walker_ops;
	d->walker.owner = d;
	d->walker.kind = &vm->kind;
	cpu_init(&d->walker);
	for (unsigned i = 0; i < vm->n_vcpus; i++)
		vm->vcpu[i]->debug.skip = DEBUG_NO_SKIP;
	vm->debug = d;
	*out = d;
	return 0;
}

void debug_destroy(struct debug *d)
{
	d->vm->debug = NULL;
	d->vm->debug_set = NULL;
	plat_free(d);
}

void debug_attach(struct debug *d)
{
	atomic_store(&d->attached, true);
}

/* ---- stops ------------------------------------------------------------------------------------ */

void debug_hold(struct debug *d)
{
	if (!atomic_exchange(&d->holding, true))
		vm_pause(d->vm, PAUSE_REASON);
}

bool debug_stop(struct debug *d)
{
	debug_hold(d);
	vm_wait_parked(d->vm);
	return d->vm->end == VM_RUNNING;
}

bool debug_is_stopped(const struct debug *d)
{
	return atomic_load(&d->holding);
}

static void report(struct debug *d, struct vcpu *vcpu, struct debug_stop stop)
{
	vcpu->debug.stop = stop;
	debug_hold(d);
	d->stopped(d->arg);
}

/* A breakpoint of either kind, whichever there is at that address */
static enum debug_kind break_kind(const struct debug *d, gva_t addr)
{
	for (uint32_t i = 0; i < d->n; i++)
		if (d->point[i].kind == DEBUG_SOFT_BREAK && d->point[i].addr == addr)
			return DEBUG_SOFT_BREAK;
	return DEBUG_HARD_BREAK;
}

void debug_hit(struct debug *d, struct vcpu *vcpu, const struct debug_hit *hit)
{
	const struct debug_watch *w = &d->set.watch[hit->watch % DEBUG_WATCHES];
	struct debug_stop stop = {.why = DEBUG_POINT, .addr = hit->addr};

	switch ((enum debug_hit_kind)hit->kind) {
	case HIT_BREAK:
		stop.kind = break_kind(d, hit->addr);
		break;
	case HIT_WATCH:
		stop.kind = w->read && w->write ? DEBUG_WATCH_BOTH
			    : w->write          ? DEBUG_WATCH_WRITE
						: DEBUG_WATCH_READ;
		break;
	case HIT_STEP:
		if (vcpu->state->rip - vcpu->debug.from < vcpu->debug.to - vcpu->debug.from)
			return;
		stop.why = DEBUG_STEPPED;
		break;
	case HIT_NONE:
		return;
	}
	report(d, vcpu, stop);
}

bool debug_crashed(struct debug *d, struct vcpu *vcpu)
{
	if (!atomic_load(&d->attached))
		return false;
	vcpu->state->activity = ACT_SHUTDOWN;
	report(d, vcpu, (struct debug_stop){.why = DEBUG_CRASHED});
	return true;
}

bool debug_take(struct debug *d, unsigned *vcpu, struct debug_stop *out)
{
	for (unsigned i = 0; i < d->vm->n_vcpus; i++) {
		struct debug_stop *stop = &d->vm->vcpu[i]->debug.stop;

		if (stop->why == DEBUG_NOTHING)
			continue;
		*vcpu = i;
		*out = *stop;
		stop->why = DEBUG_NOTHING;
		/* Remembered, so that it can go on from there. */
		d->vm->vcpu[i]->debug.skip =
			out->why == DEBUG_POINT && out->kind <= DEBUG_HARD_BREAK ? out->addr
										 : DEBUG_NO_SKIP;
		return true;
	}
	return false;
}

/* ---- points ----------------------------------------------------------------------------------- */

void debug_points_clear(struct debug *d)
{
	d->changed |= d->n > 0;
	d->n = 0;
}

static void add_break(struct debug_set *set, gva_t addr)
{
	uint32_t i = set->n_breaks;

	while (i && set->at[i - 1] > addr)
		i--;
	if (i && set->at[i - 1] == addr)
		return; /* both kinds at one place */
	memmove(&set->at[i + 1], &set->at[i], (set->n_breaks - i) * sizeof(set->at[0]));
	set->at[i] = addr;
	set->n_breaks++;
	set->offsets[(addr & PAGE_MASK) / 8] |= (uint8_t)BIT(addr % 8);
}

static void make_set(const struct debug *d, struct debug_set *set)
{
	memset(set, 0, sizeof(*set));
	for (uint32_t i = 0; i < d->n; i++) {
		const struct point *p = &d->point[i];

		if (p->kind <= DEBUG_HARD_BREAK)
			add_break(set, p->addr);
		else
			set->watch[set->n_watches++] = (struct debug_watch){
				.addr = p->addr,
				.len = p->len,
				.read = p->kind != DEBUG_WATCH_WRITE,
				.write = p->kind != DEBUG_WATCH_READ,
			};
	}
}

int debug_point(struct debug *d, bool set, enum debug_kind kind, gva_t addr, uint64_t len)
{
	const struct engine_ops *engine = d->vm->engine;
	bool is_break = kind <= DEBUG_HARD_BREAK;
	uint32_t i = 0, same = 0;

	if (is_break)
		len = 1;
	if (!len || addr + (len - 1) < addr || addr + len == 0)
		return err_here(ERR_INVAL);
	for (; i < d->n; i++) {
		const struct point *p = &d->point[i];

		if (p->kind == kind && p->addr == addr && p->len == len)
			break;
		same += (p->kind <= DEBUG_HARD_BREAK) == is_break;
	}
	if (set == (i < d->n))
		return 0;
	d->changed = true;
	if (!set) {
		d->point[i] = d->point[--d->n];
		return 0;
	}
	if (same == (is_break ? DEBUG_BREAKS : DEBUG_WATCHES))
		return err_here(ERR_NOMEM);
	d->point[d->n++] = (struct point){kind, addr, len};
	make_set(d, &d->next);
	if (engine->debug_can && !engine->debug_can(d->vm, &d->next)) {
		d->n--;
		return err_here(ERR_NOMEM);
	}
	return 0;
}

/* All points to the engine. */
static void apply(struct debug *d)
{
	struct debug_set *set = &d->next;
	bool breaks = false, watches;

	if (!d->changed)
		return;
	d->changed = false;
	make_set(d, set);
	for (uint32_t i = 0; i < set->n_breaks && !breaks; i++)
		breaks = !debug_breaks(&d->set, set->at[i]);
	watches = memcmp(set->watch, d->set.watch, sizeof(set->watch));
	d->set = *set;
	d->vm->debug_set = d->n ? &d->set : NULL;
	if (breaks || watches)
		d->vm->engine->debug_changed(d->vm, breaks, watches);
}

/* ---- going on --------------------------------------------------------------------------------- */

static gva_t linear_rip(struct debug *d, unsigned vcpu)
{
	const struct cpu *cpu = debug_load(d, vcpu);

	return cpu ? code_gva(cpu) : DEBUG_NO_SKIP;
}

static void prepare(struct debug *d, unsigned i, const struct debug_action *a)
{
	struct vcpu *vcpu = d->vm->vcpu[i];

	vcpu->debug.step = a->what != DEBUG_GO_STEP ? DEBUG_RUN
			   : a->no_irq              ? DEBUG_STEP_NO_IRQ
						    : DEBUG_STEP;
	vcpu->debug.from = a->from;
	vcpu->debug.to = a->to;
	if (vcpu->debug.skip != DEBUG_NO_SKIP && vcpu->debug.skip != linear_rip(d, i))
		vcpu->debug.skip = DEBUG_NO_SKIP;
	plat_mutex_lock(&d->vm->lock);
	atomic_store(&vcpu->debug.held, a->what == DEBUG_HOLD);
	plat_event_set(&vcpu->wake);
	plat_mutex_unlock(&d->vm->lock);
}

bool debug_resume(struct debug *d, const struct debug_action *action)
{
	struct vm *vm = d->vm;

	for (unsigned i = 0; i < vm->n_vcpus; i++) {
		struct debug_stop *stop = &vm->vcpu[i]->debug.stop;

		if (action[i].what == DEBUG_HOLD)
			continue;
		if (vm->vcpu[i]->state->activity == ACT_SHUTDOWN) {
			vm->crashed_vcpu = i;
			vm_stop(vm, VM_CRASHED, 0);
			return true;
		}
		/* Breakpoints that nobody has heard of will be hit again; the rest would be lost. */
		if (stop->why == DEBUG_POINT && stop->kind <= DEBUG_HARD_BREAK)
			stop->why = DEBUG_NOTHING;
		else if (stop->why != DEBUG_NOTHING)
			return false;
	}
	apply(d);
	for (unsigned i = 0; i < vm->n_vcpus; i++)
		prepare(d, i, &action[i]);
	if (atomic_exchange(&d->holding, false))
		vm_resume(vm);
	return true;
}

void debug_detach(struct debug *d)
{
	struct debug_action go[VM_MAX_VCPUS];
	unsigned vcpu;
	struct debug_stop stop;

	bool runs = debug_stop(d);

	atomic_store(&d->attached, false);
	debug_points_clear(d);
	if (!runs)
		return;
	for (unsigned i = 0; i < VM_MAX_VCPUS; i++)
		go[i] = (struct debug_action){.what = DEBUG_GO};
	while (debug_take(d, &vcpu, &stop))
		;
	debug_resume(d, go);
}

/* ---- looks ------------------------------------------------------------------------------------ */

struct cpu *debug_load(struct debug *d, unsigned vcpu)
{
	struct vm *vm = d->vm;

	if (vm->engine->get_state && vm->engine->get_state(vm->vcpu[vcpu]))
		return NULL;
	d->who = vm->vcpu[vcpu];
	d->walker.s = *d->who->state;
	cpu_state_changed(&d->walker);
	return &d->walker;
}

int debug_store(struct debug *d)
{
	struct x86_state *s = d->who->state, *new = &d->walker.s;

	/* It goes on elsewhere than after the HLT. */
	if (new->rip != s->rip) {
		new->shadow = 0;
		if (new->activity == ACT_HLT)
			new->activity = ACT_RUN;
	}
	*s = *new;
	return d->vm->engine->set_state ? d->vm->engine->set_state(d->who) : 0;
}

int debug_translate(struct debug *d, unsigned vcpu, gva_t gva, gpa_t *gpa)
{
	struct cpu *cpu = debug_load(d, vcpu);
	struct cpu_xlate x;
	int err = cpu ? cpu_walk_probe(cpu, gva, &x) : err_here(ERR_IO);

	if (!err)
		*gpa = x.gpa;
	return err;
}

/* Goes page by page; one of the buffers is NULL. */
static size_t copy(struct debug *d, unsigned vcpu, uint64_t addr, uint8_t *in, const uint8_t *out,
		   size_t len, bool phys)
{
	size_t done = 0;

	while (done < len) {
		gpa_t gpa = addr + done;
		size_t n = (size_t)MIN(PAGE_SIZE - (gpa & PAGE_MASK), (uint64_t)(len - done));
		int err = phys ? 0 : debug_translate(d, vcpu, addr + done, &gpa);

		if (!err)
			err = in ? mem_read(d->vm, gpa, in + done, n)
				 : mem_write(d->vm, gpa, out + done, n);
		if (err)
			break;
		done += n;
	}
	return done;
}

size_t debug_read(struct debug *d, unsigned vcpu, uint64_t addr, void *buf, size_t len, bool phys)
{
	return copy(d, vcpu, addr, buf, NULL, len, phys);
}

size_t debug_write(struct debug *d, unsigned vcpu, uint64_t addr, const void *buf, size_t len,
		   bool phys)
{
	return copy(d, vcpu, addr, NULL, buf, len, phys);
}
