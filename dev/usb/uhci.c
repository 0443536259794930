/* SPDX-License-Identifier: ISC */
/* uhci.c: USB function of the 82371SB (Intel 290550, 2.4 and 2.6; Universal Host Controller Interface
 * Design Guide 1.1) with two ports.
 *
 * The hardware looks at the guest's schedule once in each frame of 1 ms, and the guest tells it nothing.
 * Here a timer does so, for all frames that have passed. While transfers are completed it comes with every
 * frame; where nothing happens it comes less and less often, so that an idle bus costs little. A device
 * with news, or a register that the guest writes, makes it come with the next frame again.
 *
 * A frame's list leads to transfer descriptors (TDs), each of which is one packet, and to queue heads
 * (QHs), in whose queue of TDs the first one is tried. QHs may form a ring, around which the hardware goes
 * until the frame is over; here until once around nothing has happened.
 *
 * Registers enter from vCPU threads, frames from the VM's loop, devices' news from those who type;
 * u->lock serialises. */
#include "dev/usb/uhci.h"

#include "base/str.h"
#include "dev/pci/pci.h"
#include "dev/usb/usb.h"
#include "vm/dev.h"
#include "vm/stream.h"
#include "vm/vm.h"

#define FRAME_NS   (NS_PER_SEC / 1000)
#define SLOW       16 /* frames between two looks at an idle schedule */
#define BEHIND_MAX 64 /* frames; those before are lost */
#define FRAMES     1024u
#define FRAME_MASK 0x7ffu

/* What fits into a frame: 12000 bits, of which each packet takes some 13 bytes (USB 1.1, 5.9) */
#define FRAME_BYTES 1280
#define OVERHEAD    13
#define VISITS_MAX  1024 /* pointers followed in a frame */

/* Registers */
enum { USBCMD = 0, USBSTS = 2, USBINTR = 4, FRNUM = 6, FLBASE = 8, SOFMOD = 12, PORTSC = 16 };
#define PORTS_LEN 32

#define CMD_RS      BIT(0)
#define CMD_HCRESET BIT(1)
#define CMD_GRESET  BIT(2)
#define CMD_EGSM    BIT(3)
#define CMD_BITS    0xff

#define STS_INT    BIT(0)
#define STS_ERR    BIT(1)
#define STS_RESUME BIT(2)
#define STS_HOST   BIT(3) /* host system error */
#define STS_BAD    BIT(4) /* host controller process error: the schedule makes no sense */
#define STS_HALTED BIT(5)
#define STS_W1C    0x1f

#define INTR_ERR    BIT(0)
#define INTR_RESUME BIT(1)
#define INTR_IOC    BIT(2)
#define INTR_SHORT  BIT(3)

#define PORT_CONNECT BIT(0)
#define PORT_CSC     BIT(1)
#define PORT_ENABLE  BIT(2)
#define PORT_ENC     BIT(3)
#define PORT_D_PLUS  BIT(4)
#define PORT_RESUME  BIT(6)
#define PORT_ONE     BIT(7)
#define PORT_RESET   BIT(9)
#define PORT_SUSPEND BIT(12)
#define PORT_W1C     (PORT_CSC | PORT_ENC)
#define PORT_RW      (PORT_ENABLE | PORT_RESUME | PORT_RESET | PORT_SUSPEND)

/* Pointers */
#define PTR_END   BIT(0)
#define PTR_QH    BIT(1)
#define PTR_DEPTH BIT(2)
#define PTR_MASK  0xfffffff0u

/* Second word of a TD */
#define TD_ACTLEN  0x7ffu
#define TD_TIMEOUT BIT(18)
#define TD_NAK     BIT(19)
#define TD_BABBLE  BIT(20)
#define TD_STALLED BIT(22)
#define TD_ACTIVE  BIT(23)
#define TD_STATUS  0x00ff0000u
#define TD_IOC     BIT(24)
#define TD_ERRORS  (BIT(27) | BIT(28)) /* how many more are allowed; 0: any number */
#define TD_ERROR1  BIT(27)
#define TD_SPD     BIT(29) /* a short packet ends the queue's transfer */
#define TD_LEN_MAX 0x4ffu

/* Configuration space */
#define CFG_SBRN       0x60
#define CFG_LEGSUP     0xc0
#define LEGSUP_INIT    0x2000
#define LEGSUP_RW      0x20bf
#define LEGSUP_W1C     0x8f00
#define LEGSUP_PIRQDEN 0x2000 /* interrupts reach the router */

struct uhci {
	struct dev dev;
	struct pci_dev pd;
	struct plat_timer timer;

	struct plat_mutex lock; /* RANK_DEVICE: all below */
	struct usb_dev *device[UHCI_PORTS];
	uint16_t cmd, sts, intr;
	uint16_t frnum; /* of the next frame to be looked at */
	uint32_t flbase;
	uint8_t sofmod;
	uint16_t portsc[UHCI_PORTS];
	bool ioc, is_short; /* what STS_INT stands for */
	bool pirq;          /* LEGSUP_PIRQDEN */
	bool pin;
	bool frozen;
	uint64_t epoch;   /* when frame frnum began */
	uint8_t interval; /* frames from one look to the next */
	uint8_t packet[TD_LEN_MAX + 1];
};

struct td {
	uint32_t link, ctrl, token, buffer;
};

/* One frame */
struct walk {
	unsigned visits;
	int bytes; /* that still fit in */
	/* a QH that has been seen, and whether a packet has gone since: finds rings (Brent) */
	uint32_t mark;
	bool moved;
	unsigned steps, power;
};

/* ---- interrupts ------------------------------------------------------------------------------------ */

static void irq_update(struct uhci *u)
{
	bool level = ((u->sts & STS_INT) && ((u->ioc && (u->intr & INTR_IOC)) ||
					     (u->is_short && (u->intr & INTR_SHORT)))) ||
		     ((u->sts & STS_ERR) && (u->intr & INTR_ERR)) ||
		     ((u->sts & STS_RESUME) && (u->intr & INTR_RESUME)) ||
		     (u->sts & (STS_HOST | STS_BAD));

	level = level && u->pirq;
	if (level == u->pin)
		return;
	u->pin = level;
	pci_intx(&u->pd, level);
}

/* ---- packets ----------------------------------------------------------------------------------------- */

static void halt(struct uhci *u, uint16_t why)
{
	u->cmd &= (uint16_t)~CMD_RS;
	u->sts |= STS_HALTED | why;
}

static bool guest_read(struct uhci *u, uint32_t at, void *buf, unsigned len)
{
	if (!atomic_load_explicit(&u->pd.master, memory_order_acquire) ||
	    mem_read(u->dev.vm, at, buf, len)) {
		halt(u, STS_HOST);
		return false;
	}
	return true;
}

static bool guest_write(struct uhci *u, uint32_t at, const void *buf, unsigned len)
{
	if (mem_write(u->dev.vm, at, buf, len)) {
		halt(u, STS_HOST);
		return false;
	}
	return true;
}

static bool port_up(const struct uhci *u, unsigned i)
{
	return u->device[i] && (u->portsc[i] & PORT_ENABLE) &&
	       !(u->portsc[i] & (PORT_RESET | PORT_SUSPEND | PORT_RESUME));
}

static struct usb_dev *device_at(const struct uhci *u, unsigned address)
{
	for (unsigned i = 0; i < UHCI_PORTS; i++)
		if (port_up(u, i) && u->device[i]->address == address)
			return u->device[i];
	return NULL;
}

static void failed(struct uhci *u, struct td *td, uint32_t why)
{
	td->ctrl = (td->ctrl & ~TD_ACTIVE) | why | TD_STALLED;
	u->sts |= STS_ERR;
}

/* Nobody answers: the packet is tried again until the errors are used up (3.2.2, C_ERR). */
static void no_answer(struct uhci *u, struct td *td)
{
	td->ctrl |= TD_TIMEOUT;
	if (!(td->ctrl & TD_ERRORS))
		return;
	td->ctrl -= TD_ERROR1;
	if (!(td->ctrl & TD_ERRORS))
		failed(u, td, TD_TIMEOUT);
}

/* The packet of a TD; td->ctrl becomes what it is afterwards. */
static void exchange(struct uhci *u, struct td *td, unsigned len)
{
	enum usb_pid pid = td->token & 0xff;
	struct usb_dev *d = device_at(u, td->token >> 8 & 0x7f);
	int n;

	if (!d) {
		no_answer(u, td);
		return;
	}
	if (pid != USB_IN && len && !guest_read(u, td->buffer, u->packet, len))
		return;
	n = usb_packet(d, pid, td->token >> 15 & 0xf, u->packet, len);
	if (n == USB_NAK) {
		td->ctrl |= TD_NAK;
	} else if (n < 0) {
		failed(u, td, 0);
	} else if ((unsigned)n > len) {
		failed(u, td, TD_BABBLE);
	} else {
		if (pid == USB_IN && n && !guest_write(u, td->buffer, u->packet, (unsigned)n))
			return;
		td->ctrl = (td->ctrl & ~(TD_STATUS | TD_ACTLEN)) | ((uint32_t)(n - 1) & TD_ACTLEN);
	}
}

static bool token_ok(uint32_t token)
{
	unsigned pid = token & 0xff, len = token >> 21;

	return (pid == USB_IN || pid == USB_OUT || pid == USB_SETUP) &&
	       (len <= TD_LEN_MAX || len == TD_ACTLEN);
}

/* True: the TD has been done with, and its queue may go on to the next. */
static bool transfer(struct uhci *u, struct walk *w, uint32_t at, struct td *td, bool queued)
{
	uint32_t before = td->ctrl;
	unsigned len = ((td->token >> 21) + 1) & TD_ACTLEN;
	bool is_short = false, done;

	if (before & TD_ACTIVE) {
		if (!token_ok(td->token)) {
			halt(u, STS_BAD);
			return false;
		}
		w->bytes -= (int)len + OVERHEAD;
		exchange(u, td, len);
		if (td->ctrl != before && !guest_write(u, at + 4, &td->ctrl, 4))
			return false;
	}
	if (td->ctrl & TD_ACTIVE)
		return false;
	done = !(td->ctrl & TD_STALLED) && (before & TD_ACTIVE);
	if (done && queued && (td->ctrl & TD_SPD) && (td->token & 0xff) == USB_IN)
		is_short = ((td->ctrl + 1) & TD_ACTLEN) < len;
	if (before & TD_ACTIVE)
		w->moved = true;
	if (is_short || (td->ctrl & TD_IOC)) { /* of one that was inactive too (3.2.2, IOC) */
		w->moved |= !(u->sts & STS_INT);
		u->sts |= STS_INT;
		u->ioc |= td->ctrl & TD_IOC;
		u->is_short |= is_short;
	}
	return done && !is_short;
}

/* ---- frames ------------------------------------------------------------------------------------------- */

/* Tries the first TD of a queue, and those behind it as far as they say so; gives what comes next. */
static uint32_t queue(struct uhci *u, struct walk *w, uint32_t at)
{
	uint32_t qh[2], element;
	struct td td;

	if (!guest_read(u, at, qh, sizeof(qh)))
		return PTR_END;
	element = qh[1];
	while (!(element & PTR_END) && w->visits++ < VISITS_MAX && w->bytes > 0) {
		if (element & PTR_QH)
			return element;
		if (!guest_read(u, element & PTR_MASK, &td, sizeof(td)) ||
		    !transfer(u, w, element & PTR_MASK, &td, true) ||
		    !guest_write(u, at + 4, &td.link, 4))
			break;
		element = td.link;
		if (!(element & PTR_DEPTH))
			break;
	}
	return qh[0];
}

/* Once around a ring of QHs without a packet: nothing will happen any more in this frame. */
static bool around(struct walk *w, uint32_t at)
{
	if (at == w->mark) {
		if (!w->moved)
			return true;
		w->moved = false;
	}
	if (++w->steps == w->power) {
		w->mark = at;
		w->moved = false;
		w->steps = 0;
		w->power *= 2;
	}
	return false;
}

/* True: something has happened in the frame. */
static bool frame(struct uhci *u)
{
	struct walk w = {.bytes = FRAME_BYTES, .mark = PTR_END, .power = 1};
	bool any = false;
	uint32_t link;
	struct td td;

	if (!guest_read(u, u->flbase + (u->frnum % FRAMES) * 4, &link, 4))
		return true;
	while ((u->cmd & CMD_RS) && !(link & PTR_END) && w.visits++ < VISITS_MAX && w.bytes > 0) {
		uint32_t at = link & PTR_MASK;

		if (link & PTR_QH) {
			if (around(&w, at))
				break;
			link = queue(u, &w, at);
		} else if (guest_read(u, at, &td, sizeof(td))) {
			(void)transfer(u, &w, at, &td, false);
			link = td.link;
		}
		any |= w.moved;
	}
	return any;
}

static bool running(const struct uhci *u)
{
	return (u->cmd & CMD_RS) && !u->frozen;
}

static void arm(struct uhci *u)
{
	if (running(u))
		plat_timer_arm(&u->timer, u->epoch + u->interval * FRAME_NS);
}

static void on_timer(void *arg)
{
	struct uhci *u = arg;
	uint64_t now = plat_now(), due;
	bool any = false;

	plat_mutex_lock(&u->lock);
	if (running(u)) {
		due = now > u->epoch ? (now - u->epoch) / FRAME_NS : 0;
		if (due > BEHIND_MAX) {
			u->frnum = (uint16_t)((u->frnum + due - BEHIND_MAX) & FRAME_MASK);
			u->epoch += (due - BEHIND_MAX) * FRAME_NS;
			due = BEHIND_MAX;
		}
		for (; due && (u->cmd & CMD_RS); due--) {
			any |= frame(u);
			u->frnum = (u->frnum + 1) & FRAME_MASK;
			u->epoch += FRAME_NS;
		}
		u->interval = any ? 1 : (uint8_t)MIN(2 * u->interval, SLOW);
		irq_update(u);
		arm(u);
	}
	plat_mutex_unlock(&u->lock);
}

/* Lock held. */
static void hurry(struct uhci *u)
{
	u->interval = 1;
	arm(u);
}

/* A device has news: for its next IN, or for a bus that sleeps (2.1.7, Resume Detect). */
static void on_wake(void *host)
{
	struct uhci *u = host;

	plat_mutex_lock(&u->lock);
	for (unsigned i = 0; i < UHCI_PORTS; i++) {
		struct usb_dev *d = u->device[i];

		if (!d || !d->remote_wakeup || !(u->portsc[i] & PORT_ENABLE))
			continue;
		if (u->portsc[i] & PORT_SUSPEND)
			u->portsc[i] |= PORT_RESUME;
		if ((u->portsc[i] & PORT_SUSPEND) || (u->cmd & CMD_EGSM))
			u->sts |= STS_RESUME;
	}
	irq_update(u);
	hurry(u);
	plat_mutex_unlock(&u->lock);
}

/* ---- registers ------------------------------------------------------------------------------------------ */

static uint16_t frame_now(const struct uhci *u)
{
	uint64_t now = plat_now();

	if (!running(u) || now < u->epoch)
		return u->frnum;
	return (uint16_t)((u->frnum + (now - u->epoch) / FRAME_NS) & FRAME_MASK);
}

static void bus_reset(struct uhci *u)
{
	for (unsigned i = 0; i < UHCI_PORTS; i++) {
		u->portsc[i] = u->device[i] ? PORT_CONNECT | PORT_CSC : 0;
		if (u->device[i])
			usb_reset(u->device[i]);
	}
}

static void controller_reset(struct uhci *u)
{
	u->cmd = u->intr = 0;
	u->sts = STS_HALTED;
	u->frnum = 0;
	u->flbase = 0;
	u->sofmod = 0x40;
	u->ioc = u->is_short = false;
	u->interval = 1;
	bus_reset(u);
	irq_update(u);
}

static void command(struct uhci *u, uint16_t v)
{
	uint16_t old = u->cmd;

	if (v & CMD_HCRESET) {
		controller_reset(u);
		return;
	}
	if (!(v & CMD_RS))
		u->frnum = frame_now(u);
	u->cmd = v & CMD_BITS;
	if ((v & CMD_GRESET) && !(old & CMD_GRESET))
		bus_reset(u);
	if (!(v & CMD_RS)) {
		u->sts |= STS_HALTED;
	} else if (!(old & CMD_RS)) {
		u->sts &= (uint16_t)~STS_HALTED;
		u->epoch = plat_now();
	}
}

static void port_write(struct uhci *u, unsigned i, uint16_t v)
{
	uint16_t old = u->portsc[i], now;

	now = (uint16_t)((old & ~(v & PORT_W1C) & ~PORT_RW) | (v & PORT_RW));
	if (!u->device[i])
		now &= (uint16_t) ~(PORT_RW & ~PORT_RESET);
	if (now & PORT_RESET)
		now &= (uint16_t) ~(PORT_ENABLE | PORT_SUSPEND | PORT_RESUME);
	if ((old & PORT_RESUME) && !(now & PORT_RESUME))
		now &= (uint16_t)~PORT_SUSPEND;
	if ((now & PORT_RESET) && !(old & PORT_RESET) && u->device[i])
		usb_reset(u->device[i]);
	u->portsc[i] = now;
}

static uint16_t port_value(const struct uhci *u, unsigned i)
{
	bool idle = u->device[i] && !(u->portsc[i] & PORT_RESET);

	return u->portsc[i] | PORT_ONE | (idle ? PORT_D_PLUS : 0);
}

/* 16-bit registers; the two halves of FLBASE are apart. */
static uint16_t reg_read(const struct uhci *u, unsigned reg)
{
	switch (reg) {
	case USBCMD:
		return u->cmd;
	case USBSTS:
		return u->sts;
	case USBINTR:
		return u->intr;
	case FRNUM:
		return frame_now(u);
	case FLBASE:
		return (uint16_t)u->flbase;
	case FLBASE + 2:
		return (uint16_t)(u->flbase >> 16);
	case SOFMOD:
		return u->sofmod;
	case PORTSC:
	case PORTSC + 2:
		return port_value(u, (reg - PORTSC) / 2);
	default:
		/* Drivers count ports up to the first register whose bit 7 is clear. */
		return 0;
	}
}

static void reg_write(struct uhci *u, unsigned reg, uint16_t v)
{
	switch (reg) {
	case USBCMD:
		command(u, v);
		break;
	case USBSTS:
		u->sts &= (uint16_t) ~(v & STS_W1C);
		if (!(u->sts & STS_INT))
			u->ioc = u->is_short = false;
		break;
	case USBINTR:
		u->intr = v & 0xf;
		break;
	case FRNUM: /* only while it stands still (2.1.4) */
		if (!(u->cmd & CMD_RS))
			u->frnum = v & FRAME_MASK;
		break;
	case FLBASE:
		u->flbase = (u->flbase & 0xffff0000) | (v & 0xf000);
		break;
	case FLBASE + 2:
		u->flbase = (u->flbase & 0xffff) | (uint32_t)v << 16;
		break;
	case SOFMOD:
		u->sofmod = v & 0x7f;
		break;
	case PORTSC:
	case PORTSC + 2:
		port_write(u, (reg - PORTSC) / 2, v);
		break;
	default:
		break;
	}
}

static uint64_t ports_read(void *dev, uint64_t off, unsigned size)
{
	struct uhci *u = dev;
	uint64_t v = 0;

	plat_mutex_lock(&u->lock);
	for (unsigned i = 0; i < size; i++) {
		unsigned at = (unsigned)off + i;

		v |= (uint64_t)(reg_read(u, at & ~1u) >> 8 * (at & 1) & 0xff) << 8 * i;
	}
	plat_mutex_unlock(&u->lock);
	return v;
}

static void ports_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct uhci *u = dev;

	plat_mutex_lock(&u->lock);
	for (unsigned i = 0; i < size; i += 2) {
		unsigned at = (unsigned)off + i, sh = 8 * (at & 1);
		uint16_t v = (uint16_t)(value >> 8 * i);

		if (size > 1) {
			reg_write(u, at & ~1u, v);
		} else { /* the other byte stays, and clears nothing */
			unsigned w1c = (at & ~1u) == USBSTS ? STS_W1C : 0;
			uint16_t keep;

			if ((at & ~3u) == PORTSC)
				w1c = PORT_W1C;
			keep = (uint16_t)(reg_read(u, at & ~1u) & ~w1c & ~(0xffu << sh));
			reg_write(u, at & ~1u, (uint16_t)(keep | (unsigned)(v & 0xff) << sh));
		}
	}
	irq_update(u);
	hurry(u);
	plat_mutex_unlock(&u->lock);
}

static const struct bus_region ports_region = {.name = "uhci",
					       .len = PORTS_LEN,
					       .min = 1,
					       .max = 4,
					       .read = ports_read,
					       .write = ports_write};

static void config_written(struct pci_dev *pd, unsigned off, unsigned size)
{
	struct uhci *u = container_of(pd, struct uhci, pd);
	bool on = pci_cfg_peek(pd, CFG_LEGSUP, 2) & LEGSUP_PIRQDEN;

	plat_mutex_lock(&u->lock);
	u->pirq = on;
	irq_update(u);
	plat_mutex_unlock(&u->lock);
}

/* ---- the device -------------------------------------------------------------------------------------------- */

static void uhci_reset(struct dev *dev)
{
	struct uhci *u = container_of(dev, struct uhci, dev);

	plat_mutex_lock(&u->lock);
	u->pirq = true;
	controller_reset(u);
	plat_mutex_unlock(&u->lock);
}

#define U struct uhci
static const struct st_field fields[] = {
	ST_UMAX(U, cmd, CMD_BITS),
	ST_UMAX(U, sts, STS_W1C | STS_HALTED),
	ST_UMAX(U, intr, 0xf),
	ST_UMAX(U, frnum, FRAME_MASK),
	ST_U(U, flbase),
	ST_UMAX(U, sofmod, 0x7f),
	ST_A(U, portsc),
	ST_B(U, ioc),
	ST_B(U, is_short),
	ST_B(U, pirq),
	ST_B(U, pin),
	ST_T(U, epoch),
};
#undef U

static int uhci_state(struct dev *dev, struct state_stream *st)
{
	struct uhci *u = container_of(dev, struct uhci, dev);

	if (pci_dev_state(&u->pd, st))
		return st->err;
	plat_mutex_lock(&u->lock);
	ST_SYNC(st, "uhci", 0, fields, u);
	for (unsigned i = 0; i < UHCI_PORTS; i++) {
		if (st->loading) { /* what is plugged in, the machine says */
			u->portsc[i] &= PORT_W1C | PORT_RW;
			u->portsc[i] |= u->device[i] ? PORT_CONNECT : 0;
		}
		if (u->device[i])
			usb_state(u->device[i], st, i);
	}
	u->flbase &= ~0xfffu;
	u->interval = 1;
	plat_mutex_unlock(&u->lock);
	return st->err;
}

static int uhci_freeze(struct dev *dev, bool on)
{
	struct uhci *u = container_of(dev, struct uhci, dev);

	plat_mutex_lock(&u->lock);
	u->frozen = on;
	arm(u);
	plat_mutex_unlock(&u->lock);
	return 0;
}

static void uhci_destroy(struct dev *dev)
{
	struct uhci *u = container_of(dev, struct uhci, dev);

	for (unsigned i = 0; i < UHCI_PORTS; i++)
		if (u->device[i])
			u->device[i]->ops->destroy(u->device[i]);
	plat_timer_cancel(&u->timer);
	plat_free(u);
}

static const struct dev_class uhci_class = {
	.name = "uhci",
	.reset = uhci_reset,
	.state = uhci_state,
	.freeze = uhci_freeze,
	.destroy = uhci_destroy,
};

int uhci_create(struct vm *vm, const struct uhci_wiring *w, struct uhci **out)
{
	static const struct pci_id id = {.name = "PIIX3 USB",
					 .vendor = 0x8086,
					 .device = 0x7020,
					 .subsys_vendor = 0x1af4,
					 .subsys = 0x1100,
					 .revision = 1,
					 .cls = 0x0c0300,
					 .pin = 4};
	struct uhci *u = plat_alloc(sizeof(*u));
	const struct pci_bar io = {
		.kind = PCI_BAR_IO, .size = PORTS_LEN, .region = &ports_region, .ctx = u};
	int err;

	for (unsigned i = 0; i < UHCI_PORTS && !u; i++)
		if (w->take_port[i])
			w->take_port[i]->ops->destroy(w->take_port[i]);
	if (!u)
		return err_here(ERR_NOMEM);
	plat_mutex_init(&u->lock, RANK_DEVICE);
	plat_timer_init(&u->timer, vm->loop, on_timer, u);
	/* From here on the VM owns it, on errors too. */
	vm_add_dev(vm, &u->dev, &uhci_class);
	for (unsigned i = 0; i < UHCI_PORTS; i++) {
		u->device[i] = w->take_port[i];
		if (u->device[i]) {
			u->device[i]->host = u;
			u->device[i]->wake = on_wake;
		}
	}
	pci_dev_init(&u->pd, &id);
	u->pd.init[CFG_SBRN] = 0x10; /* USB 1.0 */
	pci_put(u->pd.init + CFG_LEGSUP, 2, LEGSUP_INIT);
	pci_put(u->pd.wmask + CFG_LEGSUP, 2, LEGSUP_RW);
	pci_put(u->pd.w1c + CFG_LEGSUP, 2, LEGSUP_W1C);
	u->pd.after_write = config_written;
	uhci_reset(&u->dev);
	err = pci_bar_add(&u->pd, 4, &io);
	if (!err)
		err = pci_attach(w->host, &u->pd, w->slot, w->func);
	*out = u;
	return err;
}
