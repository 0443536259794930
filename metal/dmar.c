/* SPDX-License-Identifier: ISC */
/* dmar.c: see dmar.h. Pure: any thread. */
#include "metal/dmar.h"

#include "base/str.h"
#include "metal/table.h"

#define HEADER      48u /* ACPI's, then address width and flags */
#define SCOPE_MIN   6u
#define SCOPE_ENDS  1u /* endpoint */
#define SCOPE_SUB   2u /* bridge, and what is behind it */
#define FLAG_REST   BIT(0)
#define REGION_PAGE 4096u

enum { TYPE_DRHD = 0, TYPE_RMRR = 1 };

/* The device scopes in [at, end). */
static int scopes(struct dmar *d, const uint8_t *at, const uint8_t *end, bool region,
		  unsigned owner)
{
	for (; end - at >= (int)SCOPE_MIN; at += at[1]) {
		unsigned len = at[1], n = (len - SCOPE_MIN) / 2;
		struct dmar_scope *s = &d->scope[d->n_scopes];

		if (len < SCOPE_MIN + 2 || len > (size_t)(end - at))
			return ERR_FORMAT;
		if (at[0] != SCOPE_ENDS && at[0] != SCOPE_SUB) /* an I/O APIC, a timer, a name */
			continue;
		if (d->n_scopes == DMAR_SCOPES || n > DMAR_PATH)
			return ERR_RANGE;
		*s = (struct dmar_scope){.owner = (uint8_t)owner,
					 .region = region,
					 .bridge = at[0] == SCOPE_SUB,
					 .bus = at[5],
					 .n = (uint8_t)n};
		for (unsigned i = 0; i < n; i++)
			s->path[i] = (uint8_t)(at[SCOPE_MIN + 2 * i] << 3 |
					       (at[SCOPE_MIN + 2 * i + 1] & 7));
		d->n_scopes++;
	}
	return at == end ? 0 : ERR_FORMAT;
}

static int take_unit(struct dmar *d, const uint8_t *at, unsigned len)
{
	unsigned n = d->n_units;

	if (len < 16)
		return ERR_FORMAT;
	if (table_field(at, 6, 2)) /* another segment's */
		return 0;
	if (n == DMAR_UNITS)
		return ERR_RANGE;
	d->unit[n].base = table_field(at, 8, 8);
	d->unit[n].rest = at[4] & FLAG_REST;
	if (!d->unit[n].base || d->unit[n].base % REGION_PAGE)
		return ERR_FORMAT;
	d->n_units++;
	return scopes(d, at + 16, at + len, false, n);
}

static int take_region(struct dmar *d, const uint8_t *at, unsigned len)
{
	unsigned n = d->n_regions;

	if (len < 24)
		return ERR_FORMAT;
	if (table_field(at, 6, 2))
		return 0;
	if (n == DMAR_REGIONS)
		return ERR_RANGE;
	d->region[n].pa = table_field(at, 8, 8);
	d->region[n].end = table_field(at, 16, 8) + 1;
	if (d->region[n].pa % REGION_PAGE || d->region[n].end % REGION_PAGE ||
	    d->region[n].end <= d->region[n].pa)
		return ERR_FORMAT;
	d->n_regions++;
	return scopes(d, at + 24, at + len, true, n);
}

int dmar_parse(const uint8_t *table, size_t size, struct dmar *out)
{
	size_t len;

	memset(out, 0, sizeof(*out));
	for (size_t at = HEADER; at < size; at += len) {
		const uint8_t *e = table + at;
		int err = 0;

		len = size - at < 4 ? 0 : (size_t)table_field(e, 2, 2);
		if (len < 4 || len > size - at)
			return err_here(ERR_FORMAT);
		if (table_field(e, 0, 2) == TYPE_DRHD)
			err = take_unit(out, e, (unsigned)len);
		else if (table_field(e, 0, 2) == TYPE_RMRR)
			err = take_region(out, e, (unsigned)len);
		if (err)
			return err_here(err);
	}
	return out->n_units ? 0 : err_here(ERR_NOENT);
}

bool dmar_in_scope(const struct dmar_scope *s, uint16_t bdf, dmar_buses buses, void *ctx)
{
	uint8_t bus = s->bus, last;
	uint16_t at = 0;

	for (unsigned i = 0; i < s->n; i++) {
		at = (uint16_t)(bus << 8 | s->path[i]);
		if (i + 1 < s->n && !buses(ctx, at, &bus, &last))
			return false;
	}
	if (at == bdf)
		return true;
	return s->bridge && buses(ctx, at, &bus, &last) && bdf >> 8 >= bus && bdf >> 8 <= last;
}

unsigned dmar_unit_of(const struct dmar *d, uint16_t bdf, dmar_buses buses, void *ctx)
{
	unsigned i;

	for (i = 0; i < d->n_scopes; i++)
		if (!d->scope[i].region && dmar_in_scope(&d->scope[i], bdf, buses, ctx))
			return d->scope[i].owner;
	for (i = 0; i < d->n_units && !d->unit[i].rest;)
		i++;
	return i;
}
