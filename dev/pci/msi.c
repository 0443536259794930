/* SPDX-License-Identifier: ISC */
/* msi.c: how a function interrupts: its INTx# pin (PCI Local Bus 3.0, 2.2.6), MSI and MSI-X (6.8).
 *
 * Entered by vCPU threads (registers) and by any thread of a back end (interrupts), under
 * host->irq_lock. A message is sent after the lock is dropped: the local APICs' locks are their
 * own business. The pins are driven with it held, so that wires follow the count in order. */
#include "dev/pci/internal.h"

#include "base/str.h"
#include "vm/vm.h"

#define MSIX_ENABLE   0x8000
#define MSIX_MASK_ALL 0x4000
#define MSIX_ENTRY    16
#define MSI_ENABLE    0x0001
#define MSI_64        0x0080
#define MSI_MASKABLE  0x0100
#define MSI_CAP_LEN   24
#define MAX_MESSAGES  64

struct message {
	uint64_t addr;
	uint32_t data;
};

static void messages_send(struct pci_dev *pd, const struct message *m, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		msi_send(pd->host->dev.vm, m[i].addr, m[i].data);
}

/* ---- INTx# ----------------------------------------------------------------------------------- */

/* irq_lock held. disabled: COMMAND's bit, as last seen. */
static void intx_update(struct pci_dev *pd, bool disabled)
{
	struct pci_host *host = pd->host;
	unsigned wire = (pd->devfn / PCI_FUNCS + pd->pin - 1u) % 4;
	bool drive = pd->pin && pd->intx_wanted && !disabled;

	if (drive == pd->intx_driven)
		return;
	pd->intx_driven = drive;
	if (drive && host->pirq_count[wire]++ == 0)
		irq_set(&host->w.pirq[wire], true);
	else if (!drive && --host->pirq_count[wire] == 0)
		irq_set(&host->w.pirq[wire], false);
}

void pci_intx(struct pci_dev *pd, bool level)
{
	plat_mutex_lock(&pd->host->irq_lock);
	pd->intx_wanted = level;
	/* one byte, written under the other lock; pci_irq_sync() comes after every change */
	intx_update(pd, __atomic_load_n(&pd->cfg[PCI_COMMAND + 1], __ATOMIC_RELAXED) &
				PCI_CMD_INTX_DISABLE >> 8);
	plat_mutex_unlock(&pd->host->irq_lock);
}

/* ---- MSI-X ----------------------------------------------------------------------------------- */

/* Takes the pending messages that may go now. irq_lock held. */
static unsigned msix_collect(struct pci_dev *pd, struct message *m)
{
	struct pci_msix *x = &pd->msix;
	unsigned n = 0;

	if (!x->enabled || x->masked || !atomic_load_explicit(&pd->master, memory_order_acquire))
		return 0;
	for (unsigned i = 0; x->pending >> i && i < x->n; i++) {
		if (!(x->pending >> i & 1) || (x->entry[i].ctrl & 1))
			continue;
		x->pending &= ~BIT64(i);
		m[n++] = (struct message){x->entry[i].addr, x->entry[i].data};
		if (x->pending == 0)
			break;
	}
	return n;
}

void pci_msix_send(struct pci_dev *pd, unsigned vector)
{
	struct pci_msix *x = &pd->msix;
	struct message m;
	bool now = false;

	plat_mutex_lock(&pd->host->irq_lock);
	if (vector < x->n && x->enabled) {
		now = !x->masked && !(x->entry[vector].ctrl & 1) &&
		      atomic_load_explicit(&pd->master, memory_order_acquire);
		if (now)
			m = (struct message){x->entry[vector].addr, x->entry[vector].data};
		else
			x->pending |= BIT64(vector);
	}
	plat_mutex_unlock(&pd->host->irq_lock);
	if (now)
		messages_send(pd, &m, 1);
}

bool pci_msix_message(struct pci_dev *pd, unsigned vector, uint64_t *addr, uint32_t *data)
{
	struct pci_msix *x = &pd->msix;
	bool now;

	plat_mutex_lock(&pd->host->irq_lock);
	now = vector < x->n && x->enabled && !x->masked && !(x->entry[vector].ctrl & 1) &&
	      atomic_load_explicit(&pd->master, memory_order_acquire);
	if (now) {
		*addr = x->entry[vector].addr;
		*data = x->entry[vector].data;
	}
	plat_mutex_unlock(&pd->host->irq_lock);
	return now;
}

void pci_msix_clear(struct pci_dev *pd, unsigned vector)
{
	plat_mutex_lock(&pd->host->irq_lock);
	if (vector < pd->msix.n)
		pd->msix.pending &= ~BIT64(vector);
	plat_mutex_unlock(&pd->host->irq_lock);
}

bool pci_msix_enabled(struct pci_dev *pd)
{
	return __atomic_load_n(&pd->msix.enabled, __ATOMIC_RELAXED);
}

/* The BAR holds the table from 0 and the pending bits from PCI_MSIX_PBA. The bus gives accesses of
 * 4 bytes, aligned or not: what is not aligned is not allowed and reads 0. */
static uint64_t msix_read(void *dev, uint64_t off, unsigned size)
{
	struct pci_dev *pd = dev;
	struct pci_msix *x = &pd->msix;
	unsigned i = (unsigned)(off / MSIX_ENTRY);
	uint64_t v = 0;

	if (off & 3)
		return 0;
	plat_mutex_lock(&pd->host->irq_lock);
	if (i < x->n) {
		const uint32_t word[4] = {(uint32_t)x->entry[i].addr,
					  (uint32_t)(x->entry[i].addr >> 32), x->entry[i].data,
					  x->entry[i].ctrl};
		v = word[off / 4 % 4];
	} else if (off == PCI_MSIX_PBA || off == PCI_MSIX_PBA + 4) {
		v = x->pending >> 8 * (off - PCI_MSIX_PBA) & UINT32_MAX;
	}
	plat_mutex_unlock(&pd->host->irq_lock);
	return v;
}

static void msix_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct pci_dev *pd = dev;
	struct pci_msix *x = &pd->msix;
	unsigned i = (unsigned)(off / MSIX_ENTRY), n = 0;
	struct message m[MAX_MESSAGES];
	uint32_t v = (uint32_t)value;

	if (off & 3 || i >= x->n)
		return;
	plat_mutex_lock(&pd->host->irq_lock);
	switch (off / 4 % 4) {
	case 0:
		x->entry[i].addr = (x->entry[i].addr & ~UINT64_C(0xffffffff)) | (v & ~3u);
		break;
	case 1:
		x->entry[i].addr = (uint64_t)v << 32 | (uint32_t)x->entry[i].addr;
		break;
	case 2:
		x->entry[i].data = v;
		break;
	case 3:
		x->entry[i].ctrl = v & 1;
		n = msix_collect(pd, m);
		break;
	}
	plat_mutex_unlock(&pd->host->irq_lock);
	messages_send(pd, m, n);
	if (pd->irq_changed)
		pd->irq_changed(pd);
}

static const struct bus_region msix_region = {
	.name = "msix",
	.len = PCI_MSIX_SIZE,
	.min = 4,
	.max = 4,
	.read = msix_read,
	.write = msix_write,
};

int pci_msix_add(struct pci_dev *pd, unsigned n, unsigned idx)
{
	struct pci_bar bar = {
		.kind = PCI_BAR_MEM32, .size = PCI_MSIX_SIZE, .region = &msix_region, .ctx = pd};
	uint8_t cap;
	int err;

	if (!n || n > PCI_MSIX_MAX || pd->msix.n)
		return err_here(ERR_INVAL);
	err = pci_bar_add(pd, idx, &bar);
	if (err)
		return err;
	err = pci_cap_add(pd, PCI_CAP_MSIX, 12, &cap);
	if (err)
		return err;
	pci_put(pd->init + cap + 2, 2, n - 1);
	pci_put(pd->wmask + cap + 2, 2, MSIX_ENABLE | MSIX_MASK_ALL);
	pci_put(pd->init + cap + 4, 4, idx);
	pci_put(pd->init + cap + 8, 4, PCI_MSIX_PBA | idx);
	pd->msix.cap = cap;
	pd->msix.n = (uint16_t)n;
	return 0;
}

/* ---- MSI ------------------------------------------------------------------------------------- */

int pci_msi_add(struct pci_dev *pd, unsigned n)
{
	unsigned log2 = (unsigned)__builtin_ctz(n | BIT(31));
	uint8_t cap;
	int err;

	if (!n || n > 32 || n & (n - 1) || pd->msi.n)
		return err_here(ERR_INVAL);
	err = pci_cap_add(pd, PCI_CAP_MSI, MSI_CAP_LEN, &cap);
	if (err)
		return err;
	pci_put(pd->init + cap + 2, 2, MSI_64 | MSI_MASKABLE | log2 << 1);
	pci_put(pd->wmask + cap + 2, 2, MSI_ENABLE | 0x70);
	pci_put(pd->wmask + cap + 4, 4, ~3u);
	pci_put(pd->wmask + cap + 8, 4, UINT32_MAX);
	pci_put(pd->wmask + cap + 12, 2, 0xffff);
	pci_put(pd->wmask + cap + 16, 4, UINT32_MAX >> (32 - n));
	pd->msi.cap = cap;
	pd->msi.n = (uint8_t)n;
	return 0;
}

/* The guest may have been granted fewer messages than offered: the rest share the last bits. */
static bool msi_message(struct pci_dev *pd, unsigned i, struct message *m)
{
	struct pci_msi *s = &pd->msi;
	unsigned low = (1u << s->log2_enabled) - 1;

	*m = (struct message){s->addr, (s->data & ~low) | (i & low)};
	return !(s->mask >> i & 1) && atomic_load_explicit(&pd->master, memory_order_acquire);
}

void pci_msi_send(struct pci_dev *pd, unsigned message)
{
	struct message m;
	bool now = false;

	plat_mutex_lock(&pd->host->irq_lock);
	if (pd->msi.enabled && message < pd->msi.n) {
		message &= (1u << pd->msi.log2_enabled) - 1;
		now = msi_message(pd, message, &m);
		if (!now)
			pd->msi.pending |= BIT(message);
	}
	plat_mutex_unlock(&pd->host->irq_lock);
	if (now)
		messages_send(pd, &m, 1);
}

bool pci_msi_enabled(struct pci_dev *pd)
{
	return __atomic_load_n(&pd->msi.enabled, __ATOMIC_RELAXED);
}

static unsigned msi_sync(struct pci_dev *pd, struct message *m)
{
	struct pci_msi *s = &pd->msi;
	const uint8_t *c = pd->cfg + s->cap;
	unsigned control = pci_get(c + 2, 2), n = 0;

	__atomic_store_n(&s->enabled, control & MSI_ENABLE, __ATOMIC_RELAXED);
	s->log2_enabled = (uint8_t)MIN(control >> 4 & 7, (unsigned)__builtin_ctz(s->n));
	s->addr = pci_get(c + 4, 4) | (uint64_t)pci_get(c + 8, 4) << 32;
	s->data = (uint16_t)pci_get(c + 12, 2);
	s->mask = pci_get(c + 16, 4);
	for (unsigned i = 0; s->enabled && i < s->n; i++) {
		if (!(s->pending >> i & 1) || !msi_message(pd, i, &m[n]))
			continue;
		s->pending &= ~BIT(i);
		n++;
	}
	return n;
}

/* ---- with the configuration space ------------------------------------------------------------ */

void pci_irq_sync(struct pci_dev *pd)
{
	struct message m[MAX_MESSAGES];
	unsigned n = 0;

	plat_mutex_lock(&pd->host->irq_lock);
	intx_update(pd, pd->cfg[PCI_COMMAND + 1] & PCI_CMD_INTX_DISABLE >> 8);
	if (pd->msix.n) {
		unsigned control = pci_get(pd->cfg + pd->msix.cap + 2, 2);

		__atomic_store_n(&pd->msix.enabled, control & MSIX_ENABLE, __ATOMIC_RELAXED);
		pd->msix.masked = control & MSIX_MASK_ALL;
		n = msix_collect(pd, m);
	}
	if (!n && pd->msi.n)
		n = msi_sync(pd, m);
	plat_mutex_unlock(&pd->host->irq_lock);
	messages_send(pd, m, n);
}

void pci_irq_show(struct pci_dev *pd)
{
	plat_mutex_lock(&pd->host->irq_lock);
	pd->cfg[PCI_STATUS] &= (uint8_t)~PCI_STS_INTX;
	if (pd->intx_wanted)
		pd->cfg[PCI_STATUS] |= PCI_STS_INTX;
	if (pd->msi.n)
		pci_put(pd->cfg + pd->msi.cap + 20, 4, pd->msi.pending);
	plat_mutex_unlock(&pd->host->irq_lock);
}

void pci_irq_reset(struct pci_dev *pd)
{
	plat_mutex_lock(&pd->host->irq_lock);
	for (unsigned i = 0; i < pd->msix.n; i++) {
		pd->msix.entry[i].addr = 0;
		pd->msix.entry[i].data = 0;
		pd->msix.entry[i].ctrl = 1;
	}
	pd->msix.pending = 0;
	pd->msi.pending = 0;
	plat_mutex_unlock(&pd->host->irq_lock);
}
