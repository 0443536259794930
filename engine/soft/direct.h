/* SPDX-License-Identifier: ISC */
/* direct.h: guest pages where user code reaches them without a TLB (direct.c, emit_direct.c). */
#ifndef ENGINE_SOFT_DIRECT_H
#define ENGINE_SOFT_DIRECT_H

#include "engine/soft/layout.h"

struct asm_buf;
struct soft_cache;
struct sides;
struct soft_direct;

/* Two parts of an address space, and where they are in the host: the first GiB, at the same place; and what lies from
 * DIRECT_SPAN to twice that, as far below, but behind the first. The first DIRECT_GUARD bytes of both are never there, nor
 * those behind the second. */
#define DIRECT_SPAN  (UINT64_C(1) << 46)
#define DIRECT_LOW   (UINT64_C(1) << 30)
#define DIRECT_GUARD (UINT64_C(64) << 10)
/* All of it in the host */
#define DIRECT_FIRST DIRECT_GUARD
#define DIRECT_SIZE  (DIRECT_SPAN + DIRECT_LOW + DIRECT_GUARD - DIRECT_FIRST)

enum direct_side { DIRECT_NOT, DIRECT_IS_HIGH, DIRECT_IS_LOW, DIRECT_IS_EITHER };

static inline enum direct_side direct_side(uint64_t gva)
{
	if (gva - DIRECT_GUARD < DIRECT_LOW - DIRECT_GUARD)
		return DIRECT_IS_LOW;
	return gva - DIRECT_SPAN - DIRECT_GUARD < DIRECT_SPAN - DIRECT_GUARD ? DIRECT_IS_HIGH
									     : DIRECT_NOT;
}

static inline uint64_t direct_gva(uint64_t host)
{
	return host < DIRECT_LOW ? host : host - DIRECT_LOW + DIRECT_SPAN;
}

static inline uint64_t direct_host(uint64_t gva)
{
	return gva < DIRECT_LOW ? gva : gva - DIRECT_SPAN + DIRECT_LOW;
}

/* sv->direct stays NULL where the host cannot have it. vm->ram is there. */
void soft_direct_create(struct soft_vm *sv);
void soft_direct_destroy(struct soft_vm *sv);

/* Is the vCPU's address space the one that is mapped? Own thread. */
bool soft_direct_serves(const struct soft_vcpu *v);
/* Grows whenever it becomes another's, which no vCPU sees that is in the code. */
uint32_t soft_direct_turn(const struct soft_vm *sv);
/* An interrupt found user code. May take the place for its address space. */
void soft_direct_sample(struct soft_vcpu *v);
/* User code is about to run: the place is its address space's, where that is always so. */
void soft_direct_take(struct soft_vcpu *v);
/* The guest has flushed a page, or all; seen to by soft_direct_sync(), before user code of v runs again. */
void soft_direct_flush_page(struct soft_vcpu *v, gva_t gva);
void soft_direct_flush(struct soft_vcpu *v);
void soft_direct_sync(struct soft_vcpu *v);
/* No store reaches the page any more. Any thread, perhaps under sv->lock. */
void soft_direct_drop_writes(struct soft_vm *sv, hva_t hva);
/* All of it goes, and belongs to none. No vCPU runs. */
void soft_direct_drop(struct soft_vm *sv);

/* What is known of instructions, under sv->lock (sides.c) */
struct sides *soft_direct_sides(const struct soft_vm *sv);
/* emit_direct.c: what stubs of accesses share, into the trampolines */
void soft_direct_probes(struct soft_cache *c, struct asm_buf *a);

#endif
