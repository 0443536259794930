/* SPDX-License-Identifier: ISC */
/* import.h: images of other hypervisors, which are only read.
 *
 * A format says where in its files a range of the disk is; import.c does the rest: requests, reading,
 * unpacking, one piece of a table kept in memory. Everything ends within block_submit(), in the
 * caller's thread: such an image is read once, to be converted, or lies under an overlay. */
#ifndef BLOCK_IMPORT_H
#define BLOCK_IMPORT_H

#include "block/bfile.h"
#include "plat/plat.h"

#define IMPORT_WINDOW 4096

struct import;

/* type: 0 deflate, 1 zstd, 2 zlib. out_len is to be filled exactly. */
typedef int (*import_unzip_fn)(unsigned type, const void *in, size_t in_len, void *out,
			       size_t out_len);
/* Opens another file of the same image, by a name without a directory. */
typedef int (*import_file_fn)(void *ctx, const char *name, struct bfile **out);

struct import_opts {
	import_unzip_fn unzip; /* or NULL: compressed images cannot be read */
	import_file_fn file;   /* or NULL: images of several files cannot be read */
	void *ctx;             /* for file() */
};

enum import_kind { IMPORT_ZERO, IMPORT_DATA, IMPORT_ZIP };

/* What the disk has from some offset on. */
struct import_range {
	enum import_kind kind;
	uint64_t len;    /* bytes of the disk that this holds for; not 0 */
	struct bfile *f; /* DATA, ZIP */
	uint64_t off;    /* in f */
	/* ZIP */
	uint32_t zip_len; /* bytes in f */
	uint32_t unit;    /* bytes unpacked */
	uint32_t skip;    /* of these, before the range */
};

struct import_ops {
	struct block_ops block; /* IMPORT_BLOCK_OPS() */
	/* off: inside of the disk. With im->lock held. */
	int (*map)(struct import *im, uint64_t off, struct import_range *out);
	/* Changes what was read from f at off; may be NULL. */
	void (*patch)(struct import *im, struct bfile *f, uint64_t off, void *buf, size_t len);
	void (*fini)(struct import *im); /* not im->f; may be NULL */
};

/* First member of each format's own struct, which plat_alloc() gave. */
struct import {
	struct block b;
	const struct import_ops *ops;
	struct bfile *f;
	struct import_opts o;
	struct plat_mutex lock; /* over all below, and map() */
	struct bfile *win_file; /* what win[] is of; NULL: nothing */
	uint64_t win_off;
	uint8_t win[IMPORT_WINDOW];
	uint8_t *zip_in, *zip_out; /* of 2 * zip_max and zip_max bytes */
	uint32_t zip_max;
	struct bfile *zip_file; /* what zip_out has; NULL: nothing */
	uint64_t zip_off;
	bool told; /* has said that the image is damaged */
};

/* Formats: they own f from then on, if they succeed. err: one line for people. */
int vmdk_open(struct bfile *f, const struct import_opts *o, struct block **out, char *err,
	      size_t err_size) attr_must_check;
int vdi_open(struct bfile *f, const struct import_opts *o, struct block **out, char *err,
	     size_t err_size) attr_must_check;
int vhd_open(struct bfile *f, const struct import_opts *o, struct block **out, char *err,
	     size_t err_size) attr_must_check;
int vhdx_open(struct bfile *f, const struct import_opts *o, struct block **out, char *err,
	      size_t err_size) attr_must_check;
/* The last sector is the footer of a VHD image, which alone tells a fixed one from a raw one. */
bool vhd_has_footer(struct bfile *f);

/* ---- for the formats ----------------------------------------------------------------------- */

void import_submit(struct block *b, struct block_req *req);
void import_close(struct block *b);
#define IMPORT_BLOCK_OPS(n)                                                 \
	{                                                                   \
		.name = (n), .submit = import_submit, .close = import_close \
	}

void import_init(struct import *im, const struct import_ops *ops, struct bfile *f,
		 const struct import_opts *o);
/* Room to unpack pieces of at most max bytes each. */
int import_zip_init(struct import *im, uint32_t max) attr_must_check;
/* Frees im and what it has, but not im->f: after a failure to open. */
void import_destroy(struct import *im);
/* Reads what is in f, and must be there whole. */
int import_pread(struct import *im, struct bfile *f, uint64_t off, void *buf,
		 size_t len) attr_must_check;
/* A number of a table, width 4 or 8 bytes, as it is in the file; ERR_IO behind its end. */
int import_entry(struct import *im, struct bfile *f, uint64_t off, unsigned width,
		 void *out) attr_must_check;

#endif
