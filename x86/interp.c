/* SPDX-License-Identifier: ISC */
/* interp.c: the interpreter's loop body: fetch, decode, availability and privilege, execute,
 * exceptions and debug traps (SDM vol. 3, 6.9 for priorities, chapter 17 for debugging).
 *
 * Decoded instructions are kept by their address's low bits and compared with the bytes in memory
 * at each use, so self-modifying code needs nothing special. CPU's own thread only. */
#include "x86/interp.h"

#include "base/str.h"

/* ---- which function does what ---- */

/* A byte for each of the many mnemonics, most of which their class says */
#define F(mnem, fn) [I_##mnem] = DO_##fn
#define DO(fn)      DO_##fn,
#define EXEC_FN(fn) [DO_##fn] = exec_##fn,
/* clang-format off */
#define FUNCTIONS(X) \
	X(mov) X(alu) X(movx) X(setcc) X(cmov) X(pushsr) X(popsr) X(pusha) X(popa) X(pushf) \
	X(popf) X(enter) X(leave) X(string) X(in) X(out) X(jmpf) X(callf) X(retf) X(iret) \
	X(int) X(int3) X(into) X(int1) X(syscall) X(sysret) X(sysenter) X(sysexit) X(movsr) \
	X(lxs) X(lgdt) X(sgdt) X(sldt) X(str) X(smsw) X(lldt) X(ltr) X(lar) X(verr) X(arpl) \
	X(swapgs) X(fsgsbase) X(movcr) X(movdr) X(clts) X(lmsw) X(hlt) X(cli) X(sti) X(cld) \
	X(stac) X(invlpg) X(invpcid) X(clflush) X(nop) X(rdmsr) X(wrmsr) X(rdtsc) X(rdpmc) \
	X(rdpid) X(rdpkru) X(wrpkru) X(cpuid) X(xgetbv) X(xsetbv) X(ud) X(rsm) X(pause) \
	X(fence) X(daa) X(aaa) X(aam) X(aad) X(salc) X(bound) X(xlat) X(fxsave) X(fxrstor) \
	X(xsave) X(xrstor) X(ldmxcsr) X(stmxcsr) X(fnstenv) X(fldenv) X(vmaskmov) \
	X(maskmov) X(vzero) X(gather) X(evex_vsib) X(copy) X(lea) X(movabs) X(jmp) X(jcc) \
	X(loop) X(call) X(jmp_ind) X(call_ind) X(ret) X(push) X(pop)
enum { DO_CLASS, FUNCTIONS(DO) DO_COUNT };
_Static_assert(DO_COUNT <= UINT8_MAX, "a byte");
static const exec_fn functions[DO_COUNT] = {FUNCTIONS(EXEC_FN)};
static const uint8_t by_mnem[I_COUNT] = {
	F(MOV, mov), F(ADD, alu), F(OR, alu), F(ADC, alu), F(SBB, alu), F(AND, alu), F(SUB, alu), F(XOR, alu),
	F(CMP, alu), F(TEST, alu), F(INC, alu), F(DEC, alu), F(NEG, alu), F(MOVZX, movx),
	F(MOVSX, movx), F(MOVSXD, movx),
	[I_SETO ... I_SETG] = DO_setcc, [I_CMOVO ... I_CMOVG] = DO_cmov,
	F(PUSHSR, pushsr), F(POPSR, popsr), F(PUSHA, pusha), F(POPA, popa), F(PUSHF, pushf),
	F(POPF, popf), F(ENTER, enter), F(LEAVE, leave),
	F(INS, string), F(OUTS, string), F(IN, in), F(OUT, out),
	F(JMPF, jmpf), F(CALLF, callf), F(RETF, retf), F(IRET, iret), F(INT, int), F(INT3, int3),
	F(INTO, into), F(INT1, int1), F(SYSCALL, syscall), F(SYSRET, sysret),
	F(SYSENTER, sysenter), F(SYSEXIT, sysexit),
	F(MOVSR, movsr), F(LES, lxs), F(LDS, lxs), F(LSS, lxs), F(LFS, lxs), F(LGS, lxs),
	F(LGDT, lgdt), F(LIDT, lgdt), F(SGDT, sgdt), F(SIDT, sgdt), F(SLDT, sldt), F(STR, str),
	F(SMSW, smsw), F(LLDT, lldt), F(LTR, ltr), F(LAR, lar), F(LSL, lar), F(VERR, verr),
	F(VERW, verr), F(ARPL, arpl), F(SWAPGS, swapgs), F(RDFSBASE, fsgsbase),
	F(RDGSBASE, fsgsbase), F(WRFSBASE, fsgsbase), F(WRGSBASE, fsgsbase),
	F(MOVCR, movcr), F(MOVDR, movdr), F(CLTS, clts), F(LMSW, lmsw), F(HLT, hlt), F(CLI, cli),
	F(STI, sti), F(CLD, cld), F(STD, cld), F(STAC, stac), F(CLAC, stac), F(INVLPG, invlpg),
	F(INVPCID, invpcid), F(CLFLUSH, clflush), F(CLFLUSHOPT, clflush), F(CLWB, clflush),
	F(INVD, nop), F(WBINVD, nop), F(WBNOINVD, nop),
	F(RDMSR, rdmsr), F(WRMSR, wrmsr), F(RDTSC, rdtsc), F(RDTSCP, rdtsc), F(RDPMC, rdpmc),
	F(RDPID, rdpid), F(RDPKRU, rdpkru), F(WRPKRU, wrpkru), F(CPUID, cpuid), F(XGETBV, xgetbv), F(XSETBV, xsetbv),
	F(UD0, ud), F(UD1, ud), F(UD2, ud), F(RSM, rsm), F(PAUSE, pause), F(MFENCE, fence),
	F(DAA, daa), F(DAS, daa), F(AAA, aaa), F(AAS, aaa), F(AAM, aam), F(AAD, aad),
	F(SALC, salc),
	F(BOUND, bound), F(XLAT, xlat),
	F(FXSAVE, fxsave), F(FXRSTOR, fxrstor), F(XSAVE, xsave), F(XSAVEC, xsave),
	F(XSAVEOPT, xsave), F(XSAVES, xsave), F(XRSTOR, xrstor), F(XRSTORS, xrstor), F(LDMXCSR, ldmxcsr), F(VLDMXCSR, ldmxcsr),
	F(STMXCSR, stmxcsr), F(VSTMXCSR, stmxcsr), F(FNSTENV, fnstenv), F(FNSAVE, fnstenv),
	F(FLDENV, fldenv), F(FRSTOR, fldenv),
	F(VMASKMOVPS, vmaskmov), F(VMASKMOVPD, vmaskmov), F(VPMASKMOVD, vmaskmov),
	F(VPMASKMOVQ, vmaskmov), F(MASKMOVQ, maskmov), F(MASKMOVDQU, maskmov),
	F(VMASKMOVDQU, maskmov),
	F(VZEROUPPER, vzero), F(VZEROALL, vzero),
	F(VGATHERDPS, gather), F(VGATHERDPD, gather), F(VGATHERQPS, gather),
	F(VGATHERQPD, gather), F(VPGATHERDD, gather), F(VPGATHERDQ, gather),
	F(VPGATHERQD, gather), F(VPGATHERQQ, gather), F(VSCATTERDPS, evex_vsib),
	F(VSCATTERDPD, evex_vsib), F(VSCATTERQPS, evex_vsib), F(VSCATTERQPD, evex_vsib),
	F(VPSCATTERDD, evex_vsib), F(VPSCATTERDQ, evex_vsib), F(VPSCATTERQD, evex_vsib),
	F(VPSCATTERQQ, evex_vsib),
};
static const uint8_t by_class[] = {
	[CLS_COPY] = DO_copy, [CLS_NOP] = DO_nop, [CLS_LEA] = DO_lea,
	[CLS_MOVABS] = DO_movabs, [CLS_JMP] = DO_jmp, [CLS_JCC] = DO_jcc,
	[CLS_LOOP] = DO_loop, [CLS_CALL] = DO_call, [CLS_JMP_IND] = DO_jmp_ind,
	[CLS_CALL_IND] = DO_call_ind, [CLS_RET] = DO_ret, [CLS_PUSH] = DO_push,
	[CLS_POP] = DO_pop, [CLS_STRING] = DO_string, [CLS_STACK] = DO_ud,
	[CLS_IO] = DO_ud, [CLS_FAR] = DO_ud, [CLS_SYS] = DO_ud,
};
/* clang-format on */
#undef F
#undef DO
#undef EXEC_FN
#undef FUNCTIONS

EXEC(cld)
{
	if (in->mnem == I_CLD)
		cpu->s.rflags &= ~FL_DF;
	else
		cpu->s.rflags |= FL_DF;
	return EXEC_OK;
}

static exec_fn exec_of(const struct insn *in)
{
	unsigned n = by_mnem[in->mnem];

	return functions[n ? n : by_class[in->row->cls]];
}

/* ---- availability and privilege ---- */

#define AT_CHECKED \
	(AT_NO64 | AT_ONLY64 | AT_CPL0 | AT_X87 | AT_MMX | AT_SSE | AT_AVX | AT_AVX512 | AT_PROT)

/* An error of an x87 instruction is reported by the next one that waits (SDM vol. 1, 8.7). */
static int check_x87_error(struct cpu *cpu, uint64_t at)
{
	bool error = x86_x87_error(&cpu->s);

	if (unlikely(cpu->s.ignne) && !error) {
		cpu->s.ignne = false;
		mode_changed(cpu);
	}
	if (likely(!error) || at & AT_NOWAIT)
		return 0;
	if (cpu->s.cr0 & CR0_NE)
		return raise_vec(cpu, VEC_MF);
	if (cpu->s.ignne || !cpu->ops->ferr || !cpu->ops->ferr(cpu))
		return 0;
	cpu->i.next_rip = cpu->s.rip;
	cpu->i.no_step = true;
	return EXEC_HALT;
}

/* CR0 and CR4 switches of x87, MMX, SSE and AVX: #UD before #NM before #MF */
static int check_fp(struct cpu *cpu, const struct insn *in, uint64_t at)
{
	uint64_t cr0 = cpu->s.cr0;

	if (at & AT_AVX && (!(cpu->s.cr4 & CR4_OSXSAVE) || (cpu->s.xcr0 & 6) != 6 || !is_prot(cpu)))
		return raise_ud(cpu);
	if (at & AT_AVX512 && (!(cpu->s.cr4 & CR4_OSXSAVE) || !is_prot(cpu) ||
			       (cpu->s.xcr0 & (6 | XCR0_AVX512)) != (6 | XCR0_AVX512)))
		return raise_ud(cpu);
	if (at & (AT_SSE | AT_MMX) && cr0 & CR0_EM)
		return raise_ud(cpu);
	if (at & AT_SSE && !(cpu->s.cr4 & CR4_OSFXSR))
		return raise_ud(cpu);
	if (in->mnem == I_FWAIT) {
		if ((cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS))
			return raise_vec(cpu, VEC_NM);
	} else if (cr0 & CR0_TS || (at & AT_X87 && cr0 & CR0_EM)) {
		return raise_vec(cpu, VEC_NM);
	}
	return at & (AT_X87 | AT_MMX) ? check_x87_error(cpu, at) : 0;
}

static int check(struct cpu *cpu, const struct insn *in)
{
	const struct insn_row *row = in->row;
	uint64_t at = row->attr;

	if (row->feature && !cpu_has(cpu, row->feature)) {
		COVER_REFUSED(in);
		return raise_ud(cpu);
	}
	if (unlikely(insn_needs_vl(in)) && !cpu_has(cpu, X_FEAT_AVX512VL))
		return raise_ud(cpu);
	if (in->lock && !(at & AT_LOCK && in->has_mem))
		return raise_ud(cpu);
	if (at & AT_PROT && !is_prot(cpu))
		return raise_ud(cpu);
	if ((at & AT_NO64 && in->mode == 8) || (at & AT_ONLY64 && in->mode != 8))
		return raise_ud(cpu);
	if (at & (AT_X87 | AT_MMX | AT_SSE | AT_AVX | AT_AVX512)) {
		int r = check_fp(cpu, in, at);

		if (r)
			return r;
	}
	if (at & AT_CPL0 && x86_cpl(&cpu->s) && in->mnem != I_STAC && in->mnem != I_CLAC)
		return raise_gp0(cpu);
	return 0;
}

/* ---- after an instruction ---- */

static enum cpu_step debug_trap(struct cpu *cpu, uint32_t dr6)
{
	struct cpu_exc exc = {.vector = VEC_DB, .dr6 = dr6};

	COVER_FAULT(VEC_DB, dr6);
	return cpu_raise(cpu, &exc);
}

/* Single step and data breakpoints trap here, unless MOV SS holds them off. */
static enum cpu_step traps(struct cpu *cpu, bool step, enum cpu_step result)
{
	uint32_t dr6 = cpu->i.dr6 | cpu->i.pending;

	cpu->i.dr6 = 0;
	if (cpu->s.shadow & SHADOW_MOVSS) {
		cpu->i.pending = dr6;
		return result;
	}
	cpu->i.pending = 0;
	if (step)
		dr6 |= BIT(14);
	if (!dr6)
		return result;
	if (result == STEP_HALT)
		cpu->s.activity = ACT_RUN;
	return debug_trap(cpu, dr6);
}

static enum cpu_step finish(struct cpu *cpu, const struct insn *in, int r, bool step, uint64_t rf)
{
	enum cpu_step result = STEP_OK;

	switch (r) {
	case EXEC_FAULT:
		cpu->i.dr6 = 0;
		cpu->hit.kind = HIT_NONE;
		cpu->s.rflags |= rf;
		return cpu_raise(cpu, &cpu->exc);
	case EXEC_REP:
		/* what interrupts it returns with RF: a code breakpoint here has been seen */
		cpu->s.rflags |= FL_RF;
		if (cpu->i.dr6 || step)
			return traps(cpu, step, STEP_REP);
		return STEP_REP;
	case EXEC_SHUTDOWN:
		cpu->s.activity = ACT_SHUTDOWN;
		return STEP_SHUTDOWN;
	case EXEC_HALT:
		cpu->s.activity = ACT_HLT;
		result = STEP_HALT;
		break;
	default:
		break;
	}
	step = step && !cpu->i.no_step;
	/* BTF: only branches that are taken trap */
	if (step && cpu->s.debugctl & BIT(1))
		step = cpu->i.next_rip != cpu->s.rip + in->len;
	cpu->s.rip = cpu->i.next_rip;
	cpu->s.shadow = cpu->i.shadow;
	if (unlikely(step || cpu->i.dr6 || cpu->i.pending))
		return traps(cpu, step, result);
	return result;
}

/* TZCNT and LZCNT are BSF and BSR with a prefix that processors without them ignore, and programs rely on
 * that (Linux writes "rep; bsf"). Gives what such a processor sees. */
static const struct insn *without_bmi(const struct insn *in, struct insn *out)
{
	uint8_t buf[INSN_MAX];
	unsigned n = 0, i = 0;

	for (; i < in->len && in->bytes[i] != 0x0f; i++)
		if (in->bytes[i] != 0xf3)
			buf[n++] = in->bytes[i];
	for (; i < in->len; i++)
		buf[n++] = in->bytes[i];
	if (insn_decode(buf, n, in->mode, out) != DECODE_OK)
		return in;
	out->len = in->len;
	return out;
}

enum cpu_step cpu_exec(struct cpu *cpu, const struct insn *in)
{
	struct insn plain;
	bool step = cpu->s.rflags & FL_TF;
	uint64_t rf = cpu->s.rflags & FL_RF;
	int r;

	if (unlikely(!cpu->i.ready))
		cpu_init(cpu);
	cpu->i.next_rip = cpu->s.rip + in->len;
	if (in->mode != 8)
		cpu->i.next_rip &= 0xffffffff;
	cpu->i.shadow = 0;
	cpu->i.no_step = false;
	cpu->s.rflags &= ~(uint64_t)FL_RF;
	r = 0;
	if (in->row->feature || in->row->attr & AT_CHECKED || in->lock) {
		if (unlikely((in->mnem == I_TZCNT || in->mnem == I_LZCNT) &&
			     !cpu_has(cpu, in->row->feature)))
			in = without_bmi(in, &plain);
		r = check(cpu, in);
	}
	if (likely(!r)) {
		COVER_EXECUTED(in);
		r = exec_of(in)(cpu, in);
	}
	return finish(cpu, in, r, step, rf);
}

/* ---- fetch ---- */

/* Limit or canonical form of RIP; how many bytes may be fetched from there */
static int fetch_limit(struct cpu *cpu, gva_t *gva, unsigned *max)
{
	uint64_t rip = cpu->s.rip;
	uint32_t limit = cpu->s.seg[CS].limit;

	*max = INSN_MAX;
	if (is_64(cpu)) {
		*gva = rip;
		return is_canonical(cpu, rip) ? 0 : raise_gp0(cpu);
	}
	if (rip > limit)
		return raise_gp0(cpu);
	*max = (unsigned)MIN((uint64_t)limit - rip + 1, (uint64_t)INSN_MAX);
	*gva = (cpu->s.seg[CS].base + rip) & 0xffffffff;
	return 0;
}

/* Bytes from one page into buf. */
static int fetch_part(struct cpu *cpu, gva_t gva, uint8_t *buf, unsigned n)
{
	struct cpu_xlate x;

	if (lin_xlate(cpu, gva, ACCESS_FETCH, at_user(cpu), &x))
		return CPU_FAULT;
	if (x.hva) {
		memcpy(buf, x.hva, n);
		return 0;
	}
	for (unsigned i = 0; i < n; i++)
		buf[i] = (uint8_t)cpu->ops->mmio_read(cpu, x.gpa + i, 1);
	return 0;
}

bool cpu_code_at_rip(struct cpu *cpu, uint8_t *buf, unsigned n)
{
	unsigned max;
	gva_t gva;

	return !fetch_limit(cpu, &gva, &max) && n <= max && (gva & PAGE_MASK) + n <= PAGE_SIZE &&
	       !fetch_part(cpu, gva, buf, n);
}

/* avail: readable bytes at p, at least the instruction's */
static bool same_bytes(const struct insn *in, const uint8_t *p, unsigned avail)
{
	uint64_t a, b;

	if (likely(avail >= 8 && in->len < 8)) {
		__builtin_memcpy(&a, in->bytes, 8);
		__builtin_memcpy(&b, p, 8);
		return !((a ^ b) << (64 - 8 * in->len));
	}
	for (unsigned i = 0; i < in->len; i++)
		if (in->bytes[i] != p[i])
			return false;
	return true;
}

/* Gives the decoded instruction at RIP, or NULL with cpu->exc. */
static const struct insn *fetch(struct cpu *cpu)
{
	unsigned mode = code_mode(cpu), max, first, got;
	struct insn *in = &cpu->i.icache[(cpu->s.rip ^ cpu->s.rip >> 9) % CPU_ICACHE];
	uint8_t buf[INSN_MAX + 1];
	const uint8_t *p = buf;
	struct cpu_xlate x;
	enum decode_result r;
	gva_t gva;

	if (fetch_limit(cpu, &gva, &max))
		return NULL;
	first = (unsigned)MIN(PAGE_SIZE - (gva & PAGE_MASK), (uint64_t)max);
	if (lin_xlate(cpu, gva, ACCESS_FETCH, at_user(cpu), &x))
		return NULL;
	if (likely(x.hva))
		p = x.hva;
	else if (fetch_part(cpu, gva, buf, first))
		return NULL;
	if (likely(in->mode == mode && in->len <= first && same_bytes(in, p, first)))
		return in;
	/* A private copy: other processors may write while it is decoded. */
	memcpy(buf, p, first);
	in->mode = 0;
	got = first;
	r = cpu_decode(cpu, buf, got, mode, in);
	if (r == DECODE_MORE && got < max) {
		gva_t next = gva + first;

		in->mode = 0; /* half decoded: must not be found again if the rest faults */
		if (!is_64(cpu))
			next &= 0xffffffff;
		else if (!is_canonical(cpu, next)) {
			raise_gp0(cpu);
			return NULL;
		}
		if (fetch_part(cpu, next, buf + first, max - first))
			return NULL;
		got = max;
		r = cpu_decode(cpu, buf, got, mode, in);
	}
	if (likely(r == DECODE_OK))
		return in;
	in->mode = 0;
	if (r == DECODE_UD)
		raise_ud(cpu);
	else /* too long, or over the segment's limit */
		raise_gp0(cpu);
	return NULL;
}

/* Code breakpoints are faults, and come before anything else of the instruction. */
static bool code_breakpoint(struct cpu *cpu)
{
	uint64_t dr7 = cpu->s.dr[7];
	gva_t gva = code_gva(cpu);
	uint32_t hit = 0;

	if (cpu->s.rflags & FL_RF)
		return false;
	for (unsigned n = 0; n < 4; n++)
		if (dr7 >> (2 * n) & 3 && !(dr7 >> (16 + 4 * n) & 3) && cpu->s.dr[n] == gva)
			hit |= BIT(n);
	if (!hit)
		return false;
	raise_vec(cpu, VEC_DB);
	cpu->exc.dr6 = hit;
	return true;
}

static enum cpu_step step_one(struct cpu *cpu)
{
	const struct insn *in;

	if (unlikely(!cpu->i.ready))
		cpu_init(cpu);
	if (unlikely(cpu->debug) && debugger_breaks(cpu))
		return STEP_OK;
	if (unlikely(cpu->s.dr[7] & 0xff) && !cpu->s.shadow && code_breakpoint(cpu))
		return cpu_raise(cpu, &cpu->exc);
	in = fetch(cpu);
	if (unlikely(!in))
		return cpu_raise(cpu, &cpu->exc);
	return cpu_exec(cpu, in);
}

enum cpu_step cpu_step(struct cpu *cpu)
{
	enum cpu_step st = step_one(cpu);

	if (unlikely(cpu->debug_step) && !cpu->hit.kind)
		cpu->hit = (struct debug_hit){.kind = HIT_STEP, .addr = cpu->s.rip};
	return st;
}

/* ---- life ---- */

void cpu_init(struct cpu *cpu)
{
	memset(&cpu->i, 0, sizeof(cpu->i));
	x86_cpuid_init(cpu);
	cpu->i.ready = true;
}

void cpu_state_changed(struct cpu *cpu)
{
	cpu->i.tlb_era++;
	cpu->i.pending = 0;
	/* else an x87 instruction would raise on the host what is not pending for us */
	if (fx64(cpu, XS_BV) & XCR0_X87)
		fpu_set_summary(cpu);
}
