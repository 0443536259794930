/* SPDX-License-Identifier: ISC */
/* acpi_loader.c: etc/table-loader (QEMU, docs/specs/acpi_nvdimm and hw/acpi/bios-linker-loader:
 * ALLOCATE, ADD_POINTER, ADD_CHECKSUM; 128 bytes each). Creation time only. */
#include "board/acpi_loader.h"

#include "base/str.h"

#define RSDP_FILE   "etc/acpi/rsdp"
#define TABLES_FILE "etc/acpi/tables"

#define ZONE_HIGH 1
#define ZONE_FSEG 2

/* Offsets in tables (ACPI 6.4, 5.2) */
#define RSDP_SUM8    8
#define RSDP_RSDT    16
#define RSDP_XSDT    24
#define RSDP_SUM32   32
#define HDR_LEN      4
#define HDR_SUM      9
#define HDR_SIZE     36
#define FADT_FACS    36
#define FADT_DSDT    40
#define FADT_X_DSDT  140
#define FADT_LEN_MIN 148

enum { CMD_ALLOCATE = 1, CMD_POINTER, CMD_CHECKSUM };

struct loader_entry {
	uint32_t cmd;
	union {
		struct {
			char file[56];
			uint32_t align;
			uint8_t zone;
		} allocate;
		struct {
			char dst[56], src[56];
			uint32_t offset;
			uint8_t size;
		} pointer;
		struct {
			char file[56];
			uint32_t offset, start, len;
		} checksum;
		uint8_t pad[124];
	};
};
_Static_assert(sizeof(struct loader_entry) == 128, "loader entry");

struct script {
	struct loader_entry *at;
	unsigned n;
	uint8_t *tables;
	size_t size;
	int err;
};

static struct loader_entry *add(struct script *s, uint32_t cmd)
{
	if (s->n == ACPI_LOADER_MAX) {
		s->err = ERR_NOMEM;
		s->n--;
	}
	s->at[s->n].cmd = cmd;
	return &s->at[s->n++];
}

static void allocate(struct script *s, const char *file, uint32_t align, uint8_t zone)
{
	struct loader_entry *e = add(s, CMD_ALLOCATE);

	str_copy(e->allocate.file, sizeof(e->allocate.file), file);
	e->allocate.align = align;
	e->allocate.zone = zone;
}

static void pointer(struct script *s, const char *dst, size_t offset, uint8_t size)
{
	struct loader_entry *e = add(s, CMD_POINTER);

	str_copy(e->pointer.dst, sizeof(e->pointer.dst), dst);
	str_copy(e->pointer.src, sizeof(e->pointer.src), TABLES_FILE);
	e->pointer.offset = (uint32_t)offset;
	e->pointer.size = size;
}

static void checksum(struct script *s, const char *file, size_t offset, size_t start, size_t len)
{
	struct loader_entry *e = add(s, CMD_CHECKSUM);

	str_copy(e->checksum.file, sizeof(e->checksum.file), file);
	e->checksum.offset = (uint32_t)offset;
	e->checksum.start = (uint32_t)start;
	e->checksum.len = (uint32_t)len;
	s->tables[offset] = 0;
}

static uint64_t get(struct script *s, size_t at, unsigned bytes)
{
	uint64_t v = 0;

	if (at > s->size || bytes > s->size - at) {
		s->err = ERR_FORMAT;
		return 0;
	}
	memcpy(&v, s->tables + at, bytes);
	return v;
}

static size_t table_sum(struct script *s, size_t at)
{
	size_t len = (size_t)get(s, at + HDR_LEN, 4);

	if (s->err || len < HDR_SIZE || len > s->size - at) {
		s->err = ERR_FORMAT;
		return 0;
	}
	checksum(s, TABLES_FILE, at + HDR_SUM, at, len);
	return len;
}

static void fadt(struct script *s, size_t at)
{
	if (get(s, at + HDR_LEN, 4) < FADT_LEN_MIN) {
		s->err = ERR_FORMAT;
		return;
	}
	pointer(s, TABLES_FILE, at + FADT_FACS, 4);
	pointer(s, TABLES_FILE, at + FADT_DSDT, 4);
	pointer(s, TABLES_FILE, at + FADT_X_DSDT, 8);
	table_sum(s, (size_t)get(s, at + FADT_DSDT, 4));
}

int acpi_loader_build(uint8_t *tables, size_t size, uint8_t *script, uint32_t *len)
{
	struct script s = {.at = (void *)script, .tables = tables, .size = size};
	size_t rsdt, xsdt, n;

	memset(script, 0, ACPI_LOADER_SIZE);
	allocate(&s, RSDP_FILE, 16, ZONE_FSEG);
	allocate(&s, TABLES_FILE, 64, ZONE_HIGH);
	xsdt = (size_t)get(&s, RSDP_XSDT, 8);
	rsdt = (size_t)get(&s, RSDP_RSDT, 4);
	n = s.err ? 0 : (size_t)get(&s, rsdt + HDR_LEN, 4);
	for (size_t at = rsdt + HDR_SIZE; at < rsdt + n && !s.err; at += 4)
		pointer(&s, TABLES_FILE, at, 4);
	n = s.err ? 0 : (size_t)get(&s, xsdt + HDR_LEN, 4);
	for (size_t at = xsdt + HDR_SIZE; at < xsdt + n && !s.err; at += 8) {
		size_t table = (size_t)get(&s, at, 8);

		pointer(&s, TABLES_FILE, at, 8);
		if (!s.err && get(&s, table, 4) == 0x50434146) /* "FACP" */
			fadt(&s, table);
		table_sum(&s, table);
	}
	table_sum(&s, rsdt);
	table_sum(&s, xsdt);
	pointer(&s, RSDP_FILE, RSDP_RSDT, 4);
	pointer(&s, RSDP_FILE, RSDP_XSDT, 8);
	checksum(&s, RSDP_FILE, RSDP_SUM8, 0, 20);
	checksum(&s, RSDP_FILE, RSDP_SUM32, 0, ACPI_RSDP_SIZE);
	*len = s.n * (uint32_t)sizeof(struct loader_entry);
	return s.err ? err_here(s.err) : 0;
}
