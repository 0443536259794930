/* SPDX-License-Identifier: ISC */
/* soft.h: what the software engine lets others tune and read. The engine itself is engine_soft of
 * vm/vcpu_ops.h. */
#ifndef ENGINE_SOFT_SOFT_H
#define ENGINE_SOFT_SOFT_H

#include "base/def.h"
#include "base/err.h"

struct vm;

/* Which user code is translated for the address that it has, for its process alone */
enum soft_hot {
	SOFT_HOT_SAMPLED, /* where interrupts find a process twice */
	SOFT_HOT_ALWAYS,
	SOFT_HOT_NEVER,
};

/* Which address space has its pages mapped for user code? See direct.c. */
enum soft_directly {
	SOFT_DIRECT_SAMPLED, /* the one that interrupts find */
	SOFT_DIRECT_ALWAYS,  /* the one that runs. For tests */
	SOFT_DIRECT_NEVER,
};

/* Are jumps kept off the ends of the code's lines? See lines.c. */
enum soft_lines {
	SOFT_LINES_HOST, /* where the host's processor minds */
	SOFT_LINES_ALWAYS,
	SOFT_LINES_NEVER,
};

struct soft_config {
	size_t cache_bytes; /* code cache, at least SOFT_CACHE_MIN; 0: SOFT_CACHE_DEFAULT, more where it is used */
	uint32_t
		tables; /* bytes of each TLB and jump cache, a power of two, at least SOFT_TABLES_MIN; 0: 512 KiB. Counts in soft_vm_init_with() */
	uint32_t
		views; /* address spaces whose user part a vCPU keeps, of all vCPUs but the first: 1 to 4; 0: 4. Likewise */
	uint32_t flush_every; /* empty the cache after that many translations; 0: when it is full */
	enum soft_hot hot;
	enum soft_lines lines;
	enum soft_directly directly;
	bool no_mirrors;  /* see span.c */
	bool all_mirrors; /* whatever time they take. For tests */
	bool no_ahead;    /* see ahead.c */
	bool no_memos;    /* see memo.c */
	bool no_second;   /* places in the jump caches: see jumps.c */
	bool no_loops;    /* see loop.c */
	bool no_bmi2;     /* as on a host without. For tests */
	bool live_flags; /* all are taken to be read always: frames of faults and interrupts have them right */
	uint32_t
		memo_runs; /* of a memo's stub until it asks for more than a page; 0: the default. For tests */
	bool interp;     /* never translate */
	bool log_blocks; /* log each translation */
	bool log_stats;  /* log the counters at the end */
	bool profile;    /* sample what vCPUs are at: soft_profile_read() */
};

#define SOFT_CACHE_DEFAULT (8 * MIB)
#define SOFT_CACHE_MIN     (128 * KIB)
#define SOFT_TABLES_MIN    ((uint32_t)(4 * KIB))

/* Between vm_create() and vm_start(). The environment's wishes are the caller's to read. */
int soft_configure(struct vm *vm, const struct soft_config *cfg) attr_must_check;

/* For an engine's vm_init(): as engine_soft's, but for the configuration, whose profile is ignored. */
int soft_vm_init_with(struct vm *vm, const struct soft_config *cfg) attr_must_check;

/* Counters. Read at any time; not exact across vCPUs. */
#define SOFT_STATS(S)                                                            \
	S(blocks, "blocks translated")                                           \
	S(insns, "guest instructions translated")                                \
	S(code_bytes, "bytes of host code")                                      \
	S(flushes, "code cache flushes")                                         \
	S(alone, "atomic accesses over a line's end")                            \
	S(invalidated, "blocks dropped by writes to their code")                 \
	S(code_writes, "slow stores to pages with code")                         \
	S(flush_code, "pages flushed that kernel code had, as far as known")     \
	S(rests, "times that an idle processor's tables were given back")        \
	S(links, "jumps patched")                                                \
	S(slow, "slow memory accesses")                                          \
	S(miss_cross, "of them over two pages")                                  \
	S(miss_again, "of them whose operands evict each other")                 \
	S(miss_fault, "TLB fills that found a page fault")                       \
	S(miss_device, "TLB fills that found no RAM, or what is watched")        \
	S(miss_code, "TLB fills for stores to pages with code")                  \
	S(tlb_fills, "TLB fills")                                                \
	S(tlb_evicts, "TLB fills in the place of another page")                  \
	S(tlb_flush_ng, "TLB flushes, non-global")                               \
	S(views_kept, "address spaces resumed")                                  \
	S(tlb_flush_all, "TLB flushes, all")                                     \
	S(tlb_flush_page, "TLB flushes, one page")                               \
	S(mirrors, "buffers mapped in the guest's order")                        \
	S(loops, "loops checked before their rounds")                            \
	S(direct_turns, "address spaces whose pages are mapped directly")        \
	S(direct_faults, "faults where a page was not mapped")                   \
	S(direct_pages, "pages mapped")                                          \
	S(direct_dropped, "of them dropped again, flushed by the guest")         \
	S(direct_anew, "blocks translated again for an access in another place") \
	S(memos_fickle, "accesses whose page changes too often for a memo")      \
	S(exec, "instructions executed from translated code by the interpreter") \
	S(steps, "instructions executed by the dispatcher")                      \
	S(exits, "jumps within a page resolved")                                 \
	S(tgts, "jumps to other pages resolved")                                 \
	S(misses, "jump cache misses")                                           \
	S(irqs, "interrupts delivered")                                          \
	S(faults, "host exceptions in translated code")                          \
	S(fp_saves, "FP state saved")

struct soft_stats {
#define S(id, text) uint64_t id;
	SOFT_STATS(S)
#undef S
};
/* Sums over all vCPUs. */
void soft_stats_read(struct vm *vm, struct soft_stats *out);
/* Logs all of them at level info. */
void soft_stats_log(struct vm *vm);

struct soft_named {
	const char *name;
	uint64_t n;
};
/* The instructions that translated code had executed by the interpreter, the most frequent first. Returns how many. */
unsigned soft_stats_exec(struct vm *vm, struct soft_named *out, unsigned max);

/* What a vCPU is at */
#define SOFT_DOINGS(D)                                              \
	D(AWAY, "halted, paused, or leaving the engine")            \
	D(KERNEL, "translated code, kernel")                        \
	D(USER, "translated code, user")                            \
	D(SLOW, "memory accesses that missed the TLB")              \
	D(EXEC, "instructions executed by the interpreter")         \
	D(LINK, "jumps resolved")                                   \
	D(MISS, "jumps that missed their cache")                    \
	D(POLL, "interrupts and other requests")                    \
	D(STRING, "string instructions")                            \
	D(DISPATCH, "the dispatcher, and what it has to interpret") \
	D(TRANSLATE, "the translator")                              \
	D(DEVICE, "devices, the interrupt controller, the host below")

enum soft_doing {
#define D(id, text) DOING_##id,
	SOFT_DOINGS(D)
#undef D
		DOING_COUNT,
};

/* With soft_config.profile: samples of all vCPUs in the order of enum soft_doing, and of DOING_EXEC by
 * instruction as soft_stats_exec(). Return how many; 0 without. */
unsigned soft_profile_read(struct vm *vm, struct soft_named *out, unsigned max);
unsigned soft_profile_exec(struct vm *vm, struct soft_named *out, unsigned max);

#endif
