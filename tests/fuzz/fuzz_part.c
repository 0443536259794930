/* SPDX-License-Identifier: ISC */
/* fuzz_part.c: any bytes as a disk with partitions; sums are made to hold. What is told lies on the disk. */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "metal/part.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct disk {
	const uint8_t *data;
	uint64_t sectors;
	unsigned reads;
};

/* The header's and the table's sum, where they lie in the input, so that what follows is reached. */
static void seal(uint8_t *buf, const struct disk *d)
{
	uint32_t size, n, entry, crc;
	uint64_t at;

	memcpy(&size, buf + 12, 4);
	memcpy(&at, buf + 72, 8);
	memcpy(&n, buf + 80, 4);
	memcpy(&entry, buf + 84, 4);
	if (at < d->sectors && (uint64_t)n * entry <= (d->sectors - at) * PART_SECTOR) {
		crc = (uint32_t)crc32(0, d->data + at * PART_SECTOR, n * entry);
		memcpy(buf + 88, &crc, 4);
	}
	memset(buf + 16, 0, 4);
	crc = (uint32_t)crc32(0, buf, size < PART_SECTOR ? size : PART_SECTOR);
	memcpy(buf + 16, &crc, 4);
}

static int read_sector(void *ctx, uint64_t sector, void *buf)
{
	struct disk *d = ctx;

	if (sector >= d->sectors || ++d->reads > 5000)
		abort();
	memcpy(buf, d->data + sector * PART_SECTOR, PART_SECTOR);
	if (!memcmp(buf, "EFI PART", 8))
		seal(buf, d);
	return 0;
}

static bool inside(void *ctx, const struct part *p)
{
	const struct disk *d = ctx;

	if (!p->sectors || p->sector >= d->sectors || p->sectors > d->sectors - p->sector ||
	    strnlen(p->label, sizeof(p->label)) == sizeof(p->label))
		abort();
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct disk d = {data, size / PART_SECTOR, 0};
	const struct part_source s = {read_sector, &d, d.sectors};
	struct part p;

	if (!part_walk(&s, inside, &d) && !part_find(&s, "da", &p))
		inside(&d, &p);
	return 0;
}
