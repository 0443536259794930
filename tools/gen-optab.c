/* SPDX-License-Identifier: ISC */
/* gen-optab.c: packs the decoder's index (x86/optab.c), most of which is empty or repeats itself: blocks of OPTAB_BLOCK slots,
 * each once, and for each stretch of slots which block it has. Prints C. */
#include <stdio.h>
#include <string.h>

#include "x86/optab.h"

static uint16_t block[OPTAB_STRETCHES][OPTAB_BLOCK];

int main(void)
{
	static uint16_t first[OPTAB_STRETCHES];
	unsigned n = 0;

	for (unsigned i = 0; i < OPTAB_STRETCHES; i++) {
		uint16_t *last = block[n];

		for (unsigned k = 0; k < OPTAB_BLOCK && i * OPTAB_BLOCK + k <= SLOT_COUNT; k++)
			last[k] = optab_index[i * OPTAB_BLOCK + k];
		while (memcmp(block[first[i]], last, sizeof(block[0])))
			first[i]++;
		if (first[i] == n)
			n++;
		else
			memset(last, 0, sizeof(block[0]));
	}
	printf("/* Made by tools/gen-optab.c */\n#include \"x86/optab.h\"\n"
	       "const uint16_t optab_block[][OPTAB_BLOCK] = {\n");
	for (unsigned i = 0; i < n; i++) {
		printf("{");
		for (unsigned k = 0; k < OPTAB_BLOCK; k++)
			printf("%u,", block[i][k]);
		printf("},\n");
	}
	printf("};\nconst uint16_t optab_first[OPTAB_STRETCHES] = {\n");
	for (unsigned i = 0; i < OPTAB_STRETCHES; i++)
		printf("%u,%s", first[i], i % 16 == 15 ? "\n" : "");
	printf("};\n");
	return 0;
}
