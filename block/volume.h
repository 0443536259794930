/* SPDX-License-Identifier: ISC */
/* volume.h: several disk images on one disk or partition, as lists of extents: what the bare-metal hypervisor, which
 * knows no file systems, hands out to VMs. `vigia volume` makes it.
 *
 * Numbers are little-endian, sectors of 512 bytes. The directory is VOLUME_DIR bytes, twice: at sector 0 and behind
 * it; changes go to the older copy, and the valid one with the higher generation holds.
 *	0	"VIGIAVOL"
 *	8	le32 version: 1
 *	12	le32 CRC-32C of the directory, this field taken as 0
 *	16	le64 generation
 *	24	le64 sectors of the volume
 *	32	le32 images, le32 extents
 *	64	images, 64 bytes each: name[40], with a 0 at its end; le64 sectors; le32 first extent, le32 extents;
 *		8 bytes of 0
 *	16384	extents, 16 bytes each: le64 sector of the volume, le64 sectors
 * An image is its extents, one after another. */
#ifndef BLOCK_VOLUME_H
#define BLOCK_VOLUME_H

#include "base/def.h"
#include "base/err.h"

#define VOLUME_DIR     65536u
#define VOLUME_COPIES  2u
#define VOLUME_DATA    (VOLUME_COPIES * VOLUME_DIR / 512) /* first sector of data */
#define VOLUME_NAME    40u
#define VOLUME_EXTENTS 64u   /* an image */
#define VOLUME_IMAGES  255u  /* a volume */
#define VOLUME_ALL     3072u /* extents of a volume */

struct volume_image {
	char name[VOLUME_NAME];
	uint64_t sectors;
	unsigned n;
	struct volume_extent {
		uint64_t sector, sectors;
	} extent[VOLUME_EXTENTS];
};

/* Whether these VOLUME_DIR bytes are a directory for a disk of so many sectors: then every extent of every image
 * lies behind the directory and within the volume. ERR_FORMAT: not. */
int volume_check(const uint8_t *dir, uint64_t sectors, uint64_t *generation) attr_must_check;
/* Of a directory that has been checked. False: there are no more. */
bool volume_image(const uint8_t *dir, unsigned i, struct volume_image *out);
bool volume_find(const uint8_t *dir, const char *name, struct volume_image *out);

/* Makes an empty directory; volume_put() adds to it (false: it is full), volume_seal() makes the sum. */
void volume_begin(uint8_t *dir, uint64_t sectors, uint64_t generation);
bool volume_put(uint8_t *dir, const struct volume_image *image);
void volume_seal(uint8_t *dir);

#endif
