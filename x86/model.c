/* SPDX-License-Identifier: ISC */
/* model.c: processor models, and what they are on this host (SDM vol. 2A, CPUID; APM vol. 3, app. E).
 *
 * A model is a list of features. Those whose instructions run natively are there only if the host
 * has them; the others are the interpreter's own. Model and host together are a kind, which a VM keeps.
 * The vendor is the host's, so that guests pick the quirks that fit the processor underneath; the
 * family is nobody's. Speculation across the guest's privilege levels is not what translated code
 * does, so that mitigations would only cost time: the feature bits say that none is needed.
 * Constant data; any thread. */
#include "base/str.h"
#include "x86/cpuid.h"
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

const struct x86_place x86_places[X_FEAT_COUNT] = {
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
	bool whole_stores;            /* struct cpu_interp */
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

static bool is_amd(const uint32_t *vendor)
{
	return vendor[0] == 0x68747541 || vendor[0] == 0x6f677948; /* "Auth", "Hygo" */
}

#define FAMILY_ZEN5 0x1au

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
	h->amd = is_amd(h->vendor);
	host_cpuid(1, 0, r);
	h->whole_stores = h->amd && (r[0] >> 8 & 15) + (r[0] >> 20 & 255) >= FAMILY_ZEN5;
	for (unsigned f = 1; f < X_FEAT_COUNT; f++) {
		if (x86_places[f].leaf > max[x86_places[f].leaf >> 31])
			continue;
		/* rows of a leaf stand together */
		if (leaf != x86_places[f].leaf || sub != x86_places[f].sub) {
			leaf = x86_places[f].leaf;
			sub = x86_places[f].sub;
			host_cpuid(leaf, sub, r);
		}
		if (r[x86_places[f].reg] >> x86_places[f].bit & 1)
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
	struct host h;

	if (model->level ==
	    LEVEL_HOST) /* whatever there is, and no need to look: CPUID is slow in a VM */
		return true;
	host_probe(&h);
	for (unsigned i = 0; i < ARRAY_SIZE(sets); i++) {
		if (sets[i].level > model->level)
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

/* AMD's family 13H, which there never was, and model 107 of Intel's family 6: none that programs have special
 * code for. Compilers' function multi-versioning (GCC's target_clones) goes by family and model alone, so
 * the host's would promise instructions that are not there. In families 0FH and 10H kernels look
 * for AGP bridges, on all of the 256 buses that there could be. */
static uint32_t signature(bool amd)
{
	return amd ? X86_AMD_SIGNATURE : X86_INTEL_SIGNATURE;
}

static void brand(const struct x86_model *m, uint32_t r[3][4])
{
	char text[48] = "Vigia ";

	if (m->level == LEVEL_HOST) {
		for (unsigned i = 0; i < 3; i++)
			host_cpuid(0x80000002 + i, 0, r[i]);
		return;
	}
	str_copy(text + 6, sizeof(text) - 6, m->name);
	memcpy(r, text, sizeof(text));
}

static void kind_of(const struct x86_model *m, const struct host *h, struct x86_kind *out)
{
	*out = (struct x86_kind){.signature = signature(h->amd)};
	model_features(m, h, out->feat);
	out->feat[0] |= 1; /* X_FEAT_NONE: always there */
	memcpy(out->vendor, h->vendor, sizeof(h->vendor));
	memcpy(out->xs_at, h->xs_at, sizeof(h->xs_at));
	brand(m, out->brand);
	if (h->amd) {
		host_cpuid(0x80000005, 0, out->cache[0]);
		host_cpuid(0x80000006, 0, out->cache[1]);
	} else {
		out->cache[1][2] = 1024 << 16 | 8 << 12 | 64;
	}
}

void x86_kind_of(const struct x86_model *model, struct x86_kind *out)
{
	struct host h;

	host_probe(&h);
	kind_of(model ? model : x86_model_default(), &h, out);
}

void x86_cpuid_init(struct cpu *cpu)
{
	struct x86_kind kind;
	struct host h;

	host_probe(&h);
	if (cpu->kind)
		kind = *cpu->kind;
	else
		kind_of(cpu->model ? cpu->model : x86_model_default(), &h, &kind);
	if (!cpu->s.maxphy) /* a state that nobody has reset yet */
		cpu->s.maxphy = X86_MAXPHY;
	cpu->i.amd = is_amd(kind.vendor);
	cpu->i.whole_stores = cpu->i.amd && h.whole_stores;
	cpu->i.host_xsave = h.xsave;
	cpu->i.host_avx = h.avx;
	cpu->i.xs_image = (uint16_t)(XCR0_X87 | XCR0_SSE | (h.avx ? XCR0_AVX : 0) |
				     (xcr0_of(kind.feat) & XCR0_AVX512));
	memcpy(cpu->i.feat, kind.feat, sizeof(kind.feat));
	memcpy(cpu->i.xs_at, h.xs_at, sizeof(h.xs_at));
	memcpy(cpu->i.vendor, kind.vendor, sizeof(kind.vendor));
	memcpy(cpu->i.brand, kind.brand, sizeof(kind.brand));
	memcpy(cpu->i.cache, kind.cache, sizeof(kind.cache));
	cpu->i.signature = kind.signature;
}

uint64_t x86_xcr0_mask(const struct cpu *cpu)
{
	return xcr0_of(cpu->i.feat);
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

/* ---- kinds ---- */

bool x86_kind_has(const struct x86_kind *kind, enum x86_feature f)
{
	return get_bit(kind->feat, f);
}

uint64_t x86_kind_xcr0(const struct x86_kind *kind)
{
	return xcr0_of(kind->feat);
}

void x86_kind_drop(struct x86_kind *kind, enum x86_feature f)
{
	clear_bit(kind->feat, f);
}

/* Where components are that neither has, no guest sees. */
bool x86_kind_same(const struct x86_kind *a, const struct x86_kind *b)
{
	for (unsigned i = 0; i < CPU_XS_PARTS; i++)
		if (xcr0_of(a->feat) & xs_parts[i].bit && a->xs_at[i] != b->xs_at[i])
			return false;
	return !memcmp(a->feat, b->feat, sizeof(a->feat)) &&
	       !memcmp(a->vendor, b->vendor, sizeof(a->vendor)) && a->signature == b->signature &&
	       !memcmp(a->brand, b->brand, sizeof(a->brand)) &&
	       !memcmp(a->cache, b->cache, sizeof(a->cache));
}

static const char *const names[X_FEAT_COUNT] = {
#define F(name, leaf, sub, reg, bit) [X_FEAT_##name] = #name,
	X86_FEATURES(F)
#undef F
};

const char *x86_kind_beyond(const struct x86_kind *kind, const struct x86_kind *other)
{
	for (unsigned f = 1; f < X_FEAT_COUNT; f++)
		if (get_bit(kind->feat, f) && !get_bit(other->feat, f))
			return names[f];
	return NULL;
}

/* All that some model could have here */
static void all_features(const struct host *h, uint64_t *set)
{
	const struct x86_model most = {.level = LEVEL_HOST, .la57 = true, .avx512 = true};

	model_features(&most, h, set);
	for (unsigned i = 0; i < ARRAY_SIZE(intel_set); i++)
		set_bit(set, intel_set[i]);
	set_bit(set, X_FEAT_MMXEXT);
}

const char *x86_kind_missing(const struct x86_kind *kind)
{
	struct x86_kind all = {0};
	const char *name;
	struct host h;

	host_probe(&h);
	all_features(&h, all.feat);
	name = x86_kind_beyond(kind, &all);
	for (unsigned i = 0; i < CPU_XS_PARTS && !name; i++)
		if (xcr0_of(kind->feat) & xs_parts[i].bit && kind->xs_at[i] != h.xs_at[i])
			name = "XSAVE areas of that layout";
	return name;
}

bool x86_kind_broken(const struct x86_kind *kind)
{
	uint64_t need[CPU_FEAT_WORDS] = {0};

	for (unsigned i = 0; i < ARRAY_SIZE(base_set); i++)
		set_bit(need, base_set[i]);
	for (unsigned i = 0; i < ARRAY_SIZE(own_set); i++) /* engines may lack those */
		clear_bit(need, own_set[i]);
	for (unsigned i = 0; i < CPU_FEAT_WORDS; i++)
		if (need[i] & ~kind->feat[i])
			return true;
	return !get_bit(kind->feat, X_FEAT_NONE);
}

unsigned x86_feat_words(const uint64_t feat[CPU_FEAT_WORDS], struct x86_word *out)
{
	unsigned n = 0;

	for (unsigned f = 1; f < X_FEAT_COUNT; f++) {
		const struct x86_place *p = &x86_places[f];
		unsigned i = 0;

		if (!get_bit(feat, f))
			continue;
		while (i < n &&
		       (out[i].leaf != p->leaf || out[i].sub != p->sub || out[i].reg != p->reg))
			i++;
		if (i == X86_WORDS)
			break;
		if (i == n)
			out[n++] = (struct x86_word){p->leaf, p->sub, p->reg, 0};
		out[i].value |= BIT(p->bit);
	}
	return n;
}

unsigned x86_kind_words(const struct x86_kind *kind, struct x86_word *out)
{
	return x86_feat_words(kind->feat, out);
}

bool x86_kind_add(struct x86_kind *kind, const struct x86_word *word)
{
	uint32_t left = word->value;

	for (unsigned f = 1; f < X_FEAT_COUNT; f++) {
		const struct x86_place *p = &x86_places[f];

		if (p->leaf != word->leaf || p->sub != word->sub || p->reg != word->reg ||
		    !(left & BIT(p->bit)))
			continue;
		set_bit(kind->feat, f);
		left &= ~BIT(p->bit);
	}
	return !left;
}
