/* SPDX-License-Identifier: ISC */
/* vm.c: creation and lifecycle of a virtual machine.
 *
 * vm->lock guards the fields of the lifecycle. vm_stop() and vm_pause() only leave a mark and wake
 * the vCPUs; the vCPU threads act on it between instructions. */
#include "vm/vm.h"

#include "base/str.h"
#include "vm/internal.h"
#include "x86/cpuid.h"

#define HIGH_RAM_BASE (4 * GIB)
#define SCREEN_BASE   0xa0000u
#define SHADOW_BASE   0xc0000u

static int vm_map_ram(struct vm *vm, const struct vm_config *cfg)
{
	uint64_t low = MIN(cfg->memory, cfg->low_end), from = 0;
	enum plat_ram_kind kind = cfg->reserved_pages      ? RAM_RESERVED
				  : cfg->engine->large_ram ? RAM_LARGE
							   : RAM_SHARED;
	int err = plat_ram_alloc(cfg->memory, kind, &vm->ram);

	if (err)
		return err;
	if (cfg->pc_low) {
		err = mem_add(vm, 0, SCREEN_BASE, vm->ram.hva, 0, false);
		if (!err)
			err = mem_add(vm, SHADOW_BASE, MIB - SHADOW_BASE, vm->ram.hva + SHADOW_BASE,
				      SHADOW_BASE, false);
		from = MIB;
		vm->mem.screen = (struct mem_slot){
			.gpa = SCREEN_BASE,
			.size = SHADOW_BASE - SCREEN_BASE,
			.hva = vm->ram.hva + SCREEN_BASE,
			.file_offset = SCREEN_BASE,
			.flags = plat_alloc((SHADOW_BASE - SCREEN_BASE) >> PAGE_SHIFT)};
		if (!err && !vm->mem.screen.flags)
			err = err_here(ERR_NOMEM);
	}
	if (!err && low > from)
		err = mem_add(vm, from, low - from, vm->ram.hva + from, from, false);
	if (!err && cfg->memory > low)
		err = mem_add(vm, HIGH_RAM_BASE, cfg->memory - low, vm->ram.hva + low, low, false);
	return err;
}

/* What is at least as wide again as the RAM leaves room for devices above it. */
static unsigned maxphy_for(const struct vm_config *cfg)
{
	unsigned bits = X86_MAXPHY;

	while (bits < X86_MAXPHY_MAX && (HIGH_RAM_BASE + cfg->memory) >> (bits - 1))
		bits++;
	return bits;
}

static void reset_cpu(struct vcpu *vcpu)
{
	x86_state_reset(vcpu->state, vcpu->index == 0);
	vcpu->state->maxphy = vcpu->vm->maxphy;
}

static int vm_create_vcpu(struct vm *vm, unsigned index)
{
	struct vcpu *vcpu = plat_alloc(sizeof(*vcpu));
	int err;

	if (!vcpu)
		return err_here(ERR_NOMEM);
	vcpu->vm = vm;
	vcpu->index = index;
	err = vm->engine->vcpu_init(vcpu);
	if (err) {
		plat_code_free(&vcpu->native);
		plat_free(vcpu);
		return err;
	}
	reset_cpu(vcpu);
	vm->vcpu[index] = vcpu;
	vm->n_vcpus = index + 1;
	return 0;
}

/* A vCPU that never leaves the guest would not see that its share is used up, or that rules have changed. */
static void quota_tick(void *arg)
{
	struct vm *vm = arg;

	for (unsigned i = 0; i < vm->n_vcpus; i++)
		vcpu_request(vm->vcpu[i], REQ_SHARE);
	if (!atomic_load(&vm->cpu_percent))
		return;
	plat_timer_arm(&vm->quota, plat_now() + NS_PER_SEC / 100);
}

void vm_set_cpu_limit(struct vm *vm, unsigned percent)
{
	atomic_store(&vm->cpu_percent, percent < 100 ? percent : 0);
	plat_timer_arm(&vm->quota, plat_now());
}

/* Two measurements of the same rate differ by less than its 1000th part. Eight bits of a ratio before the point are
 * what AMD's has. */
#define TSC_SAME   1000
#define TSC_TIMES  256
#define TSC_HZ_MAX BIT64(40)

bool vm_set_tsc_rate(struct vm *vm, uint64_t hz, uint64_t host, unsigned fraction)
{
	uint64_t ticks = vcpu_ticks(), was = vm_tsc(vm, ticks), rest, ratio;
	bool scaled = vm->tsc.ratio;

	if (!hz || !host || host > TSC_HZ_MAX || hz / host >= TSC_TIMES ||
	    (!scaled && MAX(hz, host) - MIN(hz, host) <= host / TSC_SAME))
		return false;
	ratio = hz / host;
	rest = hz % host;
	for (unsigned i = 0; i < fraction; i++) {
		rest <<= 1;
		ratio = ratio << 1 | (rest >= host);
		rest -= rest >= host ? host : 0;
	}
	if (!ratio)
		return false;
	vm->tsc = (struct tsc_scale){.ratio = ratio << (TSC_FRACTION - fraction)};
	vm->tsc.base = scaled ? was - vm_tsc(vm, ticks) : 0;
	vm->tsc_hz = hz;
	vm->tsc_host_hz = host;
	return true;
}

int vm_create(const struct vm_config *cfg, struct vm **out)
{
	struct vm *vm;
	int err;

	if (!cfg->cpus || cfg->cpus > VM_MAX_VCPUS || !IS_ALIGNED(cfg->memory, MIB) ||
	    cfg->memory < MIB || !IS_ALIGNED(cfg->low_end, MIB) || cfg->low_end > HIGH_RAM_BASE)
		return err_here(ERR_INVAL);
	vm = plat_alloc(sizeof(*vm));
	if (!vm)
		return err_here(ERR_NOMEM);
	str_copy(vm->name, sizeof(vm->name), cfg->name);
	vm->engine = cfg->engine;
	vm->model = cfg->model;
	if (cfg->kind)
		vm->kind = *cfg->kind;
	else
		x86_kind_of(cfg->model, &vm->kind);
	vm->chips = cfg->chips;
	vm->lines.may_lend = cfg->chips == CHIPS_LEND_ALL;
	plat_mutex_init(&vm->lines.lock, RANK_LINE);
	vm->bells = cfg->bells;
	vm->dirty_rings = cfg->dirty_rings;
	vm->may_be_late = !cfg->at_once;
	vm->maxphy = (uint8_t)maxphy_for(cfg);
	plat_mutex_init(&vm->lock, RANK_VM);
	bus_init(&vm->pio, vm, MON_PORT);
	bus_init(&vm->mmio, vm, MON_MMIO);
	err = plat_loop_create(&vm->loop);
	plat_timer_init(&vm->quota, vm->loop, quota_tick, vm);
	if (!err)
		err = vm_map_ram(vm, cfg);
	vm->tsc_wanted = cfg->tsc_hz;
	if (cfg->tsc_hz && cfg->engine->scales) /* the host's rate may take milliseconds to find */
		vm_set_tsc_rate(vm, cfg->tsc_hz, plat_tsc_hz(), cfg->engine->scales);
	if (!err)
		err = vm->engine->vm_init(vm);
	vm->engine_ready = !err;
	for (unsigned i = 0; i < cfg->cpus && !err; i++)
		err = vm_create_vcpu(vm, i);
	if (err) {
		vm_destroy(vm);
		return err;
	}
	if (!vm->tsc_hz) /* the engine may know it */
		vm->tsc_hz = plat_tsc_hz();
	*out = vm;
	return 0;
}

void vm_destroy(struct vm *vm)
{
	struct dev *dev, *next;

	/* The loop first: nothing calls into devices any more. */
	if (vm->loop)
		plat_loop_destroy(vm->loop);
	/* What was created last may lean on what came before. */
	for (dev = vm->devs, vm->devs = NULL; dev; dev = next) {
		next = dev->next;
		dev->next = vm->devs;
		vm->devs = dev;
	}
	for (dev = vm->devs; dev; dev = next) {
		next = dev->next;
		if (dev->cls->destroy)
			dev->cls->destroy(dev);
	}
	for (unsigned i = 0; i < vm->n_vcpus; i++) {
		vm->engine->vcpu_fini(vm->vcpu[i]);
		plat_code_free(&vm->vcpu[i]->native);
		plat_free(vm->vcpu[i]);
	}
	if (vm->engine_ready)
		vm->engine->vm_fini(vm);
	for (unsigned i = 0; i < vm->mem.n; i++)
		plat_free((void *)vm->mem.slot[i].flags);
	plat_free((void *)vm->mem.screen.flags);
	if (vm->ram.hva)
		plat_ram_free(&vm->ram);
	plat_free(vm);
}

void vm_add_dev(struct vm *vm, struct dev *dev, const struct dev_class *cls)
{
	struct dev **tail = &vm->devs;

	while (*tail)
		tail = &(*tail)->next;
	dev->cls = cls;
	dev->vm = vm;
	dev->next = NULL;
	*tail = dev;
}

static void request_all(struct vm *vm, uint32_t req)
{
	for (unsigned i = 0; i < vm->n_vcpus; i++)
		vcpu_request(vm->vcpu[i], req);
}

void vm_a20(void *sink, unsigned n, bool level)
{
	struct vm *vm = sink;

	if (vm->engine->pins && atomic_exchange(&vm->a20_masked, !level) == level)
		request_all(vm, REQ_A20);
}

/* Without vm->lock, which the monitor ranks below. */
static void tell_life(struct vm *vm, enum mon_life_op op, const char *text)
{
	const struct mon_event ev = {.cls = MON_LIFECYCLE,
				     .op = (uint8_t)op,
				     .vcpu = -1,
				     .data = text,
				     .len = (uint32_t)str_len(text)};

	mon_tell(&vm->mon, &ev);
}

/* Where the firmware, the kernel or a saved guest gets the machine */
static void tell_begin(struct vm *vm)
{
	const struct x86_state *s = vm->vcpu[0]->state;
	char text[80];

	str_format(text, sizeof(text), "CPU 0 begins at 0x%llx in %s mode",
		   (unsigned long long)(s->seg[CS].base + s->rip),
		   !(s->cr0 & CR0_PE)        ? "real"
		   : s->seg[CS].attr & SEG_L ? "64-bit"
					     : "protected");
	tell_life(vm, LIFE_NOTE, text);
}

int vm_start(struct vm *vm)
{
	int err = vm->engine->attach ? vm->engine->attach(vm) : 0;

	for (unsigned i = 0; i < vm->n_vcpus && !err; i++) {
		char name[16];

		if (!i)
			tell_begin(vm);
		str_format(name, sizeof(name), "vcpu%u", i);
		err = plat_thread_create(name, vcpu_thread, vm->vcpu[i], &vm->vcpu[i]->thread);
	}
	if (err) {
		vm_stop(vm, VM_FAILED, 0);
		vm_wait(vm);
	}
	return err;
}

void vm_stop(struct vm *vm, enum vm_end end, int exit_code)
{
	plat_mutex_lock(&vm->lock);
	if (vm->end == VM_RUNNING) {
		vm->end = end;
		vm->exit_code = exit_code;
	}
	plat_mutex_unlock(&vm->lock);
	request_all(vm, REQ_STOP);
	plat_event_set(&vm->resumed);
	plat_event_set(&vm->ended);
}

enum vm_end vm_wait(struct vm *vm)
{
	plat_event_wait(&vm->ended, PLAT_FOREVER);
	for (unsigned i = 0; i < vm->n_vcpus; i++) {
		if (vm->vcpu[i]->thread)
			plat_thread_join(vm->vcpu[i]->thread);
		vm->vcpu[i]->thread = NULL;
	}
	if (vm->engine->settle)
		vm->engine->settle(vm);
	return vm->end;
}

void vm_pause(struct vm *vm, const char *reason)
{
	plat_mutex_lock(&vm->lock);
	vm->paused++;
	str_copy(vm->pause_reason, sizeof(vm->pause_reason), reason);
	plat_mutex_unlock(&vm->lock);
	tell_life(vm, LIFE_PAUSE, reason);
	request_all(vm, REQ_PAUSE);
}

void vm_pause_sync(struct vm *vm, const char *reason)
{
	vm_pause(vm, reason);
	vm_wait_parked(vm);
}

void vm_set_calendar(struct vm *vm, int64_t offset, unsigned rate)
{
	atomic_store(&vm->time_rate, 0);
	atomic_store(&vm->time_base, plat_realtime());
	atomic_store(&vm->time_offset, offset);
	atomic_store(&vm->time_rate, rate == 100 ? 0 : rate);
}

uint64_t vm_realtime(const struct vm *vm)
{
	uint64_t now = plat_realtime(), passed;
	uint32_t rate = atomic_load(&vm->time_rate);

	if (rate) {
		passed = now - atomic_load(&vm->time_base);
		now = now - passed + passed / 100 * rate + passed % 100 * rate / 100;
	}
	return now + (uint64_t)atomic_load_explicit(&vm->time_offset, memory_order_relaxed);
}

void vm_wait_parked(struct vm *vm)
{
	while (atomic_load(&vm->n_parked) < vm->n_vcpus && vm->end == VM_RUNNING) {
		plat_event_wait(&vm->parked, plat_now() + NS_PER_SEC / 100);
		plat_event_clear(&vm->parked);
	}
}

void vm_resume(struct vm *vm)
{
	bool last;

	plat_mutex_lock(&vm->lock);
	if (vm->paused)
		vm->paused--;
	last = !vm->paused;
	if (last || (vm->asleep && vm->paused == 1))
		vm->pause_reason[0] = 0;
	plat_mutex_unlock(&vm->lock);
	if (last) {
		tell_life(vm, LIFE_RESUME, "goes on");
		plat_event_set(&vm->resumed);
		plat_event_set(&vm->parked);
	}
}

/* Sleep's pause becomes the reset's. */
static void request_reset(struct vm *vm, bool wake)
{
	bool first;

	plat_mutex_lock(&vm->lock);
	first = !vm->reset_wanted && (vm->asleep || !wake);
	if (!wake)
		vm->waking = false;
	if (first) {
		vm->reset_wanted = true;
		vm->waking = wake;
		vm->paused += !vm->asleep;
		vm->asleep = false;
	}
	plat_mutex_unlock(&vm->lock);
	if (first)
		request_all(vm, REQ_PAUSE);
	if (first)
		plat_event_set(&vm->parked);
}

void vm_request_reset(struct vm *vm)
{
	request_reset(vm, false);
}

void vm_sleep(struct vm *vm)
{
	bool fresh;

	plat_mutex_lock(&vm->lock);
	fresh = !vm->asleep && !vm->reset_wanted;
	if (fresh) {
		vm->asleep = true;
		vm->paused++;
	}
	plat_mutex_unlock(&vm->lock);
	if (fresh)
		tell_life(vm, LIFE_PAUSE, "suspended to RAM by the guest");
	request_all(vm, REQ_PAUSE);
}

void vm_wake(struct vm *vm)
{
	request_reset(vm, true);
}

bool vm_is_asleep(struct vm *vm)
{
	bool asleep;

	plat_mutex_lock(&vm->lock);
	asleep = vm->asleep;
	plat_mutex_unlock(&vm->lock);
	return asleep;
}

static void reset_vcpus(struct vm *vm)
{
	for (unsigned i = 0; i < vm->n_vcpus; i++) {
		struct vcpu *vcpu = vm->vcpu[i];

		atomic_fetch_and(&vcpu->requests, REQ_STOP | REQ_PAUSE | REQ_ENGINE);
		reset_cpu(vcpu);
		if (vcpu->intc)
			vcpu->intc->reset(vcpu->intc_chip, false);
	}
}

/* In order of creation; a board's loader comes last and prepares memory and vCPU 0. */
static void reset_devices(struct vm *vm, bool stateless)
{
	for (struct dev *dev = vm->devs; dev; dev = dev->next)
		if (dev->cls->reset && (stateless || !dev->cls->stateless))
			dev->cls->reset(dev);
}

void vm_reset_frozen(struct vm *vm)
{
	plat_mutex_lock(&vm->lock);
	vm->paused -= vm->asleep;
	vm->asleep = false;
	plat_mutex_unlock(&vm->lock);
	reset_vcpus(vm);
	reset_devices(vm, false); /* a loader's kernel would go into memory that is replaced */
}

void vm_do_reset(struct vm *vm)
{
	reset_vcpus(vm);
	vm->reset_wanted = false;
	plat_mutex_unlock(&vm->lock); /* the others stay parked: still paused */
	tell_life(vm, LIFE_RESET, vm->waking ? "wakes up" : "all devices and CPUs");
	reset_devices(vm, true);
	tell_begin(vm);
	for (unsigned i = 0; i < vm->n_vcpus; i++)
		if (vm->engine->set_state && vm->engine->set_state(vm->vcpu[i]))
			vm_stop(vm, VM_FAILED, 0);
	plat_mutex_lock(&vm->lock);
	vm->waking = false;
	vm->paused--;
	plat_event_set(&vm->resumed);
}
