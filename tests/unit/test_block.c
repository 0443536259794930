/* SPDX-License-Identifier: ISC */
/* test_block.c: raw and qcow2 images in memory and in files: damaged headers and tables, locks,
 * backing files, a full disk, repair, growth. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/file.h"
#include "block/memfile.h"
#include "block/qcow2.h"
#include "block/raw.h"
#include "block/unzip.h"

static char dir[200];

static const char *in_dir(const char *name)
{
	static char path[4][300];
	static unsigned i;

	snprintf(path[++i % 4], sizeof(path[0]), "%s/%s", dir, name);
	return path[i % 4];
}

static int run(const char *fmt, ...)
{
	char cmd[1000];
	va_list ap;
	int status;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	status = system(cmd);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int setup(void **state)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(dir, sizeof(dir), "%s/test_block-XXXXXX", tmp && tmp[0] ? tmp : "/tmp");
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	return run("rm -rf '%s'", dir);
}

static void assert_has(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("\"%s\" does not say \"%s\"", text, part);
	if (strchr(text, '\n'))
		fail_msg("\"%s\" is more than a line", text);
}

/* ---- images in memory ----------------------------------------------------------------------------- */

#define CB   12u
#define CS   (1u << CB)
#define SIZE (4u << 20)

static struct bfile *new_image(unsigned version)
{
	struct qcow2_create c = {
		.size = SIZE, .version = version, .cluster_bits = CB, .refcount_order = 4};
	struct bfile *f;
	char err[200] = "";

	assert_int_equal(memfile_create("mem", NULL, 0, 16u << 20, &f), 0);
	if (qcow2_create(f, &c, err, sizeof(err)))
		fail_msg("%s", err);
	return f;
}

static struct block *open_image(struct bfile *f, bool read_only)
{
	struct qcow2_opts o = {.read_only = read_only, .discard = true, .unzip = unzip_cluster};
	struct block *b;
	char err[200] = "";

	if (qcow2_open(f, &o, &b, err, sizeof(err)))
		fail_msg("%s", err);
	return b;
}

/* Closing a block closes its file: work on the bytes between two lives. */
static struct bfile *copy_of(struct bfile *f)
{
	struct bfile *c;

	assert_int_equal(memfile_create("mem", memfile_bytes(f), bfile_size(f), 16u << 20, &c), 0);
	return c;
}

static void put(struct bfile *f, uint64_t off, unsigned width, uint64_t v)
{
	uint8_t *p = (uint8_t *)memfile_bytes(f) + off;

	switch (width) {
	case 1:
		*p = (uint8_t)v;
		break;
	case 2:
		be16_put(p, (uint16_t)v);
		break;
	case 4:
		be32_put(p, (uint32_t)v);
		break;
	default:
		be64_put(p, v);
		break;
	}
}

static uint64_t get(struct bfile *f, uint64_t off)
{
	return be64_get((uint8_t *)memfile_bytes(f) + off);
}

static int io(struct block *b, enum block_op op, uint64_t off, uint8_t byte, size_t len)
{
	uint8_t *buf = malloc(len);
	size_t i;
	int err;

	memset(buf, byte, len);
	err = block_rw_sync(b, op, off, buf, len);
	for (i = 0; !err && op == BLOCK_READ && i < len; i++)
		if (buf[i] != byte)
			fail_msg("at %#llx is %02x, not %02x", (unsigned long long)(off + i),
				 buf[i], byte);
	free(buf);
	return err;
}

/* ---- damaged headers -------------------------------------------------------------------------------- */

static const struct bad_header {
	unsigned version, off, width;
	uint64_t value;
	const char *says;
	bool only_write; /* it can be read */
} bad_headers[] = {
	{3, QH_MAGIC, 4, 0x514649fa, "not a qcow2 image", false},
	{3, QH_VERSION, 4, 1, "version 1 is not supported", false},
	{3, QH_VERSION, 4, 4, "version 4 is not supported", false},
	{3, QH_CLUSTER_BITS, 4, 8, "clusters of 2^8", false},
	{3, QH_CLUSTER_BITS, 4, 22, "clusters of 2^22", false},
	{3, QH_CLUSTER_BITS, 4, 0xffffffff, "clusters of 2^", false},
	{3, QH_CRYPT, 4, 1, "encrypted (AES)", false},
	{3, QH_CRYPT, 4, 2, "encrypted (LUKS)", false},
	{3, QH_SIZE, 8, UINT64_MAX, "L1 table", false},
	{3, QH_SIZE, 8, UINT64_C(1) << 40, "too small", false},
	{3, QH_L1_SIZE, 4, 0, "too small", false},
	{3, QH_L1_SIZE, 4, 0xffffffff, "L1 table of", false},
	{3, QH_L1_SIZE, 4, 4000000, "not in the file", false},
	{3, QH_L1_OFF, 8, 0, "L1 table at", false},
	{3, QH_L1_OFF, 8, 100, "L1 table at", false},
	{3, QH_L1_OFF, 8, UINT64_C(1) << 62, "L1 table at", false},
	{3, QH_L1_OFF, 8, UINT64_MAX - CS + 1, "L1 table at", false},
	{3, QH_L1_OFF, 8, CS, "where other metadata is", true},
	{3, QH_REFTABLE_OFF, 8, 0, "refcount table at", false},
	{3, QH_REFTABLE_OFF, 8, UINT64_C(1) << 60, "refcount table at", false},
	{3, QH_REFTABLE_OFF, 8, 3 * CS, "where other metadata is", true},
	{3, QH_REFTABLE_CLUSTERS, 4, 0, "refcount table of 0", false},
	{3, QH_REFTABLE_CLUSTERS, 4, 0xffffffff, "refcount table of", false},
	{3, QH_NB_SNAPSHOTS, 4, 1000000, "snapshots", false},
	{3, QH_NB_SNAPSHOTS, 4, 1, "snapshots at 0x0", false},
	{3, QH_BACKING_OFF, 8, 50, NULL, false}, /* without a length there is none */
	{3, QH_BACKING_LEN, 4, 50, NULL, false}, /* nor without a place */
	{3, QH_INCOMPAT, 8, QI_EXTERNAL_DATA, "external data file", false},
	{3, QH_INCOMPAT, 8, QI_EXTENDED_L2, "extended L2", false},
	{3, QH_INCOMPAT, 8, BIT64(5), "not supported: bit 5", false},
	{3, QH_INCOMPAT, 8, QI_COMPRESSION, "disagree", false},
	{3, QH_INCOMPAT, 8, QI_CORRUPT, "marked as damaged", true},
	{3, QH_REFCOUNT_ORDER, 4, 7, "reference counts", false},
	{3, QH_HEADER_LEN, 4, 100, "header of 100", false},
	{3, QH_HEADER_LEN, 4, 0xfffffff8, "header of", false},
	{3, QH_V3_LEN + 4, 4, 5000, NULL, false},   /* end of extensions, with a length */
	{3, QH_V3_LEN, 4, 0x12345678, NULL, false}, /* an unknown, empty extension */
	{3, QH_V3_LEN, 4, QX_LUKS, "LUKS", false},
	{3, QH_V3_LEN, 4, QX_DATA_FILE, "external data file", false},
	{2, QH_VERSION, 4, 3, "header of 0", false},
};

static void try_header(const struct bad_header *t, bool read_only)
{
	struct qcow2_opts o = {.read_only = read_only};
	bool good = !t->says || (t->only_write && read_only);
	struct bfile *f = new_image(t->version);
	uint8_t *before;
	char err[300] = "";
	struct block *b;
	uint64_t size;
	int e;

	put(f, t->off, t->width, t->value);
	size = bfile_size(f);
	before = malloc(size);
	memcpy(before, memfile_bytes(f), size);
	e = qcow2_open(f, &o, &b, err, sizeof(err));
	if (good != !e)
		fail_msg("header %u = %#llx: %d, %s", t->off, (unsigned long long)t->value, e, err);
	if (e)
		assert_has(err, t->says);
	if (e || read_only) { /* an image that was refused has not been touched */
		assert_int_equal(bfile_size(f), size);
		assert_memory_equal(before, memfile_bytes(f), size);
	}
	if (e)
		f->ops->close(f);
	else
		block_close(b);
	free(before);
}

static void test_bad_headers(void **state)
{
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(bad_headers); i++) {
		try_header(&bad_headers[i], false);
		try_header(&bad_headers[i], true);
	}
}

static void test_short_files(void **state)
{
	struct qcow2_opts o = {.read_only = true};
	struct bfile *whole = new_image(3), *f;
	char err[300];
	struct block *b;
	size_t n;

	for (n = 0; n < 3 * CS; n += n < 200 ? 1 : 97) {
		assert_int_equal(memfile_create("short", memfile_bytes(whole), n, n, &f), 0);
		err[0] = 0;
		assert_true(qcow2_open(f, &o, &b, err, sizeof(err)) < 0);
		assert_true(err[0] != 0);
		f->ops->close(f);
	}
	whole->ops->close(whole);
}

/* ---- damaged tables --------------------------------------------------------------------------------- */

/* Where the first L2 table of an image with data in it is. */
static uint64_t l2_of(struct bfile *f)
{
	return get(f, get(f, QH_L1_OFF)) & QE_OFFSET;
}

/* An image whose first and second cluster hold data. */
static struct bfile *image_with_data(void)
{
	struct bfile *f = new_image(3), *copy;
	struct block *b = open_image(f, false);
	struct qcow2 *q = (struct qcow2 *)(void *)b;

	assert_int_equal(io(b, BLOCK_WRITE, 0, 0x11, CS), 0);
	assert_int_equal(io(b, BLOCK_WRITE, CS, 0x22, CS), 0);
	assert_int_equal(block_flush_sync(b), 0);
	copy = copy_of(q->f);
	block_close(b);
	return copy;
}

enum expect { READS, ZEROS, FAILS };

static const struct bad_entry {
	const char *what;
	bool l1; /* else the L2 entry of the first cluster */
	uint64_t value;
	enum expect read;
	bool write_fails;
} bad_entries[] = {
	{"header", false, QE_COPIED | 0, ZEROS, false}, /* offset 0 is: unallocated */
	{"refcount table", false, QE_COPIED | CS, READS, true},
	{"refcount block", false, QE_COPIED | 2 * CS, READS, true},
	{"L1 table", false, QE_COPIED | 3 * CS, READS, true},
	{"own L2 table", false, QE_COPIED | 4 * CS, READS, true},
	{"unaligned", false, QE_COPIED | (5 * CS + 512), FAILS, true},
	{"behind the end", false, QE_COPIED | (1u << 30), FAILS, true},
	{"far away", false, QE_COPIED | UINT64_C(0x00ffffffffff0000), FAILS, true},
	{"compressed, behind the end", false, QE_COMPRESSED | (1u << 30), FAILS, true},
	{"compressed noise", false, QE_COMPRESSED | (5 * CS), FAILS, true},
	{"unaligned table", true, QE_COPIED | (4 * CS + 512), FAILS, true},
	{"table behind the end", true, QE_COPIED | (1u << 30), FAILS, true},
	{"shared table behind the end", true, 1u << 30, FAILS, true},
	{"zero, elsewhere", false, QE_COPIED | QE_ZERO | CS, ZEROS, true},
};

static void try_entry(const struct bad_entry *t)
{
	struct bfile *f = image_with_data(), *f2;
	uint64_t at = t->l1 ? get(f, QH_L1_OFF) : l2_of(f);
	uint8_t before[3 * CS], buf[512];
	struct block *b;
	int err;

	assert_int_equal(l2_of(f), 4 * CS);
	put(f, at, 8, t->value);
	f2 = copy_of(f);
	b = open_image(f2, true);
	err = block_rw_sync(b, BLOCK_READ, 0, buf, sizeof(buf));
	if ((t->read == FAILS) != !!err)
		fail_msg("%s: reading says %d", t->what, err);
	block_close(b);
	if (t->l1) { /* refused altogether */
		struct qcow2_opts o = {0};
		char text[200] = "";

		assert_int_equal(qcow2_open(f, &o, &b, text, sizeof(text)), ERR_FORMAT);
		assert_has(text, "not in the file");
		f->ops->close(f);
		return;
	}
	memcpy(before, (uint8_t *)memfile_bytes(f) + CS, sizeof(before));
	b = open_image(f, false);
	err = io(b, BLOCK_WRITE, 512, 0x33, 512);
	if (t->write_fails != !!err)
		fail_msg("%s: writing says %d", t->what, err);
	if (err && t->read != FAILS) {
		/* The guest's data went nowhere, the image is marked. */
		assert_memory_equal(before, (uint8_t *)memfile_bytes(f) + CS, sizeof(before));
		assert_true(get(f, QH_INCOMPAT) & QI_CORRUPT);
		assert_int_equal(io(b, BLOCK_WRITE, CS, 0x44, 512), ERR_IO);
		assert_int_equal(io(b, BLOCK_READ, CS, 0x22, 512), 0);
	}
	block_close(b);
}

static void test_bad_entries(void **state)
{
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(bad_entries); i++)
		try_entry(&bad_entries[i]);
}

/* Counts that say that a used cluster is free. */
static void test_uncounted(void **state)
{
	struct bfile *f = image_with_data();
	struct block *b;
	unsigned i;

	for (i = 0; i < 7; i++)
		put(f, 2 * CS + i * 2, 2, 0);
	b = open_image(f, false);
	assert_int_equal(io(b, BLOCK_WRITE, 64 * CS, 0x55, CS), ERR_IO);
	assert_int_equal(io(b, BLOCK_READ, 0, 0x11, CS), 0);
	block_close(b);
}

static void test_check_counts_damage(void **state)
{
	struct qcow2_opts o = {.for_check = true};
	struct bfile *f = image_with_data();
	struct block_check found;
	char err[200] = "";
	struct block *b;

	put(f, 2 * CS + 5 * 2, 2, 0);   /* data that is not counted */
	put(f, 2 * CS + 100 * 2, 2, 3); /* a leak */
	put(f, l2_of(f) + 8, 8, get(f, l2_of(f) + 8) & ~QE_COPIED);
	assert_int_equal(qcow2_open(f, &o, &b, err, sizeof(err)), 0);
	assert_int_equal(qcow2_check(b, false, &found), 0);
	assert_int_equal(found.corruptions, 2);
	assert_int_equal(found.leaks, 1);
	assert_int_equal(qcow2_check(b, true, &found), 0);
	assert_int_equal(found.fixed, 2);
	assert_int_equal(qcow2_check(b, false, &found), 0);
	assert_int_equal(found.corruptions, 0);
	assert_int_equal(found.leaks, 0);
	block_close(b);
}

/* A full refcount table and block, in small clusters: both grow, again and again. */
static void test_growth(void **state)
{
	struct qcow2_create c = {
		.size = 6u << 20, .version = 3, .cluster_bits = 9, .refcount_order = 6};
	struct qcow2_opts o = {.discard = true}, co = {.for_check = true, .read_only = true};
	struct block_check found;
	char err[200] = "";
	struct bfile *f, *f2;
	struct block *b;
	uint64_t off;

	assert_int_equal(memfile_create("grow", NULL, 0, 16u << 20, &f), 0);
	assert_int_equal(qcow2_create(f, &c, err, sizeof(err)), 0);
	assert_int_equal(be32_get((uint8_t *)memfile_bytes(f) + QH_REFTABLE_CLUSTERS), 1);
	assert_int_equal(qcow2_open(f, &o, &b, err, sizeof(err)), 0);
	for (off = 0; off < c.size; off += 65536)
		assert_int_equal(io(b, BLOCK_WRITE, off, (uint8_t)(off >> 16), 65536), 0);
	assert_int_equal(block_flush_sync(b), 0);
	f2 = copy_of(f);
	block_close(b);
	assert_true(be32_get((uint8_t *)memfile_bytes(f2) + QH_REFTABLE_CLUSTERS) > 2);
	assert_int_equal(qcow2_open(f2, &co, &b, err, sizeof(err)), 0);
	for (off = 0; off < c.size; off += 65536)
		assert_int_equal(io(b, BLOCK_READ, off, (uint8_t)(off >> 16), 65536), 0);
	assert_int_equal(qcow2_check(b, false, &found), 0);
	assert_int_equal(found.corruptions, 0);
	assert_int_equal(found.clusters, c.size / 512);
	block_close(b);
}

/* ---- raw --------------------------------------------------------------------------------------------- */

static void test_raw_magic(void **state)
{
	struct raw_opts o = {.discard = true, .guessed = true};
	uint8_t sector[512] = "QFI\xfb";
	struct block_vec vec[3] = {{sector, 2}, {sector + 2, 1}, {sector + 3, 509}};
	struct block *b;
	struct bfile *f;

	assert_int_equal(memfile_create("raw", NULL, 0, 1 << 20, &f), 0);
	assert_int_equal(bfile_truncate(f, 100 * 512 + 77), 0);
	assert_int_equal(raw_open(f, &o, &b), 0);
	assert_int_equal(b->size, 100 * 512);
	assert_int_equal(block_rw_sync(b, BLOCK_WRITE, 0, sector, 512), ERR_IO);
	assert_int_equal(block_rw_sync(b, BLOCK_WRITE, 512, sector, 512), 0);
	assert_int_equal(io(b, BLOCK_READ, 0, 0, 512), 0);
	assert_int_equal(io(b, BLOCK_WRITE, 0, 'x', 512), 0);
	assert_int_equal(io(b, BLOCK_READ, 99 * 512, 0, 512), 0);
	assert_int_equal(io(b, BLOCK_READ, 99 * 512, 0, 1024), ERR_RANGE);
	assert_int_equal(io(b, BLOCK_READ, UINT64_MAX - 511, 0, 1024), ERR_RANGE);
	assert_int_equal(io(b, BLOCK_READ, 1, 0, 512), ERR_RANGE);
	memcpy(sector, "# Disk DescriptorFile", 21);
	assert_int_equal(block_rw_sync(b, BLOCK_WRITE, 0, sector, 512), ERR_IO);
	(void)vec;
	block_close(b);
	o.guessed = false; /* who says raw may write what he likes */
	memcpy(sector, "QFI\xfb", 4);
	assert_int_equal(memfile_create("raw", NULL, 0, 1 << 20, &f), 0);
	assert_int_equal(bfile_truncate(f, 51200), 0);
	assert_int_equal(raw_open(f, &o, &b), 0);
	assert_int_equal(block_rw_sync(b, BLOCK_WRITE, 0, sector, 512), 0);
	block_close(b);
}

/* ---- files --------------------------------------------------------------------------------------------- */

static char err_text[500];

static struct block *open_path(const char *name, struct block_open_opts o)
{
	struct block *b;
	const char *path = in_dir(name);

	o.path = path;
	err_text[0] = 0;
	if (block_open(NULL, &o, &b, err_text, sizeof(err_text)))
		return NULL;
	return b;
}

static struct block *must_open(const char *name, struct block_open_opts o)
{
	struct block *b = open_path(name, o);

	if (!b)
		fail_msg("%s", err_text);
	return b;
}

static void create(const char *name, struct block_create_opts o)
{
	if (block_create_qcow2(in_dir(name), &o, err_text, sizeof(err_text)))
		fail_msg("%s", err_text);
}

static void test_locks(void **state)
{
	struct block *w, *r, *r2;

	create("lock", (struct block_create_opts){.size = 1 << 20});
	w = must_open("lock", (struct block_open_opts){0});
	assert_null(open_path("lock", (struct block_open_opts){0}));
	assert_has(err_text, "is in use by test_block");
	assert_null(open_path("lock", (struct block_open_opts){.read_only = true}));
	/* QEMU's tools see that as well. */
	assert_int_not_equal(run("qemu-img check -q '%s' > /dev/null 2>&1", in_dir("lock")), 0);
	block_close(w);
	r = must_open("lock", (struct block_open_opts){.read_only = true});
	r2 = must_open("lock", (struct block_open_opts){.snapshot = true});
	assert_null(open_path("lock", (struct block_open_opts){0}));
	assert_int_equal(run("qemu-img check -q '%s'", in_dir("lock")), 0);
	block_close(r);
	block_close(r2);
	block_close(must_open("lock", (struct block_open_opts){0}));
}

static void test_backing(void **state)
{
	struct block *b;
	int e;

	assert_int_equal(mkdir(in_dir("sub"), 0700), 0);
	create("sub/base", (struct block_create_opts){.size = 1 << 20});
	b = must_open("sub/base", (struct block_open_opts){0});
	assert_int_equal(io(b, BLOCK_WRITE, 0, 0xaa, 65536), 0);
	block_close(b);
	create("sub/mid", (struct block_create_opts){.backing = "base"});
	create("top", (struct block_create_opts){.backing = "sub/mid", .size = 2 << 20});
	b = must_open("top", (struct block_open_opts){0});
	assert_int_equal(b->size, 2 << 20);
	assert_int_equal(io(b, BLOCK_READ, 0, 0xaa, 65536), 0);
	assert_int_equal(io(b, BLOCK_READ, 1 << 20, 0, 65536), 0);
	assert_int_equal(io(b, BLOCK_WRITE, 512, 0xbb, 512), 0);
	assert_int_equal(io(b, BLOCK_READ, 1024, 0xaa, 60000 / 512 * 512), 0);
	assert_int_equal(io(b, BLOCK_DISCARD, 0, 0, 65536), 0);
	assert_int_equal(io(b, BLOCK_READ, 0, 0, 65536), 0); /* and not what is below */
	block_close(b);
	assert_int_equal(run("qemu-img check -q '%s'", in_dir("top")), 0);

	/* Round in a circle. */
	assert_int_equal(
		run("qemu-img rebase -u -f qcow2 -F qcow2 -b ../top '%s'", in_dir("sub/base")), 0);
	assert_null(open_path("top", (struct block_open_opts){0}));
	assert_has(err_text, "own backing file");
	/* Something else. */
	assert_int_equal(run("qemu-img rebase -u -f qcow2 -F qed -b none '%s'", in_dir("sub/base")),
			 0);
	assert_null(open_path("top", (struct block_open_opts){0}));
	assert_has(err_text, "format qed");
	assert_int_equal(
		run("qemu-img rebase -u -f qcow2 -F raw -b nbd://x/y '%s'", in_dir("sub/base")), 0);
	assert_null(open_path("top", (struct block_open_opts){0}));
	assert_has(err_text, "not a path");
	assert_int_equal(run("qemu-img rebase -u -f qcow2 -F raw -b gone '%s'", in_dir("sub/base")),
			 0);
	assert_null(open_path("top", (struct block_open_opts){0}));
	assert_has(err_text, "gone: No such file");
	e = block_create_qcow2(in_dir("x"), &(struct block_create_opts){.backing = "gone"},
			       err_text, sizeof(err_text));
	assert_int_equal(e, ERR_NOENT);
	assert_int_not_equal(access(in_dir("x"), F_OK), 0);
}

static void test_snapshot_option(void **state)
{
	struct block *b;

	create("snap", (struct block_create_opts){.size = 1 << 20});
	b = must_open("snap", (struct block_open_opts){0});
	assert_int_equal(io(b, BLOCK_WRITE, 0, 0x5a, 4096), 0);
	block_close(b);
	b = must_open("snap", (struct block_open_opts){.snapshot = true});
	assert_false(b->read_only);
	assert_string_equal(b->name, "snap");
	assert_int_equal(io(b, BLOCK_WRITE, 0, 0x77, 512), 0);
	assert_int_equal(io(b, BLOCK_READ, 0, 0x77, 512), 0);
	assert_int_equal(io(b, BLOCK_READ, 512, 0x5a, 512), 0);
	assert_int_equal(block_flush_sync(b), 0);
	block_close(b);
	b = must_open("snap", (struct block_open_opts){.read_only = true});
	assert_int_equal(io(b, BLOCK_READ, 0, 0x5a, 4096), 0);
	assert_int_equal(io(b, BLOCK_WRITE, 0, 0x5a, 4096), ERR_ROFS);
	assert_int_equal(block_flush_sync(b), 0);
	block_close(b);
}

static void test_formats(void **state)
{
	struct block *b;

	assert_int_equal(run("qemu-img create -q -f vmdk '%s' 1M", in_dir("v")), 0);
	assert_null(open_path("v", (struct block_open_opts){0}));
	assert_has(err_text, "VMDK");
	b = must_open("v", (struct block_open_opts){.format = BLOCK_RAW});
	assert_string_equal(b->ops->name, "raw");
	block_close(b);
	assert_null(open_path("v", (struct block_open_opts){.format = BLOCK_QCOW2}));
	assert_has(err_text, "not a qcow2 image");
	assert_null(open_path("nothing", (struct block_open_opts){0}));
	assert_has(err_text, "No such file");
	assert_null(open_path(".", (struct block_open_opts){.read_only = true}));
	assert_has(err_text, "neither a file nor a disk");
	assert_int_equal(run("qemu-img create -q -f qcow2 -o extended_l2=on '%s' 1M", in_dir("e")),
			 0);
	assert_null(open_path("e", (struct block_open_opts){0}));
	assert_has(err_text, "extended L2");
	assert_int_equal(run("qemu-img create -q -f qcow2 -o data_file='%s' '%s' 1M",
			     in_dir("d.raw"), in_dir("d")),
			 0);
	assert_null(open_path("d", (struct block_open_opts){0}));
	assert_has(err_text, "external data file");
}

/* The host's disk is full for a while. */
static void full_disk(bool no_uring)
{
	struct rlimit old, low = {3 << 20, 0};
	struct block *b;
	unsigned i, failed = 0;

	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	low.rlim_max = old.rlim_max;
	create("full", (struct block_create_opts){.size = 8 << 20, .overwrite = true});
	b = must_open("full", (struct block_open_opts){.no_uring = no_uring});
	setrlimit(RLIMIT_FSIZE, &low);
	for (i = 0; i < 64; i++) {
		int e = io(b, BLOCK_WRITE, i * 131072, (uint8_t)(i + 1), 131072);

		if (e) {
			assert_int_equal(e, ERR_NOSPC);
			failed++;
		}
		e = block_flush_sync(b);
		assert_true(!e || e == ERR_NOSPC);
	}
	assert_true(failed > 30);
	setrlimit(RLIMIT_FSIZE, &old);
	for (i = 0; i < 64; i++) /* the device would try again only what failed */
		if (io(b, BLOCK_WRITE, i * 131072, (uint8_t)(i + 1), 131072))
			fail_msg("write %u when there is room again", i);
	assert_int_equal(block_flush_sync(b), 0);
	block_close(b);
	b = must_open("full", (struct block_open_opts){0});
	for (i = 0; i < 64; i++)
		assert_int_equal(io(b, BLOCK_READ, i * 131072, (uint8_t)(i + 1), 131072), 0);
	block_close(b);
	assert_int_equal(run("qemu-img check -q '%s'", in_dir("full")), 0);
}

static void test_full_disk(void **state)
{
	full_disk(false);
	full_disk(true);
}

/* What QEMU leaves behind with lazy reference counts when it is killed. */
static void test_dirty(void **state)
{
	struct block_info info;
	struct block_check found;
	struct block *b;
	uint8_t be[8];
	int fd;

	assert_int_equal(
		run("qemu-img create -q -f qcow2 -o lazy_refcounts=on '%s' 4M", in_dir("dirty")),
		0);
	run("qemu-io -c 'write -P 0x42 0 1M' -c 'abort' '%s' > /dev/null 2>&1", in_dir("dirty"));
	assert_int_equal(block_info(in_dir("dirty"), BLOCK_AUTO, &info, err_text, sizeof(err_text)),
			 0);
	assert_true(info.dirty);
	assert_true(info.lazy_refcounts);
	b = must_open("dirty", (struct block_open_opts){.read_only = true});
	assert_int_equal(io(b, BLOCK_READ, 0, 0x42, 4096), 0);
	block_close(b);
	b = must_open("dirty", (struct block_open_opts){0});
	assert_int_equal(io(b, BLOCK_WRITE, 2 << 20, 0x43, 65536), 0);
	assert_int_equal(io(b, BLOCK_READ, 0, 0x42, 1 << 20), 0);
	block_close(b);
	assert_int_equal(block_info(in_dir("dirty"), BLOCK_AUTO, &info, err_text, sizeof(err_text)),
			 0);
	assert_false(info.dirty);
	assert_int_equal(run("qemu-img check -q '%s'", in_dir("dirty")), 0);

	/* Marked as damaged: readable, and repairable by the check. */
	fd = open(in_dir("dirty"), O_RDWR);
	be64_put(be, QI_CORRUPT);
	assert_int_equal(pwrite(fd, be, 8, QH_INCOMPAT), 8);
	close(fd);
	assert_null(open_path("dirty", (struct block_open_opts){0}));
	assert_has(err_text, "marked as damaged");
	assert_int_equal(block_check(in_dir("dirty"), true, &found, err_text, sizeof(err_text)), 0);
	block_close(must_open("dirty", (struct block_open_opts){0}));
}

static void test_create_and_info(void **state)
{
	static const struct {
		unsigned cb, rc, version;
		uint64_t size;
	} t[] = {
		{0, 0, 0, 1 << 20},     {9, 64, 3, 1 << 24},     {9, 1, 3, 1 << 24},
		{21, 8, 3, 1ull << 44}, {12, 16, 2, 1ull << 33}, {16, 2, 3, 512},
		{16, 16, 3, 0},         {9, 16, 3, 1ull << 36},
	};
	struct block_create_opts o;
	struct block_info info;
	struct block_check found;
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(t); i++) {
		o = (struct block_create_opts){.size = t[i].size,
					       .cluster_bits = t[i].cb,
					       .refcount_bits = t[i].rc,
					       .version = t[i].version,
					       .overwrite = true};
		create("new", o);
		assert_int_equal(run("qemu-img check -q '%s'", in_dir("new")), 0);
		assert_int_equal(
			block_info(in_dir("new"), BLOCK_AUTO, &info, err_text, sizeof(err_text)),
			0);
		assert_int_equal(info.size, t[i].size);
		assert_int_equal(info.cluster_bits, t[i].cb ? t[i].cb : 16);
		assert_int_equal(info.refcount_bits, t[i].rc ? t[i].rc : 16);
		assert_int_equal(
			block_check(in_dir("new"), false, &found, err_text, sizeof(err_text)), 0);
		assert_int_equal(found.corruptions + found.leaks, 0);
	}
	o = (struct block_create_opts){.size = 512};
	assert_int_equal(block_create_qcow2(in_dir("new"), &o, err_text, sizeof(err_text)),
			 ERR_EXIST);
	o = (struct block_create_opts){.size = 1ull << 50, .cluster_bits = 9};
	assert_int_equal(block_create_qcow2(in_dir("huge"), &o, err_text, sizeof(err_text)),
			 ERR_INVAL);
	assert_int_not_equal(access(in_dir("huge"), F_OK), 0);
}

static void test_resize(void **state)
{
	static const unsigned bits[] = {9, 12, 16};
	struct block *b;
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(bits); i++) {
		const uint64_t big = (uint64_t)1 << (bits[i] == 9 ? 30 : 40);

		create("under", (struct block_create_opts){.size = 3 << 20, .overwrite = true});
		b = must_open("under", (struct block_open_opts){0});
		assert_int_equal(io(b, BLOCK_WRITE, 0, 0x99, 3 << 20), 0);
		block_close(b);
		create("size", (struct block_create_opts){.size = (1 << 20) + 512,
							  .cluster_bits = bits[i],
							  .backing = "under",
							  .overwrite = true});
		b = must_open("size", (struct block_open_opts){0});
		assert_int_equal(io(b, BLOCK_WRITE, 0, 0x31, 65536), 0);
		block_close(b);
		if (block_resize(in_dir("size"), BLOCK_AUTO, big, err_text, sizeof(err_text)))
			fail_msg("%s", err_text);
		assert_int_equal(run("qemu-img check -q '%s'", in_dir("size")), 0);
		b = must_open("size", (struct block_open_opts){0});
		assert_int_equal(b->size, big);
		assert_int_equal(io(b, BLOCK_READ, 0, 0x31, 65536), 0);
		assert_int_equal(io(b, BLOCK_READ, 65536, 0x99, 65536), 0);
		/* What the backing file has behind the old end does not appear. */
		assert_int_equal(io(b, BLOCK_READ, (1 << 20) + 512, 0, (2 << 20) - 512), 0);
		assert_int_equal(io(b, BLOCK_WRITE, big - 65536, 0x32, 65536), 0);
		block_close(b);
		assert_int_equal(run("qemu-img check -q '%s'", in_dir("size")), 0);
		assert_int_equal(
			block_resize(in_dir("size"), BLOCK_AUTO, 512, err_text, sizeof(err_text)),
			ERR_INVAL);
	}
	assert_int_equal(run("truncate -s 1M '%s'", in_dir("r")), 0);
	assert_int_equal(block_resize(in_dir("r"), BLOCK_AUTO, 2 << 20, err_text, sizeof(err_text)),
			 0);
	b = must_open("r", (struct block_open_opts){0});
	assert_int_equal(b->size, 2 << 20);
	block_close(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad_headers),
		cmocka_unit_test(test_short_files),
		cmocka_unit_test(test_bad_entries),
		cmocka_unit_test(test_uncounted),
		cmocka_unit_test(test_check_counts_damage),
		cmocka_unit_test(test_growth),
		cmocka_unit_test(test_raw_magic),
		cmocka_unit_test(test_locks),
		cmocka_unit_test(test_backing),
		cmocka_unit_test(test_snapshot_option),
		cmocka_unit_test(test_formats),
		cmocka_unit_test(test_full_disk),
		cmocka_unit_test(test_dirty),
		cmocka_unit_test(test_create_and_info),
		cmocka_unit_test(test_resize),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
