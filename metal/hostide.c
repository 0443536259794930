/* SPDX-License-Identifier: ISC */
/* hostide.c: the machine's disks behind IDE (ATA8-ACS; ATA/ATAPI host adapter standards, 1510D): programmed I/O, polled. It is
 * slow, and for machines that have nothing else. The two disks of a channel take turns, a command each. Entered through
 * hostdisk.c, under the disk's lock; what the channel is at is under its own. */
#include "base/str.h"
#include "metal/ata.h"
#include "metal/hostdisk_drivers.h"
#include "plat/metal/msr.h"

enum reg {
	R_DATA,
	R_ERROR,
	R_COUNT,
	R_LBA0,
	R_LBA1,
	R_LBA2,
	R_DEVICE,
	R_STATUS,
	R_COMMAND = R_STATUS
};
#define ST_ERR     BIT(0)
#define ST_DRQ     BIT(3)
#define ST_DF      BIT(5)
#define ST_BSY     BIT(7)
#define DEVICE_LBA 0x40u
#define NO_IRQ     BIT(1) /* of the control register */

enum ata { ATA_READ = 0x24, ATA_WRITE = 0x34, ATA_FLUSH = 0xea, ATA_IDENTIFY = 0xec };

#define ID_WAIT     NS_PER_SEC
#define MAX_SECTORS 32 /* so that the lock is held for a millisecond */
#define LOOKS       64 /* at a status that changes at once */

struct ide_disk;

struct ide_channel {
	struct plat_mutex lock; /* RANK_LEAF */
	uint16_t base, control;
	struct ide_disk *owner; /* whose command is under way; NULL: nobody's */
};

struct ide_disk {
	struct hostdisk d;
	struct ide_channel *channel;
	unsigned unit;
	struct hostdisk_cmd cmd;
	bool waiting;  /* for the channel */
	uint32_t left; /* sectors */
	unsigned seg;
	uint32_t seg_at;
};

static struct ide_disk *to_ide(struct hostdisk *d)
{
	return container_of(d, struct ide_disk, d);
}

/* ---- commands ---- */

static uint8_t status(const struct ide_channel *c)
{
	return in8(c->base + R_STATUS);
}

static void select(const struct ide_channel *c, unsigned unit)
{
	out8(c->base + R_DEVICE, (uint8_t)(0xa0 | DEVICE_LBA | unit << 4));
	for (unsigned i = 0; i < 4; i++) /* 400 ns */
		in8(c->control);
}

static void issue(struct ide_disk *p)
{
	static const uint8_t command[] = {
		[BLOCK_READ] = ATA_READ, [BLOCK_WRITE] = ATA_WRITE, [BLOCK_FLUSH] = ATA_FLUSH};
	const struct ide_channel *c = p->channel;

	select(c, p->unit);
	for (int high = 1; high >= 0; high--) { /* each register twice, its upper byte first */
		out8(c->base + R_COUNT, (uint8_t)(p->cmd.sectors >> 8 * high));
		for (unsigned i = 0; i < 3; i++)
			out8((uint16_t)(c->base + R_LBA0 + i),
			     (uint8_t)(p->cmd.sector >> (24 * high + 8 * i)));
	}
	out8(c->base + R_COMMAND, command[p->cmd.op]);
}

/* The next bytes of the command's memory. */
static void move(struct ide_disk *p, uint8_t *buf, size_t n, bool to_memory)
{
	while (n && p->seg < p->cmd.n_seg) {
		const struct hostdisk_seg *s = &p->cmd.seg[p->seg];
		size_t len = MIN(n, (size_t)(s->len - p->seg_at));
		uint8_t *at = (uint8_t *)plat_virt(s->pa) + p->seg_at;

		memcpy(to_memory ? at : buf, to_memory ? buf : at, len);
		buf += len;
		n -= len;
		p->seg_at += (uint32_t)len;
		if (p->seg_at == s->len) {
			p->seg++;
			p->seg_at = 0;
		}
	}
}

static void read_words(uint16_t port, uint16_t *buf)
{
	for (unsigned i = 0; i < BLOCK_SECTOR / 2; i++)
		buf[i] = in16(port);
}

static void sector(struct ide_disk *p)
{
	uint16_t buf[BLOCK_SECTOR / 2], port = p->channel->base + R_DATA;

	if (p->cmd.op == BLOCK_READ) {
		read_words(port, buf);
		move(p, (uint8_t *)buf, sizeof(buf), true);
	} else {
		move(p, (uint8_t *)buf, sizeof(buf), false);
		for (unsigned i = 0; i < BLOCK_SECTOR / 2; i++)
			out16(port, buf[i]);
	}
	p->left--;
}

/* Goes on with the command as far as the disk is; false: it is not through. */
static bool step(struct ide_disk *p, int *err)
{
	for (unsigned looks = 0; looks < LOOKS; looks++) {
		uint8_t st = status(p->channel);

		*err = 0;
		if (st & ST_BSY)
			continue;
		if (st & (ST_ERR | ST_DF)) {
			*err = ERR_IO;
			return true;
		}
		if (!p->left && !(st & ST_DRQ))
			return true;
		if (!(st & ST_DRQ))
			continue;
		if (!p->left) { /* more than was asked for */
			*err = ERR_IO;
			return true;
		}
		sector(p);
		looks = 0;
	}
	return false;
}

static void ide_start(struct hostdisk *d, unsigned tag, const struct hostdisk_cmd *c)
{
	struct ide_disk *p = to_ide(d);

	p->cmd = *c;
	p->left = c->op == BLOCK_FLUSH ? 0 : c->sectors;
	if (c->op == BLOCK_FLUSH)
		p->cmd.sectors = 0;
	p->seg = 0;
	p->seg_at = 0;
	p->waiting = true; /* for the disk's thread, which moves the data */
}

static void ide_poll(struct hostdisk *d)
{
	struct ide_disk *p = to_ide(d);
	struct ide_channel *c = p->channel;
	bool through = false;
	int err = 0;

	plat_mutex_lock(&c->lock);
	if (p->waiting && !c->owner && !(status(c) & (ST_BSY | ST_DRQ))) {
		p->waiting = false;
		c->owner = p;
		issue(p);
	}
	if (c->owner == p)
		through = step(p, &err);
	if (through)
		c->owner = NULL;
	plat_mutex_unlock(&c->lock);
	if (through)
		hostdisk_end(d, 0, err);
}

/* It reaches no memory by itself. */
static void ide_cut(struct hostdisk *d)
{
}

static const struct hostdisk_driver ide_driver = {ide_start, NULL, ide_poll, ide_cut};

/* ---- set-up ---- */

/* Whether the bits of the status become value. */
static bool await(const struct ide_channel *c, uint8_t bits, uint8_t value)
{
	uint64_t end = plat_now() + ID_WAIT;

	while ((status(c) & bits) != value) {
		if (plat_now() > end || status(c) & ST_ERR)
			return false;
		hostpci_pause();
	}
	return true;
}

static bool identify(const struct ide_channel *c, unsigned unit, uint16_t *id)
{
	select(c, unit);
	if (status(c) == 0xff || !status(c) || !await(c, ST_BSY, 0))
		return false;
	out8(c->base + R_COMMAND, ATA_IDENTIFY);
	if (!status(c) ||
	    !await(c, ST_BSY | ST_DRQ, ST_DRQ)) /* CD drives say that it is an error */
		return false;
	read_words(c->base + R_DATA, id);
	return true;
}

static int add(struct hostpci *f, struct ide_channel *c, unsigned unit, const uint16_t *id,
	       unsigned n)
{
	struct ide_disk *p = plat_alloc(sizeof(*p));
	int err;

	if (!p)
		return err_here(ERR_NOMEM);
	p->channel = c;
	p->unit = unit;
	p->d.driver = &ide_driver;
	p->d.pci = f;
	p->d.tags = 1;
	p->d.max_sectors = MAX_SECTORS;
	p->d.max_seg = MAX_SECTORS * BLOCK_SECTOR;
	p->d.max_segs = HOSTDISK_SEGS;
	p->d.align = 1;
	p->d.pa_end = UINT64_MAX;
	str_format(p->d.name, sizeof(p->d.name), "ide%u", n);
	err = ata_identity(&p->d, id);
	if (!err)
		err = hostdisk_add(&p->d);
	if (err)
		plat_free(p);
	return err;
}

/* The ports of a channel: where they have always been, or where BARs say. */
static struct ide_channel *channel(const struct hostpci *f, unsigned i)
{
	static const uint16_t usual[2][2] = {{0x1f0, 0x3f6}, {0x170, 0x376}};
	struct ide_channel *c = plat_alloc(sizeof(*c));

	if (!c)
		return NULL;
	c->base = usual[i][0];
	c->control = usual[i][1];
	if (f->cls & (i ? 4 : 1)) {
		c->base = (uint16_t)(hostpci_read(f, 0x10 + 8 * i, 4) & ~3u);
		c->control = (uint16_t)((hostpci_read(f, 0x14 + 8 * i, 4) & ~3u) + 2);
	}
	plat_mutex_init(&c->lock, RANK_LEAF);
	out8(c->control, NO_IRQ);
	return c;
}

void hostide_probe(struct hostpci *f, unsigned *n)
{
	if (f->cls >> 8 != 0x0101)
		return;
	f->driver = "ide";
	for (unsigned i = 0; i < 2; i++) {
		struct ide_channel *c = channel(f, i);

		for (unsigned unit = 0; c && unit < 2; unit++) {
			uint16_t id[BLOCK_SECTOR / 2];
			int err;

			if (!identify(c, unit, id))
				continue;
			err = add(f, c, unit, id, *n);
			if (err)
				hostdisk_refused(f, err);
			else
				(*n)++;
		}
	}
}
