/* SPDX-License-Identifier: ISC */
/* volume.c: the directory of a volume (volume.h). Pure functions of its bytes. */
#include "block/volume.h"

#include "base/crc32c.h"
#include "base/str.h"
#include "block/le.h"

enum {
	H_VERSION = 8,
	H_CRC = 12,
	H_GENERATION = 16,
	H_SECTORS = 24,
	H_IMAGES = 32,
	H_EXTENTS = 36,
};
enum { I_SECTORS = 40, I_FIRST = 48, I_COUNT = 52, I_SIZE = 64, I_AT = 64 };
enum { E_SIZE = 16, E_AT = 16384 };
#define VERSION 1

static const char magic[8] = {'V', 'I', 'G', 'I', 'A', 'V', 'O', 'L'};

static void put(uint8_t *p, unsigned size, uint64_t v)
{
	memcpy(p, &v, size);
}

static uint32_t sum(const uint8_t *dir)
{
	static const uint8_t zeros[4];

	return crc32c(crc32c(crc32c(0, dir, H_CRC), zeros, 4), dir + H_CRC + 4,
		      VOLUME_DIR - H_CRC - 4);
}

static const uint8_t *image_at(const uint8_t *dir, unsigned i)
{
	return dir + I_AT + (size_t)I_SIZE * i;
}

static bool extent_ok(const uint8_t *dir, unsigned i, uint64_t *total)
{
	const uint8_t *e = dir + E_AT + (size_t)E_SIZE * i;
	uint64_t at = le64_get(e), n = le64_get(e + 8), end = le64_get(dir + H_SECTORS);

	*total += n;
	return n && at >= VOLUME_DATA && at < end && n <= end - at;
}

static bool image_ok(const uint8_t *dir, unsigned i)
{
	const uint8_t *m = image_at(dir, i);
	uint32_t first = le32_get(m + I_FIRST), n = le32_get(m + I_COUNT);
	uint32_t all = le32_get(dir + H_EXTENTS);
	uint64_t total = 0;

	if (!m[0] || m[VOLUME_NAME - 1] || !n || n > VOLUME_EXTENTS || first > all ||
	    n > all - first)
		return false;
	for (unsigned k = 0; k < n; k++)
		if (!extent_ok(dir, first + k, &total))
			return false;
	return total == le64_get(m + I_SECTORS);
}

int volume_check(const uint8_t *dir, uint64_t sectors, uint64_t *generation)
{
	uint64_t end = le64_get(dir + H_SECTORS);

	if (memcmp(dir, magic, sizeof(magic)) || le32_get(dir + H_VERSION) != VERSION ||
	    le32_get(dir + H_CRC) != sum(dir) || end > sectors || end > UINT64_MAX / 512 / 2 ||
	    le32_get(dir + H_IMAGES) > VOLUME_IMAGES || le32_get(dir + H_EXTENTS) > VOLUME_ALL)
		return ERR_FORMAT;
	for (unsigned i = 0; i < le32_get(dir + H_IMAGES); i++)
		if (!image_ok(dir, i))
			return ERR_FORMAT;
	*generation = le64_get(dir + H_GENERATION);
	return 0;
}

bool volume_image(const uint8_t *dir, unsigned i, struct volume_image *out)
{
	const uint8_t *m = image_at(dir, i), *e;

	if (i >= le32_get(dir + H_IMAGES))
		return false;
	memcpy(out->name, m, VOLUME_NAME);
	out->sectors = le64_get(m + I_SECTORS);
	out->n = le32_get(m + I_COUNT);
	e = dir + E_AT + (size_t)E_SIZE * le32_get(m + I_FIRST);
	for (unsigned k = 0; k < out->n; k++, e += E_SIZE)
		out->extent[k] = (struct volume_extent){le64_get(e), le64_get(e + 8)};
	return true;
}

bool volume_find(const uint8_t *dir, const char *name, struct volume_image *out)
{
	for (unsigned i = 0; volume_image(dir, i, out); i++)
		if (str_eq(out->name, name))
			return true;
	return false;
}

/* ---- making one ---- */

void volume_begin(uint8_t *dir, uint64_t sectors, uint64_t generation)
{
	memset(dir, 0, VOLUME_DIR);
	memcpy(dir, magic, sizeof(magic));
	put(dir + H_VERSION, 4, VERSION);
	put(dir + H_GENERATION, 8, generation);
	put(dir + H_SECTORS, 8, sectors);
}

bool volume_put(uint8_t *dir, const struct volume_image *image)
{
	uint32_t i = le32_get(dir + H_IMAGES), first = le32_get(dir + H_EXTENTS);
	uint8_t *m = dir + I_AT + (size_t)I_SIZE * i, *e = dir + E_AT + (size_t)E_SIZE * first;

	if (i == VOLUME_IMAGES || image->n > VOLUME_ALL - first)
		return false;
	memcpy(m, image->name, VOLUME_NAME);
	put(m + I_SECTORS, 8, image->sectors);
	put(m + I_FIRST, 4, first);
	put(m + I_COUNT, 4, image->n);
	for (unsigned k = 0; k < image->n; k++, e += E_SIZE) {
		put(e, 8, image->extent[k].sector);
		put(e + 8, 8, image->extent[k].sectors);
	}
	put(dir + H_IMAGES, 4, i + 1);
	put(dir + H_EXTENTS, 4, first + image->n);
	return true;
}

void volume_seal(uint8_t *dir)
{
	put(dir + H_CRC, 4, sum(dir));
}
