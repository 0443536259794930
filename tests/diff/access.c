/* SPDX-License-Identifier: ISC */
/* access.c: what the instruction table says about CLS_COPY rows, against the processor itself.
 *
 * Random instructions run natively from a stub that loads and stores all registers; the memory
 * operand ends just before an unmapped page. Registers, flags and memory that the row does not name
 * as written must stay; what it does not name as read must make no difference; one byte more must
 * fault, a read-only page must fault just where memory is written, misalignment just where AT_ALIGN
 * says so. Needs a host that has the instruction: others are skipped and counted. Options: number
 * of instructions, seed. */
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "x86/encode.h"
#include "x86/interp.h"

/* All below 2 GiB: absolute 32-bit addresses need no register */
#define CODE      0x30000000u
#define STATE     0x30010000u
#define MEM_RW    0x30100000u /* a page, then nothing */
#define MEM_RO    0x30200000u /* the same page read-only, then nothing */
#define XSAVE_MAX 4096u

struct regs {
	uint64_t gpr[16], flags;
};

/* At STATE */
struct state {
	struct regs in, out;
	uint64_t host_rsp;
	_Alignas(64) uint8_t xin[XSAVE_MAX];
	_Alignas(64) uint8_t xout[XSAVE_MAX];
	_Alignas(64) uint8_t xhost[XSAVE_MAX];
};
static struct state *const st = (struct state *)(uintptr_t)STATE;
static uint8_t *const mem_rw = (uint8_t *)(uintptr_t)MEM_RW;
static uint8_t *const code = (uint8_t *)(uintptr_t)CODE;

static uint64_t rng_state;
static bool amd; /* the host's vendor */

static uint64_t rnd(void)
{
	uint64_t z = (rng_state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static unsigned below(unsigned n)
{
	return (unsigned)(rnd() % n);
}

/* Values that make carries, zeros and small quotients likely */
static uint64_t value(void)
{
	switch (below(4)) {
	case 0:
		return below(16);
	case 1:
		return (uint64_t)(int64_t)(int8_t)rnd();
	case 2:
		return rnd() >> below(64);
	default:
		return rnd();
	}
}

/* ---- the stub ---- */

static uint8_t *emit(uint8_t *p, const char *hex)
{
	for (; hex[0]; hex += 2) {
		char two[3] = {hex[0], hex[1], 0};

		*p++ = (uint8_t)strtoul(two, NULL, 16);
	}
	return p;
}

/* op /reg with [disp32] */
static uint8_t *emit_abs(uint8_t *p, unsigned rex, const char *op, unsigned reg, const void *at)
{
	uint32_t disp = (uint32_t)(uintptr_t)at;

	if (rex || reg & 8)
		*p++ = (uint8_t)(0x40 | rex | (reg & 8) >> 1);
	p = emit(p, op);
	*p++ = (uint8_t)((reg & 7) << 3 | 4);
	*p++ = 0x25;
	memcpy(p, &disp, 4);
	return p + 4;
}

/* The components that instructions here use; AMX's alone has more bytes than XSAVE_MAX. */
#define XS_MASK "0x2e7"
static uint8_t *emit_mask(uint8_t *p)
{
	return emit(p, "b8e702000031d2"); /* mov eax,2e7h; xor edx,edx */
}

static void make_stub(const uint8_t *insn, unsigned len)
{
	uint8_t *p = emit(code, "5355415441554156415757"); /* push rbx rbp r12-r15 rdi */

	p = emit_abs(p, 8, "89", RSP, &st->host_rsp);
	p = emit_mask(p);
	p = emit_abs(p, 8, "0fae", 4, st->xhost); /* xsave64 */
	p = emit_mask(p);
	p = emit_abs(p, 8, "0fae", 5, st->xin); /* xrstor64 */
	p = emit_abs(p, 0, "ff", 6, &st->in.flags);
	p = emit(p, "9d");
	for (unsigned i = 0; i < 16; i++)
		if (i != RSP)
			p = emit_abs(p, 8, "8b", i, &st->in.gpr[i]);
	memcpy(p, insn, len);
	p += len;
	for (unsigned i = 0; i < 16; i++)
		if (i != RSP)
			p = emit_abs(p, 8, "89", i, &st->out.gpr[i]);
	p = emit(p, "9c");
	p = emit_abs(p, 0, "8f", 0, &st->out.flags);
	p = emit_mask(p);
	p = emit_abs(p, 8, "0fae", 4, st->xout);
	p = emit_mask(p);
	p = emit_abs(p, 8, "0fae", 5, st->xhost);
	emit(p, "5f415f415e415d415c5d5bfcc3");
}

static sigjmp_buf escape;

static void on_fault(int sig, siginfo_t *info, void *ctx)
{
	(void)info;
	(void)ctx;
	siglongjmp(escape, sig);
}

/* 0, or the signal. FP state after a fault is the guest's, hence the reload. */
static int run_stub(void)
{
	int sig = sigsetjmp(escape, 0);

	if (sig) {
		__asm__ volatile("mov $" XS_MASK
				 ", %%eax; xor %%edx, %%edx; xrstor64 (%0); cld" ::"r"(st->xhost)
				 : "rax", "rdx", "memory");
		return sig;
	}
	((void (*)(void))(uintptr_t)CODE)();
	return 0;
}

/* ---- the checks ---- */

static unsigned long n_run, n_skip, n_bad;

struct trial {
	struct insn in; /* as random bytes had it */
	const struct insn_opnd *mem;
	uint8_t enc[INSN_MAX];
	unsigned len;
	uint32_t reg_read, reg_write; /* explicit and implicit */
};

static void bad(const struct trial *t, const char *what, unsigned long detail)
{
	char text[96];

	if (n_bad++ >= 40)
		return;
	insn_format(&t->in, 0, text, sizeof(text));
	for (unsigned i = 0; i < t->in.len; i++)
		printf("%02x", t->in.bytes[i]);
	printf(" %s: %s (%lx)\n", text, what, detail);
}

static bool encode_at(struct trial *t, uint32_t addr)
{
	struct insn_subst s = {.base = -1, .index = -1, .disp = (int32_t)addr};

	for (unsigned i = 0; i < 16; i++)
		s.gpr[i] = (uint8_t)i;
	if (insn_encode(&t->in, &s, t->enc, &t->len) != ENCODE_OK)
		return false;
	make_stub(t->enc, t->len);
	return true;
}

static void gather_use(struct trial *t)
{
	t->mem = NULL;
	t->reg_read = t->in.row->gpr_read;
	t->reg_write = t->in.row->gpr_write;
	for (unsigned i = 0; i < t->in.n_opnd; i++) {
		const struct insn_opnd *o = &t->in.opnd[i];

		if (o->kind == OP_MEM)
			t->mem = o;
		if (o->kind != OP_GPR || o->field == FIELD_IMPLICIT)
			continue;
		if (o->acc & ACC_R)
			t->reg_read |= BIT(o->reg);
		if (o->acc & ACC_W)
			t->reg_write |= BIT(o->reg);
	}
}

static void compare_regs(const struct trial *t, const struct regs *a, const struct regs *b)
{
	uint32_t done = 0;

	for (unsigned i = 0; i < t->in.n_opnd; i++) {
		const struct insn_opnd *o = &t->in.opnd[i];
		uint64_t mask = o->size == 1 ? 0xff : o->size == 2 ? 0xffff : ~UINT64_C(0);

		if (o->kind != OP_GPR || !(o->acc & ACC_W) || o->field == FIELD_IMPLICIT ||
		    t->in.row->gpr_write & BIT(o->reg))
			continue;
		mask <<= o->high8 ? 8 : 0;
		done |= BIT(o->reg);
		/* Two operands may be halves of one register */
		if (!(o->acc & ACC_R) && t->reg_read & BIT(o->reg))
			mask = ~UINT64_C(0);
		if ((a->gpr[o->reg] ^ b->gpr[o->reg]) & mask)
			bad(t, "result depends on something not read; register", o->reg);
	}
	for (unsigned r = 0; r < 16; r++)
		if (t->reg_write & BIT(r) & ~done && a->gpr[r] != b->gpr[r])
			bad(t, "implicit result depends on something not read; register", r);
	if ((a->flags ^ b->flags) & t->in.row->fl_write & ~t->in.row->fl_undef)
		bad(t, "flags depend on something not read", a->flags ^ b->flags);
}

/* Offset of the vector register file's low parts in the XSAVE image */
static uint8_t *xmm(uint8_t *image, unsigned reg)
{
	return image + 160 + reg * 16;
}

static void check_vectors(const struct trial *t)
{
	uint32_t written = 0;

	for (unsigned i = 0; i < t->in.n_opnd; i++)
		if (t->in.opnd[i].kind == OP_VEC && t->in.opnd[i].acc & ACC_W)
			written |= BIT(t->in.opnd[i].reg);
	if (t->in.mnem == I_VZEROALL)
		written = 0xffff;
	if (t->in.mnem == I_PCMPESTRM || t->in.mnem == I_PCMPISTRM || t->in.mnem == I_VPCMPESTRM ||
	    t->in.mnem == I_VPCMPISTRM)
		written |= 1; /* XMM0 has no operand */
	for (unsigned r = 0; r < 16; r++)
		if (!(written & BIT(r)) && memcmp(xmm(st->xin, r), xmm(st->xout, r), 16))
			bad(t, "vector register changed", r);
}

static void check_memory(struct trial *t)
{
	unsigned size = t->mem->size;
	bool writes = t->mem->acc & ACC_W;
	int sig;

	if (t->mem->acc) {
		encode_at(t, MEM_RW + 4096 - size + 1);
		if (run_stub() != SIGSEGV)
			bad(t, "does not reach as far as its size", size);
	}
	encode_at(t, MEM_RO + 4096 - size);
	sig = run_stub();
	if (writes ? sig != SIGSEGV : sig != 0)
		bad(t, "wrong about writing memory, signal", (unsigned long)sig);
	encode_at(t, MEM_RW + 65);
	sig = run_stub();
	if (sig == SIGFPE) /* other bytes there: no quotient */
		sig = 0;
	if (sig != (insn_aligns(&t->in, amd) && size > 1 ? SIGSEGV : 0))
		bad(t, "wrong about alignment, signal", (unsigned long)sig);
}

static void random_state(void)
{
	for (unsigned i = 0; i < 16; i++)
		st->in.gpr[i] = value();
	st->in.flags = (rnd() & FL_ARITH) | FL_IF | FL_ONE;
	for (unsigned i = 0; i < 256; i += 8) {
		uint64_t v = value();

		memcpy(st->xin + 160 + i, &v, 8);
	}
}

static void check_trial(struct trial *t)
{
	struct regs first;
	uint8_t before[64], after[64];
	uint8_t *at = mem_rw + 4096 - sizeof(before);
	int sig;

	random_state();
	for (unsigned i = 0; i < sizeof(before); i += 8) {
		uint64_t v = value();

		memcpy(before + i, &v, 8);
	}
	memcpy(at, before, sizeof(before));
	if (!encode_at(t, MEM_RW + 4096 - (t->mem ? t->mem->size : 0))) {
		n_skip++;
		return;
	}
	sig = run_stub();
	if (sig) { /* not on this processor, or a divide error */
		if (sig == SIGSEGV || sig == SIGBUS)
			bad(t, "reaches farther than its size", 0);
		n_skip++;
		return;
	}
	n_run++;
	first = st->out;
	memcpy(after, at, sizeof(after));
	for (unsigned r = 0; r < 16; r++)
		if (r != RSP && !(t->reg_write & BIT(r)) && first.gpr[r] != st->in.gpr[r])
			bad(t, "register changed", r);
	if ((first.flags ^ st->in.flags) & FL_ARITH & ~t->in.row->fl_write)
		bad(t, "flags changed", first.flags ^ st->in.flags);
	if (memcmp(before, after, sizeof(before) - (t->mem ? t->mem->size : 0)))
		bad(t, "memory before the operand changed", 0);
	if (t->mem && !(t->mem->acc & ACC_W) && memcmp(before, after, sizeof(before)))
		bad(t, "memory changed", 0);
	check_vectors(t);

	/* Again, with everything else different */
	for (unsigned r = 0; r < 16; r++)
		if (!(t->reg_read & BIT(r)))
			st->in.gpr[r] = value();
	st->in.flags ^= rnd() & FL_ARITH & ~t->in.row->fl_read;
	for (unsigned i = 0; i < t->in.n_opnd; i++)
		if (t->in.opnd[i].kind == OP_VEC && t->in.opnd[i].acc == ACC_W) {
			uint32_t others = 0;

			for (unsigned j = 0; j < t->in.n_opnd; j++)
				if (j != i && t->in.opnd[j].kind == OP_VEC)
					others |= BIT(t->in.opnd[j].reg);
			if (!(others & BIT(t->in.opnd[i].reg)))
				memset(xmm(st->xin, t->in.opnd[i].reg), 0x5a, 16);
		}
	memcpy(at, before, sizeof(before));
	{
		uint8_t vec[256];

		memcpy(vec, xmm(st->xout, 0), sizeof(vec));
		if (run_stub()) {
			bad(t, "second run faults", 0);
			return;
		}
		compare_regs(t, &first, &st->out);
		if (t->mem && memcmp(after, at, sizeof(after)))
			bad(t, "memory result depends on something not read", 0);
		for (unsigned i = 0; i < t->in.n_opnd; i++)
			if (t->in.opnd[i].kind == OP_VEC && t->in.opnd[i].acc & ACC_W &&
			    memcmp(vec + t->in.opnd[i].reg * 16, xmm(st->xout, t->in.opnd[i].reg),
				   16))
				bad(t, "vector result depends on something not read", i);
	}
	if (t->mem)
		check_memory(t);
}

/* ---- choosing ---- */

static bool suitable(const struct trial *t)
{
	const struct insn *in = &t->in;

	if (in->row->cls != CLS_COPY || in->row->attr & AT_HOSTX || in->mnem == I_RDRAND ||
	    in->mnem == I_RDSEED || in->mnem == I_FLDCW)
		return false;
	if ((t->reg_read | t->reg_write) & BIT(RSP))
		return false; /* the stub's */
	/* A bit string reaches where its register says */
	return !(in->row->attr & AT_BITSTR && t->mem);
}

static void random_insn(struct trial *t)
{
	uint8_t b[16];

	for (;;) {
		unsigned n = 0;

		for (unsigned i = 0; i < sizeof(b); i += 8) {
			uint64_t v = rnd();

			memcpy(b + i, &v, 8);
		}
		if (below(4) == 0)
			b[n++] = (uint8_t[]){0x66, 0xf2, 0xf3}[below(3)];
		if (below(2))
			b[n++] = (uint8_t)(0x40 | below(16));
		switch (below(8)) {
		case 0:
		case 1:
		case 2:
			break;
		case 3:
		case 4:
			b[n++] = 0x0f;
			break;
		case 5:
			b[n++] = 0x0f;
			b[n++] = below(2) ? 0x38 : 0x3a;
			break;
		default:
			b[0] = 0xc4;
			b[1] = (uint8_t)((b[1] & 0xe0) | (1 + below(3)));
			b[2] |= below(2) ? 0x78 : 0;
		}
		if (insn_decode(b, INSN_MAX, 8, &t->in) != DECODE_OK)
			continue;
		insn_settle(&t->in, amd);
		gather_use(t);
		if (suitable(t))
			return;
	}
}

static void setup(void)
{
	int fd = memfd_create("page", 0), flags = MAP_SHARED | MAP_FIXED_NOREPLACE;
	struct sigaction sa = {.sa_sigaction = on_fault,
			       .sa_flags = SA_NODEFER | SA_ONSTACK | SA_SIGINFO};
	static uint8_t stack[1 << 16];
	stack_t ss = {.ss_sp = stack, .ss_size = sizeof(stack)};
	bool ok;

	sigaltstack(&ss, NULL);
	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
	sigaction(SIGILL, &sa, NULL);
	sigaction(SIGFPE, &sa, NULL);
	ok = fd >= 0 && ftruncate(fd, 4096) == 0 &&
	     mmap(mem_rw, 4096, PROT_READ | PROT_WRITE, flags, fd, 0) == mem_rw &&
	     mmap((void *)(uintptr_t)MEM_RO, 4096, PROT_READ, flags, fd, 0) != MAP_FAILED &&
	     mmap(code, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == code &&
	     mmap(st, (sizeof(*st) + 4095) & ~4095ul, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == st;
	if (!ok) {
		perror("setup");
		exit(2);
	}
	/* x87, SSE, AVX present; all exceptions masked */
	__asm__ volatile("mov $7, %%eax; xor %%edx, %%edx; xsave64 (%0)" ::"r"(st->xin)
			 : "rax", "rdx", "memory");
	st->xin[512] |= 3;
}

int main(int argc, char **argv)
{
	unsigned long count = argc > 1 ? strtoul(argv[1], NULL, 0) : 300000;
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
	static struct trial t;

	__builtin_cpu_init();
	amd = __builtin_cpu_is("amd");
	rng_state = seed;
	setup();
	for (unsigned long i = 0; i < count; i++) {
		random_insn(&t);
		check_trial(&t);
	}
	printf("seed %" PRIu64 ": %lu run, %lu skipped, %lu wrong\n", seed, n_run, n_skip, n_bad);
	return n_bad != 0;
}
