/* SPDX-License-Identifier: ISC */
/* hw_fpu.c: the guest's FP registers between x86_state and the processor. They stay the guest's while the
 * hypervisor runs, which does not touch them, and are switched with the thread. On the vCPU's thread. */
#include "engine/hw/hw_impl.h"

void hw_fpu_load(struct hw_vcpu *v)
{
	if (v->fpu_live)
		return;
	if (v->hv->xcr0)
		__asm__ volatile("xrstor64 %0"
				 :
				 : "m"(v->cpu.s.xsave), "a"((uint32_t)v->hv->xcr0), "d"(0)
				 : "memory");
	else
		__asm__ volatile("fxrstor64 %0" : : "m"(v->cpu.s.xsave) : "memory");
	v->fpu_live = true;
}

void hw_fpu_park(struct hw_vcpu *v)
{
	if (!v->fpu_live)
		return;
	v->fpu_live = false;
	if (v->hv->xcr0) {
		__asm__ volatile("xsave64 %0"
				 : "+m"(v->cpu.s.xsave)
				 : "a"((uint32_t)v->hv->xcr0), "d"(0)
				 : "memory");
	} else {
		__asm__ volatile("fxsave64 %0" : "+m"(v->cpu.s.xsave) : : "memory");
		v->cpu.s.xsave.bytes[512] |= XCR0_X87 | XCR0_SSE;
	}
}
