/* SPDX-License-Identifier: ISC */
/* acpi.c: reads RSDP, RSDT or XSDT, and of the tables MADT, FADT (and of its DSDT the power-off state),
 * HPET and MCFG (ACPI 6.4, chapters 5.2 and 16.1). No AML is executed: _S5_ is a name of a package of
 * constants, found by its bytes. Once, at the start. */
#include "metal/acpi.h"

#include "base/str.h"
#include "metal/table.h"

struct table {
	char sig[4];
	uint32_t len;
	uint8_t rest[28];
};
_Static_assert(sizeof(struct table) == 36, "header");

static bool sum_ok(const void *p, size_t len)
{
	return !sum_bytes(p, len);
}

static const uint8_t *find_rsdp(void)
{
	for (uint64_t at = 0xe0000; at < 0x100000; at += 16)
		if (!memcmp((const void *)at, "RSD PTR ", 8) && sum_ok((const void *)at, 20))
			return (const void *)at;
	return NULL;
}

/* ---- tables ---- */

enum { MADT_CPU = 0, MADT_IOAPIC = 1, MADT_OVERRIDE = 2, MADT_LAPIC64 = 5, MADT_X2APIC = 9 };

static void add_cpu(struct acpi_info *a, uint32_t id, uint32_t flags)
{
	if (flags & 1 && a->n_cpus < PCPU_MAX)
		a->cpu[a->n_cpus++] = id;
}

static void take_madt(struct acpi_info *a, const struct table *t)
{
	a->lapic = table_field(t, 36, 4);
	for (uint32_t at = 44; at + 2 <= t->len;) {
		const uint8_t *e = (const uint8_t *)t + at;

		switch (e[0]) {
		case MADT_CPU:
			add_cpu(a, e[3], (uint32_t)table_field(e, 4, 4));
			break;
		case MADT_X2APIC:
			add_cpu(a, (uint32_t)table_field(e, 4, 4), (uint32_t)table_field(e, 8, 4));
			break;
		case MADT_IOAPIC:
			if (!table_field(e, 8, 4)) /* the one that has the ISA interrupts */
				a->ioapic = table_field(e, 4, 4);
			break;
		case MADT_OVERRIDE:
			if (e[3] == 1)
				a->keyboard_gsi = (uint32_t)table_field(e, 4, 4);
			if (e[3] == 4) {
				a->com1_gsi = (uint32_t)table_field(e, 4, 4);
				a->com1_low = (e[8] & 3) == 3;
				a->com1_level = (e[8] & 12) == 12;
			}
			break;
		case MADT_LAPIC64:
			a->lapic = table_field(e, 4, 8);
			break;
		default:
			break;
		}
		if (!e[1])
			break;
		at += e[1];
	}
}

/* A constant of a package: zero, one or a byte. */
static const uint8_t *aml_byte(const uint8_t *p, uint8_t *v)
{
	if (*p == 0x0a) {
		*v = p[1];
		return p + 2;
	}
	*v = *p;
	return p + 1;
}

static void take_dsdt(struct acpi_info *a, const struct table *t)
{
	const uint8_t *p = (const uint8_t *)t, *end = p + t->len;

	for (p += sizeof(*t); p + 16 < end; p++) {
		const uint8_t *q = p + 4;

		if (memcmp(p, "_S5_", 4) || *q != 0x12) /* PackageOp */
			continue;
		q += 1 + (q[1] >> 6) + 1; /* PkgLength */
		q++;                      /* number of elements */
		q = aml_byte(q, &a->s5_a);
		aml_byte(q, &a->s5_b);
		a->has_s5 = true;
		return;
	}
}

static void take_fadt(struct acpi_info *a, const struct table *t)
{
	uint64_t dsdt = table_field(t, 40, 4);

	if (t->len >= 148 && table_field(t, 140, 8))
		dsdt = table_field(t, 140, 8);
	a->smi_cmd = (uint16_t)table_field(t, 48, 4);
	a->acpi_enable = (uint8_t)table_field(t, 52, 1);
	a->pm1a_cnt = (uint16_t)table_field(t, 64, 4);
	a->pm1b_cnt = (uint16_t)table_field(t, 68, 4);
	a->pm_timer = (uint16_t)table_field(t, 76, 4);
	if (t->len >= 129 && table_field(t, 112, 4) & BIT(10)) {
		a->reset_space = (uint8_t)table_field(t, 116, 1);
		a->reset_at = table_field(t, 120, 8);
		a->reset_value = (uint8_t)table_field(t, 128, 1);
	}
	if (dsdt && dsdt < 4 * GIB)
		take_dsdt(a, (const void *)dsdt);
}

static void take_hpet(struct acpi_info *a, const struct table *t)
{
	a->hpet = table_field(t, 44, 8);
}

static void take_mcfg(struct acpi_info *a, const struct table *t)
{
	/* Of segment 0 from bus 0 on: the base is that of bus 0 wherever the range starts. */
	for (uint32_t at = 44; at + 16 <= t->len; at += 16) {
		if (table_field(t, at + 8, 2) || table_field(t, at + 10, 1))
			continue;
		a->ecam = table_field(t, at, 8);
		a->ecam_buses = (unsigned)table_field(t, at + 11, 1) + 1;
	}
}

static void take_dmar(struct acpi_info *a, const struct table *t)
{
	a->has_dmar = true;
	a->dmar_err = dmar_parse((const uint8_t *)t, t->len, &a->dmar);
}

static void take_ivrs(struct acpi_info *a, const struct table *t)
{
	a->has_ivrs = true;
	a->ivrs_err = ivrs_parse((const uint8_t *)t, t->len, &a->ivrs);
}

static const struct {
	char sig[5];
	void (*take)(struct acpi_info *a, const struct table *t);
} tables[] = {
	{"APIC", take_madt}, {"FACP", take_fadt}, {"HPET", take_hpet},
	{"MCFG", take_mcfg}, {"DMAR", take_dmar}, {"IVRS", take_ivrs},
};

static void take(struct acpi_info *a, uint64_t at)
{
	const struct table *t = (const void *)at;

	if (!at || at >= 4 * GIB || t->len < sizeof(*t) || !sum_ok(t, t->len))
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(tables); i++)
		if (!memcmp(t->sig, tables[i].sig, 4))
			tables[i].take(a, t);
}

int acpi_parse(const uint8_t *rsdp, struct acpi_info *out)
{
	const struct table *root;
	unsigned size;

	*out = (struct acpi_info){.com1_gsi = 4, .keyboard_gsi = 1};
	if (memcmp(rsdp, "RSD PTR ", 8))
		rsdp = find_rsdp();
	if (!rsdp)
		return err_here(ERR_NOENT);
	size = rsdp[15] >= 2 && table_field(rsdp, 24, 8) ? 8 : 4;
	root = (const void *)(size == 8 ? table_field(rsdp, 24, 8) : table_field(rsdp, 16, 4));
	if (!root || (uint64_t)root >= 4 * GIB)
		return err_here(ERR_NOENT);
	for (uint32_t at = sizeof(*root); at + size <= root->len; at += size)
		take(out, table_field(root, at, size));
	return out->lapic && out->n_cpus ? 0 : err_here(ERR_NOENT);
}
