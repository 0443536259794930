/* SPDX-License-Identifier: ISC */
/* tlb.h: the software TLBs, and what must go when mappings or code change. */
#ifndef ENGINE_SOFT_TLB_H
#define ENGINE_SOFT_TLB_H

#include "engine/soft/layout.h"

/* Empty all tables: at creation and reset. */
void soft_tlb_init(struct soft_vcpu *v);
/* cpu_ops.flush; also drops the jumps that depended on the mappings. */
void soft_tlb_flush(struct cpu *cpu, enum cpu_flush kind, gva_t gva, unsigned pcid);
/* cpu_ops.xlate: the data TLBs in front of cpu_walk(). */
int soft_tlb_xlate(struct cpu *cpu, gva_t gva, enum cpu_access acc, bool user,
		   struct cpu_xlate *out);
/* Enters the page of gva for the current context so that translated code can reach it. True when
 * an access may hit now; false: not RAM, traced, or the walk faults. Does not raise. */
bool soft_tlb_fill(struct soft_vcpu *v, gva_t gva, bool write);
/* Host address of the byte at gva for an access in the current context, entered if need be; NULL: ask
 * the interpreter. */
hva_t soft_tlb_host(struct soft_vcpu *v, gva_t gva, bool write);
/* The same of a page's first byte, or NULL, if it is entered already. */
hva_t soft_tlb_peek(struct soft_vcpu *v, gva_t gva, bool write);
/* Drops write entries that lead to the host page at hva. Own thread. */
void soft_tlb_drop_writes(struct soft_vcpu *v, hva_t hva);
/* The context of data accesses in the current state */
enum soft_ctx soft_ctx(const struct soft_vcpu *v);

#endif
