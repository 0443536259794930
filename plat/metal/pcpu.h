/* SPDX-License-Identifier: ISC */
/* pcpu.h: what each CPU has of its own; GS leads there. */
#ifndef PLAT_METAL_PCPU_H
#define PLAT_METAL_PCPU_H

#include "base/def.h"

#define PCPU_MAX 64

struct plat_thread;

struct pcpu {
	struct pcpu *self; /* first: read through GS */
	unsigned index;
	uint32_t apic_id;
	struct plat_thread *current, *idle;
	uint64_t guest_owner; /* serial number of the thread that last ran a guest here */
	void *tables;         /* GDT and TSS: metal's */
};

static inline struct pcpu *pcpu(void)
{
	struct pcpu *p;

	__asm__ volatile("mov %%gs:0, %0" : "=r"(p));
	return p;
}

_Static_assert(offsetof(struct pcpu, current) == 16, "current_thread()");
/* In one instruction: between two the caller may move to another CPU. */
static inline struct plat_thread *current_thread(void)
{
	struct plat_thread *t;

	__asm__ volatile("mov %%gs:16, %0" : "=r"(t));
	return t;
}

#endif
