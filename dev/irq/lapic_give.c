/* SPDX-License-Identifier: ISC */
/* lapic_give.c: a local APIC whose fixed interrupts the processor itself delivers to a guest, and ends, while
 * that runs (SDM vol. 3, 30.2: virtual-interrupt delivery). IRR, ISR and TPR are in a page of the processor's then. What
 * comes from elsewhere waits in irr until the vCPU comes out, for which each is a request: the page is nobody
 * else's. On the vCPU's own thread, but for lapic_given_waits(). */
#include "dev/irq/lapic_impl.h"

/* A register of the page, one in 16 bytes */
static _Atomic uint32_t *at(uint32_t *page, unsigned reg)
{
	return (_Atomic uint32_t *)(page + reg * 4);
}

static uint32_t get(uint32_t *page, unsigned reg)
{
	return atomic_load_explicit(at(page, reg), memory_order_relaxed);
}

static void put(uint32_t *page, unsigned reg, uint32_t v)
{
	atomic_store_explicit(at(page, reg), v, memory_order_relaxed);
}

static uint64_t map_get(uint32_t *page, unsigned reg, unsigned i)
{
	return get(page, reg + 2 * i) | (uint64_t)get(page, reg + 2 * i + 1) << 32;
}

static void map_put(uint32_t *page, unsigned reg, unsigned i, uint64_t v)
{
	put(page, reg + 2 * i, (uint32_t)v);
	put(page, reg + 2 * i + 1, (uint32_t)(v >> 32));
}

/* In x2APIC mode alone the registers that the processor is to do are MSRs; who ends by itself what it takes
 * (AutoEOI) is nothing that it knows. */
static bool may_give(const struct lapic *l, uint64_t base)
{
	return (base & (BASE_EN | BASE_EXTD)) == (BASE_EN | BASE_EXTD) && !l->lent &&
	       !(l->auto_eoi[0] | l->auto_eoi[1] | l->auto_eoi[2] | l->auto_eoi[3]);
}

static attr_noinline const struct apic_given *give(struct lapic *l, uint32_t *page)
{
	struct apic_given *out = &l->is_given;
	uint64_t irr[4];

	plat_mutex_lock(&l->lock);
	for (unsigned i = 0; i < 4; i++) {
		irr[i] = l->irr[i];
		atomic_store_explicit(&l->irr[i], 0, memory_order_relaxed);
		map_put(page, REG_IRR, i, irr[i]);
		map_put(page, REG_ISR, i, l->isr[i]);
		out->tell[i] = l->tmr[i];
	}
	put(page, REG_TPR, l->tpr);
	out->rvi = (uint8_t)MAX(lapic_highest(irr), 0);
	out->svi = (uint8_t)MAX(lapic_highest(l->isr), 0);
	l->given = page;
	lapic_unlock(l);
	return out;
}

const struct apic_given *lapic_give(void *chip, uint32_t *page)
{
	struct lapic *l = chip;

	return may_give(l, atomic_load_explicit(&l->base, memory_order_relaxed)) ? give(l, page)
										 : NULL;
}

/* Whoever has taken it looks at pend by itself: no request. */
void lapic_take(void *chip)
{
	struct lapic *l = chip;

	plat_mutex_lock(&l->lock);
	for (unsigned i = 0; i < 4; i++) {
		uint64_t new = atomic_load_explicit(&l->irr[i], memory_order_relaxed);

		atomic_store_explicit(&l->irr[i], new | map_get(l->given, REG_IRR, i),
				      memory_order_relaxed);
		l->isr[i] = map_get(l->given, REG_ISR, i);
	}
	l->tpr = get(l->given, REG_TPR) & 0xff;
	l->given = NULL;
	atomic_store_explicit(&l->pend, lapic_deliverable(l), memory_order_release);
	plat_mutex_unlock(&l->lock);
}

void lapic_ended(void *chip, uint8_t vector)
{
	struct lapic *l = chip;

	plat_mutex_lock(&l->lock);
	lapic_ended_unlock(l, vector);
}

bool lapic_given_waits(struct lapic *l, uint8_t vector)
{
	bool waits;

	plat_mutex_lock(&l->lock);
	waits = l->given && get(l->given, REG_IRR + vector / 32) >> vector % 32 & 1;
	plat_mutex_unlock(&l->lock);
	return waits;
}
