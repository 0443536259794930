/* SPDX-License-Identifier: ISC */
/* acpi_loader.h: the script by which firmware puts our ACPI tables where it wants them. */
#ifndef BOARD_ACPI_LOADER_H
#define BOARD_ACPI_LOADER_H

#include "base/def.h"
#include "base/err.h"

#define ACPI_LOADER_MAX  64 /* entries */
#define ACPI_LOADER_SIZE (ACPI_LOADER_MAX * 128)
#define ACPI_RSDP_SIZE   36

/* tables: what acpi_build() has made for gpa 0, so that its pointers are offsets; becomes the file
 * etc/acpi/tables, its first ACPI_RSDP_SIZE bytes also etc/acpi/rsdp. Checksums are taken out:
 * firmware puts them in. script gets ACPI_LOADER_SIZE bytes, *len says how many count.
 * ERR_FORMAT, ERR_NOMEM. */
int acpi_loader_build(uint8_t *tables, size_t size, uint8_t *script, uint32_t *len) attr_must_check;

#endif
