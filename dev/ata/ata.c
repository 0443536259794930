/* SPDX-License-Identifier: ISC */
/* ata.c: commands of an ATA hard disk (ATA/ATAPI-6, chapter 8), 28 and 48-bit addresses and CHS.
 * Within the channel's lock; see chan.c. */
#include "base/str.h"
#include "dev/ata/ata.h"

#define LBA28_MAX UINT64_C(0x0fffffff)

enum {
	MODE_PIO_MAX = 4,
	MODE_MWDMA_MAX = 2,
	MODE_UDMA_MAX = 5,
};

void ata_disk_init(struct ata_drive *d)
{
	d->sectors = d->disk.block ? d->disk.block->size / ATA_SECTOR : 0;
}

void ata_drive_reset(struct ata_drive *d, bool power_on)
{
	d->heads = 16;
	d->spt = 63;
	d->multiple = power_on ? MULTIPLE_MAX : d->multiple;
	d->locked = false;
	if (power_on) {
		d->mode_pio = MODE_PIO_MAX;
		d->mode_mwdma = 0xff;
		d->mode_udma = MODE_UDMA_MAX;
	}
	if (d->cdrom && power_on)
		d->attention = true;
}

/* Words hold a string of len bytes, swapped in pairs. */
static void ata_string(uint8_t *dst, const char *s, unsigned len)
{
	size_t n = str_len(s);

	for (unsigned i = 0; i < len; i++)
		dst[i ^ 1] = i < n ? (uint8_t)s[i] : ' ';
}

/* ---- identify ------------------------------------------------------------------------------------- */

static void word(uint8_t *p, unsigned n, unsigned v)
{
	p[2 * n] = (uint8_t)v;
	p[2 * n + 1] = (uint8_t)(v >> 8);
}

static void words(uint8_t *p, unsigned n, unsigned count, uint64_t v)
{
	for (unsigned i = 0; i < count; i++)
		word(p, n + i, (unsigned)(v >> (16 * i)) & 0xffff);
}

static unsigned mode_bits(unsigned max, uint8_t selected)
{
	unsigned v = (2u << max) - 1;

	return selected <= max ? v | 0x100u << selected : v;
}

/* What IDENTIFY DEVICE and IDENTIFY PACKET DEVICE share. */
static void identify_common(struct ata_chan *c, struct ata_drive *d, const char *model)
{
	uint8_t *p = c->buf;
	char serial[21];

	memset(p, 0, ATA_SECTOR);
	str_format(serial, sizeof(serial), "VIGIA%u%u", c->index, (unsigned)(d - c->drive));
	ata_string(p + 20, d->serial[0] ? d->serial : serial, 20);
	ata_string(p + 46, "1.0", 8);
	ata_string(p + 54, model, 40);
	word(p, 53, 0x0006); /* words 64-70 and 88 hold */
	word(p, 63, mode_bits(MODE_MWDMA_MAX, d->mode_mwdma));
	word(p, 64, 0x0003); /* PIO 3 and 4 */
	for (unsigned i = 65; i <= 68; i++)
		word(p, i, 120); /* cycle times, ns */
	word(p, 80, 0x007e);     /* ATA-1 … ATA/ATAPI-6 */
	word(p, 81, 0x0016);
	word(p, 88, mode_bits(MODE_UDMA_MAX, d->mode_udma));
	if (!c->ops->sata) {
		word(p, 93, 0x6001); /* 80-conductor cable */
		return;
	}
	word(p, 76, d->cdrom ? 0x0006 : 0x0106); /* 1.5 and 3 Gbit/s, queueing */
}

static void identify_disk(struct ata_chan *c, struct ata_drive *d)
{
	uint64_t cyls = MIN(d->sectors / (16 * 63), UINT64_C(16383));
	uint64_t chs = (uint64_t)d->heads * d->spt;
	uint64_t now = chs ? MIN(d->sectors / chs, UINT64_C(65535)) : 0;
	unsigned log = c->ops->sata ? 0x20 : 0; /* READ LOG EXT */
	uint8_t *p = c->buf;

	identify_common(c, d, "VIGIA HARDDISK");
	word(p, 0, 0x0040); /* fixed */
	word(p, 1, (unsigned)cyls);
	word(p, 3, 16);
	word(p, 6, 63);
	word(p, 47, 0x8000 | MULTIPLE_MAX);
	word(p, 48, 1);      /* 32-bit data accesses */
	word(p, 49, 0x0b00); /* IORDY, LBA, DMA */
	word(p, 50, 0x4000);
	word(p, 51, 0x0200);
	word(p, 53, 0x0007);
	word(p, 54, (unsigned)now);
	word(p, 55, d->heads);
	word(p, 56, d->spt);
	words(p, 57, 2, now * chs);
	if (d->multiple)
		word(p, 59, 0x0100u | d->multiple);
	words(p, 60, 2, MIN(d->sectors, LBA28_MAX));
	word(p, 82, 0x4020); /* write cache; NOP */
	word(p, 83, 0x7400); /* FLUSH CACHE, FLUSH CACHE EXT, 48-bit */
	word(p, 84, 0x4000 | log);
	word(p, 85, 0x4020);
	word(p, 86, 0x3400);
	word(p, 87, 0x4000 | log);
	if (c->ops->sata)
		word(p, 75, 31); /* queue depth - 1 */
	words(p, 100, 4, d->sectors);
}

static void identify_cd(struct ata_chan *c, struct ata_drive *d)
{
	uint8_t *p = c->buf;

	identify_common(c, d, "VIGIA CD-ROM");
	word(p, 0, 0x85c0); /* CD-ROM, removable, DRQ soon, 12-byte packets */
	word(p, 48, 1);
	word(p, 49, 0x0b00);
	word(p, 82, 0x4210); /* NOP, DEVICE RESET, PACKET */
	word(p, 83, 0x4000);
	word(p, 85, 0x4210);
	word(p, 87, 0x4000);
}

static void identify(struct ata_chan *c, struct ata_drive *d)
{
	if (d->cdrom)
		identify_cd(c, d);
	else
		identify_disk(c, d);
	c->left = 0;
	ata_pio(c, PHASE_PIO_IN, 0, ATA_SECTOR);
	ata_irq(c, true);
}

/* ---- addresses --------------------------------------------------------------------------------------- */

static uint64_t address(struct ata_chan *c, struct ata_drive *d)
{
	uint32_t low = c->lba[0][0] | c->lba[1][0] << 8 | (uint32_t)c->lba[2][0] << 16;
	uint32_t cyl = low >> 8, head = c->device & 15, sector = low & 0xff;

	if (c->ext)
		return low | (uint64_t)c->lba[0][1] << 24 | (uint64_t)c->lba[1][1] << 32 |
		       (uint64_t)c->lba[2][1] << 40;
	if (c->device & DEV_LBA)
		return low | (uint64_t)head << 24;
	if (!sector || sector > d->spt || head >= d->heads)
		return UINT64_MAX;
	return ((uint64_t)cyl * d->heads + head) * d->spt + sector - 1;
}

static void address_set(struct ata_chan *c, struct ata_drive *d, uint64_t a)
{
	if (!c->ext && !(c->device & DEV_LBA)) {
		uint64_t cyl = a / d->spt / d->heads;

		c->lba[0][0] = (uint8_t)(a % d->spt + 1);
		c->device = (uint8_t)((c->device & 0xf0) | (a / d->spt % d->heads));
		c->lba[1][0] = (uint8_t)cyl;
		c->lba[2][0] = (uint8_t)(cyl >> 8);
		return;
	}
	for (unsigned i = 0; i < 3; i++) {
		c->lba[i][0] = (uint8_t)(a >> (8 * i));
		c->lba[i][1] = (uint8_t)(a >> (24 + 8 * i));
	}
	if (!c->ext)
		c->device = (uint8_t)((c->device & 0xf0) | (a >> 24 & 15));
}

/* ---- moving sectors ------------------------------------------------------------------------------------ */

static void sectors_failed(struct ata_chan *c, struct ata_drive *d, uint8_t error)
{
	address_set(c, d, c->at);
	if (c->dma)
		c->ops->dma_end(c, true);
	ata_end(c, error);
}

/* Sectors of the next step: a buffer for DMA and for the disk's side of PIO reads, a DRQ block for
 * PIO writes. */
static uint32_t step(struct ata_chan *c)
{
	uint32_t max = c->dma || !c->write ? ATA_BUFFER / ATA_SECTOR : c->block / ATA_SECTOR;

	return MIN(c->left, max);
}

static void advance(struct ata_chan *c, uint32_t n)
{
	c->at += n;
	c->left -= n;
}

static void finish(struct ata_chan *c, struct ata_drive *d)
{
	if (d->sectors)
		address_set(c, d, c->at - 1);
	c->count[0] = 0;
	if (c->dma)
		c->ops->dma_end(c, false);
	ata_end(c, 0);
}

static void next(struct ata_chan *c, struct ata_drive *d);

static void read_done(struct ata_chan *c, struct ata_drive *d, int err)
{
	uint32_t n = step(c);

	if (err) {
		sectors_failed(c, d, ER_UNC);
		return;
	}
	if (c->dma) {
		if (c->ops->dma(c, n * ATA_SECTOR, true) < n * ATA_SECTOR) {
			sectors_failed(c, d, ER_ABRT);
			return;
		}
		advance(c, n);
		next(c, d);
		return;
	}
	c->filled = n * ATA_SECTOR;
	ata_pio(c, PHASE_PIO_IN, 0, MIN(c->block, c->filled));
	ata_irq(c, true);
}

static void write_done(struct ata_chan *c, struct ata_drive *d, int err)
{
	if (err) {
		sectors_failed(c, d, err == ERR_ROFS ? ER_ABRT : ER_UNC);
		return;
	}
	advance(c, step(c));
	if (!c->left) {
		finish(c, d);
	} else if (c->dma) {
		next(c, d);
	} else {
		ata_pio(c, PHASE_PIO_OUT, 0, step(c) * ATA_SECTOR);
		ata_irq(c, true);
	}
}

/* The next step of a transfer, where the data is with the disk (read) or with us (write). */
static void next(struct ata_chan *c, struct ata_drive *d)
{
	uint32_t n = step(c);

	if (!c->left) {
		finish(c, d);
		return;
	}
	if (c->dma && !c->ops->dma_ready(c)) {
		ata_wait_dma(c);
		return;
	}
	if (c->write && c->dma && c->ops->dma(c, n * ATA_SECTOR, false) < n * ATA_SECTOR) {
		sectors_failed(c, d, ER_ABRT);
		return;
	}
	ata_disk(c, c->write ? BLOCK_WRITE : BLOCK_READ, c->at * ATA_SECTOR, n * ATA_SECTOR,
		 c->write ? write_done : read_done);
}

void ata_disk_continue(struct ata_chan *c, struct ata_drive *d)
{
	switch (c->phase) {
	case PHASE_DMA:
		next(c, d);
		break;
	case PHASE_PIO_OUT:
		next(c, d);
		break;
	case PHASE_PIO_IN:
		if (!c->left) { /* IDENTIFY: no more, and no interrupt */
			c->phase = PHASE_IDLE;
			c->status = ST_DRDY | ST_DSC;
		} else if (c->pos < c->filled) {
			ata_pio(c, PHASE_PIO_IN, c->pos, MIN(c->pos + c->block, c->filled));
			ata_irq(c, true);
		} else {
			advance(c, c->filled / ATA_SECTOR);
			if (c->left) {
				next(c, d);
				break;
			}
			address_set(c, d, c->at - 1);
			c->count[0] = 0;
			c->phase = PHASE_IDLE;
			c->status = ST_DRDY | ST_DSC;
		}
		break;
	default:
		break;
	}
}

struct rw_command {
	uint8_t cmd;
	bool write, dma, ext, multiple, verify;
};

/* clang-format off */
static const struct rw_command rw_commands[] = {
	{0x20, .write = false},
	{0x21, .write = false},
	{0x24, .ext = true},
	{0x25, .dma = true, .ext = true},
	{0x29, .ext = true, .multiple = true},
	{0x30, .write = true},
	{0x31, .write = true},
	{0x34, .write = true, .ext = true},
	{0x35, .write = true, .dma = true, .ext = true},
	{0x39, .write = true, .ext = true, .multiple = true},
	{0x40, .verify = true},
	{0x41, .verify = true},
	{0x42, .verify = true, .ext = true},
	{0xc4, .multiple = true},
	{0xc5, .write = true, .multiple = true},
	{0xc8, .dma = true},
	{0xc9, .dma = true},
	{0xca, .write = true, .dma = true},
	{0xcb, .write = true, .dma = true},
};
/* clang-format on */

static void rw(struct ata_chan *c, struct ata_drive *d, const struct rw_command *rw)
{
	c->write = rw->write;
	c->dma = rw->dma;
	c->ext = rw->ext;
	c->left = rw->ext ? c->count[0] | c->count[1] << 8 : c->count[0];
	if (!c->left)
		c->left = rw->ext ? 65536 : 256;
	c->at = address(c, d);
	c->block = ATA_SECTOR * (rw->multiple ? d->multiple : 1);
	if (rw->multiple && !d->multiple) {
		ata_end(c, ER_ABRT);
	} else if (c->at >= d->sectors || c->left > d->sectors - c->at) {
		ata_end(c, ER_IDNF);
	} else if (c->write && d->disk.block->read_only) {
		ata_end(c, ER_ABRT);
	} else if (rw->verify) {
		c->at += c->left;
		finish(c, d);
	} else if (c->write && !c->dma) {
		ata_pio(c, PHASE_PIO_OUT, 0, step(c) * ATA_SECTOR);
	} else {
		next(c, d);
	}
}

/* ---- the rest --------------------------------------------------------------------------------------------- */

static void flush_done(struct ata_chan *c, struct ata_drive *d, int err)
{
	ata_end(c, err ? ER_ABRT : 0);
}

/* SET FEATURES, transfer mode (8.46.11) */
static bool set_mode(struct ata_drive *d, uint8_t v)
{
	unsigned n = v & 7;

	switch (v >> 3) {
	case 0: /* PIO default */
		return n <= 1;
	case 1:
		d->mode_pio = (uint8_t)n;
		return n <= MODE_PIO_MAX;
	case 4:
		if (n > MODE_MWDMA_MAX)
			return false;
		d->mode_mwdma = (uint8_t)n;
		d->mode_udma = 0xff;
		return true;
	case 8:
		if (n > MODE_UDMA_MAX)
			return false;
		d->mode_udma = (uint8_t)n;
		d->mode_mwdma = 0xff;
		return true;
	default:
		return false;
	}
}

static bool set_features(struct ata_chan *c, struct ata_drive *d)
{
	switch (c->feature[0]) {
	case 0x03:
		return set_mode(d, c->count[0]);
	case 0x02: /* write cache on */
	case 0x05: /* power management */
	case 0x85:
	case 0x42: /* acoustics */
	case 0xc2:
	case 0x55: /* look-ahead */
	case 0xaa:
	case 0x66: /* keep settings over a soft reset */
	case 0xcc:
		return true;
	case 0x82: /* write cache off: every write would have to be flushed; nobody wants that */
	default:
		return false;
	}
}

/* READ LOG EXT (8.30 of ACS): the directory, and the log of the queued command that failed. */
static void read_log(struct ata_chan *c, bool dma)
{
	const struct ata_queued_error *e = &c->queued_error;
	uint8_t *p = c->buf, page = c->lba[0][0];

	if (!c->ops->sata || (page != 0 && page != 0x10) || c->lba[1][0] || c->lba[1][1] ||
	    c->count[0] != 1 || c->count[1]) {
		ata_end(c, ER_ABRT);
		return;
	}
	memset(p, 0, ATA_SECTOR);
	if (page == 0) {
		word(p, 0, 1);    /* version */
		word(p, 0x10, 1); /* pages of log 10H */
	} else {
		p[0] = e->status ? e->tag : 0x80;
		p[2] = e->status;
		p[3] = e->error;
		for (unsigned i = 0; i < 6; i++)
			p[i < 3 ? 4 + i : 5 + i] = (uint8_t)(e->lba >> (8 * i));
		p[7] = DEV_LBA;
		p[ATA_SECTOR - 1] = (uint8_t)-sum_bytes(p, ATA_SECTOR - 1);
		c->queued_error = (struct ata_queued_error){0};
	}
	if (!dma) {
		ata_pio(c, PHASE_PIO_IN, 0, ATA_SECTOR);
		ata_irq(c, true);
	} else {
		ata_end(c, c->ops->dma(c, ATA_SECTOR, true) < ATA_SECTOR ? ER_ABRT : 0);
	}
}

bool ata_common(struct ata_chan *c, struct ata_drive *d, uint8_t cmd)
{
	switch (cmd) {
	case 0xec: /* IDENTIFY DEVICE */
	case 0xa1: /* IDENTIFY PACKET DEVICE */
		if ((cmd == 0xa1) == d->cdrom) {
			identify(c, d);
			return true;
		}
		if (d->cdrom) { /* by these marks a host knows what it talks to */
			c->count[0] = c->lba[0][0] = 1;
			c->lba[1][0] = 0x14;
			c->lba[2][0] = 0xeb;
		}
		ata_end(c, ER_ABRT);
		return true;
	case 0xef:
		ata_end(c, set_features(c, d) ? 0 : ER_ABRT);
		return true;
	case 0xe5: /* CHECK POWER MODE: active */
	case 0x98:
		c->count[0] = 0xff;
		ata_end(c, 0);
		return true;
	case 0xe0 ... 0xe3: /* STANDBY, IDLE */
	case 0xe6:
	case 0x94 ... 0x97:
	case 0x99:
		ata_end(c, 0);
		return true;
	default:
		return false;
	}
}

void ata_disk_command(struct ata_chan *c, struct ata_drive *d, uint8_t cmd)
{
	for (unsigned i = 0; i < ARRAY_SIZE(rw_commands); i++)
		if (rw_commands[i].cmd == cmd) {
			rw(c, d, &rw_commands[i]);
			return;
		}
	switch (cmd) {
	case 0x10 ... 0x1f: /* RECALIBRATE */
	case 0x70 ... 0x7f: /* SEEK */
		ata_end(c, 0);
		break;
	case 0x91: /* INITIALIZE DEVICE PARAMETERS */
		if (c->count[0]) {
			d->heads = (uint16_t)((c->device & 15) + 1);
			d->spt = c->count[0];
		}
		ata_end(c, c->count[0] ? 0 : ER_ABRT);
		break;
	case 0xc6: /* SET MULTIPLE MODE */
		if (c->count[0] > MULTIPLE_MAX || (c->count[0] & (c->count[0] - 1))) {
			ata_end(c, ER_ABRT);
			break;
		}
		d->multiple = c->count[0];
		ata_end(c, 0);
		break;
	case 0xe7: /* FLUSH CACHE */
	case 0xea:
		ata_disk(c, BLOCK_FLUSH, 0, 0, flush_done);
		break;
	case 0x2f:
	case 0x47: /* by DMA */
		read_log(c, cmd == 0x47);
		break;
	case 0x27: /* READ NATIVE MAX ADDRESS EXT */
		c->ext = true;
		attr_fallthrough;
	case 0xf8:
		if (!c->ext)
			c->device |= DEV_LBA;
		address_set(c, d, (c->ext ? d->sectors : MIN(d->sectors, LBA28_MAX)) - 1);
		ata_end(c, d->sectors ? 0 : ER_ABRT);
		break;
	default:
		ata_end(c, ER_ABRT);
	}
}
