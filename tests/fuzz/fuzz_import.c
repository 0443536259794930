/* SPDX-License-Identifier: ISC */
/* fuzz_import.c: images that are only read. Byte 0: which format, and whether the input is the image
 * or patches to a sound one, whose checksums are then made right. All of it is read. */

#include <stdint.h>
#include <stdlib.h>

#include "block/import.h"
#include "block/memfile.h"
#include "block/unzip.h"
#include "plat/linux/log.h"
#include "tests/lib/images.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t image[IMAGE_CAP];

static void quiet(void *arg, enum log_level level, const char *line)
{
}

static int same_again(void *ctx, const char *name, struct bfile **out)
{
	return memfile_create(name, image, *(size_t *)ctx, IMAGE_CAP, out);
}

enum { VDI, VHD, VMDK, VHDX, VMDK_STREAM, VHD_FIXED, VHDX_DIRTY, VHDX_DIRTY_TOO };

static size_t sound(unsigned format)
{
	switch (format) {
	case VDI:
		return make_vdi(image);
	case VHD:
		return make_vhd(image);
	case VMDK:
		return make_vmdk(image);
	case VMDK_STREAM:
		return make_vmdk_stream(image);
	case VHD_FIXED:
		return make_vhd_fixed(image);
	default:
		return make_vhdx(image, format >= VHDX_DIRTY);
	}
}

static bool is_vhdx(unsigned format)
{
	return format == VHDX || format >= VHDX_DIRTY;
}

/* Where in a VHDX image something is that matters. */
static const uint32_t spots[] = {0x10000,  0x30000,  0x200000,      0x210000,
				 VHDX_BAT, VHDX_LOG, VHDX_LOG + 64, VHDX_LOG + 4096};

static void patch(unsigned format, size_t len, const uint8_t *p, size_t left)
{
	for (; left >= 4; p += 4, left -= 4) {
		size_t at = (size_t)(p[0] & 0x0f) << 8 | p[1];
		unsigned n = p[2] % 8 + 1;

		if (format == VHD_FIXED)
			at = DISK + (at & 0x1ff);
		else if (is_vhdx(format))
			at = spots[p[0] >> 5] + (at & 0xff);
		while (n-- && at < len)
			image[at++] = p[3];
	}
	if (is_vhdx(format))
		vhdx_sums(image);
	if (format == VHD_FIXED)
		vhd_sum(image + DISK, 512, 64);
	if (format == VHD) {
		vhd_sum(image, 512, 64);
		vhd_sum(image + 512, 1024, 36);
		memcpy(image + len - 512, image, 512);
	}
}

static void read_some(struct block *b)
{
	static uint8_t buf[65536];
	uint64_t step = MAX(ALIGN_DOWN(b->size / 16, (uint64_t)512), UINT64_C(512)), off;

	for (off = 0; off < b->size && off < 64 * step; off += step) {
		size_t n = (size_t)MIN((uint64_t)sizeof(buf), b->size - off);

		if (block_rw_sync(b, BLOCK_READ, off, buf, n) == ERR_RANGE)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int (*const open_image[])(struct bfile *, const struct import_opts *,
					 struct block **, char *,
					 size_t) = {vdi_open,  vhd_open, vmdk_open, vhdx_open,
						    vmdk_open, vhd_open, vhdx_open, vhdx_open};
	unsigned format = size ? data[0] & 7 : 0;
	struct import_opts o = {unzip_cluster, same_again, NULL};
	struct block *b;
	struct bfile *f;
	char err[300];
	size_t len;

	plat_log_set_hook(quiet, NULL);
	if (!size)
		return 0;
	if (data[0] & 8) {
		len = MIN(size - 1, (size_t)IMAGE_CAP);
		memcpy(image, data + 1, len);
	} else {
		len = sound(format);
		patch(format, len, data + 1, size - 1);
	}
	o.ctx = &len;
	if (memfile_create("fuzz", image, len, IMAGE_CAP, &f))
		return 0;
	if (open_image[format](f, &o, &b, err, sizeof(err))) {
		f->ops->close(f);
		return 0;
	}
	read_some(b);
	block_close(b);
	return 0;
}
