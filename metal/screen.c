/* SPDX-License-Identifier: ISC */
/* screen.c: 80 by 25 characters of VGA text, scrolling. Escape sequences are left out. The console
 * serialises writers; a panic writes whatever it interrupts. */
#include "metal/screen.h"

#include "plat/metal/mem.h"

#define TEXT_AT UINT64_C(0xb8000)
#define COLS    80u
#define ROWS    25u

static struct {
	volatile uint16_t *text; /* NULL: none */
	unsigned row, col;
	uint16_t attr;
	enum { PLAIN, ESCAPE, CSI } state;
} scr;

static void clear_row(unsigned row)
{
	for (unsigned i = 0; i < COLS; i++)
		scr.text[row * COLS + i] = scr.attr | ' ';
}

void screen_init(void)
{
	scr.text = paging_map(TEXT_AT, 2 * COLS * ROWS, MAP_W | MAP_UC);
	scr.attr = 0x0700;
	for (unsigned i = 0; scr.text && i < ROWS; i++)
		clear_row(i);
}

void screen_panic(void)
{
	scr.attr = 0x4f00;
	scr.state = PLAIN;
}

static void new_line(void)
{
	scr.col = 0;
	if (++scr.row < ROWS)
		return;
	scr.row = ROWS - 1;
	for (unsigned i = 0; i < COLS * (ROWS - 1); i++)
		scr.text[i] = scr.text[i + COLS];
	clear_row(ROWS - 1);
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
		scr.text[scr.row * COLS + scr.col++] = (uint16_t)(scr.attr | (uint8_t)c);
	}
	if (scr.col >= COLS)
		new_line();
}

void screen_write(const char *buf, size_t len)
{
	for (size_t i = 0; scr.text && i < len; i++) {
		char c = buf[i];

		switch (scr.state) {
		case ESCAPE:
			scr.state = c == '[' ? CSI : PLAIN;
			break;
		case CSI:
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
}
