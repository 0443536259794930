/* SPDX-License-Identifier: ISC */
/* ata.c: see ata.h. Pure functions. */
#include "metal/ata.h"

#include "base/str.h"

enum identify { /* words */
		ID_SERIAL = 10,
		ID_MODEL = 27,
		ID_COMMANDS = 83,
		ID_ENABLED = 85,
		ID_SECTORS = 100,
		ID_SECTOR_SIZE = 106,
};

/* Pairs of characters, each the wrong way round */
static void text(char *to, const uint16_t *words, unsigned n)
{
	unsigned len = 2 * n;

	for (unsigned i = 0; i < n; i++) {
		to[2 * i] = (char)(words[i] >> 8);
		to[2 * i + 1] = (char)words[i];
	}
	while (len && (to[len - 1] == ' ' || !to[len - 1]))
		len--;
	to[len] = 0;
	for (len = 0; to[len] == ' ';)
		len++;
	memmove(to, to + len, str_len(to + len) + 1);
}

int ata_identity(struct hostdisk *d, const uint16_t *id)
{
	bool large = (id[ID_SECTOR_SIZE] & 0xd000) == 0x5000;

	memcpy(&d->sectors, id + ID_SECTORS, 8);
	text(d->serial, id + ID_SERIAL, 10);
	text(d->model, id + ID_MODEL, 20);
	d->cache = id[ID_ENABLED] & BIT(5);
	if (large || !(id[ID_COMMANDS] & BIT(10)) || !d->sectors)
		return err_here(ERR_NOSYS);
	return 0;
}
