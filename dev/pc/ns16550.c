/* SPDX-License-Identifier: ISC */
/* ns16550.c: UART with FIFOs (National PC16550D data sheet) in front of a character stream.
 *
 * Ports are entered by vCPU threads, input by the back end's thread, output by the event loop;
 * u->lock serialises. The transmitter takes no time: what is written has been sent, so THRE and
 * TEMT are always set, and each byte causes a THRE interrupt as soon as it is written. Output is
 * collected and handed over when a millisecond has passed or the buffer is full: a host call for
 * many bytes instead of one for each. */
#include "dev/pc/ns16550.h"

#include "chr/chr.h"
#include "vm/dev.h"
#include "vm/stream.h"
#include "vm/vm.h"

#define FIFO_SIZE   16
#define TX_BATCH    2048
#define TX_DELAY_NS 1000000
#define UART_HZ     UINT64_C(1843200)

enum { RBR_THR, IER, IIR_FCR, LCR, MCR, LSR, MSR, SCR };

#define IER_RDA  BIT(0)
#define IER_THRE BIT(1)
#define IER_RLS  BIT(2)
#define IER_MS   BIT(3)

#define IIR_NONE    0x01
#define IIR_MS      0x00
#define IIR_THRE    0x02
#define IIR_RDA     0x04
#define IIR_RLS     0x06
#define IIR_TIMEOUT 0x0c
#define IIR_FIFO    0xc0

#define FCR_ENABLE   BIT(0)
#define FCR_CLEAR_RX BIT(1)

#define LCR_DLAB BIT(7)

#define MCR_DTR  BIT(0)
#define MCR_RTS  BIT(1)
#define MCR_OUT1 BIT(2)
#define MCR_OUT2 BIT(3) /* on a PC it connects the interrupt */
#define MCR_LOOP BIT(4)

#define LSR_DR     BIT(0)
#define LSR_OE     BIT(1)
#define LSR_PE     BIT(2)
#define LSR_FE     BIT(3)
#define LSR_BI     BIT(4)
#define LSR_THRE   BIT(5)
#define LSR_TEMT   BIT(6)
#define LSR_FIFO   BIT(7)
#define LSR_ERRORS (LSR_OE | LSR_PE | LSR_FE | LSR_BI)

#define MSR_DELTA 0x0f
#define MSR_TERI  BIT(2)
#define MSR_CTS   BIT(4)
#define MSR_DSR   BIT(5)
#define MSR_RI    BIT(6)
#define MSR_DCD   BIT(7)

struct rx_char {
	uint8_t data;
	uint8_t errors; /* LSR_PE, LSR_FE, LSR_BI */
};

struct ns16550 {
	struct dev dev;
	struct irq_line irq;
	struct chr *chr;
	struct plat_mutex lock; /* RANK_DEVICE: all below */
	uint8_t ier, fcr, lcr, mcr, scr;
	uint16_t divisor;
	uint8_t msr;
	bool overrun;      /* LSR.OE */
	bool thre_pending; /* THRE interrupt not seen yet */
	bool timeout;      /* input has waited in the FIFO for four characters' time */
	bool starved;      /* the back end had more than we took */
	struct rx_char rx[FIFO_SIZE];
	unsigned rx_head, rx_count;
	struct plat_timer rx_timer;

	uint8_t tx[TX_BATCH];
	unsigned tx_count;
	struct plat_timer tx_timer;
};

static bool fifo_on(const struct ns16550 *u)
{
	return u->fcr & FCR_ENABLE;
}

static unsigned rx_capacity(const struct ns16550 *u)
{
	return fifo_on(u) ? FIFO_SIZE : 1;
}

static unsigned rx_trigger(const struct ns16550 *u)
{
	static const uint8_t level[4] = {1, 4, 8, 14};

	return fifo_on(u) ? level[u->fcr >> 6] : 1;
}

static uint8_t line_status(const struct ns16550 *u)
{
	unsigned v = LSR_THRE | LSR_TEMT;

	if (u->overrun)
		v |= LSR_OE;
	if (u->rx_count)
		v |= LSR_DR | u->rx[u->rx_head].errors;
	if (fifo_on(u))
		for (unsigned i = 0; i < u->rx_count; i++)
			if (u->rx[(u->rx_head + i) % FIFO_SIZE].errors)
				v |= LSR_FIFO;
	return (uint8_t)v;
}

/* The interrupt with the highest priority (table 4), without the FIFO bits. */
static uint8_t interrupt_id(const struct ns16550 *u)
{
	if ((u->ier & IER_RLS) && (line_status(u) & LSR_ERRORS))
		return IIR_RLS;
	if ((u->ier & IER_RDA) && u->rx_count >= rx_trigger(u))
		return IIR_RDA;
	if ((u->ier & IER_RDA) && u->timeout && u->rx_count)
		return IIR_TIMEOUT;
	if ((u->ier & IER_THRE) && u->thre_pending)
		return IIR_THRE;
	if ((u->ier & IER_MS) && (u->msr & MSR_DELTA))
		return IIR_MS;
	return IIR_NONE;
}

static void irq_update(struct ns16550 *u)
{
	irq_set(&u->irq, (u->mcr & MCR_OUT2) && interrupt_id(u) != IIR_NONE);
}

/* What rules say of n characters; what they provide is told by who listens to the line. */
static bool allowed(struct ns16550 *u, uint8_t op, size_t n)
{
	struct mon_event ev = {.cls = MON_CONSOLE, .op = op, .vcpu = -1, .value = n};
	struct monitor *mon = &u->dev.vm->mon;

	if (!mon_rules(mon, MON_CONSOLE))
		return true;
	mon_ask(mon, &ev);
	if (ev.rule)
		mon_tell(mon, &ev);
	return ev.verdict != MON_DENY;
}

/* ---- receiver -------------------------------------------------------------------------------- */

/* Four characters of ten bits at the programmed speed */
static uint64_t timeout_ns(const struct ns16550 *u)
{
	return 40 * 16 * (uint64_t)(u->divisor ? u->divisor : 1) * NS_PER_SEC / UART_HZ;
}

static void rx_watch(struct ns16550 *u)
{
	u->timeout = false;
	if (fifo_on(u) && u->rx_count && u->rx_count < rx_trigger(u))
		plat_timer_arm(&u->rx_timer, plat_now() + timeout_ns(u));
}

static void rx_timed_out(void *arg)
{
	struct ns16550 *u = arg;

	plat_mutex_lock(&u->lock);
	if (fifo_on(u) && u->rx_count) {
		u->timeout = true;
		irq_update(u);
	}
	plat_mutex_unlock(&u->lock);
}

static void rx_put(struct ns16550 *u, uint8_t data, uint8_t errors)
{
	if (u->rx_count == rx_capacity(u)) {
		u->overrun = true;
		if (!fifo_on(u)) /* the new character replaces the old */
			u->rx[u->rx_head] = (struct rx_char){data, errors};
		return;
	}
	u->rx[(u->rx_head + u->rx_count++) % FIFO_SIZE] = (struct rx_char){data, errors};
}

static size_t uart_receive(void *dev, const uint8_t *buf, size_t len)
{
	struct ns16550 *u = dev;
	size_t n = 0, room = 0;

	plat_mutex_lock(&u->lock);
	/* In loopback the line is disconnected: input waits outside rather than being lost. */
	if (!(u->mcr & MCR_LOOP))
		room = MIN(len, (size_t)(rx_capacity(u) - MIN(u->rx_count, rx_capacity(u))));
	if (room && !allowed(u, CONSOLE_IN, room))
		n = room;
	while (n < room)
		rx_put(u, buf[n++], 0);
	u->starved = n < len;
	if (n) {
		rx_watch(u);
		irq_update(u);
	}
	plat_mutex_unlock(&u->lock);
	return n;
}

void ns16550_break(struct ns16550 *u)
{
	plat_mutex_lock(&u->lock);
	if (!(u->mcr & MCR_LOOP)) {
		rx_put(u, 0, LSR_BI);
		rx_watch(u);
		irq_update(u);
	}
	plat_mutex_unlock(&u->lock);
}

static uint8_t rbr_read(struct ns16550 *u)
{
	uint8_t v = u->rx[u->rx_head].data;

	if (!u->rx_count)
		return v; /* the last one stays to be seen */
	if (u->rx_count > 1 || fifo_on(u))
		u->rx_head = (u->rx_head + 1) % FIFO_SIZE;
	u->rx_count--;
	rx_watch(u);
	return v;
}

/* ---- transmitter ----------------------------------------------------------------------------- */

/* With the lock held: keeps the order of what several threads flush. */
static void tx_flush(struct ns16550 *u)
{
	unsigned n = u->tx_count;

	u->tx_count = 0;
	if (n && u->chr && allowed(u, CONSOLE_OUT, n))
		chr_write(u->chr, u->tx, n);
}

void ns16550_flush(struct ns16550 *u)
{
	plat_mutex_lock(&u->lock);
	tx_flush(u);
	plat_mutex_unlock(&u->lock);
}

static void tx_timed_out(void *arg)
{
	ns16550_flush(arg);
}

static void thr_write(struct ns16550 *u, uint8_t v)
{
	if (u->mcr & MCR_LOOP) {
		rx_put(u, v, 0);
		rx_watch(u);
	} else {
		if (!u->tx_count)
			plat_timer_arm(&u->tx_timer, plat_now() + TX_DELAY_NS);
		u->tx[u->tx_count++] = v;
		if (u->tx_count == TX_BATCH)
			tx_flush(u);
	}
	u->thre_pending = true; /* sent already, and empty again */
}

/* ---- registers ------------------------------------------------------------------------------- */

static void modem_set(struct ns16550 *u, unsigned lines)
{
	unsigned old = u->msr & ~MSR_DELTA, delta = (old ^ lines) >> 4;

	/* TERI tells only of the end of a ring. */
	if ((delta & MSR_TERI) && (lines & MSR_RI))
		delta &= ~MSR_TERI;
	u->msr = (uint8_t)(lines | (u->msr & MSR_DELTA) | delta);
}

static void mcr_write(struct ns16550 *u, uint8_t v)
{
	unsigned lines = u->chr ? MSR_DCD | MSR_DSR | MSR_CTS : 0;

	u->mcr = v & 0x1f;
	if (v & MCR_LOOP) {
		lines = 0;
		lines |= v & MCR_DTR ? MSR_DSR : 0;
		lines |= v & MCR_RTS ? MSR_CTS : 0;
		lines |= v & MCR_OUT1 ? MSR_RI : 0;
		lines |= v & MCR_OUT2 ? MSR_DCD : 0;
	}
	modem_set(u, lines);
}

static void rx_clear(struct ns16550 *u)
{
	u->rx_head = u->rx_count = 0;
	u->timeout = false;
}

static void fcr_write(struct ns16550 *u, uint8_t v)
{
	/* The FIFOs are emptied when they are switched; other bits need the enable bit. */
	if ((v ^ u->fcr) & FCR_ENABLE)
		rx_clear(u);
	if (!(v & FCR_ENABLE)) {
		u->fcr = 0;
		return;
	}
	if (v & FCR_CLEAR_RX)
		rx_clear(u);
	u->fcr = v & 0xc9;
	rx_watch(u);
}

static void ier_write(struct ns16550 *u, uint8_t v)
{
	/* Enabling THRE interrupts while the register is empty gives one: drivers start with it. */
	if ((v & IER_THRE) && !(u->ier & IER_THRE))
		u->thre_pending = true;
	u->ier = v & 0x0f;
}

static uint8_t iir_read(struct ns16550 *u)
{
	uint8_t id = interrupt_id(u);

	if (id == IIR_THRE)
		u->thre_pending = false;
	return id | (fifo_on(u) ? IIR_FIFO : 0);
}

static uint8_t lsr_read(struct ns16550 *u)
{
	uint8_t v = line_status(u);

	u->overrun = false;
	if (u->rx_count)
		u->rx[u->rx_head].errors = 0;
	return v;
}

static uint8_t msr_read(struct ns16550 *u)
{
	uint8_t v = u->msr;

	u->msr &= (uint8_t)~MSR_DELTA;
	return v;
}

static uint8_t reg_read(struct ns16550 *u, uint64_t reg)
{
	switch (reg) {
	case RBR_THR:
		return u->lcr & LCR_DLAB ? (uint8_t)u->divisor : rbr_read(u);
	case IER:
		return u->lcr & LCR_DLAB ? (uint8_t)(u->divisor >> 8) : u->ier;
	case IIR_FCR:
		return iir_read(u);
	case LCR:
		return u->lcr;
	case MCR:
		return u->mcr;
	case LSR:
		return lsr_read(u);
	case MSR:
		return msr_read(u);
	default:
		return u->scr;
	}
}

static void reg_write(struct ns16550 *u, uint64_t reg, uint8_t v)
{
	switch (reg) {
	case RBR_THR:
		if (u->lcr & LCR_DLAB)
			u->divisor = (uint16_t)((u->divisor & 0xff00) | v);
		else
			thr_write(u, v);
		break;
	case IER:
		if (u->lcr & LCR_DLAB)
			u->divisor = (uint16_t)((u->divisor & 0x00ff) | v << 8);
		else
			ier_write(u, v);
		break;
	case IIR_FCR:
		fcr_write(u, v);
		break;
	case LCR:
		u->lcr = v;
		break;
	case MCR:
		mcr_write(u, v);
		break;
	case SCR:
		u->scr = v;
		break;
	default: /* LSR and MSR: for factory tests only */
		break;
	}
}

/* The back end may go on: it is told without our lock, as it gives input from within. */
static bool wants_input(struct ns16550 *u)
{
	if (!u->starved || u->rx_count || (u->mcr & MCR_LOOP) || !u->chr)
		return false;
	u->starved = false;
	return true;
}

static uint64_t uart_read(void *dev, uint64_t off, unsigned size)
{
	struct ns16550 *u = dev;
	bool more;
	uint8_t v;

	plat_mutex_lock(&u->lock);
	v = reg_read(u, off);
	if (off != LSR || (v & LSR_ERRORS)) /* polling drivers read little else */
		irq_update(u);
	more = wants_input(u);
	plat_mutex_unlock(&u->lock);
	if (more)
		chr_rx_ready(u->chr);
	return v;
}

static void uart_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct ns16550 *u = dev;
	bool more;

	plat_mutex_lock(&u->lock);
	reg_write(u, off, (uint8_t)value);
	irq_update(u);
	more = wants_input(u);
	plat_mutex_unlock(&u->lock);
	if (more)
		chr_rx_ready(u->chr);
}

static void ns16550_reset(struct dev *dev)
{
	struct ns16550 *u = container_of(dev, struct ns16550, dev);

	plat_mutex_lock(&u->lock);
	tx_flush(u);
	u->ier = u->fcr = u->lcr = u->scr = 0;
	u->divisor = 12; /* undefined in the data sheet: 9600 */
	u->overrun = u->thre_pending = false;
	rx_clear(u);
	mcr_write(u, 0);
	u->msr &= (uint8_t)~MSR_DELTA;
	irq_update(u);
	plat_mutex_unlock(&u->lock);
}

/* The VM has ended its loop before: no timer runs any more. */
static void ns16550_destroy(struct dev *dev)
{
	struct ns16550 *u = container_of(dev, struct ns16550, dev);

	if (u->chr)
		chr_detach(u->chr);
	ns16550_flush(u);
	plat_free(u);
}

#define U struct ns16550
static const struct st_field uart_fields[] = {
	ST_U(U, ier),
	ST_U(U, fcr),
	ST_U(U, lcr),
	ST_U(U, mcr),
	ST_U(U, scr),
	ST_U(U, divisor),
	ST_U(U, msr),
	ST_B(U, overrun),
	ST_B(U, thre_pending),
	ST_B(U, timeout),
	ST_RAW(U, rx),
	ST_UMAX(U, rx_head, FIFO_SIZE - 1),
	ST_UMAX(U, rx_count, FIFO_SIZE),
};
#undef U

static int ns16550_state(struct dev *dev, struct state_stream *st)
{
	struct ns16550 *u = container_of(dev, struct ns16550, dev);
	bool more;

	plat_mutex_lock(&u->lock);
	tx_flush(u);
	ST_SYNC(st, "uart", 0, uart_fields, u);
	if (st->loading && !st->err) {
		rx_watch(u);
		irq_update(u);
		u->starved = true; /* the back end may have had input before */
	}
	more = st->loading && !st->err && wants_input(u);
	plat_mutex_unlock(&u->lock);
	if (more && u->chr)
		chr_rx_ready(u->chr);
	return st->err;
}

static const struct dev_class ns16550_class = {
	.name = "ns16550",
	.reset = ns16550_reset,
	.state = ns16550_state,
	.destroy = ns16550_destroy,
};

static const struct bus_region uart_region = {
	.name = "ns16550",
	.len = 8,
	.min = 1,
	.max = 1,
	.read = uart_read,
	.write = uart_write,
};

int ns16550_create(struct vm *vm, const struct ns16550_wiring *w, struct ns16550 **out)
{
	struct ns16550 *u = plat_alloc(sizeof(*u));
	const struct chr_client client = {uart_receive, u};
	int err;

	if (!u)
		return err_here(ERR_NOMEM);
	u->irq = w->irq;
	u->chr = w->chr;
	plat_mutex_init(&u->lock, RANK_DEVICE);
	plat_timer_init(&u->rx_timer, vm->loop, rx_timed_out, u);
	plat_timer_init(&u->tx_timer, vm->loop, tx_timed_out, u);
	ns16550_reset(&u->dev);
	err = bus_map_at(&vm->pio, w->base, &uart_region, u);
	if (err) {
		plat_free(u);
		return err;
	}
	if (u->chr)
		chr_attach(u->chr, &client);
	vm_add_dev(vm, &u->dev, &ns16550_class);
	*out = u;
	return 0;
}
