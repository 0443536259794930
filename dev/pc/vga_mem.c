/* SPDX-License-Identifier: ISC */
/* vga_mem.c: video memory through the window A0000H to BFFFFH: four planes with latches and the data
 * path of the graphics controller, odd/even and chain-4 addresses, or banks of a linear mode.
 *
 * An address of a plane is 32 bits of video memory, plane n in byte n, so that the data path handles
 * all four at once. Any vCPU thread; vga->lock serialises. */
#include "dev/pc/vga_impl.h"

#define MM_ODD_EVEN_OFF 0x04 /* memory mode register */
#define MM_CHAIN4       0x08

static uint32_t *plane_word(struct vga *vga, uint32_t addr)
{
	return (uint32_t *)(void *)vga->vram.hva + (addr & (VGA_PLANE_SIZE - 1));
}

static uint32_t four(uint8_t v)
{
	return v * 0x01010101u;
}

/* A byte of ones for each bit of a nibble. */
static uint32_t spread(unsigned bits)
{
	return ((bits & 1) ? 0xffu : 0) | ((bits & 2) ? 0xff00u : 0) |
	       ((bits & 4) ? 0xff0000u : 0) | ((bits & 8) ? 0xff000000u : 0);
}

/* Where an access goes; false: outside of the window that is open. */
static bool window(const struct vga_regs *r, uint32_t *off)
{
	switch (r->gfx[GFX_MISC] >> 2 & 3) {
	case 0:
		*off &= 0xffff; /* 128 KiB show the 64 KiB of a plane twice */
		return true;
	case 1:
		return *off < 0x10000;
	case 2:
		*off -= 0x10000;
		return *off < 0x8000;
	default:
		*off -= 0x18000;
		return *off < 0x8000;
	}
}

/* Planes that an address selects, and the address in them. */
static unsigned select(const struct vga_regs *r, uint32_t *off)
{
	uint32_t at = *off;

	if (r->seq[SEQ_MEMORY_MODE] & MM_CHAIN4) {
		*off = at & ~3u;
		return BIT(at & 3);
	}
	if (!(r->seq[SEQ_MEMORY_MODE] & MM_ODD_EVEN_OFF)) {
		*off = at & ~1u;
		return at & 1 ? 0xa : 0x5;
	}
	return 0xf;
}

static uint32_t combined(const struct vga_regs *r, uint32_t data, uint32_t latch)
{
	switch (r->gfx[GFX_ROTATE] >> 3 & 3) {
	case 1:
		return data & latch;
	case 2:
		return data | latch;
	case 3:
		return data ^ latch;
	default:
		return data;
	}
}

static uint8_t rotated(const struct vga_regs *r, uint8_t v)
{
	unsigned n = r->gfx[GFX_ROTATE] & 7;

	return (uint8_t)(v >> n | v << (8 - n));
}

static void planar_write(struct vga *vga, uint32_t off, uint8_t v)
{
	const struct vga_regs *r = &vga->r;
	unsigned planes = select(r, &off) & r->seq[SEQ_MAP_MASK];
	uint32_t bits = four(r->gfx[GFX_BIT_MASK]), data, mask = spread(planes);
	uint32_t sr = spread(r->gfx[GFX_SET_RESET]), enable = spread(r->gfx[GFX_ENABLE_SET_RESET]);
	uint32_t *p = plane_word(vga, off);

	switch (r->gfx[GFX_MODE] & 3) {
	case 0:
		data = (four(rotated(r, v)) & ~enable) | (sr & enable);
		data = combined(r, data, vga->latch);
		break;
	case 1:
		data = vga->latch;
		bits = ~0u;
		break;
	case 2:
		data = combined(r, spread(v), vga->latch);
		break;
	default:
		bits &= four(rotated(r, v));
		data = combined(r, sr, vga->latch);
	}
	data = (data & bits) | (vga->latch & ~bits);
	*p = (*p & ~mask) | (data & mask);
}

static uint8_t planar_read(struct vga *vga, uint32_t off)
{
	const struct vga_regs *r = &vga->r;
	uint32_t at = off, diff;
	unsigned plane = r->gfx[GFX_READ_MAP];

	select(r, &off);
	vga->latch = *plane_word(vga, off);
	if (r->gfx[GFX_MODE] & 0x08) { /* one where all planes that are looked at match */
		diff = (vga->latch ^ spread(r->gfx[GFX_COLOR_COMPARE])) &
		       spread(r->gfx[GFX_DONT_CARE]);
		diff |= diff >> 16;
		return (uint8_t) ~(diff | diff >> 8);
	}
	if (r->seq[SEQ_MEMORY_MODE] & MM_CHAIN4)
		plane = at & 3;
	else if (r->gfx[GFX_MODE] & 0x10)
		plane = (plane & 2) | (at & 1);
	return (uint8_t)(vga->latch >> (8 * plane));
}

static bool linear(const struct vga_regs *r)
{
	return vga_dispi_on(r) && r->dispi[DISPI_BPP] != 4;
}

static uint64_t window_read(void *dev, uint64_t off, unsigned size)
{
	struct vga *vga = dev;
	uint64_t v = 0;

	plat_mutex_lock(&vga->lock);
	for (unsigned i = 0; i < size; i++) {
		uint32_t at = (uint32_t)off + i;
		uint8_t b = 0xff;

		if (linear(&vga->r)) {
			if (at < 0x10000)
				b = vga->vram.hva[vga->r.dispi[DISPI_BANK] * 0x10000u + at];
		} else if (window(&vga->r, &at)) {
			b = planar_read(vga, at);
		}
		v |= (uint64_t)b << (8 * i);
	}
	plat_mutex_unlock(&vga->lock);
	return v;
}

static void window_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct vga *vga = dev;

	plat_mutex_lock(&vga->lock);
	vga->changes++;
	for (unsigned i = 0; i < size; i++) {
		uint32_t at = (uint32_t)off + i;
		uint8_t b = (uint8_t)(value >> (8 * i));

		if (linear(&vga->r)) {
			if (at < 0x10000)
				vga->vram.hva[vga->r.dispi[DISPI_BANK] * 0x10000u + at] = b;
		} else if (window(&vga->r, &at)) {
			planar_write(vga, at, b);
		}
	}
	plat_mutex_unlock(&vga->lock);
}

const struct bus_region vga_window = {
	.name = "vga-window",
	.base = 0xa0000,
	.len = 0x20000,
	.min = 1,
	.max = 8,
	.read = window_read,
	.write = window_write,
};
