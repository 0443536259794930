/* SPDX-License-Identifier: ISC */
/* host.c: PCI host bridge: configuration mechanism #1 (PCI Local Bus 3.0, 3.2.2.3.2) and the
 * memory-mapped configuration space (PCI Express 7.2.2), one bus.
 *
 * Entered by any vCPU thread; host->lock guards the address register and configuration spaces. */
#include "dev/pci/internal.h"

#include "base/str.h"
#include "vm/vm.h"

#define CONFIG_ENABLE  BIT(31)
#define RESET_CPU      0x04 /* CF9H: a rising edge resets */
#define RESET_WRITABLE 0x0e

struct vm *pci_host_vm(struct pci_host *host)
{
	return host->dev.vm;
}

struct pci_dev *pci_host_find(struct pci_host *host, unsigned devfn)
{
	return devfn < ARRAY_SIZE(host->dev_at) ? host->dev_at[devfn] : NULL;
}

/* ---- ports CF8H … CFFH --------------------------------------------------------------------- */

/* Address of a data access; false where it goes to no function of this bus. */
static bool data_target(struct pci_host *host, uint64_t off, unsigned *devfn, unsigned *reg)
{
	uint32_t a;

	plat_mutex_lock(&host->lock);
	a = host->address;
	plat_mutex_unlock(&host->lock);
	*devfn = a >> 8 & 0xff;
	*reg = (a & 0xfc) | (off & 3);
	return (a & CONFIG_ENABLE) && !(a >> 16 & 0xff);
}

static uint64_t ports_read(void *dev, uint64_t off, unsigned size)
{
	struct pci_host *host = dev;
	unsigned devfn, reg;
	uint32_t v = UINT32_MAX;

	if (off >= 4) {
		if (!data_target(host, off, &devfn, &reg))
			return v;
		return pci_cfg_read(host, devfn, reg, size);
	}
	plat_mutex_lock(&host->lock);
	if (off == 0 && size == 4)
		v = host->address;
	else if (off == 1 && size == 1)
		v = host->reset_control;
	plat_mutex_unlock(&host->lock);
	return v;
}

static void ports_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct pci_host *host = dev;
	unsigned devfn, reg;
	bool reset = false;

	if (off >= 4) {
		if (data_target(host, off, &devfn, &reg))
			pci_cfg_write(host, devfn, reg, size, (uint32_t)value);
		return;
	}
	plat_mutex_lock(&host->lock);
	if (off == 0 && size == 4) {
		host->address = (uint32_t)value & ~UINT32_C(0x7f000003);
	} else if (off == 1 && size == 1) {
		reset = (value & RESET_CPU) && !(host->reset_control & RESET_CPU);
		host->reset_control = value & RESET_WRITABLE;
	}
	plat_mutex_unlock(&host->lock);
	if (reset)
		vm_request_reset(host->dev.vm);
}

static const struct bus_region ports_region = {
	.name = "pci-config",
	.base = 0xcf8,
	.len = 8,
	.min = 1,
	.max = 4,
	.read = ports_read,
	.write = ports_write,
};

/* ---- ECAM ---------------------------------------------------------------------------------- */

static uint64_t ecam_read(void *dev, uint64_t off, unsigned size)
{
	struct pci_host *host = dev;
	unsigned devfn = off >> 12 & 0xff, reg = off & 0xfff;

	/* conventional functions have no extended space: no capability there */
	if (reg >= PCI_CFG_SIZE)
		return host->dev_at[devfn] ? 0 : UINT32_MAX;
	return pci_cfg_read(host, devfn, reg, size);
}

static void ecam_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct pci_host *host = dev;
	unsigned devfn = off >> 12 & 0xff, reg = off & 0xfff;

	if (reg < PCI_CFG_SIZE)
		pci_cfg_write(host, devfn, reg, size, (uint32_t)value);
}

static const struct bus_region ecam_region = {
	.name = "pci-ecam",
	.len = (uint64_t)PCI_SLOTS * PCI_FUNCS << 12,
	.min = 1,
	.max = 4,
	.read = ecam_read,
	.write = ecam_write,
};

/* ---- functions come and go ------------------------------------------------------------------ */

static int slot_find(struct pci_host *host, int slot, unsigned func, unsigned *devfn)
{
	if (func >= PCI_FUNCS || slot >= PCI_SLOTS || slot < PCI_ANY_SLOT)
		return err_here(ERR_INVAL);
	for (unsigned s = 0; slot == PCI_ANY_SLOT && s < PCI_SLOTS; s++)
		if (!host->dev_at[s * PCI_FUNCS])
			slot = (int)s;
	if (slot == PCI_ANY_SLOT)
		return err_here(ERR_NOMEM);
	*devfn = (unsigned)slot * PCI_FUNCS + func;
	return host->dev_at[*devfn] ? err_here(ERR_EXIST) : 0;
}

int pci_attach(struct pci_host *host, struct pci_dev *pd, int slot, unsigned func)
{
	unsigned devfn = 0;
	int err;

	plat_mutex_lock(&host->lock);
	err = slot_find(host, slot, func, &devfn);
	if (err)
		goto out;
	pd->host = host;
	pd->devfn = (uint8_t)devfn;
	if (host->w.preassign) {
		err = pci_bars_assign(pd);
		if (err)
			goto out;
	}
	if (pd->pin)
		pd->init[PCI_INT_LINE] = host->w.int_line[(devfn / PCI_FUNCS + pd->pin - 1) % 4];
	host->dev_at[devfn] = pd;
	if (func && host->dev_at[devfn - func]) {
		host->dev_at[devfn - func]->init[PCI_HEADER_TYPE] |= 0x80;
		host->dev_at[devfn - func]->cfg[PCI_HEADER_TYPE] |= 0x80;
	}
out:
	plat_mutex_unlock(&host->lock);
	if (!err)
		pci_dev_reset(pd);
	return err;
}

void pci_detach(struct pci_dev *pd)
{
	struct pci_host *host = pd->host;

	if (!host || host->dev_at[pd->devfn] != pd)
		return;
	pci_intx(pd, false);
	plat_mutex_lock(&host->lock);
	pci_bars_unmap(pd);
	host->dev_at[pd->devfn] = NULL;
	plat_mutex_unlock(&host->lock);
}

static void host_reset(struct dev *dev)
{
	struct pci_host *host = container_of(dev, struct pci_host, dev);

	plat_mutex_lock(&host->lock);
	host->address = 0;
	host->reset_control = 0;
	plat_mutex_unlock(&host->lock);
	for (unsigned i = 0; i < ARRAY_SIZE(host->dev_at); i++)
		if (host->dev_at[i])
			pci_dev_reset(host->dev_at[i]);
}

static void host_destroy(struct dev *dev)
{
	plat_free(container_of(dev, struct pci_host, dev));
}

static const struct dev_class host_class = {
	.name = "pci-host",
	.reset = host_reset,
	.state = pci_host_state,
	.destroy = host_destroy,
};

int pci_host_create(struct vm *vm, const struct pci_host_wiring *w, struct pci_host **out)
{
	struct pci_host *host = plat_alloc(sizeof(*host));
	struct pci_id id = {
		.name = "host bridge",
		.vendor = w->vendor ? w->vendor : 0x1b36,
		.device = w->vendor ? w->device : 0x0008,
		.cls = 0x060000,
	};
	int err;

	if (!host)
		return err_here(ERR_NOMEM);
	host->w = *w;
	host->io = w->io;
	host->mem = w->mem;
	host->mem64 = w->mem64;
	host->dev.vm = vm;
	plat_mutex_init(&host->lock, RANK_PCI);
	plat_mutex_init(&host->irq_lock, RANK_INTX);
	pci_dev_init(&host->bridge, &id);
	err = pci_attach(host, &host->bridge, 0, 0);
	if (err)
		goto out;
	err = bus_map(&vm->pio, &ports_region, host);
	if (err)
		goto out;
	if (w->ecam) {
		err = bus_map_at(&vm->mmio, w->ecam, &ecam_region, host);
		if (err)
			goto out_ports;
	}
	vm_add_dev(vm, &host->dev, &host_class);
	*out = host;
	return 0;
out_ports:
	bus_unmap(&vm->pio, &ports_region, host);
out:
	plat_free(host);
	return err;
}
