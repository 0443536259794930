/* SPDX-License-Identifier: ISC */
/* compute.c: small kernels of computation, each timed for a while (measure.h); those of FP and
 * vectors are in compute_fp.h. The same static binary runs on the host and in guests. Hosted, no threads. */
#include "compute_fp.h"
#include "measure.h"

#include <sys/mman.h>

#define BUF (1 << 20)
static uint8_t buf_a[BUF], buf_b[BUF];
static uint32_t words[4096], sorted[4096], crc_table[256];
static void *chain[1 << 12];     /* 32 KiB: first-level cache */
static void *far_chain[1 << 19]; /* 4 MiB: beyond the second level */

static uint64_t rng_state = 88172645463325252u;
static uint64_t rng(void)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 7;
	return rng_state ^= rng_state << 17;
}

/* Registers only. */
static uint64_t alu(uint64_t n)
{
	uint64_t a = 1, b = 2, c = 3, d = 5;

	while (n--) {
		a += b ^ (c << 3);
		b = (b >> 5) | (d << 7);
		c -= a * 3;
		d ^= c + b;
		__asm__ volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d));
	}
	return a ^ b ^ c ^ d;
}

static uint64_t adc(uint64_t n)
{
	uint64_t lo = 1, mid = 2, hi = 3;

	while (n--)
		__asm__ volatile("addq %3, %0\n\tadcq %4, %1\n\tadcq $7, %2\n\tadcq $0, %0"
				 : "+r"(lo), "+r"(mid), "+r"(hi)
				 : "r"(UINT64_C(0x9e3779b97f4a7c15)),
				   "r"(UINT64_C(0xf00dfeedfacecafe))
				 : "cc");
	return lo ^ mid ^ hi;
}

static uint64_t collatz(uint64_t n)
{
	uint64_t steps = 0;

	for (uint64_t i = 1; i <= n; i++)
		for (uint64_t v = i % 4096 + 27; v != 1; steps++)
			v = v & 1 ? 3 * v + 1 : v / 2;
	return steps;
}

static uint64_t quicksort_part(uint32_t *v, int64_t lo, int64_t hi)
{
	uint64_t moves = 0;

	while (lo < hi) {
		uint32_t pivot = v[(lo + hi) / 2];
		int64_t i = lo, j = hi;

		while (i <= j) {
			while (v[i] < pivot)
				i++;
			while (v[j] > pivot)
				j--;
			if (i <= j) {
				uint32_t t = v[i];

				v[i++] = v[j];
				v[j--] = t;
				moves++;
			}
		}
		moves += quicksort_part(v, lo, j);
		lo = i;
	}
	return moves;
}

static uint64_t quicksort(uint64_t n)
{
	uint64_t moves = 0;

	while (n--) {
		memcpy(sorted, words, sizeof(words));
		moves += quicksort_part(sorted, 0, 4095);
	}
	return moves + sorted[100];
}

static uint64_t crc32_table(uint64_t n)
{
	uint32_t crc = ~0u;

	while (n--)
		for (unsigned i = 0; i < 4096; i++)
			crc = crc_table[(crc ^ buf_a[i]) & 255] ^ (crc >> 8);
	return crc;
}

/* FIPS 180-4, the compression function on one block, over and over. The constants are its first 64
 * words whatever they are: speed does not depend on them. */
static uint64_t sha256(uint64_t n)
{
	uint32_t h[8] = {1, 2, 3, 4, 5, 6, 7, 8}, w[64];

#define ROR(x, r) (((x) >> (r)) | ((x) << (32 - (r))))
	while (n--) {
		uint32_t s[8];

		memcpy(w, buf_a, 64);
		w[0] ^= h[0];
		for (unsigned i = 16; i < 64; i++)
			w[i] = w[i - 16] + w[i - 7] +
			       (ROR(w[i - 15], 7) ^ ROR(w[i - 15], 18) ^ (w[i - 15] >> 3)) +
			       (ROR(w[i - 2], 17) ^ ROR(w[i - 2], 19) ^ (w[i - 2] >> 10));
		memcpy(s, h, sizeof(s));
		for (unsigned i = 0; i < 64; i++) {
			uint32_t t1 = s[7] + (ROR(s[4], 6) ^ ROR(s[4], 11) ^ ROR(s[4], 25)) +
				      ((s[4] & s[5]) ^ (~s[4] & s[6])) + words[i] + w[i];
			uint32_t t2 = (ROR(s[0], 2) ^ ROR(s[0], 13) ^ ROR(s[0], 22)) +
				      ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));

			memmove(s + 1, s, 28);
			s[4] += t1;
			s[0] = t1 + t2;
		}
		for (unsigned i = 0; i < 8; i++)
			h[i] += s[i];
	}
	return h[0] ^ ((uint64_t)h[7] << 32);
}

static uint64_t chase(uint64_t n)
{
	void **p = chain;

	while (n--)
		p = *p;
	return (uint64_t)((char *)p - (char *)chain);
}

static uint64_t far_chase(uint64_t n)
{
	void **p = far_chain;

	while (n--)
		p = *p;
	return (uint64_t)((char *)p - (char *)far_chain);
}

static __attribute__((noinline)) uint64_t fib_of(uint64_t n)
{
	uint64_t r = n;

	if (n >= 2)
		r = fib_of(n - 1) + fib_of(n - 2);
	__asm__ volatile("" : "+r"(r)); /* keeps the compiler from unrolling the recursion */
	return r;
}

static uint64_t fib(uint64_t n)
{
	uint64_t sum = 0;

	while (n--)
		sum += fib_of(18);
	return sum;
}

static uint64_t op0(uint64_t x)
{
	return x + 1;
}
static uint64_t op1(uint64_t x)
{
	return x * 3;
}
static uint64_t op2(uint64_t x)
{
	return x ^ 0x55;
}
static uint64_t op3(uint64_t x)
{
	return x >> 1;
}
static uint64_t op4(uint64_t x)
{
	return x - 7;
}
static uint64_t op5(uint64_t x)
{
	return x << 2;
}
static uint64_t op6(uint64_t x)
{
	return ~x;
}
static uint64_t op7(uint64_t x)
{
	return x + (x >> 3);
}

static uint64_t indirect(uint64_t n)
{
	static uint64_t (*const volatile ops[8])(uint64_t) = {op0, op1, op2, op3,
							      op4, op5, op6, op7};
	uint64_t x = 1;

	for (uint64_t i = 0; i < n; i++)
		x = ops[(i * 5 + (i >> 3)) & 7](x);
	return x;
}

static uint64_t memory_sum(uint64_t n)
{
	uint64_t sum = 0;

	while (n--)
		for (unsigned i = 0; i < 4096; i++) {
			sum += words[i];
			words[i] = words[i] + 1; /* undone below */
			__asm__ volatile("" : "+r"(sum) : : "memory");
		}
	for (unsigned i = 0; i < 4096; i++)
		words[i] = (uint32_t)(i * 2654435761u);
	return sum;
}

/* All primes below 8192 */
static uint64_t sieve(uint64_t n)
{
	static uint8_t composite[8192];
	uint64_t primes = 0;

	while (n--) {
		memset(composite, 0, sizeof(composite));
		primes = 0;
		for (unsigned i = 2; i < sizeof(composite); i++) {
			if (composite[i])
				continue;
			primes++;
			for (unsigned k = 2 * i; k < sizeof(composite); k += i)
				composite[k] = 1;
		}
	}
	return primes;
}

/* Nobody contends. TCG with one processor leaves LOCK out. */
static uint64_t locked(uint64_t n)
{
	static uint64_t counters[64];
	uint64_t sum = 0;

	memset(counters, 0, sizeof(counters));
	for (uint64_t i = 0; i < n; i++)
		sum += __atomic_fetch_add(&counters[i & 63], i, __ATOMIC_SEQ_CST);
	return sum;
}

static uint64_t rep_movsb(uint64_t n)
{
	while (n--) {
		void *d = buf_b;
		const void *s = buf_a;
		size_t c = 16384;

		__asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(c) : : "memory");
	}
	return buf_b[123];
}

static uint64_t rep_stosb(uint64_t n)
{
	while (n--) {
		void *d = buf_b;
		size_t c = 16384;

		__asm__ volatile("rep stosb" : "+D"(d), "+c"(c) : "a"((uint8_t)n) : "memory");
	}
	return buf_b[99];
}

/* A dozen and a half instructions as compilers write them, wherever they lie; falls out at its end. */
__asm__(".pushsection .rodata\n"
	"cold_unit:\n"
	"	mov 8(%rdi), %rax\n"
	"	add %rsi, %rax\n"
	"	cmp $4096, %rax\n"
	"	ja 1f\n"
	"	lea 4(%rax,%rsi,2), %rcx\n"
	"	mov %rcx, 16(%rdi)\n"
	"	test %rcx, %rcx\n"
	"	je 1f\n"
	"	movzbl 3(%rdi), %r8d\n"
	"	shl $3, %r8d\n"
	"	push %r8\n"
	"	call 2f\n"
	"	pop %r9\n"
	"	sub $1, %r9\n"
	"	jns 1f\n"
	"	xor %edx, %edx\n"
	"1:	jmp 3f\n"
	"2:	mov %r8d, %eax\n"
	"	ret\n"
	"3:\n"
	"cold_unit_end:\n"
	".popsection");
extern const uint8_t cold_unit[], cold_unit_end[];
#define COLD_INSNS 19 /* of one, as they run */
#define COLD_BYTES (256u << 10)

static uint64_t run_cold(const uint8_t *code)
{
	uint8_t work[32] = {0};
	uint64_t start = now();

	((void (*)(uint8_t *, uint64_t))(uintptr_t)code)(work, 1);
	return now() - start;
}

/* An instruction that runs for the first time, less what it takes the second time: the least of some */
static double cold_code(uint64_t budget)
{
	size_t unit = (size_t)(cold_unit_end - cold_unit), n = COLD_BYTES / unit - 1;
	double best = 0;

	for (uint64_t end = now() + budget * 3; now() < end || !best;) {
		uint8_t *code = mmap(NULL, COLD_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC,
				     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		double ns;

		if (code == MAP_FAILED)
			exit(1);
		for (size_t i = 0; i < n; i++)
			memcpy(code + i * unit, cold_unit, unit);
		code[n * unit] = 0xc3;
		ns = (double)run_cold(code);
		ns = (ns - (double)run_cold(code)) / (double)(n * COLD_INSNS);
		if (!best || ns < best)
			best = ns;
		munmap(code, COLD_BYTES);
	}
	return best;
}

static const struct row kernels[] = {
	{"alu", "integer", alu, 100000},
	{"adc", "call", adc, 100000},
	{"collatz", "integer", collatz, 2000},
	{"quicksort", "integer", quicksort, 20},
	{"crc32", "integer", crc32_table, 50},
	{"sha256", "integer", sha256, 2000},
	{"sum", "integer", memory_sum, 50},
	{"chase", "integer", chase, 100000},
	{"far-chase", "integer", far_chase, 100000},
	{"sieve", "integer", sieve, 2},
	{"locked", "lock", locked, 1000},
	{"fib", "call", fib, 20},
	{"indirect", "call", indirect, 100000},
	{"fp-scalar", "fp", fp_scalar, 100000},
	{"mandelbrot", "fp", mandelbrot, 5},
	{"x87", "fp", mandelbrot_x87, 5},
	{"sse-int", "fp", sse_int, 100000},
	{"sse-copy", "integer", sse_copy, 100},
	{"sse-set", "integer", sse_set, 100},
	{"matrix", "fp", matrix, 2},
	{"matrix-sse2", "fp", matrix_sse2, 2},
	{"matrix-avx2", "fp", matrix_avx2, 2, .avx2 = 1},
	{"avx2-fma", "fp", avx2_fma, 100000, .avx2 = 1},
	{"rep-movsb", "string", rep_movsb, 100},
	{"rep-stosb", "string", rep_stosb, 100},
	{"cold-code", "translate", .cost = cold_code},
};

/* A cycle through all n cells in random order. */
static void make_chain(void **cell, unsigned n)
{
	uint32_t *order = malloc(n * sizeof(*order));

	if (!order)
		exit(1);
	for (unsigned i = 0; i < n; i++)
		order[i] = i;
	for (unsigned i = n - 1; i > 0; i--) {
		unsigned j = (unsigned)(rng() % i), t = order[i];

		order[i] = order[j];
		order[j] = t;
	}
	for (unsigned i = 0; i < n; i++)
		cell[order[i]] = &cell[order[(i + 1) % n]];
	free(order);
}

static void prepare(void)
{
	for (unsigned i = 0; i < BUF; i++)
		buf_a[i] = (uint8_t)rng();
	for (unsigned i = 0; i < 4096; i++)
		words[i] = (uint32_t)(i * 2654435761u);
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t c = i;

		for (int k = 0; k < 8; k++)
			c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
		crc_table[i] = c;
	}
	prepare_fp();
	make_chain(chain, sizeof(chain) / sizeof(chain[0]));
	make_chain(far_chain, sizeof(far_chain) / sizeof(far_chain[0]));
}

int main(int argc, char **argv)
{
	prepare();
	return measure_main(argc, argv, kernels, sizeof(kernels) / sizeof(kernels[0]));
}
