/* SPDX-License-Identifier: ISC */
/* ahci_queue.c: queued commands (Serial ATA 3, 13.6), READ and WRITE FPDMA QUEUED: up to 32 at a
 * time, between disk and guest memory without a copy. Under the port's lock; completions from any
 * thread. A command whose descriptors name more pieces than one request holds goes in steps. */
#include "base/str.h"
#include "dev/ata/ahci_impl.h"

#define FIS_SDB   0xa1
#define AT_SDB    0x58
#define CMD_READ  0x60
#define CMD_WRITE 0x61

bool ahci_is_queued(uint8_t cmd)
{
	return cmd == CMD_READ || cmd == CMD_WRITE;
}

/* Set device bits: these tags are over, or with an error, none is. */
static void post_bits(struct ahci_port *p, uint32_t tags)
{
	struct ata_chan *c = &p->chan;
	uint8_t fis[8] = {FIS_SDB, 0x40, c->status & 0x77, c->error};

	pci_put(fis + 4, 4, tags);
	ahci_post(p, AT_SDB, fis, sizeof(fis));
	p->sact &= ~tags;
	ahci_port_irq(p, IS_SDBS | (c->status & ST_ERR ? IS_TFES : 0));
}

static void failed(struct ahci_port *p, unsigned tag, uint8_t error, uint64_t lba)
{
	struct ata_chan *c = &p->chan;

	c->status = ST_DRDY | ST_DSC | ST_ERR;
	c->error = error;
	c->queued_error = (struct ata_queued_error){
		.tag = (uint8_t)tag, .status = c->status, .error = error, .lba = lba};
	p->halted = true;
	post_bits(p, 0);
}

/* ---- a step ------------------------------------------------------------------------------------------ */

/* Where a piece began. */
struct mark {
	uint32_t i, used;
};

/* Gives back what is over a whole number of sectors: the next step begins there. */
static void trim(struct ahci_slot *s, const struct mark *marks, uint32_t over)
{
	while (over) {
		unsigned last = s->n_seg - 1;
		uint32_t n = (uint32_t)MIN((size_t)over, s->vec[last].len);

		s->vec[last].len -= n;
		over -= n;
		s->prd.i = marks[last].i;
		s->prd.used = marks[last].used + (uint32_t)s->vec[last].len;
		if (!s->vec[last].len)
			s->n_seg--;
	}
}

/* Collects memory for as many sectors as fit; false: the descriptors do not suffice, or name what is
 * no RAM. */
static bool map_step(struct ahci_port *p, struct ahci_slot *s)
{
	struct mark marks[AHCI_SEGS];
	uint64_t want = (uint64_t)s->left * ATA_SECTOR, got = 0;

	s->n_seg = 0;
	while (got < want && s->n_seg < AHCI_SEGS) {
		uint32_t n;
		gpa_t gpa;
		hva_t at;

		marks[s->n_seg] = (struct mark){s->prd.i, s->prd.used};
		n = ahci_prd_next(p, &s->prd, (uint32_t)(want - got), &gpa);
		at = n ? mem_ptr(p->chan.vm, gpa, n, !s->write) : NULL;
		if (!n)
			ahci_port_irq(p, IS_OFS);
		if (!at)
			return false;
		s->gpa[s->n_seg] = gpa;
		s->vec[s->n_seg++] = (struct block_vec){at, n};
		got += n;
	}
	s->step = (uint32_t)(got / ATA_SECTOR);
	trim(s, marks, got % ATA_SECTOR);
	return s->step;
}

static void step_done(struct disk_req *r, int err);

static void next_step(struct ahci_port *p, struct ahci_slot *s)
{
	if (!map_step(p, s)) {
		failed(p, s->tag, ER_ABRT, s->at);
		return;
	}
	s->active = true;
	p->queued++;
	s->disk.req = (struct block_req){
		.op = s->write ? BLOCK_WRITE : BLOCK_READ,
		.offset = s->at * ATA_SECTOR,
		.len = (uint64_t)s->step * ATA_SECTOR,
		.vec = s->vec,
		.n_vec = s->n_seg,
	};
	s->disk.done = step_done;
	ata_submit(&p->chan, &p->chan.drive[0], &s->disk);
}

static void step_done(struct disk_req *r, int err)
{
	struct ahci_slot *s = container_of(r, struct ahci_slot, disk);
	struct ahci_port *p = s->port;
	struct ata_chan *c = &p->chan;

	for (unsigned i = 0; !s->write && i < s->n_seg; i++)
		mem_written(c->vm, s->gpa[i], s->vec[i].len);
	plat_mutex_lock(&c->lock);
	s->active = false;
	p->queued--;
	s->at += s->step;
	s->left -= s->step;
	if (s->stale) {
		s->stale = false;
	} else if (p->halted) {
		/* an error ends all that are queued */
	} else if (err) {
		failed(p, s->tag, err == ERR_ROFS ? ER_ABRT : ER_UNC, s->at - s->step);
	} else if (s->left) {
		next_step(p, s);
	} else {
		c->status = ST_DRDY | ST_DSC;
		c->error = 0;
		post_bits(p, BIT(s->tag));
	}
	ahci_port_run(p);
	ata_unlock(c);
}

void ahci_queue(struct ahci_port *p, unsigned slot, const uint8_t *fis, const struct ahci_prd *prd)
{
	struct ata_chan *c = &p->chan;
	struct ata_drive *d = &c->drive[0];
	struct ahci_slot *s = &p->slots[slot];
	uint64_t lba = 0;

	p->ci &= ~BIT(slot);
	c->status = ST_DRDY | ST_DSC;
	c->error = 0;
	for (unsigned i = 0; i < 6; i++)
		lba |= (uint64_t)fis[i < 3 ? 4 + i : 5 + i] << (8 * i);
	s->tag = (uint8_t)slot;
	s->write = fis[2] == CMD_WRITE;
	s->at = lba;
	s->left = fis[3] | (uint32_t)fis[11] << 8;
	if (!s->left)
		s->left = 65536;
	s->prd = *prd;
	if (fis[12] >> 3 != slot || (s->write && d->disk.block->read_only))
		failed(p, slot, ER_ABRT, lba);
	else if (lba >= d->sectors || s->left > d->sectors - lba)
		failed(p, slot, ER_IDNF, lba);
	else
		next_step(p, s);
}
