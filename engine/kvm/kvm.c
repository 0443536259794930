/* SPDX-License-Identifier: ISC */
/* kvm.c: guests on the processor itself, through Linux's KVM (Documentation/virt/kvm/api.rst).
 *
 * KVM gives processors and memory, and local APICs where they are lent to it (chip.c). Else they are the
 * device models, as I/O APIC and PIC are but for --kvm-irqchip full: an interrupt is injected at an entry, when the guest
 * can take it, else KVM is asked for an exit as soon as it can. So each access to a local APIC is seen, at
 * the price of an exit.
 *
 * A vCPU's thread runs and converts state; kick() comes from any thread: immediate_exit keeps KVM_RUN
 * from entering, and a signal ends the one that has. */
#include "engine/kvm/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vm/machine.h"

#define KICK_SIGNAL   SIGUSR1
#define REFUSALS_MAX  1000u
#define KERNEL_SIGSET 8u     /* bytes of the kernel's sets of signals */
#define CPUID_SVM     BIT(2) /* 80000001H, ECX */
/* Three pages that Intel's real mode needs, and one more; below the local APIC, not RAM here. */
#define TSS_ADDR      0xfffbd000u
#define IDENTITY_ADDR UINT64_C(0xfffbc000)

/* ---- the VM's part --------------------------------------------------------------------------- */

int kvm_host_err(const char *what)
{
	plat_log(LOG_ERROR, "kvm: %s: %s", what, strerror(errno));
	return err_here(errno == ENOMEM ? ERR_NOMEM : errno == EACCES ? ERR_ACCES : ERR_NOSYS);
}

static int kvm_open(struct vm *vm, struct kvm_vm *kv)
{
	struct kvm_enable_cap emulation = {.cap = KVM_CAP_EXIT_ON_EMULATION_FAILURE, .args = {1}};
	uint64_t identity = IDENTITY_ADDR;
	const struct kvm_cap *cap;
	int size, err;

	kv->dev_fd = vm->kvm_fd > 0 ? fcntl(vm->kvm_fd, F_DUPFD_CLOEXEC, 0)
				    : open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kv->dev_fd < 0)
		return kvm_host_err("/dev/kvm");
	kv->fd = ioctl(kv->dev_fd, KVM_CREATE_VM, 0);
	if (kv->fd < 0)
		return kvm_host_err("a VM cannot be created");
	size = ioctl(kv->dev_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (size < (int)sizeof(struct kvm_run))
		return kvm_host_err("KVM_GET_VCPU_MMAP_SIZE");
	kv->run_size = (size_t)size;
	err = kvm_caps_cpuid(kv->dev_fd, &kv->host);
	if (err)
		return err;
	kv->has = kvm_caps_ask(kv->fd, &kv->host);
	cap = kvm_caps_missing(kv->has);
	if (cap) {
		plat_log(LOG_ERROR, "kvm: this kernel's KVM lacks \"%s\": %s", cap->name,
			 cap->without);
		return err_here(ERR_NOSYS);
	}
	vm->steal_time = kvm_has(kv, HAS_STEAL_TIME);
	if (kvm_has(kv, HAS_EMULATION_EXIT) && ioctl(kv->fd, KVM_ENABLE_CAP, &emulation))
		plat_log(LOG_DEBUG, "kvm: no exits on emulation failures: %s", strerror(errno));
	/* Absent on AMD's; where they are needed KVM complains later by itself. */
	if (ioctl(kv->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) ||
	    ioctl(kv->fd, KVM_SET_TSS_ADDR, TSS_ADDR))
		plat_log(LOG_DEBUG, "kvm: no TSS address: %s", strerror(errno));
	kvm_dirty_init(vm, kv);
	err = vm->chips == CHIPS_OURS ? 0 : kvm_chips_init(vm, kv);
	return err ? err : kvm_msrs_init(kv);
}

static void kvm_vm_fini(struct vm *vm)
{
	struct kvm_vm *kv = vm->engine_data;

	if (!kv)
		return;
	if (kv->fd >= 0)
		close(kv->fd);
	if (kv->dev_fd >= 0)
		close(kv->dev_fd);
	plat_free(kv->routes);
	plat_free(kv);
	vm->engine_data = NULL;
}

static void on_kick(int sig)
{
}

static int kvm_vm_init(struct vm *vm)
{
	struct kvm_vm *kv = plat_alloc(sizeof(*kv));
	struct sigaction sa = {.sa_handler = on_kick, .sa_flags = SA_RESTART};
	int err;

	if (!kv)
		return err_here(ERR_NOMEM);
	kv->fd = kv->dev_fd = -1;
	plat_mutex_init(&kv->lock, RANK_ENGINE);
	plat_mutex_init(&kv->route_lock, RANK_ROUTER);
	kvm_bells_init(kv);
	kvm_late_init(kv);
	for (unsigned i = 0; i < KVM_IRQ_FDS; i++)
		kv->irq_fd[i].fd = -1;
	vm->engine_data = kv;
	err = sigaction(KICK_SIGNAL, &sa, NULL) ? kvm_host_err("sigaction") : kvm_open(vm, kv);
	if (err)
		kvm_vm_fini(vm);
	return err;
}

/* ---- the vCPU's part ----------------------------------------------------------------------------- */

static void kvm_vcpu_fini(struct vcpu *vcpu)
{
	struct kvm_vcpu *v = vcpu->engine_data;

	if (!v)
		return;
	kvm_dirty_vcpu_fini(v);
	if (v->run)
		munmap(v->run, v->kv->run_size);
	if (v->fd >= 0)
		close(v->fd);
	plat_pages_free(v, ALIGN_UP(sizeof(*v), PAGE_SIZE));
	vcpu->engine_data = NULL;
}

/* KVM's ratio is that of the two numbers of kHz, cut to what the processor has. */
static unsigned tsc_fraction(void)
{
	struct plat_cpuid r;

	plat_cpuid(0x80000001, 0, &r);
	return r.ecx & CPUID_SVM ? SVM_FRACTION : VMX_FRACTION;
}

static bool tsc_scale(struct kvm_vcpu *v, uint64_t host)
{
	struct vm *vm = v->vcpu->vm;
	uint64_t hz = vm->tsc.ratio ? vm->tsc_hz : vm->tsc_wanted,
		 khz = hz / 1000 + (hz % 1000 >= 500);

	return kvm_has(v->kv, HAS_TSC_CONTROL) && khz <= UINT32_MAX &&
	       vm_set_tsc_rate(vm, khz * 1000, host, tsc_fraction()) &&
	       !ioctl(v->fd, KVM_SET_TSC_KHZ, (unsigned long)khz);
}

/* The host's rate is the kernel's calibration, without the wait that others have for it; the guest's may be another
 * one, from a saved state or from the engine that had the VM before. */
static int tsc_rate(struct kvm_vcpu *v)
{
	struct vm *vm = v->vcpu->vm;
	bool scaled = vm->tsc.ratio;
	int khz;

	if (!kvm_has(v->kv, HAS_TSC_KHZ) || (vm->tsc_hz && !scaled))
		khz = 0;
	else
		khz = ioctl(v->fd, KVM_GET_TSC_KHZ, 0);
	if (khz > 0 && tsc_scale(v, (uint64_t)khz * 1000))
		return 0;
	if (scaled) {
		plat_log(LOG_ERROR,
			 "kvm: the guest's TSC goes at %llu MHz, which this KVM cannot do: it has "
			 "no TSC scaling, or not so far",
			 (unsigned long long)(vm->tsc_hz / 1000000));
		return err_here(ERR_RANGE);
	}
	if (khz > 0) {
		vm->tsc = (struct tsc_scale){0};
		vm->tsc_hz = (uint64_t)khz * 1000;
	}
	return 0;
}

static int kvm_vcpu_init(struct vcpu *vcpu)
{
	struct kvm_vm *kv = vcpu->vm->engine_data;
	struct kvm_vcpu *v = plat_pages_alloc(ALIGN_UP(sizeof(*v), PAGE_SIZE));
	void *run;
	int err;

	if (!v)
		return err_here(ERR_NOMEM);
	v->vcpu = vcpu;
	v->kv = kv;
	v->fd = -1;
	vcpu->engine_data = v;
	err = vcpu_cpu_init(vcpu, &v->cpu, &kvm_cpu_ops, v);
	if (err) {
		kvm_vcpu_fini(vcpu);
		return err;
	}
	v->fd = ioctl(kv->fd, KVM_CREATE_VCPU, (unsigned long)vcpu->index);
	if (v->fd < 0) {
		kvm_vcpu_fini(vcpu);
		return kvm_host_err("a vCPU cannot be created");
	}
	run = mmap(NULL, kv->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (run == MAP_FAILED) {
		kvm_vcpu_fini(vcpu);
		return kvm_host_err("mmap");
	}
	v->run = run;
	kvm_late_ring(v);
	err = tsc_rate(v);
	if (err)
		kvm_vcpu_fini(vcpu);
	return err;
}

/* Those of the thread are those of KVM_RUN, too, whatever is blocked outside: see guard(). */
static int guest_signals(struct kvm_vcpu *v)
{
	union {
		struct kvm_signal_mask head;
		uint8_t room[sizeof(struct kvm_signal_mask) + KERNEL_SIGSET];
	} m = {.head.len = KERNEL_SIGSET};
	sigset_t set;

	if (pthread_sigmask(SIG_BLOCK, NULL, &set))
		return -1;
	memcpy(m.head.sigset, &set, KERNEL_SIGSET);
	return ioctl(v->fd, KVM_SET_SIGNAL_MASK, &m);
}

/* Once on the vCPU's thread: the machine is complete by now, and CPUID depends on it. */
static int thread_prepare(struct kvm_vcpu *v)
{
	sigset_t set;
	int err = kvm_slots_sync(v->vcpu->vm);

	if (err)
		return err;
	sigemptyset(&set);
	sigaddset(&set, KICK_SIGNAL);
	if (pthread_sigmask(SIG_UNBLOCK, &set, NULL) || (v->kv->split && guest_signals(v)))
		return kvm_host_err("signals");
	err = kvm_set_state(v->vcpu);
	v->thread_ready = !err;
	atomic_store(&v->tid, (int)syscall(SYS_gettid));
	return err;
}

static void kvm_kick(struct vcpu *vcpu)
{
	struct kvm_vcpu *v = vcpu->engine_data;
	bool guarded = atomic_load(&v->guarded);
	int tid = atomic_load(&v->tid);

	if (!guarded)
		__atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	if (tid && (guarded || tid != (int)syscall(SYS_gettid)))
		syscall(SYS_tgkill, getpid(), tid, KICK_SIGNAL);
}

/* ---- exits ----------------------------------------------------------------------------------------- */

static void do_pio(struct kvm_vcpu *v)
{
	struct kvm_run *run = v->run;
	uint8_t *p = (uint8_t *)run + run->io.data_offset;
	struct bus *bus = &v->vcpu->vm->pio;
	int who = (int)v->vcpu->index;

	for (uint32_t i = 0; i < run->io.count; i++, p += run->io.size) {
		uint64_t value = 0;

		if (run->io.direction == KVM_EXIT_IO_OUT) {
			memcpy(&value, p, run->io.size);
			kvm_bus_write(v, bus, run->io.port, run->io.size, value);
		} else {
			value = bus_read(bus, who, run->io.port, run->io.size);
			memcpy(p, &value, run->io.size);
		}
	}
	if (unlikely(vcpu_requested(v->vcpu, REQ_SMI)) && !v->cpu.s.smm)
		kvm_io_smi(v, run->io.port, run->io.size);
}

/* Memory that KVM does not know: what is behind the screen, or a slot that is being replaced. */
static bool do_ram(struct kvm_vcpu *v, uint64_t at, uint8_t *p, unsigned len)
{
	struct vm *vm = v->vcpu->vm;
	bool write = v->run->mmio.is_write;

	for (unsigned i = 0; i < len; i++) {
		hva_t hva = kvm_mem(vm, at + i, write, false, false);

		if (!hva)
			return false;
		memcpy(write ? hva : p + i, write ? p + i : hva, 1);
		if (write)
			kvm_dirty_later(v, at + i);
	}
	kvm_dirty_now(v);
	return true;
}

/* KVM gives lengths of 1 to 8; the bus takes powers of two. */
static void do_mmio(struct kvm_vcpu *v)
{
	struct kvm_run *run = v->run;
	struct bus *bus = &v->vcpu->vm->mmio;
	uint64_t at = run->mmio.phys_addr;
	uint8_t *p = run->mmio.data;
	int who = (int)v->vcpu->index;

	if (unlikely(do_ram(v, at, p, MIN(run->mmio.len, 8u))))
		return;
	for (unsigned left = MIN(run->mmio.len, 8u); left;) {
		unsigned size = 1u << (31 - __builtin_clz(left));
		uint64_t value = 0;

		if (run->mmio.is_write) {
			memcpy(&value, p, size);
			kvm_bus_write(v, bus, at, size, value);
		} else {
			value = bus_read(bus, who, at, size);
			memcpy(p, &value, size);
		}
		at += size;
		p += size;
		left -= size;
	}
}

/* False: run() has something to report. */
static bool handle(struct kvm_vcpu *v, struct vcpu_exit *exit)
{
	struct kvm_run *run = v->run;
	struct vcpu *vcpu = v->vcpu;

	v->incomplete = false;
	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		atomic_fetch_add_explicit(&vcpu->exits[EXIT_PIO], 1, memory_order_relaxed);
		do_pio(v);
		v->incomplete = true;
		return true;
	case KVM_EXIT_MMIO:
		atomic_fetch_add_explicit(&vcpu->exits[EXIT_MMIO], 1, memory_order_relaxed);
		do_mmio(v);
		v->incomplete = true;
		return true;
	case KVM_EXIT_X86_RDMSR:
	case KVM_EXIT_X86_WRMSR:
		kvm_msr_exit(v, run->exit_reason == KVM_EXIT_X86_WRMSR);
		v->incomplete = true;
		return true;
	case KVM_EXIT_DIRTY_RING_FULL:
		exit->err = kvm_dirty_full(v);
		if (!exit->err)
			return true;
		break;
	case KVM_EXIT_IRQ_WINDOW_OPEN:
	case KVM_EXIT_SET_TPR:
	case KVM_EXIT_INTR:
		return true;
	case KVM_EXIT_IOAPIC_EOI:
		if (vcpu->vm->irq.eoi)
			vcpu->vm->irq.eoi(vcpu->vm->irq.eoi_chip, run->eoi.vector);
		return true;
	case KVM_EXIT_HLT:
		/* An NMI that the guest has had since ends no HLT. */
		exit->err = kvm_nmi_learn(v);
		if (exit->err)
			break;
		vcpu->state->activity = ACT_HLT;
		exit->kind = EXIT_HLT;
		if (v->stepping) /* whose own exit is lost */
			kvm_debug_exit(v, 0, exit);
		if (exit->kind == EXIT_NONE)
			exit->kind = EXIT_HLT;
		return false;
	case KVM_EXIT_DEBUG:
		return !kvm_debug_exit(v, run->debug.arch.dr6, exit);
	case KVM_EXIT_SHUTDOWN:
		kvm_get_state(vcpu);
		exit->kind = EXIT_SHUTDOWN;
		return false;
	case KVM_EXIT_FAIL_ENTRY:
		/* Processors refuse some states that they themselves can be in. */
		if (v->refused++ < REFUSALS_MAX) {
			kvm_interp_failed(v);
			return true;
		}
		plat_log(LOG_ERROR, "kvm: the processor refuses to enter the guest: reason 0x%llx",
			 (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		if (run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION) {
			kvm_interp_failed(v);
			return true;
		}
		kvm_get_state(vcpu);
		plat_log(LOG_ERROR, "kvm: internal error %u at rip 0x%llx", run->internal.suberror,
			 (unsigned long long)vcpu->state->rip);
		break;
	default:
		plat_log(LOG_ERROR, "kvm: unexpected exit %u", run->exit_reason);
	}
	exit->kind = EXIT_ERROR;
	exit->err = err_here(ERR_IO);
	return false;
}

static void block_kicks(int how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, KICK_SIGNAL);
	pthread_sigmask(how, &set, NULL);
}

/* Beside local APICs of its own KVM keeps a vector of the PIC's where nobody can read it until it enters the guest,
 * so that it would be missing in a state that is read before. From here on kicks do not keep it from
 * entering: they wait as signals, which KVM_RUN looks at when it has the vector on its way. False: a kick
 * has come before. */
static bool guard(struct kvm_vcpu *v)
{
	atomic_store(&v->guarded, true);
	block_kicks(SIG_BLOCK);
	__atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
	return !atomic_load(&v->vcpu->requests);
}

static void unguard(struct kvm_vcpu *v)
{
	atomic_store(&v->guarded, false);
	block_kicks(SIG_UNBLOCK);
}

/* Injects, or asks for an exit when injecting is possible. */
static int inject(struct kvm_vcpu *v)
{
	struct vcpu *vcpu = v->vcpu;
	struct kvm_run *run = v->run;
	struct kvm_interrupt irq;
	int vector;

	run->request_interrupt_window = 0;
	if (v->stepping == DEBUG_STEP_NO_IRQ || v->kv->full)
		return 0;
	if (!vcpu->intc || vcpu->intc->pending(vcpu->intc_chip) < 0)
		return 0;
	/* an exit that is still open comes first */
	if (!run->ready_for_interrupt_injection || v->incomplete) {
		run->request_interrupt_window = 1;
		/* Whether it is ready KVM says when it returns. In HLT of its own it would not do so by itself. */
		if (!v->incomplete && !v->told_ready) {
			v->told_ready = true;
			run->immediate_exit = 1;
		}
		return 0;
	}
	if (v->kv->lent && !guard(v)) {
		v->run->immediate_exit = 1;
		return 0;
	}
	vector = vcpu->intc->ack(vcpu->intc_chip);
	if (vector < 0)
		return 0;
	irq.irq = (uint32_t)vector;
	if (ioctl(v->fd, KVM_INTERRUPT, &irq))
		return kvm_host_err("KVM_INTERRUPT");
	run->ready_for_interrupt_injection = 0;
	run->request_interrupt_window = vcpu->intc->pending(vcpu->intc_chip) >= 0;
	return 0;
}

/* One entry. 1: an exit to handle; 0: none (kicked); ERR_*. */
static int enter(struct kvm_vcpu *v)
{
	struct vcpu *vcpu = v->vcpu;
	struct kvm_run *run = v->run;
	bool ours = vcpu->intc && !v->kv->lent;
	uint8_t cr8 = ours ? vcpu->intc->cr8_read(vcpu->intc_chip) : 0;
	uint64_t base;
	int r, saved;

	run->cr8 = cr8;
	if (ours && !vcpu->intc->msr_read(vcpu->intc_chip, MSR_APIC_BASE, &base))
		run->apic_base = base;
	v->wants_state = true;
	v->msr_known = false;
	r = ioctl(v->fd, KVM_RUN, 0);
	/* A kick that waits as a signal ends KVM's HLT before the vector is on its way: the second time it is no HLT any more. */
	if (r && errno == EINTR && unlikely(atomic_load(&v->guarded)))
		r = ioctl(v->fd, KVM_RUN, 0);
	saved = errno;
	if (unlikely(atomic_load(&v->guarded)))
		unguard(v);
	kvm_late_done(v);
	if (ours && run->cr8 != cr8)
		vcpu->intc->cr8_write(vcpu->intc_chip, (uint8_t)run->cr8);
	/* What vcpu.c looks at between two runs */
	if (run->if_flag)
		vcpu->state->rflags |= FL_IF;
	else
		vcpu->state->rflags &= ~FL_IF;
	if (!r)
		return 1;
	errno = saved;
	if (errno == EINTR || errno == EAGAIN) {
		v->incomplete = false;
		return 0;
	}
	return kvm_host_err("KVM_RUN");
}

static void kvm_run(struct vcpu *vcpu, struct vcpu_exit *exit)
{
	struct kvm_vcpu *v = vcpu->engine_data;
	int r;

	exit->kind = EXIT_NONE;
	exit->err = v->thread_ready ? 0 : thread_prepare(v);
	if (!exit->err)
		exit->err = kvm_debug_enter(v);
	while (!exit->err) {
		__atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
		if (atomic_load(&vcpu->requests) || kvm_interp_wanted(v)) {
			if (!v->incomplete && atomic_load(&vcpu->requests))
				return;
			if (!v->incomplete) {
				if (!kvm_interp_run(v, exit))
					return;
				continue;
			}
			/* KVM takes the answer of the last exit, and does not enter. */
			v->run->immediate_exit = 1;
		}
		if (v->stale) {
			exit->err = kvm_set_state(vcpu);
			if (exit->err)
				break;
		}
		kvm_bells_look(v);
		kvm_late_look(v);
		exit->err = kvm_msrs_watch(v);
		if (!exit->err)
			exit->err = inject(v);
		r = exit->err ? 0 : enter(v);
		if (r < 0)
			exit->err = r;
		else if (r > 0 && !handle(v, exit))
			return;
	}
	exit->kind = EXIT_ERROR;
}

static void settle(struct vm *vm)
{
	kvm_late_settle(vm);
	kvm_bells_settle(vm);
}

const struct engine_ops engine_kvm = {
	.name = "kvm",
	.large_ram = true,
	.pins = true,
	.any_writer = true,
	.probe = kvm_probe,
	.vm_init = kvm_vm_init,
	.vm_fini = kvm_vm_fini,
	.attach = kvm_attach,
	.detach = kvm_detach,
	.settle = settle,
	.irq_fd = kvm_irq_fd,
	.dirty = kvm_dirty,
	.vcpu_init = kvm_vcpu_init,
	.vcpu_fini = kvm_vcpu_fini,
	.run = kvm_run,
	.kick = kvm_kick,
	.get_state = kvm_get_state,
	.set_state = kvm_set_state,
	.memory_protected = kvm_memory_protected,
	.debug_changed = kvm_debug_changed,
	.debug_can = kvm_debug_can,
};
