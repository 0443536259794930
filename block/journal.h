/* SPDX-License-Identifier: ISC */
/* journal.h: lines of text in a disk area, the oldest of which give way: where the bare-metal hypervisor leaves its history.
 *
 * Each sector of 512 bytes stands alone, as a disk writes it whole or not at all: numbers are little-endian.
 *	0	"VIGIAJRN"
 *	8	le64 number of the sector, from 1: it stands at (number - 1) modulo the area's sectors
 *	16	le32 CRC-32C of the sector, this field taken as 0
 *	20	le32 bytes of text
 *	24	text: whole lines, each with a newline; then zeros */
#ifndef BLOCK_JOURNAL_H
#define BLOCK_JOURNAL_H

#include "base/def.h"
#include "base/err.h"

#define JOURNAL_SECTOR 512u
#define JOURNAL_HEAD   24u
#define JOURNAL_TEXT   (JOURNAL_SECTOR - JOURNAL_HEAD)

/* Makes a sector of len bytes of text, which stand at its place, and zeros it behind them. */
void journal_seal(uint8_t sector[JOURNAL_SECTOR], uint64_t number, uint32_t len);
/* Whether this is the sector at this index of an area of so many; then its number, and how much text it has. */
bool journal_check(const uint8_t sector[JOURNAL_SECTOR], uint64_t index, uint64_t sectors,
		   uint64_t *number, uint32_t *len);

#endif
