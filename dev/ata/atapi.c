/* SPDX-License-Identifier: ISC */
/* atapi.c: CD drive behind PACKET commands (ATA/ATAPI-6, 8.23; MMC-3). Discs are images of 2048-byte
 * sectors, one data track. Within the channel's lock; see chan.c. */
#include "base/str.h"
#include "dev/ata/ata.h"

/* Sense keys and additional codes (MMC-3, appendix A) */
#define SK_NONE      0
#define SK_NOT_READY 2
#define SK_MEDIUM    3
#define SK_ILLEGAL   5
#define SK_ATTENTION 6
#define ASC_OPCODE   0x20
#define ASC_LBA      0x21
#define ASC_FIELD    0x24
#define ASC_CHANGED  0x28
#define ASC_NO_DISC  0x3a
#define ASC_LOCKED   0x53 /* with 02H */
#define ASC_READ     0x11

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

static uint32_t get16(const uint8_t *p)
{
	return (uint32_t)p[0] << 8 | p[1];
}

static uint32_t get32(const uint8_t *p)
{
	return get16(p) << 16 | get16(p + 2);
}

static bool has_disc(const struct ata_drive *d)
{
	return d->disk.block && !d->tray_open;
}

void atapi_init(struct ata_drive *d)
{
	d->sectors = has_disc(d) ? d->disk.block->size / CD_SECTOR : 0;
	/* what cannot be addressed with 32 bits is not there */
	d->sectors = MIN(d->sectors, UINT64_C(0xffffffff));
}

void atapi_tray(struct ata_drive *d, bool open)
{
	d->tray_open = open;
	atapi_init(d);
	d->media_event = true;
	d->attention = !open;
}

/* ---- endings ----------------------------------------------------------------------------------------- */

static void good(struct ata_chan *c)
{
	c->count[0] = REASON_CD | REASON_IO;
	if (c->dma)
		c->ops->dma_end(c, false);
	ata_end(c, 0);
}

static void check(struct ata_chan *c, struct ata_drive *d, uint8_t sense, uint8_t asc)
{
	d->sense = sense;
	d->asc = asc;
	d->ascq = asc == ASC_NO_DISC ? (d->tray_open ? 2 : 1) : asc == ASC_LOCKED ? 2 : 0;
	c->count[0] = REASON_CD | REASON_IO;
	if (c->dma)
		c->ops->dma_end(c, true);
	ata_end(c, (uint8_t)(sense << 4 | ER_ABRT));
}

/* ---- data to the host ---------------------------------------------------------------------------------- */

/* One DRQ block of what is in buf: at most the byte count limit. */
static void send_block(struct ata_chan *c)
{
	uint32_t n = MIN(c->filled - c->pos, c->limit);

	c->count[0] = REASON_IO;
	c->lba[1][0] = (uint8_t)n;
	c->lba[2][0] = (uint8_t)(n >> 8);
	ata_pio(c, PHASE_PIO_IN, c->pos, c->pos + n);
	ata_irq(c, true);
}

/* buf holds len bytes of answer, of which the host wants at most max. */
static void answer(struct ata_chan *c, uint32_t len, uint32_t max)
{
	c->left = 0;
	c->filled = MIN(len, max);
	c->pos = 0;
	if (!c->filled)
		good(c);
	else if (!c->dma)
		send_block(c);
	else if (c->ops->dma_ready(c)) {
		c->ops->dma(c, c->filled, true);
		good(c);
	} else {
		ata_wait_dma(c);
	}
}

static void read_next(struct ata_chan *c, struct ata_drive *d);

static void read_done(struct ata_chan *c, struct ata_drive *d, int err)
{
	uint32_t n = MIN(c->left, ATA_BUFFER / CD_SECTOR);

	if (err) {
		check(c, d, SK_MEDIUM, ASC_READ);
		return;
	}
	c->at += n;
	c->left -= n;
	c->filled = n * CD_SECTOR;
	c->pos = 0;
	if (!c->dma) {
		send_block(c);
	} else if (c->ops->dma(c, c->filled, true) < c->filled) {
		check(c, d, SK_ILLEGAL, ASC_FIELD);
	} else if (c->left) {
		read_next(c, d);
	} else {
		good(c);
	}
}

static void read_next(struct ata_chan *c, struct ata_drive *d)
{
	uint32_t n = MIN(c->left, ATA_BUFFER / CD_SECTOR);

	if (c->dma && !c->ops->dma_ready(c)) {
		c->filled = 0;
		ata_wait_dma(c);
		return;
	}
	ata_disk(c, BLOCK_READ, c->at * CD_SECTOR, n * CD_SECTOR, read_done);
}

static void read_sectors(struct ata_chan *c, struct ata_drive *d, uint32_t lba, uint32_t count)
{
	if (lba >= d->sectors || count > d->sectors - lba) {
		check(c, d, SK_ILLEGAL, ASC_LBA);
	} else if (!count) {
		good(c);
	} else {
		c->at = lba;
		c->left = count;
		read_next(c, d);
	}
}

/* ---- commands ------------------------------------------------------------------------------------------- */

static void inquiry(struct ata_chan *c, const uint8_t *cdb)
{
	uint8_t *p = c->buf;

	memset(p, 0, 36);
	p[0] = 5;    /* CD/DVD */
	p[1] = 0x80; /* removable */
	p[3] = 0x21;
	p[4] = 31;
	memcpy(p + 8, "VIGIA   CD-ROM          1.0 ", 28);
	answer(c, 36, get16(cdb + 3));
}

static void request_sense(struct ata_chan *c, struct ata_drive *d, const uint8_t *cdb)
{
	uint8_t *p = c->buf;

	memset(p, 0, 18);
	p[0] = 0x70;
	p[2] = d->sense;
	p[7] = 10;
	p[12] = d->asc;
	p[13] = d->ascq;
	d->sense = d->asc = d->ascq = 0;
	answer(c, 18, cdb[4]);
}

static void toc_address(uint8_t *p, uint32_t lba, bool msf)
{
	if (!msf) {
		put32(p, lba);
		return;
	}
	lba += 150;
	p[0] = 0;
	p[1] = (uint8_t)(lba / 75 / 60);
	p[2] = (uint8_t)(lba / 75 % 60);
	p[3] = (uint8_t)(lba % 75);
}

static void read_toc(struct ata_chan *c, struct ata_drive *d, const uint8_t *cdb)
{
	unsigned format = cdb[2] & 15 ? cdb[2] & 15 : cdb[9] >> 6;
	bool msf = cdb[1] & 2;
	uint8_t *p = c->buf;
	uint32_t len = 4;

	memset(p, 0, 64);
	p[2] = p[3] = 1; /* first and last track, or session */
	switch (format) {
	case 0:
		if (cdb[6] > 1 && cdb[6] != 0xaa) {
			check(c, d, SK_ILLEGAL, ASC_FIELD);
			return;
		}
		if (cdb[6] <= 1) {
			p[len + 1] = 0x14; /* data track */
			p[len + 2] = 1;
			toc_address(p + len + 4, 0, msf);
			len += 8;
		}
		p[len + 1] = 0x16;
		p[len + 2] = 0xaa; /* lead-out */
		toc_address(p + len + 4, (uint32_t)d->sectors, msf);
		len += 8;
		break;
	case 1:
		p[5] = 0x14;
		p[6] = 1;
		toc_address(p + 8, 0, msf);
		len = 12;
		break;
	case 2: /* raw: lead-in entries A0, A1, A2 and the track */
		for (unsigned i = 0; i < 4; i++) {
			uint8_t *e = p + 4 + 11 * i;

			e[0] = 1;
			e[1] = 0x14;
			e[3] = i < 3 ? (uint8_t)(0xa0 + i) : 1;
			if (i < 2)
				e[8] = 1;
			else
				toc_address(e + 7, i == 2 ? (uint32_t)d->sectors : 0, true);
		}
		len = 4 + 44;
		break;
	default:
		check(c, d, SK_ILLEGAL, ASC_FIELD);
		return;
	}
	put16(p, len - 2);
	answer(c, len, get16(cdb + 7));
}

static void mode_sense(struct ata_chan *c, struct ata_drive *d, const uint8_t *cdb, bool ten)
{
	unsigned page = cdb[2] & 0x3f, at = ten ? 8 : 4;
	uint8_t *p = c->buf;

	memset(p, 0, 64);
	if (cdb[2] >> 6 == 3 || (page != 0x01 && page != 0x0e && page != 0x2a && page != 0x3f)) {
		check(c, d, SK_ILLEGAL, cdb[2] >> 6 == 3 ? 0x39 : ASC_FIELD);
		return;
	}
	if (page == 0x01 || page == 0x3f) { /* error recovery */
		p[at] = 0x01;
		p[at + 1] = 6;
		p[at + 3] = 5; /* retries */
		at += 8;
	}
	if (page == 0x2a || page == 0x3f) { /* capabilities */
		p[at] = 0x2a;
		p[at + 1] = 20;
		p[at + 2] = 0x3b;                                  /* reads CD-R, CD-RW, DVD */
		p[at + 4] = 0x70;                                  /* mode 2 forms, multisession */
		p[at + 6] = (uint8_t)(0x29 | (d->locked ? 2 : 0)); /* tray, ejects, locks */
		put16(p + at + 8, 706);                            /* 4x: KiB/s */
		put16(p + at + 12, 512);                           /* buffer, KiB */
		put16(p + at + 14, 706);
		at += 22;
	}
	if (ten)
		put16(p, at - 2);
	else
		p[0] = (uint8_t)(at - 1);
	p[ten ? 2 : 1] = d->tray_open ? 0x71 : d->disk.block ? 0x01 : 0x70;
	answer(c, at, ten ? get16(cdb + 7) : cdb[4]);
}

static void get_configuration(struct ata_chan *c, struct ata_drive *d, const uint8_t *cdb)
{
	bool dvd = d->sectors > 360000; /* more than fits on 80 minutes */
	uint8_t *p = c->buf;

	memset(p, 0, 40);
	put16(p + 6, !has_disc(d) ? 0 : dvd ? 0x0010 : 0x0008);
	put16(p + 8, 0); /* profile list */
	p[10] = 0x03;
	p[11] = 8;
	put16(p + 12, 0x0010);
	p[14] = dvd;
	put16(p + 16, 0x0008);
	p[18] = has_disc(d) && !dvd;
	put16(p + 20, 1); /* core */
	p[22] = 0x0b;
	p[23] = 8;
	put32(p + 24, 2); /* ATAPI */
	p[28] = 1;
	put16(p + 32, 3); /* removable medium */
	p[34] = 0x03;
	p[35] = 4;
	p[36] = 0x29;
	put32(p, 36);
	answer(c, 40, get16(cdb + 7));
}

static void event_status(struct ata_chan *c, struct ata_drive *d, const uint8_t *cdb)
{
	uint8_t *p = c->buf;

	if (!(cdb[1] & 1)) { /* asynchronous reporting is not there */
		check(c, d, SK_ILLEGAL, ASC_FIELD);
		return;
	}
	memset(p, 0, 8);
	p[3] = 0x10; /* media events only */
	if (!(cdb[4] & 0x10)) {
		p[2] = 0x80;
		put16(p, 2);
		answer(c, 4, get16(cdb + 7));
		return;
	}
	put16(p, 6);
	p[2] = 4;
	if (d->media_event)
		p[4] = has_disc(d) ? 2 : 3; /* has come, has gone */
	if (d->eject_event)
		p[4] = 1;
	p[5] = (uint8_t)((has_disc(d) ? 2 : 0) | d->tray_open);
	d->eject_event = d->media_event = false;
	answer(c, 8, get16(cdb + 7));
}

static void disc_information(struct ata_chan *c, const uint8_t *cdb)
{
	uint8_t *p = c->buf;

	memset(p, 0, 34);
	put16(p, 32);
	p[2] = 0x0e; /* complete, finalised */
	p[3] = p[4] = p[5] = p[6] = 1;
	p[7] = 0x20;
	memset(p + 16, 0xff, 8);
	answer(c, 34, get16(cdb + 7));
}

static void dvd_structure(struct ata_chan *c, struct ata_drive *d, const uint8_t *cdb)
{
	uint8_t *p = c->buf;

	if (cdb[7] || cdb[6]) {
		check(c, d, SK_ILLEGAL, ASC_FIELD);
		return;
	}
	memset(p, 0, 2052);
	put16(p, 2050);
	p[4] = 0x01; /* DVD-ROM, version 1 */
	p[5] = 0x0f; /* 120 mm */
	p[6] = 0x01; /* one layer, embossed */
	put32(p + 8, 0x00030000);
	put32(p + 12, 0x00030000 + (uint32_t)d->sectors - 1);
	answer(c, 2052, get16(cdb + 8));
}

static void read_capacity(struct ata_chan *c, struct ata_drive *d)
{
	put32(c->buf, (uint32_t)d->sectors - 1);
	put32(c->buf + 4, CD_SECTOR);
	answer(c, 8, 8);
}

static void start_stop(struct ata_chan *c, struct ata_drive *d, const uint8_t *cdb)
{
	bool open = !(cdb[4] & 1);

	if (!(cdb[4] & 2) || d->tray_open == open) { /* the tray stays as it is */
		good(c);
	} else if (open && d->locked) {
		check(c, d, SK_ILLEGAL, ASC_LOCKED);
	} else {
		atapi_tray(d, open);
		good(c);
	}
}

/* READ CD: user data of mode 1 sectors only */
static void read_cd(struct ata_chan *c, struct ata_drive *d, const uint8_t *cdb)
{
	uint32_t count = (uint32_t)cdb[6] << 16 | get16(cdb + 7);

	if (!count || !(cdb[9] & 0xf8))
		good(c);
	else if ((cdb[9] & 0xf8) != 0x10)
		check(c, d, SK_ILLEGAL, ASC_FIELD);
	else
		read_sectors(c, d, get32(cdb + 2), count);
}

enum { NEEDS_DISC = 1, NO_ATTENTION = 2 };

static const struct {
	uint8_t op, flags;
} packet_commands[] = {
	{0x00, NEEDS_DISC},
	{0x03, NO_ATTENTION},
	{0x12, NO_ATTENTION},
	{0x1a, 0},
	{0x1b, 0},
	{0x1e, 0},
	{0x25, NEEDS_DISC},
	{0x28, NEEDS_DISC},
	{0x2b, NEEDS_DISC},
	{0x42, NEEDS_DISC},
	{0x43, NEEDS_DISC},
	{0x46, NO_ATTENTION},
	{0x4a, NO_ATTENTION},
	{0x51, NEEDS_DISC},
	{0x5a, 0},
	{0xa8, NEEDS_DISC},
	{0xad, NEEDS_DISC},
	{0xbb, 0},
	{0xbd, 0},
	{0xbe, NEEDS_DISC},
};

/* May the command run? Otherwise it has been answered. */
static bool admit(struct ata_chan *c, struct ata_drive *d, uint8_t op)
{
	for (unsigned i = 0; i < ARRAY_SIZE(packet_commands); i++) {
		if (packet_commands[i].op != op)
			continue;
		if (d->attention && !(packet_commands[i].flags & NO_ATTENTION)) {
			d->attention = false;
			check(c, d, SK_ATTENTION, has_disc(d) ? ASC_CHANGED : 0x29);
			return false;
		}
		if ((packet_commands[i].flags & NEEDS_DISC) && !d->sectors) {
			check(c, d, SK_NOT_READY, ASC_NO_DISC);
			return false;
		}
		return true;
	}
	check(c, d, SK_ILLEGAL, ASC_OPCODE);
	return false;
}

static void packet(struct ata_chan *c, struct ata_drive *d)
{
	uint8_t cdb[ATA_PACKET];

	memcpy(cdb, c->buf, ATA_PACKET);
	if (!admit(c, d, cdb[0]))
		return;
	switch (cdb[0]) {
	case 0x03:
		request_sense(c, d, cdb);
		break;
	case 0x12:
		inquiry(c, cdb);
		break;
	case 0x1a:
		mode_sense(c, d, cdb, false);
		break;
	case 0x1b:
		start_stop(c, d, cdb);
		break;
	case 0x1e: /* PREVENT ALLOW MEDIUM REMOVAL */
		d->locked = cdb[4] & 1;
		good(c);
		break;
	case 0x25:
		read_capacity(c, d);
		break;
	case 0x28:
		read_sectors(c, d, get32(cdb + 2), get16(cdb + 7));
		break;
	case 0xa8:
		read_sectors(c, d, get32(cdb + 2), get32(cdb + 6));
		break;
	case 0x42: /* READ SUB-CHANNEL: no audio status */
		memset(c->buf, 0, 4);
		c->buf[1] = 0x15;
		answer(c, 4, get16(cdb + 7));
		break;
	case 0x43:
		read_toc(c, d, cdb);
		break;
	case 0x46:
		get_configuration(c, d, cdb);
		break;
	case 0x4a:
		event_status(c, d, cdb);
		break;
	case 0x51:
		disc_information(c, cdb);
		break;
	case 0x5a:
		mode_sense(c, d, cdb, true);
		break;
	case 0xad:
		dvd_structure(c, d, cdb);
		break;
	case 0xbd: /* MECHANISM STATUS */
		memset(c->buf, 0, 8);
		c->buf[1] = d->tray_open ? 0x10 : 0;
		c->buf[5] = 1;
		answer(c, 8, get16(cdb + 8));
		break;
	case 0xbe:
		read_cd(c, d, cdb);
		break;
	default: /* TEST UNIT READY, SEEK, SET CD SPEED */
		good(c);
	}
}

void atapi_continue(struct ata_chan *c, struct ata_drive *d)
{
	switch (c->phase) {
	case PHASE_PACKET:
		packet(c, d);
		break;
	case PHASE_DMA:
		if (c->left) {
			read_next(c, d);
		} else {
			c->ops->dma(c, c->filled, true);
			good(c);
		}
		break;
	case PHASE_PIO_IN:
		if (c->command != 0xa0) { /* IDENTIFY */
			c->phase = PHASE_IDLE;
			c->status = ST_DRDY | ST_DSC;
		} else if (c->pos < c->filled) {
			send_block(c);
		} else if (c->left) {
			read_next(c, d);
		} else {
			good(c);
		}
		break;
	default:
		break;
	}
}

void atapi_command(struct ata_chan *c, struct ata_drive *d, uint8_t cmd)
{
	if (cmd != 0xa0) {
		ata_end(c, ER_ABRT);
		return;
	}
	c->dma = c->feature[0] & 1;
	c->limit = (uint32_t)c->lba[1][0] | (uint32_t)c->lba[2][0] << 8;
	/* An odd limit would end a block amid a word; 0 has no meaning in PIO, FFFFH is FFFEH. */
	c->limit &= ~1u;
	if (!c->limit)
		c->limit = 0xfffe;
	c->count[0] = REASON_CD;
	ata_pio(c, PHASE_PACKET, 0, ATA_PACKET);
}
