/* SPDX-License-Identifier: ISC */
/* acpi.c: RSDP, RSDT, XSDT, FADT, FACS, MADT, MCFG, HPET and DSDT (ACPI 6.4, section 5.2). Creation time only. */
#include "board/acpi.h"

#include "base/str.h"
#include "board/aml.h"

#define OEM_ID       "VIGIA "
#define OEM_TABLE_ID "VIGIAVM "

struct builder {
	const struct acpi_config *cfg;
	struct aml out;
	gpa_t gpa;
};

static void checksum(uint8_t *p, size_t len, size_t at)
{
	p[at] = 0;
	p[at] = (uint8_t)-sum_bytes(p, len);
}

static void align_to(struct aml *a, size_t n)
{
	while (a->len % n && !a->overflow)
		aml_le(a, 1, 0);
}

/* Opens a table with its common header (5.2.6); returns its offset. */
static size_t table_open(struct builder *b, const char *sig, uint8_t revision)
{
	struct aml *a = &b->out;
	size_t at;

	align_to(a, 64);
	at = a->len;
	aml_bytes(a, sig, 4);
	aml_le(a, 4, 0); /* length, filled in by table_close() */
	aml_le(a, 1, revision);
	aml_le(a, 1, 0);
	aml_bytes(a, OEM_ID, 6);
	aml_bytes(a, OEM_TABLE_ID, 8);
	aml_le(a, 4, 1);
	aml_bytes(a, "VIGA", 4);
	aml_le(a, 4, 1);
	return at;
}

static gpa_t table_close(struct builder *b, size_t at)
{
	uint32_t len = (uint32_t)(b->out.len - at);

	if (b->out.overflow)
		return 0;
	memcpy(b->out.buf + at + 4, &len, 4);
	checksum(b->out.buf + at, len, 9);
	return b->gpa + at;
}

/* A package of small integers. */
static void dsdt_bytes(struct aml *a, const uint8_t *v, uint8_t n)
{
	size_t pkg = aml_open_package(a, n);

	for (unsigned i = 0; i < n; i++)
		aml_int(a, v[i]);
	aml_close(a, pkg);
}

/* Devices \_SB.LNKA…LNKD: fixed, whatever a system would like to set (6.2.12, 6.2.16). Windows wants both methods
 * to be there. */
static void dsdt_links(struct builder *b)
{
	static const uint8_t nothing[] = {0x14, 0x06, '_', 'S', 'R', 'S', 0x01,
					  0x14, 0x06, '_', 'D', 'I', 'S', 0x00};
	struct aml *a = &b->out;

	for (unsigned i = 0; i < 4; i++) {
		char name[5] = {'L', 'N', 'K', (char)('A' + i), 0};
		/* level, active high, shared (6.4.3.6); end tag */
		uint8_t res[] = {0x89, 0x06, 0x00, 0x09, 1, b->cfg->pci_link[i], 0, 0, 0, 0x79, 0};
		size_t dev = aml_open_device(a, name);

		aml_name(a, "_HID");
		aml_eisaid(a, "PNP0C0F");
		aml_name(a, "_UID");
		aml_int(a, i + 1);
		aml_name(a, "_STA");
		aml_int(a, 0x0b);
		aml_name(a, "_PRS");
		aml_buffer(a, res, sizeof(res));
		aml_name(a, "_CRS");
		aml_buffer(a, res, sizeof(res));
		aml_bytes(a, nothing, sizeof(nothing));
		aml_close(a, dev);
	}
}

static void dsdt_pci(struct builder *b)
{
	static const char links[4][5] = {"LNKA", "LNKB", "LNKC", "LNKD"};
	const struct acpi_config *c = b->cfg;
	struct aml *a = &b->out;
	uint8_t space[256];
	struct aml r = {space, sizeof(space), 0, false};
	size_t dev = aml_open_device(a, "PCI0"), prt;

	aml_name(a, "_HID");
	aml_eisaid(a, c->ecam_base ? "PNP0A08" : "PNP0A03");
	aml_name(a, "_CID");
	aml_eisaid(a, "PNP0A03");
	aml_name(a, "_UID");
	aml_int(a, 0);
	aml_name(a, "_BBN");
	aml_int(a, 0);

	aml_res_bus(&r, 0, 0);
	aml_res_io(&r, 0xcf8, 8);
	if (c->pci_link[0]) { /* a PC: devices at ISA's places, and the screen's */
		aml_res_io_window(&r, 0, 0xcf7);
		aml_res_mem_window(&r, 0xa0000, 0xbffff);
	}
	aml_res_io_window(&r, c->pci_io_first, c->pci_io_last);
	aml_res_mem_window(&r, c->pci_mem_first, c->pci_mem_last);
	aml_res_end(&r);
	aml_name(a, "_CRS");
	aml_buffer(a, r.buf, r.len);

	/* Slots 1…31, four pins each, to links or straight to GSIs (6.2.13). */
	aml_name(a, "_PRT");
	prt = aml_open_package(a, 31 * 4);
	for (unsigned i = 4; i < 32 * 4; i++) {
		size_t e = aml_open_package(a, 4);

		aml_int(a, (uint64_t)(i / 4) << 16 | 0xffff);
		aml_int(a, i % 4);
		if (c->pci_link[0]) {
			aml_bytes(a, links[(i / 4 + i % 4 + 3) % 4], 4);
			aml_int(a, 0);
		} else {
			aml_int(a, 0);
			aml_int(a, c->pci_gsi(i / 4, i % 4));
		}
		aml_close(a, e);
	}
	aml_close(a, prt);
	aml_close(a, dev);
}

/* At fixed ports. 0: none. */
struct isa_device {
	const char *name, *hid;
	uint16_t port, port2;
	uint8_t len, irq, len2;
	bool has_dma;
	uint8_t dma;
};
static const struct isa_device isa_com1 = {"COM1", "PNP0501", 0x3f8, 0, 8, 4};
static const struct isa_device isa_rtc = {"RTC0", "PNP0B00", 0x70, 0, 2, 8};
static const struct isa_device isa_keyboard = {"KBD0", "PNP0303", 0x60, 0x64, 1, 1, 1};
static const struct isa_device isa_floppy = {"FDC0", "PNP0700", 0x3f0, 0x3f7, 6, 6, 1, true, 2};
static const struct isa_device isa_parallel = {"LPT1", "PNP0400", 0x378, 0, 3, 7};
static const struct isa_device isa_mouse = {"MOU0", "PNP0F13", 0, 0, 0, 12};

/* gpe: the general-purpose event by which it wakes the machine from S3 (7.3.13); 0: it does not. */
static void dsdt_isa_device(struct builder *b, const struct isa_device *d, uint8_t gpe)
{
	struct aml *a = &b->out;
	uint8_t space[64];
	struct aml r = {space, sizeof(space), 0, false};
	size_t dev = aml_open_device(a, d->name);

	aml_name(a, "_HID");
	aml_eisaid(a, d->hid);
	aml_name(a, "_UID");
	aml_int(a, 0);
	if (d->port)
		aml_res_io(&r, d->port, d->len);
	if (d->port2)
		aml_res_io(&r, d->port2, d->len2);
	aml_res_irq(&r, d->irq);
	if (d->has_dma)
		aml_res_dma(&r, d->dma);
	aml_res_end(&r);
	aml_name(a, "_CRS");
	aml_buffer(a, r.buf, r.len);
	if (gpe) {
		const uint8_t prw[] = {gpe, 3};

		aml_name(a, "_PRW");
		dsdt_bytes(a, prw, sizeof(prw));
	}
	aml_close(a, dev);
}

/* \_GPE._Exx: told whose it is (5.6.4.1). */
static void dsdt_gpe(struct builder *b)
{
	static const char digits[] = "0123456789ABCDEF";
	const uint8_t n = b->cfg->kbd_gpe;
	const char name[5] = {'_', 'E', digits[n >> 4], digits[n & 15], 0};
	struct aml *a = &b->out;
	size_t scope = aml_open_scope(a, "\\_GPE"), method = aml_open_method(a, name);

	aml_notify(a, "\\\x2e_SB_KBD0", 2); /* it wakes */
	aml_close(a, method);
	aml_close(a, scope);
}

/* \_S3 and so on: SLP_TYP of PM1a and PM1b (7.4.2). */
static void dsdt_sleep(struct builder *b, const char *name, uint8_t type)
{
	const uint8_t types[] = {type, type, 0, 0};

	aml_name(&b->out, name);
	dsdt_bytes(&b->out, types, sizeof(types));
}

/* The configuration window must be claimed by a motherboard resource, or Linux ignores it. */
static void dsdt_ecam(struct builder *b)
{
	struct aml *a = &b->out;
	uint8_t space[64];
	struct aml r = {space, sizeof(space), 0, false};
	size_t dev = aml_open_device(a, "MBRD");

	aml_name(a, "_HID");
	aml_eisaid(a, "PNP0C02");
	aml_name(a, "_UID");
	aml_int(a, 1);
	aml_res_mem_fixed(&r, (uint32_t)b->cfg->ecam_base, 1u << 20);
	aml_res_end(&r);
	aml_name(a, "_CRS");
	aml_buffer(a, r.buf, r.len);
	aml_close(a, dev);
}

static void dsdt_hpet(struct builder *b)
{
	struct aml *a = &b->out;
	uint8_t space[64];
	struct aml r = {space, sizeof(space), 0, false};
	size_t dev = aml_open_device(a, "HPET");

	aml_name(a, "_HID");
	aml_eisaid(a, "PNP0103");
	aml_name(a, "_UID");
	aml_int(a, 0);
	aml_res_mem_fixed(&r, (uint32_t)b->cfg->hpet_base, 0x400);
	aml_res_end(&r);
	aml_name(a, "_CRS");
	aml_buffer(a, r.buf, r.len);
	aml_close(a, dev);
}

static gpa_t build_dsdt(struct builder *b)
{
	const struct acpi_config *c = b->cfg;
	struct aml *a = &b->out;
	size_t at = table_open(b, "DSDT", 2), scope;

	scope = aml_open_scope(a, "\\_SB_");
	if (c->pci_link[0])
		dsdt_links(b);
	dsdt_pci(b);
	if (c->ecam_base)
		dsdt_ecam(b);
	if (c->hpet_base)
		dsdt_hpet(b);
	if (c->has_serial)
		dsdt_isa_device(b, &isa_com1, 0);
	if (c->has_rtc)
		dsdt_isa_device(b, &isa_rtc, 0);
	if (c->has_floppy)
		dsdt_isa_device(b, &isa_floppy, 0);
	if (c->has_parallel)
		dsdt_isa_device(b, &isa_parallel, 0);
	if (c->has_ps2) {
		dsdt_isa_device(b, &isa_keyboard, c->kbd_gpe);
		dsdt_isa_device(b, &isa_mouse, 0);
	}
	aml_close(a, scope);
	if (c->has_ps2 && c->kbd_gpe)
		dsdt_gpe(b);
	if (c->s3_type)
		dsdt_sleep(b, "_S3_", c->s3_type);
	if (c->s4_type)
		dsdt_sleep(b, "_S4_", c->s4_type);
	dsdt_sleep(b, "_S5_", c->s5_type);
	return table_close(b, at);
}

static gpa_t build_facs(struct builder *b)
{
	size_t at;

	align_to(&b->out, 64);
	at = b->out.len;
	aml_bytes(&b->out, "FACS", 4);
	aml_le(&b->out, 4, 64);
	aml_le(&b->out, 8, 0);
	aml_le(&b->out, 8, 0);
	aml_le(&b->out, 8, 0);
	aml_le(&b->out, 1, 2);
	for (int i = 33; i < 64; i++)
		aml_le(&b->out, 1, 0);
	return b->gpa + at;
}

/* Generic address structure in I/O space (5.2.3.2). */
static void gas_io(struct aml *a, uint16_t port, uint8_t bits)
{
	aml_le(a, 1, 1);
	aml_le(a, 1, bits);
	aml_le(a, 1, 0);
	aml_le(a, 1, bits == 8 ? 1 : bits == 16 ? 2 : bits == 32 ? 3 : 0);
	aml_le(a, 8, port);
}

static void gas_none(struct aml *a)
{
	for (int i = 0; i < 12; i++)
		aml_le(a, 1, 0);
}

static gpa_t build_fadt(struct builder *b, gpa_t facs, gpa_t dsdt)
{
	const struct acpi_config *c = b->cfg;
	struct aml *a = &b->out;
	size_t at = table_open(b, "FACP", 6);

	aml_le(a, 4, facs);
	aml_le(a, 4, dsdt);
	aml_le(a, 1, 0);
	aml_le(a, 1, 0); /* profile unspecified */
	aml_le(a, 2, c->sci_gsi);
	aml_le(a, 4, 0); /* no SMI command: always in ACPI mode */
	aml_le(a, 4, 0); /* ACPI_ENABLE, ACPI_DISABLE, S4BIOS, PSTATE */
	aml_le(a, 4, c->pm1a_evt);
	aml_le(a, 4, 0);
	aml_le(a, 4, c->pm1a_cnt);
	aml_le(a, 4, 0);
	aml_le(a, 4, 0);
	aml_le(a, 4, c->pm_timer);
	aml_le(a, 4, c->gpe0);
	aml_le(a, 4, 0);
	aml_le(a, 1, 4);           /* PM1_EVT_LEN */
	aml_le(a, 1, 2);           /* PM1_CNT_LEN */
	aml_le(a, 1, 0);           /* PM2_CNT_LEN */
	aml_le(a, 1, 4);           /* PM_TMR_LEN */
	aml_le(a, 1, c->gpe0_len); /* GPE0_BLK_LEN */
	aml_le(a, 1, 0);
	aml_le(a, 1, 0);
	aml_le(a, 1, 0);
	aml_le(a, 2, 0xfff); /* no C2 */
	aml_le(a, 2, 0xfff); /* no C3 */
	aml_le(a, 4, 0);
	aml_le(a, 2, 0);    /* DUTY */
	aml_le(a, 1, 0);    /* DAY_ALRM */
	aml_le(a, 1, 0);    /* MON_ALRM */
	aml_le(a, 1, 0x32); /* CENTURY */
	/* LEGACY_DEVICES, 8042, no VGA, no ASPM */
	aml_le(a, 2, 1u << 0 | (c->has_i8042 ? 1u << 1 : 0) | 1u << 2 | 1u << 4);
	aml_le(a, 1, 0);
	/* WBINVD, PROC_C1, SLP_BUTTON absent, TMR_VAL_EXT, RESET_REG_SUP */
	aml_le(a, 4, 1u << 0 | 1u << 2 | 1u << 5 | 1u << 8 | 1u << 10);
	gas_io(a, c->reset_port, 8);
	aml_le(a, 1, c->reset_value);
	aml_le(a, 2, 0);
	aml_le(a, 1, 5); /* FADT minor version: no meaning beyond 6.x */
	aml_le(a, 8, 0); /* X_FIRMWARE_CTRL: the 32-bit field counts */
	aml_le(a, 8, dsdt);
	gas_io(a, c->pm1a_evt, 32);
	gas_none(a);
	gas_io(a, c->pm1a_cnt, 16);
	gas_none(a);
	gas_none(a);
	gas_io(a, c->pm_timer, 32);
	gas_io(a, c->gpe0, (uint8_t)(8 * c->gpe0_len));
	gas_none(a);
	gas_none(a);
	gas_none(a);
	aml_le(a, 8, 0); /* hypervisor vendor */
	return table_close(b, at);
}

static void madt_override(struct aml *a, uint8_t irq, uint32_t gsi, uint16_t flags)
{
	aml_le(a, 1, 2);
	aml_le(a, 1, 10);
	aml_le(a, 1, 0);
	aml_le(a, 1, irq);
	aml_le(a, 4, gsi);
	aml_le(a, 2, flags);
}

static gpa_t build_madt(struct builder *b)
{
	const struct acpi_config *c = b->cfg;
	struct aml *a = &b->out;
	size_t at = table_open(b, "APIC", 5);

	aml_le(a, 4, c->lapic_base);
	aml_le(a, 4, 1); /* a PC-AT dual 8259 is there */
	for (unsigned i = 0; i < c->cpus; i++) {
		aml_le(a, 1, 0);
		aml_le(a, 1, 8);
		aml_le(a, 1, i);
		aml_le(a, 1, i);
		aml_le(a, 4, 1);
	}
	aml_le(a, 1, 1);
	aml_le(a, 1, 12);
	aml_le(a, 1, 0);
	aml_le(a, 1, 0);
	aml_le(a, 4, c->ioapic_base);
	aml_le(a, 4, 0);
	madt_override(a, 0, 2, 0);
	madt_override(a, c->sci_gsi, c->sci_gsi, 0x000d); /* level, active high */
	for (unsigned i = 0; i < 4 && c->pci_link[0]; i++)
		if (!i || c->pci_link[i] != c->pci_link[i - 1])
			madt_override(a, c->pci_link[i], c->pci_link[i], 0x000d);
	aml_le(a, 1, 4); /* NMI on LINT1 of all */
	aml_le(a, 1, 6);
	aml_le(a, 1, 0xff);
	aml_le(a, 2, 0);
	aml_le(a, 1, 1);
	return table_close(b, at);
}

static gpa_t build_mcfg(struct builder *b)
{
	struct aml *a = &b->out;
	size_t at = table_open(b, "MCFG", 1);

	aml_le(a, 8, 0);
	aml_le(a, 8, b->cfg->ecam_base);
	aml_le(a, 2, 0);
	aml_le(a, 1, 0); /* first bus */
	aml_le(a, 1, 0); /* last bus */
	aml_le(a, 4, 0);
	return table_close(b, at);
}

/* IA-PC HPET specification 1.0a, 3.2.4 */
static gpa_t build_hpet(struct builder *b)
{
	struct aml *a = &b->out;
	size_t at = table_open(b, "HPET", 1);

	aml_le(a, 4, b->cfg->hpet_id);
	aml_le(a, 1, 0); /* address: memory, 64 bits */
	aml_le(a, 1, 64);
	aml_le(a, 2, 0);
	aml_le(a, 8, b->cfg->hpet_base);
	aml_le(a, 1, 0);      /* sequence number */
	aml_le(a, 2, 0x2710); /* least period without lost interrupts: 100 us */
	aml_le(a, 1, 0);
	return table_close(b, at);
}

/* size: bytes of an address; 4 for systems of ACPI 1.0's time, such as 32-bit Windows XP. */
static gpa_t build_root(struct builder *b, const char *sig, const gpa_t *table, unsigned n,
			unsigned size)
{
	size_t at = table_open(b, sig, 1);

	for (unsigned i = 0; i < n; i++)
		aml_le(&b->out, size, table[i]);
	return table_close(b, at);
}

static void build_rsdp(uint8_t *p, gpa_t rsdt, gpa_t xsdt)
{
	uint32_t len = 36;

	memcpy(p, "RSD PTR ", 8);
	memcpy(p + 9, OEM_ID, 6);
	p[15] = 2;
	memcpy(p + 16, &rsdt, 4);
	memcpy(p + 20, &len, 4);
	memcpy(p + 24, &xsdt, 8);
	checksum(p, 20, 8);
	checksum(p, 36, 32);
}

int acpi_build(const struct acpi_config *cfg, gpa_t gpa, uint8_t *buf, size_t size)
{
	struct builder b = {cfg, {buf, size, 0, false}, gpa};
	gpa_t table[4], rsdt, xsdt;
	unsigned n = 0;

	if (size < 64)
		return err_here(ERR_NOMEM);
	memset(buf, 0, 64);
	b.out.len = 64; /* the RSDP's place */
	table[n++] = 0;
	gpa_t dsdt = build_dsdt(&b), facs = build_facs(&b);
	table[0] = build_fadt(&b, facs, dsdt);
	table[n++] = build_madt(&b);
	if (cfg->ecam_base)
		table[n++] = build_mcfg(&b);
	if (cfg->hpet_base)
		table[n++] = build_hpet(&b);
	rsdt = build_root(&b, "RSDT", table, n, 4);
	xsdt = build_root(&b, "XSDT", table, n, 8);
	if (b.out.overflow)
		return err_here(ERR_NOMEM);
	build_rsdp(buf, rsdt, xsdt);
	return 0;
}
