/* SPDX-License-Identifier: ISC */
/* cpuid.c: processor models and the CPUID instruction (SDM vol. 2A; APM vol. 3, app. E).
 *
 * A model is a list of features. Those whose instructions run natively are there only if the host
 * has them; the others are the interpreter's own. Feature bits are put into leaves by feature.h.
 * The vendor is the host's, so that guests pick the quirks that fit the processor underneath; the
 * family is nobody's. Speculation across the guest's privilege levels is not what translated code
 * does, so that mitigations would only cost time: the feature bits say that none is needed.
 * Constant data and the CPU's own thread. */
#include "x86/cpuid.h"

#include "base/str.h"
#include "x86/interp.h"

#define FEAT(f) X_FEAT_##f
typedef uint8_t feature_id;
_Static_assert(X_FEAT_COUNT <= CPU_FEAT_WORDS * 64 && X_FEAT_COUNT < 256, "feature sets");

/* ---- models ---- */

/* What every model has: the psABI's baseline, and what concerns the system, not programs. */
static const feature_id base_set[] = {
	FEAT(FPU),      FEAT(VME),    FEAT(DE),           FEAT(PSE),        FEAT(TSC),
	FEAT(MSR),      FEAT(PAE),    FEAT(MCE),          FEAT(CX8),        FEAT(APIC),
	FEAT(SEP),      FEAT(MTRR),   FEAT(PGE),          FEAT(MCA),        FEAT(CMOV),
	FEAT(PAT),      FEAT(PSE36),  FEAT(CLFSH),        FEAT(MMX),        FEAT(FXSR),
	FEAT(SSE),      FEAT(SSE2),   FEAT(HYPERVISOR),   FEAT(SYSCALL),    FEAT(NX),
	FEAT(LM),       FEAT(RDTSCP), FEAT(PDPE1GB),      FEAT(INVTSC),     FEAT(PCID),
	FEAT(INVPCID),  FEAT(X2APIC), FEAT(TSC_DEADLINE), FEAT(TSC_ADJUST), FEAT(ARAT),
	FEAT(FSGSBASE), FEAT(SMEP),   FEAT(SMAP),         FEAT(UMIP),
};
static const feature_id v2_set[] = {
	FEAT(CX16), FEAT(LAHF), FEAT(POPCNT), FEAT(SSE3), FEAT(SSSE3), FEAT(SSE41), FEAT(SSE42),
};
static const feature_id v3_set[] = {
	FEAT(AVX),    FEAT(AVX2),   FEAT(BMI1),    FEAT(BMI2),  FEAT(F16C),
	FEAT(FMA),    FEAT(LZCNT),  FEAT(MOVBE),   FEAT(XSAVE), FEAT(XSAVEOPT),
	FEAT(XSAVEC), FEAT(XSAVES), FEAT(XGETBV1), FEAT(ERMS),  FEAT(PREFETCHW),
};
static const feature_id v4_set[] = {
	FEAT(AVX512F), FEAT(AVX512BW), FEAT(AVX512CD), FEAT(AVX512DQ), FEAT(AVX512VL),
};
/* With v4_set, where the host has them */
static const feature_id avx512_set[] = {
	FEAT(AVX512IFMA), FEAT(AVX512VBMI),   FEAT(AVX512VBMI2),
	FEAT(AVX512VNNI), FEAT(AVX512BITALG), FEAT(AVX512VPOPCNT),
};
/* Beyond these: where the host has them */
static const feature_id host_set[] = {
	FEAT(AES),  FEAT(PCLMUL),   FEAT(SHA),     FEAT(ADX),        FEAT(RDRAND), FEAT(RDSEED),
	FEAT(GFNI), FEAT(VAES),     FEAT(VPCLMUL), FEAT(CLFLUSHOPT), FEAT(CLWB),   FEAT(RDPID),
	FEAT(FSRM), FEAT(WBNOINVD), FEAT(MMXEXT),  FEAT(PKU),
};
/* Of all these, what needs no host support: it is done in C, or is about time and interrupts. */
static const feature_id own_set[] = {
	FEAT(VME),          FEAT(DE),         FEAT(PSE),        FEAT(TSC),      FEAT(MSR),
	FEAT(PAE),          FEAT(MCE),        FEAT(APIC),       FEAT(SEP),      FEAT(MTRR),
	FEAT(PGE),          FEAT(MCA),        FEAT(PAT),        FEAT(PSE36),    FEAT(CLFSH),
	FEAT(HYPERVISOR),   FEAT(SYSCALL),    FEAT(NX),         FEAT(LM),       FEAT(RDTSCP),
	FEAT(PDPE1GB),      FEAT(INVTSC),     FEAT(PCID),       FEAT(INVPCID),  FEAT(X2APIC),
	FEAT(TSC_DEADLINE), FEAT(TSC_ADJUST), FEAT(ARAT),       FEAT(FSGSBASE), FEAT(SMEP),
	FEAT(SMAP),         FEAT(UMIP),       FEAT(XSAVEOPT),   FEAT(XSAVEC),   FEAT(XGETBV1),
	FEAT(ERMS),         FEAT(PREFETCHW),  FEAT(CLFLUSHOPT), FEAT(CLWB),     FEAT(RDPID),
	FEAT(WBNOINVD),     FEAT(PKU),        FEAT(XSAVES),
};

#define LEVEL_HOST 5
struct x86_model {
	const char *name;
	uint8_t level; /* 1 to 4, or LEVEL_HOST: of all sets what the host has */
	bool la57;     /* 5-level paging: kernels use it where it is, and pay for it */
	bool avx512;   /* of LEVEL_HOST */
};
static const struct x86_model models[] = {
	{"x86-64-v1", 1},
	{"x86-64-v2", 2},
	{"x86-64-v3", 3},
	{"x86-64-v4", 4},
	{"host-avx2", LEVEL_HOST},
	{"host-la57", LEVEL_HOST, .la57 = true},
	{"host-avx512", LEVEL_HOST, .avx512 = true}, /* as in older VMs' files */
	{"host", LEVEL_HOST, .avx512 = true},
};

/* Intel's only: AMD says it by family and leaf 80000021H. With BHI_CTRL Linux sets a bit once; without, it
 * clears the branch history in a loop at each system call, whatever ARCH_CAPABILITIES says. */
static const feature_id intel_set[] = {FEAT(SPEC_CTRL), FEAT(ARCH_CAPS), FEAT(BHI_CTRL)};

static const struct {
	const feature_id *f;
	unsigned n;
	uint8_t level;
	bool avx512; /* models of the host's may leave it out */
} sets[] = {
	{base_set, ARRAY_SIZE(base_set), 1},
	{v2_set, ARRAY_SIZE(v2_set), 2},
	{v3_set, ARRAY_SIZE(v3_set), 3},
	{v4_set, ARRAY_SIZE(v4_set), 4, true},
	{avx512_set, ARRAY_SIZE(avx512_set), LEVEL_HOST, true},
	{host_set, ARRAY_SIZE(host_set), LEVEL_HOST},
};

static const struct {
	uint32_t leaf;
	uint8_t sub, reg, bit;
} places[X_FEAT_COUNT] = {
#define F(name, leaf, sub, reg, bit) [X_FEAT_##name] = {leaf, sub, CPUID_##reg, bit},
	X86_FEATURES(F)
#undef F
};

/* ---- the host ---- */

static void host_cpuid(uint32_t leaf, uint32_t sub, uint32_t r[4])
{
	__asm__ volatile("cpuid"
			 : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3])
			 : "0"(leaf), "2"(sub));
}

static uint64_t host_xcr0(void)
{
	uint32_t lo, hi;

	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return (uint64_t)hi << 32 | lo;
}

struct host {
	uint64_t feat[CPU_FEAT_WORDS];
	uint32_t vendor[3]; /* EBX EDX ECX */
	bool amd, xsave, avx;
	uint16_t xs_at[CPU_XS_PARTS]; /* in the standard form of XSAVE areas */
};

/* Intel's places in the standard form: what saved states have, and guests where the host has none */
static const uint16_t xs_saved[CPU_XS_PARTS] = {
	[XS_PART_AVX] = XS_AVX,  [XS_PART_OPMASK] = 1088, [XS_PART_ZMM_HI] = 1152,
	[XS_PART_HI_ZMM] = 1664, [XS_PART_PKRU] = 2688,
};

static void set_bit(uint64_t *set, unsigned n)
{
	set[n >> 6] |= BIT64(n & 63);
}

static bool get_bit(const uint64_t *set, unsigned n)
{
	return set[n >> 6] >> (n & 63) & 1;
}

static void clear_bit(uint64_t *set, unsigned n)
{
	set[n >> 6] &= ~BIT64(n & 63);
}

/* Guests of other engines run on the host's layout. */
static void host_layout(struct host *h)
{
	uint32_t r[4];

	for (unsigned i = 0; i < CPU_XS_PARTS; i++) {
		h->xs_at[i] = xs_saved[i];
		if (!h->xsave)
			continue;
		host_cpuid(0xd, (unsigned)__builtin_ctz(xs_parts[i].bit), r);
		if (r[0] == xs_parts[i].size && r[1] >= XS_AVX && r[1] + r[0] <= X86_XSAVE_SIZE)
			h->xs_at[i] = (uint16_t)r[1];
	}
}

static void clear_avx512(struct host *h)
{
	for (unsigned i = 0; i < ARRAY_SIZE(sets); i++)
		for (unsigned j = 0; sets[i].avx512 && j < sets[i].n; j++)
			clear_bit(h->feat, sets[i].f[j]);
}

static void host_probe(struct host *h)
{
	static const feature_id needs_avx[] = {FEAT(AVX),  FEAT(AVX2), FEAT(FMA),
					       FEAT(F16C), FEAT(VAES), FEAT(VPCLMUL)};
	uint32_t r[4] = {0}, leaf = 0, max[2];
	bool avx512 = true;
	unsigned sub = 0;
	uint64_t xcr0;

	memset(h, 0, sizeof(*h));
	host_cpuid(0x80000000, 0, r);
	max[1] = r[0];
	host_cpuid(0, 0, r);
	max[0] = r[0];
	h->vendor[0] = r[1];
	h->vendor[1] = r[3];
	h->vendor[2] = r[2];
	h->amd = r[1] == 0x68747541 || r[1] == 0x6f677948; /* "Auth", "Hygo" */
	for (unsigned f = 1; f < X_FEAT_COUNT; f++) {
		if (places[f].leaf > max[places[f].leaf >> 31])
			continue;
		/* rows of a leaf stand together */
		if (leaf != places[f].leaf || sub != places[f].sub) {
			leaf = places[f].leaf;
			sub = places[f].sub;
			host_cpuid(leaf, sub, r);
		}
		if (r[places[f].reg] >> places[f].bit & 1)
			set_bit(h->feat, f);
	}
	h->xsave = get_bit(h->feat, X_FEAT_XSAVE) && get_bit(h->feat, X_FEAT_OSXSAVE);
	xcr0 = h->xsave ? host_xcr0() : 0;
	h->avx = get_bit(h->feat, X_FEAT_AVX) && (xcr0 & 7) == 7;
	host_layout(h);
	if (!h->avx)
		for (unsigned i = 0; i < ARRAY_SIZE(needs_avx); i++)
			clear_bit(h->feat, needs_avx[i]);
	/* There is a model with all of them, none with some. */
	for (unsigned i = 0; i < ARRAY_SIZE(v4_set); i++)
		avx512 &= get_bit(h->feat, v4_set[i]);
	if (!avx512 || !h->avx || (xcr0 & XCR0_AVX512) != XCR0_AVX512)
		clear_avx512(h);
	for (unsigned i = 0; i < ARRAY_SIZE(own_set); i++)
		set_bit(h->feat, own_set[i]);
}

/* ---- model and host together ---- */

static bool has_set(const struct x86_model *m, unsigned i)
{
	return sets[i].level <= m->level && (!sets[i].avx512 || m->level < LEVEL_HOST || m->avx512);
}

static void model_features(const struct x86_model *m, const struct host *h, uint64_t *set)
{
	memset(set, 0, CPU_FEAT_WORDS * sizeof(*set));
	for (unsigned i = 0; i < ARRAY_SIZE(sets); i++) {
		if (!has_set(m, i))
			continue;
		for (unsigned j = 0; j < sets[i].n; j++)
			if (get_bit(h->feat, sets[i].f[j]))
				set_bit(set, sets[i].f[j]);
	}
	if (!h->amd)
		for (unsigned i = 0; i < ARRAY_SIZE(intel_set); i++)
			set_bit(set, intel_set[i]);
	if (h->amd)
		set_bit(set, X_FEAT_MMXEXT);
	if (m->la57)
		set_bit(set, X_FEAT_LA57);
}

const struct x86_model *x86_model_at(unsigned n)
{
	return n < ARRAY_SIZE(models) ? &models[n] : NULL;
}

const struct x86_model *x86_model_find(const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(models); i++)
		if (str_eq(models[i].name, name))
			return &models[i];
	return NULL;
}

const char *x86_model_name(const struct x86_model *model)
{
	return model->name;
}

bool x86_model_usable(const struct x86_model *model)
{
	unsigned level = model->level < LEVEL_HOST ? model->level : 1;
	struct host h;

	host_probe(&h);
	for (unsigned i = 0; i < ARRAY_SIZE(sets); i++) {
		if (sets[i].level > level)
			continue;
		for (unsigned j = 0; j < sets[i].n; j++)
			if (!get_bit(h.feat, sets[i].f[j]))
				return false;
	}
	return true;
}

/* "host" is whatever there is but for 5-level paging, so it is always usable. */
const struct x86_model *x86_model_default(void)
{
	return &models[ARRAY_SIZE(models) - 1];
}

static uint64_t xcr0_of(const uint64_t *feat)
{
	if (!get_bit(feat, X_FEAT_XSAVE))
		return XCR0_X87;
	return XCR0_X87 | XCR0_SSE | (get_bit(feat, X_FEAT_AVX) ? XCR0_AVX : 0) |
	       (get_bit(feat, X_FEAT_AVX512F) ? XCR0_AVX512 : 0) |
	       (get_bit(feat, X_FEAT_PKU) ? XCR0_PKRU : 0);
}

bool x86_has(const struct x86_model *model, enum x86_feature f)
{
	uint64_t set[CPU_FEAT_WORDS];
	struct host h;

	host_probe(&h);
	model_features(model, &h, set);
	return get_bit(set, f);
}

void x86_cpuid_init(struct cpu *cpu)
{
	struct host h;

	host_probe(&h);
	if (!cpu->model)
		cpu->model = x86_model_default();
	model_features(cpu->model, &h, cpu->i.feat);
	cpu->i.feat[0] |= 1; /* X_FEAT_NONE: always there */
	if (!cpu->s.maxphy)  /* a state that nobody has reset yet */
		cpu->s.maxphy = X86_MAXPHY;
	cpu->i.amd = h.amd;
	cpu->i.host_xsave = h.xsave;
	cpu->i.host_avx = h.avx;
	cpu->i.xs_image = (uint16_t)(XCR0_X87 | XCR0_SSE | (h.avx ? XCR0_AVX : 0) |
				     (xcr0_of(cpu->i.feat) & XCR0_AVX512));
	memcpy(cpu->i.xs_at, h.xs_at, sizeof(h.xs_at));
	memcpy(cpu->i.vendor, h.vendor, sizeof(h.vendor));
}

/* ---- leaves ---- */

uint64_t x86_xcr0_mask(const struct cpu *cpu)
{
	return xcr0_of(cpu->i.feat);
}

uint64_t x86_model_xcr0(const struct x86_model *model)
{
	uint64_t set[CPU_FEAT_WORDS];
	struct host h;

	host_probe(&h);
	model_features(model ? model : x86_model_default(), &h, set);
	return xcr0_of(set);
}

void x86_xsave_move(struct x86_xsave *x, bool from)
{
	struct x86_xsave was = *x;
	struct host h;

	host_probe(&h);
	memset(x->bytes + XS_AVX, 0, sizeof(x->bytes) - XS_AVX);
	for (unsigned i = 0; i < CPU_XS_PARTS; i++)
		memcpy(x->bytes + (from ? h.xs_at : xs_saved)[i],
		       was.bytes + (from ? xs_saved : h.xs_at)[i], xs_parts[i].size);
}

/* RDCL_NO, IBRS_ALL, no L1D flush, SSB_NO, MDS_NO, PSCHANGE_MC_NO, TAA_NO, SBDR_SSDP_NO, FBSDP_NO,
 * PSDP_NO, BHI_NO, PBRSB_NO, GDS_NO, RFDS_NO, ITS_NO */
uint64_t x86_arch_caps(const struct cpu *cpu)
{
	return UINT64_C(0x400000000d10e17b);
}

/* Model 107 of AMD's family 15 and of Intel's family 6: none that programs have special code for.
 * Compilers' function multi-versioning (GCC's target_clones) goes by family and model alone, so the
 * host's would promise instructions that are not there. */
static uint32_t signature(const struct cpu *cpu)
{
	return cpu->i.amd ? 0x00060fb1 : 0x000606b1;
}

static void brand(const struct cpu *cpu, uint32_t leaf, uint32_t r[4])
{
	char text[48] = "Vigia ";

	if (cpu->model->level == LEVEL_HOST) {
		host_cpuid(leaf, 0, r);
		return;
	}
	str_copy(text + 6, sizeof(text) - 6, cpu->model->name);
	memcpy(r, text + (leaf - 0x80000002) * 16, 16);
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

static void leaf_extended(const struct cpu *cpu, uint32_t leaf, uint32_t r[4])
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

			for (unsigned f = 1; f < X_FEAT_COUNT; f++)
				if (places[f].leaf == 1 && cpu_has(cpu, f))
					one[places[f].reg] |= BIT(places[f].bit);
			r[0] = signature(cpu);
			r[3] |= one[3] & 0x0183f3ff;
		}
		return;
	case 0x80000002:
	case 0x80000003:
	case 0x80000004:
		brand(cpu, leaf, r);
		return;
	case 0x80000005:
	case 0x80000006:
		if (cpu->i.amd)
			host_cpuid(leaf, 0, r);
		else if (leaf == 0x80000006)
			r[2] = 1024 << 16 | 8 << 12 | 64;
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
		r[0] = signature(cpu);
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
	for (unsigned f = 1; f < X_FEAT_COUNT; f++) {
		/* only these leaves go by subleaf */
		bool by_sub = leaf == 7 || leaf == 0xd;

		if (places[f].leaf == leaf && places[f].sub == (by_sub ? sub : 0) &&
		    cpu_has(cpu, f))
			r[places[f].reg] |= BIT(places[f].bit);
	}
	if (leaf >> 31)
		leaf_extended(cpu, leaf, r);
	else
		leaf_basic(cpu, leaf, sub, r);
	if (cpu->ops->cpuid)
		cpu->ops->cpuid(cpu, leaf, sub, r);
}
