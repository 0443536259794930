/* SPDX-License-Identifier: ISC */
/* soft_lockstep.c: random programs, the translator against the interpreter.
 *
 * Each program is a few dozen random instructions with forward jumps, calls and a bounded loop; it
 * runs to HLT in both, and then all registers, the FP state and all memory must agree. Flags that
 * the manual leaves undefined, and flags in exception frames, which the translator may have given up
 * because they were dead, are left out. Prints the seed and, on failure, the program.
 *
 *	soft_lockstep [seed [programs [bytes of code cache [flush every [hot [live | b | d]]]]]]
 *
 * Odd seeds: user code does not know its address. hot: it does, and memos get more than a page after so many stubs. live: no flags are
 * given up, and those in frames are compared. b: without BMI2. d: user code has its pages mapped (direct.c), and some of its addresses
 * are far up. */
#include "base/str.h"
#include "tests/lib/soft_rig.h"
#include "x86/cpu.h"
#include "x86/feature.h"

#define DATA_PAGES 16u
#define MAX_INSNS  48u
#define CODE_MAX   4096u
#define PTE_A      BIT(5)
#define PTE_D      BIT(6)
#define ALL_EVERY  64u /* programs, after which all of memory is compared */
#define IDLE_EVERY 32u /* after which the processor is idle */

static uint64_t rng;

static uint64_t rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng * UINT64_C(0x2545f4914f6cdd1d);
}

static uint32_t below(uint32_t n)
{
	return (uint32_t)((rnd() >> 32) * n >> 32);
}

/* ---- program --------------------------------------------------------------------------------- */

struct prog {
	uint8_t bytes[CODE_MAX];
	unsigned len;
	unsigned n;
	uint16_t at[MAX_INSNS + 1];
	uint16_t pointers; /* registers that hold addresses and are not written */
	unsigned index;    /* register that holds a small number and is not written */
	gva_t start;
	bool user;
	bool keys; /* pages of the data have protection keys */
};

static bool is_pointer(const struct prog *p, int reg)
{
	return reg >= 0 && (p->pointers >> reg & 1);
}

/* Random bytes in the shape of an instruction; the decoder decides. */
static unsigned propose(uint8_t *b, bool evex)
{
	static const uint8_t prefixes[] = {0x66, 0xf2, 0xf3, 0xf0, 0x64, 0x65, 0x67};
	unsigned n = 0, modrm_mod;

	if (!below(5))
		b[n++] = prefixes[below(sizeof(prefixes))];
	if (!below(12))
		b[n++] = prefixes[below(sizeof(prefixes))];
	switch (below(evex ? 12 : 8)) {
	case 8:
	case 9:
	case 10:
	case 11:
		n += rig_evex(b + n, false, rnd);
		break;
	case 0: /* VEX3 */
		b[n++] = 0xc4;
		b[n++] = (uint8_t)(below(8) << 5 | (1 + below(3)));
		b[n++] = (uint8_t)rnd();
		b[n++] = (uint8_t)rnd();
		break;
	case 1:
		b[n++] = 0xc5;
		b[n++] = (uint8_t)rnd();
		b[n++] = (uint8_t)rnd();
		break;
	case 2:
	case 3:
		if (below(2))
			b[n++] = (uint8_t)(0x40 | below(16));
		b[n++] = 0x0f;
		if (!below(3))
			b[n++] = below(2) ? 0x38 : 0x3a;
		b[n++] = (uint8_t)rnd();
		break;
	default:
		if (below(3))
			b[n++] = (uint8_t)(0x40 | below(16));
		b[n++] = (uint8_t)rnd();
	}
	modrm_mod = below(4);
	b[n++] = (uint8_t)(modrm_mod << 6 | below(64));
	while (n < INSN_MAX + 4)
		b[n++] = (uint8_t)rnd();
	return n;
}

static bool mem_ok(const struct prog *p, const struct insn *in)
{
	const struct insn_mem *m = &in->mem;

	if (m->rip_rel) /* made to fit afterwards */
		return in->disp_bytes == 4 && m->seg != FS && m->seg != GS;
	if (m->addr_size == 4 && (m->seg == FS || m->seg == GS))
		return false;
	if (m->index >= 0 && m->index != (int)p->index)
		return false;
	if (m->base < 0)
		return false;
	return is_pointer(p, m->base) && (in->disp_bytes < 4);
}

static bool usable(const struct prog *p, const struct insn *in, struct cpu *cpu)
{
	const struct insn_row *r = in->row;
	uint32_t writes = r->gpr_write;

	if (r->feature && !cpu_has(cpu, r->feature))
		return false;
	switch (r->cls) {
	case CLS_COPY:
	case CLS_LEA:
	case CLS_NOP:
	case CLS_PUSH:
	case CLS_POP:
		break;
	case CLS_STACK:
		if (in->mnem != I_LEAVE && in->mnem != I_PUSHF)
			return false;
		break;
	case CLS_STRING:
		if (in->addr_size != 8 || below(4))
			return false;
		break;
	default:
		return false;
	}
	if (r->attr & (AT_HOSTX | AT_CPL0 | AT_ENDS | AT_VSIB))
		return false;
	/* This host family takes them misaligned, whatever the manual says. */
	if (r->feature == X_FEAT_SHA && in->has_mem)
		return false;
	if (in->mnem == I_RDRAND || in->mnem == I_RDSEED)
		return false;
	for (unsigned i = 0; i < in->n_opnd; i++) {
		const struct insn_opnd *o = &in->opnd[i];

		if (o->kind == OP_SREG || o->kind == OP_CR || o->kind == OP_DR)
			return false;
		if (o->kind == OP_GPR && (o->acc & ACC_W))
			writes |= 1u << (o->high8 ? o->reg & 3 : o->reg);
	}
	if (r->cls == CLS_STRING)
		writes &= ~(1u << RSI | 1u << RDI | 1u << RCX);
	else if (r->cls == CLS_PUSH || r->cls == CLS_POP || r->cls == CLS_STACK)
		writes &= ~(1u << RSP);
	if (in->mnem == I_LEAVE && p->pointers >> RBP & 1)
		return false;
	if (writes & (p->pointers | 1u << p->index))
		return false;
	/* BT [mem], reg: only by the small number */
	if ((r->attr & AT_BITSTR) && in->has_mem && in->opnd[1].kind == OP_GPR &&
	    in->opnd[1].reg != p->index)
		return false;
	return !in->has_mem || r->cls == CLS_LEA || r->cls == CLS_STRING || mem_ok(p, in);
}

/* RIP-relative operands lead to the data. */
static void fix_rip(const struct prog *p, uint8_t *b, const struct insn *in)
{
	unsigned at = in->len - in->imm_bytes - 4u;
	int32_t disp = (int32_t)(RIG_DATA + 64 + below((DATA_PAGES - 1) * 4096) -
				 (uint32_t)(p->start + p->len + in->len));

	memcpy(b + at, &disp, 4);
}

static void put(struct prog *p, const void *b, unsigned n)
{
	memcpy(p->bytes + p->len, b, n);
	p->len += n;
}

static unsigned pick_pointer(const struct prog *p)
{
	unsigned reg;

	do
		reg = below(16);
	while (!is_pointer(p, (int)reg));
	return reg;
}

/* Pointers move by constants, and are copied: what group.c follows. RSP stays a multiple of 8. */
static unsigned move_pointer(const struct prog *p, uint8_t *b)
{
	unsigned dst = pick_pointer(p), src = pick_pointer(p), n = 0, kind = below(4);
	uint8_t by = (uint8_t)((below(17) - 8) * 8);

	if (dst == RSP && kind == 3)
		kind = 0;
	b[n++] = (uint8_t)(0x48 | dst >> 3);
	switch (kind) {
	case 0: /* add or sub dst, imm8 */
		b[n++] = 0x83;
		b[n++] = (uint8_t)((below(2) ? 0xc0 : 0xe8) | (dst & 7));
		b[n++] = by;
		break;
	case 1: /* mov dst, src */
		b[0] |= (uint8_t)(src >> 3 << 2);
		b[n++] = 0x89;
		b[n++] = (uint8_t)(0xc0 | (src & 7) << 3 | (dst & 7));
		break;
	case 2: /* lea dst, [src + disp8] */
		b[0] = (uint8_t)(0x48 | dst >> 3 << 2 | src >> 3);
		b[n++] = 0x8d;
		b[n++] = (uint8_t)(0x40 | (dst & 7) << 3 | (src & 7));
		if ((src & 7) == RSP)
			b[n++] = 0x24;
		b[n++] = by;
		break;
	default: /* inc or dec dst */
		b[n++] = 0xff;
		b[n++] = (uint8_t)((below(2) ? 0xc0 : 0xc8) | (dst & 7));
	}
	return n;
}

/* Of key 0, which pages of the rig have, all is allowed. */
static uint32_t some_rights(void)
{
	return (uint32_t)(rnd() & rnd()) & ~3u;
}

/* WRPKRU with what it wants in EAX, ECX and EDX, which never hold pointers */
static unsigned change_rights(uint8_t *b)
{
	static const uint8_t code[] = {0x31, 0xc9, 0x31, 0xd2, 0xb8, 0, 0, 0, 0, 0x0f, 0x01, 0xef};
	uint32_t pkru = some_rights();

	memcpy(b, code, sizeof(code));
	memcpy(b + 5, &pkru, 4);
	return sizeof(code);
}

/* Calls what follows, and goes from there to what follows that, by what was pushed */
static unsigned call_on(uint8_t *b)
{
	static const struct {
		uint8_t n, code[8];
	} ways[] = {
		{0, {0}},
		{6, {0x48, 0x83, 0x04, 0x24, 6, 0xc3}},             /* add qword [rsp], 6; ret */
		{8, {0x48, 0x83, 0x04, 0x24, 8, 0xff, 0x24, 0x24}}, /* … jmp [rsp] */
		{8, {0x48, 0x83, 0x04, 0x24, 8, 0xff, 0x14, 0x24}}, /* … call [rsp] */
	};
	unsigned way = below(ARRAY_SIZE(ways));

	memcpy(b, "\xe8\0\0\0", 5);
	memcpy(b + 5, ways[way].code, ways[way].n);
	return 5u + ways[way].n;
}

/* A forward jump over the next few instructions is resolved when they are there. */
static void generate(struct prog *p, struct cpu *cpu)
{
	static const uint8_t candidates[] = {RBX, RBP, RSI, RDI, R8,  R9,
					     R10, R11, R12, R13, R14, R15};
	unsigned want = 4 + below(MAX_INSNS - 6), jump_at = 0, jump_left = 0;
	uint8_t b[32];
	struct insn in;

	p->len = p->n = 0;
	p->pointers = 1u << RSP;
	for (unsigned i = 0; i < 4; i++)
		p->pointers |= (uint16_t)(1u << candidates[below(sizeof(candidates))]);
	do
		p->index = candidates[below(sizeof(candidates))];
	while (p->pointers >> p->index & 1);
	p->user = below(2);
	p->keys = cpu_has(cpu, X_FEAT_PKU) && below(2);
	p->start = RIG_CODE + (below(3) ? below(64) : 4096 - below(64));
	while (p->n < want) {
		p->at[p->n] = (uint16_t)p->len;
		if (!jump_left && !below(8)) {
			uint8_t jcc[2] = {(uint8_t)(0x70 | below(16)), 0};

			put(p, jcc, 2);
			jump_at = p->len;
			jump_left = 1 + below(4);
			p->n++;
			continue;
		}
		if (!below(10)) {
			put(p, b,
			    p->keys && !below(3) ? change_rights(b)
			    : !below(4)          ? call_on(b)
						 : move_pointer(p, b));
			p->n++;
			if (jump_left && !--jump_left)
				p->bytes[jump_at - 1] = (uint8_t)(p->len - jump_at);
			continue;
		}
		propose(b, cpu_has(cpu, X_FEAT_AVX512F));
		if (insn_decode(b, INSN_MAX, 8, &in) != DECODE_OK || !usable(p, &in, cpu))
			continue;
		if (in.has_mem && in.mem.rip_rel)
			fix_rip(p, b, &in);
		put(p, b, in.len);
		p->n++;
		if (jump_left && !--jump_left)
			p->bytes[jump_at - 1] = (uint8_t)(p->len - jump_at);
	}
	if (jump_left)
		p->bytes[jump_at - 1] = (uint8_t)(p->len - jump_at);
	p->at[p->n] = (uint16_t)p->len;
	p->bytes[p->len++] = p->user ? 0xcc : 0xf4; /* INT3 halts in ring 0 */
}

static void show(const struct prog *p)
{
	char text[128];
	struct insn in;

	printf("pointers %04x index %u user %d\n", p->pointers, p->index, p->user);
	for (unsigned i = 0; i < p->n; i++) {
		const uint8_t *b = p->bytes + p->at[i];
		unsigned n = p->at[i + 1] - p->at[i];

		printf("%6llx: ", (unsigned long long)p->start + p->at[i]);
		for (unsigned k = 0; k < 12; k++)
			printf(k < n ? "%02x" : "  ", b[k]);
		if (insn_decode(b, INSN_MAX, 8, &in) == DECODE_OK)
			printf(" %s\n", insn_format(&in, p->start + p->at[i], text, sizeof(text)));
		else
			printf(" ?\n");
	}
}

/* ---- state ----------------------------------------------------------------------------------- */

/* upper: some addresses are */
static void load_state(struct rig *r, const struct prog *p, uint64_t seed, bool upper)
{
	struct x86_state *s = r->s;
	uint64_t saved = rng;

	rng = seed | 1;
	rig_tables(r); /* a program may have overwritten them */
	for (gva_t va = 0; va < RIG_RAM; va += PAGE_SIZE)
		*rig_pte(r, va) &= ~(uint64_t)(PTE_A | PTE_D);
	rig_reset(r, p->user);
	s->idtr.limit = 0xfff;
	for (unsigned i = 0; i < 16; i++)
		s->gpr[i] = below(3) ? rnd() : below(2) ? below(256) : UINT64_MAX - below(200);
	for (unsigned i = 0; i < 16; i++)
		if (is_pointer(p, (int)i))
			s->gpr[i] = RIG_DATA + below(DATA_PAGES) * 4096 +
				    (below(4)   ? 512 + below(220) * 16
				     : below(2) ? 4096 - below(80)
						: below(4096));
	s->gpr[p->index] = below(4) ? below(64) : -(uint64_t)below(64);
	s->gpr[RSP] = RIG_STACK + 8 * (below(3) ? below(1024) : below(2) * 512 + below(12));
	if (!below(8)) /* beside code, where all stores are the interpreter's */
		s->gpr[RSP] = RIG_CODE + 0x600 + 8 * below(256);
	if (!(p->pointers >> RSI & 1))
		s->gpr[RSI] = RIG_DATA + below(8192);
	if (!(p->pointers >> RDI & 1))
		s->gpr[RDI] = RIG_DATA + 16384 + below(8192);
	if (p->index != RCX && !(p->pointers >> RCX & 1))
		s->gpr[RCX] = below(3) ? below(40) : below(5000);
	s->rflags = 2 | (rnd() & (FL_ARITH));
	for (unsigned i = 0; i < 16 && upper; i++)
		if (s->gpr[i] >= RIG_DATA && s->gpr[i] < RIG_RAM && below(2))
			s->gpr[i] += RIG_UPPER;
	s->seg[FS].base = RIG_DATA + 0x800 + (upper && below(2) ? RIG_UPPER : 0);
	s->seg[GS].base = (uint64_t) - (int64_t)0x1000;
	s->gpr[RSP] &= ~UINT64_C(7);
	rig_vectors(r, rnd);
	s->rip = p->start;
	/* Data: half numbers, half noise; a few pages that fault */
	for (unsigned i = 0; i < DATA_PAGES * 4096; i += 8)
		rig_put64(r, RIG_DATA + i, below(2) ? rnd() : below(1000));
	memset(r->ram + RIG_STACK - 8192, 0x11, 8192 + 16384);
	memset(r->ram + RIG_IST - 512, 0, 512);
	/* Pages in order, or not, so that memos need mirrors */
	uint32_t step = below(2) ? 1 : 5, first = below(DATA_PAGES);
	for (unsigned i = 0; i < DATA_PAGES; i++)
		*rig_pte(r, RIG_DATA + i * 4096) =
			(RIG_DATA + (first + i * step) % DATA_PAGES * 4096) | 7;
	if (!below(4))
		*rig_pte(r, RIG_DATA + below(DATA_PAGES) * 4096) &= ~UINT64_C(1);
	if (!below(4))
		*rig_pte(r, RIG_DATA + below(DATA_PAGES) * 4096) &= ~UINT64_C(2);
	if (p->keys) {
		s->cr4 |= CR4_PKE;
		s->pkru = some_rights();
		for (unsigned i = 0; i < DATA_PAGES; i++)
			*rig_pte(r, RIG_DATA + i * 4096) |= (uint64_t)below(16) << 59;
	}
	memcpy(r->ram + p->start, p->bytes, p->len);
	r->vm->engine->set_state(r->vcpu);
	r->vm->engine->memory_changed(r->vm, p->start, p->len);
	rng = saved;
}

static unsigned undefined_flags(const struct prog *p)
{
	unsigned undef = 0;
	struct insn in;

	/* Any of them may have been the last to change the flags. */
	for (unsigned i = 0; i < p->n; i++)
		if (insn_decode(p->bytes + p->at[i], INSN_MAX, 8, &in) == DECODE_OK)
			undef |= in.row->fl_undef;
	return undef;
}

static int differ(const char *what, uint64_t a, uint64_t b)
{
	if (a == b)
		return 0;
	printf("%s: soft %llx interp %llx\n", what, (unsigned long long)a, (unsigned long long)b);
	return 1;
}

/* A program that has written over itself: what a repeated store does then is nobody's promise. */
static bool spoiled(const struct rig *r, const struct prog *p)
{
	return memcmp(r->ram + p->start, p->bytes, p->len) != 0;
}

static void resync(struct rig *a, struct rig *b)
{
	memset(a->ram, 0, RIG_RAM);
	memset(b->ram, 0, RIG_RAM);
	a->vm->engine->memory_changed(a->vm, 0, RIG_RAM);
}

/* Marks the pages with D, which must be as the other has them. A may come of an access that was begun (SDM
 * vol. 3, 4.8): it is set for all. */
static void note_written(const struct rig *r, bool *written)
{
	for (gva_t va = 0; va < RIG_RAM; va += PAGE_SIZE) {
		uint64_t *pte = rig_pte((struct rig *)(uintptr_t)r, va);

		if (*pte & PTE_D)
			written[(*pte & (RIG_RAM - 1)) >> PAGE_SHIFT] = true;
		*pte |= PTE_A;
	}
}

/* Tables and frames of exceptions, and what was written; all: every page */
static int compare_memory(const struct rig *a, const struct rig *b, bool all)
{
	static bool written[RIG_RAM / PAGE_SIZE];

	memset(written, all, sizeof(written));
	note_written(a, written);
	note_written(b, written);
	for (gpa_t at = 0; at < RIG_RAM; at += PAGE_SIZE) {
		if (at >= RIG_CODE && !written[at >> PAGE_SHIFT])
			continue;
		for (unsigned i = 0; i < PAGE_SIZE && memcmp(a->ram + at, b->ram + at, PAGE_SIZE);
		     i++)
			if (a->ram[at + i] != b->ram[at + i]) {
				printf("memory %llx: soft %x interp %x\n",
				       (unsigned long long)at + i, a->ram[at + i], b->ram[at + i]);
				return 1;
			}
	}
	return 0;
}

static int compare(const struct rig *a, const struct rig *b, const struct prog *p, bool all,
		   bool frames)
{
	static const char *const names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					    "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
	bool fault = a->s->rip != p->start + p->len && a->s->rip != RIG_HANDLER + VEC_BP * 16 + 1;
	uint64_t mask = fault && !frames ? ~(uint64_t)FL_ARITH : ~(uint64_t)0;
	int bad = 0;

	for (unsigned i = 0; i < 16; i++)
		bad |= differ(names[i], a->s->gpr[i], b->s->gpr[i]);
	bad |= differ("rip", a->s->rip, b->s->rip);
	bad |= differ("rflags", a->s->rflags & mask, b->s->rflags & mask);
	bad |= differ("pkru", a->s->pkru, b->s->pkru);
	bad |= differ("cr2", a->s->cr2, b->s->cr2);
	bad |= rig_parts_differ(a, b);
	for (unsigned i = 0; i < 512; i++)
		if ((i < 6 || (i >= 24 && i < 28) || i >= 32) &&
		    a->s->xsave.bytes[i] != b->s->xsave.bytes[i]) {
			printf("xsave byte %u: %x %x\n", i, a->s->xsave.bytes[i],
			       b->s->xsave.bytes[i]);
			bad = 1;
		}
	if (fault && !frames) { /* flags in the frame */
		memset(a->ram + RIG_IST - 24, 0, 2);
		memset(b->ram + RIG_IST - 24, 0, 2);
	}
	return bad ? bad : compare_memory(a, b, all);
}

int main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
	unsigned count = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 0) : 3000;
	struct soft_config soft = {
		.cache_bytes = argc > 3 ? strtoul(argv[3], NULL, 0) : 0,
		.flush_every = argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 0) : 0,
		.hot = argc > 5   ? SOFT_HOT_ALWAYS
		       : seed & 1 ? SOFT_HOT_NEVER
				  : SOFT_HOT_SAMPLED,
		.memo_runs = argc > 5 ? (uint32_t)strtoul(argv[5], NULL, 0) : 0,
		.live_flags = argc > 6 && *argv[6] == 'l',
		.no_bmi2 = argc > 6 && *argv[6] == 'b',
		.directly = argc > 6 && *argv[6] == 'd' ? SOFT_DIRECT_ALWAYS : SOFT_DIRECT_NEVER,
		.tables = argc > 7 ? (uint32_t)strtoul(argv[7], NULL, 0) : 0};
	struct soft_config interp = {.interp = true};
	struct soft_stats st;
	static struct prog p;
	uint64_t total = 0;
	struct rig a, b;

	setbuf(stdout, NULL);
	if (rig_open(&a, &soft) || rig_open(&b, &interp))
		return 1;
	for (unsigned i = 0; i < count; i++) {
		uint64_t prog_seed = seed + i;
		uint64_t state_seed;

		rng = (prog_seed * UINT64_C(0x9e3779b97f4a7c15)) | 1;
		for (unsigned k = 0; k < 8; k++)
			rnd();
		generate(&p, rig_cpu(&a));
		total += p.n;
		state_seed = rnd();
		if (getenv("SHOW"))
			show(&p);
		/* Twice: the second time it runs from what the first has cached. */
		for (unsigned again = 0; again < 2; again++) {
			bool upper = soft.directly == SOFT_DIRECT_ALWAYS;

			load_state(&a, &p, state_seed + again, upper);
			load_state(&b, &p, state_seed + again, upper);
			a.s->dr[7] = b.s->dr[7] = 0x400;
			bool differs = rig_run(&a) != rig_run(&b);

			if (spoiled(&a, &p) || spoiled(&b, &p)) {
				resync(&a, &b);
				continue;
			}
			if (differs || compare(&a, &b, &p, i % ALL_EVERY == 0, soft.live_flags)) {
				printf("seed %llu, run %u, undefined flags %x\n",
				       (unsigned long long)prog_seed, again, undefined_flags(&p));
				show(&p);
				return 1;
			}
		}
		if (i % IDLE_EVERY == 0) {
			a.vcpu->idle.idle =
				i % (IDLE_EVERY * 2); /* then part of the code goes, too */
			a.vm->engine->idle(a.vcpu);
		}
	}
	soft_stats_read(a.vm, &st);
	printf("seed %llu: %u programs of %llu instructions agree; %llu blocks, %llu insns, %llu slow, "
	       "%llu by the interpreter, %llu faults, %llu pages mapped directly\n",
	       (unsigned long long)seed, count, (unsigned long long)total,
	       (unsigned long long)st.blocks, (unsigned long long)st.insns,
	       (unsigned long long)st.slow, (unsigned long long)st.exec,
	       (unsigned long long)st.faults, (unsigned long long)st.direct_pages);
	rig_close(&a);
	rig_close(&b);
	return 0;
}
