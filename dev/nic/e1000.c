/* SPDX-License-Identifier: ISC */
/* e1000.c: network card with the Intel 82540EM controller (PCI/PCI-X Family of Gigabit Ethernet
 * Controllers, Software Developer's Manual, 317453): registers, interrupts and their throttling, PCI.
 * BAR 0 holds the registers, BAR 2 a window to them by ports.
 *
 * Registers enter from vCPU threads, frames from the back end's thread, the throttle's timer from the VM's
 * loop; e->lock serialises. */
#include "dev/nic/e1000_impl.h"

#include "base/str.h"
#include "vm/stream.h"

#define REGS_SIZE 0x20000
#define ITR_NS    256

/* ---- interrupts --------------------------------------------------------------------------------------- */

static void irq_update(struct e1000 *e)
{
	bool level = *e_reg(e, E_ICR) & *e_reg(e, E_IMS);
	uint64_t now;

	if (level == e->pin)
		return;
	if (level && (*e_reg(e, E_ITR) & 0xffff)) {
		now = plat_now();
		if (now < e->next_irq) {
			plat_timer_arm(&e->throttle, e->next_irq);
			return;
		}
		e->next_irq = now + (uint64_t)(*e_reg(e, E_ITR) & 0xffff) * ITR_NS;
	}
	e->pin = level;
	pci_intx(&e->pd, level);
}

static void throttle_over(void *arg)
{
	struct e1000 *e = arg;

	plat_mutex_lock(&e->lock);
	irq_update(e);
	plat_mutex_unlock(&e->lock);
}

void e1000_cause(struct e1000 *e, uint32_t bits)
{
	*e_reg(e, E_ICR) |= bits;
	irq_update(e);
}

void e1000_count(struct e1000 *e, unsigned off, uint32_t n)
{
	uint32_t *r = e_reg(e, off);

	if (off == E_GORCL || off == E_GOTCL) {
		uint64_t v = r[0] | (uint64_t)r[1] << 32;

		v = v + n < v ? UINT64_MAX : v + n;
		r[0] = (uint32_t)v;
		r[1] = (uint32_t)(v >> 32);
	} else {
		*r = *r + n < *r ? UINT32_MAX : *r + n;
	}
}

/* ---- reset ---------------------------------------------------------------------------------------------- */

static void card_reset(struct e1000 *e)
{
	static const struct {
		uint32_t off, value;
	} values[] = {
		{E_CTRL, 0x00140240},   /* 1000 Mbit/s, link up */
		{E_STATUS, 0x00000783}, /* likewise, full duplex */
		{E_PBA, 0x00100030},    {E_LEDCTL, 0x00000602},
		{E_MANC, 0x00000000},   {E_VET, 0x00008100},
	};
	uint32_t *ra = e_reg(e, E_RA);

	memset(e->reg, 0, sizeof(e->reg));
	for (unsigned i = 0; i < ARRAY_SIZE(values); i++)
		*e_reg(e, values[i].off) = values[i].value;
	ra[0] = e->mac[0] | e->mac[1] << 8 | e->mac[2] << 16 | (uint32_t)e->mac[3] << 24;
	ra[1] = e->mac[4] | e->mac[5] << 8 | BIT(31);
	e->ctx = e->ctx_seg = (struct nic_ctx){0};
	e->tx = (struct nic_frame){0};
	microwire_reset(&e->mw);
	e->next_irq = 0;
	e1000_phy_reset(e);
	irq_update(e);
}

/* ---- registers ------------------------------------------------------------------------------------------- */

/* Plain ones: what is written is kept, as far as the mask goes. A range has as many registers. */
static const struct {
	uint16_t off, n;
	uint32_t mask;
} plain[] = {
	{E_CTRL_EXT, 1, UINT32_MAX}, {E_FCAL, 1, UINT32_MAX},   {E_FCAH, 1, 0xffff},
	{E_FCT, 1, 0xffff},          {E_VET, 1, 0xffff},        {E_ITR, 1, 0xffff},
	{E_RCTL, 1, UINT32_MAX},     {E_FCTTV, 1, 0xffff},      {E_TXCW, 1, UINT32_MAX},
	{E_TCTL, 1, UINT32_MAX},     {E_TIPG, 1, UINT32_MAX},   {E_AIFS, 1, UINT32_MAX},
	{E_LEDCTL, 1, UINT32_MAX},   {E_PBA, 1, 0x7f},          {E_FCRTL, 1, UINT32_MAX},
	{E_FCRTH, 1, UINT32_MAX},    {E_RDBAL, 1, 0xfffffff0},  {E_RDBAH, 1, UINT32_MAX},
	{E_RDLEN, 1, 0xfff80},       {E_RDH, 1, 0xffff},        {E_RDT, 1, 0xffff},
	{E_RDTR, 1, 0xffff},         {0x2828, 1, UINT32_MAX}, /* RXDCTL */
	{E_RADV, 1, 0xffff},         {E_TDBAL, 1, 0xfffffff0},  {E_TDBAH, 1, UINT32_MAX},
	{E_TDLEN, 1, 0xfff80},       {E_TDH, 1, 0xffff},        {E_TDT, 1, 0xffff},
	{0x3820, 1, 0xffff},     /* TIDV */
	{0x3828, 1, UINT32_MAX}, /* TXDCTL */
	{E_TADV, 1, 0xffff},         {E_RXCSUM, 1, 0x7ff},      {E_MTA, 128, UINT32_MAX},
	{E_RA, 32, UINT32_MAX},      {E_VFTA, 128, UINT32_MAX}, {E_WUC, 1, UINT32_MAX},
	{0x5808, 1, UINT32_MAX}, /* WUFC */
	{E_MANC, 1, UINT32_MAX},
};

static void plain_write(struct e1000 *e, unsigned off, uint32_t v)
{
	for (unsigned i = 0; i < ARRAY_SIZE(plain); i++)
		if (off >= plain[i].off && off < plain[i].off + 4u * plain[i].n)
			*e_reg(e, off) = v & plain[i].mask;
}

static void reg_write(struct e1000 *e, unsigned off, uint32_t v)
{
	switch (off) {
	case E_CTRL:
	case E_CTRL + 4: /* the same register again */
		if (v & CTRL_RST) {
			card_reset(e);
			break;
		}
		if ((v & BIT(31)) && !(*e_reg(e, E_CTRL) & BIT(31)))
			e1000_phy_reset(e);
		*e_reg(e, E_CTRL) = v;
		break;
	case E_EECD:
		e1000_eecd(e, v);
		break;
	case E_EERD:
		e1000_eerd(e, v);
		break;
	case E_MDIC:
		e1000_mdic(e, v);
		break;
	case E_ICR:
		*e_reg(e, E_ICR) &= ~v;
		irq_update(e);
		break;
	case E_ICS:
		e1000_cause(e, v & ICR_ALL);
		break;
	case E_IMS:
		*e_reg(e, E_IMS) |= v & ICR_ALL;
		irq_update(e);
		break;
	case E_IMC:
		*e_reg(e, E_IMS) &= ~v;
		irq_update(e);
		break;
	default:
		plain_write(e, off, v);
	}
}

static uint32_t reg_read(struct e1000 *e, unsigned off)
{
	uint32_t v;

	switch (off) {
	case E_CTRL + 4:
		return *e_reg(e, E_CTRL);
	case E_EECD:
		return e1000_eecd_read(e);
	case E_ICR: /* reading it clears it */
		v = *e_reg(e, E_ICR) | (e->pin ? BIT(31) : 0);
		*e_reg(e, E_ICR) = 0;
		irq_update(e);
		return v;
	case E_ICS:
	case E_IMC:
		return 0;
	default:
		v = *e_reg(e, off);
		if (off >= E_STATS && off < E_STATS_END)
			*e_reg(e, off) = 0;
		return v;
	}
}

static uint32_t card_read(struct e1000 *e, uint64_t off)
{
	uint32_t v = 0;

	if (off >= E_END)
		return 0;
	plat_mutex_lock(&e->lock);
	v = reg_read(e, (unsigned)off & ~3u);
	plat_mutex_unlock(&e->lock);
	return v;
}

static void card_write(struct e1000 *e, uint64_t off, uint32_t v)
{
	bool ready;

	if (off >= E_END)
		return;
	off &= ~UINT64_C(3);
	plat_mutex_lock(&e->lock);
	reg_write(e, (unsigned)off, v);
	ready = e1000_rx_ready(e);
	plat_mutex_unlock(&e->lock);
	if (off == E_TDT || off == E_TCTL)
		e1000_transmit(e);
	if (ready)
		e->net->ops->rx_ready(e->net);
}

static uint64_t mem_rd(void *dev, uint64_t off, unsigned size)
{
	return card_read(dev, off);
}

static void mem_wr(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	card_write(dev, off, (uint32_t)value);
}

static const struct bus_region mem_region = {
	.name = "e1000", .len = REGS_SIZE, .min = 4, .max = 4, .read = mem_rd, .write = mem_wr};

/* IOADDR chooses the register that IODATA is. */
static uint64_t io_rd(void *dev, uint64_t off, unsigned size)
{
	struct e1000 *e = dev;

	return off < 4 ? e->ioaddr : card_read(e, e->ioaddr);
}

static void io_wr(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct e1000 *e = dev;

	if (off < 4)
		__atomic_store_n(&e->ioaddr, (uint32_t)value & (REGS_SIZE - 4), __ATOMIC_RELAXED);
	else
		card_write(e, __atomic_load_n(&e->ioaddr, __ATOMIC_RELAXED), (uint32_t)value);
}

static const struct bus_region io_region = {
	.name = "e1000-io", .len = 8, .min = 4, .max = 4, .read = io_rd, .write = io_wr};

/* ---- the device -------------------------------------------------------------------------------------------- */

static void e1000_reset(struct dev *dev)
{
	struct e1000 *e = container_of(dev, struct e1000, dev);

	plat_mutex_lock(&e->lock);
	e->ioaddr = 0;
	card_reset(e);
	plat_mutex_unlock(&e->lock);
}

#define E struct e1000
static const struct st_field card_fields[] = {
	ST_A(E, reg),        ST_UMAX(E, ioaddr, REGS_SIZE - 4),
	ST_A(E, phy),        MICROWIRE_FIELDS(E, mw),
	ST_B(E, pin),        ST_T(E, next_irq),
	ST_RAW(E, mac),      ST_UMAX(E, tx.len, NET_FRAME_MAX),
	ST_B(E, tx.begun),   ST_B(E, tx.skip),
	ST_B(E, tx.segment), ST_B(E, tx.ip_sum),
	ST_B(E, tx.tu_sum),
};
#undef E

#define C struct nic_ctx
static const struct st_field ctx_fields[] = {
	ST_U(C, ipcss), ST_U(C, ipcso), ST_U(C, tucss), ST_U(C, tucso), ST_U(C, hdrlen),
	ST_U(C, ipcse), ST_U(C, tucse), ST_U(C, mss),   ST_B(C, tcp),   ST_B(C, ip4),
};
#undef C

static int e1000_state(struct dev *dev, struct state_stream *st)
{
	struct e1000 *e = container_of(dev, struct e1000, dev);
	uint32_t len;

	if (pci_dev_state(&e->pd, st))
		return st->err;
	plat_mutex_lock(&e->lock);
	ST_SYNC(st, "card", 0, card_fields, e);
	ST_SYNC(st, "context", 0, ctx_fields, &e->ctx);
	ST_SYNC(st, "context", 1, ctx_fields, &e->ctx_seg);
	ST_SYNC(st, "context", 2, ctx_fields, &e->tx.ctx);
	len = st->loading ? NET_FRAME_MAX : e->tx.len;
	if (!st->loading)
		st_put_bytes(st, "frame", e->buf, len);
	else if (!st_get_bytes(st, "frame", e->buf, &len) && len != e->tx.len)
		state_fail(st, err_here(ERR_FORMAT), "e1000: a frame of another length");
	if (st->loading) {
		e1000_nvm_init(e);
		if (st->err)
			card_reset(e);
		if (e->next_irq)
			plat_timer_arm(&e->throttle, e->next_irq);
	}
	e->stalled = true; /* the back end is told to go on when that is over */
	plat_mutex_unlock(&e->lock);
	return st->err;
}

static int e1000_freeze(struct dev *dev, bool on)
{
	struct e1000 *e = container_of(dev, struct e1000, dev);
	bool ready;

	plat_mutex_lock(&e->lock);
	e->frozen = on;
	ready = e1000_rx_ready(e);
	plat_mutex_unlock(&e->lock);
	if (on)
		return nic_quiesce(&e->lock, &e->sending, &e->idle);
	e1000_transmit(e);
	if (ready)
		e->net->ops->rx_ready(e->net);
	return 0;
}

static void e1000_destroy(struct dev *dev)
{
	struct e1000 *e = container_of(dev, struct e1000, dev);
	size_t size = ALIGN_UP(NET_FRAME_MAX, PAGE_SIZE);

	if (e->attached)
		net_detach(e->net);
	plat_timer_cancel(&e->throttle);
	if (e->buf)
		plat_pages_free(e->buf, size);
	if (e->segment)
		plat_pages_free(e->segment, size);
	if (e->rx)
		plat_pages_free(e->rx, E_RX_MAX);
	plat_free(e);
}

static const struct dev_class e1000_class = {
	.name = "e1000",
	.reset = e1000_reset,
	.state = e1000_state,
	.freeze = e1000_freeze,
	.destroy = e1000_destroy,
};

int e1000_create(struct vm *vm, const struct e1000_wiring *w, struct e1000 **out)
{
	static const struct pci_id id = {.name = "82540EM",
					 .vendor = 0x8086,
					 .device = 0x100e,
					 .subsys_vendor = 0x1af4,
					 .subsys = 0x1100,
					 .revision = 3,
					 .cls = 0x020000,
					 .pin = 1};
	struct e1000 *e = plat_alloc(sizeof(*e));
	const struct pci_bar mem = {
		.kind = PCI_BAR_MEM32, .size = REGS_SIZE, .region = &mem_region, .ctx = e};
	const struct pci_bar io = {.kind = PCI_BAR_IO, .size = 64, .region = &io_region, .ctx = e};
	const struct net_client client = {
		.receive = e1000_receive, .link = e1000_set_link, .dev = e};
	int err;

	if (!e)
		return err_here(ERR_NOMEM);
	plat_mutex_init(&e->lock, RANK_DEVICE);
	plat_timer_init(&e->throttle, vm->loop, throttle_over, e);
	e->net = w->net;
	memcpy(e->mac, w->net->mac, 6);
	/* From here on the VM owns it, on errors too. */
	vm_add_dev(vm, &e->dev, &e1000_class);
	e->buf = plat_pages_alloc(ALIGN_UP(NET_FRAME_MAX, PAGE_SIZE));
	e->segment = plat_pages_alloc(ALIGN_UP(NET_FRAME_MAX, PAGE_SIZE));
	e->rx = plat_pages_alloc(E_RX_MAX);
	if (!e->buf || !e->segment || !e->rx)
		return err_here(ERR_NOMEM);
	pci_dev_init(&e->pd, &id);
	e1000_nvm_init(e);
	err = pci_bar_add(&e->pd, 0, &mem);
	if (!err)
		err = pci_bar_add(&e->pd, 2, &io);
	if (!err)
		err = pci_attach(w->host, &e->pd, w->slot, 0);
	if (err)
		return err;
	e1000_reset(&e->dev);
	net_attach(w->net, &client);
	e->attached = true;
	*out = e;
	return 0;
}
