/* SPDX-License-Identifier: ISC */
/* fuzz_volume.c: any bytes as the beginning of a volume's directory, whose sum is made to hold. What is accepted lies inside,
 * and is the same when it is made anew. */
#include <stdlib.h>
#include <string.h>

#include "block/volume.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SECTORS 100000u

static void inside(const struct volume_image *m)
{
	uint64_t sum = 0;

	if (!m->n || m->n > VOLUME_EXTENTS || strnlen(m->name, VOLUME_NAME) == VOLUME_NAME)
		abort();
	for (unsigned i = 0; i < m->n; sum += m->extent[i++].sectors)
		if (!m->extent[i].sectors || m->extent[i].sector < VOLUME_DATA ||
		    m->extent[i].sector >= SECTORS ||
		    m->extent[i].sectors > SECTORS - m->extent[i].sector)
			abort();
	if (sum != m->sectors)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t dir[VOLUME_DIR], again[VOLUME_DIR];
	struct volume_image m, same;
	uint64_t generation;

	memset(dir, 0, sizeof(dir));
	memcpy(dir, data, size < sizeof(dir) ? size : sizeof(dir));
	if (size & 1)
		volume_seal(dir);
	if (volume_check(dir, SECTORS, &generation))
		return 0;
	volume_begin(again, SECTORS, generation);
	for (unsigned i = 0; volume_image(dir, i, &m); i++) {
		inside(&m);
		if (!volume_put(again,
				&m)) /* images may share extents: then there are more than fit */
			return 0;
		if (!volume_image(again, i, &same) || same.n != m.n || strcmp(same.name, m.name) ||
		    memcmp(same.extent, m.extent, m.n * sizeof(*m.extent)))
			abort();
	}
	volume_seal(again);
	if (volume_check(again, SECTORS, &generation))
		abort();
	return 0;
}
