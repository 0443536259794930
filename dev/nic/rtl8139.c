/* SPDX-License-Identifier: ISC */
/* rtl8139.c: network card with the Realtek RTL8139C+ controller (data sheet 1.6), or without its C+ mode as
 * the RTL8139D: registers, interrupts, EEPROM, PHY, timer, PCI. BAR 0 and BAR 1 hold the same registers.
 *
 * Registers are bytes that may be accessed in any width; a table says which bits can be written, and
 * what a write brings about is done once all of its bytes are there.
 *
 * Registers enter from vCPU threads, frames from the back end's thread, timers from the VM's loop;
 * r->lock serialises. */
#include "dev/nic/rtl8139_impl.h"

#include "base/str.h"
#include "dev/disk.h"
#include "vm/stream.h"

#define TICK_NS 30 /* of TCTR: the clock of the bus */

#define HW_CPLUS 0x74800000u /* TCR */
#define HW_D     0x74400000u

#define CR9346_EEDO   BIT(0)
#define CR9346_EEDI   BIT(1)
#define CR9346_EESK   BIT(2)
#define CR9346_EECS   BIT(3)
#define CR9346_MODE   0xc0
#define CR9346_LOAD   0x40
#define CR9346_UNLOCK 0xc0

#define BMCR_RESET   0x8000
#define BMCR_RESTART 0x0200

#define TSD_OWN BIT(13)

#define DTCCR_RESET BIT(0)
#define DTCCR_DUMP  BIT(3)

/* ---- interrupts --------------------------------------------------------------------------------------- */

static void irq_update(struct rtl8139 *r)
{
	bool level = rtl_get(r, R_ISR, 2) & rtl_get(r, R_IMR, 2);

	if (level == r->pin)
		return;
	r->pin = level;
	pci_intx(&r->pd, level);
}

void rtl8139_cause(struct rtl8139 *r, uint16_t bits)
{
	pci_put(r->reg + R_ISR, 2, rtl_get(r, R_ISR, 2) | bits);
	irq_update(r);
}

/* ---- timers ---------------------------------------------------------------------------------------------- */

static uint32_t timer_count(const struct rtl8139 *r)
{
	return (uint32_t)((plat_now() - r->timer_base) / TICK_NS);
}

/* To when TCTR reaches TIMERINT the next time. */
static void timer_arm(struct rtl8139 *r)
{
	uint32_t at = rtl_get(r, R_TIMERINT, 4), now = timer_count(r);

	if (!at) {
		plat_timer_cancel(&r->timer);
		return;
	}
	plat_timer_arm(&r->timer,
		       plat_now() + (at == now ? BIT64(32) : (uint64_t)(at - now)) * TICK_NS);
}

static void timer_over(void *arg)
{
	struct rtl8139 *r = arg;

	plat_mutex_lock(&r->lock);
	if (rtl_get(r, R_TIMERINT, 4)) {
		rtl8139_cause(r, ISR_TIMEOUT);
		timer_arm(r);
	}
	plat_mutex_unlock(&r->lock);
}

/* Frames wait. A driver of the C+ mode gives descriptors in memory, and need not touch a register then. */
static void retry(void *arg)
{
	struct rtl8139 *r = arg;
	bool ready;

	plat_mutex_lock(&r->lock);
	r->reminding = false;
	ready = rtl8139_rx_ready(r);
	rtl8139_remind(r);
	plat_mutex_unlock(&r->lock);
	if (ready)
		r->net->ops->rx_ready(r->net);
}

/* ---- reset ---------------------------------------------------------------------------------------------- */

static void eeprom_init(struct rtl8139 *r)
{
	const uint8_t *mac = r->net->mac;

	memset(r->eeprom, 0, sizeof(r->eeprom));
	r->eeprom[0] = 0x8129;
	r->eeprom[1] = 0x10ec;
	r->eeprom[2] = 0x8139;
	r->eeprom[3] = 0x1af4;
	r->eeprom[4] = 0x1100;
	for (unsigned i = 0; i < 3; i++)
		r->eeprom[7 + i] = (uint16_t)(mac[2 * i] | mac[2 * i + 1] << 8);
}

/* What is loaded from the EEPROM, and the PHY. */
static void load_config(struct rtl8139 *r)
{
	static const struct {
		uint8_t off, size;
		uint16_t value;
	} values[] = {
		{R_CONFIG1, 1, 0x0d}, /* registers by ports and memory, power management */
		{R_MSR, 1, 0x10},     /* link, 100 Mbit/s */
		{R_BMCR, 2, 0x3100},  /* negotiates, full duplex */
		{R_BMSR, 2, 0x782d},  /* what it can; link up, negotiated */
		{R_ANAR, 2, 0x05e1},  {R_ANLPAR, 2, 0x45e1},
		{R_ANER, 2, 0x0001},  {R_CSCR, 2, 0x0400}, /* link */
	};

	for (unsigned i = 0; i < 6; i++)
		r->reg[R_IDR + i] = (uint8_t)(r->eeprom[7 + i / 2] >> i % 2 * 8);
	for (unsigned i = 0; i < ARRAY_SIZE(values); i++)
		pci_put(r->reg + values[i].off, values[i].size, values[i].value);
	r->reg[R_CONFIG3] = r->reg[R_CONFIG4] = r->reg[R_CONFIG5] = 0;
	r->reg[R_RERID] = r->plain ? 0x10 : 0x20;
}

/* CR_RST: addresses, configuration and PHY stay. */
static void soft_reset(struct rtl8139 *r)
{
	memset(r->reg + R_TSD, 0, R_9346CR - R_TSD);
	memset(r->reg + R_TIMERINT, 0, 4);
	memset(r->reg + R_MULINT, 0, 2);
	memset(r->reg + R_TPPOLL, 0, R_END - R_TPPOLL);
	for (unsigned i = 0; i < 4; i++)
		pci_put(r->reg + R_TSD + 4 * i, 4, TSD_OWN);
	pci_put(r->reg + R_CAPR, 2, 0xfff0);
	pci_put(r->reg + R_TCR, 4, r->plain ? HW_D : HW_CPLUS);
	r->tx_next = r->rx_at = 0;
	memset(r->tx_at, 0, sizeof(r->tx_at));
	memset(r->tx_left, 0, sizeof(r->tx_left));
	r->tx = (struct nic_frame){0};
	r->timer_base = plat_now();
	timer_arm(r);
	irq_update(r);
}

static void card_reset(struct rtl8139 *r)
{
	memset(r->reg, 0, sizeof(r->reg));
	r->count = (struct rtl_counters){0};
	microwire_reset(&r->mw);
	load_config(r);
	soft_reset(r);
}

/* ---- registers ------------------------------------------------------------------------------------------- */

static uint8_t reg_read(struct rtl8139 *r, unsigned off)
{
	unsigned all = 0;

	switch (off) {
	case R_CR:
		return (uint8_t)(r->reg[off] | (rtl8139_rx_empty(r) ? CR_BUFE : 0));
	case R_9346CR:
		return (uint8_t)(r->reg[off] | (r->mw.dout ? CR9346_EEDO : 0));
	case R_TCTR ... R_TCTR + 3:
		return (uint8_t)(timer_count(r) >> (off - R_TCTR) * 8);
	case R_TSAD_ALL: /* OWN, TABT, TUN, TOK of the four, four bits each */
	case R_TSAD_ALL + 1:
		for (unsigned i = 0; i < 4; i++) {
			uint32_t tsd = rtl_get(r, R_TSD + 4 * i, 4);

			all |= ((tsd >> 13 & 1) | (tsd >> 30 & 1) << 4 | (tsd >> 14 & 1) << 8 |
				(tsd >> 15 & 1) << 12)
			       << i;
		}
		return (uint8_t)(all >> (off - R_TSAD_ALL) * 8);
	default:
		return r->reg[off];
	}
}

enum { LOCKED = 1, FRESH = 2, C_PLUS = 4 };

/* Bits that are kept as they are written. LOCKED: only as CR9346_UNLOCK says; FRESH: the others become
 * zero; C_PLUS: not in the D. */
static const struct {
	uint8_t off, len, flags;
	uint32_t mask;
} rows[] = {
	{R_IDR, 6, 0, UINT32_MAX},
	{R_MAR, 8, 0, UINT32_MAX},
	{R_TSD, 16, FRESH, 0x003f3fff},
	{R_TSAD, 16, 0, UINT32_MAX},
	{R_RBSTART, 4, 0, UINT32_MAX},
	{R_CR, 1, 0, CR_TE | CR_RE | CR_RST},
	{R_CAPR, 2, 0, 0xffff},
	{R_IMR, 2, 0, 0xe1ff},
	{R_TCR, 4, 0, 0x030f07f0},
	{R_RCR, 4, 0, 0x0f03ffbf},
	{R_9346CR, 1, 0, 0xce},
	{R_CONFIG1, 1, LOCKED, 0xf3},
	{R_TIMERINT, 4, 0, UINT32_MAX},
	{R_CONFIG3, 1, LOCKED, 0xf0},
	{R_CONFIG4, 1, LOCKED, 0xff},
	{R_MULINT, 2, 0, 0x0fff},
	{R_BMCR, 2, LOCKED, 0xb300},
	{R_ANAR, 2, 0, 0x0de0},
	{R_PHY_PARM, 12, 0, UINT32_MAX},
	{R_CONFIG5, 1, 0, 0x7f},
	{R_TPPOLL, 1, C_PLUS | FRESH, TPPOLL_HIGH | TPPOLL_NORMAL | TPPOLL_SWINT},
	{R_CPCR, 2, C_PLUS, 0x007b},
	{R_RDSAR, 8, C_PLUS, UINT32_MAX},
	{R_ETTHR, 1, C_PLUS, 0x3f},
};

static void reg_store(struct rtl8139 *r, unsigned off, uint8_t v)
{
	bool dtccr = rtl_cplus(r, CPCR_TX | CPCR_RX) && off >= R_TSD && off < R_TSD + 16;
	uint8_t mask, flags;
	unsigned i = 0;

	if (dtccr) {
		r->reg[off] = v;
		return;
	}
	if (off == R_ISR || off == R_ISR + 1) {
		r->reg[off] &= (uint8_t)~v;
		return;
	}
	while (i < ARRAY_SIZE(rows) && (off < rows[i].off || off >= rows[i].off + rows[i].len))
		i++;
	if (i == ARRAY_SIZE(rows))
		return;
	flags = rows[i].flags;
	if (((flags & LOCKED) && (r->reg[R_9346CR] & CR9346_MODE) != CR9346_UNLOCK) ||
	    ((flags & C_PLUS) && r->plain))
		return;
	mask = (uint8_t)(rows[i].mask >> ((off - rows[i].off) & 3) * 8);
	r->reg[off] = (uint8_t)((flags & FRESH ? 0 : r->reg[off] & ~mask) | (v & mask));
}

static void command(struct rtl8139 *r, uint8_t old)
{
	uint8_t rising = r->reg[R_CR] & (uint8_t)~old;

	if (r->reg[R_CR] & CR_RST) {
		soft_reset(r);
		return;
	}
	if (rising & CR_TE) {
		r->tx_next = 0;
		memset(r->tx_at, 0, sizeof(r->tx_at));
	}
	if (rising & CR_RE) {
		r->rx_at = 0;
		pci_put(r->reg + R_CAPR, 4, 0xfff0); /* CBR too */
	}
}

static void eeprom_lines(struct rtl8139 *r, uint8_t old)
{
	uint8_t v = r->reg[R_9346CR];

	if ((v & CR9346_MODE) == CR9346_LOAD) { /* over as soon as it has begun */
		load_config(r);
		r->reg[R_9346CR] = 0;
	}
	if (!(v & CR9346_EECS))
		microwire_reset(&r->mw);
	else if ((v & CR9346_EESK) && !(old & CR9346_EESK))
		microwire_clock(&r->mw, r->eeprom, v & CR9346_EEDI);
}

static void phy_control(struct rtl8139 *r)
{
	uint32_t v = rtl_get(r, R_BMCR, 2);

	if (v & BMCR_RESET) {
		pci_put(r->reg + R_BMCR, 2, 0x3100);
		pci_put(r->reg + R_ANAR, 2, 0x05e1);
	}
	if (v & (BMCR_RESET | BMCR_RESTART)) { /* the link is there again at once */
		r->reg[R_BMCR + 1] &= (uint8_t) ~(BMCR_RESTART >> 8);
		rtl8139_cause(r, ISR_LINK);
	}
}

static void tally(struct rtl8139 *r)
{
	uint8_t cmd = r->reg[R_DTCCR];

	if (cmd & DTCCR_RESET)
		r->count = (struct rtl_counters){0};
	if (cmd & DTCCR_DUMP)
		disk_dma(r->dev.vm, rtl_ring(r, R_DTCCR) & ~UINT64_C(63), &r->count,
			 sizeof(r->count), true);
	r->reg[R_DTCCR] = cmd & 0xc0;
}

static bool touches(unsigned off, unsigned size, unsigned reg, unsigned len)
{
	return off < reg + len && reg < off + size;
}

/* What follows from a write; was: the first byte's register before. True: there may be frames to send. */
static bool act(struct rtl8139 *r, unsigned off, unsigned size, const uint8_t *was)
{
	bool cplus = rtl_cplus(r, CPCR_TX | CPCR_RX);
	bool send = touches(off, size, R_TSD, 16) || touches(off, size, R_CR, 1) ||
		    touches(off, size, R_TPPOLL, 1);

	if (touches(off, size, R_CR, 1))
		command(r, was[R_CR - off]);
	if (touches(off, size, R_IMR, 4)) {
		irq_update(r);
		rtl8139_acknowledged(r);
	}
	if (touches(off, size, R_TCTR, 4))
		r->timer_base = plat_now();
	if (touches(off, size, R_MPC, 4))
		pci_put(r->reg + R_MPC, 4, 0);
	if (touches(off, size, R_TCTR, 4) || touches(off, size, R_TIMERINT, 4))
		timer_arm(r);
	if (touches(off, size, R_9346CR, 1))
		eeprom_lines(r, was[R_9346CR - off]);
	if (touches(off, size, R_BMCR, 2))
		phy_control(r);
	if (cplus && touches(off, size, R_DTCCR, 1))
		tally(r);
	if (touches(off, size, R_TNPDS, 8))
		r->tx_at[0] = 0;
	if (touches(off, size, R_THPDS, 8))
		r->tx_at[1] = 0;
	if (touches(off, size, R_RDSAR, 8))
		r->rx_at = 0;
	if (touches(off, size, R_TPPOLL, 1)) {
		if (r->reg[R_TPPOLL] & TPPOLL_NORMAL)
			r->tx_left[0] = RTL_RING;
		if (r->reg[R_TPPOLL] & TPPOLL_HIGH)
			r->tx_left[1] = RTL_RING;
		if (r->reg[R_TPPOLL] & TPPOLL_SWINT)
			rtl8139_cause(r, ISR_SWINT);
		r->reg[R_TPPOLL] = 0;
	}
	return send;
}

static uint64_t card_read(void *dev, uint64_t off, unsigned size)
{
	struct rtl8139 *r = dev;
	uint64_t v = 0;

	plat_mutex_lock(&r->lock);
	for (unsigned i = 0; i < size; i++)
		v |= (uint64_t)reg_read(r, (unsigned)off + i) << 8 * i;
	plat_mutex_unlock(&r->lock);
	return v;
}

static void card_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct rtl8139 *r = dev;
	bool send, ready;
	uint8_t was[4];

	plat_mutex_lock(&r->lock);
	memcpy(was, r->reg + off, size);
	for (unsigned i = 0; i < size; i++)
		reg_store(r, (unsigned)off + i, (uint8_t)(value >> 8 * i));
	send = act(r, (unsigned)off, size, was);
	ready = rtl8139_rx_ready(r);
	plat_mutex_unlock(&r->lock);
	if (send)
		rtl8139_transmit(r);
	if (ready)
		r->net->ops->rx_ready(r->net);
}

static const struct bus_region card_region = {.name = "rtl8139",
					      .len = R_END,
					      .min = 1,
					      .max = 4,
					      .read = card_read,
					      .write = card_write};

/* ---- the device -------------------------------------------------------------------------------------------- */

static void rtl8139_reset(struct dev *dev)
{
	struct rtl8139 *r = container_of(dev, struct rtl8139, dev);

	plat_mutex_lock(&r->lock);
	card_reset(r);
	plat_mutex_unlock(&r->lock);
}

#define R struct rtl8139
static const struct st_field card_fields[] = {
	ST_RAW(R, reg),
	MICROWIRE_FIELDS(R, mw),
	ST_T(R, timer_base),
	ST_UMAX(R, tx_next, 3),
	ST_ARRAY(R, tx_at, ST_INT, RTL_RING - 1),
	ST_ARRAY(R, tx_left, ST_INT, RTL_RING),
	ST_UMAX(R, rx_at, RTL_RING - 1),
	ST_B(R, pin),
	ST_A(R, eeprom),
	ST_U(R, count.tx_ok),
	ST_U(R, count.rx_ok),
	ST_U(R, count.missed),
	ST_U(R, count.rx_phys),
	ST_U(R, count.rx_bcast),
	ST_U(R, count.rx_mcast),
	ST_UMAX(R, tx.len, NET_FRAME_MAX),
	ST_B(R, tx.begun),
	ST_B(R, tx.skip),
	ST_B(R, tx.segment),
	ST_B(R, tx.ip_sum),
	ST_B(R, tx.tu_sum),
	ST_U(R, tx.ctx.mss),
};
#undef R

static int rtl8139_state(struct dev *dev, struct state_stream *st)
{
	struct rtl8139 *r = container_of(dev, struct rtl8139, dev);
	uint32_t len;

	if (pci_dev_state(&r->pd, st))
		return st->err;
	plat_mutex_lock(&r->lock);
	ST_SYNC(st, "card", 0, card_fields, r);
	len = st->loading ? NET_FRAME_MAX : r->tx.len;
	if (!st->loading)
		st_put_bytes(st, "frame", r->buf, len);
	else if (!st_get_bytes(st, "frame", r->buf, &len) && len != r->tx.len)
		state_fail(st, err_here(ERR_FORMAT), "rtl8139: a frame of another length");
	if (st->loading) {
		if (st->err)
			card_reset(r);
		timer_arm(r);
	}
	r->stalled = true; /* the back end is told to go on when that is over */
	plat_mutex_unlock(&r->lock);
	return st->err;
}

static int rtl8139_freeze(struct dev *dev, bool on)
{
	struct rtl8139 *r = container_of(dev, struct rtl8139, dev);

	plat_mutex_lock(&r->lock);
	r->frozen = on;
	plat_mutex_unlock(&r->lock);
	if (on)
		return nic_quiesce(&r->lock, &r->sending, &r->idle);
	rtl8139_transmit(r);
	retry(r);
	return 0;
}

static void rtl8139_destroy(struct dev *dev)
{
	struct rtl8139 *r = container_of(dev, struct rtl8139, dev);
	size_t size = ALIGN_UP(NET_FRAME_MAX, PAGE_SIZE);

	if (r->attached)
		net_detach(r->net);
	plat_timer_cancel(&r->timer);
	plat_timer_cancel(&r->retry);
	if (r->buf)
		plat_pages_free(r->buf, size);
	if (r->segment)
		plat_pages_free(r->segment, size);
	if (r->rx)
		plat_pages_free(r->rx, RTL_RX_MAX);
	plat_free(r);
}

static const struct dev_class rtl8139_class = {
	.name = "rtl8139",
	.reset = rtl8139_reset,
	.state = rtl8139_state,
	.freeze = rtl8139_freeze,
	.destroy = rtl8139_destroy,
};

int rtl8139_create(struct vm *vm, const struct rtl8139_wiring *w, struct rtl8139 **out)
{
	const struct pci_id id = {.name = w->plain ? "RTL8139D" : "RTL8139C+",
				  .vendor = 0x10ec,
				  .device = 0x8139,
				  .subsys_vendor = 0x1af4,
				  .subsys = 0x1100,
				  .revision = w->plain ? 0x10 : 0x20,
				  .cls = 0x020000,
				  .pin = 1};
	struct rtl8139 *r = plat_alloc(sizeof(*r));
	const struct pci_bar io = {
		.kind = PCI_BAR_IO, .size = R_END, .region = &card_region, .ctx = r};
	const struct pci_bar mem = {
		.kind = PCI_BAR_MEM32, .size = R_END, .region = &card_region, .ctx = r};
	const struct net_client client = {.receive = rtl8139_receive, .dev = r};
	int err;

	if (!r)
		return err_here(ERR_NOMEM);
	plat_mutex_init(&r->lock, RANK_DEVICE);
	plat_timer_init(&r->timer, vm->loop, timer_over, r);
	plat_timer_init(&r->retry, vm->loop, retry, r);
	r->net = w->net;
	r->plain = w->plain;
	/* From here on the VM owns it, on errors too. */
	vm_add_dev(vm, &r->dev, &rtl8139_class);
	r->buf = plat_pages_alloc(ALIGN_UP(NET_FRAME_MAX, PAGE_SIZE));
	r->segment = plat_pages_alloc(ALIGN_UP(NET_FRAME_MAX, PAGE_SIZE));
	r->rx = plat_pages_alloc(RTL_RX_MAX);
	if (!r->buf || !r->segment || !r->rx)
		return err_here(ERR_NOMEM);
	pci_dev_init(&r->pd, &id);
	eeprom_init(r);
	err = pci_bar_add(&r->pd, 0, &io);
	if (!err)
		err = pci_bar_add(&r->pd, 1, &mem);
	if (!err)
		err = pci_attach(w->host, &r->pd, w->slot, 0);
	if (err)
		return err;
	rtl8139_reset(&r->dev);
	net_attach(w->net, &client);
	r->attached = true;
	*out = r;
	return 0;
}
