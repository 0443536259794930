/* SPDX-License-Identifier: ISC */
/* emit.h: a translation in progress, and what writes its parts. Under sv->lock. */
#ifndef ENGINE_SOFT_EMIT_H
#define ENGINE_SOFT_EMIT_H

#include "engine/soft/block.h"
#include "engine/soft/direct.h"
#include "engine/soft/enter.h"
#include "engine/soft/group.h"
#include "engine/soft/loop.h"
#include "engine/soft/memo.h"
#include "x86/asm.h"
#include "x86/encode.h"
#include "x86/insn.h"

/* What out-of-line code a site needs, emitted after the block's last instruction */
enum stub_kind {
	STUB_SLOW,       /* an access missed: T0 is the linear address */
	STUB_SLOW_RCX,   /* the same, RCX is in T2 */
	STUB_SLOW_FLAGS, /* the same, RAX and the flags are in tmp[2], tmp[3] */
	STUB_GROUP,      /* a group's probe missed: T0 is the start of group arg's span */
	STUB_GROUP_RCX,  /* the same, RCX is in T2 */
	STUB_LOOP,       /* a loop's check found nothing */
	STUB_MEMO,       /* memo arg of the block has another page */
	STUB_DIRECT,     /* direct access arg of the block is somewhere else */
	STUB_FAR,        /* jump to ea on another page */
	STUB_EXIT,       /* unlinked exit arg */
	STUB_POLL,
	STUB_POLL_RCX,
	STUB_EXEC_RCX, /* as STUB_EXEC, RCX is in T2 */
	STUB_REP_RCX, /* a REP over more than one page, or DF; arg is its string.c's, RCX is in T2 */
	STUB_EXEC,    /* let the interpreter run instruction arg */
};

struct stub {
	uint8_t kind;
	bool ea_known; /* SLOW: load T0 with ea first */
	int8_t base;   /* SLOW, GROUP: with this register plus disp first; or -1 */
	int8_t flags;  /* instruction that gives the flags again, or -1 */
	int32_t disp;
	uint8_t *at; /* rel32 that leads here */
	uint32_t arg;
	uint64_t ea;
	uint8_t *back; /* REP: where it is done; expects RCX in T2 and addends in tmp[0], tmp[1] */
};

#define MAX_STUBS (BLOCK_INSNS * 5)

#define DIRECTS_MAX 64u /* in a block: their stubs are long */

/* A direct access until its stub is emitted */
struct tr_direct {
	struct tr_memo m; /* its probe, if it must have one; miss, back: the check's */
	uint8_t side;
};

struct tr {
	struct soft_vcpu *v;
	struct soft_vm *sv;
	struct soft_cache *c;
	struct soft_block *b;
	struct asm_buf a;
	const uint8_t *page; /* the guest's, where the block begins */
	uint8_t *start;      /* of the block's code */
	uint32_t id;         /* of the block */
	uint64_t rip;        /* relative to vbase where pic */
	uint64_t first_base; /* vbase where it is run first; 0 unless pic */
	bool pic;
	uint32_t mode;
	enum soft_ctx ctx;
	unsigned n; /* instructions */
	unsigned i; /* the current one */
	bool ended; /* the last instruction goes elsewhere by itself */
	bool cut;   /* the instruction after the last one crosses into the next page */
	bool full;  /* out of slots: the cache must be emptied */
	struct insn insn[BLOCK_INSNS];
	uint16_t off[BLOCK_INSNS + 1]; /* from rip */
	bool by_interp[BLOCK_INSNS];   /* cannot be translated */
	bool flags_dead[BLOCK_INSNS];  /* before the instruction */
	struct tr_groups groups;
	struct tr_loop loop;
	int t1_slot; /* whose addend T1 holds when this instruction begins, or -1 */
	struct stub stub[MAX_STUBS];
	unsigned n_stubs;
	struct tr_memo memo[MEMOS_MAX];
	unsigned n_memos;
	struct tr_direct direct[DIRECTS_MAX];
	unsigned n_directs;
	unsigned written; /* registers, before the current instruction */
	unsigned n_spans; /* REPs that look at spans */
};

static inline uint64_t tr_next_rip(const struct tr *t)
{
	return t->rip + t->off[t->i + 1];
}

/* Where the relative jump n goes */
static inline uint64_t tr_target(const struct tr *t, unsigned n)
{
	return t->rip + t->off[n + 1] + t->insn[n].imm;
}

/* 16- or 32-bit code? */
static inline bool tr_legacy(const struct tr *t)
{
	return t->mode & MODE_LEGACY;
}

/* translate.c: is the n-th instruction the block's last in any case? May a debugger have a breakpoint there? */
bool tr_ends_block(const struct tr *t, unsigned n);
bool tr_has_break(const struct tr *t, uint64_t rip);
/* emit_flow.c: is there code that the block may jump to directly, and that is mapped as it is? */
bool tr_same_page(const struct tr *t, uint64_t target);
struct stub *tr_stub(struct tr *t, enum stub_kind kind, uint8_t *at, uint32_t arg);
/* emit_flow.c: leaves the block for one without groups, as the n-th one's probe has failed. */
void emit_group_exit(struct tr *t, uint32_t n);
/* emit_mem.c: without memo. One that spares the flags wants the linear address in T0. */
void emit_probe_tlb(struct tr *t, const struct tr_memo *m);

/* ---- flags.c ---- */

/* Fills t->flags_dead. */
void flags_find_dead(struct tr *t);
/* Those of FL_ARITH that it writes in any case */
unsigned flags_written(const struct tr *t, const struct insn *in);
/* The instruction before the current one from which all flags can be had again, or -1 */
int flags_source(const struct tr *t);
/* Computes them, in T2. */
void flags_again(struct tr *t, int source);

/* ---- ahead.c ---- */

/* Those that code there may read before it writes them, where t's block goes there */
unsigned flags_live_at(struct tr *t, uint64_t target);

/* ---- lines.c: room before a hot jump, so that it lies well ---- */

/* len: its bytes, with those of a comparison right before it; below 32 */
void line_jump(struct tr *t, unsigned len);
/* A loop begins: a line of 64 bytes, as the host's caches have them. */
void line_begin(struct tr *t);
/* The same for one whose rel32 is patched while others run: it is aligned. opcode: its bytes before the
 * rel32; before: those of the comparison */
void line_patched_jump(struct tr *t, unsigned before, unsigned opcode);

/* ---- emit_mem.c: addresses and probes ---- */

/* Where a probed access finds its memory: [base + index + disp] in the host; in loops index may have a scale */
struct place {
	int8_t base, index;
	uint8_t scale; /* 0: 1 */
	int32_t disp;
};
/* Computes the linear address of the memory operand into T0, or tells that it is a constant. */
bool emit_ea(struct tr *t, const struct insn *in, uint64_t *constant); /* true: constant */
/* Probes for an access of size bytes at the linear address base + disp, where base is a register or T0; T2 is
 * free afterwards, T1 and base or T0 make the address. */
void emit_probe(struct tr *t, enum tr_access which, int base, int32_t disp, bool write,
		unsigned size, struct place *out);
/* The place of 8 bytes at reg + disp, probed here or earlier; for the instruction's stack access. */
void emit_stack_place(struct tr *t, unsigned reg, int32_t disp, bool write, struct place *out);
/* The same for a constant address. False: it crosses pages, nothing emitted. */
bool emit_probe_const(struct tr *t, uint64_t ea, bool write, unsigned size, struct place *out);
/* Both, for in's memory operand. */
bool emit_operand(struct tr *t, const struct insn *in, bool write, unsigned size,
		  struct place *out);

/* ---- emit_seg.c: the same for 16- and 32-bit code ---- */

bool seg_translatable(const struct tr *t, const struct insn *in);
bool emit_seg_operand(struct tr *t, const struct insn *in, bool write, unsigned size,
		      struct place *out);
/* The place of size bytes at (E)SP or (E)BP, plus disp */
void emit_seg_stack(struct tr *t, unsigned reg, int32_t disp, bool write, unsigned size,
		    struct place *out);
/* (E)SP = reg + by */
void emit_seg_move(struct tr *t, unsigned reg, int32_t by);
bool emit_seg_lea(struct tr *t, const struct insn *in);
bool emit_seg_movabs(struct tr *t, const struct insn *in);
/* T0: EIP becomes a linear address. */
void emit_seg_code(struct tr *t);
/* The return address in at, of size bytes */
void emit_seg_store_rip(struct tr *t, uint64_t linear, unsigned size, const struct place *at);

/* ---- emit_direct.c: accesses that need no TLB (MODE_DIRECT) ---- */

#define T1_DIRECT 64 /* t1_slot: T1 is -DIRECT_SPAN */

/* May the current instruction's accesses be such? */
bool direct_wanted(const struct tr *t);
/* Instead of emit_probe(); m is what that would probe for, g the group that begins there or NULL, shift its distance from the
 * span's start. False: it must be probed, nothing is emitted. */
bool emit_direct(struct tr *t, enum tr_access which, struct tr_group *g, const struct tr_memo *m,
		 int32_t shift, struct place *out);
/* Instead of emit_probe_const(). False: it is on neither side. */
bool emit_direct_const(struct tr *t, uint64_t ea, unsigned size, struct place *out);
/* Another access of such a group: reg plus disp, or what is in T0 */
void emit_direct_member(struct tr *t, const struct tr_group *g, int reg, int32_t disp,
			struct place *out);
void direct_stub(struct tr *t, unsigned n);

/* ---- emit_copy.c ---- */

bool emit_copy(struct tr *t, const struct insn *in); /* false: leave it to the interpreter */
bool emit_lea(struct tr *t, const struct insn *in);
bool emit_nop(struct tr *t, const struct insn *in);
void emit_exec(struct tr *t);

/* ---- emit_flow.c ---- */

/* Where other code goes that has put RIP in T0, jc_index() of it in T1 and in T2 who it is (needed where RIP
 * may not be canonical); nothing else is lost. */
void emit_far_entry(struct tr *t);
void emit_poll(struct tr *t);
void emit_goto(struct tr *t, uint64_t target);
bool emit_jcc(struct tr *t, const struct insn *in);
bool emit_jmp(struct tr *t, const struct insn *in);
bool emit_loop(struct tr *t, const struct insn *in);
bool emit_call(struct tr *t, const struct insn *in);
bool emit_jmp_ind(struct tr *t, const struct insn *in);
bool emit_call_ind(struct tr *t, const struct insn *in);
bool emit_ret(struct tr *t, const struct insn *in);
bool emit_push(struct tr *t, const struct insn *in);
bool emit_pop(struct tr *t, const struct insn *in);
bool emit_stack(struct tr *t, const struct insn *in);
void emit_stubs(struct tr *t);
void emit_goto_mode(struct tr *t, uint64_t target, uint32_t mode);

/* ---- emit_sys.c ---- */

bool sys_translatable(const struct tr *t, unsigned n, const struct insn *in); /* the n-th */
bool emit_sys(struct tr *t, const struct insn *in);
bool string_translatable(const struct insn *in);
bool emit_string(struct tr *t, const struct insn *in);
void emit_rep_far(struct tr *t, const struct stub *s); /* STUB_REP_RCX */

/* The linear address rip (relative where pic) into reg */
void emit_rip(struct tr *t, unsigned reg, uint64_t rip);
/* emit_mem.c, without BMI2: takes back what STUB_SLOW_FLAGS says */
void emit_restore_flags(struct asm_buf *a);

#endif
