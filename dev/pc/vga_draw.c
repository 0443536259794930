/* SPDX-License-Identifier: ISC */
/* vga_draw.c: what the monitor shows, in dots and scan lines: text, planar, CGA and 256-colour
 * graphics, split screen and panning, linear frame buffers.
 *
 * A viewer's thread, under display->lock. The registers are copied under vga->lock; video memory is
 * read while the guest may write, as the beam did. A row counts as changed when its pixels do. */
#include "dev/pc/vga_impl.h"

#include "base/str.h"
#include "vm/vm.h"

#define BLINK_NS 228571429u /* 16 frames at 70 Hz */

static uint8_t plane(const struct vga *vga, uint32_t addr, unsigned n)
{
	return vga->vram.hva[(addr & (VGA_PLANE_SIZE - 1)) * 4 + n];
}

/* ---- colours ------------------------------------------------------------------------------------ */

static uint32_t dac_color(const struct vga_regs *r, unsigned i)
{
	const uint8_t *c = &r->dac[(i & r->dac_mask) * 3];
	uint32_t v = 0;

	for (unsigned k = 0; k < 3; k++) {
		unsigned x = r->dispi[DISPI_ENABLE] & DISPI_8BIT ? c[k] : c[k] << 2 | c[k] >> 4;

		v = v << 8 | (x & 0xff);
	}
	return v;
}

/* Through the attribute controller's palette: sixteen colours. */
static void palette16(struct vga *vga)
{
	const struct vga_regs *r = &vga->shown;
	uint8_t select = r->attr[ATTR_COLOR_SELECT];

	for (unsigned i = 0; i < 16; i++) {
		unsigned v = r->attr[i & r->attr[ATTR_PLANES]] & 0x3f;

		if (r->attr[ATTR_MODE] & 0x80)
			v = (v & 0x0f) | (select & 3u) << 4;
		vga->color[i] = dac_color(r, v | (select & 0x0cu) << 4);
	}
}

static void palette256(struct vga *vga)
{
	for (unsigned i = 0; i < 256; i++)
		vga->color[i] = dac_color(&vga->shown, i);
}

/* ---- geometry ----------------------------------------------------------------------------------- */

struct raster {
	unsigned width, height, chars;
	unsigned char_dots; /* 8 or 9 */
	unsigned stretch;   /* dots that a dot of the character clock takes: 2 at half the clock */
	bool text, color256, cga;
	uint32_t start, pitch; /* in character clocks */
	unsigned scans;        /* of a row */
	unsigned doubled, split, preset, pan;
};

static void raster_of(const struct vga_regs *r, struct raster *g)
{
	const uint8_t *c = r->crtc;
	unsigned over = c[CRTC_OVERFLOW];

	g->text = !(r->gfx[GFX_MISC] & 1);
	g->color256 = !g->text && r->gfx[GFX_MODE] & 0x40;
	g->cga = !g->text && r->gfx[GFX_MODE] & 0x20;
	g->chars = c[CRTC_H_DISPLAY_END] + 1u;
	g->char_dots = g->text && !(r->seq[SEQ_CLOCKING] & 1) ? 9 : 8;
	g->stretch = r->seq[SEQ_CLOCKING] & 8 ? 2 : 1;
	g->width = MIN(g->chars * g->char_dots * g->stretch, DISPLAY_MAX_W);
	g->height = (c[CRTC_V_DISPLAY_END] | (over & 2u) << 7 | (over & 0x40u) << 3) + 1;
	g->start = (uint32_t)c[CRTC_START_HIGH] << 8 | c[CRTC_START_HIGH + 1];
	g->start += c[CRTC_PRESET_ROW] >> 5 & 3; /* byte panning */
	g->preset = c[CRTC_PRESET_ROW] & 0x1f;
	g->pitch = c[CRTC_OFFSET] * 2u;
	g->scans = (c[CRTC_MAX_SCAN] & 0x1fu) + 1;
	g->doubled = c[CRTC_MAX_SCAN] >> 7;
	g->split = c[CRTC_LINE_COMPARE] | (over & 0x10u) << 4 | (c[CRTC_MAX_SCAN] & 0x40u) << 3;
	g->pan = r->attr[ATTR_PAN] & 0xf;
	if (g->char_dots == 9)
		g->pan = g->pan >= 8 ? 0 : g->pan + 1;
	else
		g->pan &= g->color256 ? 6 : 7;
}

/* Address of a plane from the counter of character clocks (CRTC 14H and 17H). */
static uint32_t address(const struct vga_regs *r, uint32_t count, unsigned scan)
{
	uint8_t mode = r->crtc[CRTC_MODE];
	uint32_t a = count;

	if (r->crtc[CRTC_UNDERLINE] & 0x40)
		a = count << 2;
	else if (!(mode & 0x40))
		a = count << 1 | (count >> (mode & 0x20 ? 15 : 13) & 1);
	if (!(mode & 1))
		a = (a & ~0x2000u) | (scan & 1) << 13;
	if (!(mode & 2))
		a = (a & ~0x4000u) | (scan >> 1 & 1) << 14;
	return a;
}

/* ---- text --------------------------------------------------------------------------------------- */

/* Start in plane 2 of one of the eight fonts. */
static uint32_t font_at(unsigned low2, unsigned high)
{
	return low2 * 0x4000 + (high ? 0x2000 : 0);
}

static bool blink_on(const struct vga *vga, unsigned shift)
{
	return !(vga->shown_phase >> shift & 1);
}

static bool cursor_here(const struct vga *vga, uint32_t count, unsigned scan)
{
	const uint8_t *c = vga->shown.crtc;
	uint32_t at = (uint32_t)c[CRTC_CURSOR_HIGH] << 8 | c[CRTC_CURSOR_HIGH + 1];

	return at == (count & 0xffff) && !(c[CRTC_CURSOR_START] & 0x20) &&
	       scan >= (c[CRTC_CURSOR_START] & 0x1fu) && scan <= (c[CRTC_CURSOR_END] & 0x1fu) &&
	       blink_on(vga, 0);
}

static void text_char(const struct vga *vga, const struct raster *g, uint32_t count, unsigned scan,
		      uint32_t *out)
{
	const struct vga_regs *r = &vga->shown;
	uint32_t a = address(r, count, 0);
	unsigned ch = plane(vga, a, 0), at = plane(vga, a, 1), mode = r->attr[ATTR_MODE];
	unsigned map = r->seq[SEQ_CHAR_MAP], fg = at & 0xf, bg = at >> 4;
	uint32_t font = at & 8 ? font_at(map >> 2 & 3, map & 0x20) : font_at(map & 3, map & 0x10);
	unsigned bits = (unsigned)plane(vga, font + ch * 32 + scan, 2) << 1;

	if (g->char_dots == 9 && (mode & 4) && ch >= 0xc0 && ch <= 0xdf)
		bits |= bits >> 1 & 1;
	if (mode & 8) {
		if ((at & 0x80) && !blink_on(vga, 1))
			bits = 0;
		bg &= 7;
	}
	if ((mode & 2) && (at & 7) == 1 && scan == (r->crtc[CRTC_UNDERLINE] & 0x1fu))
		bits = 0x1ff;
	if (cursor_here(vga, count, scan))
		bits = 0x1ff;
	for (unsigned i = 0; i < g->char_dots; i++)
		out[i] = vga->color[bits & (0x100u >> i) ? fg : bg];
}

/* ---- graphics ----------------------------------------------------------------------------------- */

static void graphics_char(const struct vga *vga, const struct raster *g, uint32_t count,
			  unsigned scan, uint32_t *out)
{
	uint32_t a = address(&vga->shown, count, scan);
	uint8_t p[4];

	for (unsigned n = 0; n < 4; n++)
		p[n] = plane(vga, a, n);
	if (g->color256) {
		for (unsigned i = 0; i < 8; i++)
			out[i] = vga->color[p[i / 2]];
	} else if (g->cga) { /* two bits of planes 0 and 2, then of 1 and 3 */
		for (unsigned i = 0; i < 8; i++) {
			unsigned s = 6 - 2 * (i & 3), n = i >> 2;

			out[i] = vga->color[(p[n] >> s & 3) | (p[n + 2] >> s & 3) << 2];
		}
	} else {
		for (unsigned i = 0; i < 8; i++) {
			unsigned s = 7 - i;

			out[i] = vga->color[(p[0] >> s & 1) | (p[1] >> s & 1) << 1 |
					    (p[2] >> s & 1) << 2 | (p[3] >> s & 1) << 3];
		}
	}
}

/* ---- lines --------------------------------------------------------------------------------------- */

static void store_row(struct vga *vga, struct display *d, unsigned y, const uint32_t *line)
{
	uint32_t *row = vga->pixels + (size_t)y * d->width, diff = 0;

	for (unsigned x = 0; x < d->width; x++) {
		diff |= row[x] ^ line[x];
		row[x] = line[x];
	}
	if (diff)
		d->row_dirty[y] = 1;
}

static void resize(struct vga *vga, struct display *d, unsigned w, unsigned h)
{
	if (d->width == w && d->height == h)
		return;
	d->width = w;
	d->height = h;
	d->resized = true;
	memset(vga->pixels, 0, (size_t)w * h * sizeof(*vga->pixels));
	memset(d->row_dirty, 1, h);
}

static void raster_line(struct vga *vga, const struct raster *g, uint32_t count, unsigned scan,
			unsigned pan)
{
	uint32_t dots[16];
	unsigned x = 0, skip = pan * g->stretch;

	for (unsigned i = 0; x < g->width + skip && x + 2 * 9 <= ARRAY_SIZE(vga->line); i++) {
		if (g->text)
			text_char(vga, g, count + i, scan, dots);
		else
			graphics_char(vga, g, count + i, scan, dots);
		for (unsigned k = 0; k < g->char_dots; k++)
			for (unsigned s = 0; s < g->stretch; s++)
				vga->line[x++] = dots[k];
	}
}

/* Does this row of a text screen have something that comes and goes? */
static bool row_blinks(const struct vga *vga, const struct raster *g, uint32_t count)
{
	const struct vga_regs *r = &vga->shown;
	const uint8_t *c = r->crtc;
	uint32_t cursor = (uint32_t)c[CRTC_CURSOR_HIGH] << 8 | c[CRTC_CURSOR_HIGH + 1];

	for (unsigned i = 0; i <= g->chars; i++) {
		if (((count + i) & 0xffff) == cursor)
			return true;
		if ((r->attr[ATTR_MODE] & 8) && plane(vga, address(r, count + i, 0), 1) & 0x80)
			return true;
	}
	return false;
}

/* only_phase: nothing has changed but the phase in which things blink. */
static void draw_raster(struct vga *vga, struct display *d, bool only_phase)
{
	const struct vga_regs *r = &vga->shown;
	struct raster g;
	uint32_t count;
	unsigned scan, pan;
	bool blinks = true, row_known = false;

	raster_of(r, &g);
	if (only_phase && !g.text)
		return;
	resize(vga, d, g.width, g.height);
	d->mode = g.text | g.color256 << 1 | g.cga << 2 | g.stretch << 3 | g.scans << 5;
	if (g.color256)
		palette256(vga);
	else
		palette16(vga);
	count = g.start;
	scan = g.preset;
	pan = g.pan;
	for (unsigned y = 0; y < g.height; y++) {
		if (only_phase && !row_known) {
			blinks = row_blinks(vga, &g, count);
			row_known = true;
		}
		if (blinks) {
			raster_line(vga, &g, count, scan, pan);
			store_row(vga, d, y, vga->line + pan * g.stretch);
		}
		if (y == g.split) { /* the lower part starts at address 0 */
			count = 0;
			scan = 0;
			row_known = false;
			if (r->attr[ATTR_MODE] & 0x20)
				pan = 0;
			continue;
		}
		if (g.doubled && !(y & 1))
			continue;
		if (++scan >= g.scans || scan >= 32) {
			scan = 0;
			count += g.pitch;
			row_known = false;
		}
	}
}

/* ---- linear frame buffers ------------------------------------------------------------------------- */

static uint32_t expand(uint32_t v, unsigned bits)
{
	return v << (8 - bits) | v >> (2 * bits - 8);
}

static void linear_line(struct vga *vga, const uint8_t *src, unsigned width, unsigned bpp)
{
	uint32_t *out = vga->line;

	for (unsigned x = 0; x < width; x++) {
		uint32_t v;

		switch (bpp) {
		case 8:
			out[x] = vga->color[src[x]];
			break;
		case 15:
			v = pci_get(src + x * 2, 2);
			out[x] = expand(v >> 10 & 31, 5) << 16 | expand(v >> 5 & 31, 5) << 8 |
				 expand(v & 31, 5);
			break;
		case 16:
			v = pci_get(src + x * 2, 2);
			out[x] = expand(v >> 11, 5) << 16 | expand(v >> 5 & 63, 6) << 8 |
				 expand(v & 31, 5);
			break;
		case 24:
			out[x] = pci_get(src + x * 3, 3);
			break;
		default:
			out[x] = ((const uint32_t *)(const void *)src)[x] & 0xffffff;
		}
	}
}

/* The mode that systems use: two dots at a time, and only what has changed is written. */
static void linear_row32(struct vga *vga, struct display *d, unsigned y, const uint8_t *src)
{
	const uint64_t *in = (const void *)src, mask = UINT64_C(0x00ffffff00ffffff);
	uint64_t *row = (void *)(vga->pixels + (size_t)y * d->width);
	unsigned n = d->width / 2, x = 0; /* widths are multiples of 8 */

	while (x < n && (in[x] & mask) == row[x])
		x++;
	if (x == n)
		return;
	d->row_dirty[y] = 1;
	for (; x < n; x++)
		row[x] = in[x] & mask;
}

static void planar_line(struct vga *vga, uint32_t addr, unsigned width)
{
	struct raster g = {.char_dots = 8};
	struct vga_regs *r = &vga->shown;

	r->crtc[CRTC_MODE] |= 0x43; /* addresses as they are */
	r->crtc[CRTC_UNDERLINE] &= 0xbf;
	for (unsigned x = 0; x < width; x += 8)
		graphics_char(vga, &g, addr + x / 8, 0, vga->line + x);
}

static void draw_linear(struct vga *vga, struct display *d)
{
	const struct vga_regs *r = &vga->shown;
	unsigned w = r->dispi[DISPI_XRES], h = r->dispi[DISPI_YRES], bpp = r->dispi[DISPI_BPP];
	uint32_t pitch = vga_pitch(r), xo = r->dispi[DISPI_X_OFFSET];

	resize(vga, d, w, h);
	d->mode = bpp << 16;
	if (bpp == 4)
		palette16(vga);
	else if (bpp == 8)
		palette256(vga);
	for (unsigned y = 0; y < h; y++) {
		uint64_t at = (uint64_t)(y + r->dispi[DISPI_Y_OFFSET]) * pitch;

		if (bpp == 4) {
			planar_line(vga, (uint32_t)at + xo / 8, w);
		} else {
			at += xo * ((bpp + 7) / 8);
			if (at + w * ((bpp + 7) / 8) > VGA_VRAM_SIZE)
				break;
			if (bpp == 32 && at % 8 == 0) {
				linear_row32(vga, d, y, vga->vram.hva + at);
				continue;
			}
			linear_line(vga, vga->vram.hva + at, w, bpp);
		}
		store_row(vga, d, y, vga->line);
	}
}

/* ---- refresh --------------------------------------------------------------------------------------- */

static void draw_blank(struct vga *vga, struct display *d)
{
	if (!d->width || !d->height)
		resize(vga, d, 640, 480);
	memset(vga->line, 0, sizeof(vga->line));
	for (unsigned y = 0; y < d->height; y++)
		store_row(vga, d, y, vga->line);
}

void vga_refresh(void *dev, struct display *d)
{
	struct vga *vga = dev;
	uint64_t phase = plat_now() / BLINK_NS;
	uint32_t changes;
	bool only_phase;

	plat_mutex_lock(&vga->lock);
	changes = vga->changes;
	if (vga_dispi_on(&vga->r) || changes != vga->shown_changes)
		vga->shown = vga->r;
	plat_mutex_unlock(&vga->lock);

	/* Nothing but the guest's stores into its frame buffer happens unseen. */
	only_phase = !vga_dispi_on(&vga->shown) && changes == vga->shown_changes && d->width;
	if (only_phase && phase == vga->shown_phase)
		return;
	vga->shown_changes = changes;
	vga->shown_phase = phase;
	if (vga_dispi_on(&vga->shown))
		draw_linear(vga, d);
	else if (!(vga->shown.attr_index & 0x20) || vga->shown.seq[SEQ_CLOCKING] & 0x20)
		draw_blank(vga, d);
	else
		draw_raster(vga, d, only_phase);
}
