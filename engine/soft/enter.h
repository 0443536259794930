/* SPDX-License-Identifier: ISC */
/* enter.h: the trampolines between C and translated code. */
#ifndef ENGINE_SOFT_ENTER_H
#define ENGINE_SOFT_ENTER_H

#include "engine/soft/block.h"

/* Host registers that stand for no guest register: R10, R11 and R15 of the guest live in memory. */
#define T0     R10
#define T1     R11
#define T2     R15
#define STOLEN (1u << R10 | 1u << R11 | 1u << R15)

/* reg: -1 where there is none */
static inline bool is_stolen(int reg)
{
	return reg >= 0 && (STOLEN >> reg & 1);
}

/* Writes the trampolines to the start of the cache. */
void soft_trampolines(struct soft_vm *sv);
/* Runs translated code at host address code until it leaves. The guest's FP state must be live. */
void soft_enter(struct soft_vcpu *v, const uint8_t *code);
/* The address that makes soft_enter() return. */
const uint8_t *soft_leave_code(struct soft_vcpu *v);

/* slow.c: what the trampolines call, on the host's stack, with the guest's registers in s. Each
 * gives the host address to go on at. arg: R15, ea: R10. */
typedef const uint8_t *(*soft_helper)(struct soft_vcpu *v, uint32_t arg, uint64_t ea);
const uint8_t *soft_on_slow(struct soft_vcpu *v, uint32_t site, uint64_t ea);
const uint8_t *soft_on_exec(struct soft_vcpu *v, uint32_t site, uint64_t ea);
const uint8_t *soft_on_exit(struct soft_vcpu *v, uint32_t exit, uint64_t ea);
const uint8_t *soft_on_tgt(struct soft_vcpu *v, uint32_t tgt, uint64_t ea);
const uint8_t *soft_on_miss(struct soft_vcpu *v, uint32_t site, uint64_t rip);
const uint8_t *soft_on_string(struct soft_vcpu *v, uint32_t arg, uint64_t ea); /* string.c */
/* The interpreter runs one instruction of a block. */
const uint8_t *soft_exec_site(struct soft_vcpu *v, uint32_t site);
const uint8_t *soft_on_memo(struct soft_vcpu *v, uint32_t site, uint64_t ea);
const uint8_t *soft_on_direct(struct soft_vcpu *v, uint32_t site, uint64_t ea);
const uint8_t *soft_on_side(struct soft_vcpu *v, uint32_t site, uint64_t ea);
const uint8_t *soft_on_group(struct soft_vcpu *v, uint32_t exit, uint64_t ea);
const uint8_t *soft_on_poll(struct soft_vcpu *v, uint32_t site, uint64_t ea);

#endif
