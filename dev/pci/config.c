/* SPDX-License-Identifier: ISC */
/* config.c: configuration space of a function (PCI Local Bus 3.0, chapter 6): writable bits, base
 * addresses that move and are switched by COMMAND, the list of capabilities.
 *
 * Entered by any vCPU thread under host->lock (the public functions take it). */
#include "dev/pci/internal.h"

#include "base/str.h"
#include "vm/vm.h"

#define CMD_WRITABLE                                                                 \
	(PCI_CMD_IO | PCI_CMD_MEM | PCI_CMD_MASTER | PCI_CMD_PARITY | PCI_CMD_SERR | \
	 PCI_CMD_INTX_DISABLE)
#define STS_CLEARABLE  0xf900
#define MAX_COMPLAINTS 8

void pci_dev_init(struct pci_dev *pd, const struct pci_id *id)
{
	memset(pd, 0, sizeof(*pd));
	pd->name = id->name;
	pd->pin = id->pin;
	pd->cap_end = PCI_CAPS;
	pci_put(pd->init + PCI_VENDOR, 2, id->vendor);
	pci_put(pd->init + PCI_DEVICE, 2, id->device);
	pd->init[PCI_REVISION] = id->revision;
	pci_put(pd->init + PCI_CLASS, 3, id->cls);
	pci_put(pd->init + PCI_SUBSYS_VENDOR, 2, id->subsys_vendor);
	pci_put(pd->init + PCI_SUBSYS, 2, id->subsys);
	pd->init[PCI_INT_PIN] = id->pin;

	pci_put(pd->wmask + PCI_COMMAND, 2, CMD_WRITABLE);
	pci_put(pd->w1c + PCI_STATUS, 2, STS_CLEARABLE);
	pd->wmask[0x0c] = 0xff; /* cache line size: no meaning, but kept */
	pd->wmask[0x0d] = 0xff; /* latency timer, likewise */
	pd->wmask[PCI_INT_LINE] = 0xff;
	memcpy(pd->cfg, pd->init, sizeof(pd->cfg));
}

int pci_cap_add(struct pci_dev *pd, uint8_t id, unsigned len, uint8_t *off)
{
	unsigned at = ALIGN_UP((unsigned)pd->cap_end, 4u);

	if (len < 2 || at + len > PCI_CFG_SIZE)
		return err_here(ERR_NOMEM);
	/* in front of the list: order does not matter, and the others stay as they are */
	pd->init[at] = id;
	pd->init[at + 1] = pd->init[PCI_CAP_PTR];
	pd->init[PCI_CAP_PTR] = (uint8_t)at;
	pd->init[PCI_STATUS] |= PCI_STS_CAPS;
	pd->cap_end = (uint8_t)MIN(at + len, 0xffu);
	*off = (uint8_t)at;
	return 0;
}

/* ---- base addresses -------------------------------------------------------------------------- */

int pci_bar_add(struct pci_dev *pd, unsigned idx, const struct pci_bar *bar)
{
	bool wide = bar->kind == PCI_BAR_MEM64, io = bar->kind == PCI_BAR_IO;
	uint64_t mask = ~(bar->size - 1);
	unsigned reg = PCI_BAR0 + 4 * idx;

	if (bar->kind == PCI_BAR_NONE || idx + wide >= PCI_BARS || bar->size & (bar->size - 1) ||
	    bar->size < (io ? 4 : 16) || bar->region->len > bar->size ||
	    (!wide && bar->size > BIT64(31)) || (io && bar->size > 256))
		return err_here(ERR_INVAL);
	if (pd->bar[idx].kind || (wide && pd->bar[idx + 1].kind) || pd->wmask[reg + 3])
		return err_here(ERR_EXIST);
	pd->bar[idx] = *bar;
	pd->bar[idx].preset = 0;
	pd->bar[idx].mapped = false;
	pd->init[reg] = (uint8_t)(io ? 1 : (wide ? 4 : 0) | (bar->prefetch ? 8 : 0));
	pci_put(pd->wmask + reg, 4, mask);
	if (wide)
		pci_put(pd->wmask + reg + 4, 4, mask >> 32);
	return 0;
}

#define ROM_ON  0x1u
#define ROM_MIN 0x800u
#define ROM_MAX (16 * MIB)

#define ROM_SUM   6
#define ROM_PCIR  0x18
#define ROM_HEAD  0x1cu
#define PCIR      0x52494350u /* "PCIR" */
#define PCIR_TYPE 0x14

static uint8_t rom_byte(const struct pci_dev *pd, uint64_t at)
{
	if (at >= pd->rom_len)
		return 0xff;
	if (pd->rom_ids && at == ROM_SUM)
		return pd->rom_sum;
	if (pd->rom_ids && at - pd->rom_ids < 4)
		return pd->init[PCI_VENDOR + (at - pd->rom_ids)];
	return pd->rom[at];
}

static uint64_t rom_read(void *ctx, uint64_t off, unsigned size)
{
	const struct pci_dev *pd = ctx;
	uint64_t v = 0;

	for (unsigned i = 0; i < size; i++)
		v |= (uint64_t)rom_byte(pd, off + i) << 8 * i;
	return v;
}

/* Who it is for becomes this function; the checksum, as ROMs for virtual machines have it, at offset 6. */
static void rom_adopt(struct pci_dev *pd)
{
	uint32_t at = pd->rom_len >= ROM_HEAD ? pci_get(pd->rom + ROM_PCIR, 2) : 0;

	if (!at || at > pd->rom_len - ROM_HEAD || pci_get(pd->rom + at, 4) != PCIR ||
	    pd->rom[at + PCIR_TYPE] || !memcmp(pd->rom + at + 4, pd->init + PCI_VENDOR, 4))
		return;
	pd->rom_ids = at + 4;
	pd->rom_sum = pd->rom[ROM_SUM];
	for (unsigned i = 0; i < 4; i++)
		pd->rom_sum =
			(uint8_t)(pd->rom_sum + pd->rom[at + 4 + i] - pd->init[PCI_VENDOR + i]);
}

static void rom_write(void *ctx, uint64_t off, unsigned size, uint64_t value)
{
}

int pci_rom_add(struct pci_dev *pd, const void *data, size_t len)
{
	uint64_t size = ROM_MIN;

	if (!len || len > ROM_MAX)
		return err_here(ERR_INVAL);
	while (size < len)
		size *= 2;
	pd->rom = data;
	pd->rom_len = (uint32_t)len;
	pd->rom_region = (struct bus_region){.name = "pci-rom",
					     .len = size,
					     .min = 1,
					     .max = 8,
					     .read = rom_read,
					     .write = rom_write};
	pd->bar[PCI_ROM_BAR] = (struct pci_bar){
		.kind = PCI_BAR_ROM, .size = size, .region = &pd->rom_region, .ctx = pd};
	pci_put(pd->wmask + PCI_ROM, 4, ~(size - 1) | ROM_ON);
	rom_adopt(pd);
	return 0;
}

static uint64_t bar_address(const struct pci_dev *pd, unsigned idx)
{
	unsigned reg = PCI_BAR0 + 4 * idx;

	if (pd->bar[idx].kind == PCI_BAR_ROM)
		return pci_get(pd->cfg + PCI_ROM, 4) & ~(uint64_t)(ROM_MIN - 1);
	uint64_t a = pci_get(pd->cfg + reg, 4);

	if (pd->bar[idx].kind == PCI_BAR_IO)
		return a & ~UINT64_C(3);
	if (pd->bar[idx].kind == PCI_BAR_MEM64)
		a |= (uint64_t)pci_get(pd->cfg + reg + 4, 4) << 32;
	return a & ~UINT64_C(15);
}

static void bar_set(uint8_t *cfg, const struct pci_bar *bar, unsigned idx, uint64_t addr)
{
	uint8_t *reg = cfg + PCI_BAR0 + 4 * idx;

	pci_put(reg, 4, addr | (*reg & 15));
	if (bar->kind == PCI_BAR_MEM64)
		pci_put(reg + 4, 4, addr >> 32);
}

static struct bus *bar_bus(struct pci_dev *pd, const struct pci_bar *bar)
{
	struct vm *vm = pd->host->dev.vm;

	return bar->kind == PCI_BAR_IO ? &vm->pio : &vm->mmio;
}

/* Does the function answer at this address? All ones is what sizing leaves there. */
static bool bar_decodes(const struct pci_dev *pd, unsigned idx, uint64_t addr)
{
	const struct pci_bar *bar = &pd->bar[idx];
	bool io = bar->kind == PCI_BAR_IO;
	uint64_t top = io ? UINT64_C(0x10000) : bar->kind == PCI_BAR_MEM64 ? BIT64(52) : BIT64(32);

	if (bar->kind == PCI_BAR_ROM && !(pd->cfg[PCI_ROM] & ROM_ON))
		return false;

	return pd->cfg[PCI_COMMAND] & (io ? PCI_CMD_IO : PCI_CMD_MEM) && addr &&
	       addr + bar->size > addr && addr + bar->size < top;
}

static void bar_update(struct pci_dev *pd, unsigned idx)
{
	struct pci_bar *bar = &pd->bar[idx];
	struct pci_host *host = pd->host;
	uint64_t addr = bar_address(pd, idx);
	bool want = bar_decodes(pd, idx, addr);

	if (bar->mapped && (!want || bar->mapped_at != addr)) {
		bus_unmap(bar_bus(pd, bar), bar->region, bar->ctx);
		bar->mapped = false;
	}
	if (!want || bar->mapped)
		return;
	if (bus_map_at(bar_bus(pd, bar), addr, bar->region, bar->ctx)) {
		host->conflicts++;
		if (host->complaints++ < MAX_COMPLAINTS)
			plat_log(LOG_WARN, "pci: %s: BAR%u at 0x%llx overlaps another region",
				 pd->name, idx, (unsigned long long)addr);
		return;
	}
	bar->mapped = true;
	bar->mapped_at = addr;
}

static void bars_update_one(struct pci_dev *pd)
{
	for (unsigned i = 0; i <= PCI_ROM_BAR; i++)
		if (pd->bar[i].kind)
			bar_update(pd, i);
}

void pci_bars_update(struct pci_dev *pd)
{
	struct pci_host *host = pd->host;
	bool retry = host->conflicts;

	host->conflicts = 0;
	bars_update_one(pd);
	/* what this one has left may be what another one waits for */
	for (unsigned i = 0; retry && i < ARRAY_SIZE(host->dev_at); i++)
		if (host->dev_at[i] && host->dev_at[i] != pd)
			bars_update_one(host->dev_at[i]);
}

void pci_bars_unmap(struct pci_dev *pd)
{
	for (unsigned i = 0; i <= PCI_ROM_BAR; i++) {
		if (!pd->bar[i].mapped)
			continue;
		bus_unmap(bar_bus(pd, &pd->bar[i]), pd->bar[i].region, pd->bar[i].ctx);
		pd->bar[i].mapped = false;
	}
}

/* Cuts an aligned piece from the window's start. */
static bool window_take(struct pci_window *w, uint64_t size, uint64_t *addr)
{
	uint64_t at = ALIGN_UP(w->base, size), skip = at - w->base;

	if (!w->size || skip > w->size || size > w->size - skip)
		return false;
	*addr = at;
	w->base = at + size;
	w->size -= skip + size;
	return true;
}

int pci_bars_assign(struct pci_dev *pd)
{
	struct pci_host *host = pd->host;

	for (unsigned i = 0; i < PCI_BARS; i++) {
		struct pci_bar *bar = &pd->bar[i];
		bool ok = true;

		if (bar->kind == PCI_BAR_IO)
			ok = window_take(&host->io, bar->size, &bar->preset);
		else if (bar->kind == PCI_BAR_MEM32)
			/* pages of their own, so that they can be passed on one by one */
			ok = window_take(&host->mem, MAX(bar->size, PAGE_SIZE), &bar->preset);
		else if (bar->kind == PCI_BAR_MEM64)
			ok = window_take(&host->mem64, MAX(bar->size, PAGE_SIZE), &bar->preset) ||
			     window_take(&host->mem, MAX(bar->size, PAGE_SIZE), &bar->preset);
		if (!ok)
			return err_here(ERR_NOMEM);
		if (bar->preset)
			pd->init[PCI_COMMAND] |= bar->kind == PCI_BAR_IO ? PCI_CMD_IO : PCI_CMD_MEM;
	}
	return 0;
}

void pci_dev_reset(struct pci_dev *pd)
{
	struct pci_host *host = pd->host;

	pci_intx(pd, false);
	plat_mutex_lock(&host->lock);
	memcpy(pd->cfg, pd->init, sizeof(pd->cfg));
	for (unsigned i = 0; i < PCI_BARS; i++)
		if (pd->bar[i].preset)
			bar_set(pd->cfg, &pd->bar[i], i, pd->bar[i].preset);
	atomic_store_explicit(&pd->master, false, memory_order_release);
	pci_bars_update(pd);
	pci_irq_reset(pd);
	pci_irq_sync(pd);
	plat_mutex_unlock(&host->lock);
}

/* ---- accesses -------------------------------------------------------------------------------- */

static bool access_ok(unsigned off, unsigned size)
{
	return (size == 1 || size == 2 || size == 4) && off < PCI_CFG_SIZE && (off & 3) + size <= 4;
}

uint32_t pci_cfg_read(struct pci_host *host, unsigned devfn, unsigned off, unsigned size)
{
	struct pci_dev *pd = pci_host_find(host, devfn);
	uint32_t v;

	if (!pd || !access_ok(off, size))
		return UINT32_MAX;
	if (pd->before_read)
		pd->before_read(pd, off, size);
	plat_mutex_lock(&host->lock);
	pci_irq_show(pd);
	v = pci_get(pd->cfg + off, size);
	plat_mutex_unlock(&host->lock);
	return v;
}

void pci_cfg_write(struct pci_host *host, unsigned devfn, unsigned off, unsigned size,
		   uint32_t value)
{
	struct pci_dev *pd = pci_host_find(host, devfn);

	if (!pd || !access_ok(off, size))
		return;
	plat_mutex_lock(&host->lock);
	for (unsigned i = 0; i < size; i++) {
		uint8_t v = (uint8_t)(value >> (8 * i)), *c = &pd->cfg[off + i];
		uint8_t mask = pd->wmask[off + i];

		*c = (uint8_t)((*c & ~mask) | (v & mask)) & (uint8_t) ~(v & pd->w1c[off + i]);
	}
	if (off < PCI_STATUS || (off >= PCI_BAR0 && off < PCI_BAR0 + 4 * PCI_BARS) ||
	    (off & ~3u) == PCI_ROM)
		pci_bars_update(pd);
	atomic_store_explicit(&pd->master, pd->cfg[PCI_COMMAND] & PCI_CMD_MASTER,
			      memory_order_release);
	pci_irq_sync(pd);
	plat_mutex_unlock(&host->lock);
	if (pd->after_write)
		pd->after_write(pd, off, size);
}

uint32_t pci_cfg_peek(struct pci_dev *pd, unsigned off, unsigned size)
{
	uint32_t v;

	plat_mutex_lock(&pd->host->lock);
	v = pci_get(pd->cfg + off, size);
	plat_mutex_unlock(&pd->host->lock);
	return v;
}

void pci_cfg_poke(struct pci_dev *pd, unsigned off, unsigned size, uint32_t value)
{
	plat_mutex_lock(&pd->host->lock);
	pci_put(pd->cfg + off, size, value);
	plat_mutex_unlock(&pd->host->lock);
}
