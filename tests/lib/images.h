/* SPDX-License-Identifier: ISC */
/* images.h: small images of other hypervisors' formats, made in memory. Each disk has DISK bytes; block
 * 1, of 1 MiB (VMDK: grain 1, of 64 KiB), begins with the text "block 1", all else is zeros. */
#ifndef TESTS_LIB_IMAGES_H
#define TESTS_LIB_IMAGES_H

#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "base/crc32c.h"
#include "base/def.h"
#include "block/be.h"

#define DISK      (3u << 20)
#define IMAGE_CAP (6u << 20)
#define VHDX_BAT  (3u << 20)
#define VHDX_DATA (4u << 20)
#define VHDX_LOG  (1u << 20)

static inline void le_put(uint8_t *p, unsigned width, uint64_t v)
{
	memcpy(p, &v, width);
}

static inline size_t make_vdi(uint8_t *m)
{
	memset(m, 0, IMAGE_CAP);
	le_put(m + 0x40, 4, 0xbeda107f);
	le_put(m + 0x44, 4, 0x00010001);
	le_put(m + 0x48, 4, 0x190);
	le_put(m + 0x4c, 4, 1);
	le_put(m + 0x154, 4, 512);
	le_put(m + 0x158, 4, 1024);
	le_put(m + 0x168, 4, 512);
	le_put(m + 0x170, 8, DISK);
	le_put(m + 0x178, 4, 1 << 20);
	le_put(m + 0x180, 4, 3);
	le_put(m + 0x184, 4, 1);
	le_put(m + 512, 4, 0xffffffff);
	le_put(m + 516, 4, 0);
	le_put(m + 520, 4, 0xfffffffe);
	strcpy((char *)m + 1024, "block 1");
	return 1024 + (1 << 20);
}

static inline void vhd_sum(uint8_t *p, unsigned len, unsigned at)
{
	uint32_t sum = 0;

	be32_put(p + at, 0);
	for (unsigned i = 0; i < len; i++)
		sum += p[i];
	be32_put(p + at, ~sum);
}

static inline size_t make_vhd(uint8_t *m)
{
	uint8_t *table = m + 1536, *block = m + 2048;
	size_t end = 2048 + 512 + (1 << 20);

	memset(m, 0, IMAGE_CAP);
	memcpy(m, "conectix", 8);
	be64_put(m + 16, 512);
	memcpy(m + 28, "win ", 4);
	be64_put(m + 48, DISK);
	be32_put(m + 60, 3);
	vhd_sum(m, 512, 64);
	memcpy(m + 512, "cxsparse", 8);
	be64_put(m + 512 + 16, 1536);
	be32_put(m + 512 + 28, 3);
	be32_put(m + 512 + 32, 1 << 20);
	vhd_sum(m + 512, 1024, 36);
	be32_put(table, 0xffffffff);
	be32_put(table + 4, 2048 / 512);
	be32_put(table + 8, 0xffffffff);
	memset(block, 0xff, 128); /* sectors 0 to 1023 were written, the others never */
	strcpy((char *)block + 512, "block 1");
	memset(block + 512 + 1024 * 512, 0xee, 1024 * 512);
	memcpy(m + end, m, 512);
	return end + 512;
}

/* A fixed one, by its geometry and by its size */
static inline size_t make_vhd_fixed(uint8_t *m)
{
	memset(m, 0, IMAGE_CAP);
	strcpy((char *)m + (1 << 20), "block 1");
	memcpy(m + DISK, "conectix", 8);
	memcpy(m + DISK + 28, "vpc ", 4);
	be64_put(m + DISK + 48, DISK + 5 * 512);
	be16_put(m + DISK + 56, DISK / 512 / 16 / 3);
	m[DISK + 58] = 16;
	m[DISK + 59] = 3;
	be32_put(m + DISK + 60, 2);
	vhd_sum(m + DISK, 512, 64);
	return DISK + 512;
}

static inline size_t make_vmdk(uint8_t *m)
{
	static const char text[] = "# Disk DescriptorFile\nversion=1\nCID=12345678\n"
				   "parentCID=ffffffff\ncreateType=\"monolithicSparse\"\n"
				   "RW 6144 SPARSE \"x.vmdk\"\n";

	memset(m, 0, IMAGE_CAP);
	memcpy(m, "KDMV", 4);
	le_put(m + 4, 4, 1);
	le_put(m + 8, 4, 3);
	le_put(m + 12, 8, DISK / 512);
	le_put(m + 20, 8, 128);
	le_put(m + 28, 8, 1);
	le_put(m + 36, 8, 2);
	le_put(m + 44, 4, 512);
	le_put(m + 56, 8, 3);
	memcpy(m + 512, text, sizeof(text));
	le_put(m + 3 * 512, 4, 4); /* directory: the table is sector 4 */
	le_put(m + 4 * 512 + 4, 4, 8);
	strcpy((char *)m + 8 * 512, "block 1");
	return 8 * 512 + 65536;
}

/* streamOptimized: grain 1 behind its marker in sector 3, its table in 4, the directory in 5, to which the footer in 6 leads;
 * then the end of the stream. */
static inline size_t make_vmdk_stream(uint8_t *m)
{
	static uint8_t grain[65536] = "block 1";
	unsigned long len = 500;

	make_vmdk(m);
	memset(m + 3 * 512, 0, IMAGE_CAP - 3 * 512);
	le_put(m + 4, 4, 3);
	le_put(m + 8, 4, 0x30001);
	le_put(m + 44, 4, 128);
	le_put(m + 56, 8, UINT64_MAX);
	le_put(m + 77, 2, 1);
	compress2(m + 3 * 512 + 12, &len, grain, sizeof(grain), 9);
	le_put(m + 3 * 512, 8, 128);
	le_put(m + 3 * 512 + 8, 4, len);
	le_put(m + 4 * 512 + 4, 4, 3);
	le_put(m + 5 * 512, 4, 4);
	memcpy(m + 6 * 512, m, 512);
	le_put(m + 6 * 512 + 56, 8, 5);
	return 8 * 512;
}

/* The checksums of headers, region tables and the entry of the log. */
static inline void vhdx_sums(uint8_t *m)
{
	static const struct {
		uint32_t off, len;
	} parts[] = {{65536, 4096},
		     {2 * 65536, 4096},
		     {3 * 65536, 65536},
		     {4 * 65536, 65536},
		     {VHDX_LOG, 8192}};

	for (unsigned i = 0; i < ARRAY_SIZE(parts); i++) {
		le_put(m + parts[i].off + 4, 4, 0);
		le_put(m + parts[i].off + 4, 4, crc32c(0, m + parts[i].off, parts[i].len));
	}
}

static inline void vhdx_metadata(uint8_t *t, unsigned i, const char *guid, uint32_t off,
				 unsigned len, uint64_t v)
{
	uint8_t *e = t + 32 + i * 32;

	for (unsigned k = 0; k < 16; k++) {
		unsigned byte;

		sscanf(guid + 2 * k, "%2x", &byte);
		e[k] = (uint8_t)byte;
	}
	le_put(e + 16, 4, 65536 + off);
	le_put(e + 20, 4, len);
	le_put(e + 24, 4, 6);
	le_put(t + 65536 + off, len, v);
}

/* dirty: the table's entry of block 1 is in the log only. */
static inline size_t make_vhdx(uint8_t *m, bool dirty)
{
	static const uint8_t bat[16] = {0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42,
					0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08};
	static const uint8_t meta[16] = {0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b,
					 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e};
	uint8_t *h = m + 65536, *r = m + 3 * 65536, *t = m + (2 << 20), *l = m + VHDX_LOG;

	memset(m, 0, IMAGE_CAP);
	memcpy(m, "vhdxfile", 8);
	memcpy(h, "head", 4);
	le_put(h + 8, 8, 7);
	le_put(h + 66, 2, 1);
	le_put(h + 68, 4, 1 << 20);
	le_put(h + 72, 8, VHDX_LOG);
	memset(h + 16, 0x11, 32); /* GUIDs of what is written and of the data */
	memcpy(h + 65536, h, 4096);
	le_put(h + 65536 + 8, 8, 6); /* the older one */
	memcpy(r, "regi", 4);
	le_put(r + 8, 4, 2);
	memcpy(r + 16, bat, 16);
	le_put(r + 32, 8, VHDX_BAT);
	le_put(r + 40, 4, 1 << 20);
	le_put(r + 44, 4, 1);
	memcpy(r + 48, meta, 16);
	le_put(r + 64, 8, 2 << 20);
	le_put(r + 72, 4, 1 << 20);
	le_put(r + 76, 4, 1);
	memcpy(r + 65536, r, 65536);
	memcpy(t, "metadata", 8);
	le_put(t + 10, 2, 5);
	vhdx_metadata(t, 0, "3767a1ca36fa434db3b633f0aa44e76b", 0, 8, 1 << 20);
	vhdx_metadata(t, 1, "2442a52f1bcd7648b2115dbed83bf4b8", 8, 8, DISK);
	vhdx_metadata(t, 2, "1dbf41816fa90947ba47f233a8faab5f", 16, 4, 512);
	vhdx_metadata(t, 3, "c748a3cd5d4471449cc9e9885251c556", 20, 4, 4096);
	vhdx_metadata(t, 4, "ab12cabee6b2234593efc309e000c746", 24, 8, 0x4711);
	le_put(m + VHDX_BAT + 8, 8, VHDX_DATA | 6);
	strcpy((char *)m + VHDX_DATA, "block 1");
	if (dirty) {
		memset(h + 48, 0x22, 16);
		memcpy(l, "loge", 4);
		le_put(l + 8, 4, 8192);
		le_put(l + 16, 8, 5);
		le_put(l + 24, 4, 1);
		memset(l + 32, 0x22, 16);
		le_put(l + 48, 8, 5u << 20);
		le_put(l + 56, 8, 5u << 20);
		memcpy(l + 64, "desc", 4);
		memcpy(l + 64 + 4, m + VHDX_BAT + 4092, 4);
		memcpy(l + 64 + 8, m + VHDX_BAT, 8);
		le_put(l + 64 + 16, 8, VHDX_BAT);
		le_put(l + 64 + 24, 8, 5);
		memcpy(l + 4096, m + VHDX_BAT, 4096);
		memcpy(l + 4096, "data\0\0\0\0", 8);
		le_put(l + 8192 - 4, 4, 5);
		le_put(m + VHDX_BAT + 8, 8, 0);
	}
	vhdx_sums(m);
	if (!dirty)
		le_put(l + 4, 4, 0);
	return 5 << 20;
}

#endif
