/* SPDX-License-Identifier: ISC */
/* test_vga.c: what the VGA shows after what a guest has done, dot by dot against pictures that are
 * made here from the same text or pixels; EDID, base addresses, garbage, lack of memory. */
#include "tests/unit/pc_rig.h"

#include "dev/pc/vga.h"
#include "dev/pci/pci.h"
#include "ui/display.h"

#define LINEAR 0xfd000000u

static struct vm *vm;
static struct pci_host *host;
static struct vga *vga;
static struct display display;

static void begin(void)
{
	struct pci_host_wiring hw = {0};
	struct vga_wiring w = {.slot = 2, .display = &display, .linear = LINEAR};

	vm = rig_vm(1);
	display_init(&display);
	assert_int_equal(pci_host_create(vm, &hw, &host), 0);
	w.host = host;
	assert_int_equal(vga_create(vm, &w, &vga), 0);
}

static void end(void)
{
	rig_end(vm);
	assert_null(display.refresh);
	assert_false(display_begin(&display));
}

static void indexed(unsigned port, uint8_t i, uint8_t v)
{
	outb(vm, (uint16_t)port, i);
	outb(vm, (uint16_t)(port + 1), v);
}

static void attr(uint8_t i, uint8_t v)
{
	inb(vm, 0x3da);
	outb(vm, 0x3c0, i);
	outb(vm, 0x3c0, v);
	inb(vm, 0x3da);
	outb(vm, 0x3c0, 0x20);
}

static void poke(uint32_t addr, uint8_t v)
{
	bus_write(&vm->mmio, 0, addr, 1, v);
}

static uint8_t peek(uint32_t addr)
{
	return (uint8_t)bus_read(&vm->mmio, 0, addr, 1);
}

static void dispi(uint16_t i, uint16_t v)
{
	bus_write(&vm->pio, 0, 0x1ce, 2, i);
	bus_write(&vm->pio, 0, 0x1cf, 2, v);
}

static uint16_t dispi_get(uint16_t i)
{
	bus_write(&vm->pio, 0, 0x1ce, 2, i);
	return (uint16_t)bus_read(&vm->pio, 0, 0x1cf, 2);
}

/* A picture of a mode, from the tables of a VGA BIOS. */
struct mode {
	uint8_t misc, seq[5], crtc[25], gfx[9], attr_mode;
};
/* clang-format off */
static const struct mode text3 = {0x67, {3, 0, 3, 0, 2},
	{0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0, 0x4f, 0x0d, 0x0e, 0, 0, 0, 0,
	 0x9c, 0x8e, 0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff},
	{0, 0, 0, 0, 0, 0x10, 0x0e, 0, 0xff}, 0x0c};
static const struct mode mode12 = {0xe3, {3, 1, 0xf, 0, 6},
	{0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0x0b, 0x3e, 0, 0x40, 0, 0, 0, 0, 0, 0,
	 0xea, 0x8c, 0xdf, 0x28, 0, 0xe7, 0x04, 0xe3, 0xff},
	{0, 0, 0, 0, 0, 0, 0x05, 0x0f, 0xff}, 0x01};
static const struct mode mode13 = {0x63, {3, 1, 0xf, 0, 0xe},
	{0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0xbf, 0x1f, 0, 0x41, 0, 0, 0, 0, 0, 0,
	 0x9c, 0x8e, 0x8f, 0x28, 0x40, 0x96, 0xb9, 0xa3, 0xff},
	{0, 0, 0, 0, 0, 0x40, 0x05, 0x0f, 0xff}, 0x41};
static const struct mode cga4 = {0x63, {3, 9, 3, 0, 2},
	{0x2d, 0x27, 0x28, 0x90, 0x2b, 0x80, 0xbf, 0x1f, 0, 0xc1, 0, 0, 0, 0, 0, 0,
	 0x9c, 0x8e, 0x8f, 0x14, 0, 0x96, 0xb9, 0xa2, 0xff},
	{0, 0, 0, 0, 0, 0x30, 0x0f, 0x0f, 0xff}, 0x01};
/* clang-format on */

static uint32_t color(unsigned i) /* of our palette */
{
	uint32_t r = i * 5 & 63, g = i * 11 & 63, b = i * 23 & 63;

	return (r << 2 | r >> 4) << 16 | (g << 2 | g >> 4) << 8 | (b << 2 | b >> 4);
}

static void set_mode(const struct mode *m)
{
	outb(vm, 0x3c2, m->misc);
	for (unsigned i = 0; i < 5; i++)
		indexed(0x3c4, (uint8_t)i, m->seq[i]);
	indexed(0x3d4, 0x11, 0);
	for (unsigned i = 0; i < 25; i++)
		indexed(0x3d4, (uint8_t)i, m->crtc[i]);
	for (unsigned i = 0; i < 9; i++)
		indexed(0x3ce, (uint8_t)i, m->gfx[i]);
	for (unsigned i = 0; i < 16; i++)
		attr((uint8_t)i, (uint8_t)i);
	attr(0x10, m->attr_mode);
	attr(0x12, 0x0f);
	attr(0x13, m == &text3 ? 8 : 0);
	attr(0x14, 0);
	outb(vm, 0x3c8, 0);
	for (unsigned i = 0; i < 256; i++) {
		outb(vm, 0x3c9, i * 5 & 63);
		outb(vm, 0x3c9, i * 11 & 63);
		outb(vm, 0x3c9, i * 23 & 63);
	}
}

static void shows(unsigned w, unsigned h, uint32_t (*want)(unsigned x, unsigned y))
{
	assert_true(display_begin(&display));
	assert_int_equal(display.width, w);
	assert_int_equal(display.height, h);
	for (unsigned y = 0; y < h; y++)
		for (unsigned x = 0; x < w; x++)
			if (display.pixels[y * w + x] != want(x, y))
				fail_msg("dot %u,%u: %06x, not %06x", x, y,
					 display.pixels[y * w + x], want(x, y));
	display_done(&display);
}

static unsigned rows_changed(void)
{
	unsigned n = 0;

	if (!display_begin(&display))
		return 0;
	for (unsigned y = 0; y < display.height; y++)
		n += display.row_dirty[y];
	display_take(&display);
	display_done(&display);
	return n;
}

/* ---- text --------------------------------------------------------------------------------------- */

static uint8_t glyph(unsigned ch, unsigned scan)
{
	return (uint8_t)(ch * 7 + scan * 29 + (ch >> 3));
}

static unsigned text_at(unsigned col, unsigned row)
{
	return (col * 3 + row * 81) & 0xff;
}

static unsigned attr_at(unsigned col, unsigned row)
{
	return (col + row * 5) & 0x7f; /* no blinking */
}

static unsigned cursor_col, cursor_row, cursor_shown;

static uint32_t want_text(unsigned x, unsigned y)
{
	unsigned col = x / 9, row = y / 16, dot = x % 9, ch = text_at(col, row);
	unsigned at = attr_at(col, row), bits = glyph(ch, y % 16), on;

	on = dot < 8 ? bits >> (7 - dot) & 1 : ch >= 0xc0 && ch <= 0xdf ? bits & 1 : 0;
	if (cursor_shown && col == cursor_col && row == cursor_row && y % 16 >= 13 && y % 16 <= 14)
		on = 1;
	return color(on ? at & 15 : at >> 4);
}

static void load_font(void)
{
	indexed(0x3c4, 2, 4);
	indexed(0x3c4, 4, 6);
	indexed(0x3ce, 5, 0);
	indexed(0x3ce, 6, 5);
	for (unsigned ch = 0; ch < 256; ch++)
		for (unsigned s = 0; s < 16; s++)
			poke(0xa0000 + ch * 32 + s, glyph(ch, s));
	indexed(0x3c4, 2, 3);
	indexed(0x3c4, 4, 2);
	indexed(0x3ce, 5, 0x10);
	indexed(0x3ce, 6, 0x0e);
}

static void fill_text(void)
{
	for (unsigned i = 0; i < 80 * 25; i++)
		bus_write(&vm->mmio, 0, 0xb8000 + i * 2, 2,
			  text_at(i % 80, i / 80) | attr_at(i % 80, i / 80) << 8);
}

static void test_text(void **state)
{
	begin();
	set_mode(&text3);
	load_font();
	fill_text();
	cursor_col = 17;
	cursor_row = 9;
	indexed(0x3d4, 0x0e, (9 * 80 + 17) >> 8);
	indexed(0x3d4, 0x0f, (9 * 80 + 17) & 0xff);
	cursor_shown = !(plat_now() / 228571429 & 1);
	shows(720, 400, want_text);
	assert_int_equal(peek(0xb8000), text_at(0, 0));
	assert_int_equal(peek(0xb8003), attr_at(1, 0));
	/* half a blink later the cursor has gone or come, and only its rows have changed */
	rows_changed();
	assert_int_equal(rows_changed(), 0);
	fake_advance(228571429);
	cursor_shown = !cursor_shown;
	shows(720, 400, want_text);
	assert_int_equal(rows_changed(), 2);
	/* one character: at most its 16 lines */
	poke(0xb8002, (uint8_t)(text_at(1, 0) + 1));
	assert_in_range(rows_changed(), 1, 16);
	poke(0xb8002, (uint8_t)text_at(1, 0));
	indexed(0x3d4, 0x0a, 0x2d);
	cursor_shown = 0;
	shows(720, 400, want_text);
	/* screen off */
	indexed(0x3c4, 1, 0x20);
	assert_true(display_begin(&display));
	assert_int_equal(display.pixels[5000], 0);
	display_done(&display);
	end();
}

/* ---- 256 colours -------------------------------------------------------------------------------- */

static uint8_t pixel13(unsigned x, unsigned y)
{
	return (uint8_t)(x ^ (y * 3));
}

static uint32_t want13(unsigned x, unsigned y)
{
	return color(pixel13(x / 2, y / 2));
}

static unsigned pan_x, split_y;

static uint32_t want_x(unsigned x, unsigned y)
{
	if (y > split_y)
		return color(pixel13(x / 2, (y - split_y - 1) / 2));
	return color(pixel13(x / 2 + pan_x, y / 2 + 10));
}

static void test_mode13(void **state)
{
	begin();
	set_mode(&mode13);
	for (unsigned i = 0; i < 320 * 200; i++)
		poke(0xa0000 + i, pixel13(i % 320, i / 320));
	shows(640, 400, want13);
	assert_int_equal(peek(0xa0000 + 321), pixel13(1, 1));
	end();
}

/* Mode X: unchained, four pixels an address; a split screen, panning, a start address. */
static void test_mode_x(void **state)
{
	begin();
	set_mode(&mode13);
	indexed(0x3c4, 4, 6);
	indexed(0x3d4, 0x14, 0);
	indexed(0x3d4, 0x17, 0xe3);
	for (unsigned p = 0; p < 4; p++) {
		indexed(0x3c4, 2, (uint8_t)(1 << p));
		for (unsigned i = 0; i < 80 * 240; i++)
			poke(0xa0000 + i, pixel13(i % 80 * 4 + p, i / 80));
	}
	shows(640, 400, want13);
	pan_x = 4 + 2;
	split_y = 299;
	indexed(0x3d4, 0x0c, (10 * 80 + 1) >> 8);
	indexed(0x3d4, 0x0d, (10 * 80 + 1) & 0xff);
	indexed(0x3d4, 0x18, 299 & 0xff);
	indexed(0x3d4, 0x07, 0x1f);
	indexed(0x3d4, 0x09, 0x01);
	attr(0x10, 0x61); /* the lower part is not panned */
	attr(0x13, 4);
	/* the last pixels of a row come from the next: look at the left half only */
	assert_true(display_begin(&display));
	for (unsigned y = 0; y < 400; y++)
		for (unsigned x = 0; x < 500; x++)
			assert_int_equal(display.pixels[y * 640 + x], want_x(x, y));
	display_done(&display);
	/* latches: a whole address is copied by one read and one write */
	indexed(0x3c4, 2, 0xf);
	indexed(0x3ce, 5, 0x41);
	peek(0xa0000 + 100);
	poke(0xa0000 + 20000, 0);
	indexed(0x3ce, 5, 0x40);
	for (unsigned p = 0; p < 4; p++) {
		indexed(0x3ce, 4, (uint8_t)p);
		assert_int_equal(peek(0xa0000 + 20000), pixel13(20 * 4 + p, 1));
	}
	end();
}

/* ---- planes --------------------------------------------------------------------------------------- */

static unsigned pixel12(unsigned x, unsigned y)
{
	return (x / 3 + y) & 15;
}

static uint32_t want12(unsigned x, unsigned y)
{
	return color(pixel12(x, y));
}

/* Each way of drawing a dot that programs use, in turn by row. */
static void dot(unsigned x, unsigned y, unsigned c)
{
	uint32_t at = 0xa0000 + y * 80 + x / 8;
	uint8_t bit = (uint8_t)(0x80 >> (x & 7));

	switch (y & 3) {
	case 0: /* set/reset */
		indexed(0x3ce, 5, 0);
		indexed(0x3ce, 0, (uint8_t)c);
		indexed(0x3ce, 1, 0xf);
		indexed(0x3ce, 8, bit);
		peek(at);
		poke(at, 0xa5);
		break;
	case 1: /* mode 2 */
		indexed(0x3ce, 5, 2);
		indexed(0x3ce, 8, bit);
		peek(at);
		poke(at, (uint8_t)c);
		break;
	case 2: /* mode 3, data rotated */
		indexed(0x3ce, 5, 3);
		indexed(0x3ce, 0, (uint8_t)c);
		indexed(0x3ce, 3, 3);
		indexed(0x3ce, 8, 0xff);
		peek(at);
		poke(at, (uint8_t)(bit << 3 | bit >> 5));
		indexed(0x3ce, 3, 0);
		break;
	default: /* planes one by one, OR */
		indexed(0x3ce, 5, 0);
		indexed(0x3ce, 1, 0);
		indexed(0x3ce, 3, 0x10);
		indexed(0x3ce, 8, 0xff);
		for (unsigned p = 0; p < 4; p++) {
			indexed(0x3c4, 2, (uint8_t)(1 << p));
			peek(at);
			poke(at, c >> p & 1 ? bit : 0);
		}
		indexed(0x3c4, 2, 0xf);
		indexed(0x3ce, 3, 0);
	}
}

static void test_planar(void **state)
{
	uint8_t match = 0;

	begin();
	set_mode(&mode12);
	for (unsigned y = 0; y < 480; y++)
		for (unsigned x = 0; x < 640; x++)
			dot(x, y, pixel12(x, y));
	shows(640, 480, want12);
	/* read mode 1: where is colour 5? */
	indexed(0x3ce, 5, 8);
	indexed(0x3ce, 2, 5);
	indexed(0x3ce, 7, 0xf);
	for (unsigned x = 0; x < 8; x++)
		match = (uint8_t)(match << 1 | (pixel12(x + 16, 0) == 5));
	assert_int_equal(peek(0xa0002), match);
	assert_int_not_equal(match, 0);
	end();
}

static uint32_t want_cga(unsigned x, unsigned y)
{
	return color((x / 2 + y / 2) & 3);
}

static void test_cga(void **state)
{
	begin();
	set_mode(&cga4);
	for (unsigned y = 0; y < 200; y++)
		for (unsigned i = 0; i < 80; i++) {
			unsigned v = 0;

			for (unsigned k = 0; k < 4; k++)
				v = v << 2 | ((i * 4 + k + y) & 3);
			poke(0xb8000 + (y & 1) * 0x2000 + y / 2 * 80 + i, (uint8_t)v);
		}
	shows(640, 400, want_cga);
	end();
}

/* ---- linear modes --------------------------------------------------------------------------------- */

static uint32_t pixel_lin(unsigned x, unsigned y)
{
	return (x * 0x010203 + y * 0x0301) & 0xffffff;
}

static uint32_t want_lin(unsigned x, unsigned y)
{
	return pixel_lin(x + 16, y + 7);
}

static uint32_t want565(unsigned x, unsigned y)
{
	uint32_t r = x & 31, g = y & 63, b = (x + y) & 31;

	return (r << 3 | r >> 2) << 16 | (g << 2 | g >> 4) << 8 | (b << 3 | b >> 2);
}

static void set_linear(unsigned w, unsigned h, unsigned bpp)
{
	dispi(4, 0);
	dispi(1, (uint16_t)w);
	dispi(2, (uint16_t)h);
	dispi(3, (uint16_t)bpp);
	dispi(4, 0x41);
}

static void test_linear(void **state)
{
	uint32_t *fb;

	begin();
	assert_int_equal(dispi_get(0), 0xb0c5);
	assert_int_equal(dispi_get(10), 256);
	dispi(4, 2);
	assert_int_equal(dispi_get(1), 2560);
	assert_int_equal(dispi_get(2), 1600);
	assert_int_equal(dispi_get(3), 32);
	set_linear(1024, 768, 32);
	assert_int_equal(dispi_get(4), 0x41);
	dispi(6, 1280);
	dispi(8, 16);
	dispi(9, 7);
	fb = (uint32_t *)(void *)mem_ptr(vm, LINEAR, VGA_VRAM_SIZE, true);
	assert_non_null(fb);
	for (unsigned y = 0; y < 800; y++)
		for (unsigned x = 0; x < 1280; x++)
			fb[y * 1280 + x] = pixel_lin(x, y) | 0xee000000;
	shows(1024, 768, want_lin);
	rows_changed();
	assert_int_equal(rows_changed(), 0);
	fb[(100 + 7) * 1280 + 500] ^= 1;
	assert_int_equal(rows_changed(), 1);
	/* the same memory through a bank of the window and through the bus */
	dispi(5, 3);
	assert_int_equal(bus_read(&vm->mmio, 0, 0xa0010, 4), fb[(3 * 0x10000 + 0x10) / 4]);
	pci_cfg_write(host, 0x10, PCI_BAR0, 4, 0xe0000000);
	pci_cfg_write(host, 0x10, PCI_COMMAND, 2, PCI_CMD_MEM | PCI_CMD_IO);
	bus_write(&vm->mmio, 0, 0xe0000000 + 80, 4, 0x12345678);
	assert_int_equal(fb[20], 0x12345678);

	set_linear(640, 480, 16);
	for (unsigned y = 0; y < 480; y++)
		for (unsigned x = 0; x < 640; x++)
			((uint16_t *)(void *)fb)[y * 640 + x] =
				(uint16_t)((x & 31) << 11 | (y & 63) << 5 | ((x + y) & 31));
	shows(640, 480, want565);
	/* the greatest fits, anything more does not */
	set_linear(2560, 1600, 32);
	assert_int_equal(dispi_get(4), 0x41);
	assert_true(display_begin(&display));
	assert_int_equal(display.pixels[2560 * 1600 - 1], 0);
	display_done(&display);
	set_linear(2568, 1600, 32);
	assert_int_equal(dispi_get(4), 0);
	/* absurd offsets stay inside */
	set_linear(1024, 768, 24);
	dispi(6, 0xffff);
	dispi(8, 0xffff);
	dispi(9, 0xffff);
	assert_true(display_begin(&display));
	display_done(&display);
	end();
}

static void test_registers(void **state)
{
	uint8_t sum = 0;

	begin();
	pci_cfg_write(host, 0x10, PCI_BAR0 + 8, 4, 0xfe000000);
	pci_cfg_write(host, 0x10, PCI_COMMAND, 2, PCI_CMD_MEM | PCI_CMD_IO);
	assert_int_equal(pci_cfg_read(host, 0x10, 0, 4), 0x11111234);
	assert_int_equal(bus_read(&vm->mmio, 0, 0xfe000000, 8), UINT64_C(0x00ffffffffffff00));
	for (unsigned i = 0; i < 128; i++)
		sum = (uint8_t)(sum + peek(0xfe000000 + i));
	assert_int_equal(sum, 0);
	assert_int_equal(bus_read(&vm->mmio, 0, 0xfe000500, 2), 0xb0c5);
	bus_write(&vm->mmio, 0, 0xfe000502, 2, 800);
	assert_int_equal(dispi_get(1), 800);
	bus_write(&vm->mmio, 0, 0xfe000408, 1, 7);
	assert_int_equal(inb(vm, 0x3c8), 7);
	/* write protection of the first CRTC registers, but for a bit of the line compare */
	outb(vm, 0x3c2, 1);
	indexed(0x3d4, 0x11, 0x80);
	indexed(0x3d4, 0x00, 0x55);
	indexed(0x3d4, 0x07, 0xff);
	outb(vm, 0x3d4, 0);
	assert_int_equal(inb(vm, 0x3d5), 0);
	outb(vm, 0x3d4, 7);
	assert_int_equal(inb(vm, 0x3d5), 0x10);
	assert_int_equal(inb(vm, 0x3b5), 0xff);
	/* retrace comes and goes */
	uint8_t seen = 0;

	for (unsigned i = 0; i < 2000; i++) {
		seen |= (uint8_t)(1 << (inb(vm, 0x3da) & 9));
		fake_advance(10000);
	}
	assert_int_equal(seen & 0x03, 0x03);
	end();
}

static void test_garbage(void **state)
{
	static const struct rig_range ports[] = {{0x3b0, 0x30}, {0x1ce, 4}};
	static const struct rig_range mem[] = {{0xa0000, 0x20000}, {0xfe000000, 0x1000}};
	struct rig_random r = rig_random();

	begin();
	pci_cfg_write(host, 0x10, PCI_BAR0 + 8, 4, 0xfe000000);
	pci_cfg_write(host, 0x10, PCI_COMMAND, 2, PCI_CMD_MEM | PCI_CMD_IO);
	for (unsigned i = 0; i < 60; i++) {
		rig_garbage(vm, &vm->pio, ports, 2, 300, &r);
		rig_garbage(vm, &vm->mmio, mem, 2, 100, &r);
		if (i & 1)
			set_mode(i & 2 ? &text3 : &mode12);
		if (i % 5 == 0)
			set_linear((unsigned)(rig_next(&r) % 2700), (unsigned)(rig_next(&r) % 1700),
				   8);
		indexed(0x3d4, (uint8_t)(rig_next(&r) % 25), (uint8_t)rig_next(&r));
		indexed(0x3c4, 1, (uint8_t)(rig_next(&r) & 0x1f));
		if (display_begin(&display)) {
			assert_in_range(display.width, 1, DISPLAY_MAX_W);
			assert_in_range(display.height, 1, DISPLAY_MAX_H);
			display_done(&display);
		}
	}
	end();
}

static void test_no_memory(void **state)
{
	struct pci_host_wiring hw = {0};
	struct vga_wiring w = {.slot = 2, .display = &display, .linear = LINEAR};

	for (unsigned n = 1;; n++) {
		int err;

		vm = rig_vm(1);
		display_init(&display);
		assert_int_equal(pci_host_create(vm, &hw, &host), 0);
		w.host = host;
		fake_fail_alloc(n);
		err = vga_create(vm, &w, &vga);
		fake_fail_alloc(0);
		rig_end(vm);
		if (!err)
			return;
		assert_int_equal(err, ERR_NOMEM);
		assert_null(display.refresh);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),      cmocka_unit_test(test_mode13),
		cmocka_unit_test(test_mode_x),    cmocka_unit_test(test_planar),
		cmocka_unit_test(test_cga),       cmocka_unit_test(test_linear),
		cmocka_unit_test(test_registers), cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
