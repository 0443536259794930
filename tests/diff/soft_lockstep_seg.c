/* SPDX-License-Identifier: ISC */
/* soft_lockstep_seg.c: as soft_lockstep.c, for 16- and 32-bit code: compatibility mode at rings 0 and
 * 3, real and virtual-8086 mode, with segments whose bases, limits and types are random.
 *
 * Everything is in the first MiB, so that all modes reach it. Offsets in registers lead near the ends
 * of their segments now and then.
 *
 *	soft_lockstep_seg [seed [programs [bytes of code cache [flush every [hot [live | b]]]]]]
 *
 * Odd seeds: user code does not know its address. hot: it does, and memos get more than a page after so many stubs. live: no flags
 * are given up, and those in frames are compared. */
#include "base/str.h"
#include "tests/lib/soft_rig.h"
#include "tests/lib/watch.h"
#include "x86/cpu.h"
#include "x86/feature.h"

#define CODE        0x40000u
#define DATA        0x50000u
#define DATA_SIZE   0x10000u
#define STACK       0x70000u
#define IDT32       0x30000u
#define MAX_INSNS   40u
#define CODE_MAX    2048u
#define TABLES      RIG_PML4 /* … to the end of the last one */
#define TABLES_SIZE (RIG_PT + 8 * 4096u - RIG_PML4)

enum kind { FLAT, SEGMENTED, SMALL, REAL, V86, KINDS };
static const char *const kind_name[] = {"flat", "segmented", "16-bit", "real", "v86"};

static uint64_t rng;
static uint64_t tables[TABLES_SIZE / 8]; /* as a program finds them */

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

struct prog {
	uint8_t bytes[CODE_MAX];
	unsigned len, n;
	uint16_t at[MAX_INSNS + 1];
	unsigned pointers, index; /* registers that are not written */
	enum kind kind;
	bool user;
	unsigned mode;  /* for the decoder */
	uint32_t start; /* linear */
	uint32_t cs_base;
};

/* ---- program --------------------------------------------------------------------------------- */

static void put(struct prog *p, const void *b, unsigned n)
{
	memcpy(p->bytes + p->len, b, n);
	p->len += n;
}

static unsigned propose(uint8_t *b, bool evex)
{
	static const uint8_t prefixes[] = {0x66, 0x67, 0xf2, 0xf3, 0xf0,
					   0x26, 0x2e, 0x36, 0x64, 0x65};
	unsigned n = 0;

	while (!below(4))
		b[n++] = prefixes[below(sizeof(prefixes))];
	if (evex && !below(6)) {
		n += rig_evex(b + n, true, rnd);
	} else if (!below(4)) {
		b[n++] = 0x0f;
		if (!below(4))
			b[n++] = below(2) ? 0x38 : 0x3a;
	} else if (!below(10)) {
		b[n++] = 0xc5;
		b[n++] = (uint8_t)(0xc0 | rnd());
	}
	for (unsigned i = 0; i < INSN_MAX; i++)
		b[n++] = (uint8_t)rnd();
	return n;
}

static bool is_absolute(const struct insn *in)
{
	return in->has_mem && in->mem.base < 0 && in->mem.index < 0;
}

static bool mem_ok(const struct prog *p, const struct insn *in)
{
	const struct insn_mem *m = &in->mem;

	if (is_absolute(in))
		return true;
	if (m->index >= 0 && m->index != (int)p->index)
		return false;
	return m->base >= 0 && p->pointers >> m->base & 1 && in->disp_bytes < 4;
}

static bool usable(const struct prog *p, const struct insn *in, struct cpu *cpu)
{
	const struct insn_row *r = in->row;
	unsigned writes = r->gpr_write;

	if ((r->feature && !cpu_has(cpu, r->feature)) || r->feature == X_FEAT_SHA)
		return false;
	if (r->attr & (AT_HOSTX | AT_CPL0 | AT_ENDS | AT_VSIB) || in->mnem == I_RDRAND ||
	    in->mnem == I_RDSEED)
		return false;
	switch (r->cls) {
	case CLS_STACK:
		if (in->mnem != I_LEAVE && in->mnem != I_PUSHF)
			return false;
		attr_fallthrough;
	case CLS_PUSH:
	case CLS_POP:
		writes &= ~(1u << RSP);
		break;
	case CLS_STRING:
		writes &= ~(1u << RSI | 1u << RDI | 1u << RCX);
		break;
	case CLS_COPY:
	case CLS_LEA:
	case CLS_NOP:
	case CLS_MOVABS:
		break;
	default:
		return false;
	}
	for (unsigned i = 0; i < in->n_opnd; i++) {
		const struct insn_opnd *o = &in->opnd[i];

		if (o->kind == OP_SREG || o->kind == OP_CR || o->kind == OP_DR)
			return false;
		if (o->kind == OP_GPR && o->acc & ACC_W)
			writes |= 1u << (o->high8 ? o->reg & 3 : o->reg);
	}
	if (in->mnem == I_LEAVE && p->pointers >> RBP & 1)
		return false;
	if (writes & (p->pointers | 1u << p->index))
		return false;
	if (r->attr & AT_BITSTR && in->has_mem && in->opnd[1].kind == OP_GPR &&
	    in->opnd[1].reg != p->index)
		return false;
	return !in->has_mem || r->cls == CLS_LEA || r->cls == CLS_STRING || mem_ok(p, in);
}

/* Absolute addresses lead to the data in flat code, else into the segment. */
static void fix_absolute(const struct prog *p, uint8_t *b, const struct insn *in)
{
	uint32_t off = below(DATA_SIZE) + (p->kind == FLAT ? DATA : 0);

	if (in->addr_size == 4 && in->row->cls == CLS_MOVABS)
		memcpy(b + in->len - 4, &off, 4);
	else if (in->disp_bytes == 4)
		memcpy(b + in->len - in->imm_bytes - 4, &off, 4);
}

/* call f; jmp over; f: ret; over: … or call over; over: */
static void put_call(struct prog *p)
{
	static const struct {
		uint8_t n, code[8];
	} calls[2][2] = {
		{{6, {0xe8, 2, 0, 0xeb, 1, 0xc3}}, {3, {0xe8}}},
		{{8, {0xe8, 2, 0, 0, 0, 0xeb, 1, 0xc3}}, {5, {0xe8}}},
	};
	unsigned wide = p->mode == 4, next = below(2);

	put(p, calls[wide][next].code, calls[wide][next].n);
}

static unsigned skip(struct prog *p)
{
	static const uint8_t count[] = {0xe0, 0xe1, 0xe2, 0xe3};
	uint8_t b[3], n = 0;

	if (!below(4) && !(p->pointers >> RCX & 1) && p->index != RCX) {
		if (!below(4))
			b[n++] = 0x67;
		b[n++] = count[below(4)];
	} else {
		b[n++] = (uint8_t)(0x70 | below(16));
	}
	b[n++] = 0;
	put(p, b, n);
	return p->len;
}

static void generate(struct prog *p, struct cpu *cpu)
{
	static const uint8_t pointers[] = {RBX, RBP, RSI, RDI};
	unsigned want = 4 + below(MAX_INSNS - 6), jump_at = 0, jump_left = 0;
	uint8_t b[32];
	struct insn in;

	p->len = p->n = 0;
	p->kind = below(KINDS);
	p->user = p->kind == V86 || (p->kind < REAL && below(2));
	p->mode = p->kind >= SMALL ? 2 : 4;
	p->pointers = 1u << RSP | 1u << pointers[below(4)] | 1u << pointers[below(4)];
	do
		p->index = below(2) ? pointers[below(4)] : below(8);
	while (p->pointers >> p->index & 1);
	p->start = CODE + 4096 + (below(3) ? below(64) : 4096 - below(64));
	p->cs_base = p->kind == FLAT ? 0 : (CODE - 16 * below(300) + 4096) & ~15u;
	while (p->n < want) {
		p->at[p->n++] = (uint16_t)p->len;
		if (!jump_left && !below(8)) {
			jump_at = skip(p);
			jump_left = 1 + below(4);
			continue;
		}
		if (!below(12)) {
			put_call(p);
		} else {
			propose(b, cpu_has(cpu, X_FEAT_AVX512F));
			if (insn_decode(b, INSN_MAX, p->mode, &in) != DECODE_OK ||
			    !usable(p, &in, cpu)) {
				p->n--;
				continue;
			}
			if (is_absolute(&in))
				fix_absolute(p, b, &in);
			put(p, b, in.len);
		}
		if (jump_left && (!--jump_left || p->len - jump_at > 80)) {
			p->bytes[jump_at - 1] = (uint8_t)(p->len - jump_at);
			jump_left = 0;
		}
	}
	if (jump_left)
		p->bytes[jump_at - 1] = (uint8_t)(p->len - jump_at);
	p->at[p->n] = (uint16_t)p->len;
	p->bytes[p->len++] = p->user ? 0xcc : 0xf4;
}

static void show(const struct prog *p, const struct x86_state *s)
{
	char text[128];
	struct insn in;

	printf("%s, user %d, pointers %02x, index %u\n", kind_name[p->kind], p->user, p->pointers,
	       p->index);
	for (unsigned i = 0; i < 6; i++)
		printf("seg %u: base %llx limit %x attr %x\n", i,
		       (unsigned long long)s->seg[i].base, s->seg[i].limit, s->seg[i].attr);
	for (unsigned i = 0; i < 8; i++)
		printf("r%c %llx%s", 'a' + i, (unsigned long long)s->gpr[i],
		       i % 4 == 3 ? "\n" : ", ");
	for (unsigned i = 0; i < p->n; i++) {
		const uint8_t *b = p->bytes + p->at[i];
		unsigned n = p->at[i + 1] - p->at[i];

		printf("%6x: ", p->start - p->cs_base + p->at[i]);
		for (unsigned k = 0; k < 12; k++)
			printf(k < n ? "%02x" : "  ", b[k]);
		if (insn_decode(b, INSN_MAX, p->mode, &in) == DECODE_OK)
			printf(" %s\n", insn_format(&in, p->start - p->cs_base + p->at[i], text,
						    sizeof(text)));
		else
			printf(" ?\n");
	}
}

/* ---- state ----------------------------------------------------------------------------------- */

static struct x86_seg any_seg(const struct prog *p, uint32_t base)
{
	struct x86_seg seg = rig_seg(p->user ? 0x1b : 0x10, p->user ? 0xc0f3 : 0xc093);

	if (p->kind == FLAT)
		return seg;
	seg.base = base & ~15u;
	seg.limit = 0xffff;
	if (p->kind == V86 || (p->kind == REAL && below(4))) {
		seg.attr = p->user ? 0x00f3 : 0x0093;
		seg.sel = (uint16_t)(seg.base >> 4);
		return seg;
	}
	if (!below(3))
		seg.limit = below(4) ? 4096 + below(0xf000) : UINT32_MAX;
	if (!below(8))
		seg.base = (uint32_t)0 - 16 * below(8192); /* around the end of 4 GiB */
	if (!below(3))
		seg.attr = (uint16_t)(seg.attr & ~SEG_DB);
	if (p->kind != REAL && !below(10))
		seg.attr = (uint16_t)((seg.attr & ~2u) | below(2) * 4);
	return seg;
}

static void load_segs(struct x86_state *s, const struct prog *p)
{
	struct x86_seg ss = any_seg(p, STACK - 0x8000);

	ss.attr |= 2; /* the stack is writable data, and CPL is there */
	s->seg[CS] = rig_seg(p->user ? 0x23 : 0x08, p->user ? 0x80fb : 0x809b);
	s->seg[CS].base = p->cs_base;
	if (p->mode == 4)
		s->seg[CS].attr |= SEG_DB;
	if (p->kind != FLAT)
		s->seg[CS].limit = p->kind >= REAL || below(2) ? 0xffff
				   : below(2)                  ? UINT32_MAX
							       : 8192 + below(8192);
	if (p->kind >= REAL)
		s->seg[CS].sel = (uint16_t)(p->cs_base >> 4);
	s->seg[SS] = ss;
	s->seg[DS] = any_seg(p, DATA + 16 * below(16));
	s->seg[ES] = any_seg(p, DATA + 16 * below(16));
	s->seg[FS] = any_seg(p, DATA + 0x800);
	s->seg[GS] = any_seg(p, DATA);
	if (p->kind == FLAT) {
		s->seg[FS].base = DATA + 0x800;
		s->seg[GS].base = 0xfffff000;
	}
}

static void load_mode(struct rig *r, const struct prog *p)
{
	struct x86_state *s = r->s;

	if (p->kind < REAL)
		return; /* 64-bit mode's, as compatibility mode */
	s->efer = 0;
	s->cr4 &= ~(uint64_t)CR4_PAE;
	s->cr0 &= ~(uint64_t)(CR0_PG | CR0_WP);
	if (p->kind == REAL) {
		s->cr0 &= ~(uint64_t)CR0_PE;
		s->idtr = (struct x86_dtr){0, 0x3ff};
	} else {
		s->idtr = (struct x86_dtr){IDT32, 0x7ff};
		s->rflags |= FL_VM | FL_IOPL;
	}
}

static void put_tables(struct rig *r)
{
	rig_tables(r);
	rig_put64(r, RIG_GDT + 56, UINT64_C(0x00cf9b000000ffff));
	rig_put64(r, RIG_TSS + 8, 0x10);
	for (unsigned v = 0; v < 256; v++) {
		uint32_t to = RIG_HANDLER + v * 16, vec = RIG_HANDLER << 12 | v * 16;

		memcpy(r->ram + v * 4, &vec, 4);
		rig_put64(r, IDT32 + v * 8,
			  (to & 0xffff) | 56 << 16 | UINT64_C(0xee00) << 32 |
				  (uint64_t)(to >> 16) << 48);
	}
}

static uint64_t any_offset(const struct prog *p, uint32_t flat_base)
{
	uint32_t off = below(4)   ? 512 + below(0x7000)
		       : below(2) ? 4096 * (1 + below(15)) - below(40)
		       : below(2) ? 0x10000 - below(20)
				  : below(40);

	return p->kind == FLAT ? flat_base + off : off;
}

static void load_state(struct rig *r, const struct prog *p, uint64_t seed)
{
	struct x86_state *s = r->s;
	uint64_t saved = rng;

	rng = seed | 1;
	put_tables(r);
	rig_reset(r, false);
	s->gdtr.limit = 0x3f;
	load_mode(r, p);
	load_segs(s, p);
	for (unsigned i = 0; i < 8; i++)
		s->gpr[i] = (uint32_t)(below(3) ? rnd() : below(2) ? below(256) : 0 - below(200));
	for (unsigned i = 0; i < 8; i++)
		if (p->pointers >> i & 1)
			s->gpr[i] = any_offset(p, DATA);
	s->gpr[RSP] = below(3) ? 0x8000 : any_offset(p, 0);
	if (p->kind == FLAT)
		s->gpr[RSP] = below(8) ? STACK + 4 * below(1024)
				       : CODE + 4096 + 0x600 + 4 * below(512); /* beside code */
	s->gpr[p->index] = below(4) ? below(64) : (uint32_t)(0 - below(64));
	for (unsigned i = 0; i < 2; i++)
		if (!(p->pointers >> (RSI + i) & 1) && p->index != RSI + i)
			s->gpr[RSI + i] = any_offset(p, DATA);
	if (p->index != RCX)
		s->gpr[RCX] = below(3) ? below(40) : below(3000);
	s->rflags |= 2 | (rnd() & FL_ARITH) | (below(6) ? 0 : FL_DF);
	rig_vectors(r, rnd);
	s->xsave.bytes[512] |= 1;
	s->rip = p->start - p->cs_base;
	memset(r->ram + CODE, 0x90, 3 * 4096);
	for (unsigned i = 0; i < DATA_SIZE; i += 8)
		rig_put64(r, DATA + i, below(2) ? rnd() : below(1000));
	memset(r->ram + STACK - 0x8000, 0x11, 0x10000);
	memset(r->ram + RIG_IST - 512, 0, 512);
	if (!below(4))
		*rig_pte(r, DATA + below(16) * 4096) &= ~UINT64_C(1);
	if (!below(4))
		*rig_pte(r, DATA + below(16) * 4096) &= ~UINT64_C(2);
	memcpy(r->ram + p->start, p->bytes, p->len);
	memcpy(tables, r->ram + TABLES, TABLES_SIZE);
	r->vm->engine->set_state(r->vcpu);
	r->vm->engine->memory_changed(r->vm, 0, MIB);
	rng = saved;
}

/* ---- comparison ------------------------------------------------------------------------------ */

static int differ(const char *what, uint64_t a, uint64_t b)
{
	if (a == b)
		return 0;
	printf("%s: soft %llx interp %llx\n", what, (unsigned long long)a, (unsigned long long)b);
	return 1;
}

/* Where the exception frame has the flags */
static gpa_t frame_flags(const struct rig *r, const struct prog *p)
{
	const struct x86_state *s = r->s;

	if (p->kind == V86) /* below the segments, SS and ESP; above CS and EIP */
		return RIG_IST - 28;
	if (p->kind == REAL)
		return (s->seg[SS].base + ((s->gpr[RSP] + 4) & 0xffff)) & (RIG_RAM - 1);
	return RIG_IST - 24;
}

/* down: it ended in a shutdown, maybe in the middle of a REP, whose pieces differ: RF says so. */
static int compare(const struct rig *a, const struct rig *b, const struct prog *p, bool down,
		   bool frames)
{
	bool fault = a->s->rip != p->start - p->cs_base + p->len &&
		     (a->s->rip & 0xfff) != VEC_BP * 16 + 1;
	uint64_t mask = ~(uint64_t)((fault && !frames ? FL_ARITH : 0) | (down ? FL_RF : 0));
	int bad = 0;

	for (unsigned i = 0; i < 16; i++) {
		char name[] = {'r', (char)('a' + i), 0};

		bad |= differ(name, a->s->gpr[i], b->s->gpr[i]);
	}
	bad |= differ("rip", a->s->rip, b->s->rip);
	bad |= differ("rflags", a->s->rflags & mask, b->s->rflags & mask);
	bad |= differ("cr2", a->s->cr2, b->s->cr2);
	bad |= differ("cs", a->s->seg[CS].base, b->s->seg[CS].base);
	bad |= rig_parts_differ(a, b);
	for (unsigned i = 32; i < 512; i++)
		if (a->s->xsave.bytes[i] != b->s->xsave.bytes[i] && !bad)
			bad |= differ("xsave", a->s->xsave.bytes[i], b->s->xsave.bytes[i]);
	if (fault && !frames) {
		memset(a->ram + frame_flags(a, p), 0, 2);
		memset(b->ram + frame_flags(a, p), 0, 2);
	}
	for (gpa_t at = 0; at < RIG_RAM && !bad; at += 4096)
		for (unsigned i = 0; i < 4096 && memcmp(a->ram + at, b->ram + at, 4096); i++)
			if (a->ram[at + i] != b->ram[at + i]) {
				printf("at %llx\n", (unsigned long long)at + i);
				return differ("memory", a->ram[at + i], b->ram[at + i]);
			}
	return bad;
}

/* It wrote over itself, or over the page tables: which of them a TLB still knows as they were is nobody's promise. */
static bool spoiled(const struct rig *r, const struct prog *p)
{
	for (unsigned i = 0; i < TABLES_SIZE / 8; i++)
		if ((tables[i] ^ ((uint64_t *)(void *)(r->ram + TABLES))[i]) &
		    ~UINT64_C(0x60)) /* A, D */
			return true;
	return memcmp(r->ram + p->start, p->bytes, p->len) != 0;
}

/* ---- runs ------------------------------------------------------------------------------------ */

/* A program whose stack lies where it writes may return anywhere, and never come to an end: it is stopped after so much
 * of the time that its thread has run. */
#define RUN_NS  (2 * NS_PER_SEC)
#define HANG_NS (10 * NS_PER_SEC)

static bool stopped(const struct rig *r)
{
	return atomic_load(&r->vcpu->requests) & REQ_STOP;
}

static enum exit_kind run(struct rig *r)
{
	struct vcpu_exit exit;

	watch_run(r->vcpu);
	r->s->activity = ACT_RUN;
	do
		r->vm->engine->run(r->vcpu, &exit);
	while (exit.kind == EXIT_NONE && !stopped(r));
	watch_run(NULL);
	return exit.kind;
}

int main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
	unsigned count = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 0) : 1500;
	struct soft_config soft = {.cache_bytes = argc > 3 ? strtoul(argv[3], NULL, 0) : 0,
				   .flush_every =
					   argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 0) : 0,
				   .hot = argc > 5   ? SOFT_HOT_ALWAYS
					  : seed & 1 ? SOFT_HOT_NEVER
						     : SOFT_HOT_SAMPLED,
				   .memo_runs = argc > 5 ? (uint32_t)strtoul(argv[5], NULL, 0) : 0,
				   .live_flags = argc > 6 && *argv[6] == 'l',
				   .no_bmi2 = argc > 6 && *argv[6] == 'b',
				   .tables = argc > 7 ? (uint32_t)strtoul(argv[7], NULL, 0) : 0};
	struct soft_config interp = {.interp = true};
	struct soft_stats st;
	static struct prog p;
	struct rig a, b;
	unsigned spoilt = 0;

	setbuf(stdout, NULL);
	watch_start(RUN_NS, HANG_NS);
	if (rig_open(&a, &soft) || rig_open(&b, &interp))
		return 1;
	for (unsigned i = 0; i < 2 * count; i++) {
		uint64_t prog_seed = seed + i / 2;

		rng = (prog_seed * UINT64_C(0x9e3779b97f4a7c15)) | 1;
		for (unsigned k = 0; k < 8; k++)
			rnd();
		generate(&p, rig_cpu(&a));
		/* Twice: the second time it runs from what the first has cached. */
		uint64_t state_seed = rnd() + i % 2;

		load_state(&a, &p, state_seed);
		load_state(&b, &p, state_seed);
		if (getenv("SHOW"))
			show(&p, a.s);
		enum exit_kind end = run(&a);
		bool differs = end != run(&b) || (stopped(&a) && !stopped(&b));

		if (spoiled(&a, &p) || spoiled(&b, &p) || stopped(&b)) {
			atomic_store(&a.vcpu->requests, 0);
			atomic_store(&b.vcpu->requests, 0);
			memset(a.ram, 0, RIG_RAM);
			memset(b.ram, 0, RIG_RAM);
			a.vm->engine->memory_changed(a.vm, 0, RIG_RAM);
			spoilt++;
		} else if (differs || compare(&a, &b, &p, end == EXIT_SHUTDOWN, soft.live_flags)) {
			load_state(&b, &p, state_seed);
			printf("seed %llu, run %u\n", (unsigned long long)prog_seed, i % 2);
			show(&p, b.s);
			return 1;
		}
	}
	soft_stats_read(a.vm, &st);
	printf("seed %llu: %u programs agree (%u runs wrote over themselves); %llu blocks, %llu insns, "
	       "%llu slow, %llu by the interpreter, %llu faults\n",
	       (unsigned long long)seed, count, spoilt, (unsigned long long)st.blocks,
	       (unsigned long long)st.insns, (unsigned long long)st.slow,
	       (unsigned long long)st.exec, (unsigned long long)st.faults);
	rig_close(&a);
	rig_close(&b);
	return 0;
}
