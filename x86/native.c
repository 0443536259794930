/* SPDX-License-Identifier: ISC */
/* native.c: runs one data-processing instruction on the host.
 *
 * Guest and host have the same instruction set, so ADD, IMUL, FSIN or VPSHUFB are not written in C:
 * the instruction is encoded again with its memory operand at a host address, put into a stub
 * `insn; ret`, and called with the guest's registers, arithmetic flags and FP state loaded. For
 *
 *	lock cmpxchg %r9, 8(%rsp,%rbx)
 *
 * the stub is `lock cmpxchg %r9, (%rdi); ret`, with the host address of the operand in RDI, which
 * the instruction does not use; RAX, R9 and the flags are the guest's. A guest RSP among the
 * operands gets another free register. Undefined flags and rounding are therefore this
 * processor's own. Stubs are kept, one slot for each hash of the bytes.
 *
 * The host must not get a signal: DIV and IDIV are checked before, a pending x87 error is found in
 * FSW, and an instruction that could raise unmasked SIMD exceptions runs with all masked on a copy
 * first. CPU's own thread only; the code memory is the CPU's own too. */
#include "base/str.h"
#include "x86/encode.h"
#include "x86/interp.h"

#define SLOT_SIZE 32

struct frame {
	uint64_t gpr[16]; /* 0 */
	uint64_t flags;   /* 128 */
	void *slot;       /* 136 */
	void *xsave;      /* 144: image, or NULL: no FP state */
	uint64_t mask;    /* 152: its components */
	uint32_t mxcsr;   /* 160: the host's */
	uint16_t fcw;     /* 164 */
	uint16_t fx;      /* 166: no XSAVE here: FXSAVE instead */
};
_Static_assert(offsetof(struct frame, flags) == 128, "native_call");
_Static_assert(offsetof(struct frame, slot) == 136, "native_call");
_Static_assert(offsetof(struct frame, xsave) == 144, "native_call");
_Static_assert(offsetof(struct frame, mask) == 152, "native_call");
_Static_assert(offsetof(struct frame, mxcsr) == 160, "native_call");
_Static_assert(offsetof(struct frame, fx) == 166, "native_call");

/* Flags that go in and out: arithmetic and DF. The others stay the host's. */
#define NATIVE_FLAGS (FL_ARITH | FL_DF)

void x86_native_call(struct frame *f);

/* clang-format off */
__asm__(
"	.section .rodata\n"
"	.p2align 6\n"
"1:	.zero 576\n"		/* an XSAVE area that says: initial */
"	.set x86_native_init, 1b\n"
"	.text\n"
"	.p2align 4\n"
"	.hidden x86_native_call\n"
"	.globl x86_native_call\n"
"	.type x86_native_call, @function\n"
"x86_native_call:\n"
"	push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15\n"
"	push %rdi\n"
"	pushq 136(%rdi)\n"
"	mov 144(%rdi), %r10\n"
"	test %r10, %r10\n"
"	jz 2f\n"
"	stmxcsr 160(%rdi)\n"
"	fnstcw 164(%rdi)\n"
"	mov 152(%rdi), %eax\n"
"	xor %edx, %edx\n"
"	cmpw $0, 166(%rdi)\n"
"	jne 1f\n"
"	xrstor64 (%r10)\n"
"	jmp 2f\n"
"1:	fxrstor64 (%r10)\n"
"2:	pushfq\n"
"	andq $-0xcd6, (%rsp)\n"		/* ~(CF PF AF ZF SF DF OF) */
"	mov 128(%rdi), %rax\n"
"	or %rax, (%rsp)\n"
"	popfq\n"
"	mov 0(%rdi), %rax; mov 8(%rdi), %rcx; mov 16(%rdi), %rdx; mov 24(%rdi), %rbx\n"
"	mov 40(%rdi), %rbp; mov 48(%rdi), %rsi; mov 64(%rdi), %r8; mov 72(%rdi), %r9\n"
"	mov 80(%rdi), %r10; mov 88(%rdi), %r11; mov 96(%rdi), %r12; mov 104(%rdi), %r13\n"
"	mov 112(%rdi), %r14; mov 120(%rdi), %r15; mov 56(%rdi), %rdi\n"
"	call *(%rsp)\n"
"	pushfq\n"
"	push %rdi\n"
"	mov 24(%rsp), %rdi\n"
"	mov %rax, 0(%rdi); mov %rcx, 8(%rdi); mov %rdx, 16(%rdi); mov %rbx, 24(%rdi)\n"
"	mov %rbp, 40(%rdi); mov %rsi, 48(%rdi); mov %r8, 64(%rdi); mov %r9, 72(%rdi)\n"
"	mov %r10, 80(%rdi); mov %r11, 88(%rdi); mov %r12, 96(%rdi); mov %r13, 104(%rdi)\n"
"	mov %r14, 112(%rdi); mov %r15, 120(%rdi)\n"
"	popq 56(%rdi)\n"
"	popq 128(%rdi)\n"
"	cld\n"
"	mov 144(%rdi), %r10\n"
"	test %r10, %r10\n"
"	jz 5f\n"
"	mov 152(%rdi), %eax\n"
"	xor %edx, %edx\n"
"	cmpw $0, 166(%rdi)\n"
"	jne 3f\n"
"	xsave64 (%r10)\n"
"	test $4, %al\n"
"	jz 4f\n"
"	vzeroupper\n"
"	and $0xe0, %eax\n"		/* the rest of AVX-512 back to its initial state */
"	jz 4f\n"
"	xrstor64 x86_native_init(%rip)\n"
"	jmp 4f\n"
"3:	fxsave64 (%r10)\n"
"4:	ldmxcsr 160(%rdi)\n"
"	testb $1, 152(%rdi)\n"
"	jz 5f\n"
"	fninit\n"
"	fldcw 164(%rdi)\n"
"5:	add $16, %rsp\n"
"	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp\n"
"	ret\n"
"	.size x86_native_call, .-x86_native_call\n"
);
/* clang-format on */

/* ---- stubs ---- */

/* General registers that the instruction names, in its encoding or implicitly */
static unsigned used_gprs(const struct insn *in)
{
	unsigned used = in->row->gpr_read | in->row->gpr_write;

	for (unsigned i = 0; i < in->n_opnd; i++)
		if (in->opnd[i].kind == OP_GPR)
			used |= in->opnd[i].high8 ? 0xfu : BIT(in->opnd[i].reg);
	return used;
}

static unsigned pick(unsigned *taken)
{
	/* low ones first: they can stand beside AH…BH, and need no REX */
	static const uint8_t order[] = {RDI, RSI, RBX, RDX, RCX, RAX, RBP, R8, R9, R10, R11, R12};

	for (unsigned i = 0; i < ARRAY_SIZE(order); i++) {
		if (*taken & BIT(order[i]))
			continue;
		*taken |= BIT(order[i]);
		return order[i];
	}
	return R15; /* cannot be: an instruction names at most eight */
}

/* The bytes as two words: the first eight, and the last eight of fifteen */
static uint64_t word(const uint8_t *p)
{
	uint64_t v;

	__builtin_memcpy(&v, p, sizeof(v));
	return v;
}

/* What lies beyond the instruction's length in insn.bytes is not defined. */
static uint64_t low_mask(unsigned len)
{
	return len >= 8 ? UINT64_MAX : BIT64(8 * len) - 1;
}

static unsigned hash(const struct insn *in)
{
	uint64_t v = word(in->bytes) & low_mask(in->len);

	return (unsigned)((v * UINT64_C(0x9e3779b97f4a7c15)) >> 48);
}

static bool same(const uint8_t *a, const struct insn *in)
{
	if ((word(a) ^ word(in->bytes)) & low_mask(in->len))
		return false;
	for (unsigned i = 8; i < in->len; i++)
		if (a[i] != in->bytes[i])
			return false;
	return true;
}

/* The slot that holds in's stub, made where it is not there; NULL: it cannot be encoded. */
static const struct cpu_slot *stub(struct cpu *cpu, const struct insn *in, uint8_t **code)
{
	unsigned count = (unsigned)MIN(cpu->native_size / SLOT_SIZE, CPU_SLOTS), taken, n;
	struct insn_subst subst = {.base = -1, .index = -1};
	struct cpu_slot *slot;
	uint8_t *rw;

	n = hash(in) % count;
	slot = &cpu->i.slot[n];
	*code = cpu->native_rx + n * SLOT_SIZE;
	if (likely(slot->mode == in->mode && slot->len == in->len && same(slot->bytes, in)))
		return slot;
	slot->mode = 0;
	taken = used_gprs(in) | BIT(RSP);
	slot->mem_reg = (uint8_t)pick(&taken);
	slot->rsp_reg = (uint8_t)pick(&taken);
	for (unsigned i = 0; i < 16; i++)
		subst.gpr[i] = (uint8_t)i;
	subst.gpr[RSP] = slot->rsp_reg;
	if (in->has_mem)
		subst.base = (int8_t)slot->mem_reg;
	rw = cpu->native_rw + n * SLOT_SIZE;
	if (insn_encode(in, &subst, rw, &n) != ENCODE_OK)
		return NULL;
	rw[n] = 0xc3; /* ret */
	memcpy(slot->bytes, in->bytes, in->len);
	slot->len = in->len;
	slot->mode = in->mode;
	return slot;
}

/* ---- FP state ---- */

/* Which components of the image the instruction may touch; 0: none */
static unsigned components(const struct cpu *cpu, const struct insn *in)
{
	uint64_t at = in->row->attr;
	unsigned m = 0;

	if (at & (AT_X87 | AT_MMX))
		m |= XCR0_X87;
	if (at & AT_SSE)
		m |= XCR0_SSE;
	/* VEX zeroes up to the longest vector there is */
	if (at & AT_AVX)
		m |= XCR0_SSE | XCR0_AVX | XCR0_ZMM_HI;
	if (at & AT_AVX512)
		m |= XCR0_SSE | XCR0_AVX | XCR0_AVX512;
	for (unsigned i = 0; i < in->n_opnd; i++) {
		if (in->opnd[i].kind == OP_ST || in->opnd[i].kind == OP_MM)
			m |= XCR0_X87;
		else if (in->opnd[i].kind == OP_VEC)
			m |= XCR0_SSE;
	}
	return m & cpu->i.xs_image;
}

/* A saved state could hold anything: XRSTOR on the host must not fault. */
static void sanitize(struct cpu *cpu)
{
	if (unlikely(fx64(cpu, XS_BV) & ~(uint64_t)cpu->i.xs_image || fx64(cpu, XS_COMP) ||
		     fx32(cpu, FX_MXCSR) & ~MXCSR_MASK)) {
		fx_put64(cpu, XS_BV, fx64(cpu, XS_BV) & cpu->i.xs_image);
		fx_put64(cpu, XS_COMP, 0);
		fx_put32(cpu, FX_MXCSR, fx32(cpu, FX_MXCSR) & MXCSR_MASK);
	}
	memset(cpu->s.xsave.bytes + XS_COMP + 8, 0, XS_AVX - XS_COMP - 8);
}

/* Where the host has noted the stub's addresses as those of the last x87 instruction (some
 * processors do it only for unmasked exceptions), the guest's own belong. */
static void set_pointers(struct cpu *cpu, const struct insn *in, const uint8_t *code,
			 const void *mem)
{
	if (fx64(cpu, FX_FIP) != (uintptr_t)code)
		return;
	fx_put16(cpu, FX_FOP, (in->opcode & 7u) << 8 | in->modrm);
	fx_put64(cpu, FX_FIP, cpu->s.rip);
	if (in->has_mem && fx64(cpu, FX_FDP) == (uintptr_t)mem)
		fx_put64(cpu, FX_FDP, cpu_ea(cpu, in));
}

static void run(struct cpu *cpu, struct frame *f, void *image, unsigned mask)
{
	f->xsave = mask ? image : NULL;
	f->mask = mask;
	f->fx = !cpu->i.host_xsave;
	if (unlikely(f->fx && mask)) {
		fpu_sync(cpu, XCR0_X87 | XCR0_SSE);
		f->mask = XCR0_X87 | XCR0_SSE;
	}
	x86_native_call(f);
}

/* All masked, on a copy; 0, or CPU_FAULT with the flags set and nothing else changed. */
static int run_unmasked(struct cpu *cpu, const struct insn *in, struct frame *f, unsigned mask)
{
	uint32_t mxcsr = fx32(cpu, FX_MXCSR), unmasked = ~(mxcsr >> 7) & 0x3f, got;
	size_t size = mask & XCR0_AVX512 ? X86_XSAVE_SIZE : XS_AVX + 256;
	struct x86_xsave copy;

	memcpy(copy.bytes, cpu->s.xsave.bytes, size);
	/* flush-to-zero counts only while underflow is masked */
	got = (mxcsr & ~0x3fu) | 0x1f80;
	if (unmasked & BIT(4))
		got &= ~BIT(15);
	memcpy(copy.bytes + FX_MXCSR, &got, 4);
	run(cpu, f, copy.bytes, mask);
	memcpy(&got, copy.bytes + FX_MXCSR, 4);
	got &= 0x3f;
	if (got & unmasked) {
		/* invalid, denormal and divide are found before there is a result: then what the
		 * result would have raised is not reported */
		if (got & unmasked & 7)
			got &= 7;
		fx_put32(cpu, FX_MXCSR, mxcsr | got);
		fx_put64(cpu, XS_BV, fx64(cpu, XS_BV) | XCR0_SSE);
		for (unsigned i = 0; i < in->n_opnd; i++)
			if (in->opnd[i].kind == OP_MM)
				fpu_enter_mmx(cpu);
		return raise_vec(cpu, cpu->s.cr4 & CR4_OSXMMEXCPT ? VEC_XM : VEC_UD);
	}
	memcpy(cpu->s.xsave.bytes, copy.bytes, size);
	fx_put32(cpu, FX_MXCSR, mxcsr | got);
	return 0;
}

/* SIMD exceptions that would come as a signal: not with EVEX.b among registers, which masks them all */
static bool may_raise(const struct cpu *cpu, const struct insn *in)
{
	return in->row->attr & AT_XM && (fx32(cpu, FX_MXCSR) & 0x1f80) != 0x1f80 &&
	       (in->has_mem || !insn_evex_b(in));
}

/* x87 with a pending error that nobody takes (CR0.NE clear, as with IGNNE# asserted): runs with
 * everything masked, then the masks come back. MMX's conversions can raise SIMD exceptions as well. */
static int run_ignne(struct cpu *cpu, const struct insn *in, struct frame *f, unsigned mask)
{
	unsigned fcw = fx16(cpu, FX_FCW);
	int r = 0;

	fx_put16(cpu, FX_FCW, fcw | 0x3f);
	fx_put16(cpu, FX_FSW, fx16(cpu, FX_FSW) & ~(FSW_ES | 0x8000u));
	if (may_raise(cpu, in))
		r = run_unmasked(cpu, in, f, mask | XCR0_SSE);
	else
		run(cpu, f, &cpu->s.xsave, mask);
	fx_put16(cpu, FX_FCW, fcw);
	if (fx16(cpu, FX_FSW) & 0x3f & ~fcw)
		fx_put16(cpu, FX_FSW, fx16(cpu, FX_FSW) | FSW_ES | 0x8000u);
	return r;
}

/* ---- DIV and flags ---- */

bool div_ok(const struct cpu *cpu, bool is_signed, unsigned size, uint64_t v)
{
	unsigned bits = size * 8;
	uint64_t lo = gpr_get(cpu, RAX, size), hi = gpr_get(cpu, RDX, size), limit;
	unsigned __int128 n, d;
	bool neg_n, neg_d;

	if (size == 1) {
		lo = cpu->s.gpr[RAX] & 0xff;
		hi = cpu->s.gpr[RAX] >> 8 & 0xff;
	}
	v &= size_mask(size);
	if (!v)
		return false;
	if (!is_signed)
		return hi < v;
	n = (unsigned __int128)hi << bits | lo;
	neg_n = hi >> (bits - 1);
	neg_d = v >> (bits - 1);
	if (neg_n)
		n = size == 8 ? -n : (((unsigned __int128)1 << (2 * bits)) - n);
	d = neg_d ? (size_mask(size) - v) + 1 : v;
	/* the quotient's magnitude may be 2^(bits-1) when it is negative, one less otherwise */
	limit = (UINT64_C(1) << (bits - 1)) + (neg_n != neg_d);
	return n < d * limit;
}

uint64_t flags_sub(uint64_t a, uint64_t b, unsigned size)
{
	uint64_t ax;

	/* lahf and seto rather than pushf: the compiler may use the red zone */
	switch (size) {
	case 1:
		__asm__("cmpb %b2, %b1; lahf; seto %%al" : "=&a"(ax) : "q"(a), "q"(b) : "cc");
		break;
	case 2:
		__asm__("cmpw %w2, %w1; lahf; seto %%al" : "=&a"(ax) : "r"(a), "r"(b) : "cc");
		break;
	case 4:
		__asm__("cmpl %k2, %k1; lahf; seto %%al" : "=&a"(ax) : "r"(a), "r"(b) : "cc");
		break;
	default:
		__asm__("cmpq %2, %1; lahf; seto %%al" : "=&a"(ax) : "r"(a), "r"(b) : "cc");
	}
	return (ax >> 8 & 0xd5) | (ax & 1 ? FL_OF : 0);
}

/* ---- entry ---- */

static int check_div(struct cpu *cpu, const struct insn *in, const void *mem)
{
	unsigned size = in->opnd[0].size;
	uint64_t v = 0;

	if (in->has_mem)
		memcpy(&v, mem, size);
	else if (in->opnd[0].high8)
		v = cpu->s.gpr[in->opnd[0].reg & 3] >> 8;
	else
		v = cpu->s.gpr[in->opnd[0].reg];
	return div_ok(cpu, in->mnem == I_IDIV, size, v) ? 0 : raise_vec(cpu, VEC_DE);
}

int cpu_native(struct cpu *cpu, const struct insn *in, void *mem)
{
	const struct cpu_slot *slot;
	struct frame f;
	uint8_t *code;
	unsigned mask;
	int r = 0;

	if (unlikely(!cpu->i.ready))
		cpu_init(cpu);
	if (unlikely(in->mnem == I_DIV || in->mnem == I_IDIV) && check_div(cpu, in, mem))
		return CPU_FAULT;
	slot = stub(cpu, in, &code);
	if (unlikely(!slot))
		return raise_ud(cpu);
	__builtin_memcpy(f.gpr, cpu->s.gpr, sizeof(f.gpr));
	f.gpr[slot->rsp_reg] = cpu->s.gpr[RSP];
	f.gpr[slot->mem_reg] = (uint64_t)(uintptr_t)mem;
	f.flags = cpu->s.rflags & NATIVE_FLAGS;
	f.slot = code;
	mask = components(cpu, in);
	if (likely(!mask)) {
		run(cpu, &f, NULL, 0);
	} else {
		sanitize(cpu);
		if (mask & XCR0_X87 && fx16(cpu, FX_FSW) & FSW_ES && !(in->row->attr & AT_NOWAIT)) {
			if (cpu->s.cr0 & CR0_NE)
				return raise_vec(cpu, VEC_MF);
			r = run_ignne(cpu, in, &f, mask);
			if (r)
				return r;
		} else if (may_raise(cpu, in)) {
			r = run_unmasked(cpu, in, &f, mask | XCR0_SSE);
			if (r)
				return r;
		} else {
			run(cpu, &f, &cpu->s.xsave, mask);
		}
		if (in->row->attr & AT_X87)
			set_pointers(cpu, in, code, mem);
	}
	f.gpr[RSP] = f.gpr[slot->rsp_reg];
	f.gpr[slot->mem_reg] = cpu->s.gpr[slot->mem_reg];
	f.gpr[slot->rsp_reg] = cpu->s.gpr[slot->rsp_reg];
	__builtin_memcpy(cpu->s.gpr, f.gpr, sizeof(f.gpr));
	cpu->s.rflags = (cpu->s.rflags & ~(uint64_t)NATIVE_FLAGS) | (f.flags & NATIVE_FLAGS);
	return 0;
}
