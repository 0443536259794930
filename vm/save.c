/* SPDX-License-Identifier: ISC */
/* save.c: a VM's state to and from a stream (doc/state-format.md), and from one engine to another.
 *
 * The caller's thread freezes and thaws; devices are walked on the VM's loop, so that no timer of
 * theirs runs meanwhile. Back ends may still call: a device takes its lock while it is saved. */
#include "vm/save.h"

#include "base/str.h"
#include "vm/internal.h"
#include "vm/processor.h"
#include "x86/cpuid.h"

#define PARK_NS (30 * NS_PER_SEC)

/* ---- processors ---------------------------------------------------------------------------- */

#define S             struct x86_state
#define SEG_FIELDS(m) ST_U(S, m.sel), ST_UMAX(S, m.attr, 0xf1ff), ST_U(S, m.limit), ST_U(S, m.base)
static const struct st_field cpu_fields[] = {
	ST_A(S, gpr),
	ST_U(S, rip),
	ST_U(S, rflags),
	SEG_FIELDS(seg[ES]),
	SEG_FIELDS(seg[CS]),
	SEG_FIELDS(seg[SS]),
	SEG_FIELDS(seg[DS]),
	SEG_FIELDS(seg[FS]),
	SEG_FIELDS(seg[GS]),
	SEG_FIELDS(ldtr),
	SEG_FIELDS(tr),
	ST_U(S, gdtr.base),
	ST_U(S, gdtr.limit),
	ST_U(S, idtr.base),
	ST_U(S, idtr.limit),
	ST_UMAX(S, cr0, UINT32_MAX),
	ST_U(S, cr2),
	ST_U(S, cr3),
	ST_UMAX(S, cr4, UINT32_MAX),
	ST_A(S, dr),
	ST_U(S, xcr0),
	ST_UMAX(S, efer, UINT32_MAX),
	ST_U(S, star),
	ST_U(S, lstar),
	ST_U(S, cstar),
	ST_U(S, sfmask),
	ST_U(S, kernel_gs_base),
	ST_U(S, sysenter_cs),
	ST_U(S, sysenter_esp),
	ST_U(S, sysenter_eip),
	ST_U(S, pat),
	ST_U(S, tsc_aux),
	ST_U(S, misc_enable),
	ST_U(S, spec_ctrl),
	ST_U(S, xss),
	ST_U(S, debugctl),
	ST_U(S, mcg_status),
	ST_U(S, mcg_ctl),
	ST_F(S, tsc_offset, ST_OFFSET, 0),
	ST_U(S, tsc_adjust),
	ST_U(S, pkru),
	ST_U(S, smbase),
	ST_U(S, mtrr.def_type),
	ST_A(S, mtrr.fixed),
	ST_A(S, mtrr.base),
	ST_A(S, mtrr.mask),
	ST_UMAX(S, shadow, SHADOW_STI | SHADOW_MOVSS),
	ST_UMAX(S, activity, ACT_WAIT_SIPI),
	ST_B(S, nmi_blocked),
	ST_B(S, nmi_pending),
	ST_B(S, smm),
	ST_B(S, a20_masked),
	ST_RAW(S, xsave),
};
#undef S

/* Of the machine's and the devices' sections. 2: SMM, SMRAM, the SMI registers of the PIIX4. 3: the
 * SMBIOS tables of the PC. 4: MAXPHYADDR, which was 46. 5: trays of CD drives. 9: the kind of the
 * processors (PROCESSOR_SINCE). 10: PAE's registers, IGNNE#. */
#define SECTION_VERSION 11
#define MAXPHY_BEFORE_4 46

static const struct st_field smm_fields[] = {
	ST_B(struct x86_state, smi_pending),
	ST_B(struct x86_state, init_pending),
	ST_B(struct x86_state, smm_nmi_blocked),
};

static const struct st_field pae_fields[] = {
	ST_A(struct x86_state, pdpte),
	ST_B(struct x86_state, pdptes_loaded),
	ST_B(struct x86_state, ignne),
};

/* What waits for the vCPU's loop */
struct pending {
	uint32_t requests;
	uint8_t sipi_vector;
};
static const struct st_field pending_fields[] = {
	ST_U(struct pending, requests),
	ST_U(struct pending, sipi_vector),
};
#define SAVED_REQUESTS (REQ_IRQ | REQ_NMI | REQ_INIT | REQ_SIPI | REQ_SMI)

/* Images that the host's FXRSTOR or XRSTOR would refuse (SDM vol. 1, 13.8). A component may be in use that
 * the guest has switched off in XCR0 since. */
static bool xsave_ok(const struct x86_state *s, uint64_t model)
{
	const uint8_t *b = s->xsave.bytes;
	uint64_t xstate_bv, header[7];
	uint32_t mxcsr;

	memcpy(&mxcsr, b + 24, 4);
	memcpy(&xstate_bv, b + 512, 8);
	memcpy(header, b + 520, sizeof(header));
	for (unsigned i = 0; i < ARRAY_SIZE(header); i++)
		if (header[i])
			return false;
	/* FXSAVE's part is there whatever XCR0 says */
	return !(mxcsr & ~0xffffu) && (s->xcr0 & XCR0_X87) &&
	       !(xstate_bv & ~(model | XCR0_X87 | XCR0_SSE));
}

/* Engines may rely on what no guest could ever bring about. */
static bool cpu_ok(const struct x86_state *s, uint64_t model)
{
	bool lma = (s->efer & EFER_LME) && (s->cr0 & CR0_PG);

	if (s->pdptes_loaded && !x86_pdptes_ok(s))
		return false;
	return (s->rflags & FL_ONE) && xsave_ok(s, model) && !!(s->efer & EFER_LMA) == lma &&
	       (!(s->cr0 & CR0_PG) || (s->cr0 & CR0_PE)) && (!lma || (s->cr4 & CR4_PAE));
}

static int cpu_state(struct vm *vm, struct state_stream *st, unsigned i)
{
	struct vcpu *vcpu = vm->vcpu[i];
	/* An NMI after an INIT that waits comes once more, when that is known again. */
	uint32_t again = vcpu->state->init_nmi && vcpu->state->nmi_pending ? REQ_NMI : 0;
	struct pending p = {.requests = (vcpu->requests & SAVED_REQUESTS) | again,
			    .sipi_vector = vcpu->sipi_vector};
	const char *lacks;
	uint64_t have;

	if (!st->loading && vm->engine->get_state && vm->engine->get_state(vcpu))
		return state_fail(st, err_here(ERR_IO), "the engine does not give CPU %u's state",
				  i);
	if (!st->loading)
		x86_xsave_move(&vcpu->state->xsave, false);
	ST_SYNC(st, "cpu", i, cpu_fields, vcpu->state);
	x86_xsave_move(&vcpu->state->xsave, true);
	ST_SYNC(st, "pending", i, pending_fields, &p);
	if (!st->loading || st->version >= 2)
		ST_SYNC(st, "smm", i, smm_fields, vcpu->state);
	if (!st->loading || st->version >= 10)
		ST_SYNC(st, "pae", i, pae_fields, vcpu->state);
	if (!st->loading || st->err)
		return st->err;
	have = x86_kind_xcr0(&vm->kind);
	if (vcpu->state->xcr0 & ~have)
		return state_fail(
			st, err_here(ERR_NOSYS),
			"CPU %u uses registers that it has not on this host (XCR0 is %llx, of "
			"which there is %llx)",
			i, (unsigned long long)vcpu->state->xcr0, (unsigned long long)have);
	if (!cpu_ok(vcpu->state, have))
		return state_fail(st, err_here(ERR_FORMAT), "the state of CPU %u is impossible", i);
	atomic_fetch_or(&vcpu->requests, p.requests & SAVED_REQUESTS);
	vcpu->sipi_vector = p.sipi_vector;
	lacks = processor_lacks(vcpu);
	if (lacks)
		return state_fail(st, err_here(ERR_NOSYS),
				  "its processors have %s, which the engine %s has not: "
				  "--drop-features restores a guest that does not use it",
				  lacks, vm->engine->name);
	if (vm->engine->set_state && vm->engine->set_state(vcpu))
		return state_fail(st, err_here(ERR_IO), "the engine does not take CPU %u's state",
				  i);
	return 0;
}

/* ---- the machine ----------------------------------------------------------------------------- */

struct shape {
	uint32_t cpus;
	uint64_t memory, tsc_hz;
	char model[32];
};
static const struct st_field shape_fields[] = {
	ST_UMAX(struct shape, cpus, VM_MAX_VCPUS),
	ST_U(struct shape, memory),
	ST_U(struct shape, tsc_hz),
	ST_RAW(struct shape, model),
};

static void shape_of(struct vm *vm, struct shape *s)
{
	*s = (struct shape){.cpus = vm->n_vcpus, .memory = vm->ram.size, .tsc_hz = vm->tsc_hz};
	if (vm->model)
		str_copy(s->model, sizeof(s->model), x86_model_name(vm->model));
}

/* Guests keep what depends on it: masks of MTRRs, which page table entries cannot be. */
struct width {
	uint8_t maxphy;
};
static const struct st_field width_fields[] = {ST_UMAX(struct width, maxphy, X86_MAXPHY_MAX)};

static int sync_width(struct vm *vm, struct state_stream *st)
{
	struct width w = {st->loading ? MAXPHY_BEFORE_4 : vm->maxphy};

	if (!st->loading || st->version >= 4)
		ST_SYNC(st, "width", 0, width_fields, &w);
	vm->maxphy = w.maxphy;
	if (st->loading && !st->err && vm->maxphy < X86_MAXPHY)
		state_fail(st, err_here(ERR_FORMAT), "addresses of %u bits", vm->maxphy);
	for (unsigned i = 0; i < vm->n_vcpus; i++)
		vm->vcpu[i]->state->maxphy = vm->maxphy;
	return st->err;
}

static int check_shape(struct vm *vm, struct state_stream *st)
{
	struct shape want, have;

	shape_of(vm, &have);
	want = have;
	ST_SYNC(st, "machine", 0, shape_fields, &want);
	want.model[sizeof(want.model) - 1] = 0;
	if (!st->loading || st->err)
		return st->err;
	if (want.cpus != have.cpus || want.memory != have.memory)
		return state_fail(
			st, err_here(ERR_INVAL),
			"the state is of %u CPUs and %llu MiB, the VM has %u and %llu MiB",
			want.cpus, (unsigned long long)(want.memory / MIB), have.cpus,
			(unsigned long long)(have.memory / MIB));
	if (!str_eq(want.model, have.model))
		return state_fail(st, err_here(ERR_INVAL), "the state is of a %s, the VM is a %s",
				  want.model, have.model);
	/* 1%: measured frequencies differ a little from start to start. */
	if (want.tsc_hz > have.tsc_hz + have.tsc_hz / 100 ||
	    want.tsc_hz < have.tsc_hz - have.tsc_hz / 100)
		plat_log(LOG_WARN,
			 "this host's TSC runs at %llu MHz, the guest's ran at %llu: the "
			 "guest's clock will be off",
			 (unsigned long long)(have.tsc_hz / 1000000),
			 (unsigned long long)(want.tsc_hz / 1000000));
	return 0;
}

static int sync_kind(struct vm *vm, struct state_stream *st)
{
	struct x86_kind kind;

	if (!st->loading)
		processor_settle(vm);
	kind = vm->kind;
	if (processor_sync(st, &kind))
		return st->err;
	return st->loading ? processor_check(vm, st, &kind) : 0;
}

/* Of a state that is older than kinds: what its processors use says more than its version. */
static int older_kind(struct state_stream *st, const struct shape *shape, struct x86_kind *out)
{
	const struct x86_model *model = x86_model_find(shape->model);
	uint64_t xcr0 = XCR0_X87;
	bool osxsave = false;
	struct x86_state s;

	if (!model)
		return state_fail(st, err_here(ERR_NOSYS),
				  "the state is of a %s, which is not known", shape->model);
	x86_kind_of(model, out);
	for (unsigned i = 0; i < shape->cpus; i++) {
		struct pending p;

		ST_SYNC(st, "cpu", i, cpu_fields, &s);
		ST_SYNC(st, "pending", i, pending_fields, &p);
		if (st->version >= 2)
			ST_SYNC(st, "smm", i, smm_fields, &s);
		if (st->err)
			return st->err;
		xcr0 |= s.xcr0;
		osxsave |= (s.cr4 & CR4_OSXSAVE) != 0;
	}
	processor_was(out, shape->model, st->version, xcr0, osxsave);
	return 0;
}

/* Of all that comes before it in the section, only what is needed to come there is looked at. */
static int read_kind(struct state_stream *st, struct x86_kind *out, uint64_t *tsc_hz)
{
	struct shape shape;
	struct width w;

	if (state_expect(st, "machine", SECTION_VERSION) ||
	    ST_SYNC(st, "machine", 0, shape_fields, &shape))
		return st->err;
	shape.model[sizeof(shape.model) - 1] = 0;
	*tsc_hz = shape.tsc_hz;
	if (st->version >= 4)
		ST_SYNC(st, "width", 0, width_fields, &w);
	if (st->err)
		return st->err;
	return st->version >= PROCESSOR_SINCE ? processor_sync(st, out)
					      : older_kind(st, &shape, out);
}

int vm_state_kind(struct state_stream *st, struct x86_kind *out, uint64_t *tsc_hz)
{
	const char *missing;

	if (read_kind(st, out, tsc_hz))
		return st->err;
	missing = x86_kind_missing(out);
	return missing ? state_fail(st, err_here(ERR_NOSYS),
				    "its processors have %s, which this host has not", missing)
		       : 0;
}

int vm_state_fits(struct vm *vm, struct state_stream *st)
{
	uint32_t at = st->pos;
	struct x86_kind kind;
	uint64_t tsc_hz;

	if (state_expect(st, "machine", SECTION_VERSION) || check_shape(vm, st))
		return st->err;
	st->pos = at;
	if (read_kind(st, &kind, &tsc_hz))
		return st->err;
	processor_settle(vm);
	return processor_check(vm, st, &kind);
}

static unsigned dev_ordinal(struct vm *vm, const struct dev *dev)
{
	unsigned n = 0;

	for (struct dev *d = vm->devs; d != dev; d = d->next)
		n += d->cls == dev->cls;
	return n;
}

static int sections(struct vm *vm, struct state_stream *st)
{
	char name[STATE_NAME];
	bool load = st->loading;

	st->clock.tsc = vm_tsc(vm, st->clock.tsc);
	if (!load)
		state_begin(st, "machine", SECTION_VERSION);
	else if (!state_next(st))
		state_expect(st, "machine", SECTION_VERSION);
	if (!st->err)
		check_shape(vm, st);
	if (!st->err)
		sync_width(vm, st);
	if (!st->err && (!load || st->version >= PROCESSOR_SINCE))
		sync_kind(vm, st);
	/* Processors first: timers of local APICs need the guest's TSC. */
	for (unsigned i = 0; i < vm->n_vcpus && !st->err; i++)
		cpu_state(vm, st, i);
	load ? state_leave(st) : state_end(st);
	for (struct dev *dev = vm->devs; dev && !st->err; dev = dev->next) {
		if (dev->cls->stateless)
			continue;
		if (!dev->cls->state) {
			state_fail(st, err_here(ERR_NOSYS), "the device %s cannot be saved yet",
				   dev->cls->name);
			break;
		}
		str_format(name, sizeof(name), "%s.%u", dev->cls->name, dev_ordinal(vm, dev));
		if (!load)
			state_begin(st, name, SECTION_VERSION);
		else if (state_next(st) || state_expect(st, name, SECTION_VERSION))
			break;
		if (dev->cls->state(dev, st))
			state_fail(st, ERR_INVAL, "%s: refused", name);
		load ? state_leave(st) : state_end(st);
	}
	return st->err;
}

/* On the loop's thread: none of its timers runs meanwhile. */
struct walk {
	struct plat_task task;
	struct plat_event done;
	struct vm *vm;
	int (*fn)(struct vm *vm, void *arg);
	void *arg;
	int err;
};

static void walk_run(void *arg)
{
	struct walk *w = arg;

	w->err = w->fn(w->vm, w->arg);
	plat_event_set(&w->done);
}

static int walk(struct vm *vm, int (*fn)(struct vm *vm, void *arg), void *arg)
{
	struct walk w = {.task = {.fn = walk_run}, .vm = vm, .fn = fn, .arg = arg};

	w.task.arg = &w;
	plat_loop_post(vm->loop, &w.task);
	plat_event_wait(&w.done, PLAT_FOREVER);
	return w.err;
}

static int walk_clear(struct vm *vm, void *arg)
{
	vm_reset_frozen(vm);
	return 0;
}

static int walk_sections(struct vm *vm, void *st)
{
	return sections(vm, st);
}

void vm_state_clear(struct vm *vm)
{
	(void)walk(vm, walk_clear, NULL);
}

int vm_state_save(struct vm *vm, struct state_stream *st)
{
	return walk(vm, walk_sections, st);
}

int vm_state_load(struct vm *vm, struct state_stream *st)
{
	return walk(vm, walk_sections, st);
}

/* ---- stopping the world ------------------------------------------------------------------------ */

static int devices_freeze(struct vm *vm, bool on)
{
	int err = 0;

	for (struct dev *dev = vm->devs; dev; dev = dev->next)
		if (dev->cls->freeze && (!err || !on))
			err = dev->cls->freeze(dev, on);
	return err;
}

/* A reset that was asked for is carried out while vCPUs are parked. */
static bool at_rest(struct vm *vm)
{
	bool rest;

	plat_mutex_lock(&vm->lock);
	rest = !vm->reset_wanted && atomic_load(&vm->n_parked) == vm->n_vcpus;
	plat_mutex_unlock(&vm->lock);
	return rest;
}

int vm_freeze(struct vm *vm, const char *reason)
{
	uint64_t deadline = plat_now() + PARK_NS;
	int err = 0;

	vm_pause_sync(vm, reason);
	while (!at_rest(vm) && vm->end == VM_RUNNING && !err) {
		if (plat_now() > deadline)
			err = err_here(ERR_TIMEOUT);
		plat_event_clear(&vm->parked);
		plat_event_wait(&vm->parked, plat_now() + NS_PER_SEC / 200);
	}
	if (!err && vm->end != VM_RUNNING)
		err = err_here(ERR_INVAL);
	if (!err && vm->engine->settle)
		vm->engine->settle(vm);
	if (!err)
		err = devices_freeze(vm, true);
	if (err)
		vm_thaw(vm, true);
	return err;
}

void vm_thaw(struct vm *vm, bool resume)
{
	int err = devices_freeze(vm, false);

	if (err)
		plat_log(LOG_ERROR, "a device does not go on: %s", err_str(err));
	if (resume)
		vm_resume(vm);
}

/* ---- another engine ----------------------------------------------------------------------------- */

/* What a vCPU has in the engine that it leaves or enters */
struct seat {
	void *engine_data;
	struct x86_state *state;
	struct cpu *cpu;
};

static void seats_leave(struct vm *vm, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		vm->engine->vcpu_fini(vm->vcpu[i]);
	vm->engine->vm_fini(vm);
}

static int seats_take(struct vm *vm, const struct seat *old, unsigned *n, const char **lacks)
{
	int err = 0;

	for (*n = 0; *n < vm->n_vcpus && !err; *n += !err) {
		struct vcpu *vcpu = vm->vcpu[*n];

		err = vm->engine->vcpu_init(vcpu);
		if (!err)
			*vcpu->state = *old[*n].state;
	}
	for (unsigned i = 0; i < *n && !err; i++)
		if (vm->engine->set_state)
			err = vm->engine->set_state(vm->vcpu[i]);
	*lacks = err || !*n ? NULL : processor_lacks(vm->vcpu[0]);
	return *lacks ? err_here(ERR_NOSYS) : err;
}

static void swap(struct vm *vm, const struct engine_ops *engine, void *data,
		 const struct seat *seat)
{
	vm->engine = engine;
	vm->engine_data = data;
	for (unsigned i = 0; i < vm->n_vcpus; i++) {
		vm->vcpu[i]->engine_data = seat[i].engine_data;
		vm->vcpu[i]->state = seat[i].state;
		vm->vcpu[i]->cpu = seat[i].cpu;
	}
}

static void seats_get(struct vm *vm, struct seat *seat)
{
	for (unsigned i = 0; i < vm->n_vcpus; i++)
		seat[i] = (struct seat){vm->vcpu[i]->engine_data, vm->vcpu[i]->state,
					vm->vcpu[i]->cpu};
}

/* What the old engine has noted about pages means nothing to the new one. */
static void flags_clear(struct vm *vm)
{
	for (unsigned i = 0; i < vm->mem.n; i++)
		for (uint64_t p = 0; p < vm->mem.slot[i].size >> PAGE_SHIFT; p++)
			atomic_fetch_and_explicit(&vm->mem.slot[i].flags[p], (uint8_t)~PGF_CODE,
						  memory_order_relaxed);
}

/* With the engine that it has. */
static int stay(struct vm *vm, int err)
{
	if (vm->engine->attach && vm->engine->attach(vm))
		vm_stop(vm, VM_FAILED, 0);
	return err;
}

struct move {
	const struct engine_ops *engine;
	const char **lacks;
};

/* Timers of devices look at vCPUs' states, which live in their engine. */
static int walk_engine(struct vm *vm, void *arg)
{
	const struct engine_ops *engine = ((struct move *)arg)->engine, *old_engine = vm->engine;
	const char **lacks = ((struct move *)arg)->lacks;
	struct seat old[VM_MAX_VCPUS], new[VM_MAX_VCPUS];
	void *old_data = vm->engine_data, *new_data;
	unsigned n = 0;
	int err = 0;

	for (unsigned i = 0; i < vm->n_vcpus && !err; i++)
		if (vm->engine->get_state)
			err = vm->engine->get_state(vm->vcpu[i]);
	if (err)
		return err;
	for (unsigned i = 0; i < vm->n_vcpus; i++)
		vcpu_kicks_end(vm->vcpu[i]);
	if (old_engine->detach)
		old_engine->detach(vm);
	seats_get(vm, old);
	processor_settle(vm);
	vm->engine = engine;
	err = engine->vm_init(vm);
	if (err) {
		swap(vm, old_engine, old_data, old);
		return stay(vm, err);
	}
	err = seats_take(vm, old, &n, lacks);
	if (err) {
		seats_leave(vm, n);
		swap(vm, old_engine, old_data, old);
		return stay(vm, err);
	}
	seats_get(vm, new);
	new_data = vm->engine_data;
	swap(vm, old_engine, old_data, old);
	seats_leave(vm, vm->n_vcpus);
	swap(vm, engine, new_data, new);
	flags_clear(vm);
	err = engine->attach ? engine->attach(vm) : 0;
	if (err) /* the old one is gone */
		vm_stop(vm, VM_FAILED, 0);
	return err;
}

int vm_set_engine(struct vm *vm, const struct engine_ops *engine, const char **lacks)
{
	return walk(vm, walk_engine, &(struct move){engine, lacks});
}
