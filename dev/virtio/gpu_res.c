/* SPDX-License-Identifier: ISC */
/* gpu_res.c: pictures in the host's memory, how they are filled from the guest's, and how the one on the screen comes
 * to the display. Viewers pull: a flush only marks rows, and they are copied when somebody looks. Lock held. */
#include "dev/virtio/gpu_impl.h"

#include "base/str.h"
#include "vm/memmap.h"
#include "vm/vm.h"

#define DOT 4u

/* Where the colours are in a dot, by bytes; alpha 4: none */
static const struct format {
	uint32_t number;
	uint8_t r, g, b, a;
} formats[] = {
	{1, 2, 1, 0, 3},                                                          /* B8G8R8A8 */
	{2, 2, 1, 0, 4},                                                          /* B8G8R8X8 */
	{3, 1, 2, 3, 0},                                                          /* A8R8G8B8 */
	{4, 1, 2, 3, 4},   {67, 0, 1, 2, 3}, {68, 3, 2, 1, 4}, {121, 3, 2, 1, 0}, /* A8B8G8R8 */
	{134, 0, 1, 2, 4},
};

static const struct format *format_of(uint32_t number)
{
	for (unsigned i = 0; i < ARRAY_SIZE(formats); i++)
		if (formats[i].number == number)
			return &formats[i];
	return NULL;
}

bool gpu_format_known(uint32_t format)
{
	return format_of(format);
}

struct gpu_resource *gpu_find(struct gpu *g, uint32_t id)
{
	for (unsigned i = 0; i < GPU_RESOURCES && id; i++)
		if (g->resource[i].id == id)
			return &g->resource[i];
	return NULL;
}

bool gpu_inside(const struct gpu_rect *r, uint32_t w, uint32_t h)
{
	return r->x <= w && r->w <= w - r->x && r->y <= h && r->h <= h - r->y;
}

/* ---- memory ----------------------------------------------------------------------------------------------- */

uint64_t gpu_bytes(uint32_t w, uint32_t h)
{
	uint64_t bytes = (uint64_t)w * h * DOT;

	return w && h && w <= GPU_SIDE_MAX && h <= GPU_SIDE_MAX && bytes <= GPU_MEMORY ? bytes : 0;
}

/* The resource that has this block; NULL: it is free. */
static const struct gpu_resource *block_owner(const struct gpu *g, unsigned block)
{
	for (unsigned i = 0; i < GPU_RESOURCES; i++) {
		const struct gpu_resource *r = &g->resource[i];

		if (r->id && block >= r->block && block - r->block < r->blocks)
			return r;
	}
	return NULL;
}

/* The first gap of so many; GPU_BLOCKS: there is none. */
static unsigned find_gap(const struct gpu *g, unsigned want)
{
	unsigned at = 0, end = 0;

	while (end < at + want && at + want <= GPU_BLOCKS) {
		const struct gpu_resource *r = block_owner(g, end);

		end = r ? r->block + r->blocks : end + 1;
		if (r)
			at = end;
	}
	return at + want <= GPU_BLOCKS ? at : GPU_BLOCKS;
}

unsigned gpu_create(struct gpu *g, uint32_t id, uint32_t format, uint32_t w, uint32_t h)
{
	uint64_t bytes = gpu_bytes(w, h);
	unsigned blocks = (unsigned)((bytes + GPU_BLOCK - 1) / GPU_BLOCK), at, i = 0;

	if (!id || gpu_find(g, id))
		return GPU_ERR_RESOURCE;
	if (!format_of(format) || !bytes)
		return GPU_ERR_PARAMETER;
	at = find_gap(g, blocks);
	while (i < GPU_RESOURCES && g->resource[i].id)
		i++;
	if (at == GPU_BLOCKS || i == GPU_RESOURCES)
		return GPU_ERR_OUT_OF_MEMORY;
	g->resource[i] = (struct gpu_resource){.id = id,
					       .format = format,
					       .w = w,
					       .h = h,
					       .block = (uint16_t)at,
					       .blocks = (uint16_t)blocks};
	return GPU_OK;
}

/* The next one finds zeros. */
void gpu_unref(struct gpu *g, struct gpu_resource *r)
{
	if (g->shown == r->id) {
		gpu_dirty_all(g);
		g->shown = 0;
	}
	if (g->cursor.resource == r->id) {
		gpu_dirty_cursor(g);
		g->cursor.resource = 0;
	}
	plat_pages_discard(gpu_pixels(g, r), (size_t)r->blocks * GPU_BLOCK);
	*r = (struct gpu_resource){0};
}

/* ---- from the guest's memory --------------------------------------------------------------------------- */

/* A place in the pieces of memory behind a resource, which only moves on. */
struct place {
	const struct gpu_entry *e, *end;
	uint64_t start; /* of *e, in bytes from the resource's beginning */
};

static bool copy_in(struct gpu *g, struct place *p, uint64_t offset, uint8_t *to, uint64_t len)
{
	while (len) {
		uint64_t skip, part;

		while (p->e < p->end && offset - p->start >= p->e->len)
			p->start += p->e++->len;
		if (p->e == p->end)
			return false;
		skip = offset - p->start;
		part = MIN(len, p->e->len - skip);
		if (mem_read(g->vd.dev.vm, p->e->gpa + skip, to, part))
			return false;
		to += part;
		offset += part;
		len -= part;
	}
	return true;
}

unsigned gpu_transfer(struct gpu *g, struct gpu_resource *r, const struct gpu_rect *rect,
		      uint64_t offset)
{
	const uint64_t stride = (uint64_t)r->w * DOT;
	struct place p = {.e = gpu_entries(g, r)};
	uint8_t *to = gpu_pixels(g, r) + rect->y * stride + (uint64_t)rect->x * DOT;

	p.end = p.e + r->entries;
	if (!gpu_inside(rect, r->w, r->h) || offset > GPU_MEMORY)
		return GPU_ERR_PARAMETER;
	for (uint32_t y = 0; y < rect->h; y++, offset += stride, to += stride)
		if (!copy_in(g, &p, offset, to, (uint64_t)rect->w * DOT))
			return GPU_ERR_UNSPEC;
	return GPU_OK;
}

/* ---- to the display -------------------------------------------------------------------------------------- */

static void dirty_rows(struct gpu *g, uint64_t from, uint64_t to)
{
	to = MIN(to, (uint64_t)DISPLAY_MAX_H);
	for (uint64_t y = from; y < to; y++)
		g->row_dirty[y] = 1;
}

void gpu_dirty_all(struct gpu *g)
{
	dirty_rows(g, 0, DISPLAY_MAX_H);
}

void gpu_dirty(struct gpu *g, const struct gpu_resource *r, const struct gpu_rect *rect)
{
	const struct gpu_rect *s = &g->scanout;
	uint64_t from = MAX(rect->y, s->y), to = MIN(rect->y + rect->h, s->y + s->h);

	if (r->id == g->shown && from < to)
		dirty_rows(g, from - s->y, to - s->y);
}

void gpu_dirty_cursor(struct gpu *g)
{
	int64_t y = (int32_t)g->cursor.y;

	if (g->cursor.resource)
		dirty_rows(g, (uint64_t)MAX(y, 0), (uint64_t)MAX(y + GPU_CURSOR_SIDE, 0));
}

static uint8_t mix(unsigned under, unsigned over, unsigned alpha)
{
	return (uint8_t)((over * alpha + under * (255 - alpha) + 127) / 255);
}

/* The cursor's part of a row of the screen. */
static void draw_cursor(struct gpu *g, uint32_t *row, unsigned y, unsigned width)
{
	const struct gpu_resource *r = gpu_find(g, g->cursor.resource);
	int64_t left = (int32_t)g->cursor.x, line = (int64_t)y - (int32_t)g->cursor.y;
	const struct format *f;
	const uint8_t *p;

	if (!r || line < 0 || line >= (int64_t)MIN(r->h, GPU_CURSOR_SIDE))
		return;
	f = format_of(r->format);
	p = gpu_pixels(g, r) + (size_t)line * r->w * DOT;
	for (unsigned i = 0; i < MIN(r->w, GPU_CURSOR_SIDE); i++, p += DOT) {
		int64_t x = left + i;
		unsigned alpha = f->a < DOT ? p[f->a] : 255;
		uint32_t v;

		if (x < 0 || x >= width)
			continue;
		v = row[x];
		row[x] = (uint32_t)mix(v >> 16 & 255, p[f->r], alpha) << 16 |
			 (uint32_t)mix(v >> 8 & 255, p[f->g], alpha) << 8 |
			 mix(v & 255, p[f->b], alpha);
	}
}

static void draw_row(struct gpu *g, const struct gpu_resource *r, const struct format *f,
		     unsigned y)
{
	uint32_t *row = g->pixels + (size_t)y * g->scanout.w;
	const uint8_t *p =
		gpu_pixels(g, r) + ((size_t)(g->scanout.y + y) * r->w + g->scanout.x) * DOT;

	for (uint32_t x = 0; x < g->scanout.w; x++, p += DOT)
		row[x] = (uint32_t)p[f->r] << 16 | (uint32_t)p[f->g] << 8 | p[f->b];
	draw_cursor(g, row, y, g->scanout.w);
}

/* Display locked. Without a picture the screen is as wide as the monitor likes it, and black. */
static void set_size(struct display *d, uint32_t w, uint32_t h)
{
	if (d->width == w && d->height == h)
		return;
	d->width = w;
	d->height = h;
	d->resized = true;
}

void gpu_refresh(void *dev, struct display *d)
{
	struct gpu *g = dev;
	const struct gpu_resource *r;

	plat_mutex_lock(&g->vd.lock);
	r = gpu_find(g, g->shown);
	set_size(d, r ? g->scanout.w : EDID_WIDTH, r ? g->scanout.h : EDID_HEIGHT);
	for (unsigned y = 0; y < d->height; y++) {
		if (!g->row_dirty[y] && !d->resized)
			continue;
		if (r)
			draw_row(g, r, format_of(r->format), y);
		else
			memset(g->pixels + (size_t)y * d->width, 0, d->width * sizeof(uint32_t));
		d->row_dirty[y] = 1;
	}
	memset(g->row_dirty, 0, sizeof(g->row_dirty));
	plat_mutex_unlock(&g->vd.lock);
}
