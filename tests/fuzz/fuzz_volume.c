/* SPDX-License-Identifier: ISC */
/* fuzz_volume.c: a volume's directory: any bytes as its beginning, or patches to a sound one with three images, whose sum is
 * made to hold. What is accepted lies inside, and is the same when it is made anew. */
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

static void sound(uint8_t *dir)
{
	struct volume_image m = {
		.name = "first", .sectors = 100, .n = 1, .extent = {{VOLUME_DATA, 100}}};

	volume_begin(dir, SECTORS, 1);
	if (!volume_put(dir, &m))
		abort();
	m = (struct volume_image){.name = "second",
				  .sectors = 60,
				  .n = 3,
				  .extent = {{5000, 10}, {SECTORS - 20, 20}, {700, 30}}};
	if (!volume_put(dir, &m))
		abort();
	m = (struct volume_image){.name = "third", .sectors = 8, .n = 1, .extent = {{1000, 8}}};
	if (!volume_put(dir, &m))
		abort();
}

/* 4 bytes each: which part, where, how, by what */
static void patch(uint8_t *dir, const uint8_t *p, size_t left)
{
	static const struct {
		uint32_t at, len;
	} parts[] = {{0, 64}, {64, 4 * 64}, {16384, 8 * 16}, {VOLUME_DIR - 64, 64}};

	for (; left >= 4; p += 4, left -= 4) {
		uint8_t *at = dir + parts[p[0] % 4].at + p[1] % parts[p[0] % 4].len;

		*at = p[2] & 1 ? p[3] : (uint8_t)(*at + p[3]);
	}
	volume_seal(dir);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t dir[VOLUME_DIR], again[VOLUME_DIR];
	struct volume_image m, same;
	uint64_t generation;

	memset(dir, 0, sizeof(dir));
	if (size % 4 == 1) {
		sound(dir);
		patch(dir, data + 1, size - 1);
	} else {
		memcpy(dir, data, size < sizeof(dir) ? size : sizeof(dir));
		if (size & 1)
			volume_seal(dir);
	}
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
