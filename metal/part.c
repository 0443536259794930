/* SPDX-License-Identifier: ISC */
/* part.c: reads partition tables. What stands in them is another system's, and maybe hostile: every number is checked
 * against the disk, and chains and tables are bounded. Pure functions of the sectors read. */
#include "metal/part.h"

#include "base/str.h"

/* ---- MBR ---- */

enum { MBR_TABLE = 446, MBR_ENTRY = 16, MBR_ENTRIES = 4, MBR_MAGIC = 510 };
enum mbr_type {
	MBR_EMPTY = 0,
	MBR_EXTENDED = 5,
	MBR_EXTENDED_LBA = 0xf,
	MBR_LINUX_EXTENDED = 0x85,
	MBR_GPT = 0xee
};
#define LOGICAL_MAX 64 /* links of the chain */

struct walk {
	const struct part_source *s;
	bool (*each)(void *ctx, const struct part *p);
	void *ctx;
};

static uint64_t get(const uint8_t *p, unsigned size)
{
	uint64_t v = 0;

	memcpy(&v, p, size);
	return v;
}

/* What does not lie within the disk is passed over. */
static bool tell(const struct walk *w, const struct part *p)
{
	if (!p->sectors || !p->sector || p->sector >= w->s->sectors ||
	    p->sectors > w->s->sectors - p->sector)
		return false;
	return w->each(w->ctx, p);
}

static bool is_mbr(const uint8_t *b)
{
	return get(b + MBR_MAGIC, 2) == 0xaa55;
}

static bool is_extended(uint8_t type)
{
	return type == MBR_EXTENDED || type == MBR_EXTENDED_LBA || type == MBR_LINUX_EXTENDED;
}

/* Each link has a partition, relative to itself, and perhaps the next link, relative to the first. */
static int walk_logical(const struct walk *w, uint64_t first)
{
	uint8_t b[PART_SECTOR];
	uint64_t at = first;

	for (unsigned n = 5; n < 5 + LOGICAL_MAX && at < w->s->sectors; n++) {
		const uint8_t *e = b + MBR_TABLE, *link = e + MBR_ENTRY;
		int err = w->s->read(w->s->ctx, at, b);

		if (err)
			return err;
		if (!is_mbr(b))
			return 0;
		if (tell(w, &(struct part){n, at + get(e + 8, 4), get(e + 12, 4), ""}))
			return 1;
		if (!is_extended(link[4]) || !get(link + 8, 4))
			return 0;
		at = first + get(link + 8, 4);
	}
	return 0;
}

static int walk_mbr(const struct walk *w, const uint8_t *b)
{
	int r = 0;

	for (unsigned i = 0; i < MBR_ENTRIES && !r; i++) {
		const uint8_t *e = b + MBR_TABLE + MBR_ENTRY * i;

		if (is_extended(e[4]) && get(e + 8, 4))
			r = walk_logical(w, get(e + 8, 4));
		else if (e[4] != MBR_EMPTY)
			r = tell(w, &(struct part){i + 1, get(e + 8, 4), get(e + 12, 4), ""});
	}
	return r;
}

/* ---- GPT ---- */

enum gpt_header {
	H_SIZE = 12,
	H_CRC = 16,
	H_SELF = 24,
	H_OTHER = 32,
	H_FIRST = 40,
	H_LAST = 48,
	H_ENTRIES = 72,
	H_COUNT = 80,
	H_ENTRY_SIZE = 84,
	H_ENTRIES_CRC = 88,
	H_MIN = 92,
};
enum gpt_entry { E_TYPE = 0, E_FIRST = 32, E_LAST = 40, E_LABEL = 56, E_SIZE = 128 };
#define GPT_MAX 1024 /* entries */

/* CRC-32 of IEEE 802.3; crc of what went before, at first 0 */
static uint32_t crc32(uint32_t crc, const uint8_t *p, size_t n)
{
	for (crc = ~crc; n--; p++) {
		crc ^= *p;
		for (unsigned i = 0; i < 8; i++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
	}
	return ~crc;
}

static bool header_ok(const struct part_source *s, uint64_t at, uint8_t *h)
{
	uint64_t size = get(h + H_SIZE, 4), entry = get(h + H_ENTRY_SIZE, 4);
	uint64_t count = get(h + H_COUNT, 4), entries = get(h + H_ENTRIES, 8);
	uint32_t crc = (uint32_t)get(h + H_CRC, 4);

	if (memcmp(h, "EFI PART", 8) || size < H_MIN || size > PART_SECTOR)
		return false;
	memset(h + H_CRC, 0, 4);
	return crc32(0, h, size) == crc && get(h + H_SELF, 8) == at && count <= GPT_MAX &&
	       (entry == E_SIZE || entry == 2 * E_SIZE || entry == 4 * E_SIZE) &&
	       entries < s->sectors && s->sectors - entries >= count * entry / PART_SECTOR + 1;
}

static void entry_label(const uint8_t *e, char label[37])
{
	for (unsigned i = 0; i < 36; i++) {
		uint64_t c = get(e + E_LABEL + 2 * i, 2);

		label[i] = c < 128 ? (char)c : '?';
	}
	label[36] = 0;
}

static bool tell_entry(const struct walk *w, const uint8_t *h, const uint8_t *e, unsigned number)
{
	static const uint8_t unused[16];
	uint64_t first = get(e + E_FIRST, 8), last = get(e + E_LAST, 8);
	struct part p = {number, first, last - first + 1, ""};

	if (!memcmp(e + E_TYPE, unused, sizeof(unused)) || first > last ||
	    first < get(h + H_FIRST, 8) || last > get(h + H_LAST, 8))
		return false;
	entry_label(e, p.label);
	return tell(w, &p);
}

/* Twice over the table: what its sum does not hold for is not told. */
static int walk_entries(const struct walk *w, const uint8_t *h, bool check)
{
	uint64_t at = get(h + H_ENTRIES, 8), size = get(h + H_ENTRY_SIZE, 4);
	unsigned count = (unsigned)get(h + H_COUNT, 4), per = PART_SECTOR / (unsigned)size;
	uint8_t b[PART_SECTOR];
	uint32_t crc = 0;

	for (unsigned i = 0; i < count; i++) {
		const uint8_t *e = b + i % per * size;
		int err = i % per ? 0 : w->s->read(w->s->ctx, at + i / per, b);

		if (err)
			return err;
		if (check)
			crc = crc32(crc, e, size);
		else if (tell_entry(w, h, e, i + 1))
			return 1;
	}
	return check && crc != get(h + H_ENTRIES_CRC, 4) ? ERR_FORMAT : 0;
}

static int walk_gpt(const struct walk *w, uint64_t at)
{
	uint8_t h[PART_SECTOR];
	int r = at < w->s->sectors ? w->s->read(w->s->ctx, at, h) : ERR_FORMAT;

	if (r)
		return r;
	if (!header_ok(w->s, at, h))
		return ERR_FORMAT;
	r = walk_entries(w, h, true);
	return r ? r : walk_entries(w, h, false);
}

static bool is_protective(const uint8_t *b)
{
	for (unsigned i = 0; i < MBR_ENTRIES; i++)
		if (b[MBR_TABLE + MBR_ENTRY * i + 4] == MBR_GPT)
			return true;
	return false;
}

/* ---- both ---- */

int part_walk(const struct part_source *s, bool (*each)(void *ctx, const struct part *p), void *ctx)
{
	const struct walk w = {s, each, ctx};
	uint8_t b[PART_SECTOR];
	int r = s->sectors ? s->read(s->ctx, 0, b) : ERR_FORMAT;

	if (!r && !is_mbr(b))
		r = ERR_FORMAT;
	if (!r && !is_protective(b)) {
		r = walk_mbr(&w, b);
	} else if (!r) {
		r = walk_gpt(&w, 1);
		if (r < 0)
			r = walk_gpt(&w, s->sectors - 1);
	}
	return MIN(r, 0);
}

struct search {
	const char *want;
	unsigned number;
	struct part *out;
	bool found;
};

static bool match(void *ctx, const struct part *p)
{
	struct search *s = ctx;

	s->found = p->number == s->number || (p->label[0] && str_eq(p->label, s->want));
	if (s->found)
		*s->out = *p;
	return s->found;
}

int part_find(const struct part_source *s, const char *want, struct part *out)
{
	struct search search = {.want = want, .out = out};
	int err;

	for (const char *c = want; *c >= '0' && *c <= '9' && search.number < 10000;)
		search.number = search.number * 10 + (unsigned)(*c++ - '0');
	err = part_walk(s, match, &search);
	return err || search.found ? err : ERR_NOENT;
}
