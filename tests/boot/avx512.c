/* SPDX-License-Identifier: ISC */
/* avx512.c: a program for x86-64-v4. Processes that share the CPUs keep values of their own in all ZMM
 * and opmask registers while they give way to each other and take signals; arithmetic under opmasks must
 * come out as it does one by one. Prints a sum that is the same everywhere. */
#include <immintrin.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROCESSES 5
#define ROUNDS    4000

static volatile unsigned signals;

/* A handler that uses what it interrupts: the kernel's frame has to hold it */
static void on_signal(int sig)
{
	__asm__ volatile(
		"vpxorq %%zmm31, %%zmm31, %%zmm31\n\tvpternlogd $0xff, %%zmm0, %%zmm0, %%zmm0\n\t"
		"kxnorq %%k5, %%k5, %%k5"
		:
		:
		: "xmm0", "xmm31", "k5");
	signals++;
}

/* Puts values in, gives way, looks: 0, or what is lost. */
static int keep(uint64_t seed)
{
	uint64_t in[10], out[10];

	for (unsigned i = 0; i < 10; i++)
		in[i] = seed * 0x9e3779b97f4a7c15 + i;
	memset(out, 0, sizeof(out));
	__asm__ volatile("vpbroadcastq 0(%[in]), %%zmm1\n\tvpbroadcastq 8(%[in]), %%zmm15\n\t"
			 "vpbroadcastq 16(%[in]), %%zmm16\n\tvpbroadcastq 24(%[in]), %%zmm31\n\t"
			 "kmovq 32(%[in]), %%k1\n\tkmovq 40(%[in]), %%k7\n\t"
			 "mov $24, %%eax\n\tsyscall\n\t" /* sched_yield */
			 "vextracti64x4 $1, %%zmm1, %%ymm2\n\tvmovq %%xmm2, 0(%[out])\n\t"
			 "vextracti64x4 $1, %%zmm15, %%ymm2\n\tvmovq %%xmm2, 8(%[out])\n\t"
			 "vextracti64x4 $1, %%zmm16, %%ymm2\n\tvmovq %%xmm2, 16(%[out])\n\t"
			 "vextracti32x4 $3, %%zmm31, %%xmm2\n\tvmovq %%xmm2, 24(%[out])\n\t"
			 "kmovq %%k1, 32(%[out])\n\tkmovq %%k7, 40(%[out])"
			 :
			 : [in] "r"(in), [out] "r"(out)
			 : "rax", "rcx", "r11", "memory", "xmm1", "xmm2", "xmm15", "xmm16", "xmm31",
			   "k1", "k7");
	return memcmp(in, out, 48) != 0;
}

/* Sums of squares where a mask says so, with vectors and without */
static uint64_t masked(uint64_t seed, int *bad)
{
	uint32_t v[64], one = 0;
	__m512i sum = _mm512_setzero_si512();
	uint64_t mask = seed * 0x2545f4914f6cdd1d;

	for (unsigned i = 0; i < 64; i++)
		v[i] = (uint32_t)(seed * (i + 1));
	for (unsigned i = 0; i < 4; i++) {
		__mmask16 k = (__mmask16)(mask >> i * 16);
		__m512i x = _mm512_maskz_loadu_epi32(k, v + i * 16);

		sum = _mm512_mask_add_epi32(sum, k, sum, _mm512_mullo_epi32(x, x));
	}
	for (unsigned i = 0; i < 64; i++)
		one += mask >> i & 1 ? v[i] * v[i] : 0;
	*bad |= (uint32_t)_mm512_reduce_add_epi32(sum) != one;
	return one;
}

static int process(unsigned n)
{
	struct itimerval every = {{0, 3000}, {0, 3000}};
	int bad = 0;

	signal(SIGALRM, on_signal);
	setitimer(ITIMER_REAL, &every, NULL);
	for (unsigned i = 0; i < ROUNDS && !bad; i++) {
		bad |= keep(n * ROUNDS + i);
		masked(n * ROUNDS + i, &bad);
	}
	return bad;
}

int main(void)
{
	uint64_t sum = 0;
	int bad = 0, status;

	for (unsigned n = 1; n < PROCESSES; n++)
		if (!fork())
			_exit(process(n));
	bad = process(0);
	for (unsigned n = 1; n < PROCESSES;) {
		if (wait(&status) < 0)
			continue; /* a signal */
		bad |= status;
		n++;
	}
	for (unsigned i = 0; i < 1000; i++)
		sum = sum * 31 + masked(i, &bad);
	printf("avx512 %s sum=%016llx\n", bad ? "LOST" : "kept", (unsigned long long)sum);
	return bad;
}
