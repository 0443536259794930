/* SPDX-License-Identifier: ISC */
/* parport.c: parallel port (IBM PS/2 Hardware Interface Technical Reference, parallel port; IEEE 1284,
 * compatibility mode) with a printer behind it, whose paper is a character stream.
 *
 * A byte is taken when STROBE falls on the wire. The printer is busy and acknowledges until the guest has looked
 * at the status once: a driver that waits for the pulse must not miss it, however long its look takes.
 * The interrupt is that pulse's end: the line rises when STROBE is over, and falls when the status is read, which
 * tells of it too, or with the next byte.
 *
 * Ports are entered by vCPU threads, the timer by the event loop; p->lock serialises. */
#include "dev/pc/parport.h"

#include "chr/chr.h"
#include "vm/dev.h"
#include "vm/stream.h"
#include "vm/vm.h"

#define TX_BATCH    2048
#define TX_DELAY_NS 1000000

enum { DATA, STATUS, CONTROL };

#define STATUS_NBUSY BIT(7)
#define STATUS_NACK  BIT(6)
#define STATUS_SLCT  BIT(4) /* on line; not out of paper: bit 5 */
#define STATUS_NERR  BIT(3)
#define STATUS_NIRQ  BIT(2) /* the two below are zero: the BIOS hands one on as "time is over" */

#define CONTROL_STROBE BIT(0) /* this and the next: low on the wire when set */
#define CONTROL_INIT   BIT(2) /* not being initialized */
#define CONTROL_IRQ    BIT(4)
#define CONTROL_IN     BIT(5) /* the data lines are not driven */
#define CONTROL_BITS   0x3f
#define CONTROL_ONES   0xc0

struct parport {
	struct dev dev;
	struct irq_line irq;
	struct chr *chr;
	struct plat_mutex lock; /* RANK_DEVICE: all below */
	uint8_t data, control;
	bool ack; /* a byte has been taken, and the status was not read since */
	bool irq_pending;

	uint8_t tx[TX_BATCH];
	unsigned tx_count;
	struct plat_timer tx_timer;
};

/* With the lock held: keeps the order of what several threads flush. */
static void tx_flush(struct parport *p)
{
	unsigned n = p->tx_count;

	p->tx_count = 0;
	if (n)
		chr_write(p->chr, p->tx, n);
}

static void tx_timed_out(void *arg)
{
	struct parport *p = arg;

	plat_mutex_lock(&p->lock);
	tx_flush(p);
	plat_mutex_unlock(&p->lock);
}

static void print(struct parport *p)
{
	if (!p->tx_count)
		plat_timer_arm(&p->tx_timer, plat_now() + TX_DELAY_NS);
	p->tx[p->tx_count++] = p->data;
	if (p->tx_count == TX_BATCH)
		tx_flush(p);
	p->ack = true;
}

static void set_irq(struct parport *p, bool pending)
{
	p->irq_pending = pending;
	irq_set(&p->irq, pending && (p->control & CONTROL_IRQ));
}

static uint8_t status_read(struct parport *p)
{
	uint8_t v = STATUS_SLCT | STATUS_NERR;

	if (!p->ack)
		v |= STATUS_NBUSY | STATUS_NACK;
	if (!p->irq_pending)
		v |= STATUS_NIRQ;
	if (!(p->control & CONTROL_STROBE)) {
		p->ack = false;
		set_irq(p, false);
	}
	return v;
}

static void control_write(struct parport *p, uint8_t v)
{
	uint8_t old = p->control;

	p->control = v & CONTROL_BITS;
	if ((v & CONTROL_INIT) && !(v & CONTROL_IN) && (v & ~old & CONTROL_STROBE)) {
		set_irq(p, false);
		print(p);
	} else if (!(v & CONTROL_STROBE) && (old & CONTROL_STROBE) && p->ack) {
		set_irq(p, true);
	} else {
		set_irq(p, p->irq_pending); /* enabled or not */
	}
}

static uint64_t port_read(void *dev, uint64_t off, unsigned size)
{
	struct parport *p = dev;
	uint8_t v;

	plat_mutex_lock(&p->lock);
	if (off == DATA) /* nobody else drives the lines */
		v = p->control & CONTROL_IN ? 0xff : p->data;
	else if (off == STATUS)
		v = status_read(p);
	else
		v = p->control | CONTROL_ONES;
	plat_mutex_unlock(&p->lock);
	return v;
}

static void port_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct parport *p = dev;

	plat_mutex_lock(&p->lock);
	if (off == DATA)
		p->data = (uint8_t)value;
	else if (off == CONTROL)
		control_write(p, (uint8_t)value);
	plat_mutex_unlock(&p->lock);
}

static void parport_reset(struct dev *dev)
{
	struct parport *p = container_of(dev, struct parport, dev);

	plat_mutex_lock(&p->lock);
	p->data = p->control = 0;
	p->ack = false;
	set_irq(p, false);
	plat_mutex_unlock(&p->lock);
}

#define P struct parport
static const struct st_field port_fields[] = {
	ST_U(P, data),
	ST_UMAX(P, control, CONTROL_BITS),
	ST_B(P, ack),
	ST_B(P, irq_pending),
};
#undef P

static int parport_state(struct dev *dev, struct state_stream *st)
{
	struct parport *p = container_of(dev, struct parport, dev);

	plat_mutex_lock(&p->lock);
	tx_flush(p);
	ST_SYNC(st, "port", 0, port_fields, p);
	plat_mutex_unlock(&p->lock);
	return st->err;
}

static void parport_destroy(struct dev *dev)
{
	struct parport *p = container_of(dev, struct parport, dev);

	plat_timer_cancel(&p->tx_timer);
	tx_flush(p);
	plat_free(p);
}

static const struct dev_class parport_class = {
	.name = "parport",
	.reset = parport_reset,
	.state = parport_state,
	.destroy = parport_destroy,
};

static const struct bus_region port_region = {
	.name = "parport", .len = 3, .min = 1, .max = 1, .read = port_read, .write = port_write};

int parport_create(struct vm *vm, const struct parport_wiring *w, struct parport **out)
{
	struct parport *p = plat_alloc(sizeof(*p));
	int err;

	if (!p)
		return err_here(ERR_NOMEM);
	p->irq = w->irq;
	p->chr = w->chr;
	plat_mutex_init(&p->lock, RANK_DEVICE);
	plat_timer_init(&p->tx_timer, vm->loop, tx_timed_out, p);
	err = bus_map_at(&vm->pio, w->base, &port_region, p);
	if (err) {
		plat_free(p);
		return err;
	}
	vm_add_dev(vm, &p->dev, &parport_class);
	*out = p;
	return 0;
}
