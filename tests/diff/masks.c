/* SPDX-License-Identifier: ISC */
/* masks.c: what instructions whose accesses depend on a mask do to A and D of the pages, and where they fault:
 * the host's processor against the interpreter and the translator.
 *
 * Natively the operand lies on two pages of memory that the kernel was told to forget (MADV_FREE): /proc says
 * LazyFree while D is clear, and Referenced when A is set. In the guest its page table says it.
 *
 * Manuals leave much of that to the processor. What is expected was found on Intel's Sapphire Rapids and AMD's Zen 4. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/lib/soft_rig.h"

#define SKIPPED 77
#define SAMPLES 5
#define PTE_A   BIT64(5)
#define PTE_D   BIT64(6)
#define PTE_W   BIT64(1)

enum mask { M_NONE, M_FIRST, M_LAST, M_ALL, M_COUNT };
enum place { P_INSIDE, P_CROSS, P_CROSS_ABSENT, P_CROSS_RO, P_RO, P_ABSENT, P_COUNT };
static const char *const mask_names[] = {"none", "first", "last", "all"};
static const char *const place_names[] = {
	"inside",    "over two pages", "the second page absent", "the second read-only",
	"read-only", "absent"};

/* EDI (RDI): the operand; K1, xMM1: the mask; xMM0: data; ZMM2: zero. */
static const struct row {
	const char *name;
	unsigned feature;
	uint8_t len, code[8];
	uint8_t size, elem; /* of the operand, of its parts */
} rows[] = {
	{"VMOVDQU32 [], ZMM", X_FEAT_AVX512F, 6, {0x62, 0xf1, 0x7e, 0x49, 0x7f, 0x07}, 64, 4},
	{"VMOVDQU8 [], ZMM", X_FEAT_AVX512BW, 6, {0x62, 0xf1, 0x7f, 0x49, 0x7f, 0x07}, 64, 1},
	{"VMOVDQU32 [], XMM", X_FEAT_AVX512VL, 6, {0x62, 0xf1, 0x7e, 0x09, 0x7f, 0x07}, 16, 4},
	{"VMOVSS [], XMM", X_FEAT_AVX512F, 6, {0x62, 0xf1, 0x7e, 0x09, 0x11, 0x07}, 4, 4},
	{"VPCOMPRESSD [], ZMM", X_FEAT_AVX512F, 6, {0x62, 0xf2, 0x7d, 0x49, 0x8b, 0x07}, 64, 4},
	{"VPMOVDB [], ZMM", X_FEAT_AVX512F, 6, {0x62, 0xf2, 0x7e, 0x49, 0x31, 0x07}, 16, 1},
	{"VEXTRACTI32X4 [], ZMM, 1",
	 X_FEAT_AVX512F,
	 7,
	 {0x62, 0xf3, 0x7d, 0x49, 0x39, 0x07, 0x01},
	 16,
	 4},
	{"VPSCATTERDD [], ZMM",
	 X_FEAT_AVX512F,
	 7,
	 {0x62, 0xf2, 0x7d, 0x49, 0xa0, 0x04, 0x97},
	 4,
	 4},
	{"VMOVDQU32 ZMM, []", X_FEAT_AVX512F, 6, {0x62, 0xf1, 0x7e, 0x49, 0x6f, 0x07}, 64, 4},
	{"VPADDD ZMM, []", X_FEAT_AVX512F, 6, {0x62, 0xf1, 0x7d, 0x49, 0xfe, 0x07}, 64, 4},
	{"VPADDD ZMM, []{1to16}", X_FEAT_AVX512F, 6, {0x62, 0xf1, 0x7d, 0x59, 0xfe, 0x07}, 4, 4},
	{"VPBROADCASTD ZMM, []", X_FEAT_AVX512F, 6, {0x62, 0xf2, 0x7d, 0x49, 0x58, 0x07}, 4, 4},
	{"VPEXPANDD ZMM, []", X_FEAT_AVX512F, 6, {0x62, 0xf2, 0x7d, 0x49, 0x89, 0x07}, 64, 4},
	{"VPGATHERDD ZMM, []", X_FEAT_AVX512F, 7, {0x62, 0xf2, 0x7d, 0x49, 0x90, 0x04, 0x97}, 4, 4},
	{"VPMADD52LUQ ZMM, []", X_FEAT_AVX512IFMA, 6, {0x62, 0xf2, 0xfd, 0x49, 0xb4, 0x07}, 64, 8},
	{"VPOPCNTB ZMM, []", X_FEAT_AVX512BITALG, 6, {0x62, 0xf2, 0x7d, 0x49, 0x54, 0x07}, 64, 1},
	{"VPOPCNTQ ZMM, []", X_FEAT_AVX512VPOPCNT, 6, {0x62, 0xf2, 0xfd, 0x49, 0x55, 0x07}, 64, 8},
	{"VPSHUFBITQMB K0, []",
	 X_FEAT_AVX512BITALG,
	 6,
	 {0x62, 0xf2, 0x7d, 0x49, 0x8f, 0x07},
	 64,
	 1},
	{"VPCOMPRESSB [], ZMM", X_FEAT_AVX512VBMI2, 6, {0x62, 0xf2, 0x7d, 0x49, 0x63, 0x07}, 64, 1},
	{"VPEXPANDB ZMM, []", X_FEAT_AVX512VBMI2, 6, {0x62, 0xf2, 0x7d, 0x49, 0x62, 0x07}, 64, 1},
	{"VPSHLDVD ZMM, []", X_FEAT_AVX512VBMI2, 6, {0x62, 0xf2, 0x7d, 0x49, 0x71, 0x07}, 64, 4},
	{"VPSHRDW ZMM, [], 3",
	 X_FEAT_AVX512VBMI2,
	 7,
	 {0x62, 0xf3, 0xfd, 0x49, 0x72, 0x07, 0x03},
	 64,
	 2},
	{"VPDPBUSD ZMM, []", X_FEAT_AVX512VNNI, 6, {0x62, 0xf2, 0x7d, 0x49, 0x50, 0x07}, 64, 4},
	{"VPERMB ZMM, []", X_FEAT_AVX512VBMI, 6, {0x62, 0xf2, 0x7d, 0x49, 0x8d, 0x07}, 64, 1},
	{"VPERMT2B ZMM, []", X_FEAT_AVX512VBMI, 6, {0x62, 0xf2, 0x7d, 0x49, 0x7d, 0x07}, 64, 1},
	{"VPMULTISHIFTQB ZMM, []",
	 X_FEAT_AVX512VBMI,
	 6,
	 {0x62, 0xf2, 0xfd, 0x49, 0x83, 0x07},
	 64,
	 1},
	{"VPMASKMOVD [], YMM", X_FEAT_AVX2, 5, {0xc4, 0xe2, 0x75, 0x8e, 0x07}, 32, 4},
	{"VPMASKMOVD [], XMM", X_FEAT_AVX2, 5, {0xc4, 0xe2, 0x71, 0x8e, 0x07}, 16, 4},
	{"VPMASKMOVD YMM, []", X_FEAT_AVX2, 5, {0xc4, 0xe2, 0x75, 0x8c, 0x07}, 32, 4},
	{"VPGATHERDD YMM, []", X_FEAT_AVX2, 6, {0xc4, 0xe2, 0x75, 0x90, 0x04, 0x97}, 4, 4},
	{"MASKMOVDQU", X_FEAT_SSE2, 4, {0x66, 0x0f, 0xf7, 0xc1}, 16, 1},
	{"VMASKMOVDQU", X_FEAT_AVX, 4, {0xc5, 0xf9, 0xf7, 0xc1}, 16, 1},
	{"MASKMOVQ", X_FEAT_SSE, 3, {0x0f, 0xf7, 0xc1}, 8, 1},
};

/* What has come of it: A and D of both pages; the page that it faulted at, or 0 */
struct result {
	uint8_t a, d, fault;
};

struct run {
	const struct row *row;
	enum mask mask;
	enum place place;
	bool load; /* and a load from the same place behind it */
};

static const uint8_t load[] = {0x8b, 0x07}; /* mov (%rdi), %eax */

static unsigned offset(const struct run *u)
{
	return u->place == P_INSIDE || u->place >= P_RO ? 256 : 4096 - (u->row->size + 1) / 2;
}

/* A bit an element that is chosen */
static uint64_t bits(const struct run *u)
{
	unsigned n = u->row->size == 4 ? 1 : u->row->size / u->row->elem;

	switch (u->mask) {
	case M_NONE:
		return 0;
	case M_FIRST:
		return 1;
	case M_LAST:
		return BIT64(n - 1);
	default:
		return UINT64_MAX >> (64 - n);
	}
}

static void vector_mask(const struct run *u, uint8_t out[32])
{
	uint64_t b = bits(u);

	memset(out, 0, 32);
	for (unsigned i = 0; i < 32 / u->row->elem; i++)
		if (i < 64 && b >> i & 1)
			memset(out + i * u->row->elem, 0xff, u->row->elem);
}

/* ---- natively --------------------------------------------------------------------------------- */

static uint8_t *page, *stub;
static sigjmp_buf back;
static uint8_t *fault_at;

static void on_segv(int sig, siginfo_t *si, void *ctx)
{
	fault_at = si->si_addr;
	siglongjmp(back, 1);
}

/* The two pages are mappings of their own. */
static void look(struct result *out)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	unsigned long from, to, kb;
	char line[512];
	int n = -1;

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			n = from == (uintptr_t)page ? 0 : from == (uintptr_t)page + 4096 ? 1 : -1;
		else if (n >= 0 && sscanf(line, "Referenced: %lu", &kb) == 1 && kb)
			out->a |= (uint8_t)BIT(n);
		else if (n >= 0 && sscanf(line, "LazyFree: %lu", &kb) == 1 && !kb)
			out->d |= (uint8_t)BIT(n);
	}
	if (f)
		fclose(f);
}

static void forget(void)
{
	int fd = open("/proc/self/clear_refs", O_WRONLY);

	page[0] = page[4096] = 1;
	if (madvise(page, 4096, MADV_FREE) || madvise(page + 4096, 4096, MADV_FREE) || fd < 0 ||
	    write(fd, "1", 1) != 1)
		abort();
	close(fd);
}

static void protect(const struct run *u, bool on)
{
	int all = PROT_READ | PROT_WRITE;
	bool first = u->place >= P_RO, absent = u->place == P_ABSENT || u->place == P_CROSS_ABSENT;

	if (u->place > P_CROSS && mprotect(page + (first ? 0 : 4096), 4096,
					   !on      ? all
					   : absent ? PROT_NONE
						    : PROT_READ))
		abort();
}

static void call(const struct run *u)
{
	uint8_t vmask[32];
	uint64_t k = bits(u);
	void *at = page + offset(u);

	vector_mask(u, vmask);
	if (u->row->code[0] == 0x62)
		__asm__ volatile("kmovq %1, %%k1; vpxorq %%zmm2, %%zmm2, %%zmm2; call *%2"
				 : "+D"(at)
				 : "r"(k), "r"(stub)
				 : "rax", "xmm0", "xmm1", "xmm2", "memory");
	else if (u->row->code[0] != 0x0f && u->row->code[0] != 0x66)
		__asm__ volatile("vmovdqu (%1), %%ymm1; vpxor %%ymm2, %%ymm2, %%ymm2; call *%2"
				 : "+D"(at)
				 : "r"(vmask), "r"(stub)
				 : "rax", "xmm0", "xmm1", "xmm2", "memory");
	else
		__asm__ volatile("movdqu (%1), %%xmm1; movq (%1), %%mm1; call *%2; emms"
				 : "+D"(at)
				 : "r"(vmask), "r"(stub)
				 : "rax", "xmm0", "xmm1", "mm0", "mm1", "memory");
}

static struct result native_once(const struct run *u)
{
	struct sigaction sa = {.sa_sigaction = on_segv, .sa_flags = SA_SIGINFO}, engines;
	struct result r = {0};

	forget();
	protect(u, true);
	if (sigaction(SIGSEGV, &sa, &engines))
		abort();
	if (!sigsetjmp(back, 1))
		call(u);
	else
		r.fault = fault_at < page + 4096 ? 1 : 2;
	if (sigaction(SIGSEGV, &engines, NULL))
		abort();
	protect(u, false);
	look(&r);
	return r;
}

/* The bits that most have */
static uint8_t most(const uint8_t v[SAMPLES])
{
	unsigned n[2] = {0};

	for (unsigned i = 0; i < SAMPLES; i++)
		for (unsigned k = 0; k < 2; k++)
			n[k] += v[i] >> k & 1;
	return (uint8_t)((n[0] > SAMPLES / 2) | (n[1] > SAMPLES / 2) << 1);
}

/* Several times: A may come of speculation, and the kernel clears it and gives pages up on its own account. */
static struct result native(const struct run *u)
{
	uint8_t a[SAMPLES], d[SAMPLES];
	struct result r;

	memcpy(stub, u->row->code, u->row->len);
	memcpy(stub + u->row->len, load, sizeof(load));
	stub[u->row->len + (u->load ? sizeof(load) : 0)] = 0xc3;
	for (unsigned i = 0; i < SAMPLES; i++) {
		r = native_once(u);
		a[i] = r.a;
		d[i] = r.d;
	}
	r.a = most(a);
	r.d = most(d);
	return r;
}

/* ---- as a guest ---------------------------------------------------------------------------------- */

static void set_registers(struct rig *r, const struct run *u)
{
	uint8_t *b = r->s->xsave.bytes, vmask[32];
	uint64_t k = bits(u);

	vector_mask(u, vmask);
	memcpy(b + FX_ST + 16, vmask, 8);
	memcpy(b + FX_XMM + 16, vmask, 16);
	memset(b + FX_XMM + 32, 0, 16);
	b[XS_BV] = 3;
	if (rig_part(r, XS_PART_AVX)) {
		memcpy(rig_part(r, XS_PART_AVX) + 16, vmask + 16, 16);
		b[XS_BV] |= XCR0_AVX;
	}
	if (rig_part(r, XS_PART_OPMASK)) {
		memcpy(rig_part(r, XS_PART_OPMASK) + 8, &k, 8);
		b[XS_BV] |= XCR0_OPMASK;
	}
	r->s->gpr[RDI] = RIG_DATA + offset(u);
}

static struct result guest(struct rig *r, const struct run *u)
{
	uint64_t *pte = rig_pte(r, RIG_DATA);
	struct result out = {0};
	uint8_t *p = r->ram + RIG_CODE;
	unsigned vector;

	*p++ = 0x90;
	memcpy(p, u->row->code, u->row->len);
	p += u->row->len;
	memcpy(p, load, sizeof(load));
	p[u->load ? sizeof(load) : 0] = 0xcc;
	r->vm->engine->memory_changed(r->vm, RIG_CODE, 64);
	pte[0] = RIG_DATA | 7;
	pte[1] = (RIG_DATA + 4096) | 7;
	if (u->place == P_CROSS_RO || u->place == P_RO)
		pte[u->place == P_CROSS_RO] &= ~PTE_W;
	if (u->place == P_CROSS_ABSENT || u->place == P_ABSENT)
		pte[u->place == P_CROSS_ABSENT] = 0;
	rig_reset(r, true);
	set_registers(r, u);
	r->vm->engine->set_state(r->vcpu);
	rig_run(r);
	vector = (unsigned)(r->s->rip - RIG_HANDLER) / 16;
	if (vector != VEC_BP)
		out.fault = vector != VEC_PF ? 3 : r->s->cr2 < RIG_DATA + 4096 ? 1 : 2;
	for (unsigned i = 0; i < 2; i++) {
		out.a |= pte[i] & PTE_A ? (uint8_t)BIT(i) : 0;
		out.d |= pte[i] & PTE_D ? (uint8_t)BIT(i) : 0;
	}
	return out;
}

/* ---- both ------------------------------------------------------------------------------------- */

/* What the kernel makes of A and D of pages that it protects is another matter. */
static bool differ(const struct run *u, const char *way, struct result a, struct result b)
{
	if (a.fault == b.fault && (u->place > P_CROSS || (a.a == b.a && a.d == b.d)))
		return false;
	printf("%s%s, mask %s, %s: host A %x D %x fault %u; %s A %x D %x fault %u\n", u->row->name,
	       u->load ? " and a load" : "", mask_names[u->mask], place_names[u->place], a.a, a.d,
	       a.fault, way, b.a, b.d, b.fault);
	return true;
}

static bool prepare(void)
{
	uint8_t *m =
		mmap(NULL, 5 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct result r = {0};

	if (m == MAP_FAILED || mprotect(m + 4 * 4096, 4096, PROT_READ | PROT_WRITE | PROT_EXEC) ||
	    mprotect(m, 4096, PROT_NONE) || mprotect(m + 3 * 4096, 4096, PROT_NONE))
		abort();
	page = m + 4096;
	stub = m + 4 * 4096;
	madvise(page + 4096, 4096, MADV_DONTDUMP); /* two mappings */
	if (access("/proc/self/clear_refs", W_OK))
		return false;
	forget();
	forget(); /* the first time it may find them dirty */
	look(&r);
	return !r.a && !r.d;
}

int main(void)
{
	static const struct soft_config soft, interp = {.interp = true};
	unsigned bad = 0, n = 0;
	struct rig a, b;

	if (!prepare()) {
		printf("this kernel does not show A and D\n");
		return SKIPPED;
	}
	if (rig_open(&a, &soft) || rig_open(&b, &interp))
		return 1;
	for (const struct row *row = rows; row < rows + ARRAY_SIZE(rows); row++) {
		if (!cpu_has(rig_cpu(&a), row->feature))
			continue;
		for (unsigned i = 0; i < M_COUNT * P_COUNT * 2; i++) {
			struct run u = {row, i % M_COUNT, i / M_COUNT % P_COUNT,
					i >= M_COUNT * P_COUNT};
			struct result host = native(&u);

			bad += differ(&u, "soft", host, guest(&a, &u));
			bad += differ(&u, "interp", host, guest(&b, &u));
			n++;
		}
	}
	printf("%u runs, %u differences\n", n, bad);
	return bad != 0;
}
