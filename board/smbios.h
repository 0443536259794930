/* SPDX-License-Identifier: ISC */
/* smbios.h: what the machine says about itself (SMBIOS 2.8): maker, UUID, serial number, processors,
 * memory. */
#ifndef BOARD_SMBIOS_H
#define BOARD_SMBIOS_H

#include "base/def.h"
#include "base/err.h"

#define SMBIOS_ANCHOR_SIZE 31
#define SMBIOS_TABLES_SIZE (8 * KIB)
#define SMBIOS_SERIAL_MAX  63

/* Where it comes from that one machine differs from the next. */
struct smbios_identity {
	uint8_t uuid[16];                   /* as it is written; zeros: the machine has none */
	char serial[SMBIOS_SERIAL_MAX + 1]; /* printable ASCII; "": none */
};

struct smbios_config {
	const struct smbios_identity *identity;
	unsigned cpus;
	uint64_t ram;     /* bytes, whole MiB */
	uint64_t low_end; /* where RAM below 4 GiB ends at the latest */
};

/* tables gets *len bytes, at most SMBIOS_TABLES_SIZE; anchor points to tables_at. ERR_NOMEM: they do
 * not fit. */
int smbios_build(const struct smbios_config *cfg, uint32_t tables_at,
		 uint8_t anchor[SMBIOS_ANCHOR_SIZE], uint8_t *tables,
		 uint32_t *len) attr_must_check;

#endif
