/* SPDX-License-Identifier: ISC */
/* screen.c: characters, scrolling, on a frame buffer or on VGA's 80 by 25. What is to be seen stands in memory, and only what
 * differs from what is seen is drawn: such memory is slow. Escape sequences are left out, but for the one that clears the line.
 * The console serialises writers; a panic writes whatever it interrupts. */
#include "metal/screen.h"

#include "base/str.h"
#include "metal/bootinfo.h"
#include "metal/font.h"
#include "plat/metal/mem.h"

#define TEXT_AT   UINT64_C(0xb8000)
#define COLS_MAX  160u
#define ROWS_MAX  64u
#define CELL_COLS 8u
#define CELL_ROWS 16u
#define PLAIN_ON  0x0700 /* VGA's attributes */
#define PANIC_ON  0x4f00

static struct {
	void (*draw)(unsigned row, unsigned col, uint16_t cell); /* NULL: there is none */
	volatile uint8_t *at;
	struct boot_screen fb;
	unsigned rows, cols;
	uint16_t want[ROWS_MAX][COLS_MAX], shown[ROWS_MAX][COLS_MAX];
	unsigned first, last; /* rows that have changed */
	unsigned row, col;
	uint16_t attr;
	enum { PLAIN, ESCAPE, CSI } state;
} scr;

/* ---- drawing ---- */

static void draw_text(unsigned row, unsigned col, uint16_t cell)
{
	((volatile uint16_t *)scr.at)[row * scr.cols + col] = cell;
}

static uint32_t colour(uint8_t red, uint8_t green, uint8_t blue)
{
	const uint8_t part[3] = {red, green, blue};
	uint32_t v = 0;

	for (unsigned i = 0; i < 3; i++)
		v |= (uint32_t)(part[i] >> (8 - scr.fb.bits[i])) << scr.fb.shift[i];
	return v;
}

static void dot(volatile uint8_t *p, uint32_t v)
{
	if (scr.fb.bytes == 4)
		*(volatile uint32_t *)p = v;
	else
		for (unsigned i = 0; i < scr.fb.bytes; i++)
			p[i] = (uint8_t)(v >> 8 * i);
}

/* Each dot of the font is two rows high. */
static void draw_dots(unsigned row, unsigned col, uint16_t cell)
{
	uint8_t c = (uint8_t)cell;
	const uint8_t *glyph =
		font[c >= FONT_FIRST && c <= FONT_LAST ? c - FONT_FIRST : '?' - FONT_FIRST];
	bool alarm = (cell & 0xff00) == PANIC_ON;
	uint32_t back = alarm ? colour(170, 0, 0) : 0;
	uint32_t fore = alarm ? colour(255, 255, 255) : colour(190, 190, 190);

	for (unsigned y = 0; y < CELL_ROWS; y++) {
		volatile uint8_t *p = scr.at + (uint64_t)(row * CELL_ROWS + y) * scr.fb.pitch +
				      col * CELL_COLS * scr.fb.bytes;
		unsigned line = y && y <= 2 * FONT_ROWS ? glyph[(y - 1) / 2] : 0;

		for (unsigned x = 0; x < CELL_COLS; x++, p += scr.fb.bytes)
			dot(p, x && line >> (FONT_COLS - MIN(x, FONT_COLS)) & 1 && x <= FONT_COLS
				       ? fore
				       : back);
	}
}

static void show(void)
{
	for (unsigned r = scr.first; r <= scr.last && r < scr.rows; r++)
		for (unsigned c = 0; c < scr.cols; c++)
			if (scr.want[r][c] != scr.shown[r][c]) {
				scr.shown[r][c] = scr.want[r][c];
				scr.draw(r, c, scr.want[r][c]);
			}
	scr.first = scr.rows;
	scr.last = 0;
}

/* ---- text ---- */

static void changed(unsigned row)
{
	scr.first = MIN(scr.first, row);
	scr.last = MAX(scr.last, row);
}

static void clear(unsigned row, unsigned col)
{
	for (; col < scr.cols; col++)
		scr.want[row][col] = scr.attr | ' ';
	changed(row);
}

static void new_line(void)
{
	scr.col = 0;
	if (++scr.row < scr.rows)
		return;
	scr.row = scr.rows - 1;
	memmove(scr.want[0], scr.want[1], sizeof(scr.want[0]) * scr.row);
	changed(0);
	clear(scr.row, 0);
}

static void put(char c)
{
	switch (c) {
	case '\n':
		new_line();
		return;
	case '\r':
		scr.col = 0;
		return;
	case '\b':
		scr.col -= scr.col > 0;
		return;
	case '\t':
		scr.col = ALIGN_UP(scr.col + 1, 8u);
		break;
	default:
		if ((uint8_t)c < ' ')
			return;
		scr.want[scr.row][scr.col++] = (uint16_t)(scr.attr | (uint8_t)c);
		changed(scr.row);
	}
	if (scr.col >= scr.cols)
		new_line();
}

void screen_write(const char *buf, size_t len)
{
	for (size_t i = 0; scr.draw && i < len; i++) {
		char c = buf[i];

		switch (scr.state) {
		case ESCAPE:
			scr.state = c == '[' ? CSI : PLAIN;
			break;
		case CSI:
			if (c == 'K')
				clear(scr.row, scr.col);
			if (c >= '@')
				scr.state = PLAIN;
			break;
		default:
			if (c == 27)
				scr.state = ESCAPE;
			else
				put(c);
		}
	}
	if (scr.draw)
		show();
}

void screen_panic(void)
{
	scr.attr = PANIC_ON;
	scr.state = PLAIN;
}

/* ---- set-up ---- */

static bool usable(const struct boot_screen *fb)
{
	for (unsigned i = 0; i < 3; i++)
		if (!fb->bits[i] || fb->bits[i] > 8 || fb->shift[i] > 24)
			return false;
	return fb->pa && fb->bytes >= 2 && fb->bytes <= 4 && fb->width >= 40 * CELL_COLS &&
	       fb->height >= 10 * CELL_ROWS && fb->pitch / fb->bytes >= fb->width;
}

void screen_init(const struct boot_screen *fb)
{
	scr.rows = 25;
	scr.cols = 80;
	scr.attr = PLAIN_ON;
	if (usable(fb)) {
		scr.fb = *fb;
		scr.rows = MIN(fb->height / CELL_ROWS, ROWS_MAX);
		scr.cols = MIN(fb->width / CELL_COLS, COLS_MAX);
		scr.at = paging_map(fb->pa, (uint64_t)fb->pitch * fb->height, MAP_W | MAP_WC);
		scr.draw = scr.at ? draw_dots : NULL;
	} else {
		scr.at = paging_map(TEXT_AT, 2 * scr.cols * scr.rows, MAP_W | MAP_UC);
		scr.draw = scr.at ? draw_text : NULL;
	}
	for (unsigned r = 0; scr.draw && r < scr.rows; r++)
		clear(r, 0);
	if (scr.draw)
		show();
}
