/* SPDX-License-Identifier: ISC */
/* lockstep.c: the interpreter against the processor underneath. Random instructions of ring 3, in
 * 64-bit and 32-bit mode, with random registers, flags, x87, SSE, AVX and AVX-512 state and memory, are
 * run by cpu_step() and natively (sides.h); everything must agree, exceptions included.
 *
 *	lockstep [seed [count [opcode filter]]]	*/
#include <stdio.h>

#include "tests/diff/sides.h"
#include "tests/diff/values.h"
#include "x86/optab.h"

/* ---- instructions ---- */

static bool wanted(const struct insn *in, unsigned mode)
{
	const struct insn_row *row = in->row;

	if (row->feature && !cpu_has(&rig->cpu, row->feature))
		return false;
	if (row->attr & AT_CPL0 || in->seg_pfx == 0x64 || in->seg_pfx == 0x65)
		return false;
	switch (in->mnem) {
	case I_RDRAND:
	case I_RDSEED:
	case I_FWAIT:  /* compared by the others that wait */
	case I_XGETBV: /* host's XCR0 */
	case I_XSAVE:
	case I_XSAVEC:
	case I_XSAVEOPT:
	case I_XRSTOR:
		return in->mnem == I_FWAIT;
	/* 16-bit near branches in 64-bit mode: vendors differ */
	case I_SYSENTER:
	case I_SYSCALL:
		return false;
	case I_VPINSRD: /* W outside of 64-bit mode: ignored, or #UD */
	case I_VPEXTRD:
	case I_VPCMPESTRI:
	case I_VPCMPESTRM:
		return mode == 8 || !in->vex_w;
	case I_NOP: /* 0F 0D with a register: #UD for AMD */
		return !(in->map == 1 && in->opcode == 0x0d);
	default:
		break;
	}
	switch (row->cls) {
	case CLS_IO:
	case CLS_FAR:
		return false;
	case CLS_STACK:
		return in->mnem != I_PUSHSR && in->mnem != I_POPSR && in->mnem != I_POPF;
	case CLS_SYS:
		return in->mnem == I_XLAT || in->mnem == I_LDMXCSR || in->mnem == I_VLDMXCSR ||
		       in->mnem == I_CLD || in->mnem == I_STD || in->mnem == I_BOUND ||
		       (in->mnem >= I_VMASKMOVPS && in->mnem <= I_VPGATHERQQ) ||
		       row->attr & AT_VSIB || in->mnem == I_MASKMOVQ || in->mnem == I_MASKMOVDQU ||
		       in->mnem == I_VMASKMOVDQU || in->mnem == I_ARPL || in->mnem == I_DAA ||
		       in->mnem == I_DAS || in->mnem == I_AAA || in->mnem == I_AAS ||
		       in->mnem == I_AAM || in->mnem == I_AAD || in->mnem == I_SALC ||
		       in->mnem == I_UD2;
	case CLS_JMP_IND:
	case CLS_CALL_IND:
	case CLS_RET:
	case CLS_JMP:
	case CLS_JCC:
	case CLS_CALL:
	case CLS_LOOP:
		return !(mode == 8 && in->opsize_pfx) && !in->rep;
	default:
		return true;
	}
}

static unsigned put_prefixes(uint8_t *p, unsigned mode)
{
	unsigned n = 0;

	if (!below(4))
		p[n++] = 0x66;
	if (!below(12))
		p[n++] = 0xf2;
	else if (!below(6))
		p[n++] = 0xf3;
	if (!below(12))
		p[n++] = 0x67;
	if (!below(24))
		p[n++] = 0xf0;
	if (!below(30))
		p[n++] = (uint8_t[]){0x2e, 0x36, 0x3e, 0x26}[below(4)];
	if (mode == 8 && below(2))
		p[n++] = (uint8_t)(0x40 | below(16));
	return n;
}

/* One encoding of each row of the table in each mode, as far as ModRM, so that all come up */
#define ROWS_MAX 4096u
static struct form {
	uint8_t len, bytes[8];
} forms[2][ROWS_MAX];

static void vary(uint8_t *p, const struct form *f, unsigned mode)
{
	unsigned last = f->len - 1u;

	memcpy(p, f->bytes, f->len);
	if (below(2)) /* a shift's count, which is another row if it is 0 */
		p[f->len] = f->bytes[f->len];
	p[last] ^= p[last] < 0xc0 && !below(4) ? 0 : (uint8_t)below(8); /* other registers */
	if (p[0] == 0x62) {
		p[1] ^= (uint8_t)(rnd() & (mode == 8 ? 0xf0 : 0x30));
		if (below(2)) /* length, opmask */
			p[3] ^= (uint8_t)(rnd() & (mode != 8 ? 0x67 : below(2) ? 0xff : 0x6f));
	}
	if ((p[0] == 0x62 || p[0] == 0xc4) && below(2))
		p[2] ^= (uint8_t)(rnd() & (mode == 8 ? 0x78 : 0x38));
}

static unsigned row_of(const struct insn *in)
{
	return (unsigned)((const struct optab_row *)(const void *)in->row - optab_rows);
}

static unsigned only; /* this row, if it is not 0 */

static void from_row(uint8_t *p, unsigned mode)
{
	static unsigned turn[2];
	unsigned n = only;
	struct insn in;

	while (!forms[mode == 8][n].len)
		n = turn[mode == 8]++ % ROWS_MAX;
	for (unsigned i = 0; i < 16; i++) {
		vary(p, &forms[mode == 8][n], mode);
		if (insn_decode(p, INSN_MAX, mode, &in) == DECODE_OK && row_of(&in) == n)
			break;
	}
}

/* Random bytes that are likely to be an instruction. */
static void candidate(uint8_t *p, unsigned mode)
{
	unsigned n;

	for (unsigned i = 0; i < INSN_MAX; i++)
		p[i] = (uint8_t)rnd();
	if (only || !below(4)) {
		from_row(p, mode);
		return;
	}
	switch (below(cpu_has(&rig->cpu, X_FEAT_AVX512F) ? 11 : 8)) {
	case 8:
	case 9:
	case 10: /* EVEX */
		p[0] = 0x62;
		p[1] = (uint8_t)((rnd() & 0xf0) | (1 + below(3)));
		p[2] = (uint8_t)(rnd() | 4 | (below(3) ? 0 : 0x78));
		p[3] |= below(2) ? 8 : 0;
		if (below(2))
			p[3] &= 0x6f;
		break;
	case 0:
	case 1: /* VEX3 */
		p[0] = 0xc4;
		p[1] = (uint8_t)((rnd() & 0xe0) | (1 + below(3)));
		if (mode != 8)
			p[1] |= 0xc0;
		if (below(3))
			p[2] = (uint8_t)((below(2) << 7) | (below(3) ? 0x78 : rnd() & 0x78) |
					 below(8));
		return;
	case 2:
		p[0] = 0xc5;
		if (mode != 8)
			p[1] |= 0xc0;
		return;
	case 3:
	case 4:
	case 5:
		n = put_prefixes(p, mode);
		p[n++] = 0x0f;
		if (!below(3))
			p[n] = below(2) ? 0x38 : 0x3a;
		return;
	case 6:
		n = put_prefixes(p, mode);
		p[n] = (uint8_t)(0xd8 + below(8));
		return;
	default:
		put_prefixes(p, mode);
		return;
	}
	if (mode != 8) { /* EVEX, not BOUND; registers 0 to 7 */
		p[1] |= 0xc0;
		p[3] |= 8;
	}
}

/* Byte off of a vector register in the image */
static unsigned vec_at(unsigned reg, unsigned off)
{
	if (reg >= 16)
		return part_at(XS_PART_HI_ZMM) + (reg - 16) * 64 + off;
	if (off < 32)
		return (off < 16 ? FX_XMM : XS_AVX) + reg * 16 + off % 16;
	return part_at(XS_PART_ZMM_HI) + reg * 32 + off - 32;
}

/* Makes the memory operand lie in (or at the edge of, or outside of) the data. */
static bool aim(struct insn *in, uint8_t *code, struct regs *r, unsigned mode)
{
	struct insn_mem *m = &in->mem;
	unsigned slack = below(8) ? 0x800 : 0;
	uint64_t target = DATA + (slack ? 0x400 + below(DATA_SIZE - 0x800) : 0), mask;
	uint64_t rest = (uint64_t)m->disp;

	if (!slack) /* edges, unmapped, not canonical */
		target = (uint64_t[]){DATA + 4096 - below(40), HOLE - below(40), HOLE + 64,
				      mode == 8 ? 0x8000000000000000 : HOLE + 8,
				      DATA + 4096 * 2 - 1}[below(5)];
	if (below(3))
		target &= ~UINT64_C(0x1f);
	mask = size_mask(m->addr_size);
	if (m->addr_size == 2)
		return false;          /* below the host's lowest mapping */
	if (in->row->attr & AT_VSIB) { /* small indices */
		for (unsigned i = 0; i < 16; i++) {
			uint32_t v = in->opcode & 1 && i & 1 ? 0 : below(64);

			memcpy(r->fp + vec_at((unsigned)m->index & 31, i * 4), &v, 4);
		}
	} else if (m->index >= 0) {
		if (m->base != m->index)
			r->gpr[m->index] = below(256);
		rest += r->gpr[m->index] * m->scale;
	}
	if (m->rip_rel) {
		int32_t disp = (int32_t)(target - (CODE_AT + in->len));
		unsigned at = in->len - in->imm_bytes - 4u;

		if (target >> 32)
			return false;
		memcpy(code + at, &disp, 4);
		return true;
	}
	if (m->base < 0) {
		int32_t disp = (int32_t)target;
		unsigned at = in->len - in->imm_bytes - in->disp_bytes;

		if (in->disp_bytes != 4 || (m->index >= 0 && !(in->row->attr & AT_VSIB)))
			return false;
		if (target >> 31)
			return false;
		memcpy(code + at, &disp, 4);
		return true;
	}
	if (m->base == m->index && !(in->row->attr & AT_VSIB)) {
		r->gpr[m->base] = (target - (uint64_t)m->disp) / (m->scale + 1u) & mask;
		return true;
	}
	r->gpr[m->base] = (target - rest) & mask;
	if (m->addr_size == 4 && mode == 8 && below(2))
		r->gpr[m->base] |= rnd() << 32;
	return true;
}

static void random_fp(struct regs *r)
{
	uint16_t fcw = 0x37f, fsw = 0, fop;
	uint32_t mxcsr = 0x1f80;
	uint64_t v;

	memset(r->fp, 0, IMAGE);
	if (!below(3))
		fcw = (uint16_t)((rnd() & 0xf00) | 0x7f);
	if (!below(8))
		fcw = (uint16_t)((rnd() & 0xf3f) | 0x40);
	fsw = (uint16_t)(rnd() & 0x7f00);
	if (!below(6))
		fsw |= (uint16_t)(rnd() & fcw & 0x3f); /* masked ones */
	fop = 0;
	if (!below(3))
		mxcsr = (uint32_t)(rnd() & 0xe07f) | 0x1f80;
	if (!below(8))
		mxcsr = (uint32_t)(rnd() & 0xffff) | 0x0800; /* underflow: see run_unmasked() */
	memcpy(r->fp + FX_FCW, &fcw, 2);
	memcpy(r->fp + FX_FSW, &fsw, 2);
	r->fp[FX_FTW] = (uint8_t)(below(3) ? 0xff : rnd());
	memcpy(r->fp + FX_FOP, &fop, 2);
	memcpy(r->fp + FX_MXCSR, &mxcsr, 4);
	for (unsigned i = 0; i < 8; i++) {
		uint16_t exp = (uint16_t)((below(2) << 15) | (16383 - 40 + below(80)));

		v = rnd() | BIT64(63);
		if (!below(3)) {
			exp = (uint16_t[]){0, 0x8000, 0x7fff, 0xffff, 1, 0x7ffe, 0x3fff}[below(7)];
			v = (uint64_t[]){0, BIT64(63), UINT64_C(3) << 62, 1, UINT64_MAX}[below(5)];
		}
		memcpy(r->fp + FX_ST + i * 16, &v, 8);
		memcpy(r->fp + FX_ST + i * 16 + 8, &exp, 2);
	}
	for (unsigned i = 0; i < 32; i++) {
		v = value_vec();
		memcpy(r->fp + FX_XMM + i * 8, &v, 8);
	}
	for (unsigned n = 0; n < XS_PART_PKRU; n++)
		for (unsigned i = 0; parts() & xs_parts[n].bit && i < xs_parts[n].size; i += 8) {
			v = n == XS_PART_OPMASK ? value() : value_vec();
			memcpy(r->fp + part_at(n) + i, &v, 8);
		}
}

/* ---- comparison ---- */

static unsigned failures, shown;

static void show(const char *side, const struct regs *r)
{
	printf("  %s: vector %d error %llx rip %llx flags %llx\n", side, r->vector,
	       (unsigned long long)r->error, (unsigned long long)r->rip,
	       (unsigned long long)r->flags);
	for (unsigned i = 0; i < 16; i++)
		printf("%s%016llx",
		       i % 4 ? " "
		       : i   ? "\n    "
			     : "    ",
		       (unsigned long long)r->gpr[i]);
	printf("\n");
}

/* What cannot be known from a masked run (see run_unmasked()): whether a result that overflows or
 * underflows unmasked is exact as well, and which step of a dot product was first. */
static bool mxcsr_differs(const struct regs *a, const struct regs *b, const struct insn *in)
{
	uint32_t x, y, free_bits = 0;

	memcpy(&x, a->fp + FX_MXCSR, 4);
	memcpy(&y, b->fp + FX_MXCSR, 4);
	if (a->vector == 19 && ~(x >> 7) & x & 0x18)
		free_bits = 0x20;
	if (a->vector == 19 && (in->mnem == I_DPPS || in->mnem == I_DPPD || in->mnem == I_VDPPS ||
				in->mnem == I_VDPPD))
		free_bits = 0x3f;
	return (x ^ y) & ~free_bits;
}

static const char *fp_differs(const struct regs *a, const struct regs *b, const struct insn *in)
{
	static const char *const names[] = {"YMM", "opmasks", "ZMM", "ZMM16 to 31"};

	if (memcmp(a->fp, b->fp, 4))
		return "FCW/FSW";
	if (a->fp[4] != b->fp[4])
		return "FTW";
	if (mxcsr_differs(a, b, in))
		return "MXCSR";
	for (unsigned i = 0; i < 8; i++)
		if (memcmp(a->fp + FX_ST + i * 16, b->fp + FX_ST + i * 16, 10))
			return "ST";
	if (memcmp(a->fp + FX_XMM, b->fp + FX_XMM, 256))
		return "XMM";
	for (unsigned i = 0; i < XS_PART_PKRU; i++)
		if (parts() & xs_parts[i].bit &&
		    memcmp(a->fp + part_at(i), b->fp + part_at(i), xs_parts[i].size))
			return names[i];
	/* not all processors load them without a pending exception */
	if (in->mnem != I_FRSTOR && in->mnem != I_FLDENV && in->mnem != I_FXRSTOR &&
	    memcmp(a->fp + FX_FIP, b->fp + FX_FIP, 16))
		return "FIP/FDP";
	return NULL;
}

/* Flags that the manual leaves undefined, where the interpreter has code of its own */
static uint64_t undefined(unsigned mnem)
{
	switch (mnem) {
	case I_AAA:
	case I_AAS:
		return FL_OF | FL_SF | FL_ZF | FL_PF;
	case I_AAM:
	case I_AAD:
		return FL_OF | FL_AF | FL_CF;
	case I_DAA:
	case I_DAS:
		return FL_OF;
	default:
		return 0;
	}
}

static const char *differs(const struct regs *host, const struct regs *guest, const struct insn *in)
{
	const uint64_t flags = (FL_ARITH | FL_DF) & ~undefined(in->mnem);

	/* MXCSR.MM is AMD's, and not announced */
	if (host->vector < 0 && guest->vector == 13 &&
	    (in->mnem == I_FXRSTOR || in->mnem == I_LDMXCSR || in->mnem == I_VLDMXCSR))
		return NULL;
	if (host->vector != guest->vector)
		return "exception";
	if (host->rip != guest->rip)
		return "rip";
	if (memcmp(host->gpr, guest->gpr, in->mode == 8 ? 128 : 64))
		return "registers";
	if ((host->flags ^ guest->flags) & flags)
		return "flags";
	/* Intel's MOVBE stores byte by byte, and FSTP the exponent after the rest: a fault in the second
	 * page comes after that */
	if (memcmp((void *)(uintptr_t)DATA, rig->ram + GPA_DATA, DATA_SIZE) &&
	    !((in->mnem == I_MOVBE || in->mnem == I_FBSTP ||
	       (in->mnem == I_FSTP && in->opnd[0].size == 10)) &&
	      host->vector == 14))
		return "memory";
	return fp_differs(host, guest, in);
}

static void report(const char *what, const uint8_t *code, const struct insn *in,
		   const struct regs *start, const struct regs *host, const struct regs *guest)
{
	char text[128];

	failures++;
	if (shown++ > 20)
		return;
	printf("%s differ: mode %u:", what, in->mode);
	for (unsigned i = 0; i < in->len; i++)
		printf(" %02x", code[i]);
	printf("  %s\n", insn_format(in, CODE_AT, text, sizeof(text)));
	show("start", start);
	show("host ", host);
	show("guest", guest);
	printf("  FCW FSW: start %02x%02x %02x%02x host %02x%02x %02x%02x guest %02x%02x %02x%02x\n",
	       start->fp[1], start->fp[0], start->fp[3], start->fp[2], host->fp[1], host->fp[0],
	       host->fp[3], host->fp[2], guest->fp[1], guest->fp[0], guest->fp[3], guest->fp[2]);
	printf("  MXCSR: start %02x%02x host %02x%02x guest %02x%02x\n", start->fp[25],
	       start->fp[24], host->fp[25], host->fp[24], guest->fp[25], guest->fp[24]);
	for (unsigned i = 0; i < DATA_SIZE; i++)
		if (((uint8_t *)(uintptr_t)DATA)[i] != rig->ram[GPA_DATA + i]) {
			printf("  memory at %x: start %02x host %02x guest %02x\n", DATA + i,
			       before[i], ((uint8_t *)(uintptr_t)DATA)[i], rig->ram[GPA_DATA + i]);
			break;
		}
	for (unsigned i = 0; i < IMAGE; i++)
		if ((i < FX_XMM + 256 || i >= XS_AVX) && host->fp[i] != guest->fp[i]) {
			printf("  FP image at %u: start %02x host %02x guest %02x\n", i,
			       start->fp[i], host->fp[i], guest->fp[i]);
			break;
		}
}

/* A branch whose target the host cannot fetch has happened all the same. */
static void settle_branch(struct regs *host, const struct insn *in)
{
	bool branch = in->row->cls >= CLS_JMP && in->row->cls <= CLS_RET;

	if (branch && host->vector == 14 && host->rip != CODE_AT)
		host->vector = -1;
	if (branch && host->vector == 13 && host->rip != CODE_AT)
		host->vector = -1;
}

/* New contents once in a while: making them costs more than the rest of a turn. */
static void random_data(unsigned cls)
{
	static unsigned age, last;

	bool targets = cls == CLS_JMP_IND || cls == CLS_CALL_IND || cls == CLS_RET;

	if (age++ % 32 && !targets && !last)
		return;
	last = targets;
	for (unsigned i = 0; i < DATA_SIZE; i += 8) {
		uint64_t v = value_vec();

		memcpy(before + i, &v, 8);
	}
}

/* ---- coverage ---- */

static bool seen[ROWS_MAX];

/* len: with ModRM */
static void note(const uint8_t *p, unsigned mode, unsigned len)
{
	struct insn in;
	struct form *f;

	if (insn_decode(p, INSN_MAX, mode, &in) != DECODE_OK || !wanted(&in, mode))
		return;
	f = &forms[mode == 8][row_of(&in)];
	f->len = (uint8_t)len;
	memcpy(f->bytes, p, sizeof(f->bytes));
}

/* Every instruction that the harness could run, by walking the encodings. */
static void survey(void)
{
	static const uint8_t pfx[] = {0x3e, 0x66, 0xf2, 0xf3};
	static const uint8_t maps[4][2] = {{0}, {0x0f}, {0x0f, 0x38}, {0x0f, 0x3a}};

	for (unsigned n = 0; n < 4 * 4 * 256 * 256; n++) {
		unsigned map = n >> 18, modrm = n & 0xff, at = 1;
		uint8_t p[INSN_MAX] = {pfx[n >> 16 & 3]};

		for (unsigned i = 0; i < (map > 1 ? 2 : map); i++)
			p[at++] = maps[map][i];
		p[at++] = (uint8_t)(n >> 8);
		p[at++] = (uint8_t)modrm;
		note(p, 8, at);
		note(p, 4, at);
	}
	for (unsigned n = 0; n < 3 << 17; n++) { /* EVEX: map, W, pp, opcode, mod, reg, opmask, L */
		uint8_t p[INSN_MAX] = {0x62};

		p[1] = (uint8_t)(0xf1 + (n >> 17));
		p[2] = (uint8_t)(0x7c | (n >> 9 & 0x80) | (n >> 14 & 3));
		p[3] = (uint8_t)((n & 1) | 8 | (n & 2 ? 0x40 : 0));
		p[4] = (uint8_t)(n >> 6);
		p[5] = (uint8_t)((n >> 2 & 7) << 3 | (n & 32 ? 0xc0 : 0x04));
		p[6] = 0x08;
		note(p, 8, 6);
		note(p, 4, 6);
	}
	for (unsigned n = 0; n < 3 * 16 * 256 * 16; n++) {
		uint8_t p[INSN_MAX] = {0xc4};

		p[1] = (uint8_t)(0xe1 + (n >> 16));
		p[2] = (uint8_t)((n >> 12 & 8) << 4 | 0x78 | (n >> 12 & 7));
		p[3] = (uint8_t)(n >> 4);
		p[4] = (uint8_t)((n & 7) << 3 | (n & 8 ? 0xc0 : 0x04));
		p[5] = 0x08;
		note(p, 8, 5);
		note(p, 4, 5);
	}
}

static bool one(unsigned mode, int filter)
{
	struct regs start, host, guest;
	uint8_t code[INSN_MAX + 1];
	struct insn in, again;
	const char *what;

	memset(code, 0xcc, sizeof(code));
	candidate(code, mode);
	if (insn_decode(code, INSN_MAX, mode, &in) != DECODE_OK || !wanted(&in, mode))
		return false;
	if (filter >= 0 && in.mnem != filter)
		return false;
	memset(&start, 0, sizeof(start));
	for (unsigned i = 0; i < (mode == 8 ? 16 : 8); i++)
		start.gpr[i] = mode == 8 ? value() : value() & 0xffffffff;
	start.rip = CODE_AT;
	start.flags = rnd() & (FL_ARITH | FL_DF);
	random_fp(&start);
	if (below(4))
		start.flags &= ~FL_DF;
	/* stack, string and implicit addresses */
	start.gpr[RSP] = DATA + 0x2000 + below(64) * 8;
	if (in.row->cls == CLS_STACK && in.mnem == I_LEAVE)
		start.gpr[RBP] = DATA + 0x1000 + below(0x800);
	if (in.mnem == I_ENTER)
		start.gpr[RBP] = DATA + 0x1000 + below(0x800);
	if (in.row->cls == CLS_STRING || in.mnem == I_MASKMOVDQU || in.mnem == I_MASKMOVQ ||
	    in.mnem == I_VMASKMOVDQU) {
		start.gpr[RSI] = DATA + 0x800 + below(0x1800);
		start.gpr[RDI] = DATA + 0x800 + below(0x1800);
		start.gpr[RCX] = below(8) ? below(40) : below(700);
		if (in.rep && in.mem.addr_size == 2)
			return false;
	}
	if (in.row->cls == CLS_STRING && in.mem.addr_size == 2)
		return false;
	if (in.mnem == I_XLAT) {
		if (in.mem.addr_size == 2)
			return false;
		start.gpr[RBX] = DATA + below(0x3000);
	}
	if ((in.mnem == I_MASKMOVDQU || in.mnem == I_MASKMOVQ || in.mnem == I_VMASKMOVDQU) &&
	    in.mem.addr_size == 2)
		return false;
	if (in.row->cls >= CLS_JMP && in.row->cls <= CLS_CALL) { /* nor into itself */
		uint64_t target = CODE_AT + in.len + in.imm;

		if (target - (CODE_AT - 16) < 32 || target >> 63) /* vsyscall page */
			return false;
	}
	if (in.row->cls == CLS_JMP_IND || in.row->cls == CLS_CALL_IND)
		for (unsigned i = 0; i < 16; i++)
			if (i != RSP)
				start.gpr[i] = CODE + below(0x7f0);
	random_data(in.row->cls);
	if (in.row->cls == CLS_JMP_IND || in.row->cls == CLS_CALL_IND || in.row->cls == CLS_RET)
		for (unsigned i = 0; i < DATA_SIZE; i += 4) {
			uint32_t v = mode == 8 && i & 4 ? 0 : CODE + below(0x7f0);

			memcpy(before + i, &v, 4);
		}
	if (in.has_mem && in.row->cls != CLS_LEA && in.row->cls != CLS_NOP &&
	    !aim(&in, code, &start, mode))
		return false;
	if (in.row->attr & AT_BITSTR && in.has_mem && in.opnd[1].kind == OP_GPR &&
	    (in.opnd[1].reg == (uint8_t)in.mem.base || in.opnd[1].reg == (uint8_t)in.mem.index))
		return false;
	if (in.row->attr & AT_BITSTR && in.has_mem && in.opnd[1].kind == OP_GPR)
		start.gpr[in.opnd[1].reg] = (uint64_t)((int64_t)below(8192) - 4096) &
					    (mode == 8 ? UINT64_MAX : UINT32_MAX);
	if (in.row->cls == CLS_MOVABS) {
		uint64_t t = DATA + below(DATA_SIZE - 8);

		if (in.mem.addr_size == 2)
			return false;
		memcpy(code + in.len - in.mem.addr_size, &t, in.mem.addr_size);
	}
	if (insn_decode(code, INSN_MAX, mode, &again) != DECODE_OK || again.len != in.len)
		return false;
	in = again;

	seen[row_of(&in)] = true;
	memset(code + in.len, 0xcc, sizeof(code) - in.len);
	memcpy((void *)(uintptr_t)CODE_AT, code, sizeof(code));
	memcpy(rig->ram + GPA_CODE + (CODE_AT - CODE), code, sizeof(code));
	memcpy((void *)(uintptr_t)DATA, before, DATA_SIZE);
	memcpy(rig->ram + GPA_DATA, before, DATA_SIZE);
	host = start;
	guest = start;
	host_mode = mode;
	run_native(&host);
	settle_branch(&host, &in);
	if (in.mnem == I_FXSAVE && host.vector < 0) { /* MXCSR_MASK: MM is not announced */
		rig->cpu.s.rip = CODE_AT;
		memcpy(rig->cpu.s.gpr, start.gpr, sizeof(start.gpr));
		memset((void *)(uintptr_t)(cpu_ea(&rig->cpu, &in) + FX_MASK + 2), 0, 2);
	}
	run_guest(&guest, mode);
	what = differs(&host, &guest, &in);
	if (what)
		report(what, code, &in, &start, &host, &guest);
	return true;
}

/* Rows that have not come up are tried alone. Returns how many never do. */
static unsigned coverage(void)
{
	unsigned all = 0, missed = 0;

	for (unsigned n = 0; n < ROWS_MAX; n++) {
		if (!forms[0][n].len && !forms[1][n].len)
			continue;
		only = n;
		for (unsigned i = 0; i < 4000 && !seen[n]; i++)
			one(forms[1][n].len ? 8 : 4, -1);
		all++;
		if (seen[n])
			continue;
		missed++;
		printf("not seen: row %u, %s\n", n, insn_name(&optab_rows[n].r));
	}
	printf("%u of %u rows\n", all - missed, all);
	return missed;
}

int main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
	unsigned long count = argc > 2 ? strtoul(argv[2], NULL, 0) : 200000, done = 0;
	int filter = argc > 3 ? atoi(argv[3]) : -1;
	unsigned missed = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("seed %llu\n", (unsigned long long)seed);
	rng = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	guest_setup();
	survey();
	host_setup();
	memset((void *)(uintptr_t)CODE, 0xcc, 4096);
	memset(rig->ram + GPA_CODE, 0xcc, 4096);
	while (done < count)
		done += one(below(4) ? 8 : 4, filter);
	if (filter < 0)
		missed = coverage();
	printf("%lu instructions, %u differences\n", done, failures);
	return failures || missed ? 1 : 0;
}
