/* SPDX-License-Identifier: ISC */
/* vga_impl.h: between the files of the VGA. */
#ifndef DEV_PC_VGA_IMPL_H
#define DEV_PC_VGA_IMPL_H

#include "dev/edid.h"
#include "dev/pc/vga.h"
#include "dev/pci/pci.h"
#include "plat/plat.h"
#include "ui/display.h"
#include "vm/dev.h"

#define VGA_PLANE_SIZE 0x10000u /* bytes of each of the four */

/* Registers by index that matter, with the names of the VGA manual */
enum { SEQ_CLOCKING = 1, SEQ_MAP_MASK = 2, SEQ_CHAR_MAP = 3, SEQ_MEMORY_MODE = 4, SEQ_COUNT = 5 };
enum {
	GFX_SET_RESET,
	GFX_ENABLE_SET_RESET,
	GFX_COLOR_COMPARE,
	GFX_ROTATE,
	GFX_READ_MAP,
	GFX_MODE,
	GFX_MISC,
	GFX_DONT_CARE,
	GFX_BIT_MASK,
	GFX_COUNT
};
enum { ATTR_MODE = 16, ATTR_OVERSCAN, ATTR_PLANES, ATTR_PAN, ATTR_COLOR_SELECT, ATTR_COUNT };
enum {
	CRTC_H_DISPLAY_END = 0x01,
	CRTC_OVERFLOW = 0x07,
	CRTC_PRESET_ROW = 0x08,
	CRTC_MAX_SCAN = 0x09,
	CRTC_CURSOR_START = 0x0a,
	CRTC_CURSOR_END = 0x0b,
	CRTC_START_HIGH = 0x0c,
	CRTC_CURSOR_HIGH = 0x0e,
	CRTC_V_RETRACE_END = 0x11,
	CRTC_V_DISPLAY_END = 0x12,
	CRTC_OFFSET = 0x13,
	CRTC_UNDERLINE = 0x14,
	CRTC_MODE = 0x17,
	CRTC_LINE_COMPARE = 0x18,
	CRTC_COUNT = 0x19,
};
enum {
	DISPI_ID,
	DISPI_XRES,
	DISPI_YRES,
	DISPI_BPP,
	DISPI_ENABLE,
	DISPI_BANK,
	DISPI_VIRT_WIDTH,
	DISPI_VIRT_HEIGHT,
	DISPI_X_OFFSET,
	DISPI_Y_OFFSET,
	DISPI_MEMORY,
	DISPI_COUNT
};
#define DISPI_ENABLED 0x01
#define DISPI_GETCAPS 0x02
#define DISPI_8BIT    0x20
#define DISPI_NOCLEAR 0x80

struct vga_regs {
	uint8_t misc, feature;
	uint8_t seq_index, seq[SEQ_COUNT];
	uint8_t crtc_index, crtc[CRTC_COUNT];
	uint8_t gfx_index, gfx[GFX_COUNT];
	uint8_t attr_index, attr[ATTR_COUNT];
	bool attr_data; /* the next write to 3C0H is data */
	uint8_t dac_mask, dac_read, dac_write, dac_part, dac_state;
	uint8_t dac[768];
	uint16_t dispi_index, dispi[DISPI_COUNT];
};

#define VGA_CHUNK  (512 * KIB) /* of video memory in one section of a saved state */
#define VGA_CHUNKS (VGA_VRAM_SIZE / VGA_CHUNK)

struct vga_chunk {
	struct dev dev;
	uint8_t *at;
};

struct vga {
	struct dev dev;
	struct pci_dev pd;
	struct display *display;
	struct plat_ram vram; /* planar: 32 bits an address, a byte a plane */
	struct vga_chunk chunk[VGA_CHUNKS];
	uint8_t edid[EDID_SIZE];

	struct plat_mutex lock; /* RANK_DEVICE */
	struct vga_regs r;
	uint32_t latch;
	uint32_t changes; /* of what is seen in VGA's own modes */

	/* under display->lock */
	struct vga_regs shown;
	uint32_t shown_changes;
	uint64_t shown_phase;
	uint32_t *pixels;
	uint32_t color[256];
	uint32_t line[DISPLAY_MAX_W + 64];
};

static inline bool vga_dispi_on(const struct vga_regs *r)
{
	return r->dispi[DISPI_ENABLE] & DISPI_ENABLED;
}

/* Bytes of a row of the linear frame buffer. */
static inline uint32_t vga_pitch(const struct vga_regs *r)
{
	uint32_t bpp = r->dispi[DISPI_BPP], w = r->dispi[DISPI_VIRT_WIDTH];

	return bpp == 4 ? w / 8 : w * ((bpp + 7) / 8);
}

/* vga_regs.c: all ports; lock held. */
uint8_t vga_port_read(struct vga *vga, unsigned port);
void vga_port_write(struct vga *vga, unsigned port, uint8_t v);
uint16_t vga_dispi_read(struct vga *vga);
void vga_dispi_write(struct vga *vga, uint16_t v);
void vga_regs_reset(struct vga_regs *r);

/* vga_mem.c: the window at A0000H. */
extern const struct bus_region vga_window;

/* vga_draw.c: struct display's refresh. */
void vga_refresh(void *dev, struct display *d);

#endif
