/* SPDX-License-Identifier: ISC */
/* iommu_intel.c: see iommu_kind.h: which unit is whose, by the DMAR table. */
#include "metal/hostpci.h"
#include "metal/iommu_kind.h"
#include "metal/trap.h"
#include "metal/vtd.h"
#include "plat/metal/apic.h"
#include "plat/plat.h"

static struct {
	const struct dmar *dmar;
	struct vtd unit[DMAR_UNITS];
	unsigned n;
	void (*fn)(void *arg);
	void *arg;
} all;

static bool buses(void *ctx, uint16_t bdf, uint8_t *first, uint8_t *last)
{
	const struct hostpci *f;

	for (unsigned i = 0; (f = hostpci_at(i)); i++)
		if (f->bdf == bdf)
			return hostpci_buses(f, first, last);
	return false;
}

static struct vtd *unit_of(uint16_t bdf)
{
	unsigned n = dmar_unit_of(all.dmar, bdf, buses, NULL);

	return n < all.n ? &all.unit[n] : NULL;
}

static int intel_open(const struct acpi_info *acpi, unsigned *n)
{
	int err = acpi->dmar_err;

	all.dmar = &acpi->dmar;
	for (unsigned i = 0; i < all.dmar->n_units && !err; i++) {
		err = vtd_open(&all.unit[i], all.dmar->unit[i].base);
		all.n += !err;
	}
	*n = all.n;
	return err;
}

static void on_irq(uint8_t vector)
{
	all.fn(all.arg);
}

static int intel_start(void (*fn)(void *arg), void *arg)
{
	int err = 0;

	all.fn = fn;
	all.arg = arg;
	trap_set_irq(IRQ_IOMMU, on_irq);
	for (unsigned i = 0; i < all.n && !err; i++)
		err = vtd_start(&all.unit[i], apic_id(), IRQ_IOMMU);
	return err;
}

static uint16_t intel_source(uint16_t bdf)
{
	return bdf;
}

static int intel_prepare(uint16_t bdf, struct iopt *t)
{
	const struct vtd *v = unit_of(bdf);

	if (!v)
		return err_here(ERR_NOENT);
	*t = (struct iopt){
		.format = &iopt_intel, .levels = v->levels, .large = v->large, .flush = v->flush};
	return 0;
}

static int intel_attach(uint16_t bdf, const struct iopt *t, unsigned id)
{
	return vtd_attach(unit_of(bdf), bdf, plat_phys(t->root), id);
}

static void intel_flush(uint16_t bdf, unsigned id)
{
	vtd_flush(unit_of(bdf));
}

static bool intel_fault(struct iommu_fault *out)
{
	for (unsigned i = 0; i < all.n; i++)
		if (vtd_fault(&all.unit[i], out))
			return true;
	return false;
}

static bool intel_region(unsigned n, uint16_t bdf, uint64_t *pa, uint64_t *end, bool *its)
{
	const struct dmar *d = all.dmar;
	const struct dmar_scope *s = &d->scope[n];

	if (n >= d->n_scopes)
		return false;
	*its = s->region && dmar_in_scope(s, bdf, buses, NULL);
	if (*its) {
		*pa = d->region[s->owner].pa;
		*end = d->region[s->owner].end;
	}
	return true;
}

const struct iommu_kind iommu_intel = {
	.open = intel_open,
	.start = intel_start,
	.source = intel_source,
	.prepare = intel_prepare,
	.attach = intel_attach,
	.flush = intel_flush,
	.fault = intel_fault,
	.region = intel_region,
};
