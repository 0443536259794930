/* SPDX-License-Identifier: ISC */
/* ahci_port.c: one port of the AHCI controller: takes commands from the list in the guest's memory,
 * fills the drive's task file from their FIS, moves data where their descriptors say, and posts the
 * FISes with which a drive answers (AHCI 1.3, chapters 4 and 5; Serial ATA 3, chapter 10).
 *
 * All under the channel's lock. Nothing read from the guest is trusted beyond the step that uses it:
 * a table has at most 65535 descriptors, each is read once and names at least 2 bytes, and accesses go
 * through disk_dma(), so that areas that overlap or are no RAM harm only the guest's own data. */
#include "base/str.h"
#include "dev/ata/ahci_impl.h"

#define FIS_H2D    0x27
#define FIS_D2H    0x34
#define FIS_PIO    0x5f
#define FIS_IRQ    0x40
#define FIS_TO_HST 0x20
#define AT_PIO     0x20 /* places in the receive area */
#define AT_D2H     0x40

#define HEADER_SIZE 32
#define CFIS_SIZE   20
#define ACMD_OFFSET 0x40
#define PRD_OFFSET  0x80

static struct ahci_port *to_port(struct ata_chan *c)
{
	return container_of(c, struct ahci_port, chan);
}

/* ---- memory --------------------------------------------------------------------------------------- */

uint32_t ahci_prd_next(struct ahci_port *p, struct ahci_prd *prd, uint32_t max, gpa_t *gpa)
{
	uint32_t d[4], size, n;

	do {
		if (prd->i >= prd->n)
			return 0;
		disk_dma(p->chan.vm, prd->table + 16ull * prd->i, d, sizeof(d), false);
		size = ALIGN_UP((d[3] & 0x3fffff) + 1, 2u);
		/* The guest may have made it shorter meanwhile. */
		n = prd->used < size ? MIN(max, size - prd->used) : 0;
		*gpa = ((d[0] & ~1u) | (uint64_t)d[1] << 32) + prd->used;
		prd->used += n;
		if (prd->used >= size) {
			prd->i++;
			prd->used = 0;
			if (d[3] >> 31)
				ahci_port_irq(p, IS_DPS);
		}
	} while (!n);
	return n;
}

/* Between buf[from … ) and the command's memory; bytes that found room. */
static uint32_t move(struct ahci_port *p, uint32_t from, uint32_t len, bool to_guest)
{
	uint32_t done = 0, n;
	gpa_t gpa;

	while (done < len && (n = ahci_prd_next(p, &p->prd, len - done, &gpa))) {
		disk_dma(p->chan.vm, gpa, p->chan.buf + from + done, n, to_guest);
		done += n;
	}
	if (done < len)
		ahci_port_irq(p, IS_OFS);
	p->moved += done;
	return done;
}

void ahci_post(struct ahci_port *p, unsigned off, const uint8_t *fis, unsigned len)
{
	uint8_t copy[CFIS_SIZE];

	if (!(p->cmd & CMD_FRE))
		return;
	memcpy(copy, fis, len);
	disk_dma(p->chan.vm, p->fb + off, copy, len, true);
}

/* The fields that D2H register and PIO setup FISes share. */
static void fill_fis(const struct ata_chan *c, uint8_t *fis, uint8_t type, uint8_t flags)
{
	memset(fis, 0, CFIS_SIZE);
	fis[0] = type;
	fis[1] = flags;
	fis[2] = c->status;
	fis[3] = c->error;
	for (unsigned i = 0; i < 3; i++) {
		fis[4 + i] = c->lba[i][0];
		fis[8 + i] = c->lba[i][1];
	}
	fis[7] = c->device;
	fis[12] = c->count[0];
	fis[13] = c->count[1];
}

static void post_d2h(struct ahci_port *p, bool irq)
{
	uint8_t fis[CFIS_SIZE];

	fill_fis(&p->chan, fis, FIS_D2H, irq ? FIS_IRQ : 0);
	ahci_post(p, AT_D2H, fis, sizeof(fis));
	ahci_port_irq(p, (irq ? IS_DHRS : 0) | (p->chan.status & ST_ERR ? IS_TFES : 0));
}

static void post_pio(struct ahci_port *p, uint32_t len, bool to_host, bool irq, uint8_t e_status)
{
	uint8_t fis[CFIS_SIZE];

	fill_fis(&p->chan, fis, FIS_PIO,
		 (uint8_t)((to_host ? FIS_TO_HST : 0) | (irq ? FIS_IRQ : 0)));
	fis[15] = e_status;
	pci_put(fis + 16, 2, len);
	ahci_post(p, AT_PIO, fis, sizeof(fis));
	ahci_port_irq(p, irq ? IS_PSS : 0);
}

/* ---- what the commands ask of their transport ---------------------------------------------------------- */

static void irq_changed(struct ata_chan *c)
{
	/* A command's end is seen by its phase. */
}

static bool dma_ready(struct ata_chan *c)
{
	return true;
}

static uint32_t dma(struct ata_chan *c, uint32_t len, bool to_guest)
{
	struct ahci_port *p = to_port(c);

	p->pio_last = false;
	return move(p, 0, len, to_guest);
}

static void dma_end(struct ata_chan *c, bool error)
{
}

static void answered(struct ata_chan *c)
{
	ahci_port_run(to_port(c));
}

const struct ata_ops ahci_ops = {
	.sata = true,
	.irq = irq_changed,
	.dma_ready = dma_ready,
	.dma = dma,
	.dma_end = dma_end,
	.answered = answered,
};

/* ---- a command ------------------------------------------------------------------------------------------- */

/* One DRQ block. */
static void pio_block(struct ahci_port *p)
{
	struct ata_chan *c = &p->chan;
	bool in = c->phase == PHASE_PIO_IN, packet = c->phase == PHASE_PACKET;
	uint32_t from = c->pos, len = c->end - c->pos;

	if (packet)
		disk_dma(c->vm, p->table + ACMD_OFFSET, c->buf + from, len, false);
	else if (move(p, from, len, in) < len && !in)
		memset(c->buf + from, 0, len); /* the wire would stand still here */
	/* An interrupt announces what there is to read, and each further block to write. */
	post_pio(p, len, in, in || p->pio_last, in ? ST_DRDY | ST_DSC : ST_BSY);
	p->pio_last = !packet;
	c->pos = c->end;
	c->status &= (uint8_t)~ST_DRQ;
	ata_continue(c);
}

static void command_over(struct ahci_port *p)
{
	struct ata_chan *c = &p->chan;
	bool pio_in = p->pio_last && !c->write && c->command != 0xa0;
	uint32_t moved = p->moved;

	p->current = false;
	disk_dma(c->vm, p->clb + p->slot * HEADER_SIZE + 4, &moved, 4, true);
	if (c->status & ST_ERR)
		p->halted = true; /* the command stays issued */
	else
		p->ci &= ~BIT(p->slot);
	/* A read by PIO ended with its last block's FIS. */
	if (!pio_in || (c->status & ST_ERR))
		post_d2h(p, true);
}

/* Takes the command as far as it goes without the disk. */
static void pump(struct ahci_port *p)
{
	while (p->current)
		switch (p->chan.phase) {
		case PHASE_IDLE:
			if (p->chan.status & ST_BSY)
				return; /* reset, and the disk has not come back */
			command_over(p);
			break;
		case PHASE_DISK:
			return;
		case PHASE_DMA:
			ata_continue(&p->chan);
			break;
		default:
			pio_block(p);
		}
}

static void forget_queue(struct ahci_port *p)
{
	for (unsigned i = 0; i < AHCI_SLOTS && p->slots; i++)
		p->slots[i].stale = p->slots[i].active;
}

/* A FIS that writes the device control register: a reset by two of them. */
static void control_fis(struct ahci_port *p, uint8_t v)
{
	struct ata_chan *c = &p->chan;
	uint8_t old = c->control;

	c->control = v;
	if ((v & CTL_SRST) && !(old & CTL_SRST)) {
		forget_queue(p);
		ata_chan_reset(c, false);
		c->status = ST_BSY;
	} else if (!(v & CTL_SRST) && (old & CTL_SRST)) {
		ata_signature(c);
		p->linked = false;
		ahci_port_link(p);
	}
}

static void task_file(struct ata_chan *c, const uint8_t *fis)
{
	c->feature[0] = fis[3];
	c->feature[1] = fis[11];
	for (unsigned i = 0; i < 3; i++) {
		c->lba[i][0] = fis[4 + i];
		c->lba[i][1] = fis[8 + i];
	}
	c->device = fis[7];
	c->count[0] = fis[12];
	c->count[1] = fis[13];
}

/* Begins the command of a slot; false: it has to wait. */
static bool begin(struct ahci_port *p, unsigned slot)
{
	struct ata_chan *c = &p->chan;
	uint32_t header[HEADER_SIZE / 4];
	uint8_t fis[CFIS_SIZE];
	struct ahci_prd prd = {0};
	bool queued;

	disk_dma(c->vm, p->clb + slot * HEADER_SIZE, header, sizeof(header), false);
	p->table = (header[2] & ~0x7fu) | (uint64_t)header[3] << 32;
	disk_dma(c->vm, p->table, fis, sizeof(fis), false);
	prd.table = p->table + PRD_OFFSET;
	prd.n = header[0] >> 16;
	if (fis[0] != FIS_H2D || (header[0] & 0x1f) < 2) {
		p->serr |= SERR_P;
		p->slot = (uint8_t)slot;
		p->halted = true;
		ahci_port_irq(p, IS_IFS);
		return true;
	}
	if (!(fis[1] & 0x80)) {
		p->ci &= ~BIT(slot);
		control_fis(p, fis[15]);
		return true;
	}
	queued = p->slots && ahci_is_queued(fis[2]);
	if (!queued && p->queued)
		return false;
	p->slot = (uint8_t)slot;
	if (queued) {
		ahci_queue(p, slot, fis, &prd);
		return true;
	}
	p->current = true;
	p->pio_last = false;
	p->prd = prd;
	p->moved = 0;
	task_file(c, fis);
	ata_command(c, fis[2]);
	pump(p);
	return true;
}

void ahci_port_run(struct ahci_port *p)
{
	struct ata_chan *c = &p->chan;
	bool stale = false;

	pump(p);
	if (!p->linked && !(c->status & ST_BSY))
		ahci_port_link(p);
	/* What was stopped has to come back first. */
	for (unsigned i = 0; i < AHCI_SLOTS && p->slots; i++)
		stale |= p->slots[i].active && p->slots[i].stale;
	if (stale || !atomic_load_explicit(&p->ahci->pd.master, memory_order_acquire))
		return;
	/* Round robin, from the slot behind the last one; each is looked at once. */
	for (unsigned n = 0, first = p->slot + 1u; n < AHCI_SLOTS; n++) {
		unsigned slot = (first + n) % AHCI_SLOTS;

		if (!(p->cmd & CMD_ST) || p->halted || p->current || c->busy ||
		    ((c->status & (ST_BSY | ST_DRQ)) && !(c->control & CTL_SRST)))
			return;
		if (!(p->ci & BIT(slot)) || (p->slots && p->slots[slot].active))
			continue;
		if (!begin(p, slot))
			return;
	}
}

/* ---- stop and reset ------------------------------------------------------------------------------------- */

void ahci_port_stop(struct ahci_port *p)
{
	p->ci = p->sact = 0;
	p->halted = false;
	p->slot = 0;
	if (p->current) {
		ata_cancel(&p->chan);
		ata_signature(&p->chan);
	}
	p->current = false;
	forget_queue(p);
}

void ahci_port_reset(struct ahci_port *p, bool power_on)
{
	ahci_port_stop(p);
	p->linked = false;
	p->sig = UINT32_MAX;
	p->chan.control = 0;
	ata_chan_reset(&p->chan, power_on);
}

void ahci_port_link(struct ahci_port *p)
{
	struct ata_chan *c = &p->chan;

	if (p->linked || !c->drive[0].present || !(p->cmd & CMD_FRE) || (c->status & ST_BSY) ||
	    (p->sctl & 15) == 1)
		return;
	p->linked = true;
	p->sig = c->count[0] | (uint32_t)c->lba[0][0] << 8 | (uint32_t)c->lba[1][0] << 16 |
		 (uint32_t)c->lba[2][0] << 24;
	post_d2h(p, false);
}
