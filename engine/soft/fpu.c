/* SPDX-License-Identifier: ISC */
/* fpu.c: the guest's x87, SSE, AVX and AVX-512 registers.
 *
 * In translated code they are in the host's own registers, and stay there while the freestanding
 * core runs, which is compiled for general registers only. They are parked in s.xsave before
 * anything that may use FP: devices, the host's libraries, the interpreter's FP instructions. For instructions
 * that only copy the state to memory or from there it is saved, and the registers are left as they are.
 * On the vCPU's own thread. */
#include "base/str.h"
#include "engine/soft/layout.h"
#include "engine/soft/block.h"
#include "x86/cpuid.h"

#define XS_FOP       6
#define XS_FIP       8
#define XS_FDP       16
#define XS_MXCSR     24
#define XS_XSTATE_BV 512

static uint64_t host_xcr0(void)
{
	uint32_t lo, hi;

	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return lo | (uint64_t)hi << 32;
}

void soft_fpu_init(struct soft_vm *sv)
{
	struct plat_cpuid id;
	const uint16_t fcw = 0x37f;
	const uint32_t mxcsr = 0x1f80, mask = 0xffff;

	plat_cpuid(1, 0, &id);
	sv->xsave_mask = (id.ecx & BIT(27)) ? host_xcr0() & (XCR0_X87 | XCR0_SSE | XCR0_AVX) : 0;
	sv->xsaveopt_mask = x86_kind_xcr0(&sv->vm->kind) & XCR0_AVX512;
	memcpy(sv->xinit.bytes, &fcw, sizeof(fcw));
	memcpy(sv->xinit.bytes + XS_MXCSR, &mxcsr, sizeof(mxcsr));
	memcpy(sv->xinit.bytes + XS_MXCSR + 4, &mask, sizeof(mask));
}

static void fp_save(const struct soft_vm *sv, struct x86_xsave *x)
{
	if (sv->xsave_mask) {
		__asm__ volatile("xsave64 %0"
				 : "+m"(*x)
				 : "a"((uint32_t)sv->xsave_mask), "d"(0)
				 : "memory");
		if (sv->xsaveopt_mask)
			__asm__ volatile("xsaveopt64 %0"
					 : "+m"(*x)
					 : "a"((uint32_t)sv->xsaveopt_mask), "d"(0)
					 : "memory");
	} else {
		__asm__ volatile("fxsave64 %0" : "+m"(*x) : : "memory");
		x->bytes[XS_XSTATE_BV] |= XCR0_X87 | XCR0_SSE;
	}
}

static void fp_restore(const struct soft_vm *sv, const struct x86_xsave *x)
{
	if (sv->xsave_mask)
		__asm__ volatile("xrstor64 %0"
				 :
				 : "m"(*x), "a"((uint32_t)(sv->xsave_mask | sv->xsaveopt_mask)),
				   "d"(0)
				 : "memory");
	else
		__asm__ volatile("fxrstor64 %0" : : "m"(*x) : "memory");
}

/* An x87 instruction that ran in translated code has left our own addresses in the pointers. */
static void hide_pointers(struct soft_vcpu *v, struct x86_xsave *x)
{
	uint64_t fip;

	memcpy(&fip, x->bytes + XS_FIP, sizeof(fip));
	if (fip && soft_cache_has_pc(v->sv, fip)) {
		memset(x->bytes + XS_FIP, 0, 16);
		memset(x->bytes + XS_FOP, 0, 2);
	}
}

void soft_fpu_save(struct soft_vcpu *v)
{
	if (v->fpu != FPU_LIVE)
		return;
	v->fpu = FPU_SAVED;
	v->stats.fp_saves++;
	fp_save(v->sv, &v->cpu.s.xsave);
	hide_pointers(v, &v->cpu.s.xsave);
}

void soft_fpu_park(struct soft_vcpu *v)
{
	if (v->fpu == FPU_PARKED)
		return;
	soft_fpu_save(v);
	v->fpu = FPU_PARKED;
	fp_restore(v->sv, &v->sv->xinit);
}

void soft_fpu_unsave(struct soft_vcpu *v)
{
	if (v->fpu == FPU_SAVED)
		v->fpu = FPU_LIVE;
}

void soft_fpu_load(struct soft_vcpu *v)
{
	if (v->fpu == FPU_LIVE)
		return;
	fp_restore(v->sv, &v->cpu.s.xsave);
	v->fpu = FPU_LIVE;
}
