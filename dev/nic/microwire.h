/* SPDX-License-Identifier: ISC */
/* microwire.h: the serial EEPROM beside a network controller (93C46: 64 words), which a driver reads bit by
 * bit: chip select, clock, data in, data out. Writing it is not: commands but READ are taken and do nothing. */
#ifndef DEV_NIC_MICROWIRE_H
#define DEV_NIC_MICROWIRE_H

#include "base/def.h"

#define MICROWIRE_WORDS 64

struct microwire {
	uint8_t bits; /* that have come since chip select */
	uint16_t in;  /* those bits */
	uint16_t out; /* word that is shifted out, below it */
	uint8_t left; /* bits of it */
	bool dout;
};

/* Chip select falls. */
void microwire_reset(struct microwire *m);
/* The clock rises under chip select: takes the bit in, or gives the next one at dout. */
void microwire_clock(struct microwire *m, const uint16_t words[MICROWIRE_WORDS], bool in);

/* Rows of a saved state for member m of struct s. */
#define MICROWIRE_FIELDS(s, m)                                                            \
	ST_NAMED("mw_bits", s, m.bits, ST_INT, 9), ST_NAMED("mw_in", s, m.in, ST_INT, 0), \
		ST_NAMED("mw_out", s, m.out, ST_INT, 0),                                  \
		ST_NAMED("mw_left", s, m.left, ST_INT, 16),                               \
		ST_NAMED("mw_do", s, m.dout, ST_BOOL, 1)

#endif
