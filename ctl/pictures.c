/* SPDX-License-Identifier: ISC */
/* pictures.c: see pictures.h. The screen is looked at once a second, as by a viewer: only then is it
 * drawn. On the history's thread, which holds no lock. */
#include "ctl/pictures.h"

#include <stdlib.h>

#include "ui/png.h"

#define LOOK_NS  NS_PER_SEC
#define APART_NS (10 * NS_PER_SEC)
#define FEW      24 /* dots of a picture: a cursor that blinks is no change, a word is */

/* The mean of a square of n × n dots, of which those outside are missing. */
static uint32_t mean(const struct display *d, unsigned x0, unsigned y0, unsigned n)
{
	uint32_t sum[3] = {0}, dots = 0, out = 0;

	for (unsigned y = y0; y < MIN(y0 + n, d->height); y++) {
		for (unsigned x = x0; x < MIN(x0 + n, d->width); x++, dots++) {
			uint32_t v = d->pixels[(size_t)y * d->width + x];

			for (unsigned c = 0; c < 3; c++)
				sum[c] += v >> (8 * c) & 0xff;
		}
	}
	for (unsigned c = 0; c < 3; c++)
		out |= (sum[c] + dots / 2) / dots << (8 * c);
	return out;
}

static void shrink(const struct display *d, unsigned n, unsigned w, unsigned h, uint32_t *out)
{
	for (unsigned y = 0; y < h; y++)
		for (unsigned x = 0; x < w; x++)
			out[y * w + x] = mean(d, x * n, y * n, n);
}

static bool alike(const uint32_t *a, const uint32_t *b, size_t n)
{
	unsigned differ = 0;

	for (size_t i = 0; i < n && differ <= FEW; i++)
		differ += a[i] != b[i];
	return differ <= FEW;
}

static void add_picture(struct history *h, unsigned width, unsigned height, const uint8_t *png,
			size_t len)
{
	history_add(h, &(struct mon_event){.cls = MON_CONSOLE,
					   .op = CONSOLE_SCREEN,
					   .value = (uint64_t)width << 32 | height,
					   .data = png,
					   .len = (uint32_t)len});
}

void pictures_tick(struct pictures *p, struct history *to)
{
	struct display *d = p->display;
	uint64_t now = plat_now();
	unsigned n, w, h, width, height;
	uint32_t *dots, mode;
	uint8_t *png = NULL;
	size_t len = 0;
	bool other;

	if (!d || now < p->look || !display_begin(d))
		return;
	p->look = now + LOOK_NS;
	width = d->width;
	height = d->height;
	mode = d->mode;
	other = !p->dots || width != p->width || height != p->height || mode != p->mode;
	if (!other && now - p->taken < APART_NS) {
		display_done(d);
		return;
	}
	n = (MAX(width, height) + PICTURE_SIDE - 1) / PICTURE_SIDE;
	w = (width + n - 1) / n;
	h = (height + n - 1) / n;
	dots = malloc((size_t)w * h * sizeof(*dots));
	if (dots)
		shrink(d, n, w, h, dots);
	display_done(d);
	if (dots && (other || !alike(dots, p->dots, (size_t)w * h)) &&
	    !png_make(dots, w, h, &png, &len)) {
		add_picture(to, width, height, png, len);
		p->taken = now;
		p->width = width;
		p->height = height;
		p->mode = mode;
		free(p->dots);
		p->dots = dots;
		dots = NULL;
	}
	free(png);
	free(dots);
}

void pictures_fini(struct pictures *p)
{
	free(p->dots);
	p->dots = NULL;
}
