/* SPDX-License-Identifier: ISC */
/* ioapic.c: I/O APIC (Intel 82093AA data sheet 3.0; EOI register of version 20H).
 *
 * Pins come from any thread, registers and EOIs from vCPU threads; io->lock serialises, and local
 * APICs' locks are taken under it. Levels arrive as asserted or not, so that the polarity bit is
 * kept but has no effect. */
#include "dev/irq/ioapic.h"

#include "base/str.h"
#include "vm/dev.h"
#include "vm/stream.h"
#include "vm/vm.h"

enum { IOREGSEL = 0x00, IOWIN = 0x10, IOEOI = 0x40 };
enum { REG_ID = 0, REG_VERSION = 1, REG_ARB = 2, REG_TABLE = 0x10 };
#define VERSION (0x20u | (IOAPIC_PINS - 1) << 16)

/* Redirection table entries */
#define RTE_VECTOR   UINT64_C(0xff)
#define RTE_MODE(v)  ((v) >> 8 & 7)
#define RTE_LOGICAL  BIT64(11)
#define RTE_BUSY     BIT64(12) /* delivery status: always idle, delivery is instant */
#define RTE_RIRR     BIT64(14)
#define RTE_LEVEL    BIT64(15)
#define RTE_MASKED   BIT64(16)
#define RTE_WRITABLE (UINT64_C(0xff0000000001ffff) & ~(RTE_BUSY | RTE_RIRR))
#define RTE_DEST(v)  ((uint32_t)((v) >> 56))

struct ioapic {
	struct dev dev;
	struct apicbus *bus;
	struct plat_mutex lock; /* RANK_IRQ: all below */
	uint32_t id;
	uint8_t select;
	uint32_t levels; /* of the pins */
	uint64_t rte[IOAPIC_PINS];
	bool lent;    /* an engine has it: of what is here only the levels are true */
	bool changed; /* … but this is newer */
};

/* Masked ones, too: an interrupt of theirs may still be in service. */
bool ioapic_level_msg(void *chip, unsigned pin, uint64_t *addr, uint32_t *data)
{
	struct ioapic *io = chip;
	uint64_t rte;

	if (pin >= IOAPIC_PINS)
		return false;
	plat_mutex_lock(&io->lock);
	rte = io->rte[pin];
	plat_mutex_unlock(&io->lock);
	*addr = msi_addr(RTE_DEST(rte), rte & RTE_LOGICAL);
	*data = (uint32_t)(rte & (RTE_VECTOR | RTE_LEVEL | 0x700));
	return rte & RTE_LEVEL && RTE_MODE(rte) <= APIC_LOWEST;
}

static void routes_changed(struct ioapic *io)
{
	const struct apics_ops *ops = atomic_load(&io->bus->vm->apics.ops);

	if (ops)
		ops->routes(io->bus->vm);
}

static bool send(struct ioapic *io, unsigned pin)
{
	uint64_t rte = io->rte[pin];
	struct apic_msg msg = {
		.dest = RTE_DEST(rte),
		.mode = RTE_MODE(rte),
		.vector = (uint8_t)(rte & RTE_VECTOR),
		.logical = rte & RTE_LOGICAL,
		.level = rte & RTE_LEVEL,
	};

	if (msg.mode == APIC_SIPI || msg.mode == APIC_MODE3)
		return false; /* reserved encodings */
	return apicbus_send(io->bus, &msg);
}

/* A level-triggered pin that is asserted interrupts whenever nothing holds it back. */
static void level_service(struct ioapic *io, unsigned pin)
{
	uint64_t rte = io->rte[pin];

	if (!(rte & RTE_LEVEL) || (rte & (RTE_MASKED | RTE_RIRR)) || !(io->levels & BIT(pin)))
		return;
	if (send(io, pin) && RTE_MODE(rte) <= APIC_LOWEST)
		io->rte[pin] |= RTE_RIRR;
}

void ioapic_set(void *chip, unsigned pin, bool level)
{
	struct ioapic *io = chip;
	bool was;

	if (pin >= IOAPIC_PINS)
		return;
	plat_mutex_lock(&io->lock);
	was = io->levels & BIT(pin);
	if (was != level) {
		io->levels ^= BIT(pin);
		if (io->lent)
			; /* it hears of it as well */
		else if (io->rte[pin] & RTE_LEVEL)
			level_service(io, pin);
		else if (level && !(io->rte[pin] & RTE_MASKED))
			send(io, pin); /* an edge at a masked pin is lost (3.2.4) */
	}
	plat_mutex_unlock(&io->lock);
}

static void ioapic_eoi(void *chip, uint8_t vector)
{
	struct ioapic *io = chip;

	plat_mutex_lock(&io->lock);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		uint64_t rte = io->rte[pin];

		if ((rte & RTE_VECTOR) != vector || !(rte & RTE_LEVEL) || !(rte & RTE_RIRR))
			continue;
		io->rte[pin] &= ~RTE_RIRR;
		level_service(io, pin);
	}
	plat_mutex_unlock(&io->lock);
}

bool ioapic_waiting(struct ioapic *io, unsigned pin)
{
	uint64_t rte;

	plat_mutex_lock(&io->lock);
	rte = io->rte[pin];
	plat_mutex_unlock(&io->lock);
	return !io->lent && !(rte & (RTE_MASKED | RTE_LEVEL)) && RTE_MODE(rte) <= APIC_LOWEST &&
	       apicbus_waiting(io->bus, (uint8_t)(rte & RTE_VECTOR));
}

/* ---- there and back, where an engine has one of its own ----------------------------------------------- */

void ioapic_lend(struct ioapic *io, struct line_chips *out)
{
	plat_mutex_lock(&io->lock);
	out->ioapic_new = io->changed || !io->lent;
	out->ioapic_id = (uint8_t)io->id;
	out->select = io->select;
	out->levels = io->levels;
	memcpy(out->rte, io->rte, sizeof(out->rte));
	io->lent = true;
	io->changed = false;
	plat_mutex_unlock(&io->lock);
}

void ioapic_look(struct ioapic *io, const struct line_chips *in, bool back)
{
	plat_mutex_lock(&io->lock);
	if (!io->changed) {
		io->id = in->ioapic_id & 0xf;
		io->select = in->select;
		for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
			io->rte[pin] = in->rte[pin] & (RTE_WRITABLE | RTE_RIRR);
	}
	if (back)
		io->lent = false;
	for (unsigned pin = 0; pin < IOAPIC_PINS && back; pin++)
		level_service(io, pin);
	plat_mutex_unlock(&io->lock);
}

/* ---- registers ------------------------------------------------------------------------------------------ */

static uint32_t window_read(struct ioapic *io)
{
	unsigned entry = (unsigned)(io->select - REG_TABLE) / 2;

	switch (io->select) {
	case REG_ID:
	case REG_ARB:
		return io->id << 24;
	case REG_VERSION:
		return VERSION;
	default:
		if (io->select < REG_TABLE || entry >= IOAPIC_PINS)
			return 0;
		return (uint32_t)(io->rte[entry] >> (io->select & 1 ? 32 : 0));
	}
}

static void entry_write(struct ioapic *io, unsigned entry, bool high, uint32_t v)
{
	uint64_t old = io->rte[entry], rte;

	if (high)
		rte = (old & UINT32_MAX) | (uint64_t)v << 32;
	else
		rte = (old & ~(uint64_t)UINT32_MAX) | v;
	rte = (rte & RTE_WRITABLE) | (old & RTE_RIRR);
	/* Remote IRR has no meaning for edges; guests clear a stuck one through that. */
	if (!(rte & RTE_LEVEL))
		rte &= ~RTE_RIRR;
	io->rte[entry] = rte;
	level_service(io, entry);
}

static void window_write(struct ioapic *io, uint32_t v)
{
	unsigned entry = (unsigned)(io->select - REG_TABLE) / 2;

	if (io->select == REG_ID)
		io->id = v >> 24 & 0xf;
	else if (io->select >= REG_TABLE && entry < IOAPIC_PINS)
		entry_write(io, entry, io->select & 1, v);
}

static uint64_t ioapic_read(void *dev, uint64_t off, unsigned size)
{
	struct ioapic *io = dev;
	uint32_t v = 0;

	plat_mutex_lock(&io->lock);
	if (off == IOREGSEL)
		v = io->select;
	else if (off == IOWIN)
		v = window_read(io);
	plat_mutex_unlock(&io->lock);
	return v;
}

static void ioapic_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct ioapic *io = dev;

	if (unlikely(io->lent))
		return; /* the engine's own would have taken it */
	if (off == IOEOI) {
		ioapic_eoi(io, (uint8_t)value);
		return;
	}
	plat_mutex_lock(&io->lock);
	if (off == IOREGSEL)
		io->select = (uint8_t)value;
	else if (off == IOWIN && size == 4)
		window_write(io, (uint32_t)value);
	plat_mutex_unlock(&io->lock);
	if (off == IOWIN)
		routes_changed(io);
}

static const struct bus_late ioapic_late = {IOREGSEL, 4};

static const struct bus_region ioapic_region = {
	.name = "ioapic",
	.base = IOAPIC_BASE,
	.len = PAGE_SIZE,
	.min = 1,
	.max = 4,
	.read = ioapic_read,
	.write = ioapic_write,
	.late = &ioapic_late,
};

static void ioapic_reset(struct dev *dev)
{
	struct ioapic *io = container_of(dev, struct ioapic, dev);

	plat_mutex_lock(&io->lock);
	io->id = 0;
	io->select = 0;
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		io->rte[pin] = RTE_MASKED;
	io->changed = true;
	plat_mutex_unlock(&io->lock); /* the pins' levels are their devices' */
	routes_changed(io);
}

static void ioapic_destroy(struct dev *dev)
{
	plat_free(container_of(dev, struct ioapic, dev));
}

static const struct st_field ioapic_fields[] = {
	ST_U(struct ioapic, id),
	ST_U(struct ioapic, select),
	ST_U(struct ioapic, levels),
	ST_A(struct ioapic, rte),
};

static int ioapic_state(struct dev *dev, struct state_stream *st)
{
	struct ioapic *io = container_of(dev, struct ioapic, dev);

	plat_mutex_lock(&io->lock);
	ST_SYNC(st, "ioapic", 0, ioapic_fields, io);
	for (unsigned pin = 0; st->loading && pin < IOAPIC_PINS; pin++)
		io->rte[pin] &= RTE_WRITABLE | RTE_RIRR;
	io->changed |= st->loading;
	plat_mutex_unlock(&io->lock);
	if (st->loading)
		routes_changed(io);
	return st->err;
}

static const struct dev_class ioapic_class = {
	.name = "ioapic",
	.reset = ioapic_reset,
	.state = ioapic_state,
	.destroy = ioapic_destroy,
};

int ioapic_create(struct vm *vm, const struct ioapic_wiring *w, struct ioapic **out)
{
	struct ioapic *io = plat_alloc(sizeof(*io));
	int err;

	if (!io)
		return err_here(ERR_NOMEM);
	io->bus = w->bus;
	plat_mutex_init(&io->lock, RANK_IRQ);
	ioapic_reset(&io->dev);
	err = bus_map_at(&vm->mmio, w->base ? w->base : IOAPIC_BASE, &ioapic_region, io);
	if (err) {
		plat_free(io);
		return err;
	}
	w->bus->eoi = ioapic_eoi;
	w->bus->eoi_chip = io;
	vm_add_dev(vm, &io->dev, &ioapic_class);
	*out = io;
	return 0;
}
