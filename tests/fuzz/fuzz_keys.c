/* SPDX-License-Identifier: ISC */
/* fuzz_keys.c: names of keys as people and viewers give them. First byte even: a combination; odd: a
 * list of keysyms. */
#include <stdlib.h>
#include <string.h>

#include "ui/keys.h"

static void combo(const char *text)
{
	unsigned key[KEYS_COMBO_MAX];
	const char *bad = NULL;
	size_t len = 0;
	int n = keys_combo(text, key, &bad, &len);

	if (n < 0 && (bad < text || bad + len > text + strlen(text)))
		abort();
	if (n == 0 || n > KEYS_COMBO_MAX)
		abort();
	for (int i = 0; i < n; i++)
		if (!key[i] || key[i] >= KEY_COUNT)
			abort();
}

static void keysym(uint32_t sym)
{
	int shift;
	unsigned key = keys_of_keysym(sym, &shift);

	if (key >= KEY_COUNT || shift < -1 || shift > 1)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[256];
	uint32_t sym;

	if (size && data[0] & 1) {
		for (size_t i = 1; i + 4 <= size; i += 4) {
			memcpy(&sym, data + i, 4);
			keysym(sym & 0x1ffff);
		}
	} else if (size) {
		size = MIN(size - 1, sizeof(text) - 1);
		memcpy(text, data + 1, size);
		text[size] = 0;
		combo(text);
	}
	return 0;
}
