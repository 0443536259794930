/* SPDX-License-Identifier: ISC */
/* block.h: the code cache: blocks, their index, links between them, and what drops them.
 *
 * A block is guest code from one address up to a jump, translated once for its physical address and
 * mode word, and in kernel mode for its linear address too. User code does without, but where it is
 * hot (hot.c): it takes the address of its page from v->vbase. Indirect jumps, and all that leave a
 * page of user code, go where the jump cache says, with RIP in T0: to the block's far entry, in front
 * of its start, which looks whether it is the one that is meant, and sets vbase. A part of the cache,
 * records included, is emptied at once; a block that dies earlier is only unlinked, so that another
 * vCPU may finish running it. Everything is under sv->lock unless said otherwise. */
#ifndef ENGINE_SOFT_BLOCK_H
#define ENGINE_SOFT_BLOCK_H

#include "engine/soft/layout.h"

#define FAR_MAX     64u
#define BLOCK_INSNS 64u          /* at most, a block */
#define BLOCK_ROOM  (24u * 1024) /* host bytes that one translation may need */
#define STUBS_ROOM  (16u * 1024) /* … and its stubs */

/* A guest instruction's place in a block */
struct soft_site {
	uint16_t host;  /* offset from the block's code */
	uint16_t guest; /* from its RIP */
};

/* A jump to a fixed place on the same page, patched to its target once that exists */
struct soft_exit {
	uint32_t from;    /* block */
	uint32_t to;      /* block + 1; 0: not linked */
	uint32_t next_in; /* next exit + 1 that is linked to the same block */
	uint32_t patch;   /* place of the rel32, offset in the cache */
	uint32_t stub;    /* where it leads while not linked, likewise */
	int16_t target;   /* RIP relative to from's */
	uint16_t
		span; /* of a group's head: bytes, EXIT_WRITE, EXIT_ALIGN; then it leads to a MODE_PLAIN block */
};
#define EXIT_WRITE BIT(15)
#define EXIT_ALIGN BIT(14)    /* … which must be aligned */
#define EXIT_LOOP  EXIT_WRITE /* no bytes: a loop's, likewise */

#define NO_PAGE UINT32_MAX

struct soft_block {
	uint64_t rip;     /* offset in the page where MODE_IS_PIC */
	uint32_t page[2]; /* physical page numbers; [1]: that of the second half of an instruction
			   * that crosses, or NO_PAGE */
	uint32_t code;    /* offset in the cache */
	uint32_t sites;   /* first of n_insns + 1 */
	uint32_t exits;   /* first of n_exits */
	uint32_t in;      /* first exit + 1 linked to it */
	uint32_t next;    /* block + 1 in the same hash chain */
	uint32_t page_next[2]; /* block + 1 on the same page */
	uint16_t code_size;    /* without stubs */
	uint16_t len;          /* guest bytes */
	uint32_t mode;
	uint8_t n_insns, n_exits;
	uint8_t body; /* offset of the code after the poll */
	uint8_t far;  /* bytes of the far entry, which ends where the code begins */
	bool dead;
	bool known;      /* to jump caches, or has been */
	bool loop : 1;   /* begins with a check for many rounds (loop.c) */
	bool ends : 1;   /* by an instruction that jumps: nothing follows its code */
	bool masked : 1; /* some memory operands are under opmasks */
	uint16_t ahead
		[2]; /* what it has to do with of its first page besides (ahead.c): from, to; or 0, 0 */
};
_Static_assert(sizeof(struct soft_block) <= 64, "one cache line");

/* The mode that its vCPU is in */
static inline uint32_t block_mode(const struct soft_block *b)
{
	return b->mode & ~(MODE_PLAIN | MODE_FIXED | MODE_BUSY);
}
/* May one jump to the other by its number? */
static inline bool block_alike(const struct soft_block *a, const struct soft_block *b)
{
	return !((a->mode ^ b->mode) & ~MODE_PLAIN);
}
static inline gpa_t block_gpa(const struct soft_block *b)
{
	return (gpa_t)b->page[0] << PAGE_SHIFT | (b->rip & PAGE_MASK);
}
static inline bool block_crosses(const struct soft_block *b)
{
	return b->page[1] != NO_PAGE;
}

/* A guest page with code. */
struct soft_page {
	gpa_t gpa;
	uint64_t lines;  /* bit n: code within bytes 64n…64n+63 */
	uint32_t blocks; /* first block + 1 */
	uint32_t next;   /* page + 1 in the same hash chain */
	uint32_t misses; /* stores beside the code since it was last dropped */
	uint32_t heat;   /* times that it was dropped for such stores */
	gva_t owner;     /* where it is for the code that knows its address; 0: there is none */
	uint64_t news;   /* what vCPUs must have seen before it is translated from */
};

struct soft_tgt {
	uint64_t rip;
	uint32_t next; /* slot + 1 in the same hash chain */
	uint32_t mode;
};

/* Pages that were marked lately: other vCPUs drop their write entries for them */
#define NEWS_MAX 1024u

/* The cache is filled part by part; the part that comes next is emptied first, unless most of what was translated
 * last had been there before: then there is one part more. */
#define FIRST_PARTS 8u
#define MAX_PARTS   96u
#define GHOSTS      16u /* bits to each entry of the other hashes */
struct soft_part {
	uint32_t start, end, used;  /* code: offsets in the cache */
	uint32_t cold, cold_used;   /* its last piece: stubs, out of the way of what runs often */
	uint32_t block, exit, site; /* first records */
	uint64_t begun;             /* grows from one to be filled to the next */
	_Atomic uint32_t n_blocks;  /* read by fault handlers without the lock */
	uint32_t n_exits, n_sites;
};

/* What is known of instructions with memos, by a hash (memo.c): the memo is in question, is worth it, or is not and
 * there is none */
enum soft_said { MEMO_ASKED, MEMO_WORTHY, MEMO_FICKLE, MEMO_SAID };
#define FILTER_BITS 16384u
struct soft_filter {
	uint32_t n; /* put in since it was emptied */
	uint8_t bits[FILTER_BITS / 8];
};

struct soft_cache {
	struct plat_code code;
	uint32_t first;        /* bytes of trampolines */
	uint32_t generation;   /* times that a part was emptied */
	uint32_t translations; /* since then */
	struct soft_part part[MAX_PARTS];
	uint32_t n_parts, used_parts, cur;
	uint64_t n_begun;
	uint32_t
		entries; /* of each hash but that of blocks; a power of two. Targets, too, are not more */
	uint32_t hash_size, hash_max, n_hashed; /* that of blocks grows with what is in it */
	uint8_t *ghost;                         /* blocks that were emptied out, by a hash */
	uint32_t n_ghosts;
	uint32_t returned;   /* of these, translated again into the current part */
	uint32_t more, step; /* parts to be added before it is asked again; when it was last */
	struct tr *tr;       /* the translation in progress */
	void *arena;
	size_t arena_size;
	struct soft_block *block;
	struct soft_exit *exit;
	struct soft_site *site;
	struct soft_page *page;
	struct soft_tgt *tgt;
	uint32_t part_blocks, part_exits, part_sites, max_pages; /* records of a part */
	uint32_t n_pages, n_tgts;
	uint32_t n_memos[MEMO_CLASSES], top_memos[MEMO_CLASSES]; /* given out, at most so far */
	uint64_t memos_since[MEMO_CLASSES];
	uint32_t n_directs; /* stubs made, for their counters */
	struct soft_filter said[MEMO_SAID];
	uint32_t *hash, *page_hash, *tgt_hash; /* index + 1 */
	hva_t news[NEWS_MAX];
	_Atomic uint64_t n_news;
	/* trampolines: offsets in the cache */
	uint32_t t_enter, t_leave, t_slow, t_exec, t_exit, t_tgt, t_miss, t_poll, t_string, t_group,
		t_memo, t_direct, t_side, t_probe[16], t_count, t_second[JC_KERNELS + 1];
};

static inline struct soft_part *soft_cur(struct soft_cache *c)
{
	return &c->part[c->cur];
}

/* What R15 holds when translated code calls for help: block and instruction, access. */
#define SITE_INSN_SHIFT 20
#define SITE_WRITE      BIT(26)
#define SITE_SIZE_SHIFT 27
/* For string instructions the upper bits are */
#define STRING_MOVS       BIT(26) /* else STOS */
#define STRING_SIZE_SHIFT 27
#define STRING_SIZE       BIT(26) /* above the site */
#define STRING_REP        BIT(29)
#define STRING_ADDR4      BIT(30) /* by ESI, EDI, ECX; ADDR2: SI, DI, CX */
#define STRING_ADDR2      BIT(31)
#define SITE_NONE         UINT32_MAX /* of a jump: to the next instruction, wherever that is */
#define SITE_MAX_BLOCKS   BIT(SITE_INSN_SHIFT)
static inline uint32_t site_block(uint32_t site)
{
	return site & (SITE_MAX_BLOCKS - 1);
}
static inline uint32_t site_insn(uint32_t site)
{
	return site >> SITE_INSN_SHIFT & (BLOCK_INSNS - 1);
}

int soft_cache_create(struct soft_vm *sv) attr_must_check;
void soft_cache_destroy(struct soft_vm *sv);
/* Does this host address lie in translated code or a trampoline? Any thread, no lock. */
bool soft_cache_has_pc(const struct soft_vm *sv, uint64_t pc);
/* Makes room: empties the next part of the cache, or all of it; waits until all vCPUs are out. Without
 * the lock. */
void soft_cache_flush(struct soft_vcpu *v, bool all);
/* Gives the memory of what was translated long ago back. Outside of the code, without the lock. */
void soft_cache_rest(struct soft_vcpu *v);
void soft_cache_forget(struct soft_vm *sv); /* all of it, while all vCPUs are parked */

/* Host code for the vCPU's RIP and mode, translated now if need be. NULL: cpu_step(). Without the
 * lock. */
const uint8_t *soft_find(struct soft_vcpu *v);
/* The block at RIP in the current mode, which may have MODE_PLAIN added, or NULL: cpu_step(). global:
 * its mapping is. Without the lock. */
struct soft_block *soft_find_block(struct soft_vcpu *v, uint32_t mode, bool *global);
/* The block at RIP, on the page of from, which the vCPU runs. NULL: soft_find_block() may know more. Under the
 * lock. */
struct soft_block *soft_find_near(struct soft_vcpu *v, const struct soft_block *from);
struct soft_block *soft_block_lookup(struct soft_cache *c, uint64_t rip, gpa_t gpa, uint32_t mode);
/* Index and pages of a block whose fields are complete. */
void soft_block_insert(struct soft_vm *sv, struct soft_vcpu *v, struct soft_block *b);
/* Unlinks it, but for its pages and the jump caches. */
void soft_block_kill(struct soft_vm *sv, struct soft_block *b);
void soft_link(struct soft_vm *sv, struct soft_exit *e, struct soft_block *to);
void soft_link_far(struct soft_vm *sv, struct soft_exit *e);
void soft_come_in(
	struct soft_vcpu *v); /* before code addresses are looked up: no flush meanwhile */
/* Between these no other vCPU of the VM touches memory. May be called wherever the interpreter is. */
void soft_alone_begin(struct soft_vcpu *v);
void soft_alone_end(struct soft_vcpu *v);
void soft_let_alone(struct soft_vcpu *v); /* stands still while another is alone */
/* Slot for jumps to rip; -1: none left */
int soft_tgt_get(struct soft_vm *sv, uint64_t rip, uint32_t mode);
/* emit_flow.c: out-of-line code that jumps from block from to target (relative to its RIP) on whatever
 * page that is; its offset in the cache, or 0. */
uint32_t soft_emit_far(struct soft_vm *sv, const struct soft_block *from, int32_t target);
int soft_tgt_peek(struct soft_vm *sv, uint64_t rip, uint32_t mode); /* -1: there is none */

/* hot.c: how code at rip is to be translated besides the vCPU's mode: MODE_FIXED, MODE_BUSY */
/* Has nobody else, at another address, code for the page that knows its address? Under the lock. */
bool soft_page_is_ours(struct soft_vm *sv, gpa_t gpa, uint64_t rip);
uint32_t soft_hot_mode(const struct soft_vcpu *v, uint64_t rip, gpa_t gpa);
/* An interrupt comes; what it interrupts may be hot. */
void soft_sample(struct soft_vcpu *v);

/* A host exception at pc: the code that names the guest's instruction, and where to go on with it
 * in R15. NULL: not one of ours. From a signal handler. */
const uint8_t *soft_fault_site(struct soft_vcpu *v, uint64_t pc, uint32_t *site);

/* Jump caches and slots of a vCPU. global: the page is mapped so. */
void soft_jumps_init(struct soft_vcpu *v);
/* Before code of v->mode runs, when that may be another mode than before. */
void soft_jumps_mode(struct soft_vcpu *v);
void soft_jumps_flush(struct soft_vcpu *v); /* forgets all that are there */
void soft_jumps_fill(struct soft_vcpu *v, struct soft_block *b, uint64_t rip, bool global);
void soft_jumps_fill_tgt(struct soft_vcpu *v, uint32_t tgt, struct soft_block *b, bool global);

const uint8_t *soft_jumps_find(struct soft_vcpu *v, uint64_t rip, uint32_t mode); /* or NULL */
void soft_jumps_forget(struct soft_vm *sv, const struct soft_block *b);           /* on all vCPUs */
/* Forgets all that leads to code in [from, to), offsets in the cache. */
void soft_jumps_evict(struct soft_vcpu *v, uint32_t from, uint32_t to);

/* code.c */
/* The pages of a new block have code now. */
void soft_pages_add(struct soft_vm *sv, struct soft_vcpu *v, struct soft_block *b);
bool soft_pages_room(struct soft_vm *sv);
/* The vCPU is about to store at gpa, on a page with code; v->store_* may know how much. */
void soft_code_store(struct soft_vcpu *v, gpa_t gpa);
/* Memory was written by somebody else; v: the caller's vCPU or NULL. */
void soft_code_changed(struct soft_vm *sv, struct soft_vcpu *v, gpa_t gpa, uint64_t len);
/* Between two instructions: other vCPUs have marked pages that this one may write to directly. */
void soft_code_news(struct soft_vcpu *v);
/* No vCPU may write to this host page directly any more, from its next poll on. */
void soft_code_protect(struct soft_vm *sv, hva_t hva);
/* Before code is read from a page: stores to it shall come to soft_code_store(). False: not all do
 * so yet. */
bool soft_page_watch(struct soft_vm *sv, struct soft_vcpu *v, gpa_t gpa);
/* Kills the blocks that may contain instructions at breakpoints. */
void soft_blocks_cut(struct soft_vm *sv, const struct debug_set *set);
/* Kills one block and takes it off its pages. */
void soft_block_drop(struct soft_vm *sv, struct soft_block *b);
/* Takes a dead block off its pages. */
void soft_pages_remove(struct soft_vm *sv, struct soft_block *b);

/* PGF_* of a page of writable RAM, or NULL */
_Atomic uint8_t *soft_page_flags(struct soft_vm *sv, gpa_t gpa);
bool soft_gpa_of(struct soft_vcpu *v, hva_t hva, gpa_t *gpa);

/* translate.c: translates the block at rip. gpa2: page that follows, NO_GPA if not known. Under the
 * lock. TR_FULL, TR_EMPTY: make room in the cache, or empty
 * it, first; TR_CROSS: gpa2 is needed; TR_NONE: it can't be; TR_LATER: not
 * before other vCPUs have heard of it. */
enum tr_result { TR_OK, TR_FULL, TR_EMPTY, TR_CROSS, TR_NONE, TR_LATER };
enum tr_result soft_translate(struct soft_vcpu *v, uint32_t mode, uint64_t rip, gpa_t gpa,
			      gpa_t gpa2, struct soft_block **out);

/* Where the block begins for this vCPU, which runs it */
static inline uint64_t soft_rip(const struct soft_vcpu *v, const struct soft_block *b)
{
	return MODE_IS_PIC(b->mode) ? v->vbase + b->rip : b->rip;
}

static inline const uint8_t *soft_rx(const struct soft_cache *c, uint32_t off)
{
	return c->code.rx + off;
}

#endif
