/* SPDX-License-Identifier: ISC */
/* test_import.c: images that are only read: what they have, damaged and hostile ones, the log of
 * VHDX, VMDK of several files. What qemu-img makes is compared in tests/boot/t_image.py. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "block/import.h"
#include "block/memfile.h"
#include "block/unzip.h"
#include "plat/linux/log.h"
#include "tests/lib/images.h"

typedef int (*open_fn)(struct bfile *f, const struct import_opts *o, struct block **out, char *err,
		       size_t err_size);

enum { VDI, VHD, VHD_FIXED, VMDK, VMDK_STREAM, VHDX, VHDX_DIRTY, FORMATS };

static uint8_t mem[IMAGE_CAP];

static size_t make(unsigned format)
{
	switch (format) {
	case VDI:
		return make_vdi(mem);
	case VHD:
		return make_vhd(mem);
	case VHD_FIXED:
		return make_vhd_fixed(mem);
	case VMDK:
		return make_vmdk(mem);
	case VMDK_STREAM:
		return make_vmdk_stream(mem);
	default:
		return make_vhdx(mem, format == VHDX_DIRTY);
	}
}

static const open_fn openers[FORMATS] = {vdi_open,  vhd_open,  vhd_open, vmdk_open,
					 vmdk_open, vhdx_open, vhdx_open};

static void quiet(void *arg, enum log_level level, const char *line)
{
}

/* The error, or NULL and *out. */
static const char *open_mem(unsigned format, size_t len, struct block **out)
{
	static const struct import_opts o = {.unzip = unzip_cluster};
	static char err[300];
	struct bfile *f;

	err[0] = 0;
	assert_int_equal(memfile_create("image", mem, len, IMAGE_CAP, &f), 0);
	if (!openers[format](f, &o, out, err, sizeof(err)))
		return NULL;
	f->ops->close(f);
	assert_true(err[0]);
	return err;
}

/* Where block 1 is in the disk. */
static uint64_t block1(unsigned format)
{
	return format == VMDK || format == VMDK_STREAM ? 65536 : 1 << 20;
}

static void check_content(struct block *b, unsigned format)
{
	uint8_t *all = malloc(DISK), *want = calloc(1, DISK);

	assert_int_equal(b->size, DISK);
	strcpy((char *)want + block1(format), "block 1");
	assert_int_equal(block_rw_sync(b, BLOCK_READ, 0, all, DISK), 0);
	assert_memory_equal(all, want, DISK);
	/* and sector by sector from the middle */
	memset(all, 0xaa, 1024);
	assert_int_equal(block_rw_sync(b, BLOCK_READ, block1(format) - 512, all, 1024), 0);
	assert_memory_equal(all, want + block1(format) - 512, 1024);
	free(all);
	free(want);
}

static void reads(void **state)
{
	struct block *b;
	unsigned i;

	for (i = 0; i < FORMATS; i++) {
		const char *err = open_mem(i, make(i), &b);

		if (err)
			fail_msg("format %u: %s", i, err);
		check_content(b, i);
		assert_int_equal(block_rw_sync(b, BLOCK_WRITE, 0, mem, 512), ERR_ROFS);
		assert_int_equal(block_rw_sync(b, BLOCK_READ, DISK, mem, 512), ERR_RANGE);
		assert_int_equal(block_flush_sync(b), 0);
		block_close(b);
	}
}

/* One number of the header changed, and what is said about it. sums: checksums are made right. */
static const struct {
	unsigned format, off, width;
	uint64_t v;
	const char *says;
} damages[] = {
	{VDI, 0x40, 4, 1, "no VDI"},
	{VDI, 0x44, 4, 0x00020000, "version 2.0"},
	{VDI, 0x4c, 4, 4, "differences"},
	{VDI, 0x1a8, 4, 1, "differences"},
	{VDI, 0x178, 4, 0, "block size"},
	{VDI, 0x178, 4, 3 << 19, "block size"},
	{VDI, 0x170, 8, UINT64_MAX, "too small"},
	{VDI, 0x180, 4, 2, "too small"},
	{VMDK, 4, 4, 9, "version 9"},
	{VMDK, 12, 8, UINT64_MAX, "size"},
	{VMDK, 12, 8, UINT64_C(1) << 50, "directory"},
	{VMDK, 20, 8, 0, "grains"},
	{VMDK, 20, 8, 100, "grains"},
	{VMDK, 44, 4, 0, "grains"},
	{VMDK, 56, 8, 1 << 20, "directory"},
	{VMDK, 56, 8, UINT64_MAX, "footer"},
	{VMDK, 8, 4, 0x30003, "compression"},
	{VMDK, 28, 8, UINT64_C(1) << 40, "descriptor"},
	{VMDK_STREAM, 6 * 512, 4, 0, "footer"},
	{VMDK_STREAM, 6 * 512 + 4, 4, 4, "version 4"},
	{VMDK_STREAM, 6 * 512 + 20, 8, 0, "grains"},
	{VMDK_STREAM, 6 * 512 + 20, 8, 65536, "grains"},
	{VMDK_STREAM, 6 * 512 + 44, 4, 65537, "grains"},
	{VMDK_STREAM, 6 * 512 + 56, 8, UINT64_MAX, "footer"},
	{VMDK_STREAM, 6 * 512 + 56, 8, 1 << 20, "directory"},
	{VMDK_STREAM, 6 * 512 + 77, 2, 2, "compression 2"},
	{VHDX, 0, 4, 0, "no VHDX"},
	{VHDX, 65536 + 66, 2, 2, "version 2"},
	{VHDX, 3 * 65536 + 32, 8, UINT64_MAX, "truncated"},
	{VHDX, 3 * 65536 + 16, 4, 0, "region"},
	{VHDX, (2 << 20), 4, 0, "metadata"},
	{VHDX, (2 << 20) + 32, 4, 0, "metadata"},
	{VHDX, (2 << 20) + 65536, 8, 3 << 19, "sizes"},
	{VHDX, (2 << 20) + 65536, 8, (UINT64_C(2) << 32) + (1 << 20), "differences"},
	{VHDX, (2 << 20) + 65536 + 8, 8, UINT64_C(1) << 40, "too small"},
	{VHDX, (2 << 20) + 65536 + 16, 4, 1024, "sizes"},
	{VHDX_DIRTY, 65536 + 68, 4, 0, "log"},
	{VHDX_DIRTY, 65536 + 68, 4, 256 << 20, "log"},
	{VHDX_DIRTY, 65536 + 72, 8, UINT64_MAX << 20, "log"},
	{VHDX_DIRTY, VHDX_LOG + 16, 8, 0, "log"},
	{VHDX_DIRTY, VHDX_LOG + 24, 4, UINT32_MAX, "log"},
	{VHDX_DIRTY, VHDX_LOG + 24, 4, 2, "log"},
	{VHDX_DIRTY, VHDX_LOG + 64 + 16, 8, 77, "log"},
	{VHDX_DIRTY, VHDX_LOG + 64 + 24, 8, 6, "log"},
	{VHDX_DIRTY, VHDX_LOG + 8188, 4, 6, "log"},
};

static void damaged(void **state)
{
	struct block *b;
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(damages); i++) {
		unsigned format = damages[i].format;
		size_t len = make(format);
		const char *err;

		le_put(mem + damages[i].off, damages[i].width, damages[i].v);
		if (format >= VHDX)
			vhdx_sums(mem);
		err = open_mem(format, len, &b);
		if (!err)
			fail_msg("row %u opened", i);
		if (!strstr(err, damages[i].says) || strchr(err, '\n'))
			fail_msg("row %u: \"%s\" does not say \"%s\"", i, err, damages[i].says);
	}
}

static void truncated(void **state)
{
	uint8_t sector[512];
	struct block *b;
	unsigned i;

	for (i = 0; i < FORMATS; i++) {
		size_t len = make(i), cut;

		for (cut = 0; cut < len; cut += cut < 4096 ? 100 : len / 50)
			if (!open_mem(i, cut, &b))
				block_close(b); /* what is missing is data */
	}
	/* An entry that leads behind the end of the file is an error, not zeros. */
	make(VDI);
	assert_null(open_mem(VDI, 1024, &b));
	assert_int_equal(block_rw_sync(b, BLOCK_READ, 0, sector, 512), 0);
	assert_int_equal(block_rw_sync(b, BLOCK_READ, 1 << 20, sector, 512), ERR_IO);
	block_close(b);
}

/* What only a read finds: a grain that is another's, or not what was compressed */
static void stream_grains(void **state)
{
	static const struct {
		unsigned off, width;
		uint64_t v;
	} rows[] = {
		{3 * 512, 8, 0},              /* its marker: of another grain */
		{3 * 512 + 8, 4, 0},          /* of no length */
		{3 * 512 + 8, 4, UINT32_MAX}, /* longer than the file */
		{3 * 512 + 8, 4, 20},         /* cut off */
		{3 * 512 + 12, 4, 0},         /* no stream of deflate */
		{4 * 512 + 4, 4, 6},          /* the footer */
		{4 * 512 + 4, 4, 8},          /* behind the end */
		{4 * 512 + 4, 4, UINT32_MAX},
		{5 * 512, 4, UINT32_MAX}, /* the table, too */
	};
	uint8_t sector[512];
	struct block *b;

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		size_t len = make(VMDK_STREAM);

		le_put(mem + rows[i].off, rows[i].width, rows[i].v);
		assert_null(open_mem(VMDK_STREAM, len, &b));
		if (block_rw_sync(b, BLOCK_READ, 65536, sector, 512) >= 0)
			fail_msg("row %u was read", i);
		block_close(b);
	}
}

static void vhd_footers(void **state)
{
	size_t len = make_vhd(mem);
	struct block *b;

	mem[len - 512] = 0; /* the copy at the beginning serves */
	assert_null(open_mem(VHD, len, &b));
	check_content(b, VHD);
	block_close(b);
	mem[0] = 0;
	assert_non_null(open_mem(VHD, len, &b));
	make_vhd_fixed(mem);
	memcpy(mem + DISK + 28, "win ", 4);
	vhd_sum(mem + DISK, 512, 64);
	assert_non_null(strstr(open_mem(VHD, DISK + 512, &b), "shorter"));
	be64_put(mem + DISK + 48, DISK);
	be32_put(mem + DISK + 60, 4);
	vhd_sum(mem + DISK, 512, 64);
	assert_non_null(strstr(open_mem(VHD, DISK + 512, &b), "differences"));
}

/* An old entry and one that was torn stand in the log too; neither counts. */
static void vhdx_old_log(void **state)
{
	size_t len = make_vhdx(mem, true);
	uint8_t *old = mem + VHDX_LOG + 8192, *torn = old + 8192;
	struct block *b;

	memcpy(old, mem + VHDX_LOG, 8192);
	le_put(old + 12, 4, 8192); /* a sequence of its own */
	le_put(old + 16, 8, 3);
	le_put(old + 64 + 24, 8, 3);
	le_put(old + 8188, 4, 3);
	le_put(old + 4096 + 8, 8, (5u << 20) | 6); /* block 1 was elsewhere then */
	le_put(old + 4, 4, 0);
	le_put(old + 4, 4, crc32c(0, old, 8192));
	memcpy(torn, mem + VHDX_LOG, 8192);
	le_put(torn + 16, 8, 9);
	assert_null(open_mem(VHDX, len, &b));
	check_content(b, VHDX);
	block_close(b);
}

/* ---- VMDK of several files ------------------------------------------------------------------------ */

static unsigned asked;

static int give_file(void *ctx, const char *name, struct bfile **out)
{
	static uint8_t flat[1 << 20];

	asked++;
	if (strcmp(name, "a b-flat.vmdk"))
		return ERR_NOENT;
	strcpy((char *)flat + 512, "flat");
	return memfile_create(name, flat, sizeof(flat), sizeof(flat), out);
}

static const char *open_text(const char *text, struct block **out)
{
	static const struct import_opts o = {.unzip = unzip_cluster, .file = give_file};
	static char err[300];
	struct bfile *f;

	asked = 0;
	assert_int_equal(memfile_create("x.vmdk", text, strlen(text), 1 << 20, &f), 0);
	if (!vmdk_open(f, &o, out, err, sizeof(err)))
		return NULL;
	f->ops->close(f);
	return err;
}

#define HEAD "# Disk DescriptorFile\r\nversion=1\r\nparentCID=ffffffff\r\n"

static void vmdk_text(void **state)
{
	static const struct {
		const char *lines, *says;
		unsigned asked;
	} bad[] = {
		{"", "no extents", 0},
		{"RW 10 FLAT \"../a b-flat.vmdk\" 0\n", "not in the same folder", 0},
		{"RW 10 FLAT \"/etc/passwd\" 0\n", "not in the same folder", 0},
		{"RW 10 FLAT \"..\" 0\n", "not in the same folder", 0},
		{"RW 10 FLAT \"none.vmdk\" 0\n", "cannot be opened", 1},
		{"RW 10 FLAT \"a b-flat.vmdk", "damaged", 0},
		{"RW 99999999999999999999 ZERO\n", "damaged", 0},
		{"RW x ZERO\n", "damaged", 0},
		{"RW 10 ODD \"a b-flat.vmdk\"\n", "kind ODD", 1},
		{"RW 10 SPARSE \"a b-flat.vmdk\"\n", "no sparse", 1},
		{"NOACCESS 10 FLAT \"a b-flat.vmdk\"\n", "may not be read", 0},
		{"RW 9007199254740992 ZERO\nRW 18014398509481983 ZERO\n", "size", 0},
		{"parentCID=00000001\n", "differences", 0},
	};
	uint8_t s[1024];
	struct block *b;
	char text[500];
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		const char *err;

		snprintf(text, sizeof(text), HEAD "%s", bad[i].lines);
		err = open_text(text, &b);
		if (!err || !strstr(err, bad[i].says) || asked != bad[i].asked)
			fail_msg("row %u: %s (asked for %u files)", i, err ? err : "opened", asked);
	}
	assert_null(open_text(HEAD "RW 2 ZERO\r\nRW 0 ZERO\nRW 3 FLAT \"a b-flat.vmdk\" 1\r\n"
				   "RW 1 ZERO\n",
			      &b));
	assert_int_equal(b->size, 6 * 512);
	assert_int_equal(block_rw_sync(b, BLOCK_READ, 512, s, 1024), 0);
	assert_int_equal(s[0], 0);
	assert_string_equal((char *)s + 512, "flat");
	block_close(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads),         cmocka_unit_test(damaged),
		cmocka_unit_test(truncated),     cmocka_unit_test(vhd_footers),
		cmocka_unit_test(vhdx_old_log),  cmocka_unit_test(vmdk_text),
		cmocka_unit_test(stream_grains),
	};

	plat_log_set_hook(quiet, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
