/* SPDX-License-Identifier: ISC */
/* cpuid.c: the CPUID instruction (SDM vol. 2A; APM vol. 3, app. E): the leaves of a kind of processor, whose
 * feature bits feature.h places. On the CPU's own thread. */
#include "x86/cpuid.h"

#include "base/str.h"
#include "x86/interp.h"

/* RDCL_NO, IBRS_ALL, no L1D flush, SSB_NO, MDS_NO, PSCHANGE_MC_NO, TAA_NO, SBDR_SSDP_NO, FBSDP_NO,
 * PSDP_NO, BHI_NO, PBRSB_NO, GDS_NO, RFDS_NO, ITS_NO */
uint64_t x86_arch_caps(const struct cpu *cpu)
{
	return UINT64_C(0x400000000d10e17b);
}

/* Guests ask while they measure time, and where it is an exit. So words are put together once. */
static void leaf_features(struct cpu *cpu, uint32_t leaf, uint32_t sub, uint32_t r[4])
{
	struct cpu_interp *i = &cpu->i;

	uint64_t changed = 0;

	for (unsigned n = 0; n < CPU_FEAT_WORDS; n++)
		changed |= i->words_of[n] ^ i->feat[n];
	if (unlikely(changed)) {
		i->n_words = x86_feat_words(i->feat, i->word);
		memcpy(i->words_of, i->feat, sizeof(i->feat));
	}
	for (const struct x86_word *w = i->word; w < i->word + i->n_words; w++)
		if (w->leaf == leaf && w->sub == sub)
			r[w->reg] |= w->value;
}

static void leaf_xsave(const struct cpu *cpu, uint32_t sub, uint32_t r[4])
{
	uint64_t mask = x86_xcr0_mask(cpu);

	if (!cpu_has(cpu, X_FEAT_XSAVE))
		return;
	if (sub == 0) {
		r[0] = (uint32_t)mask;
		r[1] = xsave_size(cpu, cpu->s.xcr0, false);
		r[2] = xsave_size(cpu, mask, false);
	} else if (sub == 1) {
		r[1] = xsave_size(cpu, cpu->s.xcr0, true);
	}
	for (unsigned i = 0; i < CPU_XS_PARTS; i++)
		if (sub > 1 && sub < 64 && xs_parts[i].bit == BIT64(sub) && mask & BIT64(sub)) {
			r[0] = xs_parts[i].size;
			r[1] = cpu->i.xs_at[i];
		}
}

/* Deterministic cache parameters: 32K, 32K, 1M, 16M of 64-byte lines; sharing by ops->cpuid */
static void leaf_cache(uint32_t sub, uint32_t r[4])
{
	static const struct {
		uint32_t type_level, ways, sets;
	} cache[] = {{0x121, 8, 64}, {0x122, 8, 64}, {0x143, 16, 1024}, {0x163, 16, 16384}};

	if (sub >= ARRAY_SIZE(cache))
		return;
	r[0] = cache[sub].type_level;
	r[1] = (cache[sub].ways - 1) << 22 | 63;
	r[2] = cache[sub].sets - 1;
}

static void leaf_extended(struct cpu *cpu, uint32_t leaf, uint32_t r[4])
{
	switch (leaf) {
	case 0x80000000:
		r[0] = cpu->i.amd ? 0x80000021 : 0x80000008;
		if (!cpu->i.amd)
			return;
		r[1] = cpu->i.vendor[0];
		r[2] = cpu->i.vendor[2];
		r[3] = cpu->i.vendor[1];
		return;
	case 0x80000001:
		if (cpu->i.amd) {
			uint32_t one[4] = {0};

			leaf_features(cpu, 1, 0, one);
			r[0] = cpu->i.signature;
			r[3] |= one[CPUID_EDX] & 0x0183f3ff;
		}
		return;
	case 0x80000002:
	case 0x80000003:
	case 0x80000004:
		memcpy(r, cpu->i.brand[leaf - 0x80000002], 16);
		return;
	case 0x80000005:
	case 0x80000006:
		memcpy(r, cpu->i.cache[leaf - 0x80000005], 16);
		return;
	case 0x80000008:
		r[0] = (cpu_has(cpu, X_FEAT_LA57) ? 57 : 48) << 8 | cpu->s.maxphy;
		return;
	case 0x80000021:
		/* LFENCE serialises, null selectors clear the base, automatic IBRS */
		r[0] = cpu->i.amd ? BIT(2) | BIT(6) | BIT(8) : 0;
		return;
	default:
		return;
	}
}

static void leaf_basic(struct cpu *cpu, uint32_t leaf, uint32_t sub, uint32_t r[4])
{
	switch (leaf) {
	case 0:
		r[0] = cpu->i.amd ? 0xd : 0x16;
		r[1] = cpu->i.vendor[0];
		r[2] = cpu->i.vendor[2];
		r[3] = cpu->i.vendor[1];
		break;
	case 1:
		r[0] = cpu->i.signature;
		r[1] = cpu->index << 24 | 8 << 8;
		if (cpu->s.cr4 & CR4_OSXSAVE)
			r[2] |= BIT(27);
		break;
	case 2:
		r[0] = cpu->i.amd ? 0 : 0x00feff01;
		break;
	case 4:
		if (!cpu->i.amd)
			leaf_cache(sub, r);
		break;
	case 7:
		if (sub == 0) {
			r[0] = cpu_has(cpu, X_FEAT_BHI_CTRL) ? 2 : 0; /* the last subleaf */
			r[1] |= BIT(13);                              /* no FPU CS and DS */
		}
		if (sub == 0 && cpu->s.cr4 & CR4_PKE)
			r[2] |= BIT(4); /* OSPKE */
		break;
	case 0xd:
		leaf_xsave(cpu, sub, r);
		break;
	default:
		break;
	}
}

void x86_cpuid(struct cpu *cpu, uint32_t leaf, uint32_t sub, uint32_t r[4])
{
	if (unlikely(!cpu->i.ready))
		cpu_init(cpu);
	memset(r, 0, 4 * sizeof(*r));
	/* Only these leaves go by subleaf. */
	leaf_features(cpu, leaf, leaf == 7 || leaf == 0xd ? sub : 0, r);
	if (leaf >> 31)
		leaf_extended(cpu, leaf, r);
	else
		leaf_basic(cpu, leaf, sub, r);
	if (cpu->ops->cpuid)
		cpu->ops->cpuid(cpu, leaf, sub, r);
}
