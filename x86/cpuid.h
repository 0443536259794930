/* SPDX-License-Identifier: ISC */
/* cpuid.h: what processor a guest sees: models, features, CPUID leaves. */
#ifndef X86_CPUID_H
#define X86_CPUID_H

#include "base/def.h"
#include "x86/kind.h"

struct cpu;
struct x86_model;
struct x86_xsave;

/* "x86-64-v1" to "x86-64-v4", "host", "host-avx2", "host-la57", "host-avx512"; NULL: there is no such model. Constant data. */
const struct x86_model *x86_model_find(const char *name);
/* "host" */
const struct x86_model *x86_model_default(void);
const char *x86_model_name(const struct x86_model *model);
/* The n-th model, for lists; NULL at the end. */
const struct x86_model *x86_model_at(unsigned n);
/* The host executes all that the model promises. */
bool x86_model_usable(const struct x86_model *model);

/* The CPUID instruction: r[0..3] = EAX EBX ECX EDX, machine-specific leaves by ops->cpuid. */
void x86_cpuid(struct cpu *cpu, uint32_t leaf, uint32_t sub, uint32_t r[4]);
/* Bits that XSETBV may set; XCR0.x87 at least. */
uint64_t x86_xcr0_mask(const struct cpu *cpu);
/* An image in this host's layout becomes one in that of saved states, which is Intel's, or (from) the
 * other way round. */
void x86_xsave_move(struct x86_xsave *x, bool from);
/* IA32_ARCH_CAPABILITIES */
uint64_t x86_arch_caps(const struct cpu *cpu);
/* cpu_init()'s part: fills i.feat and what else its kind says, i.amd, i.host_*. */
void x86_cpuid_init(struct cpu *cpu);

#endif
