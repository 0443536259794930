/* SPDX-License-Identifier: ISC */
/* debug.c: a debugger's breakpoints and steps by KVM_SET_GUEST_DEBUG, which lends it the processor's
 * debug registers: four points in all, the guest's own ones without effect meanwhile. On the vCPU's
 * thread but for kvm_debug_can(). */
#include "engine/kvm/kvm.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#define POINTS    4u
#define DR6_BS    BIT(14)
#define DR7_EXACT 0x700u /* LE, GE, and the bit that is always set */

/* LEN and R/W of a point in DR7 (SDM vol. 3, 17.2.4); -1: not to be had. */
static int point_type(const struct debug_watch *w)
{
	int len = w->len == 8 ? 2 : (int)w->len - 1;

	if (!w->write || (w->len & (w->len - 1)) || w->len > 8 || w->addr & (w->len - 1))
		return -1;
	return len << 2 | (w->read ? 3 : 1);
}

bool kvm_debug_can(struct vm *vm, const struct debug_set *set)
{
	if (set->n_breaks + set->n_watches > POINTS)
		return false;
	for (uint32_t i = 0; i < set->n_watches; i++)
		if (point_type(&set->watch[i]) < 0)
			return false;
	return true;
}

void kvm_debug_changed(struct vm *vm, bool breaks, bool watches)
{
	/* kvm_debug_enter() looks */
}

static void set_point(struct kvm_guest_debug *d, unsigned n, gva_t addr, int type)
{
	d->control |= KVM_GUESTDBG_USE_HW_BP;
	d->arch.debugreg[n] = addr;
	d->arch.debugreg[7] |= DR7_EXACT | 3u << (2 * n) | (unsigned)type << (16 + 4 * n);
}

int kvm_debug_enter(struct kvm_vcpu *v)
{
	const struct debug_set *set = v->vcpu->vm->debug_set;
	struct kvm_guest_debug d = {0};

	if (set && !kvm_debug_can(v->vcpu->vm, set))
		set = NULL; /* nobody can have asked for that */
	v->stepping = (enum debug_step)v->vcpu->debug.step;
	/* Where it stands already: over it first. */
	if (set && !v->stepping && v->vcpu->debug.skip != DEBUG_NO_SKIP)
		v->stepping = DEBUG_STEP_NO_IRQ;
	if (!set && !v->stepping && !v->debugged)
		return 0;
	if (v->stepping)
		d.control |= KVM_GUESTDBG_SINGLESTEP;
	if (v->stepping == DEBUG_STEP_NO_IRQ && kvm_has(v->kv, HAS_BLOCK_IRQ))
		d.control |= KVM_GUESTDBG_BLOCKIRQ;
	for (uint32_t i = 0; set && !v->stepping && i < set->n_breaks; i++)
		set_point(&d, i, set->at[i], 0);
	for (uint32_t i = 0; set && i < set->n_watches; i++)
		set_point(&d, set->n_breaks + i, set->watch[i].addr, point_type(&set->watch[i]));
	v->debugged = d.control;
	if (d.control)
		d.control |= KVM_GUESTDBG_ENABLE;
	return ioctl(v->fd, KVM_SET_GUEST_DEBUG, &d) ? kvm_host_err("KVM_SET_GUEST_DEBUG") : 0;
}

bool kvm_debug_exit(struct kvm_vcpu *v, uint64_t dr6, struct vcpu_exit *exit)
{
	const struct debug_set *set = v->vcpu->vm->debug_set;
	struct debug_hit *hit = &exit->hit;
	unsigned n = dr6 & 0xf ? (unsigned)__builtin_ctz((unsigned)dr6 & 0xf) : POINTS;

	exit->kind = EXIT_DEBUG;
	*hit = (struct debug_hit){.kind = HIT_STEP};
	if (set && n < set->n_breaks) {
		*hit = (struct debug_hit){.kind = HIT_BREAK, .addr = set->at[n]};
	} else if (set && n - set->n_breaks < set->n_watches) {
		n -= set->n_breaks;
		*hit = (struct debug_hit){
			.kind = HIT_WATCH, .watch = (uint8_t)n, .addr = set->watch[n].addr};
	} else if (!v->vcpu->debug.step) { /* over a breakpoint, that is all */
		v->vcpu->debug.skip = DEBUG_NO_SKIP;
		exit->kind = EXIT_NONE;
		exit->err = kvm_debug_enter(v);
		return false;
	}
	exit->err = kvm_get_state(v->vcpu);
	if (exit->err)
		exit->kind = EXIT_ERROR;
	return true;
}
