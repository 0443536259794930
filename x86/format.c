/* SPDX-License-Identifier: ISC */
/* format.c: a decoded instruction as text in Intel's syntax, for logs and reproducers. Any thread. */
#include "base/str.h"
#include "x86/insn.h"

struct text {
	char *buf;
	size_t size, len;
};

static void add(struct text *t, const char *s)
{
	if (t->len + 1 >= t->size)
		return;
	str_copy(t->buf + t->len, t->size - t->len, s);
	t->len += str_len(t->buf + t->len);
}

static void add_num(struct text *t, const char *fmt, uint64_t v)
{
	char num[32];

	str_format(num, sizeof(num), "0x%llx", (unsigned long long)v);
	add(t, fmt);
	add(t, num);
}

static const char *const gpr8[16] = {"al",  "cl",  "dl",   "bl",   "spl",  "bpl",  "sil",  "dil",
				     "r8b", "r9b", "r10b", "r11b", "r12b", "r13b", "r14b", "r15b"};
static const char *const gpr8h[4] = {"ah", "ch", "dh", "bh"};
static const char *const gpr16[16] = {"ax",  "cx",  "dx",   "bx",   "sp",   "bp",   "si",   "di",
				      "r8w", "r9w", "r10w", "r11w", "r12w", "r13w", "r14w", "r15w"};
static const char *const gpr32[16] = {"eax", "ecx", "edx",  "ebx",  "esp",  "ebp",  "esi",  "edi",
				      "r8d", "r9d", "r10d", "r11d", "r12d", "r13d", "r14d", "r15d"};
static const char *const gpr64[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
				      "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
static const char *const sregs[8] = {"es", "cs", "ss", "ds", "fs", "gs", "?", "?"};

static const char *gpr_name(unsigned reg, unsigned size, bool high8)
{
	reg &= 15;
	switch (size) {
	case 1:
		return high8 ? gpr8h[reg & 3] : gpr8[reg];
	case 2:
		return gpr16[reg];
	case 4:
		return gpr32[reg];
	default:
		return gpr64[reg];
	}
}

static const char *vec_name(unsigned size)
{
	return size == 64 ? "zmm" : size == 32 ? "ymm" : "xmm";
}

static void add_reg(struct text *t, const struct insn_opnd *o)
{
	static const char *const name[] = {
		[OP_CR] = "cr", [OP_DR] = "dr", [OP_ST] = "st", [OP_MM] = "mm", [OP_K] = "k",
	};
	char num[24];

	if (o->kind == OP_GPR) {
		add(t, gpr_name(o->reg, o->size, o->high8));
	} else if (o->kind == OP_SREG) {
		add(t, sregs[o->reg & 7]);
	} else {
		const char *s = o->kind != OP_VEC ? name[o->kind] : vec_name(o->size);

		str_format(num, sizeof(num), "%s%u", s, o->reg);
		add(t, num);
	}
}

static void add_vsib(struct text *t, const struct insn *in)
{
	/* Four-byte indices of eight-byte elements take half a register */
	bool half = !(in->opcode & 1) && in->vex_w;
	unsigned size = MAX(16u << in->vex_l >> half, 16u);
	char num[24];

	str_format(num, sizeof(num), "%s%d", vec_name(size), in->mem.index);
	add(t, num);
}

static void add_mem(struct text *t, const struct insn *in, unsigned size, uint64_t rip)
{
	static const char *const ptr[17] = {
		[1] = "byte ",  [2] = "word ",   [4] = "dword ",    [6] = "fword ",
		[8] = "qword ", [10] = "tbyte ", [16] = "xmmword ",
	};
	const struct insn_mem *m = &in->mem;
	uint64_t mask = m->addr_size == 8 ? ~UINT64_C(0) : BIT64(m->addr_size * 8) - 1;
	bool some = false;

	add(t, size == 64                ? "zmmword "
	       : size == 32              ? "ymmword "
	       : size <= 16 && ptr[size] ? ptr[size]
					 : "");
	if (in->seg_pfx && (in->mode != 8 || m->seg >= FS)) {
		add(t, sregs[m->seg & 7]);
		add(t, ":");
	}
	add(t, "[");
	if (m->rip_rel) {
		add_num(t, "rel ", (rip + in->len + (uint64_t)m->disp) & mask);
		add(t, "]");
		return;
	}
	if (m->base >= 0) {
		add(t, gpr_name((unsigned)m->base, m->addr_size, false));
		some = true;
	}
	if (m->index >= 0) {
		char scale[8];

		add(t, some ? "+" : "");
		if (in->row->attr & AT_VSIB)
			add_vsib(t, in);
		else
			add(t, gpr_name((unsigned)m->index, m->addr_size, false));
		str_format(scale, sizeof(scale), "*%u", m->scale);
		add(t, m->scale > 1 ? scale : "");
		some = true;
	}
	if (!some)
		add_num(t, "", (uint64_t)m->disp & mask);
	else if (m->disp)
		add_num(t, m->disp < 0 ? "-" : "+",
			m->disp < 0 ? -(uint64_t)m->disp : (uint64_t)m->disp);
	add(t, "]");
}

/* A string operand: the first of MOVS is the destination, and so on */
static void add_string(struct text *t, const struct insn *in, unsigned i)
{
	bool dst = in->mnem == I_STOS || in->mnem == I_SCAS || in->mnem == I_INS ||
		   (in->mnem == I_MOVS && i == 0) || (in->mnem == I_CMPS && i == 1);

	add(t, dst ? "es" : sregs[in->mem.seg & 7]);
	add(t, ":[");
	add(t, gpr_name(dst ? RDI : RSI, in->addr_size, false));
	add(t, "]");
}

static void add_opnd(struct text *t, const struct insn *in, unsigned i, uint64_t rip)
{
	const struct insn_opnd *o = &in->opnd[i];
	uint64_t mask = o->size >= 8 || !o->size ? ~UINT64_C(0) : BIT64(o->size * 8) - 1;

	switch (o->kind) {
	case OP_MEM:
		if (in->has_mem)
			add_mem(t, in, o->size, rip);
		else
			add_string(t, in, i);
		break;
	case OP_IMM:
		add_num(t, "", in->imm & mask);
		break;
	case OP_IMM2:
		add_num(t, "", in->imm2);
		break;
	case OP_REL:
		add_num(t, "", (rip + in->len + in->imm) & mask);
		break;
	case OP_NONE:
		break;
	default:
		add_reg(t, o);
	}
}

/* The opmask, with the first operand; whether EVEX.b is set */
static void add_evex(struct text *t, const struct insn *in)
{
	char num[16];

	if (insn_mask(in)) {
		str_format(num, sizeof(num), "{k%u}", insn_mask(in));
		add(t, num);
	}
	add(t, insn_zeroes(in) ? "{z}" : "");
	add(t, insn_evex_b(in) ? "{b}" : "");
}

static void add_prefixes(struct text *t, const struct insn *in)
{
	if (in->lock)
		add(t, "lock ");
	if (in->rep && in->row->attr & AT_REP) {
		bool cmp = in->mnem == I_CMPS || in->mnem == I_SCAS;

		add(t, in->rep == 0xf2 ? "repne " : cmp ? "repe " : "rep ");
	}
}

/* One string after another, and where each starts: programs that print none have none. */
static const struct {
	char s_INVALID[sizeof("(invalid)")];
#define MNEM(id, text) char s_##id[sizeof(text)];
#include "x86/mnem.def"
#undef MNEM
} texts = {
	.s_INVALID = "(invalid)",
#define MNEM(id, text) .s_##id = text,
#include "x86/mnem.def"
#undef MNEM
};

const char *insn_name(const struct insn_row *row)
{
	static const uint16_t at[I_COUNT] = {
#define MNEM(id, text) [I_##id] = offsetof(__typeof__(texts), s_##id),
#include "x86/mnem.def"
#undef MNEM
	};

	return (const char *)&texts + at[row->mnem];
}

char *insn_format(const struct insn *in, uint64_t rip, char *buf, size_t size)
{
	struct text t = {.buf = buf, .size = size};

	if (!size)
		return buf;
	buf[0] = 0;
	add_prefixes(&t, in);
	if (in->mnem == I_NOP && in->map == 1 && in->opcode == 0x1e && in->rep == 0xf3 &&
	    (in->modrm & 0xfe) == 0xfa) {
		add(&t, in->modrm == 0xfa ? "endbr64" : "endbr32");
		return buf;
	}
	add(&t, insn_name(in->row));
	if (in->row->cls == CLS_STRING || in->row->cls == CLS_IO) {
		for (unsigned i = 0; i < in->n_opnd; i++) {
			if (in->opnd[i].kind != OP_MEM)
				continue;
			add(&t, in->opnd[i].size == 1   ? "b"
				: in->opnd[i].size == 2 ? "w"
				: in->opnd[i].size == 4 ? "d"
							: "q");
			break;
		}
	}
	for (unsigned i = 0; i < in->n_opnd; i++) {
		add(&t, i ? "," : " ");
		add_opnd(&t, in, i, rip);
		if (!i && in->enc == ENC_EVEX)
			add_evex(&t, in);
	}
	return buf;
}
