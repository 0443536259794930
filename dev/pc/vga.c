/* SPDX-License-Identifier: ISC */
/* vga.c: the VGA as a device: ports, PCI function 1234:1111 with frame buffer (BAR 0) and registers
 * in memory (BAR 2), EDID, saved state. Any vCPU thread; vga->lock serialises. */
#include "dev/pc/vga.h"

#include "base/str.h"
#include "dev/pc/vga_impl.h"
#include "vm/stream.h"
#include "vm/vm.h"

/* ---- ports -------------------------------------------------------------------------------------- */

static uint64_t port_read(struct vga *vga, unsigned port)
{
	uint8_t v;

	plat_mutex_lock(&vga->lock);
	v = vga_port_read(vga, port);
	plat_mutex_unlock(&vga->lock);
	return v;
}

static void port_write(struct vga *vga, unsigned port, uint8_t v)
{
	plat_mutex_lock(&vga->lock);
	vga_port_write(vga, port, v);
	plat_mutex_unlock(&vga->lock);
}

static uint64_t mono_read(void *dev, uint64_t off, unsigned size)
{
	return port_read(dev, 0x3b0 + (unsigned)off);
}

static void mono_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	port_write(dev, 0x3b0 + (unsigned)off, (uint8_t)value);
}

static uint64_t vga_read(void *dev, uint64_t off, unsigned size)
{
	return port_read(dev, 0x3c0 + (unsigned)off);
}

static void vga_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	port_write(dev, 0x3c0 + (unsigned)off, (uint8_t)value);
}

/* 1CEH index, 1CFH data (1D0H too): words. */
static uint64_t dispi_read(void *dev, uint64_t off, unsigned size)
{
	struct vga *vga = dev;
	uint64_t v;

	plat_mutex_lock(&vga->lock);
	v = off == 0 ? vga->r.dispi_index : vga_dispi_read(vga);
	plat_mutex_unlock(&vga->lock);
	return v;
}

static void dispi_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct vga *vga = dev;

	plat_mutex_lock(&vga->lock);
	if (off == 0)
		vga->r.dispi_index = (uint16_t)value;
	else if (size == 2)
		vga_dispi_write(vga, (uint16_t)value);
	plat_mutex_unlock(&vga->lock);
}

static const struct bus_region port_regions[] = {
	{.name = "vga-mono",
	 .base = 0x3b0,
	 .len = 12,
	 .min = 1,
	 .max = 1,
	 .read = mono_read,
	 .write = mono_write},
	{.name = "vga",
	 .base = 0x3c0,
	 .len = 32,
	 .min = 1,
	 .max = 1,
	 .read = vga_read,
	 .write = vga_write},
	{.name = "vga-dispi",
	 .base = 0x1ce,
	 .len = 4,
	 .min = 1,
	 .max = 2,
	 .read = dispi_read,
	 .write = dispi_write},
};

/* ---- base addresses ------------------------------------------------------------------------------ */

static uint64_t frame_read(void *dev, uint64_t off, unsigned size)
{
	uint64_t v = 0;

	memcpy(&v, ((struct vga *)dev)->vram.hva + off, size);
	return v;
}

static void frame_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	memcpy(((struct vga *)dev)->vram.hva + off, &value, size);
}

static const struct bus_region frame_region = {
	.name = "vga-frame",
	.len = VGA_VRAM_SIZE,
	.min = 1,
	.max = 8,
	.read = frame_read,
	.write = frame_write,
};

/* BAR 2: EDID at 0, ports 3C0H… at 400H, display interface at 500H. */
static uint64_t regs_read(void *dev, uint64_t off, unsigned size)
{
	struct vga *vga = dev;
	uint64_t v = 0;

	if (off < sizeof(vga->edid))
		return pci_get(vga->edid + off, MIN(size, (unsigned)(sizeof(vga->edid) - off)));
	plat_mutex_lock(&vga->lock);
	if (off >= 0x400 && off < 0x420) {
		for (unsigned i = 0; i < size; i++)
			v |= (uint64_t)vga_port_read(vga, 0x3c0 + (unsigned)off - 0x400 + i)
			     << (8 * i);
	} else if (off >= 0x500 && off < 0x500 + 2 * DISPI_COUNT) {
		uint16_t index = vga->r.dispi_index;

		vga->r.dispi_index = (uint16_t)((off - 0x500) / 2);
		v = vga_dispi_read(vga) >> (8 * (off & 1));
		vga->r.dispi_index = index;
	}
	plat_mutex_unlock(&vga->lock);
	return v;
}

static void regs_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct vga *vga = dev;

	plat_mutex_lock(&vga->lock);
	if (off >= 0x400 && off < 0x420) {
		for (unsigned i = 0; i < size; i++)
			vga_port_write(vga, 0x3c0 + (unsigned)off - 0x400 + i,
				       (uint8_t)(value >> (8 * i)));
	} else if (off >= 0x500 && off < 0x500 + 2 * DISPI_COUNT && size >= 2 && !(off & 1)) {
		uint16_t index = vga->r.dispi_index;

		vga->r.dispi_index = (uint16_t)((off - 0x500) / 2);
		vga_dispi_write(vga, (uint16_t)value);
		vga->r.dispi_index = index;
	}
	plat_mutex_unlock(&vga->lock);
}

static const struct bus_region regs_region = {
	.name = "vga-regs",
	.len = 0x1000,
	.min = 1,
	.max = 4,
	.read = regs_read,
	.write = regs_write,
};

/* ---- life ------------------------------------------------------------------------------------------ */

/* Over a sleep it is powered, or systems without a driver for it would have no screen afterwards: neither firmware
 * nor Linux' text console sets a mode then. */
static void vga_reset(struct dev *dev)
{
	struct vga *vga = container_of(dev, struct vga, dev);

	if (dev->vm->waking)
		return;
	plat_mutex_lock(&vga->lock);
	vga_regs_reset(&vga->r);
	vga->latch = 0;
	vga->changes++;
	plat_mutex_unlock(&vga->lock);
}

static void vga_destroy(struct dev *dev)
{
	struct vga *vga = container_of(dev, struct vga, dev);

	if (vga->display)
		display_leave(vga->display);
	if (vga->pixels)
		plat_pages_free(vga->pixels, DISPLAY_MAX_W * DISPLAY_MAX_H * sizeof(*vga->pixels));
	if (vga->vram.hva)
		plat_ram_free(&vga->vram);
	plat_free(vga);
}

static const struct st_field vga_fields[] = {
	ST_U(struct vga, r.misc),
	ST_U(struct vga, r.feature),
	ST_UMAX(struct vga, r.seq_index, 7),
	ST_A(struct vga, r.seq),
	ST_UMAX(struct vga, r.crtc_index, 0x3f),
	ST_A(struct vga, r.crtc),
	ST_UMAX(struct vga, r.gfx_index, 0xf),
	ST_A(struct vga, r.gfx),
	ST_UMAX(struct vga, r.attr_index, 0x3f),
	ST_A(struct vga, r.attr),
	ST_B(struct vga, r.attr_data),
	ST_U(struct vga, r.dac_mask),
	ST_U(struct vga, r.dac_read),
	ST_U(struct vga, r.dac_write),
	ST_UMAX(struct vga, r.dac_part, 2),
	ST_UMAX(struct vga, r.dac_state, 3),
	ST_A(struct vga, r.dac),
	ST_U(struct vga, r.dispi_index),
	ST_A(struct vga, r.dispi),
	ST_U(struct vga, latch),
};

/* What a file says must be a mode that could have been set: viewers trust it. */
static bool dispi_sane(const struct vga_regs *r)
{
	uint32_t bpp = r->dispi[DISPI_BPP], w = r->dispi[DISPI_XRES], h = r->dispi[DISPI_YRES];

	if (r->dispi[DISPI_BANK] >= VGA_VRAM_SIZE / 0x10000)
		return false;
	if (!vga_dispi_on(r))
		return true;
	return (bpp == 4 || bpp == 8 || bpp == 15 || bpp == 16 || bpp == 24 || bpp == 32) && w &&
	       h && w % 8 == 0 && w <= DISPLAY_MAX_W && h <= DISPLAY_MAX_H;
}

static int vga_state(struct dev *dev, struct state_stream *st)
{
	struct vga *vga = container_of(dev, struct vga, dev);
	int err = ST_SYNC(st, "vga", 0, vga_fields, vga);

	if (!err)
		err = pci_dev_state(&vga->pd, st);
	if (!err && st->loading && !dispi_sane(&vga->r))
		err = state_fail(st, ERR_FORMAT, "vga: a mode that cannot be");
	vga->changes++;
	return err;
}

static const struct dev_class vga_class = {
	.name = "vga",
	.reset = vga_reset,
	.state = vga_state,
	.destroy = vga_destroy,
};

/* Video memory is saved in pieces, as a section has a limit; what was never drawn on is left out. */
static int chunk_state(struct dev *dev, struct state_stream *st)
{
	struct vga_chunk *c = container_of(dev, struct vga_chunk, dev);
	uint32_t len = VGA_CHUNK;

	if (!st->loading) {
		if (!c->at[0] && !memcmp(c->at, c->at + 1, VGA_CHUNK - 1))
			len = 0;
		return st_put_bytes(st, "pixels", c->at, len);
	}
	if (st_get_bytes(st, "pixels", c->at, &len))
		return st->err;
	if (!len)
		memset(c->at, 0, VGA_CHUNK);
	else if (len != VGA_CHUNK)
		return state_fail(st, ERR_FORMAT, "vga: video memory of another size");
	return st->err;
}

static void chunk_reset(struct dev *dev)
{
}

static void chunk_destroy(struct dev *dev)
{
}

static const struct dev_class chunk_class = {
	.name = "vga-memory",
	.reset = chunk_reset,
	.state = chunk_state,
	.destroy = chunk_destroy,
};

static int wire_pci(struct vga *vga, const struct vga_wiring *w)
{
	const struct pci_id id = {
		.name = "vga",
		.vendor = 0x1234,
		.device = 0x1111,
		.subsys_vendor = 0x1af4,
		.subsys = 0x1100,
		.revision = 2,
		.cls = 0x030000,
	};
	const struct pci_bar frame = {.kind = PCI_BAR_MEM32,
				      .prefetch = true,
				      .size = VGA_VRAM_SIZE,
				      .region = &frame_region,
				      .ctx = vga};
	const struct pci_bar regs = {
		.kind = PCI_BAR_MEM32, .size = 0x1000, .region = &regs_region, .ctx = vga};
	int err;

	pci_dev_init(&vga->pd, &id);
	err = pci_bar_add(&vga->pd, 0, &frame);
	if (!err)
		err = pci_bar_add(&vga->pd, 2, &regs);
	return err ? err : pci_attach(w->host, &vga->pd, w->slot, 0);
}

static int map_all(struct vm *vm, struct vga *vga, const struct vga_wiring *w)
{
	int err = bus_map(&vm->mmio, &vga_window, vga);

	for (unsigned i = 0; i < ARRAY_SIZE(port_regions) && !err; i++)
		err = bus_map(&vm->pio, &port_regions[i], vga);
	if (!err && w->linear)
		err = mem_add(vm, w->linear, VGA_VRAM_SIZE, vga->vram.hva, 0, false);
	return err;
}

/* Once it is on the buses it belongs to the VM, which destroys it also when the rest fails. */
int vga_create(struct vm *vm, const struct vga_wiring *w, struct vga **out)
{
	struct vga *vga = plat_alloc(sizeof(*vga));
	int err;

	if (!vga)
		return err_here(ERR_NOMEM);
	plat_mutex_init(&vga->lock, RANK_DEVICE);
	edid_make(vga->edid);
	vga_regs_reset(&vga->r);
	vga->pixels = plat_pages_alloc(DISPLAY_MAX_W * DISPLAY_MAX_H * sizeof(*vga->pixels));
	err = vga->pixels ? plat_ram_alloc(VGA_VRAM_SIZE, RAM_SHARED, &vga->vram)
			  : err_here(ERR_NOMEM);
	if (err) {
		vga_destroy(&vga->dev);
		return err;
	}
	vm_add_dev(vm, &vga->dev, &vga_class);
	err = wire_pci(vga, w);
	if (!err)
		err = map_all(vm, vga, w);
	if (err)
		return err;
	for (unsigned i = 0; i < VGA_CHUNKS; i++) {
		vga->chunk[i].at = vga->vram.hva + i * VGA_CHUNK;
		vm_add_dev(vm, &vga->chunk[i].dev, &chunk_class);
	}
	vga->display = w->display;
	plat_mutex_lock(&w->display->lock);
	w->display->refresh = vga_refresh;
	w->display->dev = vga;
	w->display->pixels = vga->pixels;
	plat_mutex_unlock(&w->display->lock);
	*out = vga;
	return 0;
}
