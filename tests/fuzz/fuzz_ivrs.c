/* SPDX-License-Identifier: ISC */
/* fuzz_ivrs.c: any bytes as an IVRS table, behind a header. */
#include <stdlib.h>
#include <string.h>

#include "metal/ivrs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *table = malloc(48 + size); /* its own, so that reads beyond are seen */
	struct ivrs v;

	if (!table)
		return 0;
	memset(table, 0, 48);
	if (size)
		memcpy(table + 48, data, size);
	if (!ivrs_parse(table, 48 + size, &v)) {
		if (!v.n_units || v.n_units > IVRS_UNITS || v.n_regions > IVRS_REGIONS ||
		    v.n_aliases > IVRS_ALIASES)
			abort();
		for (unsigned i = 0; i < v.n_regions; i++)
			if (v.region[i].pa >= v.region[i].end || v.region[i].pa % 4096)
				abort();
		for (unsigned i = 0; i < v.n_aliases; i++)
			if (v.alias[i].first > v.alias[i].last)
				abort();
		for (unsigned bdf = 0; bdf < 0x10000; bdf += 255)
			(void)ivrs_source(&v, (uint16_t)bdf);
	}
	free(table);
	return 0;
}
