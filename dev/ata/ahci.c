/* SPDX-License-Identifier: ISC */
/* ahci.c: Serial ATA host controller as in the 82801IR (ICH9), AHCI 1.3: six ports, 32 slots, native
 * command queueing, MSI or a pin. Registers and interrupts; ports are in ahci_port.c.
 *
 * Entered by vCPU threads and by completions of the block layer. Each port has its channel's lock;
 * interrupt status and the pin are under irq_lock, which is taken within. */
#include "dev/ata/ahci_impl.h"

#include "base/str.h"
#include "vm/stream.h"

#define BAR_REGS  5
#define PORTS     0x100
#define PORT_SIZE 0x80
#define REGS_SIZE (PORTS + AHCI_PORTS * PORT_SIZE)

/* Generic host control */
enum { REG_CAP = 0x00, REG_GHC = 0x04, REG_IS = 0x08, REG_PI = 0x0c, REG_VS = 0x10 };
#define CAP_VALUE                                                                      \
	((AHCI_PORTS - 1) | (AHCI_SLOTS - 1) << 8 | BIT(15) /* PIO of many blocks */ | \
	 BIT(18) /* AHCI only */ | 2u << 20 /* 3 Gbit/s */ | BIT(24) /* CLO */ |       \
	 BIT(30) /* queueing */ | BIT(31) /* 64-bit */)
#define GHC_HR BIT(0)
#define GHC_IE BIT(1)
#define GHC_AE BIT(31)

/* Port registers */
enum {
	PX_CLB = 0x00,
	PX_FB = 0x08,
	PX_IS = 0x10,
	PX_IE = 0x14,
	PX_CMD = 0x18,
	PX_TFD = 0x20,
	PX_SIG = 0x24,
	PX_SSTS = 0x28,
	PX_SCTL = 0x2c,
	PX_SERR = 0x30,
	PX_SACT = 0x34,
	PX_CI = 0x38,
};
#define SSTS_READY 0x123 /* a drive, 3 Gbit/s, active */
#define CMD_KEPT   (CMD_ST | CMD_FRE | CMD_ATAPI | CMD_DLAE)

/* ---- interrupts -------------------------------------------------------------------------------------- */

/* irq_lock held. news: what calls for another message. */
static void irq_update(struct ahci *a, bool news)
{
	bool level = a->is && (a->ghc & GHC_IE), msi = pci_msi_enabled(&a->pd);

	if (a->pin != (level && !msi)) {
		a->pin = level && !msi;
		pci_intx(&a->pd, a->pin);
	}
	if (level && msi && news)
		pci_msi_send(&a->pd, 0);
}

static uint32_t port_status(const struct ahci_port *p)
{
	return p->is | (p->serr & SERR_X ? IS_PCS : 0) | (p->serr & SERR_N ? IS_PRCS : 0);
}

/* What a port has to say becomes a bit of IS, which stays until the guest clears it. */
static void port_update(struct ahci_port *p)
{
	struct ahci *a = p->ahci;
	uint32_t bit = BIT(p->chan.index);

	if (!(port_status(p) & p->ie))
		return;
	plat_mutex_lock(&a->irq_lock);
	if (!(a->is & bit)) {
		a->is |= bit;
		irq_update(a, true);
	}
	plat_mutex_unlock(&a->irq_lock);
}

void ahci_port_irq(struct ahci_port *p, uint32_t bits)
{
	p->is |= bits;
	port_update(p);
}

/* ---- ports -------------------------------------------------------------------------------------------- */

/* The guest waits for these to go out after it has cleared ST and FRE. */
static uint32_t cmd_read(const struct ahci_port *p)
{
	uint32_t v = p->cmd | CMD_SUD | CMD_POD;

	if ((p->cmd & CMD_ST) || p->queued)
		v |= CMD_CR | (uint32_t)p->slot << 8;
	if (p->cmd & CMD_FRE)
		v |= CMD_FR;
	return v;
}

static uint32_t port_read(struct ahci_port *p, unsigned off)
{
	bool there = p->chan.drive[0].present, reset = (p->sctl & 15) == 1;

	switch (off) {
	case PX_CLB:
		return (uint32_t)p->clb;
	case PX_CLB + 4:
		return (uint32_t)(p->clb >> 32);
	case PX_FB:
		return (uint32_t)p->fb;
	case PX_FB + 4:
		return (uint32_t)(p->fb >> 32);
	case PX_IS:
		return port_status(p);
	case PX_IE:
		return p->ie;
	case PX_CMD:
		return cmd_read(p);
	case PX_TFD:
		return p->linked ? p->chan.status | (uint32_t)p->chan.error << 8 : 0x7f;
	case PX_SIG:
		return p->sig;
	case PX_SSTS:
		return (p->sctl & 15) == 4 ? 4 : there && !reset ? SSTS_READY : 0;
	case PX_SCTL:
		return p->sctl;
	case PX_SERR:
		return p->serr;
	case PX_SACT:
		return p->sact;
	case PX_CI:
		return p->ci;
	default:
		return 0;
	}
}

static void cmd_write(struct ahci_port *p, uint32_t v)
{
	uint32_t old = p->cmd;

	p->cmd = v & CMD_KEPT;
	if (!(v & CMD_ST) && (old & CMD_ST))
		ahci_port_stop(p);
	if ((v & CMD_CLO) && !(old & CMD_ST) && !p->chan.busy)
		p->chan.status &= (uint8_t) ~(ST_BSY | ST_DRQ);
	ahci_port_link(p);
}

/* COMRESET while DET is 1; the drive is found again when it is 0. */
static void sctl_write(struct ahci_port *p, uint32_t v)
{
	bool was = (p->sctl & 15) == 1, is = (v & 15) == 1;

	p->sctl = v & 0xfff;
	if (is && !was) {
		ahci_port_reset(p, false);
	} else if (was && !is && p->chan.drive[0].present) {
		p->serr |= SERR_X | SERR_N;
		ahci_port_link(p);
	}
}

static void set_half(uint64_t *reg, bool high, uint32_t v)
{
	*reg = high ? (*reg & UINT32_MAX) | (uint64_t)v << 32 : (*reg & ~(uint64_t)UINT32_MAX) | v;
}

static void port_write(struct ahci_port *p, unsigned off, uint32_t v)
{
	switch (off) {
	case PX_CLB:
		set_half(&p->clb, false, v & ~0x3ffu);
		break;
	case PX_FB:
		set_half(&p->fb, false, v & ~0xffu);
		break;
	case PX_CLB + 4:
		set_half(&p->clb, true, v);
		break;
	case PX_FB + 4:
		set_half(&p->fb, true, v);
		break;
	case PX_IS:
		p->is &= ~v;
		break;
	case PX_IE:
		p->ie = v & IE_MASK;
		break;
	case PX_CMD:
		cmd_write(p, v);
		break;
	case PX_SCTL:
		sctl_write(p, v);
		break;
	case PX_SERR:
		p->serr &= ~v;
		break;
	case PX_SACT:
		if (p->cmd & CMD_ST)
			p->sact |= v;
		break;
	case PX_CI:
		if (p->cmd & CMD_ST && p->chan.drive[0].present)
			p->ci |= v;
		break;
	default:
		break;
	}
	port_update(p);
	ahci_port_run(p);
}

/* ---- the whole controller ------------------------------------------------------------------------------- */

static void ports_reset(struct ahci *a, bool power_on)
{
	for (unsigned i = 0; i < AHCI_PORTS; i++) {
		struct ahci_port *p = &a->port[i];

		plat_mutex_lock(&p->chan.lock);
		p->is = p->ie = p->cmd = p->sctl = 0;
		p->serr = p->chan.drive[0].present ? SERR_X | SERR_N : 0;
		if (power_on)
			p->clb = p->fb = 0;
		ahci_port_reset(p, power_on);
		ata_unlock(&p->chan);
	}
	plat_mutex_lock(&a->irq_lock);
	a->ghc = GHC_AE;
	a->is = 0;
	irq_update(a, false);
	plat_mutex_unlock(&a->irq_lock);
}

static void is_write(struct ahci *a, uint32_t v)
{
	plat_mutex_lock(&a->irq_lock);
	a->is &= ~v;
	irq_update(a, true); /* what is left calls again */
	plat_mutex_unlock(&a->irq_lock);
	for (unsigned i = 0; i < AHCI_PORTS; i++) {
		if (!(v & BIT(i)))
			continue;
		plat_mutex_lock(&a->port[i].chan.lock);
		port_update(&a->port[i]);
		plat_mutex_unlock(&a->port[i].chan.lock);
	}
}

static void hba_write(struct ahci *a, unsigned off, uint32_t v)
{
	if (off == REG_IS) {
		is_write(a, v);
	} else if (off == REG_GHC && (v & GHC_HR)) {
		ports_reset(a, false);
	} else if (off == REG_GHC) {
		plat_mutex_lock(&a->irq_lock);
		a->ghc = GHC_AE | (v & GHC_IE);
		irq_update(a, true);
		plat_mutex_unlock(&a->irq_lock);
	}
}

static uint32_t hba_read(struct ahci *a, unsigned off)
{
	uint32_t v = 0;

	plat_mutex_lock(&a->irq_lock);
	switch (off) {
	case REG_CAP:
		v = CAP_VALUE;
		break;
	case REG_GHC:
		v = a->ghc;
		break;
	case REG_IS:
		v = a->is;
		break;
	case REG_PI:
		v = BIT(AHCI_PORTS) - 1;
		break;
	case REG_VS:
		v = 0x00010300;
		break;
	default:
		break;
	}
	plat_mutex_unlock(&a->irq_lock);
	return v;
}

static uint64_t ahci_read(void *dev, uint64_t off, unsigned size)
{
	struct ahci *a = dev;
	struct ahci_port *p;
	uint32_t v;

	if (off < PORTS)
		return hba_read(a, (unsigned)off & ~3u);
	p = &a->port[(off - PORTS) / PORT_SIZE];
	plat_mutex_lock(&p->chan.lock);
	v = port_read(p, (unsigned)off & (PORT_SIZE - 4));
	plat_mutex_unlock(&p->chan.lock);
	return v;
}

static void ahci_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct ahci *a = dev;
	struct ahci_port *p;

	if (off < PORTS) {
		hba_write(a, (unsigned)off & ~3u, (uint32_t)value);
		return;
	}
	p = &a->port[(off - PORTS) / PORT_SIZE];
	plat_mutex_lock(&p->chan.lock);
	port_write(p, (unsigned)off & (PORT_SIZE - 4), (uint32_t)value);
	ata_unlock(&p->chan);
}

static const struct bus_region ahci_region = {
	.name = "ahci",
	.len = REGS_SIZE,
	.min = 4,
	.max = 4,
	.read = ahci_read,
	.write = ahci_write,
};

/* ---- the device -------------------------------------------------------------------------------------------- */

static void ahci_reset(struct dev *dev)
{
	ports_reset(container_of(dev, struct ahci, dev), true);
}

static const struct st_field hba_fields[] = {
	ST_U(struct ahci, ghc),
	ST_U(struct ahci, is),
	ST_B(struct ahci, pin),
};

#define P struct ahci_port
static const struct st_field port_fields[] = {
	ST_U(P, clb),
	ST_U(P, fb),
	ST_U(P, is),
	ST_U(P, ie),
	ST_U(P, cmd),
	ST_U(P, sig),
	ST_U(P, serr),
	ST_U(P, sctl),
	ST_U(P, sact),
	ST_U(P, ci),
	ST_B(P, linked),
	ST_B(P, halted),
	ST_UMAX(P, slot, AHCI_SLOTS - 1),
};
#undef P

/* Frozen, nothing is with the disk, and no command waits for anything else. */
static void port_state(struct ahci_port *p, struct state_stream *st)
{
	ST_SYNC(st, "port", p->chan.index, port_fields, p);
	ata_chan_state(&p->chan, st);
	if (!st->loading || st->err)
		return;
	p->cmd &= CMD_KEPT;
	p->ie &= IE_MASK;
	if (p->chan.phase != PHASE_IDLE || (p->ci && !p->chan.drive[0].present))
		state_fail(st, err_here(ERR_FORMAT), "ahci: an impossible command");
}

static int ahci_state(struct dev *dev, struct state_stream *st)
{
	struct ahci *a = container_of(dev, struct ahci, dev);

	if (pci_dev_state(&a->pd, st))
		return st->err;
	for (unsigned i = 0; i < AHCI_PORTS && !st->err; i++) {
		plat_mutex_lock(&a->port[i].chan.lock);
		port_state(&a->port[i], st);
		plat_mutex_unlock(&a->port[i].chan.lock);
	}
	ST_SYNC(st, "controller", 0, hba_fields, a);
	if (st->err && st->loading)
		ports_reset(a, true);
	return st->err;
}

/* off: commands that have come meanwhile */
static int ahci_freeze(struct dev *dev, bool on)
{
	struct ahci *a = container_of(dev, struct ahci, dev);
	int err = 0;

	for (unsigned i = 0; i < AHCI_PORTS && !err; i++) {
		struct ahci_port *p = &a->port[i];

		if (on) {
			err = ata_quiesce(&p->chan);
		} else {
			plat_mutex_lock(&p->chan.lock);
			ahci_port_run(p);
			ata_unlock(&p->chan);
		}
	}
	return err;
}

static void ahci_destroy(struct dev *dev)
{
	struct ahci *a = container_of(dev, struct ahci, dev);

	for (unsigned i = 0; i < AHCI_PORTS; i++) {
		struct ahci_port *p = &a->port[i];

		if (!p->ahci)
			continue;
		plat_mutex_lock(&p->chan.lock);
		p->cmd = 0;
		ahci_port_stop(p);
		plat_mutex_unlock(&p->chan.lock);
		ata_chan_fini(&p->chan);
		if (p->slots)
			plat_pages_free(p->slots,
					ALIGN_UP(AHCI_SLOTS * sizeof(*p->slots), PAGE_SIZE));
	}
	plat_free(a);
}

static const struct dev_class ahci_class = {
	.name = "ahci",
	.reset = ahci_reset,
	.state = ahci_state,
	.freeze = ahci_freeze,
	.destroy = ahci_destroy,
};

static int port_init(struct ahci *a, unsigned i, const struct ahci_wiring *w)
{
	struct ahci_port *p = &a->port[i];
	struct ata_drive *d = &p->chan.drive[0];
	struct block *block = w->port[i].block;

	p->ahci = a;
	d->present = w->port[i].present;
	d->cdrom = w->port[i].cdrom;
	if (w->port[i].serial)
		str_copy(d->serial, sizeof(d->serial), w->port[i].serial);
	if (d->present && !d->cdrom) {
		p->slots = plat_pages_alloc(ALIGN_UP(AHCI_SLOTS * sizeof(*p->slots), PAGE_SIZE));
		for (unsigned k = 0; k < AHCI_SLOTS && p->slots; k++)
			p->slots[k].port = p;
	}
	if (ata_chan_init(&p->chan, &ahci_ops, a->dev.vm, i, 1, &block) ||
	    (d->present && !d->cdrom && !p->slots))
		return err_here(ERR_NOMEM);
	return 0;
}

int ahci_create(struct vm *vm, const struct ahci_wiring *w, struct ahci **out)
{
	static const struct pci_id id = {.name = "ICH9 AHCI",
					 .vendor = 0x8086,
					 .device = 0x2922,
					 .subsys_vendor = 0x1af4,
					 .subsys = 0x1100,
					 .revision = 2,
					 .cls = 0x010601,
					 .pin = 1};
	struct ahci *a = plat_alloc(sizeof(*a));
	const struct pci_bar bar = {
		.kind = PCI_BAR_MEM32, .size = 0x1000, .region = &ahci_region, .ctx = a};
	int err = 0;

	if (!a)
		return err_here(ERR_NOMEM);
	plat_mutex_init(&a->irq_lock, RANK_BACKEND);
	/* From here on the VM owns it, on errors too. */
	vm_add_dev(vm, &a->dev, &ahci_class);
	pci_dev_init(&a->pd, &id);
	for (unsigned i = 0; i < AHCI_PORTS && !err; i++)
		err = port_init(a, i, w);
	if (!err)
		err = pci_bar_add(&a->pd, BAR_REGS, &bar);
	if (!err)
		err = pci_msi_add(&a->pd, 1);
	if (!err)
		err = pci_attach(w->host, &a->pd, w->slot, 0);
	if (!err)
		ports_reset(a, true);
	*out = a;
	return err;
}

int ahci_change_disc(struct ahci *a, unsigned port, struct block *block, bool force)
{
	if (port >= AHCI_PORTS)
		return err_here(ERR_INVAL);
	return ata_change_disc(&a->port[port].chan, &a->port[port].chan.drive[0], block, force);
}
