/* SPDX-License-Identifier: ISC */
/* ivrs.c: see ivrs.h. Pure: any thread. */
#include "metal/ivrs.h"

#include "base/str.h"
#include "metal/table.h"

#define HEADER      48u
#define REGION_PAGE 4096u

enum {
	IVHD_10 = 0x10,
	IVHD_11 = 0x11,
	IVHD_40 = 0x40,
	IVMD_ALL = 0x20,
	IVMD_ONE = 0x21,
	IVMD_RANGE = 0x22
};
enum { DEV_ALIAS = 0x42, DEV_ALIAS_FROM = 0x43, DEV_END = 4, DEV_HID = 0xf0 };

/* Bytes of an entry for devices, of which left are there; 0: not even its length. */
static size_t entry_size(const uint8_t *at, size_t left)
{
	if (at[0] == DEV_HID)
		return left > 21 ? 22u + at[21] : 0;
	return at[0] < 0x40 ? 4 : at[0] < 0x80 ? 8 : at[0] < 0xc0 ? 16 : 32;
}

static int add_alias(struct ivrs *v, uint16_t first, uint16_t last, uint16_t source)
{
	if (last < first)
		return ERR_FORMAT;
	if (v->n_aliases == IVRS_ALIASES)
		return ERR_RANGE;
	v->alias[v->n_aliases].first = first;
	v->alias[v->n_aliases].last = last;
	v->alias[v->n_aliases++].source = source;
	return 0;
}

static int take_devices(struct ivrs *v, const uint8_t *at, const uint8_t *end)
{
	uint16_t first = 0, source = 0;
	bool range = false;
	int err = 0;

	for (size_t n; at < end && !err; at += n) {
		n = entry_size(at, (size_t)(end - at));
		if (!n || n > (size_t)(end - at))
			return ERR_FORMAT;
		if (at[0] == DEV_ALIAS) {
			err = add_alias(v, (uint16_t)table_field(at, 1, 2),
					(uint16_t)table_field(at, 1, 2),
					(uint16_t)table_field(at, 5, 2));
		} else if (at[0] == DEV_ALIAS_FROM) {
			range = true;
			first = (uint16_t)table_field(at, 1, 2);
			source = (uint16_t)table_field(at, 5, 2);
		} else if (at[0] == DEV_END && range) {
			range = false;
			err = add_alias(v, first, (uint16_t)table_field(at, 1, 2), source);
		}
	}
	return err ? err : range ? ERR_FORMAT : 0;
}

/* A unit is described once in each way that there has been; the first is enough. */
static int take_unit(struct ivrs *v, const uint8_t *at, size_t len)
{
	size_t head = at[0] == IVHD_10 ? 24 : 40;
	uint64_t base;

	if (len < head)
		return ERR_FORMAT;
	base = table_field(at, 8, 8);
	for (unsigned i = 0; i < v->n_units; i++)
		if (v->unit[i].base == base)
			return 0;
	if (table_field(at, 16, 2)) /* another segment's */
		return 0;
	if (v->n_units == IVRS_UNITS)
		return ERR_RANGE;
	if (!base || base % REGION_PAGE)
		return ERR_FORMAT;
	v->unit[v->n_units].base = base;
	v->unit[v->n_units++].bdf = (uint16_t)table_field(at, 4, 2);
	return take_devices(v, at + head, at + len);
}

static int take_region(struct ivrs *v, const uint8_t *at, size_t len)
{
	uint16_t first = (uint16_t)table_field(at, 4, 2);
	uint64_t pa, size;

	if (len < 32)
		return ERR_FORMAT;
	if (v->n_regions == IVRS_REGIONS)
		return ERR_RANGE;
	pa = table_field(at, 16, 8);
	size = table_field(at, 24, 8);
	if (!size || (pa | size) % REGION_PAGE || pa + size < pa)
		return ERR_FORMAT;
	v->region[v->n_regions].pa = pa;
	v->region[v->n_regions].end = pa + size;
	v->region[v->n_regions].first = at[0] == IVMD_ALL ? 0 : first;
	v->region[v->n_regions++].last = at[0] == IVMD_ALL   ? 0xffff
					 : at[0] == IVMD_ONE ? first
							     : (uint16_t)table_field(at, 6, 2);
	return 0;
}

int ivrs_parse(const uint8_t *table, size_t size, struct ivrs *out)
{
	size_t len;

	memset(out, 0, sizeof(*out));
	for (size_t at = HEADER; at < size; at += len) {
		const uint8_t *e = table + at;
		int err = 0;

		len = size - at < 8 ? 0 : (size_t)table_field(e, 2, 2);
		if (len < 8 || len > size - at)
			return err_here(ERR_FORMAT);
		if (e[0] == IVHD_10 || e[0] == IVHD_11 || e[0] == IVHD_40)
			err = take_unit(out, e, len);
		else if (e[0] >= IVMD_ALL && e[0] <= IVMD_RANGE)
			err = take_region(out, e, len);
		if (err)
			return err_here(err);
	}
	return out->n_units ? 0 : err_here(ERR_NOENT);
}

uint16_t ivrs_source(const struct ivrs *v, uint16_t bdf)
{
	for (unsigned i = 0; i < v->n_aliases; i++)
		if (v->alias[i].first <= bdf && bdf <= v->alias[i].last)
			return v->alias[i].source;
	return bdf;
}
