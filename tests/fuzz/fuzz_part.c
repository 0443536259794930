/* SPDX-License-Identifier: ISC */
/* fuzz_part.c: any bytes as a disk with partitions, or patches to a sound one: MBR with a chain of logical ones, or GPT, whose
 * sums are made to hold. What is told lies on the disk. */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "metal/part.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SECTORS 128u
#define ENTRIES 16u
#define ENTRY   128u
#define LAST    (SECTORS - 1)
#define BACKUP  (LAST - ENTRIES * ENTRY / PART_SECTOR)

#include "tests/lib/part_disk.h"

/* How a sound disk begins: the first byte of its patches */
enum { WITH_GPT = 1, FIRST_BROKEN = 2, UNSEALED = 4 };

struct source {
	uint64_t sectors;
	unsigned reads;
};

static void sound_mbr(void)
{
	put_mbr(0, 0, 0x83, 2, 10);
	put_mbr(0, 1, 0x0f, 20, 80);
	put_mbr(0, 3, 0x07, 110, 18);
	put_mbr(20, 0, 0x83, 1, 9);
	put_mbr(20, 1, 0x05, 10, 20);
	put_mbr(30, 0, 0x82, 2, 8);
	put_mbr(30, 1, 0x85, 40, 20);
	put_mbr(60, 0, 0x83, 1, 5);
}

static void put_gpt(uint64_t self, uint64_t other, uint64_t entries)
{
	uint8_t *h = at(self), *e = at(entries);

	memcpy(h, "EFI PART\0\0\1\0", 12);
	put(h + 12, 4, 92);
	put(h + 24, 8, self);
	put(h + 32, 8, other);
	put(h + 40, 8, 8);
	put(h + 48, 8, BACKUP - 1);
	put(h + 72, 8, entries);
	put(h + 80, 4, ENTRIES);
	put(h + 84, 4, ENTRY);
	for (unsigned i = 0; i < 3; i++, e += ENTRY) {
		e[0] = e[16] = (uint8_t)(i + 1);
		put(e + 32, 8, 8 + 20 * i);
		put(e + 40, 8, 20 + 20 * i);
		e[56] = 'd';
		e[58] = (uint8_t)('a' + i);
	}
}

static void sound(unsigned how)
{
	if (!(how & WITH_GPT)) {
		sound_mbr();
		return;
	}
	put_mbr(0, 0, 0xee, 1, LAST);
	put_gpt(1, LAST, 2);
	put_gpt(LAST, 1, BACKUP);
	if (how & FIRST_BROKEN)
		at(1)[0] = 'X';
}

/* 4 bytes each: which sector, where, how, by what */
static void patch(const uint8_t *p, size_t left)
{
	static const uint8_t sectors[] = {0, 1, 2, 3, 20, 30, 60, BACKUP, LAST};

	for (; left >= 4; p += 4, left -= 4) {
		uint8_t s = p[0] % 16, *byte;

		s = s < sizeof(sectors) ? sectors[s] : p[2] % SECTORS;
		byte = at(s) + p[1] + (p[2] & 2 ? 256 : 0);
		*byte = p[2] & 1 ? p[3] : (uint8_t)(*byte + p[3]);
	}
}

/* The table's and the header's sum, where they can be made to hold. */
static void seal(uint8_t *h, uint64_t sectors)
{
	uint32_t size, n, entry, crc;
	uint64_t table;

	memcpy(&size, h + 12, 4);
	memcpy(&table, h + 72, 8);
	memcpy(&n, h + 80, 4);
	memcpy(&entry, h + 84, 4);
	if (table < sectors && (uint64_t)n * entry <= (sectors - table) * PART_SECTOR) {
		crc = (uint32_t)crc32(0, at(table), n * entry);
		put(h + 88, 4, crc);
	}
	put(h + 16, 4, 0);
	crc = (uint32_t)crc32(0, h, size < PART_SECTOR ? size : PART_SECTOR);
	put(h + 16, 4, crc);
}

static int read_sector(void *ctx, uint64_t sector, void *buf)
{
	struct source *s = ctx;

	if (sector >= s->sectors || ++s->reads > 5000)
		abort();
	memcpy(buf, at(sector), PART_SECTOR);
	return 0;
}

static bool inside(void *ctx, const struct part *p)
{
	const struct source *s = ctx;

	if (!p->sectors || p->sector >= s->sectors || p->sectors > s->sectors - p->sector ||
	    strnlen(p->label, sizeof(p->label)) == sizeof(p->label))
		abort();
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct source s = {SECTORS, 0};
	struct part_source source = {read_sector, &s, SECTORS};
	bool is_patch = size % 4 == 1;
	struct part p;

	memset(disk, 0, sizeof(disk));
	if (is_patch) {
		sound(data[0]);
		patch(data + 1, size - 1);
	} else {
		memcpy(disk, data, size < sizeof(disk) ? size : sizeof(disk));
		s.sectors = source.sectors = MIN(size / PART_SECTOR, (size_t)SECTORS);
	}
	if (!is_patch || !(data[0] & UNSEALED))
		for (uint64_t i = 0; i < s.sectors; i++)
			if (!memcmp(at(i), "EFI PART", 8))
				seal(at(i), s.sectors);
	if (!part_walk(&source, inside, &s) && !part_find(&source, "da", &p))
		inside(&s, &p);
	return 0;
}
