/* SPDX-License-Identifier: ISC */
/* rtl8029.c: network card with the Realtek RTL8029AS controller (data sheet of 1997; its core is National's
 * DP8390D): an NE2000 on the PCI bus. Ports 00H…0FH are registers in four pages, 10H…17H the data port,
 * 18H…1FH reset. Frames lie in 16 KiB of the card's own memory, in pages of 256 bytes; the guest reads and writes
 * them through the data port, which goes from address to address by itself ("remote DMA").
 *
 * The received frames form a ring of pages [PSTART, PSTOP): the next one goes to CURR, and BNRY is the last page
 * that the guest has read. Where there is no room for a frame, the back end keeps it.
 *
 * Registers enter from vCPU threads, frames from the back end's thread, the timer from the VM's loop;
 * n->lock serialises. */
#include "dev/nic/rtl8029.h"

#include "base/str.h"
#include "dev/nic/microwire.h"
#include "dev/nic/nic.h"
#include "dev/pci/pci.h"
#include "vm/dev.h"
#include "vm/stream.h"
#include "vm/vm.h"

#define PORTS     32
#define PORT_DATA 0x10
#define PORT_RST  0x18

#define PROM_SIZE  32
#define RAM_FIRST  0x4000u
#define RAM_SIZE   0x4000u
#define PAGE_FIRST (RAM_FIRST >> 8)
#define PAGE_END   ((RAM_FIRST + RAM_SIZE) >> 8)

#define REMIND_NS (NS_PER_SEC / 1000)

/* Registers of the pages, page * 16 + offset; where reading and writing differ: W_ is written */
enum {
	CR = 0x00,
	W_PSTART = 0x01,
	W_PSTOP = 0x02,
	BNRY = 0x03,
	TSR = 0x04,
	W_TPSR = 0x04,
	W_TBCR0 = 0x05,
	W_TBCR1 = 0x06,
	ISR = 0x07,
	CRDA0 = 0x08,
	W_RSAR0 = 0x08,
	CRDA1 = 0x09,
	W_RSAR1 = 0x09,
	ID0 = 0x0a,
	W_RBCR0 = 0x0a,
	ID1 = 0x0b,
	W_RBCR1 = 0x0b,
	RSR = 0x0c,
	W_RCR = 0x0c,
	W_TCR = 0x0d,
	W_DCR = 0x0e,
	CNTR2 = 0x0f,
	W_IMR = 0x0f,
	PAR = 0x11,
	CURR = 0x17,
	MAR = 0x18,
	R_PSTART = 0x21,
	R_PSTOP = 0x22,
	R_TPSR = 0x24,
	R_RCR = 0x2c,
	R_TCR = 0x2d,
	R_DCR = 0x2e,
	R_IMR = 0x2f,
	CR9346 = 0x31,
	CONFIG0 = 0x33,
	CONFIG2 = 0x35,
	CONFIG3 = 0x36,
	ASID0 = 0x3e,
	ASID1 = 0x3f,
};

#define CR_STP   BIT(0)
#define CR_TXP   BIT(2)
#define CR_RD    0x38
#define CR_READ  0x08
#define CR_WRITE 0x10
#define CR_SEND  0x18 /* reads the frame at BNRY */
#define CR_ABORT 0x20

#define ISR_PRX BIT(0)
#define ISR_PTX BIT(1)
#define ISR_CNT BIT(5)
#define ISR_RDC BIT(6)
#define ISR_RST BIT(7)
#define ISR_IRQ 0x7f

#define RCR_AB  BIT(2)
#define RCR_AM  BIT(3)
#define RCR_PRO BIT(4)
#define RCR_MON BIT(5)

#define TCR_LB 0x06

#define DCR_WTS BIT(0)
#define DCR_LS  BIT(3) /* no loopback */

#define RSR_PRX BIT(0)
#define RSR_PHY BIT(5) /* multicast or broadcast */

struct rtl8029 {
	struct dev dev;
	struct pci_dev pd;
	struct net *net;
	bool attached;
	struct plat_timer timer; /* for frames that wait */
	struct plat_event idle;  /* !sending */

	struct plat_mutex lock; /* RANK_DEVICE: all below */
	uint8_t cr, isr, imr, dcr, tcr, rcr, tsr, rsr, missed;
	uint8_t pstart, pstop, bnry, curr, tpsr;
	uint16_t tbcr, rsar, rbcr;
	uint8_t par[6], mar[8];
	uint8_t cr9346, config3;
	struct microwire mw;
	uint16_t eeprom[MICROWIRE_WORDS];
	uint8_t prom[PROM_SIZE];
	uint8_t ram[RAM_SIZE];

	bool pin;
	bool reminding; /* the timer is armed */
	/* Frames for the guest are refused: the back end waits. */
	bool stalled, frozen;
	/* one thread at a time; frame is its own while sending is set, without the lock too */
	bool sending;
	uint8_t frame[RAM_SIZE];
	uint8_t rx[RAM_SIZE];
};

/* ---- interrupts --------------------------------------------------------------------------------------- */

static void irq_update(struct rtl8029 *n)
{
	bool level = n->isr & n->imr & ISR_IRQ;

	if (level == n->pin)
		return;
	n->pin = level;
	pci_intx(&n->pd, level);
}

static void cause(struct rtl8029 *n, uint8_t bits)
{
	n->isr |= bits;
	irq_update(n);
}

/* ---- receiving ------------------------------------------------------------------------------------------ */

/* Drivers choose pages with neither bit set, which stops nothing. */
static bool running(const struct rtl8029 *n)
{
	return !(n->cr & CR_STP);
}

static bool ring_ok(const struct rtl8029 *n)
{
	return n->pstart >= PAGE_FIRST && n->pstart < n->pstop && n->pstop <= PAGE_END &&
	       n->curr >= n->pstart && n->curr < n->pstop;
}

/* The ring's page that the guest has read last. Linux takes one from the next frame's page: PSTART - 1. */
static uint8_t last_read(const struct rtl8029 *n)
{
	return n->bnry + 1 == n->pstart ? n->pstop - 1 : n->bnry;
}

/* Pages from CURR to BNRY. The same: nothing is in the ring. */
static unsigned room(const struct rtl8029 *n)
{
	unsigned size = (unsigned)n->pstop - n->pstart, last = last_read(n);

	if (last < n->pstart || last >= n->pstop)
		return size;
	return last > n->curr ? last - n->curr : size - (n->curr - last);
}

/* Frames that the guest has not read: CURR is not behind BNRY. */
static bool frames_left(const struct rtl8029 *n)
{
	unsigned last = last_read(n);

	return running(n) && ring_ok(n) && n->curr != last &&
	       n->curr != (last + 1 == n->pstop ? n->pstart : last + 1);
}

/* A driver may acknowledge its interrupt with frames left over, and count on the next frame to tell it again.
 * That may be late: ours come in bursts, and wait for the guest. */
static void remind(struct rtl8029 *n)
{
	if (n->reminding || n->frozen || (n->isr & ISR_PRX) || !frames_left(n))
		return;
	n->reminding = true;
	plat_timer_arm(&n->timer, plat_now() + REMIND_NS);
}

static void reminder(void *arg)
{
	struct rtl8029 *n = arg;

	plat_mutex_lock(&n->lock);
	n->reminding = false;
	if (!n->frozen && frames_left(n))
		cause(n, ISR_PRX);
	plat_mutex_unlock(&n->lock);
}

static bool accepted(const struct rtl8029 *n, const uint8_t *dst)
{
	unsigned h = nic_hash(dst);

	if (memcmp(dst, "\xff\xff\xff\xff\xff\xff", 6) == 0)
		return n->rcr & RCR_AB;
	if (dst[0] & 1)
		return (n->rcr & RCR_AM) && (n->mar[h / 8] >> h % 8 & 1);
	return (n->rcr & RCR_PRO) || memcmp(dst, n->par, 6) == 0;
}

static void count_missed(struct rtl8029 *n)
{
	if (n->missed < 0xc0)
		n->missed++;
	if (n->missed >= 0x80)
		cause(n, ISR_CNT);
}

/* Puts bytes at the place *at of the ring, which goes on at its start. */
static void ring_put(struct rtl8029 *n, uint32_t *at, const void *p, uint32_t len)
{
	uint32_t left = (uint32_t)n->pstop * 256 - *at, first = MIN(len, left);

	memcpy(&n->ram[*at - RAM_FIRST], p, first);
	*at += first;
	if (first == left)
		*at = (uint32_t)n->pstart * 256;
	if (first < len)
		ring_put(n, at, (const uint8_t *)p + first, len - first);
}

static bool receive_locked(struct rtl8029 *n, const uint8_t *frame, size_t size)
{
	uint32_t len, crc, pages, next, at = n->curr * 256u;
	uint8_t head[4];

	if (n->frozen)
		return false;
	if (!running(n) || !accepted(n, frame))
		return true;
	if ((n->rcr & RCR_MON) || !ring_ok(n)) {
		count_missed(n);
		return true;
	}
	len = nic_pad(n->rx, frame, size);
	crc = nic_crc(n->rx, len);
	pages = (len + 8 + 255) / 256;
	if (pages >= room(n)) {
		if (pages < (unsigned)n->pstop - n->pstart && frames_left(n))
			return false;
		count_missed(n);
		return true;
	}
	next = n->curr + pages;
	if (next >= n->pstop)
		next -= (uint32_t)n->pstop - n->pstart;
	n->rsr = (uint8_t)(RSR_PRX | (frame[0] & 1 ? RSR_PHY : 0));
	head[0] = n->rsr;
	head[1] = (uint8_t)next;
	head[2] = (uint8_t)(len + 4);
	head[3] = (uint8_t)((len + 4) >> 8);
	ring_put(n, &at, head, 4);
	ring_put(n, &at, n->rx, len);
	ring_put(n, &at, &crc, 4);
	n->curr = (uint8_t)next;
	cause(n, ISR_PRX);
	return true;
}

static bool rtl8029_receive(void *dev, const void *frame, size_t len)
{
	struct rtl8029 *n = dev;
	bool taken;

	if (len < NIC_FRAME_MIN || len > RAM_SIZE - 256)
		return true;
	plat_mutex_lock(&n->lock);
	taken = receive_locked(n, frame, len);
	if (!taken) {
		n->stalled = true;
		remind(n);
	}
	plat_mutex_unlock(&n->lock);
	return taken;
}

/* True: the back end is to be told to go on. */
static bool rx_ready(struct rtl8029 *n)
{
	bool ready = n->stalled && !n->frozen && (room(n) > 6 || !frames_left(n));

	if (ready)
		n->stalled = false;
	return ready;
}

/* ---- sending -------------------------------------------------------------------------------------------- */

/* Byte at an address of the card; NULL: nothing there. */
static uint8_t *mem_at(struct rtl8029 *n, uint16_t at)
{
	return at >= RAM_FIRST && at < RAM_FIRST + RAM_SIZE ? &n->ram[at - RAM_FIRST] : NULL;
}

static void transmit(struct rtl8029 *n)
{
	plat_mutex_lock(&n->lock);
	if (n->sending) {
		plat_mutex_unlock(&n->lock);
		return;
	}
	n->sending = true;
	while ((n->cr & CR_TXP) && running(n) && !n->frozen) {
		uint32_t from = n->tpsr * 256u, len = n->tbcr;
		bool loop = (n->tcr & TCR_LB) || !(n->dcr & DCR_LS);

		len = mem_at(n, (uint16_t)from) ? MIN(len, RAM_FIRST + RAM_SIZE - from) : 0;
		if (len)
			memcpy(n->frame, mem_at(n, (uint16_t)from), len);
		n->cr &= (uint8_t)~CR_TXP;
		plat_mutex_unlock(&n->lock);
		if (!loop)
			nic_send(n->net, n->frame, len);
		plat_mutex_lock(&n->lock);
		n->tsr = 0x03; /* sent; bit 1 is always set */
		cause(n, ISR_PTX);
	}
	n->sending = false;
	plat_event_set(&n->idle);
	plat_mutex_unlock(&n->lock);
}

/* ---- remote DMA ------------------------------------------------------------------------------------------ */

/* The header at BNRY, or NULL */
static const uint8_t *next_frame(struct rtl8029 *n)
{
	return mem_at(n, (uint16_t)(n->bnry * 256u));
}

static void remote_done(struct rtl8029 *n)
{
	if ((n->cr & CR_RD) == CR_SEND) { /* the frame is read: so is the ring up to it */
		const uint8_t *head = next_frame(n);

		if (head)
			n->bnry = head[1];
	}
	cause(n, ISR_RDC);
}

static void remote_next(struct rtl8029 *n)
{
	if (++n->rsar == n->pstop * 256u)
		n->rsar = (uint16_t)(n->pstart * 256u);
}

static void remote_count(struct rtl8029 *n, unsigned bytes)
{
	bool more = n->rbcr;

	n->rbcr = (uint16_t)(n->rbcr > bytes ? n->rbcr - bytes : 0);
	if (more && !n->rbcr)
		remote_done(n);
}

/* In word mode every access takes at least two bytes. */
static unsigned remote_width(const struct rtl8029 *n, unsigned size)
{
	return n->dcr & DCR_WTS ? MAX(size, 2u) : size;
}

static uint32_t data_read(struct rtl8029 *n, unsigned size)
{
	unsigned width = remote_width(n, size);
	uint32_t v = 0;

	if ((n->cr & CR_RD) != CR_READ && (n->cr & CR_RD) != CR_SEND)
		return UINT32_MAX;
	for (unsigned i = 0; i < width; i++, remote_next(n)) {
		const uint8_t *p = n->rsar < PROM_SIZE ? &n->prom[n->rsar] : mem_at(n, n->rsar);

		v |= (uint32_t)(p ? *p : 0xff) << 8 * i;
	}
	remote_count(n, width);
	return v;
}

static void data_write(struct rtl8029 *n, unsigned size, uint32_t v)
{
	unsigned width = remote_width(n, size);

	if ((n->cr & CR_RD) != CR_WRITE)
		return;
	for (unsigned i = 0; i < width; i++, remote_next(n)) {
		uint8_t *p = mem_at(n, n->rsar);

		if (p && i < size)
			*p = (uint8_t)(v >> 8 * i);
	}
	remote_count(n, width);
}

/* ---- registers ------------------------------------------------------------------------------------------- */

/* Like the pin: what software sets up afterwards stays as it is. */
static void chip_reset(struct rtl8029 *n)
{
	n->cr = CR_STP | CR_ABORT;
	n->isr = ISR_RST;
	n->imr = 0;
	n->tcr = 0;
	n->rbcr = 0;
	irq_update(n);
}

static void command(struct rtl8029 *n, uint8_t v)
{
	n->cr = v | (n->cr & CR_TXP); /* which is cleared when the frame is sent */
	if (v & CR_STP) {
		n->cr &= (uint8_t)~CR_TXP;
		cause(n, ISR_RST);
		return;
	}
	n->isr &= (uint8_t)~ISR_RST;
	if ((v & CR_RD) == CR_SEND) {
		const uint8_t *head = next_frame(n);

		n->rsar = (uint16_t)(n->bnry * 256u);
		n->rbcr = (uint16_t)(head ? head[2] | head[3] << 8 : 0);
	}
	if (!(v & CR_ABORT) && (v & CR_RD) && !n->rbcr)
		remote_done(n);
}

static void set_byte(uint16_t *reg, bool high, uint8_t v)
{
	unsigned keep = high ? *reg & 0x00ffu : *reg & 0xff00u;

	*reg = (uint16_t)(keep | (high ? (unsigned)v << 8 : v));
}

static void eeprom_lines(struct rtl8029 *n, uint8_t v)
{
	uint8_t old = n->cr9346;

	n->cr9346 = v & 0xce;
	if (!(v & BIT(3)))
		microwire_reset(&n->mw);
	else if ((v & BIT(2)) && !(old & BIT(2)))
		microwire_clock(&n->mw, n->eeprom, v & BIT(1));
}

static uint8_t reg_read(struct rtl8029 *n, unsigned reg)
{
	uint8_t v;

	switch (reg) {
	case CR:
	case CR + 0x10:
	case CR + 0x20:
	case CR + 0x30:
		return n->cr;
	case BNRY:
		return n->bnry;
	case TSR:
		return n->tsr;
	case ISR:
		return n->isr;
	case CRDA0:
		return (uint8_t)n->rsar;
	case CRDA1:
		return (uint8_t)(n->rsar >> 8);
	case ID0:
		return 'P';
	case ID1:
		return 'C';
	case RSR:
		return n->rsr;
	case CNTR2: /* reading clears */
		v = n->missed;
		n->missed = 0;
		return v;
	case PAR ... PAR + 5:
		return n->par[reg - PAR];
	case CURR:
		return n->curr;
	case MAR ... MAR + 7:
		return n->mar[reg - MAR];
	case R_PSTART:
		return n->pstart;
	case R_PSTOP:
		return n->pstop;
	case R_TPSR:
		return n->tpsr;
	case R_RCR:
		return n->rcr | 0xc0;
	case R_TCR:
		return n->tcr | 0xe0;
	case R_DCR:
		return n->dcr | 0x80;
	case R_IMR:
		return n->imr | 0x80;
	case CR9346:
		return n->cr9346 | n->mw.dout;
	case CONFIG2:
		return 0x40; /* 10BaseT */
	case CONFIG3:
		return n->config3;
	case ASID0:
		return 0x29;
	case ASID1:
		return 0x80;
	default:
		return 0;
	}
}

static void reg_write(struct rtl8029 *n, unsigned reg, uint8_t v)
{
	switch (reg) {
	case CR:
	case CR + 0x10:
	case CR + 0x20:
	case CR + 0x30:
		command(n, v);
		break;
	case W_PSTART:
		n->pstart = v;
		break;
	case W_PSTOP:
		n->pstop = v;
		break;
	case BNRY:
		n->bnry = v;
		break;
	case W_TPSR:
		n->tpsr = v;
		break;
	case W_TBCR0:
	case W_TBCR1:
		set_byte(&n->tbcr, reg == W_TBCR1, v);
		break;
	case ISR: /* RST goes away by starting */
		n->isr &= (uint8_t) ~(v & ISR_IRQ);
		irq_update(n);
		remind(n);
		break;
	case W_RSAR0:
	case W_RSAR1:
		set_byte(&n->rsar, reg == W_RSAR1, v);
		break;
	case W_RBCR0:
	case W_RBCR1:
		set_byte(&n->rbcr, reg == W_RBCR1, v);
		break;
	case W_RCR:
		n->rcr = v & 0x3f;
		break;
	case W_TCR:
		n->tcr = v & 0x1f;
		break;
	case W_DCR:
		n->dcr = v & 0x7f;
		break;
	case W_IMR:
		n->imr = v & ISR_IRQ;
		irq_update(n);
		break;
	case PAR ... PAR + 5:
		n->par[reg - PAR] = v;
		break;
	case CURR:
		n->curr = v;
		break;
	case MAR ... MAR + 7:
		n->mar[reg - MAR] = v;
		break;
	case CR9346:
		eeprom_lines(n, v);
		break;
	case CONFIG3:
		if ((n->cr9346 & 0xc0) == 0xc0)
			n->config3 = v & 0x76;
		break;
	}
}

/* An access of several bytes reaches as many registers. */
static unsigned reg_at(const struct rtl8029 *n, uint64_t off)
{
	return (n->cr >> 6) * 16u + (off & 15);
}

static uint64_t port_read(void *dev, uint64_t off, unsigned size)
{
	struct rtl8029 *n = dev;
	uint64_t v = 0;

	plat_mutex_lock(&n->lock);
	if (off >= PORT_RST)
		chip_reset(n);
	else if (off >= PORT_DATA)
		v = data_read(n, size);
	else
		for (unsigned i = 0; i < size; i++)
			v |= (uint64_t)reg_read(n, reg_at(n, off + i)) << 8 * i;
	plat_mutex_unlock(&n->lock);
	return v;
}

static void port_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct rtl8029 *n = dev;
	bool send, ready;

	if (off >= PORT_RST)
		return;
	plat_mutex_lock(&n->lock);
	if (off >= PORT_DATA)
		data_write(n, size, (uint32_t)value);
	else
		for (unsigned i = 0; i < size; i++)
			reg_write(n, reg_at(n, off + i), (uint8_t)(value >> 8 * i));
	send = n->cr & CR_TXP;
	ready = rx_ready(n);
	plat_mutex_unlock(&n->lock);
	if (send)
		transmit(n);
	if (ready)
		n->net->ops->rx_ready(n->net);
}

static const struct bus_region port_region = {.name = "rtl8029",
					      .len = PORTS,
					      .min = 1,
					      .max = 4,
					      .read = port_read,
					      .write = port_write};

/* ---- the device -------------------------------------------------------------------------------------------- */

static void rtl8029_reset(struct dev *dev)
{
	struct rtl8029 *n = container_of(dev, struct rtl8029, dev);

	plat_mutex_lock(&n->lock);
	n->dcr = n->rcr = n->tsr = n->rsr = n->missed = 0;
	n->pstart = n->pstop = n->bnry = n->curr = n->tpsr = 0;
	n->tbcr = n->rsar = 0;
	n->cr9346 = 0;
	n->config3 = 0x40; /* full duplex */
	microwire_reset(&n->mw);
	memset(n->par, 0, sizeof(n->par));
	memset(n->mar, 0, sizeof(n->mar));
	memset(n->ram, 0, sizeof(n->ram));
	chip_reset(n);
	plat_mutex_unlock(&n->lock);
}

#define N struct rtl8029
static const struct st_field card_fields[] = {
	ST_U(N, cr),      ST_U(N, isr),
	ST_U(N, imr),     ST_U(N, dcr),
	ST_U(N, tcr),     ST_U(N, rcr),
	ST_U(N, tsr),     ST_U(N, rsr),
	ST_U(N, missed),  ST_U(N, pstart),
	ST_U(N, pstop),   ST_U(N, bnry),
	ST_U(N, curr),    ST_U(N, tpsr),
	ST_U(N, tbcr),    ST_U(N, rsar),
	ST_U(N, rbcr),    ST_RAW(N, par),
	ST_RAW(N, mar),   ST_U(N, cr9346),
	ST_U(N, config3), ST_A(N, eeprom),
	ST_RAW(N, prom),  ST_RAW(N, ram),
	ST_B(N, pin),     MICROWIRE_FIELDS(N, mw),
};
#undef N

static int rtl8029_state(struct dev *dev, struct state_stream *st)
{
	struct rtl8029 *n = container_of(dev, struct rtl8029, dev);

	if (pci_dev_state(&n->pd, st))
		return st->err;
	plat_mutex_lock(&n->lock);
	ST_SYNC(st, "card", 0, card_fields, n);
	n->stalled = true; /* the back end is told to go on when that is over */
	plat_mutex_unlock(&n->lock);
	return st->err;
}

static int rtl8029_freeze(struct dev *dev, bool on)
{
	struct rtl8029 *n = container_of(dev, struct rtl8029, dev);
	bool ready;

	plat_mutex_lock(&n->lock);
	n->frozen = on;
	ready = rx_ready(n);
	remind(n);
	plat_mutex_unlock(&n->lock);
	if (on)
		return nic_quiesce(&n->lock, &n->sending, &n->idle);
	transmit(n);
	if (ready)
		n->net->ops->rx_ready(n->net);
	return 0;
}

static void rtl8029_destroy(struct dev *dev)
{
	struct rtl8029 *n = container_of(dev, struct rtl8029, dev);

	if (n->attached)
		net_detach(n->net);
	plat_timer_cancel(&n->timer);
	plat_free(n);
}

static const struct dev_class rtl8029_class = {
	.name = "rtl8029",
	.reset = rtl8029_reset,
	.state = rtl8029_state,
	.freeze = rtl8029_freeze,
	.destroy = rtl8029_destroy,
};

/* The address PROM of an NE2000, each byte twice for word-wide cards; the EEPROM that it comes from. */
static void prom_init(struct rtl8029 *n)
{
	const uint8_t *mac = n->net->mac;

	for (unsigned i = 0; i < PROM_SIZE; i++)
		n->prom[i] = i / 2 < 6 ? mac[i / 2] : i / 2 < 14 ? 0 : 'W';
	for (unsigned i = 0; i < 3; i++)
		n->eeprom[1 + i] = (uint16_t)(mac[2 * i] | mac[2 * i + 1] << 8);
}

int rtl8029_create(struct vm *vm, const struct rtl8029_wiring *w, struct rtl8029 **out)
{
	static const struct pci_id id = {.name = "RTL8029AS",
					 .vendor = 0x10ec,
					 .device = 0x8029,
					 .subsys_vendor = 0x1af4,
					 .subsys = 0x1100,
					 .cls = 0x020000,
					 .pin = 1};
	struct rtl8029 *n = plat_alloc(sizeof(*n));
	const struct pci_bar io = {
		.kind = PCI_BAR_IO, .size = PORTS, .region = &port_region, .ctx = n};
	const struct net_client client = {.receive = rtl8029_receive, .dev = n};
	int err;

	if (!n)
		return err_here(ERR_NOMEM);
	plat_mutex_init(&n->lock, RANK_DEVICE);
	plat_timer_init(&n->timer, vm->loop, reminder, n);
	n->net = w->net;
	/* From here on the VM owns it, on errors too. */
	vm_add_dev(vm, &n->dev, &rtl8029_class);
	pci_dev_init(&n->pd, &id);
	prom_init(n);
	err = pci_bar_add(&n->pd, 0, &io);
	if (!err)
		err = pci_attach(w->host, &n->pd, w->slot, 0);
	if (err)
		return err;
	rtl8029_reset(&n->dev);
	net_attach(w->net, &client);
	n->attached = true;
	*out = n;
	return 0;
}
