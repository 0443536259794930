/* SPDX-License-Identifier: ISC */
/* acpi_pm.c: ACPI fixed hardware: PM1a event and control blocks, PM timer, GPE0 block (ACPI 6.4,
 * 4.8.3, 4.8.4), and reset registers (4.8.3.6; CF9H as in the 82371SB).
 *
 * The machine is in ACPI mode from the start (SCI_EN set, no SMI command port). A sleep is the VM's (vm_sleep()); the
 * power button, and the RTC and general-purpose events that are enabled, end it. What wakes comes under others' locks:
 * it is noted in pm->wakes, and seen to on the loop. Entered by vCPU threads, the event loop and, for buttons, any
 * thread; pm->lock serialises. */
#include "dev/pc/acpi_pm.h"

#include "vm/dev.h"
#include "vm/stream.h"
#include "vm/vm.h"

/* PM1 status and enable */
#define PM1_TMR    BIT(0)
#define PM1_GBL    BIT(5)
#define PM1_PWRBTN BIT(8)
#define PM1_SLPBTN BIT(9)
#define PM1_RTC    BIT(10)
#define PM1_WAK    BIT(15) /* status only */
#define PM1_STATUS (PM1_TMR | PM1_GBL | PM1_PWRBTN | PM1_SLPBTN | PM1_RTC | PM1_WAK)
#define PM1_ENABLE (PM1_TMR | PM1_GBL | PM1_PWRBTN | PM1_SLPBTN | PM1_RTC)
/* PM1 control */
#define PM1_SCI_EN     BIT(0)
#define PM1_BM_RLD     BIT(1)
#define PM1_SLP_TYP(v) ((v) >> 10 & 7)
#define PM1_SLP_EN     BIT(13)
#define PM1_CONTROL    (PM1_BM_RLD | 7u << 10)

#define CF9_SYS BIT(1) /* hard reset */
#define CF9_RST BIT(2) /* rising: reset */

struct acpi_pm {
	struct dev dev;
	struct acpi_pm_wiring w;
	uint16_t base;          /* where the ports are now, 0: nowhere */
	struct plat_mutex lock; /* RANK_DEVICE: all below */
	uint16_t status, enable, control;
	uint16_t gpe_status, gpe_enable;
	uint8_t cf9;
	uint64_t epoch;  /* count 0 of the timer, ns */
	uint64_t halves; /* half turns of the timer that TMR_STS knows of */
	bool sci;
	struct plat_timer timer;
	uint64_t armed; /* when the host's timer will run, 0: it will not */
	bool asleep;
	_Atomic uint32_t wakes;       /* BIT(n) of acpi_pm_wake(), not yet seen to */
	struct plat_timer wake_timer; /* sees to them */
};

/* ---- timer ----------------------------------------------------------------------------------- */

static uint64_t timer_ticks(const struct acpi_pm *pm)
{
	uint64_t ns = plat_now() - pm->epoch;

	return ns / NS_PER_SEC * ACPI_PM_HZ + ns % NS_PER_SEC * ACPI_PM_HZ / NS_PER_SEC;
}

static uint32_t timer_value(const struct acpi_pm *pm)
{
	uint64_t t = timer_ticks(pm);

	return pm->w.timer32 ? (uint32_t)t : (uint32_t)t & 0xffffff;
}

/* TMR_STS is set whenever the highest bit changes, either way. */
static void timer_settle(struct acpi_pm *pm)
{
	unsigned high = pm->w.timer32 ? 31 : 23;
	uint64_t halves = timer_ticks(pm) >> high, at;

	if (halves != pm->halves)
		pm->status |= PM1_TMR;
	pm->halves = halves;
	if (!(pm->enable & PM1_TMR) || (pm->status & PM1_TMR))
		return;
	at = (halves + 1) << high;
	at = pm->epoch + at / ACPI_PM_HZ * NS_PER_SEC +
	     (at % ACPI_PM_HZ * NS_PER_SEC + ACPI_PM_HZ - 1) / ACPI_PM_HZ;
	if (at != pm->armed) {
		pm->armed = at;
		plat_timer_arm(&pm->timer, at);
	}
}

/* What has come by acpi_pm_wake(). */
static void wakes_settle(struct acpi_pm *pm)
{
	uint32_t wakes = atomic_exchange(&pm->wakes, 0);

	if (wakes & BIT(ACPI_WAKE_RTC))
		pm->status |= PM1_RTC;
	if (pm->asleep)
		pm->gpe_status |= (uint16_t)wakes;
}

static void pm_update(struct acpi_pm *pm)
{
	bool sci;

	wakes_settle(pm);
	timer_settle(pm);
	sci = (pm->control & PM1_SCI_EN) &&
	      ((pm->status & pm->enable & PM1_ENABLE) || (pm->gpe_status & pm->gpe_enable));
	if (sci != pm->sci) {
		pm->sci = sci;
		irq_set(&pm->w.sci, sci);
	}
}

static void pm_timer(void *arg)
{
	struct acpi_pm *pm = arg;

	plat_mutex_lock(&pm->lock);
	pm->armed = 0;
	pm_update(pm);
	plat_mutex_unlock(&pm->lock);
}

/* Does it sleep no more? Then the caller calls vm_wake(), without pm->lock. */
static bool take_wake(struct acpi_pm *pm)
{
	bool wake = pm->asleep && ((pm->status & (PM1_PWRBTN | (pm->enable & PM1_RTC))) ||
				   (pm->gpe_status & pm->gpe_enable));

	pm->asleep &= !wake;
	return wake;
}

static void pm_wake_timer(void *arg)
{
	struct acpi_pm *pm = arg;
	bool wake;

	plat_mutex_lock(&pm->lock);
	pm_update(pm);
	wake = take_wake(pm);
	plat_mutex_unlock(&pm->lock);
	if (wake)
		vm_wake(pm->dev.vm);
}

void acpi_pm_wake(struct acpi_pm *pm, unsigned n)
{
	atomic_fetch_or(&pm->wakes, (uint32_t)BIT(n));
	plat_timer_arm(&pm->wake_timer, plat_now());
}

/* pm->asleep only when the VM is, so that nothing wakes it before. */
static void suspend(struct acpi_pm *pm)
{
	vm_sleep(pm->dev.vm);
	plat_mutex_lock(&pm->lock);
	pm->asleep = true;
	plat_mutex_unlock(&pm->lock);
	pm_wake_timer(pm);
}

/* ---- ports ----------------------------------------------------------------------------------- */

/* The block as 16-bit registers; the timer is apart. */
static uint16_t word_read(struct acpi_pm *pm, unsigned at)
{
	switch (at) {
	case ACPI_PM1A_EVT:
		wakes_settle(pm);
		timer_settle(pm);
		return pm->status;
	case ACPI_PM1A_EVT + 2:
		return pm->enable;
	case ACPI_PM1A_CNT:
		return pm->control;
	case ACPI_GPE0:
		return pm->gpe_status;
	case ACPI_GPE0 + 2:
		return pm->gpe_enable;
	default:
		return 0;
	}
}

enum sleep { AWAKE, SUSPENDED, OFF };

static enum sleep sleep_state(const struct acpi_pm *pm)
{
	unsigned type = PM1_SLP_TYP(pm->control);

	if (type == pm->w.s5_type)
		return OFF;
	if (type && type == pm->w.s3_type)
		return SUSPENDED;
	return type && type == pm->w.s4_type ? OFF : AWAKE;
}

/* mask: the bytes that are written. Gives where the guest goes. */
static enum sleep word_write(struct acpi_pm *pm, unsigned at, uint16_t v, uint16_t mask)
{
	switch (at) {
	case ACPI_PM1A_EVT: /* ones clear */
		wakes_settle(pm);
		timer_settle(pm);
		pm->status &= (uint16_t) ~(v & mask & PM1_STATUS);
		break;
	case ACPI_PM1A_EVT + 2:
		pm->enable = (uint16_t)((pm->enable & ~mask) | (v & mask & PM1_ENABLE));
		break;
	case ACPI_PM1A_CNT:
		mask &= PM1_CONTROL | PM1_SLP_EN;
		pm->control =
			(uint16_t)((pm->control & (~mask | PM1_SCI_EN)) | (v & mask & PM1_CONTROL));
		/* States that are not offered: an attempt does nothing. */
		return v & mask & PM1_SLP_EN ? sleep_state(pm) : AWAKE;
	case ACPI_GPE0:
		pm->gpe_status &= (uint16_t) ~(v & mask);
		break;
	case ACPI_GPE0 + 2:
		pm->gpe_enable = (uint16_t)((pm->gpe_enable & ~mask) | (v & mask));
		break;
	default:
		break;
	}
	return AWAKE;
}

static uint64_t pm_read(void *dev, uint64_t off, unsigned size)
{
	struct acpi_pm *pm = dev;
	uint64_t v = 0;

	plat_mutex_lock(&pm->lock);
	if (off >= ACPI_PM_TMR && off < ACPI_PM_TMR + 4)
		v = timer_value(pm) >> 8 * (off - ACPI_PM_TMR);
	else
		for (unsigned i = 0; i < size; i++) {
			unsigned at = (unsigned)off + i;

			v |= (uint64_t)(word_read(pm, at & ~1u) >> 8 * (at & 1) & 0xff) << 8 * i;
		}
	plat_mutex_unlock(&pm->lock);
	return v;
}

static void pm_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct acpi_pm *pm = dev;
	enum sleep sleep = AWAKE, s;
	bool reset = false;
	unsigned n;

	plat_mutex_lock(&pm->lock);
	for (unsigned i = 0; i < size; i += n) {
		unsigned at = (unsigned)off + i;
		unsigned v = (unsigned)(value >> 8 * i) & 0xffff;

		n = (at & 1) || size - i == 1 ? 1 : 2;
		s = AWAKE;
		if (at == ACPI_RESET)
			reset = (v & 0xff) == ACPI_RESET_VALUE;
		else if (n == 2)
			s = word_write(pm, at, (uint16_t)v, 0xffff);
		else
			s = word_write(pm, at & ~1u, (uint16_t)(v << 8 * (at & 1)),
				       (uint16_t)(0xff << 8 * (at & 1)));
		sleep = MAX(sleep, s);
	}
	pm_update(pm);
	plat_mutex_unlock(&pm->lock);
	if (sleep == OFF)
		vm_stop(pm->dev.vm, VM_POWEROFF, 0);
	else if (sleep == SUSPENDED)
		suspend(pm);
	else if (reset)
		vm_request_reset(pm->dev.vm);
}

uint8_t acpi_pm_cf9_read(struct acpi_pm *pm)
{
	return pm->cf9;
}

void acpi_pm_cf9_write(struct acpi_pm *pm, uint8_t value)
{
	bool reset;

	plat_mutex_lock(&pm->lock);
	reset = (value & CF9_RST) && !(pm->cf9 & CF9_RST);
	pm->cf9 = value & (CF9_SYS | CF9_RST | BIT(3));
	plat_mutex_unlock(&pm->lock);
	if (reset)
		vm_request_reset(pm->dev.vm);
}

static uint64_t cf9_read(void *dev, uint64_t off, unsigned size)
{
	return acpi_pm_cf9_read(dev);
}

static void cf9_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	acpi_pm_cf9_write(dev, (uint8_t)value);
}

static const struct bus_region pm_region = {
	.name = "acpi_pm",
	.len = ACPI_PM_LEN,
	.min = 1,
	.max = 4,
	.read = pm_read,
	.write = pm_write,
};

static const struct bus_region cf9_region = {
	.name = "cf9",
	.base = 0xcf9,
	.len = 1,
	.min = 1,
	.max = 1,
	.read = cf9_read,
	.write = cf9_write,
};

int acpi_pm_move(struct acpi_pm *pm, uint16_t base)
{
	int err = 0;

	if (base == pm->base)
		return 0;
	if (pm->base)
		bus_unmap(&pm->dev.vm->pio, &pm_region, pm);
	pm->base = 0;
	if (base)
		err = bus_map_at(&pm->dev.vm->pio, base, &pm_region, pm);
	if (!err)
		pm->base = base;
	return err;
}

/* ---- events ----------------------------------------------------------------------------------- */

void acpi_pm_gpe(struct acpi_pm *pm, unsigned n)
{
	plat_mutex_lock(&pm->lock);
	if (n < 16)
		pm->gpe_status |= (uint16_t)BIT(n);
	pm_update(pm);
	plat_mutex_unlock(&pm->lock);
}

static void acpi_pm_reset(struct dev *dev)
{
	struct acpi_pm *pm = container_of(dev, struct acpi_pm, dev);

	plat_mutex_lock(&pm->lock);
	/* Waking, what woke it is left standing. */
	if (dev->vm && dev->vm->waking) {
		pm->status = PM1_WAK | (pm->status & (PM1_PWRBTN | PM1_RTC));
		pm->gpe_status &= pm->gpe_enable;
	} else {
		pm->status = pm->gpe_status = 0;
	}
	pm->asleep = false;
	pm->enable = pm->gpe_enable = 0;
	pm->control = PM1_SCI_EN;
	pm->cf9 = 0;
	pm_update(pm);
	plat_mutex_unlock(&pm->lock);
}

/* The VM has ended its loop before: no timer runs any more. */
static void acpi_pm_destroy(struct dev *dev)
{
	plat_free(container_of(dev, struct acpi_pm, dev));
}

static const struct st_field pm_fields[] = {
	ST_U(struct acpi_pm, status),     ST_U(struct acpi_pm, enable),
	ST_U(struct acpi_pm, control),    ST_U(struct acpi_pm, gpe_status),
	ST_U(struct acpi_pm, gpe_enable), ST_U(struct acpi_pm, cf9),
	ST_T(struct acpi_pm, epoch),      ST_U(struct acpi_pm, halves),
};

static const struct st_field sleep_fields[] = {ST_B(struct acpi_pm, asleep)};

static int acpi_pm_state(struct dev *dev, struct state_stream *st)
{
	struct acpi_pm *pm = container_of(dev, struct acpi_pm, dev);
	bool sleeps;

	plat_mutex_lock(&pm->lock);
	wakes_settle(pm);
	ST_SYNC(st, "pm", 0, pm_fields, pm);
	if (!st->loading || st->version >= 6)
		ST_SYNC(st, "sleep", 0, sleep_fields, pm);
	if (st->loading && !st->err) {
		pm->armed = 0;
		pm_update(pm);
	}
	sleeps = st->loading && !st->err && pm->asleep;
	plat_mutex_unlock(&pm->lock);
	if (sleeps)
		suspend(pm);
	return st->err;
}

static const struct dev_class acpi_pm_class = {
	.name = "acpi_pm",
	.reset = acpi_pm_reset,
	.state = acpi_pm_state,
	.destroy = acpi_pm_destroy,
};

void acpi_pm_power_button(struct vm *vm)
{
	for (struct dev *dev = vm->devs; dev; dev = dev->next) {
		struct acpi_pm *pm = container_of(dev, struct acpi_pm, dev);
		bool wake;

		if (dev->cls != &acpi_pm_class)
			continue;
		plat_mutex_lock(&pm->lock);
		pm->status |= PM1_PWRBTN;
		pm_update(pm);
		wake = take_wake(pm);
		plat_mutex_unlock(&pm->lock);
		if (wake)
			vm_wake(vm);
	}
}

int acpi_pm_create(struct vm *vm, const struct acpi_pm_wiring *w, struct acpi_pm **out)
{
	struct acpi_pm *pm = plat_alloc(sizeof(*pm));
	int err;

	if (!pm)
		return err_here(ERR_NOMEM);
	pm->w = *w;
	pm->epoch = plat_now();
	plat_mutex_init(&pm->lock, RANK_DEVICE);
	plat_timer_init(&pm->timer, vm->loop, pm_timer, pm);
	plat_timer_init(&pm->wake_timer, vm->loop, pm_wake_timer, pm);
	acpi_pm_reset(&pm->dev);
	err = bus_map_at(&vm->pio, w->base, &pm_region, pm);
	if (err)
		goto out;
	pm->base = w->base;
	if (w->cf9) {
		err = bus_map(&vm->pio, &cf9_region, pm);
		if (err) {
			bus_unmap(&vm->pio, &pm_region, pm);
			goto out;
		}
	}
	vm_add_dev(vm, &pm->dev, &acpi_pm_class);
	if (!vm->power_button)
		vm->power_button = acpi_pm_power_button;
	*out = pm;
	return 0;
out:
	plat_free(pm);
	return err;
}
