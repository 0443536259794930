/* SPDX-License-Identifier: ISC */
/* journal.c: see journal.h. Pure: any thread. */
#include "block/journal.h"

#include "base/crc32c.h"
#include "base/str.h"

static const char magic[8] = {'V', 'I', 'G', 'I', 'A', 'J', 'R', 'N'};

struct head {
	char magic[8];
	uint64_t number;
	uint32_t crc, len;
};
_Static_assert(sizeof(struct head) == JOURNAL_HEAD, "journal.h");

static uint32_t sum(const uint8_t *sector, struct head h)
{
	uint32_t crc;

	h.crc = 0;
	crc = crc32c(0, &h, sizeof(h));
	return crc32c(crc, sector + JOURNAL_HEAD, JOURNAL_TEXT);
}

void journal_seal(uint8_t sector[JOURNAL_SECTOR], uint64_t number, uint32_t len)
{
	struct head h = {.number = number, .len = len};

	memcpy(h.magic, magic, sizeof(magic));
	memset(sector + JOURNAL_HEAD + len, 0, JOURNAL_TEXT - len);
	h.crc = sum(sector, h);
	memcpy(sector, &h, sizeof(h));
}

bool journal_check(const uint8_t sector[JOURNAL_SECTOR], uint64_t index, uint64_t sectors,
		   uint64_t *number, uint32_t *len)
{
	struct head h;

	memcpy(&h, sector, sizeof(h));
	if (memcmp(h.magic, magic, sizeof(magic)) || !h.number ||
	    (h.number - 1) % sectors != index || !h.len || h.len > JOURNAL_TEXT ||
	    h.crc != sum(sector, h))
		return false;
	*number = h.number;
	*len = h.len;
	return true;
}
