/* SPDX-License-Identifier: ISC */
/* layout.h: the engine's data structures. Translated code reaches a vCPU's at fixed offsets from GS:
 *
 *	0		struct soft_vcpu; the guest's registers are at its start
 *	GS_TLB0		the kernel's TLBs, by context for reads and for writes, each of two arrays
 *	GS_JC0		the kernel's jump caches, two arrays each
 *	GS_TGT		one slot for each target of a kernel's jump that leaves its page
 *	GS_MEMO0	memos of accesses, for reads and for writes
 *	GS_TLB1, GS_JC1, GS_MEMO1	the same for user code
 *
 * Committed where touched; zeroes in the TLBs mean "nothing cached". The last part exists once for each of a
 * few address spaces (struct soft_view); the rest is the same memory in all of their windows. */
#ifndef ENGINE_SOFT_LAYOUT_H
#define ENGINE_SOFT_LAYOUT_H

#include "base/def.h"
#include "engine/soft/soft.h"
#include "plat/plat.h"
#include "vm/vm.h"
#include "x86/cpu.h"
#include "x86/insn.h"

/* Contexts: what rights a guest's data accesses have */
enum soft_ctx {
	CTX_KERNEL,    /* CPL 0-2; with SMAP on: no user pages */
	CTX_USER,      /* CPL 3 */
	CTX_KERNEL_AC, /* CPL 0-2 with SMAP on and RFLAGS.AC set */
	CTX_COUNT,
};

/* Mode word: everything besides the address that a translation depends on. Never 0. */
#define MODE_CTX    3u     /* enum soft_ctx */
#define MODE_FPU    BIT(2) /* x87 and MMX do not fault */
#define MODE_SSE    BIT(3)
#define MODE_AVX    BIT(4)
#define MODE_AVX512 BIT(5)
#define MODE_SMAP   BIT(7) /* SMAP is on */
#define MODE_TSC    BIT(8) /* RDTSC does not fault */
#define MODE_VALID  BIT(6)
/* 16- and 32-bit code, and what it depends on besides */
#define MODE_LEGACY BIT(9)
#define MODE_D32    BIT(10) /* CS.D: 32-bit code */
#define MODE_S32    BIT(11) /* SS.B: ESP; else SP */
#define MODE_FLAT   BIT(12) /* CS, DS, ES, SS: 32-bit, from 0 to 4 GiB, and nothing forbidden */
#define MODE_REAL   BIT(13) /* real or virtual-8086 mode */
#define MODE_NEAR   BIT(14) /* CS has a limit that near jumps can exceed */
#define MODE_BASES  BIT(18) /* RDFSBASE and its like do not fault */
#define MODE_PKE    BIT(19) /* nor RDPKRU */
#define MODE_DIRECT BIT(20) /* user code whose pages are mapped (direct.c) */
/* Of blocks, not vCPUs */
#define MODE_PLAIN         BIT(15) /* no shared probes (group.c) */
#define MODE_FIXED         BIT(16) /* user code for one linear address (hot.c) */
#define MODE_BUSY          BIT(17) /* its probes have memos (memo.c) */
#define MODE_INTERP        0u      /* not translated at all */
#define MODE_IS_USER(mode) (((mode)&MODE_CTX) == CTX_USER)
/* Translations of user code do not depend on where the page is mapped: processes share them. But for
 * what is hot. */
#define MODE_IS_PIC(mode) (MODE_IS_USER(mode) && !((mode)&MODE_FIXED))

#define TLB_ENTRIES   65536u
#define TLB_INDEX(va) ((uint32_t)((va) >> PAGE_SHIFT) & (TLB_ENTRIES - 1))
#define TLB_BYTES     (TLB_ENTRIES * 8u)
/* The addend's low six bits serve probe B as a shift count: hence this bias. */
#define TLB_BIAS 12

/* Pages that 4096 elements are at most: what a REP may ask the TLB for (emit_sys.c) */
#define RUN_PAGES 8u

#define TLB_TABLES 6u /* ctx * 2 + kind */
#define FETCH_NONE UINT64_C(1)

/* Jump caches: user code has one, the kernel one for each of its modes that alternate. */
#define JC_BITS    16u
#define JC_ENTRIES (1u << JC_BITS)
#define JC_BYTES   (JC_ENTRIES * 8u)
/* RIP's lowest bits that do not count: functions begin at multiples of 16, and returns lie 5 bytes apart mostly */
#define JC_SHIFT     2u
#define JC_PAGE_BITS (PAGE_SHIFT - JC_SHIFT)
#define JC_AWAY      (1u << JC_PAGE_BITS)
#define JC_KERNELS   4u
#define JC_USER      JC_KERNELS
#define JC_SET(mode)                  \
	(MODE_IS_USER(mode) ? JC_USER \
			    : ((mode)&MODE_FPU ? 0u : 2u) + (((mode)&MODE_CTX) == CTX_KERNEL_AC))

#define TGT_MAX 65536u

/* A set of pages, by two hashes: of a page that is not in it, it may say that it is */
#define CODE_BITS 65536u
#define CODE_MAP  (2u * CODE_BITS / 8u)

/* What a probe's page was last: minus its linear address, less memo.c's bias, the addend, and the offset below
 * which an access fits. All zeroes: nothing. The first one's ntag says whether there is any. */
struct soft_memo {
	uint64_t ntag, addend, limit, reserved;
};
#define MEMOS        1024u
#define MEMO_CLASSES 5u
#define MEMO_BYTES   (MEMOS * (uint32_t)sizeof(struct soft_memo))

/* A window: what all views of a vCPU share first, then what each has for itself. */
#define GS_STRUCT (608u * 1024u) /* struct soft_vcpu, rounded up */
#define GS_TLB0   GS_STRUCT
#define GS_JC0    (GS_TLB0 + 8u * TLB_BYTES)
#define GS_TGT    (GS_JC0 + JC_KERNELS * 2u * JC_BYTES)
#define GS_MEMO0  (GS_TGT + TGT_MAX * 8u)
#define GS_SHARED (GS_MEMO0 + 2u * MEMO_BYTES)
#define GS_TLB1   GS_SHARED
#define GS_JC1    (GS_TLB1 + 4u * TLB_BYTES)
#define GS_MEMO1  (GS_JC1 + 2u * JC_BYTES)
#define GS_SIZE   (GS_MEMO1 + 2u * MEMO_BYTES)
#define GS_OWN    (GS_SIZE - GS_SHARED)
/* All of the same size: what of them is really there, a configuration may say (soft_config.tables). An entry is then the same as others
 * further on, which have other tags. */
static inline uint32_t soft_tables_there(const struct soft_config *cfg)
{
	return cfg->tables ? MAX(SOFT_TABLES_MIN, MIN(cfg->tables, TLB_BYTES)) / 8u : TLB_ENTRIES;
}
_Static_assert(TLB_BYTES == JC_BYTES && TLB_BYTES == TGT_MAX * 8u, "arrays");
/* kind: 0 read, 1 write */
#define GS_NTAG(ctx, kind)                                   \
	((ctx) == CTX_USER ? GS_TLB1 + (kind)*2u * TLB_BYTES \
			   : GS_TLB0 + (((ctx) / 2u) * 2u + (kind)) * 2u * TLB_BYTES)
#define GS_ADDEND(ctx, kind) (GS_NTAG(ctx, kind) + TLB_BYTES)
#define GS_MEMO(user, kind)  (((user) ? GS_MEMO1 : GS_MEMO0) + (kind)*MEMO_BYTES)
#define GS_JNTAG(set)        ((set) == JC_USER ? GS_JC1 : GS_JC0 + (set)*2u * JC_BYTES)
#define GS_JCODE(set)        (GS_JNTAG(set) + JC_BYTES)

/* Chains from host pages to the write entries that lead there: one table of each kernel context,
 * then one of each view. */
#define REV_HEADS 4096u

struct soft_rev {
	uint64_t page;       /* host address; 0: on no chain */
	uint32_t next, prev; /* entry + 1 */
};

#define GROUP_SLOTS 8u

#define NO_GPA  UINT64_MAX
#define LOG_MAX 8192u

/* Indices of entries that were filled, so that a flush costs what was used. */
struct soft_log {
	uint32_t n; /* may be LOG_MAX + 1: overflow, clear everything */
	uint32_t entry[LOG_MAX];
};

/* One address space's user part, kept while others run: a view for each of the PCIDs used last. */
#define VIEWS     4u /* at most */
#define PCID_NONE UINT32_MAX
struct soft_view {
	uint8_t *gs; /* its window */
	uint32_t pcid;
	bool global_code; /* its jump cache has entries for global pages */
	uint32_t jc_mode; /* that its jump cache is for, without MODE_CTX; 0: not in use yet */
	uint64_t used;
	uint32_t flushes;                    /* since its memory was given back */
	struct soft_log log_tlb, log_jc;     /* kind << 16 | index; index */
	uint8_t in_tlb[2 * TLB_ENTRIES / 8]; /* what is in the logs */
	uint8_t in_jc[JC_ENTRIES / 8];
	uint8_t code_page[CODE_MAP]; /* pages that the jump cache leads to (code_page_note()) */
};

/* fpu.c: where the guest's FP state is */
enum soft_fpu {
	FPU_PARKED, /* in s.xsave; the host's registers are as C expects them */
	FPU_LIVE,   /* in the host's registers */
	FPU_SAVED, /* in s.xsave, with what is left of it in the registers: for code that uses none */
};

/* What translated code may run a REP over: [-neg_start, end), at its address plus addend (with TLB_BIAS). All
 * zeroes: nothing, as no REP that begins below 4 GiB ends at 0. */
struct soft_span {
	uint64_t neg_start, end, addend;
};

/* entries: of a table, that are really there */
static inline size_t rev_bytes(uint32_t entries, unsigned views)
{
	return ALIGN_UP(REV_HEADS * 4u + (2u + views) * entries * sizeof(struct soft_rev),
			(size_t)PAGE_SIZE);
}

/* Guest pages mapped once more, in the guest's order, or that may come to be (span.c) */
#define MIRRORS      32u
#define MIRROR_PAGES 33u /* 128 KiB, wherever they begin */
struct soft_mirror {
	gva_t first;
	uint32_t n;
	uint32_t heat; /* times seen, until made */
	bool made;
	hva_t page[MIRROR_PAGES];
};

#define HOT_KEYS 16384u

/* An instruction of a block that the interpreter ran */
struct soft_decoded {
	uint32_t key; /* block and instruction, plus 1 */
	uint32_t generation;
	struct insn in;
};
#define DECODED 64u

#define DIRECT_SITES 1024u

struct soft_vm;

struct soft_vcpu {
	struct cpu cpu; /* first: the guest's registers */

	/* --- reached by translated code and trampolines */
	uint64_t host_rsp;                   /* of enter()'s frame */
	uint64_t jump_to;                    /* where resume continues */
	uint64_t slow_ea;                    /* linear address of the access that missed */
	uint64_t tmp[4];                     /* translations' own scratch */
	uint64_t group[GROUP_SLOTS];         /* addends of groups (group.c) */
	struct soft_span span[CTX_COUNT][2]; /* read, written */
	uint64_t self;                       /* address of this structure */
	uint64_t vbase; /* linear address of the page that runs (MODE_IS_PIC) */
	/* Minus the bytes of each segment that may be read, written (MODE_LEGACY); 0: the interpreter
	 * must look. Minus CS.base. */
	uint64_t neg_room[2][6];
	uint64_t neg_cs;
	_Atomic uint32_t poll; /* nonzero: leave translated code at the next chance */
	uint32_t irq_waits;    /* an interrupt is pending but masked */
	uint8_t if_clear[256]; /* byte 1 of RFLAGS without IF */
	uint8_t if_set[256];
	uint32_t mode;                      /* current mode word */
	_Atomic uint64_t doing;             /* enum soft_doing (profile.c) */
	uint64_t memo_asks;                 /* number of the memo whose stub calls */
	uint32_t memo_left[2][MEMOS];       /* runs of the stub until it calls */
	uint32_t memo_uses[2][MEMOS];       /* of those in question: how often they were used */
	uint64_t direct_left[DIRECT_SITES]; /* runs of accesses' stubs until they call (direct.c) */
	uint64_t direct_back, direct_site, direct_addend;

	/* --- C only; own thread unless said otherwise */
	struct vcpu *vcpu;
	struct soft_vm *sv;
	bool mode_dirty;   /* recompute it */
	bool look;         /* ask the interrupt controller */
	enum soft_fpu fpu; /* where the guest's FP state is */
	bool thread_ready; /* plat_guest_thread() done */
	bool leave;        /* soft_next() wants run() to return, exit says why */
	struct vcpu_exit *exit;
	uint64_t cr0_seen, cr4_seen, efer_seen;
	uint64_t cs_base_seen; /* of legacy code that is not flat: jump caches depend on it */
	uint32_t cs_limit_seen;
	_Atomic bool in_code;  /* between soft_next() and leaving: the cache must stay */
	_Atomic bool still;    /* in_code, but not at work (alone.c) */
	struct mem_slot *slot; /* last one used */
	uint32_t last_retry;   /* site that was retried last after a TLB fill */
	uint32_t last_group;   /* exit of a group, likewise */
	uint64_t last_ea;
	uint32_t store_off; /* the store in progress: place in its page, bytes; or 0 bytes */
	uint32_t store_size;

	uint64_t memo_asked[2][MEMOS]; /* when the stub called, in cycles */
	uint64_t memo_whose[2][MEMOS]; /* which instruction's it was */
	uint8_t memo_tries[2][MEMOS];  /* to find more than a page for it */

	uint64_t direct_whose[DIRECT_SITES]; /* which instruction's it was */
	uint8_t direct_few[DIRECT_SITES];    /* faults that could not be helped, by a hash */
	bool direct_all;                     /* all that is mapped is to be looked up again */
	uint32_t n_direct_gone, direct_pcid;
	gva_t direct_gone[32];
	gva_t direct_wants; /* a page that the guest is about to have, | 1 for a store; or 0 */

	struct soft_decoded decoded[DECODED];
	struct soft_mirror mirror[MIRRORS];
	hva_t mirror_memory;  /* theirs, one after the other; or NULL */
	bool no_mirrors;      /* not to be had on this host */
	uint64_t mirror_paid; /* vcpu_ticks() from which there is time for more */

	uint8_t heat_seen[HOT_KEYS]; /* hot.c */

	struct soft_view *view, *views; /* the current one; all n_views */
	unsigned n_views;
	uint64_t view_clock;
	uint8_t *window[VIEWS];
	void *rev;
	uint32_t tlb_there; /* entries of each table */

	/* What was filled of the shared part, by whether the page is global (1) or not (0): TLB
	 * entries (table << 16 | index), jump cache entries (set << 16 | index) and jump slots. */
	struct soft_log log_tlb[2], log_jc[2], log_tgt[2];
	uint8_t in_tlb[2][TLB_TABLES * TLB_ENTRIES / 8]; /* what is in the logs */
	uint8_t in_jc[2][JC_KERNELS * JC_ENTRIES / 8];
	uint32_t jc_mode[JC_KERNELS / 2]; /* as in views, of each pair */
	uint8_t in_tgt[2][TGT_MAX / 8];
	gva_t fetch_page; /* the page that the interpreter fetched from last, or FETCH_NONE */
	gpa_t fetch_gpa;
	hva_t fetch_hva;
	bool fetch_global;
	_Atomic uint64_t news_seen; /* soft_cache.n_news */
	/* The instruction in progress stores to a page with code. */
	_Atomic bool storing;
	uint32_t refused; /* translations that had to wait */
	uint32_t pauses;
	uint64_t yields_from;        /* vcpu_ticks() from which PAUSE yields again */
	uint8_t code_page[CODE_MAP]; /* pages that jump caches or slots lead to */
	uint8_t large2m[65536 / 8], large1g[65536 / 8]; /* regions with entries from large pages */

	struct soft_stats stats;
	uint64_t by_mnem[I_COUNT]; /* executed from translated code by the interpreter */
	uint32_t exec_mnem;        /* the last of them */
	bool faulted; /* the host's processor has refused it: in the middle of it, registers were lost */
};

#define GS_OFF(field) ((int32_t)offsetof(struct soft_vcpu, field))
#define GS_GPR(n)     ((int32_t)(offsetof(struct soft_vcpu, cpu.s.gpr) + 8u * (n)))

struct soft_vm {
	struct vm *vm;
	struct soft_direct *direct; /* NULL: the host cannot have it */
	struct soft_config cfg;
	struct plat_mutex lock;       /* RANK_ENGINE: all of the cache */
	struct plat_mutex alone_lock; /* RANK_ALONE: whose turn it is to be alone */
	_Atomic bool alone;           /* somebody is: soft_alone_begin() */
	struct soft_cache *cache;
	_Atomic bool flushing; /* the cache is about to be emptied: vCPUs get out of it */
	unsigned n_vcpus;
	struct soft_vcpu *vcpu[VM_MAX_VCPUS];
	struct soft_stats gone;       /* of vCPUs that are no more */
	struct soft_profile *profile; /* NULL: not wanted */
	uint64_t by_mnem[I_COUNT];
	_Atomic uint8_t heat[HOT_KEYS]; /* hot.c */
	_Atomic uint32_t n_hot;
	/* host */
	uint64_t xsave_mask;    /* components saved by XSAVE; 0: FXSAVE only */
	uint64_t xsaveopt_mask; /* by XSAVEOPT: of AVX-512, most of the time not in use */
	bool bmi2;
	bool lines;             /* jumps must not touch a line's end: see lines.c */
	uint8_t flags_computed; /* FLAGS_* */
	struct x86_xsave xinit; /* host's default FP state */
};

/* Where RIP is in a jump cache. Without BMI2 no shift spares the flags. */
static inline uint32_t jc_index(const struct soft_vm *sv, uint64_t rip)
{
	return (uint32_t)(sv->bmi2 ? rip >> JC_SHIFT : rip) & (JC_ENTRIES - 1);
}

static inline bool jc_seconds(const struct soft_vm *sv)
{
	return sv->bmi2 && !sv->cfg.no_second;
}

/* Its second place there, where what another took the first place of goes on: as far into a page, whose number the
 * address' higher bits say. Where there are none: the first. */
static inline uint32_t jc_second(const struct soft_vm *sv, uint64_t rip)
{
	uint32_t far = ((uint32_t)(rip >> (JC_SHIFT + JC_BITS)) << JC_PAGE_BITS) + JC_AWAY;

	return jc_seconds(sv) ? (jc_index(sv, rip) + far) & (JC_ENTRIES - 1) : jc_index(sv, rip);
}

/* A guest's flags that live in the host's */
#define FL_NATIVE (FL_ARITH | FL_DF)

/* flags.c: which kinds of instructions the host lets write the flags that the manual leaves undefined */
#define FLAGS_LOGIC BIT(0)
#define FLAGS_SHIFT BIT(1)
#define FLAGS_IMUL  BIT(2)
uint8_t flags_ask_host(void);
/* lines.c: does it do anything? */
bool lines_matter(enum soft_lines how);
/* stats.c */
void soft_stats_add(struct soft_stats *sum, const struct soft_stats *one);

/* soft.c */
extern const struct cpu_ops soft_cpu_ops;
/* dispatch.c */
uint32_t soft_mode(struct soft_vcpu *v);     /* mode word of the current state */
void soft_refresh_mode(struct soft_vcpu *v); /* after mode_dirty */
void soft_after_step(struct soft_vcpu *v, enum cpu_step st);

/* Stores that soft_code_store() has heard of are done. */
static inline void soft_stored(struct soft_vcpu *v)
{
	if (unlikely(atomic_load_explicit(&v->storing, memory_order_relaxed)))
		atomic_store(&v->storing, false);
}

/* Bytes, as the decoder wants it */
static inline unsigned mode_bytes(uint32_t mode)
{
	return !(mode & MODE_LEGACY) ? 8 : mode & MODE_D32 ? 4 : 2;
}

static inline struct soft_vcpu *soft_of(struct cpu *cpu)
{
	return (struct soft_vcpu *)cpu;
}

/* The linear address of the instruction at RIP */
static inline uint64_t soft_linear(const struct soft_vcpu *v)
{
	const struct x86_state *s = &v->cpu.s;

	return v->mode & MODE_LEGACY ? (uint32_t)(s->rip + s->seg[CS].base) : s->rip;
}

/* RIP for a linear address in the code segment, wrapped as near jumps do */
static inline uint64_t soft_to_rip(const struct soft_vcpu *v, uint64_t linear)
{
	if (!(v->mode & MODE_LEGACY))
		return linear;
	linear -= v->cpu.s.seg[CS].base;
	return v->mode & MODE_D32 ? (uint32_t)linear : (uint16_t)linear;
}

static inline uint64_t *soft_gs64(struct soft_vcpu *v, uint32_t off)
{
	return (uint64_t *)(void *)((uint8_t *)v + off);
}

/* dispatch.c: host address at which translated code continues for the current state, or that of
 * the trampoline that leaves; interprets meanwhile. */
const uint8_t *soft_next(struct soft_vcpu *v);

/* fpu.c */
void soft_fpu_init(struct soft_vm *sv);
void soft_fpu_park(struct soft_vcpu *v);   /* guest's to s.xsave, host's defaults in */
void soft_fpu_save(struct soft_vcpu *v);   /* guest's to s.xsave */
void soft_fpu_unsave(struct soft_vcpu *v); /* if it is only saved: s.xsave has not changed since */
void soft_fpu_load(struct soft_vcpu *v);

#endif
