/* SPDX-License-Identifier: ISC */
/* iommu.c: see iommu.h. A function has a domain: page tables of its own, filled with what it is given. Faults interrupt; a
 * thread says them, a few a second. all.lock guards everything. */
#include "metal/iommu.h"

#include "metal/hostpci.h"
#include "metal/iommu_kind.h"
#include "plat/plat.h"

#define SAY_MAX 10u /* faults a second */

struct grant {
	struct grant *next;
	uint64_t pa, end;
	unsigned count;
};

struct domain {
	struct domain *next;
	uint16_t bdf;
	unsigned id;
	struct iopt table;
	struct grant *grants;
	uint64_t faults;
};

static struct {
	struct plat_mutex lock;        /* RANK_TIMER: below the console's */
	const struct iommu_kind *kind; /* NULL: there is none */
	unsigned n_units, n_domains;
	struct domain *first, **last;
	uint64_t faults;
	bool works;
	struct plat_event event;
	struct plat_thread *thread;
} all;

bool iommu_works(void)
{
	return all.works;
}

/* ---- domains; the lock is held ---- */

static struct domain *find(uint16_t bdf)
{
	struct domain *d = all.first;

	while (d && d->bdf != bdf)
		d = d->next;
	return d;
}

static int create(uint16_t bdf, struct domain **out)
{
	struct domain *d = plat_alloc(sizeof(*d));
	int err;

	if (!d)
		return err_here(ERR_NOMEM);
	d->bdf = bdf;
	d->id = all.n_domains + 1;
	err = all.kind->prepare(bdf, &d->table);
	if (!err)
		err = iopt_init(&d->table);
	if (!err)
		err = all.kind->attach(bdf, &d->table, d->id);
	if (err) {
		iopt_fini(&d->table);
		plat_free(d);
		return err;
	}
	all.n_domains++;
	*all.last = d;
	all.last = &d->next;
	*out = d;
	return 0;
}

static int get(uint16_t bdf, struct domain **out)
{
	bdf = all.kind->source(bdf);
	*out = find(bdf);
	return *out ? 0 : create(bdf, out);
}

static int allow(struct domain *d, uint64_t pa, uint64_t end)
{
	struct grant *g = d->grants;
	int err;

	while (g && (g->pa != pa || g->end != end))
		g = g->next;
	if (g) {
		g->count++;
		return 0;
	}
	g = plat_alloc(sizeof(*g));
	if (!g)
		return err_here(ERR_NOMEM);
	err = iopt_map(&d->table, pa, end);
	if (err) {
		iopt_unmap(&d->table, pa, end);
		plat_free(g);
	} else {
		*g = (struct grant){d->grants, pa, end, 1};
		d->grants = g;
	}
	all.kind->flush(d->bdf, d->id);
	return err;
}

static void deny(struct domain *d, uint64_t pa, uint64_t end)
{
	struct grant **link = &d->grants, *g;

	while (*link && ((*link)->pa != pa || (*link)->end != end))
		link = &(*link)->next;
	g = *link;
	if (!g || --g->count)
		return;
	*link = g->next;
	plat_free(g);
	iopt_unmap(&d->table, pa, end);
	all.kind->flush(d->bdf, d->id);
}

/* ---- for drivers ---- */

int iommu_attach(const struct hostpci *f)
{
	struct domain *d;
	int err = 0;

	if (!all.works)
		return 0;
	plat_mutex_lock(&all.lock);
	err = get(f->bdf, &d);
	plat_mutex_unlock(&all.lock);
	return err;
}

int iommu_allow(const struct hostpci *f, const void *p, size_t size)
{
	uint64_t pa = plat_phys(p);
	struct domain *d;
	int err;

	if (!all.works)
		return 0;
	plat_mutex_lock(&all.lock);
	err = get(f->bdf, &d);
	if (!err)
		err = allow(d, pa, ALIGN_UP(pa + size, PAGE_SIZE));
	plat_mutex_unlock(&all.lock);
	return err;
}

void iommu_deny(const struct hostpci *f, const void *p, size_t size)
{
	uint64_t pa = plat_phys(p);
	struct domain *d;

	if (!all.works)
		return;
	plat_mutex_lock(&all.lock);
	d = find(all.kind->source(f->bdf));
	if (d)
		deny(d, pa, ALIGN_UP(pa + size, PAGE_SIZE));
	plat_mutex_unlock(&all.lock);
}

void *iommu_pages_alloc(const struct hostpci *f, size_t size)
{
	void *p = plat_pages_alloc(size);

	if (p && iommu_allow(f, p, size)) {
		plat_pages_free(p, size);
		p = NULL;
	}
	return p;
}

void iommu_pages_free(const struct hostpci *f, void *p, size_t size)
{
	if (p)
		iommu_deny(f, p, size);
	plat_pages_free(p, size);
}

/* ---- faults ---- */

static void on_fault(void *arg)
{
	plat_event_set(&all.event);
}

static bool take(struct iommu_fault *f)
{
	bool there;

	plat_mutex_lock(&all.lock);
	there = all.kind->fault(f);
	if (there) {
		struct domain *d = find(f->bdf);

		all.faults++;
		if (d)
			d->faults++;
	}
	plat_mutex_unlock(&all.lock);
	return there;
}

static void say(const struct iommu_fault *f, unsigned *said)
{
	if ((*said)++ < SAY_MAX)
		plat_log(LOG_WARN, "iommu: %02x:%02x.%x may not %s memory at 0x%llx (reason %u)",
			 f->bdf >> 8, f->bdf >> 3 & 31, f->bdf & 7, f->write ? "write" : "read",
			 (unsigned long long)f->pa, f->reason);
}

/* What is refused more than so many times a second is counted alone. */
static void watch(void *arg)
{
	uint64_t second = 0;
	unsigned said = 0;

	for (;;) {
		struct iommu_fault f;

		plat_event_wait(&all.event, PLAT_FOREVER);
		plat_event_clear(&all.event);
		if (plat_now() - second > NS_PER_SEC) {
			second = plat_now();
			said = 0;
		}
		for (unsigned n = 0; n < 256 && take(&f); n++)
			say(&f, &said);
		/* A function that is refused all the time must not have this thread run all the time. */
		plat_event_wait(&(struct plat_event){0}, plat_now() + NS_PER_SEC / 100);
	}
}

/* ---- set-up ---- */

/* Memory that firmware goes on to use through functions of its own choice: keyboards, graphics. */
static int allow_regions(void)
{
	const struct hostpci *f;
	uint64_t pa, end;
	struct domain *d;
	bool its;
	int err = 0;

	for (unsigned i = 0; (f = hostpci_at(i)); i++)
		for (unsigned n = 0; !err && all.kind->region(n, f->bdf, &pa, &end, &its); n++) {
			if (!its)
				continue;
			err = get(f->bdf, &d);
			if (!err)
				err = allow(d, pa, end);
		}
	return err;
}

void iommu_init(const struct acpi_info *acpi)
{
	int err;

	all.last = &all.first;
	plat_mutex_init(&all.lock, RANK_TIMER);
	all.kind = acpi->has_dmar ? &iommu_intel : acpi->has_ivrs ? &iommu_amd : NULL;
	if (!all.kind)
		return;
	err = all.kind->open(acpi, &all.n_units);
	if (!err)
		err = allow_regions();
	if (!err)
		err = plat_thread_create("iommu", watch, NULL, &all.thread);
	if (!err)
		err = all.kind->start(on_fault, NULL);
	all.works = !err;
	if (err)
		plat_log(LOG_WARN, "iommu: not used: %s", err_str(err));
	else
		plat_log(LOG_INFO, "iommu: devices reach only what is meant for them (%u units)",
			 all.n_units);
}

/* ---- for the shell ---- */

unsigned iommu_units(void)
{
	return all.works ? all.n_units : 0;
}

uint64_t iommu_faults(void)
{
	return all.faults;
}

bool iommu_at(unsigned n, uint16_t *bdf, uint64_t *bytes, uint64_t *faults)
{
	struct domain *d;

	plat_mutex_lock(&all.lock);
	for (d = all.first; d && n; n--)
		d = d->next;
	if (d) {
		*bdf = d->bdf;
		*faults = d->faults;
		*bytes = 0;
		for (const struct grant *g = d->grants; g; g = g->next)
			*bytes += g->end - g->pa;
	}
	plat_mutex_unlock(&all.lock);
	return d;
}
