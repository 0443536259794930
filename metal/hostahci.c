/* SPDX-License-Identifier: ISC */
/* hostahci.c: the machine's SATA disks (AHCI 1.3.1; ATA8-ACS). A command's slot is its tag; commands are not queued
 * within the disk (no NCQ): the adapter hands them over one after the other. An error stops the port, and adapters differ in
 * what they then say of which command: all are issued again, one by one, and the one that fails alone has failed. Entered through hostdisk.c, under the disk's lock. */
#include "base/str.h"
#include "metal/ata.h"
#include "metal/hostdisk_drivers.h"
#include "metal/iommu.h"

enum hba_reg { H_CAP = 0x00, H_GHC = 0x04, H_IS = 0x08, H_PI = 0x0c, H_CAP2 = 0x24, H_BOHC = 0x28 };
#define CAP_SLOTS(cap) (((cap) >> 8 & 31) + 1)
#define CAP_64         BIT(31)
#define GHC_IE         BIT(1)
#define GHC_AE         BIT(31)
#define CAP2_BOH       BIT(0)
#define BOHC_BOS       BIT(0) /* firmware owns it */
#define BOHC_OOS       BIT(1) /* we want it */

enum port_reg {
	P_CLB = 0x00,
	P_FB = 0x08,
	P_IS = 0x10,
	P_IE = 0x14,
	P_CMD = 0x18,
	P_TFD = 0x20,
	P_SIG = 0x24,
	P_SSTS = 0x28,
	P_SERR = 0x30,
	P_CI = 0x38,
};
#define PORT(n)     (0x100u + 0x80u * (n))
#define PORTS       32u
#define IS_USED     0x7800000fu /* the errors, and the ends of commands of all kinds */
#define IS_ERRORS   0x78000000u /* task file, host bus, interface fatal */
#define CMD_ST      BIT(0)
#define CMD_SUD     BIT(1)
#define CMD_POD     BIT(2)
#define CMD_FRE     BIT(4)
#define CMD_CCS(v)  ((v) >> 8 & 31)
#define CMD_FR      BIT(14)
#define CMD_CR      BIT(15)
#define TFD_BUSY    0x88u /* BSY, DRQ */
#define SSTS_DET    15u
#define DET_PRESENT 3u
#define SIG_ATA     0x101u

enum ata { ATA_READ_EXT = 0x25, ATA_WRITE_EXT = 0x35, ATA_FLUSH_EXT = 0xea, ATA_IDENTIFY = 0xec };

#define LINK_WAIT  (NS_PER_SEC / 5)
#define STOP_WAIT  (NS_PER_SEC / 2)
#define READY_WAIT (10 * NS_PER_SEC) /* a disk that spins up */
#define ID_WAIT    (5 * NS_PER_SEC)
#define MAX_BYTES  MIB
#define PRD_MAX    (4 * MIB)

struct header {
	uint16_t flags, n_prd;
	uint32_t done;
	uint64_t table;
	uint32_t reserved[4];
};
_Static_assert(sizeof(struct header) == 32, "AHCI 4.2.2");
#define HDR_FIS_LEN 5u /* words of the command FIS */
#define HDR_WRITE   BIT(6)

struct prd {
	uint64_t pa;
	uint32_t reserved, len; /* less 1 */
};
_Static_assert(sizeof(struct prd) == 16, "AHCI 4.2.3.3");

struct table {
	uint8_t fis[64], packet[16], reserved[48];
	struct prd prd[HOSTDISK_SEGS];
};
_Static_assert(sizeof(struct table) == KIB, "four in a page, and aligned");
#define TABLES (HOSTDISK_TAGS * sizeof(struct table))

struct ahci_port {
	struct hostdisk d;
	volatile uint8_t *reg;
	struct header *header; /* 32; the received FISes behind them in the page */
	struct table *table;
	uint32_t issued;  /* slots */
	uint32_t waiting; /* after an error: to be issued when none is */
};

struct ahci {
	volatile uint8_t *reg;
	struct ahci_port *port[PORTS]; /* NULL: no disk */
	struct hostpci *pci;
	bool irq;
	uint32_t cap;
};

static volatile uint32_t *reg32(volatile uint8_t *base, unsigned reg)
{
	return (volatile uint32_t *)(base + reg);
}

static struct ahci_port *to_port(struct hostdisk *d)
{
	return container_of(d, struct ahci_port, d);
}

/* Whether the bits become value. */
static bool wait_for(volatile uint32_t *reg, uint32_t bits, uint32_t value, uint64_t wait)
{
	uint64_t end = plat_now() + wait;

	while ((*reg & bits) != value) {
		if (plat_now() > end)
			return false;
		hostpci_pause();
	}
	return true;
}

/* ---- commands ---- */

static void set_command(struct ahci_port *p, unsigned slot, uint8_t command, uint64_t sector,
			uint32_t sectors)
{
	uint8_t *fis = p->table[slot].fis;

	memset(fis, 0, 20);
	fis[0] = 0x27; /* from host to device */
	fis[1] = 0x80; /* it is a command */
	fis[2] = command;
	fis[4] = (uint8_t)sector;
	fis[5] = (uint8_t)(sector >> 8);
	fis[6] = (uint8_t)(sector >> 16);
	fis[7] = 0x40; /* LBA */
	fis[8] = (uint8_t)(sector >> 24);
	fis[9] = (uint8_t)(sector >> 32);
	fis[10] = (uint8_t)(sector >> 40);
	fis[12] = (uint8_t)sectors;
	fis[13] = (uint8_t)(sectors >> 8);
	p->header[slot] =
		(struct header){.flags = HDR_FIS_LEN, .table = plat_phys(&p->table[slot])};
}

static void add_prd(struct ahci_port *p, unsigned slot, uint64_t pa, uint32_t len)
{
	p->table[slot].prd[p->header[slot].n_prd++] = (struct prd){.pa = pa, .len = len - 1};
}

static void issue(struct ahci_port *p, uint32_t slots)
{
	atomic_thread_fence(memory_order_release);
	p->issued |= slots;
	*reg32(p->reg, P_CI) = slots;
}

static void ahci_start(struct hostdisk *d, unsigned tag, const struct hostdisk_cmd *c)
{
	struct ahci_port *p = to_port(d);

	if (c->op == BLOCK_FLUSH)
		set_command(p, tag, ATA_FLUSH_EXT, 0, 0);
	else
		set_command(p, tag, c->op == BLOCK_READ ? ATA_READ_EXT : ATA_WRITE_EXT, c->sector,
			    c->sectors);
	for (unsigned i = 0; i < c->n_seg && c->op != BLOCK_FLUSH; i++)
		add_prd(p, tag, c->seg[i].pa, c->seg[i].len);
	if (c->op == BLOCK_WRITE)
		p->header[tag].flags |= HDR_WRITE;
	if (p->waiting)
		p->waiting |= BIT(tag);
	else
		issue(p, BIT(tag));
}

static bool port_stop(struct ahci_port *p)
{
	volatile uint32_t *cmd = reg32(p->reg, P_CMD);

	*cmd &= ~CMD_ST;
	return wait_for(cmd, CMD_CR, 0, STOP_WAIT);
}

static void port_go(struct ahci_port *p)
{
	*reg32(p->reg, P_SERR) = UINT32_MAX;
	*reg32(p->reg, P_IS) = UINT32_MAX;
	*reg32(p->reg, P_CMD) |= CMD_ST;
}

/* ST must go off and on, which takes all commands back. */
static void recover(struct ahci_port *p)
{
	uint32_t slots = p->issued;

	if (!port_stop(p))
		return; /* it is cut off in the end */
	port_go(p);
	p->issued = 0;
	if (slots & (slots - 1))
		p->waiting |= slots;
	else if (slots)
		hostdisk_end(&p->d, (unsigned)__builtin_ctz(slots), ERR_IO);
}

static void ahci_poll(struct hostdisk *d)
{
	struct ahci_port *p = to_port(d);
	uint32_t is = *reg32(p->reg, P_IS), ended;

	*reg32(p->reg, P_IS) = is;
	if (is & IS_ERRORS) {
		recover(p);
	} else {
		ended = p->issued & ~*reg32(p->reg, P_CI);
		p->issued &= ~ended;
		for (; ended; ended &= ended - 1)
			hostdisk_end(d, (unsigned)__builtin_ctz(ended), 0);
	}
	if (!p->issued && p->waiting) {
		uint32_t next = p->waiting & -p->waiting;

		p->waiting -= next;
		issue(p, next);
	}
	if (d->irq)
		*reg32(p->reg, P_IE) = IS_USED;
}

static void ahci_cut(struct hostdisk *d)
{
	hostpci_disable(d->pci);
}

static const struct hostdisk_driver ahci_driver = {ahci_start, NULL, ahci_poll, ahci_cut};

/* The adapter's bit falls only when the port's bits have, and those are the thread's: the port is silenced, and
 * speaks again after the next poll. */
static void on_irq(void *arg)
{
	struct ahci *a = arg;
	uint32_t is = *reg32(a->reg, H_IS);

	for (uint32_t left = is; left; left &= left - 1) {
		unsigned i = (unsigned)__builtin_ctz(left);

		*reg32(a->reg, PORT(i) + P_IE) = 0;
		if (a->port[i])
			hostdisk_irq(&a->port[i]->d);
	}
	*reg32(a->reg, H_IS) = is;
}

/* ---- set-up ---- */

static int identify(struct ahci_port *p, uint16_t *id)
{
	volatile uint32_t *ci = reg32(p->reg, P_CI);

	set_command(p, 0, ATA_IDENTIFY, 0, 0);
	add_prd(p, 0, plat_phys(id), BLOCK_SECTOR);
	issue(p, 1);
	if (!wait_for(ci, 1, 0, ID_WAIT))
		return err_here(ERR_TIMEOUT);
	p->issued = 0;
	return *reg32(p->reg, P_TFD) & 1 ? err_here(ERR_IO) : 0;
}

static void limits(const struct ahci *a, struct hostdisk *d)
{
	d->driver = &ahci_driver;
	d->pci = a->pci;
	d->irq = a->irq;
	d->tags = MIN(CAP_SLOTS(a->cap), HOSTDISK_TAGS);
	d->max_sectors = MAX_BYTES / BLOCK_SECTOR;
	d->max_seg = MAX_BYTES;
	d->max_segs = HOSTDISK_SEGS;
	d->align = 2;
	d->pa_end = a->cap & CAP_64 ? UINT64_MAX : 4 * GIB;
}

/* Whether there is a disk; then it is ready for commands. */
static bool port_wake(struct ahci_port *p)
{
	volatile uint32_t *cmd = reg32(p->reg, P_CMD);

	*reg32(p->reg, P_IE) = 0;
	if (!port_stop(p))
		return false;
	*cmd &= ~CMD_FRE;
	if (!wait_for(cmd, CMD_FR, 0, STOP_WAIT))
		return false;
	*(volatile uint64_t *)(p->reg + P_CLB) = plat_phys(p->header);
	*(volatile uint64_t *)(p->reg + P_FB) = plat_phys(p->header + 32);
	*cmd |= CMD_FRE | CMD_SUD | CMD_POD;
	if (!wait_for(reg32(p->reg, P_SSTS), SSTS_DET, DET_PRESENT, LINK_WAIT))
		return false;
	*reg32(p->reg, P_SERR) = UINT32_MAX;
	if (!wait_for(reg32(p->reg, P_TFD), TFD_BUSY, 0, READY_WAIT) ||
	    *reg32(p->reg, P_SIG) != SIG_ATA)
		return false;
	port_go(p);
	return true;
}

/* Nothing may be written to what it has any more. */
static void port_drop(struct ahci_port *p)
{
	*reg32(p->reg, P_CMD) &= ~(CMD_ST | CMD_FRE);
	if (!wait_for(reg32(p->reg, P_CMD), CMD_FR | CMD_CR, 0, STOP_WAIT))
		return;
	if (p->header)
		iommu_pages_free(p->d.pci, p->header, PAGE_SIZE);
	if (p->table)
		iommu_pages_free(p->d.pci, p->table, TABLES);
	plat_free(p);
}

static int port_add(struct ahci *a, struct ahci_port *p)
{
	uint8_t *page = iommu_pages_alloc(a->pci, PAGE_SIZE);
	int err;

	p->d.pci = a->pci;
	p->header = (void *)page;
	p->table = iommu_pages_alloc(a->pci, TABLES);
	if (!page || !p->table)
		return err_here(ERR_NOMEM);
	limits(a, &p->d);
	if (MAX(plat_phys(page), plat_phys(p->table + HOSTDISK_TAGS)) > p->d.pa_end)
		return err_here(ERR_NOSYS);
	if (!port_wake(p))
		return ERR_NOENT; /* nothing there, or a CD */
	/* Identified into the unused half of the page */
	err = identify(p, (uint16_t *)(page + PAGE_SIZE / 2));
	if (!err)
		err = ata_identity(&p->d, (uint16_t *)(page + PAGE_SIZE / 2));
	return err ? err : hostdisk_add(&p->d);
}

static void ports(struct ahci *a, unsigned *n)
{
	uint32_t there = *reg32(a->reg, H_PI);

	for (unsigned i = 0; i < PORTS; i++) {
		struct ahci_port *p = there & BIT(i) ? plat_alloc(sizeof(*p)) : NULL;
		int err;

		if (!p)
			continue;
		p->reg = a->reg + PORT(i);
		str_format(p->d.name, sizeof(p->d.name), "ahci%u", *n);
		err = port_add(a, p);
		if (!err) {
			(*n)++;
			a->port[i] = p;
			*reg32(p->reg, P_IE) = a->irq ? IS_USED : 0;
			continue;
		}
		if (err != ERR_NOENT)
			hostdisk_refused(a->pci, err);
		port_drop(p);
	}
}

static void take_over(const struct ahci *a)
{
	if (*reg32(a->reg, H_CAP2) & CAP2_BOH) {
		*reg32(a->reg, H_BOHC) |= BOHC_OOS;
		wait_for(reg32(a->reg, H_BOHC), BOHC_BOS, 0, 2 * NS_PER_SEC);
	}
	*reg32(a->reg, H_GHC) = (*reg32(a->reg, H_GHC) & ~GHC_IE) | GHC_AE;
}

void hostahci_probe(struct hostpci *f, unsigned *n)
{
	struct ahci *a;

	if (f->cls != 0x010601)
		return;
	f->driver = "ahci";
	a = plat_alloc(sizeof(*a));
	if (!a)
		return;
	a->pci = f;
	hostpci_enable(f);
	a->reg = hostpci_map(f, 5, 0, 0);
	if (!a->reg) {
		hostdisk_refused(f, ERR_NOENT);
		return;
	}
	a->irq = !hostpci_irq(f, on_irq, a);
	a->cap = *reg32(a->reg, H_CAP);
	take_over(a);
	ports(a, n);
	*reg32(a->reg, H_IS) = UINT32_MAX;
	*reg32(a->reg, H_GHC) |= a->irq ? GHC_IE : 0;
}
