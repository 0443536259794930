/* SPDX-License-Identifier: ISC */
/* processor.c: the kind of a VM's processors in its saved state (doc/state-format.md). A guest reads CPUID
 * once and relies on it, so it keeps what it had: on another host, with a Vigia whose models have grown, and
 * out of states that are older than this. The caller's thread, of a VM that does not run. */
#include "vm/processor.h"

#include "base/str.h"
#include "x86/cpu.h"
#include "x86/cpuid.h"

struct head {
	uint32_t words;
};
static const struct st_field head_fields[] = {ST_UMAX(struct head, words, X86_WORDS)};
static const struct st_field word_fields[] = {
	ST_U(struct x86_word, leaf),
	ST_U(struct x86_word, sub),
	ST_UMAX(struct x86_word, reg, 3),
	ST_U(struct x86_word, value),
};
#define K struct x86_kind
static const struct st_field kind_fields[] = {
	ST_A(K, vendor),   ST_U(K, signature), ST_A(K, brand[0]), ST_A(K, brand[1]),
	ST_A(K, brand[2]), ST_A(K, cache[0]),  ST_A(K, cache[1]), ST_A(K, xs_at),
};
#undef K

int processor_sync(struct state_stream *st, struct x86_kind *kind)
{
	struct x86_word words[X86_WORDS];
	struct head head = {0};

	if (st->loading && st->version < PROCESSOR_SINCE)
		return st->err;
	if (st->loading)
		*kind = (struct x86_kind){.feat[0] = 1};
	else
		head.words = x86_kind_words(kind, words);
	ST_SYNC(st, "processor", 0, kind_fields, kind);
	ST_SYNC(st, "features", 0, head_fields, &head);
	for (unsigned i = 0; i < head.words && !st->err; i++) {
		ST_SYNC(st, "word", i, word_fields, &words[i]);
		if (st->loading && !st->err && !x86_kind_add(kind, &words[i]))
			state_fail(st, err_here(ERR_NOSYS),
				   "its processors have features that this Vigia does not know "
				   "(CPUID leaf %x.%x, register %u: %x)",
				   words[i].leaf, words[i].sub, words[i].reg, words[i].value);
	}
	if (st->loading && !st->err && x86_kind_broken(kind))
		state_fail(st, err_here(ERR_FORMAT), "its processors are impossible");
	return st->err;
}

/* What models have gained, and up to which version of the section they may lack it. In versions in which
 * both were made, what the guest uses tells. */
static const struct {
	enum x86_feature f;
	uint8_t until;
	const char *model; /* NULL: all that have it now */
	uint64_t use;      /* XCR0: whoever has this has the feature */
} gained[] = {
	{X_FEAT_PKU, 1, NULL, XCR0_PKRU},
	{X_FEAT_XSAVES, 2, NULL, 0},
	{X_FEAT_AVX512F, 8, "host", XCR0_AVX512},
	{X_FEAT_AVX512BW, 8, "host", XCR0_AVX512},
	{X_FEAT_AVX512CD, 8, "host", XCR0_AVX512},
	{X_FEAT_AVX512DQ, 8, "host", XCR0_AVX512},
	{X_FEAT_AVX512VL, 8, "host", XCR0_AVX512},
	{X_FEAT_AVX512IFMA, 8, "host", XCR0_AVX512},
	{X_FEAT_AVX512VBMI, 8, "host", XCR0_AVX512},
	{X_FEAT_AVX512VBMI2, 8, "host", XCR0_AVX512},
	{X_FEAT_AVX512VNNI, 8, "host", XCR0_AVX512},
	{X_FEAT_AVX512BITALG, 8, "host", XCR0_AVX512},
	{X_FEAT_AVX512VPOPCNT, 8, "host", XCR0_AVX512},
	{X_FEAT_AVX512IFMA, 7, "host-avx512", 0},
	{X_FEAT_AVX512VBMI, 7, "host-avx512", 0},
	{X_FEAT_AVX512VBMI2, 7, "host-avx512", 0},
	{X_FEAT_AVX512VNNI, 7, "host-avx512", 0},
	{X_FEAT_AVX512BITALG, 7, "host-avx512", 0},
	{X_FEAT_AVX512VPOPCNT, 7, "host-avx512", 0},
};
/* Of version 8 there are states of both meanings of "host". A guest that has not come to XSAVE yet may have seen
 * AVX-512 and be about to use it; if it has not seen it, it does not mind. */
#define HOST_BOTH 8

void processor_was(struct x86_kind *kind, const char *model, uint32_t version, uint64_t xcr0,
		   bool osxsave)
{
	if (kind->signature == X86_AMD_SIGNATURE)
		kind->signature = X86_AMD_SIGNATURE_WAS;
	for (unsigned i = 0; i < ARRAY_SIZE(gained); i++) {
		bool uses = gained[i].use && (xcr0 & gained[i].use) == gained[i].use;
		bool open = version == HOST_BOTH && gained[i].until == HOST_BOTH && !osxsave;

		if (version <= gained[i].until && !uses && !open &&
		    (!gained[i].model || str_eq(gained[i].model, model)))
			x86_kind_drop(kind, gained[i].f);
	}
}

static void kind_in(const struct vcpu *vcpu, struct x86_kind *out)
{
	*out = vcpu->vm->kind;
	if (vcpu->cpu)
		memcpy(out->feat, vcpu->cpu->i.feat, sizeof(out->feat));
}

void processor_settle(struct vm *vm)
{
	struct x86_kind has;

	kind_in(vm->vcpu[0], &has);
	for (unsigned i = 0; i < CPU_FEAT_WORDS; i++)
		vm->kind.feat[i] &= has.feat[i];
}

const char *processor_lacks(const struct vcpu *vcpu)
{
	struct x86_kind has;

	kind_in(vcpu, &has);
	return vcpu->vm->may_lack ? NULL : x86_kind_beyond(&vcpu->vm->kind, &has);
}

int processor_check(struct vm *vm, struct state_stream *st, const struct x86_kind *want)
{
	const char *more = x86_kind_beyond(want, &vm->kind), *less;

	if (more)
		return state_fail(st, err_here(ERR_INVAL),
				  "its processors have %s, those of the VM have not", more);
	less = x86_kind_beyond(&vm->kind, want);
	if (less)
		return state_fail(st, err_here(ERR_INVAL),
				  "its processors do not have %s, those of the VM have", less);
	if (!x86_kind_same(want, &vm->kind))
		return state_fail(st, err_here(ERR_INVAL),
				  "its processors are others than the VM's");
	return 0;
}
