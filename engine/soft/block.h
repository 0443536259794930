/* SPDX-License-Identifier: ISC */
/* block.h: the code cache: blocks, their index, links between them, and what drops them. */
#ifndef ENGINE_SOFT_BLOCK_H
#define ENGINE_SOFT_BLOCK_H

#include "engine/soft/layout.h"

int soft_cache_create(struct soft_vm *sv) attr_must_check;
void soft_cache_destroy(struct soft_vm *sv);
/* Does this host address lie in translated code or a trampoline? */
bool soft_cache_has_pc(const struct soft_vm *sv, uint64_t pc);

/* Host code for the vCPU's RIP and mode, translated now if need be. NULL: step, or v->leave. */
const uint8_t *soft_find(struct soft_vcpu *v);
/* A host exception at pc: the code that names the guest's instruction, and where to go on with it
 * in R15. NULL: not one of ours. */
const uint8_t *soft_fault_site(struct soft_vcpu *v, uint64_t pc, uint32_t *site);

/* Jump caches and slots of a vCPU. all: also those for global pages. */
void soft_jumps_init(struct soft_vcpu *v);
void soft_jumps_flush(struct soft_vcpu *v, bool all);

/* The vCPU is about to store at gpa, on a page with code; v->store_* may know how much. */
void soft_code_store(struct soft_vcpu *v, gpa_t gpa);
/* Memory was written by somebody else; v: the caller's vCPU or NULL. */
void soft_code_changed(struct soft_vm *sv, struct soft_vcpu *v, gpa_t gpa, uint64_t len);

/* PGF_* of a page of writable RAM, or NULL */
_Atomic uint8_t *soft_page_flags(struct soft_vcpu *v, gpa_t gpa);
bool soft_gpa_of(struct soft_vcpu *v, hva_t hva, gpa_t *gpa);

#endif
