/* SPDX-License-Identifier: ISC */
/* clones.c: a program with one function in versions for several processors, as GCC's users build them
 * (target_clones): libgcc chooses one by the family and model in CPUID, without asking for the
 * instructions that the version uses. Prints which was chosen, and a sum that all must agree on. */
#include <stdint.h>
#include <stdio.h>

#define CLONES                                                                                 \
	"default", "arch=nehalem", "arch=haswell", "arch=skylake-avx512", "arch=cascadelake",  \
		"arch=icelake-server", "arch=sapphirerapids", "arch=alderlake", "arch=znver1", \
		"arch=znver3"

static uint32_t words[4099];

__attribute__((target_clones(CLONES), optimize("O3"), noinline)) uint64_t mix(const uint32_t *w,
									      unsigned n)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += (uint64_t)w[i] * w[n - 1 - i] + (w[i] >> 3);
	return sum;
}

int main(void)
{
	for (unsigned i = 0; i < 4099; i++)
		words[i] = i * 2654435761u;
	printf("VIGIA clones sum=%016llx\n", (unsigned long long)mix(words, 4099));
	return 0;
}
