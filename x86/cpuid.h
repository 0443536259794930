/* SPDX-License-Identifier: ISC */
/* cpuid.h: what processor a guest sees: models, features, CPUID leaves. */
#ifndef X86_CPUID_H
#define X86_CPUID_H

#include "base/def.h"
#include "x86/feature.h"

struct cpu;
struct x86_model;

/* "x86-64-v1", "x86-64-v2", "x86-64-v3" or "host"; NULL: there is no such model. Constant data. */
const struct x86_model *x86_model_find(const char *name);
/* The best model that this host can execute in full. */
const struct x86_model *x86_model_default(void);
const char *x86_model_name(const struct x86_model *model);
/* The n-th model, for lists; NULL at the end. */
const struct x86_model *x86_model_at(unsigned n);
/* The host executes all that the model promises. */
bool x86_model_usable(const struct x86_model *model);
/* Features that the model has on this host. Executes CPUID: slow; see cpu_has(). */
bool x86_has(const struct x86_model *model, enum x86_feature f);

/* The CPUID instruction: r[0..3] = EAX EBX ECX EDX, machine-specific leaves by ops->cpuid. */
void x86_cpuid(struct cpu *cpu, uint32_t leaf, uint32_t sub, uint32_t r[4]);
/* Bits that XSETBV may set; XCR0.x87 at least. */
uint64_t x86_xcr0_mask(const struct cpu *cpu);
/* IA32_ARCH_CAPABILITIES */
uint64_t x86_arch_caps(const struct cpu *cpu);
/* cpu_init()'s part: fills i.feat, i.amd, i.maxphy, i.host_*. */
void x86_cpuid_init(struct cpu *cpu);

#endif
