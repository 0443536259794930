/* SPDX-License-Identifier: ISC */
/* stream.c: sections and fields of the saved state; see stream.h and doc/state-format.md. One thread
 * at a time. A section is collected in one buffer of fixed size, so that its length and checksum go
 * in front of it, and so that no length in a file ever leads to an allocation. */
#include "vm/stream.h"

#include "base/str.h"
#include "plat/plat.h"
#include "vm/vcpu.h"

static const char magic[8] = {'v', 'i', 'g', 'i', 'a', 's', 't', '\n'};

struct file_header {
	char magic[8];
	uint32_t version;
	uint32_t crc; /* of the fields before it */
};
_Static_assert(sizeof(struct file_header) == 16, "file header");

#define SECTION_TAG 0x54434553u /* "SECT" */
struct section_header {
	uint32_t tag;
	uint32_t version;
	uint32_t len; /* of the body */
	uint32_t crc; /* of name, version, length and body */
	char name[STATE_NAME];
};
_Static_assert(sizeof(struct section_header) == 64, "section header");

/* An item: u8 type, u8 size, u8 length of the name, name, u32 count, count × size bytes. */
#define ITEM_FIXED 7

uint64_t state_host_tsc(void)
{
	return vcpu_ticks();
}

int state_fail(struct state_stream *st, int err, const char *fmt, ...)
{
	va_list ap;

	if (st->err)
		return st->err;
	st->err = err;
	va_start(ap, fmt);
	str_vformat(st->why, sizeof(st->why), fmt, ap);
	va_end(ap);
	return err;
}

/* ---- bytes -------------------------------------------------------------------------------- */

static void put_le(uint8_t *p, unsigned size, uint64_t v)
{
	for (unsigned i = 0; i < size; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

static uint64_t get_le(const uint8_t *p, unsigned size)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < size; i++)
		v |= (uint64_t)p[i] << (8 * i);
	return v;
}

/* Room for n bytes at the end of the body. */
static uint8_t *grow(struct state_stream *st, uint64_t n)
{
	uint8_t *p = st->buf + st->len;

	if (st->err)
		return NULL;
	if (n > STATE_SECTION_MAX - st->len) {
		state_fail(st, err_here(ERR_NOMEM), "section %s has more than %u bytes",
			   st->section, STATE_SECTION_MAX);
		return NULL;
	}
	st->len += (uint32_t)n;
	return p;
}

static int cut_short(struct state_stream *st, const char *what)
{
	return state_fail(st, err_here(ERR_FORMAT), "section %s ends in the middle of %s",
			  st->section, what);
}

/* ---- file and sections --------------------------------------------------------------------- */

static int write_header(struct state_stream *st)
{
	struct file_header h = {.version = STATE_VERSION};

	memcpy(h.magic, magic, sizeof(magic));
	h.crc = crc32c(0, &h, offsetof(struct file_header, crc));
	if (st->io->write(st->ctx, &h, sizeof(h)))
		return state_fail(st, err_here(ERR_IO), "cannot write");
	return 0;
}

static int read_header(struct state_stream *st)
{
	struct file_header h;

	if (st->io->read(st->ctx, &h, sizeof(h)) || memcmp(h.magic, magic, sizeof(magic)))
		return state_fail(st, err_here(ERR_FORMAT), "this is no saved state");
	if (h.crc != crc32c(0, &h, offsetof(struct file_header, crc)))
		return state_fail(st, err_here(ERR_FORMAT), "the header is damaged");
	if (!h.version || h.version > STATE_VERSION)
		return state_fail(st, err_here(ERR_NOSYS),
				  "format version %u is of a newer vigia: this one reads up to %u",
				  h.version, STATE_VERSION);
	return 0;
}

int state_open(struct state_stream *st, const struct state_io *io, void *ctx, bool loading)
{
	*st = (struct state_stream){.io = io, .ctx = ctx, .loading = loading};
	st->clock.realtime = plat_realtime();
	st->clock.tsc = state_host_tsc();
	st->clock.ns = plat_now();
	st->buf = plat_pages_alloc(STATE_SECTION_MAX);
	if (!st->buf)
		return state_fail(st, err_here(ERR_NOMEM), "out of memory");
	return loading ? read_header(st) : write_header(st);
}

void state_close(struct state_stream *st)
{
	plat_pages_free(st->buf, STATE_SECTION_MAX);
	st->buf = NULL;
}

void state_begin(struct state_stream *st, const char *name, uint32_t version)
{
	str_copy(st->section, sizeof(st->section), name);
	st->version = version;
	st->len = st->pos = 0;
}

static uint32_t section_crc(const struct section_header *h, const uint8_t *body)
{
	uint32_t crc = crc32c(0, h->name, sizeof(h->name));

	crc = crc32c(crc, &h->version, sizeof(h->version));
	crc = crc32c(crc, &h->len, sizeof(h->len));
	return crc32c(crc, body, h->len);
}

int state_end(struct state_stream *st)
{
	struct section_header h = {.tag = SECTION_TAG, .version = st->version, .len = st->len};

	if (st->err)
		return st->err;
	if (++st->sections > STATE_SECTIONS)
		return state_fail(st, err_here(ERR_NOMEM), "more than %u sections", STATE_SECTIONS);
	str_copy(h.name, sizeof(h.name), st->section);
	h.crc = section_crc(&h, st->buf);
	if (st->io->write(st->ctx, &h, sizeof(h)) ||
	    (st->len && st->io->write(st->ctx, st->buf, st->len)))
		return state_fail(st, err_here(ERR_IO), "cannot write");
	st->section[0] = 0;
	return 0;
}

int state_finish(struct state_stream *st)
{
	state_begin(st, "end", 1);
	return state_end(st);
}

int state_next(struct state_stream *st)
{
	struct section_header h;

	if (st->err)
		return st->err;
	if (++st->sections > STATE_SECTIONS)
		return state_fail(st, err_here(ERR_FORMAT), "more than %u sections",
				  STATE_SECTIONS);
	if (st->io->read(st->ctx, &h, sizeof(h)))
		return state_fail(st, err_here(ERR_FORMAT),
				  "the file ends after section %s: it is not complete",
				  st->section[0] ? st->section : "-");
	if (h.tag != SECTION_TAG || !h.name[0] || h.name[STATE_NAME - 1] ||
	    h.len > STATE_SECTION_MAX)
		return state_fail(st, err_here(ERR_FORMAT), "the section after %s is damaged",
				  st->section[0] ? st->section : "the header");
	if (h.len && st->io->read(st->ctx, st->buf, h.len))
		return state_fail(st, err_here(ERR_FORMAT), "the file ends in section %s", h.name);
	if (section_crc(&h, st->buf) != h.crc)
		return state_fail(st, err_here(ERR_FORMAT), "section %s is damaged (checksum)",
				  h.name);
	memcpy(st->section, h.name, sizeof(h.name));
	st->version = h.version;
	st->len = h.len;
	st->pos = 0;
	return 0;
}

int state_expect(struct state_stream *st, const char *name, uint32_t version)
{
	if (st->err)
		return st->err;
	if (!str_eq(st->section, name))
		return state_fail(st, err_here(ERR_FORMAT), "section %s is where %s should be",
				  st->section, name);
	if (!st->version || st->version > version)
		return state_fail(st, err_here(ERR_NOSYS),
				  "section %s has version %u: this vigia reads up to %u", name,
				  st->version, version);
	return 0;
}

int state_leave(struct state_stream *st)
{
	if (!st->err && st->pos != st->len)
		state_fail(st, err_here(ERR_FORMAT), "section %s holds more than is known",
			   st->section);
	return st->err;
}

/* ---- items --------------------------------------------------------------------------------- */

static uint8_t *put_item(struct state_stream *st, const char *name, uint8_t type, uint8_t size,
			 uint32_t count, uint64_t bytes)
{
	size_t n = MIN(str_len(name), (size_t)UINT8_MAX);
	uint8_t *p = grow(st, ITEM_FIXED + n + bytes);

	if (!p)
		return NULL;
	p[0] = type;
	p[1] = size;
	p[2] = (uint8_t)n;
	memcpy(p + 3, name, n);
	put_le(p + 3 + n, 4, count);
	return p + ITEM_FIXED + n;
}

/* The next item, which must have this name and shape; its payload, or NULL. *count: given out. */
static const uint8_t *get_item(struct state_stream *st, const char *name, uint8_t type,
			       uint8_t size, uint32_t *count)
{
	const uint8_t *p = st->buf + st->pos;
	uint32_t left = st->len - st->pos;
	size_t n = str_len(name);
	uint64_t bytes;

	if (st->err)
		return NULL;
	if (left < ITEM_FIXED || left - ITEM_FIXED < p[2]) {
		cut_short(st, name);
		return NULL;
	}
	if (p[0] != type || p[1] != size || p[2] != n || memcmp(p + 3, name, n)) {
		state_fail(st, err_here(ERR_FORMAT),
			   "section %s holds something else where %s should be", st->section, name);
		return NULL;
	}
	*count = (uint32_t)get_le(p + 3 + n, 4);
	bytes = (uint64_t)*count * size;
	if (bytes > left - ITEM_FIXED - n) {
		cut_short(st, name);
		return NULL;
	}
	st->pos += (uint32_t)(ITEM_FIXED + n + bytes);
	return p + ITEM_FIXED + n;
}

int st_put_bytes(struct state_stream *st, const char *name, const void *buf, uint32_t len)
{
	uint8_t *p = put_item(st, name, ST_BYTES, 1, len, len);

	if (p)
		memcpy(p, buf, len);
	return st->err;
}

int st_get_bytes(struct state_stream *st, const char *name, void *buf, uint32_t *len)
{
	uint32_t count = 0;
	const uint8_t *p = get_item(st, name, ST_BYTES, 1, &count);

	if (!p)
		return st->err;
	if (count > *len)
		return state_fail(st, err_here(ERR_FORMAT), "section %s: %s has %u bytes",
				  st->section, name, count);
	memcpy(buf, p, count);
	*len = count;
	return 0;
}

/* ---- fields --------------------------------------------------------------------------------- */

static uint64_t mem_get(const uint8_t *p, unsigned size)
{
	uint64_t v = 0;

	memcpy(&v, p, size); /* the hosts are little-endian, as the file is */
	return v;
}

/* Relative to the present of the stream; "never" stays never. */
static uint64_t rel(uint64_t v, uint64_t now)
{
	return v == UINT64_MAX ? (uint64_t)INT64_MAX : v - now;
}

static uint64_t outward(const struct state_stream *st, uint8_t type, uint64_t v)
{
	switch (type) {
	case ST_TIME:
		return rel(v, st->clock.ns);
	case ST_STAMP:
		return rel(v, st->clock.tsc);
	case ST_OFFSET:
		return v + st->clock.tsc;
	default:
		return v;
	}
}

static uint64_t inward(const struct state_stream *st, uint8_t type, uint64_t v)
{
	switch (type) {
	case ST_TIME:
		return v == (uint64_t)INT64_MAX ? UINT64_MAX : v + st->clock.ns;
	case ST_STAMP:
		return v == (uint64_t)INT64_MAX ? UINT64_MAX : v + st->clock.tsc;
	case ST_OFFSET:
		return v - st->clock.tsc;
	default:
		return v;
	}
}

int st_save(struct state_stream *st, const char *record, uint32_t index,
	    const struct st_field *fields, unsigned n, const void *obj)
{
	put_item(st, record, ST_RECORD, 0, index, 0);
	for (unsigned i = 0; i < n; i++) {
		const struct st_field *f = &fields[i];
		const uint8_t *from = (const uint8_t *)obj + f->off;
		uint8_t *p = put_item(st, f->name, f->type, f->size, f->count,
				      (uint64_t)f->size * f->count);

		for (uint32_t k = 0; p && f->type != ST_BYTES && k < f->count; k++)
			put_le(p + k * f->size, f->size,
			       outward(st, f->type, mem_get(from + k * f->size, f->size)));
		if (p && f->type == ST_BYTES)
			memcpy(p, from, f->count);
	}
	return st->err;
}

static int load_field(struct state_stream *st, const struct st_field *f, uint8_t *to)
{
	uint32_t count = 0;
	const uint8_t *p = get_item(st, f->name, f->type, f->size, &count);

	if (!p)
		return st->err;
	if (count != f->count)
		return state_fail(st, err_here(ERR_FORMAT),
				  "section %s: %s has %u elements, not %u", st->section, f->name,
				  count, f->count);
	if (f->type == ST_BYTES) {
		memcpy(to, p, count);
		return 0;
	}
	for (uint32_t k = 0; k < count; k++) {
		uint64_t v = get_le(p + k * f->size, f->size);

		/* Half the range of the clock: sums of two such values cannot wrap. */
		bool far = (f->type == ST_TIME || f->type == ST_STAMP) &&
			   v != (uint64_t)INT64_MAX && v + BIT64(61) > BIT64(62);

		if ((f->max && v > f->max) || far)
			return state_fail(st, err_here(ERR_FORMAT),
					  "section %s: %s is out of its range", st->section,
					  f->name);
		v = inward(st, f->type, v);
		memcpy(to + k * f->size, &v, f->size);
	}
	return 0;
}

int st_load(struct state_stream *st, const char *record, uint32_t index,
	    const struct st_field *fields, unsigned n, void *obj)
{
	uint32_t i = 0;

	if (get_item(st, record, ST_RECORD, 0, &i) && i != index)
		state_fail(st, err_here(ERR_FORMAT), "section %s: record %s %u where %u should be",
			   st->section, record, i, index);
	for (i = 0; i < n && !st->err; i++)
		load_field(st, &fields[i], (uint8_t *)obj + fields[i].off);
	return st->err;
}

int st_sync(struct state_stream *st, const char *record, uint32_t index,
	    const struct st_field *fields, unsigned n, void *obj)
{
	return st->loading ? st_load(st, record, index, fields, n, obj)
			   : st_save(st, record, index, fields, n, obj);
}
