/* SPDX-License-Identifier: ISC */
/* avxwork.c: adds in all YMM registers for long without a system call, and looks whether the sums are what
 * they must be: for saves and restores in its midst. Says only what is wrong. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define REGISTERS 16
#define ROUNDS    100000

static uint64_t v[REGISTERS * 4] __attribute__((aligned(32)));

#define EACH(do) \
	do       \
	(0) do(1) do(2) do(3) do(4) do(5) do(6) do(7) do(8) do(9) do(10) do(11) do(12) do(13) do(14)
#define LOAD(n)  "vmovdqa 32*" #n "(%[v]), %%ymm" #n "\n\t"
#define STORE(n) "vmovdqa %%ymm" #n ", 32*" #n "(%[v])\n\t"
#define ADD(n)   "vpaddq %%ymm15, %%ymm" #n ", %%ymm" #n "\n\t"

static void add(void)
{
	uint64_t n = ROUNDS;

	__asm__ volatile(EACH(LOAD) LOAD(15) "1:\n\t" EACH(ADD) "dec %[n]\n\tjnz 1b\n\t" EACH(STORE)
				 STORE(15) "vzeroupper"
			 : [n] "+r"(n)
			 : [v] "r"(v)
			 : "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
			   "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",
			   "xmm15");
}

int main(void)
{
	uint64_t was[REGISTERS * 4], seed = 1;

	for (unsigned long n = 0;; n++) {
		for (unsigned i = 0; i < REGISTERS * 4; i++)
			v[i] = seed = seed * UINT64_C(6364136223846793005) + i + n;
		memcpy(was, v, sizeof(was));
		add();
		for (unsigned i = 0; i < REGISTERS * 4; i++) {
			uint64_t want = was[i];

			if (i / 4 < 15)
				want += ROUNDS * was[60 + i % 4];
			if (v[i] != want)
				printf("WRONG"
				       "AVX %lu: register %u\n",
				       n, i / 4),
					fflush(stdout);
		}
		if (n % 256 == 0)
			printf("al"
			       "ive avx %lu\n",
			       n),
				fflush(stdout);
	}
}
