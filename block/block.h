/* SPDX-License-Identifier: ISC */
/* block.h: disks. Formats (raw, qcow2) stand on files; overlays will stand on both.
 *
 * block_submit() may be called from any thread; done() comes once, from any thread, possibly before
 * block_submit() has returned. Requests in flight may complete in any order; a flush covers what
 * had completed before it was submitted. */
#ifndef BLOCK_BLOCK_H
#define BLOCK_BLOCK_H

#include "base/def.h"
#include "base/err.h"

#define BLOCK_SECTOR 512

struct block;

enum block_op { BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_ZERO };

struct block_vec {
	void *base;
	size_t len;
};

struct block_req {
	enum block_op op;
	bool unmap;                  /* BLOCK_ZERO: may deallocate */
	uint64_t offset;             /* bytes, multiple of BLOCK_SECTOR */
	uint64_t len;                /* bytes, likewise; for reads and writes the vectors' sum */
	const struct block_vec *vec; /* valid until done() */
	unsigned n_vec;
	void (*done)(struct block_req *req, int err); /* err: 0 or ERR_* */
	void *ctx;                                    /* the submitter's */
	struct block_req *next;                       /* block layer's while in flight */
	void *priv;                                   /* block layer's while in flight */
};

struct block_snapshot {
	enum block_snapshot_op {
		BLOCK_SNAPSHOT_FIND,   /* is there one? ERR_NOENT */
		BLOCK_SNAPSHOT_SAVE,   /* what the disk has now; ERR_EXIST */
		BLOCK_SNAPSHOT_REVERT, /* the disk has what it had then; ERR_NOENT */
		BLOCK_SNAPSHOT_DELETE, /* ERR_NOENT */
	} op;
	const char *name; /* in this image; at most 255 bytes */
	uint64_t time;    /* seconds since 1970; of SAVE */
	bool resize;      /* REVERT: to another size too, else ERR_INVAL */
};

struct block_ops {
	const char *name;
	void (*submit)(struct block *b, struct block_req *req);
	void (*close)(struct block *b); /* no requests in flight; flushes; frees */
	int (*snapshot)(struct block *b, const struct block_snapshot *s, char *err,
			size_t err_size); /* NULL: has none */
};

/* First member of each driver's own struct. */
struct block {
	const struct block_ops *ops;
	uint64_t size; /* bytes, multiple of BLOCK_SECTOR */
	bool read_only;
	char name[64]; /* file name, for messages */
};

static inline void block_submit(struct block *b, struct block_req *req)
{
	b->ops->submit(b, req);
}

/* Synchronous helpers for tools and tests; not from the loop's thread. */
int block_rw_sync(struct block *b, enum block_op op, uint64_t offset, void *buf,
		  size_t len) attr_must_check;
int block_flush_sync(struct block *b) attr_must_check;
void block_close(struct block *b);
/* Snapshots within the image; synchronous, and nobody submits requests meanwhile. A crash at any
 * moment leaves the image as before or as after. err: one line for people. ERR_NOSYS: this format
 * has none. */
int block_snapshot(struct block *b, const struct block_snapshot *s, char *err,
		   size_t err_size) attr_must_check;

/* ---- opening, hosted only ---------------------------------------------------------------- */

struct plat_loop;

/* Those after qcow2 are only read. */
enum block_format {
	BLOCK_AUTO,
	BLOCK_RAW,
	BLOCK_QCOW2,
	BLOCK_VMDK,
	BLOCK_VDI,
	BLOCK_VHD,
	BLOCK_VHDX,
	BLOCK_FORMATS
};
const char *block_format_name(enum block_format format);
/* Ours and QEMU's names; BLOCK_FORMATS: there is no such. */
enum block_format block_format_of(const char *name);
enum block_cache {
	BLOCK_CACHE_WRITEBACK, /* a flush reaches the disk */
	BLOCK_CACHE_UNSAFE,    /* a flush reaches the host's page cache */
};

struct block_open_opts {
	const char *path;
	enum block_format format;
	enum block_cache cache;
	bool read_only;
	bool snapshot;   /* writes go to a temporary file that ends with the block */
	bool no_discard; /* discards of the guest change nothing */
	bool no_uring;   /* a few threads instead, as where the host does not permit io_uring */
};

/* loop: on whose thread done() comes, unless it comes within block_submit(); NULL: on a thread of
 * the block's own. err: one line for people, filled when it fails. The file stays locked (with
 * locks that QEMU's tools respect as well): one writer or several readers, else ERR_BUSY. */
int block_open(struct plat_loop *loop, const struct block_open_opts *opts, struct block **out,
	       char *err, size_t err_size) attr_must_check;

/* The same for a raw image that is open already; fd stays the caller's. */
int block_open_fd(struct plat_loop *loop, int fd, const char *name, bool read_only,
		  struct block **out, char *err, size_t err_size) attr_must_check;

/* ---- images, for tools; synchronous ------------------------------------------------------ */

struct block_create_opts {
	uint64_t size;              /* bytes; 0: that of the backing file */
	const char *backing;        /* path, stored as given, relative to the new image; or NULL */
	const char *backing_format; /* "raw", "qcow2"; NULL: found out now */
	unsigned cluster_bits;      /* 9 to 21; 0: 16 */
	unsigned refcount_bits;     /* 1, 2, 4 … 64; 0: 16 */
	unsigned version;           /* 2 or 3; 0: 3 */
	bool overwrite;             /* an existing file may be replaced */
};
int block_create_qcow2(const char *path, const struct block_create_opts *opts, char *err,
		       size_t err_size) attr_must_check;

struct block_info {
	enum block_format format;
	uint64_t size;      /* bytes of the disk */
	uint64_t file_size; /* length of the file */
	uint64_t allocated; /* bytes that it takes on the host */
	/* qcow2 */
	unsigned version, cluster_bits, refcount_bits, n_snapshots;
	bool zstd, dirty, corrupt, lazy_refcounts;
	char backing[1024];
	char backing_format[16];
};
int block_info(const char *path, enum block_format format, struct block_info *out, char *err,
	       size_t err_size) attr_must_check;

struct block_check {
	uint64_t corruptions; /* errors that lose data or will */
	uint64_t leaks;       /* clusters that are counted more often than used */
	uint64_t fixed;
	uint64_t clusters; /* data clusters in use */
	uint64_t end;      /* where the last used cluster ends */
};
/* repair: makes reference counts what they should be. 0 whatever it finds. */
int block_check(const char *path, bool repair, struct block_check *out, char *err,
		size_t err_size) attr_must_check;
/* Larger only, for qcow2; raw images may shrink. */
int block_resize(const char *path, enum block_format format, uint64_t size, char *err,
		 size_t err_size) attr_must_check;

/* block_snapshot() on an image that nobody has open. */
int block_snapshot_file(const char *path, const struct block_snapshot *s, char *err,
			size_t err_size) attr_must_check;

/* An empty raw image. */
int block_create_raw(const char *path, uint64_t size, bool overwrite, char *err,
		     size_t err_size) attr_must_check;

enum block_zip { BLOCK_ZIP_NONE, BLOCK_ZIP_ZLIB, BLOCK_ZIP_ZSTD };

struct block_convert_opts {
	enum block_format from; /* BLOCK_AUTO: found out */
	enum block_format to;   /* raw, qcow2; BLOCK_AUTO: qcow2 */
	enum block_zip zip;     /* of qcow2 */
	bool overwrite;         /* an existing file may be replaced */
	/* Between pieces, in the caller's thread; may be NULL. True: give up. */
	bool (*progress)(void *ctx, uint64_t done, uint64_t total);
	void *ctx;
};
/* Makes a new image with what the disk src, its backing files included, has. What is zeros takes no
 * room. dst appears when it is complete and on the disk, else nothing changes. */
int block_convert(const char *src, const char *dst, const struct block_convert_opts *o, char *err,
		  size_t err_size) attr_must_check;

#endif
