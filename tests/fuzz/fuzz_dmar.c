/* SPDX-License-Identifier: ISC */
/* fuzz_dmar.c: any bytes as a DMAR table, behind a header, on a machine whose bridges the first bytes make. */
#include <stdlib.h>
#include <string.h>

#include "metal/dmar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool buses(void *ctx, uint16_t bdf, uint8_t *first, uint8_t *last)
{
	const uint8_t *seed = ctx;

	if (!((seed[bdf & 15] >> (bdf >> 4 & 7)) & 1))
		return false;
	*first = (uint8_t)(seed[bdf >> 8 & 15] + 1);
	*last = (uint8_t)(*first + seed[0]);
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *table, seed[16];
	struct dmar d;

	if (size < sizeof(seed))
		return 0;
	memcpy(seed, data, sizeof(seed));
	data += sizeof(seed);
	size -= sizeof(seed);
	table = malloc(48 + size); /* its own, so that reads beyond are seen */
	if (!table)
		return 0;
	memset(table, 0, 48);
	memcpy(table + 48, data, size);
	if (!dmar_parse(table, 48 + size, &d)) {
		if (!d.n_units || d.n_units > DMAR_UNITS || d.n_regions > DMAR_REGIONS ||
		    d.n_scopes > DMAR_SCOPES)
			abort();
		for (unsigned i = 0; i < d.n_regions; i++)
			if (d.region[i].pa >= d.region[i].end || d.region[i].pa % 4096)
				abort();
		for (unsigned bdf = 0; bdf < 0x10000; bdf += 7)
			if (dmar_unit_of(&d, (uint16_t)bdf, buses, seed) > d.n_units)
				abort();
	}
	free(table);
	return 0;
}
