/* SPDX-License-Identifier: ISC */
/* kind.h: what CPUID says of a guest's processor: of model and host together when its VM was made, and
 * since then its own. A saved state has it, so that a guest meets no other processor where it is
 * restored. Constants and plain data; any thread. */
#ifndef X86_KIND_H
#define X86_KIND_H

#include "x86/feature.h"

struct x86_model;

#define CPU_FEAT_WORDS 4

/* What a new VM's processors say they are; AMD's until states of version 9 */
#define X86_INTEL_SIGNATURE   0x000606b1u
#define X86_AMD_SIGNATURE     0x00460fb1u
#define X86_AMD_SIGNATURE_WAS 0x00060fb1u

/* Components of XSAVE beyond the legacy region */
enum { XS_PART_AVX, XS_PART_OPMASK, XS_PART_ZMM_HI, XS_PART_HI_ZMM, XS_PART_PKRU, CPU_XS_PARTS };

struct x86_kind {
	uint64_t feat[CPU_FEAT_WORDS]; /* bit n: enum x86_feature n */
	uint32_t vendor[3];            /* as CPUID leaf 0 has it in EBX EDX ECX */
	uint32_t signature;            /* leaf 1, EAX */
	uint32_t brand[3][4];          /* leaves 80000002H to 80000004H */
	uint32_t cache[2][4];          /* leaves 80000005H and 80000006H */
	uint16_t xs_at[CPU_XS_PARTS];  /* in the standard form of XSAVE areas: leaf 0DH */
};

/* Of the model (NULL: the default one) on this host. Executes CPUID: slow. */
void x86_kind_of(const struct x86_model *model, struct x86_kind *out);
bool x86_kind_has(const struct x86_kind *kind, enum x86_feature f);
/* Bits that XSETBV may set; XCR0.x87 at least. */
uint64_t x86_kind_xcr0(const struct x86_kind *kind);
void x86_kind_drop(struct x86_kind *kind, enum x86_feature f);
bool x86_kind_same(const struct x86_kind *a, const struct x86_kind *b);
/* The first thing that a guest of this kind has and this host cannot give; NULL: it can run here. */
const char *x86_kind_missing(const struct x86_kind *kind);
/* The first feature that one has and the other has not, or NULL */
const char *x86_kind_beyond(const struct x86_kind *kind, const struct x86_kind *other);
/* It lacks what every 64-bit processor has: no state that anybody saved. */
bool x86_kind_broken(const struct x86_kind *kind);

/* A register of a leaf that tells features: what is kept of them, since their order in the enum changes. */
struct x86_word {
	uint32_t leaf, sub, reg, value;
};
#define X86_WORDS 32
/* Those that are not 0; gives their number, X86_WORDS at most. */
unsigned x86_feat_words(const uint64_t feat[CPU_FEAT_WORDS], struct x86_word *out);
unsigned x86_kind_words(const struct x86_kind *kind, struct x86_word *out);
/* Adds a word's features. false: it has one that this table does not know. */
bool x86_kind_add(struct x86_kind *kind, const struct x86_word *word);

#endif
