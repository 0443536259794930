/* SPDX-License-Identifier: ISC */
/* interp.h: what the files of the interpreter share. Nobody else includes it.
 *
 * An exec function gets a decoded instruction whose availability and privilege have been checked.
 * s.rip still points at it; i.next_rip is where it will go, and may be changed. It returns
 * EXEC_OK or, having changed no guest register, EXEC_FAULT with cpu->exc filled in. */
#ifndef X86_INTERP_H
#define X86_INTERP_H

#include "base/def.h"
#include "x86/cover.h"
#include "x86/cpu.h"
#include "x86/cpuid.h"
#include "x86/feature.h"
#include "x86/insn.h"

enum exec_result {
	EXEC_OK = 0,
	EXEC_FAULT = CPU_FAULT,
	EXEC_REP,  /* registers are updated for the part that is done, RIP stays */
	EXEC_HALT, /* done, and the processor halts */
	EXEC_SHUTDOWN,
};

typedef int (*exec_fn)(struct cpu *cpu, const struct insn *in);

/* ---- modes ---- */

static inline bool is_pe(const struct cpu *cpu)
{
	return cpu->s.cr0 & CR0_PE;
}
static inline bool is_v86(const struct cpu *cpu)
{
	return cpu->s.rflags & FL_VM;
}
/* Protected mode proper: selectors lead to descriptors. */
static inline bool is_prot(const struct cpu *cpu)
{
	return is_pe(cpu) && !is_v86(cpu);
}
static inline bool is_long(const struct cpu *cpu)
{
	return cpu->s.efer & EFER_LMA;
}
static inline bool is_64(const struct cpu *cpu)
{
	return is_long(cpu) && (cpu->s.seg[CS].attr & SEG_L);
}
/* 2, 4 or 8, as insn_decode() wants it */
static inline unsigned code_mode(const struct cpu *cpu)
{
	return is_64(cpu) ? 8 : cpu->s.seg[CS].attr & SEG_DB ? 4 : 2;
}
static inline bool at_user(const struct cpu *cpu)
{
	return x86_cpl(&cpu->s) == 3;
}
static inline unsigned iopl(const struct cpu *cpu)
{
	return (unsigned)(cpu->s.rflags & FL_IOPL) >> 12;
}
static inline uint64_t size_mask(unsigned size)
{
	return size == 8 ? UINT64_MAX : (UINT64_C(1) << (size * 8)) - 1;
}
static inline int64_t sign_extend(uint64_t v, unsigned size)
{
	unsigned n = 64 - size * 8;

	return (int64_t)(v << n) >> n;
}

/* ---- decoding (vendor.c) ---- */

/* Makes a decoded instruction do what this vendor's processors do. */
void insn_settle(struct insn *in, bool amd);
/* Must its memory operand be aligned to its size, else #GP(0)? */
bool insn_aligns(const struct insn *in, bool amd);
/* Of a memory operand under a mask: are A and D set as if no element were left out? */
bool insn_touches_all(const struct cpu *cpu, const struct insn *in);
/* What registers that hold linear addresses take, whatever CR4.LA57 says now: bases of segments and
 * tables, MSRs, and what INVLPG and INVPCID invalidate. */
static inline bool is_loadable(const struct cpu *cpu, uint64_t va)
{
	unsigned n = cpu_has(cpu, X_FEAT_LA57) ? 7 : 16;

	return ((uint64_t)((int64_t)(va << n) >> n)) == va;
}

/* ---- raising ---- */

static inline int exc_set(struct cpu *cpu, unsigned vector, bool has_error, uint32_t error)
{
	cpu->exc =
		(struct cpu_exc){.vector = (uint8_t)vector, .has_error = has_error, .error = error};
	return CPU_FAULT;
}
/* Macros, so that coverage knows whose fault it is */
#define raise_vec(cpu, vector) (COVER_FAULT(vector, 0), exc_set(cpu, vector, false, 0))
#define raise_err(cpu, vector, error)                                      \
	(COVER_FAULT(vector, (vector) == VEC_PF ? (unsigned)(error) : 0u), \
	 exc_set(cpu, vector, true, error))
#define raise_gp0(cpu) raise_err(cpu, VEC_GP, 0)
#define raise_ud(cpu)  raise_vec(cpu, VEC_UD)

/* ---- registers ---- */

static inline uint64_t gpr_get(const struct cpu *cpu, unsigned reg, unsigned size)
{
	return cpu->s.gpr[reg] & size_mask(size);
}
/* Architectural write: 4 bytes zero-extend, 1 and 2 merge. */
static inline void gpr_set(struct cpu *cpu, unsigned reg, unsigned size, uint64_t v)
{
	uint64_t m = size_mask(size);

	cpu->s.gpr[reg] = size >= 4 ? v & m : (cpu->s.gpr[reg] & ~m) | (v & m);
}
static inline void set_arith(struct cpu *cpu, uint64_t flags)
{
	cpu->s.rflags = (cpu->s.rflags & ~(uint64_t)FL_ARITH) | (flags & FL_ARITH);
}
static inline void tell(struct cpu *cpu, unsigned what, uint64_t value)
{
	if (cpu->ops->told)
		cpu->ops->told(cpu, what, value);
}

static inline void mode_changed(struct cpu *cpu)
{
	if (cpu->ops->mode_changed)
		cpu->ops->mode_changed(cpu);
}
/* The four page-directory-pointer entries at CR3. False: one has a reserved bit set. (walk.c) */
bool pdptes_read(struct cpu *cpu, uint64_t cr3, uint64_t pdpte[4]);
/* MOV to CR3 (interp_cr.c) */
int cr3_write(struct cpu *cpu, uint64_t v);
/* Can a processor be in this state? (interp_cr.c) */
bool cpu_modes_ok(const struct cpu *cpu, uint64_t cr0, uint64_t cr4, uint64_t efer);
uint64_t efer_valid(const struct cpu *cpu); /* bits that EFER has */
void tlb_flush(struct cpu *cpu, enum cpu_flush kind, gva_t gva, unsigned pcid);

/* ---- memory (interp_mem.c) ---- */

/* Translation through ops->xlate or the interpreter's own cache. Only gpa and hva are sure to be
 * filled in. */
int lin_xlate(struct cpu *cpu, gva_t gva, enum cpu_access acc, bool user, struct cpu_xlate *x);
/* One access of 1 2 4 8 bytes to guest RAM at its host address. */
attr_misaligned static inline uint64_t host_load(const void *p, unsigned size)
{
	switch (size) {
	case 1:
		return *(const volatile uint8_t *)p;
	case 2:
		return *(const volatile uint16_t *)p;
	case 4:
		return *(const volatile uint32_t *)p;
	default:
		return *(const volatile uint64_t *)p;
	}
}
attr_misaligned static inline void host_store(void *p, unsigned size, uint64_t v)
{
	switch (size) {
	case 1:
		*(volatile uint8_t *)p = (uint8_t)v;
		break;
	case 2:
		*(volatile uint16_t *)p = (uint16_t)v;
		break;
	case 4:
		*(volatile uint32_t *)p = (uint32_t)v;
		break;
	default:
		*(volatile uint64_t *)p = v;
	}
}

/* The page after gva's; where a 32-bit linear address wraps, so does its second page. */
gva_t next_page(const struct cpu *cpu, gva_t gva);
/* size: 1 2 4 8; any alignment. */
int lin_read(struct cpu *cpu, gva_t gva, unsigned size, bool user, uint64_t *v);
int lin_write(struct cpu *cpu, gva_t gva, unsigned size, bool user, uint64_t v);
/* Write permission for all of it, at most two pages. */
int lin_probe_write(struct cpu *cpu, gva_t gva, size_t size, bool user);
/* A, and of writes D, of the one or two pages, if all of it may be accessed; else nothing. */
void lin_touch(struct cpu *cpu, gva_t gva, size_t size, enum cpu_access acc, bool user);
/* The processor's own accesses to descriptor tables and task state. */
int sys_read(struct cpu *cpu, gva_t gva, unsigned size, uint64_t *v);
int sys_write(struct cpu *cpu, gva_t gva, unsigned size, uint64_t v);
int sys_set_bits(struct cpu *cpu, gva_t gva, uint8_t set, uint8_t clear); /* one byte, atomically */
/* An instruction's own accesses at CPL with segment, alignment and breakpoint checks. */
int seg_read(struct cpu *cpu, unsigned sreg, uint64_t ea, unsigned size, uint64_t *v);
int seg_write(struct cpu *cpu, unsigned sreg, uint64_t ea, unsigned size, uint64_t v);
int seg_read_buf(struct cpu *cpu, unsigned sreg, uint64_t ea, void *buf, unsigned size);
int seg_write_buf(struct cpu *cpu, unsigned sreg, uint64_t ea, const void *buf, unsigned size);
/* #AC for a misaligned access at CPL 3 with alignment checking on; 0 otherwise. */
int align_check(struct cpu *cpu, gva_t gva, unsigned size);
/* Notes data breakpoints that the access hits, in i.dr6. */
void watch_check(struct cpu *cpu, gva_t gva, unsigned size, bool write);
void watch_check_io(struct cpu *cpu, uint16_t port, unsigned size);

/* The same for a debugger's, in cpu->hit; only where cpu->debug is set (debug.c). */
bool debugger_breaks(struct cpu *cpu);
void debugger_watch(struct cpu *cpu, gva_t gva, unsigned size, bool write);

/* Operand n of the instruction, read or written as an integer of its size. */
int opnd_read(struct cpu *cpu, const struct insn *in, unsigned n, uint64_t *v);
int opnd_write(struct cpu *cpu, const struct insn *in, unsigned n, uint64_t v);

/* ---- stack (exec_stack.c) ---- */

/* A stack in use: pushes move sp, nothing is committed to RSP. */
struct stack {
	const struct x86_seg *ss;
	uint64_t sp, mask;
	bool user;      /* rights of the accesses */
	bool flat;      /* 64-bit: no base, no limit, canonical check */
	uint32_t error; /* error code of #SS raised here */
};
void stack_here(const struct cpu *cpu, struct stack *st);
int stack_push(struct cpu *cpu, struct stack *st, unsigned size, uint64_t v);
int stack_probe(struct cpu *cpu, const struct stack *st, unsigned size); /* would a push fault? */
int stack_pop(struct cpu *cpu, struct stack *st, unsigned size, uint64_t *v);
void stack_commit(struct cpu *cpu, const struct stack *st); /* SP, ESP or RSP by width */

/* ---- segments (seg.c) ---- */

struct desc {
	gva_t addr; /* of the descriptor */
	uint16_t sel;
	uint16_t attr;
	uint32_t limit;
	uint64_t base;
	uint64_t lo, hi; /* hi: second half of a 16-byte system descriptor */
};
static inline unsigned desc_dpl(const struct desc *d)
{
	return (d->attr & SEG_DPL) >> 5;
}
static inline unsigned desc_type(const struct desc *d) /* bit 4: code or data */
{
	return d->attr & (SEG_TYPE | SEG_S);
}
static inline bool desc_is_code(const struct desc *d)
{
	return (d->attr & (SEG_S | 8)) == (SEG_S | 8);
}
static inline bool desc_is_conforming(const struct desc *d)
{
	return (d->attr & (SEG_S | 0xc)) == (SEG_S | 0xc);
}
static inline bool desc_is_wdata(const struct desc *d) /* writable data */
{
	return (d->attr & (SEG_S | 0xa)) == (SEG_S | 0x2);
}

/* Reads sel's descriptor, from GDT or LDT. Beyond the table: vector(sel & fffc | ext). */
int desc_read(struct cpu *cpu, unsigned sel, unsigned vector, uint32_t ext, struct desc *d);
/* Reads the upper half of a 16-byte descriptor into d->hi and completes the base. */
int desc_read_hi(struct cpu *cpu, unsigned vector, struct desc *d);
/* As desc_read, without faults: false where there is none. CPU_FAULT comes only from paging. */
int desc_peek(struct cpu *cpu, unsigned sel, struct desc *d, bool *found);
/* Sets the accessed bit where it is clear. */
int desc_set_accessed(struct cpu *cpu, struct desc *d);
struct x86_seg desc_to_seg(const struct desc *d, unsigned sel);
/* MOV, POP and Lxx to ES SS DS FS GS in any mode. */
int seg_load(struct cpu *cpu, unsigned sreg, unsigned sel);
/* The same for a data segment, into a copy; cpl given. vector: that of general errors. */
int seg_check_ss(struct cpu *cpu, unsigned sel, unsigned cpl, unsigned vector, uint32_t ext,
		 struct desc *d);
void seg_set_real(struct cpu *cpu, unsigned sreg, unsigned sel);
void seg_set_v86(struct cpu *cpu, unsigned sreg, unsigned sel);
void seg_set_null(struct cpu *cpu, unsigned sreg, unsigned sel);
/* Segment check alone. error: error code of #SS where seg is the stack's. */
int seg_check(struct cpu *cpu, const struct x86_seg *seg, bool is_ss, uint32_t error, uint64_t ea,
	      unsigned size, enum cpu_access acc);

/* ---- events (event.c) ---- */

enum event_kind { EVENT_EXT, EVENT_EXC, EVENT_SOFT }; /* SOFT: INT n, INT3, INTO */
/* One delivery without escalation. ret: RIP to be saved. */
int event_deliver(struct cpu *cpu, unsigned vector, enum event_kind kind, bool has_error,
		  uint32_t error, uint64_t ret);
/* Loads SS:RSP for ring cpl from the current TSS (not 64-bit). */
int tss_stack(struct cpu *cpu, unsigned cpl, uint32_t ext, unsigned *ss, uint32_t *esp);
/* RSPn (n 0-2) or ISTn (n 3+ist) of a 64-bit TSS. */
int tss_rsp(struct cpu *cpu, unsigned n, uint32_t ext, uint64_t *rsp);

enum task_how { TASK_JMP, TASK_CALL, TASK_IRET, TASK_EVENT };
/* Hardware task switch; d: the TSS descriptor, checked by the caller to be a TSS. ret: RIP to be
 * saved in the old TSS. */
int task_switch(struct cpu *cpu, struct desc *d, enum task_how how, uint64_t ret, bool has_error,
		uint32_t error);
/* Through a task gate. */
int task_gate(struct cpu *cpu, unsigned tss_sel, enum task_how how, uint32_t ext, uint64_t ret,
	      bool has_error, uint32_t error);

/* ---- FPU state in s.xsave (exec_fp.c) ---- */

/* Components in mask that are in their initial state are written out, so that the image's bytes
 * are right. */
void fpu_sync(struct cpu *cpu, unsigned mask);
/* What each MMX instruction does besides: TOP 0, all tags valid. */
void fpu_enter_mmx(struct cpu *cpu);
/* TOP changes, the registers stay where they are. After fpu_sync(cpu, XCR0_X87). */
void fpu_set_top(struct cpu *cpu, unsigned top);
/* The legacy region as FXSAVE and XSAVE write it (FX_WRITTEN bytes), and its x87 part as they read
 * it: instruction pointers by REX.W. */
void fpu_legacy_out(struct cpu *cpu, bool wide, uint8_t *out);
void fpu_x87_in(struct cpu *cpu, bool wide, const uint8_t *in);
/* FSW.ES and B as flags and masks have them. */
void fpu_set_summary(struct cpu *cpu);
/* Linear address of the memory operand, size bytes; misaligned: #GP(0). */
int linear_aligned(struct cpu *cpu, const struct insn *in, unsigned size, unsigned align,
		   enum cpu_access acc, gva_t *gva);
/* WRPKRU and its like: what was translated under other rights is forgotten. */
void pkru_set(struct cpu *cpu, uint32_t v);
/* XINUSE: components that are not in their initial state */
uint64_t xsave_in_use(const struct cpu *cpu);
/* Size of an XSAVE area with these components */
unsigned xsave_size(const struct cpu *cpu, uint64_t comp, bool compact);

/* ---- data processing (exec_copy.c, split.c) ---- */

/* On a memory operand that is at mem, on the host. */
int copy_run(struct cpu *cpu, const struct insn *in, void *mem);
/* Reads the operand, runs, writes it: whatever memory it is, not as one access */
int copy_run_buffered(struct cpu *cpu, const struct insn *in, const struct insn_opnd *m, gva_t gva);
/* An atomic one over the end of a line: of 8 bytes at most */
int split_run(struct cpu *cpu, const struct insn *in, const struct insn_opnd *m, gva_t gva);

/* ---- vector registers in s.xsave (exec_vec.c), after fpu_sync() ---- */

/* Element i of size bytes, at most 8 */
uint64_t vec_get(struct cpu *cpu, unsigned reg, unsigned i, unsigned size);
void vec_put(struct cpu *cpu, unsigned reg, unsigned i, unsigned size, uint64_t v);
/* A and D that a memory operand of size bytes gets whatever its mask says */
void touch_masked(struct cpu *cpu, const struct insn *in, unsigned size, enum cpu_access acc);
/* Which elements of its memory operand an EVEX instruction with an opmask and AT_EL* accesses */
uint64_t evex_elements(struct cpu *cpu, const struct insn *in, const struct insn_opnd *m);
/* Does it with these elements alone. */
int evex_run_masked(struct cpu *cpu, const struct insn *in, const struct insn_opnd *m,
		    uint64_t elements);

/* ---- FP image offsets ---- */
#define FX_FCW     0
#define FX_FSW     2
#define FX_FTW     4
#define FX_FOP     6
#define FX_FIP     8
#define FX_FDP     16
#define FX_MXCSR   24
#define FX_MASK    28
#define FX_ST      32
#define FX_XMM     160
#define XS_BV      512
#define XS_COMP    520
#define XS_AVX     576
#define FX_WRITTEN 416 /* FXSAVE leaves the rest of its 512 bytes alone */
#define FSW_ES     0x80u
#define MXCSR_MASK 0xffffu

/* Components beyond the legacy region: their size, and as much of it as is saved outside of 64-bit
 * mode. Where they are in the standard form: i.xs_at. */
struct xs_part {
	uint16_t bit, size, size32;
};
extern const struct xs_part xs_parts[CPU_XS_PARTS];

static inline uint16_t fx16(const struct cpu *cpu, unsigned off)
{
	uint16_t v;

	__builtin_memcpy(&v, cpu->s.xsave.bytes + off, sizeof(v));
	return v;
}
static inline uint32_t fx32(const struct cpu *cpu, unsigned off)
{
	uint32_t v;

	__builtin_memcpy(&v, cpu->s.xsave.bytes + off, sizeof(v));
	return v;
}
static inline uint64_t fx64(const struct cpu *cpu, unsigned off)
{
	uint64_t v;

	__builtin_memcpy(&v, cpu->s.xsave.bytes + off, sizeof(v));
	return v;
}
static inline void fx_put16(struct cpu *cpu, unsigned off, unsigned v)
{
	uint16_t w = (uint16_t)v;

	__builtin_memcpy(cpu->s.xsave.bytes + off, &w, sizeof(w));
}
static inline void fx_put32(struct cpu *cpu, unsigned off, uint32_t v)
{
	__builtin_memcpy(cpu->s.xsave.bytes + off, &v, sizeof(v));
}
static inline void fx_put64(struct cpu *cpu, unsigned off, uint64_t v)
{
	__builtin_memcpy(cpu->s.xsave.bytes + off, &v, sizeof(v));
}

/* ---- native (native.c) ---- */

/* The processor divides by v (size bytes) without overflow: else #DE. */
bool div_ok(const struct cpu *cpu, bool is_signed, unsigned size, uint64_t v);
/* SUB's flags of a - b. */
uint64_t flags_sub(uint64_t a, uint64_t b, unsigned size);

/* ---- classes and mnemonics: exec_*.c ---- */

#define EXEC(name) int exec_##name(struct cpu *cpu, const struct insn *in)
EXEC(copy);
EXEC(mov);
EXEC(nop);
EXEC(lea);
EXEC(movabs);
EXEC(jmp);
EXEC(jcc);
EXEC(loop);
EXEC(call);
EXEC(jmp_ind);
EXEC(call_ind);
EXEC(ret);
EXEC(push);
EXEC(pop);
EXEC(string);
/* clang-format off */
EXEC(pushsr); EXEC(popsr); EXEC(pusha); EXEC(popa); EXEC(pushf); EXEC(popf); EXEC(enter);
EXEC(leave); EXEC(in); EXEC(out); EXEC(jmpf); EXEC(callf); EXEC(retf); EXEC(iret); EXEC(int);
EXEC(int3); EXEC(into); EXEC(int1); EXEC(syscall); EXEC(sysret); EXEC(sysenter); EXEC(sysexit);
EXEC(movsr); EXEC(lxs); EXEC(lgdt); EXEC(sgdt); EXEC(sldt); EXEC(str); EXEC(smsw); EXEC(lldt);
EXEC(ltr); EXEC(lar); EXEC(verr); EXEC(arpl); EXEC(swapgs); EXEC(fsgsbase); EXEC(movcr);
EXEC(movdr); EXEC(clts); EXEC(lmsw); EXEC(hlt); EXEC(cli); EXEC(sti); EXEC(cld); EXEC(stac);
EXEC(invlpg); EXEC(invpcid); EXEC(clflush); EXEC(rdmsr); EXEC(wrmsr); EXEC(rdtsc); EXEC(rdpmc);
EXEC(rdpid); EXEC(rdpkru); EXEC(wrpkru); EXEC(cpuid); EXEC(xgetbv); EXEC(xsetbv); EXEC(ud); EXEC(pause); EXEC(fence);
EXEC(rsm);
EXEC(daa); EXEC(salc); EXEC(aaa); EXEC(aam); EXEC(aad); EXEC(bound); EXEC(xlat); EXEC(fxsave);
EXEC(fxrstor); EXEC(xsave); EXEC(xrstor); EXEC(ldmxcsr); EXEC(stmxcsr); EXEC(fnstenv);
EXEC(fldenv); EXEC(vmaskmov); EXEC(maskmov); EXEC(gather); EXEC(evex_vsib); EXEC(vzero);
EXEC(alu); EXEC(movx); EXEC(setcc); EXEC(cmov);
/* clang-format on */

/* Condition cc (low opcode nibble) on flags */
bool flags_cond(uint64_t flags, unsigned cc);

#endif
