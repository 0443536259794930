/* SPDX-License-Identifier: ISC */
/* qcow2.h: the qcow2 driver.
 *
 * How it stays consistent. On disk, a cluster's reference count is always at least the number of
 * references to it, at any moment of any write, so that killing the process or the host loses
 * nothing that was flushed and damages nothing; at worst clusters leak. Thus the order in which
 * things reach the file:
 *
 *	data, counts that rise, new tables > refcount table > L2 and L1 tables > counts that fall
 *
 * Data is written before its L2 entry changes even in memory, a new L2 table or refcount block (with
 * zeros, or what the old one has) before anything points to it. All else changes in memory first
 * (qcow2_cache.c) and is written by one procedure, the commit (qcow2_commit.c): it copies what is
 * dirty at one instant, then writes the copies level by level, with a barrier (fsync) between
 * levels that both have something. It runs for the guest's flushes, when too much of the cache is
 * dirty, and at close. A cluster that lost a reference goes to a list; its count falls only after
 * the commit of the entry that pointed to it, and after all I/O ended that had been mapped before.
 * So whatever mixture of old and new sectors a crash leaves, each entry is a valid one.
 *
 * How requests run (qcow2_io.c). All tables are looked at and changed under one lock, which is
 * never held over asynchronous I/O. A request advances chunk by chunk: find what the next clusters
 * are, submit the I/O for them, go on without waiting. When something it needs is not in memory
 * (or in use by another) it joins that thing's list of waiters, and starts the chunk over when
 * woken; nothing is changed before all that a chunk needs is at hand. Reads, and writes to clusters
 * that may be written in place, so run in parallel; writes to new clusters hold a qalloc, which
 * makes other writes to the same clusters wait. Rare structural changes (a new L2 table, refcount
 * block, refcount table) are synchronous, under the lock.
 *
 * Entered by any thread. Files: qcow2.c (open, close), _meta (header, table entries), _cache,
 * _refcount, _io, _commit, _zip (compressed clusters), _check, _create, _snapshot. */
#ifndef BLOCK_QCOW2_H
#define BLOCK_QCOW2_H

#include "block/be.h"
#include "block/bfile.h"
#include "block/qcow2_fmt.h"
#include "plat/plat.h"

/* Decompression is a library's, so hosted; freestanding builds give none. type: 0 deflate, 1 zstd.
 * out_len is to be filled exactly. */
typedef int (*qcow2_unzip_fn)(unsigned type, const void *in, size_t in_len, void *out,
			      size_t out_len);

struct qcow2_opts {
	bool read_only;
	bool discard;          /* discards free clusters, freed clusters are punched out */
	bool for_check;        /* open what is marked dirty or corrupt, and leave it so */
	bool take_backing;     /* close backing with the image */
	size_t l2_cache;       /* bytes; 0: 1 MiB */
	size_t refcount_cache; /* bytes; 0: 256 KiB */
	struct block *backing; /* or NULL */
	qcow2_unzip_fn unzip;  /* or NULL: compressed clusters cannot be read */
};

/* What the header says. */
struct qcow2_hdr {
	unsigned version, cluster_bits, refcount_order, compression;
	uint64_t size, l1_off, reftable_off, snapshots_off;
	uint32_t l1_size, reftable_clusters, n_snapshots, header_len;
	uint64_t incompat, compat, autoclear;
	uint64_t bitmaps_off, bitmaps_size; /* bitmap directory; 0: none */
	uint32_t n_bitmaps;
	char backing[1024];
	char backing_format[16];
};

/* Reads and validates the header. err: one line for people. */
int qcow2_read_header(struct bfile *f, struct qcow2_hdr *h, char *err,
		      size_t err_size) attr_must_check;
/* The image owns f from then on, if it succeeds. */
int qcow2_open(struct bfile *f, const struct qcow2_opts *opts, struct block **out, char *err,
	       size_t err_size) attr_must_check;

struct qcow2_create {
	uint64_t size;
	unsigned version, cluster_bits, refcount_order;
	const char *backing, *backing_format; /* or NULL */
};
/* Writes an empty image into the empty file f. */
int qcow2_create(struct bfile *f, const struct qcow2_create *c, char *err,
		 size_t err_size) attr_must_check;
/* b: opened for_check; writable for repair. */
int qcow2_check(struct block *b, bool repair, struct block_check *out) attr_must_check;
/* Takes back what says that the image is damaged or was not closed. */
int qcow2_mark_sound(struct block *b) attr_must_check;
int qcow2_resize(struct block *b, uint64_t size, char *err, size_t err_size) attr_must_check;

/* See block_snapshot(). Nobody submits requests meanwhile. */
int qcow2_snapshot(struct block *b, const struct block_snapshot *s, char *err,
		   size_t err_size) attr_must_check;

/* ---- inside -------------------------------------------------------------------------------- */

struct qcow2;
struct qslot;

/* One that waits: run() is called, from any thread with no lock held, when what it waited for is
 * there (err 0) or will not come.
 *
 * What was loaded for it is pinned, or others that are woken first could take its place, and so on
 * for ever. A request comes to hold an L2 slice, then a slice of counts, never the other way round;
 * it lets go of both before it waits for anything but a slice, and when its step is done. */
enum { QHOLD_L2, QHOLD_COUNTS, QHOLDS };
struct qwait {
	struct qwait *next;
	void (*run)(struct qwait *w);
	int err;
	struct qslot *hold[QHOLDS];
	struct qzslot *z; /* a decompressed cluster, likewise */
};

struct qwaitq {
	struct qwait *head, **tail;
};

/* What a holder of the lock has decided and does on releasing it: qcow2_leave(). */
struct qctx {
	struct qslot *load;
	struct qzslot *zload;
	bool for_slice; /* ERR_AGAIN means: waits for a slice */
	bool commit;    /* one should begin */
	bool no_wait;   /* ERR_BUSY where all slots are in use: it is the commit that asks */
};

/* A table that is in memory whole (L1, refcount table), with a copy as it is to be on disk. */
struct qtable {
	uint64_t *e;    /* entries, host order */
	uint8_t *image; /* as of the last commit */
	uint8_t *dirty; /* by sector (64 entries) */
	uint8_t *writing;
	uint32_t n, n_sectors;
	uint32_t n_dirty, n_writing;
	uint64_t off; /* in the file */
};

/* A piece of an L2 table or of a refcount block: what the caches hold. */
enum qslot_state { QSLOT_EMPTY, QSLOT_LOADING, QSLOT_VALID };
struct qslot {
	struct qcow2 *q;
	struct qcache *cache;
	uint64_t off;   /* in the file; 0: empty */
	uint8_t *data;  /* as on disk, with later changes */
	uint8_t *image; /* being written */
	uint64_t used;  /* time of last use */
	enum qslot_state state;
	uint32_t pins;
	uint32_t hash_next; /* index + 1 */
	bool dirty, writing;
	uint8_t epoch; /* of the load */
	struct qwaitq waiters;
	struct block_req io;
	struct block_vec vec;
};

struct qcache {
	struct qslot *slots;
	uint32_t *heads; /* hash: index + 1 */
	uint8_t *mem;
	size_t mem_size;
	uint32_t n, slice_size;
	uint32_t n_dirty, n_writing;
	uint64_t clock;
};

/* A decompressed cluster. */
struct qzslot {
	struct qcow2 *q;
	uint64_t key; /* the L2 entry; 0: empty */
	enum qslot_state state;
	uint32_t pins;
	uint64_t used;
	uint8_t *in, *out;
	uint32_t skip; /* where in the first sector it begins */
	uint8_t epoch;
	struct qwaitq waiters;
	struct block_req io;
	struct block_vec vec;
};

struct qextent { /* clusters, each of which lost one reference */
	uint64_t cluster;
	uint32_t n;
	uint32_t done; /* of n, handled */
};

#define QFREES_MAX   8192 /* extents waiting, both lists */
#define QFREES_SLACK 64   /* of these, for structural changes */
struct qfrees {
	struct qextent *e;
	uint32_t n;
};

#define QIO_VECS 130
/* I/O to the file or the backing disk, part of a request. */
struct qio {
	struct block_req b;
	struct qreq *r;
	struct qio *next;
	struct block_vec *vec; /* QIO_VECS of them; NULL: uses the request's own */
	uint8_t epoch;
	bool counted; /* in q->in_flight[epoch] */
};

struct qreq {
	struct qwait w;
	struct qcow2 *q;
	struct block_req *req;
	uint64_t pos; /* bytes handed out so far */
	unsigned vi;  /* where pos is in req->vec */
	size_t voff;
	_Atomic unsigned refs; /* I/Os, and the one who runs it */
	_Atomic int err;
	bool io_used, pooled;
	struct qio io; /* for a request that is one piece in the file */
	struct qreq *next;
};

/* A write to new clusters. */
struct qalloc {
	struct qcow2 *q;
	struct qreq *r;
	struct qalloc *next; /* all in flight */
	uint64_t first, n;   /* guest clusters */
	uint64_t host;       /* file offset of the first */
	struct qslot *l2;    /* pinned */
	unsigned l2_index;
	bool reuse;           /* host was the clusters' own */
	uint64_t offset, len; /* of the data in the disk */
	uint32_t head, tail;  /* bytes to fill before and after it; 0 where that is not needed */
	uint8_t *fill;        /* head, then tail; from the pool */
	unsigned n_vec;
	struct qwaitq waiters;
	_Atomic unsigned pending; /* reads for the fill */
	_Atomic int err;
	struct qreq cow[2]; /* these reads */
	struct block_req cow_req[2];
	struct block_vec cow_vec[2];
	struct block_req io; /* the write */
	struct block_vec vec[QIO_VECS];
};

enum qcommit_stage {
	QC_IDLE,
	QC_REFBLOCKS,
	QC_SYNC_REFBLOCKS,
	QC_REFTABLE,
	QC_SYNC_REFTABLE,
	QC_L2,
	QC_L1,
	QC_SYNC_TABLES,
	QC_WRITTEN,
	QC_DRAIN,
	QC_FREE,
	QC_FREE_PUNCHED,
	QC_DONE,
};

struct qcommit {
	struct qwait w;
	struct qcow2 *q;
	_Atomic enum qcommit_stage stage; /* IDLE: none is running */
	bool need_sync;                   /* flushes wait for it, or clusters are to be freed */
	bool again;                       /* another one is needed at once */
	bool draining;
	uint8_t drain_epoch;
	_Atomic unsigned pending;
	_Atomic int err;
	int result;
	uint32_t cursor;
	uint32_t run;                   /* clusters being punched */
	struct block_req *flushes;      /* that this commit serves */
	struct block_req *next_flushes; /* that came later */
	struct block_req **next_tail;
	struct qwaitq end_waiters; /* woken when it is idle */
	struct block_req io;       /* sync, discard */
	struct block_req table_io[8];
	struct block_vec table_vec[8];
};

#define QREQS   256
#define QIOS    256
#define QALLOCS 64
#define QZSLOTS 4
#define QZEROS  65536 /* bytes of zeros to write from */

struct qcow2 {
	struct block b;
	struct bfile *f;
	struct block *backing;
	bool take_backing, discard, sync_mode;
	qcow2_unzip_fn unzip;
	struct qcow2_hdr h;
	/* geometry */
	unsigned cb;         /* cluster bits */
	unsigned l2_bits;    /* entries of an L2 table */
	unsigned slice_bits; /* entries of an L2 slice */
	unsigned rb_bits;    /* entries of a refcount block */
	uint64_t cs;         /* cluster size */

	struct plat_mutex lock;
	struct qtable l1, rt;
	struct qcache l2c, rbc;
	struct qwaitq slot_wait; /* all slots are in use */
	bool broken;             /* metadata is damaged: no more writes */
	bool told;               /* has said that something is wrong */
	/* metadata clusters of the file: open addressing, cluster + 1 */
	uint64_t *meta;
	uint64_t meta_cap, meta_n;

	uint64_t hint;        /* first cluster that may be free */
	uint64_t virgin_from; /* clusters that were never written, where the file gives zeros */
	struct qfrees frees[2];
	unsigned frees_cur;
	uint32_t frees_reserved;
	uint8_t epoch;
	uint32_t in_flight[2]; /* I/O to data clusters, by epoch */

	struct qreq *reqs, *free_reqs;
	struct block_req *starved, **starved_tail; /* no qreq was free */
	struct qio *ios, *free_ios;
	struct qalloc *allocs_mem, *free_allocs, *allocs;
	struct block_vec *io_vecs;
	uint8_t *fill_mem;
	uint8_t **free_fills;
	unsigned n_fills, n_free_fills;
	struct qwaitq pool_wait;  /* no qio, qalloc or fill buffer */
	struct qwaitq frees_wait; /* no place for frees */
	struct qzslot z[QZSLOTS];
	uint8_t *zmem;
	uint8_t *zeros;

	struct qwaitq run_list;
	bool running; /* somebody empties run_list */
	struct qcommit commit;
};

/* qcow2.c */
void qcow2_wait_idle(struct qcow2 *q);
/* All that is in memory to the disk; the caller is alone with the image. */
int qcow2_settle(struct qcow2 *q) attr_must_check;

/* qcow2_meta.c */
attr_printf(2, 3) void qcow2_damage(struct qcow2 *q, const char *fmt, ...);
bool qcow2_meta_has(const struct qcow2 *q, uint64_t cluster, uint64_t n);
int qcow2_meta_add(struct qcow2 *q, uint64_t cluster, uint64_t n) attr_must_check;
int qcow2_meta_build(struct qcow2 *q, char *err, size_t err_size) attr_must_check; /* anew */
void qcow2_meta_del(struct qcow2 *q, uint64_t cluster, uint64_t n);
int qtable_init(struct qtable *t, uint64_t off, uint32_t n) attr_must_check;
void qtable_fini(struct qtable *t);
int qtable_load(struct qcow2 *q, struct qtable *t) attr_must_check;
void qtable_set(struct qtable *t, uint32_t i, uint64_t v);
void qtable_snapshot(struct qtable *t);
void qtable_written(struct qtable *t, bool ok);
bool qcow2_offset_ok(struct qcow2 *q, uint64_t off);

/* qcow2_cache.c; all with the lock held but _load(). ERR_AGAIN: w will be run; *ctx has the load. */
int qcache_init(struct qcow2 *q, struct qcache *c, size_t bytes, uint32_t slice) attr_must_check;
void qcache_fini(struct qcache *c);
int qcache_get(struct qcow2 *q, struct qcache *c, uint64_t off, struct qwait *w, struct qctx *ctx,
	       struct qslot **out) attr_must_check;
void qcache_dirty(struct qcow2 *q, struct qslot *s, struct qctx *ctx);
void qcache_unpin(struct qcow2 *q, struct qslot *s);
/* What was loaded for w. */
void qcache_release(struct qcow2 *q, struct qwait *w);
void qcache_drop(struct qcache *c, uint64_t off, uint64_t len);
void qcache_clear(struct qcache *c); /* all of it, clean and unused */
void qcache_snapshot(struct qcache *c);
void qcache_written(struct qcow2 *q, struct qcache *c, bool ok);
void qcache_load(struct qslot *s);
/* qcow2_zip.c: compressed clusters, in the same way; *out is pinned. */
int qzip_init(struct qcow2 *q) attr_must_check;
void qzip_fini(struct qcow2 *q);
void qzip_unpin(struct qcow2 *q, struct qzslot *z);
int qzip_get(struct qcow2 *q, uint64_t entry, struct qwait *w, struct qctx *ctx,
	     struct qzslot **out) attr_must_check;
void qzip_load(struct qzslot *z);
void qzip_clear(struct qcow2 *q); /* forgets all that was decompressed; nobody uses it */
void qzip_range(const struct qcow2 *q, uint64_t entry, uint64_t *off, uint64_t *len);

/* qcow2_wait.c; with the lock held */
void qwaitq_init(struct qwaitq *wq);
void qwait_on(struct qwaitq *wq, struct qwait *w);
void qcow2_wake(struct qcow2 *q, struct qwaitq *wq, int err);
void qcow2_wake_one(struct qcow2 *q, struct qwait *w, int err);
/* Releases the lock and runs those who were woken, unless another thread is at it. */
void qcow2_unlock(struct qcow2 *q);
/* The same at the end of a step of w, which said err: does what ctx says. If it is ERR_AGAIN, w is
 * not to be touched any more. */
void qcow2_leave(struct qcow2 *q, struct qctx *ctx, struct qwait *w, int err);
/* Around I/O to clusters that could be freed meanwhile: they are not used anew before its end. */
uint8_t qcow2_io_begin(struct qcow2 *q);
void qcow2_io_end(struct qcow2 *q, uint8_t epoch);

/* qcow2_refcount.c; with the lock held */
uint64_t qcow2_rc_get(const struct qcow2 *q, const uint8_t *slice, uint64_t i);
void qcow2_rc_put(const struct qcow2 *q, uint8_t *slice, uint64_t i, uint64_t v);
/* The slice that holds the count of cluster; *index: where in it. ERR_NOENT: has no block. */
int qcow2_rc_slot(struct qcow2 *q, uint64_t cluster, struct qwait *w, struct qctx *ctx,
		  struct qslot **out, uint64_t *index) attr_must_check;
/* Up to want clusters in a row, counted once each; *virgin: all of them read as zeros. */
int qcow2_alloc(struct qcow2 *q, uint64_t want, struct qwait *w, struct qctx *ctx, uint64_t *host,
		uint64_t *got, bool *virgin) attr_must_check;
/* n clusters in a row behind all others; in sync_mode. */
int qcow2_alloc_tail(struct qcow2 *q, uint64_t n, uint64_t *cluster) attr_must_check;
/* Each of n clusters has lost a reference. There is a place: by reservation or slack. */
void qcow2_unref(struct qcow2 *q, uint64_t cluster, uint32_t n, struct qctx *ctx);
bool qcow2_frees_room(const struct qcow2 *q, uint32_t n);
/* A refcount block for the range that has number rb, which has none. */
int qcow2_refblock_new(struct qcow2 *q, uint32_t rb) attr_must_check;
int qcow2_reftable_grow(struct qcow2 *q, uint64_t cluster, struct qwait *w) attr_must_check;
/* Makes sure that cluster has a count, which may be zero. */
int qcow2_ensure_counted(struct qcow2 *q, uint64_t cluster, struct qwait *w) attr_must_check;

/* qcow2_commit.c */
void qcow2_commit_init(struct qcow2 *q);
void qcow2_commit_begin(struct qcow2 *q); /* with the lock held; nothing if one is running */
int qcow2_commit_sync(struct qcow2 *q) attr_must_check; /* in sync_mode, without */
bool qcow2_is_dirty(const struct qcow2 *q);
void qcow2_submit_flush(struct qcow2 *q, struct block_req *req);

/* qcow2_io.c: requests, reads */
int qcow2_io_init(struct qcow2 *q) attr_must_check;
void qcow2_io_fini(struct qcow2 *q);
void qcow2_submit(struct block *b, struct block_req *req);

enum qkind { QK_UNALLOCATED, QK_ZERO, QK_NORMAL, QK_COMPRESSED };
enum qkind qcow2_kind(const struct qcow2 *q, uint64_t entry);
/* True where an unallocated cluster at guest offset off shows the backing disk. */
bool qcow2_over_backing(const struct qcow2 *q, uint64_t off);
struct qmap {
	enum qkind kind;
	uint64_t entry; /* of the first cluster */
	uint64_t host;  /* of the first byte, where kind is normal */
	uint64_t len;   /* bytes, in one piece in the file */
};
int qcow2_map(struct qcow2 *q, uint64_t off, uint64_t len, struct qwait *w, struct qctx *ctx,
	      struct qmap *m) attr_must_check;

void qreq_init(struct qreq *r, struct qcow2 *q, struct block_req *req);
void qreq_run(struct qwait *w);
void qreq_put(struct qreq *r);
void qreq_fail(struct qreq *r, int err);
/* The request's next len bytes; also moves on. */
unsigned qreq_take_vec(struct qreq *r, uint64_t len, struct block_vec *out);
/* How many of its next bytes n vector elements hold. */
uint64_t qreq_vec_span(const struct qreq *r, unsigned n);
/* A leaf I/O of len bytes for r; with the lock held. NULL: r waits. */
struct qio *qio_get(struct qreq *r, uint64_t len);
/* Without the lock. host: NULL or where it goes. */
void qio_submit(struct qio *io, struct block *backing, uint64_t offset, uint64_t len);

/* qcow2_write.c: a step each; false: the request waits, do not touch it. */
bool qcow2_step_write(struct qreq *r, uint64_t len);
bool qcow2_step_zero(struct qreq *r);

#endif
