/* SPDX-License-Identifier: ISC */
/* soft.c: the software engine as vm/ sees it: creation, the run loop, kicks, state.
 *
 * run() and the state functions enter on the vCPU's own thread, kick() and memory_changed() from any. */
#include "engine/soft/soft.h"

#include "base/str.h"
#include "engine/soft/block.h"
#include "engine/soft/direct.h"
#include "engine/soft/enter.h"
#include "engine/soft/layout.h"
#include "engine/soft/profile.h"
#include "engine/soft/span.h"
#include "engine/soft/tlb.h"
#include "engine/soft/view.h"
#include "vm/machine.h"

_Static_assert(sizeof(struct soft_vcpu) <= GS_STRUCT, "GS_STRUCT");

/* ---- the VM's part ----------------------------------------------------------------------- */

static bool host_has_bmi2(void)
{
	struct plat_cpuid id;

	plat_cpuid(0, 0, &id);
	if (id.eax < 7)
		return false;
	plat_cpuid(7, 0, &id);
	return id.ebx & BIT(8);
}

int soft_vm_init_with(struct vm *vm, const struct soft_config *cfg)
{
	struct soft_vm *sv = plat_alloc(sizeof(*sv));

	if (!sv)
		return err_here(ERR_NOMEM);
	sv->vm = vm;
	sv->cfg = *cfg;
	sv->bmi2 = host_has_bmi2() && !cfg->no_bmi2;
	sv->flags_computed = flags_ask_host();
	plat_mutex_init(&sv->lock, RANK_ENGINE);
	plat_mutex_init(&sv->alone_lock, RANK_ALONE);
	soft_fpu_init(sv);
	soft_direct_create(sv);
	int err = soft_cache_create(sv);
	if (err) {
		soft_direct_destroy(sv);
		plat_free(sv);
		return err;
	}
	vm->engine_data = sv;
	return 0;
}

static int soft_vm_init(struct vm *vm)
{
	return soft_vm_init_with(vm, &(struct soft_config){0});
}

static void soft_vm_fini(struct vm *vm)
{
	struct soft_vm *sv = vm->engine_data;

	if (sv->cfg.log_stats)
		soft_stats_log(vm);
	soft_profile_free(sv);
	soft_cache_destroy(sv);
	soft_direct_destroy(sv);
	plat_free(sv);
	vm->engine_data = NULL;
}

int soft_configure(struct vm *vm, const struct soft_config *cfg)
{
	struct soft_vm *sv = vm->engine_data;
	uint32_t tables = sv->cfg.tables, views = sv->cfg.views; /* vCPUs have theirs */
	int err;

	soft_profile_free(sv);
	soft_cache_destroy(sv);
	sv->cfg = *cfg;
	sv->cfg.tables = tables;
	sv->cfg.views = views;
	sv->bmi2 = host_has_bmi2() && !cfg->no_bmi2;
	soft_direct_destroy(sv);
	soft_direct_create(sv);
	err = soft_cache_create(sv);
	return err || !cfg->profile ? err : soft_profile_start(sv);
}

/* ---- the vCPU's part ----------------------------------------------------------------------- */

static struct plat_windows windows_of(uint32_t there, unsigned views)
{
	return (struct plat_windows){.shared = GS_SHARED,
				     .own = GS_OWN,
				     .n = views,
				     .array = TLB_BYTES,
				     .from = GS_TLB0,
				     .to = GS_MEMO0,
				     .own_to = GS_MEMO1 - GS_TLB1,
				     .folded = there == TLB_ENTRIES ? 0 : there * 8u};
}

static void vcpu_free(struct soft_vcpu *v)
{
	struct plat_windows windows;
	uint8_t *window[VIEWS];

	if (v->views)
		soft_views_destroy(v);
	soft_mirrors_free(v);
	plat_pages_free(v->rev, rev_bytes(v->tlb_there, v->n_views));
	memcpy(window, v->window, sizeof(window));
	windows = windows_of(v->tlb_there, v->n_views);
	plat_windows_free(&windows, window);
}

static int vcpu_alloc(uint32_t there, unsigned views, struct soft_vcpu **out)
{
	const struct plat_windows windows = windows_of(there, views);
	uint8_t *window[VIEWS] = {0};
	int err = plat_windows_alloc(&windows, window);
	struct soft_vcpu *v;

	if (err)
		return err;
	v = (struct soft_vcpu *)(void *)window[0];
	memcpy(v->window, window, sizeof(window));
	v->tlb_there = there;
	v->n_views = views;
	v->rev = plat_pages_alloc(rev_bytes(there, views));
	err = v->rev ? soft_views_create(v) : err_here(ERR_NOMEM);
	if (err)
		vcpu_free(v);
	else
		*out = v;
	return err;
}

static void soft_vcpu_fini(struct vcpu *vcpu)
{
	struct soft_vcpu *v = vcpu->engine_data;

	if (!v)
		return;
	soft_profile_stop(v->sv);
	soft_stats_add(&v->sv->gone, &v->stats);
	for (unsigned i = 0; i < I_COUNT; i++)
		v->sv->by_mnem[i] += v->by_mnem[i];
	v->sv->vcpu[vcpu->index] = NULL;
	vcpu_free(v);
	vcpu->engine_data = NULL;
}

static int soft_vcpu_init(struct vcpu *vcpu)
{
	struct soft_vm *sv = vcpu->vm->engine_data;
	struct soft_vcpu *v;
	unsigned views = vcpu->index && sv->cfg.views ? MIN(sv->cfg.views, VIEWS) : VIEWS;
	int err = vcpu_alloc(soft_tables_there(&sv->cfg), views, &v);

	if (err)
		return err;
	err = vcpu_cpu_init(vcpu, &v->cpu, &soft_cpu_ops, v);
	if (err) {
		vcpu_free(v);
		return err;
	}
	v->self = (uint64_t)v;
	v->vcpu = vcpu;
	v->sv = sv;
	v->mode_dirty = true;
	for (unsigned i = 0; i < 256; i++) {
		v->if_clear[i] = (uint8_t)(i & ~(FL_IF >> 8));
		v->if_set[i] = (uint8_t)(i | FL_IF >> 8);
	}
	for (unsigned i = 0; i < DIRECT_SITES; i++)
		v->direct_left[i] = 1;
	soft_tlb_init(v);
	soft_jumps_init(v);
	vcpu->engine_data = v;
	sv->vcpu[vcpu->index] = v;
	sv->n_vcpus = MAX(sv->n_vcpus, vcpu->index + 1);
	return 0;
}

/* A page of the guest's that is not mapped (yet) */
static bool soft_direct_fault(struct soft_vcpu *v, struct plat_fault *f, uint32_t site)
{
	const struct soft_cache *c = v->sv->cache;

	if (!(c->block[site_block(site)].mode & MODE_DIRECT) ||
	    f->addr - DIRECT_FIRST >= DIRECT_SIZE)
		return false;
	f->gpr[T2] = site | (f->write ? SITE_WRITE : 0);
	f->gpr[T0] = direct_gva(f->addr);
	f->pc = (uint64_t)soft_rx(c, c->t_direct);
	return true;
}

/* A hardware exception in translated code: continue in the trampoline that lets the interpreter
 * run this one instruction. */
static bool on_fault(void *ctx, struct plat_fault *f)
{
	struct soft_vcpu *v = ctx;
	uint32_t site;
	const uint8_t *to;

	if (!soft_cache_has_pc(v->sv, f->pc))
		return false;
	to = soft_fault_site(v, f->pc, &site);
	if (!to)
		return false;
	if (f->page && soft_direct_fault(v, f, site))
		return true;
	v->stats.faults++;
	v->faulted = true;
	f->gpr[R15] = site;
	f->pc = (uint64_t)to;
	return true;
}

static void soft_run(struct vcpu *vcpu, struct vcpu_exit *exit)
{
	struct soft_vcpu *v = vcpu->engine_data;

	exit->kind = EXIT_NONE;
	exit->err = plat_guest_thread(on_fault, v, v->view->gs, !v->thread_ready);
	if (exit->err) {
		exit->kind = EXIT_ERROR;
		return;
	}
	v->thread_ready = true;
	v->exit = exit;
	v->leave = false;
	v->look = true;
	v->mode_dirty = true;
	soft_doing(v, DOING_DISPATCH);
	v->cpu.debug = vcpu->vm->debug_set;
	v->cpu.debug_step = (uint8_t)vcpu->debug.step;
	v->cpu.debug_skip = vcpu->debug.skip;
	v->cpu.hit.kind = HIT_NONE;
	soft_come_in(v);
	soft_code_news(v);
	for (;;) {
		const uint8_t *code = soft_next(v);

		if (v->leave)
			break;
		soft_enter(v, code);
		soft_doing(v, DOING_DISPATCH);
		if (v->leave)
			break;
	}
	soft_doing(v, DOING_AWAY);
	soft_fpu_park(v);
	atomic_store(&v->in_code, false);
	v->exit = NULL;
}

static void soft_kick(struct vcpu *vcpu)
{
	struct soft_vcpu *v = vcpu->engine_data;

	atomic_store(&v->poll, 1);
}

static int soft_get_state(struct vcpu *vcpu)
{
	return 0; /* s is the state */
}

static int soft_set_state(struct vcpu *vcpu)
{
	struct soft_vcpu *v = vcpu->engine_data;

	soft_tlb_flush(&v->cpu, FLUSH_ALL, 0, 0);
	cpu_state_changed(&v->cpu);
	v->mode_dirty = true;
	return 0;
}

static int soft_probe(struct engine_probe *out)
{
	*out = (struct engine_probe){.usable = true, .verdict = "executes"};
	return 0;
}

static void soft_memory_changed(struct vm *vm, gpa_t gpa, uint64_t len)
{
	soft_code_changed(vm->engine_data, NULL, gpa, len);
}

static void soft_memory_protected(struct vm *vm, gpa_t gpa, uint64_t len)
{
	struct soft_vm *sv = vm->engine_data;

	for (gpa_t end = gpa + len; gpa < end; gpa += PAGE_SIZE) {
		hva_t page = mem_ptr(vm, gpa, PAGE_SIZE, false);

		if (page)
			soft_code_protect(sv, page);
	}
}

static void soft_memory_replaced(struct vm *vm)
{
	struct soft_vm *sv = vm->engine_data;

	soft_cache_forget(sv);
	soft_direct_drop(sv);
	for (unsigned i = 0; i < sv->n_vcpus; i++) {
		if (!sv->vcpu[i])
			continue;
		soft_mirrors_drop(sv->vcpu[i]);
		soft_tlb_flush(&sv->vcpu[i]->cpu, FLUSH_ALL, 0, 0);
	}
}

static void soft_debug_changed(struct vm *vm, bool breaks, bool watches)
{
	struct soft_vm *sv = vm->engine_data;

	if (breaks)
		soft_blocks_cut(sv, vm->debug_set);
	soft_direct_drop(sv);
	/* Watched pages are kept out of the TLBs, see enter() in tlb.c. */
	for (unsigned i = 0; i < sv->n_vcpus && watches; i++)
		if (sv->vcpu[i])
			soft_tlb_flush(&sv->vcpu[i]->cpu, FLUSH_ALL, 0, 0);
}

static void soft_idle(struct vcpu *vcpu)
{
	struct soft_vcpu *v = vcpu->engine_data;
	struct vm *vm = vcpu->vm;

	v->stats.rests++;
	soft_views_rest(v);
	for (unsigned i = 0; i < vm->n_vcpus; i++) {
		struct vcpu *o = vm->vcpu[i];

		if (o != vcpu && !(atomic_load(&o->idle.idle) && atomic_load(&o->halted)))
			return;
	}
	soft_cache_rest(v);
}

const struct engine_ops engine_soft = {
	.name = "soft",
	.pins = true,
	.scales = TSC_FRACTION,
	.probe = soft_probe,
	.vm_init = soft_vm_init,
	.vm_fini = soft_vm_fini,
	.vcpu_init = soft_vcpu_init,
	.vcpu_fini = soft_vcpu_fini,
	.run = soft_run,
	.kick = soft_kick,
	.get_state = soft_get_state,
	.set_state = soft_set_state,
	.memory_changed = soft_memory_changed,
	.memory_replaced = soft_memory_replaced,
	.memory_protected = soft_memory_protected,
	.idle = soft_idle,
	.debug_changed = soft_debug_changed,
};
