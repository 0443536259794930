/* SPDX-License-Identifier: ISC */
/* pcpu.h: what each CPU has of its own; FS leads there. GS is the running thread's: translated code's. */
#ifndef PLAT_METAL_PCPU_H
#define PLAT_METAL_PCPU_H

#include "base/def.h"

#define PCPU_MAX 64

struct plat_thread;

struct pcpu {
	struct pcpu *self; /* first: read through FS */
	unsigned index;
	uint32_t apic_id;
	struct plat_thread *current;
	uint64_t
		code_stack; /* current's: the end of its stack for what interrupts translated code; 0: none */
	struct plat_thread *idle;
	uint64_t guest_owner; /* serial number of the thread that last ran a guest here */
	uint64_t guest_round; /* grows when all tags have been given out */
	uint32_t guest_tags;  /* given out in this round */
	void *tables;         /* GDT and TSS: metal's */
};

static inline struct pcpu *pcpu(void)
{
	struct pcpu *p;

	__asm__ volatile("mov %%fs:0, %0" : "=r"(p));
	return p;
}

_Static_assert(offsetof(struct pcpu, current) == 16, "current_thread()");
_Static_assert(offsetof(struct pcpu, code_stack) == 24, "trap.S");
/* In one instruction: between two the caller may move to another CPU. */
static inline struct plat_thread *current_thread(void)
{
	struct plat_thread *t;

	__asm__ volatile("mov %%fs:16, %0" : "=r"(t));
	return t;
}

#endif
