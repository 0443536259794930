/* SPDX-License-Identifier: ISC */
/* lapic_regs.c: the local APIC's registers, as a page of memory (xAPIC) and as MSRs (x2APIC), and
 * the interrupts that processors send each other (SDM vol. 3, 11.4, 11.6, 11.12).
 *
 * Entered by the vCPU's own thread. */
#include "dev/irq/lapic_impl.h"

#define MSR_APIC_BASE    0x1bu
#define MSR_TSC_DEADLINE 0x6e0u
#define MSR_X2APIC       0x800u

/* Version 14H, six LVT entries, EOI broadcasts can be suppressed */
#define VERSION (0x14 | (LVT_COUNT - 1) << 16 | BIT(24))

#define ICR_LOGICAL      BIT(11)
#define ICR_ASSERT       BIT(14)
#define ICR_LEVEL        BIT(15)
#define ICR_WRITABLE     0xccfffu
#define ICR_SHORTHAND(v) ((v) >> 18 & 3)
enum { SH_NONE, SH_SELF, SH_ALL, SH_OTHERS };

static const uint32_t lvt_writable[LVT_COUNT] = {
	[LVT_TIMER] = 0x700ff, [LVT_THERMAL] = 0x107ff, [LVT_PERF] = 0x107ff,
	[LVT_LINT0] = 0x1a7ff, [LVT_LINT1] = 0x1a7ff,   [LVT_ERROR] = 0x100ff,
};

/* ---- interrupts between processors --------------------------------------------------------- */

static bool shorthand_valid(unsigned shorthand, uint8_t how)
{
	/* Table 11-3: only fixed ones can go to the sender itself. */
	return how == APIC_FIXED || shorthand == SH_NONE || shorthand == SH_OTHERS;
}

static void send_all(struct lapic *l, const struct apic_msg *msg, bool self)
{
	struct apicbus *bus = l->w.bus;

	for (unsigned i = 0; i < bus->n; i++)
		if ((self || bus->lapic[i] != l) && lapic_hw_enabled(bus->lapic[i]))
			lapic_accept(bus->lapic[i], msg);
}

static void tell_ipi(struct lapic *l, uint64_t icr, uint32_t dest)
{
	const struct mon_event ev = {.cls = MON_IRQ,
				     .op = IRQ_IPI,
				     .size = 4,
				     .vcpu = (int32_t)l->vcpu->index,
				     .addr = dest,
				     .value = (uint32_t)icr};

	mon_tell(&l->vcpu->vm->mon, &ev);
}

/* The lock is not held: destinations' locks have the same rank. */
static void icr_send(struct lapic *l, uint64_t icr)
{
	struct apic_msg msg = {
		.dest = lapic_x2(l) ? (uint32_t)(icr >> 32) : (uint32_t)(icr >> 56),
		.mode = icr >> 8 & 7,
		.vector = (uint8_t)icr,
		.logical = icr & ICR_LOGICAL,
		.wide = lapic_x2(l),
	};
	unsigned shorthand = ICR_SHORTHAND(icr);

	if (msg.mode == APIC_INIT && (icr & ICR_LEVEL) && !(icr & ICR_ASSERT))
		return; /* INIT level de-assert: only old processors listened */
	if (msg.mode == APIC_EXTINT || msg.mode == APIC_MODE3 ||
	    !shorthand_valid(shorthand, msg.mode))
		return;
	if (msg.mode <= APIC_LOWEST && msg.vector < 16) {
		plat_mutex_lock(&l->lock);
		lapic_error(l, ESR_SEND_VECTOR);
		lapic_unlock(l);
		return;
	}
	tell_ipi(l, icr, msg.dest);
	switch (shorthand) {
	case SH_NONE:
		apicbus_send(l->w.bus, &msg);
		break;
	case SH_SELF:
		lapic_accept(l, &msg);
		break;
	default:
		if (msg.mode == APIC_LOWEST) {
			msg.dest = msg.wide ? UINT32_MAX : 0xff;
			msg.logical = false;
			apicbus_send(l->w.bus, &msg);
		} else {
			send_all(l, &msg, shorthand == SH_ALL);
		}
	}
}

/* ---- registers ------------------------------------------------------------------------------ */

static uint32_t map_word(const uint64_t map[4], unsigned i)
{
	return (uint32_t)(map[i / 2] >> (i % 2 * 32));
}

/* 0, or ERR_NOENT: there is no such register to be read. */
static int reg_read(struct lapic *l, unsigned reg, uint32_t *v)
{
	bool x2 = lapic_x2(l);

	*v = 0;
	switch (reg) {
	case REG_ID:
		*v = x2 ? l->id : l->id << 24;
		return 0;
	case REG_VERSION:
		*v = VERSION;
		return 0;
	case REG_TPR:
		*v = l->tpr;
		return 0;
	case REG_PPR:
		*v = l->ppr;
		return 0;
	case REG_APR: /* arbitration is by PPR here */
		*v = x2 ? 0 : l->ppr;
		return x2 ? ERR_NOENT : 0;
	case REG_LDR:
		*v = l->ldr;
		return 0;
	case REG_DFR:
		*v = l->dfr;
		return x2 ? ERR_NOENT : 0;
	case REG_SVR:
		*v = l->svr;
		return 0;
	case REG_ISR ... REG_ISR + 7:
		*v = map_word(l->isr, reg - REG_ISR);
		return 0;
	case REG_TMR ... REG_TMR + 7:
		*v = map_word(l->tmr, reg - REG_TMR);
		return 0;
	case REG_IRR ... REG_IRR + 7:
		*v = (uint32_t)(l->irr[(reg - REG_IRR) / 2] >> ((reg - REG_IRR) % 2 * 32));
		return 0;
	case REG_ESR:
		*v = l->esr;
		return 0;
	case REG_ICR:
		*v = (uint32_t)l->icr;
		return 0;
	case REG_ICR_HIGH:
		*v = (uint32_t)(l->icr >> 32);
		return x2 ? ERR_NOENT : 0;
	case REG_LVT ... REG_LVT + LVT_COUNT - 1:
		*v = l->lvt[reg - REG_LVT];
		return 0;
	case REG_INIT_COUNT:
		*v = l->init_count;
		return 0;
	case REG_COUNT:
		*v = lapic_timer_count(l);
		return 0;
	case REG_DIVIDE:
		*v = l->divide;
		return 0;
	default: /* EOI and SELF IPI cannot be read */
		return ERR_NOENT;
	}
}

static void svr_write(struct lapic *l, uint32_t v)
{
	bool was = l->svr & SVR_ENABLE;

	l->svr = v & (0xff | SVR_ENABLE | SVR_NO_BCAST);
	if (was && !(v & SVR_ENABLE))
		for (unsigned i = 0; i < LVT_COUNT; i++)
			l->lvt[i] |= LVT_MASKED; /* 11.4.7.2 */
	if (was != !!(v & SVR_ENABLE))
		lapic_timer_update(l);
}

static void lvt_write(struct lapic *l, enum lapic_lvt which, uint32_t v)
{
	uint32_t old = l->lvt[which];

	v &= lvt_writable[which];
	if (!(l->svr & SVR_ENABLE))
		v |= LVT_MASKED;
	if (which == LVT_TIMER) {
		if ((v & LVT_TMODE) == LVT_TMODE) /* reserved */
			v = (v & ~LVT_TMODE) | (old & LVT_TMODE);
		lapic_timer_lvt(l, v);
		return;
	}
	if (which == LVT_LINT0 && (v & LVT_LEVEL))
		v |= old & LVT_RIRR;
	l->lvt[which] = v;
	if (which == LVT_LINT0)
		lapic_lint_again(l, 0);
}

/* With the lock held. ERR_NOENT: there is no such register to be written. EOI and ICR are the
 * callers'. */
static int reg_write(struct lapic *l, unsigned reg, uint32_t v)
{
	bool x2 = lapic_x2(l);

	switch (reg) {
	case REG_TPR:
		l->tpr = v & 0xff;
		return 0;
	case REG_LDR:
		if (!x2)
			l->ldr = v & 0xff000000;
		return x2 ? ERR_NOENT : 0;
	case REG_DFR:
		if (!x2)
			l->dfr = v | 0x0fffffff;
		return x2 ? ERR_NOENT : 0;
	case REG_SVR:
		svr_write(l, v);
		return 0;
	case REG_ESR:
		l->esr = l->errors;
		l->errors = 0;
		return 0;
	case REG_ICR_HIGH:
		l->icr = (l->icr & UINT32_MAX) | (uint64_t)(v & 0xff000000) << 32;
		return x2 ? ERR_NOENT : 0;
	case REG_LVT ... REG_LVT + LVT_COUNT - 1:
		lvt_write(l, reg - REG_LVT, v);
		return 0;
	case REG_INIT_COUNT:
		lapic_timer_start(l, v);
		return 0;
	case REG_DIVIDE:
		lapic_timer_divide(l, v);
		return 0;
	case REG_ID: /* fixed here: model-specific (11.4.6) */
		return x2 ? ERR_NOENT : 0;
	default:
		return ERR_NOENT;
	}
}

/* ---- xAPIC: a page of memory ----------------------------------------------------------------- */

/* The local APIC of the vCPU that accesses page, if it is to be seen there. */
static struct lapic *page_lapic(struct apic_page *page, int vcpu)
{
	struct lapic *l;

	if (vcpu < 0 || (unsigned)vcpu >= page->bus->n)
		return NULL;
	l = page->bus->lapic[vcpu];
	if ((l->base & (BASE_EN | BASE_EXTD)) != BASE_EN || (l->base & BASE_ADDR) != page->base)
		return NULL;
	return l;
}

static void illegal_register(struct lapic *l)
{
	lapic_error(l, ESR_REGISTER);
}

static uint64_t lapic_page_read(void *dev, int vcpu, uint64_t off, unsigned size)
{
	struct lapic *l = page_lapic(dev, vcpu);
	unsigned reg = (unsigned)(off >> 4);
	uint32_t v;

	if (!l || l->lent) /* which the engine's own would have answered */
		return UINT64_MAX;
	if (off & 0xf)
		return 0; /* undefined (11.4.1) */
	plat_mutex_lock(&l->lock);
	if (reg_read(l, reg, &v) && reg != REG_EOI && reg != REG_RRD)
		illegal_register(l);
	lapic_unlock(l);
	return v;
}

static void lapic_page_write(void *dev, int vcpu, uint64_t off, unsigned size, uint64_t value)
{
	struct lapic *l = page_lapic(dev, vcpu);
	unsigned reg = (unsigned)(off >> 4);
	uint64_t icr = 0;

	if (!l || l->lent || off & 0xf)
		return;
	if (reg == REG_EOI) {
		lapic_eoi(l);
		return;
	}
	plat_mutex_lock(&l->lock);
	if (reg == REG_ICR)
		icr = l->icr = (l->icr & ~(uint64_t)UINT32_MAX) | (value & ICR_WRITABLE);
	else if (reg_write(l, reg, (uint32_t)value))
		illegal_register(l);
	lapic_unlock(l);
	if (reg == REG_ICR)
		icr_send(l, icr);
}

const struct bus_region lapic_region = {
	.name = "lapic",
	.base = LAPIC_BASE,
	.len = PAGE_SIZE,
	.min = 4,
	.max = 4,
	.read_by = lapic_page_read,
	.write_by = lapic_page_write,
};

/* ---- x2APIC and other MSRs ------------------------------------------------------------------- */

static int x2_read(struct lapic *l, unsigned reg, uint64_t *value)
{
	uint32_t v;
	int err;

	if (!lapic_x2(l))
		return ERR_NOENT;
	plat_mutex_lock(&l->lock);
	err = reg_read(l, reg, &v);
	*value = reg == REG_ICR ? l->icr : v;
	lapic_unlock(l);
	return err;
}

/* Read-only bits are not reserved ones: Linux sets them as it switches LINT0 off. */
static uint32_t lvt_defined(enum lapic_lvt which)
{
	uint32_t remote_irr = which == LVT_LINT0 || which == LVT_LINT1 ? LVT_RIRR : 0;

	return lvt_writable[which] | LVT_STATUS | remote_irr;
}

/* Bits that may be set in a write, where that is not what the register holds anyway */
static uint64_t x2_writable(unsigned reg)
{
	switch (reg) {
	case REG_EOI:
	case REG_ESR:
		return 0;
	case REG_TPR:
	case REG_SELF_IPI:
		return 0xff;
	case REG_SVR:
		return 0xff | SVR_ENABLE | SVR_NO_BCAST;
	case REG_ICR:
		return 0xffffffff00000000 | ICR_WRITABLE;
	case REG_LVT ... REG_LVT + LVT_COUNT - 1:
		return lvt_defined(reg - REG_LVT);
	case REG_DIVIDE:
		return 0xb;
	default:
		return UINT32_MAX;
	}
}

static int x2_write(struct lapic *l, unsigned reg, uint64_t value)
{
	int err;

	if (!lapic_x2(l) || (value & ~x2_writable(reg)))
		return ERR_NOENT;
	switch (reg) {
	case REG_EOI:
		lapic_eoi(l);
		return 0;
	case REG_SELF_IPI:
		icr_send(l, SH_SELF << 18 | value);
		return 0;
	case REG_ICR:
		l->icr = value; /* read by this thread only */
		icr_send(l, value);
		return 0;
	default:
		plat_mutex_lock(&l->lock);
		err = reg_write(l, reg, (uint32_t)value);
		lapic_unlock(l);
		return err;
	}
}

/* Registers follow their base: the page of one that left the usual place is mapped where it went.
 * A page serves every local APIC that is at its address. */
void lapic_page_move(struct lapic *l)
{
	struct apicbus *bus = l->w.bus;

	plat_mutex_lock(&bus->map_lock);
	if (l->page.mapped)
		bus_unmap(&bus->vm->mmio, &lapic_region, &l->page);
	l->page.mapped = false;
	for (unsigned i = 0; i < bus->n; i++) {
		struct lapic *o = bus->lapic[i];
		uint64_t base = o->base & BASE_ADDR;

		if (o->page.mapped || !(o->base & BASE_EN) || base == LAPIC_BASE)
			continue;
		o->page.base = base;
		/* Taken: by another local APIC, which is well, or by a device, which hides us. */
		o->page.mapped = !bus_map_at(&bus->vm->mmio, base, &lapic_region, &o->page);
	}
	plat_mutex_unlock(&bus->map_lock);
}

/* Transitions: 11.12.5 */
static int base_write(struct lapic *l, uint64_t value)
{
	uint64_t old = l->base, modes = BASE_EN | BASE_EXTD;

	if (value & ~(BASE_ADDR | modes | BASE_BSP))
		return ERR_NOENT;
	if ((value & modes) == BASE_EXTD)
		return ERR_NOENT;
	if ((old & modes) == modes && (value & modes) == BASE_EN)
		return ERR_NOENT;
	if (!(old & BASE_EN) && (value & BASE_EXTD))
		return ERR_NOENT;
	plat_mutex_lock(&l->lock);
	l->base = value;
	if ((old & BASE_EN) && !(value & BASE_EN))
		lapic_clear(l);
	if (!(old & BASE_EXTD) && (value & BASE_EXTD)) {
		l->ldr = (l->id >> 4) << 16 | BIT(l->id & 15);
		l->icr &= UINT32_MAX;
	}
	lapic_unlock(l);
	if ((old ^ value) & (BASE_ADDR | BASE_EN))
		lapic_page_move(l);
	return 0;
}

int lapic_msr_read(void *chip, uint32_t index, uint64_t *value)
{
	struct lapic *l = chip;

	if (index == MSR_APIC_BASE) {
		*value = l->base;
		return 0;
	}
	if (l->lent)
		return ERR_NOENT;
	if (index == MSR_TSC_DEADLINE) {
		plat_mutex_lock(&l->lock);
		lapic_timer_update(l);
		*value = l->tsc_deadline;
		lapic_unlock(l);
		return 0;
	}
	if (index - MSR_X2APIC < 0x100)
		return x2_read(l, index - MSR_X2APIC, value);
	return ERR_NOENT;
}

int lapic_msr_write(void *chip, uint32_t index, uint64_t value)
{
	struct lapic *l = chip;

	if (l->lent)
		return ERR_NOENT;
	if (index == MSR_APIC_BASE)
		return base_write(l, value);
	if (index == MSR_TSC_DEADLINE) {
		plat_mutex_lock(&l->lock);
		lapic_timer_deadline(l, value);
		lapic_unlock(l);
		return 0;
	}
	if (index - MSR_X2APIC < 0x100)
		return x2_write(l, index - MSR_X2APIC, value);
	return ERR_NOENT;
}
