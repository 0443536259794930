/* SPDX-License-Identifier: ISC */
/* vga_regs.c: registers of the VGA (IBM PS/2 hardware interface technical reference, video
 * subsystem) and of Bochs' VBE display interface. Called with vga->lock held. */
#include "dev/pc/vga_impl.h"

#include "base/str.h"

#define FRAME_NS 14268000u /* 70 Hz, 449 lines */
#define LINE_NS  31776u

#define CRTC_PROTECT 0x80 /* of V_RETRACE_END: 0 to 7 are read-only */

/* Bits that exist */
static const uint8_t seq_mask[SEQ_COUNT] = {0x03, 0x3d, 0x0f, 0x3f, 0x0e};
static const uint8_t gfx_mask[GFX_COUNT] = {0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff};

void vga_regs_reset(struct vga_regs *r)
{
	memset(r, 0, sizeof(*r));
	r->misc = 0x01;
	r->dac_mask = 0xff;
	r->seq[SEQ_MEMORY_MODE] = 0x06;
	r->gfx[GFX_BIT_MASK] = 0xff;
	r->dispi[DISPI_ID] = 0xb0c5;
	r->dispi[DISPI_MEMORY] = (uint16_t)(VGA_VRAM_SIZE / 0x10000);
}

/* ---- attribute controller and DAC ---------------------------------------------------------- */

static void attr_write(struct vga *vga, uint8_t v)
{
	struct vga_regs *r = &vga->r;
	unsigned i = r->attr_index & 0x1f;

	r->attr_data = !r->attr_data;
	if (r->attr_data)
		r->attr_index = v & 0x3f;
	else if (i < ATTR_COUNT)
		r->attr[i] = i < ATTR_MODE ? v & 0x3f : v;
}

static uint8_t dac_read(struct vga *vga)
{
	struct vga_regs *r = &vga->r;
	uint8_t v = r->dac[r->dac_read * 3 + r->dac_part];

	if (++r->dac_part == 3) {
		r->dac_part = 0;
		r->dac_read++;
	}
	return v;
}

static void dac_write(struct vga *vga, uint8_t v)
{
	struct vga_regs *r = &vga->r;

	r->dac[r->dac_write * 3 + r->dac_part] = r->dispi[DISPI_ENABLE] & DISPI_8BIT ? v : v & 0x3f;
	if (++r->dac_part == 3) {
		r->dac_part = 0;
		r->dac_write++;
	}
}

/* ---- CRTC ------------------------------------------------------------------------------------ */

static void crtc_write(struct vga *vga, uint8_t v)
{
	struct vga_regs *r = &vga->r;
	unsigned i = r->crtc_index;

	if (i >= CRTC_COUNT)
		return;
	if (i < 8 && (r->crtc[CRTC_V_RETRACE_END] & CRTC_PROTECT)) {
		if (i != CRTC_OVERFLOW)
			return;
		v = (uint8_t)((r->crtc[i] & ~0x10) | (v & 0x10)); /* line compare is not */
	}
	r->crtc[i] = v;
}

/* The beam is where it would be at 70 Hz: programs wait for its edges. */
static uint8_t status1(void)
{
	uint64_t at = plat_now() % FRAME_NS, line = at / LINE_NS;
	unsigned v = 0;

	if (line >= 400)
		v |= 0x01 | (line >= 412 && line < 414 ? 0x08 : 0);
	else if (at % LINE_NS > LINE_NS * 4 / 5)
		v |= 0x01;
	return (uint8_t)v;
}

/* ---- ports 3B0H … 3DFH ------------------------------------------------------------------------- */

/* The CRTC answers at 3BxH or 3DxH. */
static bool crtc_here(const struct vga_regs *r, unsigned port)
{
	return (port & ~0xfu) == (r->misc & 1 ? 0x3d0 : 0x3b0);
}

static uint8_t color_port_read(struct vga *vga, unsigned port)
{
	struct vga_regs *r = &vga->r;

	if (!crtc_here(r, port))
		return 0xff;
	switch (port & 0xf) {
	case 0x4:
		return r->crtc_index;
	case 0x5:
		return r->crtc_index < CRTC_COUNT ? r->crtc[r->crtc_index] : 0;
	case 0xa:
		r->attr_data = false;
		return status1();
	default:
		return 0xff;
	}
}

uint8_t vga_port_read(struct vga *vga, unsigned port)
{
	struct vga_regs *r = &vga->r;
	unsigned i = r->attr_index & 0x1f;

	switch (port) {
	case 0x3c0:
		return r->attr_index;
	case 0x3c1:
		return i < ATTR_COUNT ? r->attr[i] : 0;
	case 0x3c2:
		return 0x10; /* a colour monitor is there */
	case 0x3c4:
		return r->seq_index;
	case 0x3c5:
		return r->seq_index < SEQ_COUNT ? r->seq[r->seq_index] : 0;
	case 0x3c6:
		return r->dac_mask;
	case 0x3c7:
		return r->dac_state;
	case 0x3c8:
		return r->dac_write;
	case 0x3c9:
		return dac_read(vga);
	case 0x3ca:
		return r->feature;
	case 0x3cc:
		return r->misc;
	case 0x3ce:
		return r->gfx_index;
	case 0x3cf:
		return r->gfx_index < GFX_COUNT ? r->gfx[r->gfx_index] : 0;
	default:
		return port >= 0x3c0 && port < 0x3d0 ? 0xff : color_port_read(vga, port);
	}
}

static void color_port_write(struct vga *vga, unsigned port, uint8_t v)
{
	struct vga_regs *r = &vga->r;

	if (!crtc_here(r, port))
		return;
	switch (port & 0xf) {
	case 0x4:
		r->crtc_index = v & 0x3f;
		break;
	case 0x5:
		crtc_write(vga, v);
		break;
	case 0xa:
		r->feature = v;
		break;
	}
}

void vga_port_write(struct vga *vga, unsigned port, uint8_t v)
{
	struct vga_regs *r = &vga->r;

	vga->changes++;
	switch (port) {
	case 0x3c0:
		attr_write(vga, v);
		break;
	case 0x3c2:
		r->misc = v & 0xef;
		break;
	case 0x3c4:
		r->seq_index = v & 7;
		break;
	case 0x3c5:
		if (r->seq_index < SEQ_COUNT)
			r->seq[r->seq_index] = v & seq_mask[r->seq_index];
		break;
	case 0x3c6:
		r->dac_mask = v;
		break;
	case 0x3c7:
		r->dac_read = v;
		r->dac_part = 0;
		r->dac_state = 3;
		break;
	case 0x3c8:
		r->dac_write = v;
		r->dac_part = 0;
		r->dac_state = 0;
		break;
	case 0x3c9:
		dac_write(vga, v);
		break;
	case 0x3ce:
		r->gfx_index = v & 0xf;
		break;
	case 0x3cf:
		if (r->gfx_index < GFX_COUNT)
			r->gfx[r->gfx_index] = v & gfx_mask[r->gfx_index];
		break;
	default:
		if (port < 0x3c0 || port >= 0x3d0)
			color_port_write(vga, port, v);
	}
}

/* ---- display interface ---------------------------------------------------------------------- */

uint16_t vga_dispi_read(struct vga *vga)
{
	struct vga_regs *r = &vga->r;

	if (r->dispi[DISPI_ENABLE] & DISPI_GETCAPS) {
		if (r->dispi_index == DISPI_XRES)
			return DISPLAY_MAX_W;
		if (r->dispi_index == DISPI_YRES)
			return DISPLAY_MAX_H;
		if (r->dispi_index == DISPI_BPP)
			return 32;
	}
	return r->dispi_index < DISPI_COUNT ? r->dispi[r->dispi_index] : 0;
}

/* Keeps what is shown inside of video memory, whatever was written. */
static void dispi_fit(struct vga *vga)
{
	struct vga_regs *r = &vga->r;
	uint32_t pitch, rows, room;

	r->dispi[DISPI_VIRT_WIDTH] = MAX(r->dispi[DISPI_VIRT_WIDTH], r->dispi[DISPI_XRES]);
	pitch = vga_pitch(r);
	room = r->dispi[DISPI_BPP] == 4 ? VGA_PLANE_SIZE : (uint32_t)VGA_VRAM_SIZE;
	rows = pitch ? room / pitch : 0;
	if (rows < r->dispi[DISPI_YRES]) { /* too wide: back to what is seen */
		r->dispi[DISPI_VIRT_WIDTH] = r->dispi[DISPI_XRES];
		pitch = vga_pitch(r);
		rows = pitch ? room / pitch : 0;
	}
	r->dispi[DISPI_VIRT_HEIGHT] = (uint16_t)MIN(rows, 0xffffu);
	r->dispi[DISPI_X_OFFSET] =
		MIN(r->dispi[DISPI_X_OFFSET],
		    (uint16_t)(r->dispi[DISPI_VIRT_WIDTH] - r->dispi[DISPI_XRES]));
	if (rows >= r->dispi[DISPI_YRES])
		r->dispi[DISPI_Y_OFFSET] =
			(uint16_t)MIN(r->dispi[DISPI_Y_OFFSET], rows - r->dispi[DISPI_YRES]);
}

static bool dispi_possible(struct vga *vga)
{
	struct vga_regs *r = &vga->r;
	uint32_t w = r->dispi[DISPI_XRES], h = r->dispi[DISPI_YRES], bpp = r->dispi[DISPI_BPP];

	if (!w || !h || w > DISPLAY_MAX_W || h > DISPLAY_MAX_H || w % 8)
		return false;
	if (bpp == 4)
		return w / 8 * h <= VGA_PLANE_SIZE;
	return w * h * ((bpp + 7) / 8) <= VGA_VRAM_SIZE;
}

static void dispi_enable(struct vga *vga, uint16_t v)
{
	struct vga_regs *r = &vga->r;
	uint16_t was = r->dispi[DISPI_ENABLE];

	if ((v & DISPI_ENABLED) && !(was & DISPI_ENABLED)) {
		if (!dispi_possible(vga))
			return;
		r->dispi[DISPI_VIRT_WIDTH] = r->dispi[DISPI_XRES];
		r->dispi[DISPI_X_OFFSET] = r->dispi[DISPI_Y_OFFSET] = 0;
		dispi_fit(vga);
		if (!(v & DISPI_NOCLEAR))
			memset(vga->vram.hva, 0,
			       MIN((uint64_t)vga_pitch(r) * r->dispi[DISPI_YRES] *
					   (r->dispi[DISPI_BPP] == 4 ? 4 : 1),
				   VGA_VRAM_SIZE));
	}
	if (!(v & DISPI_ENABLED))
		r->dispi[DISPI_BANK] = 0;
	if ((v ^ was) & DISPI_8BIT)
		for (unsigned i = 0; i < sizeof(r->dac); i++)
			r->dac[i] = (uint8_t)(v & DISPI_8BIT ? r->dac[i] << 2 : r->dac[i] >> 2);
	r->dispi[DISPI_ENABLE] = v & 0xff;
}

void vga_dispi_write(struct vga *vga, uint16_t v)
{
	struct vga_regs *r = &vga->r;

	vga->changes++;
	switch (r->dispi_index) {
	case DISPI_ID:
		if (v >= 0xb0c0 && v <= 0xb0c5)
			r->dispi[DISPI_ID] = v;
		break;
	case DISPI_XRES:
	case DISPI_YRES:
		if (!vga_dispi_on(r))
			r->dispi[r->dispi_index] = v;
		break;
	case DISPI_BPP:
		if (!v)
			v = 8;
		if (!vga_dispi_on(r) &&
		    (v == 4 || v == 8 || v == 15 || v == 16 || v == 24 || v == 32))
			r->dispi[DISPI_BPP] = v;
		break;
	case DISPI_ENABLE:
		dispi_enable(vga, v);
		break;
	case DISPI_BANK:
		if (v < VGA_VRAM_SIZE / 0x10000)
			r->dispi[DISPI_BANK] = v;
		break;
	case DISPI_VIRT_WIDTH:
	case DISPI_X_OFFSET:
	case DISPI_Y_OFFSET:
		if (!vga_dispi_on(r))
			break;
		r->dispi[r->dispi_index] =
			r->dispi_index == DISPI_VIRT_WIDTH ? (uint16_t)(v & ~7u) : v;
		dispi_fit(vga);
		break;
	}
}
