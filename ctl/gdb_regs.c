/* SPDX-License-Identifier: ISC */
/* gdb_regs.c: registers for gdb, a row each: name, width with either description, where it is.
 *
 * The first features are gdb's own (org.gnu.gdb.i386.*): it wants their names and sizes as they are
 * here. The last is ours: gdb shows what it does not know under the names that we give. Main thread. */
#include "ctl/gdb_regs.h"

#include <stdio.h>
#include <string.h>

enum kind {
	K_GPR, /* n: enum x86_gpr */
	K_RIP,
	K_FLAGS,
	K_SEL,  /* n: enum x86_sreg */
	K_ST,   /* n: from the top */
	K_X87,  /* n: place in x87[] below */
	K_XMM,  /* n */
	K_YMMH, /* n */
	K_ZMMH, /* n */
	K_MASK, /* n: opmask register */
	K_MXCSR,
	K_BASE, /* n: enum x86_sreg */
	K_CR,   /* n: number */
	K_DR,   /* n: number */
	K_MSR,  /* addr: its number */
	K_RO,   /* addr: offset in struct x86_state, n: bytes there */
};

struct row {
	const char *name;
	const char *type;
	uint16_t bits64, bits32; /* 0: not there */
	uint8_t kind, n;
	uint32_t addr;
};

#define GPR(name, n)                                   \
	{                                              \
		"r" name, "int64", 64, 32, K_GPR, n, 0 \
	}
#define GPR64(name, n)                                \
	{                                             \
		"r" name, "int64", 64, 0, K_GPR, n, 0 \
	}
#define SEL(name, n)                               \
	{                                          \
		name, "int32", 32, 32, K_SEL, n, 0 \
	}
#define ST(n)                                           \
	{                                               \
		"st" #n, "i387_ext", 80, 80, K_ST, n, 0 \
	}
#define X87(name, n)                             \
	{                                        \
		name, "int", 32, 32, K_X87, n, 0 \
	}
#define XMM(n, bits32)                                       \
	{                                                    \
		"xmm" #n, "vec128", 128, bits32, K_XMM, n, 0 \
	}
#define YMMH(n, bits32)                                            \
	{                                                          \
		"ymm" #n "h", "uint128", 128, bits32, K_YMMH, n, 0 \
	}
#define ZMMH(n, bits32)                                            \
	{                                                          \
		"zmm" #n "h", "v2ui128", 256, bits32, K_ZMMH, n, 0 \
	}
#define MASK(n)                                        \
	{                                              \
		"k" #n, "uint64", 64, 64, K_MASK, n, 0 \
	}
#define HIGH(M)                                                                                   \
	M(16, 0), M(17, 0), M(18, 0), M(19, 0), M(20, 0), M(21, 0), M(22, 0), M(23, 0), M(24, 0), \
		M(25, 0), M(26, 0), M(27, 0), M(28, 0), M(29, 0), M(30, 0), M(31, 0)
#define RO(name, field)                                                              \
	{                                                                            \
		name, "int64", 64, 64, K_RO, sizeof(((struct x86_state *)0)->field), \
			offsetof(struct x86_state, field)                            \
	}
#define MSR(name, number)                               \
	{                                               \
		name, "int64", 64, 64, K_MSR, 0, number \
	}

/* clang-format off */
static const struct row core[] = {
	GPR("ax", RAX), GPR("bx", RBX), GPR("cx", RCX), GPR("dx", RDX), GPR("si", RSI),
	GPR("di", RDI), {"rbp", "data_ptr", 64, 32, K_GPR, RBP, 0},
	{"rsp", "data_ptr", 64, 32, K_GPR, RSP, 0},
	GPR64("8", R8), GPR64("9", R9), GPR64("10", R10), GPR64("11", R11), GPR64("12", R12),
	GPR64("13", R13), GPR64("14", R14), GPR64("15", R15),
	{"rip", "code_ptr", 64, 32, K_RIP, 0, 0}, {"eflags", "i386_eflags", 32, 32, K_FLAGS, 0, 0},
	SEL("cs", CS), SEL("ss", SS), SEL("ds", DS), SEL("es", ES), SEL("fs", FS), SEL("gs", GS),
	ST(0), ST(1), ST(2), ST(3), ST(4), ST(5), ST(6), ST(7),
	X87("fctrl", 0), X87("fstat", 1), X87("ftag", 2), X87("fiseg", 3), X87("fioff", 4),
	X87("foseg", 5), X87("fooff", 6), X87("fop", 7),
};
static const struct row sse[] = {
	XMM(0, 128), XMM(1, 128), XMM(2, 128), XMM(3, 128), XMM(4, 128), XMM(5, 128), XMM(6, 128),
	XMM(7, 128), XMM(8, 0), XMM(9, 0), XMM(10, 0), XMM(11, 0), XMM(12, 0), XMM(13, 0),
	XMM(14, 0), XMM(15, 0), {"mxcsr", "i386_mxcsr", 32, 32, K_MXCSR, 0, 0},
};
static const struct row segments[] = {
	{"fs_base", "int64", 64, 0, K_BASE, FS, 0}, {"gs_base", "int64", 64, 0, K_BASE, GS, 0},
};
static const struct row avx[] = {
	YMMH(0, 128), YMMH(1, 128), YMMH(2, 128), YMMH(3, 128), YMMH(4, 128), YMMH(5, 128),
	YMMH(6, 128), YMMH(7, 128), YMMH(8, 0), YMMH(9, 0), YMMH(10, 0), YMMH(11, 0),
	YMMH(12, 0), YMMH(13, 0), YMMH(14, 0), YMMH(15, 0),
};
static const struct row avx512[] = {
	MASK(0), MASK(1), MASK(2), MASK(3), MASK(4), MASK(5), MASK(6), MASK(7),
	ZMMH(0, 256), ZMMH(1, 256), ZMMH(2, 256), ZMMH(3, 256), ZMMH(4, 256), ZMMH(5, 256),
	ZMMH(6, 256), ZMMH(7, 256), ZMMH(8, 0), ZMMH(9, 0), ZMMH(10, 0), ZMMH(11, 0),
	ZMMH(12, 0), ZMMH(13, 0), ZMMH(14, 0), ZMMH(15, 0),
	HIGH(XMM), HIGH(YMMH), HIGH(ZMMH),
};
static const struct row system_regs[] = {
	MSR("k_gs_base", 0xc0000102),
	{"cr0", "cr0_flags", 64, 64, K_CR, 0, 0}, {"cr2", "int64", 64, 64, K_CR, 2, 0},
	{"cr3", "int64", 64, 64, K_CR, 3, 0}, {"cr4", "cr4_flags", 64, 64, K_CR, 4, 0},
	{"cr8", "int64", 64, 64, K_CR, 8, 0}, {"efer", "efer_flags", 64, 64, K_MSR, 0, 0xc0000080},
	RO("xcr0", xcr0),
	{"dr0", "int64", 64, 64, K_DR, 0, 0}, {"dr1", "int64", 64, 64, K_DR, 1, 0},
	{"dr2", "int64", 64, 64, K_DR, 2, 0}, {"dr3", "int64", 64, 64, K_DR, 3, 0},
	{"dr6", "int64", 64, 64, K_DR, 6, 0}, {"dr7", "int64", 64, 64, K_DR, 7, 0},
	RO("gdt_base", gdtr.base), RO("gdt_limit", gdtr.limit), RO("idt_base", idtr.base),
	RO("idt_limit", idtr.limit), RO("ldtr", ldtr.sel), RO("ldt_base", ldtr.base),
	RO("tr", tr.sel), RO("tss_base", tr.base),
	RO("cs_base", seg[CS].base), RO("ss_base", seg[SS].base), RO("ds_base", seg[DS].base),
	RO("es_base", seg[ES].base),
	{"fs_base", "int64", 0, 64, K_RO, 8, offsetof(struct x86_state, seg[FS].base)},
	{"gs_base", "int64", 0, 64, K_RO, 8, offsetof(struct x86_state, seg[GS].base)},
	MSR("star", 0xc0000081), MSR("lstar", 0xc0000082), MSR("cstar", 0xc0000083),
	MSR("sfmask", 0xc0000084), MSR("sysenter_cs", 0x174), MSR("sysenter_esp", 0x175),
	MSR("sysenter_eip", 0x176), MSR("pat", 0x277), MSR("tsc_aux", 0xc0000103),
	MSR("debugctl", 0x1d9), MSR("apic_base", 0x1b), RO("pkru", pkru),
	RO("activity", activity), RO("shadow", shadow), RO("nmi_blocked", nmi_blocked),
};

#define FIELD(name, bit) "<field name=\"" name "\" start=\"" #bit "\" end=\"" #bit "\"/>"
#define FLAGS(id, size)  "<flags id=\"" id "\" size=\"" #size "\">"
static const char core_types[] =
	FLAGS("i386_eflags", 4)
	FIELD("", 22) FIELD("CF", 0) FIELD("", 1) FIELD("PF", 2) FIELD("AF", 4) FIELD("ZF", 6)
	FIELD("SF", 7) FIELD("TF", 8) FIELD("IF", 9) FIELD("DF", 10) FIELD("OF", 11) FIELD("NT", 14)
	FIELD("RF", 16) FIELD("VM", 17) FIELD("AC", 18) FIELD("VIF", 19) FIELD("VIP", 20)
	FIELD("ID", 21) "</flags>";
#define VEC128 \
	"<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/>" \
	"<vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>" \
	"<vector id=\"v16i8\" type=\"int8\" count=\"16\"/>" \
	"<vector id=\"v8i16\" type=\"int16\" count=\"8\"/>" \
	"<vector id=\"v4i32\" type=\"int32\" count=\"4\"/>" \
	"<vector id=\"v2i64\" type=\"int64\" count=\"2\"/>" \
	"<union id=\"vec128\"><field name=\"v4_float\" type=\"v4f\"/>" \
	"<field name=\"v2_double\" type=\"v2d\"/><field name=\"v16_int8\" type=\"v16i8\"/>" \
	"<field name=\"v8_int16\" type=\"v8i16\"/><field name=\"v4_int32\" type=\"v4i32\"/>" \
	"<field name=\"v2_int64\" type=\"v2i64\"/><field name=\"uint128\" type=\"uint128\"/></union>"
static const char sse_types[] =
	VEC128
	FLAGS("i386_mxcsr", 4)
	FIELD("IE", 0) FIELD("DE", 1) FIELD("ZE", 2) FIELD("OE", 3) FIELD("UE", 4) FIELD("PE", 5)
	FIELD("DAZ", 6) FIELD("IM", 7) FIELD("DM", 8) FIELD("ZM", 9) FIELD("OM", 10)
	FIELD("UM", 11) FIELD("PM", 12) FIELD("FZ", 15) "</flags>";
static const char avx512_types[] = VEC128 "<vector id=\"v2ui128\" type=\"uint128\" count=\"2\"/>";
static const char system_types[] =
	FLAGS("cr0_flags", 8)
	FIELD("PE", 0) FIELD("MP", 1) FIELD("EM", 2) FIELD("TS", 3) FIELD("ET", 4) FIELD("NE", 5)
	FIELD("WP", 16) FIELD("AM", 18) FIELD("NW", 29) FIELD("CD", 30) FIELD("PG", 31) "</flags>"
	FLAGS("cr4_flags", 8)
	FIELD("VME", 0) FIELD("PVI", 1) FIELD("TSD", 2) FIELD("DE", 3) FIELD("PSE", 4)
	FIELD("PAE", 5) FIELD("MCE", 6) FIELD("PGE", 7) FIELD("PCE", 8) FIELD("OSFXSR", 9)
	FIELD("OSXMMEXCPT", 10) FIELD("UMIP", 11) FIELD("LA57", 12) FIELD("VMXE", 13)
	FIELD("FSGSBASE", 16) FIELD("PCIDE", 17) FIELD("OSXSAVE", 18) FIELD("SMEP", 20)
	FIELD("SMAP", 21) FIELD("PKE", 22) "</flags>"
	FLAGS("efer_flags", 8)
	FIELD("SCE", 0) FIELD("LME", 8) FIELD("LMA", 10) FIELD("NXE", 11) FIELD("SVME", 12)
	FIELD("FFXSR", 14) "</flags>";

static const struct feature {
	const char *name, *types;
	const struct row *rows;
	unsigned n;
	bool avx512; /* if the model has it */
} features[] = {
	{"org.gnu.gdb.i386.core", core_types, core, ARRAY_SIZE(core)},
	{"org.gnu.gdb.i386.sse", sse_types, sse, ARRAY_SIZE(sse)},
	{"org.gnu.gdb.i386.segments", "", segments, ARRAY_SIZE(segments)},
	{"org.gnu.gdb.i386.avx", "", avx, ARRAY_SIZE(avx)},
	{"org.gnu.gdb.i386.avx512", avx512_types, avx512, ARRAY_SIZE(avx512), true},
	{"org.vigia.x86.system", system_types, system_regs, ARRAY_SIZE(system_regs)},
};
/* clang-format on */

static const char *const arch_names[GDB_ARCHES] = {
	[GDB_X86_64] = "x86-64",
	[GDB_I386] = "i386",
	[GDB_I8086] = "i8086",
};

int gdb_arch_find(const char *name)
{
	for (int i = 0; i < GDB_ARCHES; i++)
		if (!strcmp(name, arch_names[i]))
			return i;
	return strcmp(name, "auto") ? -2 : -1;
}

static unsigned bits_of(const struct row *r, struct gdb_form form)
{
	return form.arch == GDB_X86_64 ? r->bits64 : r->bits32;
}

static bool has(struct gdb_form form, const struct feature *ft)
{
	return form.avx512 || !ft->avx512;
}

/* Numbers count what the description has. */
static const struct row *row_of(struct gdb_form form, unsigned n)
{
	for (unsigned f = 0; f < ARRAY_SIZE(features); f++)
		for (unsigned i = 0; has(form, &features[f]) && i < features[f].n; i++)
			if (bits_of(&features[f].rows[i], form) && !n--)
				return &features[f].rows[i];
	return NULL;
}

unsigned gdb_regs_count(struct gdb_form form)
{
	unsigned n = 0;

	while (row_of(form, n))
		n++;
	return n;
}

unsigned gdb_reg_size(struct gdb_form form, unsigned n)
{
	const struct row *r = row_of(form, n);

	return r ? bits_of(r, form) / 8 : 0;
}

/* ---- the description -------------------------------------------------------------------------- */

/* rax is eax in a narrow description, and so on. */
static void name_of(const struct row *r, struct gdb_form form, char *name, size_t size)
{
	snprintf(name, size, "%s", r->name);
	if (form.arch != GDB_X86_64 && (r->kind == K_GPR || r->kind == K_RIP))
		name[0] = 'e';
}

static const char *type_of(const struct row *r, struct gdb_form form)
{
	return bits_of(r, form) == 32 && !strcmp(r->type, "int64") ? "int32" : r->type;
}

size_t gdb_target_xml(struct gdb_form form, char *buf, size_t size)
{
	FILE *f = fmemopen(buf, size, "w");
	size_t len;

	if (!f)
		return 0;
	fprintf(f,
		"<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\">"
		"<target version=\"1.0\"><architecture>%s</architecture>",
		form.arch == GDB_X86_64 ? "i386:x86-64" : arch_names[form.arch]);
	for (unsigned i = 0; i < ARRAY_SIZE(features); i++) {
		const struct feature *ft = &features[i];

		if (!has(form, ft) || !bits_of(&ft->rows[0], form))
			continue;
		fprintf(f, "<feature name=\"%s\">%s", ft->name, ft->types);
		for (const struct row *r = ft->rows; r < ft->rows + ft->n; r++) {
			char name[32];

			name_of(r, form, name, sizeof(name));
			if (bits_of(r, form))
				fprintf(f, "<reg name=\"%s\" bitsize=\"%u\" type=\"%s\"%s/>", name,
					bits_of(r, form), type_of(r, form),
					r->kind == K_X87 ? " group=\"float\"" : "");
		}
		fprintf(f, "</feature>");
	}
	fprintf(f, "</target>");
	len = (size_t)ftell(f);
	return fclose(f) || len >= size ? 0 : len;
}

/* ---- reading ---------------------------------------------------------------------------------- */

/* The legacy region of the XSAVE image (SDM vol. 1, table 10-2) */
#define FX_MXCSR 24
#define FX_ST    32
#define FX_XMM   160
#define XS_BV    512
#define XS_YMMH  576
#define FX_TAG   2u /* place in x87[] */

/* fctrl, fstat, ftag, fiseg, fioff, foseg, fooff, fop: place, bytes there, valid bits */
static const struct {
	uint8_t off, size;
	uint32_t valid;
} x87[] = {{0, 2, 0x1f3f},     {2, 2, 0xffff},  {4, 1, 0xff},        {12, 2, 0xffff},
	   {8, 4, 0xffffffff}, {20, 2, 0xffff}, {16, 4, 0xffffffff}, {6, 2, 0x7ff}};

static uint64_t load(const void *p, unsigned size)
{
	uint64_t v = 0;

	memcpy(&v, p, MIN(size, 8u));
	return v;
}

static uint8_t *high_zmm(struct cpu *cpu, unsigned n)
{
	return cpu->s.xsave.bytes + cpu->i.xs_at[XS_PART_HI_ZMM] + (n - 16) * 64;
}

/* The component of the image that it is in */
static uint64_t component_of(const struct row *r)
{
	if (r->kind == K_MASK)
		return XCR0_OPMASK;
	if (r->kind == K_ZMMH && r->n < 16)
		return XCR0_ZMM_HI;
	if (r->kind == K_ZMMH || ((r->kind == K_XMM || r->kind == K_YMMH) && r->n >= 16))
		return XCR0_HI_ZMM;
	if (r->kind == K_YMMH)
		return XCR0_AVX;
	return r->kind == K_XMM || r->kind == K_MXCSR ? XCR0_SSE : XCR0_X87;
}

/* Those of the FP image; NULL: not one of them. */
static uint8_t *image_of(struct cpu *cpu, const struct row *r)
{
	uint8_t *b = cpu->s.xsave.bytes;

	switch (r->kind) {
	case K_ST:
		return b + FX_ST + r->n * 16;
	case K_XMM:
		return r->n < 16 ? b + FX_XMM + r->n * 16 : high_zmm(cpu, r->n);
	case K_YMMH:
		return r->n < 16 ? b + XS_YMMH + r->n * 16 : high_zmm(cpu, r->n) + 16;
	case K_ZMMH:
		return r->n < 16 ? b + cpu->i.xs_at[XS_PART_ZMM_HI] + r->n * 32
				 : high_zmm(cpu, r->n) + 32;
	case K_MASK:
		return b + cpu->i.xs_at[XS_PART_OPMASK] + r->n * 8;
	case K_MXCSR:
		return b + FX_MXCSR;
	case K_X87:
		return b + x87[r->n].off;
	default:
		return NULL;
	}
}

static uint64_t number_of(struct cpu *cpu, const struct row *r)
{
	const struct x86_state *s = &cpu->s;
	uint64_t v = 0;

	switch ((enum kind)r->kind) {
	case K_GPR:
		return s->gpr[r->n];
	case K_RIP:
		return s->rip;
	case K_FLAGS:
		return s->rflags;
	case K_SEL:
		return s->seg[r->n].sel;
	case K_BASE:
		return s->seg[r->n].base;
	case K_CR:
		return r->n == 0   ? s->cr0
		       : r->n == 2 ? s->cr2
		       : r->n == 3 ? s->cr3
		       : r->n == 4 ? s->cr4
				   : cpu->ops->cr8_read(cpu);
	case K_DR:
		return s->dr[r->n];
	case K_MSR:
		return cpu_msr_read(cpu, r->addr, &v) ? 0 : v;
	case K_RO:
		return load((const uint8_t *)s + r->addr, r->n);
	case K_X87:
		if (r->n == FX_TAG)
			return cpu_x87_tags(cpu);
		return load(image_of(cpu, r), x87[r->n].size);
	default:
		return 0;
	}
}

void gdb_reg_get(struct cpu *cpu, struct gdb_form form, unsigned n, uint8_t *buf)
{
	const struct row *r = row_of(form, n);
	unsigned size = bits_of(r, form) / 8;
	uint64_t v;

	if (r->kind != K_X87 && image_of(cpu, r)) {
		memcpy(buf, image_of(cpu, r), size);
		return;
	}
	v = number_of(cpu, r);
	memcpy(buf, &v, size);
}

/* ---- writing ---------------------------------------------------------------------------------- */

#define FLAGS_OPEN                                                                              \
	(FL_ARITH | FL_TF | FL_IF | FL_DF | FL_IOPL | FL_NT | FL_RF | FL_AC | FL_VIF | FL_VIP | \
	 FL_ID)

static int set_selector(struct cpu *cpu, unsigned n, uint64_t v)
{
	struct x86_seg *seg = &cpu->s.seg[n];

	if (v == seg->sel)
		return 0;
	/* Elsewhere a descriptor would have to be loaded: the guest's business. */
	if (v > 0xffff || ((cpu->s.cr0 & CR0_PE) && !(cpu->s.rflags & FL_VM)))
		return ERR_INVAL;
	seg->sel = (uint16_t)v;
	seg->base = v << 4;
	return 0;
}

static int set_dr(struct cpu *cpu, unsigned n, uint64_t v)
{
	if (n >= 6 && v >> 32)
		return ERR_INVAL;
	if (n == 6)
		v = (v & 0xe00f) | 0xffff0ff0;
	if (n == 7)
		v = (v & 0xffff2bff) | 0x400;
	cpu->s.dr[n] = v;
	return 0;
}

static int set_image(struct cpu *cpu, const struct row *r, unsigned size, const uint8_t *buf)
{
	uint64_t bv = component_of(r), v = load(buf, size);
	uint8_t *p = image_of(cpu, r);

	if ((r->kind == K_MXCSR && v > 0xffff) || (bv & ~(cpu->s.xcr0 | XCR0_X87 | XCR0_SSE)))
		return ERR_INVAL;
	if (r->kind == K_X87) {
		v = r->n == FX_TAG ? cpu_x87_abridge((unsigned)v) : v & x87[r->n].valid;
		memcpy(p, &v, x87[r->n].size);
	} else {
		memcpy(p, buf, size);
	}
	bv |= load(cpu->s.xsave.bytes + XS_BV, 8);
	memcpy(cpu->s.xsave.bytes + XS_BV, &bv, 8);
	return 0;
}

static int set_number(struct cpu *cpu, const struct row *r, uint64_t v)
{
	struct x86_state *s = &cpu->s;

	switch ((enum kind)r->kind) {
	case K_GPR:
		s->gpr[r->n] = v;
		return 0;
	case K_RIP:
		s->rip = v;
		return 0;
	case K_FLAGS:
		s->rflags = (s->rflags & ~(uint64_t)FLAGS_OPEN) | (v & FLAGS_OPEN);
		return 0;
	case K_SEL:
		return set_selector(cpu, r->n, v);
	case K_BASE:
		return cpu_msr_write(cpu, r->n == FS ? 0xc0000100 : 0xc0000101, v) ? ERR_INVAL : 0;
	case K_CR:
		return cpu_cr_write(cpu, r->n, v) ? ERR_INVAL : 0;
	case K_DR:
		return set_dr(cpu, r->n, v);
	case K_MSR:
		return cpu_msr_write(cpu, r->addr, v) ? ERR_INVAL : 0;
	default:
		return ERR_INVAL;
	}
}

int gdb_reg_set(struct debug *d, unsigned vcpu, struct gdb_form form, unsigned n,
		const uint8_t *buf)
{
	const struct row *r = row_of(form, n);
	unsigned size = bits_of(r, form) / 8;
	uint8_t now[GDB_REG_MAX];
	struct cpu *cpu = debug_load(d, vcpu);
	int err;

	if (!cpu)
		return ERR_IO;
	if (image_of(cpu, r)) {
		cpu_fpu_flatten(cpu);
		err = set_image(cpu, r, size, buf);
	} else {
		/* gdb writes all registers back when it has changed one. */
		gdb_reg_get(cpu, form, n, now);
		if (!memcmp(now, buf, size))
			return 0;
		err = set_number(cpu, r, load(buf, size));
	}
	return err ? err : debug_store(d);
}
