/* SPDX-License-Identifier: ISC */
/* fuzz_journal.c: any sector as one of a history; a sum that holds is given to half of them. */
#include <stdlib.h>
#include <string.h>

#include "block/journal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t s[JOURNAL_SECTOR] = {0};
	uint64_t number, index, sectors;
	uint32_t len;

	if (size < 24)
		return 0;
	memcpy(&index, data, 8);
	memcpy(&sectors, data + 8, 8);
	memcpy(&number, data + 16, 8);
	sectors = sectors ? sectors : 1;
	index %= sectors;
	memcpy(s, data + 24, size - 24 < sizeof(s) ? size - 24 : sizeof(s));
	if (size & 1)
		journal_seal(s, number, (uint32_t)(index % (JOURNAL_TEXT + 1)));
	if (journal_check(s, index, sectors, &number, &len) &&
	    (!number || (number - 1) % sectors != index || !len || len > JOURNAL_TEXT))
		abort();
	return 0;
}
